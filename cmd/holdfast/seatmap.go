package main

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain/seats"
)

// drawSeats is a picture of a section: a line for each row, the best first, with its name, the number of its first seat, a
// character for each seat, and the number of its last.
func drawSeats(l *seats.Layout, places string) ([]string, error) {
	if err := l.CheckPlaces(places); err != nil {
		return nil, err
	}
	name, first, picture := 0, 0, 0 // how wide they are
	rows := strings.Split(places, string(seats.RowEnd))
	for i, row := range l.Rows() {
		name, first, picture = max(name, len(row.Name)), max(first, len(number(row.Seats[0]))), max(picture, len(rows[i]))
	}
	lines := make([]string, len(rows))
	for i, row := range l.Rows() {
		lines[i] = fmt.Sprintf("%*s  %*s %-*s %s", name, row.Name, first, number(row.Seats[0]), picture, rows[i], number(row.Seats[len(row.Seats)-1]))
	}
	return lines, nil
}

func number(seat seats.Seat) string { return strconv.Itoa(int(seat.Number)) }

// explainSeats says what the characters of a picture mean.
func explainSeats(allocations []string) string {
	said := ". free   - held   + sold   ! blocked"
	for i, name := range allocations {
		said += fmt.Sprintf("   %c %s (%c blocked)", seats.FreeMark(i+1), name, seats.BlockedMark(i+1))
	}
	return said
}

// seatView is a seat of a map in JSON.
type seatView struct {
	Section    string `json:"section"`
	Row        string `json:"row"`
	Seat       int32  `json:"seat"`
	State      string `json:"state"`
	Allocation string `json:"allocation"`
	OrderID    string `json:"order_id"` // who holds or has it
}

// seatHolder is the order that holds or has a seat, and the allocation that the seat was taken of.
type seatHolder struct{ orderID, allocation string }

// viewSeats are all seats of a section, as they stand. Whose each place is that is held or sold is told by holders.
func viewSeats(section string, l *seats.Layout, places string, holders map[int]seatHolder) ([]seatView, error) {
	if err := l.CheckPlaces(places); err != nil {
		return nil, err
	}
	list := make([]seatView, 0, l.Seats())
	place := 1
	for _, row := range l.Rows() {
		for _, seat := range row.Seats {
			state, _ := seats.StateOf(places[place-1])
			v := seatView{Section: section, Row: row.Name, Seat: seat.Number, State: state.String(), Allocation: seats.Public}
			if n := seats.AllocationOf(places[place-1]); n > 0 {
				v.Allocation = l.Allocations()[n-1]
			}
			if holder, ok := holders[place]; ok {
				v.OrderID, v.Allocation = holder.orderID, holder.allocation
			}
			list = append(list, v)
			place++
			if seat.AisleAfter {
				place++
			}
		}
		place++
	}
	return list, nil
}
