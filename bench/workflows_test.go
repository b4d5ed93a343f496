package bench

import (
	"context"
	"errors"
	"log/slog"

	"github.com/cschleiden/go-workflows/backend"
	workflowredis "github.com/cschleiden/go-workflows/backend/redis"
	workflowclient "github.com/cschleiden/go-workflows/client"
	"github.com/cschleiden/go-workflows/worker"
	"github.com/cschleiden/go-workflows/workflow"
	"github.com/redis/go-redis/v9"

	"holdfast/streams/redistest"
)

// workflowsPeer is go-workflows with its Redis backend: an instance an order.
//
// Its best: the workflow has a single activity that does the whole order, as the handlers of the
// other peers do; an activity for each step, which is what workflows are for, would multiply what
// Redis has to do. Many pollers, because each takes one task at a time, on a client that
// puts their commands into common pipelines (go-redis's AutoPipeline); and a cache of executors that
// holds all instances that are under way, so that none is replayed.
//
// It does not guarantee more than shop does, with one exception: what a workflow has done is
// recorded, and after a crash it goes on from there.
type workflowsPeer struct {
	shop
	instances *workflowclient.Client
}

const workflowsPollers = 32

func workflowsBackend(rdb redis.UniversalClient) (backend.Backend, error) {
	return workflowredis.NewRedisBackend(rdb,
		workflowredis.WithBackendOptions(backend.WithLogger(slog.New(slog.DiscardHandler))))
}

func (w *workflowsPeer) open(ctx context.Context, server *redistest.Server, events []string, capacity int64) error {
	if err := w.shop.open(ctx, server, events, capacity); err != nil {
		return err
	}
	b, err := workflowsBackend(w.rdb)
	if err != nil {
		return err
	}
	w.instances = workflowclient.New(b)
	return nil
}

func (w *workflowsPeer) preload(ctx context.Context, orders []order) error {
	return concurrently(orders, 64, func(o order) error { return w.submit(ctx, o) })
}

func (w *workflowsPeer) submit(ctx context.Context, o order) error {
	w.submitted.Add(1)
	_, err := w.instances.CreateWorkflowInstance(ctx, workflowclient.WorkflowInstanceOptions{InstanceID: o.id}, purchase, o.text())
	return err
}

// purchase is the workflow.
func purchase(ctx workflow.Context, text string) (bool, error) {
	var named *workflowsActivities // whichever worker's
	return workflow.ExecuteActivity[bool](ctx, workflow.DefaultActivityOptions, named.Sell, text).Get(ctx)
}

// workflowsActivities are the activities of one worker.
type workflowsActivities struct {
	shop *shop
	crew *crew
	rdb  redis.Scripter
}

// Sell does a whole order.
func (a *workflowsActivities) Sell(ctx context.Context, text string) (bool, error) {
	o, err := parseOrder(text)
	if err == nil {
		err = a.shop.sell(ctx, a.rdb, o)
	}
	a.crew.fail(err)
	return err == nil, err
}

func (w *workflowsPeer) work(ctx context.Context) (stop func() error, err error) {
	rdb := client(w.server, 4*workflowsPollers)
	pipelined, err := rdb.AutoPipeline()
	if err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	b, err := workflowsBackend(pipelined)
	if err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	options := worker.DefaultOptions
	options.WorkflowPollers, options.ActivityPollers = workflowsPollers, workflowsPollers
	options.WorkflowPollingInterval, options.ActivityPollingInterval = 0, 0 // the backend waits in Redis
	options.WorkflowExecutorCacheSize = 100_000
	c := newCrew(ctx, &w.failure)
	workers := worker.New(b, &options)
	err = errors.Join(
		workers.RegisterWorkflow(purchase),
		workers.RegisterActivity(&workflowsActivities{&w.shop, c, pipelined}),
		workers.Start(c.ctx),
	)
	if err != nil {
		return nil, errors.Join(err, c.stop(), rdb.Close())
	}
	return func() error {
		return errors.Join(c.stop(), workers.WaitForCompletion(), rdb.Close())
	}, nil
}
