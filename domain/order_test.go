package domain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestOrderStates(t *testing.T) {
	want := []struct {
		state    OrderState
		name     string
		terminal bool
	}{
		{OrderNone, "none", false},
		{OrderHeld, "held", false},
		{OrderConfirmed, "confirmed", true},
		{OrderDeclined, "declined", true},
		{OrderExpired, "expired", true},
		{OrderCancelled, "cancelled", true},
		{OrderRejected, "rejected", true},
		{OrderLapsed, "lapsed", false},
	}
	if len(OrderStates) != len(want) {
		t.Fatalf("%d states, want %d", len(OrderStates), len(want))
	}
	for i, w := range want {
		if OrderStates[i] != w.state || w.state.String() != w.name || w.state.Terminal() != w.terminal {
			t.Errorf("%s: terminal %v, want %s, %v", w.state, w.state.Terminal(), w.name, w.terminal)
		}
		if got, ok := ParseOrderState(w.name); !ok || got != w.state {
			t.Errorf("%s is read as %s, %v", w.name, got, ok)
		}
	}
	for _, name := range []string{"", "Held", "hold", "OrderState(8)"} {
		if got, ok := ParseOrderState(name); ok || got != OrderNone {
			t.Errorf("%q is read as %s", name, got)
		}
	}
	if got := OrderState(8).String(); got != "OrderState(8)" {
		t.Errorf("got %s", got)
	}
}

func TestHoldAliveAt(t *testing.T) {
	held := Order{State: OrderHeld, DeadlineMillis: 100}
	if !held.HoldAliveAt(99) || held.HoldAliveAt(100) || held.HoldAliveAt(101) {
		t.Error("a hold until 100 is alive at 99 and not from 100 on")
	}
	for _, state := range OrderStates {
		if state != OrderHeld && (Order{State: state, DeadlineMillis: 100}).HoldAliveAt(1) {
			t.Errorf("a %s order's hold is alive", state)
		}
	}
}

func TestValidID(t *testing.T) {
	for _, id := range []string{"a", "0", "AZaz09._@+-", "-", ".", strings.Repeat("x", 128)} {
		if !ValidID(id) {
			t.Errorf("%q: want it valid", id)
		}
	}
	for _, id := range []string{"", strings.Repeat("x", 129), "a b", "a/b", "a:b", "a|b", "a,b", "{a}", "a*", "é", "a\x00", "a\n", "\xff", "a~", "a%", "a\\", `a"`} {
		if ValidID(id) {
			t.Errorf("%q: want it invalid", id)
		}
	}
	for c := range 256 {
		if ValidID(string([]byte{byte(c)})) != strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-", rune(c)) {
			t.Errorf("byte %q", byte(c))
		}
	}
}

func TestOrderRef(t *testing.T) {
	for _, ref := range []OrderRef{{"e1", "o1"}, {"e", "o"}, {strings.Repeat("e", 128), strings.Repeat("o", 128)}, {".", "-"}} {
		if got, ok := ParseOrderRef(ref.String()); !ok || got != ref {
			t.Errorf("%s is read as %v, %v", ref, got, ok)
		}
	}
	if got := (OrderRef{"e1", "o1"}).String(); got != "e1/o1" {
		t.Errorf("got %s", got)
	}
	for _, s := range []string{"", "/", "e1", "e1/", "/o1", "e1/o1/", "e1/o/1", "e 1/o1", "e1/o 1", "e1//o1", "e1/o1\n", strings.Repeat("e", 129) + "/o1", "e1/" + strings.Repeat("o", 129)} {
		if got, ok := ParseOrderRef(s); ok || got != (OrderRef{}) {
			t.Errorf("%q is read as %v", s, got)
		}
	}
}

func TestErrorClasses(t *testing.T) {
	cause := errors.New("cause")
	for class, name := range map[Class]string{ClassRetry: "retry", ClassReject: "reject", ClassPoison: "poison", ClassFatal: "fatal", 9: "unknown"} {
		if class.String() != name {
			t.Errorf("%d is %s, want %s", uint8(class), class, name)
		}
		err := fmt.Errorf("outer: %w", WithClass(class, fmt.Errorf("inner: %w", cause)))
		if ClassOf(err) != class || !errors.Is(err, cause) || err.Error() != "outer: inner: cause" {
			t.Errorf("class %s of %q, want %s", ClassOf(err), err, class)
		}
		if WithClass(class, nil) != nil {
			t.Errorf("%s: nil became an error", class)
		}
	}
	if ClassOf(cause) != ClassRetry || ClassOf(nil) != ClassRetry || ClassOf(context.Canceled) != ClassRetry {
		t.Error("an error nobody classified is to be tried again")
	}
	if err := WithClass(ClassFatal, WithClass(ClassPoison, cause)); ClassOf(err) != ClassFatal {
		t.Errorf("two classes: got %s, want the outer one", ClassOf(err))
	}
	if ClassOf(ErrRefused) != ClassReject {
		t.Errorf("ErrRefused is of class %s", ClassOf(ErrRefused))
	}
}

func TestFree(t *testing.T) {
	held := heldOrder(RequestPurchase, aliveUntil)
	for name, test := range map[string]struct {
		change func(*Order)
		want   bool
	}{
		"it costs something":            {func(*Order) {}, false},
		"it costs nothing":              {func(o *Order) { o.Items = "general:2:0" }, true},
		"a gateway was asked for 0":     {func(o *Order) { o.Items, o.AuthorizationID = "general:2:0", "auth_1" }, false},
		"cancelled before it was seen":  {func(o *Order) { *o = cancelledUnseen() }, false},
		"rejected: the price not known": {func(o *Order) { *o = rejectedOrder() }, false},
		"never heard of":                {func(o *Order) { *o = Order{} }, false},
	} {
		o := held
		if test.change(&o); o.Free() != test.want {
			t.Errorf("%s: %v", name, o.Free())
		}
	}
}
