package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/restore"
)

type restoreCommand struct {
	archiveFlags
	Until  timeFlag `placeholder:"TIME" help:"Restore what had happened up to this time, its millisecond included, such as 2026-12-01T10:00:00.250Z. Default: all that is archived."`
	Branch []string `placeholder:"BRANCH" help:"Which branch to restore, where a partition ends in several (archive ls). With --missing: of which what is missing, instead of all."`
	Full   bool     `help:"Read the whole archive, and write the whole log, whatever snapshots there are."`

	Missing bool `help:"Into a namespace that is there: look for what it has lost, in a failover, that is archived; say what would become of each order."`
	Apply   bool `help:"With --missing: do it."`
	Refund  bool `help:"With --missing: cancel what was paid for and cannot have its places any more; workers give the money back."`
}

// Help is shown by --help.
func (c *restoreCommand) Help() string {
	return `
Into a namespace of which nothing is there: when Redis was emptied, or on another one.

  holdfast restore --archive s3://books/holdfast?region=eu-central-1

Nobody works on the namespace until it is whole; workers with the same --archive wait for it, and go on by themselves: holds that have run
out end, what was not posted or settled is. Interrupt it, kill it, run it again: it goes on.

Lost is what was never archived: the facts of the last --archive-every or so, requests in line, parked ones, dead letters, pauses and API
keys. Publishers repeat what they have no outcome of: nobody is charged twice. With --until, also what is archived behind it: payments of
that time are at the gateway all the same, and holdfast audit --gateway names them. Exit status: 0 it is restored, 1 it is not.

After a failover that has lost something, or when an older disk came back, once workers have noticed it and go on:

  holdfast restore --missing --archive URL                     # says what is lost and archived, and what would be done; changes nothing
  holdfast restore --missing --apply --archive URL             # does it
  holdfast restore --missing --apply --refund --archive URL    # and gives the money of those back whose places others have

No old facts are written again: it is decided anew about each order, with what is free now. One that was published again, or has changed since,
stays as it is. It may be interrupted, run again, and run while workers work. Exit status then: 0 nothing is missing any more, 1 something is.
`
}

// restoredView is what was restored, and that some things are not.
type restoredView struct {
	Namespace string `json:"namespace"`
	restore.Result
	Lost []string `json:"lost"`
}

// notArchived are what an archive never has.
var notArchived = []string{"requests in line", "parked requests", "dead letters", "pauses", "API keys", "webhooks", "how many were turned away"}

func (c *restoreCommand) Run(ctx context.Context, e *environment) error {
	if c.Missing || c.Apply || c.Refund {
		return c.missing(ctx, e)
	}
	return c.with(ctx, e, func(r *archive.Reader) (err error) {
		from, err := r.Restorable(ctx, archive.RestoreOptions{Branches: c.Branch, UntilMillis: c.Until.millis, Full: c.Full})
		if err != nil {
			return err
		}
		store, err := e.open(ctx, streams.Options{Rebuild: true, Partitions: from.Namespace().Partitions, Log: e.warnings()})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		shown := e.progressOf("orders restored", 0)
		result, err := restore.Run(ctx, store, from, restore.Options{Progress: func(orders int) { shown.add(orders - int(shown.count)) }})
		shown.clear()
		if err != nil {
			return err
		}
		return c.show(e, result)
	})
}

func logEntries(n int) string { return plural(int64(n), "log entry", "log entries") }

func factsIn(facts, entries int) string {
	return plural(int64(facts), "fact", "facts") + " in " + logEntries(entries)
}

func (c *restoreCommand) show(e *environment, result restore.Result) error {
	v := restoredView{e.namespace, result, notArchived}
	beyond := "nothing"
	if v.BeyondEntries > 0 {
		beyond = factsIn(v.BeyondFacts, v.BeyondEntries) + ", which were not restored"
	}
	sheet := []string{
		"namespace", v.Namespace, "restored in", (time.Duration(v.MillisElapsed) * time.Millisecond).String(),
		"events", strconv.Itoa(v.Events), "orders", strconv.Itoa(v.Orders), "facts", strconv.Itoa(v.Facts), "log in Redis", logEntries(v.Entries), "segments read", strconv.Itoa(v.Segments),
		"held", strconv.Itoa(v.Held), "invoice lines", strconv.Itoa(v.InvoiceLines),
		"not posted yet", logEntries(v.Unposted), "not settled yet", logEntries(v.Unsettled),
		"archived behind it", beyond,
		"lost", "what was not archived yet; " + strings.Join(notArchived, ", "),
	}
	out := e.printer()
	out.sheet(v, sheet...)
	if out.section("partition", "branch", "parent", "up to", "facts", "behind it", "") {
		for _, p := range v.Partitions {
			note := ""
			switch {
			case p.Branch == "":
				note = "was restored by an earlier run"
			case p.Parent == "":
				note = "nothing is archived of it"
			case p.BeyondFault != "":
				note = "perhaps more: " + p.BeyondFault
			case p.Snapshot != "":
				note = "from a snapshot; " + logEntries(p.Entries) + " in Redis"
			}
			out.row(p, strconv.Itoa(p.Partition), p.Branch, p.Parent, when(p.LastMillis), strconv.Itoa(p.Facts), strconv.Itoa(p.BeyondFacts), note)
		}
	}
	return out.flush()
}

// newArchiveGuard returns what is asked before a namespace is made of which nothing is there: if something is archived of it, a person says whether
// that is restored. Without an archive it is nil, and nobody is asked.
func (e *environment) newArchiveGuard(raw string) (func(context.Context) error, error) {
	if raw == "" {
		return nil, nil
	}
	if err := archive.CheckURL(raw); err != nil {
		return nil, badUsage("--archive: %w", err)
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, archive.CallTimeout)
		defer cancel()
		var any bool
		err := archiveFlags{raw}.with(ctx, e, func(r *archive.Reader) (err error) {
			any, err = r.Any(ctx)
			return err
		})
		if err != nil {
			return domain.WithClass(domain.ClassRetry, fmt.Errorf("nothing is there of namespace %s, and whether anything is archived of it is not known: %w", e.namespace, err))
		}
		if !any {
			return nil
		}
		return domain.WithCode(domain.ClassRetry, domain.CodeArchived,
			fmt.Errorf("nothing is there of namespace %s, and its log is archived at %s: %s brings it back; %s begins anew", e.namespace, redactArchive(raw),
				e.typed("restore --archive URL"), e.typed("init --new-branch")))
	}, nil
}

// waitsForPeople reports whether an error is of what somebody has to see to, however long that takes, and what is waited for.
func waitsForPeople(err error) (waiting string, waits bool) {
	code := domain.CodeOf(err)
	if code == domain.CodeArchived {
		return "nothing is there of the namespace, and its log is archived: waiting until it is restored", true
	}
	return "the namespace is being restored, waiting", code == domain.CodeRestoring
}
