package domain

import "testing"

func TestSoldOut(t *testing.T) {
	e := Event{
		Currency: "EUR", OnSaleMillis: 1000, Allocations: []Allocation{{Name: "fans", OnSaleMillis: 500}},
		Sections: []Section{
			{Name: "general", Capacity: 2, Sold: 1, Held: 1},
			{Name: "balcony", Capacity: 1, Available: 1},
			{Name: "general~fans", Capacity: 1, Sold: 1},
			{Name: "stalls", Capacity: 1, Sold: 1, Layout: "A:1", Places: "s"},
		},
	}
	closed := e
	closed.Closed = true
	of := func(items ...RequestItem) *Request { return &Request{Type: RequestPurchase, Items: items} }
	for name, test := range map[string]struct {
		event Event
		r     *Request
		at    int64
		want  bool
	}{
		"none is left":                      {e, &Request{Section: "general", Quantity: 1}, 1000, true},
		"some are left":                     {e, &Request{Section: "balcony", Quantity: 1}, 1000, false},
		"fewer are left than are wanted":    {e, &Request{Section: "balcony", Quantity: 2}, 1000, false},
		"one of several":                    {e, of(RequestItem{Section: "balcony", Quantity: 1}, RequestItem{Section: "general", Quantity: 1}), 1000, true},
		"seats by name":                     {e, &Request{Section: "stalls", Seats: []string{"A-1"}}, 1000, true},
		"not on sale yet":                   {e, &Request{Section: "general", Quantity: 1}, 999, false},
		"closed":                            {closed, &Request{Section: "general", Quantity: 1}, 1000, false},
		"an allocation, in its own time":    {e, &Request{Section: "general", Allocation: "fans", Quantity: 1}, 500, true},
		"an allocation, before its time":    {e, &Request{Section: "general", Allocation: "fans", Quantity: 1}, 499, false},
		"no such section":                   {e, &Request{Section: "gallery", Quantity: 1}, 1000, false},
		"no such section beside a sold out": {e, of(RequestItem{Section: "gallery", Quantity: 1}, RequestItem{Section: "general", Quantity: 1}), 1000, false},
		"no such event":                     {Event{}, &Request{Section: "general", Quantity: 1}, 1000, false},
	} {
		if got := test.event.SoldOut(test.r, test.at); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
