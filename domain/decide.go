package domain

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"holdfast/domain/seats"
)

// View is all that one decision about an order looks at.
type View struct {
	Event      Event
	Order      Order
	InProgress string // the order_id of the customer's order in progress for this event; empty if there is none
	Places     int64  // held and sold, of all the customer's orders of this event, if that has a limit of them
}

// Verdict says what becomes of the entry that carried the command.
type Verdict uint8

const (
	// VerdictDone: the order's state is the outcome; the entry is acknowledged with it.
	VerdictDone Verdict = iota
	// VerdictAuthorize: the hold stands; go to the gateway, then resolve.
	VerdictAuthorize
	// VerdictAsk: look up what became of the payment, since the customer had something to do, or may dispute it; then resolve.
	VerdictAsk
	// VerdictVoid: the order ended without this payment; void it, then acknowledge.
	VerdictVoid
	// VerdictWait: nothing can be decided yet; ask again a little later.
	VerdictWait
	// VerdictConflict: the order_id is another request's; dead-letter the entry.
	VerdictConflict
	// VerdictChangePending: a partial cancel or a change that comes before the one with the number before it; dead-letter it.
	VerdictChangePending
	// VerdictPending: a pay whose attempt cannot begin, because the one before is not over; dead-letter it.
	VerdictPending
	// VerdictTooLate: a pay that waited longer than it is worth; dead-letter it. The hold runs out by itself.
	VerdictTooLate
)

// String is the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case VerdictDone:
		return "done"
	case VerdictAuthorize:
		return "authorize"
	case VerdictAsk:
		return "ask"
	case VerdictVoid:
		return "void"
	case VerdictWait:
		return "wait"
	case VerdictConflict:
		return "conflict"
	case VerdictChangePending:
		return "change_pending"
	case VerdictPending:
		return "attempt_pending"
	case VerdictTooLate:
		return "too_late"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Command is something that is asked of an order: Hold, Pay, Update, Resolve, Disputed, Expire, Extend, Cancel, Change or Restore.
type Command interface{ command() }

// Hold is a purchase or a hold that arrived.
type Hold struct {
	Request     Request
	Invalid     string   // why the request is invalid; empty if it is well-formed
	NoToken     bool     // it is a purchase without a payment token: valid only if it costs nothing
	Codes       []string // hashes of the access code that it brings, one by each key there is
	Trace       Trace    // of the request, if it is to be kept
	EntryMillis int64    // when it was published: the time part of its entry's id
	ValidMillis int64    // how long it may wait in line
	HoldMillis  int64    // how long the hold will last
	Minimums    Minimums
}

// Pay is a pay request that arrived.
type Pay struct {
	Attempt     int    // which one it is to be, from 1
	Fingerprint string // of its body
	EntryMillis int64
	ValidMillis int64
}

// Update says that there may be news of a payment: of an attempt whose customer had something to do at their bank, or of one that was
// captured, and may be disputed.
type Update struct {
	Attempt int // from 1
}

// PaymentOutcome is what the gateway said.
type PaymentOutcome uint8

const (
	// PaymentUnknown: no answer yet. Never a "no".
	PaymentUnknown PaymentOutcome = iota
	// PaymentApproved: the amount is authorized.
	PaymentApproved
	// PaymentDeclined: the gateway refused, for good.
	PaymentDeclined
	// PaymentMismatched: there is a payment, but not the one that was asked for. Either no money is
	// reserved or taken any more, or a person has been asked to look.
	PaymentMismatched
	// PaymentActionRequired: the customer must do something at their bank first.
	PaymentActionRequired
)

// Resolve brings the gateway's answer.
type Resolve struct {
	Attempt         int // about which it was asked, from 1
	Outcome         PaymentOutcome
	AuthorizationID string // if approved, or if an action is required
	Detail          string // if mismatched: how it differs, for people
}

// Expire asks whether the deadline has passed.
type Expire struct{}

// Extend has a hold end no sooner than at a time. One that is over stays so.
type Extend struct{ UntilMillis int64 }

// Cancel gives the order up, whatever its state.
type Cancel struct {
	// Reason is ReasonRequested; or ReasonCaptureFailed, which only undoes a confirmed order, or that the money of a cancelled one is kept; or
	// ReasonEventCancelled, which only undoes a held or confirmed one, and only while its event is cancelled:
	// somebody may have reopened it meanwhile.
	Reason   string
	Cause    Cause // of a request: why, and who asked for it, for people
	NoRefund bool  // of a request: what was paid is kept
}

func (Hold) command()    {}
func (Pay) command()     {}
func (Update) command()  {}
func (Resolve) command() {}
func (Expire) command()  {}
func (Extend) command()  {}
func (Cancel) command()  {}

// Decide is the table "Life of an order". It returns the fact the command leads
// to (nil if it changes nothing) and what becomes of its entry. It is total:
// every command in every state has an answer.
func Decide(v View, ref OrderRef, nowMillis int64, c Command) (*Fact, Verdict) {
	if v.Event.Over != "" {
		switch c.(type) {
		case Cancel, Change:
			return nil, VerdictDone
		case Hold, Pay:
			if v.Order.State == OrderNone {
				return nil, VerdictDone
			}
		}
	}
	switch c := c.(type) {
	case Hold:
		return decideHold(v, ref, nowMillis, c)
	case Pay:
		return decidePay(v, ref, nowMillis, c)
	case Update:
		// One that comes before it is known that an action is required says nothing new: the gateway is asked once that is known.
		if o := v.Order; o.Awaited() && c.Attempt == o.Attempt || o.hasPayment() && c.Attempt == o.LastAttempt() {
			return nil, VerdictAsk
		}
		return nil, VerdictDone
	case Resolve:
		return decideResolve(v, ref, nowMillis, c)
	case Disputed:
		return decideDisputed(v, ref, c)
	case Expire:
		if !v.Order.Open() || nowMillis < v.Order.PayableUntilMillis() {
			return nil, VerdictDone
		}
		fact, _ := overdue(v, ref)
		return fact, VerdictDone
	case Extend:
		if v.Order.HoldAliveAt(nowMillis) && v.Order.DeadlineMillis < c.UntilMillis {
			return &Fact{Type: FactExtended, EventID: ref.EventID, OrderID: ref.OrderID, DeadlineMillis: c.UntilMillis}, VerdictDone
		}
		return nil, VerdictDone
	case Cancel:
		return decideCancel(v, ref, c), VerdictDone
	case Change:
		return decideChange(v, ref, nowMillis, c)
	case Restore:
		_, fact := c.Find(v, ref, nowMillis)
		return fact, VerdictDone
	}
	panic(fmt.Sprintf("domain: no such command %T", c)) // the interface is sealed
}

func decideHold(v View, ref OrderRef, nowMillis int64, c Hold) (*Fact, Verdict) {
	o := v.Order
	if o.State != OrderNone && o.Fingerprint != "" && o.Fingerprint != c.Request.Fingerprint {
		return nil, VerdictConflict
	}
	pays := c.Request.Type.Pays()
	switch o.State {
	case OrderNone:
		var items Items
		reason, detail := refusal(v, nowMillis, c)
		if reason == "" {
			items, reason, detail = choose(v.Event, &c.Request)
		}
		if reason != "" {
			return &Fact{
				Type: FactRejected, EventID: ref.EventID, OrderID: ref.OrderID,
				RequestType: c.Request.Type, Fingerprint: c.Request.Fingerprint, CustomerID: c.Request.CustomerID,
				Items: c.Request.asked(), Reason: reason, Detail: detail, Trace: c.Trace,
			}, VerdictDone
		}
		held := &Fact{
			Type: FactHeld, EventID: ref.EventID, OrderID: ref.OrderID,
			RequestType: c.Request.Type, Fingerprint: c.Request.Fingerprint, CustomerID: c.Request.CustomerID,
			Items: items, Currency: v.Event.Currency,
			DeadlineMillis: nowMillis + c.HoldMillis, Trace: c.Trace,
		}
		held.Code, _ = v.Event.opened(&c.Request, c.Codes)
		if pays {
			return held, VerdictAuthorize
		}
		return held, VerdictDone
	case OrderHeld, OrderLapsed:
		if pays && o.PayState != PayActionRequired {
			return nil, VerdictAuthorize
		}
		return nil, VerdictDone
	case OrderExpired, OrderCancelled:
		if pays {
			return nil, voidIfHeldOnce(o)
		}
		return nil, VerdictDone
	case OrderConfirmed, OrderDeclined, OrderRejected:
		return nil, VerdictDone
	}
	return nil, VerdictDone
}

// choose is what a request gets of what its event has left: its items at the event's prices, with their seats. Or it is why it gets
// nothing, and which seats are to blame: of several items the first that cannot be had, for it is all or nothing.
func choose(e Event, r *Request) (items Items, reason, detail string) {
	var list []Item
	for item := range r.Lines() {
		section, _ := e.Section(item.Section)
		got := Item{Section: item.Section, Quantity: item.Quantity, UnitPrice: section.Price, Mark: section.Mark}
		var because []string
		if section.Seated() {
			got.Places, reason, because = e.seatsOf(section).choose(item, got.Free(), e.NoOrphans)
		} else if item.Quantity > section.Available {
			reason = ReasonSoldOut
		}
		if reason != "" {
			return "", reason, blame(r, item.Section, because)
		}
		list = append(list, got)
	}
	return ItemsOf(list...), "", ""
}

// blame is the detail of what is wrong with a section, and with which seats of it: the section is only said if there are others.
func blame(r *Request, section string, names []string) string {
	list := strings.Join(names, ",")
	switch {
	case len(r.Items) <= 1:
		return list
	case list == "":
		return section
	}
	return section + ": " + list
}

// choose is which seats of a section a request gets; or why it gets none, and the names of those that are to blame.
func (s Section) choose(item RequestItem, free byte, strict bool) (places, reason string, because []string) {
	layout, err := seats.Parse(s.Layout)
	if err != nil {
		return "", ReasonUnknownSeat, item.Seats // no event was listed with that
	}
	wish := seats.Wish{Free: free, Strict: strict, Quantity: int(item.Quantity), Adjacent: !item.Apart}
	if len(item.Seats) > 0 {
		wish.Named, _ = layout.Find(item.Seats)
	}
	taken, reason, blamed := seats.Choose(s.Places, wish)
	for _, place := range blamed {
		name, _ := layout.Name(place)
		because = append(because, name)
	}
	return seats.FormatPlaces(taken), reason, because
}

// seatsOf is the section that has the places of a pool.
func (e Event) seatsOf(pool Section) Section {
	s, _ := e.Section(pool.section())
	return s
}

// unknownSeats are the seats that a request names and the section does not have.
func (s Section) unknownSeats(names []string) []string {
	if layout, err := seats.Parse(s.Layout); err == nil {
		_, names = layout.Find(names)
	}
	return names
}

// refusal is why a new order cannot be held, whatever the event has left, and what exactly is wrong; empty if it can. Of an order
// of several items the detail says which section it is about: the first one of them that is to blame.
func refusal(v View, nowMillis int64, c Hold) (reason, detail string) {
	e := v.Event
	var unknown, changed []string
	nowhere, closed := false, false // the section that is unknown has no other places; an allocation is not on sale
	var quantity, amount int64      // an amount past what can be counted is as good as the most that can
	known, unknownSeat, tooMany := true, "", false
	for item := range c.Request.Lines() {
		section, found := e.Section(item.Section)
		known = known && found
		quantity += item.Quantity
		if section.Price > 0 && item.Quantity > (math.MaxInt64-amount)/section.Price {
			amount = math.MaxInt64
		} else {
			amount += item.Quantity * section.Price
		}
		if !found {
			if of, _ := SplitPool(item.Section); len(unknown) == 0 {
				nowhere = e.sectionIndex(of) < 0
			}
			unknown = append(unknown, item.Section)
		}
		if name, is := allocated(item.Section); is {
			a, _ := e.Allocation(name)
			closed = closed || !a.onSaleAt(e, nowMillis)
		} else {
			closed = closed || !e.OnSaleAt(nowMillis)
		}
		if unknownSeat == "" && found && len(item.Seats) > 0 {
			if names := e.seatsOf(section).unknownSeats(item.Seats); len(names) > 0 {
				unknownSeat = blame(&c.Request, item.Section, names)
			}
		}
		tooMany = tooMany || section.Seated() && item.Quantity > MaxItemSeats
		if item.UnitPrice != nil && *item.UnitPrice != section.Price {
			changed = append(changed, item.Section)
		}
	}
	_, opened := e.opened(&c.Request, c.Codes)
	switch {
	case c.Invalid != "":
		return ReasonInvalid, c.Invalid
	case c.NoToken && (!known || amount > 0):
		return ReasonInvalid, DetailNoToken
	case nowMillis-c.EntryMillis > c.ValidMillis:
		return ReasonTooLate, ""
	case !e.Exists():
		return ReasonUnknownEvent, ""
	case nowhere:
		return ReasonUnknownSection, blame(&c.Request, unknown[0], nil)
	case len(unknown) > 0:
		return ReasonUnknownAllocation, blame(&c.Request, unknown[0], nil)
	case unknownSeat != "":
		return ReasonUnknownSeat, unknownSeat
	case closed:
		return ReasonNotOnSale, ""
	case len(changed) > 0:
		return ReasonPriceChanged, blame(&c.Request, changed[0], nil)
	case tooMany:
		return ReasonOverLimit, DetailTooManySeats
	case e.MaxPerOrder > 0 && quantity > e.MaxPerOrder:
		return ReasonOverLimit, ""
	case c.Minimums.Below(e.Currency, 1, amount):
		return ReasonBelowMinimum, ""
	case !opened:
		return ReasonCodeRefused, ""
	case v.InProgress != "":
		return ReasonInProgress, ""
	case e.MaxPerCustomer > 0 && v.Places+quantity > e.MaxPerCustomer:
		return ReasonOverCustomer, ""
	}
	return "", ""
}

func decidePay(v View, ref OrderRef, nowMillis int64, c Pay) (*Fact, Verdict) {
	o := v.Order
	if c.Attempt == o.Attempt && o.PayFingerprint != "" && o.PayFingerprint != c.Fingerprint {
		return nil, VerdictConflict
	}
	switch o.State {
	case OrderNone:
		return nil, VerdictWait
	case OrderHeld, OrderLapsed:
		return payOpen(v, ref, nowMillis, c)
	case OrderExpired, OrderCancelled:
		return nil, voidIfHeldOnce(o)
	case OrderConfirmed, OrderDeclined, OrderRejected:
		return nil, VerdictDone
	}
	return nil, VerdictDone
}

// payOpen: an attempt is accepted once, and then it is not too late for it any more.
func payOpen(v View, ref OrderRef, nowMillis int64, c Pay) (*Fact, Verdict) {
	o := v.Order
	late := o.payableAt(nowMillis) && nowMillis-c.EntryMillis > c.ValidMillis
	switch {
	case c.Attempt < o.Attempt, c.Attempt == o.Attempt && o.PayState != PayOpen:
		return nil, VerdictDone
	case c.Attempt == o.Attempt && o.RequestType == RequestPurchase && late: // nobody has accepted it: the purchase does the same
		return nil, VerdictTooLate
	case c.Attempt == o.Attempt:
		return nil, VerdictAuthorize
	case !o.payableAt(nowMillis):
		return overdue(v, ref)
	case c.Attempt > o.Attempt+1, o.Attempt > 0 && o.PayState != PayDeclined:
		return nil, VerdictPending
	case late:
		return nil, VerdictTooLate
	}
	return &Fact{Type: FactPaying, EventID: ref.EventID, OrderID: ref.OrderID, Attempt: c.Attempt, Fingerprint: c.Fingerprint}, VerdictAuthorize
}

// voidIfHeldOnce: an order that was never held never got as far as the gateway.
func voidIfHeldOnce(o Order) Verdict {
	if o.HeldAtMillis > 0 {
		return VerdictVoid
	}
	return VerdictDone
}

func decideResolve(v View, ref OrderRef, nowMillis int64, c Resolve) (*Fact, Verdict) {
	o := v.Order
	// What is said of another attempt than the order's, or of one that was declined before, changes nothing, and there
	// shall be no money of it. So it is with an order that is lost: it was there when the gateway was asked.
	another := o.State == OrderNone || o.Open() && (c.Attempt != o.Attempt || o.PayState == PayDeclined) || o.State == OrderConfirmed && c.Attempt != o.LastAttempt()
	switch {
	case another && (c.Outcome == PaymentDeclined || c.Outcome == PaymentMismatched):
		return nil, VerdictDone
	case another:
		return nil, VerdictVoid
	case c.Outcome == PaymentMismatched && !o.Open():
		return nil, VerdictDone // whatever the order is, there is nothing of its own to void
	}
	switch o.State {
	case OrderHeld, OrderLapsed:
		switch {
		case c.Outcome == PaymentDeclined && o.RequestType == RequestHold:
			return &Fact{Type: FactPaymentDeclined, EventID: ref.EventID, OrderID: ref.OrderID, Attempt: c.Attempt}, VerdictDone
		case c.Outcome == PaymentDeclined:
			return &Fact{Type: FactDeclined, EventID: ref.EventID, OrderID: ref.OrderID}, VerdictDone
		case c.Outcome == PaymentMismatched:
			return &Fact{Type: FactDeclined, EventID: ref.EventID, OrderID: ref.OrderID, Reason: ReasonPaymentMismatch, Detail: c.Detail}, VerdictDone
		case o.State == OrderHeld && nowMillis >= o.DeadlineMillis && v.Event.LateApprovalMillis > 0 && c.Outcome == PaymentApproved:
			return lapsed(v, ref), VerdictWait // and then it is asked whether it still can have its places
		case o.State == OrderHeld && nowMillis >= o.DeadlineMillis && v.Event.LateApprovalMillis > 0:
			return lapsed(v, ref), VerdictDone // the gateway is asked from time to time
		case !o.payableAt(nowMillis):
			return expired(ref), VerdictVoid
		case o.State == OrderLapsed && c.Outcome == PaymentApproved:
			return approvedLate(v, ref, nowMillis, c)
		case c.Outcome == PaymentApproved:
			return confirmed(o, ref, c), VerdictDone
		case o.PayState == PayActionRequired: // that is known, and nobody waits for it
			return nil, VerdictDone
		case c.Outcome == PaymentActionRequired:
			return &Fact{
				Type: FactActionRequired, EventID: ref.EventID, OrderID: ref.OrderID, Attempt: c.Attempt, AuthorizationID: c.AuthorizationID,
			}, VerdictDone
		case o.State == OrderLapsed: // the gateway is asked from time to time
			return nil, VerdictDone
		default:
			return nil, VerdictWait
		}
	case OrderNone, OrderConfirmed:
		return nil, VerdictDone
	case OrderDeclined, OrderRejected:
		// Approved, or on its way to that, and yet declined before: give the money back.
		if c.Outcome == PaymentApproved || c.Outcome == PaymentActionRequired {
			return nil, VerdictVoid
		}
		return nil, VerdictDone
	case OrderExpired, OrderCancelled:
		if c.Outcome == PaymentDeclined {
			return nil, VerdictDone
		}
		return nil, VerdictVoid
	}
	return nil, VerdictDone
}

func decideCancel(v View, ref OrderRef, c Cancel) *Fact {
	o := v.Order
	switch {
	case c.Reason == ReasonCaptureFailed && o.State != OrderConfirmed && o.State != OrderCancelled:
		return nil
	case c.Reason == ReasonEventCancelled && (o.State == OrderNone || !v.Event.Cancelled):
		return nil
	}
	switch o.State {
	case OrderNone:
		return &Fact{Type: FactCancelled, EventID: ref.EventID, OrderID: ref.OrderID, Reason: c.Reason, Cause: c.Cause, Was: OrderNone}
	case OrderHeld, OrderLapsed, OrderConfirmed, OrderCancelled:
		if o.State == OrderCancelled && (c.Reason != ReasonCaptureFailed || !o.KeepsMoney()) {
			return nil
		}
		return &Fact{
			Type: FactCancelled, EventID: ref.EventID, OrderID: ref.OrderID, Reason: c.Reason, Cause: c.Cause, Was: o.State,
			CustomerID: o.CustomerID, Items: o.Items, Currency: o.Currency, ConfirmedAtMillis: o.ConfirmedAtMillis,
			NoRefund: c.NoRefund && o.State == OrderConfirmed,
		}
	case OrderDeclined, OrderExpired, OrderRejected:
		return nil
	}
	return nil
}

func expired(ref OrderRef) *Fact {
	return &Fact{Type: FactExpired, EventID: ref.EventID, OrderID: ref.OrderID}
}

func confirmed(o Order, ref OrderRef, c Resolve) *Fact {
	return &Fact{
		Type: FactConfirmed, EventID: ref.EventID, OrderID: ref.OrderID,
		CustomerID: o.CustomerID, Items: o.Items, Currency: o.Currency, AuthorizationID: c.AuthorizationID, Attempt: later(c.Attempt), Trace: o.Trace,
	}
}

// lapsed ends a hold of an event that honours late approvals.
func lapsed(v View, ref OrderRef) *Fact {
	return &Fact{Type: FactLapsed, EventID: ref.EventID, OrderID: ref.OrderID, LateMillis: v.Event.LateApprovalMillis}
}

// overdue is what becomes of an open order when its time is over. It has lapsed, and then what was asked of it is asked of that; or it is over.
func overdue(v View, ref OrderRef) (*Fact, Verdict) {
	if v.Order.State == OrderHeld && v.Event.LateApprovalMillis > 0 {
		return lapsed(v, ref), VerdictWait
	}
	return expired(ref), VerdictDone
}

// approvedLate is about a lapsed order whose payment is approved in time: it is a hold of its own, of just the places that the order had, and
// sold at once. If it cannot have them, it is over.
func approvedLate(v View, ref OrderRef, nowMillis int64, c Resolve) (*Fact, Verdict) {
	e, o := v.Event, v.Order
	gone := func(reason, detail string) (*Fact, Verdict) {
		fact := expired(ref)
		fact.Reason, fact.Detail = reason, detail
		return fact, VerdictVoid
	}
	quantity := o.Items.Quantity()
	switch {
	case !e.onSaleOf(o.Items, nowMillis):
		return gone(ReasonNotOnSale, "")
	case e.MaxPerOrder > 0 && quantity > e.MaxPerOrder:
		return gone(ReasonOverLimit, "")
	case !e.opensAgain(o.Code):
		return gone(ReasonCodeRefused, "")
	case v.InProgress != "":
		return gone(ReasonInProgress, "")
	case e.MaxPerCustomer > 0 && v.Places+quantity > e.MaxPerCustomer:
		return gone(ReasonOverCustomer, "")
	}
	if reason, detail := e.notFree(o.Items); reason != "" {
		return gone(reason, detail)
	}
	return confirmed(o, ref, c), VerdictDone
}

// Create decides whether an event can be put on sale with these terms. Creating it again
// with the terms that it has now is harmless: no fact. Errors: ClassReject if the terms are
// invalid, or the currency is none that CheckCurrency lets pass (an event that exists
// keeps its own); ErrConflict if it has other terms, or is closed: then of CodeEventClosed.
func Create(e Event, eventID string, t Terms) (*Fact, error) {
	if err := CheckID("event_id", eventID); err != nil {
		return nil, WithCode(ClassReject, CodeInvalid, err)
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if len(t.Moves) > 0 {
		return nil, WithCode(ClassReject, CodeInvalid, errors.New("moves: only of an event that is adjusted"))
	}
	if e.Over != "" {
		return nil, fmt.Errorf("%w: %w", EventOver(eventID), ErrConflict)
	}
	if !e.Exists() {
		if err := CheckCurrency(t.Currency); err != nil {
			return nil, WithClass(ClassReject, err)
		}
		fact := &Fact{Type: FactCreated, EventID: eventID, Terms: &t}
		if _, err := ApplyEvent(e, *fact); err != nil { // its allocations have not the seats that its layouts give them
			return nil, WithCode(ClassReject, CodeInvalid, err)
		}
		return fact, nil
	}
	switch {
	case e.Terms().Fingerprint() != t.Fingerprint():
		return nil, WithClass(ClassReject, fmt.Errorf("event %s: %w: it exists with other terms", eventID, ErrConflict))
	case e.Cancelled:
		return nil, WithCode(ClassReject, CodeEventClosed, fmt.Errorf("event %s: %w: it exists and is cancelled", eventID, ErrConflict))
	case e.Closed:
		return nil, WithCode(ClassReject, CodeEventClosed, fmt.Errorf("event %s: %w: it exists and is closed", eventID, ErrConflict))
	}
	return nil, nil
}

// Adjust decides whether an event's terms can become t. Sections may be added and
// resized, never removed; a capacity cannot go below what is held and sold.
// Orders keep the price they were held at. Errors: ClassReject, ErrNotFound.
func Adjust(e Event, eventID string, t Terms) (*Fact, error) {
	if !e.Exists() {
		return nil, WithClass(ClassReject, fmt.Errorf("event %s: %w", eventID, ErrNotFound))
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if t.Currency != e.Currency {
		return nil, WithCode(ClassReject, CodeInvalid, errors.New("currency: cannot be changed"))
	}
	if (t.MaxPerCustomer > 0) != (e.MaxPerCustomer > 0) {
		return nil, WithCode(ClassReject, CodeInvalid, errors.New("max_per_customer: can be changed, but neither added nor taken away"))
	}
	kept := 0
	for _, s := range t.Sections {
		old, exists := e.Section(s.Name)
		if !exists {
			continue
		}
		kept++
		switch {
		case s.Seated() != old.Seated():
			return nil, WithCode(ClassReject, CodeInvalid, fmt.Errorf("section %s: it is seated for ever, or counted for ever", s.Name))
		case s.Layout != old.Layout, markOf(s) != old.Mark:
			return nil, WithCode(ClassReject, CodeInvalid, fmt.Errorf("section %s: its layout cannot be changed", s.Name))
		}
		if s.Capacity-s.Blocked < old.Held+old.Sold {
			return nil, WithCode(ClassReject, CodeBelowHeld, fmt.Errorf("section %s: capacity %d is below the %d held and %d sold",
				s.Name, s.Capacity-s.Blocked, old.Held, old.Sold))
		}
	}
	if kept != len(e.Sections) {
		return nil, WithCode(ClassReject, CodeInvalid, errors.New("sections: a section cannot be removed"))
	}
	if _, err := e.keepCodes(t.Allocations); err != nil {
		return nil, WithCode(ClassReject, CodeInvalid, err)
	}
	if e.Terms().Fingerprint() == t.Fingerprint() && len(t.Moves) == 0 {
		return nil, nil
	}
	return &Fact{Type: FactAdjusted, EventID: eventID, Terms: &t}, nil
}

// Close decides whether an event's sale can be ended. What is held can still be paid.
// Closing it again is harmless: no fact. Errors: ErrNotFound; ClassReject if the cause is invalid.
func Close(e Event, eventID string, c Cause) (*Fact, error) {
	if err := checkCause(e, eventID, c); err != nil || e.Closed {
		return nil, err
	}
	return &Fact{Type: FactClosed, EventID: eventID, Cause: c}, nil
}

// Reopen decides whether the sale of a closed event can go on, on the terms it has. What
// was cancelled with it stays cancelled. Reopening what is not closed is harmless: no
// fact. Errors: as Close.
func Reopen(e Event, eventID string, c Cause) (*Fact, error) {
	if err := checkCause(e, eventID, c); err != nil || !e.Closed {
		return nil, err
	}
	t := e.Terms()
	return &Fact{Type: FactReopened, EventID: eventID, Terms: &t, Cause: c}, nil
}

// CancelEvent decides whether an event can be cancelled: its sale ends, if it has not, and from then on
// its orders may be cancelled because of it. Both parts of the cause must be given. Cancelling it
// again is harmless: no fact. Errors: as Close.
func CancelEvent(e Event, eventID string, c Cause) (*Fact, error) {
	if c.Reason == "" || c.By == "" {
		return nil, WithCode(ClassReject, CodeInvalid, errors.New("reason, by: want both, for a cancelled event"))
	}
	if err := checkCause(e, eventID, c); err != nil || e.Cancelled {
		return nil, err
	}
	return &Fact{Type: FactEventCancelled, EventID: eventID, Cause: c}, nil
}

func checkCause(e Event, eventID string, c Cause) error {
	if !e.Exists() {
		return WithClass(ClassReject, fmt.Errorf("event %s: %w", eventID, ErrNotFound))
	}
	return c.Validate()
}
