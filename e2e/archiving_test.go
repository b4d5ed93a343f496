package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/e2e/torture"
	"holdfast/streams"
)

// archived has workers archive from now on: these are their arguments.
func (s *system) archived() (args []string) {
	s.t.Helper()
	s.archive = "file://" + filepath.Join(s.t.TempDir(), "archive")
	return []string{"--archive", s.archive, "--archive-every", "100ms"}
}

// withArchive does something with the archive.
func (s *system) withArchive(do func(archive.Bucket, *archive.Reader)) {
	s.t.Helper()
	bucket, err := archive.Open(context.Background(), s.archive)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = bucket.Close() }()
	do(bucket, archive.NewReader(bucket, streams.DefaultNamespace))
}

// trimAll has snapshots taken, and the log trimmed behind them, all the time from now on, to a moment: workers would keep a minute of it, and look every half minute. What fails
// is done again: Redis is not well in these tests.
func (s *system) trimAll(tally *torture.Tally) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var taken atomic.Int64
	var failed error
	ended := make(chan struct{})
	go s.withArchive(func(bucket archive.Bucket, reader *archive.Reader) {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			<-tick.C
			if err := s.trimOnce(ctx, bucket, reader, n%4 == 0, &taken); err != nil && ctx.Err() == nil {
				failed = err
			}
		}
	})
	s.trims = sync.OnceFunc(func() {
		cancel()
		<-ended
		tally.Count("log entries trimmed", int(s.gone.Load()))
		tally.Count("snapshots taken", int(taken.Load()))
		if s.gone.Load() == 0 {
			s.t.Errorf("nothing was trimmed of the log, with %d snapshots: %v", taken.Load(), failed)
		}
	})
	s.t.Cleanup(s.trims)
}

// trimsSome waits until something was trimmed: the sale goes on with a shorter log from then on.
func (s *system) trimsSome() {
	s.t.Helper()
	eventually(s.t, 3*soon, "the log is trimmed", func() error {
		if s.gone.Load() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
}

func (s *system) trimOnce(ctx context.Context, bucket archive.Bucket, reader *archive.Reader, snapshot bool, taken *atomic.Int64) error {
	store, err := streams.Open(ctx, s.url, streams.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	if snapshot {
		err = reader.TakeSnapshots(ctx, archive.Options{}, func(is archive.Taken) error {
			if is.New {
				taken.Add(1)
			}
			return nil
		})
	}
	a := archive.NewArchiver(store.Ledger(), bucket, "trimmer")
	a.Keep(domain.KeepLog{For: 200 * time.Millisecond, Bytes: 1 << 40})
	for p := range store.Partitions() {
		n, failed := a.Trim(ctx, p)
		s.gone.Add(n)
		err = errors.Join(err, failed)
	}
	return err
}

// allArchived waits until the archive has all that is in the log.
func (s *system) allArchived() {
	s.t.Helper()
	eventually(s.t, soon, "all is archived", func() error {
		for p := range s.store().Partitions() {
			state, err := s.store().Ledger().ArchiveState(context.Background(), p)
			if err != nil {
				return err
			}
			last := "0-0"
			if err := s.store().ReadLogEntries(context.Background(), p, "0-0", "+", func(e domain.Entry) error {
				last = e.ID
				return nil
			}); err != nil {
				return err
			}
			if state.Mark.Branch != state.Branch || state.Mark.Position != last {
				return fmt.Errorf("partition %d of branch %s ends with %s, archived is %s of %s", p, state.Branch, last, state.Mark.Position, state.Mark.Branch)
			}
		}
		return nil
	})
}

// factsOf calls each for the facts of a partition's branch, from its start.
func (s *system) factsOf(p int, each func(domain.Fact)) {
	s.t.Helper()
	after := "0-0"
	if s.archive != "" {
		state, err := s.store().Ledger().ArchiveState(context.Background(), p)
		if err != nil {
			s.t.Fatal(err)
		}
		if state.Mark.Branch == state.Branch {
			after = state.Mark.Position
			s.withArchive(func(_ archive.Bucket, reader *archive.Reader) {
				err = reader.Past(context.Background(), p, state.Mark, "0-0", func(domain.ArchivedBook) {}, func(e domain.Entry) error {
					facts, err := wire.ParseFacts(e.ID, e.Fields)
					for _, f := range facts {
						each(f)
					}
					return err
				})
			})
			if err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if _, err := s.store().ReadLog(context.Background(), p, after, "+", func(f domain.Fact) error {
		each(f)
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
}
