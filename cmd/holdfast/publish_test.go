package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"holdfast/domain"
)

func TestPublishFile(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	lines := []string{
		`{"type":"purchase","event_id":"e1","order_id":"o1","customer_id":"a","quantity":2,"payment_token":"tok_secret"}`,
		`{"type":"purchase","event_id":"e1","order_id":"o2","customer_id":"b","quantity":"3","unit_price":"1000","section":"general","v":1,"payment_token":"tok_secret"}`,
		``,
		`{"type":"purchase","event_id":"e1","order_id":"o3","customer":"c","quantity":1,"payment_token":"tok_secret"}`,
		`tok_secret`,
		`{"type":"hold","event_id":"e1","customer_id":"d","quantity":1,"section":null}`,
		`{"type":"hold","event_id":"e1","order_id":"` + strings.Repeat("x", maxLineBytes) + `"}`,
		`{"type":"cancel","event_id":"e1","order_id":"o9"}`,
		`{"type":"pay","event_id":"e1","payment_token":"tok_secret"}`,
	}
	file := filepath.Join(t.TempDir(), "requests.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	r := h.run("publish", "--file", file, "-o", "json")
	if r.code != exitFailed {
		t.Errorf("exit %d, want %d", r.code, exitFailed)
	}
	said := decodeLines(t, r.stderr)
	for i, want := range []struct {
		line int
		text string
	}{{4, `line 4: unknown field "customer"`}, {5, "line 5: not JSON"}, {7, "line 7: longer than"}, {9, "line 9: order_id: missing"}} {
		if i >= len(said) {
			break
		}
		expect(t, said[i], object{"line": want.line, "code": "invalid"})
		if text, _ := said[i]["error"].(string); !strings.HasPrefix(text, want.text) {
			t.Errorf("want %q in\n%s", want.text, r.stderr)
		}
	}
	if len(said) != 4 || strings.Contains(r.stderr, "tok_secret") {
		t.Errorf("stderr:\n%s", r.stderr)
	}
	published := decodeLines(t, r.stdout)
	if len(published) != 4 {
		t.Fatalf("published: %v", published)
	}
	expect(t, published[0], object{"order_id": "o1", "event_id": "e1"})
	expect(t, published[1], object{"order_id": "o2"})
	expect(t, published[3], object{"order_id": "o9"})
	if id, _ := published[2]["order_id"].(string); len(id) != 36 {
		t.Errorf("no order_id was made up: %v", published[2])
	}

	h.worker()
	again := execute(strings.NewReader(strings.Join([]string{lines[0], lines[1], lines[7]}, "\n")+"\n"),
		"publish", "--file", "-", "--wait", "-o", "json", "--redis", h.server.URL())
	if again.code != exitDone || again.stderr != "" {
		t.Fatalf("exit %d: %s", again.code, again.stderr)
	}
	states := make(map[any]any)
	for _, o := range decodeLines(t, again.stdout) {
		states[o["order_id"]] = o["state"]
	}
	if len(states) != 3 || states["o1"] != "confirmed" || states["o2"] != "confirmed" || states["o9"] != "cancelled" {
		t.Errorf("outcomes: %v", states)
	}
	h.fails(exitFailed, []string{"--file", "no such file"}, "publish", "--file", file+"x")
}

func TestPublishManyInOneFile(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=2000@1")
	h.worker()
	const orders = 2 * publishBatch
	var file strings.Builder
	for i := range orders {
		fmt.Fprintf(&file, `{"type":"purchase","event_id":"e1","order_id":"o%d","customer_id":"c%d","quantity":1,"payment_token":"t"}`+"\n", i, i)
	}
	r := execute(strings.NewReader(file.String()), "publish", "--file", "-", "--wait", "-o", "json", "--redis", h.server.URL())
	if r.code != exitDone {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	if got := len(decodeLines(t, r.stdout)); got != orders {
		t.Errorf("%d outcomes, want %d", got, orders)
	}
	h.drained()
	expect(t, h.one("sales", "e1"), object{"orders": orders, "available": 0})
}

func TestPublishAsItComes(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	in, write := io.Pipe()
	r := h.background(in, "publish", "--file", "-")
	line := `{"type":"hold","event_id":"e1","customer_id":"a","quantity":1,"order_id":"o%d"}` + "\n"
	for i := range 2 {
		if _, err := fmt.Fprintf(write, line, i); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what came is published before the next comes", func() bool {
			return strings.Contains(r.stdout.String(), fmt.Sprintf("\no%d ", i))
		})
	}
	// Nothing more comes, and nothing ends the read: that must not keep it from ending.
	if code := r.stop(); code != exitFailed || r.stderr.String() != "holdfast: interrupted\n" {
		t.Errorf("exit %d: %s", code, r.stderr.String())
	}
}

func TestPublishStopsWithoutRedis(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	in, write := io.Pipe()
	r := h.background(in, "publish", "--file", "-", "-o", "json")
	line := `{"type":"hold","event_id":"e1","customer_id":"a","quantity":1,"order_id":"o%d"}` + "\n"
	if _, err := fmt.Fprintf(write, line, 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first is published", func() bool { return r.stdout.String() != "" })
	h.server.Kill()
	if _, err := fmt.Fprintf(write, line, 2); err != nil {
		t.Fatal(err)
	}
	if code := r.wait(); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	said := decodeLines(t, r.stderr.String())
	if len(said) != 2 {
		t.Fatalf("stderr: %s", r.stderr.String())
	}
	expect(t, said[0], object{"order_id": "o2", "event_id": "e1", "line": 2})
	for i, want := range []string{"line 2: order e1/o2: not published", "stopped after line 2"} {
		if text, _ := said[i]["error"].(string); !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
}

// What is not known is neither done nor failed.
func TestPublishWithoutOutcome(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	hold := []string{"publish", "--type", "hold", "--event", "e1", "--customer", "c", "--order", "o1", "--wait"}
	h.fails(exitUnknown, []string{"order e1/o1: published, but no outcome within 50ms: no worker with the role purchase is running: ", "same order_id"},
		append(hold, "--timeout", "50ms")...)
	h.failsInJSON(exitUnknown, "order e1/o1: published, but no outcome within 50ms: no worker with the role purchase is running: ",
		object{"code": "outcome_not_known", "order_id": "o1", "event_id": "e1"}, append(hold, "--timeout", "50ms")...)
	h.fails(exitUnknown, []string{"order e1/o1: published, but no outcome"}, "orders", "cancel", "e1/o1", "--wait", "--timeout", "50ms")

	lag := func() (sum float64) {
		for _, group := range h.json("pending") {
			sum += group["lag"].(float64)
		}
		return sum
	}
	before := lag()
	r := h.background(nil, hold...)
	eventually(t, "it is published again", func() bool { return lag() > before })
	if code := r.stop(); code != exitUnknown || !strings.Contains(r.stderr.String(), "order e1/o1: published, but interrupted") {
		t.Errorf("exit %d: %s", code, r.stderr.String())
	}

	// There is one, and its gateway never answers.
	h.worker("--simulator-timeout-rate", "1", "--grace", "100ms")
	r2 := h.run("publish", "--event", "e1", "--customer", "d", "--order", "o2", "--token", "t", "--wait", "--timeout", "300ms")
	if r2.code != exitUnknown || !strings.Contains(r2.stderr, "no outcome within 300ms: publish it again") {
		t.Errorf("exit %d: %s, want nothing said of workers: there is one", r2.code, r2.stderr)
	}
}

// Of several requests, what is not known counts most, then what failed.
func TestPublishMixed(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	worker := h.worker()
	good := `{"type":"hold","event_id":"e1","order_id":"o1","customer_id":"a","quantity":1}`
	bad := `{"type":"hold","event_id":"e1"}`
	publish := func(timeout string, lines ...string) result {
		return execute(strings.NewReader(strings.Join(lines, "\n")), "publish", "--file", "-", "--wait", "--timeout", timeout, "-o", "json", "--redis", h.server.URL())
	}
	if r := publish("30s", good); r.code != exitDone || r.stderr != "" {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	if r := publish("30s", good, bad); r.code != exitFailed || len(decodeLines(t, r.stderr)) != 1 {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	if code := worker.stop(); code != exitDone {
		t.Fatalf("the worker: exit %d", code)
	}
	unheard := `{"type":"hold","event_id":"e1","order_id":"o2","customer_id":"b","quantity":1}`
	if r := publish("1s", good, bad, unheard, bad); r.code != exitUnknown || len(decodeLines(t, r.stderr)) != 3 || len(decodeLines(t, r.stdout)) != 1 {
		t.Errorf("exit %d: %s%s", r.code, r.stderr, r.stdout)
	}
}

func TestPublishFailUnlessConfirmed(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.worker()
	h.fails(exitUsage, []string{"--wait"}, "publish", "--event", "e1", "--customer", "c", "--fail-unless-confirmed")
	publish := func(args ...string) []string {
		return append([]string{"publish", "--event", "e1", "--wait", "--fail-unless-confirmed"}, args...)
	}
	expect(t, h.one(publish("--customer", "amy", "--order", "o1", "--token", "t")...), object{"state": "confirmed"})
	expect(t, h.one(publish("--customer", "jim", "--order", "o2", "--type", "hold")...), object{"state": "held"})
	expect(t, h.one(publish("--order", "o2", "--type", "pay", "--token", "t")...), object{"state": "confirmed"})
	expect(t, h.one(publish("--customer", "jim", "--order", "o2", "--type", "hold")...), object{"state": "confirmed"}) // it was held, and then paid
	expect(t, h.one(publish("--order", "o1", "--type", "cancel")...), object{"state": "cancelled"})

	declined := publish("--customer", "eve", "--order", "o3", "--token", "decline")
	r := h.run(append(declined, "-o", "json")...)
	checkFailureInJSON(t, r, exitFailed, "order e1/o3: declined", object{"code": "declined", "order_id": "o3", "event_id": "e1"})
	expect(t, decodeLines(t, r.stdout)[0], object{"order_id": "o3", "state": "declined"}) // the outcome is printed all the same
	h.fails(exitFailed, []string{"order e1/o3: declined"}, declined...)
	h.failsInJSON(exitFailed, "order e1/o4: rejected: sold_out", object{"code": "sold_out", "order_id": "o4", "event_id": "e1"},
		publish("--customer", "eve", "--order", "o4", "--token", "t", "--quantity", "101")...)
	h.fails(exitFailed, []string{"order e1/o3: declined"}, publish("--order", "o3", "--type", "cancel")...)
	h.failsInJSON(exitFailed, "order e1/o1: conflict: another request came first", object{"code": "conflict", "order_id": "o1", "event_id": "e1"},
		publish("--customer", "eve", "--order", "o1", "--token", "t")...)

	h.ok("publish", "--event", "e1", "--customer", "eve", "--token", "decline", "--wait") // without the flag, any outcome will do
}

// A request that is set aside ends the wait for it, and says so. What becomes of the order is another matter.
func TestPublishSetAside(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.worker("--pay-wait", "100ms")
	pay := []string{"publish", "--type", "pay", "--event", "e1", "--order", "o1", "--token", "t", "--wait"}
	r := h.run(append(pay, "-o", "json")...)
	letters := h.json("dead", "list")
	if len(letters) != 1 {
		t.Fatalf("letters: %v", letters)
	}
	checkFailureInJSON(t, r, exitFailed, "was set aside as dead letter "+letters[0]["dead_id"].(string)+": unknown_order: no hold for it came within 100ms",
		object{"code": "set_aside", "order_id": "o1", "event_id": "e1", "dead_id": letters[0]["dead_id"]})
	h.fails(exitFailed, []string{"order e1/o1: its request", "set aside", "unknown_order", "holdfast dead show 1:"}, pay...)

	h.ok("publish", "--type", "hold", "--event", "e1", "--order", "o1", "--customer", "amy", "--wait")
	expect(t, h.one("dead", "redrive", letters[0]["dead_id"].(string)), object{"dead_id": letters[0]["dead_id"]})
	eventually(t, "it is paid", func() bool { return h.one("orders", "show", "e1/o1")["state"] == "confirmed" })
	h.ok("dead", "discard", "--all", "--yes")
	h.drained()
	h.ok("audit")
}

func TestParseRequestLine(t *testing.T) {
	price := int64(1050)
	got, err := parseRequestLine([]byte(`{"v":"1","type":"purchase","event_id":"e","order_id":7,"customer_id":"c","section":"vip",` +
		`"quantity":2,"payment_token":"t","unit_price":1050,"hold_seconds":60,"valid_seconds":"90","traceparent":null}`))
	if err != nil {
		t.Fatal(err)
	}
	want := domain.Request{
		Type: domain.RequestPurchase, EventID: "e", OrderID: "7", CustomerID: "c", Section: "vip", Quantity: 2,
		PaymentToken: "t", UnitPrice: &price, HoldSeconds: 60, ValidSeconds: 90, Fingerprint: got.Fingerprint,
	}
	if *got.UnitPrice != *want.UnitPrice {
		t.Errorf("unit_price %d", *got.UnitPrice)
	}
	got.UnitPrice = want.UnitPrice
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}

	// Version 1 would pass over these fields, and does not know these types.
	for line, want := range map[string]domain.Request{
		`{"type":"pay","event_id":"e","order_id":"o","attempt":2,"payment_token":"t"}`:                      {Type: domain.RequestPay, Attempt: 2, PaymentToken: "t"},
		`{"type":"payment_update","event_id":"e","order_id":"o"}`:                                           {Type: domain.RequestPaymentUpdate},
		`{"type":"cancel","event_id":"e","order_id":"o","change":3,"items":[{"section":"a","quantity":1}]}`: {Type: domain.RequestCancel, Change: 3},
		`{"type":"change","event_id":"e","order_id":"o","change":4,"items":[{"section":"a","quantity":1}]}`: {Type: domain.RequestChange, Change: 4},
	} {
		got, err := parseRequestLine([]byte(line))
		if err != nil || got.Type != want.Type || got.Attempt != want.Attempt || got.Change != want.Change || got.PaymentToken != want.PaymentToken {
			t.Errorf("%s: %+v, %v, want %+v", line, got, err, want)
		}
	}

	for line, problem := range map[string]string{
		`[]`:               "want a JSON object",
		`"x"`:              "want a JSON object",
		`{`:                "not JSON",
		`{"type":`:         "not JSON",
		`{"type":"hold"`:   "not JSON",
		`{"type":"hold"x`:  "not JSON",
		`{} {}`:            "more than one",
		`{}x`:              "more than one",
		`{"Type":"hold"}`:  `unknown field "Type"`,
		`{"type":["x"]}`:   "type: want a string or a number",
		`{"type":{}}`:      "type: want a string or a number",
		`{"type":true}`:    "type: want a string or a number",
		`{"event_id":"e"}`: "type: missing",
		`{"v":3,"type":"hold","event_id":"e","customer_id":"c","quantity":1}`:                    "v: version not supported",
		`{"type":"hold","event_id":"e","customer_id":"c","quantity":1,"items":[]}`:               "items: not with quantity",
		`{"type":"hold","event_id":"e","customer_id":"c","items":"[]"}`:                          "items: want a JSON array",
		`{"type":"hold","event_id":"e","customer_id":"c","items":[{"section":"a"}]}`:             "items[0]: quantity: missing",
		`{"type":"hold","event_id":"e","customer_id":"c","items":[{]}`:                           "not JSON",
		`{"type":"hold","event_id":"e","customer_id":"c","quantity":1.5}`:                        "quantity",
		`{"type":"hold","event_id":"e","customer_id":"c","quantity":1,"quantity":2}`:             "quantity: given twice",
		`{"type":"hold","event_id":"e","order_id":"","customer_id":"c","quantity":1}`:            "order_id: missing",
		`{"type":"cancel","event_id":"e"}`:                                                       "order_id: missing",
		"{\"type\":\"purchase\",\"event_id\":\"e\",\"payment_token\":\"\xff\"}":                  "not UTF-8",
		`{"type":"purchase","event_id":"e","customer_id":"c","quantity":1,"payment_token":"\n"}`: "payment_token: want printable UTF-8",
	} {
		if _, err := parseRequestLine([]byte(line)); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", line, err, problem)
		}
	}
}

func TestReadJobsReportsBrokenInput(t *testing.T) {
	broken := errors.New("the disk is gone")
	in := io.MultiReader(strings.NewReader("{}\r\n\n"), iotest.ErrReader(broken))
	var got []job
	for j := range readJobs(t.Context(), in) {
		got = append(got, j)
	}
	if len(got) != 2 || got[0].line != 1 || got[0].err == nil || got[1].line != 3 || !errors.Is(got[1].err, broken) {
		t.Errorf("jobs: %+v", got)
	}
}

func TestProgress(t *testing.T) {
	var out strings.Builder
	p := progress{on: true, stderr: &out, what: "published", began: time.Now().Add(-2 * time.Second)}
	p.add(1000)
	p.add(1000) // too soon to be shown
	p.clear()
	p.end()
	if got := out.String(); strings.Count(got, "published") != 2 || !strings.Contains(got, "2000 published, ") || !strings.HasSuffix(got, "/s\n") {
		t.Errorf("progress: %q", got)
	}
	out.Reset()
	p.on = false
	p.add(1)
	p.clear()
	p.end()
	if out.Len() > 0 {
		t.Errorf("no terminal, and yet %q", out.String())
	}
}

func TestPublishTellsReplicas(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	r := h.run("publish", "--type", "hold", "--event", "e1", "--customer", "fred", "--replicas", "1", "--replicas-timeout", "10ms")
	if header, row, _ := strings.Cut(r.stdout, "\n"); r.code != exitDone || !strings.HasSuffix(header, "REPLICAS") || !strings.HasSuffix(strings.TrimSpace(row), " 0") {
		t.Errorf("exit %d: %s%s, want 0 replicas, there are none", r.code, r.stdout, r.stderr)
	}
	for _, wrong := range [][]string{{"--replicas", "-1"}, {"--replicas", "1", "--replicas-timeout", "0s"}} {
		args := append([]string{"publish", "--type", "hold", "--event", "e1", "--customer", "fred"}, wrong...)
		if r := h.run(args...); r.code != exitUsage {
			t.Errorf("%v: exit %d, want %d", wrong, r.code, exitUsage)
		}
	}
}
