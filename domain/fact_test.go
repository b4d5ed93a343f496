package domain

import "testing"

func TestFactAmount(t *testing.T) {
	f := Fact{EventID: "e1", OrderID: "o1", Items: "general:7:1286742750677284"}
	if f.Amount() != 9007199254740988 || f.Ref() != testRef {
		t.Errorf("got %d of %s", f.Amount(), f.Ref())
	}
	if o := (Order{Items: "general:7:1286742750677284"}); o.Amount() != 9007199254740988 {
		t.Errorf("got %d", o.Amount())
	}
}

// TestFactName: facts of one entry have names of their own.
func TestFactName(t *testing.T) {
	if got := (Fact{ID: "1700000000789-3", Line: 64}).Name(); got != "1700000000789-3#64" {
		t.Errorf("got %s", got)
	}
}
