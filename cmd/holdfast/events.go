package main

import (
	"context"
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type eventsCommand struct {
	Create eventsCreateCommand `cmd:"" help:"Put an event on sale. Again with what is on sale already: harmless."`
	Show   eventsShowCommand   `cmd:"" help:"Show one event."`
	Seats  eventsSeatsCommand  `cmd:"" help:"Show the seats of an event: which are free, and who holds or has the others."`
	List   eventsListCommand   `cmd:"" help:"List all events."`

	History eventsHistoryCommand `cmd:"" help:"What was made of an event: who changed it, when and why."`

	Adjust eventsAdjustCommand `cmd:"" help:"Change capacities, prices, sections, dates or the name of an event."`
	Close  eventsCloseCommand  `cmd:"" help:"End the sale of an event. What is held can still be paid."`
	Reopen eventsReopenCommand `cmd:"" help:"Let the sale of a closed event go on."`
	Cancel eventsCancelCommand `cmd:"" help:"End the sale of an event, cancel all its orders and give everybody their money back."`
}

// sectionFlag is NAME=CAPACITY[@PRICE]. The price is read when the currency is known.
type sectionFlag struct {
	name     string
	capacity int64
	price    string // empty: not given
}

// UnmarshalText reads the flag.
func (f *sectionFlag) UnmarshalText(text []byte) error {
	name, value, _ := strings.Cut(string(text), "=")
	capacity, price, hasPrice := strings.Cut(value, "@")
	n, err := strconv.ParseInt(capacity, 10, 64)
	if err != nil || name == "" || hasPrice && price == "" {
		return fmt.Errorf("want NAME=CAPACITY@PRICE, such as general=200@10.00, but got %q", text)
	}
	*f = sectionFlag{name: name, capacity: n, price: price}
	return nil
}

type eventsCreateCommand struct {
	EventID  string        `arg:"" name:"event_id" help:"Its name for programs: letters, digits and . _ @ + -"`
	Name     string        `required:"" placeholder:"TEXT" help:"Its name for people."`
	Currency string        `required:"" placeholder:"CODE" help:"ISO 4217 code of the currency of all its prices, such as EUR."`
	Section  []sectionFlag `sep:"none" placeholder:"NAME=CAPACITY@PRICE" help:"A section with a number of places; give the flag once for each. Requests that name none are for the section general."`
	seatedFlags
	NoOrphans   bool  `help:"Reject an order of seats by name that leaves one seat alone between others (would_leave_orphan). The best available ones avoid that anyway."`
	MaxPerOrder int64 `placeholder:"N" help:"The most tickets in one order. Default: no limit."`

	MaxPerCustomer int64 `placeholder:"N" help:"The most tickets that one customer may have, held and sold, in all orders together. It can be changed later, but neither added nor taken away. Default: no limit."`

	LateApproval    string        `enum:"void,rehold" default:"void" placeholder:"void|rehold" help:"What becomes of an order whose payment is approved after its hold has run out: void gives the money back; rehold lets the order have just the places that it had, if they are free and the event is on sale. Default: void."`
	LateApprovalFor time.Duration `placeholder:"DURATION" help:"With --late-approval rehold: for how long after the hold has run out, up to 24h. Default: 15m."`

	Archive string `env:"HOLDFAST_ARCHIVE" placeholder:"URL" help:"Where the log is archived: a namespace of which anything is archived there is not made anew. Default: nowhere."`

	OnSale  timeFlag `placeholder:"TIME" help:"When the sale begins. Default: at once."`
	OffSale timeFlag `placeholder:"TIME" help:"When the sale ends. Default: never."`

	allocationFlags `group:"Allocations: places that only some may take:"`
	causeFlags
}

// Help is shown by --help.
func (c *eventsCreateCommand) Help() string {
	return `
One price for all, and two sections with a sale that begins on a day:

  holdfast events create jazz-night --name "Jazz Night" --currency EUR --section general=200@10.00

  holdfast events create opera --name "The Opera" --currency EUR --section stalls=300@85.50
  --section balcony=120@40 --max-per-order 6 --on-sale "2026-12-01 10:00"

A hall with seats, the stalls by their rows, the circle from a file, beside places to stand:

  holdfast events create ballet --name "The Ballet" --currency EUR --rows stalls=A:1-12/13-24,B:1-26@45.00
  --seats circle=circle.csv@30 --section standing=50@10

The first line of such a file names its columns: row and seat, and perhaps allocation, blocked and aisle after (yes or no). Rows
stand from the best to the worst, and seats as they stand side by side.

A presale of 50 of the 200 places, a week before all others are on sale, for whoever has one of the codes in a file:

  holdfast events create show --name "The Show" --currency EUR --section general=200@10 --on-sale "2026-12-08 10:00"
  --allocation fans=general:50 --allocation-on-sale fans="2026-12-01 10:00" --codes fans=codes.txt --code-uses 1

A TIME is RFC 3339 (2026-12-01T10:00:00+01:00) or local ("2026-12-01 10:00"). What was stored is printed with its offset.
`
}

func (c *eventsCreateCommand) terms() (domain.Terms, error) {
	t := domain.Terms{
		Name: c.Name, Currency: c.Currency, MaxPerOrder: c.MaxPerOrder, MaxPerCustomer: c.MaxPerCustomer, NoOrphans: c.NoOrphans,
		OnSaleMillis: c.OnSale.millis, OffSaleMillis: c.OffSale.millis,
	}
	if err := domain.CheckCurrency(c.Currency); err != nil {
		return t, &usageError{err}
	}
	late, err := lateApproval(c.LateApproval, c.LateApprovalFor, 0)
	if err != nil {
		return t, err
	}
	t.LateApprovalMillis = late
	for _, f := range c.Section {
		if f.price == "" {
			return t, badUsage("--section %s: the price is missing: want NAME=CAPACITY@PRICE", f.name)
		}
		price, err := domain.ParseAmount(f.price, c.Currency)
		if err != nil {
			return t, badUsage("--section %s: %w", f.name, err)
		}
		t.Sections = append(t.Sections, domain.SectionTerms{Name: f.name, Price: price, Capacity: f.capacity})
	}
	seated, err := c.seatedFlags.terms(c.Currency, readSeatsFile)
	if err != nil {
		return t, err
	}
	if len(t.Sections)+len(seated) == 0 {
		return t, badUsage("want at least one section: --section, --rows or --seats")
	}
	for _, s := range seated {
		if t, err = withSeated(t, s); err != nil {
			return t, err
		}
	}
	if t, err = c.allocationFlags.terms(c.EventID, domain.Event{}, t); err != nil {
		return t, err
	}
	if _, err := domain.Create(domain.Event{}, c.EventID, t); err != nil {
		return t, &usageError{err}
	}
	return t, nil
}

// Whether late approvals are honoured.
const (
	lateVoid   = "void"
	lateRehold = "rehold"

	defaultLateApproval = 15 * time.Minute
)

// lateApproval is for how many milliseconds late approvals are honoured, as flags say: said is one of the two, or empty if it stays as it was.
func lateApproval(said string, after time.Duration, was int64) (millis int64, err error) {
	switch {
	case after < 0 || after > domain.MaxLateApproval || after > 0 && after < time.Second:
		return 0, badUsage("--late-approval-for: want 1s to %s", domain.MaxLateApproval)
	case after > 0 && (said == lateVoid || said == "" && was == 0):
		return 0, badUsage("--late-approval-for goes with --late-approval %s", lateRehold)
	case said == lateVoid:
		return 0, nil
	case after > 0:
		return after.Milliseconds(), nil
	case said == lateRehold && was == 0:
		return defaultLateApproval.Milliseconds(), nil
	}
	return was, nil
}

func (c *eventsCreateCommand) Run(ctx context.Context, e *environment) error {
	terms, err := c.terms()
	if err != nil {
		return aboutEvent(c.EventID, err)
	}
	cause, err := c.cause()
	if err != nil {
		return aboutEvent(c.EventID, err)
	}
	mayCreate, err := e.newArchiveGuard(c.Archive)
	if err != nil {
		return err
	}
	return aboutEvent(c.EventID, e.withStoreOf(ctx, streams.Options{Create: true, MayCreate: mayCreate}, func(store *streams.Store) error {
		created, err := store.Events().By(cause).Create(ctx, c.EventID, terms)
		if err != nil {
			hint := ""
			if code := domain.CodeOf(err); code == domain.CodeConflict {
				hint = " (see events show; change them with events adjust)"
			} else if code == domain.CodeEventClosed {
				hint = " (put it on sale again with events reopen)"
			}
			return fmt.Errorf("%w%s", err, hint)
		}
		said := "created"
		if !created {
			said = "exists already with the same content: nothing changed"
		}
		sale := viewSale(terms.OnSaleMillis, terms.OffSaleMillis)
		out := e.printer()
		if store.Created() && !e.json {
			out.row(nil, fmt.Sprintf("namespace %s created, with %s: nothing of it was there", e.namespace, plural(int64(store.Partitions()), "partition", "partitions")))
		}
		out.row(struct {
			EventID          string `json:"event_id"`
			Created          bool   `json:"created"`
			NamespaceCreated bool   `json:"namespace_created"`
			saleView
		}{c.EventID, created, store.Created(), sale}, "event "+c.EventID+" "+said+"; "+sale.String())
		return out.flush()
	}))
}

// say tells what was done to an event.
func (e *environment) say(eventID, said string, object any) error {
	return e.sayOf("event "+eventID, said, object)
}

func (e *environment) sayOf(what, said string, object any) error {
	out := e.printer()
	out.row(object, what+" "+said)
	return out.flush()
}

type eventsAdjustCommand struct {
	EventID string        `arg:"" name:"event_id" help:"The event."`
	Name    string        `placeholder:"TEXT" help:"Its new name for people."`
	Section []sectionFlag `sep:"none" placeholder:"NAME=CAPACITY[@PRICE]" help:"A section to resize or to add; a new one needs a price. Give the flag once for each."`
	seatedFlags
	NoOrphans   *bool  `help:"Reject an order of seats by name that leaves one seat alone; --no-orphans=false allows it."`
	MaxPerOrder *int64 `placeholder:"N" help:"The most tickets in one order; 0 is no limit."`

	MaxPerCustomer *int64 `placeholder:"N" help:"The most tickets that one customer may have, of an event that was created with such a limit."`

	LateApproval    string        `enum:",void,rehold" default:"" placeholder:"void|rehold" help:"What becomes of an order whose payment is approved after its hold has run out. What has lapsed already stays so."`
	LateApprovalFor time.Duration `placeholder:"DURATION" help:"For how long after that, with rehold."`

	OnSale  *timeFlag `placeholder:"TIME" help:"When the sale begins; none is at once."`
	OffSale *timeFlag `placeholder:"TIME" help:"When the sale ends; none is never."`

	allocationFlags `group:"Allocations: places that only some may take:"`
	Unblock         []placesFlag `sep:"none" placeholder:"SECTION:SEAT/SEAT…" group:"Allocations: places that only some may take:" help:"Seats that are for sale again."`
	causeFlags
	RevokeCodes string `placeholder:"FILE" group:"Allocations: places that only some may take:" help:"Access codes that open nothing any more, one a line. Orders that used them stay."`
}

// Help is shown by --help.
func (c *eventsAdjustCommand) Help() string {
	return `
What is not named stays as it is. Orders keep the price they were held at, and a capacity cannot go below what is held
and sold. Sections with seats can be added, and get another price; their seats stay as they are.

  holdfast events adjust opera --section stalls=320 --section gallery=80@25.00

How many places an allocation has, and how many are blocked, is said in all, and not how many more. Seats are said by name; those
of the allocation public are for everybody. Nothing is changed if one of them is held or sold.

  holdfast events adjust show --allocation fans=general:20 --block general:5
  holdfast events adjust ballet --allocation fans=stalls:A-1/A-2 --allocation public=stalls:B-7 --block stalls:C-1 --unblock stalls:C-2
`
}

func (c *eventsAdjustCommand) Run(ctx context.Context, e *environment) error {
	if c.Name == "" && len(c.Section)+len(c.Rows)+len(c.Seats) == 0 && c.NoOrphans == nil && c.MaxPerOrder == nil && c.MaxPerCustomer == nil && c.LateApproval == "" && c.LateApprovalFor == 0 && c.OnSale == nil && c.OffSale == nil && !c.given() && len(c.Unblock) == 0 && c.RevokeCodes == "" {
		return badUsage("say what to change")
	}
	named := make(map[string]bool)
	for _, name := range c.sections() {
		if named[name] {
			return badUsage("section %s: named twice", name)
		}
		named[name] = true
	}
	cause, err := c.cause()
	if err != nil {
		return aboutEvent(c.EventID, err)
	}
	return aboutEvent(c.EventID, e.withStore(ctx, func(store *streams.Store) error {
		var terms domain.Terms // those that are stored in the end
		changed, err := store.Events().By(cause).AdjustEvent(ctx, c.EventID, func(event domain.Event) (domain.Terms, error) {
			var err error
			terms, err = c.apply(event)
			return terms, err
		})
		if err != nil {
			return err
		}
		said := "adjusted"
		if !changed {
			said = "was so already: nothing changed"
		}
		sale := viewSale(terms.OnSaleMillis, terms.OffSaleMillis)
		return e.say(c.EventID, said+"; "+sale.String(), struct {
			EventID string `json:"event_id"`
			Changed bool   `json:"changed"`
			saleView
		}{c.EventID, changed, sale})
	}))
}

// sections are the names of all that are named.
func (c *eventsAdjustCommand) sections() (names []string) {
	for _, f := range c.Section {
		names = append(names, f.name)
	}
	for _, f := range c.Rows {
		names = append(names, f.name)
	}
	for _, f := range c.Seats {
		names = append(names, f.name)
	}
	return names
}

func (c *eventsAdjustCommand) apply(event domain.Event) (domain.Terms, error) {
	t := event.Terms()
	if c.Name != "" {
		t.Name = c.Name
	}
	if c.MaxPerOrder != nil {
		t.MaxPerOrder = *c.MaxPerOrder
	}
	if c.MaxPerCustomer != nil {
		t.MaxPerCustomer = *c.MaxPerCustomer
	}
	if c.NoOrphans != nil {
		t.NoOrphans = *c.NoOrphans
	}
	late, err := lateApproval(c.LateApproval, c.LateApprovalFor, t.LateApprovalMillis)
	if err != nil {
		return t, err
	}
	t.LateApprovalMillis = late
	if c.OnSale != nil {
		t.OnSaleMillis = c.OnSale.millis
	}
	if c.OffSale != nil {
		t.OffSaleMillis = c.OffSale.millis
	}
	t.Sections = slices.Clone(t.Sections)
	for _, f := range c.Section {
		i := slices.IndexFunc(t.Sections, func(s domain.SectionTerms) bool { return s.Name == f.name })
		if i < 0 {
			if f.price == "" {
				return t, badUsage("--section %s: a new section needs a price: want NAME=CAPACITY@PRICE", f.name)
			}
			t.Sections = append(t.Sections, domain.SectionTerms{Name: f.name})
			i = len(t.Sections) - 1
		}
		t.Sections[i].Capacity = f.capacity
		for _, s := range t.Sections {
			if of, _ := domain.SplitPool(s.Name); of == f.name && s.Name != f.name {
				t.Sections[i].Capacity -= s.Capacity
			}
		}
		if t.Sections[i].Capacity < 0 && f.capacity >= 0 {
			return t, badUsage("--section %s: its allocations have %s more", f.name, plural(-t.Sections[i].Capacity, "place", "places"))
		}
		if f.price == "" {
			continue
		}
		price, err := domain.ParseAmount(f.price, t.Currency)
		if err != nil {
			return t, badUsage("--section %s: %w", f.name, err)
		}
		setPrice(t.Sections, f.name, price)
	}
	seated, err := c.seatedFlags.terms(t.Currency, readSeatsFile)
	if err != nil {
		return t, err
	}
	for _, s := range seated {
		i := slices.IndexFunc(t.Sections, func(there domain.SectionTerms) bool { return there.Name == s.Name })
		if i >= 0 { // the same seats, perhaps at another price
			t.Sections[i].Layout = s.Layout
			setPrice(t.Sections, s.Name, s.Price)
		} else if t, err = withSeated(t, s); err != nil {
			return t, err
		}
	}
	if t, err = c.allocationFlags.terms(c.EventID, event, t); err != nil {
		return t, err
	}
	for _, f := range c.Unblock {
		if len(f.seats) == 0 {
			return t, badUsage("--unblock %s: want seats; of a section with a number of places --block says how many are blocked", f.section)
		}
		if t, err = t.BlockSeats(event, f.section, f.seats, false); err != nil {
			return t, flagError("--unblock", err)
		}
	}
	if c.RevokeCodes != "" {
		hashes, err := c.hashes(c.EventID, c.RevokeCodes)
		if err != nil {
			return t, badUsage("--revoke-codes: %w", err)
		}
		var revoked int
		if t, revoked = t.Revoke(hashes...); revoked < len(hashes) {
			return t, badUsage("--revoke-codes: %d of %d codes are none of this event, or were hashed with another key", len(hashes)-revoked, len(hashes))
		}
	}
	if err := t.Validate(); err != nil {
		return t, &usageError{err}
	}
	return t, nil
}

// withSeated are terms with a new section that has seats, and with the allocations that its layout names.
func withSeated(t domain.Terms, s domain.SectionTerms) (domain.Terms, error) {
	layout, err := seats.Parse(s.Layout)
	if err != nil {
		return t, fmt.Errorf("section %s: %w", s.Name, err)
	}
	t.Sections = append(t.Sections, s)
	return t.WithAllocations(s.Name, layout), nil
}

// setPrice gives all places of a section their price, whatever allocation they are of.
func setPrice(sections []domain.SectionTerms, name string, price int64) {
	for i := range sections {
		if of, _ := domain.SplitPool(sections[i].Name); of == name {
			sections[i].Price = price
		}
	}
}

// causeFlags say why something is done to an event, and who asks for it.
type causeFlags struct {
	Reason string `placeholder:"TEXT" help:"Why, for people."`
	By     string `env:"USER" placeholder:"NAME" help:"Who asks for it, for people. Default: who you are."`
}

func (c causeFlags) cause() (domain.Cause, error) {
	cause := domain.Cause{Reason: c.Reason, By: c.By}
	if me, err := user.Current(); cause.By == "" && err == nil {
		cause.By = me.Username // a container has no USER
	}
	if err := cause.Validate(); err != nil {
		return cause, badUsage("--%w", err)
	}
	return cause, nil
}

type eventsCloseCommand struct {
	EventID string `arg:"" name:"event_id" help:"The event."`
	causeFlags
}

func (c *eventsCloseCommand) Run(ctx context.Context, e *environment) error {
	cause, err := c.cause()
	if err != nil {
		return aboutEvent(c.EventID, err)
	}
	return aboutEvent(c.EventID, e.withStore(ctx, func(store *streams.Store) error {
		changed, err := store.Events().Close(ctx, c.EventID, cause)
		if err != nil {
			return err
		}
		said := "closed"
		if !changed {
			said = "was closed already: nothing changed"
		}
		return e.say(c.EventID, said, struct {
			EventID string `json:"event_id"`
			Closed  bool   `json:"closed"`
			Changed bool   `json:"changed"`
		}{c.EventID, true, changed})
	}))
}

type eventsReopenCommand struct {
	EventID string `arg:"" name:"event_id" help:"The event."`
	causeFlags
}

// Help is shown by --help.
func (c *eventsReopenCommand) Help() string {
	return `
It is on sale again on the terms it has (see events show). An event that was cancelled can be reopened, too: its orders
stay cancelled, and everybody may buy again.
`
}

func (c *eventsReopenCommand) Run(ctx context.Context, e *environment) error {
	cause, err := c.cause()
	if err != nil {
		return aboutEvent(c.EventID, err)
	}
	return aboutEvent(c.EventID, e.withStore(ctx, func(store *streams.Store) error {
		changed, err := store.Events().Reopen(ctx, c.EventID, cause)
		if err != nil {
			return err
		}
		said := "reopened"
		if !changed {
			said = "was not closed: nothing changed"
		}
		return e.say(c.EventID, said, struct {
			EventID string `json:"event_id"`
			Closed  bool   `json:"closed"`
			Changed bool   `json:"changed"`
		}{c.EventID, false, changed})
	}))
}

type eventView struct {
	EventID     string        `json:"event_id"`
	Name        string        `json:"name"`
	Currency    string        `json:"currency"`
	Sections    []sectionView `json:"sections"`
	MaxPerOrder int64         `json:"max_per_order"` // 0: no limit

	MaxPerCustomer int64 `json:"max_per_customer"` // 0: no limit
	NoOrphans      bool  `json:"no_orphans"`

	LateApproval          string `json:"late_approval"`     // void or rehold
	LateApprovalForMillis int64  `json:"late_approval_for"` // milliseconds, with rehold

	Allocations []allocationView `json:"allocations"`

	saleView
	Closed       bool   `json:"closed"`
	Cancelled    bool   `json:"cancelled"`
	ClosedReason string `json:"closed_reason"` // of the closing or the cancellation; empty: nobody said
	ClosedBy     string `json:"closed_by"`
}

type sectionView struct {
	Section    string `json:"section"`
	Allocation string `json:"allocation"` // public: the places that are for everybody
	Kind       string `json:"kind"`       // counted or seated
	Price      int64  `json:"price"`      // minor units
	Capacity   int64  `json:"capacity"`
	Available  int64  `json:"available"`
	Held       int64  `json:"held"`
	Sold       int64  `json:"sold"`
	Blocked    int64  `json:"blocked"`
}

func viewEvent(id string, event domain.Event) eventView {
	v := eventView{
		EventID: id, Name: event.Name, Currency: event.Currency, Sections: []sectionView{}, MaxPerOrder: event.MaxPerOrder, MaxPerCustomer: event.MaxPerCustomer, NoOrphans: event.NoOrphans,
		Allocations: viewAllocations(event), saleView: viewSale(event.OnSaleMillis, event.OffSaleMillis),
		Closed: event.Closed, Cancelled: event.Cancelled, ClosedReason: event.Cause.Reason, ClosedBy: event.Cause.By,
	}
	if v.LateApproval, v.LateApprovalForMillis = lateVoid, event.LateApprovalMillis; v.LateApprovalForMillis > 0 {
		v.LateApproval = lateRehold
	}
	for _, s := range event.Sections {
		kind := "counted"
		if s.Seated() {
			kind = "seated"
		}
		section, allocation := domain.SplitPool(s.Name)
		v.Sections = append(v.Sections, sectionView{section, allocation, kind, s.Price, s.Capacity, s.Available, s.Held, s.Sold, s.Blocked})
	}
	return v
}

var sectionColumns = []string{"section", "price", "capacity", "available", "held", "sold", "blocked"}

func (v sectionView) cells(currency string) []string {
	return []string{domain.PoolOf(v.Section, v.Allocation), money(v.Price, currency), count(v.Capacity), count(v.Available), count(v.Held), count(v.Sold), count(v.Blocked)}
}

// sale is whether tickets can be bought at that time.
func (v eventView) sale(nowMillis int64) string {
	switch {
	case v.Cancelled:
		return "cancelled"
	case v.Closed:
		return "closed"
	case v.OffSaleMillis != 0 && nowMillis >= v.OffSaleMillis:
		return "ended " + when(v.OffSaleMillis)
	case nowMillis < v.OnSaleMillis:
		from := "from " + when(v.OnSaleMillis)
		if v.OffSaleMillis != 0 {
			from += " until " + when(v.OffSaleMillis)
		}
		return from
	case v.OffSaleMillis != 0:
		return "until " + when(v.OffSaleMillis)
	}
	return "open"
}

type eventsShowCommand struct {
	EventID string `arg:"" name:"event_id" help:"The event."`
	atFlags
}

// Help is shown by --help.
func (c *eventsShowCommand) Help() string {
	return `
What it was at a time, as the archive tells it; Redis is not needed for that:

  holdfast events show jazz-night --at "2026-12-01 10:00" --archive s3://books/holdfast?region=eu-central-1
`
}

func (c *eventsShowCommand) Run(ctx context.Context, e *environment) error {
	if c.asked() {
		return aboutEvent(c.EventID, c.showThen(ctx, e))
	}
	err := c.showNow(ctx, e)
	if c.isArchived(err) {
		err = c.showThen(ctx, e)
	}
	return aboutEvent(c.EventID, err)
}

// showNow shows the event as it is.
func (c *eventsShowCommand) showNow(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		now, err := store.Now(ctx)
		if err != nil {
			return err
		}
		event, err := store.Events().Get(ctx, c.EventID)
		if err != nil {
			return err
		}
		paused, err := inspect.New(store).Paused(ctx)
		if err != nil {
			return err
		}
		v := shownEvent{eventView: viewEvent(c.EventID, event)}
		text := ""
		for _, p := range paused.Lasting {
			if p.EventID == "" || p.EventID == c.EventID {
				v.Paused = &pausedView{p, paused.Parked[c.EventID]}
				text = pausedText(p, v.Paused.Parked, now.UnixMilli())
			}
		}
		return v.show(e, now.UnixMilli(), text)
	})
}

// shownEvent is an event, and whether it is paused.
type shownEvent struct {
	eventView
	Paused *pausedView `json:"paused"`
}

// show prints it as it is at a time; paused is what is said of its pause, empty if it has none.
func (v shownEvent) show(e *environment, atMillis int64, paused string) error {
	limit := func(n int64) string {
		if n == 0 {
			return "none"
		}
		return count(n)
	}
	sheet := []string{
		"event_id", v.EventID, "name", v.Name, "sale", v.sale(atMillis),
		"max_per_order", limit(v.MaxPerOrder), "max_per_customer", limit(v.MaxPerCustomer),
	}
	seated := slices.ContainsFunc(v.Sections, func(s sectionView) bool { return s.Kind == "seated" })
	if seated {
		sheet = append(sheet, "no_orphans", strconv.FormatBool(v.NoOrphans))
	}
	if v.LateApprovalForMillis > 0 {
		sheet = append(sheet, "late_approval", fmt.Sprintf("%s, for %s", v.LateApproval, time.Duration(v.LateApprovalForMillis)*time.Millisecond))
	}
	if paused != "" {
		sheet = append(sheet, "paused", paused)
	}
	if v.Closed {
		sheet = append(sheet, "closed_reason", v.ClosedReason, "closed_by", v.ClosedBy)
	}
	out := e.printer()
	out.sheet(v, sheet...)
	if out.section(sectionColumns...) {
		for _, s := range v.Sections {
			out.row(s, s.cells(v.Currency)...)
		}
		if len(v.Allocations) > 0 && out.section("allocation", "sale", "codes", "used") {
			for _, a := range v.Allocations {
				out.row(a, a.Allocation, a.sale(), strconv.Itoa(a.Codes), count(a.Used))
			}
		}
		if seated {
			out.note("")
			out.note("(the seats: holdfast events seats " + v.EventID + ")")
		}
	}
	return out.flush()
}

type eventsListCommand struct {
	Archived bool `help:"Those that were over, and were forgotten: they are in the archive alone."`
}

// forgottenView is an event that was forgotten.
type forgottenView struct {
	EventID           string `json:"event_id"`
	ForgottenAtMillis int64  `json:"forgotten_at"`
}

func (c *eventsListCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		if c.Archived {
			out := e.printer("event_id", "forgotten_at")
			found := make(map[string]int64)
			for p := range store.Partitions() {
				if err := store.Events().EachForgotten(ctx, p, func(id string, atMillis int64) { found[id] = atMillis }); err != nil {
					return out.end(err)
				}
			}
			for _, id := range slices.Sorted(maps.Keys(found)) {
				out.row(forgottenView{id, found[id]}, id, when(found[id]))
			}
			return out.end(nil)
		}
		now, err := store.Now(ctx)
		if err != nil {
			return err
		}
		out := e.printer(append([]string{"event_id", "name", "sale"}, sectionColumns...)...)
		err = eachEvent(ctx, store, func(id string, event domain.Event) error {
			v := viewEvent(id, event)
			if e.json {
				out.row(v)
				return nil
			}
			for _, s := range v.Sections {
				out.row(s, append([]string{v.EventID, v.Name, v.sale(now.UnixMilli())}, s.cells(v.Currency)...)...)
			}
			return nil
		})
		return out.end(err)
	})
}

// eachEvent calls each for all events, sorted by id.
func eachEvent(ctx context.Context, store *streams.Store, each func(id string, event domain.Event) error) error {
	var ids []string
	for p := range store.Partitions() {
		inPartition, err := store.Events().IDs(ctx, p)
		if err != nil {
			return err
		}
		ids = append(ids, inPartition...)
	}
	slices.Sort(ids)
	for _, id := range ids {
		event, err := store.Events().Get(ctx, id)
		if domain.CodeOf(err) == domain.CodeEventOver { // since they were listed
			continue
		}
		if err != nil {
			return err
		}
		if err := each(id, event); err != nil {
			return err
		}
	}
	return nil
}
