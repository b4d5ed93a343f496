package seats

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The characters of places. Besides them, a to z are free for those whom the first, second … allocation of the
// section is for, and A to Z are blocked and of that allocation. What is held or sold does not say of which it was:
// its order does.
const (
	Free    byte = '.' // for everybody
	Blocked byte = '!' // of the public ones
	Held    byte = '-'
	Sold    byte = '+'
	Aisle   byte = ' '
	RowEnd  byte = '/'
)

// State is what a seat is.
type State uint8

// The states.
const (
	StateFree State = iota
	StateHeld
	StateSold
	StateBlocked
)

// String is the state in lower case.
func (s State) String() string {
	switch s {
	case StateFree:
		return "free"
	case StateHeld:
		return "held"
	case StateSold:
		return "sold"
	case StateBlocked:
		return "blocked"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// StateOf is what the seat is at a place of that character; ok is false if that is no seat's.
func StateOf(c byte) (state State, ok bool) {
	switch {
	case c == Free || c >= 'a' && c <= 'z':
		return StateFree, true
	case c == Held:
		return StateHeld, true
	case c == Sold:
		return StateSold, true
	case c == Blocked || c >= 'A' && c <= 'Z':
		return StateBlocked, true
	}
	return 0, false
}

// Count is how many seats are in each state.
func Count(places string) (n [StateBlocked + 1]int64) {
	for i := range len(places) {
		if state, ok := StateOf(places[i]); ok {
			n[state]++
		}
	}
	return n
}

// AllocationOf is the number of the allocation that a character tells of, from 1 on; 0 is Public, or not told.
func AllocationOf(c byte) int {
	switch {
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 1
	case c >= 'A' && c <= 'Z':
		return int(c-'A') + 1
	}
	return 0
}

// FreeMark is the character of a free place of an allocation, by its number; 0 is Public.
func FreeMark(allocation int) byte {
	if allocation == 0 {
		return Free
	}
	return 'a' + byte(allocation-1)
}

// BlockedMark is the character of a blocked place of an allocation, by its number; 0 is Public.
func BlockedMark(allocation int) byte {
	if allocation == 0 {
		return Blocked
	}
	return 'A' + byte(allocation-1)
}

// Why a request gets no seats: reasons of a rejected order.
const (
	ReasonUnknownSeat   = "unknown_seat"
	ReasonSeatTaken     = "seat_taken"         // held, sold, blocked, or of another allocation: that is not told apart
	ReasonNoAdjacent    = "no_adjacent_seats"  // there are as many, but nowhere side by side
	ReasonWouldOrphan   = "would_leave_orphan" // one seat alone, where the event wants none
	ReasonNotEnoughLeft = "sold_out"
)

// Wish is which seats of a section a request is for.
type Wish struct {
	Free     byte  // what those places are that it may have
	Named    []int // the places it names, ascending; empty: the best available ones
	Strict   bool  // of named ones: none may leave one seat alone
	Quantity int   // of best available ones
	Adjacent bool  // of best available ones: only side by side
}

// Choose is which places a request gets, ascending, or the reason why it gets none, with the places that are in the
// way or would be left alone.
//
// Free seats that stand side by side and are of one allocation are a run. Best available are the first seats of the
// first run that has as many and is not left with a single one; if there is none, those of the first run that has as
// many; and only then, unless they must be adjacent, the first free ones wherever they are. Since a run's first seats
// are taken, it is left with one seat exactly if it has one more than is wanted.
//
// Of named ones each seat beside them is looked at, in strict events: it is left alone if it is free, and what is on its
// other side is not free any more.
func Choose(places string, w Wish) (taken []int, reason string, because []int) {
	if len(w.Named) > 0 {
		return named(places, w)
	}
	fallback := -1
	for from := 0; ; {
		first, length := nextRun(places, w.Free, from)
		if length == 0 {
			break
		}
		if length == w.Quantity || length > w.Quantity+1 {
			return block(first, w.Quantity), "", nil
		}
		if length > w.Quantity && fallback < 0 {
			fallback = first
		}
		from = first + length
	}
	switch {
	case fallback >= 0:
		return block(fallback, w.Quantity), "", nil
	case strings.Count(places, string(w.Free)) < w.Quantity:
		return nil, ReasonNotEnoughLeft, nil
	case w.Adjacent:
		return nil, ReasonNoAdjacent, nil
	}
	for i := 0; len(taken) < w.Quantity; i++ {
		if places[i] == w.Free {
			taken = append(taken, i+1)
		}
	}
	return taken, "", nil
}

// nextRun is the first run from an index on; its length is 0 if there is none.
func nextRun(places string, free byte, from int) (first, length int) {
	first = from
	for first < len(places) && places[first] != free {
		first++
	}
	for first+length < len(places) && places[first+length] == free {
		length++
	}
	return first, length
}

func block(index, quantity int) []int {
	list := make([]int, quantity)
	for i := range list {
		list[i] = index + 1 + i
	}
	return list
}

func named(places string, w Wish) (taken []int, reason string, because []int) {
	at := func(place int) byte {
		if place < 1 || place > len(places) {
			return RowEnd
		}
		return places[place-1]
	}
	for _, place := range w.Named {
		if at(place) != w.Free {
			because = append(because, place)
		}
	}
	if len(because) > 0 {
		return nil, ReasonSeatTaken, because
	}
	if !w.Strict {
		return w.Named, "", nil
	}
	left := func(place int) bool {
		_, taken := slices.BinarySearch(w.Named, place)
		return at(place) == w.Free && !taken
	}
	for _, place := range w.Named {
		for _, side := range []int{-1, 1} {
			if beside := place + side; left(beside) && !left(beside+side) {
				because = append(because, beside)
			}
		}
	}
	if len(because) > 0 {
		slices.Sort(because)
		return nil, ReasonWouldOrphan, slices.Compact(because)
	}
	return w.Named, "", nil
}

// ErrPlace says that a place is not what it should be.
var ErrPlace = errors.New("is not as expected")

// Change makes of places that are one character another one. If one is not, it returns an error that names it.
func Change(places string, at []int, from, to byte) (string, error) {
	changed := []byte(places)
	for _, place := range at {
		if place < 1 || place > len(changed) {
			return places, fmt.Errorf("place %d: there is none", place)
		}
		if changed[place-1] != from {
			return places, fmt.Errorf("place %d %w: %q, want %q", place, ErrPlace, changed[place-1], from)
		}
		changed[place-1] = to
	}
	return string(changed), nil
}

// FormatPlaces is how records and facts say ascending places: 17-19.25
func FormatPlaces(places []int) string {
	var b []byte
	for i := 0; i < len(places); {
		last := i
		for last+1 < len(places) && places[last+1] == places[last]+1 {
			last++
		}
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(places[i]), 10)
		if last > i {
			b = strconv.AppendInt(append(b, '-'), int64(places[last]), 10)
		}
		i = last + 1
	}
	return string(b)
}

// maxPlace is past every place of a section: seats, and an aisle or an end behind each.
const maxPlace = 2 * MaxSeats

// ParsePlaces reads what FormatPlaces says, and nothing else.
func ParsePlaces(text string) ([]int, error) {
	var places []int
	for said := range strings.SplitSeq(text, ".") {
		from, to, isRange := strings.Cut(said, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(to)
		}
		if err != nil || first < 1 || last < first || last > maxPlace || len(places) > 0 && first <= places[len(places)-1] {
			return nil, errors.New("want places, such as 17-19.25")
		}
		for place := first; place <= last; place++ {
			places = append(places, place)
		}
	}
	if FormatPlaces(places) != text {
		return nil, errors.New("want places, such as 17-19.25")
	}
	return places, nil
}
