package workers_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// hanging is a queue whose reads never return, whatever happens to their context, once it hangs.
type hanging struct {
	domain.Queue
	hangs   chan struct{} // closed: it does
	release chan struct{} // closed at the end of the test
}

func (q hanging) Read(ctx context.Context, most int, wait time.Duration) ([]domain.Entry, error) {
	select {
	case <-q.hangs:
		<-q.release
	default:
	}
	return q.Queue.Read(ctx, most, wait)
}

func TestStuckLoop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	hangs, release := make(chan struct{}), make(chan struct{})
	store := w.open(nil)
	pool, err := workers.New(workers.Config{Name: "w"}, workers.Deps{
		Ledger: store.Ledger(), Gateway: w.gateway, GatewayKind: domain.GatewaySimulator, Partitions: 1,
		Queues: func(p int, group domain.Group, consumer string) (domain.Queue, error) {
			q, err := store.Queue(p, group, consumer)
			if group == domain.GroupPosting {
				q = hanging{q, hangs, release}
			}
			return q, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const after = 4 * time.Second // more than a read waits
	pool.SetStuckAfter(after)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	w.eventually("it is ready", func() bool { return pool.Ready() == nil })
	if stuck := pool.Stuck(); len(stuck) > 0 {
		t.Errorf("stuck: %v", stuck)
	}
	close(hangs)
	w.eventually("a loop is stuck", func() bool { return len(pool.Stuck()) > 0 })
	if stuck := pool.Stuck(); len(stuck) != 1 || stuck[0].Loop != "reading of posting in partition 0" || stuck[0].For < after {
		t.Errorf("stuck: %v", stuck)
	}
	close(release)
	w.eventually("it goes on", func() bool { return len(pool.Stuck()) == 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// What waits for the gateway, for room or for Redis is not stuck, and a worker that waits for Redis takes nothing.
func TestWaitingIsNotStuck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 100)
	answer := make(chan struct{})
	gateway := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
		select {
		case <-answer:
		case <-ctx.Done():
		}
		return w.gateway.Authorize(ctx, r)
	}}
	store := w.open(nil)
	pool, err := workers.New(workers.Config{Name: "w", Concurrency: 1, HoldTime: time.Minute, CallTimeout: time.Minute}, workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Gateway: gateway, GatewayKind: domain.GatewayRemote, Partitions: 1, Now: store.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	const after = 4 * time.Second
	pool.SetStuckAfter(after)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	for _, order := range []string{"o1", "o2", "o3", "o4", "o5"} { // three may be in hand
		w.publish(request(domain.RequestPurchase, order, order, 1))
	}
	w.eventually("it has no room", func() bool { return pool.Stats().InFlight.Load() == 3 })
	never := func(what string, until time.Time) {
		w.eventually(what, func() bool {
			if stuck := pool.Stuck(); len(stuck) > 0 {
				t.Fatalf("stuck, although it only waits: %v", stuck)
			}
			return time.Now().After(until)
		})
	}
	never("twice the time has passed", time.Now().Add(2*after))
	if err := pool.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	w.server.Kill()
	w.eventually("it is not ready", func() bool { return pool.Ready() != nil })
	if err := pool.Ready(); !strings.Contains(err.Error(), "redis does not answer") {
		t.Errorf("not ready: %v", err)
	}
	never("twice the time has passed", time.Now().Add(2*after))
	w.server.Restart()
	w.eventually("it is ready", func() bool { return pool.Ready() == nil })
	close(answer)
	cancel()
	w.eventually("it is ending", func() bool { return pool.Ready() != nil && strings.Contains(pool.Ready().Error(), "ending") })
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// slowToAccept takes over what is stored when it may.
type slowToAccept struct {
	domain.Ledger
	may chan struct{}
}

func (l slowToAccept) Accept(ctx context.Context, worker string) error {
	<-l.may
	return l.Ledger.Accept(ctx, worker)
}

func TestNotReadyWhenReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	may := make(chan struct{})
	w.deps = func(d *workers.Deps) { d.Ledger = slowToAccept{d.Ledger, may} }
	pool := w.start(workers.Config{}, w.gateway, nil)
	w.eventually("it is ready", func() bool { return pool.Ready() == nil })
	w.server.Flush()
	w.eventually("it is not ready", func() bool { return pool.Ready() != nil && strings.Contains(pool.Ready().Error(), "replaced") })
	close(may)
	w.eventually("it is ready", func() bool { return pool.Ready() == nil })
	if err := pool.stop(); err != nil {
		t.Error(err)
	}
}

// Every stage of a sale is measured, each order once.
func TestStagesAreMeasured(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{Latency: 30 * time.Millisecond})
	w.list("e", 1000, 100)
	w.deps = func(d *workers.Deps) { d.Now = w.store.Now }
	pool := w.start(workers.Config{}, w.gateway, nil)
	w.eventually("it is ready", func() bool { return pool.Ready() == nil }) // and knows Redis's clock
	for _, order := range []string{"o1", "o2", "o3"} {
		w.publish(request(domain.RequestPurchase, order, order, 1))
	}
	for _, order := range []string{"o1", "o2", "o3"} {
		w.waitState(order, domain.OrderConfirmed)
	}
	w.waitDrained()
	if err := pool.stop(); err != nil { // what is acknowledged is counted a moment later
		t.Fatal(err)
	}
	for i, h := range pool.Stats().StageSeconds() {
		var n int64
		for _, c := range h.Counts {
			n += c
		}
		// What waits for a payment takes its time; nothing takes longer than the test.
		if stage := workers.Stages[i]; n != 3 || h.Sum < 0 || h.Sum > 3*patience.Seconds() || stage == "authorize" && h.Sum < .01 {
			t.Errorf("%s: %d in %f s", stage, n, h.Sum)
		}
	}
}
