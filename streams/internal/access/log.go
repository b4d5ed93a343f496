package access

import (
	"context"
	"fmt"
	"time"

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

// Trimmed is the trim mark of a partition's log: older entries than this one were trimmed. The zero LogID: none was.
func (n Namespace) Trimmed(ctx context.Context, p int) (layout.LogID, error) {
	mark, err := n.Client.HGet(ctx, n.Keys.Events(p), layout.TrimmedField).Result()
	if err != nil && !IsNil(err) {
		return layout.LogID{}, fmt.Errorf("looking where the log of partition %d begins: %w", p, Classify(err))
	}
	return layout.ParseLogID(mark), nil
}

// SinceBegin is an error of domain.CodeLogTrimmed if what happened in a partition since a time is not all in its log. It is asked after the log was
// read: that may be trimmed meanwhile.
func (n Namespace) SinceBegin(ctx context.Context, p int, sinceMillis int64) error {
	mark, err := n.Trimmed(ctx, p)
	if err != nil || mark == (layout.LogID{}) || sinceMillis > int64(mark.Millis) { //nolint:gosec // a time in milliseconds
		return err
	}
	return domain.WithCode(domain.ClassReject, domain.CodeLogTrimmed, fmt.Errorf("the log of partition %d was trimmed: facts from before %s are in the archive alone",
		p, time.UnixMilli(int64(mark.Millis)).UTC().Format("2006-01-02T15:04:05.000Z07:00"))) //nolint:gosec // likewise
}
