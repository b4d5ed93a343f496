// Package reference is a second opinion: what becomes of orders and events, written once more, from the
// tables of docs/architecture.md ("Life of an order", "An event that is cancelled") and from nothing else. It
// imports nothing of this program, knows no Redis, and is slow and plain. Tests run it beside what is stored
// and beside what the log folds to: all three must be the same.
package reference

import (
	"maps"
	"reflect"
	"slices"
)

// SectionOffer is what is said of a section.
type SectionOffer struct {
	Name            string
	Price, Capacity int64
	Blocked         int64    // of a counted one: not for sale
	Mark            byte     // of seats of an allocation: what free ones are
	Seats           string   // what each seat is at first, none if it has none (ReadSeats)
	Names           []string // of the seats, by their places from 1 on
}

// Offer is what an organiser says of an event.
type Offer struct {
	Name, Currency                               string
	MaxPerOrder, MaxPerCustomer, OnSale, OffSale int64
	LateFor                                      int64 // milliseconds after its deadline in which an order may still be paid for
	NoOrphans                                    bool
	Sections                                     []SectionOffer
	Allocations                                  []Allocation
	Moves                                        []Moved // of seats, when it is adjusted
}

// Section is where the places of a section are; and what each seat is.
type Section struct {
	Price, Capacity, Available, Held, Sold, Blocked int64
	Seats                                           string
}

// Event is what is offered, and what became of it.
type Event struct {
	Offer             Offer
	Closed, Cancelled bool
	Sections          map[string]Section

	Orders, Tickets, Revenue int64               // confirmed now
	Refused                  map[[2]string]int64 // places that were asked for in vain, by section and reason
}

// Name names an order.
type Name struct{ Event, Order string }

// Line is a part of what is asked for, of a section of its own: all of them, or nothing.
type Line struct {
	Section         string
	Quantity, Price int64    // of what is asked for: -1 if any price will do; of a rejected order: 0
	Named           []string // seats that are asked for
	Apart           bool     // seats that need not be side by side
	Places          []int    // of the seats, once it has them
	Mark            byte     // of seats of an allocation, then
}

// Order is one, as far as it got.
type Order struct {
	State, Reason, Detail              string
	Type, Body, Customer               string
	Lines                              []Line
	Currency, Authorization            string
	Held, Deadline, Confirmed, Outcome int64 // milliseconds; 0 if that never was
	LateFor                            int64 // since it has lapsed

	Code  string // that opened its allocation
	Trace string // of whoever published it

	Attempt int    // to pay, the latest; 0 if there was none
	Failed  bool   // it was declined
	Asked   bool   // its customer has something to do
	Bill    string // body of the pay that it is

	Number, AlteredAt          int64  // of the latest partial cancel or change, and when that was decided
	AlteredBy, Refusal, Blamed string // its body, and why it was refused
	Owed                       int64  // what it costs less than was paid
	Dispute                    string // of its payment, as it was told; empty for none
	Paid, Back                 int64  // what was paid, once it is confirmed; and what of that is given back, in all
}

// The states, and what is to be done with an entry.
const (
	Held, Confirmed, Declined, Expired, Cancelled, Rejected = "held", "confirmed", "declined", "expired", "cancelled", "rejected"
	Lapsed                                                  = "lapsed"
	Done, Authorize, Void, Wait, Conflict, TooLate, Pending = "done", "authorize", "void", "wait", "conflict", "too_late", "attempt_pending"
	LookUp                                                  = "ask"
)

// World is everything there is.
type World struct {
	Events     map[string]*Event
	Orders     map[Name]*Order
	InProgress map[Name]string // event and customer -> order
	Invoices   map[Name]string // order -> customer
}

// New is an empty one.
func New() *World {
	return &World{Events: map[string]*Event{}, Orders: map[Name]*Order{}, InProgress: map[Name]string{}, Invoices: map[Name]string{}}
}

// Asked is a purchase or a hold.
type Asked struct {
	Type, Body, Customer    string
	Lines                   []Line
	Invalid                 string           // what is wrong with it
	Codes                   []string         // that it brings
	Trace                   string           // to keep
	NoToken                 bool             // a purchase that brings no payment token
	Least                   map[string]int64 // that may be charged, by currency
	Published, Valid, Lasts int64            // milliseconds: when, for how long it may wait, how long a hold is
}

// Ask is a purchase or a hold that comes, perhaps again. happened reports whether anything of the order changed.
func (w *World) Ask(now int64, name Name, a Asked) (happened bool, answer string) {
	o := w.Orders[name]
	switch {
	case o != nil && o.Body != "" && o.Body != a.Body:
		return false, Conflict
	case o != nil && a.Type == "purchase":
		return false, o.payable()
	case o != nil:
		return false, Done
	}
	reason, detail, got := w.refuse(now, name.Event, a)
	e := w.Events[name.Event]
	o = &Order{Type: a.Type, Body: a.Body, Customer: a.Customer, Trace: a.Trace}
	for i, l := range a.Lines {
		l.Price = 0
		if e != nil && reason == "" {
			l.Price, l.Places, l.Mark = e.Sections[l.Section].Price, got[i], e.own(l.Section)
		} else if e != nil && reason != "invalid" {
			if _, known := e.Sections[l.Section]; known {
				e.Refused[[2]string{l.Section, reason}] += l.Quantity
			}
		}
		o.Lines = append(o.Lines, l)
	}
	if e != nil && reason == "" {
		o.Code, _ = w.opener(name.Event, a)
	}
	if w.Orders[name] = o; reason != "" {
		o.State, o.Reason, o.Detail, o.Outcome = Rejected, reason, detail, now
		return true, Done
	}
	o.State, o.Currency, o.Held, o.Deadline = Held, e.Offer.Currency, now, now+a.Lasts
	w.places(name, -1, 1, 0)
	w.InProgress[Name{name.Event, a.Customer}] = name.Order
	if a.Type == "purchase" {
		o.Attempt = 1
		return true, Authorize
	}
	return true, Done
}

// payable is what follows for who would pay for an order that is there.
func (o *Order) payable() string {
	switch {
	case o.open() && o.Asked:
		return Done
	case o.open():
		return Authorize
	case o.Held > 0 && (o.State == Expired || o.State == Cancelled): // there may be money
		return Void
	}
	return Done
}

func (w *World) refuse(now int64, event string, a Asked) (reason, detail string, got [][]int) {
	var e Event
	if is := w.Events[event]; is != nil {
		e = *is
	}
	// some reports whether a line is so, and blames the first one if there are others.
	some := func(is func(l Line, s Section, known bool) bool) (bool, string) {
		for _, l := range a.Lines {
			if section, known := e.Sections[l.Section]; is(l, section, known) {
				return true, l.Section[:len(l.Section)*min(len(a.Lines)-1, 1)]
			}
		}
		return false, ""
	}
	places, amount := int64(0), int64(0)
	for _, l := range a.Lines {
		places, amount = places+l.Quantity, amount+l.Quantity*e.Sections[l.Section].Price
	}
	unknown, which := some(func(_ Line, _ Section, known bool) bool { return !known })
	nowhere, closed := false, false
	for _, l := range slices.Backward(a.Lines) {
		if _, known := e.Sections[l.Section]; !known {
			_, known = e.Sections[section(l.Section)]
			nowhere = !known
		}
		closed = closed || !e.onSale(now, l.Section)
	}
	opener, needs := "", false
	if w.Events[event] != nil {
		opener, needs = w.opener(event, a)
	}
	changed, dear := some(func(l Line, s Section, _ bool) bool { return l.Price >= 0 && l.Price != s.Price })
	tooMany, _ := some(func(l Line, _ Section, _ bool) bool { return e.seats(l.Section) != "" && l.Quantity > 100 })
	noSeat, noName, without, taken := "", "", "", ""
	for _, l := range a.Lines {
		section, known := e.Sections[l.Section]
		_, unknown := e.find(l)
		if of := e.say(a, l, unknown); noSeat == "" && known && len(unknown) > 0 {
			noSeat, noName = "unknown_seat", of
		}
		places, why, because := e.get(l, section)
		if got = append(got, places); without == "" && why != "" {
			without, taken = why, e.say(a, l, because)
		}
	}
	type rule struct {
		broken         bool
		reason, detail string
	}
	for _, r := range []rule{
		{a.Invalid != "", "invalid", a.Invalid},
		{a.NoToken && (unknown || amount > 0), "invalid", "payment_token: missing"},
		{now > a.Published+a.Valid, "too_late", ""},
		{w.Events[event] == nil, "unknown_event", ""},
		{unknown && nowhere, "unknown_section", which},
		{unknown, "unknown_allocation", which},
		{noSeat != "", noSeat, noName},
		{closed, "not_on_sale", ""},
		{changed, "price_changed", dear},
		{tooMany, "over_limit", "want at most 100 seats of a section"},
		{e.Offer.MaxPerOrder > 0 && places > e.Offer.MaxPerOrder, "over_limit", ""},
		{amount > 0 && amount < a.Least[e.Offer.Currency], "below_minimum", ""},
		{needs && opener == "", "code_refused", ""},
		{w.InProgress[Name{event, a.Customer}] != "", "in_progress", ""},
		{e.Offer.MaxPerCustomer > 0 && places+w.Owns(event, a.Customer) > e.Offer.MaxPerCustomer, "over_customer_limit", ""},
		{without != "", without, taken},
	} {
		if r.broken {
			return r.reason, r.detail, nil
		}
	}
	return "", "", got
}

// Owns is how many places of an event a customer has, held and sold.
func (w *World) Owns(event, customer string) (n int64) {
	for name, o := range w.Orders {
		for _, l := range o.Lines {
			if name.Event == event && o.Customer == customer && (o.State == Held || o.State == Confirmed) {
				n += l.Quantity
			}
		}
	}
	return n
}

// Pay is a pay that comes, as the attempt of that number.
func (w *World) Pay(now int64, name Name, attempt int, body string, published, valid int64) (happened bool, answer string) {
	o := w.Orders[name]
	if o == nil {
		return false, Wait
	}
	late, over := now > published+valid, now >= o.Deadline+o.LateFor
	switch {
	case attempt == o.Attempt && o.Type == "hold" && body != o.Bill && o.Bill != "":
		return false, Conflict
	case !o.open():
		return false, o.payable()
	case attempt < o.Attempt || attempt == o.Attempt && (o.Failed || o.Asked):
		return false, Done
	case attempt == o.Attempt && (o.Type == "hold" || over || !late): // it was let in before, or the purchase was
		return false, Authorize
	case attempt == o.Attempt:
		return false, TooLate
	case over:
		return true, w.overdue(now, name)
	case attempt != o.Attempt+1 || o.Attempt > 0 && !o.Failed:
		return false, Pending
	case late:
		return false, TooLate
	}
	o.Attempt, o.Failed, o.Bill = attempt, false, body
	return true, Authorize
}

// Update is word that a customer may have done what they had to for an attempt.
func (w *World) Update(name Name, attempt int) (answer string) {
	o := w.Orders[name]
	if o != nil && o.disputable() && max(o.Attempt, 1) == attempt {
		return LookUp
	}
	if o != nil && o.open() && (o.Asked || o.State == Lapsed && o.Attempt > 0 && !o.Failed) && o.Attempt == attempt {
		return LookUp
	}
	return Done
}

// Answer is what the gateway says of an attempt: approved, declined, mismatched, asked (the customer must do something) or unknown.
func (w *World) Answer(now int64, name Name, attempt int, said, authorization, detail string) (happened bool, answer string) {
	o := w.Orders[name]
	held := o != nil && o.open()
	stray := held && (attempt != o.Attempt || o.Failed) || o != nil && o.State == Confirmed && attempt != max(o.Attempt, 1)
	switch {
	case stray && said != "declined" && said != "mismatched":
		return false, Void
	case stray:
		return false, Done
	case held && said == "declined" && o.Type == "hold":
		o.Failed, o.Asked, o.Authorization = true, false, ""
	case held && said == "declined":
		w.end(now, name, Declined, "")
	case held && said == "mismatched":
		w.end(now, name, Declined, "payment_mismatch")
		o.Detail = detail
	case held && o.State == Held && now >= o.Deadline && w.Events[name.Event].Offer.LateFor > 0:
		if w.overdue(now, name); said != "approved" {
			return true, Done
		}
		return true, Wait
	case held && now >= o.Deadline+o.LateFor:
		w.end(now, name, Expired, "")
		return true, Void
	case held && said == "approved" && o.State == Lapsed && w.gone(now, name) != "":
		w.end(now, name, Expired, w.gone(now, name))
		o.Detail = w.whose(name)
		return true, Void
	case held && said == "approved":
		w.end(now, name, Confirmed, "")
		o.Confirmed, o.Authorization, o.Asked, o.Paid = now, authorization, false, costs(o.Lines)
	case held && o.Asked:
		return false, Done
	case held && said == "asked":
		o.Asked, o.Authorization = true, authorization
	case held && o.State == Lapsed:
		return false, Done
	case held:
		return false, Wait
	case said == "declined" || said == "mismatched" || o != nil && o.State == Confirmed:
		return false, Done // there is no money, or it is where it should be
	case o == nil || o.State == Expired || o.State == Cancelled || said == "approved" || said == "asked":
		return false, Void
	default:
		return false, Done
	}
	return true, Done
}

// Expire is a look at the clock.
func (w *World) Expire(now int64, name Name) (happened bool) {
	o := w.Orders[name]
	if happened = o != nil && o.open() && now >= o.Deadline+o.LateFor; happened {
		w.overdue(now, name)
	}
	return happened
}

// Cancel gives an order up because that was requested, because of capture_failed, or of event_cancelled. The organiser may keep the money.
func (w *World) Cancel(now int64, name Name, reason string, keep bool) (happened bool) {
	o := w.Orders[name]
	switch {
	case o == nil && reason == "requested":
		w.Orders[name] = &Order{State: Cancelled, Reason: reason, Outcome: now}
		return true
	case o != nil && o.State == Cancelled && reason == "capture_failed" && o.Back < o.Paid:
		o.Reason, o.Back = reason, o.Paid // the places were given back before
		return true
	case o == nil || !o.open() && o.State != Confirmed,
		reason == "capture_failed" && o.State != Confirmed,
		reason == "event_cancelled" && !w.Events[name.Event].Cancelled:
		return false
	}
	switch {
	case reason == "capture_failed":
		o.Back = o.Paid
	case o.State == Confirmed && !keep:
		o.giveBack(costs(o.Lines))
	}
	w.end(now, name, Cancelled, reason)
	return true
}

// Forget forgets an order that was rejected for an event that was not there.
func (w *World) Forget(name Name) (happened bool) {
	o := w.Orders[name]
	if happened = o != nil && o.State == Rejected && o.Reason == "unknown_event"; happened {
		delete(w.Orders, name)
	}
	return happened
}

// end takes an order out of the state that it is in: held, or confirmed if it is cancelled then.
func (w *World) end(now int64, name Name, state, reason string) {
	o := w.Orders[name]
	switch {
	case o.State == Confirmed:
		w.places(name, 1, 0, -1)
	case o.State == Lapsed && state == Confirmed:
		w.places(name, -1, 0, 1)
	case o.State == Lapsed:
	case state == Confirmed:
		w.places(name, 0, -1, 1)
	default:
		w.places(name, 1, -1, 0)
	}
	if slot := (Name{name.Event, o.Customer}); w.InProgress[slot] == name.Order {
		delete(w.InProgress, slot)
	}
	if o.State, o.Reason = state, reason; state != Lapsed {
		o.Outcome = now
	}
}

// places moves each place of an order, and its sale with those that are sold.
func (w *World) places(name Name, available, held, sold int64) {
	e := w.Events[name.Event]
	e.Orders += sold
	for _, l := range w.Orders[name].Lines {
		s, n := e.Sections[l.Section], l.Quantity
		s.Available, s.Held, s.Sold = s.Available+available*n, s.Held+held*n, s.Sold+sold*n
		e.Sections[l.Section] = s
		of := e.Sections[section(l.Section)]
		of.Seats = put(of.Seats, l.Places, e.mark(l.Section), available, held, sold)
		e.Sections[section(l.Section)] = of
		e.Tickets, e.Revenue = e.Tickets+sold*n, e.Revenue+sold*n*l.Price
	}
}

// Post puts an order on its customer's invoices.
func (w *World) Post(name Name) { w.Invoices[name] = w.Orders[name].Customer }

// List puts an event on sale. It is not ok if it is there on other terms, or closed.
func (w *World) List(event string, o Offer) (changed, ok bool) {
	if e := w.Events[event]; e != nil {
		return false, !e.Closed && reflect.DeepEqual(e.Offer, o)
	}
	e := &Event{Offer: o, Sections: map[string]Section{}, Refused: map[[2]string]int64{}}
	for _, s := range o.Sections {
		e.Sections[s.Name] = s.first()
	}
	e.recount()
	w.Events[event] = e
	return true, true
}

// Adjust gives an event other terms: sections are resized, not below what is held and sold, or added.
func (w *World) Adjust(event string, o Offer) (changed, ok bool) {
	e := w.Events[event]
	if e == nil {
		return false, false
	}
	sections := maps.Clone(e.Sections)
	for _, s := range o.Sections {
		i := slices.IndexFunc(e.Offer.Sections, func(before SectionOffer) bool { return before.Name == s.Name })
		if i >= 0 && (s.Seats != e.Offer.Sections[i].Seats || !slices.Equal(s.Names, e.Offer.Sections[i].Names)) {
			return false, false
		}
		is := s.first()
		if old := sections[s.Name]; i >= 0 {
			is.Available, is.Held, is.Sold, is.Seats = s.Capacity-s.Blocked-old.Held-old.Sold, old.Held, old.Sold, old.Seats
			if s.Mark != 0 || s.Seats != "" {
				is.Available = old.Available
			}
		}
		if sections[s.Name] = is; is.Available < 0 {
			return false, false
		}
	}
	if o.Currency != e.Offer.Currency || len(sections) != len(o.Sections) || (o.MaxPerCustomer > 0) != (e.Offer.MaxPerCustomer > 0) {
		return false, false
	}
	next := &Event{Offer: o, Sections: sections}
	if !o.keeps(e.Offer) || !next.move(o.Moves) {
		return false, false
	}
	next.recount()
	changed = !reflect.DeepEqual(e.Offer, o)
	o.Moves = nil
	e.Offer, e.Sections = o, sections
	return changed, true
}

// Close closes an event, cancels it, or opens it again. Closing what is cancelled changes nothing.
func (w *World) Close(event string, closed, cancelled bool) (changed, ok bool) {
	e := w.Events[event]
	if e == nil || closed == e.Closed && (!cancelled || e.Cancelled) {
		return false, e != nil
	}
	e.Closed, e.Cancelled = closed, cancelled
	return true, true
}
