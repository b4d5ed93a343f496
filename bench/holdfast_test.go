package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// holdfast is holdfast as it comes: default partitions, workers with every role and default
// settings, and the simulator for a gateway. What it does beyond the flow it does here, too:
// every payment is captured, and a run is only over when that is settled; every change is in
// the log; and what was handled is trimmed from the requests.
//
// It uses the packages that anybody can import, and of Redis only the requests stream's name.
type holdfast struct {
	url       string
	store     *streams.Store
	inspector *inspect.Inspector
	producer  *producer.Producer
	events    []string
	gateway   time.Duration // how long each call takes
	published atomic.Int64
	pools     []*workers.Pool
}

func (h *holdfast) open(ctx context.Context, server *redistest.Server, events []string, capacity int64) (err error) {
	h.url, h.events = server.URL(), events
	if h.store, err = streams.Open(ctx, h.url, streams.Options{Create: true}); err != nil {
		return err
	}
	h.inspector = inspect.New(h.store)
	h.producer = producer.New(h.store.Checkout(), h.store.Checkout(), producer.Options{})
	for _, event := range events {
		terms := domain.Terms{
			Name: event, Currency: "EUR",
			Sections: []domain.SectionTerms{{Name: domain.DefaultSection, Price: unitPrice, Capacity: capacity}},
		}
		if _, err := h.store.Events().Create(ctx, event, terms); err != nil {
			return err
		}
	}
	return nil
}

func (h *holdfast) close() error {
	h.producer.Close()
	return h.store.Close()
}

func request(o order) domain.Request {
	return domain.Request{
		Type: domain.RequestPurchase, EventID: o.event, OrderID: o.id, CustomerID: o.customer,
		Quantity: quantity, PaymentToken: "tok_visa",
	}
}

func requests(orders []order) []domain.Request {
	all := make([]domain.Request, len(orders))
	for i, o := range orders {
		all[i] = request(o)
	}
	return all
}

func (h *holdfast) preload(ctx context.Context, orders []order) error {
	for _, r := range h.producer.PublishBatch(ctx, requests(orders)) {
		if r.Err != nil {
			return r.Err
		}
	}
	h.published.Add(int64(len(orders)))
	return nil
}

func (h *holdfast) submit(ctx context.Context, o order) error {
	h.published.Add(1)
	_, err := h.producer.Publish(ctx, request(o))
	return err
}

func (h *holdfast) work(ctx context.Context) (stop func() error, err error) {
	store, err := streams.Open(ctx, h.url, streams.Options{})
	if err != nil {
		return nil, err
	}
	// Stateless, as the simulator of holdfast worker: several workers agree, and none grows.
	approves, err := simulator.New(simulator.Options{Stateless: true})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	var gateway domain.PaymentGateway = approves
	if h.gateway > 0 {
		gateway = slowGateway{approves, h.gateway}
	}
	pool, err := workers.New(workers.Config{}, workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Gateway: gateway, Partitions: store.Partitions(),
		GatewayKind: domain.GatewaySimulator, PaymentNamespace: store.PaymentNamespace(),
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	h.pools = append(h.pools, pool)
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(running) }()
	return func() error {
		cancel()
		return errors.Join(<-ended, store.Close())
	}, nil
}

// slowGateway takes its time for what stands in the way of every order.
type slowGateway struct {
	domain.PaymentGateway
	takes time.Duration
}

func (g slowGateway) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	if err := wait(ctx, g.takes); err != nil {
		return domain.Payment{}, err
	}
	return g.PaymentGateway.Authorize(ctx, r)
}

func (g slowGateway) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	if err := wait(ctx, g.takes); err != nil {
		return domain.Payment{}, err
	}
	return g.PaymentGateway.Capture(ctx, a)
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// confirmed and rejected are by what the workers say of themselves; a check asks Redis.
func (h *holdfast) confirmed() (n int64) {
	for _, p := range h.pools {
		n += p.Stats().Confirmed.Load()
	}
	return n
}

func (h *holdfast) rejected() (n int64) {
	for _, p := range h.pools {
		n += p.Stats().Rejected.Load()
	}
	return n
}

// finished is that no group has anything before it. It asks Redis only when the workers
// have decided everything that was submitted, and then twice, because a fact may have come
// between the looks at two groups.
func (h *holdfast) finished(ctx context.Context) (bool, error) {
	if h.confirmed()+h.rejected() < h.published.Load() {
		return false, nil
	}
	for range 2 {
		if n, err := h.backlog(ctx); n > 0 || err != nil {
			return false, err
		}
	}
	return true, nil
}

// backlog is what waits and is in hand, over all groups.
func (h *holdfast) backlog(ctx context.Context) (n int64, err error) {
	groups, err := h.inspector.Pending(ctx, 0)
	for _, g := range groups {
		n += g.Backlog
	}
	return n, err
}

// waiting is how many requests nobody was given yet.
func (h *holdfast) waiting(ctx context.Context) (n int64, err error) {
	groups, err := h.inspector.Pending(ctx, 0)
	for _, g := range groups {
		if g.Group == string(domain.GroupWorkers) {
			n += g.Lag
		}
	}
	return n, err
}

// waitTrimmed returns when the requests are trimmed that were handled.
func (h *holdfast) waitTrimmed(ctx context.Context, b *testing.B, rdb *redis.Client) {
	b.Helper()
	waitFor(ctx, b, func() bool {
		for p := range h.store.Partitions() {
			n, err := rdb.XLen(ctx, fmt.Sprintf("%s:{%d}:requests", streams.DefaultNamespace, p)).Result()
			must(b, err)
			if n > 0 {
				return false
			}
		}
		return true
	})
}

func (h *holdfast) check(ctx context.Context, orders []order, capacity int64) error {
	if err := h.checkSales(ctx, ticketsByEvent(orders), capacity); err != nil {
		return err
	}
	lines := make(map[string]int, len(orders)) // by customer
	err := h.inspector.EachInvoices(ctx, func(customer string, of []inspect.InvoiceLine) error {
		for _, line := range of {
			if line.Status == "confirmed" && line.Quantity == quantity && line.Amount == quantity*unitPrice {
				lines[customer+" "+line.EventID+" "+line.OrderID]++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, o := range orders {
		if lines[o.customer+" "+o.event+" "+o.id] != 1 {
			return fmt.Errorf("order %s has %d invoice lines", o.id, lines[o.customer+" "+o.event+" "+o.id])
		}
	}
	if len(lines) != len(orders) {
		return fmt.Errorf("%d invoice lines, want %d", len(lines), len(orders))
	}
	report, err := audit.Run(ctx, h.store, audit.Options{})
	if err != nil {
		return err
	}
	if !report.OK {
		return fmt.Errorf("the audit found %d violations, the first: %+v", len(report.Violations), report.Violations[0])
	}
	return nil
}

// checkSales checks inventory and sales alone.
func (h *holdfast) checkSales(ctx context.Context, tickets map[string]int64, capacity int64) error {
	for _, id := range h.events {
		event, err := h.store.Events().Get(ctx, id)
		if err != nil {
			return err
		}
		section, _ := event.Section(domain.DefaultSection)
		if section.Sold != tickets[id] || section.Available != capacity-tickets[id] {
			return fmt.Errorf("%s: %d tickets sold and %d left of %d, want %d sold", id, section.Sold, section.Available, capacity, tickets[id])
		}
		totals, err := h.inspector.Sales(ctx, id)
		if unsold := tickets[id] == 0 && errors.Is(err, domain.ErrNotFound); err != nil && !unsold {
			return err
		}
		want := inspect.Totals{Orders: tickets[id] / quantity, TicketsSold: tickets[id], Revenue: tickets[id] * unitPrice}
		if totals != want {
			return fmt.Errorf("%s: sales are %+v, want %+v", id, totals, want)
		}
	}
	return nil
}
