package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
)

// auditView is the report, and that the data which it is about is other data than before.
type auditView struct {
	audit.Report
	Archive  *archive.Report   `json:"archive,omitempty"` // nil: it was not checked
	Replaced *inspect.Replaced `json:"replaced"`
}

// replacedText says that the data was replaced, and who noticed it.
func replacedText(r *inspect.Replaced) string {
	return fmt.Sprintf("the data in Redis was replaced; worker %s noticed it at %s (%s)", r.Worker, when(r.AtMillis), r.Detail)
}

// auditSources are what an audit compares with, beside what is in Redis.
type auditSources struct {
	Gateway string       `placeholder:"URL|stripe" help:"The payment gateway, to compare every payment with its books (GET /ledger); or stripe, all of whose payments are listed. Without it, payments are not checked."`
	Archive string       `env:"HOLDFAST_ARCHIVE" placeholder:"URL" help:"Where the log is archived, to verify that and to compare it with the log, entry by entry. Without it, the archive is not checked."`
	As      gatewayFlags `embed:"" group:"Who calls the payment gateway:"`
	Stripe  stripeFlags  `embed:"" group:"Stripe, with --gateway stripe:"`
}

type auditCommand struct {
	auditSources
	From  timeFlag `placeholder:"TIME" help:"With --gateway stripe, only the payments that were made there from this time on. Default: all."`
	Until timeFlag `placeholder:"TIME" help:"With --gateway stripe, only those made before this time."`
	Full  bool     `help:"With --archive, fold that from its first segment. Default: from its newest snapshot (archive snapshot)."`
}

// Help is shown by --help.
func (c *auditCommand) Help() string {
	return `
It folds the log from its start, or with --archive what is archived of it and then the log, and compares the result with everything that is stored. It may run while
tickets are sold, and changes nothing but the note of what it found, which check and the metrics of workers tell. Exit status 0 only if all is well; that the data was replaced is not, until somebody has seen to it
(holdfast check --forget-replaced).
`
}

// check says what is wrong with them, without asking anybody.
func (c auditSources) check() error {
	if c.Archive != "" {
		if err := archive.CheckURL(c.Archive); err != nil {
			return badUsage("--archive: %w", err)
		}
	}
	gateway, err := c.gateway()
	if gateway != nil {
		gateway.Close()
	}
	return err
}

// gateway is the payment gateway; nil if none is named.
func (c auditSources) gateway() (*asked, error) {
	if c.Gateway == "" {
		return nil, nil //nolint:nilnil // it is not asked
	}
	gateway, err := ask(c.Gateway, c.As, c.Stripe)
	if err != nil {
		return nil, err
	}
	return &gateway, nil
}

// auditExtent bounds the payments that are listed at Stripe, by when they were made there (0: no bound), and says whether an archive is folded from
// its first segment.
type auditExtent struct {
	fromMillis, untilMillis int64
	full                    bool
}

// audit proves what is in a store, and keeps what it found.
func (c auditSources) audit(ctx context.Context, e *environment, store *streams.Store, of auditExtent, progress func(audit.Progress)) (view auditView, err error) {
	if c.Archive == "" {
		return c.auditWith(ctx, e, store, of, nil, progress)
	}
	err = archiveFlags{c.Archive}.with(ctx, e, func(r *archive.Reader) (err error) {
		view, err = c.auditWith(ctx, e, store, of, r, progress)
		return err
	})
	return view, err
}

// auditWith is audit with what is archived, or nil.
func (c auditSources) auditWith(ctx context.Context, e *environment, store *streams.Store, of auditExtent, archived *archive.Reader, progress func(audit.Progress)) (view auditView, err error) {
	options := audit.Options{FromMillis: of.fromMillis, UntilMillis: of.untilMillis, Full: of.full, Progress: progress}
	if archived != nil {
		options.Archive = archived
	}
	if c.Gateway != "" {
		gateway, err := ask(c.Gateway, c.As, c.Stripe)
		if err != nil {
			return view, err
		}
		defer gateway.Close()
		if err := gateway.serves(ctx, store); err != nil {
			return view, err
		}
		options.Gateway = func(ctx context.Context) ([]domain.BooksLine, error) {
			lines, err := gateway.books(ctx, of.fromMillis, of.untilMillis)
			switch {
			case errors.Is(err, domain.ErrNotFound):
				return nil, fmt.Errorf("the gateway at %s has no /ledger: audit without --gateway", gateway.called)
			case err != nil:
				return nil, fmt.Errorf("the gateway at %s: %w", gateway.called, err)
			}
			return lines, nil
		}
	}
	if view.Report, err = audit.Run(ctx, store, options); err != nil {
		return view, err
	}
	if view.Replaced, err = inspect.New(store).Replaced(ctx); err != nil {
		return view, err
	}
	if archived != nil {
		found, err := compareArchive(ctx, e, archived, store)
		if err != nil {
			return view, err
		}
		for _, f := range found.Faults {
			view.Violations = append(view.Violations, audit.Violation{Invariant: "I11", Subject: f.Subject, Detail: f.Detail})
		}
		view.OK = view.OK && found.OK
		view.Archive = &found
	}
	if err := inspect.New(store).KeepVerdict(ctx, view.Report, view.Archive != nil); err != nil {
		// What it found is told all the same; that no newer verdict is kept shows by its age.
		e.notice("check and the metrics do not know of this audit: " + oneLine(err))
	}
	view.OK = view.OK && view.Replaced == nil
	return view, nil
}

func (c *auditCommand) Run(ctx context.Context, e *environment) error {
	of := auditExtent{c.From.millis, c.Until.millis, c.Full}
	switch ranged := of.fromMillis != 0 || of.untilMillis != 0; {
	case ranged && c.Gateway != stripeGateway:
		return badUsage("--from, --until: want --gateway stripe")
	case of.untilMillis != 0 && of.untilMillis <= of.fromMillis:
		return badUsage("--until: want a time after --from")
	case c.Full && c.Archive == "":
		return badUsage("--full: want --archive")
	}
	if err := c.check(); err != nil {
		return err
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		view, err := c.audit(ctx, e, store, of, nil)
		if err != nil {
			return err
		}
		report, replaced, archived := view.Report, view.Replaced, "not checked: no --archive"
		if view.Archive != nil {
			archived = plural(int64(view.Archive.Segments), "segment", "segments") + ", " + plural(int64(view.Archive.Facts), "fact", "facts")
			if n := view.Archive.Snapshots; n > 0 {
				archived += ", " + plural(int64(n), "snapshot", "snapshots")
			}
			if n := view.Archive.Before; n > 0 {
				archived += ", " + plural(int64(n), "log entry", "log entries") + " that Redis has no more"
			}
		}
		facts := strconv.Itoa(report.Checked.Facts)
		if n := report.Checked.Before; n > 0 {
			facts += fmt.Sprintf(", and %d in snapshots", n)
		}
		out := e.printer()
		verdict := "all is well"
		if !view.OK {
			verdict = "NOT WELL"
		}
		paid := "not checked: no --gateway"
		if p := report.Payments; p != nil {
			paid = fmt.Sprintf("%d checked", p.Checked)
			if p.PassedOver > 0 {
				paid += fmt.Sprintf(", %d of other namespaces passed over", p.PassedOver)
			}
			if p.FromMillis > 0 {
				paid += ", made from " + when(p.FromMillis) + " on"
			}
			if p.UntilMillis > 0 {
				paid += ", made before " + when(p.UntilMillis)
			}
			if p.Forgotten > 0 {
				paid += fmt.Sprintf(", %d of forgotten events not checked (--full)", p.Forgotten)
			}
			if n := len(p.Disputed); n > 0 {
				paid += fmt.Sprintf(", %d disputed", n)
			}
		}
		sheet := []string{
			"verdict", verdict, "events", strconv.Itoa(report.Checked.Events),
			"orders", strconv.Itoa(report.Checked.Orders), "facts", facts, "payments", paid, "archive", archived,
		}
		if replaced != nil {
			sheet = append(sheet, "replaced", replacedText(replaced))
		}
		out.sheet(view, sheet...)
		if len(report.Violations) > 0 && out.section("invariant", "subject", "detail", "do") {
			for _, v := range report.Violations {
				out.row(v, v.Invariant, v.Subject, v.Detail, v.Do)
			}
		}
		if report.Payments != nil && len(report.Payments.Disputed) > 0 && out.section("disputed", "state", "dispute", "recorded", "payment", "do") {
			for _, d := range report.Payments.Disputed {
				out.row(d, d.Ref.String(), d.State.String(), disputeText(d.Dispute, d.Currency), strconv.FormatBool(d.Recorded), d.PaymentID, d.Do)
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		if n := len(report.Violations); n > 0 {
			return fmt.Errorf("the audit found %s: see docs/operations.md", plural(int64(n), "violation", "violations"))
		}
		if replaced != nil {
			return domain.WithCode(domain.ClassFatal, domain.CodeDataReplaced, errors.New(replacedText(replaced)+"; when that is seen to: holdfast check --forget-replaced"))
		}
		return nil
	})
}
