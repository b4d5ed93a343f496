package reference

import (
	"maps"
	"slices"
)

// Clone is a world of its own that is the same.
func (w *World) Clone() *World {
	c := &World{Events: map[string]*Event{}, Orders: map[Name]*Order{}, InProgress: maps.Clone(w.InProgress), Invoices: maps.Clone(w.Invoices)}
	for id, e := range w.Events {
		own := *e
		own.Sections, own.Refused = maps.Clone(e.Sections), maps.Clone(e.Refused)
		c.Events[id] = &own
	}
	for name, o := range w.Orders {
		own := *o
		c.Orders[name] = &own
	}
	return c
}

// Restore is about an order that was something once, which is lost: it is that again, if it can be. since: it has become what it is now after that.
func (w *World) Restore(now int64, name Name, lost Order, since, refund bool) (happened bool) {
	is, e := w.Orders[name], w.Events[name.Event]
	if is == nil {
		is = &Order{}
	}
	switch differs := !slices.EqualFunc(is.Lines, lost.Lines, sameLine); {
	case since && (is.open() || is.Confirmed > 0 || lost.Confirmed == 0 || lost.Paid == 0 || is.Body != "" && is.Body != lost.Body):
		return false
	case since:
		return w.withoutPlaces(now, name, lost, refund)
	case e == nil || lost.State == Rejected || lost.open() && is.open() || is.State == Held && lost.State == Confirmed && differs:
		return false
	}
	next := lost
	if lost.open() && (lost.State == Lapsed || now >= lost.Deadline) {
		next.State, next.Reason, next.Detail = Expired, "", ""
	}
	switch can := w.canBe(name, *is, next); {
	case can:
		w.become(now, name, next)
	case is.State == Confirmed:
		return false
	case next.State == Held:
		next.State = Expired
		w.become(now, name, next)
	default:
		return w.withoutPlaces(now, name, lost, refund)
	}
	return true
}

// withoutPlaces is about what was paid for, and is nobody's any more.
func (w *World) withoutPlaces(now int64, name Name, lost Order, refund bool) (happened bool) {
	if !refund {
		return false
	}
	if lost.State == Confirmed {
		lost.giveBack(costs(lost.Lines))
		lost.State, lost.Reason = Cancelled, "places_gone"
	}
	w.become(now, name, lost)
	return true
}

func (o *Order) has() bool { return o.State == Held || o.State == Confirmed }

func sameLine(a, b Line) bool {
	return a.Section == b.Section && a.Quantity == b.Quantity && slices.Equal(a.Places, b.Places)
}

// canBe reports whether an order can be what it was, with its places.
func (w *World) canBe(name Name, is, next Order) bool {
	if !next.has() {
		return true
	}
	e, before, then, more := w.Events[name.Event], int64(0), int64(0), false
	for _, l := range next.Lines {
		var own Line
		if i := slices.IndexFunc(is.Lines, func(o Line) bool { return o.Section == l.Section }); is.has() && i >= 0 {
			own = is.Lines[i]
		}
		others := slices.DeleteFunc(slices.Clone(l.Places), func(p int) bool { return slices.Contains(own.Places, p) })
		more = more || len(others) > 0 || l.Quantity > own.Quantity
		if e.seats(l.Section) == "" && l.Quantity-own.Quantity > e.Sections[l.Section].Available {
			return false
		}
		if l.Places = others; len(others) > 0 && len(w.notFree(name, l)) > 0 {
			return false
		}
		then += l.Quantity
	}
	if is.has() {
		for _, l := range is.Lines {
			before += l.Quantity
		}
	}
	switch {
	case !more:
		return true
	case e.Cancelled, e.Offer.MaxPerCustomer > 0 && then > before && w.Owns(name.Event, next.Customer)-before+then > e.Offer.MaxPerCustomer:
		return false
	case !is.has() && next.Code != "" && !w.opensAgain(name.Event, &next):
		return false
	}
	return next.State != Held || w.InProgress[Name{name.Event, next.Customer}] == ""
}

// become makes an order another one, with the places that that has.
func (w *World) become(now int64, name Name, next Order) {
	of := map[string][2]int64{Held: {1, 0}, Confirmed: {0, 1}}
	slot := Name{name.Event, next.Customer}
	if is := w.Orders[name]; is != nil {
		if is.has() {
			w.places(name, 1, -of[is.State][0], -of[is.State][1])
		}
		if is.open() && w.InProgress[slot] == name.Order {
			delete(w.InProgress, slot)
		}
	}
	if next.Outcome = 0; next.State != Held {
		next.Outcome = now
	}
	w.Orders[name] = &next
	if next.has() {
		w.places(name, -1, of[next.State][0], of[next.State][1])
	}
	if next.State == Held {
		w.InProgress[slot] = name.Order
	}
}
