package workers

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A loop pauses after calls that take much longer than they need, and after nothing else.
func TestBreath(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct{ took, pauses []time.Duration }{
		"nothing else to do":               {[]time.Duration{ms / 3, ms / 2, ms / 4, ms}, []time.Duration{0, 0, 0, 0}},
		"far away, up to three trips each": {[]time.Duration{10 * ms, 20 * ms, 30 * ms, 39 * ms}, []time.Duration{0, 0, 0, 0}},
		"far away, and busy":               {[]time.Duration{2 * ms, 6 * ms, 8*ms + ms/2}, []time.Duration{0, 0, 19 * ms}},
		"busy":                             {[]time.Duration{ms, 5 * ms, ms, 6 * ms}, []time.Duration{0, 12 * ms, 0, 15 * ms}},
		"busy before it is not":            {[]time.Duration{5 * ms, ms, 5 * ms}, []time.Duration{0, 0, 12 * ms}},
		"never longer than this":           {[]time.Duration{ms, time.Second}, []time.Duration{0, breathMost}},
	} {
		t.Run(name, func(t *testing.T) {
			var b breath
			now := time.Now()
			var pauses []time.Duration
			for _, took := range c.took {
				now = now.Add(took)
				b.called(now, took)
				pauses = append(pauses, b.now(now).Round(ms))
			}
			if !slices.Equal(pauses, c.pauses) {
				t.Errorf("after %v it pauses for %v, want %v", c.took, pauses, c.pauses)
			}
		})
	}
	now := time.Now()
	var b breath
	b.called(now, ms)
	b.called(now, 10*ms)
	if b.now(now.Add(breathHolds)) == 0 || b.now(now.Add(breathHolds+1)) != 0 {
		t.Error("a call that was late tells something for longer than a second, or not for as long")
	}
	// Redis has moved away for good: that is what a call takes from now on. A while is busy all the same.
	lasted := time.Duration(0)
	for ; b.now(now) > 0 || lasted == 0; lasted += 50 * ms {
		if lasted > breathForgets {
			t.Fatalf("after a minute of calls of 20 ms they still need %s", b.least)
		}
		now = now.Add(50 * ms)
		b.called(now, 20*ms)
	}
	if lasted < breathForgets/10 {
		t.Errorf("after %s of calls of 20 ms that is what they need", lasted)
	}
}

// What comes while a loop pauses is done in one call; what is much is not waited with, and the end not either.
func TestBatchesWhereTheMachineIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var signs signs
		values, stop := make(chan int, readMost), make(chan struct{})
		var pauses atomic.Int64
		type call struct {
			values int
			at     time.Duration
		}
		const ms = time.Millisecond
		var calls []call
		begun := time.Now()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			inBatches(signs.of("test"), values, stop, func() time.Duration { return time.Duration(pauses.Load()) }, func(batch []int) {
				calls = append(calls, call{len(batch), time.Since(begun)})
				time.Sleep(ms)
			})
		}()
		send := func(n int) {
			for range n {
				values <- 0
			}
			synctest.Wait()
		}
		send(1) // 0 to 1 ms
		time.Sleep(2 * ms)
		pauses.Store(int64(12 * ms))
		send(1) // 2 to 3 ms, upon which it pauses until 15
		time.Sleep(8 * ms)
		send(1)
		time.Sleep(4 * ms)
		send(breathBelow)
		time.Sleep(2*ms + ms/2) // 15 to 16 ms, and it does not pause
		send(1)
		time.Sleep(3 * ms)
		close(stop)
		<-ended
		if want := []call{{1, 0}, {1, 2 * ms}, {breathBelow + 1, 15 * ms}, {1, 16*ms + ms/2}}; !slices.Equal(calls, want) {
			t.Errorf("it did %v, want %v", calls, want)
		}
		if took := time.Since(begun); took != 19*ms+ms/2 {
			t.Errorf("it ended after %s, want 19.5ms: it does not pause when it is told to stop", took)
		}
	})
}

// Where all that may be under way is few, nobody pauses whom all the others wait for.
func TestBatchesOfAllThereMayBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var signs signs
		values, stop, ended := make(chan int, 4), make(chan struct{}), make(chan struct{})
		begun := time.Now()
		did := 0
		go func() {
			defer close(ended)
			inBatches(signs.of("test"), values, stop, func() time.Duration { return time.Hour }, func(batch []int) { did += len(batch) })
		}()
		for range 3 {
			for range 4 {
				values <- 0
			}
		}
		synctest.Wait()
		close(stop)
		<-ended
		if did == 0 || time.Since(begun) >= 2*time.Hour {
			t.Errorf("%d were done within %s", did, time.Since(begun))
		}
	})
}
