package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestOrdersFromPurchaseToAudit(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.event("e2")
	h.worker()

	bought := h.one("publish", "--event", "e1", "--customer", "fred", "--quantity", "2", "--order", "o1", "--token", "tok_1", "--unit-price", "1000", "--wait")
	want := object{
		"order_id": "o1", "event_id": "e1", "customer_id": "fred", "section": "general", "quantity": 2,
		"unit_price": 1000, "amount": 2000, "currency": "EUR", "state": "confirmed", "reason": "",
	}
	expect(t, bought, want)
	table(t, h.ok("publish", "--event", "e1", "--customer", "fred", "--quantity", "500", "--token", "tok_1", "--wait"),
		"ORDER_ID EVENT_ID CUSTOMER_ID SECTION QUANTITY AMOUNT STATE REASON HELD_AT RESOLVED_AT")
	expect(t, h.one("publish", "--event", "e1", "--customer", "fred", "--unit-price", "999", "--token", "tok_1", "--wait"),
		object{"state": "rejected", "reason": "price_changed", "amount": 0, "currency": ""})
	receipt := h.one("publish", "--event", "e1", "--customer", "fred", "--quantity", "2", "--order", "o1", "--token", "tok_1", "--unit-price", "1000")
	expect(t, receipt, object{"order_id": "o1", "event_id": "e1"})
	if id, _ := receipt["entry_id"].(string); !strings.Contains(id, "-") {
		t.Errorf("no entry_id: %v", receipt)
	}

	expect(t, h.one("publish", "--type", "hold", "--event", "e2", "--customer", "amy", "--quantity", "3", "--order", "o2", "--hold-seconds", "600", "--wait"),
		object{"state": "held", "amount": 3000, "resolved_at": 0})
	table(t, h.ok("sales"), "EVENT_ID NAME ORDERS TICKETS_SOLD REVENUE AVAILABLE HELD", "e2 Name of e2 0 0 0.00 EUR 97 3")
	expect(t, h.one("publish", "--type", "pay", "--event", "e2", "--order", "o2", "--token", "tok_1", "--wait"), object{"state": "confirmed"})
	expect(t, h.one("publish", "--event", "e2", "--customer", "jim", "--order", "o3", "--token", "decline_me", "--wait"), object{"state": "declined"})

	shown := h.one("orders", "show", "o1")
	expect(t, shown, want)
	history, _ := shown["history"].([]any)
	if len(history) != 2 {
		t.Fatalf("history: %v", shown)
	}
	held, confirmed := history[0].(object), history[1].(object)
	expect(t, held, object{"type": "held", "kind": "purchase", "customer_id": "fred", "quantity": 2, "unit_price": 1000, "at": shown["held_at"], "deadline": shown["deadline"]})
	expect(t, confirmed, object{"type": "confirmed", "at": shown["resolved_at"], "authorization_id": shown["authorization_id"]})
	if _, set := confirmed["reason"]; set || shown["authorization_id"] == "" {
		t.Errorf("what is not set is there, or the other way round: %v", shown)
	}
	table(t, h.ok("orders", "show", "e1/o1"), "order_id o1", "amount 20.00 EUR", "state confirmed", "AT FACT WHAT")
	h.fails(exitFailed, []string{"o9", "not found"}, "orders", "show", "o9")
	h.fails(exitFailed, []string{"e2/o1", "not found"}, "orders", "show", "o1", "--event", "e2")

	if got := len(h.json("orders", "list")); got != 5 {
		t.Errorf("%d orders, want 5", got)
	}
	table(t, h.ok("orders", "list", "--state", "declined"), "ORDER_ID EVENT_ID CUSTOMER_ID SECTION QUANTITY AMOUNT STATE REASON HELD_AT RESOLVED_AT",
		"o3 e2 jim general 1 10.00 EUR declined -")
	if got := h.ok("orders", "list", "--state", "expired", "-o", "json"); got != "" {
		t.Errorf("none in JSON: %q", got)
	}

	h.drained()
	only := h.json("orders", "list", "--event", "e1", "--customer", "fred", "--state", "confirmed")
	if len(only) != 1 {
		t.Fatalf("chosen: %v", only)
	}
	expect(t, only[0], want)
	if _, set := only[0]["history"]; set {
		t.Error("a list with history")
	}
	expect(t, h.one("sales", "e1"), object{"event_id": "e1", "currency": "EUR", "orders": 1, "tickets_sold": 2, "revenue": 2000, "available": 98, "held": 0})
	if got := len(h.json("sales")); got != 2 {
		t.Errorf("%d events in sales, want 2", got)
	}
	h.fails(exitFailed, []string{"nope", "not found"}, "sales", "nope")
	expect(t, h.one("invoices", "fred"), object{
		"customer_id": "fred", "order_id": "o1", "event_id": "e1", "section": "general", "quantity": 2,
		"amount": 2000, "currency": "EUR", "confirmed_at": shown["resolved_at"], "status": "confirmed",
	})
	table(t, h.ok("invoices", "fred"), "CUSTOMER_ID ORDER_ID EVENT_ID SECTION QUANTITY AMOUNT CONFIRMED_AT STATUS", "fred o1 e1 general 2 20.00 EUR")
	if got := h.ok("invoices", "nobody", "-o", "json"); got != "" {
		t.Errorf("no invoices in JSON: %q", got)
	}

	expect(t, h.one("orders", "cancel", "o2", "--wait", "--reason", "bought | by mistake", "--by", "ann"), object{"order_id": "o2", "state": "cancelled", "reason": "requested"})
	expect(t, h.one("orders", "cancel", "o2"), object{"order_id": "o2", "event_id": "e2"})
	expect(t, h.one("orders", "cancel", "early", "--event", "e2", "--wait"), object{"state": "cancelled"})
	h.fails(exitFailed, []string{"o9", "not found"}, "orders", "cancel", "o9")
	history, _ = h.one("orders", "show", "o2")["history"].([]any)
	expect(t, history[len(history)-1].(object), object{"type": "cancelled", "was": "confirmed", "reason": "requested", "why": "bought | by mistake", "by": "ann"})
	wantSaid(t, h.ok("orders", "show", "o2"), "reason requested", "why bought | by mistake", "asked for by ann")

	h.drained()
	expect(t, h.one("audit"), object{"ok": true, "violations": []any{}, "checked": object{"events": 2, "orders": 6, "facts": 13}})
	table(t, h.ok("audit"), "verdict all is well", "payments not checked: no --gateway")
}

// ids are the order_ids of rows in JSON.
func orderIDs(rows []object) (ids []string) {
	for _, row := range rows {
		ids = append(ids, row["order_id"].(string))
	}
	return ids
}

// Orders come by time, whatever partition their events are in, as many as are asked for.
func TestOrdersList(t *testing.T) {
	t.Parallel()
	h := start(t)
	var want []string
	for i := range 4 {
		h.event("e" + count(int64(i)))
	}
	worker := h.worker()
	for i := range 6 {
		want = append(want, "o"+count(int64(i)))
		customer, token := "c"+count(int64(i)), "tok_1"
		switch i {
		case 2, 4:
			customer = "fred"
		case 3, 5:
			customer, token = "fred", "decline_me"
		}
		h.ok("publish", "--event", "e"+count(int64(i%4)), "--customer", customer, "--order", want[i], "--token", token, "--wait")
	}
	h.drained()
	worker.stop()
	list := func(args ...string) []string { return orderIDs(h.json(append([]string{"orders", "list"}, args...)...)) }
	for _, test := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"o5", "o4", "o3", "o2", "o1", "o0"}},
		{[]string{"--oldest-first"}, want},
		{[]string{"--limit", "2"}, []string{"o5", "o4"}},
		{[]string{"--limit", "0", "--oldest-first", "--event", "e1"}, []string{"o1", "o5"}},
		{[]string{"--state", "declined,confirmed", "--limit", "3", "--oldest-first"}, want[:3]},
		{[]string{"--state", "declined", "--state", "held"}, []string{"o5", "o3"}},
		{[]string{"--since", "1h", "--limit", "1"}, want[5:]},
		{[]string{"--since", "2099-01-01T00:00:00Z"}, nil},
		{[]string{"--customer", "fred"}, []string{"o4", "o2"}},
		{[]string{"--customer", "fred", "--oldest-first"}, []string{"o2", "o4"}},
		{[]string{"--customer", "fred", "--all-states"}, []string{"o5", "o4", "o3", "o2"}},
		{[]string{"--customer", "fred", "--state", "declined"}, []string{"o5", "o3"}},
		{[]string{"--customer", "fred", "--state", "confirmed", "--event", "e2"}, []string{"o2"}},
		{[]string{"--customer", "nobody"}, nil},
	} {
		if got := list(test.args...); !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.args, got, test.want)
		}
	}
	text := h.ok("orders", "list", "--limit", "2")
	wantSaid(t, text, "o5", "o4", "(the first 2; there are more: --limit N, 0 for all)\n")
	if strings.Contains(h.ok("orders", "list", "--limit", "6")+h.ok("orders", "list"), "more") {
		t.Error("there is no more")
	}
	wantSaid(t, h.ok("orders", "list", "--customer", "fred", "--limit", "1"), "o4", "--all-states", "the first 1")

	invoices := h.json("invoices", "--all")
	var lines []string
	for _, l := range invoices {
		lines = append(lines, l["customer_id"].(string)+" "+l["order_id"].(string))
	}
	slices.Sort(lines)
	if want := []string{"c0 o0", "c1 o1", "fred o2", "fred o4"}; !slices.Equal(lines, want) {
		t.Errorf("invoices of all: %q, want %q", lines, want)
	}
	if got := orderIDs(h.json("invoices", "fred", "nobody", "c1")); !slices.Equal(got, []string{"o2", "o4", "o1"}) {
		t.Errorf("invoices of several: %q", got)
	}
}

// A table that nobody limits has a hundred rows, and JSON all of them.
func TestLimitOfATable(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	const n = 1203
	for range n {
		if err := rdb.XAdd(context.Background(), &redis.XAddArgs{Stream: "holdfast:{0}:2:dead", Values: []string{"stream", "requests", "group", "purchase", "reason", "r", "fields", "1:a,1:b,"}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(h.ok("dead", "list"), "\n"); got != tableLimit+2 {
		t.Errorf("%d lines", got)
	}
	if got := strings.Count(h.ok("dead", "list", "--limit", "0"), "\n"); got != n+1 {
		t.Errorf("%d lines", got)
	}
	if got := len(h.json("dead", "list")); got != n {
		t.Errorf("%d letters", got)
	}
	if got := len(h.json("dead", "list", "--limit", "7")); got != 7 {
		t.Errorf("%d letters", got)
	}
	if got := h.ok("dead", "list", "--reason", "none", "-o", "json"); got != "" {
		t.Errorf("chosen: %s", got)
	}
	// In bulk, batch by batch.
	if got := len(h.json("dead", "redrive", "--all", "--reason", "r")); got != n {
		t.Errorf("%d redriven", got)
	}
}

func TestOrderAmbiguity(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.event("e2")
	h.worker()
	for _, event := range []string{"e1", "e2"} {
		h.ok("publish", "--type", "hold", "--event", event, "--customer", "c", "--order", "same", "--wait")
	}
	h.fails(exitFailed, []string{"same", "--event", "e1", "e2"}, "orders", "show", "same")
	h.fails(exitFailed, []string{"same", "--event"}, "orders", "cancel", "same")
	expect(t, h.one("orders", "show", "same", "--event", "e2"), object{"event_id": "e2"})
	expect(t, h.one("orders", "show", "e1/same"), object{"event_id": "e1"})

	expect(t, h.one("publish", "--type", "hold", "--event", "never-listed", "--customer", "c", "--order", "lost", "--wait"),
		object{"state": "rejected", "reason": "unknown_event"})
	expect(t, h.one("orders", "show", "lost"), object{"event_id": "never-listed"})
}

func TestAuditFindsViolations(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	expect(t, h.one("audit"), object{"ok": true})

	store := h.store()
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	key := "holdfast:{" + count(int64(store.Partition("e1"))) + "}:2:events"
	places := strings.Split(rdb.HGet(context.Background(), key, "e1/general").Val(), "|") // price, capacity, available, held, sold
	if len(places) != 5 {
		t.Fatalf("the section is %q", places)
	}
	places[2] += "1"
	if err := rdb.HSet(context.Background(), key, "e1/general", strings.Join(places, "|")).Err(); err != nil {
		t.Fatal(err)
	}
	r := h.run("audit", "-o", "json")
	checkFailureInJSON(t, r, exitFailed, "the audit found ", object{"code": "failed"})
	report := decodeLines(t, r.stdout)
	if len(report) != 1 {
		t.Fatalf("report: %q", r.stdout)
	}
	expect(t, report[0], object{"ok": false})
	violation := report[0]["violations"].([]any)[0].(object)
	for _, name := range []string{"invariant", "subject", "detail"} {
		if text, _ := violation[name].(string); text == "" {
			t.Errorf("no %s: %v", name, violation)
		}
	}
	r = h.run("audit")
	table(t, r.stdout, "verdict NOT WELL", "INVARIANT SUBJECT DETAIL")
}

func TestAuditWithGateway(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	gateway := h.background(nil, "gateway", "--listen", "127.0.0.1:0", "-o", "json")
	eventually(t, "the gateway says where it listens", func() bool { return strings.Contains(gateway.stdout.String(), "\n") })
	url, _ := decodeLines(t, gateway.stdout.String())[0]["url"].(string)

	worker := h.worker("--gateway", url)
	expect(t, h.one("publish", "--event", "e1", "--customer", "fred", "--token", "tok_1", "--wait"), object{"state": "confirmed"})
	h.drained()
	expect(t, h.one("audit", "--gateway", url), object{"ok": true})
	table(t, h.ok("audit", "--gateway", url), "verdict all is well", "payments 1 checked")

	// An order that this gateway never heard of must be missed there.
	if code := worker.stop(); code != exitDone {
		t.Fatalf("the worker ended with %d", code)
	}
	h.ok("namespace", "set", "--gateway", "simulator")
	h.worker()
	expect(t, h.one("publish", "--event", "e1", "--customer", "amy", "--token", "tok_1", "--wait"), object{"state": "confirmed"})
	h.drained()
	h.ok("audit")
	if r := h.run("audit", "--gateway", url); r.code != exitFailed || !strings.Contains(r.stdout, "I4") {
		t.Errorf("a payment is missing: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}

	if code := gateway.stop(); code != exitDone {
		t.Errorf("the gateway ended with %d: %s", code, gateway.stderr.String())
	}
	h.fails(exitFailed, []string{"gateway at " + url}, "audit", "--gateway", url)
	none := httptest.NewServer(http.NotFoundHandler())
	defer none.Close()
	h.fails(exitFailed, []string{none.URL, "no /ledger"}, "audit", "--gateway", none.URL)
}

func TestGatewayAddressInUse(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	checkFailure(t, execute(nil, "gateway", "--listen", address), exitFailed, []string{"in use", "--listen"}, nil)
}

// Of a request that still waits its place is told, by its receipt.
func TestOrdersShowInLine(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	var entries []string
	for _, order := range []string{"o1", "o2", "o3"} {
		receipt := h.one("publish", "--event", "e1", "--customer", order, "--order", order, "--token", "tok_1")
		entries = append(entries, receipt["entry_id"].(string))
	}
	h.fails(exitFailed, []string{"e1/o3", "not found"}, "orders", "show", "e1/o3")
	expect(t, h.one("orders", "show", "e1/o3", "--receipt", entries[2]), object{
		"order_id": "o3", "state": "none", "request": object{"entry_id": entries[2], "state": "waiting", "ahead": nil, "at_least": 0, "at_most": 2, "wait_ms": nil},
	})
	table(t, h.ok("orders", "show", "e1/o3", "--receipt", entries[2]), "order_id o3", "state none", "request waiting", "ahead not known, between 0 and 2", "wait not known")
	worker := h.worker("--roles", "maintenance")
	key := "holdfast:{" + count(int64(h.store().Partition("e1"))) + "}:2:pace"
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	eventually(t, "the pace is noted", func() bool { return rdb.LLen(context.Background(), key).Val() > 0 })
	last := h.one("publish", "--event", "e1", "--customer", "o4", "--order", "o4", "--token", "tok_1")["entry_id"].(string)
	expect(t, h.one("orders", "show", "e1/o4", "--receipt", last), object{
		"state": "none", "request": object{"entry_id": last, "state": "waiting", "ahead": 3, "at_least": 3, "at_most": 3, "wait_ms": nil},
	})
	table(t, h.ok("orders", "show", "e1/o4", "--receipt", last), "order_id o4", "request waiting", "ahead about 3", "wait not known")
	if code := worker.stop(); code != exitDone {
		t.Errorf("the worker ended with %d", code)
	}

	h.worker()
	h.drained()
	expect(t, h.one("orders", "show", "e1/o4", "--receipt", last), object{"state": "confirmed", "request": object{"entry_id": last, "state": "left", "ahead": nil, "at_least": 0, "at_most": 0, "wait_ms": nil}})
	table(t, h.ok("orders", "show", "e1/o4", "--receipt", last), "state confirmed", "request left")
	h.fails(exitFailed, []string{"e1/o9", "not found"}, "orders", "show", "e1/o9", "--receipt", last)
	h.fails(exitUsage, []string{"--receipt", "--event"}, "orders", "show", "o4", "--receipt", last)
	h.fails(exitFailed, []string{"no id of an entry"}, "orders", "show", "e1/o4", "--receipt", "cart-4711")
}

// TestOrdersInAttempts goes from a declined card to what the customer does at their bank, as a checkout would.
func TestOrdersInAttempts(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=5@10.00")
	gateway := h.background(nil, "gateway", "--listen", "127.0.0.1:0", "-o", "json")
	eventually(t, "the gateway says where it listens", func() bool { return strings.Contains(gateway.stdout.String(), "\n") })
	url, _ := decodeLines(t, gateway.stdout.String())[0]["url"].(string)
	h.worker("--gateway", url)
	h.ok("publish", "--type", "hold", "--event", "e1", "--customer", "amy", "--order", "o1", "--wait")
	pay := func(attempt string, token string) object {
		return h.one("publish", "--type", "pay", "--event", "e1", "--order", "o1", "--attempt", attempt, "--token", token, "--wait")
	}
	expect(t, pay("1", "decline"), object{"state": "held", "attempt": 1, "payment": "declined"})
	h.fails(exitFailed, []string{"held", "declined"}, "publish", "--type", "pay", "--event", "e1", "--order", "o1", "--token", "decline", "--wait", "--fail-unless-confirmed")
	h.fails(exitFailed, []string{"set aside", "attempt_pending"}, "publish", "--type", "pay", "--event", "e1", "--order", "o1", "--attempt", "3", "--token", "tok", "--wait")
	h.fails(exitFailed, []string{"nothing that its customer has to do"}, "orders", "next-step", "e1/o1", "--gateway", url)
	expect(t, pay("2", "action"), object{"state": "held", "attempt": 2, "payment": "action_required"})
	table(t, h.ok("orders", "show", "o1"), "payment attempt 2 waits for the customer at their bank")
	if step := h.one("orders", "next-step", "o1", "--gateway", url); step["client_secret"] == "" || step["attempt"] != 2.0 {
		t.Errorf("the customer is to do %v", step)
	}
	reply, err := http.Post(url+"/authorizations/holdfast/e1/o1/attempts/2/finish", "application/json", strings.NewReader(`{"outcome":"authorized"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		t.Fatalf("finishing it at the bank: %s", reply.Status)
	}
	expect(t, h.one("publish", "--type", "payment_update", "--event", "e1", "--order", "o1", "--attempt", "2", "--wait"), object{"state": "confirmed", "attempt": 2, "payment": ""})
	history, _ := h.one("orders", "show", "o1")["history"].([]any)
	var facts []string
	for _, fact := range history {
		facts = append(facts, fact.(object)["type"].(string))
	}
	if want := []string{"held", "paying", "payment_declined", "paying", "action_required", "confirmed"}; !slices.Equal(facts, want) {
		t.Errorf("history %v, want %v", facts, want)
	}
	h.drained()
	expect(t, h.one("audit", "--gateway", url), object{"ok": true})
	h.fails(exitUsage, []string{"--attempt"}, "publish", "--type", "hold", "--event", "e1", "--order", "o2", "--customer", "c", "--attempt", "2")
	h.fails(exitUsage, []string{"--attempt", "1 to 9"}, "publish", "--type", "pay", "--event", "e1", "--order", "o2", "--attempt", "10")
}
