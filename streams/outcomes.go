package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// epochEvery is how often those who listen for outcomes look whether the data is still
// the same: other data has another channel.
const epochEvery = 2 * time.Second

// Partition implements domain.Outcomes.
func (c *Checkout) Partition(eventID string) int { return c.store.Partition(eventID) }

// Orders reads stored orders, with one MGET per partition; one never heard of is the zero Order.
func (c *Checkout) Orders(ctx context.Context, refs []domain.OrderRef) ([]domain.Order, error) {
	return c.store.Inside().Orders(ctx, refs)
}

// Look implements domain.Outcomes: one pipeline of an HMGET and an MGET for each partition.
//
// The notes are read first. An order that is not there afterwards was not there when
// the note was, so the two together are of one moment; the other way round a note could be
// newer than a record that was not there yet.
func (c *Checkout) Look(ctx context.Context, refs []domain.OrderRef) []domain.Looked {
	looked := make([]domain.Looked, len(refs))
	byPartition := make(map[int][]int)
	for i, ref := range refs {
		p := c.store.Partition(ref.EventID)
		byPartition[p] = append(byPartition[p], i)
	}
	type read struct {
		indexes        []int
		notes, records *redis.SliceCmd
	}
	var reads []read
	pipe := c.store.rdb.Pipeline()
	for p, indexes := range byPartition {
		for first := 0; first < len(indexes); first += access.MaxBatch {
			chunk := indexes[first:min(first+access.MaxBatch, len(indexes))]
			names, keys := make([]string, len(chunk)), make([]string, len(chunk))
			for j, i := range chunk {
				names[j], keys[j] = refs[i].String(), c.store.keys.Order(p, refs[i])
			}
			reads = append(reads, read{chunk, pipe.HMGet(ctx, c.store.keys.SetAside(p), names...), pipe.MGet(ctx, keys...)})
		}
	}
	_, execErr := pipe.Exec(ctx)
	for _, r := range reads {
		notes, records := r.notes.Val(), r.records.Val()
		err := cmp.Or(r.notes.Err(), r.records.Err())
		if err == nil && (len(notes) != len(r.indexes) || len(records) != len(r.indexes)) {
			err = cmp.Or(execErr, errors.New("no reply")) // the pipeline ended before these commands
		}
		for j, i := range r.indexes {
			if err != nil {
				looked[i].Err = fmt.Errorf("looking at orders: %w", access.Classify(err))
				continue
			}
			looked[i].Standing, looked[i].Err = standing(records[j], notes[j])
		}
	}
	return looked
}

// standing reads a record, and the note beside it.
func standing(record, note any) (s domain.Standing, err error) {
	if s.Order, err = layout.DecodeOrder(layout.AsString(record)); err != nil {
		return domain.Standing{}, err
	}
	if s.SetAside, err = layout.DecodeNotes(layout.AsString(note)); err != nil {
		return domain.Standing{}, err
	}
	return s, nil
}

// Watch implements domain.Outcomes. The scripts publish one message a batch: lines of
// event_id/order_id. Pub/sub loses what is said while nobody listens, which is why every
// new connection calls Connected.
func (c *Checkout) Watch(ctx context.Context, partition int, sink domain.OutcomeSink) error {
	channel := c.store.outcomes(partition)
	pubsub := c.store.rdb.Subscribe(ctx, channel)
	defer func() { _ = pubsub.Close() }() // it only held a subscription
	messages := pubsub.ChannelWithSubscriptions(redis.WithChannelSize(1000))
	look := time.NewTimer(0) // at once: the store may have been opened long ago
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			channel = c.follow(ctx, pubsub, partition, channel)
			look.Reset(epochEvery)
		case m, open := <-messages:
			if !open {
				return fmt.Errorf("watching outcomes: %w", redis.ErrClosed)
			}
			switch m := m.(type) {
			case *redis.Subscription:
				if m.Kind == "subscribe" {
					sink.Connected()
				}
			case *redis.Message:
				if refs := readNotice(m.Payload); len(refs) > 0 {
					sink.Changed(refs)
				}
			}
		}
	}
}

// follow listens to the channel of the data that is there now, and to that one only. It
// returns which it is; where that cannot be known or reached, the next look will tell.
func (c *Checkout) follow(ctx context.Context, pubsub *redis.PubSub, partition int, listened string) string {
	epoch, err := c.store.rdb.HMGet(ctx, layout.MetaKey(c.store.keys.Namespace), "epoch").Result()
	if err != nil || len(epoch) != 1 {
		c.store.log.Debug("epoch not known", zap.Error(err))
		return listened
	}
	channel := c.store.keys.Outcomes(partition, layout.AsString(epoch[0]))
	if channel == listened {
		return listened
	}
	if err := pubsub.Subscribe(ctx, channel); err != nil {
		c.store.log.Debug("not listening to outcomes yet", zap.String("channel", channel), zap.Error(err))
		return listened
	}
	_ = pubsub.Unsubscribe(ctx, listened) // whether or not: nobody tells anything there any more
	c.store.log.Info("the data in Redis is not what it was: listening to outcomes of what is there now", zap.Int("partition", partition))
	return channel
}

// readNotice reads a message of the outcomes channel, and passes over what it cannot read:
// whoever waits looks again by itself.
func readNotice(message string) (refs []domain.OrderRef) {
	for line := range strings.SplitSeq(message, "\n") {
		if ref, ok := domain.ParseOrderRef(line); ok {
			refs = append(refs, ref)
		}
	}
	return refs
}
