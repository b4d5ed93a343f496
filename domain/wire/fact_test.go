package wire

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
)

func TestParseFacts(t *testing.T) {
	terms := testTerms()
	termsJSON, err := json.Marshal(terms)
	if err != nil {
		t.Fatal(err)
	}
	barred := testTerms()
	barred.Name = "Either|Or"
	barredJSON, err := json.Marshal(barred)
	if err != nil {
		t.Fatal(err)
	}
	held := domain.Fact{
		Type: domain.FactHeld, EventID: "e1", OrderID: "o1", RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Section: "general",
		Quantity: 2, UnitPrice: 1000, Currency: "EUR", DeadlineMillis: 1700000000123,
	}
	rejected := domain.Fact{
		Type: domain.FactRejected, EventID: "e1", OrderID: "o1", RequestType: domain.RequestPurchase, Fingerprint: "fp", Section: "general",
		Reason: "invalid", Detail: "customer_id: missing",
	}
	for _, test := range []struct {
		name   string
		fields []string
		want   []domain.Fact // but for ID and AtMillis
	}{
		{"listed", []string{"listed", "e1|" + string(termsJSON)}, []domain.Fact{{Type: domain.FactCreated, EventID: "e1", Terms: &terms}}},
		{"listed, with a bar in its name", []string{"listed", "e1|" + string(barredJSON)}, []domain.Fact{{Type: domain.FactCreated, EventID: "e1", Terms: &barred}}},
		{"adjusted", []string{"adjusted", "e1|" + string(termsJSON)}, []domain.Fact{{Type: domain.FactAdjusted, EventID: "e1", Terms: &terms}}},
		{"closed", []string{"closed", "e1"}, []domain.Fact{{Type: domain.FactClosed, EventID: "e1"}}},
		{
			"closed, with a cause that has a bar",
			[]string{"closed", `e1|{"reason":"fire | flood","by":"ann"}`},
			[]domain.Fact{{Type: domain.FactClosed, EventID: "e1", Cause: domain.Cause{Reason: "fire | flood", By: "ann"}}},
		},
		{
			"reopened",
			[]string{"adjusted", "e1|" + strings.TrimSuffix(string(termsJSON), "}") + `,"reopened":true,"by":"bob"}`},
			[]domain.Fact{{Type: domain.FactReopened, EventID: "e1", Terms: &terms, Cause: domain.Cause{By: "bob"}}},
		},
		{
			"event cancelled",
			[]string{"closed", `e1|{"reason":"fire","by":"ann","cancelled":true}`},
			[]domain.Fact{{Type: domain.FactEventCancelled, EventID: "e1", Cause: domain.Cause{Reason: "fire", By: "ann"}}},
		},
		{"held", []string{"held", "e1/o1|hold|fp|fred|general|2|1000|EUR|1700000000123"}, []domain.Fact{held}},
		{"rejected", []string{"rejected", "e1/o1|purchase|fp||general|0|invalid|customer_id: missing"}, []domain.Fact{rejected}},
		{
			"rejected with bars in the detail",
			[]string{"rejected", "e1/o1|purchase|fp||general|0|invalid|a|b|"},
			[]domain.Fact{{
				Type: domain.FactRejected, EventID: "e1", OrderID: "o1", RequestType: domain.RequestPurchase, Fingerprint: "fp", Section: "general",
				Reason: "invalid", Detail: "a|b|",
			}},
		},
		{
			"confirmed",
			[]string{"confirmed", "e1/o1|fred|general|2|9007199254740991|EUR|auth_1"},
			[]domain.Fact{{
				Type: domain.FactConfirmed, EventID: "e1", OrderID: "o1", CustomerID: "fred", Section: "general", Quantity: 2,
				UnitPrice: 9007199254740991, Currency: "EUR", AuthorizationID: "auth_1",
			}},
		},
		{"declined", []string{"declined", "e1/o1"}, []domain.Fact{{Type: domain.FactDeclined, EventID: "e1", OrderID: "o1"}}},
		{
			"declined, and why",
			[]string{"declined", "e1/o1", "rejected", "e1/o1|purchase|fp|fred|general|2|payment_mismatch|amount 500 instead of 1000; voided"},
			[]domain.Fact{{
				Type: domain.FactDeclined, EventID: "e1", OrderID: "o1", RequestType: domain.RequestPurchase, Fingerprint: "fp", CustomerID: "fred",
				Section: "general", Quantity: 2, Reason: "payment_mismatch", Detail: "amount 500 instead of 1000; voided",
			}},
		},
		{
			"declined, and another one rejected",
			[]string{"declined", "e1/o2", "rejected", "e1/o1|purchase|fp||general|0|invalid|customer_id: missing"},
			[]domain.Fact{{Type: domain.FactDeclined, EventID: "e1", OrderID: "o2"}, rejected},
		},
		{
			"declined, and why, and then rejected",
			[]string{"declined", "e1/o1", "rejected", "e1/o1|||||0|payment_mismatch|", "rejected", "e1/o1|purchase|fp||general|0|invalid|customer_id: missing"},
			[]domain.Fact{{Type: domain.FactDeclined, EventID: "e1", OrderID: "o1", Reason: "payment_mismatch"}, rejected},
		},
		{"expired", []string{"expired", "e1/o1"}, []domain.Fact{{Type: domain.FactExpired, EventID: "e1", OrderID: "o1"}}},
		{
			"cancelled, unseen",
			[]string{"cancelled", "e1/o1|requested|none"},
			[]domain.Fact{{Type: domain.FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: domain.OrderNone}},
		},
		{
			"cancelled, held",
			[]string{"cancelled", "e1/o1|requested|held|fred|general|2|900|EUR|0"},
			[]domain.Fact{{
				Type: domain.FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: domain.OrderHeld, CustomerID: "fred",
				Section: "general", Quantity: 2, UnitPrice: 900, Currency: "EUR",
			}},
		},
		{
			"cancelled, confirmed",
			[]string{"cancelled", "e1/o1|capture_failed|confirmed|fred|general|2|900|EUR|1700000000456"},
			[]domain.Fact{{
				Type: domain.FactCancelled, EventID: "e1", OrderID: "o1", Reason: "capture_failed", Was: domain.OrderConfirmed, CustomerID: "fred",
				Section: "general", Quantity: 2, UnitPrice: 900, Currency: "EUR", ConfirmedAtMillis: 1700000000456,
			}},
		},
		{
			"several in one entry, of one type and of several",
			[]string{
				"held", "e1/o1|hold|fp|fred|general|2|1000|EUR|1700000000123", "rejected", "e1/o1|purchase|fp||general|0|invalid|customer_id: missing",
				"held", "e1/o1|hold|fp|fred|general|2|1000|EUR|1700000000123",
			},
			[]domain.Fact{held, rejected, held},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseFacts("1700000000789-3", test.fields)
			if err != nil {
				t.Fatal(err)
			}
			for i := range test.want {
				test.want[i].ID, test.want[i].AtMillis = "1700000000789-3", 1700000000789
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			var written []string
			for _, f := range got {
				written = append(written, FactFields(f)...)
			}
			if !slices.Equal(written, test.fields) {
				t.Errorf("it is written %q, want %q", written, test.fields)
			}
		})
	}
}

func TestParseFactsDamaged(t *testing.T) {
	const good = "e1/o1|hold|fp|fred|general|2|1000|EUR|5"
	for _, test := range []struct {
		name   string
		fields []string
		want   string // what follows "log entry 1-0: "
	}{
		{"nothing", nil, "has no fields"},
		{"no fields", []string{}, "has no fields"},
		{"a type of its own", []string{"refunded", "e1/o1"}, "no such fact"},
		{"a type in capitals", []string{"EXPIRED", "e1/o1"}, "no such fact"},
		{"no type", []string{"", "e1/o1"}, "no such fact"},
		{"a request", purchaseFields(), "no such fact"},
		{"no order", []string{"expired", ""}, "expired: want event_id/order_id"},
		{"an event for an order", []string{"expired", "e1"}, "expired: want event_id/order_id"},
		{"an order without an event", []string{"held", "/o1|hold"}, "held: want event_id/order_id"},
		{"an order with a space", []string{"expired", "e1/o 1"}, "expired: want event_id/order_id"},
		{"listed, no event", []string{"listed", "|{}"}, "listed: want event_id"},
		{"listed, an order", []string{"listed", "e1/o1|{}"}, "listed: want event_id"},
		{"closed, no event", []string{"closed", ""}, "closed: want event_id"},
		{"closed, a cause that is no JSON", []string{"closed", "e1|fire"}, "closed: cause cannot be read"},
		{"closed, a cause of another type", []string{"closed", `e1|{"by":1}`}, "closed: cause cannot be read"},
		{"reopened, by its name", []string{"reopened", "e1|{}"}, "no such fact"},
		{"event cancelled, by its name", []string{"event_cancelled", "e1|{}"}, "no such fact"},
		{"no terms", []string{"listed", "e1"}, "listed: terms cannot be read"},
		{"terms that are no JSON", []string{"listed", "e1|{"}, "listed: terms cannot be read"},
		{"terms of another type", []string{"adjusted", `e1|{"sections":[{"capacity":"many"}]}`}, "adjusted: terms cannot be read"},
		{"cancelled from a state that is none", []string{"cancelled", "e1/o1|requested|hold"}, "cancelled: was: no such state"},
		{"cancelled from nothing", []string{"cancelled", "e1/o1|requested|"}, "cancelled: was: no such state"},
		{"cancelled, no data", []string{"cancelled", "e1/o1"}, "cancelled: was: no such state"},
		{"cancelled, unseen, with more", []string{"cancelled", "e1/o1|requested|none|fred"}, "cancelled: cannot be read"},
		{"cancelled, held, with less", []string{"cancelled", "e1/o1|requested|held|fred|general|2|900|EUR"}, "cancelled: cannot be read"},
		{"declined with data", []string{"declined", "e1/o1|x"}, "declined: cannot be read"},
		{"expired with data", []string{"expired", "e1/o1|"}, "expired: cannot be read"},
		{"held, no data", []string{"held", "e1/o1"}, "held: cannot be read"},
		{"held with less", []string{"held", strings.TrimSuffix(good, "|5")}, "held: cannot be read"},
		{"held with more", []string{"held", good + "|"}, "held: cannot be read"},
		{"rejected with less", []string{"rejected", "e1/o1|hold|fp|fred|general|2|sold_out"}, "rejected: cannot be read"},
		{"confirmed with less", []string{"confirmed", "e1/o1|fred|general|2|900|EUR"}, "confirmed: cannot be read"},
		{"confirmed with more", []string{"confirmed", "e1/o1|fred|general|2|900|EUR|auth|1"}, "confirmed: cannot be read"},
		{"quantity in words", []string{"held", strings.Replace(good, "|2|", "|two|", 1)}, "held: cannot be read"},
		{"quantity below zero", []string{"rejected", "e1/o1|hold|fp|fred|general|-1|sold_out|"}, "rejected: cannot be read"},
		{"quantity missing", []string{"confirmed", "e1/o1|fred|general||900|EUR|auth"}, "confirmed: cannot be read"},
		{"quantity with a fraction", []string{"confirmed", "e1/o1|fred|general|1.0|900|EUR|auth"}, "confirmed: cannot be read"},
		{"unit_price as floats are printed", []string{"confirmed", "e1/o1|fred|general|1|9.007199254741e+15|EUR|auth"}, "confirmed: cannot be read"},
		{"deadline too large", []string{"held", good + "000000000000000000000"}, "held: cannot be read"},
		{"confirmed_at with NUL", []string{"cancelled", "e1/o1|requested|confirmed|fred|general|2|900|EUR|1\x00"}, "cancelled: cannot be read"},
		{"the second one", []string{"held", good, "held", "e1/o2"}, "held: cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			facts, err := ParseFacts("1-0", test.fields)
			wantClass(t, err, domain.ClassPoison)
			if want := "log entry 1-0: " + test.want; err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
			if facts != nil {
				t.Errorf("an error, and yet %+v", facts)
			}
		})
	}
}

// FuzzParseFacts reads a field list, its strings separated by the unit separator.
func FuzzParseFacts(f *testing.F) {
	const separator = "\x1f"
	terms, err := json.Marshal(testTerms())
	if err != nil {
		f.Fatal(err)
	}
	for _, fields := range [][]string{
		{"listed", "e1|" + string(terms)},
		{"adjusted", `e1|{"sections":null}`},
		{"listed", "e1|null"},
		{"closed", "e1|{"},
		{"closed", `e1|{"reason":"fire","by":"ann","cancelled":true}`},
		{"adjusted", `e1|{"sections":null,"reopened":true,"by":"bob"}`},
		{"held", "e1/o1|hold|fp|fred|general|2|1000|EUR|1700000000123"},
		{"rejected", "e1/o1|hold|fp|fred|general|+2|sold_out|a|b"},
		{"confirmed", "e1/o1|fred|general|2|900|EUR|auth_1"},
		{"cancelled", "e1/o1|requested|confirmed|fred|general|2|900|EUR|1700000000456"},
		{"cancelled", "e1/o1|requested|none"},
		{"expired", "e1/o1", "declined", "e2/o2", "held"},
		{"declined", "e1/o1", "rejected", "e1/o1|purchase|fp|fred|general|2|payment_mismatch|amount 500 instead of 1000"},
		{"declined", "e1/o1", "rejected", "e1/o1|||||0||"},
		{"held", "e1/o1|hold|fp|fred|general|2|1000|EUR|1", "rejected", "e1/o2|hold|fp|fred|general|2|sold_out|"},
		{"expired"},
	} {
		f.Add("1700000000123-0", strings.Join(fields, separator))
	}
	f.Add("", "")
	types := []domain.FactType{domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventCancelled, domain.FactHeld, domain.FactRejected, domain.FactConfirmed, domain.FactDeclined, domain.FactExpired, domain.FactCancelled}
	f.Fuzz(func(t *testing.T, id, data string) {
		fields := strings.Split(data, separator)
		facts, err := ParseFacts(id, fields)
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison || facts != nil {
				t.Errorf("class %s, %+v", domain.ClassOf(err), facts)
			}
			return
		}
		whys := 0
		for _, fact := range facts {
			if fact.Type == domain.FactDeclined && fact.Reason != "" {
				whys++
			}
		}
		if len(facts)+whys != len(fields)/2 {
			t.Fatalf("%d facts, %d of them with a reason, in %d strings", len(facts), whys, len(fields))
		}
		b := domain.NewSnapshot()
		var encoded []string
		for _, fact := range facts {
			if fact.ID != id || fact.AtMillis != domain.EntryMillis(id) || !domain.ValidID(fact.EventID) || !slices.Contains(types, fact.Type) {
				t.Errorf("got %+v", fact)
			}
			for _, n := range []int64{fact.AtMillis, fact.Quantity, fact.UnitPrice, fact.DeadlineMillis, fact.ConfirmedAtMillis} {
				if n < 0 {
					t.Errorf("a count below zero: %+v", fact)
				}
			}
			encoded = append(encoded, FactFields(fact)...)
			// Whatever it says, folding it works or is an error.
			if err := b.Fold(fact); err == nil && len(b.Events)+len(b.Orders) == 0 {
				t.Errorf("%s was folded into nothing", fact.Type)
			}
		}
		if len(facts) == 0 {
			return
		}
		if again, err := ParseFacts(id, encoded); err != nil || !reflect.DeepEqual(again, facts) {
			t.Errorf("what was parsed:  %+v\ncomes back as: %+v, %v", facts, again, err)
		}
	})
}
