package streams

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/e2e/torture"
	"holdfast/streams/internal/layout"
	"holdfast/streams/redistest"
)

// paced is a partition whose requests come and go as by a clock of its own, which ends now.
type paced struct {
	*fixture
	trim  *redis.Script
	ids   []layout.LogID // of all requests, in their order
	given int            // how many of them a worker was given
}

func newPaced(f *fixture) *paced {
	source := read("scripts/trim.lua")
	clock := strings.Replace(source, "redis.call('TIME')", "{ ARGV[2], ARGV[3] }", 1)
	if clock == source {
		f.Fatal("trim.lua has another clock")
	}
	return &paced{fixture: f, trim: redis.NewScript(clock)}
}

// publish adds requests at a time, one millisecond having as many as another as far as that goes.
func (p *paced) publish(fromMillis, millis int64, n int) {
	p.Helper()
	pipe := p.Client.Pipeline()
	for i := range n {
		at := uint64(fromMillis + int64(i)*millis/int64(n))
		id := layout.LogID{Millis: at}
		if last := len(p.ids) - 1; last >= 0 && p.ids[last].Millis == at {
			id.Seq = p.ids[last].Seq + 1
		}
		p.ids = append(p.ids, id)
		pipe.Do(p.Ctx, "XADD", p.Keys.Requests(0), name(id), "v", "1")
	}
	if n > 0 {
		_, err := pipe.Exec(p.Ctx)
		p.Must(err)
	}
}

func name(id layout.LogID) string { return fmt.Sprintf("%d-%d", id.Millis, id.Seq) }

// give gives requests to a worker, which is done with them at once.
func (p *paced) give(n int) {
	p.Helper()
	for p.given += n; n > 0; n -= 1000 {
		err := p.Client.Do(p.Ctx, "XREADGROUP", "GROUP", "purchase", "w1", "COUNT", min(n, 1000), "NOACK", "STREAMS", p.Keys.Requests(0), ">").Err()
		p.Must(err)
	}
}

func (p *paced) sample(atMillis int64) {
	p.Helper()
	p.Must(p.trim.Run(p.Ctx, p.Client, []string{p.Keys.Requests(0), p.Keys.Pace(0)}, "purchase", atMillis/1000, atMillis%1000*1000).Err())
}

// place is that of a request, looked at now.
func (p *paced) place(i int) domain.InLine {
	p.Helper()
	in, err := p.store.Checkout().InLine(p.Ctx, 0, name(p.ids[i]))
	p.Must(err)
	return in
}

// Places are told to within 2 %, or what is published in a second, however unevenly requests have come for an hour, and from
// few samples.
func TestTorturePlaceInLine(t *testing.T) {
	seed := torture.Seed(t)
	tally := torture.Begin(t, 7, "places in a line of requests that came unevenly")
	random := rand.New(rand.NewPCG(seed, 7))
	seconds, many := int64(torture.Size(900, 3600)), torture.Size(60_000, 1_000_000)
	p := newPaced(openFixture(t, redistest.Start(t)))
	began := p.Now() - 1125*seconds
	mean := float64(many) / float64(seconds)
	p.sample(began)
	for s, at := int64(0), began; s < seconds; s++ {
		step := 875 + random.Int64N(250)
		rate := mean * (1 + 0.8*math.Sin(float64(s)/97)) // waves, and now and then a rush or nothing
		switch random.IntN(40) {
		case 0:
			rate *= 8
		case 1:
			rate = 0
		}
		p.publish(at, step, int(rate*(0.5+random.Float64())))
		if s < 20 && p.given < len(p.ids) {
			p.give(1)
		}
		at += step
		p.sample(at)
	}
	samples := p.Do("LLEN", p.Keys.Pace(0)).(int64)
	if samples > 800 || samples < 700 {
		t.Errorf("%d samples", samples)
	}
	worst := 0.0
	check := func() {
		checkout := p.store.Checkout()
		for range 500 {
			i := p.given + random.IntN(len(p.ids)-p.given)
			if random.IntN(2) == 0 { // soon
				i = p.given + random.IntN(min(3000, len(p.ids)-p.given))
			}
			in, err := checkout.InLine(p.Ctx, 0, name(p.ids[i]))
			p.Must(err)
			exact := int64(i - p.given)
			off := math.Abs(float64(in.Ahead - exact))
			second := float64(sort.Search(len(p.ids), func(k int) bool { return p.ids[k].Millis > p.ids[i].Millis+500 }) -
				sort.Search(len(p.ids), func(k int) bool { return p.ids[k].Millis >= p.ids[i].Millis-500 }))
			allowed := max(float64(exact)/50, mean, second)
			worst = max(worst, off/allowed)
			if in.State != domain.LineWaiting || off > allowed || in.AtLeast > exact || in.AtMost < exact {
				t.Errorf("%s: %+v, want %d, give or take %.0f", name(p.ids[i]), in, exact, allowed)
			}
		}
	}
	check()
	for range 4 {
		p.give((len(p.ids) - p.given) / 2)
		check()
	}
	// Of 900 samples those are dropped without which places are told as well.
	if !torture.Full() && worst > 0.3 {
		t.Errorf("the worst place was off by %.2f of what it may be", worst)
	}
	tally.Count("requests", len(p.ids))
	tally.Count("samples", int(samples))
	t.Logf("%d requests, %d samples, the worst was off by %.2f of what it may be", len(p.ids), samples, worst)
}

// The time is told by the rate of the last seconds, and not at all if nothing moves.
func TestPlaceInLineWait(t *testing.T) {
	for name, rate := range map[string]int{"moving": 100, "standing": 0} {
		t.Run(name, func(t *testing.T) {
			p := newPaced(newFixture(t))
			now := p.Now()
			p.publish(now-40_000, 10_000, 20_000)
			for s := range int64(30) {
				p.sample(now - 30_000 + 1000*s)
				p.give(rate)
			}
			in := p.place(len(p.ids) - 1)
			exact := int64(len(p.ids) - 1 - p.given)
			if in.Ahead != exact || in.AtLeast != exact || in.AtMost != exact {
				t.Errorf("%+v, want %d", in, exact)
			}
			if want := time.Duration(exact) * 10 * time.Millisecond; rate > 0 && (in.Wait < want*8/10 || in.Wait > want*12/10) || rate == 0 && in.Wait != domain.Unknown {
				t.Errorf("it waits %s, want %s", in.Wait, want)
			}
		})
	}
}

// What was published while nobody noted the pace has bounds, and no place; what came before and afterwards has.
func TestPlaceInLineWithoutMaintenance(t *testing.T) {
	p := newPaced(newFixture(t))
	now := p.Now()
	p.publish(now-600_000, 100_000, 1000)
	if in := p.place(500); in.Ahead != domain.Unknown || in.Wait != domain.Unknown || in.AtLeast > 500 || in.AtMost < 500 || in.AtMost > 999 {
		t.Errorf("nobody ever looked: %+v", in)
	}
	for s := range int64(10) {
		p.publish(now-500_000+1000*s, 1000, 100)
		p.sample(now - 499_000 + 1000*s)
	}
	p.publish(now-490_000, 400_000, 4000)
	p.sample(now - 90_000)
	p.publish(now-90_000, 90_000, 90)
	for i, want := range map[int]int64{500: domain.Unknown, 1500: 1500, 4000: domain.Unknown, 5999: 5999, 6050: 6050} {
		in := p.place(i)
		if off := in.Ahead - want; in.State != domain.LineWaiting || off < -100 || off > 100 || in.AtLeast > int64(i) || in.AtMost < int64(i) {
			t.Errorf("%d: %+v, want %d", i, in, want)
		}
	}
}

// A place is nobody's who is not in line; other data begins another line.
func TestPlaceInLineOfWhoIsNot(t *testing.T) {
	f := newFixture(t)
	checkout := f.store.Checkout()
	want := func(id string, state domain.LineState) {
		t.Helper()
		if in, err := checkout.InLine(f.Ctx, 0, id); err != nil || in.State != state || state != domain.LineWaiting && in != (domain.InLine{State: state}) {
			t.Errorf("%s: %+v, %v, want %s", id, in, err, state)
		}
	}
	trim := func() {
		t.Helper()
		_, _, err := f.ledger.Trim(f.Ctx, 0)
		f.Must(err)
	}
	_, err := checkout.InLine(f.Ctx, 0, "cart-4711")
	f.WantClass(err, domain.ClassReject)
	want("1-0", domain.LineLeft)
	taken := f.Give("w1", 2)
	want(taken[1], domain.LineInHand)
	f.Must(f.queue(domain.GroupWorkers, "w1").Ack(f.Ctx, taken[1:]))
	want(taken[1], domain.LineLeft)
	id := f.Publish(purchase("e1", "o1", "fred", 1))
	want(id, domain.LineWaiting)
	trim()
	if n := f.Do("LLEN", f.Keys.Pace(0)); n != int64(1) {
		t.Errorf("%v samples", n)
	}
	trim() // at the same time
	if n := f.Do("LLEN", f.Keys.Pace(0)); n != int64(1) {
		t.Errorf("%v samples of one moment", n)
	}

	// Its stream is gone, and samples of it are left: they are not of the stream that is there afterwards.
	f.Do("DEL", f.Keys.Requests(0))
	checkout = f.store.Checkout()
	want(id, domain.LineLeft)
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	want(id, domain.LineLeft)
	again := f.Publish(purchase("e1", "o1", "fred", 1))
	want(again, domain.LineWaiting)
	trim()
	sample, ok := layout.DecodeSample(f.Do("LINDEX", f.Keys.Pace(0), 0).(string))
	if n := f.Do("LLEN", f.Keys.Pace(0)); n != int64(1) || !ok || sample.Added != 1 || sample.Off != -1 {
		t.Errorf("%v samples, the first is %+v, %t", n, sample, ok)
	}
	f.Must(f.queue(domain.GroupWorkers, "w1").Ack(f.Ctx, ids(f.Deliver(domain.GroupWorkers, "w1"))))
	trim()
	if n := f.Do("EXISTS", f.Keys.Pace(0)); n != int64(0) {
		t.Error("samples of nothing")
	}
	checkout = f.store.Checkout() // one that has not looked a moment ago
	want(again, domain.LineLeft)

	// Where Redis does not know how many were given out, the samples do.
	p := newPaced(f)
	now := f.Now() + 1000
	for s := range int64(6) {
		p.publish(now+1000*s, 1000, 50)
		p.sample(now + 1000*(s+1))
	}
	f.Do("XDEL", f.Keys.Requests(0), name(p.ids[120]))
	f.Do("XGROUP", "SETID", f.Keys.Requests(0), "purchase", name(p.ids[99]))
	if groups := fmt.Sprint(f.Do("XINFO", "GROUPS", f.Keys.Requests(0))); !strings.Contains(groups, "<nil>") {
		t.Fatalf("Redis knows: %s", groups)
	}
	if in := p.place(249); in.Ahead < 145 || in.Ahead > 152 {
		t.Errorf("without a lag: %+v, want %s", in, strconv.Itoa(149))
	}
}
