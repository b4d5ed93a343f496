package inspect

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Totals are the sales of one event.
type Totals struct {
	Orders      int64
	TicketsSold int64
	Revenue     int64 // minor units
}

// Sales reads what was posted for an event. Error: domain.ErrNotFound.
func (in *Inspector) Sales(ctx context.Context, eventID string) (Totals, error) {
	raw, err := in.ns.Client.HGet(ctx, in.ns.Keys.SalesSummary(in.ns.Keys.PartitionOf(eventID)), eventID).Result()
	if err != nil {
		if access.IsNil(err) {
			return Totals{}, access.NotFound("event", eventID)
		}
		return Totals{}, fmt.Errorf("reading sales of %s: %w", eventID, access.Classify(err))
	}
	totals, err := layout.DecodeTotals(raw)
	return Totals(totals), err
}

// InvoiceLine is one order on a customer's invoices.
type InvoiceLine struct {
	OrderID           string `json:"order_id"`
	EventID           string `json:"event_id"`
	Section           string `json:"section"`
	Quantity          int64  `json:"quantity"`
	Amount            int64  `json:"amount"` // minor units
	Currency          string `json:"currency"`
	ConfirmedAtMillis int64  `json:"confirmed_at"` // milliseconds
	Status            string `json:"status"`       // confirmed or cancelled
}

// Invoices reads a customer's lines, oldest first.
func (in *Inspector) Invoices(ctx context.Context, customerID string) ([]InvoiceLine, error) {
	h, err := in.ns.Client.HGetAll(ctx, in.ns.Keys.Invoices(customerID)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading invoices of %s: %w", customerID, access.Classify(err))
	}
	lines := make([]InvoiceLine, 0, len(h))
	for field, value := range h {
		line, err := layout.DecodeInvoiceLine(field, value)
		if err != nil {
			return nil, err
		}
		lines = append(lines, InvoiceLine(line))
	}
	sortInvoices(lines)
	return lines, nil
}

func sortInvoices(lines []InvoiceLine) {
	slices.SortFunc(lines, func(a, b InvoiceLine) int {
		return cmp.Or(cmp.Compare(a.ConfirmedAtMillis, b.ConfirmedAtMillis), cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.OrderID, b.OrderID))
	})
}
