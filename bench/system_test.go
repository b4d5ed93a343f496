package bench

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"testing"
	"time"

	"holdfast/streams/redistest"
)

var orderCount = flag.Int("orders", 100_000, "requests to preload")

const (
	quantity  = 2    // tickets an order
	unitPrice = 1000 // minor units
)

// order is one purchase request. Every customer buys once, so that an invoice line tells which
// order was posted.
type order struct {
	event    string
	id       string // 36 characters, as a UUID
	customer string // 8 characters
}

// makeOrders makes so many orders, beginning with the from'th, in turn for each of the events.
func makeOrders(from, n int, events []string) []order {
	orders := make([]order, n)
	for i := range orders {
		nth := from + i
		orders[i] = order{event: events[nth%len(events)], id: fmt.Sprintf("01920000-0000-7000-8000-%012x", nth), customer: customerID(nth)}
	}
	return orders
}

func customerID(nth int) string { return fmt.Sprintf("c%07d", nth) }

// customerNth is the inverse of customerID; ok is false for what is none.
func customerNth(customer string) (nth int, ok bool) {
	if len(customer) < 8 || customer[0] != 'c' {
		return 0, false
	}
	nth, err := strconv.Atoi(customer[1:])
	return nth, err == nil
}

func makeEvents(n int) []string {
	events := make([]string, n)
	for i := range events {
		events[i] = "event-" + strconv.Itoa(i)
	}
	return events
}

// ticketsByEvent is what must have been sold when all the orders are confirmed.
func ticketsByEvent(orders []order) map[string]int64 {
	tickets := make(map[string]int64)
	for _, o := range orders {
		tickets[o.event] += quantity
	}
	return tickets
}

// system is one way to sell tickets with Redis: holdfast or a peer. Each use is on an empty
// server of its own.
type system interface {
	// open puts the events on sale, each with so many tickets.
	open(ctx context.Context, server *redistest.Server, events []string, capacity int64) error
	// preload submits many orders in whatever way is fastest, while nobody works.
	preload(ctx context.Context, orders []order) error
	// submit submits one order, as a checkout does.
	submit(ctx context.Context, o order) error
	// work starts a worker with connections of its own, like another process, until stop.
	work(ctx context.Context) (stop func() error, err error)
	// finished reports whether everything that was submitted is posted.
	finished(ctx context.Context) (bool, error)
	// check returns what is wrong with the books when the orders are posted, and nothing else is.
	check(ctx context.Context, orders []order, capacity int64) error
	close() error
}

// contender is a system with a name.
type contender struct {
	name string
	make func() system
	most int // orders a drain; 0: as many as there are
}

// contenders are all, holdfast first.
var contenders = []contender{
	{name: "holdfast", make: func() system { return new(holdfast) }},
	{name: "article", make: func() system { return new(article) }},
	{name: "watermill", make: func() system { return new(watermillPeer) }},
	{name: "asynq", make: func() system { return new(asynqPeer) }},
	{name: "go-workflows", make: func() system { return new(workflowsPeer) }, most: 10_000}, // 100,000 would take minutes
	{name: "handwritten", make: func() system { return new(handwritten) }},
}

// open makes a system on a new server and closes it when the benchmark ends.
func open(ctx context.Context, b *testing.B, sys system, server *redistest.Server, events []string, capacity int64) {
	b.Helper()
	must(b, sys.open(ctx, server, events, capacity))
	b.Cleanup(func() { must(b, sys.close()) })
}

// start starts so many workers; stop ends them, and fails the benchmark if one had failed.
func start(ctx context.Context, b *testing.B, sys system, n int) (stop func()) {
	b.Helper()
	var stops []func() error
	for range n {
		s, err := sys.work(ctx)
		must(b, err)
		stops = append(stops, s)
	}
	return func() {
		b.Helper()
		for _, s := range stops {
			must(b, s())
		}
	}
}

// waitFinished returns when everything that was submitted is posted.
func waitFinished(ctx context.Context, b *testing.B, sys system) {
	b.Helper()
	waitFor(ctx, b, func() bool {
		done, err := sys.finished(ctx)
		must(b, err)
		return done
	})
}

func waitFor(ctx context.Context, b *testing.B, done func() bool) {
	b.Helper()
	for !done() {
		if ctx.Err() != nil {
			b.Fatal("took too long")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
