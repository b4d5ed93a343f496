package seats

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// String is the layout as text, which Parse reads: rows from best to worst, with their seats as they stand side by
// side. It is short where rows are alike and numbers follow each other, and equal layouts have equal texts.
//
//	A:1-12/13-24,B,C:1-26    a slash is an aisle; a row without seats has those of the row before
//	A:23-1+2.2-24+2          23, 21 … 1, and beside it 2, 4 … 24: a dot is none
//	presale;A:1-4a.5-24,B!…  behind numbers: a to z, free for those of the first, second … allocation that stands
//	                         before the semicolon; ! blocked, A to Z blocked and of that allocation
func (l *Layout) String() string { return l.text }

func (l *Layout) format() string {
	var b []byte
	if len(l.allocations) > 0 {
		b = append(append(b, strings.Join(l.allocations, ",")...), ';')
	}
	before := ""
	for i, row := range l.rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, row.Name...)
		if said := string(appendSeats(nil, row.Seats)); said != before {
			b = append(append(b, ':'), said...)
			before = said
		}
	}
	return string(b)
}

func appendSeats(b []byte, row []Seat) []byte {
	for i := 0; i < len(row); {
		last, step := series(row, i)
		b = strconv.AppendInt(b, int64(row[i].Number), 10)
		if last > i {
			b = strconv.AppendInt(append(b, '-'), int64(row[last].Number), 10)
			if step != 1 && step != -1 {
				b = strconv.AppendInt(append(b, '+'), int64(max(step, -step)), 10)
			}
		}
		if row[i].Mark != Free {
			b = append(b, row[i].Mark)
		}
		if last < len(row)-1 {
			b = append(b, separator(row[last]))
		}
		i = last + 1
	}
	return b
}

func separator(seat Seat) byte {
	if seat.AisleAfter {
		return '/'
	}
	return '.'
}

// series is the last seat that one range can say together with the first, and by how much numbers go up in it.
func series(row []Seat, first int) (last int, step int32) {
	last = first
	for last+1 < len(row) && !row[last].AisleAfter && row[last+1].Mark == row[first].Mark {
		by := row[last+1].Number - row[last].Number
		if last > first && by != step {
			break
		}
		step = by
		last++
	}
	if last == first+1 && step != 1 && step != -1 {
		return first, 0 // two numbers are shorter
	}
	return last, step
}

// Parse reads what String says, and what people write. An error names the row.
func Parse(text string) (*Layout, error) {
	var allocations []string
	if names, rest, found := strings.Cut(text, ";"); found {
		allocations = strings.Split(names, ",")
		text = rest
		if err := checkAllocations(allocations); err != nil {
			return nil, err
		}
	}
	var rows []Row
	named, seats := make(map[string]bool), 0
	var before []Seat
	for said := range strings.SplitSeq(text, ",") {
		name, list, own := strings.Cut(said, ":")
		where := fmt.Sprintf("row %d", len(rows)+1)
		switch {
		case !validRow(name):
			return nil, fmt.Errorf("%s %q: want a name of 1 to %d letters and digits, a colon and seats, such as A:1-24", where, name, MaxRowName)
		case named[name]:
			return nil, fmt.Errorf("%s: %s was named before", where, name)
		case !own && before == nil:
			return nil, fmt.Errorf("%s (%s): want seats, such as %s:1-24", where, name, name)
		}
		if own {
			var err error
			if before, err = parseSeats(list, len(allocations), MaxSeats-seats); err != nil {
				return nil, fmt.Errorf("%s (%s): %w", where, name, err)
			}
		}
		named[name] = true
		rows = append(rows, Row{name, before})
		if seats += len(before); seats > MaxSeats {
			return nil, fmt.Errorf("%s (%s): %w", where, name, errTooMany)
		}
	}
	return newLayout(rows, allocations), nil
}

var errTooMany = fmt.Errorf("more than %d seats", MaxSeats)

func checkAllocations(names []string) error {
	if len(names) > MaxAllocations {
		return fmt.Errorf("want at most %d allocations", MaxAllocations)
	}
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		switch {
		case !validAllocation(name):
			return fmt.Errorf("allocation %q: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", name, maxAllocationName)
		case name == Public:
			return fmt.Errorf("allocation %q: is what all seats are that say nothing else", name)
		case seen[name]:
			return fmt.Errorf("allocation %q: named twice", name)
		}
		seen[name] = true
	}
	return nil
}

// parseSeats reads the seats of a row, at most so many.
func parseSeats(list string, allocations, most int) ([]Seat, error) {
	var row []Seat
	seen := make(map[int32]bool)
	for len(list) > 0 || row == nil {
		said := list
		list = ""
		aisle := false
		if i := strings.IndexAny(said, "./"); i >= 0 {
			aisle = said[i] == '/'
			said, list = said[:i], said[i+1:]
			if list == "" {
				return nil, fmt.Errorf("seats end with %q", said+string(separator(Seat{AisleAfter: aisle})))
			}
		}
		r, err := parseRange(said)
		if err != nil {
			return nil, err
		}
		if AllocationOf(r.mark) > allocations {
			return nil, fmt.Errorf("seats %q: %q is of an allocation that is not named before the rows", said, r.mark)
		}
		for n := r.from; ; n += r.step {
			if seen[n] {
				return nil, fmt.Errorf("seat %d: named twice", n)
			}
			if len(row) == most {
				return nil, errTooMany
			}
			seen[n] = true
			row = append(row, Seat{Number: n, Mark: r.mark})
			if n == r.to {
				break
			}
		}
		row[len(row)-1].AisleAfter = aisle
	}
	return row, nil
}

// seatRange is from, from + step … to.
type seatRange struct {
	from, to, step int32
	mark           byte
}

var errRange = errors.New("want FROM-TO, such as 1-24 or 1-23+2, or a number from 1 to 99999")

func parseRange(said string) (r seatRange, err error) {
	wrong := func(why error) (seatRange, error) { return seatRange{}, fmt.Errorf("seats %q: %w", said, why) }
	r.mark, r.step = Free, 1
	numbers := said
	if n := len(said); n > 0 {
		if state, ok := StateOf(said[n-1]); ok && (state == StateFree || state == StateBlocked) {
			r.mark, numbers = said[n-1], said[:n-1]
		}
	}
	from, to, isRange := strings.Cut(numbers, "-")
	to, step, hasStep := strings.Cut(to, "+")
	var ok bool
	if r.from, ok = parseNumber(from); !ok {
		return wrong(errRange)
	}
	r.to = r.from
	if isRange {
		if r.to, ok = parseNumber(to); !ok {
			return wrong(errRange)
		}
	}
	if hasStep {
		if r.step, ok = parseNumber(step); !ok || (r.to-r.from)%r.step != 0 {
			return wrong(fmt.Errorf("want a step that leads from %d to %d", r.from, r.to))
		}
	}
	if r.to < r.from {
		r.step = -r.step
	}
	return r, nil
}
