package workers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

// passers are n that come one after the other; what they note is who went through, and when.
type passers struct {
	t     *testing.T
	start time.Time
	mu    sync.Mutex
	went  []string
	wg    sync.WaitGroup
}

func (p *passers) come(ctx context.Context, gate *turnstile, end time.Time, names ...string) {
	for _, name := range names {
		p.wg.Go(func() {
			if !gate.pass(ctx, end) {
				name += " not"
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.went = append(p.went, fmt.Sprintf("%s %s", name, time.Since(p.start)))
		})
		synctest.Wait() // so that they come in this order
	}
}

func (p *passers) want(went ...string) {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortStableFunc(p.went, func(a, b string) int { // those that go at one moment do in no order
		if strings.Fields(a)[len(strings.Fields(a))-1] != strings.Fields(b)[len(strings.Fields(b))-1] {
			return 0
		}
		return strings.Compare(a, b)
	})
	if !slices.Equal(p.went, went) {
		p.t.Errorf("went through: %q, want %q", p.went, went)
	}
	p.went = nil
}

// TestPaceRecovers: a gateway that refused one call while nearly nothing was asked takes hundreds some seconds later.
func TestPaceRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace{log: zap.NewNop()}
		start := time.Now()
		p.later(start, &domain.LaterError{Busy: true}, 0)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				if p.gate.pass(t.Context(), time.Time{}) {
					p.answered(time.Now())
				}
			})
		}
		time.Sleep(6 * time.Second) // one after 2 s, and from there twice as fast every second or so
		synctest.Wait()
		if n := p.gate.waiting(); n < 130 || n > 160 {
			t.Errorf("after 6 s %d of 200 wait, want some 144", n)
		}
		wg.Wait()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("200 calls took %s, want 10 s at most", took)
		}
	})
}

func TestTurnstile(t *testing.T) {
	ctx := context.Background()
	for name, test := range map[string]func(gate *turnstile, p *passers){
		"open": func(gate *turnstile, p *passers) {
			p.come(ctx, gate, time.Time{}, "a", "b")
			p.want("a 0s", "b 0s")
		},
		"opens at a time": func(gate *turnstile, p *passers) {
			gate.shutUntil(p.start.Add(3*time.Second), 0)
			p.come(ctx, gate, time.Time{}, "a", "b")
			p.want()
			time.Sleep(3 * time.Second)
			p.want("a 3s", "b 3s")
			if gate.shut.Load() {
				p.t.Error("it is still shut")
			}
		},
		"a pace": func(gate *turnstile, p *passers) {
			gate.shutUntil(p.start, time.Second)
			p.come(ctx, gate, time.Time{}, "a", "b", "c", "d")
			time.Sleep(2 * time.Second)
			p.want("a 0s", "b 1s", "c 2s")
			gate.paceTo(4 * time.Second)
			p.come(ctx, gate, time.Time{}, "e", "f")
			time.Sleep(time.Minute)
			p.want("d 3s", "e 7s", "f 11s")
			p.come(ctx, gate, time.Time{}, "g", "h") // no more than a burst was saved up
			time.Sleep(time.Minute)
			p.want("g 1m2s", "h 1m5.99s")
		},
		"one until it is told": func(gate *turnstile, p *passers) {
			gate.shutUntil(p.start.Add(time.Second), untilShutAgain)
			p.come(ctx, gate, time.Time{}, "a", "b", "c", "d")
			time.Sleep(time.Hour)
			p.want("a 1s")
			gate.shutUntil(time.Now().Add(time.Second), untilShutAgain)
			time.Sleep(time.Hour)
			p.want("b 1h0m1s")
			gate.open()
			p.want("c 2h0m0s", "d 2h0m0s")
			p.come(ctx, gate, time.Time{}, "e")
			p.want("e 2h0m0s")
		},
		"who does not wait any more": func(gate *turnstile, p *passers) {
			gate.shutUntil(p.start.Add(10*time.Second), time.Second)
			leaving, leave := context.WithCancel(ctx)
			p.come(leaving, gate, time.Time{}, "a")
			p.come(ctx, gate, p.start.Add(5*time.Second), "b")
			p.come(ctx, gate, time.Time{}, "c")
			time.Sleep(time.Second)
			leave()
			time.Sleep(time.Minute)
			p.want("a not 1s", "b not 5s", "c 10s")
			if n := gate.waiting(); n != 0 || gate.timer != nil {
				p.t.Errorf("%d wait, timer %v", n, gate.timer)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &passers{t: t, start: time.Now()}
				test(new(turnstile), p)
				p.wg.Wait()
			})
		})
	}
}
