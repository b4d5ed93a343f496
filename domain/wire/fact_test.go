package wire

import (
	"encoding/json"
	"fmt"
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
		Type: domain.FactHeld, EventID: "e1", OrderID: "o1", RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Items: "general:2:1000", Currency: "EUR", DeadlineMillis: 1700000060789,
	}
	rejected := domain.Fact{
		Type: domain.FactRejected, EventID: "e1", OrderID: "o1", RequestType: domain.RequestPurchase, Fingerprint: "fp", Items: "general:0:0",
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
		{"adjusted to nothing", []string{"adjusted", `e1|{"name":"","currency":"","sections":null}`}, []domain.Fact{{Type: domain.FactAdjusted, EventID: "e1", Terms: &domain.Terms{}}}},
		{"closed", []string{"closed", "e1|{}"}, []domain.Fact{{Type: domain.FactClosed, EventID: "e1"}}},
		{
			"closed, with a cause that has a bar and a line break",
			[]string{"closed", `e1|{"reason":"fire | flood\n","by":"ann"}`},
			[]domain.Fact{{Type: domain.FactClosed, EventID: "e1", Cause: domain.Cause{Reason: "fire | flood\n", By: "ann"}}},
		},
		{
			"reopened",
			[]string{"reopened", "e1|" + strings.TrimSuffix(string(termsJSON), "}") + `,"by":"bob"}`},
			[]domain.Fact{{Type: domain.FactReopened, EventID: "e1", Terms: &terms, Cause: domain.Cause{By: "bob"}}},
		},
		{
			"event cancelled",
			[]string{"event_cancelled", `e1|{"reason":"fire","by":"ann"}`},
			[]domain.Fact{{Type: domain.FactEventCancelled, EventID: "e1", Cause: domain.Cause{Reason: "fire", By: "ann"}}},
		},
		{"held", []string{"held", "e1/o1|h|fp|fred|general:2:1000|EUR|60000"}, []domain.Fact{held}},
		{"rejected", []string{"rejected", "e1/o1|p|fp||general:0:0|invalid|customer_id: missing"}, []domain.Fact{rejected}},
		{
			"rejected with bars in the detail",
			[]string{"rejected", "e1/o1|p|fp||general:0:0|invalid|a|b|"},
			[]domain.Fact{{
				Type: domain.FactRejected, EventID: "e1", OrderID: "o1", RequestType: domain.RequestPurchase, Fingerprint: "fp", Items: "general:0:0",
				Reason: "invalid", Detail: "a|b|",
			}},
		},
		{
			"reduced",
			[]string{"reduced", "e1/o1|1|3.fp|5-0|confirmed|fred|general:1:900|EUR"},
			[]domain.Fact{{
				Type: domain.FactReduced, EventID: "e1", OrderID: "o1", Change: 1, Fingerprint: "3.fp", Version: "5-0", Was: domain.OrderConfirmed, CustomerID: "fred", Items: "general:1:900", Currency: "EUR",
			}},
		},
		{
			"reduced, and the money is kept",
			[]string{"reduced", `e1/o1|1|3.fp|5-0|confirmed|fred|general:1:900|EUR|{"reason":"a | b","by":"ann","no_refund":true}`},
			[]domain.Fact{{
				Type: domain.FactReduced, EventID: "e1", OrderID: "o1", Change: 1, Fingerprint: "3.fp", Version: "5-0", Was: domain.OrderConfirmed, CustomerID: "fred", Items: "general:1:900", Currency: "EUR",
				NoRefund: true, Cause: domain.Cause{Reason: "a | b", By: "ann"},
			}},
		},
		{
			"cancelled, and the money is kept",
			[]string{"cancelled", `e1/o1|requested|confirmed|fred|general:1:900|EUR|1700000000456|{"no_refund":true}`},
			[]domain.Fact{{
				Type: domain.FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: domain.OrderConfirmed, CustomerID: "fred", Items: "general:1:900", Currency: "EUR",
				ConfirmedAtMillis: 1700000000456, NoRefund: true,
			}},
		},
		{
			"lapsed",
			[]string{"lapsed", "e1/o1|900000\ne1/o2|1"},
			[]domain.Fact{
				{Type: domain.FactLapsed, EventID: "e1", OrderID: "o1", LateMillis: 900_000}, {Type: domain.FactLapsed, EventID: "e1", OrderID: "o2", Line: 2, LateMillis: 1},
			},
		},
		{
			"expired because its places were gone",
			[]string{"expired", "e1/o1\ne1/o2|seat_taken|stalls: A-1\ne1/o3|in_progress|"},
			[]domain.Fact{
				{Type: domain.FactExpired, EventID: "e1", OrderID: "o1"},
				{Type: domain.FactExpired, EventID: "e1", OrderID: "o2", Line: 2, Reason: "seat_taken", Detail: "stalls: A-1"},
				{Type: domain.FactExpired, EventID: "e1", OrderID: "o3", Line: 3, Reason: "in_progress"},
			},
		},
		{
			"payments disputed",
			[]string{"payment_disputed", "e1/o1|5-0|open|2500|1700000000000\ne1/o2|6-0|lost|1|0"},
			[]domain.Fact{
				{Type: domain.FactPaymentDisputed, EventID: "e1", OrderID: "o1", Version: "5-0", Dispute: domain.Dispute{State: domain.DisputeOpen, Amount: 2500, DueMillis: 1_700_000_000_000}},
				{Type: domain.FactPaymentDisputed, EventID: "e1", OrderID: "o2", Line: 2, Version: "6-0", Dispute: domain.Dispute{State: domain.DisputeLost, Amount: 1}},
			},
		},
		{
			"restored",
			[]string{"restored", `e1/o1||none|confirmed||general:2:900|{"type":"purchase","fingerprint":"fp","customer_id":"fred","items":"general:2:900","currency":"EUR","deadline":70,"held_at":10,"confirmed_at":20,"resolved_at":20,"authorization_id":"auth_1","attempt":1}` +
				"\n" + `e1/o2|5-0|confirmed|cancelled|stalls:1:900:3||{"type":"hold","fingerprint":"fp","customer_id":"mary","items":"stalls:1:900:3","currency":"EUR","confirmed_at":20,"dispute":{"state":"open","amount":900},"disputed_at":30,"reason":"requested","detail":"a|b"}`},
			[]domain.Fact{
				{
					Type: domain.FactRestored, EventID: "e1", OrderID: "o1", CustomerID: "fred", Currency: "EUR", Taken: "general:2:900",
					Restored: &domain.Order{
						State: domain.OrderConfirmed, RequestType: domain.RequestPurchase, Fingerprint: "fp", CustomerID: "fred", Items: "general:2:900", Currency: "EUR",
						DeadlineMillis: 70, HeldAtMillis: 10, ConfirmedAtMillis: 20, ResolvedAtMillis: 20, AuthorizationID: "auth_1", Attempt: 1,
					},
				},
				{
					Type: domain.FactRestored, EventID: "e1", OrderID: "o2", Line: 2, Version: "5-0", Was: domain.OrderConfirmed, CustomerID: "mary", Currency: "EUR", Items: "stalls:1:900:3",
					Restored: &domain.Order{
						State: domain.OrderCancelled, RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "mary", Items: "stalls:1:900:3", Currency: "EUR", ConfirmedAtMillis: 20,
						Dispute: domain.Dispute{State: domain.DisputeOpen, Amount: 900}, DisputedAtMillis: 30, Reason: "requested", Detail: "a|b",
					},
				},
			},
		},
		{
			"refunds granted",
			[]string{"refund_granted", "e1/o1|2|3.fp|5-0|fred||EUR|500\n" + `e1/o2|1|3.fp|6-0|mary|stalls:1:900:3|EUR|900|{"reason":"a pillar","by":"ann"}`},
			[]domain.Fact{
				{Type: domain.FactRefundGranted, EventID: "e1", OrderID: "o1", Change: 2, Fingerprint: "3.fp", Version: "5-0", CustomerID: "fred", Currency: "EUR", Refund: 500},
				{
					Type: domain.FactRefundGranted, EventID: "e1", OrderID: "o2", Line: 2, Change: 1, Fingerprint: "3.fp", Version: "6-0", CustomerID: "mary", Items: "stalls:1:900:3", Currency: "EUR", Refund: 900,
					Cause: domain.Cause{Reason: "a pillar", By: "ann"},
				},
			},
		},
		{
			"changed",
			[]string{"changed", "e1/o1|12|3.fp|5-0|held|fred|stalls:2:900:1-2|EUR|stalls:1:900:3,vip:1:900"},
			[]domain.Fact{{
				Type: domain.FactChanged, EventID: "e1", OrderID: "o1", Change: 12, Fingerprint: "3.fp", Version: "5-0", Was: domain.OrderHeld, CustomerID: "fred", Items: "stalls:2:900:1-2", Currency: "EUR",
				Taken: "stalls:1:900:3,vip:1:900",
			}},
		},
		{
			"changed, and who asked for it",
			[]string{"changed", `e1/o1|1|3.fp|5-0|held|fred|a:1:900|EUR|b:1:900|{"reason":"a friend is ill","by":"ann"}`},
			[]domain.Fact{{
				Type: domain.FactChanged, EventID: "e1", OrderID: "o1", Change: 1, Fingerprint: "3.fp", Version: "5-0", Was: domain.OrderHeld, CustomerID: "fred", Items: "a:1:900", Currency: "EUR",
				Taken: "b:1:900", Cause: domain.Cause{Reason: "a friend is ill", By: "ann"},
			}},
		},
		{
			"a change refused",
			[]string{"change_refused", "e1/o1|1|3.fp|5-0|seat_taken|stalls: A-1"},
			[]domain.Fact{{Type: domain.FactChangeRefused, EventID: "e1", OrderID: "o1", Change: 1, Fingerprint: "3.fp", Version: "5-0", Reason: "seat_taken", Detail: "stalls: A-1"}},
		},
		{
			"confirmed",
			[]string{"confirmed", "e1/o1|fred|general:2:9007199254740991|EUR|auth_1"},
			[]domain.Fact{{
				Type: domain.FactConfirmed, EventID: "e1", OrderID: "o1", CustomerID: "fred", Items: "general:2:9007199254740991", Currency: "EUR", AuthorizationID: "auth_1",
			}},
		},
		{
			"confirmed by a later attempt",
			[]string{"confirmed", "e1/o1|fred|general:2:900|EUR|auth_1|9"},
			[]domain.Fact{{
				Type: domain.FactConfirmed, EventID: "e1", OrderID: "o1", CustomerID: "fred", Items: "general:2:900", Currency: "EUR", AuthorizationID: "auth_1", Attempt: 9,
			}},
		},
		{
			"confirmed, of a trace",
			[]string{"confirmed", "e1/o1|fred|general:2:900|EUR|auth_1||0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331\ne1/o2|fred|general:2:900|EUR|auth_1|9|0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"},
			[]domain.Fact{
				{
					Type: domain.FactConfirmed, EventID: "e1", OrderID: "o1", CustomerID: "fred", Items: "general:2:900", Currency: "EUR", AuthorizationID: "auth_1",
					Trace: "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
				},
				{
					Type: domain.FactConfirmed, EventID: "e1", OrderID: "o2", Line: 2, CustomerID: "fred", Items: "general:2:900", Currency: "EUR", AuthorizationID: "auth_1", Attempt: 9,
					Trace: "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
				},
			},
		},
		{
			"held, of a trace",
			[]string{"held", "e1/o1|h|fp|fred|general:2:1000|EUR|0||0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331\ne1/o2|h|fp|fred|general~fans:2:1000|EUR|0|" + strings.Repeat("a", 32) + "|0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"},
			[]domain.Fact{
				{
					Type: domain.FactHeld, EventID: "e1", OrderID: "o1", RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Items: "general:2:1000", Currency: "EUR", DeadlineMillis: 1700000000789,
					Trace: "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
				},
				{
					Type: domain.FactHeld, EventID: "e1", OrderID: "o2", Line: 2, RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Items: "general~fans:2:1000", Currency: "EUR", DeadlineMillis: 1700000000789,
					Code: strings.Repeat("a", 32), Trace: "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
				},
			},
		},
		{
			"rejected, of a trace",
			[]string{"rejected", "e1/o1|h|fp|fred|general:2:0|sold_out~0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331|a|b~c\ne1/o2|h|fp|fred|general:2:0|invalid~0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331|"},
			[]domain.Fact{
				{
					Type: domain.FactRejected, EventID: "e1", OrderID: "o1", RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Items: "general:2:0", Reason: "sold_out", Detail: "a|b~c",
					Trace: "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
				},
				{
					Type: domain.FactRejected, EventID: "e1", OrderID: "o2", Line: 2, RequestType: domain.RequestHold, Fingerprint: "fp", CustomerID: "fred", Items: "general:2:0", Reason: "invalid",
					Trace: "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
				},
			},
		},
		{"paying", []string{"paying", "e1/o1|1|fp"}, []domain.Fact{{Type: domain.FactPaying, EventID: "e1", OrderID: "o1", Attempt: 1, Fingerprint: "fp"}}},
		{
			"an action required",
			[]string{"action_required", "e1/o1|2|pi_1"},
			[]domain.Fact{{Type: domain.FactActionRequired, EventID: "e1", OrderID: "o1", Attempt: 2, AuthorizationID: "pi_1"}},
		},
		{"an attempt declined", []string{"payment_declined", "e1/o1|9"}, []domain.Fact{{Type: domain.FactPaymentDeclined, EventID: "e1", OrderID: "o1", Attempt: 9}}},
		{"extended", []string{"extended", "e1/o1|1800"}, []domain.Fact{{Type: domain.FactExtended, EventID: "e1", OrderID: "o1", DeadlineMillis: 1800}}},
		{"declined", []string{"declined", "e1/o1"}, []domain.Fact{{Type: domain.FactDeclined, EventID: "e1", OrderID: "o1"}}},
		{
			"declined, and why",
			[]string{"declined", "e1/o1|payment_mismatch|amount 500 instead of 1000; voided"},
			[]domain.Fact{{Type: domain.FactDeclined, EventID: "e1", OrderID: "o1", Reason: "payment_mismatch", Detail: "amount 500 instead of 1000; voided"}},
		},
		{
			"declined, and a detail with bars",
			[]string{"declined", "e1/o1|payment_mismatch|a|b|"},
			[]domain.Fact{{Type: domain.FactDeclined, EventID: "e1", OrderID: "o1", Reason: "payment_mismatch", Detail: "a|b|"}},
		},
		{
			"declined, and no detail",
			[]string{"declined", "e1/o1|payment_mismatch|"},
			[]domain.Fact{{Type: domain.FactDeclined, EventID: "e1", OrderID: "o1", Reason: "payment_mismatch"}},
		},
		{"forgotten", []string{"forgotten", "e1/o1|5-3"}, []domain.Fact{{Type: domain.FactForgotten, EventID: "e1", OrderID: "o1", Version: "5-3"}}},
		{"expired", []string{"expired", "e1/o1"}, []domain.Fact{{Type: domain.FactExpired, EventID: "e1", OrderID: "o1"}}},
		{
			"cancelled, unseen",
			[]string{"cancelled", "e1/o1|requested|none"},
			[]domain.Fact{{Type: domain.FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: domain.OrderNone}},
		},
		{
			"cancelled, unseen, by somebody",
			[]string{"cancelled", `e1/o1|requested|none|{"reason":"a|b","by":"ann"}`},
			[]domain.Fact{{Type: domain.FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: domain.OrderNone, Cause: domain.Cause{Reason: "a|b", By: "ann"}}},
		},
		{
			"cancelled, confirmed, by somebody",
			[]string{"cancelled", `e1/o1|requested|confirmed|fred|general:2:900|EUR|1700000000456|{"by":"ann"}`},
			[]domain.Fact{{
				Type: domain.FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: domain.OrderConfirmed, CustomerID: "fred",
				Items: "general:2:900", Currency: "EUR", ConfirmedAtMillis: 1700000000456, Cause: domain.Cause{By: "ann"},
			}},
		},
		{
			"cancelled, held",
			[]string{"cancelled", "e1/o1|requested|held|fred|general:2:900|EUR|0"},
			[]domain.Fact{{
				Type: domain.FactCancelled, EventID: "e1", OrderID: "o1", Reason: "requested", Was: domain.OrderHeld, CustomerID: "fred",
				Items: "general:2:900", Currency: "EUR",
			}},
		},
		{
			"cancelled, confirmed",
			[]string{"cancelled", "e1/o1|capture_failed|confirmed|fred|general:2:900|EUR|1700000000456"},
			[]domain.Fact{{
				Type: domain.FactCancelled, EventID: "e1", OrderID: "o1", Reason: "capture_failed", Was: domain.OrderConfirmed, CustomerID: "fred",
				Items: "general:2:900", Currency: "EUR", ConfirmedAtMillis: 1700000000456,
			}},
		},
		{
			"several in one entry",
			[]string{"held", "e1/o1|h|fp|fred|general:2:1000|EUR|60000\ne2/o1|h|fp|fred|general:2:1000|EUR|60000\ne1/o2|p|fp|mary|general:1:0|EUR|0"},
			[]domain.Fact{
				held,
				func() domain.Fact {
					f := held
					f.EventID = "e2"
					return f
				}(),
				{
					Type: domain.FactHeld, EventID: "e1", OrderID: "o2", RequestType: domain.RequestPurchase, Fingerprint: "fp", CustomerID: "mary", Items: "general:1:0",
					Currency: "EUR", DeadlineMillis: 1700000000789,
				},
			},
		},
		{
			"several declined, of which one says why",
			[]string{"declined", "e1/o1\ne1/o2|payment_mismatch|a|b\ne1/o3"},
			[]domain.Fact{
				{Type: domain.FactDeclined, EventID: "e1", OrderID: "o1"},
				{Type: domain.FactDeclined, EventID: "e1", OrderID: "o2", Reason: "payment_mismatch", Detail: "a|b"},
				{Type: domain.FactDeclined, EventID: "e1", OrderID: "o3"},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseFacts("1700000000789-3", test.fields)
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for i := range test.want {
				test.want[i].ID, test.want[i].Line, test.want[i].AtMillis = "1700000000789-3", i+1, 1700000000789
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			for _, f := range got {
				lines = append(lines, FactLine(f))
			}
			if written := strings.Join(lines, "\n"); written != test.fields[1] {
				t.Errorf("it is written %q, want %q", written, test.fields[1])
			}
		})
	}
}

// TestParseFactsAtMost64: entries are acknowledged as a whole, so they have a bound.
func TestParseFactsAtMost64(t *testing.T) {
	lines := slices.Repeat([]string{"e1/o1"}, 64)
	facts, err := ParseFacts("1-0", []string{"expired", strings.Join(lines, "\n")})
	if err != nil || len(facts) != 64 {
		t.Fatalf("%d facts, %v", len(facts), err)
	}
	names := make(map[string]bool)
	for _, f := range facts {
		names[f.Name()] = true
	}
	if len(names) != 64 || !names["1-0#1"] || !names["1-0#64"] {
		t.Errorf("they are named %v", names)
	}
	facts, err = ParseFacts("1-0", []string{"expired", strings.Join(append(lines, "e1/o1"), "\n")})
	wantClass(t, err, domain.ClassPoison)
	if facts != nil || err.Error() != "log entry 1-0: has 65 lines, want at most 64" {
		t.Errorf("got %d facts, %v", len(facts), err)
	}
}

func TestParseFactsDamaged(t *testing.T) {
	const good = "e1/o1|h|fp|fred|general:2:1000|EUR|5"
	for _, test := range []struct {
		name   string
		fields []string
		want   string // what follows "log entry 1-0: "
	}{
		{"nothing", nil, "has 0 fields, want one"},
		{"no fields", []string{}, "has 0 fields, want one"},
		{"two fields", []string{"expired", "e1/o1", "expired", "e1/o2"}, "has 2 fields, want one"},
		{"a type of its own", []string{"refunded", "e1/o1"}, "no such fact"},
		{"a type in capitals", []string{"EXPIRED", "e1/o1"}, "no such fact"},
		{"no type", []string{"", "e1/o1"}, "no such fact"},
		{"a request", purchaseFields(), fmt.Sprintf("has %d fields, want one", len(purchaseFields())/2)},
		{"no version", []string{"forgotten", "e1/o1"}, "forgotten: cannot be read"},
		{"a version that is none", []string{"forgotten", "e1/o1|x"}, "forgotten: cannot be read"},
		{"no order", []string{"expired", ""}, "expired: want event_id/order_id"},
		{"an event for an order", []string{"expired", "e1"}, "expired: want event_id/order_id"},
		{"an order without an event", []string{"held", "/o1|hold"}, "held: want event_id/order_id"},
		{"an order with a space", []string{"expired", "e1/o 1"}, "expired: want event_id/order_id"},
		{"listed, no event", []string{"listed", "|{}"}, "listed: want event_id"},
		{"listed, an order", []string{"listed", "e1/o1|{}"}, "listed: want event_id"},
		{"closed, no event", []string{"closed", ""}, "closed: want event_id"},
		{"closed, a cause that is no JSON", []string{"closed", "e1|fire"}, "closed: cause cannot be read"},
		{"closed, a cause of another type", []string{"closed", `e1|{"by":1}`}, "closed: cause cannot be read"},
		{"closed, no cause", []string{"closed", "e1"}, "closed: cause cannot be read"},
		{"event cancelled, a cause that is no JSON", []string{"event_cancelled", "e1|{"}, "event_cancelled: cause cannot be read"},
		{"no terms", []string{"listed", "e1"}, "listed: terms cannot be read"},
		{"reopened, no terms", []string{"reopened", "e1|"}, "reopened: terms cannot be read"},
		{"terms that are no JSON", []string{"listed", "e1|{"}, "listed: terms cannot be read"},
		{"terms of another type", []string{"adjusted", `e1|{"sections":[{"capacity":"many"}]}`}, "adjusted: terms cannot be read"},
		{"cancelled from a state that is none", []string{"cancelled", "e1/o1|requested|hold"}, "cancelled: was: no such state"},
		{"cancelled from nothing", []string{"cancelled", "e1/o1|requested|"}, "cancelled: was: no such state"},
		{"cancelled, no data", []string{"cancelled", "e1/o1"}, "cancelled: was: no such state"},
		{"cancelled, unseen, with more", []string{"cancelled", "e1/o1|requested|none|fred"}, "cancelled: cannot be read"},
		{"cancelled, held, with less", []string{"cancelled", "e1/o1|requested|held|fred|general:2:900|EUR"}, "cancelled: cannot be read"},
		{"cancelled, held, from another schema", []string{"cancelled", "e1/o1|requested|held|fred|general|2|900|EUR|0"}, "cancelled: cannot be read"},
		{"declined with less", []string{"declined", "e1/o1|payment_mismatch"}, "declined: cannot be read"},
		{"declined without a reason", []string{"declined", "e1/o1||a"}, "declined: cannot be read"},
		{"expired with data", []string{"expired", "e1/o1|"}, "expired: cannot be read"},
		{"held, no data", []string{"held", "e1/o1"}, "held: cannot be read"},
		{"held with less", []string{"held", strings.TrimSuffix(good, "|5")}, "held: cannot be read"},
		{"held with more", []string{"held", good + "|"}, "held: cannot be read"},
		{"held, of a trace that is none", []string{"held", good + "||0af7651916cd43dd8448eb211c80319c-b7ad6b716920333"}, "held: cannot be read"},
		{"held, of a trace and more", []string{"held", good + "||0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331|"}, "held: cannot be read"},
		{"held, of a trace without its place", []string{"held", good + "|0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"}, "held: cannot be read"},
		{"rejected, of a trace that is none", []string{"rejected", "e1/o1|h|fp|fred|general:2:0|sold_out~|"}, "rejected: cannot be read"},
		{"confirmed, of a trace that is none", []string{"confirmed", "e1/o1|fred|general:2:900|EUR|auth||x"}, "confirmed: cannot be read"},
		{"held by nothing", []string{"held", strings.Replace(good, "|h|", "||", 1)}, "held: cannot be read"},
		{"held by a pay", []string{"held", strings.Replace(good, "|h|", "|pay|", 1)}, "held: cannot be read"},
		{"rejected with less", []string{"rejected", "e1/o1|h|fp|fred|general:2:0|sold_out"}, "rejected: cannot be read"},
		{"confirmed with less", []string{"confirmed", "e1/o1|fred|general:2:900|EUR"}, "confirmed: cannot be read"},
		{"confirmed with more", []string{"confirmed", "e1/o1|fred|general:2:900|EUR|auth|1"}, "confirmed: cannot be read"},
		{"quantity in words", []string{"held", strings.Replace(good, ":2:", ":two:", 1)}, "held: cannot be read"},
		{"quantity below zero", []string{"rejected", "e1/o1|h|fp|fred|general:-1:0|sold_out|"}, "rejected: cannot be read"},
		{"quantity missing", []string{"confirmed", "e1/o1|fred|general::900|EUR|auth"}, "confirmed: cannot be read"},
		{"quantity with a fraction", []string{"confirmed", "e1/o1|fred|general:1.0:900|EUR|auth"}, "confirmed: cannot be read"},
		{"unit_price as floats are printed", []string{"confirmed", "e1/o1|fred|general:1:9.007199254741e+15|EUR|auth"}, "confirmed: cannot be read"},
		{"no unit_price", []string{"confirmed", "e1/o1|fred|general:1|EUR|auth"}, "confirmed: cannot be read"},
		{"items with more", []string{"confirmed", "e1/o1|fred|general:1:900:1-2|EUR|auth"}, "confirmed: cannot be read"},
		{"deadline too large", []string{"held", good + "000000000000000000000"}, "held: cannot be read"},
		{"deadline too far away", []string{"held", strings.TrimSuffix(good, "5") + "9223372036854775807"}, "held: cannot be read"},
		{"confirmed_at with NUL", []string{"cancelled", "e1/o1|requested|confirmed|fred|general:2:900|EUR|1\x00"}, "cancelled: cannot be read"},
		{"cancelled for no cause", []string{"cancelled", "e1/o1|requested|none|{}"}, "cancelled: cannot be read"},
		{"cancelled for a cause that is none", []string{"cancelled", "e1/o1|requested|none|ann"}, "cancelled: cannot be read"},
		{"cancelled with more", []string{"cancelled", `e1/o1|requested|none|{"by":"ann"}|`}, "cancelled: cannot be read"},
		{"the second one", []string{"held", good + "\ne1/o2"}, "held: cannot be read"},
		{"an empty line at its end", []string{"expired", "e1/o1\n"}, "expired: want event_id/order_id"},
		{"terms with a line break of their own", []string{"listed", "e1|{\n}"}, "listed: terms cannot be read"},
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

// FuzzParseFacts: what is read is written as it was read, whatever it says, and only what our scripts could have written is read.
func FuzzParseFacts(f *testing.F) {
	terms, err := json.Marshal(testTerms())
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][2]string{
		{"listed", "e1|" + string(terms)},
		{"adjusted", `e1|{"sections":null}`},
		{"listed", "e1|null"},
		{"closed", "e1|{"},
		{"event_cancelled", `e1|{"reason":"fire","by":"ann"}` + "\n" + `e2|{}`},
		{"reopened", `e1|{"sections":null,"by":"bob"}`},
		{"held", "e1/o1|h|fp|fred|general:2:1000|EUR|1700000000123"},
		{"held", "e1/o1|h|fp|fred|general:2:1000|EUR|1\ne1/o2|p|fp|mary|general:1:0|EUR|9223372036854775807"},
		{"rejected", "e1/o1|h|fp|fred|general:+2:0|sold_out|a|b\ne1/o2|p|||:0:0|invalid|"},
		{"confirmed", "e1/o1|fred|general:2:900|EUR|auth_1"},
		{"cancelled", "e1/o1|requested|confirmed|fred|general:2:900|EUR|1700000000456"},
		{"cancelled", "e1/o1|requested|none"},
		{"reduced", "e1/o1|1|fp|5-0|confirmed|fred|general:1:900,vip:2:900:1-2|EUR"},
		{"reduced", "e1/o1|0|||none||||"},
		{"changed", "e1/o1|2|fp|5-0|held|fred||EUR|general:1:900"},
		{"change_refused", "e1/o1|3|fp|5-0|seat_taken|stalls: A-1,A-2"},
		{"cancelled", `e1/o1|requested|none|{"reason":"a","by":"b"}`},
		{"cancelled", `e1/o1|capture_failed|cancelled|fred|general:2:900|EUR|1700000000456|{"no_refund":true}`},
		{"refund_granted", `e1/o1|1|fp|5-0|fred|general:1:900|EUR|900|{"reason":"a","by":"b"}`},
		{"refund_granted", "e1/o1|2|fp|5-0|fred||EUR|500"},
		{"payment_disputed", "e1/o1|5-0|inquiry|500|1700000000000"},
		{"payment_disputed", "e1/o1|5-0|appealed|500|0"},
		{"payment_disputed", "e1/o1|5-0|won|0|0"},
		{"confirmed", "e1/o1|fred|general:2:900|EUR|auth_1|2"},
		{"confirmed", "e1/o1|fred|general:2:900|EUR|auth_1||0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"},
		{"held", "e1/o1|h|fp|fred|general:2:1000|EUR|5||0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"},
		{"paying", "e1/o1|1|fp\ne1/o2|9|"},
		{"payment_declined", "e1/o1|1"},
		{"action_required", "e1/o1|1|pi_1\ne1/o2|9|"},
		{"expired", "e1/o1\ne2/o2\n"},
		{"expired", "e1/o1|seat_taken|stalls: A-1\ne2/o2|in_progress|"},
		{"lapsed", "e1/o1|900000\ne2/o2|1"},
		{"lapsed", "e1/o1|0"},
		{"restored", `e1/o1||none|held||general:2:900|{"type":"hold","fingerprint":"fp","customer_id":"fred","items":"general:2:900","currency":"EUR","deadline":70,"held_at":10}`},
		{"declined", "e1/o1\ne2/o2|payment_mismatch|amount 500 instead of 1000"},
		{"declined", "e1/o1||"},
		{"expired", strings.Repeat("e1/o1\n", 64) + "e1/o1"},
		{"", ""},
	} {
		f.Add("1700000000123-0", seed[0], seed[1])
	}
	types := []domain.FactType{domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventCancelled, domain.FactHeld, domain.FactRejected, domain.FactConfirmed, domain.FactDeclined, domain.FactExpired, domain.FactCancelled, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactReduced, domain.FactChanged, domain.FactChangeRefused, domain.FactRefundGranted, domain.FactPaymentDisputed, domain.FactRestored, domain.FactLapsed}
	f.Fuzz(func(t *testing.T, id, name, value string) {
		facts, err := ParseFacts(id, []string{name, value})
		if err != nil {
			if domain.ClassOf(err) != domain.ClassPoison || facts != nil {
				t.Errorf("class %s, %+v", domain.ClassOf(err), facts)
			}
			return
		}
		if lines := strings.Count(value, "\n") + 1; len(facts) != lines || lines > MaxFacts {
			t.Fatalf("%d facts in %d lines", len(facts), lines)
		}
		b := domain.NewSnapshot()
		var written []string
		for i, fact := range facts {
			if fact.ID != id || fact.Line != i+1 || fact.AtMillis != domain.EntryMillis(id) || !domain.ValidID(fact.EventID) || !slices.Contains(types, fact.Type) {
				t.Errorf("got %+v", fact)
			}
			for _, n := range []int64{fact.AtMillis, fact.Items.Quantity(), fact.Items.Amount(), fact.DeadlineMillis, fact.ConfirmedAtMillis} {
				if n < 0 {
					t.Errorf("a count below zero: %+v", fact)
				}
			}
			written = append(written, FactLine(fact))
			// Whatever it says, folding it works or is an error.
			if err := b.Fold(fact); err == nil && len(b.Events)+len(b.Orders) == 0 {
				t.Errorf("%s was folded into nothing", fact.Type)
			}
		}
		if again, err := ParseFacts(id, []string{name, strings.Join(written, "\n")}); err != nil || !reflect.DeepEqual(again, facts) {
			t.Errorf("what was parsed:  %+v\ncomes back as: %+v, %v", facts, again, err)
		}
	})
}
