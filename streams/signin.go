package streams

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// SignIn implements domain.Ledger.
func (l *Ledger) SignIn(ctx context.Context, worker string, sign domain.WorkerSign, there time.Duration, sweep bool) error {
	said, err := json.Marshal(sign)
	if err != nil {
		return fmt.Errorf("signing in: %w", err)
	}
	return l.signIn(ctx, worker, strings.TrimSuffix(strings.TrimPrefix(string(said), "{"), "}"), there, sweep)
}

// SignOut implements domain.Ledger.
func (l *Ledger) SignOut(ctx context.Context, worker string) error {
	return l.signIn(ctx, worker, "", 0, false)
}

func (l *Ledger) signIn(ctx context.Context, worker, said string, there time.Duration, sweep bool) error {
	forget := "0"
	if sweep {
		forget = "1"
	}
	if err := l.store.run(ctx, scriptSignIn, []string{l.store.keys.Workers()}, worker, said, there.Milliseconds(), forget).Err(); err != nil {
		return fmt.Errorf("script sign_in: %w", access.Classify(err))
	}
	return nil
}
