package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
)

// Finding is how people find orders. Each answers with the objects that the command of that name writes with -o json.
type Finding interface {
	// Orders are those that match, the newest first.
	Orders(ctx context.Context, by OrderSearch) ([]json.RawMessage, error)
	// OrdersNamed are those of that order_id, in whichever event.
	OrdersNamed(ctx context.Context, orderID string) ([]json.RawMessage, error)
	// History is one order, with all facts of it.
	History(ctx context.Context, ref domain.OrderRef) ([]json.RawMessage, error)
}

// OrderSearch says which orders are looked for; what is left out does not matter.
type OrderSearch struct {
	EventID, CustomerID string
	State               domain.OrderState
	SinceMillis         int64
	Limit               int
}

// Self is who calls.
type Self struct {
	Role     string   `json:"role"`
	Name     string   `json:"name,omitempty" doc:"Of the key, or the person: what is done is done in this name."`
	KeyID    string   `json:"key_id,omitempty" doc:"Of the key; people who signed in have none."`
	Customer string   `json:"customer_id,omitempty" doc:"Of a customer's token: whose it is."`
	Cancels  bool     `json:"may_cancel,omitempty" doc:"Of a customer's token: they may cancel what is theirs while it is held."`
	Events   []string `json:"events,omitempty" doc:"Those that the key is for; left out: all."`
}

// searchPatience is how long a look through the log may take.
const searchPatience = 10 * time.Second

func (s *Server) registerFinding() {
	f := s.deps.Finding
	register(s, huma.Operation{
		OperationID: "self", Method: http.MethodGet, Path: "/v1/self", Summary: "Whose key this is", Tags: []string{"keys"},
	}, anyone, func(ctx context.Context, _ *struct{}) (*struct{ Body Self }, error) {
		caller := callerOf(ctx)
		self := Self{Role: string(caller.role), Name: caller.key.Name, KeyID: caller.key.ID, Customer: caller.customer, Cancels: caller.cancels, Events: caller.key.Events}
		switch {
		case caller.role == roleCustomer: // who let them in is no business of theirs
			self.Name, self.KeyID = "", ""
		case caller.person:
			self.KeyID = ""
		}
		return &struct{ Body Self }{self}, nil
	})
	register(s, huma.Operation{
		OperationID: "orders", Method: http.MethodGet, Path: "/v1/orders", Summary: "Find orders", Tags: []string{"sres"},
		Description: "The newest first. The objects are those of holdfast orders list -o json. A customer's orders are those that were ever confirmed, unless a state is asked for; without a customer, and with a state, the log is looked through, which takes the longer the fewer there are.",
	}, operators, func(ctx context.Context, in *struct {
		Event    string `query:"event" maxLength:"128" doc:"Of this event only. Wanted of a key that is for some events."`
		Customer string `query:"customer" maxLength:"128" doc:"Of this customer only."`
		OrderID  string `query:"order_id" maxLength:"128" doc:"Of this name, in whichever event; without event, customer, state and since."`
		State    string `query:"state" enum:"held,lapsed,confirmed,declined,expired,cancelled,rejected" doc:"That are in this state now."`
		Since    int64  `query:"since" minimum:"0" doc:"That came at this time or later."`
		Limit    int    `query:"limit" doc:"How many at most." minimum:"1" maximum:"1000" default:"100"`
	},
	) (*objectsOutput, error) {
		caller := callerOf(ctx)
		for name, id := range map[string]string{"event": in.Event, "customer": in.Customer, "order_id": in.OrderID} {
			if id == "" {
				continue
			}
			if err := domain.CheckID(name, id); err != nil {
				return nil, problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, err.Error())
			}
		}
		if err := caller.mayEvent(in.Event); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, searchPatience)
		defer cancel()
		if in.OrderID == "" {
			state, _ := domain.ParseOrderState(in.State) // the enum has no others
			return s.objects(f.Orders(ctx, OrderSearch{in.Event, in.Customer, state, in.Since, in.Limit}))
		}
		if in.Event != "" || in.Customer != "" || in.State != "" || in.Since != 0 {
			return nil, problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, "order_id: want it without event, customer, state and since")
		}
		return s.objects(f.OrdersNamed(ctx, in.OrderID))
	})
	register(s, huma.Operation{
		OperationID: "order-history", Method: http.MethodGet, Path: "/v1/orders/{event}/{id}/history", Summary: "Show an order with all that has become of it", Tags: []string{"sres"},
		Description: "The objects are those of holdfast orders show -o json.",
	}, operators, func(ctx context.Context, in *struct{ OrderPath }) (*objectsOutput, error) {
		if err := domain.CheckID("id", in.ID); err != nil {
			return nil, problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, err.Error())
		}
		found, err := f.History(ctx, in.ref())
		if err != nil {
			return nil, s.problem(err).of(in.ref())
		}
		return &objectsOutput{Objects{orEmpty(found)}}, nil
	})
}
