package workers

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// turnstile is what calls pass before they are made. While it is open, all do. Shut, it
// lets one through after the other, the first come first. Its zero value is open.
type turnstile struct {
	shut atomic.Bool

	mu    sync.Mutex
	queue list.List     // of chan struct{}: who waits; closed when it is their turn
	next  time.Time     // nobody goes through before
	every time.Duration // from one to the next; see shutUntil
	timer *time.Timer   // runs at next, if anybody waits
}

// untilShutAgain as the time from one to the next: none goes through before shutUntil, or
// open, is called once more.
const untilShutAgain = time.Duration(1<<63 - 1)

// burst is how much time of pacing may be made up for: a timer is not exact.
const burst = 10 * time.Millisecond

// pass waits for its turn, until ctx or the time end (zero: none) is over. It reports
// whether it went through.
func (t *turnstile) pass(ctx context.Context, end time.Time) bool {
	if !t.shut.Load() {
		return true
	}
	turn := make(chan struct{})
	t.mu.Lock()
	if !t.shut.Load() {
		t.mu.Unlock()
		return true
	}
	place := t.queue.PushBack(turn)
	t.run()
	t.mu.Unlock()

	var over <-chan time.Time
	if !end.IsZero() {
		timer := time.NewTimer(time.Until(end))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	case <-over:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-turn: // at that very moment
		return true
	default:
	}
	t.queue.Remove(place)
	t.run()
	return false
}

// shutUntil lets nobody through before a time, and then one every so often; with every 0
// it opens then.
func (t *turnstile) shutUntil(next time.Time, every time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shut.Store(true)
	t.next, t.every = next, every
	t.run()
}

// paceTo changes how often one is let through.
func (t *turnstile) paceTo(every time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.every = every
}

// sooner lets the next one through at a time, unless that is earlier yet.
func (t *turnstile) sooner(next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next.Before(t.next) {
		t.next = next
		t.run()
	}
}

// open lets everybody through.
func (t *turnstile) open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next, t.every = time.Time{}, 0
	t.shut.Store(false)
	t.run()
}

// waiting is how many wait.
func (t *turnstile) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.queue.Len()
}

// run lets through whose turn it is, and sees to it that it is called when the next one's is.
func (t *turnstile) run() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	for now := time.Now(); ; {
		if !t.shut.Load() {
			t.next = time.Time{}
		} else if t.every == 0 && !now.Before(t.next) {
			t.shut.Store(false)
		}
		first := t.queue.Front()
		if first == nil {
			return
		}
		if wait := t.next.Sub(now); wait > 0 {
			t.timer = time.AfterFunc(wait, func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				t.run()
			})
			return
		}
		close(t.queue.Remove(first).(chan struct{}))
		if t.shut.Load() {
			if earliest := now.Add(-burst); t.next.Before(earliest) {
				t.next = earliest
			}
			t.next = t.next.Add(t.every)
		}
	}
}
