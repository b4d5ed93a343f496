package main

import (
	"path/filepath"
	"strings"
	"testing"

	"holdfast/streams"
)

// forgotten waits until nothing of an event but that there was one is in Redis.
func (h *holdfast) forgotten(event string) {
	h.t.Helper()
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	eventually(h.t, event+" is forgotten", func() bool {
		over := false
		for p := range streams.DefaultPartitions {
			partition := "holdfast:{" + count(int64(p)) + "}:2:"
			going := rdb.HExists(h.t.Context(), partition+"forgetting", event).Val()
			over = over || !going && strings.Contains(rdb.HGet(h.t.Context(), partition+"events", event).Val(), "|f|")
		}
		return over
	})
}

// An event that is over leaves Redis when all of it is archived. Its customers keep their lines; whoever asks for more of it is told that it is over, and the
// archive has it all. Restored, it is as it was: forgotten.
func TestForgetEvent(t *testing.T) {
	t.Parallel()
	h := start(t)
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	gateway := h.gateway()
	h.worker("--gateway", gateway, "--archive", url, "--archive-every", "50ms", "--snapshot-every", "0", "--keep-event", "1s")
	h.event("e1")
	h.event("e2")
	for _, order := range []string{"o1", "o2"} {
		expect(t, h.one("publish", "--event", "e1", "--customer", "fred-"+order, "--order", order, "--token", "t", "--wait"), object{"state": "confirmed"})
	}
	expect(t, h.one("publish", "--event", "e2", "--customer", "fred-o1", "--order", "o1", "--token", "t", "--wait"), object{"state": "confirmed"})
	h.ok("orders", "cancel", "e1/o2", "--wait")
	h.drained()
	before := h.one("invoices", "fred-o2")
	h.ok("events", "close", "e1")
	h.forgotten("e1")

	over := []string{"event e1 is over, and forgotten"}
	h.says(exitFailed, over, "publish", "--event", "e1", "--customer", "amy", "--order", "o3", "--token", "t", "--wait")
	h.says(exitFailed, over, "publish", "--event", "e1", "--customer", "fred-o1", "--order", "o1", "--token", "t", "--wait")
	h.says(exitFailed, over, "orders", "cancel", "e1/o1", "--wait")
	h.says(exitFailed, over, "events", "create", "e1", "--name", "x", "--currency", "EUR", "--section", "general=5@1.00")
	h.says(exitFailed, over, "events", "show", "e1")
	h.says(exitFailed, over, "sales", "e1")
	if events := h.json("events", "list"); len(events) != 1 || events[0]["event_id"] != "e2" {
		t.Errorf("the events are %v", events)
	}
	if archived := h.json("events", "list", "--archived"); len(archived) != 1 || archived[0]["event_id"] != "e1" {
		t.Errorf("archived are %v", archived)
	}
	expect(t, h.one("events", "show", "e1", "--archive", url), object{"event_id": "e1"})
	expect(t, h.one("orders", "show", "e1/o1", "--archive", url), object{"event_id": "e1", "order_id": "o1", "state": "confirmed", "customer_id": "fred-o1"})
	expect(t, h.one("sales", "e1", "--archive", url), object{"event_id": "e1", "orders": 1})
	h.says(exitFailed, over, "orders", "show", "e1/o1")
	if orders := h.json("orders", "list"); len(orders) != 1 {
		t.Errorf("the orders are %v", orders)
	}
	lines := func() {
		t.Helper()
		line := h.one("invoices", "fred-o2")
		expect(t, line, object{"event_id": "e1", "order_id": "o2", "status": "cancelled", "quantity": before["quantity"], "amount": before["amount"], "confirmed_at": before["confirmed_at"], "archived": true})
		if of := h.json("invoices", "fred-o1"); len(of) != 2 {
			t.Errorf("fred-o1 has %v", of)
		}
	}
	lines()
	h.drained()
	h.archived()
	h.ok("audit", "--gateway", gateway)
	h.ok("audit", "--gateway", gateway, "--archive", url)
	h.ok("archive", "snapshot", "--archive", url)
	h.ok("audit", "--gateway", gateway, "--archive", url)
	h.ok("archive", "verify", "--archive", url)
	expect(t, h.one("sales", "e1", "--archive", url), object{"event_id": "e1", "orders": 1}) // with a snapshot that lacks it
	if exported := h.ok("archive", "export", "--archive", url, "--format", "csv"); !strings.Contains(exported, "e1,o2") {
		t.Errorf("exported is\n%s", exported)
	}

	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	expect(t, h.one("restore", "--archive", url), object{"events": 1, "orders": 1, "invoice_lines": 3})
	lines()
	h.says(exitFailed, over, "publish", "--event", "e1", "--customer", "fred-o1", "--order", "o1", "--token", "t", "--wait")
	h.drained()
	eventually(t, "all is well", func() bool {
		h.run("check", "--forget-replaced")
		return h.run("audit", "--archive", url, "--gateway", gateway).code == exitDone
	})
}
