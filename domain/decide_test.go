package domain

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func testRequest(kind RequestType, fingerprint string) Request {
	return Request{
		Type: kind, EventID: "e1", OrderID: "o1", CustomerID: "fred", Section: "general", Quantity: 2,
		PaymentToken: "tok", Fingerprint: fingerprint,
	}
}

func hold(kind RequestType, fingerprint string) Hold {
	return Hold{Request: testRequest(kind, fingerprint), EntryMillis: now - 100, ValidMillis: 100, HoldMillis: 3_000}
}

// TestDecideEveryCell is the table "Life of an order": every state, every command.
// A cell is the type of the fact ("-": none) and the verdict.
func TestDecideEveryCell(t *testing.T) {
	commands := []struct {
		name    string
		command Command
	}{
		{"purchase, same body", hold(RequestPurchase, "same")},
		{"purchase, other body", hold(RequestPurchase, "other")},
		{"hold, same body", hold(RequestHold, "same")},
		{"hold, other body", hold(RequestHold, "other")},
		{"pay", Pay{Attempt: 1, Fingerprint: "pay", EntryMillis: now - 100, ValidMillis: 100}},
		{"pay, waited too long", Pay{Attempt: 1, Fingerprint: "pay", EntryMillis: now - 100, ValidMillis: 99}},
		{"resolve approved", Resolve{Attempt: 1, Outcome: PaymentApproved, AuthorizationID: "auth_2"}},
		{"resolve declined", Resolve{Attempt: 1, Outcome: PaymentDeclined}},
		{"resolve unknown", Resolve{Attempt: 1, Outcome: PaymentUnknown}},
		{"resolve mismatched", Resolve{Attempt: 1, Outcome: PaymentMismatched, Detail: "amount 5 instead of 1800"}},
		{"expire", Expire{}},
		{"cancel", Cancel{Reason: ReasonRequested}},
		{"capture failed", Cancel{Reason: ReasonCaptureFailed}},
		{"event cancelled", Cancel{Reason: ReasonEventCancelled}},
	}
	cancelledEvent := testEvent()
	cancelledEvent.Closed, cancelledEvent.Cancelled = true, true
	closedEvent := testEvent()
	closedEvent.Closed = true
	rows := []struct {
		state string
		view  View
		cells [14]string
	}{
		{"none", View{Event: testEvent()}, [14]string{
			"held authorize", "held authorize", "held done", "held done",
			"- wait", "- wait",
			"- void", "- done", "- void",
			"- done",
			"- done", "cancelled done", "- done", "- done",
		}},
		{"held by a purchase, alive", View{Event: testEvent(), Order: heldOrder(RequestPurchase, aliveUntil), InProgress: "o1"}, [14]string{
			"- authorize", "- conflict", "- done", "- conflict",
			"- authorize", "- too_late",
			"confirmed done", "declined done", "- wait",
			"declined done",
			"- done", "cancelled done", "- done", "- done",
		}},
		{"held by a hold, being paid, alive", View{Event: testEvent(), Order: payingOrder(1, PayOpen, aliveUntil), InProgress: "o1"}, [14]string{
			"- authorize", "- conflict", "- done", "- conflict",
			"- authorize", "- authorize",
			"confirmed done", "payment_declined done", "- wait",
			"declined done",
			"- done", "cancelled done", "- done", "- done",
		}},
		{"held by a purchase, past its deadline", View{Event: testEvent(), Order: heldOrder(RequestPurchase, now), InProgress: "o1"}, [14]string{
			"- authorize", "- conflict", "- done", "- conflict",
			"- authorize", "- authorize",
			"expired void", "declined done", "expired void",
			"declined done",
			"expired done", "cancelled done", "- done", "- done",
		}},
		{"held by a hold, being paid, past its deadline", View{Event: testEvent(), Order: payingOrder(1, PayOpen, now), InProgress: "o1"}, [14]string{
			"- authorize", "- conflict", "- done", "- conflict",
			"- authorize", "- authorize",
			"expired void", "payment_declined done", "expired void",
			"declined done",
			"expired done", "cancelled done", "- done", "- done",
		}},
		{"confirmed", View{Event: testEvent(), Order: confirmedOrder()}, [14]string{
			"- done", "- conflict", "- done", "- conflict",
			"- done", "- done",
			"- done", "- done", "- done",
			"- done",
			"- done", "cancelled done", "cancelled done", "- done",
		}},
		{"declined", View{Event: testEvent(), Order: endedOrder(OrderDeclined, "")}, [14]string{
			"- done", "- conflict", "- done", "- conflict",
			"- done", "- done",
			"- void", "- done", "- done",
			"- done",
			"- done", "- done", "- done", "- done",
		}},
		{"expired after a hold", View{Event: testEvent(), Order: endedOrder(OrderExpired, "")}, [14]string{
			"- void", "- conflict", "- done", "- conflict",
			"- void", "- void",
			"- void", "- done", "- void",
			"- done",
			"- done", "- done", "- done", "- done",
		}},
		{"cancelled after a hold", View{Event: testEvent(), Order: endedOrder(OrderCancelled, ReasonRequested)}, [14]string{
			"- void", "- conflict", "- done", "- conflict",
			"- void", "- void",
			"- void", "- done", "- void",
			"- done",
			"- done", "- done", "- done", "- done",
		}},
		{"cancelled, never held", View{Event: testEvent(), Order: cancelledUnseen()}, [14]string{
			"- done", "- done", "- done", "- done",
			"- done", "- done",
			"- void", "- done", "- void",
			"- done",
			"- done", "- done", "- done", "- done",
		}},
		{"rejected", View{Event: testEvent(), Order: rejectedOrder()}, [14]string{
			"- done", "- conflict", "- done", "- conflict",
			"- done", "- done",
			"- void", "- done", "- done",
			"- done",
			"- done", "- done", "- done", "- done",
		}},
		{"held by a purchase, past its deadline, of an event that honours late approvals", View{Event: lateEvent(), Order: heldOrder(RequestPurchase, now), InProgress: "o1"}, [14]string{
			"- authorize", "- conflict", "- done", "- conflict",
			"- authorize", "- authorize",
			"lapsed wait", "declined done", "lapsed done",
			"declined done",
			"lapsed done", "cancelled done", "- done", "- done",
		}},
		{"lapsed", View{Event: lateEvent(), Order: lapsedOrder(RequestPurchase, aliveUntil)}, [14]string{
			"- authorize", "- conflict", "- done", "- conflict",
			"- authorize", "- too_late",
			"confirmed done", "declined done", "- done",
			"declined done",
			"- done", "cancelled done", "- done", "- done",
		}},
		{"lapsed for good", View{Event: lateEvent(), Order: lapsedOrder(RequestPurchase, now), InProgress: "another"}, [14]string{
			"- authorize", "- conflict", "- done", "- conflict",
			"- authorize", "- authorize",
			"expired void", "declined done", "expired void",
			"declined done",
			"expired done", "cancelled done", "- done", "- done",
		}},
		{"lapsed, and its customer has another one in progress", View{Event: lateEvent(), Order: lapsedOrder(RequestPurchase, aliveUntil), InProgress: "another"}, [14]string{
			"- authorize", "- conflict", "- done", "- conflict",
			"- authorize", "- too_late",
			"expired void", "declined done", "- done",
			"declined done",
			"- done", "cancelled done", "- done", "- done",
		}},
		{"lapsed, of a cancelled event", View{Event: cancelledEvent, Order: lapsedOrder(RequestPurchase, aliveUntil)}, [14]string{
			"- authorize", "- conflict", "- done", "- conflict",
			"- authorize", "- too_late",
			"expired void", "declined done", "- done",
			"declined done",
			"- done", "cancelled done", "- done", "cancelled done",
		}},
		{"none, of a cancelled event", View{Event: cancelledEvent}, [14]string{
			"rejected done", "rejected done", "rejected done", "rejected done",
			"- wait", "- wait",
			"- void", "- done", "- void",
			"- done",
			"- done", "cancelled done", "- done", "- done",
		}},
		{"held, of a cancelled event", View{Event: cancelledEvent, Order: heldOrder(RequestPurchase, aliveUntil), InProgress: "o1"}, [14]string{
			"- authorize", "- conflict", "- done", "- conflict",
			"- authorize", "- too_late",
			"confirmed done", "declined done", "- wait",
			"declined done",
			"- done", "cancelled done", "- done", "cancelled done",
		}},
		{"confirmed, of a cancelled event", View{Event: cancelledEvent, Order: confirmedOrder()}, [14]string{
			"- done", "- conflict", "- done", "- conflict",
			"- done", "- done",
			"- done", "- done", "- done",
			"- done",
			"- done", "cancelled done", "cancelled done", "cancelled done",
		}},
		{"confirmed, of a closed event", View{Event: closedEvent, Order: confirmedOrder()}, [14]string{
			"- done", "- conflict", "- done", "- conflict",
			"- done", "- done",
			"- done", "- done", "- done",
			"- done",
			"- done", "cancelled done", "cancelled done", "- done",
		}},
		{"expired, of a cancelled event", View{Event: cancelledEvent, Order: endedOrder(OrderExpired, "")}, [14]string{
			"- void", "- conflict", "- done", "- conflict",
			"- void", "- void",
			"- void", "- done", "- void",
			"- done",
			"- done", "- done", "- done", "- done",
		}},
	}
	states := make(map[OrderState]bool)
	for _, row := range rows {
		states[row.view.Order.State] = true
		for i, c := range commands {
			t.Run(row.state+"/"+c.name, func(t *testing.T) {
				before := cloneView(row.view)
				fact, verdict := Decide(row.view, testRef, now, c.command)
				got := "-"
				if fact != nil {
					got = string(fact.Type)
				}
				if got += " " + verdict.String(); got != row.cells[i] {
					t.Errorf("got %q, want %q", got, row.cells[i])
				}
				if !reflect.DeepEqual(row.view, before) {
					t.Error("Decide changed the view it was given")
				}
				if fact == nil {
					return
				}
				// What is decided can be applied, and only by a fact about this order.
				if fact.Ref() != testRef || fact.ID != "" || fact.AtMillis != 0 {
					t.Errorf("fact %+v: want one about %s, not appended yet", *fact, testRef)
				}
				fact.AtMillis = now
				if _, err := Apply(row.view, *fact); err != nil {
					t.Errorf("the decided fact cannot be applied: %v", err)
				}
			})
		}
	}
	for _, s := range OrderStates {
		if !states[s] {
			t.Errorf("state %s is not in the table", s)
		}
	}
}

// TestDecideAttempts is what becomes of attempts to pay: each state of an order that has some, every pay and every answer.
func TestDecideAttempts(t *testing.T) {
	pay := func(attempt int, fingerprint string, valid int64) Pay {
		return Pay{Attempt: attempt, Fingerprint: fingerprint, EntryMillis: now - 100, ValidMillis: valid}
	}
	answer := func(attempt int, outcome PaymentOutcome) Resolve {
		return Resolve{Attempt: attempt, Outcome: outcome, AuthorizationID: "auth_2"}
	}
	commands := []Command{
		pay(1, "pay", 100), pay(2, "pay", 100), pay(3, "pay", 100),
		pay(2, "another", 100), pay(1, "pay", 99), pay(2, "pay", 99),
		answer(1, PaymentApproved), answer(2, PaymentApproved), answer(3, PaymentApproved),
		answer(1, PaymentDeclined), answer(2, PaymentDeclined),
		answer(1, PaymentUnknown), answer(2, PaymentUnknown),
		answer(1, PaymentMismatched), answer(2, PaymentMismatched),
		answer(1, PaymentActionRequired), answer(2, PaymentActionRequired),
		Update{Attempt: 1},
		Update{Attempt: 2},
	}
	ended := func(o Order, state OrderState) Order {
		o.State, o.ResolvedAtMillis = state, resolvedAt
		return o
	}
	for _, row := range []struct {
		name  string
		order Order
		cells [19]string
	}{
		{"held, nothing paid yet", heldOrder(RequestHold, aliveUntil), [19]string{
			"paying authorize", "- attempt_pending", "- attempt_pending",
			"- attempt_pending", "- too_late", "- attempt_pending",
			"- void", "- void", "- void", "- done", "- done", "- void", "- void", "- done", "- done",
			"- void", "- void", "- done", "- done",
		}},
		{"held, past its deadline", heldOrder(RequestHold, now), [19]string{
			"expired done", "expired done", "expired done",
			"expired done", "expired done", "expired done",
			"- void", "- void", "- void", "- done", "- done", "- void", "- void", "- done", "- done",
			"- void", "- void", "- done", "- done",
		}},
		{"by a purchase", heldOrder(RequestPurchase, aliveUntil), [19]string{
			"- authorize", "- attempt_pending", "- attempt_pending",
			"- attempt_pending", "- too_late", "- attempt_pending",
			"confirmed done", "- void", "- void", "declined done", "- done", "- wait", "- void", "declined done", "- done",
			"action_required done", "- void", "- done", "- done",
		}},
		{"the first is open", payingOrder(1, PayOpen, aliveUntil), [19]string{
			"- authorize", "- attempt_pending", "- attempt_pending",
			"- attempt_pending", "- authorize", "- attempt_pending",
			"confirmed done", "- void", "- void", "payment_declined done", "- done", "- wait", "- void", "declined done", "- done",
			"action_required done", "- void", "- done", "- done",
		}},
		{"the first was declined", payingOrder(1, PayDeclined, aliveUntil), [19]string{
			"- done", "paying authorize", "- attempt_pending",
			"paying authorize", "- done", "- too_late",
			"- void", "- void", "- void", "- done", "- done", "- void", "- void", "- done", "- done",
			"- void", "- void", "- done", "- done",
		}},
		{"the first was declined, past its deadline", payingOrder(1, PayDeclined, now), [19]string{
			"- done", "expired done", "expired done",
			"expired done", "- done", "expired done",
			"- void", "- void", "- void", "- done", "- done", "- void", "- void", "- done", "- done",
			"- void", "- void", "- done", "- done",
		}},
		{"the second is open", payingOrder(2, PayOpen, aliveUntil), [19]string{
			"- done", "- authorize", "- attempt_pending",
			"- conflict", "- done", "- authorize",
			"- void", "confirmed done", "- void", "- done", "payment_declined done", "- void", "- wait", "- done", "declined done",
			"- void", "action_required done", "- done", "- done",
		}},
		{"the second awaits its customer", payingOrder(2, PayActionRequired, aliveUntil), [19]string{
			"- done", "- done", "- attempt_pending",
			"- conflict", "- done", "- done",
			"- void", "confirmed done", "- void", "- done", "payment_declined done", "- void", "- done", "- done", "declined done",
			"- void", "- done", "- done", "- ask",
		}},
		{"the second awaits its customer, past its deadline", payingOrder(2, PayActionRequired, now), [19]string{
			"- done", "- done", "expired done",
			"- conflict", "- done", "- done",
			"- void", "expired void", "- void", "- done", "payment_declined done", "- void", "expired void", "- done", "declined done",
			"- void", "expired void", "- done", "- ask",
		}},
		{"confirmed by the second", ended(payingOrder(2, PayOpen, now), OrderConfirmed), [19]string{
			"- done", "- done", "- done",
			"- conflict", "- done", "- done",
			"- void", "- done", "- void", "- done", "- done", "- void", "- done", "- done", "- done",
			"- void", "- done", "- done", "- done",
		}},
		{"confirmed by a program from before", ended(heldOrder(RequestHold, now), OrderConfirmed), [19]string{
			"- done", "- done", "- done",
			"- done", "- done", "- done",
			"- done", "- void", "- void", "- done", "- done", "- done", "- void", "- done", "- done",
			"- done", "- void", "- done", "- done",
		}},
		{"expired, the second is open", ended(payingOrder(2, PayOpen, now), OrderExpired), [19]string{
			"- void", "- void", "- void",
			"- conflict", "- void", "- void",
			"- void", "- void", "- void", "- done", "- done", "- void", "- void", "- done", "- done",
			"- void", "- void", "- done", "- done",
		}},
	} {
		for i, c := range commands {
			view := View{Event: testEvent(), Order: row.order, InProgress: "o1"}
			fact, verdict := Decide(view, testRef, now, c)
			got := "- " + verdict.String()
			if fact != nil {
				got = string(fact.Type) + " " + verdict.String()
				fact.AtMillis = now
				if _, err := Apply(view, *fact); err != nil {
					t.Errorf("%s, %+v: the decided fact cannot be applied: %v", row.name, c, err)
				}
			}
			if got != row.cells[i] {
				t.Errorf("%s, %+v: %q, want %q", row.name, c, got, row.cells[i])
			}
		}
	}
	all := payingOrder(MaxAttempts, PayDeclined, aliveUntil)
	if fact, verdict := Decide(View{Event: testEvent(), Order: all}, testRef, now, pay(MaxAttempts, "pay", 100)); fact != nil || verdict != VerdictDone {
		t.Errorf("the last attempt again: %+v, %s", fact, verdict)
	}
}

// TestDecideApprovedLate: a lapsed order gets its places again, unless it could not be held anew, and is sold with them.
func TestDecideApprovedLate(t *testing.T) {
	seated := func() Event {
		e := hallEvent('-')
		e.LateApprovalMillis = 5000
		e.Sections[2].Places, e.Sections[2].Held, e.Sections[2].Available = "...../.....", 0, 10
		return e
	}
	stalls := lapsedOrder(RequestPurchase, aliveUntil)
	stalls.Items = "general:1:900,stalls:2:900:1-2"
	for _, test := range []struct {
		name   string
		order  Order
		change func(*View)
		want   string
	}{
		{"as it was", stalls, func(*View) {}, "confirmed done"},
		{"as it was, of a hold", func() Order { o := payingOrder(2, PayOpen, now-5); o.State, o.LateMillis = OrderLapsed, 6; return o }(), func(*View) {}, "confirmed done"},
		{"a seat is taken", stalls, func(v *View) { v.Event.Sections[2].Places = ".-.../....." }, "expired seat_taken stalls: A-2 void"},
		{"a seat is left alone", stalls, func(v *View) { v.Event.NoOrphans, v.Event.Sections[2].Places = true, "...-./....." }, "confirmed done"},
		{"sold out", stalls, func(v *View) { v.Event.Sections[0].Available, v.Event.Sections[0].Sold = 0, 7 }, "expired sold_out general void"},
		{"the sale is over", stalls, func(v *View) { v.Event.OffSaleMillis = now }, "expired not_on_sale void"},
		{"closed", stalls, func(v *View) { v.Event.Closed = true }, "expired not_on_sale void"},
		{"another one in progress", stalls, func(v *View) { v.InProgress = "o2" }, "expired in_progress void"},
		{"at the limit of the customer", stalls, func(v *View) { v.Event.MaxPerCustomer, v.Places = 5, 2 }, "confirmed done"},
		{"past the limit of the customer", stalls, func(v *View) { v.Event.MaxPerCustomer, v.Places = 5, 3 }, "expired over_customer_limit void"},
		{"past the limit of an order", stalls, func(v *View) { v.Event.MaxPerOrder = 2 }, "expired over_limit void"},
		{"the event is void again", stalls, func(v *View) { v.Event.LateApprovalMillis = 0 }, "confirmed done"},
	} {
		v := View{Event: seated(), Order: test.order}
		test.change(&v)
		fact, verdict := Decide(v, testRef, now, Resolve{Attempt: test.order.LastAttempt(), Outcome: PaymentApproved, AuthorizationID: "auth_1"})
		got := string(fact.Type)
		for _, more := range []string{fact.Reason, fact.Detail, verdict.String()} {
			if more != "" {
				got += " " + more
			}
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		fact.AtMillis = now
		after, err := Apply(v, *fact)
		if err == nil {
			err = after.Event.CheckConservation()
		}
		if test.name == "a seat is left alone" || test.name == "a seat is taken" { // its counts are not those of its seats
			err = nil
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if after.InProgress != v.InProgress || fact.Type == FactConfirmed && after.Order.ConfirmedAtMillis != now {
			t.Errorf("%s: became %+v", test.name, after)
		}
	}
	// And the fold lets no other one through.
	for name, change := range map[string]func(*View){
		"closed":      func(v *View) { v.Event.Closed = true },
		"in progress": func(v *View) { v.InProgress = "o2" },
		"limit":       func(v *View) { v.Event.MaxPerCustomer, v.Places = 5, 3 },
		"of an order": func(v *View) { v.Event.MaxPerOrder = 2 },
		"seat":        func(v *View) { v.Event.Sections[2].Places = ".-.../....." },
		"too late":    func(v *View) { v.Order.LateMillis = 5 },
	} {
		v := View{Event: seated(), Order: stalls}
		fact := Fact{Type: FactConfirmed, EventID: "e1", OrderID: "o1", AtMillis: now, CustomerID: "fred", Items: stalls.Items, Currency: "EUR", AuthorizationID: "auth_1"}
		if _, err := Apply(v, fact); err != nil {
			t.Fatal(err)
		}
		if change(&v); v.Order.LateMillis == 5 {
			fact.AtMillis = now + 10
		}
		if _, err := Apply(v, fact); err == nil {
			t.Errorf("%s: it was confirmed", name)
		}
	}
	for _, late := range []int64{0, 4999} {
		if _, err := Apply(View{Event: lateEvent(), Order: heldOrder(RequestHold, now), InProgress: "o1"}, Fact{Type: FactLapsed, EventID: "e1", OrderID: "o1", AtMillis: now, LateMillis: late}); err == nil {
			t.Errorf("it lapsed for %d", late)
		}
	}
}

// TestDecideFacts compares every field of every fact that Decide can lead to.
func TestDecideFacts(t *testing.T) {
	held := heldOrder(RequestPurchase, aliveUntil)
	for _, test := range []struct {
		name    string
		view    View
		command Command
		want    Fact
	}{
		{
			"held by a purchase",
			View{Event: testEvent()},
			hold(RequestPurchase, "fp"),
			Fact{
				Type: FactHeld, EventID: "e1", OrderID: "o1", RequestType: RequestPurchase, Fingerprint: "fp", CustomerID: "fred",
				Items: "general:2:1000", Currency: "EUR", DeadlineMillis: 13_000,
			},
		},
		{
			"held by a hold",
			View{Event: testEvent()},
			hold(RequestHold, "fp"),
			Fact{
				Type: FactHeld, EventID: "e1", OrderID: "o1", RequestType: RequestHold, Fingerprint: "fp", CustomerID: "fred",
				Items: "general:2:1000", Currency: "EUR", DeadlineMillis: 13_000,
			},
		},
		{
			"rejected",
			View{},
			hold(RequestPurchase, "fp"),
			Fact{
				Type: FactRejected, EventID: "e1", OrderID: "o1", RequestType: RequestPurchase, Fingerprint: "fp", CustomerID: "fred",
				Items: "general:2:0", Reason: "unknown_event",
			},
		},
		{
			"rejected as invalid",
			View{Event: testEvent()},
			Hold{Request: Request{Type: RequestHold, EventID: "e1", OrderID: "o1", Fingerprint: "fp"}, Invalid: "customer_id: missing"},
			Fact{
				Type: FactRejected, EventID: "e1", OrderID: "o1", RequestType: RequestHold, Fingerprint: "fp",
				Reason: "invalid", Detail: "customer_id: missing",
			},
		},
		{
			"rejected without a token",
			View{Event: testEvent()},
			Hold{Request: testRequest(RequestPurchase, "fp"), NoToken: true},
			Fact{
				Type: FactRejected, EventID: "e1", OrderID: "o1", RequestType: RequestPurchase, Fingerprint: "fp", CustomerID: "fred",
				Items: "general:2:0", Reason: "invalid", Detail: "payment_token: missing",
			},
		},
		{
			"confirmed",
			View{Event: testEvent(), Order: held},
			Resolve{Attempt: 1, Outcome: PaymentApproved, AuthorizationID: "auth_2"},
			Fact{
				Type: FactConfirmed, EventID: "e1", OrderID: "o1", CustomerID: "fred", Items: "general:2:900", Currency: "EUR", AuthorizationID: "auth_2",
			},
		},
		{
			"confirmed by the second attempt",
			View{Event: testEvent(), Order: payingOrder(2, PayOpen, aliveUntil)},
			Resolve{Attempt: 2, Outcome: PaymentApproved, AuthorizationID: "auth_2"},
			Fact{
				Type: FactConfirmed, EventID: "e1", OrderID: "o1", CustomerID: "fred", Items: "general:2:900", Currency: "EUR", AuthorizationID: "auth_2", Attempt: 2,
			},
		},
		{
			"paying",
			View{Event: testEvent(), Order: payingOrder(8, PayDeclined, aliveUntil)},
			Pay{Attempt: 9, Fingerprint: "again", EntryMillis: now, ValidMillis: 1},
			Fact{Type: FactPaying, EventID: "e1", OrderID: "o1", Attempt: 9, Fingerprint: "again"},
		},
		{
			"something to do",
			View{Event: testEvent(), Order: held},
			Resolve{Attempt: 1, Outcome: PaymentActionRequired, AuthorizationID: "pi_1"},
			Fact{Type: FactActionRequired, EventID: "e1", OrderID: "o1", Attempt: 1, AuthorizationID: "pi_1"},
		},
		{
			"an attempt declined",
			View{Event: testEvent(), Order: payingOrder(2, PayOpen, now)},
			Resolve{Attempt: 2, Outcome: PaymentDeclined},
			Fact{Type: FactPaymentDeclined, EventID: "e1", OrderID: "o1", Attempt: 2},
		},
		{
			"declined",
			View{Event: testEvent(), Order: held},
			Resolve{Attempt: 1, Outcome: PaymentDeclined},
			Fact{Type: FactDeclined, EventID: "e1", OrderID: "o1"},
		},
		{
			"declined for a payment that does not match",
			View{Event: testEvent(), Order: heldOrder(RequestPurchase, now)}, // also past its deadline
			Resolve{Attempt: 1, Outcome: PaymentMismatched, Detail: "amount 5 instead of 1800"},
			Fact{Type: FactDeclined, EventID: "e1", OrderID: "o1", Reason: "payment_mismatch", Detail: "amount 5 instead of 1800"},
		},
		{
			"expired by the sweep",
			View{Event: testEvent(), Order: heldOrder(RequestHold, now)},
			Expire{},
			Fact{Type: FactExpired, EventID: "e1", OrderID: "o1"},
		},
		{
			"extended",
			View{Event: testEvent(), Order: heldOrder(RequestPurchase, now+1)},
			Extend{UntilMillis: now + 2},
			Fact{Type: FactExtended, EventID: "e1", OrderID: "o1", DeadlineMillis: now + 2},
		},
		{
			"expired by a late answer",
			View{Event: testEvent(), Order: payingOrder(2, PayOpen, now)},
			Resolve{Attempt: 2, Outcome: PaymentApproved, AuthorizationID: "auth_2"},
			Fact{Type: FactExpired, EventID: "e1", OrderID: "o1"},
		},
		{
			"cancelled before it was seen",
			View{Event: testEvent()},
			Cancel{Reason: ReasonRequested},
			Fact{Type: FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: OrderNone},
		},
		{
			"cancelled while held",
			View{Event: testEvent(), Order: held},
			Cancel{Reason: ReasonRequested},
			Fact{
				Type: FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: OrderHeld,
				CustomerID: "fred", Items: "general:2:900", Currency: "EUR",
			},
		},
		{
			"cancelled after it was confirmed",
			View{Event: testEvent(), Order: confirmedOrder()},
			Cancel{Reason: ReasonRequested},
			Fact{
				Type: FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: OrderConfirmed,
				CustomerID: "fred", Items: "general:2:900", Currency: "EUR", ConfirmedAtMillis: confirmedAt,
			},
		},
		{
			"cancelled because the capture failed",
			View{Event: testEvent(), Order: confirmedOrder()},
			Cancel{Reason: ReasonCaptureFailed},
			Fact{
				Type: FactCancelled, EventID: "e1", OrderID: "o1", Reason: "capture_failed", Was: OrderConfirmed,
				CustomerID: "fred", Items: "general:2:900", Currency: "EUR", ConfirmedAtMillis: confirmedAt,
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			fact, _ := Decide(test.view, testRef, now, test.command)
			if fact == nil {
				t.Fatal("no fact")
			}
			if *fact != test.want {
				t.Errorf("got  %+v\nwant %+v", *fact, test.want)
			}
		})
	}
}

// TestRefusalPrecedence starts with a request that is wrong in every way and puts
// one thing right after the other, in the order in which they are checked.
func TestRefusalPrecedence(t *testing.T) {
	v := View{InProgress: "o0"}
	c := Hold{
		Request: Request{
			Type: RequestPurchase, EventID: "e1", OrderID: "o1", CustomerID: "fred", Section: "balcony",
			Quantity: 7, UnitPrice: ptr[int64](1), Fingerprint: "fp",
		},
		Invalid: "something", NoToken: true, EntryMillis: now - 101, ValidMillis: 100, HoldMillis: 1, Minimums: Minimums{"EUR": 6001},
	}
	for _, step := range []struct {
		reason string
		mend   func()
	}{
		{"invalid", func() { c.Invalid = "" }},
		{"invalid", func() { c.NoToken = false }},
		{"too_late", func() { c.EntryMillis++ }},
		{"unknown_event", func() {
			v.Event = testEvent()
			v.Event.OnSaleMillis = now + 1
		}},
		{"unknown_section", func() { c.Request.Section = "general" }},
		{"not_on_sale", func() { v.Event.OnSaleMillis = now }},
		{"price_changed", func() { c.Request.UnitPrice = ptr[int64](1000) }},
		{"over_limit", func() { c.Request.Quantity = 6 }},
		{"below_minimum", func() { c.Minimums["EUR"] = 5000 }},
		{"in_progress", func() { v.InProgress = "" }},
		{"sold_out", func() { c.Request.Quantity = 5 }},
	} {
		fact, verdict := Decide(v, testRef, now, c)
		if fact == nil || fact.Type != FactRejected || fact.Reason != step.reason || verdict != VerdictDone {
			t.Fatalf("got %+v, %s, want rejected with %s, done", fact, verdict, step.reason)
		}
		step.mend()
	}
	if fact, verdict := Decide(v, testRef, now, c); fact == nil || fact.Type != FactHeld || verdict != VerdictAuthorize {
		t.Fatalf("with everything put right: got %+v, %s, want held, authorize", fact, verdict)
	}
}

// TestRefusalBounds is each refusal on both sides of its bound.
func TestRefusalBounds(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(v *View, c *Hold)
		reason string // empty: held
	}{
		{"nothing wrong", func(*View, *Hold) {}, ""},
		{"waited just as long as it is valid", func(_ *View, c *Hold) { c.EntryMillis, c.ValidMillis = now-50, 50 }, ""},
		{"waited a millisecond longer", func(_ *View, c *Hold) { c.EntryMillis, c.ValidMillis = now-51, 50 }, "too_late"},
		{"from a clock that is ahead", func(_ *View, c *Hold) { c.EntryMillis, c.ValidMillis = now+60_000, 0 }, ""},
		{"on sale from now", func(v *View, _ *Hold) { v.Event.OnSaleMillis = now }, ""},
		{"on sale in a millisecond", func(v *View, _ *Hold) { v.Event.OnSaleMillis = now + 1 }, "not_on_sale"},
		{"off sale in a millisecond", func(v *View, _ *Hold) { v.Event.OffSaleMillis = now + 1 }, ""},
		{"off sale from now", func(v *View, _ *Hold) { v.Event.OffSaleMillis = now }, "not_on_sale"},
		{"never off sale", func(v *View, _ *Hold) { v.Event.OffSaleMillis = 0 }, ""},
		{"closed", func(v *View, _ *Hold) { v.Event.Closed = true }, "not_on_sale"},
		{"right price", func(_ *View, c *Hold) { c.Request.UnitPrice = ptr[int64](1000) }, ""},
		{"cheaper than thought", func(_ *View, c *Hold) { c.Request.UnitPrice = ptr[int64](1001) }, "price_changed"},
		{"thought to be free", func(_ *View, c *Hold) { c.Request.UnitPrice = ptr[int64](0) }, "price_changed"},
		{"price of another section", func(_ *View, c *Hold) { c.Request.UnitPrice = ptr[int64](5000) }, "price_changed"},
		{"as many as one order may have", func(v *View, c *Hold) { v.Event.MaxPerOrder, c.Request.Quantity = 3, 3 }, ""},
		{"one more", func(v *View, c *Hold) { v.Event.MaxPerOrder, c.Request.Quantity = 3, 4 }, "over_limit"},
		{"no limit", func(v *View, c *Hold) { v.Event.MaxPerOrder, c.Request.Quantity = 0, 5 }, ""},
		{"as much as the gateway takes", func(_ *View, c *Hold) { c.Minimums, c.Request.Quantity = Minimums{"EUR": 2000}, 2 }, ""},
		{"less than that", func(_ *View, c *Hold) { c.Minimums, c.Request.Quantity = Minimums{"EUR": 2001}, 2 }, "below_minimum"},
		{"another currency's minimum", func(_ *View, c *Hold) { c.Minimums = Minimums{"JPY": 1_000_000} }, ""},
		{"for free", func(v *View, c *Hold) { v.Event.Sections[0].Price, c.Minimums = 0, Minimums{"EUR": 50} }, ""},
		{"as many as there are", func(_ *View, c *Hold) { c.Request.Quantity = 5 }, ""},
		{"one more than there are", func(_ *View, c *Hold) { c.Request.Quantity = 6 }, "sold_out"},
		{"another order in progress", func(v *View, _ *Hold) { v.InProgress = "o2" }, "in_progress"},
		{"unlisted event", func(v *View, _ *Hold) { v.Event = Event{} }, "unknown_event"},
		{"unknown section", func(_ *View, c *Hold) { c.Request.Section = "General" }, "unknown_section"},
		{"invalid", func(_ *View, c *Hold) { c.Invalid = "quantity: missing" }, "invalid"},
		{"no token", func(_ *View, c *Hold) { c.NoToken = true }, "invalid"},
		{"no token, of an unlisted event", func(v *View, c *Hold) { v.Event, c.NoToken = Event{}, true }, "invalid"},
		{"no token, for free", func(v *View, c *Hold) { v.Event.Sections[0].Price, c.NoToken = 0, true }, ""},
		{"no token, for free, too late", func(v *View, c *Hold) {
			v.Event.Sections[0].Price, c.NoToken, c.EntryMillis, c.ValidMillis = 0, true, now-51, 50
		}, "too_late"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, c := View{Event: testEvent()}, hold(RequestHold, "fp")
			test.change(&v, &c)
			fact, verdict := Decide(v, testRef, now, c)
			if fact == nil || verdict != VerdictDone {
				t.Fatalf("got %+v, %s", fact, verdict)
			}
			if fact.Reason != test.reason || (fact.Type == FactHeld) != (test.reason == "") {
				t.Errorf("got %s %q, want %q", fact.Type, fact.Reason, test.reason)
			}
		})
	}
}

func TestVerdictNames(t *testing.T) {
	want := map[Verdict]string{
		VerdictDone: "done", VerdictAuthorize: "authorize", VerdictVoid: "void", VerdictWait: "wait",
		VerdictConflict: "conflict", VerdictTooLate: "too_late", 9: "Verdict(9)",
	}
	for v, name := range want {
		if v.String() != name {
			t.Errorf("%d is %q, want %q", uint8(v), v.String(), name)
		}
	}
}

func TestList(t *testing.T) {
	terms := testTerms()
	fact, err := Create(Event{}, "e1", terms)
	if err != nil || fact == nil {
		t.Fatalf("listing: %v, %v", fact, err)
	}
	if want := (Fact{Type: FactCreated, EventID: "e1", Terms: fact.Terms}); *fact != want {
		t.Errorf("got %+v, want %+v", *fact, want)
	}
	if fact.Terms == nil || !reflect.DeepEqual(*fact.Terms, terms) {
		t.Errorf("terms %+v, want %+v", fact.Terms, terms)
	}

	listed, err := ApplyEvent(Event{}, *fact)
	if err != nil {
		t.Fatal(err)
	}
	if fact, err := Create(listed, "e1", testTerms()); fact != nil || err != nil {
		t.Errorf("listing it again with the same terms: %v, %v, want nothing", fact, err)
	}
	other := testTerms()
	other.Sections[1].Capacity++
	fact, err = Create(listed, "e1", other)
	if fact != nil || !errors.Is(err, ErrConflict) {
		t.Errorf("listing it again with other terms: %v, %v, want a conflict", fact, err)
	}
	wantClass(t, err, ClassReject)

	// What counts is what is on sale now.
	adjusted := listed
	adjusted.Sections = []Section{listed.Sections[0], listed.Sections[1]}
	adjusted.Sections[1].Capacity++
	if fact, err := Create(adjusted, "e1", other); fact != nil || err != nil {
		t.Errorf("what it was adjusted to: %v, %v, want nothing", fact, err)
	}
	if fact, err := Create(adjusted, "e1", testTerms()); fact != nil || CodeOf(err) != CodeConflict {
		t.Errorf("what it was before it was adjusted: %v, %v, want a conflict", fact, err)
	}
	for _, cancelled := range []bool{false, true} {
		closed := listed
		closed.Closed, closed.Cancelled = true, cancelled
		fact, err := Create(closed, "e1", testTerms())
		if fact != nil || CodeOf(err) != CodeEventClosed || !errors.Is(err, ErrConflict) {
			t.Errorf("closed, cancelled %v: %v, %v, want a conflict", cancelled, fact, err)
		}
		wantClass(t, err, ClassReject)
		if fact, err := Create(closed, "e1", other); fact != nil || CodeOf(err) != CodeConflict {
			t.Errorf("closed, cancelled %v, with other terms: %v, %v, want a conflict", cancelled, fact, err)
		}
	}

	for _, id := range []string{"", "e/1", "e 1", strings.Repeat("x", 129)} {
		fact, err := Create(Event{}, id, testTerms())
		if fact != nil {
			t.Errorf("event id %q: got a fact", id)
		}
		wantClass(t, err, ClassReject)
	}
	for _, currency := range []string{"eur", "XAU", "BGN"} {
		bad := testTerms()
		bad.Currency = currency
		fact, err := Create(Event{}, "e1", bad)
		if fact != nil || err == nil || !strings.Contains(err.Error(), currency) {
			t.Errorf("in %s: got %v, %v", currency, fact, err)
		}
		wantClass(t, err, ClassReject)
	}
}

// TestEventOfAWithdrawnCurrency: it goes on as before; only new ones are refused.
func TestEventOfAWithdrawnCurrency(t *testing.T) {
	terms := testTerms()
	terms.Currency = "BGN"
	event, err := ApplyEvent(Event{}, Fact{Type: FactCreated, EventID: "e1", Terms: &terms})
	if err != nil {
		t.Fatal(err)
	}
	if fact, err := Create(event, "e1", terms); fact != nil || err != nil {
		t.Errorf("creating it again: %v, %v, want nothing", fact, err)
	}
	terms.Sections = []SectionTerms{{Name: "general", Price: 1100, Capacity: 20}, {Name: "vip", Price: 5000, Capacity: 4}}
	fact, err := Adjust(event, "e1", terms)
	if fact == nil || err != nil {
		t.Fatalf("adjusting it: %v, %v", fact, err)
	}
	held, verdict := Decide(View{Event: event}, testRef, now, Hold{
		Request:     Request{Type: RequestPurchase, CustomerID: "fred", Section: "general", Quantity: 1},
		EntryMillis: now, ValidMillis: 1000, HoldMillis: 1000,
	})
	if held == nil || held.Currency != "BGN" || verdict != VerdictAuthorize {
		t.Errorf("selling from it: %+v, %s", held, verdict)
	}
}

func TestAdjust(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(t *Terms)
		want   string // of the error; "fact": it is adjusted; empty: nothing to do
	}{
		{"nothing changed", func(*Terms) {}, ""},
		{"name", func(t *Terms) { t.Name = "Another" }, "fact"},
		{"limit", func(t *Terms) { t.MaxPerOrder = 0 }, "fact"},
		{"on sale", func(t *Terms) { t.OnSaleMillis = 2_000 }, "fact"},
		{"off sale", func(t *Terms) { t.OffSaleMillis = 0 }, "fact"},
		{"price", func(t *Terms) { t.Sections[0].Price = 1 }, "fact"},
		{"more of a section", func(t *Terms) { t.Sections[0].Capacity = 11 }, "fact"},
		{"just what is held and sold", func(t *Terms) { t.Sections[0].Capacity = 5 }, "fact"},
		{"a unit below what is held and sold", func(t *Terms) { t.Sections[0].Capacity = 4 }, "section general: capacity 4 is below the 3 held and 2 sold"},
		{"an unused section emptied", func(t *Terms) { t.Sections[1].Capacity = 0 }, "fact"},
		{"section added", func(t *Terms) { t.Sections = append(t.Sections, SectionTerms{Name: "balcony", Price: 1, Capacity: 1}) }, "fact"},
		{"section removed", func(t *Terms) { t.Sections = t.Sections[:1] }, "sections: a section cannot be removed"},
		{"section renamed", func(t *Terms) { t.Sections[1].Name = "v.i.p." }, "sections: a section cannot be removed"},
		{"currency", func(t *Terms) { t.Currency = "USD" }, "currency: cannot be changed"},
		{"bad terms", func(t *Terms) { t.Name = "" }, "name: want 1 to 256 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			event, terms := testEvent(), testTerms()
			test.change(&terms)
			fact, err := Adjust(event, "e1", terms)
			if !reflect.DeepEqual(event, testEvent()) {
				t.Error("Adjust changed the event it was given")
			}
			switch test.want {
			case "fact":
				if err != nil || fact == nil {
					t.Fatalf("got %v, %v, want a fact", fact, err)
				}
				if fact.Type != FactAdjusted || fact.EventID != "e1" || fact.Terms == nil || !reflect.DeepEqual(*fact.Terms, terms) {
					t.Fatalf("got %+v", *fact)
				}
				adjusted, err := ApplyEvent(event, *fact)
				if err != nil {
					t.Fatalf("the decided fact cannot be applied: %v", err)
				}
				if !reflect.DeepEqual(adjusted.Terms(), terms) {
					t.Errorf("it offers %+v, want %+v", adjusted.Terms(), terms)
				}
			case "":
				if err != nil || fact != nil {
					t.Errorf("got %v, %v, want nothing", fact, err)
				}
			default:
				if fact != nil {
					t.Error("got a fact")
				}
				wantClass(t, err, ClassReject)
				if err.Error() != test.want {
					t.Errorf("got %q, want %q", err, test.want)
				}
			}
		})
	}
	fact, err := Adjust(Event{}, "e9", testTerms())
	if fact != nil || !errors.Is(err, ErrNotFound) {
		t.Errorf("an unlisted event: %v, %v", fact, err)
	}
	wantClass(t, err, ClassReject)
}

// TestAdjustSectionOrder: the terms that a fact carries are what the event offers
// afterwards, in their order, and asking for them again changes nothing.
func TestAdjustSectionOrder(t *testing.T) {
	terms := testTerms()
	terms.Sections = []SectionTerms{{Name: "balcony", Price: 700, Capacity: 3}, terms.Sections[1], terms.Sections[0]}
	fact, err := Adjust(testEvent(), "e1", terms)
	if err != nil || fact == nil {
		t.Fatalf("adjusting: %v, %v", fact, err)
	}
	adjusted, err := ApplyEvent(testEvent(), *fact)
	if err != nil {
		t.Fatal(err)
	}
	want := []Section{
		{Name: "balcony", Price: 700, Capacity: 3, Available: 3},
		{Name: "vip", Price: 5000, Capacity: 4, Available: 4},
		{Name: "general", Price: 1000, Capacity: 10, Available: 5, Held: 3, Sold: 2},
	}
	if !reflect.DeepEqual(adjusted.Sections, want) {
		t.Errorf("sections %+v, want %+v", adjusted.Sections, want)
	}
	if fact, err := Adjust(adjusted, "e1", terms); fact != nil || err != nil {
		t.Errorf("adjusting it to the same again: %v, %v, want nothing", fact, err)
	}
}

// TestCloseReopenCancelEvent is every one of the three in every state that an event can be in.
func TestCloseReopenCancelEvent(t *testing.T) {
	cause := Cause{Reason: "fire", By: "ann"}
	state := func(closed, cancelled bool) Event {
		e := testEvent()
		e.Closed, e.Cancelled = closed, cancelled
		return e
	}
	fact := func(kind FactType) *Fact { return &Fact{Type: kind, EventID: "e1", Cause: cause} }
	reopened := fact(FactReopened)
	reopened.Terms = ptr(testTerms())
	open, closed, cancelled := state(false, false), state(true, false), state(true, true)
	for _, test := range []struct {
		name   string
		decide func(Event, string, Cause) (*Fact, error)
		event  Event
		want   *Fact
	}{
		{"close, open", Close, open, fact(FactClosed)},
		{"close, closed", Close, closed, nil},
		{"close, cancelled", Close, cancelled, nil},
		{"reopen, open", Reopen, open, nil},
		{"reopen, closed", Reopen, closed, reopened},
		{"reopen, cancelled", Reopen, cancelled, reopened},
		{"cancel, open", CancelEvent, open, fact(FactEventCancelled)},
		{"cancel, closed", CancelEvent, closed, fact(FactEventCancelled)},
		{"cancel, cancelled", CancelEvent, cancelled, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.decide(test.event, "e1", cause)
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Fatalf("got %+v, %v, want %+v", got, err, test.want)
			}
			if got != nil {
				if _, err := ApplyEvent(test.event, *got); err != nil {
					t.Errorf("the decided fact cannot be applied: %v", err)
				}
			}
			if fact, err := test.decide(Event{}, "e9", cause); fact != nil || !errors.Is(err, ErrNotFound) || ClassOf(err) != ClassReject {
				t.Errorf("an event that is not there: %v, %v", fact, err)
			}
			for _, bad := range []Cause{{strings.Repeat("r", MaxCauseBytes+1), "ann"}, {"fire", "an\nn"}, {"fire\x7f", "ann"}, {"fire", "\xff"}} {
				if fact, err := test.decide(test.event, "e1", bad); fact != nil || CodeOf(err) != CodeInvalid || ClassOf(err) != ClassReject {
					t.Errorf("because %q: %v, %v", bad, fact, err)
				}
			}
		})
	}
	// Only for a cancellation must somebody say something.
	for _, silent := range []Cause{{}, {Reason: "fire"}, {By: "ann"}} {
		if fact, err := Close(open, "e1", silent); fact == nil || err != nil {
			t.Errorf("closed because of %+v: %v, %v", silent, fact, err)
		}
		if fact, err := CancelEvent(open, "e1", silent); fact != nil || CodeOf(err) != CodeInvalid {
			t.Errorf("cancelled because of %+v: %v, %v", silent, fact, err)
		}
	}
}
