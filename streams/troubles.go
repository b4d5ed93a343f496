package streams

import (
	"context"
	"encoding/json"
	"fmt"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// Report implements domain.Ledger.
func (l *Ledger) Report(ctx context.Context, worker string, troubles []domain.Trouble) error {
	args := make([]any, 0, 1+4*len(troubles))
	args = append(args, worker)
	for _, t := range troubles {
		args = append(args, t.What)
		for _, text := range []string{string(t.Code), t.Text} {
			quoted, err := json.Marshal(text)
			if err != nil {
				return fmt.Errorf("reporting a trouble: %w", err)
			}
			args = append(args, string(quoted))
		}
		args = append(args, t.LastedMillis)
	}
	if err := l.store.run(ctx, scriptReport, []string{l.store.keys.Troubles()}, args...).Err(); err != nil {
		return fmt.Errorf("script report: %w", access.Classify(err))
	}
	return nil
}
