package api

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What comes while calls are under way is asked in one; each has its own answer, and whoever gives up has taken nobody's.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var calls []int
		g := &gather[int, int]{beside: newBackground(), timeout: time.Minute, call: func(ctx context.Context, batch []int) []int {
			mu.Lock()
			calls = append(calls, len(batch))
			mu.Unlock()
			time.Sleep(time.Second) // of the bubble
			if ctx.Err() != nil {
				t.Error("a call ended with whoever asked for it")
			}
			answers := make([]int, len(batch))
			for i, n := range batch {
				answers[i] = 2 * n
			}
			return answers
		}}
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := g.ask(impatient, 0); err == nil {
			t.Error("there was an answer before it could be")
		}
		const n = gatherMost + 10
		var asking sync.WaitGroup
		for i := range n {
			asking.Go(func() {
				if got, err := g.ask(t.Context(), i); got != 2*i || err != nil {
					t.Errorf("%d: %d, %v", i, got, err)
				}
			})
		}
		asking.Wait()
		synctest.Wait()
		sum := 0
		for _, size := range calls {
			sum += size
		}
		if sum != n+1 || calls[0] != 1 || len(calls) > 5 {
			t.Errorf("calls of %v", calls)
		}
		if g.running != 0 || len(g.waiting) != 0 {
			t.Errorf("%d calls go on, %d wait", g.running, len(g.waiting))
		}
	})
}
