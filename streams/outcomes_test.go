package streams

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/redistest"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func FuzzReadNotices(f *testing.F) {
	for _, message := range []string{"", "e1/o1", "e1/o1\ne1/o2", "e1/o1 c|purchase", "e1", "e1/o1/x", "\n\n"} {
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		read := func(message string) (lines []string) {
			for _, ref := range readNotice(message) {
				if !domain.ValidID(ref.EventID) || !domain.ValidID(ref.OrderID) {
					t.Errorf("a notice about %q", ref)
				}
				lines = append(lines, ref.String())
			}
			return lines
		}
		lines := read(message)
		written := strings.Join(lines, "\n")
		if again := read(written); !slices.Equal(again, lines) {
			t.Errorf("%q comes back as %q", lines, again)
		}
	})
}

// heard is a sink that notes what it is told.
type heard struct {
	connected, disconnected atomic.Int32
	orders                  chan domain.OrderRef
}

func (h *heard) Connected()    { h.connected.Add(1) }
func (h *heard) Disconnected() { h.disconnected.Add(1) }
func (h *heard) Changed(refs []domain.OrderRef) {
	select {
	case h.orders <- refs[0]:
	default:
	}
}

// watchAs watches both partitions as a user of Redis, until the test ends.
func watchAs(t *testing.T, server *redistest.Server, userinfo string) (sinks [2]*heard, log *observer.ObservedLogs) {
	t.Helper()
	core, log := observer.New(zapcore.WarnLevel)
	store, err := Open(context.Background(), with(server, userinfo, ""), Options{Create: true, Partitions: 2, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	for p := range sinks {
		sinks[p] = &heard{orders: make(chan domain.OrderRef, 1)}
		watching.Go(func() {
			if err := store.Checkout().Watch(ctx, p, sinks[p]); !errors.Is(err, context.Canceled) {
				t.Errorf("watching ended with %v", err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		watching.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return sinks, log
}

// Without the permission for channels nobody is told anything: that is said, once, and mends itself with the permission.
func TestWatchWithoutPermission(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	r := streamstest.Redis{T: t, Ctx: context.Background(), Client: rdb}
	r.Do("ACL", "SETUSER", "deaf", "on", ">s3cret", "~*", "+@all", "resetchannels")
	sinks, log := watchAs(t, server, "deaf:s3cret")
	each := func(what string, condition func(*heard) bool) {
		t.Helper()
		r.Eventually(what, func() bool { return condition(sinks[0]) && condition(sinks[1]) })
	}
	// Twice each: it was tried again, and not said again.
	each("both are told that nothing comes", func(h *heard) bool { return h.disconnected.Load() > 1 })
	said := log.FilterMessageSnippet("may not listen for outcomes").Len()
	if said != 1 || log.Len() != 1 {
		t.Errorf("it was said %d times: %v", said, log.All())
	}
	r.Do("ACL", "SETUSER", "deaf", "&holdfast:*")
	each("both listen", func(h *heard) bool { return h.connected.Load() > 0 })
	// A permission that is taken away ends the subscription.
	before := [2]int32{sinks[0].disconnected.Load(), sinks[1].disconnected.Load()}
	r.Do("ACL", "SETUSER", "deaf", "resetchannels")
	r.Eventually("they are told again", func() bool {
		return sinks[0].disconnected.Load() > before[0] && sinks[1].disconnected.Load() > before[1] && log.Len() == 2
	})
}

// A subscription whose server does not answer any more is given up, and made again.
func TestWatchNotices(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	r := streamstest.Redis{T: t, Ctx: context.Background(), Client: rdb, Keys: layout.NewKeys(DefaultNamespace, 2)}
	sinks, log := watchAs(t, server, "default:any")
	r.Eventually("it listens", func() bool { return sinks[1].connected.Load() > 0 })
	r.Do("CLIENT", "PAUSE", (3 * watchSilence).Milliseconds(), "ALL")
	r.Eventually("it is given up", func() bool { return sinks[1].disconnected.Load() > 0 })
	before := sinks[1].connected.Load()
	r.Eventually("it listens again", func() bool { return sinks[1].connected.Load() > before })
	before = sinks[1].connected.Load()
	server.Restart()
	r.Eventually("it listens after a restart", func() bool { return sinks[1].connected.Load() > before })
	r.Do("PUBLISH", r.Do("PUBSUB", "CHANNELS", r.Keys.Outcomes(1, "*")).([]any)[0], "e1/o1")
	if got, want := <-sinks[1].orders, (domain.OrderRef{EventID: "e1", OrderID: "o1"}); got != want {
		t.Errorf("told of %s, want %s", got, want)
	}
	if log.Len() != 0 {
		t.Errorf("it was said: %v", log.All())
	}
}

// learntAndWatched is what hears of a partition, of which a checkout has learnt where the orders of e1 are: with those of others.
func (f *fixture) learntAndWatched() (sink *heard, stop func()) {
	f.Helper()
	f.list("e1", terms(10))
	f.checkout.Look(f.Ctx, []domain.OrderRef{ref("e1", "o1")})
	sink = &heard{orders: make(chan domain.OrderRef, 1)}
	ctx, cancel := context.WithCancel(f.Ctx)
	var watching sync.WaitGroup
	watching.Go(func() { _ = f.checkout.Watch(ctx, 0, sink) }) // it ends with ctx
	f.Eventually("it is connected", func() bool { return sink.connected.Load() == 1 })
	return sink, func() {
		cancel()
		watching.Wait()
	}
}

// TestWatchOverOtherData: what a checkout had learnt of where orders are is not so in the data that comes in their place.
func TestWatchOverOtherData(t *testing.T) {
	server := redistest.Start(t)
	f := openFixture(t, server)
	sink, stop := f.learntAndWatched()
	defer stop()
	f.Do("FLUSHALL")
	again := openFixture(t, server)
	again.list("e1", terms(500_000)) // they have hashes of their own
	again.held("e1", "o1", "fred", 1, holdMillis)
	f.Eventually("it is connected again", func() bool { return sink.connected.Load() >= 2 })
	if looked := f.checkout.Look(f.Ctx, []domain.OrderRef{ref("e1", "o1")})[0]; looked.Order.State != domain.OrderHeld {
		t.Errorf("%+v", looked)
	}
}

// TestWatchOverOtherDataThatCameWhileNobodyListened: that the data is other data is seen by whoever listens anew, too.
func TestWatchOverOtherDataThatCameWhileNobodyListened(t *testing.T) {
	server := redistest.Start(t)
	f := openFixture(t, server)
	sink, stop := f.learntAndWatched()
	defer stop()
	f.Do("FLUSHALL")
	again := openFixture(t, server)
	f.Do("CLIENT", "KILL", "TYPE", "pubsub") // before it looks whether the data is still the same
	f.Eventually("it is connected again", func() bool { return sink.connected.Load() >= 2 })
	again.list("e1", terms(500_000)) // they have hashes of their own
	again.held("e1", "o1", "fred", 1, holdMillis)
	if looked := f.checkout.Look(f.Ctx, []domain.OrderRef{ref("e1", "o1")})[0]; looked.Order.State != domain.OrderHeld {
		t.Errorf("%+v", looked)
	}
}

// TestLookBesideADamagedEvent: whoever waits for an order of another event is told of it.
func TestLookBesideADamagedEvent(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.list("e2", terms(10))
	f.held("e1", "o1", "fred", 1, holdMillis)
	f.held("e2", "o1", "amy", 1, holdMillis)
	f.Do("HSET", f.Keys.Events(0), layout.TermsField("e2"), "damaged")
	another, _ := f.another(t) // which knows of none yet
	looked := another.checkout.Look(f.Ctx, []domain.OrderRef{ref("e2", "o1"), ref("e1", "o1"), ref("e2", "o2"), ref("e3", "o1")})
	for i, l := range looked {
		if i == 0 || i == 2 {
			f.WantClass(l.Err, domain.ClassPoison)
		} else {
			f.Must(l.Err)
		}
	}
	if looked[1].Order.State != domain.OrderHeld || looked[3].Order.State != domain.OrderNone {
		t.Errorf("%+v", looked)
	}
}
