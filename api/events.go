package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
	"holdfast/domain/seats"
)

// Events is what is on sale.
type Events interface {
	// IDs lists the events of the namespace.
	IDs(ctx context.Context) ([]string, error)
	// Get reads one. Error: domain.ErrNotFound.
	Get(ctx context.Context, eventID string) (domain.Event, error)
}

// Section is a section of an event, or its places of an allocation, with what is left of it.
type Section struct {
	Section    string `json:"section"`
	Allocation string `json:"allocation" doc:"public: the places that are for everybody. Others need an access code."`
	Kind       string `json:"kind" enum:"counted,seated"`
	Price      int64  `json:"price" doc:"Minor units."`
	Capacity   int64  `json:"capacity"`
	Available  int64  `json:"available"`
}

// Event is an event with its prices, and what is left.
type Event struct {
	EventID        string    `json:"event_id"`
	Name           string    `json:"name"`
	Currency       string    `json:"currency"`
	OnSaleMillis   int64     `json:"on_sale,omitempty" doc:"When its sale begins."`
	OffSaleMillis  int64     `json:"off_sale,omitempty" doc:"When its sale ends."`
	Closed         bool      `json:"closed" doc:"Its sale is over, whatever the times say."`
	Cancelled      bool      `json:"cancelled"`
	MaxPerOrder    int64     `json:"max_per_order,omitempty"`
	MaxPerCustomer int64     `json:"max_per_customer,omitempty"`
	NoOrphans      bool      `json:"no_orphans,omitempty" doc:"Seats by name must leave no single seat alone."`
	Available      int64     `json:"available" doc:"Of all sections, for everybody."`
	Sections       []Section `json:"sections" nullable:"false"`
}

// SeatsOfSection are the seats of a section, as they stand.
type SeatsOfSection struct {
	Section string `json:"section"`
	Rows    []Row  `json:"rows" nullable:"false" doc:"From the best to the worst."`
}

// Row is a row of seats.
type Row struct {
	Row   string `json:"row"`
	Seats []Seat `json:"seats" nullable:"false" doc:"As they stand side by side."`
}

// Seat is a seat, and whether it is free.
type Seat struct {
	Seat       string `json:"seat" doc:"Its name, ROW-NUMBER."`
	State      string `json:"state" enum:"free,held,sold,blocked"`
	Allocation string `json:"allocation,omitempty" doc:"Of a free or blocked one that is not for everybody."`
	AisleAfter bool   `json:"aisle_after,omitempty"`
}

// EventSeats are all seats of an event.
type EventSeats struct {
	EventID  string           `json:"event_id"`
	Sections []SeatsOfSection `json:"sections" nullable:"false"`
}

// EventList is a page of events.
type EventList struct {
	Events []Event `json:"events" nullable:"false"`
	Next   string  `json:"next,omitempty" doc:"The cursor of the next page; left out if this is the last."`
}

func viewEvent(id string, e domain.Event) Event {
	v := Event{
		EventID: id, Name: e.Name, Currency: e.Currency, OnSaleMillis: e.OnSaleMillis, OffSaleMillis: e.OffSaleMillis, Closed: e.Closed, Cancelled: e.Cancelled,
		MaxPerOrder: e.MaxPerOrder, MaxPerCustomer: e.MaxPerCustomer, NoOrphans: e.NoOrphans, Sections: []Section{},
	}
	for _, s := range e.Sections {
		kind := "counted"
		if s.Seated() {
			kind = "seated"
		}
		section, allocation := domain.SplitPool(s.Name)
		if allocation == seats.Public {
			v.Available += s.Available
		}
		v.Sections = append(v.Sections, Section{section, allocation, kind, s.Price, s.Capacity, s.Available})
	}
	return v
}

func viewSeats(id string, e domain.Event) (EventSeats, error) {
	v := EventSeats{EventID: id, Sections: []SeatsOfSection{}}
	for _, s := range e.Sections {
		if s.Layout == "" { // counted, or seats of an allocation, which are among those of their section
			continue
		}
		allocations := e.SeatAllocations(s.Name)
		layout, err := seats.Parse(s.Layout)
		if err == nil {
			err = layout.CheckPlaces(s.Places, len(allocations))
		}
		if err != nil {
			return v, domain.WithClass(domain.ClassPoison, fmt.Errorf("event %s: section %s: %w", id, s.Name, err))
		}
		of := SeatsOfSection{Section: s.Name, Rows: []Row{}}
		place := 0
		for _, row := range layout.Rows() {
			r := Row{Row: row.Name, Seats: make([]Seat, 0, len(row.Seats))}
			for _, seat := range row.Seats {
				state, _ := seats.StateOf(s.Places[place])
				v := Seat{fmt.Sprintf("%s-%d", row.Name, seat.Number), state.String(), "", seat.AisleAfter}
				if n := seats.AllocationOf(s.Places[place]); n > 0 {
					v.Allocation = allocations[n-1]
				}
				r.Seats = append(r.Seats, v)
				place++
				if seat.AisleAfter {
					place++
				}
			}
			of.Rows = append(of.Rows, r)
			place++ // the end of the row
		}
		v.Sections = append(v.Sections, of)
	}
	return v, nil
}

// How old what is told of events may be, and of how many that is remembered.
const (
	glanceLasts = 250 * time.Millisecond
	glanceLook  = 2 * time.Second
	mostGlances = 4096
)

// glances are looks at events. However many ask for one, Redis is asked once for all of them.
type glances struct {
	from   Events
	beside *background

	mu    sync.Mutex
	looks map[string]*glance // under way, or done
	known map[string]*glance // the newest that found its event
}

// glance is a look at one event. What it has found can be read once done is closed.
type glance struct {
	began time.Time
	done  chan struct{}
	event domain.Event
	ids   []string // of the look at all
	err   error
	shown [2]shownOnce // the event, and its seats
}

// shownOnce is what a look is told as.
type shownOnce struct {
	once sync.Once
	page page
	err  error
}

// page is an answer that is the same for everybody.
type page struct {
	body []byte
	etag string
}

func newGlances(from Events, beside *background) *glances {
	return &glances{from: from, beside: beside, looks: make(map[string]*glance), known: make(map[string]*glance)}
}

// all is a name that no event has: of the look at which there are.
const all = "*"

// at is a look at an event, or at all, that is not older than is told.
func (g *glances) at(ctx context.Context, eventID string) (*glance, error) {
	return g.within(ctx, eventID, glanceLasts)
}

// within is a look that is not older than that.
func (g *glances) within(ctx context.Context, eventID string, old time.Duration) (*glance, error) {
	g.mu.Lock()
	look := g.fresh(eventID, old)
	g.mu.Unlock()
	select {
	case <-look.done:
		return look, look.err
	case <-ctx.Done():
		return nil, fmt.Errorf("event %s: %w", eventID, ctx.Err())
	}
}

// fresh is within, but for the wait until it is done. The caller has the lock.
func (g *glances) fresh(eventID string, old time.Duration) *glance {
	look, now := g.looks[eventID], time.Now()
	if look != nil && now.Sub(look.began) < old {
		return look
	}
	if len(g.looks) >= mostGlances {
		clear(g.looks)
		clear(g.known)
	}
	look = &glance{began: now, done: make(chan struct{})}
	g.looks[eventID] = look
	g.beside.goes(func(ctx context.Context) { g.look(ctx, eventID, look) })
	return look
}

// latest is what is known of an event without waiting: of a look that is not older than that. It sees to it that there is one soon.
func (g *glances) latest(eventID string, old time.Duration) (event domain.Event, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fresh(eventID, glanceLasts)
	look := g.known[eventID]
	if look == nil || time.Since(look.began) > old {
		return event, false
	}
	return look.event, true
}

func (g *glances) look(ctx context.Context, eventID string, look *glance) {
	defer close(look.done)
	ctx, cancel := context.WithTimeout(ctx, glanceLook)
	defer cancel()
	if eventID == all {
		look.ids, look.err = g.from.IDs(ctx)
		slices.Sort(look.ids)
		return
	}
	if look.event, look.err = g.from.Get(ctx, eventID); look.err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if before := g.known[eventID]; before == nil || before.began.Before(look.began) {
		g.known[eventID] = look
	}
}

// show is what is made of a look, once.
func (g *glance) show(which int, view func() (any, error)) (page, error) {
	s := &g.shown[which]
	s.once.Do(func() {
		var v any
		if v, s.err = view(); s.err != nil {
			return
		}
		if s.page.body, s.err = json.Marshal(v); s.err != nil {
			return
		}
		s.page.body = append(s.page.body, '\n')
		sum := sha256.Sum256(s.page.body)
		s.page.etag = `"` + hex.EncodeToString(sum[:8]) + `"`
	})
	return s.page, s.err
}

// pageOutput is an answer that is made once for many.
type pageOutput struct {
	Status       int
	ContentType  string `header:"Content-Type"`
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Vary         string `header:"Vary"`
	Body         []byte
}

// cached is a page, or that it is still the one that the caller has.
func cached(p page, ifNoneMatch string) *pageOutput {
	out := &pageOutput{Status: http.StatusOK, ContentType: "application/json", ETag: p.etag, CacheControl: "private, max-age=1", Vary: "Authorization", Body: p.body}
	for part := range strings.SplitSeq(ifNoneMatch, ",") {
		if part = strings.TrimSpace(part); part == p.etag || part == "W/"+p.etag || part == "*" {
			out.Status, out.ContentType, out.Body = http.StatusNotModified, "", nil
		}
	}
	return out
}

// pageOf are the responses of an endpoint that answers with a page of T.
func pageOf[T any](s *Server) map[string]*huma.Response {
	return map[string]*huma.Response{
		"200": {Description: "OK", Content: map[string]*huma.MediaType{"application/json": {Schema: schemaOf[T](s)}}},
		"304": {Description: "It is still the one of If-None-Match."},
	}
}

type eventInput struct {
	Event       string `path:"event" doc:"event_id." maxLength:"128"`
	IfNoneMatch string `header:"If-None-Match" doc:"An ETag of before: 304 says that nothing has changed."`
}

func (s *Server) registerEvents() {
	register(s, huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: "/v1/events", Summary: "List what is on sale, with prices and what is left", Tags: []string{"events"},
	}, anyone, s.listEvents)
	register(s, huma.Operation{
		OperationID: "event", Method: http.MethodGet, Path: "/v1/events/{event}", Summary: "Show prices, and what is left", Tags: []string{"events"},
		Description: "A quarter of a second old at most.", Responses: pageOf[Event](s),
	}, anyone, s.showEvent)
	register(s, huma.Operation{
		OperationID: "event-seats", Method: http.MethodGet, Path: "/v1/events/{event}/seats", Summary: "Show which seats are free", Tags: []string{"events"},
		Description: "A quarter of a second old at most. Sections without seats are not listed.", Responses: pageOf[EventSeats](s),
	}, anyone, s.showSeats)
}

func (s *Server) showEvent(ctx context.Context, in *eventInput) (*pageOutput, error) {
	p, err := s.eventPageOf(ctx, in.Event, glanceLasts)
	if err != nil {
		return nil, s.problem(err).of(domain.OrderRef{EventID: in.Event})
	}
	return cached(p, in.IfNoneMatch), nil
}

// eventPageOf is an event as everybody is told of it, by a look that is not older than that.
func (s *Server) eventPageOf(ctx context.Context, id string, old time.Duration) (page, error) {
	look, err := s.events.within(ctx, id, old)
	if err != nil {
		return page{}, err
	}
	return look.show(0, func() (any, error) { return viewEvent(id, look.event), nil })
}

func (s *Server) showSeats(ctx context.Context, in *eventInput) (*pageOutput, error) {
	look, err := s.events.at(ctx, in.Event)
	if err != nil {
		return nil, s.problem(err).of(domain.OrderRef{EventID: in.Event})
	}
	p, err := look.show(1, func() (any, error) { return viewSeats(in.Event, look.event) })
	if err != nil {
		return nil, s.problem(err)
	}
	return cached(p, in.IfNoneMatch), nil
}

// Paging is how lists are read page by page.
type Paging struct {
	Limit  int    `query:"limit" doc:"How many at most." minimum:"1" maximum:"1000" default:"100"`
	Cursor string `query:"cursor" maxLength:"512" doc:"next of the page before, as it was given."`
}

// eventPage is the part of all events that the caller may see and asks for, in the order of their ids.
func (s *Server) eventPage(ctx context.Context, p Paging) (ids []string, next string, err error) {
	look, err := s.events.at(ctx, all)
	if err != nil {
		return nil, "", err
	}
	from, found := slices.BinarySearch(look.ids, p.Cursor)
	if found {
		from++
	}
	caller := callerOf(ctx)
	for _, id := range look.ids[from:] {
		if !caller.key.MayEvent(id) {
			continue
		}
		if len(ids) == cmp.Or(p.Limit, 100) {
			return ids, ids[len(ids)-1], nil
		}
		ids = append(ids, id)
	}
	return ids, "", nil
}

// went reports whether an event is not there any more: it may have been forgotten since it was listed.
func went(err error) bool {
	return errors.Is(err, domain.ErrNotFound) || domain.CodeOf(err) == domain.CodeEventOver
}

func (s *Server) listEvents(ctx context.Context, in *struct{ Paging }) (*struct{ Body EventList }, error) {
	ids, next, err := s.eventPage(ctx, in.Paging)
	if err != nil {
		return nil, s.problem(err)
	}
	list := EventList{Events: []Event{}, Next: next}
	for _, id := range ids {
		look, err := s.events.at(ctx, id)
		if went(err) {
			continue
		}
		if err != nil {
			return nil, s.problem(err)
		}
		list.Events = append(list.Events, viewEvent(id, look.event))
	}
	return &struct{ Body EventList }{list}, nil
}
