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
	s.ack(&s.pool.stats.Settled, passed)
	ended := make([]domain.Fact, 0, len(facts)) // expired or cancelled
	for _, f := range facts {
		if f.Type == domain.FactConfirmed {
			s.wg.Go(func() { s.capture(f) })
		} else {
			ended = append(ended, f)
		}
	}
	s.withOrders(ended, func(f domain.Fact, o domain.Order) { s.wg.Go(func() { s.giveBack(f, o) }) })
}

// withOrders calls do for facts with the orders that they are about.
func (s *settlement) withOrders(facts []domain.Fact, do func(domain.Fact, domain.Order)) {
	s.attempt(len(facts), func(i int) string { return facts[i].ID }, func(first, end int) error {
		refs := make([]domain.OrderRef, 0, end-first)
		for _, f := range facts[first:end] {
			refs = append(refs, f.Ref())
		}
		orders, err := s.pool.ledger.Orders(s.working, refs)
		if err != nil {
			return err
		}
		for i, f := range facts[first:end] {
			do(f, whatIsKnown(f, orders[i]))
		}
		return nil
	})
}

// whatIsKnown is the order that a payment must match. Redis may have lost it, or what it
// was when the fact came: then it is what the fact says, and that may be nothing.
func whatIsKnown(f domain.Fact, o domain.Order) domain.Order {
	if o.Currency != "" && (f.Type == domain.FactExpired || o.ConfirmedAtMillis == confirmedAt(f)) {
		return o
	}
	return domain.Order{State: o.State, CustomerID: f.CustomerID, Section: f.Section, Quantity: f.Quantity, UnitPrice: f.UnitPrice, Currency: f.Currency}
}

func confirmedAt(f domain.Fact) int64 {
	if f.Type == domain.FactConfirmed {
		return f.AtMillis
	}
	return f.ConfirmedAtMillis
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
	if f.Amount() == 0 && f.AuthorizationID == "" { // it is free
		s.done(f.ID)
		return
	}
	payment, err := s.settled(callCapture, func(ctx context.Context) (domain.Payment, error) {
		payment, err := s.pool.gateway.port.Capture(ctx, s.pool.paymentName(f.Ref()))
		if err == nil && payment.Status == domain.PaymentStatusAuthorized {
			return payment, fmt.Errorf("captured, but the gateway says authorized: %w", domain.ErrUnknownOutcome)
		}
		return payment, err
	})
	switch collected := err == nil && (payment.Status == domain.PaymentStatusCaptured || payment.Status == domain.PaymentStatusRefunded); {
	case collected && payment.Fingerprint != "": // of which the fact says nothing
		s.withOrders([]domain.Fact{f}, func(f domain.Fact, o domain.Order) { s.collected(f, o, payment) })
	case collected:
		s.collected(f, whatIsKnown(f, domain.Order{}), payment)
	case errors.Is(err, domain.ErrUnacceptable):
		s.deadLetter(domain.DeadEntry{ID: f.ID, Reason: err.Error()})
	case err == nil, errors.Is(err, domain.ErrRefused), errors.Is(err, domain.ErrNotFound):
		s.attempt(1, func(int) string { return f.ID }, func(int, int) error {
			err := s.pool.ledger.CaptureFailed(s.working, s.partition, []domain.Cancellation{{EntryID: f.ID, Ref: f.Ref()}})
			if err == nil {
				s.pool.stats.Settled.Add(1)
				s.finish(f.ID)
			}
			return err
		})
	default:
		s.leave(f.ID)
	}
}

// collected ends the settlement of a confirmed order, if it was its money.
func (s *settlement) collected(f domain.Fact, o domain.Order, payment domain.Payment) {
	if m := matchAnswer(o, payment); m.Any() {
		s.deadLetter(domain.DeadEntry{ID: f.ID, Reason: fmt.Sprintf("payment_mismatch: captured, %s", m.Detail)})
		return
	}
	s.done(f.ID)
}

// giveBack voids whatever was, or still may be, authorized for an order that has ended,
// and refunds what was captured of one that was confirmed.
func (s *settlement) giveBack(f domain.Fact, o domain.Order) {
	switch reason, err := s.takeBack(f.Ref(), o, f.Was == domain.OrderConfirmed); {
	case err != nil:
		s.leave(f.ID)
	case reason != "":
		s.deadLetter(domain.DeadEntry{ID: f.ID, Reason: reason})
	default:
		s.done(f.ID)
	}
}

// done hands a fact to whoever acknowledges.
func (s *settlement) done(id string) {
	select {
	case s.acks <- id:
	case <-s.working.Done():
	}
}
