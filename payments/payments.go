// Package payments has the adapters of domain.PaymentGateway: a Simulator that
// runs in process, Handler and Serve that put the simulator behind HTTP, and a
// Client for whatever gateway speaks that HTTP contract.
//
// The contract, with event_id and order_id as percent-encoded path segments:
//
//	PUT  /authorizations/{event_id}/{order_id}          {amount, currency, customer_id, payment_token}
//	                                                    200 authorized | 402 declined | 409 voided
//	GET  /authorizations/{event_id}/{order_id}          200 | 404
//	POST /authorizations/{event_id}/{order_id}/capture  200 | 402, 409 refused | 404
//	POST /authorizations/{event_id}/{order_id}/void     200 (also when unknown) | 409 captured
//	POST /authorizations/{event_id}/{order_id}/refund   200 | 402, 409 refused | 404
//	GET  /ledger                                        200, JSON lines | 404: this gateway has none
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

// call names one of the gateway's calls. Its text stands in errors and, for
// capture, void and refund, at the end of the path.
type call string

const (
	callAuthorize call = "authorize"
	callLookup    call = "look up"
	callCapture   call = "capture"
	callVoid      call = "void"
	callRefund    call = "refund"
)

// maxBodyBytes bounds every body of the contract but the ledger's, in both directions.
const maxBodyBytes = 64 << 10

// wirePayment is the body of a reply. Amount is a pointer to tell 0 from missing.
type wirePayment struct {
	AuthorizationID string               `json:"authorization_id"`
	Status          domain.PaymentStatus `json:"status"`
	Amount          *int64               `json:"amount"` // minor units
}

var errInvalidRef = errors.New("not a valid event_id and order_id")

func validRef(ref domain.OrderRef) bool {
	return domain.ValidID(ref.EventID) && domain.ValidID(ref.OrderID)
}

// unknownOutcome is the error for a call that may have taken effect, or may yet.
func unknownOutcome(c call, ref domain.OrderRef, cause error) error {
	name := "an order"
	if validRef(ref) { // anything else has no bound on its length or its bytes
		name = ref.String()
	}
	return domain.WithClass(domain.ClassRetry, fmt.Errorf("%s %s: %w: %w", c, name, domain.ErrUnknownOutcome, cause))
}
