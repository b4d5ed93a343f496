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
		if v.Slot != "" {
			return v, fmt.Errorf("held, but order %s of the same customer is in progress", v.Slot)
		}
		*o = Order{
			State: OrderHeld, Kind: f.Kind, Fingerprint: f.Fingerprint, CustomerID: f.CustomerID,
			Section: f.Section, Quantity: f.Quantity, UnitPrice: f.UnitPrice, Currency: f.Currency,
			DeadlineMillis: f.DeadlineMillis, HeldAtMillis: f.AtMillis,
		}
		out.Slot = f.OrderID
		out.Event, err = v.Event.move(f.Section, -f.Quantity, f.Quantity, 0)

	case FactRejected:
		if o.State != OrderNone {
			return v, illegal(f, o.State)
		}
		*o = Order{
			State: OrderRejected, Kind: f.Kind, Fingerprint: f.Fingerprint, CustomerID: f.CustomerID,
			Section: f.Section, Quantity: f.Quantity, ResolvedAt: f.AtMillis, Reason: f.Reason, Detail: f.Detail,
		}

	case FactConfirmed:
		if o.State != OrderHeld {
			return v, illegal(f, o.State)
		}
		out.Event, err = v.Event.move(o.Section, 0, -o.Quantity, o.Quantity)
		o.State, o.ConfirmedAt, o.ResolvedAt, o.AuthorizationID = OrderConfirmed, f.AtMillis, f.AtMillis, f.AuthorizationID
		out.freeSlot(f.OrderID)

	case FactDeclined, FactExpired:
		if o.State != OrderHeld {
			return v, illegal(f, o.State)
		}
		out.Event, err = v.Event.move(o.Section, o.Quantity, -o.Quantity, 0)
		o.State, o.ResolvedAt = OrderDeclined, f.AtMillis
		if f.Type == FactExpired {
			// Decided and stamped by one clock, so this is exact. That of a confirmation is not: its
			// stamp may be some milliseconds after the decision.
			if f.AtMillis < o.DeadlineMillis {
				return v, fmt.Errorf("expired at %d, before its deadline %d", f.AtMillis, o.DeadlineMillis)
			}
			o.State = OrderExpired
		}
		out.freeSlot(f.OrderID)

	case FactCancelled:
		if o.State != f.Was {
			return v, illegal(f, o.State)
		}
		switch o.State {
		case OrderNone:
		case OrderHeld:
			out.Event, err = v.Event.move(o.Section, o.Quantity, -o.Quantity, 0)
			out.freeSlot(f.OrderID)
		case OrderConfirmed:
			out.Event, err = v.Event.move(o.Section, o.Quantity, 0, -o.Quantity)
		case OrderDeclined, OrderExpired, OrderCancelled, OrderRejected:
			return v, illegal(f, o.State)
		}
		o.State, o.ResolvedAt, o.Reason = OrderCancelled, f.AtMillis, f.Reason

	case FactListed, FactAdjusted, FactClosed:
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

// freeSlot empties the customer's slot, if it still names this order.
func (v *View) freeSlot(orderID string) {
	if v.Slot == orderID {
		v.Slot = ""
	}
}

func illegal(f Fact, from OrderState) error {
	return fmt.Errorf("%s cannot follow %s", f.Type, from)
}

// ApplyEvent folds one fact about an event. Like Apply, it is pure.
func ApplyEvent(e Event, f Fact) (Event, error) {
	switch f.Type {
	case FactListed:
		if e.Listed() || f.Terms == nil {
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
		if !e.Listed() || f.Terms == nil {
			return e, fmt.Errorf("adjusted: not listed, or without terms")
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
		if !e.Listed() || e.Closed {
			return e, fmt.Errorf("closed: not listed, or twice")
		}
		e.Closed = true
		e.Version++
		return e, nil

	case FactHeld, FactRejected, FactConfirmed, FactDeclined, FactExpired, FactCancelled:
		return e, fmt.Errorf("%s is a fact about an order, not an event", f.Type)
	}
	return e, fmt.Errorf("no such fact %q", f.Type)
}

// Book is what a log folds to: the state of everything it names.
type Book struct {
	Events map[string]Event
	Orders map[OrderRef]Order
	Slots  map[string]map[string]string // event_id -> customer_id -> order_id
}

// NewBook returns an empty book.
func NewBook() *Book {
	return &Book{
		Events: make(map[string]Event),
		Orders: make(map[OrderRef]Order),
		Slots:  make(map[string]map[string]string),
	}
}

// View is what a decision about this order would look at. The customer is the
// order's own if it has one, else the given one.
func (b *Book) View(ref OrderRef, customerID string) View {
	v := View{Event: b.Events[ref.EventID], Order: b.Orders[ref]}
	if v.Order.CustomerID != "" {
		customerID = v.Order.CustomerID
	}
	v.Slot = b.Slots[ref.EventID][customerID]
	return v
}

// Fold applies the next fact of the log. On an error the book is unchanged, and
// the log breaks the rules: the error says how.
func (b *Book) Fold(f Fact) error {
	switch f.Type {
	case FactListed, FactAdjusted, FactClosed:
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
	if v.Event.Listed() {
		b.Events[f.EventID] = v.Event
	}
	b.setSlot(f.EventID, v.Order.CustomerID, v.Slot)
	return nil
}

func (b *Book) setSlot(eventID, customerID, orderID string) {
	if customerID == "" {
		return
	}
	slots := b.Slots[eventID]
	switch {
	case orderID != "" && slots == nil:
		b.Slots[eventID] = map[string]string{customerID: orderID}
	case orderID != "":
		slots[customerID] = orderID
	case slots != nil:
		delete(slots, customerID)
	}
}
