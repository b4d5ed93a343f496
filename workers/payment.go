package workers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

// authorize asks for an authorization until the gateway has answered or limit is over.
// After a call without an answer it asks what became of it before it sends it again;
// always under the same key, the order. An error that is final is the gateway's answer;
// any other says that there is none: errUnheard that the gateway has not heard of the payment either, as far as is known.
func (c *consumer) authorize(r domain.PaymentRequest, limit time.Duration) (domain.Payment, error) {
	g, end := c.pool.gateway, time.Now().Add(limit)
	authorize := func(ctx context.Context) (domain.Payment, error) { return g.port.Authorize(ctx, r) }
	var wait pauses
	var odd oddity
	unheard := true
	for {
		payment, err := g.ask(c.reading, c.working, callAuthorize, end, end, authorize)
		if unheard && errors.Is(err, errNotAsked) {
			return payment, errUnheard
		}
		if hasAnswer(err) {
			return payment, err
		}
		unheard = false
		if err := odd.of(&g.kinds[callAuthorize], err); err != nil {
			return domain.Payment{}, err
		}
		if turnedAway(err) {
			c.pool.stats.retries[workPayment].Add(1)
			continue // to the end of the line
		}
		if err != nil && !errors.Is(err, domain.ErrMisconfigured) {
			payment, err = g.ask(c.reading, c.working, callLookUp, end, end, func(ctx context.Context) (domain.Payment, error) { return g.port.Lookup(ctx, r.Attempt) })
			if hasAnswer(err) {
				return payment, err
			}
			unheard = errors.Is(err, domain.ErrNotFound)
		}
		if !c.backOff(min(wait.next(), max(time.Until(end), 0))) {
			return domain.Payment{}, errNotAsked
		}
		c.pool.stats.retries[workPayment].Add(1)
	}
}

// errUnheard: the time for an authorization was over before the gateway had heard of it.
var errUnheard = fmt.Errorf("it has not heard of the payment: %w", errNotAsked)

// hasAnswer reports whether a call to authorize has got its answer, or will get none.
func hasAnswer(err error) bool { return err == nil || final(err) || errors.Is(err, errNotAsked) }

// turnedAway reports whether the gateway takes calls, but had enough of them. It keeps the
// pool's pace, so that no pause is due.
func turnedAway(err error) bool {
	var later *domain.LaterError
	return errors.As(err, &later) && later.Busy
}

// settled calls the gateway until it has answered. An error that is final, or
// domain.ErrNotFound, is its answer; any other says that the worker is to end first, or, if by is not zero, that
// nothing is tried any more after that time: what is under way then is waited for.
func (c *consumer) settled(kind call, by time.Time, do func(context.Context) (domain.Payment, error)) (domain.Payment, error) {
	k := &c.pool.gateway.kinds[kind]
	var wait pauses
	var odd oddity
	var failed unsettledError
	answered := k.answered.Load()
	for {
		payment, err := c.pool.gateway.ask(c.reading, c.working, kind, by, time.Time{}, do)
		if err == nil || final(err) || errors.Is(err, domain.ErrNotFound) {
			return payment, err
		}
		if errors.Is(err, errNotAsked) {
			return payment, failed.or(err)
		}
		if err := odd.of(k, err); err != nil {
			return domain.Payment{}, err
		}
		if !by.IsZero() {
			var later *domain.LaterError
			failed = unsettledError{cause: err, own: !errors.As(err, &later) && k.answered.Load() != answered}
		}
		pause := time.Duration(0)
		if !turnedAway(err) {
			pause = wait.next()
		}
		if !by.IsZero() && time.Now().Add(pause).After(by) || pause > 0 && !c.backOff(pause) {
			return domain.Payment{}, failed.or(errNotAsked)
		}
		c.pool.stats.retries[workPayment].Add(1)
	}
}

// unsettledError says that a call was not answered in time.
type unsettledError struct {
	cause error
	own   bool // it may be because of this order: others were answered meanwhile, and the gateway did not say "later"
}

func (e unsettledError) Error() string { return e.cause.Error() }

func (e unsettledError) Unwrap() error { return e.cause }

// or is another error if there is none of this kind.
func (e unsettledError) or(err error) error {
	if e.cause == nil {
		return err
	}
	return e
}

// oddity counts how often one payment's call was answered with what is no answer, while
// others of its kind were: it is not the gateway that is misconfigured then.
type oddity struct {
	answered int64 // calls of the kind, the last time
	times    int
}

const mostOddities = 20

// of returns an error of domain.ErrUnacceptable once it is enough.
func (o *oddity) of(k *kind, err error) error {
	if !errors.Is(err, domain.ErrMisconfigured) {
		return nil
	}
	answered := k.answered.Load()
	if answered != o.answered {
		o.times++
	}
	if o.answered = answered; o.times <= mostOddities {
		return nil
	}
	return fmt.Errorf("%w: %d times, while others were answered: %w", domain.ErrUnacceptable, mostOddities, err)
}

// takeBack makes sure that no money is, or will be, reserved or taken for an order that
// has ended, whichever attempt to pay it is of. Since one follows another only when that was declined, the first one of which the gateway
// has never heard is the last, or what comes behind it is not there either: so also what Redis has lost of an order is found.
// reason and err are those of takeBackAttempt.
func (c *consumer) takeBack(by time.Time, ref domain.OrderRef, o domain.Order, wasConfirmed bool) (reason string, err error) {
	if c.unpaid(o, wasConfirmed) {
		return "", nil
	}
	last := o.LastAttempt()
	var reasons []string
	for n := 1; n <= domain.MaxAttempts; n++ {
		was, reason, err := c.takeBackAttempt(by, ref, o, n, wasConfirmed && n == last)
		if err != nil {
			return "", err
		}
		if reason != "" {
			reasons = append(reasons, reason)
		}
		if n >= last && (was != domain.PaymentStatusDeclined || o.RequestType == domain.RequestPurchase) {
			break
		}
	}
	return strings.Join(reasons, "; "), nil
}

// unpaid reports whether the gateway has never heard of an order, because it costs nothing.
func (c *consumer) unpaid(o domain.Order, wasConfirmed bool) bool {
	return o.Free() && (wasConfirmed || c.pool.freeOrders)
}

// takeBackAttempt does so for one attempt: it voids, and, if that was confirmed, refunds what was captured. What may be
// somebody else's it does not touch: then, or if the gateway refuses for good, reason says
// why a person must look. An error is that of settled. was is how the payment was found, empty if the gateway had not heard of it.
func (c *consumer) takeBackAttempt(by time.Time, ref domain.OrderRef, o domain.Order, n int, wasConfirmed bool) (was domain.PaymentStatus, reason string, err error) {
	g, attempt := c.pool.gateway.port, c.pool.attempt(ref, o, n)
	payment, err := c.settled(callLookUp, by, func(ctx context.Context) (domain.Payment, error) { return g.Lookup(ctx, attempt) })
	switch {
	case errors.Is(err, domain.ErrNotFound): // not yet: what is still under way is forbidden
	case final(err):
		return "", err.Error(), nil
	case err != nil:
		return "", "", err
	}
	was = payment.Status
	open := payment.Status == domain.PaymentStatusAuthorized || payment.Status == domain.PaymentStatusActionRequired
	if m := domain.MatchPayment(o, payment); open && m.Foreign {
		return was, c.leftAlone(ref, o, payment, m), nil
	}
	if attempt.AuthorizationID == "" {
		attempt.AuthorizationID = payment.AuthorizationID
	}
	if payment.Status == "" || open {
		payment, err = c.settled(callVoid, by, func(ctx context.Context) (domain.Payment, error) { return g.Void(ctx, attempt) })
		switch {
		case errors.Is(err, domain.ErrNotFound):
			return was, "", nil
		case final(err):
			return was, err.Error(), nil
		case err != nil:
			return was, "", err
		}
		if payment.Amount == domain.AmountNotTold {
			payment.Amount = o.PaidAmount() // that of a void need not be told again
		}
	}
	m := domain.MatchPayment(o, payment)
	switch {
	case payment.Status == domain.PaymentStatusCaptured && (!wasConfirmed || m.Any()):
		// Only a confirmed order is captured by us. Somebody else did, and it is not ours to decide.
		return was, c.leftAlone(ref, o, payment, m), nil
	case payment.Status == domain.PaymentStatusCaptured:
		reason, err = c.refund(by, o, attempt)
		return was, reason, err
	case wasConfirmed && payment.Status == domain.PaymentStatusRefunded && m.Any():
		return was, refundDiffers(m), nil
	case m.Foreign && payment.Status == domain.PaymentStatusVoided:
		return was, fmt.Sprintf("payment_mismatch: the payment under its name is voided, %s", m.Detail), nil
	}
	return was, "", nil
}

// refund brings what was given back up to what the order says.
func (c *consumer) refund(by time.Time, o domain.Order, attempt domain.Attempt) (reason string, err error) {
	total := o.RefundDue()
	if total == 0 && o.RefundTotal() > 0 { // the customer has it from their bank, or may yet: what is known of that then wakes whoever does this
		return "", nil
	}
	payment, err := c.settled(callRefund, by, func(ctx context.Context) (domain.Payment, error) {
		payment, err := c.pool.gateway.port.Refund(ctx, attempt, total)
		if err == nil && payment.Refunded < total {
			return payment, fmt.Errorf("refunded, but the gateway says %d of %d: %w", payment.Refunded, total, domain.ErrUnknownOutcome)
		}
		return payment, err
	})
	switch {
	case errors.Is(err, domain.ErrNotFound):
		return "refund: the payment gateway does not know the order any more", nil
	case errors.Is(err, domain.ErrRefused):
		return c.refundRefused(by, o, attempt)
	case final(err):
		return err.Error(), nil
	case err != nil:
		return "", err
	}
	if m := matchAnswer(o, payment); m.Any() {
		return refundDiffers(m), nil
	}
	return "", nil
}

// refundRefused keeps it with the order, if its payment is disputed: then what is known of that says what is to be given back, and when. Otherwise
// a person must look.
func (c *consumer) refundRefused(by time.Time, o domain.Order, attempt domain.Attempt) (reason string, err error) {
	payment, err := c.settled(callLookUp, by, func(ctx context.Context) (domain.Payment, error) { return c.pool.gateway.port.Lookup(ctx, attempt) })
	if err != nil && !final(err) && !errors.Is(err, domain.ErrNotFound) {
		return "", err
	}
	ref, dispute := attempt.Name.OrderRef, domain.Dispute{}
	if err == nil {
		dispute = c.disputeOf(ref, o, payment)
	}
	if dispute == (domain.Dispute{}) {
		return "refund refused by the payment gateway", nil
	}
	err = c.retry(func() error {
		_, _, err := c.pool.ledger.Resolve(c.working, c.partition, []domain.Resolution{{Ref: ref, Order: o, Attempt: o.LastAttempt(), Dispute: dispute}})
		return err
	})
	switch {
	case err == nil:
		c.pool.added(c.partition)
	case domain.ClassOf(err) == domain.ClassPoison:
		return err.Error(), nil
	}
	return "", err
}

// disputeOf is what a payment says of a dispute of an order that is confirmed, or was, if that is news; none, if the payment is not
// the order's.
func (c *consumer) disputeOf(ref domain.OrderRef, o domain.Order, p domain.Payment) domain.Dispute {
	d, isNews := o.NewDispute(p.Dispute)
	if !isNews {
		return domain.Dispute{}
	}
	if m := domain.MatchPayment(o, p); m.Any() {
		c.log.Warn("a dispute of a payment that is not the order's was left alone", zap.Stringer("order", ref), zap.String("difference", m.Detail))
		return domain.Dispute{}
	}
	c.log.Warn("a payment is disputed", zap.Stringer("order", ref), zap.String("dispute", string(d.State)), zap.Int64("amount", d.Amount))
	return d
}

func refundDiffers(m domain.Mismatch) string {
	return "payment_mismatch: refunded, " + m.Detail
}

// matchAnswer is domain.MatchPayment for the answer to a call that did something to what
// was authorized: that need not tell the amount again.
func matchAnswer(o domain.Order, p domain.Payment) domain.Mismatch {
	if p.Amount == domain.AmountNotTold {
		p.Amount = o.PaidAmount()
	}
	return domain.MatchPayment(o, p)
}

// leftAlone tells that a payment was not touched, and is the reason for its dead letter.
func (c *consumer) leftAlone(ref domain.OrderRef, o domain.Order, p domain.Payment, m domain.Mismatch) string {
	c.log.Warn("a payment that may be somebody else's was left alone",
		zap.Stringer("order", ref), zap.String("payment", string(p.Status)), zap.String("difference", m.Detail), traceID(o.Trace.ID()))
	reason := fmt.Sprintf("order %s is %s, but its payment is %s at the gateway", ref, o.State, p.Status)
	if m.Any() {
		reason += ", " + m.Detail
	}
	return reason
}
