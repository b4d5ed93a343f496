package bench

import (
	"context"
	"runtime/debug"
	"testing"
	"time"
)

// BenchmarkDrain preloads requests and times one worker until all of them are posted.
func BenchmarkDrain(b *testing.B) {
	for _, c := range contenders {
		for _, events := range []int{100, 1, 2000} {
			for _, fsync := range []string{"no", "always"} {
				if c.name != "holdfast" && (events == 2000 || fsync != "no") || events == 2000 && fsync != "no" {
					continue
				}
				b.Run(name("system", c.name, "events", events, "fsync", fsync), func(b *testing.B) {
					for range b.N {
						drain(b, c, events, fsync)
					}
				})
			}
		}
	}
}

func drain(b *testing.B, c contender, eventCount int, fsync string) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as holdfast worker does
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	server := serverOf(b, fsync)
	rdb := observer(b, server)
	n := *orderCount
	if c.most > 0 {
		n = min(n, c.most)
	}
	events := makeEvents(eventCount)
	orders := makeOrders(0, n, events)
	capacity := int64((n+eventCount-1)/eventCount) * quantity // an event is as large as what is sold of it
	sys := c.make()
	open(ctx, b, sys, server, events, capacity)
	memory := info(ctx, b, rdb, "memory", "used_memory")
	must(b, sys.preload(ctx, orders))

	b.ResetTimer()
	from := spentNow(ctx, b, rdb)
	stop := start(ctx, b, sys, 1)
	waitFinished(ctx, b, sys)
	to := spentNow(ctx, b, rdb)
	b.StopTimer()

	if h, ok := sys.(*holdfast); ok {
		h.waitTrimmed(ctx, b, rdb)
		b.ReportMetric((info(ctx, b, rdb, "memory", "used_memory")-memory)/float64(n), "redis-B/order")
	}
	stop()
	must(b, sys.check(ctx, orders, capacity))
	b.ReportMetric(float64(n)/to.at.Sub(from.at).Seconds(), "orders/s")
	reportCost(b, n, from, to)
}

// BenchmarkSoldOut times refusals: nothing is left of the hot event.
func BenchmarkSoldOut(b *testing.B) {
	b.Run(name("system", "holdfast"), func(b *testing.B) {
		for range b.N {
			soldOut(b)
		}
	})
}

func soldOut(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	server := serverOf(b, "no")
	rdb := observer(b, server)
	events := makeEvents(1)
	var h holdfast
	const capacity = 0
	open(ctx, b, &h, server, events, capacity)
	must(b, h.preload(ctx, makeOrders(0, *orderCount, events)))

	b.ResetTimer()
	from := spentNow(ctx, b, rdb)
	stop := start(ctx, b, &h, 1)
	waitFinished(ctx, b, &h)
	to := spentNow(ctx, b, rdb)
	b.StopTimer()

	stop()
	if rejected := h.rejected(); rejected != int64(*orderCount) {
		b.Fatalf("%d orders rejected, want %d", rejected, *orderCount)
	}
	must(b, h.check(ctx, nil, capacity))
	b.ReportMetric(float64(*orderCount)/to.at.Sub(from.at).Seconds(), "refusals/s")
	reportCost(b, *orderCount, from, to)
}
