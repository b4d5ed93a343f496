package domain

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/domain/seats"
)

// Limits of an event. Within them every sum fits a float64 exactly,
// and every script's argument list stays far below Lua's stack.
const (
	MaxSections   = 200
	MaxCapacity   = 100_000_000
	MaxQuantity   = 1_000_000
	MaxNameLength = 256 // bytes of an event's display name
	MaxCauseBytes = 512 // of each part of a Cause

	// MaxLayoutBytes is how long the layouts of an event are, all together.
	MaxLayoutBytes = 1 << 20
	// MaxLateApproval bounds Terms.LateApprovalMillis: so long nobody knows what becomes of an order, and of the money that is reserved for it.
	MaxLateApproval = 24 * time.Hour

	// MaxItemSeats is how many seats an item has at most: to look for them takes Redis longer than to count places.
	MaxItemSeats = 100

	// DefaultSection is the section of an event that names none.
	DefaultSection = "general"
)

// SectionTerms is what is offered in one section.
type SectionTerms struct {
	Name     string `json:"section"`
	Price    int64  `json:"price"` // minor units
	Capacity int64  `json:"capacity"`
	Layout   string `json:"layout,omitempty"` // its rows and seats (seats.Parse), if it is seated; Capacity is how many
}

// Terms is what an organiser says about an event.
type Terms struct {
	Name           string `json:"name"`
	Currency       string `json:"currency"`
	MaxPerOrder    int64  `json:"max_per_order,omitempty"`    // 0: no limit
	MaxPerCustomer int64  `json:"max_per_customer,omitempty"` // held and sold, of all their orders; 0: no limit
	// LateApprovalMillis is for how long after its deadline an order still gets its places when its payment is approved, if they are free; 0: not at all.
	LateApprovalMillis int64 `json:"late_approval,omitempty"`

	NoOrphans     bool           `json:"no_orphans,omitempty"` // named seats must leave no single seat alone
	OnSaleMillis  int64          `json:"on_sale,omitempty"`    // 0: at once
	OffSaleMillis int64          `json:"off_sale,omitempty"`   // 0: never
	Sections      []SectionTerms `json:"sections"`
}

// Validate returns the first thing that is wrong, of ClassReject.
func (t Terms) Validate() error { return WithCode(ClassReject, CodeInvalid, t.validate()) }

func (t Terms) validate() error {
	switch {
	case t.Name == "" || len(t.Name) > MaxNameLength:
		return fmt.Errorf("name: want 1 to %d bytes", MaxNameLength)
	case !printable(t.Name):
		return errors.New("name: want printable UTF-8")
	case !ValidCurrency(t.Currency):
		return fmt.Errorf("currency %q: want an ISO 4217 code such as EUR", t.Currency)
	case t.MaxPerOrder < 0 || t.MaxPerOrder > MaxQuantity:
		return fmt.Errorf("max_per_order: want 0 (no limit) to %d", MaxQuantity)
	case t.MaxPerCustomer < 0 || t.MaxPerCustomer > MaxQuantity:
		return fmt.Errorf("max_per_customer: want 0 (no limit) to %d", MaxQuantity)
	case t.LateApprovalMillis < 0 || t.LateApprovalMillis > MaxLateApproval.Milliseconds():
		return fmt.Errorf("late_approval: want 0 (not at all) to %d milliseconds", MaxLateApproval.Milliseconds())
	case t.OnSaleMillis < 0 || t.OffSaleMillis < 0:
		return errors.New("on_sale, off_sale: before 1970")
	case t.OnSaleMillis > maxMillis || t.OffSaleMillis > maxMillis:
		return errors.New("on_sale, off_sale: too far ahead")
	case t.OffSaleMillis != 0 && t.OffSaleMillis <= t.OnSaleMillis:
		return errors.New("off_sale: must be after on_sale")
	case len(t.Sections) == 0 || len(t.Sections) > MaxSections:
		return fmt.Errorf("sections: want 1 to %d", MaxSections)
	}
	var worth, seated, said int64
	seen := make(map[string]bool, len(t.Sections))
	for _, s := range t.Sections {
		switch {
		case !ValidID(s.Name):
			return fmt.Errorf("section %q: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", s.Name, MaxIDLength)
		case seen[s.Name]:
			return fmt.Errorf("section %q: named twice", s.Name)
		case s.Capacity < 0 || s.Capacity > MaxCapacity:
			return fmt.Errorf("section %q: capacity: want 0 to %d", s.Name, MaxCapacity)
		case s.Price < 0 || s.Price > MaxAmount:
			return fmt.Errorf("section %q: price: want 0 to %d minor units", s.Name, int64(MaxAmount))
		case s.Capacity > 0 && s.Price > (MaxAmount-worth)/s.Capacity:
			return fmt.Errorf("section %q: price times capacity is too large to be counted exactly", s.Name)
		}
		if s.Layout != "" {
			if said += int64(len(s.Layout)); said > MaxLayoutBytes {
				return fmt.Errorf("section %q: layout: want at most %d bytes, of all sections together", s.Name, MaxLayoutBytes)
			}
			if err := s.checkLayout(seats.MaxSeats - seated); err != nil {
				return fmt.Errorf("section %q: %w", s.Name, err)
			}
			seated += s.Capacity
		}
		worth += s.Price * s.Capacity
		seen[s.Name] = true
	}
	return nil
}

// checkLayout returns what is wrong with a layout that may have so many seats, nil if nothing is.
func (s SectionTerms) checkLayout(most int64) error {
	layout, err := seats.Parse(s.Layout)
	if err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	switch n := int64(layout.Seats()); {
	case layout.String() != s.Layout: // the same seats are the same terms
		return errors.New("layout: want it as seats.Layout.String says it")
	case n > most:
		return fmt.Errorf("layout: more than %d seats in the event", seats.MaxSeats)
	case s.Capacity != n:
		return fmt.Errorf("capacity: want %d, the seats of its layout", n)
	}
	return nil
}

// printable reports whether a text for people breaks no line and moves no cursor.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd })
}

// Cause is why an event was closed, reopened or cancelled, and who asked for it: for
// people. Either may be empty, but for a cancelled event.
type Cause struct {
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
}

// Validate returns the first thing that is wrong, of ClassReject.
func (c Cause) Validate() error {
	for _, part := range []struct{ name, text string }{{"reason", c.Reason}, {"by", c.By}} {
		switch {
		case len(part.text) > MaxCauseBytes:
			return WithCode(ClassReject, CodeInvalid, fmt.Errorf("%s: want at most %d bytes", part.name, MaxCauseBytes))
		case !printable(part.text):
			return WithCode(ClassReject, CodeInvalid, fmt.Errorf("%s: want printable UTF-8", part.name))
		}
	}
	return nil
}

// maxMillis is the year 9999, in milliseconds: later times are typing errors.
const maxMillis = 253402300799000

// Fingerprint identifies the content: equal terms, equal fingerprint.
func (t Terms) Fingerprint() string {
	said := []string{
		t.Name, t.Currency, strconv.FormatInt(t.MaxPerOrder, 10),
		strconv.FormatInt(t.OnSaleMillis, 10), strconv.FormatInt(t.OffSaleMillis, 10),
	}
	for _, s := range t.Sections {
		said = append(said, s.Name, strconv.FormatInt(s.Price, 10), strconv.FormatInt(s.Capacity, 10))
	}
	// What follows is said only where it is so: else the fingerprint is the one that it was before there was such a thing.
	if t.MaxPerCustomer > 0 {
		said = append(said, strconv.FormatInt(t.MaxPerCustomer, 10))
	}
	for _, s := range t.Sections {
		if s.Layout != "" {
			said = append(said, "layout of "+s.Name, s.Layout)
		}
	}
	if t.NoOrphans {
		said = append(said, "no orphans")
	}
	if t.LateApprovalMillis > 0 {
		said = append(said, "late approval", strconv.FormatInt(t.LateApprovalMillis, 10))
	}
	return Fingerprint(said...)
}

// Section is one section's terms and where its units are now:
// Available + Held + Sold + Blocked() == Capacity, always.
type Section struct {
	Name      string
	Price     int64
	Capacity  int64
	Available int64 // of a seated section, for whomever: of all its allocations
	Held      int64
	Sold      int64
	Layout    string // as SectionTerms has it: never changes
	Places    string // of a seated section, what each seat is (package seats)
}

// newSection is one that was just listed.
func newSection(t SectionTerms) (Section, error) {
	s := Section{Name: t.Name, Price: t.Price, Capacity: t.Capacity, Available: t.Capacity, Layout: t.Layout}
	if t.Layout == "" {
		return s, nil
	}
	layout, err := seats.Parse(t.Layout)
	if err != nil {
		return s, fmt.Errorf("section %s: layout: %w", t.Name, err)
	}
	if int64(layout.Seats()) != t.Capacity {
		return s, fmt.Errorf("section %s: its layout has %d seats, its capacity is %d", t.Name, layout.Seats(), t.Capacity)
	}
	s.Places = layout.Places()
	s.Available = seats.Count(s.Places)[seats.StateFree]
	return s, nil
}

// Seated reports whether the section's places are named seats.
func (s Section) Seated() bool { return s.Layout != "" }

// Blocked is how many seats are not for sale.
func (s Section) Blocked() int64 {
	if !s.Seated() {
		return 0
	}
	return s.Capacity - s.Available - s.Held - s.Sold
}

// Event is the inventory of one event. Its zero value is one that does not exist.
type Event struct {
	Name           string
	Currency       string
	MaxPerOrder    int64
	MaxPerCustomer int64 // whether there is one never changes: customers' places are only counted where there is
	NoOrphans      bool
	// LateApprovalMillis is as Terms has it.
	LateApprovalMillis int64

	OnSaleMillis  int64
	OffSaleMillis int64
	Closed        bool
	Cancelled     bool   // closed, and its orders are cancelled
	Cause         Cause  // while it is closed
	Fingerprint   string // of the terms it was created with; only programs that know no FactReopened ask for it
	Version       int64  // 1 when created, one more with every fact about it
	Sections      []Section
}

// Exists reports whether the event exists.
func (e Event) Exists() bool { return e.Currency != "" }

// Section returns the named section; ok is false if the event has none of that name.
func (e Event) Section(name string) (s Section, ok bool) {
	if i := e.sectionIndex(name); i >= 0 {
		return e.Sections[i], true
	}
	return Section{}, false
}

func (e Event) sectionIndex(name string) int {
	return slices.IndexFunc(e.Sections, func(s Section) bool { return s.Name == name })
}

// OnSaleAt reports whether requests are accepted at that time.
func (e Event) OnSaleAt(nowMillis int64) bool {
	return !e.Closed && nowMillis >= e.OnSaleMillis && (e.OffSaleMillis == 0 || nowMillis < e.OffSaleMillis)
}

// Terms is what the event offers now.
func (e Event) Terms() Terms {
	t := Terms{
		Name: e.Name, Currency: e.Currency, MaxPerOrder: e.MaxPerOrder, MaxPerCustomer: e.MaxPerCustomer,
		NoOrphans: e.NoOrphans, LateApprovalMillis: e.LateApprovalMillis, OnSaleMillis: e.OnSaleMillis, OffSaleMillis: e.OffSaleMillis,
		Sections: make([]SectionTerms, len(e.Sections)),
	}
	for i, s := range e.Sections {
		t.Sections[i] = SectionTerms{Name: s.Name, Price: s.Price, Capacity: s.Capacity, Layout: s.Layout}
	}
	return t
}

// ErrNotConserved says that units of a section appeared or vanished.
var ErrNotConserved = errors.New("inventory is not conserved")

// CheckConservation returns what is wrong with the inventory, nil if nothing is (invariant I1).
func (e Event) CheckConservation() error {
	if err := e.checkCounts(); err != nil {
		return err
	}
	for _, s := range e.Sections {
		if err := s.checkPlaces(); err != nil {
			return fmt.Errorf("section %s: %w: %w", s.Name, ErrNotConserved, err)
		}
	}
	return nil
}

// checkCounts is CheckConservation without a look at each seat.
func (e Event) checkCounts() error {
	for _, s := range e.Sections {
		if blocked := s.Blocked(); s.Available < 0 || s.Held < 0 || s.Sold < 0 || blocked < 0 || s.Available+s.Held+s.Sold+blocked != s.Capacity {
			return fmt.Errorf("section %s: %w: available %d + held %d + sold %d + blocked %d, capacity %d",
				s.Name, ErrNotConserved, s.Available, s.Held, s.Sold, blocked, s.Capacity)
		}
	}
	return nil
}

// checkPlaces returns how what is counted differs from what each seat is, nil if it does not.
func (s Section) checkPlaces() error {
	if !s.Seated() {
		return nil
	}
	layout, err := seats.Parse(s.Layout)
	if err == nil {
		err = layout.CheckPlaces(s.Places)
	}
	if err != nil {
		return err
	}
	counted := seats.Count(s.Places)
	for _, of := range []struct {
		state seats.State
		says  int64
	}{{seats.StateFree, s.Available}, {seats.StateHeld, s.Held}, {seats.StateSold, s.Sold}} {
		if counted[of.state] != of.says {
			return fmt.Errorf("%d seats are %s, counted are %d", counted[of.state], of.state, of.says)
		}
	}
	return nil
}

// ErrSeat says that a seat was not what it must have been: free before it is held, held before it is sold, nobody's when it is given back
// (invariant I2).
var ErrSeat = errors.New("a seat is not as expected")

// move moves the seats of an item. It has some exactly if the section has.
func (s *Section) move(item Item, by Effect) error {
	if s.Seated() != (item.Places != "") {
		return fmt.Errorf("%w: places %q of a section with the layout %q", ErrSeat, item.Places, s.Layout)
	}
	if !s.Seated() {
		return nil
	}
	places, err := seats.ParsePlaces(item.Places)
	if err != nil || int64(len(places)) != item.Quantity {
		return fmt.Errorf("%w: %d at places %q", ErrSeat, item.Quantity, item.Places)
	}
	from, to := by.Marks()
	if s.Places, err = seats.Change(s.Places, places, from, to); err != nil {
		return fmt.Errorf("%w: %w (of %s)", ErrSeat, err, s.seatNames(item.Places))
	}
	return nil
}

// seatNames are the names of seats, for people; as they are said, if they have none.
func (s *Section) seatNames(places string) string {
	if layout, err := seats.Parse(s.Layout); err == nil {
		if names, err := layout.Names(places); err == nil {
			return strings.Join(names, ",")
		}
	}
	return places
}

// move returns the event with places moved; the original is left alone.
func (e Event) move(by Effect) (Event, error) {
	moved := e
	moved.Sections = slices.Clone(e.Sections)
	for _, by := range by.Each() { // what is taken must be there before anything is given
		for item := range by.Items.All() {
			i := e.sectionIndex(item.Section)
			if i < 0 {
				return e, fmt.Errorf("no section %q", item.Section)
			}
			s := &moved.Sections[i]
			if err := s.move(item, by); err != nil {
				return e, fmt.Errorf("section %s: %w", s.Name, err)
			}
			s.Available += by.Available * item.Quantity
			s.Held += by.Held * item.Quantity
			s.Sold += by.Sold * item.Quantity
		}
	}
	return moved, nil
}
