package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
	"holdfast/streams/inspect"
)

// A worker freezes in the middle of its work, is taken for dead, and wakes up
// when others have finished everything. It believes that it still has entries in
// hand, and answers of the gateway to act upon; nothing may happen twice.
func TestFrozenWorker(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	requests, refs := s.purchases("frozen", 8, 400)
	gateway := startGateway(t, "--latency", "500ms")
	args := []string{"--gateway", gateway, "--reclaim-after", "1s"}
	frozen := s.worker("frozen", args...)
	other := s.worker("other", args...)
	p := s.producer()
	const rounds = 2
	for round := range rounds {
		part := requests[round*len(requests)/rounds : (round+1)*len(requests)/rounds]
		before := part[:len(part)/2]
		// It may finish what it had in the moment it is looked at, and others may take all that one call publishes.
		eventually(t, soon, "it freezes with work in hand", func() error {
			few := min(len(before), 10)
			publish(t, p, before[:few]...)
			before = before[few:]
			frozen.Signal(syscall.SIGSTOP)
			if n := s.inHand(frozen.Name); n > 0 {
				t.Logf("round %d: frozen with %d entries in hand", round, n)
				return nil
			}
			frozen.Signal(syscall.SIGCONT)
			return fmt.Errorf("nothing in hand")
		})
		publish(t, p, before...)
		s.drained(soon) // without it, and so after its time
		if n := s.inHand(frozen.Name); n != 0 {
			t.Errorf("%d entries are still the frozen worker's", n)
		}
		// It wakes up into new work, and works on.
		publish(t, p, part[len(part)/2:]...)
		frozen.Signal(syscall.SIGCONT)
		s.drained(soon)
	}
	frozen.Alive()
	other.Alive()
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	s.audit(gateway)
	// It is of use again: alone, it serves whoever comes.
	other.Stop(endTime)
	more, moreRefs := s.purchases("awake", 1, 20)
	publish(t, p, more...)
	s.drained(soon)
	s.allIn(domain.OrderConfirmed, moreRefs)
	paidOnce(t, gateway, append(refs, moreRefs...))
	s.audit(gateway)
	frozen.Stop(endTime)
}

// The same, but the hold of what it has in hand has run out in the meantime: its
// payments are approved late, and given back.
func TestFrozenWorkerWithExpiredHolds(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	requests, refs := s.purchases("late", 4, 100)
	gateway := startGateway(t, "--latency", "300ms")
	frozen := s.worker("frozen", "--gateway", gateway, "--reclaim-after", "30s", "--hold-time", "1s", "--roles", "purchase")
	p, left := s.producer(), requests
	eventually(t, soon, "it freezes with orders in hand that are held", func() error { // it may end them in the moment that it is looked at
		few := min(len(left), 10)
		publish(t, p, left[:few]...)
		left = left[few:]
		frozen.Signal(syscall.SIGSTOP)
		if s.held(refs) > 0 {
			return nil
		}
		frozen.Signal(syscall.SIGCONT)
		return errors.New("none is")
	})
	publish(t, p, left...)
	other := s.worker("other", "--gateway", gateway, "--roles", "posting,settlement,maintenance")
	eventually(t, soon, "the holds expire", func() error {
		if n := s.held(refs); n > 0 {
			return fmt.Errorf("%d orders are held", n)
		}
		return nil
	})
	frozen.Signal(syscall.SIGCONT)
	s.drained(soon)
	outcomes := make(map[domain.OrderState]int)
	lines := ledger(t, gateway)
	for i, o := range s.orders(refs) {
		outcomes[o.State]++
		l := lines[refs[i]]
		if o.State == domain.OrderExpired && (l.Status != domain.PaymentStatusVoided || l.Captures != 0) {
			t.Errorf("%s is expired, the gateway says %+v", refs[i], l)
		}
	}
	t.Logf("%v", outcomes)
	if outcomes[domain.OrderExpired] == 0 {
		t.Error("nothing expired: that was no test")
	}
	s.audit(gateway)
	program.StopAll(frozen, other)
}

// held is how many of the orders are held.
func (s *system) held(refs []domain.OrderRef) (n int) {
	s.t.Helper()
	for _, o := range s.orders(refs) {
		if o.State == domain.OrderHeld {
			n++
		}
	}
	return n
}

// freezer freezes workers at any point of their work and wakes each when it counts
// as dead and others have taken all that it had.
type freezer struct {
	s      *sale
	pool   []*program.Process
	frozen map[*program.Process]*freeze

	freezes   int   // that are over
	hadWork   int   // of these: those of workers with entries in hand
	takenOver int64 // entries, at least
	atOnce    int   // workers, at most
}

// freeze is one worker's.
type freeze struct {
	since time.Time
	most  int64 // entries that were seen in its hands: it can do nothing about them
}

const (
	// zombieReclaim is the workers' --reclaim-after.
	zombieReclaim = 400 * time.Millisecond
	// freezeLimit bounds how long the others may take to take everything over.
	freezeLimit = time.Minute
	// freezeChance is that of a freeze whenever there is an opportunity.
	freezeChance = 0.3
)

// look wakes the workers that are over it, and freezes another one unless there
// have been, or will have been, as many freezes as wanted.
func (f *freezer) look(want int) {
	f.s.t.Helper()
	groups, err := inspect.New(f.s.store()).Pending(context.Background(), 0)
	if err != nil {
		f.s.t.Fatal(err)
	}
	inHand, alive := make(map[string]int64), make(map[string]bool)
	for _, g := range groups {
		for _, c := range g.Consumers {
			inHand[c.Name] += c.Pending
			alive[c.Name] = alive[c.Name] || c.Alive
		}
	}
	var awake []*program.Process
	for _, p := range f.pool {
		z, frozen := f.frozen[p]
		if !frozen {
			p.Alive()
			awake = append(awake, p)
			continue
		}
		n := inHand[p.Name]
		z.most = max(z.most, n)
		// A read that it had sent before may bring it more even now.
		if alive[p.Name] || n > 0 {
			if took := time.Since(z.since); took > freezeLimit {
				f.s.t.Fatalf("%s is frozen for %s, and has %d entries in hand", p.Name, took, n)
			}
			continue
		}
		p.Signal(syscall.SIGCONT)
		delete(f.frozen, p)
		f.freezes++
		f.takenOver += z.most
		if z.most > 0 {
			f.hadWork++
		}
	}
	if len(awake) > 1 && f.freezes+len(f.frozen) < want && f.s.rng.Float64() < freezeChance {
		p := awake[f.s.rng.IntN(len(awake))]
		p.Signal(syscall.SIGSTOP)
		f.frozen[p] = &freeze{since: time.Now()}
		f.atOnce = max(f.atOnce, len(f.frozen))
	}
}

// TestTortureZombies is the sale of TestTortureKilledWorkers, but the workers are
// not killed: they freeze, at any point and several at once, are taken for dead,
// and wake up to go on with what others have done meanwhile.
func TestTortureZombies(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 3, "workers frozen past their reclaim time and resumed, under load")
	want := torture.Size(15, 300)
	s := newSale(t, tally, torture.Seed(t), torture.Size(1_800, 36_000), 60*time.Millisecond)
	f := &freezer{s: s, frozen: make(map[*program.Process]*freeze)}
	for i := range 5 {
		f.pool = append(f.pool, s.worker(fmt.Sprintf("worker-%d", i), "--gateway", s.gateway,
			"--reclaim-after", zombieReclaim.String(), "--call-timeout", "500ms", "--pay-wait", "30s",
			"--max-deliveries", neverTooOften, "--log-level", "debug"))
	}
	s.sellWhile(pace{entries: 10, every: 20 * time.Millisecond, auditEvery: 3 * time.Second}, func(int) (int, bool) {
		f.look(want)
		all := len(s.w.entries)
		if f.freezes == want {
			return all, true
		}
		// Each freeze has its share of the load, however fast they follow each other.
		return all * (f.freezes + 2) / (want + 2), false
	})
	s.endSoldOut(f.pool...)
	program.StopAll(f.pool...)

	stillAtIt := 0
	for _, p := range f.pool {
		stillAtIt += lost(t, p)
	}
	tally.Count("freezes", f.freezes)
	tally.Count("freezes with entries in hand", f.hadWork)
	tally.Count("entries taken over", int(f.takenOver))
	tally.Count("of them that a zombie was still at", stillAtIt)
	t.Logf("up to %d of %d workers were frozen at once", f.atOnce, len(f.pool))
	if f.freezes < want || f.hadWork < f.freezes*3/4 || f.atOnce < 2 || stillAtIt < f.freezes {
		t.Errorf("%d freezes, %d with entries in hand, %d entries at which a zombie was still, at most %d workers frozen at once: that was no test",
			f.freezes, f.hadWork, stillAtIt, f.atOnce)
	}
}

// lost is how many entries it had in hand, by its own debug log, that were not its any more.
func lost(t testing.TB, p *program.Process) (n int) {
	t.Helper()
	for line := range strings.Lines(p.Stderr.String()) {
		var said struct {
			Msg     string `json:"msg"`
			Entries int    `json:"entries"`
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatalf("%s says %q: %v", p.Name, line, err)
		}
		if said.Msg == "entries are not this worker's any more" {
			n += said.Entries
		}
	}
	return n
}
