package reference

import (
	"slices"
	"strconv"
)

// Altered is a partial cancel, which says what is given back, a change, which says what the order shall be, or a refund.
type Altered struct {
	Back, Keep       bool  // the places come back; and the money does not
	Refund           bool  // only money does: of these places, or
	Amount           int64 // so much
	Number           int64
	Body             string
	Lines            []Line
	Least            map[string]int64 // that may be charged, by currency
	Published, Valid int64            // milliseconds: when, and for how long a change may wait
}

// ChangePending is the answer to one whose number is not the next one.
const ChangePending = "change_pending"

// Alter is a partial cancel, a change or a refund that comes, perhaps again.
func (w *World) Alter(now int64, name Name, a Altered) (happened bool, answer string) {
	o := w.Orders[name]
	switch {
	case o == nil:
		return false, Wait
	case a.Number == o.Number && a.Body != o.AlteredBy:
		return false, Conflict
	case a.Number <= o.Number || !o.open() && o.State != Confirmed && (!a.Refund || o.Confirmed == 0):
		return false, Done
	case a.Number > o.Number+1:
		return false, ChangePending
	}
	a.Lines = o.own(a.Lines)
	lines, why, detail := w.Events[name.Event].left(o, a)
	if !a.Back && !a.Refund {
		lines, why, detail = w.moved(now, name, o, a)
	}
	if a.Back && why == "" && len(lines) == 0 {
		return w.Cancel(now, name, "requested", a.Keep), Done
	}
	if o.State == Held && now >= o.Deadline {
		return true, w.overdue(now, name)
	}
	if o.State == Lapsed {
		o.Number, o.AlteredAt, o.AlteredBy, o.Refusal, o.Blamed = a.Number, now, a.Body, "lapsed", ""
		return true, Done
	}
	if a.Refund {
		o.refund(now, a, lines, why, detail)
		return true, Done
	}
	switch amount := costs(lines); {
	case why != "" || o.State == Confirmed:
	case o.Attempt > 0 && !o.Failed:
		why = "payment_pending"
	case amount > 0 && amount < a.Least[o.Currency]:
		why = "below_minimum"
	}
	o.Number, o.AlteredAt, o.AlteredBy, o.Refusal, o.Blamed = a.Number, now, a.Body, why, detail
	if why != "" {
		return true, Done
	}
	sold := int64(0)
	if o.State == Confirmed {
		sold = 1
		o.Owed += costs(o.Lines) - costs(lines)
		if !a.Keep {
			o.giveBack(costs(o.Lines) - costs(lines))
		}
	}
	w.places(name, 1, sold-1, -sold)
	o.Lines = lines
	w.places(name, -1, 1-sold, sold)
	return true, Done
}

// giveBack gives more of what was paid back, until it is all.
func (o *Order) giveBack(more int64) { o.Back = min(o.Back+more, o.Paid) }

// refund gives back an amount, or what the places cost without which only these lines would be left.
func (o *Order) refund(now int64, a Altered, left []Line, why, detail string) {
	amount := a.Amount
	if len(a.Lines) > 0 {
		amount = costs(o.Lines) - costs(left)
	}
	switch rest := o.Paid - o.Back; {
	case o.State == Held:
		why, detail = "not_paid", ""
	case why == "" && (amount == 0 || amount > rest):
		why, detail = "more_than_paid", strconv.FormatInt(amount, 10)+" of "+strconv.FormatInt(rest, 10)
	case why == "":
		o.Back += amount
	}
	o.Number, o.AlteredAt, o.AlteredBy, o.Refusal, o.Blamed = a.Number, now, a.Body, why, detail
}

func costs(lines []Line) (n int64) {
	for _, l := range lines {
		n += l.Quantity * l.Price
	}
	return n
}

// line is that of a section; without places, if there is none.
func (o *Order) line(section string) Line {
	for _, l := range o.Lines {
		if l.Section == section {
			return l
		}
	}
	return Line{}
}

// left is what an order has without what it gives back.
func (e *Event) left(o *Order, a Altered) (lines []Line, why, detail string) {
	said := Asked{Lines: a.Lines}
	for _, l := range a.Lines {
		has := o.line(l.Section)
		places, unknown := e.find(l)
		others := slices.DeleteFunc(slices.Clone(places), func(p int) bool { return slices.Contains(has.Places, p) })
		switch {
		case has.Quantity == 0:
			return nil, "not_in_order", e.say(said, l, l.Named)
		case len(has.Places) == 0 && len(l.Named) > 0:
			return nil, "unknown_seat", e.say(said, l, l.Named)
		case len(has.Places) > 0 && len(l.Named) == 0:
			return nil, "seats_not_named", e.say(said, l, nil)
		case len(unknown) > 0:
			return nil, "unknown_seat", e.say(said, l, unknown)
		case len(others) > 0:
			return nil, "not_in_order", e.say(said, l, e.names(l.Section, others))
		case l.Quantity > has.Quantity:
			return nil, "not_in_order", e.say(said, l, nil)
		}
	}
	for _, has := range o.Lines {
		for _, l := range a.Lines {
			if l.Section == has.Section {
				places, _ := e.find(l)
				has.Quantity -= l.Quantity
				has.Places = slices.DeleteFunc(slices.Clone(has.Places), func(p int) bool { return slices.Contains(places, p) })
			}
		}
		if has.Quantity > 0 {
			lines = append(lines, has)
		}
	}
	return lines, "", ""
}

// moved is what an order has when it is what it shall be.
func (w *World) moved(now int64, name Name, o *Order, a Altered) (lines []Line, why, detail string) {
	e, said := w.Events[name.Event], Asked{Lines: a.Lines}
	switch {
	case now > a.Published+a.Valid:
		return nil, "too_late", ""
	case e.Cancelled:
		return nil, "event_cancelled", ""
	}
	before, after := int64(0), int64(0)
	for _, l := range o.Lines {
		before += l.Quantity
	}
	for _, l := range a.Lines {
		of, known := e.Sections[l.Section]
		has := o.line(l.Section)
		places, unknown := e.find(l)
		price := of.Price
		if has.Quantity >= l.Quantity {
			price = has.Price
		}
		dear := !slices.ContainsFunc(o.Lines, func(l Line) bool { return l.Price == price })
		switch {
		case !known:
			return nil, "unknown_section", e.say(said, l, nil)
		case len(unknown) > 0:
			return nil, "unknown_seat", e.say(said, l, unknown)
		case l.Price >= 0 && l.Price != price, has.Quantity > 0 && has.Price != price:
			return nil, "price_changed", e.say(said, l, nil)
		case dear:
			return nil, "not_same_price", e.say(said, l, nil)
		}
		after += l.Quantity
		lines = append(lines, Line{Section: l.Section, Quantity: l.Quantity, Price: price, Named: l.Named, Apart: l.Apart, Places: places, Mark: e.own(l.Section)})
	}
	switch {
	case o.State == Confirmed && costs(lines) > costs(o.Lines):
		return nil, "costs_more", ""
	case slices.ContainsFunc(lines, func(l Line) bool { return e.seats(l.Section) != "" && l.Quantity > 100 }):
		return nil, "over_limit", "want at most 100 seats of a section"
	case after > before && e.Offer.MaxPerOrder > 0 && after > e.Offer.MaxPerOrder:
		return nil, "over_limit", ""
	case after > before && e.Offer.MaxPerCustomer > 0 && w.Owns(name.Event, o.Customer)+after-before > e.Offer.MaxPerCustomer:
		return nil, "over_customer_limit", ""
	}
	for i, l := range lines {
		has := o.line(l.Section)
		if e.seats(l.Section) == "" {
			if l.Quantity > e.Sections[l.Section].Available+has.Quantity {
				return nil, "sold_out", e.say(said, l, nil)
			}
			continue
		}
		if len(l.Named) == 0 {
			if lines[i].Places, why = e.anew(l, has.Places); why != "" {
				return nil, why, e.say(said, l, nil)
			}
			continue
		}
		taken := slices.DeleteFunc(slices.Clone(l.Places), func(p int) bool { return slices.Contains(has.Places, p) })
		given := slices.DeleteFunc(slices.Clone(has.Places), func(p int) bool { return slices.Contains(l.Places, p) })
		if len(taken) == 0 {
			continue
		}
		notFree, orphans := ReadSeats(put(e.seats(l.Section), given, e.mark(l.Section), 1, 0, 0), e.mark(l.Section)).Named(taken)
		switch {
		case len(notFree) > 0:
			return nil, "seat_taken", e.say(said, l, e.names(l.Section, notFree))
		case len(orphans) > 0 && e.Offer.NoOrphans:
			return nil, "would_leave_orphan", e.say(said, l, e.names(l.Section, orphans))
		}
	}
	return lines, "", ""
}

// anew is which seats a line gets that names none, of an order that has some of its section. If those are as many as it wants, and where it wants
// them, it keeps them.
func (e *Event) anew(l Line, own []int) (places []int, why string) {
	beside := true
	for i := range own {
		beside = beside && own[i] == own[0]+i
	}
	if int64(len(own)) == l.Quantity && (beside || l.Apart) {
		return own, ""
	}
	return best(put(e.seats(l.Section), own, e.mark(l.Section), 1, 0, 0), e.mark(l.Section), l)
}
