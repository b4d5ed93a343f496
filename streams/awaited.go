package streams

import (
	"context"
	"fmt"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// An order that awaits what its customer does is asked about when a quarter as much time again has passed as it has
// awaited it, within these bounds, in milliseconds.
const (
	askAgainAtLeast = 1_000
	askAgainAtMost  = 30_000
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
		if !ok {
			return nil, true, domain.WithClass(domain.ClassPoison, fmt.Errorf("%s is damaged: %q names no order", key, member))
		}
		refs = append(refs, ref)
	}
	orders, _, err := l.read(ctx, p, refs)
	if err != nil {
		return nil, true, err
	}
	args := make([]any, 0, 2*len(refs))
	for i, o := range orders {
		since := now - domain.EntryMillis(o.Version)
		args = append(args, due[i], now+min(max(since/4, askAgainAtLeast), askAgainAtMost))
		if o.Awaited() { // else that has just changed
			list = append(list, domain.Awaited{Ref: refs[i], Order: o})
		}
	}
	if err := l.store.run(ctx, scriptPutOff, []string{key}, args...).Err(); err != nil {
		return nil, true, fmt.Errorf("script put_off: %w", access.Classify(err))
	}
	return list, true, nil
}
