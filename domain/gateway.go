package domain

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
)

// PaymentStatus is what a gateway says about one payment.
type PaymentStatus string

// The statuses of the gateway contract.
const (
	PaymentStatusAuthorized PaymentStatus = "authorized"
	// PaymentStatusActionRequired: no money is reserved yet, and none refused. The customer must do something
	// at their bank; then the payment is authorized or declined, without another call of ours.
	PaymentStatusActionRequired PaymentStatus = "action_required"
	PaymentStatusDeclined       PaymentStatus = "declined"
	// PaymentStatusCaptured: the money was taken. Some of it may have been given back since: Payment.Refunded.
	PaymentStatusCaptured PaymentStatus = "captured"
	PaymentStatusVoided   PaymentStatus = "voided"
	// PaymentStatusRefunded: all that was captured was given back.
	PaymentStatusRefunded PaymentStatus = "refunded"
)

// MaxAttempts is how many attempts to pay an order can have.
const MaxAttempts = 9

// PaymentName names one attempt to pay for an order at the gateway. It is the idempotency key
// of every call.
type PaymentName struct {
	// Namespace is empty in namespaces that were made before the names had one: renaming
	// would make every payment that is under way another one.
	Namespace string
	OrderRef
	// Attempt is 2 to MaxAttempts for later attempts. The first has none: that is 0, and never 1,
	// so that a payment has one name.
	Attempt int
}

// String is namespace/event_id/order_id, without a namespace event_id/order_id; of a later attempt,
// with /attempts/2 behind it.
func (n PaymentName) String() string {
	text := n.OrderRef.String()
	if n.Namespace != "" {
		text = n.Namespace + "/" + text
	}
	if n.Attempt != 0 {
		text += "/attempts/" + strconv.Itoa(n.Attempt)
	}
	return text
}

// ParsePaymentName reads what String wrote. Errors quote nothing of it.
func ParsePaymentName(text string) (PaymentName, error) {
	var n PaymentName
	parts := strings.Split(text, "/")
	if len(parts) > 3 { // no valid name has as many without an attempt
		number, err := strconv.Atoi(parts[len(parts)-1])
		if err != nil || parts[len(parts)-2] != "attempts" {
			return PaymentName{}, errNoPaymentName
		}
		n.Attempt, parts = number, parts[:len(parts)-2]
	}
	if len(parts) == 3 {
		n.Namespace, parts = parts[0], parts[1:]
	}
	if len(parts) != 2 {
		return PaymentName{}, errNoPaymentName
	}
	n.EventID, n.OrderID = parts[0], parts[1]
	valid := ValidID(n.EventID) && ValidID(n.OrderID) && (n.Namespace == "" || ValidID(n.Namespace)) && n.Attempt != 1 && n.Attempt <= MaxAttempts
	if !valid || n.String() != text {
		return PaymentName{}, errNoPaymentName
	}
	return n, nil
}

var errNoPaymentName = errors.New("not the name of a payment")

// Attempt is one try to pay for an order, as the order knows it. Name says which; a gateway that
// finds payments by names of ours needs nothing else. One that does not goes by AuthorizationID, and by the
// rest, which never changes, to ask for the very same payment again.
type Attempt struct {
	Name            PaymentName
	AuthorizationID string // the gateway's own id of the payment; empty as long as the order has none
	Amount          int64  // minor units
	Currency        string // empty: nothing is known of the order any more, nor are amount and customer
	CustomerID      string
	Fingerprint     string // of the request that opened the order: kept by the gateway, and told with the payment
	HeldAtMillis    int64  // before that nobody can have asked for it, on Redis's clock; 0: not known
}

// AmountNotTold is the Amount of a payment of which the gateway does not tell it.
const AmountNotTold = -1

// Payment is one attempt to pay, as the gateway tells it.
type Payment struct {
	AuthorizationID string
	Status          PaymentStatus
	Amount          int64 // minor units; AmountNotTold where there is no money
	Refunded        int64 // minor units that were given back so far; at most Amount, if that is told
	// Dispute is what is disputed of it, of what was captured. Lookup tells it; the other calls need not.
	Dispute Dispute

	// Whose it is and what for, as far as the gateway tells; empty if it does not.
	Currency    string
	CustomerID  string
	Fingerprint string
}

// PaymentRequest asks for an authorization.
type PaymentRequest struct {
	Attempt
	Token Secret // what the customer pays with; used by this call alone, and kept nowhere
}

// NextStep is what a customer must do for a payment that is action_required: go to a page of
// their bank, or let the gateway's own code in the checkout go on with a secret. At least one is there. Whoever has it
// can act as the customer: it is handed on, and kept and logged nowhere.
type NextStep struct {
	RedirectURL  Secret
	ClientSecret Secret
}

// Minimums are the smallest amounts, in minor units by currency, that a gateway takes. A currency
// that is not among them has none.
type Minimums map[string]int64

// Below reports whether quantity (at least 1) at a price, in minor units, is less than the gateway takes. What
// costs nothing is not.
func (m Minimums) Below(currency string, quantity, price int64) bool {
	least := m[currency]
	return price > 0 && price < least && quantity < (least+price-1)/price // their product may be more than an int64
}

// What a gateway says instead of a payment. The first three are about this payment,
// and final; what to do about the others is the same for every payment.
var (
	// ErrRefused is a definite "no" to a capture or a refund; or there is no next step for the
	// customer. Its class is ClassReject.
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
// first one got, or what has become of it since. Calls honour ctx. A caller that dies in
// one has either not been served or served in full; whoever comes after it makes the call again.
//
// An error is ErrNotFound, ErrRefused (ClassReject), ErrUnacceptable (ClassPoison), wraps
// ErrMisconfigured, or else is of ClassRetry and wraps ErrUnknownOutcome: the call may have
// taken effect, and may still do so later; a LaterError among them. With an error comes no payment.
type PaymentGateway interface {
	// Authorize reserves the amount. The status is authorized (or captured, if that
	// has happened since), action_required, declined, or voided or refunded: that came first, so there
	// is and will be no money. An amount below the gateway's minimum is ErrUnacceptable.
	Authorize(ctx context.Context, r PaymentRequest) (Payment, error)
	// Lookup tells what the gateway knows; ErrNotFound if it knows nothing.
	Lookup(ctx context.Context, a Attempt) (Payment, error)
	// Capture collects what was authorized. The status is captured, also if some of it was given back
	// since. ErrRefused or ErrNotFound: it never will be, or all of it was given back.
	Capture(ctx context.Context, a Attempt) (Payment, error)
	// Void releases an authorization and ends what is action_required; of a name that the gateway has
	// never heard of, it forbids one that has not come yet. The
	// status is voided, declined or refunded: no money is, or will be, reserved or taken; or
	// captured: too late, refund it.
	Void(ctx context.Context, a Attempt) (Payment, error)
	// Refund gives back of what was captured until total minor units of it, over all calls, were given back. So
	// calls may come twice and in any order: if that much was given back already, nothing happens, and less is never
	// taken again. The status is captured, or refunded if it is all, and Refunded at least total. ErrRefused: nothing was
	// captured, or less than total, or the customer's bank has the money (Lookup tells the dispute); ErrNotFound.
	//
	// A gateway that can only be told how much more to give back is told it under a key made of the name and of
	// how much was given back before: of two calls at once it takes one, and the other begins anew.
	Refund(ctx context.Context, a Attempt, total int64) (Payment, error)
	// Minimums tells the smallest amounts that Authorize takes; none, and no error, if the gateway does not say.
	Minimums(ctx context.Context) (Minimums, error)
}

// NextSteps is what a checkout asks the gateway for its customer. Adapters of PaymentGateway have it as well.
type NextSteps interface {
	// NextStep tells what the customer must do. It changes nothing. ErrRefused: the payment is not action_required (any
	// more); ErrNotFound; other errors as for PaymentGateway. No error quotes a step.
	NextStep(ctx context.Context, a Attempt) (NextStep, error)
}

// BooksLine is all that a gateway ever did for one attempt to pay, for those who audit it.
type BooksLine struct {
	Namespace       string        `json:"namespace,omitempty"` // as in its PaymentName
	EventID         string        `json:"event_id"`
	OrderID         string        `json:"order_id"`
	Attempt         int           `json:"attempt,omitempty"` // likewise
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
	Refunds         int           `json:"refunds"`        // times a refund took effect: each gave back more than before
	Calls           int           `json:"calls"`          // calls of any kind that reached the gateway
	// Disputed: the customer's bank has asked for the money back, or has taken it (a chargeback), whatever Status says.
	Disputed bool `json:"disputed,omitempty"`
	// Dispute is how far that has come; not there where the gateway does not say, or nothing was disputed.
	Dispute Dispute `json:"dispute,omitzero"`
}

// Name is that of the line's payment.
func (l BooksLine) Name() PaymentName {
	return PaymentName{Namespace: l.Namespace, OrderRef: OrderRef{EventID: l.EventID, OrderID: l.OrderID}, Attempt: l.Attempt}
}

// GatewayKind is what answers when a worker asks for money.
type GatewayKind string

// The kinds. A namespace is served by one of them; empty: nobody has served it yet.
const (
	GatewaySimulator GatewayKind = "simulator" // no money moves
	GatewayRemote    GatewayKind = "remote"    // money moves
	// GatewayStripe and GatewayStripeTest are Stripe with a live key and with one of its test mode, in which no money moves: payments
	// of one are not there in the other.
	GatewayStripe     GatewayKind = "stripe"
	GatewayStripeTest GatewayKind = "stripe-test"
)

// GatewayKinds are all of them.
var GatewayKinds = []GatewayKind{GatewaySimulator, GatewayRemote, GatewayStripe, GatewayStripeTest}
