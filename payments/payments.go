// Package payments is the contract between holdfast and a payment gateway over
// HTTP, and what both of its sides share. Its folders are adapters of
// domain.PaymentGateway: remote calls whatever gateway speaks the contract,
// simulator is a gateway in process, which also serves it. Each must pass the
// suite of paymentstest.
//
// The contract, with event_id and order_id as percent-encoded path segments:
//
//	PUT  /authorizations/{event_id}/{order_id}          {amount, currency, customer_id, payment_token}
//	                                                    200 authorized | 402 declined | 409 voided
//	GET  /authorizations/{event_id}/{order_id}          200 | 404
//	POST /authorizations/{event_id}/{order_id}/capture  200 | 402, 409 refused | 404
//	POST /authorizations/{event_id}/{order_id}/void     200 (also when unknown) | 409 captured
//	POST /authorizations/{event_id}/{order_id}/refund   200 | 402, 409 refused | 404
//	GET  /ledger                                        200, JSON lines: the gateway's books | 404: it shows none
//
// A 200 carries {authorization_id, status, amount}, the amount in minor units.
// Anything else means that the outcome is not known.
//
// Payment tokens pass through: they are never stored, and never part of an error.
package payments

import (
	"errors"
	"fmt"

	"holdfast/domain"
)

// Call names one of the gateway's calls. Its text stands in errors and, for
// capture, void and refund, at the end of the path.
type Call string

// The calls of domain.PaymentGateway.
const (
	CallAuthorize Call = "authorize"
	CallLookup    Call = "look up"
	CallCapture   Call = "capture"
	CallVoid      Call = "void"
	CallRefund    Call = "refund"
)

// MaxBodyBytes bounds every body of the contract but that of the books, in both directions.
const MaxBodyBytes = 64 << 10

// Reply is the body of a reply about one payment. Amount is a pointer to tell 0 from missing.
type Reply struct {
	AuthorizationID string               `json:"authorization_id"`
	Status          domain.PaymentStatus `json:"status"`
	Amount          *int64               `json:"amount"` // minor units
}

var errInvalidRef = errors.New("not a valid event_id and order_id")

// CheckRef returns an error, which does not quote ref, if ref cannot name a payment.
func CheckRef(ref domain.OrderRef) error {
	if !domain.ValidID(ref.EventID) || !domain.ValidID(ref.OrderID) {
		return errInvalidRef
	}
	return nil
}

// UnknownOutcome is the error for a call that may have taken effect, or may yet:
// of domain.ClassRetry, wrapping domain.ErrUnknownOutcome and cause.
func UnknownOutcome(c Call, ref domain.OrderRef, cause error) error {
	name := "an order"
	if CheckRef(ref) == nil { // anything else has no bound on its length or its bytes
		name = ref.String()
	}
	return domain.WithClass(domain.ClassRetry, fmt.Errorf("%s %s: %w: %w", c, name, domain.ErrUnknownOutcome, cause))
}
