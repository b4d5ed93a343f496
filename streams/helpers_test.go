package streams

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/e2e/torture"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/redistest"
)

// The property test runs so many random sequences of so many commands (on
// average), unless -rapid.checks (for each of its servers) and -rapid.steps say otherwise.
const (
	shards         = 4
	commandsInFull = 50
)

func sequences() int { return torture.Size(800, 20_000) }

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
	os.Exit(streamstest.Run(m))
}

// fixture is a store with one partition on an empty Redis.
type fixture struct {
	streamstest.Redis
	store     *Store
	ledger    *Ledger
	events    *Events
	checkout  *Checkout
	inspector *inspect.Inspector
}

func fixtureOf(ctx context.Context, t streamstest.T, store *Store) *fixture {
	return &fixture{
		Redis: streamstest.Redis{T: t, Ctx: ctx, Client: store.rdb, Keys: store.keys},
		store: store, ledger: store.Ledger(), events: store.Events(), checkout: store.Checkout(), inspector: inspect.New(store),
	}
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return openFixture(t, streamstest.Server())
}

func openFixture(t *testing.T, server *redistest.Server) *fixture {
	t.Helper()
	return openedFixture(t, server.URL(), Options{Create: true, Partitions: 1})
}

func openedFixture(t *testing.T, at string, o Options) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	store, err := Open(ctx, at, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return fixtureOf(ctx, t, store)
}

// sending is a hook that calls do whenever one of our scripts is about to be sent.
type sending struct {
	do func(script string, args []string)
}

func (s *sending) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *sending) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if digest, _ := cmd.Args()[min(1, len(cmd.Args())-1)].(string); s.do != nil && cmd.Name() == "evalsha" && ScriptName(digest) != "" {
			s.do(ScriptName(digest), sent(cmd.Args()))
		}
		return next(ctx, cmd)
	}
}

// sent are arguments of a command as the server gets them.
func sent(args []any) []string {
	all := make([]string, len(args))
	for i, arg := range args {
		if arg, is := arg.(*string); is {
			all[i] = *arg
			continue
		}
		all[i] = fmt.Sprint(arg)
	}
	return all
}

func (s *sending) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// another is the same namespace as another process has it, with a hook that is called before scripts are sent.
func (f *fixture) another(t *testing.T) (*fixture, *sending) {
	t.Helper()
	hook := new(sending)
	store, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true, Hook: hook})
	f.Must(err)
	t.Cleanup(func() {
		if hook.do != nil { // else a look for room beside publishing may be under way, which only reads it
			hook.do = nil
		}
		if err := store.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return fixtureOf(f.Ctx, t, store), hook
}

// once calls do before the next call of a script, and not again.
func (s *sending) once(script string, do func()) {
	s.do = func(name string, _ []string) {
		if name == script {
			s.do = nil
			do()
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
	if created, err := f.events.Create(f.Ctx, eventID, t); err != nil || !created {
		f.Fatalf("listing %s: %v, %v", eventID, created, err)
	}
}

// close closes an event that is open.
func (f *fixture) close(eventID string) {
	f.Helper()
	if closed, err := f.events.Close(f.Ctx, eventID, domain.Cause{}); err != nil || !closed {
		f.Fatalf("closing %s: %v, %v", eventID, closed, err)
	}
}

// codeKeys are those of the workers of these tests, in a rotation.
var codeKeys = domain.CodeKeys{"the newer of both keys", "the older of both keys"}

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
	if req.AccessCode != "" {
		a.Codes = codeKeys.Hashes(req.EventID, req.AccessCode)
	}
	a.NoToken = err == nil && req.Type == domain.RequestPurchase && req.PaymentToken == ""
	return a
}

// arrive publishes and delivers requests and returns what a worker makes of them.
func (f *fixture) arrive(requests ...[]string) []domain.Incoming {
	f.Helper()
	pipe := f.Client.Pipeline()
	ids := make([]*redis.StringCmd, len(requests))
	for i, fields := range requests {
		ids[i] = pipe.XAdd(f.Ctx, &redis.XAddArgs{Stream: f.Keys.Requests(0), Values: fields})
	}
	_, err := pipe.Exec(f.Ctx)
	f.Must(err)
	f.Deliver(domain.GroupWorkers, "w1")
	incoming := make([]domain.Incoming, len(requests))
	for i, fields := range requests {
		incoming[i] = f.incoming(ids[i].Val(), fields)
	}
	return incoming
}

func (f *fixture) holdBatch(batch ...domain.Incoming) ([]domain.Reply, int64) {
	f.Helper()
	replies, now, err := f.ledger.Hold(f.Ctx, 0, batch)
	f.Must(err)
	return replies, now
}

// resolve is the ledger's, of orders as they are now where nothing else is said.
func (f *fixture) resolve(batch ...domain.Resolution) ([]domain.Reply, int64) {
	f.Helper()
	for i, r := range batch {
		if r.Order.State == domain.OrderNone {
			batch[i].Order = f.order(r.Ref.EventID, r.Ref.OrderID)
		}
	}
	replies, now, err := f.ledger.Resolve(f.Ctx, 0, batch)
	f.Must(err)
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
	replies, _ := f.resolve(domain.Resolution{Attempt: 1, EntryID: a.EntryID, Ref: ref(event, order), Outcome: domain.PaymentApproved, AuthorizationID: "auth_" + order})
	if replies[0].Order.State != domain.OrderConfirmed {
		f.Fatalf("confirming %s/%s: %+v", event, order, replies[0].Order)
	}
}

func (f *fixture) order(event, order string) domain.Order {
	f.Helper()
	orders, err := f.checkout.Orders(f.Ctx, []domain.OrderRef{ref(event, order)})
	f.Must(err)
	return orders[0]
}

// section is available, held and sold of a section.
func (f *fixture) section(event, section string) [3]int64 {
	f.Helper()
	e, err := f.events.Get(f.Ctx, event)
	f.Must(err)
	f.Must(e.CheckConservation())
	s, ok := e.Section(section)
	if !ok {
		f.Fatalf("no section %s", section)
	}
	return [3]int64{s.Available, s.Held, s.Sold}
}

// slots are the customers of an event with an order in progress.
func (f *fixture) slots(event string) map[string]string {
	f.Helper()
	all, err := f.Client.HGetAll(f.Ctx, f.Keys.InProgress(0)).Result()
	f.Must(err)
	slots := make(map[string]string)
	for field, order := range all {
		if customer, is := strings.CutPrefix(field, event+"/"); is {
			slots[customer] = order
		}
	}
	return slots
}

// record is how an order is stored.
func (f *fixture) record(event, order string) string {
	f.Helper()
	records, err := f.store.Inside().Records(f.Ctx, []domain.OrderRef{ref(event, order)})
	f.Must(err)
	return records[0]
}

// setRecord stores an order of an event that has no hashes of its own.
func (f *fixture) setRecord(event, order, record string) {
	f.Helper()
	f.Do("HSET", f.Keys.Orders(f.store.Partition(event), f.Keys.SharedHash(event)), event+"/"+order, record)
}

// branch is that of the only partition, as it is stored.
func (f *fixture) branch() string {
	f.Helper()
	is, err := f.Client.HGet(f.Ctx, f.Keys.Events(0), layout.BranchField).Result()
	f.Must(err)
	return is
}

// eventFields are all that is stored of events, but for the time of the newest log entry.
func (f *fixture) eventFields() map[string]string {
	f.Helper()
	fields, err := f.Client.HGetAll(f.Ctx, f.Keys.Events(0)).Result()
	f.Must(err)
	delete(fields, layout.ClockField)
	return fields
}

// wantSameEvents reports every field of events that is not what it was.
func (f *fixture) wantSameEvents(before map[string]string) {
	f.Helper()
	if after := f.eventFields(); !maps.Equal(after, before) {
		f.Errorf("events are\n%v\nthey were\n%v", after, before)
	}
}

// facts reads the log; raw is each fact as it stands there: its type and its line.
func (f *fixture) facts() (facts []domain.Fact, raw []string) {
	f.Helper()
	for _, e := range layout.DecodeEntries(f.Do("XRANGE", f.Keys.Log(0), "-", "+")) {
		facts = append(facts, f.parse(e)...)
		for line := range strings.SplitSeq(e.Fields[1], "\n") {
			raw = append(raw, e.Fields[0]+" "+line)
		}
	}
	return facts, raw
}

// parse reads a log entry, which has no more facts than one may have.
func (f *fixture) parse(e domain.Entry) []domain.Fact {
	f.Helper()
	facts, err := wire.ParseFacts(e.ID, e.Fields)
	f.Must(err)
	if len(facts) > wire.MaxFacts {
		f.Fatalf("entry %s has %d facts", e.ID, len(facts))
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

// lastEntry is the newest entry of the log.
func (f *fixture) lastEntry() domain.Entry {
	f.Helper()
	entries := layout.DecodeEntries(f.Do("XREVRANGE", f.Keys.Log(0), "+", "-", "COUNT", 1))
	if len(entries) == 0 {
		f.Fatalf("the log is empty")
	}
	return entries[0]
}

// wantFact compares the newest fact, as it stands in the log, with one about an order.
func (f *fixture) wantFact(kind, order, data string) {
	f.Helper()
	want := kind + " " + order + "|" + data
	if _, got := f.lastFact(); got != want {
		f.Errorf("the newest fact is\n%s\nwant\n%s", got, want)
	}
}

// redriveLetter is inspect's Redrive of one letter.
func (f *fixture) redriveLetter(id string) (entryID string, err error) {
	handled := f.inspector.Redrive(f.Ctx, id)
	return handled[0].EntryID, handled[0].Err
}

func (f *fixture) queue(group domain.Group, consumer string) domain.Queue {
	f.Helper()
	q, err := f.store.Queue(0, group, consumer)
	f.Must(err)
	return q
}

// fold is the log, from its start, as package domain reads it.
func (f *fixture) fold() *domain.Snapshot {
	f.Helper()
	book := domain.NewSnapshot()
	_, err := f.store.ReadLog(f.Ctx, 0, "0-0", "+", func(fact domain.Fact) error {
		if err := book.Fold(fact); err != nil {
			return fmt.Errorf("fact %s: %w", fact.ID, err)
		}
		return nil
	})
	f.Must(err)
	return book
}

// wantLogFolds is I7: folding the log gives the stored events, orders and slots, field for field.
func (f *fixture) wantLogFolds() {
	f.Helper()
	book := f.fold()
	for id, want := range book.Events {
		stored, err := f.store.Inside().Event(f.Ctx, id)
		f.Must(err)
		got := stored.Event
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
	inProgress, orders := 0, int64(0)
	for _, of := range book.InProgress {
		inProgress += len(of)
	}
	names, err := f.Client.Keys(f.Ctx, f.Keys.OrdersPrefix(0)+"*").Result()
	f.Must(err)
	for _, name := range names {
		orders += layout.AsInt(f.Do("HLEN", name))
	}
	if stored := layout.AsInt(f.Do("HLEN", f.Keys.InProgress(0))); stored != int64(inProgress) {
		f.Errorf("%d orders are in progress, the log says %d", stored, inProgress)
	}
	events, err := f.events.IDs(f.Ctx, 0)
	f.Must(err)
	maps.DeleteFunc(book.Events, func(_ string, e domain.Event) bool { return e.Over != "" })
	if len(events) != len(book.Events) || orders != int64(len(book.Orders)) {
		f.Errorf("%d events and %d orders are stored, the log says %d and %d", len(events), orders, len(book.Events), len(book.Orders))
	}
	for id := range book.Events {
		var want layout.Totals
		for r, o := range book.Orders {
			if r.EventID == id && o.State == domain.OrderConfirmed && !want.Add(o) {
				f.Fatalf("event %s: revenue past 2^63-1", id)
			}
		}
		if got, err := f.inspector.Sales(f.Ctx, id); err != nil || layout.Totals(got) != want {
			f.Errorf("sales of %s: %+v, %v, the log says %+v", id, got, err, want)
		}
	}
}
