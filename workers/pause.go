package workers

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

const (
	// pausedLook is how often who waits for the end of a pause, or for the first look, sees whether it is known.
	pausedLook = 50 * time.Millisecond
	// unparkEvery is how often it is looked whether parked requests are to be put back in line; unparkLookEvery, while it is not known that
	// anything was ever paused.
	unparkEvery     = 500 * time.Millisecond
	unparkLookEvery = time.Minute
	unparkRounds    = 20
	// extendEvery is how often it is looked for holds to extend, while a pause says so.
	extendEvery = time.Second
)

// learnPauses looks what is paused. A user that may not look, because its permissions are those of before, goes on as if nothing were.
func (p *Pool) learnPauses() error {
	is, err := p.ledger.Pauses(p.reading)
	known := p.pauses.Load()
	switch {
	case err != nil && domain.CodeOf(err) == domain.CodeDenied:
		if known == nil {
			p.log.Warn("this worker may not look what is paused: it takes requests of that, too", zap.Error(err))
			p.pauses.Store(new(domain.Pauses))
		}
		return nil
	case err != nil:
		return err
	}
	if known == nil || known.Everything() != is.Everything() {
		if is.Everything() {
			p.log.Warn("everything is paused: no requests are taken until somebody resumes it")
		} else if known != nil {
			p.log.Info("requests are taken again")
		}
	}
	p.pauses.Store(&is)
	return nil
}

// paused is what is known to be.
func (p *Pool) paused() domain.Pauses {
	if known := p.pauses.Load(); known != nil {
		return *known
	}
	return nil
}

// Paused reports whether this worker takes no requests because everything is paused.
func (p *Pool) Paused() bool { return p.paused().Everything() }

// pausesHolds reports whether holds may have to be extended.
func (p *Pool) pausesHolds() bool {
	return slices.ContainsFunc(p.paused(), func(pause domain.Pause) bool {
		ago, known := p.clock.since(pause.HoldsUntilMillis)
		return pause.HoldsUntilMillis > 0 && (!known || ago <= 0)
	})
}

// mayTake waits, for whoever takes requests, until that is not paused, and it is known that it is not. It reports false if the worker ends first.
func (c *consumer) mayTake(sign *sign) bool {
	if c.group != domain.GroupWorkers {
		return true
	}
	for known := c.pool.pauses.Load(); known == nil || known.Everything(); known = c.pool.pauses.Load() {
		sign.rest()
		if !pause(c.reading, pausedLook) {
			return false
		}
	}
	return true
}

// park takes requests of paused events out of the line. What is in the list by event has no outcome until somebody resumes it.
func (r *purchase) park(events map[string][]string) {
	for eventID, ids := range events {
		var left []string
		if err := r.retry(func() (err error) {
			left, err = r.pool.ledger.Park(r.working, r.partition, eventID, ids)
			return err
		}); err != nil {
			var dead []domain.DeadEntry
			for _, id := range ids {
				if r.working.Err() != nil { // it ends
					r.leave(id)
					continue
				}
				dead = append(dead, domain.DeadEntry{ID: id, Reason: fmt.Sprintf("%s: event %s is paused, and its requests cannot be parked: %v", reasonNotParked, eventID, err)})
			}
			r.deadLetter(dead...)
			continue
		}
		var dead []domain.DeadEntry
		kept := make(map[string]bool, len(left))
		for _, id := range left {
			kept[id] = true
			dead = append(dead, domain.DeadEntry{ID: id, Reason: fmt.Sprintf("%s: event %s is paused, and this request cannot be parked: too many are, or it is unreadable", reasonNotParked, eventID)})
		}
		done := make([]string, 0, len(ids))
		for _, id := range ids {
			if !kept[id] {
				done = append(done, id)
			}
		}
		r.pool.stats.Parked.Add(int64(len(done)))
		r.finish(done...)
		r.deadLetter(dead...)
	}
}

const reasonNotParked = "not_parked"

// unpark puts requests of events that are not paused any more back in line.
func (p *Pool) unpark(partition int) error {
	events, err := p.ledger.Parked(p.reading, partition)
	if err != nil {
		return err
	}
	var failed error // of an event: the others do not wait for it
	for _, eventID := range events {
		left := int64(1)
		for round := 0; left > 0 && round < unparkRounds && !p.paused().Event(eventID); round++ {
			if _, left, err = p.ledger.Unpark(p.reading, partition, eventID, readMost); err != nil {
				failed = cmp.Or(failed, err)
				break
			}
		}
	}
	return failed
}
