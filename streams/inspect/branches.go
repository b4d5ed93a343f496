package inspect

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Branch is one continuous life of a partition's log.
type Branch struct {
	Partition int    `json:"partition"`
	ID        string `json:"branch"`
	Current   bool   `json:"current"`
	// Parent is the branch that the data is of, so far as it is older; empty: none.
	Parent string `json:"parent"`
	// Knew is the branch of which the worker had seen more, or another past: its facts behind CommonPosition are abandoned.
	// Usually the parent.
	Knew string `json:"knew"`
	// CommonPosition is the newest log entry that was seen of Knew and is in this branch, byte for byte; empty: not known.
	CommonPosition string `json:"common_position"`
	// EndPosition is where the log ended when the branch was begun; empty: there was nothing.
	EndPosition string `json:"end_position"`
	AtMillis    int64  `json:"at_ms"`
	Worker      string `json:"worker"` // that found the data replaced; empty: none, the namespace was made or migrated
}

// Branches lists those of each partition, the newest first.
func (in *Inspector) Branches(ctx context.Context) ([]Branch, error) {
	pipe := in.ns.Client.Pipeline()
	reads := make([]*redis.SliceCmd, in.ns.Keys.Partitions())
	for p := range reads {
		reads[p] = pipe.HMGet(ctx, in.ns.Keys.Events(p), layout.BranchField, layout.BranchesField)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading branches: %w", access.Classify(err))
	}
	branches := []Branch{}
	for p, read := range reads {
		listed, err := layout.DecodeBranches(layout.AsString(read.Val()[1]))
		if err != nil {
			return nil, fmt.Errorf("partition %d: %w", p, err)
		}
		for _, b := range listed {
			branches = append(branches, Branch{
				Partition: p, ID: b.ID, Current: b.ID == layout.AsString(read.Val()[0]), Parent: b.Parent, Knew: b.Knew,
				CommonPosition: b.Common, EndPosition: b.End, AtMillis: b.AtMillis, Worker: b.By,
			})
		}
	}
	return branches, nil
}
