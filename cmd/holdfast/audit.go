package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/audit"
)

type auditCommand struct {
	Gateway string       `placeholder:"URL" help:"The payment gateway, to compare every payment with its ledger (GET /ledger). Without it, payments are not checked."`
	As      gatewayFlags `embed:"" group:"Who calls the payment gateway:"`
}

// Help is shown by --help.
func (c *auditCommand) Help() string {
	return `
It folds the log from its start and compares the result with everything that is stored. It only reads, and may run while
tickets are sold. Exit status 0 only if all is well.
`
}

func (c *auditCommand) Run(ctx context.Context, e *environment) error {
	var options audit.Options
	if c.Gateway != "" {
		client, err := c.As.client(c.Gateway, 0)
		if err != nil {
			return err
		}
		defer client.Close()
		options.Gateway = func(ctx context.Context) ([]domain.BooksLine, error) {
			lines, err := client.Books(ctx)
			switch {
			case errors.Is(err, domain.ErrNotFound):
				return nil, fmt.Errorf("the gateway at %s has no /ledger: audit without --gateway", redactURL(c.Gateway))
			case err != nil:
				return nil, fmt.Errorf("the gateway at %s: %w", redactURL(c.Gateway), err)
			}
			return lines, nil
		}
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		report, err := audit.Run(ctx, store, options)
		if err != nil {
			return err
		}
		if report.Violations == nil {
			report.Violations = []audit.Violation{}
		}
		out := e.printer()
		verdict := "all is well"
		if !report.OK {
			verdict = "NOT WELL"
		}
		paid := "not checked: no --gateway"
		if p := report.Payments; p != nil {
			paid = fmt.Sprintf("%d checked", p.Checked)
			if p.PassedOver > 0 {
				paid += fmt.Sprintf(", %d of other namespaces passed over", p.PassedOver)
			}
		}
		out.sheet(report, "verdict", verdict, "events", strconv.Itoa(report.Checked.Events),
			"orders", strconv.Itoa(report.Checked.Orders), "facts", strconv.Itoa(report.Checked.Facts), "payments", paid)
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
		return nil
	})
}
