package domain

import (
	"context"
	"errors"
)

// PaymentStatus is what a gateway says about one order's payment.
type PaymentStatus string

// The statuses of the gateway contract.
const (
	PaymentStatusAuthorized PaymentStatus = "authorized"
	PaymentStatusDeclined   PaymentStatus = "declined"
	PaymentStatusCaptured   PaymentStatus = "captured"
	PaymentStatusVoided     PaymentStatus = "voided"
	PaymentStatusRefunded   PaymentStatus = "refunded"
)

// Payment is one order's payment, as the gateway tells it.
type Payment struct {
	AuthorizationID string
	Status          PaymentStatus
	Amount          int64 // minor units
}

// PaymentRequest asks for an authorization.
type PaymentRequest struct {
	Ref        OrderRef // the idempotency key
	Amount     int64    // minor units
	Currency   string
	CustomerID string
	Token      Secret
}

// ErrRefused is a definite "no" of the gateway to a capture or a refund. Its class is ClassReject.
var ErrRefused = WithClass(ClassReject, errors.New("refused by the payment gateway"))

// PaymentGateway is where money is. Every call is idempotent, because the order
// names the resource: whoever repeats one, from whichever worker, gets what the
// first one got. Calls honour ctx.
//
// An error is ErrNotFound, ErrRefused, or else of ClassRetry and wraps
// ErrUnknownOutcome: the call may have taken effect, and may still do so later.
type PaymentGateway interface {
	// Authorize reserves the amount. The status is authorized (or captured, if that
	// has happened since), declined, or voided or refunded: that came first, so there
	// is and will be no money.
	Authorize(ctx context.Context, r PaymentRequest) (Payment, error)
	// Lookup tells what the gateway knows; ErrNotFound if it knows nothing.
	Lookup(ctx context.Context, ref OrderRef) (Payment, error)
	// Capture collects what was authorized. ErrRefused or ErrNotFound: it never will be.
	Capture(ctx context.Context, ref OrderRef) (Payment, error)
	// Void releases an authorization, and forbids one that has not come yet. The
	// status is voided, declined or refunded: no money is reserved or taken; or
	// captured: too late, refund it.
	Void(ctx context.Context, ref OrderRef) (Payment, error)
	// Refund gives back what was captured.
	Refund(ctx context.Context, ref OrderRef) (Payment, error)
}

// BooksLine is all that a gateway ever did for one order, for those who audit it.
type BooksLine struct {
	EventID         string        `json:"event_id"`
	OrderID         string        `json:"order_id"`
	CustomerID      string        `json:"customer_id"`
	AuthorizationID string        `json:"authorization_id"`
	Status          PaymentStatus `json:"status"`
	Currency        string        `json:"currency"`
	Authorized      int64         `json:"authorized"`     // minor units ever authorized
	Captured        int64         `json:"captured"`       // minor units ever captured
	Voided          int64         `json:"voided"`         // minor units ever released
	Refunded        int64         `json:"refunded"`       // minor units ever given back
	Authorizations  int           `json:"authorizations"` // times an authorization took effect: 1 at most, or the gateway is broken
	Captures        int           `json:"captures"`       // times a capture took effect
	Voids           int           `json:"voids"`          // times a void took effect
	Refunds         int           `json:"refunds"`        // times a refund took effect
	Calls           int           `json:"calls"`          // calls of any kind that reached the gateway
}
