package workers_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// giveToGhost publishes purchases and gives them to a worker that is no more.
func (w *world) giveToGhost(requests ...domain.Request) {
	w.t.Helper()
	w.publish(requests...)
	queue, err := w.store.Queue(0, domain.GroupWorkers, ghost)
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for len(ids) < len(requests) {
		entries, err := queue.Read(w.ctx, 500, 0)
		if err != nil || len(entries) == 0 {
			w.t.Fatalf("the ghost was given %d entries, %v", len(entries), err)
		}
		for _, e := range entries {
			ids = append(ids, e.ID)
		}
	}
	if err := queue.HandBack(w.ctx, ids); err != nil {
		w.t.Fatal(err)
	}
}

func purchasesOf(who string, n int) []domain.Request {
	requests := make([]domain.Request, n)
	for i := range requests {
		name := who + strconv.Itoa(i)
		requests[i] = request(domain.RequestPurchase, name, name, 1)
	}
	return requests
}

// What many workers left is taken over page by page, without a pause: the turn is
// only for the first look, and reads in between do not wait for what is new.
func TestTakeoverGoesOnWhileThereIsMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	const left = 2000
	w.list("e", 1000, left)
	w.giveToGhost(purchasesOf("o", left)...)
	steps := &takeoverSteps{}
	w.start(workers.Config{Roles: []workers.Role{workers.RolePurchase}}, w.gateway, steps)
	w.eventually("all of them sold", func() bool { return w.section().Sold == left })

	full, taken := false, 0
	for i, s := range steps.upTo(left) {
		switch {
		case s.what == "reclaim":
			full, taken = s.given == s.asked, taken+s.given
		case full && s.what == "turn":
			t.Fatalf("step %d: it waited for another turn after %d of %d", i, taken, left)
		case full && s.waits:
			t.Fatalf("step %d: it waited for something new after %d of %d", i, taken, left)
		}
	}
	kinds := func(what string) (n int) {
		for _, s := range steps.upTo(left) {
			if s.what == what {
				n++
			}
		}
		return n
	}
	if turns, reclaims, reads := kinds("turn"), kinds("reclaim"), kinds("read"); turns != 1 || reads > reclaims {
		t.Errorf("%d turns, %d reclaims, %d reads until all were taken over", turns, reclaims, reads)
	}
}

// takeoverSteps is a hook that notes how a worker comes by requests.
type takeoverSteps struct {
	mu    sync.Mutex
	steps []takeoverStep
}

type takeoverStep struct {
	what         string // turn, reclaim, read
	asked, given int
	waits        bool // for something new
}

// upTo is what was done until so many were taken over.
func (s *takeoverSteps) upTo(taken int) []takeoverStep {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, step := range s.steps {
		if step.what == "reclaim" {
			if taken -= step.given; taken <= 0 {
				return slices.Clone(s.steps[:i+1])
			}
		}
	}
	return slices.Clone(s.steps)
}

// DialHook changes nothing.
func (s *takeoverSteps) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook notes what has to do with it.
func (s *takeoverSteps) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		step := takeoverStep{}
		args := strings.ToLower(fmt.Sprint(cmd.Args()...))
		switch stepOf(cmd) {
		case "set turn reclaim:" + string(domain.GroupWorkers):
			step.what = "turn"
		case "xautoclaim" + byPurchase:
			step.what = "reclaim"
			reply, _ := cmd.(*redis.Cmd).Val().([]any)
			if len(reply) > 1 {
				entries, _ := reply[1].([]any)
				step.given = len(entries)
			}
			step.asked, _ = cmd.Args()[len(cmd.Args())-1].(int)
		case "xreadgroup" + byPurchase:
			step.what, step.waits = "read", strings.Contains(args, "block")
		default:
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.steps = append(s.steps, step)
		return err
	}
}

// ProcessPipelineHook changes nothing.
func (s *takeoverSteps) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// What is taken over and what is new have about half each of the room there is.
func TestTakeoverAndWhatIsNewTakeTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	const each = 300
	w.list("e", 1000, 2*each)
	w.giveToGhost(purchasesOf("old", each)...)
	w.publish(purchasesOf("new", each)...)
	var mu sync.Mutex
	var asked []string
	gateway := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
		mu.Lock()
		asked = append(asked, r.Name.OrderID)
		mu.Unlock()
		return w.gateway.Authorize(ctx, r)
	}}
	w.start(workers.Config{Concurrency: 8}, gateway, nil)
	w.eventually("all of them sold", func() bool { return w.section().Sold == 2*each })
	w.waitDrained()
	old := 0
	for _, order := range asked[:each] {
		if strings.HasPrefix(order, "old") {
			old++
		}
	}
	if old < each/4 || old > each*3/4 {
		t.Errorf("of the first %d payments %d were for orders that were taken over", each, old)
	}
	w.audit()
}
