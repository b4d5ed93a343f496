package inspect

import (
	"errors"
	"slices"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

func TestInvoices(t *testing.T) {
	f := newFixture(t)
	if lines, err := f.inspector.Invoices(f.Ctx, "nobody"); err != nil || len(lines) != 0 {
		t.Errorf("of nobody: %+v, %v", lines, err)
	}
	// Of what is on the invoices, only what was confirmed and is this customer's is shown, and as the order is now.
	sold := confirmed("fred", 1_700_000_000_000)
	sold.Items = "general:3:3002399751580330"
	undone := confirmed("fred", 1_600_000_000_000)
	undone.State, undone.Version, undone.ResolvedAtMillis = domain.OrderCancelled, "1700000000009-0", 1_700_000_000_009
	held := domain.Order{
		State: domain.OrderHeld, Version: "1700000000000-0", RequestType: domain.RequestHold, CustomerID: "fred", Items: "general:1:2", HeldAtMillis: 1_700_000_000_000, DeadlineMillis: 1_700_000_000_001,
	}
	for id, o := range map[string]domain.Order{"sold": sold, "undone": undone, "held": held, "others": confirmed("eve", 1_700_000_000_000)} {
		f.put(f.Client, domain.OrderRef{EventID: "e1", OrderID: id}, o)
		f.invoice(f.Client, "fred", "e1/"+id)
	}
	f.invoice(f.Client, "fred", "e1/lost")
	want := []InvoiceLine{
		{OrderID: "undone", EventID: "e1", Section: "general", Quantity: 1, Amount: 2, Currency: "EUR", ConfirmedAtMillis: 1_600_000_000_000, Status: "cancelled", Items: undone.Items},
		{OrderID: "sold", EventID: "e1", Section: "general", Quantity: 3, Amount: 9007199254740990, Currency: "EUR", ConfirmedAtMillis: 1_700_000_000_000, Status: "confirmed", Items: sold.Items},
	}
	if lines, err := f.inspector.Invoices(f.Ctx, "fred"); err != nil || !slices.Equal(lines, want) {
		t.Errorf("got  %+v, %v\nwant %+v", lines, err, want)
	}
	f.Do("HSET", f.Keys.Orders(0, f.Keys.SharedHash("e1")), "e1/sold", "1-1|c2|p")
	_, err := f.inspector.Invoices(f.Ctx, "fred")
	f.WantClass(err, domain.ClassPoison)
	f.Do("HSET", f.Keys.Invoices("jim"), "e1", "")
	_, err = f.inspector.Invoices(f.Ctx, "jim")
	f.WantClass(err, domain.ClassPoison)
	f.BreakKey(f.Keys.Invoices("fred"))
	_, err = f.inspector.Invoices(f.Ctx, "fred")
	f.WantClass(err, domain.ClassPoison)

	lines := []InvoiceLine{{ConfirmedAtMillis: 2, OrderID: "a"}, {ConfirmedAtMillis: 1, EventID: "e2", OrderID: "a"}, {ConfirmedAtMillis: 1, EventID: "e1", OrderID: "b"}, {ConfirmedAtMillis: 1, EventID: "e1", OrderID: "a"}}
	sortInvoices(lines)
	if want = []InvoiceLine{{ConfirmedAtMillis: 1, EventID: "e1", OrderID: "a"}, {ConfirmedAtMillis: 1, EventID: "e1", OrderID: "b"}, {ConfirmedAtMillis: 1, EventID: "e2", OrderID: "a"}, {ConfirmedAtMillis: 2, OrderID: "a"}}; !slices.Equal(lines, want) {
		t.Errorf("sorted: %+v", lines)
	}
}

// TestSales: what is sold of an event is what stands beside it.
func TestSales(t *testing.T) {
	f := newFixture(t)
	if _, err := f.inspector.Sales(f.Ctx, "e1"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("of an event that is not there: %v", err)
	}
	_, err := f.store.Events().Create(f.Ctx, "e1", domain.Terms{Name: "e1", Currency: "EUR", Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 5}}})
	f.Must(err)
	if got, err := f.inspector.Sales(f.Ctx, "e1"); err != nil || got != (Totals{}) {
		t.Errorf("of a new event: %+v, %v", got, err)
	}
	want := Totals{Orders: 2, TicketsSold: 5, Revenue: 9007199254740993}
	f.Do("HSET", f.Keys.Events(0), layout.SalesField("e1"), layout.Totals(want).String())
	if got, err := f.inspector.Sales(f.Ctx, "e1"); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, damage := range [][2]string{{layout.SalesField("e1"), "many"}, {layout.TermsField("e1"), "1|o"}} {
		f.Do("HSET", f.Keys.Events(0), damage[0], damage[1])
		_, err := f.inspector.Sales(f.Ctx, "e1")
		f.WantClass(err, domain.ClassPoison)
	}
}
