package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/streams"
)

// BenchmarkPublish compares PublishBatch with pipelines of bare XADDs of the same fields, of the
// same size, in turns.
func BenchmarkPublish(b *testing.B) {
	for range b.N {
		publish(b)
	}
}

const (
	publishBatch  = 1000 // what PublishBatch sends at once, too
	publishRounds = 10
)

func publish(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	server := serverOf(b, "no")
	rdb := observer(b, server)
	events := makeEvents(100)
	var h holdfast
	open(ctx, b, &h, server, events, 1_000_000)

	// What a request is in its stream, by looking at some.
	must(b, h.preload(ctx, makeOrders(0, len(events), events)))
	type entry struct {
		stream string
		values []any
	}
	var samples []entry
	for p := range h.store.Partitions() {
		stream := fmt.Sprintf("%s:{%d}:requests", streams.DefaultNamespace, p)
		entries, err := rdb.Do(ctx, "XRANGE", stream, "-", "+").Slice()
		must(b, err)
		for _, e := range entries {
			samples = append(samples, entry{stream, e.([]any)[1].([]any)})
		}
	}

	n := max(*orderCount/publishRounds, publishBatch)
	var ours, bare time.Duration
	for round := range publishRounds {
		requests := requests(makeOrders((round+1)*n, n, events))
		from := time.Now()
		results := h.producer.PublishBatch(ctx, requests)
		ours += time.Since(from)
		for _, r := range results {
			must(b, r.Err)
		}

		from = time.Now()
		for chunk := range slices.Chunk(requests, publishBatch) {
			pipe := rdb.Pipeline()
			for i := range chunk {
				sample := samples[i%len(samples)]
				pipe.XAdd(ctx, &redis.XAddArgs{Stream: sample.stream, NoMkStream: true, Values: sample.values})
			}
			_, err := pipe.Exec(ctx)
			must(b, err)
		}
		bare += time.Since(from)
	}
	b.ReportMetric(float64(publishRounds*n)/ours.Seconds(), "published/s")
	b.ReportMetric(float64(publishRounds*n)/bare.Seconds(), "bare-XADD/s")
	b.ReportMetric(100*bare.Seconds()/ours.Seconds(), "%of-bare")
	b.ReportMetric(0, "ns/op")
}
