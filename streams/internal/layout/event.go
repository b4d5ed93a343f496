package layout

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
)

// An event is several fields of the hash Events. What scripts read or change are values between bars:
//
//	TermsField    version|o (on sale), c (closed) or x (cancelled)|currency|max_per_order|on_sale|off_sale|hashes of orders;
//	              behind max_per_order, if there is one: :max_per_customer; behind that, if no seat may be left alone: !; behind that,
//	              if late approvals are honoured: ~ and for how many milliseconds
//	SectionField  price|capacity|available|held|sold, and of a seated section: |TagOf its layout
//	SalesField    orders|tickets|revenue
//	RefusedField  places
//	AboutField    JSON: name, sections in their order, their layouts, fingerprint, cause
//
// What each seat of a seated section is stands in the hash Places.

// EventTerms is TermsField.
type EventTerms struct {
	Version           int64
	Closed, Cancelled bool
	Currency          string
	MaxPerOrder       int64
	OnSaleMillis      int64
	OffSaleMillis     int64
	OrderHashes       int // Keys.Orders
	MaxPerCustomer    int64
	NoOrphans         bool
	LateMillis        int64 // domain.Terms.LateApprovalMillis
}

// The letters of an event's state.
const (
	letterOnSale    = "o"
	letterClosed    = "c"
	letterCancelled = "x"
)

// String is the value.
func (t EventTerms) String() string {
	state := letterOnSale
	switch {
	case t.Cancelled:
		state = letterCancelled
	case t.Closed:
		state = letterClosed
	}
	limits := strconv.FormatInt(t.MaxPerOrder, 10)
	if t.MaxPerCustomer > 0 {
		limits += ":" + strconv.FormatInt(t.MaxPerCustomer, 10)
	}
	if t.NoOrphans {
		limits += markNoOrphans
	}
	if t.LateMillis > 0 {
		limits += markLate + strconv.FormatInt(t.LateMillis, 10)
	}
	return fmt.Sprintf("%d|%s|%s|%s|%d|%d|%d", t.Version, state, t.Currency, limits, t.OnSaleMillis, t.OffSaleMillis, t.OrderHashes)
}

const (
	markNoOrphans = "!"
	markLate      = "~"
)

// DecodeEventTerms reads a TermsField; "" is an event that is not there.
func DecodeEventTerms(value string) (EventTerms, error) {
	if value == "" {
		return EventTerms{}, nil
	}
	v := strings.Split(value, "|")
	if len(v) != 7 || v[2] == "" {
		return EventTerms{}, damaged("event", value)
	}
	n := numbers{}
	limits, late, honours := strings.Cut(v[3], markLate)
	limits, strict := strings.CutSuffix(limits, markNoOrphans)
	perOrder, perCustomer, limited := strings.Cut(limits, ":")
	t := EventTerms{
		Version: n.parse(v[0]), Closed: v[1] != letterOnSale, Cancelled: v[1] == letterCancelled, Currency: v[2],
		MaxPerOrder: n.parse(perOrder), OnSaleMillis: n.parse(v[4]), OffSaleMillis: n.parse(v[5]), OrderHashes: int(n.parse(v[6])),
		NoOrphans: strict,
	}
	if limited {
		t.MaxPerCustomer = n.parse(perCustomer)
	}
	if honours {
		t.LateMillis = n.parse(late)
	}
	if n.err != nil || honours != (t.LateMillis > 0) || limited != (t.MaxPerCustomer > 0) || t.Version == 0 || v[1] != letterOnSale && v[1] != letterClosed && v[1] != letterCancelled || t.OrderHashes > mostOrderHashes {
		return EventTerms{}, damaged("event", value)
	}
	return t, nil
}

// EventAbout is AboutField.
type EventAbout struct {
	Name        string   `json:"name"`
	Sections    []string `json:"sections"`
	Layouts     []string `json:"layouts,omitempty"` // of the sections, "" of one that is not seated; none if none is
	Fingerprint string   `json:"fingerprint"`       // of the terms it was created with
	domain.Cause
}

// String is the value.
func (a EventAbout) String() string {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings only
	}
	return string(b)
}

// DecodeEventAbout reads an AboutField.
func DecodeEventAbout(value string) (EventAbout, error) {
	var a EventAbout
	if err := json.Unmarshal([]byte(value), &a); err != nil || len(a.Sections) == 0 || len(a.Layouts) > 0 && len(a.Layouts) != len(a.Sections) {
		return EventAbout{}, damaged("event", value)
	}
	return a, nil
}

// Layout is that of a section, by its number; "" if it is not seated.
func (a EventAbout) Layout(i int) string {
	if len(a.Layouts) == 0 {
		return ""
	}
	return a.Layouts[i]
}

// TagOf is what scripts know of a layout, given its text: whether it is the one that somebody takes it to be.
func TagOf(layout string) string {
	if layout == "" {
		return ""
	}
	return domain.Fingerprint(layout)[:8]
}

// EncodeSection is SectionField.
func EncodeSection(s domain.Section) string {
	b := make([]byte, 0, 40)
	for i, n := range []int64{s.Price, s.Capacity, s.Available, s.Held, s.Sold} {
		if i > 0 {
			b = append(b, '|')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	if s.Seated() {
		b = append(append(b, '|'), TagOf(s.Layout)...)
	}
	return string(b)
}

// DecodeSection reads a SectionField. The layout is the section's, "" if it is not seated.
func DecodeSection(name, layout, value string) (domain.Section, error) {
	n, s := numbers{}, domain.Section{Name: name, Layout: layout}
	v := strings.Split(value, "|")
	if seated := len(v) == 6; len(v) != 5 && !seated || seated != s.Seated() || seated && v[5] != TagOf(layout) {
		return s, damaged("section "+name, value)
	}
	s.Price, s.Capacity, s.Available, s.Held, s.Sold = n.parse(v[0]), n.parse(v[1]), n.parse(v[2]), n.parse(v[3]), n.parse(v[4])
	if n.err != nil {
		return s, damaged("section "+name, value)
	}
	return s, nil
}

// EncodePlaces are an event's fields of the hash Places.
func EncodePlaces(eventID string, e domain.Event) map[string]string {
	fields := make(map[string]string)
	for _, s := range e.Sections {
		if s.Seated() {
			fields[SectionField(eventID, s.Name)] = s.Places
		}
	}
	return fields
}

// EncodeEvent are an event's fields of the hash Events, but for its sales.
func EncodeEvent(eventID string, e domain.Event, orderHashes int) map[string]string {
	about := EventAbout{Name: e.Name, Fingerprint: e.Fingerprint, Cause: e.Cause}
	fields := make(map[string]string, 2+len(e.Sections))
	for i, s := range e.Sections {
		about.Sections = append(about.Sections, s.Name)
		if s.Seated() && about.Layouts == nil {
			about.Layouts = make([]string, len(e.Sections))
		}
		if s.Seated() {
			about.Layouts[i] = s.Layout
		}
		fields[SectionField(eventID, s.Name)] = EncodeSection(s)
	}
	fields[TermsField(eventID)] = EventTerms{
		Version: e.Version, Closed: e.Closed, Cancelled: e.Cancelled, Currency: e.Currency, MaxPerOrder: e.MaxPerOrder,
		OnSaleMillis: e.OnSaleMillis, OffSaleMillis: e.OffSaleMillis, OrderHashes: orderHashes,
		MaxPerCustomer: e.MaxPerCustomer, NoOrphans: e.NoOrphans, LateMillis: e.LateApprovalMillis,
	}.String()
	fields[AboutField(eventID)] = about.String()
	return fields
}

// DecodeEvent makes an event that is there of its terms, of what is about it, and of its sections and their places, in the
// order of the names in that.
func DecodeEvent(terms EventTerms, about EventAbout, sections, places []string) (domain.Event, error) {
	e := domain.Event{
		Name: about.Name, Currency: terms.Currency, MaxPerOrder: terms.MaxPerOrder, MaxPerCustomer: terms.MaxPerCustomer, OnSaleMillis: terms.OnSaleMillis, OffSaleMillis: terms.OffSaleMillis,
		NoOrphans: terms.NoOrphans, LateApprovalMillis: terms.LateMillis, Closed: terms.Closed, Cancelled: terms.Cancelled, Cause: about.Cause, Fingerprint: about.Fingerprint, Version: terms.Version,
	}
	for i, value := range sections {
		s, err := DecodeSection(about.Sections[i], about.Layout(i), value)
		if err != nil {
			return domain.Event{}, err
		}
		if s.Places = places[i]; s.Seated() != (s.Places != "") {
			return domain.Event{}, damaged("places of section "+s.Name, s.Places)
		}
		e.Sections = append(e.Sections, s)
	}
	return e, nil
}
