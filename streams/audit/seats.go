package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/streams/internal/layout"
)

// mostSeats bounds how many seats of a section are named.
const mostSeats = 10

// compareSections: I7. What is stored of an event's sections is what the log says, seat by seat.
func (p *partitionAudit) compareSections(id string, stored, folded []domain.Section) {
	for i, is := range stored {
		says := folded[i]
		p.compareSeats(id, is, says)
		is.Places, says.Places = "", ""
		if is != says {
			p.violation("I7", id, "section stored %+v, the log says %+v", is, says)
		}
	}
}

// compareSeats names the seats of a section that are not what the log says.
func (p *partitionAudit) compareSeats(id string, is, says domain.Section) {
	if is.Layout != says.Layout || is.Places == says.Places {
		return
	}
	of, err := seats.Parse(says.Layout)
	if err == nil {
		err = of.CheckPlaces(is.Places, seats.MaxAllocations)
	}
	if err != nil {
		p.violation("I7", layout.SectionField(id, is.Name), "its seats: %v; the log says %d characters", err, len(says.Places))
		return
	}
	named := 0
	for at := range len(is.Places) {
		if is.Places[at] == says.Places[at] {
			continue
		}
		if named++; named > mostSeats {
			p.violation("I7", layout.SectionField(id, is.Name), "more seats are not what the log says")
			return
		}
		name, _ := of.Name(at + 1)
		p.violation("I7", layout.SectionField(id, is.Name), "seat %s is stored as %s, the log says %s", name, stateOf(is.Places[at]), stateOf(says.Places[at]))
	}
}

// stateOf is what a character says of a seat, for people.
func stateOf(c byte) string {
	state, _ := seats.StateOf(c)
	return fmt.Sprintf("%s (%c)", state, c)
}

// checkSeats: I2. Each seat is held or sold by one order at most, and by one if it is: from what the orders are, and not as the fold does,
// fact by fact. So it is with the places of each allocation, by their number.
func (p *partitionAudit) checkSeats(context.Context) error {
	sections, pools := make(map[string]domain.Section), make(map[string][2]int64)
	places := make(map[string][]byte) // of which a seat that an order has is none any more
	for id, event := range p.book.Events {
		for _, s := range event.Sections {
			field := layout.SectionField(id, s.Name)
			sections[field], pools[field], places[field] = s, [2]int64{s.Held, s.Sold}, []byte(s.Places)
		}
	}
	for ref, o := range p.book.Orders {
		mark, sold := seats.Held, 0
		if o.State == domain.OrderConfirmed {
			mark, sold = seats.Sold, 1
		}
		if o.State != domain.OrderHeld && o.State != domain.OrderConfirmed || p.isOver(ref.EventID) { // an event that is recalled has its seats when all its orders are there
			continue
		}
		for item := range o.Items.All() {
			pool := layout.SectionField(ref.EventID, item.Section)
			left := pools[pool]
			left[sold] -= item.Quantity
			pools[pool] = left
			if item.Places == "" {
				continue
			}
			list, err := seats.ParsePlaces(item.Places)
			if err != nil {
				p.violation("I2", ref.String(), "places of %s: %v", item.Section, err)
				continue
			}
			name, _ := domain.SplitPool(item.Section)
			field := layout.SectionField(ref.EventID, name)
			for _, place := range list {
				if place > len(places[field]) || places[field][place-1] != mark {
					p.violation("I2", ref.String(), "has seat %s of %s (place %d), which is not its own", seatName(sections[field], place), name, place)
					continue
				}
				places[field][place-1] = seats.Aisle
			}
		}
	}
	for _, field := range slices.Sorted(maps.Keys(sections)) {
		for at, c := range places[field] {
			if c == seats.Held || c == seats.Sold {
				p.violation("I2", field, "seat %s is %s by the log, and no order has it", seatName(sections[field], at+1), stateOf(c))
			}
		}
		if left := pools[field]; left != [2]int64{} {
			p.violation("I2", field, "of places by the log, no order has %d held and %d sold", left[0], left[1])
		}
	}
	return nil
}

// seatName is for people.
func seatName(s domain.Section, place int) string {
	name := ""
	if of, err := seats.Parse(s.Layout); err == nil {
		name, _ = of.Name(place)
	}
	return name
}

// checkPlaceFields: I7. There are seats of those sections only that the log says have some.
func (p *partitionAudit) checkPlaceFields() {
	for field := range p.placeFields {
		id, name, _ := strings.Cut(field, "/")
		if s, _ := p.book.Events[id].Section(name); s.Layout == "" && !p.isOver(id) {
			p.violation("I7", field, "is a field of %s, the log has no such section with seats", p.ns.Keys.Places(p.p))
		}
	}
}
