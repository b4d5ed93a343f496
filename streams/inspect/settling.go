package inspect

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Settling is what the payments of an event's orders have before them that were cancelled with it.
type Settling struct {
	UnderWay int    // so many are still to be voided or refunded
	After    string // the log has none of them up to here: what the next call may begin with
}

// Settling tells how many payments of a cancelled event's orders workers have not given
// back yet. after is where in the log to begin: "0-0", or what the last call returned. Its
// cost grows with the log from there.
func (in *Inspector) Settling(ctx context.Context, eventID, after string) (Settling, error) {
	p := in.ns.Keys.PartitionOf(eventID)
	delivered, pending, err := in.settlement(ctx, p)
	if err != nil {
		return Settling{}, err
	}
	s := Settling{After: after}
	// What was read of the group is older than what is read of the log: an entry may be done by now, and
	// counts as under way, but never the other way round.
	underWay := make(map[domain.OrderRef]bool)
	_, err = in.ns.EachEntry(ctx, p, after, "+", func(e domain.Entry) error {
		if pending[e.ID] || layout.ParseLogID(e.ID).After(delivered) {
			for _, f := range cancelledWithEvent(e.ID, e.Fields, eventID) {
				underWay[f.Ref()] = true
			}
		}
		if len(underWay) == 0 {
			s.After = e.ID
		}
		return nil
	})
	if err != nil {
		return Settling{}, err
	}
	// What has left its entry since then counts once.
	owed, err := in.owedOf(ctx, p, eventID)
	if err != nil {
		return Settling{}, err
	}
	for _, ref := range owed {
		underWay[ref] = true
	}
	s.UnderWay = len(underWay)
	return s, nil
}

// owedOf are the orders that were cancelled with an event, and whose money waits.
func (in *Inspector) owedOf(ctx context.Context, p int, eventID string) ([]domain.OrderRef, error) {
	var refs []domain.OrderRef
	var cursor uint64
	for {
		page, next, err := in.ns.Client.ZScan(ctx, in.ns.Keys.Owed(p), cursor, eventID+"/*", access.ReadPage).Result()
		if err != nil {
			return nil, fmt.Errorf("reading what is owed: %w", access.Classify(err))
		}
		for i := 0; i < len(page); i += 2 {
			if ref, ok := domain.ParseOrderRef(page[i]); ok {
				refs = append(refs, ref)
			}
		}
		if cursor = next; cursor == 0 {
			return in.withEvent(ctx, refs)
		}
	}
}

// withEvent are those of some orders that were cancelled with their event.
func (in *Inspector) withEvent(ctx context.Context, refs []domain.OrderRef) (with []domain.OrderRef, err error) {
	if len(refs) == 0 {
		return nil, nil
	}
	orders, err := in.ns.Orders(ctx, refs)
	if err != nil {
		return nil, err
	}
	for i, o := range orders {
		if o.Reason == domain.ReasonEventCancelled {
			with = append(with, refs[i])
		}
	}
	return with, nil
}

// settlement is how far the group is: the last entry that it was given, and those of
// them that are not done.
func (in *Inspector) settlement(ctx context.Context, p int) (delivered layout.LogID, pending map[string]bool, err error) {
	log, group := in.ns.Keys.Log(p), string(domain.GroupSettlement)
	fail := func(err error) (layout.LogID, map[string]bool, error) {
		return delivered, nil, fmt.Errorf("inspecting %s of %s: %w", group, log, access.Classify(err))
	}
	infos, err := in.ns.Client.XInfoGroups(ctx, log).Result()
	if err != nil {
		return fail(err)
	}
	i := slices.IndexFunc(infos, func(g redis.XInfoGroup) bool { return g.Name == group })
	if i < 0 {
		return fail(fmt.Errorf("the group is gone; a worker makes it again"))
	}
	pending = make(map[string]bool, infos[i].Pending)
	for from := "-"; ; {
		page, err := in.ns.Client.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: log, Group: group, Start: from, End: "+", Count: access.ReadPage}).Result()
		if err != nil {
			return fail(err)
		}
		for _, e := range page {
			pending[e.ID] = true
			from = "(" + e.ID
		}
		if len(page) < access.ReadPage {
			return layout.ParseLogID(infos[i].LastDeliveredID), pending, nil
		}
	}
}

// SettlingSetAside tells how many payments of a cancelled event's orders could not be
// given back, and were set aside for a person.
func (in *Inspector) SettlingSetAside(ctx context.Context, eventID string) (n int, err error) {
	var refs []domain.OrderRef
	err = in.EachDeadLetter(ctx, func(l DeadLetter) error {
		if ref, ok := domain.ParseOrderRef(l.OrderID); ok && l.Stream == layout.StreamOwed && ref.EventID == eventID {
			refs = append(refs, ref)
		} else if l.Group == string(domain.GroupSettlement) { // an entry that cannot be worked on at all
			name := string(domain.FactCancelled)
			n += len(cancelledWithEvent(l.EntryID, []string{name, l.Fields[name]}, eventID))
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	with, err := in.withEvent(ctx, refs)
	return n + len(with), err
}

// cancelledWithEvent are the facts of a log entry about orders that were cancelled with this event.
func cancelledWithEvent(id string, fields []string, eventID string) (of []domain.Fact) {
	if len(fields) != 2 || fields[0] != string(domain.FactCancelled) {
		return nil
	}
	facts, err := wire.ParseFacts(id, fields)
	if err != nil {
		return nil // whoever settles it sets it aside
	}
	for _, f := range facts {
		if f.EventID == eventID && f.Reason == domain.ReasonEventCancelled {
			of = append(of, f)
		}
	}
	return of
}
