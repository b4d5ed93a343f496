package main

import (
	"net/http"
	"strings"
	"testing"
)

// Who made an event what it is, when and why: by the shell, and over HTTP.
func TestEventsHistory(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("other")
	h.ok("events", "create", "show", "--name", "Show", "--currency", "EUR", "--section", "general=20@10", "--by", "ann", "--reason", "season")
	h.ok("events", "adjust", "show", "--section", "general=30@12", "--max-per-order", "4", "--by", "bob", "--reason", "more | chairs")
	h.ok("events", "adjust", "show", "--section", "general=30@12", "--by", "eve") // which changes nothing
	_, web := h.api()
	boss := web.as(h.key("--role", "organiser", "--name", "carla"))
	boss.is(200, object{"changed": true}, http.MethodPost, "/v1/events/show/adjust", `{"max_per_order":0,"reason":"no limit"}`)
	boss.is(201, object{"changed": true}, http.MethodPost, "/v1/events", `{"event_id":"gala","name":"Gala","currency":"EUR","sections":[{"section":"stalls","rows":"A:1-4","price":500}]}`)
	boss.is(200, object{"changed": true}, http.MethodPost, "/v1/events/gala/adjust", `{"sections":[{"section":"stalls","block":["A-1","A-2"]}]}`)
	h.ok("events", "close", "show", "--by", "ann", "--reason", "rain")
	h.ok("events", "reopen", "show", "--by", "ann", "--reason", "sun")

	found := h.json("events", "history", "show")
	for i, want := range []object{
		{"type": "listed", "by": "ann", "why": "season", "changes": []any{object{"what": "name", "is": "Show"}, object{"what": "general", "is": "20 at 10.00 EUR"}}},
		{"type": "adjusted", "by": "bob", "why": "more | chairs", "changes": []any{object{"what": "max_per_order", "is": "4"}, object{"what": "general", "was": "20 at 10.00 EUR", "is": "30 at 12.00 EUR"}}},
		{"type": "adjusted", "by": "carla", "why": "no limit", "changes": []any{object{"what": "max_per_order", "was": "4"}}},
		{"type": "closed", "by": "ann", "why": "rain"},
		{"type": "reopened", "by": "ann", "why": "sun"},
	} {
		if len(found) != 5 {
			t.Fatalf("%d facts: %v", len(found), found)
		}
		expect(t, found[i], want)
	}
	table(t, h.ok("events", "history", "show"), "AT FACT WHAT WHY BY")
	text := h.ok("events", "history", "show")
	for _, want := range []string{"max_per_order 4; general 20 at 10.00 EUR -> 30 at 12.00 EUR", "max_per_order no more"} {
		if !strings.Contains(text, want) {
			t.Errorf("without %q:\n%s", want, text)
		}
	}
	if text := h.ok("events", "history", "gala"); !strings.Contains(text, "stalls 2 seats blocked") || !strings.Contains(text, "carla") {
		t.Errorf("seats that are blocked are not told:\n%s", text)
	}
	h.fails(exitFailed, []string{"nothing", "not found"}, "events", "history", "nothing")
	h.fails(exitUsage, []string{"--by"}, "events", "adjust", "show", "--max-per-order", "2", "--by", strings.Repeat("x", 600))
	boss.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/events/show/adjust", `{"max_per_order":2,"reason":"`+strings.Repeat("ü", 300)+`"}`)
}
