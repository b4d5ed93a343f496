package access

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/layout"
)

// EachEntry calls each for the entries of a partition's log after an id ("0-0": from
// the start) and up to one ("+": to the end; a time in milliseconds: to its end), in order, and returns the id of the
// last one that each took, after if there was none.
//
// What was trimmed is read in Archived, wherever that begins and ends meanwhile: with each page the trim mark is read, behind it; what is before that and
// was not told yet is read there, and then the log again from the mark. So each entry is told once. Without an archive what was trimmed is left out: SinceBegin says so.
func (n Namespace) EachEntry(ctx context.Context, p int, after, upTo string, each func(domain.Entry) error) (last string, err error) {
	last = after
	refused := false // by each
	told := func(e domain.Entry) error {
		if err := each(e); err != nil {
			refused = true
			return err
		}
		last = e.ID
		return nil
	}
	for at := after; ; {
		pipe := n.Client.Pipeline()
		page := pipe.Do(ctx, "XRANGE", n.Keys.Log(p), "("+at, upTo, "COUNT", ReadPage)
		trimmed, mark := new(redis.StringCmd), new(redis.StringCmd)
		if n.Archived != nil {
			trimmed, mark = pipe.HGet(ctx, n.Keys.Events(p), layout.TrimmedField), pipe.Get(ctx, n.Keys.Archived(p))
		}
		_, _ = pipe.Exec(ctx) // the errors are those of the commands
		for _, err := range []error{page.Err(), trimmed.Err(), mark.Err()} {
			if err != nil && !IsNil(err) {
				return last, fmt.Errorf("reading the log: %w", Classify(err))
			}
		}
		from, begins := layout.ParseLogID(at), layout.ParseLogID(trimmed.Val())
		if begins.After(from) && begins.Before().After(from) {
			to := begins
			if end := endOf(upTo); begins.After(end) {
				to = layout.ParseLogID(end.Next())
			}
			if !to.After(from) {
				return last, nil
			}
			archived, err := layout.DecodeArchived(mark.Val())
			if err == nil {
				err = n.Archived.Between(ctx, p, archived, at, to.String(), told)
			}
			if err != nil && !refused {
				err = fmt.Errorf("%w: %w", ErrArchive, err)
			}
			if err != nil || to != begins {
				return last, err
			}
			at = begins.Before().String()
			continue
		}
		entries := layout.DecodeEntries(page.Val())
		for _, e := range entries {
			if err := told(e); err != nil {
				return last, err
			}
			at = e.ID
		}
		if len(entries) < ReadPage {
			return last, nil
		}
	}
}

// endOf is the last id that a range up to there has.
func endOf(upTo string) layout.LogID {
	switch {
	case upTo == "+":
		return layout.LogID{Millis: math.MaxUint64, Seq: math.MaxUint64}
	case !strings.Contains(upTo, "-"):
		return layout.LogID{Millis: layout.ParseLogID(upTo + "-0").Millis, Seq: math.MaxUint64}
	}
	return layout.ParseLogID(upTo)
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

// ErrArchive says that what was trimmed of the log cannot be read where it is archived.
var ErrArchive = errors.New("what was trimmed cannot be read in the archive")

// Trimmed is the trim mark of a partition's log: older entries than this one were trimmed. The zero LogID: none was.
func (n Namespace) Trimmed(ctx context.Context, p int) (layout.LogID, error) {
	mark, err := n.Client.HGet(ctx, n.Keys.Events(p), layout.TrimmedField).Result()
	if err != nil && !IsNil(err) {
		return layout.LogID{}, fmt.Errorf("looking where the log of partition %d begins: %w", p, Classify(err))
	}
	return layout.ParseLogID(mark), nil
}

// SinceBegin is an error of domain.CodeLogTrimmed if what happened in a partition since a time is not all in its log, and there is no archive. It is asked after the log was
// read: that may be trimmed meanwhile.
func (n Namespace) SinceBegin(ctx context.Context, p int, sinceMillis int64) error {
	if n.Archived != nil {
		return nil
	}
	mark, err := n.Trimmed(ctx, p)
	if err != nil || mark == (layout.LogID{}) || sinceMillis > int64(mark.Millis) { //nolint:gosec // a time in milliseconds
		return err
	}
	return domain.WithCode(domain.ClassReject, domain.CodeLogTrimmed, fmt.Errorf("the log of partition %d was trimmed: facts from before %s are in the archive alone",
		p, time.UnixMilli(int64(mark.Millis)).UTC().Format("2006-01-02T15:04:05.000Z07:00"))) //nolint:gosec // likewise
}
