package workers

import (
	"fmt"
	"slices"
	"sync/atomic"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// newPosting writes confirmed and cancelled orders to invoices and sales. A
// worker that dies between the two leaves the facts pending, and both writes
// are made again: what is there already stays as it is.
func (p *Pool) newPosting(partition int) (func(), error) {
	c, err := newConsumer(p, partition, domain.GroupPosting)
	if err != nil {
		return nil, err
	}
	c.handle = func(entries []domain.Entry) {
		facts, passed := c.facts(entries, posts)
		c.ack(&p.stats.Posted, passed)
		c.attempt(len(facts), func(i int) string { return facts[i].ID }, func(first, end int) error {
			if err := p.ledger.Post(c.working, partition, facts[first:end]); err != nil {
				return err
			}
			p.stats.Posted.Add(int64(end - first))
			ids := make([]string, 0, end-first)
			for _, f := range facts[first:end] {
				ids = append(ids, f.ID)
			}
			c.finish(ids...)
			return nil
		})
	}
	return func() { c.run(nil) }, nil
}

// posts reports whether posting has to do with a fact.
func posts(f domain.Fact) bool {
	return f.Type == domain.FactConfirmed || f.Type == domain.FactCancelled && f.Was == domain.OrderConfirmed
}

// facts decodes log entries: those with a fact that concerns the role, which is
// alone in its entry then, and the ids of those to be passed over. What cannot be
// decoded goes to the dead letters.
func (c *consumer) facts(entries []domain.Entry, concerns func(domain.Fact) bool) (facts []domain.Fact, passed []string) {
	var dead []domain.DeadEntry
	for _, e := range entries {
		found, err := wire.ParseFacts(e.ID, e.Fields)
		if err == nil && c.tooManyDeliveries(e) {
			err = fmt.Errorf("%s (%d)", reasonDeliveries, e.Deliveries)
		}
		if err != nil {
			dead = append(dead, domain.DeadEntry{ID: e.ID, Reason: err.Error()})
			continue
		}
		switch i := slices.IndexFunc(found, concerns); {
		case i < 0:
			passed = append(passed, e.ID)
		case len(found) > 1:
			// Acknowledging it for one fact would acknowledge it for all.
			dead = append(dead, domain.DeadEntry{ID: e.ID, Reason: "several facts in one entry, of which some are to be acted on"})
		default:
			facts = append(facts, found[i])
		}
	}
	c.deadLetter(dead...)
	return facts, passed
}

// ack acknowledges entries whose work is done, and counts them.
func (c *consumer) ack(counter *atomic.Int64, ids []string) {
	if len(ids) == 0 {
		return
	}
	if err := c.retry(func() error { return c.queue.Ack(c.working, ids) }); err != nil {
		return // working has ended: they are handed back
	}
	counter.Add(int64(len(ids)))
	c.finish(ids...)
}
