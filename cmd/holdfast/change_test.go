package main

import (
	"strings"
	"testing"
)

// TestChanges: an order gives places back and moves to others, from the flags to the invoice, the map and the history.
func TestChanges(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "opera", "--name", "The Opera", "--currency", "EUR", "--section", "balcony=4@45", "--rows", "stalls=A:1-4@45.00")
	h.worker()
	alter := func(kind, number string, flags ...string) []string {
		return append([]string{"publish", "--type", kind, "--event", "opera", "--order", "o1", "--change", number, "--wait"}, flags...)
	}
	seats := func(order object) string {
		var said []string
		for _, item := range order["items"].([]any) {
			said = append(said, asJSON(t, item.(object)["section"])+asJSON(t, item.(object)["quantity"])+asJSON(t, item.(object)["seats"]))
		}
		return strings.Join(said, " ")
	}
	h.one("publish", "--event", "opera", "--customer", "jim", "--order", "o1", "--token", "t", "--item", "section=stalls,seats=A-1/A-2", "--item", "section=balcony,quantity=1", "--wait")
	h.one("publish", "--event", "opera", "--customer", "amy", "--order", "o2", "--token", "t", "--section", "stalls", "--seats", "A-4", "--wait")

	reduced := h.one(alter("cancel", "1", "--item", "section=stalls,seats=A-2")...)
	expect(t, reduced, object{"state": "confirmed", "quantity": 2, "amount": 9000, "change": 1, "refund_total": 4500})
	if got := seats(reduced); got != `"balcony"1null "stalls"1["A-1"]` {
		t.Errorf("reduced: %s", got)
	}
	if again := h.one(alter("cancel", "1", "--item", "section=stalls,seats=A-2")...); !sameJSON(again, reduced) {
		t.Errorf("once more: %v", again)
	}
	h.fails(exitFailed, []string{"another request", "choose another --change"}, alter("cancel", "1", "--item", "section=stalls,seats=A-1")...)
	h.fails(exitFailed, []string{"change_pending"}, alter("cancel", "5", "--item", "section=stalls,seats=A-1")...)

	taken := alter("change", "2", "--item", "section=stalls,seats=A-3/A-4")
	expect(t, h.one(taken...), object{"state": "confirmed", "reason": "seat_taken", "detail": "A-4", "amount": 9000, "change_refusal": "seat_taken"})
	h.fails(exitFailed, []string{"order opera/o1: not changed: seat_taken: A-4"}, append(taken, "--fail-unless-confirmed")...)
	moved := h.one(append(alter("change", "3", "--item", "section=stalls,seats=A-3/A-2", "--reason", "a pillar", "--by", "ann"), "--fail-unless-confirmed")...)
	expect(t, moved, object{"state": "confirmed", "amount": 9000, "change": 3, "refund_total": 4500})
	if got := seats(moved); got != `"stalls"2["A-2","A-3"]` {
		t.Errorf("moved: %s", got)
	}
	h.drained()
	expect(t, h.one("invoices", "jim"), object{"quantity": 2, "amount": 9000, "status": "confirmed"})
	expect(t, h.one("sales", "opera"), object{"orders": 2, "tickets_sold": 3, "revenue": 13500})
	table(t, h.ok("events", "seats", "opera", "--orders"), "SEATS STATE ORDER_ID", "A-2 A-3 sold o1", "A-4 sold o2")
	shown := h.ok("orders", "show", "o1")
	for _, want := range []string{"reduced", "number 1, gave stalls: 1 (A-2) at 45.00 EUR", "change_refused", "number 2, reason seat_taken", "changed", "took stalls: 2 (A-2 A-3) at 45.00 EUR", "why a pillar, asked for by ann"} {
		if !strings.Contains(shown, want) {
			t.Errorf("shown as\n%s\nwithout %q", shown, want)
		}
	}

	for _, bad := range [][]string{
		{"--change", "publish", "--event", "opera", "--customer", "jim", "--change", "1"},
		{"change: missing", "publish", "--type", "change", "--event", "opera", "--order", "o1", "--item", "section=stalls,seats=A-1"},
		{"item", "publish", "--type", "change", "--event", "opera", "--order", "o1", "--change", "1"},
		{"--by", "publish", "--event", "opera", "--customer", "jim", "--by", "ann"},
		{"--reason", "publish", "--type", "pay", "--event", "opera", "--order", "o1", "--reason", "ill"},
		{"--item", "publish", "--type", "pay", "--event", "opera", "--order", "o1", "--item", "section=stalls,seats=A-1"},
	} {
		h.fails(exitUsage, []string{bad[0]}, bad[1:]...)
	}
	h.ok("orders", "cancel", "o2", "--wait")
	best := func(number, quantity string, flags ...string) []string {
		return alter("change", number, append([]string{"--section", "stalls", "--quantity", quantity}, flags...)...)
	}
	expect(t, h.one(best("4", "3")...), object{"state": "confirmed", "change_refusal": "costs_more"})
	if got := seats(h.one(best("5", "2", "--adjacent")...)); got != `"stalls"2["A-2","A-3"]` {
		t.Errorf("to as many as it has: %s", got)
	}
	if got := seats(h.one(best("6", "1", "--adjacent=false", "--unit-price", "4500")...)); got != `"stalls"1["A-1"]` {
		t.Errorf("to the best one: %s", got)
	}
	h.ok("orders", "cancel", "o1", "--wait")
	h.drained()
	expect(t, h.one("orders", "show", "o1"), object{"state": "cancelled", "refund_total": 13500})
	h.ok("audit")
}
