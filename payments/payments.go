// Package payments is the contract between holdfast and a payment gateway over
// HTTP, and what both of its sides share. Its folders are adapters of
// domain.PaymentGateway: remote calls whatever gateway speaks the contract,
// stripe calls Stripe, which speaks its own, simulator is a gateway in process, which also serves it. Each must pass the
// suite of paymentstest.
//
// The contract, where NAME is /authorizations/{namespace}/{event_id}/{order_id}, each a
// percent-encoded path segment (without the namespace where payment_names says so), and
// of a second attempt to pay has /attempts/2 behind it, up to 9:
//
//	PUT  NAME            {amount, currency, customer_id, fingerprint, payment_token}
//	                     200 authorized, action_required | 402 declined | 409 voided
//	GET  NAME            200 | 404
//	POST NAME/capture    200 | 402, 409 refused | 404
//	POST NAME/void       200 (also when unknown: a later PUT is 409) | 409 captured
//	POST NAME/refund     {total}
//	                     200 | 402, 409 refused | 404
//	POST NAME/next-step  200 {redirect_url, client_secret} | 409: there is none | 404
//	GET  /minimums       200 {currency: amount, …} | 404: it does not say
//	GET  /ledger         200, JSON lines: the gateway's books | 404: it shows none
//
// A 200 carries {authorization_id, status, amount}, the amount in minor units, how much of it was
// given back, {refunded}, if any was, and what
// the gateway tells besides of what it was asked for: {currency, customer_id, fingerprint}. A GET of what was captured tells, if the
// customer's bank has asked for it back, {dispute: {state, amount, answer_until}}: inquiry, open, won or lost; minor units; milliseconds.
// A 404 is the gateway's own if its body is a JSON object; of GET also without one.
//
// A refund brings the sum of what was given back up to its total, in minor units, and so may come twice and in any order;
// without one, up to all that was captured. What has been given back in part is still captured, all of it refunded.
// While a dispute is open, or where it was lost, a refund of what the bank has is refused.
// Of next-step at least one of the two is there; it changes nothing, and is not to be kept anywhere.
//
// Of what is not in this table, 400, 413, 414, 422 and 431 refuse this call for good. After
// 408, 425, 429 and 5xx (with Retry-After, if it says when), and where there is no answer,
// the outcome is not known, and the call is made again. Everything else is not an answer of
// this contract: what was asked is not the gateway, or does not know who asks.
//
// Payment tokens pass through: they are never stored, and never part of an error.
package payments

import (
	"errors"
	"fmt"

	"holdfast/domain"
)

// Call names one of the gateway's calls. Its text stands in errors and, for
// capture, void, refund and next-step, at the end of the path.
type Call string

// The calls of domain.PaymentGateway about one payment, and that of domain.NextSteps.
const (
	CallAuthorize Call = "authorize"
	CallLookup    Call = "look up"
	CallCapture   Call = "capture"
	CallVoid      Call = "void"
	CallRefund    Call = "refund"
	CallNextStep  Call = "next-step"
)

// MaxBodyBytes bounds every body of the contract but that of the books, in both directions.
const MaxBodyBytes = 64 << 10

// Reply is the body of a reply about one payment. Amount is a pointer to tell 0 from missing.
type Reply struct {
	AuthorizationID string               `json:"authorization_id"`
	Status          domain.PaymentStatus `json:"status"`
	Amount          *int64               `json:"amount,omitempty"`   // minor units
	Refunded        int64                `json:"refunded,omitempty"` // likewise
	Dispute         domain.Dispute       `json:"dispute,omitzero"`   // of what was captured, if any of it was disputed

	// What a gateway may leave out.
	Currency    string `json:"currency,omitempty"`
	CustomerID  string `json:"customer_id,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// RefundBody is the body of a refund.
type RefundBody struct {
	Total *int64 `json:"total"` // minor units; missing: all that was captured
}

// NextStepReply is the body of a reply about what a customer must do: a domain.NextStep, in which
// it would not be readable.
type NextStepReply struct {
	RedirectURL  string `json:"redirect_url,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`
}

var errInvalidName = errors.New("not a valid namespace, event_id, order_id and attempt")

// CheckName returns an error, which does not quote name, if it cannot name a payment.
func CheckName(name domain.PaymentName) error {
	ids := (name.Namespace == "" || domain.ValidID(name.Namespace)) && domain.ValidID(name.EventID) && domain.ValidID(name.OrderID)
	if !ids || name.Attempt != 0 && (name.Attempt < 2 || name.Attempt > domain.MaxAttempts) {
		return errInvalidName
	}
	return nil
}

// Failed is the error of a call, which it names: it wraps cause.
func Failed(c Call, name domain.PaymentName, cause error) error {
	text := "a payment"
	if CheckName(name) == nil { // anything else has no bound on its length or its bytes
		text = name.String()
	}
	return fmt.Errorf("%s %s: %w", c, text, cause)
}

// UnknownOutcome is the error for a call that may have taken effect, or may yet:
// of domain.ClassRetry, wrapping domain.ErrUnknownOutcome and cause.
func UnknownOutcome(c Call, name domain.PaymentName, cause error) error {
	return domain.WithClass(domain.ClassRetry, Failed(c, name, fmt.Errorf("%w: %w", domain.ErrUnknownOutcome, cause)))
}
