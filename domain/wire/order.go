package wire

import (
	"slices"

	"holdfast/domain"
)

// orderJSON is an order as facts say one whole: order_recalled, with its state, and restored, which says that beside it.
type orderJSON struct {
	State    string `json:"state,omitempty"`
	PayState string `json:"pay_state,omitempty"`
	Early    bool   `json:"early,omitempty"` // it was named before its event was listed
	orderFields
}

// orderFields are those of domain.Order.
type orderFields struct {
	State       domain.OrderState  `json:"-"`
	Version     string             `json:"version,omitempty"`
	RequestType domain.RequestType `json:"type,omitempty"`
	Fingerprint string             `json:"fingerprint,omitempty"`
	CustomerID  string             `json:"customer_id,omitempty"`
	Items       domain.Items       `json:"items,omitempty"`
	Currency    string             `json:"currency,omitempty"`

	Code  string       `json:"code,omitempty"`
	Trace domain.Trace `json:"trace,omitempty"`

	DeadlineMillis    int64  `json:"deadline,omitempty"`
	LateMillis        int64  `json:"late,omitempty"`
	HeldAtMillis      int64  `json:"held_at,omitempty"`
	ConfirmedAtMillis int64  `json:"confirmed_at,omitempty"`
	ResolvedAtMillis  int64  `json:"resolved_at,omitempty"`
	AuthorizationID   string `json:"authorization_id,omitempty"`

	Change            int64  `json:"change,omitempty"`
	ChangedAtMillis   int64  `json:"changed_at,omitempty"`
	ChangeFingerprint string `json:"change_fingerprint,omitempty"`
	ChangeRefusal     string `json:"change_refusal,omitempty"`
	ChangeDetail      string `json:"change_detail,omitempty"`
	Reduced           int64  `json:"reduced,omitempty"`
	Kept              int64  `json:"kept,omitempty"`

	Dispute          domain.Dispute `json:"dispute,omitzero"`
	DisputedAtMillis int64          `json:"disputed_at,omitempty"`

	Attempt        int             `json:"attempt,omitempty"`
	PayState       domain.PayState `json:"-"`
	PayFingerprint string          `json:"pay_fingerprint,omitempty"`

	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// payStates are those that are said; the other one is that of an order whose payment is open.
var payStates = []domain.PayState{domain.PayDeclined, domain.PayActionRequired}

// saidOrder is an order, but for its state.
func saidOrder(o domain.Order) orderJSON {
	said := orderJSON{orderFields: orderFields(o)}
	if o.PayState != domain.PayOpen {
		said.PayState = o.PayState.String()
	}
	return said
}

// order is the order that is said, but for its state; ok is false if there can be no such order.
func (said orderJSON) order() (o domain.Order, ok bool) {
	o = domain.Order(said.orderFields)
	if said.PayState != "" {
		pay := slices.IndexFunc(payStates, func(s domain.PayState) bool { return s.String() == said.PayState })
		if pay < 0 {
			return o, false
		}
		o.PayState = payStates[pay]
	}
	items, ok := domain.ParseItems(string(o.Items))
	return o, ok && items == o.Items
}
