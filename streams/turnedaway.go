package streams

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// TurnAway adds to how many places were asked for in vain of whoever recorded nothing of it; inspect.RefusedDemand tells them with
// domain.CodeSoldOutNow. These are no facts: nothing of them is in the log, and no audit speaks of them.
//
// It returns those that are not known to have been added: whoever adds them again may count them twice.
func (s *Store) TurnAway(ctx context.Context, places map[domain.RefusedDemand]int64) (left map[domain.RefusedDemand]int64, err error) {
	pipe := s.rdb.Pipeline()
	replies := make(map[domain.RefusedDemand]*redis.IntCmd, len(places))
	for what, n := range places {
		replies[what] = pipe.HIncrBy(ctx, s.keys.TurnedAway(s.Partition(what.EventID)), layout.RefusedField(what), n)
	}
	_, _ = pipe.Exec(ctx) // each reply is looked at
	for what, reply := range replies {
		if reply.Err() == nil {
			continue
		}
		if left == nil {
			left = make(map[domain.RefusedDemand]int64)
		}
		left[what], err = places[what], fmt.Errorf("counting who was turned away: %w", access.ClassifyChange(reply.Err()))
	}
	return left, err
}
