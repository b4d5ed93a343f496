package inspect

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// History returns the facts about one order, oldest first; of one that was cancelled with
// its event also the fact that says who cancelled that, and why. It finds them by the
// times in the order's record, so its cost does not grow with the log.
func (in *Inspector) History(ctx context.Context, ref domain.OrderRef, o domain.Order) ([]domain.Fact, error) {
	p := in.ns.Keys.PartitionOf(ref.EventID)
	var times []int64
	for _, at := range []int64{o.HeldAtMillis, o.ConfirmedAtMillis, o.ResolvedAtMillis} {
		if at != 0 && !slices.Contains(times, at) {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	var history []domain.Fact
	for _, at := range times {
		before := strconv.FormatInt(at-1, 10) + "-18446744073709551615"
		_, err := in.ns.ReadLog(ctx, p, before, strconv.FormatInt(at, 10), func(f domain.Fact) error {
			if f.Ref() == ref {
				history = append(history, f)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	last := len(history) - 1
	if o.Reason != domain.ReasonEventCancelled || last < 0 {
		return history, nil
	}
	cause, err := in.eventCancelled(ctx, p, history[last])
	return slices.Insert(history, last, cause...), err
}

// eventCancelled is the fact because of which an order was cancelled: the newest one
// before that about its event. None if it is gone.
func (in *Inspector) eventCancelled(ctx context.Context, p int, cancelled domain.Fact) ([]domain.Fact, error) {
	for before := cancelled.ID; ; {
		reply, err := in.ns.Client.Do(ctx, "XREVRANGE", in.ns.Keys.Log(p), "("+before, "-", "COUNT", access.ReadPage).Result()
		if err != nil {
			return nil, fmt.Errorf("reading the log: %w", access.Classify(err))
		}
		entries := layout.DecodeEntries(reply)
		for _, e := range entries {
			facts, err := wire.ParseFacts(e.ID, e.Fields)
			if err == nil && facts[0].Type == domain.FactEventCancelled && facts[0].EventID == cancelled.EventID {
				return facts[:1], nil
			}
			before = e.ID
		}
		if len(entries) < access.ReadPage {
			return nil, nil
		}
	}
}

// OrderFilter chooses orders; empty fields choose all.
type OrderFilter struct {
	EventID    string
	CustomerID string
	State      domain.OrderState // OrderNone: any
}

// EachOrder calls each for the chosen orders as they are now, in the order they
// came. It walks the log, in which each order has exactly one first fact, so its
// cost grows with the log: for people and reports, not for a checkout.
func (in *Inspector) EachOrder(ctx context.Context, filter OrderFilter, each func(domain.OrderRef, domain.Order) error) error {
	first, end := 0, in.ns.Keys.Partitions()
	if filter.EventID != "" {
		first = in.ns.Keys.PartitionOf(filter.EventID)
		end = first + 1
	}
	for p := first; p < end; p++ {
		var page []domain.OrderRef
		flush := func() error {
			orders, err := in.ns.Orders(ctx, page)
			if err != nil {
				return err
			}
			for i, o := range orders {
				if filter.State != domain.OrderNone && o.State != filter.State || filter.CustomerID != "" && o.CustomerID != filter.CustomerID {
					continue
				}
				if err := each(page[i], o); err != nil {
					return err
				}
			}
			page = page[:0]
			return nil
		}
		_, err := in.ns.ReadLog(ctx, p, "0-0", "+", func(f domain.Fact) error {
			opens := f.Type == domain.FactHeld || f.Type == domain.FactRejected ||
				f.Type == domain.FactCancelled && f.Was == domain.OrderNone
			if !opens || filter.EventID != "" && f.EventID != filter.EventID {
				return nil
			}
			page = append(page, f.Ref())
			if len(page) == access.MaxBatch {
				return flush()
			}
			return nil
		})
		if err == nil && len(page) > 0 {
			err = flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// FindOrder looks for an order whose event is not known: among the listed
// events first, then in the whole log (an order of an event that was never
// listed is there). Several events may have an order of that name.
func (in *Inspector) FindOrder(ctx context.Context, orderID string) ([]domain.OrderRef, error) {
	var found []domain.OrderRef
	for p := range in.ns.Keys.Partitions() {
		ids, err := in.ns.EventIDs(ctx, p)
		if err != nil {
			return nil, err
		}
		for chunk := range slices.Chunk(ids, access.MaxBatch) {
			refs := make([]domain.OrderRef, len(chunk))
			for i, id := range chunk {
				refs[i] = domain.OrderRef{EventID: id, OrderID: orderID}
			}
			orders, err := in.ns.Orders(ctx, refs)
			if err != nil {
				return nil, err
			}
			for i, o := range orders {
				if o.State != domain.OrderNone {
					found = append(found, refs[i])
				}
			}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	for p := range in.ns.Keys.Partitions() {
		_, err := in.ns.ReadLog(ctx, p, "0-0", "+", func(f domain.Fact) error {
			if f.OrderID == orderID && !slices.Contains(found, f.Ref()) {
				found = append(found, f.Ref())
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
