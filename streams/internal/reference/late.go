package reference

import "slices"

func (o *Order) open() bool { return o.State == Held || o.State == Lapsed }

// overdue ends an order whose time is over, and says what then is to be done with what was asked of it.
func (w *World) overdue(now int64, name Name) (answer string) {
	o, lateFor := w.Orders[name], w.Events[name.Event].Offer.LateFor
	if o.State == Lapsed || lateFor == 0 {
		w.end(now, name, Expired, "")
		return Done
	}
	w.end(now, name, Lapsed, "")
	o.LateFor = lateFor
	return Wait
}

// gone is why a lapsed order cannot have its places again; empty if it can.
func (w *World) gone(now int64, name Name) string {
	o, e, places := w.Orders[name], w.Events[name.Event], int64(0)
	for _, l := range o.Lines {
		places += l.Quantity
	}
	switch {
	case slices.ContainsFunc(o.Lines, func(l Line) bool { return !e.onSale(now, l.Section) }):
		return "not_on_sale"
	case e.Offer.MaxPerOrder > 0 && places > e.Offer.MaxPerOrder:
		return "over_limit"
	case !w.opensAgain(name.Event, o):
		return "code_refused"
	case w.InProgress[Name{name.Event, o.Customer}] != "":
		return "in_progress"
	case e.Offer.MaxPerCustomer > 0 && places+w.Owns(name.Event, o.Customer) > e.Offer.MaxPerCustomer:
		return "over_customer_limit"
	}
	for _, l := range o.Lines {
		if section := e.Sections[l.Section]; e.seats(l.Section) == "" && l.Quantity > section.Available {
			return "sold_out"
		} else if len(w.notFree(name, l)) > 0 {
			return "seat_taken"
		}
	}
	return ""
}

// opensAgain reports whether a lapsed order may use its code once more.
func (w *World) opensAgain(event string, o *Order) bool {
	code, _ := w.opener(event, Asked{Lines: o.Lines, Codes: []string{o.Code}})
	return code == o.Code
}

func (w *World) notFree(name Name, l Line) []int {
	e := w.Events[name.Event]
	notFree, _ := ReadSeats(e.seats(l.Section), e.mark(l.Section)).Named(l.Places)
	return notFree
}

// whose says which of its places a lapsed order cannot have again, if that is why it is over.
func (w *World) whose(name Name) string {
	o, e := w.Orders[name], w.Events[name.Event]
	if !slices.Contains([]string{"sold_out", "seat_taken"}, o.Reason) {
		return ""
	}
	for _, l := range o.Lines {
		if section := e.Sections[l.Section]; e.seats(l.Section) == "" && l.Quantity > section.Available {
			return l.Section
		} else if taken := w.notFree(name, l); len(taken) > 0 {
			return e.say(Asked{Lines: []Line{l, l}}, l, e.names(l.Section, taken))
		}
	}
	return ""
}
