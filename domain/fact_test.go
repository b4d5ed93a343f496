package domain

import "testing"

func TestFactAmount(t *testing.T) {
	f := Fact{EventID: "e1", OrderID: "o1", Quantity: 7, UnitPrice: 1286742750677284}
	if f.Amount() != 9007199254740988 || f.Ref() != testRef {
		t.Errorf("got %d of %s", f.Amount(), f.Ref())
	}
	if o := (Order{Quantity: 7, UnitPrice: 1286742750677284}); o.Amount() != 9007199254740988 {
		t.Errorf("got %d", o.Amount())
	}
}
