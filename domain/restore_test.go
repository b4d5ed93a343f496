package domain

import (
	"strconv"
	"testing"
)

// lostFrom is when the first fact was lost.
const lostFrom = 8_000

// lostFacts are what an order went through, one fact an entry.
func lostFacts(facts ...Fact) []Fact {
	version := ""
	for i := range facts {
		f := &facts[i]
		f.EventID, f.OrderID, f.AtMillis = testRef.EventID, testRef.OrderID, lostFrom+int64(i)
		f.ID = strconv.FormatInt(f.AtMillis, 10) + "-0"
		if f.Change > 0 && version != "" {
			f.Version = version
		}
		version = f.ID
	}
	return facts
}

func TestRestore(t *testing.T) {
	const items = Items("general:2:900")
	const common = "7999-5"
	held := Fact{Type: FactHeld, RequestType: RequestPurchase, Fingerprint: "same", CustomerID: "fred", Items: items, Currency: "EUR", DeadlineMillis: aliveUntil}
	late := held
	late.DeadlineMillis = now
	confirmed := Fact{Type: FactConfirmed, CustomerID: "fred", Items: items, Currency: "EUR", AuthorizationID: "auth_1"}
	cancelled := func(was OrderState, at int64) Fact {
		return Fact{Type: FactCancelled, Reason: ReasonRequested, Was: was, CustomerID: "fred", Items: items, Currency: "EUR", ConfirmedAtMillis: at}
	}
	reduced := func(was OrderState) Fact {
		return Fact{Type: FactReduced, Change: 1, Fingerprint: "change", Version: common, Was: was, CustomerID: "fred", Items: "general:1:900", Currency: "EUR"}
	}
	changed := Fact{Type: FactChanged, Change: 1, Fingerprint: "change", Version: common, Was: OrderConfirmed, CustomerID: "fred", Items: "general:1:900", Taken: "vip:1:900", Currency: "EUR"}
	before := func(o Order) Order {
		o.Version = common
		return o
	}
	since := func(o Order) Order {
		o.Version = "7999-10" // by its number behind the common one
		return o
	}
	other := rejectedOrder()
	other.Fingerprint = "another"
	event := func(change func(e *Event)) Event {
		e := testEvent()
		change(&e)
		return e
	}
	full := event(func(e *Event) { e.Sections[0].Available, e.Sections[0].Sold = 1, 6 })
	counted := event(func(e *Event) { e.MaxPerCustomer = 3 })
	for _, c := range []struct {
		name    string
		event   Event
		is      Order
		lost    []Fact
		kind    MissingKind
		becomes OrderState
		reason  string
		refund  bool
		places  int64 // of the customer
		busy    string
	}{
		{name: "confirmed", event: testEvent(), lost: lostFacts(held, confirmed), kind: MissingComesBack, becomes: OrderConfirmed},
		{name: "confirmed, of a sale that has ended", event: event(func(e *Event) { e.Closed = true }), lost: lostFacts(late, confirmed), kind: MissingComesBack, becomes: OrderConfirmed},
		{name: "confirmed, and its customer buys another", event: testEvent(), busy: "o2", lost: lostFacts(held, confirmed), kind: MissingComesBack, becomes: OrderConfirmed},
		{name: "held", event: testEvent(), lost: lostFacts(held), kind: MissingComesBack, becomes: OrderHeld},
		{name: "held, and its customer buys another", event: testEvent(), busy: "o2", lost: lostFacts(held), kind: MissingEnds, becomes: OrderExpired, reason: ReasonInProgress},
		{name: "held, and its time is over", event: testEvent(), lost: lostFacts(late), kind: MissingEnds, becomes: OrderExpired},
		{name: "held, and others have it", event: full, lost: lostFacts(held), kind: MissingEnds, becomes: OrderExpired, reason: ReasonSoldOut},
		{name: "declined", event: testEvent(), lost: lostFacts(held, Fact{Type: FactDeclined}), kind: MissingEnds, becomes: OrderDeclined},
		{name: "rejected", event: testEvent(), lost: lostFacts(Fact{Type: FactRejected, RequestType: RequestPurchase, Fingerprint: "same", CustomerID: "fred", Items: "general:2:0", Reason: ReasonSoldOut})},
		{name: "lapsed", event: lateEvent(), lost: lostFacts(held, Fact{Type: FactLapsed, LateMillis: 5000}), kind: MissingEnds, becomes: OrderExpired},
		{name: "others have it", event: full, lost: lostFacts(held, confirmed), kind: MissingPlace, reason: ReasonSoldOut},
		{name: "others have it, refunded", event: full, lost: lostFacts(held, confirmed), refund: true, kind: MissingPlace, becomes: OrderCancelled, reason: ReasonSoldOut},
		{name: "its customer has others", event: counted, places: 2, lost: lostFacts(held, confirmed), kind: MissingPlace, reason: ReasonOverCustomer},
		{name: "its customer may have it", event: counted, places: 1, lost: lostFacts(held, confirmed), kind: MissingComesBack, becomes: OrderConfirmed},
		{name: "its event was called off", event: event(func(e *Event) { e.Closed, e.Cancelled = true, true }), lost: lostFacts(held, confirmed), kind: MissingPlace, reason: ReasonEventCancelled},
		{name: "cancelled, nothing was left", event: full, lost: lostFacts(held, confirmed, cancelled(OrderConfirmed, lostFrom+1)), kind: MissingEnds, becomes: OrderCancelled},
		{name: "the cancel of what is confirmed", event: testEvent(), is: before(confirmedOrder()), lost: lostFacts(cancelled(OrderConfirmed, confirmedAt)), kind: MissingEnds, becomes: OrderCancelled},
		{name: "the cancel of what is held", event: testEvent(), is: before(heldOrder(RequestPurchase, aliveUntil)), lost: lostFacts(cancelled(OrderHeld, 0)), kind: MissingEnds, becomes: OrderCancelled},
		{name: "a partial cancel", event: testEvent(), is: before(confirmedOrder()), lost: lostFacts(reduced(OrderConfirmed)), kind: MissingComesBack, becomes: OrderConfirmed},
		{name: "the payment of what is held", event: full, is: before(heldOrder(RequestPurchase, now)), lost: lostFacts(confirmed), kind: MissingComesBack, becomes: OrderConfirmed},
		{name: "an exchange", event: testEvent(), is: before(confirmedOrder()), lost: lostFacts(changed), kind: MissingComesBack, becomes: OrderConfirmed},
		{name: "an exchange for what others have", event: event(func(e *Event) { e.Sections[1].Available, e.Sections[1].Sold = 0, 4 }), is: before(confirmedOrder()), lost: lostFacts(changed), kind: MissingUnclear, reason: ReasonSoldOut},
		{name: "the late payment of what had lapsed", event: lateEvent(), is: before(lapsedOrder(RequestPurchase, now+1)), lost: lostFacts(confirmed), kind: MissingComesBack, becomes: OrderConfirmed},
		{name: "an attempt to pay", event: testEvent(), is: before(heldOrder(RequestHold, aliveUntil)), lost: lostFacts(Fact{Type: FactPaying, Attempt: 1, Fingerprint: "pay"})},
		{name: "published again, and confirmed", event: testEvent(), is: since(confirmedOrder()), lost: lostFacts(held, confirmed), kind: MissingWentOn},
		{name: "published again, and held", event: testEvent(), is: since(heldOrder(RequestPurchase, aliveUntil)), lost: lostFacts(held, confirmed), kind: MissingWentOn},
		{name: "published again, and too late", event: testEvent(), is: since(rejectedOrder()), lost: lostFacts(held, confirmed), kind: MissingPlace, reason: ReasonSoldOut},
		{name: "published again, too late, refunded", event: testEvent(), is: since(rejectedOrder()), refund: true, lost: lostFacts(held, confirmed), kind: MissingPlace, becomes: OrderCancelled, reason: ReasonSoldOut},
		{name: "another body was published again", event: testEvent(), is: since(other), refund: true, lost: lostFacts(held, confirmed), kind: MissingUnclear},
		{name: "its cancel came before it was published again", event: testEvent(), is: since(cancelledUnseen()), refund: true, lost: lostFacts(held, confirmed), kind: MissingPlace, becomes: OrderCancelled, reason: ReasonRequested},
		{name: "it ran out before it was paid again", event: testEvent(), is: since(endedOrder(OrderExpired, "")), refund: true, lost: lostFacts(confirmed), kind: MissingPlace, becomes: OrderCancelled},
		{name: "it ran out, and had not been paid", event: testEvent(), is: since(endedOrder(OrderExpired, "")), lost: lostFacts(Fact{Type: FactDeclined}), kind: MissingWentOn},
		{name: "nothing fits", event: testEvent(), lost: lostFacts(confirmed), kind: MissingUnclear},
		{name: "its event is lost", lost: lostFacts(held, confirmed), kind: MissingEvent},
		{name: "its event is another", event: event(func(e *Event) { e.Currency = "JPY" }), lost: lostFacts(held, confirmed), kind: MissingEvent},
		{name: "its event is over", event: Event{Version: 3, Over: "9000-0"}, lost: lostFacts(held, confirmed)},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := View{Event: c.event, Order: c.is, Places: c.places, InProgress: c.busy}
			if c.is.State == OrderHeld {
				v.InProgress = testRef.OrderID
			}
			command := Restore{Lost: c.lost, Common: common, Refund: c.refund}
			found, fact := command.Find(v, testRef, now)
			if found.Kind != c.kind || found.Becomes != c.becomes || found.Reason != c.reason {
				t.Fatalf("found %+v, want %q, that it becomes %s, and the reason %q", found, c.kind, c.becomes, c.reason)
			}
			decided, verdict := Decide(v, testRef, now, command)
			if verdict != VerdictDone || (decided == nil) != (fact == nil) || (fact != nil) != (c.becomes != OrderNone) {
				t.Fatalf("decided %+v, %s", decided, verdict)
			}
			if fact == nil {
				return
			}
			fact.ID, fact.AtMillis = "10000-0", now
			after, err := Apply(v, *fact)
			if err != nil {
				t.Fatal(err)
			}
			if after.Order.State != c.becomes || after.Order.Fingerprint != "same" || after.Order.CustomerID != "fred" {
				t.Errorf("it is %+v", after.Order)
			}
			if is := after.Order; is.wasPaid() && is.PaidAmount() != 1800 || c.refund && is.RefundTotal() != 1800 {
				t.Errorf("%d were paid, of which %d come back", is.PaidAmount(), is.RefundTotal())
			}
			if err := after.Event.CheckConservation(); err != nil {
				t.Error(err)
			}
			if again, fact := command.Find(after, testRef, now); fact != nil || c.becomes == OrderConfirmed && again.Kind != MissingWentOn {
				t.Errorf("once more it finds %+v", again)
			}
		})
	}
}

// What a fact says that restores an order is compared with the order, and what is around it.
func TestRestoredIsChecked(t *testing.T) {
	is := confirmedOrder()
	is.Version = "7-0"
	next := is
	next.Items, next.Reduced, next.Change, next.ChangeFingerprint, next.ChangedAtMillis, next.Version = "general:1:900", 900, 1, "change", 7, ""
	good := Fact{
		ID: "10000-0", AtMillis: now, Type: FactRestored, EventID: testRef.EventID, OrderID: testRef.OrderID, Version: "7-0", Was: OrderConfirmed,
		CustomerID: "fred", Currency: "EUR", Items: "general:1:900", Restored: &next,
	}
	v := View{Event: testEvent(), Order: is}
	if _, err := Apply(v, good); err != nil {
		t.Fatal(err)
	}
	granted := v
	granted.Order.Kept = -100
	held := heldOrder(RequestPurchase, aliveUntil)
	anew := Fact{
		ID: "10000-0", AtMillis: now, Type: FactRestored, EventID: testRef.EventID, OrderID: testRef.OrderID,
		CustomerID: "fred", Currency: "EUR", Taken: "general:2:900", Restored: &held,
	}
	if _, err := Apply(View{Event: testEvent()}, anew); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		view   View
		fact   Fact
		change func(f *Fact, o *Order)
	}{
		"nothing":                    {v, good, func(f *Fact, _ *Order) { f.Restored = nil }},
		"of another version":         {v, good, func(f *Fact, _ *Order) { f.Version = "6-0" }},
		"of another state":           {v, good, func(f *Fact, _ *Order) { f.Was = OrderHeld }},
		"gives too little":           {v, good, func(f *Fact, _ *Order) { f.Items = "" }},
		"gives too much":             {v, good, func(f *Fact, _ *Order) { f.Items = "general:2:900" }},
		"takes what is said nowhere": {v, good, func(f *Fact, _ *Order) { f.Taken = "vip:1:900" }},
		"was paid less":              {v, good, func(_ *Fact, o *Order) { o.Reduced = 800 }},
		"gives money less":           {granted, good, func(_ *Fact, o *Order) { o.Kept = 900 }},
		"was never paid":             {v, good, func(_ *Fact, o *Order) { o.State, o.ConfirmedAtMillis, o.Reduced = OrderExpired, 0, 0 }},
		"held again":                 {v, good, func(_ *Fact, o *Order) { o.State = OrderHeld }},
		"of another body":            {v, good, func(_ *Fact, o *Order) { o.Fingerprint = "another" }},
		"of another customer":        {v, good, func(f *Fact, o *Order) { f.CustomerID, o.CustomerID = "amy", "amy" }},
		"of two customers":           {v, good, func(f *Fact, _ *Order) { f.CustomerID = "amy" }},
		"rejected":                   {View{Event: testEvent()}, anew, func(f *Fact, o *Order) { f.Taken, o.State = "", OrderRejected }},
		"lapsed":                     {View{Event: testEvent()}, anew, func(f *Fact, o *Order) { f.Taken, o.State = "", OrderLapsed }},
		"held too late":              {View{Event: testEvent()}, anew, func(_ *Fact, o *Order) { o.DeadlineMillis = now }},
		"held by who has another":    {View{Event: testEvent(), InProgress: "o2"}, anew, func(*Fact, *Order) {}},
		"held of what is not there":  {View{Event: testEvent()}, anew, func(f *Fact, o *Order) { f.Taken, o.Items = "general:6:900", "general:6:900" }},
		"of no event":                {View{}, anew, func(*Fact, *Order) {}},
	} {
		t.Run(name, func(t *testing.T) {
			f, o := c.fact, *c.fact.Restored
			f.Restored = &o
			c.change(&f, &o)
			if after, err := Apply(c.view, f); err == nil {
				t.Errorf("it follows: %+v", after.Order)
			}
		})
	}
}

// Which lost facts about events are not so now.
func TestMissingOfEvent(t *testing.T) {
	terms, others := testTerms(), testTerms()
	others.Name = "Another"
	listed := Fact{Type: FactCreated, EventID: "e1", AtMillis: 1, Terms: &terms}
	adjusted := Fact{Type: FactAdjusted, EventID: "e1", AtMillis: 2, Terms: &others}
	fact := func(t FactType) Fact { return Fact{Type: t, EventID: "e1", AtMillis: 3} }
	closed := testEvent()
	closed.Closed = true
	off := closed
	off.Cancelled = true
	for name, c := range map[string]struct {
		event Event
		lost  []Fact
		want  []string
	}{
		"listed":                    {Event{}, []Fact{listed}, []string{"events create"}},
		"listed, and again":         {testEvent(), []Fact{listed}, nil},
		"listed, and adjusted":      {Event{}, []Fact{listed, adjusted}, []string{"events create"}},
		"adjusted":                  {testEvent(), []Fact{adjusted}, []string{"events adjust"}},
		"adjusted to and fro":       {testEvent(), []Fact{adjusted, {Type: FactAdjusted, EventID: "e1", Terms: &terms}}, nil},
		"closed":                    {testEvent(), []Fact{fact(FactClosed)}, []string{"events close"}},
		"closed, and again":         {closed, []Fact{fact(FactClosed)}, nil},
		"closed, and reopened":      {testEvent(), []Fact{fact(FactClosed), fact(FactReopened)}, nil},
		"reopened":                  {closed, []Fact{fact(FactReopened)}, []string{"events reopen"}},
		"called off":                {closed, []Fact{fact(FactClosed), fact(FactEventCancelled)}, []string{"events cancel"}},
		"called off, and again":     {off, []Fact{fact(FactEventCancelled)}, nil},
		"adjusted and closed":       {testEvent(), []Fact{adjusted, fact(FactClosed)}, []string{"events adjust", "events close"}},
		"forgotten":                 {closed, []Fact{fact(FactEventForgotten)}, nil},
		"closed, which is over now": {Event{Over: "5-0"}, []Fact{listed, fact(FactClosed)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := MissingOfEvent(c.event, c.lost)
			if len(got) != len(c.want) {
				t.Fatalf("%+v, want %v", got, c.want)
			}
			for i, m := range got {
				if m.Do != c.want[i] || m.EventID != "e1" {
					t.Errorf("%+v, want %s", m, c.want[i])
				}
			}
		})
	}
}
