package workers_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

func TestPurchase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	w.start(workers.Config{}, w.gateway, nil)
	declined := request(domain.RequestPurchase, "o3", "jim", 1)
	declined.PaymentToken = simulator.DeclineTokenPrefix
	for _, c := range []struct {
		request domain.Request
		state   domain.OrderState
		reason  string
	}{
		{request(domain.RequestPurchase, "o1", "fred", 6), domain.OrderConfirmed, ""},
		{request(domain.RequestPurchase, "o2", "amy", 5), domain.OrderRejected, domain.ReasonSoldOut},
		{declined, domain.OrderDeclined, ""},
		{request(domain.RequestPurchase, "o1", "fred", 6), domain.OrderConfirmed, ""},
	} {
		w.publish(c.request)
		outcome, err := w.producer.Wait(w.ctx, "e", c.request.OrderID)
		if err != nil || outcome.Order.State != c.state || outcome.Order.Reason != c.reason {
			t.Errorf("%s: %s %q %v, want %s %q", c.request.OrderID, outcome.Order.State, outcome.Order.Reason, err, c.state, c.reason)
		}
	}
	w.waitDrained()
	w.audit()
	if s := w.section(); s.Available != 4 || s.Sold != 6 {
		t.Errorf("section is %+v", s)
	}
	if got := w.totals(); got.Orders != 1 || got.Revenue != 6000 {
		t.Errorf("totals are %+v", got)
	}
	if line := w.payment("o2"); line.Calls != 0 {
		t.Errorf("the gateway was asked about a rejected order: %+v", line)
	}
}

func TestHoldThenPay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	w.start(workers.Config{}, w.gateway, nil)
	w.publish(request(domain.RequestHold, "o", "fred", 3))
	if outcome, err := w.producer.WaitHeld(w.ctx, "e", "o"); err != nil || outcome.Order.State != domain.OrderHeld {
		t.Fatalf("hold: %s %v", outcome.Order.State, err)
	}
	if line := w.payment("o"); line.Calls != 0 {
		t.Errorf("a hold went to the gateway: %+v", line)
	}
	w.publish(request(domain.RequestPay, "o", "", 0))
	if outcome, err := w.producer.Wait(w.ctx, "e", "o"); err != nil || outcome.Order.State != domain.OrderConfirmed {
		t.Errorf("pay: %s %v", outcome.Order.State, err)
	}
	w.publish(request(domain.RequestCancel, "o", "", 0))
	if outcome, err := w.producer.WaitCancelled(w.ctx, "e", "o"); err != nil || outcome.Order.State != domain.OrderCancelled {
		t.Errorf("cancel: %s %v", outcome.Order.State, err)
	}
	w.waitDrained()
	w.audit()
	if got := w.totals(); got.Orders != 0 || got.Revenue != 0 {
		t.Errorf("totals are %+v after the cancel", got)
	}
	if line := w.payment("o"); line.Captured != line.Refunded || line.Status == domain.PaymentStatusAuthorized {
		t.Errorf("the money was not given back: %+v", line)
	}
	lines, err := inspect.New(w.store).Invoices(w.ctx, "fred")
	if err != nil || len(lines) != 1 || lines[0].Status != "cancelled" {
		t.Errorf("invoices are %+v, %v", lines, err)
	}
}

func TestOutOfOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	pay := request(domain.RequestPay, "paid", "", 0)
	w.publish(pay, request(domain.RequestPay, "nobody", "", 0), request(domain.RequestCancel, "cancelled", "", 0))
	pool := w.start(workers.Config{}, w.gateway, nil)
	w.waitState("cancelled", domain.OrderCancelled)
	w.eventually("the pays in hand", func() bool { return pool.Stats().InFlight.Load() == 2 })
	w.publish(request(domain.RequestHold, "paid", "fred", 2), request(domain.RequestPurchase, "cancelled", "amy", 2))
	w.waitState("paid", domain.OrderConfirmed)
	if err := pool.stop(); err != nil {
		t.Fatal(err)
	}
	w.start(workers.Config{PayWait: time.Millisecond}, w.gateway, nil)
	w.waitDrained()
	if o := w.order("cancelled"); o.State != domain.OrderCancelled {
		t.Errorf("the cancel that came first did not win: %+v", o)
	}
	if reasons := w.deadReasons(); len(reasons) != 1 || !strings.HasPrefix(reasons[0], "unknown_order") {
		t.Errorf("dead letters: %q, want one unknown_order", reasons)
	}
	w.audit()
}

// The deadline passes while the gateway thinks. Once it approves in the end, and
// once the call is given up, so that nobody ever hears of the approval.
func TestDeadlineDuringSlowAuthorization(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for _, heedsContext := range []bool{true, false} {
		w := newWorld(t, server, simulator.Options{})
		w.list("e", 1000, 10)
		release := make(chan struct{})
		var approved atomic.Bool
		slow := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
			p, err := w.gateway.Authorize(context.WithoutCancel(ctx), r)
			approved.Store(p.Status == domain.PaymentStatusAuthorized)
			if heedsContext {
				<-ctx.Done()
				return domain.Payment{}, errLost
			}
			<-release
			return p, err
		}}
		pool := w.start(workers.Config{HoldTime: 2 * time.Second}, slow, nil) // it is asked for before that
		w.publish(request(domain.RequestPurchase, "o", "fred", 4))
		w.waitState("o", domain.OrderExpired)
		close(release)
		w.waitDrained()
		if !approved.Load() {
			t.Fatal("the gateway never approved: this tests nothing")
		}
		if s := w.section(); s.Available != 10 || s.Held != 0 {
			t.Errorf("tickets are not back: %+v", s)
		}
		if line := w.payment("o"); line.Status != domain.PaymentStatusVoided || line.Voids != 1 || line.Captures != 0 {
			t.Errorf("the late approval was not voided: %+v", line)
		}
		w.audit()
		if err := pool.stop(); err != nil {
			t.Error(err)
		}
	}
}

// Each first reply of the gateway gets lost after it took effect.
func TestLostRepliesOfTheGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	var mu sync.Mutex
	var calls []string
	lost := func(name string, order string) bool {
		mu.Lock()
		defer mu.Unlock()
		first := !slices.Contains(calls, name+order)
		calls = append(calls, name+order)
		return first
	}
	lossy := gatewayFunc{
		PaymentGateway: w.gateway,
		authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
			p, err := w.gateway.Authorize(ctx, r)
			if lost("authorize", r.Name.OrderID) {
				return domain.Payment{}, errLost
			}
			return p, err
		},
		capture: func(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
			p, err := w.gateway.Capture(ctx, a)
			if lost("capture", a.Name.OrderID) {
				return domain.Payment{}, errLost
			}
			return p, err
		},
	}
	w.start(workers.Config{}, lossy, nil)
	w.publish(request(domain.RequestPurchase, "o", "fred", 4))
	w.waitState("o", domain.OrderConfirmed)
	w.waitDrained()
	if line := w.payment("o"); line.Authorizations != 1 || line.Captures != 1 || line.Captured != 4000 {
		t.Errorf("want one authorization and one capture: %+v", line)
	}
	w.audit()
}

// A gateway that takes so many calls a second, and an event that is on sale: everybody is
// served, at that pace, and no order costs many calls.
func TestSaleAtTheGatewaysPace(t *testing.T) {
	t.Parallel()
	const orders, rate = 300, 150
	w := newWorld(t, redistest.Start(t), simulator.Options{RateLimit: rate})
	w.list("e", 1000, orders)
	var calls atomic.Int64
	counted := middleman{next: w.gateway, do: func(_ context.Context, _ string, _ domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
		calls.Add(1)
		return do()
	}}
	var all []domain.Request
	for i := range orders {
		id := strconv.Itoa(i)
		all = append(all, request(domain.RequestPurchase, "o"+id, "c"+id, 1))
	}
	w.publish(all...)
	begun := time.Now()
	pool := w.start(workers.Config{}, counted, nil)
	w.eventually("all sold", func() bool { return pool.Stats().Confirmed.Load() == orders })
	w.waitDrained()
	t.Logf("%d calls for %d orders, in %s", calls.Load(), orders, time.Since(begun))
	if perOrder := float64(calls.Load()) / orders; perOrder > 3 {
		t.Errorf("%.2f calls an order", perOrder)
	}
	w.audit()
}

func TestCaptureRefusedForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{CaptureRefusalRate: 1})
	w.list("e", 1000, 10)
	w.start(workers.Config{}, w.gateway, nil)
	w.publish(request(domain.RequestPurchase, "o", "fred", 4))
	w.waitState("o", domain.OrderCancelled)
	w.waitDrained()
	if o := w.order("o"); o.Reason != domain.ReasonCaptureFailed {
		t.Errorf("the reason is %q", o.Reason)
	}
	if s, totals := w.section(), w.totals(); s.Available != 10 || totals.Orders != 0 {
		t.Errorf("section %+v, totals %+v", s, totals)
	}
	if line := w.payment("o"); line.Status != domain.PaymentStatusVoided {
		t.Errorf("the authorization was not voided: %+v", line)
	}
	w.audit()
}

// The gateway never hears of what costs nothing, also not when its request comes again after the order has ended.
func TestFreeOrdersThatEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.free = true
	w.list("e", 0, 10)
	bought, held := request(domain.RequestPurchase, "o1", "fred", 2), request(domain.RequestHold, "o2", "jim", 1)
	bought.PaymentToken, held.HoldSeconds = "", 1
	pay := request(domain.RequestPay, "o2", "", 0)
	pay.PaymentToken = ""
	w.publish(bought, held)
	w.start(workers.Config{}, w.gateway, nil)
	w.waitState("o1", domain.OrderConfirmed)
	w.publish(request(domain.RequestCancel, "o1", "", 0))
	w.waitState("o1", domain.OrderCancelled)
	w.waitState("o2", domain.OrderExpired)
	w.publish(bought, pay)
	w.waitDrained()
	if own, _ := w.books(); len(own) > 0 {
		t.Errorf("the gateway was asked: %+v", own)
	}
	w.audit()
}

// In a namespace that does not say that free orders need no payment, the gateway is asked for 0, with a token.
func TestFreeOrdersWhereTheGatewayIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 0, 10)
	tokenless := request(domain.RequestPurchase, "o2", "amy", 1)
	tokenless.PaymentToken = ""
	pay := request(domain.RequestPay, "o3", "", 0)
	pay.PaymentToken = ""
	w.publish(request(domain.RequestPurchase, "o1", "fred", 2), tokenless, request(domain.RequestHold, "o3", "jim", 1), pay)
	w.start(workers.Config{}, w.gateway, nil)
	w.waitState("o1", domain.OrderConfirmed)
	w.waitState("o2", domain.OrderRejected)
	w.waitDrained()
	if o := w.order("o1"); o.AuthorizationID == "" || w.payment("o1").Status != domain.PaymentStatusCaptured {
		t.Errorf("%+v, paid with %+v", o, w.payment("o1"))
	}
	if o := w.order("o2"); o.Reason != domain.ReasonInvalid || o.Detail != domain.DetailNoToken {
		t.Errorf("without a token: %+v", o)
	}
	if reasons := w.deadReasons(); len(reasons) != 1 || reasons[0] != domain.DetailNoToken {
		t.Errorf("dead letters %q", reasons)
	}
	w.audit()
}

// A request that lost its token comes for an order that one with a token opened: it is not what the gateway is asked with.
func TestPurchaseThatLostItsToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	asked, release := make(chan domain.Secret, 10), make(chan struct{})
	slow := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
		asked <- r.Token
		<-release
		return w.gateway.Authorize(ctx, r)
	}}
	w.start(workers.Config{}, slow, nil)
	w.publish(request(domain.RequestPurchase, "o", "fred", 2))
	if token := <-asked; token == "" {
		t.Error("asked without a token")
	}
	again := request(domain.RequestPurchase, "o", "fred", 2)
	again.PaymentToken = ""
	w.publish(again)
	w.eventually("it is set aside", func() bool { return len(w.deadReasons()) == 1 })
	close(release)
	w.waitState("o", domain.OrderConfirmed)
	w.waitDrained()
	if reasons := w.deadReasons(); reasons[0] != domain.DetailNoToken || len(asked) != 0 {
		t.Errorf("dead letters %q, asked %d times more", reasons, len(asked))
	}
	w.audit()
}

// A cancel arrives while the payment is being authorized.
func TestCancelDuringAuthorization(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	asked, release := make(chan struct{}), make(chan struct{})
	slow := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
		close(asked)
		<-release
		return w.gateway.Authorize(ctx, r)
	}}
	w.start(workers.Config{}, slow, nil)
	w.publish(request(domain.RequestPurchase, "o", "fred", 4))
	<-asked
	w.publish(request(domain.RequestCancel, "o", "", 0))
	w.waitState("o", domain.OrderCancelled)
	close(release)
	w.waitDrained()
	if line := w.payment("o"); line.Status != domain.PaymentStatusVoided || line.Captures != 0 {
		t.Errorf("the payment was not voided: %+v", line)
	}
	w.audit()
}

// A live worker whose gateway takes several times the reclaim time keeps its entries.
func TestLiveSlowWorkerIsNotReclaimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	const reclaimAfter = 2 * time.Second // with time enough for a sign of life on a busy machine
	var calls atomic.Int64
	slow := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
		calls.Add(1)
		timer := time.NewTimer(3 * reclaimAfter)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return w.gateway.Authorize(ctx, r)
	}}
	first := w.start(workers.Config{ReclaimAfter: reclaimAfter}, slow, nil)
	second := w.start(workers.Config{ReclaimAfter: reclaimAfter}, slow, nil)
	w.publish(request(domain.RequestPurchase, "o", "fred", 4))
	w.waitState("o", domain.OrderConfirmed)
	w.waitDrained()
	if n := first.Stats().Reclaimed.Load() + second.Stats().Reclaimed.Load(); n != 0 || calls.Load() != 1 {
		t.Errorf("%d entries were reclaimed from a live worker, %d authorizations were asked for", n, calls.Load())
	}
	w.audit()
}

// A worker that is told to stop hands back what it cannot finish, and nobody
// waits for the reclaim time.
func TestStopHandsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 1000)
	hanging := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, _ domain.PaymentRequest) (domain.Payment, error) {
		<-ctx.Done()
		return domain.Payment{}, errLost
	}}
	cfg := workers.Config{ReclaimAfter: time.Minute, Grace: time.Second, CallTimeout: time.Minute}
	first := w.start(cfg, hanging, nil)
	for _, id := range []string{"o1", "o2", "o3"} {
		w.publish(request(domain.RequestPurchase, id, "customer-"+id, 1))
	}
	w.eventually("three in hand", func() bool { return first.Stats().InFlight.Load() == 3 })
	stopped := time.Now()
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	if first.Stats().HandedBack.Load() != 3 {
		t.Errorf("%d entries were handed back, want 3", first.Stats().HandedBack.Load())
	}
	second := w.start(cfg, w.gateway, nil)
	for _, id := range []string{"o1", "o2", "o3"} {
		w.waitState(id, domain.OrderConfirmed)
	}
	if took := time.Since(stopped); took > cfg.ReclaimAfter/2 {
		t.Errorf("it took %s: somebody waited for the reclaim time", took)
	}
	if second.Stats().Reclaimed.Load() != 3 {
		t.Errorf("%d entries were reclaimed, want 3", second.Stats().Reclaimed.Load())
	}
	w.waitDrained()
	w.audit()
}

// What costs less than the gateway takes is refused before it is held.
func TestBelowMinimum(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{Minimums: domain.Minimums{"EUR": 3000}})
	w.list("e", 1000, 10)
	w.start(workers.Config{}, w.gateway, nil)
	few, enough := request(domain.RequestPurchase, "few", "fred", 2), request(domain.RequestPurchase, "enough", "fred", 3)
	held := request(domain.RequestHold, "held", "mary", 2)
	w.publish(few, held)
	w.waitState("few", domain.OrderRejected)
	w.waitState("held", domain.OrderRejected)
	w.publish(enough)
	w.waitState("enough", domain.OrderConfirmed)
	w.waitDrained()
	for _, id := range []string{"few", "held"} {
		if o := w.order(id); o.Reason != domain.ReasonBelowMinimum {
			t.Errorf("%s was rejected as %s", id, o.Reason)
		}
	}
	if own, _ := w.books(); len(own) != 1 {
		t.Errorf("books %+v, want only the payment that was large enough", own)
	}
	w.audit()
}

// A gateway that does not answer yet keeps nobody waiting for its minimums: they count once they are known.
func TestMinimumsThatComeLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	var answers atomic.Bool
	late := gatewayFunc{PaymentGateway: w.gateway, minimums: func(ctx context.Context) (domain.Minimums, error) {
		if !answers.Load() {
			return nil, errLost
		}
		return domain.Minimums{"EUR": 3000}, nil
	}}
	w.start(workers.Config{}, late, nil)
	w.publish(request(domain.RequestPurchase, "first", "fred", 2))
	w.waitState("first", domain.OrderConfirmed)
	answers.Store(true)
	for i := 0; ; i++ {
		id := fmt.Sprintf("o%d", i)
		w.publish(request(domain.RequestPurchase, id, id, 1))
		w.eventually(id+" ended", func() bool { return w.order(id).State.Terminal() })
		o := w.order(id)
		if o.Reason == domain.ReasonBelowMinimum {
			break
		}
		if o.State != domain.OrderConfirmed && o.Reason != domain.ReasonSoldOut {
			t.Fatalf("%s is %s, %s", id, o.State, o.Reason)
		}
	}
	w.waitDrained()
	w.audit()
}

// A customer who has something to do at their bank has until the deadline for it.
func TestCustomersAction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	w.start(workers.Config{HoldTime: 2 * time.Second}, w.gateway, nil)
	outcomes := map[string]domain.OrderState{"does": domain.OrderConfirmed, "fails": domain.OrderDeclined, "forgets": domain.OrderExpired}
	for id := range outcomes {
		q := request(domain.RequestPurchase, id, id, 2)
		q.PaymentToken = simulator.ActionTokenPrefix
		if id != "forgets" {
			q.HoldSeconds = 600
		}
		w.publish(q)
	}
	for id := range outcomes {
		w.eventually("the bank asks", func() bool {
			status := w.payment(id).Status
			return status == domain.PaymentStatusActionRequired || id == "forgets" && status == domain.PaymentStatusVoided
		})
		if id == "forgets" {
			continue
		}
		name := domain.PaymentName{Namespace: w.store.PaymentNamespace(), OrderRef: domain.OrderRef{EventID: "e", OrderID: id}}
		if o := w.order(id); o.State != domain.OrderHeld {
			t.Errorf("%s is %s before the customer has done it", id, o.State)
		}
		if _, err := w.gateway.Finish(name, id == "does"); err != nil {
			t.Fatal(err)
		}
	}
	for id, state := range outcomes {
		w.waitState(id, state)
	}
	w.waitDrained()
	for id, status := range map[string]domain.PaymentStatus{
		"does": domain.PaymentStatusCaptured, "fails": domain.PaymentStatusDeclined, "forgets": domain.PaymentStatusVoided,
	} {
		if line := w.payment(id); line.Status != status {
			t.Errorf("the payment of %s: %+v, want %s", id, line, status)
		}
	}
	w.audit()
}

// A worker is told to stop when the money of some orders of an entry has moved, and that of others has not. It ends
// in time, and the entry is for others, as a whole.
func TestStopWithHalfOfAnEntrySettled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 100)
	sold := purchasesOf("o", 40)
	w.together(sold...)
	var captures atomic.Int64
	hanging := gatewayFunc{PaymentGateway: w.gateway, capture: func(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
		if captures.Add(1) > 10 {
			<-ctx.Done()
			return domain.Payment{}, errLost
		}
		return w.gateway.Capture(ctx, a)
	}}
	// Fewer calls at once than the entry has facts: some of them have not begun.
	cfg := workers.Config{Concurrency: 16, ReclaimAfter: time.Minute, Grace: time.Second, CallTimeout: time.Minute}
	first := w.start(cfg, hanging, nil)
	w.eventually("ten are captured, and as many calls hang as may", func() bool { return captures.Load() == 26 && first.Stats().Settled.Load() == 10 })
	stopped := time.Now()
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(stopped); took > 5*cfg.Grace {
		t.Errorf("it took %s to stop", took)
	}
	// On a busy host its time to be settled is over first, and what is not is owed.
	owed := w.rdb().ZCard(w.ctx, w.ns+":{0}:2:owed").Val()
	if n := first.Stats().HandedBack.Load(); (n == 1) == (owed > 0) || first.Stats().InFlight.Load() != 0 {
		t.Errorf("%d entries were handed back, %d orders are owed, %d entries are in hand", n, owed, first.Stats().InFlight.Load())
	}
	w.start(cfg, w.gateway, nil)
	w.waitDrained()
	for _, q := range sold {
		if line := w.payment(q.OrderID); line.Status != domain.PaymentStatusCaptured || line.Captures != 1 {
			t.Errorf("%s: %+v", q.OrderID, line)
		}
	}
	w.audit()
}

func TestDeadConsumersAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	dead := newInjector(fault{"move" + byPurchase, 1, diesBefore}).process()
	cfg := workers.Config{ReclaimAfter: 200 * time.Millisecond, Grace: 300 * time.Millisecond}
	victim := w.start(cfg, w.gateway, dead)
	w.publish(request(domain.RequestPurchase, "o", "fred", 4))
	<-dead.died
	_ = victim.stop() // it is dead: everything it tries fails
	w.start(cfg, w.gateway, nil)
	w.waitState("o", domain.OrderConfirmed)
	w.eventually("the dead consumer gone", func() bool {
		all, err := inspect.New(w.store).Pending(w.ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range all {
			if slices.ContainsFunc(g.Consumers, func(c inspect.ConsumerStatus) bool { return c.Name == victim.Name() }) {
				return false
			}
		}
		return true
	})
	w.waitDrained()
	w.audit()
}

// An entry kills the only worker there is, which comes back each time under its name.
// It is set aside before long, and the others are handled.
func TestEntryThatKillsALoneWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	w.publish(request(domain.RequestPurchase, "deadly", "fred", 1))
	cfg := workers.Config{Name: "lone", MaxDeliveries: 3, ReclaimAfter: time.Minute}
	deaths := 0
	for len(w.deadReasons()) == 0 {
		p := newInjector(fault{"hold", 1, diesBefore}).process()
		lone := w.start(cfg, w.gateway, p)
		w.eventually("it dies, or sets the entry aside", func() bool { return p.isDead() || len(w.deadReasons()) > 0 })
		if p.isDead() {
			deaths++
		}
		p.kill()
		_ = lone.stop() // it is dead: everything it tries fails
		if deaths > 10 {
			t.Fatal("it would go on for ever")
		}
	}
	if reasons := w.deadReasons(); deaths != 3 || !strings.HasPrefix(reasons[0], "delivered too often") {
		t.Errorf("%d deaths, dead letters %q", deaths, reasons)
	}
	w.start(cfg, w.gateway, nil)
	w.publish(request(domain.RequestPurchase, "o", "amy", 1))
	w.waitState("o", domain.OrderConfirmed)
	w.waitDrained()
	w.audit()
}

// The namespace vanishes under a worker's hands. What it had in hand is dropped: nothing is
// posted, captured or voided for an order that is no more. Then it works on what is new.
func TestDataReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	paying := make(chan struct{})
	slow := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
		p, err := w.gateway.Authorize(ctx, r)
		if r.Name.OrderID == "lost" {
			close(paying)
			<-ctx.Done() // nobody is told before nobody waits for it
			return domain.Payment{}, errLost
		}
		return p, err
	}}
	pool := w.start(workers.Config{}, slow, nil)
	w.publish(request(domain.RequestPurchase, "before", "amy", 1))
	w.waitState("before", domain.OrderConfirmed)
	w.waitDrained()
	w.publish(request(domain.RequestPurchase, "lost", "fred", 2))
	<-paying
	w.server.Flush()
	w.eventually("it has groups again", func() bool {
		all, err := inspect.New(w.store).Pending(w.ctx, 0)
		return err == nil && !slices.ContainsFunc(all, func(g inspect.GroupStatus) bool { return g.Missing })
	})
	w.eventually("it is noted for people", func() bool {
		replaced, err := inspect.New(w.store).Replaced(w.ctx)
		return err == nil && replaced != nil && replaced.Worker == pool.Name() && strings.Contains(replaced.Detail, domain.ErrDataReplaced.Error())
	})
	w.list("e", 1000, 10)
	w.publish(request(domain.RequestPurchase, "after", "fred", 3))
	w.waitState("after", domain.OrderConfirmed)
	w.waitDrained()
	if line := w.payment("lost"); line.Status != domain.PaymentStatusAuthorized {
		t.Errorf("the payment of what is lost was touched: %+v", line)
	}
	if o := w.order("lost"); o.State != domain.OrderNone {
		t.Errorf("what is lost is %s", o.State)
	}
	if s := w.section(); s.Sold != 3 || s.Held != 0 {
		t.Errorf("section is %+v", s)
	}
	if err := pool.stop(); err != nil {
		t.Error(err)
	}
}

// Somebody else has found that the data was replaced, which this worker has lost nothing of: what it was about to do
// it does not do, and begins anew.
func TestAnotherBranch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	paying, paid := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
		once.Do(func() {
			close(paying)
			<-paid
		})
		return w.gateway.Authorize(ctx, r)
	}}
	pool := w.start(workers.Config{Roles: []workers.Role{workers.RolePurchase}}, slow, nil)
	w.publish(request(domain.RequestPurchase, "o", "amy", 1))
	<-paying

	finder := w.open(nil)
	defer func() { _ = finder.Close() }()
	log := w.ns + ":{0}:2:log"
	seen := w.rdb().XAdd(w.ctx, &redis.XAddArgs{Stream: log, Values: []string{"closed", "lost|{}"}})
	if err := finder.Ledger().Verify(w.ctx); err != nil {
		t.Fatal(err)
	}
	if n := w.rdb().XDel(w.ctx, log, seen.Val()).Val(); n != 1 {
		t.Fatalf("%d entries are lost", n)
	}
	if err := finder.Ledger().Accept(w.ctx, "finder"); err != nil {
		t.Fatal(err)
	}
	close(paid)
	w.waitState("o", domain.OrderConfirmed)
	w.eventually("it is noted for people", func() bool {
		replaced, err := inspect.New(w.store).Replaced(w.ctx)
		return err == nil && replaced != nil && replaced.Worker == pool.Name()
	})
	branches, err := inspect.New(w.store).Branches(w.ctx)
	if err != nil || len(branches) != 2 {
		t.Errorf("branches %+v, %v", branches, err)
	}
	for _, b := range branches {
		if b.Current != (b.Worker == "finder") {
			t.Errorf("branch %+v", b)
		}
	}
	if s := w.section(); s.Sold != 1 || s.Held != 0 {
		t.Errorf("section is %+v", s)
	}
	if err := pool.stop(); err != nil {
		t.Error(err)
	}
}
