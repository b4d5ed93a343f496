package domain

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/domain/seats"
)

// Limits of allocations.
const (
	MaxAllocations  = seats.MaxAllocations // of an event, beside seats.Public
	MaxCodes        = 1000                 // access codes of an event, those that are revoked among them
	MaxAccessCode   = 128                  // bytes
	MinCodeKeyBytes = 16
	maxCodeKeys     = 2

	codeHashLength = 32 // hex digits, 128 bits
)

// allocationMark stands between the names of a section and an allocation. No name has it.
const allocationMark = "~"

// PoolOf names the places of a section that are of an allocation: general~fans. Those of seats.Public have the section's own
// name. Each pool has its numbers for itself, as if it were a section: so inventory, records and facts know nothing but pools.
func PoolOf(section, allocation string) string {
	if allocation == "" || allocation == seats.Public {
		return section
	}
	return section + allocationMark + allocation
}

// SplitPool is the inverse of PoolOf.
func SplitPool(pool string) (section, allocation string) {
	section, allocation, found := strings.Cut(pool, allocationMark)
	if !found {
		return section, seats.Public
	}
	return section, allocation
}

// allocated is the allocation of a pool that is not for everybody; ok is false for seats.Public.
func allocated(pool string) (allocation string, ok bool) {
	_, allocation, ok = strings.Cut(pool, allocationMark)
	return allocation, ok
}

// Allocation is who may take places that are not for everybody: whoever brings a code that opens it, in its own time.
type Allocation struct {
	Name          string       `json:"allocation"`
	OnSaleMillis  int64        `json:"on_sale,omitempty"`  // 0: as the event's
	OffSaleMillis int64        `json:"off_sale,omitempty"` // 0: as the event's
	Codes         []AccessCode `json:"codes,omitempty"`    // none: nobody may take of it
}

// AccessCode is one that opens an allocation. It is known by its hash only.
type AccessCode struct {
	Hash    string `json:"hash"`           // CodeKeys.Hashes
	Uses    int64  `json:"uses,omitempty"` // by so many orders at once, held or confirmed; 0: any number
	Revoked bool   `json:"revoked,omitempty"`
	Used    int64  `json:"-"` // by how many it is now
}

// opens reports whether an order may use the code now.
func (c AccessCode) opens() bool { return !c.Revoked && (c.Uses == 0 || c.Used < c.Uses) }

// onSaleAt reports whether an allocation's places are on sale at that time, of an event that is not closed.
func (a Allocation) onSaleAt(e Event, nowMillis int64) bool {
	if a.OnSaleMillis > 0 {
		e.OnSaleMillis = a.OnSaleMillis
	}
	if a.OffSaleMillis > 0 {
		e.OffSaleMillis = a.OffSaleMillis
	}
	return e.OnSaleAt(nowMillis)
}

// onSaleOf reports whether all of these places are on sale at that time.
func (e Event) onSaleOf(items Items, nowMillis int64) bool {
	for item := range items.All() {
		name, is := allocated(item.Section)
		if a, _ := e.Allocation(name); is && !a.onSaleAt(e, nowMillis) || !is && !e.OnSaleAt(nowMillis) {
			return false
		}
	}
	return true
}

// OffSaleOf is when the sale of the first of these places ends, in milliseconds; 0: never.
func (e Event) OffSaleOf(items Items) (millis int64) {
	for item := range items.All() {
		ends := e.OffSaleMillis
		if name, is := allocated(item.Section); is {
			if a, _ := e.Allocation(name); a.OffSaleMillis > 0 {
				ends = a.OffSaleMillis
			}
		}
		if ends > 0 && (millis == 0 || ends < millis) {
			millis = ends
		}
	}
	return millis
}

// opensAgain reports whether an order that used a code, or none, may use it once more.
func (e Event) opensAgain(hash string) bool {
	i, j, known := e.code(hash)
	return hash == "" || known && e.Allocations[i].Codes[j].opens()
}

// Allocation returns the named one; ok is false if the event has none of that name.
func (e Event) Allocation(name string) (a Allocation, ok bool) {
	i := slices.IndexFunc(e.Allocations, func(a Allocation) bool { return a.Name == name })
	if i < 0 {
		return Allocation{}, false
	}
	return e.Allocations[i], true
}

// code finds a code by its hash.
func (e Event) code(hash string) (allocation, code int, ok bool) {
	for i, a := range e.Allocations {
		if j := slices.IndexFunc(a.Codes, func(c AccessCode) bool { return c.Hash == hash }); j >= 0 {
			return i, j, true
		}
	}
	return 0, 0, false
}

// opened is which of the codes that a request may have brought opens all allocations that it names, "" if it names none. ok is
// false if it names one, and none does.
func (e Event) opened(r *Request, hashes []string) (hash string, ok bool) {
	wanted := ""
	for item := range r.Lines() {
		switch name, is := allocated(item.Section); {
		case is && wanted != "" && wanted != name:
			return "", false // a code opens one
		case is:
			wanted = name
		}
	}
	if wanted == "" {
		return "", true
	}
	for _, hash := range hashes {
		if i, j, known := e.code(hash); known && e.Allocations[i].Name == wanted && e.Allocations[i].Codes[j].opens() {
			return hash, true
		}
	}
	return "", false
}

// use counts orders that use a code.
func (e Event) use(hash string, more int64) (Event, error) {
	i, j, ok := e.code(hash)
	if !ok {
		return e, fmt.Errorf("no access code %s", hash)
	}
	e.Allocations = slices.Clone(e.Allocations)
	e.Allocations[i].Codes = slices.Clone(e.Allocations[i].Codes)
	code := &e.Allocations[i].Codes[j]
	if code.Used += more; code.Used < 0 {
		return e, fmt.Errorf("access code %s: is used by fewer than no orders", hash)
	}
	return e, nil
}

// checkOpened is a second opinion of what a held fact takes of allocations: by whom, and in their time.
func (e Event) checkOpened(f Fact) error {
	wanted := ""
	for item := range f.Items.All() {
		name, is := allocated(item.Section)
		if !is {
			continue
		}
		a, _ := e.Allocation(name)
		if wanted != "" && wanted != name || !a.onSaleAt(e, f.AtMillis) {
			return fmt.Errorf("held, of allocation %s, which was not open to it", name)
		}
		wanted = name
	}
	if wanted == "" && f.Code == "" {
		return nil
	}
	i, j, known := e.code(f.Code)
	if !known || e.Allocations[i].Name != wanted || !e.Allocations[i].Codes[j].opens() {
		return fmt.Errorf("held, of allocation %s, by a code that does not open it", wanted)
	}
	return nil
}

// CodeKeys are what hashes of access codes are made with: one, or during a rotation two, of which the first is the newer.
type CodeKeys []Secret

// ParseCodeKeys reads keys that stand between spaces or line ends.
func ParseCodeKeys(text string) (CodeKeys, error) {
	var keys CodeKeys
	for key := range strings.FieldsSeq(text) {
		if len(key) < MinCodeKeyBytes {
			return nil, fmt.Errorf("want keys of %d bytes or more", MinCodeKeyBytes)
		}
		keys = append(keys, Secret(key))
	}
	if len(keys) == 0 || len(keys) > maxCodeKeys {
		return nil, errors.New("want one key, or two of which the first is the newer, with a space or a line end between them")
	}
	return keys, nil
}

// Hashes are those of an event's code, one by each key: HMAC-SHA-256.
func (k CodeKeys) Hashes(eventID string, code Secret) []string {
	hashes := make([]string, len(k))
	for i, key := range k {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(binary.AppendUvarint(nil, uint64(len(eventID))))
		mac.Write([]byte(eventID))
		mac.Write([]byte(code))
		hashes[i] = hex.EncodeToString(mac.Sum(nil))[:codeHashLength]
	}
	return hashes
}

// CheckAccessCode returns what is wrong with a code, without repeating it; nil if nothing is.
func CheckAccessCode(code Secret) error {
	switch {
	case code == "" || len(code) > MaxAccessCode:
		return fmt.Errorf("access_code: want 1 to %d bytes", MaxAccessCode)
	case !printable(string(code)):
		return errors.New("access_code: want printable UTF-8")
	}
	return nil
}

// ValidCodeHash reports whether s has the form of what Hashes returns.
func ValidCodeHash(s string) bool {
	return len(s) == codeHashLength && strings.Trim(s, "0123456789abcdef") == ""
}

// validateAllocations: which there are, when, and for whom.
func (t Terms) validateAllocations() error {
	if len(t.Allocations) > MaxAllocations {
		return fmt.Errorf("allocations: want at most %d", MaxAllocations)
	}
	seen, codes := make(map[string]bool), make(map[string]bool)
	for _, a := range t.Allocations {
		switch {
		case !ValidID(a.Name):
			return fmt.Errorf("allocation %q: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", a.Name, MaxIDLength)
		case a.Name == seats.Public:
			return fmt.Errorf("allocation %q: is what all places are that say nothing else", a.Name)
		case seen[a.Name]:
			return fmt.Errorf("allocation %q: named twice", a.Name)
		case a.OnSaleMillis < 0 || a.OffSaleMillis < 0 || a.OnSaleMillis > maxMillis || a.OffSaleMillis > maxMillis:
			return fmt.Errorf("allocation %q: on_sale, off_sale: want a time from 1970 to 9999", a.Name)
		case a.OnSaleMillis > 0 && a.OffSaleMillis > 0 && a.OffSaleMillis <= a.OnSaleMillis:
			return fmt.Errorf("allocation %q: off_sale: must be after on_sale", a.Name)
		}
		seen[a.Name] = true
		for _, c := range a.Codes {
			switch {
			case !ValidCodeHash(c.Hash):
				return fmt.Errorf("allocation %q: codes: want hashes of %d hex digits", a.Name, codeHashLength)
			case codes[c.Hash]:
				return fmt.Errorf("allocation %q: codes: one is there twice", a.Name)
			case c.Uses < 0 || c.Uses > MaxQuantity:
				return fmt.Errorf("allocation %q: codes: uses: want 0 (any number) to %d", a.Name, MaxQuantity)
			}
			if codes[c.Hash] = true; len(codes) > MaxCodes {
				return fmt.Errorf("allocation %q: codes: want at most %d of an event", a.Name, MaxCodes)
			}
		}
	}
	return nil
}

// validatePool: a pool is of an allocation and of a section that stands before it, costs what that costs, and says by which mark
// its seats are known, if there are some.
func (t Terms) validatePool(at int) error {
	s := t.Sections[at]
	section, allocation := SplitPool(s.Name)
	i := slices.IndexFunc(t.Sections[:at], func(before SectionTerms) bool { return before.Name == section })
	switch {
	case i < 0:
		return fmt.Errorf("section %q: stands before section %q, or without it", s.Name, section)
	case !slices.ContainsFunc(t.Allocations, func(a Allocation) bool { return a.Name == allocation }):
		return fmt.Errorf("section %q: there is no allocation %q", s.Name, allocation)
	case s.Price != t.Sections[i].Price:
		return fmt.Errorf("section %q: price: want that of section %q", s.Name, section)
	case s.Layout != "":
		return fmt.Errorf("section %q: layout: is that of section %q", s.Name, section)
	case (s.Mark != "") != (t.Sections[i].Layout != ""):
		return fmt.Errorf("section %q: mark: seats of an allocation have one, and nothing else has", s.Name)
	case s.Mark != "" && (len(s.Mark) != 1 || s.Mark[0] < 'a' || s.Mark[0] > 'z'):
		return fmt.Errorf("section %q: mark: want a letter from a to z", s.Name)
	case s.Mark != "" && slices.ContainsFunc(t.Sections[:at], func(before SectionTerms) bool {
		of, _ := SplitPool(before.Name)
		return of == section && before.Mark == s.Mark
	}):
		return fmt.Errorf("section %q: mark: is that of another allocation", s.Name)
	}
	return nil
}

// WithAllocations are terms with what a layout's own allocations are of a section: their pools behind it, with as many seats as
// they have there, and the allocations, where there are none of these names yet.
func (t Terms) WithAllocations(section string, layout *seats.Layout) Terms {
	t.Sections, t.Allocations = slices.Clone(t.Sections), slices.Clone(t.Allocations)
	i := slices.IndexFunc(t.Sections, func(s SectionTerms) bool { return s.Name == section })
	counts := marksIn(layout.Places())
	for n, name := range layout.Allocations() {
		mark := seats.FreeMark(n + 1)
		capacity := counts[mark] + counts[seats.BlockedMark(n+1)]
		t.Sections = append(t.Sections, SectionTerms{Name: PoolOf(section, name), Price: t.Sections[i].Price, Capacity: capacity, Mark: string(mark)})
		t.Sections[i].Capacity -= capacity
		if !slices.ContainsFunc(t.Allocations, func(a Allocation) bool { return a.Name == name }) {
			t.Allocations = append(t.Allocations, Allocation{Name: name})
		}
	}
	return t
}

// marksIn is how many places there are of each character.
func marksIn(places string) (n [256]int64) {
	for i := range len(places) {
		n[places[i]]++
	}
	return n
}

// SeatMove is seats that become those of another allocation, are blocked, or are not any more: what they are, and what they are then.
// Both are characters of free or of blocked places (package seats).
type SeatMove struct {
	Section string `json:"section"` // as it was listed, without an allocation
	From    string `json:"from"`
	To      string `json:"to"`
	Places  string `json:"places"` // seats.FormatPlaces
}

// poolOfMark is the pool of a section whose free or blocked places have that mark: the section itself where no pool has it.
func (e Event) poolOfMark(section string, mark byte) int {
	if n := seats.AllocationOf(mark); n > 0 {
		i := slices.IndexFunc(e.Sections, func(s Section) bool {
			of, _ := SplitPool(s.Name)
			return of == section && s.Mark == seats.FreeMark(n)
		})
		if i >= 0 {
			return i
		}
	}
	return e.sectionIndex(section)
}

// markOf is that of a section's terms, 0 for none.
func markOf(s SectionTerms) byte {
	if s.Mark == "" {
		return 0
	}
	return s.Mark[0]
}

// unused are allocations as an organiser says them: whether a code is used is not theirs to say.
func unused(list []Allocation) []Allocation {
	list = slices.Clone(list)
	for i := range list {
		list[i].Codes = slices.Clone(list[i].Codes)
		for j := range list[i].Codes {
			list[i].Codes[j].Used = 0
		}
	}
	return list
}

// keepCodes are allocations as they are to be, with how many orders use their codes now. None may be missing that there is, and no code:
// orders give their uses back.
func (e Event) keepCodes(terms []Allocation) ([]Allocation, error) {
	list := unused(terms)
	next := Event{Allocations: list}
	for _, a := range e.Allocations {
		if _, kept := next.Allocation(a.Name); !kept {
			return nil, fmt.Errorf("allocation %s was removed", a.Name)
		}
		for _, c := range a.Codes {
			i, j, kept := next.code(c.Hash)
			if !kept || list[i].Name != a.Name {
				return nil, fmt.Errorf("allocation %s: an access code was removed", a.Name)
			}
			list[i].Codes[j].Used = c.Used
		}
	}
	return list, nil
}

// checkCapacities: each pool has as many places as its terms say.
func (e Event) checkCapacities(t Terms) error {
	for i, s := range t.Sections {
		if e.Sections[i].Capacity != s.Capacity {
			return fmt.Errorf("section %s: has %d seats, its capacity is %d", s.Name, e.Sections[i].Capacity, s.Capacity)
		}
	}
	return nil
}

// SeatAllocations are the names of a section's allocations beside seats.Public, by the letters of their seats: the first is that of a. Those
// that its layout names have the first ones, others come behind them.
func (e Event) SeatAllocations(section string) (names []string) {
	s, _ := e.Section(section)
	if layout, err := seats.Parse(s.Layout); err == nil {
		names = slices.Clone(layout.Allocations())
	}
	for _, pool := range e.Sections {
		if of, name := SplitPool(pool.Name); of == section && pool.Mark != 0 {
			for len(names) < seats.AllocationOf(pool.Mark) {
				names = append(names, "")
			}
			names[seats.AllocationOf(pool.Mark)-1] = name
		}
	}
	return names
}

// moveSeats makes one move. The sections are changed where they are.
func (e Event) moveSeats(m SeatMove) error {
	i := e.sectionIndex(m.Section)
	if i < 0 || !e.Sections[i].Seated() || len(m.From) != 1 || len(m.To) != 1 {
		return fmt.Errorf("section %q has no seats that are moved from %q to %q", m.Section, m.From, m.To)
	}
	places, err := seats.ParsePlaces(m.Places)
	if err != nil {
		return fmt.Errorf("section %s: %w", m.Section, err)
	}
	for _, by := range []struct {
		mark byte
		more int64
	}{{m.From[0], -int64(len(places))}, {m.To[0], int64(len(places))}} {
		pool := &e.Sections[e.poolOfMark(m.Section, by.mark)]
		switch state, _ := seats.StateOf(by.mark); state {
		case seats.StateFree:
			pool.Available += by.more
		case seats.StateBlocked:
			pool.Blocked += by.more
		case seats.StateHeld, seats.StateSold:
			return fmt.Errorf("section %s: %w: seats are moved from %q to %q", m.Section, ErrSeat, m.From, m.To)
		}
		pool.Capacity += by.more
	}
	e.Sections[i].Places, err = seats.Change(e.Sections[i].Places, places, m.From[0], m.To[0])
	if err != nil {
		return fmt.Errorf("section %s: %w (of %s)", m.Section, err, e.Sections[i].seatNames(m.Places))
	}
	return nil
}

// withPool are terms in which a section has places of an allocation, none at first; it returns where both stand.
func (t Terms) withPool(section, allocation string) (next Terms, base, pool int, err error) {
	t.Sections, t.Allocations = slices.Clone(t.Sections), slices.Clone(t.Allocations)
	at := func(name string) int {
		return slices.IndexFunc(t.Sections, func(s SectionTerms) bool { return s.Name == name })
	}
	if base = at(section); base < 0 || strings.Contains(section, allocationMark) {
		return t, 0, 0, fmt.Errorf("section %s: there is none", section)
	}
	name := PoolOf(section, allocation)
	if pool = at(name); pool >= 0 {
		return t, base, pool, nil
	}
	if !slices.ContainsFunc(t.Allocations, func(a Allocation) bool { return a.Name == allocation }) {
		t.Allocations = append(t.Allocations, Allocation{Name: allocation})
	}
	of := SectionTerms{Name: name, Price: t.Sections[base].Price}
	if layout, err := seats.Parse(t.Sections[base].Layout); err == nil {
		taken := len(layout.Allocations())
		for _, s := range t.Sections {
			if of, _ := SplitPool(s.Name); of == section {
				taken = max(taken, seats.AllocationOf(markOf(s)))
			}
		}
		if taken == seats.MaxAllocations {
			return t, 0, 0, fmt.Errorf("section %s: want at most %d allocations", section, seats.MaxAllocations)
		}
		of.Mark = string(seats.FreeMark(taken + 1))
	}
	t.Sections = append(t.Sections, of)
	return t, base, len(t.Sections) - 1, nil
}

// Allocate are terms in which an allocation has so many places of a counted section. They come from those for everybody, and go back
// to them.
func (t Terms) Allocate(section, allocation string, places int64) (Terms, error) {
	t, base, pool, err := t.withPool(section, allocation)
	if err != nil {
		return t, err
	}
	more := places - t.Sections[pool].Capacity
	switch {
	case t.Sections[base].Layout != "":
		return t, fmt.Errorf("section %s: say which of its seats", section)
	case pool == base:
		return t, fmt.Errorf("section %s: what no allocation has is for everybody", section)
	case more > t.Sections[base].Capacity-t.Sections[base].Blocked:
		return t, fmt.Errorf("section %s: %d places are for everybody and not blocked, allocation %s cannot have %d more", section, t.Sections[base].Capacity-t.Sections[base].Blocked, allocation, more)
	}
	t.Sections[pool].Capacity += more
	t.Sections[base].Capacity -= more
	return t, nil
}

// Block are terms in which so many places of a counted section, or of its places of an allocation, are not for sale.
func (t Terms) Block(pool string, places int64) (Terms, error) {
	t.Sections = slices.Clone(t.Sections)
	i := slices.IndexFunc(t.Sections, func(s SectionTerms) bool { return s.Name == pool })
	switch {
	case i < 0:
		return t, fmt.Errorf("section %s: there is none", pool)
	case t.Sections[i].Seated():
		return t, fmt.Errorf("section %s: say which of its seats", pool)
	}
	t.Sections[i].Blocked = places
	return t, nil
}

// AllocateSeats are terms in which these seats of an event are of an allocation; blocked ones stay so.
func (t Terms) AllocateSeats(e Event, section, allocation string, names []string) (Terms, error) {
	t, base, pool, err := t.withPool(section, allocation)
	if err != nil {
		return t, err
	}
	number := 0
	if pool != base {
		number = seats.AllocationOf(markOf(t.Sections[pool]))
	}
	return t.moveSeats(e, section, names, func(mark byte) byte {
		if state, _ := seats.StateOf(mark); state == seats.StateBlocked {
			return seats.BlockedMark(number)
		}
		return seats.FreeMark(number)
	})
}

// BlockSeats are terms in which these seats of an event are blocked, or are not any more.
func (t Terms) BlockSeats(e Event, section string, names []string, blocked bool) (Terms, error) {
	return t.moveSeats(e, section, names, func(mark byte) byte {
		if blocked {
			return seats.BlockedMark(seats.AllocationOf(mark))
		}
		return seats.FreeMark(seats.AllocationOf(mark))
	})
}

// moveSeats adds moves of seats. Those that are held or sold cannot be moved.
func (t Terms) moveSeats(e Event, section string, names []string, to func(mark byte) byte) (Terms, error) {
	s, found := e.Section(section)
	layout, err := seats.Parse(s.Layout)
	if !found || err != nil {
		return t, fmt.Errorf("section %s: has no seats (yet)", section)
	}
	if err := seats.CheckNames(names, seats.MaxSeats); err != nil {
		return t, fmt.Errorf("section %s: seats: %w", section, err)
	}
	list, unknown := layout.Find(names)
	if len(unknown) > 0 {
		return t, fmt.Errorf("section %s: has no seat %s", section, strings.Join(unknown, ","))
	}
	places := []byte(s.Places)
	for _, m := range t.Moves {
		before, err := seats.ParsePlaces(m.Places)
		if err != nil {
			return t, err
		}
		for _, place := range before {
			if m.Section == section {
				places[place-1] = m.To[0]
			}
		}
	}
	t.Sections, t.Moves = slices.Clone(t.Sections), slices.Clone(t.Moves)
	marks := make(map[byte][]int)
	var taken []string
	for _, place := range list {
		mark := places[place-1]
		if state, _ := seats.StateOf(mark); state == seats.StateHeld || state == seats.StateSold {
			name, _ := layout.Name(place)
			taken = append(taken, name)
		} else if to(mark) != mark {
			marks[mark] = append(marks[mark], place)
		}
	}
	if len(taken) > 0 {
		return t, WithCode(ClassReject, CodeBelowHeld, fmt.Errorf("section %s: held or sold are %s: nothing changed", section, strings.Join(taken, ",")))
	}
	for _, mark := range slices.Sorted(maps.Keys(marks)) {
		t.Moves = append(t.Moves, SeatMove{Section: section, From: string(mark), To: string(to(mark)), Places: seats.FormatPlaces(marks[mark])})
		t.capacityOf(section, mark).Capacity -= int64(len(marks[mark]))
		t.capacityOf(section, to(mark)).Capacity += int64(len(marks[mark]))
	}
	return t, nil
}

// capacityOf is the pool of a section whose seats have a mark.
func (t Terms) capacityOf(section string, mark byte) *SectionTerms {
	of := 0
	for i, s := range t.Sections {
		name, _ := SplitPool(s.Name)
		if s.Name == section || name == section && s.Mark != "" && seats.AllocationOf(s.Mark[0]) == seats.AllocationOf(mark) {
			of = i
		}
	}
	return &t.Sections[of]
}

// OpenedBy are terms in which codes with these hashes open an allocation, each for so many orders at once; 0 for any number. One that does so
// already may be used by as many from now on, also if it was revoked.
func (t Terms) OpenedBy(allocation string, uses int64, hashes ...string) (Terms, error) {
	t.Allocations = slices.Clone(t.Allocations)
	i := slices.IndexFunc(t.Allocations, func(a Allocation) bool { return a.Name == allocation })
	if i < 0 {
		return t, fmt.Errorf("allocation %s: there is none", allocation)
	}
	codes := slices.Clone(t.Allocations[i].Codes)
	for _, hash := range hashes {
		code := AccessCode{Hash: hash, Uses: uses}
		if j := slices.IndexFunc(codes, func(c AccessCode) bool { return c.Hash == hash }); j >= 0 {
			codes[j] = code
		} else {
			codes = append(codes, code)
		}
	}
	t.Allocations[i].Codes = codes
	return t, nil
}

// Revoke are terms in which codes open nothing any more. The number of those that there are is returned. Orders that used them stay.
func (t Terms) Revoke(hashes ...string) (next Terms, revoked int) {
	t.Allocations = slices.Clone(t.Allocations)
	for i := range t.Allocations {
		codes := slices.Clone(t.Allocations[i].Codes)
		for j := range codes {
			if slices.Contains(hashes, codes[j].Hash) {
				codes[j].Revoked = true
				revoked++
			}
		}
		t.Allocations[i].Codes = codes
	}
	return t, revoked
}
