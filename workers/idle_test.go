package workers_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/payments/simulator"
	"holdfast/streams"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// An idle worker of default partitions asks Redis for little, and gives up the connections that it
// needed only to start.
func TestIdleWorkerCostsLittle(t *testing.T) {
	t.Parallel()
	const (
		mostConnections = 16
		mostPerSecond   = 40 // those inside scripts included
		window          = 5 * time.Second
	)
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	store, err := streams.Open(w.ctx, w.url(), streams.Options{Namespace: "idle", Create: true})
	if err != nil {
		t.Fatal(err)
	}
	info := func(section, name string) int64 {
		t.Helper()
		text, err := w.rdb().Info(w.ctx, section).Result()
		if err != nil {
			t.Fatal(err)
		}
		_, after, found := strings.Cut(text, name+":")
		value, _, _ := strings.Cut(after, "\r\n")
		n, err := strconv.ParseInt(value, 10, 64)
		if !found || err != nil {
			t.Fatalf("%s of INFO %s: %v", name, section, err)
		}
		return n
	}
	w.run(workers.Config{}, w.gateway, store)
	// One connection asks, and the world's own store gives its up as well.
	w.eventually("requests are waited for, with 16 connections at most", func() bool {
		clients := w.rdb().ClientList(w.ctx).Val()
		return strings.Count(clients, " cmd=xreadgroup ") >= 4 && strings.Count(clients, "\n")-1 <= mostConnections
	})

	began, before := time.Now(), info("stats", "total_commands_processed")
	select {
	case <-time.After(window):
	case <-w.ctx.Done():
		t.Fatal(w.ctx.Err())
	}
	commands := info("stats", "total_commands_processed") - before - 1 // one INFO is ours
	t.Logf("%d commands in %s", commands, time.Since(began))
	if perSecond := float64(commands) / time.Since(began).Seconds(); perSecond > mostPerSecond {
		t.Errorf("an idle worker sends %.0f commands a second, want %d at most", perSecond, mostPerSecond)
	}
	if n := info("clients", "connected_clients") - 1; n > mostConnections {
		t.Errorf("an idle worker has %d connections again, want %d at most", n, mostConnections)
	}
}
