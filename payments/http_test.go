package payments

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/domain"
)

// send makes one request to the handler, past every client that could tidy up its path.
func send(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	reply := httptest.NewRecorder()
	h.ServeHTTP(reply, httptest.NewRequest(method, path, strings.NewReader(body)))
	return reply
}

const goodBody = `{"amount":2500,"currency":"EUR","customer_id":"ann","payment_token":"` + testToken + `","loyalty":{"a":[1]}}`

func TestHandlerHTTPStatuses(t *testing.T) {
	h := Handler(New(SimulatorOptions{}))
	declined := strings.Replace(goodBody, testToken, "decline", 1)
	for i, row := range []struct {
		method, path, body string
		wantHTTP           int
		want               domain.PaymentStatus
	}{
		{"PUT", "/authorizations/e/a", goodBody, 200, domain.PaymentStatusAuthorized}, // unknown fields are passed over
		{"GET", "/authorizations/e/a", "", 200, domain.PaymentStatusAuthorized},
		{"POST", "/authorizations/e/a/refund", "", 409, domain.PaymentStatusAuthorized},
		{"POST", "/authorizations/e/a/capture", "", 200, domain.PaymentStatusCaptured},
		{"PUT", "/authorizations/e/a", goodBody, 200, domain.PaymentStatusCaptured},
		{"POST", "/authorizations/e/a/void", "{}", 409, domain.PaymentStatusCaptured},
		{"POST", "/authorizations/e/a/refund", "not read", 200, domain.PaymentStatusRefunded},
		{"PUT", "/authorizations/e/a", goodBody, 409, domain.PaymentStatusRefunded},
		{"POST", "/authorizations/e/a/capture", "", 409, domain.PaymentStatusRefunded},
		{"PUT", "/authorizations/e/b", declined, 402, domain.PaymentStatusDeclined},
		{"GET", "/authorizations/e/b", "", 200, domain.PaymentStatusDeclined},
		{"POST", "/authorizations/e/b/void", "", 200, domain.PaymentStatusDeclined},
		{"POST", "/authorizations/e/c/void", "", 200, domain.PaymentStatusVoided},
		{"PUT", "/authorizations/e/c", goodBody, 409, domain.PaymentStatusVoided},
		{"GET", "/authorizations/e/none", "", 404, ""},
		{"POST", "/authorizations/e/none/capture", "", 404, ""},
		{"POST", "/authorizations/e/none/refund", "", 404, ""},
		{"PUT", "/authorizations/%2E%2E/%2e", goodBody, 200, domain.PaymentStatusAuthorized},
		{"GET", "/authorizations/../.", "", 200, domain.PaymentStatusAuthorized},
		{"PUT", "/authorizations/a+b@c/capture", goodBody, 200, domain.PaymentStatusAuthorized},
		{"GET", "/authorizations/a%2Bb%40c/capture", "", 200, domain.PaymentStatusAuthorized},

		{"PUT", "/authorizations/e/d", "", 400, ""},
		{"PUT", "/authorizations/e/d", `{"amount":`, 400, ""},
		{"PUT", "/authorizations/e/d", `{"amount":1.5,"currency":"EUR"}`, 400, ""},
		{"PUT", "/authorizations/e/d", `{"amount":-1,"currency":"EUR"}`, 400, ""},
		{"PUT", "/authorizations/e/d", `{"currency":"EUR"}`, 400, ""},
		{"PUT", "/authorizations/e/d", `{"amount":1,"currency":"eur"}`, 400, ""},
		{"PUT", "/authorizations/e/d", goodBody + goodBody, 400, ""},
		{"PUT", "/authorizations/e/d", `{"amount":1,"currency":"EUR","x":"` + strings.Repeat("x", maxBodyBytes) + `"}`, 413, ""},
		{"GET", "/authorizations/e/d", "", 404, ""}, // none of these left a trace
		{"PUT", "/authorizations/e/a%2Fb", goodBody, 400, ""},
		{"PUT", "/authorizations/e/a%20b", goodBody, 400, ""},
		{"PUT", "/authorizations/e/", goodBody, 400, ""},
		{"PUT", "/authorizations//e", goodBody, 400, ""},
		{"PUT", "/authorizations/e/" + strings.Repeat("x", 129), goodBody, 400, ""},
		{"POST", "/authorizations/e/a/", "", 400, ""},
		{"POST", "/authorizations/e/a/charge", "", 400, ""},
		{"POST", "/authorizations/e/a/void/x", "", 400, ""},
		{"GET", "/elsewhere/authorizations/e/a", "", 400, ""},
		{"GET", "/", "", 400, ""},
		{"DELETE", "/authorizations/e/a", "", 405, ""},
		{"GET", "/authorizations/e/a/capture", "", 405, ""},
		{"POST", "/ledger", "", 405, ""},
		{"POST", "/healthz", "", 405, ""},
		{"GET", "/healthz", "", 200, ""},
	} {
		reply := send(h, row.method, row.path, row.body)
		name := fmt.Sprintf("%d: %s %.60s", i, row.method, row.path)
		if reply.Code != row.wantHTTP {
			t.Errorf("%s: %d %s, want %d", name, reply.Code, reply.Body, row.wantHTTP)
		}
		if strings.Contains(reply.Body.String(), testToken) {
			t.Errorf("%s: the token is in the reply", name)
		}
		if (reply.Code == 405) != (reply.Header().Get("Allow") != "") {
			t.Errorf("%s: Allow is %q", name, reply.Header().Get("Allow"))
		}
		if row.want == "" {
			continue
		}
		var p wirePayment
		if err := json.Unmarshal(reply.Body.Bytes(), &p); err != nil || p.Status != row.want || p.Amount == nil {
			t.Errorf("%s: %s, want status %s", name, reply.Body, row.want)
		}
		if got := reply.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: content type %q", name, got)
		}
	}
}

func TestHandlerLedger(t *testing.T) {
	sim := New(SimulatorOptions{})
	for i := range 2500 { // more than one stretch of the write deadline
		if _, err := sim.Authorize(context.Background(), request(ref(strconv.Itoa(i)))); err != nil {
			t.Fatal(err)
		}
	}
	reply := send(Handler(sim), "GET", "/ledger", "")
	if got := reply.Header().Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("content type %q", got)
	}
	want := sim.Ledger()
	n := 0
	for scanner := bufio.NewScanner(reply.Body); scanner.Scan(); n++ {
		var line domain.BooksLine
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil || line != want[n] {
			t.Fatalf("line %d: %s, %v", n, scanner.Bytes(), err)
		}
	}
	if n != len(want) {
		t.Errorf("%d lines, want %d", n, len(want))
	}
	if strings.Contains(reply.Body.String(), testToken) {
		t.Error("the token is in the ledger")
	}
}

func TestLostReplyOverHTTP(t *testing.T) {
	ctx := context.Background()
	sim := New(SimulatorOptions{LostReplyRate: 1})
	client := newPair(t, sim, ClientOptions{})
	for _, c := range []call{callAuthorize, callCapture, callRefund, callVoid, callLookup} {
		_, err := invoke(ctx, client, c, ref("a"))
		checkError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) {
			t.Errorf("%s: %v", c, err)
		}
	}
	if line, _ := lineOf(sim.Ledger(), ref("a")); effectsOf(line) != (effects{1, 1, 0, 1}) {
		t.Errorf("ledger line %+v", line)
	}
}

func TestTimeoutOverHTTP(t *testing.T) {
	sim := New(SimulatorOptions{TimeoutRate: 1})
	client := newPair(t, sim, ClientOptions{Timeout: 20 * time.Millisecond})
	for _, c := range allCalls {
		_, err := invoke(context.Background(), client, c, ref("a"))
		checkError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", c, err)
		}
	}
	if lines := sim.Ledger(); len(lines) != 0 {
		t.Errorf("ledger %+v", lines)
	}
	// That the server stops in time shows that it noticed the clients going away.
}

func TestTimeoutEndsIn504(t *testing.T) {
	h := Handler(New(SimulatorOptions{TimeoutRate: 1, HangTime: time.Nanosecond}))
	if reply := send(h, "PUT", "/authorizations/e/a", goodBody); reply.Code != http.StatusGatewayTimeout {
		t.Errorf("%d %s", reply.Code, reply.Body)
	}
}

func TestClientBelowAPathPrefixWithPassword(t *testing.T) {
	sim := New(SimulatorOptions{})
	var user, password string
	server := httptest.NewServer(http.StripPrefix("/pay/v1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
		Handler(sim).ServeHTTP(w, r)
	})))
	t.Cleanup(server.Close)
	client := newTestClient(t, strings.Replace(server.URL, "http://", "http://box:s3cret@", 1)+"/pay/v1/", ClientOptions{})
	r := domain.OrderRef{EventID: "..", OrderID: "."}
	if p, err := client.Authorize(context.Background(), request(r)); err != nil || p.Status != domain.PaymentStatusAuthorized {
		t.Fatalf("%+v, %v", p, err)
	}
	if user != "box" || password != "s3cret" {
		t.Errorf("basic auth %q %q", user, password)
	}
	if lines, err := client.FetchBooks(context.Background()); err != nil || len(lines) != 1 {
		t.Errorf("%v, %v", lines, err)
	}
}

func TestNewClientRefusesBadURLs(t *testing.T) {
	for _, bad := range []string{
		"", "simulator", "localhost:8080", "ftp://host", "http://", "http://:80", "http://host/?a=b", "http://host/?", "http://host/#x",
		"http://user:hunter2 @host", "http://user:hunter2@host:port", "http://host/%zz", "/path",
	} {
		_, err := NewClient(bad, ClientOptions{})
		if err == nil {
			t.Errorf("%q is taken for a gateway URL", bad)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in the error %q", err)
		}
	}
}

// answering is a client of a gateway that gives every request the same answer.
func answering(t *testing.T, options ClientOptions, answer http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return newTestClient(t, server.URL, options)
}

// Every reply to every call: what the contract knows, and a lot that it does not.
func TestClientUnderstandsReplies(t *testing.T) {
	const (
		u  = "unknown"
		no = "refused"
		nf = "not found"
	)
	body := func(status string) string {
		return `{"authorization_id":"auth-1","status":"` + status + `","amount":2500,"more":true}`
	}
	withID := func(id string) string {
		quoted, _ := json.Marshal(id)
		return `{"authorization_id":` + string(quoted) + `,"status":"captured","amount":2500}`
	}
	all := func(want string) [5]string { return [5]string{want, want, want, want, want} }
	for _, row := range []struct {
		status int
		body   string
		want   [5]string // of authorize, look up, capture, void, refund
	}{
		{200, body("authorized"), [5]string{"authorized", "authorized", u, u, u}},
		{200, body("declined"), [5]string{"declined", "declined", u, "declined", u}},
		{200, body("captured"), [5]string{"captured", "captured", "captured", "captured", u}},
		{200, body("voided"), [5]string{"voided", "voided", u, "voided", u}},
		{200, body("refunded"), [5]string{"refunded", "refunded", u, "refunded", "refunded"}},
		{200, `{"status":"voided"}`, [5]string{"voided", "voided", u, "voided", u}},
		{200, `{"status":"declined"}`, [5]string{"declined", "declined", u, "declined", u}},
		{402, "", [5]string{"declined", u, no, u, no}},
		{402, "<html>", [5]string{"declined", u, no, u, no}},
		{402, body("declined"), [5]string{"declined", u, no, u, no}},
		{402, body("authorized"), [5]string{u, u, no, u, no}},
		{402, body("captured"), [5]string{u, u, u, u, no}},
		{404, "", [5]string{u, nf, nf, u, nf}},
		{404, body("captured"), [5]string{u, nf, nf, u, nf}},
		{409, "", [5]string{"voided", u, no, "captured", no}},
		{409, "conflict", [5]string{"voided", u, no, "captured", no}},
		{409, body("voided"), [5]string{"voided", u, no, "voided", no}},
		{409, body("refunded"), [5]string{"refunded", u, no, "refunded", u}},
		{409, body("captured"), [5]string{u, u, u, "captured", no}},
		{409, body("authorized"), [5]string{u, u, no, u, no}},
		{409, body("declined"), [5]string{u, u, no, "declined", no}},

		{200, withID(strings.Repeat("x", 128)), [5]string{"captured", "captured", "captured", "captured", u}},
		{200, withID("!~"), [5]string{"captured", "captured", "captured", "captured", u}},
		{200, withID(strings.Repeat("x", 129)), all(u)},
		{200, withID(""), all(u)},
		{200, withID("a|b"), all(u)},
		{200, withID("a b"), all(u)},
		{200, withID("a\nb"), all(u)},
		{200, withID("a\x7f"), all(u)},
		{200, withID("é"), all(u)},
		{200, `{"authorization_id":"a","status":"voided`, all(u)},
		{200, `{"authorization_id":"a","status":"pending","amount":1}`, all(u)},
		{200, `{"authorization_id":"a","status":"Captured","amount":1}`, all(u)},
		{200, `{"authorization_id":"a","amount":1}`, all(u)},
		{200, `{"authorization_id":"a","status":"captured"}`, all(u)},
		{200, `{"authorization_id":"a","status":"captured","amount":null}`, all(u)},
		{200, `{"authorization_id":"a","status":"captured","amount":-1}`, all(u)},
		{200, `{"authorization_id":"a","status":"captured","amount":1.5}`, all(u)},
		{200, `{"authorization_id":"a","status":"captured","amount":"1"}`, all(u)},
		{200, `{"authorization_id":"a","status":"captured","amount":9007199254740992}`, all(u)},
		{200, `{"authorization_id":7,"status":"captured","amount":1}`, all(u)},
		{200, body("captured") + body("captured"), all(u)},
		{200, "", all(u)},
		{200, "null", all(u)},
		{200, "[]", all(u)},
		{200, "<html>It works!</html>", all(u)},
		{200, `{"x":"` + strings.Repeat("x", maxBodyBytes) + `"}`, all(u)},
		{402, strings.Repeat("x", maxBodyBytes+1), all(u)},
		{201, body("captured"), all(u)},
		{202, body("captured"), all(u)},
		{204, "", all(u)},
		{302, body("captured"), all(u)},
		{307, "", all(u)},
		{400, `{"error":"` + testToken + `"}`, all(u)},
		{401, "", all(u)},
		{403, "", all(u)},
		{408, "", all(u)},
		{410, "", all(u)},
		{422, testToken, all(u)},
		{429, "", all(u)},
		{500, body("captured"), all(u)},
		{502, "<html>", all(u)},
		{503, "", all(u)},
		{504, "", all(u)},
		{999, "", all(u)},
	} {
		followed := false
		client := answering(t, ClientOptions{}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/followed" {
				followed = true
			}
			if row.status/100 == 3 {
				w.Header().Set("Location", "/followed?"+testToken)
			}
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, row.body)
		})
		for i, c := range allCalls {
			p, err := invoke(context.Background(), client, c, ref("a"))
			checkError(t, err)
			got := string(p.Status)
			switch {
			case errors.Is(err, domain.ErrNotFound):
				got = nf
			case errors.Is(err, domain.ErrRefused):
				got = no
			case errors.Is(err, domain.ErrUnknownOutcome):
				got = u
			}
			if got != row.want[i] {
				t.Errorf("%s answered with %d %.70s: %s (%v), want %s", c, row.status, row.body, got, err, row.want[i])
			}
			if err != nil && p != (domain.Payment{}) {
				t.Errorf("%s answered with %d %.70s: a payment came with the error: %+v", c, row.status, row.body, p)
			}
		}
		if followed {
			t.Errorf("%d: the redirect was followed", row.status)
		}
	}
}

// rawGateway answers the first request of each connection with these bytes, and hangs up if asked to.
func rawGateway(t *testing.T, reply string, hangUp bool) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = buffered.WriteString(reply)
		_ = buffered.Flush()
		if !hangUp {
			_, _ = io.Copy(io.Discard, conn) // until the client goes away
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestClientSurvivesBrokenConnections(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, row := range map[string]struct {
		reply   string
		hangUp  bool
		timeout time.Duration
	}{
		"nothing":                {"", true, hangTestTimeout},
		"no HTTP, but the token": {testToken + "\r\n\r\n", true, hangTestTimeout},
		"a status line alone":    {ok, true, hangTestTimeout},
		"a body cut short":       {ok + "Content-Length: 100\r\n\r\n{\"status\":\"voided\"}", true, hangTestTimeout},
		"a chunk cut short":      {ok + "Transfer-Encoding: chunked\r\n\r\n13\r\n{\"status\":\"voided\"}", true, hangTestTimeout},
		"a body that stalls":     {ok + "Content-Length: 100\r\n\r\n{\"status\"", false, 20 * time.Millisecond},
		"silence":                {"", false, 20 * time.Millisecond},
		"another protocol":       {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", false, hangTestTimeout},
		"a header without end":   {ok + "X: " + strings.Repeat("x", 2*maxBodyBytes), true, hangTestTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			client := newTestClient(t, rawGateway(t, row.reply, row.hangUp), ClientOptions{Timeout: row.timeout})
			for _, c := range allCalls {
				_, err := invoke(context.Background(), client, c, ref("a"))
				checkError(t, err)
				if !errors.Is(err, domain.ErrUnknownOutcome) {
					t.Errorf("%s: %v", c, err)
				}
			}
		})
	}
}

func TestClientWithoutAGateway(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // a port where nobody listens
	client := newTestClient(t, server.URL, ClientOptions{})
	for _, c := range allCalls {
		_, err := invoke(context.Background(), client, c, ref("a"))
		checkError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) {
			t.Errorf("%s: %v", c, err)
		}
	}
}

func TestClientSendsTheContract(t *testing.T) {
	type seen struct {
		method, uri, contentType string
		body                     map[string]any
	}
	var got seen
	client := answering(t, ClientOptions{}, func(_ http.ResponseWriter, r *http.Request) {
		got = seen{method: r.Method, uri: r.RequestURI, contentType: r.Header.Get("Content-Type")}
		_ = json.NewDecoder(r.Body).Decode(&got.body)
	})
	r := domain.OrderRef{EventID: "..", OrderID: "a+b@c.d"}
	for c, want := range map[call]string{
		callAuthorize: "PUT /authorizations/%2E%2E/a+b@c.d", callLookup: "GET /authorizations/%2E%2E/a+b@c.d",
		callCapture: "POST /authorizations/%2E%2E/a+b@c.d/capture", callVoid: "POST /authorizations/%2E%2E/a+b@c.d/void",
		callRefund: "POST /authorizations/%2E%2E/a+b@c.d/refund",
	} {
		_, _ = invoke(context.Background(), client, c, r)
		if got.method+" "+got.uri != want {
			t.Errorf("%s sends %s %s, want %s", c, got.method, got.uri, want)
		}
		if c != callAuthorize {
			continue
		}
		wantBody := map[string]any{"amount": 2500.0, "currency": "EUR", "customer_id": "ann@example.org", "payment_token": testToken}
		if fmt.Sprint(got.body) != fmt.Sprint(wantBody) || got.contentType != "application/json" {
			t.Errorf("body %v of type %s", got.body, got.contentType)
		}
	}
}

// Calls reuse connections, also after refusals and errors, and never hold more than they may.
func TestClientConnections(t *testing.T) {
	const maxConns = 4
	var opened atomic.Int64
	h := Handler(New(SimulatorOptions{}))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "broken") {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, strings.Repeat("x", maxBodyBytes/2))
			return
		}
		h.ServeHTTP(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client := newTestClient(t, server.URL, ClientOptions{MaxConns: maxConns})
	var running sync.WaitGroup
	for i := range 16 {
		running.Go(func() {
			for j := range 10 {
				r := ref(fmt.Sprintf("%d-%d", i, j))
				_, _ = client.Lookup(context.Background(), r)             // 404
				_, _ = client.Lookup(context.Background(), ref("broken")) // 500
				if _, err := client.Authorize(context.Background(), request(r)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if n := opened.Load(); n > maxConns {
		t.Errorf("%d connections opened, want %d at most", n, maxConns)
	}
}

func TestFetchLedgerErrors(t *testing.T) {
	const line = `{"event_id":"e","order_id":"o","status":"captured","captured":5}` + "\n"
	for name, row := range map[string]struct {
		status   int
		body     string
		limit    int64
		want     int // lines
		notFound bool
	}{
		"fine":                  {200, line + "\n" + line, 1 << 20, 2, false},
		"no newline at the end": {200, strings.TrimSpace(line), 1 << 20, 1, false},
		"empty":                 {200, "", 1 << 20, 0, false},
		"none":                  {404, "", 1 << 20, -1, true},
		"broken gateway":        {500, line, 1 << 20, -1, false},
		"redirect":              {302, line, 1 << 20, -1, false},
		"not JSON":              {200, line + "<html>\n", 1 << 20, -1, false},
		"cut within a line":     {200, line + line[:20], 1 << 20, -1, false},
		"no order":              {200, `{"event_id":"e"}`, 1 << 20, -1, false},
		"a line without end":    {200, strings.Repeat("x", maxLedgerLineBytes+1), 1 << 20, -1, false},
		"too many bytes":        {200, strings.Repeat(line, 10), int64(len(line)*5 + 3), -1, false},
	} {
		client := answering(t, ClientOptions{}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, row.body)
		})
		client.maxLedgerBytes = row.limit
		lines, err := client.FetchBooks(context.Background())
		if (err == nil) != (row.want >= 0) || errors.Is(err, domain.ErrNotFound) != row.notFound || err == nil && len(lines) != row.want {
			t.Errorf("%s: %d lines, %v", name, len(lines), err)
		}
		if err != nil && lines != nil {
			t.Errorf("%s: part of a ledger came with the error", name)
		}
	}
	cut := newTestClient(t, rawGateway(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+
		strconv.FormatInt(int64(len(line)), 16)+"\r\n"+line+"\r\n", true), ClientOptions{})
	if lines, err := cut.FetchBooks(context.Background()); err == nil {
		t.Errorf("a ledger cut short passed as %v", lines)
	}
}

// started runs serve until stop, which returns what serve returned.
func started(t *testing.T, h http.Handler, grace time.Duration) (url string, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, listener, h, grace) }()
	var once sync.Once
	var result error
	stop = func() error {
		once.Do(func() {
			cancel()
			select {
			case result = <-done:
			case <-time.After(hangTestTimeout):
				result = errors.New("serve does not end")
			}
		})
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return "http://" + listener.Addr().String(), stop
}

func TestServeFinishesRequestsUnderWay(t *testing.T) {
	under, finish := make(chan struct{}), make(chan struct{})
	sim := New(SimulatorOptions{})
	url, stop := started(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(under)
		<-finish
		if err := r.Context().Err(); err != nil {
			t.Errorf("the request was cut off: %v", err)
		}
		Handler(sim).ServeHTTP(w, r)
	}), hangTestTimeout)
	client := newTestClient(t, url, ClientOptions{})
	replied := make(chan error, 1)
	go func() {
		_, err := client.Authorize(context.Background(), request(ref("a")))
		replied <- err
	}()
	<-under
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	// The server has stopped taking connections: its shutdown is under way.
	for {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		conn.Close()
	}
	close(finish)
	if err := <-replied; err != nil {
		t.Error(err)
	}
	client.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestServeCutsOffWhatHangs(t *testing.T) {
	hanging := make(chan struct{})
	sim := Handler(New(SimulatorOptions{TimeoutRate: 1}))
	url, stop := started(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(hanging)
		sim.ServeHTTP(w, r)
	}), 10*time.Millisecond)
	client := newTestClient(t, url, ClientOptions{Timeout: hangTestTimeout})
	replied := make(chan error, 1)
	go func() {
		_, err := client.Authorize(context.Background(), request(ref("a")))
		replied <- err
	}()
	<-hanging
	if err := stop(); err != nil {
		t.Error(err)
	}
	err := <-replied
	checkError(t, err)
	if !errors.Is(err, domain.ErrUnknownOutcome) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the request that was cut off: %v", err)
	}
}

func TestServeReturnsTheListenersError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := Serve(context.Background(), listener, http.NotFoundHandler()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func BenchmarkHandler(b *testing.B) {
	h := Handler(New(SimulatorOptions{}))
	b.ReportAllocs()
	for i := range b.N {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("PUT", "/authorizations/e/"+strconv.Itoa(i), strings.NewReader(goodBody)))
	}
}

func BenchmarkClientAuthorizeCapture(b *testing.B) {
	server := httptest.NewServer(Handler(New(SimulatorOptions{})))
	defer server.Close()
	client, err := NewClient(server.URL, ClientOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	var next atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			order := ref(strconv.FormatInt(next.Add(1), 10))
			if _, err := client.Authorize(context.Background(), request(order)); err != nil {
				b.Error(err)
			}
			if _, err := client.Capture(context.Background(), order); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
