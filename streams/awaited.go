package streams

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// An order that awaits what its customer does is asked about when a quarter as much time again has passed as it has
// awaited it, within these bounds, in milliseconds.
const (
	askAgainAtLeast = 1_000
	askAgainAtMost  = 30_000
	askDamagedAgain = 3_600_000 // of one that cannot be read: a person must mend it
)

// TakeAwaited implements domain.Ledger. A crash behind it leaves what it gave out to the next time.
func (l *Ledger) TakeAwaited(ctx context.Context, p, most int) (list []domain.Awaited, awaited bool, err error) {
	key := l.store.keys.Awaited(p)
	all, err := l.store.rdb.ZCard(ctx, key).Result()
	if err != nil {
		return nil, false, fmt.Errorf("looking for what customers have to do: %w", access.Classify(err))
	}
	if all == 0 || most == 0 {
		return nil, all > 0, nil
	}
	now, due, err := l.due(ctx, p, key, min(most, access.MaxBatch))
	if err != nil || len(due) == 0 {
		return nil, true, err
	}
	refs := make([]domain.OrderRef, 0, len(due))
	for _, member := range due {
		ref, ok := domain.ParseOrderRef(member)
		if !ok { // no script of ours wrote it; it would be found for ever
			l.store.log.Error("removing what names no order from those that await their customers", zap.String("key", key), zap.String("member", member))
			if err := l.store.rdb.ZRem(ctx, key, member).Err(); err != nil {
				return nil, true, fmt.Errorf("removing what names no order: %w", access.Classify(err))
			}
			continue
		}
		refs = append(refs, ref)
	}
	if len(refs) == 0 {
		return nil, true, nil
	}
	args := make([]any, 0, 2*len(refs))
	take := func(refs []domain.OrderRef) error {
		orders, _, err := l.read(ctx, p, refs)
		for i, o := range orders {
			since := now - domain.EntryMillis(o.Version)
			args = append(args, refs[i].String(), now+min(max(since/4, askAgainAtLeast), askAgainAtMost))
			if o.Awaited() { // else that has just changed
				list = append(list, domain.Awaited{Ref: refs[i], Order: o})
			}
		}
		return err
	}
	if err := take(refs); err != nil && domain.ClassOf(err) != domain.ClassPoison {
		return nil, true, err
	} else if err != nil { // one is damaged: the others do not wait for it
		for _, ref := range refs {
			switch err := take([]domain.OrderRef{ref}); {
			case err == nil:
			case domain.ClassOf(err) != domain.ClassPoison:
				return nil, true, err
			default:
				l.store.log.Error("an order that awaits its customer cannot be read", zap.Stringer("order", ref), zap.Error(err))
				args = append(args, ref.String(), now+askDamagedAgain)
			}
		}
	}
	if err := l.store.run(ctx, scriptPutOff, []string{key}, args...).Err(); err != nil {
		return nil, true, fmt.Errorf("script put_off: %w", access.Classify(err))
	}
	return list, true, nil
}
