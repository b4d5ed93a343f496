package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"holdfast/streams"
	"holdfast/streams/inspect"
)

type pendingCommand struct {
	Entries int `default:"20" placeholder:"N" help:"The most pending entries to show of each group, the oldest first. Default: 20."`
}

// Help is shown by --help.
func (c *pendingCommand) Help() string {
	return `
Lag counts the entries that no worker was given yet, pending those that were given and are not done. Backlog is both,
and the figure to scale workers on. An entry whose worker is dead goes to another one by itself, after that one's
--reclaim-after.
`
}

func (c *pendingCommand) Run(ctx context.Context, e *environment) error {
	if c.Entries < 0 {
		return badUsage("--entries: want 0 or more")
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		groups, err := inspect.New(store).Pending(ctx, c.Entries)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(groups, func(g inspect.GroupStatus) bool { return g.Unreadable }) {
			e.warnings().Warn("the user of Redis may not read the requests: their lag is Redis's own figure, and what order an entry is about is not shown")
		}
		out := e.printer("partition", "stream", "group", "lag", "pending", "backlog", "oldest_idle", "consumers")
		for _, g := range groups {
			alive := aliveConsumers(g)
			out.row(g, strconv.Itoa(g.Partition), g.Stream, g.Group, count(g.Lag), count(g.Pending), count(g.Backlog),
				duration(g.OldestIdleMillis), fmt.Sprintf("%d alive of %d", len(alive), len(g.Consumers)))
		}
		if !out.section("partition", "group", "consumer", "pending", "idle", "alive") {
			return out.flush()
		}
		for _, g := range groups {
			for _, consumer := range g.Consumers {
				out.row(nil, strconv.Itoa(g.Partition), g.Group, consumer.Name, count(consumer.Pending), duration(consumer.IdleMillis), strconv.FormatBool(consumer.Alive))
			}
		}
		out.section("partition", "group", "entry_id", "order", "consumer", "idle", "deliveries", "next")
		for _, g := range groups {
			alive := aliveConsumers(g)
			for _, entry := range g.Entries {
				out.row(nil, strconv.Itoa(g.Partition), g.Group, entry.ID, entry.OrderID, entry.Consumer,
					duration(entry.IdleMillis), count(entry.Deliveries), next(entry, alive))
			}
		}
		return out.flush()
	})
}

func aliveConsumers(g inspect.GroupStatus) map[string]bool {
	alive := make(map[string]bool)
	for _, c := range g.Consumers {
		if c.Alive {
			alive[c.Name] = true
		}
	}
	return alive
}

// next says what will happen to an entry if nobody does anything.
func next(entry inspect.PendingEntry, alive map[string]bool) string {
	switch {
	case alive[entry.Consumer]:
		return "its worker is at it"
	case len(alive) > 0:
		return "another worker takes it over"
	}
	return "nothing: start a worker"
}
