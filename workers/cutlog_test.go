package workers_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/e2e/torture"
	"holdfast/payments/simulator"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// recording is a sale that ended with the death of its workers and its Redis:
// what was published, what Redis had written down, and what the gateway did.
type recording struct {
	ns       string
	seed     uint64 // the gateway's
	terms    map[string]domain.Terms
	entries  [][]string // all that was published, in order
	file     *appendOnly
	requests []appended
	facts    []placedFact
	books    []domain.BooksLine
}

// placedFact is a fact, and how much of the file must be there for it to be loaded.
type placedFact struct {
	domain.Fact
	counts int
}

// Orders that the gateway has something against.
const (
	refusedOrder  = "refused" // approved, but its money cannot be collected
	hangingPrefix = "hanging" // approved, but nobody hears of it
)

// refusing is the gateway of the recording, and of those who recover.
func refusing(gateway domain.PaymentGateway) gatewayFunc {
	return gatewayFunc{PaymentGateway: gateway, capture: func(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
		if a.Name.OrderID == refusedOrder {
			return domain.Payment{}, domain.ErrRefused
		}
		return gateway.Capture(ctx, a)
	}}
}

// record runs a sale with something of everything. In the end some payments are
// authorized and their replies are still on the way.
func record(t *testing.T, rng *rand.Rand) *recording {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	r := &recording{seed: rng.Uint64(), terms: map[string]domain.Terms{
		"e": {Name: "Men's Discus", Currency: "EUR", MaxPerOrder: 100, Sections: []domain.SectionTerms{
			{Name: "general", Price: 10_00, Capacity: 100}, {Name: "vip", Price: 99_00, Capacity: 12}, {Name: "balcony", Price: 25_50, Capacity: 30},
		}},
		"f": {Name: "Women's Discus", Currency: "USD", Sections: []domain.SectionTerms{
			{Name: "general", Price: 15_00, Capacity: 100}, {Name: "vip", Price: 120_00, Capacity: 20},
		}},
	}}
	w := newWorld(t, server, simulator.Options{Latency: 4 * time.Millisecond, Seed: r.seed})
	r.ns = w.ns
	r.list(w)

	var hanging atomic.Int64
	gateway := refusing(w.gateway)
	gateway.authorize = func(ctx context.Context, p domain.PaymentRequest) (domain.Payment, error) {
		payment, err := w.gateway.Authorize(ctx, p)
		if strings.HasPrefix(p.Name.OrderID, hangingPrefix) {
			hanging.Add(1)
			<-ctx.Done()
			return domain.Payment{}, errLost
		}
		return payment, err
	}
	cfg := workers.Config{HoldTime: 10 * time.Minute, Grace: 300 * time.Millisecond}
	pools := []*worker{w.start(cfg, gateway, nil), w.start(cfg, gateway, nil)}

	opening, following, late := r.script(rng)
	r.publish(w, rng, opening)
	for ref, next := range following {
		w.eventually(fmt.Sprintf("%s %s", ref, next.after), func() bool {
			state := orderOf(w, ref).State
			return state == next.after || state.Terminal()
		})
	}
	w.eventually("a payment to be refunded", func() bool { return w.payment("undone-0").Status == domain.PaymentStatusCaptured })
	var more [][]string
	for _, ref := range slices.SortedFunc(maps.Keys(following), func(a, b domain.OrderRef) int { return strings.Compare(a.String(), b.String()) }) {
		more = append(more, following[ref].fields)
	}
	r.publish(w, rng, append(more, late...))
	if _, err := w.store.Events().Adjust(w.ctx, "e", func(terms domain.Terms) (domain.Terms, error) {
		terms.Sections[1].Capacity += 3
		return terms, nil
	}); err != nil {
		t.Fatal(err)
	}
	settled(w)
	w.eventually("requests trimmed", func() bool {
		n, err := w.rdb().XLen(w.ctx, w.requests()).Result()
		return err == nil && n == 0
	})
	for _, change := range []func(context.Context, string, domain.Cause) (bool, error){
		w.store.Events().Close, w.store.Events().Reopen, w.store.Events().Close,
	} {
		if changed, err := change(w.ctx, "f", domain.Cause{Reason: "the roof leaks", By: "ann"}); !changed || err != nil {
			t.Fatal(changed, err)
		}
	}
	last := make([][]string, 3)
	for i := range last {
		o := r.purchase(rng, "e", fmt.Sprintf("%s-%d", hangingPrefix, i))
		o.Section = "general" // the others may be sold out by now
		last[i] = wire.Fields(o)
	}
	r.publish(w, rng, last)
	w.eventually("payments authorized", func() bool { return hanging.Load() == int64(len(last)) })
	server.Kill()
	for _, p := range pools {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}
	r.books = w.gateway.Books()
	r.file = readAppendOnly(t, server.Dir())
	r.requests = r.file.stream(w.requests())
	for _, e := range r.file.stream(r.file.streamOf(domain.GroupPosting)) {
		facts, err := wire.ParseFacts(e.ID, e.Fields)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range facts {
			r.facts = append(r.facts, placedFact{f, e.counts})
		}
	}
	r.rich(t)
	return r
}

func (r *recording) list(w *world) {
	w.t.Helper()
	for _, id := range slices.Sorted(maps.Keys(r.terms)) {
		// One that is left was perhaps adjusted or closed since: it stays what it is.
		if _, err := w.store.Events().Create(w.ctx, id, r.terms[id]); err != nil && !errors.Is(err, domain.ErrConflict) {
			w.t.Fatalf("listing %s: %v", id, err)
		}
	}
}

func orderOf(w *world, ref domain.OrderRef) domain.Order {
	w.t.Helper()
	orders, err := w.store.Checkout().Orders(w.ctx, []domain.OrderRef{ref})
	if err != nil {
		w.t.Fatalf("reading %s: %v", ref, err)
	}
	return orders[0]
}

// publish adds entries, a few at a time.
func (r *recording) publish(w *world, rng *rand.Rand, entries [][]string) {
	w.t.Helper()
	r.entries = append(r.entries, entries...)
	for len(entries) > 0 {
		n := min(len(entries), 1+rng.IntN(4))
		add(w, entries[:n])
		entries = entries[n:]
	}
}

func add(w *world, entries [][]string) {
	w.t.Helper()
	pipe := w.rdb().Pipeline()
	for _, fields := range entries {
		args := []any{"XADD", w.requests(), "*"}
		for _, f := range fields {
			args = append(args, f)
		}
		pipe.Do(w.ctx, args...)
	}
	if _, err := pipe.Exec(w.ctx); err != nil {
		w.t.Fatalf("publishing: %v", err)
	}
}

// follow is what is published about an order once it is so far.
type follow struct {
	after  domain.OrderState
	fields []string
}

func (r *recording) purchase(rng *rand.Rand, event, order string) domain.Request {
	sections := r.terms[event].Sections
	return domain.Request{
		Type: domain.RequestPurchase, EventID: event, OrderID: order, CustomerID: "customer-of-" + order,
		Section: sections[rng.IntN(len(sections))].Name, Quantity: 1 + rng.Int64N(2), PaymentToken: "tok_secret",
	}
}

// script draws a sale: what comes first, what comes once an order is so far, and what comes late.
func (r *recording) script(rng *rand.Rand) (opening [][]string, following map[domain.OrderRef]follow, late [][]string) {
	following = make(map[domain.OrderRef]follow)
	var first [][][]string // entries that belong together come in this order
	event := func() string { return []string{"e", "f"}[rng.IntN(2)] }
	then := func(o domain.Request, after domain.OrderState, typ domain.RequestType) {
		next := domain.Request{Type: typ, EventID: o.EventID, OrderID: o.OrderID}
		if typ.Pays() {
			next.PaymentToken = "tok_secret"
		}
		following[o.Ref()] = follow{after, wire.Fields(next)}
	}
	hold := func(order string, seconds int64) domain.Request {
		o := r.purchase(rng, event(), order)
		o.Type, o.PaymentToken, o.HoldSeconds = domain.RequestHold, "", seconds
		return o
	}
	each := func(n int, name string, entries func(order string) []domain.Request) {
		for i := range n {
			var group [][]string
			for _, o := range entries(fmt.Sprintf("%s-%d", name, i)) {
				group = append(group, wire.Fields(o))
			}
			first = append(first, group)
		}
	}
	var bought []domain.Request
	each(5, "bought", func(order string) []domain.Request {
		bought = append(bought, r.purchase(rng, event(), order))
		return bought[len(bought)-1:]
	})
	// Whoever recovers from a cut finds these holds over, those of the others not.
	each(4, "short", func(order string) []domain.Request {
		o := r.purchase(rng, event(), order)
		o.HoldSeconds = 2
		return []domain.Request{o}
	})
	each(2, "declined", func(order string) []domain.Request {
		o := r.purchase(rng, event(), order)
		o.PaymentToken = simulator.DeclineTokenPrefix
		return []domain.Request{o}
	})
	each(2, "expired", func(order string) []domain.Request {
		o := hold(order, 1)
		second := r.purchase(rng, o.EventID, "again-"+order) // while the first is in progress
		second.CustomerID = o.CustomerID
		return []domain.Request{o, second}
	})
	each(2, "paid", func(order string) []domain.Request {
		o := hold(order, 5)
		then(o, domain.OrderHeld, domain.RequestPay)
		return []domain.Request{o}
	})
	each(2, "given-up", func(order string) []domain.Request {
		o := hold(order, 5)
		then(o, domain.OrderHeld, domain.RequestCancel)
		return []domain.Request{o}
	})
	each(3, "undone", func(order string) []domain.Request {
		o := r.purchase(rng, event(), order)
		o.Section = "general"
		then(o, domain.OrderConfirmed, domain.RequestCancel)
		return []domain.Request{o}
	})
	each(2, "cancelled-before", func(order string) []domain.Request {
		o := r.purchase(rng, event(), order)
		following[o.Ref()] = follow{domain.OrderCancelled, wire.Fields(o)}
		return []domain.Request{{Type: domain.RequestCancel, EventID: o.EventID, OrderID: o.OrderID}}
	})
	each(1, "sold-out", func(order string) []domain.Request {
		o := r.purchase(rng, "f", order)
		o.Quantity = 1000
		return []domain.Request{o}
	})
	refused := r.purchase(rng, event(), refusedOrder)
	refused.Section = "general" // the others may be sold out when it comes
	first = append(first, [][]string{wire.Fields(refused)})
	rng.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
	opening = slices.Concat(first...)

	conflict, invalid, unknown := bought[0], r.purchase(rng, "e", "invalid"), r.purchase(rng, "e", "unknown")
	conflict.Quantity += 5
	invalid.Quantity = 0
	unknown.EventID = "nobody-listed-it"
	late = [][]string{
		wire.Fields(conflict), wire.Fields(bought[1]), wire.Fields(invalid), wire.Fields(unknown),
		{"v", "1", "type", "refund", "order_id", "nonsense"},
	}
	return opening, following, late
}

// rich fails the test if the recording has not something of everything.
func (r *recording) rich(t testing.TB) {
	t.Helper()
	seen := make(map[string]int)
	for _, f := range r.facts {
		what := string(f.Type)
		if f.Type == domain.FactCancelled {
			what += " " + f.Was.String() + " " + f.Reason
		}
		seen[what]++
	}
	for _, want := range []string{
		"listed", "adjusted", "closed", "reopened", "held", "rejected", "confirmed", "declined", "expired", "cancelled none requested",
		"cancelled held requested", "cancelled confirmed requested", "cancelled confirmed capture_failed",
	} {
		if seen[want] == 0 {
			t.Errorf("no %s among the facts", want)
		}
	}
	for _, want := range [][2]string{{"XADD", ":dead"}, {"XTRIM", ":requests"}, {"XACK", ":requests"}, {"XACK", ":log"}, {"HSETNX", "}"}, {"HDEL", ""}, {"ZREM", ""}} {
		if !r.file.has(want[0], want[1]) {
			t.Errorf("no %s of …%s in the file", want[0], want[1])
		}
	}
	statuses := make(map[domain.PaymentStatus]int)
	for _, l := range r.books {
		statuses[l.Status]++
	}
	for _, want := range []domain.PaymentStatus{
		domain.PaymentStatusAuthorized, domain.PaymentStatusDeclined, domain.PaymentStatusCaptured, domain.PaymentStatusVoided, domain.PaymentStatusRefunded,
	} {
		if statuses[want] == 0 {
			t.Errorf("no payment is %s", want)
		}
	}
	if len(r.requests) != len(r.entries) {
		t.Errorf("%d requests in the file, %d were published", len(r.requests), len(r.entries))
	}
	t.Logf("recorded: %d entries published, %d commands, %d bytes; facts %v; payments %v", len(r.entries), len(r.file.commands), len(r.file.data), seen, statuses)
}

// gateway is a copy of what the recording's gateway was in the end.
func (r *recording) gateway(t testing.TB) *simulator.Simulator {
	t.Helper()
	ctx := context.Background()
	sim, err := simulator.New(simulator.Options{Seed: r.seed})
	if err != nil {
		t.Fatalf("making the gateway: %v", err)
	}
	for _, l := range r.books {
		var err error
		attempt := domain.Attempt{Name: l.Name(), Amount: l.Authorized, Currency: l.Currency, CustomerID: l.CustomerID, Fingerprint: l.Fingerprint}
		do := func(call func(context.Context, domain.Attempt) (domain.Payment, error)) {
			if err == nil {
				_, err = call(ctx, attempt)
			}
		}
		if l.Currency != "" { // otherwise voided before it was asked for
			token := domain.Secret("tok_secret")
			if l.Status == domain.PaymentStatusDeclined {
				token = simulator.DeclineTokenPrefix
			}
			_, err = sim.Authorize(ctx, domain.PaymentRequest{Attempt: attempt, Token: token})
		}
		switch l.Status {
		case domain.PaymentStatusCaptured:
			do(sim.Capture)
		case domain.PaymentStatusRefunded:
			do(sim.Capture)
			if err == nil {
				_, err = sim.Refund(ctx, attempt, l.Refunded)
			}
		case domain.PaymentStatusVoided:
			do(sim.Void)
		case domain.PaymentStatusAuthorized, domain.PaymentStatusDeclined:
		}
		if err != nil {
			t.Fatalf("copying the gateway: %v", err)
		}
	}
	withoutCalls := func(lines []domain.BooksLine) []domain.BooksLine {
		lines = slices.Clone(lines)
		for i := range lines {
			lines[i].Calls = 0
		}
		return lines
	}
	if got, want := withoutCalls(sim.Books()), withoutCalls(r.books); !slices.Equal(got, want) {
		t.Fatalf("the books of the copy are %+v, want %+v", got, want)
	}
	return sim
}

// factsWithin is how many facts a file of n bytes has; beyond are the orders with
// more facts than that.
func (r *recording) factsWithin(n int) (within int, beyond map[domain.OrderRef]bool) {
	beyond = make(map[domain.OrderRef]bool)
	for _, f := range r.facts {
		if f.counts <= n {
			within++
		} else {
			beyond[f.Ref()] = true
		}
	}
	return within, beyond
}

// answered checks that each request within the first n bytes has led to the
// outcome of its order, or is a dead letter.
func (r *recording) answered(w *world, n int) {
	w.t.Helper()
	dead := make(map[string]bool)
	if err := inspect.New(w.store).EachDeadLetter(w.ctx, func(l inspect.DeadLetter) error {
		dead[l.EntryID] = true
		return nil
	}); err != nil {
		w.t.Fatalf("reading dead letters: %v", err)
	}
	for _, e := range r.requests {
		if e.counts > n || dead[e.ID] {
			continue
		}
		request, err := wire.ParseRequest(e.Fields)
		if err != nil && domain.ClassOf(err) != domain.ClassReject {
			w.t.Errorf("request %s should be a dead letter: %v", e.ID, err)
			continue
		}
		if o := orderOf(w, request.Ref()); !o.State.Terminal() {
			w.t.Errorf("request %s has no outcome: %s is %s", e.ID, request.Ref(), o.State)
		}
	}
}

// settled waits until nothing is left to be done, and no hold to be resolved.
func settled(w *world) {
	w.t.Helper()
	quiet := 0
	w.eventually("everything done and no hold left", func() bool {
		// The groups are read one after the other, and one may make work for another.
		if quiet++; held(w) > 0 || w.backlog() > 0 {
			quiet = 0
		}
		return quiet == 2
	})
}

// held is how many places are held, of all events.
func held(w *world) (places int64) {
	w.t.Helper()
	ids, err := w.store.Events().IDs(w.ctx, 0)
	if err != nil {
		w.t.Fatalf("listing events: %v", err)
	}
	for _, id := range ids {
		e, err := w.store.Events().Get(w.ctx, id)
		if err != nil {
			w.t.Fatalf("reading event %s: %v", id, err)
		}
		for _, s := range e.Sections {
			places += s.Held
		}
	}
	return places
}

// astray audits with the gateway's books and returns the orders whose payment it
// complains about. They may only be among those given, and they must be exactly
// those whose payment is not what their stored state asks for.
func astray(w *world, tally *torture.Tally, beyond map[domain.OrderRef]bool) map[domain.OrderRef]bool {
	w.t.Helper()
	report, err := audit.Run(w.ctx, w.store, audit.Options{
		Gateway: func(context.Context) ([]domain.BooksLine, error) { return w.gateway.Books(), nil },
	})
	if err != nil {
		w.t.Fatalf("audit: %v", err)
	}
	named := make(map[domain.OrderRef]bool)
	wrong := 0
	for _, v := range report.Violations {
		ref, ok := domain.ParseOrderRef(v.Subject)
		if v.Invariant != "I4" && v.Invariant != "I5" || !ok || !beyond[ref] {
			w.t.Errorf("%s %s: %s", v.Invariant, v.Subject, v.Detail)
			wrong++
		}
		named[ref] = true
	}
	tally.Judged(wrong)

	lines := w.gateway.Books()
	refs := make([]domain.OrderRef, len(lines))
	for i, l := range lines {
		refs[i] = domain.OrderRef{EventID: l.EventID, OrderID: l.OrderID}
	}
	orders, err := w.store.Checkout().Orders(w.ctx, refs)
	if err != nil {
		w.t.Fatal(err)
	}
	strays := make(map[domain.OrderRef]bool)
	for i, l := range lines {
		confirmed, captured := orders[i].State == domain.OrderConfirmed, l.Status == domain.PaymentStatusCaptured
		if confirmed != captured || l.Status == domain.PaymentStatusAuthorized {
			strays[refs[i]] = true
		}
		if l.Authorizations > 1 || l.Captures > 1 || l.Voids > 1 || l.Refunds > 1 {
			w.t.Errorf("the gateway did something twice: %+v", l)
		}
	}
	if !maps.Equal(named, strays) {
		w.t.Errorf("the audit names %v, astray are %v", named, strays)
	}
	return named
}

// cutAt loads the first n bytes, as a Redis that lost the rest would, lets
// workers finish what is there, and then publishes everything again.
// named are the payments that the audit complains about before that, left those after it.
func (r *recording) cutAt(t *testing.T, tally *torture.Tally, n int) (named, left int) {
	within, beyond := r.factsWithin(n)
	server := redistest.StartIn(t, r.file.cut(t, n),
		"--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0", "--aof-load-truncated", "yes")
	w := openWorld(t, server, r.ns, r.gateway(t))

	report, err := audit.Run(w.ctx, w.store, audit.Options{})
	if err != nil {
		t.Fatalf("audit after loading: %v", err)
	}
	for _, v := range report.Violations {
		t.Errorf("after loading: %s %s: %s", v.Invariant, v.Subject, v.Detail)
	}
	tally.Judged(len(report.Violations))
	if report.Checked.Facts != within {
		t.Errorf("%d facts are there after loading, the file has %d", report.Checked.Facts, within)
	}

	pool := w.start(workers.Config{ // new holds are over soon, so that nobody waits for those that nothing follows
		HoldTime: time.Second, MaxHold: time.Second, ReclaimAfter: 300 * time.Millisecond, PayWait: 200 * time.Millisecond, Grace: 300 * time.Millisecond,
	}, refusing(w.gateway), nil)
	settled(w)
	r.answered(w, n)
	before := astray(w, tally, beyond)
	r.list(w)
	add(w, r.entries)
	settled(w)
	after := astray(w, tally, before)
	server.Kill() // first, so that nobody waits until a blocking read is over
	if err := pool.stop(); err != nil {
		t.Error(err)
	}
	return len(before), len(after)
}

// Whatever of its append-only file Redis lost at the end, be it in the middle of
// a transaction or of a command: what is left is right in itself, workers finish it,
// and the audit names each payment of which Redis does not know any more. Publishing
// everything again does nothing twice, and repairs most of it.
func TestTortureCutLogs(t *testing.T) {
	tally := torture.Begin(t, 5, "append-only files cut")
	rng := rand.New(rand.NewPCG(torture.Seed(t), 5))
	r := record(t, rng)
	if t.Failed() {
		return // a recording that lacks something proves nothing
	}
	boundaries := r.file.boundaries()
	everyBoundary := len(boundaries)
	rng.Shuffle(len(boundaries), func(i, j int) { boundaries[i], boundaries[j] = boundaries[j], boundaries[i] })
	boundaries = boundaries[:torture.Size(40, len(boundaries))]
	random := make([]int, torture.Size(40, 500))
	for i := range random {
		random[i] = rng.IntN(len(r.file.data) + 1)
	}

	var mu sync.Mutex
	var named, left, inTransaction int
	cuts := make(map[string]int)
	var running sync.WaitGroup
	room := make(chan struct{}, 16) // they mostly wait for deadlines and reclaim times
	cut := func(where string, n int) {
		room <- struct{}{}
		running.Go(func() {
			defer func() { <-room }()
			t.Run(fmt.Sprintf("%s %d", where, n), func(t *testing.T) {
				before, after := r.cutAt(t, tally, n)
				mu.Lock()
				defer mu.Unlock()
				cuts[where]++
				named += before
				left += after
				if r.file.inTransaction(n) {
					inTransaction++
				}
			})
		})
	}
	for _, n := range boundaries {
		cut("boundary", n)
	}
	for _, n := range random {
		cut("byte", n)
	}
	running.Wait()

	tally.Count("cuts at command boundaries", cuts["boundary"])
	tally.Count("cuts at random bytes", cuts["byte"])
	tally.Count("of them within a transaction", inTransaction)
	tally.Count("payments beyond the cut, named by the audit", named)
	tally.Count("of them put right by publishing again", named-left)
	if want := torture.Size(40, everyBoundary); cuts["boundary"] != want || torture.Full() && want < 200 {
		t.Errorf("%d cuts at command boundaries of %d, want all, and at least 200 in full", cuts["boundary"], everyBoundary)
	}
	if want := torture.Size(40, 500); cuts["byte"] != want {
		t.Errorf("%d cuts at random bytes, want %d", cuts["byte"], want)
	}
	if named == 0 || left >= named || inTransaction == 0 {
		t.Errorf("%d payments named, %d after publishing again, %d cuts within a transaction: this tests nothing", named, left, inTransaction)
	}
}
