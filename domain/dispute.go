package domain

import "fmt"

// DisputeState is how far it has come that a customer's bank asks for the money of a payment back.
type DisputeState string

// The states. Whoever has the money, the order keeps its places until a person takes them back.
const (
	// DisputeInquiry: the bank asks. No money was taken yet, and it can still be given back.
	DisputeInquiry DisputeState = "inquiry"
	// DisputeOpen: the bank has taken the money until it is decided. None can be given back meanwhile.
	DisputeOpen DisputeState = "open"
	// DisputeWon: the money stays with the organiser, or is theirs again.
	DisputeWon DisputeState = "won"
	// DisputeLost: the customer has the money back (a chargeback).
	DisputeLost DisputeState = "lost"
)

// DisputeStates are all of them.
var DisputeStates = []DisputeState{DisputeInquiry, DisputeOpen, DisputeWon, DisputeLost}

// Dispute is what is disputed of a payment, as far as it has come. The zero value: nothing ever was.
type Dispute struct {
	State     DisputeState `json:"state"`
	Amount    int64        `json:"amount"`                 // minor units
	DueMillis int64        `json:"answer_until,omitempty"` // when the organiser must have answered; 0 if nothing is to be answered (any more)
}

// Valid reports whether there can be such a dispute of a payment of an amount.
func (d Dispute) Valid(of int64) bool {
	known := d.State == DisputeInquiry || d.State == DisputeOpen || d.State == DisputeWon || d.State == DisputeLost
	return known && d.Amount > 0 && d.Amount <= of && d.DueMillis >= 0
}

// Disputed brings what the gateway tells of a dispute of the payment of an order that is confirmed, or was.
type Disputed struct {
	Dispute Dispute
	Version string // the order's when the gateway was asked
}

func (Disputed) command() {}

// decideDisputed: nothing of an order changes by it but what is known of its payment. What is known already changes nothing; what was asked
// before the order was what it is now may be older than that, and is asked again.
func decideDisputed(v View, ref OrderRef, c Disputed) (*Fact, Verdict) {
	o := v.Order
	d, isNews := o.NewDispute(c.Dispute)
	switch {
	case !isNews:
		return nil, VerdictDone
	case c.Version != o.Version:
		return nil, VerdictAsk
	}
	return &Fact{Type: FactPaymentDisputed, EventID: ref.EventID, OrderID: ref.OrderID, Version: o.Version, Dispute: d}, VerdictDone
}

// NewDispute is what a gateway says of a dispute, as the order keeps it; isNews is false if there is nothing to be kept.
func (o Order) NewDispute(d Dispute) (kept Dispute, isNews bool) {
	d.Amount = min(d.Amount, o.PaidAmount()) // courses and fees may make it more
	return d, o.hasPayment() && d.Valid(o.PaidAmount()) && d != o.Dispute
}

// disputed makes an order one whose payment is disputed. What the fact says is checked against the order, whatever has led to it.
func (o *Order) disputed(was Order, f Fact) error {
	switch {
	case !was.hasPayment():
		return illegal(f, was.State)
	case f.Version != was.Version:
		return fmt.Errorf("%s: follows version %q, the order's is %q", f.Type, f.Version, was.Version)
	case !f.Dispute.Valid(was.PaidAmount()) || f.Dispute == was.Dispute:
		return fmt.Errorf("%s: %+v, of %d that were paid, after %+v", f.Type, f.Dispute, was.PaidAmount(), was.Dispute)
	}
	o.Dispute, o.DisputedAtMillis = f.Dispute, f.AtMillis
	return nil
}

// hasPayment reports whether money was taken for an order that is confirmed, or was.
func (o Order) hasPayment() bool { return o.wasPaid() && o.PaidAmount() > 0 && !o.Free() }

// RefundDue is up to how much of what was captured for the order is to be given back now, in minor units: the refund total, but for what
// the customer's bank has given back; and nothing more while the bank has the money.
func (o Order) RefundDue() int64 {
	switch o.Dispute.State {
	case DisputeOpen:
		return 0
	case DisputeLost:
		return max(o.RefundTotal()-o.Dispute.Amount, 0)
	case DisputeInquiry, DisputeWon:
	}
	return o.RefundTotal()
}
