package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/e2e/torture"
)

// oldWorker starts a worker of the old program and waits until it works.
func (s *system) oldWorker(program, name string, args ...string) *process {
	s.t.Helper()
	p := startCommand(s.t, name, exec.Command(program, s.workerArgs(name, args...)...))
	p.saysSoon(`"worker started"`)
	return p
}

// oldOK runs a command of the old program that must succeed; it returns stdout.
func (s *system) oldOK(program string, args ...string) string {
	s.t.Helper()
	out, err := output(exec.Command(program, append(args, "--redis", s.url)...))
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// A namespace that the old program made is taken over by the new one under load: with
// orders that are held, orders whose payments are on their way, and orders whose money is not
// collected. Payments keep the names that they had, or each capture would ask for one that
// the gateway never heard of, and each redelivery would reserve the money twice.
func TestTortureUpgrade(t *testing.T) {
	t.Parallel()
	old := oldBinary(t)
	tally := torture.Begin(t, 13, "workers of the version before replaced by this one's, under load")
	const unsettled, held, underWay, events = 2000, 300, 200, 8
	s := newSystem(t)
	gateway := startGateway(t, "--latency", "500ms")
	for e := range events {
		s.oldOK(old, "events", "create", fmt.Sprintf("up-event-%d", e), "--name", "Upgrade", "--currency", "EUR", "--section", "general=100000@12.50")
	}
	ticket := func(kind string, i int) domain.Request {
		r := domain.Request{
			Type: domain.RequestPurchase, EventID: fmt.Sprintf("up-event-%d", i%events), OrderID: fmt.Sprintf("%s-%d", kind, i),
			CustomerID: fmt.Sprintf("%s-customer-%d", kind, i), Quantity: 1, PaymentToken: "tok_1",
		}
		if kind == "held" {
			r.Type, r.PaymentToken, r.HoldSeconds = domain.RequestHold, "", 600
		}
		return r
	}
	p := s.producer()
	var all []domain.OrderRef
	publishAll := func(kind string, n int) (refs []domain.OrderRef) {
		requests := make([]domain.Request, n)
		for i := range requests {
			requests[i] = ticket(kind, i)
			refs = append(refs, requests[i].Ref())
		}
		publish(t, p, requests...)
		all = append(all, refs...)
		return refs
	}
	states := func(refs []domain.OrderRef) map[domain.OrderState]int {
		n := make(map[domain.OrderState]int)
		for _, o := range s.orders(refs) {
			n[o.State]++
		}
		return n
	}

	// The old program alone, and nobody settles: 2,000 confirmed, 300 held, and then it dies of
	// SIGKILL with payments under way.
	args := []string{"--gateway", gateway, "--reclaim-after", "2s"}
	first := s.oldWorker(old, "old-0", append(args, "--roles", "purchase,posting,maintenance")...)
	confirmed, holds := publishAll("unsettled", unsettled), publishAll("held", held)
	eventually(t, 3*soon, "all are confirmed, or held", func() error {
		if c, h := states(confirmed), states(holds); c[domain.OrderConfirmed] != unsettled || h[domain.OrderHeld] != held {
			return fmt.Errorf("%v and %v", c, h)
		}
		return nil
	})
	hanging := publishAll("under-way", underWay)
	eventually(t, soon, "payments are under way", func() error {
		authorized := 0
		for ref := range ledger(t, gateway) {
			if strings.HasPrefix(ref.OrderID, "under-way") {
				authorized++
			}
		}
		if authorized < underWay/4 {
			return fmt.Errorf("%d are authorized", authorized)
		}
		return nil
	})
	first.kill()
	stillHeld := states(hanging)[domain.OrderHeld]
	lines := ledger(t, gateway)
	captured := 0
	for _, l := range lines {
		captured += l.Captures
	}
	tally.Count("orders held", held)
	tally.Count("orders unsettled", unsettled-captured)
	tally.Count("payments under way when the worker was killed", stillHeld)
	if captured > 0 || stillHeld == 0 {
		t.Errorf("%d payments captured, %d under way: that was no test", captured, stillHeld)
	}

	// Side by side, and customers buy.
	oldPool := []*process{s.oldWorker(old, "old-1", args...), s.oldWorker(old, "old-2", args...)}
	newPool := []*process{s.worker("new-1", args...), s.worker("new-2", args...)}
	sale := s.sell(func(number int) []domain.Request { return []domain.Request{ticket("meanwhile", number)} })
	for _, p := range append(oldPool, newPool...) {
		s.busy(p, 1)
	}
	pay := func(from, to int) {
		t.Helper()
		requests := make([]domain.Request, 0, to-from)
		for _, ref := range holds[from:to] {
			requests = append(requests, domain.Request{Type: domain.RequestPay, EventID: ref.EventID, OrderID: ref.OrderID, PaymentToken: "tok_1"})
		}
		publish(t, p, requests...)
	}
	pay(0, held/2)
	sale.soldSoon(t, 200)
	// The new ones alone.
	s.busy(oldPool[0], 1)
	oldPool[0].kill()
	stopAll(oldPool[1])
	pay(held/2, held)
	sale.soldSoon(t, 200)
	bought := sale.all()
	all = append(all, bought...)
	tally.Count("orders meanwhile", len(bought))

	s.drained(3 * soon)
	s.allIn(domain.OrderConfirmed, all)
	paidOnce(t, gateway, all)
	for ref, l := range ledger(t, gateway) {
		if l.Namespace != "" {
			t.Errorf("the payment of %s is named with a namespace: %+v", ref, l)
		}
	}
	if report := s.audit(gateway); report.Checked.Orders != len(all) {
		t.Errorf("the audit saw %d orders, want %d", report.Checked.Orders, len(all))
	}
	tally.Judged(0)
	s.oldOK(old, "audit", "--gateway", gateway) // it can be rolled back
	if dead := list[deadView](s, "dead", "list"); len(dead) > 0 {
		t.Errorf("dead letters: %+v", dead)
	}
	meta, err := s.client().HGetAll(context.Background(), "holdfast:meta").Result()
	if err != nil {
		t.Fatal(err)
	}
	delete(meta, "epoch")
	if want := "map[gateway:remote partitions:4 schema:1]"; fmt.Sprint(meta) != want {
		t.Errorf("meta is %v, want %s", meta, want)
	}
	for _, p := range newPool {
		p.alive()
	}
	stopAll(newPool...)
}
