package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
)

// workload is a sale drawn by chance: what is published, in order, and what must
// become of it.
type workload struct {
	events   []string // the first is the hot one
	capacity map[string]int64
	entries  []wireEntry

	orders  map[domain.OrderRef]domain.Request // that must have an outcome, by what opens them
	invalid map[domain.OrderRef]bool           // of these: those that must be rejected as invalid
	dead    int                                // entries that must become dead letters
	twice   int
	cancels int
}

// wireEntry is one XADD.
type wireEntry struct {
	partitionOf string // event
	fields      []string
	dead        bool
	opens       domain.OrderRef // unless it is no purchase and no hold
}

const (
	hotEvent    = "hot"
	hotShare    = 0.3
	otherEvents = 100
	// onSaleAtOnce is over how many of the others the demand spreads at a time. It moves
	// from the first to the last, so that there is something to sell until the end.
	onSaleAtOnce = 10
	demandFactor = 3 // how many tickets are wanted for each that there is
)

// newWorkload draws entries until there are n of them.
func newWorkload(rng *rand.Rand, n int) *workload {
	w := &workload{
		events: []string{hotEvent}, capacity: make(map[string]int64),
		orders: make(map[domain.OrderRef]domain.Request), invalid: make(map[domain.OrderRef]bool),
	}
	for e := range otherEvents {
		w.events = append(w.events, fmt.Sprintf("event-%02d", e))
	}
	demand := make(map[string]int64)
	var sent []domain.Request // purchases and holds that are well-formed
	var later []wireEntry     // published some entries from now
	for number := 0; len(w.entries) < n; number++ {
		if len(later) > 0 && rng.Float64() < 0.05 {
			w.entries = append(w.entries, later[0])
			later = later[1:]
			continue
		}
		r := domain.Request{
			Type: domain.RequestPurchase, EventID: hotEvent, OrderID: fmt.Sprintf("order-%05d", number),
			CustomerID: fmt.Sprintf("customer-%04d", rng.IntN(max(n/4, 1))), Quantity: 1 + rng.Int64N(3),
			PaymentToken: domain.Secret(fmt.Sprintf("tok_%d", number)),
		}
		if rng.Float64() >= hotShare {
			first := len(w.entries) * (otherEvents - onSaleAtOnce + 1) / n
			r.EventID = w.events[1+first+rng.IntN(onSaleAtOnce)]
		}
		cancel := domain.Request{Type: domain.RequestCancel, EventID: r.EventID, OrderID: r.OrderID}
		switch draw := rng.Float64(); {
		case draw < 0.02:
			w.addMalformed(rng, r)
			continue
		case draw < 0.07 && len(sent) > 0: // twice: the checkout did not see the first reply
			again := sent[len(sent)-1-rng.IntN(min(len(sent), 500))]
			if again.Type == domain.RequestPurchase {
				again.PaymentToken += "_again" // from a fresh form: still the same request
			}
			w.add(again)
			w.twice++
			continue
		case draw < 0.09 && len(sent) > 0: // a cancel of whatever became of it
			target := sent[len(sent)-1-rng.IntN(min(len(sent), 1000))]
			w.add(domain.Request{Type: domain.RequestCancel, EventID: target.EventID, OrderID: target.OrderID})
			w.cancels++
			continue
		case draw < 0.095: // a cancel that is faster than its purchase
			w.add(cancel)
			w.cancels++
		case draw < 0.125: // hold now, pay a little later
			pay := domain.Request{
				Type: domain.RequestPay, EventID: r.EventID, OrderID: r.OrderID, PaymentToken: r.PaymentToken,
				ValidSeconds: 3600, // one that waited for too long would be a dead letter
			}
			// Where the payment is declined, its places come back at the deadline.
			r.Type, r.PaymentToken, r.HoldSeconds = domain.RequestHold, "", 30
			later = append(later, wireEntry{partitionOf: pay.EventID, fields: wire.Fields(pay)})
		case draw < 0.135: // hold and forget
			r.Type, r.PaymentToken, r.HoldSeconds = domain.RequestHold, "", 1+rng.Int64N(3)
		}
		w.add(r)
		w.orders[r.Ref()] = r
		sent = append(sent, r)
		demand[r.EventID] += r.Quantity
	}
	w.entries = append(w.entries, later...)
	for _, e := range w.events {
		w.capacity[e] = max(demand[e]/demandFactor, 1)
	}
	return w
}

func (w *workload) add(r domain.Request) {
	e := wireEntry{partitionOf: r.EventID, fields: wire.Fields(r)}
	if r.Type == domain.RequestPurchase || r.Type == domain.RequestHold {
		e.opens = r.Ref()
	}
	w.entries = append(w.entries, e)
}

// addMalformed adds what is no request at all, and goes to the dead letters, or
// what names an order that can be rejected.
func (w *workload) addMalformed(rng *rand.Rand, r domain.Request) {
	fields := wire.Fields(r)
	set := func(name, value string) {
		for i := 0; i < len(fields); i += 2 {
			if fields[i] == name {
				fields[i+1] = value
			}
		}
	}
	e := wireEntry{partitionOf: r.EventID, dead: true}
	switch rng.IntN(8) {
	case 0:
		set("v", "3")
	case 1:
		set("type", "refund")
	case 2:
		set("order_id", "no such id!")
	case 3:
		set("event_id", "")
	case 4:
		set("quantity", "0")
		e.dead = false
	case 5:
		set("quantity", "99999999999999999999")
		e.dead = false
	case 6:
		set("customer_id", "\x00\xff")
		e.dead = false
	case 7:
		set("payment_token", "")
		e.dead = false
	}
	e.fields = fields
	w.entries = append(w.entries, e)
	if e.dead {
		w.dead++
		return
	}
	w.orders[r.Ref()] = r
	w.invalid[r.Ref()] = true
}

func (s *sale) createEvents() {
	s.t.Helper()
	for _, e := range s.w.events {
		_, err := s.store().Events().Create(context.Background(), e, domain.Terms{
			Name: "Event " + e, Currency: "EUR",
			Sections: []domain.SectionTerms{{Name: domain.DefaultSection, Price: 25_00, Capacity: s.w.capacity[e]}},
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// add publishes entries as they are, and notes which must become dead letters, and when each order came.
func (s *sale) add(rdb *redis.Client, entries []wireEntry) {
	s.t.Helper()
	ctx := context.Background()
	pipe := rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(entries))
	for i, e := range entries {
		stream := requestsKey(s.store().Partition(e.partitionOf))
		cmds[i] = pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: e.fields})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		s.t.Fatalf("publishing: %v", err)
	}
	for i, e := range entries {
		if e.dead {
			s.dead = append(s.dead, fmt.Sprintf("%d:%s", s.store().Partition(e.partitionOf), cmds[i].Val()))
		}
		if _, again := s.cameAt[e.opens]; !again {
			s.cameAt[e.opens] = domain.EntryMillis(cmds[i].Val())
		}
	}
}

// sale is a workload on its way through a system whose workers are disturbed.
type sale struct {
	*system
	w       *workload
	gateway string
	tally   *torture.Tally
	rng     *rand.Rand                // what is done, and
	when    *rand.Rand                // when: of its own, because how often it is asked depends on the machine
	dead    []string                  // partition:id of the entries that must become dead letters
	cameAt  map[domain.OrderRef]int64 // by Redis's clock, the first time
	began   time.Time

	validTime time.Duration // of the workers, if nobody may be too late before it
}

// pace is how fast a sale goes.
type pace struct {
	entries    int           // published at a time,
	every      time.Duration // so often
	auditEvery time.Duration
}

// newSale creates the events of a workload of n entries, and starts a gateway that
// declines, loses replies and hangs.
func newSale(t testing.TB, tally *torture.Tally, seed uint64, n int, latency time.Duration) *sale {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &sale{
		system: newSystem(t), w: newWorkload(rng, n), tally: tally, rng: rng, when: rand.New(rand.NewPCG(seed, 2)),
		cameAt: make(map[domain.OrderRef]int64), began: time.Now(),
	}
	s.createEvents()
	s.gateway = startGateway(t, "--latency", latency.String(), "--decline-rate", "0.1", "--lost-reply-rate", "0.02",
		"--timeout-rate", "0.01", "--seed", strconv.FormatUint(seed, 10))
	return s
}

// sellWhile publishes the workload. Meanwhile, at instants drawn by chance, disturb does
// something to the workers; it is told how much was published, and says how much
// may be and whether it has done what it had to. And every so often the auditor
// judges: everything must be right at any time, and not only in the end.
func (s *sale) sellWhile(p pace, disturb func(published int) (upTo int, done bool)) {
	s.t.Helper()
	rdb := s.client()
	publishTick, auditTick := time.NewTicker(p.every), time.NewTicker(p.auditEvery)
	defer publishTick.Stop()
	defer auditTick.Stop()
	disturbed := time.NewTimer(0)
	defer disturbed.Stop()
	audits, auditing, underTraffic := make(chan result, 1), false, 0
	defer func() {
		if auditing {
			s.judge(<-audits)
		}
		s.tally.Count("audits under traffic", underTraffic)
	}()
	published, upTo, done := 0, 0, false
	for !done || published < len(s.w.entries) {
		select {
		case <-publishTick.C:
			if end := min(published+p.entries, upTo, len(s.w.entries)); end > published {
				s.add(rdb, s.w.entries[published:end])
				published = end
			}
		case <-disturbed.C:
			if upTo, done = disturb(published); s.t.Failed() {
				s.t.FailNow() // what comes would only hide it
			}
			disturbed.Reset(time.Duration(s.when.Int64N(int64(2 * disturbEvery))))
		case <-auditTick.C:
			if !auditing { // or the one before is still at it
				auditing = true
				underTraffic++
				go func() { audits <- s.run("", s.auditArgs(s.gateway)...) }()
			}
		case r := <-audits:
			auditing = false
			s.judge(r)
		}
	}
}

// disturbEvery is how often, on average, there is an opportunity to disturb.
const disturbEvery = 50 * time.Millisecond

// judge takes a verdict of the auditor.
func (s *sale) judge(r result) {
	s.t.Helper()
	violations := 0
	for _, report := range decodeLines[auditView](s.t, r.stdout) {
		violations += len(report.Violations)
	}
	s.tally.Judged(violations)
	if r.code != 0 || violations > 0 {
		s.t.Errorf("audit: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// end waits until everything is drained and checks what became of it.
func (s *sale) end(pool ...*program.Process) {
	s.t.Helper()
	s.drained(2 * time.Minute)
	for _, p := range pool {
		p.Alive()
	}
	s.judge(s.run("", s.auditArgs(s.gateway)...))
	s.checkOutcomes()
	s.checkDeadLetters()
	s.t.Logf("%d entries (%d twice, %d cancels, %d invalid, %d undecodable), all done and checked after %s",
		len(s.w.entries), s.w.twice, s.w.cancels, len(s.w.invalid), s.w.dead, time.Since(s.began).Round(time.Millisecond))
}

// endSoldOut is end, once late customers have bought what came back.
func (s *sale) endSoldOut(pool ...*program.Process) {
	s.t.Helper()
	s.drained(2 * time.Minute)
	unsold := s.unsold()
	s.t.Logf("%d tickets were unsold when all was drained, %d late orders for them", unsold, s.sellTheRest())
	s.end(pool...)
	s.checkSoldOut()
}

// neverTooOften is --max-deliveries where workers are taken from their entries over
// and over. To be delivered too often is what tells an entry that kills its workers;
// here it is the test that does, so no count may tell, and whatever is among the
// dead letters without belonging there is a finding.
const neverTooOften = "1000000"

func (s *sale) checkSoldOut() {
	s.t.Helper()
	events := list[eventView](s.system, "events", "list")
	if len(events) != len(s.w.events) {
		s.t.Errorf("%d events, want %d", len(events), len(s.w.events))
	}
	for _, e := range events {
		if sec := e.Sections[0]; sec.Sold != s.w.capacity[e.EventID] || sec.Held != 0 || sec.Available != 0 {
			s.t.Errorf("%s: %+v, want all of %d sold", e.EventID, sec, s.w.capacity[e.EventID])
		}
	}
}

func (s *sale) unsold() int64 {
	s.t.Helper()
	var n int64
	for _, e := range s.w.events {
		event, err := s.store().Events().Get(context.Background(), e)
		if err != nil {
			s.t.Fatal(err)
		}
		n += event.Sections[0].Available
	}
	return n
}

// sellTheRest lets late customers buy what came back after the last request:
// tickets whose payment was declined, or whose holds ran out. There was more
// demand than tickets, so it is enough that there still is some.
func (s *sale) sellTheRest() (orders int) {
	s.t.Helper()
	p := s.producer()
	for round := 0; s.unsold() > 0; round++ {
		if round == 30 {
			s.t.Fatalf("%d tickets cannot be sold", s.unsold())
		}
		var requests []domain.Request
		for _, e := range s.w.events {
			event, err := s.store().Events().Get(context.Background(), e)
			if err != nil {
				s.t.Fatal(err)
			}
			for range event.Sections[0].Available {
				r := purchase(e, fmt.Sprintf("late-%d", orders), 1)
				requests = append(requests, r)
				s.w.orders[r.Ref()] = r
				orders++
			}
		}
		publish(s.t, p, requests...)
		s.drained(time.Minute)
	}
	return orders
}

// histories are the facts that an order may have, in order.
var histories = [][]domain.FactType{
	{domain.FactRejected},
	{domain.FactCancelled},
	{domain.FactHeld, domain.FactConfirmed},
	{domain.FactHeld, domain.FactDeclined},
	{domain.FactHeld, domain.FactExpired},
	{domain.FactHeld, domain.FactCancelled},
	{domain.FactHeld, domain.FactConfirmed, domain.FactCancelled},
	{domain.FactHeld, domain.FactPaying, domain.FactConfirmed},
	{domain.FactHeld, domain.FactPaying, domain.FactExpired},
	{domain.FactHeld, domain.FactPaying, domain.FactCancelled},
	{domain.FactHeld, domain.FactPaying, domain.FactConfirmed, domain.FactCancelled},
	{domain.FactHeld, domain.FactPaying, domain.FactPaymentDeclined, domain.FactExpired},
	{domain.FactHeld, domain.FactPaying, domain.FactPaymentDeclined, domain.FactCancelled},
}

// checkOutcomes reads the log: each order that was asked for, and no other, has
// exactly one outcome, and nobody was refused what was there.
func (s *sale) checkOutcomes() {
	s.t.Helper()
	w := s.w
	book := domain.NewSnapshot()
	history := make(map[domain.OrderRef][]domain.FactType)
	s.facts(func(f domain.Fact) {
		if f.OrderID == "" {
			if err := book.Fold(f); err != nil {
				s.t.Errorf("log entry %s: %v", f.ID, err)
			}
			return
		}
		view := book.View(f.Ref(), f.CustomerID)
		if err := book.Fold(f); err != nil {
			s.t.Errorf("log entry %s: %v", f.ID, err)
		}
		history[f.Ref()] = append(history[f.Ref()], f.Type)
		if _, asked := w.orders[f.Ref()]; !asked {
			s.t.Errorf("%s: %s, but nobody asked for it", f.Ref(), f.Type)
		}
		if f.Type != domain.FactRejected {
			return
		}
		right := false
		switch f.Reason {
		case domain.ReasonInvalid:
			right = w.invalid[f.Ref()]
		case domain.ReasonSoldOut:
			right = f.Items.Quantity() > view.Event.Sections[0].Available
		case domain.ReasonInProgress:
			right = view.InProgress != "" && view.InProgress != f.OrderID
		case domain.ReasonTooLate:
			right = s.validTime > 0 && f.AtMillis-s.cameAt[f.Ref()] > s.validTime.Milliseconds()
		}
		if !right {
			s.t.Errorf("%s: rejected as %s (%s), with %+v and slot %q", f.Ref(), f.Reason, f.Detail, view.Event.Sections, view.InProgress)
		}
	})
	outcomes := make(map[string]int)
	for ref, r := range w.orders {
		h := history[ref]
		if !slices.ContainsFunc(histories, func(allowed []domain.FactType) bool { return slices.Equal(h, allowed) }) {
			s.t.Errorf("%s (%s): %v is no life of an order with one outcome", ref, r.Type, h)
			continue
		}
		if w.invalid[ref] && h[0] != domain.FactRejected {
			s.t.Errorf("%s is invalid, but was %v", ref, h)
		}
		outcomes[string(h[len(h)-1])]++
	}
	s.t.Logf("%d orders: %v", len(w.orders), outcomes)
}

// checkDeadLetters: these entries are dead letters, and no others, and each says why.
func (s *sale) checkDeadLetters() {
	s.t.Helper()
	var got []string
	for _, l := range list[deadView](s.system, "dead", "list") {
		got = append(got, l.entry())
		if l.Reason == "" || l.Stream != "requests" {
			s.t.Errorf("dead letter %+v", l)
		}
		if !slices.Contains(s.dead, l.entry()) {
			s.t.Errorf("%s should not be a dead letter: %s", l.entry(), l.Reason)
		}
	}
	if len(got) != len(s.dead) {
		s.t.Errorf("%d dead letters, want %d", len(got), len(s.dead))
	}
}
