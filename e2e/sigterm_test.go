package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/producer"
	"holdfast/streams/inspect"
)

const (
	// reclaimLate is so long that a test which had to wait for it would fail.
	reclaimLate = time.Minute
	// wellBefore is what is left to finish everything, on a slow machine.
	wellBefore = 40 * time.Second
)

// handedBack is what a worker that ended in order says about it.
func handedBack(t testing.TB, p *program.Process) int {
	t.Helper()
	for line := range strings.Lines(p.Stderr.String()) {
		var said struct {
			Msg        string `json:"msg"`
			HandedBack int    `json:"handed_back"`
		}
		if err := json.Unmarshal([]byte(line), &said); err == nil && said.Msg == "worker stopped" {
			return said.HandedBack
		}
	}
	t.Errorf("%s does not say that it stopped", p.Name)
	return 0
}

func (s *system) busy(p *program.Process, least int64) {
	s.t.Helper()
	eventually(s.t, soon, p.Name+" has work in hand", func() error {
		if n := s.inHand(p.Name); n < least {
			return fmt.Errorf("%d entries in hand", n)
		}
		return nil
	})
}

// publishTo publishes to several workers, and returns when this one of them has some in hand. A call that publishes many may
// give all of them to whoever has waited longest, so they go a few at a time until it has.
func (s *system) publishTo(w *program.Process, p *producer.Producer, requests []domain.Request) {
	s.t.Helper()
	eventually(s.t, soon, w.Name+" reads everywhere", func() error {
		groups, err := inspect.New(s.store()).Pending(context.Background(), 0)
		for _, g := range groups {
			if g.Group == string(domain.GroupWorkers) && !slices.ContainsFunc(g.Consumers, func(c inspect.ConsumerStatus) bool { return c.Name == w.Name }) {
				return fmt.Errorf("not in partition %d", g.Partition)
			}
		}
		return err
	})
	for len(requests) > 0 {
		few := min(len(requests), 10)
		publish(s.t, p, requests[:few]...)
		requests = requests[few:]
		if s.inHand(w.Name) > 0 {
			publish(s.t, p, requests...)
			return
		}
	}
	s.busy(w, 1)
}

// calledOnce checks that the gateway was asked for nothing a second time.
func calledOnce(t testing.TB, gateway string, orders []domain.OrderRef) {
	t.Helper()
	lines := ledger(t, gateway)
	for _, ref := range orders {
		if l := lines[ref]; l.Calls != 2 {
			t.Errorf("%s: %d calls of the gateway, want 2: to authorize and to capture", ref, l.Calls)
		}
	}
}

// A worker that is told to stop in the middle of its work finishes what it has in
// hand, if there is time; nobody does anything again.
func TestTermFinishesWhatIsInHand(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	requests, refs := s.purchases("term", 8, 300)
	gateway := startGateway(t, "--latency", "300ms")
	args := []string{"--gateway", gateway, "--concurrency", "8", "--reclaim-after", reclaimLate.String()}
	first := s.worker("first", append(args, "--grace", "10s")...)
	publish(t, s.producer(), requests...)
	s.busy(first, 8)
	told := time.Now()
	first.Stop(10 * time.Second)
	took := time.Since(told)
	if n := s.inHand(first.Name); n != 0 {
		t.Errorf("%d entries are still in the hands of a worker that has stopped", n)
	}
	second := s.worker("second", args...)
	s.drained(wellBefore - time.Since(told))
	t.Logf("the first stopped in %s and handed %d entries back, the second was done %s after the signal",
		took.Round(time.Millisecond), handedBack(t, first), time.Since(told).Round(time.Millisecond))
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	calledOnce(t, gateway, refs)
	s.audit(gateway)
	second.Stop(endTime)
}

// What a worker cannot finish in its grace time others have at once, long before
// they would take it for dead.
func TestTermHandsBack(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	requests, refs := s.purchases("back", 4, 40)
	gateway := startGateway(t, "--latency", "2500ms") // each call takes 1.25 to 3.75 seconds
	args := []string{"--gateway", gateway, "--reclaim-after", reclaimLate.String()}
	first := s.worker("first", append(args, "--grace", "1500ms")...)
	publish(t, s.producer(), requests...)
	s.busy(first, 10)
	told := time.Now()
	first.Stop(5 * time.Second) // and not longer: 1.5 s of grace, and a moment that a process needs
	took := time.Since(told)
	if handedBack(t, first) == 0 {
		t.Error("nothing was handed back")
	}
	second := s.worker("second", args...)
	s.drained(wellBefore - time.Since(told))
	t.Logf("the first stopped in %s and handed %d entries back, the second was done %s after the signal",
		took.Round(time.Millisecond), handedBack(t, first), time.Since(told).Round(time.Millisecond))
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	s.audit(gateway)
	second.Stop(endTime)
}

// A deployment: three workers are replaced one after the other, while customers buy.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	requests, refs := s.purchases("roll", 8, 600)
	gateway := startGateway(t, "--latency", "300ms")
	args := []string{"--gateway", gateway, "--concurrency", "16", "--reclaim-after", reclaimLate.String()}
	var pool []*program.Process
	for i := range 3 {
		pool = append(pool, s.worker(fmt.Sprintf("old-%d", i), args...))
	}
	p := s.producer()
	sent := 0
	next := func() []domain.Request {
		n := min(100, len(requests)-sent)
		sent += n
		return requests[sent-n : sent]
	}
	back := 0
	for i, old := range pool {
		s.publishTo(old, p, next())
		pool[i] = s.startWorker(fmt.Sprintf("new-%d", i), args...)
		told := time.Now()
		old.Stop(endTime)
		back += handedBack(t, old)
		if n := s.inHand(old.Name); n != 0 {
			// Handed back: they keep the name until somebody takes them.
			eventually(t, soon, "others take over what "+old.Name+" handed back", func() error {
				if n := s.inHand(old.Name); n != 0 {
					return errors.New("not yet")
				}
				return nil
			})
		}
		t.Logf("%s stopped in %s", old.Name, time.Since(told).Round(time.Millisecond))
		publish(t, p, next()...)
	}
	s.drained(wellBefore)
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	if back == 0 {
		calledOnce(t, gateway, refs)
	}
	s.audit(gateway)
	program.StopAll(pool...)
}
