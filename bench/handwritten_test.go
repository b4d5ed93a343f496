package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/streams/redistest"
)

// handwritten is what a good engineer writes on Redis Streams in an afternoon or two: one stream,
// a consumer group, workers that take what waits in batches, do each step for a whole batch in
// one pipeline, acknowledge with the next read, and take over what a dead worker left.
//
// Its best: batches of up to 256 and three of them in flight in a worker, so that Redis always
// has something to do while Go parses and builds; larger batches or more of them gain nothing on
// two cores. One field an entry and one string in it is the cheapest form there is.
//
// It does not guarantee more than shop does. An entry that can never be handled stops its batch,
// which is tried for ever: there are no dead letters.
type handwritten struct {
	shop
	workers atomic.Int64
}

const (
	handwrittenBatch    = 256
	handwrittenInFlight = 3
	requestsKey         = "requests"
	requestField        = "o"
	group               = "workers"
)

func (h *handwritten) open(ctx context.Context, server *redistest.Server, events []string, capacity int64) error {
	if err := h.shop.open(ctx, server, events, capacity); err != nil {
		return err
	}
	return h.rdb.XGroupCreateMkStream(ctx, requestsKey, group, "0").Err()
}

func (h *handwritten) preload(ctx context.Context, orders []order) error {
	h.submitted.Add(int64(len(orders)))
	for chunk := range slices.Chunk(orders, 1000) {
		pipe := h.rdb.Pipeline()
		for _, o := range chunk {
			h.add(ctx, pipe, o)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (h *handwritten) submit(ctx context.Context, o order) error {
	h.submitted.Add(1)
	return h.add(ctx, h.rdb, o).Err()
}

func (h *handwritten) add(ctx context.Context, rdb redis.Cmdable, o order) *redis.StringCmd {
	return rdb.XAdd(ctx, &redis.XAddArgs{Stream: requestsKey, Values: []string{requestField, o.text()}})
}

func (h *handwritten) work(ctx context.Context) (stop func() error, err error) {
	rdb := client(h.server, 2*handwrittenInFlight)
	c := newCrew(ctx, &h.failure)
	worker := h.workers.Add(1)
	for i := range handwrittenInFlight {
		consumer := fmt.Sprintf("%d-%d", worker, i)
		var done []string // posted, not acknowledged yet
		c.run(func(ctx context.Context) error {
			entries, err := readNext(ctx, rdb, consumer, done)
			if err != nil {
				return err
			}
			done, err = h.handle(ctx, rdb, entries)
			return err
		})
	}
	c.run(func(ctx context.Context) error { return h.takeOver(ctx, rdb, fmt.Sprint(worker)) })
	return func() error { return errors.Join(c.stop(), rdb.Close()) }, nil
}

// readNext acknowledges what is done and waits for more, in one round trip.
func readNext(ctx context.Context, rdb *redis.Client, consumer string, done []string) ([]redis.XMessage, error) {
	pipe := rdb.Pipeline()
	if len(done) > 0 {
		pipe.XAck(ctx, requestsKey, group, done...)
	}
	read := pipe.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: group, Consumer: consumer, Streams: []string{requestsKey, ">"}, Count: handwrittenBatch, Block: time.Second,
	})
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	streams, err := read.Result()
	if err != nil && !errors.Is(err, redis.Nil) || len(streams) == 0 {
		return nil, nil
	}
	return streams[0].Messages, nil
}

func (h *handwritten) handle(ctx context.Context, rdb *redis.Client, entries []redis.XMessage) (done []string, err error) {
	orders, ids := make([]order, len(entries)), make([]string, len(entries))
	for i, entry := range entries {
		text, _ := entry.Values[requestField].(string)
		if orders[i], err = parseOrder(text); err != nil {
			return nil, err
		}
		ids[i] = entry.ID
	}
	if len(orders) == 0 {
		return nil, nil
	}
	return ids, h.sellBatch(ctx, rdb, orders)
}

// takeOver handles what was given to a worker that has been silent for long.
func (h *handwritten) takeOver(ctx context.Context, rdb *redis.Client, consumer string) error {
	if err := wait(ctx, 5*time.Second); err != nil {
		return err
	}
	entries, _, err := rdb.XAutoClaim(ctx, &redis.XAutoClaimArgs{
		Stream: requestsKey, Group: group, Consumer: consumer, MinIdle: 30 * time.Second, Start: "0", Count: handwrittenBatch,
	}).Result()
	if err != nil {
		return err
	}
	done, err := h.handle(ctx, rdb, entries)
	if err != nil || len(done) == 0 {
		return err
	}
	return rdb.XAck(ctx, requestsKey, group, done...).Err()
}
