package audit

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

func (a *auditor) readInvoices(ctx context.Context, customers []string) error {
	pipe := a.ns.Client.Pipeline()
	cmds := make([]*redis.MapStringStringCmd, len(customers))
	for i, customer := range customers {
		cmds[i] = pipe.HGetAll(ctx, a.ns.Keys.Invoices(customer))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("reading invoices: %w", access.Classify(err))
	}
	for i, cmd := range cmds {
		lines := make(map[domain.OrderRef]string, len(cmd.Val()))
		for name, says := range cmd.Val() {
			ref, ok := domain.ParseOrderRef(name)
			if !ok {
				a.violation("I3", "customer "+customers[i], "an invoice line %q names no order", name)
				continue
			}
			lines[ref] = says
		}
		a.invoices[customers[i]] = lines
	}
	return nil
}

// checkInvoices: I3, the part that is in the customers' slots. What a line says is read from its order, and
// it is shown only if that was ever confirmed and is this customer's: so a line too many says nothing.
//
// That of an order that is forgotten says it itself.
func (a *auditor) checkInvoices(ctx context.Context) error {
	for _, p := range a.partitions {
		for ref, o := range p.book.Orders {
			if _, there := a.invoices[o.CustomerID][ref]; o.ConfirmedAtMillis > 0 && !there && p.acked(domain.GroupPosting, p.idsOf(ref).confirmed) {
				a.violation("I3", ref.String(), "was posted, but is not on the invoices of %s", o.CustomerID)
			}
		}
		var differ []domain.OrderRef
		for ref, line := range p.book.Lines {
			if a.invoices[line.CustomerID][ref] != layout.EncodeLine(line) {
				differ = append(differ, ref)
			}
		}
		for chunk := range slices.Chunk(differ, access.MaxBatch) {
			if err := p.checkLines(ctx, chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkLines looks again at lines of orders that are forgotten: they were read before it was known that they are. As long as some orders of an event
// are there, not all of its lines need say what they were. Lines are read last: when none is there any more, all say it.
func (p *partitionAudit) checkLines(ctx context.Context, refs []domain.OrderRef) error {
	going, err := p.ns.Client.HGetAll(ctx, p.ns.Keys.Forgetting(p.p)).Result()
	if err != nil {
		return fmt.Errorf("reading which events are forgotten: %w", access.Classify(err))
	}
	pipe := p.ns.Client.Pipeline()
	cmds := make([]*redis.SliceCmd, len(refs))
	for i, ref := range refs {
		cmds[i] = pipe.HMGet(ctx, p.ns.Keys.Invoices(p.book.Lines[ref].CustomerID), ref.String())
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("reading invoices: %w", access.Classify(err))
	}
	for i, ref := range refs {
		line := p.book.Lines[ref]
		_, still := going[ref.EventID]
		if says, want := layout.AsString(cmds[i].Val()[0]), layout.EncodeLine(line); says != want && !still {
			p.violation("I3", ref.String(), "the invoices of %s say %q of it, the log %q", line.CustomerID, says, want)
		}
	}
	return nil
}
