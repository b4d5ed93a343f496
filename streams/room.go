package streams

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
)

const (
	// roomEvery is how old a look at what waits may be before another one is made: what may be published
	// in that time may be too much.
	roomEvery = 50 * time.Millisecond
	// boundEvery is how old the setting may be.
	boundEvery = time.Second
	// roomTimeout bounds a look that nobody waits for.
	roomTimeout = 2 * time.Second
)

// room is what a publisher knows of how many more requests may wait (Namespace.MaxWaiting). It is looked at beside
// publishing, not before, unless it was never looked at, or there was none when it was: nobody is refused by a look that is old.
// What cannot be looked at bounds nobody.
type room struct {
	mu      sync.Mutex
	bound   int64 // requests of a partition; 0: any number
	read    time.Time
	in      []partitionRoom // by partition; another one when the bound changes
	looking bool            // beside publishing
	looks   sync.WaitGroup  // under way beside publishing
	denied  bool            // that it may not be looked at has been said
}

type partitionRoom struct {
	left int64
	seen time.Time // zero: never
	// taken is for how many requests, ever; sent is how many of those have been.
	taken, sent int64
}

func (r *room) restart(ns Namespace) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bound, r.read, r.in = ns.MaxWaiting, time.Now(), make([]partitionRoom, ns.Partitions)
}

// admit says for which requests there is no room, and takes it for the others: refused is nil if there is for all, taken if
// there is no bound.
func (c *Checkout) admit(ctx context.Context, batch []domain.Request) (taken []partitionRoom, refused []error) {
	s, r := c.store, &c.store.room
	r.mu.Lock()
	if now := time.Now(); now.Sub(r.read) >= boundEvery {
		r.read = now
		r.looks.Go(func() { s.readBound(context.WithoutCancel(ctx)) })
	}
	bound, in := r.bound, r.in
	if bound == 0 {
		r.mu.Unlock()
		return nil, nil
	}
	first := s.stale(in, batch, func(p *partitionRoom) bool { return p.left <= 0 })
	r.mu.Unlock()
	if len(first) > 0 {
		s.lookForRoom(ctx, first, in, bound)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range batch {
		p := s.Partition(batch[i].EventID)
		if in[p].left > 0 || in[p].seen.IsZero() { // never looked at, also now: the caller has given up, and publishes nothing
			in[p].left--
			in[p].taken++
			continue
		}
		if refused == nil {
			refused = make([]error, len(batch))
		}
		refused[i] = domain.WithCode(domain.ClassRetry, domain.CodeBusy,
			fmt.Errorf("publishing: partition %d is busy: as many requests wait as may (%d); come back later", p, bound))
	}
	if beside := s.stale(in, batch, func(*partitionRoom) bool { return true }); len(beside) > 0 && !r.looking {
		r.looking = true
		r.looks.Go(func() {
			looking, enough := context.WithTimeout(context.WithoutCancel(ctx), roomTimeout)
			defer enough()
			s.lookForRoom(looking, beside, in, bound)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.looking = false
		})
	}
	return in, refused
}

// sent notes that requests which took room have been sent, or could not be.
func (c *Checkout) sent(batch []domain.Request, taken []partitionRoom) {
	if taken == nil {
		return
	}
	c.store.room.mu.Lock()
	defer c.store.room.mu.Unlock()
	for i := range batch {
		taken[c.store.Partition(batch[i].EventID)].sent++
	}
}

// stale are the partitions of a batch that were never looked at, or not lately, if that matters.
func (s *Store) stale(in []partitionRoom, batch []domain.Request, matters func(*partitionRoom) bool) (partitions []int) {
	now := time.Now()
	for i := range batch {
		p := s.Partition(batch[i].EventID)
		if of := &in[p]; (of.seen.IsZero() || now.Sub(of.seen) >= roomEvery && matters(of)) && !slices.Contains(partitions, p) {
			partitions = append(partitions, p)
		}
	}
	return partitions
}

// readBound reads the setting again. Where that is not possible, it is what it was.
func (s *Store) readBound(ctx context.Context) {
	ctx, enough := context.WithTimeout(ctx, roomTimeout)
	defer enough()
	ns, found, err := s.readNamespace(ctx)
	if err != nil || !found {
		s.log.Debug("not known how many requests may wait", zap.Error(err))
		return
	}
	r := &s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bound != ns.MaxWaiting {
		r.bound, r.in = ns.MaxWaiting, make([]partitionRoom, len(r.in))
	}
}

// lookForRoom sees how many more requests may wait in partitions.
func (s *Store) lookForRoom(ctx context.Context, partitions []int, in []partitionRoom, bound int64) {
	r := &s.room
	r.mu.Lock()
	sent := make([]int64, len(partitions))
	for i, p := range partitions {
		sent[i] = in[p].sent
	}
	r.mu.Unlock()

	pipe := s.rdb.Pipeline()
	groups, lengths := make([]*redis.XInfoGroupsCmd, len(partitions)), make([]*redis.IntCmd, len(partitions))
	for i, p := range partitions {
		groups[i], lengths[i] = pipe.XInfoGroups(ctx, s.keys.Requests(p)), pipe.XLen(ctx, s.keys.Requests(p))
	}
	_, err := pipe.Exec(ctx) // or it is that of a command
	if err != nil && ctx.Err() != nil {
		return // nobody waited for the answer: that says nothing of Redis, and bounds the others as before
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	for i, p := range partitions {
		left := int64(math.MaxInt64)
		if n, err := waiting(groups[i], lengths[i]); err == nil {
			// What was not sent when this look began may be in n, or not: if it is, that is seen the next time.
			left = bound - n - (in[p].taken - sent[i])
		} else if redis.IsPermissionError(err) && !r.denied {
			r.denied = true
			s.log.Warn("not permitted to see how many requests wait: publishing without a bound", zap.Error(err))
		}
		in[p].left, in[p].seen = left, time.Now()
	}
}

// waiting is how many requests of a partition nobody was given yet, or are in hand. The lag of a group is not known after some
// deletions, and too high for ever on a server that was a replica. So it is never more than the stream is long,
// which workers trim every second.
func waiting(groups *redis.XInfoGroupsCmd, length *redis.IntCmd) (int64, error) {
	infos, err := groups.Result()
	if err != nil && strings.Contains(err.Error(), "no such key") {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := length.Result()
	i := slices.IndexFunc(infos, func(g redis.XInfoGroup) bool { return g.Name == string(domain.GroupWorkers) })
	switch {
	case i < 0 || infos[i].Lag < 0: // nobody knows what was handled
		return n, err
	case err != nil: // of a user from before this was asked
		return infos[i].Lag + infos[i].Pending, nil //nolint:nilerr // the group's own figure will do
	}
	return min(n, infos[i].Lag+infos[i].Pending), nil
}
