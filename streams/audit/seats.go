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
		err = of.CheckPlaces(is.Places)
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

// checkSeats: I2. Each seat is held or sold by one order at most: from what the orders are, and not as the fold does, fact by fact.
func (p *partitionAudit) checkSeats(context.Context) error {
	type seated struct {
		domain.Section
		of     *seats.Layout
		places []byte
	}
	sections := make(map[string]*seated)
	for id, event := range p.book.Events {
		for _, s := range event.Sections {
			if !s.Seated() {
				continue
			}
			of, err := seats.Parse(s.Layout)
			if err != nil {
				return fmt.Errorf("layout of section %s/%s: %w", id, s.Name, err) // it was listed with that
			}
			sections[layout.SectionField(id, s.Name)] = &seated{s, of, []byte(of.Places())}
		}
	}
	for ref, o := range p.book.Orders {
		mark := map[domain.OrderState]byte{domain.OrderHeld: seats.Held, domain.OrderConfirmed: seats.Sold}[o.State]
		for item := range o.Items.All() {
			s := sections[layout.SectionField(ref.EventID, item.Section)]
			if mark == 0 || s == nil {
				continue
			}
			list, err := seats.ParsePlaces(item.Places)
			if err != nil {
				p.violation("I2", ref.String(), "places of %s: %v", item.Section, err)
				continue
			}
			for _, place := range list {
				if place > len(s.places) || s.places[place-1] != seats.Free {
					name, _ := s.of.Name(place)
					p.violation("I2", ref.String(), "has seat %s of %s (place %d), which is not free for it", name, item.Section, place)
					continue
				}
				s.places[place-1] = mark
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		s := sections[name]
		for at := range min(len(s.places), len(s.Places)) {
			if s.places[at] != s.Places[at] {
				seat, _ := s.of.Name(at + 1)
				p.violation("I2", name, "seat %s is %s by the log, %s by its orders", seat, stateOf(s.Places[at]), stateOf(s.places[at]))
			}
		}
	}
	return nil
}

// checkPlaceFields: I7. There are seats of those sections only that the log says have some.
func (p *partitionAudit) checkPlaceFields() {
	for field := range p.placeFields {
		id, name, _ := strings.Cut(field, "/")
		if s, _ := p.book.Events[id].Section(name); !s.Seated() {
			p.violation("I7", field, "is a field of %s, the log has no such section with seats", p.ns.Keys.Places(p.p))
		}
	}
}
