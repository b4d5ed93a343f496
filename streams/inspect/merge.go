package inspect

import (
	"container/heap"
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// span is a part of a partition's stream, its ends as XRANGE takes them.
type span struct {
	p        int
	key      string
	from, to string
}

// fixEnds makes the newest entries that are there now the ends of spans.
func (in *Inspector) fixEnds(ctx context.Context, spans []span) error {
	pipe := in.ns.Client.Pipeline()
	newest := make([]*redis.XMessageSliceCmd, len(spans))
	for i, s := range spans {
		newest[i] = pipe.XRevRangeN(ctx, s.key, "+", "-", 1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for i, cmd := range newest {
		spans[i].to = "0-0" // which no entry has
		if found := cmd.Val(); len(found) == 1 {
			spans[i].to = found[0].ID
		}
	}
	return nil
}

const (
	// mergeEntries bounds the entries that merge has in memory: of each stream at least
	// leastPage all the same.
	mergeEntries = 2048
	leastPage    = 4
	firstPage    = 64 // pages grow: whoever wants the first hundred orders does not read thousands
)

// merge calls each for the entries of several streams by their ids, so by time, whichever
// stream they are in: the oldest first, or the newest first. It reads ahead a bounded number.
func (in *Inspector) merge(ctx context.Context, spans []span, newestFirst bool, each func(p int, e domain.Entry) error) error {
	m := merging{newestFirst: newestFirst}
	all := make([]*reader, len(spans))
	most := min(max(mergeEntries/max(len(spans), 1), leastPage), access.ReadPage)
	for i, s := range spans {
		all[i] = &reader{span: s, page: min(firstPage, most), most: most}
	}
	if err := in.fill(ctx, newestFirst, all...); err != nil {
		return err
	}
	for _, r := range all {
		if len(r.entries) > 0 {
			m.readers = append(m.readers, r)
		}
	}
	heap.Init(&m)
	for len(m.readers) > 0 {
		r := m.readers[0]
		if err := each(r.p, r.entries[0]); err != nil {
			return err
		}
		if r.entries = r.entries[1:]; len(r.entries) == 0 && !r.ended {
			if err := in.fill(ctx, newestFirst, r); err != nil {
				return err
			}
		}
		if len(r.entries) == 0 {
			heap.Pop(&m)
			continue
		}
		r.note()
		heap.Fix(&m, 0)
	}
	return nil
}

// fill reads the next page of each.
func (in *Inspector) fill(ctx context.Context, newestFirst bool, readers ...*reader) error {
	pipe := in.ns.Client.Pipeline()
	pages := make([]*redis.Cmd, len(readers))
	for i, r := range readers {
		if newestFirst {
			pages[i] = pipe.Do(ctx, "XREVRANGE", r.key, r.to, r.from, "COUNT", r.page)
		} else {
			pages[i] = pipe.Do(ctx, "XRANGE", r.key, r.from, r.to, "COUNT", r.page)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("reading streams: %w", access.Classify(err))
	}
	for i, r := range readers {
		r.entries = layout.DecodeEntries(pages[i].Val())
		r.ended = len(r.entries) < r.page
		r.page = min(2*r.page, r.most)
		if len(r.entries) == 0 {
			continue
		}
		if last := "(" + r.entries[len(r.entries)-1].ID; newestFirst {
			r.to = last
		} else {
			r.from = last
		}
		r.note()
	}
	return nil
}

// reader is a span of which a page is here.
type reader struct {
	span
	entries    []domain.Entry
	first      layout.LogID // of entries
	page, most int          // how many to read next, and at most
	ended      bool
}

func (r *reader) note() { r.first = layout.ParseLogID(r.entries[0].ID) }

// merging is a heap: at its top the reader whose entry is next.
type merging struct {
	readers     []*reader
	newestFirst bool
}

func (m *merging) Len() int      { return len(m.readers) }
func (m *merging) Swap(i, j int) { m.readers[i], m.readers[j] = m.readers[j], m.readers[i] }
func (m *merging) Push(any)      {} // none comes in later

func (m *merging) Less(i, j int) bool {
	a, b := m.readers[i], m.readers[j]
	if a.first == b.first {
		return a.p < b.p
	}
	return b.first.After(a.first) != m.newestFirst
}

func (m *merging) Pop() any {
	last := m.readers[len(m.readers)-1]
	m.readers = m.readers[:len(m.readers)-1]
	return last
}
