package domain

import "strconv"

// FactType names what happened. The log is a list of facts, in order.
type FactType string

// The facts about events, then those about orders.
const (
	FactCreated  FactType = "listed"
	FactAdjusted FactType = "adjusted"
	FactClosed   FactType = "closed"
	FactReopened FactType = "reopened"
	// FactEventCancelled ends the sale, if it has not ended yet, and lets all orders be cancelled.
	FactEventCancelled FactType = "event_cancelled"
	// FactEventForgotten says that an event is over, and that it and its orders are in the archive alone.
	FactEventForgotten FactType = "event_forgotten"
	// FactEventRecalled says that an event that was forgotten is there again, as it was, with all its orders: those that FactOrderRecalled has named before.
	FactEventRecalled FactType = "event_recalled"

	FactHeld      FactType = "held"
	FactRejected  FactType = "rejected"
	FactConfirmed FactType = "confirmed"
	FactDeclined  FactType = "declined"
	FactExpired   FactType = "expired"
	// FactLapsed says that the deadline passed of an order whose payment may still be approved.
	FactLapsed    FactType = "lapsed"
	FactCancelled FactType = "cancelled"
	// FactReduced says that some of an order's places were given back, by a partial cancel.
	FactReduced FactType = "reduced"
	// FactChanged says that an order has other places than before, by a change.
	FactChanged FactType = "changed"
	// FactChangeRefused says that a partial cancel or a change was refused. Its number is used up.
	FactChangeRefused FactType = "change_refused"
	// FactRefundGranted says that an organiser gives money back, and the order keeps its places, or has none any more.
	FactRefundGranted FactType = "refund_granted"
	// FactPaymentDisputed says what became known of a dispute of the order's payment (a chargeback). It changes nothing else.
	FactPaymentDisputed FactType = "payment_disputed"
	// FactPaying says that an attempt to pay for a hold was accepted, before the gateway hears of it.
	FactPaying FactType = "paying"
	// FactPaymentDeclined says that an attempt was definitely declined. The hold lives on, and another one may follow.
	FactPaymentDeclined FactType = "payment_declined"
	// FactActionRequired says that the customer must do something at their bank before an attempt is approved or declined.
	FactActionRequired FactType = "action_required"
	// FactExtended says that a hold ends later than it was to, because its event, or everything, was paused.
	FactExtended FactType = "extended"
	// FactRestored says that an order is again what it was, or ended as it must have: Redis had lost that, and the archive had not. No old facts are
	// written again.
	FactRestored FactType = "restored"
	// FactForgotten says that an order is not known any more that was rejected because there was no such event.
	FactForgotten FactType = "forgotten"
	// FactOrderRecalled says what an order was when its event was forgotten, and that it is there again. Nobody changes it before its event is.
	FactOrderRecalled FactType = "order_recalled"
)

// Known reports whether there is such a fact.
func (t FactType) Known() bool {
	switch t {
	case FactCreated, FactAdjusted, FactClosed, FactReopened, FactEventCancelled, FactEventForgotten, FactEventRecalled,
		FactHeld, FactRejected, FactConfirmed, FactDeclined, FactExpired, FactLapsed, FactCancelled, FactPaying, FactPaymentDeclined, FactActionRequired, FactExtended, FactReduced, FactChanged, FactChangeRefused, FactRefundGranted, FactPaymentDisputed, FactRestored, FactForgotten, FactOrderRecalled:
		return true
	}
	return false
}

// Fact is a line of a log entry. Which fields are set depends on the type.
type Fact struct {
	ID       string // of the log entry that it stands in, assigned when that is appended
	Line     int    // which of the facts of that entry it is, from 1
	AtMillis int64  // when it was decided: the time part of ID
	Type     FactType
	EventID  string
	OrderID  string // facts about orders

	// held and rejected say what was asked for; confirmed and cancelled repeat what
	// their readers need to post or settle it without a look at the order.
	RequestType       RequestType // held, rejected
	Fingerprint       string      // likewise; paying: that of the pay; reduced, changed, change_refused, refund_granted: that of the request
	CustomerID        string      // held, rejected, confirmed, reduced, changed, refund_granted, restored; cancelled, unless it was none
	Items             Items       // likewise; without prices if it was rejected; reduced, changed, restored: those given back; refund_granted: those whose price it is, if any
	Currency          string      // held, confirmed, cancelled, reduced, changed, refund_granted, restored
	DeadlineMillis    int64       // held, extended
	Code              string      // held: hash of the access code that it uses; empty for none
	Trace             Trace       // held, rejected, confirmed: of the request that opened the order; empty for none
	LateMillis        int64       // lapsed: for how long after the deadline the payment may still be approved
	AuthorizationID   string      // confirmed, action_required
	Attempt           int         // paying, payment_declined, action_required: its number, from 1; confirmed: if it was not the first that was approved
	Reason            string      // rejected, cancelled, change_refused, declined if it was not the gateway that declined, expired if an approval came late, and the places were gone
	Detail            string      // rejected as invalid, declined or expired with a reason, change_refused
	Was               OrderState  // cancelled: none, held, lapsed or confirmed, or cancelled, if money that was kept could not be captured; reduced, changed: held or confirmed; restored: any
	ConfirmedAtMillis int64       // cancelled, if it was confirmed: milliseconds
	Change            int64       // reduced, changed, change_refused, refund_granted: its number
	Refund            int64       // refund_granted: minor units that are given back beside what was
	NoRefund          bool        // cancelled, reduced, of what was confirmed: the money is kept
	Taken             Items       // changed, restored: the places that the order has more; Items are those that it has not any more
	Dispute           Dispute     // payment_disputed
	Restored          *Order      // restored: what the order is, without a version
	Version           string      // forgotten, reduced, changed, change_refused, refund_granted, payment_disputed, restored: the order's, until then: id of the log entry before it

	Recalled *Recalled // event_recalled, order_recalled
	Terms    *Terms    // listed, adjusted; reopened: as they were
	Cause    Cause     // listed, adjusted, closed, reopened, event_cancelled; cancelled, reduced, changed, refund_granted, if the request said it
}

// Name is the fact's own: entry-id#line.
func (f Fact) Name() string { return f.ID + "#" + strconv.Itoa(f.Line) }

// Ref names the order a fact is about.
func (f Fact) Ref() OrderRef { return OrderRef{EventID: f.EventID, OrderID: f.OrderID} }

// Posts reports whether the order has a line on its customer's invoices because of the fact: it is confirmed, or, restored, ever was.
func (f Fact) Posts() bool {
	return f.Type == FactConfirmed || f.Type == FactRestored && f.Restored.ConfirmedAtMillis > 0
}

// Amount is what the order costs, in minor units.
func (f Fact) Amount() int64 { return f.Items.Amount() }
