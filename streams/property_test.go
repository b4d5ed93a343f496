package streams

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/e2e/torture"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/redistest"
)

// TestTortureScriptsFollowTheRules drives random sequences of commands both through
// package domain (Decide and Book.Fold: the model) and through the scripts on a
// real Redis, and compares everything after each command: verdicts, replies, the
// facts in the log, the requests, every other key that there is, who has which
// entry and how often it was delivered, and what is set aside.
//
// The sequences are shared out to several servers, for most of the time of one
// goes into waiting for replies. More sequences, or longer ones:
// go test ./streams -run FollowTheRules -rapid.checks 20000 -rapid.steps 50
func TestTortureScriptsFollowTheRules(t *testing.T) {
	tally := torture.Begin(t, 9, "random commands through domain and the Lua scripts, all of the state compared after each")
	seed := torture.Seed(t)
	checks, enough := flagOfRapid(t, "rapid.checks"), sequences()
	var done [shards]ran
	// Parallel subtests run when this function has returned but for the group around them.
	t.Run("servers", func(t *testing.T) {
		// rapid reads its seed from a flag as a check begins, so they begin one after the other.
		var beginning sync.Mutex
		for i := range done {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				base := openFixture(t, redistest.Start(t))
				r := &done[i]
				r.seen = make(map[string]int)
				beginning.Lock()
				begun := sync.OnceFunc(beginning.Unlock)
				defer begun()
				// rapid counts the seeds of its checks up from the first one.
				if err := flag.Set("rapid.seed", strconv.FormatUint(seed^uint64(i)<<48, 10)); err != nil {
					t.Fatal(err)
				}
				rapid.Check(t, func(rt *rapid.T) {
					begun()
					sequence(rt, base, r)
				})
			})
		}
	})
	var all ran
	all.seen = make(map[string]int)
	for _, r := range done {
		all.sequences, all.commands, all.comparisons = all.sequences+r.sequences, all.commands+r.commands, all.comparisons+r.comparisons
		for what, n := range r.seen {
			all.seen[what] += n
		}
	}
	tally.Count("sequences", all.sequences)
	tally.Count("commands", all.commands)
	tally.Count("comparisons", all.comparisons)
	t.Logf("the sequences came to %v", all.seen)
	if t.Failed() || checks*shards < enough {
		return
	}
	// How long a sequence is, is drawn: the average of many lies around commandsInFull, and not always above it.
	if all.sequences < enough || torture.Full() && all.commands < enough*commandsInFull*9/10 {
		t.Errorf("%d sequences and %d commands, want %d sequences of about %d on average", all.sequences, all.commands, enough, commandsInFull)
	}
	// Sequences that never come to something say nothing about it.
	for _, what := range wantSeen() {
		if all.seen[what] == 0 {
			t.Errorf("none of the sequences came to %q; they came to %v", what, all.seen)
		}
	}
}

// ran is what was done on one of the servers.
type ran struct {
	sequences, commands, comparisons int
	seen                             map[string]int
}

// sequence runs one.
func sequence(rt *rapid.T, base *fixture, r *ran) {
	m := newModel(rt, base, r)
	rt.Repeat(map[string]func(*rapid.T){
		"":              func(rt *rapid.T) { m.with(rt).compare() },
		"list":          func(rt *rapid.T) { m.with(rt).list() },
		"adjust":        func(rt *rapid.T) { m.with(rt).adjust() },
		"close":         func(rt *rapid.T) { m.with(rt).close() },
		"reopen":        func(rt *rapid.T) { m.with(rt).reopen() },
		"cancel event":  func(rt *rapid.T) { m.with(rt).cancelEvent() },
		"go with event": func(rt *rapid.T) { m.with(rt).goWithEvent() },
		"hold":          func(rt *rapid.T) { m.with(rt).hold() },
		"hold more":     func(rt *rapid.T) { m.with(rt).hold() },
		"hold again":    func(rt *rapid.T) { m.with(rt).hold() },
		"resolve":       func(rt *rapid.T) { m.with(rt).resolve() },
		"resolve more":  func(rt *rapid.T) { m.with(rt).resolve() },
		"resolve again": func(rt *rapid.T) { m.with(rt).resolve() },
		"cancel":        func(rt *rapid.T) { m.with(rt).cancel() },
		"captureFailed": func(rt *rapid.T) { m.with(rt).captureFailed() },
		"expire":        func(rt *rapid.T) { m.with(rt).expire() },
		"expire these":  func(rt *rapid.T) { m.with(rt).expireThese() },
		"post":          func(rt *rapid.T) { m.with(rt).post() },
		"acknowledge":   func(rt *rapid.T) { m.with(rt).acknowledge() },
		"dead letter":   func(rt *rapid.T) { m.with(rt).deadLetter() },
		"redrive":       func(rt *rapid.T) { m := m.with(rt); pick(m, "what", m.redrive, m.redrive, m.discard)() },
		"trim":          func(rt *rapid.T) { m.with(rt).trim() },
		"own":           func(rt *rapid.T) { m.with(rt).own() },
		"tick":          func(rt *rapid.T) { m.with(rt).tick() },
	})
	m.with(rt).settleAll()
	r.sequences++
}

func flagOfRapid(t *testing.T, name string) int {
	t.Helper()
	n, err := strconv.Atoi(flag.Lookup(name).Value.String())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wantSeen is what the sequences must come to, all together.
func wantSeen() []string {
	list := []string{
		"fact listed", "fact adjusted", "fact closed", "fact reopened", "fact event_cancelled", "fact held", "fact confirmed", "fact declined", "fact declined payment_mismatch", "fact expired",
		"fact cancelled none requested", "fact cancelled held requested", "fact cancelled confirmed requested", "fact cancelled confirmed capture_failed",
		"fact cancelled held event_cancelled", "fact cancelled confirmed event_cancelled", "stays, its event is not cancelled", "goes with its event", "went with it later",
		"list conflict", "list event_closed", "list nothing", "adjust refused", "adjust nothing",
		"closed nothing", "reopened nothing", "event cancelled nothing", "cancelled after it was closed", "reopened after it was cancelled",
		"posted", "reversed", "posted nothing",
		"dead letter requests", "dead letter log", "dead letter nothing", "redriven requests", "redriven log", "redriven nothing", "discarded requests", "discarded log", "discarded nothing",
		"trimmed", "trimmed nothing", "taken over", "kept alive", "kept alive not its own", "handed back", "left", "stayed",
	}
	for _, reason := range []string{"invalid", "too_late", "unknown_event", "unknown_section", "not_on_sale", "price_changed", "over_limit", "in_progress", "sold_out"} {
		list = append(list, "fact rejected "+reason)
	}
	return append(list,
		"purchase none authorize", "purchase none done", "purchase held authorize", "purchase held conflict", "purchase confirmed done", "purchase confirmed conflict",
		"purchase declined done", "purchase expired void", "purchase cancelled void", "purchase cancelled done", "purchase rejected done", "purchase rejected conflict",
		"hold none done", "hold held done", "hold held conflict", "hold confirmed done", "hold expired done", "hold cancelled done", "hold rejected done",
		"pay none wait", "pay held authorize", "pay held too_late", "pay confirmed done", "pay declined done", "pay expired void", "pay cancelled void",
		"pay cancelled done", "pay rejected done",
		"approved none void", "approved held done", "approved held void", "approved confirmed done", "approved declined void", "approved expired void",
		"approved cancelled void", "approved rejected void",
		"declined none done", "declined held done", "declined confirmed done", "declined declined done", "declined expired done", "declined cancelled done", "declined rejected done",
		"mismatched none done", "mismatched held done", "mismatched confirmed done", "mismatched declined done", "mismatched expired done",
		"mismatched cancelled done", "mismatched rejected done",
		"left_alone none set_aside", "left_alone held set_aside", "left_alone confirmed set_aside", "left_alone declined set_aside",
		"left_alone expired set_aside", "left_alone cancelled set_aside", "left_alone rejected set_aside", "set aside with an outcome", "held without a token",
		"unknown none void", "unknown held wait", "unknown held void", "unknown confirmed done", "unknown declined done", "unknown expired void", "unknown cancelled void", "unknown rejected done",
	)
}

var (
	modelEvents    = []string{"e1", "e2"}
	modelCustomers = []string{"fred", "mary", "jane"}
	modelOrders    = []string{"o1", "o2", "o3", "o4", "o5", "o6"}
)

// model is what Redis must hold.
type model struct {
	*fixture
	rt *rapid.T
	*ran

	book     *domain.Snapshot
	facts    []domain.Fact
	raw      map[string][]string // log entry -> its fields
	requests []domain.Entry      // in the stream
	compared int                 // so many of them, from the oldest on, were compared: an entry never changes
	pending  map[domain.Group]map[string]holder
	dead     []deadLetter
	everDead bool                       // the stream is there, though it may be empty
	alive    map[string][2]int64        // group/consumer -> until when it counts as alive: from, to
	noted    map[domain.Group]bool      // that entries had been given to workers
	sales    map[string]map[string]bool // event -> posted orders
	invoices map[string]map[string]inspect.InvoiceLine
	arrived  []arrival
}

// holder is who has a pending entry, and how often it was delivered.
type holder struct {
	consumer   string
	deliveries int64
}

// deadLetter is one as it stands in Redis.
type deadLetter struct {
	id     string
	group  domain.Group
	entry  string
	fields []string
	order  string // beside it stands a note of this letter, unless it is displaced; empty: there is none
	note   string // without the letter's id
	// displaced: newer letters have taken the place of its note, for good
	displaced bool
}

// arrival is an entry of the requests that was delivered once.
type arrival struct {
	incoming domain.Incoming
	fields   []string
}

func newModel(rt *rapid.T, base *fixture, r *ran) *model {
	f := *base
	f.T = rt
	var cancel context.CancelFunc
	f.Ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	rt.Cleanup(cancel)
	f.Do("FLUSHALL")
	f.Must(f.ledger.Accept(f.Ctx))
	m := &model{
		fixture: &f, rt: rt, ran: r, book: domain.NewSnapshot(), pending: make(map[domain.Group]map[string]holder),
		raw: make(map[string][]string), alive: make(map[string][2]int64), noted: make(map[domain.Group]bool),
		sales: make(map[string]map[string]bool), invoices: make(map[string]map[string]inspect.InvoiceLine),
	}
	for _, group := range layout.Groups {
		m.pending[group] = make(map[string]holder)
	}
	m.listWith("e1", terms(5))
	if pick(m, "another", true, true, true, false) {
		m.listWith("e2", m.drawTerms(false))
	}
	return m
}

func (m *model) with(rt *rapid.T) *model {
	m.rt, m.T = rt, rt
	return m
}

// pick draws one of the values; those that stand there twice come twice as often.
func pick[V any](m *model, label string, values ...V) V {
	return rapid.SampledFrom(values).Draw(m.rt, label)
}

func (m *model) drawRef() domain.OrderRef {
	return ref(pick(m, "event", "e1", "e1", "e1", "e1", "e1", "e1", "e1", "e2", "e2", "e2", "e2", "e2", "e3"), pick(m, "order", modelOrders...))
}

func (m *model) drawTerms(anyOrder bool) domain.Terms {
	now := m.Now()
	t := domain.Terms{
		Name: pick(m, "name", "An Evening", "Été <&>"), Currency: pick(m, "currency", "EUR", "EUR", "EUR", "EUR", "JPY"),
		MaxPerOrder:   pick[int64](m, "max_per_order", 0, 0, 2),
		OnSaleMillis:  pick(m, "on_sale", append(slices.Repeat([]int64{0}, 10), 1, now+3, now+3_600_000)...),
		OffSaleMillis: pick(m, "off_sale", append(slices.Repeat([]int64{0}, 10), now+3_700_000, now+5)...),
		Sections: []domain.SectionTerms{
			{Name: "general", Price: pick[int64](m, "price", 1000, 1000, 0, 0, 999), Capacity: pick[int64](m, "capacity", 9, 6, 6, 4, 2, 0)},
			{Name: "vip", Price: pick[int64](m, "price", 3_002_399_751_578_330, 5000), Capacity: pick[int64](m, "capacity", 2, 3, 0)},
		},
	}
	if t.OffSaleMillis != 0 && t.OffSaleMillis <= t.OnSaleMillis {
		t.OffSaleMillis = 0
	}
	if anyOrder {
		t.Sections = append(t.Sections, domain.SectionTerms{Name: "stalls", Price: 1, Capacity: 1})
		t.Sections = rapid.Permutation(t.Sections).Draw(m.rt, "sections")
		t.Sections = t.Sections[:pick(m, "sections", 3, 3, 2)]
	}
	return t
}

// sync reads what the log has got since it was read last, hands it to the groups
// of the log, and checks that it is what was decided.
func (m *model) sync(decided ...*domain.Fact) {
	m.Helper()
	facts := m.newFacts()
	decided = slices.DeleteFunc(decided, func(f *domain.Fact) bool { return f == nil })
	if len(facts) != len(decided) {
		m.Fatalf("%d new facts, want %d:\n%+v\n%+v", len(facts), len(decided), facts, decided)
	}
	for i, fact := range facts {
		want := *decided[i]
		want.ID, want.AtMillis = fact.ID, fact.AtMillis
		if !reflect.DeepEqual(fact, want) {
			m.Fatalf("fact\n%+v\nwant\n%+v", fact, want)
		}
		m.note(fact)
	}
}

// newFacts are the facts that the log has got since it was read last.
func (m *model) newFacts() (facts []domain.Fact) {
	m.Helper()
	after := "0-0"
	if len(m.facts) > 0 {
		after = m.facts[len(m.facts)-1].ID
	}
	for _, e := range layout.DecodeEntries(m.Do("XRANGE", m.Keys.Log(0), "("+after, "+")) {
		facts = append(facts, m.parse(e)...)
		m.raw[e.ID] = e.Fields
	}
	return facts
}

// note takes a new fact over that is known to be right.
func (m *model) note(fact domain.Fact) {
	m.Helper()
	m.facts = append(m.facts, fact)
	what := "fact " + string(fact.Type)
	if fact.Type == domain.FactCancelled {
		what += " " + fact.Was.String()
	}
	if fact.Reason != "" {
		what += " " + fact.Reason
	}
	m.seen[what]++
	for _, group := range logGroups {
		m.pending[group][fact.ID] = holder{"w1", 1}
	}
}

// decide folds what domain decides, and returns the facts and the verdicts. The
// times of the facts, which only Redis knows, come from the log.
func (m *model) decide(now int64, refs []domain.OrderRef, commands []domain.Command) []domain.Verdict {
	m.Helper()
	facts := m.newFacts()
	var decided []*domain.Fact
	verdicts := make([]domain.Verdict, len(refs))
	for i, command := range commands {
		customer, what := "", ""
		switch c := command.(type) {
		case domain.Hold:
			customer, what = c.Request.CustomerID, string(c.Request.Type)
		case domain.Pay:
			what = "pay"
		case domain.Resolve:
			what = outcomeName(c.Outcome)
		}
		view := m.book.View(refs[i], customer)
		var fact *domain.Fact
		fact, verdicts[i] = domain.Decide(view, refs[i], now, command)
		if what != "" {
			m.seen[what+" "+view.Order.State.String()+" "+verdicts[i].String()]++
		}
		if fact == nil {
			continue
		}
		if len(decided) == len(facts) {
			m.Fatalf("%s is not in the log:\n%+v", fact.Type, *fact)
		}
		stamped := *fact
		stamped.AtMillis = facts[len(decided)].AtMillis
		decided = append(decided, fact)
		m.Must(m.book.Fold(stamped))
	}
	m.sync(decided...)
	return verdicts
}

// expect compares replies with verdicts and with the orders as they are after the whole batch.
func (m *model) expect(replies []domain.Reply, verdicts []domain.Verdict, refs []domain.OrderRef, entryIDs []string) {
	m.Helper()
	if len(replies) != len(verdicts) {
		m.Fatalf("%d replies to %d items", len(replies), len(verdicts))
	}
	for i, r := range replies {
		if r.Verdict != verdicts[i] || r.Order != m.book.Orders[refs[i]] {
			m.Fatalf("item %d, %s: %s\n%+v\nwant %s\n%+v", i, refs[i], r.Verdict, r.Order, verdicts[i], m.book.Orders[refs[i]])
		}
		if verdicts[i] == domain.VerdictDone {
			delete(m.pending[domain.GroupWorkers], entryIDs[i])
		}
	}
}

// expectSetAside is what a resolve sets aside: the entries that are pending, each once, for
// the reason that comes with the first item that says so.
func (m *model) expectSetAside(batch []domain.Resolution, verdicts []domain.Verdict, before, after int64) {
	m.Helper()
	var want []deadLetter
	for i, r := range batch {
		if verdicts[i] != domain.VerdictSetAside {
			continue
		}
		if letter, pending := m.setAside(domain.GroupWorkers, r.EntryID, "payment_mismatch: "+r.Detail); pending {
			want = append(want, letter)
			m.seen["set aside with an outcome"]++
		}
	}
	m.foundSetAside(want, before, after)
}

// between checks that Redis decided at a time that lies between two looks at its clock.
func (m *model) between(before, now int64) {
	m.Helper()
	if after := m.Now(); now < before || now > after {
		m.Fatalf("it decided at %d, between %d and %d", now, before, after)
	}
}

// took notes an entry of the requests that was added and delivered.
func (m *model) took(id string, fields []string) {
	m.requests = append(m.requests, domain.Entry{ID: id, Fields: fields})
	m.pending[domain.GroupWorkers][id] = holder{"w1", 1}
}

func (m *model) list() {
	if !pick(m, "really", false, false, true) {
		return
	}
	id := pick(m, "event", modelEvents...)
	terms := m.drawTerms(false)
	if e := m.book.Events[id]; e.Exists() && pick(m, "the same", true, false) {
		terms = e.Terms()
	}
	m.listWith(id, terms)
}

func (m *model) listWith(id string, terms domain.Terms) {
	m.commands++
	m.Helper()
	fact, wantErr := domain.Create(m.book.Events[id], id, terms)
	created, err := m.events.Create(m.Ctx, id, terms)
	if created != (fact != nil) || errors.Is(err, domain.ErrConflict) != errors.Is(wantErr, domain.ErrConflict) || (err == nil) != (wantErr == nil) {
		m.Fatalf("listing: %v, %v, want %v, %v", created, err, fact, wantErr)
	}
	switch {
	case err != nil && domain.CodeOf(err) != domain.CodeOf(wantErr):
		m.Fatalf("listing: %v, want %v", err, wantErr)
	case err != nil:
		m.seen["list "+string(domain.CodeOf(err))]++
	case !created:
		m.seen["list nothing"]++
	}
	m.sync(fact)
	m.foldEventFact(fact)
}

func (m *model) foldEventFact(fact *domain.Fact) {
	m.Helper()
	if fact != nil {
		m.Must(m.book.Fold(m.facts[len(m.facts)-1]))
	}
}

func (m *model) adjust() {
	if !pick(m, "really", false, false, true) {
		return
	}
	id := pick(m, "event", modelEvents...)
	terms := m.book.Events[id].Terms()
	if pick(m, "change", true, true, true, false) {
		terms = m.drawTerms(true)
	}
	m.commands++
	fact, wantErr := domain.Adjust(m.book.Events[id], id, terms)
	changed, err := m.events.Adjust(m.Ctx, id, func(domain.Terms) (domain.Terms, error) { return terms, nil })
	if changed != (fact != nil) || (err == nil) != (wantErr == nil) || err != nil && domain.ClassOf(err) != domain.ClassReject {
		m.Fatalf("adjusting: %v, %v, want %v, %v", changed, err, fact, wantErr)
	}
	switch {
	case err != nil:
		m.seen["adjust refused"]++
	case fact == nil:
		m.seen["adjust nothing"]++
	}
	m.sync(fact)
	m.foldEventFact(fact)
}

// drawEvent draws one that is there, and now and then one that is not.
func (m *model) drawEvent() string { return pick(m, "event", "e1", "e1", "e2", "e2", "e9") }

// worth is how many orders of an event would be cancelled with it; confirmed ones, which are rare, count more.
func (m *model) worth(eventID string) (n int) {
	for r, o := range m.book.Orders {
		switch {
		case r.EventID != eventID:
		case o.State == domain.OrderHeld:
			n++
		case o.State == domain.OrderConfirmed:
			n += 4
		}
	}
	return n
}

// chance is true once in so many times.
func (m *model) chance(label string, in int) bool {
	return pick(m, label, slices.Concat(make([]bool, in-1), []bool{true})...)
}

// drawCause draws a good one.
func (m *model) drawCause() domain.Cause {
	return pick(m, "cause", domain.Cause{Reason: "fire | flood <&>", By: "ann"}, domain.Cause{Reason: "illness", By: "bob"})
}

func (m *model) close() {
	if !m.chance("really", 5) {
		return
	}
	id, cause := m.drawEvent(), pick(m, "silent", domain.Cause{}, m.drawCause())
	fact, wantErr := domain.Close(m.book.Events[id], id, cause)
	closed, err := m.events.Close(m.Ctx, id, cause)
	m.changed("closed", closed, err, fact, wantErr)
}

func (m *model) reopen() {
	id, cause := m.drawEvent(), pick(m, "silent", domain.Cause{}, m.drawCause())
	if e := m.book.Events[id]; !e.Closed && !m.chance("really", 8) || e.Cancelled && !pick(m, "really", true, false) {
		return
	}
	if m.book.Events[id].Cancelled {
		m.seen["reopened after it was cancelled"]++
	}
	fact, wantErr := domain.Reopen(m.book.Events[id], id, cause)
	reopened, err := m.events.Reopen(m.Ctx, id, cause)
	m.changed("reopened", reopened, err, fact, wantErr)
}

// changed compares what was done to an event with what was decided.
func (m *model) changed(what string, changed bool, err error, fact *domain.Fact, wantErr error) {
	m.Helper()
	m.commands++
	if changed != (fact != nil) || errors.Is(err, domain.ErrNotFound) != errors.Is(wantErr, domain.ErrNotFound) || (err == nil) != (wantErr == nil) {
		m.Fatalf("%s: %v, %v, want %+v, %v", what, changed, err, fact, wantErr)
	}
	if err == nil && !changed {
		m.seen[what+" nothing"]++
	}
	m.sync(fact)
	m.foldEventFact(fact)
}

// cancelEvent cancels one, and with it all its orders that are held or confirmed, in the order in which they were
// held. Sometimes another one has begun with it, and died after the first step or later.
func (m *model) cancelEvent() {
	id, cause := m.drawEvent(), m.drawCause()
	for _, other := range modelEvents {
		if m.book.Events[other].Cancelled { // somebody has begun with it
			id = other
		}
	}
	before := m.book.Events[id]
	if !before.Closed && !m.chance("really", max(1, 10/(1+m.worth(id)))) {
		return
	}
	fact, wantErr := domain.CancelEvent(before, id, cause)
	if wantErr == nil && pick(m, "dies", true, false) {
		ended, err := m.events.end(m.Ctx, domain.Fact{Type: domain.FactEventCancelled, EventID: id, Cause: cause})
		m.changed("event cancelled", ended, err, fact, nil)
		if pick(m, "in the middle", true, false) {
			m.goWithEvent()
		}
		if m.chance("nobody goes on", 4) {
			return
		}
		fact = nil
	}
	m.commands++
	got, err := m.events.Cancel(m.Ctx, id, cause, nil)
	if errors.Is(err, domain.ErrNotFound) != errors.Is(wantErr, domain.ErrNotFound) || (err == nil) != (wantErr == nil) {
		m.Fatalf("cancelling %s: %v, want %v", id, err, wantErr)
	}
	if err != nil {
		return
	}
	var decided []*domain.Fact
	facts := m.newFacts()
	fold := func(fact *domain.Fact) {
		if fact == nil {
			return
		}
		if len(decided) == len(facts) {
			m.Fatalf("%s is not in the log:\n%+v", fact.Type, *fact)
		}
		stamped := *fact
		stamped.AtMillis = facts[len(decided)].AtMillis
		decided = append(decided, fact)
		m.Must(m.book.Fold(stamped))
	}
	fold(fact)
	for _, held := range m.facts {
		if held.Type == domain.FactHeld && held.EventID == id {
			r := held.Ref()
			cancelled, _ := domain.Decide(m.book.View(r, ""), r, 0, domain.Cancel{Reason: domain.ReasonEventCancelled})
			fold(cancelled)
		}
	}
	m.sync(decided...)
	want := CancelledEvent{Before: fact == nil}
	for r, o := range m.book.Orders {
		if r.EventID == id && o.State == domain.OrderCancelled && o.Reason == domain.ReasonEventCancelled {
			if o.ConfirmedAtMillis > 0 {
				want.Confirmed++
			} else {
				want.Held++
			}
		}
	}
	if got != want {
		m.Fatalf("cancelling %s: %+v, want %+v", id, got, want)
	}
	switch {
	case fact == nil && len(decided) > 0:
		m.seen["went with it later"]++
	case fact != nil && before.Closed:
		m.seen["cancelled after it was closed"]++
	}
}

// goWithEvent asks to cancel any orders because of their events, cancelled or not.
func (m *model) goWithEvent() {
	m.commands++
	refs := make([]domain.OrderRef, pick(m, "items", 1, 2, 3))
	commands := make([]domain.Command, len(refs))
	var left []domain.OrderRef // of cancelled events
	for r, o := range m.book.Orders {
		if m.book.Events[r.EventID].Cancelled && (o.State == domain.OrderHeld || o.State == domain.OrderConfirmed) {
			left = append(left, r)
		}
	}
	slices.SortFunc(left, func(a, b domain.OrderRef) int { return cmp.Compare(a.String(), b.String()) })
	for i := range refs {
		refs[i], commands[i] = m.drawKnown(), domain.Cancel{Reason: domain.ReasonEventCancelled}
		if len(left) > 0 && (i == 0 || pick(m, "left", true, false)) {
			refs[i] = pick(m, "order", left...)
		}
		if o := m.book.Orders[refs[i]]; o.State != domain.OrderHeld && o.State != domain.OrderConfirmed {
			continue
		} else if m.book.Events[refs[i].EventID].Cancelled {
			m.seen["goes with its event"]++
		} else {
			m.seen["stays, its event is not cancelled"]++
		}
	}
	var replies []domain.Reply
	m.Must(m.ledger.changeOrders(m.Ctx, 0, cancelWithEvent, refs, func(_ domain.OrderRef, o domain.Order) {
		replies = append(replies, domain.Reply{Order: o})
	}))
	m.expect(replies, m.decide(0, refs, commands), refs, make([]string, len(refs)))
}

func (m *model) drawRequest() []string {
	kind := pick(m, "type", "purchase", "purchase", "hold", "hold", "pay", "pay")
	if kind == "pay" {
		r := m.drawKnown()
		return request("pay", r.EventID, r.OrderID)
	}
	r := m.drawRef()
	if m.chance("known", 5) { // and most probably another body
		r = m.drawKnown()
	}
	fields := []string{"v", "1", "type", kind, "event_id", r.EventID, "order_id", r.OrderID, "customer_id", pick(m, "customer", modelCustomers...)}
	fields = append(fields, "quantity", pick(m, "quantity", "1", "1", "1", "1", "1", "1", "1", "2", "2", "3", "3", "3", "6", "0"))
	if section := pick(m, "section", "", "", "", "", "general", "vip", "vip", "balcony"); section != "" {
		fields = append(fields, "section", section)
	}
	if price := pick(m, "unit_price", "", "", "", "", "", "", "1000", "999"); price != "" {
		fields = append(fields, "unit_price", price)
	}
	if kind == "purchase" && pick(m, "token", true, true, true, false) {
		fields = append(fields, "payment_token", "tok")
	}
	return fields
}

func (m *model) hold() {
	m.commands++
	before := m.Now()
	var batch []domain.Incoming
	var fresh [][]string
	for range pick(m, "items", 1, 2, 3, 4, 5) {
		switch how := pick(m, "how", "new", "new", "new", "resubmitted", "resubmitted", "redelivered"); {
		case how == "redelivered" && len(m.arrived) > 0:
			batch = append(batch, m.drawArrival().incoming)
		case how == "resubmitted" && len(m.arrived) > 0:
			fresh = append(fresh, m.drawArrival().fields)
		default:
			fresh = append(fresh, m.drawRequest())
		}
	}
	for i, a := range m.arrive(fresh...) {
		a.HoldMillis = pick[int64](m, "hold", holdMillis, holdMillis, holdMillis, 0, 1, 3)
		a.ValidMillis = pick[int64](m, "valid", append(slices.Repeat([]int64{validMillis}, 16), 1, -1)...)
		if a.Request.Type == domain.RequestPay {
			a.ValidMillis = pick[int64](m, "valid", validMillis, validMillis, 1, -1)
		}
		m.arrived = append(m.arrived, arrival{a, fresh[i]})
		m.took(a.EntryID, fresh[i])
		batch = append(batch, a)
	}
	replies, now, err := m.ledger.Hold(m.Ctx, 0, batch)
	m.Must(err)
	m.between(before, now)
	refs, commands, entryIDs := make([]domain.OrderRef, len(batch)), make([]domain.Command, len(batch)), make([]string, len(batch))
	for i, a := range batch {
		refs[i], entryIDs[i] = a.Request.Ref(), a.EntryID
		commands[i] = domain.Hold{
			Request: a.Request, Invalid: a.Invalid, NoToken: a.NoToken, EntryMillis: domain.EntryMillis(a.EntryID), ValidMillis: a.ValidMillis, HoldMillis: a.HoldMillis,
		}
		if a.Request.Type == domain.RequestPay {
			commands[i] = domain.Pay{EntryMillis: domain.EntryMillis(a.EntryID), ValidMillis: a.ValidMillis}
		}
	}
	m.expect(replies, m.decide(now, refs, commands), refs, entryIDs)
	for i, a := range batch {
		if a.NoToken && m.book.Orders[refs[i]].State == domain.OrderHeld && m.book.Orders[refs[i]].Free() {
			m.seen["held without a token"]++
		}
	}
}

// drawKnown draws a state among those that there are, and an order in it; now and then any order.
func (m *model) drawKnown() domain.OrderRef {
	byState := make(map[domain.OrderState][]domain.OrderRef)
	for r, o := range m.book.Orders {
		byState[o.State] = append(byState[o.State], r)
	}
	states := slices.Sorted(maps.Keys(byState))
	if len(states) == 0 || !pick(m, "known", true, true, true, false) {
		return m.drawRef()
	}
	refs := byState[pick(m, "state", states...)]
	slices.SortFunc(refs, func(a, b domain.OrderRef) int { return cmp.Compare(a.String(), b.String()) })
	return pick(m, "order", refs...)
}

// drawArrival draws an entry that came before, about an order in a drawn state if there is one.
func (m *model) drawArrival() arrival {
	about := m.drawKnown()
	matching := slices.DeleteFunc(slices.Clone(m.arrived), func(a arrival) bool { return a.incoming.Request.Ref() != about })
	if len(matching) == 0 {
		matching = m.arrived
	}
	return pick(m, "arrival", matching...)
}

// drawEntry draws a pending entry of a group, or none.
func (m *model) drawEntry(group domain.Group) string {
	ids := slices.Sorted(maps.Keys(m.pending[group]))
	return pick(m, "entry", append(ids, "")...)
}

func (m *model) resolve() {
	m.commands++
	before := m.Now()
	batch := make([]domain.Resolution, pick(m, "items", 1, 2, 3, 4, 5))
	refs, commands, entryIDs := make([]domain.OrderRef, len(batch)), make([]domain.Command, len(batch)), make([]string, len(batch))
	for i := range batch {
		refs[i], entryIDs[i] = m.drawKnown(), m.drawEntry(domain.GroupWorkers)
		outcome := pick(m, "outcome", domain.PaymentApproved, domain.PaymentApproved, domain.PaymentDeclined, domain.PaymentUnknown, domain.PaymentUnknown,
			domain.PaymentMismatched, domain.PaymentLeftAlone)
		batch[i] = domain.Resolution{EntryID: entryIDs[i], Ref: refs[i], Outcome: outcome}
		switch outcome {
		case domain.PaymentApproved:
			batch[i].AuthorizationID = "auth_" + strconv.Itoa(len(m.facts)) + "." + strconv.Itoa(i)
		case domain.PaymentMismatched, domain.PaymentLeftAlone:
			batch[i].Detail = pick(m, "detail", "", "amount 5 instead of 1000", "customer_id a instead of b, "+strconv.Itoa(i))
		}
		commands[i] = domain.Resolve{Outcome: outcome, AuthorizationID: batch[i].AuthorizationID, Detail: batch[i].Detail}
	}
	replies, now, err := m.ledger.Resolve(m.Ctx, 0, batch)
	m.Must(err)
	after := m.Now()
	m.between(before, now)
	verdicts := m.decide(now, refs, commands)
	m.expectSetAside(batch, verdicts, before, after)
	m.expect(replies, verdicts, refs, entryIDs)
}

func (m *model) cancel() {
	m.cancelAs(domain.GroupWorkers, domain.ReasonRequested, m.ledger.Cancel)
}

func (m *model) captureFailed() {
	m.cancelAs(domain.GroupSettlement, domain.ReasonCaptureFailed, m.ledger.CaptureFailed)
}

func (m *model) cancelAs(group domain.Group, reason string, do func(context.Context, int, []domain.Cancellation) error) {
	m.Helper()
	m.commands++
	batch := make([]domain.Cancellation, pick(m, "items", 1, 1, 2, 3))
	refs, commands := make([]domain.OrderRef, len(batch)), make([]domain.Command, len(batch))
	for i := range batch {
		batch[i] = domain.Cancellation{EntryID: m.drawEntry(group), Ref: m.drawKnown()}
		refs[i], commands[i] = batch[i].Ref, domain.Cancel{Reason: reason}
	}
	m.deliverFacts()
	m.Must(do(m.Ctx, 0, batch))
	m.decide(0, refs, commands) // a cancel does not ask for the time
	for _, c := range batch {
		delete(m.pending[group], c.EntryID)
	}
}

// expire is what maintenance does: find what is due, and end it.
func (m *model) expire() {
	m.commands++
	before, most := m.Now(), pick(m, "most", 100, 100, 1, 2)
	n, err := m.ledger.Expire(m.Ctx, 0, most)
	m.Must(err)
	after := m.Now()
	latest, count := int64(0), 0
	for _, fact := range m.newFacts() {
		o := m.book.Orders[fact.Ref()]
		decided, _ := domain.Decide(m.book.View(fact.Ref(), ""), fact.Ref(), after, domain.Expire{})
		if decided == nil || decided.Type != fact.Type || o.DeadlineMillis < latest {
			m.Fatalf("%+v of an order until %d, at %d, after one until %d", fact, o.DeadlineMillis, after, latest)
		}
		latest, count = o.DeadlineMillis, count+1
		m.Must(m.book.Fold(fact))
		m.note(fact)
	}
	if n != count || n > most {
		m.Fatalf("%d expired, it says %d of at most %d", count, n, most)
	}
	for r, o := range m.book.Orders {
		if o.State == domain.OrderHeld && o.DeadlineMillis <= before && (n < most || o.DeadlineMillis < latest) {
			m.Fatalf("%s was due at %d and is still held at %d", r, o.DeadlineMillis, before)
		}
	}
}

// expireThese asks the script about any orders, due or not.
func (m *model) expireThese() {
	m.commands++
	before := m.Now()
	refs := make([]domain.OrderRef, pick(m, "items", 1, 2, 3, 4, 5))
	commands := make([]domain.Command, len(refs))
	for i := range refs {
		refs[i], commands[i] = m.drawKnown(), domain.Expire{}
	}
	replies, now, err := m.ledger.runOrders(m.Ctx, 0, m.expireBatch(refs...))
	m.Must(err)
	m.between(before, now)
	m.expect(replies, m.decide(now, refs, commands), refs, make([]string, len(refs)))
}

// logGroups are those that read the log.
var logGroups = [...]domain.Group{domain.GroupPosting, domain.GroupSettlement}

// deliverFacts hands what is new in the log to the groups that read it.
func (m *model) deliverFacts() {
	m.Helper()
	for _, group := range logGroups {
		m.Deliver(group, "w1")
	}
}

func (m *model) post() {
	if len(m.facts) == 0 {
		return
	}
	m.deliverFacts()
	if pick(m, "all", true, true, false) {
		m.postFacts(m.facts)
		return
	}
	batch := make([]domain.Fact, pick(m, "facts", 1, 3, 6))
	for i := range batch {
		batch[i] = pick(m, "fact", m.facts...)
	}
	m.postFacts(batch)
}

// postFacts posts facts, and tells by what they say, and what the orders are now, what must be in the books then.
func (m *model) postFacts(batch []domain.Fact) {
	m.commands++
	m.Helper()
	m.Must(m.ledger.Post(m.Ctx, 0, batch))
	for _, fact := range batch {
		delete(m.pending[domain.GroupPosting], fact.ID)
		confirmed, reversal := fact.Type == domain.FactConfirmed, fact.Type == domain.FactCancelled && fact.Was == domain.OrderConfirmed
		if !confirmed && !reversal {
			m.seen["posted nothing"]++
			continue
		}
		lines, posted := m.invoices[fact.CustomerID], m.sales[fact.EventID]
		if lines == nil {
			lines = make(map[string]inspect.InvoiceLine)
			m.invoices[fact.CustomerID] = lines
		}
		if posted == nil {
			posted = make(map[string]bool)
			m.sales[fact.EventID] = posted
		}
		o := m.book.Orders[fact.Ref()]
		line := inspect.InvoiceLine{
			OrderID: fact.OrderID, EventID: fact.EventID, Section: o.Section, Quantity: o.Quantity, Amount: o.Amount(), Currency: o.Currency,
			ConfirmedAtMillis: o.ConfirmedAtMillis, Status: "confirmed",
		}
		switch {
		case reversal:
			line.Status = "cancelled"
			lines[fact.Ref().String()] = line
			if posted[fact.OrderID] {
				m.seen["reversed"]++
			}
			delete(posted, fact.OrderID)
		case lines[fact.Ref().String()].Status == "":
			lines[fact.Ref().String()] = line
			fallthrough
		default:
			if o.State == domain.OrderConfirmed {
				posted[fact.OrderID] = true
				m.seen["posted"]++
			}
		}
	}
}

func (m *model) acknowledge() {
	group := pick(m, "group", domain.GroupWorkers, domain.GroupPosting, domain.GroupSettlement)
	m.deliverFacts()
	if id := m.drawEntry(group); id != "" {
		m.commands++
		m.Must(m.queue(group, "w1").Ack(m.Ctx, []string{id}))
		delete(m.pending[group], id)
	}
}

// drawEntries draws pending entries of a group, and now and then one that is not.
func (m *model) drawEntries(group domain.Group) []string {
	list := make([]string, pick(m, "items", 1, 2, 3))
	for i := range list {
		if list[i] = m.drawEntry(group); list[i] == "" {
			list[i] = "1-1" // was never there
		}
	}
	return list
}

func (m *model) drawGroup() domain.Group {
	m.deliverFacts()
	return pick(m, "group", layout.Groups[:]...)
}

// deadLetter sets entries aside: those that are pending, and each once.
func (m *model) deadLetter() {
	m.commands++
	group := m.drawGroup()
	batch, want := []domain.DeadEntry{}, []deadLetter{}
	_, name := m.Keys.StreamOf(0, group)
	for _, id := range m.drawEntries(group) {
		batch = append(batch, domain.DeadEntry{ID: id, Reason: "because " + id})
		letter, pending := m.setAside(group, id, "because "+id)
		if !pending {
			m.seen["dead letter nothing"]++
			continue
		}
		m.seen["dead letter "+name]++
		if name == layout.StreamRequests {
			fields, err := layout.ParseNetstrings(letter.fields[13])
			m.Must(err)
			request, err := wire.ParseRequest(fields)
			if err != nil && domain.ClassOf(err) != domain.ClassReject {
				m.Fatal(err)
			}
			letter.order, letter.note = request.Ref().String(), fmt.Sprintf("%s %s because %s", id, request.Type, id)
			letter.fields = append(letter.fields, "order", letter.order)
		}
		want = append(want, letter)
	}
	before := m.Now()
	m.Must(m.queue(group, "w1").DeadLetter(m.Ctx, batch))
	m.foundSetAside(want, before, m.Now())
}

// setAside is the letter that becomes of a pending entry, but for its name and its time, which are Redis's.
func (m *model) setAside(group domain.Group, id, reason string) (letter deadLetter, pending bool) {
	held, pending := m.pending[group][id]
	if !pending {
		return deadLetter{}, false
	}
	delete(m.pending[group], id)
	_, name := m.Keys.StreamOf(0, group)
	fields := m.raw[id]
	if name == layout.StreamRequests {
		fields = m.requests[slices.IndexFunc(m.requests, func(e domain.Entry) bool { return e.ID == id })].Fields
	}
	return deadLetter{group: group, entry: id, fields: []string{
		"stream", name, "group", string(group), "entry_id", id, "reason", reason,
		"deliveries", strconv.FormatInt(held.deliveries, 10), "at", "", "fields", streamstest.Netstrings(fields),
	}}, true
}

// foundSetAside takes over the letters that must be new.
func (m *model) foundSetAside(want []deadLetter, before, after int64) {
	m.Helper()
	m.everDead = m.everDead || len(want) > 0
	found := layout.DecodeEntries(m.Do("XRANGE", m.Keys.Dead(0), "-", "+"))
	if len(found) != len(m.dead)+len(want) {
		m.Fatalf("%d dead letters, want %d", len(found), len(m.dead)+len(want))
	}
	for i, letter := range want {
		e := found[len(m.dead)]
		letter.id = e.ID
		if at, err := strconv.ParseInt(e.Fields[11], 10, 64); err != nil || at < before || at > after {
			m.Fatalf("letter %d is of %q, between %d and %d", i, e.Fields[11], before, after)
		}
		letter.fields[11] = e.Fields[11]
		m.dead = append(m.dead, letter)
		m.displace(letter.order)
	}
}

// displace takes the oldest of an order's notes away if there are too many.
func (m *model) displace(order string) {
	oldest, count := -1, 0
	for i, letter := range m.dead {
		if letter.order != order || letter.displaced {
			continue
		}
		if oldest < 0 {
			oldest = i
		}
		count++
	}
	if order != "" && count > 32 {
		m.dead[oldest].displaced = true
	}
}

// redrive gives a dead letter back: a request as a new entry, a fact as a pending one.
func (m *model) redrive() {
	m.commands++
	if len(m.dead) == 0 {
		if _, err := m.redriveLetter("0:1-1"); !errors.Is(err, domain.ErrNotFound) {
			m.Fatalf("redriving what is not there: %v", err)
		}
		m.seen["redriven nothing"]++
		return
	}
	letters := make([]int, len(m.dead))
	for i := range letters {
		letters[i] = i
	}
	i := pick(m, "letter", letters...)
	letter := m.dead[i]
	id, err := m.redriveLetter("0:" + letter.id)
	m.Must(err)
	m.dead = slices.Delete(m.dead, i, i+1)
	if letter.group != domain.GroupWorkers {
		if id != letter.entry {
			m.Fatalf("fact %s was given back as %s", letter.entry, id)
		}
		m.pending[letter.group][id] = holder{"redrive", 1}
		m.seen["redriven log"]++
		return
	}
	fields, err := layout.ParseNetstrings(letter.fields[13])
	m.Must(err)
	m.seen["redriven requests"]++
	m.arrivesAgain(id, fields)
}

// discard removes a dead letter.
func (m *model) discard() {
	m.commands++
	if len(m.dead) == 0 || pick(m, "another", false, false, true) {
		if err := m.inspector.Discard(m.Ctx, "0:1-1")[0].Err; !errors.Is(err, domain.ErrNotFound) {
			m.Fatalf("discarding what is not there: %v", err)
		}
		m.seen["discarded nothing"]++
		return
	}
	i := rapid.IntRange(0, len(m.dead)-1).Draw(m.rt, "letter")
	m.Must(m.inspector.Discard(m.Ctx, "0:"+m.dead[i].id)[0].Err)
	m.seen["discarded "+m.dead[i].fields[1]]++
	m.dead = slices.Delete(m.dead, i, i+1)
}

// trim drops the requests that are done with: never one that is pending, or that nobody has got yet.
func (m *model) trim() {
	m.commands++
	unread := ""
	var fields []string
	if pick(m, "unread", true, false) {
		fields = m.drawRequest()
		unread = m.Publish(fields)
	}
	oldest := unread
	for _, e := range m.requests {
		if _, pending := m.pending[domain.GroupWorkers][e.ID]; pending {
			oldest = e.ID
			break
		}
	}
	gone := len(m.requests)
	if keep := slices.IndexFunc(m.requests, func(e domain.Entry) bool { return e.ID == oldest }); keep >= 0 {
		gone = keep
	}
	dropped, err := m.ledger.Trim(m.Ctx, 0)
	m.Must(err)
	if dropped != int64(gone) {
		m.Fatalf("trimmed %d requests, want %d", dropped, gone)
	}
	m.requests, m.compared = slices.Clone(m.requests[gone:]), max(0, m.compared-gone)
	m.seen[map[bool]string{true: "trimmed", false: "trimmed nothing"}[gone > 0]]++
	if unread != "" {
		m.arrivesAgain(unread, fields)
	}
}

// arrivesAgain delivers an entry that was added to the requests.
func (m *model) arrivesAgain(id string, fields []string) {
	m.Helper()
	if got := ids(m.Deliver(domain.GroupWorkers, "w1")); !slices.Equal(got, []string{id}) {
		m.Fatalf("delivered %v, want %s", got, id)
	}
	m.took(id, fields)
	m.arrived = append(m.arrived, arrival{m.incoming(id, fields), fields})
}

// own changes whose the entries are, and who there is.
func (m *model) own() {
	pick(m, "what", m.takeOver, m.keepAlive, m.handBack, m.leave)()
}

// takeOver claims entries for another worker, as a reclaim does.
func (m *model) takeOver() {
	m.commands++
	group, by := m.drawGroup(), pick(m, "by", "w1", "w2")
	stream, _ := m.Keys.StreamOf(0, group)
	for _, id := range m.drawEntries(group) {
		m.Do("XCLAIM", stream, string(group), by, 0, id)
		if held, pending := m.pending[group][id]; pending {
			m.pending[group][id] = holder{by, held.deliveries + 1}
			m.seen["taken over"]++
		}
	}
}

func (m *model) keepAlive() {
	m.commands++
	group, by := m.drawGroup(), pick(m, "by", "w1", "w2")
	asked, aliveFor := m.drawEntries(group), pick(m, "alive for", 0, time.Hour)
	var want []string
	for _, id := range asked {
		if m.pending[group][id].consumer == by {
			m.seen["kept alive"]++
			m.noted[group] = true
		} else {
			want = append(want, id)
			m.seen["kept alive not its own"]++
		}
	}
	before := m.Now()
	lost, err := m.queue(group, by).KeepAlive(m.Ctx, asked, aliveFor)
	m.Must(err)
	if !slices.Equal(lost, want) {
		m.Fatalf("of %v, %s has lost %v, want %v", asked, by, lost, want)
	}
	m.alive[string(group)+"/"+by] = [2]int64{before + aliveFor.Milliseconds(), m.Now() + aliveFor.Milliseconds()}
}

func (m *model) handBack() {
	m.commands++
	group, by := m.drawGroup(), pick(m, "by", "w1", "w2")
	list := m.drawEntries(group)
	m.Must(m.queue(group, by).HandBack(m.Ctx, list))
	for _, id := range list {
		if m.pending[group][id].consumer == by {
			m.seen["handed back"]++
			if e := m.entry(group, id); e.Idle < 24*time.Hour {
				m.Fatalf("%s was handed back and is idle for %s", id, e.Idle)
			}
		}
	}
}

// leave removes a consumer that has nothing; one that does not ask itself, only if it is not alive.
func (m *model) leave() {
	m.commands++
	group, who, self := m.drawGroup(), pick(m, "who", "w1", "w2"), pick(m, "self", true, false)
	name := string(group) + "/" + who
	has := false
	for _, held := range m.pending[group] {
		has = has || held.consumer == who
	}
	want := !has && (self || m.alive[name][0] <= m.Now())
	before := m.Now()
	gone, err := m.store.leave(m.Ctx, 0, group, who, self)
	m.Must(err)
	if gone != want {
		m.Fatalf("%s left %s: %v, want %v", who, group, gone, want)
	}
	switch {
	case gone:
		delete(m.alive, name)
	case self: // known as one that was alive until now, to be forgotten once others have what is pending
		m.alive[name] = [2]int64{before, m.Now()}
	}
	m.seen[map[bool]string{true: "left", false: "stayed"}[gone]]++
	if gone && slices.Contains(m.consumers(group), who) {
		m.Fatalf("%s left %s and is still there", who, group)
	}
}

func sameEntry(a, b domain.Entry) bool { return a.ID == b.ID && slices.Equal(a.Fields, b.Fields) }

func (m *model) compareAlive(got []redis.Z) {
	m.Helper()
	if len(got) != len(m.alive) {
		m.Fatalf("alive: %v, want %v", got, m.alive)
	}
	for _, z := range got {
		if until, known := m.alive[layout.AsString(z.Member)]; !known || int64(z.Score) < until[0] || int64(z.Score) > until[1] {
			m.Fatalf("alive: %v, want %v", got, m.alive)
		}
	}
}

// compareNotes: each group of which something was kept alive has notes, and what they say of an
// entry is never that it was in hand for longer than it has been there.
func (m *model) compareNotes(notes map[string]string, nowMillis int64) {
	m.Helper()
	if len(notes) != len(m.noted) {
		m.Fatalf("notes: %v, want some of %v", notes, m.noted)
	}
	for group, note := range notes {
		for id := range m.pending[domain.Group(group)] {
			if by := layout.DeliveredBy(note, id, nowMillis); !m.noted[domain.Group(group)] || by < domain.EntryMillis(id)-1 || by > nowMillis { // the clock in an id may be a millisecond ahead of that of scripts
				m.Fatalf("%s of %s: delivered by %d, it is %d, noted is %q", id, group, by, nowMillis, note)
			}
		}
	}
}

func (m *model) compareDead(got []domain.Entry) {
	m.Helper()
	if !slices.EqualFunc(got, m.dead, func(e domain.Entry, d deadLetter) bool { return e.ID == d.id && slices.Equal(e.Fields, d.fields) }) {
		m.Fatalf("dead letters:\n%v\nwant\n%v", got, m.dead)
	}
}

// tick lets the shortest hold run out.
func (m *model) tick() {
	now, next := m.Now(), int64(0)
	for _, o := range m.book.Orders {
		if o.State == domain.OrderHeld && o.DeadlineMillis < now+100 && o.DeadlineMillis > next {
			next = o.DeadlineMillis
		}
	}
	m.WaitUntil(max(now+1, next))
}

// settleAll posts all that happened, in one go: I3 when all is quiet. And the log,
// read from its start, gives what is stored: I7.
func (m *model) settleAll() {
	m.Helper()
	m.deliverFacts()
	m.postFacts(m.facts)
	m.compare()
	for r, o := range m.book.Orders {
		if posted := m.sales[r.EventID][r.OrderID]; posted != (o.State == domain.OrderConfirmed) {
			m.Fatalf("%s is %s; posted: %v", r, o.State, posted)
		}
		status := m.invoices[o.CustomerID][r.String()].Status
		if want := map[bool]string{true: "confirmed", false: "cancelled"}[o.State == domain.OrderConfirmed]; o.ConfirmedAtMillis > 0 && status != want || o.ConfirmedAtMillis == 0 && status != "" {
			m.Fatalf("%s is %s; its invoice line: %q", r, o.State, status)
		}
	}
	if len(m.pending[domain.GroupPosting]) != 0 {
		m.Fatalf("all was posted, but %v is pending", m.pending[domain.GroupPosting])
	}
	m.wantLogFolds()
	if folded := m.fold(); !reflect.DeepEqual(folded.Events, m.book.Events) || !maps.Equal(folded.Orders, m.book.Orders) {
		m.Fatalf("the log folds to\n%+v\nthe model is\n%+v", folded, m.book)
	}
}

// compare reads everything that is in Redis, in one step, and compares it with the model.
func (m *model) compare() {
	m.Helper()
	m.comparisons++
	want := m.expected()
	names := slices.Sorted(maps.Keys(want))
	pipe := m.Client.TxPipeline()
	for _, group := range logGroups { // as deliverFacts, in the same round trip
		pipe.Do(m.Ctx, "XREADGROUP", "GROUP", string(group), "w1", "COUNT", 100_000, "STREAMS", m.Keys.Log(0), ">")
	}
	all := pipe.Keys(m.Ctx, "*")
	hashes, sets := make(map[string]*redis.MapStringStringCmd), make(map[string]*redis.StringSliceCmd)
	strings := make(map[string]*redis.StringCmd)
	for _, name := range names {
		switch want[name].(type) {
		case map[string]string:
			hashes[name] = pipe.HGetAll(m.Ctx, name)
		case []string:
			sets[name] = pipe.SMembers(m.Ctx, name)
		case string:
			strings[name] = pipe.Get(m.Ctx, name)
		}
	}
	holds, alive := pipe.ZRangeWithScores(m.Ctx, m.Keys.Holds(0), 0, -1), pipe.ZRangeWithScores(m.Ctx, m.Keys.Consumers(0), 0, -1)
	notes, now := pipe.HGetAll(m.Ctx, m.Keys.Delivered(0)), pipe.Time(m.Ctx)
	after := "-"
	if m.compared > 0 {
		after = "(" + m.requests[m.compared-1].ID
	}
	requests, length := pipe.Do(m.Ctx, "XRANGE", m.Keys.Requests(0), after, "+"), pipe.XLen(m.Ctx, m.Keys.Requests(0))
	dead := pipe.Do(m.Ctx, "XRANGE", m.Keys.Dead(0), "-", "+")
	facts := pipe.XLen(m.Ctx, m.Keys.Log(0))
	pending := make(map[domain.Group]*redis.XPendingExtCmd)
	for _, group := range layout.Groups {
		stream, _ := m.Keys.StreamOf(0, group)
		pending[group] = pipe.XPendingExt(m.Ctx, &redis.XPendingExtArgs{Stream: stream, Group: string(group), Start: "-", End: "+", Count: 100_000})
	}
	cmds, err := pipe.Exec(m.Ctx)
	if err != nil && !access.IsNil(err) {
		m.Fatal(err)
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !access.IsNil(err) {
			m.Fatalf("%v: %v", cmd.Args(), err)
		}
	}

	got := make(map[string]any)
	for _, name := range all.Val() {
		got[name] = nil
	}
	for name, cmd := range hashes {
		h := cmd.Val()
		if name == m.Keys.InProgress(0, "e1") || name == m.Keys.InProgress(0, "e2") {
			delete(h, layout.SlotsNote)
		}
		if _, there := got[name]; there {
			got[name] = h
		}
	}
	for name, cmd := range sets {
		if _, there := got[name]; there {
			got[name] = slices.Sorted(slices.Values(cmd.Val()))
		}
	}
	for name, cmd := range strings {
		if _, there := got[name]; there {
			got[name] = cmd.Val()
		}
	}
	if len(holds.Val()) > 0 {
		deadlines := make(map[string]int64)
		for _, z := range holds.Val() {
			deadlines[layout.AsString(z.Member)] = int64(z.Score)
		}
		got[m.Keys.Holds(0)] = deadlines
	}
	if got[m.Keys.Consumers(0)] = nil; len(alive.Val()) == 0 {
		delete(got, m.Keys.Consumers(0))
	}
	m.compareAlive(alive.Val())
	m.compareNotes(notes.Val(), now.Val().UnixMilli())
	delete(got, m.Keys.Delivered(0))
	if entries := layout.DecodeEntries(requests.Val()); !slices.EqualFunc(entries, m.requests[m.compared:], sameEntry) || length.Val() != int64(len(m.requests)) {
		m.Fatalf("there are %d requests, the last of them\n%v\nwant %d, the last of them\n%v", length.Val(), entries, len(m.requests), m.requests[m.compared:])
	}
	m.compared = len(m.requests)
	if facts.Val() != int64(len(m.raw)) {
		m.Fatalf("%d entries in the log, want %d", facts.Val(), len(m.raw))
	}
	m.compareDead(layout.DecodeEntries(dead.Val()))
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, known := want[name]; !known {
			m.Fatalf("%s should not be there", name)
		}
	}
	for name, content := range want {
		if !reflect.DeepEqual(got[name], content) {
			m.Fatalf("%s is\n%v\nwant\n%v", name, got[name], content)
		}
	}
	for group, cmd := range pending {
		entries := make(map[string]holder)
		for _, e := range cmd.Val() {
			entries[e.ID] = holder{e.Consumer, e.RetryCount}
		}
		if !maps.Equal(entries, m.pending[group]) {
			m.Fatalf("pending for %s: %v, want %v", group, entries, m.pending[group])
		}
	}
}

// expected is every key there must be, with what is in it: hashes, sets and
// strings as they stand in Redis; nil for the streams, and for meta, which are compared elsewhere.
func (m *model) expected() map[string]any {
	want := map[string]any{layout.MetaKey(m.Keys.Namespace): nil, m.Keys.Requests(0): nil, m.Keys.Log(0): nil}
	if m.everDead {
		want[m.Keys.Dead(0)] = nil
	}
	if len(m.alive) > 0 {
		want[m.Keys.Consumers(0)] = nil
	}
	notes, displaced := make(map[string]string), make(map[string]int)
	for _, letter := range m.dead {
		if letter.displaced {
			displaced[letter.order]++
			notes[letter.order] = fmt.Sprintf("displaced %d", displaced[letter.order])
		}
		if letter.order == "" || letter.displaced {
			continue
		}
		if notes[letter.order] != "" {
			notes[letter.order] += "\n"
		}
		notes[letter.order] += "0:" + letter.id + " " + letter.note
	}
	if len(notes) > 0 {
		want[m.Keys.SetAside(0)] = notes
	}
	summary := make(map[string]string)
	for id, e := range m.book.Events {
		m.Must(e.CheckConservation())
		want[m.Keys.Event(0, id)] = streamstest.EncodeEvent(e)
		slots := map[string]string{}
		maps.Copy(slots, m.book.InProgress[id])
		want[m.Keys.InProgress(0, id)] = slots

		var totals inspect.Totals
		for order := range m.sales[id] {
			o := m.book.Orders[ref(id, order)]
			totals.Orders++
			totals.TicketsSold += o.Quantity
			totals.Revenue += o.Amount()
		}
		summary[id] = fmt.Sprintf("%d,%d,%d", totals.Orders, totals.TicketsSold, totals.Revenue)
		if len(m.sales[id]) > 0 {
			want[m.Keys.Sales(0, id)] = slices.Sorted(maps.Keys(m.sales[id]))
		}
	}
	if len(summary) > 0 {
		want[m.Keys.SalesSummary(0)] = summary
	}
	deadlines := make(map[string]int64)
	for r, o := range m.book.Orders {
		want[m.Keys.Order(0, r)] = streamstest.EncodeOrder(o)
		if o.State == domain.OrderHeld {
			deadlines[r.String()] = o.DeadlineMillis
		}
	}
	if len(deadlines) > 0 {
		want[m.Keys.Holds(0)] = deadlines
	}
	for customer, lines := range m.invoices {
		h := make(map[string]string)
		for name, line := range lines {
			h[name] = fmt.Sprintf(`{"section":"%s","quantity":%d,"amount":%d,"currency":"%s","confirmed_at":%d,"status":"%s"}`,
				line.Section, line.Quantity, line.Amount, line.Currency, line.ConfirmedAtMillis, line.Status)
		}
		want[m.Keys.Invoices(customer)] = h
	}
	return want
}
