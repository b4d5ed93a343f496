package workers_test

import (
	"context"
	"fmt"
	"slices"
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
