package simulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"holdfast/domain"
	"holdfast/payments"
	"holdfast/payments/paymentstest"
	"holdfast/payments/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSimulatorKeepsTheContract(t *testing.T) {
	paymentstest.Run(t, paymentstest.Gateway{
		New: func(t *testing.T) paymentstest.Made {
			sim := newSimulator(t, Options{Minimums: minimums})
			return paymentstest.Made{
				Adapter: sim, Finish: finishes(sim), Dispute: disputes(sim), Books: func(context.Context) ([]domain.BooksLine, error) { return sim.Books(), nil },
			}
		},
		DeclinedToken: DeclineTokenPrefix, ActionToken: ActionTokenPrefix, Minimums: minimums,
	})
}

var minimums = domain.Minimums{"EUR": 50, "JPY": 2}

// finishes is what customers of sim do.
func finishes(sim *Simulator) func(context.Context, domain.PaymentName, bool) error {
	return func(_ context.Context, name domain.PaymentName, authorized bool) error {
		_, err := sim.Finish(name, authorized)
		return err
	}
}

// disputes is what the banks of customers of sim do.
func disputes(sim *Simulator) func(context.Context, domain.PaymentName, domain.Dispute) error {
	return func(_ context.Context, name domain.PaymentName, d domain.Dispute) error {
		_, err := sim.Dispute(name, d)
		return err
	}
}

func newSimulator(t testing.TB, options Options) *Simulator {
	t.Helper()
	sim, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return sim
}

func authorizeMany(t *testing.T, sim *Simulator, n int) (declined []string) {
	t.Helper()
	for i := range n {
		order := "order-" + strconv.Itoa(i)
		p, err := sim.Authorize(context.Background(), paymentstest.Request(paymentstest.Name(order)))
		if err != nil {
			t.Fatal(err)
		}
		if p.Status == domain.PaymentStatusDeclined {
			declined = append(declined, order)
		}
	}
	return declined
}

func TestDeclinesAreReproducibleBySeed(t *testing.T) {
	const orders = 10_000
	first := authorizeMany(t, newSimulator(t, Options{DeclineRate: 0.1, Seed: 1}), orders)
	// 5 standard deviations of a binomial: sqrt(10,000 x 0.1 x 0.9) = 30.
	if n := len(first); n < 850 || n > 1150 {
		t.Errorf("%d of %d declined at a rate of 0.1", n, orders)
	}
	if again := authorizeMany(t, newSimulator(t, Options{DeclineRate: 0.1, Seed: 1}), orders); !slices.Equal(first, again) {
		t.Error("the same seed declined other orders")
	}
	if other := authorizeMany(t, newSimulator(t, Options{DeclineRate: 0.1, Seed: 2}), orders); slices.Equal(first, other) {
		t.Error("another seed declined the same orders")
	}
}

func TestDeclinesDoNotDependOnTheOrderOfCalls(t *testing.T) {
	options := Options{DeclineRate: 0.5, Seed: 7}
	forth, back := newSimulator(t, options), newSimulator(t, options)
	for i := range 100 {
		_, _ = forth.Authorize(context.Background(), paymentstest.Request(paymentstest.Name(strconv.Itoa(i))))
		_, _ = back.Authorize(context.Background(), paymentstest.Request(paymentstest.Name(strconv.Itoa(99-i))))
	}
	if !slices.Equal(forth.Books(), back.Books()) {
		t.Error("the books differ")
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	for _, rate := range []float64{-1, 1.1, math.NaN(), math.Inf(-1), math.Inf(1)} {
		for name, options := range map[string]Options{
			"decline rate":         {DeclineRate: rate},
			"capture refusal rate": {CaptureRefusalRate: rate},
			"timeout rate":         {TimeoutRate: rate},
			"lost reply rate":      {LostReplyRate: rate},
			"mismatch rate":        {MismatchRate: rate},
		} {
			checkRefused(t, name, options)
		}
	}
	checkRefused(t, "latency", Options{Latency: -1})
	checkRefused(t, "hang time", Options{HangTime: -1})
	checkRefused(t, "rate limit", Options{RateLimit: -1})
	checkRefused(t, "refuse", Options{Refuse: "charge"})
	for currency, least := range map[string]int64{"euro": 1, "EUR": -1, "USD": domain.MaxAmount + 1} {
		checkRefused(t, "minimum", Options{Minimums: domain.Minimums{currency: least}})
	}
}

func checkRefused(t *testing.T, name string, options Options) {
	t.Helper()
	_, err := New(options)
	if err == nil || !strings.HasPrefix(err.Error(), name+": want ") || domain.ClassOf(err) != domain.ClassFatal {
		t.Errorf("%+v: %v, want an error about %s", options, err, name)
	}
}

func TestRateBounds(t *testing.T) {
	if n := len(authorizeMany(t, newSimulator(t, Options{DeclineRate: 0}), 100)); n != 0 {
		t.Errorf("rate 0: %d of 100 declined", n)
	}
	if n := len(authorizeMany(t, newSimulator(t, Options{DeclineRate: 1}), 100)); n != 100 {
		t.Errorf("rate 1: %d of 100 declined", n)
	}
}

func TestDeclineByToken(t *testing.T) {
	sim := newSimulator(t, Options{})
	for token, want := range map[domain.Secret]domain.PaymentStatus{
		"decline": domain.PaymentStatusDeclined, "decline_insufficient_funds": domain.PaymentStatusDeclined,
		"tok_decline": domain.PaymentStatusAuthorized, "": domain.PaymentStatusAuthorized,
	} {
		r := paymentstest.Request(paymentstest.Name("order" + string(token)))
		r.Token = token
		if p, err := sim.Authorize(context.Background(), r); err != nil || p.Status != want {
			t.Errorf("token %q: %+v, %v", string(token), p, err)
		}
	}
}

// Each kind of mismatch comes, is in the books as it was told, and comes again by the seed.
func TestMismatches(t *testing.T) {
	const orders = 200
	asked := paymentstest.Request(paymentstest.Name(""))
	order := domain.Order{CustomerID: asked.CustomerID, Fingerprint: asked.Fingerprint, Items: domain.ItemsOf(domain.Item{Section: "general", Quantity: 1, UnitPrice: asked.Amount}), Currency: asked.Currency}
	kinds := make(map[string]int)
	sim, again := newSimulator(t, Options{MismatchRate: 0.3, Seed: 9}), newSimulator(t, Options{MismatchRate: 0.3, Seed: 9, Stateless: true})
	for i := range orders {
		name := paymentstest.Name(strconv.Itoa(i))
		p, err := sim.Authorize(context.Background(), paymentstest.Request(name))
		if err != nil {
			t.Fatal(err)
		}
		kinds[domain.MatchPayment(order, p).Detail]++
		if found, err := sim.Lookup(context.Background(), paymentstest.Attempt(name)); err != nil || found != p {
			t.Fatalf("looked up %+v, %v, authorized %+v", found, err, p)
		}
		if same, err := again.Authorize(context.Background(), paymentstest.Request(name)); err != nil || same != p {
			t.Fatalf("without a memory %+v, %v, want %+v", same, err, p)
		}
		line, _ := paymentstest.LineOf(sim.Books(), name)
		if line.Authorized != p.Amount || line.Currency != p.Currency || line.CustomerID != p.CustomerID {
			t.Fatalf("in the books %+v, told %+v", line, p)
		}
	}
	want := []string{"", "amount 1250 instead of 2500", "currency USD instead of EUR", "customer_id another.ann@example.org instead of ann@example.org"}
	if got := slices.Sorted(maps.Keys(kinds)); !slices.Equal(got, want) || kinds[""] < 110 || kinds[""] > 170 {
		t.Errorf("kinds of mismatches %v", kinds)
	}
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulator(t, Options{RateLimit: 10})
		taken, busy := 0, 0
		for range 3 * 40 {
			_, err := sim.Lookup(context.Background(), paymentstest.Attempt(paymentstest.Name("a")))
			paymentstest.CheckError(t, err)
			var later *domain.LaterError
			switch {
			case errors.Is(err, domain.ErrNotFound):
				taken++
			case errors.As(err, &later) && later.Busy:
				busy++
			default:
				t.Fatal(err)
			}
			time.Sleep(25 * time.Millisecond)
		}
		// Ten at once, and ten a second for three seconds.
		if taken < 38 || taken > 41 {
			t.Errorf("%d calls were taken, %d were not", taken, busy)
		}
	})
}

func TestRefusedCall(t *testing.T) {
	for name, newGateway := range map[string]func(Options) domain.PaymentGateway{
		"in process": func(o Options) domain.PaymentGateway { return newSimulator(t, o) },
		"over HTTP":  func(o Options) domain.PaymentGateway { return newPair(t, newSimulator(t, o), remote.Options{}) },
	} {
		for _, refused := range paymentstest.Calls {
			gw := newGateway(Options{Refuse: refused})
			for _, c := range paymentstest.Calls {
				_, err := paymentstest.Invoke(context.Background(), gw, c, paymentstest.Name("a"))
				paymentstest.CheckError(t, err)
				if errors.Is(err, domain.ErrUnacceptable) != (c == refused) {
					t.Errorf("%s, refusing %s: %s: %v", name, refused, c, err)
				}
			}
		}
	}
}

func TestTooManyCallsOverHTTP(t *testing.T) {
	gw := newPair(t, newSimulator(t, Options{RateLimit: 1}), remote.Options{})
	for i, want := range []error{domain.ErrNotFound, domain.ErrUnknownOutcome} {
		_, err := gw.Lookup(context.Background(), paymentstest.Attempt(paymentstest.Name("a")))
		paymentstest.CheckError(t, err)
		var later *domain.LaterError
		if !errors.Is(err, want) || errors.As(err, &later) != (i == 1) || i == 1 && !later.Busy {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func testCaptureRefusedForGood(t *testing.T, newGateway func(*testing.T, Options) domain.PaymentGateway) {
	ctx := context.Background()
	gw := newGateway(t, Options{CaptureRefusalRate: 0.5, Seed: 3})
	refused := 0
	for i := range 100 {
		order := paymentstest.Name(strconv.Itoa(i))
		if _, err := gw.Authorize(ctx, paymentstest.Request(order)); err != nil {
			t.Fatal(err)
		}
		_, first := gw.Capture(ctx, paymentstest.Attempt(order))
		_, second := gw.Capture(ctx, paymentstest.Attempt(order))
		paymentstest.CheckError(t, first)
		if (first == nil) != (second == nil) {
			t.Fatalf("order %d: %v, then %v", i, first, second)
		}
		if first == nil {
			continue
		}
		refused++
		if !errors.Is(first, domain.ErrRefused) {
			t.Errorf("order %d: %v", i, first)
		}
		if p, err := gw.Lookup(ctx, paymentstest.Attempt(order)); err != nil || p.Status != domain.PaymentStatusAuthorized {
			t.Errorf("after a refused capture: %+v, %v", p, err)
		}
		if p, err := gw.Void(ctx, paymentstest.Attempt(order)); err != nil || p.Status != domain.PaymentStatusVoided {
			t.Errorf("void after a refused capture: %+v, %v", p, err)
		}
	}
	if refused < 25 || refused > 75 {
		t.Errorf("%d of 100 captures refused at a rate of 0.5", refused)
	}
}

func TestCaptureRefusedForGood(t *testing.T) {
	testCaptureRefusedForGood(t, func(_ *testing.T, o Options) domain.PaymentGateway { return newSimulator(t, o) })
}

func TestCaptureRefusedForGoodOverHTTP(t *testing.T) {
	testCaptureRefusedForGood(t, func(t *testing.T, o Options) domain.PaymentGateway {
		return newPair(t, newSimulator(t, o), remote.Options{})
	})
}

func TestTimeoutHangsUntilTheContextEndsAndIsNotApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulator(t, Options{TimeoutRate: 1})
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 7*time.Second)
		defer cancel()
		_, err := sim.Authorize(ctx, paymentstest.Request(paymentstest.Name("a")))
		paymentstest.CheckError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 7*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		start = time.Now()
		_, err = sim.Authorize(context.Background(), paymentstest.Request(paymentstest.Name("a")))
		paymentstest.CheckError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) || time.Since(start) != 30*time.Second {
			t.Errorf("without a deadline, after %v: %v", time.Since(start), err)
		}
		if lines := sim.Books(); len(lines) != 0 {
			t.Errorf("books %+v", lines)
		}
	})
}

func TestLostReplyIsApplied(t *testing.T) {
	ctx := context.Background()
	sim := newSimulator(t, Options{LostReplyRate: 1})
	for _, c := range []payments.Call{payments.CallAuthorize, payments.CallCapture, payments.CallRefund, payments.CallVoid, payments.CallLookup} {
		_, err := paymentstest.Invoke(ctx, sim, c, paymentstest.Name("a"))
		paymentstest.CheckError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) {
			t.Errorf("%s: %v", c, err)
		}
	}
	if line, _ := paymentstest.LineOf(sim.Books(), paymentstest.Name("a")); paymentstest.EffectsOf(line) != (paymentstest.Effects{1, 1, 0, 1}) {
		t.Errorf("line %+v", line)
	}
}

// Whoever retries gets through, and nothing happens twice on the way.
func TestRetriesGetThroughFaults(t *testing.T) {
	ctx := context.Background()
	sim := newSimulator(t, Options{LostReplyRate: 0.4, TimeoutRate: 0.4, HangTime: time.Nanosecond, Seed: 5})
	tries, lost := 0, 0
	until := func(c payments.Call, order domain.PaymentName) {
		for range 1000 {
			tries++
			_, err := paymentstest.Invoke(ctx, sim, c, order)
			if err == nil {
				return
			}
			paymentstest.CheckError(t, err)
			lost++
		}
		t.Fatalf("%s %s does not get through", c, order)
	}
	for i := range 200 {
		until(payments.CallAuthorize, paymentstest.Name(strconv.Itoa(i)))
		until(payments.CallCapture, paymentstest.Name(strconv.Itoa(i)))
	}
	// 1 - 0.6 x 0.6 = 0.64 of the calls fail.
	if share := float64(lost) / float64(tries); share < 0.55 || share > 0.73 {
		t.Errorf("%d of %d calls failed", lost, tries)
	}
	for _, line := range sim.Books() {
		if paymentstest.EffectsOf(line) != (paymentstest.Effects{1, 1, 0, 0}) {
			t.Errorf("%+v", line)
		}
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mean = 100 * time.Millisecond
		sim := newSimulator(t, Options{Latency: mean})
		ctx := context.Background()
		var total time.Duration
		const calls = 1000
		for i := range calls {
			start := time.Now()
			if _, err := sim.Authorize(ctx, paymentstest.Request(paymentstest.Name(strconv.Itoa(i)))); err != nil {
				t.Fatal(err)
			}
			d := time.Since(start)
			if d < mean/2 || d > mean*3/2 {
				t.Fatalf("call %d took %v", i, d)
			}
			total += d
		}
		if got := total / calls; got < mean*9/10 || got > mean*11/10 {
			t.Errorf("mean latency %v, want about %v", got, mean)
		}
	})
}

// A caller who gives up early was not served, one who gives up late was: both hear the same.
func TestGivingUpDuringLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulator(t, Options{Latency: time.Second})
		for name, row := range map[string]struct {
			patience time.Duration
			applied  bool
		}{"early": {200 * time.Millisecond, false}, "late": {499 * time.Millisecond, true}} {
			applied := false
			for i := range 100 { // the latency of some call fits: 0.5 s is the least, with the effect at 0.25 s
				ctx, cancel := context.WithTimeout(context.Background(), row.patience)
				order := paymentstest.Name(name + strconv.Itoa(i))
				_, err := sim.Authorize(ctx, paymentstest.Request(order))
				cancel()
				paymentstest.CheckError(t, err)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("%s: %v", name, err)
				}
				if _, known := paymentstest.LineOf(sim.Books(), order); known {
					applied = true
				}
			}
			if applied != row.applied {
				t.Errorf("%s: applied %v", name, applied)
			}
		}
	})
}

func BenchmarkSimulatorAuthorizeCapture(b *testing.B) {
	for name, options := range map[string]Options{
		"zero options":     {},
		"declines, losses": {DeclineRate: 0.05, LostReplyRate: 0.01, CaptureRefusalRate: 0.01},
	} {
		b.Run(name, func(b *testing.B) {
			sim := newSimulator(b, options)
			ctx := context.Background()
			var next atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					order := paymentstest.Name(fmt.Sprint(next.Add(1)))
					_, _ = sim.Authorize(ctx, paymentstest.Request(order))
					_, _ = sim.Capture(ctx, paymentstest.Attempt(order))
				}
			})
			b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}
