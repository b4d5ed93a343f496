package inspect

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// Paused is what is paused now, and how many requests are parked, by their events: also of those that are not paused any more, until they are
// put back in line.
type Paused struct {
	Lasting domain.Pauses
	Parked  map[string]int64
}

// Paused looks what is paused.
func (in *Inspector) Paused(ctx context.Context) (Paused, error) {
	found := Paused{Parked: make(map[string]int64)}
	all, err := in.ns.Pauses(ctx)
	if err != nil {
		return found, err
	}
	found.Lasting = all.Lasting()
	if len(all) == 0 {
		return found, nil // nothing ever was
	}
	pipe := in.ns.Client.Pipeline()
	parked := make([]*redis.MapStringStringCmd, in.ns.Keys.Partitions())
	for p := range parked {
		parked[p] = pipe.HGetAll(ctx, in.ns.Keys.Parked(p))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return found, fmt.Errorf("looking for parked requests: %w", access.Classify(err))
	}
	for _, of := range parked {
		for eventID, value := range of.Val() {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return found, domain.WithClass(domain.ClassPoison, fmt.Errorf("how many requests of %s are parked is damaged: %q", eventID, value))
			}
			found.Parked[eventID] = n
		}
	}
	return found, nil
}

// Pauses are those that last, and those that were ended of late, the oldest first.
func (in *Inspector) Pauses(ctx context.Context) (domain.Pauses, error) { return in.ns.Pauses(ctx) }
