package streams

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Checkout is what those who sell may do: publish requests (domain.Requests), and
// learn what became of their orders (domain.Outcomes). It is safe for concurrent use.
type Checkout struct {
	store   *Store
	streams []any // the key of each partition's requests, once for all commands
	lines   lines
}

var (
	_ domain.Requests = (*Checkout)(nil)
	_ domain.Outcomes = (*Checkout)(nil)
)

// Checkout hands out what a producer needs.
func (s *Store) Checkout() *Checkout {
	c := &Checkout{store: s, streams: make([]any, s.partitions)}
	for p := range c.streams {
		c.streams[p] = s.keys.Requests(p)
	}
	return c
}

// Append implements domain.Requests with one pipeline of XADDs. Pipelines are not
// atomic: each request has a result of its own. Nothing is published where there is no
// stream for it: a namespace that is gone is not begun anew by its checkouts. Workers make
// streams again that are gone, so such a request is tried again (domain.CodeUnavailable). Nor is it where
// as many requests wait as may (domain.CodeBusy).
func (c *Checkout) Append(ctx context.Context, batch []domain.Request, confirm domain.Confirmation) []domain.Appended {
	taken, refused := c.admit(ctx, batch)
	if refused == nil {
		defer c.sent(batch, taken)
		return c.send(ctx, batch, confirm)
	}
	results := make([]domain.Appended, len(batch))
	part, at := make([]domain.Request, 0, len(batch)), make([]int, 0, len(batch))
	for i, err := range refused {
		if results[i].Err = err; err == nil {
			part, at = append(part, batch[i]), append(at, i)
		}
	}
	defer c.sent(part, taken)
	for j, a := range c.send(ctx, part, confirm) {
		results[at[j]] = a
	}
	return results
}

func (c *Checkout) send(ctx context.Context, batch []domain.Request, confirm domain.Confirmation) []domain.Appended {
	if confirm.Replicas <= 0 {
		return c.add(ctx, c.store.rdb, batch, confirm)
	}
	results := make([]domain.Appended, len(batch))
	byMaster := make(map[*redis.Client][]int)
	for i, r := range batch {
		master, err := c.masterOf(ctx, c.store.Partition(r.EventID))
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
			for j, a := range c.addConfirmed(ctx, master, part, confirm) {
				results[indexes[j]] = a
			}
		})
	}
	masters.Wait()
	return results
}

// masterOf is the client of the one server that has a partition: WAIT speaks of
// the writes of its own connection.
func (c *Checkout) masterOf(ctx context.Context, p int) (*redis.Client, error) {
	switch rdb := c.store.rdb.(type) {
	case *redis.ClusterClient:
		return rdb.MasterForKey(ctx, c.store.keys.Requests(p))
	case *redis.Client:
		return rdb, nil
	}
	return nil, domain.WithClass(domain.ClassFatal, fmt.Errorf("this kind of client (%T) cannot wait for replicas", c.store.rdb))
}

// addConfirmed is add on one master, and a WAIT behind it.
func (c *Checkout) addConfirmed(ctx context.Context, master *redis.Client, batch []domain.Request, confirm domain.Confirmation) []domain.Appended {
	limit := master.Options().ReadTimeout
	if limit > 0 {
		limit += confirm.Timeout // the reply comes as late as that
	}
	waiting := master.WithTimeout(limit) // a client of its own on the same connections
	if _, cluster := c.store.rdb.(*redis.ClusterClient); cluster {
		c.store.addHook(waiting) // the cluster's own client, which has it, does not see this pipeline
	}
	results := c.add(ctx, waiting, batch, confirm)
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
	for j, a := range c.add(ctx, c.store.rdb, part, domain.Confirmation{}) {
		results[moved[j]] = a
	}
	return results
}

// addArgs is how many arguments an XADD has besides the request's fields.
const addArgs = 4

func (c *Checkout) add(ctx context.Context, rdb redis.UniversalClient, batch []domain.Request, confirm domain.Confirmation) []domain.Appended {
	cmds, adds := make([]redis.Cmder, len(batch)), make([]*redis.StringCmd, len(batch))
	args := make([]any, 0, (addArgs+2*wire.MostFields)*len(batch)) // of all of them
	for i := range batch {
		from := len(args)
		args = append(args, "xadd", c.streams[c.store.Partition(batch[i].EventID)], "nomkstream", "*")
		args = wire.AppendFields(args, &batch[i])
		adds[i] = redis.NewStringCmd(ctx, args[from:len(args):len(args)]...)
		cmds[i] = adds[i]
	}
	pipe := rdb.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...) // it only queues them
	var confirmed int64
	var execErr error
	if confirm.Replicas > 0 {
		wait := pipe.Do(ctx, "WAIT", confirm.Replicas, confirm.Timeout.Milliseconds())
		_, execErr = pipe.Exec(ctx)
		confirmed = layout.AsInt(wait.Val()) // 0 if there was no answer: what was added stays added
	} else {
		_, execErr = pipe.Exec(ctx)
	}
	results := make([]domain.Appended, len(batch))
	for i, cmd := range adds {
		id, err := cmd.Result()
		if err == nil && id == "" {
			err = execErr // the pipeline ended before this command
		}
		switch {
		case access.IsNil(err):
			results[i].Err = fmt.Errorf("publishing: %w", noStream(c.store.keys.Requests(c.store.Partition(batch[i].EventID))))
		case err != nil:
			results[i].Err = appendError(err)
		default:
			results[i] = domain.Appended{EntryID: id, Replicas: int(confirmed)}
		}
	}
	return results
}

// noStream is the error for what was not written because its stream is not there.
func noStream(key string) error {
	return domain.WithCode(domain.ClassRetry, domain.CodeUnavailable,
		fmt.Errorf("there is no %s: Redis was emptied, or somebody deleted it, and no worker has made it again yet", key))
}

// appendError tells what is surely not published from what may be.
func appendError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("publishing: %w", access.ClassifyChange(err))
}
