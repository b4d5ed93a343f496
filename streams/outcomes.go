package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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

// Orders reads stored orders, with one MGET per partition; one never heard of is the zero Order.
func (c *Checkout) Orders(ctx context.Context, refs []domain.OrderRef) ([]domain.Order, error) {
	return c.store.Inside().Orders(ctx, refs)
}

// SeatNames implements domain.Outcomes. Where the seats of an event are is asked for once, and then only whether they still are.
func (c *Checkout) SeatNames(ctx context.Context, eventID string, items domain.Items) (map[string][]string, error) {
	return c.store.Inside().SeatNames(ctx, eventID, items)
}

// Look implements domain.Outcomes: one pipeline for all partitions.
//
// The notes are read first. An order that is not there afterwards was not there when
// the note was, so the two together are of one moment; the other way round a note could be
// newer than a record that was not there yet.
func (c *Checkout) Look(ctx context.Context, refs []domain.OrderRef) []domain.Looked {
	looked := make([]domain.Looked, len(refs))
	ns := c.store.Inside()
	if err := ns.LearnHashes(ctx, refs, false); err != nil {
		unknown := c.unknown(ctx, refs, err)
		for i, ref := range refs {
			looked[i].Err = unknown[ref.EventID]
		}
	}
	byPartition := make(map[int][]int)
	for i, ref := range refs {
		if looked[i].Err == nil {
			p := c.store.Partition(ref.EventID)
			byPartition[p] = append(byPartition[p], i)
		}
	}
	if len(byPartition) == 0 {
		return looked
	}
	type read struct {
		indexes []int
		notes   *redis.SliceCmd
		records *access.RecordReads
		events  []string
		terms   *redis.SliceCmd // of those
	}
	var reads []read
	pipe := c.store.rdb.Pipeline()
	for p, indexes := range byPartition {
		for chunk := range slices.Chunk(indexes, access.MaxBatch) {
			names, here := make([]string, len(chunk)), make([]domain.OrderRef, len(chunk))
			r := read{indexes: chunk}
			for j, i := range chunk {
				names[j], here[j] = refs[i].String(), refs[i]
				if !slices.Contains(r.events, refs[i].EventID) {
					r.events = append(r.events, refs[i].EventID)
				}
			}
			r.notes, r.records = pipe.HMGet(ctx, c.store.keys.SetAside(p), names...), ns.ReadRecords(ctx, pipe, p, here)
			r.terms = pipe.HMGet(ctx, c.store.keys.Events(p), r.events...)
			reads = append(reads, r)
		}
	}
	_, execErr := pipe.Exec(ctx)
	for _, r := range reads {
		notes, err := r.notes.Val(), r.notes.Err()
		if err == nil && len(notes) != len(r.indexes) {
			err = cmp.Or(execErr, errors.New("no reply")) // the pipeline ended before this command
		}
		if err != nil {
			err = fmt.Errorf("looking at orders: %w", access.Classify(err))
		}
		records, recordsErr := r.records.Records()
		over, overErr := forgottenOf(r.events, r.terms)
		for j, i := range r.indexes {
			if looked[i].Err = cmp.Or(err, recordsErr, overErr); looked[i].Err == nil {
				looked[i].Standing, looked[i].Err = standing(records[j], notes[j])
				looked[i].Over = looked[i].Order.State == domain.OrderNone && over[refs[i].EventID]
			}
		}
	}
	return looked
}

// unknown is of which of the orders' events it cannot be learnt where their orders are, and why. Where one may be damaged, each is asked for
// alone: the others are none of its business.
func (c *Checkout) unknown(ctx context.Context, refs []domain.OrderRef, err error) map[string]error {
	of := make(map[string]error)
	for _, ref := range refs {
		if _, asked := of[ref.EventID]; asked {
			continue
		}
		if of[ref.EventID] = err; domain.ClassOf(err) == domain.ClassPoison {
			of[ref.EventID] = c.store.Inside().LearnHashes(ctx, []domain.OrderRef{ref}, false)
		}
	}
	return of
}

// forgottenOf are those of events that were forgotten, by their terms. They were read after the orders: one that was not there then, of an event
// that was forgotten by then, never will be. What is damaged of the terms is not the business of whoever waits.
func forgottenOf(events []string, terms *redis.SliceCmd) (map[string]bool, error) {
	if err := terms.Err(); err != nil {
		return nil, fmt.Errorf("looking at events: %w", access.Classify(err))
	}
	over := make(map[string]bool)
	for i, value := range terms.Val() {
		if t, err := layout.DecodeEventTerms(layout.AsString(value)); err == nil && t.Over != "" {
			over[events[i]] = true
		}
	}
	return over, nil
}

// standing reads a record, and the note beside it.
func standing(record string, note any) (s domain.Standing, err error) {
	if s.Order, err = layout.DecodeOrder(record); err != nil {
		return domain.Standing{}, err
	}
	if s.SetAside, _, err = layout.DecodeNotes(layout.AsString(note)); err != nil {
		return domain.Standing{}, err
	}
	return s, nil
}

// Watch implements domain.Outcomes. The scripts publish one message a batch: lines of
// event_id/order_id. Pub/sub loses what is said while nobody listens, which is why every
// new connection calls Connected.
func (c *Checkout) Watch(ctx context.Context, partition int, sink domain.OutcomeSink) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, 5*time.Second
	var last string
	for {
		subscribed, err := c.listen(ctx, partition, &last, sink)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		sink.Disconnected()
		if errors.Is(err, redis.ErrClosed) {
			return err
		}
		if redis.IsPermissionError(err) && c.store.deaf.CompareAndSwap(false, true) {
			c.store.log.Warn("the user of Redis may not listen for outcomes (SUBSCRIBE, and the channels of the namespace): "+
				"whoever waits for one has to look again and again", zap.Error(err))
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

// How often it is looked whether the data is still the same (other data has another channel),
// and how long that may take: less than the server may be silent.
const (
	epochEvery = 2 * time.Second
	epochLook  = time.Second
)

// channel is where the outcomes of the data that is there now are told.
func (c *Checkout) channel(ctx context.Context, partition int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, epochLook)
	defer cancel()
	epoch, err := c.store.rdb.HMGet(ctx, layout.MetaKey(c.store.keys.Namespace), "epoch").Result()
	if err != nil {
		return "", fmt.Errorf("reading the epoch: %w", access.Classify(err))
	}
	return c.store.keys.Outcomes(partition, layout.AsString(epoch[0])), nil
}

// listen is Watch on one connection; last is the channel of the one before. It returns why that ended, and whether there was a subscription.
func (c *Checkout) listen(ctx context.Context, partition int, last *string, sink domain.OutcomeSink) (subscribed bool, err error) {
	channel, err := c.channel(ctx, partition)
	if err != nil {
		return false, err
	}
	if *last != "" && *last != channel {
		c.store.hashes.Forget() // where orders are was said by the data before, while nobody listened
	}
	*last = channel
	pubsub := c.store.rdb.Subscribe(ctx, channel)
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
		look := time.NewTicker(epochEvery)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
				// Where there is no answer, that of the ping tells whether the server is there: it must not be kept waiting for.
				looking, enough := context.WithTimeout(ctx, epochEvery/2)
				if now, err := c.channel(looking, partition); err == nil && now != channel {
					c.store.hashes.Forget() // where orders are was said by the data before
					cancel(domain.ErrDataReplaced)
				}
				enough()
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
			if refs := readNotice(m.Payload); len(refs) > 0 {
				sink.Changed(refs)
			}
		}
	}
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
