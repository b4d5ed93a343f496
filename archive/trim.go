package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/domain"
)

// Keep says how much of the log stays in Redis. Without it, all does.
func (a *Archiver) Keep(keep domain.KeepLog) { a.keep = keep }

// ErrNoSnapshot says that nothing may be trimmed, because there is no state to go on from.
var ErrNoSnapshot = errors.New("the archive has no good snapshot")

// Trim drops the beginning of a partition's log, as far as the archive can stand for it: behind the newest snapshot of the partition's branch that is
// what it says, and that is not ahead of the mark. It returns how many entries went, none if nothing may; and an error, too, if there is no such snapshot, or it is old: then
// the log grows. Doing it again, or twice at the same time, is harmless.
//
// That the segment of the mark is there shows that this is the archive which the mark is of. It, and a snapshot that is used for the first time, are read
// whole, a piece at a time.
func (a *Archiver) Trim(ctx context.Context, p int) (gone int64, err error) {
	if a.keep == (domain.KeepLog{}) {
		return 0, nil
	}
	state, err := a.log.ArchiveState(ctx, p)
	if err != nil || state.Mark.Branch != state.Branch {
		return 0, err
	}
	ns, err := a.log.ArchivedNamespace(ctx)
	if err != nil {
		return 0, err
	}
	r := NewReader(a.bucket, ns.Namespace)
	key, err := ParseKey(state.Mark.Segment)
	if err != nil {
		return 0, err
	}
	segment, err := r.segment(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("the segment up to which the log is archived: %w", err)
	}
	if segment.Hash != state.Mark.Hash {
		return 0, &damagedError{state.Mark.Segment, "it is not what it was when it was compared with the log: another hash"}
	}
	before, err := a.folded(ctx, r, p, state.Mark)
	if err != nil {
		return 0, err
	}
	if before == "" {
		return 0, fmt.Errorf("%w of branch %s", ErrNoSnapshot, state.Branch)
	}
	if gone, err = a.log.TrimLog(ctx, p, state.Branch, before, a.keep); err != nil || before == state.Mark.Position {
		return gone, err
	}
	if old := time.Duration(state.NowMillis-domain.EntryMillis(before)) * time.Millisecond; old > oldSnapshot {
		return gone, fmt.Errorf("the newest good snapshot of the archive is %s old, and the log stays from there on", old.Round(time.Hour))
	}
	return gone, nil
}

// oldSnapshot is from when on a snapshot, behind which more is archived, is too old for a log that is to be trimmed: whoever takes one every day has missed two.
const oldSnapshot = 49 * time.Hour

// folded is the entry at the end of the newest good snapshot of a mark's branch that is not ahead of it; empty: there is none.
func (a *Archiver) folded(ctx context.Context, r *Reader, p int, mark domain.ArchiveMark) (string, error) {
	most, err := ParsePosition(mark.Position)
	if err != nil {
		return "", err
	}
	keys, err := r.snapshots(ctx, p, mark.Branch)
	if err != nil {
		return "", err
	}
	for _, key := range keys {
		if key.At.Compare(most) > 0 {
			continue
		}
		a.mu.Lock()
		known := a.good[p] == key
		a.mu.Unlock()
		if known {
			return key.At.String(), nil
		}
		s, err := r.snapshot(ctx, key)
		if err == nil {
			err = s.each(ctx, r, func(*domain.Snapshot) error { return nil })
		}
		var damaged *damagedError
		switch {
		case errors.As(err, &damaged), errors.Is(err, ErrMissing), errors.Is(err, errOtherFormat): // the audit and verify name it
			continue
		case err != nil:
			return "", err
		}
		a.mu.Lock()
		a.good[p] = key
		a.mu.Unlock()
		return key.At.String(), nil
	}
	return "", nil
}
