package layout_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

func TestDecodeTotals(t *testing.T) {
	for raw, want := range map[string]layout.Totals{
		"0,0,0": {}, "1,2,3": {1, 2, 3}, "3,7,9007199254740991": {3, 7, 9007199254740991}, "1,2,-3": {1, 2, -3},
	} {
		if got, err := layout.DecodeTotals(raw); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{"", "1", "1,2", "1,2,", ",,", "1,2,3,4", "a,b,c", "1;2;3", "1,2,1e+16", "1.0,2,3", "1,2,9223372036854775808", " 1,2,3"} {
		if got, err := layout.DecodeTotals(raw); err == nil || domain.ClassOf(err) != domain.ClassPoison || got != (layout.Totals{}) {
			t.Errorf("%q: got %+v, %v, want poison", raw, got, err)
		}
	}
}

func FuzzDecodeTotals(f *testing.F) {
	for _, s := range []string{"", "0,0,0", "1,2,3", "1,2", "1,2,3,", "-1,+2,03", "9223372036854775807,9223372036854775808,0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		totals, err := layout.DecodeTotals(s)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison || totals != (layout.Totals{}) {
				t.Errorf("got %+v and class %s", totals, domain.ClassOf(err))
			}
			return
		}
		written := fmt.Sprintf("%d,%d,%d", totals.Orders, totals.TicketsSold, totals.Revenue)
		if again, err := layout.DecodeTotals(written); err != nil || again != totals {
			t.Errorf("%+v comes back as %+v, %v", totals, again, err)
		}
	})
}

func TestDecodeInvoiceLine(t *testing.T) {
	f := domain.Fact{
		AtMillis: 9, Type: domain.FactConfirmed, EventID: "e1", OrderID: "o1", CustomerID: "fred", Section: "general", Quantity: 3,
		UnitPrice: 3002399751580330, Currency: "EUR",
	}
	want := layout.InvoiceLine{OrderID: "o1", EventID: "e1", Section: "general", Quantity: 3, Amount: 9007199254740990, Currency: "EUR", ConfirmedAtMillis: 9, Status: "confirmed"}
	if got, err := layout.DecodeInvoiceLine("e1/o1", layout.EncodeInvoiceLine(f, 9, layout.InvoiceConfirmed)); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, test := range [][2]string{{"e1", "{}"}, {"", "{}"}, {"e1/o1", ""}, {"e1/o1", "{"}, {"e1/o1", `{"quantity":"3"}`}, {"e1/o 1", "{}"}} {
		if got, err := layout.DecodeInvoiceLine(test[0], test[1]); err == nil || domain.ClassOf(err) != domain.ClassPoison {
			t.Errorf("%q: got %+v, %v, want poison", test, got, err)
		}
	}
}

func FuzzDecodeInvoiceLine(f *testing.F) {
	const good = `{"section":"general","quantity":2,"amount":2000,"currency":"EUR","confirmed_at":1,"status":"confirmed"}`
	for _, field := range []string{"e1/o1", "e1", "/", "e1/o1/x"} {
		for _, value := range []string{good, "", "{}", "null", "[]", `{"event_id":"other"}`, good[:20], `{"quantity":1e3}`} {
			f.Add(field, value)
		}
	}
	f.Fuzz(func(t *testing.T, field, value string) {
		line, err := layout.DecodeInvoiceLine(field, value)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison {
				t.Errorf("class %s", domain.ClassOf(err))
			}
			return
		}
		if (domain.OrderRef{EventID: line.EventID, OrderID: line.OrderID}).String() != field {
			t.Errorf("%q is a line of %s/%s", field, line.EventID, line.OrderID)
		}
		written, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := layout.DecodeInvoiceLine(field, string(written)); err != nil || again != line {
			t.Errorf("%+v comes back as %+v, %v", line, again, err)
		}
	})
}
