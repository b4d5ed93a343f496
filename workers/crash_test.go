package workers_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/torture"
	"holdfast/payments/simulator"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// steps are those at which a fault must have been survived: everything that a
// worker ever says to Redis and to the gateway.
var steps = []string{
	"info", "pipeline xinfo", "pin_gateway", // at the start
	"pipeline xgroup",                  // when a group is gone
	"hmget", "pipeline hget", "newest", // is this still the data that it was?
	"xreadgroup workers", "xreadgroup posting", "xreadgroup settlement",
	"xreadgroup workers" + withEntries, "xreadgroup posting" + withEntries, "xreadgroup settlement" + withEntries,
	"own workers", "own posting", "own settlement",
	"own workers" + withEntries, "own posting" + withEntries, "own settlement" + withEntries,
	"set turn reclaim:workers", "set turn reclaim:posting", "set turn reclaim:settlement",
	"xautoclaim workers", "xautoclaim posting", "xautoclaim settlement",
	"xautoclaim workers" + withEntries, "xautoclaim posting" + withEntries, "xautoclaim settlement" + withEntries,
	"xpending",
	"keep_alive workers", "keep_alive posting", "keep_alive settlement",
	"hand_back workers", "leave workers", "leave posting", "leave settlement",
	"hgetall", "xrange", "close_event", "cancel", "reopen_event", // somebody closes, cancels, reopens an event
	"hold", "resolve", "cancel workers", "cancel settlement", "dead_letter workers", "dead_letter settlement",
	"xack workers", "xack posting", "xack settlement",
	"mget", "pipeline hsetnx", "pipeline hset", "invoice", "post", "reverse",
	"set turn expire", "due", "expire", "set turn trim", "trim",
	"set turn forget", "time", "zrange", "xinfo", "report",
	"gateway authorize", "gateway lookup", "gateway capture", "gateway void", "gateway refund",
}

// point is a scenario with faults in it.
type point struct {
	scenario scenario
	faults   []fault
}

// String names a point so that FAULT can repeat it.
func (p point) String() string {
	parts := []string{p.scenario.name}
	for _, f := range p.faults {
		parts = append(parts, f.String())
	}
	return strings.Join(parts, " | ")
}

// parsePoint reads what String wrote.
func parsePoint(s string) (point, error) {
	parts := strings.Split(s, " | ")
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == parts[0] })
	if i < 0 {
		return point{}, fmt.Errorf("there is no scenario %q", parts[0])
	}
	p := point{scenario: scenarios[i]}
	for _, part := range parts[1:] {
		f, err := parseFault(part)
		if err != nil {
			return point{}, err
		}
		p.faults = append(p.faults, f)
	}
	return p, nil
}

// campaign runs many points at a time: they mostly wait.
type campaign struct {
	t      *testing.T
	seed   uint64
	server *redistest.Server
	tally  *torture.Tally

	mu   sync.Mutex
	hits map[string]int // by step
}

const atOnce = 48

// runAll runs points and reports what was wrong. The outcomes are in their order.
func (c *campaign) runAll(points []point) []outcome {
	outcomes := make([]outcome, len(points))
	room := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for i, p := range points {
		room <- struct{}{}
		running.Go(func() {
			defer func() { <-room }()
			outcomes[i] = c.run(p)
		})
	}
	running.Wait()
	return outcomes
}

func (c *campaign) run(p point) outcome {
	o := p.scenario.run(c.server, planted{}, patience, p.faults...)
	for range o.audits {
		c.tally.Judged(o.audited)
	}
	c.mu.Lock()
	for _, f := range p.faults[:o.hits] {
		c.hits[f.step]++
	}
	c.mu.Unlock()
	if len(o.violations) > 0 {
		c.t.Errorf("%s (SEED=%d):\n\t%s\nagain: FAULT='%s' go test -count 1 -run '^TestTortureFaults$' ./workers",
			p, c.seed, strings.Join(o.violations, "\n\t"), p)
	}
	return o
}

// TestTortureFaults lets a fault happen at every step of every scenario, and then
// another one at a step of what recovers from it. Whatever happened, everything ends
// as the scenario says, to the ticket and the cent, and the auditor finds nothing.
//
// FAULT=… runs one point alone, by the name that a failure prints.
func TestTortureFaults(t *testing.T) {
	server := redistest.Start(t)
	c := &campaign{t: t, server: server, hits: make(map[string]int)}
	if again := os.Getenv("FAULT"); again != "" {
		p, err := parsePoint(again)
		if err != nil {
			t.Fatal(err)
		}
		c.tally = torture.Begin(t, 1, "one fault, again")
		o := c.run(p)
		c.tally.Count("faults hit", o.hits)
		t.Logf("%s: %d faults hit, steps after each %v", p, o.hits, o.seen)
		return
	}
	c.seed = torture.Seed(t)
	random := rand.New(rand.NewPCG(c.seed, 0))
	var recoveries []recovery
	if !t.Run("at every step", func(t *testing.T) { recoveries = c.in(t, 1, "a fault at every step").everyStep(random) }) {
		return
	}
	t.Run("during recovery", func(t *testing.T) { c.in(t, 2, "a fault during recovery").duringRecovery(random, recoveries) })
	for _, step := range steps {
		if c.hits[step] == 0 {
			t.Errorf("no fault was hit at %q", step)
		}
	}
	for step := range c.hits {
		if !slices.Contains(steps, step) {
			t.Errorf("%q is a step that the list does not name", step)
		}
	}
	t.Logf("faults hit by step: %v", c.hits)
}

// in is the campaign in a subtest, with its line of the table.
func (c *campaign) in(t *testing.T, section int, what string) *campaign {
	c.t, c.tally = t, torture.Begin(t, section, what)
	return c
}

// recovery is a point whose fault was hit, and what happened from then on.
type recovery struct {
	point
	seen map[string]int
}

// everyStep first lets each scenario happen without a fault, to see its steps, and
// then with each fault at each of them: in full at all, else at a choice in which
// each step occurs.
func (c *campaign) everyStep(random *rand.Rand) []recovery {
	undisturbed := make([]point, len(scenarios))
	for i, s := range scenarios {
		undisturbed[i] = point{scenario: s}
	}
	all := make([][]point, 0, len(scenarios))
	for i, o := range c.runAll(undisturbed) {
		all = append(all, pointsOf(undisturbed[i], o.seen[0], torture.Size(1, 3)))
	}
	if c.t.Failed() {
		return nil // not even without a fault
	}
	points := slices.Concat(all...)
	random.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	spread(points, func(p point) string { return p.faults[0].step })
	var recoveries []recovery
	try := func(points ...point) {
		for i, o := range c.runAll(points) {
			if o.hits == 1 {
				recoveries = append(recoveries, recovery{points[i], o.seen[1]})
			}
		}
		c.tally.Count("points", len(points))
	}
	chosen := torture.Size(200, len(points))
	try(points[:chosen]...)
	for _, p := range points[chosen:] {
		if c.hits[p.faults[0].step] == 0 {
			try(p) // whether a run comes to a step is sometimes a matter of timing
		}
	}
	c.tally.Count("points hit", len(recoveries))
	c.tally.Count("scenarios", len(scenarios))
	c.tally.Count("steps", len(c.hits))
	c.noteHits()
	if want := torture.Size(150, 1000); len(recoveries) < want {
		c.t.Errorf("%d points were hit, want at least %d", len(recoveries), want)
	}
	return recoveries
}

// noteHits lists how often a fault was hit at each of the steps.
func (c *campaign) noteHits() {
	for some := range slices.Chunk(steps, 5) {
		parts := make([]string, len(some))
		for i, step := range some {
			parts[i] = fmt.Sprintf("%s %d", step, c.hits[step])
		}
		c.tally.Note("%s", strings.Join(parts, " | "))
	}
}

// duringRecovery takes points that were hit, and lets a second fault happen at a step
// of what came then.
func (c *campaign) duringRecovery(random *rand.Rand, recoveries []recovery) {
	var pairs []point
	for _, r := range recoveries {
		pairs = append(pairs, pointsOf(r.point, r.seen, torture.Size(1, 2))...)
	}
	random.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	want := torture.Size(50, 3000)
	spread(pairs, func(p point) string { return p.scenario.name + p.faults[0].step + p.faults[1].step })
	// Some second faults are not hit: how a recovery goes is also a matter of timing. Then others are tried.
	both, tried := 0, 0
	for both < want && tried < len(pairs) {
		next := pairs[tried:min(tried+want-both+want/5, len(pairs))]
		tried += len(next)
		for _, o := range c.runAll(next) {
			if o.hits == 2 {
				both++
			}
		}
	}
	c.tally.Count("pairs", tried)
	c.tally.Count("pairs with both faults hit", both)
	c.tally.Count("scenarios", len(scenarios))
	if both < want {
		c.t.Errorf("%d pairs had both faults hit, want at least %d", both, want)
	}
}

// pointsOf is p with one more fault: of each kind, at each of the steps that were
// seen, the first few times.
func pointsOf(p point, seen map[string]int, most int) (points []point) {
	for step, n := range seen {
		if strings.HasPrefix(step, "eval") {
			continue // the text of a script, which a server is sent once
		}
		for occurrence := range min(n, most) {
			for _, kind := range kindsAt(step) {
				f := fault{step: step, occurrence: occurrence + 1, kind: kind}
				points = append(points, point{p.scenario, append(slices.Clone(p.faults), f)})
			}
		}
	}
	slices.SortFunc(points, func(a, b point) int { return strings.Compare(a.String(), b.String()) }) // maps have no order, a seed has
	return points
}

// spread puts points in an order in which each group has come as often as any
// other, from wherever one stops.
func spread(points []point, group func(point) string) {
	come := make(map[string]int)
	turn := make(map[string]int, len(points)) // how many of its group come before it
	for _, p := range points {
		g := group(p)
		turn[p.String()] = come[g]
		come[g]++
	}
	slices.SortStableFunc(points, func(a, b point) int { return turn[a.String()] - turn[b.String()] })
}

// The hole of the old design: a worker dies between the confirmation and the
// posting. Before anything is posted, between the invoice and the sales, and
// after both but before anybody heard of it.
func TestWorkerDiesBetweenConfirmationAndPosting(t *testing.T) {
	server := redistest.Start(t)
	for _, f := range []fault{
		{"pipeline hsetnx", 1, diesBefore},
		{"pipeline hsetnx", 1, diesAfter},
		{"post", 1, diesBefore},
		{"post", 1, diesAfter},
	} {
		t.Run(f.String(), func(t *testing.T) {
			w := newWorld(t, server, simulator.Options{})
			w.list("e", 1000, 10)
			victim := newInjector(f).process()
			cfg := workers.Config{ReclaimAfter: 200 * time.Millisecond, Grace: 300 * time.Millisecond}
			first := w.start(cfg, w.gateway, victim)
			w.publish(request(domain.RequestPurchase, "o", "fred", 3))
			w.waitState("o", domain.OrderConfirmed)
			<-victim.died
			_ = first.stop() // it is dead: everything it tries fails
			posted := w.totals().Orders
			if wasPosted := f.step == "post" && f.kind.applies(); wasPosted != (posted == 1) {
				t.Fatalf("%d orders posted at the time of death", posted)
			}
			w.start(cfg, w.gateway, nil)
			w.waitDrained()
			if got := w.totals(); got != (inspect.Totals{Orders: 1, TicketsSold: 3, Revenue: 3000}) {
				t.Errorf("totals are %+v", got)
			}
			if lines, err := inspect.New(w.store).Invoices(w.ctx, "fred"); err != nil || len(lines) != 1 || lines[0].Amount != 3000 {
				t.Errorf("invoices are %+v, %v", lines, err)
			}
			w.audit()
		})
	}
}
