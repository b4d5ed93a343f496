package domain

import "fmt"

// OrderState is where an order is in its life. Each constant says who moves an order there.
type OrderState uint8

const (
	// OrderNone is an order that no fact names yet.
	OrderNone OrderState = iota
	// OrderHeld is set by an accepted purchase or hold: inventory is set aside until the deadline.
	OrderHeld
	// OrderConfirmed is set when the payment was approved while the hold was alive. A cancel can still undo it.
	OrderConfirmed
	// OrderDeclined is set when the gateway refused the payment. Final.
	OrderDeclined
	// OrderExpired is set when the deadline passed while held. Final.
	OrderExpired
	// OrderCancelled is set by a cancel, of whatever came before, by a capture refused for good, or because
	// the event was cancelled. Final.
	OrderCancelled
	// OrderRejected is set when a purchase or hold was refused. Final.
	OrderRejected
	// OrderLapsed is set when the deadline passed while held, of an event that honours late approvals: its places are free for others, but it still
	// gets them, if its payment is approved in time and they are free then.
	OrderLapsed
)

// OrderStates lists every state, for tables and tests.
var OrderStates = []OrderState{OrderNone, OrderHeld, OrderConfirmed, OrderDeclined, OrderExpired, OrderCancelled, OrderRejected, OrderLapsed}

var orderStateNames = [...]string{"none", "held", "confirmed", "declined", "expired", "cancelled", "rejected", "lapsed"}

// String is the state as it stands in JSON and in the log.
func (s OrderState) String() string {
	if int(s) < len(orderStateNames) {
		return orderStateNames[s]
	}
	return fmt.Sprintf("OrderState(%d)", uint8(s))
}

// ParseOrderState is the inverse of String.
func ParseOrderState(name string) (OrderState, bool) {
	for i, n := range orderStateNames {
		if n == name {
			return OrderState(i), true
		}
	}
	return OrderNone, false
}

// Terminal reports whether an order in this state has an outcome. Of the
// terminal states only confirmed can still change, by a cancel.
func (s OrderState) Terminal() bool { return s > OrderHeld && s != OrderLapsed }

// Why an order was rejected, declined or cancelled.
const (
	ReasonSoldOut           = "sold_out"
	ReasonUnknownEvent      = "unknown_event"
	ReasonUnknownSection    = "unknown_section"
	ReasonUnknownAllocation = "unknown_allocation"
	ReasonCodeRefused       = "code_refused"       // no access code that opens the allocation now; which code would is not told, nor why this one does not
	ReasonUnknownSeat       = "unknown_seat"       // also of seats that are named of a section without any
	ReasonSeatTaken         = "seat_taken"         // or not for sale
	ReasonNoAdjacent        = "no_adjacent_seats"  // there are as many, but nowhere side by side
	ReasonWouldOrphan       = "would_leave_orphan" // one seat alone, where the event wants none
	ReasonNotOnSale         = "not_on_sale"
	ReasonOverLimit         = "over_limit"
	ReasonOverCustomer      = "over_customer_limit"
	ReasonBelowMinimum      = "below_minimum" // it costs less than the payment gateway takes
	ReasonInProgress        = "in_progress"
	ReasonPriceChanged      = "price_changed"
	ReasonTooLate           = "too_late"
	ReasonInvalid           = "invalid"

	ReasonPaymentMismatch = "payment_mismatch" // declined because the gateway's payment is not what the order asks for; empty: the gateway declined

	ReasonRequested     = "requested"      // cancelled because a cancel asked for it
	ReasonCaptureFailed = "capture_failed" // cancelled because the money could not be collected

	ReasonEventCancelled = "event_cancelled" // cancelled because its event is
	ReasonPlacesGone     = "places_gone"     // cancelled because Redis had lost it, and others have its places
)

// Why a partial cancel or a change was refused, beside reasons of a rejection.
const (
	ReasonPaymentPending = "payment_pending" // it is being paid for
	ReasonNotInOrder     = "not_in_order"    // the order does not have what is to be given back
	ReasonSeatsNotNamed  = "seats_not_named" // of a seated section a partial cancel must say which
	ReasonNotSamePrice   = "not_same_price"  // a place would cost what none of the order does
	ReasonCostsMore      = "costs_more"      // a confirmed order would

	ReasonLapsed = "lapsed" // its places are not its own any more, or not yet

	// Why a refund was.
	ReasonNotPaid      = "not_paid"       // the order is not confirmed yet
	ReasonMoreThanPaid = "more_than_paid" // more would be given back than was paid, or nothing was asked for
)

// ChangeReasons are those that a partial cancel, a change or a refund may be refused for.
var ChangeReasons = []string{
	ReasonNotPaid, ReasonMoreThanPaid, ReasonLapsed,
	ReasonTooLate, ReasonPaymentPending, ReasonNotInOrder, ReasonEventCancelled, ReasonUnknownSection, ReasonSeatsNotNamed, ReasonUnknownSeat,
	ReasonPriceChanged, ReasonNotSamePrice, ReasonCostsMore, ReasonOverLimit, ReasonBelowMinimum, ReasonOverCustomer,
	ReasonSeatTaken, ReasonNoAdjacent, ReasonWouldOrphan, ReasonSoldOut,
}

// Reasons are those that an order in this state may have, in a program of this version; "" among them if it need not have any.
func (s OrderState) Reasons() []string { return reasons[s] }

var reasons = [...][]string{
	OrderNone: {""}, OrderHeld: {""}, OrderConfirmed: {""}, OrderLapsed: {""},
	OrderExpired:   {"", ReasonNotOnSale, ReasonOverLimit, ReasonCodeRefused, ReasonInProgress, ReasonOverCustomer, ReasonSeatTaken, ReasonSoldOut},
	OrderDeclined:  {"", ReasonPaymentMismatch},
	OrderCancelled: {ReasonRequested, ReasonCaptureFailed, ReasonEventCancelled, ReasonPlacesGone},
	OrderRejected: {
		ReasonInvalid, ReasonTooLate, ReasonUnknownEvent, ReasonUnknownSection, ReasonUnknownAllocation, ReasonUnknownSeat, ReasonNotOnSale, ReasonCodeRefused, ReasonPriceChanged,
		ReasonOverLimit, ReasonOverCustomer, ReasonBelowMinimum, ReasonInProgress,
		ReasonSeatTaken, ReasonNoAdjacent, ReasonWouldOrphan, ReasonSoldOut,
	},
}

// PayState is how far the latest attempt to pay for an order has come.
type PayState uint8

const (
	// PayOpen is that of an attempt that was accepted, and whose answer is not known yet.
	PayOpen PayState = iota
	// PayDeclined is that of an attempt for which there is no money, and never will be.
	PayDeclined
	// PayActionRequired is that of an attempt whose customer must do something at their bank. Nothing is reserved yet, and nobody
	// waits with an entry in hand.
	PayActionRequired
)

// String is the state as it stands in JSON.
func (s PayState) String() string {
	switch s {
	case PayOpen:
		return "open"
	case PayDeclined:
		return "declined"
	case PayActionRequired:
		return "action_required"
	}
	return fmt.Sprintf("PayState(%d)", uint8(s))
}

// DetailNoToken is what is wrong with a purchase or a pay that brings no payment token and
// is not for free.
const DetailNoToken = "payment_token: missing"

// DetailTooManySeats is why an item of more seats than one may have is over the limit, whatever the event's is.
var DetailTooManySeats = fmt.Sprintf("want at most %d seats of a section", MaxItemSeats)

// Order is the stored state of one order. Its zero value is an order never heard of.
type Order struct {
	State       OrderState
	Version     string      // id of the log entry that last changed it; empty if none did
	RequestType RequestType // what opened it: purchase or hold; empty if a cancel came first
	Fingerprint string      // of the request that opened it: same body or another one
	CustomerID  string
	Items       Items // their prices are fixed at the hold
	Currency    string

	Code  string // hash of the access code that it uses while it is held or confirmed; empty if it brought none that was needed
	Trace Trace  // of the request that opened it, if a worker that traces took it in; empty for none

	DeadlineMillis    int64  // while held: when the hold ends; kept afterwards
	LateMillis        int64  // once it has lapsed: for how long after the deadline its payment may still be approved
	HeldAtMillis      int64  // 0 if it was never held
	ConfirmedAtMillis int64  // milliseconds; 0 if it was never confirmed
	ResolvedAtMillis  int64  // milliseconds of the latest terminal fact; 0 while held
	AuthorizationID   string // the gateway's own id of the payment, once that is approved, or action_required

	// Change is the number of the latest partial cancel, change or refund that was decided, 0 if none was; with its body's
	// fingerprint, and why it was refused, if it was.
	Change            int64
	ChangedAtMillis   int64 // when that was
	ChangeFingerprint string
	ChangeRefusal     string
	ChangeDetail      string // for people: which section, which seats
	// Reduced is by how much the order costs less than was paid for it, in minor units: places were given back since it was confirmed.
	Reduced int64
	// Kept is how much more the organiser keeps of what was paid than the order's places cost, in minor units: because a cancel was to
	// refund nothing. Below zero it is less: a refund was granted.
	Kept int64

	// Dispute is what is known of a dispute of its payment. It is the payment's alone: places and sales are the order's as before.
	Dispute          Dispute
	DisputedAtMillis int64 // when that became known

	// Attempt is the latest attempt to pay that was accepted, 1 to MaxAttempts; 0 if none was. A purchase is its own first one. A hold
	// has one by its paying facts; programs from before them confirmed holds without.
	Attempt        int
	PayState       PayState
	PayFingerprint string // of the pay that was accepted as this attempt; empty if it was the purchase

	Reason string
	Detail string // for people: what exactly was invalid, or does not match
}

// Amount is what the order costs, in minor units.
func (o Order) Amount() int64 { return o.Items.Amount() }

// PaidAmount is what its payment is about, in minor units: what it cost when it was confirmed.
func (o Order) PaidAmount() int64 { return o.Amount() + o.Reduced }

// RefundTotal is how much of what was captured for the order is to be given back, in minor units: what was paid for places that it
// does not have any more, all of them once an order that was confirmed is not, but for what an organiser has said otherwise.
// It is never less than it was, and never more than was paid. RefundDue is what of it is asked for.
func (o Order) RefundTotal() int64 { return o.given() - o.Kept }

// given is what was paid for places that the order does not have any more, in minor units.
func (o Order) given() int64 {
	if o.ConfirmedAtMillis == 0 || o.State == OrderConfirmed {
		return o.Reduced
	}
	return o.PaidAmount()
}

// owes makes it so that the refund total of an order that changes is what it was before, and so much more.
func (o *Order) owes(before Order, more int64) {
	o.Kept = o.given() - min(before.RefundTotal()+more, before.PaidAmount())
}

// wasPaid reports whether an order is confirmed, or was before it was cancelled.
func (o Order) wasPaid() bool { return o.ConfirmedAtMillis > 0 }

// KeepsMoney reports whether some of what was paid for an order is not given back: while it is confirmed, or because an organiser keeps it.
func (o Order) KeepsMoney() bool {
	return o.ConfirmedAtMillis > 0 && (o.State == OrderConfirmed || o.RefundTotal() < o.PaidAmount())
}

// Free reports whether the order costs nothing and no gateway was asked about it: it needs
// no payment, and has none.
func (o Order) Free() bool {
	return o.HeldAtMillis > 0 && o.PaidAmount() == 0 && o.AuthorizationID == ""
}

// Line is what is left of an order that was ever confirmed, on its customer's invoices, when its event is forgotten.
type Line struct {
	CustomerID        string
	State             OrderState // confirmed or cancelled
	Currency          string
	Amount            int64 // minor units
	Quantity          int64
	ConfirmedAtMillis int64
}

// Line is that of an order; is is false if it was never confirmed, and has none.
func (o Order) Line() (line Line, is bool) {
	return Line{o.CustomerID, o.State, o.Currency, o.Amount(), o.Items.Quantity(), o.ConfirmedAtMillis}, o.ConfirmedAtMillis > 0
}

// HoldAliveAt reports whether the order is held and its deadline is still ahead.
func (o Order) HoldAliveAt(nowMillis int64) bool {
	return o.State == OrderHeld && nowMillis < o.DeadlineMillis
}

// Open reports whether the order is held or lapsed: it may still be paid for.
func (o Order) Open() bool { return o.State == OrderHeld || o.State == OrderLapsed }

// PayableUntilMillis is when an approval of an open order's payment is too late.
func (o Order) PayableUntilMillis() int64 {
	if o.State == OrderLapsed {
		return o.DeadlineMillis + o.LateMillis
	}
	return o.DeadlineMillis
}

// payableAt reports whether the order is open, and it is not too late to pay for it.
func (o Order) payableAt(nowMillis int64) bool { return o.Open() && nowMillis < o.PayableUntilMillis() }

// AwaitsAction reports whether the order is open, and its customer has something to do at their bank.
func (o Order) AwaitsAction() bool { return o.Open() && o.PayState == PayActionRequired }

// Awaited reports whether the gateway is asked from time to time what became of the order's payment, since nobody waits for that with an entry
// in hand: its customer has something to do, or it has lapsed while it was being paid for.
func (o Order) Awaited() bool { return o.AwaitsAction() || o.State == OrderLapsed && o.BeingPaid() }

// LastAttempt is the one whose payment is the order's at the gateway, or would be, had it got that far.
func (o Order) LastAttempt() int { return max(o.Attempt, 1) }

// AttemptOf is how an attempt to pay for the order is known to the gateway: its n-th, from 1.
func (o Order) AttemptOf(namespace string, ref OrderRef, n int) Attempt {
	a := Attempt{
		Name:   PaymentName{Namespace: namespace, OrderRef: ref, Attempt: later(n)},
		Amount: o.PaidAmount(), Currency: o.Currency, CustomerID: o.CustomerID, Fingerprint: o.Fingerprint, HeldAtMillis: o.HeldAtMillis,
	}
	if n == o.LastAttempt() {
		a.AuthorizationID = o.AuthorizationID
	}
	return a
}

// later is the number of an attempt where the first has none.
func later(n int) int {
	if n == 1 {
		return 0
	}
	return n
}
