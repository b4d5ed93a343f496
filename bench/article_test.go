package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// article is the flow that articles teach: whoever sells looks at the counter under WATCH, and in
// one transaction takes from it and puts the order on a list; if somebody else took meanwhile,
// it tries again. A worker pops orders from the list, authorizes, and posts them.
//
// Its best: WATCH and the look are one round trip and the transaction another, where a client's
// usual way takes three. There is no queue of requests, because a checkout sells by itself, so
// preloaded requests wait in memory and cost Redis nothing. As many sell at once as does best:
// many for many events, and few for one, where they only keep each other from it. The list is
// popped in batches, each posted in one pipeline, two batches in flight.
//
// It does not guarantee that anything comes of an order: from RPOP to the posting it is nowhere
// but in the worker's memory, and one that dies in between has lost it. A checkout that dies
// or gets no answer does not know whether it has bought, and buys twice if it tries again. A
// posting that is repeated counts twice. Nor does it do what shop does not.
type article struct {
	shop
	mu        sync.Mutex
	preloaded []order
}

const (
	articleSellers    = 32
	articleSellersHot = 4
	articleBatch      = 256
	articleInFlight   = 2
	pendingKey        = "pending"
)

var errSoldOut = errors.New("sold out")

func (a *article) preload(_ context.Context, orders []order) error {
	a.submitted.Add(int64(len(orders)))
	a.preloaded = append(a.preloaded, orders...)
	return nil
}

func (a *article) next() (o order, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.preloaded) == 0 {
		return order{}, false
	}
	o, a.preloaded = a.preloaded[0], a.preloaded[1:]
	return o, true
}

func (a *article) submit(ctx context.Context, o order) error {
	a.submitted.Add(1)
	conn := a.rdb.Conn()
	return errors.Join(buy(ctx, conn, o), conn.Close())
}

// buy is what the checkout does.
func buy(ctx context.Context, conn *redis.Conn, o order) error {
	key := stockKey(o.event)
	for {
		pipe := conn.Pipeline()
		pipe.Do(ctx, "WATCH", key)
		stock := pipe.Get(ctx, key)
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		left, err := stock.Int64()
		if err != nil {
			return err
		}
		if left < quantity {
			return errors.Join(errSoldOut, conn.Do(ctx, "UNWATCH").Err())
		}
		_, err = conn.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			tx.DecrBy(ctx, key, quantity)
			tx.LPush(ctx, pendingKey, o.text())
			return nil
		})
		if !errors.Is(err, redis.TxFailedErr) {
			return err
		}
	}
}

func (a *article) work(ctx context.Context) (stop func() error, err error) {
	rdb := client(a.server, articleSellers+2*articleInFlight)
	c := newCrew(ctx, &a.failure)
	sellers := articleSellers
	if len(a.events) == 1 {
		sellers = articleSellersHot
	}
	for range sellers {
		c.wg.Go(func() {
			conn := rdb.Conn()
			defer func() { _ = conn.Close() }() // it goes back to the pool, which stop closes
			for o, ok := a.next(); ok && c.ctx.Err() == nil; o, ok = a.next() {
				if err := buy(c.ctx, conn, o); err != nil {
					c.fail(err)
					return
				}
			}
		})
	}
	for range articleInFlight {
		c.run(func(ctx context.Context) error { return a.postNext(ctx, rdb) })
	}
	return func() error { return errors.Join(c.stop(), rdb.Close()) }, nil
}

// postNext pops what waits and posts it.
func (a *article) postNext(ctx context.Context, rdb *redis.Client) error {
	texts, err := rdb.RPopCount(ctx, pendingKey, articleBatch).Result()
	if errors.Is(err, redis.Nil) {
		var popped []string // the list's name, and one order
		if popped, err = rdb.BRPop(ctx, time.Second, pendingKey).Result(); err == nil {
			texts = popped[1:]
		}
	}
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	pipe := rdb.Pipeline()
	for _, text := range texts {
		o, err := parseOrder(text)
		if err != nil {
			return err
		}
		pipe.HSet(ctx, orderKey(o), "state", "confirmed", "customer", o.customer, "quantity", quantity, "authorization", authorize(o))
		pipe.HIncrBy(ctx, salesKey(o.event), "tickets", quantity)
		pipe.HIncrBy(ctx, salesKey(o.event), "revenue", quantity*unitPrice)
		pipe.HSet(ctx, invoicesKey(o), invoiceField(o), invoiceLine())
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	a.posted.Add(int64(len(texts)))
	return nil
}
