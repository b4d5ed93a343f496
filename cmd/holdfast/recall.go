package main

import (
	"context"
	"fmt"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/streams"
)

type recallCommand struct {
	EventID string `arg:"" name:"event_id" help:"The event."`
	archiveFlags
}

// Help is shown by --help.
func (c *recallCommand) Help() string {
	return `
For late refunds and disputes: the event is there again as it was when it was forgotten, closed, with all its orders, which can be shown, refunded and cancelled as before:

  holdfast recall jazz-night --archive s3://books/holdfast?region=eu-central-1
  holdfast orders refund jazz-night/cart-4711 --amount 500 --reason "agreed with the customer" --wait

Workers forget it again --keep-event after its last change. Interrupt it, kill it, run it again, or twice at once: it goes on with what is left. Its whole past is read
from the archive first: reckon with the time of archive verify.
`
}

// recallView is what has become of an event that was forgotten.
type recallView struct {
	EventID   string `json:"event_id"`
	Changed   bool   `json:"changed"` // it was not there
	Orders    int    `json:"orders"`
	Confirmed int    `json:"confirmed"`
}

func (c *recallCommand) Run(ctx context.Context, e *environment) error {
	if !domain.ValidID(c.EventID) {
		return badUsage("event_id: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
	}
	err := c.with(ctx, e, func(r *archive.Reader) error {
		return e.withStore(ctx, func(store *streams.Store) error {
			progress := e.progressOf("orders recalled", 0)
			done, err := store.Events().Recall(ctx, r, c.EventID, progress.add)
			progress.clear()
			if err != nil {
				return err
			}
			v := recallView{EventID: c.EventID, Changed: !done.Before, Orders: done.Orders, Confirmed: done.Confirmed}
			said := "is there, and was not forgotten"
			if v.Changed {
				said = fmt.Sprintf("recalled: closed, with %s, of which %d are confirmed", plural(int64(v.Orders), "order", "orders"), v.Confirmed)
			}
			return e.say(c.EventID, said, v)
		})
	})
	return aboutEvent(c.EventID, err)
}
