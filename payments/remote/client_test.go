package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/domain"
	"holdfast/payments"
	"holdfast/payments/paymentstest"
	"holdfast/payments/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hangTestTimeout is a bound that a healthy test never meets.
const hangTestTimeout = 10 * time.Second

// In front of the simulator's handler.
func TestClientKeepsTheContract(t *testing.T) {
	paymentstest.Run(t, paymentstest.Gateway{
		New: func(t *testing.T) paymentstest.Made {
			client := answering(t, Options{}, simulator.Handler(newSimulator(t)).ServeHTTP)
			return paymentstest.Made{Adapter: client, Books: client.Books, Finish: func(ctx context.Context, name domain.PaymentName, authorized bool) error {
				outcome := domain.PaymentStatusDeclined
				if authorized {
					outcome = domain.PaymentStatusAuthorized
				}
				return client.do(ctx, "finish", name, []byte(`{"outcome":"`+string(outcome)+`"}`), func(status int, _ []byte) error {
					return map[int]error{http.StatusOK: nil, http.StatusConflict: domain.ErrRefused, http.StatusNotFound: domain.ErrNotFound}[status]
				})
			}, Dispute: func(ctx context.Context, name domain.PaymentName, d domain.Dispute) error {
				body, err := json.Marshal(d)
				if err != nil {
					return err
				}
				return client.do(ctx, "dispute", name, body, func(status int, _ []byte) error {
					return map[int]error{http.StatusOK: nil, http.StatusConflict: domain.ErrRefused, http.StatusNotFound: domain.ErrNotFound}[status]
				})
			}}
		},
		DeclinedToken: simulator.DeclineTokenPrefix, ActionToken: simulator.ActionTokenPrefix, Minimums: minimums,
	})
}

var minimums = domain.Minimums{"EUR": 50, "JPY": 2}

func newSimulator(t testing.TB) *simulator.Simulator {
	t.Helper()
	sim, err := simulator.New(simulator.Options{Minimums: minimums})
	if err != nil {
		t.Fatal(err)
	}
	return sim
}

func newClient(t *testing.T, url string, options Options) *Client {
	t.Helper()
	client, err := New(url, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestClientBelowAPathPrefixWithPassword(t *testing.T) {
	sim := newSimulator(t)
	var user, password string
	server := httptest.NewServer(http.StripPrefix("/pay/v1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
		simulator.Handler(sim).ServeHTTP(w, r)
	})))
	t.Cleanup(server.Close)
	client := newClient(t, strings.Replace(server.URL, "http://", "http://box:s3cret@", 1)+"/pay/v1/", Options{})
	r := domain.PaymentName{OrderRef: domain.OrderRef{EventID: "..", OrderID: "."}}
	if p, err := client.Authorize(context.Background(), paymentstest.Request(r)); err != nil || p.Status != domain.PaymentStatusAuthorized {
		t.Fatalf("%+v, %v", p, err)
	}
	if user != "box" || password != "s3cret" {
		t.Errorf("basic auth %q %q", user, password)
	}
	if lines, err := client.Books(context.Background()); err != nil || len(lines) != 1 {
		t.Errorf("%v, %v", lines, err)
	}
}

func TestNewRefusesBadURLs(t *testing.T) {
	for _, bad := range []string{
		"", "simulator", "localhost:8080", "ftp://host", "http://", "http://:80", "http://host/?a=b", "http://host/?", "http://host/#x",
		"http://user:hunter2 @host", "http://user:12/hunter2@host", "http://user:12#hunter2@host", "http://user:12?hunter2@host", "http://user:hunter2@host:port", "http://host/%zz", "/path",
	} {
		_, err := New(bad, Options{})
		if err == nil {
			t.Errorf("%q is taken for a gateway URL", bad)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in the error %q", err)
		}
	}
}

func TestOptions(t *testing.T) {
	if got, want := (Options{}).WithDefaults(), (Options{Timeout: 5 * time.Second, MaxConns: 1024}); got != want {
		t.Errorf("defaults %+v, want %+v", got, want)
	}
	for want, bad := range map[string]Options{
		"timeout: want at least 1ms": {Timeout: -1},
		"max conns: want at least 1": {MaxConns: -1},
	} {
		if _, err := New("http://host", bad); err == nil || err.Error() != want || domain.ClassOf(err) != domain.ClassFatal {
			t.Errorf("%+v: %v, want %s", bad, err, want)
		}
	}
}

// answering is a client of a gateway that gives every request the same answer.
func answering(t *testing.T, options Options, answer http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return newClient(t, server.URL, options)
}

// Every reply to every call: what the contract knows, and a lot that it does not.
func TestClientUnderstandsReplies(t *testing.T) {
	const (
		u  = "unknown"
		no = "refused"
		nf = "not found"
		na = "not acceptable"
		mc = "misconfigured"
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
		{200, body("action_required"), [5]string{"action_required", "action_required", u, u, u}},
		{409, body("action_required"), [5]string{u, mc, no, u, no}},
		{200, `{"authorization_id":"a","status":"captured","amount":3000,"refunded":2500}`, [5]string{"captured", "captured", "captured", "captured", "captured"}},
		{200, `{"authorization_id":"a","status":"captured","amount":2500,"refunded":2499}`, [5]string{"captured", "captured", "captured", "captured", u}},
		{200, `{"authorization_id":"a","status":"captured","amount":2500,"refunded":2501}`, all(mc)},
		{200, `{"authorization_id":"a","status":"captured","amount":2500,"refunded":-1}`, all(mc)},
		{200, `{"authorization_id":"a","status":"refunded","amount":2500,"refunded":2499}`, all(mc)},
		{200, `{"authorization_id":"a","status":"refunded","amount":2400,"refunded":2400}`, [5]string{"refunded", "refunded", u, "refunded", u}},
		{200, `{"authorization_id":"a","status":"authorized","amount":2500,"refunded":1}`, all(mc)},
		{200, `{"authorization_id":"a","status":"action_required"}`, all(mc)},
		{200, `{"status":"action_required","amount":2500}`, all(mc)},
		{409, `{"authorization_id":"a","status":"captured","amount":3000,"refunded":2500}`, [5]string{u, mc, u, "captured", u}},
		{200, `{"status":"voided"}`, [5]string{"voided", "voided", u, "voided", u}},
		{200, `{"status":"declined"}`, [5]string{"declined", "declined", u, "declined", u}},
		{402, "", [5]string{"declined", mc, no, mc, no}},
		{402, "<html>", [5]string{"declined", mc, no, mc, no}},
		{402, body("declined"), [5]string{"declined", mc, no, mc, no}},
		{402, body("authorized"), [5]string{u, mc, no, mc, no}},
		{402, body("captured"), [5]string{u, mc, u, mc, no}},
		{404, "", [5]string{mc, nf, mc, mc, mc}},
		{404, "{}", [5]string{mc, nf, nf, mc, nf}},
		{404, `{"error":"no such payment"}`, [5]string{mc, nf, nf, mc, nf}},
		{404, "<html>Not Found</html>", all(mc)},
		{404, "404 page not found\n", all(mc)},
		{404, "null", all(mc)},
		{404, "[]", all(mc)},
		{404, body("captured"), [5]string{mc, nf, nf, mc, nf}},
		{409, "", [5]string{"voided", mc, no, "captured", no}},
		{409, "conflict", [5]string{"voided", mc, no, "captured", no}},
		{409, body("voided"), [5]string{"voided", mc, no, "voided", no}},
		{409, body("refunded"), [5]string{"refunded", mc, no, "refunded", u}},
		{409, body("captured"), [5]string{u, mc, u, "captured", no}},
		{409, body("authorized"), [5]string{u, mc, no, u, no}},
		{409, body("declined"), [5]string{u, mc, no, "declined", no}},

		{200, withID(strings.Repeat("x", 128)), [5]string{"captured", "captured", "captured", "captured", u}},
		{200, withID("!~"), [5]string{"captured", "captured", "captured", "captured", u}},
		{200, withID(strings.Repeat("x", 129)), all(mc)},
		{200, withID(""), all(mc)},
		{200, withID("a|b"), all(mc)},
		{200, withID("a b"), all(mc)},
		{200, withID("a\nb"), all(mc)},
		{200, withID("a\x7f"), all(mc)},
		{200, withID("é"), all(mc)},
		{200, `{"authorization_id":"a","status":"voided`, all(mc)},
		{200, `{"authorization_id":"a","status":"pending","amount":1}`, all(mc)},
		{200, `{"authorization_id":"a","status":"Captured","amount":1}`, all(mc)},
		{200, `{"authorization_id":"a","amount":1}`, all(mc)},
		{200, `{"authorization_id":"a","status":"captured"}`, all(mc)},
		{200, `{"authorization_id":"a","status":"captured","amount":null}`, all(mc)},
		{200, `{"authorization_id":"a","status":"captured","amount":-1}`, all(mc)},
		{200, `{"authorization_id":"a","status":"captured","amount":1.5}`, all(mc)},
		{200, `{"authorization_id":"a","status":"captured","amount":"1"}`, all(mc)},
		{200, `{"authorization_id":"a","status":"captured","amount":9007199254740992}`, all(mc)},
		{200, `{"authorization_id":7,"status":"captured","amount":1}`, all(mc)},
		{200, body("captured") + body("captured"), all(mc)},
		{200, "", all(mc)},
		{200, "null", all(mc)},
		{200, "[]", all(mc)},
		{200, "<html>It works!</html>", all(mc)},
		{200, `{"x":"` + strings.Repeat("x", payments.MaxBodyBytes) + `"}`, all(mc)},
		{402, strings.Repeat("x", payments.MaxBodyBytes+1), all(mc)},
		{201, body("captured"), all(mc)},
		{202, body("captured"), all(mc)},
		{204, "", all(mc)},
		{302, body("captured"), all(mc)},
		{307, "", all(mc)},
		{400, `{"error":"` + paymentstest.Token + `"}`, all(na)},
		{401, "", all(mc)},
		{403, "", all(mc)},
		{406, "", all(mc)},
		{408, "", all(u)},
		{410, "", all(mc)},
		{405, "", all(mc)},
		{413, "", all(na)},
		{414, "", all(na)},
		{431, "", all(na)},
		{422, paymentstest.Token, all(na)},
		{422, strings.Repeat("x", payments.MaxBodyBytes+1), all(na)},
		{425, "", all(u)},
		{429, "", all(u)},
		{500, body("captured"), all(u)},
		{502, "<html>", all(u)},
		{503, "", all(u)},
		{504, "", all(u)},
		{999, "", all(u)},
	} {
		followed := false
		client := answering(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/followed" {
				followed = true
			}
			if row.status/100 == 3 {
				w.Header().Set("Location", "/followed?"+paymentstest.Token)
			}
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, row.body)
		})
		for i, c := range paymentstest.Calls {
			p, err := paymentstest.Invoke(context.Background(), client, c, paymentstest.Name("a"))
			paymentstest.CheckError(t, err)
			got := string(p.Status)
			switch {
			case errors.Is(err, domain.ErrNotFound):
				got = nf
			case errors.Is(err, domain.ErrRefused):
				got = no
			case errors.Is(err, domain.ErrUnacceptable):
				got = na
			case errors.Is(err, domain.ErrMisconfigured):
				got = mc
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

// Every reply to the two calls that are not answered with a payment. A step is in no error.
func TestClientUnderstandsStepsAndMinimums(t *testing.T) {
	const secret = "s3cret"
	for _, row := range []struct {
		status         int
		body           string
		step, minimums error
	}{
		{200, `{"client_secret":"` + secret + `"}`, nil, domain.ErrMisconfigured},
		{200, `{"redirect_url":"https://bank/` + secret + `","more":1}`, nil, domain.ErrMisconfigured},
		{200, `{}`, domain.ErrMisconfigured, nil},
		{200, `{"EUR":50,"JPY":0}`, domain.ErrMisconfigured, nil},
		{200, `{"EUR":-1}`, domain.ErrMisconfigured, domain.ErrMisconfigured},
		{200, `{"EUR":9007199254740992}`, domain.ErrMisconfigured, domain.ErrMisconfigured},
		{200, `{"euro":1}`, domain.ErrMisconfigured, domain.ErrMisconfigured},
		{200, `null`, domain.ErrMisconfigured, domain.ErrMisconfigured},
		{200, `[]`, domain.ErrMisconfigured, domain.ErrMisconfigured},
		{200, ``, domain.ErrMisconfigured, domain.ErrMisconfigured},
		{200, `{"client_secret":"` + secret, domain.ErrMisconfigured, domain.ErrMisconfigured},
		{204, ``, domain.ErrMisconfigured, domain.ErrMisconfigured},
		{400, secret, domain.ErrUnacceptable, domain.ErrUnacceptable},
		{401, secret, domain.ErrMisconfigured, domain.ErrMisconfigured},
		{404, `{"error":"no such payment"}`, domain.ErrNotFound, nil},
		{404, "404 page not found\n", domain.ErrMisconfigured, nil}, // a gateway of before does not know the question
		{405, ``, domain.ErrMisconfigured, nil},
		{409, ``, domain.ErrRefused, domain.ErrMisconfigured},
		{409, secret, domain.ErrRefused, domain.ErrMisconfigured},
		{429, ``, domain.ErrUnknownOutcome, domain.ErrUnknownOutcome},
		{503, secret, domain.ErrUnknownOutcome, domain.ErrUnknownOutcome},
	} {
		client := answering(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, row.body)
		})
		step, err := client.NextStep(context.Background(), paymentstest.Attempt(paymentstest.Name("a")))
		paymentstest.CheckError(t, err)
		if !errors.Is(err, row.step) || (err == nil) == (step == domain.NextStep{}) {
			t.Errorf("%d %s: a step: %v, want %v", row.status, row.body, err, row.step)
		}
		if text := fmt.Sprintf("%v %+v", err, step); strings.Contains(text, secret) {
			t.Errorf("%d %s: a secret is printed: %s", row.status, row.body, text)
		}
		minimums, err := client.Minimums(context.Background())
		paymentstest.CheckError(t, err)
		if !errors.Is(err, row.minimums) || err != nil && minimums != nil {
			t.Errorf("%d %s: minimums %v, %v, want %v", row.status, row.body, minimums, err, row.minimums)
		}
	}
}

// What a gateway says about when it wants to be asked again.
func TestClientTellsWhen(t *testing.T) {
	now := time.Now().UTC()
	for _, row := range []struct {
		status            int
		retryAfter, date  string
		wantAfter         time.Duration
		wantBusy, exactly bool
	}{
		{429, "", "", 0, true, true},
		{429, "7", "", 7 * time.Second, true, true},
		{503, "0", "", 0, true, true},
		{503, "86400", "", maxRetryAfter, true, true},
		{503, "99999999999999999999", "", 0, true, true},
		{503, "-3", "", 0, true, true},
		{503, "1.5", "", 0, true, true},
		{500, "soon, " + paymentstest.Token, "", 0, false, true},
		{500, "3", "", 3 * time.Second, false, true},
		{408, "3", "", 3 * time.Second, false, true},
		{425, "", "", 0, false, true},
		{429, now.Add(time.Hour).Format(http.TimeFormat), now.Add(time.Hour - 9*time.Second).Format(http.TimeFormat), 9 * time.Second, true, true}, // its clock is ahead
		{429, now.Add(-time.Hour).Format(http.TimeFormat), "", 0, true, true},
		{429, now.Add(5 * time.Minute).Format(http.TimeFormat), "none", 5 * time.Minute, true, false},
		{429, "Wed, 21 Oct 2099 07:28:00 GMT", "", maxRetryAfter, true, true},
	} {
		client := answering(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", row.retryAfter)
			if row.date != "" {
				w.Header().Set("Date", row.date)
			}
			w.WriteHeader(row.status)
		})
		for _, c := range paymentstest.Calls {
			_, err := paymentstest.Invoke(context.Background(), client, c, paymentstest.Name("a"))
			paymentstest.CheckError(t, err)
			var later *domain.LaterError
			if !errors.As(err, &later) || later.Busy != row.wantBusy {
				t.Fatalf("%s, %d %q: %v", c, row.status, row.retryAfter, err)
			}
			if off := (later.After - row.wantAfter).Abs(); off > 0 && row.exactly || off > time.Minute {
				t.Errorf("%s, %d %q: after %s, want %s", c, row.status, row.retryAfter, later.After, row.wantAfter)
			}
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
		"no HTTP, but the token": {paymentstest.Token + "\r\n\r\n", true, hangTestTimeout},
		"a status line alone":    {ok, true, hangTestTimeout},
		"a body cut short":       {ok + "Content-Length: 100\r\n\r\n{\"status\":\"voided\"}", true, hangTestTimeout},
		"a chunk cut short":      {ok + "Transfer-Encoding: chunked\r\n\r\n13\r\n{\"status\":\"voided\"}", true, hangTestTimeout},
		"a body that stalls":     {ok + "Content-Length: 100\r\n\r\n{\"status\"", false, 20 * time.Millisecond},
		"silence":                {"", false, 20 * time.Millisecond},
		"another protocol":       {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", false, hangTestTimeout},
		"a header without end":   {ok + "X: " + strings.Repeat("x", 2*payments.MaxBodyBytes), true, hangTestTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			want := domain.ErrUnknownOutcome
			if name == "another protocol" {
				want = domain.ErrMisconfigured
			}
			client := newClient(t, rawGateway(t, row.reply, row.hangUp), Options{Timeout: row.timeout})
			for _, c := range paymentstest.Calls {
				_, err := paymentstest.Invoke(context.Background(), client, c, paymentstest.Name("a"))
				paymentstest.CheckError(t, err)
				if !errors.Is(err, want) {
					t.Errorf("%s: %v", c, err)
				}
			}
		})
	}
}

func TestClientWithoutAGateway(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // a port where nobody listens
	client := newClient(t, server.URL, Options{})
	for _, c := range paymentstest.Calls {
		_, err := paymentstest.Invoke(context.Background(), client, c, paymentstest.Name("a"))
		paymentstest.CheckError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) {
			t.Errorf("%s: %v", c, err)
		}
	}
}

// Where one side does not accept the other's certificate, or there is no TLS, trying again helps nobody.
func TestClientWithWrongTLS(t *testing.T) {
	unknown := httptest.NewUnstartedServer(http.NotFoundHandler())
	unknown.Config.ErrorLog = log.New(io.Discard, "", 0) // that handshakes fail is what is wanted
	unknown.StartTLS()
	t.Cleanup(unknown.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for name, url := range map[string]string{
		"unknown authority": unknown.URL,
		"no TLS there":      strings.Replace(plain.URL, "http:", "https:", 1),
	} {
		client := newClient(t, url, Options{})
		for _, c := range paymentstest.Calls {
			_, err := paymentstest.Invoke(context.Background(), client, c, paymentstest.Name("a"))
			paymentstest.CheckError(t, err)
			if !errors.Is(err, domain.ErrMisconfigured) {
				t.Errorf("%s, %s: %v", name, c, err)
			}
		}
	}
}

func TestClientSendsTheContract(t *testing.T) {
	type seen struct {
		method, uri, contentType string
		body                     map[string]any
	}
	var got seen
	client := answering(t, Options{}, func(_ http.ResponseWriter, r *http.Request) {
		got = seen{method: r.Method, uri: r.RequestURI, contentType: r.Header.Get("Content-Type")}
		_ = json.NewDecoder(r.Body).Decode(&got.body)
	})
	r := domain.PaymentName{OrderRef: domain.OrderRef{EventID: "..", OrderID: "a+b@c.d"}}
	for c, want := range map[payments.Call]string{
		payments.CallAuthorize: "PUT /authorizations/%2E%2E/a+b@c.d", payments.CallLookup: "GET /authorizations/%2E%2E/a+b@c.d",
		payments.CallCapture: "POST /authorizations/%2E%2E/a+b@c.d/capture", payments.CallVoid: "POST /authorizations/%2E%2E/a+b@c.d/void",
		payments.CallRefund: "POST /authorizations/%2E%2E/a+b@c.d/refund",
	} {
		_, _ = paymentstest.Invoke(context.Background(), client, c, r)
		if got.method+" "+got.uri != want {
			t.Errorf("%s sends %s %s, want %s", c, got.method, got.uri, want)
		}
		if c != payments.CallAuthorize {
			continue
		}
		wantBody := map[string]any{"amount": 2500.0, "currency": "EUR", "customer_id": "ann@example.org", "fingerprint": "b083c26c75bd146e", "payment_token": paymentstest.Token}
		if fmt.Sprint(got.body) != fmt.Sprint(wantBody) || got.contentType != "application/json" {
			t.Errorf("body %v of type %s", got.body, got.contentType)
		}
	}
}

// Calls reuse connections, also after refusals and errors, and never hold more than they may.
func TestClientConnections(t *testing.T) {
	const maxConns = 4
	var opened atomic.Int64
	h := simulator.Handler(newSimulator(t))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "broken") {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, strings.Repeat("x", payments.MaxBodyBytes/2))
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
	client := newClient(t, server.URL, Options{MaxConns: maxConns})
	var running sync.WaitGroup
	for i := range 16 {
		running.Go(func() {
			for j := range 10 {
				r := paymentstest.Name(fmt.Sprintf("%d-%d", i, j))
				_, _ = client.Lookup(context.Background(), paymentstest.Attempt(r))                           // 404
				_, _ = client.Lookup(context.Background(), paymentstest.Attempt(paymentstest.Name("broken"))) // 500
				if _, err := client.Authorize(context.Background(), paymentstest.Request(r)); err != nil {
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

func TestBooksErrors(t *testing.T) {
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
		"a line without end":    {200, strings.Repeat("x", maxBooksLineBytes+1), 1 << 20, -1, false},
		"too many bytes":        {200, strings.Repeat(line, 10), int64(len(line)*5 + 3), -1, false},
	} {
		client := answering(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, row.body)
		})
		client.maxBooksBytes = row.limit
		lines, err := client.Books(context.Background())
		if (err == nil) != (row.want >= 0) || errors.Is(err, domain.ErrNotFound) != row.notFound || err == nil && len(lines) != row.want {
			t.Errorf("%s: %d lines, %v", name, len(lines), err)
		}
		if err != nil && lines != nil {
			t.Errorf("%s: part of the books came with the error", name)
		}
	}
	cut := newClient(t, rawGateway(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+
		strconv.FormatInt(int64(len(line)), 16)+"\r\n"+line+"\r\n", true), Options{})
	if lines, err := cut.Books(context.Background()); err == nil {
		t.Errorf("books cut short passed as %v", lines)
	}
}

func BenchmarkClientAuthorizeCapture(b *testing.B) {
	server := httptest.NewServer(simulator.Handler(newSimulator(b)))
	defer server.Close()
	client, err := New(server.URL, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	var next atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			order := paymentstest.Name(strconv.FormatInt(next.Add(1), 10))
			if _, err := client.Authorize(context.Background(), paymentstest.Request(order)); err != nil {
				b.Error(err)
			}
			if _, err := client.Capture(context.Background(), paymentstest.Attempt(order)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
