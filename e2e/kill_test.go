package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
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
}

const (
	hotEvent     = "hot"
	hotShare     = 0.3
	demandFactor = 3 // how many tickets are wanted for each that there is
)

// newWorkload draws entries until there are n of them.
func newWorkload(rng *rand.Rand, n int) *workload {
	w := &workload{
		events: []string{hotEvent}, capacity: make(map[string]int64),
		orders: make(map[domain.OrderRef]domain.Request), invalid: make(map[domain.OrderRef]bool),
	}
	for e := range 100 {
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
			r.EventID = w.events[1+rng.IntN(len(w.events)-1)]
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
			pay := domain.Request{Type: domain.RequestPay, EventID: r.EventID, OrderID: r.OrderID, PaymentToken: r.PaymentToken}
			r.Type, r.PaymentToken = domain.RequestHold, ""
			later = append(later, wireEntry{partitionOf: pay.EventID, fields: pay.Fields()})
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
	w.entries = append(w.entries, wireEntry{partitionOf: r.EventID, fields: r.Fields()})
}

// addMalformed adds what is no request at all, and goes to the dead letters, or
// what names an order that can be rejected.
func (w *workload) addMalformed(rng *rand.Rand, r domain.Request) {
	fields := r.Fields()
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
		set("v", "2")
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

func (s *system) create(w *workload) {
	s.t.Helper()
	for _, e := range w.events {
		_, err := s.store().ListEvent(context.Background(), e, domain.Terms{
			Name: "Event " + e, Currency: "EUR",
			Sections: []domain.SectionTerms{{Name: domain.DefaultSection, Price: 25_00, Capacity: w.capacity[e]}},
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// add publishes entries as they are, and returns partition:id of those that must become dead letters.
func (s *system) add(rdb *redis.Client, entries []wireEntry) (dead []string) {
	s.t.Helper()
	ctx := context.Background()
	pipe := rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(entries))
	for i, e := range entries {
		stream := fmt.Sprintf("holdfast:{%d}:requests", s.store().Partition(e.partitionOf))
		cmds[i] = pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: e.fields})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		s.t.Fatalf("publishing: %v", err)
	}
	for i, e := range entries {
		if e.dead {
			dead = append(dead, fmt.Sprintf("%d:%s", s.store().Partition(e.partitionOf), cmds[i].Val()))
		}
	}
	return dead
}

// TestKilledWorkers is a sale with three times more demand than tickets, payments
// that are declined, lost or hang, requests that come twice, wrong or to be
// cancelled, and workers that are killed all the time. In the end every ticket is
// sold, none twice, and there is one outcome for each request.
func TestKilledWorkers(t *testing.T) {
	requests, seed := 6_000, uint64(time.Now().UnixNano())
	if full {
		requests = 30_000
	}
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SEED: %v", err)
		}
	}
	t.Logf("SEED=%d", seed)
	const (
		publishEvery = 20 * time.Millisecond
		perPublish   = 10
		killEvery    = 2 * time.Second
		auditEvery   = 5 * time.Second
	)
	began := time.Now()
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newWorkload(rng, requests)
	s := newSystem(t)
	s.create(w)
	gateway := startGateway(t, "--latency", "60ms", "--decline-rate", "0.1", "--lost-reply-rate", "0.02",
		"--timeout-rate", "0.01", "--seed", strconv.FormatUint(seed, 10))
	started := 0
	startWorker := func() *process {
		started++
		return s.startWorker(fmt.Sprintf("worker-%d", started), "--gateway", gateway, "--reclaim-after", "2s",
			"--call-timeout", "500ms", "--pay-wait", "30s")
	}
	pool := []*process{startWorker(), startWorker(), startWorker()}

	// A sale, and every two seconds a worker that is not there any more.
	rdb := s.client()
	publishTick, killTick, auditTick := time.NewTicker(publishEvery), time.NewTicker(killEvery), time.NewTicker(auditEvery)
	defer publishTick.Stop()
	defer killTick.Stop()
	defer auditTick.Stop()
	audits := make(chan result, 1)
	audits <- result{}
	kills, reclaimed, auditsUnderTraffic := 0, int64(0), 0
	var dead []string
	for left := w.entries; len(left) > 0; {
		select {
		case <-publishTick.C:
			n := min(len(left), perPublish)
			dead = append(dead, s.add(rdb, left[:n])...)
			left = left[n:]
		case <-killTick.C:
			victim := rng.IntN(len(pool))
			pool[victim].alive() // or it died of something else
			pool[victim].kill()
			kills++
			reclaimed += s.inHand(pool[victim].name)
			pool[victim] = startWorker()
		case <-auditTick.C:
			// It must be right at any time, and not only in the end.
			select {
			case r := <-audits:
				checkAudit(t, r)
				auditsUnderTraffic++
				go func() { audits <- s.run("", auditArgs(gateway)...) }()
			default: // the one before is still at it
			}
		}
	}
	checkAudit(t, <-audits)
	published := time.Since(began)
	s.drained(2 * time.Minute)
	drained := time.Since(began)

	unsold := s.unsold(w)
	late := s.sellTheRest(w)
	for _, p := range pool {
		p.alive()
	}
	report := s.audit(gateway)
	s.checkOutcomes(w)
	s.checkDeadLetters(dead)
	s.checkSoldOut(w)
	stopAll(pool...)
	t.Logf("%d entries (%d twice, %d cancels, %d invalid, %d undecodable) published in %s, drained after %s, all done after %s",
		len(w.entries), w.twice, w.cancels, len(w.invalid), w.dead, published.Round(time.Millisecond), drained.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	t.Logf("%d workers killed with %d entries in hand, which others reclaimed; %d audits under traffic; %d tickets were unsold when all was drained, %d late orders for them",
		kills, reclaimed, auditsUnderTraffic, unsold, late)
	t.Logf("audit: ok, %d events, %d orders, %d facts; %d dead letters", report.Checked.Events, report.Checked.Orders, report.Checked.Facts, len(dead))
	if kills == 0 || reclaimed == 0 {
		t.Errorf("%d kills, %d entries reclaimed: that was no test", kills, reclaimed)
	}
}

// checkAudit is for a result from another goroutine; the zero result is none.
func checkAudit(t testing.TB, r result) {
	t.Helper()
	if r.code != 0 {
		t.Errorf("audit under traffic: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

func (s *system) checkSoldOut(w *workload) {
	s.t.Helper()
	events := list[eventView](s, "events", "list")
	if len(events) != len(w.events) {
		s.t.Errorf("%d events, want %d", len(events), len(w.events))
	}
	for _, e := range events {
		if sec := e.Sections[0]; sec.Sold != w.capacity[e.EventID] || sec.Held != 0 || sec.Available != 0 {
			s.t.Errorf("%s: %+v, want all of %d sold", e.EventID, sec, w.capacity[e.EventID])
		}
	}
}

func (s *system) unsold(w *workload) int64 {
	s.t.Helper()
	var n int64
	for _, e := range w.events {
		event, err := s.store().Event(context.Background(), e)
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
func (s *system) sellTheRest(w *workload) (orders int) {
	s.t.Helper()
	p := s.producer()
	for round := 0; s.unsold(w) > 0; round++ {
		if round == 30 {
			s.t.Fatalf("%d tickets cannot be sold", s.unsold(w))
		}
		var requests []domain.Request
		for _, e := range w.events {
			event, err := s.store().Event(context.Background(), e)
			if err != nil {
				s.t.Fatal(err)
			}
			for range event.Sections[0].Available {
				r := purchase(e, fmt.Sprintf("late-%d", orders), 1)
				requests = append(requests, r)
				w.orders[r.Ref()] = r
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
}

// checkOutcomes reads the log: each order that was asked for, and no other, has
// exactly one outcome, and nobody was refused what was there.
func (s *system) checkOutcomes(w *workload) {
	s.t.Helper()
	book := domain.NewBook()
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
			right = f.Quantity > view.Event.Sections[0].Available
		case domain.ReasonInProgress:
			right = view.Slot != "" && view.Slot != f.OrderID
		}
		if !right {
			s.t.Errorf("%s: rejected as %s (%s), with %+v and slot %q", f.Ref(), f.Reason, f.Detail, view.Event.Sections, view.Slot)
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
func (s *system) checkDeadLetters(want []string) {
	s.t.Helper()
	var got []string
	for _, l := range list[deadView](s, "dead", "list") {
		got = append(got, l.entry())
		if l.Reason == "" || l.Stream != "requests" {
			s.t.Errorf("dead letter %+v", l)
		}
		if !slices.Contains(want, l.entry()) {
			s.t.Errorf("%s should not be a dead letter: %s", l.entry(), l.Reason)
		}
	}
	if len(got) != len(want) {
		s.t.Errorf("%d dead letters, want %d", len(got), len(want))
	}
}
