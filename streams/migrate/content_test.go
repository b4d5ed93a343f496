package migrate_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
	"holdfast/streams/migrate"
	"holdfast/streams/redistest"
)

const (
	oldLog      = "holdfast:{0}:log"
	oldRequests = "holdfast:{0}:requests"
	newLog      = "holdfast:{0}:2:log"
	terms       = `{"name":"E","currency":"EUR","max_per_order":0,"on_sale":0,"off_sale":0,"sections":[{"section":"general","price":1000,"capacity":%d}]}`
)

// written is a namespace of schema 1 with one event, e, as its programs would have written it.
type written struct {
	*before
	capacity, held, sold int
}

func write(t *testing.T, capacity int) *written {
	t.Helper()
	server := redistest.Start(t)
	b := &before{t: t, ctx: context.Background(), server: server, rdb: server.Client(), dump: make(map[string]string)}
	t.Cleanup(func() { _ = b.rdb.Close() })
	w := &written{before: b, capacity: capacity}
	b.must(b.rdb.HSet(b.ctx, "holdfast:meta", "partitions", 1, "schema", "1", "epoch", "E", "payment_names", "namespaced", "gateway", "remote").Err())
	w.fact("1000-0", "listed", "e|"+fmt.Sprintf(terms, capacity))
	for _, of := range [][2]string{{oldRequests, "workers"}, {oldLog, "posting"}, {oldLog, "settlement"}} {
		b.must(b.rdb.XGroupCreateMkStream(b.ctx, of[0], of[1], "0").Err())
	}
	return w
}

// fact adds a log entry.
func (w *written) fact(id string, fields ...string) {
	w.t.Helper()
	w.must(w.rdb.XAdd(w.ctx, &redis.XAddArgs{Stream: oldLog, ID: id, Values: fields}).Err())
}

func heldFact(order string, deadline int) []string {
	return []string{"held", fmt.Sprintf("e/%s|purchase|fp|c-%s|general|1|1000|EUR|%d", order, order, deadline)}
}

func confirmedFact(order string) []string {
	return []string{"confirmed", fmt.Sprintf("e/%s|c-%s|general|1|1000|EUR|auth_1", order, order)}
}

// order writes a record, and counts where its ticket is.
func (w *written) order(id, state string, deadline, held, confirmed, resolved int, rest string) {
	w.t.Helper()
	record := fmt.Sprintf("%s|purchase|fp|c-%s|general|1|1000|EUR|%d|%d|%d|%d|%s", state, id, deadline, held, confirmed, resolved, rest)
	w.must(w.rdb.Set(w.ctx, "holdfast:{0}:order:e/"+id, record, 0).Err())
	switch state {
	case "h":
		w.held++
		w.must(w.rdb.ZAdd(w.ctx, "holdfast:{0}:holds", redis.Z{Score: float64(deadline), Member: "e/" + id}).Err())
		w.must(w.rdb.HSet(w.ctx, "holdfast:{0}:in_progress:e", "c-"+id, id).Err())
	case "c":
		w.sold++
	}
}

// done writes the event, with nothing posted.
func (w *written) done() {
	w.t.Helper()
	fingerprint := domain.Terms{Name: "E", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: int64(w.capacity)}}}.Fingerprint()
	w.must(w.rdb.HSet(w.ctx, "holdfast:{0}:event:e", "name", "E", "currency", "EUR", "max_per_order", 0, "on_sale", 0, "off_sale", 0, "closed", 0,
		"fingerprint", fingerprint, "version", 1, "sections", "general", "price:general", 1000, "capacity:general", w.capacity,
		"available:general", w.capacity-w.held-w.sold, "held:general", w.held, "sold:general", w.sold).Err())
	w.must(w.rdb.HSet(w.ctx, "holdfast:{0}:sales_summary", "e", "0,0,0").Err())
}

// migrated migrates, audits, and returns the new log.
func (w *written) migrated() (migrate.Result, []redis.XMessage) {
	w.t.Helper()
	result, err := w.migrate(nil)
	w.must(err)
	w.audited()
	entries, err := w.rdb.XRange(w.ctx, newLog, "-", "+").Result()
	w.must(err)
	return result, entries
}

func (w *written) stored(id string) domain.Order {
	w.t.Helper()
	store, err := w.open()
	w.must(err)
	defer func() { _ = store.Close() }()
	orders, err := store.Inside().Orders(w.ctx, []domain.OrderRef{{EventID: "e", OrderID: id}})
	w.must(err)
	return orders[0]
}

// TestDeadlinesAreMoved: what schema 1 stamped some milliseconds after it had decided, schema 2 could not have decided.
func TestDeadlinesAreMoved(t *testing.T) {
	t.Parallel()
	w := write(t, 10)
	w.fact("2000-0", heldFact("at", 3000)...)
	w.fact("2000-1", heldFact("after", 3000)...)
	w.fact("2000-2", heldFact("before", 3000)...)
	w.fact("2000-3", heldFact("backwards", 1999)...) // the clock had gone back
	w.fact("2000-4", heldFact("backwards-sold", 1990)...)
	w.fact("2000-5", heldFact("backwards-held", 1980)...)
	w.fact("2000-6", "expired", "e/backwards")
	w.fact("2999-0", confirmedFact("before")...)
	w.fact("3000-0", confirmedFact("at")...)
	w.fact("3007-0", confirmedFact("after")...)
	w.fact("3007-1", confirmedFact("backwards-sold")...)
	w.order("before", "c", 3000, 2000, 2999, 2999, "auth_1||")
	w.order("at", "c", 3000, 2000, 3000, 3000, "auth_1||")
	w.order("after", "c", 3000, 2000, 3007, 3007, "auth_1||")
	w.order("backwards", "e", 1999, 2000, 0, 2000, "||")
	w.order("backwards-sold", "c", 1990, 2000, 3007, 3007, "auth_1||")
	w.order("backwards-held", "h", 1980, 2000, 0, 0, "||")
	w.done()
	result, _ := w.migrated()
	if result.Deadlines != 5 {
		t.Errorf("%d deadlines were moved, want 5", result.Deadlines)
	}
	for id, want := range map[string][3]int64{ // deadline, held, confirmed
		"before": {3000, 2000, 2999}, "at": {3001, 2000, 3000}, "after": {3008, 2000, 3007},
		"backwards": {2000, 2000, 0}, "backwards-sold": {3008, 2000, 3007}, "backwards-held": {2000, 2000, 0},
	} {
		if o := w.stored(id); [3]int64{o.DeadlineMillis, o.HeldAtMillis, o.ConfirmedAtMillis} != want {
			t.Errorf("%s: %+v, want deadline, held and confirmed of %v", id, o, want)
		}
	}
}

// TestFactsArePacked: facts of one millisecond and type that stand next to each other share an entry, at most 64, unless a
// group is done with some of them only, or a dead letter is about one. Each group goes on where it was.
func TestFactsArePacked(t *testing.T) {
	t.Parallel()
	const n = 200
	w := write(t, n)
	hold := func(id, order string) {
		w.fact(id, heldFact(order, 9000)...)
		w.order(order, "c", 9000, 2000, 3000, 3000, "auth_1||")
	}
	for i := range n {
		hold(fmt.Sprintf("2000-%d", i), fmt.Sprint("o", i))
	}
	for i := range n {
		w.fact(fmt.Sprintf("3000-%d", i), confirmedFact(fmt.Sprint("o", i))...)
	}
	w.done()
	// Both groups were given the first 100 confirmations. Posting has all of them in hand still; settlement is done with them, but
	// for o10, which it was given three times, and o20, of which there is a dead letter.
	for _, group := range []string{"posting", "settlement"} {
		w.must(w.rdb.XReadGroup(w.ctx, &redis.XReadGroupArgs{Group: group, Consumer: "w", Streams: []string{oldLog, ">"}, Count: 1 + n + 100}).Err())
	}
	var done []string
	for i := range 100 {
		if i != 10 {
			done = append(done, fmt.Sprintf("3000-%d", i))
		}
	}
	held := []string{"1000-0"}
	for i := range n {
		held = append(held, fmt.Sprintf("2000-%d", i))
	}
	w.must(w.rdb.XAck(w.ctx, oldLog, "posting", held...).Err())
	w.must(w.rdb.XAck(w.ctx, oldLog, "settlement", slices.Concat(held, done)...).Err())
	w.must(w.rdb.Do(w.ctx, "XCLAIM", oldLog, "settlement", "w", 0, "3000-10", "RETRYCOUNT", 3, "JUSTID").Err())
	letter := []string{
		"stream", "log", "group", "settlement", "entry_id", "3000-20", "reason", "payment_mismatch: captured, amount 1 instead of 1000",
		"deliveries", "2", "at", "4000", "fields", fmt.Sprintf("9:confirmed,%d:%s,", len(confirmedFact("o20")[1]), confirmedFact("o20")[1]),
	}
	w.must(w.rdb.XAdd(w.ctx, &redis.XAddArgs{Stream: "holdfast:{0}:dead", ID: "4000-5", Values: letter}).Err())

	result, log := w.migrated()
	var got []string
	for _, e := range log {
		for name, value := range e.Values {
			got = append(got, fmt.Sprintf("%s %s %d", e.ID, name, strings.Count(fmt.Sprint(value), "\n")+1))
		}
	}
	want := []string{
		"1000-0 listed 1", "2000-0 held 64", "2000-1 held 64", "2000-2 held 64", "2000-3 held 8",
		"3000-0 confirmed 10", "3000-1 confirmed 1", "3000-2 confirmed 9", "3000-3 confirmed 1", "3000-4 confirmed 64", "3000-5 confirmed 15",
		"3000-6 confirmed 64", "3000-7 confirmed 36",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if result.Facts != 2*n+1 || result.Entries != len(want) || result.Unposted != 8 || result.Unsettled != 3 || result.Letters != 1 {
		t.Errorf("result is %+v", result)
	}
	pending := func(group string) (list []string) {
		t.Helper()
		found, err := w.rdb.XPendingExt(w.ctx, &redis.XPendingExtArgs{Stream: newLog, Group: group, Start: "-", End: "+", Count: 100}).Result()
		w.must(err)
		for _, e := range found {
			if e.Idle.Hours() < 23 {
				t.Errorf("%s of %s is idle for %s: nobody reclaims it at once", e.ID, group, e.Idle)
			}
			list = append(list, fmt.Sprintf("%s %d", e.ID, e.RetryCount))
		}
		return list
	}
	if got, want := pending("posting"), []string{"3000-0 1", "3000-1 1", "3000-2 1", "3000-3 1", "3000-4 1", "3000-5 1"}; !slices.Equal(got, want) {
		t.Errorf("posting has %q before it, want %q", got, want)
	}
	if got, want := pending("settlement"), []string{"3000-1 3"}; !slices.Equal(got, want) {
		t.Errorf("settlement has %q before it, want %q", got, want)
	}
	for _, g := range w.rdb.XInfoGroups(w.ctx, newLog).Val() {
		if g.LastDeliveredID != "3000-5" || g.Lag != 2 {
			t.Errorf("%s is at %s, %d behind, want it at 3000-5, 2 behind", g.Name, g.LastDeliveredID, g.Lag)
		}
	}
	// The letter is about the entry in which its fact stands alone, and redriven it is given out again.
	store, err := w.open()
	w.must(err)
	defer func() { _ = store.Close() }()
	in := inspect.New(store)
	dead, err := in.DeadLetter(w.ctx, "0:4000-5")
	w.must(err)
	if dead.EntryID != "3000-3" || dead.OrderID != "e/o20" || dead.Deliveries != 2 || dead.Reason != letter[7] {
		t.Errorf("the letter is %+v", dead)
	}
	if handled := in.Redrive(w.ctx, dead.ID); handled[0].Err != nil || handled[0].EntryID != "3000-3" {
		t.Errorf("redriven: %+v", handled)
	}
	if got, want := pending("settlement"), []string{"3000-1 3", "3000-3 1"}; !slices.Equal(got, want) {
		t.Errorf("settlement has %q before it after the redrive, want %q", got, want)
	}
}

// TestRequestsGoOn: the group of the new name begins where the old one was, with what that had in hand.
func TestRequestsGoOn(t *testing.T) {
	t.Parallel()
	w := write(t, 10)
	w.done()
	const n, delivered, acked = 2500, 2300, 100
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("5000-%d", i)
		w.must(w.rdb.XAdd(w.ctx, &redis.XAddArgs{Stream: oldRequests, ID: ids[i], Values: []string{"v", "1"}}).Err())
	}
	w.must(w.rdb.XReadGroup(w.ctx, &redis.XReadGroupArgs{Group: "workers", Consumer: "w", Streams: []string{oldRequests, ">"}, Count: delivered}).Err())
	w.must(w.rdb.XAck(w.ctx, oldRequests, "workers", ids[:acked]...).Err())
	w.must(w.rdb.Do(w.ctx, "XCLAIM", oldRequests, "workers", "w", 0, ids[500], "RETRYCOUNT", 7, "JUSTID").Err())
	w.must(w.rdb.XDel(w.ctx, oldRequests, ids[600]).Err()) // somebody did, and lost it
	w.must(w.rdb.HSet(w.ctx, "holdfast:{0}:delivered", "workers", "5001 5000-2299", "posting", "5001 1000-0").Err())
	result, _ := w.migrated()
	if result.Pending != delivered-acked-1 || result.Lost != 1 {
		t.Errorf("%d requests are in hand, %d lost, want %d and 1", result.Pending, result.Lost, delivered-acked-1)
	}
	groups := w.rdb.XInfoGroups(w.ctx, oldRequests).Val()
	if len(groups) != 1 || groups[0].Name != string(domain.GroupWorkers) || groups[0].LastDeliveredID != ids[delivered-1] || groups[0].EntriesRead != delivered || groups[0].Pending != delivered-acked-1 {
		t.Errorf("groups are %+v", groups)
	}
	for _, e := range w.rdb.XPendingExt(w.ctx, &redis.XPendingExtArgs{Stream: oldRequests, Group: string(domain.GroupWorkers), Start: "-", End: "+", Count: n}).Val() {
		want := int64(1)
		if e.ID == ids[500] {
			want = 7
		}
		if e.RetryCount != want || e.Idle.Hours() < 23 {
			t.Errorf("%s was delivered %d times and is idle for %s, want %d and a day", e.ID, e.RetryCount, e.Idle, want)
		}
	}
	if notes := w.rdb.HGetAll(w.ctx, "holdfast:{0}:2:delivered").Val(); len(notes) != 1 || notes[string(domain.GroupWorkers)] != "5001 5000-2299" {
		t.Errorf("notes of what was delivered are %v", notes)
	}
	meta := w.rdb.HGetAll(w.ctx, "holdfast:meta").Val()
	if want := "map[epoch:E gateway:remote partitions:1 payment_names:namespaced schema:2]"; fmt.Sprint(meta) != want {
		t.Errorf("meta is %v, want %s", meta, want)
	}
	if _, err := streams.Open(w.ctx, w.server.URL(), streams.Options{Create: true}); err != nil {
		t.Error(err)
	}
}
