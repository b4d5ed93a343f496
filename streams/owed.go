package streams

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Owe implements domain.Ledger.
func (l *Ledger) Owe(ctx context.Context, p int, entryID string, orders []domain.Unsettled) error {
	k := l.store.keys
	args := append(make([]any, 0, 2+3*len(orders)), string(domain.GroupSettlement), entryID)
	for _, u := range orders {
		due := strconv.FormatInt(u.Due.Milliseconds(), 10)
		if u.Dead {
			due = ""
		}
		args = append(args, u.Ref.String(), due, layout.EncodeOwedNote(u.Owed))
	}
	if err := l.store.run(ctx, scriptOwe, []string{k.Log(p), k.Owed(p), k.OwedNotes(p), k.Dead(p)}, args...).Err(); err != nil {
		return fmt.Errorf("script owe: %w", access.Classify(err))
	}
	return nil
}

// TakeOwed implements domain.Ledger.
func (l *Ledger) TakeOwed(ctx context.Context, p int, inHand []domain.OrderRef, most int, lease time.Duration) ([]domain.Owed, error) {
	k := l.store.keys
	if len(inHand) == 0 { // nearly always nothing is owed, and a script costs more than a look
		if there, err := l.store.rdb.Exists(ctx, k.Owed(p)).Result(); err != nil || there == 0 {
			return nil, access.Classify(err)
		}
	}
	args := append(make([]any, 0, 2+len(inHand)), lease.Milliseconds(), min(most, access.MaxBatch))
	for _, ref := range inHand {
		args = append(args, ref.String())
	}
	reply, err := l.store.run(ctx, scriptTakeOwed, []string{k.Owed(p), k.OwedNotes(p)}, args...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("script take_owed: %w", access.Classify(err))
	}
	taken := make([]domain.Owed, 0, len(reply)/2)
	for i := 0; i+1 < len(reply); i += 2 {
		o, err := layout.DecodeOwed(reply[i], reply[i+1])
		if err != nil { // no script of ours wrote it; it would be found for ever
			l.store.log.Error("removing what is owed for no order", zap.String("key", k.Owed(p)), zap.Error(err))
			if err := l.store.run(ctx, scriptSettleOwed, []string{k.Owed(p), k.OwedNotes(p), k.Dead(p)}, "", reply[i], reply[i+1], "settled").Err(); err != nil {
				return nil, fmt.Errorf("script settle_owed: %w", access.Classify(err))
			}
			continue
		}
		taken = append(taken, o)
	}
	return taken, nil
}

// OwedSettled implements domain.Ledger.
func (l *Ledger) OwedSettled(ctx context.Context, p int, taken domain.Owed) error {
	return l.settleOwed(ctx, p, taken, "settled")
}

// OweAgain implements domain.Ledger.
func (l *Ledger) OweAgain(ctx context.Context, p int, taken domain.Owed, u domain.Unsettled) error {
	due := strconv.FormatInt(u.Due.Milliseconds(), 10)
	if u.Dead {
		due = "dead"
	}
	return l.settleOwed(ctx, p, taken, due, layout.EncodeOwedNote(u.Owed))
}

func (l *Ledger) settleOwed(ctx context.Context, p int, taken domain.Owed, how ...any) error {
	k := l.store.keys
	args := append([]any{string(domain.GroupSettlement), taken.Ref.String(), layout.EncodeOwedNote(taken)}, how...)
	if err := l.store.run(ctx, scriptSettleOwed, []string{k.Owed(p), k.OwedNotes(p), k.Dead(p)}, args...).Err(); err != nil {
		return fmt.Errorf("script settle_owed: %w", access.Classify(err))
	}
	return nil
}
