package workers

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A loop pauses after calls that are late by what they took before, and by nothing else.
func TestBreath(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct{ took, pauses []time.Duration }{
		"nothing else to do":     {[]time.Duration{ms / 3, ms / 2, ms / 4, ms}, []time.Duration{0, 0, 0, 0}},
		"far away":               {[]time.Duration{30 * ms, 30 * ms, 30*ms + ms/2}, []time.Duration{0, 0, 0}},
		"busy":                   {[]time.Duration{ms, 4 * ms, ms, 3 * ms}, []time.Duration{0, 9 * ms, 0, 6 * ms}},
		"busy before it is not":  {[]time.Duration{5 * ms, ms, 3 * ms}, []time.Duration{0, 0, 6 * ms}},
		"never longer than this": {[]time.Duration{ms, time.Second}, []time.Duration{0, breathMost}},
	} {
		t.Run(name, func(t *testing.T) {
			var b breath
			var pauses []time.Duration
			for _, took := range c.took {
				pauses = append(pauses, b.after(took).Round(ms))
			}
			if !slices.Equal(pauses, c.pauses) {
				t.Errorf("after %v it pauses for %v, want %v", c.took, pauses, c.pauses)
			}
		})
	}
	// Redis has moved away for good: that is what a call takes from now on.
	var b breath
	b.after(ms)
	calls := 0
	for b.after(20*ms) > 0 {
		if calls++; calls > 5000 {
			t.Fatalf("after %d calls of 20 ms it still takes %s for what they take where nobody else wants the machine", calls, b.least)
		}
	}
	if calls < 100 {
		t.Errorf("after %d calls of 20 ms that is what they take where nobody else wants the machine", calls)
	}
}

// What comes while a loop pauses is done in one call; what is much is not waited with, and the end not either.
func TestBatchesWhereTheMachineIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var signs signs
		values, stop := make(chan int, readMost), make(chan struct{})
		takes := time.Millisecond
		type call struct {
			values int
			at     time.Duration
		}
		var calls []call
		begun := time.Now()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			inBatches(signs.of("test"), values, stop, func(batch []int) {
				calls = append(calls, call{len(batch), time.Since(begun)})
				time.Sleep(takes)
			})
		}()
		send := func(n int) {
			for range n {
				values <- 0
			}
			synctest.Wait()
		}
		send(1) // 0 to 1 ms: what it takes
		time.Sleep(time.Millisecond)
		takes = 5 * time.Millisecond
		send(1) // 1 to 6 ms, upon which it pauses until 18
		time.Sleep(8 * time.Millisecond)
		send(1)
		time.Sleep(5 * time.Millisecond)
		send(breathBelow)
		time.Sleep(9 * time.Millisecond) // 18 to 23 ms
		send(1)
		time.Sleep(6 * time.Millisecond)
		close(stop)
		<-ended
		const ms = time.Millisecond
		want := []call{{1, 0}, {1, ms}, {breathBelow + 1, 18 * ms}, {1, 23 * ms}}
		for i := range calls {
			calls[i].at = calls[i].at.Round(ms)
		}
		if !slices.Equal(calls, want) {
			t.Errorf("it did %v, want %v", calls, want)
		}
		if took := time.Since(begun).Round(ms); took != 29*ms {
			t.Errorf("it ended after %s, want 29ms: it does not pause when it is told to stop", took)
		}
	})
}
