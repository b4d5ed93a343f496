package inspect

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// Status is how a namespace and its Redis are, all that Redis and the workers tell.
type Status struct {
	AtMillis int64 // on Redis's clock
	Groups   []GroupStatus
	Upkeep   []UpkeepStatus // by partition
	Refusals []Refusal
	Replaced *Replaced // nil: not that anybody has to see to it
	Troubles []Trouble
	Paused   Paused
	Audited  []Audited // none: nobody has audited yet, or the verdict may not be read
	Webhooks []WebhookStatus
	Unseen   []error // what may not be looked at: permissions are missing, of class ClassFatal
}

// UpkeepStatus is what maintenance, and people, have before them in one partition.
type UpkeepStatus struct {
	Partition           int
	OverdueHolds        int64 // holds that should have been ended
	OldestOverdueMillis int64 // since the oldest of them should have been
	DeadLetters         int64
	Maintained          bool // a worker did something of it within the last moments
}

// Look says how Status looks.
type Look struct {
	Entries int  // at most how many of each group's pending entries
	Probe   bool // whether writes are refused, by a write that changes nothing
}

// Status looks at everything.
func (in *Inspector) Status(ctx context.Context, how Look) (Status, error) {
	var s Status
	now, err := in.ns.Client.Time(ctx).Result()
	if err != nil {
		return s, fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	s.AtMillis = now.UnixMilli()
	if s.Groups, err = in.Pending(ctx, how.Entries); err != nil {
		return s, err
	}
	if s.Upkeep, err = in.upkeep(ctx, s.AtMillis); err != nil {
		return s, err
	}
	for _, g := range s.Groups {
		if g.Unreadable {
			s.Unseen = append(s.Unseen, domain.WithCode(domain.ClassFatal, domain.CodeDenied, fmt.Errorf("since when entries wait for %s: the %s may not be read", g.Group, g.Stream)))
			break
		}
	}
	if slices.ContainsFunc(s.Groups, func(g GroupStatus) bool { return g.OwedUnreadable }) {
		s.Unseen = append(s.Unseen, domain.WithCode(domain.ClassFatal, domain.CodeDenied, fmt.Errorf("what waits of %s by itself: the list of what is owed may not be read", domain.GroupSettlement)))
	}
	for _, look := range []func() (err error){
		func() (err error) { s.Refusals, err = in.Refusals(ctx, how.Probe); return err },
		func() (err error) { s.Replaced, err = in.Replaced(ctx); return err },
		func() (err error) { s.Paused, err = in.Paused(ctx); return err },
		func() (err error) { s.Audited, err = in.Audited(ctx); return err },
		func() (err error) { s.Webhooks, err = in.Webhooks(ctx, s.AtMillis); return err },
		func() (err error) { s.Troubles, err = in.Troubles(ctx, s.AtMillis); return err },
	} {
		if err := look(); domain.ClassOf(err) == domain.ClassFatal && err != nil {
			s.Unseen = append(s.Unseen, err)
		} else if err != nil {
			return s, err
		}
	}
	return s, in.lookForMaintenance(ctx, &s)
}

func (in *Inspector) upkeep(ctx context.Context, nowMillis int64) ([]UpkeepStatus, error) {
	pipe := in.ns.Client.Pipeline()
	all := make([]UpkeepStatus, in.ns.Keys.Partitions())
	overdue, letters := make([]*redis.IntCmd, len(all)), make([]*redis.IntCmd, len(all))
	oldest := make([]*redis.ZSliceCmd, len(all))
	for p := range all {
		holds := in.ns.Keys.Holds(p)
		overdue[p] = pipe.ZCount(ctx, holds, "-inf", strconv.FormatInt(nowMillis, 10))
		oldest[p] = pipe.ZRangeWithScores(ctx, holds, 0, 0)
		letters[p] = pipe.XLen(ctx, in.ns.Keys.Dead(p))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("looking at holds and dead letters: %w", access.Classify(err))
	}
	for p := range all {
		all[p] = UpkeepStatus{Partition: p, OverdueHolds: overdue[p].Val(), DeadLetters: letters[p].Val()}
		if first := oldest[p].Val(); len(first) == 1 {
			all[p].OldestOverdueMillis = max(0, nowMillis-int64(first[0].Score))
		}
	}
	return all, nil
}

const (
	// Whoever does maintenance has the turn of one of its jobs most of the time: that of trimming
	// for 1.8 s, and again after 0.7 s at most. So a partition that nobody is seen at is looked
	// at again for longer than that before it counts as left alone.
	maintenanceLooks = 8
	maintenanceEvery = 150 * time.Millisecond
)

// lookForMaintenance sees whether somebody does maintenance in each partition. Where no
// worker lives at all, or none can take a turn, there is nothing to wait for.
func (in *Inspector) lookForMaintenance(ctx context.Context, s *Status) error {
	looks := maintenanceLooks
	if len(s.Refusals) > 0 || !slices.ContainsFunc(s.Groups, func(g GroupStatus) bool { return g.Alive() > 0 }) {
		looks = 1
	}
	for look := range looks {
		if look > 0 {
			select {
			case <-time.After(maintenanceEvery):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		pipe := in.ns.Client.Pipeline()
		turns := make(map[int]*redis.IntCmd)
		for p, u := range s.Upkeep {
			if !u.Maintained {
				turns[p] = pipe.Exists(ctx, in.ns.Keys.Turn(p, domain.JobExpire), in.ns.Keys.Turn(p, domain.JobTrim), in.ns.Keys.Turn(p, domain.JobForget))
			}
		}
		if len(turns) == 0 {
			break
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("looking for maintenance: %w", access.Classify(err))
		}
		for p, turn := range turns {
			s.Upkeep[p].Maintained = turn.Val() > 0
		}
	}
	return nil
}
