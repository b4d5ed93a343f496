package domain

import (
	"context"
	"errors"
	"time"
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

// PaymentName names one order's payment at the gateway. It is the idempotency key
// of every call.
type PaymentName struct {
	// Namespace is empty in namespaces that were made before the names had one: renaming
	// would make every payment that is under way another one.
	Namespace string
	OrderRef
}

// String is namespace/event_id/order_id, or event_id/order_id without a namespace.
func (n PaymentName) String() string {
	if n.Namespace == "" {
		return n.OrderRef.String()
	}
	return n.Namespace + "/" + n.OrderRef.String()
}

// AmountNotTold is the Amount of a payment of which the gateway does not tell it.
const AmountNotTold = -1

// Payment is one order's payment, as the gateway tells it.
type Payment struct {
	AuthorizationID string
	Status          PaymentStatus
	Amount          int64 // minor units; AmountNotTold where there is no money

	// Whose it is and what for, as far as the gateway tells; empty if it does not.
	Currency    string
	CustomerID  string
	Fingerprint string
}

// PaymentRequest asks for an authorization.
type PaymentRequest struct {
	Name        PaymentName
	Amount      int64 // minor units
	Currency    string
	CustomerID  string
	Fingerprint string // of the request that opened the order: kept by the gateway, and told with the payment
	Token       Secret
}

// What a gateway says instead of a payment. The first three are about this payment,
// and final; what to do about the others is the same for every payment.
var (
	// ErrRefused is a definite "no" to a capture or a refund. Its class is ClassReject.
	ErrRefused = WithClass(ClassReject, errors.New("refused by the payment gateway"))
	// ErrUnacceptable says that the gateway will never take this call as it is (400, 422).
	// Its class is ClassPoison.
	ErrUnacceptable = WithClass(ClassPoison, errors.New("not acceptable to the payment gateway"))
	// ErrMisconfigured says that nobody's calls will work until somebody changes something:
	// a key that is not valid, an address that is not the gateway's. Nothing has happened.
	ErrMisconfigured = errors.New("the payment gateway cannot be used as it is configured")
)

// LaterError says that the gateway does not take calls now. Nothing is known of what became of this one.
type LaterError struct {
	After time.Duration // when it wants to be asked again; 0 if it does not say
	Busy  bool          // it takes calls, but not so many
	Err   error         // wraps ErrUnknownOutcome
}

// Error is that of the cause.
func (e *LaterError) Error() string { return e.Err.Error() }

// Unwrap gives errors.Is and errors.As the cause.
func (e *LaterError) Unwrap() error { return e.Err }

// PaymentGateway is where money is. Every call is idempotent, because the name
// names the payment: whoever repeats one, from whichever worker, gets what the
// first one got. Calls honour ctx.
//
// An error is ErrNotFound, ErrRefused, ErrUnacceptable, wraps ErrMisconfigured, or else
// is of ClassRetry and wraps ErrUnknownOutcome: the call may have taken effect, and may
// still do so later; a LaterError among them.
type PaymentGateway interface {
	// Authorize reserves the amount. The status is authorized (or captured, if that
	// has happened since), declined, or voided or refunded: that came first, so there
	// is and will be no money.
	Authorize(ctx context.Context, r PaymentRequest) (Payment, error)
	// Lookup tells what the gateway knows; ErrNotFound if it knows nothing.
	Lookup(ctx context.Context, name PaymentName) (Payment, error)
	// Capture collects what was authorized. ErrRefused or ErrNotFound: it never will be.
	Capture(ctx context.Context, name PaymentName) (Payment, error)
	// Void releases an authorization, and forbids one that has not come yet. The
	// status is voided, declined or refunded: no money is reserved or taken; or
	// captured: too late, refund it.
	Void(ctx context.Context, name PaymentName) (Payment, error)
	// Refund gives back what was captured.
	Refund(ctx context.Context, name PaymentName) (Payment, error)
}

// BooksLine is all that a gateway ever did for one order, for those who audit it.
type BooksLine struct {
	Namespace       string        `json:"namespace,omitempty"` // as in its PaymentName
	EventID         string        `json:"event_id"`
	OrderID         string        `json:"order_id"`
	CustomerID      string        `json:"customer_id"`
	AuthorizationID string        `json:"authorization_id"`
	Status          PaymentStatus `json:"status"`
	Currency        string        `json:"currency"`
	Fingerprint     string        `json:"fingerprint,omitempty"`
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

// Name is that of the line's payment.
func (l BooksLine) Name() PaymentName {
	return PaymentName{Namespace: l.Namespace, OrderRef: OrderRef{EventID: l.EventID, OrderID: l.OrderID}}
}

// GatewayKind is what answers when a worker asks for money.
type GatewayKind string

// The kinds. A namespace is served by one of them; empty: nobody has served it yet.
const (
	GatewaySimulator GatewayKind = "simulator" // no money moves
	GatewayRemote    GatewayKind = "remote"    // money moves
)
