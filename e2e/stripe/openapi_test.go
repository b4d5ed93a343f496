package stripe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jsval"
	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"
	"github.com/stripe/stripe-mock/spec"

	"holdfast/domain"
	"holdfast/payments/stripe"
	"holdfast/payments/stripe/stripefake"
)

// openAPI is Stripe's, with the fixtures.
func openAPI(t *testing.T) (*spec.Spec, *spec.Fixtures) {
	t.Helper()
	api, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	return api, fixtures
}

// exchange is one request and its answer.
type exchange struct {
	method, path, query, form, route string
	status                           int
	body                             []byte
}

// sale has the adapter make every request that it can make, of a fake that answers, and tells what was said.
func sale(t *testing.T) []exchange {
	t.Helper()
	var mu sync.Mutex
	var said []exchange
	var answered exchange
	account := stripefake.New(stripefake.Options{Answered: func(_, route string, status int, body []byte) {
		answered = exchange{route: route, status: status, body: body}
	}})
	ear := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		form, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(form))
		account.ServeHTTP(w, r)
		answered.method, answered.path, answered.query, answered.form = r.Method, r.URL.Path, r.URL.RawQuery, string(form)
		said = append(said, answered)
	}))
	defer ear.Close()
	client, err := stripe.New(account.Key(), stripe.Options{URL: ear.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	for i, token := range []domain.Secret{"pm_card_visa", "pm_card_mastercard", "ctoken_1", "pm_card_decline", "pm_card_authenticationRequired", "pm_missing"} {
		r := domain.PaymentRequest{Token: token, Attempt: domain.Attempt{
			Name:   domain.PaymentName{Namespace: "n", OrderRef: domain.OrderRef{EventID: "e", OrderID: "o"}, Attempt: i + 2},
			Amount: 2500, Currency: "EUR", CustomerID: "ann@example.org", Fingerprint: "b083c26c75bd146e",
		}}
		if i%2 == 0 {
			r.HeldAtMillis = time.Now().UnixMilli()
		}
		small := r.Attempt
		small.Amount = 2000
		_, err := client.Lookup(ctx, small) // what the order was about before: to be updated
		if !errors.Is(err, domain.ErrNotFound) {
			t.Fatal(err)
		}
		p, err := client.Authorize(ctx, r)
		if err != nil && token != "pm_missing" {
			t.Fatal(err)
		}
		if p.Status == domain.PaymentStatusActionRequired {
			if _, err := client.NextStep(ctx, r.Attempt); err != nil {
				t.Fatal(err)
			}
		}
		if p.Status == domain.PaymentStatusAuthorized && i != 2 {
			if _, err := client.Capture(ctx, r.Attempt); err != nil {
				t.Fatal(err)
			}
			if err := account.Dispute(r.Name, domain.Dispute{State: domain.DisputeInquiry, Amount: 2500, DueMillis: time.Now().UnixMilli()}); err != nil {
				t.Fatal(err)
			}
			if p, err := client.Lookup(ctx, r.Attempt); err != nil || p.Dispute.State != domain.DisputeInquiry {
				t.Fatal(p, err)
			}
			for _, total := range []int64{1000, 2500} {
				if _, err := client.Refund(ctx, r.Attempt, total); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		if _, err := client.Void(ctx, r.Attempt); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []time.Time{{}, time.Now().Add(-time.Hour)} {
		if _, err := client.BooksBetween(ctx, from, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	return said
}

// Every request is one that Stripe's OpenAPI allows: each parameter is known to it, and of its type.
func TestRequestsAreStripes(t *testing.T) {
	api, fixtures := openAPI(t)
	stub, err := server.NewStubServer(fixtures, api, false, false)
	if err != nil {
		t.Fatal(err)
	}
	mock := httptest.NewServer(http.HandlerFunc(stub.HandleRequest))
	defer mock.Close()
	ask := func(e exchange) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(context.Background(), e.method, mock.URL+e.path+"?"+e.query, strings.NewReader(e.form))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer sk_test_1")
		if e.form != "" {
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		reply, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = reply.Body.Close() }()
		body, err := io.ReadAll(reply.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply.StatusCode, string(body)
	}
	routes := map[string]int{}
	for _, e := range sale(t) {
		routes[e.method+" "+e.route]++
		if status, body := ask(e); status != http.StatusOK {
			t.Errorf("%s %s?%s %s: %d %s", e.method, e.path, e.query, e.form, status, body)
		}
	}
	for _, want := range []string{
		"POST /v1/payment_intents", "GET /v1/payment_intents", "GET /v1/payment_intents/search", "POST /v1/refunds", "GET /v1/disputes", "GET /v1/payment_intents/{intent}",
		"POST /v1/payment_intents/{intent}", "POST /v1/payment_intents/{intent}/confirm", "POST /v1/payment_intents/{intent}/capture", "POST /v1/payment_intents/{intent}/cancel",
	} {
		if routes[want] == 0 {
			t.Errorf("%s was not asked: %v", want, routes)
		}
	}
	if status, _ := ask(exchange{method: http.MethodPost, path: "/v1/payment_intents", form: "amount=2500&currency=eur&capture=manual"}); status != http.StatusBadRequest {
		t.Errorf("a parameter that there is not: %d, so this test shows nothing", status)
	}
}

// Every answer of the fake is one that Stripe's OpenAPI allows.
func TestTheFakeAnswersAsStripe(t *testing.T) {
	api, _ := openAPI(t)
	components := spec.GetComponentsForValidation(&api.Components)
	statuses := map[int]int{}
	validators := map[string]*jsval.JSVal{} // to make one takes seconds
	check := func(e exchange) error {
		operation := api.Paths[spec.Path(e.route)][spec.HTTPVerb(strings.ToLower(e.method))]
		if operation == nil {
			return errors.New("there is no such route")
		}
		key := spec.StatusCode("default")
		if e.status == http.StatusOK {
			key = "200"
		}
		what := e.method + e.route + string(key)
		if validators[what] == nil {
			var err error
			if validators[what], err = spec.GetValidatorForOpenAPI3Schema(operation.Responses[key].Content["application/json"].Schema, components); err != nil {
				return err
			}
		}
		var body any
		if err := json.Unmarshal(e.body, &body); err != nil {
			return err
		}
		return validators[what].Validate(body)
	}
	var whole exchange
	for _, e := range sale(t) {
		if statuses[e.status]++; e.status == http.StatusOK && e.route == "/v1/payment_intents/{intent}" {
			whole = e
		}
		if err := check(e); err != nil {
			t.Errorf("%s %s: %d %s: %v", e.method, e.route, e.status, e.body, err)
		}
	}
	if statuses[http.StatusOK] == 0 || statuses[http.StatusPaymentRequired] == 0 || statuses[http.StatusBadRequest] == 0 {
		t.Errorf("answers by status: %v", statuses)
	}
	whole.body = bytes.Replace(whole.body, []byte(`"livemode":false`), []byte(`"livemode":"no"`), 1)
	if err := check(whole); err == nil {
		t.Errorf("a wrong type is not found, so this test shows nothing: %s", whole.body)
	}
}
