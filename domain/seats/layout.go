package seats

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Limits of a layout.
const (
	MaxSeats       = 100_000 // of an event
	MaxSeatNumber  = 99_999
	MaxRowName     = 16 // bytes
	MaxAllocations = 26 // of a section, beside Public

	maxAllocationName = 128 // bytes, as of every other name
)

// Public is the allocation that is for everybody.
const Public = "public"

// Seat is one of a row.
type Seat struct {
	Number     int32
	Mark       byte // the character of its place when it is listed: free or blocked, and of which allocation
	AisleAfter bool // what follows in the row is not beside it
}

// Row is one row, its seats as they stand side by side. Their numbers may go up, down, or up by two.
type Row struct {
	Name  string
	Seats []Seat
}

// Layout is the rows of a section, from best to worst. It does not change.
type Layout struct {
	rows        []Row
	starts      []int // place of the first seat of each row
	byName      map[string]int
	allocations []string
	seats       int
	text        string
}

// newLayout takes over what was read. What is said of single rows and seats was checked by whoever read it.
func newLayout(rows []Row, allocations []string) *Layout {
	l := &Layout{rows: rows, allocations: allocations, starts: make([]int, len(rows)), byName: make(map[string]int, len(rows))}
	place := 1
	for i, row := range rows {
		l.starts[i], l.byName[row.Name] = place, i
		l.seats += len(row.Seats)
		place += len(row.Seats) + 1
		for _, seat := range row.Seats {
			if seat.AisleAfter {
				place++
			}
		}
	}
	l.text = l.format()
	return l
}

// Rows are the rows. They must not be changed.
func (l *Layout) Rows() []Row { return l.rows }

// Seats is how many there are.
func (l *Layout) Seats() int { return l.seats }

// Allocations are the names of those beside Public when the section is listed; the first is that of the letter a.
func (l *Layout) Allocations() []string { return l.allocations }

// Places is the string with which the section begins.
func (l *Layout) Places() string {
	var b strings.Builder
	for i, row := range l.rows {
		if i > 0 {
			b.WriteByte(RowEnd)
		}
		for _, seat := range row.Seats {
			b.WriteByte(seat.Mark)
			if seat.AisleAfter {
				b.WriteByte(Aisle)
			}
		}
	}
	return b.String()
}

// CheckPlaces returns what keeps a string from being this section's places, of which there are so many allocations beside Public; nil if
// nothing does.
func (l *Layout) CheckPlaces(places string, allocations int) error {
	begins := l.Places()
	if len(places) != len(begins) {
		return fmt.Errorf("%d places, want %d", len(places), len(begins))
	}
	for i := range len(places) {
		_, seat := StateOf(places[i])
		_, want := StateOf(begins[i])
		if seat != want || !seat && places[i] != begins[i] {
			return fmt.Errorf("place %d is %q", i+1, places[i])
		}
		if allocation := AllocationOf(places[i]); allocation > allocations {
			return fmt.Errorf("place %d is %q, of an allocation that the section does not have", i+1, places[i])
		}
	}
	return nil
}

// Name is the name of the seat at a place; ok is false where there is none.
func (l *Layout) Name(place int) (name string, ok bool) {
	row, found := slices.BinarySearch(l.starts, place)
	if !found {
		row--
	}
	if row < 0 {
		return "", false
	}
	at := l.starts[row]
	for _, seat := range l.rows[row].Seats {
		if at == place {
			return l.rows[row].Name + "-" + strconv.Itoa(int(seat.Number)), true
		}
		at++
		if seat.AisleAfter {
			at++
		}
	}
	return "", false
}

// Names are the names of the seats at places, as FormatPlaces says those.
func (l *Layout) Names(places string) ([]string, error) {
	list, err := ParsePlaces(places)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(list))
	for i, place := range list {
		var ok bool
		if names[i], ok = l.Name(place); !ok {
			return nil, fmt.Errorf("there is no seat at place %d", place)
		}
	}
	return names, nil
}

// Find is where seats stand, in ascending order, and those that are none of this section's. Each must be named once
// (CheckNames).
func (l *Layout) Find(names []string) (places []int, unknown []string) {
	places = make([]int, 0, len(names))
	for _, name := range names {
		if place, ok := l.find(name); ok {
			places = append(places, place)
		} else {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(places)
	return places, unknown
}

func (l *Layout) find(name string) (place int, ok bool) {
	row, number, ok := parseName(name)
	if !ok {
		return 0, false
	}
	i, ok := l.byName[row]
	if !ok {
		return 0, false
	}
	place = l.starts[i]
	for _, seat := range l.rows[i].Seats {
		if seat.Number == number {
			return place, true
		}
		place++
		if seat.AisleAfter {
			place++
		}
	}
	return 0, false
}

// CheckNames returns what is wrong with the seats that a request names, without repeating any; nil if nothing is:
// they are 1 to most, of the form ROW-NUMBER, and none is named twice.
func CheckNames(names []string, most int) error {
	if len(names) == 0 || len(names) > most {
		return fmt.Errorf("want 1 to %d, not %d", most, len(names))
	}
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		if _, _, ok := parseName(name); !ok {
			return fmt.Errorf("number %d: want ROW-NUMBER, such as A-12", i+1)
		}
		if seen[name] {
			return fmt.Errorf("number %d: named twice", i+1)
		}
		seen[name] = true
	}
	return nil
}

func parseName(name string) (row string, number int32, ok bool) {
	row, digits, found := strings.Cut(name, "-")
	if !found || !validRow(row) {
		return "", 0, false
	}
	number, ok = parseNumber(digits)
	return row, number, ok
}

// validRow reports whether s may name a row: 1 to 16 letters and digits.
func validRow(s string) bool {
	if s == "" || len(s) > MaxRowName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func parseNumber(s string) (n int32, ok bool) {
	if s == "" || len(s) > 5 || s[0] == '0' {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int32(s[i]-'0')
	}
	return n, true
}

func validAllocation(s string) bool {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-"
	return s != "" && len(s) <= maxAllocationName && strings.Trim(s, allowed) == ""
}
