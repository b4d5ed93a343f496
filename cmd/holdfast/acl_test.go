package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/redistest"
)

// withShippedUsers gives a server the users of deployments/redis/users.acl. It returns a
// command line, and a client, as one of them.
func withShippedUsers(t *testing.T, query string, server *redistest.Server) (as func(user string) *holdfast, client func(user string) *redis.Client) {
	t.Helper()
	file, err := os.ReadFile("../../deployments/redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	rdb := server.Client()
	defer func() { _ = rdb.Close() }()
	lines := strings.Split(strings.TrimSpace(string(file)), "\n")
	slices.Reverse(lines) // the default user is the first, and is off then
	for _, line := range lines {
		args := []any{"ACL", "SETUSER"}
		for _, rule := range strings.Fields(line)[1:] {
			args = append(args, rule)
		}
		if err := rdb.Do(context.Background(), args...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	as = func(user string) *holdfast {
		return &holdfast{t: t, server: server, user: user + ":CHANGE-ME-" + user + "@", query: query}
	}
	client = func(user string) *redis.Client {
		c := redis.NewClient(&redis.Options{Addr: server.Addr(), Protocol: 2, Username: user, Password: "CHANGE-ME-" + user})
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	return as, client
}

// Each of the shipped users can do what it is for, on a server and in a Cluster, and is not refused anything on the way.
func TestShippedUsers(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		testShippedUsers(t, "", redistest.Start(t))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		testShippedUsers(t, "?cluster=true", redistest.StartNode(t))
	})
}

func testShippedUsers(t *testing.T, query string, server *redistest.Server) {
	as, client := withShippedUsers(t, query, server)
	worker, organizer, producer, operator, auditor, viewer := as("worker"), as("organizer"), as("producer"), as("operator"), as("auditor"), as("viewer")
	for _, reader := range []*holdfast{organizer, operator, auditor, viewer} {
		reader.fails(exitFailed, []string{"no such namespace"}, "sales")
	}
	producer.fails(exitFailed, []string{"no such namespace"}, "publish", "--event", "e1", "--customer", "fred", "--token", "t")
	organizer.event("e1")
	worker.ok("init")
	worker.ok("namespace", "set", "--max-waiting", "1000")
	organizer.ok("events", "create", "hall", "--name", "Hall", "--currency", "EUR", "--rows", "stalls=A:1-4@10")
	organizer.ok("events", "adjust", "hall", "--rows", "boxes=L:1-2@20")
	organizer.ok("events", "seats", "hall")
	organizer.ok("events", "list")
	organizer.ok("sales")
	archive := "file://" + t.TempDir()
	archiving := as("archiver").background(nil, "worker", "--roles", "archive", "--archive", archive, "--archive-every", "50ms", "--snapshot-every", "1s")
	producer.ok("publish", "--event", "e1", "--customer", "kim", "--order", "o0", "--token", "tok_secret")
	deadWorker(t, partitionOf(t, client("admin"), "e1"), client("admin"), "dead", 1)
	if done := operator.one("pending", "claim", "--consumer", "dead", "--reason", "its machine is gone"); done["entries"] != 1.0 {
		t.Errorf("claimed: %v", done)
	}
	working := worker.worker("--pay-wait", "100ms", "--listen", "127.0.0.1:0")
	if got := producer.one("publish", "--event", "e1", "--customer", "fred", "--order", "o1", "--token", "tok_secret", "--wait"); got["state"] != "confirmed" {
		t.Errorf("published: %v", got)
	}
	seated := producer.one("publish", "--event", "hall", "--section", "stalls", "--quantity", "2", "--customer", "fred", "--order", "s1", "--token", "tok_secret", "--wait")
	if got := asJSON(t, seated["items"]); !strings.Contains(got, `"seats":["A-1","A-2"]`) {
		t.Errorf("published: %s", got)
	}
	operator.ok("orders", "cancel", "e1/o1", "--wait")
	// What is set aside is told to who waits, and redriven and discarded with what is told of it.
	pay := []string{"publish", "--type", "pay", "--event", "e1", "--order", "o2", "--token", "tok_secret", "--wait"}
	producer.fails(exitFailed, []string{"set aside", "unknown_order"}, pay...)
	operator.ok("dead", "redrive", "--all")
	producer.fails(exitFailed, []string{"set aside", "unknown_order"}, pay...)
	worker.drained()
	at := listens(t, working)
	eventually(t, "the metrics tell it", func() bool {
		values := scrape(t, at)
		return values["holdfast_redis_up"] == 1 && values[`holdfast_dead_letters{stream="requests"}`] == 2 && sum(values, "holdfast_consumers_alive") == 12
	})
	operator.ok("dead", "discard", "--all", "--yes")
	deadWorker(t, partitionOf(t, client("admin"), "e1"), client("admin"), "gone", 0)
	operator.fails(exitDone, []string{"has nothing in hand"}, "pending", "claim", "--consumer", "gone", "--reason", "its machine is gone")
	operator.ok("pending", "claims")

	// The recipe of the README, for every language that has a client of Redis.
	ctx := context.Background()
	admin, checkout := client("admin"), client("producer")
	if partitions, err := checkout.HGet(ctx, "holdfast:meta", "partitions").Int(); err != nil || partitions != streams.DefaultPartitions {
		t.Errorf("%d partitions, %v", partitions, err)
	}
	p := partitionOf(t, admin, "e1")
	if err := checkout.Do(ctx, "XADD", p+"requests", "NOMKSTREAM", "*", "v", 1, "type", "purchase", "order_id", "cart-4712", "customer_id", "amy",
		"event_id", "e1", "section", "general", "quantity", 3, "payment_token", "tok_visa").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its order is confirmed", func() bool {
		for _, orders := range admin.Keys(ctx, p+"2:orders:*").Val() {
			if strings.Contains(checkout.HGet(ctx, orders, "e1/cart-4712").Val(), "|c2|p|") {
				return true
			}
		}
		return false
	})
	worker.drained()
	receipt, _ := producer.one("publish", "--event", "e1", "--customer", "jim", "--order", "o3", "--token", "tok_secret")["entry_id"].(string)
	inLine := []string{"orders", "show", "e1/o3", "--receipt", receipt}
	eventually(t, "a request is in line no more", func() bool { return strings.Contains(viewer.run(inLine...).stdout, "left") })
	operator.ok(inLine...)
	auditor.ok(inLine...)
	checkoutStore, err := streams.Open(ctx, fmt.Sprintf("redis://producer:CHANGE-ME-producer@%s/0%s", server.Addr(), query), streams.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if in, err := checkoutStore.Checkout().InLine(ctx, checkoutStore.Partition("e1"), receipt); err != nil || in.State != domain.LineLeft {
		t.Errorf("as a checkout it is %+v, %v", in, err)
	}
	if err := checkoutStore.Close(); err != nil {
		t.Error(err)
	}
	worker.drained()
	for _, args := range [][]string{
		{"pending"},
		{"orders", "list"},
		{"orders", "show", "o1"},
		{"invoices", "fred"},
		{"sales"},
		{"events", "list"},
		{"dead", "list"},
		{"audit"},
		{"pending", "explain", "e1/o1"},
		{"pending", "--order", "e1/o1"},
		{"pending", "--idle", "1s"},
		{"pending", "claims"},
		{"dead", "handled"},
		{"workers", "list"},
		{"events", "history", "e1"},
	} {
		operator.ok(args...)
		auditor.ok(args...)
	}
	for _, args := range [][]string{
		{"pending"},
		{"workers", "list"},
		{"orders", "list"},
		{"orders", "show", "o1"},
		{"orders", "show", "e1/cart-4712"},
		{"invoices", "fred"},
		{"sales"},
		{"sales", "e1"},
		{"events", "list"},
		{"events", "show", "e1"},
		{"events", "show", "hall"},
		{"events", "seats", "hall", "--orders"},
		{"events", "history", "hall"},
	} {
		viewer.ok(args...)
	}
	organizer.event("e2")
	organizer.ok("events", "adjust", "e2", "--section", "general=50")
	organizer.ok("events", "close", "e2", "--by", "ann")
	organizer.ok("events", "reopen", "e2", "--by", "ann")
	producer.ok("publish", "--event", "e2", "--customer", "amy", "--order", "sold", "--token", "tok_secret", "--wait")
	producer.ok("publish", "--type", "hold", "--event", "e2", "--customer", "bob", "--order", "held", "--wait")
	// Somebody listens, so that the notices are allowed, too.
	waiting := checkout.Subscribe(ctx, partitionOf(t, admin, "e2")+"2:outcomes:"+admin.HGet(ctx, "holdfast:meta", "epoch").Val())
	defer func() { _ = waiting.Close() }()
	if _, err := waiting.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	organizer.ok("events", "cancel", "e2", "--reason", "ill", "--by", "ann", "--yes", "--wait")
	organizer.ok("events", "show", "e2")
	organizer.ok("events", "history", "e2")
	if _, err := waiting.ReceiveMessage(ctx); err != nil {
		t.Fatal(err)
	}
	monitor := as("monitor")
	monitor.ok("pending")
	monitor.ok("workers", "list")
	wantSaid(t, monitor.check(levelOK, "--ignore", "no_aof"), "all is well")
	operator.check(levelOK, "--ignore", "no_aof", "--forget-replaced")
	if got := decodeLines(t, monitor.run("check", "-o", "json").stdout); len(got) != 1 || !sameJSON(got[0]["not_known"], []any{}) {
		t.Errorf("a monitor does not see all: %v", got)
	}
	eventually(t, "the archiver has archived all, and the monitor sees it", func() bool {
		values := scrape(t, at)
		return sum(values, "holdfast_archive_lag_seconds") == 0 && values[`holdfast_archive_lag_seconds{partition="`+strings.TrimSuffix(strings.TrimPrefix(p, "holdfast:{"), "}:")+`"}`] == 0 &&
			strings.Contains(auditor.ok("audit", "--archive", archive), "segments")
	})
	eventually(t, "the archiver takes snapshots", func() bool { return strings.Contains(archiving.stderr.String(), "took a snapshot of the archive") })
	if code := archiving.stop(); code != exitDone || strings.Contains(archiving.stderr.String(), "NOPERM") {
		t.Errorf("exit %d:\n%s", code, archiving.stderr.String())
	}
	if code := working.stop(); code != exitDone || strings.Contains(working.stderr.String(), "NOPERM") {
		t.Errorf("exit %d:\n%s", code, working.stderr.String())
	}
	refused, err := admin.Do(ctx, "ACL", "LOG").Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range refused {
		if text := fmt.Sprint(entry); !strings.Contains(text, "client|setinfo") { // from Redis 7.2 on, the client introduces itself
			t.Errorf("refused: %s", text)
		}
	}
}

// The API's user may do what checkouts, customers and sales ask of it, and is not refused anything; it can neither make keys nor see a payment token.
func TestShippedAPIUser(t *testing.T) {
	t.Parallel()
	as, client := withShippedUsers(t, "", redistest.Start(t))
	worker, admin := as("worker"), as("admin")
	worker.ok("init")
	as("organizer").event("e1")
	as("organizer").ok("events", "create", "hall", "--name", "Hall", "--currency", "EUR", "--rows", "stalls=A:1-4@10")
	working := worker.worker()
	serving, url := as("api").serveAPI()
	web := &overHTTP{t, url, admin.key("--role", "admin", "--name", "ann")}
	admin.key("--role", "sales", "--name", "bob")
	for _, body := range []string{
		`{"event_id":"e1","order_id":"o1","customer_id":"fred","quantity":2,"payment_token":"tok_secret"}`,
		`{"event_id":"hall","order_id":"o2","customer_id":"fred","section":"stalls","quantity":2,"payment_token":"tok_secret"}`,
	} {
		web.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders", body, "Prefer", "wait=10")
	}
	worker.drained()
	receipt, _ := web.is(202, object{}, http.MethodPost, "/v1/orders", `{"event_id":"e1","order_id":"o3","customer_id":"amy","quantity":2,"payment_token":"tok_secret"}`)["receipt"].(string)
	web.is(200, object{}, http.MethodGet, "/v1/orders/e1/o3?receipt="+receipt, "")
	for _, path := range []string{"/v1/events", "/v1/events/hall", "/v1/events/hall/seats", "/v1/customers/fred/purchases", "/v1/sales", "/v1/orders/hall/o2"} {
		if text := asJSON(t, web.is(200, object{}, http.MethodGet, path, "")); strings.Contains(text, "tok_secret") {
			t.Errorf("%s: %s", path, text)
		}
	}
	eventually(t, "that a key was used is noted", func() bool {
		web.is(200, object{}, http.MethodGet, "/v1/events", "")
		return strings.Count(admin.ok("keys", "list", "-o", "json"), `"used":0`) == 1 // the other one
	})
	for what, r := range map[string]*running{"the API": serving, "the worker": working} {
		if code := r.stop(); code != exitDone || strings.Contains(r.stderr.String(), "NOPERM") {
			t.Errorf("%s: exit %d:\n%s", what, code, r.stderr.String())
		}
	}
	notRefused(t, client("admin"))
	as("api").fails(exitFailed, []string{"NOPERM"}, "keys", "create", "--role", "admin", "--name", "x")
	as("viewer").fails(exitFailed, []string{"NOPERM"}, "keys", "list")
	for _, args := range [][]any{{"XRANGE", "holdfast:{0}:requests", "-", "+"}, {"HSET", "holdfast:api_keys", "a", "b"}, {"HDEL", "holdfast:api_keys", "a"}, {"XRANGE", "holdfast:{0}:2:dead", "-", "+"}} {
		if err := client("api").Do(context.Background(), args...).Err(); !redis.IsPermissionError(err) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// notRefused fails the test if somebody was refused something.
func notRefused(t *testing.T, admin *redis.Client) {
	t.Helper()
	refused, err := admin.Do(context.Background(), "ACL", "LOG").Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range refused {
		if text := fmt.Sprint(entry); !strings.Contains(text, "client|setinfo") { // from Redis 7.2 on, the client introduces itself
			t.Errorf("refused: %s", text)
		}
	}
}

// Organisers and SREs do over HTTP what they do by commands, where the API's user is for staff; and nothing where it is for checkouts.
func TestStaffOverHTTP(t *testing.T) {
	t.Parallel()
	as, client := withShippedUsers(t, "", redistest.Start(t))
	worker, admin := as("worker"), as("admin")
	worker.ok("init")
	working := worker.worker("--pay-wait", "100ms")
	serving, url := as("staff").serveAPI()
	web := &overHTTP{t, url, admin.key("--role", "checkout", "--checkout", "web")}
	ann, sre := web.as(admin.key("--role", "organiser", "--name", "ann")), web.as(admin.key("--role", "sre", "--name", "sam"))

	hall := `{"event_id":"hall","currency":"EUR","name":"Hall","sections":[{"section":"general","price":1000,"capacity":10},{"section":"stalls","price":2000,"rows":"A:1-4"}]}`
	ann.is(201, object{"event_id": "hall", "changed": true}, http.MethodPost, "/v1/events", hall)
	ann.is(200, object{"changed": false}, http.MethodPost, "/v1/events", hall)
	ann.is(409, object{"code": "conflict", "event_id": "hall"}, http.MethodPost, "/v1/events", strings.Replace(hall, "1000", "999", 1))
	ann.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/events", strings.Replace(hall, "EUR", "XXQ", 1))
	ann.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/events/hall/adjust", `{"sections":[{"section":"new","price":1}]}`)
	ann.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/events/hall/adjust", `{"sections":[{"section":"new","price":1,"rows":"?"}]}`)
	ann.is(200, object{"changed": true}, http.MethodPost, "/v1/events/hall/adjust", `{"name":"The Hall","sections":[{"section":"general","capacity":20},{"section":"boxes","price":5000,"rows":"L:1-2"}]}`)
	ann.is(404, object{"code": "not_found"}, http.MethodPost, "/v1/events/none/adjust", `{"name":"x"}`)
	ann.is(200, object{"changed": true}, http.MethodPost, "/v1/events/hall/close", `{"reason":"a pause"}`)
	ann.is(200, object{"changed": false}, http.MethodPost, "/v1/events/hall/close", "")
	ann.is(200, object{"changed": true}, http.MethodPost, "/v1/events/hall/reopen", "")
	eventually(t, "its name is told", func() bool {
		_, text, _ := ann.ask(http.MethodGet, "/v1/events/hall", "")
		return strings.Contains(text, `"name":"The Hall"`) && strings.Contains(text, `"available":26`)
	})

	web.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders", `{"event_id":"hall","order_id":"o1","customer_id":"fred","section":"boxes","quantity":2,"payment_token":"tok_secret"}`, "Prefer", "wait=10")
	letter, _ := web.is(409, object{"code": "set_aside"}, http.MethodPost, "/v1/orders/hall/none/pay", `{"payment_token":"tok_secret"}`, "Prefer", "wait=10")["dead_id"].(string)
	worker.drained()
	sre.is(200, object{}, http.MethodGet, "/v1/pending", "")
	first := func(o object) object { return o["items"].([]any)[0].(object) }
	expect(t, first(sre.is(200, object{}, http.MethodGet, "/v1/workers", "")), object{"alive": true})
	if check := first(sre.is(200, object{}, http.MethodGet, "/v1/check", "")); !strings.Contains(asJSON(t, check["problems"]), "no_aof") {
		t.Errorf("check: %v", check)
	}
	if explained := asJSON(t, sre.is(200, object{}, http.MethodGet, "/v1/pending/hall/o1", "")); !strings.Contains(explained, `"stands":"done"`) {
		t.Errorf("explain: %s", explained)
	}
	for _, path := range []string{"?event=hall", "?order_id=o1", "?customer=fred", "/hall/o1/history"} {
		expect(t, first(sre.is(200, object{}, http.MethodGet, "/v1/orders"+path, "")), object{"order_id": "o1", "state": "confirmed"})
	}
	expect(t, first(sre.is(200, object{}, http.MethodGet, "/v1/dead-letters?reason=unknown_order", "")), object{"dead_id": letter})
	if list := sre.is(200, object{}, http.MethodGet, "/v1/dead-letters?reason=nothing", "")["items"].([]any); len(list) != 0 {
		t.Errorf("dead letters for another reason: %v", list)
	}
	if shown := asJSON(t, sre.is(200, object{}, http.MethodGet, "/v1/dead-letters/"+letter, "")); strings.Contains(shown, "tok_secret") || !strings.Contains(shown, letter) {
		t.Errorf("shown: %s", shown)
	}
	sre.is(404, object{"code": "not_found"}, http.MethodGet, "/v1/dead-letters/0:1-0", "")
	sre.is(422, object{"code": "invalid"}, http.MethodGet, "/v1/dead-letters/nonsense", "")
	redriven := sre.is(200, object{}, http.MethodPost, "/v1/dead-letters/redrive", `{"ids":["`+letter+`","0:1-0"],"reason":"the checkout is mended"}`)
	if done, failed := asJSON(t, redriven["done"]), asJSON(t, redriven["failed"]); !strings.Contains(done, letter) || !strings.Contains(failed, "not_found") {
		t.Errorf("redriven: %s, failed: %s", done, failed)
	}
	expect(t, first(sre.is(200, object{}, http.MethodGet, "/v1/dead-letters/handled", "")), object{"act": "redriven", "dead_id": letter, "by": "sam", "reason": "the checkout is mended"})
	sre.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/dead-letters/discard", `{"ids":["`+letter+`"],"reason":"a\nb"}`)
	eventually(t, "it is back", func() bool {
		list, _ := sre.is(200, object{}, http.MethodGet, "/v1/dead-letters", "")["items"].([]any)
		if len(list) == 1 {
			letter, _ = list[0].(object)["dead_id"].(string)
		}
		return len(list) == 1
	})
	sre.is(200, object{"failed": []any{}}, http.MethodPost, "/v1/dead-letters/discard", `{"ids":["`+letter+`"]}`)
	expect(t, first(sre.is(200, object{}, http.MethodGet, "/v1/dead-letters/handled?limit=1", "")), object{"act": "discarded", "dead_id": letter, "by": "sam"})

	ann.is(200, object{"before": false, "orders_confirmed": 1}, http.MethodPost, "/v1/events/hall/call-off", `{"reason":"ill"}`)
	ann.is(200, object{"before": true, "orders_confirmed": 1}, http.MethodPost, "/v1/events/hall/call-off", `{"reason":"ill"}`)
	web.is(200, object{"state": "cancelled", "reason": "event_cancelled"}, http.MethodGet, "/v1/orders/hall/o1", "")
	if said := admin.ok("events", "show", "hall"); !strings.Contains(said, "ann") || !strings.Contains(said, "ill") {
		t.Errorf("who called it off is not told:\n%s", said)
	}
	worker.drained()
	expect(t, admin.one("audit"), object{"ok": true})
	notRefused(t, client("admin"))
	if found := asJSON(t, sre.is(200, object{}, http.MethodGet, "/v1/doctor", "")); !strings.Contains(found, `"severity":"not_known"`) { // which tries what it may do
		t.Errorf("doctor: %s", found)
	}
	for what, r := range map[string]*running{"the API": serving, "the worker": working} {
		if code := r.stop(); code != exitDone || strings.Contains(r.stderr.String(), "NOPERM") || strings.Contains(r.stderr.String(), "tok_secret") {
			t.Errorf("%s: exit %d:\n%s", what, code, r.stderr.String())
		}
	}
	_, url = as("api").serveAPI()
	outside := &overHTTP{t, url, admin.key("--role", "admin", "--name", "root")}
	outside.is(501, object{"code": "denied"}, http.MethodGet, "/v1/dead-letters", "")
	outside.is(501, object{"code": "denied"}, http.MethodPost, "/v1/events/hall/reopen", "")
}

// A viewer reads no requests and no dead letters, and so no payment token; and writes nothing.
func TestViewerSeesNoToken(t *testing.T) {
	t.Parallel()
	as, client := withShippedUsers(t, "", redistest.Start(t))
	worker, viewer := as("worker"), as("viewer")
	worker.ok("init")
	as("organizer").event("e1")
	// Requests in hand, three times the concurrency; one that waits; one that was set aside.
	inHand := worker.worker("--concurrency", "1", "--simulator-timeout-rate", "1", "--grace", "100ms")
	publish := func(order string) {
		as("producer").ok("publish", "--event", "e1", "--customer", order, "--order", order, "--token", "tok_secret")
	}
	publish("o1")
	eventually(t, "it is in hand", func() bool { return strings.Contains(viewer.ok("orders", "list"), "held") })
	for _, order := range []string{"o2", "o3", "o4"} {
		publish(order)
	}
	eventually(t, "so are all that may be", func() bool { return strings.Count(viewer.ok("orders", "list"), "held") == 3 })
	admin, ctx := client("admin"), context.Background()
	p := partitionOf(t, admin, "e1")
	if err := admin.XAdd(ctx, &redis.XAddArgs{Stream: p + "2:dead", Values: []string{"stream", "requests", "fields", "13:payment_token,10:tok_secret,"}}).Err(); err != nil {
		t.Fatal(err)
	}

	r := viewer.run("pending")
	if r.code != exitDone || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "may not read the requests") {
		t.Errorf("pending: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	var group object
	for _, g := range decodeLines(t, viewer.run("pending", "-o", "json").stdout) {
		if g["group"] == "purchase" && g["backlog"] != 0.0 {
			group = g
		}
	}
	expect(t, group, object{"lag": 1, "pending": 3, "backlog": 4, "unreadable": true})
	expect(t, group["entries"].([]any)[0].(object), object{"order_id": "", "deliveries": 1})
	for _, args := range [][]string{{"dead", "list"}, {"audit"}} {
		viewer.fails(exitFailed, []string{"NOPERM"}, args...)
	}
	viewer.fails(exitFailed, []string{"NOPERM"}, "publish", "--event", "e1", "--customer", "c", "--token", "t")
	viewer.fails(exitFailed, []string{"NOPERM"}, "events", "close", "e1")

	before := dump(t, admin)
	rdb := client("viewer")
	requests, dead := p+"requests", p+"2:dead"
	for _, args := range [][]any{
		{"XRANGE", requests, "-", "+"},
		{"XREVRANGE", requests, "+", "-"},
		{"XREAD", "STREAMS", requests, "0"},
		{"XREADGROUP", "GROUP", "purchase", "v", "STREAMS", requests, ">"},
		{"XAUTOCLAIM", requests, "purchase", "v", 0, "0"},
		{"XCLAIM", requests, "purchase", "v", 0, "1-1"},
		{"XINFO", "STREAM", requests, "FULL"},
		{"DUMP", requests},
		{"COPY", requests, "x"},
		{"XRANGE", dead, "-", "+"},
		{"XREAD", "STREAMS", dead, "0"},
		{"DUMP", dead},
		{"XINFO", "STREAM", dead},
		{"EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')", 1, requests},
		{"EVAL_RO", "return redis.call('XRANGE', KEYS[1], '-', '+')", 1, requests},
		{"EVAL", "return redis.call('HSET', KEYS[1], 'partitions', 1)", 1, "holdfast:meta"},
		{"MONITOR"},
		{"CLIENT", "LIST"},
		{"ACL", "LIST"},
		{"SET", "x", 1},
		{"HSET", "holdfast:meta", "partitions", 1},
		{"DEL", requests},
		{"XADD", requests, "*", "a", "b"},
		{"XACK", requests, "purchase", "1-1"},
		{"XTRIM", requests, "MAXLEN", 0},
		{"XGROUP", "DESTROY", requests, "purchase"},
		{"FLUSHALL"},
		{"CONFIG", "GET", "*"},
		{"SUBSCRIBE", p + "2:outcomes:x"},
		{"HGETALL", p + "2:set_aside"},
	} {
		if reply, err := rdb.Do(ctx, args...).Result(); !redis.IsPermissionError(err) && (err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "can't")) {
			t.Errorf("%v: %v, %v", args, reply, err)
		}
	}
	if after := dump(t, admin); after != before {
		t.Errorf("a viewer has changed something:\n%s\nis now\n%s", before, after)
	}
	if code := inHand.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
}

// A monitor who shall see no payment token is made as the documentation says, and knows all but one age.
func TestMonitorWithoutTokens(t *testing.T) {
	t.Parallel()
	as, client := withShippedUsers(t, "", redistest.Start(t))
	as("worker").ok("init")
	ctx, admin := context.Background(), client("admin")
	list, err := admin.Do(ctx, "ACL", "LIST").StringSlice()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range list {
		if user, rules, _ := strings.Cut(strings.TrimPrefix(line, "user "), " "); user == "monitor" {
			if !strings.Contains(rules, "%R~holdfast:{*}:requests ") {
				t.Fatalf("monitor is %s", rules)
			}
			args := []any{"ACL", "SETUSER", user, "reset"}
			for _, rule := range strings.Fields(strings.Replace(rules[:strings.Index(rules, "(")], "%R~holdfast:{*}:requests ", "", 1)) {
				args = append(args, rule)
			}
			args = append(args, ">CHANGE-ME-monitor", "(+xinfo|groups +xinfo|consumers +xpending +xlen %R~holdfast:{*}:requests)",
				"(+setrange %W~holdfast:{*}:2:probe)")
			if err := admin.Do(ctx, args...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	as("organizer").event("e1")
	as("producer").ok("publish", "--event", "e1", "--customer", "fred", "--token", "tok_secret")
	got := decodeLines(t, as("monitor").run("check", "-o", "json").stdout)
	if len(got) != 1 || len(got[0]["not_known"].([]any)) != 1 || !strings.Contains(fmt.Sprint(got[0]["not_known"]), "since when entries wait for purchase") {
		t.Fatalf("check: %v", got)
	}
	expect(t, got[0]["figures"].(object)["groups"].(object)["purchase"].(object), object{"waiting": 1, "oldest_waiting_ms": 0})
	for _, p := range []string{"0", "1", "2", "3"} {
		if _, err := client("monitor").XRange(ctx, "holdfast:{"+p+"}:requests", "-", "+").Result(); !redis.IsPermissionError(err) {
			t.Errorf("it may read requests: %v", err)
		}
	}
}

// partitionOf is what the keys of an event's partition begin with.
func partitionOf(t *testing.T, rdb *redis.Client, eventID string) string {
	t.Helper()
	ctx := context.Background()
	for _, events := range rdb.Keys(ctx, "holdfast:{*}:2:events").Val() {
		if rdb.HExists(ctx, events, eventID).Val() {
			return strings.TrimSuffix(events, "2:events")
		}
	}
	t.Fatalf("event %s is nowhere", eventID)
	return ""
}

// dump is all keys but those that workers touch all the time.
func dump(t *testing.T, rdb *redis.Client) string {
	t.Helper()
	ctx := context.Background()
	keys, err := rdb.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	var all strings.Builder
	for _, key := range keys {
		if strings.Contains(key, ":turn:") || strings.HasSuffix(key, ":consumers") || key == "holdfast:workers" {
			continue
		}
		if strings.HasSuffix(key, ":requests") || strings.HasSuffix(key, ":log") || strings.HasSuffix(key, ":dead") { // their groups change
			key += " " + strconv.FormatInt(rdb.XLen(ctx, key).Val(), 10)
		} else {
			key += " " + rdb.Dump(ctx, key).Val()
		}
		all.WriteString(key + "\n")
	}
	return all.String()
}
