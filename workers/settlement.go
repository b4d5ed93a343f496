package workers

import (
	"context"
	"errors"
	"fmt"

	"holdfast/domain"
)

// settlement moves the money after an order's outcome, in one partition: it
// captures what was confirmed, and voids or refunds what was not, or not any more.
//
// Every step goes by the order, is idempotent at the gateway, and is made before
// the fact that asks for it is acknowledged. So a crash repeats a step and never
// leaves one out. Facts of one order may be handled at the same time by several
// workers: a void forbids a later capture, and a capture answers a later void
// with "captured", upon which it is refunded.
type settlement struct {
	*consumer
	acks chan string
}

func (p *Pool) newSettlement(partition int) (func(), error) {
	c, err := newConsumer(p, partition, domain.GroupSettlement)
	if err != nil {
		return nil, err
	}
	s := &settlement{consumer: c, acks: make(chan string, p.cfg.Concurrency)}
	c.handle = s.settle
	return func() {
		c.run(func(stop <-chan struct{}) {
			inBatches(s.acks, stop, func(ids []string) { s.ack(&p.stats.Settled, ids) })
		})
	}, nil
}

func (s *settlement) settle(entries []domain.Entry) {
	facts, passed := s.facts(entries, settles)
	for _, f := range facts {
		switch {
		case f.Type == domain.FactConfirmed:
			s.wg.Go(func() { s.capture(f) })
		case f.Was == domain.OrderConfirmed: // cancelled
			s.wg.Go(func() { s.giveBack(f) })
		default: // expired, or cancelled before it was confirmed
			s.wg.Go(func() { s.release(f) })
		}
	}
	s.ack(&s.pool.stats.Settled, passed)
}

// settles reports whether settlement has to do with a fact. Of a rejected order the
// gateway never heard; a declined one has no money there. Nor should it have heard of
// one that was cancelled before it was held; but Redis may have lost what it was
// before that, in a failover, and the gateway has lost nothing.
func settles(f domain.Fact) bool {
	switch f.Type {
	case domain.FactConfirmed, domain.FactExpired, domain.FactCancelled:
		return true
	case domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventCancelled,
		domain.FactHeld, domain.FactRejected, domain.FactDeclined:
		return false
	}
	return false
}

// capture collects the money of a confirmed order. If it is refused for good, the
// order is cancelled, unless it has been already, which is why it was refused.
func (s *settlement) capture(f domain.Fact) {
	payment, ok, err := s.settled(func(ctx context.Context) (domain.Payment, error) {
		payment, err := s.pool.gateway.Capture(ctx, s.pool.paymentName(f.Ref()))
		if err == nil && payment.Status == domain.PaymentStatusAuthorized {
			return payment, fmt.Errorf("captured, but the gateway says authorized: %w", domain.ErrUnknownOutcome)
		}
		return payment, err
	})
	switch {
	case !ok:
		s.leave(f.ID)
	case err == nil && (payment.Status == domain.PaymentStatusCaptured || payment.Status == domain.PaymentStatusRefunded):
		s.done(f.ID)
	default:
		s.attempt(1, func(int) string { return f.ID }, func(int, int) error {
			err := s.pool.ledger.CaptureFailed(s.working, s.partition, []domain.Cancellation{{EntryID: f.ID, Ref: f.Ref()}})
			if err == nil {
				s.pool.stats.Settled.Add(1)
				s.finish(f.ID)
			}
			return err
		})
	}
}

// release voids whatever was, or still may be, authorized for an order that was never confirmed.
func (s *settlement) release(f domain.Fact) {
	captured, ok := s.void(s.pool.paymentName(f.Ref()))
	switch {
	case !ok:
		s.leave(f.ID)
	case captured:
		// Only a confirmed order is captured by us. Somebody else did, and it is not ours to decide.
		s.deadLetter(domain.DeadEntry{ID: f.ID, Reason: fmt.Sprintf("order %s is %s, but its payment is captured at the gateway", f.Ref(), f.Type)})
	default:
		s.done(f.ID)
	}
}

// giveBack voids, or refunds, the payment of an order that was confirmed.
func (s *settlement) giveBack(f domain.Fact) {
	captured, ok := s.void(s.pool.paymentName(f.Ref()))
	if ok && captured {
		_, refunded, err := s.settled(func(ctx context.Context) (domain.Payment, error) {
			return s.pool.gateway.Refund(ctx, s.pool.paymentName(f.Ref()))
		})
		if refunded && err != nil {
			reason := "refund refused by the payment gateway"
			if errors.Is(err, domain.ErrNotFound) {
				reason = "refund: the payment gateway does not know the order any more"
			}
			s.deadLetter(domain.DeadEntry{ID: f.ID, Reason: reason})
			return
		}
		ok = refunded
	}
	if !ok {
		s.leave(f.ID)
		return
	}
	s.done(f.ID)
}

// done hands a fact to whoever acknowledges.
func (s *settlement) done(id string) {
	select {
	case s.acks <- id:
	case <-s.working.Done():
	}
}
