package bench

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	"holdfast/streams/redistest"
)

// watermillPeer is Watermill with its Redis Streams transport: one topic, one consumer group.
//
// Its best: a subscriber reads one message at a time and waits until it is acknowledged before
// it hands out the next, so what helps is many subscribers in a worker, and a client that puts
// the commands of all of them into common pipelines (go-redis's AutoPipeline), which is more than
// Watermill's users commonly have. The channels of the subscribers are served directly: a
// router with its middleware would only cost more. The handler does the whole order at once;
// to go through further topics would cost a delivery each.
//
// It does not guarantee more than shop does. A message whose handler fails is handed to the same
// subscriber again and again, unless its user adds a middleware for poison.
type watermillPeer struct {
	shop
	publisher *redisstream.Publisher
}

const (
	watermillSubscribers = 128
	watermillTopic       = "requests"
)

func (w *watermillPeer) open(ctx context.Context, server *redistest.Server, events []string, capacity int64) (err error) {
	if err := w.shop.open(ctx, server, events, capacity); err != nil {
		return err
	}
	pipelined, err := w.rdb.AutoPipeline()
	if err != nil {
		return err
	}
	w.publisher, err = redisstream.NewPublisher(redisstream.PublisherConfig{Client: pipelined}, watermill.NopLogger{})
	return err
}

func (w *watermillPeer) preload(ctx context.Context, orders []order) error {
	return concurrently(orders, 256, func(o order) error { return w.submit(ctx, o) })
}

func (w *watermillPeer) submit(ctx context.Context, o order) error {
	w.submitted.Add(1)
	return w.publisher.Publish(watermillTopic, message.NewMessageWithContext(ctx, o.id, []byte(o.text())))
}

func (w *watermillPeer) work(ctx context.Context) (stop func() error, err error) {
	rdb := client(w.server, watermillSubscribers+16) // a connection for each that waits, and some for what they do
	pipelined, err := rdb.AutoPipeline()
	if err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	c := newCrew(ctx, &w.failure)
	for range watermillSubscribers {
		subscriber, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{
			Client: pipelined, ConsumerGroup: "workers", DisableIndefiniteInitialBlock: true,
		}, watermill.NopLogger{})
		if err != nil {
			return nil, errors.Join(err, c.stop(), rdb.Close())
		}
		messages, err := subscriber.Subscribe(c.ctx, watermillTopic)
		if err != nil {
			return nil, errors.Join(err, c.stop(), rdb.Close())
		}
		c.wg.Go(func() {
			for m := range messages { // until c.ctx ends
				if err := w.handle(c.ctx, pipelined, m); err != nil {
					c.fail(err)
					m.Nack()
					continue
				}
				m.Ack()
			}
		})
	}
	return func() error { return errors.Join(c.stop(), rdb.Close()) }, nil
}

func (w *watermillPeer) handle(ctx context.Context, rdb redis.Scripter, m *message.Message) error {
	o, err := parseOrder(string(m.Payload))
	if err != nil {
		return err
	}
	return w.sell(ctx, rdb, o)
}
