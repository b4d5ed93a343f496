package workers

import (
	"context"
	"slices"
	"testing"
	"time"

	"holdfast/domain"
)

func TestHistogram(t *testing.T) {
	var s Stats
	d := &s.stages[StageWaiting]
	d.observe(-time.Second, 2) // two clocks
	d.observe(time.Millisecond, 1)
	d.observe(time.Millisecond+1, 1)
	d.observe(time.Hour, 1)
	d.observe(2*time.Hour, 3)
	h := s.StageSeconds()[StageWaiting]
	want := make([]int64, len(h.Bounds)+1)
	want[0], want[1], want[len(want)-2], want[len(want)-1] = 3, 1, 1, 3
	if !slices.Equal(h.Counts, want) || h.Labels[0] != "waiting" || h.Bounds[0] != .001 || h.Bounds[len(h.Bounds)-1] != 3600 {
		t.Errorf("got %+v, want counts %v", h, want)
	}
	if h.Sum < 7*3600 || h.Sum > 7*3600+.01 {
		t.Errorf("the sum is %f", h.Sum)
	}
	s.batches[stepPost].observe(0) // nothing was done
	s.batches[stepPost].observe(3)
	if h := s.BatchSizes()[stepPost]; h.Sum != 3 || h.Counts[2] != 1 || h.Counts[0] != 0 {
		t.Errorf("got %+v", h)
	}
	if n := testing.AllocsPerRun(100, func() { d.observe(time.Minute, 1); s.order(domain.OrderRejected, domain.ReasonSoldOut, 1) }); n != 0 {
		t.Errorf("%f allocations", n)
	}
}

func TestAttempts(t *testing.T) {
	var s Stats
	held := domain.Order{State: domain.OrderHeld, HeldAtMillis: 90, Attempt: 1}
	for _, was := range []struct {
		version string
		is      domain.PayState
	}{{"100-1", domain.PayDeclined}, {"99-7", domain.PayDeclined}, {"130-0", domain.PayActionRequired}, {"110-0", domain.PayOpen}} {
		held.Version, held.PayState = was.version, was.is
		s.countOutcome("100-0", held)
	}
	if declined, asked := s.AttemptsDeclined.Load(), s.ActionsRequired.Load(); declined != 1 || asked != 1 {
		t.Errorf("%d were declined, want 1 (the other one was before), and %d customers have something to do, want 1", declined, asked)
	}
}

func TestOrdersByReason(t *testing.T) {
	var s Stats
	s.countOutcome("100-0", domain.Order{State: domain.OrderConfirmed, HeldAtMillis: 90, ResolvedAtMillis: 110})
	s.countOutcome("120-0", domain.Order{State: domain.OrderConfirmed, HeldAtMillis: 90, ResolvedAtMillis: 110}) // once more
	s.countOutcome("100-0", domain.Order{State: domain.OrderRejected, Reason: domain.ReasonSoldOut, ResolvedAtMillis: 100})
	s.countOutcome("100-0", domain.Order{State: domain.OrderRejected, Reason: "of another version", ResolvedAtMillis: 100})
	s.countOutcome("100-0", domain.Order{State: domain.OrderHeld, HeldAtMillis: 100})
	got := make(map[string]int64)
	for o := range s.Orders() {
		if o.N > 0 {
			got[o.Outcome.String()+"/"+o.Reason] = o.N
		}
	}
	want := map[string]int64{"confirmed/": 1, "rejected/sold_out": 1, "rejected/other": 1, "held/": 1}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, n := range want {
		if got[name] != n {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	for _, state := range domain.OrderStates {
		if len(state.Reasons()) > mostReasons {
			t.Errorf("%s has more reasons than are counted", state)
		}
	}
}

func TestSigns(t *testing.T) {
	s := signs{after: 100 * time.Millisecond}
	late, resting, ahead := s.of("late"), s.of("resting"), s.of("ahead")
	late.within(-time.Second)
	resting.within(-time.Second)
	resting.rest()
	ahead.within(time.Hour)
	if stuck := s.stuck(); len(stuck) != 1 || stuck[0].Loop != "late" || stuck[0].For < time.Second {
		t.Errorf("stuck: %v", stuck)
	}
	s.after = time.Minute
	if stuck := s.stuck(); len(stuck) != 0 {
		t.Errorf("stuck too soon: %v", stuck)
	}
	late.within(-time.Hour)
	s.redisFailed() // a moment ago: it may have waited for that
	if stuck := s.stuck(); len(stuck) != 0 {
		t.Errorf("stuck while Redis fails: %v", stuck)
	}
	s.begin()
	s.after = -time.Hour
	if stuck := s.stuck(); len(stuck) != 0 {
		t.Errorf("of loops that are over: %v", stuck)
	}
}

// BenchmarkMeasures is what measuring costs an order that is sold: all that is not done once for a batch.
func BenchmarkMeasures(b *testing.B) {
	p := &Pool{clock: clock{ask: func(context.Context) (time.Time, error) { return time.Now(), nil }}}
	if err := p.clock.set(b.Context()); err != nil {
		b.Fatal(err)
	}
	o := domain.Order{State: domain.OrderConfirmed, HeldAtMillis: 1764197000000, ResolvedAtMillis: 1764197000010}
	const id = "1764197000000-12"
	s, since := &p.stats, time.Now()
	for b.Loop() {
		s.stages[StageWaiting].observe(time.Duration(o.HeldAtMillis-domain.EntryMillis(id))*time.Millisecond, 1)
		now := time.Now()
		s.stages[StageAuthorize].observe(now.Sub(since), 1)
		s.stages[StageResolve].observe(now.Sub(since), 1)
		s.countOutcome(id, o)
		for _, c := range []call{callAuthorize, callCapture} {
			s.gateway[c][resultAnswered].observe(now.Sub(since), 1)
		}
		if ago, known := p.clock.since(domain.EntryMillis(id)); known {
			s.stages[StageSettled].observe(ago, 1)
		}
	}
}
