package workers_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/torture"
	"holdfast/payments/simulator"
	"holdfast/payments/stripe"
	"holdfast/payments/stripe/stripefake"
	"holdfast/streams/redistest"
)

// The scenarios with Stripe: each worker has a client of its own, and each request that it makes is a step at which a
// fault can happen, in the middle of a call of the port. What the test itself asks of Stripe is always answered.

// atStripe begins the names of steps that are requests to Stripe.
const atStripe = "stripe "

// stripeSteps are all requests that workers make.
var stripeSteps = []string{
	atStripe + "POST /v1/payment_intents", atStripe + "POST /v1/payment_intents/{intent}", atStripe + "POST /v1/payment_intents/{intent}/confirm",
	atStripe + "POST /v1/payment_intents/{intent}/capture", atStripe + "POST /v1/payment_intents/{intent}/cancel", atStripe + "POST /v1/refunds",
	atStripe + "GET /v1/payment_intents/{intent}", atStripe + "GET /v1/payment_intents/search", atStripe + "GET /v1/disputes",
}

// stripeScenarios are those in which money is asked for, and what only Stripe does.
func stripeScenarios() (list []scenario) {
	for _, s := range append(slices.Clone(scenarios), onlyAtStripe...) {
		paid := slices.ContainsFunc(s.ends, func(e end) bool { return e.payment != "" })
		if !paid || s.gateway.CaptureRefusalRate > 0 || s.gateway.RateLimit > 0 { // a simulator's
			continue
		}
		s.name = atStripe + s.name
		s.bank = func(v *verdict) bank { return newStripeBank(v) }
		list = append(list, s)
	}
	return list
}

var onlyAtStripe = []scenario{
	{
		// Nobody captures for eight days: Stripe has let the authorization expire.
		name: "expired before its capture",
		wrap: func(r *scene) domain.PaymentGateway {
			return middleman{next: r.world.gateway, do: func(ctx context.Context, call string, _ domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
				if call == "capture" && !r.waitReleased(ctx) {
					return domain.Payment{}, errLost
				}
				return do()
			}}
		},
		play: func(r *scene) {
			r.append(request(purchase, "a", "amy", 2))
			r.untilState("e/a", domain.OrderConfirmed)
			r.world.gateway.(*stripeBank).account.Advance(8 * 24 * time.Hour)
			r.release()
		},
		ends: []end{{
			ref: "e/a", customer: "amy", quantity: 2, state: domain.OrderCancelled, reason: domain.ReasonCaptureFailed,
			payment: domain.PaymentStatusVoided, reversed: true,
		}},
	},
	{
		// Its intent was made, unconfirmed, when the order was about something else: Redis has lost that.
		name: "made before a loss",
		play: func(r *scene) {
			ref := domain.OrderRef{EventID: "e", OrderID: "a"}
			before := domain.Attempt{
				Name: domain.PaymentName{Namespace: r.store.PaymentNamespace(), OrderRef: ref}, Amount: 500, Currency: "EUR", CustomerID: "zoe", HeldAtMillis: r.now(),
			}
			if _, err := r.world.gateway.Lookup(r.ctx, before); !errors.Is(err, domain.ErrNotFound) {
				r.t.Fatalf("looking up: %v", err)
			}
			r.append(request(purchase, "a", "amy", 2))
		},
		ends: []end{confirmed("e/a", "amy", 2)},
	},
}

// TestTortureStripe lets a fault happen at each request to Stripe of each scenario, and then another one at a step of what recovers
// from it. Everything ends as the scenario says, in Stripe's books as well, and no attempt has two intents.
func TestTortureStripe(t *testing.T) {
	// Fewer at once: they do more, and some holds last 3 s only.
	c := &campaign{t: t, server: redistest.Start(t), seed: torture.Seed(t), scenarios: stripeScenarios(), atOnce: atOnce / 3, hits: make(map[string]int)}
	random := rand.New(rand.NewPCG(c.seed, 0))
	undisturbed := make([]point, len(c.scenarios))
	for i, s := range c.scenarios {
		undisturbed[i] = point{scenario: s}
	}
	var recoveries []recovery
	t.Run("at every request", func(t *testing.T) {
		c.in(t, 1, "a fault at every request to Stripe")
		var points []point
		for i, o := range c.runAll(undisturbed) {
			maps.DeleteFunc(o.seen[0], func(step string, _ int) bool { return !strings.HasPrefix(step, atStripe) })
			points = append(points, pointsOf(undisturbed[i], o.seen[0], torture.Size(1, 3))...)
		}
		if t.Failed() {
			return // not even without a fault
		}
		random.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		spread(points, func(p point) string { return p.faults[0].step + string(p.faults[0].kind) })
		points = points[:min(torture.Size(3*len(stripeSteps)*len(stripeKinds)/2, 1500), len(points))]
		kinds := make(map[faultKind]int)
		for i, o := range c.runAll(points) {
			if o.hits == 1 {
				kinds[points[i].faults[0].kind]++
				recoveries = append(recoveries, recovery{points[i], o.seen[1]})
			}
		}
		for _, step := range stripeSteps {
			if c.hits[step] == 0 {
				t.Errorf("no fault was hit at %q", step)
			}
			c.tally.Note("%s %d", step, c.hits[step])
		}
		for _, kind := range stripeKinds {
			if kinds[kind] == 0 {
				t.Errorf("no fault was %q", kind)
			}
		}
		for step := range c.hits {
			if !slices.Contains(stripeSteps, step) {
				t.Errorf("%q is a step that the list does not name", step)
			}
		}
		c.tally.Count("points", len(points))
		c.tally.Count("points hit", len(recoveries))
		c.tally.Count("scenarios", len(c.scenarios))
	})
	if !t.Failed() {
		t.Run("during recovery", func(t *testing.T) {
			c.in(t, 2, "a fault during recovery from one at Stripe").duringRecovery(random, recoveries, torture.Size(10, 300))
		})
	}
}

// asProcess has a gateway know which worker calls it.
type asProcess struct {
	domain.PaymentGateway
	process *process
}

type processKey struct{}

func (g asProcess) as(ctx context.Context) context.Context {
	return context.WithValue(ctx, processKey{}, g.process)
}

func (g asProcess) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	return g.PaymentGateway.Authorize(g.as(ctx), r)
}

func (g asProcess) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return g.PaymentGateway.Lookup(g.as(ctx), a)
}

func (g asProcess) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return g.PaymentGateway.Capture(g.as(ctx), a)
}

func (g asProcess) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return g.PaymentGateway.Void(g.as(ctx), a)
}

func (g asProcess) Refund(ctx context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	return g.PaymentGateway.Refund(g.as(ctx), a, total)
}

// stripeBank is Stripe as the bank of a scene.
type stripeBank struct {
	t       testing.TB
	account *stripefake.Stripe

	mu      sync.Mutex
	clients map[*process]*stripe.Client // of nil: the test's own
	close   []func()
}

func newStripeBank(t testing.TB) *stripeBank {
	b := &stripeBank{t: t, account: stripefake.New(stripefake.Options{}), clients: make(map[*process]*stripe.Client)}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, end := range b.close {
			end()
		}
	})
	return b
}

// client is that of whoever calls, over a connection of their own.
func (b *stripeBank) client(ctx context.Context) *stripe.Client {
	p, _ := ctx.Value(processKey{}).(*process)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.clients[p] == nil {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.answer(p, w, r) }))
		client, err := stripe.New(b.account.Key(), stripe.Options{URL: server.URL})
		if err != nil {
			panic(err) // a key and an address that are always the same
		}
		b.clients[p], b.close = client, append(b.close, client.Close, server.Close)
	}
	return b.clients[p]
}

// routeOf is what a request asks for, without the id in it.
func routeOf(r *http.Request) string {
	parts := strings.Split(r.URL.Path, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, "pi_") {
			parts[i] = "{intent}"
		}
	}
	return r.Method + " " + strings.Join(parts, "/")
}

// answer has Stripe answer a request of a worker, unless a fault is due.
func (b *stripeBank) answer(p *process, w http.ResponseWriter, r *http.Request) {
	if p == nil {
		b.account.ServeHTTP(w, r)
		return
	}
	route := routeOf(r)
	kind, _ := p.arrive(atStripe + route) // empty: none is due
	switch kind {
	case notApplied, diesBefore:
		panic(http.ErrAbortHandler)
	case answers429:
		b.account.Next(route, stripefake.LockTimeout)
	case answers500:
		b.account.Next(route, stripefake.FaultAfter)
	case diesDuring:
		b.account.Next(route, stripefake.Slow)
		p.kill()
	case replyLost, diesAfter:
	}
	reply := httptest.NewRecorder()
	b.account.ServeHTTP(reply, r)
	if kind.kills() {
		p.kill()
	}
	if kind == replyLost || p.isDead() {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), reply.Header())
	w.WriteHeader(reply.Code)
	_, _ = w.Write(reply.Body.Bytes()) // to whoever has not hung up
}

// Authorize takes the tokens of scenarios.
func (b *stripeBank) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	if r.Token == simulator.ActionTokenPrefix {
		r.Token = "pm_card_authenticationRequired"
	}
	return b.client(ctx).Authorize(ctx, r)
}

func (b *stripeBank) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return b.client(ctx).Lookup(ctx, a)
}

func (b *stripeBank) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return b.client(ctx).Capture(ctx, a)
}

func (b *stripeBank) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return b.client(ctx).Void(ctx, a)
}

func (b *stripeBank) Refund(ctx context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	return b.client(ctx).Refund(ctx, a, total)
}

func (b *stripeBank) Minimums(ctx context.Context) (domain.Minimums, error) {
	return b.client(ctx).Minimums(ctx)
}

func (b *stripeBank) Finish(name domain.PaymentName, authorized bool) (domain.Payment, error) {
	return domain.Payment{}, b.account.Finish(name, authorized)
}

func (b *stripeBank) Dispute(name domain.PaymentName, d domain.Dispute) (domain.Payment, error) {
	return domain.Payment{}, b.account.Dispute(name, d)
}

func (b *stripeBank) Books() []domain.BooksLine { return b.account.Books() }

// check compares what Stripe did with what can be listed there: each attempt is one intent.
func (b *stripeBank) check(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	listed, err := b.client(ctx).Books(ctx)
	if err != nil {
		t.Errorf("listing: %v", err)
	}
	told := make(map[domain.PaymentName]domain.BooksLine)
	for _, line := range listed {
		if _, twice := told[line.Name()]; twice {
			t.Errorf("%s is listed twice", line.Name())
		}
		told[line.Name()] = line
	}
	for _, line := range b.account.Books() {
		if n := b.account.Intents(line.Name()); n != 1 {
			t.Errorf("%s has %d intents", line.Name(), n)
		}
		if l := told[line.Name()]; l.Status != line.Status || l.Captured != line.Captured || l.Refunded != line.Refunded {
			t.Errorf("listed %+v, want %+v", l, line)
		}
		delete(told, line.Name())
	}
	if len(told) > 0 {
		t.Errorf("listed, but never made: %v", told)
	}
}
