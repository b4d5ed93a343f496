package streams

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
	"holdfast/streams/redistest"
)

// wantCode fails the test unless the error has this class and code.
func (f *fixture) wantCode(err error, class domain.Class, code domain.Code) {
	f.Helper()
	f.WantClass(err, class)
	if got := domain.CodeOf(err); got != code {
		f.Errorf("code %s, want %s, of: %v", got, code, err)
	}
}

// open opens a namespace once more.
func (f *fixture) open(o Options) (*Store, error) {
	f.Helper()
	s, err := Open(f.Ctx, f.store.endpoint.url.String(), o)
	if err == nil {
		f.Must(s.Close())
	}
	return s, err
}

func (f *fixture) meta() map[string]string {
	f.Helper()
	h, err := f.Client.HGetAll(f.Ctx, "holdfast:meta").Result()
	f.Must(err)
	return h
}

func TestOpenMakesANamespaceOnce(t *testing.T) {
	f := newFixture(t)
	h := f.meta()
	want := map[string]string{
		"partitions": "1", "schema": "2", "epoch": h["epoch"], "payment_names": "namespaced", "free_orders": "direct",
	}
	if !maps.Equal(h, want) || h["epoch"] == "" || !f.store.Created() {
		t.Errorf("meta %v, created %t", h, f.store.Created())
	}
	if f.store.PaymentNamespace() != "holdfast" || f.store.FreeOrders() != FreeOrdersDirect {
		t.Errorf("payments are named in %q, free orders %s", f.store.PaymentNamespace(), f.store.FreeOrders())
	}
	before := f.Dump()
	// Whoever opens it later gets what was stored, whatever they ask for.
	for _, o := range []Options{{}, {Create: true, Partitions: 7, PaymentNames: PaymentNamesPlain}, {Create: true, Restore: true, Partitions: 2}} {
		again, err := f.open(o)
		f.Must(err)
		if again.Partitions() != 1 || again.history.ns.Epoch != h["epoch"] || again.PaymentNamespace() != "holdfast" || again.Created() {
			t.Errorf("%+v: %+v, created %t", o, again.opened, again.Created())
		}
	}
	f.WantSame(before)
	// Groups read from the start of their streams.
	f.Publish(purchase("e1", "o1", "fred", 1))
	if got := f.Deliver(domain.GroupWorkers, "w1"); len(got) != 1 {
		t.Errorf("delivered %v", got)
	}
}

// What this program does not know is left alone by it.
func TestOpenKnowsWhatIsStored(t *testing.T) {
	f := newFixture(t)
	before := f.Dump()
	for name, field := range map[string][2]string{
		"a schema of before":    {"schema", "1"},
		"a schema to come":      {"schema", "3"},
		"damaged partitions":    {"partitions", "many"},
		"no partitions":         {"partitions", "0"},
		"too many":              {"partitions", "1025"},
		"other payment names":   {"payment_names", "by_date"},
		"other free orders":     {"free_orders", "raffle"},
		"other kind of gateway": {"gateway", "carrier_pigeon"},
		"a bound of no number":  {"max_waiting", "some"},
		"a negative bound":      {"max_waiting", "-1"},
	} {
		was := f.meta()[field[0]]
		f.Do("HSET", "holdfast:meta", field[0], field[1])
		for _, o := range []Options{{}, {Create: true}} {
			if _, err := f.open(o); domain.ClassOf(err) != domain.ClassFatal || err == nil {
				t.Errorf("%s: %v, want fatal", name, err)
			}
		}
		f.Do("HSET", "holdfast:meta", field[0], was)
		if was == "" {
			f.Do("HDEL", "holdfast:meta", field[0])
		}
	}
	for _, o := range []Options{
		{Namespace: "a b"}, {Namespace: "{a}"}, {Partitions: -1}, {Partitions: 1025}, {PaymentNames: "x"}, {Restore: true},
	} {
		if _, err := f.open(o); domain.ClassOf(err) != domain.ClassFatal || err == nil {
			t.Errorf("%+v: %v, want fatal", o, err)
		}
	}
	f.WantSame(before)
	// One that was made before there were pins.
	f.Do("DEL", "holdfast:meta")
	f.Do("HSET", "holdfast:meta", "partitions", "1", "schema", "2", "epoch", "x")
	s, err := f.open(Options{})
	f.Must(err)
	if want := (Namespace{"holdfast", 1, "2", "x", PaymentNamesPlain, FreeOrdersGateway, "", 0}); s.opened != want || s.PaymentNamespace() != "" {
		t.Errorf("%+v, want %+v", s.opened, want)
	}
}

// executed are the commands that the server was given since it was asked to forget them.
func (f *fixture) executed() []string {
	f.Helper()
	var names []string
	for line := range strings.Lines(layout.AsString(f.Do("INFO", "commandstats"))) {
		if name, found := strings.CutPrefix(line, "cmdstat_"); found {
			names = append(names, name[:strings.Index(name, ":")])
		}
	}
	slices.Sort(names)
	return names
}

// Looking at what is not there, or is not complete, writes nothing at all.
func TestOpenOnlyLooks(t *testing.T) {
	f := newFixture(t)
	f.Do("XGROUP", "DESTROY", f.Keys.Log(0), string(domain.GroupPosting))
	f.Do("DEL", f.Keys.Requests(0))
	before := f.Dump()
	f.Do("CONFIG", "RESETSTAT")
	_, err := f.open(Options{})
	f.Must(err)
	_, err = f.open(Options{Namespace: "typo"})
	f.wantCode(err, domain.ClassReject, domain.CodeNoSuchNamespace)
	if err.Error() != "no such namespace: typo" {
		t.Errorf("it says %q", err)
	}
	if got, want := f.executed(), []string{"client|setinfo", "config|resetstat", "exists", "hello", "hmget", "info", "select"}; slices.ContainsFunc(got, func(name string) bool { return !slices.Contains(want, name) }) {
		t.Errorf("commands %v, want only %v", got, want)
	}
	f.WantSame(before)
	// Who may make it mends it.
	_, err = f.open(Options{Create: true})
	f.Must(err)
	f.Publish(purchase("e1", "o1", "fred", 1))
	if got := f.Deliver(domain.GroupWorkers, "w1"); len(got) != 1 {
		t.Errorf("delivered %v", got)
	}
	f.Deliver(domain.GroupPosting, "w1")
}

// A user who may not look for partitions learns that there is no such namespace, and why nothing more is known.
func TestOpenWithoutPermissionToLook(t *testing.T) {
	f := newFixture(t)
	f.Do("ACL", "SETUSER", "limited", "reset", "on", ">secret", "%R~*:meta", "+info", "+hmget")
	defer f.Do("ACL", "DELUSER", "limited")
	limited := strings.Replace(f.store.endpoint.url.String(), "redis://", "redis://limited:secret@", 1)
	s, err := Open(f.Ctx, limited, Options{})
	f.Must(err)
	f.Must(s.Close())
	_, err = Open(f.Ctx, limited, Options{Namespace: "typo"})
	f.wantCode(err, domain.ClassReject, domain.CodeNoSuchNamespace)
	if !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("it says %q", err)
	}
}

// emptied is a fixture on whose Redis there is nothing.
func emptied(t *testing.T) *fixture {
	f := newFixture(t)
	f.Do("FLUSHALL")
	return f
}

// Where the partitions are there and the meta is not, nobody guesses how many there were.
func TestOpenWithoutMeta(t *testing.T) {
	f := emptied(t)
	s, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true, Partitions: 8})
	f.Must(err)
	defer func() { f.Must(s.Close()) }()
	event := "e1" // that would be elsewhere if there were one partition less
	for layout.PartitionOf(event, 8) == 7 || layout.PartitionOf(event, 8) == layout.PartitionOf(event, 7) {
		event += "1"
	}
	if created, err := s.Events().Create(f.Ctx, event, terms(1)); err != nil || !created {
		t.Fatalf("listing: %v, %v", created, err)
	}
	f.Do("DEL", "holdfast:meta")
	before := f.Dump()
	for _, o := range []Options{{}, {Create: true}, {Create: true, Partitions: 8}} {
		_, err := f.open(o)
		f.wantCode(err, domain.ClassFatal, domain.CodeNamespaceDamaged)
		if want := "found partitions 0 to 7 of namespace holdfast, but no holdfast:meta: what it was made with is lost"; err.Error() != want {
			t.Errorf("it says %q, want %q", err, want)
		}
	}
	for _, partitions := range []int{1, 4, 7, 9, 16} {
		_, err := f.open(Options{Create: true, Restore: true, Partitions: partitions})
		f.wantCode(err, domain.ClassReject, domain.CodeConflict)
	}
	// One too few, and the last is gone as well: the event tells.
	last := layout.NewKeys(DefaultNamespace, 8)
	f.Do("RENAME", last.Log(7), "aside")
	f.Do("DEL", last.Requests(7))
	_, err = f.open(Options{Create: true, Restore: true, Partitions: 7})
	f.wantCode(err, domain.ClassReject, domain.CodeConflict)
	if !strings.Contains(err.Error(), "event "+event+" is in") {
		t.Errorf("it says %q", err)
	}
	f.Do("RENAME", "aside", last.Log(7))
	f.WantSame(before, last.Requests(7))

	restored, err := f.open(Options{Create: true, Restore: true, Partitions: 8, PaymentNames: PaymentNamesPlain})
	f.Must(err)
	want := Namespace{"holdfast", 8, "2", f.meta()["epoch"], PaymentNamesPlain, FreeOrdersGateway, "", 0}
	if restored.opened != want || want.Epoch == s.opened.Epoch || !restored.Created() {
		t.Errorf("restored %+v, want %+v", restored.opened, want)
	}
	f.WantSame(before, "holdfast:meta")
	// Nothing to restore.
	_, err = f.open(Options{Namespace: "typo", Create: true, Restore: true})
	f.wantCode(err, domain.ClassReject, domain.CodeNoSuchNamespace)
}

// What checkouts of other programs published into nothing waits for somebody who knows the
// number of partitions, and is work then.
func TestRequestsWithoutANamespace(t *testing.T) {
	f := emptied(t)
	f.Do("XADD", "holdfast:{1}:requests", "*", "v", "1")
	f.Do("XADD", "holdfast:{2}:requests", "*", "v", "1")
	f.Do("XADD", "holdfast:{5}:requests", "*", "v", "1")
	before := f.Dump()
	for _, o := range []Options{{}, {Create: true}, {Create: true, Partitions: 8}} {
		_, err := f.open(o)
		f.wantCode(err, domain.ClassFatal, domain.CodeNamespaceDamaged)
		if !strings.Contains(err.Error(), "found requests in partitions 1 to 2, 5 of") {
			t.Errorf("it says %q", err)
		}
	}
	_, err := f.open(Options{Create: true, Restore: true, Partitions: 5})
	f.wantCode(err, domain.ClassReject, domain.CodeConflict)
	f.WantSame(before)
	s, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true, Restore: true, Partitions: 8})
	f.Must(err)
	defer func() { f.Must(s.Close()) }()
	q, err := s.Queue(5, domain.GroupWorkers, "w1")
	f.Must(err)
	if got, err := q.Read(f.Ctx, 10, time.Second); err != nil || len(got) != 1 {
		t.Errorf("read %v, %v", got, err)
	}
}

func TestRanges(t *testing.T) {
	for want, numbers := range map[string][]int{"": nil, "3": {3}, "0 to 1": {0, 1}, "0, 2": {0, 2}, "0 to 2, 5, 7 to 8": {0, 1, 2, 5, 7, 8}} {
		if got := ranges(numbers); got != want {
			t.Errorf("%v: %q, want %q", numbers, got, want)
		}
	}
}

// Of many that start at once on an empty Redis one makes the namespace, and all work on it.
func TestManyMakeOneNamespace(t *testing.T) {
	f := emptied(t)
	stores := make([]*Store, 16)
	var opening sync.WaitGroup
	for i := range stores {
		opening.Go(func() {
			var err error
			if stores[i], err = Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true, Partitions: 1 + i%3}); err != nil {
				t.Errorf("opening: %v", err)
			}
		})
	}
	opening.Wait()
	created := 0
	for _, s := range stores {
		if s == nil {
			continue
		}
		if s.Created() {
			created++
		}
		if s.opened != stores[0].opened {
			t.Errorf("%+v and %+v", s.opened, stores[0].opened)
		}
		f.Must(s.Close())
	}
	if created != 1 {
		t.Errorf("%d have made it", created)
	}
}

// meanwhile does something once, before the first pipeline or the first command of a name.
type meanwhile struct {
	name string
	once sync.Once
	do   func()
}

func (m *meanwhile) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (m *meanwhile) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == m.name {
			m.once.Do(m.do)
		}
		return next(ctx, cmd)
	}
}

func (m *meanwhile) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == m.name {
			m.once.Do(m.do)
		}
		return next(ctx, cmds)
	}
}

// A namespace that is made between two looks is no damaged one.
func TestOpenWhileItIsMade(t *testing.T) {
	for _, create := range []bool{false, true} {
		f := emptied(t)
		hook := &meanwhile{name: "exists", do: func() {
			_, err := f.open(Options{Create: true, Partitions: 3})
			f.Must(err)
		}}
		s, err := f.open(Options{Create: create, Hook: hook})
		if err != nil || s.Partitions() != 3 || s.Created() {
			t.Errorf("create %t: %+v, %v", create, s, err)
		}
	}
}

func TestSet(t *testing.T) {
	f := newFixture(t)
	set := func(s Settings, want Namespace) {
		t.Helper()
		want.Name, want.Partitions, want.Schema, want.Epoch, want.PaymentNames = "holdfast", 1, "2", f.store.opened.Epoch, PaymentNamesNamespaced
		f.Must(f.store.Set(f.Ctx, s))
		if got, err := f.store.Namespace(f.Ctx); err != nil || got != want {
			t.Errorf("%+v: %+v, %v, want %+v", s, got, err, want)
		}
	}
	set(Settings{Gateway: domain.GatewaySimulator}, Namespace{FreeOrders: FreeOrdersDirect, Gateway: domain.GatewaySimulator})
	set(Settings{Gateway: domain.GatewayRemote, FreeOrders: FreeOrdersGateway}, Namespace{FreeOrders: FreeOrdersGateway, Gateway: domain.GatewayRemote})
	if _, there := f.meta()["free_orders"]; there {
		t.Error("it is there, where programs of before would not have it")
	}
	set(Settings{FreeOrders: FreeOrdersDirect}, Namespace{FreeOrders: FreeOrdersDirect, Gateway: domain.GatewayRemote})
	set(Settings{}, Namespace{FreeOrders: FreeOrdersDirect, Gateway: domain.GatewayRemote})
	set(Settings{MaxWaiting: atMost(7)}, Namespace{FreeOrders: FreeOrdersDirect, Gateway: domain.GatewayRemote, MaxWaiting: 7})
	set(Settings{}, Namespace{FreeOrders: FreeOrdersDirect, Gateway: domain.GatewayRemote, MaxWaiting: 7})
	set(Settings{MaxWaiting: atMost(0)}, Namespace{FreeOrders: FreeOrdersDirect, Gateway: domain.GatewayRemote})
	if _, there := f.meta()["max_waiting"]; there {
		t.Error("it is there, where programs of before would not have it")
	}
	for _, s := range []Settings{{Gateway: "x"}, {FreeOrders: "x"}, {MaxWaiting: atMost(-1)}} {
		f.WantClass(f.store.Set(f.Ctx, s), domain.ClassReject)
	}
	f.Do("FLUSHALL")
	f.wantCode(f.store.Set(f.Ctx, Settings{Gateway: domain.GatewayRemote}), domain.ClassReject, domain.CodeNoSuchNamespace)
	_, err := f.store.Namespace(f.Ctx)
	f.wantCode(err, domain.ClassReject, domain.CodeNoSuchNamespace)
	f.WantSame(nil)
}

// The first worker says which kind of gateway serves the namespace; one of another kind does not start.
func TestServeWith(t *testing.T) {
	f := newFixture(t)
	other := openAgain(t, f)
	f.Must(f.ledger.ServeWith(f.Ctx, domain.GatewayRemote))
	f.Must(f.ledger.ServeWith(f.Ctx, domain.GatewayRemote))
	before := f.Dump()
	f.wantCode(other.Ledger().ServeWith(f.Ctx, domain.GatewaySimulator), domain.ClassFatal, domain.CodeOtherGateway)
	f.WantSame(before)
	f.Must(f.ledger.Verify(f.Ctx))

	// When that is changed, those of the kind before stop.
	f.Must(other.Set(f.Ctx, Settings{Gateway: domain.GatewaySimulator}))
	f.wantCode(f.ledger.Verify(f.Ctx), domain.ClassFatal, domain.CodeOtherGateway)
	f.Must(other.Ledger().ServeWith(f.Ctx, domain.GatewaySimulator))
	f.Must(other.Ledger().Verify(f.Ctx))

	f.Do("FLUSHALL")
	f.wantCode(openedLedger(f).ServeWith(f.Ctx, domain.GatewayRemote), domain.ClassReject, domain.CodeNoSuchNamespace)
	f.WantSame(nil)
}

// openedLedger is a ledger that has heard of no gateway.
func openedLedger(f *fixture) *Ledger {
	return (&Store{rdb: f.Client, keys: f.Keys, opened: f.store.opened}).Ledger()
}

func openAgain(t *testing.T, f *fixture) *Store {
	t.Helper()
	s, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true})
	f.Must(err)
	t.Cleanup(func() { f.Must(s.Close()) })
	return s
}

// Of workers of both kinds that start at once only those of one kind do.
func TestServeWithAtOnce(t *testing.T) {
	f := newFixture(t)
	for range 20 {
		f.Do("HDEL", "holdfast:meta", "gateway")
		kinds := []domain.GatewayKind{domain.GatewaySimulator, domain.GatewayRemote, domain.GatewaySimulator, domain.GatewayRemote}
		errs := make([]error, len(kinds))
		var starting sync.WaitGroup
		for i, kind := range kinds {
			starting.Go(func() { errs[i] = openedLedger(f).ServeWith(f.Ctx, kind) })
		}
		starting.Wait()
		noted := domain.GatewayKind(f.meta()["gateway"])
		for i, kind := range kinds {
			if (errs[i] == nil) != (kind == noted) {
				t.Errorf("%s is noted, one of %s: %v", noted, kind, errs[i])
			}
		}
	}
}

// A worker starts when memory is full, also where it is the first with a gateway.
func TestServeWithFullMemory(t *testing.T) {
	f := openFixture(t, redistest.Start(t, "--maxmemory-policy", "noeviction"))
	f.Do("CONFIG", "SET", "maxmemory", "1")
	s, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true})
	f.Must(err)
	f.Must(s.Ledger().ServeWith(f.Ctx, domain.GatewayRemote))
	f.Must(s.Close())
	if f.meta()["gateway"] != "remote" {
		t.Errorf("meta %v", f.meta())
	}
}

// Payments outlive Redis: a namespace that workers make again names them as it did.
func TestAcceptKeepsWhatTheNamespaceWas(t *testing.T) {
	for _, names := range []PaymentNames{PaymentNamesPlain, PaymentNamesNamespaced} {
		f := emptied(t)
		s, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true, Partitions: 3, PaymentNames: names})
		f.Must(err)
		l := s.Ledger()
		f.Must(l.ServeWith(f.Ctx, domain.GatewayRemote))
		f.Must(l.Verify(f.Ctx))
		f.Must(f.store.Set(f.Ctx, Settings{FreeOrders: FreeOrdersGateway, MaxWaiting: atMost(9)})) // by somebody else, since
		f.Must(l.Verify(f.Ctx))
		was, err := s.Namespace(f.Ctx)
		f.Must(err)
		f.Do("FLUSHALL")
		f.wantReplaced(l.Verify(f.Ctx))
		f.Must(l.Accept(f.Ctx, "w1"))
		is, err := s.Namespace(f.Ctx)
		f.Must(err)
		if was.Epoch == is.Epoch {
			t.Error("the epoch is the same")
		}
		if was.Epoch = is.Epoch; was != is || is.PaymentNames != names || is.Partitions != 3 || is.Gateway != domain.GatewayRemote || is.MaxWaiting != 9 {
			t.Errorf("it was %+v and is %+v", was, is)
		}
		f.Must(s.Close())
	}
}

// A namespace that is another one now is not for this process: it names payments in another
// way, or has another number of partitions, or another gateway.
func TestAcceptRefusesAnotherNamespace(t *testing.T) {
	for name, change := range map[string][]any{
		"partitions":        {"partitions", 2},
		"payment names":     {"payment_names", "plain"},
		"free orders":       {"free_orders", "gateway"},
		"kind of gateway":   {"gateway", "simulator"},
		"a version to come": {"schema", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.Must(f.ledger.ServeWith(f.Ctx, domain.GatewayRemote))
			f.Must(f.ledger.Verify(f.Ctx))
			meta := f.meta()
			f.Do("FLUSHALL")
			f.Do("HSET", "holdfast:meta", "partitions", 1, "schema", "2", "epoch", "x", "payment_names", meta["payment_names"], "free_orders", meta["free_orders"])
			f.Do(append([]any{"HSET", "holdfast:meta"}, change...)...)
			if _, err := f.queue(domain.GroupWorkers, "w1").Read(f.Ctx, 1, time.Second); err == nil {
				t.Error("it reads on")
			}
			before := f.Dump()
			f.WantClass(f.ledger.Accept(f.Ctx, "w1"), domain.ClassFatal)
			f.WantClass(f.ledger.Accept(f.Ctx, "w1"), domain.ClassFatal) // again and again
			f.WantSame(before)
		})
	}
}

// If only the meta is gone, workers do not guess either; and they tell that from an emptied
// Redis in which others, who have not noticed, have written since.
func TestAcceptWithoutMeta(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	listed := f.Now()
	f.WaitUntil(listed + 1)
	f.held("e1", "o1", "fred", 1, holdMillis)
	f.Must(f.ledger.Verify(f.Ctx))
	f.Do("DEL", "holdfast:meta")
	f.wantReplaced(f.ledger.Verify(f.Ctx))
	before := f.Dump()
	for range 2 {
		err := f.ledger.Accept(f.Ctx, "w1")
		f.wantCode(err, domain.ClassFatal, domain.CodeNamespaceDamaged)
		if !strings.Contains(err.Error(), "found partition 0 of namespace holdfast, but no holdfast:meta") {
			t.Errorf("it says %v", err)
		}
	}
	f.WantSame(before)

	f.Do("FLUSHALL")
	// A worker that has not noticed, and a checkout of another program; even if the first entry
	// since gets the id of the last before.
	newest, _ := f.store.history.newest(0)
	f.Do("XADD", f.Keys.Log(0), newest.id.String(), "rejected", "e1/o2|p|0|mary|general:1:0|unknown_event|")
	f.Publish(purchase("e1", "o3", "fred", 1))
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	if got, err := f.queue(domain.GroupWorkers, "w1").Read(f.Ctx, 10, time.Second); err != nil || len(got) != 1 {
		t.Errorf("read %v, %v", got, err)
	}
}

// A namespace whose Redis was emptied in the very moment in which it is made again: the next look tells.
func TestEmptiedWhileItIsAccepted(t *testing.T) {
	f := newFixture(t)
	hook := &meanwhile{name: "xinfo", do: func() { f.Do("FLUSHALL") }}
	f.Must(f.ledger.Verify(f.Ctx))
	f.Do("FLUSHALL")
	f.wantReplaced(f.ledger.Verify(f.Ctx))
	f.Client.AddHook(hook)
	f.wantReplaced(f.ledger.Accept(f.Ctx, "w1"))
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	if h := f.meta(); h["partitions"] != "1" || h["payment_names"] != "namespaced" {
		t.Errorf("meta %v", h)
	}
	f.list("e1", terms(1))
}

// Nothing is published where there is no stream for it.
func TestAppendIntoNothing(t *testing.T) {
	f := emptied(t)
	s, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true, Partitions: 4})
	f.Must(err)
	defer func() { f.Must(s.Close()) }()
	batch := purchases(20) // in all partitions
	gone := s.Partition(batch[0].EventID)
	f.Do("DEL", s.keys.Requests(gone))
	for _, confirm := range []domain.Confirmation{{}, {Replicas: 1, Timeout: time.Millisecond}} {
		for i, a := range s.Checkout().Append(f.Ctx, batch, confirm) {
			if s.Partition(batch[i].EventID) != gone {
				f.Must(a.Err)
				continue
			}
			f.wantCode(a.Err, domain.ClassRetry, domain.CodeUnavailable)
			if errors.Is(a.Err, domain.ErrUnknownOutcome) || a.EntryID != "" || !strings.Contains(a.Err.Error(), s.keys.Requests(gone)) {
				t.Errorf("%+v", a)
			}
		}
	}
	if n := f.Do("EXISTS", s.keys.Requests(gone)); n != int64(0) {
		t.Error("the stream is there again")
	}
	f.Do("FLUSHALL")
	for _, a := range s.Checkout().Append(f.Ctx, batch, domain.Confirmation{}) {
		f.wantCode(a.Err, domain.ClassRetry, domain.CodeUnavailable)
	}
	_, err = s.Events().Create(f.Ctx, "e1", terms(1))
	f.wantCode(err, domain.ClassRetry, domain.CodeUnavailable)
	f.WantSame(nil)
}

// In a Cluster the partitions are on several servers, and the meta on one of them.
func TestOpenOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := Open(ctx, cluster.URL(), Options{}); domain.CodeOf(err) != domain.CodeNoSuchNamespace {
		t.Fatalf("got %v", err)
	}
	store, err := Open(ctx, cluster.URL(), Options{Create: true, Partitions: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if err := store.rdb.Del(ctx, layout.MetaKey(DefaultNamespace)).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, cluster.URL(), Options{Create: true}); domain.CodeOf(err) != domain.CodeNamespaceDamaged || !strings.Contains(err.Error(), "partitions 0 to 7") {
		t.Errorf("got %v", err)
	}
	restored, err := Open(ctx, cluster.URL(), Options{Create: true, Restore: true, Partitions: 8})
	if err != nil {
		t.Fatal(err)
	}
	if err := restored.Close(); err != nil {
		t.Error(err)
	}
}
