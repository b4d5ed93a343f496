package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/streams/redistest"
)

// Orders are bought in bulk, and how that went is told step by step: the sums are the sales.
func TestBulkAndSeriesOverHTTP(t *testing.T) {
	t.Parallel()
	as, client := withShippedUsers(t, "", redistest.Start(t))
	worker, admin := as("worker"), as("admin")
	worker.ok("init")
	as("organizer").event("e1")
	working := worker.worker()
	serving, url := as("api").serveAPI()
	web := &overHTTP{t, url, admin.key("--role", "admin", "--name", "ann")}
	var orders strings.Builder
	const n = 60
	for i := range n {
		fmt.Fprintf(&orders, `{"event_id":"e1","order_id":"o%d","customer_id":"c%d","quantity":1,"payment_token":"tok_secret"}`+"\n", i, i)
	}
	orders.WriteString("{}\n")
	for range 2 { // again is harmless
		status, said, header := web.ask(http.MethodPost, "/v1/orders/bulk", orders.String(), "Content-Type", "application/jsonl", "Prefer", "wait=10")
		lines := decodeLines(t, said)
		if status != http.StatusOK || len(lines) != n+1 || header.Get("Preference-Applied") != "wait" {
			t.Fatalf("%d %v: %s", status, header, said)
		}
		for i, line := range lines {
			asDocumented(t, http.MethodPost, "/v1/orders/bulk", status, header.Get("Content-Type"), line)
			if i < n {
				expect(t, line, object{"line": i + 1, "status": 200})
				expect(t, line["order"].(object), object{"order_id": fmt.Sprintf("o%d", i), "state": "confirmed"})
			} else {
				expect(t, line, object{"line": i + 1, "status": 422})
			}
		}
	}
	web.is(200, object{"state": "cancelled"}, http.MethodPost, "/v1/orders/e1/o1/cancel", "", "Prefer", "wait=10")
	web.is(200, object{"state": "rejected"}, http.MethodPost, "/v1/orders", `{"event_id":"e1","order_id":"many","customer_id":"amy","quantity":99,"payment_token":"tok_secret"}`, "Prefer", "wait=10")
	worker.drained()
	sums := func() (of [4]float64) {
		t.Helper()
		for _, step := range web.is(200, object{"event_id": "e1", "step_ms": 300_000}, http.MethodGet, "/v1/sales/series?event=e1&step=5m", "")["steps"].([]any) {
			s := step.(object)
			of[0] += s["orders"].(float64) - s["orders_cancelled"].(float64)
			of[1] += s["tickets_sold"].(float64) - s["tickets_returned"].(float64)
			of[2] += s["revenue"].(float64) - s["revenue_returned"].(float64)
			of[3] += s["refused"].(float64)
		}
		return of
	}
	if got, want := sums(), [4]float64{n - 1, n - 1, (n - 1) * 1000, 99}; got != want {
		t.Errorf("it adds up to %v, want %v", got, want)
	}
	if _, said, header := web.ask(http.MethodGet, "/v1/sales/series?event=e1", "", "Accept", "text/csv"); !strings.HasPrefix(header.Get("Content-Type"), "text/csv") || !strings.HasPrefix(said, "event_id,at,orders,") || !strings.Contains(said, "\ne1,2") {
		t.Errorf("CSV: %s", said)
	}
	web.is(422, object{"code": "invalid"}, http.MethodGet, "/v1/sales/series?event=e1&from=1", "")
	web.is(422, object{"code": "invalid"}, http.MethodGet, "/v1/sales/series?event=e1&step=1s", "")
	web.is(422, object{"code": "invalid"}, http.MethodGet, "/v1/sales/series", "")
	web.is(404, object{"code": "not_found"}, http.MethodGet, "/v1/sales/series?event=e9", "")
	if code := working.stop(); code != exitDone {
		t.Errorf("the worker: exit %d:\n%s", code, working.stderr.String())
	}
	// In another branch all is counted anew: what was read of the one before may never have happened.
	root := client("admin")
	if err := root.HSet(context.Background(), partitionOf(t, root, "e1")+"2:events", "#branch", "0123456789abcdef").Err(); err != nil {
		t.Fatal(err)
	}
	if got := sums(); got[0] != n-1 || got[3] != 99 {
		t.Errorf("in another branch it adds up to %v", got)
	}
	if code := serving.stop(); code != exitDone || strings.Contains(serving.stderr.String(), "NOPERM") {
		t.Errorf("the API: exit %d:\n%s", code, serving.stderr.String())
	}
	notRefused(t, root)
}
