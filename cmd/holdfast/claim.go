package main

import (
	"context"
	"strconv"
	"time"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

// entryFilter chooses pending entries.
type entryFilter struct {
	Idle       time.Duration `placeholder:"DURATION" help:"Without a sign of life of their worker for so long, or longer."`
	Consumer   string        `placeholder:"NAME" help:"With this worker."`
	Order      string        `placeholder:"EVENT_ID/ORDER_ID" help:"About this order."`
	Deliveries int64         `placeholder:"N" help:"That were given to workers so often, or more often."`
	Group      string        `enum:"purchase,posting,settlement," default:"" placeholder:"GROUP" help:"Of purchase, posting or settlement."`
}

func (f entryFilter) filter() (inspect.EntryFilter, error) {
	filter := inspect.EntryFilter{Group: domain.Group(f.Group), Consumer: f.Consumer, Idle: f.Idle, Deliveries: f.Deliveries}
	switch {
	case f.Idle < 0:
		return filter, badUsage("--idle: want 0 or more")
	case f.Deliveries < 0:
		return filter, badUsage("--deliveries: want 0 or more")
	case f.Consumer != "" && !domain.ValidID(f.Consumer):
		return filter, badUsage("--consumer: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
	}
	if f.Order != "" {
		var ok bool
		if filter.Order, ok = domain.ParseOrderRef(f.Order); !ok {
			return filter, badUsage("--order: want EVENT_ID/ORDER_ID, but got %q", f.Order)
		}
	}
	return filter, nil
}

type pendingClaimCommand struct {
	Consumer string `required:"" placeholder:"NAME" help:"The worker, as pending and workers list name it."`
	Group    string `enum:"purchase,posting,settlement," default:"" placeholder:"GROUP" help:"Only what it has of purchase, posting or settlement. Default: all."`
	Reason   string `required:"" placeholder:"TEXT" help:"Why, for people: pending claims tells it."`
	By       string `env:"USER" placeholder:"NAME" help:"Who asks for it, for people. Default: who you are."`
}

// Help is shown by --help.
func (c *pendingClaimCommand) Help() string {
	return `
What a dead worker has in hand goes to the others by itself, after their --reclaim-after. This has them take it at once:

  holdfast pending claim --consumer web-1 --reason "its machine is gone"

A worker that is alive is left alone: stop it, and it hands back by itself. Nothing is lost either way, and nothing happens
twice: should it wake up after all, it changes nothing that others have done. Where it has nothing in hand, that is said
(on stderr), and nothing is changed.
`
}

func (c *pendingClaimCommand) Run(ctx context.Context, e *environment) error {
	cause, err := causeFlags{c.Reason, c.By}.cause()
	if err != nil {
		return err
	}
	if !domain.ValidID(c.Consumer) {
		return badUsage("--consumer: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		claimed, err := store.Claim(ctx, c.Consumer, domain.Group(c.Group), cause)
		if err == nil && len(claimed) == 0 {
			e.notice("worker " + c.Consumer + " has nothing in hand" + ofGroup(c.Group) + ": nothing was changed")
			return nil
		}
		out := e.printer("partition", "group", "entries", "handed_back")
		for _, done := range claimed {
			out.row(done, strconv.Itoa(done.Partition), string(done.Group), count(done.Entries), count(done.Before))
		}
		return out.end(err)
	})
}

func ofGroup(group string) string {
	if group == "" {
		return ""
	}
	return " of " + group
}

type pendingClaimsCommand struct{}

func (c *pendingClaimsCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		claims, err := inspect.New(store).Claims(ctx)
		out := e.printer("at", "partition", "group", "consumer", "entries", "by", "reason")
		for _, claim := range claims {
			out.row(claim, when(claim.AtMillis), strconv.Itoa(claim.Partition), claim.Group, claim.Consumer, count(claim.Entries), claim.By, claim.Reason)
		}
		return out.end(err)
	})
}
