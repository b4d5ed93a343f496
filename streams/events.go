package streams

import (
	"context"
	"encoding/json"
	"fmt"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Events are the events of a namespace, for those who put them on sale.
type Events struct{ store *Store }

// Events hands them out.
func (s *Store) Events() *Events { return &Events{s} }

// Create puts an event on sale. created is false if it was listed with the
// same terms before. Errors: ClassReject for bad terms, domain.ErrConflict if it
// was listed with other terms, domain.CodeUnavailable if there is no log (any more) to write
// it to, domain.ErrUnknownOutcome if it may have been created now.
func (e *Events) Create(ctx context.Context, eventID string, t domain.Terms) (created bool, err error) {
	if _, err := domain.Create(domain.Event{}, eventID, t); err != nil {
		return false, err
	}
	terms, err := json.Marshal(t)
	if err != nil {
		return false, fmt.Errorf("encoding terms: %w", err)
	}
	p := e.store.Partition(eventID)
	args := []any{eventID, t.Fingerprint(), terms, t.Name, t.Currency, t.MaxPerOrder, t.OnSaleMillis, t.OffSaleMillis}
	reply, err := e.store.run(ctx, scriptCreateEvent,
		[]string{e.store.keys.Event(p, eventID), e.store.keys.Log(p), e.store.keys.SalesSummary(p), e.store.keys.InProgress(p, eventID)}, appendSections(args, t)...).Int()
	if err != nil {
		return false, fmt.Errorf("script create_event: %w", access.ClassifyChange(err))
	}
	switch reply {
	case -2:
		return false, fmt.Errorf("event %s: %w", eventID, noStream(e.store.keys.Log(p)))
	case -1:
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

// adjustAttempts bounds how often Adjust starts again because somebody else
// adjusted the event, or sold from it, in between.
const adjustAttempts = 10

// Adjust gives an event the terms that change makes of its present ones.
// change may be called several times. changed is false if the terms were so already.
// Errors: ClassReject for bad terms, domain.ErrNotFound, domain.ErrUnknownOutcome.
func (e *Events) Adjust(ctx context.Context, eventID string, change func(domain.Terms) (domain.Terms, error)) (changed bool, err error) {
	p := e.store.Partition(eventID)
	for range adjustAttempts {
		event, err := e.Get(ctx, eventID)
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
		reply, err := e.store.run(ctx, scriptAdjustEvent, []string{e.store.keys.Event(p, eventID), e.store.keys.Log(p)}, appendSections(args, t)...).StringSlice()
		if err != nil {
			return false, fmt.Errorf("script adjust_event: %w", access.ClassifyChange(err))
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

// Close ends an event's sale for good. Held orders can still be paid.
// Closing it again is harmless. Errors: domain.ErrNotFound, domain.ErrUnknownOutcome.
func (e *Events) Close(ctx context.Context, eventID string) error {
	if !domain.ValidID(eventID) {
		return access.NotFound("event", eventID)
	}
	p := e.store.Partition(eventID)
	reply, err := e.store.run(ctx, scriptCloseEvent, []string{e.store.keys.Event(p, eventID), e.store.keys.Log(p)}, eventID).Int()
	if err != nil {
		return fmt.Errorf("script close_event: %w", access.ClassifyChange(err))
	}
	if reply < 0 {
		return access.NotFound("event", eventID)
	}
	return nil
}

// Get reads one event. Error: domain.ErrNotFound.
func (e *Events) Get(ctx context.Context, eventID string) (domain.Event, error) {
	if !domain.ValidID(eventID) {
		return domain.Event{}, access.NotFound("event", eventID)
	}
	h, err := e.store.rdb.HGetAll(ctx, e.store.keys.Event(e.store.Partition(eventID), eventID)).Result()
	if err != nil {
		return domain.Event{}, fmt.Errorf("reading event %s: %w", eventID, access.Classify(err))
	}
	if len(h) == 0 {
		return domain.Event{}, access.NotFound("event", eventID)
	}
	return layout.DecodeEvent(h)
}

// IDs lists the events of a partition that were ever put on sale, in no order.
func (e *Events) IDs(ctx context.Context, p int) ([]string, error) {
	return e.store.Inside().EventIDs(ctx, p)
}
