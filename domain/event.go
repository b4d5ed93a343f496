package domain

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
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
	Name     string `json:"section"` // or its places of an allocation: PoolOf
	Price    int64  `json:"price"`   // minor units
	Capacity int64  `json:"capacity"`
	Layout   string `json:"layout,omitempty"`  // its rows and seats (seats.Parse), if it is seated
	Mark     string `json:"mark,omitempty"`    // of seats of an allocation: what free ones are (seats.FreeMark)
	Blocked  int64  `json:"blocked,omitempty"` // of a counted section: how many of the places are not for sale
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
	Allocations   []Allocation   `json:"allocations,omitempty"`
	Moves         []SeatMove     `json:"moves,omitempty"` // what becomes of seats, when it is adjusted
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
	if err := t.validateAllocations(); err != nil {
		return err
	}
	var worth, seated, said int64
	seen := make(map[string]bool, len(t.Sections))
	for i, s := range t.Sections {
		switch {
		case !validPool(s.Name):
			return fmt.Errorf("section %q: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", s.Name, MaxIDLength)
		case seen[s.Name]:
			return fmt.Errorf("section %q: named twice", s.Name)
		case s.Capacity < 0 || s.Capacity > MaxCapacity:
			return fmt.Errorf("section %q: capacity: want 0 to %d", s.Name, MaxCapacity)
		case s.Blocked < 0 || s.Blocked > s.Capacity:
			return fmt.Errorf("section %q: blocked: want 0 to its capacity, %d", s.Name, s.Capacity)
		case s.Blocked > 0 && s.Seated():
			return fmt.Errorf("section %q: blocked: its seats say that", s.Name)
		case s.Price < 0 || s.Price > MaxAmount:
			return fmt.Errorf("section %q: price: want 0 to %d minor units", s.Name, int64(MaxAmount))
		case s.Capacity > 0 && s.Price > (MaxAmount-worth)/s.Capacity:
			return fmt.Errorf("section %q: price times capacity is too large to be counted exactly", s.Name)
		}
		if s.Layout != "" {
			if said += int64(len(s.Layout)); said > MaxLayoutBytes {
				return fmt.Errorf("section %q: layout: want at most %d bytes, of all sections together", s.Name, MaxLayoutBytes)
			}
			n, err := t.checkLayout(s, seats.MaxSeats-seated)
			if err != nil {
				return fmt.Errorf("section %q: %w", s.Name, err)
			}
			seated += n
		}
		if _, is := allocated(s.Name); is {
			if err := t.validatePool(i); err != nil {
				return err
			}
		} else if s.Mark != "" {
			return fmt.Errorf("section %q: mark: only of an allocation", s.Name)
		}
		worth += s.Price * s.Capacity
		seen[s.Name] = true
	}
	return nil
}

// Seated reports whether the places are named seats.
func (s SectionTerms) Seated() bool { return s.Layout != "" || s.Mark != "" }

// validPool reports whether a name can be that of a section, or of its places of an allocation.
func validPool(name string) bool {
	section, allocation := SplitPool(name)
	return ValidID(section) && ValidID(allocation)
}

// checkLayout returns how many seats a section has, which may be so many; or what is wrong with its layout. They are shared out among its
// allocations.
func (t Terms) checkLayout(s SectionTerms, most int64) (seated int64, err error) {
	layout, err := seats.Parse(s.Layout)
	if err != nil {
		return 0, fmt.Errorf("layout: %w", err)
	}
	capacity := int64(0)
	for _, pool := range t.Sections {
		if section, _ := SplitPool(pool.Name); section == s.Name {
			capacity += pool.Capacity
		}
	}
	switch n := int64(layout.Seats()); {
	case layout.String() != s.Layout: // the same seats are the same terms
		return 0, errors.New("layout: want it as seats.Layout.String says it")
	case n > most:
		return 0, fmt.Errorf("layout: more than %d seats in the event", seats.MaxSeats)
	case capacity != n:
		return 0, fmt.Errorf("capacity: want %d, the seats of its layout", n)
	default:
		return n, nil
	}
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
	for _, s := range t.Sections {
		if s.Mark != "" || s.Blocked > 0 {
			said = append(said, "of "+s.Name, s.Mark, strconv.FormatInt(s.Blocked, 10))
		}
	}
	for _, a := range t.Allocations {
		said = append(said, "allocation "+a.Name, strconv.FormatInt(a.OnSaleMillis, 10), strconv.FormatInt(a.OffSaleMillis, 10))
		for _, c := range a.Codes {
			said = append(said, c.Hash, strconv.FormatInt(c.Uses, 10), strconv.FormatBool(c.Revoked))
		}
	}
	return Fingerprint(said...)
}

// Section is the terms of one section, or of its places of an allocation (PoolOf), and where they are now:
// Available + Held + Sold + Blocked == Capacity, always.
type Section struct {
	Name      string
	Price     int64
	Capacity  int64
	Available int64
	Held      int64
	Sold      int64
	Blocked   int64  // not for sale
	Layout    string // as SectionTerms has it: never changes
	Places    string // of a seated section, what each seat is (package seats), of all its allocations
	Mark      byte   // of seats of an allocation: what free ones are in the section's places; 0 of all others
}

// addSection adds one that was just listed. Seats of its allocations come behind it.
func (e *Event) addSection(t SectionTerms) error {
	s := Section{Name: t.Name, Price: t.Price, Capacity: t.Capacity, Available: t.Capacity - t.Blocked, Blocked: t.Blocked, Layout: t.Layout}
	if !t.Seated() {
		e.Sections = append(e.Sections, s)
		return nil
	}
	if t.Mark != "" {
		s.Mark, s.Capacity, s.Available = t.Mark[0], 0, 0
		i := e.sectionIndex(s.section())
		if i < 0 {
			return fmt.Errorf("section %s: there is no section %s", s.Name, s.section())
		}
		of := &e.Sections[i]
		counts := marksIn(of.Places)
		s.Available, s.Blocked = counts[s.Mark], counts[seats.BlockedMark(seats.AllocationOf(s.Mark))]
		s.Capacity = s.Available + s.Blocked
		of.Available, of.Blocked, of.Capacity = of.Available-s.Available, of.Blocked-s.Blocked, of.Capacity-s.Capacity
		e.Sections = append(e.Sections, s)
		return nil
	}
	layout, err := seats.Parse(t.Layout)
	if err != nil {
		return fmt.Errorf("section %s: layout: %w", t.Name, err)
	}
	s.Places = layout.Places()
	counted := seats.Count(s.Places)
	s.Capacity, s.Available, s.Blocked = int64(layout.Seats()), counted[seats.StateFree], counted[seats.StateBlocked]
	e.Sections = append(e.Sections, s)
	return nil
}

// section is the name of the section that the places are of.
func (s Section) section() string {
	name, _ := SplitPool(s.Name)
	return name
}

// Seated reports whether the places are named seats.
func (s Section) Seated() bool { return s.Layout != "" || s.Mark != 0 }

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
	Over          string // id of the log entry since which it is forgotten: nothing else is known of it then; empty as long as it is not
	Sections      []Section
	Allocations   []Allocation
}

// Exists reports whether the event exists: one that was forgotten does not.
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
		Sections: make([]SectionTerms, len(e.Sections)), Allocations: unused(e.Allocations),
	}
	for i, s := range e.Sections {
		t.Sections[i] = SectionTerms{Name: s.Name, Price: s.Price, Capacity: s.Capacity, Layout: s.Layout}
		if s.Mark != 0 {
			t.Sections[i].Mark = string(s.Mark)
		} else if !s.Seated() {
			t.Sections[i].Blocked = s.Blocked
		}
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
		if err := e.checkPlaces(s); err != nil {
			return fmt.Errorf("section %s: %w: %w", s.Name, ErrNotConserved, err)
		}
	}
	return nil
}

// checkCounts is CheckConservation without a look at each seat.
func (e Event) checkCounts() error {
	for _, s := range e.Sections {
		if s.Available < 0 || s.Held < 0 || s.Sold < 0 || s.Blocked < 0 || s.Available+s.Held+s.Sold+s.Blocked != s.Capacity {
			return fmt.Errorf("section %s: %w: available %d + held %d + sold %d + blocked %d, capacity %d",
				s.Name, ErrNotConserved, s.Available, s.Held, s.Sold, s.Blocked, s.Capacity)
		}
	}
	return nil
}

// checkPlaces returns how what is counted of a section differs from what each seat is, allocation by allocation, nil if it does not.
// Whose a seat is that is held or sold, its order says.
func (e Event) checkPlaces(s Section) error {
	if s.Layout == "" {
		return nil
	}
	layout, err := seats.Parse(s.Layout)
	if err == nil {
		err = layout.CheckPlaces(s.Places, len(e.SeatAllocations(s.Name)))
	}
	if err != nil {
		return err
	}
	// By pool; those that are held or sold under no name.
	says, is := make(map[string]*[seats.StateBlocked + 1]int64), make(map[string]*[seats.StateBlocked + 1]int64)
	for _, name := range append(e.pools(s.Name), "") {
		says[name], is[name] = new([seats.StateBlocked + 1]int64), new([seats.StateBlocked + 1]int64)
	}
	for _, name := range e.pools(s.Name) {
		pool, _ := e.Section(name)
		says[name][seats.StateFree], says[name][seats.StateBlocked] = pool.Available, pool.Blocked
		says[""][seats.StateHeld] += pool.Held
		says[""][seats.StateSold] += pool.Sold
	}
	for i := range len(s.Places) {
		state, ok := seats.StateOf(s.Places[i])
		if !ok {
			continue
		}
		name := ""
		if state == seats.StateFree || state == seats.StateBlocked {
			name = e.Sections[e.poolOfMark(s.Name, s.Places[i])].Name
		}
		is[name][state]++
	}
	for _, name := range slices.Sorted(maps.Keys(says)) {
		for state, n := range says[name] {
			if is[name][state] != n {
				return fmt.Errorf("%s: %d seats are %s, counted are %d", cmp.Or(name, s.Name), is[name][state], seats.State(state), n) //nolint:gosec // a state
			}
		}
	}
	return nil
}

// pools are the names of a section's pools, which begin with its own.
func (e Event) pools(section string) (names []string) {
	for _, s := range e.Sections {
		if s.section() == section {
			names = append(names, s.Name)
		}
	}
	return names
}

// ErrSeat says that a seat was not what it must have been: free before it is held, held before it is sold, nobody's when it is given back
// (invariant I2).
var ErrSeat = errors.New("a seat is not as expected")

// moveItem moves the seats of an item. It has some exactly if the section has.
func (e Event) moveItem(pool Section, item Item, by Effect) error {
	if pool.Seated() != (item.Places != "") || pool.Mark != item.Mark {
		return fmt.Errorf("%w: places %q of a section with the layout %q, of marks %q and %q", ErrSeat, item.Places, pool.Layout, item.Mark, pool.Mark)
	}
	if !pool.Seated() {
		return nil
	}
	s := &e.Sections[e.sectionIndex(pool.section())]
	places, err := seats.ParsePlaces(item.Places)
	if err != nil || int64(len(places)) != item.Quantity {
		return fmt.Errorf("%w: %d at places %q", ErrSeat, item.Quantity, item.Places)
	}
	from, to := by.Marks(item.Free())
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

// move returns the event with places moved, and the use of an access code; the original is left alone.
func (e Event) move(by Effect) (Event, error) {
	moved := e
	if by.Code != "" {
		var err error
		if moved, err = e.use(by.Code, by.Uses); err != nil {
			return e, err
		}
	}
	moved.Sections = slices.Clone(e.Sections)
	for _, by := range by.Each() { // what is taken must be there before anything is given
		for item := range by.Items.All() {
			i := e.sectionIndex(item.Section)
			if i < 0 {
				return e, fmt.Errorf("no section %q", item.Section)
			}
			s := &moved.Sections[i]
			if err := moved.moveItem(*s, item, by); err != nil {
				return e, fmt.Errorf("section %s: %w", s.Name, err)
			}
			s.Available += by.Available * item.Quantity
			s.Held += by.Held * item.Quantity
			s.Sold += by.Sold * item.Quantity
		}
	}
	return moved, nil
}
