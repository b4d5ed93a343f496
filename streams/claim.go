package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Claimed is what Claim did in one group of one partition.
type Claimed struct {
	Partition int          `json:"partition"`
	Group     domain.Group `json:"group"`
	Entries   int64        `json:"entries"`     // handed over to the others
	Before    int64        `json:"handed_back"` // were waiting for the next reclaim already
}

// Claim hands what a consumer has in hand that is gone to the others at once, in one group or, with an empty group, in all:
// without it they wait for their --reclaim-after. Who asked for it, and why, is noted with it; both must be given.
// Only groups in which it has anything are told.
//
// A crash, or an error, at any point leaves the rest where it is, to be claimed again, or reclaimed.
//
// Errors: domain.ErrNotFound if no group knows such a consumer; ClassReject for a bad cause, or if it is alive in one of the
// groups: stop it, and it hands back by itself.
func (s *Store) Claim(ctx context.Context, consumer string, group domain.Group, cause domain.Cause) ([]Claimed, error) {
	if err := cause.Validate(); err != nil {
		return nil, err
	}
	if !domain.ValidID(consumer) {
		return nil, domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf("worker %q: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", consumer, domain.MaxIDLength))
	}
	if cause.Reason == "" || cause.By == "" {
		return nil, domain.WithCode(domain.ClassReject, domain.CodeInvalid, errors.New("reason, by: want both"))
	}
	type place struct {
		p     int
		group domain.Group
		infos *redis.XInfoConsumersCmd
	}
	pipe := s.rdb.Pipeline()
	var places []place
	for p := range s.partitions {
		for _, g := range layout.Groups {
			if stream, _ := s.keys.StreamOf(p, g); group == "" || g == group {
				places = append(places, place{p, g, pipe.XInfoConsumers(ctx, stream, string(g))})
			}
		}
	}
	_, _ = pipe.Exec(ctx) // its error is that of a command
	known := false
	var has []place
	for _, at := range places {
		consumers, err := at.infos.Result()
		if err != nil && !access.NoGroup(err) {
			return nil, fmt.Errorf("looking what %s has: %w", consumer, access.Classify(err))
		}
		if i := slices.IndexFunc(consumers, func(c redis.XInfoConsumer) bool { return c.Name == consumer }); i >= 0 {
			known = true
			if consumers[i].Pending > 0 {
				has = append(has, at)
			}
		}
	}
	if !known {
		return nil, access.NotFound("worker", consumer)
	}
	claimed := []Claimed{}
	for _, at := range has {
		c, err := s.claim(ctx, at.p, at.group, consumer, cause)
		if c.Entries > 0 || c.Before > 0 {
			claimed = append(claimed, c)
		}
		if err != nil {
			return claimed, err
		}
	}
	return claimed, nil
}

func (s *Store) claim(ctx context.Context, p int, group domain.Group, consumer string, cause domain.Cause) (Claimed, error) {
	done := Claimed{Partition: p, Group: group}
	quoted := make([]any, 0, 2)
	for _, text := range []string{cause.Reason, cause.By} {
		said, err := json.Marshal(text)
		if err != nil {
			return done, fmt.Errorf("noting why: %w", err)
		}
		quoted = append(quoted, string(said))
	}
	stream, _ := s.keys.StreamOf(p, group)
	id := uuid.NewString() // of this group alone: each has a note of its own
	for after := "-"; after != ""; {
		args := append([]any{string(group), consumer, after, id}, quoted...)
		reply, err := s.run(ctx, scriptClaim, []string{stream, s.keys.Consumers(p), s.keys.Claims(p)}, args...).Result()
		if err != nil {
			return done, fmt.Errorf("script claim: %w", access.ClassifyChange(err))
		}
		values, ok := reply.([]any)
		if !ok { // 'alive'
			return done, domain.WithCode(domain.ClassReject, domain.CodeConflict,
				fmt.Errorf("worker %s is alive in group %s of partition %d: stop it, and it hands back what it has by itself", consumer, group, p))
		}
		if len(values) != 3 {
			return done, errors.New("script claim: a reply of an unknown form")
		}
		done.Entries += layout.AsInt(values[0])
		done.Before += layout.AsInt(values[1])
		after = layout.AsString(values[2])
	}
	return done, nil
}
