// Package paymentstest is the suite that every adapter of domain.PaymentGateway
// must pass, and the pieces that adapters' own tests share.
package paymentstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"holdfast/domain"
	"holdfast/payments"
)

// Gateway is the adapter under test.
type Gateway struct {
	// New makes a gateway without faults that has heard of no order, for as long as
	// the test takes, and the function that asks it for its books.
	New func(t *testing.T) (domain.PaymentGateway, Books)
	// DeclinedToken is a payment token that the gateway declines. It approves Token.
	DeclinedToken domain.Secret
}

// Books asks a gateway for all that it ever did: one line an order, sorted by
// event and order.
type Books func(ctx context.Context) ([]domain.BooksLine, error)

// Run holds the gateway to what domain.PaymentGateway promises, and its books to
// what the gateway did.
func Run(t *testing.T, g Gateway) {
	t.Run("every call in every status", func(t *testing.T) { testEveryCallInEveryStatus(t, g) })
	t.Run("a repeated authorization", func(t *testing.T) { testRepeatedAuthorization(t, g) })
	t.Run("odd ids", func(t *testing.T) { testOddIDs(t, g) })
	t.Run("malformed requests", func(t *testing.T) { testMalformedRequests(t, g) })
	t.Run("ended context", func(t *testing.T) { testEndedContext(t, g) })
	t.Run("books", func(t *testing.T) { testBooks(t, g) })
	t.Run("many at once", func(t *testing.T) { testManyAtOnce(t, g) })
	t.Run("model", func(t *testing.T) { testAgainstModel(t, g) })
}

// start makes a gateway whose books, if they cannot be had, end the test.
func (g Gateway) start(t *testing.T) (domain.PaymentGateway, func() []domain.BooksLine) {
	t.Helper()
	gw, books := g.New(t)
	return gw, func() []domain.BooksLine {
		t.Helper()
		lines, err := books(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
}

func (g Gateway) declined(name domain.PaymentName) domain.PaymentRequest {
	p := Request(name)
	p.Token = g.DeclinedToken
	return p
}

func testEveryCallInEveryStatus(t *testing.T, g Gateway) {
	const (
		authorized = domain.PaymentStatusAuthorized
		declined   = domain.PaymentStatusDeclined
		captured   = domain.PaymentStatusCaptured
		voided     = domain.PaymentStatusVoided
		refunded   = domain.PaymentStatusRefunded
	)
	type answer struct {
		status domain.PaymentStatus
		err    error
		after  Effects
	}
	yes := func(s domain.PaymentStatus, after Effects) answer { return answer{status: s, after: after} }
	no := func(err error, after Effects) answer { return answer{err: err, after: after} }
	table := []struct {
		name     string
		path     []payments.Call // how the order got there
		declined bool            // with a token that is declined
		want     map[payments.Call]answer
	}{
		{"unknown", nil, false, map[payments.Call]answer{
			payments.CallAuthorize: yes(authorized, Effects{1, 0, 0, 0}),
			payments.CallLookup:    no(domain.ErrNotFound, Effects{}),
			payments.CallCapture:   no(domain.ErrNotFound, Effects{}),
			payments.CallVoid:      yes(voided, Effects{}),
			payments.CallRefund:    no(domain.ErrNotFound, Effects{}),
		}},
		{"authorized", []payments.Call{payments.CallAuthorize}, false, map[payments.Call]answer{
			payments.CallAuthorize: yes(authorized, Effects{1, 0, 0, 0}),
			payments.CallLookup:    yes(authorized, Effects{1, 0, 0, 0}),
			payments.CallCapture:   yes(captured, Effects{1, 1, 0, 0}),
			payments.CallVoid:      yes(voided, Effects{1, 0, 1, 0}),
			payments.CallRefund:    no(domain.ErrRefused, Effects{1, 0, 0, 0}),
		}},
		{"declined", []payments.Call{payments.CallAuthorize}, true, map[payments.Call]answer{
			payments.CallAuthorize: yes(declined, Effects{}),
			payments.CallLookup:    yes(declined, Effects{}),
			payments.CallCapture:   no(domain.ErrRefused, Effects{}),
			payments.CallVoid:      yes(declined, Effects{}),
			payments.CallRefund:    no(domain.ErrRefused, Effects{}),
		}},
		{"captured", []payments.Call{payments.CallAuthorize, payments.CallCapture}, false, map[payments.Call]answer{
			payments.CallAuthorize: yes(captured, Effects{1, 1, 0, 0}),
			payments.CallLookup:    yes(captured, Effects{1, 1, 0, 0}),
			payments.CallCapture:   yes(captured, Effects{1, 1, 0, 0}),
			payments.CallVoid:      yes(captured, Effects{1, 1, 0, 0}),
			payments.CallRefund:    yes(refunded, Effects{1, 1, 0, 1}),
		}},
		{"voided", []payments.Call{payments.CallAuthorize, payments.CallVoid}, false, map[payments.Call]answer{
			payments.CallAuthorize: yes(voided, Effects{1, 0, 1, 0}),
			payments.CallLookup:    yes(voided, Effects{1, 0, 1, 0}),
			payments.CallCapture:   no(domain.ErrRefused, Effects{1, 0, 1, 0}),
			payments.CallVoid:      yes(voided, Effects{1, 0, 1, 0}),
			payments.CallRefund:    no(domain.ErrRefused, Effects{1, 0, 1, 0}),
		}},
		{"voided before it came", []payments.Call{payments.CallVoid}, false, map[payments.Call]answer{
			payments.CallAuthorize: yes(voided, Effects{}),
			payments.CallLookup:    yes(voided, Effects{}),
			payments.CallCapture:   no(domain.ErrRefused, Effects{}),
			payments.CallVoid:      yes(voided, Effects{}),
			payments.CallRefund:    no(domain.ErrRefused, Effects{}),
		}},
		{"refunded", []payments.Call{payments.CallAuthorize, payments.CallCapture, payments.CallRefund}, false, map[payments.Call]answer{
			payments.CallAuthorize: yes(refunded, Effects{1, 1, 0, 1}),
			payments.CallLookup:    yes(refunded, Effects{1, 1, 0, 1}),
			payments.CallCapture:   no(domain.ErrRefused, Effects{1, 1, 0, 1}),
			payments.CallVoid:      yes(refunded, Effects{1, 1, 0, 1}),
			payments.CallRefund:    yes(refunded, Effects{1, 1, 0, 1}),
		}},
	}
	gw, books := g.start(t)
	ctx := context.Background()
	for i, row := range table {
		for j, c := range Calls {
			t.Run(row.name+"/"+string(c), func(t *testing.T) {
				order := Name(fmt.Sprintf("o-%d-%d", i, j))
				want := row.want[c]
				for _, step := range row.path {
					var err error
					if row.declined {
						_, err = gw.Authorize(ctx, g.declined(order))
					} else {
						_, err = Invoke(ctx, gw, step, order)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				// Twice, because whoever repeats a call gets what the first one got.
				for range 2 {
					p, err := Invoke(ctx, gw, c, order)
					CheckError(t, err)
					if !errors.Is(err, want.err) || p.Status != want.status {
						t.Fatalf("got status %q, error %v; want %q, %v", p.Status, err, want.status, want.err)
					}
					if err != nil && p != (domain.Payment{}) {
						t.Errorf("a payment came with the error: %+v", p)
					}
					CheckTold(t, p, Request(order))
					if hasAuthorization := want.after[0] > 0; err == nil && hasAuthorization != (p.AuthorizationID != "") {
						t.Errorf("authorization id %q", p.AuthorizationID)
					}
					tombstone := p.Status == voided && want.after[0] == 0
					if err == nil && (p.Amount != 2500) != tombstone || tombstone && p.Amount != domain.AmountNotTold {
						t.Errorf("amount %d", p.Amount)
					}
				}
				line, known := LineOf(books(), order)
				if known != (len(row.path) > 0 || want.err == nil) {
					t.Errorf("the order is in the books: %v", known)
				}
				if got := EffectsOf(line); got != want.after {
					t.Errorf("effects %+v, want %+v", got, want.after)
				}
				if known && line.Calls != len(row.path)+2 {
					t.Errorf("%d calls, want %d", line.Calls, len(row.path)+2)
				}
			})
		}
	}
}

func testRepeatedAuthorization(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	first, err := gw.Authorize(ctx, Request(Name("a")))
	if err != nil {
		t.Fatal(err)
	}
	other := Request(Name("a"))
	other.Amount, other.Currency, other.CustomerID, other.Token = 99, "JPY", "bob", g.DeclinedToken
	second, err := gw.Authorize(ctx, other)
	if err != nil || second != first {
		t.Errorf("got %+v, %v; want the first payment %+v", second, err, first)
	}
	CheckTold(t, second, Request(Name("a")))
	line, _ := LineOf(books(), Name("a"))
	want := domain.BooksLine{
		Namespace: "season-1", EventID: "concert", OrderID: "a", CustomerID: "ann@example.org",
		AuthorizationID: first.AuthorizationID, Status: domain.PaymentStatusAuthorized,
		Currency: "EUR", Fingerprint: first.Fingerprint, Authorized: 2500, Authorizations: 1, Calls: 2,
	}
	if line != want {
		t.Errorf("line %+v, want %+v", line, want)
	}

	if p, err := gw.Authorize(ctx, g.declined(Name("b"))); err != nil || p.Status != domain.PaymentStatusDeclined {
		t.Fatalf("got %+v, %v", p, err)
	}
	if p, err := gw.Authorize(ctx, Request(Name("b"))); err != nil || p.Status != domain.PaymentStatusDeclined {
		t.Errorf("declined, then with a good token: got %+v, %v", p, err)
	}
}

func testOddIDs(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	ids := []string{".", "..", "...", "a+b@c", "capture", "void", "authorizations", "-", "_", "2E", ".a", "a..", strings.Repeat("x", domain.MaxIDLength)}
	seen := map[string]bool{}
	for _, event := range ids {
		for _, order := range ids {
			r := domain.PaymentName{OrderRef: domain.OrderRef{EventID: event, OrderID: order}}
			p, err := gw.Authorize(ctx, Request(r))
			if err != nil || p.Status != domain.PaymentStatusAuthorized || seen[p.AuthorizationID] {
				t.Fatalf("authorize %s: %+v, %v", r, p, err)
			}
			seen[p.AuthorizationID] = true
			if p, err := gw.Capture(ctx, r); err != nil || p.Status != domain.PaymentStatusCaptured {
				t.Fatalf("capture %s: %+v, %v", r, p, err)
			}
		}
	}
	lines := books()
	if len(lines) != len(ids)*len(ids) {
		t.Errorf("%d lines for %d orders", len(lines), len(ids)*len(ids))
	}
	for _, line := range lines {
		if EffectsOf(line) != (Effects{1, 1, 0, 0}) || line.Calls != 2 {
			t.Errorf("%+v", line)
		}
	}
}

func testMalformedRequests(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	change := func(f func(*domain.PaymentRequest)) domain.PaymentRequest {
		r := Request(Name("a"))
		f(&r)
		return r
	}
	for name, r := range map[string]domain.PaymentRequest{
		"negative amount":  change(func(r *domain.PaymentRequest) { r.Amount = -1 }),
		"amount too large": change(func(r *domain.PaymentRequest) { r.Amount = domain.MaxAmount + 1 }),
		"currency":         change(func(r *domain.PaymentRequest) { r.Currency = "euro" }),
		"customer":         change(func(r *domain.PaymentRequest) { r.CustomerID = "a b" }),
		"order":            change(func(r *domain.PaymentRequest) { r.Name.OrderID = "a/b" }),
		"no event":         change(func(r *domain.PaymentRequest) { r.Name.EventID = "" }),
	} {
		_, err := gw.Authorize(ctx, r)
		CheckError(t, err)
		if !errors.Is(err, domain.ErrUnacceptable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range Calls {
		_, err := Invoke(ctx, gw, c, domain.PaymentName{OrderRef: domain.OrderRef{EventID: "concert", OrderID: "a?b"}})
		CheckError(t, err)
		if !errors.Is(err, domain.ErrUnacceptable) {
			t.Errorf("%s of an invalid id: %v", c, err)
		}
	}
	if lines := books(); len(lines) != 0 {
		t.Errorf("books %+v", lines)
	}
	free := change(func(r *domain.PaymentRequest) { r.Amount, r.CustomerID = 0, "" })
	if p, err := gw.Authorize(ctx, free); err != nil || p.Status != domain.PaymentStatusAuthorized {
		t.Errorf("an amount of 0: %+v, %v", p, err)
	}
}

func testEndedContext(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range Calls {
		_, err := Invoke(ctx, gw, c, Name("a"))
		CheckError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", c, err)
		}
	}
	if lines := books(); len(lines) != 0 {
		t.Errorf("books %+v", lines)
	}
}

func testBooks(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	if lines := books(); len(lines) != 0 {
		t.Errorf("books of a new gateway: %+v", lines)
	}
	for _, r := range []domain.OrderRef{{EventID: "b", OrderID: "1"}, {EventID: "a", OrderID: "2"}, {EventID: "a", OrderID: "1"}, {EventID: "A", OrderID: "9"}} {
		if _, err := gw.Authorize(ctx, Request(domain.PaymentName{OrderRef: r})); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := gw.Void(ctx, domain.PaymentName{OrderRef: domain.OrderRef{EventID: "z", OrderID: "1"}}); err != nil {
		t.Fatal(err)
	}
	lines := books()
	var order []string
	for _, line := range lines {
		order = append(order, line.EventID+"/"+line.OrderID)
	}
	if want := []string{"A/9", "a/1", "a/2", "b/1", "z/1"}; !slices.Equal(order, want) {
		t.Errorf("order of the books %v, want %v", order, want)
	}
	if want := (domain.BooksLine{EventID: "z", OrderID: "1", Status: domain.PaymentStatusVoided, Calls: 1}); lines[len(lines)-1] != want {
		t.Errorf("a void that came first: %+v, want %+v", lines[len(lines)-1], want)
	}
	lines[0].Captures = 7
	if books()[0].Captures != 0 {
		t.Error("the books are no copy")
	}
}

func testManyAtOnce(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	const orders, repeats = 8, 6
	var running sync.WaitGroup
	ids := make([]map[string]bool, orders)
	var mu sync.Mutex
	for o := range orders {
		ids[o] = map[string]bool{}
		for _, c := range Calls {
			for range repeats {
				running.Go(func() {
					p, err := Invoke(ctx, gw, c, Name(fmt.Sprint(o)))
					CheckError(t, err)
					if errors.Is(err, domain.ErrUnknownOutcome) {
						t.Errorf("%s: %v", c, err)
					}
					if p.AuthorizationID != "" {
						mu.Lock()
						ids[o][p.AuthorizationID] = true
						mu.Unlock()
					}
				})
			}
		}
	}
	running.Wait()
	lines := books()
	if len(lines) != orders {
		t.Fatalf("%d lines for %d orders", len(lines), orders)
	}
	for o, line := range lines {
		checkLine(t, line)
		if len(ids[o]) > 1 {
			t.Errorf("order %d has the authorizations %v", o, ids[o])
		}
	}
}

// checkLine holds one line to what is true of every order at every time.
func checkLine(t interface{ Errorf(string, ...any) }, line domain.BooksLine) {
	e := EffectsOf(line)
	atMostOnce := line.Authorizations <= 1 && line.Captures <= line.Authorizations && line.Voids <= line.Authorizations &&
		line.Refunds <= line.Captures && line.Captures+line.Voids <= 1
	money := line.Captured <= line.Authorized && line.Voided <= line.Authorized && line.Refunded <= line.Captured
	var status bool
	switch line.Status {
	case domain.PaymentStatusAuthorized:
		status = e == Effects{1, 0, 0, 0}
	case domain.PaymentStatusDeclined:
		status = e == Effects{}
	case domain.PaymentStatusCaptured:
		status = e == Effects{1, 1, 0, 0}
	case domain.PaymentStatusVoided:
		status = e == Effects{} || e == Effects{1, 0, 1, 0}
	case domain.PaymentStatusRefunded:
		status = e == Effects{1, 1, 0, 1}
	}
	if !atMostOnce || !money || !status {
		t.Errorf("impossible line %+v", line)
	}
}

// testAgainstModel compares random histories of a few orders with a model that
// is nothing but each order's status.
func testAgainstModel(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	history := 0 // each gets its own orders, to share one gateway
	rapid.Check(t, func(rt *rapid.T) {
		history++
		event := fmt.Sprintf("event-%d", history)
		model := map[string]domain.PaymentStatus{}
		amounts := map[string]int64{}
		for range rapid.IntRange(1, 25).Draw(rt, "calls") {
			order := rapid.SampledFrom([]string{"x", "..", "y"}).Draw(rt, "order")
			r := domain.PaymentName{OrderRef: domain.OrderRef{EventID: event, OrderID: order}}
			c := rapid.SampledFrom(Calls).Draw(rt, "call")
			before := model[order]
			after, wantErr := before, error(nil)
			var p domain.Payment
			var err error
			switch c {
			case payments.CallAuthorize:
				request := Request(r)
				request.Amount = rapid.Int64Range(0, domain.MaxAmount).Draw(rt, "amount")
				request.Token = rapid.SampledFrom([]domain.Secret{Token, Token, g.DeclinedToken}).Draw(rt, "token")
				p, err = gw.Authorize(ctx, request)
				if before == "" {
					amounts[order], after = request.Amount, domain.PaymentStatusAuthorized
					if request.Token == g.DeclinedToken {
						after = domain.PaymentStatusDeclined
					}
				}
			default:
				p, err = Invoke(ctx, gw, c, r)
				switch {
				case c == payments.CallVoid && (before == "" || before == domain.PaymentStatusAuthorized):
					after = domain.PaymentStatusVoided
				case c == payments.CallVoid, c == payments.CallLookup && before != "":
				case before == "":
					wantErr = domain.ErrNotFound
				case c == payments.CallCapture && before == domain.PaymentStatusAuthorized:
					after = domain.PaymentStatusCaptured
				case c == payments.CallRefund && before == domain.PaymentStatusCaptured:
					after = domain.PaymentStatusRefunded
				case c == payments.CallCapture && before != domain.PaymentStatusCaptured, c == payments.CallRefund && before != domain.PaymentStatusRefunded:
					wantErr = domain.ErrRefused
				}
			}
			if after != "" {
				model[order] = after
			}
			CheckError(rt, err)
			if !errors.Is(err, wantErr) {
				rt.Fatalf("%s of a payment that is %q: error %v, want %v", c, before, err, wantErr)
			}
			amount, asked := amounts[order]
			if !asked {
				amount = domain.AmountNotTold // it was voided before anything was asked for
			}
			if err == nil && (p.Status != after || p.Amount != amount) {
				rt.Fatalf("%s of a payment that is %q: %+v, want %q of %d", c, before, p, after, amount)
			}
		}
		for _, line := range books() {
			if line.EventID != event {
				continue
			}
			checkLine(rt, line)
			if line.Status != model[line.OrderID] || line.Authorizations > 0 && line.Authorized != amounts[line.OrderID] {
				rt.Fatalf("line %+v, model %q", line, model[line.OrderID])
			}
			delete(model, line.OrderID)
		}
		if len(model) != 0 {
			rt.Fatalf("not in the books: %v", model)
		}
	})
}
