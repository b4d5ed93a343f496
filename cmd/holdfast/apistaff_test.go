package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/streams/redistest"
)

// What organisers decide of money and places, and SREs of pauses and audits, with no more rights than the user for staff has.
func TestOrganisersAndSREsOverHTTP(t *testing.T) {
	t.Parallel()
	as, client := withShippedUsers(t, "", redistest.Start(t))
	worker, admin := as("worker"), as("admin")
	worker.ok("init")
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway := admin.gateway()
	working := worker.worker("--gateway", gateway, "--code-key-file", key)
	serving, url := as("staff").serveAPI("--code-key-file", key, "--gateway", gateway)
	web := &overHTTP{t, url, admin.key("--role", "checkout", "--checkout", "web")}
	ann, sre := web.as(admin.key("--role", "organiser", "--name", "ann")), web.as(admin.key("--role", "sre", "--name", "sam"))

	// Allocations and codes, as they are made, changed and revoked.
	show := `{"event_id":"show","currency":"EUR","name":"Show","late_approval_for":60000,"sections":[{"section":"general","price":1000,"capacity":10,"blocked":1},{"section":"stalls","price":2000,"rows":"A:1-4"}],
		"allocations":[{"allocation":"fans","places":[{"section":"general","places":4,"blocked":1}],"codes":["sesame-4711","sesame-4712"],"code_uses":1}]}`
	ann.is(201, object{"changed": true}, http.MethodPost, "/v1/events", show)
	ann.is(200, object{"changed": false}, http.MethodPost, "/v1/events", show)
	ann.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/events/show/adjust", `{"allocations":[{"allocation":"fans","places":[{"section":"general","places":99}]}]}`)
	ann.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/events/show/adjust", `{"allocations":[{"allocation":"public","on_sale":1}]}`)
	ann.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/events/show/adjust", `{"revoke_codes":["sesame-0815"]}`)
	ann.is(200, object{"changed": true}, http.MethodPost, "/v1/events/show/adjust", `{"sections":[{"section":"stalls","block":["A-4"]}],"allocations":[{"allocation":"fans","places":[{"section":"stalls","seats":["A-1","A-2"]}]}],"revoke_codes":["sesame-4712"]}`)
	ann.is(200, object{"changed": true}, http.MethodPost, "/v1/events/show/adjust", `{"sections":[{"section":"stalls","unblock":["A-4"]}],"allocations":[{"allocation":"public","places":[{"section":"stalls","seats":["A-2"]}]}]}`)
	if said := admin.ok("events", "show", "show"); !strings.Contains(said, "late_approval") || !strings.Contains(said, "rehold") {
		t.Errorf("it is:\n%s", said)
	}
	buy := func(id, more string) string {
		return `{"event_id":"show","order_id":"` + id + `","customer_id":"` + id + `","payment_token":"tok_secret",` + more + `}`
	}
	web.is(200, object{"state": "rejected", "reason": "code_refused"}, http.MethodPost, "/v1/orders", buy("o1", `"quantity":1,"allocation":"fans","access_code":"sesame-4712"`), "Prefer", "wait=10")
	web.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders", buy("o2", `"section":"stalls","seats":["A-1"],"allocation":"fans","access_code":"sesame-4711"`), "Prefer", "wait=10")
	web.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders", buy("o3", `"quantity":2`), "Prefer", "wait=10")

	// Money, by whoever may.
	web.is(403, object{"code": "denied"}, http.MethodPost, "/v1/orders/show/o3/refund", `{"change":1,"amount":1}`)
	web.is(403, object{"code": "denied", "order_id": "o3"}, http.MethodPost, "/v1/orders/show/o3/cancel", `{"no_refund":true}`)
	ann.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/orders/show/o3/refund", `{"change":1}`)
	for range 2 { // a number is done once
		ann.is(200, object{"state": "confirmed", "change": 1, "refund_total": 500}, http.MethodPost, "/v1/orders/show/o3/refund", `{"change":1,"amount":500,"reason":"a pillar"}`, "Prefer", "wait=10")
	}
	ann.is(422, object{"code": "conflict"}, http.MethodPost, "/v1/orders/show/o3/refund", `{"change":1,"amount":501}`, "Prefer", "wait=10")
	ann.is(200, object{"change": 2, "change_refusal": "more_than_paid"}, http.MethodPost, "/v1/orders/show/o3/refund", `{"change":2,"amount":1501}`, "Prefer", "wait=10")
	kept := ann.is(200, object{"state": "cancelled"}, http.MethodPost, "/v1/orders/show/o3/cancel", `{"no_refund":true,"reason":"too late"}`, "Prefer", "wait=10")
	expect(t, kept, object{"refund_total": 500})
	if said := admin.ok("orders", "show", "show/o3"); !strings.Contains(said, "asked for by ann") || !strings.Contains(said, "a pillar") {
		t.Errorf("who, and why:\n%s", said)
	}

	// Pauses.
	first := func(o object) object { return o["items"].([]any)[0].(object) }
	sre.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/pauses", `{"event_id":"show"}`)
	sre.is(404, object{"code": "not_found"}, http.MethodPost, "/v1/pauses", `{"event_id":"none","reason":"wrong prices"}`)
	expect(t, first(sre.is(200, object{}, http.MethodPost, "/v1/pauses", `{"event_id":"show","reason":"wrong prices","extend_holds_seconds":60}`)), object{"changed": true, "event_id": "show", "by": "sam", "reason": "wrong prices"})
	expect(t, first(sre.is(200, object{}, http.MethodPost, "/v1/pauses", `{"event_id":"show","reason":"again"}`)), object{"changed": false, "reason": "wrong prices"})
	expect(t, first(sre.is(200, object{}, http.MethodGet, "/v1/pauses", "")), object{"event_id": "show", "parked": 0})
	expect(t, first(sre.is(200, object{}, http.MethodPost, "/v1/pauses/resume", `{"event_id":"show","reason":"mended"}`)), object{"changed": true, "ended_by": "sam", "ended_reason": "mended"})
	expect(t, first(sre.is(200, object{}, http.MethodPost, "/v1/pauses/resume", `{"reason":"mended"}`)), object{"changed": false})
	one := sre.as(admin.key("--role", "sre", "--name", "jo", "--event", "show"))
	one.is(403, object{"code": "denied"}, http.MethodPost, "/v1/pauses", `{"reason":"everything"}`)

	// An audit says how far it is, and what it found; and then everybody is told.
	worker.drained()
	status, said, header := sre.ask(http.MethodPost, "/v1/audit", "")
	lines := decodeLines(t, said)
	last := lines[len(lines)-1]
	if status != http.StatusOK || header.Get("Content-Type") != "application/jsonl" || last["state"] != "done" {
		t.Fatalf("%d %v\n%s", status, header, said)
	}
	for _, line := range lines {
		text, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		var anyLine any
		if err := json.Unmarshal(text, &anyLine); err != nil {
			t.Fatal(err)
		}
		asDocumented(t, http.MethodPost, "/v1/audit", status, header.Get("Content-Type"), anyLine)
	}
	expect(t, last["report"].(object), object{"ok": true, "violations": []any{}})
	if last["report"].(object)["payments"] == nil {
		t.Errorf("the payments were not checked: %s", said)
	}
	if found := asJSON(t, sre.is(200, object{}, http.MethodGet, "/v1/audit", "")); !strings.Contains(found, `"of":"books"`) || !strings.Contains(found, `"of":"payments"`) {
		t.Errorf("what was found: %s", found)
	}
	for what, r := range map[string]*running{"the API": serving, "the worker": working} {
		if code := r.stop(); code != exitDone || strings.Contains(r.stderr.String(), "NOPERM") || strings.Contains(r.stderr.String(), "sesame") {
			t.Errorf("%s: exit %d:\n%s", what, code, r.stderr.String())
		}
	}
	notRefused(t, client("admin"))
}
