package audit

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

func (a *auditor) readInvoices(ctx context.Context, customers []string) error {
	pipe := a.ns.Client.Pipeline()
	cmds := make([]*redis.StringSliceCmd, len(customers))
	for i, customer := range customers {
		cmds[i] = pipe.HKeys(ctx, a.ns.Keys.Invoices(customer))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("reading invoices: %w", access.Classify(err))
	}
	for i, cmd := range cmds {
		lines := make(map[domain.OrderRef]bool, len(cmd.Val()))
		for _, name := range cmd.Val() {
			ref, ok := domain.ParseOrderRef(name)
			if !ok {
				a.violation("I3", "customer "+customers[i], "an invoice line %q names no order", name)
				continue
			}
			lines[ref] = true
		}
		a.invoices[customers[i]] = lines
	}
	return nil
}

// checkInvoices: I3, the part that is in the customers' slots. What a line says is read from its order, and
// it is shown only if that was ever confirmed and is this customer's: so a line too many says nothing.
func (a *auditor) checkInvoices() {
	for _, p := range a.partitions {
		for ref, o := range p.book.Orders {
			if o.ConfirmedAtMillis > 0 && p.acked(domain.GroupPosting, p.idsOf(ref).confirmed) && !a.invoices[o.CustomerID][ref] {
				a.violation("I3", ref.String(), "was posted, but is not on the invoices of %s", o.CustomerID)
			}
		}
	}
}
