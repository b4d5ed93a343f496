package workers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"holdfast/domain"
)

// settlement moves the money after an order's outcome, in one partition: it
// captures what was confirmed, and voids or refunds what was not, or not any more.
//
// Every step goes by the order, is idempotent at the gateway, and is made before
// the entry that asks for it is acknowledged, as a whole. So a crash repeats steps and never
// leaves one out. Facts of one order may be handled at the same time by several
// workers: a void forbids a later capture, and a capture answers a later void
// with "captured", upon which it is refunded.
type settlement struct {
	*consumer
	cashiers *crew[line]
	acks     chan string
}

// settling is a log entry whose facts are being settled.
type settling struct {
	id    string
	facts int

	mu      sync.Mutex
	left    int      // facts that are not
	given   bool     // the work on one of them was given up: the entry is for others
	reasons []string // why a person must look at some
}

// line is one fact of an entry, and the order that it is about.
type line struct {
	entry *settling
	domain.Fact
	order domain.Order
}

func (p *Pool) newSettlement(partition int) (func(), error) {
	c, err := newConsumer(p, partition, domain.GroupSettlement)
	if err != nil {
		return nil, err
	}
	s := &settlement{consumer: c, acks: make(chan string, p.cfg.Concurrency)}
	s.cashiers = newCrew(p.cfg.Concurrency, s.cash)
	c.handle = s.settle
	return func() {
		c.run(func(stop <-chan struct{}) { inBatches(s.acks, stop, s.ack) }, s.cashiers.stop)
	}, nil
}

func (s *settlement) settle(entries []domain.Entry) {
	found, passed := s.facts(entries, settles)
	s.ack(passed)
	var lines []line
	for _, e := range found {
		entry := &settling{id: e.id, facts: len(e.facts), left: len(e.facts)}
		for _, f := range e.facts {
			lines = append(lines, line{entry: entry, Fact: f})
		}
	}
	s.attemptEach(len(lines), func(first, end int) error {
		refs := make([]domain.OrderRef, 0, end-first)
		for _, l := range lines[first:end] {
			refs = append(refs, l.Ref())
		}
		orders, err := s.pool.ledger.Orders(s.working, refs)
		if err != nil {
			return err
		}
		for i := range orders {
			lines[first+i].order = whatIsKnown(lines[first+i].Fact, orders[i])
		}
		s.cashiers.hand(lines[first:end]...)
		return nil
	}, func(i int, err error) { s.setAside(lines[i], err.Error()) })
}

// cash moves the money of one order.
func (s *settlement) cash(l line) {
	if l.Type == domain.FactConfirmed {
		s.capture(l, l.order)
	} else {
		s.giveBack(l, l.order)
	}
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
func settles(t domain.FactType) bool {
	switch t {
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
func (s *settlement) capture(l line, o domain.Order) {
	if l.Amount() == 0 && l.AuthorizationID == "" { // it is free
		s.done(l)
		return
	}
	payment, err := s.settled(callCapture, func(ctx context.Context) (domain.Payment, error) {
		payment, err := s.pool.gateway.port.Capture(ctx, s.pool.paymentName(l.Ref()))
		if err == nil && payment.Status == domain.PaymentStatusAuthorized {
			return payment, fmt.Errorf("captured, but the gateway says authorized: %w", domain.ErrUnknownOutcome)
		}
		return payment, err
	})
	switch collected := err == nil && (payment.Status == domain.PaymentStatusCaptured || payment.Status == domain.PaymentStatusRefunded); {
	case collected:
		s.collected(l, o, payment)
	case errors.Is(err, domain.ErrUnacceptable):
		s.setAside(l, err.Error())
	case err == nil, errors.Is(err, domain.ErrRefused), errors.Is(err, domain.ErrNotFound):
		s.attemptEach(1, func(int, int) error {
			err := s.pool.ledger.CaptureFailed(s.working, s.partition, []domain.Cancellation{{Ref: l.Ref()}})
			if err == nil {
				s.pool.added(s.partition)
				s.done(l)
			}
			return err
		}, func(_ int, err error) { s.setAside(l, err.Error()) })
	default:
		s.giveUp(l)
	}
}

// collected ends the settlement of a confirmed order, if it was its money.
func (s *settlement) collected(l line, o domain.Order, payment domain.Payment) {
	if m := matchAnswer(o, payment); m.Any() {
		s.setAside(l, fmt.Sprintf("payment_mismatch: captured, %s", m.Detail))
		return
	}
	s.done(l)
}

// giveBack voids whatever was, or still may be, authorized for an order that has ended,
// and refunds what was captured of one that was confirmed.
func (s *settlement) giveBack(l line, o domain.Order) {
	switch reason, err := s.takeBack(l.Ref(), o, l.Was == domain.OrderConfirmed); {
	case err != nil:
		s.giveUp(l)
	case reason != "":
		s.setAside(l, reason)
	default:
		s.done(l)
	}
}

// done notes that a fact is settled.
func (s *settlement) done(l line) {
	s.pool.stats.Settled.Add(1)
	s.over(l, "", false)
}

// setAside notes that a person must look at what follows from a fact, and why.
func (s *settlement) setAside(l line, reason string) {
	if l.entry.facts > 1 {
		reason = fmt.Sprintf("%s %s: %s", l.Name(), l.Ref(), reason)
	}
	s.over(l, reason, false)
}

// giveUp leaves a fact, and with it its entry, to others: this worker is to end first.
func (s *settlement) giveUp(l line) { s.over(l, "", true) }

// over ends the work on a fact. With the last of its entry that is acknowledged, or set aside for
// those of its facts that a person must look at: whoever redrives it settles all of them again, to no other effect.
func (s *settlement) over(l line, reason string, given bool) {
	e := l.entry
	e.mu.Lock()
	e.left--
	e.given = e.given || given
	if reason != "" {
		e.reasons = append(e.reasons, reason)
	}
	last := e.left == 0
	e.mu.Unlock()
	switch {
	case !last:
	case e.given:
		s.leave(e.id)
	case len(e.reasons) > 0:
		s.deadLetter(domain.DeadEntry{ID: e.id, Reason: strings.Join(e.reasons, "; ")})
	default:
		select {
		case s.acks <- e.id:
		case <-s.working.Done():
		}
	}
}
