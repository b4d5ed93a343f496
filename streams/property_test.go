package streams

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/domain/wire"
	"holdfast/e2e/torture"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/reference"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/redistest"
)

// TestTortureScriptsFollowTheRules drives random sequences of commands through the ledger on a real Redis, and
// beside it through package domain (Decide and Fold) and through a second opinion that knows nothing of domain
// (package reference), and compares everything after each command: verdicts, replies, the facts in the log, what
// it folds to, the requests, every other key that there is, who has which entry and how often it was
// delivered, and what is set aside.
//
// Some commands come with an order as it was before, which must change nothing that is not so any more; and now and
// then the clock goes back, and many changes are of one millisecond.
//
// The sequences are shared out to several servers, for most of the time of one
// goes into waiting for replies. More sequences, or longer ones:
// go test ./streams -run FollowTheRules -rapid.checks 20000 -rapid.steps 50
func TestTortureScriptsFollowTheRules(t *testing.T) {
	tally := torture.Begin(t, 9, "random commands through the ledger, domain and a second opinion, all of the state compared after each")
	seed := torture.Seed(t)
	checks, enough := flagOfRapid(t, "rapid.checks"), sequences()
	all := ran{seen: make(map[string]int)}
	// A slice may come to nothing of what is rare: then it goes on, with the sequences behind.
	for round := range torture.Size(mostRounds, 1) {
		all.follow(t, seed, round*checks)
		if t.Failed() || checks*shards < enough || len(all.missed()) == 0 {
			break
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
	for _, what := range all.missed() {
		t.Errorf("none of the sequences came to %q", what) // what they came to is logged above
	}
}

// mostRounds is how often a slice of sequences goes on at most.
const mostRounds = 5

// missed is what the sequences never came to, and should.
func (r *ran) missed() []string {
	return slices.DeleteFunc(wantSeen(), func(what string) bool { return r.seen[what] > 0 })
}

// follow runs sequences on several servers, behind so many of each.
func (r *ran) follow(t *testing.T, seed uint64, behind int) {
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
				if err := flag.Set("rapid.seed", strconv.FormatUint(seed^uint64(i)<<48+uint64(behind), 10)); err != nil { //nolint:gosec // a count
					t.Fatal(err)
				}
				rapid.Check(t, func(rt *rapid.T) {
					begun()
					sequence(rt, base, r)
				})
			})
		}
	})
	for i := range done {
		one := &done[i]
		r.sequences, r.commands, r.comparisons = r.sequences+one.sequences, r.commands+one.commands, r.comparisons+one.comparisons
		for what, n := range one.seen {
			r.seen[what] += n
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
		"":                func(rt *rapid.T) { m.with(rt).compare() },
		"list":            func(rt *rapid.T) { m.with(rt).list() },
		"adjust":          func(rt *rapid.T) { m.with(rt).adjust() },
		"close":           func(rt *rapid.T) { m.with(rt).close() },
		"reopen":          func(rt *rapid.T) { m.with(rt).reopen() },
		"cancel event":    func(rt *rapid.T) { m.with(rt).cancelEvent() },
		"go with event":   func(rt *rapid.T) { m.with(rt).goWithEvent() },
		"go with another": func(rt *rapid.T) { m.with(rt).goWithEvent() },
		"hold":            func(rt *rapid.T) { m.with(rt).hold() },
		"hold more":       func(rt *rapid.T) { m.with(rt).hold() },
		"hold again":      func(rt *rapid.T) { m.with(rt).hold() },
		"alter":           func(rt *rapid.T) { m.with(rt).alter() },
		"alter again":     func(rt *rapid.T) { m.with(rt).alter() },
		"pay":             func(rt *rapid.T) { m.with(rt).pay() },
		"pay more":        func(rt *rapid.T) { m.with(rt).pay() },
		"resolve":         func(rt *rapid.T) { m.with(rt).resolve() },
		"resolve more":    func(rt *rapid.T) { m.with(rt).resolve() },
		"resolve again":   func(rt *rapid.T) { m.with(rt).resolve() },
		"cancel":          func(rt *rapid.T) { m.with(rt).cancel() },
		"captureFailed":   func(rt *rapid.T) { m.with(rt).captureFailed() },
		"restore":         func(rt *rapid.T) { m.with(rt).restore() },
		"restore more":    func(rt *rapid.T) { m.with(rt).restore() },
		"expire":          func(rt *rapid.T) { m.with(rt).expire() },
		"expire these":    func(rt *rapid.T) { m.with(rt).expireThese() },
		"post":            func(rt *rapid.T) { m.with(rt).post() },
		"acknowledge":     func(rt *rapid.T) { m.with(rt).acknowledge() },
		"dead letter":     func(rt *rapid.T) { m.with(rt).deadLetter() },
		"redrive":         func(rt *rapid.T) { m := m.with(rt); pick(m, "what", m.redrive, m.redrive, m.discard)() },
		"trim":            func(rt *rapid.T) { m := m.with(rt); pick(m, "what", m.trim, m.forget)() },
		"own":             func(rt *rapid.T) { m.with(rt).own() },
		"tick":            func(rt *rapid.T) { m.with(rt).tick() },
		"clock back":      func(rt *rapid.T) { m.with(rt).clockBack() },
		"zombie":          func(rt *rapid.T) { m.with(rt).zombie() },
	})
	m.with(rt).settleAll()
	m.with(rt).forgetAll()
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
		"fact held of seats", "fact confirmed of seats", "fact expired of seats", "fact cancelled held requested of seats",
		"fact cancelled held event_cancelled", "stays, its event is not cancelled", "goes with its event",
		"list conflict", "list nothing", "adjust refused", "adjust nothing",
		"closed nothing", "reopened nothing", "event cancelled nothing", "cancelled after it was closed", "reopened after it was cancelled",
		"posted", "posted what is cancelled", "posted nothing", "stale", "stale and changed", "in one millisecond", "has hashes of its own",
		"refused before its event had hashes of its own", "clock went back", "zombie held nothing", "zombie moved nothing",
		"dead letter requests", "dead letter log", "dead letter nothing", "redriven requests", "redriven log", "redriven nothing", "discarded log", "discarded nothing",
		"trimmed", "trimmed nothing", "fact forgotten", "forgotten nothing", "taken over", "kept alive", "kept alive not its own", "handed back", "left", "stayed", "all is forgotten",
	}
	list = append(list, "fact paying", "fact paying of a later attempt", "fact payment_declined", "fact payment_declined of a later attempt",
		"pay held attempt_pending", "pay held done",
		"fact action_required", "payment_update held ask", "payment_update held done", "payment_update none done",
		"asked held done", "asked held void", "asked none void", "asked cancelled void", "asked rejected void")
	if torture.Full() { // a slice comes to these too seldom to be sure of each
		list = append(list, "fact reduced of seats", "change confirmed change_pending",
			"missing comes_back held", "missing without_place none", "missing without_place cancelled", "fact restored places_gone", "fact restored of seats")
		for _, reason := range []string{"event_cancelled", "no_adjacent_seats", "unknown_seat", "costs_more", "over_limit", "over_customer_limit", "below_minimum", "seat_taken", "would_leave_orphan", "sold_out"} {
			list = append(list, "fact change_refused "+reason)
		}
		list = append(list, "payment_update confirmed ask", "forgotten, of an event that came", "forgotten by who was frozen", "list event_closed", "reopened meanwhile", "went with it later", "discarded requests",
			"fact cancelled confirmed event_cancelled", "fact declined of seats", "fact confirmed of a later attempt", "fact action_required of a later attempt", "pay held conflict", "unknown held done")
		for _, what := range []string{"fact held", "fact confirmed", "fact expired", "fact declined", "fact cancelled held requested", "fact cancelled confirmed requested", "fact cancelled held event_cancelled", "fact rejected unknown_section", "fact rejected price_changed", "fact rejected over_limit", "fact rejected sold_out", "fact rejected in_progress", "fact rejected unknown_seat", "fact rejected seat_taken", "fact rejected no_adjacent_seats", "fact rejected would_leave_orphan"} {
			list = append(list, what+" of several items")
		}
	}
	for _, reason := range []string{"invalid", "too_late", "unknown_event", "unknown_section", "unknown_seat", "seat_taken", "no_adjacent_seats", "would_leave_orphan", "not_on_sale", "price_changed", "over_limit", "below_minimum", "in_progress", "over_customer_limit", "sold_out"} {
		list = append(list, "fact rejected "+reason)
	}
	for _, reason := range []string{"not_in_order", "payment_pending", "unknown_section", "seats_not_named", "price_changed", "not_same_price", "too_late"} {
		list = append(list, "fact change_refused "+reason)
	}
	list = append(list,
		"fact reduced", "fact changed", "fact changed of seats", "fact changed to the best seats", "fact refund_granted", "fact change_refused more_than_paid", "fact change_refused not_paid",
		"fact lapsed", "fact lapsed of seats", "fact confirmed late", "fact confirmed late of seats", "fact cancelled lapsed requested", "fact paying late", "fact payment_declined late",
		"fact expired late", "fact change_refused lapsed", "approved held wait", "approved lapsed done", "approved lapsed void", "unknown lapsed done", "purchase lapsed authorize",
		"pay lapsed authorize", "pay lapsed done", "hold lapsed done", "mismatched lapsed done",
		"fact payment_disputed", "disputed confirmed done", "disputed cancelled done", "disputed confirmed ask",
		"refund none wait", "refund confirmed done", "refund cancelled done", "refund held done",
		"partial cancel none wait", "partial cancel held done", "partial cancel confirmed done", "partial cancel cancelled done",
		"change none wait", "change held done", "change held conflict", "change held change_pending", "change confirmed done", "change confirmed conflict",
		"change declined done", "change expired done", "change cancelled done", "change rejected done",
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
		"held without a token",
		"missing  none", "missing went_on none", "missing comes_back confirmed", "missing ends cancelled", "missing ends expired", "fact restored", "missing unclear none",
		"fact held by a code", "fact rejected code_refused", "fact rejected unknown_allocation", "fact cancelled held requested by a code", "fact expired by a code", "seats moved",
		"unknown none void", "unknown held wait", "unknown held void", "unknown confirmed done", "unknown declined done", "unknown expired void", "unknown cancelled void", "unknown rejected done",
	)
	if torture.Full() {
		return list
	}
	return slices.DeleteFunc(list, func(what string) bool { return slices.Contains(seldom, what) })
}

// seldom is what a slice comes to less than a dozen times on average, and so not always: a full run must.
var seldom = []string{
	"fact expired by a code", "approved held wait", "held without a token", "unknown lapsed done", "change confirmed conflict", "fact change_refused seats_not_named",
	"hold confirmed done", "pay lapsed done", "fact cancelled held requested by a code", "fact rejected no_adjacent_seats", "fact confirmed late of seats", "purchase lapsed authorize",
	"mismatched lapsed done", "cancelled after it was closed", "hold lapsed done", "fact rejected would_leave_orphan", "fact payment_declined late", "goes with its event",
	"purchase confirmed conflict", "fact cancelled held event_cancelled", "mismatched declined done", "mismatched confirmed done", "closed nothing", "declined declined done",
	"purchase confirmed done", "approved lapsed done", "fact confirmed late", "change held conflict", "fact declined payment_mismatch",
}

var (
	modelEvents    = []string{"e1", "e2"}
	modelMinimums  = &domain.Minimums{"EUR": 1999, "JPY": 10_000, "KWD": 1}
	modelCustomers = []string{"fred", "mary", "jane"}
	modelOrders    = []string{"o1", "o2", "o3", "o4", "o5", "o6"}
)

// severalItems are what a request may ask for of several sections.
var severalItems = []string{
	`[{"section":"general","quantity":1},{"section":"vip","quantity":1}]`, `[{"section":"vip","quantity":1},{"section":"general","quantity":2}]`,
	`[{"section":"general","quantity":1},{"section":"vip","quantity":1}]`, `[{"section":"vip","quantity":2},{"section":"general","quantity":1,"unit_price":1000}]`,
	`[{"section":"general","quantity":1},{"section":"vip","quantity":6}]`, `[{"section":"stalls","quantity":1},{"section":"general","quantity":1}]`,
	`[{"section":"stalls","quantity":1},{"section":"general","quantity":1},{"section":"vip","quantity":1}]`, `[{"section":"general","quantity":1},{"section":"balcony","quantity":1}]`,
	`[{"section":"general","quantity":1},{"section":"general","quantity":1}]`,
	`[{"section":"general","quantity":1,"allocation":"fans"},{"section":"vip","quantity":1}]`, `[{"section":"vip","quantity":1,"allocation":"fans"},{"section":"general","quantity":1,"allocation":"fans"}]`,
	`[{"section":"general","quantity":1,"allocation":"fans"},{"section":"vip","quantity":1,"allocation":"press"}]`,
}

// modelLayouts are small, so that sequences come to their end: with aisles, blocked seats, and some that are for others.
var modelLayouts = []string{"A:1-4", "A:1-4", "A:1-3/4-5,B:2-1", "fans;A:1-2.3a.4-6", "A:1-2.3!.4-5,B:1.2", "A:3-1+2.2-4+2", "A:1/2,B:1/2", "A:1!", "fans;A:1-5a,B:1-2"}

// model is what Redis must hold.
type model struct {
	*fixture
	rt *rapid.T
	*ran

	book     *domain.Snapshot // as was decided
	folded   *domain.Snapshot // as the log says
	second   *reference.World
	hashes   map[string]int                     // events that have so many hashes of orders of their own
	was      map[domain.OrderRef][]domain.Order // all that orders ever were
	paced    bool                               // samples of the requests are kept
	early    map[domain.OrderRef]bool           // got as far as they got before there was their event
	nonsense map[string]int64                   // log entry -> when its requests for unknown events are not valid any more
	stale    []string                           // what the list of them said of such entries that are forgotten
	held     map[domain.OrderRef]held           // when it was held last
	asked    map[domain.OrderRef]int64          // by when the gateway is asked what became of orders, since when they were awaited last
	branches map[string]string                  // what is stored of the partition's branch: nothing changes it
	clock    int64                              // the scripts' clock is not before it
	facts    []domain.Fact
	raw      map[string][]string // log entry -> its fields
	requests []domain.Entry      // in the stream
	compared int                 // so many of them, from the oldest on, were compared: an entry never changes
	pending  map[domain.Group]map[string]holder
	dead     []deadLetter
	handled  []string              // ids of letters that were redriven or discarded, the newest last
	everDead bool                  // the stream is there, though it may be empty
	alive    map[string][2]int64   // group/consumer -> until when it counts as alive: from, to
	noted    map[domain.Group]bool // that entries had been given to workers
	arrived  []arrival
	altered  map[domain.OrderRef][][]string // the partial cancels and changes of an order that came
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
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	m := &model{
		fixture: &f, rt: rt, ran: r, book: domain.NewSnapshot(), folded: domain.NewSnapshot(), second: reference.New(),
		hashes: make(map[string]int), was: make(map[domain.OrderRef][]domain.Order), early: make(map[domain.OrderRef]bool), nonsense: make(map[string]int64), pending: make(map[domain.Group]map[string]holder),
		altered: make(map[domain.OrderRef][][]string), asked: make(map[domain.OrderRef]int64), held: make(map[domain.OrderRef]held),
		raw: make(map[string][]string), alive: make(map[string][2]int64), noted: make(map[domain.Group]bool),
	}
	m.branches = f.eventFields() // nothing else is there yet
	for _, group := range layout.Groups {
		m.pending[group] = make(map[string]holder)
	}
	m.listWith("e1", terms(5, func(t *domain.Terms) {
		t.MaxPerCustomer = pick[int64](m, "max_per_customer", 0, 0, 3)
		t.LateApprovalMillis = m.drawLate()
		m.seat(t)
		m.allocate("e1", t)
	}))
	if pick(m, "another", true, true, true, false) {
		m.listWith("e2", m.drawTerms("e2", false))
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

// drawLate draws for how long late approvals are honoured.
func (m *model) drawLate() int64 { return pick[int64](m, "late_approval", 0, 0, 2, 30, 60_000, 60_000) }

// seat gives the section vip seats, or not.
func (m *model) seat(t *domain.Terms) {
	if t.NoOrphans = pick(m, "no_orphans", false, false, true); pick(m, "seated", true, true, false) {
		i := slices.IndexFunc(t.Sections, func(s domain.SectionTerms) bool { return s.Name == "vip" })
		t.Sections[i] = seatedSection("vip", pick(m, "layout", modelLayouts...))
	}
}

// allocate gives some places of general to fans, who have codes; and those seats of vip that are for them.
func (m *model) allocate(id string, t *domain.Terms) {
	for _, s := range t.Sections {
		if layout, err := seats.Parse(s.Layout); err == nil {
			*t = t.WithAllocations(s.Name, layout)
		}
	}
	if next, err := t.Allocate("general", "fans", pick[int64](m, "fans", 2, 2, 3, 1)); err == nil && m.chance("allocation", 2) {
		*t = next
	}
	for i := range t.Allocations {
		t.Allocations[i].OnSaleMillis = pick(m, "on_sale", 0, 0, 0, 1, m.Now()+3_600_000)
		for j, code := range []domain.Secret{"many", "once"} {
			t.Allocations[i].Codes = append(t.Allocations[i].Codes, domain.AccessCode{Hash: codeKeys.Hashes(id, code)[j], Uses: int64(j)})
		}
	}
}

// rearrange is one thing that is done to the allocations of an event.
func (m *model) rearrange(id string) (t domain.Terms, err error) {
	e := m.book.Events[id]
	t = e.Terms()
	list := []string{"A-1"}
	if s, _ := e.Section("vip"); s.Seated() {
		of, err := seats.Parse(s.Layout)
		m.Must(err)
		list = nil
		for at := range len(s.Places) {
			if name, ok := of.Name(at + 1); ok && (len(list) == 0 || len(list) < 3 && m.chance("another seat", 3)) {
				list = append(list, name)
			}
		}
	}
	hash := codeKeys.Hashes(id, "once")[1]
	switch pick(m, "what", "places", "places", "block", "seats", "seats", "seats", "block seats", "unblock", "open", "revoke") {
	case "places":
		return t.Allocate("general", pick(m, "to", "fans", "fans", "press"), pick[int64](m, "how many", 0, 1, 2, 3))
	case "block":
		return t.Block(pick(m, "of", "general", "general~fans"), pick[int64](m, "how many", 0, 1, 2))
	case "seats":
		return t.AllocateSeats(e, "vip", pick(m, "to", "fans", "fans", "public", "press"), list)
	case "block seats":
		return t.BlockSeats(e, "vip", list, true)
	case "unblock":
		return t.BlockSeats(e, "vip", list, false)
	case "open":
		return t.OpenedBy("fans", pick[int64](m, "uses", 0, 1, 2), hash)
	}
	next, _ := t.Revoke(hash)
	return next, nil
}

func (m *model) drawTerms(id string, anyOrder bool) domain.Terms {
	now := m.Now()
	t := domain.Terms{
		Name: pick(m, "name", "An Evening", "Été <&>"), Currency: pick(m, "currency", "EUR", "EUR", "EUR", "EUR", "JPY"),
		LateApprovalMillis: m.drawLate(), MaxPerOrder: pick[int64](m, "max_per_order", 0, 0, 2), MaxPerCustomer: pick[int64](m, "max_per_customer", 0, 0, 3),
		OnSaleMillis:  pick(m, "on_sale", append(slices.Repeat([]int64{0}, 10), 1, now+3, now+3_600_000)...),
		OffSaleMillis: pick(m, "off_sale", append(slices.Repeat([]int64{0}, 10), now+3_700_000, now+5)...),
		Sections: []domain.SectionTerms{
			{Name: "general", Price: pick[int64](m, "price", 1000, 1000, 0, 0, 999), Capacity: pick[int64](m, "capacity", 9, 6, 6, 4, 2, 0, 900_000)},
			{Name: "vip", Price: pick[int64](m, "price", 3_002_399_751_578_330, 5000), Capacity: pick[int64](m, "capacity", 2, 3, 0)},
			{Name: "zone", Price: 1, Capacity: pick[int64](m, "capacity", 1, 1, 2, 0)},
		},
	}
	if t.OffSaleMillis != 0 && t.OffSaleMillis <= t.OnSaleMillis {
		t.OffSaleMillis = 0
	}
	m.seat(&t)
	if !anyOrder {
		m.allocate(id, &t)
	}
	if anyOrder {
		t.Sections = append(t.Sections, pick(m, "stalls", domain.SectionTerms{Name: "stalls", Price: 1, Capacity: 1}, seatedSection("stalls", "A:1-2")))
		t.Sections = rapid.Permutation(t.Sections).Draw(m.rt, "sections")
		t.Sections = t.Sections[:pick(m, "sections", 4, 4, 3)]
	}
	return t
}

// newFacts are the facts that the log has got since it was read last. They must follow what is there.
func (m *model) newFacts() (facts []domain.Fact) {
	m.Helper()
	after := "0-0"
	if len(m.facts) > 0 {
		after = m.facts[len(m.facts)-1].ID
	}
	for _, e := range layout.DecodeEntries(m.Do("XRANGE", m.Keys.Log(0), "("+after, "+")) {
		facts = append(facts, m.parse(e)...)
		m.raw[e.ID] = e.Fields
		for _, group := range logGroups {
			m.pending[group][e.ID] = holder{"w1", 1}
		}
	}
	for i, fact := range facts {
		before := m.folded.Orders[fact.Ref()]
		m.Must(m.folded.Fold(fact))
		if !before.Awaited() && m.folded.Orders[fact.Ref()].Awaited() {
			m.asked[fact.Ref()] = fact.AtMillis + 1000
		}
		if fact.AtMillis < m.clock {
			m.Fatalf("it is %d, before %d: %+v", fact.AtMillis, m.clock, fact)
		}
		if fact.AtMillis == m.clock && i == 0 {
			m.seen["in one millisecond"]++
		}
		m.clock = fact.AtMillis
		m.facts = append(m.facts, fact)
		what := "fact " + string(fact.Type)
		if fact.Type == domain.FactCancelled {
			what += " " + fact.Was.String()
		}
		if fact.Reason != "" {
			what += " " + fact.Reason
		}
		if fact.Restored != nil && fact.Restored.Reason == domain.ReasonPlacesGone {
			what += " " + fact.Restored.Reason
		}
		if before.State == domain.OrderLapsed && fact.Type != domain.FactCancelled && fact.Type != domain.FactChangeRefused {
			what += " late"
		}
		m.seen[what]++
		if m.folded.Orders[fact.Ref()].Code != "" {
			m.seen[what+" by a code"]++
		}
		if fact.Attempt > 1 {
			m.seen[what+" of a later attempt"]++
		}
		items := m.folded.Orders[fact.Ref()].Items
		if items.Len() > 1 {
			m.seen[what+" of several items"]++
		}
		for item := range items.All() {
			if item.Places != "" {
				m.seen[what+" of seats"]++
			}
		}
	}
	return facts
}

// wantDecided compares a fact with what was decided, which does not know where and when it stands.
func (m *model) wantDecided(fact domain.Fact, want *domain.Fact) {
	m.Helper()
	if want == nil {
		m.Fatalf("there is a fact\n%+v\nwant none", fact)
	}
	w := *want
	w.ID, w.Line, w.AtMillis = fact.ID, fact.Line, fact.AtMillis
	if !reflect.DeepEqual(fact, w) {
		m.Fatalf("fact\n%+v\nwant\n%+v", fact, w)
	}
}

// eventChanged checks the only new fact, or that there is none, and takes it over. The second opinion says whether there should be one.
func (m *model) eventChanged(want *domain.Fact, wantErr error, changed, ok bool) {
	m.Helper()
	if changed != (want != nil) || ok != (wantErr == nil) {
		m.Fatalf("domain says %+v, %v, the second opinion %v, %v", want, wantErr, changed, ok)
	}
	facts := m.newFacts()
	if len(facts) > 1 || len(facts) == 0 && want != nil {
		m.Fatalf("new facts: %+v, want %+v", facts, want)
	}
	if len(facts) == 1 {
		m.wantDecided(facts[0], want)
		m.Must(m.book.Fold(facts[0]))
	}
}

// asked is a command about an order, and what was replied to it.
type asked struct {
	version string // of the order before it, once that is known
	ref     domain.OrderRef
	command domain.Command
	entryID string           // to be acknowledged if it is done
	group   domain.Group     // whose entry
	told    *domain.Reply    // nil: nothing
	lost    *reference.Order // restore: what the order was, by the second opinion
	since   bool             // and it has become what it is since then
}

// held is an order when it was held, as the second opinion has it, and by which fact.
type held struct {
	factID string
	order  reference.Order
}

// follow takes over what became of commands, in the order in which they were decided, each at some time in between.
func (m *model) follow(from, to int64, list ...asked) {
	m.Helper()
	m.followEvent(nil, from, to, list...)
}

// followEvent is follow after a fact about an event, if there is one.
func (m *model) followEvent(event *domain.Fact, from, to int64, list ...asked) {
	m.Helper()
	facts, found := make(map[domain.OrderRef][]domain.Fact), m.newFacts()
	if event != nil {
		if len(found) == 0 {
			m.Fatalf("%+v is not in the log", event)
		}
		m.wantDecided(found[0], event)
		m.Must(m.book.Fold(found[0]))
		found = found[1:]
	}
	for _, fact := range found {
		facts[fact.Ref()] = append(facts[fact.Ref()], fact)
	}
	for _, a := range list {
		customer := ""
		switch c := a.command.(type) {
		case domain.Hold:
			customer = c.Request.CustomerID
		case domain.Restore:
			customer = c.Customer(m.book.Orders[a.ref])
		}
		view := m.book.View(a.ref, customer)
		a.version = view.Order.Version
		verdict, now, fact := m.decided(view, a, from, to, facts[a.ref])
		if what := nameOf(a.command); what != "" {
			m.seen[what+" "+view.Order.State.String()+" "+verdict.String()]++
		}
		if fact != nil {
			facts[a.ref] = facts[a.ref][1:]
			m.Must(m.book.Fold(*fact))
			m.early[a.ref] = m.early[a.ref] || !view.Event.Exists()
			if hold, ok := a.command.(domain.Hold); ok && fact.Reason == domain.ReasonUnknownEvent {
				m.nonsense[fact.ID] = max(m.nonsense[fact.ID], fact.AtMillis+hold.ValidMillis)
			}
			m.was[a.ref] = append(m.was[a.ref], m.book.Orders[a.ref])
		}
		if change, is := a.command.(domain.Change); is && fact != nil { // whether it came too late is as it was when that was looked at
			change.EntryMillis += fact.AtMillis - now
			now, a.command = fact.AtMillis, change
		}
		if happened, answer := m.ask(now, a); happened != (fact != nil) || answer != verdict.String() {
			m.Fatalf("%s: domain says %s, the second opinion %s, %v: %+v at %d, of\n%+v\nthe fact is %+v", a.ref, verdict, answer, happened, a.command, now, view, fact)
		}
		if fact != nil {
			m.wantSale(*fact)
			if fact.Type == domain.FactHeld {
				m.held[a.ref] = held{fact.ID, *m.second.Orders[reference.Name{Event: a.ref.EventID, Order: a.ref.OrderID}]}
			}
		}
		if a.told != nil && a.told.Order != m.book.Orders[a.ref] {
			m.Fatalf("%s: %+v: told of\n%+v\nwant\n%+v", a.ref, a.command, a.told.Order, m.book.Orders[a.ref])
		}
		if verdict == domain.VerdictDone {
			delete(m.pending[a.group], a.entryID)
		}
	}
	for ref, left := range facts {
		if len(left) > 0 {
			m.Fatalf("%s: facts that nothing decided has led to: %+v", ref, left)
		}
	}
}

// decided is what domain says to a command, and the time at which it says what was told. Its fact, if there is one, is the
// next one of the order.
func (m *model) decided(view domain.View, a asked, from, to int64, facts []domain.Fact) (domain.Verdict, int64, *domain.Fact) {
	m.Helper()
	if len(facts) > 0 && facts[0].AtMillis >= from && facts[0].AtMillis <= to {
		at := facts[0].AtMillis
		want, verdict := domain.Decide(view, a.ref, at, a.command)
		for change, is := a.command.(domain.Change); is && want != nil && want.Reason == domain.ReasonTooLate && facts[0].Reason != want.Reason && at > from && at-change.EntryMillis > change.ValidMillis; {
			at-- // likewise
			want, verdict = domain.Decide(view, a.ref, at, a.command)
		}
		for pay, is := a.command.(domain.Pay); is && verdict == domain.VerdictTooLate && at > from && at-pay.EntryMillis > pay.ValidMillis; {
			at-- // whether a pay is worth it still is as it was when it was looked at; that its hold is alive, the fold has seen
			want, verdict = domain.Decide(view, a.ref, at, a.command)
		}
		if want != nil && (a.told == nil || a.told.Verdict == verdict && a.told.Order.Version == facts[0].ID) {
			m.wantDecided(facts[0], want)
			return verdict, at, &facts[0]
		}
	}
	for at := from; at <= to; at++ {
		want, verdict := domain.Decide(view, a.ref, at, a.command)
		if want == nil && (a.told == nil || a.told.Verdict == verdict) {
			return verdict, at, nil
		}
	}
	m.Fatalf("%s: %+v of\n%+v\nfrom %d to %d: told %+v, the facts are %+v", a.ref, a.command, view, from, to, a.told, facts)
	panic("unreachable")
}

// wantSale compares what a fact repeats for its readers, and the fold does not need, with the order of the second opinion.
func (m *model) wantSale(fact domain.Fact) {
	m.Helper()
	if fact.Type != domain.FactConfirmed && (fact.Type != domain.FactCancelled || fact.Was == domain.OrderNone) {
		return
	}
	o := m.second.Orders[reference.Name{Event: fact.EventID, Order: fact.OrderID}]
	was, confirmed := reference.Held, int64(0)
	if fact.Was == domain.OrderLapsed {
		was = reference.Lapsed
	}
	if fact.Was == domain.OrderConfirmed || fact.Was == domain.OrderCancelled {
		was, confirmed = fact.Was.String(), o.Confirmed
	}
	if fact.CustomerID != o.Customer || fact.Items != itemsOf(o.Lines) || fact.Currency != o.Currency ||
		fact.ConfirmedAtMillis != confirmed || fact.Type == domain.FactConfirmed && string(fact.Trace) != o.Trace || fact.Type == domain.FactCancelled && fact.Was.String() != was {
		m.Fatalf("fact\n%+v\nthe second opinion of the order is\n%+v", fact, o)
	}
}

// nameOf is how a command is counted; not all are.
func nameOf(command domain.Command) string {
	switch c := command.(type) {
	case domain.Hold:
		return string(c.Request.Type)
	case domain.Pay:
		return string(domain.RequestPay)
	case domain.Update:
		return string(domain.RequestPaymentUpdate)
	case domain.Resolve:
		return outcomeName(c.Outcome)
	case domain.Disputed:
		return "disputed"
	case domain.Change:
		switch c.Request.Type {
		case domain.RequestCancel:
			return "partial cancel"
		case domain.RequestRefund:
			return "refund"
		}
		return "change"
	}
	return ""
}

func outcomeName(o domain.PaymentOutcome) string {
	return map[domain.PaymentOutcome]string{
		domain.PaymentUnknown: "unknown", domain.PaymentApproved: "approved", domain.PaymentDeclined: "declined", domain.PaymentMismatched: "mismatched",
		domain.PaymentActionRequired: "asked",
	}[o]
}

// ask asks the second opinion the same.
func (m *model) ask(now int64, a asked) (happened bool, answer string) {
	name := reference.Name{Event: a.ref.EventID, Order: a.ref.OrderID}
	switch c := a.command.(type) {
	case domain.Hold:
		r := c.Request
		return m.second.Ask(now, name, reference.Asked{
			Type: string(r.Type), Body: r.Fingerprint, Customer: r.CustomerID, Lines: linesAsked(r), Codes: c.Codes, Trace: string(c.Trace),
			Invalid: c.Invalid, NoToken: c.NoToken, Published: c.EntryMillis, Valid: c.ValidMillis, Lasts: c.HoldMillis, Least: c.Minimums,
		})
	case domain.Pay:
		return m.second.Pay(now, name, c.Attempt, c.Fingerprint, c.EntryMillis, c.ValidMillis)
	case domain.Update:
		return false, m.second.Update(name, c.Attempt)
	case domain.Resolve:
		return m.second.Answer(now, name, c.Attempt, outcomeName(c.Outcome), c.AuthorizationID, c.Detail)
	case domain.Disputed:
		return m.second.Disputed(name, string(c.Dispute.State), c.Dispute.Amount, c.Dispute.DueMillis, c.Version == a.version)
	case domain.Restore:
		return m.second.Restore(now, name, *a.lost, a.since, c.Refund), reference.Done
	case domain.Expire:
		return m.second.Expire(now, name), reference.Done
	case domain.Cancel:
		return m.second.Cancel(now, name, c.Reason, c.NoRefund), reference.Done
	case domain.Change:
		happened, answer = m.second.Alter(now, name, reference.Altered{
			Back: c.Request.Type == domain.RequestCancel, Keep: c.Request.NoRefund, Refund: c.Request.Type == domain.RequestRefund, Amount: c.Request.Amount, Number: c.Request.Change, Body: c.Request.Fingerprint, Lines: linesAsked(c.Request),
			Least: c.Minimums, Published: c.EntryMillis, Valid: c.ValidMillis,
		})
		if c.Request.Type == domain.RequestChange && happened && m.second.Orders[name].Refusal == "" && slices.ContainsFunc(m.second.Orders[name].Lines, m.unnamed(c.Request)) {
			m.seen["fact changed to the best seats"]++
		}
		return happened, answer
	}
	panic(fmt.Sprintf("no such command %T", a.command))
}

// unnamed reports of lines with seats whether a request asks for them without names.
func (*model) unnamed(r domain.Request) func(reference.Line) bool {
	return func(l reference.Line) bool {
		section, _ := domain.SplitPool(l.Section)
		return len(l.Places) > 0 && slices.ContainsFunc(r.Items, func(item domain.RequestItem) bool { return item.Section == section && len(item.Seats) == 0 })
	}
}

// linesAsked is what a request asks for, as the second opinion takes it.
func linesAsked(r domain.Request) (lines []reference.Line) {
	if len(r.Items) == 0 && r.Section == "" && r.Quantity == 0 || r.Type == domain.RequestRefund && r.Amount > 0 {
		return nil
	}
	for item := range r.Lines() {
		l := reference.Line{Section: item.Section, Quantity: item.Quantity, Price: -1, Named: item.Seats, Apart: item.Apart}
		if item.UnitPrice != nil {
			l.Price = *item.UnitPrice
		}
		lines = append(lines, l)
	}
	return lines
}

// itemsOf are the lines of the second opinion as an order has them.
func itemsOf(lines []reference.Line) domain.Items {
	var list []domain.Item
	for _, l := range lines {
		list = append(list, domain.Item{Section: l.Section, Quantity: l.Quantity, UnitPrice: l.Price, Places: seats.FormatPlaces(l.Places), Mark: l.Mark})
	}
	return domain.ItemsOf(list...)
}

// until is until when what was just done may have been decided.
func (m *model) until() int64 {
	m.Helper()
	return max(m.Now(), m.clock)
}

// between checks that Redis decided at a time that lies between two looks at its clock, and returns both.
func (m *model) between(before, now int64) (from, to int64) {
	m.Helper()
	if to = m.until(); now < before || now > to {
		m.Fatalf("it decided at %d, between %d and %d", now, before, to)
	}
	return before, to
}

// took notes an entry of the requests that was added and delivered.
func (m *model) took(id string, fields []string) {
	m.requests = append(m.requests, domain.Entry{ID: id, Fields: fields})
	m.pending[domain.GroupWorkers][id] = holder{"w1", 1}
}

func (m *model) list() {
	if !m.book.Events["e2"].Exists() && len(m.early) > 0 && pick(m, "of many places", true, false) {
		m.listWith("e2", terms(900_000, func(t *domain.Terms) { t.MaxPerCustomer = pick[int64](m, "max_per_customer", 0, 0, 3) }))
		return
	}
	if !pick(m, "really", false, false, true) {
		return
	}
	id := pick(m, "event", modelEvents...)
	terms := m.drawTerms(id, false)
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
	listed, ok := false, false
	if terms.Validate() == nil {
		listed, ok = m.second.List(id, offerOf(terms))
	}
	m.eventChanged(fact, wantErr, listed, ok)
	if created {
		if m.hashes[id] = layout.OrderHashes(terms); m.hashes[id] > 0 {
			m.seen["has hashes of its own"]++
		}
	}
}

func offerOf(t domain.Terms) reference.Offer {
	o := reference.Offer{Name: t.Name, Currency: t.Currency, MaxPerOrder: t.MaxPerOrder, MaxPerCustomer: t.MaxPerCustomer, OnSale: t.OnSaleMillis, OffSale: t.OffSaleMillis, NoOrphans: t.NoOrphans, LateFor: t.LateApprovalMillis}
	for _, a := range t.Allocations {
		of := reference.Allocation{Name: a.Name, OnSale: a.OnSaleMillis, OffSale: a.OffSaleMillis}
		for _, c := range a.Codes {
			of.Codes = append(of.Codes, reference.Code{Hash: c.Hash, Uses: c.Uses, Revoked: c.Revoked})
		}
		o.Allocations = append(o.Allocations, of)
	}
	for _, m := range t.Moves {
		places, _ := seats.ParsePlaces(m.Places)
		o.Moves = append(o.Moves, reference.Moved{Section: m.Section, From: m.From[0], To: m.To[0], Places: places})
	}
	for _, s := range t.Sections {
		offer := reference.SectionOffer{Name: s.Name, Price: s.Price, Capacity: s.Capacity, Blocked: s.Blocked}
		if s.Mark != "" {
			offer.Mark = s.Mark[0]
		}
		if of, err := seats.Parse(s.Layout); err == nil {
			offer.Seats = of.Places()
			for at := range len(offer.Seats) {
				name, _ := of.Name(at + 1)
				offer.Names = append(offer.Names, name)
			}
		}
		o.Sections = append(o.Sections, offer)
	}
	return o
}

func (m *model) adjust() {
	if !pick(m, "really", false, false, true) {
		return
	}
	id := pick(m, "event", modelEvents...)
	terms := m.book.Events[id].Terms()
	if pick(m, "change", true, true, true, false) {
		was := terms.MaxPerCustomer
		if terms = m.drawTerms(id, true); pick(m, "limited as before", true, true, true, false) {
			terms.MaxPerCustomer = min(was, 1) * pick[int64](m, "max_per_customer", 2, 3, 4)
		}
		if pick(m, "seated as before", true, true, true, false) {
			for i, s := range terms.Sections {
				if old, there := m.book.Events[id].Section(s.Name); there && (old.Seated() || s.Layout != "") {
					terms.Sections[i] = domain.SectionTerms{Name: s.Name, Price: min(s.Price, 5000), Capacity: old.Capacity, Layout: old.Layout}
				}
			}
			terms.Allocations = m.book.Events[id].Terms().Allocations
			for _, s := range m.book.Events[id].Terms().Sections {
				of, _ := domain.SplitPool(s.Name)
				i := slices.IndexFunc(terms.Sections, func(there domain.SectionTerms) bool { return there.Name == of })
				if i >= 0 && of != s.Name {
					s.Price = terms.Sections[i].Price
					terms.Sections = append(terms.Sections, s)
				}
			}
		}
	}
	if m.book.Events[id].Exists() && m.chance("allocations", 2) {
		var err error
		if terms, err = m.rearrange(id); err != nil {
			m.seen["rearranged nothing"]++
			return
		}
		if len(terms.Moves) > 0 {
			m.seen["seats moved"]++
		}
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
	adjusted, ok := false, false
	if terms.Validate() == nil {
		adjusted, ok = m.second.Adjust(id, offerOf(terms))
	}
	m.eventChanged(fact, wantErr, adjusted, ok)
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
	second, ok := m.second.Close(id, true, false)
	m.changed("closed", closed, err, fact, wantErr, second, ok)
}

func (m *model) reopen() {
	id, cause := m.drawEvent(), pick(m, "silent", domain.Cause{}, m.drawCause())
	if e := m.book.Events[id]; !e.Closed && !m.chance("really", 8) || e.Cancelled && !pick(m, "really", true, false) {
		return
	}
	m.reopenNow(id, cause)
}

func (m *model) reopenNow(id string, cause domain.Cause) {
	m.Helper()
	if m.book.Events[id].Cancelled {
		m.seen["reopened after it was cancelled"]++
	}
	fact, wantErr := domain.Reopen(m.book.Events[id], id, cause)
	reopened, err := m.events.Reopen(m.Ctx, id, cause)
	second, ok := m.second.Close(id, false, false)
	m.changed("reopened", reopened, err, fact, wantErr, second, ok)
}

// changed compares what was done to an event with what was decided.
func (m *model) changed(what string, changed bool, err error, fact *domain.Fact, wantErr error, second, ok bool) {
	m.Helper()
	m.commands++
	if changed != (fact != nil) || errors.Is(err, domain.ErrNotFound) != errors.Is(wantErr, domain.ErrNotFound) || (err == nil) != (wantErr == nil) {
		m.Fatalf("%s: %v, %v, want %+v, %v", what, changed, err, fact, wantErr)
	}
	if err == nil && !changed {
		m.seen[what+" nothing"]++
	}
	m.eventChanged(fact, wantErr, second, ok)
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
	second, ok := m.second.Close(id, true, true)
	dies := wantErr == nil && pick(m, "dies", true, true, false)
	if dies {
		ended, err := m.events.change(m.Ctx, id, func(e domain.Event) (*domain.Fact, error) { return domain.CancelEvent(e, id, cause) })
		m.changed("event cancelled", ended, err, fact, nil, second, ok)
		if pick(m, "in the middle", true, true, false) {
			m.goWithEvent()
		}
		if m.chance("nobody goes on", 4) || !m.book.Events[id].Cancelled { // somebody may have reopened it
			return
		}
		fact = nil
	}
	m.commands++
	from := m.Now()
	got, err := m.events.Cancel(m.Ctx, id, cause, nil)
	if errors.Is(err, domain.ErrNotFound) != errors.Is(wantErr, domain.ErrNotFound) || (err == nil) != (wantErr == nil) {
		m.Fatalf("cancelling %s: %v, want %v", id, err, wantErr)
	}
	if err != nil {
		m.eventChanged(nil, wantErr, second, ok)
		return
	}
	if !dies && (second != (fact != nil) || !ok) {
		m.Fatalf("cancelling %s: %+v, the second opinion is %v, %v", id, fact, second, ok)
	}
	// First the event, then its orders, in the order in which they were held.
	var orders []asked
	begun := make(map[domain.OrderRef]bool)
	for _, f := range m.facts { // or given back, without having been held in this log
		if (f.Type == domain.FactHeld || f.Type == domain.FactRestored) && f.EventID == id && !begun[f.Ref()] {
			begun[f.Ref()] = true
			orders = append(orders, asked{ref: f.Ref(), command: domain.Cancel{Reason: domain.ReasonEventCancelled}})
		}
	}
	known := len(m.facts)
	m.followEvent(fact, from, m.until(), orders...)
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
	case fact == nil && len(m.facts) > known:
		m.seen["went with it later"]++
	case fact != nil && before.Closed:
		m.seen["cancelled after it was closed"]++
	}
}

// goWithEvent asks to cancel any orders of an event because of it, cancelled or not. Sometimes somebody reopens it
// when it was just looked at.
func (m *model) goWithEvent() {
	m.commands++
	var cancelled []string
	for _, id := range modelEvents {
		if m.book.Events[id].Cancelled {
			cancelled = append(cancelled, id)
		}
	}
	id := pick(m, "event", append(slices.Repeat(cancelled, 3), slices.Sorted(maps.Keys(m.book.Events))...)...)
	var open, all []domain.OrderRef
	for r, o := range m.book.Orders {
		if r.EventID != id {
			continue
		}
		if all = append(all, r); o.State == domain.OrderHeld || o.State == domain.OrderConfirmed {
			open = append(open, r)
		}
	}
	byName := func(a, b domain.OrderRef) int { return cmp.Compare(a.String(), b.String()) }
	slices.SortFunc(open, byName)
	slices.SortFunc(all, byName)
	refs := make([]domain.OrderRef, pick(m, "items", 1, 2, 3))
	for i := range refs {
		refs[i] = ref(id, pick(m, "order", modelOrders...))
		if len(open) > 0 && (i == 0 || pick(m, "open", true, false)) {
			refs[i] = pick(m, "order", open...)
		} else if len(all) > 0 && pick(m, "known", true, false) {
			refs[i] = pick(m, "order", all...)
		}
	}
	reopen, looked := m.book.Events[id].Cancelled && pick(m, "reopened", true, false, false), false
	if reopen && len(open) > 0 {
		m.seen["reopened meanwhile"]++
	}
	from := m.Now()
	var replies []domain.Reply
	var list []asked
	m.Must(m.ledger.changeOrders(m.Ctx, 0, refs, 0, func() (string, domain.Event, error) {
		event, err := m.events.Get(m.Ctx, id)
		if reopen && !looked {
			m.reopenNow(id, domain.Cause{})
		}
		looked = true
		return id, event, err
	}, func(domain.Event) domain.Command { return domain.Cancel{Reason: domain.ReasonEventCancelled} }, func(r domain.OrderRef, o domain.Order) {
		replies = append(replies, domain.Reply{Verdict: domain.VerdictDone, Order: o})
		list = append(list, asked{ref: r, command: domain.Cancel{Reason: domain.ReasonEventCancelled}})
	}))
	if len(list) != len(refs) {
		m.Fatalf("told of %d orders, want %d", len(list), len(refs))
	}
	for i := range list {
		list[i].told = &replies[i]
		if o := m.book.Orders[refs[i]]; o.State != domain.OrderHeld && o.State != domain.OrderConfirmed {
			continue
		} else if m.book.Events[id].Cancelled {
			m.seen["goes with its event"]++
		} else {
			m.seen["stays, its event is not cancelled"]++
		}
	}
	m.follow(from, m.until(), list...)
}

func (m *model) drawRequest() []string {
	kind := pick(m, "type", "purchase", "purchase", "purchase", "hold", "hold", "hold", "pay", "pay", "pay", "payment_update")
	if kind == "payment_update" {
		return []string{"v", "2", "type", kind, "event_id", pick(m, "event", modelEvents...), "order_id", pick(m, "order", modelOrders...), "attempt", pick(m, "attempt", "1", "1", "2")}
	}
	if kind == "pay" {
		r := m.drawKnown()
		if held := slices.DeleteFunc(m.inState(domain.OrderHeld), func(r domain.OrderRef) bool { return m.book.Orders[r].RequestType != domain.RequestHold }); len(held) > 0 && pick(m, "a hold", true, true, false) {
			r = pick(m, "order", held...)
		}
		fields := request("pay", r.EventID, r.OrderID)
		if next := strconv.Itoa(m.book.Orders[r].Attempt + 1); pick(m, "another attempt", true, true, false) {
			fields[1] = "2"
			fields = append(fields, "attempt", pick(m, "attempt", next, next, next, "1", "2", "3", "9"))
		}
		if m.chance("another body", 4) {
			fields = append(fields, "valid_seconds", "800")
		}
		return fields
	}
	r := m.drawRef()
	if m.chance("known", 4) { // and most probably another body
		r = m.drawKnown()
	}
	if several := pick(m, "several", append(make([]string, 12), severalItems...)...); several != "" {
		fields := []string{"v", "2", "type", kind, "event_id", r.EventID, "order_id", r.OrderID, "customer_id", pick(m, "customer", modelCustomers...), "items", several}
		if strings.Contains(several, "fans") {
			fields = append(fields, m.drawCode()...)
		}
		if kind == "purchase" && pick(m, "token", true, true, true, false) {
			fields = append(fields, "payment_token", "tok")
		}
		return fields
	}
	often := 12
	if s, _ := m.book.Events[r.EventID].Section("vip"); s.Seated() {
		often = 2
	}
	if m.chance("seats", often) {
		return m.drawSeats(kind, r)
	}
	fields := []string{"v", "1", "type", kind, "event_id", r.EventID, "order_id", r.OrderID, "customer_id", pick(m, "customer", modelCustomers...)}
	if m.chance("allocation", 4) {
		fields[1] = "2"
		fields = append(append(fields, "allocation", pick(m, "allocation", "fans", "fans", "fans", "fans", "press", "choir")), m.drawCode()...)
	}
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

// drawCode is an access code, or none.
func (m *model) drawCode() []string {
	if code := pick(m, "code", "many", "many", "once", "once", "once", "wrong", ""); code != "" {
		return []string{"access_code", code}
	}
	return nil
}

// drawSeats asks for seats of vip, in one way or another; sometimes with a place of general.
func (m *model) drawSeats(kind string, r domain.OrderRef) []string {
	fields := []string{"v", "2", "type", kind, "event_id", r.EventID, "order_id", r.OrderID, "customer_id", pick(m, "customer", modelCustomers...)}
	if kind == "purchase" && pick(m, "token", true, true, true, false) {
		fields = append(fields, "payment_token", "tok")
	}
	names := []string{"A-1", "A-2", "A-3"}
	if s, _ := m.book.Events[r.EventID].Section("vip"); s.Seated() {
		of, err := seats.Parse(s.Layout)
		m.Must(err)
		names = nil
		for at := range len(s.Places) {
			if name, ok := of.Name(at + 1); ok {
				names = append(names, name)
			}
		}
	}
	item := `"quantity":` + pick(m, "quantity", "1", "1", "2", "2", "2", "2", "3", "3", "4", "101")
	short := []string{"quantity", strings.TrimPrefix(item, `"quantity":`)}
	switch pick(m, "seats", "named", "named", "named", "apart", "best", "best") {
	case "named":
		first, list := rapid.IntRange(0, len(names)-1).Draw(m.rt, "first"), []string(nil)
		for i := first; i < len(names) && len(list) < pick(m, "how many", 1, 1, 2, 2, 3); i++ {
			list = append(list, names[i])
		}
		if m.chance("unknown", 10) {
			list = append(list, "Z-9")
		}
		item = `"seats":["` + strings.Join(list, `","`) + `"]`
		short = []string{"seats", strings.Join(list, ",")}
	case "apart":
		item += `,"adjacent":false`
		short = append(short, "adjacent", "false")
	}
	if m.chance("allocation", 3) {
		item += `,"allocation":"fans"`
		short = append(short, "allocation", "fans")
		fields = append(fields, m.drawCode()...)
	}
	switch pick(m, "form", "short", "short", "short", "short", "several", "zone", "zone", "stalls", "general") {
	case "zone": // which comes behind the seats, and soon has no place left
		return append(fields, "items", `[{"section":"vip",`+item+`},{"section":"zone","quantity":`+pick(m, "quantity", "1", "2")+`}]`)
	case "several":
		return append(fields, "items", `[{"section":"vip",`+item+`},{"section":"general","quantity":`+pick(m, "quantity", "1", "1", "6")+`}]`)
	case "stalls":
		return append(fields, "items", `[{"section":"stalls","quantity":1},{"section":"vip",`+item+`}]`)
	case "general": // which has none
		return append(append(fields, short...), "section", "general")
	}
	return append(append(fields, short...), "section", "vip")
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
	m.takeIn(before, fresh, batch)
}

// pay goes on with a hold that is there: by the next attempt to pay for it, or by the answer to the one that is open.
func (m *model) pay() {
	held := slices.DeleteFunc(slices.Concat(m.inState(domain.OrderHeld), m.inState(domain.OrderLapsed)), func(r domain.OrderRef) bool { return m.book.Orders[r].RequestType != domain.RequestHold })
	if len(held) == 0 {
		return
	}
	r := pick(m, "order", held...)
	for range pick(m, "steps", 1, 2, 4, 6) {
		m.commands++
		before, o := m.Now(), m.book.Orders[r]
		if o.AwaitsAction() && pick(m, "news", true, false) {
			m.takeIn(before, [][]string{{"v", "2", "type", "payment_update", "event_id", r.EventID, "order_id", r.OrderID, "attempt", strconv.Itoa(pick(m, "of", o.Attempt, o.Attempt, o.Attempt%domain.MaxAttempts+1))}}, nil)
			continue
		}
		if o.Attempt == 0 || o.PayState == domain.PayDeclined {
			m.takeIn(before, [][]string{{"v", "2", "type", "pay", "event_id", r.EventID, "order_id", r.OrderID, "attempt", strconv.Itoa(o.Attempt%domain.MaxAttempts + 1)}}, nil)
			continue
		}
		m.bring(before, domain.Resolution{
			EntryID: m.drawEntry(domain.GroupWorkers), Ref: r, Order: o, Attempt: o.Attempt, AuthorizationID: "auth",
			Outcome: pick(m, "outcome", domain.PaymentDeclined, domain.PaymentDeclined, domain.PaymentApproved, domain.PaymentActionRequired, domain.PaymentActionRequired),
		})
	}
}

// alter gives some of an order's places back, or changes them: with the next number, now and then with another one, or with one
// that came before.
func (m *model) alter() {
	r := m.drawKnown()
	if kept := m.keepMoney(); len(kept) > 0 && m.chance("money that is kept", 3) {
		r = pick(m, "order", kept...)
	} else if open := slices.Concat(m.inState(domain.OrderConfirmed), m.inState(domain.OrderConfirmed), m.inState(domain.OrderHeld)); len(open) > 0 && pick(m, "open", true, true, true, true, false) {
		r = pick(m, "order", open...)
	}
	m.commands++
	before := m.Now()
	var fresh [][]string
	number := m.book.Orders[r].Change + 1
	for range pick(m, "how many", 1, 1, 2, 3) {
		if len(m.altered[r]) > 0 && m.chance("again", 4) {
			fresh = append(fresh, pick(m, "before", m.altered[r]...))
			continue
		}
		said := pick(m, "number", number, number, number, number, number, number, number, max(number-1, 1), number+1)
		if said == number {
			number++
		}
		kind := pick(m, "type", "cancel", "change", "change", "refund")
		fields := []string{"v", "2", "type", kind, "event_id", r.EventID, "order_id", r.OrderID, "change", strconv.FormatInt(said, 10)}
		if kind == "cancel" && pick(m, "refund", true, false) {
			fields = append(fields, "refund", "false", "by", "ann")
		}
		if kind == "refund" && pick(m, "an amount", true, true, false) {
			fields = append(fields, "amount", pick(m, "amount", "1", "500", "1000", "2000"), "reason", "a pillar")
		} else {
			fields = append(fields, "items", m.drawAltered(map[string]string{"refund": "cancel"}[kind]+map[string]string{"cancel": kind, "change": kind}[kind], r))
		}
		fresh = append(fresh, fields)
		m.altered[r] = append(m.altered[r], fields)
	}
	m.takeIn(before, fresh, nil)
}

// alteredItem is an item of a partial cancel or a change, as it stands there.
type alteredItem struct {
	Section  string   `json:"section"`
	Quantity int64    `json:"quantity,omitempty"`
	Seats    []string `json:"seats,omitempty"`
	Adjacent *bool    `json:"adjacent,omitempty"`
	Price    *int64   `json:"unit_price,omitempty"`
}

// drawAltered are items near those that an order has: fewer of them, others, or in other sections.
func (m *model) drawAltered(kind string, r domain.OrderRef) string {
	o := m.book.Orders[r]
	var list []alteredItem
	for has := range o.Items.All() {
		own, _ := seats.ParsePlaces(has.Places)
		quantity := pick(m, "quantity", has.Quantity, has.Quantity, has.Quantity-1, has.Quantity-1, 1, has.Quantity+1)
		if kind == "cancel" {
			quantity = pick(m, "quantity", has.Quantity-1, has.Quantity-1, 1, 1, has.Quantity)
		}
		if quantity > 0 && pick(m, "stays", true, true, true, false) {
			section, _ := domain.SplitPool(has.Section)
			list = append(list, m.drawAlteredItem(kind, r, section, quantity, own))
		}
	}
	section := pick(m, "section", "general", "vip", "vip", "stalls", "zone", "balcony")
	if there := slices.ContainsFunc(list, func(i alteredItem) bool { return i.Section == section }); len(list) == 0 || !there && m.chance("another section", 3) {
		list = append(list, m.drawAlteredItem(kind, r, section, pick[int64](m, "quantity", 1, 1, 2, 6), nil))
	}
	if kind == "change" && m.chance("price", 8) {
		list[0].Price = pick(m, "unit_price", ptr[int64](1000), ptr[int64](0))
	}
	text, err := json.Marshal(list)
	m.Must(err)
	return string(text)
}

func ptr[T any](v T) *T { return &v }

func (m *model) drawAlteredItem(kind string, r domain.OrderRef, section string, quantity int64, own []int) alteredItem {
	item := alteredItem{Section: section, Quantity: quantity}
	s, _ := m.book.Events[r.EventID].Section(section)
	switch {
	case !s.Seated():
	case kind == "change" && m.chance("the best", 3):
		item.Adjacent = pick(m, "adjacent", nil, ptr(true), ptr(false))
	case !m.chance("not named", 12):
		of, err := seats.Parse(s.Layout)
		m.Must(err)
		var all []int
		for at := range len(s.Places) {
			if _, ok := of.Name(at + 1); ok {
				all = append(all, at+1)
			}
		}
		item.Quantity = 0
		for range quantity {
			place := pick(m, "place", all...)
			if len(own) > 0 && pick(m, "its own", true, true, false) {
				place = pick(m, "place", own...)
			}
			if name, _ := of.Name(place); !slices.Contains(item.Seats, name) {
				item.Seats = append(item.Seats, name)
			}
		}
		if m.chance("no such seat", 12) {
			item.Seats = append(item.Seats, "Z-9")
		}
	}
	return item
}

// takeIn has requests handled: fresh ones, and others that came before.
func (m *model) takeIn(before int64, fresh [][]string, batch []domain.Incoming) {
	m.Helper()
	for i, a := range m.arrive(fresh...) {
		a.HoldMillis = pick[int64](m, "hold", holdMillis, holdMillis, holdMillis, 0, 1, 3)
		a.ValidMillis = pick[int64](m, "valid", append(slices.Repeat([]int64{validMillis}, 16), 1, -1)...)
		if a.Request.Type == domain.RequestPay {
			a.ValidMillis = pick[int64](m, "valid", validMillis, validMillis, 1, -1)
		}
		a.Trace = pick[domain.Trace](m, "trace", "", "", "", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331")
		a.Minimums = pick(m, "minimums", nil, nil, nil, nil, nil, nil, nil, modelMinimums)
		m.arrives(a, fresh[i])
		m.took(a.EntryID, fresh[i])
		batch = append(batch, a)
	}
	replies, now, err := m.ledger.Hold(m.Ctx, 0, batch)
	m.Must(err)
	list := make([]asked, len(batch))
	for i, a := range batch {
		list[i] = asked{ref: a.Request.Ref(), entryID: a.EntryID, group: domain.GroupWorkers, told: &replies[i], command: a.Command()}
		if m.hashes[a.Request.EventID] > 0 && m.early[a.Request.Ref()] {
			m.seen["refused before its event had hashes of its own"]++
		}
	}
	// What may take places goes first: the first request of each order that opens it.
	opened := make(map[domain.OrderRef]bool)
	var first, others []asked
	for _, a := range list {
		if hold, opens := a.command.(domain.Hold); opens && !opened[a.ref] {
			if opened[a.ref] = true; hold.Invalid == "" {
				first = append(first, a)
				continue
			}
		}
		others = append(others, a)
	}
	from, to := m.between(before, now)
	m.follow(from, to, append(first, others...)...)
	for _, a := range batch {
		r := a.Request.Ref()
		o := m.book.Orders[r]
		if a.NoToken && o.State == domain.OrderHeld && o.Free() {
			m.seen["held without a token"]++
		}
	}
}

// drawKnown draws a state among those that there are, and an order in it; now and then any order.
func (m *model) drawKnown() domain.OrderRef {
	var states []domain.OrderState
	for _, state := range domain.OrderStates {
		if len(m.inState(state)) > 0 {
			states = append(states, state)
		}
	}
	if len(states) == 0 || !pick(m, "known", true, true, true, false) {
		return m.drawRef()
	}
	return pick(m, "order", m.inState(pick(m, "state", states...))...)
}

// inState are the orders in a state, by name.
func (m *model) inState(state domain.OrderState) (refs []domain.OrderRef) {
	for r, o := range m.book.Orders {
		if o.State == state {
			refs = append(refs, r)
		}
	}
	slices.SortFunc(refs, func(a, b domain.OrderRef) int { return cmp.Compare(a.String(), b.String()) })
	return refs
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

// resolve brings answers of the gateway about orders as they are, or as they were when it was asked.
func (m *model) resolve() {
	m.commands++
	before := m.Now()
	batch := make([]domain.Resolution, pick(m, "items", 1, 2, 3, 4, 5))
	for i := range batch {
		r := m.drawKnown()
		if lapsed := m.inState(domain.OrderLapsed); len(lapsed) > 0 && pick(m, "lapsed", true, true, false) {
			r = pick(m, "order", lapsed...)
		} else if held := m.inState(domain.OrderHeld); len(held) > 0 && pick(m, "held", true, false) {
			r = pick(m, "order", held...)
		}
		if paying := slices.DeleteFunc(m.inState(domain.OrderHeld), func(r domain.OrderRef) bool { return m.book.Orders[r].PayFingerprint == "" }); len(paying) > 0 && pick(m, "paying", true, false) {
			r = pick(m, "order", paying...)
		}
		if confirmed := m.inState(domain.OrderConfirmed); len(confirmed) > 0 && pick(m, "confirmed", true, false) {
			r = pick(m, "order", confirmed...)
		}
		outcome := pick(m, "outcome", domain.PaymentApproved, domain.PaymentApproved, domain.PaymentDeclined, domain.PaymentUnknown, domain.PaymentUnknown, domain.PaymentMismatched, domain.PaymentActionRequired)
		last := m.book.Orders[r].LastAttempt()
		batch[i] = domain.Resolution{
			EntryID: m.drawEntry(domain.GroupWorkers), Ref: r, Order: m.book.Orders[r], Outcome: outcome,
			Attempt: pick(m, "attempt", last, last, last, last, last, last, 1, 2, min(last+1, domain.MaxAttempts)),
		}
		if was := m.was[r]; len(was) > 1 && pick(m, "stale", true, false) {
			batch[i].Order = pick(m, "was", was...)
		}
		switch outcome {
		case domain.PaymentApproved, domain.PaymentActionRequired:
			batch[i].AuthorizationID = "auth_" + strconv.Itoa(len(m.facts)) + "." + strconv.Itoa(i)
		case domain.PaymentUnknown:
			if m.book.Orders[r].ConfirmedAtMillis > 0 && pick(m, "disputed", true, true, false) {
				batch[i].Dispute = domain.Dispute{
					State: pick(m, "dispute", domain.DisputeStates...), Amount: pick[int64](m, "disputed", 1, 500, math.MaxInt64), DueMillis: pick[int64](m, "due", 0, 1_700_000_000_000),
				}
			}
		case domain.PaymentMismatched:
			batch[i].Detail = pick(m, "detail", "", "amount 5 instead of 1000", "customer_id a instead of b, "+strconv.Itoa(i))
		}
	}
	m.bring(before, batch...)
}

// bring brings answers.
func (m *model) bring(before int64, batch ...domain.Resolution) {
	m.Helper()
	list := make([]asked, len(batch))
	unknown := false
	for i, r := range batch {
		if r.Dispute != (domain.Dispute{}) {
			list[i] = asked{ref: r.Ref, entryID: r.EntryID, group: domain.GroupWorkers, command: domain.Disputed{Dispute: r.Dispute, Version: r.Order.Version}}
			continue
		}
		unknown = unknown || r.Outcome == domain.PaymentUnknown
		list[i] = asked{ref: r.Ref, entryID: r.EntryID, group: domain.GroupWorkers, command: domain.Resolve{
			Attempt: r.Attempt, Outcome: r.Outcome, AuthorizationID: r.AuthorizationID, Detail: r.Detail,
		}}
	}
	replies, now, err := m.ledger.Resolve(m.Ctx, 0, batch)
	m.Must(err)
	from, to := before, m.until()
	if unknown || now != 0 { // else nothing had to be written, and the time did not matter
		from, to = m.between(before, now)
	}
	given := make(map[domain.OrderRef]domain.Order)
	for i := range list {
		list[i].told = &replies[i]
	}
	var through []asked
	for i, a := range list {
		as, again := given[a.ref]
		if !again || a.told.Order == batch[i].Order { // it may come in another call than the one before
			as = batch[i].Order
		}
		given[a.ref] = replies[i].Order
		if as == m.orderThen(a.ref, through) {
			through = append(through, a)
			continue
		}
		m.seen["stale"]++
		if m.toldWithoutALook(as, a, from, to) {
			continue // it was never said that this is how the order is
		}
		m.seen["stale and changed"]++
		through = append(through, a)
	}
	m.follow(from, to, through...)
}

// orderThen is an order as it was told of last, in this batch or before.
func (m *model) orderThen(r domain.OrderRef, batch []asked) domain.Order {
	for _, a := range slices.Backward(batch) {
		if a.ref == r {
			return a.told.Order
		}
	}
	return m.book.Orders[r]
}

// toldWithoutALook reports whether an answer about an order that is not so any more changes nothing and acknowledges nothing: then
// nobody looks whether it is.
func (m *model) toldWithoutALook(as domain.Order, a asked, from, to int64) bool {
	if a.told.Order != as {
		return false
	}
	for at := from; at <= to; at++ {
		fact, verdict := domain.Decide(domain.View{Order: as}, a.ref, at, a.command)
		if fact == nil && verdict == a.told.Verdict && (verdict != domain.VerdictDone || a.entryID == "") {
			return true
		}
	}
	return false
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
	list := make([]asked, len(batch))
	for i := range batch {
		batch[i] = domain.Cancellation{EntryID: m.drawEntry(group), Ref: m.drawKnown(), NoRefund: group == domain.GroupWorkers && pick(m, "keeps the money", true, false)}
		if kept := m.keepMoney(); group == domain.GroupSettlement && len(kept) > 0 && pick(m, "money that is kept", true, false) {
			batch[i].Ref = pick(m, "order", kept...)
		}
		list[i] = asked{ref: batch[i].Ref, command: domain.Cancel{Reason: reason, NoRefund: batch[i].NoRefund}, entryID: batch[i].EntryID, group: group}
	}
	m.deliverFacts()
	from := m.Now()
	m.Must(do(m.Ctx, 0, batch))
	m.follow(from, m.until(), list...)
}

// keepMoney are orders that were cancelled, and some of whose money is kept.
func (m *model) keepMoney() []domain.OrderRef {
	return slices.DeleteFunc(m.inState(domain.OrderCancelled), func(r domain.OrderRef) bool { return !m.book.Orders[r].KeepsMoney() })
}

// expire is what maintenance does: find what is due, and end it.
func (m *model) expire() {
	m.commands++
	before, most := m.Now(), pick(m, "most", 100, 100, 1, 2)
	due := make(map[domain.OrderRef]int64)
	for r, o := range m.book.Orders {
		if o.Open() {
			due[r] = o.PayableUntilMillis()
		}
	}
	known := len(m.facts)
	expired, lapsed, err := m.ledger.Expire(m.Ctx, 0, most)
	m.Must(err)
	n := expired + lapsed
	// Those that were ended are the longest overdue.
	var list []asked
	ended, latest := make(map[domain.OrderRef]bool), int64(0)
	for _, e := range layout.DecodeEntries(m.Do("XRANGE", m.Keys.Log(0), "("+m.facts[known-1].ID, "+")) {
		for _, fact := range m.parse(e) {
			list = append(list, asked{ref: fact.Ref(), command: domain.Expire{}})
			ended[fact.Ref()], latest = true, max(latest, due[fact.Ref()])
		}
	}
	m.follow(before, m.until(), list...)
	if n != len(m.facts)-known || n > most {
		m.Fatalf("%d expired, it says %d of at most %d", len(m.facts)-known, n, most)
	}
	for r, deadline := range due {
		if !ended[r] && deadline <= before && (n < most || deadline < latest) {
			m.Fatalf("%s was due at %d and is still held at %d", r, deadline, before)
		}
	}
}

// expireThese asks about any orders, due or not, as Expire does about those that are due.
func expireThese(ctx context.Context, l *Ledger, refs ...domain.OrderRef) ([]domain.Reply, int64, error) {
	orders, now, err := l.read(ctx, 0, refs)
	if err != nil {
		return nil, 0, err
	}
	m := newMovement(l.store.keys.Log(0), "", len(refs))
	m.now, m.strays = now, true
	for i, r := range refs {
		m.add("", r, orders[i])
	}
	m.look = func(part []int) error { return l.lookAround(ctx, 0, m, part, func(int) bool { return false }) }
	m.decide = func(i int, o domain.Order, now int64) (*domain.Fact, domain.Verdict) {
		return domain.Decide(m.view(i, o), refs[i], now, domain.Expire{})
	}
	now, err = l.moveAll(ctx, 0, m)
	return m.replies, now, err
}

func (m *model) expireThese() {
	m.commands++
	before := m.Now()
	refs := make([]domain.OrderRef, pick(m, "items", 1, 2, 3, 4, 5))
	for i := range refs {
		refs[i] = m.drawKnown()
	}
	replies, now, err := expireThese(m.Ctx, m.ledger, refs...)
	m.Must(err)
	list := make([]asked, len(refs))
	for i, r := range refs {
		list[i] = asked{ref: r, command: domain.Expire{}, told: &replies[i]}
	}
	from, to := m.between(before, now)
	m.follow(from, to, list...)
}

// restore is about an order that was more than it is, which the log does not have: it was all that another one is, by whatever led to that; or it went on
// to be paid, or to be cancelled; or it was so, and has become what it is since then.
func (m *model) restore() {
	m.Helper()
	m.commands++
	source, at := m.drawKnown(), m.until()
	if confirmed := m.inState(domain.OrderConfirmed); len(confirmed) > 0 && pick(m, "confirmed", true, false) {
		source = pick(m, "order", confirmed...)
	}
	if m.second.Orders[reference.Name{Event: source.EventID, Order: source.OrderID}] == nil {
		return
	}
	target := source
	then := m.second.Clone()
	var lost *reference.Order
	var facts []domain.Fact
	since := false
	switch kind := pick(m, "lost", "all", "all", "what came after it was held", "its end", "since"); kind {
	case "its end":
		o := m.book.Orders[source]
		view := m.book.View(source, "")
		resolve := domain.Resolve{Attempt: o.LastAttempt(), Outcome: domain.PaymentApproved, AuthorizationID: "auth_lost"}
		name := reference.Name{Event: source.EventID, Order: source.OrderID}
		var fact *domain.Fact
		if pick(m, "end", true, false) {
			fact, _ = domain.Decide(view, source, at, resolve)
			then.Answer(at, name, resolve.Attempt, outcomeName(resolve.Outcome), resolve.AuthorizationID, "")
		} else {
			fact, _ = domain.Decide(view, source, at, domain.Cancel{Reason: domain.ReasonRequested})
			then.Cancel(at, name, domain.ReasonRequested, false)
		}
		if fact == nil {
			return
		}
		fact.ID, fact.AtMillis = strconv.FormatInt(at, 10)+"-1000000", at
		facts = []domain.Fact{*fact}
	default:
		target = domain.OrderRef{EventID: source.EventID, OrderID: m.drawRef().OrderID}
		unused := slices.DeleteFunc(slices.Clone(modelOrders), func(id string) bool {
			_, known := m.book.Orders[ref(source.EventID, id)]
			return known
		})
		if len(unused) > 0 && pick(m, "unused", true, false) {
			target.OrderID = pick(m, "order", unused...)
		}
		_, known := m.book.Orders[target]
		since = known
		was, wasHeld := m.held[source]
		for _, fact := range m.facts {
			if fact.Ref() != source {
				continue
			}
			id := fact.ID
			fact.OrderID = target.OrderID
			if facts = append(facts, fact); kind == "what came after it was held" && wasHeld && id == was.factID {
				lost = &was.order // held, perhaps of a customer who has something else now, or nothing
				break
			}
		}
		for i := len(facts) - 1; i >= 0; i-- { // since it was forgotten
			if facts[i].Type == domain.FactForgotten {
				facts = facts[i+1:]
				break
			}
		}
	}
	c := domain.Restore{Lost: facts, Common: m.facts[len(m.facts)-1].ID, Refund: pick(m, "refund", true, false)}
	if since {
		c.Common = "0-0"
	}
	if lost == nil {
		lost = then.Orders[reference.Name{Event: source.EventID, Order: source.OrderID}]
	}
	from := m.Now()
	found, err := m.ledger.missing(m.Ctx, target, c, false)
	m.Must(err)
	done, err := m.ledger.missing(m.Ctx, target, c, true)
	m.Must(err)
	m.seen["missing "+string(done.Kind)+" "+done.Becomes.String()]++
	if found.Kind != done.Kind && from == m.Now() {
		m.Fatalf("it finds %+v, and then %+v", found, done)
	}
	m.follow(from, m.until(), asked{ref: target, command: c, lost: lost, since: since})
}

// clockBack makes it so that the log is of a later time than the clock, as after a failover to a server whose clock is
// behind: what happens until the clock has come there is all of one millisecond.
func (m *model) clockBack() {
	if !pick(m, "really", true, false) {
		return
	}
	m.commands++
	m.clock = max(m.clock, m.Now()+pick[int64](m, "by", 5, 40, 40))
	m.Do("HSET", m.Keys.Events(0), layout.ClockField, m.clock)
	m.seen["clock went back"]++
}

// zombie lets somebody who has worked on another branch do what he can. That is nothing, as compare finds.
func (m *model) zombie() {
	if !m.chance("really", 3) {
		return
	}
	m.commands++
	another := pick(m, "branch", "another", "")
	ledger := &Ledger{m.store, func(int) string { return another }}
	r := m.drawKnown()
	_, _, err := ledger.Hold(m.Ctx, 0, []domain.Incoming{m.incoming("1-1", purchase(r.EventID, r.OrderID, "fred", 1))})
	m.wantReplaced(err)
	m.seen["zombie held nothing"]++
	if err := ledger.Cancel(m.Ctx, 0, []domain.Cancellation{{Ref: r}}); err != nil { // with what is cancelled, there is nothing to do
		m.wantReplaced(err)
		m.seen["zombie moved nothing"]++
	}
	if is, begun, err := m.store.beginBranch(m.Ctx, 0, layout.Branch{Parent: another}); err != nil || begun || is != m.branches[layout.BranchField] {
		m.Fatalf("began %s: %t, %v", is, begun, err)
	}
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
		m.postEntries(slices.Collect(maps.Keys(m.raw)))
		return
	}
	batch := make([]string, pick(m, "facts", 1, 3, 6))
	for i := range batch {
		batch[i] = pick(m, "fact", m.facts...).ID
	}
	m.postEntries(batch)
}

// postEntries does with log entries what posting does: what was confirmed is posted, the others are passed over.
func (m *model) postEntries(entries []string) {
	m.Helper()
	m.commands++
	slices.Sort(entries)
	var confirmed []domain.Fact
	for _, fact := range m.facts {
		_, wanted := slices.BinarySearch(entries, fact.ID)
		switch {
		case !wanted:
		case !fact.Posts():
			m.seen["posted nothing"]++
		default:
			confirmed = append(confirmed, fact)
			m.second.Post(reference.Name{Event: fact.EventID, Order: fact.OrderID})
			if m.seen["posted"]++; m.book.Orders[fact.Ref()].State == domain.OrderCancelled {
				m.seen["posted what is cancelled"]++
			}
		}
	}
	if len(entries) > 0 {
		m.Must(m.ledger.Post(m.Ctx, 0, entries, confirmed))
	}
	for _, id := range entries {
		delete(m.pending[domain.GroupPosting], id)
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
	m.handled = append(m.handled, letter.id)
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
	m.handled = append(m.handled, m.dead[i].id)
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
	dropped, left, err := m.ledger.Trim(m.Ctx, 0)
	m.Must(err)
	if dropped != int64(gone) || left != (gone < len(m.requests) || unread != "") {
		m.Fatalf("trimmed %d requests, want %d; any left: %t", dropped, gone, left)
	}
	m.paced = left
	m.requests, m.compared = slices.Clone(m.requests[gone:]), max(0, m.compared-gone)
	m.seen[map[bool]string{true: "trimmed", false: "trimmed nothing"}[gone > 0]]++
	if unread != "" {
		m.arrivesAgain(unread, fields)
	}
}

// forget has it forgotten that requests came for events that there are not, after some time or at once.
func (m *model) forget() {
	m.commands++
	if len(m.stale) > 0 && pick(m, "by who was frozen", true, false) {
		m.forgetAgain(pick(m, "member", m.stale...))
		return
	}
	listed := m.Do("ZRANGE", m.Keys.Unknown(0), 0, -1).([]any)
	before, age, most := m.Now(), pick[int64](m, "age", -2*validMillis, -2*validMillis, 0), pick(m, "most", 100, 1) // ages that are negative are of tests alone
	n, more, err := m.ledger.Forget(m.Ctx, 0, time.Duration(age)*time.Millisecond, most)
	m.Must(err)
	var due []string // the log entries that may be forgotten by then
	for id, at := range m.nonsense {
		if at+age <= m.Now() {
			due = append(due, id)
		}
	}
	facts := m.newFacts()
	entries := make(map[string]bool)
	for _, fact := range facts {
		was := m.book.Orders[fact.Ref()]
		name := reference.Name{Event: fact.EventID, Order: fact.OrderID}
		if fact.Type != domain.FactForgotten || fact.Version != was.Version || !slices.Contains(due, was.Version) || fact.AtMillis < before || !m.second.Forget(name) {
			m.Fatalf("%+v of %+v at %d, of the entries %v", fact, was, before, due)
		}
		if m.book.Events[fact.EventID].Exists() {
			m.seen["forgotten, of an event that came"]++
		}
		m.Must(m.book.Fold(fact))
		delete(m.early, fact.Ref())
		entries[was.Version] = true
	}
	if n != len(facts) || len(entries) != min(most, len(due)) || more != (len(entries) == most) {
		m.Fatalf("it says %d, %t, there are %d facts of %d entries, of the entries %v", n, more, len(facts), len(entries), due)
	}
	for id := range entries {
		delete(m.nonsense, id)
	}
	for _, member := range listed {
		if version, _, _ := strings.Cut(member.(string), " "); entries[version] {
			m.stale = append(m.stale, member.(string))
		}
	}
	if len(facts) == 0 {
		m.seen["forgotten nothing"]++
	}
}

// forgetAgain is the script of somebody who looked at the list before others had dealt with it. Orders of those names may have come since.
func (m *model) forgetAgain(member string) {
	_, names, _ := strings.Cut(member, " ")
	for _, name := range strings.Fields(names) {
		r, _ := domain.ParseOrderRef(name)
		if _, known := m.book.Orders[r]; known {
			m.seen["forgotten by who was frozen"]++
		}
	}
	n, err := m.ledger.forgetEntries(m.Ctx, 0, []string{member})
	m.Must(err)
	if facts := m.newFacts(); n != 0 || len(facts) > 0 {
		m.Fatalf("forgot %d, with %+v, of %q", n, facts, member)
	}
}

// arrivesAgain delivers an entry that was added to the requests.
func (m *model) arrivesAgain(id string, fields []string) {
	m.Helper()
	if got := ids(m.Deliver(domain.GroupWorkers, "w1")); !slices.Equal(got, []string{id}) {
		m.Fatalf("delivered %v, want %s", got, id)
	}
	m.took(id, fields)
	m.arrives(m.incoming(id, fields), fields)
}

// arrives notes a request that came, to come again. Partial cancels and changes come again with others of their order: what they come
// to depends on who takes places first, and what is about an order for the second time in a batch is decided after all others.
func (m *model) arrives(a domain.Incoming, fields []string) {
	if !a.Request.Changes() {
		m.arrived = append(m.arrived, arrival{a, fields})
	}
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
			if by := layout.DeliveredBy(note, id, nowMillis); !m.noted[domain.Group(group)] || by < min(domain.EntryMillis(id), nowMillis)-1 || by > nowMillis { // the clock in an id may be ahead of Redis's
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
		if until := o.PayableUntilMillis(); o.Open() && until < now+100 && until > next {
			next = until
		}
	}
	m.WaitUntil(max(now+1, next))
}

// settleAll posts all that happened, in one go: I3 when all is quiet. And the log,
// read from its start, gives what is stored: I7.
func (m *model) settleAll() {
	m.Helper()
	for _, member := range m.stale { // orders of these names may have come since, which takes a long sequence
		m.forgetAgain(member)
	}
	m.deliverFacts()
	m.postEntries(slices.Collect(maps.Keys(m.raw)))
	m.compare()
	lines := make(map[string]map[string]inspect.InvoiceLine)
	for _, customer := range modelCustomers {
		list, err := m.inspector.Invoices(m.Ctx, customer)
		m.Must(err)
		lines[customer] = make(map[string]inspect.InvoiceLine)
		for _, line := range list {
			lines[customer][ref(line.EventID, line.OrderID).String()] = line
		}
	}
	for name, o := range m.second.Orders {
		line, posted := lines[o.Customer][ref(name.Event, name.Order).String()]
		if posted != (o.Confirmed > 0) || posted && line != (inspect.InvoiceLine{
			OrderID: name.Order, EventID: name.Event, Section: line.Items.Sections(), Quantity: line.Items.Quantity(), Amount: line.Items.Amount(),
			Currency: o.Currency, ConfirmedAtMillis: o.Confirmed, Status: o.State, Items: itemsOf(o.Lines),
		}) {
			m.Fatalf("%s is %+v; its invoice line: %+v", name, o, line)
		}
	}
	for id, e := range m.second.Events {
		totals, err := m.inspector.Sales(m.Ctx, id)
		m.Must(err)
		if want := (inspect.Totals{Orders: e.Orders, TicketsSold: e.Tickets, Revenue: e.Revenue}); totals != want {
			m.Fatalf("%s: sales are %+v, want %+v", id, totals, want)
		}
	}
	if len(m.pending[domain.GroupPosting]) != 0 {
		m.Fatalf("all was posted, but %v is pending", m.pending[domain.GroupPosting])
	}
	var refs []domain.OrderRef
	for r := range m.book.Orders {
		refs = append(refs, r)
	}
	orders, err := m.checkout.Orders(m.Ctx, refs)
	m.Must(err)
	for i, o := range orders {
		if o != m.book.Orders[refs[i]] {
			m.Fatalf("%s is stored as\n%+v\nwant\n%+v", refs[i], o, m.book.Orders[refs[i]])
		}
	}
	for id, e := range m.book.Events {
		got, err := m.events.Get(m.Ctx, id)
		m.Must(err)
		if !reflect.DeepEqual(got, e) {
			m.Fatalf("%s is stored as\n%+v\nwant\n%+v", id, got, e)
		}
	}
	if folded := m.fold(); !reflect.DeepEqual(folded.Events, m.book.Events) || !maps.Equal(folded.Orders, m.book.Orders) {
		m.Fatalf("the log folds to\n%+v\nthe model is\n%+v", folded, m.book)
	}
}

// compareOpinions compares what was decided with what the log folds to, and with the second opinion.
func (m *model) compareOpinions() {
	m.Helper()
	if !reflect.DeepEqual(m.folded.Events, m.book.Events) || !maps.Equal(m.folded.Orders, m.book.Orders) || !maps.Equal(inProgress(m.folded), inProgress(m.book)) ||
		!reflect.DeepEqual(m.folded.Places, m.book.Places) || !maps.Equal(m.folded.Refused, m.book.Refused) {
		m.Fatalf("the log folds to\n%+v\nthe model is\n%+v", m.folded, m.book)
	}
	if len(m.second.Orders) != len(m.book.Orders) || len(m.second.Events) != len(m.book.Events) || !maps.Equal(m.second.InProgress, inProgress(m.book)) {
		m.Fatalf("the second opinion is\n%+v\nthe model is\n%+v", m.second, m.book)
	}
	for r, o := range m.book.Orders {
		want := reference.Order{
			State: o.State.String(), Reason: o.Reason, Detail: o.Detail, Type: string(o.RequestType), Body: o.Fingerprint, Customer: o.CustomerID,
			Currency: o.Currency, Authorization: o.AuthorizationID,
			Held: o.HeldAtMillis, Deadline: o.DeadlineMillis, Confirmed: o.ConfirmedAtMillis, Outcome: o.ResolvedAtMillis,
			Code: o.Code, Trace: string(o.Trace), Number: o.Change, AlteredAt: o.ChangedAtMillis, AlteredBy: o.ChangeFingerprint, Refusal: o.ChangeRefusal, Blamed: o.ChangeDetail, Owed: o.Reduced, Back: o.RefundTotal(), LateFor: o.LateMillis,
			Attempt: o.Attempt, Failed: o.PayState == domain.PayDeclined, Asked: o.PayState == domain.PayActionRequired, Bill: o.PayFingerprint,
			Dispute: reference.Told(string(o.Dispute.State), o.Dispute.Amount, o.Dispute.DueMillis),
		}
		second := m.second.Orders[reference.Name{Event: r.EventID, Order: r.OrderID}]
		if second != nil {
			want.Lines, want.Paid = second.Lines, second.Paid
		}
		if second == nil || !reflect.DeepEqual(*second, want) || itemsOf(second.Lines) != o.Items {
			m.Fatalf("%s is\n%+v\nthe second opinion is\n%+v", r, o, second)
		}
	}
	for id, e := range m.book.Events {
		second := m.second.Events[id]
		if second == nil || second.Closed != e.Closed || second.Cancelled != e.Cancelled || !reflect.DeepEqual(second.Offer, offerOf(e.Terms())) {
			m.Fatalf("%s is\n%+v\nthe second opinion is\n%+v", id, e, second)
		}
		for _, a := range e.Allocations {
			for _, c := range a.Codes {
				if uses := m.second.Uses(id, c.Hash); uses != c.Used {
					m.Fatalf("%s: a code of %s is used by %d, the second opinion is %d", id, a.Name, c.Used, uses)
				}
			}
		}
		for _, s := range e.Sections {
			if second.Sections[s.Name] != (reference.Section{Price: s.Price, Capacity: s.Capacity, Available: s.Available, Held: s.Held, Sold: s.Sold, Blocked: s.Blocked, Seats: s.Places}) {
				m.Fatalf("%s: section %+v, the second opinion is %+v", id, s, second.Sections[s.Name])
			}
		}
	}
}

// inProgress are the orders in progress, by event and customer.
func inProgress(b *domain.Snapshot) map[reference.Name]string {
	all := make(map[reference.Name]string)
	for event, customers := range b.InProgress {
		for customer, order := range customers {
			all[reference.Name{Event: event, Order: customer}] = order
		}
	}
	return all
}

// compare reads everything that is in Redis, in one step, and compares it with the model.
func (m *model) compare() {
	m.Helper()
	m.comparisons++
	m.compareOpinions()
	want := m.expected()
	names := slices.Sorted(maps.Keys(want))
	pipe := m.Client.TxPipeline()
	for _, group := range logGroups { // as deliverFacts, in the same round trip
		pipe.Do(m.Ctx, "XREADGROUP", "GROUP", string(group), "w1", "COUNT", 100_000, "STREAMS", m.Keys.Log(0), ">")
	}
	all := pipe.Keys(m.Ctx, "*")
	hashes := make(map[string]*redis.MapStringStringCmd)
	for _, name := range names {
		switch want[name].(type) {
		case map[string]string, map[string]domain.Order:
			hashes[name] = pipe.HGetAll(m.Ctx, name)
		}
	}
	holds, alive := pipe.ZRangeWithScores(m.Ctx, m.Keys.Holds(0), 0, -1), pipe.ZRangeWithScores(m.Ctx, m.Keys.Consumers(0), 0, -1)
	awaited := pipe.ZRangeWithScores(m.Ctx, m.Keys.Awaited(0), 0, -1)
	unknown := pipe.ZRangeWithScores(m.Ctx, m.Keys.Unknown(0), 0, -1)
	notes, now := pipe.HGetAll(m.Ctx, m.Keys.Delivered(0)), pipe.Time(m.Ctx)
	handled, newest := pipe.LLen(m.Ctx, m.Keys.Handled(0)), pipe.LIndex(m.Ctx, m.Keys.Handled(0), 0)
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
		if _, there := got[name]; !there {
			continue
		}
		if got[name] = cmd.Val(); strings.HasPrefix(name, m.Keys.OrdersPrefix(0)) {
			orders := make(map[string]domain.Order)
			for field, record := range cmd.Val() {
				var err error
				orders[field], err = layout.DecodeOrder(record)
				m.Must(err)
			}
			got[name] = orders
		}
	}
	for key, cmd := range map[string]*redis.ZSliceCmd{m.Keys.Holds(0): holds, m.Keys.Awaited(0): awaited} {
		if len(cmd.Val()) > 0 {
			times := make(map[string]int64)
			for _, z := range cmd.Val() {
				times[layout.AsString(z.Member)] = int64(z.Score)
			}
			got[key] = times
		}
	}
	if len(unknown.Val()) > 0 {
		found := make(map[string]int64)
		for _, z := range unknown.Val() {
			version, orders, _ := strings.Cut(layout.AsString(z.Member), " ")
			list := strings.Fields(orders)
			slices.Sort(list)
			found[version+" "+strings.Join(list, " ")] = int64(z.Score)
		}
		got[m.Keys.Unknown(0)] = found
	}
	if got[m.Keys.Consumers(0)] = nil; len(alive.Val()) == 0 {
		delete(got, m.Keys.Consumers(0))
	}
	m.compareAlive(alive.Val())
	m.compareNotes(notes.Val(), now.Val().UnixMilli())
	delete(got, m.Keys.Delivered(0))
	if n := len(m.handled); handled.Val() != int64(n) || n > 0 && !strings.Contains(newest.Val(), `"letter":"`+m.handled[n-1]+`"`) {
		m.Fatalf("%d letters are noted as handled, the newest as %s, want %v", handled.Val(), newest.Val(), m.handled)
	}
	delete(got, m.Keys.Handled(0))
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

// expected is every key there must be, with what is in it: hashes as they stand in Redis, but the records of orders,
// which are read; nil for the streams, and for meta, which are compared elsewhere.
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
	events, progress, places := maps.Clone(m.branches), make(map[string]string), make(map[string]string)
	events[layout.ClockField] = strconv.FormatInt(m.clock, 10)
	for id, e := range m.book.Events {
		m.Must(e.CheckConservation())
		maps.Copy(events, layout.EncodeEvent(id, e, m.hashes[id]))
		maps.Copy(places, layout.EncodePlaces(id, e))
		second := m.second.Events[id]
		for what, places := range second.Refused {
			events[layout.RefusedField(domain.RefusedDemand{EventID: id, Section: what[0], Reason: what[1]})] = strconv.FormatInt(places, 10)
			m.seen["refused demand counted"]++
		}
		for _, customer := range modelCustomers {
			if places := m.second.Owns(id, customer); e.MaxPerCustomer > 0 && places > 0 {
				key := m.Keys.Customers(0, m.Keys.HashOfCustomer(id, customer, m.hashes[id]))
				if want[key] == nil {
					want[key] = make(map[string]string)
				}
				want[key].(map[string]string)[id+"/"+customer] = strconv.FormatInt(places, 10)
				m.seen["places of a customer counted"]++
			}
		}
		events[layout.SalesField(id)] = layout.Totals{Orders: second.Orders, TicketsSold: second.Tickets, Revenue: second.Revenue}.String()
	}
	if want[m.Keys.Events(0)] = events; len(places) > 0 {
		want[m.Keys.Places(0)] = places
	}
	for slot, order := range m.second.InProgress {
		progress[slot.Event+"/"+slot.Order] = order
	}
	if len(progress) > 0 {
		want[m.Keys.InProgress(0)] = progress
	}
	deadlines, asked, early := make(map[string]int64), make(map[string]int64), make(map[string]int)
	nonsense := make(map[string][]string)
	for r, o := range m.book.Orders {
		if o.Reason == domain.ReasonUnknownEvent {
			nonsense[o.Version] = append(nonsense[o.Version], r.String())
		}
		hash := m.Keys.HashOf(r, m.hashes[r.EventID])
		if m.early[r] {
			hash = m.Keys.SharedHash(r.EventID)
			early[r.EventID]++
		}
		key := m.Keys.Orders(0, hash)
		if want[key] == nil {
			want[key] = make(map[string]domain.Order)
		}
		want[key].(map[string]domain.Order)[r.String()] = o
		if o.Open() {
			deadlines[r.String()] = o.PayableUntilMillis()
		}
		if o.Awaited() {
			asked[r.String()] = m.asked[r]
		}
	}
	if len(asked) > 0 {
		want[m.Keys.Awaited(0)] = asked
	}
	for id, count := range early {
		events[layout.EarlyField(id)] = strconv.Itoa(count)
	}
	if len(deadlines) > 0 {
		want[m.Keys.Holds(0)] = deadlines
	}
	unknown := make(map[string]int64)
	for version, orders := range nonsense {
		slices.Sort(orders)
		unknown[version+" "+strings.Join(orders, " ")] = m.nonsense[version]
	}
	if len(unknown) > 0 {
		want[m.Keys.Unknown(0)] = unknown
	}
	if m.paced {
		want[m.Keys.Pace(0)] = nil
	}
	for name, customer := range m.second.Invoices {
		key := m.Keys.Invoices(customer)
		if want[key] == nil {
			want[key] = make(map[string]string)
		}
		want[key].(map[string]string)[ref(name.Event, name.Order).String()] = ""
	}
	return want
}
