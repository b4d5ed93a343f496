package workers_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

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
	"info", "pipeline xinfo", "pin_gateway", "sign_in", // at the start
	"pipeline xgroup",                              // when a group is gone
	"hmget", "pipeline hget", "pipeline xrevrange", // is this still the data that it was?
	"xreadgroup" + byPurchase, "xreadgroup posting", "xreadgroup settlement",
	"xreadgroup" + byPurchase + withEntries, "xreadgroup posting" + withEntries, "xreadgroup settlement" + withEntries,
	"own" + byPurchase, "own posting", "own settlement",
	"own" + byPurchase + withEntries, "own posting" + withEntries, "own settlement" + withEntries,
	"set turn reclaim:" + string(domain.GroupWorkers), "set turn reclaim:posting", "set turn reclaim:settlement",
	"xautoclaim" + byPurchase, "xautoclaim posting", "xautoclaim settlement",
	"xautoclaim" + byPurchase + withEntries, "xautoclaim posting" + withEntries, "xautoclaim settlement" + withEntries,
	"xpending",
	"keep_alive" + byPurchase, "keep_alive posting", "keep_alive settlement",
	"hand_back" + byPurchase, "leave" + byPurchase, "leave posting", "leave settlement",
	"hvals", "park", "hkeys", "set turn unpark", "unpark", // what is paused, and was
	"hscan", "change_event", "adjust_event", "move cancelled", // somebody closes, cancels, reopens, adjusts an event
	"hold", "pipeline hmget", "pipeline time", "move" + byPurchase, "move settlement", "dead_letter" + byPurchase,
	"owe", "exists", "take_owed", "settle_owed",
	"xack" + byPurchase, "xack posting", "xack settlement",
	"pipeline hsetnx",                  // the lines of invoices
	"set turn ask", "zcard", "put_off", // has the customer done what they had to?
	"set turn expire", "due", "move expired", "set turn trim", "xlen", "trim",
	"set turn forget", "time", "zrange", "xinfo", "report",
	// The log is archived, and trimmed behind that.
	"set turn archive", "pipeline hmget get", "hgetall", "pipeline xrange", "advance_archive", "bucket put", "bucket get", "bucket list",
	"set turn trim_log", "pipeline time xlen", "xrange", "trim_log",
	"set turn forget_events", "hset", "hexists", "forget_event", "pipeline hset", "forget_orders", "hdel", // an event is over
	"recall_orders", "recall_event", // and is recalled
	"replaced", "hget", "begin_branch", "move restored", // a failover has lost something, and it comes back
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
	all := slices.Concat(scenarios, stripeScenarios())
	i := slices.IndexFunc(all, func(s scenario) bool { return s.name == parts[0] })
	if i < 0 {
		return point{}, fmt.Errorf("there is no scenario %q", parts[0])
	}
	p := point{scenario: all[i]}
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
	t         *testing.T
	seed      uint64
	server    *redistest.Server
	tally     *torture.Tally
	scenarios []scenario
	some      bool // not all that there are
	atOnce    int

	mu   sync.Mutex
	hits map[string]int // by step
}

// atOnce is how many points run at a time.
const atOnce = 48

// runAll runs points and reports what was wrong. The outcomes are in their order.
func (c *campaign) runAll(points []point) []outcome {
	outcomes := make([]outcome, len(points))
	room := make(chan struct{}, c.atOnce)
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
// FAULT=… runs one point alone, by the name that a failure prints. SCENARIOS=… runs those alone whose names match
// that regular expression.
func TestTortureFaults(t *testing.T) {
	server := redistest.Start(t)
	c := &campaign{t: t, server: server, scenarios: scenarios, atOnce: atOnce, hits: make(map[string]int)}
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
	if some := os.Getenv("SCENARIOS"); some != "" {
		match, err := regexp.Compile(some)
		if err != nil {
			t.Fatal(err)
		}
		c.some, c.scenarios = true, nil
		for _, s := range scenarios {
			if match.MatchString(s.name) {
				c.scenarios = append(c.scenarios, s)
			}
		}
		if len(c.scenarios) == 0 {
			t.Fatalf("there is no scenario %q", some)
		}
	}
	c.seed = torture.Seed(t)
	random := rand.New(rand.NewPCG(c.seed, 0))
	var recoveries []recovery
	if !t.Run("at every step", func(t *testing.T) { recoveries = c.in(t, 1, "a fault at every step").everyStep(random) }) {
		return
	}
	t.Run("during recovery", func(t *testing.T) {
		c.in(t, 2, "a fault during recovery").duringRecovery(random, recoveries, torture.Size(50, 3000))
	})
	for _, step := range steps {
		if c.hits[step] == 0 && !c.some {
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
	undisturbed := make([]point, len(c.scenarios))
	for i, s := range c.scenarios {
		undisturbed[i] = point{scenario: s}
	}
	all := make([][]point, 0, len(c.scenarios))
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
	chosen := min(torture.Size(200, len(points)), len(points))
	try(points[:chosen]...)
	for _, p := range points[chosen:] {
		if c.hits[p.faults[0].step] == 0 {
			try(p) // whether a run comes to a step is sometimes a matter of timing
		}
	}
	c.tally.Count("points hit", len(recoveries))
	c.tally.Count("scenarios", len(c.scenarios))
	c.tally.Count("steps", len(c.hits))
	c.noteHits()
	if want := c.atLeast(torture.Size(150, 1000), len(points)/2); len(recoveries) < want {
		c.t.Errorf("%d points were hit, want at least %d", len(recoveries), want)
	}
	return recoveries
}

// atLeast is how many must be done: of all scenarios, or of some that do not make as many.
func (c *campaign) atLeast(all, some int) int {
	if c.some {
		return min(all, some)
	}
	return all
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
// of what came then, until so many pairs were hit.
func (c *campaign) duringRecovery(random *rand.Rand, recoveries []recovery, want int) {
	var pairs []point
	for _, r := range recoveries {
		pairs = append(pairs, pointsOf(r.point, r.seen, torture.Size(1, 2))...)
	}
	random.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	want = c.atLeast(want, len(pairs)/4)
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
	c.tally.Count("scenarios", len(c.scenarios))
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

// The hole of the old design: a worker dies between the confirmation and the posting. Sales are there with the
// confirmation; the line of an entry that was not acknowledged is written by whoever comes next.
func TestWorkerDiesBetweenConfirmationAndPosting(t *testing.T) {
	t.Parallel()
	server := withScripts(t)
	for _, test := range []struct {
		faults []fault
		lines  int // on invoices at the time of death; -1: posting may have been that fast
	}{
		{[]fault{{"move" + byPurchase, 1, diesAfter}}, -1},
		{[]fault{{"pipeline hsetnx", 1, diesBefore}}, 0},
		{[]fault{{"pipeline hsetnx", 1, diesAfter}}, 1},
		{[]fault{{"pipeline hsetnx", 1, replyLost}, {"xack posting", 1, diesBefore}}, 1},
		{[]fault{{"pipeline hsetnx", 1, replyLost}, {"xack posting", 1, diesAfter}}, 1},
	} {
		t.Run(fmt.Sprint(test.faults), func(t *testing.T) {
			w := newWorld(t, server, simulator.Options{})
			w.list("e", 1000, 10)
			victim := newInjector(test.faults...).process()
			first := w.start(recovering, w.gateway, victim)
			w.publish(request(domain.RequestPurchase, "o", "fred", 3))
			w.waitState("o", domain.OrderConfirmed)
			<-victim.died
			_ = first.stop() // it is dead: everything it tries fails
			sold := inspect.Totals{Orders: 1, TicketsSold: 3, Revenue: 3000}
			if got := w.totals(); got != sold {
				t.Errorf("totals are %+v at the time of death", got)
			}
			if got := w.linesOf("fred"); test.lines >= 0 && len(got) != test.lines {
				t.Errorf("invoices are %+v at the time of death", got)
			}
			w.start(recovering, w.gateway, nil)
			w.waitDrained()
			if got := w.totals(); got != sold {
				t.Errorf("totals are %+v", got)
			}
			if got := w.linesOf("fred"); len(got) != 1 || got[0].Amount != 3000 {
				t.Errorf("invoices are %+v", got)
			}
			w.audit()
		})
	}
}

// withScripts is a server that was sent the scripts: the first call of one would only tell the client to send it.
func withScripts(t *testing.T) *redistest.Server {
	t.Helper()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	w.publish(request(domain.RequestPurchase, "o", "fred", 1), request(domain.RequestPurchase, "zoe", "cid", 1))
	worker := w.start(recovering, mistaken{w.gateway}, nil)
	w.waitState("o", domain.OrderConfirmed)
	w.waitState("zoe", domain.OrderDeclined)
	if err := worker.stop(); err != nil {
		t.Fatal(err)
	}
	return w.server
}

// recovering is the configuration of workers that take over soon what others left.
var recovering = workers.Config{ReclaimAfter: 200 * time.Millisecond, Grace: 300 * time.Millisecond}

func (w *world) linesOf(customer string) []inspect.InvoiceLine {
	w.t.Helper()
	lines, err := inspect.New(w.store).Invoices(w.ctx, customer)
	if err != nil {
		w.t.Fatalf("reading invoices: %v", err)
	}
	return lines
}

// An entry is acknowledged as a whole, and a worker dies when posting has done half of it: the others
// are on their invoices as well in the end.
func TestWorkerDiesWithHalfOfAnEntryPosted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	sold := purchasesOf("o", 6)
	w.together(sold...)
	victim := newInjector().process()
	first := w.start(recovering, w.gateway, halfOfPipeline{victim, "hsetnx"})
	<-victim.died
	_ = first.stop() // it is dead: everything it tries fails
	lines := func() (n int) {
		for _, q := range sold {
			n += len(w.linesOf(q.CustomerID))
		}
		return n
	}
	if n := lines(); n != 3 {
		t.Errorf("%d lines at the time of death", n)
	}
	w.start(recovering, w.gateway, nil)
	w.waitDrained()
	if n := lines(); n != 6 {
		t.Errorf("%d lines in the end", n)
	}
	w.audit()
}

// halfOfPipeline lets the first half of a pipeline of such commands take effect, upon which the worker dies.
type halfOfPipeline struct {
	*process
	of string
}

func (h halfOfPipeline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	whole := h.process.ProcessPipelineHook(next)
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if stepOf(cmds[0]) != h.of {
			return whole(ctx, cmds)
		}
		err := next(ctx, cmds[:len(cmds)/2])
		h.kill()
		for _, cmd := range cmds {
			cmd.SetErr(errInjected)
		}
		return errors.Join(err, errInjected)
	}
}

// The same in settlement: the money of each order of the entry is collected, once.
func TestWorkerDiesWithHalfOfAnEntrySettled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	sold := purchasesOf("o", 6)
	w.together(sold...)
	victim := newInjector().process()
	var calls atomic.Int64
	dying := victim.gateway(gatewayFunc{PaymentGateway: w.gateway, capture: func(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
		if calls.Add(1) > 3 {
			victim.kill()
			return domain.Payment{}, errLost
		}
		return w.gateway.Capture(ctx, a)
	}})
	first := w.start(recovering, dying, victim)
	<-victim.died
	_ = first.stop() // it is dead: everything it tries fails
	captured := func() (n int) {
		for _, q := range sold {
			line := w.payment(q.OrderID)
			if line.Captures > 1 {
				t.Errorf("%s was captured %d times", q.OrderID, line.Captures)
			}
			if line.Status == domain.PaymentStatusCaptured {
				n++
			}
		}
		return n
	}
	if n := captured(); n != 3 {
		t.Errorf("%d captured at the time of death", n)
	}
	w.start(recovering, w.gateway, nil)
	w.waitDrained()
	if n := captured(); n != 6 {
		t.Errorf("%d captured in the end", n)
	}
	w.audit()
}

// A payment that may be somebody else's is left alone, and its request set aside before the order is declined. A
// worker that dies before both does neither; one that dies in between leaves a letter, and a hold that runs out.
func TestWorkerDiesWithAPaymentLeftAlone(t *testing.T) {
	t.Parallel()
	const letter = "payment_mismatch: customer_id zoe instead of cid; the payment is authorized, and was left alone"
	server := withScripts(t)
	for _, test := range []struct {
		fault   fault
		letters []string // at the time of death
		ends    domain.OrderState
	}{
		{fault{"dead_letter" + byPurchase, 1, diesBefore}, nil, domain.OrderDeclined},
		{fault{"dead_letter" + byPurchase, 1, diesAfter}, []string{letter}, domain.OrderExpired},
		{fault{"move" + byPurchase, 1, diesBefore}, []string{letter}, domain.OrderExpired},
		{fault{"move" + byPurchase, 1, diesAfter}, []string{letter}, domain.OrderDeclined},
	} {
		t.Run(test.fault.String(), func(t *testing.T) {
			w := newWorld(t, server, simulator.Options{})
			w.list("e", 1000, 10)
			w.publish(change(request(domain.RequestPurchase, "zoe", "cid", 3), func(q *domain.Request) {
				if test.ends == domain.OrderExpired {
					q.HoldSeconds = 3
				}
			}))
			victim := newInjector(test.fault).process()
			first := w.start(recovering, mistaken{w.gateway}, victim)
			<-victim.died
			_ = first.stop() // it is dead: everything it tries fails
			if got := w.deadReasons(); !slices.Equal(got, test.letters) {
				t.Errorf("dead letters %q at the time of death, want %q", got, test.letters)
			}
			w.start(recovering, mistaken{w.gateway}, nil)
			w.waitState("zoe", test.ends)
			w.waitDrained()
			want := []string{letter}
			if test.ends == domain.OrderExpired {
				want = append(want, "order e/zoe is expired, but its payment is authorized at the gateway, customer_id zoe instead of cid")
			}
			if got := w.deadReasons(); !slices.Equal(got, want) {
				t.Errorf("dead letters %q, want %q", got, want)
			}
			if line := w.payment("zoe"); line.Status != domain.PaymentStatusAuthorized || line.Voids > 0 {
				t.Errorf("the payment was touched: %+v", line)
			}
			if s := w.section(); s.Available != 10 {
				t.Errorf("section is %+v", s)
			}
			w.auditBut("e/zoe")
		})
	}
}

// As long as nobody can be asked to look at a payment that was left alone, its order is not declined.
func TestPaymentLeftAloneCannotBeSetAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 10)
	w.publish(request(domain.RequestPurchase, "zoe", "cid", 3))
	refusal := make(refusesLetters, 1)
	first := w.start(recovering, mistaken{w.gateway}, refusal)
	<-refusal
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	if o := w.order("zoe"); o.State != domain.OrderHeld {
		t.Errorf("it is %s, and nobody will hear of its payment", o.State)
	}
	w.start(recovering, mistaken{w.gateway}, nil)
	w.waitState("zoe", domain.OrderDeclined)
	w.waitDrained()
	if reasons := w.deadReasons(); len(reasons) != 1 {
		t.Errorf("dead letters %q", reasons)
	}
	w.auditBut("e/zoe")
}

// refusesLetters is a hook through which no dead letter can be written; it is sent something when one could not.
type refusesLetters chan struct{}

func (refusesLetters) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r refusesLetters) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !strings.HasPrefix(stepOf(cmd), "dead_letter") {
			return next(ctx, cmd)
		}
		cmd.SetErr(wrongType{})
		select {
		case r <- struct{}{}:
		default:
		}
		return wrongType{}
	}
}

func (refusesLetters) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// wrongType is what Redis says of a key that is something else.
type wrongType struct{}

func (wrongType) Error() string {
	return "WRONGTYPE Operation against a key holding the wrong kind of value"
}
func (wrongType) RedisError() {}
