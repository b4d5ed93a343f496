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
	List    deadListCommand    `cmd:"" help:"List the dead letters, the oldest first."`
	Show    deadShowCommand    `cmd:"" help:"Show one, with all its fields but the payment token."`
	Redrive deadRedriveCommand `cmd:"" help:"Give them back to be handled as if they had just come."`
	Discard deadDiscardCommand `cmd:"" help:"Remove them for good, payment tokens too."`
	Handled deadHandledCommand `cmd:"" help:"Tell who had which handled, when, and why."`
}

type deadListCommand struct {
	Reason string    `placeholder:"TEXT" help:"Only those whose reason contains this."`
	Limit  limitFlag `placeholder:"N" help:"The most to list; 0 is no limit. Default: 100 in a table, no limit in JSON."`
}

func (c *deadListCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		out := e.printer("dead_id", "stream", "group", "entry_id", "order", "deliveries", "at", "reason")
		rows := e.limited(out, &progress{}, c.Limit)
		err := inspect.New(store).EachDeadLetter(ctx, func(l inspect.DeadLetter) error {
			if !strings.Contains(l.Reason, c.Reason) {
				return nil
			}
			return rows.row(l, l.ID, l.Stream, l.Group, l.EntryID, l.OrderID, count(l.Deliveries), when(l.AtMillis), l.Reason)
		})
		return rows.end(err)
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
		out.sheet(l, "dead_id", l.ID, "stream", l.Stream, "group", l.Group, "entry_id", l.EntryID, "order", l.OrderID,
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
	Why    string   `placeholder:"TEXT" help:"Why you do it, for people: dead handled tells it."`
	By     string   `env:"USER" placeholder:"NAME" help:"Who asks for it, for people. Default: who you are."`
}

// check returns who has them handled, and why.
func (a deadArgs) check() (domain.Cause, error) {
	switch {
	case a.All && len(a.IDs) > 0:
		return domain.Cause{}, badUsage("name dead letters or say --all, not both")
	case !a.All && len(a.IDs) == 0:
		return domain.Cause{}, badUsage("name dead letters, or say --all")
	case !a.All && a.Reason != "":
		return domain.Cause{}, badUsage("--reason goes with --all")
	}
	cause, err := causeFlags{By: a.By}.cause()
	if err != nil {
		return cause, err
	}
	cause.Reason = a.Why
	if err := cause.Validate(); err != nil {
		return cause, badUsage("--why: want at most %d bytes of printable UTF-8", domain.MaxCauseBytes)
	}
	return cause, nil
}

// deadBatch is how many letters are handled before the next are looked at.
const deadBatch = 1000

// deadWork is what is to be done with letters.
type deadWork struct {
	done   string // what was done, for people
	choose func(inspect.DeadLetter) bool
	handle func(ctx context.Context, ids ...string) []inspect.Handled
	row    func(inspect.Handled) error
}

// run handles the chosen ones. What cannot be done with one is reported, and the rest goes on;
// where nothing can be done it stops.
func (a deadArgs) run(ctx context.Context, e *environment, store *streams.Store, out *printer, work deadWork) error {
	letters := inspect.New(store)
	most := int64(len(a.IDs))
	if a.All {
		var err error
		if most, err = letters.CountDeadLetters(ctx); err != nil {
			return err
		}
	}
	progress := e.progressOf(work.done, most)
	defer progress.clear()
	status := exitDone
	handle := func(ids []string) error {
		for _, h := range work.handle(ctx, ids...) {
			err := h.Err
			switch {
			case err == nil:
				err = work.row(h)
			case a.All && errors.Is(err, domain.ErrNotFound): // somebody else was faster
				err = nil
			default:
				if errors.Is(err, domain.ErrUnknownOutcome) {
					err = fmt.Errorf("%s: not known whether it was %s, nor those behind it: look at dead list and dead handled, or run it again: %w", h.ID, work.done, err)
				} else {
					err = fmt.Errorf("%s: not %s: %w", h.ID, work.done, err)
				}
				if domain.ClassOf(err) == domain.ClassReject {
					progress.clear()
					e.complain(err)
					status = max(status, statusOf(err))
					err = nil
				}
			}
			if err != nil {
				return err
			}
		}
		progress.clear()
		err := out.flush()
		progress.add(len(ids))
		return err
	}
	ids := a.IDs
	if a.All {
		// Those that are there now: what is redriven may be back at once.
		ids = nil
		err := letters.EachDeadLetter(ctx, func(l inspect.DeadLetter) error {
			if !strings.Contains(l.Reason, a.Reason) || !work.choose(l) {
				return nil
			}
			if ids = append(ids, l.ID); len(ids) < deadBatch {
				return nil
			}
			batch := ids
			ids = nil
			return handle(batch)
		})
		if err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(ids, deadBatch) {
		if err := handle(batch); err != nil {
			return err
		}
	}
	if status != exitDone {
		return &endedError{status: status}
	}
	return nil
}

func anyLetter(inspect.DeadLetter) bool { return true }

type deadRedriveCommand struct {
	deadArgs
	Reroute bool `help:"Publish requests that came in a wrong partition in that of their event; with --all, only those. Without it, a request comes back where it was."`
}

// Help is shown by --help.
func (c *deadRedriveCommand) Help() string {
	return `
A request comes in as a new entry, so its time in line starts again. What caused it to be set aside should be mended
first, or it will be back.

  holdfast dead redrive 0:1700000000000-0
  holdfast dead redrive --all --reason "delivered too often"
  holdfast dead redrive --all --reroute --why "the checkout of the box office computed partitions wrongly"

Who asked for it is noted, and why: dead handled tells it.
`
}

func (c *deadRedriveCommand) Run(ctx context.Context, e *environment) error {
	cause, err := c.check()
	if err != nil {
		return err
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		out, letters := e.printer("dead_id", "entry_id"), inspect.New(store).By(cause)
		work := deadWork{done: "redriven", choose: anyLetter, handle: letters.Redrive, row: func(h inspect.Handled) error {
			out.row(struct {
				DeadID  string `json:"dead_id"`
				EntryID string `json:"entry_id"`
			}{h.ID, h.EntryID}, h.ID, h.EntryID)
			return out.err
		}}
		if c.Reroute {
			work.done, work.choose, work.handle = "rerouted", letters.Misplaced, letters.Reroute
		}
		return out.end(c.run(ctx, e, store, out, work))
	})
}

type deadDiscardCommand struct {
	deadArgs
	Yes bool `help:"Needed with --all: what is discarded is gone."`
}

func (c *deadDiscardCommand) Run(ctx context.Context, e *environment) error {
	cause, err := c.check()
	if err != nil {
		return err
	}
	if c.All && !c.Yes {
		return badUsage("--all discards for good: say --yes, too")
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		out := e.printer("dead_id")
		return out.end(c.run(ctx, e, store, out, deadWork{done: "discarded", choose: anyLetter, handle: inspect.New(store).By(cause).Discard, row: func(h inspect.Handled) error {
			out.row(struct {
				DeadID string `json:"dead_id"`
			}{h.ID}, h.ID)
			return out.err
		}}))
	})
}

type deadHandledCommand struct {
	Limit limitFlag `placeholder:"N" help:"The most to list; 0 is no limit. Default: 100 in a table, no limit in JSON."`
}

// Help is shown by --help.
func (c *deadHandledCommand) Help() string {
	return `
The newest first; of each partition the newest 1,000 are kept.
`
}

func (c *deadHandledCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		handled, err := inspect.New(store).HandledLetters(ctx)
		out := e.printer("at", "act", "dead_id", "order", "entry_id", "by", "why")
		rows := e.limited(out, &progress{}, c.Limit)
		for _, h := range handled {
			if err == nil {
				err = rows.row(h, when(h.AtMillis), h.Act, h.DeadID, h.OrderID, h.EntryID, h.By, h.Reason)
			}
		}
		return rows.end(err)
	})
}
