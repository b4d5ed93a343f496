package workers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// Pays that wait for their holds keep nothing else from being read, their holds least of all.
func TestWaitingPaysTakeNoRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 100)
	w.start(workers.Config{Concurrency: 1}, w.gateway, nil) // 3 in hand
	for i := range 8 {
		w.publish(request(domain.RequestPay, fmt.Sprint("stray-", i), "", 0))
	}
	w.publish(request(domain.RequestPay, "late", "", 0))
	w.eventually("they are in hand", func() bool { return w.requestsPending() > 3 })
	w.publish(request(domain.RequestPurchase, "other", "amy", 1))
	w.waitState("other", domain.OrderConfirmed)
	w.publish(request(domain.RequestCancel, "stray-0", "", 0)) // and so it is one to be asked for no more
	w.publish(request(domain.RequestHold, "late", "fred", 1))
	w.waitState("late", domain.OrderConfirmed)
	w.waitState("stray-0", domain.OrderCancelled)
	w.eventually("all others still wait", func() bool { return w.requestsPending() == 7 })
}

// requestsPending is how many requests are with workers.
func (w *world) requestsPending() int64 {
	w.t.Helper()
	pending, err := w.rdb().XPending(w.ctx, w.requests(), string(domain.GroupWorkers)).Result()
	if err != nil {
		w.t.Fatalf("counting what is in hand: %v", err)
	}
	return pending.Count
}

// Who waits is set aside when its hold has not come in time, and is left for others when the worker ends.
func TestWaitingPaysEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 100)
	first := w.start(workers.Config{}, w.gateway, nil)
	w.publish(request(domain.RequestPay, "o", "", 0), request(domain.RequestPay, "p", "", 0))
	w.eventually("they are in hand", func() bool { return w.requestsPending() == 2 })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if n := first.Stats().HandedBack.Load(); n != 2 {
		t.Errorf("%d were handed back, want 2", n)
	}
	w.start(workers.Config{PayWait: 300 * time.Millisecond}, w.gateway, nil)
	w.waitDrained()
	if reasons := w.deadReasons(); !slices.Equal(reasons, []string{"unknown_order: no hold for it came within 300ms", "unknown_order: no hold for it came within 300ms"}) {
		t.Errorf("dead letters: %q", reasons)
	}
}

// For as long as more comes than the gateway takes, customers who have been to their bank get their share of its calls.
func TestAwaitedAreAskedAboutInARush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 100_000)
	over := make(chan struct{})
	slow := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
		if r.Name.OrderID != "early" {
			select {
			case <-over:
			case <-time.After(200 * time.Millisecond):
			}
		}
		return w.gateway.Authorize(ctx, r)
	}}
	w.start(workers.Config{Concurrency: 4}, slow, nil)
	early := request(domain.RequestPurchase, "early", "amy", 1)
	early.PaymentToken = simulator.ActionTokenPrefix
	w.publish(early)
	w.eventually("the bank asks", func() bool { return w.payment("early").Status == domain.PaymentStatusActionRequired })
	published := 0
	rush := func() {
		id := fmt.Sprint("o", published)
		published++
		w.publish(request(domain.RequestPurchase, id, id, 1))
	}
	w.eventually("more waits than is in hand", func() bool { rush(); return w.backlog() > 24 })
	name := domain.PaymentName{Namespace: w.store.PaymentNamespace(), OrderRef: domain.OrderRef{EventID: "e", OrderID: "early"}}
	if _, err := w.gateway.Finish(name, true); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is confirmed all the same", func() bool {
		for w.backlog() < 24 {
			rush()
		}
		return w.order("early").State == domain.OrderConfirmed
	})
	close(over)
	w.waitDrained()
	w.audit()
}

// An order whose hold has ended while it waited for a call is not asked for any more.
func TestDeadlineWhileWaitingForACall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	release := make(chan struct{})
	var asked atomic.Int64 // for the second
	slow := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
		if r.Name.OrderID == "o2" {
			asked.Add(1)
		} else {
			<-release
		}
		return w.gateway.Authorize(ctx, r)
	}}
	w.start(workers.Config{Concurrency: 1, HoldTime: time.Minute}, slow, nil)
	w.publish(request(domain.RequestPurchase, "o1", "amy", 1))
	w.waitState("o1", domain.OrderHeld)
	second := request(domain.RequestPurchase, "o2", "fred", 1)
	second.HoldSeconds = 1
	w.publish(second)
	w.waitState("o2", domain.OrderExpired)
	close(release)
	w.waitState("o1", domain.OrderConfirmed)
	w.waitDrained()
	if n := asked.Load(); n != 0 {
		t.Errorf("the gateway was asked %d times for an order whose hold had ended", n)
	}
	w.audit()
}

// Requests of a paused event that cannot be parked at all are set aside.
func TestParkedNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 4)
	w.pause("e")
	if err := w.rdb().Set(w.ctx, w.ns+":{0}:2:parked:e", "of another type", 0).Err(); err != nil {
		t.Fatal(err)
	}
	w.start(workers.Config{}, w.gateway, nil)
	w.publish(request(domain.RequestPurchase, "o", "amy", 1))
	w.eventually("it is set aside", func() bool { return len(w.deadReasons()) == 1 })
	if reason := w.deadReasons()[0]; !strings.HasPrefix(reason, "not_parked: event e is paused, and its requests cannot be parked: ") {
		t.Errorf("dead letter: %s", reason)
	}
	w.waitDrained()
}

// failsToUnpark does not put back requests of one event.
type failsToUnpark struct{ domain.Ledger }

func (l failsToUnpark) Unpark(ctx context.Context, p int, eventID string, most int) (n, left int64, err error) {
	if eventID == "e" {
		return 0, 0, domain.WithClass(domain.ClassPoison, errors.New("its list is damaged"))
	}
	return l.Ledger.Unpark(ctx, p, eventID, most)
}

func (l failsToUnpark) Parked(ctx context.Context, p int) ([]string, error) {
	events, err := l.Ledger.Parked(ctx, p)
	slices.Sort(events) // the one that fails first
	return events, err
}

// An event whose requests cannot be put back in line keeps no other's out of it.
func TestUnparkGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 4)
	w.listWith("f", domain.Terms{Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 9}}})
	w.pause("e")
	w.pause("f")
	w.deps = func(d *workers.Deps) { d.Ledger = failsToUnpark{d.Ledger} }
	w.start(workers.Config{}, w.gateway, nil)
	other := request(domain.RequestPurchase, "o", "amy", 1)
	other.EventID = "f"
	w.publish(request(domain.RequestPurchase, "o", "amy", 1), other)
	w.eventually("they are parked", func() bool { return w.parked("e") == 1 && w.parked("f") == 1 })
	w.resume("e")
	w.resume("f")
	w.eventually("one is put back", func() bool { return w.parked("f") == 0 })
	if n := w.parked("e"); n != 1 {
		t.Errorf("%d are parked of the other", n)
	}
}

// noTurns gives nobody a turn at archiving.
type noTurns struct {
	domain.Ledger
	asked atomic.Int64
}

func (l *noTurns) TakeTurn(ctx context.Context, p int, job, name string, lasts time.Duration) (bool, error) {
	if job == domain.JobArchive {
		l.asked.Add(1)
		return false, domain.WithClass(domain.ClassRetry, errors.New("redis is away"))
	}
	return l.Ledger.TakeTurn(ctx, p, job, name, lasts)
}

// That Redis is away is not told as the archive's failing.
func TestNoTurnIsNoFailureOfTheArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	ledger := &noTurns{}
	w.deps = func(d *workers.Deps) {
		ledger.Ledger = d.Ledger
		d.Ledger, d.Archiver = ledger, &taker{}
	}
	pool := w.start(workers.Config{Roles: []workers.Role{workers.RoleArchive}, ArchiveEvery: 10 * time.Millisecond}, nil, nil)
	w.eventually("it has asked for its turn", func() bool { return ledger.asked.Load() > 5 })
	if n := pool.Stats().ArchiveFailed.Load(); n != 0 {
		t.Errorf("%d times the archive is said to have failed", n)
	}
}
