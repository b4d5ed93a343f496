package bench

import (
	"context"
	"flag"
	"runtime/debug"
	"testing"
	"time"
)

var growthOrders = flag.Int("growth", 10_000_000, "orders that are there in the end of BenchmarkGrowth")

// BenchmarkGrowth drains one batch of orders after the other into the same namespace until there
// are many, and compares what the last of them cost Redis with what the first did.
func BenchmarkGrowth(b *testing.B) {
	b.Run(name("system", "holdfast"), func(b *testing.B) {
		for range b.N {
			growth(b)
		}
	})
}

func growth(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Hour)
	defer cancel()
	server := serverOf(b, "no")
	rdb := observer(b, server)
	events := makeEvents(100)
	capacity := int64(*growthOrders) * quantity
	var h holdfast
	open(ctx, b, &h, server, events, capacity)
	memory := info(ctx, b, rdb, "memory", "used_memory")
	stop := start(ctx, b, &h, 1)
	tickets := make(map[string]int64)

	// batch is the cost of one batch, in µs of Redis an order. What it does not measure goes
	// in larger ones, which is faster.
	batch := func(from, n int) float64 {
		orders := makeOrders(from, n, events)
		before := spentNow(ctx, b, rdb)
		must(b, h.preload(ctx, orders))
		waitFinished(ctx, b, &h)
		h.waitTrimmed(ctx, b, rdb)
		for event, sold := range ticketsByEvent(orders) {
			tickets[event] += sold
		}
		return (spentNow(ctx, b, rdb).redis - before.redis) * 1e6 / float64(n)
	}
	measured := min(*orderCount, *growthOrders/2)
	first := batch(0, measured)
	done := measured
	for last := *growthOrders - measured; done < last; {
		n := min(1_000_000, last-done)
		batch(done, n)
		done += n
	}
	last := batch(done, *growthOrders-done)
	stop()
	must(b, h.checkSales(ctx, tickets, capacity))
	b.ReportMetric(first, "first-redis-µs/order")
	b.ReportMetric(last, "last-redis-µs/order")
	b.ReportMetric(last/first, "times-first")
	b.ReportMetric((info(ctx, b, rdb, "memory", "used_memory")-memory)/float64(*growthOrders), "redis-B/order")
	b.ReportMetric(0, "ns/op")
}
