package domain

import "testing"

// FuzzParseOrderRef: what is read is written as it was, and only valid names are read.
func FuzzParseOrderRef(f *testing.F) {
	for _, s := range []string{"", "/", "e1/o1", "e1", "e1/", "/o1", "e1/o1/x", "é/o1", "e1/o 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, ok := ParseOrderRef(s)
		switch {
		case !ok && ref != (OrderRef{}):
			t.Errorf("not read, and yet %+v", ref)
		case ok && (ref.String() != s || !ValidID(ref.EventID) || !ValidID(ref.OrderID)):
			t.Errorf("%q is read as %+v", s, ref)
		}
	})
}

// FuzzParseOrderState: a state has one name.
func FuzzParseOrderState(f *testing.F) {
	for s := OrderNone; s <= OrderRejected; s++ {
		f.Add(s.String())
	}
	f.Add("OrderState(9)")
	f.Fuzz(func(t *testing.T, name string) {
		state, ok := ParseOrderState(name)
		if ok && state.String() != name || !ok && state != OrderNone {
			t.Errorf("%q is %s", name, state)
		}
	})
}

// FuzzEntryMillis: the time of an entry is never below zero, whatever its id.
func FuzzEntryMillis(f *testing.F) {
	for _, id := range []string{"", "1-0", "1700000000123-4", "-1-0", "x-1", "9223372036854775808-0"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if n := EntryMillis(id); n < 0 {
			t.Errorf("%q is of %d", id, n)
		}
	})
}
