package main

import (
	"slices"
	"strings"
	"testing"
)

// TestHall: a small hall is listed and sold, by name and as the best there is; seats come back with a cancel, and are sold again.
func TestHall(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "ballet", "--name", "The Ballet", "--currency", "EUR", "--rows", "stalls=A:1-6,B:1-3/4-6!@45.00", "--section", "standing=10@10")
	h.worker()
	buy := func(order string, flags ...string) object {
		t.Helper()
		return h.one(append([]string{"publish", "--event", "ballet", "--customer", "c-" + order, "--order", order, "--token", "t", "--wait"}, flags...)...)
	}
	seatsOf := func(order object) string { return asJSON(t, order["items"]) }
	items := func(quantity, amount, seats string) string {
		return `[{"allocation":"public","amount":` + amount + `,"quantity":` + quantity + `,"seats":[` + seats + `],"section":"stalls","unit_price":4500}]`
	}
	stalls := []string{"--section", "stalls"}

	named := buy("o1", append(stalls, "--seats", "A-2,A-1")...)
	expect(t, named, object{"state": "confirmed", "section": "stalls", "quantity": 2, "amount": 9000})
	if got, want := seatsOf(named), items("2", "9000", `"A-1","A-2"`); got != want {
		t.Errorf("named: %s, want %s", got, want)
	}
	// The same again, in another order, is the same order.
	if again := buy("o1", append(stalls, "--seats", "A-1,A-2")...); !sameJSON(again, named) {
		t.Errorf("a retry: %v, want %v", again, named)
	}
	h.fails(exitFailed, []string{"another request"}, append([]string{"publish", "--event", "ballet", "--customer", "c-o1", "--order", "o1", "--token", "t", "--wait"}, append(stalls, "--seats", "A-1,A-3")...)...)

	if got, want := seatsOf(buy("o2", append(stalls, "--quantity", "2")...)), items("2", "9000", `"A-3","A-4"`); got != want {
		t.Errorf("best available: %s, want %s", got, want)
	}
	expect(t, buy("o3", append(stalls, "--quantity", "4")...), object{"state": "rejected", "reason": "no_adjacent_seats"})
	expect(t, buy("o4", append(stalls, "--seats", "A-5,A-4,B-4")...), object{"state": "rejected", "reason": "seat_taken", "detail": "A-4,B-4"})
	expect(t, buy("o5", append(stalls, "--seats", "A-6,A-7,C-1")...), object{"state": "rejected", "reason": "unknown_seat", "detail": "A-7,C-1"})
	expect(t, buy("o6", append(stalls, "--quantity", "6", "--adjacent=false")...), object{"state": "rejected", "reason": "sold_out"})
	expect(t, buy("o7", "--section", "standing", "--seats", "A-1"), object{"state": "rejected", "reason": "unknown_seat", "detail": "A-1"})
	if got, want := seatsOf(buy("o8", append(stalls, "--quantity", "4", "--adjacent=false")...)), items("4", "18000", `"A-5","A-6","B-1","B-2"`); got != want {
		t.Errorf("single ones: %s, want %s", got, want)
	}
	both := buy("o9", "--item", "section=stalls,seats=B-3", "--item", "section=standing,quantity=2")
	expect(t, both, object{"state": "confirmed", "section": "stalls,standing", "quantity": 3, "amount": 6500})
	held := h.one("publish", "--type", "hold", "--event", "ballet", "--customer", "ann", "--order", "h1", "--section", "standing", "--quantity", "1", "--wait")
	expect(t, held, object{"state": "held", "section": "standing"})
	h.drained()

	want := func(picture string) {
		t.Helper()
		if got := h.ok("events", "seats", "ballet"); !strings.Contains(got, picture) {
			t.Errorf("drawn as\n%s\nwant\n%s", got, picture)
		}
	}
	want("section stalls, 45.00 EUR: 0 free, 0 held, 9 sold, 3 blocked\n\nA  1 ++++++  6\nB  1 +++ !!! 6\n")
	orderOf := make(map[string]string)
	for _, seat := range h.json("events", "seats", "ballet") {
		orderOf[asJSON(t, seat["row"])+asJSON(t, seat["seat"])] = seat["order_id"].(string) + " " + seat["state"].(string)
	}
	for seat, want := range map[string]string{`"A"1`: "o1 sold", `"A"4`: "o2 sold", `"B"1`: "o8 sold", `"B"3`: "o9 sold", `"B"4`: " blocked"} {
		if orderOf[seat] != want {
			t.Errorf("seat %s: %s, want %s", seat, orderOf[seat], want)
		}
	}
	table(t, h.ok("events", "seats", "ballet", "--orders"), "SEATS STATE ORDER_ID", "A-1 A-2 sold o1", "A-5 A-6 B-1 B-2 sold o8")
	if shown := h.ok("orders", "show", "o9"); !strings.Contains(shown, "stalls: 1 (B-3) at 45.00 EUR, standing: 2 at 10.00 EUR") {
		t.Errorf("shown as\n%s", shown)
	}
	if listed := h.ok("orders", "list"); !strings.Contains(listed, "stalls (A-5 A-6 B-1 B-2)") || !strings.Contains(listed, "seat_taken: A-4,B-4") {
		t.Errorf("listed as\n%s", listed)
	}
	shown := h.one("orders", "show", "o8")
	for _, what := range []any{shown["items"], shown["history"].([]any)[0].(object)["items"], h.one("invoices", "c-o8")["items"], h.json("orders", "list", "--customer", "c-o8")[0]["items"]} {
		if got, want := asJSON(t, what), items("4", "18000", `"A-5","A-6","B-1","B-2"`); got != want {
			t.Errorf("items %s, want %s", got, want)
		}
	}
	sales := h.one("sales", "ballet")
	expect(t, sales, object{"orders": 4, "tickets_sold": 11, "revenue": 42500, "available": 7, "held": 1, "refused": 17})
	h.ok("audit")

	h.ok("orders", "cancel", "o8", "--wait")
	want("section stalls, 45.00 EUR: 4 free, 0 held, 5 sold, 3 blocked\n\nA  1 ++++..  6\nB  1 ..+ !!! 6\n")
	if got, want := seatsOf(buy("p1", append(stalls, "--seats", "B-2,B-1")...)), items("2", "9000", `"B-1","B-2"`); got != want {
		t.Errorf("bought again: %s, want %s", got, want)
	}
	hold := []string{"publish", "--type", "hold", "--event", "ballet", "--customer", "bob", "--order", "h2", "--section", "stalls", "--quantity", "2", "--wait"}
	expect(t, h.one(hold...), object{"state": "held"})
	want("A  1 ++++--  6\nB  1 +++ !!! 6\n")
	table(t, h.ok("events", "seats", "ballet", "--orders"), "A-5 A-6 held h2", "B-1 B-2 sold p1")
	expect(t, h.one("publish", "--type", "pay", "--event", "ballet", "--order", "h2", "--token", "t", "--wait"), object{"state": "confirmed"})
	h.drained()
	want("A  1 ++++++  6\nB  1 +++ !!! 6\n")
	h.ok("events", "cancel", "ballet", "--reason", "ill", "--yes", "--wait")
	want("section stalls, 45.00 EUR: 9 free, 0 held, 0 sold, 3 blocked\n\nA  1 ......  6\nB  1 ... !!! 6\n")
	h.drained()
	for _, seat := range h.json("events", "seats", "ballet") {
		if seat["order_id"] != "" {
			t.Errorf("%v is somebody's, and all is cancelled", seat)
		}
	}
	h.ok("audit")
}

// TestNoOrphans: where the organiser wants it, named seats may leave no seat alone.
func TestNoOrphans(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "ballet", "--name", "The Ballet", "--currency", "EUR", "--rows", "stalls=A:1-6@45.00", "--no-orphans")
	h.worker()
	buy := func(order, seats string) object {
		t.Helper()
		return h.one("publish", "--event", "ballet", "--customer", order, "--order", order, "--token", "t", "--section", "stalls", "--seats", seats, "--wait")
	}
	expect(t, buy("o1", "A-2,A-3"), object{"state": "rejected", "reason": "would_leave_orphan", "detail": "A-1"})
	expect(t, buy("o2", "A-1,A-2"), object{"state": "confirmed"})
	h.ok("events", "adjust", "ballet", "--no-orphans=false")
	expect(t, buy("o3", "A-4"), object{"state": "confirmed"})
	h.drained()
	states := make([]string, 0, 6)
	for _, seat := range h.json("events", "seats", "ballet") {
		states = append(states, seat["state"].(string))
	}
	if want := []string{"sold", "sold", "free", "sold", "free", "free"}; !slices.Equal(states, want) {
		t.Errorf("%v, want %v", states, want)
	}
	h.ok("audit")
}
