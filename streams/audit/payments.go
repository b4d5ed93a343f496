package audit

import (
	"holdfast/domain"
)

// checkPayments: I4 and I5, by the gateway's books. What has the name of another
// namespace's payment is none of ours: it is counted and passed over.
func (a *auditor) checkPayments(books []domain.BooksLine) {
	a.payments = new(PaymentCounts)
	seen := make(map[domain.OrderRef]bool, len(books))
	for _, line := range books {
		if line.Namespace != a.ns.PaymentNamespace {
			a.payments.PassedOver++
			continue
		}
		ref := domain.OrderRef{EventID: line.EventID, OrderID: line.OrderID}
		if seen[ref] {
			a.violation("I4", ref.String(), "has two lines in the gateway's books")
		}
		seen[ref] = true
		a.checkPayment(ref, line)
	}
	a.payments.Checked = len(seen)
	for _, p := range a.partitions {
		for ref, o := range p.book.Orders {
			if o.ConfirmedAtMillis > 0 && !seen[ref] && !p.factIDs[ref].confirmed.After(p.endAtStart) {
				a.violation("I4", ref.String(), "was confirmed, but the gateway knows nothing of it")
			}
		}
	}
}

func (a *auditor) checkPayment(ref domain.OrderRef, line domain.BooksLine) {
	p := a.of(ref)
	o := p.book.Orders[ref]
	ids := p.factIDs[ref]
	subject := ref.String()
	if line.Authorizations > 1 || line.Captures > 1 || line.Voids > 1 || line.Refunds > 1 {
		a.violation("I4", subject, "the gateway did something twice: %+v", line)
	}
	if line.Captured > line.Authorized || line.Refunded > line.Captured {
		a.violation("I4", subject, "authorized %d, captured %d, refunded %d", line.Authorized, line.Captured, line.Refunded)
	}
	if line.Authorized > 0 && o.HeldAtMillis > 0 && (line.Authorized != o.Amount() || line.Currency != o.Currency) {
		a.violation("I4", subject, "authorized %d %s, the order is about %d %s", line.Authorized, line.Currency, o.Amount(), o.Currency)
	}
	reserved := line.Status == domain.PaymentStatusAuthorized
	taken := line.Status == domain.PaymentStatusCaptured
	switch o.State {
	case domain.OrderConfirmed:
		switch {
		case !reserved && !taken:
			a.violation("I4", subject, "is confirmed, but its payment is %s", line.Status)
		case reserved && p.acked(domain.GroupSettlement, ids.confirmed):
			a.violation("I4", subject, "is confirmed and settled, but its payment was not captured")
		}
	case domain.OrderHeld:
		if taken {
			a.violation("I4", subject, "is only held, but its payment is captured")
		}
	case domain.OrderExpired, domain.OrderCancelled:
		settled := p.acked(domain.GroupSettlement, ids.ended)
		switch {
		case taken && o.ConfirmedAtMillis == 0:
			a.violation("I4", subject, "is %s and was never confirmed, but its payment is captured", o.State)
		case taken && settled:
			a.violation("I4", subject, "is %s and settled, but its payment was not refunded", o.State)
		case reserved && settled:
			a.violation("I5", subject, "is %s and settled, but its authorization was not voided", o.State)
		}
	case domain.OrderNone, domain.OrderDeclined, domain.OrderRejected:
		if reserved || taken {
			a.violation("I5", subject, "is %s, but its payment is %s", o.State, line.Status)
		}
	}
}
