package main

import (
	"context"
	"testing"
)

func TestWorkersList(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	rdb, ctx := h.server.Client(), context.Background()
	defer func() { _ = rdb.Close() }()
	if got := h.ok("workers", "list", "-o", "json"); got != "" {
		t.Errorf("nobody: %q", got)
	}
	table(t, h.ok("workers", "list"), "WORKER ROLES VERSION SINCE ALIVE PAUSED IN_HAND REQUESTS/S FACTS/S LAST_SIGN")
	h.ok("publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "t")
	deadWorker(t, partitionOf(t, rdb, "e1"), rdb, "gone", 1)
	// One that is dead, said what it was before it died, and has something in hand; one whose sign nobody can read.
	if err := rdb.HSet(ctx, "holdfast:workers", "gone", `{"version":"v9","roles":["purchase"],"since":1000,"seen":2000}`, "odd", "odd").Err(); err != nil {
		t.Fatal(err)
	}
	all := h.worker("--name", "all", "--reclaim-after", "1h")
	upkeep := h.background(nil, "worker", "--name", "upkeep", "--roles", "maintenance")
	byName := func() map[string]object {
		found := make(map[string]object)
		for _, w := range h.json("workers", "list") {
			found[w["worker"].(string)] = w
		}
		return found
	}
	// The first who signs in forgets those that have been silent for long: here what died in 1970.
	eventually(t, "both have signed in", func() bool {
		got := byName()
		return got["all"]["alive"] == true && got["upkeep"]["alive"] == true && got["all"]["since"] != 0.0
	})
	got := byName()
	expect(t, got["all"], object{"roles": []string{"purchase", "posting", "settlement", "maintenance"}, "version": readVersion().Version, "reclaim_after_ms": 3600000, "in_hand": 0})
	expect(t, got["upkeep"], object{"roles": []string{"maintenance"}})
	expect(t, got["gone"], object{"alive": false, "in_hand": 1, "roles": []string{"purchase"}, "version": "", "since": 0})
	if len(got) != 3 {
		t.Errorf("listed: %v", got)
	}
	if code := upkeep.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	all.stop()
	if got := byName(); len(got) != 1 || got["gone"] == nil {
		t.Errorf("those that have ended are listed: %v", got)
	}
}

// A worker whose user of Redis may not sign in works all the same, and is listed by what its groups know.
func TestWorkersListWithoutPermission(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	rdb, ctx := h.server.Client(), context.Background()
	defer func() { _ = rdb.Close() }()
	if err := rdb.Do(ctx, "ACL", "SETUSER", "older", "on", ">pw", "&*", "~holdfast:{*}:*", "~holdfast:2:*", "~holdfast:meta", "~holdfast:replaced", "~holdfast:troubles", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	older := &holdfast{t: t, server: h.server, user: "older:pw@"}
	worker := older.worker("--name", "older")
	h.ok("publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "t", "--wait")
	eventually(t, "it is listed", func() bool { return len(h.json("workers", "list")) == 1 })
	expect(t, h.one("workers", "list"), object{"worker": "older", "alive": true, "version": "", "since": 0})
	wantSaid(t, worker.stderr.String(), "may not say that it is there")
}
