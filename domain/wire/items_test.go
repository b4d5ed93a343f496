package wire

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
)

// itemsFields is a purchase with items.
func itemsFields(items string) []string {
	return []string{"v", "2", "type", "purchase", "event_id", "e", "order_id", "o", "customer_id", "c", "items", items, "payment_token", "tok"}
}

func TestParseItems(t *testing.T) {
	stalls, balcony := domain.RequestItem{Section: "stalls", Quantity: 2, UnitPrice: ptr[int64](4500)}, domain.RequestItem{Section: "balcony", Quantity: 1}
	want := domain.Request{Type: domain.RequestPurchase, EventID: "e", OrderID: "o", CustomerID: "c", PaymentToken: "tok", Items: []domain.RequestItem{balcony, stalls}}
	fingerprints := make(map[string]bool)
	for _, items := range []string{
		`[{"section":"balcony","quantity":1},{"section":"stalls","quantity":2,"unit_price":4500}]`,
		` [ {"unit_price": 4500, "quantity":2,"section":"stalls"}, {"section":"balcony","quantity":1} ] `,
	} {
		got, err := ParseRequest(itemsFields(items))
		if err != nil {
			t.Fatal(err)
		}
		fingerprints[got.Fingerprint] = true
		got.Fingerprint = ""
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	if len(fingerprints) != 1 {
		t.Errorf("the same items in another order have other fingerprints: %v", fingerprints)
	}
	if fields := Fields(want); !slices.Contains(fields, `[{"section":"balcony","quantity":1},{"section":"stalls","quantity":2,"unit_price":4500}]`) || fields[1] != "2" {
		t.Errorf("written as %q", fields)
	}
	if got, err := ParseRequest(Fields(want)); err != nil || !reflect.DeepEqual(got.Items, want.Items) || !fingerprints[got.Fingerprint] {
		t.Errorf("comes back as %+v, %v", got, err)
	}
	pay := []string{"v", "2", "type", "pay", "event_id", "e", "order_id", "o", "payment_token", "tok"}
	if got, err := ParseRequest(pay); err != nil || got.Type != domain.RequestPay {
		t.Errorf("a pay of version 2: %+v, %v", got, err)
	}
}

// TestOneItemIsTheShortForm: whether one item is said as one, with v 1 or 2, or as items, it is the same request.
func TestOneItemIsTheShortForm(t *testing.T) {
	short := []string{"v", "1", "type", "purchase", "event_id", "e", "order_id", "o", "customer_id", "c", "payment_token", "tok", "section", "vip", "quantity", "2", "unit_price", "0", "hold_seconds", "9"}
	want, err := ParseRequest(short)
	if err != nil || want.Fingerprint != "a1cc50dbc8527a2b" {
		t.Fatalf("%+v, %v", want, err)
	}
	ofVersion2 := append([]string{"v", "2"}, short[2:]...)
	items := append(itemsFields(`[{"section":"vip","quantity":2,"unit_price":0}]`), "hold_seconds", "9")
	for _, fields := range [][]string{ofVersion2, items} {
		if got, err := ParseRequest(fields); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\ngot  %+v, %v\nwant %+v", fields, got, err, want)
		}
	}
	byDefault := []string{"v", "1", "type", "hold", "event_id", "e", "order_id", "o", "customer_id", "c", "quantity", "2"}
	want, err = ParseRequest(byDefault)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRequest([]string{"v", "2", "type", "hold", "event_id", "e", "order_id", "o", "customer_id", "c", "items", `[{"section":"general","quantity":2}]`})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

// TestVersion1KnowsNoItems: it passes over the field, as over all that it does not know.
func TestVersion1KnowsNoItems(t *testing.T) {
	short := []string{"v", "1", "type", "hold", "event_id", "e", "order_id", "o", "customer_id", "c", "quantity", "2"}
	want, err := ParseRequest(short)
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{{"items", "x"}, {"items", "x", "items", "y"}} {
		if got, err := ParseRequest(append(slices.Clone(short), more...)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("with %q: %+v, %v", more, got, err)
		}
	}
}

// TestFingerprintOfItems: each thing that changes the meaning changes it, and nothing else does.
func TestFingerprintOfItems(t *testing.T) {
	of := func(items string, more ...string) string {
		r, err := ParseRequest(append(itemsFields(items), more...))
		if err != nil {
			t.Fatal(err)
		}
		return r.Fingerprint
	}
	same := `[{"section":"a","quantity":1},{"section":"b","quantity":2}]`
	first := of(same)
	if !strings.HasPrefix(first, "2.") || of(same, "traceparent", traceparent) != first || of(same, "later", "x") != first {
		t.Errorf("%s", first)
	}
	seen := map[string]string{first: same}
	for _, other := range []string{
		`[{"section":"a","quantity":2},{"section":"b","quantity":1}]`, `[{"section":"a","quantity":1},{"section":"c","quantity":2}]`,
		`[{"section":"a","quantity":1,"unit_price":0},{"section":"b","quantity":2}]`, `[{"section":"a","quantity":1},{"section":"b","quantity":2,"unit_price":0}]`,
		`[{"section":"a","quantity":1},{"section":"b","quantity":2},{"section":"c","quantity":1}]`, `[{"section":"a","quantity":1}]`,
	} {
		f := of(other)
		if seen[f] != "" {
			t.Errorf("%s and %s have one fingerprint", other, seen[f])
		}
		seen[f] = other
	}
	for _, more := range [][]string{{"hold_seconds", "9"}, {"valid_seconds", "9"}} {
		if f := of(same, more...); seen[f] != "" {
			t.Errorf("%s does not count", more)
		}
	}
}

func TestParseItemsMalformed(t *testing.T) {
	const array = "items: want a JSON array of 1 to 20 objects with section and quantity"
	many := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`{"section":"s%d","quantity":1}`, i))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	if _, err := ParseRequest(itemsFields(many(20))); err != nil {
		t.Errorf("20 items: %v", err)
	}
	for items, want := range map[string]string{
		"": array, "x": array, "null": array, "1": array, `"a"`: array, "{}": array, "[]": array, "[": array, "[1]": array, "[[]]": array, "[null]": array,
		`[{"section":"a","quantity":1}`: array, `[{"section":"a","quantity":1}] x`: array, `[{"section":"a","quantity":1}][]`: array, `[{"section":"a","quantity":1},]`: array,
		many(21): array,
		`[{"section":"a","quantity":1},{"section":"b","quantity":1},{"section":"a","quantity":2}]`: "items[2]: section: is that of another item",
		`[{"section":"a"}]`: "items[0]: quantity: missing",
		`[{"quantity":1}]`:  "items[0]: section: missing",
		`[{}]`:              "items[0]: section: missing",
		`[{"section":"a","section":"b","quantity":1}]`:                 "items[0]: section: given twice",
		`[{"section":1,"quantity":1}]`:                                 "items[0]: section: want a string",
		`[{"section":"a b","quantity":1}]`:                             "items[0]: section: " + wantID,
		`[{"section":"","quantity":1}]`:                                "items[0]: section: missing",
		"[{\"section\":\"\xff\",\"quantity\":1}]":                      "items[0]: section: " + wantID,
		`[{"section":"a","quantity":0}]`:                               "items[0]: quantity: want a whole number from 1 to 1000000",
		`[{"section":"a","quantity":-1}]`:                              "items[0]: quantity: want a whole number from 1 to 1000000",
		`[{"section":"a","quantity":1.0}]`:                             "items[0]: quantity: want a whole number from 1 to 1000000",
		`[{"section":"a","quantity":1e2}]`:                             "items[0]: quantity: want a whole number from 1 to 1000000",
		`[{"section":"a","quantity":"1"}]`:                             "items[0]: quantity: want a whole number from 1 to 1000000",
		`[{"section":"a","quantity":1000001}]`:                         "items[0]: quantity: want a whole number from 1 to 1000000",
		`[{"section":"a","quantity":1,"unit_price":null}]`:             "items[0]: unit_price: want a whole number from 0 to 9007199254740991",
		`[{"section":"a","quantity":1,"unit_price":9007199254740992}]`: "items[0]: unit_price: want a whole number from 0 to 9007199254740991",
		`[{"section":"a","quantity":1,"unit_price":9007199254740991},{"section":"b","quantity":1,"unit_price":1}]`:       "items: the amount is too large to be counted exactly",
		`[{"section":"a","quantity":1000000,"unit_price":9007199254740991},{"section":"b","quantity":1,"unit_price":1}]`: "items: the amount is too large to be counted exactly",
		`[{"section":"a","seats":["A-1"]}]`:                           "items[0]: seats: not supported, want section and quantity",
		`[{"section":"a","quantity":1,"adjacent":true}]`:              "items[0]: adjacent: not supported, want section and quantity",
		`[{"section":"a","quantity":1,"allocation":"x"}]`:             "items[0]: allocation: not supported, want section and quantity",
		`[{"section":"b","quantity":1},{"Section":"a","quantity":1}]`: "items[1]: unknown name, want section, quantity and perhaps unit_price",
		`[{"section":"a","quantity":1,"payment_token":"tok_secret"}]`: "items[0]: unknown name, want section, quantity and perhaps unit_price",
		"[" + strings.Repeat(" ", MaxItemsLength) + "]":               "items: longer than 16384 bytes",
	} {
		req, err := ParseRequest(itemsFields(items))
		wantClass(t, err, domain.ClassReject)
		if err.Error() != want || !itemsErrors.MatchString(want) {
			t.Errorf("%.100q: got %q, want %q", items, err, want)
		}
		if req.EventID != "e" || req.CustomerID != "c" || req.Fingerprint == "" || req.Items != nil || req.Section != "" || req.Quantity != 0 {
			t.Errorf("%.100q: %+v", items, req)
		}
	}
	for _, field := range []string{"section", "quantity", "unit_price"} {
		_, err := ParseRequest(append(itemsFields(many(2)), field, "1"))
		if wantClass(t, err, domain.ClassReject); err.Error() != "items: not with "+field {
			t.Errorf("with %s: %v", field, err)
		}
	}
	if _, err := ParseRequest(append(itemsFields(many(2)), "items", many(2))); err == nil || err.Error() != "items: given twice" {
		t.Errorf("given twice: %v", err)
	}
	a, _ := ParseRequest(itemsFields("[1]"))
	b, _ := ParseRequest(itemsFields("[2]"))
	if a.Fingerprint == b.Fingerprint {
		t.Error("two bodies that cannot be read have one fingerprint")
	}
}
