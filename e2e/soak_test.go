package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
	"holdfast/producer"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
)

// soakTime is how long TestTortureSoak lasts if HOLDFAST_SOAK says so, such as 1h.
var soakTime = os.Getenv("HOLDFAST_SOAK")

const (
	soakEvents  = 20
	soakTick    = 50 * time.Millisecond
	soakPerTick = 10 // requests: 200 a second
	// soakWaits is what may be in the requests streams at any moment: what comes in
	// during a minute. What is killed with entries in hand keeps them from being trimmed for a while.
	soakWaits = 60 * int64(time.Second/soakTick) * soakPerTick
	// leastSamples are enough to have two halves after the warm-up.
	leastSamples = 4
	endEvery     = 10 * time.Second // a worker
)

// soak is a steady load on workers that now and then are killed, or stopped, and replaced.
type soak struct {
	*system
	shift
	demand
	rdb      *redis.Client
	producer *producer.Producer
	gateway  string

	last     []string // of the log of each partition: up to where it is counted
	entries  int64    // in the log
	facts    int64    // in these
	orders   int64    // stored
	invoices int64    // stored: orders that were confirmed

	samples []sample
	waiting []int64 // entries in the requests streams, under load
}

// shift is the workers of a soak.
type shift struct {
	begin   func(name string) *program.Process
	lasting []*program.Process // live from the beginning to the end
	mortal  *program.Process   // does not
	started int                // mortal ones
	killed  int
	stopped int
}

// demand draws what is asked for, and how each order must end.
type demand struct {
	rng    *rand.Rand
	pick   func() string    // the event of the next order
	number int              // of orders drawn
	later  []domain.Request // that complete or cancel what was opened
	fresh  []soakOrder      // since the last sample
}

type soakOrder struct {
	ref  domain.OrderRef
	want domain.OrderState
}

// sample is what there is at a moment at which everything is drained.
type sample struct {
	orders, invoices, facts int64
	keys                    int64 // but those of orders and invoices
	memory                  int64 // used by Redis
	scripts, scriptMemory   int64 // cached
	luaMemory               int64
	requestsMemory          int64 // of the requests streams, which are empty
	connections             int64 // to Redis, of everybody
	rss, files, threads     int64 // of the lasting workers together
}

// An hour of steady load, or less. Whenever it pauses and everything is drained,
// nothing is left but what must be kept: the log with exactly the facts of the
// orders, the orders, their invoices and sales. What workers and Redis need for
// the work does not grow, and consumers that died are forgotten.
func TestTortureSoak(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 12, "steady load")
	lasts := time.Duration(torture.Size(10, 90)) * time.Second
	if soakTime != "" {
		var err error
		if lasts, err = time.ParseDuration(soakTime); err != nil {
			t.Fatalf("HOLDFAST_SOAK: %v", err)
		}
	}
	s := newSoak(t, torture.Seed(t))
	began := time.Now()
	every := min(max(lasts/30, 500*time.Millisecond), time.Minute) // a sample
	for time.Since(began) < lasts || len(s.samples) < leastSamples {
		s.load(every)
		s.sample()
	}
	seconds := int(time.Since(began).Seconds())
	s.compare()
	s.compareGoroutines()
	s.end()
	s.census()
	s.judge(tally)
	tally.Count("seconds", seconds)
	tally.Count("orders", int(s.orders))
	tally.Count("facts", int(s.facts))
	tally.Count("workers killed", s.killed)
	tally.Count("workers stopped", s.stopped)
	tally.Count("samples", len(s.samples))
	if s.killed == 0 || s.stopped == 0 || seconds < int(lasts.Seconds()) {
		t.Errorf("%d workers killed, %d stopped, in %d s: that was no test", s.killed, s.stopped, seconds)
	}
}

func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	s := &soak{system: newSystem(t), demand: demand{rng: rand.New(rand.NewPCG(seed, 12))}}
	s.pick = func() string { return soakEvent(s.rng.IntN(soakEvents)) }
	for e := range soakEvents {
		_, err := s.store().Events().Create(context.Background(), soakEvent(e), domain.Terms{
			Name: "Soak", Currency: "EUR",
			Sections: []domain.SectionTerms{{Name: domain.DefaultSection, Price: 12_50, Capacity: 50_000_000}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.rdb, s.producer = s.client(), s.system.producer()
	s.last = make([]string, s.store().Partitions())
	for p := range s.last {
		s.last[p] = "0-0"
	}
	s.readLog(nil)
	s.gateway = soakGateway(t, seed)
	s.start(func(name string) *program.Process { return s.worker(name, soakArgs(s.gateway)...) })
	return s
}

func soakGateway(t testing.TB, seed uint64) string {
	t.Helper()
	return startGateway(t, "--latency", "20ms", "--lost-reply-rate", "0.002", "--seed", strconv.FormatUint(seed, 10))
}

func soakArgs(gateway string) []string {
	return []string{"--gateway", gateway, "--reclaim-after", fmt.Sprintf("%ds", torture.Size(1, 2)), "--call-timeout", "1s"}
}

// start begins two workers that last, and one that does not.
func (s *shift) start(begin func(name string) *program.Process) {
	s.begin = begin
	for i := range 2 {
		s.lasting = append(s.lasting, begin(fmt.Sprintf("lasting-%d", i)))
	}
	s.next()
}

func (s *shift) next() {
	s.started++
	s.mortal = s.begin(fmt.Sprintf("mortal-%d", s.started))
}

// turn ends a worker, in one way or the other, and begins another one.
func (s *shift) turn() {
	s.mortal.Alive() // or it died of something else
	if s.started%2 == 1 {
		s.mortal.Kill()
		s.killed++
	} else {
		s.mortal.Stop(endTime)
		s.stopped++
	}
	s.next()
}

func soakEvent(n int) string { return fmt.Sprintf("soak-%d", n) }

// load publishes for a while, and now and then a worker ends, in one way or the other.
func (s *soak) load(lasts time.Duration) {
	s.t.Helper()
	tick := time.NewTicker(soakTick)
	defer tick.Stop()
	ticks := int(lasts / soakTick)
	perEnd := min(ticks, int(endEvery/soakTick))
	for i := range ticks {
		<-tick.C
		publish(s.t, s.producer, s.draw()...)
		if i%perEnd != perEnd/2 {
			continue
		}
		s.noteWaiting()
		s.turn()
	}
	s.noteWaiting()
	publish(s.t, s.producer, s.later...)
	s.later = nil
}

// draw returns the next requests.
func (d *demand) draw() []domain.Request {
	var requests []domain.Request
	requests, d.later = d.later, nil
	for len(requests) < soakPerTick {
		d.number++
		r := domain.Request{
			Type: domain.RequestPurchase, EventID: d.pick(), OrderID: fmt.Sprintf("order-%08d", d.number),
			CustomerID: fmt.Sprintf("customer-%08d", d.number), Section: domain.DefaultSection, Quantity: 1 + d.rng.Int64N(4), PaymentToken: "tok_1",
		}
		want := domain.OrderConfirmed
		cancel := domain.Request{Type: domain.RequestCancel, EventID: r.EventID, OrderID: r.OrderID}
		switch draw := d.rng.Float64(); {
		case draw < 0.08:
			r.PaymentToken, want = "decline_1", domain.OrderDeclined
		case draw < 0.11:
			r.Section, want = "nowhere", domain.OrderRejected
		case draw < 0.21:
			d.later = append(d.later, domain.Request{Type: domain.RequestPay, EventID: r.EventID, OrderID: r.OrderID, PaymentToken: r.PaymentToken})
			r.Type, r.PaymentToken = domain.RequestHold, ""
		case draw < 0.24:
			d.later = append(d.later, cancel)
			r.Type, r.PaymentToken, want = domain.RequestHold, "", domain.OrderCancelled
		case draw < 0.31:
			d.later = append(d.later, cancel)
			want = domain.OrderCancelled
		case draw < 0.33: // and never paid
			r.Type, r.PaymentToken, r.HoldSeconds, want = domain.RequestHold, "", 1, domain.OrderExpired
		case draw < 0.38: // the checkout did not see the receipt
			d.later = append(d.later, r)
		}
		requests = append(requests, r)
		d.fresh = append(d.fresh, soakOrder{r.Ref(), want})
	}
	return requests
}

// noteWaiting looks at the requests streams under load.
func (s *soak) noteWaiting() {
	s.t.Helper()
	n := int64(0)
	for p := range s.last {
		n += s.rdb.XLen(context.Background(), requestsKey(p)).Val()
	}
	s.waiting = append(s.waiting, n)
	if n > soakWaits {
		s.t.Errorf("%d entries in the requests streams, want %d at most", n, soakWaits)
	}
}

// sample waits until all is done, counts everything that must be exact, and
// notes what must not grow.
func (s *soak) sample() {
	s.t.Helper()
	s.drained(time.Minute)
	s.trimmed()
	s.forgotten(append(slices.Clone(s.lasting), s.mortal)...)
	s.countFresh()
	ctx := context.Background()
	n := sample{orders: s.orders, invoices: s.invoices, facts: s.facts}
	n.keys = s.rdb.DBSize(ctx).Val() - s.invoices - s.orderHashes()
	memory := info(s.t, s.rdb, "memory")
	n.memory, n.luaMemory = memory("used_memory"), memory("used_memory_vm_total")
	n.scripts, n.scriptMemory = memory("number_of_cached_scripts"), memory("used_memory_scripts")
	n.connections = info(s.t, s.rdb, "clients")("connected_clients")
	for p := range s.last {
		n.requestsMemory += s.rdb.MemoryUsage(ctx, requestsKey(p), 0).Val()
	}
	for _, w := range s.lasting {
		w.Alive()
		rss, threads := status(s.t, w)
		n.rss, n.threads = n.rss+rss, n.threads+threads
		n.files += openFiles(s.t, w)
	}
	s.samples = append(s.samples, n)
	if len(s.samples)%10 == 0 {
		s.t.Logf("%d samples: %+v", len(s.samples), n)
	}
}

// orderHashes is how many keys orders are in: the more are sold of an event the more of its share are there.
func (s *soak) orderHashes() (n int64) {
	s.t.Helper()
	iter := s.rdb.Scan(context.Background(), 0, "holdfast:{?}:2:orders:*", 1000).Iterator()
	for iter.Next(context.Background()) {
		n++
	}
	if err := iter.Err(); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// forgotten waits until no group knows any consumer but these workers.
func (s *soak) forgotten(living ...*program.Process) {
	s.t.Helper()
	want := make([]string, len(living))
	for i, w := range living {
		want[i] = w.Name
	}
	slices.Sort(want)
	eventually(s.t, soon, "dead consumers are forgotten", func() error {
		groups, err := inspect.New(s.store()).Pending(context.Background(), 0)
		if err != nil {
			return err
		}
		names := make([][]string, len(s.last)) // as the zset has them
		for _, g := range groups {
			var got []string
			for _, c := range g.Consumers {
				got = append(got, c.Name)
				names[g.Partition] = append(names[g.Partition], g.Group+"/"+c.Name)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				return fmt.Errorf("partition %d, group %s: %v, want %v", g.Partition, g.Group, got, want)
			}
		}
		for p := range names {
			got, err := s.rdb.ZRange(context.Background(), keyOf(p, "consumers"), 0, -1).Result()
			slices.Sort(got)
			slices.Sort(names[p])
			if err != nil || !slices.Equal(got, names[p]) {
				return errors.Join(fmt.Errorf("partition %d: %v count as alive, want %v", p, got, names[p]), err)
			}
		}
		return nil
	})
}

// countFresh checks that each order since the last sample ended as it must, and
// that the log has exactly the facts of that, and no others.
func (s *soak) countFresh() {
	s.t.Helper()
	refs := make([]domain.OrderRef, len(s.fresh))
	for i, o := range s.fresh {
		refs[i] = o.ref
	}
	want := make(map[domain.OrderRef]int, len(refs))
	for i, o := range s.system.orders(refs) {
		if o.State != s.fresh[i].want {
			s.t.Errorf("%s is %s (%s %s), want %s", refs[i], o.State, o.Reason, o.Detail, s.fresh[i].want)
		}
		facts := 1 // what it is now
		if o.HeldAtMillis > 0 {
			facts++
		}
		if o.RequestType == domain.RequestHold && o.Attempt > 0 { // that a pay was accepted
			facts++
		}
		if o.ConfirmedAtMillis > 0 {
			s.invoices++
			if o.State != domain.OrderConfirmed {
				facts++
			}
		}
		want[refs[i]] = facts
	}
	s.orders += int64(len(refs))
	s.fresh = nil
	s.readLog(want)
}

// readLog counts the log from where it stopped. want says how many facts there
// must be of which order; if it is nil, they are not looked at.
func (s *soak) readLog(want map[domain.OrderRef]int) {
	s.t.Helper()
	got := make(map[domain.OrderRef]int, len(want))
	for p := range s.last {
		entry := ""
		last, err := s.store().ReadLog(context.Background(), p, s.last[p], "+", func(f domain.Fact) error {
			s.facts++
			if f.ID != entry {
				s.entries++
				entry = f.ID
			}
			got[f.Ref()]++
			return nil
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.last[p] = last
	}
	if want == nil {
		return
	}
	for ref, n := range want {
		if got[ref] != n {
			s.t.Errorf("%s: %d facts, want %d", ref, got[ref], n)
		}
		delete(got, ref)
	}
	for ref, n := range got {
		s.t.Errorf("%s: %d facts, but nobody asked for it", ref, n)
	}
	length := int64(0)
	for p := range s.last {
		length += s.rdb.XLen(context.Background(), keyOf(p, "log")).Val()
	}
	if length != s.entries {
		s.t.Errorf("the log has %d entries, want %d", length, s.entries)
	}
}

// info returns what a section of INFO says, by name.
func info(t testing.TB, rdb *redis.Client, section string) func(name string) int64 {
	t.Helper()
	text, err := rdb.Info(context.Background(), section).Result()
	if err != nil {
		t.Fatal(err)
	}
	return func(name string) int64 {
		t.Helper()
		for line := range strings.Lines(text) {
			if value, found := strings.CutPrefix(strings.TrimSpace(line), name+":"); found {
				n, err := strconv.ParseInt(value, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("INFO %s says nothing of %s", section, name)
		return 0
	}
}

// status is how much memory a process has, in bytes, and how many threads.
func status(t testing.TB, p *program.Process) (rss, threads int64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Cmd.Process.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // other lines are no numbers
		switch name {
		case "VmRSS":
			rss = n << 10
		case "Threads":
			threads = n
		}
	}
	if rss == 0 || threads == 0 {
		t.Fatalf("%s: its status says nothing of memory or threads", p.Name)
	}
	return rss, threads
}

func openFiles(t testing.TB, p *program.Process) int64 {
	t.Helper()
	files, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.Cmd.Process.Pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(files))
}

// compare holds the second half of the samples against the first, after a warm-up.
func (s *soak) compare() {
	s.t.Helper()
	warm := max(len(s.samples)/4, 2)
	samples := s.samples[warm:]
	steady := func(what string, slack int64, of func(sample) int64) {
		s.t.Helper()
		var values []int64
		for _, n := range samples {
			values = append(values, of(n))
		}
		s.steady(what, values, slack)
	}
	// Slack is for what comes and goes; one more a second would be 1,350 in an hour.
	steady("cached scripts", 0, func(n sample) int64 { return n.scripts })
	steady("memory of scripts", 4<<10, func(n sample) int64 { return n.scriptMemory })
	steady("memory of Lua", 256<<10, func(n sample) int64 { return n.luaMemory })
	steady("memory of the requests streams", 16<<10, func(n sample) int64 { return n.requestsMemory })
	steady("connections to Redis", 20, func(n sample) int64 { return n.connections })
	steady("open files of workers", 60, func(n sample) int64 { return n.files })
	steady("threads of workers", 40, func(n sample) int64 { return n.threads })
	steady("memory of workers", 32<<20, func(n sample) int64 { return n.rss })
	s.steady("entries in the requests streams", s.waiting[len(s.waiting)/4:], soakWaits/10)
	// Events are sold for the first time, and turns come and go; every other key has orders or an invoice.
	steady("keys that are of neither orders nor invoices", 40, func(n sample) int64 { return n.keys })

	first, middle, last := samples[0], samples[len(samples)/2], samples[len(samples)-1]
	perOrder := func(from, to sample) float64 { return float64(to.memory-from.memory) / float64(to.orders-from.orders) }
	early, late := perOrder(first, middle), perOrder(middle, last)
	s.t.Logf("%d samples, %d of them warm-up: Redis's memory grew by %.0f bytes an order in the first half, and %.0f in the second", len(s.samples), warm, early, late)
	// What does not come from orders, such as the buffers of connections, may differ by a few MB.
	if bound := 1.3*early*float64(last.orders-middle.orders) + 4<<20; float64(last.memory-middle.memory) > bound {
		s.t.Errorf("Redis's memory grew by %.0f bytes an order in the first half, and %.0f in the second", early, late)
	}
}

// steady fails if what is usual in the second half is more than slack above what was in the first.
func (s *soak) steady(what string, values []int64, slack int64) {
	s.t.Helper()
	usual := func(values []int64) int64 {
		values = slices.Sorted(slices.Values(values))
		return values[len(values)/2]
	}
	half := len(values) / 2
	first, second := usual(values[:half]), usual(values[half:])
	s.t.Logf("%s: %d, then %d; at most %d", what, first, second, slices.Max(values))
	if second > first+slack {
		s.t.Errorf("%s grows, from %d to %d: %v", what, first, second, values)
	}
}

// compareGoroutines ends a worker that lived all the time, and one that is new,
// with SIGQUIT, upon which they tell what all their goroutines do.
func (s *soak) compareGoroutines() {
	s.t.Helper()
	young := s.begin("young")
	s.drained(soon)
	old := s.lasting[0]
	s.lasting = s.lasting[1:]
	was, is := goroutines(s.t, young), goroutines(s.t, old)
	s.t.Logf("goroutines: %d of a new worker, %d of an old one", was, is)
	if was < 10 || is > was+20 {
		s.t.Errorf("an old worker has %d goroutines, a new one %d", is, was)
	}
}

// goroutines ends a process, and returns how many it had, without those of idle connections of the HTTP client,
// and without those that wait for the next payment: there are as many as there ever were payments under way at once.
func goroutines(t testing.TB, p *program.Process) (n int) {
	t.Helper()
	before := len(p.Stderr.String())
	p.Signal(syscall.SIGQUIT)
	p.Wait(endTime)
	for part := range strings.SplitSeq(p.Stderr.String()[before:], "\n\n") {
		idle := strings.Contains(part, "net/http.(*persistConn)") || strings.Contains(part, "workers.(*crew") && strings.Contains(part, "sync.(*Cond).Wait")
		if strings.HasPrefix(part, "goroutine ") && !idle {
			n++
		}
	}
	return n
}

// end stops the workers that are left, after which nobody is known to any group.
func (s *soak) end() {
	s.t.Helper()
	left := append(slices.Clone(s.lasting), s.mortal)
	s.forgotten(left...)
	program.StopAll(left...)
	s.forgotten()
}

// census looks at every key there is, when nobody works any more.
func (s *soak) census() {
	s.t.Helper()
	ctx := context.Background()
	eventually(s.t, soon, "all turns end", func() error {
		keys, err := s.rdb.Keys(ctx, "holdfast:{?}:2:turn:*").Result()
		if err != nil || len(keys) > 0 {
			return errors.Join(fmt.Errorf("%v", keys), err)
		}
		return nil
	})
	found := make(map[string]int64)
	memory := make(map[string]int64)
	var orders int64
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		keys, next, err := s.rdb.Scan(ctx, cursor, "", 1000).Result()
		if err != nil {
			s.t.Fatal(err)
		}
		cursor = next
		pipe := s.rdb.Pipeline()
		sizes := make([]*redis.IntCmd, len(keys))
		for i, key := range keys {
			sizes[i] = pipe.MemoryUsage(ctx, key, 0)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			s.t.Fatal(err)
		}
		for i, key := range keys {
			found[kindOf(key)]++
			memory[kindOf(key)] += sizes[i].Val()
			if kindOf(key) == "orders" {
				orders += s.rdb.HLen(ctx, key).Val()
			}
		}
	}
	partitions := int64(len(s.last))
	used := int64(0) // partitions that events are in
	for p := range partitions {
		for e := range soakEvents {
			if int64(s.store().Partition(soakEvent(e))) == p {
				used++
				break
			}
		}
	}
	want := map[string]int64{
		"meta": 1, "requests": partitions, "log": partitions, "events": used, "invoices": s.invoices,
		"orders": found["orders"], // the hashes that they are in
	}
	if orders != s.orders {
		s.t.Errorf("%d orders are stored, want %d", orders, s.orders)
	}
	// One for each partition in which anything was ever in hand for long enough to be noted.
	if n := found["delivered"]; n > partitions {
		s.t.Errorf("%d keys delivered, want %d at most", n, partitions)
	}
	want["delivered"] = found["delivered"]
	// Workers that did not end by themselves have a field there for an hour.
	if n := found["workers"]; n > 1 {
		s.t.Errorf("%d keys workers, want 1 at most", n)
	}
	want["workers"] = found["workers"]
	total := int64(0)
	for kind, n := range found {
		total += memory[kind]
		if want[kind] != n {
			s.t.Errorf("%d keys %s, want %d", n, kind, want[kind])
		}
	}
	for kind, n := range want {
		if found[kind] != n {
			s.t.Errorf("%d keys %s, want %d", found[kind], kind, n)
		}
	}
	all := info(s.t, s.rdb, "memory")("used_memory")
	s.t.Logf("%d bytes in Redis, %d of them in keys, %d an order: %v", all, total, total/s.orders, memory)
	// The rest is the table of the keys, connections, scripts.
	if all > total*3/2+16<<20 {
		s.t.Errorf("Redis uses %d bytes, but all its keys only %d", all, total)
	}
}

// kindOf is what a key is for: holdfast:{0}:2:orders:7 has orders.
func kindOf(key string) string {
	for _, part := range strings.Split(key, ":")[1:] {
		if part != "2" && !strings.HasPrefix(part, "{") {
			return part
		}
	}
	return key
}

// judge has the auditor look at everything.
func (s *soak) judge(tally *torture.Tally) {
	s.t.Helper()
	report, err := audit.Run(context.Background(), s.store(), audit.Options{Gateway: booksOf(s.t, s.gateway)})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, v := range report.Violations {
		s.t.Errorf("%s %s: %s", v.Invariant, v.Subject, v.Detail)
	}
	if int64(report.Checked.Orders) != s.orders || int64(report.Checked.Facts) != s.facts {
		s.t.Errorf("the audit saw %+v, want %d orders and %d facts", report.Checked, s.orders, s.facts)
	}
	tally.Judged(len(report.Violations))
}
