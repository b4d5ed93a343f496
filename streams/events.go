package streams

import (
	"context"
	"fmt"
	"strings"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Events are the events of a namespace, for those who put them on sale.
type Events struct {
	store *Store
	cause domain.Cause // of creating and adjusting them; empty if nobody says
}

// Events hands them out.
func (s *Store) Events() *Events { return &Events{store: s} }

// By hands them out for whoever creates and adjusts them, so that the facts say who, and why.
func (e *Events) By(cause domain.Cause) *Events { return &Events{e.store, cause} }

// Create puts an event on sale. created is false if it is on sale with these terms
// already. Errors: ClassReject for bad terms; domain.ErrConflict if it is there and has
// other terms now, or is closed (domain.CodeEventClosed); domain.CodeUnavailable if there is
// no log (any more) to write it to; domain.ErrUnknownOutcome if it may have been created now.
func (e *Events) Create(ctx context.Context, eventID string, t domain.Terms) (created bool, err error) {
	if err := domain.CheckID("event_id", eventID); err != nil {
		return false, domain.WithCode(domain.ClassReject, domain.CodeInvalid, err)
	}
	if err := t.Validate(); err != nil {
		return false, err
	}
	if err := e.cause.Validate(); err != nil {
		return false, err
	}
	p := e.store.Partition(eventID)
	for range adjustAttempts {
		there, err := e.store.Inside().Event(ctx, eventID)
		if err != nil {
			return false, err
		}
		fact, err := domain.Create(there.Event, eventID, t)
		if err != nil || fact == nil {
			return false, err
		}
		fact.Cause = e.cause
		event, err := domain.ApplyEvent(there.Event, *fact)
		if err != nil {
			return false, err
		}
		fields := layout.EncodeEvent(eventID, event, layout.OrderHashes(t))
		fields[layout.SalesField(eventID)] = layout.Totals{}.String()
		args := []any{eventID, there.Branch, wire.FactLine(*fact), len(fields)}
		for _, of := range []map[string]string{fields, layout.EncodePlaces(eventID, event)} {
			for field, value := range of {
				args = append(args, field, value)
			}
		}
		reply, err := e.store.run(ctx, scriptCreateEvent, e.keys(p), args...).Text()
		if err != nil {
			return false, fmt.Errorf("script create_event: %w", access.ClassifyChange(err))
		}
		switch reply {
		case "listed":
			return true, nil
		case "no log":
			return false, fmt.Errorf("event %s: %w", eventID, noStream(e.store.keys.Log(p)))
		}
	}
	return false, changedByOthers(eventID)
}

// keys are those of the scripts that list an event, or adjust it.
func (e *Events) keys(p int) []string {
	return []string{e.store.keys.Events(p), e.store.keys.Log(p), e.store.keys.Places(p)}
}

// adjustAttempts bounds how often a change starts again because somebody else
// changed the event in between.
const adjustAttempts = 10

func changedByOthers(eventID string) error {
	return domain.WithCode(domain.ClassRetry, domain.CodeConflict, fmt.Errorf("event %s: changed by others %d times in a row, try again", eventID, adjustAttempts))
}

// Adjust gives an event the terms that change makes of its present ones.
// change may be called several times. changed is false if the terms were so already.
// Errors: ClassReject for bad terms, domain.ErrNotFound, domain.ErrUnknownOutcome.
func (e *Events) Adjust(ctx context.Context, eventID string, change func(domain.Terms) (domain.Terms, error)) (changed bool, err error) {
	return e.AdjustEvent(ctx, eventID, func(event domain.Event) (domain.Terms, error) { return change(event.Terms()) })
}

// AdjustEvent is Adjust by all that is known of the event, its seats among it. Seats are moved (Terms.Moves) if each of them is
// then what it was, and not one is if one is held or sold by then: ClassReject, with domain.CodeBelowHeld, which names it.
func (e *Events) AdjustEvent(ctx context.Context, eventID string, change func(domain.Event) (domain.Terms, error)) (changed bool, err error) {
	if err := e.cause.Validate(); err != nil {
		return false, err
	}
	p := e.store.Partition(eventID)
	for range adjustAttempts {
		event, err := e.read(ctx, eventID)
		if err != nil {
			return false, err
		}
		t, err := change(event.Event)
		if err != nil {
			return false, err
		}
		fact, err := domain.Adjust(event.Event, eventID, t)
		if err != nil || fact == nil {
			return false, err
		}
		fact.Cause = e.cause
		after, err := domain.ApplyEvent(event.Event, *fact)
		if err != nil {
			return false, err
		}
		args := e.adjustment(eventID, event, after, *fact)
		reply, err := e.store.run(ctx, scriptAdjustEvent, e.keys(p), args...).StringSlice()
		if err != nil {
			return false, fmt.Errorf("script adjust_event: %w", access.ClassifyChange(err))
		}
		switch reply[0] {
		case "ok":
			return true, nil
		case "taken":
			return false, seatTaken(event.Event, strings.TrimPrefix(reply[1], eventID+"/"), reply[2])
		case "below":
			return false, domain.WithCode(domain.ClassReject, domain.CodeBelowHeld, fmt.Errorf("section %s: the new capacity is below the %s held and %s sold", strings.TrimPrefix(reply[1], eventID+"/"), reply[2], reply[3]))
		}
	}
	return false, changedByOthers(eventID)
}

// Close ends an event's sale. Held orders can still be paid. closed is false if it was
// closed already. Errors: domain.ErrNotFound; ClassReject for a bad
// cause; domain.ErrUnknownOutcome.
func (e *Events) Close(ctx context.Context, eventID string, cause domain.Cause) (closed bool, err error) {
	return e.change(ctx, eventID, func(event domain.Event) (*domain.Fact, error) { return domain.Close(event, eventID, cause) })
}

// change makes what decide says of an event, which must be there. changed is false if that is nothing.
func (e *Events) change(ctx context.Context, eventID string, decide func(domain.Event) (*domain.Fact, error)) (changed bool, err error) {
	p := e.store.Partition(eventID)
	for range adjustAttempts {
		event, err := e.read(ctx, eventID)
		if err != nil {
			return false, err
		}
		fact, err := decide(event.Event)
		if err != nil || fact == nil {
			return false, err
		}
		after, err := domain.ApplyEvent(event.Event, *fact)
		if err != nil {
			return false, err
		}
		fields := layout.EncodeEvent(eventID, after, event.OrderHashes)
		terms, about := fields[layout.TermsField(eventID)], fields[layout.AboutField(eventID)]
		reply, err := e.store.run(ctx, scriptChangeEvent, []string{e.store.keys.Events(p), e.store.keys.Log(p)},
			eventID, event.Branch, event.Version, string(fact.Type), wire.FactLine(*fact), terms, about).Int()
		if err != nil {
			return false, fmt.Errorf("script change_event: %w", access.ClassifyChange(err))
		}
		if reply == 1 {
			return true, nil
		}
	}
	return false, changedByOthers(eventID)
}

// adjustment is what adjust_event.lua is told.
func (e *Events) adjustment(eventID string, event access.Event, after domain.Event, fact domain.Fact) []any {
	fields := layout.EncodeEvent(eventID, after, event.OrderHashes)
	args := []any{
		eventID, event.Branch, event.Version, wire.FactLine(fact), fields[layout.TermsField(eventID)], fields[layout.AboutField(eventID)],
		len(after.Sections), len(fact.Terms.Moves),
	}
	for _, s := range after.Sections {
		kind, more, places := "counted", -s.Blocked, ""
		old, there := event.Section(s.Name)
		if s.Seated() {
			kind, more = "seated", s.Available-old.Available
		}
		if !there {
			places = s.Places
		}
		args = append(args, layout.SectionField(eventID, s.Name), s.Price, s.Capacity, kind, more, layout.Tail(s, after), places)
	}
	for _, m := range fact.Terms.Moves {
		args = append(args, layout.SectionField(eventID, m.Section), m.From, m.To, m.Places)
	}
	for _, a := range after.Allocations {
		for _, c := range a.Codes {
			args = append(args, layout.CodeField(eventID, c.Hash), layout.CodeState(a.Name, c))
		}
	}
	return args
}

// seatTaken says that a seat cannot be moved.
func seatTaken(e domain.Event, section, place string) error {
	name := "at place " + place
	if s, _ := e.Section(section); s.Seated() {
		if l, err := seats.Parse(s.Layout); err == nil {
			if names, err := l.Names(place); err == nil {
				name = names[0]
			}
		}
	}
	return domain.WithCode(domain.ClassReject, domain.CodeBelowHeld, fmt.Errorf("section %s: seat %s is held or sold: nothing changed", section, name))
}

// Reopen lets the sale of a closed event go on, on the terms it has. Orders that were
// cancelled with it stay cancelled. reopened is false if it was not closed. Errors: as Close.
func (e *Events) Reopen(ctx context.Context, eventID string, cause domain.Cause) (reopened bool, err error) {
	return e.change(ctx, eventID, func(event domain.Event) (*domain.Fact, error) { return domain.Reopen(event, eventID, cause) })
}

// Get reads one event. Error: domain.ErrNotFound.
func (e *Events) Get(ctx context.Context, eventID string) (domain.Event, error) {
	event, err := e.read(ctx, eventID)
	return event.Event, err
}

func (e *Events) read(ctx context.Context, eventID string) (access.Event, error) {
	if !domain.ValidID(eventID) {
		return access.Event{}, access.NotFound("event", eventID)
	}
	event, err := e.store.Inside().Event(ctx, eventID)
	if err == nil && !event.Exists() {
		err = access.NoEvent(eventID, event.Event)
	}
	return event, err
}

// EachForgotten calls each for the events of a partition that were forgotten, in no order, with when that was; for some perhaps more than once.
func (e *Events) EachForgotten(ctx context.Context, p int, each func(eventID string, atMillis int64)) error {
	err := e.store.Inside().EachTerms(ctx, p, func(id string, terms layout.EventTerms) {
		if terms.Over != "" {
			each(id, domain.EntryMillis(terms.Over))
		}
	})
	if err != nil {
		return fmt.Errorf("listing events: %w", err)
	}
	return nil
}

// IDs lists the events of a partition that were ever put on sale, and were not forgotten, in no order.
func (e *Events) IDs(ctx context.Context, p int) ([]string, error) {
	return e.store.Inside().EventIDs(ctx, p)
}
