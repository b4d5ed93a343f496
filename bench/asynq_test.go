package bench

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"

	"holdfast/streams/redistest"
)

// asynqPeer is asynq: a task an order, in one queue.
//
// Its best: a server takes one task at a time from Redis, in a script, whatever its concurrency
// is, so a worker runs several servers; they and their handlers share a client that puts their
// commands into common pipelines (go-redis's AutoPipeline). It polls when the queue is empty, once a
// second by default: here every 2 ms, which is what its latency at low rates is made of. Tasks
// are not retained. Groups of tasks, which could be handled in batches, wait for a second at
// least, and are no option where a customer waits.
//
// It does not guarantee more than shop does. A task that fails 25 times is archived.
type asynqPeer struct {
	shop
	tasks *asynq.Client
}

const (
	asynqServers     = 16
	asynqConcurrency = 16 // of each server
	asynqTask        = "purchase"
)

func (a *asynqPeer) open(ctx context.Context, server *redistest.Server, events []string, capacity int64) error {
	if err := a.shop.open(ctx, server, events, capacity); err != nil {
		return err
	}
	pipelined, err := a.rdb.AutoPipeline()
	if err != nil {
		return err
	}
	a.tasks = asynq.NewClientFromRedisClient(pipelined)
	return nil
}

func (a *asynqPeer) preload(ctx context.Context, orders []order) error {
	return concurrently(orders, 256, func(o order) error { return a.submit(ctx, o) })
}

func (a *asynqPeer) submit(ctx context.Context, o order) error {
	a.submitted.Add(1)
	_, err := a.tasks.EnqueueContext(ctx, asynq.NewTask(asynqTask, []byte(o.text())), asynq.TaskID(o.id))
	return err
}

func (a *asynqPeer) work(ctx context.Context) (stop func() error, err error) {
	rdb := client(a.server, 32)
	pipelined, err := rdb.AutoPipeline()
	if err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	c := newCrew(ctx, &a.failure)
	handler := asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		o, err := parseOrder(string(task.Payload()))
		if err != nil {
			return err
		}
		return a.sell(ctx, pipelined, o)
	})
	var servers []*asynq.Server
	end := func() error {
		for _, s := range servers {
			s.Shutdown()
		}
		return errors.Join(c.stop(), rdb.Close())
	}
	for range asynqServers {
		s := asynq.NewServerFromRedisClient(pipelined, asynq.Config{
			Concurrency: asynqConcurrency, TaskCheckInterval: 2 * time.Millisecond, LogLevel: asynq.ErrorLevel,
			ErrorHandler: asynq.ErrorHandlerFunc(func(_ context.Context, _ *asynq.Task, err error) { c.fail(err) }),
		})
		if err := s.Start(handler); err != nil {
			return nil, errors.Join(err, end())
		}
		servers = append(servers, s)
	}
	return end, nil
}
