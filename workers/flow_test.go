package workers_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"holdfast/domain"
	"holdfast/payments"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

func openStore(t testing.TB, s *redistest.Server) *streams.Store {
	t.Helper()
	store, err := streams.Open(context.Background(), s.URL(), streams.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func startPool(t testing.TB, store *streams.Store, gw domain.PaymentGateway, cfg workers.Config) (*workers.Pool, func()) {
	t.Helper()
	pool, err := workers.New(cfg, workers.Deps{
		Ledger: store, Queues: store.Queue, Gateway: gw, Partitions: store.Partitions(),
		Log: zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- pool.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("pool: %v", err)
		}
	}
	t.Cleanup(stop)
	return pool, stop
}

func TestSmoke(t *testing.T) {
	server := redistest.Start(t)
	store := openStore(t, server)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := store.ListEvent(ctx, "e1", domain.Terms{Name: "E", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 10}}}); err != nil {
		t.Fatal(err)
	}
	startPool(t, store, payments.New(payments.SimulatorOptions{}), workers.Config{})
	p := producer.New(store, store, producer.Options{})
	defer p.Close()
	for i := range 3 {
		rec, err := p.Publish(ctx, domain.Request{Type: domain.RequestPurchase, EventID: "e1", CustomerID: "fred", Quantity: 4, PaymentToken: "tok"})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		out, err := p.Wait(ctx, "e1", rec.OrderID)
		t.Log(i, out.Order, err, time.Since(start))
	}
	e, err := store.Event(ctx, "e1")
	t.Log(e, err)
	for range 100 {
		st, _ := store.Pending(ctx, 10)
		left := int64(0)
		for _, s := range st {
			left += s.Backlog
		}
		if left == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Log(store.Sales(ctx, "e1"))
	t.Log(store.Invoices(ctx, "fred"))
}
