package main

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestPendingClaim(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	rdb, ctx := h.server.Client(), context.Background()
	defer func() { _ = rdb.Close() }()
	p := partitionOf(t, rdb, "e1")
	for _, o := range []string{"o1", "o2", "o3"} {
		h.ok("publish", "--event", "e1", "--customer", o, "--order", o, "--token", "tok_secret")
	}
	deadWorker(t, p, rdb, "gone", 2)

	// Filters choose entries, and leave the sums what they are.
	entries := func(args ...string) (orders []string) {
		t.Helper()
		for _, g := range h.json(append([]string{"pending"}, args...)...) {
			if g["group"] == "purchase" && g["backlog"] != 0.0 && (g["lag"] != 1.0 || g["pending"] != 2.0) {
				t.Errorf("%v: %v", args, g)
			}
			for _, e := range g["entries"].([]any) {
				orders = append(orders, e.(object)["order_id"].(string))
			}
		}
		return orders
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "e1/o1 e1/o2"},
		{[]string{"--consumer", "gone"}, "e1/o1 e1/o2"},
		{[]string{"--consumer", "gone", "--entries", "1"}, "e1/o1"},
		{[]string{"--consumer", "else"}, ""},
		{[]string{"--order", "e1/o2"}, "e1/o2"},
		{[]string{"--order", "e1/o2", "--consumer", "else"}, ""},
		{[]string{"--order", "e1/o3"}, ""},
		{[]string{"--group", "purchase"}, "e1/o1 e1/o2"},
		{[]string{"--group", "posting"}, ""},
		{[]string{"--deliveries", "1"}, "e1/o1 e1/o2"},
		{[]string{"--deliveries", "2"}, ""},
		{[]string{"--idle", "1h"}, ""},
	} {
		if got := strings.Join(entries(c.args...), " "); got != c.want {
			t.Errorf("%v: %q, want %q", c.args, got, c.want)
		}
	}
	if !strings.Contains(h.ok("pending", "--order", "e1/o2"), "e1/o2") {
		t.Error("not in the table")
	}

	claim := []string{"pending", "claim", "--consumer", "gone", "--reason", `its "machine" is gone`, "--by", "ann"}
	h.fails(exitFailed, []string{"worker", "nobody", "not found"}, "pending", "claim", "--consumer", "nobody", "--reason", "r")
	h.fails(exitFailed, []string{"is alive"}, aliveMeanwhile(t, rdb, p, claim)...)
	if err := rdb.ZAdd(ctx, p+"2:consumers", redis.Z{Score: 1, Member: "purchase/gone"}).Err(); err != nil {
		t.Fatal(err)
	}
	if got := h.json("pending", "claims"); len(got) != 0 {
		t.Errorf("claims before: %v", got)
	}
	h.fails(exitFailed, []string{"not found"}, append(claim, "--group", "posting")...)
	if err := rdb.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil { // also when memory is full
		t.Fatal(err)
	}
	expect(t, h.one(claim...), object{"group": "purchase", "entries": 2, "handed_back": 0})
	if err := rdb.ConfigSet(ctx, "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	expect(t, h.one(claim...), object{"group": "purchase", "entries": 0, "handed_back": 2})
	claims := h.json("pending", "claims")
	if len(claims) != 1 {
		t.Fatalf("claims: %v", claims)
	}
	expect(t, claims[0], object{"group": "purchase", "consumer": "gone", "entries": 2, "reason": `its "machine" is gone`, "by": "ann"})
	table(t, h.ok("pending", "claims"), "AT PARTITION GROUP CONSUMER ENTRIES BY REASON")
	// A worker that would wait for an hour takes them at once.
	worker := h.worker("--reclaim-after", "1h", "--name", "living")
	for _, o := range []string{"o1", "o2"} {
		eventually(t, o+" is sold", func() bool { return strings.Contains(h.run("orders", "show", "e1/"+o).stdout, "confirmed") })
	}
	// One that lives and has nothing in hand is told apart from one of which something was taken.
	eventually(t, "the worker has nothing in hand", func() bool {
		return h.run("pending", "claim", "--consumer", "living", "--reason", "r").code == exitDone
	})
	for _, of := range [][]string{nil, {"--group", "purchase"}} {
		if got := h.run(append([]string{"pending", "claim", "--consumer", "living", "--reason", "r"}, of...)...); got.stdout != "" || !strings.Contains(got.stderr, "worker living has nothing in hand") {
			t.Errorf("claimed of a worker with nothing in hand: %+v", got)
		}
	}
	worker.stop()
}

// aliveMeanwhile makes the worker look alive, and returns args.
func aliveMeanwhile(t *testing.T, rdb *redis.Client, p string, args []string) []string {
	t.Helper()
	if err := rdb.ZAdd(context.Background(), p+"2:consumers", redis.Z{Score: 9e15, Member: "purchase/gone"}).Err(); err != nil {
		t.Fatal(err)
	}
	return args
}

func TestPendingWatch(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	watching := h.background(nil, "pending", "--watch", "--every", "100ms")
	eventually(t, "it has looked three times", func() bool { return strings.Count(watching.stdout.String(), "PARTITION  ") >= 3 })
	if code := watching.stop(); code != exitDone || watching.stderr.String() != "" {
		t.Errorf("exit %d: %s", code, watching.stderr.String())
	}
	h.server.Kill()
	watching = h.background(nil, "pending", "--watch")
	if code := watching.wait(); code != exitFailed {
		t.Errorf("without Redis: exit %d: %s", code, watching.stderr.String())
	}
}
