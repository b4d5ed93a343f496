package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/audit"
)

const (
	// boundedWarm is from when on memory must be flat: the first events were forgotten by then, and some more.
	boundedWarm = 10 * time.Minute
	// boundedFlat is by how much it may grow from one half of the time after that to the other, in percent.
	boundedFlat = 2
	// boundedOnSale is how many events are on sale at a time.
	boundedOnSale = 20
	// boundedGrace is for how long nothing new is asked of an event before it is closed. Requests may be in the hands of a worker that was killed.
	boundedGrace = 15 * time.Second
)

// bounded is a steady load on a Redis from which all goes that is over: events are listed, sold and closed all the time, and forgotten a while later, and the
// log is trimmed behind its archive. Whatever is not on the invoices is in the archive alone, then.
type bounded struct {
	*system
	shift
	demand
	rdb      *redis.Client
	producer *producer.Producer
	gateway  string
	began    time.Time

	bucket  archive.Bucket
	reader  *archive.Reader
	trimmer *archive.Archiver // nil: workers trim the log
	every   time.Duration     // a sample
	sells   time.Duration     // each event

	listed, leaving   []listing // on sale; not any more, and not closed yet
	events, forgotten int       // that there ever were
	orders, invoices  int
	unseen            int // orders whose event was forgotten before they were looked at
	samples           []boundedSample
	perKey            int64 // what MEMORY USAGE does not tell
}

type listing struct {
	event string
	until time.Time
}

// boundedSample is what there is at a moment at which everything is drained.
type boundedSample struct {
	At       time.Duration `json:"at_ns"`
	Orders   int           `json:"orders"`         // that there ever were
	Facts    int           `json:"facts"`          // that are archived
	Segments int           `json:"segments"`       // of the archive
	Archived int64         `json:"archived_bytes"` // in these
	Events   int           `json:"events"`         // that are in Redis
	Live     int64         `json:"live_orders"`    // that are in Redis
	Entries  int64         `json:"log_entries"`    // that are in Redis
	Memory   int64         `json:"used_memory"`
	Lines    int64         `json:"invoices"`     // keys: each customer buys once
	Untold   int64         `json:"untold_bytes"` // what a key takes that MEMORY USAGE does not tell: the allocator rounds
	InLines  int64         `json:"invoice_bytes"`
	Others   int64         `json:"other_keys"`
	InOthers int64         `json:"other_bytes"`
	InOrders int64         `json:"order_bytes"` // of these, in hashes of orders
	InLog    int64         `json:"log_bytes"`   // of these
}

// rest is what Redis uses beside invoice lines.
func (s boundedSample) rest() int64 { return s.Memory - s.lines() }

// lines is what invoice lines take: with their keys, and with the table of all keys.
func (s boundedSample) lines() int64 { return s.InLines + s.Lines*s.Untold + tableOf(s.Lines+s.Others) }

// tableOf is what the table of so many keys takes, which has a power of two of places.
func tableOf(keys int64) int64 {
	if keys == 0 {
		return 0
	}
	return 8 << bits.Len64(uint64(keys-1)) //nolint:gosec // a count
}

// untold weighs keys like those of invoices by what they add to Redis's memory, and returns how many bytes of each MEMORY USAGE does not tell.
func (s *bounded) untold() int64 {
	s.t.Helper()
	const keys, atOnce = 50_000, 5_000
	ctx := context.Background()
	many := func(do func(pipe redis.Pipeliner, key string)) {
		s.t.Helper()
		for first := 0; first < keys; first += atOnce {
			if _, err := s.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
				for n := range atOnce {
					do(pipe, fmt.Sprintf("holdfast:2:invoices:{weighed-%08d}", first+n))
				}
				return nil
			}); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	var before, after boundedSample
	s.weigh(&before)
	many(func(pipe redis.Pipeliner, key string) {
		pipe.HSet(ctx, key, "weighed/order-00000001", "c|EUR|2500|2|1795820721700")
	})
	s.weigh(&after)
	many(func(pipe redis.Pipeliner, key string) { pipe.Del(ctx, key) })
	told := after.InLines + tableOf(after.Lines+after.Others) - tableOf(before.Lines+before.Others)
	untold := (after.Memory - before.Memory - told + keys/2) / keys
	s.t.Logf("of a key, MEMORY USAGE leaves out %d bytes", untold)
	return untold
}

// Redis holds what is being sold, and the invoices; the archive holds everything. An hour of steady load with a trimmed log and events that are forgotten: what
// Redis uses beside the invoice lines does not grow, while the archive grows by its facts. Workers are killed and stopped meanwhile.
func TestTortureSoakBounded(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 12, "steady load with an archive, a trimmed log, and events that are forgotten")
	lasts := time.Duration(torture.Size(8, 90)) * time.Second
	if soakTime != "" {
		var err error
		if lasts, err = time.ParseDuration(soakTime); err != nil {
			t.Fatalf("HOLDFAST_SOAK: %v", err)
		}
	}
	s := newBounded(t, torture.Seed(t), lasts)
	for time.Since(s.began) < lasts || s.forgotten == 0 || s.trimmedEntries() == 0 {
		if time.Since(s.began) > lasts+time.Minute {
			t.Fatalf("in %s, %d of %d events were forgotten and %d entries trimmed: that was no test", time.Since(s.began), s.forgotten, s.events, s.trimmedEntries())
		}
		s.sample(s.load())
	}
	s.end(tally)
}

func newBounded(t *testing.T, seed uint64, lasts time.Duration) *bounded {
	t.Helper()
	s := &bounded{system: newSystem(t), demand: demand{rng: rand.New(rand.NewPCG(seed, 13))}}
	s.every = min(max(lasts/30, 500*time.Millisecond), time.Minute)
	s.sells = min(max(lasts/30, time.Second), time.Minute)
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	var err error
	if s.bucket, err = archive.Open(context.Background(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.bucket.Close() })
	s.reader = archive.NewReader(s.bucket, streams.DefaultNamespace)
	s.rdb, s.producer = s.client(), s.system.producer()
	s.perKey = s.untold()
	s.pick = func() string { return s.listed[s.rng.IntN(len(s.listed))].event }
	s.gateway = soakGateway(t, seed)
	keep := "5m"
	if lasts < boundedWarm { // a worker would keep more of the log than there is, and looks every half minute
		keep = max(lasts/12, time.Second).String()
		s.trimmer = archive.NewArchiver(s.store().Ledger(), s.bucket, "trimmer")
		s.trimmer.Keep(domain.KeepLog{For: lasts / 60, Bytes: 1 << 40})
		if err := s.rdb.ConfigSet(context.Background(), "stream-node-max-entries", "4").Err(); err != nil { // Redis trims whole nodes
			t.Fatal(err)
		}
	}
	args := append(soakArgs(s.gateway), "--archive", url, "--keep-log", "1m", "--keep-event", keep)
	s.began = time.Now()
	s.turnover()
	s.start(func(name string) *program.Process { return s.worker(name, args...) })
	eventually(t, soon, "something is archived of each partition", func() error {
		for p := range s.store().Partitions() {
			if state, err := s.store().Ledger().ArchiveState(context.Background(), p); err != nil || state.Mark.Branch == "" {
				return errors.Join(fmt.Errorf("nothing of partition %d", p), err)
			}
		}
		return nil
	})
	return s
}

// turnover lists events in the place of those that were on sale long enough.
func (s *bounded) turnover() {
	s.t.Helper()
	now := time.Now()
	for len(s.listed) > 0 && now.After(s.listed[0].until) {
		s.leaving, s.listed = append(s.leaving, s.listed[0]), s.listed[1:]
	}
	for len(s.listed) < boundedOnSale {
		s.events++
		is := listing{fmt.Sprintf("bounded-%05d", s.events), now.Add(s.sells)}
		if s.events <= boundedOnSale { // the first ones do not end all at once
			is.until = now.Add(s.sells * time.Duration(s.events) / boundedOnSale)
		}
		_, err := s.store().Events().Create(context.Background(), is.event, domain.Terms{
			Name: "Bounded", Currency: "EUR", Sections: []domain.SectionTerms{{Name: domain.DefaultSection, Price: 12_50, Capacity: 50_000}},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.listed = append(s.listed, is)
	}
}

// close closes the events of which nothing was asked for so long.
func (s *bounded) close(grace time.Duration) {
	s.t.Helper()
	for len(s.leaving) > 0 && time.Since(s.leaving[0].until) > grace {
		if _, err := s.store().Events().Close(context.Background(), s.leaving[0].event, domain.Cause{}); err != nil {
			s.t.Fatal(err)
		}
		s.leaving = s.leaving[1:]
	}
}

// load publishes for a while; now and then a worker ends. Meanwhile a snapshot is taken, behind which the log may be trimmed.
func (s *bounded) load() (n boundedSample) {
	s.t.Helper()
	taken := make(chan error, 1)
	go func() { taken <- s.snapshot(&n) }()
	tick := time.NewTicker(soakTick)
	defer tick.Stop()
	ticks := int(s.every / soakTick)
	perEnd := min(ticks, int(endEvery/soakTick))
	for i := range ticks {
		<-tick.C
		s.turnover()
		s.close(boundedGrace)
		publish(s.t, s.producer, s.draw()...)
		if i%perEnd == perEnd/2 {
			s.turn()
		}
	}
	publish(s.t, s.producer, s.later...)
	s.later = nil
	if err := <-taken; err != nil {
		s.t.Fatal(err)
	}
	return n
}

// snapshot takes one, and notes how much is archived.
func (s *bounded) snapshot(n *boundedSample) error {
	branches, err := s.reader.Branches(context.Background())
	if err != nil {
		return err
	}
	for _, b := range branches {
		n.Segments, n.Archived = n.Segments+b.Segments, n.Archived+b.Bytes
	}
	return s.reader.TakeSnapshots(context.Background(), archive.Options{}, func(is archive.Taken) error {
		n.Facts += is.Facts
		return nil
	})
}

// sample waits until all is done, looks at what became of each order, and notes what there is.
func (s *bounded) sample(n boundedSample) {
	s.t.Helper()
	ctx := context.Background()
	s.drained(2 * time.Minute)
	s.countFresh()
	n.At, n.Orders, n.Untold = time.Since(s.began), s.orders, s.perKey
	if s.trimmer != nil {
		s.close(0) // all is done
		for p := range s.store().Partitions() {
			if _, err := s.trimmer.Trim(ctx, p); err != nil && !errors.Is(err, archive.ErrNoSnapshot) { // nothing of it was archived yet when they were taken
				s.t.Fatal(err)
			}
		}
	}
	for p := range s.store().Partitions() {
		ids, err := s.store().Events().IDs(ctx, p)
		if err != nil {
			s.t.Fatal(err)
		}
		n.Events += len(ids)
		n.Entries += s.rdb.XLen(ctx, keyOf(p, "log")).Val()
	}
	s.forgotten = s.events - n.Events
	s.weigh(&n)
	s.samples = append(s.samples, n)
	line, err := json.Marshal(n)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(s.samples)%5 == 0 {
		s.t.Logf("%s", line)
	}
}

// countFresh checks that each order since the last sample ended as it must.
func (s *bounded) countFresh() {
	s.t.Helper()
	refs := make([]domain.OrderRef, len(s.fresh))
	for i, o := range s.fresh {
		refs[i] = o.ref
	}
	for i, o := range s.system.orders(refs) {
		switch {
		case o.State == domain.OrderNone && s.trimmer != nil: // events are not kept for long
			s.unseen++
		case o.State != s.fresh[i].want:
			s.t.Errorf("%s is %s (%s %s), want %s", refs[i], o.State, o.Reason, o.Detail, s.fresh[i].want)
		case o.ConfirmedAtMillis > 0:
			s.invoices++
		}
	}
	s.orders += len(refs)
	s.fresh = nil
}

// weigher adds up, of a page of all keys, what they take: those of invoices, those of orders, and all others.
var weigher = redis.NewScript(`
local found = redis.call('SCAN', ARGV[1], 'COUNT', 5000)
local lines, in_lines, others, in_others, in_orders, orders, in_log = 0, 0, 0, 0, 0, 0, 0
for _, key in ipairs(found[2]) do
  local size = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0) or 0
  if string.find(key, ':2:invoices:', 1, true) then
    lines, in_lines = lines + 1, in_lines + size
  else
    others, in_others = others + 1, in_others + size
    if string.find(key, ':2:orders:', 1, true) then
      orders, in_orders = orders + redis.call('HLEN', key), in_orders + size
    elseif string.find(key, ':2:log$') then
      in_log = in_log + size
    end
  end
end
return { found[1], lines, in_lines, others, in_others, orders, in_orders, in_log }`)

// weigh reads how much memory there is in use, and for what.
func (s *bounded) weigh(n *boundedSample) {
	s.t.Helper()
	ctx := context.Background()
	for cursor := "0"; ; {
		page, err := weigher.Run(ctx, s.rdb, nil, cursor).Slice()
		if err != nil {
			s.t.Fatal(err)
		}
		for i, field := range []*int64{&n.Lines, &n.InLines, &n.Others, &n.InOthers, &n.Live, &n.InOrders, &n.InLog} {
			*field += page[1+i].(int64)
		}
		if cursor = page[0].(string); cursor == "0" {
			break
		}
	}
	n.Memory = info(s.t, s.rdb, "memory")("used_memory")
}

// trimmedEntries is how many log entries are in Redis no more.
func (s *bounded) trimmedEntries() (gone int64) {
	s.t.Helper()
	for p := range s.store().Partitions() {
		is, err := s.rdb.XInfoStream(context.Background(), keyOf(p, "log")).Result()
		if err != nil {
			s.t.Fatal(err)
		}
		gone += is.EntriesAdded - is.Length
	}
	return gone
}

// end compares what must not grow, and has everything proved: what is in Redis, and the archive from its first segment.
func (s *bounded) end(tally *torture.Tally) {
	t := s.t
	t.Helper()
	last := &s.samples[len(s.samples)-1]
	if n := int(last.Lines); n < s.invoices || n > s.invoices+s.unseen {
		t.Errorf("there are %d invoices, want %d, and of %d orders nobody knows", n, s.invoices, s.unseen)
	}
	warm := slices.DeleteFunc(slices.Clone(s.samples), func(n boundedSample) bool { return n.At < boundedWarm })
	if len(warm) >= leastSamples {
		s.flat(warm)
	}
	program.StopAll(append(slices.Clone(s.lasting), s.mortal)...)
	archiver := archive.NewArchiver(s.store().Ledger(), s.bucket, "last")
	for p := range s.store().Partitions() {
		for more := true; more; {
			var err error
			if more, err = archiver.Archive(context.Background(), p); err != nil {
				t.Fatal(err)
			}
		}
	}
	archived := s.judge(tally)
	per := func(bytes, of int64) float64 { return float64(bytes) / float64(of) }
	tally.Note("%.0f bytes an order in the archive: %.0f a fact, of which a segment has %.0f", per(archived.Bytes, int64(last.Orders)), per(archived.Bytes, int64(archived.Facts)),
		per(int64(archived.Facts), int64(archived.Segments)))
	tally.Note("%.0f bytes a live order in Redis, %.0f with everything else but invoice lines", per(last.InOrders, last.Live), per(last.rest(), last.Live))
	tally.Note("%.0f bytes that an invoice line keeps, where each customer has one, with its key", per(last.lines(), last.Lines))
	tally.Count("seconds", int(last.At.Seconds()))
	tally.Count("orders", last.Orders)
	tally.Count("facts", archived.Facts)
	tally.Count("events", s.events)
	tally.Count("events forgotten", s.forgotten)
	tally.Count("log entries trimmed", int(s.trimmedEntries()))
	tally.Count("segments", archived.Segments)
	tally.Count("workers killed", s.killed)
	tally.Count("workers stopped", s.stopped)
	tally.Count("samples", len(s.samples))
	if s.killed == 0 || s.stopped == 0 {
		t.Errorf("%d workers killed, %d stopped: that was no test", s.killed, s.stopped)
	}
}

// flat holds the second half of the samples against the first.
func (s *bounded) flat(samples []boundedSample) {
	t := s.t
	t.Helper()
	middle := len(samples) / 2
	usual := func(of func(boundedSample) int64) (first, second int64) {
		median := func(samples []boundedSample) int64 {
			values := make([]int64, len(samples))
			for i, n := range samples {
				values[i] = of(n)
			}
			slices.Sort(values)
			return values[len(values)/2]
		}
		return median(samples[:middle]), median(samples[middle:])
	}
	first, second := usual(boundedSample.rest)
	least, most := samples[0].rest(), samples[0].rest()
	for _, n := range samples {
		least, most = min(least, n.rest()), max(most, n.rest())
	}
	t.Logf("memory less the invoice lines, of %d samples from the %s minute on: %d, then %d (%+.2f %%); %d to %d", len(samples), boundedWarm, first, second,
		100*float64(second-first)/float64(first), least, most)
	if second*100 > first*(100+boundedFlat) {
		t.Errorf("memory less the invoice lines grows, from %d to %d", first, second)
	}
	for what, of := range map[string]func(boundedSample) int64{
		"orders in Redis":      func(n boundedSample) int64 { return n.Live },
		"log entries in Redis": func(n boundedSample) int64 { return n.Entries },
		"keys but invoices":    func(n boundedSample) int64 { return n.Others },
		"bytes of other keys":  func(n boundedSample) int64 { return n.InOthers },
	} {
		first, second := usual(of)
		t.Logf("%s: %d, then %d", what, first, second)
	}
	grows := func(from, to boundedSample) float64 {
		return float64(to.Archived-from.Archived) / float64(to.Facts-from.Facts)
	}
	early, late := grows(samples[0], samples[middle]), grows(samples[middle], samples[len(samples)-1])
	t.Logf("the archive grew by %.1f bytes a fact in the first half, and %.1f in the second", early, late)
	if late > early*1.1 || early > late*1.1 {
		t.Errorf("the archive grew by %.1f bytes a fact in the first half, and %.1f in the second", early, late)
	}
}

// judge has the auditor look at everything, from the first segment on.
func (s *bounded) judge(tally *torture.Tally) archive.Report {
	s.t.Helper()
	report, err := audit.Run(context.Background(), s.store(), audit.Options{Gateway: booksOf(s.t, s.gateway), Archive: s.reader, Full: true})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, v := range report.Violations {
		s.t.Errorf("%s %s: %s", v.Invariant, v.Subject, v.Detail)
	}
	archived, err := s.reader.Verify(context.Background(), nil)
	if err == nil {
		err = s.reader.Compare(context.Background(), s.store().Ledger(), s.store().Partitions(), &archived, nil)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range archived.Faults {
		s.t.Errorf("I11 %s: %s", f.Subject, f.Detail)
	}
	if archived.Before == 0 || archived.Facts != report.Checked.Facts {
		s.t.Errorf("the archive has %d facts, %d entries before the log; the audit folded %d", archived.Facts, archived.Before, report.Checked.Facts)
	}
	tally.Judged(len(report.Violations) + len(archived.Faults))
	return archived
}
