package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/streams"
	"holdfast/streams/redistest"
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
	// A snapshot does not know what its orders were, and the segments do.
	if paid := h.one("audit", "--gateway", gateway, "--archive", url)["payments"].(object); paid["checked"] != 3.0 || paid["forgotten"] != 2.0 {
		t.Errorf("with a snapshot, payments: %v", paid)
	}
	if paid := h.one("audit", "--gateway", gateway, "--archive", url, "--full")["payments"].(object); paid["checked"] != 3.0 || paid["forgotten"] != nil {
		t.Errorf("from the first segment on, payments: %v", paid)
	}
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
	// Money that is given back behind the back of an order that is forgotten is found.
	refund, err := http.Post(gateway+"/authorizations/holdfast/e1/o1/refund", "application/json", strings.NewReader(`{"total":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := refund.Body.Close(); err != nil || refund.StatusCode != http.StatusOK {
		t.Fatalf("refund: %s, %v", refund.Status, err)
	}
	if r := h.run("audit", "--gateway", gateway, "--archive", url, "--full"); r.code != exitFailed || !strings.Contains(r.stdout, "e1/o1") || !strings.Contains(r.stdout, "given back") {
		t.Errorf("a refund that nobody asked for: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// An event that was forgotten is recalled from the archive: its orders are what they were, a late refund is done once, a dispute is noted, and it is forgotten again. An audit is well
// before, meanwhile and after; and restored, it is as it was.
func TestRecallEvent(t *testing.T) {
	t.Parallel()
	h := start(t)
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	gateway := h.gateway()
	hasty := h.worker("--gateway", gateway, "--archive", url, "--archive-every", "50ms", "--keep-event", "1s")
	h.event("e1")
	for _, order := range []string{"o1", "o2"} {
		expect(t, h.one("publish", "--event", "e1", "--customer", "fred", "--order", order, "--token", "t", "--wait"), object{"state": "confirmed"})
	}
	h.drained()
	h.says(exitDone, []string{"is there, and was not forgotten"}, "recall", "e1", "--archive", url)
	shown := h.one("orders", "show", "e1/o1")
	h.ok("events", "close", "e1")
	h.forgotten("e1")
	hasty.stop()
	h.worker("--gateway", gateway, "--archive", url, "--archive-every", "50ms", "--keep-event", "1h")
	audits := func() {
		t.Helper()
		h.drained()
		h.archived()
		h.ok("audit", "--gateway", gateway)
		h.ok("audit", "--gateway", gateway, "--archive", url)
		h.ok("audit", "--gateway", gateway, "--archive", url, "--full")
		h.ok("archive", "verify", "--archive", url)
	}
	audits()
	h.ok("archive", "snapshot", "--archive", url)
	expect(t, h.one("recall", "e1", "--archive", url), object{"event_id": "e1", "changed": true, "orders": 2, "confirmed": 2})
	audits()
	expect(t, h.one("events", "show", "e1"), object{"event_id": "e1", "closed": true})
	expect(t, h.one("sales", "e1"), object{"orders": 2})
	expect(t, h.one("orders", "show", "e1/o1"), object{"state": "confirmed", "held_at": shown["held_at"], "resolved_at": shown["resolved_at"], "authorization_id": shown["authorization_id"]})
	expect(t, h.one("publish", "--event", "e1", "--customer", "fred", "--order", "o1", "--token", "t", "--wait"), object{"state": "confirmed"})
	for range 2 {
		h.ok("orders", "refund", "e1/o1", "--amount", "100", "--change", "1", "--wait")
	}
	h.ok("orders", "cancel", "e1/o2", "--wait")
	expect(t, h.one("orders", "show", "e1/o1"), object{"state": "confirmed", "refund_total": 100})
	h.ok("archive", "snapshot", "--archive", url)
	audits()
	expect(t, h.one("orders", "show", "e1/o1", "--archive", url, "--at", time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00")), object{"refund_total": 100})

	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	expect(t, h.one("restore", "--archive", url), object{"events": 1, "orders": 2, "invoice_lines": 2})
	h.drained()
	eventually(t, "all is well", func() bool {
		h.run("check", "--forget-replaced")
		return h.run("audit", "--archive", url, "--gateway", gateway).code == exitDone
	})
	expect(t, h.one("orders", "show", "e1/o1", "--archive", url), object{"state": "confirmed", "refund_total": 100})
	expect(t, h.one("orders", "show", "e1/o2", "--archive", url), object{"state": "cancelled"})
}

// An organiser may recall, and who only looks may read in the archive what was trimmed of the log.
func TestShippedUsersRecall(t *testing.T) {
	as, _ := withShippedUsers(t, "", redistest.Start(t))
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	worker, organizer := as("worker"), as("organizer")
	worker.ok("init")
	organizer.event("e1")
	worker.worker("--archive", url, "--archive-every", "50ms", "--keep-event", "1s")
	expect(t, as("producer").one("publish", "--event", "e1", "--customer", "fred", "--order", "o1", "--token", "t", "--wait"), object{"state": "confirmed"})
	organizer.ok("orders", "show", "e1/o1", "--archive", url)
	as("viewer").ok("orders", "show", "e1/o1", "--archive", url)
	organizer.ok("events", "close", "e1", "--by", "ann")
	eventually(t, "e1 is forgotten", func() bool { return strings.Contains(organizer.run("events", "show", "e1").stderr, "forgotten") })
	eventually(t, "it is recalled", func() bool { return organizer.run("recall", "e1", "--archive", url).code == exitDone })
}
