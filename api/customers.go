package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
)

// Purchase is an order that was ever confirmed, as it stands on its customer's invoices.
type Purchase struct {
	EventID           string `json:"event_id"`
	OrderID           string `json:"order_id"`
	Status            string `json:"status" enum:"confirmed,cancelled"`
	Items             []Item `json:"items" nullable:"false" doc:"None of one that is archived."`
	Quantity          int64  `json:"quantity" doc:"How many places."`
	Amount            int64  `json:"amount" doc:"Minor units."`
	Currency          string `json:"currency"`
	ConfirmedAtMillis int64  `json:"confirmed_at"`
	Archived          bool   `json:"archived,omitempty" doc:"Its event is over, and the order is in the archive alone: which places they were is not told here any more."`
}

// PurchaseList is a page of purchases, the newest first.
type PurchaseList struct {
	Purchases []Purchase `json:"purchases" nullable:"false"`
	Next      string     `json:"next,omitempty" doc:"The cursor of the next page; left out if this is the last."`
}

// InvoiceLine is one order on a customer's invoices.
type InvoiceLine struct {
	Ref               domain.OrderRef
	Status            string
	Items             domain.Items // none of one that is Archived
	Quantity          int64
	Amount            int64 // minor units
	Currency          string
	ConfirmedAtMillis int64
	Archived          bool // its event was forgotten
}

// CustomerToken lets a customer see what is theirs.
type CustomerToken struct {
	Token       string `json:"token" doc:"For the header Authorization: Bearer TOKEN."`
	UntilMillis int64  `json:"until"`
}

// customerTokenLasts is how long a token is good for where nobody says.
const customerTokenLasts = 15 * time.Minute

// CustomerPath names a customer.
type CustomerPath struct {
	Customer string `path:"customer" doc:"customer_id." maxLength:"128"`
}

func (s *Server) registerCustomers() {
	register(s, huma.Operation{
		OperationID: "purchases", Method: http.MethodGet, Path: "/v1/customers/{customer}/purchases", Summary: "What a customer has bought, the newest first", Tags: []string{"customers"},
	}, []domain.APIRole{domain.APICheckout, domain.APICustomerView, domain.APIAdmin, roleCustomer}, s.purchases)
	register(s, huma.Operation{
		OperationID: "customer-token", Method: http.MethodPost, Path: "/v1/customers/{customer}/tokens", Summary: "Make a token with which a customer sees what is theirs", Tags: []string{"customers"},
		Description: "It ends by itself, and with the key that has made it.", DefaultStatus: http.StatusCreated,
	}, sellers, s.mintToken)
}

func (s *Server) purchases(ctx context.Context, in *struct {
	CustomerPath
	Paging
},
) (*struct{ Body PurchaseList }, error) {
	caller := callerOf(ctx)
	if err := checkCustomer(in.Customer); err != nil {
		return nil, s.problem(err)
	}
	if caller.role == roleCustomer && caller.customer != in.Customer {
		return nil, problemOf(http.StatusForbidden, domain.CodeDenied, "this token is another customer's")
	}
	skip := 0
	if in.Cursor != "" {
		var err error
		if skip, err = strconv.Atoi(in.Cursor); err != nil || skip < 0 {
			return nil, problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, "cursor: want one as it was given")
		}
	}
	lines, err := s.deps.Books.Invoices(ctx, in.Customer)
	if err != nil {
		return nil, s.problem(err)
	}
	lines = slices.DeleteFunc(lines, func(l InvoiceLine) bool { return !caller.key.MayEvent(l.Ref.EventID) })
	slices.Reverse(lines)
	// A cursor counts from the oldest: those that come meanwhile are ahead of the first page.
	end := len(lines)
	if in.Cursor != "" {
		end = min(skip, end)
	}
	lines = lines[len(lines)-end:]
	list := PurchaseList{Purchases: []Purchase{}}
	if len(lines) > in.Limit {
		lines = lines[:in.Limit]
		list.Next = strconv.Itoa(end - in.Limit)
	}
	for _, l := range lines {
		items := []Item{}
		if !l.Archived {
			named, err := s.deps.Outcomes.SeatNames(ctx, l.Ref.EventID, l.Items)
			if err != nil {
				return nil, s.problem(err)
			}
			items = viewItems(l.Items, named)
		}
		list.Purchases = append(list.Purchases, Purchase{l.Ref.EventID, l.Ref.OrderID, l.Status, items, l.Quantity, l.Amount, l.Currency, l.ConfirmedAtMillis, l.Archived})
	}
	return &struct{ Body PurchaseList }{list}, nil
}

func checkCustomer(id string) error {
	return domain.WithCode(domain.ClassReject, domain.CodeInvalid, domain.CheckID("customer", id))
}

func (s *Server) mintToken(ctx context.Context, in *struct {
	CustomerPath
	Seconds int  `query:"seconds" minimum:"1" maximum:"86400" doc:"How long it is good for. Default: 900."`
	Cancel  bool `query:"cancel" doc:"true: with it the customer may also cancel their own orders, as long as these are held and not paid for."`
},
) (*struct{ Body CustomerToken }, error) {
	if err := checkCustomer(in.Customer); err != nil {
		return nil, s.problem(err)
	}
	if callerOf(ctx).person { // it would be signed with what is stored of a key
		return nil, problemOf(http.StatusForbidden, domain.CodeDenied, "only who has a key makes tokens of customers")
	}
	lasts := customerTokenLasts
	if in.Seconds > 0 {
		lasts = time.Duration(in.Seconds) * time.Second
	}
	until := time.Now().Add(lasts)
	token, err := mint(callerOf(ctx).key, in.Customer, in.Cancel, until)
	if err != nil {
		return nil, s.problem(err)
	}
	return &struct{ Body CustomerToken }{CustomerToken{token, until.UnixMilli()}}, nil
}
