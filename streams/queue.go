package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
)

const (
	// readBlock bounds a blocking read: cancelling a context does not interrupt one.
	readBlock = time.Second
	// reclaimPages bounds the calls of one reclaim. Each looks at ten times as many
	// pending entries as it may take; the next one goes on where this one stopped.
	reclaimPages = 20
	// strangerIdle is after how long a consumer that never said it was alive counts as gone.
	strangerIdle = 10 * time.Minute
)

// queue implements domain.Queue. Its methods may be called concurrently, but
// Reclaim only by one goroutine at a time.
type queue struct {
	store    *Store
	blocking redis.UniversalClient
	p        int
	group    domain.Group
	consumer string
	stream   string // key
	name     string // of the stream, for dead letters
	cursor   string // where the next reclaim starts
}

// Queue returns a consumer's end of a group in a partition. The consumer's name
// must be its alone: two of one name would do each other's work twice (which
// would change nothing, but cost as much). Nothing is sent yet.
func (s *Store) Queue(partition int, group domain.Group, consumer string) (domain.Queue, error) {
	blocking, err := s.blockingClient()
	if err != nil {
		return nil, err
	}
	stream, name := s.keys.streamOf(partition, group)
	return &queue{
		store: s, blocking: blocking, p: partition, group: group, consumer: consumer,
		stream: stream, name: name, cursor: "0-0",
	}, nil
}

// healing gives an error its class. If it says that groups are gone, they are made
// again, so that the next call finds them; or, if the data is other data, the error
// wraps domain.ErrDataReplaced.
func (q *queue) healing(ctx context.Context, err error) error {
	if !lostGroups(err) {
		return classify(err)
	}
	return errors.Join(q.store.heal(ctx), classify(err))
}

// Read implements domain.Queue.
func (q *queue) Read(ctx context.Context, most int) ([]domain.Entry, error) {
	reply, err := handOut(ctx, q.blocking, "XREADGROUP", "GROUP", string(q.group), q.consumer, "COUNT", most,
		"BLOCK", readBlock.Milliseconds(), "STREAMS", q.stream, ">").Result()
	entries, err := q.read(ctx, reply, err)
	if q.name == streamLog && len(entries) > 0 {
		q.store.history.note(q.p, entries[len(entries)-1].ID)
	}
	return entries, err
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
	reply, err := q.store.run(ctx, scriptOwn, []string{q.stream}, string(q.group), q.consumer, parseLogID(after).next(), min(most, maxBatch), how).Slice()
	if err != nil {
		return nil, fmt.Errorf("script own: %w", q.healing(ctx, err))
	}
	return decodeEntries(reply), nil
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
	return decodeEntries(stream[1]), nil
}

// decodeEntries reads [[id, [field, value, …]], …]; where a third value follows, it is the
// number of deliveries. An entry whose payload is gone has nil fields.
func decodeEntries(reply any) []domain.Entry {
	list, _ := reply.([]any)
	entries := make([]domain.Entry, 0, len(list))
	for _, item := range list {
		pair, _ := item.([]any)
		if len(pair) < 2 {
			continue
		}
		e := domain.Entry{ID: asString(pair[0])}
		if len(pair) > 2 {
			e.Deliveries = asInt(pair[2])
		}
		if values, ok := pair[1].([]any); ok {
			e.Fields = make([]string, len(values))
			for i, v := range values {
				e.Fields[i] = asString(v)
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// TakeTurn implements domain.Ledger. Whoever sets the key has the turn until it
// is gone; it is not extended, so a crash costs one turn, and two workers at one
// job do no harm.
func (s *Store) TakeTurn(ctx context.Context, p int, job, who string, every time.Duration) (bool, error) {
	err := s.rdb.SetArgs(ctx, s.keys.turn(p, job), who, redis.SetArgs{Mode: "NX", TTL: every}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if outOfMemory(err) {
		// No room for the key, and the jobs are what makes room: better done twice than not at all.
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("taking the turn to %s: %w", job, classify(err))
	}
	return true, nil
}

// Reclaim implements domain.Queue. One worker at a time reclaims in a group.
func (q *queue) Reclaim(ctx context.Context, idle time.Duration, most int) ([]domain.Entry, error) {
	every := min(max(idle/10, 50*time.Millisecond), time.Second)
	mine, err := q.store.TakeTurn(ctx, q.p, "reclaim:"+string(q.group), q.consumer, every)
	if err != nil || !mine {
		return nil, err
	}
	var entries []domain.Entry
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
		q.cursor = asString(reply[0])
		entries = append(entries, decodeEntries(reply[1])...)
		if len(reply) > 2 {
			if gone, _ := reply[2].([]any); len(gone) > 0 {
				q.store.log.Error("pending entries had been deleted from the stream and are lost",
					zap.String("stream", q.stream), zap.Any("entry_ids", gone))
			}
		}
		if q.cursor == "0-0" || len(entries) >= most {
			break
		}
	}
	q.countDeliveries(ctx, entries)
	return entries, nil
}

// countDeliveries asks how often each entry was delivered. Where there is no
// answer the count stays 0, not known: it only serves to give up on an entry in the end.
func (q *queue) countDeliveries(ctx context.Context, entries []domain.Entry) {
	if len(entries) == 0 {
		return
	}
	pipe := q.store.rdb.Pipeline()
	cmds := make([]*redis.XPendingExtCmd, len(entries))
	for i, e := range entries {
		cmds[i] = pipe.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: q.stream, Group: string(q.group), Start: e.ID, End: e.ID, Count: 1})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		q.store.log.Debug("deliveries not known", zap.String("stream", q.stream), zap.Error(err))
	}
	for i, cmd := range cmds {
		if found := cmd.Val(); len(found) == 1 {
			entries[i].Deliveries = found[0].RetryCount
		}
	}
}

// KeepAlive implements domain.Queue.
func (q *queue) KeepAlive(ctx context.Context, ids []string, aliveFor time.Duration) ([]string, error) {
	args := append(make([]any, 0, 3+len(ids)), string(q.group), q.consumer, aliveFor.Milliseconds())
	lost, err := q.store.run(ctx, scriptKeepAlive, []string{q.stream, q.store.keys.consumers(q.p)}, appendStrings(args, ids)...).StringSlice()
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
		return fmt.Errorf("script hand_back: %w", classify(err))
	}
	return nil
}

// Leave implements domain.Queue.
func (q *queue) Leave(ctx context.Context) error {
	_, err := q.store.leave(ctx, q.p, q.group, q.consumer, true)
	return err
}

// leave reports whether the consumer is gone from the group.
func (s *Store) leave(ctx context.Context, p int, group domain.Group, consumer string, self bool) (bool, error) {
	asks := "0"
	if self {
		asks = "1"
	}
	stream, _ := s.keys.streamOf(p, group)
	gone, err := s.run(ctx, scriptLeave, []string{stream, s.keys.consumers(p)}, string(group), consumer, asks).Int()
	if err != nil {
		return false, fmt.Errorf("script leave: %w", classify(err))
	}
	return gone == 1, nil
}

// Ack implements domain.Queue.
func (q *queue) Ack(ctx context.Context, ids []string) error {
	for first := 0; first < len(ids); first += maxBatch {
		chunk := ids[first:min(first+maxBatch, len(ids))]
		if err := q.store.rdb.XAck(ctx, q.stream, string(q.group), chunk...).Err(); err != nil {
			return fmt.Errorf("acknowledging in %s: %w", q.stream, classify(err))
		}
	}
	return nil
}

// DeadLetter implements domain.Queue.
func (q *queue) DeadLetter(ctx context.Context, dead []domain.DeadEntry) error {
	for first := 0; first < len(dead); first += maxBatch {
		chunk := dead[first:min(first+maxBatch, len(dead))]
		args := append(make([]any, 0, 2+2*len(chunk)), string(q.group), q.name)
		for _, d := range chunk {
			args = append(args, d.ID, d.Reason)
		}
		if err := q.store.run(ctx, scriptDeadLetter, []string{q.stream, q.store.keys.dead(q.p)}, args...).Err(); err != nil {
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

// ForgetConsumers implements domain.Ledger.
func (s *Store) ForgetConsumers(ctx context.Context, p int) ([]string, error) {
	now, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("asking Redis for the time: %w", classify(err))
	}
	aliveUntil, err := s.aliveUntil(ctx, p)
	if err != nil {
		return nil, err
	}
	var forgotten []string
	for _, group := range groups {
		stream, _ := s.keys.streamOf(p, group)
		consumers, err := s.rdb.XInfoConsumers(ctx, stream, string(group)).Result()
		if err != nil {
			return forgotten, fmt.Errorf("listing consumers of %s: %w", stream, classify(err))
		}
		gone := make([]string, 0, len(consumers))
		for _, c := range consumers {
			until, known := aliveUntil[string(group)+"/"+c.Name]
			delete(aliveUntil, string(group)+"/"+c.Name)
			if c.Pending == 0 && (known && until < now.UnixMilli() || !known && c.Idle > strangerIdle) {
				gone = append(gone, c.Name)
			}
		}
		// Those that are not in the group: they died after they had said that they were there, before they read.
		for name, until := range aliveUntil {
			if of, consumer, _ := strings.Cut(name, "/"); of == string(group) && until < now.UnixMilli() {
				gone = append(gone, consumer)
			}
		}
		for _, name := range gone {
			// The script looks again: it may have come back since.
			left, err := s.leave(ctx, p, group, name, false)
			if err != nil {
				return forgotten, err
			}
			if left {
				forgotten = append(forgotten, name)
			}
		}
	}
	return forgotten, nil
}

// aliveUntil is, by group/consumer, the time in milliseconds until which it counts as alive.
func (s *Store) aliveUntil(ctx context.Context, p int) (map[string]int64, error) {
	members, err := s.rdb.ZRangeWithScores(ctx, s.keys.consumers(p), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("listing consumers: %w", classify(err))
	}
	until := make(map[string]int64, len(members))
	for _, m := range members {
		name, _ := m.Member.(string)
		until[name] = int64(m.Score)
	}
	return until, nil
}

// parseNetstrings reads the fields of a dead letter: length ':' bytes ','.
// Its error does not repeat them: there may be a payment token among them.
func parseNetstrings(s string) ([]string, error) {
	var fields []string
	for rest := s; rest != ""; {
		digits, after, found := strings.Cut(rest, ":")
		n, err := strconv.Atoi(digits)
		if !found || err != nil || n < 0 || n >= len(after) || after[n] != ',' {
			return nil, domain.WithClass(domain.ClassPoison, errors.New("fields of a dead letter are damaged"))
		}
		fields = append(fields, after[:n])
		rest = after[n+1:]
	}
	return fields, nil
}
