package main

import (
	"strings"
	"testing"
	"time"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init")
	if got := h.ok("events", "list", "-o", "json"); got != "" {
		t.Errorf("no events in JSON: %q", got)
	}
	if got := h.ok("events", "list"); squeeze(got) != "EVENT_ID NAME SALE SECTION PRICE CAPACITY AVAILABLE HELD SOLD BLOCKED" {
		t.Errorf("no events in a table: %q", got)
	}

	create := []string{
		"events", "create", "opera", "--name", "The Opera", "--currency", "EUR",
		"--section", "stalls=300@85.50", "--section", "balcony=120@40", "--max-per-order", "6",
	}
	expect(t, h.one(create...), object{"event_id": "opera", "created": true})
	expect(t, h.one(create...), object{"event_id": "opera", "created": false})
	if got := h.ok(create...); !strings.Contains(got, "nothing changed") {
		t.Errorf("created again: %q", got)
	}
	h.fails(exitFailed, []string{"opera", "other terms", "events adjust"},
		"events", "create", "opera", "--name", "The Opera", "--currency", "EUR", "--section", "stalls=300@85.50")

	h.ok("events", "create", "karaoke", "--name", "カラオケ", "--currency", "JPY", "--section", "general=20@1500",
		"--on-sale", "2100-12-01 10:00", "--off-sale", "2100-12-02T10:00:00+09:00")
	opensAt := time.Date(2100, 12, 1, 10, 0, 0, 0, time.Local).UnixMilli()
	closesAt := time.Date(2100, 12, 2, 1, 0, 0, 0, time.UTC).UnixMilli()

	wantOpera := object{
		"event_id": "opera", "name": "The Opera", "currency": "EUR", "max_per_order": 6, "on_sale": 0, "off_sale": 0, "closed": false,
		"sections": []object{
			{"section": "stalls", "allocation": "public", "kind": "counted", "price": 8550, "capacity": 300, "available": 300, "held": 0, "sold": 0, "blocked": 0},
			{"section": "balcony", "allocation": "public", "kind": "counted", "price": 4000, "capacity": 120, "available": 120, "held": 0, "sold": 0, "blocked": 0},
		},
	}
	expect(t, h.one("events", "show", "opera"), wantOpera)
	listed := h.json("events", "list")
	if len(listed) != 2 {
		t.Fatalf("listed: %v", listed)
	}
	expect(t, listed[1], wantOpera)
	expect(t, listed[0], object{"event_id": "karaoke", "name": "カラオケ", "on_sale": opensAt, "off_sale": closesAt})
	table(t, h.ok("events", "list"), "EVENT_ID NAME SALE SECTION PRICE CAPACITY AVAILABLE HELD SOLD BLOCKED",
		"opera The Opera open stalls 85.50 EUR 300 300 0 0 0",
		"opera The Opera open balcony 40.00 EUR 120 120 0 0 0",
		"karaoke カラオケ from 2100-12-01T10:00:00")
	table(t, h.ok("events", "show", "karaoke"), "event_id karaoke", "max_per_order none", "general 1500 JPY 20 20 0 0 0")
	h.fails(exitFailed, []string{"nope", "not found"}, "events", "show", "nope")

	expect(t, h.one("events", "adjust", "opera", "--section", "stalls=320", "--section", "gallery=80@25", "--name", "Opera", "--max-per-order", "0"),
		object{"event_id": "opera", "changed": true})
	expect(t, h.one("events", "adjust", "opera", "--section", "gallery=80"), object{"changed": false})
	expect(t, h.one("events", "adjust", "opera", "--section", "gallery=80@20", "--off-sale", "2000-01-01 00:00"), object{"changed": true})
	expect(t, h.one("events", "show", "opera"), object{
		"name": "Opera", "max_per_order": 0,
		"sections": []object{
			{"section": "stalls", "allocation": "public", "kind": "counted", "price": 8550, "capacity": 320, "available": 320, "held": 0, "sold": 0, "blocked": 0},
			{"section": "balcony", "allocation": "public", "kind": "counted", "price": 4000, "capacity": 120, "available": 120, "held": 0, "sold": 0, "blocked": 0},
			{"section": "gallery", "allocation": "public", "kind": "counted", "price": 2000, "capacity": 80, "available": 80, "held": 0, "sold": 0, "blocked": 0},
		},
	})
	table(t, h.ok("events", "show", "opera"), "event_id opera", "sale ended 2000-01-01T00:00:00")
	h.fails(exitFailed, []string{"opera", "other terms"}, create...)
	if got := h.ok("events", "create", "opera", "--name", "Opera", "--currency", "EUR", "--section", "stalls=320@85.50",
		"--section", "balcony=120@40", "--section", "gallery=80@20", "--off-sale", "2000-01-01 00:00"); !strings.Contains(got, "nothing changed; on sale at once until 2000-01-01T00:00:00") {
		t.Errorf("created again as it is now: %q", got)
	}
	h.ok("events", "adjust", "opera", "--off-sale", "none")
	table(t, h.ok("events", "show", "opera"), "event_id opera", "sale open")
	h.fails(exitUsage, []string{"balkony", "price"}, "events", "adjust", "opera", "--section", "balkony=1")
	h.fails(exitUsage, []string{"EUR"}, "events", "adjust", "opera", "--section", "balcony=1@0.001")
	h.fails(exitUsage, []string{"capacity"}, "events", "adjust", "opera", "--section", "balcony=-1")
	h.fails(exitFailed, []string{"nope", "not found"}, "events", "adjust", "nope", "--name", "x")

	h.fails(exitFailed, []string{"nope", "not found"}, "events", "close", "nope")
}

// What counts when an event is created again is what is on sale now; and what is closed is not.
func TestEventsCloseAndReopen(t *testing.T) {
	t.Parallel()
	h := start(t)
	create := func(capacity, price string) []string {
		return []string{"events", "create", "opera", "--name", "The Opera", "--currency", "EUR", "--section", "general=" + capacity + "@" + price}
	}
	h.ok(create("300", "85.50")...)
	h.ok("events", "adjust", "opera", "--section", "general=320@80")
	expect(t, h.one(create("320", "80")...), object{"created": false})
	h.fails(exitFailed, []string{"opera", "other terms", "events show", "events adjust"}, create("300", "85.50")...)

	expect(t, h.one("events", "close", "opera", "--by", "ann", "--reason", "the roof leaks"), object{"event_id": "opera", "closed": true, "changed": true})
	if got := h.ok("events", "close", "opera"); got != "event opera was closed already: nothing changed\n" {
		t.Errorf("closed again: %q", got)
	}
	expect(t, h.one("events", "show", "opera"), object{"closed": true, "cancelled": false, "closed_reason": "the roof leaks", "closed_by": "ann"})
	table(t, h.ok("events", "show", "opera"), "event_id opera", "sale closed", "closed_reason the roof leaks", "closed_by ann")
	h.fails(exitFailed, []string{"opera", "closed", "events reopen"}, create("320", "80")...)
	h.failsInJSON(exitFailed, "closed", object{"code": "event_closed", "event_id": "opera"}, create("320", "80")...)
	h.fails(exitUsage, []string{"--by", "512"}, "events", "close", "opera", "--by", strings.Repeat("x", 513))

	expect(t, h.one("events", "reopen", "opera", "--by", "ann"), object{"event_id": "opera", "closed": false, "changed": true})
	if got := h.ok("events", "reopen", "opera"); got != "event opera was not closed: nothing changed\n" {
		t.Errorf("reopened again: %q", got)
	}
	expect(t, h.one("events", "show", "opera"), object{"closed": false, "closed_reason": "", "closed_by": ""})
	expect(t, h.one(create("320", "80")...), object{"created": false})
	h.worker()
	expect(t, h.one("publish", "--event", "opera", "--customer", "amy", "--wait"), object{"state": "confirmed"})
	h.fails(exitFailed, []string{"nope", "not found"}, "events", "reopen", "nope")
}

func TestEventCapacityBelowWhatIsHeld(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.worker()
	h.ok("publish", "--type", "hold", "--event", "e1", "--customer", "amy", "--quantity", "7", "--wait")
	h.fails(exitFailed, []string{"7 held"}, "events", "adjust", "e1", "--section", "general=6")
	h.ok("events", "adjust", "e1", "--section", "general=7")
}
