package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/console"
	"holdfast/streams/redistest"
)

// overHTTP is whoever calls an API with a key.
type overHTTP struct {
	t   testing.TB
	url string
	key string
}

// serveAPI starts one, and returns its URL.
func (h *holdfast) serveAPI(args ...string) (*running, string) {
	h.t.Helper()
	r := h.background(nil, append([]string{"api", "--listen", "127.0.0.1:0", "-o", "json"}, args...)...)
	eventually(h.t, "the API listens", func() bool { return strings.HasSuffix(r.stdout.String(), "\n") })
	url, _ := decodeLines(h.t, r.stdout.String())[0]["url"].(string)
	return r, url
}

// api starts one, and returns what calls it as the checkout web.
func (h *holdfast) api(args ...string) (*running, *overHTTP) {
	h.t.Helper()
	r, url := h.serveAPI(args...)
	return r, &overHTTP{h.t, url, h.key("--role", "checkout", "--checkout", "web")}
}

// key makes one.
func (h *holdfast) key(args ...string) string {
	h.t.Helper()
	key, _ := h.one(append([]string{"keys", "create"}, args...)...)["key"].(string)
	return key
}

func (c *overHTTP) as(key string) *overHTTP { return &overHTTP{c.t, c.url, key} }

// ask sends a request, and returns the status and the body.
func (c *overHTTP) ask(method, path, body string, headers ...string) (int, string, http.Header) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.key)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, string(text), response.Header
}

// is asks for what must be answered with a status, and an object with these fields, as the document says.
func (c *overHTTP) is(want int, fields object, method, path, body string, headers ...string) object {
	c.t.Helper()
	status, text, header := c.ask(method, path, body, headers...)
	var got object
	if err := json.Unmarshal([]byte(text), &got); err != nil || status != want {
		c.t.Fatalf("%s %s: %d, want %d: %s", method, path, status, want, text)
	}
	asDocumented(c.t, method, path, status, header.Get("Content-Type"), got)
	expect(c.t, got, fields)
	return got
}

func TestOrdersOverHTTP(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.ok("events", "create", "hall", "--name", "Hall", "--currency", "EUR", "--rows", "stalls=A:1-4@10")
	gateway := h.gateway()
	h.worker("--gateway", gateway, "--pay-wait", "100ms")
	_, web := h.api()

	buy := `{"event_id":"e1","customer_id":"fred","quantity":2,"payment_token":"tok_secret"}`
	first := web.is(200, object{"state": "confirmed", "amount": 2000, "currency": "EUR", "customer_id": "fred"}, http.MethodPost, "/v1/orders", buy, "Idempotency-Key", "cart-1", "Prefer", "wait=10")
	web.is(200, object{"state": "confirmed", "order_id": first["order_id"]}, http.MethodPost, "/v1/orders", buy, "Idempotency-Key", "cart-1")
	web.is(422, object{"code": "conflict", "order_id": first["order_id"]}, http.MethodPost, "/v1/orders", strings.Replace(buy, "2,", "3,", 1), "Idempotency-Key", "cart-1")
	// Another key of the same checkout finds the same order; another checkout does not.
	again := web.as(h.key("--role", "checkout", "--checkout", "web"))
	again.is(200, object{"state": "confirmed", "order_id": first["order_id"]}, http.MethodPost, "/v1/orders", buy, "Idempotency-Key", "cart-1")
	other := web.as(h.key("--role", "checkout", "--checkout", "app"))
	if got := other.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders", buy, "Idempotency-Key", "cart-1", "Prefer", "wait=10"); got["order_id"] == first["order_id"] {
		t.Errorf("two checkouts have one order: %v", got)
	}
	web.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/orders", buy)
	web.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/orders", strings.Replace(buy, "{", `{"order_id":"o",`, 1), "Idempotency-Key", "x")

	// A rejection is an outcome, too.
	web.is(200, object{"state": "rejected", "reason": "sold_out"}, http.MethodPost, "/v1/orders", `{"event_id":"e1","order_id":"many","customer_id":"amy","quantity":99,"payment_token":"tok_secret"}`, "Prefer", "wait=10")
	web.is(200, object{"state": "rejected", "reason": "sold_out"}, http.MethodGet, "/v1/orders/e1/many", "")

	// Hold, pay in two attempts, and give back.
	web.is(200, object{"state": "held"}, http.MethodPost, "/v1/orders", `{"type":"hold","event_id":"hall","order_id":"h1","customer_id":"amy","section":"stalls","seats":["A-1","A-2"]}`, "Prefer", "wait=10")
	web.is(200, object{"state": "held"}, http.MethodGet, "/v1/orders/hall/h1?wait=10", "")
	web.is(200, object{"state": "held", "payment": "declined", "attempt": 1}, http.MethodPost, "/v1/orders/hall/h1/pay", `{"payment_token":"decline_1"}`, "Prefer", "wait=10")
	web.is(200, object{"state": "confirmed", "attempt": 2, "items": []any{object{"section": "stalls", "quantity": 2, "seats": []any{"A-1", "A-2"}, "unit_price": 1000, "amount": 2000, "allocation": "public"}}},
		http.MethodPost, "/v1/orders/hall/h1/pay", `{"payment_token":"tok_secret","attempt":2}`, "Prefer", "wait=10")
	web.is(200, object{"state": "confirmed", "change": 1, "amount": 1000, "refund_total": 1000}, http.MethodPost, "/v1/orders/hall/h1/cancel", `{"change":1,"items":[{"section":"stalls","seats":["A-1"]}]}`, "Prefer", "wait=10")
	web.is(200, object{"change": 2, "change_refusal": "not_in_order"}, http.MethodPost, "/v1/orders/hall/h1/cancel", `{"change":2,"items":[{"section":"stalls","seats":["A-1"]}]}`, "Prefer", "wait=10")
	web.is(200, object{"change": 3}, http.MethodPost, "/v1/orders/hall/h1/change", `{"change":3,"items":[{"section":"stalls","seats":["A-3"]}],"reason":"a pillar"}`, "Prefer", "wait=10")
	if sheet := h.ok("orders", "show", "hall/h1"); !strings.Contains(sheet, "why a pillar, asked for by web") {
		t.Errorf("the history does not say who exchanged, and why:\n%s", sheet)
	}
	web.is(200, object{"state": "cancelled", "reason": "requested"}, http.MethodPost, "/v1/orders/hall/h1/cancel", `{"reason":"ill"}`, "Prefer", "wait=10")
	if said := h.ok("orders", "show", "hall/h1"); !strings.Contains(said, "why ill, asked for by web") {
		t.Errorf("who asked for it is not told:\n%s", said)
	}

	// What is set aside is told.
	aside := web.is(409, object{"code": "set_aside", "order_id": "none"}, http.MethodPost, "/v1/orders/e1/none/pay", `{"payment_token":"tok_secret"}`, "Prefer", "wait=10")
	if aside["dead_id"] == "" {
		t.Errorf("%v", aside)
	}
	web.is(409, object{"code": "set_aside", "dead_id": aside["dead_id"]}, http.MethodGet, "/v1/orders/e1/none", "")
	web.is(404, object{"code": "not_found"}, http.MethodGet, "/v1/orders/e1/unheard-of", "")

	// What is published is found by its receipt.
	waiting := web.is(202, object{"state": "waiting", "order_id": "r1"}, http.MethodPost, "/v1/orders", `{"event_id":"e1","order_id":"r1","customer_id":"bob","quantity":1,"payment_token":"tok_secret"}`)
	receipt, _ := waiting["receipt"].(string)
	web.is(200, object{"state": "confirmed"}, http.MethodGet, "/v1/orders/e1/r1?wait=10&receipt="+receipt, "")
	web.is(422, object{"code": "invalid"}, http.MethodGet, "/v1/orders/e1/r1?receipt=x", "")
	web.is(200, object{"state": "confirmed"}, http.MethodGet, "/v1/orders/e1/r1?wait=10", "")

	h.drained()
	web.is(200, object{"available": 95, "name": "Name of e1"}, http.MethodGet, "/v1/events/e1", "")
	_, text, header := web.ask(http.MethodGet, "/v1/events/hall/seats", "")
	if !strings.Contains(text, `{"seat":"A-1","state":"free"}`) {
		t.Errorf("seats: %s", text)
	}
	if status, body, _ := web.ask(http.MethodGet, "/v1/events/hall/seats", "", "If-None-Match", header.Get("ETag")); status != http.StatusNotModified || body != "" {
		t.Errorf("the same again: %d %q", status, body)
	}
	web.is(404, object{"code": "not_found", "event_id": "e9"}, http.MethodGet, "/v1/events/e9", "")

	// Customers and sales.
	token, _ := web.is(201, object{}, http.MethodPost, "/v1/customers/fred/tokens", "")["token"].(string)
	fred := web.as(token)
	page := fred.is(200, object{}, http.MethodGet, "/v1/customers/fred/purchases?limit=1", "")
	if list := page["purchases"].([]any); len(list) != 1 || page["next"] == nil {
		t.Errorf("the first page: %v", page)
	}
	rest := fred.is(200, object{}, http.MethodGet, fmt.Sprintf("/v1/customers/fred/purchases?limit=1&cursor=%v", page["next"]), "")
	if list := rest["purchases"].([]any); len(list) != 1 || list[0].(object)["order_id"] != first["order_id"] || rest["next"] != nil {
		t.Errorf("the second page: %v", rest)
	}
	fred.is(403, object{"code": "denied"}, http.MethodGet, "/v1/customers/amy/purchases", "")
	sales := web.as(h.key("--role", "sales", "--name", "ann"))
	sales.is(200, object{"next": "e1", "events": []any{object{
		"event_id": "e1", "name": "Name of e1", "currency": "EUR", "orders": 3, "tickets_sold": 5, "revenue": 5000,
		"sections": []any{object{"section": "general", "allocation": "public", "price": 1000, "capacity": 100, "available": 95, "held": 0, "sold": 5, "blocked": 0}},
		"refused":  []any{object{"section": "general", "allocation": "public", "reason": "sold_out", "places": 99}},
	}}}, http.MethodGet, "/v1/sales?limit=1", "")
	if _, text, _ := sales.ask(http.MethodGet, "/v1/sales", "", "Accept", "text/csv"); !strings.Contains(text, "\ne1,Name of e1,EUR,general,public,1000,100,95,0,5,0,99\n") {
		t.Errorf("CSV: %s", text)
	}
	expect(t, h.one("audit", "--gateway", gateway), object{"ok": true})
}

// Places of an allocation go to who has a code, which is in no answer and no log.
func TestAllocationsOverHTTP(t *testing.T) {
	t.Parallel()
	h := start(t)
	codes := filepath.Join(t.TempDir(), "codes")
	if err := os.WriteFile(codes, []byte("sesame-4711\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.ok("events", "create", "show", "--code-key-file", key, "--name", "Show", "--currency", "EUR", "--section", "general=10@10", "--allocation", "fans=general:4", "--codes", "fans="+codes)
	h.worker("--code-key-file", key)
	running, web := h.api("--log-level", "debug")
	order := func(id, more string) string {
		return `{"event_id":"show","order_id":"` + id + `","customer_id":"` + id + `","quantity":2,"payment_token":"t"` + more + `}`
	}
	web.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders", order("o1", ""), "Prefer", "wait=10")
	web.is(200, object{"state": "rejected"}, http.MethodPost, "/v1/orders", order("o2", `,"allocation":"fans"`), "Prefer", "wait=10")
	refused := web.is(200, object{"state": "rejected"}, http.MethodPost, "/v1/orders", order("o3", `,"allocation":"fans","access_code":"sesame-0815"`), "Prefer", "wait=10")
	taken := web.is(200, object{"state": "confirmed", "items": []any{object{"section": "general", "allocation": "fans", "quantity": 2, "unit_price": 1000, "amount": 2000}}},
		http.MethodPost, "/v1/orders", order("o4", `,"allocation":"fans","access_code":"sesame-4711"`), "Prefer", "wait=10")
	left := web.is(200, object{"available": 4, "sections": []any{
		object{"section": "general", "allocation": "public", "kind": "counted", "price": 1000, "capacity": 6, "available": 4},
		object{"section": "general", "allocation": "fans", "kind": "counted", "price": 1000, "capacity": 4, "available": 2},
	}}, http.MethodGet, "/v1/events/show", "")
	for _, said := range []string{asJSON(t, refused), asJSON(t, taken), asJSON(t, left), running.stderr.String()} {
		if strings.Contains(said, "sesame") {
			t.Errorf("a code is said: %s", said)
		}
	}
}

// A key that is revoked lets nobody in a second later.
func TestRevokedOverHTTP(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	_, web := h.api()
	made := h.one("keys", "create", "--role", "checkout", "--checkout", "app", "--event", "e1", "--by", "ann")
	app := web.as(made["key"].(string))
	app.is(200, object{}, http.MethodGet, "/v1/events/e1", "")
	app.is(403, object{"code": "denied"}, http.MethodGet, "/v1/events/e2", "")
	token, _ := app.is(201, object{}, http.MethodPost, "/v1/customers/fred/tokens", "")["token"].(string)
	fred := web.as(token)
	fred.is(200, object{}, http.MethodGet, "/v1/events/e1", "")
	id, _ := made["key_id"].(string)
	eventually(t, "that it was used is noted", func() bool {
		web.is(200, object{}, http.MethodGet, "/v1/events", "") // a look at the keys now and then
		for _, k := range h.json("keys", "list") {
			if k["key_id"] == id {
				expect(t, k, object{"role": "checkout", "name": "app", "by": "ann", "events": []any{"e1"}})
				return k["used"] != 0.0
			}
		}
		return false
	})
	h.fails(exitUsage, []string{"the id"}, "keys", "revoke", app.key)
	h.ok("keys", "revoke", id)
	eventually(t, "nobody gets in", func() bool {
		status, _, _ := app.ask(http.MethodGet, "/v1/events/e1", "")
		return status == http.StatusUnauthorized
	})
	fred.is(401, object{"code": "unauthenticated"}, http.MethodGet, "/v1/events/e1", "")
	h.fails(exitFailed, []string{"not found"}, "keys", "revoke", id)
	h.fails(exitUsage, []string{"--checkout"}, "keys", "create", "--role", "checkout", "--name", "x")
	h.fails(exitUsage, []string{"--name"}, "keys", "create", "--role", "sre")
}

// Clients that mean no good get an answer that repeats nothing, or none; and others are served meanwhile.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	running, web := h.api("--log-level", "debug", "--metrics", "127.0.0.1:0")
	const secret = "tok-visa-4242-4242"
	for _, c := range []struct {
		status int
		body   string
	}{
		{400, `{"payment_token":"` + secret},
		{400, secret},
		{400, `{"quantity":` + secret + `}`},
		{422, `"` + secret + `"`},
		{422, `["` + secret + `"]`},
		{422, `{"` + secret + `":1}`},
		{422, `{"event_id":"` + secret + `","order_id":"o","customer_id":"c","quantity":"` + secret + `"}`},
		{422, `{"event_id":"e1","order_id":"o","customer_id":["` + secret + `"],"quantity":1}`},
		{422, `{"event_id":"e1","order_id":"o","customer_id":"` + secret + ` ","quantity":1}`},
		{422, `{"event_id":"e1","order_id":"o","customer_id":"c","quantity":1,"type":"` + secret + `"}`},
		{422, `{"event_id":"e1","order_id":"o","customer_id":"c","quantity":1,"payment_token":"` + secret + `\u0000"}`},
		{422, `{"event_id":"e1","order_id":"o","customer_id":"c","items":[{"section":"` + secret + ` ","quantity":1}]}`},
		{422, `{"event_id":"e1","order_id":"o","customer_id":"c","quantity":99999999999999999999}`},
		{413, `{"payment_token":"` + strings.Repeat(secret, 200<<10/len(secret)) + `"}`},
	} {
		status, text, header := web.ask(http.MethodPost, "/v1/orders", c.body)
		if status != c.status || header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.80s: %d, want %d: %s", c.body, status, c.status, text)
		}
		if strings.Contains(text, secret) {
			t.Errorf("%.80s: it is repeated: %s", c.body, text)
		}
	}
	if status, _, _ := web.ask(http.MethodPost, "/v1/orders", "{}", "Content-Type", "text/plain"); status != http.StatusUnsupportedMediaType {
		t.Errorf("another media type: %d", status)
	}
	if status, _, _ := web.ask(http.MethodGet, "/v1/events", "", "X-Large", strings.Repeat("x", 64<<10)); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large headers: %d", status)
	}
	web.is(404, object{"code": "not_found"}, http.MethodGet, "/v1/orders/e1/../../x", "")
	web.is(422, object{"code": "invalid"}, http.MethodGet, "/v1/orders/e1/"+strings.Repeat("x", 200), "")
	web.is(405, object{"code": "method_not_allowed"}, http.MethodDelete, "/v1/orders", "")

	// More than anybody could mean is not even read to its end.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.url+"/v1/orders", strings.NewReader(strings.Repeat(" ", 10<<20)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+web.key)
	if response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request); err == nil {
		if response.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("10 MB: %d", response.StatusCode)
		}
		_ = response.Body.Close()
	}

	// Slow ones are dropped: in the middle of the headers, and of the body.
	address := strings.TrimPrefix(web.url, "http://")
	for _, begun := range []string{
		"POST /v1/orders HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + web.key + "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + web.key + "\r\nContent-Length: 100000\r\n\r\n{",
	} {
		slow, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = slow.Close() }()
		if _, err := io.WriteString(slow, begun); err != nil {
			t.Fatal(err)
		}
		web.is(200, object{}, http.MethodGet, "/v1/events", "")
		if err := slow.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, slow); err != nil {
			t.Errorf("%.40q is not dropped: %v", begun, err)
		}
	}
	for _, said := range []string{running.stderr.String(), running.stdout.String()} {
		for _, hidden := range []string{secret, web.key} {
			if strings.Contains(said, hidden) {
				t.Errorf("the log has %s", hidden)
			}
		}
	}
	if status, _, _ := web.ask(http.MethodGet, "/readyz", ""); status != http.StatusOK {
		t.Errorf("ready: %d", status)
	}
	metrics := ""
	for _, line := range decodeLines(t, running.stderr.String()) {
		if line["msg"] == "metrics are served" {
			metrics, _ = line["at"].(string)
		}
	}
	values := scrape(t, "http://"+metrics)
	if n := values[`holdfast_api_requests_total{operation="order",status="4xx"}`]; n < 14 {
		t.Errorf("%v requests are counted as refused", n)
	}
	if code := running.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
}

// Whoever waits when the end is asked for is told what is known, at once; and longer than a body may take can be waited.
func TestAPIEnds(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	running, web := h.api()
	answered := make(chan string, 1)
	began := time.Now()
	go func() {
		status, text, _ := web.ask(http.MethodPost, "/v1/orders", `{"event_id":"e1","order_id":"o1","customer_id":"c","quantity":1}`, "Prefer", "wait=18")
		answered <- fmt.Sprint(status, " ", text)
	}()
	eventually(t, "its request is there", func() bool {
		return strings.Contains(h.ok("pending", "explain", "e1/o1"), "wait")
	})
	eventually(t, "more time has passed than a body may take", func() bool { return time.Since(began) > 6*time.Second })
	select {
	case early := <-answered:
		t.Fatalf("after %s: %s", time.Since(began), early)
	default:
	}
	if code := running.stop(); code != exitDone {
		t.Errorf("exit %d:\n%s", code, running.stderr.String())
	}
	if said := <-answered; !strings.HasPrefix(said, "202 ") || !strings.Contains(said, `"state":"waiting"`) {
		t.Errorf("it was told %s", said)
	}
}

// Where Redis is away, that is said, and nothing of where it is.
func TestAPIWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	h := &holdfast{t: t, server: server}
	h.event("e1")
	_, web := h.api("--log-level", "error")
	web.is(200, object{}, http.MethodGet, "/v1/events/e1", "")
	server.Kill()
	eventually(t, "it is noticed", func() bool {
		status, text, _ := web.ask(http.MethodGet, "/v1/events", "")
		if strings.Contains(text, "127.0.0.1") {
			t.Errorf("it says %s", text)
		}
		return status == http.StatusServiceUnavailable
	})
	if status, _, header := web.ask(http.MethodPost, "/v1/orders", `{"event_id":"e1","order_id":"o","customer_id":"c","quantity":1}`); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("an order: %d %v", status, header)
	}
	if status, _, _ := web.ask(http.MethodGet, "/readyz", ""); status != http.StatusServiceUnavailable {
		t.Errorf("ready: %d", status)
	}
	if status, _, _ := web.ask(http.MethodGet, "/livez", ""); status != http.StatusOK {
		t.Errorf("alive: %d", status)
	}
}

func TestAPIUsage(t *testing.T) {
	redis := "redis://" + closedPort(t)
	missing := t.TempDir() + "/none.pem"
	for _, args := range [][]string{
		{"--listen", "x"}, {"--rate", "0"}, {"--max-wait", "0s"}, {"--tls-cert", missing}, {"--tls-cert", missing, "--tls-key", missing},
	} {
		if r := execute(nil, append([]string{"api", "--redis", redis}, args...)...); r.code != exitUsage || !strings.Contains(r.stderr, strings.TrimPrefix(args[0], "--")) {
			t.Errorf("%v: exit %d: %s", args, r.code, r.stderr)
		}
	}
}

func TestAPIWithTLS(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	h := &holdfast{t: t, server: server}
	h.event("e1")
	authority := redistest.NewAuthority(t)
	files := authority.Issue(time.Now().Add(time.Hour), "127.0.0.1")
	_, web := h.api("--tls-cert", files.File, "--tls-key", files.Key)
	secure, err := tlsFiles{"--redis", authority.File, "", ""}.config()
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: secure}}
	ask := func(url string) int {
		response, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode
	}
	if status := ask(web.url + "/livez"); status != http.StatusOK || !strings.HasPrefix(web.url, "https://") {
		t.Errorf("%s: %d", web.url, status)
	}
	if status := ask(strings.Replace(web.url, "https://", "http://", 1) + "/livez"); status != http.StatusBadRequest {
		t.Errorf("without TLS: %d", status)
	}
}

// The pages are there with --console alone; then for everybody, as strict as can be, and nothing of the API has become something else.
func TestConsole(t *testing.T) {
	h := start(t)
	h.event("e1")
	_, without := h.api()
	for _, path := range []string{"/", "/console/", "/console/index.js", "/my"} {
		without.is(404, object{"code": "not_found"}, http.MethodGet, path, "")
	}
	_, with := h.api("--console")
	nobody := with.as("")
	for path, kind := range map[string]string{
		"/console/": "text/html; charset=utf-8", "/my": "text/html; charset=utf-8", "/console/index.js": "text/javascript; charset=utf-8",
		"/console/common.css": "text/css; charset=utf-8", "/console/icon.svg": "image/svg+xml",
	} {
		code, body, header := nobody.ask(http.MethodGet, path, "")
		if code != 200 || body == "" || header.Get("Content-Type") != kind || header.Get("Content-Security-Policy") != console.Policy ||
			header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Cache-Control") != "no-cache" || header.Get("ETag") == "" {
			t.Errorf("%s: %d %v", path, code, header)
		}
		if code, body, _ := nobody.ask(http.MethodGet, path, "", "If-None-Match", header.Get("ETag")); code != 304 || body != "" {
			t.Errorf("%s again: %d %s", path, code, body)
		}
		if strings.HasPrefix(kind, "text/html") && (strings.Contains(body, "style=") || strings.Contains(body, "<style") || !strings.Contains(body, "<script type=\"module\" crossorigin src=\"/console/")) {
			t.Errorf("%s has something inline: %s", path, body)
		}
	}
	if code, body, header := nobody.ask(http.MethodGet, "/console/../console/none.js", ""); code != 404 || header.Get("Content-Security-Policy") != console.Policy {
		t.Errorf("what is not there: %d %s", code, body)
	}
	nobody.is(401, object{"code": "unauthenticated"}, http.MethodGet, "/v1/self", "")
	with.is(200, object{"role": "checkout", "name": "web"}, http.MethodGet, "/v1/self", "")
	with.is(404, object{"code": "not_found"}, http.MethodGet, "/v1/console", "")
}

// Orders are found by what people know of them.
func TestFindOrdersOverHTTP(t *testing.T) {
	h := start(t)
	h.event("e1")
	h.event("e2")
	h.worker()
	_, web := h.api()
	for _, order := range []string{"e1/o1/fred", "e2/o1/amy", "e1/o2/fred"} {
		part := strings.Split(order, "/")
		web.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders",
			fmt.Sprintf(`{"event_id":%q,"order_id":%q,"customer_id":%q,"quantity":2,"payment_token":"tok_1"}`, part[0], part[1], part[2]), "Prefer", "wait=15")
	}
	sre := web.as(h.key("--role", "sre", "--name", "ops"))
	found := func(query string) (names string) {
		for _, o := range sre.is(200, object{}, http.MethodGet, "/v1/orders"+query, "")["items"].([]any) {
			order, _ := o.(object)
			names += fmt.Sprint(order["event_id"], "/", order["order_id"], " ")
		}
		return names
	}
	for query, want := range map[string]string{
		"": "e1/o2 e2/o1 e1/o1 ", "?event=e1": "e1/o2 e1/o1 ", "?order_id=o1": "e1/o1 e2/o1 ", "?order_id=none": "", "?state=held": "", "?state=confirmed&limit=1": "e1/o2 ",
		"?event=e2&customer=amy": "e2/o1 ", "?customer=fred": "e1/o2 e1/o1 ",
	} {
		eventually(t, query, func() bool { return found(query) == want })
	}
	sre.is(422, object{"code": "invalid"}, http.MethodGet, "/v1/orders?order_id=o1&event=e1", "")
	sre.is(422, object{"code": "invalid"}, http.MethodGet, "/v1/orders?event=a/b", "")
	sre.is(422, object{"code": "invalid"}, http.MethodGet, "/v1/orders?state=lost", "")
	history, _ := sre.is(200, object{}, http.MethodGet, "/v1/orders/e1/o1/history", "")["items"].([]any)
	story, _ := history[0].(object)["history"].([]any)
	if len(history) != 1 || len(story) != 2 {
		t.Fatalf("history %v", history)
	}
	expect(t, story[1].(object), object{"type": "confirmed"})
	one := web.as(h.key("--role", "sre", "--name", "ops", "--event", "e1"))
	one.is(403, object{"code": "denied"}, http.MethodGet, "/v1/orders", "")
	one.is(403, object{"code": "denied"}, http.MethodGet, "/v1/orders?order_id=o1", "")
	one.is(200, object{}, http.MethodGet, "/v1/orders?event=e1", "")
}
