package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type eventsCancelCommand struct {
	EventID string        `arg:"" name:"event_id" help:"The event."`
	Reason  string        `required:"" placeholder:"TEXT" help:"Why, for people: events show and orders show tell it."`
	By      string        `env:"USER" placeholder:"NAME" help:"Who asks for it, for people. Default: who you are."`
	Yes     bool          `help:"Do not ask. On a terminal it is asked first, because it cannot be undone."`
	Wait    bool          `help:"Wait until workers have given all the money back."`
	Timeout time.Duration `default:"10m" placeholder:"DURATION" help:"How long to wait. Default: 10m."`
}

// Help is shown by --help.
func (c *eventsCancelCommand) Help() string {
	return `
  holdfast events cancel opera --reason "the singer is ill" --yes --wait

The sale ends first. Then each order is cancelled that is held or confirmed: its tickets are given back, it is taken out
of the sales, and workers void or refund its payment. Whoever still asks for tickets is rejected (not_on_sale).

Interrupt it, kill it, run it again, or twice at once: it goes on with what is left, and if there is nothing left it says
so. Exit status: 0 all orders are cancelled (with --wait: and all money is given back), 1 something needs a person, 3 not
known, or not within the time: run it again.
`
}

// cancelView is what has become of a cancelled event's orders.
type cancelView struct {
	EventID   string `json:"event_id"`
	Cancelled bool   `json:"cancelled"`
	Changed   bool   `json:"changed"`            // it was not cancelled before
	Held      int    `json:"orders_held"`        // cancelled with it, and only held before
	Confirmed int    `json:"orders_confirmed"`   // cancelled with it, and sold before
	UnderWay  int    `json:"payments_under_way"` // still to be voided or refunded by workers
	SetAside  int    `json:"payments_set_aside"` // could not be, and are among the dead letters
}

func (v cancelView) String() string {
	said := "cancelled"
	if !v.Changed {
		said = "was cancelled already"
	}
	return fmt.Sprintf("%s: %s cancelled with it, of which %d sold; payments still to be given back: %d", said, plural(int64(v.Held+v.Confirmed), "order is", "orders are"), v.Confirmed, v.UnderWay)
}

func (c *eventsCancelCommand) Run(ctx context.Context, e *environment) error {
	return aboutEvent(c.EventID, c.run(ctx, e))
}

func (c *eventsCancelCommand) run(ctx context.Context, e *environment) error {
	cause, err := causeFlags{c.Reason, c.By}.cause()
	switch {
	case err != nil:
		return err
	case c.Timeout <= 0:
		return badUsage("--timeout: want more than 0")
	case !c.Yes && isTerminal(e.stderr) && isTerminal(e.stdin):
		if err := e.askFor(c.EventID, fmt.Sprintf("this ends the sale of %s, cancels all its orders and refunds them, and cannot be undone", c.EventID)); err != nil {
			return err
		}
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		progress := e.progressOf("orders cancelled", 0)
		done, err := store.Events().Cancel(ctx, c.EventID, cause, func(soFar streams.CancelledEvent) {
			progress.add(soFar.Held + soFar.Confirmed - int(progress.count))
		})
		progress.clear()
		if err != nil {
			return err
		}
		v := cancelView{EventID: c.EventID, Cancelled: true, Changed: !done.Before, Held: done.Held, Confirmed: done.Confirmed}
		if err := c.settle(ctx, store, &v); err != nil {
			err = fmt.Errorf("all orders are cancelled, but how far their payments are cannot be told: %w", err)
			if domain.ClassOf(err) == domain.ClassRetry {
				err = fmt.Errorf("%w: %w", domain.ErrUnknownOutcome, err)
			}
			return err
		}
		if err := e.say(c.EventID, v.String(), v); err != nil {
			return err
		}
		return c.verdict(ctx, store, v)
	})
}

// askFor goes on only if the person at the terminal types what is to be done away with.
func (e *environment) askFor(name, what string) error {
	_, _ = fmt.Fprintf(e.stderr, "%s. To go on, type its name: ", what) // if it is not seen, nothing is typed
	typed, err := bufio.NewReader(e.stdin).ReadString('\n')
	if strings.TrimSpace(typed) != name {
		return errors.Join(badUsage("nothing was done: that is not %q", name), ignoreEOF(err))
	}
	return nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// settleEvery is how often it is looked how far the payments are.
const settleEvery = 500 * time.Millisecond

// settle finds out how far the payments are: when all are given back, if that is to be
// waited for, or when the time for that is over.
func (c *eventsCancelCommand) settle(ctx context.Context, store *streams.Store, v *cancelView) error {
	inspector := inspect.New(store)
	waiting, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	again := time.NewTicker(settleEvery)
	defer again.Stop()
	for after := "0-0"; ; {
		settling, err := inspector.Settling(ctx, c.EventID, after)
		if err != nil {
			return err
		}
		v.UnderWay, after = settling.UnderWay, settling.After
		if v.UnderWay > 0 && c.Wait {
			select {
			case <-again.C:
				continue
			case <-waiting.Done():
			}
			if ctx.Err() != nil {
				return nil // what was found last is told
			}
		}
		v.SetAside, err = inspector.SettlingSetAside(ctx, c.EventID)
		return err
	}
}

// verdict is the error to end with, if not all is well.
func (c *eventsCancelCommand) verdict(ctx context.Context, store *streams.Store, v cancelView) error {
	if v.SetAside > 0 {
		return domain.WithCode(domain.ClassReject, "payments_set_aside",
			fmt.Errorf("%s for a person: see dead list", plural(int64(v.SetAside), "payment could not be given back, and waits", "payments could not be given back, and wait")))
	}
	if !c.Wait || v.UnderWay == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: interrupted before all money was given back: run it again to go on waiting", domain.ErrUnknownOutcome)
	}
	nobody := ""
	if alive, err := inspect.New(store).Alive(ctx, store.Partition(c.EventID), domain.GroupSettlement); err == nil && alive == 0 {
		nobody = ": no worker with the role settlement is running"
	}
	return fmt.Errorf("%w: not all money was given back within %s%s: run it again to go on waiting", domain.ErrUnknownOutcome, c.Timeout, nobody)
}
