package network

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"holdfast/domain"
	"holdfast/e2e/torture"
	"holdfast/producer"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

func TestMain(m *testing.M) {
	logging.Disable() // of go-redis: that its connections break is no news here
	// The tests wait more than they compute; -parallel on the command line still counts.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := m.Run()
	// Not toxiproxy's own, which stay when a connection was cut in the middle of a toxic.
	const proxy = "github.com/Shopify/toxiproxy/v2"
	var err error
	for range 10 { // go-redis tries once more to connect, a second after its client was closed
		err = goleak.Find(
			goleak.IgnoreAnyFunction(proxy+".(*ToxicLink).read"),
			goleak.IgnoreAnyFunction(proxy+".(*ToxicLink).write"),
			goleak.IgnoreAnyFunction(proxy+"/toxics.(*ToxicStub).Run"),
		)
		if err == nil {
			break
		}
	}
	if code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// The two networks.
const (
	redisSide   = "redis"
	gatewaySide = "gateway"
)

func (w *world) side(name string) *proxy {
	if name == redisSide {
		return w.toRedis
	}
	return w.toGateway
}

// trial is one fault in one direction of one network, under load.
type trial struct {
	fault     fault
	side      string
	direction string
	alone     bool // no other worker is there to take over
	seed      uint64
}

// rounds is how often each trial is made in full, every time with other parameters.
const rounds = 2

// trials are what TestTortureNetwork does: in full every fault on both sides in
// both directions, with and without another worker; as a slice every fault once.
func trials(rng *rand.Rand) []trial {
	var all []trial
	for i, f := range faults {
		var of []trial
		for range rounds {
			for _, side := range []string{redisSide, gatewaySide} {
				for _, direction := range f.directions() {
					for _, alone := range []bool{true, false} {
						of = append(of, trial{f, side, direction, alone, rng.Uint64()})
					}
				}
			}
		}
		if !torture.Full() {
			of = of[i%len(of):][:1]
		}
		all = append(all, of...)
	}
	return all
}

// The network between workers and Redis, or workers and the gateway, misbehaves
// for a while under load. Everything published ends as it must, and no payment
// is made, taken or given back twice.
func TestTortureNetwork(t *testing.T) {
	t.Parallel()
	seed := torture.Seed(t)
	tally := torture.Begin(t, 6, "a network that misbehaves, between workers and Redis or the gateway")
	server := redistest.Start(t)
	all := trials(rand.New(rand.NewPCG(seed, 6)))
	t.Run("trials", func(t *testing.T) {
		for i, tr := range all {
			with := "with another worker"
			if tr.alone {
				with = "alone"
			}
			t.Run(fmt.Sprintf("%d %s %s %s %s", i, tr.fault.kind, tr.side, tr.direction, with), func(t *testing.T) {
				t.Parallel()
				tr.run(t, server, tally)
			})
		}
	})
	if want := torture.Size(len(faults), 60); len(all) < want {
		t.Errorf("%d trials, want %d", len(all), want)
	}
}

func (tr trial) run(t *testing.T, server *redistest.Server, tally *torture.Tally) {
	w := newWorld(t, server)
	l := newLoad(tr.seed)
	requests := l.draw(torture.Size(100, 300))
	behind := w.start("behind", true, workers.Config{})
	all := []*worker{behind}
	if !tr.alone {
		all = append(all, w.start("before", false, workers.Config{}))
	}
	failed := func() int64 { return behind.redis.n.Load() }
	if tr.side == gatewaySide {
		failed = behind.Stats().GatewayUnknowns.Load
	}

	third := len(requests) / 3
	w.pace(requests[:third])
	eventually(t, "the worker behind the proxies works", func() error {
		if behind.Stats().Settled.Load() == 0 {
			return errors.New("it has settled nothing")
		}
		return nil
	})
	before := failed()
	w.side(tr.side).poison(tr.fault, tr.direction, l.rng)
	w.pace(requests[third : 2*third])
	for more := 0; tr.fault.cuts && failed() < before+3; more++ {
		if more == 100 {
			t.Fatalf("the fault is not felt: %d calls failed", failed()-before)
		}
		w.pace(l.draw(10))
	}
	w.side(tr.side).heal()
	felt := failed() - before
	w.pace(requests[2*third:])
	w.drained(l.refs)
	ended := w.judge(tally, l, false)
	t.Logf("%v; %d calls failed; reclaimed %d, recovered %d", ended, felt, behind.Stats().Reclaimed.Load(), behind.Stats().Recovered.Load())
	for _, worker := range all {
		worker.stop()
	}
	tally.Count(tr.fault.kind, 1)
	tally.Count("orders", len(l.refs))
	tally.Count("calls without an answer", int(felt))
}

// pace publishes a few requests at a time, so that a load lasts.
func (w *world) pace(requests []domain.Request) {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for part := range slices.Chunk(requests, 5) {
		<-tick.C
		w.publish(part)
	}
}

// Holds are short, and deadlines pass while the gateway or Redis is out of reach:
// what is paid for too late is expired, and its payment voided.
func TestTortureNetworkOutlastsHolds(t *testing.T) {
	t.Parallel()
	seed := torture.Seed(t)
	tally := torture.Begin(t, 6, "an outage of the network that outlasts the holds")
	server := redistest.Start(t)
	silence, down := faultOf("silence"), faultOf("down")
	// At the gateway the payment is made, and only the reply is lost; or not even the request comes.
	cases := []trial{
		{fault: silence, side: gatewaySide, direction: downstream},
		{fault: silence, side: redisSide, direction: downstream},
		{fault: silence, side: gatewaySide, direction: upstream},
		{fault: silence, side: redisSide, direction: upstream},
		{fault: down, side: gatewaySide, direction: "both"},
		{fault: down, side: redisSide, direction: "both"},
	}
	t.Run("trials", func(t *testing.T) {
		for i, tr := range cases[:torture.Size(2, len(cases))] {
			tr.seed = seed + uint64(i)
			t.Run(fmt.Sprintf("%s %s %s", tr.fault.kind, tr.side, tr.direction), func(t *testing.T) {
				t.Parallel()
				tr.outlastHolds(t, server, tally)
			})
		}
	})
}

func (tr trial) outlastHolds(t *testing.T, server *redistest.Server, tally *torture.Tally) {
	w := newWorld(t, server)
	l := newLoad(tr.seed)
	requests := l.draw(torture.Size(60, 200))
	short := workers.Config{HoldTime: time.Second}
	w.start("behind", true, short)
	half := len(requests) / 2
	w.pace(requests[:half])
	if tr.side == redisSide {
		// Redis is lost with payments in hand: their replies come too late.
		w.toGateway.poison(faultOf("silence"), downstream, l.rng)
		w.pace(requests[half:])
		deadline := w.waitHeld(l)
		w.toRedis.poison(tr.fault, tr.direction, l.rng)
		w.pace(l.draw(20))
		eventually(t, "the deadline of a hold passes", func() error {
			now, err := w.store.Now(w.ctx)
			if err == nil && now.UnixMilli() < deadline {
				err = errors.New("it has not")
			}
			return err
		})
		// Only now is there somebody to expire holds that the other one has in hand.
		w.start("before", false, short)
	} else {
		w.toGateway.poison(tr.fault, tr.direction, l.rng)
		w.pace(requests[half:])
	}
	eventually(t, "holds expire", func() error {
		for _, o := range w.orders(l.refs) {
			if o.State == domain.OrderExpired {
				return nil
			}
		}
		return errors.New("none is")
	})
	w.toRedis.heal()
	w.toGateway.heal()
	w.drained(l.refs)
	ended := w.judge(tally, l, true)
	t.Logf("%d orders, %v", len(l.refs), ended)
	tally.Count("outages", 1)
	tally.Count("orders", len(l.refs))
	tally.Count("orders that expired", ended[domain.OrderExpired])
}

// waitHeld waits for an order that is held and that nobody will cancel, and returns its deadline.
func (w *world) waitHeld(l *load) (deadlineMillis int64) {
	w.t.Helper()
	eventually(w.t, "an order is held", func() error {
		for i, o := range w.orders(l.refs) {
			if o.State == domain.OrderHeld && l.ends[l.refs[i]] == domain.OrderConfirmed {
				deadlineMillis = o.DeadlineMillis
				return nil
			}
		}
		return errors.New("none is")
	})
	return deadlineMillis
}

// Only short replies come through to a worker, as behind a network that loses large
// packets. It asks for its own entries over and over, never hears of them, and dies.
// Nobody has tried to handle them, so they are not set aside, however often it
// asked: whoever takes over handles them.
func TestTortureNetworkDeafWorker(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 6, "a worker asks for entries of which it never hears")
	w := newWorld(t, redistest.Start(t))
	l := newLoad(torture.Seed(t))
	requests := l.draw(40)
	few := workers.Config{MaxDeliveries: 5} // so that it soon shows what counts as one
	deaf := w.start("deaf", true, few)
	w.pace(requests[:10])
	eventually(t, "it works", func() error {
		if deaf.Stats().Read.Load() == 0 {
			return errors.New("it has read nothing")
		}
		return nil
	})
	short := fault{"only short replies", true, func(*rand.Rand) []toxic {
		return []toxic{{Type: "limit_data", Attributes: map[string]int{"bytes": 350}}}
	}}
	w.toRedis.poison(short, downstream, l.rng)
	w.pace(requests[10:])
	eventually(t, "it has asked often", func() error {
		if n := deaf.asked.Load(); n < 40 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	w.toRedis.down()
	deaf.stop()
	w.start("other", false, few)
	w.drained(l.refs)
	w.judge(tally, l, false)
	tally.Count("orders", len(l.refs))
	tally.Count("questions without an answer", int(deaf.asked.Load()))
}

// A checkout publishes over a network that misbehaves, and publishes again, under
// the same ids, what it has no receipt for. Each order is opened and paid once,
// and the checkout learns what became of it over the same network.
func TestTortureNetworkPublisher(t *testing.T) {
	t.Parallel()
	seed := torture.Seed(t)
	tally := torture.Begin(t, 6, "a checkout whose network misbehaves publishes until it knows")
	server := redistest.Start(t)
	t.Run("trials", func(t *testing.T) {
		for i, f := range faults {
			directions := f.directions()
			if !torture.Full() {
				directions = directions[i%len(directions):][:1]
			}
			for j, direction := range directions {
				tr := trial{fault: f, side: redisSide, direction: direction, seed: seed + uint64(10*i+j)}
				t.Run(fmt.Sprintf("%s %s", f.kind, direction), func(t *testing.T) {
					t.Parallel()
					tr.publisher(t, server, tally)
				})
			}
		}
	})
}

func (tr trial) publisher(t *testing.T, server *redistest.Server, tally *torture.Tally) {
	w := newWorld(t, server)
	l := newLoad(tr.seed)
	requests := l.draw(torture.Size(60, 200))
	w.start("before", false, workers.Config{})
	checkout, lost := w.publisher()

	third := len(requests) / 3
	again := 0
	send := func(requests []domain.Request) {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for part := range slices.Chunk(requests, 5) {
			<-tick.C
			again += w.sendUntilKnown(checkout, part)
		}
	}
	send(requests[:third])
	before := lost.n.Load()
	w.toRedis.poison(tr.fault, tr.direction, l.rng)
	send(requests[third : 2*third])
	for more := 0; tr.fault.cuts && lost.n.Load() == before; more++ {
		if more == 100 {
			t.Fatal("the fault is not felt")
		}
		send(l.draw(5))
	}
	w.toRedis.heal()
	send(requests[2*third:])
	// The last ones it waits for.
	for _, ref := range l.refs[len(l.refs)-10:] {
		waiting, cancel := context.WithTimeout(w.ctx, patience)
		outcome, err := checkout.Wait(waiting, ref.EventID, ref.OrderID)
		cancel()
		if err != nil || !outcome.Order.State.Terminal() {
			t.Errorf("waiting for %s: %+v, %v", ref, outcome, err)
		}
	}
	w.drained(l.refs)
	ended := w.judge(tally, l, false)
	t.Logf("%v; %d requests published again; %d calls failed", ended, again, lost.n.Load()-before)
	tally.Count(tr.fault.kind, 1)
	tally.Count("orders", len(l.refs))
	tally.Count("requests published again", again)
}

// sendUntilKnown publishes requests, again and again, until there is a receipt for
// each, and returns how many were sent again. If that takes long the network is
// mended: it is not to be broken for as long as somebody tries.
func (w *world) sendUntilKnown(checkout *producer.Producer, requests []domain.Request) (again int) {
	w.t.Helper()
	for round := range 50 {
		var failed []domain.Request
		for i, r := range checkout.PublishBatch(w.ctx, requests) {
			if r.Err != nil {
				failed = append(failed, requests[i])
			}
		}
		if len(failed) == 0 {
			return again
		}
		again += len(failed)
		requests = failed
		if round == 1 {
			w.toRedis.heal()
		}
	}
	w.t.Fatalf("%d requests cannot be published", len(requests))
	return again
}
