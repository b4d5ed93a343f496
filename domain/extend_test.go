package domain

import "testing"

// A hold that lives is extended, and never shortened; nothing else is changed by it, and a log that says so of anything else breaks the rules.
func TestExtend(t *testing.T) {
	ref := OrderRef{EventID: "e1", OrderID: "o1"}
	for name, o := range map[string]Order{
		"none": {}, "over": heldOrder(RequestHold, now), "long": heldOrder(RequestHold, now+10), "longer": heldOrder(RequestPurchase, now+11), "confirmed": confirmedOrder(),
	} {
		if fact, verdict := Decide(View{Event: testEvent(), Order: o}, ref, now, Extend{UntilMillis: now + 10}); fact != nil || verdict != VerdictDone {
			t.Errorf("%s: %+v, %v", name, fact, verdict)
		}
		v := View{Event: testEvent(), Order: o}
		if after, err := Apply(v, Fact{Type: FactExtended, ID: confirmedID, AtMillis: now, EventID: "e1", OrderID: "o1", DeadlineMillis: now + 10}); err == nil {
			t.Errorf("%s: the log may say that it is extended: %+v", name, after.Order)
		}
	}
	o := heldOrder(RequestPurchase, now+1)
	fact, _ := Decide(View{Event: testEvent(), Order: o}, ref, now, Extend{UntilMillis: now + 10})
	fact.ID, fact.AtMillis = confirmedID, now
	after, err := Apply(View{Event: testEvent(), Order: o, InProgress: "o1"}, *fact)
	o.DeadlineMillis, o.Version = now+10, confirmedID
	if err != nil || after.Order != o || after.InProgress != "o1" {
		t.Errorf("extended it is %+v, %v", after, err)
	}
	if _, err := Apply(after, Fact{Type: FactConfirmed, ID: confirmedID, AtMillis: now + 5, EventID: "e1", OrderID: "o1", CustomerID: o.CustomerID, Items: o.Items, Currency: o.Currency, AuthorizationID: "auth_1"}); err != nil {
		t.Errorf("confirmed within its new deadline: %v", err)
	}
}
