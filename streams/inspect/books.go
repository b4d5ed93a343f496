package inspect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

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
	return invoiceLines(h)
}

func invoiceLines(h map[string]string) ([]InvoiceLine, error) {
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

// EachInvoices calls each for the lines of every customer who has any, in no order of the
// customers, who are found by the names of all keys of the namespace: each once, but for
// those whom a Cluster moves from one node to another meanwhile, who may be missed. It
// remembers the customers that it has had.
func (in *Inspector) EachInvoices(ctx context.Context, each func(customerID string, lines []InvoiceLine) error) error {
	masters, err := in.masters(ctx)
	if err != nil {
		return fmt.Errorf("listing customers: %w", err)
	}
	seen := make(map[string]bool) // SCAN may name a key twice
	for _, master := range masters {
		cursor := uint64(0)
		for {
			keys, next, err := master.Scan(ctx, cursor, in.ns.Keys.AnyInvoices(), access.ReadPage).Result()
			if err != nil {
				return fmt.Errorf("listing customers: %w", access.Classify(err))
			}
			if err := in.eachInvoices(ctx, keys, seen, each); err != nil {
				return err
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return nil
}

func (in *Inspector) eachInvoices(ctx context.Context, keys []string, seen map[string]bool, each func(customerID string, lines []InvoiceLine) error) error {
	var customers []string
	for _, key := range keys {
		if customer, ok := in.ns.Keys.CustomerOf(key); ok && !seen[customer] {
			seen[customer] = true
			customers = append(customers, customer)
		}
	}
	if len(customers) == 0 {
		return nil
	}
	pipe := in.ns.Client.Pipeline()
	replies := make([]*redis.MapStringStringCmd, len(customers))
	for i, customer := range customers {
		replies[i] = pipe.HGetAll(ctx, in.ns.Keys.Invoices(customer))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("reading invoices: %w", access.Classify(err))
	}
	for i, customer := range customers {
		lines, err := invoiceLines(replies[i].Val())
		if err != nil {
			return fmt.Errorf("invoices of %s: %w", customer, err)
		}
		if err := each(customer, lines); err != nil {
			return err
		}
	}
	return nil
}

// masters are the servers that have the namespace: one, or the masters of a Cluster.
func (in *Inspector) masters(ctx context.Context) ([]redis.UniversalClient, error) {
	cluster, ok := in.ns.Client.(*redis.ClusterClient)
	if !ok {
		return []redis.UniversalClient{in.ns.Client}, nil
	}
	var mu sync.Mutex // they are called concurrently
	var masters []redis.UniversalClient
	err := cluster.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, master)
		return nil
	})
	return masters, access.Classify(err)
}

func sortInvoices(lines []InvoiceLine) {
	slices.SortFunc(lines, func(a, b InvoiceLine) int {
		return cmp.Or(cmp.Compare(a.ConfirmedAtMillis, b.ConfirmedAtMillis), cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.OrderID, b.OrderID))
	})
}
