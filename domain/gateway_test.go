package domain

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestPaymentName(t *testing.T) {
	for want, name := range map[string]PaymentName{
		"e/o":              {OrderRef: OrderRef{EventID: "e", OrderID: "o"}},
		"n/e/o":            {Namespace: "n", OrderRef: OrderRef{EventID: "e", OrderID: "o"}},
		"e/o/attempts/2":   {OrderRef: OrderRef{EventID: "e", OrderID: "o"}, Attempt: 2},
		"n/e/o/attempts/9": {Namespace: "n", OrderRef: OrderRef{EventID: "e", OrderID: "o"}, Attempt: 9},
	} {
		if got := name.String(); got != want {
			t.Errorf("%#v is %s, want %s", name, got, want)
		}
		line := BooksLine{Namespace: name.Namespace, EventID: name.EventID, OrderID: name.OrderID, Attempt: name.Attempt}
		if line.Name() != name {
			t.Errorf("the line of %s is about %s", name, line.Name())
		}
		if parsed, err := ParsePaymentName(want); err != nil || parsed != name {
			t.Errorf("%s is read as %#v, %v", want, parsed, err)
		}
	}
	for _, text := range []string{
		"", "e", "e/", "/o", "n//o", "a b/o", "a/b/c/d", "e/o/attempts/1", "e/o/attempts/0", "e/o/attempts/02", "e/o/attempts/10", "e/o/attempts/", "n/e/o/tries/2", "m/n/e/o/attempts/2",
	} {
		if name, err := ParsePaymentName(text); err == nil {
			t.Errorf("%q is read as %#v", text, name)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		id := rapid.SampledFrom([]string{"attempts", "2", ".", "..", "a"})
		name := PaymentName{Namespace: rapid.OneOf(rapid.Just(""), id).Draw(rt, "namespace"), OrderRef: OrderRef{EventID: id.Draw(rt, "event"), OrderID: id.Draw(rt, "order")}}
		name.Attempt = rapid.SampledFrom([]int{0, 2, 9}).Draw(rt, "attempt")
		if parsed, err := ParsePaymentName(name.String()); err != nil || parsed != name {
			rt.Fatalf("%s is read as %#v, %v", name, parsed, err)
		}
	})
}

func TestMinimums(t *testing.T) {
	m := Minimums{"EUR": 50}
	for _, row := range []struct {
		currency        string
		quantity, price int64
		want            bool
	}{
		{"EUR", 1, 49, true},
		{"EUR", 1, 50, false},
		{"EUR", 2, 24, true},
		{"EUR", 2, 25, false},
		{"EUR", 1, 0, false}, // costs nothing
		{"JPY", 1, 1, false}, // has none
	} {
		if got := m.Below(row.currency, row.quantity, row.price); got != row.want {
			t.Errorf("%d × %d %s: %v", row.quantity, row.price, row.currency, got)
		}
	}
	if Minimums(nil).Below("EUR", 1, 1) {
		t.Error("a gateway without minimums has one")
	}
	amounts := rapid.Int64Range(0, MaxAmount)
	rapid.Check(t, func(rt *rapid.T) {
		least, price, quantity := amounts.Draw(rt, "least"), amounts.Draw(rt, "price"), rapid.Int64Range(1, 1_000_000).Draw(rt, "quantity")
		if rapid.Bool().Draw(rt, "near") {
			price = max(least/quantity+rapid.Int64Range(-1, 1).Draw(rt, "by"), 0)
		}
		product := new(big.Int).Mul(big.NewInt(price), big.NewInt(quantity))
		want := price > 0 && product.Cmp(big.NewInt(least)) < 0
		if got := (Minimums{"EUR": least}).Below("EUR", quantity, price); got != want {
			rt.Fatalf("%d × %d, at least %d: %v", quantity, price, least, got)
		}
	})
}

func TestRefundTotal(t *testing.T) {
	for _, row := range []struct {
		order Order
		want  int64
	}{
		{Order{State: OrderHeld, Items: "general:2:100"}, 0},
		{Order{State: OrderExpired, Items: "general:2:100"}, 0},
		{Order{State: OrderCancelled, Items: "general:2:100"}, 0},
		{Order{State: OrderConfirmed, Items: "general:2:100", ConfirmedAtMillis: 1}, 0},
		{Order{State: OrderCancelled, Items: "general:2:100", ConfirmedAtMillis: 1}, 200},
	} {
		if got := row.order.RefundTotal(); got != row.want {
			t.Errorf("%+v: %d, want %d", row.order, got, row.want)
		}
	}
}
