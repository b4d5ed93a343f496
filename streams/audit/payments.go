package audit

import (
	"fmt"
	"time"

	"holdfast/domain"
)

// What a person must do.
const (
	doTalk    = "stop selling; talk to whoever runs the gateway"
	doClear   = "clear up at the gateway whose payment that is; discard the dead letter"
	doRight   = "put it right at the gateway, or cancel the order and refund"
	doCancel  = "cancel the order, or charge by other means"
	doGiven   = "do as it was agreed with the customer; a cancel gives back the rest"
	doDispute = "answer the dispute at the gateway before its deadline; orders cancel frees the places"
	doFree    = "orders cancel frees the places, if the order shall not have them: its money is with the customer again"
)

// doThat is what is to be done with a payment.
func doThat(what string, line domain.BooksLine) string {
	if line.AuthorizationID == "" {
		return what + " at the gateway"
	}
	return what + " " + line.AuthorizationID + " at the gateway"
}

// giveBack is what is to be done so that there is no money of a payment.
func giveBack(line domain.BooksLine) string {
	if line.Status == domain.PaymentStatusCaptured {
		return "refund"
	}
	return "void"
}

// clocksDiffer is how far the gateway's clock may be from Redis's.
const clocksDiffer = 5 * time.Minute

// covers reports whether a confirmed order's payment must be among those of Gateway: it was made after the order was held, and before it was confirmed.
func (o Options) covers(order domain.Order) bool {
	slack := clocksDiffer.Milliseconds()
	return (o.FromMillis == 0 || order.HeldAtMillis >= o.FromMillis+slack) && (o.UntilMillis == 0 || order.ConfirmedAtMillis < o.UntilMillis-slack)
}

// disputed lists a payment of which the customer's bank has asked for the money back, if something is to be done about it.
func (a *auditor) disputed(name domain.PaymentName, line domain.BooksLine) {
	ref := name.OrderRef
	o := a.of(ref).orderOf(ref)
	_, isNews := o.NewDispute(line.Dispute)
	d := Disputed{Ref: ref, EventID: ref.EventID, OrderID: ref.OrderID, State: o.State, PaymentID: line.AuthorizationID, Dispute: line.Dispute, Currency: line.Currency, Recorded: line.Dispute.State != "" && !isNews}
	switch state := line.Dispute.State; {
	case isNews && max(line.Attempt, 1) == o.LastAttempt():
		d.Do = fmt.Sprintf("publish --type payment_update --event %s --order %s --attempt %d has it noted; ", ref.EventID, ref.OrderID, o.LastAttempt()) + doDispute
	case state == domain.DisputeLost && o.State == domain.OrderConfirmed:
		d.Do = doFree
	case state == domain.DisputeLost, state == domain.DisputeWon:
		return
	default:
		d.Do = doDispute
	}
	a.payments.Disputed = append(a.payments.Disputed, d)
}

// checkPayments: I4 and I5, by the gateway's books. What has the name of another
// namespace's payment is none of ours: it is counted and passed over.
func (a *auditor) checkPayments(books []domain.BooksLine, options Options) {
	a.payments = &PaymentCounts{FromMillis: options.FromMillis, UntilMillis: options.UntilMillis}
	seen := make(map[domain.PaymentName]bool, len(books))
	captured, named := make(map[domain.OrderRef]int), make(map[domain.OrderRef]bool)
	for _, line := range books {
		if line.Namespace != a.ns.PaymentNamespace {
			a.payments.PassedOver++
			continue
		}
		name := line.Name()
		if seen[name] {
			a.todo(doTalk, "I4", name.OrderRef.String(), "has two lines in the gateway's books")
		}
		seen[name], named[name.OrderRef] = true, true
		a.checkPayment(name.OrderRef, line)
		if line.Disputed {
			a.disputed(name, line)
		}
		if line.Captured > line.Refunded {
			captured[name.OrderRef]++
		}
	}
	for ref, attempts := range captured {
		if attempts > 1 {
			a.todo("refund all attempts but one at the gateway", "I4", ref.String(), "the money of %d attempts to pay for it was taken", attempts)
		}
	}
	a.payments.Checked = len(seen)
	for _, p := range a.partitions {
		for ref, o := range p.book.Orders {
			if o.ConfirmedAtMillis > 0 && !o.Free() && options.covers(o) && !seen[o.AttemptOf(a.ns.PaymentNamespace, ref, o.LastAttempt()).Name] && !p.idsOf(ref).confirmed.After(p.endAtStart) {
				a.todo("look the order up at the gateway", "I4", ref.String(), "was confirmed, but the gateway knows nothing of it")
			}
		}
		if options.FromMillis != 0 || options.UntilMillis != 0 {
			continue // when it was held is not on its line
		}
		for ref, line := range p.book.Lines {
			if line.Amount > 0 && !named[ref] {
				a.todo("look the order up at the gateway", "I4", ref.String(), "was confirmed before its event was forgotten, but the gateway knows nothing of it")
			}
		}
	}
}

// nameEvents notes which orders the gateway's books name: those of events that are forgotten are kept for them.
func (a *auditor) nameEvents(books []domain.BooksLine) {
	a.paid = make(map[string][]domain.OrderRef)
	for _, line := range books {
		if line.Namespace == a.ns.PaymentNamespace {
			ref := line.Name().OrderRef
			a.paid[ref.EventID] = append(a.paid[ref.EventID], ref)
		}
	}
}

// keepPaid keeps the orders of an event that is about to be forgotten whose payments are to be looked at.
func (p *partitionAudit) keepPaid(eventID string) {
	for _, ref := range p.paid[eventID] {
		if o, there := p.book.Orders[ref]; there {
			p.past[ref] = o
		}
	}
}

// orderOf is an order, or what it was when its event was forgotten.
func (p *partitionAudit) orderOf(ref domain.OrderRef) domain.Order {
	if o, there := p.book.Orders[ref]; there || !p.isOver(ref.EventID) {
		return o
	}
	return p.past[ref]
}

func (a *auditor) checkPayment(ref domain.OrderRef, line domain.BooksLine) {
	p := a.of(ref)
	if p.unknown {
		return
	}
	if p.lost[ref.EventID] {
		a.payments.Forgotten++
		return
	}
	o := p.orderOf(ref)
	ids := p.idsOf(ref)
	subject := ref.String()
	if line.Authorizations > 1 || line.Captures > 1 || line.Voids > 1 {
		a.todo(doTalk, "I4", subject, "the gateway did something twice: %+v", line)
	}
	if line.Captured > line.Authorized || line.Refunded > line.Captured {
		a.todo(doTalk, "I4", subject, "authorized %d, captured %d, refunded %d", line.Authorized, line.Captured, line.Refunded)
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
			a.todo(doThat(giveBack(line), line), "I4", subject, "is free, but there is a payment, which is %s%s", line.Status, difference)
		case o.Free():
		case !taken && line.Status != domain.PaymentStatusAuthorized && (line.Status != domain.PaymentStatusRefunded || o.RefundTotal() < o.PaidAmount()):
			a.todo(doCancel, "I4", subject, "is %s, but its payment is %s%s", o.State, line.Status, difference)
		case differs:
			a.todo(doRight, "I4", subject, "is %s, but its payment is not what it asks for%s", o.State, difference)
		case !reserved && line.Captured != o.PaidAmount():
			a.todo(doRight, "I4", subject, "captured %d, the order was about %d", line.Captured, o.PaidAmount())
		case line.Refunded > o.RefundTotal():
			a.todo(doGiven, "I4", subject, "is %s, but %d of its money was given back, instead of %d", o.State, line.Refunded, o.RefundTotal())
		case reserved && p.settled(ref, ids.changed):
			a.todo(doThat("capture", line), "I4", subject, "is %s and settled, but its payment was not captured", o.State)
		case line.Refunded < o.RefundDue() && p.settled(ref, ids.changed):
			a.todo(doThat("refund what is missing of", line), "I4", subject, "is %s and settled, but only %d of its money was given back, instead of %d", o.State, line.Refunded, o.RefundDue())
		}
	case o.Open():
		if taken {
			a.todo(doThat("refund", line), "I4", subject, "is only held, but its payment is captured%s", difference)
		}
	case o.State == domain.OrderExpired, o.State == domain.OrderCancelled:
		settled := p.settled(ref, ids.ended)
		switch {
		case taken && o.ConfirmedAtMillis == 0:
			a.todo(doThat("refund", line), "I4", subject, "is %s and was never confirmed, but its payment is captured%s", o.State, difference)
		case taken && o.Dispute != (domain.Dispute{}) && line.Refunded >= o.RefundDue():
			// The customer's bank has the rest, or gave it back.
		case line.Refunded > 0 && line.Refunded < line.Captured && settled:
			a.todo(doThat("refund the rest of", line), "I4", subject, "is %s and settled, but of %d that were captured only %d were refunded%s", o.State, line.Captured, line.Refunded, difference)
		case taken && settled:
			a.todo(doThat("refund", line), "I4", subject, "is %s and settled, but its payment was not refunded%s", o.State, difference)
		case reserved && settled:
			a.todo(doThat("void", line), "I5", subject, "is %s and settled, but its authorization was not voided%s", o.State, difference)
		}
	case o.State == domain.OrderDeclined:
		switch recorded := !ids.ended.After(p.endAtStart); { // before the books were read; else they may show what was voided since
		case !recorded || !reserved && !taken:
		case o.Reason == domain.ReasonPaymentMismatch:
			a.todo(doClear, "I5", subject, "was declined because its payment is not what it asks for; that is %s, and was left alone%s", line.Status, difference)
		default:
			a.todo(doThat(giveBack(line), line), "I5", subject, "is %s, but its payment is %s%s", o.State, line.Status, difference)
		}
	default:
		if reserved || taken {
			a.todo(doThat(giveBack(line), line), "I5", subject, "is %s, but its payment is %s%s", o.State, line.Status, difference)
		}
	}
}

// checkAttempt is about an attempt to pay by which its order, that was held, is not paid for: there is no money of it.
func (a *auditor) checkAttempt(ref domain.OrderRef, attempt int, line domain.BooksLine, difference string) {
	p := a.of(ref)
	o, ids := p.orderOf(ref), p.idsOf(ref)
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
			a.todo(doThat("refund", line), "I4", ref.String(), "is %s by attempt %d, but the payment of attempt %d is captured%s", o.State, o.Attempt, attempt, difference)
		}
	case domain.PaymentStatusAuthorized, domain.PaymentStatusActionRequired:
		if settled {
			a.todo(doThat("void", line), "I5", ref.String(), "is %s by attempt %d, but the payment of attempt %d is %s%s", o.State, o.Attempt, attempt, line.Status, difference)
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
