package wire

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/domain/seats"
)

const (
	traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

	wantID = "want 1 to 128 characters of A-Z a-z 0-9 . _ @ + -"
)

func purchaseFields() []string {
	return []string{
		"v", "1", "type", "purchase", "order_id", "ord-77", "customer_id", "cust@example", "event_id", "evt_5",
		"section", "balcony", "quantity", "2", "payment_token", "tok-visa-4242", "unit_price", "1500",
		"hold_seconds", "90", "valid_seconds", "600", "traceparent", traceparent,
	}
}

func purchaseRequest() domain.Request {
	return domain.Request{
		Type: domain.RequestPurchase, EventID: "evt_5", OrderID: "ord-77", CustomerID: "cust@example", Section: "balcony",
		Quantity: 2, PaymentToken: "tok-visa-4242", UnitPrice: ptr[int64](1500), HoldSeconds: 90, ValidSeconds: 600,
		Traceparent: traceparent, Fingerprint: "9d84e59e1fc0b615",
	}
}

// with returns the fields with one set to another value, without one if there is no value, and with new ones at the end.
func with(fields []string, name string, value ...string) []string {
	fields = slices.Clone(fields)
	for i := 0; i < len(fields); i += 2 {
		if fields[i] != name {
			continue
		}
		if len(value) == 0 {
			return slices.Delete(fields, i, i+2)
		}
		fields[i+1] = value[0]
		return fields
	}
	if len(value) == 0 {
		panic("no field " + name)
	}
	return append(fields, name, value[0])
}

func TestParseRequestWellFormed(t *testing.T) {
	req := func(change func(*domain.Request)) domain.Request {
		r := purchaseRequest()
		change(&r)
		return r
	}
	purchase := purchaseFields()
	for _, test := range []struct {
		name   string
		fields []string
		want   domain.Request // the fingerprint of those that open an order is compared in TestFingerprint
	}{
		{"purchase with everything", purchase, purchaseRequest()},
		{"no section", with(purchase, "section"), req(func(r *domain.Request) { r.Section = "general" })},
		{"no price", with(purchase, "unit_price"), req(func(r *domain.Request) { r.UnitPrice = nil })},
		{"a price of nothing", with(purchase, "unit_price", "0"), req(func(r *domain.Request) { r.UnitPrice = ptr[int64](0) })},
		{"the highest price", with(purchase, "unit_price", "9007199254740991"), req(func(r *domain.Request) { r.UnitPrice = ptr[int64](9007199254740991) })},
		{"no hold_seconds", with(purchase, "hold_seconds"), req(func(r *domain.Request) { r.HoldSeconds = 0 })},
		{"the shortest hold", with(purchase, "hold_seconds", "1"), req(func(r *domain.Request) { r.HoldSeconds = 1 })},
		{"the longest hold", with(purchase, "hold_seconds", "86400"), req(func(r *domain.Request) { r.HoldSeconds = 86400 })},
		{"no valid_seconds", with(purchase, "valid_seconds"), req(func(r *domain.Request) { r.ValidSeconds = 0 })},
		{"the longest wait", with(purchase, "valid_seconds", "2592000"), req(func(r *domain.Request) { r.ValidSeconds = 2592000 })},
		{"one", with(purchase, "quantity", "1"), req(func(r *domain.Request) { r.Quantity = 1 })},
		{"a million", with(purchase, "quantity", "1000000"), req(func(r *domain.Request) { r.Quantity = 1_000_000 })},
		{
			"longest ids", with(with(purchase, "order_id", strings.Repeat("o", 128)), "customer_id", strings.Repeat("c", 128)),
			req(func(r *domain.Request) { r.OrderID, r.CustomerID = strings.Repeat("o", 128), strings.Repeat("c", 128) }),
		},
		{"every character of an id", with(purchase, "order_id", "AZaz09._@+-"), req(func(r *domain.Request) { r.OrderID = "AZaz09._@+-" })},
		{
			"the longest token", with(purchase, "payment_token", strings.Repeat("t", 4096)),
			req(func(r *domain.Request) { r.PaymentToken = domain.Secret(strings.Repeat("t", 4096)) }),
		},
		{"a token of any script", with(purchase, "payment_token", `{"card":"é 日本"}`), req(func(r *domain.Request) { r.PaymentToken = `{"card":"é 日本"}` })},
		{"no traceparent", with(purchase, "traceparent"), req(func(r *domain.Request) { r.Traceparent = "" })},
		{"unknown fields", append(purchase, "colour", "red", "V", "2", "", "", "colour", "blue", "x\x00", "\xff"), purchaseRequest()},
		{"a name without a value at the end", append(purchase, "v"), purchaseRequest()},
		{"fields in another order", func() []string {
			var backwards []string
			for i := len(purchase) - 2; i >= 0; i -= 2 {
				backwards = append(backwards, purchase[i], purchase[i+1])
			}
			return backwards
		}(), purchaseRequest()},
		{"hold", with(with(purchase, "type", "hold"), "payment_token"), req(func(r *domain.Request) { r.Type, r.PaymentToken = domain.RequestHold, "" })},
		{"hold with a token, which it does not keep", with(purchase, "type", "hold"), req(func(r *domain.Request) { r.Type, r.PaymentToken = domain.RequestHold, "" })},
		{
			"pay",
			[]string{"v", "1", "type", "pay", "event_id", "evt_5", "order_id", "ord-77", "payment_token", "tok-visa-4242", "valid_seconds", "600", "traceparent", traceparent},
			domain.Request{Type: domain.RequestPay, EventID: "evt_5", OrderID: "ord-77", PaymentToken: "tok-visa-4242", ValidSeconds: 600, Traceparent: traceparent},
		},
		{"pay with fields that are not its own, whatever is in them", []string{
			"v", "1", "type", "pay", "event_id", "evt_5", "order_id", "ord-77", "payment_token", "tok-visa-4242",
			"quantity", "many", "customer_id", "a/b", "section", "", "unit_price", "-1", "hold_seconds", "x",
		}, domain.Request{Type: domain.RequestPay, EventID: "evt_5", OrderID: "ord-77", PaymentToken: "tok-visa-4242"}},
		{
			"another attempt to pay",
			[]string{"v", "2", "type", "pay", "event_id", "evt_5", "order_id", "ord-77", "payment_token", "tok-visa-4242", "attempt", "9"},
			domain.Request{Type: domain.RequestPay, EventID: "evt_5", OrderID: "ord-77", PaymentToken: "tok-visa-4242", Attempt: 9},
		},
		{
			"an attempt that version 1 does not know, twice",
			[]string{"v", "1", "type", "pay", "event_id", "evt_5", "order_id", "ord-77", "payment_token", "tok-visa-4242", "attempt", "2", "attempt", "x"},
			domain.Request{Type: domain.RequestPay, EventID: "evt_5", OrderID: "ord-77", PaymentToken: "tok-visa-4242"},
		},
		{
			"news of a payment",
			[]string{"v", "2", "type", "payment_update", "event_id", "evt_5", "order_id", "ord-77", "attempt", "3", "valid_seconds", "x", "payment_token", "\x00"},
			domain.Request{Type: domain.RequestPaymentUpdate, EventID: "evt_5", OrderID: "ord-77", Attempt: 3},
		},
		{"a purchase with an attempt, which is not its own", append(with(purchase, "v", "2"), "attempt", "x"), purchaseRequest()},
		{
			"cancel",
			[]string{"v", "1", "type", "cancel", "event_id", "evt_5", "order_id", "ord-77"},
			domain.Request{Type: domain.RequestCancel, EventID: "evt_5", OrderID: "ord-77"},
		},
		{
			"partial cancel",
			[]string{"v", "2", "type", "cancel", "event_id", "evt_5", "order_id", "ord-77", "change", "1", "items", `[{"section":"vip","seats":["B-2","A-1"]},{"quantity":2,"section":"general"}]`},
			domain.Request{Type: domain.RequestCancel, EventID: "evt_5", OrderID: "ord-77", Change: 1, Items: []domain.RequestItem{
				{Section: "general", Quantity: 2}, {Section: "vip", Quantity: 2, Seats: []string{"A-1", "B-2"}},
			}},
		},
		{
			"change",
			[]string{"v", "2", "type", "change", "event_id", "evt_5", "order_id", "ord-77", "change", "1000000", "valid_seconds", "60", "items", `[{"section":"vip","quantity":1,"unit_price":0}]`},
			domain.Request{Type: domain.RequestChange, EventID: "evt_5", OrderID: "ord-77", Change: 1_000_000, ValidSeconds: 60, Items: []domain.RequestItem{
				{Section: "vip", Quantity: 1, UnitPrice: ptr[int64](0)},
			}},
		},
		{
			"change with who and why",
			[]string{"v", "2", "type", "change", "event_id", "evt_5", "order_id", "ord-77", "change", "1", "items", `[{"section":"vip","quantity":1}]`, "reason", "a friend is ill", "by", "ann"},
			domain.Request{Type: domain.RequestChange, EventID: "evt_5", OrderID: "ord-77", Change: 1, Items: []domain.RequestItem{{Section: "vip", Quantity: 1}}, Cause: domain.Cause{Reason: "a friend is ill", By: "ann"}},
		},
		{
			"change to seats wherever they are",
			[]string{"v", "2", "type", "change", "event_id", "evt_5", "order_id", "ord-77", "change", "1", "items", `[{"section":"vip","quantity":2,"adjacent":false}]`},
			domain.Request{Type: domain.RequestChange, EventID: "evt_5", OrderID: "ord-77", Change: 1, Items: []domain.RequestItem{{Section: "vip", Quantity: 2, Apart: true}}},
		},
		{
			"partial cancel without a refund",
			[]string{"v", "2", "type", "cancel", "event_id", "evt_5", "order_id", "ord-77", "change", "1", "refund", "false", "items", `[{"quantity":2,"section":"general"}]`},
			domain.Request{Type: domain.RequestCancel, EventID: "evt_5", OrderID: "ord-77", Change: 1, NoRefund: true, Items: []domain.RequestItem{{Section: "general", Quantity: 2}}},
		},
		{
			"cancel without a refund",
			[]string{"v", "2", "type", "cancel", "event_id", "evt_5", "order_id", "ord-77", "refund", "false"},
			domain.Request{Type: domain.RequestCancel, EventID: "evt_5", OrderID: "ord-77", NoRefund: true},
		},
		{
			"cancel with a refund",
			[]string{"v", "2", "type", "cancel", "event_id", "evt_5", "order_id", "ord-77", "refund", "true"},
			domain.Request{Type: domain.RequestCancel, EventID: "evt_5", OrderID: "ord-77"},
		},
		{
			"refund of an amount",
			[]string{"v", "2", "type", "refund", "event_id", "evt_5", "order_id", "ord-77", "change", "3", "amount", "500", "reason", "a pillar", "by", "ann", "refund", "x"},
			domain.Request{Type: domain.RequestRefund, EventID: "evt_5", OrderID: "ord-77", Change: 3, Amount: 500, Cause: domain.Cause{Reason: "a pillar", By: "ann"}},
		},
		{
			"refund of places",
			[]string{"v", "2", "type", "refund", "event_id", "evt_5", "order_id", "ord-77", "change", "3", "items", `[{"section":"vip","seats":["A-1"]}]`},
			domain.Request{Type: domain.RequestRefund, EventID: "evt_5", OrderID: "ord-77", Change: 3, Items: []domain.RequestItem{{Section: "vip", Quantity: 1, Seats: []string{"A-1"}}}},
		},
		{
			"a cancel of everything, for version 1 knows no others",
			[]string{"v", "1", "type", "cancel", "event_id", "evt_5", "order_id", "ord-77", "change", "1", "items", `[{"section":"vip","quantity":1}]`},
			domain.Request{Type: domain.RequestCancel, EventID: "evt_5", OrderID: "ord-77"},
		},
		{
			"cancel with who and why",
			[]string{"v", "1", "type", "cancel", "event_id", "evt_5", "order_id", "ord-77", "reason", "ill", "by", "ann"},
			domain.Request{Type: domain.RequestCancel, EventID: "evt_5", OrderID: "ord-77", Cause: domain.Cause{Reason: "ill", By: "ann"}},
		},
		{
			"pay with who and why, which is not its own",
			[]string{"v", "1", "type", "pay", "event_id", "evt_5", "order_id", "ord-77", "reason", "\x00", "by", "ann"},
			domain.Request{Type: domain.RequestPay, EventID: "evt_5", OrderID: "ord-77"},
		},
		{"cancel with fields that are not its own, whatever is in them", []string{
			"v", "1", "type", "cancel", "event_id", "evt_5", "order_id", "ord-77", "payment_token", "\x00", "valid_seconds", "x", "quantity", "",
		}, domain.Request{Type: domain.RequestCancel, EventID: "evt_5", OrderID: "ord-77"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseRequest(test.fields)
			if err != nil {
				t.Fatal(err)
			}
			if has := got.Type.Opens() || got.Type == domain.RequestPay || got.Changes(); has != (got.Fingerprint != "") {
				t.Errorf("a %s has fingerprint %q", got.Type, got.Fingerprint)
			}
			test.want.Fingerprint = got.Fingerprint
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %#v\nwant %#v", got, test.want)
			}
		})
	}
}

func TestParseRequestMalformedTraceparent(t *testing.T) {
	for _, value := range []string{
		"", "x", traceparent + "0", traceparent[:54], "01" + traceparent[2:], strings.ToUpper(traceparent),
		strings.Replace(traceparent, "-", "_", 1), traceparent[:35] + "_" + traceparent[36:], traceparent[:52] + "_" + traceparent[53:],
		traceparent[:10] + "g" + traceparent[11:], traceparent[:54] + "\x00",
	} {
		req, err := ParseRequest(with(purchaseFields(), "traceparent", value))
		if err != nil || req.Traceparent != "" {
			t.Errorf("%q: got %q, %v, want it passed over", value, req.Traceparent, err)
		}
		if sent := Fields(domain.Request{Type: domain.RequestCancel, EventID: "e", OrderID: "o", Traceparent: value}); slices.Contains(sent, "traceparent") {
			t.Errorf("sent as %q", sent)
		}
	}
}

type badRequest struct {
	name   string
	fields []string
	class  domain.Class
	text   string
}

func badRequests() []badRequest {
	purchase := purchaseFields()
	hold := with(with(purchase, "type", "hold"), "payment_token")
	pay := []string{"v", "2", "type", "pay", "event_id", "evt_5", "order_id", "ord-77", "payment_token", "tok-visa-4242", "attempt", "2"}
	cancel := []string{"v", "1", "type", "cancel", "event_id", "evt_5", "order_id", "ord-77"}

	refund := []string{"v", "2", "type", "refund", "event_id", "evt_5", "order_id", "ord-77", "change", "1"}
	all := []badRequest{
		{"refund of nothing", refund, domain.ClassPoison, "amount: missing, or items"},
		{"refund of 0", append(slices.Clone(refund), "amount", "0"), domain.ClassPoison, "amount: want a whole number from 1 to 9007199254740991"},
		{"refund of both", append(slices.Clone(refund), "amount", "5", "items", `[{"section":"vip","quantity":1}]`), domain.ClassPoison, "items: not with amount"},
		{"refund without a number", append(slices.Clone(refund[:8]), "amount", "5"), domain.ClassPoison, "change: missing"},
		{"refund at a price", append(slices.Clone(refund), "items", `[{"section":"vip","quantity":1,"unit_price":5}]`), domain.ClassPoison, "items[0]: unit_price: not with type refund"},
		{"refund of version 1", with(refund, "v", "1"), domain.ClassPoison, "type: refund needs v 2"},
		{"cancel with a refund of sorts", append(with(cancel, "v", "2"), "refund", "maybe"), domain.ClassPoison, "refund: want true or false"},
		{"nil", nil, domain.ClassPoison, "entry has no fields"},
		{"no fields", []string{}, domain.ClassPoison, "entry has no fields"},
		{"a name alone", []string{"v"}, domain.ClassPoison, "v: missing"},
		{"nothing known", []string{"hello", "world"}, domain.ClassPoison, "v: missing"},
		{"names in capitals", []string{"V", "1", "TYPE", "cancel", "EVENT_ID", "evt_5", "ORDER_ID", "ord-77"}, domain.ClassPoison, "v: missing"},

		{"no v", with(purchase, "v"), domain.ClassPoison, "v: missing"},
		{"empty v", with(purchase, "v", ""), domain.ClassPoison, "v: missing"},
		{"no type", with(purchase, "type"), domain.ClassPoison, "type: missing"},
		{"empty type", with(purchase, "type", ""), domain.ClassPoison, "type: missing"},
	}
	for _, v := range []string{"3", "0", "01", "1.0", "2 ", "+1", "one-version", "1\x00"} {
		all = append(all, badRequest{fmt.Sprintf("v %q", v), with(purchase, "v", v), domain.ClassPoison, "v: version not supported, want 1 or 2"})
	}
	for _, v := range []string{"PURCHASE", "reimburse", "purchase ", "purchase\x00", "\xff"} {
		all = append(all, badRequest{fmt.Sprintf("type %q", v), with(purchase, "type", v), domain.ClassPoison, "type: want purchase, hold, pay, cancel, change, refund or payment_update"})
	}

	// Ids: what is wrong with the event or the order is poison, whatever the type.
	badIDs := []string{
		strings.Repeat("x", 129), "evt/five", "evt five", "evt:five", "evt,five", "evt|five", "evt{5}", "évent", "event\x00five", "event\xff",
		"event\n", "event\u00a0five", "event*", "event#five",
	}
	for _, kind := range []struct {
		name   string
		fields []string
	}{{"purchase", purchase}, {"hold", hold}, {"pay", pay}, {"cancel", cancel}} {
		for _, field := range []string{"event_id", "order_id"} {
			all = append(all,
				badRequest{kind.name + " without " + field, with(kind.fields, field), domain.ClassPoison, field + ": missing"},
				badRequest{kind.name + " with an empty " + field, with(kind.fields, field, ""), domain.ClassPoison, field + ": missing"})
			for _, v := range badIDs {
				all = append(all, badRequest{fmt.Sprintf("%s with %s %.20q", kind.name, field, v), with(kind.fields, field, v), domain.ClassPoison, field + ": " + wantID})
			}
		}
		// Given twice, with the same or another value: of what identifies a request it is poison.
		for i := 0; i < len(kind.fields); i += 2 {
			field, value := kind.fields[i], kind.fields[i+1]
			class := domain.ClassPoison
			if slices.Contains([]string{"purchase", "hold"}, kind.name) && !slices.Contains([]string{"v", "type", "event_id", "order_id"}, field) {
				class = domain.ClassReject
			}
			all = append(all, badRequest{kind.name + " with " + field + " twice", append(slices.Clone(kind.fields), field, value), class, field + ": given twice"})
			if field != "v" && field != "type" {
				all = append(all, badRequest{kind.name + " with another " + field, append(slices.Clone(kind.fields), field, "9999"), class, field + ": given twice"})
			}
		}
	}

	// What else is wrong with a purchase or a hold rejects it: it says whose order it is.
	for _, kind := range []struct {
		name   string
		fields []string
	}{{"purchase", purchase}, {"hold", hold}} {
		add := func(name, text string, fields []string) {
			all = append(all, badRequest{kind.name + " " + name, fields, domain.ClassReject, text})
		}
		add("without customer_id", "customer_id: missing", with(kind.fields, "customer_id"))
		add("with an empty customer_id", "customer_id: missing", with(kind.fields, "customer_id", ""))
		add("with an empty section", "section: missing", with(kind.fields, "section", ""))
		for _, v := range badIDs {
			add(fmt.Sprintf("with customer_id %.20q", v), "customer_id: "+wantID, with(kind.fields, "customer_id", v))
			add(fmt.Sprintf("with section %.20q", v), "section: "+wantID, with(kind.fields, "section", v))
		}
		add("without quantity", "quantity: missing", with(kind.fields, "quantity"))
		for _, count := range []struct {
			field, want string
			bad         []string
		}{
			{"quantity", "want a whole number from 1 to 1000000", []string{"0", "1000001"}},
			{"unit_price", "want a whole number from 0 to 9007199254740991", []string{"9007199254740992"}},
			{"hold_seconds", "want a whole number from 1 to 86400", []string{"0", "86401"}},
			{"valid_seconds", "want a whole number from 1 to 2592000", []string{"0", "2592001"}},
		} {
			for _, v := range append(count.bad, "", "-1", "+1", "01", "00", "1.0", "1e3", "0x10", " 1", "1 ", "1_000", "many-of-them",
				"1\x00", "\xff", "\x00", "١", "9223372036854775807", "9223372036854775808", "99999999999999999999999") {
				add(fmt.Sprintf("with %s %q", count.field, v), count.field+": "+count.want, with(kind.fields, count.field, v))
			}
		}
	}

	// Tokens: a purchase can be rejected, a pay cannot.
	for _, kind := range []struct {
		name   string
		fields []string
		class  domain.Class
	}{{"purchase", purchase, domain.ClassReject}, {"pay", pay, domain.ClassPoison}} {
		add := func(name, text string, fields []string) {
			all = append(all, badRequest{kind.name + " " + name, fields, kind.class, text})
		}
		add("with a long payment_token", "payment_token: longer than 4096 bytes", with(kind.fields, "payment_token", strings.Repeat("secret", 683)))
		for _, v := range []string{"secret\x00token", "secret\xfftoken", "secret\ntoken", "secret\x7ftoken", "\x1bsecret"} {
			add(fmt.Sprintf("with payment_token %q", v), "payment_token: want printable UTF-8", with(kind.fields, "payment_token", v))
		}
	}
	change := []string{"v", "2", "type", "change", "event_id", "evt_5", "order_id", "ord-77", "change", "1", "items", `[{"section":"vip","quantity":1}]`}
	for _, fields := range [][]string{change, with(change, "type", "cancel")} {
		for _, v := range []string{"", "0", "01", "-1", "1.0", "1000001", "99999999999999999999"} {
			all = append(all, badRequest{fmt.Sprintf("%s %q", fields[3], v), with(fields, "change", v), domain.ClassPoison, "change: want a whole number from 1 to 1000000"})
		}
		all = append(all,
			badRequest{fields[3] + " without a number", with(fields, "change"), domain.ClassPoison, "change: missing"},
			badRequest{fields[3] + " without items", with(fields, "items"), domain.ClassPoison, "items: missing"},
			badRequest{fields[3] + " with a quantity beside", append(slices.Clone(fields), "quantity", "1"), domain.ClassPoison, "items: not with quantity"},
			badRequest{fields[3] + " twice", append(slices.Clone(fields), "change", "1"), domain.ClassPoison, "change: given twice"},
		)
	}
	for _, v := range []string{"", "0", "10", "01", "-1", "+1", "1.0", " 1", "99999999999999999999", "second"} {
		all = append(all, badRequest{fmt.Sprintf("pay with attempt %q", v), with(pay, "attempt", v), domain.ClassPoison, "attempt: want a whole number from 1 to 9"})
	}
	all = append(all,
		badRequest{"change of version 1", with(change, "v", "1"), domain.ClassPoison, "type: change needs v 2"},
		badRequest{"partial cancel of seats that need not be side by side", with(with(change, "type", "cancel"), "items", `[{"section":"vip","quantity":1,"adjacent":false}]`), domain.ClassPoison, "items[0]: adjacent: not with type cancel"},
		badRequest{"partial cancel with a price", with(with(change, "type", "cancel"), "items", `[{"section":"vip","quantity":1,"unit_price":5}]`), domain.ClassPoison, "items[0]: unit_price: not with type cancel"},
		badRequest{"change with valid_seconds 0", append(slices.Clone(change), "valid_seconds", "0"), domain.ClassPoison, "valid_seconds: want a whole number from 1 to 2592000"},
		badRequest{"payment_update of version 1", []string{"v", "1", "type", "payment_update", "event_id", "evt_5", "order_id", "ord-77"}, domain.ClassPoison, "type: payment_update needs v 2"},
		badRequest{"payment_update of no attempt", []string{"v", "2", "type", "payment_update", "event_id", "evt_5", "order_id", "ord-77", "attempt", "0"}, domain.ClassPoison, "attempt: want a whole number from 1 to 9"},
		badRequest{"pay with valid_seconds 0", append(slices.Clone(pay), "valid_seconds", "0"), domain.ClassPoison, "valid_seconds: want a whole number from 1 to 2592000"},
		badRequest{"pay with valid_seconds 007", append(slices.Clone(pay), "valid_seconds", "007"), domain.ClassPoison, "valid_seconds: want a whole number from 1 to 2592000"},

		// Several things at once: the identity first, then in a fixed order.
		badRequest{"a bad event_id and no quantity", with(with(purchase, "event_id", "a/b"), "quantity"), domain.ClassPoison, "event_id: " + wantID},
		badRequest{"no customer_id and no quantity", with(with(purchase, "customer_id"), "quantity"), domain.ClassReject, "customer_id: missing"},
		badRequest{"no quantity and no token", with(with(purchase, "quantity"), "payment_token"), domain.ClassReject, "quantity: missing"},
		badRequest{"a bad hold_seconds and valid_seconds", with(with(purchase, "hold_seconds", "x"), "valid_seconds", "y"), domain.ClassReject, "hold_seconds: want a whole number from 1 to 86400"},
		badRequest{"two fields twice, one of which identifies", append(slices.Clone(purchase), "order_id", "ord-78", "quantity", "3"), domain.ClassPoison, "order_id: given twice"},
		badRequest{"a version of its own twice", append(slices.Clone(purchase), "v", "2"), domain.ClassPoison, "v: given twice"},
	)
	return all
}

func TestParseRequestMalformed(t *testing.T) {
	for _, test := range badRequests() {
		t.Run(test.name, func(t *testing.T) {
			req, err := ParseRequest(test.fields)
			wantClass(t, err, test.class)
			if err.Error() != test.text {
				t.Errorf("got %q, want %q", err, test.text)
			}
			for i := 1; i < len(test.fields); i += 2 {
				// The words that the errors themselves are made of stand in some values, too.
				if v := test.fields[i]; len(v) > 3 && v != "purchase" && v != "hold" && v != "cancel" && v != "change" && v != "refund" && v != "payment_update" && strings.Contains(err.Error(), v) {
					t.Errorf("the error %q repeats the value %q", err, v)
				}
			}
			if test.class == domain.ClassPoison {
				if !reflect.DeepEqual(req, domain.Request{}) {
					t.Errorf("poison, and yet it says %#v", req)
				}
				return
			}
			if !req.Type.Opens() || req.EventID != "evt_5" || req.OrderID != "ord-77" || len(req.Fingerprint) != 16 {
				t.Errorf("rejected without saying whose it is: %#v", req)
			}
		})
	}
}

// TestParseRequestKeepsWhatIsRight: a rejected order shows as much as was right, and nothing that was wrong.
func TestParseRequestKeepsWhatIsRight(t *testing.T) {
	fields := purchaseFields()
	for _, name := range []string{"customer_id", "section", "quantity", "unit_price", "hold_seconds", "valid_seconds", "payment_token"} {
		req, err := ParseRequest(with(fields, name, "\x00"))
		wantClass(t, err, domain.ClassReject)
		want := purchaseRequest()
		want.Fingerprint = req.Fingerprint
		switch name {
		case "customer_id":
			want.CustomerID = ""
		case "section":
			want.Section = ""
		case "quantity":
			want.Quantity = 0
		case "unit_price":
			want.UnitPrice = nil
		case "hold_seconds":
			want.HoldSeconds, want.ValidSeconds = 0, 0 // not read after it
		case "valid_seconds":
			want.ValidSeconds = 0
		case "payment_token":
			want.PaymentToken = ""
		}
		if !reflect.DeepEqual(req, want) {
			t.Errorf("bad %s:\ngot  %#v\nwant %#v", name, req, want)
		}
	}
}

func TestRequestRoundTrip(t *testing.T) {
	for _, r := range []domain.Request{
		purchaseRequest(),
		{Type: domain.RequestPurchase, EventID: "e", OrderID: "o", CustomerID: "c", Quantity: 1, PaymentToken: "t"},
		{Type: domain.RequestPurchase, EventID: "e", OrderID: "o", CustomerID: "c", Quantity: 1_000_000, PaymentToken: "t", UnitPrice: ptr[int64](0)},
		{Type: domain.RequestHold, EventID: "e", OrderID: "o", CustomerID: "c", Section: "vip", Quantity: 3, UnitPrice: ptr[int64](domain.MaxAmount), HoldSeconds: 1},
		{Type: domain.RequestHold, EventID: "e", OrderID: "o", CustomerID: "c", Section: "vip", Quantity: 3, Apart: true, HoldSeconds: 1},
		{Type: domain.RequestPurchase, EventID: "e", OrderID: "o", CustomerID: "c", Seats: []string{"A-1", "B-1"}, PaymentToken: "t"},
		{Type: domain.RequestPay, EventID: "e", OrderID: "o", PaymentToken: "t", ValidSeconds: 1},
		{Type: domain.RequestPurchase, EventID: "e", OrderID: "o", CustomerID: "c", Quantity: 1}, // for free
		{Type: domain.RequestPay, EventID: "e", OrderID: "o"},
		{Type: domain.RequestPay, EventID: "e", OrderID: "o", PaymentToken: "t", Attempt: 1},
		{Type: domain.RequestPaymentUpdate, EventID: "e", OrderID: "o"},
		{Type: domain.RequestPaymentUpdate, EventID: "e", OrderID: "o", Attempt: 2},
		{Type: domain.RequestPay, EventID: "e", OrderID: "o", PaymentToken: "t", Attempt: 9, ValidSeconds: 7},
		{Type: domain.RequestPay, EventID: "e", OrderID: "o", PaymentToken: " a token\u3000"},
		{Type: domain.RequestCancel, EventID: "e", OrderID: "o", Traceparent: traceparent},
		{Type: domain.RequestCancel, EventID: "e", OrderID: "o", Cause: domain.Cause{Reason: "ill", By: "ann"}},
	} {
		got, err := ParseRequest(Fields(r))
		if err != nil {
			t.Errorf("%s: %v", r.Ref(), err)
			continue
		}
		want := r
		if want.Fingerprint = got.Fingerprint; want.Type.Opens() && want.Section == "" {
			want.Section = "general"
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %#v\nwant %#v", got, want)
		}
	}
}

// TestRequestFields pins the wire contract: names, order, and that what is not set is not sent.
func TestRequestFields(t *testing.T) {
	if got := Fields(purchaseRequest()); !slices.Equal(got, purchaseFields()) {
		t.Errorf("got  %q\nwant %q", got, purchaseFields())
	}
	cancel := domain.Request{Type: domain.RequestCancel, EventID: "e", OrderID: "o"}
	if got, want := Fields(cancel), []string{"v", "1", "type", "cancel", "order_id", "o", "event_id", "e"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// Nothing that is wrong is mended or hidden by sending it.
	bad := domain.Request{Type: domain.RequestPurchase, EventID: "e", OrderID: "o", CustomerID: "c", Quantity: -1, HoldSeconds: -5, PaymentToken: "t"}
	if _, err := ParseRequest(Fields(bad)); domain.ClassOf(err) != domain.ClassReject || err == nil {
		t.Errorf("quantity -1: %v, want it rejected", err)
	}
}

func fingerprintOf(t *testing.T, fields []string) string {
	t.Helper()
	req, err := ParseRequest(fields)
	if err != nil {
		t.Fatal(err)
	}
	return req.Fingerprint
}

func TestFingerprint(t *testing.T) {
	purchase := purchaseFields()
	base := fingerprintOf(t, purchase)
	// Fingerprints are stored: another way to compute them would make conflicts of retries.
	if want := purchaseRequest().Fingerprint; base != want {
		t.Errorf("the fingerprint of a fixed request is %s, it was %s", base, want)
	}
	same := map[string][]string{
		"another token":                 with(purchase, "payment_token", "tok-fresh"),
		"another trace":                 with(purchase, "traceparent", strings.Replace(traceparent, "0af", "1af", 1)),
		"no trace":                      with(purchase, "traceparent"),
		"an unknown field":              append(slices.Clone(purchase), "colour", "red"),
		"another order (it is the key)": with(purchase, "order_id", "ord-78"),
	}
	for name, fields := range same {
		if got := fingerprintOf(t, fields); got != base {
			t.Errorf("%s: another fingerprint", name)
		}
	}
	// In a fixed order, each unlike the base and unlike all others.
	seen := map[string]string{base: "the base"}
	for _, other := range []struct {
		name   string
		fields []string
	}{
		{"customer", with(purchase, "customer_id", "cust2")},
		{"section", with(purchase, "section", "vip")},
		{"no section", with(purchase, "section")},
		{"quantity", with(purchase, "quantity", "3")},
		{"price", with(purchase, "unit_price", "1501")},
		{"no price", with(purchase, "unit_price")},
		{"price 0", with(purchase, "unit_price", "0")},
		{"hold_seconds", with(purchase, "hold_seconds", "91")},
		{"no hold_seconds", with(purchase, "hold_seconds")},
		{"valid_seconds", with(purchase, "valid_seconds", "601")},
		{"no valid_seconds", with(purchase, "valid_seconds")},
		{"hold instead of purchase", with(with(purchase, "type", "hold"), "payment_token")},
		{"a value moved to the next field", with(with(purchase, "customer_id", "cust@examplebalcony"), "section", "x")},
	} {
		got := fingerprintOf(t, other.fields)
		if of, known := seen[got]; known {
			t.Errorf("%s: the same fingerprint as %s", other.name, of)
		}
		seen[got] = other.name
	}

	if implicit, explicit := fingerprintOf(t, with(purchase, "section")), fingerprintOf(t, with(purchase, "section", "general")); implicit != explicit {
		t.Error("no section and section general have different fingerprints")
	}
	// Of a pay, whose number is one whether it is said or not.
	pay := func(more ...string) string {
		return fingerprintOf(t, append([]string{"type", "pay", "event_id", "evt_5", "order_id", "ord-77"}, more...))
	}
	first := pay("v", "1", "payment_token", "a")
	if first != "d54d44befd2f13b3" || pay("v", "2", "payment_token", "b", "attempt", "1") != first || pay("v", "1", "attempt", "2") != first {
		t.Errorf("the first pay has the fingerprint %s, and another one if it is said that it is", first)
	}
	if second := pay("v", "2", "attempt", "2"); second == first || second == pay("v", "2", "attempt", "2", "valid_seconds", "7") {
		t.Errorf("the second pay has the fingerprint %s, and so has another one", second)
	}
	// Of an invalid request, too: sent again it is the same one.
	a, err := ParseRequest(with(purchase, "quantity", "many"))
	wantClass(t, err, domain.ClassReject)
	b, _ := ParseRequest(with(purchase, "quantity", "many"))
	c, _ := ParseRequest(with(purchase, "quantity", "some"))
	if a.Fingerprint != b.Fingerprint || a.Fingerprint == c.Fingerprint {
		t.Errorf("invalid requests: fingerprints %s, %s, %s; want the first two equal", a.Fingerprint, b.Fingerprint, c.Fingerprint)
	}
}

// requestErrors is every text an error of ParseRequest can have. None of them is made of input.
func requestErrors() map[string]bool {
	texts := map[string]bool{
		"entry has no fields": true, "v: missing": true, "v: version not supported, want 1 or 2": true, "type: missing": true,
		"type: want purchase, hold, pay, cancel, change, refund or payment_update": true, "quantity: missing": true,
		"payment_token: longer than 4096 bytes": true, "payment_token: want printable UTF-8": true,
		"quantity: want a whole number from 1 to 1000000": true,
		"type: change needs v 2":                          true, "change: missing": true, "change: given twice": true, "items: missing": true,
		"change: want a whole number from 1 to 1000000":              true,
		"unit_price: want a whole number from 0 to 9007199254740991": true,
		"hold_seconds: want a whole number from 1 to 86400":          true,
		"valid_seconds: want a whole number from 1 to 2592000":       true,
		"attempt: want a whole number from 1 to 9":                   true,
		"attempt: given twice":                                       true,
		"type: payment_update needs v 2":                             true,
		"type: refund needs v 2":                                     true,
		"amount: missing, or items":                                  true,
		"amount: want a whole number from 1 to 9007199254740991":     true,
		"amount: given twice":                                        true,
		"refund: want true or false":                                 true,
		"refund: given twice":                                        true,
	}
	for _, field := range []string{"event_id", "order_id", "customer_id", "section"} {
		texts[field+": missing"] = true
		texts[field+": "+wantID] = true
	}
	for i := 0; i < len(purchaseFields()); i += 2 {
		texts[purchaseFields()[i]+": given twice"] = true
	}
	return texts
}

// itemsErrors are all that may be wrong with items, seatsErrors with the seats of the short form.
var (
	itemsErrors = regexp.MustCompile(`^items: (not with (section|quantity|seats|adjacent|allocation|unit_price|amount)|longer than 65536 bytes|want a JSON array of 1 to 20 objects with section, and quantity or seats|the amount is too large to be counted exactly|given twice)$|` +
		`^items\[\d{1,2}\]: (section: is that of another item|(section|quantity|seats|adjacent|allocation|unit_price): (given twice|missing|want a string|want a whole number from [01] to \d+|` + regexp.QuoteMeta(wantID) + `)|` +
		seatsWrong + `|seats: want an array of strings, such as A-12|` +
		`allocation: (want a string|not with type (cancel|change|refund): it is the one of the order)|unknown name, want section, quantity or seats, and perhaps adjacent, allocation and unit_price|adjacent: not with type (cancel|change|refund)|unit_price: not with type (cancel|refund))$`)
	seatsErrors = regexp.MustCompile(`^(` + seatsWrong + `|seats: longer than 2300 bytes|(seats|adjacent): given twice|quantity: missing)$`)
)

var fingerprints = regexp.MustCompile(`^([23]\.)?[0-9a-f]{16}$`)

const seatsWrong = `seats: not with (quantity|adjacent)|seats: want 1 to 100, not \d+|seats: number \d+: (named twice|want ROW-NUMBER, such as A-12)|adjacent: want true or false`

// FuzzParseRequest reads a field list, its strings separated by the unit separator.
func FuzzParseRequest(f *testing.F) {
	const separator = "\x1f"
	f.Add("")
	f.Add(strings.Join(purchaseFields(), separator))
	f.Add(strings.Join(append(purchaseFields(), "x"), separator))
	f.Add(strings.Join(with(purchaseFields(), "section"), separator))
	f.Add(strings.Join(with(purchaseFields(), "type", "hold"), separator))
	f.Add(strings.Join([]string{"v", "1", "type", "pay", "event_id", "e", "order_id", "o", "payment_token", "t"}, separator))
	f.Add(strings.Join([]string{"v", "1", "type", "cancel", "event_id", "e", "order_id", "o", "order_id", "o"}, separator))
	f.Add(strings.Join([]string{"v", "2", "type", "refund", "event_id", "e", "order_id", "o", "change", "1", "amount", "5"}, separator))
	for _, kind := range []string{"cancel", "change", "refund"} {
		f.Add(strings.Join([]string{"v", "2", "type", kind, "event_id", "e", "order_id", "o", "change", "1", "items", `[{"section":"b","quantity":1},{"section":"a","seats":["B-2","A-1"]}]`}, separator))
		f.Add(strings.Join([]string{"v", "2", "type", kind, "event_id", "e", "order_id", "o", "items", `[{"section":"b","quantity":1,"adjacent":false,"unit_price":3}]`}, separator))
	}
	for _, items := range []string{
		`[{"section":"b","quantity":1},{"quantity":2,"section":"a","unit_price":0}]`, `[{"section":"b","quantity":1}]`, `[{"section":"a","quantity":1.0}]`, `[{"section":"a"`, `{}`,
		`[{"section":"b","quantity":1,"adjacent":false},{"section":"a","seats":["B-2","A-1"]}]`, `[{"section":"a","seats":["B-2","A-1"]}]`, `[{"section":"a","seats":["B-2","B-2"]}]`,
	} {
		f.Add(strings.Join(with(with(with(with(purchaseFields(), "v", "2"), "section"), "quantity"), "unit_price")[:14], separator) + separator + "items" + separator + items)
	}
	for _, more := range [][]string{{"seats", "B-2,A-1"}, {"seats", "A-1", "quantity", "1"}, {"quantity", "2", "adjacent", "false"}, {"quantity", "2", "adjacent", "true"}} {
		f.Add(strings.Join(seatsFields(more...), separator))
	}
	for i, bad := range badRequests() {
		if i%10 == 0 {
			f.Add(strings.Join(bad.fields, separator))
		}
	}
	known := requestErrors()
	f.Fuzz(func(t *testing.T, data string) {
		var fields []string
		if data != "" {
			fields = strings.Split(data, separator)
		}
		before := slices.Clone(fields)
		req, err := ParseRequest(fields)
		if !slices.Equal(fields, before) {
			t.Error("it changed its input")
		}
		if err != nil && !known[err.Error()] && !itemsErrors.MatchString(err.Error()) && !seatsErrors.MatchString(err.Error()) {
			t.Errorf("an error that may be made of input: %q", err)
		}
		switch class := domain.ClassOf(err); {
		case err == nil:
			again, err := ParseRequest(Fields(req))
			if err != nil || !reflect.DeepEqual(again, req) {
				t.Errorf("what was parsed:  %#v\ncomes back as: %#v, %v", req, again, err)
			}
			if len(req.PaymentToken) > MaxTokenLength {
				t.Error("a token of an impossible length")
			}
			if req.Type.Opens() && !domain.ValidID(req.CustomerID) || len(req.Items) > 0 && (req.Section != "" || req.Quantity != 0 || req.Seats != nil || req.Apart || req.UnitPrice != nil) {
				t.Errorf("not well-formed: %#v", req)
			}
			before := ""
			for item := range req.Lines() {
				if req.Type.Opens() && (!domain.ValidID(item.Section) || item.Section <= before || item.Quantity < 1 || item.Quantity > domain.MaxQuantity ||
					len(item.Seats) > 0 && (seats.CheckNames(item.Seats, domain.MaxItemSeats) != nil || !slices.IsSorted(item.Seats) || item.Apart || int64(len(item.Seats)) != item.Quantity)) {
					t.Errorf("not well-formed: %#v", req)
				}
				before = item.Section
			}
		case class == domain.ClassReject:
			if !req.Type.Opens() {
				t.Errorf("a %q is rejected, which opens no order", req.Type)
			}
		case class == domain.ClassPoison:
			if !reflect.DeepEqual(req, domain.Request{}) {
				t.Errorf("poison, and yet it says %#v", req)
			}
			return
		default:
			t.Fatalf("class %s", class)
		}
		// From here on the request is about an order, and all that is stored of it is safe to store.
		if !domain.ValidID(req.EventID) || !domain.ValidID(req.OrderID) {
			t.Errorf("about %q", req.Ref())
		}
		if has := req.Type.Opens() || req.Type == domain.RequestPay || req.Changes(); has && !fingerprints.MatchString(req.Fingerprint) || !has && req.Fingerprint != "" {
			t.Errorf("a %s with fingerprint %q", req.Type, req.Fingerprint)
		}
		for _, id := range []string{req.CustomerID, req.Section} {
			if id != "" && !domain.ValidID(id) {
				t.Errorf("kept %q", id)
			}
		}
		for _, n := range []int64{req.Quantity, req.HoldSeconds, req.ValidSeconds} {
			if n < 0 || n > MaxValidSeconds {
				t.Errorf("kept the number %s", strconv.FormatInt(n, 10))
			}
		}
	})
}

// What a command gets, and what a check says, is what an entry will have, and its reader say.
func TestFieldsWhereTheyAre(t *testing.T) {
	price := int64(1234567)
	whole := domain.Request{
		Type: domain.RequestPurchase, EventID: "e", OrderID: "o", CustomerID: "c", Section: "vip", Quantity: 2, PaymentToken: "tok",
		UnitPrice: &price, HoldSeconds: 60, ValidSeconds: 30, Traceparent: traceparent,
	}
	free := int64(0)
	changes := []func(r *domain.Request){
		func(*domain.Request) {},
		func(r *domain.Request) { r.UnitPrice = &free },
		func(r *domain.Request) { *r = domain.Request{Type: domain.RequestCancel, EventID: "e", OrderID: "o"} },
		func(r *domain.Request) {
			r.Type, r.Section, r.UnitPrice, r.HoldSeconds = domain.RequestHold, "", nil, 0
		},
		func(r *domain.Request) { *r = domain.Request{} },
		func(r *domain.Request) { r.Quantity = -1 },
		func(r *domain.Request) { r.CustomerID = "a b" },
		func(r *domain.Request) { r.Apart = true },
		func(r *domain.Request) { r.Quantity, r.Seats = 0, []string{"A-2", "A-1"} },
		func(r *domain.Request) { r.Seats = []string{"A-2", "A-1"} }, // and a quantity
	}
	for _, change := range changes {
		r := whole
		change(&r)
		var fields []string
		for _, arg := range AppendFields([]any{"xadd"}, &r)[1:] {
			switch arg := arg.(type) {
			case string:
				fields = append(fields, arg)
			case *string:
				fields = append(fields, *arg)
			case *int64:
				fields = append(fields, strconv.FormatInt(*arg, 10))
			default:
				t.Fatalf("an argument of type %T", arg)
			}
		}
		if want := Fields(r); !slices.Equal(fields, want) {
			t.Errorf("the command gets %q, want %q", fields, want)
		}
		fingerprint, err := Check(&r)
		want, wantErr := ParseRequest(fields)
		if fingerprint != want.Fingerprint || fmt.Sprint(err) != fmt.Sprint(wantErr) || domain.ClassOf(err) != domain.ClassOf(wantErr) {
			t.Errorf("%q: %q and %v, want %q and %v", fields, fingerprint, err, want.Fingerprint, wantErr)
		}
	}
}

// The fingerprint is all that is made when a request is checked, and a command takes its fields without a copy.
func TestCheckMakesLittle(t *testing.T) {
	r := domain.Request{Type: domain.RequestPurchase, EventID: "e", OrderID: "o", CustomerID: "c", Quantity: 2, PaymentToken: "tok"}
	args := make([]any, 0, 2*MostFields)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Check(&r); err != nil {
			t.Fatal(err)
		}
		args = AppendFields(args[:0], &r)
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
