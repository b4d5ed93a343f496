package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

const (
	// readBlock bounds a blocking read: cancelling a context does not interrupt one.
	readBlock = 2 * time.Second
	// reclaimTurn bounds how long others need not look after one has looked for what
	// can be reclaimed.
	reclaimTurn = time.Second / 2
	// reclaimPages bounds the calls of one reclaim. Each looks at ten times as many
	// pending entries as it may take; the next one goes on where this one stopped.
	reclaimPages = 20
)

// queue implements domain.Queue. Its methods may be called concurrently, but
// Read and Reclaim only by one goroutine at a time.
type queue struct {
	store    *Store
	blocking redis.UniversalClient
	p        int
	group    domain.Group
	consumer string
	stream   string // key
	name     string // of the stream, for dead letters
	cursor   string // where the next reclaim starts
	more     bool   // the last reclaim was given as many as it asked for
	refused  bool   // the last read was: the next one is not read raw, so that the client sees why and leaves a server that is no master
}

// Queue returns a consumer's end of a group in a partition. The consumer's name
// must be its alone: two of one name would do each other's work twice (which
// would change nothing, but cost as much). Nothing is sent yet.
func (s *Store) Queue(partition int, group domain.Group, consumer string) (domain.Queue, error) {
	blocking, err := s.blockingClient()
	if err != nil {
		return nil, err
	}
	stream, name := s.keys.StreamOf(partition, group)
	return &queue{
		store: s, blocking: blocking, p: partition, group: group, consumer: consumer,
		stream: stream, name: name, cursor: "0-0",
	}, nil
}

// healing gives an error its class. If it says that groups are gone, they are made
// again, so that the next call finds them, and its code is domain.CodeGroupGone; or, if the data is other data, the error
// wraps domain.ErrDataReplaced.
func (q *queue) healing(ctx context.Context, err error) error {
	if !lostGroups(err) {
		return access.Classify(err)
	}
	return errors.Join(q.store.heal(ctx), domain.WithCode(domain.ClassRetry, domain.CodeGroupGone, access.Classify(err)))
}

// Read implements domain.Queue.
func (q *queue) Read(ctx context.Context, most int, wait time.Duration) ([]domain.Entry, error) {
	args := []any{"XREADGROUP", "GROUP", string(q.group), q.consumer, "COUNT", most}
	if millis := min(wait, readBlock).Milliseconds(); millis > 0 { // BLOCK 0 would be for ever
		args = append(args, "BLOCK", millis)
	}
	args = append(args, "STREAMS", q.stream, ">")
	var entries []domain.Entry
	var err error
	if _, cluster := q.blocking.(*redis.ClusterClient); cluster || q.refused { // the client must see where the entries are, if they are not here
		q.refused = false
		var reply any
		reply, err = handOut(ctx, q.blocking, args...).Result()
		entries, err = q.read(ctx, reply, err)
	} else {
		entries, err = q.readRaw(ctx, args)
	}
	if q.name == layout.StreamLog {
		q.store.history.note(q.p, entries...)
	}
	return entries, err
}

// readRaw reads from one server, and takes the reply apart itself.
func (q *queue) readRaw(ctx context.Context, args []any) ([]domain.Entry, error) {
	cmd := redis.NewRawCmd(ctx, args...)
	err := q.blocking.Process(ctx, cmd)
	var entries []domain.Entry
	if err == nil {
		entries, err = layout.ParseRead(cmd.Val())
		q.refused = err != nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s as %s: %w", q.stream, q.group, q.healing(ctx, err))
	}
	return entries, nil
}

// handOut sends a command that gives this consumer entries. If its connection breaks,
// the client of a Cluster would send it again by itself, and nobody would look for
// the entries in the reply that was lost.
func handOut(ctx context.Context, rdb redis.UniversalClient, args ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx, args...)
	var sent redis.Cmder = cmd
	if _, cluster := rdb.(*redis.ClusterClient); cluster {
		sent = once{cmd}
	}
	_ = rdb.Process(ctx, sent) // the error is the command's, too
	return cmd
}

// once is a command that is sent again only where it was surely not executed.
type once struct{ *redis.Cmd }

// NoRetry is what the client asks.
func (once) NoRetry() bool { return true }

// Own implements domain.Queue.
func (q *queue) Own(ctx context.Context, after string, most int, inherit bool) ([]domain.Entry, error) {
	how := "0"
	if inherit {
		how = "1"
	}
	reply, err := q.store.run(ctx, scriptOwn, []string{q.stream}, string(q.group), q.consumer, layout.ParseLogID(after).Next(), min(most, access.MaxBatch), how).Slice()
	if err != nil {
		return nil, fmt.Errorf("script own: %w", q.healing(ctx, err))
	}
	return layout.DecodeEntries(reply), nil
}

func (q *queue) read(ctx context.Context, reply any, err error) ([]domain.Entry, error) {
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s as %s: %w", q.stream, q.group, q.healing(ctx, err))
	}
	streams, _ := reply.([]any)
	if len(streams) != 1 {
		return nil, nil
	}
	stream, _ := streams[0].([]any)
	if len(stream) != 2 {
		return nil, fmt.Errorf("reading %s: a reply of an unknown form", q.stream)
	}
	return layout.DecodeEntries(stream[1]), nil
}

// Reclaim implements domain.Queue. Whether anything is pending is asked first, on the connection that
// reads of this queue block on otherwise. To look through it in vain costs as much as there is,
// so one worker at a time does. Whoever was given all it asked for goes on without
// a turn; so do others who find that much when the turn is theirs.
func (q *queue) Reclaim(ctx context.Context, idle time.Duration, most int) ([]domain.Entry, error) {
	if !q.more {
		pending, err := q.blocking.XPending(ctx, q.stream, string(q.group)).Result()
		if err != nil {
			return nil, fmt.Errorf("looking what is pending in %s: %w", q.stream, q.healing(ctx, err))
		}
		if pending.Count == 0 {
			return nil, nil
		}
		every := min(max(idle/20, 50*time.Millisecond), reclaimTurn)
		mine, err := q.store.Ledger().TakeTurn(ctx, q.p, "reclaim:"+string(q.group), q.consumer, every)
		if err != nil || !mine {
			return nil, err
		}
	}
	q.more = false
	var entries []domain.Entry
	begun := q.cursor
	for range reclaimPages {
		reply, err := handOut(ctx, q.store.rdb, "XAUTOCLAIM", q.stream, string(q.group), q.consumer,
			idle.Milliseconds(), q.cursor, "COUNT", most-len(entries)).Slice()
		if err != nil {
			// What was claimed before is in this consumer's own list and is found there.
			return entries, fmt.Errorf("reclaiming from %s: %w", q.stream, q.healing(ctx, err))
		}
		if len(reply) < 2 {
			return entries, fmt.Errorf("reclaiming from %s: a reply of an unknown form", q.stream)
		}
		q.cursor = layout.AsString(reply[0])
		entries = append(entries, layout.DecodeEntries(reply[1])...)
		if len(reply) > 2 {
			if gone, _ := reply[2].([]any); len(gone) > 0 {
				q.store.log.Error("pending entries had been deleted from the stream and are lost",
					zap.String("stream", q.stream), zap.Any("entry_ids", gone))
			}
		}
		if len(entries) >= most || q.cursor == "0-0" && begun == "0-0" {
			break
		}
		if q.cursor == "0-0" {
			begun = q.cursor // it began in the middle: what is before that comes now
		}
	}
	q.countDeliveries(ctx, entries)
	q.more = len(entries) == most
	return entries, nil
}

// countDeliveries asks how often each entry, all of them this consumer's and in order,
// was delivered. Where there is no answer the count stays 0, not known: it only
// serves to give up on an entry in the end.
func (q *queue) countDeliveries(ctx context.Context, entries []domain.Entry) {
	if len(entries) == 0 {
		return
	}
	deliveries := make(map[string]int64, len(entries))
	from, to := entries[0].ID, entries[len(entries)-1].ID
	for more := true; more; { // between them may be others: as many as this consumer has in hand
		page, err := q.store.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: q.stream, Group: string(q.group), Start: from, End: to, Count: access.ReadPage, Consumer: q.consumer,
		}).Result()
		if err != nil {
			q.store.log.Debug("deliveries not known", zap.String("stream", q.stream), zap.Error(err))
			break
		}
		for _, e := range page {
			deliveries[e.ID] = e.RetryCount
		}
		if more = len(page) == access.ReadPage; more {
			from = "(" + page[len(page)-1].ID
		}
	}
	for i := range entries {
		entries[i].Deliveries = deliveries[entries[i].ID]
	}
}

// KeepAlive implements domain.Queue.
func (q *queue) KeepAlive(ctx context.Context, ids []string, aliveFor time.Duration) ([]string, error) {
	args := append(make([]any, 0, 3+len(ids)), string(q.group), q.consumer, aliveFor.Milliseconds())
	lost, err := q.store.run(ctx, scriptKeepAlive, []string{q.stream, q.store.keys.Consumers(q.p), q.store.keys.Delivered(q.p)}, appendStrings(args, ids)...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("script keep_alive: %w", q.healing(ctx, err))
	}
	return lost, nil
}

// HandBack implements domain.Queue.
func (q *queue) HandBack(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	args := append(make([]any, 0, 2+len(ids)), string(q.group), q.consumer)
	if err := q.store.run(ctx, scriptHandBack, []string{q.stream}, appendStrings(args, ids)...).Err(); err != nil {
		return fmt.Errorf("script hand_back: %w", access.Classify(err))
	}
	return nil
}

// Leave implements domain.Queue.
func (q *queue) Leave(ctx context.Context) error {
	_, err := q.store.leave(ctx, q.p, q.group, q.consumer, true)
	return err
}

// Ack implements domain.Queue.
func (q *queue) Ack(ctx context.Context, ids []string) error {
	for first := 0; first < len(ids); first += access.MaxBatch {
		chunk := ids[first:min(first+access.MaxBatch, len(ids))]
		if err := q.store.rdb.XAck(ctx, q.stream, string(q.group), chunk...).Err(); err != nil {
			return fmt.Errorf("acknowledging in %s: %w", q.stream, access.Classify(err))
		}
	}
	return nil
}

// DeadLetter implements domain.Queue.
func (q *queue) DeadLetter(ctx context.Context, dead []domain.DeadEntry) error {
	for first := 0; first < len(dead); first += access.MaxBatch {
		chunk := dead[first:min(first+access.MaxBatch, len(dead))]
		args := append(make([]any, 0, 4+2*len(chunk)), string(q.group), q.name, q.p, q.store.outcomes(q.p))
		for _, d := range chunk {
			args = append(args, d.ID, d.Reason)
		}
		if err := q.store.run(ctx, scriptDeadLetter, []string{q.stream, q.store.keys.Dead(q.p), q.store.keys.SetAside(q.p)}, args...).Err(); err != nil {
			return fmt.Errorf("script dead_letter: %w", q.healing(ctx, err))
		}
	}
	return nil
}

func appendStrings(args []any, list []string) []any {
	for _, s := range list {
		args = append(args, s)
	}
	return args
}
