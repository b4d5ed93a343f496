package workers

import (
	"context"
	"time"
)

// bell tells a reader of a partition's log that this worker has added to it. Who takes requests adds nearly
// all that there is to read, and knows when: a reader that blocked in Redis would be woken by every entry, most
// of which are not for it. What others have added, it finds when it looks by itself.
type bell struct {
	now  chan struct{} // holds a token if there is something to do
	soon chan struct{} // holds one if there is something to pass over
}

// passWithin is how long an entry that only has to be passed over may wait for one that is not.
const passWithin = 50 * time.Millisecond

func newBell() *bell { return &bell{make(chan struct{}, 1), make(chan struct{}, 1)} }

// wait returns when there is something to read, after d at the latest, or when ctx ends.
func (b *bell) wait(ctx context.Context, d time.Duration) {
	until := time.Now().Add(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-b.soon:
			if time.Until(until) > passWithin {
				until = time.Now().Add(passWithin)
				timer.Reset(passWithin)
			}
		case <-b.now:
			return
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// hear makes a bell for a reader of a partition's log; none for a worker that adds nearly nothing to it.
func (p *Pool) hear(partition int) *bell {
	if !p.cfg.has(RolePurchase) {
		return nil
	}
	b := newBell()
	p.bells[partition] = append(p.bells[partition], b)
	return b
}

// added tells this worker's readers of a log that there are facts of orders that have ended, or were confirmed.
func (p *Pool) added(partition int) {
	for _, b := range p.bells[partition] {
		ring(b.now)
	}
}

// addedHolds tells them that there may be entries which concern none of them.
func (p *Pool) addedHolds(partition int) {
	for _, b := range p.bells[partition] {
		ring(b.soon)
	}
}
