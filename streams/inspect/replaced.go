package inspect

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// Replaced is that the data was found to be other data than before: Redis was emptied, an
// older copy was restored, or a failover lost the last moments.
type Replaced struct {
	AtMillis int64  `json:"at_ms"` // when a worker noticed it last
	Worker   string `json:"worker"`
	Detail   string `json:"detail"`
}

// Replaced is nil if that never happened, or was forgotten since.
func (in *Inspector) Replaced(ctx context.Context) (*Replaced, error) {
	h, err := in.ns.Client.HGetAll(ctx, in.ns.Keys.Replaced()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading whether the data was replaced: %w", access.Classify(err))
	}
	return decodeReplaced(h)
}

func decodeReplaced(h map[string]string) (*Replaced, error) {
	if len(h) == 0 {
		return nil, nil
	}
	at, err := strconv.ParseInt(h["at_ms"], 10, 64)
	if err != nil {
		return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("that the data was replaced is damaged: %q", h["at_ms"]))
	}
	return &Replaced{AtMillis: at, Worker: h["worker"], Detail: h["detail"]}, nil
}

// ForgetReplaced forgets that the data was replaced, because a person has seen to it. It
// returns what it forgot, nil if there was nothing.
func (in *Inspector) ForgetReplaced(ctx context.Context) (*Replaced, error) {
	key := in.ns.Keys.Replaced()
	var was *redis.MapStringStringCmd
	_, err := in.ns.Client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		was = pipe.HGetAll(ctx, key)
		pipe.Del(ctx, key)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("forgetting that the data was replaced: %w", access.ClassifyChange(err))
	}
	return decodeReplaced(was.Val())
}
