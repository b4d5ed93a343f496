package migrate

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/audit"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
	"holdfast/streams/migrate/internal/schema1"
)

// compare holds what schema 1 has stored against the books: events with their counters, orders, holds, orders in
// progress, sales and totals. Partitions that an earlier run has fenced were compared by that, and are as they were.
func (m *migration) compare(ctx context.Context) ([]audit.Violation, error) {
	var violations []audit.Violation
	for _, p := range m.partitions {
		if m.isFenced(p) {
			continue
		}
		for _, check := range []func(context.Context, *partition) error{m.compareEvents, m.compareOrders, m.compareHolds} {
			if err := check(ctx, p); err != nil {
				return nil, err
			}
		}
	}
	if err := m.compareNames(ctx); err != nil {
		return nil, err
	}
	for _, p := range m.partitions {
		violations = append(violations, p.violations...)
	}
	return violations, nil
}

// stored is an order of the book as schema 1 has it: it knew no versions, and deadlines were not moved.
func (p *partition) stored(ref domain.OrderRef) domain.Order {
	o := p.book.Orders[ref]
	o.Version = ""
	if was, moved := p.moved[ref]; moved {
		o.DeadlineMillis = was
	}
	return o
}

func (m *migration) compareOrders(ctx context.Context, p *partition) error {
	for refs := range slices.Chunk(slices.Collect(maps.Keys(p.book.Orders)), access.MaxBatch) {
		keys := make([]string, len(refs))
		for i, ref := range refs {
			keys[i] = m.old.Order(p.p, ref)
		}
		records, err := m.ns.Client.MGet(ctx, keys...).Result()
		if err != nil {
			return fmt.Errorf("reading orders: %w", access.Classify(err))
		}
		for i, ref := range refs {
			stored, err := schema1.DecodeOrder(layout.AsString(records[i]))
			if err != nil {
				p.violation("I7", ref.String(), "%v", err)
			} else if folded := p.stored(ref); stored != folded {
				p.violation("I7", ref.String(), "stored %+v, the log says %+v", stored, folded)
			}
		}
	}
	return nil
}

func (m *migration) compareHolds(ctx context.Context, p *partition) error {
	holds, err := access.ScoresByName(m.ns.Client.ZRangeWithScores(ctx, m.old.Holds(p.p), 0, -1))
	if err != nil {
		return err
	}
	for ref, o := range p.book.Orders {
		if o.State != domain.OrderHeld {
			continue
		}
		if deadline, found := holds[ref.String()]; !found || deadline != p.stored(ref).DeadlineMillis {
			p.violation("I7", ref.String(), "is held until %d, the holds say %d (found: %t)", p.stored(ref).DeadlineMillis, deadline, found)
		}
		delete(holds, ref.String())
	}
	for member := range holds {
		p.violation("I2", member, "is among the holds, but not held")
	}
	return nil
}

func (m *migration) compareEvents(ctx context.Context, p *partition) error {
	confirmed := make(map[string][]domain.OrderRef)
	for ref, o := range p.book.Orders {
		if o.State == domain.OrderConfirmed {
			confirmed[ref.EventID] = append(confirmed[ref.EventID], ref)
		}
	}
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(p.book.Events)), 50) {
		pipe := m.ns.Client.Pipeline()
		type reads struct {
			event, inProgress *redis.MapStringStringCmd
			sales             *redis.StringSliceCmd
		}
		cmds := make([]reads, len(ids))
		totals := pipe.HMGet(ctx, m.old.SalesSummary(p.p), ids...)
		for i, id := range ids {
			cmds[i] = reads{pipe.HGetAll(ctx, m.old.Event(p.p, id)), pipe.HGetAll(ctx, m.old.InProgress(p.p, id)), pipe.SMembers(ctx, m.old.Sales(p.p, id))}
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("reading events: %w", access.Classify(err))
		}
		for i, id := range ids {
			p.compareEvent(id, cmds[i].event.Val())
			p.compareInProgress(id, cmds[i].inProgress.Val())
			p.compareSales(id, cmds[i].sales.Val(), layout.AsString(totals.Val()[i]), confirmed[id])
		}
	}
	return nil
}

func (p *partition) compareEvent(id string, hash map[string]string) {
	stored, err := schema1.DecodeEvent(hash)
	if err != nil {
		p.violation("I7", id, "%v", err)
		return
	}
	if err := stored.CheckConservation(); err != nil {
		p.violation("I1", id, "%v", err)
	}
	if folded := p.book.Events[id]; fmt.Sprint(stored) != fmt.Sprint(folded) {
		p.violation("I7", id, "stored %+v, the log says %+v", stored, folded)
	}
}

func (p *partition) compareInProgress(id string, stored map[string]string) {
	delete(stored, schema1.SlotsNote)
	folded := p.book.InProgress[id]
	for customer, order := range folded {
		if stored[customer] != order {
			p.violation("I7", id+"/"+customer, "the customer's order in progress is %q, the log says %q", stored[customer], order)
		}
		delete(stored, customer)
	}
	for customer, order := range stored {
		p.violation("I7", id+"/"+customer, "the customer's order in progress is %q, the log knows of none", order)
	}
}

// compareSales: in schema 1 sales followed the log at a distance. An order that posting is not done with may be
// among them, or not; the totals are those of what is.
func (p *partition) compareSales(id string, members []string, value string, confirmed []domain.OrderRef) {
	var sum schema1.Totals
	posted := make(map[string]bool, len(members))
	for _, orderID := range members {
		posted[orderID] = true
		ref := domain.OrderRef{EventID: id, OrderID: orderID}
		o := p.book.Orders[ref]
		sum.Orders++
		sum.TicketsSold += o.Items.Quantity()
		sum.Revenue += o.Amount()
		switch {
		case o.ConfirmedAtMillis == 0:
			p.violation("I3", ref.String(), "is among the sales, but was never confirmed")
		case o.State == domain.OrderCancelled && !p.unposted[ref]:
			p.violation("I3", ref.String(), "is cancelled, but its sale was not reversed")
		}
	}
	for _, ref := range confirmed {
		if !p.unposted[ref] && !posted[ref.OrderID] {
			p.violation("I3", ref.String(), "was posted, but is not among the sales")
		}
	}
	switch totals, err := schema1.DecodeTotals(value); {
	case err != nil:
		p.violation("I3", id, "%v", err)
	case totals != sum:
		p.violation("I3", id, "totals are %+v, its sales add up to %+v", totals, sum)
	}
}

// compareNames looks for what the log knows nothing of.
func (m *migration) compareNames(ctx context.Context) error {
	return m.scan(ctx, "", func(_ context.Context, _ redis.UniversalClient, keys []string) error {
		for _, key := range keys {
			kind, p, id, ok := m.old.Parse(key)
			if !ok || kind == schema1.KindInvoices || m.isFenced(m.partitions[p]) {
				continue
			}
			at := m.partitions[p]
			switch kind {
			case schema1.KindOrder:
				if ref, ok := domain.ParseOrderRef(id); !ok || at.book.Orders[ref].State == domain.OrderNone {
					at.violation("I7", key, "the log knows no such order")
				}
			case schema1.KindEvent, schema1.KindInProgress, schema1.KindSales:
				if !at.book.Events[id].Exists() {
					at.violation("I7", key, "the log knows no such event")
				}
			case schema1.KindInvoices:
			}
		}
		return nil
	})
}

// scan calls do for pages of the names of the namespace's keys, for some more than once; of a type, if one is given.
func (m *migration) scan(ctx context.Context, kind string, do func(context.Context, redis.UniversalClient, []string) error) error {
	return m.eachNode(ctx, func(ctx context.Context, node redis.UniversalClient) error {
		for cursor := uint64(0); ; {
			page, next, err := node.ScanType(ctx, cursor, m.ns.Keys.Everything(), access.ReadPage, kind).Result()
			if err != nil {
				return fmt.Errorf("listing keys: %w", access.Classify(err))
			}
			if err := do(ctx, node, page); err != nil {
				return err
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
}
