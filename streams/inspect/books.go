package inspect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Totals are the sales of one event.
type Totals struct {
	Orders      int64
	TicketsSold int64
	Revenue     int64 // minor units
}

// Sales reads what is sold of an event: that moves with its orders, in one step. Error: domain.ErrNotFound.
func (in *Inspector) Sales(ctx context.Context, eventID string) (Totals, error) {
	event, err := in.ns.Event(ctx, eventID)
	if err == nil && !event.Exists() {
		err = access.NoEvent(eventID, event.Event)
	}
	return Totals(event.Totals), err
}

// RefusedPlaces is how many places of a section were asked for in vain, and why.
type RefusedPlaces struct {
	Section    string `json:"section"`
	Allocation string `json:"allocation"`
	Reason     string `json:"reason"`
	Places     int64  `json:"places"`
}

// refusalReasons are those for which places that there are can be refused.
var refusalReasons = [...]string{
	domain.ReasonSoldOut, domain.ReasonSeatTaken, domain.ReasonNoAdjacent, domain.ReasonWouldOrphan, domain.ReasonUnknownSeat, domain.ReasonOverLimit, domain.ReasonOverCustomer, domain.ReasonInProgress, domain.ReasonNotOnSale,
	domain.ReasonPriceChanged, domain.ReasonBelowMinimum, domain.ReasonUnknownSection, domain.ReasonUnknownAllocation, domain.ReasonCodeRefused, domain.ReasonTooLate,
}

// RefusedDemand reads how many places of an event were asked for in vain, by section, allocation and reason; what was never refused
// is left out. All places of an order that was rejected count in their sections, whichever of them was to blame. With
// domain.CodeSoldOutNow stand those of whom nothing was recorded.
func (in *Inspector) RefusedDemand(ctx context.Context, eventID string, event domain.Event) ([]RefusedPlaces, error) {
	list := []RefusedPlaces{}
	var fields, away []string
	add := func(to *[]string, pool, reason string) {
		section, allocation := domain.SplitPool(pool)
		list = append(list, RefusedPlaces{Section: section, Allocation: allocation, Reason: reason})
		*to = append(*to, layout.RefusedField(domain.RefusedDemand{EventID: eventID, Section: pool, Reason: reason}))
	}
	for _, s := range event.Sections {
		for _, reason := range refusalReasons {
			add(&fields, s.Name, reason)
		}
	}
	for _, s := range event.Sections {
		add(&away, s.Name, string(domain.CodeSoldOutNow))
	}
	if len(list) == 0 {
		return list, nil
	}
	p, pipe := in.ns.Keys.PartitionOf(eventID), in.ns.Client.Pipeline()
	rejected, turnedAway := pipe.HMGet(ctx, in.ns.Keys.Events(p), fields...), pipe.HMGet(ctx, in.ns.Keys.TurnedAway(p), away...)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading what was refused of event %s: %w", eventID, access.Classify(err))
	}
	for i, value := range append(rejected.Val(), turnedAway.Val()...) {
		list[i].Places = layout.AsInt(layout.AsString(value))
	}
	return slices.DeleteFunc(list, func(r RefusedPlaces) bool { return r.Places == 0 }), nil
}

// InvoiceLine is one order on a customer's invoices.
type InvoiceLine struct {
	OrderID           string `json:"order_id"`
	EventID           string `json:"event_id"`
	Section           string `json:"section"` // of several items: their sections, with commas between them; empty if it is Archived
	Quantity          int64  `json:"quantity"`
	Amount            int64  `json:"amount"` // minor units
	Currency          string `json:"currency"`
	ConfirmedAtMillis int64  `json:"confirmed_at"` // milliseconds
	Status            string `json:"status"`       // that of the order: confirmed or cancelled
	// Archived reports that its event was forgotten: the order, and which places it had, are in the archive alone.
	Archived bool `json:"archived,omitempty"`

	Items domain.Items `json:"-"`
}

// Invoices reads a customer's lines, oldest first: of the orders that were posted, those that were ever
// confirmed and are this customer's. Redis may have lost an order after it was posted. What an order of an event is that was forgotten, its
// line says, but for its items: they are in the archive.
func (in *Inspector) Invoices(ctx context.Context, customerID string) ([]InvoiceLine, error) {
	orders, err := in.ns.Client.HGetAll(ctx, in.ns.Keys.Invoices(customerID)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading invoices of %s: %w", customerID, access.Classify(err))
	}
	all, err := in.invoices(ctx, []string{customerID}, []map[string]string{orders})
	if err != nil {
		return nil, fmt.Errorf("invoices of %s: %w", customerID, err)
	}
	return all[0], nil
}

// invoices makes lines of what is on the invoices of customers.
func (in *Inspector) invoices(ctx context.Context, customers []string, orders []map[string]string) ([][]InvoiceLine, error) {
	lines := make([][]InvoiceLine, len(customers))
	var refs []domain.OrderRef
	var whose []int
	read := func() error {
		found, err := in.ns.Orders(ctx, refs)
		if err != nil {
			return err
		}
		for i, o := range found {
			c := whose[i]
			if final := orders[c][refs[i].String()]; o.State == domain.OrderNone && final != "" {
				l, err := layout.DecodeLine(customers[c], final)
				if err != nil {
					return fmt.Errorf("order %s: %w", refs[i], err)
				}
				lines[c] = append(lines[c], InvoiceLine{
					OrderID: refs[i].OrderID, EventID: refs[i].EventID, Quantity: l.Quantity, Amount: l.Amount,
					Currency: l.Currency, ConfirmedAtMillis: l.ConfirmedAtMillis, Status: l.State.String(), Archived: true,
				})
			}
			if o.ConfirmedAtMillis > 0 && o.CustomerID == customers[c] {
				lines[c] = append(lines[c], InvoiceLine{
					OrderID: refs[i].OrderID, EventID: refs[i].EventID, Section: o.Items.Sections(), Quantity: o.Items.Quantity(), Amount: o.Amount(),
					Currency: o.Currency, ConfirmedAtMillis: o.ConfirmedAtMillis, Status: o.State.String(), Items: o.Items,
				})
			}
		}
		refs, whose = refs[:0], whose[:0]
		return nil
	}
	for c := range customers {
		lines[c] = []InvoiceLine{}
		for name := range orders[c] {
			ref, ok := domain.ParseOrderRef(name)
			if !ok {
				return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("invoices of %s: %q names no order", customers[c], name))
			}
			refs, whose = append(refs, ref), append(whose, c)
			if len(refs) < access.MaxBatch {
				continue
			}
			if err := read(); err != nil {
				return nil, err
			}
		}
	}
	if err := read(); err != nil {
		return nil, err
	}
	for _, of := range lines {
		sortInvoices(of)
	}
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
	orders := make([]map[string]string, len(customers))
	for i, reply := range replies {
		orders[i] = reply.Val()
	}
	lines, err := in.invoices(ctx, customers, orders)
	if err != nil {
		return err
	}
	for i, customer := range customers {
		if len(lines[i]) == 0 {
			continue
		}
		if err := each(customer, lines[i]); err != nil {
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
