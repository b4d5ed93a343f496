package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

// pausable is what is paused or resumed.
type pausable struct {
	Event string `placeholder:"EVENT_ID" help:"The requests of this event: they are parked, and put back in line later."`
	Role  string `enum:"purchase," default:"" placeholder:"ROLE" help:"Everything that workers of this role take: purchase. It is what is meant if nothing is said."`
}

func (p pausable) check() error {
	if p.Event != "" && p.Role != "" {
		return badUsage("--event, --role: want one of them")
	}
	if p.Event != "" && !domain.ValidID(p.Event) {
		return badUsage("--event: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
	}
	return nil
}

// pausedView is a pause, and how many requests of it are parked.
type pausedView struct {
	domain.Pause
	Parked int64 `json:"parked"`
}

type pauseCommand struct {
	Now  pauseNowCommand  `cmd:"" default:"withargs" help:"Pause everything, or an event."`
	List pauseListCommand `cmd:"" help:"What is paused, and what was of late: since when, by whom, why."`
}

type pauseNowCommand struct {
	pausable
	ExtendHolds time.Duration `placeholder:"DURATION" help:"No hold of what is paused ends within so long from now. Default: holds end as ever."`
	Reason      string        `required:"" placeholder:"TEXT" help:"Why, for people: whoever looks is told."`
	By          string        `env:"USER" placeholder:"NAME" help:"Who asks for it, for people. Default: who you are."`
}

// Help is shown by --help.
func (c *pauseNowCommand) Help() string {
	return `
Workers take no more requests, within a second or so; what they have in hand they finish. What is published waits, and stays valid: the
time does not count. Orders that are confirmed are posted and settled as ever, and holds end at their deadlines, or later:

  holdfast pause --reason "the gateway charges twice"
  holdfast pause --event jazz-night --extend-holds 30m --reason "wrong prices"
  holdfast resume --event jazz-night --reason "mended"

Of an event, requests are parked, 100,000 at most; what comes then is set aside (holdfast dead list). Everybody sees it: check, doctor, events
show, workers list, the metrics. What is paused already stays so; the same again with --extend-holds keeps its holds for longer.
`
}

func (c *pauseNowCommand) Run(ctx context.Context, e *environment) error {
	cause, err := causeFlags{c.Reason, c.By}.cause()
	if err == nil {
		err = c.check()
	}
	switch {
	case err != nil:
		return err
	case c.ExtendHolds != 0 && (c.ExtendHolds < time.Second || c.ExtendHolds > maxExtension):
		return badUsage("--extend-holds: want 1s to %s", maxExtension)
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		if c.Event != "" {
			if _, err := store.Events().Get(ctx, c.Event); err != nil {
				return aboutEvent(c.Event, err)
			}
		}
		p, fresh, err := store.Pause(ctx, c.Event, c.ExtendHolds, cause)
		if err != nil {
			return err
		}
		said := "paused: workers take no more of it, within a second or so"
		if !fresh {
			said = "was paused already, at " + when(p.AtMillis) + " by " + p.By
		}
		if p.HoldsUntilMillis > 0 {
			said += "; no hold ends before " + when(p.HoldsUntilMillis)
		}
		return e.sayOf(pausedWhat(c.Event), said, struct {
			domain.Pause
			Changed bool `json:"changed"`
		}{p, fresh})
	})
}

const maxExtension = 24 * time.Hour

func pausedWhat(eventID string) string {
	if eventID == "" {
		return "everything"
	}
	return "event " + eventID
}

type resumeCommand struct {
	pausable
	Reason string `required:"" placeholder:"TEXT" help:"Why, for people."`
	By     string `env:"USER" placeholder:"NAME" help:"Who asks for it, for people. Default: who you are."`
}

// Help is shown by --help.
func (c *resumeCommand) Help() string {
	return `
Workers take requests again, within a second or so. Parked ones are put back in line, in their order, by workers with the role maintenance.
`
}

func (c *resumeCommand) Run(ctx context.Context, e *environment) error {
	cause, err := causeFlags{c.Reason, c.By}.cause()
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return err
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		p, err := store.Resume(ctx, c.Event, cause)
		if errors.Is(err, domain.ErrNotFound) {
			return e.sayOf(pausedWhat(c.Event), "is not paused: nothing changed", struct {
				domain.Pause
				Changed bool `json:"changed"`
			}{domain.Pause{EventID: c.Event}, false})
		}
		if err != nil {
			return err
		}
		return e.sayOf(pausedWhat(c.Event), "resumed, after "+age(p.EndedMillis-p.AtMillis), struct {
			domain.Pause
			Changed bool `json:"changed"`
		}{p, true})
	})
}

type pauseListCommand struct{}

func (c *pauseListCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		in := inspect.New(store)
		all, err := in.Pauses(ctx)
		if err != nil {
			return err
		}
		paused, err := in.Paused(ctx)
		out := e.printer("what", "since", "by", "reason", "parked", "holds_until", "ended", "ended_by", "ended_reason")
		for _, p := range all {
			parked := int64(0)
			if p.Lasts() {
				parked = paused.Parked[p.EventID]
			}
			out.row(pausedView{p, parked}, cmp.Or(p.EventID, "everything"), when(p.AtMillis), p.By, p.Reason, count(parked), when(p.HoldsUntilMillis), when(p.EndedMillis), p.EndedBy, p.EndedReason)
		}
		return out.end(err)
	})
}
