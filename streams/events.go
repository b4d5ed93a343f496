package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"holdfast/domain"
)

// CreateEvent puts an event on sale. created is false if it was listed with the
// same terms before. Errors: ClassReject for bad terms, domain.ErrConflict if it
// was listed with other terms.
func (s *Store) CreateEvent(ctx context.Context, eventID string, t domain.Terms) (created bool, err error) {
	if _, err := domain.Create(domain.Event{}, eventID, t); err != nil {
		return false, err
	}
	terms, err := json.Marshal(t)
	if err != nil {
		return false, fmt.Errorf("encoding terms: %w", err)
	}
	p := PartitionOf(eventID, s.partitions)
	args := []any{eventID, t.Fingerprint(), terms, t.Name, t.Currency, t.MaxPerOrder, t.OnSaleMillis, t.OffSaleMillis}
	reply, err := s.run(ctx, scriptCreateEvent,
		[]string{s.keys.event(p, eventID), s.keys.log(p), s.keys.salesSummary(p), s.keys.inProgress(p, eventID)}, appendSections(args, t)...).Int()
	if err != nil {
		return false, fmt.Errorf("script create_event: %w", classify(err))
	}
	if reply < 0 {
		return false, domain.WithClass(domain.ClassReject, fmt.Errorf("event %s: %w: it is listed with other terms (see events show; change them with events adjust)", eventID, domain.ErrConflict))
	}
	return reply == 1, nil
}

func appendSections(args []any, t domain.Terms) []any {
	args = append(args, len(t.Sections))
	for _, section := range t.Sections {
		args = append(args, section.Name, section.Price, section.Capacity)
	}
	return args
}

// adjustAttempts bounds how often AdjustEvent starts again because somebody else
// adjusted the event, or sold from it, in between.
const adjustAttempts = 10

// AdjustEvent gives an event the terms that change makes of its present ones.
// change may be called several times. changed is false if the terms were so already.
// Errors: ClassReject for bad terms, domain.ErrNotFound.
func (s *Store) AdjustEvent(ctx context.Context, eventID string, change func(domain.Terms) (domain.Terms, error)) (changed bool, err error) {
	p := PartitionOf(eventID, s.partitions)
	for range adjustAttempts {
		event, err := s.Event(ctx, eventID)
		if err != nil {
			return false, err
		}
		t, err := change(event.Terms())
		if err != nil {
			return false, err
		}
		fact, err := domain.Adjust(event, eventID, t)
		if err != nil || fact == nil {
			return false, err
		}
		terms, err := json.Marshal(t)
		if err != nil {
			return false, fmt.Errorf("encoding terms: %w", err)
		}
		args := []any{eventID, event.Version, terms, t.Name, t.MaxPerOrder, t.OnSaleMillis, t.OffSaleMillis}
		reply, err := s.run(ctx, scriptAdjustEvent, []string{s.keys.event(p, eventID), s.keys.log(p)}, appendSections(args, t)...).StringSlice()
		if err != nil {
			return false, fmt.Errorf("script adjust_event: %w", classify(err))
		}
		switch reply[0] {
		case "ok":
			return true, nil
		case "below":
			return false, domain.WithClass(domain.ClassReject, fmt.Errorf("section %s: the new capacity is below the %s held and %s sold", reply[1], reply[2], reply[3]))
		}
	}
	return false, fmt.Errorf("event %s: changed by others %d times in a row, try again", eventID, adjustAttempts)
}

// CloseEvent ends an event's sale for good. Held orders can still be paid.
// Closing it again is harmless. Error: domain.ErrNotFound.
func (s *Store) CloseEvent(ctx context.Context, eventID string) error {
	if !domain.ValidID(eventID) {
		return notFound("event", eventID)
	}
	p := PartitionOf(eventID, s.partitions)
	reply, err := s.run(ctx, scriptCloseEvent, []string{s.keys.event(p, eventID), s.keys.log(p)}, eventID).Int()
	if err != nil {
		return fmt.Errorf("script close_event: %w", classify(err))
	}
	if reply < 0 {
		return notFound("event", eventID)
	}
	return nil
}

func notFound(what, id string) error {
	return domain.WithClass(domain.ClassReject, fmt.Errorf("%s %q: %w", what, id, domain.ErrNotFound))
}

// Event reads one event. Error: domain.ErrNotFound.
func (s *Store) Event(ctx context.Context, eventID string) (domain.Event, error) {
	if !domain.ValidID(eventID) {
		return domain.Event{}, notFound("event", eventID)
	}
	h, err := s.rdb.HGetAll(ctx, s.keys.event(PartitionOf(eventID, s.partitions), eventID)).Result()
	if err != nil {
		return domain.Event{}, fmt.Errorf("reading event %s: %w", eventID, classify(err))
	}
	if len(h) == 0 {
		return domain.Event{}, notFound("event", eventID)
	}
	return decodeEvent(h)
}

// EventIDs lists the listed events of a partition, in no order.
func (s *Store) EventIDs(ctx context.Context, p int) ([]string, error) {
	ids, err := s.rdb.HKeys(ctx, s.keys.salesSummary(p)).Result()
	if err != nil {
		return nil, fmt.Errorf("listing events: %w", classify(err))
	}
	return ids, nil
}

// Totals are the sales of one event.
type Totals struct {
	Orders      int64
	TicketsSold int64
	Revenue     int64 // minor units
}

// Sales reads what was posted for an event.
func (s *Store) Sales(ctx context.Context, eventID string) (Totals, error) {
	raw, err := s.rdb.HGet(ctx, s.keys.salesSummary(PartitionOf(eventID, s.partitions)), eventID).Result()
	if err != nil {
		if isNil(err) {
			return Totals{}, notFound("event", eventID)
		}
		return Totals{}, fmt.Errorf("reading sales of %s: %w", eventID, classify(err))
	}
	return decodeTotals(raw)
}

func decodeTotals(raw string) (Totals, error) {
	var t Totals
	var n [3]int64
	rest := raw
	for i := range n {
		var digits string
		digits, rest = cutComma(rest)
		v, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return t, damaged("sales", raw)
		}
		n[i] = v
	}
	if rest != "" {
		return t, damaged("sales", raw)
	}
	return Totals{Orders: n[0], TicketsSold: n[1], Revenue: n[2]}, nil
}

func cutComma(s string) (before, after string) {
	for i := range len(s) {
		if s[i] == ',' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
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
func (s *Store) Invoices(ctx context.Context, customerID string) ([]InvoiceLine, error) {
	h, err := s.rdb.HGetAll(ctx, s.keys.invoices(customerID)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading invoices of %s: %w", customerID, classify(err))
	}
	lines := make([]InvoiceLine, 0, len(h))
	for field, value := range h {
		line, err := decodeInvoiceLine(field, value)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	sortInvoices(lines)
	return lines, nil
}

func decodeInvoiceLine(field, value string) (InvoiceLine, error) {
	var line InvoiceLine
	ref, ok := domain.ParseOrderRef(field)
	if !ok {
		return line, damaged("invoice line", field)
	}
	if err := json.Unmarshal([]byte(value), &line); err != nil {
		return line, errors.Join(damaged("invoice line "+field, value), err)
	}
	line.EventID, line.OrderID = ref.EventID, ref.OrderID
	return line, nil
}
