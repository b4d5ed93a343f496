package access

import (
	"context"
	"fmt"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/layout"
)

// EachEntry calls each for the entries of a partition's log after an id ("0-0": from
// the start) and up to one ("+": to the end), in order, and returns the id of the
// last one that each took, after if there was none.
func (n Namespace) EachEntry(ctx context.Context, p int, after, upTo string, each func(domain.Entry) error) (last string, err error) {
	last = after
	for {
		reply, err := n.Client.Do(ctx, "XRANGE", n.Keys.Log(p), "("+last, upTo, "COUNT", ReadPage).Result()
		if err != nil {
			return last, fmt.Errorf("reading the log: %w", Classify(err))
		}
		entries := layout.DecodeEntries(reply)
		for _, e := range entries {
			if err := each(e); err != nil {
				return last, err
			}
			last = e.ID
		}
		if len(entries) < ReadPage {
			return last, nil
		}
	}
}

// ReadLog is EachEntry by facts: of an entry that cannot be read it returns the error.
func (n Namespace) ReadLog(ctx context.Context, p int, after, upTo string, each func(domain.Fact) error) (last string, err error) {
	return n.EachEntry(ctx, p, after, upTo, func(e domain.Entry) error {
		facts, err := wire.ParseFacts(e.ID, e.Fields)
		if err != nil {
			return err
		}
		for _, fact := range facts {
			if err := each(fact); err != nil {
				return err
			}
		}
		return nil
	})
}
