package workers

import (
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"holdfast/domain"
)

// Stage is a part of the way of an order, of which it is measured how long it takes.
type Stage uint8

// The stages. The first and the last two are between two times of Redis's clock, the others are durations.
const (
	StageWaiting   Stage = iota // from the request's publishing until it is held, or refused
	StageHold                   // from the delivery of a request until it is held, or refused
	StageAuthorize              // from there until the gateway has answered, all its calls and pauses included
	StageResolve                // from there until the outcome is stored
	StagePosted                 // from the order's confirmation until it is on its customer's invoice
	StageSettled                // from an order's outcome until its money is where it belongs
)

// Stages are their names.
var Stages = [...]string{
	StageWaiting: "waiting", StageHold: "hold", StageAuthorize: "authorize", StageResolve: "resolve", StagePosted: "posted", StageSettled: "settled",
}

// step is something that is done for many orders at a time.
type step uint8

const (
	stepHold step = iota
	stepResolve
	stepPost
)

var stepNames = [...]string{stepHold: "hold", stepResolve: "resolve", stepPost: "post"}

// result is what came of a call of the gateway.
type result uint8

const (
	resultAnswered      result = iota // also that there is no such payment, or that it is declined
	resultRefused                     // for good
	resultLater                       // it said that it takes no more now
	resultMisconfigured               // nobody can be served
	resultFailed                      // no answer, or an error
)

var resultNames = [...]string{
	resultAnswered: "answered", resultRefused: "refused", resultLater: "later", resultMisconfigured: "misconfigured", resultFailed: "failed",
}

// work is something that was tried before.
type work uint8

const (
	workStep    work = iota // in Redis
	workPayment             // a call of the gateway
	workOwed                // to settle an order that is owed
)

var workNames = [...]string{workStep: "step", workPayment: "payment", workOwed: "owed"}

// causes are the kinds of errors of Redis: those of their class, and two more.
var causes = [...]string{
	domain.ClassRetry: domain.ClassRetry.String(), domain.ClassReject: domain.ClassReject.String(), domain.ClassPoison: domain.ClassPoison.String(),
	domain.ClassFatal: domain.ClassFatal.String(), causeReplaced: string(domain.CodeDataReplaced), causeGroupGone: string(domain.CodeGroupGone),
}

const (
	causeReplaced = domain.ClassFatal + 1 + iota
	causeGroupGone
)

const (
	second          = float64(time.Second)
	outcomes        = int(domain.OrderLapsed) + 1
	mostReasons     = 32
	otherReason     = "other"
	otherReasonSlot = mostReasons
)

// The upper bounds of the buckets of histograms: nanoseconds, and numbers.
var (
	durationBounds = [...]float64{
		.001 * second, .0025 * second, .005 * second, .01 * second, .025 * second, .05 * second, .1 * second, .25 * second, .5 * second,
		1 * second, 2.5 * second, 5 * second, 10 * second, 30 * second, 60 * second, 300 * second, 900 * second, 3600 * second,
	}
	sizeBounds = [...]float64{1, 2, 5, 10, 20, 50, 100, 200, readMost}
)

// measures are what a pool has measured since it started. Their zero value is ready. Nothing of it locks, nor allocates but exemplars, of orders
// that are traced.
type measures struct {
	orders  [outcomes][mostReasons + 1]atomic.Int64
	stages  [len(Stages)]durations
	gateway [len(callNames)][len(resultNames)]durations
	batches [len(stepNames)]sizes
	causes  [len(causes)]atomic.Int64
	retries [len(workNames)]atomic.Int64
}

type durations struct {
	counts    [len(durationBounds) + 1]atomic.Int64
	sum       atomic.Int64
	exemplars [len(durationBounds) + 1]atomic.Pointer[Exemplar] // the newest of each bucket; none where nobody traces
}

// Exemplar is one of the values of a histogram, of an order whose trace tells more about it.
type Exemplar struct {
	Value   float64
	TraceID string
	At      time.Time
}

// exemplify notes whose duration one of those was that are observed.
func (d *durations) exemplify(took time.Duration, of domain.Trace) {
	took = max(took, 0)
	d.exemplars[bucketOf(durationBounds[:], float64(took))].Store(&Exemplar{took.Seconds(), of.ID(), time.Now()})
}

// observe notes n times the same duration. One below zero, which two clocks make, is none.
func (d *durations) observe(took time.Duration, n int) {
	took = max(took, 0)
	d.counts[bucketOf(durationBounds[:], float64(took))].Add(int64(n))
	d.sum.Add(int64(took) * int64(n))
}

// tally is what of durations is counted by one goroutine, and then added at once: whoever adds to what others add to, waits.
type tally struct {
	counts [len(durationBounds) + 1]int64
	sum    int64
}

func (t *tally) observe(took time.Duration) {
	took = max(took, 0)
	t.counts[bucketOf(durationBounds[:], float64(took))]++
	t.sum += int64(took)
}

func (d *durations) add(t *tally) {
	for i, n := range t.counts {
		if n > 0 {
			d.counts[i].Add(n)
		}
	}
	d.sum.Add(t.sum)
}

type sizes struct {
	counts [len(sizeBounds) + 1]atomic.Int64
	sum    atomic.Int64
}

func (s *sizes) observe(n int) {
	if n == 0 {
		return
	}
	s.counts[bucketOf(sizeBounds[:], float64(n))].Add(1)
	s.sum.Add(int64(n))
}

func bucketOf(bounds []float64, v float64) int {
	for i, bound := range bounds {
		if v <= bound {
			return i
		}
	}
	return len(bounds)
}

// order notes an order's outcome.
func (m *measures) order(state domain.OrderState, reason string, n int64) {
	i := slices.Index(state.Reasons(), reason)
	if i < 0 || i >= mostReasons { // of a program of another version
		i = otherReasonSlot
	}
	m.orders[state][i].Add(n)
}

func (m *measures) redisFailed(err error) {
	cause := domain.ClassOf(err)
	switch {
	case errors.Is(err, domain.ErrDataReplaced):
		cause = causeReplaced
	case domain.CodeOf(err) == domain.CodeGroupGone:
		cause = causeGroupGone
	}
	m.causes[cause].Add(1)
}

// Count is how often there was something, by what it is.
type Count struct {
	Label string
	N     int64
}

// OutcomeCount is how many orders had an outcome.
type OutcomeCount struct {
	Outcome domain.OrderState
	Reason  string // one of Outcome.Reasons, or "other"
	N       int64
}

// Histogram is how often something had which size. Counts has one more than Bounds, for what is larger than all of them;
// what is in one of them is in no other.
type Histogram struct {
	Labels []string
	Bounds []float64
	Counts []int64
	Sum    float64

	Exemplars []Exemplar // one of a bucket at most
}

// Orders are the outcomes that this worker has brought about, or, of those that were cancelled, settled. A request that
// is repeated after its order's outcome counts no order.
func (s *Stats) Orders() iter.Seq[OutcomeCount] {
	return func(yield func(OutcomeCount) bool) {
		for state := domain.OrderHeld; int(state) < outcomes; state++ {
			for i, reason := range state.Reasons() {
				if !yield(OutcomeCount{state, reason, s.orders[state][i].Load()}) {
					return
				}
			}
			if n := s.orders[state][otherReasonSlot].Load(); n > 0 && !yield(OutcomeCount{state, otherReason, n}) {
				return
			}
		}
	}
}

// StageSeconds are the durations of each Stage, in seconds, an order counting once.
func (s *Stats) StageSeconds() (all []Histogram) {
	for i := range s.stages {
		all = append(all, s.stages[i].histogram(Stages[i]))
	}
	return all
}

// GatewaySeconds are the durations of the calls of the gateway, in seconds, by call and result. What the worker cut short
// itself is not among them.
func (s *Stats) GatewaySeconds() (all []Histogram) {
	for c := range s.gateway {
		for r := range s.gateway[c] {
			all = append(all, s.gateway[c][r].histogram(callLabels[c], resultNames[r]))
		}
	}
	return all
}

// BatchSizes are how many orders a step took at a time.
func (s *Stats) BatchSizes() (all []Histogram) {
	for i := range s.batches {
		b := &s.batches[i]
		all = append(all, Histogram{Labels: []string{stepNames[i]}, Bounds: sizeBounds[:], Counts: load(b.counts[:]), Sum: float64(b.sum.Load())})
	}
	return all
}

// RedisErrors are the failures of Redis, by class.
func (s *Stats) RedisErrors() []Count { return counts(causes[:], s.causes[:]) }

// Retries are what was tried again.
func (s *Stats) Retries() []Count { return counts(workNames[:], s.retries[:]) }

func (d *durations) histogram(labels ...string) Histogram {
	bounds := slices.Clone(durationBounds[:])
	for i := range bounds {
		bounds[i] /= second
	}
	h := Histogram{Labels: labels, Bounds: bounds, Counts: load(d.counts[:]), Sum: float64(d.sum.Load()) / second}
	for i := range d.exemplars {
		if e := d.exemplars[i].Load(); e != nil {
			h.Exemplars = append(h.Exemplars, *e)
		}
	}
	return h
}

func load(counts []atomic.Int64) []int64 {
	all := make([]int64, len(counts))
	for i := range counts {
		all[i] = counts[i].Load()
	}
	return all
}

func counts(labels []string, numbers []atomic.Int64) []Count {
	all := make([]Count, len(labels))
	for i, n := range load(numbers) {
		all[i] = Count{labels[i], n}
	}
	return all
}
