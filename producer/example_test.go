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

// Buy two seats by name, then the best two that are left; the outcome tells which they are.
func Example_seats() {
	ctx, store, end := onSale() // a Redis with ballet on sale, whose stalls have rows A and B, and a worker
	defer end()

	checkout := store.Checkout()
	p := producer.New(checkout, checkout, producer.Options{})
	defer p.Close()

	for _, request := range []domain.Request{
		{OrderID: "cart-4713", CustomerID: "amy", Seats: []string{"A-12", "A-13"}},
		{OrderID: "cart-4714", CustomerID: "jim", Quantity: 2},
		{OrderID: "cart-4715", CustomerID: "fred", Seats: []string{"A-13", "A-14"}},
	} {
		request.Type, request.EventID, request.Section, request.PaymentToken = domain.RequestPurchase, "ballet", "stalls", "tok_visa"
		receipt, err := p.Publish(ctx, request)
		if err != nil {
			log.Fatal(err)
		}
		outcome, err := p.WaitFor(ctx, receipt)
		if err != nil {
			log.Fatal(err)
		}
		if seats := outcome.Seats["stalls"]; len(seats) > 0 {
			fmt.Println(outcome.Order.State, seats)
		} else {
			fmt.Println(outcome.Order.State, outcome.Order.Reason, outcome.Order.Detail)
		}
	}
	// Output:
	// confirmed [A-12 A-13]
	// confirmed [A-1 A-2]
	// rejected seat_taken A-13
}

// onSale is what others do: somebody runs a Redis, puts events on sale, and starts a worker.
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
	_, err = store.Events().Create(ctx, "ballet", domain.Terms{
		Name: "The Ballet", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "stalls", Price: 4500, Capacity: 48, Layout: "A:1-24,B"}},
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
