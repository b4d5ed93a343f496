package streams

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/streams/redistest"
)

// hall is an event of a seated section of two rows, and a counted one: stalls A:1-4/5-6,B:1-6 and general.
func hall(change ...func(*domain.Terms)) domain.Terms {
	return terms(10, append([]func(*domain.Terms){func(t *domain.Terms) {
		t.Sections[1] = seatedSection("stalls", "A:1-4/5-6,B:1-6")
	}}, change...)...)
}

func seatedSection(name, layout string) domain.SectionTerms {
	l, err := seats.Parse(layout)
	if err != nil {
		panic(err)
	}
	return domain.SectionTerms{Name: name, Price: 4500, Capacity: int64(l.Seats()), Layout: l.String()}
}

// places are those of a section, as they are stored.
func (f *fixture) places(event, section string) string {
	f.Helper()
	e, err := f.events.Get(f.Ctx, event)
	f.Must(err)
	f.Must(e.CheckConservation())
	s, ok := e.Section(section)
	if !ok || !s.Seated() {
		f.Fatalf("no seated section %s", section)
	}
	return s.Places
}

// TestListSeats: an event with seats is listed and adjusted; its layouts stay as they are, and more may come.
func TestListSeats(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall(func(t *domain.Terms) { t.Sections[1] = seatedSection("stalls", "choir;A:1-2!/3a.4,B:1-6") }))
	if got := f.places("e1", "stalls"); got != "!! a./......" {
		t.Errorf("places: %q", got)
	}
	if got := f.section("e1", "stalls"); got != [3]int64{8, 0, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	f.wantLogFolds()

	adjust := func(change func(*domain.Terms)) error {
		_, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
			change(&t)
			return t, nil
		})
		return err
	}
	before := f.Dump()
	for want, change := range map[string]func(*domain.Terms){
		"layout cannot be changed": func(t *domain.Terms) { t.Sections[1].Layout, t.Sections[1].Capacity = "A:1-4", 4 },
		"capacity: want 10":        func(t *domain.Terms) { t.Sections[1].Capacity = 9 },
		"seated for ever":          func(t *domain.Terms) { t.Sections[1].Layout = "" },
		"counted for ever":         func(t *domain.Terms) { t.Sections[0] = seatedSection("general", "A:1-20") },
		"row 1 (A)":                func(t *domain.Terms) { t.Sections[1].Layout = "A" },
		"seats.Layout.String":      func(t *domain.Terms) { t.Sections[1].Layout = "A:1-2.3-10" },
		"more than 100000 seats": func(t *domain.Terms) {
			t.Sections = append(t.Sections, seatedSection("a", "A:1-50000"), seatedSection("b", "A:1-50000"))
		},
		"want at most 1048576 bytes": func(t *domain.Terms) { t.Sections[1].Layout = strings.Repeat("A", 1<<20+1) },
	} {
		if err := adjust(change); err == nil || !strings.Contains(err.Error(), want) || domain.ClassOf(err) != domain.ClassReject {
			t.Errorf("got %v, want one that says %q", err, want)
		}
	}
	f.WantSame(before)

	f.Must(adjust(func(t *domain.Terms) {
		t.NoOrphans, t.Sections[1].Price = true, 5000
		t.Sections = append(t.Sections, seatedSection("balcony", "A:1-3!.4"))
	}))
	e, err := f.events.Get(f.Ctx, "e1")
	f.Must(err)
	if !e.NoOrphans || e.Sections[1].Price != 5000 || e.Sections[2].Blocked != 3 || f.places("e1", "balcony") != "!!!." || f.places("e1", "stalls") != "!! a./......" {
		t.Errorf("%+v", e)
	}
	f.wantLogFolds()
	layouts, err := f.store.Inside().Layouts(f.Ctx, "e1", "balcony")
	f.Must(err)
	if layouts["stalls"].Seats() != 10 || layouts["general"] != nil {
		t.Errorf("layouts: %v", layouts)
	}
	names, err := f.checkout.SeatNames(f.Ctx, "e1", "general:1:0,stalls:3:0:5.7-8")
	f.Must(err)
	if len(names) != 1 || strings.Join(names["stalls"], ",") != "A-4,B-1,B-2" {
		t.Errorf("names: %v", names)
	}
	if _, err := f.checkout.SeatNames(f.Ctx, "e1", "general:1:0:1"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("seats of a counted section: %v", err)
	}
	f.WantClass(func() error { _, err := f.checkout.SeatNames(f.Ctx, "e1", "stalls:1:0:3"); return err }(), domain.ClassPoison)
}

// named and best are items of the stalls.
func named(names ...string) domain.RequestItem {
	return domain.RequestItem{Section: "stalls", Quantity: int64(len(names)), Seats: names}
}

func best(quantity int64) domain.RequestItem {
	return domain.RequestItem{Section: "stalls", Quantity: quantity}
}

func apart(quantity int64) domain.RequestItem {
	return domain.RequestItem{Section: "stalls", Quantity: quantity, Apart: true}
}

// ask is a purchase of a customer of its own that was published and delivered. Items are in the order of their sections.
func (f *fixture) ask(event, order string, items ...domain.RequestItem) domain.Incoming {
	f.Helper()
	in := f.arrive(purchase(event, order, "of-"+order, 1))[0]
	in.Request.Section, in.Request.Quantity, in.Request.Items = "", 0, nil
	if len(items) == 1 {
		one := items[0]
		in.Request.Section, in.Request.Quantity, in.Request.Seats, in.Request.Apart, in.Request.UnitPrice = one.Section, one.Quantity, one.Seats, one.Apart, one.UnitPrice
	} else {
		in.Request.Items = items
	}
	in.Request.Fingerprint = domain.Fingerprint(fmt.Sprintf("%+v", items))
	return in
}

// wantHeld compares what became of requests: the items of an order that is held, or why it is rejected.
func (f *fixture) wantHeld(batch []domain.Incoming, want ...string) []domain.Reply {
	f.Helper()
	replies, _ := f.holdBatch(batch...)
	for i, r := range replies {
		got := string(r.Order.Items)
		if r.Order.State == domain.OrderRejected {
			got = strings.TrimSuffix(r.Order.Reason+" "+r.Order.Detail, " ")
		}
		if got != want[i] {
			f.Errorf("%s: %s, want %s", batch[i].Request.OrderID, got, want[i])
		}
		if stored := f.order(batch[i].Request.EventID, batch[i].Request.OrderID); stored != r.Order {
			f.Errorf("%s is stored as\n%+v\ntold was\n%+v", batch[i].Request.OrderID, stored, r.Order)
		}
	}
	return replies
}

// TestHoldSeats: which seats requests get, by name or the best of them, one after the other in one call; and why they get none.
func TestHoldSeats(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall())
	f.list("plain", terms(10))
	general := func(quantity int64) domain.RequestItem {
		return domain.RequestItem{Section: "general", Quantity: quantity}
	}
	price := int64(1)
	dear := best(1)
	dear.UnitPrice = &price
	f.wantHeld([]domain.Incoming{
		f.ask("e1", "o1", best(2)), f.ask("e1", "o2", named("A-5", "A-6")), f.ask("e1", "o3", named("A-5")), f.ask("e1", "o4", named("A-3", "A-9", "C-1")),
		f.ask("e1", "o5", best(5)), f.ask("e1", "o6", best(3)), f.ask("e1", "o7", apart(3)), f.ask("e1", "o8", best(7)), f.ask("e1", "o9", dear),
		f.ask("e1", "o10", best(101)), f.ask("plain", "o11", domain.RequestItem{Section: "general", Quantity: 1, Seats: []string{"A-1"}}), f.ask("none", "o12", named("A-1")), f.ask("e1", "o13", general(1), named("A-1", "A-2")),
		f.ask("e1", "o14", general(1), best(1)), f.ask("e1", "o15", general(11), best(1)), f.ask("e1", "o16", general(1), named("A-1", "B-1")),
		f.ask("e1", "o17", domain.RequestItem{Section: "general", Quantity: 1, Seats: []string{"A-1"}}, best(1)), f.ask("e1", "o18", general(1), named("C-1", "A-1")),
	},
		"stalls:2:4500:1-2", "stalls:2:4500:6-7", "seat_taken A-5", "unknown_seat A-9,C-1",
		"stalls:5:4500:9-13", "no_adjacent_seats", "stalls:3:4500:3-4.14", "sold_out", "price_changed",
		"over_limit "+domain.DetailTooManySeats, "unknown_seat A-1", "unknown_event", "seat_taken stalls: A-1,A-2",
		"sold_out stalls", "sold_out general", "seat_taken stalls: A-1,B-1", "unknown_seat general: A-1", "unknown_seat stalls: C-1",
	)
	if got := f.places("e1", "stalls"); got != "---- --/------" {
		t.Errorf("places: %q", got)
	}
	if got := f.section("e1", "stalls"); got != [3]int64{0, 12, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	if got := f.section("e1", "general"); got != [3]int64{10, 0, 0} {
		t.Errorf("of general, whose orders all failed for their seats: %v", got)
	}
	f.wantLogFolds()
}

// TestHoldSeatsAllOrNothing: where one item cannot be had, the seats of those before it are free for who comes next, in the same call.
func TestHoldSeatsAllOrNothing(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall(func(t *domain.Terms) { t.Sections[0] = seatedSection("balcony", "A:1-2") }))
	balcony := func(quantity int64) domain.RequestItem {
		return domain.RequestItem{Section: "balcony", Quantity: quantity}
	}
	f.wantHeld([]domain.Incoming{
		f.ask("e1", "o1", balcony(2), best(7)), f.ask("e1", "o2", balcony(1), named("A-1")), f.ask("e1", "o3", balcony(1), named("A-1")), f.ask("e1", "o4", balcony(1), named("A-2")),
	}, "no_adjacent_seats stalls", "balcony:1:4500:1,stalls:1:4500:1", "seat_taken stalls: A-1", "balcony:1:4500:2,stalls:1:4500:2")
	if got := f.places("e1", "balcony") + " " + f.places("e1", "stalls"); got != "-- --.. ../......" {
		t.Errorf("places: %q", got)
	}
	f.wantLogFolds()
}

// TestHoldStrictly: where no seat may be left alone, names that would leave one are refused, with its name. What was learnt of an event that is
// adjusted meanwhile is learnt again.
func TestHoldStrictly(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall())
	f.wantHeld([]domain.Incoming{f.ask("e1", "o1", named("B-2"))}, "stalls:1:4500:10")
	strict := func(on bool) {
		_, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) {
			t.NoOrphans = on
			return t, nil
		})
		f.Must(err)
	}
	strict(true)
	f.wantHeld([]domain.Incoming{f.ask("e1", "o2", named("A-2", "A-5")), f.ask("e1", "o3", named("A-1", "A-2")), f.ask("e1", "o4", best(1))},
		"would_leave_orphan A-1,A-6", "stalls:2:4500:1-2", "stalls:1:4500:9")
	strict(false)
	f.wantHeld([]domain.Incoming{f.ask("e1", "o5", named("A-5"))}, "stalls:1:4500:6")
	f.wantLogFolds()
}

// TestSeatNamesOfOtherData: a checkout that goes on when an event was listed again, with its rows elsewhere, tells the names that the seats have now.
func TestSeatNamesOfOtherData(t *testing.T) {
	server := redistest.Start(t)
	f := openFixture(t, server)
	f.list("e1", hall())
	wantName := func(want string) {
		t.Helper()
		names, err := f.checkout.SeatNames(f.Ctx, "e1", "stalls:1:0:2")
		f.Must(err)
		if got := strings.Join(names["stalls"], ","); got != want {
			t.Errorf("the seat at place 2 is %s, want %s", got, want)
		}
	}
	wantName("A-2")
	f.Do("FLUSHALL")
	again := openFixture(t, server)
	again.list("e1", hall(func(t *domain.Terms) { t.Sections[1] = seatedSection("stalls", "C:11-20") }))
	wantName("C-12")
}

// TestSeatsComeAndGo: seats are held, sold and given back, in every way that orders end; several of them in one call.
func TestSeatsComeAndGo(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall())
	ends := []struct {
		order string
		item  domain.RequestItem
	}{{"confirmed", named("A-1", "A-2")}, {"declined", named("A-3", "A-6")}, {"expired", best(1)}, {"cancelled", named("B-1")}, {"undone", named("B-5", "B-6")}}
	var batch []domain.Incoming
	for _, end := range ends {
		in := f.ask("e1", end.order, end.item)
		if in.HoldMillis = holdMillis; end.order == "expired" {
			in.HoldMillis = 1
		}
		batch = append(batch, in)
	}
	replies, now := f.holdBatch(batch...)
	if got := f.places("e1", "stalls"); got != "---- .-/-...--" {
		t.Fatalf("held: %q", got)
	}
	var resolutions []domain.Resolution
	for i, in := range batch {
		r := domain.Resolution{Attempt: 1, EntryID: in.EntryID, Ref: in.Request.Ref(), Order: replies[i].Order, Outcome: domain.PaymentApproved, AuthorizationID: "auth"}
		switch ends[i].order {
		case "declined":
			r.Outcome, r.AuthorizationID = domain.PaymentDeclined, ""
		case "expired", "cancelled":
			continue
		}
		resolutions = append(resolutions, r)
	}
	f.WaitUntil(now + 1)
	f.resolve(resolutions...)
	if got := f.places("e1", "stalls"); got != "++.- ../-...++" {
		t.Errorf("resolved: %q", got)
	}
	expired, _, err := f.ledger.Expire(f.Ctx, 0, 10)
	f.Must(err)
	f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "cancelled")}, {Ref: ref("e1", "undone")}}))
	if got := f.places("e1", "stalls"); got != "++.. ../......" || expired != 1 {
		t.Errorf("in the end: %q, %d expired", got, expired)
	}
	if got := f.section("e1", "stalls"); got != [3]int64{10, 0, 2} {
		t.Errorf("available, held, sold: %v", got)
	}
	f.wantLogFolds()
	// They can be had again.
	f.wantHeld([]domain.Incoming{f.ask("e1", "again", named("A-3", "A-4", "B-1"))}, "stalls:3:4500:3-4.9")
	f.wantLogFolds()
}

// TestMoveComparesSeats: where a seat is not what an order says, nothing changes, and a person is told which.
func TestMoveComparesSeats(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall())
	f.list("e2", hall())
	f.wantHeld([]domain.Incoming{f.ask("e1", "o1", named("A-1", "A-2")), f.ask("e2", "o2", named("A-1"))}, "stalls:2:4500:1-2", "stalls:1:4500:1")
	approve := func(event, order string) error {
		_, _, err := f.ledger.Resolve(f.Ctx, 0, []domain.Resolution{{Attempt: 1, Ref: ref(event, order), Order: f.order(event, order), Outcome: domain.PaymentApproved, AuthorizationID: "auth"}})
		return err
	}
	for places, want := range map[string]string{
		"-+.. ../......": "the seat at place 2 of section e1/stalls is not -",
		".-.. ../......": "the seat at place 1 of section e1/stalls is not -",
		"-":              "the seat at place 2 of section e1/stalls is not -",
	} {
		f.Do("HSET", f.Keys.Places(0), "e1/stalls", places)
		before := f.Dump()
		err := approve("e1", "o1")
		if f.WantClass(err, domain.ClassPoison); !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", places, err, want)
		}
		f.WantSame(before)
	}
	f.Do("HDEL", f.Keys.Places(0), "e1/stalls")
	before := f.Dump()
	for what, do := range map[string]func() error{
		"approve": func() error { return approve("e1", "o1") },
		"hold": func() error {
			in := f.ask("e1", "o3", best(1))
			before = f.Dump()
			_, _, err := f.ledger.Hold(f.Ctx, 0, []domain.Incoming{in})
			return err
		},
	} {
		err := do()
		if f.WantClass(err, domain.ClassPoison); !strings.Contains(err.Error(), "the places of section e1/stalls are gone") {
			t.Errorf("%s: %v", what, err)
		}
		f.WantSame(before)
	}
	f.Must(approve("e2", "o2"))
	if got := f.places("e2", "stalls"); got != "+... ../......" {
		t.Errorf("of the other event: %q", got)
	}
}

// TestSeatsWhenMemoryIsFull: who would take seats is refused, whole; who has some can pay for them, or gives them back. The scripts were forgotten.
func TestSeatsWhenMemoryIsFull(t *testing.T) {
	f := openFixture(t, redistest.Start(t, "--maxmemory-policy", "noeviction"))
	f.list("e1", hall())
	f.wantHeld([]domain.Incoming{f.ask("e1", "o1", named("A-1", "A-2")), f.ask("e1", "o2", best(2))}, "stalls:2:4500:1-2", "stalls:2:4500:3-4")
	more := f.ask("e1", "o3", best(1))
	f.Do("SCRIPT", "FLUSH")
	f.Do("CONFIG", "SET", "maxmemory", "1")
	before := f.Dump()
	if _, _, err := f.ledger.Hold(f.Ctx, 0, []domain.Incoming{more}); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("taking seats: %v, want OOM", err)
	}
	f.WantSame(before)
	f.resolve(domain.Resolution{Attempt: 1, Ref: ref("e1", "o1"), Outcome: domain.PaymentApproved, AuthorizationID: "auth"}, domain.Resolution{Attempt: 1, Ref: ref("e1", "o2"), Outcome: domain.PaymentDeclined})
	if got := f.places("e1", "stalls"); got != "++.. ../......" {
		t.Errorf("places: %q", got)
	}
	f.Do("CONFIG", "SET", "maxmemory", "0")
	f.Do("SCRIPT", "FLUSH")
	f.wantHeld([]domain.Incoming{more}, "stalls:1:4500:9")
	f.wantLogFolds()
}

// TestManySeats: more are taken at once than a call takes, and given back, among them orders of as many as an item may have.
func TestManySeats(t *testing.T) {
	f := newFixture(t)
	f.list("e1", hall(func(t *domain.Terms) { t.Sections[1] = seatedSection("stalls", "A:1-1000,B:1-1000,C:1-1000") }))
	var batch []domain.Incoming
	var cancels []domain.Cancellation
	for i := range 31 {
		batch = append(batch, f.ask("e1", fmt.Sprint("o", i), best(100)))
		cancels = append(cancels, domain.Cancellation{Ref: batch[i].Request.Ref()})
	}
	replies, _ := f.holdBatch(batch...)
	for i, r := range replies {
		if held := r.Order.State == domain.OrderHeld && r.Order.Items.Quantity() == 100; held != (i < 30) || i == 30 && r.Order.Reason != domain.ReasonSoldOut {
			t.Errorf("order %d: %+v", i, r.Order)
		}
	}
	if got := f.section("e1", "stalls"); got != [3]int64{0, 3000, 0} {
		t.Errorf("held: %v", got)
	}
	f.wantLogFolds()
	f.Must(f.ledger.Cancel(f.Ctx, 0, cancels))
	if got := f.section("e1", "stalls"); got != [3]int64{3000, 0, 0} {
		t.Errorf("cancelled: %v", got)
	}
	f.wantLogFolds()
}

// TestCallOfManySections: a call reads and writes the places of some sections at most, however many its orders are of.
func TestCallOfManySections(t *testing.T) {
	f := newFixture(t)
	const sections, orders = 60, 120
	venue := domain.Terms{Name: "A Venue", Currency: "EUR"}
	for s := range sections {
		venue.Sections = append(venue.Sections, seatedSection(fmt.Sprintf("s%d", s), "A:1-10,B:1-10"))
	}
	f.list("e1", venue)
	var requests [][]string
	for i := range orders {
		requests = append(requests, []string{"v", "2", "type", "purchase", "event_id", "e1", "order_id", fmt.Sprintf("o%d", i), "payment_token", "tok", "customer_id", fmt.Sprintf("c%d", i), "section", fmt.Sprintf("s%d", i%sections), "quantity", "2"})
	}
	f.holdBatch(f.arrive(requests...)...)
	var resolutions []domain.Resolution
	for i := range orders {
		resolutions = append(resolutions, domain.Resolution{Attempt: 1, Ref: ref("e1", fmt.Sprintf("o%d", i)), Outcome: domain.PaymentApproved, AuthorizationID: "auth"})
	}
	f.resolve(resolutions...)
	facts, _ := f.facts()
	ofEntry, ofType := make(map[string]map[string]bool), make(map[domain.FactType]int)
	for _, fact := range facts {
		entry, _, _ := strings.Cut(fact.ID, "#")
		if ofType[fact.Type]++; ofEntry[entry] == nil {
			ofEntry[entry] = make(map[string]bool)
		}
		for item := range fact.Items.All() {
			ofEntry[entry][item.Section] = true
		}
	}
	if ofType[domain.FactHeld] != orders || ofType[domain.FactConfirmed] != orders {
		t.Errorf("facts: %v, want %d held and as many confirmed", ofType, orders)
	}
	for entry, of := range ofEntry {
		if len(of) > mostLayouts {
			t.Errorf("the facts of %s, and so of a call, are of %d sections", entry, len(of))
		}
	}
	f.wantLogFolds()
}
