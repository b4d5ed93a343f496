package audit

import (
	"context"
	"fmt"
	"math"

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
		lines := make(map[domain.OrderRef]layout.InvoiceLine)
		for field, value := range cmd.Val() {
			line, err := layout.DecodeInvoiceLine(field, value)
			if err != nil {
				a.violation("I3", "customer "+customers[i], "%v", err)
				continue
			}
			lines[domain.OrderRef{EventID: line.EventID, OrderID: line.OrderID}] = line
		}
		a.invoices[customers[i]] = lines
	}
	return nil
}

// checkInvoices: I3, the part that is in the customers' slots.
func (a *auditor) checkInvoices() {
	for customer, lines := range a.invoices {
		for ref, line := range lines {
			p := a.of(ref)
			o := p.book.Orders[ref]
			want := layout.InvoiceLine{
				OrderID: ref.OrderID, EventID: ref.EventID, Section: o.Section, Quantity: o.Quantity,
				Amount: o.Amount(), Currency: o.Currency, ConfirmedAtMillis: o.ConfirmedAtMillis, Status: line.Status,
			}
			switch {
			case o.ConfirmedAtMillis == 0:
				a.violation("I3", ref.String(), "is on the invoices of %s, but is %s and was never confirmed", customer, o.State)
			case o.CustomerID != customer:
				a.violation("I3", ref.String(), "is on the invoices of %s, but is an order of %s", customer, o.CustomerID)
			case line != want:
				a.violation("I3", ref.String(), "invoice line is %+v, want %+v", line, want)
			case line.Status == layout.InvoiceCancelled && o.State != domain.OrderCancelled:
				a.violation("I3", ref.String(), "invoice line is cancelled, the order is %s", o.State)
			case line.Status == layout.InvoiceConfirmed && o.State == domain.OrderCancelled && p.acked(domain.GroupPosting, p.factIDs[ref].ended):
				a.violation("I3", ref.String(), "is cancelled, but its invoice line was not reversed")
			}
		}
	}
	for _, p := range a.partitions {
		for ref, o := range p.book.Orders {
			if o.ConfirmedAtMillis == 0 || !p.acked(domain.GroupPosting, p.factIDs[ref].confirmed) {
				continue
			}
			if _, found := a.invoices[o.CustomerID][ref]; !found {
				a.violation("I3", ref.String(), "was posted, but is not on the invoices of %s", o.CustomerID)
			}
		}
	}
}

// checkSales: each order's one place in the sales of its event. Posting
// acknowledges in the same step, so read together with the group's position
// there is no doubt about which orders must be there.
func (p *partitionAudit) checkSales(ctx context.Context) error {
	byEvent := make(map[string][]domain.OrderRef)
	for ref, o := range p.book.Orders {
		if o.ConfirmedAtMillis > 0 {
			byEvent[ref.EventID] = append(byEvent[ref.EventID], ref)
		}
	}
	for _, id := range names(p.book.Events, p.sales) {
		var group groupReads
		var members *redis.StringSliceCmd
		var totals *redis.StringCmd
		err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
			group = p.askGroup(ctx, pipe, domain.GroupPosting)
			members = pipe.SMembers(ctx, p.ns.Keys.Sales(p.p, id))
			totals = pipe.HGet(ctx, p.ns.Keys.SalesSummary(p.p), id)
		})
		if err != nil {
			return err
		}
		p.checkEventSales(id, members.Val(), totals.Val(), byEvent[id], group.position())
	}
	return nil
}

func (p *partitionAudit) checkEventSales(id string, members []string, rawTotals string, confirmed []domain.OrderRef, pos position) {
	var sum layout.Totals
	past := false // 2^63-1, up to which revenue is counted
	posted := make(map[string]bool, len(members))
	for _, orderID := range members {
		posted[orderID] = true
		ref := domain.OrderRef{EventID: id, OrderID: orderID}
		o := p.book.Orders[ref]
		sum.Orders++
		sum.TicketsSold += o.Quantity
		past = past || o.Amount() > math.MaxInt64-sum.Revenue
		sum.Revenue += o.Amount()
		switch {
		case o.ConfirmedAtMillis == 0:
			p.violation("I3", ref.String(), "is among the sales, but is %s and was never confirmed", o.State)
		case o.State == domain.OrderCancelled && pos.acked(p.factIDs[ref].ended):
			p.violation("I3", ref.String(), "is cancelled, but its sale was not reversed")
		}
	}
	for _, ref := range confirmed {
		if p.book.Orders[ref].State == domain.OrderConfirmed && pos.acked(p.factIDs[ref].confirmed) && !posted[ref.OrderID] {
			p.violation("I3", ref.String(), "was posted, but is not among the sales")
		}
	}
	totals, err := layout.DecodeTotals(rawTotals)
	switch {
	case err != nil:
		p.violation("I3", id, "%v", err)
	case past:
		p.violation("I3", id, "totals are %+v, its sales add up to more than 2^63-1", totals)
	case totals != sum:
		p.violation("I3", id, "totals are %+v, its sales add up to %+v", totals, sum)
	}
}
