package workers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

// Archiver writes the log of a partition to durable storage.
type Archiver interface {
	// Archive writes what is next, if there is anything; more reports that there may be more at once. Doing it again, or twice at the same
	// time, is harmless.
	Archive(ctx context.Context, partition int) (more bool, err error)
	// Trim drops what of the beginning of the log need not stay in Redis, and returns how many entries that were. Doing it again, or twice at the
	// same time, is harmless.
	Trim(ctx context.Context, partition int) (gone int64, err error)
	// Snapshot takes a snapshot of what is archived, if the newest is so old and something was archived since; and it tells how far the newest is behind then. Doing it
	// again, or twice at the same time, is harmless. It may take minutes.
	Snapshot(ctx context.Context, partition int, every time.Duration) (taken bool, lag domain.SnapshotLag, err error)
	// Written is how many segments, and bytes, it has written.
	Written() (segments, bytes int64)
}

// newArchive archives a partition now and then. Whatever fails, nothing else of the worker does: an archive falls behind before a sale stops.
func (p *Pool) newArchive(partition int) (func(), error) {
	return func() {
		wait, trimmed := newBackoff(), time.Now()
		for next := rand.N(p.cfg.ArchiveEvery); pause(p.reading, next); {
			if err := p.archive(partition); err == nil {
				wait.Reset()
				next = p.cfg.ArchiveEvery
			} else {
				next = max(wait.NextBackOff(), p.cfg.ArchiveEvery)
			}
			if p.cfg.TrimsLog && time.Since(trimmed) >= p.trimLogEvery {
				trimmed = time.Now()
				p.trimLog(partition)
			}
		}
	}, nil
}

// archive writes all that is to be written, if nobody else is at it.
func (p *Pool) archive(partition int) error {
	mine, err := p.turnOf(partition, domain.JobArchive, p.cfg.ArchiveEvery)
	for more := mine; more && err == nil; {
		more, err = p.archiver.Archive(p.reading, partition)
	}
	switch {
	case p.reading.Err() != nil: // ended, and with it the call
		return nil
	case errors.Is(err, domain.ErrDataReplaced): // verify sees it, too; and what is archived next is of what is there now
		p.log.Info("the log is another one than was archived, going on with what is there", zap.Int("partition", partition), zap.Error(err))
		return nil
	case err != nil:
		p.stats.ArchiveFailed.Add(1)
		p.archiving.failed(partition, fmt.Errorf("partition %d: %w", partition, err))
	case mine:
		p.archiving.worked(partition)
	}
	return err
}

// turnOf takes the turn at something, if nobody else has it. That Redis is away says nothing of the archive.
func (p *Pool) turnOf(partition int, job string, every time.Duration) (mine bool, err error) {
	mine, err = p.ledger.TakeTurn(p.reading, partition, job, p.cfg.Name, every*9/10)
	if err != nil && domain.ClassOf(err) == domain.ClassRetry && p.reading.Err() == nil {
		p.noteFailure(err)
		return false, nil
	}
	return mine, err
}

// trimLogEvery is how often a partition's log is trimmed.
const trimLogEvery = 30 * time.Second

// trimLog trims a partition's log, if nobody else is at it. If it cannot, the log grows, and nothing else follows from it: the next turn tries again.
func (p *Pool) trimLog(partition int) {
	mine, err := p.turnOf(partition, domain.JobTrimLog, p.trimLogEvery)
	if err == nil && mine {
		var gone int64
		gone, err = p.archiver.Trim(p.reading, partition)
		p.stats.LogTrimmed.Add(gone)
	}
	switch {
	case p.reading.Err() != nil: // ended, and with it the call
	case err != nil:
		p.trimming.failed(partition, fmt.Errorf("partition %d: %w", partition, err))
	case mine:
		p.trimming.worked(partition)
	}
}

// snapshotLook is how often it is looked whether a snapshot is to be taken. Whoever looks has so long to take it until others look.
const snapshotLook = 10 * time.Minute

// newSnapshots takes snapshots of what is archived of a partition. Archiving goes on meanwhile.
func (p *Pool) newSnapshots(partition int) (func(), error) {
	return func() {
		if p.cfg.SnapshotEvery == 0 {
			return
		}
		every := min(p.cfg.SnapshotEvery, snapshotLook)
		for next := rand.N(every); pause(p.reading, next); next = every {
			p.snapshot(partition, every)
		}
	}, nil
}

// snapshot takes a snapshot of a partition if one is due and nobody else is at it. If it cannot, the next turn tries again.
func (p *Pool) snapshot(partition int, every time.Duration) {
	var taken bool
	var lag domain.SnapshotLag
	began := time.Now()
	mine, err := p.turnOf(partition, domain.JobSnapshot, every)
	if err == nil && mine {
		taken, lag, err = p.archiver.Snapshot(p.reading, partition, p.cfg.SnapshotEvery)
	}
	switch {
	case p.reading.Err() != nil: // ended, and with it the call
		return
	case errors.Is(err, domain.ErrDataReplaced): // verify sees it, too
		return
	case err != nil:
		p.stats.SnapshotFailed.Add(1)
		p.snapshotting.failed(partition, fmt.Errorf("partition %d: %w", partition, err))
	case mine:
		p.snapshotting.worked(partition)
	}
	if mine && err == nil { // else how far it is behind is not known
		p.snapshots.set(partition, lag, time.Now().Add(2*every))
	}
	if taken {
		p.stats.Snapshots.Add(1)
		p.log.Info("took a snapshot of the archive", zap.Int("partition", partition), zap.Duration("took", time.Since(began)))
	}
}

// snapshots is how far the newest snapshot of each partition was behind when this worker has looked last. Who looks takes turns: what it knows ends when others may know more.
type snapshots struct {
	mu  sync.Mutex
	lag map[int]knownLag
}

type knownLag struct {
	lag   domain.SnapshotLag
	until time.Time
}

func (s *snapshots) set(partition int, lag domain.SnapshotLag, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lag == nil {
		s.lag = make(map[int]knownLag)
	}
	s.lag[partition] = knownLag{lag, until}
}

// SnapshotLags is by partition how far the newest snapshot of the archive was behind, where this worker has looked of late and there is one.
func (p *Pool) SnapshotLags() map[int]int64 {
	p.snapshots.mu.Lock()
	defer p.snapshots.mu.Unlock()
	millis := make(map[int]int64)
	for partition, known := range p.snapshots.lag {
		if time.Now().Before(known.until) && !known.lag.None {
			millis[partition] = known.lag.Millis
		}
	}
	return millis
}

// archiving is whether the archive works, or trimming behind it, or taking snapshots, by partition.
type archiving struct {
	health  health
	trouble domain.Trouble // what is told of it, but for the error
	grace   time.Duration  // for how long it may fail until people are told
	turns   time.Duration  // a failure that is older was perhaps another one's turn to mend
	mu      sync.Mutex
	failing map[int]archiveFailure
}

func newArchiving(log *zap.Logger, what string, trouble domain.Trouble, grace, turns time.Duration) archiving {
	return archiving{health: health{what: what, log: log}, trouble: trouble, grace: grace, turns: turns, failing: make(map[int]archiveFailure)}
}

type archiveFailure struct {
	since, last time.Time
	err         error
}

func (a *archiving) failed(partition int, err error) {
	a.health.failed(err)
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	f, known := a.failing[partition]
	if !known || now.Sub(f.last) > a.turns {
		f.since = now
	}
	f.last, f.err = now, err
	a.failing[partition] = f
}

func (a *archiving) worked(partition int) {
	a.mu.Lock()
	delete(a.failing, partition)
	all := len(a.failing) == 0
	a.mu.Unlock()
	if all {
		a.health.worked()
	}
}

// For how long something may fail until people are told: a store that is slow for a moment is none of their business, and before the first snapshot nothing is trimmed; and
// after what time without another failure of this worker's it is taken to be mended.
const (
	archiveGrace  = 10 * time.Second
	archiveTurns  = 10 * time.Minute
	trimGrace     = 30 * time.Minute
	trimTurns     = 20 * time.Minute
	snapshotTurns = 4 * snapshotLook
)

// look returns what is wrong with it: what has been so for the longest.
func (a *archiving) look() []domain.Trouble {
	a.mu.Lock()
	defer a.mu.Unlock()
	var worst archiveFailure
	for _, f := range a.failing {
		if time.Since(f.last) > a.turns {
			continue
		}
		if worst.err == nil || f.since.Before(worst.since) {
			worst = f
		}
	}
	if worst.err == nil || time.Since(worst.since) < a.grace {
		return nil
	}
	is := a.trouble
	is.Text, is.LastedMillis = is.Text+worst.err.Error(), time.Since(worst.since).Milliseconds()
	return []domain.Trouble{is}
}

// Archived is how many segments, and bytes, this worker has written to the archive; archives is false if it is no role of it.
func (p *Pool) Archived() (segments, bytes int64, archives bool) {
	if !p.cfg.has(RoleArchive) {
		return 0, 0, false
	}
	segments, bytes = p.archiver.Written()
	return segments, bytes, true
}
