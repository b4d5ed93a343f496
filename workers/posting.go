package workers

import (
	"fmt"

	"holdfast/domain"
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
		facts := c.facts(entries)
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
	return c.run, nil
}

// facts decodes log entries; what cannot be decoded goes to the dead letters.
func (c *consumer) facts(entries []domain.Entry) []domain.Fact {
	facts := make([]domain.Fact, 0, len(entries))
	var dead []domain.DeadEntry
	for _, e := range entries {
		fact, err := domain.ParseFact(e.ID, e.Fields)
		if err == nil && c.tooManyDeliveries(e) {
			err = fmt.Errorf("%s (%d)", reasonDeliveries, e.Deliveries)
		}
		if err != nil {
			dead = append(dead, domain.DeadEntry{ID: e.ID, Reason: err.Error()})
			continue
		}
		facts = append(facts, fact)
	}
	c.deadLetter(dead...)
	return facts
}
