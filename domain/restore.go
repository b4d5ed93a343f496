package domain

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/domain/seats"
)

// Restore gives an order back what Redis has lost of it, and the archive has: no old facts are written again, but one that says what it is now, if
// that can be. What has gone on since, or was published again, stays as it is.
type Restore struct {
	Lost   []Fact // what was lost of the order, in the order in which it happened
	Common string // the newest log entry before that, which Redis and the archive have; "0-0" for none
	Listed *Terms // of its event, if that it was listed is lost as well
	Refund bool   // of what was paid for, and cannot have its places any more
}

func (Restore) command() {}

// MissingKind is what is to be said of an order of which facts are lost.
type MissingKind string

// The kinds.
const (
	// MissingNothing: nothing was lost that anybody would have to have back.
	MissingNothing MissingKind = ""
	// MissingWentOn: the order has changed since, or was published again. It stays as it is.
	MissingWentOn MissingKind = "went_on"
	// MissingComesBack: it gets back what it had: held or confirmed.
	MissingComesBack MissingKind = "comes_back"
	// MissingEnds: it had ended, or would have by now, and does so again: its money goes with that.
	MissingEnds MissingKind = "ends"
	// MissingPlace: it was paid for, and cannot have its places any more.
	MissingPlace MissingKind = "without_place"
	// MissingEvent: its event is not there, or is another one.
	MissingEvent MissingKind = "no_event"
	// MissingUnclear: a person must look.
	MissingUnclear MissingKind = "unclear"
)

// MissingKinds are those of orders that somebody may have to know of.
var MissingKinds = []MissingKind{MissingComesBack, MissingEnds, MissingPlace, MissingEvent, MissingUnclear, MissingWentOn}

// Missing is what a Restore finds of an order.
type Missing struct {
	Kind    MissingKind
	Order   Order      // what it was when it was lost, as far as that can be told
	Becomes OrderState // what the order is to be; OrderNone if nothing is to be done
	Reason  string     // why it cannot have its places
	Detail  string     // for people
}

// Customer is whose order it is, or was.
func (c Restore) Customer(is Order) string {
	if is.CustomerID != "" {
		return is.CustomerID
	}
	for _, f := range c.Lost {
		if f.CustomerID != "" {
			return f.CustomerID
		}
	}
	return ""
}

// Find decides about an order. The fact is nil if nothing changes.
func (c Restore) Find(v View, ref OrderRef, nowMillis int64) (Missing, *Fact) {
	is := v.Order
	if v.Event.Over != "" {
		return Missing{}, nil
	}
	if is.Version != "" && entryAfter(is.Version, c.Common) {
		return c.wentOn(v, ref)
	}
	was, err := is.withAll(c.Lost)
	m := Missing{Order: was}
	switch {
	case err != nil:
		m.Kind, m.Detail = MissingUnclear, err.Error()
		return m, nil
	case was.State == OrderNone, was.State == OrderRejected, was.Open() && is.Open(), sameButVersion(was, is):
		return Missing{Order: was}, nil // asked for in vain; or it is held as before, and goes on from there
	case !v.Event.Exists(), v.Event.Currency != was.Currency && was.Currency != "", !v.Event.hasLayouts(c.Listed, was.Items):
		m.Kind = MissingEvent
		return m, nil
	case is.State == OrderHeld && was.State == OrderConfirmed && was.Items != is.Items:
		m.Kind, m.Detail = MissingUnclear, "it was changed, and then paid for"
		return m, nil
	}
	next := was
	if was.Open() && (was.State == OrderLapsed || nowMillis >= was.DeadlineMillis) {
		next = was.ends(FactExpired, "")
	}
	if m.Reason, m.Detail = v.cannotHave(is.places().beside(next.places()), next.places().beside(is.places()), next); m.Reason != "" {
		switch {
		case is.State == OrderConfirmed:
			m.Kind, m.Detail = MissingUnclear, "its exchange is lost, and it keeps what it had: "+m.Reason
			return m, nil
		case next.State == OrderHeld:
			next = was.ends(FactExpired, "")
		default:
			return c.withoutPlace(m, is, ref)
		}
	}
	if m.Kind = MissingEnds; next.State == OrderHeld || next.State == OrderConfirmed {
		m.Kind = MissingComesBack
	}
	m.Becomes = next.State
	return m.checked(is, restored(is, next, ref))
}

// checked is a finding whose fact can follow.
func (m Missing) checked(is Order, f *Fact) (Missing, *Fact) {
	if _, _, err := is.After(*f); err != nil {
		return Missing{Kind: MissingUnclear, Order: m.Order, Detail: err.Error()}, nil
	}
	return m, f
}

// wentOn is about an order that is another one by now: only what was paid for it, and for which it has nothing, is still to be seen to.
func (c Restore) wentOn(v View, ref OrderRef) (Missing, *Fact) {
	is := v.Order
	if is.Open() || is.wasPaid() {
		return Missing{Kind: MissingWentOn, Order: is}, nil
	}
	// Either all of it was lost; or it was held before that, and what it was held with is still known.
	was, err := Order{}.withAll(c.Lost)
	if err != nil {
		held := is
		held.State, held.Version, held.Reason, held.Detail, held.ResolvedAtMillis = OrderHeld, "", "", "", 0
		was, err = held.withAll(c.Lost)
	}
	switch {
	case err != nil && slices.ContainsFunc(c.Lost, func(f Fact) bool { return f.Type == FactConfirmed }):
		return Missing{Kind: MissingUnclear, Order: was, Detail: fmt.Sprintf("it was confirmed, and is %s now: %v", is.State, err)}, nil
	case err != nil || !was.hasPayment():
		return Missing{Kind: MissingWentOn, Order: was}, nil
	case is.Fingerprint != was.Fingerprint && is.Fingerprint != "":
		return Missing{Kind: MissingUnclear, Order: was, Detail: fmt.Sprintf("it was paid for, and another body was published under its name, which is %s", is.State)}, nil
	}
	m := Missing{Order: was, Reason: is.Reason, Detail: "it is " + is.State.String() + " now"}
	return c.withoutPlace(m, is, ref)
}

// withoutPlace is about an order that was paid for, and has no places: with Refund it is cancelled, and its money goes with that.
func (c Restore) withoutPlace(m Missing, is Order, ref OrderRef) (Missing, *Fact) {
	m.Kind = MissingPlace
	if !c.Refund {
		return m, nil
	}
	next := m.Order
	if next.State == OrderConfirmed {
		next = next.ends(FactCancelled, ReasonPlacesGone)
	}
	m.Becomes = next.State
	return m.checked(is, restored(is, next, ref))
}

func restored(is, next Order, ref OrderRef) *Fact {
	next.Version, next.ResolvedAtMillis = "", 0
	return &Fact{
		Type: FactRestored, EventID: ref.EventID, OrderID: ref.OrderID, Version: is.Version, Was: is.State,
		CustomerID: next.CustomerID, Currency: next.Currency, Items: is.places().beside(next.places()), Taken: next.places().beside(is.places()), Restored: &next,
	}
}

// entryAfter reports whether a log entry came after another one, by their ids.
func entryAfter(id, other string) bool {
	a, b := EntryMillis(id), EntryMillis(other)
	return a > b || a == b && entrySeq(id) > entrySeq(other)
}

func entrySeq(id string) uint64 {
	_, seq, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// withAll is the order after facts about it.
func (o Order) withAll(facts []Fact) (Order, error) {
	for _, f := range facts {
		next, _, err := o.After(f)
		if err != nil {
			return o, err
		}
		o = next
	}
	return o, nil
}

// ends is the order as it is after a fact that ends it.
func (o Order) ends(by FactType, reason string) Order {
	f := Fact{Type: by, Reason: reason, Was: o.State, CustomerID: o.CustomerID, Items: o.Items, Currency: o.Currency, ConfirmedAtMillis: o.ConfirmedAtMillis}
	next, _, err := o.After(f)
	if err != nil {
		panic("domain: " + err.Error()) // it is made of the order
	}
	return next
}

// places are those that the order has: held or sold.
func (o Order) places() Items {
	if o.State == OrderHeld || o.State == OrderConfirmed {
		return o.Items
	}
	return ""
}

func sameButVersion(a, b Order) bool {
	a.Version, b.Version = "", ""
	return a == b
}

// hasLayouts reports whether the event has the layouts that were lost with it, of the sections that items are of: a place is a number in one.
func (e Event) hasLayouts(lost *Terms, items Items) bool {
	if lost == nil {
		return true
	}
	for item := range items.All() {
		section, _ := SplitPool(item.Section)
		i := slices.IndexFunc(lost.Sections, func(s SectionTerms) bool { return s.Name == section })
		if is, _ := e.Section(section); i >= 0 && is.Layout != lost.Sections[i].Layout {
			return false
		}
	}
	return true
}

// cannotHave is why an order cannot take places for those that it gives, and be what it is to be; empty if it can. That the sale has ended does not
// matter: it had bought them before.
func (v View) cannotHave(given, taken Items, next Order) (reason, detail string) {
	e, more := v.Event, taken.Quantity()-given.Quantity()
	switch {
	case taken == "":
		return "", ""
	case e.Cancelled:
		return ReasonEventCancelled, ""
	case more > 0 && e.MaxPerCustomer > 0 && v.Places+more > e.MaxPerCustomer:
		return ReasonOverCustomer, ""
	case v.Order.places() == "" && !e.opensAgain(next.Code):
		return ReasonCodeRefused, ""
	case next.State == OrderHeld && v.InProgress != "":
		return ReasonInProgress, ""
	}
	return e.notFree(taken)
}

// notFree is why places of an event are not free, and which; empty if all are.
func (e Event) notFree(items Items) (reason, detail string) {
	for item := range items.All() {
		section, known := e.Section(item.Section)
		if !known || section.Seated() != (item.Places != "") || section.Mark != item.Mark {
			return ReasonUnknownSection, item.Section
		}
		if !section.Seated() {
			if item.Quantity > section.Available {
				return ReasonSoldOut, item.Section
			}
			continue
		}
		own, _ := seats.ParsePlaces(item.Places)
		if _, reason, taken := seats.Choose(e.seatsOf(section).Places, seats.Wish{Free: item.Free(), Named: own}); reason != "" {
			return reason, item.Section + ": " + strings.Join(e.names(item.Section, taken), ",")
		}
	}
	return "", ""
}

// restored is the order as a fact says that it is again, and what that changes beside it. What the fact says is checked against the order, whatever
// has led to it.
func (o Order) restored(f Fact) (Order, Effect, error) {
	if f.Restored == nil {
		return o, Effect{}, errors.New("restored: does not say what")
	}
	next := *f.Restored
	left, has := o.places().Less(f.Items)
	if has {
		left, has = left.Plus(f.Taken)
	}
	switch {
	case f.Was != o.State || f.Version != o.Version:
		return o, Effect{}, fmt.Errorf("restored: was %s of version %q, it is %s of %q", f.Was, f.Version, o.State, o.Version)
	case next.State == OrderNone || next.State == OrderRejected || next.State == OrderLapsed || next.State == OrderHeld && o.State != OrderNone:
		return o, Effect{}, fmt.Errorf("restored: %s cannot become %s", o.State, next.State)
	case o.wasPaid() && (!next.wasPaid() || next.PaidAmount() != o.PaidAmount() || next.RefundTotal() < o.RefundTotal() || o.State == OrderCancelled && next.State != OrderCancelled):
		return o, Effect{}, fmt.Errorf("restored: %d were paid, of which %d come back, and then it is %s, and %d of %d", o.PaidAmount(), o.RefundTotal(), next.State, next.RefundTotal(), next.PaidAmount())
	case o.Fingerprint != "" && (o.Fingerprint != next.Fingerprint || o.CustomerID != next.CustomerID):
		return o, Effect{}, fmt.Errorf("restored: is of %q and %s, the order of %q and %s", next.Fingerprint, next.CustomerID, o.Fingerprint, o.CustomerID)
	case f.CustomerID != next.CustomerID || f.Currency != next.Currency:
		return o, Effect{}, errors.New("restored: says two things of its order")
	case !has || left != next.places() || o.State == OrderHeld && next.State == OrderConfirmed && f.Items+f.Taken != "":
		return o, Effect{}, fmt.Errorf("restored: %q cannot give %q, take %q, and be %q", o.places(), f.Items, f.Taken, next.places())
	}
	if next.ResolvedAtMillis = 0; next.State.Terminal() {
		next.ResolvedAtMillis = f.AtMillis
	}
	effect := Effect{Items: f.Items, Taken: f.Taken, Available: 1, EndsHold: o.Open()}
	switch state := next.State; {
	case o.State == OrderHeld && state == OrderConfirmed:
		effect = Effect{Items: o.Items, Held: -1, Sold: 1, EndsHold: true}
	case f.Items+f.Taken == "":
		effect = Effect{EndsHold: o.Open()}
	case state == OrderHeld, o.State == OrderHeld:
		effect.Held = -1
	default:
		effect.Sold = -1
	}
	if o.places() == "" && next.places() != "" && next.Code != "" {
		effect.Code, effect.Uses = next.Code, 1
	}
	return next, effect, nil
}

// mayBeRestored returns why an order cannot be what a fact says that it is again, for what is around it; nil if it can.
func (v View) mayBeRestored(f Fact, next Order, effect Effect) error {
	switch {
	case next.State == OrderHeld && (f.AtMillis >= next.DeadlineMillis || v.InProgress != ""):
		return fmt.Errorf("restored: held at %d, its deadline is %d, and order %q of the same customer is in progress", f.AtMillis, next.DeadlineMillis, v.InProgress)
	case f.Taken != "" && v.Event.Cancelled:
		return errors.New("restored: takes places, but its event is cancelled")
	case effect.Places() < 0 && v.Event.MaxPerCustomer > 0 && v.Places-effect.Places() > v.Event.MaxPerCustomer:
		return fmt.Errorf("restored, but the customer had %d places, of at most %d", v.Places, v.Event.MaxPerCustomer)
	}
	return nil
}

// Sales are the places that an order has more among the sales of its event by a fact that restores it, and those that it has not any more.
func (f Fact) Sales() (more, fewer Items) {
	switch sold := f.Restored.State == OrderConfirmed; {
	case f.Was == OrderConfirmed:
		return f.Taken, f.Items
	case sold:
		return f.Restored.Items, ""
	}
	return "", ""
}

// EventMissing is a fact about an event that was lost, and that is not so now: a person does it again.
type EventMissing struct {
	EventID  string
	Type     FactType
	AtMillis int64
	Do       string // the command that does
}

// MissingOfEvent is which of the lost facts about an event are not so now, the latest of their kind.
func MissingOfEvent(e Event, lost []Fact) (missing []EventMissing) {
	terms, sale := -1, -1 // the latest of each
	for i, f := range lost {
		switch f.Type { //nolint:exhaustive // the others are about orders, or happen again by themselves
		case FactCreated, FactAdjusted:
			terms = i
		case FactClosed, FactReopened, FactEventCancelled:
			sale = i
		}
	}
	if e.Over != "" {
		return nil
	}
	add := func(i int, do string) {
		missing = append(missing, EventMissing{lost[i].EventID, lost[i].Type, lost[i].AtMillis, do})
	}
	if terms >= 0 && !e.Exists() {
		add(terms, "events create")
	} else if terms >= 0 && e.Terms().Fingerprint() != lost[terms].Terms.Fingerprint() {
		add(terms, "events adjust")
	}
	if sale < 0 {
		return missing
	}
	switch t := lost[sale].Type; {
	case t == FactClosed && !e.Closed:
		add(sale, "events close")
	case t == FactReopened && e.Closed:
		add(sale, "events reopen")
	case t == FactEventCancelled && !e.Cancelled:
		add(sale, "events cancel")
	}
	return missing
}
