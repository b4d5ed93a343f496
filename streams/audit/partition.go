package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// partitionAudit is what the auditor knows of one partition.
type partitionAudit struct {
	*auditor
	p     int
	book  *domain.Snapshot
	facts int
	last  string // folded up to here

	before  int          // facts that are in the snapshot that was begun with
	based   layout.LogID // id of its newest entry: all of it is posted and settled
	unknown bool         // the log begins in the middle, and nobody knows what was before

	endAtStart layout.LogID
	positions  map[domain.Group]position
	owed       map[string]bool // orders whose money waited when the audit began
	factIDs    map[domain.OrderRef]factIDs

	totals map[string]layout.Totals // by event: the sales

	past map[domain.OrderRef]domain.Order // orders of forgotten events, that the gateway's books name
	lost map[string]bool                  // events that were forgotten in the snapshot that was begun with

	damaged map[string]bool // events whose terms cannot be read

	// found by the scan
	orders, places                       map[string]string // the hash that each is in
	inProgress, eventFields, placeFields map[string]bool
}

// factIDs are the log ids of the facts that postings and payments follow, or precede. The money of a confirmed order goes with the newest
// of them.
type factIDs struct{ confirmed, changed, ended layout.LogID }

func newPartitionAudit(a *auditor, p int) *partitionAudit {
	return &partitionAudit{
		auditor: a, p: p, book: domain.NewSnapshot(), last: "0-0",
		positions: make(map[domain.Group]position), owed: make(map[string]bool), factIDs: make(map[domain.OrderRef]factIDs),
		past: make(map[domain.OrderRef]domain.Order), lost: make(map[string]bool),
		totals: make(map[string]layout.Totals), damaged: make(map[string]bool),
		orders: make(map[string]string), places: make(map[string]string), inProgress: make(map[string]bool), eventFields: make(map[string]bool), placeFields: make(map[string]bool),
	}
}

// foldTo folds the log up to an entry.
func (p *partitionAudit) foldTo(ctx context.Context, end string) error {
	if !layout.ParseLogID(end).After(layout.ParseLogID(p.last)) {
		return nil
	}
	_, err := p.ns.EachEntry(ctx, p.p, p.last, end, func(e domain.Entry) error {
		p.foldEntry(e)
		return nil
	})
	return err
}

// fold takes one fact over.
func (p *partitionAudit) fold(f domain.Fact) {
	if p.facts++; p.facts%tellEvery == 0 {
		p.tell()
	}
	switch f.Type { //nolint:exhaustive // of what is forgotten, and comes back
	case domain.FactEventForgotten:
		p.keepPaid(f.EventID)
	case domain.FactEventRecalled:
		delete(p.lost, f.EventID)
	}
	if err := p.book.Fold(f); err != nil {
		invariant := "I6"
		switch {
		case errors.Is(err, domain.ErrNotConserved):
			invariant = "I1"
		case errors.Is(err, domain.ErrSeat):
			invariant = "I2"
		}
		p.violation(invariant, p.factSubject(f), "log entry %s: %v", f.ID, err)
		return
	}
	ids := p.factIDs[f.Ref()]
	switch f.Type {
	case domain.FactConfirmed:
		ids.confirmed = layout.ParseLogID(f.ID)
		ids.changed = ids.confirmed
		p.sell(f)
	case domain.FactRestored:
		ids.changed = layout.ParseLogID(f.ID)
		if f.Restored.ConfirmedAtMillis > 0 {
			ids.confirmed = ids.changed
		}
		if f.Restored.State != domain.OrderHeld && f.Restored.State != domain.OrderConfirmed {
			ids.ended = ids.changed
		}
		p.restore(f)
	case domain.FactRefundGranted, domain.FactPaymentDisputed:
		ids.changed = layout.ParseLogID(f.ID)
		if p.book.Orders[f.Ref()].State == domain.OrderCancelled {
			ids.ended = ids.changed
		}
	case domain.FactReduced, domain.FactChanged, domain.FactChangeRefused:
		ids.changed = layout.ParseLogID(f.ID)
		if f.Was == domain.OrderConfirmed {
			p.change(f)
		}
	case domain.FactExpired, domain.FactCancelled, domain.FactDeclined:
		ids.ended = layout.ParseLogID(f.ID)
		ids.changed = ids.ended
		if f.Was == domain.OrderConfirmed {
			p.undo(f)
		}
	case domain.FactEventForgotten:
		delete(p.totals, f.EventID)
		return
	case domain.FactOrderRecalled:
		if p.book.Orders[f.Ref()].State == domain.OrderConfirmed {
			p.sell(f)
		}
		return
	case domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventCancelled, domain.FactEventRecalled,
		domain.FactHeld, domain.FactLapsed, domain.FactRejected, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactForgotten:
		return
	}
	p.factIDs[f.Ref()] = ids
}

// idsOf are the ids that postings and payments of an order are judged by. What is older than the snapshot that was begun with is as its newest
// entry is: done.
func (p *partitionAudit) idsOf(ref domain.OrderRef) factIDs {
	ids := p.factIDs[ref]
	for _, id := range []*layout.LogID{&ids.confirmed, &ids.changed, &ids.ended} {
		if *id == (layout.LogID{}) {
			*id = p.based
		}
	}
	return ids
}

// sell takes an order into the totals of its event.
func (p *partitionAudit) sell(f domain.Fact) {
	t := p.totals[f.EventID]
	if !t.Add(p.book.Orders[f.Ref()]) {
		p.violation("I3", f.EventID, "log entry %s: its sales add up to more than 2^63-1", f.ID)
	}
	p.totals[f.EventID] = t
}

// undo takes an order out of the totals of its event.
func (p *partitionAudit) undo(f domain.Fact) {
	o, t := p.book.Orders[f.Ref()], p.totals[f.EventID]
	t.Orders, t.TicketsSold, t.Revenue = t.Orders-1, t.TicketsSold-o.Items.Quantity(), t.Revenue-o.Amount()
	p.totals[f.EventID] = t
}

// restore takes what an order has more, or not any more, since it was restored into the totals of its event.
func (p *partitionAudit) restore(f domain.Fact) {
	was, is := f.Was == domain.OrderConfirmed, f.Restored.State == domain.OrderConfirmed
	switch {
	case is && !was:
		p.sell(f)
	case is:
		p.change(f)
	case was:
		p.undo(f)
	}
}

// change takes what an order gave out of the totals of its event, and what it took into them.
func (p *partitionAudit) change(f domain.Fact) {
	t := p.totals[f.EventID]
	t.TicketsSold, t.Revenue = t.TicketsSold-f.Items.Quantity()+f.Taken.Quantity(), t.Revenue-f.Items.Amount()+f.Taken.Amount()
	p.totals[f.EventID] = t
}

func (p *partitionAudit) factSubject(f domain.Fact) string {
	if f.OrderID == "" {
		return f.EventID
	}
	return f.Ref().String()
}

// transaction runs reads in one step. A stream or a group that is not there is nobody's
// error here: nothing was delivered of it, and nothing is pending.
func (p *partitionAudit) transaction(ctx context.Context, reads func(redis.Pipeliner)) error {
	cmds, err := p.ns.Client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		reads(pipe)
		return nil
	})
	nothing := func(err error) bool { return err == nil || access.IsNil(err) || access.NoGroup(err) }
	for _, cmd := range cmds {
		if e := cmd.Err(); !nothing(e) { // err is but the first of them
			err = e
			break
		}
	}
	if !nothing(err) {
		return fmt.Errorf("reading partition %d: %w", p.p, access.Classify(err))
	}
	return nil
}

// snapshot reads state in one step with the end of the log, and folds up to there.
func (p *partitionAudit) snapshot(ctx context.Context, reads func(redis.Pipeliner)) error {
	var end *redis.XMessageSliceCmd
	err := p.transaction(ctx, func(pipe redis.Pipeliner) {
		end = pipe.XRevRangeN(ctx, p.ns.Keys.Log(p.p), "+", "-", 1)
		reads(pipe)
	})
	if err != nil {
		return err
	}
	return p.foldTo(ctx, endOf(end))
}
