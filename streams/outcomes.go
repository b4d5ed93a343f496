package streams

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// Partition implements domain.Outcomes.
func (c *Checkout) Partition(eventID string) int { return c.store.Partition(eventID) }

// Orders implements domain.Outcomes: one MGET per partition.
func (c *Checkout) Orders(ctx context.Context, refs []domain.OrderRef) ([]domain.Order, error) {
	return c.store.Inside().Orders(ctx, refs)
}

// Watch implements domain.Outcomes. The scripts publish one message a batch:
// lines of "event_id/order_id record". Pub/sub loses what is said while nobody
// listens, which is why every new connection calls Connected.
func (c *Checkout) Watch(ctx context.Context, partition int, sink domain.OutcomeSink) error {
	pubsub := c.store.rdb.Subscribe(ctx, c.store.keys.Outcomes(partition))
	defer func() { _ = pubsub.Close() }() // it only held a subscription
	messages := pubsub.ChannelWithSubscriptions(redis.WithChannelSize(1000))
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m, open := <-messages:
			if !open {
				return fmt.Errorf("watching outcomes: %w", redis.ErrClosed)
			}
			switch m := m.(type) {
			case *redis.Subscription:
				sink.Connected()
			case *redis.Message:
				readNotices(m.Payload, sink.Changed)
			}
		}
	}
}

// readNotices reads a message of the outcomes channel, and passes over what it cannot read:
// whoever waits looks again by itself.
func readNotices(message string, changed func(domain.OrderRef, domain.Order)) {
	for line := range strings.SplitSeq(message, "\n") {
		name, record, _ := strings.Cut(line, " ")
		ref, ok := domain.ParseOrderRef(name)
		order, err := layout.DecodeOrder(record)
		if ok && err == nil {
			changed(ref, order)
		}
	}
}
