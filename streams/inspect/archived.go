package inspect

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// ArchiveLag is how far the archive of a partition is behind.
type ArchiveLag struct {
	Partition int
	Position  string // up to which the log is archived
	Millis    int64  // age of the oldest fact that is not; 0: all are
}

// Archived tells of the partitions of which something is archived how far that is. Of a branch of which nothing is yet, it is told by where the one before
// was left.
func (in *Inspector) Archived(ctx context.Context, nowMillis int64) ([]ArchiveLag, error) {
	pipe := in.ns.Client.Pipeline()
	marks := make([]*redis.StringCmd, in.ns.Keys.Partitions())
	for p := range marks {
		marks[p] = pipe.Get(ctx, in.ns.Keys.Archived(p))
	}
	_, err := pipe.Exec(ctx)
	if err = access.Classify(err); domain.CodeOf(err) == domain.CodeDenied {
		return nil, nil // a user from before there was an archive sees all else
	}
	if err != nil && !access.IsNil(err) {
		return nil, fmt.Errorf("looking at what is archived: %w", err)
	}
	var all []ArchiveLag
	pipe = in.ns.Client.Pipeline()
	var next []*redis.XMessageSliceCmd
	for p, stored := range marks {
		mark, err := layout.DecodeArchived(stored.Val())
		if err != nil {
			return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("%s: %w", in.ns.Keys.Archived(p), err))
		}
		if mark.Branch == "" {
			continue
		}
		all = append(all, ArchiveLag{Partition: p, Position: mark.Position})
		next = append(next, pipe.XRangeN(ctx, in.ns.Keys.Log(p), "("+mark.Position, "+", 1))
	}
	if len(all) == 0 {
		return nil, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("looking for what is not archived: %w", access.Classify(err))
	}
	for i, entries := range next {
		if found := entries.Val(); len(found) > 0 {
			all[i].Millis = max(0, nowMillis-domain.EntryMillis(found[0].ID))
		}
	}
	return all, nil
}
