package audit

import (
	"holdfast/domain"
)

// checkPayments: I4 and I5, by the gateway's books. What has the name of another
// namespace's payment is none of ours: it is counted and passed over.
func (a *auditor) checkPayments(books []domain.BooksLine) {
	a.payments = new(PaymentCounts)
	seen := make(map[domain.PaymentName]bool, len(books))
	captured := make(map[domain.OrderRef]int)
	for _, line := range books {
		if line.Namespace != a.ns.PaymentNamespace {
			a.payments.PassedOver++
			continue
		}
		name := line.Name()
		if seen[name] {
			a.violation("I4", name.OrderRef.String(), "has two lines in the gateway's books")
		}
		seen[name] = true
		a.checkPayment(name.OrderRef, line)
		if line.Captured > line.Refunded {
			captured[name.OrderRef]++
		}
	}
	for ref, attempts := range captured {
		if attempts > 1 {
			a.violation("I4", ref.String(), "the money of %d attempts to pay for it was taken", attempts)
		}
	}
	a.payments.Checked = len(seen)
	for _, p := range a.partitions {
		for ref, o := range p.book.Orders {
			if o.ConfirmedAtMillis > 0 && !o.Free() && !seen[o.AttemptOf(a.ns.PaymentNamespace, ref, o.LastAttempt()).Name] && !p.factIDs[ref].confirmed.After(p.endAtStart) {
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
	if line.Authorizations > 1 || line.Captures > 1 || line.Voids > 1 {
		a.violation("I4", subject, "the gateway did something twice: %+v", line)
	}
	if line.Captured > line.Authorized || line.Refunded > line.Captured {
		a.violation("I4", subject, "authorized %d, captured %d, refunded %d", line.Authorized, line.Captured, line.Refunded)
	}
	// Or may yet be, by what its customer does.
	reserved := line.Status == domain.PaymentStatusAuthorized || line.Status == domain.PaymentStatusActionRequired
	taken := line.Status == domain.PaymentStatusCaptured
	difference, differs := differenceOf(o, line)
	if attempt := max(line.Attempt, 1); o.HeldAtMillis > 0 && o.State != domain.OrderDeclined && (attempt != o.LastAttempt() || o.PayState == domain.PayDeclined) {
		a.checkAttempt(ref, attempt, line, difference)
		return
	}
	switch {
	case o.KeepsMoney():
		switch {
		case o.Free() && (reserved || taken):
			a.violation("I4", subject, "is free, but there is a payment, which is %s%s", line.Status, difference)
		case o.Free():
		case !taken && line.Status != domain.PaymentStatusAuthorized && (line.Status != domain.PaymentStatusRefunded || o.RefundTotal() < o.PaidAmount()):
			a.violation("I4", subject, "is %s, but its payment is %s%s", o.State, line.Status, difference)
		case differs:
			a.violation("I4", subject, "is %s, but its payment is not what it asks for%s", o.State, difference)
		case !reserved && line.Captured != o.PaidAmount():
			a.violation("I4", subject, "captured %d, the order was about %d", line.Captured, o.PaidAmount())
		case line.Refunded > o.RefundTotal():
			a.violation("I4", subject, "is %s, but %d of its money was given back, instead of %d", o.State, line.Refunded, o.RefundTotal())
		case reserved && p.settled(ref, ids.changed):
			a.violation("I4", subject, "is %s and settled, but its payment was not captured", o.State)
		case line.Refunded < o.RefundTotal() && p.settled(ref, ids.changed):
			a.violation("I4", subject, "is %s and settled, but only %d of its money was given back, instead of %d", o.State, line.Refunded, o.RefundTotal())
		}
	case o.Open():
		if taken {
			a.violation("I4", subject, "is only held, but its payment is captured%s", difference)
		}
	case o.State == domain.OrderExpired, o.State == domain.OrderCancelled:
		settled := p.settled(ref, ids.ended)
		switch {
		case taken && o.ConfirmedAtMillis == 0:
			a.violation("I4", subject, "is %s and was never confirmed, but its payment is captured%s", o.State, difference)
		case line.Refunded > 0 && line.Refunded < line.Captured && settled:
			a.violation("I4", subject, "is %s and settled, but of %d that were captured only %d were refunded%s", o.State, line.Captured, line.Refunded, difference)
		case taken && settled:
			a.violation("I4", subject, "is %s and settled, but its payment was not refunded%s", o.State, difference)
		case reserved && settled:
			a.violation("I5", subject, "is %s and settled, but its authorization was not voided%s", o.State, difference)
		}
	case o.State == domain.OrderDeclined:
		switch recorded := !ids.ended.After(p.endAtStart); { // before the books were read; else they may show what was voided since
		case !recorded || !reserved && !taken:
		case o.Reason == domain.ReasonPaymentMismatch:
			a.violation("I5", subject, "was declined because its payment is not what it asks for; that is %s, and was left alone%s", line.Status, difference)
		default:
			a.violation("I5", subject, "is %s, but its payment is %s%s", o.State, line.Status, difference)
		}
	default:
		if reserved || taken {
			a.violation("I5", subject, "is %s, but its payment is %s%s", o.State, line.Status, difference)
		}
	}
}

// checkAttempt is about an attempt to pay by which its order, that was held, is not paid for: there is no money of it.
func (a *auditor) checkAttempt(ref domain.OrderRef, attempt int, line domain.BooksLine, difference string) {
	p := a.of(ref)
	o, ids := p.book.Orders[ref], p.factIDs[ref]
	settled := true  // as far as it must be for that
	switch o.State { //nolint:exhaustive // it was held
	case domain.OrderHeld, domain.OrderLapsed:
		settled = attempt <= o.Attempt // one that the log does not know may have begun since
	case domain.OrderConfirmed:
		settled = p.settled(ref, ids.confirmed)
	case domain.OrderExpired, domain.OrderCancelled:
		settled = p.settled(ref, ids.ended)
	}
	switch line.Status { //nolint:exhaustive // of the others there is no money
	case domain.PaymentStatusCaptured:
		if !o.Open() || settled {
			a.violation("I4", ref.String(), "is %s by attempt %d, but the payment of attempt %d is captured%s", o.State, o.Attempt, attempt, difference)
		}
	case domain.PaymentStatusAuthorized, domain.PaymentStatusActionRequired:
		if settled {
			a.violation("I5", ref.String(), "is %s by attempt %d, but the payment of attempt %d is %s%s", o.State, o.Attempt, attempt, line.Status, difference)
		}
	}
}

// differenceOf is how a line differs from what its order asks for, in brackets.
func differenceOf(o domain.Order, line domain.BooksLine) (text string, differs bool) {
	payment := domain.Payment{
		Status: line.Status, Amount: line.Authorized, Currency: line.Currency, CustomerID: line.CustomerID, Fingerprint: line.Fingerprint,
	}
	m := domain.MatchPayment(o, payment)
	if !m.Any() {
		return "", false
	}
	return " (" + m.Detail + ")", true
}
