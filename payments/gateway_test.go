package payments

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"holdfast/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gatewayUnderTest makes a gateway that approves everything, and a way to read its ledger.
type gatewayUnderTest func(t *testing.T) (gw domain.PaymentGateway, ledger func() []domain.BooksLine)

func TestSimulatorKeepsTheContract(t *testing.T) {
	testGateway(t, func(*testing.T) (domain.PaymentGateway, func() []domain.BooksLine) {
		sim := New(SimulatorOptions{})
		return sim, sim.Ledger
	})
}

func TestClientAndServerKeepTheContract(t *testing.T) {
	testGateway(t, func(t *testing.T) (domain.PaymentGateway, func() []domain.BooksLine) {
		client := newPair(t, New(SimulatorOptions{}), ClientOptions{})
		return client, func() []domain.BooksLine {
			lines, err := client.FetchBooks(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			return lines
		}
	})
}

// newPair is a client of a server of sim, over loopback.
func newPair(t *testing.T, sim *Simulator, options ClientOptions) *Client {
	t.Helper()
	server := httptest.NewServer(Handler(sim))
	t.Cleanup(server.Close)
	return newTestClient(t, server.URL, options)
}

func newTestClient(t *testing.T, url string, options ClientOptions) *Client {
	t.Helper()
	client, err := NewClient(url, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

const testToken = "tok_4242424242424242"

func ref(order string) domain.OrderRef { return domain.OrderRef{EventID: "concert", OrderID: order} }

func request(r domain.OrderRef) domain.PaymentRequest {
	return domain.PaymentRequest{Ref: r, Amount: 2500, Currency: "EUR", CustomerID: "ann@example.org", Token: testToken}
}

func declinedRequest(r domain.OrderRef) domain.PaymentRequest {
	p := request(r)
	p.Token = "decline-me"
	return p
}

// invoke makes the call with a request that would be approved.
func invoke(ctx context.Context, gw domain.PaymentGateway, c call, r domain.OrderRef) (domain.Payment, error) {
	switch c {
	case callAuthorize:
		return gw.Authorize(ctx, request(r))
	case callLookup:
		return gw.Lookup(ctx, r)
	case callCapture:
		return gw.Capture(ctx, r)
	case callVoid:
		return gw.Void(ctx, r)
	case callRefund:
		return gw.Refund(ctx, r)
	}
	panic("no such call: " + c)
}

var allCalls = []call{callAuthorize, callLookup, callCapture, callVoid, callRefund}

// effects is what a ledger line counts.
type effects struct{ authorizations, captures, voids, refunds int }

func effectsOf(line domain.BooksLine) effects {
	return effects{line.Authorizations, line.Captures, line.Voids, line.Refunds}
}

func lineOf(lines []domain.BooksLine, r domain.OrderRef) (domain.BooksLine, bool) {
	i := slices.IndexFunc(lines, func(l domain.BooksLine) bool { return l.EventID == r.EventID && l.OrderID == r.OrderID })
	if i < 0 {
		return domain.BooksLine{}, false
	}
	return lines[i], true
}

// checkError holds every error to what domain.PaymentGateway promises of errors.
func checkError(t interface{ Errorf(string, ...any) }, err error) {
	if err == nil {
		return
	}
	if strings.Contains(err.Error(), testToken) {
		t.Errorf("the token is in the error %q", err)
	}
	kinds := 0
	for _, kind := range []error{domain.ErrNotFound, domain.ErrRefused, domain.ErrUnknownOutcome} {
		if errors.Is(err, kind) {
			kinds++
		}
	}
	if kinds != 1 {
		t.Errorf("error %q is of %d kinds, want 1", err, kinds)
	}
	want := domain.ClassRetry
	if errors.Is(err, domain.ErrRefused) {
		want = domain.ClassReject
	}
	if got := domain.ClassOf(err); got != want {
		t.Errorf("error %q has class %v, want %v", err, got, want)
	}
}

func testGateway(t *testing.T, newGateway gatewayUnderTest) {
	t.Run("every call in every status", func(t *testing.T) { testEveryCallInEveryStatus(t, newGateway) })
	t.Run("a repeated authorization", func(t *testing.T) { testRepeatedAuthorization(t, newGateway) })
	t.Run("odd ids", func(t *testing.T) { testOddIDs(t, newGateway) })
	t.Run("malformed requests", func(t *testing.T) { testMalformedRequests(t, newGateway) })
	t.Run("ended context", func(t *testing.T) { testEndedContext(t, newGateway) })
	t.Run("ledger", func(t *testing.T) { testLedger(t, newGateway) })
	t.Run("many at once", func(t *testing.T) { testManyAtOnce(t, newGateway) })
	t.Run("model", func(t *testing.T) { testAgainstModel(t, newGateway) })
}

func testEveryCallInEveryStatus(t *testing.T, newGateway gatewayUnderTest) {
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
		after  effects
	}
	yes := func(s domain.PaymentStatus, after effects) answer { return answer{status: s, after: after} }
	no := func(err error, after effects) answer { return answer{err: err, after: after} }
	table := []struct {
		name     string
		path     []call // how the order got there
		declined bool   // with a token that is declined
		want     map[call]answer
	}{
		{"unknown", nil, false, map[call]answer{
			callAuthorize: yes(authorized, effects{authorizations: 1}),
			callLookup:    no(domain.ErrNotFound, effects{}),
			callCapture:   no(domain.ErrNotFound, effects{}),
			callVoid:      yes(voided, effects{}),
			callRefund:    no(domain.ErrNotFound, effects{}),
		}},
		{"authorized", []call{callAuthorize}, false, map[call]answer{
			callAuthorize: yes(authorized, effects{1, 0, 0, 0}),
			callLookup:    yes(authorized, effects{1, 0, 0, 0}),
			callCapture:   yes(captured, effects{1, 1, 0, 0}),
			callVoid:      yes(voided, effects{1, 0, 1, 0}),
			callRefund:    no(domain.ErrRefused, effects{1, 0, 0, 0}),
		}},
		{"declined", []call{callAuthorize}, true, map[call]answer{
			callAuthorize: yes(declined, effects{}),
			callLookup:    yes(declined, effects{}),
			callCapture:   no(domain.ErrRefused, effects{}),
			callVoid:      yes(declined, effects{}),
			callRefund:    no(domain.ErrRefused, effects{}),
		}},
		{"captured", []call{callAuthorize, callCapture}, false, map[call]answer{
			callAuthorize: yes(captured, effects{1, 1, 0, 0}),
			callLookup:    yes(captured, effects{1, 1, 0, 0}),
			callCapture:   yes(captured, effects{1, 1, 0, 0}),
			callVoid:      yes(captured, effects{1, 1, 0, 0}),
			callRefund:    yes(refunded, effects{1, 1, 0, 1}),
		}},
		{"voided", []call{callAuthorize, callVoid}, false, map[call]answer{
			callAuthorize: yes(voided, effects{1, 0, 1, 0}),
			callLookup:    yes(voided, effects{1, 0, 1, 0}),
			callCapture:   no(domain.ErrRefused, effects{1, 0, 1, 0}),
			callVoid:      yes(voided, effects{1, 0, 1, 0}),
			callRefund:    no(domain.ErrRefused, effects{1, 0, 1, 0}),
		}},
		{"voided before it came", []call{callVoid}, false, map[call]answer{
			callAuthorize: yes(voided, effects{}),
			callLookup:    yes(voided, effects{}),
			callCapture:   no(domain.ErrRefused, effects{}),
			callVoid:      yes(voided, effects{}),
			callRefund:    no(domain.ErrRefused, effects{}),
		}},
		{"refunded", []call{callAuthorize, callCapture, callRefund}, false, map[call]answer{
			callAuthorize: yes(refunded, effects{1, 1, 0, 1}),
			callLookup:    yes(refunded, effects{1, 1, 0, 1}),
			callCapture:   no(domain.ErrRefused, effects{1, 1, 0, 1}),
			callVoid:      yes(refunded, effects{1, 1, 0, 1}),
			callRefund:    yes(refunded, effects{1, 1, 0, 1}),
		}},
	}
	gw, ledger := newGateway(t)
	ctx := context.Background()
	for i, row := range table {
		for j, c := range allCalls {
			t.Run(row.name+"/"+string(c), func(t *testing.T) {
				order := ref(fmt.Sprintf("o-%d-%d", i, j))
				want := row.want[c]
				for _, step := range row.path {
					var err error
					if row.declined {
						_, err = gw.Authorize(ctx, declinedRequest(order))
					} else {
						_, err = invoke(ctx, gw, step, order)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				// Twice, because whoever repeats a call gets what the first one got.
				for range 2 {
					p, err := invoke(ctx, gw, c, order)
					checkError(t, err)
					if !errors.Is(err, want.err) || p.Status != want.status {
						t.Fatalf("got status %q, error %v; want %q, %v", p.Status, err, want.status, want.err)
					}
					if err != nil && p != (domain.Payment{}) {
						t.Errorf("a payment came with the error: %+v", p)
					}
					if hasAuthorization := want.after.authorizations > 0; err == nil && hasAuthorization != (p.AuthorizationID != "") {
						t.Errorf("authorization id %q", p.AuthorizationID)
					}
					tombstone := p.Status == voided && want.after.authorizations == 0
					if err == nil && (p.Amount != 2500) != tombstone {
						t.Errorf("amount %d", p.Amount)
					}
				}
				line, known := lineOf(ledger(), order)
				if known != (len(row.path) > 0 || want.err == nil) {
					t.Errorf("the order is in the ledger: %v", known)
				}
				if got := effectsOf(line); got != want.after {
					t.Errorf("effects %+v, want %+v", got, want.after)
				}
				if known && line.Calls != len(row.path)+2 {
					t.Errorf("%d calls, want %d", line.Calls, len(row.path)+2)
				}
			})
		}
	}
}

func testRepeatedAuthorization(t *testing.T, newGateway gatewayUnderTest) {
	gw, ledger := newGateway(t)
	ctx := context.Background()
	first, err := gw.Authorize(ctx, request(ref("a")))
	if err != nil {
		t.Fatal(err)
	}
	other := request(ref("a"))
	other.Amount, other.Currency, other.CustomerID, other.Token = 99, "JPY", "bob", "decline"
	second, err := gw.Authorize(ctx, other)
	if err != nil || second != first {
		t.Errorf("got %+v, %v; want the first payment %+v", second, err, first)
	}
	line, _ := lineOf(ledger(), ref("a"))
	want := domain.BooksLine{
		EventID: "concert", OrderID: "a", CustomerID: "ann@example.org",
		AuthorizationID: first.AuthorizationID, Status: domain.PaymentStatusAuthorized,
		Currency: "EUR", Authorized: 2500, Authorizations: 1, Calls: 2,
	}
	if line != want {
		t.Errorf("ledger line %+v, want %+v", line, want)
	}

	if p, err := gw.Authorize(ctx, declinedRequest(ref("b"))); err != nil || p.Status != domain.PaymentStatusDeclined {
		t.Fatalf("got %+v, %v", p, err)
	}
	if p, err := gw.Authorize(ctx, request(ref("b"))); err != nil || p.Status != domain.PaymentStatusDeclined {
		t.Errorf("declined, then with a good token: got %+v, %v", p, err)
	}
}

func testOddIDs(t *testing.T, newGateway gatewayUnderTest) {
	gw, ledger := newGateway(t)
	ctx := context.Background()
	ids := []string{".", "..", "...", "a+b@c", "capture", "void", "authorizations", "-", "_", "2E", ".a", "a..", strings.Repeat("x", domain.MaxIDLength)}
	seen := map[string]bool{}
	for _, event := range ids {
		for _, order := range ids {
			r := domain.OrderRef{EventID: event, OrderID: order}
			p, err := gw.Authorize(ctx, request(r))
			if err != nil || p.Status != domain.PaymentStatusAuthorized || seen[p.AuthorizationID] {
				t.Fatalf("authorize %s: %+v, %v", r, p, err)
			}
			seen[p.AuthorizationID] = true
			if p, err := gw.Capture(ctx, r); err != nil || p.Status != domain.PaymentStatusCaptured {
				t.Fatalf("capture %s: %+v, %v", r, p, err)
			}
		}
	}
	lines := ledger()
	if len(lines) != len(ids)*len(ids) {
		t.Errorf("%d lines for %d orders", len(lines), len(ids)*len(ids))
	}
	for _, line := range lines {
		if effectsOf(line) != (effects{1, 1, 0, 0}) || line.Calls != 2 {
			t.Errorf("%+v", line)
		}
	}
}

func testMalformedRequests(t *testing.T, newGateway gatewayUnderTest) {
	gw, ledger := newGateway(t)
	ctx := context.Background()
	change := func(f func(*domain.PaymentRequest)) domain.PaymentRequest {
		r := request(ref("a"))
		f(&r)
		return r
	}
	for name, r := range map[string]domain.PaymentRequest{
		"negative amount":  change(func(r *domain.PaymentRequest) { r.Amount = -1 }),
		"amount too large": change(func(r *domain.PaymentRequest) { r.Amount = domain.MaxAmount + 1 }),
		"currency":         change(func(r *domain.PaymentRequest) { r.Currency = "euro" }),
		"customer":         change(func(r *domain.PaymentRequest) { r.CustomerID = "a b" }),
		"order":            change(func(r *domain.PaymentRequest) { r.Ref.OrderID = "a/b" }),
		"no event":         change(func(r *domain.PaymentRequest) { r.Ref.EventID = "" }),
	} {
		_, err := gw.Authorize(ctx, r)
		checkError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range allCalls {
		_, err := invoke(ctx, gw, c, domain.OrderRef{EventID: "concert", OrderID: "a?b"})
		checkError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) {
			t.Errorf("%s of an invalid id: %v", c, err)
		}
	}
	if lines := ledger(); len(lines) != 0 {
		t.Errorf("ledger %+v", lines)
	}
	free := change(func(r *domain.PaymentRequest) { r.Amount, r.CustomerID = 0, "" })
	if p, err := gw.Authorize(ctx, free); err != nil || p.Status != domain.PaymentStatusAuthorized {
		t.Errorf("an amount of 0: %+v, %v", p, err)
	}
}

func testEndedContext(t *testing.T, newGateway gatewayUnderTest) {
	gw, ledger := newGateway(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range allCalls {
		_, err := invoke(ctx, gw, c, ref("a"))
		checkError(t, err)
		if !errors.Is(err, domain.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", c, err)
		}
	}
	if lines := ledger(); len(lines) != 0 {
		t.Errorf("ledger %+v", lines)
	}
}

func testLedger(t *testing.T, newGateway gatewayUnderTest) {
	gw, ledger := newGateway(t)
	ctx := context.Background()
	if lines := ledger(); len(lines) != 0 {
		t.Errorf("ledger of a new gateway: %+v", lines)
	}
	for _, r := range []domain.OrderRef{{EventID: "b", OrderID: "1"}, {EventID: "a", OrderID: "2"}, {EventID: "a", OrderID: "1"}, {EventID: "A", OrderID: "9"}} {
		if _, err := gw.Authorize(ctx, request(r)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := gw.Void(ctx, domain.OrderRef{EventID: "z", OrderID: "1"}); err != nil {
		t.Fatal(err)
	}
	lines := ledger()
	var order []string
	for _, line := range lines {
		order = append(order, line.EventID+"/"+line.OrderID)
	}
	if want := []string{"A/9", "a/1", "a/2", "b/1", "z/1"}; !slices.Equal(order, want) {
		t.Errorf("ledger order %v, want %v", order, want)
	}
	if want := (domain.BooksLine{EventID: "z", OrderID: "1", Status: domain.PaymentStatusVoided, Calls: 1}); lines[len(lines)-1] != want {
		t.Errorf("a void that came first: %+v, want %+v", lines[len(lines)-1], want)
	}
	lines[0].Captures = 7
	if ledger()[0].Captures != 0 {
		t.Error("the ledger is no copy")
	}
}

func testManyAtOnce(t *testing.T, newGateway gatewayUnderTest) {
	gw, ledger := newGateway(t)
	ctx := context.Background()
	const orders, repeats = 8, 6
	var running sync.WaitGroup
	ids := make([]map[string]bool, orders)
	var mu sync.Mutex
	for o := range orders {
		ids[o] = map[string]bool{}
		for _, c := range allCalls {
			for range repeats {
				running.Go(func() {
					p, err := invoke(ctx, gw, c, ref(fmt.Sprint(o)))
					checkError(t, err)
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
	lines := ledger()
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
	e := effectsOf(line)
	atMostOnce := e.authorizations <= 1 && e.captures <= e.authorizations && e.voids <= e.authorizations && e.refunds <= e.captures && e.captures+e.voids <= 1
	money := line.Captured <= line.Authorized && line.Voided <= line.Authorized && line.Refunded <= line.Captured
	var status bool
	switch line.Status {
	case domain.PaymentStatusAuthorized:
		status = e == effects{1, 0, 0, 0}
	case domain.PaymentStatusDeclined:
		status = e == effects{}
	case domain.PaymentStatusCaptured:
		status = e == effects{1, 1, 0, 0}
	case domain.PaymentStatusVoided:
		status = e == effects{} || e == effects{1, 0, 1, 0}
	case domain.PaymentStatusRefunded:
		status = e == effects{1, 1, 0, 1}
	}
	if !atMostOnce || !money || !status {
		t.Errorf("impossible ledger line %+v", line)
	}
}

// testAgainstModel compares random histories of a few orders with a model that
// is nothing but each order's status.
func testAgainstModel(t *testing.T, newGateway gatewayUnderTest) {
	gw, ledger := newGateway(t)
	ctx := context.Background()
	history := 0 // each gets its own orders, to share one gateway
	rapid.Check(t, func(rt *rapid.T) {
		history++
		event := fmt.Sprintf("event-%d", history)
		model := map[string]domain.PaymentStatus{}
		amounts := map[string]int64{}
		for range rapid.IntRange(1, 25).Draw(rt, "calls") {
			order := rapid.SampledFrom([]string{"x", "..", "y"}).Draw(rt, "order")
			r := domain.OrderRef{EventID: event, OrderID: order}
			c := rapid.SampledFrom(allCalls).Draw(rt, "call")
			before := model[order]
			after, wantErr := before, error(nil)
			var p domain.Payment
			var err error
			switch c {
			case callAuthorize:
				request := request(r)
				request.Amount = rapid.Int64Range(0, domain.MaxAmount).Draw(rt, "amount")
				request.Token = domain.Secret(rapid.SampledFrom([]string{"good", "good", "decline"}).Draw(rt, "token"))
				p, err = gw.Authorize(ctx, request)
				if before == "" {
					amounts[order], after = request.Amount, domain.PaymentStatusAuthorized
					if request.Token == "decline" {
						after = domain.PaymentStatusDeclined
					}
				}
			default:
				p, err = invoke(ctx, gw, c, r)
				switch {
				case c == callVoid && (before == "" || before == domain.PaymentStatusAuthorized):
					after = domain.PaymentStatusVoided
				case c == callVoid, c == callLookup && before != "":
				case before == "":
					wantErr = domain.ErrNotFound
				case c == callCapture && before == domain.PaymentStatusAuthorized:
					after = domain.PaymentStatusCaptured
				case c == callRefund && before == domain.PaymentStatusCaptured:
					after = domain.PaymentStatusRefunded
				case c == callCapture && before != domain.PaymentStatusCaptured, c == callRefund && before != domain.PaymentStatusRefunded:
					wantErr = domain.ErrRefused
				}
			}
			if after != "" {
				model[order] = after
			}
			checkError(rt, err)
			if !errors.Is(err, wantErr) {
				rt.Fatalf("%s of a payment that is %q: error %v, want %v", c, before, err, wantErr)
			}
			if err == nil && (p.Status != after || p.Amount != amounts[order]) {
				rt.Fatalf("%s of a payment that is %q: %+v, want %q of %d", c, before, p, after, amounts[order])
			}
		}
		for _, line := range ledger() {
			if line.EventID != event {
				continue
			}
			checkLine(rt, line)
			if line.Status != model[line.OrderID] || line.Authorizations > 0 && line.Authorized != amounts[line.OrderID] {
				rt.Fatalf("ledger line %+v, model %q", line, model[line.OrderID])
			}
			delete(model, line.OrderID)
		}
		if len(model) != 0 {
			rt.Fatalf("not in the ledger: %v", model)
		}
	})
}

// hangTestTimeout is a bound that a healthy test never meets.
const hangTestTimeout = 10 * time.Second
