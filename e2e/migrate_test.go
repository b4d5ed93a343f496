package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
)

// inSchema1 makes a namespace of one partition with the old program, and events in it.
func (s *system) inSchema1(old string, events int, capacity int) {
	s.t.Helper()
	s.oldOK(old, "init", "--partitions", "1")
	for e := range events {
		s.oldOK(old, "events", "create", fmt.Sprintf("old-event-%d", e), "--name", "Old", "--currency", "EUR", "--section", fmt.Sprintf("general=%d@12.50", capacity))
	}
}

// publishRaw publishes purchases as a program in any language may: that is no matter of schemas.
// With a kind, they are requests of that instead.
func (s *system) publishRaw(prefix string, events, n int, kind ...string) (refs []domain.OrderRef) {
	s.t.Helper()
	ctx := context.Background()
	pipe := s.client().Pipeline()
	for i := range n {
		ref := domain.OrderRef{EventID: fmt.Sprintf("old-event-%d", i%events), OrderID: fmt.Sprintf("%s-%d", prefix, i)}
		refs = append(refs, ref)
		fields := []string{"v", "1", "event_id", ref.EventID, "order_id", ref.OrderID}
		switch {
		case slices.Contains(kind, "pay"):
			fields = append(fields, "type", "pay", "payment_token", "tok_1")
		case slices.Contains(kind, "hold"):
			fields = append(fields, "type", "hold", "customer_id", fmt.Sprintf("%s-customer-%d", prefix, i), "quantity", "1", "hold_seconds", "3600")
		default:
			fields = append(fields, "type", "purchase", "customer_id", fmt.Sprintf("%s-customer-%d", prefix, i), "quantity", "1", "payment_token", "tok_1")
		}
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: "holdfast:{0}:requests", NoMkStream: true, Values: fields})
		if pipe.Len() == 1000 || i == n-1 {
			if _, err := pipe.Exec(ctx); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return refs
}

// pendingFor is how many entries of a stream are in the hands of a consumer of a group.
func (s *system) pendingFor(stream, group, consumer string) int64 {
	pending, err := s.client().XPending(context.Background(), stream, group).Result()
	if err != nil {
		s.t.Fatal(err)
	}
	return pending.Consumers[consumer]
}

// errorsSaid is how often Redis has answered with an error of a kind.
func (s *system) errorsSaid(kind string) (n int64) {
	s.t.Helper()
	info, err := s.client().Info(context.Background(), "errorstats").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	_, after, found := strings.Cut(info, "errorstat_"+kind+":count=")
	if !found {
		return 0
	}
	if _, err := fmt.Sscan(after, &n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// sameAsBefore fails the test if a key was changed.
func sameAsBefore(t testing.TB, what string, was, is map[string]string) {
	t.Helper()
	for key := range maps.Keys(was) {
		if was[key] != is[key] {
			t.Errorf("%s: %s was changed", what, key)
		}
	}
	for key := range maps.Keys(is) {
		if _, before := was[key]; !before {
			t.Errorf("%s: %s is new", what, key)
		}
	}
}

// Workers of schema 1 freeze with requests, facts and answers of the gateway in hand, and wake up in schema 2: at once, or
// when others have finished all that they had. They change nothing.
func TestWorkersOfSchema1WakeUp(t *testing.T) {
	t.Parallel()
	old := oldBinary(t)
	s := newSystem(t)
	gateway := startGateway(t, "--latency", "300ms")
	s.inSchema1(old, 4, 10_000)
	var frozen []*program.Process
	var refs []domain.OrderRef
	for i := range 2 {
		name := fmt.Sprint("frozen-", i)
		p := s.oldWorker(old, name, "--gateway", gateway, "--reclaim-after", "2s")
		// It may finish what it had in the moment it is looked at.
		eventually(t, 3*soon, name+" freezes with requests and facts in hand", func() error {
			refs = append(refs, s.publishRaw(fmt.Sprintf("%s-%d", name, len(refs)), 4, 200)...)
			for range 200 {
				p.Signal(syscall.SIGSTOP)
				requests, facts := s.pendingFor("holdfast:{0}:requests", "workers", name), s.pendingFor("holdfast:{0}:log", "posting", name)
				if requests > 0 && facts > 0 {
					t.Logf("%s froze with %d requests and %d facts to post in hand", name, requests, facts)
					return nil
				}
				p.Signal(syscall.SIGCONT)
			}
			return fmt.Errorf("nothing in hand")
		})
		frozen = append(frozen, p)
	}
	// A sign of life, however slow this machine is; the next one overwrites none.
	if err := s.client().ZAdd(context.Background(), "holdfast:{0}:consumers", redis.Z{Score: float64(time.Now().Add(time.Minute).UnixMilli()), Member: "workers/frozen-1"}).Err(); err != nil {
		t.Fatal(err)
	}
	if r := s.run("", "migrate"); r.code != 1 || !strings.Contains(r.stderr, "frozen-1") {
		t.Errorf("migrate under a worker that counts as alive: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if err := s.client().ZAdd(context.Background(), "holdfast:{0}:consumers", redis.Z{Score: float64(time.Now().UnixMilli()), Member: "workers/frozen-1"}).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*soon, "it is migrated when nobody counts as alive", func() error {
		if r := s.run("", "migrate"); r.code != 0 {
			return fmt.Errorf("%d: %s", r.code, r.stderr)
		}
		return nil
	})
	s.audit("")

	// The oldest of them do not ask for the schema again and go on in vain until they are stopped; later ones end by themselves.
	wake := func(p *program.Process, what string) {
		t.Helper()
		was := s.dump()
		refusedBefore, lostBefore := s.errorsSaid("WRONGTYPE"), s.errorsSaid("NOGROUP")
		p.Signal(syscall.SIGCONT)
		// It logs that it fails, and not how often: Redis counts.
		eventually(t, soon, what+" has tried what it had in hand, and goes on trying", func() error {
			refused, lost := s.errorsSaid("WRONGTYPE")-refusedBefore, s.errorsSaid("NOGROUP")-lostBefore
			// How often depends on where it froze: many holds are refused in one call, and each payment in its own.
			if refused < 100 || lost < 10 || !strings.Contains(p.Stderr.String(), "script dead_letter: WRONGTYPE") {
				return fmt.Errorf("it was refused %d times, and found no group %d times", refused, lost)
			}
			return nil
		})
		p.Signal(syscall.SIGTERM)
		p.Wait(endTime)
		sameAsBefore(t, what, was, s.dump())
	}
	wake(frozen[0], "a worker that woke at once")
	worker := s.worker("new-1", "--gateway", gateway)
	s.drained(3 * soon)
	s.trimmed() // or the old one would: that is the same in every schema
	worker.Stop(endTime)
	wake(frozen[1], "a worker that woke when all was done")
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	s.audit(gateway)
}

// A hundred thousand orders are migrated, with orders that are held, payments under way, money that is not collected, facts that
// are not posted, and requests in line; the migration is killed on the way, again and again; and workers go on from there. Payments
// keep the names that they had, or each capture would ask for one that the gateway never heard of.
func TestTortureMigrate(t *testing.T) {
	t.Parallel()
	old := oldBinary(t)
	tally := torture.Begin(t, 13, "a namespace of schema 1 migrated, and the migration killed on the way")
	const events, inLine, held = 50, 1000, 300
	n := torture.Size(10_000, 100_000)
	s := newSystem(t)
	gateway := startGateway(t, "--latency", "100ms")
	ctx := context.Background()
	s.inSchema1(old, events, n)
	args := []string{"--gateway", gateway, "--reclaim-after", "2s"}
	selling := s.oldWorker(old, "old-0", append(args, "--roles", "purchase,maintenance")...)
	following := s.oldWorker(old, "old-1", append(args, "--roles", "posting,settlement")...)
	refs := append(s.publishRaw("held", events, held, "hold"), s.publishRaw("o", events, n-inLine)...)
	waiting := func() int64 { return s.client().XInfoGroups(ctx, "holdfast:{0}:requests").Val()[0].Lag }
	eventually(t, 10*soon, "half of them are confirmed", func() error {
		if left := waiting(); left > int64(n/2) {
			return fmt.Errorf("%d wait", left)
		}
		return nil
	})
	following.Kill()
	eventually(t, 10*soon, "nearly all of them are confirmed", func() error {
		if left := waiting(); left > inLine {
			return fmt.Errorf("%d wait", left)
		}
		return nil
	})
	selling.Kill()
	underWay := s.pendingFor("holdfast:{0}:requests", "workers", "old-0")
	captured := 0
	for _, l := range ledger(t, gateway) {
		captured += l.Captures
	}
	tally.Count("orders unsettled", n-captured)
	tally.Count("payments under way when the worker was killed", int(underWay))
	if underWay == 0 || captured > n/2+n/4 {
		t.Errorf("%d payments under way, %d captured: that was no test", underWay, captured)
	}
	refs = append(refs, s.publishRaw("more", events, inLine)...)
	eventually(t, 3*soon, "nobody counts as alive any more", func() error {
		for name, until := range s.aliveUntil() {
			if until > time.Now().UnixMilli() {
				return fmt.Errorf("%s does", name)
			}
		}
		return nil
	})

	kills := 0
	for lifetime := 20 * time.Millisecond; ; lifetime += lifetime / 4 {
		killed, cancel := context.WithTimeout(ctx, lifetime)
		err := s.command(killed, "", "migrate").Run() // SIGKILL when its time is over
		cancel()
		if err == nil {
			break
		}
		kills++
	}
	s.audit("")
	report := one[struct {
		Already bool `json:"already"`
	}](s, "migrate")
	if !report.Already {
		t.Errorf("migrated twice: %+v", report)
	}
	tally.Count("kills of the migration", kills)
	tally.Count("orders", n)
	if kills < 3 {
		t.Errorf("killed %d times: that was no test", kills)
	}

	workers := []*program.Process{s.worker("new-0", args...), s.worker("new-1", args...)}
	s.publishRaw("held", events, held, "pay")
	s.drained(10 * soon)
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	for ref, l := range ledger(t, gateway) {
		if l.Namespace != "" {
			t.Errorf("the payment of %s is named with a namespace: %+v", ref, l)
		}
	}
	s.audit(gateway)
	tally.Judged(0)
	program.StopAll(workers...)
}

// aliveUntil is until when workers of schema 1 count as alive, in milliseconds.
func (s *system) aliveUntil() map[string]int64 {
	s.t.Helper()
	members, err := s.client().ZRangeWithScores(context.Background(), "holdfast:{0}:consumers", 0, -1).Result()
	if err != nil {
		s.t.Fatal(err)
	}
	until := make(map[string]int64, len(members))
	for _, m := range members {
		until[fmt.Sprint(m.Member)] = int64(m.Score)
	}
	return until
}
