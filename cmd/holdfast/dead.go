package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type deadCommand struct {
	List    deadListCommand    `cmd:"" help:"List the dead letters, the oldest of each partition first."`
	Show    deadShowCommand    `cmd:"" help:"Show one, with all its fields but the payment token."`
	Redrive deadRedriveCommand `cmd:"" help:"Give them back to be handled as if they had just come."`
	Discard deadDiscardCommand `cmd:"" help:"Remove them for good, payment tokens too."`
}

// orderOf is the order that a dead letter names, as far as it does.
func orderOf(letter inspect.DeadLetter) string {
	event, order := letter.Fields["event_id"], letter.Fields["order_id"]
	if event == "" && order == "" {
		return ""
	}
	return event + "/" + order
}

type deadListCommand struct{}

func (c *deadListCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		out := e.printer("dead_id", "stream", "group", "entry_id", "order", "deliveries", "at", "reason")
		err := inspect.New(store).EachDeadLetter(ctx, func(l inspect.DeadLetter) error {
			out.row(l, l.ID, l.Stream, l.Group, l.EntryID, orderOf(l), count(l.Deliveries), when(l.AtMillis), l.Reason)
			return out.err
		})
		return out.end(err)
	})
}

type deadShowCommand struct {
	ID string `arg:"" name:"dead_id" help:"As dead list prints it."`
}

func (c *deadShowCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		l, err := inspect.New(store).DeadLetter(ctx, c.ID)
		if err != nil {
			return err
		}
		out := e.printer()
		out.sheet(l, "dead_id", l.ID, "stream", l.Stream, "group", l.Group, "entry_id", l.EntryID,
			"deliveries", count(l.Deliveries), "at", when(l.AtMillis), "reason", l.Reason)
		if out.section("field", "value") {
			for _, name := range slices.Sorted(maps.Keys(l.Fields)) {
				out.row(nil, name, l.Fields[name])
			}
		}
		return out.flush()
	})
}

// deadArgs choose dead letters.
type deadArgs struct {
	IDs    []string `arg:"" optional:"" name:"dead_id" help:"As dead list prints them."`
	All    bool     `help:"All of them, or, with --reason, all that match."`
	Reason string   `placeholder:"TEXT" help:"With --all: only those whose reason contains this."`
}

func (a deadArgs) check() error {
	switch {
	case a.All && len(a.IDs) > 0:
		return badUsage("name dead letters or say --all, not both")
	case !a.All && len(a.IDs) == 0:
		return badUsage("name dead letters, or say --all")
	case !a.All && a.Reason != "":
		return badUsage("--reason goes with --all")
	}
	return nil
}

// each handles the chosen ones; what fails is reported, and the rest goes on.
func (a deadArgs) each(ctx context.Context, e *environment, store *streams.Store, handle func(id string) error) error {
	ids := a.IDs
	if a.All {
		// All are known before the first is handled: what is redriven may be back at once.
		err := inspect.New(store).EachDeadLetter(ctx, func(l inspect.DeadLetter) error {
			if strings.Contains(l.Reason, a.Reason) {
				ids = append(ids, l.ID)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	status := exitDone
	for _, id := range ids {
		err := handle(id)
		switch {
		case err == nil:
		case a.All && errors.Is(err, domain.ErrNotFound): // somebody else was faster
		case ctx.Err() != nil:
			return err
		default:
			e.complain(err)
			status = max(status, statusOf(err))
		}
	}
	if status != exitDone {
		return &endedError{status: status}
	}
	return nil
}

type deadRedriveCommand struct {
	deadArgs
}

// Help is shown by --help.
func (c *deadRedriveCommand) Help() string {
	return `
A request comes in as a new entry, so its time in line starts again. What caused it to be set aside should be mended
first, or it will be back.

  holdfast dead redrive 0:1700000000000-0
  holdfast dead redrive --all --reason "delivered too often"
`
}

func (c *deadRedriveCommand) Run(ctx context.Context, e *environment) error {
	if err := c.check(); err != nil {
		return err
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		out := e.printer("dead_id", "entry_id")
		err := c.each(ctx, e, store, func(id string) error {
			entryID, err := inspect.New(store).Redrive(ctx, id)
			if err != nil {
				return fmt.Errorf("%s: not redriven: %w", id, err)
			}
			out.row(struct {
				DeadID  string `json:"dead_id"`
				EntryID string `json:"entry_id"`
			}{id, entryID}, id, entryID)
			return nil
		})
		return out.end(err)
	})
}

type deadDiscardCommand struct {
	deadArgs
	Yes bool `help:"Needed with --all: what is discarded is gone."`
}

func (c *deadDiscardCommand) Run(ctx context.Context, e *environment) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.All && !c.Yes {
		return badUsage("--all discards for good: say --yes, too")
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		out := e.printer("dead_id")
		err := c.each(ctx, e, store, func(id string) error {
			if err := inspect.New(store).Discard(ctx, id); err != nil {
				return fmt.Errorf("%s: not discarded: %w", id, err)
			}
			out.row(struct {
				DeadID string `json:"dead_id"`
			}{id}, id)
			return nil
		})
		return out.end(err)
	})
}
