package producer

import (
	"context"
	"errors"
	"fmt"

	"holdfast/domain"
)

// Outcome is an order as it stands when a wait ends.
type Outcome struct {
	EventID string
	OrderID string
	Order   domain.Order
	// Seats are the seats that the order holds or has, or had, by section: those that were asked for, or that were the best
	// available. Named as tickets name them, and as they stand in their rows. Nothing of sections without seats.
	Seats map[string][]string
	// Refused is why a partial cancel, a change or a refund that was waited for was refused, with Detail for people: which section, which seats.
	// Then the order is what it was, and the number is used up. Empty if it was done, or came when the order had ended: then Order says how.
	Refused string
	Detail  string
}

// SetAsideError says that the request that was waited for was set aside: no worker has it
// any more. It wraps domain.ErrSetAside; its class is ClassReject.
//
// That is no outcome of the order. A person may have the request handled after all (dead
// redrive), and then it sells. To be sure that it never does, cancel the order.
type SetAsideError struct {
	EventID string
	OrderID string
	EntryID string // of the request
	DeadID  string // of the dead letter, for whoever looks after it
	Reason  string // for people
}

// Error names the order, and says why.
func (e *SetAsideError) Error() string {
	return fmt.Sprintf("order %s/%s: its request %s was set aside as dead letter %s: %s", e.EventID, e.OrderID, e.EntryID, e.DeadID, e.Reason)
}

// Unwrap gives the error its class.
func (e *SetAsideError) Unwrap() error {
	return domain.WithClass(domain.ClassReject, domain.ErrSetAside)
}

// WaitFor returns when it is known what became of a request that was published:
//
//   - a purchase or a pay: when its order is confirmed, declined, expired, cancelled or rejected;
//   - a purchase or a pay: also when its customer has something to do at their bank (Order.AwaitsAction): what, tells the gateway
//     (domain.NextSteps). Publish a payment_update when it is done, and wait for that, or Wait for the order;
//   - a payment_update: when nothing is awaited of the customer any more;
//   - a pay or a payment_update: also when this attempt was declined and its order is still held (PayState is domain.PayDeclined, or Attempt is
//     a later one): another attempt may follow until the deadline;
//   - a hold: also when it is held;
//   - a cancel: as a purchase, but not on confirmed, because the cancel is about to undo that;
//   - a partial cancel or a change: when it was done or refused (Outcome.Refused), or the order has ended;
//   - a refund: when it was granted or refused, or the order has ended without ever being confirmed.
//
// It sleeps until a worker tells of it. Errors:
//
//   - A *SetAsideError: this very request was set aside, whatever the order is.
//   - It wraps domain.ErrConflict, ClassReject: another request came first under this
//     order_id, as this attempt, or under this number of a change, with other content. What became of that one is not told.
//   - It wraps domain.ErrNotFound, ClassReject: a later change of the order was decided since, and so this one was before; but how is
//     only in the order's facts.
//   - ClassReject, domain.CodeEventOver: its event was forgotten, and there is no such order (any more). Nothing was done.
//   - It wraps domain.ErrUnknownOutcome: ctx ended first. The order may still have any
//     outcome, and WaitFor can be called again.
//   - Of ClassFatal or ClassPoison: nobody will know until something is mended.
//
// Of an order of seats, their names are looked up when it is known what became of it. As long as that fails the wait goes on; an error
// of ClassPoison says that it cannot be done, and then the outcome is there, without its seats.
//
// The receipt may be one of a Publish whose result was not known, or come from another
// process. Without an EntryID, a request of the receipt's type that was set aside counts
// as this one, as long as nothing is stored of the order.
func (p *Producer) WaitFor(ctx context.Context, r Receipt) (Outcome, error) {
	q, err := questionOf(r)
	if err != nil {
		return Outcome{EventID: r.EventID, OrderID: r.OrderID}, fmt.Errorf("waiting for %s: %w", q.ref, err)
	}
	return p.outcomes.wait(ctx, q)
}

// questionOf is what is asked about the request of a receipt.
func questionOf(r Receipt) (question, error) {
	q := question{ref: domain.OrderRef{EventID: r.EventID, OrderID: r.OrderID}, entryID: r.EntryID, fingerprint: r.Fingerprint}
	switch r.Type {
	case domain.RequestPurchase:
		q.enough = func(o domain.Order) bool { return decided(o) || o.AwaitsAction() }
	case domain.RequestPay, domain.RequestPaymentUpdate:
		q.attempt = max(r.Attempt, 1)
		q.enough = func(o domain.Order) bool {
			over := o.PayState == domain.PayDeclined || r.Type == domain.RequestPay && o.AwaitsAction()
			return decided(o) || o.Attempt > q.attempt || o.Attempt == q.attempt && over
		}
	case domain.RequestHold:
		q.enough = known
	case domain.RequestCancel, domain.RequestChange:
		q.enough, q.change = ended, r.Change
	case domain.RequestRefund:
		q.change = r.Change
		q.enough = func(o domain.Order) bool { return ended(o) && o.ConfirmedAtMillis == 0 }
	default:
		return q, domain.WithClass(domain.ClassReject, errors.New("the receipt has no type"))
	}
	q.about = func(t domain.RequestType) bool { return t == r.Type }
	return q, nil
}

// Wait returns when the order has an outcome: confirmed, declined, expired,
// cancelled or rejected. It sleeps until a worker tells of it.
//
// It asks about the order, whosever request opened it. Who published a request and has its
// receipt asks WaitFor, which knows it from others under the same order_id.
//
// The error is a *SetAsideError if nothing is stored of the order, and a request for it
// (any but a cancel, a change, a refund and a payment_update) is set aside: as far as anybody can tell, no outcome will come. If ctx
// ends first, it wraps domain.ErrUnknownOutcome: the order may still have any outcome, and
// Wait can be called again.
func (p *Producer) Wait(ctx context.Context, eventID, orderID string) (Outcome, error) {
	return p.outcomes.wait(ctx, question{
		ref: domain.OrderRef{EventID: eventID, OrderID: orderID}, enough: decided,
		about: func(t domain.RequestType) bool {
			return t != domain.RequestCancel && t != domain.RequestChange && t != domain.RequestRefund && t != domain.RequestPaymentUpdate
		},
	})
}

// WaitHeld is Wait for a hold request: it also returns when the order is held. Of what is
// set aside, purchases and holds count.
func (p *Producer) WaitHeld(ctx context.Context, eventID, orderID string) (Outcome, error) {
	return p.outcomes.wait(ctx, question{
		ref: domain.OrderRef{EventID: eventID, OrderID: orderID}, enough: known, about: domain.RequestType.Opens,
	})
}

// WaitCancelled is Wait for a cancel request: of the outcomes, confirmed is the
// one it does not return on, because the cancel is about to undo it. Of what is set
// aside, cancels count.
func (p *Producer) WaitCancelled(ctx context.Context, eventID, orderID string) (Outcome, error) {
	return p.outcomes.wait(ctx, question{
		ref: domain.OrderRef{EventID: eventID, OrderID: orderID}, enough: ended,
		about: func(t domain.RequestType) bool { return t == domain.RequestCancel },
	})
}

// WaitChange returns when the order is not any more what it was: when its Version is another than the one that was seen, which is empty
// for an order never heard of. It sleeps until a worker tells of an outcome, or of a hold; of other changes it learns within Options.RecheckEvery.
//
// The errors are those of Wait.
func (p *Producer) WaitChange(ctx context.Context, eventID, orderID, version string) (Outcome, error) {
	return p.outcomes.wait(ctx, question{
		ref: domain.OrderRef{EventID: eventID, OrderID: orderID}, enough: func(o domain.Order) bool { return o.Version != version },
		about: func(t domain.RequestType) bool { return t.Opens() || t == domain.RequestPay },
	})
}

// What is enough for a wait to end.
func known(o domain.Order) bool   { return o.State != domain.OrderNone }
func decided(o domain.Order) bool { return o.State.Terminal() }
func ended(o domain.Order) bool   { return o.State.Terminal() && o.State != domain.OrderConfirmed }

// question is what is waited for.
type question struct {
	ref    domain.OrderRef
	enough func(domain.Order) bool

	entryID     string                        // of the request; empty: any that it is about
	about       func(domain.RequestType) bool // requests whose being set aside is an answer, if there is no entryID
	fingerprint string                        // of the request's body; empty: it has none, or any will do
	attempt     int                           // that the fingerprint is of, from 1; 0: it is of what opened the order
	change      int64                         // that the fingerprint is of, from 1; 0: likewise
}

// first is the fingerprint of what came first under the order_id, as the attempt, or under the number; empty if nothing is known to have.
func (q *question) first(o domain.Order) string {
	switch {
	case q.change > 0 && q.change == o.Change:
		return o.ChangeFingerprint
	case q.attempt > 0 && q.attempt == o.Attempt:
		return o.PayFingerprint
	case q.attempt == 0 && q.change == 0:
		return o.Fingerprint
	}
	return ""
}

// answer is what a look tells, an outcome or an error; ok is false if that is no answer yet.
func (q *question) answer(found domain.Looked) (outcome Outcome, ok bool, err error) {
	outcome = Outcome{EventID: q.ref.EventID, OrderID: q.ref.OrderID}
	if found.Err != nil {
		class := domain.ClassOf(found.Err)
		return outcome, class == domain.ClassFatal || class == domain.ClassPoison, fmt.Errorf("waiting for %s: %w", q.ref, found.Err)
	}
	o := found.Order
	if first := q.first(o); q.fingerprint != "" && first != "" && first != q.fingerprint {
		return outcome, true, domain.WithClass(domain.ClassReject,
			fmt.Errorf("order %s: %w: another request came first under this order_id, with other content", q.ref, domain.ErrConflict))
	}
	decided := q.change > 0 && o.Change == q.change
	switch {
	case q.change > 0 && o.Change > q.change:
		return outcome, true, domain.WithClass(domain.ClassReject,
			fmt.Errorf("order %s: what became of change %d: %w: change %d was decided since", q.ref, q.change, domain.ErrNotFound, o.Change))
	case decided:
		outcome.Refused, outcome.Detail = o.ChangeRefusal, o.ChangeDetail
	}
	if decided || q.enough(o) {
		outcome.Order = o
		return outcome, true, nil
	}
	if found.Over {
		return outcome, true, fmt.Errorf("order %s: %w", q.ref, domain.EventOver(q.ref.EventID))
	}
	for i := len(found.SetAside) - 1; i >= 0; i-- {
		s := found.SetAside[i]
		if q.entryID != "" && s.EntryID == q.entryID || q.entryID == "" && o.State == domain.OrderNone && q.about(s.Type) {
			return outcome, true, &SetAsideError{
				EventID: q.ref.EventID, OrderID: q.ref.OrderID, EntryID: s.EntryID, DeadID: s.DeadID, Reason: s.Reason,
			}
		}
	}
	return outcome, false, nil
}
