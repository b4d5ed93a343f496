package workers

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// All work is done, each piece once, by no more goroutines than may be; stop waits for it.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pieces, most = 1000, 7
		var done [pieces]atomic.Int64
		var at, peak atomic.Int64
		c := newCrew(most, func(i int) {
			now := at.Add(1)
			for was := peak.Load(); now > was && !peak.CompareAndSwap(was, now); was = peak.Load() {
			}
			time.Sleep(time.Second) // of the bubble: it goes on when all wait
			at.Add(-1)
			done[i].Add(1)
		})
		for i := range pieces / 2 {
			c.hand(i)
		}
		time.Sleep(time.Minute) // some of it is done, and more comes
		var rest []int
		for i := pieces / 2; i < pieces; i++ {
			rest = append(rest, i)
		}
		c.hand(rest...)
		c.stop()
		for i := range done {
			if n := done[i].Load(); n != 1 {
				t.Errorf("piece %d was done %d times", i, n)
			}
		}
		if peak.Load() != most {
			t.Errorf("%d at once, want %d", peak.Load(), most)
		}
	})
}

// Work that needs no waiting wakes as few goroutines as that takes; and those that are there take up what comes later.
func TestCrewStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := 0
		c := newCrew(100, func(int) { done++ }) // without a lock: one after the other
		for i := range 50 {
			c.hand(i)
			synctest.Wait()
		}
		if done != 50 || c.size != 1 {
			t.Errorf("%d pieces done by %d goroutines", done, c.size)
		}
		c.stop()
	})
}

// A crew that never had anything to do ends at once.
func TestCrewWithoutWork(t *testing.T) {
	c := newCrew(3, func(int) { t.Error("there was none") })
	c.hand()
	c.stop()
}

// What was done is not kept, also while there always is more to do.
func TestCrewKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const waits, pieces = 100, 10_000
		gate := make(chan struct{})
		c := newCrew(1, func(*int) { <-gate })
		hand := func() { c.hand(new(int)) }
		for range waits {
			hand()
		}
		for range pieces {
			hand()
			gate <- struct{}{}
			synctest.Wait()
			c.mu.Lock()
			kept := 0
			for _, p := range c.todo {
				if p != nil {
					kept++
				}
			}
			list := len(c.todo)
			c.mu.Unlock()
			if kept != waits-1 || list > 3*waits {
				t.Fatalf("%d pieces are kept, in a list of %d, want %d: one is under way", kept, list, waits-1)
			}
		}
		close(gate)
		c.stop()
	})
}
