// Package paymentstest is the suite that every adapter of domain.PaymentGateway
// must pass, and the pieces that adapters' own tests share.
package paymentstest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/domain"
	"holdfast/payments"
)

// Gateway is the adapter under test.
type Gateway struct {
	// New makes one without faults that has heard of no payment, for as long as the test takes.
	New func(t *testing.T) Made
	// DeclinedToken is a payment token that the gateway declines, ActionToken one for which the customer must do
	// something first. It approves Token.
	DeclinedToken, ActionToken domain.Secret
	// Minimums are those of the gateway: at least one above 1, and in EUR none above Amount.
	Minimums domain.Minimums
	// MaxAmount is the largest amount in EUR that it takes. Default: domain.MaxAmount.
	MaxAmount int64
	// NothingFree says that it takes no amount of 0.
	NothingFree bool
}

// Made is a gateway that was made for a test.
type Made struct {
	Adapter
	Books Books
	// Finish does for a payment that is action_required what its customer would; then it is authorized, or declined.
	Finish func(ctx context.Context, name domain.PaymentName, authorized bool) error
	// Dispute does what the customer's bank would: the payment is so disputed then. domain.ErrRefused: it was never captured.
	Dispute func(ctx context.Context, name domain.PaymentName, d domain.Dispute) error
}

// Adapter is what an adapter must be.
type Adapter interface {
	domain.PaymentGateway
	domain.NextSteps
}

// Books asks a gateway for all that it ever did: one line an attempt to pay, sorted by
// namespace, event, order and attempt.
type Books func(ctx context.Context) ([]domain.BooksLine, error)

// Run holds the gateway to what domain.PaymentGateway and domain.NextSteps promise, and its books to
// what the gateway did.
func Run(t *testing.T, g Gateway) {
	t.Run("every call in every status", func(t *testing.T) { testEveryCallInEveryStatus(t, g) })
	t.Run("a repeated authorization", func(t *testing.T) { testRepeatedAuthorization(t, g) })
	t.Run("a void that comes first", func(t *testing.T) { testVoidThatComesFirst(t, g) })
	t.Run("attempts", func(t *testing.T) { testAttempts(t, g) })
	t.Run("refunds by total", func(t *testing.T) { testRefundsByTotal(t, g) })
	t.Run("disputes", func(t *testing.T) { testDisputes(t, g) })
	t.Run("the customer's next step", func(t *testing.T) { testNextStep(t, g) })
	t.Run("minimum amounts", func(t *testing.T) { testMinimums(t, g) })
	t.Run("odd ids", func(t *testing.T) { testOddIDs(t, g) })
	t.Run("malformed requests", func(t *testing.T) { testMalformedRequests(t, g) })
	t.Run("ended context", func(t *testing.T) { testEndedContext(t, g) })
	t.Run("books", func(t *testing.T) { testBooks(t, g) })
	t.Run("many at once", func(t *testing.T) { testManyAtOnce(t, g) })
	t.Run("model", func(t *testing.T) { testAgainstModel(t, g) })
}

// start makes a gateway whose books, if they cannot be had, end the test.
func (g Gateway) start(t *testing.T) (Made, func() []domain.BooksLine) {
	t.Helper()
	made := g.New(t)
	return made, func() []domain.BooksLine {
		t.Helper()
		lines, err := made.Books(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
}

// with is Request with another token.
func with(token domain.Secret, name domain.PaymentName) domain.PaymentRequest {
	r := Request(name)
	r.Token = token
	return r
}

// step is one thing that happens to a payment on its way into a status.
type step string

const (
	authorize step = "authorize"
	decline   step = "authorize with a token that is declined"
	ask       step = "authorize with a token that asks for the customer"
	finish    step = "the customer does what is asked for"
	fail      step = "the customer does not"
	capture   step = "capture"
	void      step = "void"
	refund    step = "refund all"
	refundOne step = "refund a part"
)

// part is what refundOne gives back.
const part = 1000

func (g Gateway) take(ctx context.Context, gw Made, s step, name domain.PaymentName) (err error) {
	switch s {
	case authorize:
		_, err = gw.Authorize(ctx, Request(name))
	case decline:
		_, err = gw.Authorize(ctx, with(g.DeclinedToken, name))
	case ask:
		_, err = gw.Authorize(ctx, with(g.ActionToken, name))
	case finish, fail:
		err = gw.Finish(ctx, name, s == finish)
	case capture:
		_, err = gw.Capture(ctx, Attempt(name))
	case void:
		_, err = gw.Void(ctx, Attempt(name))
	case refund:
		_, err = gw.Refund(ctx, Attempt(name), Amount)
	case refundOne:
		_, err = gw.Refund(ctx, Attempt(name), part)
	}
	return err
}

func testEveryCallInEveryStatus(t *testing.T, g Gateway) {
	const (
		authorized = domain.PaymentStatusAuthorized
		declined   = domain.PaymentStatusDeclined
		captured   = domain.PaymentStatusCaptured
		voided     = domain.PaymentStatusVoided
		refunded   = domain.PaymentStatusRefunded
		asked      = domain.PaymentStatusActionRequired
	)
	type answer struct {
		status domain.PaymentStatus
		err    error
		after  Effects
	}
	yes := func(s domain.PaymentStatus, after Effects) answer { return answer{status: s, after: after} }
	no := func(err error, after Effects) answer { return answer{err: err, after: after} }
	table := []struct {
		name string
		path []step // how the payment got there
		// What becomes of it by an authorize, look up, capture, void and refund of all.
		want [5]answer
	}{
		{"unknown", nil, [5]answer{
			yes(authorized, Effects{1, 0, 0, 0}), no(domain.ErrNotFound, Effects{}), no(domain.ErrNotFound, Effects{}),
			yes(voided, Effects{}), no(domain.ErrNotFound, Effects{}),
		}},
		{"authorized", []step{authorize}, [5]answer{
			yes(authorized, Effects{1, 0, 0, 0}), yes(authorized, Effects{1, 0, 0, 0}), yes(captured, Effects{1, 1, 0, 0}),
			yes(voided, Effects{1, 0, 1, 0}), no(domain.ErrRefused, Effects{1, 0, 0, 0}),
		}},
		{"declined", []step{decline}, [5]answer{
			yes(declined, Effects{}), yes(declined, Effects{}), no(domain.ErrRefused, Effects{}),
			yes(declined, Effects{}), no(domain.ErrRefused, Effects{}),
		}},
		{"captured", []step{authorize, capture}, [5]answer{
			yes(captured, Effects{1, 1, 0, 0}), yes(captured, Effects{1, 1, 0, 0}), yes(captured, Effects{1, 1, 0, 0}),
			yes(captured, Effects{1, 1, 0, 0}), yes(refunded, Effects{1, 1, 0, 1}),
		}},
		{"voided", []step{authorize, void}, [5]answer{
			yes(voided, Effects{1, 0, 1, 0}), yes(voided, Effects{1, 0, 1, 0}), no(domain.ErrRefused, Effects{1, 0, 1, 0}),
			yes(voided, Effects{1, 0, 1, 0}), no(domain.ErrRefused, Effects{1, 0, 1, 0}),
		}},
		{"voided before it came", []step{void}, [5]answer{
			yes(voided, Effects{}), yes(voided, Effects{}), no(domain.ErrRefused, Effects{}),
			yes(voided, Effects{}), no(domain.ErrRefused, Effects{}),
		}},
		{"refunded in part", []step{authorize, capture, refundOne}, [5]answer{
			yes(captured, Effects{1, 1, 0, 1}), yes(captured, Effects{1, 1, 0, 1}), yes(captured, Effects{1, 1, 0, 1}),
			yes(captured, Effects{1, 1, 0, 1}), yes(refunded, Effects{1, 1, 0, 2}),
		}},
		{"refunded", []step{authorize, capture, refund}, [5]answer{
			yes(refunded, Effects{1, 1, 0, 1}), yes(refunded, Effects{1, 1, 0, 1}), no(domain.ErrRefused, Effects{1, 1, 0, 1}),
			yes(refunded, Effects{1, 1, 0, 1}), yes(refunded, Effects{1, 1, 0, 1}),
		}},
		{"action required", []step{ask}, [5]answer{
			yes(asked, Effects{}), yes(asked, Effects{}), no(domain.ErrRefused, Effects{}),
			yes(voided, Effects{}), no(domain.ErrRefused, Effects{}),
		}},
		{"authorized by the customer's action", []step{ask, finish}, [5]answer{
			yes(authorized, Effects{1, 0, 0, 0}), yes(authorized, Effects{1, 0, 0, 0}), yes(captured, Effects{1, 1, 0, 0}),
			yes(voided, Effects{1, 0, 1, 0}), no(domain.ErrRefused, Effects{1, 0, 0, 0}),
		}},
		{"declined by the customer's action", []step{ask, fail}, [5]answer{
			yes(declined, Effects{}), yes(declined, Effects{}), no(domain.ErrRefused, Effects{}),
			yes(declined, Effects{}), no(domain.ErrRefused, Effects{}),
		}},
		{"voided while action was required", []step{ask, void}, [5]answer{
			yes(voided, Effects{}), yes(voided, Effects{}), no(domain.ErrRefused, Effects{}),
			yes(voided, Effects{}), no(domain.ErrRefused, Effects{}),
		}},
	}
	gw, books := g.start(t)
	ctx := context.Background()
	for i, row := range table {
		for j, c := range Calls {
			t.Run(row.name+"/"+string(c), func(t *testing.T) {
				name := Name(fmt.Sprintf("o-%d-%d", i, j))
				want := row.want[j]
				for _, s := range row.path {
					if err := g.take(ctx, gw, s, name); err != nil {
						t.Fatalf("%s: %v", s, err)
					}
				}
				asks, tombstone := slices.Contains(row.path, ask), want.status == voided && !slices.Contains(row.path, authorize)
				if tombstone = tombstone && !asks; want.err == nil && want.status == "" {
					t.Fatal("the table has no answer")
				}
				wantRefunded := int64(0)
				switch {
				case want.status == refunded:
					wantRefunded = Amount
				case want.status == captured && slices.Contains(row.path, refundOne):
					wantRefunded = part
				}
				// Twice, because whoever repeats a call gets what the first one got.
				for range 2 {
					p, err := Invoke(ctx, gw, c, name)
					CheckError(t, err)
					if !errors.Is(err, want.err) || p.Status != want.status || p.Refunded != wantRefunded {
						t.Fatalf("got status %q, %d refunded, error %v; want %q, %d, %v", p.Status, p.Refunded, err, want.status, wantRefunded, want.err)
					}
					if err != nil && p != (domain.Payment{}) {
						t.Errorf("a payment came with the error: %+v", p)
					}
					CheckTold(t, p, Request(name))
					if hasID := want.after[0] > 0 || p.Status == asked; err == nil && hasID && p.AuthorizationID == "" {
						t.Error("no authorization id")
					}
					if err == nil && (p.Amount != Amount) != tombstone || tombstone && p.Amount != domain.AmountNotTold {
						t.Errorf("amount %d", p.Amount)
					}
				}
				line, known := LineOf(books(), name)
				if known != (len(row.path) > 0 || want.err == nil) {
					t.Errorf("the payment is in the books: %v", known)
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

	if p, err := gw.Authorize(ctx, with(g.DeclinedToken, Name("b"))); err != nil || p.Status != domain.PaymentStatusDeclined {
		t.Fatalf("got %+v, %v", p, err)
	}
	if p, err := gw.Authorize(ctx, Request(Name("b"))); err != nil || p.Status != domain.PaymentStatusDeclined {
		t.Errorf("declined, then with a good token: got %+v, %v", p, err)
	}
}

// What was voided first is refused for good, whoever asks, however often and with what.
func testVoidThatComesFirst(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	for i, first := range [][]step{{void}, {void, void}, {ask, void}, {authorize, void}} {
		name := Name(fmt.Sprint(i))
		for _, s := range first {
			if err := g.take(ctx, gw, s, name); err != nil {
				t.Fatal(err)
			}
		}
		for _, token := range []domain.Secret{Token, g.ActionToken, g.DeclinedToken, Token} {
			if p, err := gw.Authorize(ctx, with(token, name)); err != nil || p.Status != domain.PaymentStatusVoided {
				t.Errorf("after %v: authorized with %s: %+v, %v", first, string(token), p, err)
			}
		}
		if err := gw.Finish(ctx, name, true); !errors.Is(err, domain.ErrRefused) {
			t.Errorf("after %v: the customer's action: %v, want that it is refused", first, err)
		}
		if _, err := gw.Capture(ctx, Attempt(name)); !errors.Is(err, domain.ErrRefused) {
			t.Errorf("after %v: captured: %v, want that it is refused", first, err)
		}
		if line, _ := LineOf(books(), name); line.Authorized != line.Voided || line.Captured != 0 {
			t.Errorf("after %v: line %+v", first, line)
		}
	}
}

// Each attempt is a payment of its own.
func testAttempts(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	attempt := func(n int) domain.PaymentName {
		name := Name("a")
		name.Attempt = n
		return name
	}
	plain := domain.PaymentName{OrderRef: domain.OrderRef{EventID: "attempts", OrderID: "2"}, Attempt: 2}
	ids := map[string]bool{}
	for _, s := range []struct {
		name domain.PaymentName
		step step
	}{
		{attempt(0), decline},
		{attempt(2), ask},
		{attempt(2), fail},
		{attempt(3), void},
		{attempt(domain.MaxAttempts), authorize},
		{attempt(domain.MaxAttempts), capture},
		{attempt(domain.MaxAttempts), refundOne},
		{plain, authorize},
	} {
		if err := g.take(ctx, gw, s.step, s.name); err != nil {
			t.Fatalf("%s of %s: %v", s.step, s.name, err)
		}
	}
	for name, want := range map[domain.PaymentName]domain.PaymentStatus{
		attempt(0): domain.PaymentStatusDeclined, attempt(2): domain.PaymentStatusDeclined, attempt(3): domain.PaymentStatusVoided,
		attempt(domain.MaxAttempts): domain.PaymentStatusCaptured, plain: domain.PaymentStatusAuthorized,
	} {
		p, err := gw.Lookup(ctx, Attempt(name))
		if err != nil || p.Status != want || p.AuthorizationID != "" && ids[p.AuthorizationID] {
			t.Errorf("%s: %+v, %v, want %s, and an id of its own", name, p, err, want)
		}
		ids[p.AuthorizationID] = true
	}
	if _, err := gw.Lookup(ctx, Attempt(attempt(4))); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("an attempt that was never made: %v", err)
	}
	var order []string
	for _, line := range books() {
		order = append(order, line.Name().String())
	}
	want := []string{plain.String(), attempt(0).String(), attempt(2).String(), attempt(3).String(), attempt(domain.MaxAttempts).String()}
	if !slices.Equal(order, want) {
		t.Errorf("the books are about %v, want %v", order, want)
	}
	for _, n := range []int{-1, 1, domain.MaxAttempts + 1} {
		for _, c := range Calls {
			if _, err := Invoke(ctx, gw, c, attempt(n)); !errors.Is(err, domain.ErrUnacceptable) {
				t.Errorf("%s of attempt %d: %v", c, n, err)
			}
		}
	}
}

// A dispute is told as it is, by whoever looks. What the customer's bank has is not given back on top of that.
func testDisputes(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	name := Name("a")
	due := (time.Now().UnixMilli()/1000 + 3600) * 1000
	dispute := func(state domain.DisputeState, amount, due int64) domain.Dispute {
		t.Helper()
		d := domain.Dispute{State: state, Amount: amount, DueMillis: due}
		if err := gw.Dispute(ctx, name, d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	if err := g.take(ctx, gw, authorize, name); err != nil {
		t.Fatal(err)
	}
	if err := gw.Dispute(ctx, name, domain.Dispute{State: domain.DisputeOpen, Amount: Amount}); !errors.Is(err, domain.ErrRefused) {
		t.Fatalf("disputed before it was captured: %v", err)
	}
	if err := g.take(ctx, gw, capture, name); err != nil {
		t.Fatal(err)
	}
	if p, err := gw.Lookup(ctx, Attempt(name)); err != nil || p.Dispute != (domain.Dispute{}) {
		t.Fatalf("%+v, %v", p, err)
	}
	refunded := int64(0)
	for _, step := range []struct {
		dispute domain.Dispute
		refund  int64 // what is asked for then
		given   bool
	}{
		{domain.Dispute{State: domain.DisputeInquiry, Amount: Amount, DueMillis: due}, 100, true},
		{domain.Dispute{State: domain.DisputeOpen, Amount: 2000, DueMillis: due}, 200, false},
		{domain.Dispute{State: domain.DisputeOpen, Amount: 2000}, 100, true}, // was given before
		{domain.Dispute{State: domain.DisputeLost, Amount: 2000}, Amount, false},
		{domain.Dispute{State: domain.DisputeWon, Amount: 2000}, Amount, true}, // the bank has thought better of it
	} {
		want := dispute(step.dispute.State, step.dispute.Amount, step.dispute.DueMillis)
		for range 2 {
			p, err := gw.Lookup(ctx, Attempt(name))
			if err != nil || p.Dispute != want || p.Status != domain.PaymentStatusCaptured || p.Amount != Amount || p.Refunded != refunded {
				t.Fatalf("%+v: told as %+v, %v", want, p, err)
			}
		}
		for range 2 {
			p, err := gw.Refund(ctx, Attempt(name), step.refund)
			CheckError(t, err)
			if step.given && (err != nil || p.Refunded != step.refund) || !step.given && !errors.Is(err, domain.ErrRefused) {
				t.Fatalf("%+v: a refund of %d: %+v, %v", want, step.refund, p, err)
			}
		}
		if step.given {
			refunded = step.refund
		}
		if line, _ := LineOf(books(), name); !line.Disputed || line.Dispute != want || line.Refunded != refunded || line.Captures != 1 {
			t.Errorf("%+v: line %+v", want, line)
		}
	}
}

// Refunds bring the sum up to their total, in whatever order and however often they come.
func testRefundsByTotal(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	taken := func(order string) domain.PaymentName {
		name := Name(order)
		for _, s := range []step{authorize, capture} {
			if err := g.take(ctx, gw, s, name); err != nil {
				t.Fatal(err)
			}
		}
		return name
	}
	for i, totals := range [][]int64{{1, 1000, Amount}, {1000, 1, 1000}, {Amount, 1000, Amount, 0}, {0, 1, 0, 1}, {0}, {700, 2000, 700, 2000, 1300}} {
		name := taken(fmt.Sprint(i))
		sum := int64(0)
		for _, total := range totals {
			p, err := gw.Refund(ctx, Attempt(name), total)
			sum = max(sum, total)
			want := domain.PaymentStatusCaptured
			if sum == Amount {
				want = domain.PaymentStatusRefunded
			}
			if err != nil || p.Refunded != sum || p.Amount != Amount || p.Status != want {
				t.Fatalf("totals %v: after that of %d %+v, %v; want %s and %d", totals, total, p, err, want, sum)
			}
		}
		if line, _ := LineOf(books(), name); line.Refunded != sum || line.Captured != Amount {
			t.Errorf("totals %v: line %+v", totals, line)
		}
	}

	name := taken("more")
	for _, total := range []int64{Amount + 1, domain.MaxAmount} {
		_, err := gw.Refund(ctx, Attempt(name), total)
		CheckError(t, err)
		if !errors.Is(err, domain.ErrRefused) {
			t.Errorf("%d of %d: %v, want that it is refused", total, int64(Amount), err)
		}
	}
	_, err := gw.Refund(ctx, Attempt(name), -1)
	CheckError(t, err)
	if !errors.Is(err, domain.ErrUnacceptable) {
		t.Errorf("a negative total: %v", err)
	}
	if line, _ := LineOf(books(), name); line.Refunded != 0 || line.Refunds != 0 {
		t.Errorf("line %+v, want that nothing was given back", line)
	}

	// All at once: at no time more than the largest total.
	name = taken("at-once")
	var running sync.WaitGroup
	for n := range int64(40) {
		running.Go(func() {
			total := (n%8 + 1) * 300
			if p, err := gw.Refund(ctx, Attempt(name), total); err != nil || p.Refunded < total || p.Refunded > 2400 {
				t.Errorf("total %d: %+v, %v", total, p, err)
			}
		})
	}
	running.Wait()
	if line, _ := LineOf(books(), name); line.Refunded != 2400 || line.Refunds > 8 {
		t.Errorf("line %+v, want 2400 given back", line)
	}
}

// What the customer must do is there exactly while they must, and in no error.
func testNextStep(t *testing.T, g Gateway) {
	gw, _ := g.start(t)
	ctx := context.Background()
	steps := map[domain.NextStep]bool{}
	for order, path := range map[string][]step{
		"unknown": nil, "authorized": {authorize}, "declined": {decline}, "voided": {ask, void}, "finished": {ask, finish}, "failed": {ask, fail}, "asked": {ask}, "asked too": {ask},
	} {
		name := Name(strings.ReplaceAll(order, " ", "-"))
		for _, s := range path {
			if err := g.take(ctx, gw, s, name); err != nil {
				t.Fatal(err)
			}
		}
		first, err := gw.NextStep(ctx, Attempt(name))
		CheckError(t, err)
		again, errAgain := gw.NextStep(ctx, Attempt(name))
		if again != first || (err == nil) != (errAgain == nil) {
			t.Errorf("%s: %v, and then another one or %v", order, err, errAgain)
		}
		switch want := domain.ErrRefused; {
		case slices.Equal(path, []step{ask}):
			if err != nil || first == (domain.NextStep{}) || steps[first] {
				t.Errorf("%s: no step of its own, %v", order, err)
			}
			steps[first] = true
			if p, err := gw.Lookup(ctx, Attempt(name)); err != nil || p.Status != domain.PaymentStatusActionRequired {
				t.Errorf("%s: after its step was read: %+v, %v", order, p, err)
			}
			for range 2 { // whoever repeats what the customer did changes nothing
				if err := gw.Finish(ctx, name, true); err != nil {
					t.Errorf("%s: the customer's action: %v", order, err)
				}
			}
			if err := gw.Finish(ctx, name, false); !errors.Is(err, domain.ErrRefused) {
				t.Errorf("%s: authorized, and declined then: %v", order, err)
			}
			if step, err := gw.NextStep(ctx, Attempt(name)); !errors.Is(err, domain.ErrRefused) || step != (domain.NextStep{}) {
				t.Errorf("%s: there still is a step once it was done: %v", order, err)
			}
		default:
			if path == nil {
				want = domain.ErrNotFound
			}
			if !errors.Is(err, want) || first != (domain.NextStep{}) {
				t.Errorf("%s: %v, want %v and no step", order, err, want)
			}
		}
	}
	_, err := gw.NextStep(ctx, Attempt(Name("a?b")))
	CheckError(t, err)
	if !errors.Is(err, domain.ErrUnacceptable) {
		t.Errorf("an invalid id: %v", err)
	}
}

// What is below the minimum leaves no trace.
func testMinimums(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	told, err := gw.Minimums(ctx)
	if err != nil || !maps.Equal(told, g.Minimums) {
		t.Fatalf("told %v, %v; want %v", told, err, g.Minimums)
	}
	known := 0
	for currency, least := range g.Minimums {
		r := Request(Name("of-" + currency))
		r.Currency = currency
		for _, amount := range []int64{1, least - 1} {
			if r.Amount = amount; amount < 1 || amount >= least {
				continue
			}
			_, err := gw.Authorize(ctx, r)
			CheckError(t, err)
			if known++; !errors.Is(err, domain.ErrUnacceptable) {
				t.Errorf("%d %s: %v", amount, currency, err)
			}
		}
		if lines := books(); len(lines) != 0 {
			t.Errorf("books %+v", lines)
		}
	}
	if known == 0 {
		t.Fatal("there is no minimum to be below")
	}
	for currency, least := range g.Minimums {
		r := Request(Name("of-" + currency))
		r.Currency, r.Amount = currency, least
		if p, err := gw.Authorize(ctx, r); err != nil || p.Status != domain.PaymentStatusAuthorized {
			t.Errorf("%d %s: %+v, %v", least, currency, p, err)
		}
	}
}

func testOddIDs(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	ids := []string{".", "..", "...", "a+b@c", "capture", "void", "authorizations", "attempts", "2", "-", "_", "2E", ".a", "a..", strings.Repeat("x", domain.MaxIDLength)}
	seen := map[string]bool{}
	for _, event := range ids {
		for _, order := range ids {
			r := domain.PaymentName{OrderRef: domain.OrderRef{EventID: event, OrderID: order}}
			p, err := gw.Authorize(ctx, Request(r))
			if err != nil || p.Status != domain.PaymentStatusAuthorized || seen[p.AuthorizationID] {
				t.Fatalf("authorize %s: %+v, %v", r, p, err)
			}
			seen[p.AuthorizationID] = true
			if p, err := gw.Capture(ctx, Attempt(r)); err != nil || p.Status != domain.PaymentStatusCaptured {
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
	switch p, err := gw.Authorize(ctx, free); {
	case g.NothingFree:
		if !errors.Is(err, domain.ErrUnacceptable) {
			t.Errorf("an amount of 0: %+v, %v", p, err)
		}
	case err != nil || p.Status != domain.PaymentStatusAuthorized:
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
	if _, err := gw.Void(ctx, Attempt(domain.PaymentName{OrderRef: domain.OrderRef{EventID: "z", OrderID: "1"}})); err != nil {
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

// checkLine holds one line to what is true of every payment at every time.
func checkLine(t interface{ Errorf(string, ...any) }, line domain.BooksLine) {
	e := EffectsOf(line)
	atMostOnce := line.Authorizations <= 1 && line.Captures <= line.Authorizations && line.Voids <= line.Authorizations &&
		line.Captures+line.Voids <= 1
	money := line.Captured <= line.Authorized && line.Voided <= line.Authorized && line.Refunded <= line.Captured && (line.Refunded == 0 || line.Refunds > 0)
	var status bool
	switch line.Status {
	case domain.PaymentStatusAuthorized:
		status = e == Effects{1, 0, 0, 0}
	case domain.PaymentStatusDeclined, domain.PaymentStatusActionRequired:
		status = e == Effects{}
	case domain.PaymentStatusCaptured:
		status = e == Effects{1, 1, 0, line.Refunds} && (line.Refunds == 0 || line.Refunded < line.Captured)
	case domain.PaymentStatusVoided:
		status = e == Effects{} || e == Effects{1, 0, 1, 0}
	case domain.PaymentStatusRefunded:
		status = e == Effects{1, 1, 0, line.Refunds} && line.Refunds > 0 && line.Refunded == line.Captured
	}
	if !atMostOnce || !money || !status {
		t.Errorf("impossible line %+v", line)
	}
}

// modelled is what the model knows of one payment.
type modelled struct {
	status           domain.PaymentStatus
	amount, refunded int64
}

// testAgainstModel compares random histories of a few payments with a model that
// is nothing but each one's status and amounts.
func testAgainstModel(t *testing.T, g Gateway) {
	gw, books := g.start(t)
	ctx := context.Background()
	history := 0 // each gets its own orders, to share one gateway
	rapid.Check(t, func(rt *rapid.T) {
		history++
		event := fmt.Sprintf("event-%d", history)
		model := map[domain.PaymentName]modelled{}
		for range rapid.IntRange(1, 25).Draw(rt, "calls") {
			name := domain.PaymentName{OrderRef: domain.OrderRef{EventID: event, OrderID: rapid.SampledFrom([]string{"x", ".."}).Draw(rt, "order")}}
			name.Attempt = rapid.SampledFrom([]int{0, 0, 2}).Draw(rt, "attempt")
			before, known := model[name]
			if !known {
				before.amount = domain.AmountNotTold
			}
			after, wantErr := before, error(nil)
			refuse := func(is domain.PaymentStatus) { // unless it is that
				switch {
				case !known:
					wantErr = domain.ErrNotFound
				case before.status != is:
					wantErr = domain.ErrRefused
				}
			}
			var p domain.Payment
			var err error
			says := true // a payment
			c := rapid.SampledFrom([]payments.Call{
				payments.CallAuthorize, payments.CallLookup, payments.CallCapture, payments.CallVoid, payments.CallRefund, payments.CallNextStep, "finish",
			}).Draw(rt, "call")
			switch c {
			case payments.CallAuthorize:
				request := Request(name)
				request.Amount = rapid.Int64Range(g.Minimums[request.Currency], cmp.Or(g.MaxAmount, domain.MaxAmount)).Draw(rt, "amount")
				request.Token = rapid.SampledFrom([]domain.Secret{Token, Token, g.DeclinedToken, g.ActionToken}).Draw(rt, "token")
				p, err = gw.Authorize(ctx, request)
				if !known {
					after = modelled{status: domain.PaymentStatusAuthorized, amount: request.Amount}
					switch request.Token {
					case g.DeclinedToken:
						after.status = domain.PaymentStatusDeclined
					case g.ActionToken:
						after.status = domain.PaymentStatusActionRequired
					}
				}
			case payments.CallCapture:
				p, err = gw.Capture(ctx, Attempt(name))
				if before.status == domain.PaymentStatusAuthorized {
					after.status = domain.PaymentStatusCaptured
				} else {
					refuse(domain.PaymentStatusCaptured)
				}
			case payments.CallVoid:
				p, err = gw.Void(ctx, Attempt(name))
				if !known || before.status == domain.PaymentStatusAuthorized || before.status == domain.PaymentStatusActionRequired {
					after.status = domain.PaymentStatusVoided
				}
			case payments.CallRefund:
				total := rapid.Int64Range(0, max(before.amount, 1)).Draw(rt, "total")
				if rapid.Bool().Draw(rt, "all") {
					total = max(before.amount, 0)
				}
				p, err = gw.Refund(ctx, Attempt(name), total)
				switch taken := before.status == domain.PaymentStatusCaptured || before.status == domain.PaymentStatusRefunded; {
				case taken && total <= before.amount:
					after.refunded = max(before.refunded, total)
					if after.refunded == after.amount {
						after.status = domain.PaymentStatusRefunded
					}
				case taken:
					wantErr = domain.ErrRefused
				default:
					refuse("")
				}
			case payments.CallNextStep:
				says = false
				_, err = gw.NextStep(ctx, Attempt(name))
				refuse(domain.PaymentStatusActionRequired)
			case "finish":
				says = false
				became := rapid.SampledFrom([]domain.PaymentStatus{domain.PaymentStatusAuthorized, domain.PaymentStatusDeclined}).Draw(rt, "outcome")
				err = gw.Finish(ctx, name, became == domain.PaymentStatusAuthorized)
				if before.status == domain.PaymentStatusActionRequired {
					after.status = became
				} else {
					refuse(became)
				}
			default:
				p, err = gw.Lookup(ctx, Attempt(name))
				refuse(before.status)
			}
			if after.status != "" {
				model[name] = after
			}
			CheckError(rt, err)
			if !errors.Is(err, wantErr) || wantErr == nil && err != nil {
				rt.Fatalf("%s of a payment that is %+v: error %v, want %v", c, before, err, wantErr)
			}
			if says && err == nil && (modelled{p.Status, p.Amount, p.Refunded}) != after {
				rt.Fatalf("%s of a payment that is %+v: %+v, want %+v", c, before, p, after)
			}
		}
		for _, line := range books() {
			if line.EventID != event {
				continue
			}
			checkLine(rt, line)
			is := model[line.Name()]
			if line.Status != is.status || line.Refunded != is.refunded || line.Authorizations > 0 && line.Authorized != is.amount {
				rt.Fatalf("line %+v, model %+v", line, is)
			}
			delete(model, line.Name())
		}
		if len(model) != 0 {
			rt.Fatalf("not in the books: %v", model)
		}
	})
}
