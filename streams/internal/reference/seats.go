package reference

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
