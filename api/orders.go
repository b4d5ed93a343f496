package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/producer"
)

// Item is one line of what an order is of.
type Item struct {
	Section   string   `json:"section"`
	Quantity  int64    `json:"quantity"`
	Seats     []string `json:"seats,omitempty" doc:"Names of the seats, ROW-NUMBER, of a section that has some."`
	UnitPrice int64    `json:"unit_price" doc:"Minor units."`
	Amount    int64    `json:"amount" doc:"Minor units."`

	Allocation string `json:"allocation" doc:"public: of the places that are for everybody."`
}

// stateWaiting is that of an order of which nothing is known yet, because its request waits in line, or a worker has it.
const stateWaiting = "waiting"

// Order is an order as it stands.
type Order struct {
	EventID           string   `json:"event_id"`
	OrderID           string   `json:"order_id"`
	State             string   `json:"state" enum:"waiting,held,lapsed,confirmed,declined,expired,cancelled,rejected" doc:"waiting: nothing is known of it yet. held: its places are set aside until the deadline. lapsed: that has passed, and it gets them again if its payment is approved late and they are free. The others are outcomes; of them only confirmed can still change, to cancelled."`
	Reason            string   `json:"reason,omitempty" doc:"Why it was rejected, declined or cancelled: sold_out, seat_taken, price_changed and others."`
	Detail            string   `json:"detail,omitempty" doc:"The same for people."`
	CustomerID        string   `json:"customer_id,omitempty"`
	Items             []Item   `json:"items,omitempty"`
	Amount            int64    `json:"amount" doc:"Minor units."`
	Currency          string   `json:"currency,omitempty"`
	HeldAtMillis      int64    `json:"held_at,omitempty"`
	DeadlineMillis    int64    `json:"deadline,omitempty" doc:"When the hold ends, or would have."`
	ConfirmedAtMillis int64    `json:"confirmed_at,omitempty"`
	ResolvedAtMillis  int64    `json:"resolved_at,omitempty" doc:"When the latest outcome came."`
	Attempt           int      `json:"attempt,omitempty" doc:"The latest attempt to pay."`
	Payment           string   `json:"payment,omitempty" enum:"open,declined,action_required" doc:"While it is held, how that attempt stands. declined: another one may follow. action_required: the customer has something to do at their bank."`
	Change            int64    `json:"change,omitempty" doc:"Number of the latest partial cancel or change that was decided."`
	ChangeRefusal     string   `json:"change_refusal,omitempty" doc:"Why that was refused; empty: it was done."`
	ChangeDetail      string   `json:"change_detail,omitempty"`
	RefundTotal       int64    `json:"refund_total,omitempty" doc:"Minor units that are given back, or to be."`
	Dispute           *Dispute `json:"dispute,omitempty" doc:"What its customer's bank has asked back of its payment. The order keeps its places until somebody cancels it."`
	TraceID           string   `json:"trace_id,omitempty" doc:"Of the trace that the request which opened it was of, if that was sampled, and the worker that held it traces."`
	Receipt           string   `json:"receipt,omitempty" doc:"Of the request that was just published: with it, GET of the order is about this very request, and tells its place in line."`
	Place             *Place   `json:"place,omitempty" doc:"While it waits, if its receipt was given."`
}

// Dispute is how far it has come that a customer's bank asks for money back.
type Dispute struct {
	State          string `json:"state" enum:"inquiry,open,won,lost" doc:"inquiry: the bank asks, and has taken nothing. open: it has the money until it is decided. won: the money stays here. lost: the customer has it."`
	Amount         int64  `json:"amount" doc:"Minor units."`
	AnswerByMillis int64  `json:"answer_until,omitempty" doc:"When the organiser must have answered; left out if nothing is to be answered (any more)."`
}

// Place is where a request stands in line.
type Place struct {
	State      string `json:"state" enum:"waiting,in_hand,parked" doc:"in_hand: a worker has it. parked: its event is paused; it is put back in line when that is over."`
	Ahead      *int64 `json:"ahead,omitempty" doc:"About how many requests are ahead of it; left out if that is not known."`
	WaitMillis *int64 `json:"wait_ms,omitempty" doc:"About how long until a worker takes it; left out if that is not known."`
}

// viewOrder is an order with its seats, which are named by section.
func viewOrder(ref domain.OrderRef, o domain.Order, named map[string][]string) Order {
	v := Order{
		EventID: ref.EventID, OrderID: ref.OrderID, State: o.State.String(), Reason: o.Reason, Detail: o.Detail, CustomerID: o.CustomerID, Amount: o.Amount(),
		Currency: o.Currency, HeldAtMillis: o.HeldAtMillis, DeadlineMillis: o.DeadlineMillis, ConfirmedAtMillis: o.ConfirmedAtMillis,
		ResolvedAtMillis: o.ResolvedAtMillis, Attempt: o.Attempt, Change: o.Change, ChangeRefusal: o.ChangeRefusal, ChangeDetail: o.ChangeDetail,
		RefundTotal: o.RefundTotal(), Items: viewItems(o.Items, named), TraceID: o.Trace.ID(),
	}
	if d := o.Dispute; d != (domain.Dispute{}) {
		v.Dispute = &Dispute{string(d.State), d.Amount, d.DueMillis}
	}
	if o.State == domain.OrderNone {
		v.State = stateWaiting
	}
	if o.Open() && o.Attempt > 0 {
		v.Payment = o.PayState.String()
	}
	return v
}

func viewItems(items domain.Items, named map[string][]string) (list []Item) {
	for i := range items.All() {
		section, allocation := domain.SplitPool(i.Section)
		list = append(list, Item{section, i.Quantity, named[section], i.UnitPrice, i.Amount(), allocation})
	}
	return list
}

// ItemRequest is one line of what is asked for.
type ItemRequest struct {
	Section   string   `json:"section" minLength:"1" maxLength:"128"`
	Quantity  int64    `json:"quantity,omitempty" minimum:"1" maximum:"1000000" doc:"How many places; in a section with seats, the best available ones. Or name seats."`
	Seats     []string `json:"seats,omitempty" minItems:"1" maxItems:"100" nullable:"false" doc:"These seats, such as A-12, instead of a quantity."`
	Adjacent  *bool    `json:"adjacent,omitempty" doc:"false: the best available seats need not be side by side."`
	UnitPrice *int64   `json:"unit_price,omitempty" minimum:"0" doc:"Minor units: another price rejects the order as price_changed."`

	Allocation string `json:"allocation,omitempty" minLength:"1" maxLength:"128" doc:"Of the section's places those of this allocation. Default: public."`
}

func itemsOf(list []ItemRequest) (items []domain.RequestItem) {
	for _, i := range list {
		item := domain.RequestItem{Section: i.Section, Allocation: i.Allocation, Quantity: i.Quantity, UnitPrice: i.UnitPrice, Seats: i.Seats, Apart: i.Adjacent != nil && !*i.Adjacent}
		items = append(items, item)
	}
	return items
}

// OrderRequest is a purchase or a hold.
type OrderRequest struct {
	Type         string        `json:"type,omitempty" enum:"purchase,hold" default:"purchase" doc:"purchase: hold and pay in one."`
	EventID      string        `json:"event_id" minLength:"1" maxLength:"128"`
	OrderID      string        `json:"order_id,omitempty" minLength:"1" maxLength:"128" doc:"What makes a retry safe. Or give an Idempotency-Key."`
	CustomerID   string        `json:"customer_id" minLength:"1" maxLength:"128"`
	Section      string        `json:"section,omitempty" minLength:"1" maxLength:"128" doc:"Default: general."`
	Quantity     int64         `json:"quantity,omitempty" minimum:"1" maximum:"1000000"`
	Seats        []string      `json:"seats,omitempty" minItems:"1" maxItems:"100" nullable:"false" doc:"These seats, such as A-12, instead of a quantity."`
	Adjacent     *bool         `json:"adjacent,omitempty" doc:"false: the best available seats need not be side by side."`
	UnitPrice    *int64        `json:"unit_price,omitempty" minimum:"0" doc:"Minor units: another price rejects the order as price_changed."`
	Allocation   string        `json:"allocation,omitempty" minLength:"1" maxLength:"128" doc:"Of the section's places those of this allocation. Default: public."`
	AccessCode   domain.Secret `json:"access_code,omitempty" maxLength:"128" doc:"What opens the allocation. It is in no answer."`
	Items        []ItemRequest `json:"items,omitempty" minItems:"1" maxItems:"20" nullable:"false" doc:"Several sections, all or nothing, instead of section, allocation, quantity, seats, adjacent and unit_price."`
	PaymentToken domain.Secret `json:"payment_token,omitempty" maxLength:"4096" doc:"What the customer pays with. It is kept nowhere, and in no answer."`
	HoldSeconds  int64         `json:"hold_seconds,omitempty" minimum:"1" maximum:"86400"`
	ValidSeconds int64         `json:"valid_seconds,omitempty" minimum:"1" maximum:"2592000" doc:"How long the request may wait in line."`
}

// PayRequest pays for a hold.
type PayRequest struct {
	PaymentToken domain.Secret `json:"payment_token,omitempty" maxLength:"4096"`
	Attempt      int64         `json:"attempt,omitempty" minimum:"1" maximum:"9" doc:"Which attempt to pay this is; the next one may follow when the one before was declined. Default: 1."`
	ValidSeconds int64         `json:"valid_seconds,omitempty" minimum:"1" maximum:"2592000"`
}

// PaymentUpdateRequest says that there may be news of a payment.
type PaymentUpdateRequest struct {
	Attempt int64 `json:"attempt,omitempty" minimum:"1" maximum:"9" doc:"Of which attempt to pay. Default: 1."`
}

// CancelRequest gives an order up, or some of its places.
type CancelRequest struct {
	Reason string        `json:"reason,omitempty" maxLength:"512" doc:"Why, for people. Who asked for it is the name of the key."`
	Change int64         `json:"change,omitempty" minimum:"1" maximum:"1000000" doc:"With items: which change of its order this is, from 1."`
	Items  []ItemRequest `json:"items,omitempty" minItems:"1" maxItems:"20" nullable:"false" doc:"These places only."`

	NoRefund bool `json:"no_refund,omitempty" doc:"The money is kept. Only of a key for organisers."`
}

// RefundRequest gives money of an order back, and no places.
type RefundRequest struct {
	Change int64         `json:"change" minimum:"1" maximum:"1000000" doc:"Which change of its order this is, from 1: a number is done once."`
	Amount int64         `json:"amount,omitempty" minimum:"1" doc:"Minor units, beside what was given back before."`
	Items  []ItemRequest `json:"items,omitempty" minItems:"1" maxItems:"20" nullable:"false" doc:"Instead of amount: what these places of the order cost."`
	Reason string        `json:"reason,omitempty" maxLength:"512" doc:"Why, for people. Who asked for it is the name of the key."`
}

// ChangeRequest says which places an order shall have.
type ChangeRequest struct {
	Change       int64         `json:"change" minimum:"1" maximum:"1000000" doc:"Which change of its order this is, from 1."`
	Items        []ItemRequest `json:"items" minItems:"1" maxItems:"20" nullable:"false" doc:"All places that the order shall have. Where it has as many seats of a section as are asked for without names, side by side unless adjacent is false, it keeps them; else it gets the best available ones."`
	ValidSeconds int64         `json:"valid_seconds,omitempty" minimum:"1" maximum:"2592000"`
	Reason       string        `json:"reason,omitempty" maxLength:"512" doc:"Why, for people. Who asked for it is the name of the key."`
}

// Preferences are the headers of every request that is published.
type Preferences struct {
	Prefer      string `header:"Prefer" doc:"wait=N: answer with the outcome if it is known within N seconds."`
	Traceparent string `header:"traceparent" doc:"W3C trace context."`
}

// OrderPath names an order.
type OrderPath struct {
	Event string `path:"event" doc:"event_id." maxLength:"128"`
	ID    string `path:"id" doc:"order_id." maxLength:"128"`
}

func (p OrderPath) ref() domain.OrderRef { return domain.OrderRef{EventID: p.Event, OrderID: p.ID} }

type orderOutput struct {
	Status   int
	Location string `header:"Location" doc:"Of the order."`
	Applied  string `header:"Preference-Applied"`
	Body     Order
}

func schemaOf[T any](s *Server) *huma.Schema {
	return s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
}

// accepted is the answer of requests that are published and whose outcome is not known yet.
func accepted(s *Server) map[string]*huma.Response {
	return map[string]*huma.Response{
		"202": {
			Description: "Published. The outcome is not known yet: ask again, with GET and the receipt, or by sending the same once more.",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: schemaOf[Order](s)}},
		},
	}
}

func (s *Server) registerOrders() {
	register(s, huma.Operation{
		OperationID: "order", Method: http.MethodPost, Path: "/v1/orders", Summary: "Buy tickets, or hold them", Tags: []string{"orders"}, Responses: accepted(s),
		Description: "200 is an outcome, a rejection included: look at state and reason. Sending the same again is harmless, and tells the same order. The same order_id or Idempotency-Key with another body is 422, with code conflict. 409 sold_out_now: nothing is left now, nothing is stored of the order, and this request was not published; it may be sent again.",
	}, sellers, s.order)
	s.registerBulk()
	register(s, huma.Operation{
		OperationID: "pay", Method: http.MethodPost, Path: "/v1/orders/{event}/{id}/pay", Summary: "Pay for what is held", Tags: []string{"orders"}, Responses: accepted(s),
	}, sellers, s.pay)
	register(s, huma.Operation{
		OperationID: "payment-update", Method: http.MethodPost, Path: "/v1/orders/{event}/{id}/payment-update", Tags: []string{"orders"}, Responses: accepted(s),
		Summary: "Say that the customer has done what they had to at their bank",
	}, sellers, s.paymentUpdate)
	register(s, huma.Operation{
		OperationID: "next-step", Method: http.MethodGet, Path: "/v1/orders/{event}/{id}/next-step", Tags: []string{"orders"},
		Summary:     "Tell what the customer has to do at their bank",
		Description: "While payment is action_required. It is asked of the payment gateway, and stored nowhere. 409: there is nothing to do (any more).",
	}, sellers, s.nextStep)
	register(s, huma.Operation{
		OperationID: "cancel", Method: http.MethodPost, Path: "/v1/orders/{event}/{id}/cancel", Summary: "Give an order up, or some of its places", Tags: []string{"orders"}, Responses: accepted(s),
		Description: "A customer's token may, if it was made so, give up the whole of an own order while that is held.",
	}, givers, s.cancel)
	register(s, huma.Operation{
		OperationID: "refund", Method: http.MethodPost, Path: "/v1/orders/{event}/{id}/refund", Summary: "Give money of an order back, and no places", Tags: []string{"orders"}, Responses: accepted(s),
		Description: "change_refusal of the answer says why it was refused; the number is used up.",
	}, organisers, s.refund)
	register(s, huma.Operation{
		OperationID: "change", Method: http.MethodPost, Path: "/v1/orders/{event}/{id}/change", Summary: "Exchange places of an order", Tags: []string{"orders"}, Responses: accepted(s),
		Description: "change_refusal of the answer says why it was refused; the order is then what it was, and the number is used up.",
	}, sellers, s.change)
	register(s, huma.Operation{
		OperationID: "order-show", Method: http.MethodGet, Path: "/v1/orders/{event}/{id}", Summary: "Show an order", Tags: []string{"orders"},
		Description: "404 says that nothing is known of it: its request may still wait in line, which only its receipt tells.",
	}, lookers, s.showOrder)
}

type orderInput struct {
	Preferences
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Instead of order_id, which is made of it and the name of the API key."`
	Body           OrderRequest
}

func (s *Server) order(ctx context.Context, in *orderInput) (*orderOutput, error) {
	b, caller := &in.Body, callerOf(ctx)
	if err := caller.mayEvent(b.EventID); err != nil {
		return nil, err
	}
	switch {
	case (b.OrderID == "") == (in.IdempotencyKey == ""):
		return nil, problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, "want either order_id or Idempotency-Key: it is what makes a retry safe")
	case b.OrderID == "":
		b.OrderID = orderIDOf(caller.key.Name, in.IdempotencyKey)
	}
	return s.submit(ctx, in.Preferences, b.request())
}

// request is what it asks for.
func (b *OrderRequest) request() domain.Request {
	section := b.Section
	if len(b.Items) == 0 {
		section = cmp.Or(section, domain.DefaultSection)
	}
	return domain.Request{
		Type: domain.RequestType(b.Type), EventID: b.EventID, OrderID: b.OrderID, CustomerID: b.CustomerID, Section: section, Quantity: b.Quantity,
		Allocation: b.Allocation, AccessCode: b.AccessCode, Seats: b.Seats, Apart: b.Adjacent != nil && !*b.Adjacent, UnitPrice: b.UnitPrice, Items: itemsOf(b.Items), PaymentToken: b.PaymentToken,
		HoldSeconds: b.HoldSeconds, ValidSeconds: b.ValidSeconds,
	}
}

// orderIDOf is the order that a checkout means by an idempotency key: also with another API key of the same name.
func orderIDOf(checkout, key string) string {
	sum := sha256.Sum256([]byte(checkout + "\x00" + key))
	return "ik-" + hex.EncodeToString(sum[:16])
}

func (s *Server) pay(ctx context.Context, in *struct {
	OrderPath
	Preferences
	Body PayRequest
},
) (*orderOutput, error) {
	return s.submit(ctx, in.Preferences, domain.Request{
		Type: domain.RequestPay, EventID: in.Event, OrderID: in.ID, PaymentToken: in.Body.PaymentToken, Attempt: in.Body.Attempt, ValidSeconds: in.Body.ValidSeconds,
	})
}

func (s *Server) paymentUpdate(ctx context.Context, in *struct {
	OrderPath
	Preferences
	Body PaymentUpdateRequest
},
) (*orderOutput, error) {
	return s.submit(ctx, in.Preferences, domain.Request{Type: domain.RequestPaymentUpdate, EventID: in.Event, OrderID: in.ID, Attempt: in.Body.Attempt})
}

func (s *Server) cancel(ctx context.Context, in *struct {
	OrderPath
	Preferences
	Body *CancelRequest
},
) (*orderOutput, error) {
	r := domain.Request{Type: domain.RequestCancel, EventID: in.Event, OrderID: in.ID, Cause: domain.Cause{By: callerOf(ctx).by()}}
	if err := s.mayCancel(ctx, in.ref(), in.Body); err != nil {
		return nil, err
	}
	if in.Body != nil {
		if r.NoRefund = in.Body.NoRefund; r.NoRefund && !slices.Contains(organisers, callerOf(ctx).role) {
			return nil, problemOf(http.StatusForbidden, domain.CodeDenied, "no_refund: the role "+string(callerOf(ctx).role)+" may not keep the money").of(in.ref())
		}
		r.Cause.Reason, r.Change, r.Items = in.Body.Reason, in.Body.Change, itemsOf(in.Body.Items)
	}
	return s.submit(ctx, in.Preferences, r)
}

// mayCancel says why a customer may not cancel an order so; nil of whoever is none. An order that is paid for meanwhile is cancelled all the
// same, and the money given back.
func (s *Server) mayCancel(ctx context.Context, ref domain.OrderRef, how *CancelRequest) error {
	caller := callerOf(ctx)
	if caller.role != roleCustomer {
		return nil
	}
	if !caller.cancels || how != nil && (how.NoRefund || how.Change != 0 || len(how.Items) > 0) {
		return problemOf(http.StatusForbidden, domain.CodeDenied, "this token may not do that: ask the shop").of(ref)
	}
	order, err := s.look(ctx, ref)
	switch {
	case err != nil:
		return s.problem(err).of(ref)
	case order.CustomerID != caller.customer:
		return s.problem(errUnknownOrder)
	case order.State != domain.OrderHeld && order.State != domain.OrderLapsed && order.State != domain.OrderCancelled:
		return problemOf(http.StatusForbidden, domain.CodeDenied, "only what is held can be cancelled with this token: ask the shop").of(ref)
	}
	return nil
}

func (s *Server) refund(ctx context.Context, in *struct {
	OrderPath
	Preferences
	Body RefundRequest
},
) (*orderOutput, error) {
	return s.submit(ctx, in.Preferences, domain.Request{
		Type: domain.RequestRefund, EventID: in.Event, OrderID: in.ID, Change: in.Body.Change, Amount: in.Body.Amount, Items: itemsOf(in.Body.Items),
		Cause: domain.Cause{Reason: in.Body.Reason, By: callerOf(ctx).key.Name},
	})
}

func (s *Server) change(ctx context.Context, in *struct {
	OrderPath
	Preferences
	Body ChangeRequest
},
) (*orderOutput, error) {
	return s.submit(ctx, in.Preferences, domain.Request{
		Type: domain.RequestChange, EventID: in.Event, OrderID: in.ID, Change: in.Body.Change, Items: itemsOf(in.Body.Items), ValidSeconds: in.Body.ValidSeconds,
		Cause: domain.Cause{Reason: in.Body.Reason, By: callerOf(ctx).key.Name},
	})
}

// submit publishes a request, and waits for what becomes of it as long as the caller prefers.
func (s *Server) submit(ctx context.Context, how Preferences, r domain.Request) (*orderOutput, error) {
	sub := &submission{request: r}
	wait, waits := s.preferred(how.Prefer)
	s.submitAll(ctx, how.Traceparent, []*submission{sub}, wait)
	if sub.problem != nil {
		return nil, sub.problem
	}
	out := &orderOutput{Status: sub.status, Location: "/v1/orders/" + r.EventID + "/" + r.OrderID, Body: sub.order}
	if waits {
		out.Applied = "wait"
	}
	return out, nil
}

// submission is a request on its way, and in the end what is told of it: a problem, or how its order stands.
type submission struct {
	request domain.Request
	receipt producer.Receipt
	soldOut bool // at the door
	done    bool

	status  int
	order   Order
	problem *Problem
}

func (sub *submission) fail(p *Problem) { sub.done, sub.problem = true, p.of(sub.request.Ref()) }

// submitAll publishes requests, in one go, and waits for what becomes of them for so long. Each is told by itself.
func (s *Server) submitAll(ctx context.Context, traceparent string, all []*submission, wait time.Duration) {
	var opening []*submission
	for _, sub := range all {
		r := &sub.request
		r.Traceparent = traceparent
		fingerprint, err := wire.Check(r)
		if err != nil {
			sub.fail(s.problem(domain.WithCode(domain.ClassReject, domain.CodeInvalid, err)))
			continue
		}
		sub.receipt = producer.Receipt{EventID: r.EventID, OrderID: r.OrderID, Type: r.Type, Fingerprint: fingerprint}
		if r.Type.Opens() {
			sub.soldOut = s.door.soldOut(r)
			opening = append(opening, sub)
		}
	}
	known := s.recall(ctx, opening)
	var publishing []*submission
	var batch []domain.Request
	for _, sub := range all {
		if !sub.done && !known[sub] {
			publishing, batch = append(publishing, sub), append(batch, sub.request)
		}
	}
	if len(batch) > 0 {
		for i, result := range s.publish(ctx, batch) {
			if publishing[i].receipt = result.Receipt; result.Err != nil {
				publishing[i].fail(s.problem(result.Err))
			}
		}
	}
	if len(all) == 1 {
		s.await(ctx, all[0], wait)
		return
	}
	var waiting sync.WaitGroup
	for _, sub := range all {
		waiting.Go(func() { s.await(ctx, sub, wait) })
	}
	waiting.Wait()
}

// recall looks up the orders of requests that would open them: what is known of one already needs no other request, and another body under its id is told at once. It
// returns those that are known, and not done with.
func (s *Server) recall(ctx context.Context, opening []*submission) (known map[*submission]bool) {
	if len(opening) == 0 {
		return nil
	}
	refs := make([]domain.OrderRef, len(opening))
	for i, sub := range opening {
		refs[i] = sub.request.Ref()
	}
	for i, looked := range s.lookUp(ctx, refs) {
		sub, order := opening[i], looked.Order
		switch {
		case looked.Err != nil:
			sub.fail(s.problem(looked.Err))
		case order.Fingerprint != "" && order.Fingerprint != sub.receipt.Fingerprint:
			sub.fail(errOtherBody)
		case looked.Over:
			sub.fail(s.problem(domain.EventOver(refs[i].EventID)))
		case order.State == domain.OrderNone && sub.soldOut:
			s.door.turnAway(&sub.request)
			sub.fail(errSoldOutNow)
		case order.State == domain.OrderNone: // it is to be published
		case sub.request.Type == domain.RequestHold || order.State.Terminal() || order.AwaitsAction():
			v, err := s.view(ctx, refs[i], order)
			if err != nil {
				sub.fail(s.problem(err))
				continue
			}
			sub.done, sub.status, sub.order = true, http.StatusOK, v
		default:
			if known == nil {
				known = make(map[*submission]bool)
			}
			known[sub] = true
		}
	}
	return known
}

// lookUp is Look; of one it is asked together with what others look up just then.
func (s *Server) lookUp(ctx context.Context, refs []domain.OrderRef) []domain.Looked {
	if len(refs) > 1 {
		return s.deps.Outcomes.Look(ctx, refs)
	}
	looked, err := s.looks.ask(ctx, refs[0])
	if err != nil {
		looked.Err = fmt.Errorf("order %s: %w", refs[0], err)
	}
	return []domain.Looked{looked}
}

// publish is PublishBatch, likewise.
func (s *Server) publish(ctx context.Context, batch []domain.Request) []producer.Result {
	if len(batch) > 1 {
		return s.deps.Producer.PublishBatch(ctx, batch)
	}
	result, err := s.publishes.ask(ctx, batch[0])
	if err != nil {
		result.Err = domain.WithClass(domain.ClassRetry, fmt.Errorf("publishing: %w: %w", domain.ErrUnknownOutcome, err))
	}
	return []producer.Result{result}
}

var errOtherBody = problemOf(http.StatusUnprocessableEntity, domain.CodeConflict, "another request came first under this id, with another body")

// await waits for what becomes of a request that was published, or was known, for so long.
func (s *Server) await(ctx context.Context, sub *submission, wait time.Duration) {
	if sub.done {
		return
	}
	ref := sub.request.Ref()
	if wait > 0 {
		outcome, err := s.outcome(ctx, sub.receipt, wait)
		if err == nil {
			sub.done, sub.status, sub.order = true, http.StatusOK, viewOrder(ref, outcome.Order, outcome.Seats)
			return
		}
		if !errors.Is(err, domain.ErrUnknownOutcome) {
			sub.fail(s.failed(err))
			return
		}
	}
	sub.done, sub.status = true, http.StatusAccepted
	sub.order = Order{EventID: ref.EventID, OrderID: ref.OrderID, State: stateWaiting, Receipt: receiptText(sub.receipt)}
}

// failed is the problem of a wait: a conflict of bodies is the caller's mistake.
func (s *Server) failed(err error) *Problem {
	p := s.problem(err)
	if p.Code == domain.CodeConflict {
		p.Status, p.Title = http.StatusUnprocessableEntity, http.StatusText(http.StatusUnprocessableEntity)
	}
	return p
}

// look reads what is stored of an order.
func (s *Server) look(ctx context.Context, ref domain.OrderRef) (domain.Order, error) {
	looked := s.deps.Outcomes.Look(ctx, []domain.OrderRef{ref})[0]
	return looked.Order, looked.Err
}

// view is an order as it stands.
func (s *Server) view(ctx context.Context, ref domain.OrderRef, o domain.Order) (Order, error) {
	named, err := s.deps.Outcomes.SeatNames(ctx, ref.EventID, o.Items)
	if err != nil {
		return Order{}, fmt.Errorf("order %s: naming its seats: %w", ref, err)
	}
	return viewOrder(ref, o, named), nil
}

// preferred is how long a Prefer header wants to wait, as far as that may be.
func (s *Server) preferred(header string) (wait time.Duration, given bool) {
	for part := range strings.FieldsFuncSeq(header, func(r rune) bool { return r == ',' || r == ';' }) {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if n, err := strconv.Atoi(strings.Trim(value, `"`)); err == nil && n >= 0 && strings.EqualFold(name, "wait") {
			return s.atMost(n), true
		}
	}
	return 0, false
}

func (s *Server) atMost(seconds int) time.Duration {
	return min(time.Duration(min(seconds, 3600))*time.Second, s.options.MaxWait)
}

// outcome is WaitFor for so long, or until the end was asked for. Where as many wait as may, it does not wait.
func (s *Server) outcome(ctx context.Context, r producer.Receipt, wait time.Duration) (producer.Outcome, error) {
	leave, err := s.patience(ctx, wait)
	if err != nil {
		return producer.Outcome{}, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	return s.deps.Producer.WaitFor(ctx, r)
}

// errTooManyWait says that nobody may wait now; for the caller that is as if the wait were over.
var errTooManyWait = domain.WithClass(domain.ClassRetry, fmt.Errorf("as many wait as may: %w", domain.ErrUnknownOutcome))

// patience begins a wait: its answer may come so much later, and the client says nothing meanwhile.
func (s *Server) patience(ctx context.Context, wait time.Duration) (leave func(), err error) {
	caller := callerOf(ctx)
	if !s.customers.begins(caller) {
		return nil, errTooManyWait
	}
	select {
	case s.waits <- struct{}{}:
	default:
		s.customers.ends(caller)
		return nil, errTooManyWait
	}
	s.stats.waiting.Add(1)
	leave = func() {
		s.stats.waiting.Add(-1)
		<-s.waits
		s.customers.ends(caller)
	}
	e, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return leave, nil
	}
	c := http.NewResponseController(e.ResponseWriter)
	deadline := time.Now().Add(wait + s.options.WriteTimeout)
	// A writer without deadlines has nothing that would end too soon.
	if err := errors.Join(c.SetReadDeadline(deadline), c.SetWriteDeadline(deadline)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		leave()
		return nil, fmt.Errorf("waiting: %w", err)
	}
	return leave, nil
}

// customerWaits is how many waits, streams of updates included, one customer may have: their token is in the hands of whoever they are.
const customerWaits = 32

// customerWaiting counts the waits of each customer.
type customerWaiting struct {
	mu sync.Mutex
	of map[string]int
}

// begins reports whether one more may begin.
func (c *customerWaiting) begins(p principal) bool {
	if p.role != roleCustomer {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[p.customer] >= customerWaits {
		return false
	}
	if c.of == nil {
		c.of = make(map[string]int)
	}
	c.of[p.customer]++
	return true
}

func (c *customerWaiting) ends(p principal) {
	if p.role != roleCustomer {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[p.customer]--; c.of[p.customer] == 0 {
		delete(c.of, p.customer)
	}
}

// receiptText is a receipt for the caller, who gives it back as it is.
func receiptText(r producer.Receipt) string {
	return fmt.Sprintf("%s~%s~%d~%d~%s", r.Type, r.EntryID, r.Attempt, r.Change, r.Fingerprint)
}

// parseReceipt is its inverse.
func parseReceipt(ref domain.OrderRef, text string) (producer.Receipt, error) {
	r := producer.Receipt{EventID: ref.EventID, OrderID: ref.OrderID}
	bad := problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, "receipt: want one as it was given")
	parts := strings.Split(text, "~")
	if len(parts) != 5 || len(parts[4]) > 64 {
		return r, bad
	}
	attempt, attemptErr := strconv.Atoi(parts[2])
	change, changeErr := strconv.ParseInt(parts[3], 10, 64)
	r.Type, r.EntryID, r.Attempt, r.Change, r.Fingerprint = domain.RequestType(parts[0]), parts[1], attempt, change, parts[4]
	switch r.Type {
	case domain.RequestPurchase, domain.RequestHold, domain.RequestPay, domain.RequestCancel, domain.RequestChange, domain.RequestRefund, domain.RequestPaymentUpdate:
	default:
		return r, bad
	}
	if attemptErr != nil || changeErr != nil || attempt < 0 || attempt > domain.MaxAttempts || change < 0 || change > domain.MaxChange ||
		r.EntryID != "" && domain.EntryMillis(r.EntryID) == 0 || len(r.EntryID) > 64 {
		return r, bad
	}
	return r, nil
}

type showOrderInput struct {
	OrderPath
	Wait    int    `query:"wait" minimum:"0" maximum:"3600" doc:"Wait for so many seconds until there is something to tell: of an order that is held without a payment under way that is so, else its outcome."`
	Receipt string `query:"receipt" maxLength:"512" doc:"Of a request for it, as it was given when that was published: then this is about that very request."`
}

func (s *Server) showOrder(ctx context.Context, in *showOrderInput) (*struct{ Body Order }, error) {
	ref := in.ref()
	if err := domain.CheckID("id", in.ID); err != nil {
		return nil, s.problem(domain.WithCode(domain.ClassReject, domain.CodeInvalid, err))
	}
	customer := callerOf(ctx).role == roleCustomer
	if customer {
		in.Receipt = "" // what became of a request says something of whoever's order it is about
	}
	order, err := s.lookAt(ctx, ref, in.Receipt, s.atMost(in.Wait))
	if err != nil {
		p := s.failed(err)
		if customer && p.Status < http.StatusInternalServerError {
			p = s.problem(errUnknownOrder)
		}
		return nil, p.of(ref)
	}
	return &struct{ Body Order }{order}, nil
}

// errUnknownOrder says that nothing is stored of an order, or that it is not the caller's.
var errUnknownOrder = domain.WithClass(domain.ClassReject, fmt.Errorf("order: %w", domain.ErrNotFound))

// lookAt is an order after a wait of at most so long, if there is anything to wait for.
func (s *Server) lookAt(ctx context.Context, ref domain.OrderRef, receiptText string, wait time.Duration) (Order, error) {
	receipt := producer.Receipt{EventID: ref.EventID, OrderID: ref.OrderID, Type: domain.RequestHold}
	if receiptText != "" {
		var err error
		if receipt, err = parseReceipt(ref, receiptText); err != nil {
			return Order{}, err
		}
	}
	looked := s.deps.Outcomes.Look(ctx, []domain.OrderRef{ref})[0]
	if looked.Err != nil {
		return Order{}, looked.Err
	}
	waited := wait > 0
	if underWay, ok := underWayOf(ref, looked.Order); ok && receiptText == "" {
		receipt = underWay
	}
	for deadline := time.Now().Add(wait); wait > 0; wait = time.Until(deadline) {
		outcome, err := s.outcome(ctx, receipt, wait)
		if errors.Is(err, domain.ErrUnknownOutcome) {
			break
		}
		if err != nil {
			return Order{}, err
		}
		underWay, ok := underWayOf(ref, outcome.Order)
		if !ok || receiptText != "" {
			return s.mayShow(ctx, viewOrder(ref, outcome.Order, outcome.Seats))
		}
		receipt = underWay
	}
	var place *Place
	if receiptText != "" && receipt.EntryID != "" { // without an entry it is of an order that was known: nothing is in line
		p, err := s.deps.Producer.Place(ctx, receipt)
		if err != nil {
			return Order{}, err
		}
		place = viewPlace(p)
	}
	if waited || receiptText != "" {
		if looked = s.deps.Outcomes.Look(ctx, []domain.OrderRef{ref})[0]; looked.Err != nil {
			return Order{}, looked.Err
		}
	}
	switch {
	case looked.Order.State != domain.OrderNone:
	case looked.Over:
		return Order{}, domain.EventOver(ref.EventID)
	case place != nil:
		return s.mayShow(ctx, Order{EventID: ref.EventID, OrderID: ref.OrderID, State: stateWaiting, Place: place})
	case len(looked.SetAside) > 0:
		last := looked.SetAside[len(looked.SetAside)-1]
		return Order{}, &producer.SetAsideError{EventID: ref.EventID, OrderID: ref.OrderID, EntryID: last.EntryID, DeadID: last.DeadID, Reason: last.Reason}
	default:
		return Order{}, errUnknownOrder
	}
	v, err := s.view(ctx, ref, looked.Order)
	if err != nil {
		return Order{}, err
	}
	v.Place = place
	return s.mayShow(ctx, v)
}

// underWayOf is a receipt of what a worker is at with an order that is held; ok is false if that waits for its customer.
func underWayOf(ref domain.OrderRef, o domain.Order) (r producer.Receipt, ok bool) {
	r = producer.Receipt{EventID: ref.EventID, OrderID: ref.OrderID, Type: domain.RequestPurchase}
	switch {
	case o.State != domain.OrderHeld || o.AwaitsAction():
		return r, false
	case o.RequestType == domain.RequestPurchase:
		return r, true
	}
	r.Type, r.Attempt = domain.RequestPay, o.Attempt
	return r, o.Attempt > 0 && o.PayState == domain.PayOpen
}

// mayShow is the order, unless it is another customer's.
func (s *Server) mayShow(ctx context.Context, v Order) (Order, error) {
	if p := callerOf(ctx); p.role == roleCustomer && v.CustomerID != p.customer {
		return Order{}, errUnknownOrder
	}
	return v, nil
}

// viewPlace is nil for a request that is done with.
func viewPlace(p producer.Place) *Place {
	v := &Place{State: string(p.State)}
	switch p.State {
	case producer.PlaceFinished:
		return nil
	case producer.PlaceInHand, producer.PlaceWaiting, producer.PlaceParked:
	}
	if p.Ahead != producer.Unknown {
		v.Ahead = &p.Ahead
	}
	if p.Wait != producer.Unknown {
		millis := p.Wait.Milliseconds()
		v.WaitMillis = &millis
	}
	return v
}
