package workers_test

import (
	"fmt"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// A flood of requests for events that there are not leaves nothing behind but what the log says.
func TestNonsenseIsForgotten(t *testing.T) {
	t.Parallel()
	const orders = 2000
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	first := w.start(workers.Config{}, w.gateway, nil)
	events := []string{"e"}
	for i := range 300 {
		events = append(events, fmt.Sprintf("none-%d", i))
	}
	var batch []domain.Request
	for i := range orders {
		batch = append(batch, domain.Request{
			Type: domain.RequestPurchase, EventID: events[i%len(events)], OrderID: fmt.Sprintf("o%d", i), CustomerID: "fred", Quantity: 1,
			PaymentToken: "tok", ValidSeconds: 3,
		})
	}
	for _, r := range w.producer.PublishBatch(w.ctx, batch) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		outcome, err := w.producer.WaitFor(w.ctx, r.Receipt)
		if err != nil || outcome.Order.Reason != domain.ReasonUnknownEvent {
			t.Fatalf("%+v, %v", outcome, err)
		}
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	w.start(workers.Config{ForgetAfter: time.Millisecond}, w.gateway, nil) // it looks when it starts
	w.eventually("all of it is forgotten", func() bool {
		return len(w.rdb().Keys(w.ctx, w.ns+":{*}:2:orders:*").Val())+len(w.rdb().Keys(w.ctx, w.ns+":{*}:2:unknown").Val()) == 0
	})
	w.list("e", 1000, 10)
	w.publish(batch[0]) // its name is free
	w.waitState("o0", domain.OrderConfirmed)
	w.waitDrained()
	w.audit()
}
