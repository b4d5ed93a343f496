package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type ordersCommand struct {
	Show     ordersShowCommand     `cmd:"" help:"Show an order and its history."`
	NextStep ordersNextStepCommand `cmd:"" help:"Print what the customer of an order must do at their bank."`
	List     ordersListCommand     `cmd:"" help:"List orders by the time at which they came, the newest first."`
	Cancel   ordersCancelCommand   `cmd:"" help:"Ask for the cancellation of an order: give back its tickets and its money."`
	Refund   ordersRefundCommand   `cmd:"" help:"Ask for money of an order to be given back; its tickets stay what they are."`
}

// orderArgs name one order.
type orderArgs struct {
	OrderID string `arg:"" name:"order_id" help:"The order, as ORDER_ID or EVENT_ID/ORDER_ID."`
	Event   string `placeholder:"EVENT_ID" help:"Its event. Without it, the order is looked for in all events."`
}

// ref is the order if its event is named.
func (a orderArgs) ref() (ref domain.OrderRef, complete bool, err error) {
	ref = domain.OrderRef{EventID: a.Event, OrderID: a.OrderID}
	if event, order, found := strings.Cut(a.OrderID, "/"); found {
		if a.Event != "" && a.Event != event {
			return ref, false, badUsage("--event %s contradicts %s", a.Event, a.OrderID)
		}
		ref = domain.OrderRef{EventID: event, OrderID: order}
	}
	if !domain.ValidID(ref.OrderID) || ref.EventID != "" && !domain.ValidID(ref.EventID) {
		return ref, false, badUsage("order_id, --event: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
	}
	return ref, ref.EventID != "", nil
}

// find returns the one order of that name.
func (a orderArgs) find(ctx context.Context, store *streams.Store) (domain.OrderRef, error) {
	ref, complete, err := a.ref()
	if err != nil || complete {
		return ref, err
	}
	found, err := inspect.New(store).FindOrder(ctx, ref.OrderID)
	if err != nil {
		return ref, err
	}
	if len(found) == 0 {
		return ref, about(ref, fmt.Errorf("order %s: %w in any event", ref.OrderID, domain.ErrNotFound))
	}
	return oneOf(ref, found)
}

// oneOf is the one order that was found of a name.
func oneOf(ref domain.OrderRef, found []domain.OrderRef) (domain.OrderRef, error) {
	if len(found) == 1 {
		return found[0], nil
	}
	events := make([]string, len(found))
	for i, f := range found {
		events[i] = f.EventID
	}
	return ref, about(ref, fmt.Errorf("order %s: several events have one: say which with --event: %s", ref.OrderID, strings.Join(events, ", ")))
}

type orderView struct {
	OrderID          string `json:"order_id"`
	EventID          string `json:"event_id"`
	CustomerID       string `json:"customer_id"`
	Section          string `json:"section"` // of several items: their sections, with commas between them
	Quantity         int64  `json:"quantity"`
	UnitPrice        int64  `json:"unit_price"` // minor units; 0 if there are several items
	Amount           int64  `json:"amount"`     // minor units
	Currency         string `json:"currency"`
	State            string `json:"state"`
	Reason           string `json:"reason"`
	Detail           string `json:"detail,omitempty"`
	HeldAtMillis     int64  `json:"held_at"`                 // milliseconds; 0: never held
	DeadlineMillis   int64  `json:"deadline"`                // milliseconds
	PayableMillis    int64  `json:"payable_until,omitempty"` // milliseconds; of one that lapsed
	ResolvedAtMillis int64  `json:"resolved_at"`             // milliseconds; 0: not yet
	AuthorizationID  string `json:"authorization_id"`
	Attempt          int    `json:"attempt"` // the latest attempt to pay that was accepted; 0: none
	Payment          string `json:"payment"` // of that attempt, while the order is held or lapsed: open, declined or action_required; empty otherwise

	Items []itemView `json:"items"`

	Change        int64  `json:"change,omitempty"`         // number of the latest partial cancel, change or refund
	ChangeRefusal string `json:"change_refusal,omitempty"` // why it was refused
	ChangeDetail  string `json:"change_detail,omitempty"`
	RefundTotal   int64  `json:"refund_total,omitempty"` // minor units that are given back, or to be

	Dispute domain.Dispute `json:"dispute,omitzero"`   // of its payment
	TraceID string         `json:"trace_id,omitempty"` // of the request that opened it
}

// itemView is an item of an order.
type itemView struct {
	Section    string   `json:"section"`
	Quantity   int64    `json:"quantity"`
	Seats      []string `json:"seats,omitempty"` // of a section with seats, unless the order never had any
	UnitPrice  int64    `json:"unit_price"`      // minor units
	Amount     int64    `json:"amount"`          // minor units
	Allocation string   `json:"allocation"`
}

// viewItems are items with their seats, which are named by section.
func viewItems(items domain.Items, named map[string][]string) []itemView {
	list := []itemView{}
	for i := range items.All() {
		section, allocation := domain.SplitPool(i.Section)
		list = append(list, itemView{section, i.Quantity, named[section], i.UnitPrice, i.Amount(), allocation})
	}
	return list
}

// viewOrderOf is viewOrder of an order whose seats are to be looked up.
func viewOrderOf(ctx context.Context, checkout *streams.Checkout, ref domain.OrderRef, o domain.Order) (orderView, error) {
	named, err := checkout.SeatNames(ctx, ref.EventID, o.Items)
	if err != nil {
		return orderView{}, fmt.Errorf("order %s: %w", ref, err)
	}
	return viewOrder(ref, o, named), nil
}

func viewOrder(ref domain.OrderRef, o domain.Order, named map[string][]string) orderView {
	v := orderView{
		OrderID: ref.OrderID, EventID: ref.EventID, CustomerID: o.CustomerID, Section: o.Items.Sections(), Quantity: o.Items.Quantity(),
		UnitPrice: o.Items.UnitPrice(), Amount: o.Amount(), Currency: o.Currency, State: o.State.String(), Reason: o.Reason, Detail: o.Detail,
		HeldAtMillis: o.HeldAtMillis, DeadlineMillis: o.DeadlineMillis, ResolvedAtMillis: o.ResolvedAtMillis, AuthorizationID: o.AuthorizationID,
		Attempt: o.Attempt, Items: viewItems(o.Items, named), Change: o.Change, ChangeRefusal: o.ChangeRefusal, ChangeDetail: o.ChangeDetail, RefundTotal: o.RefundTotal(), TraceID: o.Trace.ID(),
		Dispute: o.Dispute,
	}
	if o.State == domain.OrderLapsed {
		v.PayableMillis = o.PayableUntilMillis()
	}
	if o.Open() && o.Attempt > 0 {
		v.Payment = o.PayState.String()
	}
	return v
}

// paymentText says for people what is known of the payment of an order that is held or lapsed.
func paymentText(v orderView) string {
	switch v.Payment {
	case domain.PayActionRequired.String():
		return fmt.Sprintf("attempt %d waits for the customer at their bank", v.Attempt)
	case domain.PayDeclined.String():
		return fmt.Sprintf("attempt %d was declined, the next one may follow", v.Attempt)
	case domain.PayOpen.String():
		return fmt.Sprintf("attempt %d has no answer yet", v.Attempt)
	}
	return ""
}

var orderColumns = []string{"order_id", "event_id", "customer_id", "section", "quantity", "amount", "state", "reason", "held_at", "resolved_at"}

func (v orderView) cells() []string {
	return []string{
		v.OrderID, v.EventID, v.CustomerID, sectionsText(v.Items), count(v.Quantity), money(v.Amount, v.Currency),
		v.State, v.reason(), when(v.HeldAtMillis), when(v.ResolvedAtMillis),
	}
}

// detailWidth is how much of a detail a column shows.
const detailWidth = 60

// reason says in a column why, and what exactly.
func (v orderView) reason() string {
	switch detail := []rune(v.Detail); {
	case len(detail) > detailWidth:
		return v.Reason + ": " + string(detail[:detailWidth]) + "…"
	case len(detail) > 0:
		return v.Reason + ": " + v.Detail
	}
	return v.Reason
}

// someSeats is how many seats of an item a column shows.
const someSeats = 8

// sectionsText says in a column what an order is of: its sections, and some of its seats.
func sectionsText(items []itemView) string {
	var said []string
	for _, item := range items {
		one := item.Section
		switch n := len(item.Seats); {
		case n > someSeats:
			one += " (" + strings.Join(item.Seats[:someSeats], " ") + " …)"
		case n > 0:
			one += " (" + strings.Join(item.Seats, " ") + ")"
		}
		said = append(said, one)
	}
	return strings.Join(said, ",")
}

// itemsText says for people what an order is of.
func itemsText(items []itemView, currency string) string {
	var said []string
	for _, item := range items {
		one := fmt.Sprintf("%s: %d", item.Section, item.Quantity)
		if len(item.Seats) > 0 {
			one += " (" + strings.Join(item.Seats, " ") + ")"
		}
		if currency != "" {
			one += " at " + money(item.UnitPrice, currency)
		}
		said = append(said, one)
	}
	return strings.Join(said, ", ")
}

// factView is one fact about an order; beyond the first three, what is not set is left out.
type factView struct {
	ID          string `json:"id"`
	AtMillis    int64  `json:"at"` // milliseconds
	Type        string `json:"type"`
	RequestType string `json:"kind,omitempty"`
	CustomerID  string `json:"customer_id,omitempty"`
	Section     string `json:"section,omitempty"`
	Quantity    int64  `json:"quantity,omitempty"`
	UnitPrice   int64  `json:"unit_price,omitempty"`

	Items []itemView `json:"items,omitempty"`

	Currency          string `json:"currency,omitempty"`
	DeadlineMillis    int64  `json:"deadline,omitempty"`
	AuthorizationID   string `json:"authorization_id,omitempty"`
	Attempt           int    `json:"attempt,omitempty"`
	Reason            string `json:"reason,omitempty"`
	Why               string `json:"why,omitempty"` // of a person who asked for it
	By                string `json:"by,omitempty"`
	Detail            string `json:"detail,omitempty"`
	Was               string `json:"was,omitempty"`
	ConfirmedAtMillis int64  `json:"confirmed_at,omitempty"`

	Change int64      `json:"change,omitempty"` // its number
	Taken  []itemView `json:"taken,omitempty"`  // items that the order has more, beside those that it gave

	Restored string `json:"restored,omitempty"` // the state in which it is again

	Dispute  domain.Dispute `json:"dispute,omitzero"`    // payment_disputed
	Refund   int64          `json:"refund,omitempty"`    // minor units that are given back beside what was
	NoRefund bool           `json:"no_refund,omitempty"` // the money is kept

	LateMillis int64 `json:"late_ms,omitempty"` // lapsed: for how long after the deadline it may still be paid for
}

func viewFact(f domain.Fact, named, taken map[string][]string) factView {
	v := factView{
		ID: f.ID, AtMillis: f.AtMillis, Type: string(f.Type), RequestType: string(f.RequestType), CustomerID: f.CustomerID, Section: f.Items.Sections(),
		Quantity: f.Items.Quantity(), UnitPrice: f.Items.UnitPrice(), Items: viewItems(f.Items, named), Currency: f.Currency, DeadlineMillis: f.DeadlineMillis,
		AuthorizationID: f.AuthorizationID, Attempt: f.Attempt, Reason: f.Reason, Detail: f.Detail, ConfirmedAtMillis: f.ConfirmedAtMillis,
		Refund: f.Refund, NoRefund: f.NoRefund, LateMillis: f.LateMillis, Dispute: f.Dispute,
	}
	switch f.Type {
	case domain.FactCancelled:
		v.Was, v.Why, v.By = f.Was.String(), f.Cause.Reason, f.Cause.By
	case domain.FactReduced, domain.FactChanged:
		v.Was, v.Change, v.Taken = f.Was.String(), f.Change, viewItems(f.Taken, taken)
		v.Why, v.By = f.Cause.Reason, f.Cause.By
	case domain.FactRestored:
		v.Was, v.Restored, v.Taken = f.Was.String(), f.Restored.State.String(), viewItems(f.Taken, taken)
		v.Reason, v.AuthorizationID, v.ConfirmedAtMillis = f.Restored.Reason, f.Restored.AuthorizationID, f.Restored.ConfirmedAtMillis
	case domain.FactRefundGranted:
		v.Change, v.Why, v.By = f.Change, f.Cause.Reason, f.Cause.By
	case domain.FactChangeRefused:
		v.Change = f.Change
	case domain.FactEventCancelled:
		v.Reason, v.By = f.Cause.Reason, f.Cause.By
	case domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventForgotten, domain.FactEventRecalled,
		domain.FactHeld, domain.FactLapsed, domain.FactRejected, domain.FactConfirmed, domain.FactDeclined, domain.FactExpired, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactPaymentDisputed, domain.FactForgotten, domain.FactOrderRecalled:
	}
	return v
}

// gave says which places an order does not have any more that is still held or confirmed.
func (v factView) gave() string {
	if v.Change == 0 || v.Refund > 0 {
		return ""
	}
	return itemsText(v.Items, v.Currency)
}

// refunds says how much money is given back, and for which places, if it was said.
func (v factView) refunds() string {
	switch {
	case v.NoRefund:
		return "nothing"
	case v.Refund == 0:
		return ""
	case len(v.Items) == 0:
		return money(v.Refund, v.Currency)
	}
	return money(v.Refund, v.Currency) + " for " + itemsText(v.Items, v.Currency)
}

// lateText is how long an order that lapsed may still be paid for; empty if it is 0.
func lateText(millis int64) string {
	if millis == 0 {
		return ""
	}
	return (time.Duration(millis) * time.Millisecond).String()
}

// numberOf is that of a partial cancel, a change or a refund; empty if there is none.
func numberOf(change int64) string {
	if change == 0 {
		return ""
	}
	return strconv.FormatInt(change, 10)
}

// what is the part of a fact that tells it from the others of its order.
func (v factView) what() string {
	var said []string
	for _, pair := range [][2]string{
		{"number", numberOf(v.Change)},
		{"gave", v.gave()},
		{"took", itemsText(v.Taken, v.Currency)},
		{"refunds", v.refunds()},
		{"dispute", disputeText(v.Dispute, v.Currency)},
		{"payable for", lateText(v.LateMillis)},
		{"by", v.RequestType},
		{"was", v.Was},
		{"reason", v.Reason},
		{"why", v.Why},
		{"asked for by", v.By},
		{"detail", v.Detail},
		{"deadline", whenExactly(v.DeadlineMillis)},
		{"authorization_id", v.AuthorizationID},
		{"attempt", strings.TrimPrefix(strconv.Itoa(v.Attempt), "0")},
	} {
		if pair[1] != "" {
			said = append(said, pair[0]+" "+pair[1])
		}
	}
	return strings.Join(said, ", ")
}

type ordersShowCommand struct {
	orderArgs
	atFlags
	Receipt string `placeholder:"ENTRY_ID" help:"The entry_id that publish has printed for a request of it: tells also where that stands in line."`
}

// Help is shown by --help.
func (c *ordersShowCommand) Help() string {
	return `
Of an order whose request still waits in line nothing is known yet, but its place:

  holdfast orders show jazz-night/cart-4711 --receipt 1795387623220-0

Its history is read in the log, and with --archive, where that was trimmed, there. What it was at a time, and its history until then, as the archive tells it; Redis is not needed for that:

  holdfast orders show jazz-night/cart-4711 --at "2026-12-01 10:00" --archive s3://books/holdfast?region=eu-central-1
`
}

// requestView is where a request stands in line.
type requestView struct {
	EntryID    string `json:"entry_id"`
	State      string `json:"state"` // waiting, in_hand, parked, left
	Ahead      *int64 `json:"ahead"` // requests before it; null: not known, or it has left
	AtLeast    int64  `json:"at_least"`
	AtMost     int64  `json:"at_most"`
	WaitMillis *int64 `json:"wait_ms"` // about how long until it is in hand; null: likewise
}

func viewRequest(entryID string, in domain.InLine) *requestView {
	v := &requestView{EntryID: entryID, State: string(in.State), AtLeast: in.AtLeast, AtMost: in.AtMost}
	if in.State == domain.LineLeft {
		return v
	}
	if in.Ahead != domain.Unknown {
		v.Ahead = &in.Ahead
	}
	if in.Wait != domain.Unknown {
		millis := in.Wait.Milliseconds()
		v.WaitMillis = &millis
	}
	return v
}

// cells are the lines of a sheet.
func (v *requestView) cells() []string {
	if v == nil {
		return nil
	}
	if v.State != string(domain.LineWaiting) {
		return []string{"request", v.State}
	}
	ahead, wait := fmt.Sprintf("not known, between %d and %d", v.AtLeast, v.AtMost), "not known"
	if v.Ahead != nil {
		ahead = "about " + count(*v.Ahead)
	}
	if v.WaitMillis != nil {
		wait = "about " + (time.Duration(*v.WaitMillis) * time.Millisecond).Round(time.Second).String()
	}
	return []string{"request", v.State, "ahead", ahead, "wait", wait}
}

func (c *ordersShowCommand) Run(ctx context.Context, e *environment) error {
	_, complete, err := c.ref()
	if err != nil {
		return err
	}
	if c.Receipt != "" && !complete {
		return badUsage("--receipt goes with --event, or EVENT_ID/ORDER_ID")
	}
	if c.asked() {
		if c.Receipt != "" {
			return badUsage("--receipt tells where a request stands now, --at what was then: say one of them")
		}
		return c.showThen(ctx, e)
	}
	err = c.showNow(ctx, e)
	if c.isArchived(err) && c.Receipt == "" {
		return c.showThen(ctx, e)
	}
	return err
}

// showNow shows the order as it is.
func (c *ordersShowCommand) showNow(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		ref, err := c.find(ctx, store)
		if err != nil {
			return err
		}
		checkout := store.Checkout()
		var request *requestView
		if c.Receipt != "" {
			in, err := checkout.InLine(ctx, checkout.Partition(ref.EventID), c.Receipt)
			if err != nil {
				return about(ref, err)
			}
			request = viewRequest(c.Receipt, in)
		}
		orders, err := checkout.Orders(ctx, []domain.OrderRef{ref})
		if err != nil {
			return about(ref, err)
		}
		if orders[0].State == domain.OrderNone {
			if _, err := store.Events().Get(ctx, ref.EventID); domain.CodeOf(err) == domain.CodeEventOver {
				return about(ref, fmt.Errorf("order %s: %w", ref, err))
			}
		}
		if orders[0].State == domain.OrderNone && (request == nil || request.State == string(domain.LineLeft)) {
			return about(ref, fmt.Errorf("order %s: %w", ref, domain.ErrNotFound))
		}
		facts, missing, err := c.history(ctx, e, store, ref, orders[0])
		if err != nil {
			return about(ref, err)
		}
		v, err := viewOrderOf(ctx, checkout, ref, orders[0])
		if err != nil {
			return about(ref, err)
		}
		history := make([]factView, len(facts))
		for i, f := range facts {
			named, err := checkout.SeatNames(ctx, ref.EventID, f.Items)
			if err != nil {
				return about(ref, err)
			}
			taken, err := checkout.SeatNames(ctx, ref.EventID, f.Taken)
			if err != nil {
				return about(ref, err)
			}
			history[i] = viewFact(f, named, taken)
		}
		if missing == nil {
			return showOrder(e, v, history, request, "")
		}
		e.notice(fmt.Sprintf("its history is not whole: %v", missing))
		return showOrder(e, v, history, request, oneLine(missing))
	})
}

// showOrder prints an order, its history, and where its request stands in line, if that is asked. missing is why facts are not in the history.
func showOrder(e *environment, v orderView, history []factView, request *requestView, missing string) error {
	out := e.printer()
	out.sheet(struct {
		orderView
		History []factView   `json:"history"`
		Missing string       `json:"history_missing,omitempty"`
		Request *requestView `json:"request,omitempty"`
	}{v, history, missing, request}, append([]string{
		"order_id", v.OrderID, "event_id", v.EventID, "customer_id", v.CustomerID, "section", v.Section,
		"quantity", count(v.Quantity), "items", itemsText(v.Items, v.Currency), "amount", money(v.Amount, v.Currency),
		"state", v.State, "payment", paymentText(v), "reason", v.Reason, "detail", v.Detail, "held_at", when(v.HeldAtMillis), "deadline", when(v.DeadlineMillis), "payable_until", when(v.PayableMillis),
		"resolved_at", when(v.ResolvedAtMillis), "authorization_id", v.AuthorizationID, "refund_total", refundText(v), "dispute", disputeText(v.Dispute, v.Currency), "trace_id", v.TraceID,
	}, request.cells()...)...)
	if out.section("at", "fact", "what") {
		for _, f := range history {
			out.row(f, whenExactly(f.AtMillis), f.Type, f.what())
		}
	}
	return out.flush()
}

// stateFlag is a state to choose orders by.
type stateFlag struct{ state domain.OrderState }

// UnmarshalText reads the flag.
func (f *stateFlag) UnmarshalText(text []byte) error {
	state, ok := domain.ParseOrderState(string(text))
	if !ok || state == domain.OrderNone {
		return fmt.Errorf("want held, lapsed, confirmed, declined, expired, cancelled or rejected, but got %q", text)
	}
	f.state = state
	return nil
}

// sinceFlag is a time, or a duration before now.
type sinceFlag struct {
	millis int64 // 0: none was given
	ago    time.Duration
}

// UnmarshalText reads the flag.
func (f *sinceFlag) UnmarshalText(text []byte) error {
	if ago, err := time.ParseDuration(string(text)); err == nil {
		if ago <= 0 {
			return fmt.Errorf("want a duration longer than 0, but got %q", text)
		}
		f.ago = ago
		return nil
	}
	t, err := parseTime(string(text), time.Local)
	if errors.Is(err, errNoTime) {
		return fmt.Errorf("want a duration before now, such as 90m, or a time such as %s, but got %q", likeThese, text)
	}
	if err != nil {
		return err
	}
	f.millis = t.UnixMilli()
	return nil
}

// on is the time on Redis's clock, 0 if none was given.
func (f sinceFlag) on(ctx context.Context, store *streams.Store) (millis int64, err error) {
	if f.ago == 0 {
		return f.millis, nil
	}
	now, err := store.Now(ctx)
	return now.Add(-f.ago).UnixMilli(), err
}

type ordersListCommand struct {
	Event       string      `placeholder:"EVENT_ID" help:"Only orders of this event."`
	Customer    string      `placeholder:"CUSTOMER_ID" help:"Only orders of this customer; those that were ever confirmed, as far as posting has come, unless --state or --all-states."`
	AllStates   bool        `help:"With --customer: whatever became of them, which takes a look through the whole log."`
	State       []stateFlag `placeholder:"STATE" help:"Only orders that are now held, lapsed, confirmed, declined, expired, cancelled or rejected. Several are said with commas, or with the flag again."`
	Since       sinceFlag   `placeholder:"TIME|DURATION" help:"Only orders that came at that time or later, or within that time: 2h, or a time as events create takes it."`
	OldestFirst bool        `help:"The oldest first, instead of the newest."`
	Limit       limitFlag   `placeholder:"N" help:"The most to list; 0 is no limit. Default: 100 in a table, no limit in JSON."`
}

// Help is shown by --help.
func (c *ordersListCommand) Help() string {
	return `
From the last half hour, of one customer, and all there are:

  holdfast orders list --event jazz-night --state held,declined --since 30m
  holdfast orders list --customer fred
  holdfast orders list --oldest-first --limit 0
`
}

// onInvoices reports whether the customer's invoices have all that is asked for.
func (c *ordersListCommand) onInvoices() bool {
	return c.Customer != "" && !c.AllStates &&
		!slices.ContainsFunc(c.State, func(f stateFlag) bool { return f.state != domain.OrderConfirmed })
}

func (c *ordersListCommand) Run(ctx context.Context, e *environment) error {
	if c.AllStates && (c.Customer == "" || len(c.State) > 0) {
		return badUsage("--all-states goes with --customer, and without --state")
	}
	for _, id := range []string{c.Event, c.Customer} {
		if id != "" && !domain.ValidID(id) {
			return badUsage("--event, --customer: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
		}
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		since, err := c.Since.on(ctx, store)
		if err != nil {
			return err
		}
		orders := inspect.New(store)
		filter := inspect.OrderFilter{EventID: c.Event, CustomerID: c.Customer, SinceMillis: since, OldestFirst: c.OldestFirst}
		for _, f := range c.State {
			filter.States = append(filter.States, f.state)
		}
		out := e.printer(orderColumns...)
		rows := e.limited(out, &progress{}, c.Limit)
		checkout := store.Checkout()
		row := func(ref domain.OrderRef, o domain.Order) error {
			v, err := viewOrderOf(ctx, checkout, ref, o)
			if err != nil {
				return err
			}
			return rows.row(v, v.cells()...)
		}
		if c.onInvoices() {
			err := orders.EachOrderOnInvoices(ctx, filter, row)
			if err == nil || errors.Is(err, errEnough) {
				out.note("(from the customer's invoices: what was ever confirmed, and is posted; --all-states looks through the whole log)")
			}
			return rows.end(err)
		}
		entries, err := orders.LogEntries(ctx, filter)
		if err != nil {
			return err
		}
		rows.progress = e.progressOf("log entries read", entries)
		filter.Progress = rows.progress.add
		err = orders.EachOrder(ctx, filter, row)
		if err == nil && rows.written == 0 && c.Event != "" {
			rows.progress.clear()
			err = aboutEvent(c.Event, c.lookForEvent(ctx, store))
		}
		return rows.end(err)
	})
}

// lookForEvent returns that there is no such event, if it was never put on sale, nor an order of it refused for that.
func (c *ordersListCommand) lookForEvent(ctx context.Context, store *streams.Store) error {
	_, missing := store.Events().Get(ctx, c.Event)
	if !errors.Is(missing, domain.ErrNotFound) {
		return missing
	}
	found := errors.New("there is one")
	err := inspect.New(store).EachOrder(ctx, inspect.OrderFilter{EventID: c.Event}, func(domain.OrderRef, domain.Order) error { return found })
	if errors.Is(err, found) {
		return nil
	}
	return cmp.Or(err, missing)
}

type ordersCancelCommand struct {
	orderArgs
	causeFlags
	NoRefund bool `help:"Keep the money of an order that is confirmed: its tickets come back, and nothing is refunded. orders refund can give some of it back later."`

	Wait    bool          `help:"Wait until a worker has done it, and print the order as it is then. Exit status 1 if it is not cancelled."`
	Timeout time.Duration `default:"30s" placeholder:"DURATION" help:"How long to wait. Default: 30s."`
}

// Help is shown by --help.
func (c *ordersCancelCommand) Help() string {
	return `
An order that holds tickets gives them back; one that is confirmed is refunded, unless --no-refund says otherwise. With --event, an order that has not come
yet can be cancelled too: when it comes, it is absorbed. orders show tells who asked for it, and why:

  holdfast orders cancel jazz-night/cart-4711 --reason "bought by mistake" --wait
`
}

func (c *ordersCancelCommand) Run(ctx context.Context, e *environment) error {
	if c.Timeout <= 0 {
		return badUsage("--timeout: want more than 0")
	}
	if _, _, err := c.ref(); err != nil {
		return err
	}
	cause, err := c.cause()
	if err != nil {
		return err
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		ref, err := c.find(ctx, store)
		if err != nil {
			return err
		}
		request := domain.Request{Type: domain.RequestCancel, EventID: ref.EventID, OrderID: ref.OrderID, Cause: cause, NoRefund: c.NoRefund}
		return e.publish(ctx, store, publishing{wait: c.Wait, timeout: c.Timeout, failUnlessConfirmed: true}, one(request))
	})
}

// refundText is how much of an order's money is given back, or to be; empty if it is nothing.
func refundText(v orderView) string {
	if v.RefundTotal == 0 {
		return ""
	}
	return money(v.RefundTotal, v.Currency)
}

// disputeText says for people what is disputed of a payment; empty if it is nothing.
func disputeText(d domain.Dispute, currency string) string {
	if d == (domain.Dispute{}) {
		return ""
	}
	text := string(d.State) + ", " + money(d.Amount, currency)
	if d.DueMillis > 0 {
		text += ", to be answered until " + when(d.DueMillis)
	}
	return text
}

type ordersRefundCommand struct {
	orderArgs
	causeFlags
	Amount  int64         `placeholder:"MINOR_UNITS" help:"How much is given back."`
	Item    []itemFlag    `sep:"none" placeholder:"section=NAME,quantity=N" help:"Instead of --amount: what so many places of the order cost, or these seats (section=NAME,seats=A-12/A-13). Give the flag once for each section."`
	Change  int64         `placeholder:"N" help:"Which alteration of the order it is, counted with its partial cancels and changes: a number is done once. Say it where a refund may come twice. Default: the next one."`
	Wait    bool          `help:"Wait until a worker has done it, and print the order as it is then. Exit status 1 if it was refused."`
	Timeout time.Duration `default:"30s" placeholder:"DURATION" help:"How long to wait. Default: 30s."`
}

// Help is shown by --help.
func (c *ordersRefundCommand) Help() string {
	return `
Money is given back beside what was given back before, never more than was paid in all; otherwise it is refused as more_than_paid. The
order stays confirmed and keeps its tickets. One that was cancelled with --no-refund can be refunded, too, in part or in full. orders
show tells who asked for it, and why. Said again without --change it is one more refund: where the outcome is not known (exit status 3),
the message has the number to say it again with.

  holdfast orders refund jazz-night/cart-4711 --amount 500 --reason "pillar in front of the seat" --wait
  holdfast orders refund opera/jim-1 --item section=stalls,seats=A-12 --reason "seat was broken" --wait
`
}

func (c *ordersRefundCommand) Run(ctx context.Context, e *environment) error {
	if c.Timeout <= 0 {
		return badUsage("--timeout: want more than 0")
	}
	if _, _, err := c.ref(); err != nil {
		return err
	}
	cause, err := c.cause()
	if err != nil {
		return err
	}
	request := domain.Request{Type: domain.RequestRefund, Cause: cause, Amount: c.Amount, Change: c.Change}
	for _, f := range c.Item {
		request.Items = append(request.Items, domain.RequestItem(f))
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		ref, err := c.find(ctx, store)
		if err != nil {
			return err
		}
		request.EventID, request.OrderID = ref.EventID, ref.OrderID
		if request.Change == 0 {
			orders, err := store.Checkout().Orders(ctx, []domain.OrderRef{ref})
			if err != nil {
				return about(ref, err)
			}
			if orders[0].State == domain.OrderNone {
				return about(ref, fmt.Errorf("order %s: %w", ref, domain.ErrNotFound))
			}
			request.Change = orders[0].Change + 1
		}
		if request, err = checked(request); err != nil {
			return err
		}
		return e.publish(ctx, store, publishing{wait: c.Wait, timeout: c.Timeout, failUnlessConfirmed: true}, one(request))
	})
}

type ordersNextStepCommand struct {
	orderArgs
	Gateway string       `required:"" placeholder:"URL|stripe" help:"The payment gateway: its URL, or stripe."`
	As      gatewayFlags `embed:"" group:"Who calls the payment gateway:"`
	Stripe  stripeFlags  `embed:"" group:"Stripe, with --gateway stripe:"`
}

// Help is shown by --help.
func (c *ordersNextStepCommand) Help() string {
	return `
It is read from the payment gateway, and kept nowhere: whoever has it can act as the customer. The order must be one whose
payment waits for the customer (orders show).
`
}

func (c *ordersNextStepCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		ref, err := c.find(ctx, store)
		if err != nil {
			return err
		}
		orders, err := store.Checkout().Orders(ctx, []domain.OrderRef{ref})
		if err != nil {
			return about(ref, err)
		}
		o := orders[0]
		switch {
		case o.State == domain.OrderNone:
			return about(ref, fmt.Errorf("order %s: %w", ref, domain.ErrNotFound))
		case !o.AwaitsAction():
			return about(ref, fmt.Errorf("order %s: there is nothing that its customer has to do: it is %s", ref, o.State))
		}
		client, err := ask(c.Gateway, c.As, c.Stripe)
		if err != nil {
			return err
		}
		defer client.Close()
		if err := client.serves(ctx, store); err != nil {
			return err
		}
		step, err := client.NextStep(ctx, o.AttemptOf(store.PaymentNamespace(), ref, o.LastAttempt()))
		if err != nil {
			return about(ref, fmt.Errorf("the gateway at %s: %w", client.called, err))
		}
		out := e.printer()
		url, secret := string(step.RedirectURL), string(step.ClientSecret)
		out.sheet(struct {
			OrderID      string `json:"order_id"`
			EventID      string `json:"event_id"`
			Attempt      int    `json:"attempt"`
			RedirectURL  string `json:"redirect_url,omitempty"`
			ClientSecret string `json:"client_secret,omitempty"`
		}{ref.OrderID, ref.EventID, o.LastAttempt(), url, secret},
			"order_id", ref.OrderID, "event_id", ref.EventID, "attempt", strconv.Itoa(o.LastAttempt()), "redirect_url", url, "client_secret", secret)
		return out.flush()
	})
}
