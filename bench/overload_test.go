package bench

import (
	"context"
	"flag"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams"
)

var overloadFor = flag.Duration("overload", time.Minute, "how long BenchmarkOverload publishes three times the maximum")

// BenchmarkOverload publishes three times what the workers can do, and looks how much they still
// do, how much waits, and how soon after that has drained orders are as quick as ever.
func BenchmarkOverload(b *testing.B) {
	b.Run(name("system", "holdfast"), func(b *testing.B) {
		for range b.N {
			overload(b)
		}
	})
}

const (
	overloadWorkers    = 2
	overloadPublishers = 16
	overloadBatch      = 500         // with as many publishers that is 3 times the maximum, although Redis takes its time
	overloadWaiting    = 10_000      // requests of a partition may wait
	overloadFirst      = 100_000_000 // order: none of the customers that are watched afterwards

	calmRate    = 1000                  // orders a second, when it is over
	calmSeconds = 20                    // for so long
	calmP99     = 10 * time.Millisecond // of a second's orders: as quick as ever
)

func overload(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	server := serverOf(b, "no")
	rdb := observer(b, server)
	events := makeEvents(100)
	const capacity = 1_000_000
	var h holdfast
	open(ctx, b, &h, server, events, capacity)
	sold := make(map[string]int64)
	addSold := func(orders []order) {
		for event, tickets := range ticketsByEvent(orders) {
			sold[event] += tickets
		}
	}

	preloaded := makeOrders(overloadFirst, *orderCount, events)
	must(b, h.preload(ctx, preloaded))
	addSold(preloaded)
	from := time.Now()
	stop := start(ctx, b, &h, overloadWorkers)
	waitFinished(ctx, b, &h)
	maximum := float64(len(preloaded)) / time.Since(from).Seconds()

	bound := int64(overloadWaiting)
	must(b, h.store.Set(ctx, streams.Settings{MaxWaiting: &bound}))
	hurry := publishers{h: &h, rate: 3 * maximum, events: events, next: overloadFirst + len(preloaded), accepted: make(map[string]int64)}
	before, from := h.confirmed(), time.Now()
	ended := make(chan struct{})
	go func() { defer close(ended); hurry.publish(ctx, *overloadFor) }()
	mostWaiting := int64(0)
	for under := true; under; {
		select {
		case <-ended:
			under = false
		case <-time.After(250 * time.Millisecond):
		}
		waiting, err := h.waiting(ctx)
		must(b, err)
		mostWaiting = max(mostWaiting, waiting)
	}
	during := float64(h.confirmed()-before) / time.Since(from).Seconds()
	must(b, hurry.failure.get())
	for event, tickets := range hurry.accepted {
		sold[event] += tickets
	}
	waitFinished(ctx, b, &h)

	must(b, rdb.ConfigSet(ctx, "notify-keyspace-events", "Eh").Err())
	after := makeOrders(0, calmRate*calmSeconds, events)
	seen := watchInvoices(ctx, b, rdb, len(after))
	submits := submitPaced(ctx, &h, after, calmRate)
	submits.calls.Wait()
	must(b, submits.failure.get())
	waitFor(ctx, b, func() bool { return seen.count.Load() == int64(len(after)) })
	addSold(after)
	calmAfter := 0 // seconds
	for second := range calmSeconds {
		took := make([]time.Duration, 0, calmRate)
		for i := second * calmRate; i < (second+1)*calmRate; i++ {
			took = append(took, seen.at[i].Sub(submits.at[i]))
		}
		if percentile(took, 99) >= calmP99 {
			calmAfter = second + 1
		}
	}
	waitFinished(ctx, b, &h)
	stop()
	must(b, h.checkSales(ctx, sold, capacity))

	offered := float64(hurry.offered.Load())
	b.ReportMetric(maximum, "maximum-orders/s")
	b.ReportMetric(offered/overloadFor.Seconds(), "offered/s")
	b.ReportMetric(100*float64(hurry.busy.Load())/offered, "%busy")
	b.ReportMetric(during, "orders/s")
	b.ReportMetric(100*during/maximum, "%of-maximum")
	b.ReportMetric(float64(mostWaiting), "most-waiting")
	b.ReportMetric(float64(calmAfter), "s-until-calm")
	b.ReportMetric(0, "ns/op")
}

// publishers publish at a rate for some time, whatever becomes of it.
type publishers struct {
	h      *holdfast
	rate   float64 // orders a second, all together
	events []string
	next   int // order

	offered, busy atomic.Int64
	failure       firstError
	mu            sync.Mutex
	accepted      map[string]int64 // tickets by event
}

func (p *publishers) publish(ctx context.Context, d time.Duration) {
	begin := time.Now()
	var batches atomic.Int64
	var wg sync.WaitGroup
	for range overloadPublishers {
		wg.Go(func() {
			for p.failure.get() == nil {
				nth := int(batches.Add(1)) - 1
				due := time.Duration(float64(nth*overloadBatch) / p.rate * float64(time.Second))
				if max(due, time.Since(begin)) > d {
					return
				}
				time.Sleep(time.Until(begin.Add(due)))
				p.publishBatch(ctx, makeOrders(p.next+nth*overloadBatch, overloadBatch, p.events))
			}
		})
	}
	wg.Wait()
}

func (p *publishers) publishBatch(ctx context.Context, batch []order) {
	p.offered.Add(int64(len(batch)))
	for i, r := range p.h.producer.PublishBatch(ctx, requests(batch)) {
		switch {
		case r.Err == nil:
			p.h.published.Add(1)
			p.mu.Lock()
			p.accepted[batch[i].event] += quantity
			p.mu.Unlock()
		case domain.CodeOf(r.Err) == domain.CodeBusy:
			p.busy.Add(1)
		default:
			p.failure.set(r.Err)
		}
	}
}
