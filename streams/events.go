package streams

import (
	"context"
	"encoding/json"
	"fmt"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Events are the events of a namespace, for those who put them on sale.
type Events struct{ store *Store }

// Events hands them out.
func (s *Store) Events() *Events { return &Events{s} }

// Create puts an event on sale. created is false if it is on sale with these terms
// already. Errors: ClassReject for bad terms; domain.ErrConflict if it is there and has
// other terms now, or is closed (domain.CodeEventClosed); domain.CodeUnavailable if there is
// no log (any more) to write it to; domain.ErrUnknownOutcome if it may have been created now.
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
	case -1:
		return false, fmt.Errorf("event %s: %w", eventID, noStream(e.store.keys.Log(p)))
	case 1:
		return true, nil
	}
	there, err := e.Get(ctx, eventID)
	if err != nil {
		return false, err
	}
	_, err = domain.Create(there, eventID, t)
	return false, err
}

func appendSections(args []any, t domain.Terms) []any {
	args = append(args, len(t.Sections))
	for _, section := range t.Sections {
		args = append(args, section.Name, section.Price, section.Capacity)
	}
	return args
}

// adjustAttempts bounds how often Adjust and Reopen start again because somebody else
// changed the event in between.
const adjustAttempts = 10

func changedByOthers(eventID string) error {
	return domain.WithCode(domain.ClassRetry, domain.CodeConflict, fmt.Errorf("event %s: changed by others %d times in a row, try again", eventID, adjustAttempts))
}

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
			return false, domain.WithCode(domain.ClassReject, domain.CodeBelowHeld, fmt.Errorf("section %s: the new capacity is below the %s held and %s sold", reply[1], reply[2], reply[3]))
		}
	}
	return false, changedByOthers(eventID)
}

// Close ends an event's sale. Held orders can still be paid. closed is false if it was
// closed already. Errors: domain.ErrNotFound; ClassReject for a bad
// cause; domain.ErrUnknownOutcome.
func (e *Events) Close(ctx context.Context, eventID string, cause domain.Cause) (closed bool, err error) {
	return e.end(ctx, domain.Fact{Type: domain.FactClosed, EventID: eventID, Cause: cause})
}

// end closes an event, or cancels it.
func (e *Events) end(ctx context.Context, fact domain.Fact) (ended bool, err error) {
	if !domain.ValidID(fact.EventID) {
		return false, access.NotFound("event", fact.EventID)
	}
	if err := fact.Cause.Validate(); err != nil {
		return false, err
	}
	cancels := "0"
	if fact.Type == domain.FactEventCancelled {
		cancels = "1"
	}
	p := e.store.Partition(fact.EventID)
	fields := wire.FactFields(fact)
	reply, err := e.store.run(ctx, scriptCloseEvent, []string{e.store.keys.Event(p, fact.EventID), e.store.keys.Log(p)},
		cancels, fields[0], fields[1], fact.Cause.Reason, fact.Cause.By).Int()
	if err != nil {
		return false, fmt.Errorf("script close_event: %w", access.ClassifyChange(err))
	}
	if reply < 0 {
		return false, access.NotFound("event", fact.EventID)
	}
	return reply == 1, nil
}

// Reopen lets the sale of a closed event go on, on the terms it has. Orders that were
// cancelled with it stay cancelled. reopened is false if it was not closed. Errors: as Close.
func (e *Events) Reopen(ctx context.Context, eventID string, cause domain.Cause) (reopened bool, err error) {
	p := e.store.Partition(eventID)
	for range adjustAttempts {
		event, err := e.Get(ctx, eventID)
		if err != nil {
			return false, err
		}
		fact, err := domain.Reopen(event, eventID, cause)
		if err != nil || fact == nil {
			return false, err
		}
		fields := wire.FactFields(*fact)
		reply, err := e.store.run(ctx, scriptReopenEvent, []string{e.store.keys.Event(p, eventID), e.store.keys.Log(p)}, event.Version, fields[0], fields[1]).Int()
		if err != nil {
			return false, fmt.Errorf("script reopen_event: %w", access.ClassifyChange(err))
		}
		if reply == 1 {
			return true, nil
		}
	}
	return false, changedByOthers(eventID)
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
