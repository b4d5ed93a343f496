package access_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
)

func TestMain(m *testing.M) { os.Exit(streamstest.Run(m)) }

// open makes a namespace on an empty Redis.
func open(t *testing.T, url string, partitions int) (access.Namespace, *streamstest.Redis) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	store, err := streams.Open(ctx, url, streams.Options{Create: true, Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	ns := store.Inside()
	return ns, &streamstest.Redis{T: t, Ctx: ctx, Client: ns.Client, Keys: ns.Keys}
}

// afterReads runs something after each HMGET of a client.
type afterReads struct{ run func() }

func (*afterReads) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (a *afterReads) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == "hmget" {
			a.run()
		}
		return err
	}
}

func (*afterReads) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// An event is read in two steps. Whatever happens to it in between, what comes of it is how it once was.
func TestEventChangedBetweenItsReads(t *testing.T) {
	url := streamstest.Server().URL()
	ns, r := open(t, url, 1)
	other, err := streams.Open(r.Ctx, url, streams.Options{})
	r.Must(err)
	t.Cleanup(func() { _ = other.Close() })
	// In its version n it has n sections, of n places each.
	terms := func(n int64) domain.Terms {
		t := domain.Terms{Name: fmt.Sprint("version ", n), Currency: "EUR", MaxPerOrder: n}
		for i := range n {
			t.Sections = append(t.Sections, domain.SectionTerms{Name: fmt.Sprint("s", i), Price: n, Capacity: n})
		}
		return t
	}
	if _, err = other.Events().Create(r.Ctx, "e1", terms(1)); err != nil {
		t.Fatal(err)
	}
	changes, reads := 0, 0
	version, next := int64(1), terms
	ns.Client.AddHook(&afterReads{func() {
		reads++
		if changes > 0 {
			changes--
			version++
			if _, err := other.Events().Adjust(r.Ctx, "e1", func(domain.Terms) (domain.Terms, error) { return next(version), nil }); err != nil {
				t.Error(err)
			}
		}
	}})
	for n, want := range map[int]int{0: 2, 1: 3, 2: 4, 5: 7} { // changes, reads
		changes, reads = n, 0
		event, err := ns.Event(r.Ctx, "e1")
		r.Must(err)
		if event.Version != version || event.Terms().Fingerprint() != terms(version).Fingerprint() || event.Totals != (layout.Totals{}) || event.Branch == "" {
			t.Errorf("%d changes: %+v, want version %d", n, event, version)
		}
		if reads != want {
			t.Errorf("%d changes: %d reads, want %d", n, reads, want)
		}
		r.Must(event.CheckConservation())
	}
	// One that is another one at each look is not read for ever.
	sections := version
	next = func(n int64) domain.Terms {
		t := terms(sections)
		t.Name = fmt.Sprint("version ", n)
		return t
	}
	changes, reads = 1000, 0
	_, err = ns.Event(r.Ctx, "e1")
	r.WantClass(err, domain.ClassRetry)
	if changes = 0; reads != 100 {
		t.Errorf("given up after %d reads", reads)
	}
	// A change of what people do not read of it costs no third read.
	reads = 0
	r.Do("HSET", r.Keys.Events(0), layout.SalesField("e1"), "1|2|3")
	if event, err := ns.Event(r.Ctx, "e1"); err != nil || event.Totals != (layout.Totals{Orders: 1, TicketsSold: 2, Revenue: 3}) {
		t.Errorf("sales: %+v, %v", event.Totals, err)
	}
	if event, err := ns.Event(r.Ctx, "e2"); err != nil || event.Exists() || event.Totals != (layout.Totals{}) || event.Branch == "" {
		t.Errorf("an event that is not there: %+v, %v", event, err)
	}
	for field, value := range map[string]string{layout.AboutField("e1"): "", layout.SalesField("e1"): "", layout.SectionField("e1", "s0"): "", "e1": "1|o"} {
		was := r.Client.HGet(r.Ctx, r.Keys.Events(0), field).Val()
		r.Do("HSET", r.Keys.Events(0), field, value)
		_, err := ns.Event(r.Ctx, "e1")
		r.WantClass(err, domain.ClassPoison)
		r.Do("HSET", r.Keys.Events(0), field, was)
	}
}

// Orders are found in the hashes of their own event, in the one that it shares, and where a reader does not know
// yet that there is such an event; however many, in whatever partitions.
func TestOrdersOfManyHashes(t *testing.T) {
	ns, r := open(t, streamstest.Server().URL(), 2)
	events := make(map[string]int) // hashes of their own
	for i := range 40 {
		events[fmt.Sprint("event", i)] = []int{0, 3, 64}[i%3]
	}
	record := func(customer string) string {
		return streamstest.EncodeOrder(domain.Order{
			State: domain.OrderRejected, Version: "1-1", RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: customer, ResolvedAtMillis: 1, Reason: "sold_out",
		})
	}
	put := func(hash layout.OrderHash, ref domain.OrderRef, customer string) {
		r.Do("HSET", r.Keys.Orders(r.Keys.PartitionOf(ref.EventID), hash), ref.String(), record(customer))
	}
	want := make(map[domain.OrderRef]string) // customers
	var refs []domain.OrderRef
	for event, hashes := range events {
		r.Do("HSET", r.Keys.Events(r.Keys.PartitionOf(event)), event, layout.EventTerms{Version: 1, Currency: "EUR", OrderHashes: hashes}.String())
		for i := range 50 {
			ref := domain.OrderRef{EventID: event, OrderID: fmt.Sprint("o", i)}
			refs = append(refs, ref)
			switch i % 5 {
			case 0: // never heard of
			case 1: // from before its event
				put(r.Keys.SharedHash(event), ref, "early")
				want[ref] = "early"
			case 2: // what is in its own hash counts
				put(r.Keys.SharedHash(event), ref, "early")
				put(r.Keys.HashOf(ref, hashes), ref, "own")
				want[ref] = "own"
			default:
				put(r.Keys.HashOf(ref, hashes), ref, "own")
				want[ref] = "own"
			}
		}
	}
	unlisted := domain.OrderRef{EventID: "unlisted", OrderID: "o"}
	put(r.Keys.SharedHash("unlisted"), unlisted, "early")
	refs, want[unlisted] = append(refs, unlisted), "early"
	for range 3 { // the first time events are looked for
		orders, err := ns.Orders(r.Ctx, refs)
		r.Must(err)
		for i, o := range orders {
			if o.CustomerID != want[refs[i]] || (o.State == domain.OrderNone) != (want[refs[i]] == "") {
				t.Fatalf("%s is %+v, want %q", refs[i], o, want[refs[i]])
			}
		}
	}
	// Once it is listed it is looked for where it is then.
	if hashes, known := ns.Hashes.Of("unlisted"); known || hashes != 0 {
		t.Errorf("what is not there is remembered: %d", hashes)
	}
	r.Do("HSET", r.Keys.Events(r.Keys.PartitionOf("unlisted")), "unlisted", layout.EventTerms{Version: 1, Currency: "EUR", OrderHashes: 2}.String())
	put(r.Keys.HashOf(unlisted, 2), unlisted, "own")
	if orders, err := ns.Orders(r.Ctx, []domain.OrderRef{unlisted}); err != nil || orders[0].CustomerID != "own" {
		t.Errorf("got %+v, %v", orders, err)
	}

	var ids []string
	for p := range 2 {
		of, err := ns.EventIDs(r.Ctx, p)
		r.Must(err)
		ids = append(ids, of...)
	}
	if len(ids) != len(events)+1 || !slices.Contains(ids, "unlisted") {
		t.Errorf("%d events: %v", len(ids), ids)
	}
	r.Do("HSET", r.Keys.Events(r.Keys.PartitionOf("damaged")), "damaged", "1|o")
	_, err := ns.Orders(r.Ctx, []domain.OrderRef{{EventID: "damaged", OrderID: "o"}})
	r.WantClass(err, domain.ClassPoison)
	r.BreakKey(r.Keys.Orders(r.Keys.PartitionOf(unlisted.EventID), r.Keys.SharedHash(unlisted.EventID)))
	_, err = ns.Orders(r.Ctx, []domain.OrderRef{unlisted})
	r.WantClass(err, domain.ClassPoison)
}

// Of events beside one that is damaged it is known where their orders are.
func TestLearnHashesBesideADamagedEvent(t *testing.T) {
	url := streamstest.Server().URL()
	ns, r := open(t, url, 1)
	other, err := streams.Open(r.Ctx, url, streams.Options{})
	r.Must(err)
	t.Cleanup(func() { _ = other.Close() })
	refs := []domain.OrderRef{{EventID: "damaged"}}
	r.Do("HSET", ns.Keys.Events(0), layout.TermsField("damaged"), "x")
	for i := range 9 {
		id := fmt.Sprint("e", i)
		if _, err := other.Events().Create(r.Ctx, id, domain.Terms{Name: id, Currency: "EUR", Sections: []domain.SectionTerms{{Name: "s", Price: 1, Capacity: 1}}}); err != nil {
			t.Fatal(err)
		}
		refs = append(refs, domain.OrderRef{EventID: id})
	}
	r.WantClass(ns.LearnHashes(r.Ctx, refs, false), domain.ClassPoison)
	for _, ref := range refs[1:] {
		if _, known := ns.Hashes.Of(ref.EventID); !known {
			t.Errorf("%s is not known", ref.EventID)
		}
	}
	if _, known := ns.Hashes.Of("damaged"); known {
		t.Error("what is damaged is known")
	}
}
