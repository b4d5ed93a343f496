package producer_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// Buy two tickets, and learn what became of it.
func Example() {
	ctx, store, end := onSale() // a Redis with jazz-night on sale, and a worker
	defer end()

	checkout := store.Checkout()
	p := producer.New(checkout, checkout, producer.Options{})
	defer p.Close()

	receipt, err := p.Publish(ctx, domain.Request{
		Type: domain.RequestPurchase, EventID: "jazz-night", OrderID: "cart-4711",
		CustomerID: "fred", Quantity: 2, PaymentToken: "tok_visa",
	})
	switch {
	case errors.Is(err, domain.ErrUnknownOutcome): // perhaps published: wait for it, or publish it again
	case err != nil:
		log.Fatal(err) // certainly not published
	}
	outcome, err := p.WaitFor(ctx, receipt)
	switch {
	case errors.Is(err, domain.ErrUnknownOutcome): // not known yet: wait again; it is never a "no"
	case errors.Is(err, domain.ErrSetAside): // no worker has it any more; a person will look at it
	case errors.Is(err, domain.ErrConflict): // cart-4711 is another request's: choose another order_id
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(outcome.Order.State, outcome.Order.Reason)
	// Output: confirmed
}

// onSale is what others do: somebody runs a Redis, puts an event on sale, and starts a worker.
func onSale() (ctx context.Context, store *streams.Store, end func()) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	server, stop := redistest.StartAlone()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	store, err := streams.Open(ctx, server.URL(), streams.Options{Create: true})
	must(err)
	_, err = store.Events().Create(ctx, "jazz-night", domain.Terms{
		Name: "Jazz Night", Currency: "EUR", Sections: []domain.SectionTerms{{Name: domain.DefaultSection, Price: 1000, Capacity: 200}},
	})
	must(err)
	gateway, err := simulator.New(simulator.Options{})
	must(err)
	pool, err := workers.New(workers.Config{}, workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Gateway: gateway, Partitions: store.Partitions(),
		GatewayKind: domain.GatewaySimulator, PaymentNamespace: store.PaymentNamespace(),
	})
	must(err)
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	return ctx, store, func() {
		cancel()
		must(<-ended)
		must(store.Close())
		stop()
	}
}
