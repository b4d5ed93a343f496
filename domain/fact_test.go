package domain

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParseFact(t *testing.T) {
	terms := testTerms()
	termsJSON, err := json.Marshal(terms)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		fields []string
		want   Fact // but for ID and AtMillis
	}{
		{"listed", []string{"type", "listed", "event", "e1", "terms", string(termsJSON)}, Fact{Type: FactListed, EventID: "e1", Terms: &terms}},
		{"adjusted", []string{"type", "adjusted", "event", "e1", "terms", string(termsJSON)}, Fact{Type: FactAdjusted, EventID: "e1", Terms: &terms}},
		{"closed", []string{"type", "closed", "event", "e1"}, Fact{Type: FactClosed, EventID: "e1"}},
		{
			"held",
			[]string{"type", "held", "order", "e1/o1", "data", "hold|fp|fred|general|2|1000|EUR|1700000000123"},
			Fact{
				Type: FactHeld, EventID: "e1", OrderID: "o1", Kind: RequestHold, Fingerprint: "fp", CustomerID: "fred", Section: "general",
				Quantity: 2, UnitPrice: 1000, Currency: "EUR", DeadlineMillis: 1700000000123,
			},
		},
		{
			"rejected",
			[]string{"type", "rejected", "order", "e1/o1", "data", "purchase|fp||general|0|invalid|customer_id: missing"},
			Fact{
				Type: FactRejected, EventID: "e1", OrderID: "o1", Kind: RequestPurchase, Fingerprint: "fp", Section: "general",
				Reason: "invalid", Detail: "customer_id: missing",
			},
		},
		{
			"rejected with bars in the detail",
			[]string{"type", "rejected", "order", "e1/o1", "data", "purchase|fp||general|0|invalid|a|b|"},
			Fact{
				Type: FactRejected, EventID: "e1", OrderID: "o1", Kind: RequestPurchase, Fingerprint: "fp", Section: "general",
				Reason: "invalid", Detail: "a|b|",
			},
		},
		{
			"confirmed",
			[]string{"type", "confirmed", "order", "e1/o1", "data", "fred|general|2|9007199254740991|EUR|auth_1"},
			Fact{
				Type: FactConfirmed, EventID: "e1", OrderID: "o1", CustomerID: "fred", Section: "general", Quantity: 2,
				UnitPrice: 9007199254740991, Currency: "EUR", AuthorizationID: "auth_1",
			},
		},
		{"declined", []string{"type", "declined", "order", "e1/o1", "data", ""}, Fact{Type: FactDeclined, EventID: "e1", OrderID: "o1"}},
		{"expired", []string{"type", "expired", "order", "e1/o1"}, Fact{Type: FactExpired, EventID: "e1", OrderID: "o1"}},
		{
			"cancelled, unseen",
			[]string{"type", "cancelled", "order", "e1/o1", "data", "requested|none"},
			Fact{Type: FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: OrderNone},
		},
		{
			"cancelled, held",
			[]string{"type", "cancelled", "order", "e1/o1", "data", "requested|held|fred|general|2|900|EUR|0"},
			Fact{
				Type: FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: OrderHeld, CustomerID: "fred",
				Section: "general", Quantity: 2, UnitPrice: 900, Currency: "EUR",
			},
		},
		{
			"cancelled, confirmed",
			[]string{"type", "cancelled", "order", "e1/o1", "data", "capture_failed|confirmed|fred|general|2|900|EUR|1700000000456"},
			Fact{
				Type: FactCancelled, EventID: "e1", OrderID: "o1", Reason: "capture_failed", Was: OrderConfirmed, CustomerID: "fred",
				Section: "general", Quantity: 2, UnitPrice: 900, Currency: "EUR", ConfirmedAt: 1700000000456,
			},
		},
		{
			"fields of a later version, and a name without a value",
			[]string{"type", "expired", "order", "e1/o1", "why", "x", "type"},
			Fact{Type: FactExpired, EventID: "e1", OrderID: "o1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseFact("1700000000789-3", test.fields)
			if err != nil {
				t.Fatal(err)
			}
			test.want.ID, test.want.AtMillis = "1700000000789-3", 1700000000789
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestParseFactDamaged(t *testing.T) {
	const (
		noType  = "type: no such fact"
		noOrder = "order: want event_id/order_id"
		noEvent = "event: missing or no id"
		noTerms = "terms: cannot be read"
		noState = "data: was: no such state"
	)
	order := func(kind, data string) []string { return []string{"type", kind, "order", "e1/o1", "data", data} }
	for _, test := range []struct {
		name   string
		fields []string
		want   string // what follows "log entry 1-0: "
	}{
		{"nothing", nil, noType},
		{"no type", []string{"order", "e1/o1", "data", ""}, noType},
		{"a type of its own", order("refunded", ""), noType},
		{"a type in capitals", order("EXPIRED", ""), noType},
		{"no order", []string{"type", "expired", "data", ""}, noOrder},
		{"an event for an order", []string{"type", "expired", "order", "e1"}, noOrder},
		{"an order without an event", []string{"type", "expired", "order", "/o1"}, noOrder},
		{"an order with a bar", []string{"type", "expired", "order", "e1/o|1"}, noOrder},
		{"listed, no event", []string{"type", "listed", "terms", "{}"}, noEvent},
		{"listed, an order", []string{"type", "listed", "event", "e1/o1", "terms", "{}"}, noEvent},
		{"closed, no event", []string{"type", "closed"}, noEvent},
		{"no terms", []string{"type", "listed", "event", "e1"}, noTerms},
		{"terms that are no JSON", []string{"type", "listed", "event", "e1", "terms", "{"}, noTerms},
		{"terms of another type", []string{"type", "adjusted", "event", "e1", "terms", `{"sections":[{"capacity":"many"}]}`}, noTerms},
		{"cancelled from a state that is none", order("cancelled", "requested|hold"), noState},
		{"cancelled from nothing", order("cancelled", "requested|"), noState},
		{"cancelled, no data", order("cancelled", ""), noState},
		{"cancelled, unseen, with more", order("cancelled", "requested|none|fred"), "data of cancelled: cannot be read"},
		{"cancelled, held, with less", order("cancelled", "requested|held|fred|general|2|900|EUR"), "data of cancelled: cannot be read"},
		{"declined with data", order("declined", "x"), "data of declined: cannot be read"},
		{"expired with data", order("expired", "|"), "data of expired: cannot be read"},
		{"held, no data", order("held", ""), "data of held: cannot be read"},
		{"held with less", order("held", "hold|fp|fred|general|2|1000|EUR"), "data of held: cannot be read"},
		{"held with more", order("held", "hold|fp|fred|general|2|1000|EUR|5|"), "data of held: cannot be read"},
		{"rejected with less", order("rejected", "hold|fp|fred|general|2|sold_out"), "data of rejected: cannot be read"},
		{"confirmed with less", order("confirmed", "fred|general|2|900|EUR"), "data of confirmed: cannot be read"},
		{"confirmed with more", order("confirmed", "fred|general|2|900|EUR|auth|1"), "data of confirmed: cannot be read"},
		{"quantity in words", order("held", "hold|fp|fred|general|two|1000|EUR|5"), "data of held: cannot be read"},
		{"quantity below zero", order("rejected", "hold|fp|fred|general|-1|sold_out|"), "data of rejected: cannot be read"},
		{"quantity missing", order("confirmed", "fred|general||900|EUR|auth"), "data of confirmed: cannot be read"},
		{"quantity with a fraction", order("confirmed", "fred|general|1.0|900|EUR|auth"), "data of confirmed: cannot be read"},
		{"unit_price as floats are printed", order("confirmed", "fred|general|1|9.007199254741e+15|EUR|auth"), "data of confirmed: cannot be read"},
		{"deadline too large", order("held", "hold|fp|fred|general|2|1000|EUR|9223372036854775808"), "data of held: cannot be read"},
		{"confirmed_at with NUL", order("cancelled", "requested|confirmed|fred|general|2|900|EUR|1\x00"), "data of cancelled: cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseFact("1-0", test.fields)
			wantClass(t, err, ClassPoison)
			if want := "log entry 1-0: " + test.want; err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
		})
	}
}

func TestFactAmount(t *testing.T) {
	f := Fact{EventID: "e1", OrderID: "o1", Quantity: 7, UnitPrice: 1286742750677284}
	if f.Amount() != 9007199254740988 || f.Ref() != testRef {
		t.Errorf("got %d of %s", f.Amount(), f.Ref())
	}
	if o := (Order{Quantity: 7, UnitPrice: 1286742750677284}); o.Amount() != 9007199254740988 {
		t.Errorf("got %d", o.Amount())
	}
}

func TestEntryMillis(t *testing.T) {
	for id, want := range map[string]int64{
		"1700000000123-4": 1700000000123, "1700000000123": 1700000000123, "0-1": 0, "": 0, "x-1": 0, "-1-1": 0, "-": 0,
		"9223372036854775807-18446744073709551615": 9223372036854775807, "9223372036854775808-0": 0,
	} {
		if got := EntryMillis(id); got != want {
			t.Errorf("%q: got %d, want %d", id, got, want)
		}
	}
}

// encodeFact writes a fact as the scripts do.
func encodeFact(t *testing.T, f Fact) []string {
	switch f.Type {
	case FactClosed:
		return []string{"type", string(f.Type), "event", f.EventID}
	case FactListed, FactAdjusted:
		terms, err := json.Marshal(f.Terms)
		if err != nil {
			t.Fatal(err)
		}
		return []string{"type", string(f.Type), "event", f.EventID, "terms", string(terms)}
	default:
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	sale := []string{f.CustomerID, f.Section, n(f.Quantity), n(f.UnitPrice), f.Currency}
	var data []string
	switch f.Type {
	case FactHeld:
		data = slices.Concat([]string{string(f.Kind), f.Fingerprint}, sale, []string{n(f.DeadlineMillis)})
	case FactRejected:
		data = []string{string(f.Kind), f.Fingerprint, f.CustomerID, f.Section, n(f.Quantity), f.Reason, f.Detail}
	case FactConfirmed:
		data = append(sale, f.AuthorizationID)
	case FactCancelled:
		if data = []string{f.Reason, f.Was.String()}; f.Was != OrderNone {
			data = slices.Concat(data, sale, []string{n(f.ConfirmedAt)})
		}
	default:
	}
	return []string{"type", string(f.Type), "order", f.Ref().String(), "data", strings.Join(data, "|")}
}

func FuzzParseFact(f *testing.F) {
	const separator = "\x1f"
	terms, err := json.Marshal(testTerms())
	if err != nil {
		f.Fatal(err)
	}
	for _, fields := range [][]string{
		{},
		{"type", "listed", "event", "e1", "terms", string(terms)},
		{"type", "adjusted", "event", "e1", "terms", `{"sections":null}`},
		{"type", "listed", "event", "e1", "terms", "null"},
		{"type", "closed", "event", "e1", "terms", "{"},
		{"type", "held", "order", "e1/o1", "data", "hold|fp|fred|general|2|1000|EUR|1700000000123"},
		{"type", "rejected", "order", "e1/o1", "data", "hold|fp|fred|general|+2|sold_out|a|b"},
		{"type", "confirmed", "order", "e1/o1", "data", "fred|general|2|900|EUR|auth_1"},
		{"type", "cancelled", "order", "e1/o1", "data", "requested|confirmed|fred|general|2|900|EUR|1700000000456"},
		{"type", "cancelled", "order", "e1/o1", "data", "requested|none"},
		{"type", "expired", "order", "e1/o1", "data", "", "order", "e2/o2"},
		{"type", "held", "type", "declined", "order", "e1/o1", "data"},
	} {
		f.Add("1700000000123-0", strings.Join(fields, separator))
	}
	f.Add("", "type")
	types := []FactType{FactListed, FactAdjusted, FactClosed, FactHeld, FactRejected, FactConfirmed, FactDeclined, FactExpired, FactCancelled}
	f.Fuzz(func(t *testing.T, id, data string) {
		fact, err := ParseFact(id, strings.Split(data, separator))
		if err != nil {
			if ClassOf(err) != ClassPoison {
				t.Errorf("class %s", ClassOf(err))
			}
			return
		}
		if fact.ID != id || fact.AtMillis != EntryMillis(id) || fact.EventID == "" || !slices.Contains(types, fact.Type) {
			t.Errorf("got %+v", fact)
		}
		for _, n := range []int64{fact.AtMillis, fact.Quantity, fact.UnitPrice, fact.DeadlineMillis, fact.ConfirmedAt} {
			if n < 0 {
				t.Errorf("a count below zero: %+v", fact)
			}
		}
		again, err := ParseFact(id, encodeFact(t, fact))
		if err != nil || !reflect.DeepEqual(again, fact) {
			t.Errorf("what was parsed:  %+v\ncomes back as: %+v, %v", fact, again, err)
		}
		// Whatever it says, folding it into an empty book works or is an error.
		b := NewBook()
		if err := b.Fold(fact); err == nil && len(b.Events)+len(b.Orders) == 0 {
			t.Errorf("%s was folded into nothing", fact.Type)
		}
	})
}
