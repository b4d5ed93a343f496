package streams

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/e2e/torture"
	"holdfast/streams/audit"
	"holdfast/streams/internal/layout"
	"holdfast/streams/redistest"
)

const (
	clients             = 8
	historyOperations   = 500
	checkingTimeout     = time.Minute // nearly all take less than a tenth of a second
	historySection      = "general"
	historyCapacity     = 6
	historyEntrySeconds = 3600 // how long a request of a history may wait: no history comes near it
	historyLateMillis   = 300  // for how long late approvals are honoured, where they are
	historyFans         = "fans"
	soon                = 60 // calls and returns
)

// kind is what an event of a history is like.
type historyKind int

const (
	counted historyKind = iota
	strict              // of seats, none of which may be left alone
	lapsing             // of two sections at one price; with changes, a limit per customer, and late approvals
	presold             // of seats, of which some are for fans, by a code for one order at a time; with changes and late approvals
	historyKinds
)

func (k historyKind) seated() bool { return k == strict || k == presold }

// late reports whether late approvals are honoured, and orders changed.
func (k historyKind) late() bool { return k >= lapsing }

// operations are so many that it is known within seconds whether they could have been one after the other.
func (k historyKind) operations() int {
	if k.late() { // there is more to go through: when somebody looked who was refused
		return historyOperations / 3
	}
	return historyOperations
}

// losses are how many replies may get lost. Of late approvals and changes none do: an operation of several steps that may come at any
// time leaves too much to go through.
func (k historyKind) losses() int {
	if k.late() {
		return 0
	}
	return historyOperations
}

// terms are those of an event of the kind.
func (k historyKind) terms(eventID string) (t domain.Terms, err error) {
	t = domain.Terms{
		Name: "An Evening", Currency: "EUR", Sections: []domain.SectionTerms{{Name: historySection, Price: 1000, Capacity: historyCapacity}},
	}
	if k.late() {
		t.LateApprovalMillis = historyLateMillis
	}
	switch k {
	case strict:
		t.NoOrphans, t.Sections[0] = true, seatedSection(historySection, "A:1-4/5-6")
	case lapsing:
		t.MaxPerCustomer = 3 // one order of them may have as many, so that a change to more is over it
		t.Sections = append(t.Sections, domain.SectionTerms{Name: "vip", Price: 1000, Capacity: 3})
	case presold:
		t.Sections[0] = seatedSection(historySection, "fans;A:1-3/4-6a")
		var layout *seats.Layout
		if layout, err = seats.Parse(t.Sections[0].Layout); err == nil {
			t, err = t.WithAllocations(historySection, layout).OpenedBy(historyFans, 1, codeKeys.Hashes(eventID, "once")[0])
		}
	case counted, historyKinds:
	}
	return t, err
}

// TestTortureLinearizability records what concurrent clients are told about one
// section with little capacity, and checks that somebody who does one thing after the
// other, as package domain says (see specification), could have told them the
// same. Some replies are lost, and some commands never arrive: the clients cannot
// tell which, and the specification allows for both.
//
// Versions and Redis's clock are part of the replies: in the order that is found neither ever goes back, and what
// is decided is decided at the time that its version tells.
func TestTortureLinearizability(t *testing.T) {
	tally := torture.Begin(t, 10, "histories of 8 clients at one section, checked with porcupine")
	histories := torture.Size(10, 200)
	r := newRecorder(t, torture.Seed(t))
	operations, lost := 0, 0
	want := []string{
		"purchase authorize", "purchase done", "hold done", "pay authorize", "pay void", "pay done", "pay wait", "approved done", "approved void",
		"declined done", "mismatched done", "unknown wait", "cancel", "captureFailed", "order held", "order confirmed", "order declined", "order expired", "order cancelled", "order rejected", "event",
		"seats held", "seats confirmed", "seats rejectedseat_taken", "seats rejectedwould_leave_orphan", "seats rejectedsold_out",
		"order lapsed", "late confirmed", "order rejected code_refused", "fans held", "change done", "cancel done", "refund done",
	}
	if torture.Full() {
		want = append(want, "changed", "late expiredseat_taken", "late expiredin_progress", "late expiredsold_out", "late of fans confirmed", "change change_pending", "change wait",
			"change refused sold_out", "change refused seat_taken", "change refused over_customer_limit", "change refused payment_pending",
			"change refused lapsed")
	}
	untold := func() bool { return slices.ContainsFunc(want, func(what string) bool { return r.told[what] == 0 }) }
	// Some answers are rare: it goes on until each was given, if that is not for ever.
	for n := 0; n < histories || n < 4*histories && untold(); n++ {
		kind := historyKind(n) % historyKinds
		h := r.record(n, kind, kind.operations(), kind.losses())
		h.check(t)
		tally.Count("histories", 1)
		for _, op := range h.operations {
			if op.Input.(input).aside() {
				continue
			}
			operations++
			tally.Count("operations", 1)
			if op.Output.(output).lost {
				tally.Count("operations with unknown outcome", 1)
				lost++
			}
		}
		if t.Failed() {
			return
		}
	}
	report, err := audit.Run(context.Background(), r.stores[0], audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tally.Judged(len(report.Violations))
	for _, v := range report.Violations {
		t.Errorf("%+v", v)
	}
	if operations < histories*historyOperations/2 || lost < histories/2 {
		t.Errorf("%d operations, %d of them with unknown outcome, in %d histories", operations, lost, histories)
	}
	t.Logf("the clients were told %v", r.told)
	for _, what := range want {
		if r.told[what] == 0 {
			t.Errorf("no client was told %q", what)
		}
	}
}

// TestLinearizabilityTellsWrongHistories changes one reply of a right history, and wants the change found. Only
// replies are changed for which it can be said why no order of the operations explains the change: what overlaps may
// have happened in any.
func TestLinearizabilityTellsWrongHistories(t *testing.T) {
	r := newRecorder(t, torture.Seed(t))
	histories := []*opHistory{r.record(0, counted, historyOperations, 0), r.record(1, counted, 120, 2)}
	for len(histories) < 4 { // a code is refused in most of them
		histories = append(histories, r.record(len(histories), presold, presold.operations(), 0))
	}
	for len(histories) < 9 { // an approval comes late enough, and soon enough, in most of them
		histories = append(histories, r.record(len(histories), lapsing, lapsing.operations(), 0))
	}
	for i, h := range histories {
		if i != 1 { // which was lossy
			r.readAll(h)
		}
		h.check(t)
	}
	for _, wrong := range []struct {
		what   string
		change func(told evidence, in input, out *output) bool
	}{
		// What the order is afterwards leaves no choice of the verdict.
		{"a verdict", func(_ evidence, in input, out *output) bool {
			if in.kind != "resolve" || out.verdicts[0] != domain.VerdictVoid {
				return false
			}
			out.verdicts = []domain.Verdict{domain.VerdictDone}
			return true
		}},
		// Later it is rejected, which nothing that was held becomes. (How much later is not known: with operations that may
		// come at any time, there would be too much to go through.)
		{"a hold that no capacity was left for", func(told evidence, in input, out *output) bool {
			if in.kind != "hold" || len(out.orders) != 1 || out.orders[0].Reason != domain.ReasonSoldOut || !told.after[in.refs[0]] ||
				len(told.unanswered) > 0 {
				return false
			}
			o := out.orders[0]
			out.orders = []domain.Order{{
				State: domain.OrderHeld, RequestType: o.RequestType, Fingerprint: o.Fingerprint, CustomerID: o.CustomerID, Items: domain.ItemsOf(domain.Item{Section: historySection, Quantity: o.Items.Quantity(), UnitPrice: 1000}),
				Currency: "EUR", DeadlineMillis: out.now + holdMillis, HeldAtMillis: o.ResolvedAtMillis, Version: o.Version,
			}}
			if o.RequestType.Pays() {
				out.verdicts = []domain.Verdict{domain.VerdictAuthorize}
			}
			return true
		}},
		// Whoever opened the order was told its deadline: by this reply, in which it follows from the time, or by another.
		{"a deadline", func(told evidence, in input, out *output) bool {
			if in.kind != "hold" || len(out.orders) != 1 || out.orders[0].State != domain.OrderHeld || told.unanswered[in.refs[0]] {
				return false
			}
			o := out.orders[0]
			o.DeadlineMillis++
			out.orders = []domain.Order{o}
			return true
		}},
		// The places do not add up.
		{"a read of the event that misses a ticket", func(_ evidence, in input, out *output) bool {
			if in.kind != "event" || out.event.Sections[0].Available == 0 {
				return false
			}
			section := out.event.Sections[0]
			section.Available--
			out.event.Sections = []domain.Section{section}
			return true
		}},
		// The order was there before, and none ever goes.
		{"a stale read of an order", func(told evidence, in input, out *output) bool {
			if in.kind != "orders" || !told.before[in.refs[0]] {
				return false
			}
			out.orders = append([]domain.Order{{}}, out.orders[1:]...)
			return true
		}},
		// Its version was later before.
		{"a clock that goes back", func(told evidence, in input, out *output) bool {
			if in.kind != "hold" || len(out.orders) != 1 || out.orders[0].State != domain.OrderHeld || told.now == 0 || told.unanswered[in.refs[0]] ||
				told.before[in.refs[0]] || out.orders[0].HeldAtMillis != out.now {
				return false
			}
			o := out.orders[0]
			back := out.now - (told.now - 1)
			o.HeldAtMillis, o.DeadlineMillis, o.Version = o.HeldAtMillis-back, o.DeadlineMillis-back, fmt.Sprintf("%d-0", told.now-1)
			out.orders, out.now = []domain.Order{o}, out.now-back
			return true
		}},
		// Somebody else had it before.
		{"a version twice", func(told evidence, in input, out *output) bool {
			if in.kind != "hold" || len(out.orders) != 1 || told.version == "" || told.before[in.refs[0]] || told.unanswered[in.refs[0]] ||
				domain.EntryMillis(told.version) != out.now || out.orders[0].ResolvedAtMillis+out.orders[0].HeldAtMillis != out.now {
				return false
			}
			o := out.orders[0]
			o.Version = told.version
			out.orders = []domain.Order{o}
			return true
		}},
		// It has its places, or is over: what is approved waits for nothing.
		{"a late approval that is put off", func(_ evidence, in input, out *output) bool {
			if in.kind != "resolve" || out.orders[0].State != domain.OrderConfirmed || out.orders[0].LateMillis == 0 ||
				in.commands[0].(domain.Resolve).Outcome != domain.PaymentApproved || out.orders[0].ConfirmedAtMillis != out.now {
				return false
			}
			o := out.orders[0]
			o.State, o.ConfirmedAtMillis, o.ResolvedAtMillis, o.AuthorizationID = domain.OrderLapsed, 0, 0, ""
			out.orders = []domain.Order{o}
			return true
		}},
		// Whoever asked for it again was told the same before.
		{"a change under another number", func(_ evidence, in input, out *output) bool {
			if len(out.orders) != 1 || out.orders[0].Change == 0 || out.orders[0].ChangedAtMillis != out.now {
				return false
			}
			o := out.orders[0]
			o.Change++
			out.orders = []domain.Order{o}
			return true
		}},
		// An event of seats has none. What is refused by what was looked at before must have been so once.
		{"a refusal by a limit that there is not", func(_ evidence, in input, out *output) bool {
			if out.refusal(in) != domain.ReasonSeatTaken {
				return false
			}
			o := out.orders[0]
			if in.kind == "resolve" {
				o.Reason, o.Detail = domain.ReasonOverCustomer, ""
			} else {
				o.ChangeRefusal, o.ChangeDetail = domain.ReasonOverCustomer, ""
			}
			out.orders = []domain.Order{o}
			return true
		}},
		{"a code for one that opens for two", func(told evidence, in input, out *output) bool {
			if in.kind != "hold" || len(out.orders) != 1 || out.orders[0].Reason != domain.ReasonCodeRefused || !told.after[in.refs[0]] {
				return false
			}
			o := out.orders[0]
			o.Reason, o.Detail = domain.ReasonSoldOut, ""
			out.orders = []domain.Order{o}
			return true
		}},
	} {
		t.Run(wrong.what, func(t *testing.T) {
			planted := 0
			for _, h := range histories {
				planted += plant(t, h, wrong.change)
			}
			for more := 0; planted == 0 && more < 12; more++ { // none of them has such a reply
				kind := []historyKind{counted, presold, lapsing}[more%3]
				h := r.record(len(histories), kind, kind.operations(), 0)
				r.readAll(h)
				h.check(t)
				histories = append(histories, h)
				planted = plant(t, h, wrong.change)
			}
			if planted == 0 {
				t.Error("no history has such a reply to change")
			}
		})
	}
}

// plant changes the first reply that the change fits, but one behind the first that was lost: how long it takes to
// show that no order is right depends on how much comes before. It returns how many it changed: a short history may
// have none.
func plant(t *testing.T, h *opHistory, change func(told evidence, in input, out *output) bool) int {
	t.Helper()
	planted := *h
	planted.operations = slices.SortedFunc(slices.Values(h.operations), func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	lost := slices.IndexFunc(planted.operations, func(op porcupine.Operation) bool { return op.Output.(output).lost })
	for i := max(0, lost); i < len(planted.operations); i++ {
		op := planted.operations[i]
		out := op.Output.(output)
		if out.lost || op.Input.(input).aside() || !change(h.evidence(op), op.Input.(input), &out) {
			continue
		}
		planted.operations[i].Output = out
		if got := porcupine.CheckOperationsTimeout(planted.specification(), planted.operations, checkingTimeout); got != porcupine.Illegal {
			t.Errorf("operation %d of %d was changed to %+v, and the history is %s", i, len(h.operations), out, got)
		}
		return 1
	}
	return 0
}

// evidence is what clients were told by replies that came before an operation began, and
// to questions asked soon after it had ended. In every order that explains a history these
// stay before it and behind it. (Later ones are evidence too, but what comes in between could be in very many orders.)
type evidence struct {
	before, after map[domain.OrderRef]bool // orders that somebody was told of
	unanswered    map[domain.OrderRef]bool // orders that an operation was about whose reply was lost, at any time
	now           int64                    // the latest time that was told before
	version       string                   // of the latest change that was told before
}

func (h *opHistory) evidence(about porcupine.Operation) evidence {
	told := evidence{before: make(map[domain.OrderRef]bool), after: make(map[domain.OrderRef]bool), unanswered: make(map[domain.OrderRef]bool)}
	for _, op := range h.operations {
		in, out := op.Input.(input), op.Output.(output)
		before, after := op.Return < about.Call, op.Call > about.Return && op.Call < about.Return+soon
		for i, ref := range in.refs {
			if before && i < len(out.orders) && layout.ParseLogID(out.orders[i].Version).After(layout.ParseLogID(told.version)) {
				told.version = out.orders[i].Version
				told.now = domain.EntryMillis(told.version)
			}
			switch {
			case in.aside():
			case out.lost:
				told.unanswered[ref] = true
			case len(out.orders) == 0: // a cancel opens nothing
			case out.orders[i].State == domain.OrderNone:
			case before:
				told.before[ref] = true
			case after:
				told.after[ref] = true
			}
		}
	}
	return told
}

// input is what a client asks.
type input struct {
	kind     string // hold, resolve, expire, cancel, orders, event; look
	refs     []domain.OrderRef
	commands []domain.Command
	label    string
	number   int // of an operation that was refused by what it had looked at before; else 0
}

// look is no operation of a client, but a part of one that was refused: it looked what there is, and found that it cannot have it. That is
// written in a later step, whatever there is then.
const look = "look"

// aside reports whether it is none of a client's.
func (in input) aside() bool { return in.kind == look }

// output is what it is told.
type output struct {
	lost     bool // nothing: it may have happened or not
	verdicts []domain.Verdict
	orders   []domain.Order // none of a cancel
	event    domain.Event
	now      int64 // of Redis; 0 if it is not in the reply
}

// opHistory is what was asked and told about one event.
type opHistory struct {
	eventID    string
	listed     domain.Fact
	operations []porcupine.Operation
}

func (h *opHistory) check(t *testing.T) {
	t.Helper()
	model := h.specification()
	result := porcupine.CheckOperationsTimeout(model, h.operations, checkingTimeout)
	if result == porcupine.Ok {
		return
	}
	_, info := porcupine.CheckOperationsVerbose(model, h.operations, checkingTimeout)
	path := filepath.Join(t.TempDir(), h.eventID+".html")
	if err := porcupine.VisualizePath(model, info, path); err != nil {
		t.Errorf("drawing the history: %v", err)
	}
	t.Errorf("the history of %s is %s; it is drawn in %s", h.eventID, result, path)
}

// never is a time that is not known, and unknownVersion a version, because the reply that said it was lost, or
// there is none. They are found out when a later reply shows the order. (Later than any time, so that a hold with
// it is alive.)
const (
	never          = math.MaxInt64 / 4
	unknownVersion = "?"
)

// world is a state of the specification. What it points to is not changed once it is there,
// and shared by the states that come after it: a search goes through many.
type world struct {
	now     int64        // it is at least so late
	version layout.LogID // the latest that is known
	facts   int          // so many have changed it
	event   domain.Event
	slots   map[string]string // orders in progress, by customer
	places  map[string]int64  // held and sold, by customer, if there is a limit of them
	seen    map[int]finding   // what operations have found, by their numbers, and not written yet
	orders  []*domain.Order   // by number; nil: never heard of
}

// finding is what is decided about something that cannot be had.
type finding struct {
	fact    domain.Fact
	verdict domain.Verdict
}

// specification is what one section must look like to all of its clients: the
// decisions of package domain, one at a time.
func (h *opHistory) specification() porcupine.Model {
	event, err := domain.ApplyEvent(domain.Event{}, h.listed)
	model := porcupine.NondeterministicModel{
		Init: func() []any {
			if err != nil {
				return nil
			}
			return []any{&world{event: event}}
		},
		Step: func(state, in, out any) []any {
			w, i, o := state.(*world), in.(input), out.(output)
			switch {
			case i.kind == look:
				return []any{w.looked(i, o)}
			case o.lost:
				return w.guess(i)
			case i.kind == "event":
				if reflect.DeepEqual(w.event, o.event) {
					return []any{w}
				}
			default:
				if next := w.told(i, o); next != nil {
					return []any{next}
				}
			}
			return nil
		},
		Equal: func(a, b any) bool { return a.(*world).equal(b.(*world)) },
		Hash: func(state any) uint64 {
			w := state.(*world)
			hash := uint64(w.now)*31 + uint64(w.facts)
			for _, s := range w.event.Sections {
				hash = hash*1_000_003 + uint64(s.Held)*17 + uint64(s.Sold)
			}
			return hash
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
		DescribeState: func(state any) string {
			return fmt.Sprintf("%d: %+v", state.(*world).now, state.(*world).event.Sections)
		},
	}
	return model.ToModel()
}

func (w *world) equal(o *world) bool {
	return w == o || w.now == o.now && w.version == o.version && w.facts == o.facts && slices.Equal(w.event.Sections, o.event.Sections) && maps.Equal(w.slots, o.slots) && maps.Equal(w.places, o.places) && maps.Equal(w.seen, o.seen) &&
		slices.EqualFunc(w.orders, o.orders, func(a, b *domain.Order) bool { return a == b || a != nil && b != nil && *a == *b })
}

// number is that of an order of a history.
func number(ref domain.OrderRef) int {
	n, err := strconv.Atoi(ref.OrderID[1:])
	if err != nil {
		panic(err) // draw made it
	}
	return n
}

func (w *world) order(ref domain.OrderRef) domain.Order {
	if n := number(ref); n < len(w.orders) && w.orders[n] != nil {
		return *w.orders[n]
	}
	return domain.Order{}
}

// with is w but for one order.
func (w *world) with(ref domain.OrderRef, o domain.Order) *world {
	next, n := *w, number(ref)
	next.orders = make([]*domain.Order, max(len(w.orders), n+1))
	copy(next.orders, w.orders)
	next.orders[n] = &o
	return &next
}

// told is the state after an operation with this reply; nil if it cannot have had it.
func (w *world) told(in input, out output) *world {
	before := w.version
	for i, shown := range out.orders { // what nobody had told yet
		o := w.order(in.refs[i])
		known := o
		for _, t := range []struct{ of, shown *int64 }{
			{&known.DeadlineMillis, &shown.DeadlineMillis},
			{&known.HeldAtMillis, &shown.HeldAtMillis},
			{&known.ConfirmedAtMillis, &shown.ConfirmedAtMillis},
			{&known.ResolvedAtMillis, &shown.ResolvedAtMillis},
			{&known.ChangedAtMillis, &shown.ChangedAtMillis},
		} {
			if *t.of == never {
				*t.of = *t.shown
			}
		}
		if known.Version == unknownVersion {
			known.Version = shown.Version
		}
		if known.ConfirmedAtMillis > 0 && known.ConfirmedAtMillis >= known.DeadlineMillis+known.LateMillis {
			return nil
		}
		if known != o {
			w = w.with(in.refs[i], known)
			if id := layout.ParseLogID(known.Version); id.After(w.version) {
				w.version = id
			}
		}
	}
	for i, command := range in.commands {
		now, at, version := out.now, int64(never), unknownVersion
		if len(out.orders) > 0 {
			version = out.orders[i].Version
			at = domain.EntryMillis(version)
		}
		if now == 0 { // then it does not matter
			now = w.now
		}
		next, verdict, err := w.decide(in.refs[i], command, now, at, version)
		if found, is := w.seen[in.number]; is {
			if next, verdict, err = w.store(in.refs[i], w.view(in.refs[i], command), found.fact, now, at, version, found.verdict); err == nil {
				next.seen = maps.Clone(w.seen)
				delete(next.seen, in.number)
			}
		}
		if err != nil || len(out.verdicts) > 0 && verdict != out.verdicts[i] {
			return nil
		}
		if next != w && version != unknownVersion {
			id := layout.ParseLogID(version)
			if at < w.now || at != now || !id.After(before) {
				return nil
			}
			if next.now = at; id.After(next.version) { // what one step does shares entries
				next.version = id
			}
		}
		w = next
	}
	for i, shown := range out.orders {
		if w.order(in.refs[i]) != shown {
			return nil
		}
	}
	return w
}

// decide is the state after a command that is decided at a time, and what is said of the order then: the time, which is
// that one if it is known, and its version; w itself if there is no fact.
func (w *world) decide(ref domain.OrderRef, command domain.Command, now, at int64, version string) (*world, domain.Verdict, error) {
	view := w.view(ref, command)
	fact, verdict := domain.Decide(view, ref, now, command)
	if fact == nil {
		return w, verdict, nil
	}
	return w.store(ref, view, *fact, now, at, version, verdict)
}

// view is what is looked at to decide about an order.
func (w *world) view(ref domain.OrderRef, command domain.Command) domain.View {
	view := domain.View{Event: w.event, Order: w.order(ref)}
	customer := view.Order.CustomerID
	if hold, ok := command.(domain.Hold); ok && customer == "" {
		customer = hold.Request.CustomerID
	}
	view.InProgress, view.Places = w.slots[customer], w.places[customer]
	return view
}

// looked is the state after an operation, of which this was told, has looked what there is. It asks one thing after the other: what the event
// has, what its customer has in progress, and how many places. So each of these alone may have been the reason.
func (w *world) looked(in input, out output) *world {
	view, reason := w.view(in.refs[0], in.commands[0]), out.refusal(in)
	if reason != domain.ReasonInProgress {
		view.InProgress = ""
	}
	if reason != domain.ReasonOverCustomer {
		view.Places = 0
	}
	if reason == domain.ReasonInProgress || reason == domain.ReasonOverCustomer {
		view.Order.Code = ""
	}
	fact, verdict := domain.Decide(view, in.refs[0], w.now, in.commands[0])
	if fact == nil || fact.Type != domain.FactExpired && fact.Type != domain.FactChangeRefused || fact.Reason != reason {
		return w // it was another time, or this is told of what another operation did
	}
	next := *w
	next.seen = maps.Clone(w.seen)
	if next.seen == nil {
		next.seen = make(map[int]finding)
	}
	next.seen[in.number] = finding{*fact, verdict}
	return &next
}

// seenBefore are the reasons of changes and late approvals that are refused by what was looked at: what there was not, and what is asked after
// that, for then there was enough.
var seenBefore = []string{
	domain.ReasonSoldOut, domain.ReasonSeatTaken, domain.ReasonOverCustomer, domain.ReasonInProgress, domain.ReasonCodeRefused, domain.ReasonPaymentPending,
}

// refusal is why, as was told, the operation may have been refused by what it had looked at before; else empty. (It may be another one that was.)
func (o output) refusal(in input) string {
	if len(in.commands) != 1 || len(o.orders) != 1 || domain.EntryMillis(o.orders[0].Version) != o.now {
		return ""
	}
	reason := ""
	switch c := in.commands[0].(type) {
	case domain.Change:
		if c.Request.Type == domain.RequestChange && o.orders[0].Change == c.Request.Change {
			reason = o.orders[0].ChangeRefusal
		}
	case domain.Resolve:
		if o.orders[0].State == domain.OrderExpired {
			reason = o.orders[0].Reason
		}
	}
	if !slices.Contains(seenBefore, reason) {
		return ""
	}
	return reason
}

// store is the state after a fact about an order, as that was looked at.
func (w *world) store(ref domain.OrderRef, view domain.View, fact domain.Fact, now, at int64, version string, verdict domain.Verdict) (*world, domain.Verdict, error) {
	customer := view.Order.CustomerID
	if customer == "" {
		customer = fact.CustomerID
	}
	fact.ID, fact.AtMillis = version, now
	after, err := domain.Apply(view, fact)
	if err != nil {
		return nil, verdict, err
	}
	if o := &after.Order; at == never {
		switch o.State {
		case view.Order.State, domain.OrderLapsed:
		case domain.OrderHeld:
			o.HeldAtMillis, o.DeadlineMillis = never, never
		case domain.OrderConfirmed:
			o.ConfirmedAtMillis, o.ResolvedAtMillis = never, never
		default:
			o.ResolvedAtMillis = never
		}
		if o.Change != view.Order.Change {
			o.ChangedAtMillis = never
		}
	}
	next := w.with(ref, after.Order)
	next.facts++
	next.event = after.Event
	if after.InProgress != view.InProgress {
		next.slots = maps.Clone(w.slots)
		if next.slots == nil {
			next.slots = make(map[string]string)
		}
		if next.slots[customer] = after.InProgress; after.InProgress == "" {
			delete(next.slots, customer)
		}
	}
	if after.Places != view.Places {
		next.places = maps.Clone(w.places)
		if next.places == nil {
			next.places = make(map[string]int64)
		}
		if next.places[customer] = after.Places; after.Places == 0 {
			delete(next.places, customer)
		}
	}
	return next, verdict, nil
}

// guess are the states that an operation may have led to whose reply was lost: it
// did not happen, or at any time from now on. What time it was matters only for the deadlines.
func (w *world) guess(in input) []any {
	states := []any{w}
	times := []int64{w.now}
	for _, ref := range in.refs {
		if o := w.order(ref); o.Open() && o.PayableUntilMillis() > w.now {
			times = append(times, o.PayableUntilMillis())
		}
	}
	for _, now := range times {
		next := w
		for i, command := range in.commands {
			var err error
			if next, _, err = next.decide(in.refs[i], command, now, never, unknownVersion); err != nil {
				return nil // domain contradicts itself: no reply is right
			}
		}
		if next == w {
			continue // it changed nothing
		}
		if now != never {
			later := *next
			next, later.now = &later, now
		}
		states = append(states, next)
	}
	return states
}

// recorder makes histories, each about an event of its own.
type recorder struct {
	t      *testing.T
	seed   uint64
	stores [clients]*Store
	faults [clients]*losing

	mu   sync.Mutex
	told map[string]int
}

func newRecorder(t *testing.T, seed uint64) *recorder {
	t.Helper()
	r := &recorder{t: t, seed: seed, told: make(map[string]int)}
	url := redistest.Start(t).URL()
	for i := range r.stores {
		r.faults[i] = new(losing)
		store, err := Open(context.Background(), url, Options{Create: true, Partitions: 1, Hook: r.faults[i]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
		r.stores[i] = store
	}
	return r
}

// record lets all clients loose on a new event, until they have done so much. At most so many replies get lost.
func (r *recorder) record(n int, kind historyKind, operations, losses int) *opHistory {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h := &opHistory{eventID: "e" + strconv.Itoa(n)}
	terms, err := kind.terms(h.eventID)
	if err != nil {
		r.t.Fatal(err)
	}
	listed, err := domain.Create(domain.Event{}, h.eventID, terms)
	if err != nil {
		r.t.Fatal(err)
	}
	h.listed = *listed
	if created, err := r.stores[0].Events().Create(ctx, h.eventID, terms); err != nil || !created {
		r.t.Fatalf("listing: %v, %v", created, err)
	}
	now, err := r.stores[0].Now(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	var clock, orders, pairs, mayLose atomic.Int64
	mayLose.Store(int64(losses))
	live := live{lapsed: make(map[domain.OrderRef]bool)}
	recorded := make([][]porcupine.Operation, clients)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			p := player{
				kind: kind, recorder: r, store: r.stores[c], fault: r.faults[c], eventID: h.eventID, begun: now.UnixMilli(), orders: &orders, pairs: &pairs, live: &live, mayLose: &mayLose,
				rand: rand.New(rand.NewPCG(r.seed, uint64(n)*clients+uint64(c))),
			}
			id := c
			for i := c; i < operations; i += clients {
				in, run, err := p.draw(ctx)
				if err != nil {
					r.t.Errorf("drawing: %v", err)
					return
				}
				op := porcupine.Operation{ClientId: id, Input: in, Call: clock.Add(1)}
				out, err := p.play(ctx, in, run)
				if err != nil {
					r.t.Errorf("%s %v: %v", in.label, in.refs, err)
					return
				}
				op.Output, op.Return = out, clock.Add(1)
				if out.lost {
					op.Return = math.MaxInt64 // it may happen at any time
					id += clients             // for porcupine, somebody else goes on
				}
				if out.refusal(in) != "" {
					in.number = i + 1
					op.Input = in
					aside := op
					in.kind = look
					aside.Input, aside.ClientId = in, clients*operations+c
					recorded[c] = append(recorded[c], aside)
				}
				recorded[c] = append(recorded[c], op)
			}
		})
	}
	wg.Wait()
	for _, ops := range recorded {
		for _, op := range ops {
			op.Return = min(op.Return, clock.Load()+1)
			h.operations = append(h.operations, op)
		}
	}
	return h
}

// readAll adds to a history that in the end somebody reads every order of it.
func (r *recorder) readAll(h *opHistory) {
	r.t.Helper()
	var refs []domain.OrderRef
	var last int64
	for _, op := range h.operations {
		last = max(last, op.Return)
		for _, ref := range op.Input.(input).refs {
			if !slices.Contains(refs, ref) {
				refs = append(refs, ref)
			}
		}
	}
	orders, err := r.stores[0].Checkout().Orders(context.Background(), refs)
	if err != nil {
		r.t.Fatal(err)
	}
	h.operations = append(h.operations, porcupine.Operation{
		Input: input{kind: "orders", refs: refs, label: "orders"}, Call: last + 1, Output: output{orders: orders}, Return: last + 2,
	})
}

// player is one client of one history.
type player struct {
	*recorder
	store   *Store
	fault   *losing
	eventID string
	kind    historyKind
	begun   int64
	orders  *atomic.Int64
	pairs   *atomic.Int64 // the same of those that are opened two by two
	live    *live
	mayLose *atomic.Int64 // so many replies of all clients, from now on
	rand    *rand.Rand
}

// live is the orders that somebody was told are held, lapsed or confirmed; and which have lapsed once.
type live struct {
	mu     sync.Mutex
	refs   []domain.OrderRef
	lapsed map[domain.OrderRef]bool
}

func (l *live) note(ref domain.OrderRef, o domain.Order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.LateMillis > 0 {
		l.lapsed[ref] = true
	}
	there, is := slices.Contains(l.refs, ref), o.Open() || o.State == domain.OrderConfirmed
	switch {
	case is && !there:
		l.refs = append(l.refs, ref)
	case there && o.State.Terminal() && !is:
		l.refs = slices.DeleteFunc(l.refs, func(r domain.OrderRef) bool { return r == ref })
	}
}

// lapsedOne is one of those that are live and have lapsed.
func (l *live) lapsedOne(r *rand.Rand) (ref domain.OrderRef, is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range r.Perm(len(l.refs)) {
		if ref = l.refs[i]; l.lapsed[ref] {
			return ref, true
		}
	}
	return ref, false
}

func (l *live) pick(r *rand.Rand) (domain.OrderRef, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.refs) == 0 {
		return domain.OrderRef{}, false
	}
	return l.refs[r.IntN(len(l.refs))], true
}

type run func(ctx context.Context) (replies []domain.Reply, event domain.Event, now int64, err error)

// recent is an order that holds tickets, or one of the newest, whoever made it, or one that is not there yet.
func (p *player) recent() domain.OrderRef {
	if ref, ok := p.live.pick(p.rand); ok && p.rand.IntN(4) > 0 {
		return ref
	}
	return ref(p.eventID, "o"+strconv.FormatInt(max(0, p.orders.Load()+1-p.rand.Int64N(6)), 10))
}

func (p *player) draw(ctx context.Context) (input, run, error) {
	if p.kind.late() && p.rand.IntN(4) == 0 {
		return p.drawChange(ctx)
	}
	if about, is := p.live.lapsedOne(p.rand); is && p.rand.IntN(3) == 0 {
		in, run := p.resolve(about, 1, domain.PaymentApproved)
		return in, run, nil
	}
	in, run := p.drawOther()
	return in, run, nil
}

// drawChange has somebody change an order as it was a moment ago.
func (p *player) drawChange(ctx context.Context) (input, run, error) {
	var about domain.OrderRef
	var is domain.Order
	for range 1 + p.rand.IntN(6) { // mostly one that can be changed
		about = p.recent()
		read, err := p.store.Ledger().Orders(ctx, []domain.OrderRef{about})
		if err != nil {
			return input{}, nil, err
		}
		if is = read[0]; is.State == domain.OrderConfirmed || is.State == domain.OrderHeld && !is.BeingPaid() {
			break
		}
	}
	req := domain.Request{
		Type: []domain.RequestType{domain.RequestChange, domain.RequestChange, domain.RequestCancel, domain.RequestRefund}[p.rand.IntN(4)], Change: is.Change + 1,
	}
	if p.rand.IntN(6) == 0 {
		req.Change += p.rand.Int64N(3) - 1
	}
	if req.Change == 0 {
		req.Change = 1
	}
	switch {
	case req.Type == domain.RequestRefund:
		req.Amount = 500 * (1 + p.rand.Int64N(3))
	case p.kind.seated():
		req.Items = []domain.RequestItem{{Section: historySection, Seats: p.seats()}}
		req.Items[0].Quantity = int64(len(req.Items[0].Seats))
	default:
		for i, n := range [2]int64{p.rand.Int64N(3), p.rand.Int64N(3)} {
			if n > 0 || i == 1 && len(req.Items) == 0 {
				req.Items = append(req.Items, domain.RequestItem{Section: []string{historySection, "vip"}[i], Quantity: max(n, 1)})
			}
		}
	}
	req.Fingerprint = fmt.Sprint(req.Type, req.Items, req.Amount)
	in, run := p.hold([]domain.OrderRef{about}, req)
	return in, run, nil
}

// seats are one, or two side by side.
func (p *player) seats() []string {
	first := 1 + p.rand.IntN(historyCapacity)
	names := []string{fmt.Sprintf("A-%d", first)}
	if first < historyCapacity && p.rand.IntN(2) == 0 {
		names = append(names, fmt.Sprintf("A-%d", first+1))
	}
	return names
}

func (p *player) drawOther() (input, run) {
	about := p.recent()
	refs := []domain.OrderRef{about}
	cancel := func(label, reason string, do func(*Ledger, context.Context, int, []domain.Cancellation) error) (input, run) {
		return input{kind: "cancel", refs: refs, commands: []domain.Command{domain.Cancel{Reason: reason}}, label: label}, func(ctx context.Context) ([]domain.Reply, domain.Event, int64, error) {
			return nil, domain.Event{}, 0, do(p.store.Ledger(), ctx, 0, []domain.Cancellation{{Ref: about}})
		}
	}
	switch n := p.rand.IntN(100); {
	case n < 30:
		return p.drawHold()
	case n < 38:
		return p.hold([]domain.OrderRef{about}, domain.Request{Type: domain.RequestPay})
	case n < 58:
		outcome := []domain.PaymentOutcome{
			domain.PaymentApproved, domain.PaymentApproved, domain.PaymentApproved, domain.PaymentDeclined, domain.PaymentUnknown, domain.PaymentUnknown,
			domain.PaymentMismatched,
		}[p.rand.IntN(7)]
		return p.resolve(about, p.attempt(), outcome)
	case n < 70:
		return input{kind: "expire", refs: refs, commands: []domain.Command{domain.Expire{}}, label: "expire"}, func(ctx context.Context) ([]domain.Reply, domain.Event, int64, error) {
			replies, now, err := expireThese(ctx, p.store.Ledger(), refs...)
			return replies, domain.Event{}, now, err
		}
	case n < 78:
		return cancel("cancel", domain.ReasonRequested, (*Ledger).Cancel)
	case n < 84:
		return cancel("captureFailed", domain.ReasonCaptureFailed, (*Ledger).CaptureFailed)
	case n < 92:
		refs = append(refs, p.recent())
		return input{kind: "orders", refs: refs, label: "orders"}, func(ctx context.Context) (replies []domain.Reply, _ domain.Event, _ int64, err error) {
			orders, err := p.store.Checkout().Orders(ctx, refs)
			for _, o := range orders {
				replies = append(replies, domain.Reply{Order: o})
			}
			return replies, domain.Event{}, 0, err
		}
	default:
		return input{kind: "event", label: "event"}, func(ctx context.Context) ([]domain.Reply, domain.Event, int64, error) {
			event, err := p.store.Events().Get(ctx, p.eventID)
			return nil, event, 0, err
		}
	}
}

// resolve brings an answer about an order as it was a moment ago.
func (p *player) resolve(about domain.OrderRef, attempt int, outcome domain.PaymentOutcome) (input, run) {
	refs := []domain.OrderRef{about}
	command := domain.Resolve{Attempt: attempt, Outcome: outcome}
	switch outcome {
	case domain.PaymentApproved:
		command.AuthorizationID = "auth_" + strconv.FormatUint(p.rand.Uint64(), 36)
	case domain.PaymentMismatched:
		command.Detail = "amount " + strconv.FormatUint(p.rand.Uint64(), 10) + " instead of 1000"
	}
	return input{kind: "resolve", refs: refs, commands: []domain.Command{command}, label: outcomeName(outcome)}, func(ctx context.Context) ([]domain.Reply, domain.Event, int64, error) {
		read, err := p.store.Ledger().Orders(ctx, refs)
		if err != nil {
			return nil, domain.Event{}, 0, err
		}
		replies, now, err := p.store.Ledger().Resolve(ctx, 0, []domain.Resolution{
			{Ref: about, Order: read[0], Attempt: command.Attempt, Outcome: outcome, AuthorizationID: command.AuthorizationID, Detail: command.Detail},
		})
		return replies, domain.Event{}, now, err
	}
}

// drawHold opens an order, or two in one step, or asks for one that is there once more. What is known already is
// not decided in that step: so of those two nobody knows before they are there.
func (p *player) drawHold() (input, run) {
	refs := []domain.OrderRef{p.recent()}
	if p.rand.IntN(3) > 0 {
		refs[0] = ref(p.eventID, "o"+strconv.FormatInt(p.orders.Add(1), 10))
	}
	if p.rand.IntN(5) == 0 {
		n := historyOperations + p.pairs.Add(2)
		refs = []domain.OrderRef{ref(p.eventID, "o"+strconv.FormatInt(n-1, 10)), ref(p.eventID, "o"+strconv.FormatInt(n, 10))}
	}
	kind := []domain.RequestType{domain.RequestPurchase, domain.RequestHold}[p.rand.IntN(2)]
	customers := []string{"fred", "mary", "jane", "paul", "anne"}
	if p.kind.late() { // or too many have another order in progress by then
		customers = append(customers, "eve", "dan", "cid", "amy", "bob", "flo", "gus")
	}
	customer := customers[p.rand.IntN(len(customers))]
	quantity := 1 + p.rand.Int64N(3)
	req := domain.Request{Type: kind, CustomerID: customer, Section: historySection, Quantity: quantity}
	if p.kind.seated() {
		req.Apart = p.rand.IntN(2) == 0
		if p.rand.IntN(2) == 0 {
			req.Quantity, req.Apart, req.Seats = 0, false, p.seats()
		}
	}
	if p.kind == presold && p.rand.IntN(2) == 0 {
		req.Allocation, req.AccessCode = historyFans, domain.Secret([]string{"once", "once", "wrong"}[p.rand.IntN(3)])
	}
	if p.kind == lapsing && p.rand.IntN(3) == 0 {
		req.Section = "vip"
	}
	req.Fingerprint = fmt.Sprint(kind, customer, req.Section, req.Allocation, req.Quantity, req.Seats, req.Apart)
	return p.hold(refs, req)
}

// attempt draws one; the first is the most likely.
func (p *player) attempt() int { return []int{1, 1, 1, 1, 2, 2, 3}[p.rand.IntN(7)] }

func (p *player) hold(refs []domain.OrderRef, req domain.Request) (input, run) {
	// Most holds end while others ask about them.
	holds := []int64{0, 1, 2, 5, 10, 20, holdMillis, holdMillis, holdMillis, holdMillis}
	if p.kind.late() { // and lapse
		holds = holds[:8]
	}
	hold := holds[p.rand.IntN(len(holds))]
	in := input{kind: "hold", refs: refs, label: string(req.Type)}
	if req.Type == domain.RequestPay {
		req.Attempt = int64(p.attempt())
	}
	batch := make([]domain.Incoming, len(refs))
	for i, r := range refs {
		req.EventID, req.OrderID = r.EventID, r.OrderID
		batch[i] = domain.Incoming{EntryID: fmt.Sprintf("%d-%d", p.begun, i), Request: req, HoldMillis: hold, ValidMillis: historyEntrySeconds * 1000}
		if req.AccessCode != "" {
			batch[i].Codes = codeKeys.Hashes(req.EventID, req.AccessCode)
		}
		in.commands = append(in.commands, batch[i].Command())
	}
	return in, func(ctx context.Context) ([]domain.Reply, domain.Event, int64, error) {
		replies, now, err := p.store.Ledger().Hold(ctx, 0, batch)
		return replies, domain.Event{}, now, err
	}
}

// play asks, and now and then does not hear the answer.
func (p *player) play(ctx context.Context, in input, run run) (output, error) {
	if len(in.commands) > 0 {
		if n := p.rand.IntN(60); n < 2 && p.mayLose.Add(-1) >= 0 {
			p.fault.next = []fault{replyLost, notApplied}[n]
		}
	}
	replies, event, now, err := run(ctx)
	p.fault.next = noFault
	if err != nil && !answered(err) && domain.ClassOf(err) == domain.ClassRetry {
		return output{lost: true}, nil
	}
	out := output{event: event, now: now}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(replies) == 0 {
		p.told[in.label]++
	}
	for i, r := range replies {
		p.live.note(in.refs[i], r.Order)
		out.verdicts, out.orders = append(out.verdicts, r.Verdict), append(out.orders, r.Order)
		p.told["order "+r.Order.State.String()]++
		if p.kind.seated() {
			p.told[fmt.Sprintf("seats %s%s", r.Order.State, r.Order.Reason)]++
		}
		p.told[in.label+" "+r.Verdict.String()]++
		p.noteMore(in, r.Order)
	}
	return out, err
}

// noteMore counts what comes of changes, codes and late approvals.
func (p *player) noteMore(in input, o domain.Order) {
	fans := ""
	if strings.Contains(string(o.Items), domain.PoolOf(historySection, historyFans)) {
		fans = "of " + historyFans + " "
		p.told[historyFans+" "+o.State.String()]++
	}
	if o.Reason == domain.ReasonCodeRefused {
		p.told["order rejected code_refused"]++
	}
	if in.kind == "resolve" && o.LateMillis > 0 {
		p.told["late "+fans+o.State.String()]++
		p.told["late "+o.State.String()+o.Reason]++
	}
	if len(in.commands) == 0 {
		return
	}
	switch change, is := in.commands[0].(domain.Change); {
	case !is || o.Change != change.Request.Change:
	case o.ChangeRefusal != "":
		p.told["change refused "+o.ChangeRefusal]++
	case change.Request.Type == domain.RequestChange:
		p.told["changed"]++
	}
}

type fault int

const (
	noFault    fault = iota
	replyLost        // it happens, and nobody hears of it
	notApplied       // it does not happen, and nobody hears of it
)

// losing is a hook for the connections of one client that makes its next script call fail.
type losing struct{ next fault }

func (l *losing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *losing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *losing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		kind := l.next
		if kind == noFault || !strings.HasPrefix(cmd.Name(), "eval") {
			return next(ctx, cmd)
		}
		if kind == replyLost {
			if err := next(ctx, cmd); err != nil {
				return err // perhaps that the script is not known yet: it is sent once more
			}
		}
		err := &net.OpError{Op: "read", Err: fmt.Errorf("the test lets it fail: %d", kind)}
		cmd.SetErr(err)
		return err
	}
}
