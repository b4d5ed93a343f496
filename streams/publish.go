package streams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
)

var (
	_ domain.Requests = (*Store)(nil)
	_ domain.Outcomes = (*Store)(nil)
)

// Append implements domain.Requests with one pipeline of XADDs. Pipelines are not
// atomic: each request has a result of its own.
func (s *Store) Append(ctx context.Context, batch []domain.Request, confirm domain.Confirmation) []domain.Appended {
	if confirm.Replicas <= 0 {
		return s.add(ctx, s.rdb, batch, confirm)
	}
	results := make([]domain.Appended, len(batch))
	byMaster := make(map[*redis.Client][]int)
	for i, r := range batch {
		master, err := s.masterOf(ctx, PartitionOf(r.EventID, s.partitions))
		if err != nil {
			results[i].Err = appendError(err)
			continue
		}
		byMaster[master] = append(byMaster[master], i)
	}
	var masters sync.WaitGroup
	for master, indexes := range byMaster {
		masters.Go(func() {
			part := make([]domain.Request, len(indexes))
			for j, i := range indexes {
				part[j] = batch[i]
			}
			for j, a := range s.addConfirmed(ctx, master, part, confirm) {
				results[indexes[j]] = a
			}
		})
	}
	masters.Wait()
	return results
}

// masterOf is the client of the one server that has a partition: WAIT speaks of
// the writes of its own connection.
func (s *Store) masterOf(ctx context.Context, p int) (*redis.Client, error) {
	switch rdb := s.rdb.(type) {
	case *redis.ClusterClient:
		return rdb.MasterForKey(ctx, s.keys.requests(p))
	case *redis.Client:
		return rdb, nil
	}
	return nil, domain.WithClass(domain.ClassFatal, fmt.Errorf("this kind of client (%T) cannot wait for replicas", s.rdb))
}

// addConfirmed is add on one master, and a WAIT behind it.
func (s *Store) addConfirmed(ctx context.Context, master *redis.Client, batch []domain.Request, confirm domain.Confirmation) []domain.Appended {
	limit := master.Options().ReadTimeout
	if limit > 0 {
		limit += confirm.Timeout // the reply comes as late as that
	}
	waiting := master.WithTimeout(limit) // a client of its own on the same connections
	if _, cluster := s.rdb.(*redis.ClusterClient); cluster {
		s.addHook(waiting) // the cluster's own client, which has it, does not see this pipeline
	}
	results := s.add(ctx, waiting, batch, confirm)
	// Where the slot is not there any more, or is on its way, the cluster's client
	// knows how to follow. Nothing is confirmed on the way.
	var moved []int
	for i, a := range results {
		if redirected(a.Err) {
			moved = append(moved, i)
		}
	}
	if len(moved) == 0 {
		return results
	}
	part := make([]domain.Request, len(moved))
	for j, i := range moved {
		part[j] = batch[i]
	}
	for j, a := range s.add(ctx, s.rdb, part, domain.Confirmation{}) {
		results[moved[j]] = a
	}
	return results
}

func (s *Store) add(ctx context.Context, rdb redis.UniversalClient, batch []domain.Request, confirm domain.Confirmation) []domain.Appended {
	pipe := rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(batch))
	for i, r := range batch {
		p := PartitionOf(r.EventID, s.partitions)
		cmds[i] = pipe.XAdd(ctx, &redis.XAddArgs{Stream: s.keys.requests(p), Values: wire.Fields(r)})
	}
	var confirmed int64
	var execErr error
	if confirm.Replicas > 0 {
		wait := pipe.Do(ctx, "WAIT", confirm.Replicas, confirm.Timeout.Milliseconds())
		_, execErr = pipe.Exec(ctx)
		confirmed = asInt(wait.Val()) // 0 if there was no answer: what was added stays added
	} else {
		_, execErr = pipe.Exec(ctx)
	}
	results := make([]domain.Appended, len(batch))
	for i, cmd := range cmds {
		id, err := cmd.Result()
		if err == nil && id == "" {
			err = execErr // the pipeline ended before this command
		}
		results[i] = domain.Appended{EntryID: id, Err: appendError(err)}
		if err == nil {
			results[i].Replicas = int(confirmed)
		}
	}
	return results
}

// appendError tells what is surely not published from what may be.
func appendError(err error) error {
	if err == nil {
		return nil
	}
	var op *net.OpError
	notSent := errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrClosed)
	if notSent || answered(err) {
		return fmt.Errorf("publishing: %w", classify(err))
	}
	return domain.WithClass(domain.ClassRetry, fmt.Errorf("publishing: %w: %w", domain.ErrUnknownOutcome, err))
}

func isNil(err error) bool { return errors.Is(err, redis.Nil) }

// Partition implements domain.Outcomes.
func (s *Store) Partition(eventID string) int { return PartitionOf(eventID, s.partitions) }

// Orders implements domain.Outcomes: one MGET per partition.
func (s *Store) Orders(ctx context.Context, refs []domain.OrderRef) ([]domain.Order, error) {
	byPartition := make(map[int][]int)
	for i, ref := range refs {
		p := PartitionOf(ref.EventID, s.partitions)
		byPartition[p] = append(byPartition[p], i)
	}
	orders := make([]domain.Order, len(refs))
	for p, indexes := range byPartition {
		keys := make([]string, len(indexes))
		for j, i := range indexes {
			keys[j] = s.keys.order(p, refs[i])
		}
		records, err := s.rdb.MGet(ctx, keys...).Result()
		if err != nil {
			return nil, fmt.Errorf("reading orders: %w", classify(err))
		}
		for j, i := range indexes {
			if orders[i], err = decodeOrder(asString(records[j])); err != nil {
				return nil, err
			}
		}
	}
	return orders, nil
}

// Watch implements domain.Outcomes. The scripts publish one message a batch:
// lines of "event_id/order_id record". Pub/sub loses what is said while nobody
// listens, which is why every new connection calls Connected.
func (s *Store) Watch(ctx context.Context, partition int, sink domain.OutcomeSink) error {
	pubsub := s.rdb.Subscribe(ctx, s.keys.outcomes(partition))
	defer func() { _ = pubsub.Close() }() // it only held a subscription
	messages := pubsub.ChannelWithSubscriptions(redis.WithChannelSize(1000))
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m, open := <-messages:
			if !open {
				return fmt.Errorf("watching outcomes: %w", redis.ErrClosed)
			}
			switch m := m.(type) {
			case *redis.Subscription:
				sink.Connected()
			case *redis.Message:
				readNotices(m.Payload, sink.Changed)
			}
		}
	}
}

// readNotices reads a message of the outcomes channel, and passes over what it cannot read:
// whoever waits looks again by itself.
func readNotices(message string, changed func(domain.OrderRef, domain.Order)) {
	for line := range strings.SplitSeq(message, "\n") {
		name, record, _ := strings.Cut(line, " ")
		ref, ok := domain.ParseOrderRef(name)
		order, err := decodeOrder(record)
		if ok && err == nil {
			changed(ref, order)
		}
	}
}
