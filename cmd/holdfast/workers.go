package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"holdfast/streams"
	"holdfast/streams/inspect"
)

type workersCommand struct {
	List workersListCommand `cmd:"" help:"List the workers: what they do, since when, whether they live, and how fast they are."`
}

type workersListCommand struct{}

// Help is shown by --help.
func (c *workersListCommand) Help() string {
	return `
Workers say every 10 s what they are and how fast they were since the last time. One that is not alive and has something in
hand is listed until others have taken it; one of an older program says nothing of its version and since when.
`
}

func (c *workersListCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error {
		workers, err := inspect.New(store).Workers(ctx)
		out := e.printer("worker", "roles", "version", "since", "alive", "paused", "in_hand", "requests/s", "facts/s", "last_sign")
		for _, w := range workers {
			out.row(w, w.Name, strings.Join(w.Roles, ","), w.Version, when(w.SinceMillis), strconv.FormatBool(w.Alive), strconv.FormatBool(w.Paused), count(w.InHand),
				rate(w.RequestsPerSecond), rate(w.FactsPerSecond), when(w.SeenMillis))
		}
		return out.end(err)
	})
}

func rate(perSecond float64) string { return fmt.Sprintf("%.1f", perSecond) }
