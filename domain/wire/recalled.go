package wire

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"holdfast/domain"
)

// What is recalled stands in its fact whole, so that whoever folds the log need not ask anybody else what it was. The JSON is read for years:
// its names stay, and a field that is not said is zero.

// recalledOrderJSON is an order as order_recalled says it.
type recalledOrderJSON struct {
	State    string `json:"state"`
	PayState string `json:"pay_state,omitempty"`
	Early    bool   `json:"early,omitempty"`
	orderFields
}

// orderFields are those of domain.Order.
type orderFields struct {
	State       domain.OrderState  `json:"-"`
	Version     string             `json:"version"`
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

// payStates are those that an order may have.
var payStates = []domain.PayState{domain.PayOpen, domain.PayDeclined, domain.PayActionRequired}

func recalledOrder(f *domain.Fact) string {
	o := f.Recalled.Order
	return encode(recalledOrderJSON{State: o.State.String(), PayState: o.PayState.String(), Early: f.Recalled.Early, orderFields: orderFields(o)})
}

func parseRecalledOrder(f *domain.Fact, v *values) {
	said := recalledOrderJSON{PayState: domain.PayOpen.String()}
	err := json.Unmarshal([]byte(v.remainder()), &said)
	state, known := domain.ParseOrderState(said.State)
	pay := slices.IndexFunc(payStates, func(s domain.PayState) bool { return s.String() == said.PayState })
	if v.bad = v.bad || err != nil || !known || pay < 0 || domain.EntryMillis(said.Version) == 0; v.bad {
		return
	}
	o := domain.Order(said.orderFields)
	o.State, o.PayState = state, payStates[pay]
	items, ok := domain.ParseItems(string(o.Items))
	v.bad = !ok || items != o.Items
	f.CustomerID, f.Items, f.Currency, f.Reason = o.CustomerID, o.Items, o.Currency, o.Reason // as other facts say what they are about
	f.Recalled = &domain.Recalled{Order: o, Early: said.Early}
}

// recalledEventJSON is an event as event_recalled says it.
type recalledEventJSON struct {
	eventFields
	Sections    []sectionFields  `json:"sections"`
	Used        map[string]int64 `json:"codes_used,omitempty"` // by an access code's hash
	OrderHashes int              `json:"order_hashes,omitempty"`
	Refused     []refusedJSON    `json:"refused,omitempty"`
}

// eventFields are those of domain.Event.
type eventFields struct {
	Name           string `json:"name"`
	Currency       string `json:"currency"`
	MaxPerOrder    int64  `json:"max_per_order,omitempty"`
	MaxPerCustomer int64  `json:"max_per_customer,omitempty"`
	NoOrphans      bool   `json:"no_orphans,omitempty"`

	LateApprovalMillis int64 `json:"late_approval,omitempty"`

	OnSaleMillis  int64               `json:"on_sale,omitempty"`
	OffSaleMillis int64               `json:"off_sale,omitempty"`
	Closed        bool                `json:"closed"`
	Cancelled     bool                `json:"cancelled,omitempty"`
	Cause         domain.Cause        `json:"cause,omitzero"`
	Fingerprint   string              `json:"fingerprint"`
	Version       int64               `json:"version"`
	Over          string              `json:"-"`
	Sections      []domain.Section    `json:"-"`
	Allocations   []domain.Allocation `json:"allocations,omitempty"`
}

// sectionFields are those of domain.Section.
type sectionFields struct {
	Name      string `json:"section"`
	Price     int64  `json:"price"`
	Capacity  int64  `json:"capacity"`
	Available int64  `json:"available"`
	Held      int64  `json:"held,omitempty"`
	Sold      int64  `json:"sold"`
	Blocked   int64  `json:"blocked,omitempty"`
	Layout    string `json:"layout,omitempty"`
	Places    string `json:"places,omitempty"`
	Mark      byte   `json:"mark,omitempty"`
}

type refusedJSON struct {
	Section string `json:"section"`
	Reason  string `json:"reason"`
	Places  int64  `json:"places"`
}

func recalledEvent(f *domain.Fact) string {
	e := f.Recalled.Event
	said := recalledEventJSON{eventFields: eventFields(e), OrderHashes: f.Recalled.OrderHashes}
	for _, s := range e.Sections {
		said.Sections = append(said.Sections, sectionFields(s))
	}
	for _, a := range e.Allocations {
		for _, c := range a.Codes {
			if said.Used == nil {
				said.Used = make(map[string]int64)
			}
			said.Used[c.Hash] = c.Used
		}
	}
	for what, places := range f.Recalled.Refused {
		said.Refused = append(said.Refused, refusedJSON{what.Section, what.Reason, places})
	}
	slices.SortFunc(said.Refused, func(a, b refusedJSON) int {
		return cmp.Or(strings.Compare(a.Section, b.Section), strings.Compare(a.Reason, b.Reason))
	})
	return encode(said)
}

func parseRecalledEvent(f *domain.Fact, data string) error {
	var said recalledEventJSON
	if err := json.Unmarshal([]byte(data), &said); err != nil || said.Version == 0 || said.OrderHashes < 0 {
		return fmt.Errorf("%s: the event cannot be read", f.Type)
	}
	is := &domain.Recalled{Event: domain.Event(said.eventFields), OrderHashes: said.OrderHashes}
	for _, s := range said.Sections {
		is.Event.Sections = append(is.Event.Sections, domain.Section(s))
	}
	for _, a := range is.Event.Allocations {
		for i := range a.Codes {
			a.Codes[i].Used = said.Used[a.Codes[i].Hash]
		}
	}
	for _, r := range said.Refused {
		if is.Refused == nil {
			is.Refused = make(map[domain.RefusedDemand]int64)
		}
		is.Refused[domain.RefusedDemand{EventID: f.EventID, Section: r.Section, Reason: r.Reason}] = r.Places
	}
	f.Recalled = is
	return nil
}
