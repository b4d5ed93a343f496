package domain

import (
	"reflect"
	"strconv"
	"testing"
)

// hallEvent is testEvent with seats: stalls of two rows of five at 900, of which fred's order has.
func hallEvent(mark byte) Event {
	e := testEvent()
	places := string([]byte{mark, mark}) + ".../....."
	s := Section{Name: "stalls", Price: 900, Capacity: 10, Available: 8, Layout: "A:1-5,B:1-5", Places: places}
	if mark == '-' {
		s.Held = 2
	} else {
		s.Sold = 2
	}
	e.Sections = append(e.Sections, s)
	return e
}

func changeRequest(kind RequestType, number int64, fingerprint string, items ...RequestItem) Request {
	return Request{Type: kind, EventID: "e1", OrderID: "o1", Change: number, Items: items, Fingerprint: fingerprint}
}

func places(section string, quantity int64) RequestItem {
	return RequestItem{Section: section, Quantity: quantity}
}

func named(section string, names ...string) RequestItem {
	return RequestItem{Section: section, Quantity: int64(len(names)), Seats: names}
}

// TestDecideChange is what becomes of partial cancels and changes. A want is the type of the fact, what it gives and takes, or why it is
// refused, and the verdict; then what the order is.
func TestDecideChange(t *testing.T) {
	held, confirmed := heldOrder(RequestHold, aliveUntil), confirmedOrder() // two at 900
	with := func(o Order, change func(*Order)) Order {
		change(&o)
		return o
	}
	several := with(confirmed, func(o *Order) { o.Items = "general:2:900,stalls:2:900:1-2" })
	heldSeats := with(held, func(o *Order) { o.Items = "general:2:900,stalls:2:900:1-2" })
	second := with(confirmed, func(o *Order) { o.Change, o.ChangeFingerprint, o.Items, o.Reduced = 1, "one", "general:1:900", 900 })
	hall, heldHall := hallEvent('+'), hallEvent('-')
	limited := hallEvent('+')
	limited.MaxPerCustomer = 4
	strict := hallEvent('+')
	strict.NoOrphans = true
	seatedAs := func(places string) Event {
		e := hallEvent('+')
		e.Sections[len(e.Sections)-1].Places = places
		return e
	}
	farHall, tight, full := seatedAs("+..../....+"), seatedAs("++.../+++++"), seatedAs("+++++/+++++")
	tight.NoOrphans = true
	far := with(confirmed, func(o *Order) { o.Items = "stalls:2:900:1.11" })
	apart := func(section string, quantity int64) RequestItem {
		return RequestItem{Section: section, Quantity: quantity, Apart: true}
	}
	calledOff := hallEvent('+')
	calledOff.Closed, calledOff.Cancelled = true, true
	closed := hallEvent('-')
	closed.Closed = true
	back := func(number int64, fingerprint string, items ...RequestItem) Change {
		return Change{Request: changeRequest(RequestCancel, number, fingerprint, items...), EntryMillis: 1, ValidMillis: 1}
	}
	to := func(number int64, fingerprint string, items ...RequestItem) Change {
		return Change{Request: changeRequest(RequestChange, number, fingerprint, items...), EntryMillis: now - 10, ValidMillis: 10}
	}
	keeping := func(number int64, items ...RequestItem) Change {
		c := back(number, "one", items...)
		c.Request.NoRefund = true
		return c
	}
	refund := func(number, amount int64, items ...RequestItem) Change {
		c := Change{Request: changeRequest(RequestRefund, number, "one", items...)}
		c.Request.Amount = amount
		return c
	}
	kept := with(confirmed, func(o *Order) { o.State, o.Kept = OrderCancelled, 1800 })
	given := with(confirmed, func(o *Order) { o.State = OrderCancelled })
	priced := places("general", 1)
	priced.UnitPrice = ptr[int64](901)
	for _, test := range []struct {
		name  string
		event Event
		order Order
		c     Change
		want  string
		items Items
		owed  int64
	}{
		{"one of two given back", hall, confirmed, back(1, "one", places("general", 1)), "reduced -general:1:900 done", "general:1:900", 900},
		{"one of two that are held", hall, held, back(1, "one", places("general", 1)), "reduced -general:1:900 done", "general:1:900", 0},
		{"a seat", hall, several, back(1, "one", named("stalls", "A-2")), "reduced -stalls:1:900:2 done", "general:2:900,stalls:1:900:1", 900},
		{"of both sections", hall, several, back(1, "one", places("general", 2), named("stalls", "A-1")), "reduced -general:2:900,stalls:1:900:1 done", "stalls:1:900:2", 2700},
		{"everything", hall, several, back(1, "one", places("general", 2), named("stalls", "A-1", "A-2")), "cancelled -general:2:900,stalls:2:900:1-2 done", "general:2:900,stalls:2:900:1-2", 3600},
		{"everything that is being paid", hall, heldOrder(RequestPurchase, aliveUntil), back(1, "one", places("general", 2)), "cancelled -general:2:900 done", "general:2:900", 0},
		{"without a refund", hall, confirmed, keeping(1, places("general", 1)), "reduced -general:1:900 done", "general:1:900", 0},
		{"without a refund, of what was reduced before", hall, second, keeping(2, places("general", 1)), "cancelled -general:1:900 done", "general:1:900", 900},
		{"without a refund, of what is only held", hall, held, keeping(1, places("general", 1)), "reduced -general:1:900 done", "general:1:900", 0},
		{"a refund", hall, confirmed, refund(1, 500), "refund_granted 500 done", "general:2:900", 500},
		{"a refund of all", hall, second, refund(2, 900), "refund_granted 900 done", "general:1:900", 1800},
		{"a refund of more than is left", hall, second, refund(2, 901), "change_refused more_than_paid 901 of 900 done", "general:1:900", 900},
		{"a refund of places", hall, several, refund(1, 0, places("general", 1), named("stalls", "A-2")), "refund_granted 1800 -general:1:900,stalls:1:900:2 done", several.Items, 1800},
		{"a refund of somebody else's seat", hall, several, refund(1, 0, named("stalls", "A-3")), "change_refused not_in_order A-3 done", several.Items, 0},
		{"a refund of what is only held", hall, held, refund(1, 500), "change_refused not_paid done", "general:2:900", 0},
		{"a refund that came before", hall, second, refund(1, 500), "- done", "general:1:900", 900},
		{"a refund that comes too early", hall, confirmed, refund(2, 500), "- change_pending", "general:2:900", 0},
		{"a refund of money that is kept", hall, kept, refund(1, 500), "refund_granted 500 done", "general:2:900", 500},
		{"a refund of all that is kept", hall, kept, refund(1, 0, places("general", 2)), "refund_granted 1800 -general:2:900 done", "general:2:900", 1800},
		{"a refund of what is refunded", hall, given, refund(1, 1), "change_refused more_than_paid 1 of 0 done", "general:2:900", 1800},
		{"more than there is", hall, confirmed, back(1, "one", places("general", 3)), "change_refused not_in_order done", "general:2:900", 0},
		{"of another section", hall, several, back(1, "one", places("general", 1), places("vip", 1)), "change_refused not_in_order vip done", several.Items, 0},
		{"somebody else's seat", hall, several, back(1, "one", named("stalls", "A-1", "A-3")), "change_refused not_in_order A-3 done", several.Items, 0},
		{"a seat that there is not", hall, several, back(1, "one", named("stalls", "A-9")), "change_refused unknown_seat A-9 done", several.Items, 0},
		{"seats without names", hall, several, back(1, "one", places("stalls", 1)), "change_refused seats_not_named done", several.Items, 0},
		{"names without seats", hall, several, back(1, "one", named("general", "A-1")), "change_refused unknown_seat A-1 done", several.Items, 0},
		{"while it is being paid", hall, heldOrder(RequestPurchase, aliveUntil), back(1, "one", places("general", 1)), "change_refused payment_pending done", "general:2:900", 0},

		{"the second one", hall, second, back(2, "two", places("general", 1)), "cancelled -general:1:900 done", "general:1:900", 1800},
		{"once more", hall, second, back(1, "one", places("general", 1)), "- done", "general:1:900", 900},
		{"with another body", hall, second, back(1, "two", places("general", 1)), "- conflict", "general:1:900", 900},
		{"as a change of the same number", hall, second, to(1, "other", places("general", 1)), "- conflict", "general:1:900", 900},
		{"a number is left out", hall, second, back(3, "three", places("general", 1)), "- change_pending", "general:1:900", 900},
		{"the first is left out", hall, confirmed, to(2, "two", places("general", 1)), "- change_pending", "general:2:900", 0},
		{"of no order yet", hall, Order{}, back(1, "one", places("general", 1)), "- wait", "", 0},
		{"of one that ended", hall, endedOrder(OrderExpired, ""), back(1, "one", places("general", 1)), "- done", "general:2:900", 0},
		{"of one that is cancelled, a number left out", hall, endedOrder(OrderCancelled, ReasonRequested), to(7, "one", places("general", 1)), "- done", "general:2:900", 0},
		{"past the deadline", hall, heldOrder(RequestHold, now), to(1, "one", places("general", 1)), "expired done", "general:2:900", 0},

		{"to other seats", hall, several, to(1, "one", places("general", 2), named("stalls", "B-4", "B-5")), "changed -stalls:2:900:1-2 +stalls:2:900:10-11 done", "general:2:900,stalls:2:900:10-11", 0},
		{"to a seat beside, and one stays", hall, several, to(1, "one", places("general", 2), named("stalls", "A-2", "A-3")), "changed -stalls:1:900:1 +stalls:1:900:3 done", "general:2:900,stalls:2:900:2-3", 0},
		{"to another section of the same price", hall, several, to(1, "one", named("stalls", "A-1", "A-2", "A-3", "A-4")), "changed -general:2:900 +stalls:2:900:3-4 done", "stalls:4:900:1-4", 0},
		{"to fewer", hall, several, to(1, "one", named("stalls", "A-1")), "changed -general:2:900,stalls:1:900:2 done", "stalls:1:900:1", 2700},
		{"to what it has", hall, several, to(1, "one", places("general", 2), named("stalls", "A-1", "A-2")), "changed done", several.Items, 0},
		{"to more seats, while it is held and the event is closed", closed, heldSeats, to(1, "one", named("stalls", "A-1", "A-2", "A-3")), "changed -general:2:900 +stalls:1:900:3 done", "stalls:3:900:1-3", 0},
		{"to more than was paid", hall, several, to(1, "one", places("general", 2), named("stalls", "A-1", "A-2", "A-3")), "change_refused costs_more done", several.Items, 0},
		{"to more of a section whose price is another now", heldHall, heldSeats, to(1, "one", places("general", 3), named("stalls", "A-1", "A-2")), "change_refused price_changed general done", several.Items, 0},
		{"to what costs something else", hall, several, to(1, "one", places("vip", 1)), "change_refused not_same_price done", several.Items, 0},
		{"at a price that it does not have", hall, confirmed, to(1, "one", priced), "change_refused price_changed done", "general:2:900", 0},
		{"to a seat that is taken", hall, confirmed, to(1, "one", named("stalls", "A-1", "A-3")), "change_refused seat_taken A-1 done", "general:2:900", 0},
		{"to a section that there is not", hall, confirmed, to(1, "one", places("balcony", 1)), "change_refused unknown_section done", "general:2:900", 0},
		{"to the best seats", hall, confirmed, to(1, "one", places("stalls", 2)), "changed -general:2:900 +stalls:2:900:7-8 done", "stalls:2:900:7-8", 0},
		{"to fewer, the best ones", hall, several, to(1, "one", places("general", 2), places("stalls", 1)), "changed -stalls:1:900:2 done", "general:2:900,stalls:1:900:1", 900},
		{"to as many of the best seats as it has", hall, several, to(1, "one", places("stalls", 2), places("general", 2)), "changed done", several.Items, 0},
		{"to seats side by side, which it has not", farHall, far, to(1, "one", places("stalls", 2)), "changed -stalls:1:900:11 +stalls:1:900:2 done", "stalls:2:900:1-2", 0},
		{"to seats wherever they are, as it has", farHall, far, to(1, "one", apart("stalls", 2)), "changed done", far.Items, 0},
		{"to the best seats for whoever minds seats alone", tight, confirmed, to(1, "one", places("stalls", 2)), "changed -general:2:900 +stalls:2:900:3-4 done", "stalls:2:900:3-4", 0},
		{"to more than are side by side", heldHall, heldSeats, to(1, "one", places("stalls", 6)), "change_refused no_adjacent_seats done", several.Items, 0},
		{"to as many wherever they are", heldHall, heldSeats, to(1, "one", apart("stalls", 6)), "changed -general:2:900 +stalls:4:900:3-5.7 done", "stalls:6:900:1-5.7", 0},
		{"to more seats than are free", full, several, to(1, "one", places("stalls", 3), places("general", 1)), "change_refused sold_out stalls done", several.Items, 0},
		{"to more seats than anybody gets", hall, heldSeats, to(1, "one", places("stalls", MaxItemSeats+1)), "change_refused over_limit " + DetailTooManySeats + " done", several.Items, 0},
		{"to a seat alone", strict, several, to(1, "one", places("general", 2), named("stalls", "A-1", "A-4")), "change_refused would_leave_orphan stalls: A-5 done", several.Items, 0},
		{"past the limit of an order", hall, heldSeats, to(1, "one", named("stalls", "A-1", "A-2", "A-3", "A-4", "A-5", "B-1", "B-2")), "change_refused over_limit done", several.Items, 0},
		{"past the limit of a customer", limited, heldSeats, to(1, "one", named("stalls", "A-1", "A-2", "A-3", "A-4", "A-5")), "change_refused over_customer_limit done", several.Items, 0},
		{"of an event that is cancelled", calledOff, confirmed, to(1, "one", places("general", 1)), "change_refused event_cancelled done", "general:2:900", 0},
		{"while it is being paid, a change", hall, heldOrder(RequestPurchase, aliveUntil), to(1, "one", places("general", 1)), "change_refused payment_pending done", "general:2:900", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := View{Event: test.event, Order: test.order, Places: test.order.Items.Quantity()}
			before := cloneView(v)
			fact, verdict := Decide(v, testRef, now, test.c)
			got, after := "-", test.order
			if fact != nil {
				got = string(fact.Type)
				if fact.Refund > 0 {
					got += " " + strconv.FormatInt(fact.Refund, 10)
				}
				if fact.Items != "" && fact.Type != FactExpired {
					got += " -" + string(fact.Items)
				}
				if fact.Taken != "" {
					got += " +" + string(fact.Taken)
				}
				if fact.Type == FactChangeRefused {
					if got += " " + fact.Reason; fact.Detail != "" {
						got += " " + fact.Detail
					}
				}
				fact.ID, fact.AtMillis = "10000-0", now
				var err error
				if after, _, err = test.order.After(*fact); err != nil {
					t.Fatal(err)
				}
				wantNumber := fact.Type == FactRefundGranted || fact.Type == FactReduced || fact.Type == FactChanged || fact.Type == FactChangeRefused
				r := &test.c.Request
				if wantNumber && (after.Change != r.Change || after.ChangeFingerprint != r.Fingerprint || after.ChangeRefusal != fact.Reason || after.ChangeDetail != fact.Detail) {
					t.Errorf("its number is not noted: %+v", after)
				}
				if wantNumber && after.ResolvedAtMillis != test.order.ResolvedAtMillis {
					t.Errorf("it is resolved anew: %+v", after)
				}
			}
			if got += " " + verdict.String(); got != test.want || after.Items != test.items || after.RefundTotal() != test.owed {
				t.Errorf("got %s, then %s, %d owed; want %s, %s, %d", got, after.Items, after.RefundTotal(), test.want, test.items, test.owed)
			}
			if after.PaidAmount() != test.order.PaidAmount() && test.order.State == OrderConfirmed {
				t.Errorf("paid is %d, was %d", after.PaidAmount(), test.order.PaidAmount())
			}
			if !reflect.DeepEqual(v, before) {
				t.Error("the view was changed")
			}
		})
	}
}

// TestDecideChangeBelowMinimum: what is left of a held order must be enough for the gateway.
func TestDecideChangeBelowMinimum(t *testing.T) {
	c := Change{Request: changeRequest(RequestCancel, 1, "one", places("general", 1)), Minimums: Minimums{"EUR": 901}}
	for order, want := range map[Order]FactType{heldOrder(RequestHold, aliveUntil): FactChangeRefused, confirmedOrder(): FactReduced} {
		if fact, _ := Decide(View{Event: testEvent(), Order: order}, testRef, now, c); fact == nil || fact.Type != want {
			t.Errorf("%s: %+v, want %s", order.State, fact, want)
		}
	}
}
