package producer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/producer"
)

const token = "tok_secret"

func purchase(orderID string) domain.Request {
	return domain.Request{
		Type: domain.RequestPurchase, EventID: "e", OrderID: orderID, CustomerID: "fred", Quantity: 2, PaymentToken: token,
	}
}

func purchaseOf(orderID, customer string) domain.Request {
	r := purchase(orderID)
	r.CustomerID = customer
	return r
}

func purchases(orderIDs ...string) (batch []domain.Request) {
	for _, id := range orderIDs {
		batch = append(batch, purchase(id))
	}
	return batch
}

func numbered(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("o%d", i))
	}
	return ids
}

func newPublisher(t *testing.T, f *requests, o producer.Options) *producer.Producer {
	p := producer.New(f, newOutcomes(), o)
	t.Cleanup(p.Close)
	return p
}

// checkReceipt compares where the request is; what was published is another matter.
func checkReceipt(t *testing.T, got producer.Receipt, orderID, entryID string) {
	t.Helper()
	got.Type, got.Fingerprint, got.Attempt = "", "", 0
	if want := (producer.Receipt{EventID: "e", OrderID: orderID, EntryID: entryID}); got != want {
		t.Errorf("receipt %+v, want %+v", got, want)
	}
}

func checkSent(t *testing.T, f *requests, want ...[]string) {
	t.Helper()
	if got := f.sent(); !reflect.DeepEqual(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

func TestPublishSendsTheRequestAsItIs(t *testing.T) {
	price := int64(0)
	valid := []domain.Request{
		{
			Type: domain.RequestPurchase, EventID: "e", OrderID: "o1", CustomerID: "fred@example.org", Section: "balcony",
			Quantity: 3, PaymentToken: token, UnitPrice: &price, HoldSeconds: 60, ValidSeconds: 30,
			Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		},
		{Type: domain.RequestHold, EventID: "e", OrderID: "o2", CustomerID: "fred", Quantity: 1},
		{Type: domain.RequestPay, EventID: "e", OrderID: "o3", PaymentToken: token},
		{Type: domain.RequestCancel, EventID: "e", OrderID: "o4"},
	}
	f := &requests{}
	p := newPublisher(t, f, producer.Options{})
	for i, r := range valid {
		receipt, err := p.Publish(t.Context(), r)
		if err != nil {
			t.Errorf("publishing a %s: %v", r.Type, err)
		}
		checkReceipt(t, receipt, r.OrderID, entryID(r.OrderID, i+1))
		parsed, _ := wire.ParseRequest(wire.Fields(r))
		if receipt.Type != r.Type || receipt.Fingerprint != parsed.Fingerprint || (r.Type != domain.RequestCancel) != (receipt.Fingerprint != "") || (r.Type == domain.RequestPay) != (receipt.Attempt == 1) {
			t.Errorf("receipt %+v of a %s with fingerprint %q", receipt, r.Type, parsed.Fingerprint)
		}
		// It may have to be kept somewhere until the outcome is asked for.
		var kept producer.Receipt
		if text, err := json.Marshal(receipt); err != nil || json.Unmarshal(text, &kept) != nil || kept != receipt {
			t.Errorf("%+v comes back from JSON as %+v", receipt, kept)
		}
		if got := f.calls[i]; len(got) != 1 || !reflect.DeepEqual(got[0], r) {
			t.Errorf("sent %+v, want %+v alone", got, r)
		}
	}
}

func TestRequestsAreOfTheSpanThatPublishesThem(t *testing.T) {
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0x0a, 0xf7}, SpanID: trace.SpanID{0xb7}, TraceFlags: trace.FlagsSampled})
	const own, of = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "00-0af70000000000000000000000000000-b700000000000000-01"
	for _, c := range []struct {
		ctx               context.Context
		traceparent, want string
	}{
		{trace.ContextWithSpanContext(t.Context(), span), "", of},
		{trace.ContextWithSpanContext(t.Context(), span), own, own},
		{t.Context(), "", ""},
		{t.Context(), own, own},
	} {
		f := &requests{}
		r := domain.Request{Type: domain.RequestHold, EventID: "e", OrderID: "o", CustomerID: "fred", Quantity: 1, Traceparent: c.traceparent}
		if _, err := newPublisher(t, f, producer.Options{}).Publish(c.ctx, r); err != nil {
			t.Fatal(err)
		}
		sent := f.calls[0][0]
		if parsed, err := wire.ParseRequest(wire.Fields(sent)); sent.Traceparent != c.want || err != nil || parsed.Traceparent != c.want {
			t.Errorf("sent with %q, read as %q (%v), want %q", sent.Traceparent, parsed.Traceparent, err, c.want)
		}
	}
}

// What is malformed is refused here, with the field's name and not its value, and does not stop the others.
func TestMalformedRequests(t *testing.T) {
	price := int64(-1)
	for _, test := range []struct {
		name   string
		field  string // the error begins with it
		change func(r *domain.Request)
	}{
		{"no type", "type", func(r *domain.Request) { r.Type = "" }},
		{"unknown type", "type", func(r *domain.Request) { r.Type = "buy" }},
		{"no event", "event_id", func(r *domain.Request) { r.EventID = "" }},
		{"bad event", "event_id", func(r *domain.Request) { r.EventID = "e/1" }},
		{"bad order", "order_id", func(r *domain.Request) { r.OrderID = "o 1" }},
		{"long order", "order_id", func(r *domain.Request) { r.OrderID = strings.Repeat("o", domain.MaxIDLength+1) }},
		{"no customer", "customer_id", func(r *domain.Request) { r.CustomerID = "" }},
		{"bad customer", "customer_id", func(r *domain.Request) { r.CustomerID = "fréd" }},
		{"hold without customer", "customer_id", func(r *domain.Request) { r.Type, r.CustomerID = domain.RequestHold, "" }},
		{"bad section", "section", func(r *domain.Request) { r.Section = "a|b" }},
		{"no quantity", "quantity", func(r *domain.Request) { r.Quantity = 0 }},
		{"negative quantity", "quantity", func(r *domain.Request) { r.Quantity = -1 }},
		{"large quantity", "quantity", func(r *domain.Request) { r.Quantity = domain.MaxQuantity + 1 }},
		{"negative price", "unit_price", func(r *domain.Request) { r.UnitPrice = &price }},
		{"negative hold", "hold_seconds", func(r *domain.Request) { r.HoldSeconds = -1 }},
		{"long hold", "hold_seconds", func(r *domain.Request) { r.HoldSeconds = wire.MaxHoldSeconds + 1 }},
		{"long validity", "valid_seconds", func(r *domain.Request) { r.ValidSeconds = wire.MaxValidSeconds + 1 }},
		{"token with a newline", "payment_token", func(r *domain.Request) { r.PaymentToken += "\n" }},
		{"long token", "payment_token", func(r *domain.Request) {
			r.PaymentToken = domain.Secret(strings.Repeat(token, wire.MaxTokenLength))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad := purchase("bad")
			test.change(&bad)
			f := &requests{}
			p := newPublisher(t, f, producer.Options{})
			results := p.PublishBatch(t.Context(), []domain.Request{purchase("first"), bad, purchase("last")})
			if len(results) != 3 {
				t.Fatalf("%d results for 3 requests", len(results))
			}
			for i, id := range map[int]string{0: "first", 2: "last"} {
				if results[i].Err != nil {
					t.Errorf("%s: %v", id, results[i].Err)
				}
				checkReceipt(t, results[i].Receipt, id, entryID(id, 1))
			}
			err := results[1].Err
			switch {
			case err == nil:
				t.Fatal("no error")
			case domain.ClassOf(err) != domain.ClassReject || errors.Is(err, domain.ErrUnknownOutcome):
				t.Errorf("%v: class %s, want reject, and the outcome known", err, domain.ClassOf(err))
			case !strings.HasPrefix(err.Error(), test.field+":") || strings.Contains(err.Error(), token):
				t.Errorf("the error is %q, want it to begin with %s: and keep the token secret", err, test.field)
			}
			if want := (producer.Receipt{EventID: bad.EventID, OrderID: bad.OrderID}); results[1].Receipt != want {
				t.Errorf("receipt %+v, want %+v", results[1].Receipt, want)
			}
			checkSent(t, f, []string{"first", "last"})

			receipt, err := p.Publish(t.Context(), bad)
			if domain.ClassOf(err) != domain.ClassReject || receipt != results[1].Receipt {
				t.Errorf("published alone: %+v, %v", receipt, err)
			}
			checkSent(t, f, []string{"first", "last"})
		})
	}
}

func TestPublishNothing(t *testing.T) {
	f := &requests{}
	if results := newPublisher(t, f, producer.Options{}).PublishBatch(t.Context(), nil); len(results) != 0 {
		t.Errorf("%d results for no request", len(results))
	}
	checkSent(t, f)
}

func TestNewOrderIDs(t *testing.T) {
	invalid := purchase("")
	invalid.Quantity = 0
	lost := purchase("")
	lost.CustomerID = "lost"
	refused := purchase("")
	refused.CustomerID = "refused"
	batch := []domain.Request{purchase(""), invalid, lost, purchase("mine"), refused, purchase("")}
	synctest.Test(t, func(t *testing.T) {
		f := &requests{fail: func(_ int, r domain.Request) error {
			return map[string]error{"lost": errLost, "refused": errRefused}[r.CustomerID]
		}}
		results := newPublisher(t, f, producer.Options{}).PublishBatch(t.Context(), batch)
		seen := make(map[string]bool)
		var ids []string
		for i, result := range results {
			id := result.Receipt.OrderID
			ids = append(ids, id)
			if seen[id] {
				t.Errorf("%s names two orders", id)
			}
			seen[id] = true
			if i == 3 {
				if id != "mine" {
					t.Errorf("mine became %s", id)
				}
			} else if u, err := uuid.Parse(id); err != nil || u.Version() != 7 || u.String() != id {
				t.Errorf("request %d: %q is no UUIDv7: %v", i, id, err)
			}
			if result.Receipt.EventID != "e" {
				t.Errorf("request %d: receipt %+v does not name the event", i, result.Receipt)
			}
			if batch[i].OrderID != "" && i != 3 {
				t.Errorf("request %d of the caller was changed to %s", i, batch[i].OrderID)
			}
		}
		for i, want := range []error{nil, nil, domain.ErrUnknownOutcome, nil, errRefused, nil} {
			if err := results[i].Err; i != 1 && !errors.Is(err, want) {
				t.Errorf("request %d: %v, want %v", i, err, want)
			}
		}
		if domain.ClassOf(results[1].Err) != domain.ClassReject {
			t.Errorf("the invalid one: %v", results[1].Err)
		}
		// The id stays the same from attempt to attempt: it is what makes them harmless.
		again := []string{ids[2], ids[4]}
		checkSent(t, f, slices.Delete(slices.Clone(ids), 1, 2), again, again)
	})
}

func TestAttempts(t *testing.T) {
	busy := domain.WithClass(domain.ClassRetry, errors.New("BUSY"))
	full := domain.WithCode(domain.ClassRetry, domain.CodeBusy, errors.New("as many wait as may"))
	for _, test := range []struct {
		name     string
		attempts int
		answers  []error
		want     error // nil: published at the last answer
		unknown  bool
	}{
		{"at once", 0, []error{nil}, nil, false},
		{"refused, then published", 0, []error{errRefused, nil}, nil, false},
		{"refused twice, then published", 0, []error{errRefused, errRefused, nil}, nil, false},
		{"lost, then published", 0, []error{errLost, nil}, nil, false},
		{"lost, refused, then published", 0, []error{errLost, errRefused, nil}, nil, false},
		{"refused three times", 0, []error{errRefused, errRefused, errRefused}, errRefused, false},
		{"the latest refusal counts", 0, []error{errRefused, errRefused, busy}, busy, false},
		{"lost three times", 0, []error{errLost, errLost, errLost}, errLost, true},
		{"lost, then refused", 0, []error{errLost, errRefused, errRefused}, errLost, true},
		{"refused, lost, refused", 0, []error{errRefused, errLost, busy}, errLost, true},
		{"refused, then lost", 0, []error{errRefused, errRefused, errLost}, errLost, true},
		{"full, which is told at once", 0, []error{full}, full, false},
		{"refused, then full", 0, []error{errRefused, full}, full, false},
		{"lost, then full", 0, []error{errLost, full}, errLost, true},
		{"one attempt, refused", 1, []error{errRefused}, errRefused, false},
		{"one attempt, lost", 1, []error{errLost}, errLost, true},
		{"two attempts", 2, []error{errRefused, busy}, busy, false},
		{"five attempts", 5, []error{errLost, errRefused, errLost, errRefused, nil}, nil, false},
		{"the default for nonsense", -1, []error{errRefused, errRefused, errRefused}, errRefused, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				f := &requests{fail: func(call int, _ domain.Request) error { return test.answers[min(call, len(test.answers))-1] }}
				receipt, err := newPublisher(t, f, producer.Options{Attempts: test.attempts}).Publish(t.Context(), purchase("o"))
				if n := len(f.calls); n != len(test.answers) {
					t.Fatalf("%d attempts, want %d", n, len(test.answers))
				}
				if !errors.Is(err, test.want) || errors.Is(err, domain.ErrUnknownOutcome) != test.unknown {
					t.Errorf("error %v, want %v, unknown %t", err, test.want, test.unknown)
				}
				if test.want == nil {
					checkReceipt(t, receipt, "o", entryID("o", len(test.answers)))
				} else {
					checkReceipt(t, receipt, "o", "")
				}
				// A pause before each further attempt, and none after the last.
				pauses := time.Duration(len(test.answers) - 1)
				if took := time.Since(began); took < pauses*10*time.Millisecond || took > pauses*200*time.Millisecond {
					t.Errorf("%d pauses took %s", pauses, took)
				}
			})
		})
	}
}

func TestOnlyWhatFailedIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := map[string]int{"b": 2, "c": 1, "d": 9, "e": 3} // the first call that takes it, less one
		f := &requests{fail: func(call int, r domain.Request) error {
			if call <= until[r.OrderID] {
				return errLost
			}
			return nil
		}}
		ids := []string{"a", "b", "c", "d", "e", "f"}
		results := newPublisher(t, f, producer.Options{Attempts: 4}).PublishBatch(t.Context(), purchases(ids...))
		checkSent(t, f, ids, []string{"b", "c", "d", "e"}, []string{"b", "d", "e"}, []string{"d", "e"})
		for i, entry := range []string{entryID("a", 1), entryID("b", 3), entryID("c", 2), "", entryID("e", 4), entryID("f", 1)} {
			checkReceipt(t, results[i].Receipt, ids[i], entry)
			if err := results[i].Err; (entry == "") != errors.Is(err, domain.ErrUnknownOutcome) || (entry == "") != (err != nil) {
				t.Errorf("%s: %v", ids[i], err)
			}
		}
	})
}

func TestChunks(t *testing.T) {
	for _, test := range []struct {
		maxBatch, requests int
		want               []int
	}{
		{0, 2500, []int{1000, 1000, 500}},
		{-1, 1001, []int{1000, 1}},
		{0, 1000, []int{1000}},
		{3, 7, []int{3, 3, 1}},
		{1, 3, []int{1, 1, 1}},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			f := &requests{}
			ids := numbered(test.requests)
			results := newPublisher(t, f, producer.Options{MaxBatch: test.maxBatch}).PublishBatch(t.Context(), purchases(ids...))
			var sizes []int
			var sent []string
			for _, call := range f.sent() {
				sizes = append(sizes, len(call))
				sent = append(sent, call...)
			}
			if !slices.Equal(sizes, test.want) || !slices.Equal(sent, ids) {
				t.Errorf("chunks of %v, want %v with every request once and in order", sizes, test.want)
			}
			call := 1
			for i, result := range results {
				if i == sum(test.want[:call]) {
					call++
				}
				if result.Err != nil {
					t.Errorf("%s: %v", ids[i], result.Err)
				}
				checkReceipt(t, result.Receipt, ids[i], entryID(ids[i], call))
			}
		})
	}
}

func sum(values []int) (sum int) {
	for _, v := range values {
		sum += v
	}
	return sum
}

// Chunks count the requests that are sent, and each has all its attempts.
func TestChunksOfAMixedBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		batch := purchases("a", "b", "c", "d", "e", "f")
		batch[1].Quantity, batch[4].Quantity = 0, 0
		refuse := map[string]int{"a": 1, "c": 3, "f": 5} // the last call that refuses it
		f := &requests{fail: func(call int, r domain.Request) error {
			if call <= refuse[r.OrderID] {
				return errRefused
			}
			return nil
		}}
		results := newPublisher(t, f, producer.Options{MaxBatch: 2}).PublishBatch(t.Context(), batch)
		checkSent(t, f, []string{"a", "c"}, []string{"a", "c"}, []string{"c"}, []string{"d", "f"}, []string{"f"}, []string{"f"})
		for i, want := range []struct {
			entry string
			class domain.Class // of the error, if there is no entry
		}{
			{entryID("a", 2), 0},
			{"", domain.ClassReject},
			{"", domain.ClassRetry},
			{entryID("d", 4), 0},
			{"", domain.ClassReject},
			{entryID("f", 6), 0},
		} {
			checkReceipt(t, results[i].Receipt, batch[i].OrderID, want.entry)
			if err := results[i].Err; (err == nil) != (want.entry != "") || domain.ClassOf(err) != want.class {
				t.Errorf("%s: %v", batch[i].OrderID, err)
			}
		}
	})
}

func TestContextEndsBetweenAttempts(t *testing.T) {
	for _, answer := range []error{errRefused, errLost} {
		t.Run(answer.Error(), func(t *testing.T) {
			t.Run("during the call", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					began := time.Now()
					ctx, cancel := context.WithCancel(t.Context())
					f := &requests{fail: func(int, domain.Request) error { cancel(); return answer }}
					receipt, err := newPublisher(t, f, producer.Options{Attempts: 10}).Publish(ctx, purchase("o"))
					if took := time.Since(began); len(f.calls) != 1 || took != 0 || !errors.Is(err, answer) {
						t.Errorf("%d attempts in %s, %v; want one and its error at once", len(f.calls), took, err)
					}
					checkReceipt(t, receipt, "o", "")
				})
			})
			t.Run("during the pause", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					began := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					defer cancel()
					f := &requests{fail: func(int, domain.Request) error { return answer }}
					receipt, err := newPublisher(t, f, producer.Options{Attempts: 10}).Publish(ctx, purchase("o"))
					if took := time.Since(began); len(f.calls) != 1 || took != time.Millisecond || !errors.Is(err, answer) {
						t.Errorf("%d attempts in %s, %v; want one and its error after 1ms", len(f.calls), took, err)
					}
					checkReceipt(t, receipt, "o", "")
				})
			})
		})
	}
}

// After ctx has ended in one chunk, no request of the next has a result that says nothing.
func TestContextEndsBetweenChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &requests{fail: func(_ int, r domain.Request) error {
			if ctx.Err() != nil {
				return fmt.Errorf("publishing: %w", ctx.Err())
			}
			if r.OrderID == "o1" {
				cancel()
				return errRefused
			}
			return nil
		}}
		results := newPublisher(t, f, producer.Options{MaxBatch: 2}).PublishBatch(ctx, purchases(numbered(6)...))
		for i, want := range []error{nil, errRefused, context.Canceled, context.Canceled, context.Canceled, context.Canceled} {
			if err := results[i].Err; !errors.Is(err, want) || (err == nil) != (results[i].Receipt.EntryID != "") {
				t.Errorf("o%d: %+v, want %v", i, results[i], want)
			}
		}
	})
}

// Under the race detector, this is about the producer having nothing that publishers share.
func TestPublishFromManyGoroutines(t *testing.T) {
	const publishers, batches, size = 16, 10, 5
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		failed := make(map[string]bool)
		f := &requests{fail: func(_ int, r domain.Request) error {
			mu.Lock()
			defer mu.Unlock()
			if !failed[r.OrderID] {
				failed[r.OrderID] = true
				return errLost
			}
			return nil
		}}
		p := newPublisher(t, f, producer.Options{MaxBatch: 3})
		var wg sync.WaitGroup
		for i := range publishers {
			wg.Go(func() {
				for j := range batches {
					var ids []string
					for k := range size {
						ids = append(ids, fmt.Sprintf("o-%d-%d-%d", i, j, k))
					}
					for k, result := range p.PublishBatch(t.Context(), purchases(ids...)) {
						if result.Err != nil || result.Receipt.OrderID != ids[k] || !strings.HasPrefix(result.Receipt.EntryID, ids[k]+" ") {
							t.Errorf("%s: %+v", ids[k], result)
						}
					}
				}
			})
		}
		wg.Wait()
		sent := make(map[string]int)
		for _, call := range f.sent() {
			for _, id := range call {
				sent[id]++
			}
		}
		if len(sent) != publishers*batches*size {
			t.Errorf("%d orders were sent, want %d", len(sent), publishers*batches*size)
		}
		for id, n := range sent {
			if n != 2 {
				t.Errorf("%s was sent %d times, want 2", id, n)
			}
		}
	})
}

// What was confirmed is in the receipt, and it is the stream's to wait.
func TestReceiptTellsReplicas(t *testing.T) {
	f := &requests{fail: func(call int, r domain.Request) error {
		if call == 1 && r.OrderID == "o1" {
			return errLost
		}
		return nil
	}}
	p := newPublisher(t, f, producer.Options{Replicas: 2, ReplicasTimeout: 3 * time.Second})
	for _, result := range p.PublishBatch(t.Context(), purchases("o0", "o1")) {
		if result.Err != nil || result.Receipt.Replicas != 2 {
			t.Errorf("%+v, want it confirmed by 2", result)
		}
	}
	if want := (domain.Confirmation{Replicas: 2, Timeout: 3 * time.Second}); f.confirm != want {
		t.Errorf("asked for %+v, want %+v", f.confirm, want)
	}
	if _, err := newPublisher(t, f, producer.Options{Replicas: 1}).Publish(t.Context(), purchase("o2")); err != nil {
		t.Error(err)
	}
	if want := (domain.Confirmation{Replicas: 1, Timeout: time.Second}); f.confirm != want {
		t.Errorf("asked for %+v, want %+v", f.confirm, want)
	}
	receipt, err := newPublisher(t, f, producer.Options{}).Publish(t.Context(), purchase("o3"))
	if err != nil || f.confirm.Replicas != 0 || receipt.Replicas != 0 {
		t.Errorf("%+v, %v: it waited without being told to", receipt, err)
	}
}
