package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// asJSON is a value as JSON has it.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestItems: an order of several sections, from the flags to the invoice, and back when it is cancelled.
func TestItems(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "opera", "--name", "The Opera", "--currency", "EUR", "--section", "stalls=10@45", "--section", "balcony=2@30")
	h.worker()
	const items = `[{"allocation":"public","amount":3000,"quantity":1,"section":"balcony","unit_price":3000},{"allocation":"public","amount":9000,"quantity":2,"section":"stalls","unit_price":4500}]`
	order := h.one("publish", "--event", "opera", "--customer", "jim", "--order", "o1", "--token", "t", "--item", "section=stalls,quantity=2", "--item", "section=balcony,quantity=1,unit_price=3000", "--wait")
	expect(t, order, object{"state": "confirmed", "section": "balcony,stalls", "quantity": 3, "unit_price": 0, "amount": 12000})
	if got := asJSON(t, order["items"]); got != items {
		t.Errorf("items %s, want %s", got, items)
	}
	// A retry is the same, whatever the order of its items; another body is not.
	again := h.one("publish", "--event", "opera", "--customer", "jim", "--order", "o1", "--token", "t", "--item", "section=balcony,quantity=1,unit_price=3000", "--item", "section=stalls,quantity=2", "--wait")
	expect(t, again, object{"state": "confirmed", "amount": 12000})
	h.fails(exitFailed, []string{"another request"}, "publish", "--event", "opera", "--customer", "jim", "--order", "o1", "--token", "t", "--item", "section=stalls,quantity=2", "--item", "section=balcony,quantity=1", "--wait")

	refused := execute(strings.NewReader(`{"type":"purchase","event_id":"opera","order_id":"o2","customer_id":"amy","items":[{"section":"stalls","quantity":1},{"section":"balcony","quantity":2}],"payment_token":"t"}`+"\n"),
		"publish", "--file", "-", "--wait", "-o", "json", "--redis", h.url())
	if refused.code != exitDone {
		t.Fatalf("exit %d: %s", refused.code, refused.stderr)
	}
	expect(t, decodeLines(t, refused.stdout)[0], object{"state": "rejected", "reason": "sold_out", "detail": "balcony", "quantity": 3})
	h.drained()

	shown := h.one("orders", "show", "o1")
	history := shown["history"].([]any)
	for _, what := range []any{shown["items"], history[1].(object)["items"], h.one("orders", "list", "--customer", "jim")["items"], h.one("invoices", "jim")["items"]} {
		if got := asJSON(t, what); got != items {
			t.Errorf("items %s, want %s", got, items)
		}
	}
	expect(t, h.one("sales", "opera"), object{"orders": 1, "tickets_sold": 3, "revenue": 12000, "available": 9})
	if table := h.ok("orders", "show", "o1"); !strings.Contains(table, "balcony: 1 at 30.00 EUR") || !strings.Contains(table, "stalls: 2 at 45.00 EUR") {
		t.Errorf("shown as\n%s", table)
	}
	if table := h.ok("invoices", "jim"); !strings.Contains(table, "balcony,stalls") {
		t.Errorf("shown as\n%s", table)
	}
	h.ok("orders", "cancel", "o1", "--wait")
	h.drained()
	expect(t, h.one("sales", "opera"), object{"orders": 0, "tickets_sold": 0, "revenue": 0, "available": 12})
	h.ok("audit")
}

func TestItemsMalformed(t *testing.T) {
	t.Parallel()
	h := start(t)
	for _, test := range []struct {
		flags []string
		said  string
	}{
		{[]string{"--item", "stalls"}, "want section=NAME,quantity=N"},
		{[]string{"--item", "section=stalls"}, "quantity is missing"},
		{[]string{"--item", "section=stalls,quantity=2,quantity=3"}, "want section=NAME,quantity=N"},
		{[]string{"--item", "section=stalls,quantity=x"}, "want a whole number"},
		{[]string{"--item", "section=stalls,quantity=0"}, "--item: quantity: want a whole number from 1 to 1000000"},
		{[]string{"--item", "section=stalls,quantity=1", "--item", "section=stalls,quantity=2"}, "--item: section: is that of another item"},
		{[]string{"--item", "section=stalls,quantity=1", "--quantity", "2"}, "--item: not with --section, --allocation, --quantity, --seats, --adjacent or --unit-price"},
		{[]string{"--item", "section=stalls,quantity=1", "--type", "pay"}, "--item does not go with --type pay"},
		{[]string{"--item", "section=stalls,seats=A-1/A-1"}, "--item: seats: number 2: named twice"},
		{[]string{"--item", "section=stalls,seats=A-1,quantity=1"}, "seats: not with quantity or adjacent"},
		{[]string{"--item", "section=stalls,seats=A-1,adjacent=true"}, "seats: not with quantity or adjacent"},
		{[]string{"--item", "section=stalls,quantity=1,adjacent=no"}, "adjacent: want true or false"},
		{[]string{"--item", "section=stalls,quantity=1", "--seats", "A-1"}, "--item: not with --section"},
		{[]string{"--seats", "A-1,A"}, "--seats: number 2: want ROW-NUMBER, such as A-12"},
		{[]string{"--seats", "A-1,A-1"}, "--seats: number 2: named twice"},
		{[]string{"--seats", "A-1", "--seats", "A-1"}, "--seats: number 2: named twice"},
		{[]string{"--seats", ""}, "--seats: number 1: want ROW-NUMBER, such as A-12"},
		{[]string{"--seats", "A-1", "--no-adjacent"}, "--seats: not with --adjacent"},
		{[]string{"--seats", "A-1", "--quantity", "2"}, "--seats: not with --quantity"},
		{[]string{"--seats", "A-1", "--adjacent=false"}, "--seats: not with --adjacent"},
		{[]string{"--seats", "A-1", "--type", "pay"}, "--seats does not go with --type pay"},
		{[]string{"--adjacent=false", "--type", "pay"}, "--adjacent does not go with --type pay"},
	} {
		args := append([]string{"publish", "--event", "opera", "--order", "o"}, test.flags...)
		if !strings.Contains(strings.Join(test.flags, " "), "--type") {
			args = append(args, "--customer", "jim")
		}
		h.fails(exitUsage, []string{test.said}, args...)
	}
}

// TestLimitAndRefusedDemand: a customer gets no more than the limit over all orders, and what was refused is shown with the sales.
func TestLimitAndRefusedDemand(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "opera", "--name", "The Opera", "--currency", "EUR", "--section", "stalls=10@45", "--section", "balcony=2@30", "--max-per-customer", "3")
	h.worker()
	buy := func(order, customer string, items ...string) object {
		t.Helper()
		args := []string{"publish", "--event", "opera", "--customer", customer, "--order", order, "--token", "t", "--wait"}
		for _, item := range items {
			args = append(args, "--item", item)
		}
		return h.one(args...)
	}
	expect(t, buy("o1", "jim", "section=stalls,quantity=2"), object{"state": "confirmed"})
	expect(t, buy("o2", "jim", "section=stalls,quantity=1", "section=balcony,quantity=1"), object{"state": "rejected", "reason": "over_customer_limit"})
	expect(t, buy("o3", "jim", "section=stalls,quantity=1"), object{"state": "confirmed"})
	expect(t, buy("o4", "amy", "section=balcony,quantity=3"), object{"state": "rejected", "reason": "sold_out"})
	h.ok("orders", "cancel", "o1", "--wait")
	expect(t, buy("o5", "jim", "section=balcony,quantity=2"), object{"state": "confirmed"})
	h.drained()

	sales := h.one("sales", "opera")
	expect(t, sales, object{"orders": 2, "tickets_sold": 3, "refused": 5})
	const places = `[{"allocation":"public","places":1,"reason":"over_customer_limit","section":"stalls"},{"allocation":"public","places":3,"reason":"sold_out","section":"balcony"},` +
		`{"allocation":"public","places":1,"reason":"over_customer_limit","section":"balcony"}]`
	if got := asJSON(t, sales["refused_places"]); got != places {
		t.Errorf("refused %s, want %s", got, places)
	}
	table(t, h.ok("sales", "opera"), "SECTION REASON PLACES", "balcony sold_out 3", "stalls over_customer_limit 1")
	table(t, h.ok("sales"), "EVENT_ID NAME ORDERS TICKETS_SOLD REVENUE AVAILABLE HELD REFUSED", "opera The Opera 2 3 105.00 EUR 9 0 5")

	expect(t, h.one("events", "show", "opera"), object{"max_per_customer": 3})
	h.ok("events", "adjust", "opera", "--max-per-customer", "4")
	h.fails(exitFailed, []string{"max_per_customer: can be changed, but neither added nor taken away"}, "events", "adjust", "opera", "--max-per-customer", "0")
	expect(t, buy("o6", "jim", "section=stalls,quantity=1"), object{"state": "confirmed"})
	h.ok("audit")
}
