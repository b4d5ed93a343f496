package layout

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
	"holdfast/domain/seats"
)

// An event is several fields of the hash Events. What scripts read or change are values between bars:
//
//	TermsField    version|o (on sale), c (closed) or x (cancelled)|currency|max_per_order|on_sale|off_sale|hashes of orders;
//	              behind max_per_order, if there is one: :max_per_customer; behind that, if no seat may be left alone: !; behind that,
//	              if late approvals are honoured: ~ and for how many milliseconds
//	              of one that was forgotten: version|f|id of the log entry that says so, and there is no other field of it
//	SectionField  price|capacity|available|held|sold; behind that, of a counted section with blocked places: !blocked; of a seated one:
//	              |TagOf its layout, or, of its places of an allocation, |their mark; of places of an allocation: ~on_sale~off_sale
//	CodeField     allocation|o (opens it) or x (revoked)|uses|used
//	SalesField    orders|tickets|revenue
//	RefusedField  places
//	AboutField    JSON: name, sections in their order, their layouts and marks, allocations, fingerprint, cause
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
	LateMillis        int64  // domain.Terms.LateApprovalMillis
	Over              string // domain.Event.Over; then there is but that, and the version
}

// The letters of an event's state.
const (
	letterOnSale    = "o"
	letterClosed    = "c"
	letterCancelled = "x"
	letterForgotten = "f"
)

// String is the value.
func (t EventTerms) String() string {
	state := letterOnSale
	switch {
	case t.Over != "":
		return strconv.FormatInt(t.Version, 10) + "|" + letterForgotten + "|" + t.Over
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
	if len(v) == 3 && v[1] == letterForgotten {
		n := numbers{}
		t := EventTerms{Version: n.parse(v[0]), Over: v[2]}
		if n.err != nil || t.Version == 0 || domain.EntryMillis(t.Over) == 0 {
			return EventTerms{}, damaged("event", value)
		}
		return t, nil
	}
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

	Marks       map[string]string   `json:"marks,omitempty"` // of seats of allocations, by section
	Allocations []domain.Allocation `json:"allocations,omitempty"`
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

// Tail is what stands behind the numbers of a section: what no order changes.
func Tail(s domain.Section, e domain.Event) string {
	var b []byte
	if s.Blocked > 0 && !s.Seated() {
		b = strconv.AppendInt(append(b, '!'), s.Blocked, 10)
	}
	switch {
	case s.Mark != 0:
		b = append(b, '|', s.Mark)
	case s.Seated():
		b = append(append(b, '|'), TagOf(s.Layout)...)
	}
	if _, name := domain.SplitPool(s.Name); name != seats.Public {
		a, _ := e.Allocation(name)
		b = strconv.AppendInt(append(b, '~'), a.OnSaleMillis, 10)
		b = strconv.AppendInt(append(b, '~'), a.OffSaleMillis, 10)
	}
	return string(b)
}

// CodeState is an access code as CodeField begins with it: all but how many orders use it.
func CodeState(allocation string, c domain.AccessCode) string {
	state := letterOpen
	if c.Revoked {
		state = letterRevoked
	}
	return allocation + "|" + state + "|" + strconv.FormatInt(c.Uses, 10)
}

// The letters of an access code's state.
const (
	letterOpen    = "o"
	letterRevoked = "x"
)

// EncodeSection is SectionField.
func EncodeSection(s domain.Section, e domain.Event) string {
	b := make([]byte, 0, 40)
	for i, n := range []int64{s.Price, s.Capacity, s.Available, s.Held, s.Sold} {
		if i > 0 {
			b = append(b, '|')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return string(b) + Tail(s, e)
}

// DecodeSection reads the SectionField of a section that has this layout, or mark, and else none, of an event that has these allocations.
func DecodeSection(s domain.Section, e domain.Event, value string) (domain.Section, error) {
	n := numbers{}
	v := strings.SplitN(value, "|", 5)
	if len(v) < 5 {
		return s, damaged("section "+s.Name, value)
	}
	sold := len(v[4]) - len(strings.TrimLeft(v[4], "0123456789"))
	s.Price, s.Capacity, s.Available, s.Held, s.Sold = n.parse(v[0]), n.parse(v[1]), n.parse(v[2]), n.parse(v[3]), n.parse(v[4][:sold])
	if tail := v[4][sold:]; s.Seated() {
		s.Blocked = s.Capacity - s.Available - s.Held - s.Sold
	} else if blocked, is := strings.CutPrefix(tail, "!"); is {
		blocked, _, _ = strings.Cut(blocked, "~")
		s.Blocked = n.parse(blocked)
	}
	if n.err != nil || v[4][sold:] != Tail(s, e) {
		return s, damaged("section "+s.Name, value)
	}
	return s, nil
}

// EncodePlaces are an event's fields of the hash Places.
func EncodePlaces(eventID string, e domain.Event) map[string]string {
	fields := make(map[string]string)
	for _, s := range e.Sections {
		if s.Layout != "" {
			fields[SectionField(eventID, s.Name)] = s.Places
		}
	}
	return fields
}

// EncodeEvent are an event's fields of the hash Events, but for its sales.
func EncodeEvent(eventID string, e domain.Event, orderHashes int) map[string]string {
	if e.Over != "" {
		return map[string]string{TermsField(eventID): EventTerms{Version: e.Version, Over: e.Over}.String()}
	}
	about := EventAbout{Name: e.Name, Fingerprint: e.Fingerprint, Cause: e.Cause, Allocations: e.Allocations}
	fields := make(map[string]string, 2+len(e.Sections))
	for i, s := range e.Sections {
		about.Sections = append(about.Sections, s.Name)
		if s.Seated() && about.Layouts == nil {
			about.Layouts = make([]string, len(e.Sections))
		}
		if s.Seated() {
			about.Layouts[i] = s.Layout
		}
		if s.Mark != 0 && about.Marks == nil {
			about.Marks = make(map[string]string)
		}
		if s.Mark != 0 {
			about.Marks[s.Name] = string(s.Mark)
		}
		fields[SectionField(eventID, s.Name)] = EncodeSection(s, e)
	}
	for _, a := range e.Allocations {
		for _, c := range a.Codes {
			fields[CodeField(eventID, c.Hash)] = CodeState(a.Name, c) + "|" + strconv.FormatInt(c.Used, 10)
		}
	}
	fields[TermsField(eventID)] = EventTerms{
		Version: e.Version, Closed: e.Closed, Cancelled: e.Cancelled, Currency: e.Currency, MaxPerOrder: e.MaxPerOrder,
		OnSaleMillis: e.OnSaleMillis, OffSaleMillis: e.OffSaleMillis, OrderHashes: orderHashes,
		MaxPerCustomer: e.MaxPerCustomer, NoOrphans: e.NoOrphans, LateMillis: e.LateApprovalMillis,
	}.String()
	fields[AboutField(eventID)] = about.String()
	return fields
}

// CodeHashes are those of all access codes, in their order.
func (a EventAbout) CodeHashes() (hashes []string) {
	for _, allocation := range a.Allocations {
		for _, c := range allocation.Codes {
			hashes = append(hashes, c.Hash)
		}
	}
	return hashes
}

// DecodeEvent makes an event that is there of its terms, of what is about it, and of its sections and their places, in the
// order of the names in that, and of its access codes.
func DecodeEvent(terms EventTerms, about EventAbout, sections, places, codes []string) (domain.Event, error) {
	e := domain.Event{
		Name: about.Name, Currency: terms.Currency, MaxPerOrder: terms.MaxPerOrder, MaxPerCustomer: terms.MaxPerCustomer, OnSaleMillis: terms.OnSaleMillis, OffSaleMillis: terms.OffSaleMillis,
		NoOrphans: terms.NoOrphans, LateApprovalMillis: terms.LateMillis, Closed: terms.Closed, Cancelled: terms.Cancelled, Cause: about.Cause, Fingerprint: about.Fingerprint, Version: terms.Version,
		Allocations: about.Allocations,
	}
	n := 0
	for _, a := range e.Allocations {
		for i := range a.Codes {
			used, is := strings.CutPrefix(codes[n], CodeState(a.Name, a.Codes[i])+"|")
			numbers := numbers{}
			if a.Codes[i].Used = numbers.parse(used); !is || numbers.err != nil {
				return domain.Event{}, damaged("access code", codes[n])
			}
			n++
		}
	}
	for i, value := range sections {
		is := domain.Section{Name: about.Sections[i], Layout: about.Layout(i)}
		if mark := about.Marks[is.Name]; len(mark) == 1 {
			is.Mark = mark[0]
		}
		s, err := DecodeSection(is, e, value)
		if err != nil {
			return domain.Event{}, err
		}
		if s.Places = places[i]; (s.Layout != "") != (s.Places != "") {
			return domain.Event{}, damaged("places of section "+s.Name, s.Places)
		}
		e.Sections = append(e.Sections, s)
	}
	return e, nil
}
