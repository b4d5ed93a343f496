package workers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"holdfast/domain"
)

// settlement moves the money after an order's outcome, in one partition: it
// captures what is confirmed, and voids or refunds what is not, or not any more.
//
// A fact only wakes it: it goes by what the order is, and brings the payment to that. Every step is
// idempotent at the gateway, and is made before the entry that asks for it is acknowledged. So a crash
// repeats steps and never leaves one out. An order may be in hand several times, with several
// workers: a void forbids a later capture, and a capture answers a later void
// with "captured", upon which it is refunded.
//
// An entry has many facts, and is acknowledged as a whole, soon: orders whose money does not move in time are
// taken out of it, onto the list of what is owed (see owed.go).
type settlement struct {
	*consumer
	cashiers *crew[*line]
	acks     chan string
	movable  chan *settling // entries of which nothing is under way, and not all is settled

	lines sync.Mutex
	open  map[*settling]struct{} // entries that are neither acknowledged nor on their way to be
	owed  map[*line]struct{}     // taken from the list, or left on it while it is still under way
}

// settling is a log entry whose facts are being settled.
type settling struct {
	id    string
	begun time.Time
	lines []line

	mu        sync.Mutex
	left      int  // lines that are not over
	unsettled bool // one is over, and not settled
	moving    bool // what is not settled is taken out of it
	moved     bool // so it is
}

// line is an order that is to be settled.
type line struct {
	owed  domain.Owed // of one in an entry: as it would be owed
	order domain.Order
	entry *settling // nil if it was taken from the list

	begun bool // these are guarded by the entry
	over  bool
	end   ending
}

// ending is what came of a try to settle an order. The zero value: its money is where it belongs.
type ending struct {
	reason string // why it is not; for people
	dead   bool   // a person must look
	own    bool   // else: it may be because of the order
	paced  bool   // else: because so many calls are to be made, and the gateway takes only so many
}

func (p *Pool) newSettlement(partition int) (func(), error) {
	c, err := newConsumer(p, partition, domain.GroupSettlement)
	if err != nil {
		return nil, err
	}
	s := &settlement{
		consumer: c, acks: make(chan string, p.cfg.Concurrency), movable: make(chan *settling, p.cfg.Concurrency),
		open: make(map[*settling]struct{}), owed: make(map[*line]struct{}),
	}
	s.cashiers = newCrew(p.cfg.Concurrency, s.cash)
	c.handle = s.settle
	return func() {
		var handedBack sync.WaitGroup
		c.run(s.beside, func() {
			s.cashiers.stop()
			handedBack.Go(s.handBackOwed) // beside the entries: there is time for one after the other only once
		})
		handedBack.Wait()
	}, nil
}

// beside is what goes on while entries are settled.
func (s *settlement) beside(stop <-chan struct{}) {
	var all sync.WaitGroup
	all.Go(func() { inBatches(s.sign("acknowledging"), s.acks, stop, s.breathNow, s.ack) })
	all.Go(s.takeOwed)
	s.watch(stop)
	all.Wait()
}

func (s *settlement) settle(entries []domain.Entry) {
	found, passed := s.facts(entries, settles)
	for _, id := range passed {
		send(s.working, s.acks, id)
	}
	var lines []*line
	for _, e := range found {
		entry := &settling{id: e.id, begun: time.Now(), lines: make([]line, len(e.facts)), left: len(e.facts)}
		for i, f := range e.facts {
			if f.Type == domain.FactCancelled && e.deliveries <= 1 {
				s.pool.stats.order(domain.OrderCancelled, f.Reason, 1)
			}
			entry.lines[i] = line{entry: entry, owed: domain.Owed{Ref: f.Ref(), FactID: f.ID, Attempts: 1}}
		}
		s.lines.Lock()
		s.open[entry] = struct{}{}
		s.lines.Unlock()
		if e.worn { // one of them may be deadly: from here on that is counted for each
			s.moveOut(entry, e.wornOut())
			continue
		}
		for i := range entry.lines {
			lines = append(lines, &entry.lines[i])
		}
	}
	s.hand(lines)
}

// hand reads the orders, and has their money moved.
func (s *settlement) hand(lines []*line) {
	s.attemptEach(len(lines), func(first, end int) error {
		refs := make([]domain.OrderRef, 0, end-first)
		for _, l := range lines[first:end] {
			refs = append(refs, l.owed.Ref)
		}
		orders, err := s.pool.ledger.Orders(s.working, refs)
		if err != nil {
			return err
		}
		for i := range orders {
			lines[first+i].order = orders[i]
		}
		s.cashiers.hand(lines[first:end]...)
		return nil
	}, func(i int, err error) { s.over(lines[i], ending{reason: err.Error(), dead: true}) })
}

// cash moves the money of one order.
func (s *settlement) cash(l *line) {
	if l.entry != nil && !l.entry.begin(l) {
		return
	}
	begun := time.Now()
	by := begun.Add(settleWithin)
	var end ending
	switch o := l.order; {
	case l.entry != nil && o.Version != l.owed.FactID:
		// A newer fact is in the log, of which whoever has it makes the same; or Redis has lost this one.
		s.over(l, end)
		return
	case o.KeepsMoney():
		end = s.collect(by, l.owed.Ref, o)
	case o.State == domain.OrderExpired, o.State == domain.OrderCancelled:
		end = endingOf(s.takeBack(by, l.owed.Ref, o, o.ConfirmedAtMillis > 0))
	default: // of these there is no money
		s.over(l, end)
		return
	}
	s.pool.traceSettle(begun, l, end)
	s.over(l, end)
}

// begin reports whether a line is still to be settled with its entry.
func (e *settling) begin(l *line) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.begun = !e.moving
	return l.begun
}

func endingOf(reason string, err error) ending {
	switch {
	case err != nil:
		failed, ok := errors.AsType[unsettledError](err)
		later, isLater := errors.AsType[*domain.LaterError](err)
		return ending{reason: err.Error(), own: ok && failed.own, paced: errors.Is(err, errNoTurn) || isLater && later.Busy}
	case reason != "":
		return ending{reason: reason, dead: true}
	}
	return ending{}
}

// settles reports whether settlement has to do with a fact. Of a rejected order the
// gateway never heard; a declined one has no money there. Nor should it have heard of
// one that was cancelled before it was held; but Redis may have lost what it was
// before that, in a failover, and the gateway has lost nothing.
//
// A change of a confirmed order is settled even if it is refused: an order's money goes with the newest fact about it.
func settles(t domain.FactType) bool {
	switch t {
	case domain.FactConfirmed, domain.FactExpired, domain.FactCancelled, domain.FactReduced, domain.FactChanged, domain.FactChangeRefused, domain.FactRefundGranted, domain.FactPaymentDisputed, domain.FactRestored:
		return true
	case domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventCancelled, domain.FactEventForgotten, domain.FactEventRecalled,
		domain.FactHeld, domain.FactLapsed, domain.FactRejected, domain.FactDeclined, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactForgotten, domain.FactOrderRecalled:
		return false
	}
	return false
}

// collect brings the payments of an order that is confirmed, or was and keeps some of its money, to what it says: the attempt that was confirmed
// is captured, and gives back the refund total; those before, which were declined, stay without money.
func (s *settlement) collect(by time.Time, ref domain.OrderRef, o domain.Order) ending {
	collected, end := true, ending{}
	if o.Dispute == (domain.Dispute{}) { // else it was captured, and that it may not be any more is for a person to judge
		collected, end = s.capture(by, ref, o)
	}
	if collected && o.RefundTotal() > 0 {
		end = endingOf(s.refund(by, o, s.pool.attempt(ref, o, o.LastAttempt())))
	}
	for n := 1; n < o.LastAttempt() && end == (ending{}); n++ {
		_, reason, err := s.takeBackAttempt(by, ref, o, n, false)
		end = endingOf(reason, err)
	}
	return end
}

// capture collects the money of an order. If it is refused for good, the
// order is cancelled, unless it has been already, which is why it was refused; if it was to keep its money, it keeps none. collected
// reports whether there is money that can be given back.
func (s *settlement) capture(by time.Time, ref domain.OrderRef, o domain.Order) (collected bool, end ending) {
	if o.Free() {
		return false, ending{}
	}
	payment, err := s.settled(callCapture, by, func(ctx context.Context) (domain.Payment, error) {
		payment, err := s.pool.gateway.port.Capture(ctx, s.pool.attempt(ref, o, o.LastAttempt()))
		if err == nil && payment.Status == domain.PaymentStatusAuthorized {
			return payment, fmt.Errorf("captured, but the gateway says authorized: %w", domain.ErrUnknownOutcome)
		}
		return payment, err
	})
	if errors.Is(err, domain.ErrRefused) && o.RefundTotal() > 0 { // perhaps because it was captured before, and given back
		payment, err = s.settled(callLookUp, by, func(ctx context.Context) (domain.Payment, error) {
			return s.pool.gateway.port.Lookup(ctx, s.pool.attempt(ref, o, o.LastAttempt()))
		})
	}
	switch captured := err == nil && (payment.Status == domain.PaymentStatusCaptured || payment.Status == domain.PaymentStatusRefunded); {
	case captured:
		if m := matchAnswer(o, payment); m.Any() {
			return false, endingOf("payment_mismatch: captured, "+m.Detail, nil)
		}
		return true, ending{}
	case errors.Is(err, domain.ErrUnacceptable):
		return false, endingOf(err.Error(), nil)
	case err == nil, errors.Is(err, domain.ErrRefused), errors.Is(err, domain.ErrNotFound):
		err := s.retry(func() error {
			return s.pool.ledger.CaptureFailed(s.working, s.partition, []domain.Cancellation{{Ref: ref, Version: o.Version}})
		})
		switch {
		case err == nil:
			s.pool.added(s.partition)
		case domain.ClassOf(err) == domain.ClassPoison:
			return false, endingOf(err.Error(), nil)
		}
		return false, endingOf("", err)
	}
	return false, endingOf("", err)
}

// over ends a try to settle an order. With the last one of an entry that is acknowledged, if all are settled.
func (s *settlement) over(l *line, end ending) {
	settled := end == ending{}
	if settled {
		s.pool.stats.Settled.Add(1)
		if ago, known := s.pool.clock.since(domain.EntryMillis(l.owed.FactID)); known {
			s.pool.stats.stages[StageSettled].observe(ago, 1)
		}
	}
	e := l.entry
	if e == nil {
		s.report(l, end)
		return
	}
	e.mu.Lock()
	l.over, l.end = true, end
	e.left--
	e.unsettled = e.unsettled || !settled
	moved, last, all := e.moved, e.left == 0 && !e.moving, !e.unsettled
	e.moving = e.moving || last && all // there is nothing to move
	e.mu.Unlock()
	switch {
	case moved:
		s.report(l, end)
	case last && all:
		s.close(e)
		send(s.working, s.acks, e.id)
	case last:
		send(s.working, s.movable, e)
	}
}

// send hands a value over, unless ctx ends.
func send[T any](ctx context.Context, to chan<- T, value T) {
	select {
	case to <- value:
	case <-ctx.Done():
	}
}

// close notes that nothing of an entry is waited for any more.
func (s *settlement) close(e *settling) {
	s.lines.Lock()
	defer s.lines.Unlock()
	delete(s.open, e)
}
