package domain

import (
	"fmt"
	"maps"
	"testing"
)

// TestDecideSeveralItems: all or nothing, and who is to blame is said.
func TestDecideSeveralItems(t *testing.T) {
	request := func(change ...func(r *Request)) Hold {
		r := Request{
			Type: RequestHold, EventID: "e1", OrderID: "o1", CustomerID: "fred", Fingerprint: "2.fp",
			Items: []RequestItem{{Section: "general", Quantity: 2}, {Section: "vip", Quantity: 1, UnitPrice: ptr[int64](5000)}},
		}
		for _, c := range change {
			c(&r)
		}
		return Hold{Request: r, EntryMillis: now, ValidMillis: 1000, HoldMillis: 3000}
	}
	item := func(i int, change func(item *RequestItem)) func(r *Request) {
		return func(r *Request) { change(&r.Items[i]) }
	}
	for _, test := range []struct {
		name           string
		hold           Hold
		reason, detail string
		items          Items
	}{
		{"all of them", request(), "", "", "general:2:1000,vip:1:5000"},
		{"a section that is not there", request(item(1, func(i *RequestItem) { i.Section = "zoo" })), "unknown_section", "zoo", "general:2:0,zoo:1:0"},
		{"another price", request(item(1, func(i *RequestItem) { i.UnitPrice = ptr[int64](4999) })), "price_changed", "vip", "general:2:0,vip:1:0"},
		{"more than one order may have, together", request(item(0, func(i *RequestItem) { i.Quantity = 5 }), item(1, func(i *RequestItem) { i.Quantity = 2 })), "over_limit", "", "general:5:0,vip:2:0"},
		{"more of one than there are", request(item(1, func(i *RequestItem) { i.Quantity = 4 }), item(0, func(i *RequestItem) { i.Quantity = 1 })), "", "", "general:1:1000,vip:4:5000"},
		{"of one item, nothing is said", request(item(0, func(i *RequestItem) { i.Quantity = 6 }), func(r *Request) { r.Items = r.Items[:1] }), "sold_out", "", "general:6:0"},
	} {
		fact, verdict := Decide(View{Event: testEvent()}, testRef, now, test.hold)
		if verdict != VerdictDone || fact.Reason != test.reason || fact.Detail != test.detail || fact.Items != test.items {
			t.Errorf("%s: %s, %+v", test.name, verdict, fact)
		}
	}
	short := testEvent()
	short.MaxPerOrder, short.Sections[1].Available, short.Sections[1].Sold = 0, 0, 4
	if fact, _ := Decide(View{Event: short}, testRef, now, request()); fact.Reason != "sold_out" || fact.Detail != "vip" {
		t.Errorf("one of them is sold out: %+v", fact)
	}
	free := testEvent()
	free.Sections[0].Price = 0
	tokenless := request()
	tokenless.NoToken = true
	if fact, _ := Decide(View{Event: free}, testRef, now, tokenless); fact.Reason != "invalid" || fact.Detail != DetailNoToken {
		t.Errorf("only one of them is for free: %+v", fact)
	}
	minimum := request()
	minimum.Minimums = Minimums{"EUR": 7001}
	if fact, _ := Decide(View{Event: testEvent()}, testRef, now, minimum); fact.Reason != "below_minimum" {
		t.Errorf("a cent less than the gateway takes, together: %+v", fact)
	}
	minimum.Minimums["EUR"] = 7000
	if fact, _ := Decide(View{Event: testEvent()}, testRef, now, minimum); fact.Reason != "" {
		t.Errorf("just what the gateway takes, together: %+v", fact)
	}
	dear := testEvent()
	dear.MaxPerOrder = 0
	for i := range dear.Sections {
		dear.Sections[i].Price = MaxAmount
	}
	huge := request(item(0, func(i *RequestItem) { i.Quantity = MaxQuantity }), item(1, func(i *RequestItem) { i.Quantity, i.UnitPrice = MaxQuantity, nil }))
	huge.Minimums = Minimums{"EUR": MaxAmount}
	if fact, _ := Decide(View{Event: dear}, testRef, now, huge); fact.Reason != "sold_out" {
		t.Errorf("more than can be counted is not below a minimum: %+v", fact)
	}
}

// TestLimitPerCustomer: what a customer has counts over all their orders, until it is given back, and never more than the limit.
func TestLimitPerCustomer(t *testing.T) {
	terms := Terms{Name: "E", Currency: "EUR", MaxPerCustomer: 4, Sections: []SectionTerms{{Name: "a", Price: 1, Capacity: 9}, {Name: "b", Price: 2, Capacity: 9}}}
	book := NewSnapshot()
	fold := func(f Fact) error { return book.Fold(f) }
	must := func(f Fact) {
		t.Helper()
		if err := fold(f); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, places map[string]int64) {
		t.Helper()
		if got := book.Places["e"]; !maps.Equal(got, places) {
			t.Errorf("%s: %v, want %v", what, got, places)
		}
	}
	held := func(order, customer string, items Items) Fact {
		return Fact{Type: FactHeld, AtMillis: 1, EventID: "e", OrderID: order, RequestType: RequestHold, Fingerprint: "fp", CustomerID: customer, Items: items, Currency: "EUR", DeadlineMillis: 10}
	}
	confirmed := func(order, customer string, items Items) Fact {
		return Fact{Type: FactConfirmed, AtMillis: 2, EventID: "e", OrderID: order, CustomerID: customer, Items: items, Currency: "EUR"}
	}
	must(Fact{Type: FactCreated, EventID: "e", Terms: &terms})
	must(held("o1", "fred", "a:1:1,b:2:2"))
	want("held", map[string]int64{"fred": 3})
	must(confirmed("o1", "fred", "a:1:1,b:2:2"))
	want("confirmed", map[string]int64{"fred": 3})
	if fact, _ := Decide(book.View(OrderRef{"e", "o2"}, "fred"), OrderRef{"e", "o2"}, 3, Hold{Request: Request{Type: RequestHold, CustomerID: "fred", Section: "a", Quantity: 2}, ValidMillis: 9}); fact.Reason != "over_customer_limit" {
		t.Errorf("one more than the limit: %+v", fact)
	}
	if fact, _ := Decide(book.View(OrderRef{"e", "o2"}, "fred"), OrderRef{"e", "o2"}, 3, Hold{Request: Request{Type: RequestHold, CustomerID: "fred", Section: "a", Quantity: 1}, ValidMillis: 9}); fact.Type != FactHeld {
		t.Errorf("just the limit: %+v", fact)
	}
	if err := fold(held("o2", "fred", "a:2:1")); err == nil {
		t.Error("a fact took a customer above the limit, and was folded")
	}
	must(held("o2", "fred", "a:1:1"))
	must(held("o3", "mary", "b:4:2"))
	want("at the limit", map[string]int64{"fred": 4, "mary": 4})
	must(Fact{Type: FactExpired, AtMillis: 10, EventID: "e", OrderID: "o2"})
	must(Fact{Type: FactDeclined, AtMillis: 10, EventID: "e", OrderID: "o3"})
	want("expired, and declined", map[string]int64{"fred": 3})
	lower := terms
	lower.MaxPerCustomer = 2
	must(Fact{Type: FactAdjusted, EventID: "e", Terms: &lower})
	if fact, _ := Decide(book.View(OrderRef{"e", "o4"}, "fred"), OrderRef{"e", "o4"}, 3, Hold{Request: Request{Type: RequestHold, CustomerID: "fred", Section: "a", Quantity: 1}, ValidMillis: 9}); fact.Reason != "over_customer_limit" {
		t.Errorf("above a limit that was lowered: %+v", fact)
	}
	must(Fact{Type: FactCancelled, AtMillis: 11, EventID: "e", OrderID: "o1", Was: OrderConfirmed, Reason: ReasonRequested, CustomerID: "fred", Items: "a:1:1,b:2:2", Currency: "EUR", ConfirmedAtMillis: 2})
	want("cancelled", map[string]int64{})

	none := terms
	none.MaxPerCustomer = 0
	if _, err := Adjust(book.Events["e"], "e", none); err == nil || CodeOf(err) != CodeInvalid {
		t.Errorf("the limit taken away: %v", err)
	}
	if err := fold(Fact{Type: FactAdjusted, EventID: "e", Terms: &none}); err == nil {
		t.Error("a fact that takes the limit away was folded")
	}
	for n, ok := range map[int64]bool{-1: false, 0: true, 1: true, MaxQuantity: true, MaxQuantity + 1: false} {
		limited := terms
		limited.MaxPerCustomer = n
		if err := limited.Validate(); (err == nil) != ok {
			t.Errorf("%d: %v", n, err)
		}
	}
	if terms.Fingerprint() == none.Fingerprint() || terms.Fingerprint() == lower.Fingerprint() {
		t.Error("the limit is no part of the fingerprint")
	}
}

// TestRefusedDemand: what was asked for in vain is counted by section and reason, of what there was at that time.
func TestRefusedDemand(t *testing.T) {
	terms := Terms{Name: "E", Currency: "EUR", Sections: []SectionTerms{{Name: "a", Price: 1, Capacity: 0}, {Name: "b", Price: 2, Capacity: 9}}}
	book := NewSnapshot()
	n := 0
	rejected := func(event string, items Items, reason string) {
		t.Helper()
		n++
		if err := book.Fold(Fact{Type: FactRejected, AtMillis: 1, EventID: event, OrderID: fmt.Sprint("o", n), RequestType: RequestHold, CustomerID: "fred", Items: items, Reason: reason}); err != nil {
			t.Fatal(err)
		}
	}
	rejected("e", "a:1:0", ReasonUnknownEvent)
	if err := book.Fold(Fact{Type: FactCreated, EventID: "e", Terms: &terms}); err != nil {
		t.Fatal(err)
	}
	rejected("e", "a:2:0", ReasonSoldOut)
	rejected("e", "a:1:0,b:3:0", ReasonSoldOut)
	rejected("e", "b:3:0,zoo:1:0", ReasonUnknownSection)
	rejected("e", "zoo:1:0", ReasonUnknownSection)
	rejected("e", "b:5:0", ReasonInvalid)
	rejected("e", "", ReasonInvalid)
	want := map[RefusedDemand]int64{{"e", "a", "sold_out"}: 3, {"e", "b", "sold_out"}: 3, {"e", "b", "unknown_section"}: 3}
	if !maps.Equal(book.Refused, want) {
		t.Errorf("got %v, want %v", book.Refused, want)
	}
}
