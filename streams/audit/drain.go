package audit

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// checkQueues: I8. Each dead letter says why, to those who wait as well, and what is pending
// is still there.
func (p *partitionAudit) checkQueues(ctx context.Context) error {
	after := "0-0"
	for {
		letters, err := p.ns.DeadLetters(ctx, p.p, "("+after, "+", access.ReadPage)
		if domain.ClassOf(err) == domain.ClassPoison {
			p.violation("I8", p.ns.Keys.Dead(p.p), "%v", err)
			break
		}
		if err != nil {
			return err
		}
		for _, l := range letters {
			after = l.LetterID
			if l.Reason == "" || l.Group == "" || l.EntryID == "" {
				p.violation("I8", "dead letter "+l.ID(), "does not say why, or whose it was")
			}
		}
		more := len(letters) == access.ReadPage
		if err := p.checkNotesOf(ctx, letters); err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if err := p.checkNotes(ctx); err != nil {
		return err
	}
	stream := p.ns.Keys.Requests(p.p)
	pendingOf := func(from, to string, count int64) ([]redis.XPendingExt, error) {
		found, err := p.ns.Client.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: stream, Group: string(domain.GroupWorkers), Start: from, End: to, Count: count,
		}).Result()
		if err != nil && !access.NoGroup(err) {
			return nil, fmt.Errorf("reading what is pending in %s: %w", stream, access.Classify(err))
		}
		return found, nil
	}
	pending, err := pendingOf("-", "+", pendingMost)
	if err != nil {
		return err
	}
	for _, e := range pending {
		found, err := p.ns.Client.XRangeN(ctx, stream, e.ID, e.ID, 1).Result()
		if err != nil {
			return fmt.Errorf("reading %s: %w", stream, access.Classify(err))
		}
		if len(found) > 0 {
			continue
		}
		// Acknowledged and trimmed in between, or lost.
		if still, err := pendingOf(e.ID, e.ID, 1); err != nil {
			return err
		} else if len(still) > 0 {
			p.violation("I8", stream+" "+e.ID, "is pending, but its payload is gone")
		}
	}
	return nil
}
