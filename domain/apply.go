package domain

import (
	"cmp"
	"errors"
	"fmt"
	"maps"

	"holdfast/domain/seats"
)

// Effect is what a fact about an order changes beside the order.
type Effect struct {
	Items                 Items  // whose places are moved
	Available, Held, Sold int64  // 1 if each of those places is one more then, -1 if it is one fewer
	Taken                 Items  // places that go the other way in the same step: one fewer where those are one more
	EndsHold              bool   // the order is not among the holds any more; if it was held, its customer may order again
	Code                  string // hash of an access code that more, or fewer, orders use then; empty for none
	Uses                  int64  // how many more
}

// Marks are what each seat that is moved must be, and what it is then, of those that are such when they are free.
func (e Effect) Marks(free byte) (from, to byte) {
	for _, of := range []struct {
		moves int64
		mark  byte
	}{{e.Available, free}, {e.Held, seats.Held}, {e.Sold, seats.Sold}} {
		switch of.moves {
		case -1:
			from = of.mark
		case 1:
			to = of.mark
		}
	}
	return from, to
}

// reversed is what becomes of the places that are taken.
func (e Effect) reversed() Effect {
	return Effect{Items: e.Taken, Available: -e.Available, Held: -e.Held, Sold: -e.Sold}
}

// Each is what becomes of the places that are taken, and of the others.
func (e Effect) Each() [2]Effect { return [...]Effect{e.reversed(), e} }

// Places is how many the customer has no more, of an order that gives some.
func (e Effect) Places() int64 { return e.Available * (e.Items.Quantity() - e.Taken.Quantity()) }

// After is the order once a fact about it has happened. It checks what of the fact can be
// told from the order alone: an error means that the fact cannot follow, and the order
// then comes back unchanged.
func (o Order) After(f Fact) (Order, Effect, error) {
	next := o
	var effect Effect
	switch f.Type {
	case FactHeld:
		if o.State != OrderNone {
			return o, effect, illegal(f, o.State)
		}
		next = Order{
			State: OrderHeld, RequestType: f.RequestType, Fingerprint: f.Fingerprint, CustomerID: f.CustomerID,
			Items: f.Items, Currency: f.Currency,
			DeadlineMillis: f.DeadlineMillis, HeldAtMillis: f.AtMillis, Code: f.Code, Trace: f.Trace,
		}
		if f.RequestType == RequestPurchase {
			next.Attempt = 1
		}
		if effect = (Effect{Items: f.Items, Available: -1, Held: 1}); f.Code != "" {
			effect.Code, effect.Uses = f.Code, 1
		}

	case FactRejected:
		if o.State != OrderNone {
			return o, effect, illegal(f, o.State)
		}
		next = Order{
			State: OrderRejected, RequestType: f.RequestType, Fingerprint: f.Fingerprint, CustomerID: f.CustomerID,
			Items: f.Items, Reason: f.Reason, Detail: f.Detail, Trace: f.Trace,
		}

	case FactConfirmed:
		if !o.Open() {
			return o, effect, illegal(f, o.State)
		}
		if by := max(f.Attempt, 1); by != o.LastAttempt() || o.PayState == PayDeclined {
			return o, effect, fmt.Errorf("confirmed: by attempt %d, the order's is %d%s", by, o.Attempt, declined(o))
		}
		if err := o.checkSale(f); err != nil {
			return o, effect, err
		}
		if f.Trace != o.Trace {
			return o, effect, fmt.Errorf("confirmed: says trace %q, the order %q", f.Trace, o.Trace)
		}
		next.State, next.ConfirmedAtMillis, next.AuthorizationID, next.PayState = OrderConfirmed, f.AtMillis, f.AuthorizationID, PayOpen
		if effect = (Effect{Items: o.Items, Held: -1, Sold: 1, EndsHold: true}); o.State == OrderLapsed {
			effect = Effect{Taken: o.Items, Available: 1, Sold: -1, EndsHold: true}
		}

	case FactLapsed:
		if o.State != OrderHeld || f.LateMillis <= 0 {
			return o, effect, illegal(f, o.State)
		}
		next.State, next.LateMillis = OrderLapsed, f.LateMillis
		effect = Effect{Items: o.Items, Available: 1, Held: -1, EndsHold: true}

	case FactDeclined, FactExpired:
		if !o.Open() || f.Type == FactExpired && f.Reason != "" && o.State != OrderLapsed {
			return o, effect, illegal(f, o.State)
		}
		if f.Type == FactDeclined && f.Reason == "" && o.RequestType == RequestHold && o.Attempt > 0 {
			return o, effect, errors.New("declined: an attempt that is declined ends no hold")
		}
		if next.State = OrderDeclined; f.Type == FactExpired {
			next.State = OrderExpired
		}
		next.Reason, next.Detail = f.Reason, f.Detail
		if effect = (Effect{Items: o.Items, Available: 1, Held: -1, EndsHold: true}); o.State == OrderLapsed {
			effect = Effect{EndsHold: true}
		}

	case FactCancelled:
		if o.State != f.Was {
			return o, effect, illegal(f, o.State)
		}
		switch o.State {
		case OrderNone:
		case OrderHeld:
			effect = Effect{Items: o.Items, Available: 1, Held: -1, EndsHold: true}
		case OrderLapsed:
			effect = Effect{EndsHold: true}
		case OrderConfirmed:
			effect = Effect{Items: o.Items, Available: 1, Sold: -1}
		case OrderCancelled: // its places were given back before; what it was to keep could not be captured
			if f.Reason != ReasonCaptureFailed || !o.KeepsMoney() {
				return o, effect, illegal(f, o.State)
			}
		case OrderDeclined, OrderExpired, OrderRejected:
			return o, effect, illegal(f, o.State)
		}
		if err := o.checkSale(f); err != nil {
			return o, effect, err
		}
		next.State, next.Reason = OrderCancelled, f.Reason
		switch {
		case f.NoRefund && o.State != OrderConfirmed:
			return o, Effect{}, fmt.Errorf("cancelled: keeps money of what was %s", o.State)
		case f.NoRefund:
			next.owes(o, 0)
		case f.Reason == ReasonCaptureFailed: // there is nothing that could be kept
			next.owes(o, o.PaidAmount())
		case o.State == OrderConfirmed:
			next.owes(o, o.Amount())
		}

	case FactReduced, FactChanged:
		var err error
		if next, effect, err = o.changed(f); err != nil {
			return o, Effect{}, err
		}

	case FactChangeRefused:
		if !o.Open() && !o.wasPaid() {
			return o, effect, illegal(f, o.State)
		}
		if err := next.number(f); err != nil || f.Reason == "" {
			return o, effect, cmp.Or(err, errors.New("change_refused: without a reason"))
		}

	case FactRefundGranted:
		if err := next.grant(o, f); err != nil {
			return o, effect, err
		}

	case FactPaymentDisputed:
		if err := next.disputed(o, f); err != nil {
			return o, effect, err
		}

	case FactRestored:
		var err error
		if next, effect, err = o.restored(f); err != nil {
			return o, Effect{}, err
		}

	case FactPaying:
		if !o.Open() || o.RequestType != RequestHold {
			return o, effect, illegal(f, o.State)
		}
		if f.Attempt != o.Attempt+1 || f.Attempt > MaxAttempts || o.Attempt > 0 && o.PayState != PayDeclined {
			return o, effect, fmt.Errorf("paying: attempt %d cannot follow attempt %d%s", f.Attempt, o.Attempt, declined(o))
		}
		next.Attempt, next.PayState, next.PayFingerprint = f.Attempt, PayOpen, f.Fingerprint

	case FactPaymentDeclined:
		if !o.Open() || o.RequestType != RequestHold {
			return o, effect, illegal(f, o.State)
		}
		if o.Attempt == 0 || f.Attempt != o.Attempt || o.PayState == PayDeclined {
			return o, effect, fmt.Errorf("payment_declined: attempt %d, the order's is %d%s", f.Attempt, o.Attempt, declined(o))
		}
		next.PayState, next.AuthorizationID = PayDeclined, ""

	case FactActionRequired:
		if !o.Open() {
			return o, effect, illegal(f, o.State)
		}
		if o.Attempt == 0 || f.Attempt != o.Attempt || o.PayState != PayOpen {
			return o, effect, fmt.Errorf("action_required: attempt %d, the order's is %d, which is %s", f.Attempt, o.Attempt, o.PayState)
		}
		next.PayState, next.AuthorizationID = PayActionRequired, f.AuthorizationID

	case FactExtended:
		if o.State != OrderHeld {
			return o, effect, illegal(f, o.State)
		}
		if f.DeadlineMillis <= o.DeadlineMillis {
			return o, effect, fmt.Errorf("extended: until %d, its deadline is %d", f.DeadlineMillis, o.DeadlineMillis)
		}
		next.DeadlineMillis = f.DeadlineMillis

	case FactForgotten:
		if o.State != OrderRejected || o.Reason != ReasonUnknownEvent || o.Version != f.Version {
			return o, effect, fmt.Errorf("%w (%s, version %q instead of %q)", illegal(f, o.State), o.Reason, o.Version, f.Version)
		}
		return Order{}, effect, nil

	case FactOrderRecalled:
		return o, effect, fmt.Errorf("%s is nothing that becomes of an order", f.Type)

	case FactCreated, FactAdjusted, FactClosed, FactReopened, FactEventCancelled, FactEventForgotten, FactEventRecalled:
		return o, effect, fmt.Errorf("%s is a fact about an event, not an order", f.Type)
	default:
		return o, effect, fmt.Errorf("no such fact %q", f.Type)
	}
	if ended := o.State == OrderHeld || o.State == OrderConfirmed; ended && o.Code != "" && next.State != OrderHeld && next.State != OrderConfirmed {
		effect.Code, effect.Uses = o.Code, -1 // with its places
	}
	if o.State == OrderLapsed && next.State == OrderConfirmed && o.Code != "" {
		effect.Code, effect.Uses = o.Code, 1
	}
	next.Version = f.ID
	if next.State.Terminal() && next.State != o.State {
		next.ResolvedAtMillis = f.AtMillis
	}
	return next, effect, nil
}

// declined says so of an order's attempt.
func declined(o Order) string {
	if o.PayState == PayDeclined {
		return ", which was declined"
	}
	return ""
}

// checkSale: what a fact repeats of an order, for whoever posts and settles it, is what the order says.
func (o Order) checkSale(f Fact) error {
	type sale struct {
		customerID  string
		items       Items
		currency    string
		confirmedAt int64
	}
	says := sale{f.CustomerID, f.Items, f.Currency, f.ConfirmedAtMillis}
	if is := (sale{o.CustomerID, o.Items, o.Currency, o.ConfirmedAtMillis}); says != is {
		return fmt.Errorf("%s: says %+v, the order %+v", f.Type, says, is)
	}
	return nil
}

// Apply folds one fact about an order into what it is about. It is pure: v is
// left alone. An error means that the fact cannot follow from this state, so
// whoever wrote the log broke an invariant; the view then comes back unchanged.
func Apply(v View, f Fact) (View, error) {
	next, effect, err := v.Order.After(f)
	if err != nil {
		return v, err
	}
	// One clock decides and stamps, so what depends on a deadline can be checked exactly.
	switch {
	case v.Event.Over != "":
		return v, fmt.Errorf("%s: its event was forgotten with log entry %s", f.Type, v.Event.Over)
	case f.Type == FactHeld && v.InProgress != "":
		return v, fmt.Errorf("held, but order %s of the same customer is in progress", v.InProgress)
	case f.Type == FactHeld && v.Event.MaxPerCustomer > 0 && v.Places+f.Items.Quantity() > v.Event.MaxPerCustomer:
		return v, fmt.Errorf("held, but the customer had %d places, of at most %d", v.Places, v.Event.MaxPerCustomer)
	case f.Type == FactConfirmed && f.AtMillis >= v.Order.PayableUntilMillis():
		return v, fmt.Errorf("confirmed at %d, not before its deadline %d", f.AtMillis, v.Order.PayableUntilMillis())
	case f.Type == FactConfirmed && v.Order.State == OrderLapsed:
		if err := v.mayHaveAgain(f.AtMillis); err != nil {
			return v, err
		}
	case f.Type == FactLapsed && (f.AtMillis < v.Order.DeadlineMillis || f.LateMillis != v.Event.LateApprovalMillis):
		return v, fmt.Errorf("lapsed at %d for %d, its deadline is %d, and the event's time %d", f.AtMillis, f.LateMillis, v.Order.DeadlineMillis, v.Event.LateApprovalMillis)
	case (f.Type == FactReduced || f.Type == FactChanged || f.Type == FactChangeRefused) && v.Order.State == OrderHeld && f.AtMillis >= v.Order.DeadlineMillis:
		return v, fmt.Errorf("%s at %d, not before its deadline %d", f.Type, f.AtMillis, v.Order.DeadlineMillis)
	case f.Type == FactChanged && v.Event.MaxPerCustomer > 0 && effect.Places() < 0 && v.Places-effect.Places() > v.Event.MaxPerCustomer:
		return v, fmt.Errorf("changed, but the customer had %d places, of at most %d", v.Places, v.Event.MaxPerCustomer)
	case f.Type == FactChanged && v.Event.Cancelled:
		return v, errors.New("changed, but its event is cancelled")
	case (f.Type == FactPaying || f.Type == FactActionRequired || f.Type == FactExtended) && f.AtMillis >= v.Order.PayableUntilMillis():
		return v, fmt.Errorf("%s at %d, not before its deadline %d", f.Type, f.AtMillis, v.Order.PayableUntilMillis())
	case f.Type == FactExpired && f.AtMillis < v.Order.PayableUntilMillis() && f.Reason == "":
		return v, fmt.Errorf("expired at %d, before its deadline %d", f.AtMillis, v.Order.PayableUntilMillis())
	case f.Type == FactCancelled && f.Reason == ReasonEventCancelled && !v.Event.Cancelled:
		return v, errors.New("cancelled because of its event, which is not cancelled")
	}
	if f.Type == FactHeld {
		if err := v.Event.checkOpened(f); err != nil {
			return v, err
		}
	}
	if f.Type == FactRestored {
		if err := v.mayBeRestored(f, next, effect); err != nil {
			return v, err
		}
	}
	out := View{Event: v.Event, Order: next, InProgress: v.InProgress, Places: v.Places}
	if v.Event.MaxPerCustomer > 0 {
		out.Places -= effect.Places()
	}
	if effect != (Effect{}) {
		if out.Event, err = v.Event.move(effect); err == nil {
			err = out.Event.checkCounts()
		}
	}
	if err != nil {
		return v, fmt.Errorf("%s: %w", f.Type, err)
	}
	switch {
	case next.State == OrderHeld && v.Order.State == OrderNone:
		out.InProgress = f.OrderID
	case effect.EndsHold && v.InProgress == f.OrderID:
		out.InProgress = ""
	}
	return out, nil
}

// mayHaveAgain returns why a lapsed order cannot be sold at that time, if its places are free; nil if it can.
func (v View) mayHaveAgain(atMillis int64) error {
	quantity := v.Order.Items.Quantity()
	switch e := v.Event; {
	case !e.onSaleOf(v.Order.Items, atMillis):
		return fmt.Errorf("confirmed after it had lapsed, at %d, when its event was not on sale", atMillis)
	case !e.opensAgain(v.Order.Code):
		return fmt.Errorf("confirmed after it had lapsed, by a code that opens nothing any more")
	case v.InProgress != "":
		return fmt.Errorf("confirmed after it had lapsed, but order %s of the same customer is in progress", v.InProgress)
	case e.MaxPerOrder > 0 && quantity > e.MaxPerOrder:
		return fmt.Errorf("confirmed after it had lapsed, with %d places, of at most %d", quantity, e.MaxPerOrder)
	case e.MaxPerCustomer > 0 && v.Places+quantity > e.MaxPerCustomer:
		return fmt.Errorf("confirmed after it had lapsed, but the customer had %d places, of at most %d", v.Places, e.MaxPerCustomer)
	}
	return nil
}

func illegal(f Fact, from OrderState) error {
	return fmt.Errorf("%s cannot follow %s", f.Type, from)
}

// ApplyEvent folds one fact about an event. Like Apply, it is pure.
func ApplyEvent(e Event, f Fact) (Event, error) {
	switch f.Type {
	case FactCreated:
		if e.Exists() || e.Over != "" || f.Terms == nil {
			return e, fmt.Errorf("listed: twice, or without terms")
		}
		t := *f.Terms
		out := Event{
			Name: t.Name, Currency: t.Currency, MaxPerOrder: t.MaxPerOrder, MaxPerCustomer: t.MaxPerCustomer,
			NoOrphans: t.NoOrphans, LateApprovalMillis: t.LateApprovalMillis, OnSaleMillis: t.OnSaleMillis, OffSaleMillis: t.OffSaleMillis,
			Fingerprint: t.Fingerprint(), Version: 1,
		}
		var err error
		if out.Allocations, err = e.keepCodes(t.Allocations); err != nil {
			return e, fmt.Errorf("listed: %w", err)
		}
		for _, s := range t.Sections {
			if err := out.addSection(s); err != nil {
				return e, fmt.Errorf("listed: %w", err)
			}
		}
		if err := out.checkCapacities(t); err != nil {
			return e, fmt.Errorf("listed: %w", err)
		}
		return out, nil

	case FactAdjusted:
		if !e.Exists() || f.Terms == nil {
			return e, fmt.Errorf("adjusted: no such event, or without terms")
		}
		t := *f.Terms
		out := e
		if (t.MaxPerCustomer > 0) != (e.MaxPerCustomer > 0) {
			return e, fmt.Errorf("adjusted: a limit per customer was added, or taken away")
		}
		out.Name, out.MaxPerOrder, out.MaxPerCustomer, out.NoOrphans = t.Name, t.MaxPerOrder, t.MaxPerCustomer, t.NoOrphans
		out.LateApprovalMillis = t.LateApprovalMillis
		out.OnSaleMillis, out.OffSaleMillis = t.OnSaleMillis, t.OffSaleMillis
		out.Version++
		// Sections stand in the order of the terms, as adjust_event.lua writes them.
		kept := 0
		out.Sections = nil
		for _, s := range t.Sections {
			old, exists := e.Section(s.Name)
			if !exists {
				if err := out.addSection(s); err != nil {
					return e, fmt.Errorf("adjusted: %w", err)
				}
				continue
			}
			kept++
			if s.Layout != old.Layout || old.Mark != markOf(s) {
				return e, fmt.Errorf("adjusted: section %s has another layout", s.Name)
			}
			next := old
			if next.Price = s.Price; !old.Seated() {
				next.Capacity, next.Blocked = s.Capacity, s.Blocked
				next.Available = s.Capacity - s.Blocked - old.Held - old.Sold
			}
			out.Sections = append(out.Sections, next)
		}
		if kept != len(e.Sections) {
			return e, fmt.Errorf("adjusted: a section was removed")
		}
		var err error
		if out.Allocations, err = e.keepCodes(t.Allocations); err != nil {
			return e, fmt.Errorf("adjusted: %w", err)
		}
		for _, m := range t.Moves {
			if err := out.moveSeats(m); err != nil {
				return e, fmt.Errorf("adjusted: %w", err)
			}
		}
		if err := out.checkCapacities(t); err != nil {
			return e, fmt.Errorf("adjusted: %w", err)
		}
		if err := out.CheckConservation(); err != nil {
			return e, fmt.Errorf("adjusted: %w", err)
		}
		return out, nil

	case FactClosed:
		if !e.Exists() || e.Closed {
			return e, fmt.Errorf("closed: no such event, or twice")
		}
		e.Closed, e.Cause = true, f.Cause
		e.Version++
		return e, nil

	case FactReopened:
		if !e.Closed || f.Terms == nil || f.Terms.Fingerprint() != e.Terms().Fingerprint() {
			return e, fmt.Errorf("reopened: not closed, or with other terms")
		}
		e.Closed, e.Cancelled, e.Cause = false, false, Cause{}
		e.Version++
		return e, nil

	case FactEventCancelled:
		if !e.Exists() || e.Cancelled {
			return e, fmt.Errorf("event_cancelled: no such event, or twice")
		}
		e.Closed, e.Cancelled, e.Cause = true, true, f.Cause
		e.Version++
		return e, nil

	case FactEventForgotten:
		if !e.Exists() || !e.Closed {
			return e, fmt.Errorf("event_forgotten: no such event, or not closed")
		}
		return Event{Version: e.Version + 1, Over: f.ID}, nil

	case FactEventRecalled:
		switch {
		case e.Over == "" || f.Recalled == nil:
			return e, fmt.Errorf("event_recalled: it is not forgotten")
		case !f.Recalled.Event.Exists() || !f.Recalled.Event.Closed || f.Recalled.Event.Version != e.Version+1:
			return e, fmt.Errorf("event_recalled: as what it was not when it was forgotten, with version %d, it has %d", f.Recalled.Event.Version, e.Version)
		}
		return f.Recalled.Event, f.Recalled.Event.CheckConservation()

	case FactHeld, FactRejected, FactConfirmed, FactDeclined, FactExpired, FactLapsed, FactCancelled, FactPaying, FactPaymentDeclined, FactActionRequired, FactExtended, FactReduced, FactChanged, FactChangeRefused, FactRefundGranted, FactPaymentDisputed, FactRestored, FactForgotten, FactOrderRecalled:
		return e, fmt.Errorf("%s is a fact about an order, not an event", f.Type)
	}
	return e, fmt.Errorf("no such fact %q", f.Type)
}

// Snapshot is what a log folds to: the state of everything it names.
type Snapshot struct {
	Events     map[string]Event
	Orders     map[OrderRef]Order
	InProgress map[string]map[string]string // event_id -> customer_id -> order_id
	Places     map[string]map[string]int64  // event_id -> customer_id -> View.Places, of events that have a limit of them; none is 0
	Refused    map[RefusedDemand]int64      // places that were asked for in vain
	Early      map[OrderRef]bool            // orders that were named before their event was listed
	Lines      map[OrderRef]Line            // of orders that were ever confirmed, of events that were forgotten

	byEvent map[string][]string // order_ids, some perhaps of orders that are not there any more; nil as long as nobody asked for them
}

// RefusedDemand is what places were asked for in vain: which, and why.
type RefusedDemand struct{ EventID, Section, Reason string }

// EachRefused calls each for the places that a rejected fact says were asked for in vain, of an event as it was then. All
// those of an order count, in their sections, whichever of them was to blame. What was asked for in a way that made no sense
// is no demand, nor is what there never was.
func EachRefused(e Event, f Fact, each func(what RefusedDemand, places int64)) {
	if f.Type != FactRejected || f.Reason == ReasonInvalid {
		return
	}
	for item := range f.Items.All() {
		if e.sectionIndex(item.Section) >= 0 {
			each(RefusedDemand{f.EventID, item.Section, f.Reason}, item.Quantity)
		}
	}
}

// NewSnapshot returns an empty book.
func NewSnapshot() *Snapshot {
	return &Snapshot{
		Events:     make(map[string]Event),
		Orders:     make(map[OrderRef]Order),
		InProgress: make(map[string]map[string]string),
		Places:     make(map[string]map[string]int64),
		Refused:    make(map[RefusedDemand]int64),
		Early:      make(map[OrderRef]bool),
		Lines:      make(map[OrderRef]Line),
	}
}

// View is what a decision about this order would look at. The customer is the
// order's own if it has one, else the given one.
func (b *Snapshot) View(ref OrderRef, customerID string) View {
	v := View{Event: b.Events[ref.EventID], Order: b.Orders[ref]}
	if v.Order.CustomerID != "" {
		customerID = v.Order.CustomerID
	}
	v.InProgress, v.Places = b.InProgress[ref.EventID][customerID], b.Places[ref.EventID][customerID]
	return v
}

// Fold applies the next fact of the log. On an error the book is unchanged, and
// the log breaks the rules: the error says how.
func (b *Snapshot) Fold(f Fact) error {
	switch f.Type {
	case FactEventForgotten:
		return b.forget(f)
	case FactOrderRecalled:
		return b.recallOrder(f)
	case FactEventRecalled:
		return b.recall(f)
	case FactCreated, FactAdjusted, FactClosed, FactReopened, FactEventCancelled:
		e, err := ApplyEvent(b.Events[f.EventID], f)
		if err == nil {
			b.Events[f.EventID] = e
		}
		return err
	case FactHeld, FactRejected, FactConfirmed, FactDeclined, FactExpired, FactLapsed, FactCancelled, FactPaying, FactPaymentDeclined, FactActionRequired, FactExtended, FactReduced, FactChanged, FactChangeRefused, FactRefundGranted, FactPaymentDisputed, FactRestored, FactForgotten:
	}
	ref := f.Ref()
	v, err := Apply(b.View(ref, f.CustomerID), f)
	if err != nil {
		return err
	}
	if !b.Events[f.EventID].Exists() {
		b.Early[ref] = true
	}
	if _, known := b.Orders[ref]; !known && b.byEvent != nil {
		b.byEvent[ref.EventID] = append(b.byEvent[ref.EventID], ref.OrderID)
	}
	if b.Orders[ref] = v.Order; v.Order.State == OrderNone {
		delete(b.Orders, ref)
		delete(b.Early, ref)
	}
	if v.Event.Exists() {
		b.Events[f.EventID] = v.Event
	}
	b.setInProgress(f.EventID, v.Order.CustomerID, v.InProgress)
	b.setPlaces(f.EventID, v.Order.CustomerID, v.Places)
	EachRefused(v.Event, f, func(what RefusedDemand, places int64) { b.Refused[what] += places })
	return nil
}

// forget takes an event that is over out of the book, with all that is of it. What stays is that there was one, and what its orders were on
// their customers' invoices.
func (b *Snapshot) forget(f Fact) error {
	e, err := ApplyEvent(b.Events[f.EventID], f)
	if err != nil {
		return err
	}
	orders := b.ordersOf(f.EventID)
	for _, id := range orders {
		if o := b.Orders[OrderRef{f.EventID, id}]; o.Open() {
			return fmt.Errorf("event_forgotten: order %s is %s", id, o.State)
		}
	}
	for _, id := range orders {
		ref := OrderRef{f.EventID, id}
		if line, is := b.Orders[ref].Line(); is {
			b.Lines[ref] = line
		}
		delete(b.Orders, ref)
		delete(b.Early, ref)
	}
	b.Events[f.EventID] = e
	delete(b.byEvent, f.EventID)
	delete(b.InProgress, f.EventID)
	delete(b.Places, f.EventID)
	maps.DeleteFunc(b.Refused, func(what RefusedDemand, _ int64) bool { return what.EventID == f.EventID })
	return nil
}

// ordersOf are the order_ids of an event, some perhaps of orders that are not there any more.
func (b *Snapshot) ordersOf(eventID string) []string {
	if b.byEvent == nil {
		b.byEvent = make(map[string][]string)
		for ref := range b.Orders {
			b.byEvent[ref.EventID] = append(b.byEvent[ref.EventID], ref.OrderID)
		}
	}
	return b.byEvent[eventID]
}

// FoldKeeping is Fold for whoever wants to know what was, whatever was forgotten since: that an event was forgotten, and recalled, changes nothing there but the version
// of its terms.
func (b *Snapshot) FoldKeeping(f Fact) error {
	switch e := b.Events[f.EventID]; {
	case f.Type == FactEventForgotten, f.Type == FactOrderRecalled:
		return nil
	case f.Type == FactEventRecalled && (e.Over != "" || f.Recalled == nil):
		return errors.New("event_recalled: what it was is not known")
	case f.Type == FactEventRecalled:
		e.Version = f.Recalled.Event.Version
		b.Events[f.EventID] = e
		return nil
	}
	return b.Fold(f)
}

// Recalled is what is there again of what was forgotten: an order, or an event.
type Recalled struct {
	Order Order
	Early bool // it was named before its event was listed

	Event       Event
	OrderHashes int // how many hashes of orders the event has for its own in Redis: fixed when it is listed
	Refused     map[RefusedDemand]int64
}

// recallOrder puts an order back, as it was when its event was forgotten; what is on its customer's invoices says the same. The event is not there yet.
func (b *Snapshot) recallOrder(f Fact) error {
	ref, e := f.Ref(), b.Events[f.EventID]
	if e.Over == "" || f.Recalled == nil {
		return errors.New("order_recalled: its event is not forgotten")
	}
	o := f.Recalled.Order
	if _, there := b.Orders[ref]; there || o.State == OrderNone || o.Open() || EntryMillis(o.Version) > EntryMillis(e.Over) {
		return fmt.Errorf("order_recalled: it is there, or was not %s since %s", o.State, o.Version)
	}
	line, is := o.Line()
	if says, said := b.Lines[ref]; said != is || is && says != line {
		return fmt.Errorf("order_recalled: as %+v, the invoices say %+v", line, says)
	}
	b.ordersOf(f.EventID)
	b.byEvent[f.EventID] = append(b.byEvent[f.EventID], f.OrderID)
	if b.Orders[ref] = o; f.Recalled.Early {
		b.Early[ref] = true
	}
	return nil
}

// recall puts an event back, whose orders are there again, all that were ever confirmed, and add up to what is sold of it.
func (b *Snapshot) recall(f Fact) error {
	e, err := ApplyEvent(b.Events[f.EventID], f)
	if err != nil {
		return err
	}
	sold, lines, places := make(map[string]int64), 0, make(map[string]int64)
	for _, id := range b.ordersOf(f.EventID) {
		o := b.Orders[OrderRef{f.EventID, id}]
		if o.ConfirmedAtMillis > 0 {
			lines++
		}
		if o.State != OrderConfirmed {
			continue
		}
		for item := range o.Items.All() {
			sold[item.Section] += item.Quantity
		}
		if e.MaxPerCustomer > 0 {
			places[o.CustomerID] += o.Items.Quantity()
		}
	}
	for ref := range b.Lines {
		if ref.EventID == f.EventID {
			lines--
		}
	}
	if lines != 0 {
		return fmt.Errorf("event_recalled: of the orders that were ever confirmed, %d are not there", -lines)
	}
	for _, s := range e.Sections {
		if s.Held != 0 || s.Sold != sold[s.Name] {
			return fmt.Errorf("event_recalled: of section %s %d are held and %d sold, its orders have %d", s.Name, s.Held, s.Sold, sold[s.Name])
		}
	}
	b.Events[f.EventID] = e
	maps.DeleteFunc(b.Lines, func(ref OrderRef, _ Line) bool { return ref.EventID == f.EventID })
	for customer, n := range places {
		b.setPlaces(f.EventID, customer, n)
	}
	maps.Copy(b.Refused, f.Recalled.Refused)
	return nil
}

func (b *Snapshot) setPlaces(eventID, customerID string, places int64) {
	of := b.Places[eventID]
	switch {
	case places != 0 && of == nil:
		b.Places[eventID] = map[string]int64{customerID: places}
	case places != 0:
		of[customerID] = places
	case of != nil:
		delete(of, customerID)
	}
}

func (b *Snapshot) setInProgress(eventID, customerID, orderID string) {
	if customerID == "" {
		return
	}
	inProgress := b.InProgress[eventID]
	switch {
	case orderID != "" && inProgress == nil:
		b.InProgress[eventID] = map[string]string{customerID: orderID}
	case orderID != "":
		inProgress[customerID] = orderID
	case inProgress != nil:
		delete(inProgress, customerID)
	}
}
