package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/streams/redistest"
)

// Who asks for what is sold out is turned away at the door, of places, seats and allocations, and gets in again when some come back. What was
// asked for is counted, by users with no more rights than they need.
func TestSoldOutNow(t *testing.T) {
	t.Parallel()
	as, client := withShippedUsers(t, "", redistest.Start(t))
	worker, admin := as("worker"), as("admin")
	worker.ok("init")
	organizer := as("organizer")
	organizer.ok("events", "create", "show", "--name", "Show", "--currency", "EUR", "--section", "general=6@10", "--rows", "stalls=A:1-2@10", "--allocation", "fans=general:2")
	worker.worker()
	_, url := as("api").serveAPI()
	web := &overHTTP{t, url, admin.key("--role", "admin", "--name", "ann")}
	buy := func(id, of string) string {
		return `{"event_id":"show","order_id":"` + id + `","customer_id":"` + id + `",` + of + `,"payment_token":"tok_secret"}`
	}
	web.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders", buy("o1", `"quantity":4`), "Prefer", "wait=10")
	web.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders", buy("o2", `"section":"stalls","seats":["A-1","A-2"]`), "Prefer", "wait=10")
	tries := 0
	turned := func(of string) {
		t.Helper()
		eventually(t, "it is known that nothing is left", func() bool {
			tries++ // until then it is a request like others, and its order is rejected for good
			status, said, _ := web.ask(http.MethodPost, "/v1/orders", buy(fmt.Sprintf("try-%d", tries), of))
			return status == http.StatusConflict && strings.Contains(said, "sold_out_now")
		})
		web.is(409, object{"code": "sold_out_now", "event_id": "show", "order_id": "p2"}, http.MethodPost, "/v1/orders", buy("p2", of), "Prefer", "wait=10")
		web.is(404, object{"code": "not_found"}, http.MethodGet, "/v1/orders/show/p2", "")
	}
	turned(`"quantity":3`)
	turned(`"section":"stalls","quantity":1`)
	turned(`"items":[{"section":"stalls","seats":["A-2"]},{"section":"general","quantity":1}]`)
	// Whoever has places is told, and an allocation has places of its own.
	web.is(200, object{"state": "confirmed", "order_id": "o1"}, http.MethodPost, "/v1/orders", buy("o1", `"quantity":4`))
	web.is(200, object{"state": "rejected", "reason": "code_refused"}, http.MethodPost, "/v1/orders", buy("o3", `"quantity":1,"allocation":"fans"`), "Prefer", "wait=10")
	organizer.ok("events", "adjust", "show", "--block", "general~fans:2")
	turned(`"quantity":1,"allocation":"fans"`)

	web.is(200, object{"state": "cancelled"}, http.MethodPost, "/v1/orders/show/o1/cancel", "", "Prefer", "wait=10")
	eventually(t, "whoever comes again gets places that came back", func() bool {
		status, said, _ := web.ask(http.MethodPost, "/v1/orders", buy("p3", `"quantity":3`), "Prefer", "wait=10")
		return status == http.StatusOK && strings.Contains(said, "confirmed")
	})
	worker.drained()
	eventually(t, "what was asked for is counted", func() bool {
		counted := make(map[string]float64)
		for _, r := range web.is(200, object{}, http.MethodGet, "/v1/sales", "")["events"].([]any)[0].(object)["refused"].([]any) {
			if of := r.(object); of["reason"] == "sold_out_now" {
				counted[of["section"].(string)+"/"+of["allocation"].(string)] += of["places"].(float64)
			}
		}
		return counted["general/public"] >= 2*3+2*1 && counted["stalls/public"] >= 2+2 && counted["general/fans"] >= 2
	})
	for _, reader := range []string{"organizer", "viewer", "auditor"} {
		if said := as(reader).ok("sales", "show"); !strings.Contains(said, "sold_out_now") {
			t.Errorf("%s reads of sales:\n%s", reader, said)
		}
	}
	expect(t, as("auditor").one("audit"), object{"ok": true})
	notRefused(t, client("admin"))
}
