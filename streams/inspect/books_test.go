package inspect

import (
	"slices"
	"testing"

	"holdfast/domain"
)

func TestInvoices(t *testing.T) {
	f := newFixture(t)
	if lines, err := f.inspector.Invoices(f.Ctx, "nobody"); err != nil || len(lines) != 0 {
		t.Errorf("of nobody: %+v, %v", lines, err)
	}
	f.Do("HSET", f.Keys.Invoices("fred"), "e1/o1", "{")
	_, err := f.inspector.Invoices(f.Ctx, "fred")
	f.WantClass(err, domain.ClassPoison)
	f.BreakKey(f.Keys.Invoices("fred"))
	_, err = f.inspector.Invoices(f.Ctx, "fred")
	f.WantClass(err, domain.ClassPoison)

	lines := []InvoiceLine{{ConfirmedAtMillis: 2, OrderID: "a"}, {ConfirmedAtMillis: 1, EventID: "e2", OrderID: "a"}, {ConfirmedAtMillis: 1, EventID: "e1", OrderID: "b"}, {ConfirmedAtMillis: 1, EventID: "e1", OrderID: "a"}}
	sortInvoices(lines)
	if want := []InvoiceLine{{ConfirmedAtMillis: 1, EventID: "e1", OrderID: "a"}, {ConfirmedAtMillis: 1, EventID: "e1", OrderID: "b"}, {ConfirmedAtMillis: 1, EventID: "e2", OrderID: "a"}, {ConfirmedAtMillis: 2, OrderID: "a"}}; !slices.Equal(lines, want) {
		t.Errorf("sorted: %+v", lines)
	}
}
