package inspect

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// tailPage is how many log entries of a partition are read at a time: what is more is passed over, and told.
const tailPage = 1000

// Tail follows the log from where it ends when it is made. It is not safe for concurrent use.
type Tail struct {
	in   *Inspector
	last []string // by partition: the entry up to which was read; empty: not known yet
}

// Tail begins to follow the log.
func (in *Inspector) Tail() *Tail {
	return &Tail{in: in, last: make([]string, in.ns.Keys.Partitions())}
}

// Next returns the facts since the last call, by partition, and whether there were more than were read: those are passed over. The first call
// returns none. Of an entry that cannot be read nothing is told.
func (t *Tail) Next(ctx context.Context) (facts []domain.Fact, passedOver bool, err error) {
	pipe := t.in.ns.Client.Pipeline()
	pages := make([]*redis.Cmd, len(t.last))
	for p, last := range t.last {
		if last == "" {
			pages[p] = pipe.Do(ctx, "XREVRANGE", t.in.ns.Keys.Log(p), "+", "-", "COUNT", 1)
		} else {
			pages[p] = pipe.Do(ctx, "XRANGE", t.in.ns.Keys.Log(p), "("+last, "+", "COUNT", tailPage)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, false, fmt.Errorf("reading the log: %w", access.Classify(err))
	}
	for p, page := range pages {
		entries, first := layout.DecodeEntries(page.Val()), t.last[p] == ""
		if first {
			t.last[p] = "0-0"
		}
		for _, e := range entries {
			t.last[p] = e.ID
			if first {
				continue
			}
			if said, err := wire.ParseFacts(e.ID, e.Fields); err == nil {
				facts = append(facts, said...)
			}
		}
		if !first && len(entries) == tailPage {
			t.last[p], passedOver = "", true
		}
	}
	return facts, passedOver, nil
}
