package inspect

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// WebhookStatus is an endpoint, and what waits for it.
type WebhookStatus struct {
	domain.Webhook
	Waiting int64 // messages
	Taken   int64 // tries of it that were taken, and that were not, since it was added
	Failed  int64
	// CopiedMillis is the time of the oldest position up to which the log of a partition was copied for it; 0: of some, nothing was yet.
	CopiedMillis int64
	// UnsentMillis is for how long nobody has sent to it, in the partition where that is longest; 0 if it is not enabled.
	UnsentMillis int64
}

// Webhooks tells of the endpoints, the oldest first.
func (in *Inspector) Webhooks(ctx context.Context, nowMillis int64) ([]WebhookStatus, error) {
	stored, err := in.ns.Client.HGetAll(ctx, in.ns.Keys.Webhooks()).Result()
	if err != nil {
		return nil, fmt.Errorf("looking at webhooks: %w", access.Classify(err))
	}
	hooks, err := layout.DecodeWebhooks(stored)
	if err != nil || len(hooks) == 0 {
		return nil, err
	}
	all := make([]WebhookStatus, len(hooks))
	pipe := in.ns.Client.Pipeline()
	marks := make([]*redis.MapStringStringCmd, in.ns.Keys.Partitions())
	for p := range marks {
		marks[p] = pipe.HGetAll(ctx, in.ns.Keys.WebhookMarks(p))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("looking at what waits for webhooks: %w", access.Classify(err))
	}
	for i, hook := range hooks {
		all[i].Webhook = hook
		for p, of := range marks {
			mark, err := layout.DecodeWebhookMark(of.Val()[hook.ID])
			if err != nil {
				return nil, err
			}
			for field, sum := range map[string]*int64{
				layout.WebhookWaiting(hook.ID): &all[i].Waiting, layout.WebhookTaken(hook.ID): &all[i].Taken, layout.WebhookFailed(hook.ID): &all[i].Failed,
			} {
				n, err := layout.DecodeWebhookCount(of.Val()[field])
				if err != nil {
					return nil, err
				}
				*sum += n
			}
			if served := layout.DecodeWebhookLease(of.Val()[layout.WebhookLease(hook.ID)]); hook.State == domain.WebhookEnabled {
				all[i].UnsentMillis = max(all[i].UnsentMillis, nowMillis-max(served, hook.SinceMillis))
			}
			if at := int64(mark.Position.Millis); p == 0 || at < all[i].CopiedMillis { //nolint:gosec // a time
				all[i].CopiedMillis = at
			}
		}
	}
	return all, nil
}
