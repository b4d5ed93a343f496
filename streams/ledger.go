package streams

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Ledger is what workers do to orders, events and what follows from them
// (domain.Ledger). It is safe for concurrent use. All ledgers of a store have seen the
// same of its data: see Verify.
type Ledger struct{ store *Store }

var _ domain.Ledger = (*Ledger)(nil)

// Ledger hands out what a worker needs, beside queues.
func (s *Store) Ledger() *Ledger { return &Ledger{s} }

// Partition implements domain.Ledger.
func (l *Ledger) Partition(eventID string) int { return l.store.Partition(eventID) }

// Orders implements domain.Ledger.
func (l *Ledger) Orders(ctx context.Context, refs []domain.OrderRef) ([]domain.Order, error) {
	return l.store.Inside().Orders(ctx, refs)
}

// orderBatch is one call of a script that is built on scripts/lib/orders.lua.
type orderBatch struct {
	script *redis.Script
	name   string
	source string // the stream whose entries are acknowledged
	group  domain.Group
	size   int
	item   func(i int) (entryID string, ref domain.OrderRef)
	add    func(args []any, i int) []any // what the operation adds to an item
	keys   []string                      // what the operation adds to the keys
}

// runOrders calls the script for all items, at most maxBatch at a time, and
// returns a reply for each.
func (l *Ledger) runOrders(ctx context.Context, p int, b orderBatch) ([]domain.Reply, int64, error) {
	replies := make([]domain.Reply, 0, b.size)
	var now int64
	for first := 0; first < b.size; first += access.MaxBatch {
		n := min(access.MaxBatch, b.size-first)
		keys, args := l.orderArgs(p, b, first, n)
		raw, err := l.store.run(ctx, b.script, keys, args...).Slice()
		if err != nil {
			return nil, 0, fmt.Errorf("script %s: %w", b.name, access.Classify(err))
		}
		if len(raw) != 1+2*n {
			return nil, 0, fmt.Errorf("script %s: %d values for %d items", b.name, len(raw), n)
		}
		now = layout.AsInt(raw[0])
		for i := range n {
			order, err := layout.DecodeOrder(layout.AsString(raw[2+2*i]))
			if err != nil {
				return nil, 0, fmt.Errorf("script %s: %w", b.name, err)
			}
			replies = append(replies, domain.Reply{Verdict: domain.Verdict(layout.AsInt(raw[1+2*i])), Order: order})
		}
	}
	return replies, now, nil
}

// orderArgs lays KEYS and ARGV out as scripts/lib/orders.lua documents them.
func (l *Ledger) orderArgs(p int, b orderBatch, first, n int) ([]string, []any) {
	const perItem = 12
	index := make(map[string]int, 8)
	events := make([]string, 0, 8)
	indexes := make([]int, n)
	for i := range n {
		_, ref := b.item(first + i)
		e, known := index[ref.EventID]
		if !known {
			events = append(events, ref.EventID)
			e = len(events)
			index[ref.EventID] = e
		}
		indexes[i] = e
	}
	keys := make([]string, 0, 3+2*len(events)+n+len(b.keys))
	keys = append(keys, b.source, l.store.keys.Log(p), l.store.keys.Holds(p))
	args := make([]any, 0, 5+len(events)+n*perItem)
	everyNotice := ""
	if _, cluster := l.store.rdb.(*redis.ClusterClient); cluster {
		everyNotice = "1"
	}
	args = append(args, string(b.group), l.store.outcomes(p), len(events), n, everyNotice)
	for _, event := range events {
		keys = append(keys, l.store.keys.Event(p, event), l.store.keys.InProgress(p, event))
		args = append(args, event)
	}
	for i := range n {
		entryID, ref := b.item(first + i)
		keys = append(keys, l.store.keys.Order(p, ref))
		args = append(args, entryID, indexes[i], ref.OrderID)
		args = b.add(args, first+i)
	}
	return append(keys, b.keys...), args
}

// Hold implements domain.Ledger.
func (l *Ledger) Hold(ctx context.Context, p int, batch []domain.Incoming) ([]domain.Reply, int64, error) {
	return l.runOrders(ctx, p, orderBatch{
		script: scriptHold, name: "hold", source: l.store.keys.Requests(p), group: domain.GroupWorkers, size: len(batch),
		item: func(i int) (string, domain.OrderRef) { return batch[i].EntryID, batch[i].Request.Ref() },
		add: func(args []any, i int) []any {
			a := &batch[i]
			var unitPrice any = ""
			if a.Request.UnitPrice != nil {
				unitPrice = *a.Request.UnitPrice
			}
			kind := string(a.Request.Type)
			if a.NoToken {
				kind = "tokenless"
			}
			return append(args, kind, a.Request.CustomerID, a.Request.Section, a.Request.Quantity,
				unitPrice, a.HoldMillis, domain.EntryMillis(a.EntryID)+a.ValidMillis, opening(a.Request), a.Invalid)
		},
	})
}

// opening is how records and facts of an order begin: what was asked for.
func opening(r domain.Request) string {
	return string(r.Type) + "|" + r.Fingerprint + "|" + r.CustomerID + "|" + r.Section + "|" + strconv.FormatInt(r.Quantity, 10)
}

// Resolve implements domain.Ledger.
func (l *Ledger) Resolve(ctx context.Context, p int, batch []domain.Resolution) ([]domain.Reply, int64, error) {
	for _, r := range batch {
		if strings.ContainsAny(r.AuthorizationID, "|\r\n") {
			return nil, 0, domain.WithClass(domain.ClassPoison, fmt.Errorf("order %s: the gateway's authorization id has a bar or a line break, and cannot be kept", r.Ref))
		}
		if strings.ContainsAny(r.Detail, "|\r\n") {
			return nil, 0, domain.WithClass(domain.ClassPoison, fmt.Errorf("order %s: the detail of a payment that does not match has a bar or a line break, and cannot be kept", r.Ref))
		}
	}
	return l.runOrders(ctx, p, orderBatch{
		script: scriptResolve, name: "resolve", source: l.store.keys.Requests(p), group: domain.GroupWorkers, size: len(batch),
		item: func(i int) (string, domain.OrderRef) { return batch[i].EntryID, batch[i].Ref },
		add: func(args []any, i int) []any {
			kept := batch[i].AuthorizationID
			if o := batch[i].Outcome; o == domain.PaymentMismatched || o == domain.PaymentLeftAlone {
				kept = batch[i].Detail
			}
			return append(args, outcomeName(batch[i].Outcome), kept)
		},
		keys: []string{l.store.keys.Dead(p)},
	})
}

func outcomeName(o domain.PaymentOutcome) string {
	switch o {
	case domain.PaymentApproved:
		return "approved"
	case domain.PaymentDeclined:
		return "declined"
	case domain.PaymentUnknown:
		return "unknown"
	case domain.PaymentMismatched:
		return "mismatched"
	case domain.PaymentLeftAlone:
		return "left_alone"
	}
	return "unknown"
}

// Cancel implements domain.Ledger.
func (l *Ledger) Cancel(ctx context.Context, p int, batch []domain.Cancellation) error {
	return l.cancel(ctx, p, domain.GroupWorkers, domain.ReasonRequested, batch)
}

// CaptureFailed implements domain.Ledger.
func (l *Ledger) CaptureFailed(ctx context.Context, p int, batch []domain.Cancellation) error {
	return l.cancel(ctx, p, domain.GroupSettlement, domain.ReasonCaptureFailed, batch)
}

func (l *Ledger) cancel(ctx context.Context, p int, group domain.Group, reason string, batch []domain.Cancellation) error {
	source, _ := l.store.keys.StreamOf(p, group)
	_, _, err := l.runOrders(ctx, p, orderBatch{
		script: scriptCancel, name: "cancel", source: source, group: group, size: len(batch),
		item: func(i int) (string, domain.OrderRef) { return batch[i].EntryID, batch[i].Ref },
		add:  func(args []any, _ int) []any { return append(args, reason) },
	})
	return err
}

// Expire implements domain.Ledger. A crash between finding the due holds and
// ending them leaves them to the next call.
func (l *Ledger) Expire(ctx context.Context, p int, most int) (int, error) {
	most = min(most, access.MaxBatch)
	members, err := l.store.run(ctx, scriptDue, []string{l.store.keys.Holds(p)}, most).StringSlice()
	if err != nil {
		return 0, fmt.Errorf("script due: %w", access.Classify(err))
	}
	refs := make([]domain.OrderRef, 0, len(members))
	for _, m := range members {
		ref, ok := domain.ParseOrderRef(m)
		if !ok { // no script of ours wrote it; it would be found for ever
			l.store.log.Error("removing a hold that names no order", zap.String("key", l.store.keys.Holds(p)), zap.String("member", m))
			if err := l.store.rdb.ZRem(ctx, l.store.keys.Holds(p), m).Err(); err != nil {
				return 0, fmt.Errorf("removing a hold that names no order: %w", access.Classify(err))
			}
			continue
		}
		refs = append(refs, ref)
	}
	expired := 0
	err = l.changeOrders(ctx, p, orderBatch{
		script: scriptExpire, name: "expire",
		add: func(args []any, _ int) []any { return args },
	}, refs, func(_ domain.OrderRef, o domain.Order) {
		if o.State == domain.OrderExpired {
			expired++
		}
	})
	return expired, err
}

// changeOrders calls a script for orders that no entry asks about, and each for all of
// them as they are then. If one is damaged, the others do not wait for it: each is tried
// alone, and the first that is damaged is the error, of ClassPoison.
func (l *Ledger) changeOrders(ctx context.Context, p int, b orderBatch, refs []domain.OrderRef, each func(domain.OrderRef, domain.Order)) error {
	run := func(refs []domain.OrderRef) error {
		b.source, b.size = l.store.keys.Log(p), len(refs)
		b.item = func(i int) (string, domain.OrderRef) { return "", refs[i] }
		replies, _, err := l.runOrders(ctx, p, b)
		for i, r := range replies {
			each(refs[i], r.Order)
		}
		return err
	}
	err := run(refs)
	if err == nil || domain.ClassOf(err) != domain.ClassPoison {
		return err
	}
	var damage error
	for _, ref := range refs {
		err := run([]domain.OrderRef{ref})
		if err != nil && domain.ClassOf(err) != domain.ClassPoison {
			return err
		}
		damage = cmp.Or(damage, err)
	}
	return damage
}
