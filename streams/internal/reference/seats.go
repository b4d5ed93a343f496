package reference

import (
	"slices"
	"strings"
)

// first is a section that nothing was sold of.
func (o SectionOffer) first() Section {
	return Section{Price: o.Price, Capacity: o.Capacity, Available: o.Capacity - o.Blocked, Blocked: o.Blocked, Seats: o.Seats}
}

// find is where the seats are that a line names, and the names of those that there are not.
func (e Event) find(l Line) (places []int, unknown []string) {
	for _, name := range l.Named {
		at := -1
		for _, s := range e.Offer.Sections {
			if s.Name == section(l.Section) {
				at = slices.Index(s.Names, name)
			}
		}
		if at < 0 {
			unknown = append(unknown, name)
		} else {
			places = append(places, at+1)
		}
	}
	slices.Sort(places)
	return places, unknown
}

// get is which seats a line gets of a section; or why it gets none, and which are in the way.
func (e Event) get(l Line, s Section) (places []int, why string, because []string) {
	switch {
	case e.seats(l.Section) == "" && l.Quantity > s.Available:
		return nil, "sold_out", nil
	case e.seats(l.Section) == "":
		return nil, "", nil
	}
	if len(l.Named) == 0 {
		places, why = best(e.seats(l.Section), e.mark(l.Section), l)
		return places, why, nil
	}
	places, _ = e.find(l)
	notFree, orphans := ReadSeats(e.seats(l.Section), e.mark(l.Section)).Named(places)
	switch {
	case len(notFree) > 0:
		return nil, "seat_taken", e.names(l.Section, notFree)
	case len(orphans) > 0 && e.Offer.NoOrphans:
		return nil, "would_leave_orphan", e.names(l.Section, orphans)
	}
	return places, "", nil
}

// best is which seats a line gets that names none; or why it gets none.
func best(seats string, mark byte, l Line) (places []int, why string) {
	if places = ReadSeats(seats, mark).Best(int(l.Quantity), !l.Apart); places != nil {
		return places, ""
	}
	if int64(strings.Count(seats, string(mark))) < l.Quantity {
		return nil, "sold_out"
	}
	return nil, "no_adjacent_seats"
}

func (e Event) names(of string, places []int) (names []string) {
	for _, s := range e.Offer.Sections {
		for _, place := range places {
			if s.Name == section(of) {
				names = append(names, s.Names[place-1])
			}
		}
	}
	return names
}

// say is what is said of a line of which these seats are to blame.
func (e Event) say(a Asked, l Line, names []string) string {
	said := strings.Join(names, ",")
	if len(a.Lines) > 1 {
		said = strings.TrimSuffix(l.Section+": "+said, ": ")
	}
	return said
}

// own is the mark of an allocation's seats, none of all others.
func (e *Event) own(name string) byte {
	if mark := e.mark(name); mark != '.' {
		return mark
	}
	return 0
}

// put makes seats what they are when they are moved, and mark what is free.
func put(seats string, places []int, mark byte, available, held, sold int64) string {
	is := []byte(seats)
	for _, place := range places {
		switch int64(1) {
		case available:
			is[place-1] = mark
		case held:
			is[place-1] = '-'
		case sold:
			is[place-1] = '+'
		}
	}
	return string(is)
}

// Seats says once more which seats of a section a request gets, slowly: rows of seats, each of which is free for the
// request or not, and every block of as many seats is tried.
type Seats struct{ Rows [][]Seat }

// Seat is one, and where it stands in the string that it was read of.
type Seat struct {
	Place int
	Free  bool
}

// ReadSeats reads a section's places. What is beside an aisle is beside nobody, as at the end of a row.
func ReadSeats(places string, free byte) Seats {
	s := Seats{Rows: [][]Seat{nil}}
	for i := range len(places) {
		if places[i] == '/' || places[i] == ' ' {
			s.Rows = append(s.Rows, nil)
			continue
		}
		row := &s.Rows[len(s.Rows)-1]
		*row = append(*row, Seat{i + 1, places[i] == free})
	}
	return s
}

// alone are the free seats of a row that have no free seat beside them, but for what is taken.
func alone(row []Seat, taken map[int]bool) map[int]bool {
	free := func(i int) bool { return i >= 0 && i < len(row) && row[i].Free && !taken[row[i].Place] }
	list := make(map[int]bool)
	for i := range row {
		if free(i) && !free(i-1) && !free(i+1) {
			list[row[i].Place] = true
		}
	}
	return list
}

// orphans are the seats that would be alone if these were taken, and were not before.
func (s Seats) orphans(taken map[int]bool) (list []int) {
	for _, row := range s.Rows {
		before := alone(row, nil)
		for _, seat := range row {
			if alone(row, taken)[seat.Place] && !before[seat.Place] {
				list = append(list, seat.Place)
			}
		}
	}
	return list
}

// Best is what the best available seats are: those that leave nobody's seat alone first. None: there are none.
func (s Seats) Best(quantity int, adjacent bool) []int {
	for _, leaveAlone := range []bool{false, true} {
		for _, row := range s.Rows {
			for first := 0; first+quantity <= len(row); first++ {
				block, taken, free := []int{}, make(map[int]bool), true
				for _, seat := range row[first : first+quantity] {
					block, free = append(block, seat.Place), free && seat.Free
					taken[seat.Place] = true
				}
				if free && (leaveAlone || len(s.orphans(taken)) == 0) {
					return block
				}
			}
		}
	}
	var singles []int
	for _, row := range s.Rows {
		for _, seat := range row {
			if seat.Free && len(singles) < quantity {
				singles = append(singles, seat.Place)
			}
		}
	}
	if adjacent || len(singles) < quantity {
		return nil
	}
	return singles
}

// Named says which of these are not to be had, and which seats would be alone without them.
func (s Seats) Named(places []int) (notFree, orphans []int) {
	taken, free := make(map[int]bool), make(map[int]bool)
	for _, row := range s.Rows {
		for _, seat := range row {
			free[seat.Place] = seat.Free
		}
	}
	for _, place := range places {
		taken[place] = true
		if !free[place] {
			notFree = append(notFree, place)
		}
	}
	return notFree, s.orphans(taken)
}
