package inspect

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Figures are what is measured of a namespace, again and again.
type Figures struct {
	Groups   []GroupStatus  // without consumers' entries
	Upkeep   []UpkeepStatus // by partition; nobody has looked whether they are maintained
	Archived []ArchiveLag   // of partitions of which something is archived
	Replaced bool           // the data was, and nobody has seen to it
	Refusals []Refusal      // servers that take no writes; none, where this user may not find out
	// DeadLetters are by what they are about: requests, log, owed, or "other" where they do not say. In a partition
	// with more than a thousand, the others are taken to be as the oldest thousand.
	DeadLetters map[string]int64
	Paused      Paused          // nothing, where that may not be read
	Awaited     Awaited         // likewise
	AtMillis    int64           // of the look, on Redis's clock
	Webhooks    []WebhookStatus // none, where they may not be read
	Audited     []Audited       // none: nobody has audited yet, or the verdict may not be read
}

// otherStream is of dead letters that are damaged.
const otherStream = "other"

// Watch looks at figures again and again. It is not safe for concurrent use.
type Watch struct {
	in   *Inspector
	dead []lettersSeen // by partition
}

// lettersSeen are the dead letters of a partition at the last look. As long as no more were added, and as many are there,
// they are the same.
type lettersSeen struct {
	added, length int64
	newest        string
	byStream      map[string]int64 // of those that were read
	read          int64
}

// Watch begins to look.
func (in *Inspector) Watch() *Watch {
	return &Watch{in: in, dead: make([]lettersSeen, in.ns.Keys.Partitions())}
}

// Look looks once. It costs about as much as Pending, however much waits.
func (w *Watch) Look(ctx context.Context) (Figures, error) {
	f := Figures{DeadLetters: map[string]int64{layout.StreamRequests: 0, layout.StreamLog: 0, layout.StreamOwed: 0}}
	now, err := w.in.ns.Client.Time(ctx).Result()
	if err != nil {
		return f, fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	if f.Groups, err = w.in.Pending(ctx, 0); err != nil {
		return f, err
	}
	if f.Upkeep, err = w.in.upkeep(ctx, now.UnixMilli()); err != nil {
		return f, err
	}
	replaced, err := w.in.Replaced(ctx)
	if err != nil {
		return f, err
	}
	f.Replaced = replaced != nil
	if f.Archived, err = w.in.Archived(ctx, now.UnixMilli()); err != nil {
		return f, err
	}
	if f.Audited, err = w.in.Audited(ctx); err != nil && domain.CodeOf(err) != domain.CodeDenied {
		return f, err
	}
	if f.Paused, err = w.in.Paused(ctx); err != nil && domain.CodeOf(err) != domain.CodeDenied {
		return f, err
	}
	if f.Awaited, err = w.in.Awaited(ctx, now.UnixMilli()); err != nil && domain.CodeOf(err) != domain.CodeDenied {
		return f, err
	}
	if f.Refusals, err = w.in.Refusals(ctx, true); err != nil && domain.CodeOf(err) != domain.CodeDenied {
		return f, err
	}
	if f.Webhooks, err = w.in.Webhooks(ctx, now.UnixMilli()); err != nil && domain.CodeOf(err) != domain.CodeDenied {
		return f, err
	}
	f.AtMillis = now.UnixMilli()
	if err := w.readLetters(ctx, f.Upkeep); err != nil {
		return f, fmt.Errorf("looking at dead letters: %w", access.Classify(err))
	}
	for p, u := range f.Upkeep {
		if u.DeadLetters > 0 && w.dead[p].read > 0 {
			w.dead[p].addTo(f.DeadLetters, u.DeadLetters)
		}
	}
	return f, nil
}

// readLetters reads the dead letters of partitions where they are others than before.
func (w *Watch) readLetters(ctx context.Context, upkeep []UpkeepStatus) error {
	pipe := w.in.ns.Client.Pipeline()
	infos := make(map[int]*redis.XInfoStreamCmd)
	for p, u := range upkeep {
		if u.DeadLetters > 0 {
			infos[p] = pipe.XInfoStream(ctx, w.in.ns.Keys.Dead(p))
		}
	}
	if len(infos) == 0 {
		return nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for p, info := range infos {
		stream, seen := info.Val(), &w.dead[p]
		if stream.EntriesAdded == seen.added && stream.Length == seen.length && stream.LastGeneratedID == seen.newest {
			continue
		}
		page, err := w.in.ns.Client.XRangeN(ctx, w.in.ns.Keys.Dead(p), "-", "+", access.ReadPage).Result()
		if err != nil {
			return err
		}
		*seen = lettersSeen{stream.EntriesAdded, stream.Length, stream.LastGeneratedID, make(map[string]int64), int64(len(page))}
		for _, letter := range page {
			of := layout.AsString(letter.Values["stream"])
			if !slices.Contains([]string{layout.StreamRequests, layout.StreamLog, layout.StreamOwed}, of) {
				of = otherStream
			}
			seen.byStream[of]++
		}
	}
	return nil
}

// addTo adds so many letters, which are taken to be as those that were read.
func (s *lettersSeen) addTo(sums map[string]int64, letters int64) {
	left := letters
	streams := make([]string, 0, len(s.byStream))
	for stream := range s.byStream {
		streams = append(streams, stream)
	}
	slices.Sort(streams)
	for i, stream := range streams {
		n := letters * s.byStream[stream] / s.read
		if i == len(streams)-1 {
			n = left
		}
		sums[stream] += n
		left -= n
	}
}
