package simulator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/payments"
	"holdfast/payments/paymentstest"
	"holdfast/payments/remote"
)

// hangTestTimeout is a bound that a healthy test never meets.
const hangTestTimeout = 10 * time.Second

// newPair is a client of a server of sim, over loopback.
func newPair(t *testing.T, sim *Simulator, options remote.Options) *remote.Client {
	t.Helper()
	server := httptest.NewServer(Handler(sim))
	t.Cleanup(server.Close)
	return newClient(t, server.URL, options)
}

func newClient(t *testing.T, url string, options remote.Options) *remote.Client {
	t.Helper()
	client, err := remote.New(url, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// send makes one request to the handler, past every client that could tidy up its path.
func send(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	reply := httptest.NewRecorder()
	h.ServeHTTP(reply, httptest.NewRequest(method, path, strings.NewReader(body)))
	return reply
}

const goodBody = `{"amount":2500,"currency":"EUR","customer_id":"ann","payment_token":"` + paymentstest.Token + `","loyalty":{"a":[1]}}`

func TestHandlerHTTPStatuses(t *testing.T) {
	h := Handler(newSimulator(t, Options{Minimums: minimums}))
	declined := strings.Replace(goodBody, paymentstest.Token, "decline", 1)
	asking := strings.Replace(goodBody, paymentstest.Token, "action", 1)
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
		{"POST", "/authorizations/e/a/refund", "read", 400, ""},
		{"POST", "/authorizations/e/a/refund", `{"total":-1}`, 400, ""},
		{"POST", "/authorizations/e/a/refund", `{"total":2501}`, 409, domain.PaymentStatusCaptured},
		{"POST", "/authorizations/e/a/refund", `{"total":1000}`, 200, domain.PaymentStatusCaptured},
		{"POST", "/authorizations/e/a/refund", "", 200, domain.PaymentStatusRefunded}, // of all, as it is asked for without a total
		{"POST", "/authorizations/e/a/refund", "{}", 200, domain.PaymentStatusRefunded},
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
		{"PUT", "/authorizations/e/d", `{"amount":1,"currency":"EUR","x":"` + strings.Repeat("x", payments.MaxBodyBytes) + `"}`, 413, ""},
		{"GET", "/authorizations/e/d", "", 404, ""}, // none of these left a trace
		{"PUT", "/authorizations/e/a%2Fb", goodBody, 400, ""},
		{"PUT", "/authorizations/e/a%20b", goodBody, 400, ""},
		{"PUT", "/authorizations/e/", goodBody, 400, ""},
		{"PUT", "/authorizations//e", goodBody, 400, ""},
		{"PUT", "/authorizations/e/" + strings.Repeat("x", 129), goodBody, 400, ""},
		{"POST", "/authorizations/e/a/", "", 404, ""},
		{"POST", "/authorizations/e/a/charge", "", 404, ""},
		{"POST", "/authorizations/e/a/void/x", "", 404, ""},
		{"GET", "/elsewhere/authorizations/e/a", "", 404, ""},
		{"GET", "/", "", 404, ""},
		{"DELETE", "/authorizations/e/a", "", 405, ""},
		{"DELETE", "/authorizations/e/a/capture", "", 405, ""},
		{"GET", "/authorizations/e/a/capture", "", 404, ""}, // order "capture" of event a in namespace e

		// With a namespace it is another payment.
		{"GET", "/authorizations/n/e/a", "", 404, ""},
		{"PUT", "/authorizations/n/e/a", goodBody, 200, domain.PaymentStatusAuthorized},
		{"POST", "/authorizations/n/e/a/capture", "", 200, domain.PaymentStatusCaptured},
		{"GET", "/authorizations/e/a", "", 200, domain.PaymentStatusRefunded},
		{"GET", "/authorizations/m/e/a", "", 404, ""},
		{"PUT", "/authorizations//e/a", goodBody, 400, ""},
		{"PUT", "/authorizations/n/e/a/b", goodBody, 404, ""},
		{"POST", "/authorizations/capture", "", 404, ""},
		{"POST", "/ledger", "", 405, ""},
		{"POST", "/healthz", "", 405, ""},
		{"GET", "/healthz", "", 200, ""},

		// Later attempts are payments of their own.
		{"PUT", "/authorizations/n/e/a/attempts/2", declined, 402, domain.PaymentStatusDeclined},
		{"PUT", "/authorizations/e/a/attempts/9", goodBody, 200, domain.PaymentStatusAuthorized},
		{"POST", "/authorizations/e/a/attempts/9/capture", "", 200, domain.PaymentStatusCaptured},
		{"GET", "/authorizations/n/e/a", "", 200, domain.PaymentStatusCaptured},
		{"GET", "/authorizations/n/e/a/attempts/3", "", 404, ""},
		{"PUT", "/authorizations/e/a/attempts/1", goodBody, 400, ""},
		{"PUT", "/authorizations/e/a/attempts/02", goodBody, 400, ""},
		{"PUT", "/authorizations/e/a/attempts/10", goodBody, 400, ""},
		{"PUT", "/authorizations/e/a/attempts/x", goodBody, 400, ""},
		{"PUT", "/authorizations//e/a/attempts/2", goodBody, 400, ""},
		{"PUT", "/authorizations/n/e/a/tries/2", goodBody, 404, ""},
		{"PUT", "/authorizations/m/n/e/a/attempts/2", goodBody, 404, ""},

		// What the customer must do, and does.
		{"PUT", "/authorizations/n/e/b", asking, 200, domain.PaymentStatusActionRequired},
		{"PUT", "/authorizations/n/e/b", goodBody, 200, domain.PaymentStatusActionRequired},
		{"GET", "/authorizations/n/e/b", "", 200, domain.PaymentStatusActionRequired},
		{"POST", "/authorizations/n/e/b/capture", "", 409, domain.PaymentStatusActionRequired},
		{"POST", "/authorizations/n/e/b/next-step", "", 200, ""},
		{"POST", "/authorizations/n/e/b/finish", "", 400, ""},
		{"POST", "/authorizations/n/e/b/finish", `{"outcome":"captured"}`, 400, ""},
		{"POST", "/authorizations/n/e/b/finish", `{"outcome":"authorized"}`, 200, domain.PaymentStatusAuthorized},
		{"POST", "/authorizations/n/e/b/finish", `{"outcome":"declined"}`, 409, domain.PaymentStatusAuthorized},
		{"POST", "/authorizations/n/e/b/next-step", "", 409, ""},
		{"POST", "/authorizations/n/e/none/next-step", "", 404, ""},
		{"POST", "/authorizations/n/e/none/finish", `{"outcome":"declined"}`, 404, ""},

		{"GET", "/minimums", "", 200, ""},
		{"POST", "/minimums", "", 405, ""},
		{"PUT", "/authorizations/n/e/c", strings.Replace(goodBody, "2500", "49", 1), 400, ""},
		{"GET", "/authorizations/n/e/c", "", 404, ""},
		{"PUT", "/authorizations/n/e/z", strings.Replace(goodBody, "2500", "0", 1), 200, domain.PaymentStatusAuthorized},
	} {
		reply := send(h, row.method, row.path, row.body)
		name := fmt.Sprintf("%d: %s %.60s", i, row.method, row.path)
		if reply.Code != row.wantHTTP {
			t.Errorf("%s: %d %s, want %d", name, reply.Code, reply.Body, row.wantHTTP)
		}
		if strings.Contains(reply.Body.String(), paymentstest.Token) {
			t.Errorf("%s: the token is in the reply", name)
		}
		if (reply.Code == 405) != (reply.Header().Get("Allow") != "") {
			t.Errorf("%s: Allow is %q", name, reply.Header().Get("Allow"))
		}
		if row.want == "" {
			continue
		}
		var p payments.Reply
		if err := json.Unmarshal(reply.Body.Bytes(), &p); err != nil || p.Status != row.want || (p.Amount == nil) != strings.HasPrefix(row.path, "/authorizations/e/c") {
			t.Errorf("%s: %s, want status %s", name, reply.Body, row.want)
		}
		if got := reply.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: content type %q", name, got)
		}
	}
}

// A 404 of the contract is JSON; that of a wrong address must not be one.
func TestHandlerTellsAWrongAddressFromNoPayment(t *testing.T) {
	server := httptest.NewServer(Handler(newSimulator(t, Options{})))
	t.Cleanup(server.Close)
	for base, want := range map[string]error{"": domain.ErrNotFound, "/v1": domain.ErrMisconfigured} {
		client := newClient(t, server.URL+base, remote.Options{})
		for _, c := range []payments.Call{payments.CallLookup, payments.CallCapture, payments.CallRefund} {
			if _, err := paymentstest.Invoke(context.Background(), client, c, paymentstest.Name("a")); !errors.Is(err, want) {
				t.Errorf("%s at %q: %v, want %v", c, base, err, want)
			}
		}
	}
}

func TestHandlerBooks(t *testing.T) {
	sim := newSimulator(t, Options{})
	for i := range 2500 { // more than one stretch of the write deadline
		if _, err := sim.Authorize(context.Background(), paymentstest.Request(paymentstest.Name(strconv.Itoa(i)))); err != nil {
			t.Fatal(err)
		}
	}
	reply := send(Handler(sim), "GET", "/ledger", "")
	if got := reply.Header().Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("content type %q", got)
	}
	want := sim.Books()
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
	if strings.Contains(reply.Body.String(), paymentstest.Token) {
		t.Error("the token is in the books")
	}
}

func TestLostReplyOverHTTP(t *testing.T) {
	ctx := context.Background()
	sim := newSimulator(t, Options{LostReplyRate: 1})
	client := newPair(t, sim, remote.Options{})
	for _, c := range []payments.Call{payments.CallAuthorize, payments.CallCapture, payments.CallRefund, payments.CallVoid, payments.CallLookup} {
		_, err := paymentstest.Invoke(ctx, client, c, paymentstest.Name("a"))
		paymentstest.CheckError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) {
			t.Errorf("%s: %v", c, err)
		}
	}
	if line, _ := paymentstest.LineOf(sim.Books(), paymentstest.Name("a")); paymentstest.EffectsOf(line) != (paymentstest.Effects{1, 1, 0, 1}) {
		t.Errorf("line %+v", line)
	}
}

func TestTimeoutOverHTTP(t *testing.T) {
	sim := newSimulator(t, Options{TimeoutRate: 1})
	client := newPair(t, sim, remote.Options{Timeout: 20 * time.Millisecond})
	for _, c := range paymentstest.Calls {
		_, err := paymentstest.Invoke(context.Background(), client, c, paymentstest.Name("a"))
		paymentstest.CheckError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", c, err)
		}
	}
	if lines := sim.Books(); len(lines) != 0 {
		t.Errorf("books %+v", lines)
	}
	// That the server stops in time shows that it noticed the clients going away.
}

func TestTimeoutEndsIn504(t *testing.T) {
	h := Handler(newSimulator(t, Options{TimeoutRate: 1, HangTime: time.Nanosecond}))
	if reply := send(h, "PUT", "/authorizations/e/a", goodBody); reply.Code != http.StatusGatewayTimeout {
		t.Errorf("%d %s", reply.Code, reply.Body)
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
	sim := newSimulator(t, Options{})
	url, stop := started(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(under)
		<-finish
		if err := r.Context().Err(); err != nil {
			t.Errorf("the request was cut off: %v", err)
		}
		Handler(sim).ServeHTTP(w, r)
	}), hangTestTimeout)
	client := newClient(t, url, remote.Options{})
	replied := make(chan error, 1)
	go func() {
		_, err := client.Authorize(context.Background(), paymentstest.Request(paymentstest.Name("a")))
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
	sim := Handler(newSimulator(t, Options{TimeoutRate: 1}))
	url, stop := started(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(hanging)
		sim.ServeHTTP(w, r)
	}), 10*time.Millisecond)
	client := newClient(t, url, remote.Options{Timeout: hangTestTimeout})
	replied := make(chan error, 1)
	go func() {
		_, err := client.Authorize(context.Background(), paymentstest.Request(paymentstest.Name("a")))
		replied <- err
	}()
	<-hanging
	if err := stop(); err != nil {
		t.Error(err)
	}
	err := <-replied
	paymentstest.CheckError(t, err)
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
	h := Handler(newSimulator(b, Options{}))
	b.ReportAllocs()
	for i := range b.N {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("PUT", "/authorizations/e/"+strconv.Itoa(i), strings.NewReader(goodBody)))
	}
}
