package domain

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/domain/seats"
)

// MaxChange is the highest number of a partial cancel or a change of an order.
const MaxChange = 1_000_000

// Change is a partial cancel, a change or a refund that arrived.
type Change struct {
	Request     Request
	EntryMillis int64 // when it was published: the time part of its entry's id
	ValidMillis int64 // how long a change may wait in line
	Minimums    Minimums
}

func (Change) command() {}

// decideChange: its number makes that it happens once, for the order is afterwards in the state in which it was. Refused, the
// number is used up as well, so that whoever waits for it gets an answer.
func decideChange(v View, ref OrderRef, nowMillis int64, c Change) (*Fact, Verdict) {
	o, r := v.Order, &c.Request
	switch {
	case r.Change == o.Change && r.Fingerprint != o.ChangeFingerprint:
		return nil, VerdictConflict
	case r.Change <= o.Change:
		return nil, VerdictDone
	}
	switch o.State {
	case OrderNone:
		return nil, VerdictWait
	case OrderDeclined, OrderExpired, OrderCancelled, OrderRejected:
		if r.Type != RequestRefund || !o.wasPaid() {
			return nil, VerdictDone // it has no places that could be others, and no money
		}
	case OrderHeld, OrderConfirmed, OrderLapsed:
	}
	if r.Change > o.Change+1 {
		return nil, VerdictChangePending
	}
	var given, taken Items
	var reason, detail string
	kind, noRefund := FactChanged, false
	if r.Type == RequestCancel {
		kind, noRefund = FactReduced, r.NoRefund && o.State == OrderConfirmed
		if given, reason, detail = givenBack(v.Event, o, r); reason == "" && given == o.Items {
			// Nothing of it is left: that is what every reader of the log knows as cancelled. So it may be, whatever else.
			return decideCancel(v, ref, Cancel{Reason: ReasonRequested, Cause: r.Cause, NoRefund: r.NoRefund}), VerdictDone
		}
	}
	if o.State == OrderHeld && !o.HoldAliveAt(nowMillis) {
		return overdue(v, ref)
	}
	if o.State == OrderLapsed {
		return changeRefused(o, ref, r, ReasonLapsed, ""), VerdictDone
	}
	if r.Type == RequestRefund {
		return grantRefund(v, ref, r), VerdictDone
	}
	if kind == FactChanged {
		given, taken, reason, detail = exchanged(v, nowMillis, c)
	}
	if reason == "" && o.State == OrderHeld {
		left, _ := o.Items.Less(given)
		left, _ = left.Plus(taken)
		if o.BeingPaid() {
			reason, detail = ReasonPaymentPending, ""
		} else if c.Minimums.Below(o.Currency, 1, left.Amount()) {
			reason = ReasonBelowMinimum
		}
	}
	if reason != "" {
		return changeRefused(o, ref, r, reason, detail), VerdictDone
	}
	return &Fact{
		Type: kind, EventID: ref.EventID, OrderID: ref.OrderID, Change: r.Change, Fingerprint: r.Fingerprint, Version: o.Version,
		Was: o.State, CustomerID: o.CustomerID, Items: given, Taken: taken, Currency: o.Currency, NoRefund: noRefund, Cause: r.Cause,
	}, VerdictDone
}

func changeRefused(o Order, ref OrderRef, r *Request, reason, detail string) *Fact {
	return &Fact{
		Type: FactChangeRefused, EventID: ref.EventID, OrderID: ref.OrderID,
		Change: r.Change, Fingerprint: r.Fingerprint, Version: o.Version, Reason: reason, Detail: detail,
	}
}

// grantRefund gives back some of what was paid for an order that is confirmed, or was: an amount, or what some of its places cost.
func grantRefund(v View, ref OrderRef, r *Request) *Fact {
	o, amount, items := v.Order, r.Amount, Items("")
	if o.State == OrderHeld {
		return changeRefused(o, ref, r, ReasonNotPaid, "")
	}
	if len(r.Items) > 0 {
		var reason, detail string
		if items, reason, detail = givenBack(v.Event, o, r); reason != "" {
			return changeRefused(o, ref, r, reason, detail)
		}
		amount = items.Amount()
	}
	if left := o.PaidAmount() - o.RefundTotal(); amount == 0 || amount > left {
		return changeRefused(o, ref, r, ReasonMoreThanPaid, fmt.Sprintf("%d of %d", amount, left))
	}
	return &Fact{
		Type: FactRefundGranted, EventID: ref.EventID, OrderID: ref.OrderID, Change: r.Change, Fingerprint: r.Fingerprint, Version: o.Version,
		CustomerID: o.CustomerID, Items: items, Currency: o.Currency, Refund: amount, Cause: r.Cause,
	}
}

// grant makes an order one of which more is given back. What the fact says is checked against the order, whatever has led to it.
func (o *Order) grant(was Order, f Fact) error {
	_, has := was.Items.Less(f.Items)
	switch {
	case !was.wasPaid():
		return illegal(f, was.State)
	case f.CustomerID != was.CustomerID || f.Currency != was.Currency:
		return fmt.Errorf("%s: is of %s in %s, the order of %s in %s", f.Type, f.CustomerID, f.Currency, was.CustomerID, was.Currency)
	case f.Refund <= 0 || f.Refund > was.PaidAmount()-was.RefundTotal():
		return fmt.Errorf("%s: %d, of %d that were paid %d are given back already", f.Type, f.Refund, was.PaidAmount(), was.RefundTotal())
	case f.Items != "" && (!has || f.Items.Amount() != f.Refund):
		return fmt.Errorf("%s: %d for %q of %q", f.Type, f.Refund, f.Items, was.Items)
	}
	o.owes(was, f.Refund)
	return o.number(f)
}

// lines are what a partial cancel or a change says, in the order in which an order has it: of a section of which the order has places of
// an allocation, these and no others are given and taken.
func (o Order) lines(r *Request) []RequestItem {
	list := slices.Collect(r.Lines())
	for i := range list {
		for has := range o.Items.All() {
			if section, _ := SplitPool(has.Section); section == list[i].Section {
				list[i].Section = has.Section
			}
		}
	}
	slices.SortFunc(list, func(a, b RequestItem) int { return strings.Compare(a.Section, b.Section) })
	return list
}

// givenBack are the places of an order that a partial cancel names, at the order's prices; or why they cannot be given back.
func givenBack(e Event, o Order, r *Request) (given Items, reason, detail string) {
	var list []Item
	for _, asked := range o.lines(r) {
		has := o.Items.in(asked.Section)
		item := Item{Section: asked.Section, Quantity: asked.Quantity, UnitPrice: has.UnitPrice, Mark: has.Mark}
		switch {
		case has.Quantity == 0:
			return "", ReasonNotInOrder, blame(r, asked.Section, asked.Seats)
		case has.Places == "" && len(asked.Seats) > 0:
			return "", ReasonUnknownSeat, blame(r, asked.Section, asked.Seats)
		case has.Places != "" && len(asked.Seats) == 0:
			return "", ReasonSeatsNotNamed, blame(r, asked.Section, nil)
		case has.Places != "":
			places, unknown := e.find(asked)
			if len(unknown) > 0 {
				return "", ReasonUnknownSeat, blame(r, asked.Section, unknown)
			}
			own, _ := seats.ParsePlaces(has.Places)
			if others := without(places, own); len(others) > 0 {
				return "", ReasonNotInOrder, blame(r, asked.Section, e.names(asked.Section, others))
			}
			item.Places = seats.FormatPlaces(places)
		case asked.Quantity > has.Quantity:
			return "", ReasonNotInOrder, blame(r, asked.Section, nil)
		}
		list = append(list, item)
	}
	return ItemsOf(list...), "", ""
}

// exchanged is what an order gives and takes, so that it has what a change says; or why it cannot have that.
func exchanged(v View, nowMillis int64, c Change) (given, taken Items, reason, detail string) {
	e, o, r := v.Event, v.Order, &c.Request
	switch {
	case nowMillis-c.EntryMillis > c.ValidMillis:
		return "", "", ReasonTooLate, ""
	case e.Cancelled:
		return "", "", ReasonEventCancelled, ""
	}
	lines := o.lines(r)
	wanted := make([]Item, len(lines))
	tooMany := false
	for i, asked := range lines {
		item, reason, because := o.priced(e, asked)
		if reason != "" {
			return "", "", reason, blame(r, asked.Section, because)
		}
		section, _ := e.Section(item.Section)
		wanted[i], tooMany = item, tooMany || section.Seated() && item.Quantity > MaxItemSeats
	}
	next := ItemsOf(wanted...)
	more := next.Quantity() - o.Items.Quantity()
	switch {
	case o.State == OrderConfirmed && next.Amount() > o.Amount():
		return "", "", ReasonCostsMore, ""
	case tooMany:
		return "", "", ReasonOverLimit, DetailTooManySeats
	case more > 0 && e.MaxPerOrder > 0 && next.Quantity() > e.MaxPerOrder:
		return "", "", ReasonOverLimit, ""
	case more > 0 && e.MaxPerCustomer > 0 && v.Places+more > e.MaxPerCustomer:
		return "", "", ReasonOverCustomer, ""
	}
	for i, asked := range lines {
		places, reason, because := o.placed(e, asked, wanted[i])
		if reason != "" {
			return "", "", reason, blame(r, asked.Section, because)
		}
		wanted[i].Places = places
	}
	next = ItemsOf(wanted...)
	return o.Items.beside(next), next.beside(o.Items), "", ""
}

// placed are the places of an item that a change asks for, if the order can have them; or why it cannot, and which seats are to blame. What
// the order gives is free for it. Seats that are not named are chosen anew only if those that it has are not what is asked for.
func (o Order) placed(e Event, asked RequestItem, item Item) (places, reason string, because []string) {
	section, _ := e.Section(item.Section)
	has := o.Items.in(item.Section)
	if !section.Seated() {
		if item.Quantity-has.Quantity > section.Available {
			reason = ReasonSoldOut
		}
		return "", reason, nil
	}
	own, _ := seats.ParsePlaces(has.Places)
	named, _ := seats.ParsePlaces(item.Places)
	wish := seats.Wish{Free: item.Free(), Named: without(named, own), Strict: e.NoOrphans, Quantity: int(item.Quantity), Adjacent: !asked.Apart}
	switch best := len(named) == 0; {
	case best && len(own) == wish.Quantity && (asked.Apart || own[len(own)-1]-own[0] == len(own)-1):
		return has.Places, "", nil
	case !best && len(wish.Named) == 0:
		return item.Places, "", nil
	}
	mark := seats.Held
	if o.State == OrderConfirmed {
		mark = seats.Sold
	}
	all := e.seatsOf(section).Places
	if freed, err := seats.Change(all, without(own, named), mark, item.Free()); err == nil {
		all = freed
	}
	chosen, reason, blamed := seats.Choose(all, wish)
	if len(blamed) > 0 {
		because = e.names(item.Section, blamed)
	}
	if len(named) == 0 {
		return seats.FormatPlaces(chosen), reason, because
	}
	return item.Places, reason, because
}

// priced is an item that a change asks for, at its price: that of the section, or, where nothing more is taken of it than the order has,
// what the order pays there. Or it is why the order cannot have it, and which seats are to blame.
func (o Order) priced(e Event, asked RequestItem) (item Item, reason string, because []string) {
	section, found := e.Section(asked.Section)
	has := o.Items.in(asked.Section)
	item = Item{Section: asked.Section, Quantity: asked.Quantity, UnitPrice: section.Price, Mark: section.Mark}
	switch {
	case !found:
		return item, ReasonUnknownSection, nil
	case !section.Seated() && len(asked.Seats) > 0:
		return item, ReasonUnknownSeat, asked.Seats
	}
	if len(asked.Seats) > 0 {
		places, unknown := e.find(asked)
		if len(unknown) > 0 {
			return item, ReasonUnknownSeat, unknown
		}
		item.Places = seats.FormatPlaces(places)
	}
	if has.Quantity >= item.Quantity {
		item.UnitPrice = has.UnitPrice
	}
	same := false
	for before := range o.Items.All() {
		same = same || before.UnitPrice == item.UnitPrice
	}
	switch {
	case asked.UnitPrice != nil && *asked.UnitPrice != item.UnitPrice, has.Quantity > 0 && has.UnitPrice != item.UnitPrice:
		return item, ReasonPriceChanged, nil
	case !same:
		return item, ReasonNotSamePrice, nil
	}
	return item, "", nil
}

// find are the places of the seats that are asked for, and the names that the section does not have.
func (e Event) find(asked RequestItem) (places []int, unknown []string) {
	section, _ := e.Section(asked.Section)
	layout, err := seats.Parse(e.seatsOf(section).Layout)
	if err != nil {
		return nil, asked.Seats
	}
	return layout.Find(asked.Seats)
}

// names are those of seats of a section, for people.
func (e Event) names(section string, places []int) []string {
	pool, _ := e.Section(section)
	s := e.seatsOf(pool)
	return strings.Split(s.seatNames(seats.FormatPlaces(places)), ",")
}

// changed is the order after it was reduced or changed, and what that changes beside it. What the fact says is checked against the
// order, whatever has led to it.
func (o Order) changed(f Fact) (Order, Effect, error) {
	next := o
	effect := Effect{Items: f.Items, Taken: f.Taken, Available: 1}
	switch {
	case o.State != f.Was || o.State != OrderHeld && o.State != OrderConfirmed:
		return o, Effect{}, illegal(f, o.State)
	case f.Type == FactReduced && (f.Items == "" || f.Taken != ""), f.Type == FactChanged && f.NoRefund:
		return o, Effect{}, fmt.Errorf("reduced: gives %q and takes %q", f.Items, f.Taken)
	case o.BeingPaid():
		return o, Effect{}, fmt.Errorf("%s: it is being paid for", f.Type)
	case f.CustomerID != o.CustomerID || f.Currency != o.Currency:
		return o, Effect{}, fmt.Errorf("%s: is of %s in %s, the order of %s in %s", f.Type, f.CustomerID, f.Currency, o.CustomerID, o.Currency)
	}
	if err := next.number(f); err != nil {
		return o, Effect{}, err
	}
	left, ok := o.Items.Less(f.Items)
	if ok {
		left, ok = left.Plus(f.Taken)
	}
	if next.Items = left; !ok || left == "" {
		return o, Effect{}, fmt.Errorf("%s: %q cannot give %q and take %q", f.Type, o.Items, f.Items, f.Taken)
	}
	if effect.Held = -1; o.State == OrderConfirmed {
		effect.Held, effect.Sold = 0, -1
		less := o.Amount() - next.Amount()
		if next.Reduced += less; less < 0 {
			return o, Effect{}, fmt.Errorf("%s: costs %d, and %d before it", f.Type, next.Amount(), o.Amount())
		}
		if f.NoRefund {
			less = 0
		}
		next.owes(o, less)
	} else if f.NoRefund {
		return o, Effect{}, fmt.Errorf("%s: keeps money of what is %s", f.Type, o.State)
	}
	return next, effect, nil
}

// number notes that a fact about a numbered alteration was the next one of the order.
func (o *Order) number(f Fact) error {
	if f.Change != o.Change+1 || f.Fingerprint == "" || f.Version != o.Version {
		return fmt.Errorf("%s: is number %d of fingerprint %q, of version %q; the last one was %d, and the version is %q", f.Type, f.Change, f.Fingerprint, f.Version, o.Change, o.Version)
	}
	o.Change, o.ChangedAtMillis, o.ChangeFingerprint, o.ChangeRefusal, o.ChangeDetail = f.Change, f.AtMillis, f.Fingerprint, "", ""
	if f.Type == FactChangeRefused {
		o.ChangeRefusal, o.ChangeDetail = f.Reason, f.Detail
	}
	return nil
}

// BeingPaid reports whether a payment of the order as it is now may be under way.
func (o Order) BeingPaid() bool {
	return o.Open() && o.Attempt > 0 && o.PayState != PayDeclined
}

// in is the item of a section; one without places, if there is none.
func (s Items) in(section string) Item {
	for item := range s.All() {
		if item.Section == section {
			return item
		}
	}
	return Item{}
}

// beside are the places that others have not.
func (s Items) beside(others Items) Items {
	var list []Item
	for item := range s.All() {
		other := others.in(item.Section)
		if item.Places == "" {
			item.Quantity -= other.Quantity
		} else {
			own, _ := seats.ParsePlaces(item.Places)
			theirs, _ := seats.ParsePlaces(other.Places)
			own = without(own, theirs)
			item.Quantity, item.Places = int64(len(own)), seats.FormatPlaces(own)
		}
		if item.Quantity > 0 {
			list = append(list, item)
		}
	}
	return ItemsOf(list...)
}

// Less are the items without some of their places. ok is false if those are not among them, at their prices.
func (s Items) Less(given Items) (left Items, ok bool) {
	list := slices.Collect(s.All())
	for item := range given.All() {
		i := slices.IndexFunc(list, func(l Item) bool { return l.Section == item.Section })
		if i < 0 || item.Quantity <= 0 || item.Quantity > list[i].Quantity || item.UnitPrice != list[i].UnitPrice || (item.Places == "") != (list[i].Places == "") {
			return "", false
		}
		list[i].Quantity -= item.Quantity
		if item.Places != "" {
			own, err := seats.ParsePlaces(list[i].Places)
			back, err2 := seats.ParsePlaces(item.Places)
			rest := without(own, back)
			if err != nil || err2 != nil || int64(len(rest)) != list[i].Quantity {
				return "", false
			}
			list[i].Places = seats.FormatPlaces(rest)
		}
	}
	return ItemsOf(slices.DeleteFunc(list, func(l Item) bool { return l.Quantity == 0 })...), true
}

// Plus are the items with more places. ok is false if some of those are among them already, or of a section in which they cost something else.
func (s Items) Plus(taken Items) (all Items, ok bool) {
	list := slices.Collect(s.All())
	for item := range taken.All() {
		i, there := slices.BinarySearchFunc(list, item, func(a, b Item) int { return strings.Compare(a.Section, b.Section) })
		switch {
		case item.Quantity <= 0:
			return "", false
		case !there:
			list = slices.Insert(list, i, item)
			continue
		case item.UnitPrice != list[i].UnitPrice || (item.Places == "") != (list[i].Places == ""):
			return "", false
		}
		list[i].Quantity += item.Quantity
		if item.Places != "" {
			own, err := seats.ParsePlaces(list[i].Places)
			more, err2 := seats.ParsePlaces(item.Places)
			own = append(own, more...)
			slices.Sort(own)
			if err != nil || err2 != nil || len(slices.Compact(slices.Clone(own))) != len(own) {
				return "", false
			}
			list[i].Places = seats.FormatPlaces(own)
		}
	}
	return ItemsOf(list...), len(list) <= MaxItems
}

// without are the places of a list that another one does not have. Both are ascending.
func without(list, others []int) (left []int) {
	for _, place := range list {
		if _, there := slices.BinarySearch(others, place); !there {
			left = append(left, place)
		}
	}
	return left
}
