package migrate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/streams/internal/access"
)

// enoughMemory refuses where a server has no room for as much again as it holds: old and new are there at once for a
// while. One that does not tell is taken to have it.
func (m *migration) enoughMemory(ctx context.Context) error {
	check := func(ctx context.Context, node redis.UniversalClient) error {
		text, err := node.Info(ctx, "memory").Result()
		var reply redis.Error
		if errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "NOPERM") {
			return nil
		}
		if err != nil {
			return fmt.Errorf("asking Redis for its memory: %w", access.Classify(err))
		}
		used, most := infoBytes(text, "used_memory"), infoBytes(text, "maxmemory")
		if most == 0 {
			most = infoBytes(text, "total_system_memory")
		}
		if most > 0 && used > most-used {
			return refused("redis uses %d MB of the %d MB that it may, and until the old keys are deleted it may need twice as much: raise maxmemory", used>>20, most>>20)
		}
		return nil
	}
	return m.eachNode(ctx, check)
}

// eachNode calls do for the server, or for each master of a Cluster, one after the other.
func (m *migration) eachNode(ctx context.Context, do func(context.Context, redis.UniversalClient) error) error {
	cluster, ok := m.ns.Client.(*redis.ClusterClient)
	if !ok {
		return do(ctx, m.ns.Client)
	}
	one := make(chan struct{}, 1)
	return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		one <- struct{}{}
		defer func() { <-one }()
		return do(ctx, node)
	})
}

// infoBytes is a number of INFO, 0 if it is not there.
func infoBytes(info, name string) int64 {
	for line := range strings.Lines(info) {
		if value, is := strings.CutPrefix(line, name+":"); is {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}
