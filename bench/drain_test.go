// Package bench measures holdfast from outside. It is a module of its own, so
// that what it compares with does not become a dependency of holdfast.
package bench

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

var (
	orders      = flag.Int("orders", 100_000, "requests to preload")
	appendfsync = flag.String("appendfsync", "", "no: no append-only file; always, everysec")
)

// BenchmarkDrain preloads requests and times one worker, with every role, until
// all of them are confirmed and posted to invoices and sales.
func BenchmarkDrain(b *testing.B) {
	for _, events := range []int{100, 1} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			for range b.N {
				drain(b, events)
			}
		})
	}
}

func drain(b *testing.B, events int) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as holdfast worker does
	var args []string
	if *appendfsync != "" && *appendfsync != "no" {
		args = []string{"--appendonly", "yes", "--appendfsync", *appendfsync}
	}
	server := redistest.Start(b, args...)
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	store, err := streams.Open(ctx, server.URL(), streams.Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close() }()

	memoryBefore := info(ctx, b, rdb, "memory", "used_memory")
	preload(ctx, b, store, events)

	cpuBefore := cpu(ctx, b, rdb)
	gateway, err := simulator.New(simulator.Options{})
	if err != nil {
		b.Fatal(err)
	}
	pool, err := workers.New(workers.Config{}, workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Gateway: gateway, Partitions: store.Partitions(),
		GatewayKind: domain.GatewaySimulator, PaymentNamespace: store.PaymentNamespace(),
	})
	if err != nil {
		b.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	b.ResetTimer()
	start := time.Now()
	go func() { ended <- pool.Run(running) }()
	waitDrained(ctx, b, store, domain.GroupWorkers, domain.GroupPosting)
	took := time.Since(start)
	b.StopTimer()
	waitDrained(ctx, b, store, domain.GroupSettlement)
	cpuAfter := cpu(ctx, b, rdb)
	waitFor(ctx, b, func() bool {
		n, err := rdb.XLen(ctx, "holdfast:{0}:requests").Result()
		return err == nil && n == 0
	})
	memoryAfter := info(ctx, b, rdb, "memory", "used_memory")
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	var sold int64
	for e := range events {
		totals, err := inspect.New(store).Sales(ctx, eventID(e))
		if err != nil {
			b.Fatal(err)
		}
		sold += totals.Orders
	}
	if sold != int64(*orders) {
		b.Fatalf("%d orders posted, want %d", sold, *orders)
	}
	n := float64(*orders)
	b.ReportMetric(n/took.Seconds(), "orders/s")
	b.ReportMetric((cpuAfter-cpuBefore)*1e6/n, "redis-µs/order")
	b.ReportMetric((memoryAfter-memoryBefore)/n, "redis-B/order")
	b.ReportMetric(0, "ns/op")
}

func eventID(e int) string { return "event-" + strconv.Itoa(e) }

func preload(ctx context.Context, b *testing.B, store *streams.Store, events int) {
	for e := range events {
		terms := domain.Terms{Name: "Event", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 1_000_000}}}
		if _, err := store.Events().Create(ctx, eventID(e), terms); err != nil {
			b.Fatal(err)
		}
	}
	p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
	defer p.Close()
	batch := make([]domain.Request, 0, 1000)
	for i := range *orders {
		batch = append(batch, domain.Request{
			Type: domain.RequestPurchase, EventID: eventID(i % events), CustomerID: "customer-" + strconv.Itoa(i),
			Quantity: 2, PaymentToken: "tok_visa",
		})
		if len(batch) == cap(batch) || i == *orders-1 {
			for _, r := range p.PublishBatch(ctx, batch) {
				if r.Err != nil {
					b.Fatal(r.Err)
				}
			}
			batch = batch[:0]
		}
	}
}

func waitDrained(ctx context.Context, b *testing.B, store *streams.Store, groups ...domain.Group) {
	waitFor(ctx, b, func() bool {
		all, err := inspect.New(store).Pending(ctx, 0)
		if err != nil {
			b.Fatal(err)
		}
		for _, g := range all {
			for _, want := range groups {
				if g.Group == string(want) && g.Backlog > 0 {
					return false
				}
			}
		}
		return true
	})
}

func waitFor(ctx context.Context, b *testing.B, done func() bool) {
	for !done() {
		if ctx.Err() != nil {
			b.Fatal("took too long")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func cpu(ctx context.Context, b *testing.B, rdb *redis.Client) float64 {
	return info(ctx, b, rdb, "cpu", "used_cpu_user_main_thread") + info(ctx, b, rdb, "cpu", "used_cpu_sys_main_thread")
}

func info(ctx context.Context, b *testing.B, rdb *redis.Client, section, field string) float64 {
	text, err := rdb.Info(ctx, section).Result()
	if err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), field+":"); found {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				b.Fatal(err)
			}
			return f
		}
	}
	b.Fatalf("INFO %s has no %s", section, field)
	return 0
}
