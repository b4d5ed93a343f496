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

// seatsJSON is an array of seats.
func seatsJSON(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"A-%d"`, i+1))
	}
	return "[" + strings.Join(list, ",") + "]"
}

// seatsFields is a hold of the short form with more fields.
func seatsFields(more ...string) []string {
	return append([]string{"v", "2", "type", "hold", "event_id", "e", "order_id", "o", "customer_id", "c", "section", "stalls"}, more...)
}

// TestSeats: which seats are wanted is said in the short form, or with items; and whatever order they come in, it is the same order.
func TestSeats(t *testing.T) {
	hold := domain.Request{Type: domain.RequestHold, EventID: "e", OrderID: "o", CustomerID: "c", Section: "stalls"}
	with := func(change func(*domain.Request)) domain.Request {
		r := hold
		change(&r)
		return r
	}
	items := func(text string) []string {
		return []string{"v", "2", "type", "hold", "event_id", "e", "order_id", "o", "customer_id", "c", "items", text}
	}
	prints := make(map[string]int)
	for i, test := range []struct {
		want domain.Request
		said [][]string
		sent []string
	}{
		{
			with(func(r *domain.Request) { r.Seats, r.UnitPrice = []string{"A-1", "A-10", "A-2"}, ptr[int64](0) }),
			[][]string{
				seatsFields("seats", "A-1,A-2,A-10", "unit_price", "0"), seatsFields("seats", "A-10,A-2,A-1", "unit_price", "0"),
				items(`[{"seats":["A-2","A-1","A-10"],"section":"stalls","unit_price":0}]`),
			},
			[]string{"v", "2", "seats", "A-1,A-10,A-2"},
		},
		{
			with(func(r *domain.Request) { r.Seats = []string{"A-1", "A-2"} }),
			[][]string{seatsFields("seats", "A-1,A-2"), items(`[{"section":"stalls","seats":["A-1","A-2"]}]`)},
			[]string{"v", "2", "seats", "A-1,A-2"},
		},
		{
			with(func(r *domain.Request) { r.Quantity, r.Apart = 2, true }),
			[][]string{seatsFields("quantity", "2", "adjacent", "false"), items(`[{"section":"stalls","quantity":2,"adjacent":false}]`)},
			[]string{"v", "2", "adjacent", "false"},
		},
		{
			with(func(r *domain.Request) { r.Quantity = 2 }),
			[][]string{
				seatsFields("quantity", "2", "adjacent", "true"), seatsFields("quantity", "2"), items(`[{"section":"stalls","quantity":2,"adjacent":true}]`),
				with1(seatsFields("quantity", "2")),
			},
			[]string{"v", "1", "quantity", "2"},
		},
		{
			with(func(r *domain.Request) {
				r.Section = ""
				r.Items = []domain.RequestItem{{Section: "a", Quantity: 2, Seats: []string{"B-1", "B-2"}}, {Section: "b", Quantity: 3, Apart: true}, {Section: "c", Quantity: 1}}
			}),
			[][]string{
				items(`[{"section":"c","quantity":1,"adjacent":true},{"section":"b","quantity":3,"adjacent":false},{"section":"a","seats":["B-2","B-1"]}]`),
				items(`[{"section":"a","seats":["B-1","B-2"]},{"section":"c","quantity":1},{"section":"b","quantity":3,"adjacent":false}]`),
			},
			[]string{"v", "2", "items", `[{"section":"a","seats":["B-1","B-2"]},{"section":"b","quantity":3,"adjacent":false},{"section":"c","quantity":1}]`},
		},
	} {
		first := ""
		for _, said := range test.said {
			got, err := ParseRequest(said)
			if err != nil {
				t.Fatalf("%q: %v", said, err)
			}
			if first == "" {
				first = got.Fingerprint
			}
			want := test.want
			want.Fingerprint = first
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%q:\ngot  %+v\nwant %+v", said, got, want)
			}
		}
		prints[first] = i
		sent := Fields(test.want)
		for n := 0; n < len(test.sent); n += 2 {
			if at := slices.Index(sent, test.sent[n]); at < 0 || sent[at+1] != test.sent[n+1] {
				t.Errorf("sent as %q, want %s %s in it", sent, test.sent[n], test.sent[n+1])
			}
		}
		if got, err := ParseRequest(sent); err != nil || got.Fingerprint != first {
			t.Errorf("comes back as %+v, %v", got, err)
		}
	}
	if len(prints) != 5 {
		t.Errorf("%d fingerprints of 5 requests", len(prints))
	}
}

// with1 are the fields as version 1 has them.
func with1(fields []string) []string { return append([]string{"v", "1"}, fields[2:]...) }

// TestFingerprintsOfSeatsStay: they are stored with orders, and a retry is known by them for ever.
func TestFingerprintsOfSeatsStay(t *testing.T) {
	for want, fields := range map[string][]string{
		"3.fa9cdb00f0c22d95": seatsFields("seats", "A-2,A-1"),
		"3.09c1d2a137e5af97": seatsFields("quantity", "2", "adjacent", "false"),
		"3.101cb9a20f0a44b3": {"v", "2", "type", "hold", "event_id", "e", "order_id", "o", "customer_id", "c", "items", `[{"section":"a","seats":["A-1"]},{"section":"b","quantity":1}]`},
	} {
		if got, err := ParseRequest(fields); err != nil || got.Fingerprint != want {
			t.Errorf("%q: %s, %v, want %s", fields, got.Fingerprint, err, want)
		}
	}
}

func TestParseSeatsMalformed(t *testing.T) {
	many := strings.Trim(strings.ReplaceAll(seatsJSON(101), `"`, ""), "[]")
	prints := make(map[string]bool)
	tests := []struct{ fields, want string }{
		{"seats=A-1 quantity=1", "seats: not with quantity"},
		{"seats=A-1 adjacent=true", "seats: not with adjacent"},
		{"seats=A-1,A-1", "seats: number 2: named twice"},
		{"seats=A-1,", "seats: number 2: want ROW-NUMBER, such as A-12"},
		{"seats=", "seats: number 1: want ROW-NUMBER, such as A-12"},
		{"seats=A-01", "seats: number 1: want ROW-NUMBER, such as A-12"},
		{"seats=A-100000", "seats: number 1: want ROW-NUMBER, such as A-12"},
		{"seats=tok_secret", "seats: number 1: want ROW-NUMBER, such as A-12"},
		{"seats=" + many, "seats: want 1 to 100, not 101"},
		{"seats=" + strings.Repeat("A", 2301), "seats: longer than 2300 bytes"},
		{"seats=A-1 seats=A-1", "seats: given twice"},
		{"quantity=1 adjacent=", "adjacent: want true or false"},
		{"quantity=1 adjacent=1", "adjacent: want true or false"},
		{"quantity=1 adjacent=no", "adjacent: want true or false"},
		{"adjacent=true", "quantity: missing"},
		{"quantity=1 adjacent=true adjacent=true", "adjacent: given twice"},
	}
	for _, test := range tests {
		var more []string
		for _, field := range strings.Fields(test.fields) {
			name, value, _ := strings.Cut(field, "=")
			more = append(more, name, value)
		}
		req, err := ParseRequest(seatsFields(more...))
		wantClass(t, err, domain.ClassReject)
		if err.Error() != test.want || !seatsErrors.MatchString(test.want) {
			t.Errorf("%.100q: got %q, want %q", test.fields, err, test.want)
		}
		if req.Section != "stalls" && !strings.Contains(test.want, "twice") || req.Seats != nil || req.Quantity != 0 || req.Apart {
			t.Errorf("%.100q: %+v", test.fields, req)
		}
		prints[req.Fingerprint] = true
	}
	if len(prints) < len(tests)-3 { // what is given twice, and what is said by nothing, is told apart by nothing else
		t.Errorf("%d fingerprints of %d requests", len(prints), len(tests))
	}
}

// TestVersion1KnowsNoItems: it passes over the fields, as over all that it does not know.
func TestVersion1KnowsNoItems(t *testing.T) {
	short := []string{"v", "1", "type", "hold", "event_id", "e", "order_id", "o", "customer_id", "c", "quantity", "2"}
	want, err := ParseRequest(short)
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{{"items", "x"}, {"items", "x", "items", "y"}, {"seats", "A-1", "adjacent", "x", "adjacent", "y"}} {
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
	const array = "items: want a JSON array of 1 to 20 objects with section, and quantity or seats"
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
		`[{"section":"a","quantity":1,"allocation":7}]`:                                                                  "items[0]: allocation: want a string",
		`[{"section":"a","quantity":1,"allocation":"a b"}]`:                                                              "items[0]: allocation: " + wantID,
		`[{"section":"a","quantity":1,"allocation":"x"},{"section":"a","quantity":1}]`:                                   "items[1]: section: is that of another item",
		`[{"section":"a","quantity":1,"adjacent":0}]`:                                                                    "items[0]: adjacent: want true or false",
		`[{"section":"a","quantity":1,"adjacent":"false"}]`:                                                              "items[0]: adjacent: want true or false",
		`[{"section":"a","adjacent":true}]`:                                                                              "items[0]: quantity: missing",
		`[{"section":"a","seats":["A-1"],"quantity":1}]`:                                                                 "items[0]: seats: not with quantity",
		`[{"section":"a","seats":["A-1"],"adjacent":true}]`:                                                              "items[0]: seats: not with adjacent",
		`[{"section":"a","seats":["A-1"],"seats":["A-2"]}]`:                                                              "items[0]: seats: given twice",
		`[{"section":"a","seats":"A-1"}]`:                                                                                "items[0]: seats: want an array of strings, such as A-12",
		`[{"section":"a","seats":[1]}]`:                                                                                  "items[0]: seats: want an array of strings, such as A-12",
		`[{"section":"a","seats":[["A-1"]]}]`:                                                                            "items[0]: seats: want an array of strings, such as A-12",
		`[{"section":"a","seats":["A-1"`:                                                                                 "items[0]: seats: want an array of strings, such as A-12",
		`[{"section":"a","seats":[]}]`:                                                                                   "items[0]: seats: want 1 to 100, not 0",
		`[{"section":"a","seats":["A-1","A-2","A-1"]}]`:                                                                  "items[0]: seats: number 3: named twice",
		`[{"section":"a","seats":["tok_secret"]}]`:                                                                       "items[0]: seats: number 1: want ROW-NUMBER, such as A-12",
		`[{"section":"a","seats":` + seatsJSON(101) + `}]`:                                                               "items[0]: seats: want 1 to 100, not 101",
		`[{"section":"a","seats":["A-1","A-2"],"unit_price":9007199254740991}]`:                                          "items: the amount is too large to be counted exactly",
		`[{"section":"b","quantity":1},{"Section":"a","quantity":1}]`:                                                    "items[1]: unknown name, want section, quantity or seats, and perhaps adjacent, allocation and unit_price",
		`[{"section":"a","quantity":1,"payment_token":"tok_secret"}]`:                                                    "items[0]: unknown name, want section, quantity or seats, and perhaps adjacent, allocation and unit_price",
		"[" + strings.Repeat(" ", MaxItemsLength) + "]":                                                                  "items: longer than 65536 bytes",
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
	for _, field := range []string{"section", "quantity", "seats", "adjacent", "unit_price"} {
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
