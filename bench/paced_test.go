package bench

import (
	"context"
	"flag"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

var pacedFor = flag.Duration("paced", 10*time.Second, "how long orders come at a pace")

const (
	// pacedWarmup comes before, and is not measured: connections are made, scripts are loaded.
	pacedWarmup = 2 * time.Second
	// pacedPatience is how long after the last order was submitted all may take to be posted.
	pacedPatience = 10 * time.Second
	// tick is how often orders come: all at once that are due.
	tick = time.Millisecond
)

// pace is how orders come.
type pace struct {
	rate    int // orders a second
	workers int
	fsync   string
	gateway time.Duration // how long it takes for each call
}

// BenchmarkPaced submits orders at a pace, each on its own and whatever becomes of those before,
// and measures how long it takes from there until its invoice line is there. A system
// that does not keep up, so that orders pile up or cannot even be submitted, has no latencies,
// only posted/s.
func BenchmarkPaced(b *testing.B) {
	for _, c := range contenders {
		paces := []pace{}
		for _, rate := range []int{500, 2000, 5000, 10_000} {
			paces = append(paces, pace{rate: rate, workers: 3, fsync: "no"})
		}
		if c.name == "holdfast" {
			paces = append(paces,
				pace{rate: 5000, workers: 3, fsync: "always"},
				pace{rate: 2000, workers: 2, fsync: "no", gateway: 200 * time.Millisecond})
		}
		for _, p := range paces {
			b.Run(name("system", c.name, "rate", p.rate, "workers", p.workers, "fsync", p.fsync, "gateway", p.gateway), func(b *testing.B) {
				for range b.N {
					sys := c.make()
					if h, ok := sys.(*holdfast); ok {
						h.gateway = p.gateway
					}
					paced(b, sys, p)
				}
			})
		}
	}
}

func paced(b *testing.B, sys system, p pace) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as holdfast worker does
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+*pacedFor)
	defer cancel()
	server := serverOf(b, p.fsync, "--notify-keyspace-events", "Eh", "--client-output-buffer-limit", "pubsub", "0", "0", "0")
	rdb := observer(b, server)
	events := makeEvents(100)
	warmup := int(float64(p.rate) * pacedWarmup.Seconds())
	n := warmup + int(float64(p.rate)*pacedFor.Seconds())
	orders := makeOrders(0, n, events)
	capacity := int64(n) * quantity
	open(ctx, b, sys, server, events, capacity)
	stop := start(ctx, b, sys, p.workers)
	seen := watchInvoices(ctx, b, rdb, n)

	from := spentNow(ctx, b, rdb)
	submits := submitPaced(ctx, sys, orders, p.rate)
	ended := time.Now()
	for seen.count.Load() < int64(n) && time.Since(ended) < pacedPatience && submits.failure.get() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if posted, err := seen.count.Load(), submits.failure.get(); posted < int64(n) || err != nil {
		b.Logf("it does not keep up: %d of %d orders posted %s after the last was submitted, and submitting: %v",
			posted, n, time.Since(ended).Round(time.Millisecond), err)
		b.ReportMetric(float64(posted)/time.Since(submits.at[0]).Seconds(), "posted/s")
		b.ReportMetric(0, "ns/op")
		cancel()
		submits.calls.Wait()
		stop()
		return
	}
	submits.calls.Wait()
	waitFinished(ctx, b, sys)
	to := spentNow(ctx, b, rdb)
	stop()
	must(b, sys.check(ctx, orders, capacity))

	took, last := make([]time.Duration, 0, n-warmup), time.Time{}
	for i := warmup; i < n; i++ {
		took = append(took, seen.at[i].Sub(submits.at[i]))
		if seen.at[i].After(last) {
			last = seen.at[i]
		}
	}
	b.ReportMetric(float64(n-warmup)/last.Sub(submits.at[warmup]).Seconds(), "posted/s")
	b.ReportMetric(millis(percentile(took, 50)), "p50-ms")
	b.ReportMetric(millis(percentile(took, 99)), "p99-ms")
	b.ReportMetric(millis(percentile(took, 99.9)), "p99.9-ms")
	b.ReportMetric(millis(percentile(submits.late, 99)), "late-p99-ms") // how late we submitted: not part of the above
	reportCost(b, n, from, to)                                          // submitting and watching included
}

// submits is what submitPaced has begun.
type submits struct {
	at      []time.Time     // of each order
	late    []time.Duration // how much later that was than it should have been
	calls   sync.WaitGroup
	failure firstError
}

// submitPaced submits the orders one by one, so many a second, without waiting for any.
func submitPaced(ctx context.Context, sys system, orders []order, rate int) *submits {
	s := &submits{at: make([]time.Time, len(orders)), late: make([]time.Duration, len(orders))}
	begin := time.Now()
	for sent, elapsed := 0, tick; sent < len(orders); elapsed += tick {
		due := begin.Add(elapsed)
		time.Sleep(time.Until(due))
		for upTo := min(len(orders), int(float64(rate)*elapsed.Seconds())); sent < upTo; sent++ {
			o := orders[sent]
			s.at[sent] = time.Now()
			s.late[sent] = s.at[sent].Sub(due)
			s.calls.Go(func() { s.failure.set(sys.submit(ctx, o)) })
		}
	}
	return s
}

// invoicesSeen is when each customer's invoices were written to.
type invoicesSeen struct {
	at    []time.Time // by customer; read it when count says that all are there
	count atomic.Int64
}

// watchInvoices notes when invoice lines are there, as Redis tells it: the same for every
// system, because each has a hash a customer with "invoices:" in its name.
func watchInvoices(ctx context.Context, b *testing.B, rdb *redis.Client, n int) *invoicesSeen {
	b.Helper()
	seen := &invoicesSeen{at: make([]time.Time, n)}
	subscription := rdb.Subscribe(ctx, "__keyevent@0__:hset")
	_, err := subscription.Receive(ctx) // that it has begun
	must(b, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			m, err := subscription.ReceiveMessage(ctx)
			if err != nil {
				return // closed; whoever waits for what is missing will say so
			}
			_, customer, _ := strings.Cut(m.Payload, "invoices:")
			nth, ok := customerNth(strings.Trim(customer, "{}"))
			if ok && nth < n && seen.at[nth].IsZero() {
				seen.at[nth] = time.Now()
				seen.count.Add(1)
			}
		}
	}()
	b.Cleanup(func() {
		must(b, subscription.Close())
		<-ended
	})
	return seen
}
