//go:build planted

package workers_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/e2e/torture"
	"holdfast/streams"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// TestPlantedBugs plants one bug after the other and runs the scenarios, first without
// and then with faults, until something is wrong. A bug that nothing finds is one in the tests.
func TestPlantedBugs(t *testing.T) {
	server := redistest.Start(t)
	seed := torture.Seed(t)
	random := rand.New(rand.NewPCG(seed, 11))
	tally := torture.Begin(t, 11, "bugs planted in workers")
	c := &campaign{t: t, server: server, tally: tally, atOnce: atOnce, hits: make(map[string]int)}

	var undisturbed, faulty []point
	for _, s := range scenarios {
		undisturbed = append(undisturbed, point{scenario: s})
	}
	for i, o := range c.runAll(undisturbed) {
		faulty = append(faulty, pointsOf(undisturbed[i], o.seen[0], 1)...)
	}
	if t.Failed() {
		return // not even without a bug
	}
	bugs := torture.Some(t, plantedBugs, 6, seed)
	plans := make([][]point, len(bugs))
	for i := range bugs {
		shuffle := func(points []point) []point {
			points = slices.Clone(points)
			random.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
			return points
		}
		worse := shuffle(faulty)
		if where := bugs[i].where; where != "" {
			worse = slices.DeleteFunc(worse, func(p point) bool { return p.scenario.name != where })
		}
		spread(worse, func(p point) string { return p.faults[0].step })
		plans[i] = append(shuffle(undisturbed), worse[:min(len(worse), 200)]...)
	}
	t.Run("planted", func(t *testing.T) {
		for i, b := range bugs {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				b.catch(t, server, tally, plans[i])
			})
		}
	})
	tally.Count("bugs", len(bugs))
	if want := torture.Size(6, 15); len(bugs) < want {
		t.Errorf("%d bugs, want %d", len(bugs), want)
	}
}

// catch runs the plan, some at a time, until something is wrong.
func (b bug) catch(t *testing.T, server *redistest.Server, tally *torture.Tally, plan []point) {
	const wait = 10 * time.Second // undisturbed, nothing takes that long
	runs := 0
	for chunk := range slices.Chunk(plan, 16) {
		outcomes := make([]outcome, len(chunk))
		var running sync.WaitGroup
		for i, p := range chunk {
			running.Go(func() {
				bad := planted{gateway: b.gateway, deps: b.deps}
				if b.hook != nil {
					bad.hook = b.hook()
				}
				outcomes[i] = p.scenario.run(server, bad, wait, p.faults...)
			})
		}
		running.Wait()
		for i, o := range outcomes {
			runs++
			if len(o.violations) == 0 {
				continue
			}
			first, _, _ := strings.Cut(o.violations[len(o.violations)-1], "\n")
			if len(first) > 160 {
				first = first[:160] + "…"
			}
			tally.Count("caught", 1)
			tally.Count("runs until caught", runs)
			tally.Note("%s | %s | %s | %d", b.name, chunk[i], first, runs)
			return
		}
	}
	t.Errorf("nothing was wrong in %d runs", runs)
}

// The bugs that are planted to see whether the tests find them. Each is put between a worker and Redis, the
// gateway or its ledger and queues, so that nothing of it is in the product.
type bug struct {
	name    string
	hook    func() redis.Hook // nil: none
	gateway func(domain.PaymentGateway) domain.PaymentGateway
	deps    func(*workers.Deps)
	where   string // the scenario with whose faults it must be found; empty: those of all
}

var plantedBugs = []bug{
	{name: "trims what no snapshot has", deps: trimsUpToTheMark, where: "archived and trimmed"},
	{name: "leaves on invoices less than orders were", hook: changed("hset", func(cmd redis.Cmder) {
		if args := cmd.Args(); strings.Contains(argument(args[1]), ":invoices:") {
			args[3] = ""
		}
	}), where: "event over"},
	{name: "acknowledges entries when it reads them", hook: afterRead(func(ctx context.Context, next redis.ProcessHook, cmd redis.Cmder) error {
		args := []any{"xack", argAfter(cmd, "streams"), argAfter(cmd, "group")}
		for _, e := range readEntries(cmd) {
			args = append(args, e)
		}
		return next(ctx, redis.NewIntCmd(ctx, args...))
	})},
	{name: "acknowledges when it has only held", hook: script("hold",
		"if class.terms.holds then", "if true then")},
	{name: "does not look whether the order is known", hook: script("hold",
		"  if records[i] then", "  if false then")},
	{name: "does not look whether there are tickets", hook: script("hold",
		"if item.quantity > item.section.available then", "if false then")},
	{name: "holds two orders of a customer at once", hook: script("hold",
		"elseif in_progress[customer] then", "elseif false then")},
	{name: "gives no places back to a customer's limit when a hold expires", hook: script("move",
		"  local left = tonumber(redis.call('HGET', KEYS[5 + hash], customer) or '0') - tonumber(ARGV[by + 2])",
		"  local left = tonumber(redis.call('HGET', KEYS[5 + hash], customer) or '0') - (ARGV[GROUPS] == 'expired' and 0 or tonumber(ARGV[by + 2]))")},
	{name: "takes the places of the first item only", hook: script("hold",
		"section.available - item.quantity, section.held + item.quantity, true\n        item = item.next", "section.available - item.quantity, section.held + item.quantity, true\n        item = nil")},
	{name: "counts no refused demand", hook: script("hold",
		"if class.section.event and why ~= 'invalid' then", "if false then")},
	{name: "does not tell another body from the same", deps: ledger(func(l domain.Ledger, _ workers.Queues) domain.Ledger { return sameBody{l} })},
	{name: "leaves no note of what it sets aside", hook: script("dead_letter",
		"write_notes(KEYS[3], order, lines, displaced[order])", "")},
	{name: "does not look whether the order has changed", hook: script("move",
		"version == '' and record == '' or version ~= '' and string.find(record, version .. '|', 1, true) == 1", "true")},
	{name: "acknowledges before the swap", deps: ledger(func(l domain.Ledger, q workers.Queues) domain.Ledger { return resolvesAcknowledged{l, q} }), where: "confirmed"},
	{name: "frees the in_progress of another order", hook: script("move",
		"  if ARGV[at + 3] ~= '' and bounds[n] ~= 'hold' then", `  local sold_to = match(ARGV[at + 4], '^|[^|]+|confirmed|([^|]+)|')
  if sold_to then
    freed[#freed + 1] = match(members[n], '^[^/]+/') .. sold_to
  end
  if ARGV[at + 3] ~= '' and bounds[n] ~= 'hold' then`)},
	{name: "keeps the tickets of a declined order", hook: script("move",
		"tonumber(available) + tonumber(ARGV[by + 1])", "tonumber(available) + (ARGV[GROUPS] == 'declined' and 0 or 1) * tonumber(ARGV[by + 1])")},
	{name: "gives tickets back twice", hook: script("move",
		"tonumber(available) + tonumber(ARGV[by + 1])", "tonumber(available) + (ARGV[GROUPS] == 'expired' and 2 or 1) * tonumber(ARGV[by + 1])")},
	{name: "confirms after the deadline", hook: script("move",
		" or (bound == 'before' or bound == 'anew' or bound == 'hold') and now >= tonumber(ARGV[at + 2])", "")},
	{name: "expires by the worker's clock", hook: chain(
		script("due", "int(time_of(redis.call('HGET', KEYS[2], '#now')))", "int(time_of(redis.call('HGET', KEYS[2], '#now')) + 3600000)"),
		script("move", " or bound == 'from' and now < tonumber(ARGV[at + 2])", ""))},
	{name: "ends a hold without a fact", hook: script("move",
		"  append(KEYS[2], stamp, fact, lines,", "  ; (fact == 'expired' and function(_, at, _, all, each) each(at .. '-7', 1, #all) end or append)(KEYS[2], stamp, fact, lines,")},
	{name: "does not take a cancelled order out of the sales", hook: script("move",
		"  changes[n + 1], changes[n + 2] = fields[1 + V + S + c],", `  if ARGV[GROUPS] == 'cancelled' then
    break
  end
  changes[n + 1], changes[n + 2] = fields[1 + V + S + c],`)},
	{name: "acknowledges before it has posted", deps: ledger(func(l domain.Ledger, q workers.Queues) domain.Ledger { return postsAcknowledged{l, q} }), where: "entries of several facts"},
	{name: "posts only the first fact of an entry", deps: ledger(func(l domain.Ledger, _ workers.Queues) domain.Ledger { return postsOne{l} })},
	{name: "acknowledges when one fact of the entry is settled", deps: settlesOne, where: "entries of several facts"},
	{name: "acknowledges before it owes", deps: ledger(func(l domain.Ledger, q workers.Queues) domain.Ledger { return owesAcknowledged{l, q} }), where: "money that waits"},
	{name: "takes off the list what is owed for another fact by now", hook: script("settle_owed",
		"redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3] or ", ""), where: "cancelled while its capture is owed"},
	{name: "takes from the list for ever", hook: script("take_owed",
		"now + tonumber(ARGV[1])", "now + 86400000"), where: "money that waits"},
	{name: "takes from the list what it gives out", hook: script("take_owed",
		"redis.call('ZADD', KEYS[1], until_then, given[i])", "redis.call('ZREM', KEYS[1], given[i])"), where: "money that waits"},
	{name: "deletes a consumer with pending entries", hook: script("leave",
		"if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then", "if false then")},
	{name: "trims what nobody has read", hook: script("trim",
		"'MINID', '=', int(min_millis) .. '-' .. int(min_seq)", "'MAXLEN', '=', '0'")},
	{name: "makes groups again from the end", hook: changed("xgroup", func(cmd redis.Cmder) {
		cmd.Args()[4] = "$"
	})},
	{name: "reclaims nothing", hook: answer("xautoclaim", func(cmd redis.Cmder) {
		cmd.(*redis.Cmd).SetVal([]any{"0-0", []any{}, []any{}})
	})},
	{name: "gives no sign of life for what it has in hand", hook: script("keep_alive",
		"if #ARGV > 3 then", "if false then")},
	{name: "skips the void", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return skipsVoid{g} }},
	{name: "skips the capture", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return skipsCapture{g} }},
	{name: "skips the refund", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return skipsRefund{g} }},
	{name: "refunds by difference", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return refundsByDifference{g} }},
	{name: "voids without forbidding", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return doesNotForbid{g} }},
	{name: "tries again under another key", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return &blindRetry{PaymentGateway: g} }},
	{name: "believes the gateway's amount", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return &believes{PaymentGateway: g} }},
	{name: "believes that every payment is its own", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return believesWhose{g} }},
	{name: "names payments without their namespace", gateway: renames(func(name *domain.PaymentName) { name.Namespace = "" })},
	{name: "names payments as another namespace does", gateway: renames(func(name *domain.PaymentName) { name.Namespace = "other" })},
	{name: "pays for each attempt under the name of the first", gateway: renames(func(name *domain.PaymentName) { name.Attempt = 0 })},
	{name: "takes what the first attempt came to for that of any", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return looksUpTheFirst{g} }},
	{name: "parks requests nowhere", where: "paused", hook: script("park", "    redis.call('ZADD', KEYS[2], p[1], p[2])", "")},
	{name: "loses the first of what is parked", where: "paused", hook: script("unpark", "redis.call('ZRANGE', KEYS[2], 0, ", "redis.call('ZRANGE', KEYS[2], 1, ")},
	{name: "forgets to ask what customers did", hook: script("move", "redis.call('ZADD', KEYS[6 + B], int(now + FIRST_ASKED), members[n])", "")},
	{name: "voids payments without their namespace", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return voidsPlain{g} }},
	{name: "takes no answer for a no", gateway: func(g domain.PaymentGateway) domain.PaymentGateway { return unknownIsNo{g} }},
}

// ledger puts something between a worker and what it does to orders.
func ledger(wrap func(domain.Ledger, workers.Queues) domain.Ledger) func(*workers.Deps) {
	return func(d *workers.Deps) { d.Ledger = wrap(d.Ledger, d.Queues) }
}

// sameBody takes every request for an order for the one that opened it.
type sameBody struct{ domain.Ledger }

func (l sameBody) Hold(ctx context.Context, partition int, batch []domain.Incoming) ([]domain.Reply, int64, error) {
	batch = slices.Clone(batch)
	refs := make([]domain.OrderRef, len(batch))
	for i, in := range batch {
		refs[i] = in.Request.Ref()
	}
	orders, err := l.Orders(ctx, refs)
	if err != nil {
		return nil, 0, err
	}
	first := make(map[domain.OrderRef]string)
	for i, o := range orders {
		if o.Fingerprint != "" {
			first[refs[i]] = o.Fingerprint
		}
	}
	for i, ref := range refs {
		if said := first[ref]; said == "" {
			first[ref] = batch[i].Request.Fingerprint
		} else {
			batch[i].Request.Fingerprint = said
		}
	}
	return l.Ledger.Hold(ctx, partition, batch)
}

// resolvesAcknowledged acknowledges entries before it does what they ask for.
type resolvesAcknowledged struct {
	domain.Ledger
	queues workers.Queues
}

func (l resolvesAcknowledged) Resolve(ctx context.Context, partition int, batch []domain.Resolution) ([]domain.Reply, int64, error) {
	var ids []string
	for _, r := range batch {
		if r.EntryID != "" {
			ids = append(ids, r.EntryID)
		}
	}
	if err := acknowledge(ctx, l.queues, partition, domain.GroupWorkers, ids); err != nil {
		return nil, 0, err
	}
	return l.Ledger.Resolve(ctx, partition, batch)
}

// owesAcknowledged acknowledges entries before what is not settled of them is on the list.
type owesAcknowledged struct {
	domain.Ledger
	queues workers.Queues
}

func (l owesAcknowledged) Owe(ctx context.Context, partition int, entryID string, orders []domain.Unsettled) error {
	if err := acknowledge(ctx, l.queues, partition, domain.GroupSettlement, []string{entryID}); err != nil {
		return err
	}
	return l.Ledger.Owe(ctx, partition, entryID, orders)
}

// postsAcknowledged acknowledges entries before their lines are written.
type postsAcknowledged struct {
	domain.Ledger
	queues workers.Queues
}

func (l postsAcknowledged) Post(ctx context.Context, partition int, ids []string, facts []domain.Fact) error {
	if err := acknowledge(ctx, l.queues, partition, domain.GroupPosting, ids); err != nil {
		return err
	}
	return l.Ledger.Post(ctx, partition, ids, facts)
}

func acknowledge(ctx context.Context, queues workers.Queues, partition int, group domain.Group, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	q, err := queues(partition, group, "planted")
	if err != nil {
		return err
	}
	return q.Ack(ctx, ids)
}

// trimsUpToTheMark trims the log behind what is archived, whether a snapshot has it or not.
func trimsUpToTheMark(d *workers.Deps) {
	if d.Archiver != nil {
		d.Archiver = trimmingAll{d.Archiver, d.Ledger.(domain.ArchiveSource)}
	}
}

type trimmingAll struct {
	workers.Archiver
	source domain.ArchiveSource
}

func (a trimmingAll) Trim(ctx context.Context, partition int) (int64, error) {
	state, err := a.source.ArchiveState(ctx, partition)
	if err != nil || state.Mark.Position == "" {
		return 0, err
	}
	return a.source.TrimLog(ctx, partition, state.Branch, state.Mark.Position, domain.KeepLog{For: time.Nanosecond, Bytes: 1 << 40})
}

// postsOne takes an entry for one fact.
type postsOne struct{ domain.Ledger }

func (l postsOne) Post(ctx context.Context, partition int, ids []string, facts []domain.Fact) error {
	return l.Ledger.Post(ctx, partition, ids, slices.DeleteFunc(slices.Clone(facts), func(f domain.Fact) bool { return f.Line > 1 }))
}

// settlesOne acknowledges an entry in settlement as soon as the money of one of its orders has moved.
func settlesOne(d *workers.Deps) {
	s := &settledOnce{entries: make(map[domain.OrderRef]string)}
	queues, gateway := d.Queues, d.Gateway
	d.Queues = func(partition int, group domain.Group, consumer string) (domain.Queue, error) {
		q, err := queues(partition, group, consumer)
		if group == domain.GroupSettlement {
			q = noting{q, s}
		}
		return q, err
	}
	d.Gateway = middleman{next: gateway, do: func(ctx context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error) {
		p, err := do()
		if id := s.entryOf(name.OrderRef); err == nil && id != "" && (call == "capture" || call == "void" || call == "refund") {
			_ = acknowledge(ctx, queues, 0, domain.GroupSettlement, []string{id}) // it is acknowledged again
		}
		return p, err
	}}
}

type settledOnce struct {
	mu      sync.Mutex
	entries map[domain.OrderRef]string // the latest that settlement was given about an order
}

func (s *settledOnce) entryOf(ref domain.OrderRef) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[ref]
}

func (s *settledOnce) note(entries []domain.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		facts, err := wire.ParseFacts(e.ID, e.Fields)
		if err != nil {
			continue // the worker says so
		}
		for _, f := range facts {
			s.entries[f.Ref()] = e.ID
		}
	}
}

// noting is a queue that notes what it gives.
type noting struct {
	domain.Queue
	given *settledOnce
}

func (q noting) Read(ctx context.Context, most int, wait time.Duration) ([]domain.Entry, error) {
	entries, err := q.Queue.Read(ctx, most, wait)
	q.given.note(entries)
	return entries, err
}

type (
	skipsVoid    struct{ domain.PaymentGateway }
	skipsCapture struct{ domain.PaymentGateway }
	skipsRefund  struct{ domain.PaymentGateway }
	unknownIsNo  struct{ domain.PaymentGateway }

	refundsByDifference struct{ domain.PaymentGateway }
	doesNotForbid       struct{ domain.PaymentGateway }
)

// Refund takes the total for what is to be given back on top of what was.
func (g refundsByDifference) Refund(ctx context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	p, err := g.Lookup(ctx, a)
	if err != nil {
		return domain.Payment{}, err
	}
	return g.PaymentGateway.Refund(ctx, a, p.Refunded+total)
}

// Void does nothing about what the gateway has not heard of.
func (g doesNotForbid) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	if _, err := g.Lookup(ctx, a); errors.Is(err, domain.ErrNotFound) {
		return domain.Payment{Status: domain.PaymentStatusVoided, Amount: domain.AmountNotTold}, nil
	}
	return g.PaymentGateway.Void(ctx, a)
}

// renames is a gateway whose payments all have other names than they should.
func renames(how func(*domain.PaymentName)) func(domain.PaymentGateway) domain.PaymentGateway {
	return func(g domain.PaymentGateway) domain.PaymentGateway { return renaming{g, how} }
}

type renaming struct {
	next domain.PaymentGateway
	how  func(*domain.PaymentName)
}

func (g renaming) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	g.how(&r.Name)
	return g.next.Authorize(ctx, r)
}

func (g renaming) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	g.how(&a.Name)
	return g.next.Lookup(ctx, a)
}

func (g renaming) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	g.how(&a.Name)
	return g.next.Capture(ctx, a)
}

func (g renaming) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	g.how(&a.Name)
	return g.next.Void(ctx, a)
}

func (g renaming) Refund(ctx context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	g.how(&a.Name)
	return g.next.Refund(ctx, a, total)
}

func (g renaming) Minimums(ctx context.Context) (domain.Minimums, error) { return g.next.Minimums(ctx) }

// voidsPlain voids a payment by the name it would have without its namespace.
type voidsPlain struct{ domain.PaymentGateway }

func (g voidsPlain) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	a.Name.Namespace = ""
	return g.PaymentGateway.Void(ctx, a)
}

func (skipsVoid) Void(context.Context, domain.Attempt) (domain.Payment, error) {
	return domain.Payment{Status: domain.PaymentStatusVoided}, nil
}

func (skipsCapture) Capture(context.Context, domain.Attempt) (domain.Payment, error) {
	return domain.Payment{Status: domain.PaymentStatusCaptured}, nil
}

func (skipsRefund) Refund(_ context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	return domain.Payment{Status: domain.PaymentStatusRefunded, Amount: a.Amount, Refunded: total}, nil
}

func (g unknownIsNo) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	p, err := g.PaymentGateway.Authorize(ctx, r)
	if err != nil {
		return domain.Payment{Status: domain.PaymentStatusDeclined}, nil
	}
	return p, nil
}

// believes lets the worker see the amount that it asked for, whatever the gateway says.
type believes struct {
	domain.PaymentGateway
	asked sync.Map // amounts by name
}

func (g *believes) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	g.asked.Store(r.Name, r.Amount)
	p, err := g.PaymentGateway.Authorize(ctx, r)
	return g.believed(r.Name, p), err
}

func (g *believes) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	p, err := g.PaymentGateway.Lookup(ctx, a)
	return g.believed(a.Name, p), err
}

func (g *believes) believed(name domain.PaymentName, p domain.Payment) domain.Payment {
	if amount, asked := g.asked.Load(name); asked && p.Status == domain.PaymentStatusAuthorized {
		p.Amount = amount.(int64)
	}
	return p
}

// believesWhose does not let the worker see whose payment it is.
type believesWhose struct{ domain.PaymentGateway }

func (g believesWhose) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	p, err := g.PaymentGateway.Authorize(ctx, r)
	p.CustomerID = ""
	return p, err
}

func (g believesWhose) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	p, err := g.PaymentGateway.Lookup(ctx, a)
	p.CustomerID = ""
	return p, err
}

// blindRetry sends an authorization without an answer again, as if it were another.
type blindRetry struct{ domain.PaymentGateway }

func (g *blindRetry) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	p, err := g.PaymentGateway.Authorize(ctx, r)
	if err == nil {
		return p, nil
	}
	r.Name.OrderID += "-again"
	return g.PaymentGateway.Authorize(ctx, r)
}

// planter changes what a worker sends to Redis, or hears from it.
type planter struct {
	process func(ctx context.Context, next redis.ProcessHook, cmd redis.Cmder) error
}

func (planter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (p planter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return p.process(ctx, next, cmd) }
}

func (p planter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if err := p.process(ctx, func(context.Context, redis.Cmder) error { return nil }, cmd); err != nil {
				return err
			}
		}
		return next(ctx, cmds)
	}
}

func chain(hooks ...func() redis.Hook) func() redis.Hook {
	return func() redis.Hook {
		return planter{func(ctx context.Context, next redis.ProcessHook, cmd redis.Cmder) error {
			for _, h := range slices.Backward(hooks) {
				next = h().ProcessHook(next)
			}
			return next(ctx, cmd)
		}}
	}
}

// changed changes a command before it is sent.
func changed(name string, change func(redis.Cmder)) func() redis.Hook {
	return func() redis.Hook {
		return planter{func(ctx context.Context, next redis.ProcessHook, cmd redis.Cmder) error {
			if cmd.Name() == name {
				change(cmd)
			}
			return next(ctx, cmd)
		}}
	}
}

// answer answers a command without sending it.
func answer(name string, reply func(redis.Cmder)) func() redis.Hook {
	return func() redis.Hook {
		return planter{func(ctx context.Context, next redis.ProcessHook, cmd redis.Cmder) error {
			if strings.EqualFold(cmd.Name(), name) {
				reply(cmd)
				return nil
			}
			return next(ctx, cmd)
		}}
	}
}

// looksUpTheFirst believes an answer whichever attempt to pay it is about.
type looksUpTheFirst struct{ domain.PaymentGateway }

func (g looksUpTheFirst) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	a.Name.Attempt = 0
	return g.PaymentGateway.Lookup(ctx, a)
}

// afterRead does something with the entries that a read was given.
func afterRead(do func(ctx context.Context, next redis.ProcessHook, cmd redis.Cmder) error) func() redis.Hook {
	return func() redis.Hook {
		return planter{func(ctx context.Context, next redis.ProcessHook, cmd redis.Cmder) error {
			err := next(ctx, cmd)
			if err != nil || !strings.EqualFold(cmd.Name(), "xreadgroup") || len(readEntries(cmd)) == 0 {
				return err
			}
			return do(ctx, next, cmd)
		}}
	}
}

func argAfter(cmd redis.Cmder, name string) any {
	for i, arg := range cmd.Args() {
		if s, ok := arg.(string); ok && strings.EqualFold(s, name) {
			return cmd.Args()[i+1]
		}
	}
	return nil
}

func readEntries(cmd redis.Cmder) (ids []string) {
	list := replyOf(cmd)
	if len(list) != 1 {
		return nil
	}
	stream, _ := list[0].([]any)
	entries, _ := stream[1].([]any)
	for _, e := range entries {
		ids = append(ids, e.([]any)[0].(string))
	}
	return ids
}

// noScript makes the client send a script's text, which is then changed.
type noScript struct{}

func (noScript) Error() string { return "NOSCRIPT planted" }
func (noScript) RedisError()   {}

// mutants are the digests of changed scripts, by name and change.
var mutants sync.Map

// mutations are all the changes of scripts that are planted, by script.
var mutations = make(map[string][]string)

// TestPlantedTexts looks for what every change replaces, also for those that a short run does not plant.
func TestPlantedTexts(t *testing.T) {
	for name, olds := range mutations {
		text, err := os.ReadFile("../streams/scripts/" + name + ".lua")
		if err != nil {
			t.Fatal(err)
		}
		for _, old := range olds {
			if n := strings.Count(string(text), old); n != 1 {
				t.Errorf("%s has %q %d times, want it once", name, old, n)
			}
		}
	}
	if len(mutations) == 0 {
		t.Error("no script is changed")
	}
}

// script changes a script: where it says old, it says new.
func script(name, old, new string) func() redis.Hook {
	key := name + "\x00" + old
	mutations[name] = append(mutations[name], old)
	return func() redis.Hook {
		return planter{func(ctx context.Context, next redis.ProcessHook, cmd redis.Cmder) error {
			switch cmd.Name() {
			case "evalsha":
				if streams.ScriptName(cmd.Args()[1].(string)) != name {
					break
				}
				digest, known := mutants.Load(key)
				if !known {
					cmd.SetErr(noScript{})
					return noScript{}
				}
				cmd.Args()[1] = digest
			case "eval":
				text := cmd.Args()[1].(string)
				if streams.ScriptName(digestOf(text)) != name {
					break
				}
				if strings.Count(text, old) != 1 {
					panic(fmt.Sprintf("planting a bug in %s: it has %q %d times", name, old, strings.Count(text, old)))
				}
				text = strings.Replace(text, old, new, 1)
				cmd.Args()[1] = text
				mutants.Store(key, digestOf(text))
			}
			return next(ctx, cmd)
		}}
	}
}

func digestOf(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}
