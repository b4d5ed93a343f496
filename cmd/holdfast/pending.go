package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/streams"
	"holdfast/streams/inspect"
)

type pendingCommand struct {
	List    pendingListCommand    `cmd:"" default:"withargs" help:"Is all well, what waits, who has it, and for how long. It is what pending does by itself."`
	Explain pendingExplainCommand `cmd:"" help:"Where one order stands, what happens next, and what you can do."`
	Claim   pendingClaimCommand   `cmd:"" help:"Hand what a worker that is gone has in hand to the others, at once."`
	Claims  pendingClaimsCommand  `cmd:"" help:"Who had entries handed over, when and why."`
}

// Help is shown by --help.
func (c *pendingCommand) Help() string {
	return `
Without a command it is pending list, whose flags may follow at once: holdfast pending --entries 50
`
}

type pendingListCommand struct {
	Entries int           `default:"20" placeholder:"N" help:"The most pending entries to show of each group, the oldest first. Default: 20."`
	Only    entryFilter   `embed:"" group:"Only these pending entries:"`
	Watch   bool          `help:"Look again and again, until it is interrupted."`
	Every   time.Duration `default:"2s" placeholder:"DURATION" help:"With --watch: how often. Default: 2s."`
}

// Help is shown by --help.
func (c *pendingListCommand) Help() string {
	return `
The first line of a table says whether all is well, or what is worst and what to do; holdfast check tells the rest.

Lag counts the requests, or facts, that no worker was given yet, pending those that were given and are not done, owed the
orders whose money waits by itself. Backlog is all of them, and the figure to scale workers on. A ~ before a figure says that
not all entries were read for it: facts stand together in entries, and those that were not read are taken to have as many. Oldest_waiting is the age of the oldest that waits, oldest_in_hand for how long the oldest
pending one has been with workers. The group maintenance is the holds that are over and have not ended. An entry whose worker
is dead goes to another one by itself, after that one's --reclaim-after.
`
}

func (c *pendingListCommand) Run(ctx context.Context, e *environment) error {
	if c.Entries < 0 {
		return badUsage("--entries: want 0 or more")
	}
	if c.Every < leastEvery {
		return badUsage("--every: want at least %s", leastEvery)
	}
	filter, err := c.Only.filter()
	if err != nil {
		return err
	}
	limits, err := defaultLimits()
	if err != nil {
		return err
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		look := func() error {
			in := inspect.New(store)
			status, err := in.Status(ctx, inspect.Look{Entries: c.Entries})
			if err == nil && filter != (inspect.EntryFilter{}) {
				err = in.FilterEntries(ctx, status.Groups, filter, c.Entries)
			}
			if err != nil {
				return err
			}
			return c.write(e, status, limits)
		}
		if !c.Watch {
			return look()
		}
		return e.again(ctx, c.Every, look)
	})
}

// write is one look.
func (c *pendingListCommand) write(e *environment, status inspect.Status, limits limits) error {
	if slices.ContainsFunc(status.Groups, func(g inspect.GroupStatus) bool { return g.Unreadable }) {
		e.warnings().Warn("the user of Redis may not read the requests: their lag is Redis's own figure, since when the oldest waits is not known, and what order an entry is about is not shown")
	}
	out := e.printer()
	out.note(headline(judge(status, measure(status), limits)))
	out.section("partition", "stream", "group", "lag", "pending", "owed", "backlog", "oldest_waiting", "oldest_in_hand", "oldest_owed", "consumers")
	for _, g := range withMaintenance(status) {
		alive := fmt.Sprintf("%d alive of %d", g.Alive(), len(g.Consumers))
		if g.Group == groupMaintenance {
			alive = map[bool]string{true: "at work", false: "nobody"}[status.Upkeep[g.Partition].Maintained]
		}
		waiting := age(g.OldestWaitingMillis)
		if g.Unreadable && g.Lag > 0 {
			waiting = ""
		}
		about := ""
		if g.Estimated {
			about = "~"
		}
		out.row(g, strconv.Itoa(g.Partition), g.Stream, g.Group, about+count(g.Lag), about+count(g.Pending), count(g.Owed), about+count(g.Backlog),
			waiting, age(g.OldestInHandMillis), age(g.OldestOwedMillis), alive)
	}
	if !out.section("partition", "group", "consumer", "pending", "idle", "alive") {
		return out.flush()
	}
	for _, g := range status.Groups {
		for _, consumer := range g.Consumers {
			out.row(nil, strconv.Itoa(g.Partition), g.Group, consumer.Name, count(consumer.Pending), duration(consumer.IdleMillis), strconv.FormatBool(consumer.Alive))
		}
	}
	for _, g := range status.Groups {
		if g.Unsearched {
			out.note(fmt.Sprintf("(more is pending of %s in partition %d than was looked through)", g.Group, g.Partition))
		}
	}
	out.section("partition", "group", "entry_id", "order", "consumer", "idle", "deliveries", "next")
	for _, g := range status.Groups {
		alive := aliveConsumers(g)
		for _, entry := range g.Entries {
			out.row(nil, strconv.Itoa(g.Partition), g.Group, entry.ID, entry.OrderID, entry.Consumer,
				duration(entry.IdleMillis), count(entry.Deliveries), next(entry, alive))
		}
	}
	if slices.ContainsFunc(status.Groups, func(g inspect.GroupStatus) bool { return len(g.Orders) > 0 }) {
		out.section("partition", "owed_order", "age", "due_in", "attempts", "reason")
	}
	for _, g := range status.Groups {
		for _, o := range g.Orders {
			out.row(nil, strconv.Itoa(g.Partition), o.OrderID, duration(o.AgeMillis), duration(max(0, o.DueMillis)), count(o.Attempts), o.Reason)
		}
	}
	return out.flush()
}

// headline is how all is, in a line.
func headline(problems []problem) string {
	if len(problems) == 0 {
		return "well"
	}
	text := fmt.Sprintf("NOT WELL: %s: %s", problems[0].text, strings.Replace(problems[0].do, lookAtPending, "the tables below", 1))
	if more := len(problems) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more: holdfast check)", more)
	}
	return printableLine(text)
}

// groupMaintenance stands beside the groups that read streams: what it has before it are the
// holds that are over.
const groupMaintenance = "maintenance"

// withMaintenance is all groups, by partition.
func withMaintenance(s inspect.Status) []inspect.GroupStatus {
	var all []inspect.GroupStatus
	for i, g := range s.Groups {
		all = append(all, g)
		if i+1 < len(s.Groups) && s.Groups[i+1].Partition == g.Partition {
			continue
		}
		u := s.Upkeep[g.Partition]
		due := inspect.GroupStatus{
			Partition: g.Partition, Stream: "holds", Group: groupMaintenance, Lag: u.OverdueHolds, Backlog: u.OverdueHolds,
			OldestMillis: u.OldestOverdueMillis, OldestWaitingMillis: u.OldestOverdueMillis,
			Consumers: []inspect.ConsumerStatus{}, Entries: []inspect.PendingEntry{},
		}
		all = append(all, due)
	}
	return all
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
