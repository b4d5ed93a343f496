package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// strangerIdle is after how long a consumer that never said it was alive counts as gone.
const strangerIdle = 10 * time.Minute

// Trim implements domain.Ledger. The log is another matter: TrimLog.
//
// The script is for streams that have something: most of the time there is nothing.
func (l *Ledger) Trim(ctx context.Context, p int) (dropped int64, left bool, err error) {
	length, err := l.store.rdb.XLen(ctx, l.store.keys.Requests(p)).Result()
	if err != nil {
		return 0, false, fmt.Errorf("looking for requests to trim: %w", access.Classify(err))
	}
	if length == 0 {
		return 0, false, nil
	}
	reply, err := l.store.run(ctx, scriptTrim, []string{l.store.keys.Requests(p), l.store.keys.Pace(p)}, string(domain.GroupWorkers)).Int64Slice()
	if err == nil && len(reply) != 2 {
		err = errors.New("a reply of an unknown form")
	}
	if err != nil {
		return 0, false, fmt.Errorf("script trim: %w", access.Classify(err))
	}
	return reply[0], reply[1] > 0, nil
}

// TakeTurn implements domain.Ledger. Whoever sets the key has the turn until it
// is gone; it is not extended, so a crash costs one turn, and two workers at one
// job do no harm.
func (l *Ledger) TakeTurn(ctx context.Context, p int, job, who string, every time.Duration) (bool, error) {
	err := l.store.rdb.SetArgs(ctx, l.store.keys.Turn(p, job), who, redis.SetArgs{Mode: "NX", TTL: every}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if outOfMemory(err) {
		// No room for the key, and the jobs are what makes room: better done twice than not at all.
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("taking the turn to %s: %w", job, access.Classify(err))
	}
	return true, nil
}

// ForgetConsumers implements domain.Ledger.
func (l *Ledger) ForgetConsumers(ctx context.Context, p int) ([]string, error) {
	now, err := l.store.rdb.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	aliveUntil, err := l.store.Inside().AliveUntil(ctx, p)
	if err != nil {
		return nil, err
	}
	var forgotten []string
	for _, group := range layout.Groups {
		stream, _ := l.store.keys.StreamOf(p, group)
		consumers, err := l.store.rdb.XInfoConsumers(ctx, stream, string(group)).Result()
		if err != nil {
			return forgotten, fmt.Errorf("listing consumers of %s: %w", stream, access.Classify(err))
		}
		gone := make([]string, 0, len(consumers))
		for _, c := range consumers {
			until, known := aliveUntil[string(group)+"/"+c.Name]
			delete(aliveUntil, string(group)+"/"+c.Name)
			if c.Pending == 0 && (known && until < now.UnixMilli() || !known && c.Idle > strangerIdle) {
				gone = append(gone, c.Name)
			}
		}
		// Those that are not in the group: they died after they had said that they were there, before they read.
		for name, until := range aliveUntil {
			if of, consumer, _ := strings.Cut(name, "/"); of == string(group) && until < now.UnixMilli() {
				gone = append(gone, consumer)
			}
		}
		for _, name := range gone {
			// The script looks again: it may have come back since.
			left, err := l.store.leave(ctx, p, group, name, false)
			if err != nil {
				return forgotten, err
			}
			if left {
				forgotten = append(forgotten, name)
			}
		}
	}
	return forgotten, nil
}

// leave reports whether the consumer is gone from the group.
func (s *Store) leave(ctx context.Context, p int, group domain.Group, consumer string, self bool) (bool, error) {
	asks := "0"
	if self {
		asks = "1"
	}
	stream, _ := s.keys.StreamOf(p, group)
	gone, err := s.run(ctx, scriptLeave, []string{stream, s.keys.Consumers(p)}, string(group), consumer, asks).Int()
	if err != nil {
		return false, fmt.Errorf("script leave: %w", access.Classify(err))
	}
	return gone == 1, nil
}

// UntilForgettable implements domain.Ledger. While nothing of the kind was rejected, it is one plain command.
func (l *Ledger) UntilForgettable(ctx context.Context, p int, age time.Duration) (wait time.Duration, any bool, err error) {
	first, err := l.store.rdb.ZRangeWithScores(ctx, l.store.keys.Unknown(p), 0, 0).Result()
	if err != nil {
		return 0, false, fmt.Errorf("looking for rejections for unknown events: %w", access.Classify(err))
	}
	if len(first) == 0 {
		return 0, false, nil
	}
	now, err := l.store.Now(ctx)
	if err != nil {
		return 0, false, err
	}
	return max(time.UnixMilli(int64(first[0].Score)).Add(age).Sub(now), 0), true, nil
}

// Forget implements domain.Ledger. What is to be forgotten is on a list, in the members of which are the
// orders of one log entry each, whose id is their version.
func (l *Ledger) Forget(ctx context.Context, p int, age time.Duration, most int) (forgotten int, more bool, err error) {
	now, err := l.store.Now(ctx)
	if err != nil {
		return 0, false, err
	}
	until := strconv.FormatInt(now.Add(-age).UnixMilli(), 10)
	members, err := l.store.rdb.ZRangeByScore(ctx, l.store.keys.Unknown(p), &redis.ZRangeBy{Min: "-inf", Max: until, Count: int64(most)}).Result()
	if err != nil {
		return 0, false, fmt.Errorf("looking for rejections for unknown events: %w", access.Classify(err))
	}
	forgotten, err = l.forgetEntries(ctx, p, members)
	return forgotten, len(members) == most, err
}

// forgetEntries forgets what is said in members of the list, if it is still so.
func (l *Ledger) forgetEntries(ctx context.Context, p int, members []string) (forgotten int, err error) {
	for len(members) > 0 {
		keys := []string{l.store.keys.Log(p), l.store.keys.Events(p), l.store.keys.Unknown(p)}
		numbers := make(map[layout.OrderHash]int)
		var orders []any
		taken := 0
		for ; taken < len(members) && len(orders) < 4*(access.MaxBatch-wire.MaxFacts); taken++ {
			version, names, _ := strings.Cut(members[taken], " ")
			for name := range strings.FieldsSeq(names) {
				ref, ok := domain.ParseOrderRef(name)
				if !ok {
					l.store.log.Error("passing over a rejected order that has no name", zap.String("key", l.store.keys.Unknown(p)), zap.String("member", members[taken]))
					continue
				}
				hash := l.store.keys.SharedHash(ref.EventID)
				if numbers[hash] == 0 {
					keys = append(keys, l.store.keys.Orders(p, hash))
					numbers[hash] = len(numbers) + 1
				}
				orders = append(orders, name, version, numbers[hash], ref.EventID)
			}
		}
		args := append(appendStrings([]any{l.branch(p), taken}, members[:taken]), orders...)
		n, err := l.store.run(ctx, scriptForget, keys, args...).Int()
		if err != nil {
			return forgotten, fmt.Errorf("script forget: %w", access.Classify(err))
		}
		if n < 0 {
			return forgotten, fmt.Errorf("script forget: %w", l.store.branchReplaced(p, l.branch(p)))
		}
		forgotten += n
		members = members[taken:]
	}
	return forgotten, nil
}
