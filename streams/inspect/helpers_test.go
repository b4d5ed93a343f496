package inspect

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/redistest"
)

func TestMain(m *testing.M) { os.Exit(streamstest.Run(m)) }

// fixture is an inspector of a store with one partition on an empty Redis.
type fixture struct {
	streamstest.Redis
	store     *streams.Store
	inspector *Inspector
	// stood is for how many milliseconds the clock can have stood still within a script, while XPENDING's went on: by so much an age that
	// keep_alive notes may be more than is true.
	stood int64
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return openFixture(t, streamstest.Server())
}

func openFixture(t *testing.T, server *redistest.Server) *fixture {
	t.Helper()
	return openFixtureOf(t, server.URL(), 1)
}

func openFixtureOf(t *testing.T, url string, partitions int) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	store, err := streams.Open(ctx, url, streams.Options{Create: true, Partitions: partitions})
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

// letter sets an entry with these fields aside, and returns the letter's id.
func (f *fixture) letter(p int, stream, group string, fields ...string) string {
	f.Helper()
	return f.letterOf(p, stream, group, "1-1", fields...)
}

func (f *fixture) letterOf(p int, stream, group, entryID string, fields ...string) string {
	f.Helper()
	id, err := f.Client.XAdd(f.Ctx, &redis.XAddArgs{Stream: f.Keys.Dead(p), Values: []string{
		"stream", stream, "group", group, "entry_id", entryID, "reason", "r", "deliveries", "1", "at", "2", "fields", streamstest.Netstrings(fields),
	}}).Result()
	f.Must(err)
	return strconv.Itoa(p) + ":" + id
}
