package inspect

import (
	"context"
	"os"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/internal/streamstest"
)

func TestMain(m *testing.M) { os.Exit(streamstest.Run(m)) }

// fixture is an inspector of a store with one partition on an empty Redis.
type fixture struct {
	streamstest.Redis
	store     *streams.Store
	inspector *Inspector
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	store, err := streams.Open(ctx, streamstest.Server().URL(), streams.Options{Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	ns := store.Inside()
	return &fixture{Redis: streamstest.Redis{T: t, Ctx: ctx, Client: ns.Client, Keys: ns.Keys}, store: store, inspector: New(store)}
}

func (f *fixture) queue(group domain.Group, consumer string) domain.Queue {
	f.Helper()
	q, err := f.store.Queue(0, group, consumer)
	f.Must(err)
	return q
}

func (f *fixture) deadLetters() []DeadLetter {
	f.Helper()
	var all []DeadLetter
	f.Must(f.inspector.EachDeadLetter(f.Ctx, func(d DeadLetter) error {
		all = append(all, d)
		return nil
	}))
	return all
}

// redrive is Redrive of one.
func (f *fixture) redrive(id string) (entryID string, err error) {
	handled := f.inspector.Redrive(f.Ctx, id)
	return handled[0].EntryID, handled[0].Err
}
