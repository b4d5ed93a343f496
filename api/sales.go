package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
)

// Books are what is sold, and to whom.
type Books interface {
	// Sales are the orders that are confirmed of an event, their tickets, and their revenue in minor units. Error: domain.ErrNotFound.
	Sales(ctx context.Context, eventID string) (Sales, error)
	// Refused is how many places of an event were asked for in vain, by section and reason.
	Refused(ctx context.Context, eventID string, event domain.Event) ([]Refused, error)
	// Series are the minutes of an event's sales from a time until another, in milliseconds, the oldest first, and from when on all are known; 0: from
	// the start.
	Series(ctx context.Context, eventID string, fromMillis, untilMillis int64) (minutes []SalesStep, since int64, err error)
	// Invoices are the lines of a customer, the oldest first.
	Invoices(ctx context.Context, customerID string) ([]InvoiceLine, error)
}

// Sales are the totals of an event.
type Sales struct{ Orders, TicketsSold, Revenue int64 }

// Refused is how many places of a section were asked for in vain, and why.
type Refused struct {
	Section    string `json:"section"`
	Allocation string `json:"allocation"`
	Reason     string `json:"reason"`
	Places     int64  `json:"places"`
}

// SectionSales is what has become of the places of a section, or of those of an allocation.
type SectionSales struct {
	Section    string `json:"section"`
	Allocation string `json:"allocation"`
	Price      int64  `json:"price" doc:"Minor units, now."`
	Capacity   int64  `json:"capacity"`
	Available  int64  `json:"available"`
	Held       int64  `json:"held"`
	Sold       int64  `json:"sold"`
	Blocked    int64  `json:"blocked"`
}

// EventSales is what is sold of an event.
type EventSales struct {
	EventID     string         `json:"event_id"`
	Name        string         `json:"name"`
	Currency    string         `json:"currency"`
	Orders      int64          `json:"orders" doc:"That are confirmed."`
	TicketsSold int64          `json:"tickets_sold"`
	Revenue     int64          `json:"revenue" doc:"Minor units."`
	Sections    []SectionSales `json:"sections" nullable:"false"`
	Refused     []Refused      `json:"refused" nullable:"false" doc:"Places that were asked for in vain."`
}

// SalesList is a page of sales.
type SalesList struct {
	Events []EventSales `json:"events" nullable:"false"`
	Next   string       `json:"next,omitempty" doc:"The cursor of the next page; left out if this is the last."`
}

const textCSV = "text/csv"

func (s *Server) registerSales() {
	register(s, huma.Operation{
		OperationID: "sales", Method: http.MethodGet, Path: "/v1/sales", Summary: "What is sold, by event and section", Tags: []string{"sales"},
		Description: "With Accept: text/csv a line for each section; Link names the next page then.",
		Responses:   jsonOrCSV[SalesList](s),
	}, counters, s.sales)
	s.registerSeries()
}

// jsonOrCSV are the responses of an endpoint that answers with T, or with lines of CSV.
func jsonOrCSV[T any](s *Server) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
		"application/json": {Schema: schemaOf[T](s)},
		textCSV:            {Schema: &huma.Schema{Type: huma.TypeString}},
	}}}
}

// inAccepted is v as the caller takes it.
func (s *Server) inAccepted(accept string, v any, inCSV func() ([]byte, error)) (*salesOutput, error) {
	out := &salesOutput{ContentType: "application/json"}
	var err error
	if strings.Contains(accept, textCSV) {
		out.ContentType = textCSV + "; charset=utf-8"
		out.Body, err = inCSV()
	} else {
		out.Body, err = json.Marshal(v)
		out.Body = append(out.Body, '\n')
	}
	if err != nil {
		return nil, s.problem(err)
	}
	return out, nil
}

type salesOutput struct {
	ContentType string `header:"Content-Type"`
	Link        string `header:"Link"`
	Body        []byte
}

func (s *Server) sales(ctx context.Context, in *struct {
	Paging
	Event  string `query:"event" maxLength:"128" doc:"Of this event only."`
	Accept string `header:"Accept" doc:"text/csv: a table instead of JSON."`
},
) (*salesOutput, error) {
	ids, next, err := s.salesOf(ctx, in.Event, in.Paging)
	if err != nil {
		return nil, s.problem(err)
	}
	list := SalesList{Events: []EventSales{}, Next: next}
	for _, id := range ids {
		of, err := s.eventSales(ctx, id)
		if in.Event == "" && went(err) {
			continue
		}
		if err != nil {
			return nil, s.problem(fmt.Errorf("event %s: %w", id, err))
		}
		list.Events = append(list.Events, of)
	}
	out, err := s.inAccepted(in.Accept, list, func() ([]byte, error) { return salesCSV(list) })
	if err == nil && next != "" && strings.HasPrefix(out.ContentType, textCSV) {
		out.Link = fmt.Sprintf(`</v1/sales?limit=%d&cursor=%s>; rel="next"`, in.Limit, url.QueryEscape(next))
	}
	return out, err
}

// salesOf are the events that are asked for.
func (s *Server) salesOf(ctx context.Context, eventID string, p Paging) (ids []string, next string, err error) {
	if eventID == "" {
		return s.eventPage(ctx, p)
	}
	if err := domain.CheckID("event", eventID); err != nil {
		return nil, "", domain.WithCode(domain.ClassReject, domain.CodeInvalid, err)
	}
	return []string{eventID}, "", callerOf(ctx).mayEvent(eventID)
}

func (s *Server) eventSales(ctx context.Context, id string) (EventSales, error) {
	look, err := s.events.at(ctx, id)
	if err != nil {
		return EventSales{}, err
	}
	e := look.event
	totals, err := s.deps.Books.Sales(ctx, id)
	if err != nil {
		return EventSales{}, err
	}
	v := EventSales{EventID: id, Name: e.Name, Currency: e.Currency, Orders: totals.Orders, TicketsSold: totals.TicketsSold, Revenue: totals.Revenue, Sections: []SectionSales{}}
	for _, of := range e.Sections {
		section, allocation := domain.SplitPool(of.Name)
		v.Sections = append(v.Sections, SectionSales{section, allocation, of.Price, of.Capacity, of.Available, of.Held, of.Sold, of.Blocked})
	}
	if v.Refused, err = s.deps.Books.Refused(ctx, id, e); v.Refused == nil {
		v.Refused = []Refused{}
	}
	return v, err
}

func salesCSV(list SalesList) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	err := w.Write([]string{"event_id", "name", "currency", "section", "allocation", "price", "capacity", "available", "held", "sold", "blocked", "refused"})
	for _, e := range list.Events {
		for _, s := range e.Sections {
			refused := int64(0)
			for _, r := range e.Refused {
				if r.Section == s.Section && r.Allocation == s.Allocation {
					refused += r.Places
				}
			}
			cells := []string{e.EventID, plain(e.Name), e.Currency, s.Section, s.Allocation}
			for _, n := range []int64{s.Price, s.Capacity, s.Available, s.Held, s.Sold, s.Blocked, refused} {
				cells = append(cells, strconv.FormatInt(n, 10))
			}
			err = cmp.Or(err, w.Write(cells))
		}
	}
	w.Flush()
	return b.Bytes(), errors.Join(err, w.Error())
}

// plain is a text that no spreadsheet takes for a formula.
func plain(text string) string {
	if text != "" && slices.Contains([]byte("=+-@\t\r"), text[0]) {
		return "'" + text
	}
	return text
}
