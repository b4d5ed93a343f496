package domain

import (
	"fmt"
	"io"
	"iter"
)

// RequestType is what a checkout asks for.
type RequestType string

// The requests. A purchase holds and pays in one; hold, pay and cancel are its parts. A cancel with items gives back some of an order's
// places; a change says which places an order shall have; a refund gives money back, and no places.
const (
	RequestPurchase RequestType = "purchase"
	RequestHold     RequestType = "hold"
	RequestPay      RequestType = "pay"
	RequestCancel   RequestType = "cancel"
	RequestChange   RequestType = "change"
	RequestRefund   RequestType = "refund"
	// RequestPaymentUpdate says that a customer may have done what they had to do at their bank.
	RequestPaymentUpdate RequestType = "payment_update"
)

// Secret is a string that prints as [redacted], so that no log line, trace or
// JSON document gets it by accident. string(s) is the value.
type Secret string

const redacted = "[redacted]"

// String, Format and MarshalText never show the value.
func (s Secret) String() string { return redacted }

// Format is what every verb of package fmt prints.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText is what encoders write.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Request is one entry of the requests stream.
type Request struct {
	Type         RequestType
	EventID      string
	OrderID      string
	CustomerID   string
	Section      string // of an order of one item; DefaultSection if empty
	Allocation   string // of the section's places; empty or seats.Public: those for everybody
	Quantity     int64
	Seats        []string      // named ones of a seated section, ROW-NUMBER, instead of Quantity
	Apart        bool          // best available seats need not be side by side
	PaymentToken Secret        // what costs nothing needs none, in a namespace whose free orders are
	AccessCode   Secret        // what opens the allocation that is named
	UnitPrice    *int64        // minor units; nil: whatever the price is
	Change       int64         // of a cancel with items, of a change, and of a refund: which one of its order it is, 1 to MaxChange
	Amount       int64         // of a refund without items: minor units
	NoRefund     bool          // of a cancel: the organiser keeps the money
	Items        []RequestItem // instead of Section, Allocation, Quantity, Seats, Apart and UnitPrice: 1 to MaxItems, each of another section, all or nothing
	HoldSeconds  int64         // 0: the worker's default
	ValidSeconds int64         // 0: the worker's default
	Attempt      int64         // of a pay or a payment_update, which one for its order: 1 to MaxAttempts; 0: the first
	Traceparent  string        // W3C trace context; passed over if malformed
	Cause        Cause         // of a cancel, a change or a refund: why, and who asks for it, for people; either may be empty

	// Fingerprint identifies the body of all but a cancel of everything, so that a retry is told from another request
	// under the same order_id, of the same attempt, or of the same number. The payment token is no part of it: it may not be
	// kept in any form, and a checkout that retries often has a fresh one. Nor is the access code: the allocation is.
	// Set by wire.ParseRequest.
	Fingerprint string
}

// RequestItem is one line of what is asked for.
type RequestItem struct {
	Section    string
	Allocation string // of the section's places; empty or seats.Public: those for everybody
	Quantity   int64
	UnitPrice  *int64 // minor units; nil: whatever the price is

	// Of a seated section: named seats, ROW-NUMBER; then Quantity is how many they are. Without names it is the best
	// available ones, side by side unless Apart.
	Seats []string
	Apart bool
}

// Lines are the items that are asked for, one by one. Their sections are PoolOf those and their allocations.
func (r *Request) Lines() iter.Seq[RequestItem] {
	return func(yield func(RequestItem) bool) {
		if len(r.Items) == 0 {
			yield(RequestItem{Section: PoolOf(r.Section, r.Allocation), Quantity: max(r.Quantity, int64(len(r.Seats))), UnitPrice: r.UnitPrice, Seats: r.Seats, Apart: r.Apart})
			return
		}
		for _, item := range r.Items {
			item.Section = PoolOf(item.Section, item.Allocation)
			if !yield(item) {
				return
			}
		}
	}
}

// asked are the items, without prices and without seats.
func (r *Request) asked() Items {
	if len(r.Items) == 0 && r.Section == "" && r.Quantity == 0 {
		return "" // it could not be read
	}
	var list []Item
	for item := range r.Lines() {
		list = append(list, Item{Section: item.Section, Quantity: item.Quantity})
	}
	return ItemsOf(list...)
}

// AttemptNumber is which attempt to pay the request is about, from 1.
func (r *Request) AttemptNumber() int { return int(max(r.Attempt, 1)) }

// Ref names the order the request is about.
func (r Request) Ref() OrderRef { return OrderRef{EventID: r.EventID, OrderID: r.OrderID} }

// NeedsVersion2 reports whether version 1 of requests does not know the type.
func (t RequestType) NeedsVersion2() bool {
	return t == RequestChange || t == RequestRefund || t == RequestPaymentUpdate
}

// Opens reports whether the request can create an order, rather than refer to one.
func (t RequestType) Opens() bool { return t == RequestPurchase || t == RequestHold }

// Changes reports whether the request is a partial cancel, a change or a refund: a numbered alteration of an order.
func (r *Request) Changes() bool {
	return r.Type == RequestChange || r.Type == RequestRefund || r.Type == RequestCancel && len(r.Items) > 0
}

// Pays reports whether handling the request leads to the payment gateway.
func (t RequestType) Pays() bool { return t == RequestPurchase || t == RequestPay }
