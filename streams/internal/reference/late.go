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
	case e.Closed || now < e.Offer.OnSale || e.Offer.OffSale > 0 && now >= e.Offer.OffSale:
		return "not_on_sale"
	case e.Offer.MaxPerOrder > 0 && places > e.Offer.MaxPerOrder:
		return "over_limit"
	case w.InProgress[Name{name.Event, o.Customer}] != "":
		return "in_progress"
	case e.Offer.MaxPerCustomer > 0 && places+w.Owns(name.Event, o.Customer) > e.Offer.MaxPerCustomer:
		return "over_customer_limit"
	}
	for _, l := range o.Lines {
		if section := e.Sections[l.Section]; section.Seats == "" && l.Quantity > section.Available {
			return "sold_out"
		} else if len(w.notFree(name, l)) > 0 {
			return "seat_taken"
		}
	}
	return ""
}

func (w *World) notFree(name Name, l Line) []int {
	notFree, _ := ReadSeats(w.Events[name.Event].Sections[l.Section].Seats, '.').Named(l.Places)
	return notFree
}

// whose says which of its places a lapsed order cannot have again, if that is why it is over.
func (w *World) whose(name Name) string {
	o, e := w.Orders[name], w.Events[name.Event]
	if !slices.Contains([]string{"sold_out", "seat_taken"}, o.Reason) {
		return ""
	}
	for _, l := range o.Lines {
		if section := e.Sections[l.Section]; section.Seats == "" && l.Quantity > section.Available {
			return l.Section
		} else if taken := w.notFree(name, l); len(taken) > 0 {
			return e.say(Asked{Lines: []Line{l, l}}, l, e.names(l.Section, taken))
		}
	}
	return ""
}
