package workers

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/domain"
)

// waiting are pays, and changes, whose hold is not there yet: it may be in the hands of a worker that died. They are asked for again, all that are due in
// one call, until it has come, or for PayWait by Redis's clock.
type waiting struct {
	mu   sync.Mutex
	all  []*waitingPay
	come chan struct{} // holds a token if one has come
}

type waitingPay struct {
	domain.Incoming
	firstMillis int64 // when it was asked for first
	pauses      pauses
	next        time.Time
}

// waitingOften bounds how often it is looked for those that are due, so that a call is for several.
const waitingOften = 20 * time.Millisecond

// waitForHold has it asked again for the hold that a request refers to.
func (r *purchase) waitForHold(a domain.Incoming, firstMillis int64) {
	w := &waitingPay{Incoming: a, firstMillis: firstMillis}
	w.next = time.Now().Add(w.pauses.next())
	r.setApart(a.EntryID)
	r.waiting.mu.Lock()
	r.waiting.all = append(r.waiting.all, w)
	r.waiting.mu.Unlock()
	select {
	case r.waiting.come <- struct{}{}:
	default:
	}
}

// due takes out those that are to be asked for now, or all; else it is when the next one is.
func (w *waiting) due(all bool) (due []*waitingPay, next time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	next = now.Add(time.Hour)
	w.all = slices.DeleteFunc(w.all, func(p *waitingPay) bool {
		if all || !p.next.After(now) {
			due = append(due, p)
			return true
		}
		if p.next.Before(next) {
			next = p.next
		}
		return false
	})
	return due, next
}

// askWaiting asks for those that wait, until stop; from the end of reading on, they are left for others.
func (r *purchase) askWaiting(stop <-chan struct{}) {
	ended := r.reading.Done()
	for {
		ending := r.reading.Err() != nil
		due, next := r.waiting.due(ending)
		switch {
		case ending:
			ended = nil
			for _, p := range due {
				r.leave(p.EntryID)
			}
		case len(due) > 0:
			for some := range slices.Chunk(due, readMost) {
				r.askAgain(some)
			}
			next = time.Now().Add(waitingOften)
		}
		timer := time.NewTimer(max(time.Until(next), waitingOften))
		select {
		case <-timer.C:
		case <-r.waiting.come:
		case <-ended:
		case <-stop:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// askAgain asks once for some that wait. Those whose hold is still missing wait on, or are set aside.
func (r *purchase) askAgain(some []*waitingPay) {
	r.attempt(len(some), func(i int) string { return some[i].EntryID }, func(first, end int) error {
		part := some[first:end]
		batch := make([]domain.Incoming, len(part))
		for i, p := range part {
			batch[i] = p.Incoming
		}
		replies, now, err := r.pool.ledger.Hold(r.working, r.partition, batch)
		if err != nil {
			return err
		}
		var goOn []domain.Incoming
		var with []domain.Reply
		for i, p := range part {
			switch {
			case replies[i].Verdict != domain.VerdictWait:
				r.bringBack(p.EntryID)
				goOn, with = append(goOn, p.Incoming), append(with, replies[i])
			case now-p.firstMillis > r.pool.cfg.PayWait.Milliseconds():
				r.deadLetter(domain.DeadEntry{
					ID: p.EntryID, Reason: fmt.Sprintf("unknown_order: no hold for it came within %s", r.pool.cfg.PayWait), TraceID: p.Request.TraceID(),
				})
			default:
				p.next = time.Now().Add(p.pauses.next())
				r.waiting.mu.Lock()
				r.waiting.all = append(r.waiting.all, p)
				r.waiting.mu.Unlock()
			}
		}
		r.dispatch(goOn, with, now)
		return nil
	})
}
