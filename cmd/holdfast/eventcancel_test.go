package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestEventsCancel(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.event("e2")
	worker := h.worker()
	h.ok("publish", "--event", "e1", "--customer", "amy", "--order", "o1", "--quantity", "2", "--wait")
	h.ok("publish", "--event", "e2", "--customer", "amy", "--order", "other", "--wait")
	h.ok("publish", "--type", "hold", "--event", "e1", "--customer", "bob", "--order", "o2", "--wait")
	h.drained()
	cancel := []string{"events", "cancel", "e1", "--reason", "the singer is ill", "--by", "ann"}
	h.fails(exitUsage, []string{"--reason"}, "events", "cancel", "e1", "--yes", "--by", "ann")
	h.fails(exitUsage, []string{"--by", "printable"}, "events", "cancel", "e1", "--yes", "--reason", "ill", "--by", "a\nb")
	h.fails(exitUsage, []string{"--timeout"}, append(cancel, "--yes", "--timeout", "0s")...)
	h.failsInJSON(exitFailed, "not found", object{"code": "not_found", "event_id": "nope"}, "events", "cancel", "nope", "--reason", "ill", "--by", "ann", "--yes")
	expect(t, h.one("events", "show", "e1"), object{"closed": false})

	expect(t, h.one(append(cancel, "--yes", "--wait")...), object{
		"event_id": "e1", "cancelled": true, "changed": true, "orders_held": 1, "orders_confirmed": 1, "payments_under_way": 0, "payments_set_aside": 0,
	})
	expect(t, h.one(append(cancel, "--yes", "--wait")...), object{"cancelled": true, "changed": false, "orders_held": 1, "orders_confirmed": 1})
	if got := h.ok(append(cancel, "--yes")...); got != "event e1 was cancelled already: 2 orders are cancelled with it, of which 1 sold; payments still to be given back: 0\n" {
		t.Errorf("again: %q", got)
	}
	expect(t, h.one("events", "show", "e1"), object{"closed": true, "cancelled": true, "closed_reason": "the singer is ill", "closed_by": "ann"})
	table(t, h.ok("events", "list"), "EVENT_ID NAME SALE SECTION", "e1 Name of e1 cancelled general", "e2 Name of e2 open general")
	shown := h.one("orders", "show", "e1/o1")
	expect(t, shown, object{"state": "cancelled", "reason": "event_cancelled"})
	history := shown["history"].([]any)
	if len(history) != 4 {
		t.Fatalf("history: %v", history)
	}
	expect(t, history[2].(object), object{"type": "event_cancelled", "reason": "the singer is ill", "by": "ann"})
	expect(t, history[3].(object), object{"type": "cancelled", "reason": "event_cancelled", "was": "confirmed"})
	if got := h.ok("orders", "show", "e1/o2"); !strings.Contains(squeeze(got), "event_cancelled reason the singer is ill, asked for by ann") {
		t.Errorf("it is not told who and why:\n%s", got)
	}
	expect(t, h.one("orders", "show", "other"), object{"state": "confirmed"})
	expect(t, h.one("sales", "e1"), object{"orders": 0, "revenue": 0, "available": 100, "held": 0})
	expect(t, h.one("publish", "--event", "e1", "--customer", "cid", "--wait"), object{"state": "rejected", "reason": "not_on_sale"})
	h.fails(exitFailed, []string{"cancelled", "events reopen"}, "events", "create", "e1", "--name", "Name of e1", "--currency", "EUR", "--section", "general=100@10.00")

	// A cancelled event can be reopened. What was cancelled stays so, and who cancelled it can still be told.
	h.ok("events", "reopen", "e1", "--by", "bob")
	expect(t, h.one("publish", "--event", "e1", "--customer", "amy", "--order", "o3", "--wait"), object{"state": "confirmed"})
	if got := h.ok("orders", "show", "e1/o1"); !strings.Contains(got, "asked for by ann") {
		t.Errorf("it is not told who cancelled what was reopened since:\n%s", got)
	}
	h.drained()
	worker.stop()
	if got := h.ok("audit"); !strings.Contains(got, "all is well") {
		t.Errorf("audit: %s", got)
	}

	// Without a worker nobody gives money back: that is told, and with --wait it is not known when that is so.
	if got := h.one("events", "cancel", "e1", "--reason", "ill", "--by", "ann", "--yes"); got["payments_under_way"] != 1.0 || got["orders_confirmed"] != 2.0 {
		t.Errorf("without a worker: %v", got)
	}
	h.failsInJSON(exitUnknown, "no worker with the role settlement is running", object{"code": "outcome_not_known", "event_id": "e1"},
		append(cancel, "--yes", "--wait", "--timeout", "10ms")...)
}

// The orders are cancelled, and how far the money is cannot be told: that is neither done nor failed.
func TestEventsCancelWithoutAnEnd(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	worker := h.worker()
	h.ok("publish", "--event", "e1", "--customer", "amy", "--order", "o1", "--wait")
	h.drained()
	worker.stop()
	cancel := []string{"events", "cancel", "e1", "--reason", "ill", "--by", "ann", "--yes", "--wait"}

	interrupted := h.background(nil, cancel...)
	eventually(t, "its orders are cancelled", func() bool { return h.one("orders", "show", "o1")["state"] == "cancelled" })
	if code := interrupted.stop(); code != exitUnknown || !strings.Contains(interrupted.stderr.String(), "outcome not known: ") {
		t.Errorf("interrupted: exit %d: %s", code, interrupted.stderr.String())
	}

	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	for p := range 4 {
		if err := rdb.XGroupDestroy(context.Background(), fmt.Sprintf("holdfast:{%d}:2:log", p), "settlement").Err(); err != nil {
			t.Fatal(err)
		}
	}
	h.failsInJSON(exitUnknown, "all orders are cancelled, but how far their payments are cannot be told", object{"code": "outcome_not_known", "event_id": "e1"}, cancel...)
}

// A refund that the gateway refuses waits for a person, who is told.
func TestEventsCancelWithARefusedRefund(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, said := http.StatusOK, "captured"
		switch {
		case r.Method == http.MethodPut:
			said = "authorized"
		case strings.HasSuffix(r.URL.Path, "/void"):
			status = http.StatusConflict
		case strings.HasSuffix(r.URL.Path, "/refund"):
			status = http.StatusPaymentRequired
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"authorization_id":"auth_1","status":%q,"amount":1000}`, said)
	}))
	t.Cleanup(gateway.Close)
	h.worker("--gateway", gateway.URL)
	h.ok("publish", "--event", "e1", "--customer", "amy", "--order", "o1", "--wait")
	h.drained()
	cancel := []string{"events", "cancel", "e1", "--reason", "ill", "--by", "ann", "--yes", "--wait"}
	checkFailure(t, h.run(cancel...), exitFailed, []string{"1 payment could", "dead list"}, cancel)
	r := h.run(append(cancel, "-o", "json")...)
	expect(t, decodeLines(t, r.stdout)[0], object{"orders_confirmed": 1, "payments_under_way": 0, "payments_set_aside": 1})
	expect(t, decodeLines(t, r.stderr)[0], object{"code": "payments_set_aside", "event_id": "e1"})
}
