package domain

import (
	"errors"
	"strings"
	"testing"

	"holdfast/domain/seats"
)

// seatedEvent has a section of places "..-+ a!/...", of which A-3 is held and A-4 is sold, and a counted one with nothing left.
func seatedEvent(t *testing.T) Event {
	t.Helper()
	terms := testTerms()
	terms.Sections = []SectionTerms{{Name: "general", Price: 1000}, {Name: "stalls", Price: 4500, Capacity: 9, Layout: "choir;A:1-4/5a.6!,B:1-3"}}
	event, err := ApplyEvent(Event{}, Fact{Type: FactCreated, Terms: &terms})
	if err != nil {
		t.Fatal(err)
	}
	s := &event.Sections[1]
	if s.Places != ".... a!/..." || s.Available != 8 || s.Blocked != 1 {
		t.Fatalf("listed as %+v", s)
	}
	s.Places, s.Available, s.Held, s.Sold = "..-+ a!/...", 6, 1, 1
	if err := event.CheckConservation(); err != nil {
		t.Fatal(err)
	}
	return event
}

func TestDecideSeats(t *testing.T) {
	stalls := func(quantity int64, names ...string) RequestItem {
		return RequestItem{Section: "stalls", Quantity: max(quantity, int64(len(names))), Seats: names}
	}
	apart := stalls(4)
	apart.Apart = true
	for _, test := range []struct {
		what   string
		strict bool
		items  []RequestItem
		want   string // items, or reason and detail
	}{
		{"the best", false, []RequestItem{stalls(2)}, "stalls:2:4500:1-2"},
		{"the best that leave none alone", false, []RequestItem{stalls(1)}, "stalls:1:4500:9"},
		{"nowhere side by side", false, []RequestItem{stalls(4)}, "no_adjacent_seats "},
		{"apart", false, []RequestItem{apart}, "stalls:4:4500:1-2.9-10"},
		{"more than there are for everybody", false, []RequestItem{stalls(6)}, "sold_out "},
		{"by name", false, []RequestItem{stalls(0, "B-2", "A-1")}, "stalls:2:4500:1.10"},
		{"by name, alone", true, []RequestItem{stalls(0, "B-2", "A-1")}, "would_leave_orphan A-2,B-1,B-3"},
		{"taken", true, []RequestItem{stalls(0, "A-1", "A-3", "A-4", "A-5", "A-6")}, "seat_taken A-3,A-4,A-5,A-6"},
		{"unknown", false, []RequestItem{stalls(0, "A-1", "A-7", "C-1")}, "unknown_seat A-7,C-1"},
		{"of a counted section", false, []RequestItem{{Section: "general", Quantity: 1, Seats: []string{"A-1"}}}, "unknown_seat A-1"},
		{"too many", false, []RequestItem{stalls(MaxItemSeats + 1)}, "over_limit " + DetailTooManySeats},
		{"the first of several", false, []RequestItem{{Section: "general", Quantity: 1}, stalls(0, "A-3")}, "sold_out general"},
		{"the second of several", false, []RequestItem{{Section: "general"}, stalls(0, "A-3")}, "seat_taken stalls: A-3"},
		{"both", false, []RequestItem{{Section: "general"}, stalls(2)}, "general:0:1000,stalls:2:4500:1-2"},
	} {
		event := seatedEvent(t)
		event.NoOrphans, event.MaxPerOrder = test.strict, 0
		r := Request{Type: RequestHold, CustomerID: "fred", Fingerprint: "f", Items: test.items}
		if len(test.items) == 1 {
			one := test.items[0]
			r.Section, r.Quantity, r.Seats, r.Apart, r.Items = one.Section, one.Quantity, one.Seats, one.Apart, nil
		}
		view := View{Event: event}
		fact, _ := Decide(view, testRef, now, Hold{Request: r, ValidMillis: now, HoldMillis: 1})
		got := string(fact.Items)
		if fact.Type == FactRejected {
			got = fact.Reason + " " + fact.Detail
			if strings.Contains(string(fact.Items), ":4500") || fact.Items.Quantity() == 0 {
				t.Errorf("%s: rejected with the items %s", test.what, fact.Items)
			}
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.what, got, test.want)
		}
		if _, err := Apply(view, *fact); err != nil {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}

// TestApplySeats: seats go from hand to hand, and a fact that takes them from somebody else cannot follow.
func TestApplySeats(t *testing.T) {
	view := View{Event: seatedEvent(t)}
	apply := func(f Fact, want string) {
		t.Helper()
		f.AtMillis = now
		next, err := Apply(view, f)
		if err != nil {
			t.Fatal(err)
		}
		if view = next; view.Event.Sections[1].Places != want || view.Event.CheckConservation() != nil {
			t.Errorf("%s: %+v, %v, want %s", f.Type, view.Event.Sections[1], view.Event.CheckConservation(), want)
		}
	}
	held := Fact{Type: FactHeld, OrderID: "o1", CustomerID: "fred", Items: "stalls:3:4500:1.9-10", Currency: "EUR", DeadlineMillis: aliveUntil}
	before := view
	apply(held, "-.-+ a!/--.")
	confirmed := held
	confirmed.Type = FactConfirmed
	apply(confirmed, "+.-+ a!/++.")
	cancelled := confirmed
	cancelled.Type, cancelled.Was, cancelled.Reason, cancelled.ConfirmedAtMillis = FactCancelled, OrderConfirmed, ReasonRequested, now
	apply(cancelled, "..-+ a!/...")

	for items, says := range map[Items]string{
		"stalls:1:4500:3": "'-', want '.' (of A-3)", "stalls:1:4500:4": "'+', want", "stalls:1:4500:6": "'a', want", "stalls:1:4500:7": "'!', want", "stalls:1:4500:5": "' ', want",
		"stalls:1:4500:12": "there is none", "stalls:2:4500": `places "" of a section`, "stalls:2:4500:1": "2 at places", "general:1:1000:1": `places "1" of a section`,
	} {
		f := held
		f.Items = items
		if after, err := Apply(before, f); !errors.Is(err, ErrSeat) || !strings.Contains(err.Error(), says) || after.Event.Sections[1] != before.Event.Sections[1] {
			t.Errorf("%s: %v, want %q", items, err, says)
		}
	}
}

// TestSeatReasons: package seats says the same of a request as orders do.
func TestSeatReasons(t *testing.T) {
	for ours, theirs := range map[string]string{
		ReasonUnknownSeat: seats.ReasonUnknownSeat, ReasonSeatTaken: seats.ReasonSeatTaken, ReasonNoAdjacent: seats.ReasonNoAdjacent,
		ReasonWouldOrphan: seats.ReasonWouldOrphan, ReasonSoldOut: seats.ReasonNotEnoughLeft,
	} {
		if ours != theirs {
			t.Errorf("%q and %q", ours, theirs)
		}
	}
}

// TestTermsWithSeats: other seats are other terms.
func TestTermsWithSeats(t *testing.T) {
	seen := map[string]bool{testTerms().Fingerprint(): true}
	for _, change := range []func(*Terms){
		func(t *Terms) { t.NoOrphans = true },
		func(t *Terms) { t.Sections[0].Layout = "A:1-10" },
		func(t *Terms) { t.Sections[0].Layout = "A:1-9,B:1" },
		func(t *Terms) { t.Sections[0].Layout, t.NoOrphans = "A:1-10", true },
	} {
		terms := testTerms()
		if change(&terms); terms.Validate() != nil || seen[terms.Fingerprint()] {
			t.Errorf("%+v: %v", terms, terms.Validate())
		}
		seen[terms.Fingerprint()] = true
	}
}
