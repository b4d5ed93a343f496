package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
	"holdfast/payments/remote"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
)

const (
	// soon is enough for anything that takes milliseconds on a machine that has nothing else to do.
	soon = 20 * time.Second
	// endTime is how long a process that was told to end may take, if its grace time is short.
	endTime = 20 * time.Second
)

func eventually(t testing.TB, limit time.Duration, what string, cond func() error) {
	t.Helper()
	torture.Eventually(t, limit, what, cond)
}

// start starts the program under test; it ends with the test.
func start(t testing.TB, name string, args ...string) *program.Process {
	t.Helper()
	return program.Start(t, name, exec.Command(holdfastBinary, args...))
}

// system is a Redis and what runs on it.
type system struct {
	t      testing.TB
	url    string
	server *redistest.Server // a single one; in a cluster, one of its nodes
	opened *streams.Store

	archive string       // URL; empty: nothing is archived
	trims   func()       // ends the trimming of the log; nil: there is none
	gone    atomic.Int64 // entries that were trimmed

	asking sync.Once
	asker  *redis.Client // made by the first call of client
}

func newSystem(t testing.TB, redisArgs ...string) *system {
	t.Helper()
	server := redistest.Start(t, redisArgs...)
	return &system{t: t, url: server.URL(), server: server}
}

// store is the Go library on the same namespace. The first call creates the
// namespace, unless there is one.
func (s *system) store() *streams.Store {
	s.t.Helper()
	if s.opened == nil {
		store, err := streams.Open(context.Background(), s.url, streams.Options{Create: true})
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = store.Close() })
		s.opened = store
	}
	return s.opened
}

func (s *system) producer() *producer.Producer {
	s.t.Helper()
	p := producer.New(s.store().Checkout(), s.store().Checkout(), producer.Options{})
	s.t.Cleanup(p.Close)
	return p
}

// client is for what only a test asks. It is one for all, so that what grows is not the test.
func (s *system) client() *redis.Client {
	s.asking.Do(func() {
		s.asker = s.server.Client()
		s.t.Cleanup(func() { _ = s.asker.Close() })
	})
	return s.asker
}

// requestsKey is the stream to publish to: its name is a contract.
func requestsKey(partition int) string { return fmt.Sprintf("holdfast:{%d}:requests", partition) }

// keyOf is the key of a kind, as docs/architecture.md names them.
func keyOf(partition int, kind string) string {
	return fmt.Sprintf("holdfast:{%d}:2:%s", partition, kind)
}

// streamOf is the stream of a group.
func streamOf(partition int, group domain.Group) string {
	if group == domain.GroupWorkers {
		return requestsKey(partition)
	}
	return keyOf(partition, "log")
}

// worker starts one and waits until it works.
func (s *system) worker(name string, args ...string) *program.Process {
	s.t.Helper()
	p := s.startWorker(name, args...)
	p.SaysSoon(`"worker started"`)
	return p
}

func (s *system) startWorker(name string, args ...string) *program.Process {
	s.t.Helper()
	return start(s.t, name, s.workerArgs(name, args...)...)
}

func (s *system) workerArgs(name string, args ...string) []string {
	return append([]string{"worker", "--redis", s.url, "--name", name}, args...)
}

// gateway starts a payment gateway and returns its URL.
func startGateway(t testing.TB, args ...string) string {
	t.Helper()
	p := start(t, "gateway", append([]string{"gateway", "--listen", "127.0.0.1:0", "-o", "json"}, args...)...)
	var listening struct {
		URL string `json:"url"`
	}
	eventually(t, soon, "the gateway listens", func() error {
		line, _, complete := strings.Cut(p.Stdout.String(), "\n")
		if !complete {
			return errors.New("not yet")
		}
		return json.Unmarshal([]byte(line), &listening)
	})
	return listening.URL
}

// booksOf is how an audit asks a gateway for its books.
func booksOf(t testing.TB, gateway string) func(context.Context) ([]domain.BooksLine, error) {
	t.Helper()
	client, err := remote.New(gateway, remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client.Books
}

// ledger is all that a gateway ever did.
func ledger(t testing.TB, gateway string) map[domain.OrderRef]domain.BooksLine {
	t.Helper()
	client, err := remote.New(gateway, remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	lines, err := client.Books(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	byOrder := make(map[domain.OrderRef]domain.BooksLine, len(lines))
	for _, l := range lines {
		byOrder[domain.OrderRef{EventID: l.EventID, OrderID: l.OrderID}] = l
	}
	return byOrder
}

// paidOnce checks that each order was authorized and captured once, and nothing else.
func paidOnce(t testing.TB, gateway string, orders []domain.OrderRef) {
	t.Helper()
	lines := ledger(t, gateway)
	if len(lines) != len(orders) {
		t.Errorf("the gateway knows %d orders, want %d", len(lines), len(orders))
	}
	for _, ref := range orders {
		l := lines[ref]
		if l.Status != domain.PaymentStatusCaptured || l.Authorizations != 1 || l.Captures != 1 || l.Voids != 0 || l.Refunds != 0 {
			t.Errorf("%s: want one authorization and one capture, got %+v", ref, l)
		}
	}
}

// result is what a command did.
type result struct {
	code   int
	stdout string
	stderr string
}

// command is a command line on this Redis that has not run yet.
func (s *system) command(ctx context.Context, stdin string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, holdfastBinary, append(args, "--redis", s.url)...)
	cmd.Stdin = strings.NewReader(stdin)
	return cmd
}

// runs a command to its end; it may be called from any goroutine.
func (s *system) run(stdin string, args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := s.command(ctx, stdin, args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return result{-1, "", err.Error()}
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ok runs a command that must succeed without a word on stderr; it returns stdout.
func (s *system) ok(args ...string) string {
	s.t.Helper()
	r := s.run("", args...)
	if r.code != 0 || r.stderr != "" {
		s.t.Fatalf("holdfast %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// decodeLines reads JSON lines.
func decodeLines[T any](t testing.TB, text string) []T {
	t.Helper()
	var objects []T
	for line := range strings.Lines(text) {
		var o T
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("not a JSON object a line: %q: %v", line, err)
		}
		objects = append(objects, o)
	}
	return objects
}

// What commands print with -o json, as far as it is looked at here.
type (
	sectionView struct {
		Section   string `json:"section"`
		Capacity  int64  `json:"capacity"`
		Available int64  `json:"available"`
		Held      int64  `json:"held"`
		Sold      int64  `json:"sold"`
	}
	eventView struct {
		EventID  string        `json:"event_id"`
		Sections []sectionView `json:"sections"`
	}
	salesView struct {
		EventID     string `json:"event_id"`
		Currency    string `json:"currency"`
		Orders      int64  `json:"orders"`
		TicketsSold int64  `json:"tickets_sold"`
		Revenue     int64  `json:"revenue"`
		Available   int64  `json:"available"`
		Held        int64  `json:"held"`
	}
	invoiceView struct {
		EventID string `json:"event_id"`
		Amount  int64  `json:"amount"`
		Status  string `json:"status"`
	}
	orderView struct {
		OrderID  string     `json:"order_id"`
		EventID  string     `json:"event_id"`
		Quantity int64      `json:"quantity"`
		State    string     `json:"state"`
		Reason   string     `json:"reason"`
		Detail   string     `json:"detail"`
		Deadline int64      `json:"deadline"`
		History  []factView `json:"history"`
	}
	factView struct {
		At   int64  `json:"at"`
		Type string `json:"type"`
	}
	deadView struct {
		DeadID     string            `json:"dead_id"`
		Stream     string            `json:"stream"`
		EntryID    string            `json:"entry_id"`
		Reason     string            `json:"reason"`
		Deliveries int64             `json:"deliveries"`
		Fields     map[string]string `json:"fields"`
	}
	auditView struct {
		OK      bool `json:"ok"`
		Checked struct {
			Events int `json:"events"`
			Orders int `json:"orders"`
			Facts  int `json:"facts"`
		} `json:"checked"`
		Violations []violationView `json:"violations"`
	}
	violationView struct {
		Invariant string `json:"invariant"`
		Subject   string `json:"subject"`
		Detail    string `json:"detail"`
	}
)

// entry names the entry that was set aside: ids are unique in a partition only.
func (l deadView) entry() string {
	partition, _, _ := strings.Cut(l.DeadID, ":")
	return partition + ":" + l.EntryID
}

// list is ok with -o json: what it printed.
func list[T any](s *system, args ...string) []T {
	s.t.Helper()
	return decodeLines[T](s.t, s.ok(append(args, "-o", "json")...))
}

// one is list of one object.
func one[T any](s *system, args ...string) T {
	s.t.Helper()
	objects := list[T](s, args...)
	if len(objects) != 1 {
		s.t.Fatalf("holdfast %s: %d objects, want 1", strings.Join(args, " "), len(objects))
	}
	return objects[0]
}

// event creates one with a section general.
func (s *system) event(id, name string, capacity int64, price string, more ...string) {
	s.t.Helper()
	s.ok(append([]string{
		"events", "create", id, "--name", name, "--currency", "EUR",
		"--section", fmt.Sprintf("general=%d@%s", capacity, price),
	}, more...)...)
}

// seenTo forgets that the data was replaced, which the test did itself: the audit is not well before.
func (s *system) seenTo() {
	s.t.Helper()
	r := s.run("", "check", "--forget-replaced", "-o", "json")
	if r.code > 2 {
		s.t.Fatalf("check: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// audit checks everything against the log, and payments against the gateway's
// ledger if one is named. Whatever was done to the system, it must be right.
func (s *system) audit(gateway string) auditView {
	s.t.Helper()
	r := s.run("", s.auditArgs(gateway)...)
	if r.code != 0 {
		s.t.Fatalf("audit: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	report := decodeLines[auditView](s.t, r.stdout)
	if len(report) != 1 || !report[0].OK || len(report[0].Violations) > 0 {
		s.t.Fatalf("audit says %s", r.stdout)
	}
	return report[0]
}

func (s *system) auditArgs(gateway string) []string {
	args := []string{"audit", "-o", "json"}
	if s.archive != "" {
		args = append(args, "--archive", s.archive)
	}
	if gateway != "" {
		args = append(args, "--gateway", gateway)
	}
	return args
}

// drained waits until nothing is left to be done: no lag and nothing pending in
// any group, and no hold that is still to be resolved.
func (s *system) drained(limit time.Duration) {
	s.t.Helper()
	store := s.store()
	rdb, err := streams.Dial(s.url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = rdb.Close() }()
	quiet := 0
	eventually(s.t, limit, "everything is drained", func() error {
		err := s.idle(store, rdb)
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

func (s *system) idle(store *streams.Store, rdb redis.UniversalClient) error {
	ctx := context.Background()
	if err := noBacklog(store); err != nil {
		return err
	}
	for p := range store.Partitions() {
		if n, err := rdb.ZCard(ctx, keyOf(p, "holds")).Result(); err != nil || n != 0 {
			return errors.Join(fmt.Errorf("partition %d: %d holds", p, n), err)
		}
	}
	return nil
}

// noBacklog returns an error if a group has anything to do.
func noBacklog(store *streams.Store) error {
	groups, err := inspect.New(store).Pending(context.Background(), 0)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.Backlog != 0 {
			return fmt.Errorf("partition %d, group %s: lag %d, pending %d", g.Partition, g.Group, g.Lag, g.Pending)
		}
	}
	return nil
}

// trimmed waits until all requests, which are done with, are gone.
func (s *system) trimmed() {
	s.t.Helper()
	rdb := s.client()
	eventually(s.t, soon, "requests are trimmed", func() error {
		for p := range s.store().Partitions() {
			if n, err := rdb.XLen(context.Background(), requestsKey(p)).Result(); err != nil || n > 0 {
				return errors.Join(fmt.Errorf("partition %d: %d entries", p, n), err)
			}
		}
		return nil
	})
}

// inHand is how many entries of all groups a consumer has.
func (s *system) inHand(consumer string) int64 {
	s.t.Helper()
	groups, err := inspect.New(s.store()).Pending(context.Background(), 0)
	if err != nil {
		s.t.Fatal(err)
	}
	var n int64
	for _, g := range groups {
		for _, c := range g.Consumers {
			if c.Name == consumer {
				n += c.Pending
			}
		}
	}
	return n
}

// orders reads stored orders.
func (s *system) orders(refs []domain.OrderRef) []domain.Order {
	s.t.Helper()
	var orders []domain.Order
	for len(refs) > 0 {
		n := min(len(refs), 1000)
		page, err := s.store().Checkout().Orders(context.Background(), refs[:n])
		if err != nil {
			s.t.Fatal(err)
		}
		orders, refs = append(orders, page...), refs[n:]
	}
	return orders
}

// allIn checks that each of the orders is in this state.
func (s *system) allIn(state domain.OrderState, refs []domain.OrderRef) {
	s.t.Helper()
	wrong := 0
	for i, o := range s.orders(refs) {
		if o.State != state {
			if wrong++; wrong <= 10 {
				s.t.Errorf("%s is %s (%s %s), want %s", refs[i], o.State, o.Reason, o.Detail, state)
			}
		}
	}
	if wrong > 0 {
		s.t.Errorf("%d of %d orders are not %s", wrong, len(refs), state)
	}
}

// facts calls each for the whole log, partition by partition, those that are in the archive alone among them.
func (s *system) facts(each func(domain.Fact)) {
	s.t.Helper()
	for p := range s.store().Partitions() {
		s.factsOf(p, each)
	}
}

// purchases makes n requests of n customers over some events with tickets for all.
func (s *system) purchases(prefix string, events, n int) (requests []domain.Request, refs []domain.OrderRef) {
	s.t.Helper()
	for e := range events {
		s.event(fmt.Sprintf("%s-event-%d", prefix, e), prefix, int64(n)*4, "12.50")
	}
	for i := range n {
		r := domain.Request{
			Type: domain.RequestPurchase, EventID: fmt.Sprintf("%s-event-%d", prefix, i%events), OrderID: fmt.Sprintf("%s-%d", prefix, i),
			CustomerID: fmt.Sprintf("%s-customer-%d", prefix, i), Quantity: int64(1 + i%4), PaymentToken: "tok_1",
		}
		requests = append(requests, r)
		refs = append(refs, r.Ref())
	}
	return requests, refs
}

// publish sends requests, all of which must be taken.
func publish(t testing.TB, p *producer.Producer, requests ...domain.Request) {
	t.Helper()
	for i, r := range p.PublishBatch(context.Background(), requests) {
		if r.Err != nil {
			t.Fatalf("publishing %s: %v", requests[i].Ref(), r.Err)
		}
	}
}
