package bench

import (
	"context"
	"testing"
	"time"
)

// BenchmarkIdle counts what a worker with default partitions costs while nothing comes: commands,
// those inside scripts included, and connections.
func BenchmarkIdle(b *testing.B) {
	b.Run(name("system", "holdfast"), func(b *testing.B) {
		for range b.N {
			idle(b)
		}
	})
}

const (
	idleSettle = 5 * time.Second // until it has done what a worker does when it starts
	idleFor    = 20 * time.Second
)

func idle(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	server := serverOf(b, "no")
	rdb := observer(b, server)
	var h holdfast
	open(ctx, b, &h, server, makeEvents(1), 100)
	ours := info(ctx, b, rdb, "clients", "connected_clients")
	stop := start(ctx, b, &h, 1)
	must(b, wait(ctx, idleSettle))
	before, from := info(ctx, b, rdb, "stats", "total_commands_processed"), time.Now()
	must(b, wait(ctx, idleFor))
	after, to := info(ctx, b, rdb, "stats", "total_commands_processed"), time.Now()
	connections := info(ctx, b, rdb, "clients", "connected_clients") - ours
	stop()
	b.ReportMetric((after-before-1)/to.Sub(from).Seconds(), "commands/s") // one INFO is ours
	b.ReportMetric(connections, "connections")
	b.ReportMetric(0, "ns/op")
}
