package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
	"holdfast/telemetry"
	"holdfast/workers"
)

// shown is what a worker shows of itself over HTTP. Its zero value shows nothing.
type shown struct {
	server *telemetry.Server // nil: nothing
	close  func() error      // once; later calls return the same
}

// show listens where --listen says, before anything of Redis is needed: a worker that waits for it lives.
func (c *workerCommand) show(ctx context.Context, log *zap.Logger) (shown, error) {
	if c.Listen == "" {
		if c.Pprof {
			return shown{}, badUsage("--pprof: say where with --listen")
		}
		return shown{close: func() error { return nil }}, nil
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return shown{}, badUsage("--listen: want HOST:PORT")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return shown{}, domain.WithClass(domain.ClassFatal, fmt.Errorf("cannot listen (%w): choose another address with --listen", err))
	}
	version := readVersion()
	server := telemetry.New(telemetry.Options{Version: version.Version, Revision: version.Revision, Go: version.Go, Pprof: c.Pprof, Log: log})
	server.Serve(listener)
	log.Info("listening", zap.String("url", "http://"+listener.Addr().String()), zap.Bool("pprof", c.Pprof))
	return shown{server, sync.OnceValue(server.Close)}, nil
}

// watch says of which worker is told.
func (s shown) watch(pool *workers.Pool, store *streams.Store) {
	if s.server == nil {
		return
	}
	watch := inspect.New(store).Watch()
	s.server.Watch(pool, func(ctx context.Context) (telemetry.Figures, error) {
		f, err := watch.Look(ctx)
		return figuresOf(f), err
	})
}

func figuresOf(f inspect.Figures) telemetry.Figures {
	figures := telemetry.Figures{
		DeadLetters: f.DeadLetters, DataReplaced: f.Replaced, RefusesWrites: len(f.Refusals) > 0, AwaitedOrders: f.Awaited.Orders, UnaskedMillis: f.Awaited.UnaskedMillis,
	}
	for _, a := range f.Archived {
		if figures.ArchiveLagMillis == nil {
			figures.ArchiveLagMillis = make(map[int]int64)
		}
		figures.ArchiveLagMillis[a.Partition] = a.Millis
	}
	for _, p := range f.Paused.Lasting {
		if p.EventID == "" {
			figures.Paused.Everything = true
		} else {
			figures.Paused.Events++
		}
		figures.Paused.OldestMillis = max(figures.Paused.OldestMillis, f.AtMillis-p.AtMillis)
	}
	for _, n := range f.Paused.Parked {
		figures.Paused.Parked += n
	}
	for _, w := range f.Webhooks {
		figures.Webhooks = append(figures.Webhooks, telemetry.Webhook{ID: w.ID, State: string(w.State), Waiting: w.Waiting, Taken: w.Taken, Failed: w.Failed, UnsentMillis: w.UnsentMillis})
	}
	for _, a := range f.Audited {
		figures.Audits = append(figures.Audits, telemetry.Audit{Of: a.Of, Violations: int64(a.Violations), AgeMillis: max(0, f.AtMillis-a.AtMillis)})
	}
	for _, g := range f.Groups {
		figures.Groups = append(figures.Groups, telemetry.Group{
			Partition: g.Partition, Group: g.Group, Waiting: g.Lag, InHand: g.Pending, Owed: g.Owed, Backlog: g.Backlog,
			OldestWaitingMillis: g.OldestWaitingMillis, OldestInHandMillis: g.OldestInHandMillis, OldestOwedMillis: g.OldestOwedMillis,
			OldestIdleMillis: g.OldestIdleMillis, MostDeliveries: g.MostDeliveries, Alive: g.Alive(),
		})
	}
	for _, u := range f.Upkeep {
		figures.OverdueHolds += u.OverdueHolds
		figures.OldestOverdueMillis = max(figures.OldestOverdueMillis, u.OldestOverdueMillis)
	}
	return figures
}
