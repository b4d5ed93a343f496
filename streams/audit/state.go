package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// checkState: I1, I2, I7, and what of I3 is in the partition.
func (p *partitionAudit) checkState(ctx context.Context) error {
	for _, check := range []func(context.Context) error{
		func(ctx context.Context) error { return p.snapshot(ctx, func(redis.Pipeliner) {}) },
		p.checkEvents, p.checkOrders, p.checkHolds, p.checkSlots, p.checkSales, p.checkQueues,
	} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// names is the sorted union of what the log and the scan know.
func names[V any](fromLog map[string]V, fromScan map[string]bool) []string {
	all := slices.Collect(maps.Keys(fromLog))
	for name := range fromScan {
		if _, known := fromLog[name]; !known {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func (p *partitionAudit) checkEvents(ctx context.Context) error {
	for chunk := range slices.Chunk(names(p.book.Events, p.events), 50) {
		cmds := make([]*redis.MapStringStringCmd, len(chunk))
		err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
			for i, id := range chunk {
				cmds[i] = pipe.HGetAll(ctx, p.ns.Keys.Event(p.p, id))
			}
		})
		if err != nil {
			return err
		}
		for i, id := range chunk {
			p.checkEvent(id, cmds[i].Val())
		}
	}
	return nil
}

func (p *partitionAudit) checkEvent(id string, hash map[string]string) {
	stored, err := layout.DecodeEvent(hash)
	if err != nil {
		p.violation("I7", id, "%v", err)
		return
	}
	if err := stored.CheckConservation(); err != nil {
		p.violation("I1", id, "%v", err)
	}
	folded := p.book.Events[id]
	storedSections, foldedSections := stored.Sections, folded.Sections
	stored.Sections, folded.Sections = nil, nil
	if fmt.Sprint(stored) != fmt.Sprint(folded) || !slices.Equal(storedSections, foldedSections) {
		p.violation("I7", id, "stored %+v %+v, the log says %+v %+v", stored, storedSections, folded, foldedSections)
	}
}

func (p *partitionAudit) checkOrders(ctx context.Context) error {
	fromLog := make(map[string]domain.OrderRef, len(p.book.Orders))
	for ref := range p.book.Orders {
		fromLog[ref.String()] = ref
	}
	for chunk := range slices.Chunk(names(fromLog, p.orders), access.MaxBatch) {
		refs := make([]domain.OrderRef, 0, len(chunk))
		keys := make([]string, 0, len(chunk))
		for _, name := range chunk {
			ref, ok := domain.ParseOrderRef(name)
			if !ok {
				p.violation("I7", name, "is no name of an order")
				continue
			}
			refs = append(refs, ref)
			keys = append(keys, p.ns.Keys.Order(p.p, ref))
		}
		if len(keys) == 0 {
			continue
		}
		var records *redis.SliceCmd
		if err := p.snapshot(ctx, func(pipe redis.Pipeliner) { records = pipe.MGet(ctx, keys...) }); err != nil {
			return err
		}
		for i, ref := range refs {
			stored, err := layout.DecodeOrder(layout.AsString(records.Val()[i]))
			if err != nil {
				p.violation("I7", ref.String(), "%v", err)
				continue
			}
			if folded := p.book.Orders[ref]; stored != folded {
				p.violation("I7", ref.String(), "stored %+v, the log says %+v", stored, folded)
			}
		}
	}
	return nil
}

func (p *partitionAudit) checkHolds(ctx context.Context) error {
	var holds *redis.ZSliceCmd
	err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
		holds = pipe.ZRangeWithScores(ctx, p.ns.Keys.Holds(p.p), 0, -1)
	})
	if err != nil {
		return err
	}
	stored := make(map[string]int64, len(holds.Val()))
	for _, z := range holds.Val() {
		stored[layout.AsString(z.Member)] = int64(z.Score)
	}
	for ref, o := range p.book.Orders {
		if o.State != domain.OrderHeld {
			continue
		}
		deadline, found := stored[ref.String()]
		if !found || deadline != o.DeadlineMillis {
			p.violation("I7", ref.String(), "is held until %d, the holds say %d (found: %t)", o.DeadlineMillis, deadline, found)
		}
		delete(stored, ref.String())
	}
	for member := range stored {
		p.violation("I2", member, "is among the holds, but not held")
	}
	return nil
}

func (p *partitionAudit) checkSlots(ctx context.Context) error {
	for chunk := range slices.Chunk(names(p.book.InProgress, p.slots), 50) {
		cmds := make([]*redis.MapStringStringCmd, len(chunk))
		err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
			for i, id := range chunk {
				cmds[i] = pipe.HGetAll(ctx, p.ns.Keys.InProgress(p.p, id))
			}
		})
		if err != nil {
			return err
		}
		for i, id := range chunk {
			stored, folded := cmds[i].Val(), p.book.InProgress[id]
			delete(stored, layout.SlotsNote)
			if !maps.Equal(stored, folded) {
				p.violation("I7", id, "customers in progress are %v, the log says %v", stored, folded)
			}
		}
	}
	return nil
}
