package workers_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

func TestMain(m *testing.M) {
	logging.Disable() // of go-redis: that Redis is gone is no news here
	// The tests wait more than they compute; -parallel on the command line still counts.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// bank is a payment gateway, and what only tests ask it.
type bank interface {
	domain.PaymentGateway
	Books() []domain.BooksLine
	// Finish is what a customer does at their bank.
	Finish(name domain.PaymentName, authorized bool) (domain.Payment, error)
	// Dispute is what their bank does.
	Dispute(name domain.PaymentName, d domain.Dispute) (domain.Payment, error)
}

// world is one namespace on a Redis, with a gateway and the workers of a test.
type world struct {
	t        testing.TB
	ctx      context.Context
	server   *redistest.Server
	ns       string
	store    *streams.Store // nothing fails on this one
	gateway  bank
	producer *producer.Producer
	rdb      func() *redis.Client // for what only a test asks; made at the first call
	patience time.Duration        // bounds every wait
	states   []func() string      // whether each worker works, for whoever waits in vain
	free     bool                 // whether free orders need no payment
	deps     func(*workers.Deps)  // if not nil, changes what workers get
	past     domain.ArchivedPast  // if not nil, the archive of the log
}

var namespaces atomic.Int64

func newWorld(t testing.TB, server *redistest.Server, gateway simulator.Options) *world {
	t.Helper()
	sim, err := simulator.New(gateway)
	if err != nil {
		t.Fatalf("making the gateway: %v", err)
	}
	return openWorld(t, server, fmt.Sprintf("test-%d", namespaces.Add(1)), sim)
}

// openWorld is newWorld with what is there.
func openWorld(t testing.TB, server *redistest.Server, ns string, gateway bank) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	w := &world{t: t, ctx: ctx, server: server, ns: ns, gateway: gateway, patience: patience}
	w.rdb = sync.OnceValue(func() *redis.Client {
		options, err := redis.ParseURL(w.url())
		if err != nil {
			t.Fatalf("reading the URL: %v", err)
		}
		options.Protocol = 2
		rdb := redis.NewClient(options)
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	})
	w.store = w.open(nil)
	w.producer = producer.New(w.store.Checkout(), w.store.Checkout(), producer.Options{})
	t.Cleanup(func() {
		w.producer.Close()
		if err := w.store.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
		cancel()
	})
	return w
}

// open connects to the world's namespace; one partition, so that everything is in one place.
func (w *world) open(hook redis.Hook) *streams.Store {
	w.t.Helper()
	for end := time.Now().Add(patience); ; {
		store, err := streams.Open(w.ctx, w.url(), streams.Options{Namespace: w.ns, Create: true, Partitions: 1, Hook: hook})
		if err == nil {
			return store
		}
		if domain.ClassOf(err) != domain.ClassRetry || time.Now().After(end) {
			w.t.Fatalf("opening the store: %v", err)
		}
	}
}

// url is for a client that waits for a busy machine as long as the test does.
func (w *world) url() string {
	return fmt.Sprintf("%s?dial_timeout=%[2]s&read_timeout=%[2]s&write_timeout=%[2]s&pool_timeout=%[2]s", w.server.URL(), patience)
}

// worker is a running pool with connections of its own.
type worker struct {
	*workers.Pool
	stop func() error // ends it in an orderly way; once, the second call waits for that
}

func (w *world) start(cfg workers.Config, gateway domain.PaymentGateway, hook redis.Hook) *worker {
	w.t.Helper()
	return w.run(cfg, gateway, w.open(hook))
}

// run starts a pool on a store, which is closed with it. more says what else it gets.
func (w *world) run(cfg workers.Config, gateway domain.PaymentGateway, store *streams.Store, more ...func(*workers.Deps)) *worker {
	w.t.Helper()
	log := zap.NewNop()
	if os.Getenv("HOLDFAST_TEST_LOG") != "" {
		log = zaptest.NewLogger(w.t)
	}
	deps := workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Gateway: gateway, Partitions: store.Partitions(),
		GatewayKind: domain.GatewayRemote, PaymentNamespace: store.PaymentNamespace(), FreeOrders: w.free, Log: log,
	}
	for _, add := range more {
		add(&deps)
	}
	if w.deps != nil {
		w.deps(&deps)
	}
	pool, err := workers.New(cfg, deps)
	if err != nil {
		w.t.Fatalf("making a pool: %v", err)
	}
	pool.SetTrimEvery(20 * time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var why error
	go func() {
		defer close(ended)
		why = pool.Run(ctx)
	}()
	stop := sync.OnceValue(func() error {
		cancel()
		<-ended
		return errors.Join(why, store.Close())
	})
	w.states = append(w.states, func() string {
		select {
		case <-ended:
			return fmt.Sprintf("a worker ended: %v", why)
		default:
			return "a worker works"
		}
	})
	w.t.Cleanup(func() { _ = stop() }) // the test has looked at the error if it matters
	return &worker{Pool: pool, stop: stop}
}

// requests is the stream to publish to: its name is a contract.
func (w *world) requests() string { return w.ns + ":{0}:requests" }

func (w *world) list(eventID string, price, capacity int64) {
	w.t.Helper()
	w.listWith(eventID, domain.Terms{Sections: []domain.SectionTerms{{Name: "general", Price: price, Capacity: capacity}}})
}

func (w *world) listWith(eventID string, t domain.Terms) {
	w.t.Helper()
	t.Name, t.Currency = eventID, "EUR"
	if _, err := w.store.Events().Create(w.ctx, eventID, t); err != nil {
		w.t.Fatalf("listing %s: %v", eventID, err)
	}
}

func request(typ domain.RequestType, order, customer string, quantity int64) domain.Request {
	r := domain.Request{Type: typ, EventID: "e", OrderID: order, CustomerID: customer, Quantity: quantity}
	if typ.Pays() {
		r.PaymentToken = "tok_secret"
	}
	if !typ.Opens() {
		r.CustomerID, r.Quantity = "", 0
	}
	return r
}

func (w *world) publish(requests ...domain.Request) {
	w.t.Helper()
	for _, result := range w.producer.PublishBatch(w.ctx, requests) {
		if result.Err != nil {
			w.t.Fatalf("publishing: %v", result.Err)
		}
	}
}

func (w *world) order(orderID string) domain.Order {
	w.t.Helper()
	orders, err := w.store.Checkout().Orders(w.ctx, []domain.OrderRef{{EventID: "e", OrderID: orderID}})
	if err != nil {
		w.t.Fatalf("reading order %s: %v", orderID, err)
	}
	return orders[0]
}

func (w *world) section() domain.Section {
	w.t.Helper()
	e, err := w.store.Events().Get(w.ctx, "e")
	if err != nil {
		w.t.Fatalf("reading the event: %v", err)
	}
	return e.Sections[0]
}

// eventually waits for a condition: the only place of these tests that sleeps.
func (w *world) eventually(what string, done func() bool) {
	w.t.Helper()
	// Many wait at once in some tests, so those that wait long look less often.
	pause := 2 * time.Millisecond
	for end := time.Now().Add(w.patience); !done(); time.Sleep(pause) {
		if time.Now().After(end) {
			w.t.Fatalf("waited %s in vain: %s\n%s", w.patience, what, w.waits())
		}
		pause = min(pause+pause/4, 25*time.Millisecond)
	}
}

// waits is what there is that may be why: what waits, what is owed, which letters are dead.
func (w *world) waits() string {
	ctx, cancel := context.WithTimeout(context.Background(), w.patience)
	defer cancel()
	pipe := w.rdb().Pipeline()
	now, owed, notes, dead := pipe.Time(ctx), pipe.ZRangeWithScores(ctx, w.ns+":{0}:2:owed", 0, -1), pipe.HGetAll(ctx, w.ns+":{0}:2:owed_notes"), pipe.XRange(ctx, w.ns+":{0}:2:dead", "-", "+")
	if _, err := pipe.Exec(ctx); err != nil {
		return err.Error()
	}
	groups, err := inspect.New(w.store).Pending(ctx, 0)
	var states []string
	for _, state := range w.states {
		states = append(states, state())
	}
	return fmt.Sprintf("%v, now %d, owed %v, notes %v, dead %v, groups %+v, %v", states, now.Val().UnixMilli(), owed.Val(), notes.Val(), dead.Val(), groups, err)
}

func (w *world) waitState(orderID string, state domain.OrderState) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s %s", orderID, state), func() bool { return w.order(orderID).State == state })
}

// backlog is what all groups have before them.
func (w *world) backlog() (backlog int64) {
	w.t.Helper()
	all, err := inspect.New(w.store).Pending(w.ctx, 0)
	if err != nil {
		w.t.Fatalf("inspecting: %v", err)
	}
	for _, g := range all {
		backlog += g.Backlog
	}
	return backlog
}

func (w *world) waitDrained() {
	w.t.Helper()
	w.eventually("nothing pending", func() bool { return w.backlog() == 0 })
}

// audit fails the test on any violation, and checks that each payment has one effect at most.
func (w *world) audit() {
	w.t.Helper()
	w.auditBut()
}

// auditBut is audit where some orders must be named, each once.
func (w *world) auditBut(subjects ...string) {
	w.t.Helper()
	report, err := audit.Run(w.ctx, w.store, audit.Options{
		Archive: w.past,
		Gateway: func(context.Context) ([]domain.BooksLine, error) { return w.gateway.Books(), nil },
	})
	if err != nil {
		w.t.Fatalf("audit: %v", err)
	}
	named := slices.Clone(subjects)
	for _, v := range report.Violations {
		if i := slices.Index(named, v.Subject); i >= 0 {
			named = slices.Delete(named, i, i+1)
			continue
		}
		w.t.Errorf("%s %s: %s", v.Invariant, v.Subject, v.Detail)
	}
	if len(named) > 0 {
		w.t.Errorf("the auditor does not name %v", named)
	}
	if report.Checked.Orders == 0 {
		w.t.Error("the audit saw no order")
	}
}

func (w *world) deadReasons() (reasons []string) {
	w.t.Helper()
	err := inspect.New(w.store).EachDeadLetter(w.ctx, func(l inspect.DeadLetter) error {
		reasons = append(reasons, l.Reason)
		return nil
	})
	if err != nil {
		w.t.Fatalf("reading dead letters: %v", err)
	}
	return reasons
}

func (w *world) payment(orderID string) domain.BooksLine {
	own, _ := w.books()
	for _, line := range own {
		if line.OrderID == orderID {
			return line
		}
	}
	return domain.BooksLine{}
}

// books are the gateway's: what it did for this namespace, and for others.
func (w *world) books() (own, others []domain.BooksLine) {
	for _, line := range w.gateway.Books() {
		if line.Namespace == w.store.PaymentNamespace() {
			own = append(own, line)
		} else {
			others = append(others, line)
		}
	}
	return own, others
}

func (w *world) totals() inspect.Totals {
	w.t.Helper()
	totals, err := inspect.New(w.store).Sales(w.ctx, "e")
	if err != nil {
		w.t.Fatalf("reading sales: %v", err)
	}
	return totals
}

// gatewayFunc is a gateway of which single calls can be replaced.
type gatewayFunc struct {
	domain.PaymentGateway
	authorize func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error)
	capture   func(ctx context.Context, a domain.Attempt) (domain.Payment, error)
	minimums  func(ctx context.Context) (domain.Minimums, error)
}

func (g gatewayFunc) Minimums(ctx context.Context) (domain.Minimums, error) {
	if g.minimums != nil {
		return g.minimums(ctx)
	}
	return g.PaymentGateway.Minimums(ctx)
}

func (g gatewayFunc) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	if g.authorize != nil {
		return g.authorize(ctx, r)
	}
	return g.PaymentGateway.Authorize(ctx, r)
}

func (g gatewayFunc) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	if g.capture != nil {
		return g.capture(ctx, a)
	}
	return g.PaymentGateway.Capture(ctx, a)
}

var errLost = fmt.Errorf("the reply got lost: %w", domain.ErrUnknownOutcome)
