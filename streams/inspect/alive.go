package inspect

import (
	"context"
	"fmt"
	"strings"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// Alive counts the consumers of a group in a partition that gave a sign of life within their
// own reclaim time.
func (in *Inspector) Alive(ctx context.Context, p int, group domain.Group) (int, error) {
	aliveUntil, err := in.ns.AliveUntil(ctx, p)
	if err != nil {
		return 0, err
	}
	now, err := in.ns.Client.Time(ctx).Result()
	if err != nil {
		return 0, fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	n := 0
	for name, until := range aliveUntil {
		if of, _, _ := strings.Cut(name, "/"); of == string(group) && until > now.UnixMilli() {
			n++
		}
	}
	return n, nil
}
