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

// Money that waits pins nothing: an order that is not settled soon leaves its log entry for a list of its own, and
// the entry is acknowledged. Whoever serves settlement takes from the list what is due, for ReclaimAfter at a time; so
// what a worker that died had taken is due again by itself.

const (
	// settleWithin bounds how long an order is tried, and how long an entry waits for its orders.
	settleWithin = time.Second
	// oweAtLeast and oweAtMost bound the pauses between two tries of an order that is owed. Each is twice the one before,
	// give or take half; as long as that, where the order only waited for its turn.
	oweAtLeast = 250 * time.Millisecond
	oweAtMost  = time.Minute
	// takeEvery bounds how long it takes until it is seen that an order is due; takeIdly does, where this worker
	// knows of none.
	takeEvery = time.Second
	takeIdly  = 10 * time.Second
	// owedShare is which part of Concurrency is for what is owed, however much there is to do besides: one in so many.
	owedShare = 8
	// longestReason is of what is noted of an order that is owed, in bytes.
	longestReason = 500
)

const reasonNoAnswer = "the payment gateway has not answered yet"

// watch takes orders out of their entries: when nothing else of the entry is under way, or when that takes too long.
func (s *settlement) watch(stop <-chan struct{}) {
	tick := time.NewTicker(settleWithin / 4)
	defer tick.Stop()
	sign := s.sign("watching")
	defer sign.rest()
	for {
		sign.within(settleWithin / 4)
		select {
		case e := <-s.movable:
			s.moveOut(e, "")
		case <-tick.C:
			for _, e := range s.late() {
				s.moveOut(e, reasonNoAnswer)
			}
		case <-stop:
			return
		}
	}
}

// late are the entries that have waited long enough.
func (s *settlement) late() (late []*settling) {
	s.lines.Lock()
	defer s.lines.Unlock()
	for e := range s.open {
		if time.Since(e.begun) >= settleWithin {
			late = append(late, e)
		}
	}
	return late
}

// moveOut puts the orders of an entry that are not settled on the list, or among the dead letters, and acknowledges the
// entry. What is under way goes on, as if it had been taken from the list; what has not begun is due at once.
func (s *settlement) moveOut(e *settling, reason string) {
	s.close(e)
	orders, underWay, first := s.unsettled(e, reason)
	if !first {
		return
	}
	s.keep(underWay)
	err := s.retry(func() error { return s.pool.ledger.Owe(s.working, s.partition, e.id, orders) })
	switch {
	case err == nil:
		s.finish(e.id)
	case s.working.Err() != nil:
		return // the entry is handed back
	default:
		s.deadLetter(domain.DeadEntry{ID: e.id, Reason: err.Error()})
	}
	for _, u := range orders {
		s.noteUnsettled(u, e.traceOf(u.Ref))
	}
	e.mu.Lock()
	e.moved = true
	var over []*line // since
	for _, l := range underWay {
		if l.over {
			over = append(over, l)
		}
	}
	e.mu.Unlock()
	for _, l := range over {
		s.report(l, l.end)
	}
}

// traceOf is whose trace an order of an entry is of, if it has begun: before that it may not have been read.
func (e *settling) traceOf(ref domain.OrderRef) domain.Trace {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.lines {
		if e.lines[i].begun && e.lines[i].owed.Ref == ref {
			return e.lines[i].order.Trace
		}
	}
	return ""
}

// unsettled is what becomes of the orders of an entry, and which of them are under way. It is said once.
func (s *settlement) unsettled(e *settling, reason string) (orders []domain.Unsettled, underWay []*line, first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.moving {
		return nil, nil, false
	}
	e.moving = true
	for i := range e.lines {
		l := &e.lines[i]
		switch {
		case l.over && l.end == ending{}:
		case l.over:
			orders = append(orders, s.next(l.owed, l.end))
		case l.begun:
			l.owed.Reason = reason
			underWay = append(underWay, l)
			orders = append(orders, domain.Unsettled{Owed: l.owed, Due: s.pool.cfg.ReclaimAfter})
		default:
			l.owed.Reason, l.owed.Attempts = reason, 0
			orders = append(orders, domain.Unsettled{Owed: l.owed})
		}
	}
	return orders, underWay, true
}

// next is what becomes of an order after a try that did not settle it.
func (s *settlement) next(o domain.Owed, end ending) domain.Unsettled {
	o.Reason = shortened(end.reason)
	if end.dead {
		return domain.Unsettled{Owed: o, Dead: true}
	}
	if !end.own {
		o.Attempts--
	}
	if s.reading.Err() != nil { // this worker ends, which is nothing to wait for
		return domain.Unsettled{Owed: o}
	}
	delay := time.Duration(o.DelayMillis) * time.Millisecond
	if !end.paced { // else it comes back for its turn: with ever longer pauses it would miss it
		delay *= 2
	}
	delay = min(max(delay, oweAtLeast), oweAtMost)
	o.DelayMillis = delay.Milliseconds()
	return domain.Unsettled{Owed: o, Due: jitter(delay)}
}

// takeOwed takes from the list what is due, as long as there is somebody to settle it, and of a share even if there is not:
// while more comes than the gateway takes, there never is. And it says of what is in hand that it is.
func (s *settlement) takeOwed() {
	lease := s.pool.cfg.ReclaimAfter
	every, owed := takeIdly, int64(0)
	sign := s.sign("taking what is owed")
	defer sign.rest()
	for pause(s.reading, jitter(min(lease/5, every))) {
		every = takeIdly
		if now := s.pool.stats.Owed.Load(); now != owed {
			every, owed = takeEvery, now
		}
		for more := true; more && s.reading.Err() == nil; {
			sign.within(2 * takeIdly) // the next pause in it
			most := min(max(s.cashiers.spare(), s.shareLeft()), readMost)
			if s.pool.gateway.pace.paused() {
				most = 0
			}
			inHand := s.kept()
			taken, err := s.pool.ledger.TakeOwed(s.working, s.partition, inHand, most, lease)
			if err != nil {
				if s.working.Err() == nil {
					s.pool.redisFailed(err)
				}
				break
			}
			s.pool.redis.worked()
			if len(inHand)+len(taken) > 0 {
				every = takeEvery
			}
			s.handOwed(taken)
			more = most > 0 && len(taken) == most
		}
	}
}

func (s *settlement) handOwed(taken []domain.Owed) {
	lines := make([]*line, len(taken))
	for i, o := range taken {
		lines[i] = &line{owed: o}
		if o.DelayMillis > 0 {
			s.pool.stats.retries[workOwed].Add(1)
		}
	}
	s.keep(lines)
	var fit []*line
	for _, l := range lines {
		if l.owed.Attempts > s.pool.cfg.MaxDeliveries {
			reason := fmt.Sprintf("%s (%d)", reasonDeliveries, l.owed.Attempts)
			if l.owed.Reason != "" {
				reason += ": " + l.owed.Reason
			}
			s.report(l, ending{reason: reason, dead: true})
			continue
		}
		fit = append(fit, l)
	}
	s.hand(fit)
}

// report says what came of an order that is on the list.
func (s *settlement) report(l *line, end ending) {
	var u domain.Unsettled
	do := func() error { return s.pool.ledger.OwedSettled(s.working, s.partition, l.owed) }
	if end != (ending{}) {
		u = s.next(l.owed, end)
		do = func() error { return s.pool.ledger.OweAgain(s.working, s.partition, l.owed, u) }
	}
	err := s.retry(do)
	if err != nil && s.working.Err() != nil {
		return // it is handed back
	}
	s.lines.Lock()
	delete(s.owed, l)
	s.lines.Unlock()
	switch {
	case err != nil:
		s.log.Error("could not note what came of what is owed: it is due again in a while", zap.Stringer("order", l.owed.Ref), zap.Error(err), traceID(l.order.Trace.ID()))
	case end != ending{}:
		s.noteUnsettled(u, l.order.Trace)
	}
}

func (s *settlement) noteUnsettled(u domain.Unsettled, of domain.Trace) {
	if u.Dead {
		s.noteSetAside(domain.DeadEntry{ID: u.Ref.String(), Reason: u.Reason, TraceID: of.ID()})
		return
	}
	s.pool.stats.Owed.Add(1)
	s.log.Debug("the money of an order waits", zap.Stringer("order", u.Ref), zap.Duration("due", u.Due), zap.String("reason", u.Reason), traceID(of.ID()))
}

// keep notes that orders of the list are in hand.
func (s *settlement) keep(lines []*line) {
	s.lines.Lock()
	defer s.lines.Unlock()
	for _, l := range lines {
		s.owed[l] = struct{}{}
	}
}

// kept are the orders of the list that are in hand.
func (s *settlement) kept() []domain.OrderRef {
	s.lines.Lock()
	defer s.lines.Unlock()
	refs := make([]domain.OrderRef, 0, len(s.owed))
	for l := range s.owed {
		refs = append(refs, l.owed.Ref)
	}
	return refs
}

// shareLeft is how much more may be taken from the list although nobody is free to settle it.
func (s *settlement) shareLeft() int {
	s.lines.Lock()
	defer s.lines.Unlock()
	left := max(s.pool.cfg.Concurrency/owedShare, 1)
	for l := range s.owed {
		if l.entry == nil {
			left--
		}
	}
	return max(left, 0)
}

// handBackOwed lets others have at once what is still in hand of the list, as consumer.handBack does with entries.
func (s *settlement) handBackOwed() {
	refs := s.kept()
	if len(refs) == 0 || errors.Is(context.Cause(s.reading), domain.ErrDataReplaced) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.working), s.pool.handBackTime())
	defer cancel()
	if _, err := s.pool.ledger.TakeOwed(ctx, s.partition, refs, 0, 0); err != nil {
		s.log.Warn("could not hand back what is owed, it is due again in a while", zap.Int("orders", len(refs)), zap.Error(err))
	}
}

// shortened is a reason of a length that is bounded, with no letter cut in two.
func shortened(reason string) string {
	if len(reason) <= longestReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:longestReason], "") + "…"
}
