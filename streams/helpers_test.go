package streams

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/e2e/torture"
	"holdfast/streams/redistest"
)

// The property test runs so many random sequences of so many commands (on
// average), unless -rapid.checks (for each of its servers) and -rapid.steps say otherwise.
const (
	shards         = 4
	commandsInFull = 50
)

func sequences() int { return torture.Size(240, 20_000) }

func TestMain(m *testing.M) {
	// A step that finds nothing to do is no command: a few more make up for it.
	steps := torture.Size(40, 64)
	for name, value := range map[string]int{"rapid.checks": sequences() / shards, "rapid.steps": steps, "test.parallel": shards} {
		if err := flag.Set(name, strconv.Itoa(value)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	flag.Parse()
	code := m.Run()
	shared.stop()
	os.Exit(code)
}

// binary is the testing.TB of things that live as long as the test binary.
type binary struct {
	testing.TB
	mu       sync.Mutex
	server   *redistest.Server
	cleanups []func()
}

var shared binary

func (b *binary) Helper()                           {}
func (b *binary) Cleanup(f func())                  { b.cleanups = append(b.cleanups, f) }
func (b *binary) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (b *binary) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (b *binary) stop() {
	for _, f := range slices.Backward(b.cleanups) {
		f()
	}
}

// sharedServer is one empty redis-server for all tests that do not change its settings.
func sharedServer() *redistest.Server {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		shared.server = redistest.Start(&shared)
	}
	shared.server.Flush()
	return shared.server
}

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// fixture is a store with one partition on an empty Redis.
type fixture struct {
	tester
	ctx   context.Context
	store *Store
	rdb   redis.UniversalClient
	keys  keys
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return openFixture(t, sharedServer())
}

func openFixture(t *testing.T, server *redistest.Server) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	store, err := Open(ctx, server.URL(), Options{Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return &fixture{tester: t, ctx: ctx, store: store, rdb: store.rdb, keys: store.keys}
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) wantClass(err error, want domain.Class) {
	f.Helper()
	if err == nil {
		f.Fatalf("no error, want one of class %s", want)
	}
	if got := domain.ClassOf(err); got != want {
		f.Errorf("class %s, want %s, of: %v", got, want, err)
	}
}

// do sends one command.
func (f *fixture) do(args ...any) any {
	f.Helper()
	v, err := f.rdb.Do(f.ctx, args...).Result()
	if err != nil {
		f.Fatalf("%v: %v", args[0], err)
	}
	return v
}

// now is Redis's clock in milliseconds.
func (f *fixture) now() int64 {
	f.Helper()
	now, err := f.rdb.Time(f.ctx).Result()
	f.must(err)
	return now.UnixMilli()
}

// waitUntil returns once Redis's clock shows at least that time.
func (f *fixture) waitUntil(millis int64) {
	f.Helper()
	f.eventually("the clock has come to "+strconv.FormatInt(millis, 10), func() bool { return f.now() >= millis })
}

func (f *fixture) eventually(what string, condition func() bool) {
	f.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			f.Fatalf("waited in vain until %s", what)
		}
	}
}

func terms(capacity int64, change ...func(*domain.Terms)) domain.Terms {
	t := domain.Terms{Name: "An Evening", Currency: "EUR", Sections: []domain.SectionTerms{
		{Name: "general", Price: 1000, Capacity: capacity}, {Name: "vip", Price: 5000, Capacity: 4},
	}}
	for _, c := range change {
		c(&t)
	}
	return t
}

func (f *fixture) list(eventID string, t domain.Terms) {
	f.Helper()
	if created, err := f.store.CreateEvent(f.ctx, eventID, t); err != nil || !created {
		f.Fatalf("listing %s: %v, %v", eventID, created, err)
	}
}

// publish adds an entry to the requests.
func (f *fixture) publish(fields []string) (entryID string) {
	f.Helper()
	id, err := f.rdb.XAdd(f.ctx, &redis.XAddArgs{Stream: f.keys.requests(0), Values: fields}).Result()
	f.must(err)
	return id
}

// deliver gives all that nobody has yet in a group's stream to a consumer.
func (f *fixture) deliver(group domain.Group, consumer string) []domain.Entry {
	f.Helper()
	stream, _ := f.keys.streamOf(0, group)
	reply, err := f.rdb.Do(f.ctx, "XREADGROUP", "GROUP", string(group), consumer, "COUNT", 100_000, "STREAMS", stream, ">").Result()
	if isNil(err) {
		return nil
	}
	f.must(err)
	return decodeEntries(reply.([]any)[0].([]any)[1])
}

const (
	holdMillis  = 60_000
	validMillis = 60_000
)

// incoming is what a worker makes of an entry.
func (f *fixture) incoming(entryID string, fields []string) domain.Incoming {
	f.Helper()
	req, err := wire.ParseRequest(fields)
	a := domain.Incoming{EntryID: entryID, Request: req, HoldMillis: holdMillis, ValidMillis: validMillis}
	if err != nil {
		if domain.ClassOf(err) != domain.ClassReject {
			f.Fatal(err)
		}
		a.Invalid = err.Error()
	}
	return a
}

// arrive publishes and delivers requests and returns what a worker makes of them.
func (f *fixture) arrive(requests ...[]string) []domain.Incoming {
	f.Helper()
	pipe := f.rdb.Pipeline()
	ids := make([]*redis.StringCmd, len(requests))
	for i, fields := range requests {
		ids[i] = pipe.XAdd(f.ctx, &redis.XAddArgs{Stream: f.keys.requests(0), Values: fields})
	}
	_, err := pipe.Exec(f.ctx)
	f.must(err)
	f.deliver(domain.GroupWorkers, "w1")
	incoming := make([]domain.Incoming, len(requests))
	for i, fields := range requests {
		incoming[i] = f.incoming(ids[i].Val(), fields)
	}
	return incoming
}

func (f *fixture) holdBatch(batch ...domain.Incoming) ([]domain.Reply, int64) {
	f.Helper()
	replies, now, err := f.store.Hold(f.ctx, 0, batch)
	f.must(err)
	return replies, now
}

func (f *fixture) resolve(batch ...domain.Resolution) ([]domain.Reply, int64) {
	f.Helper()
	replies, now, err := f.store.Resolve(f.ctx, 0, batch)
	f.must(err)
	return replies, now
}

func request(kind, event, order string, more ...string) []string {
	return append([]string{"v", "1", "type", kind, "event_id", event, "order_id", order, "payment_token", "tok"}, more...)
}

func purchase(event, order, customer string, quantity int, more ...string) []string {
	return request("purchase", event, order, append([]string{"customer_id", customer, "quantity", strconv.Itoa(quantity)}, more...)...)
}

func hold(event, order, customer string, quantity int, more ...string) []string {
	return request("hold", event, order, append([]string{"customer_id", customer, "quantity", strconv.Itoa(quantity)}, more...)...)
}

func ref(event, order string) domain.OrderRef { return domain.OrderRef{EventID: event, OrderID: order} }

// held makes a held order by a purchase that stays pending; it ends after so many milliseconds.
func (f *fixture) held(event, order, customer string, quantity int, millis int64) domain.Incoming {
	f.Helper()
	a := f.arrive(purchase(event, order, customer, quantity))[0]
	a.HoldMillis = millis
	replies, _ := f.holdBatch(a)
	if replies[0].Verdict != domain.VerdictAuthorize || replies[0].Order.State != domain.OrderHeld {
		f.Fatalf("holding %s/%s: %s, %+v", event, order, replies[0].Verdict, replies[0].Order)
	}
	return a
}

// confirmed makes a confirmed order.
func (f *fixture) confirmed(event, order, customer string, quantity int) {
	f.Helper()
	a := f.held(event, order, customer, quantity, holdMillis)
	replies, _ := f.resolve(domain.Resolution{EntryID: a.EntryID, Ref: ref(event, order), Outcome: domain.PaymentApproved, AuthorizationID: "auth_" + order})
	if replies[0].Order.State != domain.OrderConfirmed {
		f.Fatalf("confirming %s/%s: %+v", event, order, replies[0].Order)
	}
}

func (f *fixture) order(event, order string) domain.Order {
	f.Helper()
	orders, err := f.store.Orders(f.ctx, []domain.OrderRef{ref(event, order)})
	f.must(err)
	return orders[0]
}

// section is available, held and sold of a section.
func (f *fixture) section(event, section string) [3]int64 {
	f.Helper()
	e, err := f.store.Event(f.ctx, event)
	f.must(err)
	f.must(e.CheckConservation())
	s, ok := e.Section(section)
	if !ok {
		f.Fatalf("no section %s", section)
	}
	return [3]int64{s.Available, s.Held, s.Sold}
}

// slots are the customers of an event with an order in progress.
func (f *fixture) slots(event string) map[string]string {
	f.Helper()
	slots, err := f.rdb.HGetAll(f.ctx, f.keys.inProgress(0, event)).Result()
	f.must(err)
	delete(slots, inProgressNote)
	return slots
}

// expireBatch asks the script expire about these orders, due or not.
func (f *fixture) expireBatch(refs ...domain.OrderRef) orderBatch {
	return orderBatch{
		script: scriptExpire, name: "expire", source: f.keys.log(0), size: len(refs),
		item: func(i int) (string, domain.OrderRef) { return "", refs[i] },
		add:  func(args []any, _ int) []any { return args },
	}
}

// facts reads the log; raw is each fact as it stands there: its type and its values.
func (f *fixture) facts() (facts []domain.Fact, raw []string) {
	f.Helper()
	for _, e := range decodeEntries(f.do("XRANGE", f.keys.log(0), "-", "+")) {
		facts = append(facts, f.parse(e)...)
		for i := 0; i < len(e.Fields); i += 2 {
			raw = append(raw, e.Fields[i]+" "+e.Fields[i+1])
		}
	}
	return facts, raw
}

// parse reads a log entry. Only facts that the readers of the log pass over may share one.
func (f *fixture) parse(e domain.Entry) []domain.Fact {
	f.Helper()
	facts, err := wire.ParseFacts(e.ID, e.Fields)
	f.must(err)
	for _, fact := range facts {
		if len(facts) > 1 && fact.Type != domain.FactHeld && fact.Type != domain.FactRejected {
			f.Fatalf("%s shares an entry with others: %q", fact.Type, e.Fields)
		}
	}
	return facts
}

// lastFact is the newest fact, and how it stands in the log.
func (f *fixture) lastFact() (domain.Fact, string) {
	f.Helper()
	facts, raw := f.facts()
	if len(facts) == 0 {
		f.Fatalf("the log is empty")
	}
	return facts[len(facts)-1], raw[len(raw)-1]
}

// wantFact compares the newest fact, as it stands in the log, with one about an order.
func (f *fixture) wantFact(kind, order, data string) {
	f.Helper()
	want := kind + " " + order + "|" + data
	if _, got := f.lastFact(); got != want {
		f.Errorf("the newest fact is\n%s\nwant\n%s", got, want)
	}
}

// pending are the ids of a group that were delivered and not acknowledged.
func (f *fixture) pending(group domain.Group) []string {
	f.Helper()
	stream, _ := f.keys.streamOf(0, group)
	entries, err := f.rdb.XPendingExt(f.ctx, &redis.XPendingExtArgs{Stream: stream, Group: string(group), Start: "-", End: "+", Count: 100_000}).Result()
	f.must(err)
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	return ids
}

func (f *fixture) wantPending(group domain.Group, ids ...string) {
	f.Helper()
	if got := f.pending(group); !slices.Equal(got, ids) {
		f.Errorf("pending for %s: %v, want %v", group, got, ids)
	}
}

func (f *fixture) queue(group domain.Group, consumer string) domain.Queue {
	f.Helper()
	q, err := f.store.Queue(0, group, consumer)
	f.must(err)
	return q
}

// breakKey puts a value of the wrong type where a key is.
func (f *fixture) breakKey(key string) {
	f.Helper()
	f.do("DEL", key)
	if strings.Contains(key, ":order:") {
		f.do("RPUSH", key, "of another type")
		return
	}
	f.do("SET", key, "of another type")
}

// dump is all that is in Redis, but for idle times and scripts: key -> content.
func (f *fixture) dump() map[string]string {
	f.Helper()
	names, err := f.rdb.Keys(f.ctx, "*").Result()
	f.must(err)
	all := make(map[string]string, len(names))
	for _, key := range names {
		kind, err := f.rdb.Type(f.ctx, key).Result()
		f.must(err)
		var content any
		switch kind {
		case "string":
			content = f.do("GET", key)
		case "list":
			content = f.do("LRANGE", key, 0, -1)
		case "hash":
			h, err := f.rdb.HGetAll(f.ctx, key).Result()
			f.must(err)
			content = h // printed in the order of its keys
		case "set":
			members, err := f.rdb.SMembers(f.ctx, key).Result()
			f.must(err)
			slices.Sort(members)
			content = members
		case "zset":
			content = f.do("ZRANGE", key, 0, -1, "WITHSCORES")
		case "stream":
			content = f.dumpStream(key)
		default:
			f.Fatalf("%s is a %s", key, kind)
		}
		all[key] = fmt.Sprint(kind, " ", content)
	}
	return all
}

func (f *fixture) dumpStream(key string) string {
	f.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, f.do("XRANGE", key, "-", "+"))
	infos, err := f.rdb.XInfoGroups(f.ctx, key).Result()
	f.must(err)
	for _, g := range infos {
		fmt.Fprintf(&b, "group %s delivered %s:", g.Name, g.LastDeliveredID)
		entries, err := f.rdb.XPendingExt(f.ctx, &redis.XPendingExtArgs{Stream: key, Group: g.Name, Start: "-", End: "+", Count: 100_000}).Result()
		f.must(err)
		for _, e := range entries {
			fmt.Fprintf(&b, " %s/%s/%d", e.ID, e.Consumer, e.RetryCount)
		}
		consumers, err := f.rdb.XInfoConsumers(f.ctx, key, g.Name).Result()
		f.must(err)
		for _, c := range consumers {
			fmt.Fprintf(&b, " (%s)", c.Name)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// wantSame reports every key that is not what it was, but for those with one of the prefixes.
func (f *fixture) wantSame(before map[string]string, but ...string) {
	f.Helper()
	after := f.dump()
	excepted := func(key string) bool {
		return slices.ContainsFunc(but, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
	}
	for key, content := range before {
		if after[key] != content && !excepted(key) {
			f.Errorf("%s was\n%s\nand is now\n%s", key, content, after[key])
		}
	}
	for key, content := range after {
		if _, known := before[key]; !known && !excepted(key) {
			f.Errorf("%s is new: %s", key, content)
		}
	}
}

// fold is the log, from its start, as package domain reads it.
func (f *fixture) fold() *domain.Snapshot {
	f.Helper()
	book := domain.NewSnapshot()
	_, err := f.store.ReadLog(f.ctx, 0, "0-0", "+", func(fact domain.Fact) error {
		if err := book.Fold(fact); err != nil {
			return fmt.Errorf("fact %s: %w", fact.ID, err)
		}
		return nil
	})
	f.must(err)
	return book
}

// wantLogFolds is I7: folding the log gives the stored events, orders and slots, field for field.
func (f *fixture) wantLogFolds() {
	f.Helper()
	book := f.fold()
	for id, want := range book.Events {
		got, err := f.store.Event(f.ctx, id)
		f.must(err)
		if !reflect.DeepEqual(got, want) {
			f.Errorf("event %s is stored as\n%+v\nthe log says\n%+v", id, got, want)
		}
		if slots := f.slots(id); len(slots)+len(book.InProgress[id]) > 0 && !maps.Equal(slots, book.InProgress[id]) {
			f.Errorf("in progress for %s: %v, the log says %v", id, slots, book.InProgress[id])
		}
	}
	for r, want := range book.Orders {
		if got := f.order(r.EventID, r.OrderID); got != want {
			f.Errorf("order %s is stored as\n%+v\nthe log says\n%+v", r, got, want)
		}
	}
	names, err := f.rdb.Keys(f.ctx, "*").Result()
	f.must(err)
	events, orders := 0, 0
	for _, name := range names {
		if strings.Contains(name, ":event:") {
			events++
		}
		if strings.Contains(name, ":order:") {
			orders++
		}
	}
	if events != len(book.Events) || orders != len(book.Orders) {
		f.Errorf("%d events and %d orders are stored, the log says %d and %d", events, orders, len(book.Events), len(book.Orders))
	}
}
