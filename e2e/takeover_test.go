package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/producer"
	"holdfast/streams"
)

// BenchmarkTakeover kills consumers with work in hand, and times how fast one worker with default flags takes
// it all over, from the moment that may be.
//
//	go test ./e2e -run '^$' -bench Takeover -benchtime 1x -timeout 20m
//
// All is in one partition and one group, which is the worst: what is taken over at once is bounded for each.
func BenchmarkTakeover(b *testing.B) {
	b.Run("six workers killed", func(b *testing.B) {
		for range b.N {
			takeOver(b, func(s *system) int { return s.killSixWorkers(b) })
		}
	})
	b.Run("one dead consumer", func(b *testing.B) {
		for range b.N {
			takeOver(b, func(s *system) int { return s.giveAllToADeadConsumer(b, 100_000) })
		}
	})
}

const (
	takeoverEvent    = "takeover"
	takeoverCapacity = 1_000_000
	reclaimAfter     = 15 * time.Second // the default of workers
)

func takeOver(b *testing.B, give func(s *system) int) {
	s := newSystem(b)
	s.store()
	s.event(takeoverEvent, "Takeover", takeoverCapacity, "10.00")
	entries := give(s)
	heir := s.startWorker("heir", "--gateway", "simulator")
	heir.SaysSoon(`"worker started"`)
	claimable := s.claimableAt(b)
	watched, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	var replies, purchases []time.Duration
	watching.Go(func() { replies = s.timeReplies(watched, claimable) })
	watching.Go(func() { purchases = s.timePurchases(watched, claimable) })
	b.ResetTimer()
	eventually(b, 10*time.Minute, "all of it is done", func() error {
		if n := s.leftOfTheDead(b); n > 0 {
			return fmt.Errorf("%d entries are not", n)
		}
		return nil
	})
	took := time.Since(claimable)
	b.StopTimer()
	stop()
	watching.Wait()
	heir.Stop(endTime)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(entries), "entries")
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(float64(entries)/took.Seconds(), "entries/s")
	b.ReportMetric(millis(percentile(replies, 99)), "redis-p99-ms")
	b.ReportMetric(millis(percentile(purchases, 100)), "new-purchase-max-ms")
}

// takeoverRequests are purchases of as many customers.
func takeoverRequests(prefix string, n int) []domain.Request {
	requests := make([]domain.Request, n)
	for i := range requests {
		requests[i] = domain.Request{
			Type: domain.RequestPurchase, EventID: takeoverEvent, CustomerID: prefix + "-" + strconv.Itoa(i),
			OrderID: prefix + "-" + strconv.Itoa(i), Quantity: 1, PaymentToken: "tok_1", ValidSeconds: 3600,
		}
	}
	return requests
}

func (s *system) publishInPages(requests []domain.Request) {
	s.t.Helper()
	p := s.producer()
	for page := range slices.Chunk(requests, 1000) {
		publish(s.t, p, page...)
	}
}

// killSixWorkers kills six that each have in hand as much as they may: payments that do not end.
func (s *system) killSixWorkers(b *testing.B) int {
	b.Helper()
	const workers, each = 6, 1536
	var pool []*program.Process
	for i := range workers {
		name := fmt.Sprintf("victim-%d", i)
		w := s.worker(name, "--gateway", "simulator", "--simulator-timeout-rate", "1", "--roles", "purchase")
		pool = append(pool, w)
	}
	s.publishInPages(takeoverRequests("dead", workers*each))
	eventually(b, soon, "they have it all in hand", func() error {
		n := int64(0)
		for _, w := range pool {
			n += s.inHand(w.Name)
		}
		if n != workers*each {
			return fmt.Errorf("they have %d", n)
		}
		return nil
	})
	for _, w := range pool {
		w.Kill()
	}
	return workers * each
}

// giveAllToADeadConsumer is XREADGROUP, and nothing more.
func (s *system) giveAllToADeadConsumer(b *testing.B, n int) int {
	b.Helper()
	s.publishInPages(takeoverRequests("dead", n))
	given := 0
	for given < n {
		page, err := s.client().XReadGroup(context.Background(), &redis.XReadGroupArgs{
			Group: string(domain.GroupWorkers), Consumer: "dead", Streams: []string{s.takeoverStream(), ">"}, Count: 10_000, Block: -1,
		}).Result()
		if err != nil {
			b.Fatal(err)
		}
		given += len(page[0].Messages)
	}
	return given
}

func (s *system) takeoverStream() string {
	return requestsKey(s.store().Partition(takeoverEvent))
}

// claimableAt is when the last of what is pending may be taken over. Nobody keeps it alive any more.
func (s *system) claimableAt(b *testing.B) time.Time {
	b.Helper()
	var last time.Time
	for from := "-"; ; {
		page, err := s.client().XPendingExt(context.Background(), &redis.XPendingExtArgs{
			Stream: s.takeoverStream(), Group: string(domain.GroupWorkers), Start: from, End: "+", Count: 10_000,
		}).Result()
		if err != nil {
			b.Fatal(err)
		}
		now := time.Now()
		for _, e := range page {
			if at := now.Add(reclaimAfter - e.Idle); at.After(last) {
				last = at
			}
			from = "(" + e.ID
		}
		if len(page) < 10_000 {
			return last
		}
	}
}

// leftOfTheDead is what is pending: what they had, and what is new and under way.
func (s *system) leftOfTheDead(b *testing.B) int64 {
	b.Helper()
	pending, err := s.client().XPending(context.Background(), s.takeoverStream(), string(domain.GroupWorkers)).Result()
	if err != nil {
		b.Fatal(err)
	}
	return pending.Count
}

// timeReplies is how long a simple read of Redis took, now and then, from a time on.
func (s *system) timeReplies(ctx context.Context, from time.Time) (took []time.Duration) {
	rdb := s.server.Client()
	defer func() { _ = rdb.Close() }()
	every(ctx, from, 2*time.Millisecond, func() {
		began := time.Now()
		if err := rdb.HGet(ctx, "holdfast:meta", "partitions").Err(); err == nil {
			took = append(took, time.Since(began))
		}
	})
	return took
}

// timePurchases is how long a new purchase took until it was confirmed, now and then, from a time on.
func (s *system) timePurchases(ctx context.Context, from time.Time) (took []time.Duration) {
	store, err := streams.Open(ctx, s.url, streams.Options{})
	if err != nil {
		return nil
	}
	defer func() { _ = store.Close() }()
	p := producer.New(store.Checkout(), store.Checkout(), producer.Options{})
	defer p.Close()
	n := 0
	every(ctx, from, 20*time.Millisecond, func() {
		n++
		r := takeoverRequests(fmt.Sprintf("new-%d", n), 1)[0]
		began := time.Now()
		if _, err := p.Publish(ctx, r); err != nil {
			return
		}
		if o, err := p.Wait(ctx, r.EventID, r.OrderID); err == nil && o.Order.State == domain.OrderConfirmed {
			took = append(took, time.Since(began))
		}
	})
	return took
}

// every calls do again and again from a time on, until ctx ends.
func every(ctx context.Context, from time.Time, pause time.Duration, do func()) {
	wait := time.NewTimer(time.Until(from))
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
			do()
			wait.Reset(pause)
		case <-ctx.Done():
			return
		}
	}
}

func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, len(all)*p/100)]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
