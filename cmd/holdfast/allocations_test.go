package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAllocationsEndToEnd: a presale with codes, house seats that are moved and blocked, and what is shown of them.
func TestAllocationsEndToEnd(t *testing.T) {
	t.Parallel()
	h := start(t)
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keys := file("keys", "the-newer-of-both-keys\nthe-older-of-both-keys\n")
	older, codes := file("older", "the-older-of-both-keys\n"), file("codes", "first-one\r\n\nsecond-one\n")

	h.ok("events", "create", "show", "--name", "The Show", "--currency", "EUR", "--section", "general=20@10", "--rows", "stalls=fans;A:1-4a.5-8@20",
		"--on-sale", "2099-01-01T00:00:00Z", "--allocation", "fans=general:5", "--allocation-on-sale", "fans=2020-01-01T00:00:00Z",
		"--codes", "fans="+codes, "--code-uses", "1", "--code-key-file", older, "--block", "general:2")
	h.worker("--code-key-file", keys)
	buy := func(order string, flags ...string) object {
		t.Helper()
		return h.one(append([]string{"publish", "--event", "show", "--customer", "c-" + order, "--order", order, "--token", "t", "--wait"}, flags...)...)
	}
	expect(t, buy("o1", "--allocation", "fans", "--quantity", "2", "--access-code", "first-one"), object{"state": "confirmed", "section": "general", "amount": 2000})
	expect(t, buy("o2", "--allocation", "fans", "--quantity", "1", "--access-code", "first-one"), object{"state": "rejected", "reason": "code_refused"})
	expect(t, buy("o3", "--allocation", "fans", "--quantity", "1", "--access-code", "third-one"), object{"state": "rejected", "reason": "code_refused"})
	expect(t, buy("o4", "--allocation", "fans", "--quantity", "1"), object{"state": "rejected", "reason": "code_refused"})
	expect(t, buy("o5", "--quantity", "1"), object{"state": "rejected", "reason": "not_on_sale"})
	expect(t, buy("o6", "--allocation", "press", "--quantity", "1", "--access-code", "second-one"), object{"state": "rejected", "reason": "unknown_allocation"})
	both := buy("o7", "--item", "section=stalls,seats=A-1/A-2,allocation=fans", "--item", "section=general,quantity=1,allocation=fans", "--access-code", "second-one")
	if got, want := asJSON(t, both["items"]), `[{"allocation":"fans","amount":1000,"quantity":1,"section":"general","unit_price":1000},`+
		`{"allocation":"fans","amount":4000,"quantity":2,"seats":["A-1","A-2"],"section":"stalls","unit_price":2000}]`; got != want {
		t.Errorf("items: %s, want %s", got, want)
	}
	h.fails(exitUsage, []string{"access-code: want the allocation that it opens"}, "publish", "--event", "show", "--customer", "x", "--access-code", "second-one")
	h.drained()

	shown := h.ok("events", "show", "show")
	table(t, shown, "general 10.00 EUR 15 13 0 0 2", "general~fans 10.00 EUR 5 2 0 3 0", "stalls 20.00 EUR 4 4 0 0 0", "stalls~fans 20.00 EUR 4 2 0 2 0",
		"fans on sale from 2020-01-01T00:00:00Z 2 2")
	for _, said := range []string{shown, h.ok("orders", "show", "show/o2", "-o", "json"), h.ok("dead", "list")} {
		for _, secret := range []string{"first-one", "second-one", "third-one"} {
			if strings.Contains(said, secret) {
				t.Errorf("a code is shown in\n%s", said)
			}
		}
	}

	h.ok("events", "adjust", "show", "--allocation", "fans=general:4", "--block", "general:0", "--allocation", "public=stalls:A-3", "--block", "stalls:A-8")
	h.fails(exitFailed, []string{"section stalls: held or sold are A-1: nothing changed"}, "events", "adjust", "show", "--allocation", "public=stalls:A-1")
	h.fails(exitFailed, []string{"section general~fans: capacity 2 is below the 0 held and 3 sold"}, "events", "adjust", "show", "--allocation", "fans=general:2")
	h.fails(exitUsage, []string{"section stalls: has no seat A-9"}, "events", "adjust", "show", "--block", "stalls:A-9")
	h.fails(exitUsage, []string{"1 of 1 codes are none of this event"}, "events", "adjust", "show", "--revoke-codes", file("other", "third-one\n"), "--code-key-file", older)
	h.fails(exitUsage, []string{"HOLDFAST_CODE_KEY or --code-key-file"}, "events", "adjust", "show", "--codes", "fans="+codes)
	if got := h.ok("events", "seats", "show"); !strings.Contains(got, "A  1 ++.a...! 8") || !strings.Contains(got, "a fans (A blocked)") {
		t.Errorf("drawn as\n%s", got)
	}
	seats := h.json("events", "seats", "show")
	expect(t, seats[0], object{"allocation": "fans", "order_id": "o7", "state": "sold"})
	expect(t, seats[2], object{"allocation": "public", "state": "free"})
	expect(t, seats[3], object{"allocation": "fans", "state": "free"})

	h.ok("events", "adjust", "show", "--revoke-codes", codes, "--code-key-file", older, "--unblock", "stalls:A-8")
	h.ok("orders", "cancel", "show/o1", "--wait")
	expect(t, buy("o8", "--allocation", "fans", "--quantity", "1", "--access-code", "first-one"), object{"state": "rejected", "reason": "code_refused"})
	h.drained()
	table(t, h.ok("events", "show", "show"), "general~fans 10.00 EUR 4 3 0 1 0", "fans on sale from 2020-01-01T00:00:00Z 0 1")
	h.ok("audit")
}

// TestNoCodeKey: a worker that has no key for access codes refuses nobody; it sets their requests aside, and they can be redriven.
func TestNoCodeKey(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("show")
	h.worker()
	h.fails(exitFailed, []string{"no key for access codes"}, "publish", "--event", "show", "--customer", "amy", "--order", "o1", "--token", "t", "--allocation", "fans",
		"--access-code", "first-one", "--wait")
	if letters := h.ok("dead", "list", "-o", "json"); strings.Contains(letters, "first-one") {
		t.Errorf("the code is shown in %s", letters)
	}
}
