package workers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"holdfast/domain"
)

// asked is a gateway under test: what it answers, and when it was asked.
type asked struct {
	*gateway
	t       *testing.T
	log     *observer.ObservedLogs
	answer  func(c call) error
	latency time.Duration

	mu       sync.Mutex
	calls    []time.Time
	underWay int
	most     int // under way at once
}

func newAsked(t *testing.T, answer func(c call) error) *asked {
	core, log := observer.New(zapcore.InfoLevel)
	return &asked{gateway: newGateway(nil, 10*time.Second, new(Stats), zap.New(core)), t: t, log: log, answer: answer}
}

func (a *asked) call(ctx context.Context, c call, end time.Time) error {
	_, err := a.ask(ctx, context.Background(), c, end, end, func(ctx context.Context) (domain.Payment, error) {
		a.mu.Lock()
		a.calls = append(a.calls, time.Now())
		a.underWay++
		a.most = max(a.most, a.underWay)
		a.mu.Unlock()
		defer func() {
			a.mu.Lock()
			a.underWay--
			a.mu.Unlock()
		}()
		if a.latency > 0 && !pause(ctx, a.latency) {
			return domain.Payment{}, fmt.Errorf("%w: %w", domain.ErrUnknownOutcome, ctx.Err())
		}
		return domain.Payment{}, a.answer(c)
	})
	return err
}

// until is a caller that comes again until it is answered, as consumers do but for their own pauses.
func (a *asked) until(ctx context.Context, c call) error {
	for {
		if err := a.call(ctx, c, time.Time{}); err == nil || errors.Is(err, errNotAsked) || errors.Is(err, domain.ErrNotFound) {
			return err
		}
	}
}

// made is how many calls were made since the last took.
func (a *asked) made() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls)
}

// atOnce is how many calls were under way at once, at most, and forgets it.
func (a *asked) atOnce() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.most = 0 }()
	return a.most
}

// probing is how many calls are under way.
func (a *asked) probing() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.underWay
}

// took are the times between the calls so far, and forgets them.
func (a *asked) took() (gaps []time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := 1; i < len(a.calls); i++ {
		gaps = append(gaps, a.calls[i].Sub(a.calls[i-1]))
	}
	a.calls = nil
	return gaps
}

// said are the lines of the log so far, and forgets them.
func (a *asked) said(want ...string) {
	a.t.Helper()
	var lines []string
	for _, e := range a.log.TakeAll() {
		lines = append(lines, e.Level.String()+" "+e.Message)
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		a.t.Errorf("it said\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func (a *asked) troubles(want ...string) {
	a.t.Helper()
	var got []string
	for _, t := range a.look() {
		got = append(got, fmt.Sprintf("%s %s %q %s", t.What, t.Code, t.Text, (time.Duration(t.LastedMillis)*time.Millisecond).Round(time.Second)))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		a.t.Errorf("troubles\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var (
	errWrongKey = fmt.Errorf("the gateway answered 401: %w", domain.ErrMisconfigured)
	errBusy     = &domain.LaterError{Busy: true, Err: fmt.Errorf("the gateway answered 429: %w", domain.ErrUnknownOutcome)}
	errAway     = &domain.LaterError{Err: fmt.Errorf("connection refused: %w", domain.ErrUnknownOutcome)}
)

// What has no answer, and what is broken, does not count as a gateway that takes no more: whoever is told so does something else.
func TestGatewayResults(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"too many calls":   {errBusy, "later"},
		"come again later": {&domain.LaterError{After: time.Second, Err: errAway.Err}, "later"},
		"nobody is there":  {errAway, "failed"},
		"no answer":        {domain.ErrUnknownOutcome, "failed"},
		"a wrong key":      {errWrongKey, "misconfigured"},
		"a refusal":        {domain.ErrRefused, "refused"},
		"no such payment":  {domain.ErrNotFound, "answered"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAsked(t, func(call) error { return test.err })
				_ = a.call(context.Background(), callCapture, time.Time{}) // what it returns is the error that it was given
				for _, h := range a.stats.GatewaySeconds() {
					var n int64
					for _, c := range h.Counts {
						n += c
					}
					if called := h.Labels[0] == "capture" && h.Labels[1] == test.want; called != (n == 1) {
						t.Errorf("%v: %d calls, want one %s", h.Labels, n, test.want)
					}
				}
			})
		})
	}
}

// A key is not valid any more: one probe at a time, with growing pauses, and as soon as one
// is answered everybody goes on. Other kinds of calls are not concerned.
func TestGatewayMisconfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		a := newAsked(t, func(c call) error {
			if c == callCapture && !mended.Load() {
				return errWrongKey
			}
			return domain.ErrNotFound
		})
		a.latency = 100 * time.Millisecond
		var waiting sync.WaitGroup
		for range 500 {
			waiting.Go(func() {
				if err := a.until(context.Background(), callCapture); !errors.Is(err, domain.ErrNotFound) {
					t.Error(err)
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		a.took()
		if n := a.atOnce(); n != 500 {
			t.Errorf("%d calls at once, want all", n)
		}
		time.Sleep(time.Minute)
		gaps := a.took()
		if len(gaps) < 7 || len(gaps) > 30 {
			t.Errorf("probed after %v", gaps)
		}
		for i, gap := range gaps {
			if gap < a.latency || gap > 11*time.Second+a.latency || i > 10 && gap < time.Second {
				t.Errorf("probe %d came %s after the one before", i, gap)
			}
		}
		if n := a.atOnce(); n != 1 {
			t.Errorf("%d probes at once", n)
		}
		a.said("error the payment gateway (capture) cannot be used as it is configured: only probed until that is mended, and nothing is set aside")
		a.troubles(`gateway capture gateway_misconfigured "the gateway answered 401: the payment gateway cannot be used as it is configured" 1m0s`)

		// A look-up that gets its 404 says nothing of captures.
		if err := a.call(context.Background(), callLookUp, time.Time{}); !errors.Is(err, domain.ErrNotFound) {
			t.Error(err)
		}
		a.said()
		synctest.Wait()
		a.took()
		probing := a.probing() // now and then one is just under way

		mended.Store(true)
		waiting.Wait()
		a.said("info the payment gateway (capture) works again")
		a.troubles()
		if n := probing + a.made(); n != 500 {
			t.Errorf("%d calls until 500 were answered, want one for each, the probe among them", n)
		}
	})
}

// Who waits for a probe leaves when its time is over, or the worker is to end.
func TestGatewayIsNotWaitedForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsked(t, func(call) error { return errWrongKey })
		_ = a.call(context.Background(), callAuthorize, time.Time{})
		begun := time.Now()
		for range 20 {
			if err := a.call(context.Background(), callAuthorize, begun.Add(time.Second)); errors.Is(err, errNotAsked) {
				break
			}
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("it took %s", took)
		}
		ending, end := context.WithCancel(context.Background())
		end()
		if err := a.until(ending, callAuthorize); !errors.Is(err, errNotAsked) {
			t.Error(err)
		}
		if err := a.call(context.Background(), callVoid, time.Now()); !errors.Is(err, errNotAsked) || len(a.calls) > 5 {
			t.Errorf("after the time is over: %v, %d calls", err, len(a.calls))
		}
	})
}

// A gateway that is away is asked by one at a time, too, and a few lost replies change nothing.
func TestGatewayAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		a := newAsked(t, func(call) error {
			if !mended.Load() {
				return errAway
			}
			return nil
		})
		for range failsUntilShut - 1 {
			_ = a.call(context.Background(), callAuthorize, time.Time{})
		}
		if len(a.calls) != failsUntilShut-1 || time.Since(a.calls[0]) != 0 {
			t.Error("it was not asked at once")
		}
		a.said()
		var waiting sync.WaitGroup
		for range 100 {
			waiting.Go(func() {
				if err := a.until(context.Background(), callAuthorize); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(9 * time.Second)
		a.said("warn the payment gateway (authorize) does not work, trying on")
		a.troubles() // not for so short a time
		time.Sleep(time.Minute)
		a.took()
		time.Sleep(time.Minute)
		if gaps := a.took(); len(gaps) < 20 || len(gaps) > 60 {
			t.Errorf("%d probes in a minute, want one every second or three", len(gaps)+1)
		}
		a.troubles(`gateway authorize gateway_unavailable "connection refused: outcome not known" 2m9s`)
		mended.Store(true)
		waiting.Wait()
		a.said("info the payment gateway (authorize) works again")
		a.troubles()

		// A reply lost now and then: everybody is served at once, and nothing is said.
		n := 0
		a.answer = func(call) error {
			if n++; n%3 > 0 {
				return errAway
			}
			return nil
		}
		a.took()
		for range 100 {
			_ = a.until(context.Background(), callAuthorize)
		}
		for _, gap := range a.took() {
			if gap != 0 {
				t.Errorf("it waited for %s", gap)
			}
		}
		a.said()
	})
}

// bucket is a gateway that takes so many calls a second.
func bucket(rate float64) func(call) error {
	left, last := rate, time.Now()
	var mu sync.Mutex
	return func(call) error {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		left, last = min(rate, left+now.Sub(last).Seconds()*rate), now
		if left < 1 {
			return errBusy
		}
		left--
		return nil
	}
}

// A gateway that limits its rate is asked as often as it answers, not many times an order.
func TestGatewayThatLimitsItsRate(t *testing.T) {
	for _, rate := range []float64{5, 50, 400} {
		t.Run(fmt.Sprintf("%.0f a second", rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAsked(t, bucket(rate))
				a.latency = 20 * time.Millisecond
				watching, stop := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				wg.Go(func() {
					for pause(watching, time.Second) {
						a.look()
					}
				})
				orders := int(rate) * 60
				begun := time.Now()
				served := make(chan struct{}, 512) // in hand
				var working sync.WaitGroup
				for range orders {
					served <- struct{}{}
					working.Go(func() {
						defer func() { <-served }()
						_ = a.until(context.Background(), callAuthorize)
						_ = a.until(context.Background(), callCapture)
					})
				}
				working.Wait()
				took, calls := time.Since(begun), len(a.took())+1
				t.Logf("%d calls for %d orders, in %s", calls, orders, took)
				// Those of the first burst were under way before anybody knew.
				if perOrder := float64(calls-min(orders, cap(served))) / float64(orders); perOrder > 2.1 {
					t.Errorf("%.2f calls an order", perOrder)
				}
				// Two calls an order, one second's worth for the first burst.
				if best := time.Duration(2*float64(orders)/rate-1) * time.Second; took < best || took > best*3/2 {
					t.Errorf("it took %s, at best %s", took, best)
				}
				a.said("warn the payment gateway takes no more calls: asking it less")
				if troubles := a.look(); len(troubles) != 1 || troubles[0].Code != domain.CodeGatewayBusy {
					t.Errorf("troubles %+v", troubles)
				}
				time.Sleep(troubleAfter + 2*time.Second)
				a.said("info the payment gateway takes all calls again")
				a.troubles()
				a.answer = func(call) error { return nil }
				for range 1000 {
					_ = a.call(context.Background(), callAuthorize, time.Time{})
				}
				if len(a.took()) != 999 {
					t.Error("it is not asked as it was")
				}
				stop()
				wg.Wait()
			})
		})
	}
}

// A worker that is told at its first calls that they are too many, because of what others asked, knows nothing of the rate: it finds it soon, and does
// not begin with one call in two seconds and five hundredths more every second. Orders that wait on their list come back ever later, and must not
// miss their turns for that.
func TestGatewayThatIsBusyFromTheStart(t *testing.T) {
	for name, come := range map[string]func(*asked) error{
		"they wait": func(a *asked) error { return a.until(context.Background(), callCapture) },
		"they come back": func(a *asked) error {
			s := &settlement{consumer: &consumer{reading: context.Background()}}
			for owed := (domain.Owed{}); ; {
				err := a.call(context.Background(), callCapture, time.Now().Add(settleWithin))
				if err == nil {
					return nil
				}
				again := s.next(owed, endingOf("", err))
				owed = again.Owed
				time.Sleep(again.Due)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const rate, orders = 8, 40
				answer := bucket(rate)
				for answer(callCapture) == nil { // somebody else
					continue
				}
				a := newAsked(t, answer)
				a.latency = 20 * time.Millisecond
				begun := time.Now()
				var all sync.WaitGroup
				for range orders {
					all.Go(func() {
						if err := come(a); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if took, best := time.Since(begun), orders*time.Second/rate; took > 3*best {
					t.Errorf("it took %s, at best %s", took, best)
				}
			})
		})
	}
}

// When the gateway says when it wants to be asked again, nobody asks before, whatever it is about.
func TestGatewayRetryAfter(t *testing.T) {
	for name, answer := range map[string]*domain.LaterError{
		"too many calls": {After: 30 * time.Second, Busy: true, Err: errBusy.Err},
		"an error":       {After: 30 * time.Second, Err: errAway.Err},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				a := newAsked(t, func(call) error {
					if time.Since(begun) < 30*time.Second {
						return answer
					}
					return nil
				})
				_ = a.call(context.Background(), callAuthorize, time.Time{})
				a.took()
				var waiting sync.WaitGroup
				for i := range 50 {
					waiting.Go(func() { _ = a.until(context.Background(), call(i%len(callNames))) })
				}
				synctest.Wait()
				if n := a.made(); n != 0 {
					t.Errorf("%d calls at once", n)
				}
				time.Sleep(30*time.Second - time.Nanosecond)
				synctest.Wait()
				if n := a.made(); n != 0 {
					t.Errorf("%d calls before the time", n)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if n, want := a.made(), map[bool]int{true: 1, false: 50}[answer.Busy]; n != want {
					t.Errorf("%d calls at the time, want %d", n, want)
				}
				waiting.Wait()
				a.look()
			})
		})
	}
}

// A gateway that takes long is told so, and is asked as often as there is something to ask.
func TestGatewaySlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsked(t, func(call) error { return nil })
		ask := func(n int) {
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { _ = a.until(context.Background(), callCapture) })
			}
			wg.Wait()
		}
		a.latency = time.Second
		ask(512)
		a.said()
		a.latency = 8 * time.Second
		ask(512)
		if n := a.atOnce(); n != 512 {
			t.Errorf("%d calls at once, want 512", n)
		}
		ask(512)
		a.said("warn the payment gateway (capture) answers, but takes 2.6s")
		ask(1)
		a.troubles(`gateway capture gateway_slow "the payment gateway (capture) answers, but takes 8s" 16s`)
		a.latency = 0
		ask(50)
		a.said("info the payment gateway (capture) answers in time again")
		a.troubles()
	})
}

// Of a call that nobody makes any more nothing is known, and nothing is said for ever.
func TestGatewayForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsked(t, func(call) error { return errWrongKey })
		_ = a.call(context.Background(), callVoid, time.Time{})
		a.log.TakeAll()
		time.Sleep(forgottenAfter)
		a.troubles(`gateway void gateway_misconfigured "the gateway answered 401: the payment gateway cannot be used as it is configured" 1m0s`)
		time.Sleep(time.Second)
		a.troubles()
		a.said("info the payment gateway (void) was not asked again, and is taken to work")
		a.answer = func(call) error { return nil }
		if err := a.call(context.Background(), callVoid, time.Time{}); err != nil {
			t.Error(err)
		}
	})
}

// While the gateway wants nobody to ask, what was wrong with it stays known.
func TestGatewayIsNotForgottenInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		a := newAsked(t, func(call) error {
			if mended.Load() {
				return nil
			}
			return &domain.LaterError{After: 10 * time.Minute, Err: errAway.Err}
		})
		_ = a.call(context.Background(), callAuthorize, time.Time{})
		var waiting sync.WaitGroup
		waiting.Go(func() { _ = a.until(context.Background(), callAuthorize) })
		time.Sleep(forgottenAfter + 10*time.Second)
		a.troubles(`gateway authorize gateway_unavailable "connection refused: outcome not known" 1m10s`)
		time.Sleep(8*time.Minute + 49*time.Second)
		a.troubles(`gateway authorize gateway_unavailable "connection refused: outcome not known" 9m59s`)
		mended.Store(true)
		waiting.Wait()
		a.troubles()
	})
}

// Those who went through before a kind of call was shut, and leave without a call because
// their time is over, are no probes: nobody comes in their place.
func TestGatewayWhoLeavesIsNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		a := newAsked(t, func(c call) error {
			switch {
			case c == callCapture:
				return &domain.LaterError{After: 5 * time.Second, Err: errAway.Err}
			case mended.Load():
				return nil
			}
			return errWrongKey
		})
		a.latency = 100 * time.Millisecond
		_ = a.call(context.Background(), callCapture, time.Time{})
		var waiting sync.WaitGroup
		for range 50 { // they wait for the end of the pause, longer than they may
			end := time.Now().Add(3 * time.Second)
			waiting.Go(func() {
				if err := a.call(context.Background(), callAuthorize, end); !errors.Is(err, errNotAsked) {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		a.kinds[callAuthorize].fails(time.Now(), domain.CodeGatewayMisconfigured, errWrongKey)
		for range 50 {
			waiting.Go(func() {
				if err := a.until(context.Background(), callAuthorize); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Minute)
		if n := a.atOnce(); n != 1 {
			t.Errorf("%d probes at once, want 1", n)
		}
		mended.Store(true)
		waiting.Wait()
	})
}

// The end of a call that we cut short ourselves says nothing of the gateway.
func TestGatewayIsNotBlamedForOurHaste(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsked(t, func(call) error { return nil })
		a.latency = 3 * time.Second
		for range 2 * failsUntilShut {
			if err := a.call(context.Background(), callAuthorize, time.Now().Add(time.Second)); !errors.Is(err, domain.ErrUnknownOutcome) {
				t.Fatal(err)
			}
		}
		if a.kinds[callAuthorize].gate.shut.Load() {
			t.Error("it is not asked any more")
		}
		a.said()
	})
}

// One order whose answers are no answers, while those of others are, is set aside in the end;
// many of them, while nobody is answered, are not.
func TestOddity(t *testing.T) {
	k := &kind{}
	var alone, among oddity
	for n := 1; n <= 10*mostOddities; n++ {
		if err := alone.of(k, errWrongKey); err != nil {
			t.Fatalf("while nobody is answered, after %d: %v", n, err)
		}
	}
	for n := 1; ; n++ {
		k.answered.Add(1)
		if err := among.of(k, errAway); err != nil {
			t.Fatalf("an answer that did not come is none: %v", err)
		}
		err := among.of(k, errWrongKey)
		if err == nil && n <= mostOddities {
			continue
		}
		if n != mostOddities+1 || !errors.Is(err, domain.ErrUnacceptable) || domain.ClassOf(err) != domain.ClassPoison {
			t.Errorf("after %d: %v", n, err)
		}
		break
	}
}
