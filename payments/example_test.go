package payments_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	"holdfast/domain"
	"holdfast/payments/remote"
	"holdfast/payments/simulator"
)

// The calls of a gateway go by the order, so whoever repeats one gets the same answer.
func Example() {
	ctx, url, end := aGateway() // such as: holdfast gateway
	defer end()

	gateway, err := remote.New(url, remote.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer gateway.Close()

	order := domain.PaymentName{Namespace: "holdfast", OrderRef: domain.OrderRef{EventID: "jazz-night", OrderID: "cart-4711"}}
	request := domain.PaymentRequest{
		Attempt: domain.Attempt{Name: order, Amount: 2000, Currency: "EUR", CustomerID: "fred"}, Token: "tok_visa",
	}
	for range 2 {
		payment, err := gateway.Authorize(ctx, request)
		if err != nil {
			log.Fatal(err) // not known: ask again, under the same name
		}
		fmt.Println(payment.Status, payment.Amount)
	}
	for range 2 {
		payment, err := gateway.Capture(ctx, request.Attempt)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(payment.Status, payment.Amount)
	}
	// Output:
	// authorized 2000
	// authorized 2000
	// captured 2000
	// captured 2000
}

// aGateway is a simulated one.
func aGateway() (ctx context.Context, url string, end func()) {
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(simulator.Handler(sim))
	return context.Background(), server.URL, server.Close
}
