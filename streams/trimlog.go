package streams

import (
	"context"
	"fmt"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Bounds of TrimLog.
const (
	trimLogEntries = 1000   // that a script call drops
	trimLogCalls   = 200    // of a turn
	trimLogLetters = 10_000 // dead letters that are looked through
)

// TrimLog implements domain.ArchiveSource. What is read here may be old when the script runs; that compares branch, mark and groups again. Whoever redrives a
// dead letter of the log, or puts an order on the list of what is owed, finds its entry pending or at least acknowledged no further than before.
func (l *Ledger) TrimLog(ctx context.Context, p int, branch, before string, keep domain.KeepLog) (gone int64, err error) {
	s := l.store
	pipe := s.rdb.Pipeline()
	now, length, size := pipe.Time(ctx), pipe.XLen(ctx, s.keys.Log(p)), pipe.MemoryUsage(ctx, s.keys.Log(p), 20)
	first := pipe.Do(ctx, "XRANGE", s.keys.Log(p), "-", "+", "COUNT", 1)
	if _, err := pipe.Exec(ctx); err != nil && !access.IsNil(err) {
		return 0, fmt.Errorf("looking how long the log of partition %d is: %w", p, access.Classify(err))
	}
	entries := layout.DecodeEntries(first.Val())
	if len(entries) == 0 {
		return 0, nil
	}
	old := layout.LogID{Millis: uint64(max(now.Val().UnixMilli()-keep.For.Milliseconds(), 0))} //nolint:gosec // it is not negative
	tooMuch := int64(0)
	if size.Val() > keep.Bytes {
		tooMuch = int64(float64(length.Val()) * (1 - float64(keep.Bytes)/float64(size.Val())))
	}
	if tooMuch == 0 && !old.After(layout.ParseLogID(entries[0].ID)) {
		return 0, nil
	}
	upTo, err := l.doneWith(ctx, p, layout.ParseLogID(before))
	if err != nil {
		return 0, err
	}
	trim := func(upTo layout.LogID, most int64) error {
		for calls := 0; calls < trimLogCalls && most > 0; calls++ {
			n, err := s.run(ctx, scriptTrimLog, []string{s.keys.Events(p), s.keys.Log(p), s.keys.Archived(p)},
				branch, upTo.String(), min(most, trimLogEntries), string(domain.GroupPosting), string(domain.GroupSettlement)).Int64()
			if err != nil {
				return fmt.Errorf("script trim_log: %w", access.Classify(err))
			}
			if n == 0 {
				return nil
			}
			gone, most = gone+n, most-n
		}
		return nil
	}
	if upTo.After(old) {
		if err := trim(old, length.Val()); err != nil {
			return gone, err
		}
		return gone, trim(upTo, tooMuch-gone)
	}
	return gone, trim(upTo, length.Val())
}

// doneWith is the entry before which posting and settlement are done with a partition's log: nothing is pending, owed or a dead letter that could be given
// back to them.
func (l *Ledger) doneWith(ctx context.Context, p int, upTo layout.LogID) (layout.LogID, error) {
	done, err := l.doneUpTo(ctx, p, upTo)
	if err != nil {
		return upTo, err
	}
	hold := func(id layout.LogID) {
		if upTo.After(id) {
			upTo = id
		}
	}
	hold(layout.ParseLogID(done.Next())) // itself is done, too
	from := "-"
	for read := 0; ; read += access.ReadPage {
		if read >= trimLogLetters {
			return layout.LogID{}, domain.WithClass(domain.ClassRetry, fmt.Errorf("partition %d has more than %d dead letters: its log is not trimmed until some are dealt with", p, trimLogLetters))
		}
		letters, err := l.store.Inside().ReadDeadLetters(ctx, p, from, "+", access.ReadPage)
		if err != nil {
			return layout.LogID{}, err
		}
		for _, letter := range letters {
			if letter.Stream == layout.StreamLog {
				entry := layout.ParseLogID(letter.EntryID)
				if entry == (layout.LogID{}) { // nobody can tell which it is, and give it back: what came since stays
					entry.Millis = layout.ParseLogID(letter.LetterID).Millis
				}
				hold(entry)
			}
			from = "(" + letter.LetterID
		}
		if len(letters) < access.ReadPage {
			return upTo, nil
		}
	}
}
