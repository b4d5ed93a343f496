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
	mine, err := p.ledger.TakeTurn(p.reading, partition, domain.JobArchive, p.cfg.Name, p.cfg.ArchiveEvery*9/10)
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

// trimLogEvery is how often a partition's log is trimmed.
const trimLogEvery = 30 * time.Second

// trimLog trims a partition's log, if nobody else is at it. If it cannot, the log grows, and nothing else follows from it: the next turn tries again.
func (p *Pool) trimLog(partition int) {
	mine, err := p.ledger.TakeTurn(p.reading, partition, domain.JobTrimLog, p.cfg.Name, p.trimLogEvery*9/10)
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

// archiving is whether the archive works, or trimming behind it, by partition.
type archiving struct {
	health  health
	mu      sync.Mutex
	failing map[int]archiveFailure
}

type archiveFailure struct {
	since time.Time
	err   error
}

func (a *archiving) failed(partition int, err error) {
	a.health.failed(err)
	a.mu.Lock()
	defer a.mu.Unlock()
	f, known := a.failing[partition]
	if f.err = err; !known {
		f.since = time.Now()
	}
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

// archiveGrace is for how long archiving may fail until people are told: a store that is slow for a moment is none of their business.
const archiveGrace = 10 * time.Second

// look returns what is wrong with the archive: what has been so for the longest.
func (a *archiving) look() []domain.Trouble {
	a.mu.Lock()
	defer a.mu.Unlock()
	var worst archiveFailure
	for _, f := range a.failing {
		if worst.err == nil || f.since.Before(worst.since) {
			worst = f
		}
	}
	if worst.err == nil || time.Since(worst.since) < archiveGrace {
		return nil
	}
	return []domain.Trouble{{
		What: "archive", Code: domain.CodeArchiveFailing, Text: "the log is not archived: " + worst.err.Error(), LastedMillis: time.Since(worst.since).Milliseconds(),
	}}
}

// Archived is how many segments, and bytes, this worker has written to the archive; archives is false if it is no role of it.
func (p *Pool) Archived() (segments, bytes int64, archives bool) {
	if !p.cfg.has(RoleArchive) {
		return 0, 0, false
	}
	segments, bytes = p.archiver.Written()
	return segments, bytes, true
}
