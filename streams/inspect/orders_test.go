package inspect

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/redistest"
)

// history is a namespace of three partitions with orders of many, made directly.
type history struct {
	*fixture
	refs []domain.OrderRef // the oldest first
	came map[domain.OrderRef]int64
}

// eventIn is an event that lives in a partition.
func (f *fixture) eventIn(p int) string {
	for i := 0; ; i++ {
		if id := "event" + strconv.Itoa(i); f.Keys.PartitionOf(id) == p {
			return id
		}
	}
}

var historyStates = []domain.OrderState{domain.OrderHeld, domain.OrderConfirmed, domain.OrderDeclined, domain.OrderExpired, domain.OrderCancelled, domain.OrderRejected}

// newHistory is of orders that come in batches of up to four, in two of three partitions, more than
// one page of each.
func newHistory(t *testing.T) *history {
	t.Helper()
	h := &history{openFixtureOf(t, streamstest.Server().URL(), 3), nil, make(map[domain.OrderRef]int64)}
	const batches, began = 2000, 1_700_000_000_000
	random := rand.New(rand.NewPCG(1, 2))
	pipe := h.Client.Pipeline()
	for i := range batches {
		p := 2 * random.IntN(2)
		at := int64(began + i*10)
		var fields []string
		for j := range 1 + random.IntN(4) {
			n := len(h.refs)
			ref := domain.OrderRef{EventID: h.eventIn(p), OrderID: fmt.Sprintf("o%d-%d", i, j)}
			o := domain.Order{State: historyStates[n%len(historyStates)], CustomerID: "c" + strconv.Itoa(n%7), HeldAtMillis: at, ResolvedAtMillis: at}
			fact := domain.Fact{Type: domain.FactHeld, EventID: ref.EventID, OrderID: ref.OrderID, CustomerID: o.CustomerID}
			switch {
			case o.State == domain.OrderRejected:
				fact.Type, o.HeldAtMillis = domain.FactRejected, 0
			case o.State == domain.OrderCancelled && n%2 == 0: // before it came
				fact = domain.Fact{Type: domain.FactCancelled, EventID: ref.EventID, OrderID: ref.OrderID, Reason: "requested"}
				o.CustomerID, o.HeldAtMillis = "", 0
			}
			fields = append(fields, wire.FactFields(fact)...)
			pipe.Set(h.Ctx, h.Keys.Order(p, ref), streamstest.EncodeOrder(o), 0)
			h.refs, h.came[ref] = append(h.refs, ref), at
			if o.State == domain.OrderConfirmed || o.State == domain.OrderCancelled && o.HeldAtMillis > 0 {
				pipe.HSet(h.Ctx, h.Keys.Invoices(o.CustomerID), ref.String(), `{"section":"general","quantity":1,"amount":0,"currency":"EUR","confirmed_at":1,"status":"confirmed"}`)
			}
		}
		pipe.XAdd(h.Ctx, &redis.XAddArgs{Stream: h.Keys.Log(p), ID: strconv.FormatInt(at, 10) + "-1", Values: fields})
		// What happens to orders later is not when they came.
		pipe.XAdd(h.Ctx, &redis.XAddArgs{Stream: h.Keys.Log(p), ID: strconv.FormatInt(at, 10) + "-2", Values: []string{"expired", h.refs[len(h.refs)-1].String()}})
	}
	_, err := pipe.Exec(h.Ctx)
	h.Must(err)
	return h
}

func (h *history) order(ref domain.OrderRef) domain.Order {
	h.Helper()
	orders, err := h.inspector.ns.Orders(h.Ctx, []domain.OrderRef{ref})
	h.Must(err)
	return orders[0]
}

// want is what a filter chooses, by going through all of them.
func (h *history) want(filter OrderFilter, orders map[domain.OrderRef]domain.Order) (refs []domain.OrderRef) {
	for _, ref := range h.refs {
		o := orders[ref]
		if (filter.EventID == "" || ref.EventID == filter.EventID) && (filter.CustomerID == "" || o.CustomerID == filter.CustomerID) &&
			(len(filter.States) == 0 || slices.Contains(filter.States, o.State)) && h.came[ref] >= filter.SinceMillis {
			refs = append(refs, ref)
		}
	}
	if !filter.OldestFirst {
		slices.Reverse(refs)
	}
	return refs
}

func (h *history) all() map[domain.OrderRef]domain.Order {
	h.Helper()
	orders := make(map[domain.OrderRef]domain.Order, len(h.refs))
	for _, ref := range h.refs {
		orders[ref] = h.order(ref)
	}
	return orders
}

// Orders of all partitions come by time, either way, whatever is chosen.
func TestEachOrderByTime(t *testing.T) {
	h := newHistory(t)
	orders := h.all()
	middle := h.came[h.refs[len(h.refs)/2]]
	for name, filter := range map[string]OrderFilter{
		"all":         {},
		"an event":    {EventID: h.eventIn(2)},
		"no event":    {EventID: h.eventIn(1)},
		"a customer":  {CustomerID: "c3"},
		"states":      {States: []domain.OrderState{domain.OrderHeld, domain.OrderDeclined}},
		"since":       {SinceMillis: middle},
		"since later": {SinceMillis: middle + 1},
		"several":     {EventID: h.eventIn(0), CustomerID: "c1", States: []domain.OrderState{domain.OrderConfirmed}, SinceMillis: middle},
	} {
		for _, oldestFirst := range []bool{false, true} {
			filter.OldestFirst = oldestFirst
			read := 0
			filter.Progress = func(entries int) { read += entries }
			var got []domain.OrderRef
			h.Must(h.inspector.EachOrder(h.Ctx, filter, func(ref domain.OrderRef, o domain.Order) error {
				if o != orders[ref] {
					t.Errorf("%s: %s is %+v, want %+v", name, ref, o, orders[ref])
				}
				got = append(got, ref)
				return nil
			}))
			if want := h.want(filter, orders); !slices.Equal(got, want) {
				t.Errorf("%s, oldest first %t: %d orders, want %d\n%v\n%v", name, oldestFirst, len(got), len(want), got[:min(9, len(got))], want[:min(9, len(want))])
			}
			most, err := h.inspector.LogEntries(h.Ctx, filter)
			h.Must(err)
			if filter.SinceMillis == 0 && int64(read) != most || int64(read) > most {
				t.Errorf("%s: %d of %d entries were read", name, read, most)
			}
		}
	}
	// It ends where its caller does, long before the end of the log.
	stop, read := errors.New("stop"), 0
	err := h.inspector.EachOrder(h.Ctx, OrderFilter{Progress: func(n int) { read += n }}, func(domain.OrderRef, domain.Order) error { return stop })
	if !errors.Is(err, stop) || read > 600 {
		t.Errorf("%v after %d entries", err, read)
	}
	h.Do("XADD", h.Keys.Log(1), "*", "no such", "fact")
	err = h.inspector.EachOrder(h.Ctx, OrderFilter{}, func(domain.OrderRef, domain.Order) error { return nil })
	h.WantClass(err, domain.ClassPoison)
}

// What a customer ever had confirmed is found without the log, and is the same.
func TestEachOrderOnInvoices(t *testing.T) {
	h := newHistory(t)
	orders := h.all()
	for _, filter := range []OrderFilter{
		{CustomerID: "c3"},
		{CustomerID: "c3", OldestFirst: true},
		{CustomerID: "c3", EventID: h.eventIn(2)},
		{CustomerID: "nobody"},
		{CustomerID: "c3", SinceMillis: h.came[h.refs[len(h.refs)/2]]},
		{CustomerID: "c3", States: []domain.OrderState{domain.OrderConfirmed}},
	} {
		at := func(ref domain.OrderRef) string { // orders of one moment have no order here
			return fmt.Sprint(h.came[ref], " ", ref)
		}
		var got, want []string
		h.Must(h.inspector.EachOrderOnInvoices(h.Ctx, filter, func(ref domain.OrderRef, o domain.Order) error {
			if o != orders[ref] {
				t.Errorf("%s is %+v, want %+v", ref, o, orders[ref])
			}
			got = append(got, at(ref))
			return nil
		}))
		for _, ref := range h.want(filter, orders) {
			if o := orders[ref]; o.State == domain.OrderConfirmed || o.State == domain.OrderCancelled && o.HeldAtMillis > 0 {
				want = append(want, at(ref))
			}
		}
		slices.Sort(want)
		if !filter.OldestFirst {
			slices.Reverse(want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %d orders, want %d", filter, len(got), len(want))
		}
	}
	// A line that a failover left behind, of an order that is not there.
	h.Do("HSET", h.Keys.Invoices("lost"), h.eventIn(0)+"/gone", "{}")
	h.Must(h.inspector.EachOrderOnInvoices(h.Ctx, OrderFilter{CustomerID: "lost"}, func(ref domain.OrderRef, _ domain.Order) error {
		t.Errorf("%s is there", ref)
		return nil
	}))
}

// The invoices of all customers come once each, those of other namespaces not at all.
func TestEachInvoices(t *testing.T) {
	f := newFixture(t)
	want := make(map[string]int)
	pipe := f.Client.Pipeline()
	for i := range 3500 {
		customer := "c" + strconv.Itoa(i)
		for j := range 1 + i%3 {
			pipe.HSet(f.Ctx, f.Keys.Invoices(customer), fmt.Sprintf("e/o%d-%d", i, j), fmt.Sprintf(`{"section":"general","quantity":1,"amount":2,"currency":"EUR","confirmed_at":%d,"status":"confirmed"}`, 10-j))
			want[customer]++
		}
		pipe.HSet(f.Ctx, layout.NewKeys("holdfast2", 1).Invoices(customer), "e/o", "{}")
	}
	_, err := pipe.Exec(f.Ctx)
	f.Must(err)
	got := make(map[string]int)
	f.Must(f.inspector.EachInvoices(f.Ctx, func(customer string, lines []InvoiceLine) error {
		got[customer] += len(lines)
		for i, l := range lines {
			if !strings.HasPrefix(l.OrderID, "o"+customer[1:]+"-") || i > 0 && l.ConfirmedAtMillis < lines[i-1].ConfirmedAtMillis {
				t.Errorf("%s: %+v", customer, lines)
			}
		}
		return nil
	}))
	if len(got) != len(want) {
		t.Errorf("%d customers, want %d", len(got), len(want))
	}
	for customer, n := range want {
		if got[customer] != n {
			t.Errorf("%s has %d lines, want %d", customer, got[customer], n)
		}
	}
	// SCAN may name a key twice, in one reply or in two.
	seen, times, key := make(map[string]bool), 0, f.Keys.Invoices("c1")
	for _, keys := range [][]string{{key, key}, {key}} {
		f.Must(f.inspector.eachInvoices(f.Ctx, keys, seen, func(string, []InvoiceLine) error { times++; return nil }))
	}
	if times != 1 {
		t.Errorf("c1 came %d times", times)
	}
	stop := errors.New("stop")
	if err := f.inspector.EachInvoices(f.Ctx, func(string, []InvoiceLine) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	f.Do("HSET", f.Keys.Invoices("c0"), "e/o", "{")
	f.WantClass(f.inspector.EachInvoices(f.Ctx, func(string, []InvoiceLine) error { return nil }), domain.ClassPoison)
}

// All of it works where the partitions and the customers are on several servers.
func TestCluster(t *testing.T) {
	t.Parallel()
	f := openFixtureOf(t, redistest.StartCluster(t, 3).URL(), 4)
	var letters []string
	for p := range 4 {
		event := f.eventIn(p)
		ref := domain.OrderRef{EventID: event, OrderID: "o"}
		fact := wire.FactFields(domain.Fact{Type: domain.FactHeld, EventID: event, OrderID: "o", CustomerID: event})
		f.Do("XADD", f.Keys.Log(p), fmt.Sprintf("%d-0", 1000+p), fact[0], fact[1])
		f.Do("SET", f.Keys.Order(p, ref), streamstest.EncodeOrder(domain.Order{State: domain.OrderConfirmed, CustomerID: event, HeldAtMillis: int64(1000 + p)}))
		f.Do("HSET", f.Keys.Invoices(event), ref.String(), `{"section":"general","quantity":1,"amount":2,"currency":"EUR","confirmed_at":1,"status":"confirmed"}`)
		wrong := (p + 1) % 4
		id := f.letter(wrong, "requests", "workers", "v", "1", "type", "cancel", "event_id", event, "order_id", "o")
		letters = append(letters, id)
	}
	var got []string
	f.Must(f.inspector.EachOrder(f.Ctx, OrderFilter{}, func(ref domain.OrderRef, _ domain.Order) error {
		got = append(got, ref.EventID)
		return nil
	}))
	if want := []string{f.eventIn(3), f.eventIn(2), f.eventIn(1), f.eventIn(0)}; !slices.Equal(got, want) {
		t.Errorf("orders of %v, want %v", got, want)
	}
	customers := 0
	f.Must(f.inspector.EachInvoices(f.Ctx, func(customer string, lines []InvoiceLine) error {
		customers++
		return f.inspector.EachOrderOnInvoices(f.Ctx, OrderFilter{CustomerID: customer}, func(ref domain.OrderRef, _ domain.Order) error {
			if len(lines) != 1 || lines[0].EventID != ref.EventID {
				t.Errorf("%s: %+v, %s", customer, lines, ref)
			}
			return nil
		})
	}))
	s, err := f.inspector.Status(f.Ctx, Look{Entries: 10, Probe: true})
	f.Must(err)
	if customers != 4 || len(s.Groups) != 12 || len(s.Refusals) != 0 || s.Unseen != nil {
		t.Errorf("%d customers, status %+v", customers, s)
	}
	for i, handled := range f.inspector.Reroute(f.Ctx, letters...) {
		if handled.Err != nil || handled.ID != letters[i] {
			t.Errorf("%+v", handled)
		}
		if n := f.Do("XLEN", f.Keys.Requests(i)); n != int64(1) {
			t.Errorf("partition %d has %v requests", i, n)
		}
	}
	f.Must(f.store.Ledger().NoteReplaced(f.Ctx, "w", errors.New("x")))
	if forgot, err := f.inspector.ForgetReplaced(f.Ctx); err != nil || forgot == nil {
		t.Errorf("%+v, %v", forgot, err)
	}
	// One master refuses; which is told.
	master := f.inspector.ns.Client.(*redis.ClusterClient)
	owner, err := master.MasterForKey(f.Ctx, f.Keys.Requests(2))
	f.Must(err)
	f.Must(owner.ConfigSet(f.Ctx, "maxmemory", "1").Err())
	f.Eventually("the refusal is seen", func() bool {
		refusals, err := f.inspector.Refusals(f.Ctx, true)
		f.Must(err)
		return len(refusals) == 1 && refusals[0].Addr == owner.Options().Addr && strings.HasPrefix(refusals[0].Reason, "OOM")
	})
}
