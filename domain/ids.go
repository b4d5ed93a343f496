package domain

import (
	"fmt"
	"strings"
)

// MaxIDLength is the longest event, order, customer or section name, in bytes.
const MaxIDLength = 128

// ValidID reports whether s may name an event, an order, a customer or a
// section: 1 to 128 characters of A-Z a-z 0-9 . _ @ + -
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > MaxIDLength {
		return false
	}
	for i := range len(s) {
		if !idBytes[s[i]] {
			return false
		}
	}
	return true
}

// CheckID says what is wrong with the value of a field that must be a valid ID, without
// repeating it; nil if nothing is.
func CheckID(field, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("%s: missing", field)
	case !ValidID(value):
		return fmt.Errorf("%s: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", field, MaxIDLength)
	}
	return nil
}

var idBytes = func() (ok [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-") {
		ok[c] = true
	}
	return ok
}()

// OrderRef names one order. The same OrderID under two events is two orders.
type OrderRef struct {
	EventID string
	OrderID string
}

// String is event_id/order_id, the form used wherever one string must name an order.
func (r OrderRef) String() string { return r.EventID + "/" + r.OrderID }

// ParseOrderRef is the inverse of OrderRef.String; ok is false if s is not of that form.
func ParseOrderRef(s string) (ref OrderRef, ok bool) {
	event, order, found := strings.Cut(s, "/")
	if !found || !ValidID(event) || !ValidID(order) {
		return OrderRef{}, false
	}
	return OrderRef{EventID: event, OrderID: order}, true
}
