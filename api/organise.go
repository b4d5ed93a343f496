package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
	"holdfast/domain/seats"
)

// Organising is what organisers do with events.
type Organising interface {
	// Create puts an event on sale; created is false if it is on sale with these terms already.
	Create(ctx context.Context, eventID string, t domain.Terms, cause domain.Cause) (created bool, err error)
	// Adjust gives an event the terms that change makes of its present ones.
	Adjust(ctx context.Context, eventID string, change func(domain.Event) (domain.Terms, error), cause domain.Cause) (changed bool, err error)
	Close(ctx context.Context, eventID string, cause domain.Cause) (closed bool, err error)
	Reopen(ctx context.Context, eventID string, cause domain.Cause) (reopened bool, err error)
	// CallOff ends an event's sale and cancels its orders. Calling it again goes on with what is left.
	CallOff(ctx context.Context, eventID string, cause domain.Cause) (CalledOff, error)
}

// CalledOff is what has become of an event's orders.
type CalledOff struct {
	Before    bool `json:"before" doc:"It was called off already."`
	Held      int  `json:"orders_held" doc:"Orders that are cancelled with it, by now, and were only held."`
	Confirmed int  `json:"orders_confirmed" doc:"Orders that are cancelled with it, by now, and whose money workers give back."`
}

// SectionTerms is what is offered in one section.
type SectionTerms struct {
	Section  string `json:"section" minLength:"1" maxLength:"128"`
	Price    *int64 `json:"price,omitempty" minimum:"0" doc:"Minor units. Needed for a new section."`
	Capacity *int64 `json:"capacity,omitempty" minimum:"0" maximum:"100000000" doc:"How many places, those of its allocations included; of a section without seats."`
	Rows     string `json:"rows,omitempty" maxLength:"1048576" doc:"Of a section with seats: its rows from the best to the worst, if it is new, such as A:1-12/13-24,B:1-26."`

	Blocked *int64   `json:"blocked,omitempty" minimum:"0" maximum:"100000000" doc:"How many of its places for everybody are not for sale, in all; of a section without seats."`
	Block   []string `json:"block,omitempty" minItems:"1" maxItems:"100000" nullable:"false" doc:"Seats that are not for sale, of an event that is there."`
	Unblock []string `json:"unblock,omitempty" minItems:"1" maxItems:"100000" nullable:"false" doc:"Seats that are for sale again, likewise."`
}

// AllocationTerms is who may take which places.
type AllocationTerms struct {
	Allocation string            `json:"allocation" minLength:"1" maxLength:"128" doc:"Seats of the allocation public are for everybody."`
	OnSale     *int64            `json:"on_sale,omitempty" minimum:"0" doc:"0: with the event."`
	OffSale    *int64            `json:"off_sale,omitempty" minimum:"0" doc:"0: with the event."`
	Places     []AllocatedPlaces `json:"places,omitempty" maxItems:"200" nullable:"false"`
	Codes      []domain.Secret   `json:"codes,omitempty" minItems:"1" maxItems:"1000" nullable:"false" doc:"Access codes that open it. They are in no answer, and stored as hashes."`
	CodeUses   int64             `json:"code_uses,omitempty" minimum:"1" maximum:"1000000" doc:"By how many orders at once each of these codes can be used. Default: any number."`
}

// AllocatedPlaces are places of a section that are of an allocation.
type AllocatedPlaces struct {
	Section string   `json:"section" minLength:"1" maxLength:"128"`
	Places  *int64   `json:"places,omitempty" minimum:"0" maximum:"100000000" doc:"How many, in all; of a section without seats."`
	Seats   []string `json:"seats,omitempty" minItems:"1" maxItems:"100000" nullable:"false" doc:"These seats, of an event that is there. Of a new one its rows say it."`
	Blocked *int64   `json:"blocked,omitempty" minimum:"0" maximum:"100000000" doc:"How many of them are not for sale, in all; of a section without seats."`
}

// EventTerms is what an organiser says about an event. When it is adjusted, what is left out stays as it is.
type EventTerms struct {
	Name           *string        `json:"name,omitempty" minLength:"1" maxLength:"256"`
	MaxPerOrder    *int64         `json:"max_per_order,omitempty" minimum:"0" doc:"0: no limit."`
	MaxPerCustomer *int64         `json:"max_per_customer,omitempty" minimum:"0" doc:"Of an event that was created with such a limit."`
	NoOrphans      *bool          `json:"no_orphans,omitempty"`
	OnSale         *int64         `json:"on_sale,omitempty" minimum:"0" doc:"0: at once."`
	OffSale        *int64         `json:"off_sale,omitempty" minimum:"0" doc:"0: never."`
	Sections       []SectionTerms `json:"sections,omitempty" maxItems:"200" nullable:"false" doc:"Sections to add, or to change."`

	LateApproval *int64            `json:"late_approval_for,omitempty" minimum:"0" maximum:"86400000" doc:"For how many milliseconds after its hold has run out an order whose payment is approved gets its places again, if they are free. 0: the money is given back."`
	Allocations  []AllocationTerms `json:"allocations,omitempty" maxItems:"27" nullable:"false" doc:"Allocations to add, or to change."`
	Reason       string            `json:"reason,omitempty" maxLength:"512" doc:"Why, for people. Who asked for it is the name of the key."`
	RevokeCodes  []domain.Secret   `json:"revoke_codes,omitempty" minItems:"1" maxItems:"1000" nullable:"false" doc:"Access codes that open nothing any more. Orders that used them stay."`
}

// NewEvent is an event that is to be put on sale.
type NewEvent struct {
	EventID  string `json:"event_id" minLength:"1" maxLength:"128"`
	Currency string `json:"currency" minLength:"3" maxLength:"3"`
	EventTerms
}

// Changed is what was done to an event.
type Changed struct {
	EventID string `json:"event_id"`
	Changed bool   `json:"changed" doc:"false: it was so already."`
}

// CauseRequest is why something is done to an event. Who asked for it is the name of the key.
type CauseRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"512"`
}

var organisers = []domain.APIRole{domain.APIOrganiser, domain.APIAdmin}

// maxTermsBytes is more than the layouts of an event have.
const maxTermsBytes = 2 << 20

func (s *Server) registerOrganising() {
	op := func(id, path, summary, description string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, Description: description, Tags: []string{"organisers"}, MaxBodyBytes: maxTermsBytes}
	}
	create := op("event-create", "/v1/events", "Put an event on sale", "201: it is. 200: it was already, with these very terms.")
	create.Responses = map[string]*huma.Response{"201": {Description: "It is on sale now.", Content: map[string]*huma.MediaType{"application/json": {Schema: schemaOf[Changed](s)}}}}
	register(s, create, organisers, s.createEvent)
	register(s, op("event-adjust", "/v1/events/{event}/adjust", "Change capacities, prices, sections, dates or the name", "What is left out stays as it is. Orders keep their price."), organisers, s.adjustEvent)
	register(s, op("event-close", "/v1/events/{event}/close", "End the sale", "What is held can still be paid."), organisers, s.because(s.deps.Organising, Organising.Close))
	register(s, op("event-reopen", "/v1/events/{event}/reopen", "Let the sale go on", "Orders that were cancelled stay so."), organisers, s.because(s.deps.Organising, Organising.Reopen))
	register(s, op("event-call-off", "/v1/events/{event}/call-off", "End the sale, cancel all orders, and give everybody their money back",
		"It cannot be undone. 503 outcome_not_known: it goes on with what is left when the same is sent again."), organisers, s.callOff)
}

// invalid says what is wrong with a request, and where in it.
func invalid(format string, args ...any) error {
	return domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf(format, args...))
}

// organisedBy are the terms of an event with what is said. event is as it is, the zero Event if it is not there yet.
func (e EventTerms) organisedBy(keys domain.CodeKeys, eventID string, event domain.Event, t domain.Terms) (domain.Terms, error) {
	t, err := e.apply(t)
	for i := 0; err == nil && i < len(e.Allocations); i++ {
		if t, err = e.Allocations[i].apply(keys, eventID, event, t); err != nil {
			err = asInvalid(fmt.Sprintf("allocations[%d]", i), err)
		}
	}
	if err == nil {
		t, err = e.block(event, t)
	}
	if err == nil && len(e.RevokeCodes) > 0 {
		var hashes []string
		if hashes, err = hashesOf(keys, eventID, e.RevokeCodes); err == nil {
			revoked := 0
			if t, revoked = t.Revoke(hashes...); revoked == len(hashes) {
				return t, t.Validate()
			}
			err = invalid("revoke_codes: some are none of this event, or were hashed with another key")
		}
	}
	if err != nil {
		return t, err
	}
	return t, t.Validate()
}

// asInvalid says where in a request something is wrong, unless that has a code of its own.
func asInvalid(where string, err error) error {
	var p *Problem
	if errors.As(err, &p) || domain.CodeOf(err) != domain.CodeFailed {
		return err
	}
	return invalid("%s: %w", where, err)
}

var errNoCodeKey = problemOf(http.StatusNotImplemented, domain.CodeDenied, "this process has no key for access codes: ask one that has")

// hashesOf are those of access codes, by the newest key. Its errors repeat none.
func hashesOf(keys domain.CodeKeys, eventID string, codes []domain.Secret) ([]string, error) {
	if len(keys) == 0 {
		return nil, errNoCodeKey
	}
	hashes := make([]string, len(codes))
	for i, code := range codes {
		if err := domain.CheckAccessCode(code); err != nil {
			return nil, invalid("codes[%d]: %w", i, err)
		}
		if hashes[i] = keys.Hashes(eventID, code)[0]; slices.Contains(hashes[:i], hashes[i]) {
			return nil, invalid("codes[%d]: was there before", i)
		}
	}
	return hashes, nil
}

// block is t with what is said about places that are not for sale.
func (e EventTerms) block(event domain.Event, t domain.Terms) (domain.Terms, error) {
	var err error
	for i, said := range e.Sections {
		if said.Blocked != nil {
			t, err = t.Block(said.Section, *said.Blocked)
		}
		if err == nil && len(said.Block) > 0 {
			t, err = t.BlockSeats(event, said.Section, said.Block, true)
		}
		if err == nil && len(said.Unblock) > 0 {
			t, err = t.BlockSeats(event, said.Section, said.Unblock, false)
		}
		if err != nil {
			return t, asInvalid(fmt.Sprintf("sections[%d]", i), err)
		}
	}
	return t, nil
}

// apply is t with what is said about an allocation.
func (a AllocationTerms) apply(keys domain.CodeKeys, eventID string, event domain.Event, t domain.Terms) (domain.Terms, error) {
	t.Allocations = slices.Clone(t.Allocations)
	find := func() int {
		return slices.IndexFunc(t.Allocations, func(there domain.Allocation) bool { return there.Name == a.Allocation })
	}
	if a.Allocation != seats.Public && find() < 0 {
		t.Allocations = append(t.Allocations, domain.Allocation{Name: a.Allocation})
	}
	var err error
	for _, of := range a.Places {
		switch {
		case len(of.Seats) > 0:
			t, err = t.AllocateSeats(event, of.Section, a.Allocation, of.Seats)
		case of.Places != nil:
			t, err = t.Allocate(of.Section, a.Allocation, *of.Places)
		}
		if err == nil && of.Blocked != nil {
			t, err = t.Block(domain.PoolOf(of.Section, a.Allocation), *of.Blocked)
		}
		if err != nil {
			return t, err
		}
	}
	if a.Allocation == seats.Public {
		if a.OnSale != nil || a.OffSale != nil || len(a.Codes) > 0 {
			return t, errors.New("public: is for everybody, when the event is on sale")
		}
		return t, nil
	}
	for to, from := range map[*int64]*int64{&t.Allocations[find()].OnSaleMillis: a.OnSale, &t.Allocations[find()].OffSaleMillis: a.OffSale} {
		if from != nil {
			*to = *from
		}
	}
	if len(a.Codes) == 0 {
		return t, nil
	}
	hashes, err := hashesOf(keys, eventID, a.Codes)
	if err != nil {
		return t, err
	}
	return t.OpenedBy(a.Allocation, a.CodeUses, hashes...)
}

// apply is t with what is said, but for allocations and what is blocked.
func (e EventTerms) apply(t domain.Terms) (domain.Terms, error) {
	for _, set := range []struct{ to, from *int64 }{
		{&t.MaxPerOrder, e.MaxPerOrder}, {&t.MaxPerCustomer, e.MaxPerCustomer}, {&t.OnSaleMillis, e.OnSale}, {&t.OffSaleMillis, e.OffSale}, {&t.LateApprovalMillis, e.LateApproval},
	} {
		if set.from != nil {
			*set.to = *set.from
		}
	}
	if e.Name != nil {
		t.Name = *e.Name
	}
	if e.NoOrphans != nil {
		t.NoOrphans = *e.NoOrphans
	}
	t.Sections = slices.Clone(t.Sections)
	for i, said := range e.Sections {
		bad := func(why string) error { return invalid("sections[%d]: %s", i, why) }
		if slices.ContainsFunc(e.Sections[:i], func(before SectionTerms) bool { return before.Section == said.Section }) {
			return t, bad("named twice")
		}
		at := slices.IndexFunc(t.Sections, func(there domain.SectionTerms) bool { return there.Name == said.Section })
		if at < 0 {
			if said.Price == nil || (said.Capacity == nil) == (said.Rows == "") {
				return t, bad("a new section needs a price, and either a capacity or rows")
			}
			at = len(t.Sections)
			t.Sections = append(t.Sections, domain.SectionTerms{Name: said.Section, Price: *said.Price})
			if said.Rows != "" {
				layout, err := seats.Parse(said.Rows)
				if err != nil {
					return t, bad("rows: want such as A:1-12/13-24,B:1-26")
				}
				t.Sections[at].Layout, t.Sections[at].Capacity = layout.String(), int64(layout.Seats())
				t = t.WithAllocations(said.Section, layout)
				continue
			}
		} else if said.Rows != "" {
			return t, bad("rows: only of a new section: seats stay as they are")
		}
		if said.Capacity != nil {
			t.Sections[at].Capacity = *said.Capacity
		}
		for j := range t.Sections { // all places of a section have one price, and its allocations are of its capacity
			of, allocation := domain.SplitPool(t.Sections[j].Name)
			if of != said.Section {
				continue
			}
			if said.Price != nil {
				t.Sections[j].Price = *said.Price
			}
			if said.Capacity != nil && allocation != seats.Public {
				t.Sections[at].Capacity -= t.Sections[j].Capacity
			}
		}
		if t.Sections[at].Capacity < 0 {
			return t, bad("capacity: its allocations have more places")
		}
	}
	return t, nil
}

type changedOutput struct {
	Status int
	Body   Changed
}

func (s *Server) createEvent(ctx context.Context, in *struct{ Body NewEvent }) (*changedOutput, error) {
	id := in.Body.EventID
	if err := callerOf(ctx).mayEvent(id); err != nil {
		return nil, err
	}
	err := cmp.Or(domain.CheckID("event_id", id), domain.CheckCurrency(in.Body.Currency))
	if err != nil {
		return nil, problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, err.Error())
	}
	terms, err := in.Body.organisedBy(s.deps.Codes, id, domain.Event{}, domain.Terms{Currency: in.Body.Currency})
	created := false
	if err == nil {
		created, err = s.deps.Organising.Create(ctx, id, terms, domain.Cause{Reason: in.Body.Reason, By: callerOf(ctx).key.Name})
	}
	if err != nil {
		return nil, s.problem(err).of(domain.OrderRef{EventID: id})
	}
	out := &changedOutput{Status: http.StatusOK, Body: Changed{id, created}}
	if created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

func (s *Server) adjustEvent(ctx context.Context, in *struct {
	Event string `path:"event" doc:"event_id." maxLength:"128"`
	Body  EventTerms
},
) (*changedOutput, error) {
	changed, err := s.deps.Organising.Adjust(ctx, in.Event, func(event domain.Event) (domain.Terms, error) {
		return in.Body.organisedBy(s.deps.Codes, in.Event, event, event.Terms())
	}, domain.Cause{Reason: in.Body.Reason, By: callerOf(ctx).key.Name})
	if err != nil {
		return nil, s.problem(err).of(domain.OrderRef{EventID: in.Event})
	}
	return &changedOutput{http.StatusOK, Changed{in.Event, changed}}, nil
}

type causeInput struct {
	Event string `path:"event" doc:"event_id." maxLength:"128"`
	Body  *CauseRequest
}

// cause is why, and by whose key.
func (in *causeInput) cause(ctx context.Context) domain.Cause {
	c := domain.Cause{By: callerOf(ctx).key.Name}
	if in.Body != nil {
		c.Reason = in.Body.Reason
	}
	return c
}

// because is an endpoint that does something to an event for a cause.
func (s *Server) because(o Organising, do func(Organising, context.Context, string, domain.Cause) (bool, error)) func(context.Context, *causeInput) (*changedOutput, error) {
	return func(ctx context.Context, in *causeInput) (*changedOutput, error) {
		changed, err := do(o, ctx, in.Event, in.cause(ctx))
		if err != nil {
			return nil, s.problem(err).of(domain.OrderRef{EventID: in.Event})
		}
		return &changedOutput{http.StatusOK, Changed{in.Event, changed}}, nil
	}
}

func (s *Server) callOff(ctx context.Context, in *causeInput) (*struct{ Body CalledOff }, error) {
	leave, err := s.patience(ctx, s.options.MaxWait)
	if errors.Is(err, errTooManyWait) {
		return nil, errNoPatience
	}
	if err != nil {
		return nil, s.problem(err)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, s.options.MaxWait)
	defer cancel()
	done, err := s.deps.Organising.CallOff(ctx, in.Event, in.cause(ctx))
	if errors.Is(err, context.DeadlineExceeded) { // what is left is done when it is asked for again
		err = fmt.Errorf("%w: %w", domain.ErrUnknownOutcome, err)
	}
	if err != nil {
		return nil, s.problem(err).of(domain.OrderRef{EventID: in.Event})
	}
	return &struct{ Body CalledOff }{done}, nil
}
