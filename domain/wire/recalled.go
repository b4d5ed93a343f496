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

func recalledOrder(f *domain.Fact) string {
	said := saidOrder(f.Recalled.Order)
	said.State, said.Early = f.Recalled.Order.State.String(), f.Recalled.Early
	return encode(said)
}

func parseRecalledOrder(f *domain.Fact, v *values) {
	var said orderJSON
	err := json.Unmarshal([]byte(v.remainder()), &said)
	state, known := domain.ParseOrderState(said.State)
	o, ok := said.order()
	if v.bad = v.bad || err != nil || !known || !ok || domain.EntryMillis(o.Version) == 0; v.bad {
		return
	}
	o.State = state
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
