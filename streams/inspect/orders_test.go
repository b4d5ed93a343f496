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

// put stores an order whose event has no hashes of its own.
func (f *fixture) put(pipe redis.Cmdable, ref domain.OrderRef, o domain.Order) {
	pipe.HSet(f.Ctx, f.Keys.Orders(f.Keys.PartitionOf(ref.EventID), f.Keys.SharedHash(ref.EventID)), ref.String(), streamstest.EncodeOrder(o))
}

// invoice puts an order on a customer's invoices.
func (f *fixture) invoice(pipe redis.Cmdable, customer, name string) {
	pipe.HSet(f.Ctx, f.Keys.Invoices(customer), name, "")
}

// confirmed is a customer's order that was confirmed then.
func confirmed(customer string, at int64) domain.Order {
	return domain.Order{
		State: domain.OrderConfirmed, Version: fmt.Sprintf("%d-1", at), RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: customer,
		Items: "general:1:2", Currency: "EUR", HeldAtMillis: at - 1, DeadlineMillis: at + 1, ConfirmedAtMillis: at, ResolvedAtMillis: at,
	}
}

// newHistory is of orders that come in batches of up to four, in two of three partitions, more than
// one page of each.
func newHistory(t *testing.T) *history {
	t.Helper()
	h := &history{openFixtureOf(t, streamstest.Server().URL(), 3), nil, make(map[domain.OrderRef]int64)}
	const batches, began = 2000, 1_700_000_000_000
	states := map[domain.FactType][]domain.OrderState{ // what becomes of an order, by its first fact
		domain.FactHeld:      {domain.OrderHeld, domain.OrderConfirmed, domain.OrderDeclined, domain.OrderExpired, domain.OrderCancelled},
		domain.FactRejected:  {domain.OrderRejected},
		domain.FactCancelled: {domain.OrderCancelled}, // before it came
	}
	random := rand.New(rand.NewPCG(1, 2))
	pipe := h.Client.Pipeline()
	for i := range batches {
		p := 2 * random.IntN(2)
		at := int64(began + i*10)
		kind := []domain.FactType{domain.FactHeld, domain.FactHeld, domain.FactRejected, domain.FactCancelled}[random.IntN(4)]
		var lines []string
		for j := range 1 + random.IntN(4) {
			n := len(h.refs)
			ref := domain.OrderRef{EventID: h.eventIn(p), OrderID: fmt.Sprintf("o%d-%d", i, j)}
			first := domain.Fact{ID: fmt.Sprintf("%d-1", at), AtMillis: at, Type: kind, EventID: ref.EventID, OrderID: ref.OrderID, Reason: "requested"}
			if kind != domain.FactCancelled {
				first.RequestType, first.Fingerprint, first.CustomerID, first.Items = domain.RequestHold, "fp", "c"+strconv.Itoa(n%7), "general:1:0"
			}
			if kind == domain.FactHeld {
				first.Reason, first.Currency, first.DeadlineMillis = "", "EUR", at+60_000
			}
			o, _, err := domain.Order{}.After(first)
			h.Must(err)
			if ends := states[kind]; ends[n%len(ends)] != o.State {
				o.State, o.Version, o.ResolvedAtMillis = ends[n%len(ends)], fmt.Sprintf("%d-2", at+1), at+1
				if o.State == domain.OrderConfirmed || o.State == domain.OrderCancelled && n%2 == 0 {
					o.ConfirmedAtMillis = at + 1
				}
			}
			lines = append(lines, wire.FactLine(first))
			h.put(pipe, ref, o)
			h.refs, h.came[ref] = append(h.refs, ref), at
			if o.ConfirmedAtMillis > 0 {
				h.invoice(pipe, o.CustomerID, ref.String())
			}
		}
		pipe.XAdd(h.Ctx, &redis.XAddArgs{Stream: h.Keys.Log(p), ID: strconv.FormatInt(at, 10) + "-1", Values: []string{string(kind), strings.Join(lines, "\n")}})
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

// wantOrders checks that a filter tells what it chooses, in order, as it is stored.
func (h *history) wantOrders(name string, filter OrderFilter, orders map[domain.OrderRef]domain.Order) {
	h.Helper()
	var got []domain.OrderRef
	h.Must(h.inspector.EachOrder(h.Ctx, filter, func(ref domain.OrderRef, o domain.Order) error {
		if o != orders[ref] {
			h.Errorf("%s: %s is %+v, want %+v", name, ref, o, orders[ref])
		}
		got = append(got, ref)
		return nil
	}))
	if want := h.want(filter, orders); !slices.Equal(got, want) {
		h.Errorf("%s: %d orders, want %d\n%v\n%v", name, len(got), len(want), got[:min(9, len(got))], want[:min(9, len(want))])
	}
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
			h.wantOrders(fmt.Sprintf("%s, oldest first %t", name, oldestFirst), filter, orders)
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

// Of one event all orders are told, by time, either way, wherever its log begins: of those that came before, as of an event that was recalled before, no fact is left.
func TestEachOrderOfATrimmedLog(t *testing.T) {
	h := newHistory(t)
	orders := h.all()
	middle := h.came[h.refs[len(h.refs)/2]]
	for p := range 3 {
		if last := h.Client.XRevRangeN(h.Ctx, h.Keys.Log(p), "+", "-", 1).Val(); len(last) == 1 {
			h.Do("XTRIM", h.Keys.Log(p), "MINID", last[0].ID)
			h.Do("HSET", h.Keys.Events(p), layout.TrimmedField, last[0].ID)
		}
	}
	for name, filter := range map[string]OrderFilter{
		"an event":   {EventID: h.eventIn(2)},
		"no event":   {EventID: h.eventIn(1)},
		"a customer": {EventID: h.eventIn(0), CustomerID: "c3"},
		"several":    {EventID: h.eventIn(0), CustomerID: "c1", States: []domain.OrderState{domain.OrderConfirmed, domain.OrderRejected}, SinceMillis: middle},
	} {
		for _, oldestFirst := range []bool{false, true} {
			filter.OldestFirst = oldestFirst
			h.wantOrders(fmt.Sprintf("%s, oldest first %t", name, oldestFirst), filter, orders)
		}
	}
	err := h.inspector.EachOrder(h.Ctx, OrderFilter{}, func(domain.OrderRef, domain.Order) error { return nil })
	if domain.CodeOf(err) != domain.CodeLogTrimmed {
		t.Errorf("of all events: %v", err)
	}
}

// What a customer ever had confirmed is found without the log, and is the same.
func TestEachOrderOnInvoices(t *testing.T) {
	h := newHistory(t)
	orders := h.all()
	// Lines that say nothing: of somebody else's order, of one that was never confirmed, of one that is not there.
	for _, ref := range h.refs {
		if o := orders[ref]; o.CustomerID == "c4" && o.ConfirmedAtMillis > 0 || o.CustomerID == "c3" && o.State == domain.OrderDeclined {
			h.invoice(h.Client, "c3", ref.String())
		}
	}
	h.invoice(h.Client, "c3", h.eventIn(2)+"/gone")
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
			if orders[ref].ConfirmedAtMillis > 0 {
				want = append(want, at(ref))
			}
		}
		if filter.CustomerID == "c3" && len(want) == 0 {
			t.Errorf("%+v: this tests nothing", filter)
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
	h.invoice(h.Client, "lost", h.eventIn(0)+"/gone")
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
			ref := domain.OrderRef{EventID: "e", OrderID: fmt.Sprintf("o%d-%d", i, j)}
			f.put(pipe, ref, confirmed(customer, int64(10-j)))
			f.invoice(pipe, customer, ref.String())
			want[customer]++
		}
		// Lines that say nothing: of somebody else's order, of one that is not there.
		f.invoice(pipe, customer, fmt.Sprintf("e/o%d-0", (i+1)%3500))
		f.invoice(pipe, customer, "e/gone")
		pipe.HSet(f.Ctx, layout.NewKeys("holdfast2", 1).Invoices(customer), "e/o"+strconv.Itoa(i)+"-0", "")
	}
	// Who has only such lines does not come.
	f.invoice(pipe, "nobody", "e/gone")
	f.invoice(pipe, "thief", "e/o1-0")
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
	f.invoice(f.Client, "c0", "e")
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
		held := domain.Fact{
			Type: domain.FactHeld, EventID: event, OrderID: "o", RequestType: domain.RequestHold, CustomerID: event, Items: "general:1:0", Currency: "EUR",
		}
		f.Do("XADD", f.Keys.Log(p), fmt.Sprintf("%d-0", 1000+p), string(held.Type), wire.FactLine(held))
		f.put(f.Client, ref, confirmed(event, int64(1000+p)))
		f.invoice(f.Client, event, ref.String())
		wrong := (p + 1) % 4
		id := f.letter(wrong, "requests", "purchase", "v", "1", "type", "cancel", "event_id", event, "order_id", "o")
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
