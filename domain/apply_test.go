package domain

import (
	"errors"
	"maps"
	"reflect"
	"testing"
)

// factAt is the time of most facts of these tests, and factID their entry.
const (
	factAt      = 12_000
	factID      = "12000-0"
	confirmedID = "10000-0"
)

// eventWith is testEvent with the general section's units where they are said to be.
func eventWith(available, held, sold int64) Event {
	e := testEvent()
	e.Sections[0].Available, e.Sections[0].Held, e.Sections[0].Sold = available, held, sold
	return e
}

// orderFact is a well-formed fact of a type about order o1, fred's 2 general units.
func orderFact(kind FactType, was OrderState) Fact {
	f := Fact{ID: factID, AtMillis: factAt, Type: kind, EventID: "e1", OrderID: "o1"}
	switch kind {
	case FactHeld:
		f.RequestType, f.Fingerprint, f.CustomerID, f.Items = RequestHold, "same", "fred", "general:2:1000"
		f.Currency, f.DeadlineMillis = "EUR", 11_000
	case FactRejected:
		f.RequestType, f.Fingerprint, f.CustomerID, f.Items = RequestHold, "same", "fred", "general:2:0"
		f.Reason, f.Detail = ReasonInvalid, "quantity: missing"
	case FactConfirmed:
		f.ID, f.AtMillis = confirmedID, now // its hold is over at factAt
		f.CustomerID, f.Items, f.Currency, f.AuthorizationID = "fred", "general:2:900", "EUR", "auth_1"
	case FactCancelled:
		f.Was, f.Reason = was, ReasonRequested
		if was != OrderNone {
			f.CustomerID, f.Items, f.Currency = "fred", "general:2:900", "EUR"
		}
		if was == OrderConfirmed {
			f.ConfirmedAtMillis = confirmedAt
		}
	}
	return f
}

func TestApplyLegal(t *testing.T) {
	held := heldOrder(RequestPurchase, aliveUntil)
	with := func(o Order, change func(*Order)) Order {
		change(&o)
		return o
	}
	for _, test := range []struct {
		name   string
		before View
		fact   Fact
		after  View
	}{
		{
			"held",
			View{Event: eventWith(5, 3, 2)},
			orderFact(FactHeld, 0),
			View{Event: eventWith(3, 5, 2), InProgress: "o1", Order: Order{
				State: OrderHeld, RequestType: RequestHold, Fingerprint: "same", CustomerID: "fred", Items: "general:2:1000", Currency: "EUR", DeadlineMillis: 11_000, HeldAtMillis: factAt, Version: factID,
			}},
		},
		{
			"held, the last units",
			View{Event: eventWith(2, 6, 2)},
			orderFact(FactHeld, 0),
			View{Event: eventWith(0, 8, 2), InProgress: "o1", Order: Order{
				State: OrderHeld, RequestType: RequestHold, Fingerprint: "same", CustomerID: "fred", Items: "general:2:1000", Currency: "EUR", DeadlineMillis: 11_000, HeldAtMillis: factAt, Version: factID,
			}},
		},
		{
			"rejected, while the customer has another order in progress",
			View{Event: testEvent(), InProgress: "o0"},
			orderFact(FactRejected, 0),
			View{Event: testEvent(), InProgress: "o0", Order: Order{
				State: OrderRejected, RequestType: RequestHold, Fingerprint: "same", CustomerID: "fred", Items: "general:2:0",
				ResolvedAtMillis: factAt, Reason: "invalid", Detail: "quantity: missing", Version: factID,
			}},
		},
		{
			"rejected, of an event that is not listed",
			View{},
			orderFact(FactRejected, 0),
			View{Order: Order{
				State: OrderRejected, RequestType: RequestHold, Fingerprint: "same", CustomerID: "fred", Items: "general:2:0",
				ResolvedAtMillis: factAt, Reason: "invalid", Detail: "quantity: missing", Version: factID,
			}},
		},
		{
			"confirmed",
			View{Event: eventWith(5, 3, 2), Order: held, InProgress: "o1"},
			orderFact(FactConfirmed, 0),
			View{Event: eventWith(5, 1, 4), Order: with(held, func(o *Order) {
				o.State, o.Version, o.ConfirmedAtMillis, o.ResolvedAtMillis, o.AuthorizationID = OrderConfirmed, confirmedID, now, now, "auth_1"
			})},
		},
		{
			"declined",
			View{Event: eventWith(5, 3, 2), Order: held, InProgress: "o1"},
			orderFact(FactDeclined, 0),
			View{Event: eventWith(7, 1, 2), Order: with(held, func(o *Order) { o.State, o.Version, o.ResolvedAtMillis = OrderDeclined, factID, factAt })},
		},
		{
			"declined for a reason",
			View{Event: eventWith(5, 3, 2), Order: held, InProgress: "o1"},
			Fact{ID: factID, Type: FactDeclined, AtMillis: factAt, EventID: "e1", OrderID: "o1", Reason: "payment_mismatch", Detail: "amount 5 instead of 1800"},
			View{Event: eventWith(7, 1, 2), Order: with(held, func(o *Order) {
				o.State, o.Version, o.ResolvedAtMillis, o.Reason, o.Detail = OrderDeclined, factID, factAt, "payment_mismatch", "amount 5 instead of 1800"
			})},
		},
		{
			"expired",
			View{Event: eventWith(5, 3, 2), Order: held, InProgress: "o1"},
			orderFact(FactExpired, 0),
			View{Event: eventWith(7, 1, 2), Order: with(held, func(o *Order) { o.State, o.Version, o.ResolvedAtMillis = OrderExpired, factID, factAt })},
		},
		{
			"expired, another order is in progress by now",
			View{Event: eventWith(5, 3, 2), Order: held, InProgress: "o2"},
			orderFact(FactExpired, 0),
			View{Event: eventWith(7, 1, 2), InProgress: "o2", Order: with(held, func(o *Order) { o.State, o.Version, o.ResolvedAtMillis = OrderExpired, factID, factAt })},
		},
		{
			"cancelled, unseen",
			View{Event: testEvent()},
			orderFact(FactCancelled, OrderNone),
			View{Event: testEvent(), Order: Order{State: OrderCancelled, Version: factID, ResolvedAtMillis: factAt, Reason: "requested"}},
		},
		{
			"cancelled, unseen, of an event that is not listed",
			View{},
			orderFact(FactCancelled, OrderNone),
			View{Order: Order{State: OrderCancelled, Version: factID, ResolvedAtMillis: factAt, Reason: "requested"}},
		},
		{
			"cancelled while held",
			View{Event: eventWith(5, 3, 2), Order: held, InProgress: "o1"},
			orderFact(FactCancelled, OrderHeld),
			View{Event: eventWith(7, 1, 2), Order: with(held, func(o *Order) {
				o.State, o.Version, o.ResolvedAtMillis, o.Reason = OrderCancelled, factID, factAt, "requested"
			})},
		},
		{
			"cancelled after it was confirmed, while the customer has another order in progress",
			View{Event: eventWith(5, 3, 2), Order: confirmedOrder(), InProgress: "o2"},
			orderFact(FactCancelled, OrderConfirmed),
			View{Event: eventWith(7, 3, 0), InProgress: "o2", Order: with(confirmedOrder(), func(o *Order) {
				o.State, o.Version, o.ResolvedAtMillis, o.Reason = OrderCancelled, factID, factAt, "requested"
			})},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := cloneView(test.before)
			got, err := Apply(test.before, test.fact)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.after) {
				t.Errorf("got  %+v\nwant %+v", got, test.after)
			}
			if !reflect.DeepEqual(test.before, before) {
				t.Errorf("Apply changed its input to %+v", test.before)
			}
		})
	}
}

// TestApplyAttempts: which facts about attempts to pay may follow which.
func TestApplyAttempts(t *testing.T) {
	confirmedBy := func(n int) Fact {
		f := orderFact(FactConfirmed, 0)
		f.Attempt = n
		return f
	}
	about := func(kind FactType, n int) Fact {
		return Fact{ID: confirmedID, AtMillis: now, Type: kind, EventID: "e1", OrderID: "o1", Attempt: n, Fingerprint: map[FactType]string{FactPaying: "pay"}[kind]}
	}
	orders := map[string]Order{
		"none": {}, "purchase": heldOrder(RequestPurchase, aliveUntil), "unpaid": heldOrder(RequestHold, aliveUntil), "over": heldOrder(RequestHold, now),
		"first open": payingOrder(1, PayOpen, aliveUntil), "first declined": payingOrder(1, PayDeclined, aliveUntil),
		"second open": payingOrder(2, PayOpen, aliveUntil), "all declined": payingOrder(MaxAttempts, PayDeclined, aliveUntil), "confirmed": confirmedOrder(), "awaits": payingOrder(2, PayActionRequired, aliveUntil),
	}
	facts := map[string]Fact{
		"paying 1": about(FactPaying, 1), "paying 2": about(FactPaying, 2), "paying 3": about(FactPaying, 3), "paying 10": about(FactPaying, MaxAttempts+1),
		"payment_declined 1": about(FactPaymentDeclined, 1), "payment_declined 2": about(FactPaymentDeclined, 2), "payment_declined 0": about(FactPaymentDeclined, 0),
		"action_required 1": about(FactActionRequired, 1), "action_required 2": about(FactActionRequired, 2),
		"confirmed": confirmedBy(0), "confirmed by 2": confirmedBy(2), "declined": orderFact(FactDeclined, 0),
	}
	legal := map[string]Order{
		"unpaid, paying 1": payingOrder(1, PayOpen, aliveUntil), "first declined, paying 2": payingOrder(2, PayOpen, aliveUntil),
		"first open, payment_declined 1": payingOrder(1, PayDeclined, aliveUntil), "second open, payment_declined 2": payingOrder(2, PayDeclined, aliveUntil),
		"first open, action_required 1": payingOrder(1, PayActionRequired, aliveUntil), "second open, action_required 2": payingOrder(2, PayActionRequired, aliveUntil),
		"awaits, payment_declined 2": payingOrder(2, PayDeclined, aliveUntil), "awaits, confirmed by 2": {}, "purchase, action_required 1": {},
		"purchase, confirmed": {}, "unpaid, confirmed": {}, "first open, confirmed": {}, "second open, confirmed by 2": {}, // {}: not of this test
		"purchase, declined": {}, "unpaid, declined": {}, "over, declined": {}, // of a program that knew of no attempts
	}
	for order, o := range orders {
		for name, fact := range facts {
			before := View{Event: testEvent(), Order: o, InProgress: "o1"}
			after, err := Apply(before, fact)
			want, ok := legal[order+", "+name]
			if ok != (err == nil) {
				t.Errorf("%s of %s: %v", name, order, err)
				continue
			}
			if want.Version = confirmedID; ok && want.State != OrderNone && (after.Order != want || !reflect.DeepEqual(after.Event, before.Event) || after.InProgress != "o1") {
				t.Errorf("%s of %s:\n%+v\nwant\n%+v, and nothing else changed", name, order, after, want)
			}
		}
	}
}

// TestApplyEveryTransition is every fact in every state: what is not in the list
// of legal ones is an error that changes nothing.
func TestApplyEveryTransition(t *testing.T) {
	orders := map[OrderState]Order{
		OrderNone: {}, OrderHeld: heldOrder(RequestPurchase, aliveUntil), OrderConfirmed: confirmedOrder(),
		OrderDeclined: endedOrder(OrderDeclined, ""), OrderExpired: endedOrder(OrderExpired, ""),
		OrderCancelled: endedOrder(OrderCancelled, ReasonRequested), OrderRejected: rejectedOrder(),
		OrderLapsed: lapsedOrder(RequestPurchase, aliveUntil),
	}
	legal := map[string]OrderState{ // the state it leads to
		"none held":                  OrderHeld,
		"none rejected":              OrderRejected,
		"none cancelled (none)":      OrderCancelled,
		"held confirmed":             OrderConfirmed,
		"held declined":              OrderDeclined,
		"held expired":               OrderExpired,
		"held cancelled (held)":      OrderCancelled,
		"confirmed cancelled (conf)": OrderCancelled,
		"lapsed confirmed":           OrderConfirmed,
		"lapsed declined":            OrderDeclined,
		"lapsed cancelled (lapsed)":  OrderCancelled,
		"lapsed expired":             OrderExpired,
		"lapsed expired for a seat":  OrderExpired,
	}
	type labelled struct {
		name string
		fact Fact
	}
	facts := []labelled{
		{"held", orderFact(FactHeld, 0)},
		{"rejected", orderFact(FactRejected, 0)},
		{"confirmed", orderFact(FactConfirmed, 0)},
		{"declined", orderFact(FactDeclined, 0)},
		{"expired", orderFact(FactExpired, 0)},
		{"cancelled (none)", orderFact(FactCancelled, OrderNone)},
		{"cancelled (held)", orderFact(FactCancelled, OrderHeld)},
		{"cancelled (conf)", orderFact(FactCancelled, OrderConfirmed)},
		{"cancelled (declined)", orderFact(FactCancelled, OrderDeclined)},
		{"cancelled (expired)", orderFact(FactCancelled, OrderExpired)},
		{"cancelled (cancelled)", orderFact(FactCancelled, OrderCancelled)},
		{"cancelled (rejected)", orderFact(FactCancelled, OrderRejected)},
		{"cancelled (lapsed)", orderFact(FactCancelled, OrderLapsed)},
		{"lapsed", orderFact(FactLapsed, 0)}, // of an event that does not honour late approvals
		{"expired for a seat", func() Fact {
			f := orderFact(FactExpired, 0)
			f.Reason = ReasonSeatTaken
			return f
		}()},
		{"listed", Fact{Type: FactCreated, EventID: "e1", OrderID: "o1", Terms: ptr(testTerms())}},
		{"adjusted", Fact{Type: FactAdjusted, EventID: "e1", OrderID: "o1", Terms: ptr(testTerms())}},
		{"closed", Fact{Type: FactClosed, EventID: "e1", OrderID: "o1"}},
		{"reopened", Fact{Type: FactReopened, EventID: "e1", OrderID: "o1", Terms: ptr(testTerms())}},
		{"event_cancelled", Fact{Type: FactEventCancelled, EventID: "e1", OrderID: "o1"}},
		{"cancelled with its event, which is not", func() Fact {
			f := orderFact(FactCancelled, OrderHeld)
			f.Reason = ReasonEventCancelled
			return f
		}()},
		{"no type", Fact{EventID: "e1", OrderID: "o1"}},
		{"unheard of", Fact{Type: "sold", EventID: "e1", OrderID: "o1"}},
	}
	seen := 0
	for _, state := range OrderStates {
		for _, f := range facts {
			cell := state.String() + " " + f.name
			t.Run(cell, func(t *testing.T) {
				v := View{Event: testEvent(), Order: orders[state]}
				if state == OrderHeld {
					v.InProgress = "o1"
				}
				before := cloneView(v)
				got, err := Apply(v, f.fact)
				if !reflect.DeepEqual(v, before) {
					t.Errorf("Apply changed its input to %+v", v)
				}
				want, ok := legal[cell]
				if ok {
					seen++
					if err != nil || got.Order.State != want {
						t.Errorf("got %s, %v, want %s", got.Order.State, err, want)
					}
					return
				}
				if err == nil {
					t.Fatalf("no error; it became %s", got.Order.State)
				}
				if !reflect.DeepEqual(got, before) {
					t.Errorf("an error, and yet the view became %+v", got)
				}
			})
		}
	}
	if seen != len(legal) {
		t.Errorf("%d legal transitions were tried, want %d", seen, len(legal))
	}
}

// TestApplyBrokenInventory: facts whose order is legal but whose units are not there.
func TestApplyBrokenInventory(t *testing.T) {
	held := heldOrder(RequestPurchase, aliveUntil)
	lost := held
	lost.Items = "balcony:2:900"
	elsewhere := orderFact(FactHeld, 0)
	elsewhere.Items = "balcony:2:1000"
	for _, test := range []struct {
		name      string
		view      View
		fact      Fact
		conserved bool // the error is not about conservation
	}{
		{"more held than there are", View{Event: eventWith(1, 7, 2)}, orderFact(FactHeld, 0), false},
		{"confirmed, but so many are not held", View{Event: eventWith(7, 1, 2), Order: held, InProgress: "o1"}, orderFact(FactConfirmed, 0), false},
		{"declined, but so many are not held", View{Event: eventWith(7, 1, 2), Order: held, InProgress: "o1"}, orderFact(FactDeclined, 0), false},
		{"expired, but so many are not held", View{Event: eventWith(7, 1, 2), Order: held, InProgress: "o1"}, orderFact(FactExpired, 0), false},
		{"cancelled, but so many are not held", View{Event: eventWith(7, 1, 2), Order: held, InProgress: "o1"}, orderFact(FactCancelled, OrderHeld), false},
		{"cancelled, but so many are not sold", View{Event: eventWith(7, 2, 1), Order: confirmedOrder()}, orderFact(FactCancelled, OrderConfirmed), false},
		{"units that do not add up before", View{Event: eventWith(6, 3, 2)}, orderFact(FactHeld, 0), false},
		{"held in a section that is not there", View{Event: testEvent()}, elsewhere, true},
		{"held, of an event that is not listed", View{}, orderFact(FactHeld, 0), true},
		{"confirmed in a section that is not there", View{Event: testEvent(), Order: lost}, orderFact(FactConfirmed, 0), true},
		{"held while another order is in progress", View{Event: testEvent(), InProgress: "o0"}, orderFact(FactHeld, 0), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := cloneView(test.view)
			got, err := Apply(test.view, test.fact)
			if err == nil {
				t.Fatalf("no error; got %+v", got)
			}
			if errors.Is(err, ErrNotConserved) == test.conserved {
				t.Errorf("got %v; about conservation: want %v", err, !test.conserved)
			}
			if !reflect.DeepEqual(got, before) || !reflect.DeepEqual(test.view, before) {
				t.Error("an error, and yet the view changed")
			}
		})
	}
}

// TestApplyAFactThatSaysOtherwise: what depends on a deadline and what a fact repeats of its order is compared with the order.
func TestApplyAFactThatSaysOtherwise(t *testing.T) {
	held, confirmed := heldOrder(RequestPurchase, now), confirmedOrder()
	other := map[string]func(*Fact){
		"customer":                 func(f *Fact) { f.CustomerID = "mary" },
		"section":                  func(f *Fact) { f.Items = "vip:2:900" },
		"quantity":                 func(f *Fact) { f.Items = "general:1:900" },
		"price":                    func(f *Fact) { f.Items = "general:2:901" },
		"currency":                 func(f *Fact) { f.Currency = "USD" },
		"time of its confirmation": func(f *Fact) { f.ConfirmedAtMillis++ },
	}
	at := func(kind FactType, millis int64) Fact {
		f := orderFact(kind, 0)
		f.AtMillis = millis
		return f
	}
	type cell struct {
		order Order
		fact  Fact
		ok    bool
	}
	cells := map[string]cell{
		"confirmed a millisecond before its deadline": {held, at(FactConfirmed, now-1), true},
		"confirmed at its deadline":                   {held, at(FactConfirmed, now), false},
		"confirmed after its deadline":                {held, at(FactConfirmed, now+1), false},
		"expired a millisecond before its deadline":   {held, at(FactExpired, now-1), false},
		"expired at its deadline":                     {held, at(FactExpired, now), true},
		"declined after its deadline":                 {held, at(FactDeclined, now+1), true},
	}
	for what, change := range other {
		for name, of := range map[string]cell{
			"confirmed":                {held, at(FactConfirmed, now-1), true},
			"cancelled while held":     {held, orderFact(FactCancelled, OrderHeld), true},
			"cancelled when confirmed": {confirmed, orderFact(FactCancelled, OrderConfirmed), true},
			"cancelled, unseen":        {Order{}, orderFact(FactCancelled, OrderNone), true},
		} {
			cells[name] = of
			change(&of.fact)
			of.ok = false
			cells[name+", with another "+what] = of
		}
	}
	for name, c := range cells {
		t.Run(name, func(t *testing.T) {
			v := View{Event: testEvent(), Order: c.order}
			before := cloneView(v)
			got, err := Apply(v, c.fact)
			if (err == nil) != c.ok {
				t.Errorf("got %v, %s", err, got.Order.State)
			}
			if err != nil && !reflect.DeepEqual(got, before) {
				t.Errorf("an error, and yet the view became %+v", got)
			}
		})
	}
}

// event is testEvent with a difference.
func event(change func(*Event)) Event {
	e := testEvent()
	change(&e)
	return e
}

func TestApplyEvent(t *testing.T) {
	terms := testTerms()
	adjusted := Terms{
		Name: "Another Evening", Currency: "EUR", OnSaleMillis: 2_000,
		Sections: []SectionTerms{{Name: "general", Price: 1100, Capacity: 5}, {Name: "vip", Price: 5000, Capacity: 9}, {Name: "balcony", Price: 700, Capacity: 3}},
	}
	for _, test := range []struct {
		name   string
		before Event
		fact   Fact
		after  Event
	}{
		{
			"listed",
			Event{},
			Fact{Type: FactCreated, EventID: "e1", Terms: &terms},
			Event{
				Name: "An Evening", Currency: "EUR", MaxPerOrder: 6, OnSaleMillis: 1_000, OffSaleMillis: 90_000,
				Fingerprint: terms.Fingerprint(), Version: 1,
				Sections: []Section{{Name: "general", Price: 1000, Capacity: 10, Available: 10}, {Name: "vip", Price: 5000, Capacity: 4, Available: 4}},
			},
		},
		{
			"adjusted", testEvent(),
			Fact{Type: FactAdjusted, EventID: "e1", Terms: &adjusted},
			Event{
				Name: "Another Evening", Currency: "EUR", OnSaleMillis: 2_000,
				Fingerprint: terms.Fingerprint(), Version: 2,
				Sections: []Section{
					{Name: "general", Price: 1100, Capacity: 5, Available: 0, Held: 3, Sold: 2},
					{Name: "vip", Price: 5000, Capacity: 9, Available: 9},
					{Name: "balcony", Price: 700, Capacity: 3, Available: 3},
				},
			},
		},
		{
			"closed", testEvent(),
			Fact{Type: FactClosed, EventID: "e1", Cause: Cause{Reason: "fire", By: "ann"}},
			event(func(e *Event) { e.Closed, e.Cause, e.Version = true, Cause{Reason: "fire", By: "ann"}, 2 }),
		},
		{
			"reopened", event(func(e *Event) { e.Closed, e.Cause, e.Version = true, Cause{By: "ann"}, 2 }),
			Fact{Type: FactReopened, EventID: "e1", Terms: ptr(testTerms()), Cause: Cause{By: "bob"}},
			event(func(e *Event) { e.Version = 3 }),
		},
		{
			"cancelled", testEvent(),
			Fact{Type: FactEventCancelled, EventID: "e1", Cause: Cause{Reason: "fire", By: "ann"}},
			event(func(e *Event) {
				e.Closed, e.Cancelled, e.Cause, e.Version = true, true, Cause{Reason: "fire", By: "ann"}, 2
			}),
		},
		{
			"cancelled, after it was closed", event(func(e *Event) { e.Closed, e.Cause, e.Version = true, Cause{By: "bob"}, 2 }),
			Fact{Type: FactEventCancelled, EventID: "e1", Cause: Cause{Reason: "fire", By: "ann"}},
			event(func(e *Event) {
				e.Closed, e.Cancelled, e.Cause, e.Version = true, true, Cause{Reason: "fire", By: "ann"}, 3
			}),
		},
		{
			"reopened, after it was cancelled", event(func(e *Event) {
				e.Closed, e.Cancelled, e.Cause, e.Version = true, true, Cause{Reason: "fire", By: "ann"}, 2
			}),
			Fact{Type: FactReopened, EventID: "e1", Terms: ptr(testTerms())},
			event(func(e *Event) { e.Version = 3 }),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := cloneView(View{Event: test.before}).Event
			got, err := ApplyEvent(test.before, test.fact)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.after) {
				t.Errorf("got  %+v\nwant %+v", got, test.after)
			}
			if !reflect.DeepEqual(test.before, before) {
				t.Errorf("ApplyEvent changed its input to %+v", test.before)
			}
		})
	}
}

func TestApplyEventErrors(t *testing.T) {
	closed := testEvent()
	closed.Closed = true
	tooSmall := testTerms()
	tooSmall.Sections[0].Capacity = 4
	fewer := testTerms()
	fewer.Sections = fewer.Sections[:1]
	for _, test := range []struct {
		name  string
		event Event
		fact  Fact
	}{
		{"adjusted without one of its sections", testEvent(), Fact{Type: FactAdjusted, Terms: &fewer}},
		{"listed twice", testEvent(), Fact{Type: FactCreated, Terms: ptr(testTerms())}},
		{"listed without terms", Event{}, Fact{Type: FactCreated}},
		{"adjusted, not listed", Event{}, Fact{Type: FactAdjusted, Terms: ptr(testTerms())}},
		{"adjusted without terms", testEvent(), Fact{Type: FactAdjusted}},
		{"adjusted below what is held and sold", testEvent(), Fact{Type: FactAdjusted, Terms: &tooSmall}},
		{"closed, not listed", Event{}, Fact{Type: FactClosed}},
		{"closed twice", closed, Fact{Type: FactClosed}},
		{"closed, after it was cancelled", event(func(e *Event) { e.Closed, e.Cancelled = true, true }), Fact{Type: FactClosed}},
		{"reopened, not listed", Event{}, Fact{Type: FactReopened, Terms: ptr(testTerms())}},
		{"reopened, not closed", testEvent(), Fact{Type: FactReopened, Terms: ptr(testTerms())}},
		{"reopened without terms", closed, Fact{Type: FactReopened}},
		{"reopened with other terms", closed, Fact{Type: FactReopened, Terms: &tooSmall}},
		{"cancelled, not listed", Event{}, Fact{Type: FactEventCancelled}},
		{"cancelled twice", event(func(e *Event) { e.Closed, e.Cancelled = true, true }), Fact{Type: FactEventCancelled}},
		{"a fact about an order", testEvent(), orderFact(FactExpired, 0)},
		{"a fact about an order, cancelled", testEvent(), orderFact(FactCancelled, OrderNone)},
		{"no such fact", testEvent(), Fact{Type: "opened"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := cloneView(View{Event: test.event}).Event
			got, err := ApplyEvent(test.event, test.fact)
			if err == nil {
				t.Fatalf("no error; got %+v", got)
			}
			if !reflect.DeepEqual(got, before) || !reflect.DeepEqual(test.event, before) {
				t.Error("an error, and yet the event changed")
			}
		})
	}
}

func cloneSnapshot(b *Snapshot) *Snapshot {
	c := NewSnapshot()
	for id, e := range b.Events {
		c.Events[id] = cloneView(View{Event: e}).Event
	}
	maps.Copy(c.Orders, b.Orders)
	for id, inProgress := range b.InProgress {
		c.InProgress[id] = maps.Clone(inProgress)
	}
	for id, places := range b.Places {
		c.Places[id] = maps.Clone(places)
	}
	maps.Copy(c.Refused, b.Refused)
	maps.Copy(c.Early, b.Early)
	return c
}

func TestSnapshotFold(t *testing.T) {
	terms := Terms{Name: "E", Currency: "EUR", Sections: []SectionTerms{{Name: "general", Price: 100, Capacity: 5}}}
	held := func(event, order, customer string, at int64) Fact {
		return Fact{
			Type: FactHeld, AtMillis: at, EventID: event, OrderID: order, RequestType: RequestPurchase, Fingerprint: "fp",
			CustomerID: customer, Items: "general:2:100", Currency: "EUR", DeadlineMillis: at + 50,
		}
	}
	fact := func(kind FactType, event, order string, at int64) Fact {
		return Fact{Type: kind, AtMillis: at, EventID: event, OrderID: order}
	}
	sale := func(f Fact, customer string, confirmedAt int64) Fact {
		f.CustomerID, f.Items, f.Currency, f.ConfirmedAtMillis = customer, "general:2:100", "EUR", confirmedAt
		return f
	}
	cancelled := func(event, order string, was OrderState, at int64) Fact {
		return Fact{Type: FactCancelled, AtMillis: at, EventID: event, OrderID: order, Was: was, Reason: ReasonRequested}
	}
	b := NewSnapshot()
	for _, f := range []Fact{
		{Type: FactCreated, AtMillis: 1, EventID: "e1", Terms: &terms},
		{Type: FactCreated, AtMillis: 1, EventID: "e2", Terms: &terms},
		held("e1", "o1", "fred", 10),
		held("e2", "o1", "fred", 11), // the same order_id and customer, another event
		held("e1", "o2", "mary", 12),
		sale(fact(FactConfirmed, "e1", "o1", 13), "fred", 0),
		fact(FactExpired, "e1", "o2", 62),
		held("e1", "o3", "fred", 15), // he may order again
		cancelled("e1", "o4", OrderNone, 16),
		sale(cancelled("e1", "o1", OrderConfirmed, 17), "fred", 13), // leaves o3 in progress
		{Type: FactRejected, AtMillis: 18, EventID: "e9", OrderID: "o1", CustomerID: "fred", Items: "general:1:0", Reason: ReasonUnknownEvent},
		{Type: FactClosed, AtMillis: 19, EventID: "e2"},
	} {
		if err := b.Fold(f); err != nil {
			t.Fatalf("%s of %s: %v", f.Type, f.Ref(), err)
		}
	}
	order := func(customer string, heldAt int64) Order {
		return Order{
			RequestType: RequestPurchase, Fingerprint: "fp", CustomerID: customer, Items: "general:2:100", Currency: "EUR", DeadlineMillis: heldAt + 50, HeldAtMillis: heldAt, Attempt: 1,
		}
	}
	with := func(o Order, change func(*Order)) Order {
		change(&o)
		return o
	}
	event := func(available, held, sold, version int64, closed bool) Event {
		return Event{
			Name: "E", Currency: "EUR", Fingerprint: terms.Fingerprint(), Version: version, Closed: closed,
			Sections: []Section{{Name: "general", Price: 100, Capacity: 5, Available: available, Held: held, Sold: sold}},
		}
	}
	want := &Snapshot{
		Events: map[string]Event{"e1": event(3, 2, 0, 1, false), "e2": event(3, 2, 0, 2, true)},
		Orders: map[OrderRef]Order{
			{"e1", "o1"}: with(order("fred", 10), func(o *Order) {
				o.State, o.ConfirmedAtMillis, o.ResolvedAtMillis, o.Reason = OrderCancelled, 13, 17, "requested"
			}),
			{"e2", "o1"}: with(order("fred", 11), func(o *Order) { o.State = OrderHeld }),
			{"e1", "o2"}: with(order("mary", 12), func(o *Order) { o.State, o.ResolvedAtMillis = OrderExpired, 62 }),
			{"e1", "o3"}: with(order("fred", 15), func(o *Order) { o.State = OrderHeld }),
			{"e1", "o4"}: {State: OrderCancelled, ResolvedAtMillis: 16, Reason: "requested"},
			{"e9", "o1"}: {State: OrderRejected, CustomerID: "fred", Items: "general:1:0", ResolvedAtMillis: 18, Reason: "unknown_event"},
		},
		InProgress: map[string]map[string]string{"e1": {"fred": "o3"}, "e2": {"fred": "o1"}},
		Places:     map[string]map[string]int64{}, Refused: map[RefusedDemand]int64{}, Early: map[OrderRef]bool{{"e9", "o1"}: true}, Lines: map[OrderRef]Line{},
	}
	if !reflect.DeepEqual(b, want) {
		t.Fatalf("got  %+v\nwant %+v", b, want)
	}

	for _, test := range []struct {
		name string
		fact Fact
	}{
		{"an order held twice", held("e1", "o3", "fred", 20)},
		{"two orders of one customer at once", held("e1", "o5", "fred", 20)},
		{"an unseen order expired", fact(FactExpired, "e1", "o5", 20)},
		{"an order expired before its deadline", fact(FactExpired, "e1", "o3", 64)},
		{"an ended order confirmed", sale(fact(FactConfirmed, "e1", "o2", 20), "mary", 0)},
		{"an order confirmed past its deadline", sale(fact(FactConfirmed, "e1", "o3", 65), "fred", 0)},
		{"an order confirmed for somebody else", sale(fact(FactConfirmed, "e1", "o3", 20), "mary", 0)},
		{"held in an event that is not listed", held("e9", "o5", "mary", 20)},
		{"more than there are", func() Fact {
			f := held("e1", "o5", "mary", 20)
			f.Items = "general:4:100"
			return f
		}()},
		{"listed twice", Fact{Type: FactCreated, EventID: "e1", Terms: &terms}},
		{"closed twice", Fact{Type: FactClosed, EventID: "e2"}},
		{"reopened, not closed", Fact{Type: FactReopened, EventID: "e1", Terms: &terms}},
		{"cancelled with an event that is only closed", sale(Fact{Type: FactCancelled, AtMillis: 20, EventID: "e2", OrderID: "o1", Was: OrderHeld, Reason: ReasonEventCancelled}, "fred", 0)},
		{"adjusted, not listed", Fact{Type: FactAdjusted, EventID: "e9", Terms: &terms}},
		{"no such fact", Fact{Type: "opened", EventID: "e1", OrderID: "o3"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := cloneSnapshot(b)
			if err := b.Fold(test.fact); err == nil {
				t.Error("no error")
			}
			if !reflect.DeepEqual(b, before) {
				t.Errorf("an error, and yet the book became %+v", b)
			}
		})
	}
}

// TestSnapshotFoldOfACancelledEvent: its orders go with it, and what is sold after it was reopened stays.
func TestSnapshotFoldOfACancelledEvent(t *testing.T) {
	terms := Terms{Name: "E", Currency: "EUR", Sections: []SectionTerms{{Name: "general", Price: 100, Capacity: 5}}}
	held := func(order, customer string) Fact {
		return Fact{
			Type: FactHeld, EventID: "e1", OrderID: order, RequestType: RequestPurchase, Fingerprint: "fp",
			CustomerID: customer, Items: "general:2:100", Currency: "EUR", DeadlineMillis: 50,
		}
	}
	sale := func(f Fact, order, customer string) Fact {
		f.EventID, f.OrderID, f.CustomerID, f.Items, f.Currency = "e1", order, customer, "general:2:100", "EUR"
		return f
	}
	gone := func(order, customer string, was OrderState, confirmedAt int64) Fact {
		return sale(Fact{Type: FactCancelled, AtMillis: 9, Was: was, Reason: ReasonEventCancelled, ConfirmedAtMillis: confirmedAt}, order, customer)
	}
	b := NewSnapshot()
	for _, f := range []Fact{
		{Type: FactCreated, EventID: "e1", Terms: &terms},
		held("o1", "fred"),
		sale(Fact{Type: FactConfirmed, AtMillis: 5}, "o1", "fred"),
		held("o2", "mary"),
		{Type: FactEventCancelled, EventID: "e1", Cause: Cause{Reason: "fire", By: "ann"}},
		gone("o1", "fred", OrderConfirmed, 5),
		gone("o2", "mary", OrderHeld, 0),
		{Type: FactReopened, EventID: "e1", Terms: &terms},
		held("o3", "mary"),
	} {
		if err := b.Fold(f); err != nil {
			t.Fatalf("%s of %s: %v", f.Type, f.Ref(), err)
		}
	}
	if s := b.Events["e1"].Sections[0]; s.Available != 3 || s.Held != 2 || s.Sold != 0 || b.Events["e1"].Version != 3 {
		t.Errorf("the event is %+v", b.Events["e1"])
	}
	for order, want := range map[string]OrderState{"o1": OrderCancelled, "o2": OrderCancelled, "o3": OrderHeld} {
		if o := b.Orders[OrderRef{"e1", order}]; o.State != want || (want == OrderCancelled) != (o.Reason == ReasonEventCancelled) {
			t.Errorf("%s is %+v", order, o)
		}
	}
	// Whoever still cancels because of it must not get at what was sold since.
	if err := b.Fold(gone("o3", "mary", OrderHeld, 0)); err == nil {
		t.Error("an order of a reopened event was cancelled with it")
	}
}

func TestSnapshotView(t *testing.T) {
	b := NewSnapshot()
	b.Events["e1"] = testEvent()
	b.Orders[testRef] = heldOrder(RequestPurchase, aliveUntil)
	b.InProgress["e1"] = map[string]string{"fred": "o1", "mary": "o7"}
	if got, want := b.View(testRef, "mary"), (View{Event: testEvent(), Order: heldOrder(RequestPurchase, aliveUntil), InProgress: "o1"}); !reflect.DeepEqual(got, want) {
		t.Errorf("of a known order, its own customer counts: got %+v", got)
	}
	if got, want := b.View(OrderRef{"e1", "o8"}, "mary"), (View{Event: testEvent(), InProgress: "o7"}); !reflect.DeepEqual(got, want) {
		t.Errorf("of an unseen order, the given customer counts: got %+v", got)
	}
	if got := b.View(OrderRef{"e2", "o1"}, "mary"); !reflect.DeepEqual(got, View{}) {
		t.Errorf("of an unlisted event: got %+v", got)
	}
}

// What is forgotten was rejected because there was no such event, by the log entry that the fact names; afterwards nothing is known of it.
func TestForgotten(t *testing.T) {
	rejected := Fact{ID: "5-0", AtMillis: 5, Type: FactRejected, EventID: "e", OrderID: "o", RequestType: RequestHold, CustomerID: "fred", Reason: ReasonUnknownEvent}
	forgotten := Fact{ID: "6-0", AtMillis: 6, Type: FactForgotten, EventID: "e", OrderID: "o", Version: "5-0"}
	sold := rejected
	sold.Reason = ReasonSoldOut
	other := forgotten
	other.Version = "5-1"
	for name, facts := range map[string][]Fact{
		"of another reason": {sold, forgotten}, "of another version": {rejected, other}, "of nothing": {forgotten}, "twice": {rejected, forgotten, forgotten},
	} {
		book, last := NewSnapshot(), len(facts)-1
		for _, f := range facts[:last] {
			if err := book.Fold(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := book.Fold(facts[last]); err == nil {
			t.Errorf("%s: it follows", name)
		}
	}
	book := NewSnapshot()
	for _, f := range []Fact{rejected, forgotten, rejected} {
		if err := book.Fold(f); err != nil {
			t.Fatal(err)
		}
		if want := f.Type == FactRejected; len(book.Orders) == 1 != want || len(book.Early) == 1 != want {
			t.Errorf("after %s: %+v, early %v", f.Type, book.Orders, book.Early)
		}
	}
}
