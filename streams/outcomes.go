package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Partition implements domain.Outcomes.
func (c *Checkout) Partition(eventID string) int { return c.store.Partition(eventID) }

// Orders implements domain.Outcomes: one MGET per partition.
func (c *Checkout) Orders(ctx context.Context, refs []domain.OrderRef) ([]domain.Order, error) {
	return c.store.Inside().Orders(ctx, refs)
}

// Watch implements domain.Outcomes. The scripts publish one message a batch:
// lines of "event_id/order_id record". Pub/sub loses what is said while nobody
// listens, which is why every new connection calls Connected.
func (c *Checkout) Watch(ctx context.Context, partition int, sink domain.OutcomeSink) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, 5*time.Second
	for {
		subscribed, err := c.listen(ctx, partition, sink)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		sink.Disconnected()
		if errors.Is(err, redis.ErrClosed) {
			return err
		}
		if redis.IsPermissionError(err) && c.store.deaf.CompareAndSwap(false, true) {
			c.store.log.Warn("the user of Redis may not listen for outcomes (SUBSCRIBE, and the channels of the namespace): "+
				"whoever waits for one has to look again and again", zap.String("reply", err.Error()))
		}
		if subscribed {
			wait.Reset()
		}
		timer := time.NewTimer(wait.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// watchSilence is after how long without a message the server is asked whether it is still
// there, and has as long to answer.
const watchSilence = 3 * time.Second

var errSilent = errors.New("the server is silent")

// listen is Watch on one connection. It returns why that ended, and whether there was a subscription.
func (c *Checkout) listen(ctx context.Context, partition int, sink domain.OutcomeSink) (subscribed bool, err error) {
	pubsub := c.store.rdb.Subscribe(ctx, c.store.keys.Outcomes(partition))
	var heard atomic.Bool // since it was asked last
	heard.Store(true)
	ctx, cancel := context.WithCancelCause(ctx)
	var closing sync.WaitGroup
	defer closing.Wait()
	defer cancel(nil)
	closing.Go(func() {
		defer func() { _ = pubsub.Close() }() // it only held a subscription; a read that is under way heeds nothing else
		ask := time.NewTicker(watchSilence)
		defer ask.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ask.C:
				if !heard.Swap(false) {
					cancel(errSilent)
				} else if err := pubsub.Ping(ctx); err != nil {
					cancel(err)
				}
			}
		}
	})
	for {
		message, err := pubsub.Receive(ctx)
		if cause := context.Cause(ctx); cause != nil {
			err = cause // why it was closed
		}
		if err != nil {
			return subscribed, fmt.Errorf("watching outcomes: %w", access.Classify(err))
		}
		heard.Store(true)
		switch m := message.(type) {
		case *redis.Subscription:
			subscribed = true
			c.store.deaf.Store(false)
			sink.Connected()
		case *redis.Message:
			readNotices(m.Payload, sink.Changed)
		}
	}
}

// readNotices reads a message of the outcomes channel, and passes over what it cannot read:
// whoever waits looks again by itself.
func readNotices(message string, changed func(domain.OrderRef, domain.Order)) {
	for line := range strings.SplitSeq(message, "\n") {
		name, record, _ := strings.Cut(line, " ")
		ref, ok := domain.ParseOrderRef(name)
		order, err := layout.DecodeOrder(record)
		if ok && err == nil {
			changed(ref, order)
		}
	}
}
