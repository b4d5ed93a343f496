package workers_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/payments"
	"holdfast/streams"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

type streamsConsumer = streams.ConsumerStatus

// dieAt says at which step, and how, a worker dies.
type dieAt struct {
	step       string // the name of a script, or of a command
	occurrence int64  // the first, the second … time
	applied    bool   // the step takes effect, but its reply is lost
	survive    bool   // the worker does not die: only the step fails
}

func (d dieAt) String() string {
	how := "not applied"
	if d.applied {
		how = "applied, reply lost"
	}
	if d.survive {
		how += ", worker lives"
	} else {
		how += ", worker dies"
	}
	return fmt.Sprintf("%s #%d, %s", d.step, d.occurrence, how)
}

// crash makes a worker's connections fail from one step on: what the rest of the
// world sees when its process is killed there.
type crash struct {
	dieAt
	seen atomic.Int64
	dead atomic.Bool
	once sync.Once
	hit  chan struct{}
}

func newCrash(d dieAt) *crash { return &crash{dieAt: d, hit: make(chan struct{})} }

var errDead = errors.New("this worker is dead")

// DialHook lets connections through.
func (c *crash) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook sees every command.
func (c *crash) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return c.step(stepOf(cmd), func() error { return next(ctx, cmd) }, cmd)
	}
}

// ProcessPipelineHook sees every pipeline.
func (c *crash) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return c.step("pipeline "+stepOf(cmds[0]), func() error { return next(ctx, cmds) }, cmds...)
	}
}

func (c *crash) step(name string, do func() error, cmds ...redis.Cmder) error {
	if c.dead.Load() {
		return failed(cmds)
	}
	if name == "xreadgroup" || name == "xautoclaim" {
		// What counts is a read that was given something.
		err := do()
		if err != nil || !c.due(name, gaveEntries(cmds[0])) {
			return err
		}
		return c.die(cmds)
	}
	if !c.due(name, true) {
		return do()
	}
	if c.applied {
		if err := do(); err != nil {
			return err
		}
	}
	return c.die(cmds)
}

func (c *crash) due(name string, counts bool) bool {
	return counts && name == c.dieAt.step && c.seen.Add(1) == c.occurrence
}

func (c *crash) die(cmds []redis.Cmder) error {
	c.dead.Store(!c.survive)
	c.once.Do(func() { close(c.hit) })
	return failed(cmds)
}

func failed(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		cmd.SetErr(errDead)
	}
	return errDead
}

func stepOf(cmd redis.Cmder) string {
	name := strings.ToLower(cmd.Name())
	if name != "evalsha" && name != "eval" {
		return name
	}
	digest, _ := cmd.Args()[1].(string)
	if script := streams.ScriptName(digest); script != "" {
		return script
	}
	return name
}

func gaveEntries(cmd redis.Cmder) bool {
	c, ok := cmd.(*redis.Cmd)
	if !ok {
		return false
	}
	list, ok := c.Val().([]any)
	if !ok || len(list) == 0 {
		return false
	}
	if strings.EqualFold(cmd.Name(), "xautoclaim") {
		entries, _ := list[1].([]any)
		return len(entries) > 0
	}
	stream, _ := list[0].([]any)
	entries, _ := stream[1].([]any)
	return len(entries) > 0
}

// steps are those that a worker's death must be survived at. Each is a place
// where something is half done for the world outside.
var steps = []string{
	"xreadgroup", "hold", "resolve", "cancel", "due", "expire", "dead_letter", "xack",
	"pipeline hsetnx", "pipeline hset", "post", "reverse", "keep_alive", "trim",
}

// TestCrashAtEveryStep runs a little of everything, lets a worker die (or only
// the step fail) at each step, and lets another finish. Whatever happened, the
// outcomes are the same, every invariant holds, and the gateway did everything once.
func TestCrashAtEveryStep(t *testing.T) {
	server := redistest.Start(t)
	var points []dieAt
	for _, step := range steps {
		for occurrence := int64(1); occurrence <= 2; occurrence++ {
			for _, applied := range []bool{false, true} {
				for _, survive := range []bool{false, true} {
					points = append(points, dieAt{step: step, occurrence: occurrence, applied: applied, survive: survive})
				}
			}
		}
	}
	var mu sync.Mutex
	hits := make(map[string]int)
	// The runs mostly wait for deadlines and reclaim times, so many at once.
	var running sync.WaitGroup
	room := make(chan struct{}, 24)
	for _, point := range points {
		room <- struct{}{}
		running.Go(func() {
			defer func() { <-room }()
			t.Run(point.String(), func(t *testing.T) {
				if crashAt(t, server, point) {
					mu.Lock()
					hits[point.step]++
					mu.Unlock()
				}
			})
		})
	}
	running.Wait()
	for _, step := range steps {
		if hits[step] == 0 {
			t.Errorf("no run came to the step %q", step)
		}
	}
	t.Logf("%d runs; hits by step: %v", len(points), hits)
}

// crashAt runs the scenario with one fault and reports whether it was hit.
func crashAt(t *testing.T, server *redistest.Server, point dieAt) bool {
	w := newWorld(t, server, payments.SimulatorOptions{Latency: 2 * time.Millisecond})
	w.list("e", 1000, 100)
	hook := newCrash(point)
	cfg := workers.Config{ReclaimAfter: 300 * time.Millisecond, Grace: 300 * time.Millisecond, HoldTime: time.Minute}
	victim := w.start(cfg, w.gateway, hook)

	declined := request(domain.RequestPurchase, "declined", "amy", 2)
	declined.PaymentToken = payments.DeclineTokenPrefix
	expiring := request(domain.RequestHold, "expired", "jim", 3)
	expiring.HoldSeconds = 1
	conflict := request(domain.RequestPurchase, "confirmed", "fred", 9)
	w.publish(
		request(domain.RequestPurchase, "confirmed", "fred", 1), declined, expiring, conflict,
		request(domain.RequestPurchase, "confirmed", "fred", 1), // the same again
		request(domain.RequestHold, "paid", "ann", 4), request(domain.RequestPay, "paid", "", 0),
		request(domain.RequestPurchase, "undone", "bob", 5),
		request(domain.RequestCancel, "unseen", "", 0), request(domain.RequestPurchase, "unseen", "eve", 6),
	)
	second := sync.OnceFunc(func() { w.start(cfg, w.gateway, nil) })
	if !point.survive {
		// The other worker comes when this one has died; without a death, when it has done what it can.
		select {
		case <-hook.hit:
			_ = victim.stop() // it is dead: everything it tries fails
			second()
		case <-time.After(400 * time.Millisecond):
		}
		defer func() { _ = victim.stop() }()
	}
	w.eventually("undone confirmed, or cancelled after it", func() bool {
		if hook.dead.Load() {
			second()
		}
		return w.order("undone").State == domain.OrderConfirmed
	})
	w.publish(request(domain.RequestCancel, "undone", "", 0))
	want := map[string]domain.OrderState{
		"confirmed": domain.OrderConfirmed, "declined": domain.OrderDeclined, "expired": domain.OrderExpired,
		"paid": domain.OrderConfirmed, "undone": domain.OrderCancelled, "unseen": domain.OrderCancelled,
	}
	w.eventually("every order done, and nothing pending", func() bool {
		if hook.dead.Load() {
			second()
		}
		for id, state := range want {
			if w.order(id).State != state {
				return false
			}
		}
		return w.backlog() == 0
	})
	w.audit()
	if s := w.section(); s.Sold != 5 || s.Held != 0 || s.Available != 95 {
		t.Errorf("section is %+v, want 5 sold and 95 available", s)
	}
	if got := w.totals(); got != (streams.Totals{Orders: 2, TicketsSold: 5, Revenue: 5000}) {
		t.Errorf("totals are %+v", got)
	}
	if reasons := w.deadReasons(); len(reasons) != 1 || !strings.HasPrefix(reasons[0], "conflict") {
		t.Errorf("dead letters are %q, want the conflict, once", reasons)
	}
	select {
	case <-hook.hit:
		return true
	default:
		return false
	}
}

// The hole of the old design: a worker dies between the confirmation and the
// posting. Before anything is posted, between the invoice and the sales, and
// after both but before anybody heard of it.
func TestWorkerDiesBetweenConfirmationAndPosting(t *testing.T) {
	server := redistest.Start(t)
	for _, point := range []dieAt{
		{step: "pipeline hsetnx", occurrence: 1},
		{step: "pipeline hsetnx", occurrence: 1, applied: true},
		{step: "post", occurrence: 1},
		{step: "post", occurrence: 1, applied: true},
	} {
		t.Run(point.String(), func(t *testing.T) {
			w := newWorld(t, server, payments.SimulatorOptions{})
			w.list("e", 1000, 10)
			hook := newCrash(point)
			cfg := workers.Config{ReclaimAfter: 200 * time.Millisecond, Grace: 300 * time.Millisecond}
			victim := w.start(cfg, w.gateway, hook)
			w.publish(request(domain.RequestPurchase, "o", "fred", 3))
			w.waitState("o", domain.OrderConfirmed)
			<-hook.hit
			_ = victim.stop() // it is dead: everything it tries fails
			posted := w.totals().Orders
			if wasPosted := point.step == "post" && point.applied; wasPosted != (posted == 1) {
				t.Fatalf("%d orders posted at the time of death", posted)
			}
			w.start(cfg, w.gateway, nil)
			w.waitDrained()
			if got := w.totals(); got != (streams.Totals{Orders: 1, TicketsSold: 3, Revenue: 3000}) {
				t.Errorf("totals are %+v", got)
			}
			if lines, err := w.store.Invoices(w.ctx, "fred"); err != nil || len(lines) != 1 || lines[0].Amount != 3000 {
				t.Errorf("invoices are %+v, %v", lines, err)
			}
			w.audit()
		})
	}
}
