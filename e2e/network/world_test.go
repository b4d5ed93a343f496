package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/e2e/torture"
	"holdfast/payments/remote"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

const (
	// patience bounds every wait of these tests.
	patience = 90 * time.Second
	// patienceOfClients is how long a client waits for a reply of Redis or the gateway.
	patienceOfClients = 400 * time.Millisecond
)

func millis(d time.Duration) int { return int(d.Milliseconds()) }

func eventually(t testing.TB, what string, cond func() error) {
	t.Helper()
	torture.Eventually(t, patience, what, cond)
}

// world is a namespace of its own, a payment gateway of its own, and what lies before the two.
type world struct {
	t         testing.TB
	ctx       context.Context
	server    *redistest.Server
	ns        string
	store     *streams.Store // straight to Redis
	gateway   *simulator.Simulator
	url       string // of the gateway
	toRedis   *proxy
	toGateway *proxy
}

var namespaces atomic.Int64

func newWorld(t testing.TB, server *redistest.Server) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	gateway, err := simulator.New(simulator.Options{Latency: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ctx: ctx, server: server, ns: fmt.Sprintf("network-%d", namespaces.Add(1)), gateway: gateway}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- simulator.Serve(serving, listener, simulator.Handler(w.gateway)) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	address := listener.Addr().String()
	w.url = "http://" + address
	w.toGateway = newProxy(t, address)
	w.toRedis = newProxy(t, fmt.Sprintf("127.0.0.1:%d", server.Port()))
	w.store = w.open(server.URL(), nil)
	for n := range events {
		_, err := w.store.Events().Create(ctx, eventID(n), domain.Terms{
			Name: eventID(n), Currency: "EUR",
			Sections: []domain.SectionTerms{{Name: domain.DefaultSection, Price: 12_50, Capacity: 100_000}},
		})
		if err != nil {
			t.Fatalf("listing an event: %v", err)
		}
	}
	return w
}

func (w *world) open(url string, hook redis.Hook) *streams.Store {
	w.t.Helper()
	var store *streams.Store
	eventually(w.t, "the store opens", func() (err error) { // one that is not patient may need a second try
		store, err = streams.Open(w.ctx, url, streams.Options{Namespace: w.ns, Create: true, Partitions: 2, Hook: hook})
		return err
	})
	w.t.Cleanup(func() { _ = store.Close() }) // its connections may be broken
	return store
}

// through is Redis behind the proxy, for a client that is not patient.
func (w *world) through() string {
	return fmt.Sprintf("redis://%s/0?dial_timeout=%[2]s&read_timeout=%[2]s&write_timeout=%[2]s", w.toRedis.address, patienceOfClients)
}

// failures counts the commands whose fate a client did not learn.
type failures struct{ n atomic.Int64 }

func (f *failures) note(err error) error {
	var answer redis.Error
	if err != nil && !errors.As(err, &answer) {
		f.n.Add(1)
	}
	return err
}

func (f *failures) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		return conn, f.note(err)
	}
}

func (f *failures) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return f.note(next(ctx, cmd)) }
}

func (f *failures) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return f.note(next(ctx, cmds)) }
}

// worker is a running pool with connections of its own.
type worker struct {
	*workers.Pool
	redis failures
	asked atomic.Int64 // for entries of its own
	stop  func()
}

// queue counts how often a worker asks for its own entries.
type queue struct {
	domain.Queue
	asked *atomic.Int64
}

func (q queue) Own(ctx context.Context, after string, most int, inherit bool) ([]domain.Entry, error) {
	q.asked.Add(1)
	return q.Queue.Own(ctx, after, most, inherit)
}

// start starts a pool, behind both proxies or before them. What cfg leaves open
// is short, but for holds.
func (w *world) start(name string, behind bool, cfg workers.Config) *worker {
	w.t.Helper()
	worker := new(worker)
	redisURL, gatewayURL := w.server.URL(), w.url
	if behind {
		redisURL, gatewayURL = w.through(), "http://"+w.toGateway.address
	}
	store := w.open(redisURL, &worker.redis)
	gateway, err := remote.New(gatewayURL, remote.Options{Timeout: patienceOfClients})
	if err != nil {
		w.t.Fatal(err)
	}
	queues := func(partition int, group domain.Group, consumer string) (domain.Queue, error) {
		q, err := store.Queue(partition, group, consumer)
		return queue{q, &worker.asked}, err
	}
	cfg.Name, cfg.ReclaimAfter, cfg.CallTimeout = name, time.Second, patienceOfClients
	cfg.PayWait, cfg.Grace = 2*patience, 3*time.Second
	if cfg.HoldTime == 0 {
		cfg.HoldTime = 10 * time.Minute
	}
	worker.Pool, err = workers.New(cfg, workers.Deps{
		Ledger: store.Ledger(), Queues: queues, Gateway: gateway, Partitions: store.Partitions(),
		GatewayKind: domain.GatewayRemote, PaymentNamespace: store.PaymentNamespace(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	running, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(running) }()
	worker.stop = func() {
		if running.Err() != nil {
			return
		}
		end()
		if err := <-ended; err != nil {
			w.t.Errorf("worker %s: %v", name, err)
		}
		gateway.Close()
	}
	w.t.Cleanup(worker.stop)
	return worker
}

// publish sends requests straight to Redis.
func (w *world) publish(requests []domain.Request) {
	w.t.Helper()
	for i, a := range w.store.Checkout().Append(w.ctx, requests, domain.Confirmation{}) {
		if a.Err != nil {
			w.t.Fatalf("publishing %s: %v", requests[i].Ref(), a.Err)
		}
	}
}

func (w *world) orders(refs []domain.OrderRef) []domain.Order {
	w.t.Helper()
	orders, err := w.store.Checkout().Orders(w.ctx, refs)
	if err != nil {
		w.t.Fatalf("reading orders: %v", err)
	}
	return orders
}

// drained waits until nothing is left to be done: no order is held, and no group has a backlog.
func (w *world) drained(refs []domain.OrderRef) {
	w.t.Helper()
	quiet := 0
	eventually(w.t, "everything is drained", func() error {
		err := w.idle(refs)
		if err != nil {
			quiet = 0
			return err
		}
		// The groups are read one after the other, and one may make work for another.
		if quiet++; quiet < 2 {
			return errors.New("only just")
		}
		return nil
	})
}

func (w *world) idle(refs []domain.OrderRef) error {
	groups, err := inspect.New(w.store).Pending(w.ctx, 0)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.Backlog != 0 {
			return fmt.Errorf("partition %d, group %s: lag %d, pending %d", g.Partition, g.Group, g.Lag, g.Pending)
		}
	}
	for i, o := range w.orders(refs) {
		if !o.State.Terminal() {
			return fmt.Errorf("%s is %q", refs[i], o.State)
		}
	}
	return nil
}

// judge checks how each order ended, what the gateway did for it, that nothing was
// set aside, and has the auditor look at all of it. It returns how many orders ended how.
func (w *world) judge(tally *torture.Tally, l *load, orExpired bool) map[domain.OrderState]int {
	w.t.Helper()
	lines := make(map[domain.OrderRef]domain.BooksLine)
	for _, line := range w.gateway.Books() {
		lines[domain.OrderRef{EventID: line.EventID, OrderID: line.OrderID}] = line
	}
	ended := make(map[domain.OrderState]int)
	for i, o := range w.orders(l.refs) {
		ref := l.refs[i]
		ended[o.State]++
		want := l.ends[ref]
		expired := orExpired && o.State == domain.OrderExpired && want != domain.OrderRejected
		if o.State != want && !expired {
			w.t.Errorf("%s is %s (%s %s), want %s", ref, o.State, o.Reason, o.Detail, want)
		}
		if err := checkPayment(o.State, lines[ref]); err != nil {
			w.t.Errorf("%s is %s, and its payment %+v: %v", ref, o.State, lines[ref], err)
		}
		delete(lines, ref)
	}
	for ref := range lines {
		w.t.Errorf("the gateway knows of %s, of which nobody else does", ref)
	}
	err := inspect.New(w.store).EachDeadLetter(w.ctx, func(d inspect.DeadLetter) error {
		w.t.Errorf("%s of %s was set aside: %s", d.EntryID, d.Group, d.Reason)
		return nil
	})
	if err != nil {
		w.t.Errorf("reading dead letters: %v", err)
	}
	report, err := audit.Run(w.ctx, w.store, audit.Options{
		Gateway: func(context.Context) ([]domain.BooksLine, error) { return w.gateway.Books(), nil },
	})
	if err != nil {
		w.t.Fatalf("audit: %v", err)
	}
	for _, v := range report.Violations {
		w.t.Errorf("%s %s: %s", v.Invariant, v.Subject, v.Detail)
	}
	if report.Checked.Orders != len(l.refs) {
		w.t.Errorf("the audit saw %d orders, want %d", report.Checked.Orders, len(l.refs))
	}
	tally.Judged(len(report.Violations))
	return ended
}

// checkPayment says what is wrong with the gateway's line of an order: each effect
// is there once at most, and money only for orders that are confirmed.
func checkPayment(state domain.OrderState, l domain.BooksLine) error {
	if l.Authorizations > 1 || l.Captures > 1 || l.Voids > 1 || l.Refunds > 1 {
		return errors.New("something was done twice")
	}
	released := l.Voids + l.Refunds
	switch state {
	case domain.OrderConfirmed:
		if l.Authorizations != 1 || l.Captures != 1 || released != 0 {
			return errors.New("want it authorized and captured")
		}
	case domain.OrderCancelled:
		if released != l.Authorizations || l.Refunds != l.Captures {
			return errors.New("want all of it given back")
		}
	case domain.OrderExpired:
		if l.Captures != 0 || l.Voids != l.Authorizations || l.Status != domain.PaymentStatusVoided && l.Status != domain.PaymentStatusDeclined {
			return errors.New("want it voided")
		}
	case domain.OrderDeclined, domain.OrderRejected:
		if l.Authorizations+l.Captures+released != 0 {
			return errors.New("want no money moved")
		}
	case domain.OrderNone, domain.OrderHeld:
		return errors.New("that is no end")
	}
	return nil
}

// publisher is a checkout behind the proxy.
func (w *world) publisher() (*producer.Producer, *failures) {
	w.t.Helper()
	lost := new(failures)
	store := w.open(w.through(), lost)
	p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
	w.t.Cleanup(p.Close)
	return p, lost
}
