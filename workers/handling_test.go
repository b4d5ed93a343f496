package workers_test

import (
	"context"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// gatedHolds tells how large each batch is that is to be held, and holds it when it is let through.
type gatedHolds struct {
	domain.Ledger
	batches chan int
	gate    chan struct{}
}

func (l gatedHolds) Hold(ctx context.Context, p int, batch []domain.Incoming) ([]domain.Reply, int64, error) {
	l.batches <- len(batch)
	<-l.gate
	return l.Ledger.Hold(ctx, p, batch)
}

// gated runs a pool of which no batch is held before it is let through.
func (w *world) gated(turnLongest time.Duration) gatedHolds {
	w.t.Helper()
	store := w.open(nil)
	ledger := gatedHolds{Ledger: store.Ledger(), batches: make(chan int, 8), gate: make(chan struct{})}
	pool, err := workers.New(workers.Config{Name: "w"}, workers.Deps{
		Ledger: ledger, Queues: store.Queue, Gateway: w.gateway, GatewayKind: domain.GatewaySimulator, Partitions: 1,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	pool.SetTurnLongest(turnLongest)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		if err := store.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return ledger
}

// While two batches are on their way, what comes waits in the stream, and becomes one.
func TestWhatComesMeanwhileBecomesOneBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 100)
	ledger := w.gated(time.Hour)
	for _, order := range []string{"o1", "o2"} {
		w.publish(request(domain.RequestPurchase, order, order, 1))
		if size := <-ledger.batches; size != 1 {
			t.Errorf("a batch of %d, want 1: that is all that has come", size)
		}
	}
	for _, order := range []string{"o3", "o4", "o5", "o6"} {
		w.publish(request(domain.RequestPurchase, order, order, 1))
	}
	ledger.gate <- struct{}{}
	if size := <-ledger.batches; size != 4 {
		t.Errorf("a batch of %d, want 4: all that has come meanwhile", size)
	}
	close(ledger.gate)
	for _, order := range []string{"o1", "o2", "o3", "o4", "o5", "o6"} {
		w.waitState(order, domain.OrderConfirmed)
	}
}

// What is new does not get on, as while memory is full; a cancel does not wait for it.
func TestCancelDoesNotWaitForWhatDoesNotGetOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 100)
	ledger := w.gated(time.Millisecond)
	for _, order := range []string{"o1", "o2", "o3"} {
		w.publish(request(domain.RequestPurchase, order, order, 1))
		<-ledger.batches
	}
	w.publish(domain.Request{Type: domain.RequestCancel, EventID: "e", OrderID: "o4"})
	w.waitState("o4", domain.OrderCancelled)
	close(ledger.gate)
}
