package stripe_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/payments"
	"holdfast/payments/paymentstest"
	"holdfast/payments/stripe"
	"holdfast/payments/stripe/stripefake"
)

// held is a request for an order that was held just now.
func held(order string) domain.PaymentRequest {
	r := paymentstest.Request(paymentstest.Name(order))
	r.HeldAtMillis = time.Now().UnixMilli()
	return r
}

// long ago is the same, as if more time had passed since than a key lives.
func longAgo(a domain.Attempt) domain.Attempt {
	a.HeldAtMillis = time.Now().Add(-25 * time.Hour).UnixMilli()
	return a
}

// made does the calls one after the other and expects them to be answered.
func made(t *testing.T, client *stripe.Client, r domain.PaymentRequest, calls ...payments.Call) {
	t.Helper()
	for _, c := range calls {
		if _, err := call(client, c, r); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
	}
}

func call(client *stripe.Client, c payments.Call, r domain.PaymentRequest) (domain.Payment, error) {
	switch ctx := context.Background(); c {
	case payments.CallAuthorize:
		return client.Authorize(ctx, r)
	case payments.CallLookup:
		return client.Lookup(ctx, r.Attempt)
	case payments.CallCapture:
		return client.Capture(ctx, r.Attempt)
	case payments.CallVoid:
		return client.Void(ctx, r.Attempt)
	case payments.CallRefund:
		return client.Refund(ctx, r.Attempt, r.Amount)
	}
	panic("no such call")
}

// Whatever request of a call goes wrong, and however: the call says that nothing is known, and when it is
// made again it is answered, with one intent and one effect. What the key stores as a fault without an effect is over when the key is.
func TestEveryRequestGoesWrongOnce(t *testing.T) {
	const (
		create, confirm, retrieve = "POST /v1/payment_intents", "/confirm", "GET /v1/payment_intents/{intent}"
		capture, cancel, refund   = "/capture", "/cancel", "POST /v1/refunds"
	)
	for _, row := range []struct {
		before []payments.Call
		call   payments.Call
		route  string
		keyed  bool // a fault without an effect stands as long as the key does
		want   domain.PaymentStatus
	}{
		{nil, payments.CallAuthorize, create, true, domain.PaymentStatusAuthorized},
		{nil, payments.CallAuthorize, confirm, true, domain.PaymentStatusAuthorized},
		{[]payments.Call{payments.CallAuthorize}, payments.CallAuthorize, retrieve, false, domain.PaymentStatusAuthorized},
		{[]payments.Call{payments.CallAuthorize}, payments.CallLookup, retrieve, false, domain.PaymentStatusAuthorized},
		{[]payments.Call{payments.CallAuthorize}, payments.CallCapture, capture, false, domain.PaymentStatusCaptured},
		{[]payments.Call{payments.CallAuthorize}, payments.CallVoid, cancel, false, domain.PaymentStatusVoided},
		{nil, payments.CallVoid, create, true, domain.PaymentStatusVoided},
		{nil, payments.CallVoid, cancel, false, domain.PaymentStatusVoided},
		{[]payments.Call{payments.CallAuthorize, payments.CallCapture}, payments.CallRefund, refund, true, domain.PaymentStatusRefunded},
	} {
		for _, kind := range []stripefake.Fault{
			stripefake.LostReply, stripefake.FaultAfter, stripefake.FaultBefore, stripefake.Busy, stripefake.NoKey, stripefake.NoRight,
		} {
			t.Run(string(row.call)+" "+row.route+" "+string(kind), func(t *testing.T) {
				account, client := newPair(t, stripefake.Options{})
				r := held("a")
				made(t, client, r, row.before...)
				account.Next(row.route, kind)
				p, err := call(client, row.call, r)
				paymentstest.CheckError(t, err)
				want := domain.ErrUnknownOutcome
				if kind == stripefake.NoKey || kind == stripefake.NoRight {
					want = domain.ErrMisconfigured
				}
				again := kind == stripefake.LostReply && err == nil // the transport has sent it again, because it has a key
				if !errors.Is(err, want) && !again {
					t.Fatalf("%+v, %v; want %v", p, err, want)
				}
				var later *domain.LaterError
				if busy := kind == stripefake.Busy; errors.As(err, &later) && (later.Busy != busy || busy && later.After != 2*time.Second) {
					t.Errorf("busy %v, after %s", later.Busy, later.After)
				}
				if kind == stripefake.FaultBefore && row.keyed {
					if _, err := call(client, row.call, r); !errors.Is(err, domain.ErrUnknownOutcome) {
						t.Fatalf("while the key says that it failed: %v", err)
					}
					account.Advance(25 * time.Hour)
					r.Attempt = longAgo(r.Attempt)
				}
				for range 2 {
					if p, err = call(client, row.call, r); err != nil || p.Status != row.want {
						t.Fatalf("again: %+v, %v; want %s", p, err, row.want)
					}
				}
				line, _ := paymentstest.LineOf(account.Books(), r.Name)
				if n := account.Intents(r.Name); n != 1 || line.Status != row.want || line.Authorizations > 1 || line.Captures > 1 || line.Voids > 1 || line.Refunds > 1 {
					t.Errorf("%d intents, %+v", n, line)
				}
			})
		}
	}
}

// Search is late: until it finds what a lost 500 has made, nothing is known, and no second intent is made.
func TestWhatSearchDoesNotFindYet(t *testing.T) {
	account, client := newPair(t, stripefake.Options{SearchLag: time.Hour})
	r := held("a")
	account.Next("POST /v1/payment_intents", stripefake.FaultAfter)
	for range 3 {
		if _, err := client.Authorize(context.Background(), r); !errors.Is(err, domain.ErrUnknownOutcome) {
			t.Fatal(err)
		}
	}
	if _, err := client.Void(context.Background(), r.Attempt); !errors.Is(err, domain.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	account.Advance(2 * time.Hour)
	if p, err := client.Void(context.Background(), r.Attempt); err != nil || p.Status != domain.PaymentStatusVoided {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := client.Authorize(context.Background(), r); err != nil || p.Status != domain.PaymentStatusVoided {
		t.Errorf("%+v, %v", p, err)
	}
	if n := account.Intents(r.Name); n != 1 {
		t.Errorf("%d intents", n)
	}
}

// A key that Stripe has forgotten makes no second intent: it is searched for before.
func TestTheKeyIsForgotten(t *testing.T) {
	for _, before := range []payments.Call{payments.CallAuthorize, payments.CallVoid, payments.CallLookup} {
		account, client := newPair(t, stripefake.Options{SearchLag: time.Minute})
		r := held("a")
		if _, err := call(client, before, r); err != nil && !errors.Is(err, domain.ErrNotFound) {
			t.Fatal(err)
		}
		account.Advance(25 * time.Hour)
		if p, err := client.Void(context.Background(), longAgo(r.Attempt)); err != nil || p.Status != domain.PaymentStatusVoided {
			t.Errorf("after %s: %+v, %v", before, p, err)
		}
		if n := account.Intents(r.Name); n != 1 {
			t.Errorf("after %s: %d intents", before, n)
		}
	}
}

func TestAnAuthorizationExpires(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	r := held("a")
	p, err := client.Authorize(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.AuthorizationID = p.AuthorizationID
	account.Advance(8 * 24 * time.Hour)
	if _, err := client.Capture(context.Background(), r.Attempt); !errors.Is(err, domain.ErrRefused) {
		t.Errorf("captured: %v", err)
	}
	if p, err := client.Lookup(context.Background(), r.Attempt); err != nil || p.Status != domain.PaymentStatusVoided || p.Amount != r.Amount {
		t.Errorf("%+v, %v", p, err)
	}
}

// Stripe lets whoever has the client secret try again with another card. What was told as declined stays so.
func TestADeclineIsFinal(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	r := held("a")
	r.Token = "pm_card_authenticationRequired"
	made(t, client, r, payments.CallAuthorize)
	if err := account.Finish(r.Name, false); err != nil {
		t.Fatal(err)
	}
	if p, err := client.Lookup(context.Background(), r.Attempt); err != nil || p.Status != domain.PaymentStatusDeclined {
		t.Fatalf("%+v, %v", p, err)
	}
	if account.Retry(r.Name) {
		t.Error("the customer could pay with another card")
	}

	// Before it was told, it is what the customer made of it.
	r = held("b")
	r.Token = "pm_card_authenticationRequired"
	made(t, client, r, payments.CallAuthorize)
	if err := account.Finish(r.Name, false); err != nil || !account.Retry(r.Name) {
		t.Fatal(err)
	}
	if p, err := client.Lookup(context.Background(), r.Attempt); err != nil || p.Status != domain.PaymentStatusAuthorized {
		t.Errorf("%+v, %v", p, err)
	}
}

// Of an order of which nothing is known, a mark is made and cancelled, and a payment that comes late finds it.
func TestVoidOfAnUnknownOrder(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	name := paymentstest.Name("a")
	for range 2 {
		p, err := client.Void(context.Background(), domain.Attempt{Name: name})
		if err != nil || p != (domain.Payment{Status: domain.PaymentStatusVoided, Amount: domain.AmountNotTold}) {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	if p, err := client.Authorize(context.Background(), held("a")); err != nil || p.Status != domain.PaymentStatusVoided {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := client.Lookup(context.Background(), domain.Attempt{Name: paymentstest.Name("b")}); !errors.Is(err, domain.ErrNotFound) {
		t.Error(err)
	}
	if n := account.Intents(paymentstest.Name("b")); n != 0 {
		t.Errorf("a look has made %d intents of nothing", n)
	}
}

func TestCurrenciesThatStripeCountsInItsOwnWay(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	for _, row := range []struct {
		currency string
		amount   int64
		taken    bool
	}{
		{"JPY", 1500, true},
		{"KRW", 1500, true},
		{"ISK", 1500, true},
		{"UGX", 1500, true},
		{"MGA", 1500_00, true},
		{"KWD", 15_250, true},
		{"HUF", 17_500, true},
		{"KWD", 15_251, false},
		{"MGA", 1500_50, false},
		{"HUF", 17_499, false},
		{"EUR", stripe.MaxAmount, true},
		{"EUR", stripe.MaxAmount + 1, false},
		{"ISK", stripe.MaxAmount, false},
	} {
		r := held(row.currency + "-" + domain.FormatAmount(row.amount, row.currency))
		r.Currency, r.Amount = row.currency, row.amount
		p, err := client.Authorize(context.Background(), r)
		if !row.taken {
			if !errors.Is(err, domain.ErrUnacceptable) {
				t.Errorf("%d %s: %+v, %v", row.amount, row.currency, p, err)
			}
			// What was never made is not there, and need not be voided.
			if _, err := client.Lookup(context.Background(), r.Attempt); !errors.Is(err, domain.ErrNotFound) {
				t.Error(err)
			}
			if p, err := client.Void(context.Background(), r.Attempt); err != nil || p.Status != domain.PaymentStatusVoided {
				t.Errorf("%+v, %v", p, err)
			}
			continue
		}
		if err != nil || p.Amount != row.amount || p.Currency != row.currency {
			t.Errorf("%d %s: %+v, %v", row.amount, row.currency, p, err)
			continue
		}
		made(t, client, r, payments.CallCapture)
		const part = 1000
		if p, err := client.Refund(context.Background(), r.Attempt, part); err != nil || p.Refunded != part || p.Amount != row.amount {
			t.Errorf("%d %s: %+v, %v", row.amount, row.currency, p, err)
		}
	}
	if n := account.Requests("POST /v1/refunds"); n != 8 {
		t.Errorf("%d refunds", n)
	}
}

// A refund that was made and fails later is a person's to mend: another one under another key might pay twice.
func TestARefundThatFailed(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	r := held("a")
	made(t, client, r, payments.CallAuthorize, payments.CallCapture, payments.CallRefund)
	account.Spoil(r.Name)
	_, err := client.Refund(context.Background(), r.Attempt, r.Amount)
	if paymentstest.CheckError(t, err); !errors.Is(err, domain.ErrRefused) {
		t.Errorf("%v", err)
	}
	if line, _ := paymentstest.LineOf(account.Books(), r.Name); line.Refunds != 1 {
		t.Errorf("%+v", line)
	}
}

// A key of another account does not know the order's payment: that says nothing about the payment.
func TestAPaymentOfAnotherAccount(t *testing.T) {
	_, client := newPair(t, stripefake.Options{})
	r := held("a")
	r.AuthorizationID = "pi_ofAnotherAccount"
	for _, c := range paymentstest.Calls {
		_, err := call(client, c, r)
		if paymentstest.CheckError(t, err); !errors.Is(err, domain.ErrMisconfigured) {
			t.Errorf("%s: %v", c, err)
		}
	}
	r.AuthorizationID = "auth-1/../../customers" // it would be another path
	for _, c := range paymentstest.Calls {
		if _, err := call(client, c, r); !errors.Is(err, domain.ErrUnacceptable) {
			t.Errorf("%s: %v", c, err)
		}
	}
}

// A token that Stripe does not know is this request's fault, and stands in no error, although Stripe quotes it.
func TestATokenThatStripeDoesNotKnow(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	r := held("a")
	r.Token = "pm_missing_4242"
	_, err := client.Authorize(context.Background(), r)
	if paymentstest.CheckError(t, err); !errors.Is(err, domain.ErrUnacceptable) || strings.Contains(err.Error(), string(r.Token)) || !strings.Contains(err.Error(), "resource_missing payment_method") {
		t.Errorf("%v", err)
	}
	if p, err := client.Void(context.Background(), r.Attempt); err != nil || p.Status != domain.PaymentStatusVoided {
		t.Errorf("%+v, %v", p, err)
	}
	if n := account.Requests("POST /v1/payment_intents/{intent}/confirm"); n != 1 {
		t.Errorf("%d confirmations", n)
	}
}

// A worker that was paused between its two steps finds what has happened in between.
func TestAConfirmationThatComesLate(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	r := held("a")
	account.Next("/confirm", stripefake.Busy)
	if _, err := client.Authorize(context.Background(), r); !errors.Is(err, domain.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	made(t, client, r, payments.CallVoid)
	if p, err := client.Authorize(context.Background(), r); err != nil || p.Status != domain.PaymentStatusVoided {
		t.Errorf("%+v, %v", p, err)
	}
	if n := account.Requests("POST /v1/payment_intents/{intent}/confirm"); n != 1 {
		t.Errorf("%d confirmations", n)
	}
}

func TestKeysAndAddresses(t *testing.T) {
	for _, row := range []struct {
		key  domain.Secret
		url  string
		kind domain.GatewayKind // empty: it is refused
	}{
		{"sk_test_1", "", domain.GatewayStripeTest},
		{"rk_test_1", "", domain.GatewayStripeTest},
		{"sk_live_1", "", domain.GatewayStripe},
		{"rk_live_1", "", domain.GatewayStripe},
		{"pk_test_1", "", ""},
		{"", "", ""},
		{"sk_test_1 ", "", ""},
		{"sk_test_" + domain.Secret(strings.Repeat("x", 300)), "", ""},
		{"sk_test_1", "http://127.0.0.1:12111", domain.GatewayStripeTest},
		{"sk_test_1", "http://localhost:12111", domain.GatewayStripeTest},
		{"sk_live_1", "http://127.0.0.1:12111", ""},
		{"sk_test_1", "http://stripe.example", ""},
		{"sk_test_1", "http://127.0.0.1:12111/v1", ""},
		{"sk_test_1", "://", ""},
	} {
		client, err := stripe.New(row.key, stripe.Options{URL: row.url})
		switch {
		case row.kind == "":
			if domain.ClassOf(err) != domain.ClassFatal || strings.Contains(err.Error(), "_1") {
				t.Errorf("%s %s: %v", string(row.key), row.url, err)
			}
		case err != nil || client.Kind() != row.kind:
			t.Errorf("%s %s: %v", string(row.key), row.url, err)
		}
	}
}

// What is not Stripe, or not there, is not believed, and not quoted.
func TestWhatIsNotStripe(t *testing.T) {
	const key, quoted = "sk_test_1", "pm_4242"
	live := `{"id":"pi_1","object":"payment_intent","livemode":true,"status":"requires_capture","amount":2500,"amount_capturable":2500,"currency":"eur"}`
	for name, row := range map[string]struct {
		handler http.HandlerFunc // nil: nobody is there
		want    error
	}{
		"nobody":         {nil, domain.ErrUnknownOutcome},
		"a proxy":        {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>"+quoted, http.StatusBadGateway) }, domain.ErrUnknownOutcome},
		"another server": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>"+quoted, http.StatusNotFound) }, domain.ErrUnknownOutcome},
		"a page":         {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>"+quoted) }, domain.ErrUnknownOutcome},
		"a redirection":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, domain.ErrUnknownOutcome},
		"another thing": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"id":"cus_1","object":"customer"}`)
		}, domain.ErrMisconfigured},
		"one that is under way": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.NewReplacer(`true`, `false`, "requires_capture", "processing").Replace(live))
		}, domain.ErrUnknownOutcome},
		"live mode": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, live) }, domain.ErrMisconfigured},
		"too much": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", 9<<20)+live)
		}, domain.ErrUnknownOutcome},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(row.handler)
			defer server.Close()
			client, err := stripe.New(key, stripe.Options{URL: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if row.handler == nil {
				server.Close()
			}
			for _, c := range paymentstest.Calls {
				p, err := call(client, c, held("a"))
				if paymentstest.CheckError(t, err); !errors.Is(err, row.want) || strings.Contains(err.Error(), quoted) || strings.Contains(err.Error(), key) {
					t.Errorf("%s: %+v, %v", c, p, err)
				}
			}
		})
	}
}

// Many at once, with all that goes wrong at any rate: no name has a second intent, no effect comes twice, and once the faults and the
// keys that have stored them are over, everything can be brought to its end.
func TestAFaultyStripe(t *testing.T) {
	account, client := newPair(t, stripefake.Options{
		BusyRate: 0.05, LostReplyRate: 0.1, FaultBeforeRate: 0.05, FaultAfterRate: 0.1, Latency: time.Millisecond, Seed: 1,
	})
	const orders, tries = 40, 12
	paths := [][]payments.Call{
		{payments.CallAuthorize, payments.CallCapture, payments.CallRefund},
		{payments.CallAuthorize, payments.CallLookup, payments.CallCapture},
		{payments.CallAuthorize, payments.CallVoid},
		{payments.CallVoid, payments.CallAuthorize},
	}
	tokens := []domain.Secret{paymentstest.Token, paymentstest.Token, "pm_decline", "pm_authenticationRequired"}
	at := func(o int) domain.PaymentRequest {
		r := held(strconv.Itoa(o))
		r.Token = tokens[o/len(paths)%len(tokens)]
		return r
	}
	var running sync.WaitGroup
	for o := range orders {
		for range 2 { // two workers have it in hand
			running.Go(func() {
				r := at(o)
				for _, c := range paths[o%len(paths)] {
					for range tries {
						p, err := call(client, c, r)
						paymentstest.CheckError(t, err)
						if err == nil && p.AuthorizationID != "" {
							r.AuthorizationID = p.AuthorizationID
						}
						if !errors.Is(err, domain.ErrUnknownOutcome) {
							break
						}
					}
				}
			})
		}
	}
	running.Wait()
	account.Heal()
	account.Advance(25 * time.Hour)
	taken := 0
	for o := range orders {
		r := at(o)
		r.Attempt = longAgo(r.Attempt)
		switch p, err := client.Void(context.Background(), r.Attempt); {
		case err != nil:
			t.Errorf("order %d: %v", o, err)
		case p.Status == domain.PaymentStatusCaptured:
			taken++
			made(t, client, r, payments.CallRefund)
		}
		line, _ := paymentstest.LineOf(account.Books(), r.Name)
		over := line.Captured == line.Refunded && line.Authorized == line.Captured+line.Voided
		if n := account.Intents(r.Name); n != 1 || !over || line.Authorizations > 1 || line.Captures > 1 || line.Voids > 1 || line.Refunds > 1 {
			t.Errorf("%d intents, %+v", n, line)
		}
	}
	if taken == 0 {
		t.Error("nothing was captured: the test shows nothing")
	}
	checkBooks(t, account, client)
}

// checkBooks compares what can be listed with what was done.
func checkBooks(t *testing.T, account *stripefake.Stripe, client *stripe.Client) {
	t.Helper()
	listed, err := client.Books(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := account.Books()
	slices.SortFunc(listed, func(a, b domain.BooksLine) int { return strings.Compare(a.Name().String(), b.Name().String()) })
	slices.SortFunc(want, func(a, b domain.BooksLine) int { return strings.Compare(a.Name().String(), b.Name().String()) })
	if len(listed) != len(want) {
		t.Fatalf("%d payments listed, want %d", len(listed), len(want))
	}
	for i, line := range want {
		if line.Authorizations == 0 { // there was no money: its id is not told
			line.AuthorizationID = listed[i].AuthorizationID
		}
		if line.Refunds = min(line.Refunds, 1); listed[i] != line {
			t.Errorf("listed %+v, want %+v", listed[i], line)
		}
	}
}

// The books are read page by page, with patience, and are those of holdfast alone.
func TestBooks(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	for o := range 205 {
		r := held(strconv.Itoa(o))
		switch o % 5 {
		case 0:
			made(t, client, r, payments.CallAuthorize)
		case 1:
			made(t, client, r, payments.CallAuthorize, payments.CallCapture, payments.CallRefund)
		case 2:
			made(t, client, r, payments.CallVoid)
		case 3:
			r.Token = "pm_decline"
			made(t, client, r, payments.CallAuthorize)
		case 4:
			_, err := client.Lookup(context.Background(), r.Attempt) // nobody is asked to pay it
			if !errors.Is(err, domain.ErrNotFound) {
				t.Fatal(err)
			}
		}
	}
	account.Next("GET /v1/payment_intents", stripefake.FaultBefore)
	checkBooks(t, account, client)
	if n := account.Requests("GET /v1/payment_intents"); n != 4 {
		t.Errorf("%d requests, want 3 pages and one that failed", n)
	}
	account.Next("GET /v1/payment_intents", stripefake.NoRight)
	if _, err := client.Books(context.Background()); !errors.Is(err, domain.ErrMisconfigured) {
		t.Errorf("without the right: %v", err)
	}
}

// A search does not heed capitals; orders do.
func TestOrdersThatDifferInCapitals(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	upper, lower := paymentstest.Request(paymentstest.Name("A")), paymentstest.Request(paymentstest.Name("a"))
	made(t, client, upper, payments.CallAuthorize)
	if p, err := client.Lookup(context.Background(), lower.Attempt); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, r := range []domain.PaymentRequest{lower, upper} {
		made(t, client, r, payments.CallAuthorize, payments.CallCapture)
		if n := account.Intents(r.Name); n != 1 {
			t.Errorf("%d intents", n)
		}
	}
}

// Ranges of time that follow one another have each payment once.
func TestBooksOfSomeTime(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	began := time.Now().Truncate(time.Second)
	const days = 3
	for day := range days {
		for i := range 2 {
			made(t, client, held(strconv.Itoa(2*day+i)), payments.CallAuthorize, payments.CallCapture)
		}
		account.Advance(24 * time.Hour)
	}
	seen := map[domain.PaymentName]int{}
	for day := range days {
		from := began.AddDate(0, 0, day)
		lines, err := client.BooksBetween(context.Background(), from, from.AddDate(0, 0, 1))
		if err != nil || len(lines) != 2 {
			t.Errorf("day %d: %+v, %v", day, lines, err)
		}
		for _, line := range lines {
			seen[line.Name()]++
		}
	}
	if len(seen) != 2*days {
		t.Errorf("%v", seen)
	}
	for _, open := range [][2]time.Time{{began, {}}, {{}, began.AddDate(0, 0, days)}} {
		if lines, err := client.BooksBetween(context.Background(), open[0], open[1]); err != nil || len(lines) != 2*days {
			t.Errorf("%v: %d, %v", open, len(lines), err)
		}
	}
}

// What the bank has is not refunded on top of that, and disputes are told by the books, too.
func TestDisputes(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	ctx, r := context.Background(), held("a")
	made(t, client, r, payments.CallAuthorize, payments.CallCapture)
	lists := func() int { return account.Requests("GET /v1/disputes") }
	if p, err := client.Lookup(ctx, r.Attempt); err != nil || p.Dispute != (domain.Dispute{}) || lists() != 0 {
		t.Errorf("%+v, %v, %d requests", p, err, lists())
	}
	want := domain.Dispute{State: domain.DisputeOpen, Amount: 2000, DueMillis: 1_900_000_000_000}
	if err := account.Dispute(r.Name, want); err != nil {
		t.Fatal(err)
	}
	_, err := client.Refund(ctx, r.Attempt, r.Amount)
	if paymentstest.CheckError(t, err); !errors.Is(err, domain.ErrRefused) || !strings.Contains(err.Error(), "disputed") {
		t.Errorf("%v", err)
	}
	checkBooks(t, account, client)
	account.Next("/v1/disputes", stripefake.Busy)
	if lines, err := client.Books(ctx); err != nil || len(lines) != 1 || !lines[0].Disputed || lines[0].Dispute != want {
		t.Errorf("%+v, %v", lines, err)
	}
	for _, fault := range []struct {
		kind stripefake.Fault
		want error
	}{{stripefake.NoRight, domain.ErrMisconfigured}, {stripefake.FaultBefore, domain.ErrUnknownOutcome}, {stripefake.Busy, domain.ErrUnknownOutcome}} {
		account.Next("/v1/disputes", fault.kind)
		p, err := client.Lookup(ctx, r.Attempt)
		if paymentstest.CheckError(t, err); !errors.Is(err, fault.want) || p != (domain.Payment{}) {
			t.Errorf("%s: %+v, %v", fault.kind, p, err)
		}
	}
	if p, err := client.Lookup(ctx, r.Attempt); err != nil || p.Dispute != want {
		t.Errorf("%+v, %v", p, err)
	}
}

// A webhook about a dispute names the intent alone.
func TestNameOf(t *testing.T) {
	account, client := newPair(t, stripefake.Options{})
	r := held("a")
	made(t, client, r, payments.CallAuthorize)
	for id, want := range map[string]domain.PaymentName{account.Intent(r.Name): r.Name, "pi_nobodys": {}, "": {}, "ch_1": {}, "pi_../refunds": {}} {
		name, ours, err := client.NameOf(context.Background(), id)
		if err != nil || ours != (want != domain.PaymentName{}) || name != want {
			t.Errorf("%q: %v, %v, %v", id, name, ours, err)
		}
	}
	account.Next("/v1/payment_intents", stripefake.FaultBefore)
	if _, ours, err := client.NameOf(context.Background(), account.Intent(r.Name)); err == nil || ours {
		t.Errorf("while Stripe does not answer: %v, %v", ours, err)
	}
}
