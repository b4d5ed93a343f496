package streams

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/domain/seats"
)

// presale is an event of a counted section, of which ten places are for fans, and of a seated one, of which some are: by the code
// "early-bird" for any number of orders, and by "once" for one at a time.
func presale(eventID string, change ...func(*domain.Terms)) domain.Terms {
	t := terms(30, append([]func(*domain.Terms){func(t *domain.Terms) {
		t.Sections[1] = seatedSection("stalls", "fans;A:1-4a/5-6,B:1-4.5-6!.7A")
	}}, change...)...)
	layout, err := seats.Parse(t.Sections[1].Layout)
	if err != nil {
		panic(err)
	}
	t = t.WithAllocations("stalls", layout)
	for _, step := range []func(domain.Terms) (domain.Terms, error){
		func(t domain.Terms) (domain.Terms, error) { return t.Allocate("general", "fans", 10) },
		func(t domain.Terms) (domain.Terms, error) {
			return t.OpenedBy("fans", 0, codeKeys.Hashes(eventID, "early-bird")[1])
		},
		func(t domain.Terms) (domain.Terms, error) {
			return t.OpenedBy("fans", 1, codeKeys.Hashes(eventID, "once")[0])
		},
	} {
		if t, err = step(t); err != nil {
			panic(err)
		}
	}
	return t
}

// ofFans is a hold of some places of an allocation.
func ofFans(order, customer, section, code string, more ...string) []string {
	fields := []string{"v", "2", "type", "hold", "event_id", "e1", "order_id", order, "customer_id", customer, "section", section, "allocation", "fans"}
	if code != "" {
		fields = append(fields, "access_code", code)
	}
	return append(fields, more...)
}

// outcomes holds requests one by one, and says what became of each.
func (f *fixture) outcomes(requests ...[]string) (list []string) {
	f.Helper()
	for _, in := range f.arrive(requests...) {
		replies, _ := f.holdBatch(in)
		o := replies[0].Order
		list = append(list, strings.TrimSuffix(fmt.Sprintf("%s %s", o.State, o.Reason), " "))
	}
	return list
}

// used is by how many orders each code of an event is used.
func (f *fixture) used(event string) (n []int64) {
	f.Helper()
	e, err := f.events.Get(f.Ctx, event)
	f.Must(err)
	for _, a := range e.Allocations {
		for _, c := range a.Codes {
			n = append(n, c.Used)
		}
	}
	return n
}

// TestAllocations: places of an allocation are held by whoever has a code that opens it, come from there, and go back there, together
// with the use of the code.
func TestAllocations(t *testing.T) {
	f := newFixture(t)
	f.list("e1", presale("e1"))
	f.wantLogFolds()
	sections := func(want map[string][3]int64) {
		t.Helper()
		for name, is := range want {
			if got := f.section("e1", name); got != is {
				t.Errorf("%s: available, held, sold are %v, want %v", name, got, is)
			}
		}
	}
	sections(map[string][3]int64{"general": {20}, "general~fans": {10}, "stalls": {6}, "stalls~fans": {4}})

	got := f.outcomes(
		ofFans("o1", "amy", "general", "early-bird", "quantity", "3"), // hashed with the older key
		ofFans("o2", "bob", "stalls", "once", "quantity", "2"),
		ofFans("o3", "cas", "general", "once", "quantity", "1"), // used up
		ofFans("o4", "cas", "general", "wrong", "quantity", "1"),
		ofFans("o5", "cas", "general", "", "quantity", "1"),
		ofFans("o6", "cas", "general", "early-bird", "quantity", "8"),   // only 7 are left of it
		ofFans("o7", "cas", "stalls", "early-bird", "seats", "A-3,A-5"), // one of them is for everybody
		ofFans("o8", "cas", "stalls", "early-bird", "seats", "A-3"),
		[]string{"v", "2", "type", "hold", "event_id", "e1", "order_id", "o9", "customer_id", "dan", "section", "stalls", "seats", "A-4"},
		[]string{"v", "2", "type", "hold", "event_id", "e1", "order_id", "p1", "customer_id", "dan", "section", "stalls", "allocation", "friends", "quantity", "1", "access_code", "once"},
		[]string{"v", "2", "type", "hold", "event_id", "e1", "order_id", "p2", "customer_id", "dan", "section", "balcony", "allocation", "fans", "quantity", "1", "access_code", "once"},
		[]string{"v", "2", "type", "hold", "event_id", "e1", "order_id", "p3", "customer_id", "dan", "section", "general", "quantity", "1", "access_code", "once"},
	)
	want := []string{
		"held", "held", "rejected code_refused", "rejected code_refused", "rejected code_refused", "rejected sold_out", "rejected seat_taken", "held",
		"rejected seat_taken", "rejected unknown_allocation", "rejected unknown_section", "rejected invalid",
	}
	if !slices.Equal(got, want) {
		t.Errorf("outcomes:\n%q\nwant\n%q", got, want)
	}
	if is := f.order("e1", "o2").Items; is != "stalls~fans:2:4500:a1-2" {
		t.Errorf("items of o2: %s", is)
	}
	if is := f.places("e1", "stalls"); is != "---a ../....!!A" {
		t.Errorf("places: %q", is)
	}
	sections(map[string][3]int64{"general": {20}, "general~fans": {7, 3}, "stalls": {6}, "stalls~fans": {1, 3}})
	if used := f.used("e1"); !slices.Equal(used, []int64{2, 1}) {
		t.Errorf("codes are used %v", used)
	}
	f.wantLogFolds()

	// Given back: by a cancel of what is held, and of what was sold.
	f.resolvePaid("o2")
	sections(map[string][3]int64{"stalls~fans": {1, 1, 2}})
	f.cancelOrders("o2", "o1")
	sections(map[string][3]int64{"general": {20}, "general~fans": {10}, "stalls": {6}, "stalls~fans": {3, 1}})
	if is := f.places("e1", "stalls"); is != "aa-a ../....!!A" {
		t.Errorf("places: %q", is)
	}
	if used := f.used("e1"); !slices.Equal(used, []int64{1, 0}) {
		t.Errorf("codes are used %v", used)
	}
	f.wantLogFolds()
	if got := f.outcomes(ofFans("q1", "eva", "general", "once", "quantity", "1")); got[0] != "held" {
		t.Errorf("the code that was given back: %s", got[0])
	}
}

// TestCodesOfABatch: of two orders that come at once with a code for one, one gets places.
func TestCodesOfABatch(t *testing.T) {
	f := newFixture(t)
	f.list("e1", presale("e1"))
	batch := f.arrive(ofFans("o1", "amy", "general", "once", "quantity", "1"), ofFans("o2", "bob", "general", "once", "quantity", "1"))
	replies, _ := f.holdBatch(batch...)
	if replies[0].Order.State != domain.OrderHeld || replies[1].Order.Reason != domain.ReasonCodeRefused {
		t.Errorf("%+v", replies)
	}
	f.wantLogFolds()
}

// resolvePaid confirms a hold.
func (f *fixture) resolvePaid(order string) {
	f.Helper()
	a := f.arrive(request("pay", "e1", order))[0]
	f.holdBatch(a)
	replies, _ := f.resolve(domain.Resolution{Attempt: 1, EntryID: a.EntryID, Ref: ref("e1", order), Outcome: domain.PaymentApproved, AuthorizationID: "auth_" + order})
	if replies[0].Order.State != domain.OrderConfirmed {
		f.Fatalf("confirming %s: %+v", order, replies[0].Order)
	}
}

func (f *fixture) cancelOrders(orders ...string) {
	f.Helper()
	for _, order := range orders {
		f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", order)}}))
	}
}

// TestAllocationsChange: what an order has of an allocation is exchanged for more of it, and is given back to it.
func TestAllocationsChange(t *testing.T) {
	f := newFixture(t)
	f.list("e1", presale("e1", func(t *domain.Terms) { t.NoOrphans = true }))
	f.outcomes(ofFans("o1", "amy", "stalls", "once", "seats", "A-1,A-2"), ofFans("o2", "bob", "general", "early-bird", "quantity", "2"))
	alter := func(order, kind, number, items string) domain.Order {
		t.Helper()
		replies, _ := f.holdBatch(f.arrive([]string{"v", "2", "type", kind, "event_id", "e1", "order_id", order, "change", number, "items", items})...)
		return replies[0].Order
	}
	if o := alter("o1", "change", "1", `[{"section":"stalls","seats":["A-3","A-4"]}]`); o.Items != "stalls~fans:2:4500:a3-4" {
		t.Errorf("changed: %+v", o)
	}
	if is := f.places("e1", "stalls"); is != "aa-- ../....!!A" {
		t.Errorf("places: %q", is)
	}
	if o := alter("o1", "change", "2", `[{"section":"stalls","seats":["A-3","A-5"]}]`); o.ChangeRefusal != domain.ReasonSeatTaken {
		t.Errorf("to a seat that is for everybody: %+v", o)
	}
	if o := alter("o1", "cancel", "3", `[{"section":"stalls","seats":["A-3"]}]`); o.Items != "stalls~fans:1:4500:a4" {
		t.Errorf("reduced: %+v", o)
	}
	if o := alter("o2", "change", "1", `[{"section":"general","quantity":11}]`); o.ChangeRefusal != domain.ReasonSoldOut {
		t.Errorf("more than there are: %+v", o)
	}
	if o := alter("o2", "change", "2", `[{"section":"general","quantity":10}]`); o.Items != "general~fans:10:1000" {
		t.Errorf("more: %+v", o)
	}
	if used := f.used("e1"); !slices.Equal(used, []int64{1, 1}) {
		t.Errorf("codes are used %v", used)
	}
	f.wantLogFolds()
	f.cancelOrders("o1", "o2")
	if used, is := f.used("e1"), f.places("e1", "stalls"); !slices.Equal(used, []int64{0, 0}) || is != "aaaa ../....!!A" {
		t.Errorf("codes are used %v, places are %q", used, is)
	}
	f.wantLogFolds()
}

// TestAllocationWindows: an allocation is on sale in its own time, and with the event where it says none.
func TestAllocationWindows(t *testing.T) {
	const past, future = 1_000_000_000_000, 9_000_000_000_000
	for name, test := range map[string]struct {
		from, till, eventFrom, eventTill int64
		want                             string
		closed                           bool
	}{
		"before general sale": {from: past, eventFrom: future, want: "held"},
		"not yet":             {from: future, want: "rejected not_on_sale"},
		"over":                {till: past, want: "rejected not_on_sale"},
		"as the event":        {eventFrom: future, want: "rejected not_on_sale"},
		"the event's is over": {from: past - 1, eventTill: past, want: "rejected not_on_sale"},
		"after general sale":  {till: future, eventTill: past, want: "held"},
		"closed":              {from: past, closed: true, want: "rejected not_on_sale"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			terms := presale("e1", func(t *domain.Terms) { t.OnSaleMillis, t.OffSaleMillis = test.eventFrom, test.eventTill })
			terms.Allocations[0].OnSaleMillis, terms.Allocations[0].OffSaleMillis = test.from, test.till
			f.list("e1", terms)
			if test.closed {
				f.close("e1")
			}
			if got := f.outcomes(ofFans("o1", "amy", "general", "once", "quantity", "1")); got[0] != test.want {
				t.Errorf("got %s, want %s", got[0], test.want)
			}
			f.wantLogFolds()
		})
	}
}

// TestAdjustAllocations: places are moved between allocations, blocked and unblocked, unless they are held or sold.
func TestAdjustAllocations(t *testing.T) {
	f := newFixture(t)
	f.list("e1", presale("e1"))
	f.outcomes(ofFans("o1", "amy", "stalls", "once", "seats", "A-1"), ofFans("o2", "bob", "general", "early-bird", "quantity", "4"))
	adjust := func(steps ...func(domain.Event, domain.Terms) (domain.Terms, error)) error {
		t.Helper()
		_, err := f.events.AdjustEvent(f.Ctx, "e1", func(e domain.Event) (domain.Terms, error) {
			t, err := e.Terms(), error(nil)
			for _, step := range steps {
				if t, err = step(e, t); err != nil {
					return t, err
				}
			}
			return t, nil
		})
		return err
	}
	seatsTo := func(allocation string, names ...string) func(domain.Event, domain.Terms) (domain.Terms, error) {
		return func(e domain.Event, t domain.Terms) (domain.Terms, error) {
			return t.AllocateSeats(e, "stalls", allocation, names)
		}
	}
	blocked := func(is bool, names ...string) func(domain.Event, domain.Terms) (domain.Terms, error) {
		return func(e domain.Event, t domain.Terms) (domain.Terms, error) {
			return t.BlockSeats(e, "stalls", names, is)
		}
	}
	places := func(allocation string, n int64) func(domain.Event, domain.Terms) (domain.Terms, error) {
		return func(_ domain.Event, t domain.Terms) (domain.Terms, error) {
			return t.Allocate("general", allocation, n)
		}
	}
	kept := func(pool string, n int64) func(domain.Event, domain.Terms) (domain.Terms, error) {
		return func(_ domain.Event, t domain.Terms) (domain.Terms, error) { return t.Block(pool, n) }
	}
	f.Must(adjust(seatsTo("fans", "A-5"), seatsTo("public", "A-2", "B-7"), blocked(true, "A-6", "A-3"), blocked(false, "B-5", "B-7"),
		seatsTo("press", "B-1", "B-6"), places("fans", 6), places("press", 2), kept("general", 3), kept("general~fans", 1)))
	if is := f.places("e1", "stalls"); is != "-.Aa a!/b....B." {
		t.Errorf("places: %q", is)
	}
	for name, is := range map[string][4]int64{
		"general": {19, 0, 0, 3}, "general~fans": {1, 4, 0, 1}, "general~press": {2}, "stalls": {6, 0, 0, 1}, "stalls~fans": {2, 1, 0, 1}, "stalls~press": {1, 0, 0, 1},
	} {
		e, err := f.events.Get(f.Ctx, "e1")
		f.Must(err)
		s, _ := e.Section(name)
		if got := [4]int64{s.Available, s.Held, s.Sold, s.Blocked}; got != is {
			t.Errorf("%s: available, held, sold, blocked are %v, want %v", name, got, is)
		}
	}
	f.wantLogFolds()

	before := f.Dump()
	for _, test := range []struct {
		step func(domain.Event, domain.Terms) (domain.Terms, error)
		says string
	}{
		{seatsTo("public", "A-1", "A-4"), "section stalls: held or sold are A-1"},
		{blocked(true, "A-1"), "section stalls: held or sold are A-1"},
		{seatsTo("public", "Z-1"), "section stalls: has no seat Z-1"},
		{places("fans", 4), "section general~fans: capacity 3 is below the 4 held and 0 sold"},
		{places("fans", 99), "allocation fans cannot have 93 more"},
		{kept("general~fans", 3), "section general~fans: capacity 3 is below the 4 held and 0 sold"},
		{kept("general", 23), "blocked: want 0 to its capacity, 22"},
	} {
		if err := adjust(test.step); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("got %v, want %s", err, test.says)
		}
	}
	f.WantSame(before)

	// A seat is bought between the look and the step: nothing is moved.
	other, hook := f.another(t)
	hook.once("adjust_event", func() {
		if got := f.outcomes(ofFans("o3", "eva", "stalls", "early-bird", "seats", "A-4")); got[0] != "held" {
			t.Errorf("bought meanwhile: %s", got[0])
		}
	})
	changed, err := other.events.AdjustEvent(f.Ctx, "e1", func(e domain.Event) (domain.Terms, error) {
		return e.Terms().AllocateSeats(e, "stalls", "public", []string{"A-4", "A-5"})
	})
	if changed || err == nil || !strings.Contains(err.Error(), "section stalls: seat A-4 is held or sold: nothing changed") {
		t.Errorf("got %v, %v", changed, err)
	}
	if is := f.places("e1", "stalls"); is != "-.A- a!/b....B." {
		t.Errorf("places: %q", is)
	}
	// What the orders give back goes where it came from; the allocation has fewer places since.
	f.cancelOrders("o1", "o2", "o3")
	if is := f.places("e1", "stalls"); is != "a.Aa a!/b....B." {
		t.Errorf("places: %q", is)
	}
	f.wantLogFolds()
}

// TestRevokedCodes: a code that is revoked opens nothing; who used it keeps what they have, and gives its use back.
func TestRevokedCodes(t *testing.T) {
	f := newFixture(t)
	f.list("e1", presale("e1"))
	f.outcomes(ofFans("o1", "amy", "general", "once", "quantity", "1"))
	hashes := codeKeys.Hashes("e1", "once")
	revoke := func(t domain.Terms) (domain.Terms, error) {
		next, _ := t.Revoke(hashes...)
		return next, nil
	}
	if changed, err := f.events.Adjust(f.Ctx, "e1", revoke); !changed || err != nil {
		t.Fatal(changed, err)
	}
	f.cancelOrders("o1")
	if got := f.outcomes(ofFans("o2", "bob", "general", "once", "quantity", "1")); got[0] != "rejected code_refused" {
		t.Errorf("revoked: %s", got[0])
	}
	if used := f.used("e1"); !slices.Equal(used, []int64{0, 0}) {
		t.Errorf("codes are used %v", used)
	}
	// Given out again, and for two.
	changed, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) { return t.OpenedBy("fans", 2, hashes[0]) })
	if got := f.outcomes(ofFans("o3", "bob", "general", "once", "quantity", "1")); !changed || err != nil || got[0] != "held" {
		t.Errorf("given out again: %v, %v, %s", changed, err, got[0])
	}
	f.wantLogFolds()
	// None is ever removed: its orders give their uses back.
	if _, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
		t.Allocations = slices.Clone(t.Allocations)
		t.Allocations[0].Codes = nil
		return t, nil
	}); domain.ClassOf(err) != domain.ClassReject {
		t.Errorf("removed: %v", err)
	}
}
