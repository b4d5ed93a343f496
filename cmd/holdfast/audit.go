package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
)

// auditView is the report, and that the data which it is about is other data than before.
type auditView struct {
	audit.Report
	Replaced *inspect.Replaced `json:"replaced"`
}

// replacedText says that the data was replaced, and who noticed it.
func replacedText(r *inspect.Replaced) string {
	return fmt.Sprintf("the data in Redis was replaced; worker %s noticed it at %s (%s)", r.Worker, when(r.AtMillis), r.Detail)
}

type auditCommand struct {
	Gateway string       `placeholder:"URL|stripe" help:"The payment gateway, to compare every payment with its books (GET /ledger); or stripe, all of whose payments are listed. Without it, payments are not checked."`
	As      gatewayFlags `embed:"" group:"Who calls the payment gateway:"`
	Stripe  stripeFlags  `embed:"" group:"Stripe, with --gateway stripe:"`
}

// Help is shown by --help.
func (c *auditCommand) Help() string {
	return `
It folds the log from its start and compares the result with everything that is stored. It only reads, and may run while
tickets are sold. Exit status 0 only if all is well; that the data was replaced is not, until somebody has seen to it
(holdfast check --forget-replaced).
`
}

func (c *auditCommand) Run(ctx context.Context, e *environment) error {
	var options audit.Options
	var gateway asked
	if c.Gateway != "" {
		var err error
		if gateway, err = ask(c.Gateway, c.As, c.Stripe); err != nil {
			return err
		}
		defer gateway.Close()
		options.Gateway = func(ctx context.Context) ([]domain.BooksLine, error) {
			lines, err := gateway.Books(ctx)
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
		view := auditView{report, replaced}
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
		}
		sheet := []string{
			"verdict", verdict, "events", strconv.Itoa(report.Checked.Events),
			"orders", strconv.Itoa(report.Checked.Orders), "facts", strconv.Itoa(report.Checked.Facts), "payments", paid,
		}
		if replaced != nil {
			sheet = append(sheet, "replaced", replacedText(replaced))
		}
		out.sheet(view, sheet...)
		if len(report.Violations) > 0 && out.section("invariant", "subject", "detail") {
			for _, v := range report.Violations {
				out.row(v, v.Invariant, v.Subject, v.Detail)
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		if !report.OK {
			return fmt.Errorf("the audit found %d violations: see docs/operations.md", len(report.Violations))
		}
		if replaced != nil {
			return domain.WithCode(domain.ClassFatal, domain.CodeDataReplaced, errors.New(replacedText(replaced)+"; when that is seen to: holdfast check --forget-replaced"))
		}
		return nil
	})
}
