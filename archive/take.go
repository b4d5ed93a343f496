package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/domain"
)

// Snapshot takes a snapshot of a partition if the newest of its branch is so old, and something was archived since, and returns how old it is then. It folds no segment behind the
// mark: those up to there were compared with the log. Of the partitions of this archiver one is folded at a time. Again, or twice at the same
// time, it does no harm; see Reader.TakeSnapshots.
func (a *Archiver) Snapshot(ctx context.Context, p int, every time.Duration) (taken bool, lag domain.SnapshotLag, err error) {
	state, err := a.log.ArchiveState(ctx, p)
	if err != nil || state.Mark.Branch != state.Branch { // of a branch of which nothing is archived there is nothing to take
		return false, lag, err
	}
	ns, err := a.log.ArchivedNamespace(ctx)
	if err != nil {
		return false, lag, err
	}
	mark, err := ParsePosition(state.Mark.Position)
	if err != nil {
		return false, lag, err
	}
	r := NewReader(a.bucket, ns.Namespace)
	newest, err := r.newestSnapshot(ctx, p, state.Branch, mark)
	if err != nil {
		return false, lag, err
	}
	if newest == mark {
		return false, lag, nil
	}
	lag = domain.SnapshotLag{None: newest == Position{}, Millis: max(0, state.NowMillis-int64(newest.Millis))} //nolint:gosec // a time of Redis
	if !lag.None && lag.Millis < every.Milliseconds() {
		return false, lag, nil
	}
	a.folding.Lock()
	defer a.folding.Unlock()
	chain, err := r.chain(ctx, p, state.Branch, nil)
	if err != nil {
		return false, lag, poisonous(err)
	}
	key, err := ParseKey(state.Mark.Segment)
	if err != nil {
		return false, lag, err
	}
	last, err := r.segment(ctx, key)
	if err != nil {
		return false, lag, poisonous(err)
	}
	archived, _, listed := cutBehind(chain, last)
	if !listed {
		return false, lag, domain.WithClass(domain.ClassRetry, fmt.Errorf("%s is not listed: the mark in Redis says that the log is archived up to its end", state.Mark.Segment))
	}
	if last.Hash != state.Mark.Hash {
		return false, lag, poisonous(&damagedError{state.Mark.Segment, "it is not what it was when it was compared with the log: another hash"})
	}
	is := Taken{Partition: p, Branch: state.Branch}
	if err := r.takeSnapshotOf(ctx, archived, &is, Options{}); err != nil {
		return false, lag, err
	}
	if !is.New && is.Last != state.Mark.Position {
		return false, lag, nil // another version of this program has taken one there
	}
	return is.New, domain.SnapshotLag{}, nil
}

// newestSnapshot is where the newest snapshot of a branch was taken that is not behind a position; the zero Position: there is none. Those of another version
// of this program are none.
func (r *Reader) newestSnapshot(ctx context.Context, p int, branch string, notBehind Position) (Position, error) {
	keys, err := r.snapshots(ctx, p, branch)
	if err != nil {
		return Position{}, err
	}
	for _, key := range keys {
		if key.At.Compare(notBehind) > 0 {
			continue
		}
		// What else is wrong with it, whoever takes the next one finds.
		if _, err := r.snapshot(ctx, key); !errors.Is(err, errOtherFormat) {
			return key.At, nil
		}
	}
	return Position{}, nil
}
