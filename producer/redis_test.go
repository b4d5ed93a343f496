package producer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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

// patience bounds every wait on a real Redis.
const patience = 30 * time.Second

// world is a Redis of its own, with a gateway that approves at once unless the token says otherwise.
type world struct {
	*testing.T
	ctx     context.Context
	server  *redistest.Server
	url     string
	store   *streams.Store // for looking
	gateway *simulator.Simulator
}

func newWorld(t *testing.T, partitions int, args ...string) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	gateway, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatalf("making the gateway: %v", err)
	}
	w := &world{T: t, ctx: ctx, server: redistest.Start(t, args...), gateway: gateway}
	w.url = w.server.URL()
	store, err := streams.Open(ctx, w.url, streams.Options{Create: true, Partitions: partitions})
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	w.store = store
	t.Cleanup(func() { _ = store.Close() }) // that Redis may be gone is no news
	return w
}

// checkout is a producer with connections of its own, as a checkout has it.
func (w *world) checkout(hook redis.Hook, o producer.Options) *producer.Producer {
	w.Helper()
	store, err := streams.Open(w.ctx, w.url, streams.Options{Hook: hook})
	if err != nil {
		w.Fatalf("opening the checkout's store: %v", err)
	}
	p := producer.New(store.Checkout(), store.Checkout(), o)
	w.Cleanup(func() {
		p.Close()
		_ = store.Close()
	})
	return p
}

// work runs a pool of workers until the test ends.
func (w *world) work() {
	w.Helper()
	w.workWith(workers.Config{})
}

func (w *world) workWith(cfg workers.Config) {
	w.Helper()
	w.workAt(w.url, cfg)
}

func (w *world) workAt(url string, cfg workers.Config) {
	w.Helper()
	store, err := streams.Open(w.ctx, url, streams.Options{Create: true})
	if err != nil {
		w.Fatalf("opening the workers' store: %v", err)
	}
	log := zap.NewNop()
	if os.Getenv("HOLDFAST_TEST_LOG") != "" {
		log = zaptest.NewLogger(w)
	}
	pool, err := workers.New(cfg, workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Gateway: w.gateway, Partitions: store.Partitions(),
		GatewayKind: domain.GatewaySimulator, PaymentNamespace: store.PaymentNamespace(), Log: log,
	})
	if err != nil {
		w.Fatalf("making a pool: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	w.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, store.Close()); err != nil {
			w.Errorf("stopping the workers: %v", err)
		}
	})
}

func (w *world) list(eventID string, capacity int64) {
	w.Helper()
	_, err := w.store.Events().Create(w.ctx, eventID, domain.Terms{
		Name: eventID, Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: capacity}},
	})
	if err != nil {
		w.Fatalf("listing %s: %v", eventID, err)
	}
}

func (w *world) order(eventID, orderID string) domain.Order {
	w.Helper()
	orders, err := w.store.Checkout().Orders(w.ctx, []domain.OrderRef{{EventID: eventID, OrderID: orderID}})
	if err != nil {
		w.Fatalf("reading %s: %v", orderID, err)
	}
	return orders[0]
}

// eventually waits for a condition.
func (w *world) eventually(what string, done func() bool) {
	w.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			w.Fatalf("waited in vain: %s", what)
		}
	}
}

func (w *world) drained() {
	w.Helper()
	w.eventually("nothing pending", func() bool {
		all, err := inspect.New(w.store).Pending(w.ctx, 0)
		if err != nil {
			w.Fatalf("inspecting: %v", err)
		}
		return !slices.ContainsFunc(all, func(g inspect.GroupStatus) bool { return g.Backlog > 0 })
	})
}

// audited waits until everything is done and holds the books against each other.
func (w *world) audited(orders int) {
	w.Helper()
	w.drained()
	report, err := audit.Run(w.ctx, w.store, audit.Options{
		Gateway: func(context.Context) ([]domain.BooksLine, error) { return w.gateway.Books(), nil },
	})
	if err != nil {
		w.Fatalf("audit: %v", err)
	}
	for _, v := range report.Violations {
		w.Errorf("%s %s: %s", v.Invariant, v.Subject, v.Detail)
	}
	if got := report.Checked.Orders; got != orders {
		w.Errorf("%d orders, want %d", got, orders)
	}
}

// onePayment waits until everything is done, and fails the test unless the order
// was authorized and captured once, in full.
func (w *world) onePayment(eventID, orderID string) {
	w.Helper()
	w.drained()
	lines := slices.DeleteFunc(w.gateway.Books(), func(l domain.BooksLine) bool {
		return l.EventID != eventID || l.OrderID != orderID
	})
	if len(lines) != 1 || lines[0].Authorizations != 1 || lines[0].Captures != 1 || lines[0].Captured != 2000 {
		w.Errorf("the gateway's lines for %s: %+v, want one capture of 2000", orderID, lines)
	}
}

// entries is the ids in the requests stream of a namespace with one partition.
func (w *world) entries() (ids []string) {
	w.Helper()
	rdb := w.server.Client()
	defer func() { _ = rdb.Close() }()
	messages, err := rdb.XRange(w.ctx, streams.DefaultNamespace+":{0}:requests", "-", "+").Result()
	if err != nil {
		w.Fatalf("reading the requests: %v", err)
	}
	for _, m := range messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// published publishes one request that nothing must keep from being published.
func (w *world) published(p *producer.Producer, r domain.Request) producer.Receipt {
	w.Helper()
	receipt, err := p.Publish(w.ctx, r)
	if err != nil {
		w.Fatalf("publishing %s: %v", r.OrderID, err)
	}
	return receipt
}

// waitResult is how a wait ended.
type waitResult struct {
	outcome producer.Outcome
	err     error
}

// wait starts to wait, and returns when the producer listens.
func (w *world) wait(p *producer.Producer, eventID, orderID string) <-chan waitResult {
	w.Helper()
	result := make(chan waitResult, 1)
	go func() {
		outcome, err := p.Wait(w.ctx, eventID, orderID)
		result <- waitResult{outcome, err}
	}()
	w.listening()
	return result
}

// await is a wait by receipt.
func (w *world) await(p *producer.Producer, r producer.Receipt) <-chan waitResult {
	result := make(chan waitResult, 1)
	go func() {
		outcome, err := p.WaitFor(w.ctx, r)
		result <- waitResult{outcome, err}
	}()
	return result
}

func (w *world) listening() {
	w.Helper()
	rdb := w.server.Client()
	defer func() { _ = rdb.Close() }()
	w.eventually("somebody listens", func() bool {
		channels, err := rdb.PubSubChannels(w.ctx, "*").Result()
		return err == nil && len(channels) > 0
	})
}

func (w *world) confirmed(result <-chan waitResult, orderID string) {
	w.Helper()
	select {
	case r := <-result:
		if r.err != nil || r.outcome.Order.State != domain.OrderConfirmed || r.outcome.Order != w.order("e", orderID) {
			w.Errorf("%s: %+v, %v; want it confirmed, as it is stored", orderID, r.outcome, r.err)
		}
	case <-w.ctx.Done():
		w.Fatalf("waiting for %s never ended", orderID)
	}
}

// Nothing but notices may end these waits in time: there is no recheck.
func TestPublishAndWaitConcurrently(t *testing.T) {
	t.Parallel()
	const requests, goroutines, events, capacity = 500, 25, 8, 80
	w := newWorld(t, 4)
	for e := range events {
		w.list(fmt.Sprintf("e%d", e), capacity)
	}
	w.work()
	p := w.checkout(nil, producer.Options{RecheckEvery: never})

	var mu sync.Mutex
	var latencies []time.Duration
	byState := make(map[domain.OrderState]int)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := g; i < requests; i += goroutines {
				r := domain.Request{
					Type: domain.RequestPurchase, EventID: fmt.Sprintf("e%d", i%events), CustomerID: fmt.Sprintf("c%d", i),
					Quantity: 2, PaymentToken: token,
				}
				switch i % 10 {
				case 0:
					r.PaymentToken = simulator.DeclineTokenPrefix
				case 1:
					r.Section = "nowhere"
				}
				began := time.Now()
				receipt, err := p.Publish(w.ctx, r)
				if err != nil || receipt.EntryID == "" || receipt.EventID != r.EventID {
					t.Errorf("publishing: %+v, %v", receipt, err)
					continue
				}
				outcome, err := p.Wait(w.ctx, receipt.EventID, receipt.OrderID)
				took := time.Since(began)
				if err != nil {
					t.Errorf("waiting: %v", err)
					continue
				}
				// An outcome that a customer cannot pay or cancel away stays as it is.
				if stored := w.order(receipt.EventID, receipt.OrderID); outcome.Order != stored ||
					outcome.EventID != receipt.EventID || outcome.OrderID != receipt.OrderID || stored.CustomerID != r.CustomerID {
					t.Errorf("told %+v, stored %+v", outcome, stored)
				}
				want := []domain.OrderState{domain.OrderConfirmed, domain.OrderRejected} // sold out
				switch i % 10 {
				case 0:
					want = []domain.OrderState{domain.OrderDeclined, domain.OrderRejected}
				case 1:
					want = []domain.OrderState{domain.OrderRejected}
				}
				if !slices.Contains(want, outcome.Order.State) {
					t.Errorf("request %d: %+v, want one of %s", i, outcome.Order, want)
				}
				mu.Lock()
				latencies = append(latencies, took)
				byState[outcome.Order.State]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	slices.Sort(latencies)
	t.Logf("from Publish to the outcome: median %s, 99 of 100 %s, most %s; %v",
		latencies[len(latencies)/2], latencies[len(latencies)*99/100], latencies[len(latencies)-1], byState)
	for _, state := range []domain.OrderState{domain.OrderConfirmed, domain.OrderDeclined, domain.OrderRejected} {
		if byState[state] == 0 {
			t.Errorf("no order was %s: this tests less than it says", state)
		}
	}
	w.audited(requests)
}

// The same request again, at once or later, by this checkout or another: the one
// outcome. Another request under the same order_id changes nothing.
func TestDuplicatesHaveOneOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.list("e", 10)
	p, other := w.checkout(nil, producer.Options{RecheckEvery: never}), w.checkout(nil, producer.Options{RecheckEvery: never})
	w.published(p, purchase("o"))
	again := purchase("o")
	again.PaymentToken = "tok_fresh" // the token is no part of the request's body
	for _, result := range other.PublishBatch(w.ctx, []domain.Request{again, purchase("o")}) {
		if result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	if entries := w.entries(); len(entries) != 3 {
		t.Fatalf("entries %q, want 3", entries)
	}
	first, second := w.wait(p, "e", "o"), w.wait(other, "e", "o")
	w.work()
	w.confirmed(first, "o")
	w.confirmed(second, "o")
	before := w.order("e", "o")

	w.published(p, purchase("o"))
	conflict := purchase("o")
	conflict.Quantity = 5
	w.published(other, conflict)
	w.drained()
	for _, p := range []*producer.Producer{p, other} {
		if outcome, err := p.Wait(w.ctx, "e", "o"); err != nil || outcome.Order != before {
			t.Errorf("after duplicates: %+v, %v; want %+v", outcome, err, before)
		}
	}
	var dead []string
	err := inspect.New(w.store).EachDeadLetter(w.ctx, func(l inspect.DeadLetter) error {
		dead = append(dead, l.Reason)
		return nil
	})
	if err != nil || len(dead) != 1 || !strings.HasPrefix(dead[0], "conflict") {
		t.Errorf("dead letters %q, %v; want the conflict alone", dead, err)
	}
	w.onePayment("e", "o")
	w.audited(1)
}

// hooks of go-redis that a test replaces one by one.
type hooks struct {
	dial     func(ctx context.Context, network, addr string) error // nil: dial
	pipeline func(cmds []redis.Cmder, run func() error) error
}

func (h hooks) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if h.dial != nil {
			if err := h.dial(ctx, network, addr); err != nil {
				return nil, err
			}
		}
		return next(ctx, network, addr)
	}
}

func (h hooks) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h hooks) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if h.pipeline == nil || cmds[0].Name() != "xadd" {
			return next(ctx, cmds)
		}
		return h.pipeline(cmds, func() error { return next(ctx, cmds) })
	}
}

// losing is a pipeline hook that has commands executed, and breaks the connection before the
// replies from the given one on are read; so often.
func losing(times int64, from int) func(cmds []redis.Cmder, run func() error) error {
	var calls atomic.Int64
	return func(cmds []redis.Cmder, run func() error) error {
		err := run()
		if calls.Add(1) > times || err != nil {
			return err
		}
		lost := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
		for _, cmd := range cmds[from:] {
			cmd.(*redis.StringCmd).SetVal("")
			cmd.SetErr(lost)
		}
		return lost
	}
}

func TestLostReplyOfPublish(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.list("e", 10)
	p := w.checkout(hooks{pipeline: losing(1, 0)}, producer.Options{})
	receipt := w.published(p, purchase("o"))
	entries := w.entries()
	if len(entries) != 2 || entries[1] != receipt.EntryID || receipt.OrderID != "o" {
		t.Fatalf("entries %q, receipt %+v: want two, the receipt naming the second", entries, receipt)
	}
	result := w.wait(p, "e", "o")
	w.work()
	w.confirmed(result, "o")
	w.onePayment("e", "o")
	w.audited(1)
	e, err := w.store.Events().Get(w.ctx, "e")
	if err != nil || e.Sections[0].Sold != 2 || e.Sections[0].Available != 8 {
		t.Errorf("the event is %+v, %v; want 2 sold", e, err)
	}
}

// Of a batch whose connection breaks half-way, the answered part is not sent again.
func TestLostRepliesOfAPartOfABatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	p := w.checkout(hooks{pipeline: losing(1, 2)}, producer.Options{})
	results := p.PublishBatch(w.ctx, purchases("a", "b", "c", "d"))
	entries := w.entries()
	if len(entries) != 6 {
		t.Fatalf("entries %q, want 4 and 2 of them again", entries)
	}
	for i, entry := range []int{0, 1, 4, 5} {
		if results[i].Err != nil || results[i].Receipt.EntryID != entries[entry] {
			t.Errorf("%+v, want entry %s", results[i], entries[entry])
		}
	}
}

// Every reply is lost: the checkout does not know, and can wait all the same.
func TestUnknownPublishThenWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.list("e", 10)
	p := w.checkout(hooks{pipeline: losing(2, 0)}, producer.Options{Attempts: 2})
	receipt, err := p.Publish(w.ctx, purchase(""))
	if !errors.Is(err, domain.ErrUnknownOutcome) || domain.ClassOf(err) != domain.ClassRetry || receipt.OrderID == "" || receipt.EntryID != "" {
		t.Fatalf("receipt %+v, error %v; want the order's name and an unknown outcome", receipt, err)
	}
	result := w.wait(p, "e", receipt.OrderID)
	w.work()
	w.confirmed(result, receipt.OrderID)
	w.onePayment("e", receipt.OrderID)
	w.audited(1)
}

// A command that Redis refused was not executed: that is known.
func TestRefusedByRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	p := w.checkout(nil, producer.Options{})
	rdb := w.server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.ConfigSet(w.ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	receipt, err := p.Publish(w.ctx, purchase("o"))
	if err == nil || errors.Is(err, domain.ErrUnknownOutcome) || domain.ClassOf(err) != domain.ClassRetry || receipt.EntryID != "" {
		t.Errorf("receipt %+v, error %v; want a known failure that may pass", receipt, err)
	}
	if err := rdb.ConfigSet(w.ctx, "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	receipt = w.published(p, purchase("o"))
	if entries := w.entries(); !slices.Equal(entries, []string{receipt.EntryID}) {
		t.Errorf("entries %q, receipt %+v", entries, receipt)
	}
}

func TestRedisIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "--appendonly", "yes", "--appendfsync", "always")
	p := w.checkout(nil, producer.Options{Attempts: 2})
	first := w.published(p, purchase("before"))
	w.server.Kill()
	results := p.PublishBatch(w.ctx, purchases("o1", "o2"))
	for i, id := range []string{"o1", "o2"} {
		err := results[i].Err
		if !errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, domain.ErrUnknownOutcome) || domain.ClassOf(err) != domain.ClassRetry {
			t.Errorf("%s: %v; want the connection refused, and nothing unknown about it", id, err)
		}
		checkReceipt(t, results[i].Receipt, id, "")
	}
	ctx, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := p.Wait(ctx, "e", "before"); !errors.Is(err, domain.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting without Redis: %v", err)
	}
	w.server.Restart()
	second := w.published(p, purchase("o1"))
	if entries := w.entries(); !slices.Equal(entries, []string{first.EntryID, second.EntryID}) {
		t.Errorf("entries %q, want %s and %s", entries, first.EntryID, second.EntryID)
	}
}

// The connection is lost, and with it the notice. There is no recheck: what ends
// the wait is that the producer listens again and looks.
func TestRedisRestartsDuringAWait(t *testing.T) {
	t.Parallel()
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprintf("deaf until the order is confirmed %t", deaf), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "--appendonly", "yes", "--appendfsync", "always")
			w.list("e", 10)
			var offline atomic.Bool
			p := w.checkout(hooks{dial: func(context.Context, string, string) error {
				if offline.Load() {
					return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ENETUNREACH}
				}
				return nil
			}}, producer.Options{RecheckEvery: never})
			w.published(p, purchase("o"))
			result := w.wait(p, "e", "o")
			offline.Store(deaf)
			w.server.Restart()
			w.work()
			w.eventually("the order is confirmed", func() bool { return w.order("e", "o").State == domain.OrderConfirmed })
			if deaf {
				select {
				case r := <-result:
					t.Fatalf("the wait ended without a connection: %+v, %v", r.outcome, r.err)
				default:
				}
			}
			offline.Store(false)
			w.confirmed(result, "o")

			// And what is told from now on is heard.
			w.published(p, purchase("next"))
			w.confirmed(w.wait(p, "e", "next"), "next")
			w.onePayment("e", "o")
			w.audited(2)
		})
	}
}

// Workers that may not tell of outcomes: no notice ever comes, and the recheck is the net below.
func TestRecheckOnRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.list("e", 10)
	p := w.checkout(nil, producer.Options{RecheckEvery: 100 * time.Millisecond})
	w.published(p, purchase("o"))
	result := w.wait(p, "e", "o")
	rdb := w.server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.Do(w.ctx, "ACL", "SETUSER", "mute", "on", ">pw", "~*", "+@all", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	notices := rdb.PSubscribe(w.ctx, streams.DefaultNamespace+":{0}:outcomes*")
	defer func() { _ = notices.Close() }()
	if _, err := notices.Receive(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.workAt(strings.Replace(w.server.URL(), "redis://", "redis://mute:pw@", 1), workers.Config{})
	w.confirmed(result, "o")
	if notice, err := notices.ReceiveTimeout(w.ctx, time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a notice came after all, %v, %v: this tests nothing", notice, err)
	}
}
