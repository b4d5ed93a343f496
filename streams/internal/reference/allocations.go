package reference

import (
	"slices"
	"strings"
)

// Allocation is who may take some of the places, and when; its sections are named SECTION~ALLOCATION.
type Allocation struct {
	Name            string
	OnSale, OffSale int64 // 0: as the event's
	Codes           []Code
}

// Code opens an allocation, for so many orders at once; 0: for any number.
type Code struct {
	Hash    string
	Uses    int64
	Revoked bool
}

// Moved are seats that are something else then.
type Moved struct {
	Section  string
	From, To byte
	Places   []int
}

// section and allocation are those of a section's places; for everybody: no allocation.
func section(name string) string { return strings.Split(name, "~")[0] }

func allocation(name string) string { return strings.Join(strings.Split(name, "~")[1:], "") }

// seats are those of a section, whatever allocation it is asked for.
func (e *Event) seats(name string) string { return e.Sections[section(name)].Seats }

// mark is what free seats of a section are, of an allocation or for everybody.
func (e *Event) mark(name string) byte {
	for _, s := range e.Offer.Sections {
		if s.Name == name && s.Mark != 0 {
			return s.Mark
		}
	}
	return '.'
}

// onSale reports whether such places are.
func (e *Event) onSale(now int64, name string) bool {
	from, till := e.Offer.OnSale, e.Offer.OffSale
	for _, a := range e.Offer.Allocations {
		if a.Name == allocation(name) && a.OnSale > 0 {
			from = a.OnSale
		}
		if a.Name == allocation(name) && a.OffSale > 0 {
			till = a.OffSale
		}
	}
	return !e.Closed && now >= from && (till == 0 || now < till)
}

// opener is a code that may be used for all allocations that are asked for; none, if none may. needs reports whether one must.
func (w *World) opener(event string, a Asked) (code string, needs bool) {
	wanted := map[string]bool{}
	for _, l := range a.Lines {
		if name := allocation(l.Section); name != "" {
			wanted[name] = true
		}
	}
	for _, hash := range a.Codes {
		for _, of := range w.Events[event].Offer.Allocations {
			for _, c := range of.Codes {
				if c.Hash == hash && len(wanted) == 1 && wanted[of.Name] && !c.Revoked && (c.Uses == 0 || w.Uses(event, hash) < c.Uses) {
					return hash, true
				}
			}
		}
	}
	return "", len(wanted) > 0
}

// Uses is how many orders use a code.
func (w *World) Uses(event, hash string) (n int64) {
	for name, o := range w.Orders {
		if name.Event == event && o.Code == hash && (o.State == Held || o.State == Confirmed) {
			n++
		}
	}
	return n
}

// recount says of sections with seats how many are free and blocked. Marks that no allocation has are for everybody, but nobody gets them.
func (e *Event) recount() {
	for _, s := range e.Offer.Sections {
		if e.seats(s.Name) == "" {
			continue
		}
		is, marks := e.Sections[s.Name], ""
		for _, other := range e.Offer.Sections {
			if section(other.Name) == section(s.Name) && other.Mark != 0 {
				marks += string(other.Mark)
			}
		}
		is.Available, is.Blocked = 0, 0
		for _, c := range e.seats(s.Name) {
			lower := strings.ToLower(string(c))
			own := s.Mark != 0 && lower == string(s.Mark) || s.Mark == 0 && !strings.Contains(marks, lower)
			switch {
			case own && (c == '.' || c >= 'a' && c <= 'z'):
				is.Available++
			case own && (c == '!' || c >= 'A' && c <= 'Z'):
				is.Blocked++
			}
		}
		is.Capacity = is.Available + is.Blocked + is.Held + is.Sold
		e.Sections[s.Name] = is
	}
}

// move moves seats; not, if one is something else.
func (e *Event) move(list []Moved) bool {
	for _, m := range list {
		s := e.Sections[m.Section]
		is := []byte(s.Seats)
		for _, place := range m.Places {
			if is[place-1] != m.From {
				return false
			}
			is[place-1] = m.To
		}
		s.Seats = string(is)
		e.Sections[m.Section] = s
	}
	return true
}

// keeps reports whether an offer has all allocations and codes that there are.
func (o Offer) keeps(before Offer) bool {
	for _, a := range before.Allocations {
		i := slices.IndexFunc(o.Allocations, func(b Allocation) bool { return a.Name == b.Name })
		if i < 0 {
			return false
		}
		for _, c := range a.Codes {
			if !slices.ContainsFunc(o.Allocations[i].Codes, func(d Code) bool { return c.Hash == d.Hash }) {
				return false
			}
		}
	}
	return true
}

// own are the lines that an order says, of the allocations that it has there.
func (o *Order) own(lines []Line) (list []Line) {
	for _, l := range lines {
		for _, has := range o.Lines {
			if section(has.Section) == l.Section {
				l.Section = has.Section
			}
		}
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b Line) int { return strings.Compare(a.Section, b.Section) })
	return list
}
