package e2e

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/producer"
	"holdfast/streams/inspect"
)

// mostLines is how much a worker may log about an outage, however long it is and
// however much it has to do.
const mostLines = 30

// quietly notes how much the workers have logged, and returns a check that they
// log little more, and live.
func quietly(t testing.TB, pool ...*program.Process) (check func()) {
	return noisy(t, mostLines, pool...)
}

// noisy is quietly with another bound.
func noisy(t testing.TB, most int, pool ...*program.Process) (check func()) {
	before := make([]int, len(pool))
	for i, p := range pool {
		before[i] = p.Lines()
	}
	return func() {
		t.Helper()
		for i, p := range pool {
			p.Alive()
			if n := p.Lines() - before[i]; n >= most {
				t.Errorf("%s logged %d lines, want fewer than %d", p.Name, n, most)
			}
		}
	}
}

// stubborn is a checkout that publishes every request until it has a receipt for
// it, whatever Redis does meanwhile.
type stubborn struct {
	receipts chan producer.Receipt // closed at the end
	stop     context.CancelFunc
	vain     atomic.Int64 // how often nothing was taken
}

// lastTries bounds how often it tries after it was stopped.
const lastTries = 50

// sell publishes ten requests or so at a time, over and over. sale draws those of a
// customer, in the order they are published.
func (s *system) sell(sale func(number int) []domain.Request) *stubborn {
	ctx, cancel := context.WithCancel(context.Background())
	c := &stubborn{receipts: make(chan producer.Receipt, 100_000), stop: cancel}
	p := s.producer()
	ended := make(chan struct{})
	s.t.Cleanup(func() { // before the producer is closed
		cancel()
		<-ended
	})
	go func() {
		defer close(ended)
		defer close(c.receipts)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		var unpublished []domain.Request
		number, tries := 0, 0
		for tries < lastTries {
			<-tick.C
			if ctx.Err() != nil {
				tries++
			}
			for ctx.Err() == nil && len(unpublished) < 10 {
				unpublished = append(unpublished, sale(number)...)
				number++
			}
			if len(unpublished) == 0 {
				return
			}
			bounded, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			var again []domain.Request
			for i, r := range p.PublishBatch(bounded, unpublished) {
				if r.Err != nil {
					again = append(again, unpublished[i])
					continue
				}
				c.receipts <- r.Receipt
			}
			done()
			if len(again) == len(unpublished) {
				c.vain.Add(1)
			}
			unpublished = again
		}
	}()
	return c
}

// ticketFor is a sale of one ticket each, for some events.
func ticketFor(prefix string, events int) func(number int) []domain.Request {
	return func(number int) []domain.Request {
		return []domain.Request{{
			Type: domain.RequestPurchase, EventID: fmt.Sprintf("%s-event-%d", prefix, number%events),
			OrderID: fmt.Sprintf("%s-%d", prefix, number), CustomerID: fmt.Sprintf("%s-customer-%d", prefix, number),
			Quantity: 1, PaymentToken: "tok_1",
		}}
	}
}

// soldSoon waits until so many receipts more were given.
func (c *stubborn) soldSoon(t testing.TB, n int) {
	t.Helper()
	want := len(c.receipts) + n
	eventually(t, soon, "requests are published", func() error {
		if got := len(c.receipts); got < want {
			return fmt.Errorf("%d receipts, want %d", got, want)
		}
		return nil
	})
}

// vainSoon waits until nothing was taken so many times more.
func (c *stubborn) vainSoon(t testing.TB, n int64) {
	t.Helper()
	want := c.vain.Load() + n
	eventually(t, soon, "publishing is in vain", func() error {
		if got := c.vain.Load(); got < want {
			return fmt.Errorf("%d times, want %d", got, want)
		}
		return nil
	})
}

// all ends the sale and returns the order of every receipt: several times if there
// are several about it.
func (c *stubborn) all() []domain.OrderRef {
	c.stop()
	var refs []domain.OrderRef
	for r := range c.receipts {
		refs = append(refs, domain.OrderRef{EventID: r.EventID, OrderID: r.OrderID})
	}
	return refs
}

// Connections break, and Redis hangs for longer than anybody waits for a reply:
// what a command did is often not known, and it is sent again.
func TestRedisLosesReplies(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.purchases("replies", 8, 10_000) // makes the events
	gateway := startGateway(t, "--latency", "50ms")
	var pool []*program.Process
	for i := range 3 {
		pool = append(pool, s.worker(fmt.Sprintf("worker-%d", i), "--gateway", gateway, "--reclaim-after", "1s"))
	}
	check := quietly(t, pool...)
	sale := s.sell(ticketFor("replies", 8))
	rdb := s.client()
	for range 20 {
		if err := rdb.ClientKillByFilter(context.Background(), "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
			t.Fatal(err)
		}
		sale.soldSoon(t, 20)
	}
	// Clients wait 3 seconds for a reply.
	if err := rdb.ClientPause(context.Background(), 4500*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	sale.soldSoon(t, 100)
	refs := sale.all()
	s.drained(time.Minute)
	check()
	t.Logf("%d orders", len(refs))
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	s.audit(gateway)
	program.StopAll(pool...)
}

// Redis comes back without anything, and later is emptied under the workers'
// hands. They make again what they need, and serve what is new.
func TestRedisComesBackEmpty(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gateway := startGateway(t, "--latency", "20ms")
	pool := []*program.Process{s.worker("worker-0", "--gateway", gateway), s.worker("worker-1", "--gateway", gateway)}
	requests, refs := s.purchases("before", 4, 50)
	publish(t, s.producer(), requests...)
	s.drained(soon)
	s.allIn(domain.OrderConfirmed, refs)

	check := quietly(t, pool...)
	rdb := s.client()
	for _, lost := range []struct {
		name string
		how  func()
	}{
		{"restart", func() {
			s.server.Kill()
			for _, p := range pool {
				p.SaysSoon("redis does not work")
			}
			s.server.Restart()
		}},
		{"flush", func() {
			if err := rdb.FlushAll(context.Background()).Err(); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		lost.how()
		// Nobody but the workers makes the groups again.
		eventually(t, soon, "the workers make what they need", func() error {
			groups, err := inspect.New(s.store()).Pending(context.Background(), 0)
			if err != nil {
				return err
			}
			for _, g := range groups {
				if len(g.Consumers) != len(pool) {
					return fmt.Errorf("partition %d, group %s: %d consumers", g.Partition, g.Group, len(g.Consumers))
				}
			}
			return nil
		})
		requests, refs := s.purchases("after-"+lost.name, 4, 50)
		publish(t, s.producer(), requests...)
		s.drained(soon)
		s.allIn(domain.OrderConfirmed, refs)
		lines := ledger(t, gateway)
		for _, ref := range refs {
			if l := lines[ref]; l.Authorizations != 1 || l.Captures != 1 {
				t.Errorf("%s: %+v", ref, l)
			}
		}
		s.seenTo()
		s.audit("") // the gateway knows orders that Redis has lost
	}
	for _, p := range pool {
		p.SaysSoon("the data in Redis is not what it was")
	}
	check()
	program.StopAll(pool...)
}

// Redis is emptied while orders are under way. Those are lost, which is no
// surprise; the workers must not be.
func TestRedisIsEmptiedUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	requests, _ := s.purchases("lost", 4, 300)
	gateway := startGateway(t, "--latency", "2s")
	w := s.worker("worker", "--gateway", gateway, "--reclaim-after", "1s")
	check := quietly(t, w)
	publish(t, s.producer(), requests...)
	s.busy(w, 100)
	s.server.Kill()
	s.server.Restart()
	requests, refs := s.purchases("new", 4, 50)
	publish(t, s.producer(), requests...)
	s.drained(soon)
	s.allIn(domain.OrderConfirmed, refs)
	check()
	program.StopAll(w)
}
