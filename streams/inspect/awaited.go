package inspect

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"holdfast/streams/internal/access"
)

// Awaited are orders that the gateway is asked about from time to time, since nobody has an entry of them in hand: their customers have something to do at
// their bank, or they lapsed while they were being paid for.
type Awaited struct {
	Orders        int64
	UnaskedMillis int64 // since it should have been asked about the one that has waited longest for that
}

// Awaited looks whom the gateway is asked about. It costs the same however many there are.
func (in *Inspector) Awaited(ctx context.Context, nowMillis int64) (Awaited, error) {
	var found Awaited
	pipe := in.ns.Client.Pipeline()
	orders := make([]*redis.IntCmd, in.ns.Keys.Partitions())
	next := make([]*redis.ZSliceCmd, len(orders))
	for p := range orders {
		orders[p] = pipe.ZCard(ctx, in.ns.Keys.Awaited(p))
		next[p] = pipe.ZRangeByScoreWithScores(ctx, in.ns.Keys.Awaited(p), &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(nowMillis, 10), Count: 1})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return found, fmt.Errorf("looking for what customers have to do: %w", access.Classify(err))
	}
	for p := range orders {
		found.Orders += orders[p].Val()
		for _, first := range next[p].Val() {
			found.UnaskedMillis = max(found.UnaskedMillis, nowMillis-int64(first.Score))
		}
	}
	return found, nil
}
