package streams

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/domain"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// factOf is the fact of a type about an order.
func (f *fixture) factOf(kind domain.FactType, event, order string) domain.Fact {
	f.Helper()
	facts, _ := f.facts()
	for _, fact := range facts {
		if fact.Type == kind && fact.Ref() == ref(event, order) {
			return fact
		}
	}
	f.Fatalf("no fact %s of %s/%s", kind, event, order)
	return domain.Fact{}
}

func (f *fixture) post(facts ...domain.Fact) {
	f.Helper()
	f.Must(f.ledger.Post(f.Ctx, 0, entriesOf(facts), facts))
}

// entriesOf are the ids of the entries that facts stand in.
func entriesOf(facts []domain.Fact) (ids []string) {
	for _, fact := range facts {
		ids = append(ids, fact.ID)
	}
	return slices.Compact(ids)
}

func (f *fixture) cancel(event, order string) {
	f.Helper()
	f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref(event, order)}}))
}

func (f *fixture) wantSales(event string, want inspect.Totals) {
	f.Helper()
	if totals, err := f.inspector.Sales(f.Ctx, event); err != nil || totals != want {
		f.Errorf("sales of %s: %+v, %v, want %+v", event, totals, err, want)
	}
}

func (f *fixture) wantInvoices(customer string, want ...inspect.InvoiceLine) {
	f.Helper()
	lines, err := f.inspector.Invoices(f.Ctx, customer)
	f.Must(err)
	if !slices.Equal(lines, want) {
		f.Errorf("invoices of %s:\n%+v\nwant\n%+v", customer, lines, want)
	}
}

// TestPost: confirmed orders of several events get their lines, and then their entries are acknowledged. What is
// sold was counted when they were confirmed.
func TestPost(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.list("e2", terms(10, func(t *domain.Terms) { t.Currency = "JPY" }))
	f.confirmed("e1", "o1", "fred", 2)
	f.confirmed("e2", "o1", "fred", 3)
	f.confirmed("e1", "o2", "mary", 1)
	f.Deliver(domain.GroupPosting, "w1")
	f.Deliver(domain.GroupSettlement, "w1")
	settlement := f.Pending(domain.GroupSettlement)
	f.wantSales("e1", inspect.Totals{Orders: 2, TicketsSold: 3, Revenue: 3000})
	f.wantSales("e2", inspect.Totals{Orders: 1, TicketsSold: 3, Revenue: 3000})
	f.wantInvoices("fred")
	state := f.Dump()
	a, b, c := f.factOf("confirmed", "e1", "o1"), f.factOf("confirmed", "e2", "o1"), f.factOf("confirmed", "e1", "o2")

	batch := []domain.Fact{a, b, a, c} // one of them twice
	f.post(batch...)
	f.wantInvoices("fred",
		inspect.InvoiceLine{OrderID: "o1", EventID: "e1", Section: "general", Quantity: 2, Amount: 2000, Currency: "EUR", ConfirmedAtMillis: a.AtMillis, Status: "confirmed", Items: a.Items},
		inspect.InvoiceLine{OrderID: "o1", EventID: "e2", Section: "general", Quantity: 3, Amount: 3000, Currency: "JPY", ConfirmedAtMillis: b.AtMillis, Status: "confirmed", Items: b.Items})
	f.wantInvoices("mary", inspect.InvoiceLine{OrderID: "o2", EventID: "e1", Section: "general", Quantity: 1, Amount: 1000, Currency: "EUR", ConfirmedAtMillis: c.AtMillis, Status: "confirmed", Items: c.Items})
	for _, fact := range batch {
		if slices.Contains(f.Pending(domain.GroupPosting), fact.ID) {
			t.Errorf("%s of %s is not acknowledged", fact.Type, fact.Ref())
		}
	}
	if left := len(f.Pending(domain.GroupPosting)); left != 8-3 {
		t.Errorf("%d entries are pending", left)
	}
	f.WantPending(domain.GroupSettlement, settlement...)
	f.WantSame(state, f.Keys.Log(0), f.Keys.Invoices("fred"), f.Keys.Invoices("mary")) // and no state changed

	posted := f.Dump()
	f.post(batch...)
	f.post(a)
	f.WantSame(posted)
}

// TestPostWhatCannotBeWritten: invoices of another type are an error that names the order; nothing is acknowledged, all
// other lines are written, and once that is mended the same posting does the rest.
func TestPostWhatCannotBeWritten(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.confirmed("e1", "o1", "fred", 1)
	f.confirmed("e1", "o2", "mary", 1)
	f.confirmed("e1", "o3", "zoe", 1)
	f.Deliver(domain.GroupPosting, "w1")
	pending := f.Pending(domain.GroupPosting)
	batch := []domain.Fact{f.factOf("confirmed", "e1", "o1"), f.factOf("confirmed", "e1", "o2"), f.factOf("confirmed", "e1", "o3")}
	f.Do("SET", f.Keys.Invoices("mary"), "no hash")
	err := f.ledger.Post(f.Ctx, 0, entriesOf(batch), batch)
	f.WantClass(err, domain.ClassPoison)
	if err == nil || !strings.Contains(err.Error(), "order e1/o2") {
		t.Errorf("it says %v, want it to name e1/o2", err)
	}
	f.WantPending(domain.GroupPosting, pending...)
	for customer, order := range map[string]string{"fred": "e1/o1", "zoe": "e1/o3"} {
		if is := f.Do("HEXISTS", f.Keys.Invoices(customer), order); is != int64(1) {
			t.Errorf("%s is not on the invoices of %s: %v", order, customer, is)
		}
	}
	f.Do("DEL", f.Keys.Invoices("mary"))
	f.post(batch...)
	if left := len(f.Pending(domain.GroupPosting)); left != len(pending)-3 {
		t.Errorf("%d entries are pending", left)
	}
}

// TestPostAndCancel: a confirmation is posted before or after its order is cancelled, once or again and again: the
// books are the same. What is cancelled is not sold from that step on.
func TestPostAndCancel(t *testing.T) {
	for name, steps := range map[string]string{
		"as it happened": "pc", "the confirmation is late": "cp", "again and again": "ppcpp", "only late": "cppp",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(10))
			f.confirmed("e1", "o0", "mary", 1)
			f.confirmed("e1", "o1", "fred", 2)
			f.Deliver(domain.GroupPosting, "w1")
			confirmed := f.factOf("confirmed", "e1", "o1")
			line := inspect.InvoiceLine{
				OrderID: "o1", EventID: "e1", Section: "general", Quantity: 2, Amount: 2000, Currency: "EUR", ConfirmedAtMillis: confirmed.AtMillis, Status: "confirmed", Items: confirmed.Items,
			}
			sales := inspect.Totals{Orders: 2, TicketsSold: 3, Revenue: 3000}
			posted := false
			for _, step := range steps {
				if step == 'p' {
					f.post(confirmed)
					posted = true
				} else {
					f.cancel("e1", "o1")
					line.Status, sales = "cancelled", inspect.Totals{Orders: 1, TicketsSold: 1, Revenue: 1000}
				}
				f.wantSales("e1", sales)
				if posted {
					f.wantInvoices("fred", line)
				}
			}
			if slices.Contains(f.Pending(domain.GroupPosting), confirmed.ID) {
				t.Error("the confirmation is not acknowledged")
			}
			f.wantLogFolds()
		})
	}
}

// TestPostOverALostPast: a failover may lose an order, or its confirmation, and keep its line, which is in another
// slot. It is shown if the order is that customer's and was confirmed, as it is then, and only then.
func TestPostOverALostPast(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.confirmed("e1", "o1", "fred", 2)
	f.post(f.factOf("confirmed", "e1", "o1"))
	f.confirmed("e1", "o2", "fred", 1)
	f.post(f.factOf("confirmed", "e1", "o2"))
	lines, err := f.inspector.Invoices(f.Ctx, "fred")
	f.Must(err)
	if len(lines) != 2 {
		t.Fatalf("lines %+v", lines)
	}
	is := f.record("e1", "o1")
	for _, lost := range []string{"", strings.Replace(is, "|fred|", "|mary|", 1)} {
		if f.setRecord("e1", "o1", lost); lost == "" {
			f.Do("HDEL", f.Keys.Orders(0, f.Keys.SharedHash("e1")), "e1/o1")
		}
		f.wantInvoices("fred", lines[1])
		f.wantInvoices("mary")
	}
	f.Do("HDEL", f.Keys.Orders(0, f.Keys.SharedHash("e1")), "e1/o1")
	f.WaitUntil(lines[1].ConfirmedAtMillis + 1) // the lines stand in the order of their times
	again := f.held("e1", "o1", "fred", 1, holdMillis)
	f.wantInvoices("fred", lines[1])
	f.resolve(approve(again.EntryID, "e1", "o1"))
	got, err := f.inspector.Invoices(f.Ctx, "fred")
	f.Must(err)
	if len(got) != 2 || got[0] != lines[1] || got[1].OrderID != "o1" || got[1].Quantity != 1 {
		t.Errorf("lines %+v", got)
	}
}

func TestPostManyItems(t *testing.T) {
	const items = 2*access.MaxBatch + 203
	f := newFixture(t)
	f.list("e1", terms(items))
	f.list("e2", terms(items))
	requests := make([][]string, items)
	resolutions := make([]domain.Resolution, items)
	for i := range requests {
		event := "e" + strconv.Itoa(1+i%2)
		requests[i] = purchase(event, "o"+strconv.Itoa(i), "c"+strconv.Itoa(i%7)+"."+strconv.Itoa(i), 1)
		resolutions[i] = approve("", event, "o"+strconv.Itoa(i))
	}
	f.holdBatch(f.arrive(requests...)...)
	f.resolve(resolutions...)
	f.wantSales("e1", inspect.Totals{Orders: items - items/2, TicketsSold: items - items/2, Revenue: (items - items/2) * 1000})
	f.wantSales("e2", inspect.Totals{Orders: items / 2, TicketsSold: items / 2, Revenue: items / 2 * 1000})
	f.Deliver(domain.GroupPosting, "w1")
	facts, _ := f.facts()
	posts := slices.DeleteFunc(facts, func(fact domain.Fact) bool { return fact.Type != domain.FactConfirmed })
	f.post(posts...)
	pending := f.Pending(domain.GroupPosting)
	for _, fact := range posts {
		if slices.Contains(pending, fact.ID) {
			t.Fatalf("%s is not acknowledged", fact.Name())
		}
	}
	customers := 0
	f.Must(f.inspector.EachInvoices(f.Ctx, func(_ string, lines []inspect.InvoiceLine) error {
		customers += len(lines)
		return nil
	}))
	if customers != items {
		t.Errorf("%d lines, want %d", customers, items)
	}
	cancels := make([]domain.Cancellation, items)
	for i, r := range resolutions {
		cancels[i] = domain.Cancellation{Ref: r.Ref}
	}
	f.Must(f.ledger.Cancel(f.Ctx, 0, cancels))
	f.wantSales("e1", inspect.Totals{})
	f.wantSales("e2", inspect.Totals{})
}

// TestSalesBigNumbers: revenue past 2^53 is exact, up and down. Each ticket was sold at the
// highest price that its event could ask then.
func TestSalesBigNumbers(t *testing.T) {
	const first, second, third = domain.MaxAmount, domain.MaxAmount / 2, domain.MaxAmount/3 - 1
	f := newFixture(t)
	f.list("e1", domain.Terms{Name: "E", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: first, Capacity: 1}}})
	f.confirmed("e1", "o1", "fred", 1)
	f.reprice("e1", second, 2)
	f.confirmed("e1", "o2", "mary", 1)
	f.reprice("e1", third, 3)
	f.confirmed("e1", "o3", "amy", 1)
	f.wantSales("e1", inspect.Totals{Orders: 3, TicketsSold: 3, Revenue: first + second + third})
	f.wantLogFolds()
	f.cancel("e1", "o1")
	f.wantSales("e1", inspect.Totals{Orders: 2, TicketsSold: 2, Revenue: second + third})
	f.wantLogFolds()
}

func (f *fixture) reprice(event string, price, capacity int64) {
	f.Helper()
	_, err := f.events.Adjust(f.Ctx, event, func(t domain.Terms) (domain.Terms, error) {
		t.Sections = []domain.SectionTerms{{Name: "general", Price: price, Capacity: capacity}}
		return t, nil
	})
	f.Must(err)
}

// TestRevenueIsExact holds the sums of the scripts against math/big, from 0 to 2^63-1. A batch that
// would go past that is poison, and changes nothing.
func TestRevenueIsExact(t *testing.T) {
	const orders = 12
	f := newFixture(t)
	largest, events := big.NewInt(math.MaxInt64), 0
	around := func(n int64) *rapid.Generator[int64] {
		return rapid.Int64Range(n-min(n, 2000), n+min(math.MaxInt64-n, 2000))
	}
	bases := rapid.OneOf(rapid.Just(int64(0)), around(1e12), around(1<<53), around(1<<62), around(math.MaxInt64-domain.MaxAmount), around(math.MaxInt64))
	amounts := rapid.OneOf(rapid.Int64Range(0, domain.MaxAmount), rapid.Int64Range(domain.MaxAmount-5, domain.MaxAmount), rapid.Int64Range(0, 5), rapid.Int64Range(1e12-2, 1e12+2))
	rapid.Check(t, func(rt *rapid.T) {
		events++
		event := "e" + strconv.Itoa(events)
		f.list(event, terms(orders))
		var requests [][]string
		for i := range orders {
			requests = append(requests, purchase(event, "o"+strconv.Itoa(i), "c"+strconv.Itoa(i), 1))
		}
		f.holdBatch(f.arrive(requests...)...)
		amount := make([]int64, orders)
		for i := range amount {
			amount[i] = amounts.Draw(rt, "amount")
			order := "o" + strconv.Itoa(i)
			f.setRecord(event, order, strings.Replace(f.record(event, order), "|general:1:1000|", "|general:1:"+strconv.FormatInt(amount[i], 10)+"|", 1))
		}
		revenue := big.NewInt(bases.Draw(rt, "base"))
		f.Do("HSET", f.Keys.Events(0), layout.SalesField(event), "0|0|"+revenue.String())
		state := make([]domain.OrderState, orders)
		confirmed := int64(0)
		for range rapid.IntRange(1, 12).Draw(rt, "batches") {
			batch := rapid.SliceOfNDistinct(rapid.IntRange(0, orders-1), 1, orders, rapid.ID).Draw(rt, "batch")
			end := rapid.SampledFrom([]domain.OrderState{domain.OrderConfirmed, domain.OrderConfirmed, domain.OrderCancelled}).Draw(rt, "end")
			after, count, next := new(big.Int).Set(revenue), confirmed, slices.Clone(state)
			var resolutions []domain.Resolution
			var cancels []domain.Cancellation
			for _, i := range batch {
				order := "o" + strconv.Itoa(i)
				resolutions = append(resolutions, domain.Resolution{Attempt: 1, Ref: ref(event, order), Order: f.order(event, order), Outcome: domain.PaymentApproved})
				cancels = append(cancels, domain.Cancellation{Ref: ref(event, order)})
				switch {
				case end == domain.OrderConfirmed && state[i] == domain.OrderNone:
					after.Add(after, big.NewInt(amount[i]))
					count++
					next[i] = end
				case end == domain.OrderCancelled && state[i] == domain.OrderConfirmed:
					after.Sub(after, big.NewInt(amount[i]))
					count--
					next[i] = end
				case end == domain.OrderCancelled:
					next[i] = end
				}
			}
			var err error
			if end == domain.OrderCancelled {
				err = f.ledger.Cancel(f.Ctx, 0, cancels)
			} else {
				_, _, err = f.ledger.Resolve(f.Ctx, 0, resolutions)
			}
			switch {
			case after.Cmp(largest) > 0:
				if domain.ClassOf(err) != domain.ClassPoison || !strings.Contains(err.Error(), "would go below 0 or past 9223372036854775807") {
					rt.Fatalf("%s to %s: %v", end, after, err)
				}
			case err != nil:
				rt.Fatalf("%s to %s: %v", end, after, err)
			default:
				revenue, confirmed, state = after, count, next
			}
			totals, err := f.inspector.Sales(f.Ctx, event)
			if err != nil || revenue.Cmp(big.NewInt(totals.Revenue)) != 0 || totals.Orders != confirmed || totals.TicketsSold != confirmed {
				rt.Fatalf("%s: sales %+v, %v, want %d and %s", end, totals, err, confirmed, revenue)
			}
			if sold := f.section(event, "general")[2]; sold != confirmed {
				rt.Fatalf("%s: %d sold, want %d", end, sold, confirmed)
			}
		}
	})
}

// TestRevenueAtTheTop: the last minor unit that can be counted is, and the next is not.
func TestRevenueAtTheTop(t *testing.T) {
	f := newFixture(t)
	for over := range int64(2) {
		event := "e" + strconv.FormatInt(over, 10)
		f.list(event, terms(10))
		f.held(event, "o1", "fred", 2, holdMillis)
		order := f.order(event, "o1")
		f.Do("HSET", f.Keys.Events(0), layout.SalesField(event), layout.Totals{Orders: 1, TicketsSold: 1, Revenue: math.MaxInt64 - 2000 + over}.String())
		_, _, err := f.ledger.Resolve(f.Ctx, 0, []domain.Resolution{{Attempt: 1, Ref: ref(event, "o1"), Order: order, Outcome: domain.PaymentApproved}})
		if over > 0 {
			f.WantClass(err, domain.ClassPoison)
			f.wantSales(event, inspect.Totals{Orders: 1, TicketsSold: 1, Revenue: math.MaxInt64 - 1999})
			continue
		}
		f.Must(err)
		f.wantSales(event, inspect.Totals{Orders: 2, TicketsSold: 3, Revenue: math.MaxInt64})
	}
}

// TestDamagedSales: what cannot be counted on stops a confirmation before anything is written.
func TestDamagedSales(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.held("e1", "o1", "fred", 1, holdMillis)
	resolution := approve(a.EntryID, "e1", "o1")
	resolution.Order = f.order("e1", "o1")
	for _, raw := range []string{"", "1", "1|2|-3", "1|2|1e+16", "a|b|c", "1|2|3|4", "1|2|9223372036854775808", "1|2|" + strings.Repeat("9", 400), "1|2|9223372036854775807"} {
		f.Do("HSET", f.Keys.Events(0), layout.SalesField("e1"), raw)
		before := f.Dump()
		_, _, err := f.ledger.Resolve(f.Ctx, 0, []domain.Resolution{resolution})
		f.WantClass(err, domain.ClassPoison)
		f.WantSame(before)
	}
}
