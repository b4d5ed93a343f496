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

// trimmer is an archiver that has nothing to write, and trims so much of the log each time; not at first.
type trimmer struct {
	fails, trims atomic.Int64
}

func (*trimmer) Archive(context.Context, int) (bool, error) { return false, nil }
func (*trimmer) Written() (int64, int64)                    { return 0, 0 }
func (*trimmer) Snapshot(context.Context, int, time.Duration) (bool, domain.SnapshotLag, error) {
	return false, domain.SnapshotLag{}, errors.New("nobody asked for one")
}

func (a *trimmer) Trim(context.Context, int) (int64, error) {
	if a.fails.Add(-1) >= 0 {
		return 0, errors.New("the store is away")
	}
	a.trims.Add(1)
	return 3, nil
}

// Who archives trims the log now and then, if that is wanted. That it cannot is told once, and when it can again.
func TestTrimsTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	for _, trims := range []bool{true, false} {
		archiver := &trimmer{}
		archiver.fails.Store(5)
		core, log := observer.New(zapcore.InfoLevel)
		store := w.open(nil)
		pool, err := workers.New(workers.Config{Name: "w", Roles: []workers.Role{workers.RoleArchive}, ArchiveEvery: 10 * time.Millisecond, TrimsLog: trims}, workers.Deps{
			Ledger: store.Ledger(), Queues: store.Queue, Archiver: archiver, Partitions: 1, Log: zap.New(core),
		})
		if err != nil {
			t.Fatal(err)
		}
		pool.SetTrimEvery(10 * time.Millisecond)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- pool.Run(ctx) }()
		w.eventually("it is ready", func() bool { return pool.Ready() == nil })
		if trims {
			w.eventually("it has trimmed twice", func() bool { return archiver.trims.Load() >= 2 && pool.Stats().LogTrimmed.Load() >= 6 })
		} else {
			now := w.now()
			w.eventually("a turn has passed", func() bool { return w.now().Sub(now) > 100*time.Millisecond })
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := pool.Stats().LogTrimmed.Load(); got != 3*archiver.trims.Load() || got > 0 != trims {
			t.Errorf("%d entries were trimmed, by %d calls that worked", got, archiver.trims.Load())
		}
		told := log.FilterFieldKey("error").Len()
		if want := map[bool]int{true: 1}[trims]; told != want {
			t.Errorf("that it fails is told %d times, want %d: %v", told, want, log.All())
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}
