package workers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams"
)

// faultKind is what happens at a step.
type faultKind string

const (
	notApplied faultKind = "not applied"            // nothing is sent; the worker is told of an error
	replyLost  faultKind = "reply lost"             // it takes effect; the worker is told of an error
	diesBefore faultKind = "not applied, and death" // nothing is sent, and the worker dies
	diesAfter  faultKind = "applied, and death"     // it takes effect, and the worker dies
)

var faultKinds = []faultKind{notApplied, replyLost, diesBefore, diesAfter}

// What else happens at a step that is a request to Stripe.
const (
	answers429 faultKind = "429 lock_timeout"
	answers500 faultKind = "500, and applied"
	diesDuring faultKind = "death, and applied after a while" // until then its key is in use
)

var stripeKinds = append(slices.Clone(faultKinds), answers429, answers500, diesDuring)

func (k faultKind) applies() bool { return k == replyLost || k == diesAfter }
func (k faultKind) kills() bool   { return k == diesBefore || k == diesAfter }

// fault says at which step what happens. Steps are named by stepOf and
// process.gateway, and counted from the beginning, or from the fault before.
type fault struct {
	step       string
	occurrence int // the first, the second … time
	kind       faultKind
}

func (f fault) String() string { return fmt.Sprintf("%s #%d %s", f.step, f.occurrence, f.kind) }

// parseFault reads what String wrote.
func parseFault(s string) (fault, error) {
	step, rest, found := strings.Cut(s, " #")
	number, kind, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(number)
	f := fault{step: step, occurrence: n, kind: faultKind(kind)}
	if !found || err != nil || !slices.Contains(kindsAt(step), f.kind) {
		return fault{}, fmt.Errorf("fault %q: want STEP #N KIND, the kind one of %q", s, kindsAt(step))
	}
	return f, nil
}

// byPurchase ends the names of steps in the group of the purchase role.
const byPurchase = " " + string(domain.GroupWorkers)

// withEntries is what the name of a read that was given something ends with. Before
// it is sent nobody knows, so these steps only have faults that apply.
const withEntries = ", with entries"

// kindsAt are the faults that a step can have.
func kindsAt(step string) []faultKind {
	switch {
	case strings.HasSuffix(step, withEntries):
		return []faultKind{replyLost, diesAfter}
	case strings.HasPrefix(step, atStripe):
		return stripeKinds
	}
	return faultKinds
}

var errInjected = errors.New("injected fault")

// injector lets faults happen to workers, one after the other: each is armed when
// the one before was hit. Without faults it only records which steps there are.
type injector struct {
	mu     sync.Mutex
	faults []fault
	hit    int              // how many of them were hit
	seen   []map[string]int // how often each step came, before the first was hit, after it, …
}

func newInjector(faults ...fault) *injector {
	return &injector{faults: faults, seen: []map[string]int{{}}}
}

// hits is how many faults were hit.
func (i *injector) hits() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hit
}

// process is one worker as the injector sees it: something that can die, with its
// connections. It is the worker's redis.Hook, and what is between it and the gateway.
type process struct {
	*injector
	died chan struct{} // closed when it does

	conns map[net.Conn]bool // guarded by the injector's mu, as is dead
	dead  bool
}

func (i *injector) process() *process {
	return &process{injector: i, died: make(chan struct{}), conns: make(map[net.Conn]bool)}
}

// kill ends the worker, as far as the world can see: nothing is sent any more, no
// reply is heard, its connections are closed.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killLocked()
}

func (p *process) killLocked() {
	if p.dead {
		return
	}
	p.dead = true
	close(p.died)
	for conn := range p.conns {
		_ = conn.Close() // whoever uses it hears of it
	}
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// arrive counts a step, and returns the fault that is due at it, if any.
func (p *process) arrive(step string) (kind faultKind, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return diesBefore, true
	}
	seen := p.seen[p.hit]
	seen[step]++
	if p.hit == len(p.faults) || p.faults[p.hit].step != step || p.faults[p.hit].occurrence != seen[step] {
		return "", false
	}
	kind = p.faults[p.hit].kind
	p.hit++
	p.seen = append(p.seen, map[string]int{})
	if kind == diesBefore {
		p.killLocked()
	}
	return kind, true
}

// do makes a step, unless a fault is due. gave, if not nil, tells afterwards
// whether a read was given anything. It returns errInjected if the step failed for the worker.
func (p *process) do(step string, apply func() error, gave func() bool) error {
	kind, due := p.arrive(step)
	if due && !kind.applies() {
		return errInjected
	}
	err := apply()
	if !due && gave != nil && gave() {
		kind, due = p.arrive(step + withEntries)
	}
	if due && kind.kills() {
		p.kill()
	}
	if due || p.isDead() {
		return errInjected
	}
	return err
}

// DialHook notes the connections of the worker.
func (p *process) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.dead {
			_ = conn.Close() // whoever uses it hears of it
			return conn, nil
		}
		p.conns[conn] = true
		return conn, nil
	}
}

// ProcessHook sees every command.
func (p *process) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return p.send(stepOf(cmd), func() error { return next(ctx, cmd) }, cmd)
	}
}

// ProcessPipelineHook sees every pipeline. It is named by its first command, and where one for the archive begins as another does, by its second as well.
func (p *process) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		step := "pipeline " + stepOf(cmds[0])
		if len(cmds) > 1 && (cmds[1].Name() == "get" || cmds[1].Name() == "xlen") {
			step += " " + cmds[1].Name()
		}
		return p.send(step, func() error { return next(ctx, cmds) }, cmds...)
	}
}

func (p *process) send(step string, next func() error, cmds ...redis.Cmder) error {
	if setsUp[step] {
		return next()
	}
	err := p.do(step, next, func() bool { return gaveEntries(step, cmds[0]) })
	if errors.Is(err, errInjected) {
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
	}
	return err
}

// setsUp are what the client says on each new connection, within the first
// command that is sent there. How many connections there are is its business.
var setsUp = map[string]bool{"hello": true, "client": true, "pipeline client": true, "pipeline hello": true, "pipeline select": true}

// stepOf names a command: what it does, and in which group or for which job.
func stepOf(cmd redis.Cmder) string {
	name, args := strings.ToLower(cmd.Name()), cmd.Args()
	arg := func(i int) string {
		if i >= len(args) {
			return ""
		}
		return argument(args[i])
	}
	switch name {
	case "evalsha":
		script := streams.ScriptName(arg(1))
		keys, err := strconv.Atoi(arg(2))
		if err != nil {
			return "evalsha"
		}
		switch script {
		case "keep_alive", "hand_back", "leave", "dead_letter", "own":
			return script + " " + arg(3+keys) // their first argument is the group
		case "move":
			if group := arg(3 + keys); group != "" {
				return script + " " + group
			}
			// Nobody asked for it by an entry. Of a due hold that somebody else has ended meanwhile there is no fact.
			fact := domain.FactExpired
			for _, other := range []domain.FactType{domain.FactCancelled, domain.FactRestored} {
				if slices.ContainsFunc(args, func(a any) bool { return argument(a) == string(other) }) {
					fact = other
				}
			}
			return script + " " + string(fact)
		}
		return script
	case "xreadgroup":
		if arg(len(args)-1) != ">" {
			name = "own"
		}
		return name + " " + arg(2)
	case "xack", "xautoclaim":
		return name + " " + arg(2)
	case "set":
		if _, job, found := strings.Cut(arg(1), ":turn:"); found {
			return "set turn " + job
		}
	}
	return name
}

// argument is one of a command, as Redis is given it.
func argument(a any) string {
	if s, ok := a.(*string); ok {
		return *s
	}
	return fmt.Sprint(a)
}

// replyOf is the list that Redis answered a command with, nil if it was none.
func replyOf(cmd redis.Cmder) []any {
	var reply any
	switch c := cmd.(type) {
	case *redis.Cmd:
		reply = c.Val()
	case *redis.RawCmd:
		reply, _ = decodeReply(c.Val())
	}
	list, _ := reply.([]any)
	return list
}

// decodeReply reads arrays, bulk strings and nothing else, as they are on the wire.
func decodeReply(raw []byte) (value any, rest []byte) {
	line, rest, found := bytes.Cut(raw, []byte("\r\n"))
	if !found || len(line) == 0 {
		return nil, rest
	}
	n, err := strconv.Atoi(string(line[1:]))
	switch {
	case err != nil || n < 0:
		return nil, rest
	case line[0] == '$':
		return string(rest[:n]), rest[n+2:]
	case line[0] != '*':
		return nil, rest
	}
	list := make([]any, n)
	for i := range list {
		list[i], rest = decodeReply(rest)
	}
	return list, rest
}

// gaveEntries reports whether the reply to a step that reads has entries in it.
func gaveEntries(step string, cmd redis.Cmder) bool {
	reply := replyOf(cmd)
	at := func(list []any, i int) []any {
		if i >= len(list) {
			return nil
		}
		inner, _ := list[i].([]any)
		return inner
	}
	switch strings.ToLower(cmd.Name()) {
	case "xreadgroup":
		return len(at(at(reply, 0), 1)) > 0 // [[stream, entries]]
	case "xautoclaim":
		return len(at(reply, 1)) > 0 // [cursor, entries, deleted]
	default:
		return strings.HasPrefix(step, "own ") && len(reply) > 0 // entries
	}
}

// gateway puts the injector between a worker and its payment gateway.
func (p *process) gateway(next domain.PaymentGateway) domain.PaymentGateway {
	return middleman{next: next, do: func(_ context.Context, call string, _ domain.PaymentName, do func() (domain.Payment, error)) (payment domain.Payment, err error) {
		err = p.do("gateway "+call, func() error {
			payment, err = do()
			return err
		}, nil)
		if errors.Is(err, errInjected) {
			return domain.Payment{}, fmt.Errorf("%s: %w: %w", call, err, domain.ErrUnknownOutcome)
		}
		return payment, err
	}}
}

// middleman is a gateway whose calls all go through one function.
type middleman struct {
	next domain.PaymentGateway
	do   func(ctx context.Context, call string, name domain.PaymentName, do func() (domain.Payment, error)) (domain.Payment, error)
}

func (m middleman) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	return m.do(ctx, "authorize", r.Name, func() (domain.Payment, error) { return m.next.Authorize(ctx, r) })
}

func (m middleman) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return m.do(ctx, "lookup", a.Name, func() (domain.Payment, error) { return m.next.Lookup(ctx, a) })
}

func (m middleman) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return m.do(ctx, "capture", a.Name, func() (domain.Payment, error) { return m.next.Capture(ctx, a) })
}

func (m middleman) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return m.do(ctx, "void", a.Name, func() (domain.Payment, error) { return m.next.Void(ctx, a) })
}

func (m middleman) Refund(ctx context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	return m.do(ctx, "refund", a.Name, func() (domain.Payment, error) { return m.next.Refund(ctx, a, total) })
}

// Minimums is about no order: nothing comes between.
func (m middleman) Minimums(ctx context.Context) (domain.Minimums, error) {
	return m.next.Minimums(ctx)
}

// chained is two hooks: the second is nearer to Redis.
type chained struct{ outer, inner redis.Hook }

func (c chained) DialHook(next redis.DialHook) redis.DialHook {
	return c.outer.DialHook(c.inner.DialHook(next))
}

func (c chained) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return c.outer.ProcessHook(c.inner.ProcessHook(next))
}

func (c chained) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return c.outer.ProcessPipelineHook(c.inner.ProcessPipelineHook(next))
}
