package workers_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// taker is an archiver whose snapshots take as long as it is told, and fail at first.
type taker struct {
	trimmer
	fails, archived, looks, taken, atOnce atomic.Int64
	takes                                 chan struct{} // each snapshot waits for one
}

func (a *taker) Archive(context.Context, int) (bool, error) {
	a.archived.Add(1)
	return false, nil
}

func (a *taker) Snapshot(ctx context.Context, _ int, every time.Duration) (bool, domain.SnapshotLag, error) {
	if a.atOnce.Add(1) > 1 || every != 20*time.Millisecond {
		return false, domain.SnapshotLag{}, errors.New("by two at the same time, or not as it was said")
	}
	defer a.atOnce.Add(-1)
	a.looks.Add(1)
	if a.fails.Add(-1) >= 0 {
		return false, domain.SnapshotLag{None: true}, errors.New("the store is away")
	}
	select {
	case <-a.takes:
		a.taken.Add(1)
		return true, domain.SnapshotLag{}, nil
	case <-ctx.Done():
		return false, domain.SnapshotLag{}, ctx.Err()
	}
}

// Who archives takes snapshots, one at a time in a partition, and archiving goes on meanwhile. That it cannot is told once, and when it can again. Its end
// ends one that is under way.
func TestTakesSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	archiver := &taker{takes: make(chan struct{})}
	archiver.fails.Store(3)
	core, log := observer.New(zapcore.InfoLevel)
	store := w.open(nil)
	defer func() { _ = store.Close() }()
	pool, err := workers.New(workers.Config{Name: "w", Roles: []workers.Role{workers.RoleArchive}, ArchiveEvery: 10 * time.Millisecond, SnapshotEvery: 20 * time.Millisecond}, workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Archiver: archiver, Partitions: 1, Log: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	for range 2 {
		archiver.takes <- struct{}{}
	}
	w.eventually("two were taken", func() bool { return pool.Stats().Snapshots.Load() == 2 })
	w.eventually("the next one is under way", func() bool { return archiver.looks.Load() == 6 })
	archived := archiver.archived.Load()
	w.eventually("archiving goes on", func() bool { return archiver.archived.Load() > archived+2 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if failed := pool.Stats().SnapshotFailed.Load(); failed != 3 || archiver.taken.Load() != 2 {
		t.Errorf("%d failed, %d were taken", failed, archiver.taken.Load())
	}
	for line, want := range map[string]int{
		"taking snapshots of the archive does not work, trying on": 1, "taking snapshots of the archive works again": 1, "took a snapshot of the archive": 2,
	} {
		if got := log.FilterMessage(line).Len(); got != want {
			t.Errorf("%q is told %d times, want %d: %v", line, got, want, log.All())
		}
	}
}

// How far the newest snapshot is behind is told by whoever has looked of late; nobody tells it where there is none.
func TestSnapshotLags(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	store := w.open(nil)
	defer func() { _ = store.Close() }()
	archiver := &lagging{}
	pool, err := workers.New(workers.Config{Name: "w", Roles: []workers.Role{workers.RoleArchive}, SnapshotEvery: 20 * time.Millisecond}, workers.Deps{
		Ledger: store.Ledger(), Queues: store.Queue, Archiver: archiver, Partitions: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if lags := pool.SnapshotLags(); len(lags) > 0 {
		t.Errorf("before it has looked: %v", lags)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	w.eventually("it has looked", func() bool {
		lag, known := pool.SnapshotLags()[0]
		if known && lag != 1234 {
			t.Errorf("where it could not look it tells a lag of %d", lag)
		}
		return known && lag == 1234
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	w.eventually("what it knows is old", func() bool { return len(pool.SnapshotLags()) == 0 })
}

// lagging is an archiver whose store is away at first, and that has a snapshot then that is behind.
type lagging struct {
	trimmer
	looks atomic.Int64
}

func (a *lagging) Snapshot(context.Context, int, time.Duration) (bool, domain.SnapshotLag, error) {
	if a.looks.Add(1) < 3 {
		return false, domain.SnapshotLag{}, errors.New("the store is away")
	}
	return false, domain.SnapshotLag{Millis: 1234}, nil
}

// noTurns gives nobody a turn at archiving.
type noTurns struct {
	domain.Ledger
	asked atomic.Int64
}

func (l *noTurns) TakeTurn(ctx context.Context, p int, job, name string, lasts time.Duration) (bool, error) {
	if job == domain.JobArchive {
		l.asked.Add(1)
		return false, domain.WithClass(domain.ClassRetry, errors.New("redis is away"))
	}
	return l.Ledger.TakeTurn(ctx, p, job, name, lasts)
}

// That Redis is away is not told as the archive's failing.
func TestNoTurnIsNoFailureOfTheArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	ledger := &noTurns{}
	w.deps = func(d *workers.Deps) {
		ledger.Ledger = d.Ledger
		d.Ledger, d.Archiver = ledger, &taker{}
	}
	pool := w.start(workers.Config{Roles: []workers.Role{workers.RoleArchive}, ArchiveEvery: 10 * time.Millisecond}, nil, nil)
	w.eventually("it has asked for its turn", func() bool { return ledger.asked.Load() > 5 })
	if n := pool.Stats().ArchiveFailed.Load(); n != 0 {
		t.Errorf("%d times the archive is said to have failed", n)
	}
}
