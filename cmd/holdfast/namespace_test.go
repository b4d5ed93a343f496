package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/streams"
	"holdfast/streams/redistest"
)

// keys is how many there are in Redis.
func keys(t testing.TB, server *redistest.Server) int64 {
	t.Helper()
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	n, err := rdb.DBSize(context.Background()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func redisDo(t testing.TB, server *redistest.Server, args ...any) {
	t.Helper()
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.Do(context.Background(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

// everything that works on a namespace and does not make one.
var everything = [][]string{
	{"audit"},
	{"sales"},
	{"sales", "e1"},
	{"events", "list"},
	{"events", "show", "e1"},
	{"events", "close", "e1"},
	{"events", "reopen", "e1"},
	{"events", "cancel", "e1", "--reason", "rain", "--yes"},
	{"events", "adjust", "e1", "--name", "E"},
	{"invoices", "fred"},
	{"orders", "list"},
	{"orders", "show", "o1"},
	{"orders", "cancel", "e1/o1"},
	{"pending"},
	{"dead", "list"},
	{"dead", "show", "0:1-1"},
	{"dead", "redrive", "--all"},
	{"dead", "discard", "--all", "--yes"},
	{"publish", "--event", "e1", "--customer", "c", "--wait"},
	{"publish", "--file", "-"},
	{"namespace", "show"},
	{"namespace", "set", "--gateway", "remote"},
}

// Branches are told of where there has ever been another one, and to a program always.
func TestNamespaceBranches(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init", "--partitions", "2")
	ctx := context.Background()
	if branches := h.one("namespace", "show")["branches"].([]any); len(branches) != 2 {
		t.Errorf("branches %v", branches)
	}
	if text := h.ok("namespace", "show"); strings.Contains(text, "BRANCH") {
		t.Errorf("it says\n%s", text)
	}
	worker, err := streams.Open(ctx, h.server.URL(), streams.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = worker.Close() }()
	rdb := redis.NewClient(&redis.Options{Addr: h.server.Addr(), Protocol: 2})
	defer func() { _ = rdb.Close() }()
	if err := rdb.HSet(ctx, "holdfast:meta", "epoch", "another").Err(); err != nil {
		t.Fatal(err)
	}
	if err := worker.Ledger().Accept(ctx, "w|1"); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, h.ok("namespace", "show"), "PARTITION", "w|1")
	branches := h.one("namespace", "show")["branches"].([]any)
	if len(branches) != 4 {
		t.Fatalf("branches %v", branches)
	}
	is, was := branches[0].(object), branches[1].(object)
	expect(t, is, object{"partition": 0, "current": true, "worker": "w|1", "parent": was["branch"], "knew": was["branch"], "common_position": ""})
	expect(t, was, object{"partition": 0, "current": false, "parent": "", "worker": ""})
	expect(t, h.one("audit"), object{"ok": true})
}

// A mistyped namespace is no empty one: nothing is well there, and nothing is made.
func TestNoSuchNamespace(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	before := keys(t, h.server)
	for _, args := range everything {
		h.fails(exitFailed, []string{"no such namespace: typo", "holdfast init --namespace typo"}, append(args, "--namespace", "typo")...)
	}
	for _, args := range everything {
		if r := h.run(append(args, "--namespace", "typo", "-o", "json")...); r.code != exitFailed || !strings.Contains(r.stderr, `"code":"no_such_namespace"`) {
			t.Errorf("%v: exit %d: %s", args, r.code, r.stderr)
		}
	}
	if after := keys(t, h.server); after != before {
		t.Errorf("%d keys, then %d", before, after)
	}
	h.fails(exitFailed, []string{"no such namespace", "nothing of it is there"},
		"init", "--namespace", "typo", "--restore-meta", "--partitions", "4", "--payment-names", "plain")
	if after := keys(t, h.server); after != before {
		t.Errorf("%d keys, then %d", before, after)
	}
}

// Those who make a namespace where nothing is say so.
func TestWhoMakesANamespace(t *testing.T) {
	t.Parallel()
	h := start(t)
	create := []string{"events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=1@1"}
	if got := h.ok(append(create, "--namespace", "a")...); !strings.Contains(got, "namespace a created, with 4 partitions: nothing of it was there\nevent e1 created; ") {
		t.Errorf("it says %q", got)
	}
	if got := h.ok(append(create, "--namespace", "a")...); strings.Contains(got, "namespace") {
		t.Errorf("it says %q", got)
	}
	expect(t, h.one(append(create, "--namespace", "b")...), object{"event_id": "e1", "created": true, "namespace_created": true})
	expect(t, h.one(append(create, "--namespace", "b")...), object{"event_id": "e1", "created": false, "namespace_created": false})
	worker := h.worker("--namespace", "c")
	if log := worker.stderr.String(); !strings.Contains(log, `"msg":"namespace created","namespace":"c","partitions":4,"payment_names":"namespaced"`) {
		t.Errorf("the log does not say so:\n%s", log)
	}
	expect(t, h.one("namespace", "show", "--namespace", "c"), object{"gateway": "simulator", "partitions": 4})
}

// Partitions without a meta are refused by everybody, with their number; whoever knows
// what it was writes it again.
func TestMetaLost(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init", "--partitions", "8")
	h.event("e1")
	redisDo(t, h.server, "DEL", "holdfast:meta")
	before := keys(t, h.server)
	found := []string{"found partitions 0 to 7 of namespace holdfast, but no holdfast:meta", "holdfast init --restore-meta --partitions N"}
	for _, args := range append(everything, []string{"init"}, []string{"init", "--partitions", "8"},
		[]string{"events", "create", "e2", "--name", "E", "--currency", "EUR", "--section", "general=1@1"},
		[]string{"worker", "--gateway", "simulator"}, []string{"worker", "--roles", "posting"}) {
		h.fails(exitFailed, found, args...)
	}
	if r := h.run("sales", "-o", "json"); !strings.Contains(r.stderr, `"code":"namespace_damaged"`) {
		t.Errorf("it says %s", r.stderr)
	}
	h.fails(exitFailed, []string{"found partitions 0 to 7", "so it had not 4"}, "init", "--restore-meta", "--partitions", "4", "--payment-names", "namespaced")
	if after := keys(t, h.server); after != before {
		t.Errorf("%d keys, then %d", before, after)
	}
	expect(t, h.one("init", "--restore-meta", "--partitions", "8", "--payment-names", "plain"),
		object{"partitions": 8, "payment_names": "plain", "free_orders": "gateway", "gateway": "", "created": true})
	expect(t, h.one("audit"), object{"ok": true, "checked": object{"events": 1, "orders": 0, "facts": 1}})
	// Again, after a reply that was lost: harmless, unless it says something else.
	expect(t, h.one("init", "--restore-meta", "--partitions", "8", "--payment-names", "plain"), object{"created": false})
	h.fails(exitFailed, []string{"8 partitions"}, "init", "--restore-meta", "--partitions", "4", "--payment-names", "plain")
}

// The meta is lost while a worker runs: it does not guess, but stops and says what it found.
func TestMetaLostUnderAWorker(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init", "--partitions", "8")
	h.event("e1")
	worker := h.worker()
	expect(t, h.one("publish", "--event", "e1", "--customer", "fred", "--wait"), object{"state": "confirmed"})
	h.drained()
	redisDo(t, h.server, "DEL", "holdfast:meta")
	if code := worker.wait(); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{"found partitions 0 to 7 of namespace holdfast, but no holdfast:meta", "holdfast init --restore-meta"} {
		if log := worker.stderr.String(); !strings.Contains(log, want) {
			t.Errorf("it does not say %q:\n%s", want, log)
		}
	}
}

// The first worker says which kind of gateway serves a namespace. A worker of another kind
// does not start, and those that run stop when it is changed.
func TestOneKindOfGateway(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	remote := h.worker("--gateway", "http://"+closedPort(t))
	expect(t, h.one("namespace", "show"), object{"gateway": "remote"})
	h.fails(exitFailed, []string{"served by a payment gateway of kind remote, and this worker has one of kind simulator", "holdfast namespace set --gateway"},
		"worker", "--gateway", "simulator", "--log-level", "error")
	// One that calls no gateway needs none.
	posting := h.background(nil, "worker", "--roles", "posting,maintenance")
	eventually(t, "it works", func() bool { return strings.Contains(posting.stderr.String(), `"worker started"`) })
	if log := posting.stderr.String(); !strings.Contains(log, `"gateway":"none"`) || strings.Contains(log, "simulated") {
		t.Errorf("log:\n%s", log)
	}

	h.ok("namespace", "set", "--gateway", "simulator")
	if code := remote.wait(); code != exitFailed || !strings.Contains(remote.stderr.String(), "served by a payment gateway of kind simulator") {
		t.Errorf("exit %d:\n%s", code, remote.stderr.String())
	}
	h.worker()
	if code := posting.stop(); code != exitDone {
		t.Errorf("it calls no gateway, and ended with %d:\n%s", code, posting.stderr.String())
	}
}

// Where as many requests wait as may, whoever publishes is told so, and nothing is published.
func TestMaxWaiting(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	expect(t, h.one("namespace", "show"), object{"max_waiting": 0.0})
	for value, want := range map[string]string{"-1": "--max-waiting: want 0", "some": "--max-waiting", "1.5": "--max-waiting", "99999999999999999999": "--max-waiting"} {
		h.fails(exitUsage, []string{want}, "namespace", "set", "--max-waiting="+value)
	}
	h.fails(exitUsage, []string{"--max-waiting"}, "namespace", "set")
	if got := h.ok("namespace", "set", "--max-waiting", "2"); !strings.Contains(got, "max_waiting") {
		t.Errorf("it says %q", got)
	}
	expect(t, h.one("namespace", "show"), object{"max_waiting": 2.0})

	publish := func(order string) []string {
		return []string{"publish", "--event", "e1", "--customer", order, "--order", order, "--token", "tok_secret"}
	}
	h.ok(publish("o1")...)
	lines := ""
	for _, order := range []string{"o2", "o3", "o4"} {
		lines += `{"type":"purchase","event_id":"e1","customer_id":"` + order + `","quantity":1,"payment_token":"t","order_id":"` + order + `"}` + "\n"
	}
	r := execute(strings.NewReader(lines), "publish", "--file", "-", "-o", "json", "--redis", h.url())
	if published := decodeLines(t, r.stdout); r.code != exitFailed || len(published) != 1 || published[0]["order_id"] != "o2" {
		t.Errorf("exit %d:\n%s", r.code, r.stdout)
	}
	errs := decodeLines(t, r.stderr)
	if len(errs) != 2 {
		t.Fatalf("errors:\n%s", r.stderr)
	}
	for i, order := range []string{"o3", "o4"} {
		expect(t, errs[i], object{"code": "busy", "order_id": order, "event_id": "e1", "line": float64(i + 2)})
	}
	h.fails(exitFailed, []string{"order e1/o3: not published", "busy", "as many requests wait as may (2)"}, publish("o3")...)

	// What was accepted is sold, what was told busy is not, and comes again.
	h.worker()
	h.drained()
	expect(t, h.one(append(publish("o3"), "--wait")...), object{"state": "confirmed"})
	if orders := h.json("orders", "list"); len(orders) != 3 {
		t.Errorf("%d orders, want 3", len(orders))
	}
	h.ok("namespace", "set", "--max-waiting", "0")
	expect(t, h.one("namespace", "show"), object{"max_waiting": 0.0})
}

// Two namespaces at one gateway sell the same order of the same event to two customers: each
// pays, or not, for their own.
func TestTwoNamespacesAtOneGateway(t *testing.T) {
	t.Parallel()
	h := start(t)
	gateway := h.background(nil, "gateway", "--listen", "127.0.0.1:0", "-o", "json")
	eventually(t, "the gateway says where it listens", func() bool { return strings.Contains(gateway.stdout.String(), "\n") })
	url, _ := decodeLines(t, gateway.stdout.String())[0]["url"].(string)
	h.ok("init", "--namespace", "old", "--payment-names", "plain") // as if made by a program of before
	namespaces := []string{"old", "spring", "autumn"}
	for _, ns := range namespaces {
		h.ok("events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=100@10.00", "--namespace", ns)
		h.worker("--gateway", url, "--namespace", ns)
	}
	buy := func(ns, order, customer, token, want string) {
		t.Helper()
		expect(t, h.one("publish", "--event", "e1", "--order", order, "--customer", customer, "--token", token, "--wait", "--namespace", ns), object{"state": want})
	}
	buy("old", "o1", "fred", "tok_1", "confirmed")
	buy("spring", "o1", "amy", "decline_1", "declined")
	buy("autumn", "o1", "jim", "tok_1", "confirmed")
	buy("spring", "o2", "amy", "decline_1", "declined")
	buy("old", "o2", "fred", "tok_1", "confirmed")
	buy("autumn", "o2", "jim", "tok_1", "confirmed")
	settled := func(ns string) {
		t.Helper()
		eventually(t, "all is settled in "+ns, func() bool {
			for _, group := range h.json("pending", "--namespace", ns) {
				if group["backlog"] != 0.0 {
					return false
				}
			}
			return true
		})
	}
	settled("autumn") // what is cancelled before it was captured is only voided
	h.ok("orders", "cancel", "e1/o2", "--wait", "--namespace", "autumn")
	statuses := func() (found []string) {
		rows := map[string]string{}
		for _, ns := range namespaces {
			settled(ns)
		}
		for _, line := range ledgerOf(t, url) {
			namespace, _ := line["namespace"].(string)
			rows[fmt.Sprint(namespace, " ", line["order_id"])] = fmt.Sprint(line["status"])
		}
		for _, name := range []string{" o1", "spring o1", "autumn o1", " o2", "spring o2", "autumn o2"} {
			found = append(found, rows[name])
		}
		return found
	}
	want := []string{"captured", "declined", "captured", "captured", "declined", "refunded"}
	if got := statuses(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("payments are %v, want %v", got, want)
	}
	for _, ns := range namespaces {
		expect(t, h.one("audit", "--gateway", url, "--namespace", ns), object{"ok": true, "payments": object{"checked": 2, "passed_over": 4}})
		table(t, h.ok("audit", "--gateway", url, "--namespace", ns), "verdict all is well", "payments 2 checked, 4 of other namespaces passed over")
	}
}

// ledgerOf is what a gateway shows of its books.
func ledgerOf(t testing.TB, url string) []object {
	t.Helper()
	response, err := http.Get(url + "/ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return decodeLines(t, string(body))
}
