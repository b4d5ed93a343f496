package domain

import "fmt"

// Apply folds one fact about an order into what it is about. It is pure: v is
// left alone. An error means that the fact cannot follow from this state, so
// whoever wrote the log broke an invariant; the view then comes back unchanged.
func Apply(v View, f Fact) (View, error) {
	out := v
	o := &out.Order
	var err error
	switch f.Type {
	case FactHeld:
		if o.State != OrderNone {
			return v, illegal(f, o.State)
		}
		if v.InProgress != "" {
			return v, fmt.Errorf("held, but order %s of the same customer is in progress", v.InProgress)
		}
		*o = Order{
			State: OrderHeld, RequestType: f.RequestType, Fingerprint: f.Fingerprint, CustomerID: f.CustomerID,
			Section: f.Section, Quantity: f.Quantity, UnitPrice: f.UnitPrice, Currency: f.Currency,
			DeadlineMillis: f.DeadlineMillis, HeldAtMillis: f.AtMillis,
		}
		out.InProgress = f.OrderID
		out.Event, err = v.Event.move(f.Section, -f.Quantity, f.Quantity, 0)

	case FactRejected:
		if o.State != OrderNone {
			return v, illegal(f, o.State)
		}
		*o = Order{
			State: OrderRejected, RequestType: f.RequestType, Fingerprint: f.Fingerprint, CustomerID: f.CustomerID,
			Section: f.Section, Quantity: f.Quantity, ResolvedAtMillis: f.AtMillis, Reason: f.Reason, Detail: f.Detail,
		}

	case FactConfirmed:
		if o.State != OrderHeld {
			return v, illegal(f, o.State)
		}
		out.Event, err = v.Event.move(o.Section, 0, -o.Quantity, o.Quantity)
		o.State, o.ConfirmedAtMillis, o.ResolvedAtMillis, o.AuthorizationID = OrderConfirmed, f.AtMillis, f.AtMillis, f.AuthorizationID
		out.endProgress(f.OrderID)

	case FactDeclined, FactExpired:
		if o.State != OrderHeld {
			return v, illegal(f, o.State)
		}
		out.Event, err = v.Event.move(o.Section, o.Quantity, -o.Quantity, 0)
		o.State, o.ResolvedAtMillis = OrderDeclined, f.AtMillis
		if f.Type == FactExpired {
			// Decided and stamped by one clock, so this is exact. That of a confirmation is not: its
			// stamp may be some milliseconds after the decision.
			if f.AtMillis < o.DeadlineMillis {
				return v, fmt.Errorf("expired at %d, before its deadline %d", f.AtMillis, o.DeadlineMillis)
			}
			o.State = OrderExpired
		}
		o.Reason, o.Detail = f.Reason, f.Detail
		out.endProgress(f.OrderID)

	case FactCancelled:
		if o.State != f.Was {
			return v, illegal(f, o.State)
		}
		if f.Reason == ReasonEventCancelled && !v.Event.Cancelled {
			return v, fmt.Errorf("cancelled because of its event, which is not cancelled")
		}
		switch o.State {
		case OrderNone:
		case OrderHeld:
			out.Event, err = v.Event.move(o.Section, o.Quantity, -o.Quantity, 0)
			out.endProgress(f.OrderID)
		case OrderConfirmed:
			out.Event, err = v.Event.move(o.Section, o.Quantity, 0, -o.Quantity)
		case OrderDeclined, OrderExpired, OrderCancelled, OrderRejected:
			return v, illegal(f, o.State)
		}
		o.State, o.ResolvedAtMillis, o.Reason = OrderCancelled, f.AtMillis, f.Reason

	case FactCreated, FactAdjusted, FactClosed, FactReopened, FactEventCancelled:
		return v, fmt.Errorf("%s is a fact about an event, not an order", f.Type)
	default:
		return v, fmt.Errorf("no such fact %q", f.Type)
	}
	if err == nil {
		err = out.Event.CheckConservation()
	}
	if err != nil {
		return v, fmt.Errorf("%s: %w", f.Type, err)
	}
	return out, nil
}

// endProgress: the customer may order again, if it is this order that was in progress.
func (v *View) endProgress(orderID string) {
	if v.InProgress == orderID {
		v.InProgress = ""
	}
}

func illegal(f Fact, from OrderState) error {
	return fmt.Errorf("%s cannot follow %s", f.Type, from)
}

// ApplyEvent folds one fact about an event. Like Apply, it is pure.
func ApplyEvent(e Event, f Fact) (Event, error) {
	switch f.Type {
	case FactCreated:
		if e.Exists() || f.Terms == nil {
			return e, fmt.Errorf("listed: twice, or without terms")
		}
		t := *f.Terms
		out := Event{
			Name: t.Name, Currency: t.Currency, MaxPerOrder: t.MaxPerOrder,
			OnSaleMillis: t.OnSaleMillis, OffSaleMillis: t.OffSaleMillis,
			Fingerprint: t.Fingerprint(), Version: 1, Sections: make([]Section, len(t.Sections)),
		}
		for i, s := range t.Sections {
			out.Sections[i] = Section{Name: s.Name, Price: s.Price, Capacity: s.Capacity, Available: s.Capacity}
		}
		return out, nil

	case FactAdjusted:
		if !e.Exists() || f.Terms == nil {
			return e, fmt.Errorf("adjusted: no such event, or without terms")
		}
		t := *f.Terms
		out := e
		out.Name, out.MaxPerOrder, out.OnSaleMillis, out.OffSaleMillis = t.Name, t.MaxPerOrder, t.OnSaleMillis, t.OffSaleMillis
		out.Version++
		// Sections stand in the order of the terms, as adjust_event.lua writes them.
		kept := 0
		out.Sections = make([]Section, len(t.Sections))
		for i, s := range t.Sections {
			old, exists := e.Section(s.Name)
			if exists {
				kept++
			}
			out.Sections[i] = Section{
				Name: s.Name, Price: s.Price, Capacity: s.Capacity,
				Available: old.Available + s.Capacity - old.Capacity, Held: old.Held, Sold: old.Sold,
			}
		}
		if kept != len(e.Sections) {
			return e, fmt.Errorf("adjusted: a section was removed")
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

	case FactHeld, FactRejected, FactConfirmed, FactDeclined, FactExpired, FactCancelled:
		return e, fmt.Errorf("%s is a fact about an order, not an event", f.Type)
	}
	return e, fmt.Errorf("no such fact %q", f.Type)
}

// Snapshot is what a log folds to: the state of everything it names.
type Snapshot struct {
	Events     map[string]Event
	Orders     map[OrderRef]Order
	InProgress map[string]map[string]string // event_id -> customer_id -> order_id
}

// NewSnapshot returns an empty book.
func NewSnapshot() *Snapshot {
	return &Snapshot{
		Events:     make(map[string]Event),
		Orders:     make(map[OrderRef]Order),
		InProgress: make(map[string]map[string]string),
	}
}

// View is what a decision about this order would look at. The customer is the
// order's own if it has one, else the given one.
func (b *Snapshot) View(ref OrderRef, customerID string) View {
	v := View{Event: b.Events[ref.EventID], Order: b.Orders[ref]}
	if v.Order.CustomerID != "" {
		customerID = v.Order.CustomerID
	}
	v.InProgress = b.InProgress[ref.EventID][customerID]
	return v
}

// Fold applies the next fact of the log. On an error the book is unchanged, and
// the log breaks the rules: the error says how.
func (b *Snapshot) Fold(f Fact) error {
	switch f.Type {
	case FactCreated, FactAdjusted, FactClosed, FactReopened, FactEventCancelled:
		e, err := ApplyEvent(b.Events[f.EventID], f)
		if err == nil {
			b.Events[f.EventID] = e
		}
		return err
	case FactHeld, FactRejected, FactConfirmed, FactDeclined, FactExpired, FactCancelled:
	}
	ref := f.Ref()
	v, err := Apply(b.View(ref, f.CustomerID), f)
	if err != nil {
		return err
	}
	b.Orders[ref] = v.Order
	if v.Event.Exists() {
		b.Events[f.EventID] = v.Event
	}
	b.setInProgress(f.EventID, v.Order.CustomerID, v.InProgress)
	return nil
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
