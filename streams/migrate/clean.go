package migrate

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
	"holdfast/streams/migrate/internal/schema1"
)

// clean deletes what is old, the logs last: they tell a later run what is to be done. What stays is what stands where
// workers of schema 1 look (see fence.lua), and the same where a posting that was under way would write an invoice.
func (m *migration) clean(ctx context.Context) error {
	for p := range m.ns.Keys.Partitions() {
		if err := m.fenceInvoices(ctx, p); err != nil {
			return err
		}
	}
	// By type: a key that was fenced is of another one than it was.
	for kind, of := range map[string][]schema1.Kind{
		"string": {schema1.KindOrder},
		"hash":   {schema1.KindEvent, schema1.KindInProgress, schema1.KindInvoices},
		"set":    {schema1.KindSales},
	} {
		wanted := make(map[schema1.Kind]bool)
		for _, k := range of {
			wanted[k] = true
		}
		err := m.scan(ctx, kind, func(ctx context.Context, node redis.UniversalClient, keys []string) error {
			var old []string
			for _, key := range keys {
				if k, _, _, ok := m.old.Parse(key); ok && wanted[k] {
					old = append(old, key)
				}
			}
			return m.unlink(ctx, old...)
		})
		if err != nil {
			return err
		}
	}
	for p := range m.ns.Keys.Partitions() {
		if err := m.unlink(ctx, m.old.Holds(p), m.old.SalesSummary(p), m.old.Delivered(p), m.old.SetAside(p), m.old.MovedDead(p)); err != nil {
			return err
		}
	}
	for p := range m.ns.Keys.Partitions() {
		if err := m.unlink(ctx, m.old.MovedLog(p)); err != nil {
			return err
		}
	}
	if err := m.ns.Client.HDel(ctx, m.meta(), "migration", "migrated_from").Err(); err != nil {
		return fmt.Errorf("noting that all is done: %w", access.Classify(err))
	}
	return nil
}

func (m *migration) unlink(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	pipe := m.ns.Client.Pipeline()
	cmds := make([]*redis.IntCmd, len(keys))
	for i, key := range keys {
		cmds[i] = pipe.Unlink(ctx, key) // in a Cluster they are of several slots
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("deleting old keys: %w", access.Classify(err))
	}
	for _, cmd := range cmds {
		m.result.Deleted += int(cmd.Val())
	}
	m.progress(StepDelete, m.result.Deleted, 0)
	return nil
}

// fenceInvoices takes the invoices away from a posting of schema 1 that is frozen: it writes lines before it looks
// at its partition. Nobody can have more in hand than what was pending when the partition was fenced.
func (m *migration) fenceInvoices(ctx context.Context, p int) error {
	log := m.old.MovedLog(p)
	at, err := m.position(ctx, log, domain.GroupPosting)
	if err != nil {
		return err
	}
	for id := range at.pending {
		entry := fmt.Sprintf("%d-%d", id.Millis, id.Seq)
		reply, err := m.ns.Client.Do(ctx, "XRANGE", log, entry, entry).Result()
		if err != nil {
			return fmt.Errorf("reading %s: %w", log, access.Classify(err))
		}
		for _, e := range layout.DecodeEntries(reply) {
			facts, err := schema1.ParseFacts(e.ID, e.Fields)
			if err != nil {
				return err
			}
			for _, f := range facts {
				if f.Type != domain.FactConfirmed && (f.Type != domain.FactCancelled || f.Was != domain.OrderConfirmed) {
					continue
				}
				if err := m.ns.Client.Set(ctx, m.old.Invoices(f.CustomerID), notice, 0).Err(); err != nil {
					return fmt.Errorf("fencing invoices: %w", access.Classify(err))
				}
			}
		}
	}
	return nil
}
