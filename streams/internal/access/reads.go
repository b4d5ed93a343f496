package access

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// Orders reads stored orders, with one MGET per partition; one never heard of is the zero Order.
func (n Namespace) Orders(ctx context.Context, refs []domain.OrderRef) ([]domain.Order, error) {
	byPartition := make(map[int][]int)
	for i, ref := range refs {
		p := n.Keys.PartitionOf(ref.EventID)
		byPartition[p] = append(byPartition[p], i)
	}
	orders := make([]domain.Order, len(refs))
	for p, indexes := range byPartition {
		keys := make([]string, len(indexes))
		for j, i := range indexes {
			keys[j] = n.Keys.Order(p, refs[i])
		}
		records, err := n.Client.MGet(ctx, keys...).Result()
		if err != nil {
			return nil, fmt.Errorf("reading orders: %w", Classify(err))
		}
		for j, i := range indexes {
			if orders[i], err = layout.DecodeOrder(layout.AsString(records[j])); err != nil {
				return nil, err
			}
		}
	}
	return orders, nil
}

// EventIDs lists the listed events of a partition, in no order.
func (n Namespace) EventIDs(ctx context.Context, p int) ([]string, error) {
	ids, err := n.Client.HKeys(ctx, n.Keys.SalesSummary(p)).Result()
	if err != nil {
		return nil, fmt.Errorf("listing events: %w", Classify(err))
	}
	return ids, nil
}

// DeadLetters reads at most count dead letters of a partition, between two ids of its
// stream, as XRANGE takes them.
func (n Namespace) DeadLetters(ctx context.Context, p int, from, to string, count int) ([]layout.DeadLetter, error) {
	reply, err := n.Client.Do(ctx, "XRANGE", n.Keys.Dead(p), from, to, "COUNT", count).Result()
	if err != nil {
		return nil, fmt.Errorf("reading dead letters: %w", Classify(err))
	}
	var letters []layout.DeadLetter
	for _, e := range layout.DecodeEntries(reply) {
		letter, err := layout.DecodeDeadLetter(p, e)
		if err != nil {
			return nil, err
		}
		letters = append(letters, letter)
	}
	return letters, nil
}

// AliveUntil is, by group/consumer, the time in milliseconds until which it counts as alive.
func (n Namespace) AliveUntil(ctx context.Context, p int) (map[string]int64, error) {
	return ScoresByName(n.Client.ZRangeWithScores(ctx, n.Keys.Consumers(p), 0, -1))
}

// ScoresByName is what AliveUntil makes of a reply.
func ScoresByName(consumers *redis.ZSliceCmd) (map[string]int64, error) {
	members, err := consumers.Result()
	if err != nil {
		return nil, fmt.Errorf("listing consumers: %w", Classify(err))
	}
	until := make(map[string]int64, len(members))
	for _, m := range members {
		name, _ := m.Member.(string)
		until[name] = int64(m.Score)
	}
	return until, nil
}
