package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"holdfast/streams"
	"holdfast/streams/migrate"
)

type migrateCommand struct {
	Yes bool `help:"Do not ask. On a terminal it is asked first, because there is no way back but a copy."`
}

// Help is shown by --help.
func (c *migrateCommand) Help() string {
	return `
Once, with all workers stopped, and a copy of Redis's files made (there is no other way back):

  holdfast migrate

First it only looks: is a worker alive, is there memory for old and new, is what is stored what the log says? If not, nothing
is changed. Then nobody works on the namespace until it is done; checkouts may go on publishing. What waits is served afterwards.
The old keys are deleted at the very end, when what was written is audited.

Interrupt it, kill it, run it again: it begins anew, and what was there stays until all is well. Exit status: 0 it is of the
schema of this program, 1 it is not.
`
}

// migratedView is what a migration found and did.
type migratedView struct {
	Namespace string `json:"namespace"`
	migrate.Result
}

func (c *migrateCommand) Run(ctx context.Context, e *environment) error {
	if !c.Yes && isTerminal(e.stderr) && isTerminal(e.stdin) {
		if err := e.askFor(e.namespace, fmt.Sprintf("this takes namespace %s to the schema of this program; workers must be stopped, a copy made, and it cannot be undone", e.namespace)); err != nil {
			return err
		}
	}
	return e.withStoreOf(ctx, streams.Options{Migrate: true}, func(store *streams.Store) error {
		var shown *progress
		result, err := migrate.Run(ctx, store, migrate.Options{Progress: func(step migrate.Step, done, of int) {
			if shown == nil || shown.what != string(step) {
				shown = e.progressOf(string(step), int64(of))
			}
			shown.add(done - int(shown.count))
		}})
		if shown != nil {
			shown.clear()
		}
		if err != nil {
			return c.explain(e, err)
		}
		v := migratedView{store.Inside().Keys.Namespace, result}
		out := e.printer()
		out.sheet(v, v.sheet()...)
		return out.flush()
	})
}

// explain shows all that is wrong with what is stored, for which an error has no room.
func (c *migrateCommand) explain(e *environment, err error) error {
	var refused *migrate.Refused
	if !errors.As(err, &refused) {
		return err
	}
	out := e.printer("invariant", "subject", "detail")
	for _, v := range refused.Violations {
		out.row(v, v.Invariant, v.Subject, v.Detail)
	}
	return errors.Join(err, out.flush())
}

func (v migratedView) sheet() []string {
	if v.Already {
		return []string{"namespace", v.Namespace, "migrated", "it was already"}
	}
	entries := func(n int) string { return plural(int64(n), "log entry", "log entries") }
	return []string{
		"namespace", v.Namespace, "migrated", "yes", "out of service", (time.Duration(v.MillisDown) * time.Millisecond).String(),
		"events", strconv.Itoa(v.Events), "orders", strconv.Itoa(v.Orders), "facts", fmt.Sprintf("%d in %s", v.Facts, entries(v.Entries)),
		"deadlines moved", strconv.Itoa(v.Deadlines), "dead letters", strconv.Itoa(v.Letters),
		"not posted yet", entries(v.Unposted), "not settled yet", entries(v.Unsettled),
		"requests in hand", strconv.Itoa(v.Pending), "requests lost", strconv.Itoa(v.Lost), "old keys deleted", strconv.Itoa(v.Deleted),
	}
}
