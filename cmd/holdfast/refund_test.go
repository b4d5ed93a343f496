package main

import (
	"strings"
	"testing"
)

// TestRefunds: an organiser keeps money of what is cancelled, and gives some back of what is not, from the flags to the history.
func TestRefunds(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "opera", "--name", "The Opera", "--currency", "EUR", "--section", "balcony=4@45", "--rows", "stalls=A:1-4@45.00")
	h.worker()
	h.one("publish", "--event", "opera", "--customer", "jim", "--order", "o1", "--token", "t", "--item", "section=stalls,seats=A-1/A-2", "--item", "section=balcony,quantity=1", "--wait")
	h.one("publish", "--event", "opera", "--customer", "amy", "--order", "o2", "--token", "t", "--section", "stalls", "--seats", "A-4", "--wait")

	granted := h.one("orders", "refund", "o1", "--amount", "500", "--reason", "a pillar", "--by", "ann", "--wait")
	expect(t, granted, object{"state": "confirmed", "quantity": 3, "amount": 13500, "change": 1, "refund_total": 500})
	if again := h.one("orders", "refund", "o1", "--amount", "500", "--change", "1", "--wait"); !sameJSON(again, granted) {
		t.Errorf("once more: %v", again)
	}
	h.fails(exitFailed, []string{"another request"}, "orders", "refund", "o1", "--amount", "501", "--change", "1", "--wait")
	expect(t, h.one("orders", "refund", "o1", "--item", "section=stalls,seats=A-2", "--wait"), object{"state": "confirmed", "change": 2, "refund_total": 5000})
	h.fails(exitFailed, []string{"more_than_paid"}, "orders", "refund", "o1", "--amount", "8501", "--wait")
	expect(t, h.one("orders", "show", "o1"), object{"change_refusal": "more_than_paid", "change_detail": "8501 of 8500", "refund_total": 5000})

	expect(t, h.one("orders", "cancel", "o2", "--no-refund", "--reason", "no show", "--wait"), object{"state": "cancelled", "amount": 4500})
	expect(t, h.one("publish", "--type", "cancel", "--event", "opera", "--order", "o1", "--change", "4", "--item", "section=balcony,quantity=1", "--no-refund", "--wait"), object{"state": "confirmed", "refund_total": 5000})
	expect(t, h.one("publish", "--type", "refund", "--event", "opera", "--order", "o2", "--change", "1", "--amount", "1000", "--wait", "--fail-unless-confirmed"), object{"state": "cancelled", "refund_total": 1000})
	h.drained()
	expect(t, h.one("sales", "opera"), object{"orders": 1, "tickets_sold": 2, "revenue": 9000})
	table(t, h.ok("events", "seats", "opera", "--orders"), "SEATS STATE ORDER_ID", "A-1 A-2 sold o1")
	for order, wants := range map[string][]string{
		"o1": {"refund_granted", "number 1, refunds 5.00 EUR, why a pillar, asked for by ann", "refunds 45.00 EUR for stalls: 1 (A-2) at 45.00 EUR", "more_than_paid", "refunds nothing", "50.00 EUR"},
		"o2": {"reason requested, why no show", "refunds nothing", "refunds 10.00 EUR"},
	} {
		shown := h.ok("orders", "show", order)
		for _, want := range wants {
			if !strings.Contains(shown, want) {
				t.Errorf("shown as\n%s\nwithout %q", shown, want)
			}
		}
	}
	h.ok("audit")

	for _, bad := range [][]string{
		{"--amount", "orders", "refund", "o1"},
		{"--item", "orders", "refund", "o1", "--amount", "5", "--item", "section=stalls,seats=A-1"},
		{"--amount", "publish", "--type", "cancel", "--event", "opera", "--order", "o1", "--amount", "5"},
		{"--no-refund", "publish", "--event", "opera", "--customer", "jim", "--no-refund"},
		{"--change", "publish", "--type", "refund", "--event", "opera", "--order", "o1", "--amount", "5"},
	} {
		h.fails(exitUsage, []string{bad[0]}, bad[1:]...)
	}
}

// Whose outcome is not known is said again with its number: without it, more money would be given back.
func TestRefundSaidAgain(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "opera", "--name", "The Opera", "--currency", "EUR", "--section", "balcony=4@45")
	worker := h.worker()
	h.one("publish", "--event", "opera", "--customer", "jim", "--order", "o1", "--token", "t", "--section", "balcony", "--quantity", "1", "--wait")
	h.drained()
	worker.stop()
	h.fails(exitUnknown, []string{"say the same again with --change 1"}, "orders", "refund", "o1", "--amount", "500", "--wait", "--timeout", "300ms")
	h.worker()
	expect(t, h.one("orders", "refund", "o1", "--amount", "500", "--change", "1", "--wait"), object{"change": 1, "refund_total": 500})
}
