package workers_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// settlement is what the group has before it.
func (w *world) settlement() inspect.GroupStatus {
	w.t.Helper()
	all, err := inspect.New(w.store).Pending(w.ctx, 100)
	if err != nil {
		w.t.Fatalf("inspecting: %v", err)
	}
	return all[2]
}

// fails answers nothing about one order until it is mended.
type fails struct {
	domain.PaymentGateway
	order  string
	mended atomic.Bool
	asked  atomic.Int64
}

func (g *fails) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	if a.Name.OrderID == g.order && !g.mended.Load() {
		g.asked.Add(1)
		return domain.Payment{}, errLost
	}
	return g.PaymentGateway.Capture(ctx, a)
}

// One capture of an entry fails, and the entry is acknowledged all the same; the others are settled. The one is settled
// when the gateway answers, once, though workers die meanwhile.
func TestFailingCapturePinsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	const orders = 64
	w.list("e", 1000, orders)
	sold := purchasesOf("o", orders)
	w.together(sold...)
	gateway := &fails{PaymentGateway: w.gateway, order: "o7"}
	captured := func() (n int) {
		for _, q := range sold {
			if w.payment(q.OrderID).Status == domain.PaymentStatusCaptured {
				n++
			}
		}
		return n
	}
	first := newInjector().process()
	worker := w.start(recovering, first.gateway(gateway), first)
	w.eventually("the entry acknowledged, one order owed, the others captured", func() bool {
		g := w.settlement()
		return g.Pending == 0 && g.Lag == 0 && g.Owed == 1 && captured() == orders-1
	})
	if g := w.settlement(); g.Backlog != 1 || len(g.Orders) != 1 || g.Orders[0].OrderID != "e/o7" || !strings.Contains(g.Orders[0].Reason, "reply got lost") {
		t.Errorf("%+v", g)
	}
	w.audit() // it is not settled, and nobody says so
	asked := gateway.asked.Load()
	w.eventually("it is tried again", func() bool { return gateway.asked.Load() > asked })
	first.kill()
	_ = worker.stop() // it is dead: everything it tries fails

	w.start(recovering, gateway, nil)
	asked = gateway.asked.Load()
	w.eventually("another worker tries it", func() bool { return gateway.asked.Load() > asked })
	gateway.mended.Store(true)
	w.waitDrained()
	if line := w.payment("o7"); line.Status != domain.PaymentStatusCaptured || line.Captures != 1 {
		t.Errorf("%+v", line)
	}
	if reasons := w.deadReasons(); len(reasons) != 0 {
		t.Errorf("dead letters %q", reasons)
	}
	w.audit()
}

// A call that takes long keeps its order, and nothing else. While it is under way nobody else makes it.
func TestSlowCapturePinsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	w.together(purchasesOf("o", 6)...)
	answer, calls := make(chan struct{}), atomic.Int64{}
	slow := gatewayFunc{PaymentGateway: w.gateway, capture: func(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
		if a.Name.OrderID == "o0" {
			calls.Add(1)
			<-answer
		}
		return w.gateway.Capture(ctx, a)
	}}
	cfg := workers.Config{ReclaimAfter: 2 * time.Second, CallTimeout: time.Minute} // a lease that a busy machine renews in time
	w.start(cfg, slow, nil)
	w.eventually("the entry acknowledged", func() bool { g := w.settlement(); return g.Pending == 0 && g.Lag == 0 && g.Owed == 1 })
	w.start(cfg, slow, nil)
	from := time.Now()
	w.eventually("several leases passed", func() bool { return time.Since(from) > 3*cfg.ReclaimAfter })
	if n := calls.Load(); n != 1 {
		t.Errorf("it was called %d times", n)
	}
	close(answer)
	w.waitDrained()
	w.audit()
}

// Whatever the gateway says about one order that is no answer: once others were answered often enough meanwhile, a person
// must look, and can have it tried again. As long as nobody is answered, it is not the order.
func TestOwedIsSetAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 1000)
	gateway := &fails{PaymentGateway: w.gateway, order: "odd"}
	w.start(workers.Config{ReclaimAfter: 200 * time.Millisecond, MaxDeliveries: 2}, gateway, nil)
	w.publish(request(domain.RequestPurchase, "odd", "amy", 1))
	w.eventually("it is tried more often than an order may be", func() bool {
		g := w.settlement()
		return len(g.Orders) == 1 && gateway.asked.Load() > 12
	})
	if reasons := w.deadReasons(); len(reasons) != 0 {
		t.Fatalf("nobody was answered, and dead letters are %q", reasons)
	}
	for i := 0; len(w.deadReasons()) == 0; i++ { // others are, all the time
		id := fmt.Sprint("o", i)
		w.publish(request(domain.RequestPurchase, id, id, 1))
		w.eventually("another is captured", func() bool { return w.payment(id).Status == domain.PaymentStatusCaptured || len(w.deadReasons()) > 0 })
	}
	w.waitDrained()
	var letters []inspect.DeadLetter
	err := inspect.New(w.store).EachDeadLetter(w.ctx, func(l inspect.DeadLetter) error {
		letters = append(letters, l)
		return nil
	})
	if err != nil || len(letters) != 1 || letters[0].OrderID != "e/odd" || letters[0].Deliveries != 3 || !strings.HasPrefix(letters[0].Reason, "delivered too often without an outcome (3): ") {
		t.Fatalf("dead letters %+v, %v", letters, err)
	}
	gateway.mended.Store(true)
	if h := inspect.New(w.store).Redrive(w.ctx, letters[0].ID); h[0].Err != nil {
		t.Fatal(h[0].Err)
	}
	w.waitDrained()
	if line := w.payment("odd"); line.Captures != 1 {
		t.Errorf("%+v", line)
	}
	w.audit()
}

// A capture that is owed is under way when its order is cancelled, and the refund is owed as well. That the first is
// settled does not settle the second.
func TestOwedCaptureIsCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	gateway := newCapturesThenCancels(w)
	w.start(workers.Config{ReclaimAfter: 300 * time.Millisecond}, gateway, nil)
	w.publish(request(domain.RequestPurchase, "o", "amy", 1))
	gateway.play(w.eventually, func() domain.OrderState { return w.order("o").State }, func() { w.publish(request(domain.RequestCancel, "o", "", 0)) }, w.owedFact)
	w.waitDrained()
	if line := w.payment("o"); line.Status != domain.PaymentStatusRefunded {
		t.Errorf("%+v", line)
	}
	w.audit()
}

// owedFact is of the fact because of which an order is owed.
func (w *world) owedFact() string {
	w.t.Helper()
	note, err := w.rdb().HGet(w.ctx, w.ns+":{0}:2:owed_notes", "e/o").Result()
	if err != nil {
		return ""
	}
	return strings.Split(note, "|")[2]
}

// capturesThenCancels is a gateway that captures e/o and does not answer before the order was cancelled and that
// is owed, too: until then it does not answer look-ups.
type capturesThenCancels struct {
	domain.PaymentGateway
	answer func()
	wait   chan struct{}
}

func newCapturesThenCancels(w *world) *capturesThenCancels {
	g := &capturesThenCancels{PaymentGateway: w.gateway, wait: make(chan struct{})}
	g.answer = sync.OnceFunc(func() { close(g.wait) })
	w.t.Cleanup(g.answer)
	return g
}

func (g *capturesThenCancels) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	p, err := g.PaymentGateway.Capture(ctx, a)
	select {
	case <-g.wait:
		return p, err
	case <-ctx.Done():
		return p, errLost
	}
}

func (g *capturesThenCancels) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	select {
	case <-g.wait:
		return g.PaymentGateway.Lookup(ctx, a)
	default:
		return domain.Payment{}, errLost
	}
}

func (g *capturesThenCancels) play(eventually func(string, func() bool), state func() domain.OrderState, cancel func(), fact func() string) {
	var capture string
	eventually("its capture owed", func() bool { capture = fact(); return capture != "" })
	cancel()
	eventually("it is cancelled, and the refund owed", func() bool {
		return state() == domain.OrderCancelled && fact() != "" && fact() != capture
	})
	g.answer()
}

// For as long as more comes than the gateway takes, what is owed gets its share of it.
func TestOwedIsTriedInARush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 100_000)
	failing := &fails{PaymentGateway: w.gateway, order: "early"}
	over := make(chan struct{})
	slow := gatewayFunc{PaymentGateway: w.gateway, capture: func(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
		if a.Name.OrderID == failing.order {
			return failing.Capture(ctx, a)
		}
		select {
		case <-over:
		case <-time.After(500 * time.Millisecond):
		}
		return w.gateway.Capture(ctx, a)
	}}
	w.start(workers.Config{Concurrency: 4}, slow, nil)
	w.publish(request(domain.RequestPurchase, "early", "amy", 1))
	w.eventually("it is owed", func() bool { return w.settlement().Owed == 1 })
	published := 0
	rush := func() {
		id := fmt.Sprint("o", published)
		published++
		w.publish(request(domain.RequestPurchase, id, id, 1))
	}
	w.eventually("more waits than is in hand", func() bool { rush(); return w.settlement().Lag > 10 })
	failing.mended.Store(true)
	w.eventually("it is captured all the same", func() bool { rush(); return w.payment("early").Status == domain.PaymentStatusCaptured })
	close(over)
	w.waitDrained()
	w.audit()
}

// Redis does not answer any more when a worker is to hand back entries, and what it has in hand of the list. It ends in time.
func TestStopInTimeWithMoneyOwed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	w.together(purchasesOf("o", 4)...)
	hanging := gatewayFunc{PaymentGateway: w.gateway, capture: func(ctx context.Context, _ domain.Attempt) (domain.Payment, error) {
		<-ctx.Done()
		return domain.Payment{}, errLost
	}}
	w.deps = func(d *workers.Deps) {
		d.Ledger = takesNothingBack{d.Ledger}
		queues := d.Queues
		d.Queues = func(partition int, group domain.Group, consumer string) (domain.Queue, error) {
			q, err := queues(partition, group, consumer)
			return queueTakesNothingBack{q}, err
		}
	}
	cfg := workers.Config{ReclaimAfter: time.Minute, Grace: 8 * time.Second, CallTimeout: time.Minute}
	worker := w.start(cfg, hanging, nil)
	w.eventually("all owed, and in hand", func() bool { g := w.settlement(); return g.Pending == 0 && g.Lag == 0 && g.Owed == 4 })
	stopped := time.Now()
	if err := worker.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(stopped); took > cfg.Grace+cfg.Grace/4 {
		t.Errorf("it took %s to stop, of %s", took, cfg.Grace)
	}
}

// takesNothingBack and queueTakesNothingBack do not answer whoever hands something back.
type (
	takesNothingBack      struct{ domain.Ledger }
	queueTakesNothingBack struct{ domain.Queue }
)

func (l takesNothingBack) TakeOwed(ctx context.Context, partition int, inHand []domain.OrderRef, most int, lease time.Duration) ([]domain.Owed, error) {
	if lease > 0 {
		return l.Ledger.TakeOwed(ctx, partition, inHand, most, lease)
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (q queueTakesNothingBack) HandBack(ctx context.Context, _ []string) error {
	<-ctx.Done()
	return ctx.Err()
}
