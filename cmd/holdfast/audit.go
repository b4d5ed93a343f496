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

type auditCommand struct {
	Gateway string       `placeholder:"URL|stripe" help:"The payment gateway, to compare every payment with its books (GET /ledger); or stripe, all of whose payments are listed. Without it, payments are not checked."`
	Archive string       `placeholder:"URL" help:"Where the log is archived, to verify that and to compare it with the log, entry by entry. Without it, the archive is not checked."`
	From    timeFlag     `placeholder:"TIME" help:"With --gateway stripe, only the payments that were made there from this time on. Default: all."`
	Until   timeFlag     `placeholder:"TIME" help:"With --gateway stripe, only those made before this time."`
	As      gatewayFlags `embed:"" group:"Who calls the payment gateway:"`
	Stripe  stripeFlags  `embed:"" group:"Stripe, with --gateway stripe:"`
}

// Help is shown by --help.
func (c *auditCommand) Help() string {
	return `
It folds the log from its start and compares the result with everything that is stored. It may run while
tickets are sold, and changes nothing but the note of what it found, which check and the metrics of workers tell. Exit status 0 only if all is well; that the data was replaced is not, until somebody has seen to it
(holdfast check --forget-replaced).
`
}

func (c *auditCommand) Run(ctx context.Context, e *environment) error {
	if c.Archive != "" {
		if err := archive.CheckURL(c.Archive); err != nil {
			return badUsage("--archive: %w", err)
		}
	}
	options := audit.Options{FromMillis: c.From.millis, UntilMillis: c.Until.millis}
	switch ranged := c.From.millis != 0 || c.Until.millis != 0; {
	case ranged && c.Gateway != stripeGateway:
		return badUsage("--from, --until: want --gateway stripe")
	case c.Until.millis != 0 && c.Until.millis <= c.From.millis:
		return badUsage("--until: want a time after --from")
	}
	var gateway asked
	if c.Gateway != "" {
		var err error
		if gateway, err = ask(c.Gateway, c.As, c.Stripe); err != nil {
			return err
		}
		defer gateway.Close()
		options.Gateway = func(ctx context.Context) ([]domain.BooksLine, error) {
			lines, err := gateway.books(ctx, c.From.millis, c.Until.millis)
			switch {
			case errors.Is(err, domain.ErrNotFound):
				return nil, fmt.Errorf("the gateway at %s has no /ledger: audit without --gateway", gateway.called)
			case err != nil:
				return nil, fmt.Errorf("the gateway at %s: %w", gateway.called, err)
			}
			return lines, nil
		}
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		if err := gateway.serves(ctx, store); err != nil {
			return err
		}
		report, err := audit.Run(ctx, store, options)
		if err != nil {
			return err
		}
		replaced, err := inspect.New(store).Replaced(ctx)
		if err != nil {
			return err
		}
		archived := "not checked: no --archive"
		var checked *archive.Report
		if c.Archive != "" {
			found, err := compareArchive(ctx, e, c.Archive, store)
			if err != nil {
				return err
			}
			for _, f := range found.Faults {
				report.Violations = append(report.Violations, audit.Violation{Invariant: "I11", Subject: f.Subject, Detail: f.Detail})
			}
			report.OK = report.OK && found.OK
			checked, archived = &found, plural(int64(found.Segments), "segment", "segments")+", "+plural(int64(found.Facts), "fact", "facts")
		}
		if err := inspect.New(store).KeepVerdict(ctx, report, checked != nil); err != nil {
			// What it found is told all the same; that no newer verdict is kept shows by its age.
			e.notice("check and the metrics do not know of this audit: " + oneLine(err))
		}
		view := auditView{report, checked, replaced}
		view.OK = report.OK && replaced == nil
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
			if n := len(p.Disputed); n > 0 {
				paid += fmt.Sprintf(", %d disputed", n)
			}
		}
		sheet := []string{
			"verdict", verdict, "events", strconv.Itoa(report.Checked.Events),
			"orders", strconv.Itoa(report.Checked.Orders), "facts", strconv.Itoa(report.Checked.Facts), "payments", paid, "archive", archived,
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
		if report.Payments != nil && len(report.Payments.Disputed) > 0 && out.section("disputed", "state", "payment", "do") {
			for _, d := range report.Payments.Disputed {
				out.row(d, d.Ref.String(), string(d.State), d.PaymentID, d.Do)
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		if !report.OK {
			return fmt.Errorf("the audit found %s: see docs/operations.md", plural(int64(len(report.Violations)), "violation", "violations"))
		}
		if replaced != nil {
			return domain.WithCode(domain.ClassFatal, domain.CodeDataReplaced, errors.New(replacedText(replaced)+"; when that is seen to: holdfast check --forget-replaced"))
		}
		return nil
	})
}
