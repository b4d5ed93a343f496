package workers

import (
	"fmt"
	"slices"
	"time"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// newPosting puts confirmed orders on their customers' invoices. A worker that dies before it has
// acknowledged an entry leaves it pending, and all its lines are written again: what is there stays as it is.
func (p *Pool) newPosting(partition int) (func(), error) {
	c, err := newConsumer(p, partition, domain.GroupPosting)
	if err != nil {
		return nil, err
	}
	c.inTurn = true
	c.handle = func(entries []domain.Entry) {
		begun := time.Now()
		found, passed := c.facts(entries, posts)
		for i := range found {
			found[i].facts = slices.DeleteFunc(found[i].facts, func(f domain.Fact) bool { return !f.Posts() })
		}
		found = slices.DeleteFunc(found, func(e logEntry) bool {
			if e.worn {
				c.deadLetter(domain.DeadEntry{ID: e.id, Reason: e.wornOut()})
			}
			return e.worn
		})
		for _, id := range passed {
			found = append(found, logEntry{id: id})
		}
		c.attempt(len(found), func(i int) string { return found[i].id }, func(first, end int) error {
			ids := make([]string, 0, end-first)
			var facts []domain.Fact
			for _, e := range found[first:end] {
				ids, facts = append(ids, e.id), append(facts, e.facts...)
			}
			if err := p.ledger.Post(c.working, partition, ids, facts); err != nil {
				return err
			}
			p.tracePost(begun, facts)
			p.stats.Posted.Add(int64(len(facts)))
			p.stats.batches[stepPost].observe(len(facts))
			for _, e := range found[first:end] {
				if ago, known := p.clock.since(domain.EntryMillis(e.id)); known && len(e.facts) > 0 {
					p.stats.stages[StagePosted].observe(ago, len(e.facts))
				}
			}
			c.finish(ids...)
			return nil
		})
	}
	return func() { c.run(nil, nil) }, nil
}

// posts reports whether posting has to do with facts of a type. What became of an order afterwards, its record says.
func posts(t domain.FactType) bool { return t == domain.FactConfirmed || t == domain.FactRestored }

// logEntry is an entry of the log that concerns a role: all its facts do, for they are of one type.
type logEntry struct {
	id         string
	facts      []domain.Fact
	deliveries int64
	worn       bool // it was delivered too often
}

func (e logEntry) wornOut() string { return fmt.Sprintf("%s (%d)", reasonDeliveries, e.deliveries) }

// facts decodes log entries: those that concern the role, and the ids of those to be passed over. What cannot be
// decoded goes to the dead letters.
func (c *consumer) facts(entries []domain.Entry, concerns func(domain.FactType) bool) (found []logEntry, passed []string) {
	var dead []domain.DeadEntry
	for _, e := range entries {
		if len(e.Fields) > 0 {
			if t := domain.FactType(e.Fields[0]); t.Known() && !concerns(t) {
				passed = append(passed, e.ID)
				continue
			}
		}
		facts, err := wire.ParseFacts(e.ID, e.Fields)
		if err != nil {
			dead = append(dead, domain.DeadEntry{ID: e.ID, Reason: err.Error()})
			continue
		}
		found = append(found, logEntry{e.ID, facts, e.Deliveries, c.tooManyDeliveries(e)})
	}
	c.deadLetter(dead...)
	return found, passed
}

// ack acknowledges entries whose work is done.
func (c *consumer) ack(ids []string) {
	if len(ids) == 0 {
		return
	}
	if err := c.retry(func() error { return c.queue.Ack(c.working, ids) }); err != nil {
		return // working has ended: they are handed back
	}
	c.finish(ids...)
}
