package restore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/restore"
	"holdfast/workers"
)

const (
	patience   = time.Minute
	partitions = 2
	namespace  = "holdfast"
)

// world is a namespace on a server of the test's own, with an archive and a gateway.
type world struct {
	streamstest.Redis
	t       *testing.T
	url     string
	bucket  archive.Bucket
	folder  string
	gateway *simulator.Simulator
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := streamstest.Server()
	server.Flush()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	w := &world{t: t, url: server.URL(), folder: filepath.Join(t.TempDir(), "archive")}
	w.Redis = streamstest.Redis{T: t, Ctx: ctx, Client: server.Client(), Keys: layout.NewKeys(namespace, partitions)}
	t.Cleanup(func() { _ = w.Client.Close() })
	var err error
	w.bucket, err = archive.Open(ctx, "file://"+w.folder)
	w.Must(err)
	w.gateway, err = simulator.New(simulator.Options{})
	w.Must(err)
	return w
}

func (w *world) open(o streams.Options) *streams.Store {
	w.Helper()
	if o.Create {
		o.Partitions = partitions
	}
	store, err := streams.Open(w.Ctx, w.url, o)
	w.Must(err)
	w.t.Cleanup(func() { _ = store.Close() })
	return store
}

// archive writes all that the logs say to the archive.
func (w *world) archive(store *streams.Store) {
	w.Helper()
	a := archive.NewArchiver(store.Ledger(), w.bucket, "w1")
	for p := range partitions {
		w.Eventually("the log is archived", func() bool {
			more, err := a.Archive(w.Ctx, p)
			if !errors.Is(err, domain.ErrDataReplaced) {
				w.Must(err)
			}
			if more || err != nil {
				return false
			}
			end := w.Client.XRevRangeN(w.Ctx, w.Keys.Log(p), "+", "-", 1).Val()
			return len(end) == 0 || strings.Contains(w.Client.Get(w.Ctx, w.Keys.Archived(p)).Val(), "|"+end[0].ID+"|")
		})
	}
}

// restore runs once, with a hook on the connection.
func (w *world) restore(o archive.RestoreOptions, hook redis.Hook) (restore.Result, error) {
	from, err := archive.NewReader(w.bucket, namespace).Restorable(w.Ctx, o)
	w.Must(err)
	store, err := streams.Open(w.Ctx, w.url, streams.Options{Rebuild: true, Partitions: from.Namespace().Partitions, Hook: hook})
	if err != nil {
		return restore.Result{}, err
	}
	defer func() { _ = store.Close() }()
	options := restore.Options{}
	if hook != nil { // it counts commands, which come in the same order each time where one partition is written after the other
		options.AtOnce = 1
	}
	return restore.Run(w.Ctx, store, from, options)
}

func (w *world) audited(o audit.Options) audit.Report {
	w.Helper()
	report, err := audit.Run(w.Ctx, w.open(streams.Options{}), o)
	w.Must(err)
	return report
}

func (w *world) wantAudited() {
	w.Helper()
	if report := w.audited(audit.Options{}); !report.OK || report.Checked.Orders == 0 {
		w.Fatalf("audit: %+v", report)
	}
}

// told is what a restore must bring back, as text: records of orders are read, for a time that is the version's may be said or not; what is
// another one afterwards is left out.
func (w *world) told() map[string]string {
	w.Helper()
	all := w.Dump()
	for p := range partitions {
		for _, key := range []string{w.Keys.Archived(p), w.Keys.Consumers(p), w.Keys.Delivered(p), w.Keys.Pace(p), w.Keys.Unknown(p), w.Keys.Awaited(p)} {
			delete(all, key)
		}
		events := w.Client.HGetAll(w.Ctx, w.Keys.Events(p)).Val()
		delete(events, layout.BranchField)
		delete(events, layout.BranchesField)
		all[w.Keys.Events(p)] = fmt.Sprint(events)
		// Who waits among the orders, whenever their turn is.
		for _, key := range []string{w.Keys.Unknown(p), w.Keys.Awaited(p)} {
			var members []string
			for _, member := range w.Client.ZRange(w.Ctx, key, 0, -1).Val() {
				words := strings.Fields(member)
				slices.Sort(words)
				members = append(members, strings.Join(words, " "))
			}
			slices.Sort(members)
			all[key] = fmt.Sprint(members)
		}
		all[w.Keys.Requests(p)] = "is there"
		if w.Client.Exists(w.Ctx, w.Keys.Requests(p)).Val() == 0 {
			delete(all, w.Keys.Requests(p))
		}
		all[w.Keys.Log(p)] = w.log(p)
		for key := range all {
			if !strings.HasPrefix(key, w.Keys.OrdersPrefix(p)) {
				continue
			}
			orders := make(map[string]domain.Order)
			for name, record := range w.Client.HGetAll(w.Ctx, key).Val() {
				o, err := layout.DecodeOrder(record)
				w.Must(err)
				orders[name] = o
			}
			all[key] = fmt.Sprint(orders)
		}
	}
	meta := w.Client.HGetAll(w.Ctx, layout.MetaKey(namespace)).Val()
	delete(meta, "epoch")
	all[layout.MetaKey(namespace)] = fmt.Sprint(meta)
	delete(all, w.Keys.Workers())
	delete(all, w.Keys.Troubles())
	for key := range all {
		if strings.Contains(key, ":turn:") {
			delete(all, key)
		}
	}
	return all
}

// log is a log with its groups: where each is, and how many entries it has before it.
func (w *world) log(p int) string {
	var b strings.Builder
	fmt.Fprintln(&b, w.Do("XRANGE", w.Keys.Log(p), "-", "+"))
	groups, err := w.Client.XInfoGroups(w.Ctx, w.Keys.Log(p)).Result()
	w.Must(err)
	for _, g := range groups {
		fmt.Fprintln(&b, g.Name, g.LastDeliveredID, g.EntriesRead, g.Lag, g.Pending)
	}
	return b.String()
}

func (w *world) wantTold(want map[string]string) {
	w.Helper()
	got := w.told()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			w.Errorf("%s is\n%s\nwant\n%s", key, got[key], want[key])
		}
		delete(got, key)
	}
	for key, value := range got {
		w.Errorf("%s should not be there: %s", key, value)
	}
}

// sell makes orders of every kind, in events of every kind, and returns when all that is to happen has.
func (w *world) sell(store *streams.Store) {
	w.Helper()
	stop := w.work(store)
	p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
	defer p.Close()
	codes := domain.CodeKeys{"a key for this test alone"}
	list := func(id string, terms domain.Terms) {
		w.Helper()
		terms.Name, terms.Currency = "Name of "+id, "EUR"
		_, err := store.Events().Create(w.Ctx, id, terms)
		w.Must(err)
	}
	ask := func(r domain.Request) {
		w.Helper()
		receipt, err := p.Publish(w.Ctx, r)
		w.Must(err)
		_, err = p.WaitFor(w.Ctx, receipt)
		w.Must(err)
	}
	buy := func(event, order, customer string, quantity int64, change func(*domain.Request)) {
		w.Helper()
		r := domain.Request{Type: domain.RequestPurchase, EventID: event, OrderID: order, CustomerID: customer, Quantity: quantity, PaymentToken: "tok"}
		if change != nil {
			change(&r)
		}
		ask(r)
	}
	hold := func(seconds int64, more ...func(*domain.Request)) func(*domain.Request) {
		return func(r *domain.Request) {
			r.Type, r.PaymentToken, r.HoldSeconds = domain.RequestHold, "", seconds
			for _, change := range more {
				change(r)
			}
		}
	}
	buy("e1", "early", "zoe", 1, nil) // there is no such event yet
	buy("nowhere", "o1", "zoe", 1, nil)
	buy("nowhere", "o2", "zoe", 2, nil)
	ask(domain.Request{Type: domain.RequestCancel, EventID: "big", OrderID: "unseen"})

	list("e1", domain.Terms{MaxPerCustomer: 6, Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 40}, {Name: "balcony", Price: 1500, Capacity: 3}}})
	list("big", domain.Terms{MaxPerCustomer: 9, Sections: []domain.SectionTerms{{Name: "general", Price: 2000, Capacity: 900_000}}})
	list("gone", domain.Terms{Sections: []domain.SectionTerms{{Name: "general", Price: 700, Capacity: 10}}})
	rows, err := seats.Parse("fans;A:1-4/5-8.9!,B:1-6a,C,D:1-9")
	w.Must(err)
	terms := domain.Terms{LateApprovalMillis: 900_000, Sections: []domain.SectionTerms{{Name: "stalls", Price: 4500, Capacity: int64(rows.Seats()), Layout: rows.String()}}}.WithAllocations("stalls", rows)
	terms, err = terms.OpenedBy("fans", 2, codes.Hashes("hall", "early-bird")...)
	w.Must(err)
	list("hall", terms)
	list("late", domain.Terms{LateApprovalMillis: 900_000, Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 5}}})

	for i := range 5 {
		buy("e1", fmt.Sprint("o", i), fmt.Sprint("fred", i), int64(i+1), nil)
		buy("big", fmt.Sprint("o", i), fmt.Sprint("fred", i), int64(i+1), nil)
		buy("gone", fmt.Sprint("o", i), fmt.Sprint("fred", i), 1, nil)
	}
	buy("e1", "declined", "amy", 2, func(r *domain.Request) { r.PaymentToken = "decline" })
	buy("e1", "too-many", "fred4", 4, nil)
	buy("e1", "sold-out", "jim", 4, func(r *domain.Request) { r.Section = "balcony" })
	buy("e1", "held", "kim", 3, hold(600))
	buy("e1", "second", "kim", 1, nil) // has one in progress
	buy("big", "held", "kim", 3, hold(600))
	buy("e1", "attempts", "leo", 2, hold(600))
	ask(domain.Request{Type: domain.RequestPay, EventID: "e1", OrderID: "attempts", PaymentToken: "decline"})
	ask(domain.Request{Type: domain.RequestPay, EventID: "e1", OrderID: "attempts", PaymentToken: "tok", Attempt: 2})
	buy("e1", "unpaid", "max", 2, hold(600))
	ask(domain.Request{Type: domain.RequestPay, EventID: "e1", OrderID: "unpaid", PaymentToken: "decline"})
	buy("e1", "at-the-bank", "mia", 2, func(r *domain.Request) { r.PaymentToken = "action" })
	buy("e1", "brief", "ned", 2, hold(1))
	buy("late", "lapses", "ned", 2, func(r *domain.Request) { r.PaymentToken, r.HoldSeconds = "action", 1 })
	ask(domain.Request{Type: domain.RequestCancel, EventID: "e1", OrderID: "o0"})
	ask(domain.Request{Type: domain.RequestCancel, EventID: "e1", OrderID: "o1", NoRefund: true})
	ask(domain.Request{Type: domain.RequestCancel, EventID: "e1", OrderID: "o4", Change: 1, Items: []domain.RequestItem{{Section: "general", Quantity: 2}}})
	ask(domain.Request{Type: domain.RequestRefund, EventID: "e1", OrderID: "o4", Change: 2, Amount: 500})
	ask(domain.Request{Type: domain.RequestChange, EventID: "e1", OrderID: "o3", Change: 1, Items: []domain.RequestItem{{Section: "balcony", Quantity: 4}}})

	code := func(r *domain.Request) {
		r.Section, r.Allocation, r.AccessCode = "stalls", "fans", domain.Secret("early-bird")
	}
	stalls := func(r *domain.Request) { r.Section = "stalls" }
	named := func(r *domain.Request) { r.Section, r.Quantity, r.Seats = "stalls", 0, []string{"D-1", "D-2"} }
	buy("hall", "fan", "ann", 2, code)
	buy("hall", "best", "bob", 3, stalls)
	buy("hall", "named", "cat", 0, named)
	buy("hall", "taken", "dan", 0, named)
	buy("hall", "fan-holds", "eve", 1, hold(600, code))
	ask(domain.Request{Type: domain.RequestChange, EventID: "hall", OrderID: "named", Change: 1, Items: []domain.RequestItem{{Section: "stalls", Seats: []string{"D-5", "D-6"}}}})
	_, err = store.Events().Cancel(w.Ctx, "gone", domain.Cause{Reason: "rain", By: "the organiser"}, nil)
	w.Must(err)
	for order, state := range map[domain.OrderRef]domain.OrderState{{EventID: "e1", OrderID: "brief"}: domain.OrderExpired, {EventID: "late", OrderID: "lapses"}: domain.OrderLapsed} {
		w.Eventually("a hold has run out", func() bool {
			orders, err := store.Inside().Orders(w.Ctx, []domain.OrderRef{order})
			w.Must(err)
			return orders[0].State == state
		})
	}
	w.drained(store)
	stop()
}

func (w *world) work(store *streams.Store, roles ...workers.Role) (stop func()) {
	w.Helper()
	pool, err := workers.New(workers.Config{Roles: roles, CodeKeys: domain.CodeKeys{"a key for this test alone"}}, workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Gateway: w.gateway, GatewayKind: domain.GatewaySimulator, Partitions: store.Partitions(),
		PaymentNamespace: store.PaymentNamespace(), Now: store.Now,
	})
	w.Must(err)
	ctx, cancel := context.WithCancel(w.Ctx)
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	}
}

// drained waits until nothing waits or is in hand.
func (w *world) drained(store *streams.Store) {
	w.Helper()
	w.Eventually("all is drained", func() bool {
		all, err := inspect.New(store).Pending(w.Ctx, 0)
		w.Must(err)
		backlog := int64(0)
		for _, g := range all {
			backlog += g.Backlog
		}
		return backlog == 0
	})
}

func (w *world) books(context.Context) ([]domain.BooksLine, error) { return w.gateway.Books(), nil }

// snapshots takes a snapshot of what is archived of each partition.
func (w *world) snapshots() {
	w.Helper()
	w.Must(archive.NewReader(w.bucket, namespace).TakeSnapshots(w.Ctx, archive.Options{}, func(archive.Taken) error { return nil }))
}

// sold is a namespace that was sold from, that is archived, and of which Redis has nothing any more; and what there was.
func sold(t *testing.T) (w *world, was map[string]string) {
	t.Helper()
	w = newWorld(t)
	store := w.open(streams.Options{Create: true})
	w.sell(store)
	w.archive(store)
	w.wantAudited()
	was = w.told()
	w.Do("FLUSHALL")
	return w, was
}

// TestRestore: what is restored is what there was, key by key.
func TestRestore(t *testing.T) {
	w, was := sold(t)
	result, err := w.restore(archive.RestoreOptions{}, nil)
	w.Must(err)
	w.wantTold(was)
	w.wantAudited()
	report := w.audited(audit.Options{})
	if c := report.Checked; result.Events != c.Events || result.Orders != c.Orders || result.Facts != c.Facts || result.BeyondFacts != 0 || result.Unposted != 0 || result.Unsettled != 0 {
		t.Errorf("it says %+v, there are %+v", result, c)
	}
	for p, is := range result.Partitions {
		branches, err := layout.DecodeBranches(w.Client.HGet(w.Ctx, w.Keys.Events(p), layout.BranchesField).Val())
		w.Must(err)
		if len(branches) != 2 || branches[0].ID != is.Branch || branches[0].Parent != is.Parent || branches[0].Common != is.Last || branches[1].ID != is.Parent {
			t.Errorf("partition %d: %+v, and it says %+v", p, branches, is)
		}
	}
	for _, key := range w.Client.Keys(w.Ctx, "*restoring*").Val() {
		t.Errorf("%s is left", key)
	}
	lags, err := inspect.New(w.open(streams.Options{})).Archived(w.Ctx, w.Now())
	w.Must(err)
	if len(lags) != partitions || lags[0].Millis != 0 || lags[1].Millis != 0 {
		t.Errorf("the archive is behind: %+v", lags)
	}
	_, err = w.restore(archive.RestoreOptions{}, nil)
	if domain.CodeOf(err) != domain.CodeConflict {
		t.Errorf("into one that is there: %v", err)
	}
	w.wantTold(was)
}

// TestUntil: what is restored up to a time is what the log folds to up to there, and how much is behind it is said.
func TestUntil(t *testing.T) {
	w, was := sold(t)
	_, err := w.restore(archive.RestoreOptions{}, nil)
	w.Must(err)
	w.wantTold(was)
	var ids []string // of all partitions
	for p := range partitions {
		for _, e := range layout.DecodeEntries(w.Do("XRANGE", w.Keys.Log(p), "-", "+")) {
			ids = append(ids, e.ID)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return int(domain.EntryMillis(a) - domain.EntryMillis(b)) })
	w.Do("FLUSHALL")
	last := slices.IndexFunc(ids, func(id string) bool { return domain.EntryMillis(id) == domain.EntryMillis(ids[len(ids)-1]) })
	for _, at := range []int{0, len(ids) / 3, last - 1} {
		until := domain.EntryMillis(ids[at])
		result, err := w.restore(archive.RestoreOptions{UntilMillis: until}, nil)
		w.Must(err)
		w.wantAudited()
		if report := w.audited(audit.Options{Archive: w.past()}); !report.OK {
			t.Errorf("until %d: audit with the archive: %+v", until, report)
		}
		left := slices.IndexFunc(ids, func(id string) bool { return domain.EntryMillis(id) > until })
		if left < 0 {
			t.Fatalf("entry %d of %d is of the last millisecond", at, len(ids))
		}
		if result.Entries != left || result.BeyondEntries != len(ids)-left || result.BeyondFacts < result.BeyondEntries {
			t.Errorf("until %d: restored %d entries, %d (%d facts) are behind it, want %d and %d", until, result.Entries, result.BeyondEntries, result.BeyondFacts, left, len(ids)-left)
		}
		w.Do("FLUSHALL")
	}
	// Before anything had happened.
	result, err := w.restore(archive.RestoreOptions{UntilMillis: domain.EntryMillis(ids[0]) - 1}, nil)
	w.Must(err)
	if report := w.audited(audit.Options{}); !report.OK || result.Entries != 0 || result.BeyondEntries != len(ids) {
		t.Errorf("of nothing: %+v, %+v", report, result)
	}
}

// TestKilledAnywhere kills a restore at every command, before it and after it, and lets the next one finish: what comes of it is the same. In between
// nobody can work on the namespace, and no worker makes it.
func TestKilledAnywhere(t *testing.T) {
	killedAnywhere(t, sold)
}

// TestKilledAnywhereBehindASnapshot is the same for a restore that begins with a snapshot.
func TestKilledAnywhereBehindASnapshot(t *testing.T) {
	killedAnywhere(t, func(t *testing.T) (*world, map[string]string) {
		w, was := sold(t)
		w.snapshots()
		result, err := w.restore(archive.RestoreOptions{}, nil)
		w.Must(err)
		w.wantShort(was, result)
		was = w.told()
		w.Do("FLUSHALL")
		return w, was
	})
}

func killedAnywhere(t *testing.T, sold func(*testing.T) (*world, map[string]string)) {
	w, was := sold(t)
	whole := &streamstest.Killer{Left: 1 << 30}
	if _, err := w.restore(archive.RestoreOptions{}, whole); err != nil {
		t.Fatal(err)
	}
	w.wantTold(was)
	kills, inService := 0, 0
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			w.Do("FLUSHALL")
			k := &streamstest.Killer{Left: n, After: after}
			_, err := w.restore(archive.RestoreOptions{}, k)
			if !k.Killed {
				w.Must(err)
				break
			}
			kills++
			if err == nil {
				t.Fatalf("killed at command %d, and it has not noticed", n)
			}
			begun := w.Client.Exists(w.Ctx, layout.MetaKey(namespace)).Val() > 0
			store, err := streams.Open(w.Ctx, w.url, streams.Options{Create: begun, Partitions: partitions})
			switch {
			case err == nil: // only what was noted meanwhile was left to be deleted
				inService++
				w.Must(store.Close())
				w.Do("DEL", w.Keys.Restoring(0), w.Keys.Restoring(1))
				w.wantTold(was)
				continue
			case begun && domain.CodeOf(err) != domain.CodeRestoring, !begun && domain.CodeOf(err) != domain.CodeNoSuchNamespace:
				t.Fatalf("killed at command %d: opening says %v", n, err)
			}
			if _, err := w.restore(archive.RestoreOptions{}, nil); err != nil {
				t.Fatalf("after one that was killed at command %d (after it: %t): %v", n, after, err)
			}
			w.wantTold(was)
			if t.Failed() {
				t.Fatalf("killed at command %d (after it: %t)", n, after)
			}
		}
	}
	if report := w.audited(audit.Options{Archive: w.past()}); !report.OK {
		t.Errorf("audit: %+v", report)
	}
	if kills < whole.Seen || whole.Seen < 20 || inService == 0 || inService > 4 {
		t.Errorf("killed %d times, of %d commands, %d times when it was in service: that was no test", kills, whole.Seen, inService)
	}
	t.Logf("killed %d times", kills)
}

// TestAnotherOneGoesOn: of two runs the one that began last goes on, and the one that was frozen changes nothing any more. What is restored may be
// another time until a part is in service.
func TestAnotherOneGoesOn(t *testing.T) {
	w, was := sold(t)
	calls := 0
	pass := func(stop int, do func()) redis.Hook {
		calls = 0
		return around(func(send func() error) error {
			if calls++; calls == stop {
				do()
			}
			return send()
		})
	}
	_, err := w.restore(archive.RestoreOptions{}, pass(0, nil))
	w.Must(err)
	all := calls
	taken := 0
	for stop := 4; stop <= all; stop++ {
		w.Do("FLUSHALL")
		_, err := w.restore(archive.RestoreOptions{UntilMillis: 1}, pass(stop, func() {
			_, err := w.restore(archive.RestoreOptions{}, nil)
			if domain.CodeOf(err) == domain.CodeConflict {
				return // a part of the first one is in service
			}
			w.Must(err)
			taken++
			w.wantTold(was)
		}))
		if err != nil {
			if domain.CodeOf(err) != domain.CodeConflict {
				t.Fatalf("the first one, stopped at %d: %v", stop, err)
			}
			w.wantTold(was)
			w.wantAudited()
		}
	}
	if taken < 5 {
		t.Errorf("taken over %d times, of %d commands: that was no test", taken, all)
	}
}

type around func(send func() error) error

func (around) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a around) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return a(func() error { return next(ctx, cmd) }) }
}

func (a around) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return a(func() error { return next(ctx, cmds) })
	}
}

// TestRefused: nothing is changed where anything is there that no restore has written, and nothing is put into service of an archive that is
// broken, which is named.
func TestRefused(t *testing.T) {
	w, was := sold(t)
	for _, key := range []string{w.Keys.Log(0), w.Keys.Requests(1), w.Keys.Dead(0), w.Keys.Orders(1, layout.OrderHash{}), "holdfast:{7}:log"} {
		w.Do("SET", key, "x")
		before := w.Dump()
		if _, err := w.restore(archive.RestoreOptions{}, nil); domain.CodeOf(err) != domain.CodeConflict || !strings.Contains(err.Error(), key) {
			t.Errorf("with %s: %v", key, err)
		}
		w.WantSame(before)
		w.Do("DEL", key)
	}
	// What workers note of themselves is nothing.
	for _, key := range []string{w.Keys.Workers(), w.Keys.Troubles(), w.Keys.Pace(0), w.Keys.Consumers(1), w.Keys.Turn(0, "trim"), w.Keys.TurnedAway(0), w.Keys.Invoices("zoe"), "holdfasts:{0}:2:log"} {
		w.Do("SET", key, "x")
	}
	w.Do("DEL", w.Keys.Invoices("zoe"))
	_, err := w.restore(archive.RestoreOptions{}, nil)
	w.Must(err)
	w.Do("DEL", "holdfasts:{0}:2:log")
	w.wantTold(was)

	files, err := filepath.Glob(filepath.Join(w.folder, "namespace=holdfast", "partition=*", "branch=*", "*.parquet"))
	w.Must(err)
	if len(files) < partitions {
		t.Fatalf("%d segments", len(files))
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		w.Must(err)
		w.Do("FLUSHALL")
		w.Must(os.Remove(file))
		damaged := slices.Clone(body)
		damaged[len(damaged)/2]++
		w.Must(os.WriteFile(file, damaged, 0o600))
		from, err := archive.NewReader(w.bucket, namespace).Restorable(w.Ctx, archive.RestoreOptions{})
		if err == nil {
			store := w.open(streams.Options{Rebuild: true, Partitions: partitions})
			_, err = restore.Run(w.Ctx, store, from, restore.Options{})
		}
		if domain.ClassOf(err) != domain.ClassPoison || err == nil {
			t.Errorf("of an archive with a damaged segment: %v", err)
		}
		for p := range partitions {
			if w.Client.Exists(w.Ctx, w.Keys.Log(p), w.Keys.Events(p)).Val() > 0 {
				t.Errorf("partition %d is in service", p)
			}
		}
		w.Must(os.Remove(file))
		w.Must(os.WriteFile(file, body, 0o600))
		_, err = w.restore(archive.RestoreOptions{}, nil)
		w.Must(err)
		w.wantTold(was)
	}
}

// TestGoesOn: what was under way when Redis was emptied is finished by workers on what is restored, once; the archive goes on in a new branch, and
// can be restored again. A worker from before the restore that has not noticed changes nothing; one that has goes on.
func TestGoesOn(t *testing.T) {
	w := newWorld(t)
	store := w.open(streams.Options{Create: true})
	w.sell(store)
	zombie := w.open(streams.Options{Create: true})
	stop := w.work(store, workers.RolePurchase) // nobody posts or settles any more, nor ends what runs out
	p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
	defer p.Close()
	ask := func(r domain.Request) {
		t.Helper()
		r.EventID, r.CustomerID, r.Quantity = "e1", "of-"+r.OrderID, 1
		receipt, err := p.Publish(w.Ctx, r)
		w.Must(err)
		_, err = p.WaitFor(w.Ctx, receipt)
		w.Must(err)
	}
	ask(domain.Request{Type: domain.RequestHold, OrderID: "runs-out", HoldSeconds: 1})
	ask(domain.Request{Type: domain.RequestPurchase, OrderID: "confirmed", PaymentToken: "tok"})
	ask(domain.Request{Type: domain.RequestPurchase, OrderID: "cancelled", PaymentToken: "tok"})
	ask(domain.Request{Type: domain.RequestCancel, OrderID: "cancelled"})
	stop()
	w.archive(store)
	was := w.told()
	w.Do("FLUSHALL")
	result, err := w.restore(archive.RestoreOptions{}, nil)
	w.Must(err)
	// Posting is restored, too: its group does it again.
	for _, order := range []string{"confirmed", "cancelled"} {
		key, name := w.Keys.Invoices("of-"+order), "e1/"+order
		if fields := w.Client.HKeys(w.Ctx, key).Val(); !slices.Equal(fields, []string{name}) {
			t.Errorf("%s has %v", key, fields)
		}
		was[key] = fmt.Sprint("hash ", map[string]string{name: ""})
	}
	w.wantTold(was)
	if result.Unsettled < 3 || result.Unposted < 3 {
		t.Errorf("nothing was under way: %+v", result)
	}

	before := w.Dump()
	partition := store.Partition("e1")
	_, _, err = zombie.Ledger().Hold(w.Ctx, partition, []domain.Incoming{{EntryID: "1-1", HoldMillis: 1000, ValidMillis: 1000, Request: domain.Request{
		Type: domain.RequestPurchase, EventID: "e1", OrderID: "of-the-past", CustomerID: "zoe", Section: "general", Quantity: 1, PaymentToken: "tok", Fingerprint: "0123456789abcdef",
	}}})
	if !errors.Is(err, domain.ErrDataReplaced) {
		t.Errorf("a worker from before: %v", err)
	}
	w.WantSame(before)
	w.Must(zombie.Ledger().Accept(w.Ctx, "zombie"))
	w.WantSame(before) // it goes on with the branch that there is

	stop = w.work(zombie)
	runsOut := domain.OrderRef{EventID: "e1", OrderID: "runs-out"}
	w.Eventually("the hold has run out", func() bool {
		orders, err := zombie.Inside().Orders(w.Ctx, []domain.OrderRef{runsOut})
		w.Must(err)
		return orders[0].State == domain.OrderExpired
	})
	w.drained(zombie)
	stop()
	if report := w.audited(audit.Options{Gateway: w.books}); !report.OK || report.Payments.Checked < 10 {
		t.Errorf("audit: %+v", report)
	}

	w.archive(zombie)
	all, err := archive.NewReader(w.bucket, namespace).Verify(w.Ctx, nil)
	w.Must(err)
	w.Must(archive.NewReader(w.bucket, namespace).Compare(w.Ctx, zombie.Ledger(), partitions, &all, nil))
	if !all.OK || all.Branches != 3 {
		t.Errorf("the archive: %+v", all)
	}
	was = w.told()
	w.Do("FLUSHALL")
	_, err = w.restore(archive.RestoreOptions{}, nil)
	w.Must(err)
	w.wantTold(was)
	w.wantAudited()
}

// TestOwed: an order whose money waits is settled again, although its entry was acknowledged.
func TestOwed(t *testing.T) {
	w := newWorld(t)
	store := w.open(streams.Options{Create: true})
	w.sell(store)
	partition := store.Partition("e1")
	var confirmed []string
	for _, e := range layout.DecodeEntries(w.Do("XRANGE", w.Keys.Log(partition), "-", "+")) {
		if e.Fields[0] == string(domain.FactConfirmed) && strings.Contains(e.Fields[1], "e1/o2|") {
			confirmed = append(confirmed, e.ID)
		}
	}
	if len(confirmed) != 1 {
		t.Fatalf("confirmed by %v", confirmed)
	}
	note := layout.EncodeOwedNote(domain.Owed{FactID: confirmed[0], Attempts: 1, DelayMillis: 250, Reason: "the gateway is away"})
	w.Do("HSET", w.Keys.OwedNotes(partition), "e1/o2", note)
	w.Do("ZADD", w.Keys.Owed(partition), 1, "e1/o2")
	w.archive(store)
	w.Do("FLUSHALL")
	result, err := w.restore(archive.RestoreOptions{}, nil)
	w.Must(err)
	groups, err := w.Client.XInfoGroups(w.Ctx, w.Keys.Log(partition)).Result()
	w.Must(err)
	for _, g := range groups {
		before := layout.ParseLogID(confirmed[0]).After(layout.ParseLogID(g.LastDeliveredID))
		if settles := g.Name == string(domain.GroupSettlement); before != settles {
			t.Errorf("%s goes on behind %s, the order's entry is %s", g.Name, g.LastDeliveredID, confirmed[0])
		}
	}
	if result.Unposted != 0 || result.Unsettled == 0 {
		t.Errorf("%+v", result)
	}
	again := w.open(streams.Options{Create: true})
	stop := w.work(again)
	w.drained(again)
	stop()
	if report := w.audited(audit.Options{Gateway: w.books}); !report.OK {
		t.Errorf("audit: %+v", report)
	}
}

// past is the archive, for an audit.
func (w *world) past() domain.ArchivedPast { return archive.NewReader(w.bucket, namespace) }

var trimMark = regexp.MustCompile(`#trimmed:\S+ `)

// wantShort fails unless what is restored is what there was, but for the beginnings of logs that nobody needs: there is the last entry that nobody needs, and what comes
// behind it, and the trim mark says so.
func (w *world) wantShort(was map[string]string, result restore.Result) {
	w.Helper()
	is, want := w.told(), maps.Clone(was)
	for p := range partitions {
		log, events := w.Keys.Log(p), w.Keys.Events(p)
		entries := layout.DecodeEntries(w.Do("XRANGE", log, "-", "+"))
		mark := w.Client.HGet(w.Ctx, events, layout.TrimmedField).Val()
		if result.Partitions[p].Snapshot == "" || result.Partitions[p].Entries != len(entries) || len(entries) == 0 || mark != entries[0].ID {
			w.Errorf("partition %d: %+v, it begins with %v, the trim mark is %s", p, result.Partitions[p], entries, mark)
		}
		for _, e := range entries {
			if !strings.Contains(was[log], e.ID) || !strings.Contains(was[log], e.Fields[1]) {
				w.Errorf("partition %d: there was no entry %v", p, e)
			}
		}
		groups, err := w.Client.XInfoGroups(w.Ctx, log).Result()
		w.Must(err)
		for _, g := range groups {
			needs := slices.IndexFunc(entries, func(e domain.Entry) bool { return layout.ParseLogID(e.ID).After(layout.ParseLogID(g.LastDeliveredID)) })
			if needs < 0 {
				needs = len(entries)
			}
			if needs == 0 || g.Lag != int64(len(entries)-needs) || g.Pending != 0 || !strings.Contains(was[log], g.Name+" "+g.LastDeliveredID+" ") {
				w.Errorf("partition %d: group %+v, of %d entries, the first that it needs is %d; it was\n%s", p, g, len(entries), needs, was[log])
			}
		}
		delete(is, log)
		delete(want, log)
		is[events], want[events] = trimMark.ReplaceAllString(is[events], ""), trimMark.ReplaceAllString(want[events], "")
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if is[key] != want[key] {
			w.Errorf("%s is\n%s\nwant\n%s", key, is[key], want[key])
		}
	}
	if len(is) != len(want) {
		w.Errorf("there are %d keys, want %d", len(is), len(want))
	}
}

// TestFromASnapshot: a restore begins with the newest snapshot, and writes the log from where somebody has something left to do. Workers go on, the archive,
// too, the audit is well with the archive, and from its first segment on; and it can be restored again, also whole.
func TestFromASnapshot(t *testing.T) {
	w := newWorld(t)
	store := w.open(streams.Options{Create: true})
	w.sell(store)
	w.archive(store)
	w.snapshots()
	stop := w.work(store, workers.RolePurchase) // nobody posts or settles any more
	buy := func(store *streams.Store, orders ...string) {
		p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
		defer p.Close()
		for i, order := range orders {
			receipt, err := p.Publish(w.Ctx, domain.Request{
				Type: domain.RequestPurchase, EventID: []string{"big", "e1"}[i%2], OrderID: order, CustomerID: order, Quantity: 1, PaymentToken: "tok",
			})
			w.Must(err)
			_, err = p.WaitFor(w.Ctx, receipt)
			w.Must(err)
		}
	}
	buy(store, "late0", "late1", "late2", "late3", "late4")
	stop()
	w.archive(store)
	w.snapshots() // what was sold since is in it, and left to do
	was := w.told()
	lengths := make([]int64, partitions)
	for p := range partitions {
		lengths[p] = w.Client.XLen(w.Ctx, w.Keys.Log(p)).Val()
	}
	w.Do("FLUSHALL")
	result, err := w.restore(archive.RestoreOptions{}, nil)
	w.Must(err)
	for i := range 5 { // posted by the restore
		event := []string{"big", "e1"}[i%2]
		was[w.Keys.Invoices(fmt.Sprint("late", i))] = fmt.Sprint("hash ", map[string]string{fmt.Sprintf("%s/late%d", event, i): ""})
	}
	w.wantShort(was, result)
	if result.Unposted == 0 || result.Unsettled == 0 || result.Entries >= int(lengths[0]+lengths[1])/2 {
		t.Errorf("%+v, of logs of %v entries", result, lengths)
	}
	report := w.audited(audit.Options{})
	for _, v := range report.Violations {
		if !strings.Contains(v.Detail, "the entries before it are in the archive alone") {
			t.Errorf("an audit without the archive says %+v", v)
		}
	}
	if len(report.Violations) != partitions {
		t.Errorf("an audit without the archive: %+v", report)
	}
	for _, full := range []bool{false, true} { // nothing is archived of the new branch yet
		if report := w.audited(audit.Options{Archive: w.past(), Full: full}); !report.OK {
			t.Errorf("audit of what was restored (full: %t): %+v", full, report)
		}
	}
	again := w.open(streams.Options{Create: true})
	stop = w.work(again)
	buy(again, "after0", "after1") // with what is archived then, up to where all is done
	w.drained(again)
	stop()
	w.archive(again)
	for _, full := range []bool{false, true} {
		if report := w.audited(audit.Options{Archive: w.past(), Full: full, Gateway: w.books}); !report.OK || report.Payments.Checked < 10 {
			t.Errorf("audit (full: %t): %+v", full, report)
		}
	}
	verified, err := archive.NewReader(w.bucket, namespace).Verify(w.Ctx, nil)
	w.Must(err)
	w.Must(archive.NewReader(w.bucket, namespace).Compare(w.Ctx, again.Ledger(), partitions, &verified, nil))
	if !verified.OK {
		t.Errorf("the archive: %+v", verified)
	}

	// Again, up to a time, and whole.
	w.snapshots()
	was = w.told()
	w.Do("FLUSHALL")
	result, err = w.restore(archive.RestoreOptions{}, nil)
	w.Must(err)
	w.wantShort(was, result)
	w.Do("FLUSHALL")
	result, err = w.restore(archive.RestoreOptions{Full: true}, nil)
	w.Must(err)
	for p, is := range result.Partitions {
		if n := w.Client.XLen(w.Ctx, w.Keys.Log(p)).Val(); is.Snapshot != "" || n < lengths[p] || w.Client.HExists(w.Ctx, w.Keys.Events(p), layout.TrimmedField).Val() {
			t.Errorf("partition %d: %+v, of %d entries", p, is, n)
		}
	}
	w.wantAudited()
}

// TestHalfRecalled: whatever of an event was back when Redis was emptied, and restored, is there once when the rest of it is recalled, with hashes of its own
// as with the one that it shares; and an audit is well in between.
func TestHalfRecalled(t *testing.T) {
	for _, capacity := range []int64{100, 900_000} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) { halfRecalled(t, capacity) })
	}
}

func halfRecalled(t *testing.T, capacity int64) {
	w := newWorld(t)
	store := w.open(streams.Options{Create: true})
	stop := w.work(store)
	list := func(store *streams.Store, id string) {
		_, err := store.Events().Create(w.Ctx, id, domain.Terms{
			Name: id, Currency: "EUR", MaxPerCustomer: 9, Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: capacity}},
		})
		w.Must(err)
	}
	p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
	defer p.Close()
	ask := func(r domain.Request) {
		receipt, err := p.Publish(w.Ctx, r)
		w.Must(err)
		_, err = p.WaitFor(w.Ctx, receipt)
		w.Must(err)
	}
	ask(domain.Request{Type: domain.RequestCancel, EventID: "e1", OrderID: "unseen"})
	list(store, "e1")
	refs := []domain.OrderRef{{EventID: "e1", OrderID: "unseen"}}
	for i := range 8 {
		order := fmt.Sprint("o", i)
		ask(domain.Request{Type: domain.RequestPurchase, EventID: "e1", OrderID: order, CustomerID: fmt.Sprint("fred", i%3), Quantity: 1, PaymentToken: "tok"})
		refs = append(refs, domain.OrderRef{EventID: "e1", OrderID: order})
	}
	ask(domain.Request{Type: domain.RequestCancel, EventID: "e1", OrderID: "o1"})
	_, err := store.Events().Close(w.Ctx, "e1", domain.Cause{})
	w.Must(err)
	w.drained(store)
	stop()
	was, err := store.Inside().Orders(w.Ctx, refs)
	w.Must(err)
	half := 0
	for n, killed := 0, true; killed; n++ {
		w.forgotten(store, "e1")
		killer := &streamstest.Killer{Left: 1 << 30, After: true}
		dying := w.open(streams.Options{Hook: killer})
		killer.Left = n
		_, err := dying.Events().Recall(w.Ctx, archive.NewReader(w.bucket, namespace), "e1", nil)
		if killed = killer.Killed; killed != (err != nil) {
			t.Fatalf("killed: %t, %v", killed, err)
		}
		w.archive(store)
		w.Do("FLUSHALL")
		result, err := w.restore(archive.RestoreOptions{Full: n%2 == 0}, nil)
		w.Must(err)
		if killed && result.Orders > 0 && result.Orders < len(refs) {
			half++
		}
		store = w.open(streams.Options{Create: true})
		if report := w.audited(audit.Options{}); !report.OK {
			t.Fatalf("killed: %t, after %d commands; restored: %+v", killed, n, report)
		}
		other := fmt.Sprint("other", n)
		for store.Partition(other) != store.Partition("e1") {
			other += "+"
		}
		list(store, other) // there must be something on the branch that can be archived
		stop := w.work(store)
		w.drained(store)
		stop()
		w.archive(store)
		_, err = store.Events().Recall(w.Ctx, archive.NewReader(w.bucket, namespace), "e1", nil)
		w.Must(err)
		w.wantAudited()
		is, err := store.Inside().Orders(w.Ctx, refs)
		w.Must(err)
		if !slices.Equal(is, was) {
			t.Errorf("its orders are\n%+v\nthey were\n%+v", is, was)
		}
		if t.Failed() {
			t.Fatalf("killed: %t, after %d commands", killed, n)
		}
	}
	if half == 0 && capacity > 100 {
		t.Error("it was never half recalled")
	}
}

// forgotten has an event that is over forgotten, with all its orders, and archived.
func (w *world) forgotten(store *streams.Store, event string) {
	w.Helper()
	stop := w.work(store)
	w.drained(store)
	stop()
	w.archive(store)
	p := store.Partition(event)
	w.Eventually(event+" is forgotten", func() bool {
		_, _, more, err := store.Ledger().ForgetEvents(w.Ctx, p, time.Millisecond, 1000)
		w.Must(err)
		is, err := store.Inside().Event(w.Ctx, event)
		w.Must(err)
		return !more && is.Over != "" && !w.Client.HExists(w.Ctx, w.Keys.Forgetting(p), event).Val()
	})
	w.archive(store)
}
