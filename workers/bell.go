package workers

import (
	"context"
	"time"

	"holdfast/domain"
)

// bell tells a reader of a partition's log that this worker has added to it. Who takes requests adds nearly
// all that there is to read, and knows when: a reader that blocked in Redis would be woken by every entry, most
// of which are not for it. What others have added, it finds when it looks by itself.
type bell struct {
	hurry bool          // somebody waits for what the reader does
	now   chan struct{} // holds a token if there is something to do at once
	soon  chan struct{} // holds one if there is something to do, or to pass over, soon
}

// soon is how long what nobody waits for may, so that a few orders share a call: capturing what is authorized, and
// passing over what is not for this reader.
const soon = 20 * time.Millisecond

// wait returns when there is something to read, after d at the latest, or when ctx ends.
func (b *bell) wait(ctx context.Context, d time.Duration) {
	until := time.Now().Add(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-b.soon:
			if time.Until(until) > soon {
				until = time.Now().Add(soon)
				timer.Reset(soon)
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
func (p *Pool) hear(partition int, group domain.Group) *bell {
	if group == domain.GroupWorkers || !p.cfg.has(RolePurchase) {
		return nil
	}
	b := &bell{hurry: group == domain.GroupPosting, now: make(chan struct{}, 1), soon: make(chan struct{}, 1)}
	p.bells[partition] = append(p.bells[partition], b)
	return b
}

// added tells this worker's readers of a log that there are facts of orders that have ended, or were confirmed.
func (p *Pool) added(partition int) {
	for _, b := range p.bells[partition] {
		if b.hurry {
			ring(b.now)
		} else {
			ring(b.soon)
		}
	}
}

// addedHolds tells them that there may be entries which concern none of them.
func (p *Pool) addedHolds(partition int) {
	for _, b := range p.bells[partition] {
		ring(b.soon)
	}
}
