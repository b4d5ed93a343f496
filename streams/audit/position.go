package audit

import (
	"context"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// position is how far a group is.
type position struct {
	delivered layout.LogID
	pending   map[layout.LogID]bool
}

// acked reports whether the group had acknowledged a fact when the audit began.
func (p *partitionAudit) acked(group domain.Group, id layout.LogID) bool {
	return p.positions[group].acked(id)
}

func (pos position) acked(id layout.LogID) bool {
	return id != layout.LogID{} && !id.After(pos.delivered) && !pos.pending[id]
}

// settled reports whether the money of an order had been settled when the audit began, as a fact asks for.
func (p *partitionAudit) settled(ref domain.OrderRef, id layout.LogID) bool {
	return p.acked(domain.GroupSettlement, id) && !p.owed[ref.String()]
}

// pendingMost bounds how many pending entries of a group are looked at; workers
// may have Concurrency each in hand.
const pendingMost = 1_000_000

// groupReads asks, in one transaction with whatever else is in it, how far a group of the log is.
type groupReads struct {
	group   domain.Group
	infos   *redis.XInfoGroupsCmd
	pending *redis.XPendingExtCmd
	end     *redis.XMessageSliceCmd
}

func (p *partitionAudit) askGroup(ctx context.Context, pipe redis.Pipeliner, group domain.Group) groupReads {
	log := p.ns.Keys.Log(p.p)
	return groupReads{
		group: group,
		infos: pipe.XInfoGroups(ctx, log),
		pending: pipe.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: log, Group: string(group), Start: "-", End: "+", Count: pendingMost,
		}),
		end: pipe.XRevRangeN(ctx, log, "+", "-", 1),
	}
}

func (r groupReads) position() position {
	pos := position{pending: make(map[layout.LogID]bool, len(r.pending.Val()))}
	for _, info := range r.infos.Val() {
		if info.Name == string(r.group) {
			pos.delivered = layout.ParseLogID(info.LastDeliveredID)
		}
	}
	for _, e := range r.pending.Val() {
		pos.pending[layout.ParseLogID(e.ID)] = true
	}
	return pos
}

func endOf(cmd *redis.XMessageSliceCmd) string {
	if entries := cmd.Val(); len(entries) == 1 {
		return entries[0].ID
	}
	return "0-0"
}

func (p *partitionAudit) readGroups(ctx context.Context) error {
	var posting, settlement groupReads
	var owed *redis.StringSliceCmd
	err := p.transaction(ctx, func(pipe redis.Pipeliner) {
		owed = pipe.ZRange(ctx, p.ns.Keys.Owed(p.p), 0, -1)
		posting = p.askGroup(ctx, pipe, domain.GroupPosting)
		settlement = p.askGroup(ctx, pipe, domain.GroupSettlement)
	})
	if err != nil {
		return err
	}
	p.positions[domain.GroupPosting] = posting.position()
	p.positions[domain.GroupSettlement] = settlement.position()
	for _, name := range owed.Val() {
		p.owed[name] = true
	}
	p.endAtStart = layout.ParseLogID(endOf(posting.end))
	return nil
}
