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
//	              behind max_per_order, if there is one: :max_per_customer
//	SectionField  price|capacity|available|held|sold
//	SalesField    orders|tickets|revenue
//	RefusedField  places
//	AboutField    JSON: name, sections in their order, fingerprint, cause

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
	return fmt.Sprintf("%d|%s|%s|%s|%d|%d|%d", t.Version, state, t.Currency, limits, t.OnSaleMillis, t.OffSaleMillis, t.OrderHashes)
}

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
	perOrder, perCustomer, limited := strings.Cut(v[3], ":")
	t := EventTerms{
		Version: n.parse(v[0]), Closed: v[1] != letterOnSale, Cancelled: v[1] == letterCancelled, Currency: v[2],
		MaxPerOrder: n.parse(perOrder), OnSaleMillis: n.parse(v[4]), OffSaleMillis: n.parse(v[5]), OrderHashes: int(n.parse(v[6])),
	}
	if limited {
		t.MaxPerCustomer = n.parse(perCustomer)
	}
	if n.err != nil || limited != (t.MaxPerCustomer > 0) || t.Version == 0 || v[1] != letterOnSale && v[1] != letterClosed && v[1] != letterCancelled || t.OrderHashes > mostOrderHashes {
		return EventTerms{}, damaged("event", value)
	}
	return t, nil
}

// EventAbout is AboutField.
type EventAbout struct {
	Name        string   `json:"name"`
	Sections    []string `json:"sections"`
	Fingerprint string   `json:"fingerprint"` // of the terms it was created with
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
	if err := json.Unmarshal([]byte(value), &a); err != nil || len(a.Sections) == 0 {
		return EventAbout{}, damaged("event", value)
	}
	return a, nil
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
	return string(b)
}

// DecodeSection reads a SectionField.
func DecodeSection(name, value string) (domain.Section, error) {
	n, s := numbers{}, domain.Section{Name: name}
	v := strings.Split(value, "|")
	if len(v) != 5 {
		return s, damaged("section "+name, value)
	}
	s.Price, s.Capacity, s.Available, s.Held, s.Sold = n.parse(v[0]), n.parse(v[1]), n.parse(v[2]), n.parse(v[3]), n.parse(v[4])
	if n.err != nil {
		return s, damaged("section "+name, value)
	}
	return s, nil
}

// EncodeEvent are an event's fields of the hash Events, but for its sales.
func EncodeEvent(eventID string, e domain.Event, orderHashes int) map[string]string {
	about := EventAbout{Name: e.Name, Fingerprint: e.Fingerprint, Cause: e.Cause}
	fields := make(map[string]string, 2+len(e.Sections))
	for _, s := range e.Sections {
		about.Sections = append(about.Sections, s.Name)
		fields[SectionField(eventID, s.Name)] = EncodeSection(s)
	}
	fields[TermsField(eventID)] = EventTerms{
		Version: e.Version, Closed: e.Closed, Cancelled: e.Cancelled, Currency: e.Currency, MaxPerOrder: e.MaxPerOrder,
		OnSaleMillis: e.OnSaleMillis, OffSaleMillis: e.OffSaleMillis, OrderHashes: orderHashes,
		MaxPerCustomer: e.MaxPerCustomer,
	}.String()
	fields[AboutField(eventID)] = about.String()
	return fields
}

// DecodeEvent makes an event that is there of its terms, of what is about it, and of its sections, in the order of
// the names in that.
func DecodeEvent(terms EventTerms, about EventAbout, sections []string) (domain.Event, error) {
	e := domain.Event{
		Name: about.Name, Currency: terms.Currency, MaxPerOrder: terms.MaxPerOrder, MaxPerCustomer: terms.MaxPerCustomer, OnSaleMillis: terms.OnSaleMillis, OffSaleMillis: terms.OffSaleMillis,
		Closed: terms.Closed, Cancelled: terms.Cancelled, Cause: about.Cause, Fingerprint: about.Fingerprint, Version: terms.Version,
	}
	for i, value := range sections {
		s, err := DecodeSection(about.Sections[i], value)
		if err != nil {
			return domain.Event{}, err
		}
		e.Sections = append(e.Sections, s)
	}
	return e, nil
}
