package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/streams"
)

type archiveCommand struct {
	Ls       archiveLsCommand       `cmd:"" help:"List the branches of each partition: segments, bytes, snapshots, and from when to when."`
	Verify   archiveVerifyCommand   `cmd:"" help:"Read every segment and snapshot, and check each, and the chain that the segments are."`
	Export   archiveExportCommand   `cmd:"" help:"Write orders, invoices or sales as the archive tells them, as CSV or Parquet."`
	Snapshot archiveSnapshotCommand `cmd:"" help:"Keep the state that is archived of each partition beside its segments, so that audits begin there."`
	Compact  archiveCompactCommand  `cmd:"" help:"Make large segments of small ones, and remove those, and snapshots that nobody needs."`
}

// archiveFlags say which archive.
type archiveFlags struct {
	Archive string `env:"HOLDFAST_ARCHIVE" required:"" placeholder:"URL" help:"Where the log is archived: file:///folder or s3://bucket/prefix?region=…."`
}

// redactArchive is what of an archive's URL may be printed: not its parameters.
func redactArchive(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil || archive.CheckURL(raw) != nil {
		return malformedURL
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// with runs do with the archive of the namespace.
func (f archiveFlags) with(ctx context.Context, e *environment, do func(*archive.Reader) error) error {
	if _, err := e.checkConnection(); err != nil { // the namespace, at least
		return err
	}
	if err := archive.CheckURL(f.Archive); err != nil {
		return badUsage("--archive: %w", err)
	}
	bucket, err := archive.Open(ctx, f.Archive)
	if err != nil {
		return err
	}
	return errors.Join(do(archive.NewReader(bucket, e.namespace)), bucket.Close())
}

type archiveLsCommand struct{ archiveFlags }

func (c *archiveLsCommand) Run(ctx context.Context, e *environment) error {
	return c.with(ctx, e, func(r *archive.Reader) error {
		out := e.printer("partition", "branch", "segments", "bytes", "from", "to", "last", "snapshot", "parent", "behind")
		branches, err := r.Branches(ctx)
		for _, b := range branches {
			behind := b.After
			if b.Damaged != "" {
				behind = "DAMAGED: " + b.Damaged
			}
			out.row(b, strconv.Itoa(b.Partition), b.Branch, strconv.Itoa(b.Segments), count(b.Bytes), when(b.FirstMillis), when(b.LastMillis), b.Last, b.Snapshot, b.Parent, behind)
		}
		return out.end(err)
	})
}

type archiveVerifyCommand struct{ archiveFlags }

// Help is shown by --help.
func (c *archiveVerifyCommand) Help() string {
	return `
Redis is not needed for it. What only Redis can tell, whether the end of the archive is missing and whether it says what the
log does, is compared by: holdfast audit --archive URL. Exit status 0 only if all is well.
`
}

func (c *archiveVerifyCommand) Run(ctx context.Context, e *environment) error {
	return c.with(ctx, e, func(r *archive.Reader) error {
		shown := e.progressOf("segments read", 0)
		report, err := r.Verify(ctx, func() { shown.add(1) })
		shown.clear()
		if err != nil {
			return err
		}
		out := e.printer()
		verdict := "all is well"
		if !report.OK {
			verdict = "NOT WELL"
		}
		out.sheet(report, "verdict", verdict, "branches", strconv.Itoa(report.Branches), "segments", strconv.Itoa(report.Segments), "replaced", strconv.Itoa(report.Replaced),
			"snapshots", strconv.Itoa(report.Snapshots), "facts", strconv.Itoa(report.Facts), "bytes", count(report.Bytes))
		if len(report.Faults) > 0 && out.section("object", "detail") {
			for _, f := range report.Faults {
				out.row(f, f.Subject, f.Detail)
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		return faultsError(report)
	})
}

type archiveExportCommand struct {
	archiveFlags
	What   string   `enum:"orders,invoices,sales" default:"orders" placeholder:"WHAT" help:"orders, invoices (orders that were ever confirmed) or sales. Default: orders."`
	Format string   `enum:"csv,parquet" default:"csv" placeholder:"FORMAT" help:"csv or parquet. Default: csv."`
	Event  string   `placeholder:"ID" help:"Only of this event."`
	Until  timeFlag `placeholder:"TIME" help:"As they were then. Default: as they are archived last."`
	Branch []string `placeholder:"BRANCH" help:"Which branch to read, where a partition ends in several (archive ls)."`
	Out    string   `placeholder:"FILE" help:"Where to write, a file that is not there yet. Default: standard output."`
}

// Help is shown by --help.
func (c *archiveExportCommand) Help() string {
	return `
Redis is not needed for it: what is written is the state that the archived facts fold to. Amounts are in minor units, times are UTC.
If a part of the archive is missing or damaged, nothing of that partition is written, and the exit status is 1.
`
}

func (c *archiveExportCommand) Run(ctx context.Context, e *environment) error {
	if c.Event != "" && !domain.ValidID(c.Event) {
		return badUsage("--event: want an id")
	}
	return c.with(ctx, e, func(r *archive.Reader) (err error) {
		to := e.stdout
		if c.Out != "" {
			file, failed := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if failed != nil {
				return badUsage("--out: %w", failed)
			}
			defer func() { err = errors.Join(err, file.Close()) }()
			to = file
		}
		shown := e.progressOf("segments read", 0)
		defer shown.clear()
		_, err = r.Export(ctx, to, c.What, c.Format, archive.Options{Branches: c.Branch, EventID: c.Event, UntilMillis: c.Until.millis, Step: func() { shown.add(1) }})
		return err
	})
}

type archiveSnapshotCommand struct {
	archiveFlags
	Branch []string `placeholder:"BRANCH" help:"Which branch, where a partition ends in several (archive ls)."`
}

// Help is shown by --help.
func (c *archiveSnapshotCommand) Help() string {
	return `
Workers that archive take snapshots by themselves (--snapshot-every); this takes them at once. Redis is not needed for it: the snapshot before, and
the segments since, are folded; where that is much, it takes several. Again, or twice at the same time, it does no harm. Of a partition of which nothing
was archived since, no snapshot is taken. If a segment is missing or damaged, it is named, and the exit status is 1.
`
}

func (c *archiveSnapshotCommand) Run(ctx context.Context, e *environment) error {
	return c.with(ctx, e, func(r *archive.Reader) error {
		shown := e.progressOf("segments folded", 0)
		out := e.printer("partition", "branch", "last", "new", "events", "orders", "facts", "folded")
		err := r.TakeSnapshots(ctx, archive.Options{Branches: c.Branch, AtOnce: snapshotAtOnce, Step: func() { shown.add(1) }}, func(t archive.Taken) error {
			shown.clear()
			for _, f := range t.Passed {
				e.notice("passed over: snapshot " + f.Subject + " " + f.Detail)
			}
			out.row(t, strconv.Itoa(t.Partition), t.Branch, t.Last, strconv.FormatBool(t.New), strconv.Itoa(t.Events), strconv.Itoa(t.Orders), strconv.Itoa(t.Facts), strconv.Itoa(t.Folded))
			return nil
		})
		shown.clear()
		return out.end(err)
	})
}

type archiveCompactCommand struct {
	archiveFlags
	KeepReplaced  time.Duration `default:"24h" placeholder:"DURATION" help:"How long what was replaced, or is not needed any more, stays. Default: 24h."`
	KeepSnapshots int           `default:"24" placeholder:"N" help:"How many snapshots of a branch stay, the newest; 2 at least. Default: 24."`
	DryRun        bool          `help:"Change nothing: say what would be done."`
}

// Help is shown by --help.
func (c *archiveCompactCommand) Help() string {
	return `
For cron, once a day. Redis is not needed for it, but the right to delete objects is. Of the small segments of a day that is over, large ones are made,
which have all that those say; each is read back and compared with them. A day later (--keep-replaced) the small ones go, and so do snapshots, a day after
nobody begins with them any more. Again, twice at the same time, or stopped at any moment, it does no harm. What is damaged is named, stays, and the exit
status is 1. Update all programs that read or write the archive before it is used: older ones refuse what it leaves.
`
}

func (c *archiveCompactCommand) Run(ctx context.Context, e *environment) error {
	if c.KeepReplaced < 0 {
		return badUsage("--keep-replaced: want a duration, such as 24h")
	}
	if c.KeepSnapshots < archive.LeastSnapshots {
		return badUsage("--keep-snapshots: want %d or more", archive.LeastSnapshots)
	}
	return c.with(ctx, e, func(r *archive.Reader) error {
		shown := e.progressOf("segments read", 0)
		faults := int64(0)
		out := e.printer("partition", "branch", "segments", "large", "removed", "marked", "snapshots", "pieces", "bytes")
		err := r.Compact(ctx, archive.CompactOptions{KeepReplaced: c.KeepReplaced, KeepSnapshots: c.KeepSnapshots, DryRun: c.DryRun, Step: func() { shown.add(1) }}, func(is archive.Compacted) error {
			shown.clear()
			for _, f := range is.Faults {
				e.notice(f.Subject + ": " + f.Detail)
			}
			faults += int64(len(is.Faults))
			out.row(is, strconv.Itoa(is.Partition), is.Branch, strconv.Itoa(is.Segments), strconv.Itoa(is.Large), strconv.Itoa(is.Removed), strconv.Itoa(is.Marked), strconv.Itoa(is.Snapshots), strconv.Itoa(is.Pieces), count(is.Bytes))
			return nil
		})
		shown.clear()
		if err == nil && faults > 0 {
			err = fmt.Errorf("the archive has %s: see docs/operations.md", plural(faults, "fault", "faults"))
		}
		return out.end(err)
	})
}

// snapshotAtOnce is how many bytes of segments are folded before a snapshot is taken: of 350,000 orders.
const snapshotAtOnce = 16 << 20

func faultsError(report archive.Report) error {
	if report.OK {
		return nil
	}
	return fmt.Errorf("the archive has %s: see docs/operations.md", plural(int64(len(report.Faults)), "fault", "faults"))
}

// compareArchive compares what is archived with the log, for the audit.
func compareArchive(ctx context.Context, e *environment, r *archive.Reader, store *streams.Store) (archive.Report, error) {
	shown := e.progressOf("segments read", 0)
	defer shown.clear()
	report, err := r.Verify(ctx, func() { shown.add(1) })
	if err != nil {
		return report, err
	}
	return report, r.Compare(ctx, store.Ledger(), store.Partitions(), &report, func() { shown.add(1) })
}
