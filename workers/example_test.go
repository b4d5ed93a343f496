package workers_test

import (
	"context"
	"fmt"
	"log"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// A worker inside a program of one's own: every role, until ctx ends.
func Example() {
	ctx, store, end := onSale() // a Redis with jazz-night on sale; ctx ends when a ticket is sold
	defer end()

	gateway, err := simulator.New(simulator.Options{}) // or remote.New(url, remote.Options{}), or your own
	if err != nil {
		log.Fatal(err)
	}
	pool, err := workers.New(workers.Config{Name: "worker-1"}, workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Gateway: gateway, Partitions: store.Partitions(),
		GatewayKind:      domain.GatewaySimulator, // domain.GatewayRemote for one that moves money
		PaymentNamespace: store.PaymentNamespace(), FreeOrders: store.FreeOrders() == streams.FreeOrdersDirect,
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := pool.Run(ctx); err != nil {
		log.Fatal(err) // only a person can help
	}
	fmt.Println("sold:", len(gateway.Books()))
	// Output: sold: 1
}

// onSale is what others do: somebody runs a Redis, puts an event on sale, and buys a ticket.
func onSale() (ctx context.Context, store *streams.Store, end func()) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	server, stop := redistest.StartAlone()
	limit, cancelLimit := context.WithTimeout(context.Background(), patience)
	ctx, cancel := context.WithCancel(limit)
	store, err := streams.Open(limit, server.URL(), streams.Options{Create: true})
	must(err)
	_, err = store.Events().Create(limit, "jazz-night", domain.Terms{
		Name: "Jazz Night", Currency: "EUR", Sections: []domain.SectionTerms{{Name: domain.DefaultSection, Price: 1000, Capacity: 200}},
	})
	must(err)
	bought := make(chan struct{})
	go func() {
		defer close(bought)
		defer cancel()
		p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
		defer p.Close()
		receipt, err := p.Publish(limit, domain.Request{
			Type: domain.RequestPurchase, EventID: "jazz-night", CustomerID: "fred", Quantity: 2, PaymentToken: "tok_visa",
		})
		must(err)
		_, err = p.WaitFor(limit, receipt)
		must(err)
	}()
	return ctx, store, func() {
		<-bought
		cancelLimit()
		must(store.Close())
		stop()
	}
}
