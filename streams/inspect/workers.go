package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Worker is one that is there, or was and left something.
type Worker struct {
	Name string `json:"worker"`
	domain.WorkerSign
	SinceMillis int64 `json:"since"`   // when it started; 0: it does not say, because it is of an older program, or may not
	SeenMillis  int64 `json:"seen"`    // when it said so last
	Alive       bool  `json:"alive"`   // it gave a sign of life within its own reclaim time, in one of its groups at least
	InHand      int64 `json:"in_hand"` // entries, by Redis

	groups bool // it is known in one
	lives  bool // in one
}

// signLasts is how long a worker that is in no group counts as alive after its last sign, of which it gives one every 10 s.
const signLasts = 30_000

// Workers are all that say they are there, and all that groups know, by their names.
func (in *Inspector) Workers(ctx context.Context) ([]Worker, error) {
	pipe := in.ns.Client.Pipeline()
	clock := pipe.Time(ctx)
	signs := pipe.HGetAll(ctx, in.ns.Keys.Workers())
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("looking who works: %w", access.Classify(err))
	}
	now := clock.Val().UnixMilli()
	all := make(map[string]*Worker)
	of := func(name string) *Worker {
		if all[name] == nil {
			all[name] = &Worker{Name: name, WorkerSign: domain.WorkerSign{Roles: []string{}}}
		}
		return all[name]
	}
	for name, said := range signs.Val() {
		w := Worker{}
		if json.Unmarshal([]byte(said), &w) != nil {
			continue // of another version
		}
		if w.Name = name; w.Roles == nil {
			w.Roles = []string{}
		}
		all[name] = &w
	}
	for first := 0; first < in.ns.Keys.Partitions(); first += partitionsAtOnce {
		if err := in.workersOf(ctx, first, min(first+partitionsAtOnce, in.ns.Keys.Partitions()), now, of); err != nil {
			return nil, err
		}
	}
	workers := []Worker{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		w := all[name]
		w.Alive = w.lives || !w.groups && now-w.SeenMillis < signLasts
		workers = append(workers, *w)
	}
	return workers, nil
}

// workersOf adds what the groups of some partitions know.
func (in *Inspector) workersOf(ctx context.Context, first, end int, now int64, of func(name string) *Worker) error {
	type look struct {
		group     domain.Group
		consumers *redis.XInfoConsumersCmd
	}
	pipe := in.ns.Client.Pipeline()
	var lives []*redis.ZSliceCmd
	var looks []look
	for p := first; p < end; p++ {
		lives = append(lives, pipe.ZRangeWithScores(ctx, in.ns.Keys.Consumers(p), 0, -1))
		for _, group := range layout.Groups {
			stream, _ := in.ns.Keys.StreamOf(p, group)
			looks = append(looks, look{group, pipe.XInfoConsumers(ctx, stream, string(group))})
		}
	}
	_, _ = pipe.Exec(ctx) // its error is that of a command
	known := func(w *Worker, group domain.Group) {
		w.groups = true
		if w.SinceMillis == 0 && !slices.Contains(w.Roles, string(group)) {
			w.Roles = append(w.Roles, string(group))
		}
	}
	for _, l := range looks {
		consumers, err := l.consumers.Result()
		if err != nil && !access.NoGroup(err) {
			return fmt.Errorf("looking who is in group %s: %w", l.group, access.Classify(err))
		}
		for _, c := range consumers {
			w := of(c.Name)
			known(w, l.group)
			w.InHand += c.Pending
		}
	}
	for _, alive := range lives {
		aliveUntil, err := access.ScoresByName(alive)
		if err != nil {
			return err
		}
		for name, until := range aliveUntil {
			group, worker, _ := strings.Cut(name, "/")
			w := of(worker)
			known(w, domain.Group(group))
			w.lives = w.lives || until > now
		}
	}
	return nil
}
