package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// leastEvery is how often one may look again and again.
const leastEvery = 100 * time.Millisecond

// again does look until it is interrupted, which is how it ends. On a terminal each look takes the place of the last one;
// elsewhere they stand one below the other.
func (e *environment) again(ctx context.Context, every time.Duration, look func() error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for first := true; ; first = false {
		if !e.json && isTerminal(e.stdout) {
			if _, err := io.WriteString(e.stdout, "\x1b[H\x1b[2J"); err != nil {
				return fmt.Errorf("writing the output: %w", err)
			}
		} else if !e.json && !first {
			if _, err := io.WriteString(e.stdout, "\n"); err != nil {
				return fmt.Errorf("writing the output: %w", err)
			}
		}
		if err := look(); err != nil {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return nil
			}
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}
