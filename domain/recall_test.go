package domain

import (
	"reflect"
	"testing"
)

// forgotten is a book with an event that was forgotten, and what that was.
func forgotten(t *testing.T) (book, was *Snapshot) {
	t.Helper()
	terms := testTerms()
	terms.OnSaleMillis, terms.OffSaleMillis, terms.MaxPerCustomer = 0, 0, 5
	facts := []Fact{
		{ID: "1-0", AtMillis: 1, Type: FactRejected, EventID: "e", OrderID: "early", RequestType: RequestPurchase, CustomerID: "fred", Items: "general:1:0", Reason: ReasonUnknownEvent},
		{ID: "2-0", AtMillis: 2, Type: FactCreated, EventID: "e", Terms: &terms},
		{ID: "3-0", AtMillis: 3, Type: FactHeld, EventID: "e", OrderID: "o", RequestType: RequestPurchase, CustomerID: "fred", Items: "general:2:1000", Currency: "EUR", DeadlineMillis: 100},
		{ID: "4-0", AtMillis: 4, Type: FactConfirmed, EventID: "e", OrderID: "o", CustomerID: "fred", Items: "general:2:1000", Currency: "EUR", AuthorizationID: "auth"},
		{ID: "5-0", AtMillis: 5, Type: FactRejected, EventID: "e", OrderID: "more", RequestType: RequestPurchase, CustomerID: "amy", Items: "vip:9:0", Reason: ReasonSoldOut},
		{ID: "6-0", AtMillis: 6, Type: FactClosed, EventID: "e"},
	}
	book, was = NewSnapshot(), NewSnapshot()
	for _, b := range []*Snapshot{book, was} {
		for _, f := range facts {
			if err := b.Fold(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := book.Fold(Fact{ID: "7-0", AtMillis: 7, Type: FactEventForgotten, EventID: "e"}); err != nil {
		t.Fatal(err)
	}
	return book, was
}

// recalling are the facts that bring it back.
func recalling(was *Snapshot) (orders []Fact, event Fact) {
	for ref, o := range was.Orders {
		orders = append(orders, Fact{ID: "8-0", AtMillis: 8, Type: FactOrderRecalled, EventID: "e", OrderID: ref.OrderID, Recalled: &Recalled{Order: o, Early: was.Early[ref]}})
	}
	is := was.Events["e"]
	is.Version += 2
	return orders, Fact{ID: "9-0", AtMillis: 9, Type: FactEventRecalled, EventID: "e", Recalled: &Recalled{Event: is, Refused: was.Refused}}
}

// An event that is recalled is what it was, but for the version of its terms; and can be forgotten again.
func TestFoldRecalled(t *testing.T) {
	book, was := forgotten(t)
	orders, event := recalling(was)
	for _, f := range append(orders, event) {
		if err := book.Fold(f); err != nil {
			t.Fatal(err)
		}
	}
	e := was.Events["e"]
	e.Version += 2
	was.Events["e"] = e
	book.byEvent, was.byEvent = nil, nil
	if !reflect.DeepEqual(book.Orders, was.Orders) || !reflect.DeepEqual(book.Events, was.Events) || !reflect.DeepEqual(book.Places, was.Places) ||
		!reflect.DeepEqual(book.Refused, was.Refused) || !reflect.DeepEqual(book.Early, was.Early) || len(book.Lines) > 0 {
		t.Errorf("it is\n%+v, was\n%+v", book, was)
	}
	if err := book.Fold(Fact{ID: "10-0", AtMillis: 10, Type: FactEventForgotten, EventID: "e"}); err != nil || len(book.Orders) > 0 || len(book.Lines) != 1 || len(book.Places["e"]) > 0 {
		t.Errorf("forgotten again, the book is %+v, %v", book, err)
	}
	// For whoever wants to know what was, it never went.
	kept := NewSnapshot()
	kept.Events["e"] = Event{Currency: "EUR", Version: 2}
	for _, f := range append(orders, event) {
		if err := kept.FoldKeeping(f); err != nil {
			t.Fatal(err)
		}
	}
	if kept.Events["e"].Version != e.Version || len(kept.Orders) > 0 {
		t.Errorf("kept is %+v", kept)
	}
}

// What was not so is not recalled.
func TestFoldRecalledWrongly(t *testing.T) {
	for name, wrong := range map[string]func(orders []Fact, event *Fact) []Fact{
		"an order is missing that was confirmed": func(orders []Fact, event *Fact) (left []Fact) {
			for _, f := range orders {
				if f.OrderID != "o" {
					left = append(left, f)
				}
			}
			return append(left, *event)
		},
		"an order costs less than its line says": func(orders []Fact, event *Fact) []Fact {
			for i := range orders {
				if orders[i].OrderID == "o" {
					orders[i].Recalled.Order.Items = "general:2:900"
				}
			}
			return append(orders, *event)
		},
		"an order is held": func(orders []Fact, event *Fact) []Fact {
			orders[0].Recalled.Order.State = OrderHeld
			return append(orders, *event)
		},
		"an order comes twice": func(orders []Fact, event *Fact) []Fact { return append(orders, orders[0], *event) },
		"an order that has changed since": func(orders []Fact, event *Fact) []Fact {
			orders[0].Recalled.Order.Version = "8-0"
			return append(orders, *event)
		},
		"the event comes twice": func(orders []Fact, event *Fact) []Fact { return append(orders, *event, *event) },
		"it is on sale": func(orders []Fact, event *Fact) []Fact {
			event.Recalled.Event.Closed = false
			return append(orders, *event)
		},
		"its terms have another version": func(orders []Fact, event *Fact) []Fact {
			event.Recalled.Event.Version++
			return append(orders, *event)
		},
		"more is sold than its orders have": func(orders []Fact, event *Fact) []Fact {
			sections := append([]Section{}, event.Recalled.Event.Sections...)
			sections[0].Sold, sections[0].Available = sections[0].Sold+1, sections[0].Available-1
			event.Recalled.Event.Sections = sections
			return append(orders, *event)
		},
	} {
		t.Run(name, func(t *testing.T) {
			book, was := forgotten(t)
			orders, event := recalling(was)
			var err error
			for _, f := range wrong(orders, &event) {
				if err = book.Fold(f); err != nil {
					break
				}
			}
			if err == nil {
				t.Error("it was folded")
			}
		})
	}
	book, was := forgotten(t)
	orders, event := recalling(was)
	for _, f := range append(orders, event) {
		f.EventID = "never"
		if err := book.Fold(f); err == nil {
			t.Errorf("%s was folded of an event that never was", f.Type)
		}
	}
}
