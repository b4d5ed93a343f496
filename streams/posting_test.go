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
	f.Must(f.ledger.Post(f.Ctx, 0, facts))
}

func (f *fixture) cancel(event, order string) {
	f.Helper()
	f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref(event, order)}}))
}

func (f *fixture) wantSales(event string, want inspect.Totals, orders ...string) {
	f.Helper()
	totals, err := f.inspector.Sales(f.Ctx, event)
	f.Must(err)
	members, err := f.Client.SMembers(f.Ctx, f.Keys.Sales(0, event)).Result()
	f.Must(err)
	slices.Sort(members)
	if totals != want || !slices.Equal(members, orders) {
		f.Errorf("sales of %s: %+v, %v, want %+v, %v", event, totals, members, want, orders)
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

// TestPost: confirmed orders of several events, once each, together with the acknowledgement.
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
	state := f.Dump()
	a, b, c := f.factOf("confirmed", "e1", "o1"), f.factOf("confirmed", "e2", "o1"), f.factOf("confirmed", "e1", "o2")

	batch := []domain.Fact{a, b, a, c, f.factOf("held", "e1", "o1")} // one of them twice, one that posts nothing
	f.post(batch...)
	f.wantSales("e1", inspect.Totals{Orders: 2, TicketsSold: 3, Revenue: 3000}, "o1", "o2")
	f.wantSales("e2", inspect.Totals{Orders: 1, TicketsSold: 3, Revenue: 3000}, "o1")
	f.wantInvoices("fred",
		inspect.InvoiceLine{OrderID: "o1", EventID: "e1", Section: "general", Quantity: 2, Amount: 2000, Currency: "EUR", ConfirmedAtMillis: a.AtMillis, Status: "confirmed"},
		inspect.InvoiceLine{OrderID: "o1", EventID: "e2", Section: "general", Quantity: 3, Amount: 3000, Currency: "JPY", ConfirmedAtMillis: b.AtMillis, Status: "confirmed"})
	f.wantInvoices("mary", inspect.InvoiceLine{OrderID: "o2", EventID: "e1", Section: "general", Quantity: 1, Amount: 1000, Currency: "EUR", ConfirmedAtMillis: c.AtMillis, Status: "confirmed"})
	if got, want := f.Do("HGET", "holdfast:invoices:{mary}", "e1/o2"), `{"section":"general","quantity":1,"amount":1000,"currency":"EUR","confirmed_at":`+strconv.FormatInt(c.AtMillis, 10)+`,"status":"confirmed"}`; got != want {
		t.Errorf("line %s, want %s", got, want)
	}
	for _, fact := range batch {
		if slices.Contains(f.Pending(domain.GroupPosting), fact.ID) {
			t.Errorf("%s of %s is not acknowledged", fact.Type, fact.Ref())
		}
	}
	if left := len(f.Pending(domain.GroupPosting)); left != 8-4 {
		t.Errorf("%d facts are pending", left)
	}
	f.WantPending(domain.GroupSettlement, settlement...)
	f.WantSame(state, f.Keys.Log(0), f.Keys.SalesSummary(0), "holdfast:{0}:sales:", "holdfast:invoices:") // and no state changed

	posted := f.Dump()
	f.post(batch...)
	f.post(a)
	f.WantSame(posted)
}

// TestPostAndReverseCommute: confirmation and cancellation of an order, posted in
// every order, once or twice, together or one by one, give the same books.
func TestPostAndReverseCommute(t *testing.T) {
	for name, steps := range map[string][][]string{
		"as it happened":            {{"confirmed"}, {"cancelled"}},
		"the other way round":       {{"cancelled"}, {"confirmed"}},
		"together":                  {{"confirmed", "cancelled"}},
		"together, the other way":   {{"cancelled", "confirmed"}},
		"again and again":           {{"confirmed"}, {"confirmed"}, {"cancelled"}, {"cancelled"}, {"confirmed"}, {"cancelled"}},
		"the confirmation is late":  {{"cancelled"}, {"cancelled"}, {"confirmed"}, {"confirmed"}},
		"both twice in one batch":   {{"confirmed", "cancelled", "confirmed", "cancelled"}},
		"posted before it happened": {{"posted early"}, {"cancelled"}, {"confirmed"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(10))
			f.confirmed("e1", "o0", "mary", 1)
			f.confirmed("e1", "o1", "fred", 2)
			confirmed := f.factOf("confirmed", "e1", "o1")
			f.post(f.factOf("confirmed", "e1", "o0"))
			if steps[0][0] == "posted early" {
				f.post(confirmed)
				f.wantSales("e1", inspect.Totals{Orders: 2, TicketsSold: 3, Revenue: 3000}, "o0", "o1")
				steps = steps[1:]
			}
			f.cancel("e1", "o1")
			f.Deliver(domain.GroupPosting, "w1")
			facts := map[string]domain.Fact{"confirmed": confirmed, "cancelled": f.factOf("cancelled", "e1", "o1")}
			for _, step := range steps {
				var batch []domain.Fact
				for _, kind := range step {
					batch = append(batch, facts[kind])
				}
				f.post(batch...)
			}
			f.wantSales("e1", inspect.Totals{Orders: 1, TicketsSold: 1, Revenue: 1000}, "o0")
			f.wantInvoices("fred", inspect.InvoiceLine{
				OrderID: "o1", EventID: "e1", Section: "general", Quantity: 2, Amount: 2000, Currency: "EUR", ConfirmedAtMillis: confirmed.AtMillis, Status: "cancelled",
			})
			for kind, fact := range facts {
				if slices.Contains(f.Pending(domain.GroupPosting), fact.ID) {
					t.Errorf("%s is not acknowledged", kind)
				}
			}
		})
	}
}

// TestPostNothing: facts that post nothing are acknowledged all the same.
func TestPostNothing(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.held("e1", "o1", "fred", 1, 0)
	f.resolve(domain.Resolution{Ref: ref("e1", "o1")})
	f.held("e1", "o2", "mary", 1, holdMillis)
	f.cancel("e1", "o2")
	f.cancel("e1", "unseen")
	f.holdBatch(f.arrive(purchase("e9", "o3", "fred", 1))...)
	f.close("e1")
	f.Deliver(domain.GroupPosting, "w1")
	before := f.Dump()
	facts, _ := f.facts()
	f.post(facts...)
	f.WantPending(domain.GroupPosting)
	f.WantSame(before, f.Keys.Log(0))
	f.wantSales("e1", inspect.Totals{})
	f.post()
}

// TestPostUnknownOrder: a confirmation whose order is not there is not added.
func TestPostUnknownOrder(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.confirmed("e1", "o1", "fred", 1)
	f.Do("DEL", f.Keys.Order(0, ref("e1", "o1")))
	f.post(f.factOf("confirmed", "e1", "o1"))
	f.wantSales("e1", inspect.Totals{})
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
	f.Deliver(domain.GroupPosting, "w1")
	facts, _ := f.facts()
	f.post(facts...)
	f.WantPending(domain.GroupPosting)
	e1, err := f.inspector.Sales(f.Ctx, "e1")
	f.Must(err)
	e2, err := f.inspector.Sales(f.Ctx, "e2")
	f.Must(err)
	if e1 != (inspect.Totals{Orders: 602, TicketsSold: 602, Revenue: 602_000}) || e2 != (inspect.Totals{Orders: 601, TicketsSold: 601, Revenue: 601_000}) {
		t.Errorf("sales %+v, %+v", e1, e2)
	}
	cancels := make([]domain.Cancellation, items)
	for i, r := range resolutions {
		cancels[i] = domain.Cancellation{Ref: r.Ref}
	}
	f.Must(f.ledger.Cancel(f.Ctx, 0, cancels))
	f.Deliver(domain.GroupPosting, "w1")
	facts, _ = f.facts()
	f.post(facts...)
	f.WantPending(domain.GroupPosting)
	f.wantSales("e1", inspect.Totals{})
	f.wantSales("e2", inspect.Totals{})
}

// TestPostBigNumbers: revenue past 2^53 is exact, up and down. Each ticket was sold at the
// highest price that its event could ask then.
func TestPostBigNumbers(t *testing.T) {
	const first, second, third = domain.MaxAmount, domain.MaxAmount / 2, domain.MaxAmount/3 - 1
	f := newFixture(t)
	f.list("e1", domain.Terms{Name: "E", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: first, Capacity: 1}}})
	f.confirmed("e1", "o1", "fred", 1)
	f.reprice("e1", second, 2)
	f.confirmed("e1", "o2", "mary", 1)
	f.reprice("e1", third, 3)
	f.confirmed("e1", "o3", "amy", 1)
	f.post(f.factOf("confirmed", "e1", "o1"), f.factOf("confirmed", "e1", "o2"), f.factOf("confirmed", "e1", "o3"))
	f.wantSales("e1", inspect.Totals{Orders: 3, TicketsSold: 3, Revenue: first + second + third}, "o1", "o2", "o3")
	if got := f.Do("HGET", f.Keys.SalesSummary(0), "e1"); got != "3,3,16513198633691815" {
		t.Errorf("totals %v", got)
	}
	f.cancel("e1", "o1")
	f.post(f.factOf("cancelled", "e1", "o1"))
	f.wantSales("e1", inspect.Totals{Orders: 2, TicketsSold: 2, Revenue: second + third}, "o2", "o3")
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
	f := newFixture(t)
	summary, largest, events := f.Keys.SalesSummary(0), big.NewInt(math.MaxInt64), 0
	around := func(n int64) *rapid.Generator[int64] {
		return rapid.Int64Range(n-min(n, 2000), n+min(math.MaxInt64-n, 2000))
	}
	bases := rapid.OneOf(rapid.Just(int64(0)), around(1e12), around(1<<53), around(1<<62), around(math.MaxInt64-domain.MaxAmount), around(math.MaxInt64))
	amounts := rapid.OneOf(rapid.Int64Range(0, domain.MaxAmount), rapid.Int64Range(domain.MaxAmount-5, domain.MaxAmount), rapid.Int64Range(0, 5), rapid.Int64Range(1e12-2, 1e12+2))
	rapid.Check(t, func(rt *rapid.T) {
		events++
		event := "e" + strconv.Itoa(events)
		revenue := big.NewInt(bases.Draw(rt, "base"))
		f.Do("HSET", summary, event, "0,0,"+revenue.String())
		facts := make([]domain.Fact, 12)
		for i := range facts {
			facts[i] = domain.Fact{
				ID: "1-" + strconv.Itoa(i+1), Type: domain.FactConfirmed, EventID: event, OrderID: "o" + strconv.Itoa(i),
				Quantity: 1, UnitPrice: amounts.Draw(rt, "amount"),
			}
			f.Do("SET", f.Keys.Order(0, facts[i].Ref()), "c")
		}
		posted := make(map[string]bool)
		for range rapid.IntRange(1, 12).Draw(rt, "batches") {
			batch := rapid.SliceOfN(rapid.SampledFrom(facts), 1, len(facts)).Draw(rt, "batch")
			script, name, sign := scriptPost, "post", int64(1)
			if rapid.Bool().Draw(rt, "reverse") {
				script, name, sign = scriptReverse, "reverse", -1
			}
			after, changed := new(big.Int).Set(revenue), make(map[string]bool)
			for _, fact := range batch {
				if posted[fact.OrderID] == (sign < 0) && !changed[fact.OrderID] {
					changed[fact.OrderID] = true
					after.Add(after, big.NewInt(sign*fact.Amount()))
				}
			}
			err := f.ledger.runSales(f.Ctx, 0, script, name, batch)
			switch {
			case after.Cmp(largest) > 0:
				if domain.ClassOf(err) != domain.ClassPoison || !strings.Contains(err.Error(), "revenue of "+event+" would go below 0 or past 9223372036854775807") {
					rt.Fatalf("%s to %s: %v", name, after, err)
				}
			case err != nil:
				rt.Fatalf("%s to %s: %v", name, after, err)
			default:
				revenue = after
				for order := range changed {
					posted[order] = sign > 0
				}
			}
			totals, err := f.inspector.Sales(f.Ctx, event)
			if err != nil || revenue.Cmp(big.NewInt(totals.Revenue)) != 0 {
				rt.Fatalf("%s: revenue %d, %v, want %s", name, totals.Revenue, err, revenue)
			}
			members := int64(0)
			for _, is := range posted {
				if is {
					members++
				}
			}
			if n := f.Do("SCARD", f.Keys.Sales(0, event)); n != members || totals.Orders != members || totals.TicketsSold != members {
				rt.Fatalf("%s: %v orders in the sales, totals %+v, want %d", name, n, totals, members)
			}
		}
	})
}

// TestPostDamagedTotals: what cannot be counted on stops it before anything in the partition is written.
func TestPostDamagedTotals(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.confirmed("e1", "o1", "fred", 1)
	f.Deliver(domain.GroupPosting, "w1")
	for _, raw := range []string{"", "1", "1,2,-3", "1,2,1e+16", "a,b,c", "1,2,3,4", "1,2,9223372036854775808", "1,2," + strings.Repeat("9", 400)} {
		f.Do("HSET", f.Keys.SalesSummary(0), "e1", raw)
		before := f.Dump()
		f.WantClass(f.ledger.Post(f.Ctx, 0, []domain.Fact{f.factOf("confirmed", "e1", "o1")}), domain.ClassPoison)
		f.WantSame(before, "holdfast:invoices:")
	}
}

// A failover may lose an order's confirmation and keep its invoice line, which is in
// another slot. When the order is confirmed again, its line is of that confirmation,
// whatever the old one said; after that, posting it again changes nothing.
func TestPostOverALineOfALostPast(t *testing.T) {
	for _, was := range []string{"confirmed", "cancelled"} {
		f := newFixture(t)
		f.list("e1", terms(10))
		f.confirmed("e1", "o1", "fred", 2)
		fact := f.factOf("confirmed", "e1", "o1")
		past := fact
		past.AtMillis -= 5000
		f.Must(f.Client.HSet(f.Ctx, f.Keys.Invoices("fred"), "e1/o1", layout.EncodeInvoiceLine(past, past.AtMillis, was)).Err())
		want := inspect.InvoiceLine{OrderID: "o1", EventID: "e1", Section: "general", Quantity: 2, Amount: 2000, Currency: "EUR", ConfirmedAtMillis: fact.AtMillis, Status: "confirmed"}
		f.post(fact)
		f.wantInvoices("fred", want)
		f.cancel("e1", "o1")
		f.post(f.factOf("cancelled", "e1", "o1"))
		want.Status = "cancelled"
		f.wantInvoices("fred", want)
		f.post(fact)
		f.wantInvoices("fred", want)
	}
}
