package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
)

// SalesStep is what happened to the sales of an event in a step of time. What was sold, less what was given back, adds up to what is sold of it.
type SalesStep struct {
	AtMillis        int64 `json:"at" doc:"When it begins."`
	Orders          int64 `json:"orders" doc:"That were confirmed."`
	TicketsSold     int64 `json:"tickets_sold" doc:"With them, or by an exchange."`
	Revenue         int64 `json:"revenue" doc:"Likewise; minor units."`
	OrdersCancelled int64 `json:"orders_cancelled" doc:"Of those that were confirmed."`
	TicketsReturned int64 `json:"tickets_returned" doc:"By these, by partial cancels and exchanges."`
	RevenueReturned int64 `json:"revenue_returned" doc:"Likewise; minor units."`
	Refused         int64 `json:"refused" doc:"Places that were asked for in vain, of orders that were rejected."`
}

// SalesSeries is how the sales of an event went.
type SalesSeries struct {
	EventID     string      `json:"event_id"`
	StepMillis  int64       `json:"step_ms"`
	FromMillis  int64       `json:"from"`
	UntilMillis int64       `json:"until"`
	SinceMillis int64       `json:"since,omitempty" doc:"What was before is not told any more; left out if all is."`
	Steps       []SalesStep `json:"steps" nullable:"false" doc:"The oldest first; those in which nothing happened are left out."`
}

// seriesSteps are those that may be asked for, and mostSteps how many of them at a time.
var seriesSteps = map[string]time.Duration{"1m": time.Minute, "5m": 5 * time.Minute, "15m": 15 * time.Minute, "1h": time.Hour, "1d": 24 * time.Hour}

const (
	mostSteps    = 10_000
	defaultSteps = 1440
)

func (s *Server) registerSeries() {
	register(s, huma.Operation{
		OperationID: "sales-series", Method: http.MethodGet, Path: "/v1/sales/series", Summary: "How the sales of an event went, step by step", Tags: []string{"sales"},
		Description: "At most 10,000 steps. With Accept: text/csv a line for each. 503 unavailable: the log is still being read, come again.",
		Responses:   jsonOrCSV[SalesSeries](s),
	}, counters, s.series)
}

func (s *Server) series(ctx context.Context, in *struct {
	Event  string `query:"event" required:"true" doc:"event_id." minLength:"1" maxLength:"128"`
	Step   string `query:"step" doc:"How long a step is." enum:"1m,5m,15m,1h,1d" default:"1m"`
	From   int64  `query:"from" minimum:"0" doc:"Milliseconds. Default: 1,440 steps before until."`
	Until  int64  `query:"until" minimum:"0" maximum:"253402300799999" doc:"Milliseconds, not included. Default: now."`
	Accept string `header:"Accept" doc:"text/csv: a table instead of JSON."`
},
) (*salesOutput, error) {
	ref := domain.OrderRef{EventID: in.Event}
	if err := domain.CheckID("event", in.Event); err != nil {
		return nil, s.problem(domain.WithCode(domain.ClassReject, domain.CodeInvalid, err))
	}
	if err := callerOf(ctx).mayEvent(in.Event); err != nil {
		return nil, err
	}
	if _, err := s.events.at(ctx, in.Event); err != nil {
		return nil, s.problem(err).of(ref)
	}
	step := seriesSteps[in.Step].Milliseconds()
	// Steps begin at multiples of theirs; the one of until is whole.
	v := SalesSeries{EventID: in.Event, StepMillis: step, UntilMillis: (cmp.Or(in.Until, time.Now().UnixMilli()) + step - 1) / step * step, Steps: []SalesStep{}}
	if v.FromMillis = in.From / step * step; in.From == 0 {
		v.FromMillis = max(v.UntilMillis-defaultSteps*step, 0)
	}
	if v.FromMillis > v.UntilMillis || (v.UntilMillis-v.FromMillis)/step > mostSteps {
		return nil, problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, "from, until: want at most 10000 steps from the one until the other")
	}
	minutes, since, err := s.deps.Books.Series(ctx, in.Event, v.FromMillis, v.UntilMillis)
	if err != nil {
		return nil, s.problem(err).of(ref)
	}
	v.SinceMillis = since
	for _, m := range minutes {
		m.AtMillis = m.AtMillis / step * step
		if n := len(v.Steps); n > 0 && v.Steps[n-1].AtMillis == m.AtMillis {
			v.Steps[n-1].add(m)
			continue
		}
		v.Steps = append(v.Steps, m)
	}
	return s.inAccepted(in.Accept, v, func() ([]byte, error) { return seriesCSV(v) })
}

func (a *SalesStep) add(b SalesStep) {
	a.Orders, a.TicketsSold, a.Revenue = a.Orders+b.Orders, a.TicketsSold+b.TicketsSold, a.Revenue+b.Revenue
	a.OrdersCancelled, a.TicketsReturned, a.RevenueReturned = a.OrdersCancelled+b.OrdersCancelled, a.TicketsReturned+b.TicketsReturned, a.RevenueReturned+b.RevenueReturned
	a.Refused += b.Refused
}

func seriesCSV(v SalesSeries) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	err := w.Write([]string{"event_id", "at", "orders", "tickets_sold", "revenue", "orders_cancelled", "tickets_returned", "revenue_returned", "refused"})
	for _, s := range v.Steps {
		cells := []string{v.EventID, time.UnixMilli(s.AtMillis).UTC().Format(time.RFC3339)}
		for _, n := range []int64{s.Orders, s.TicketsSold, s.Revenue, s.OrdersCancelled, s.TicketsReturned, s.RevenueReturned, s.Refused} {
			cells = append(cells, strconv.FormatInt(n, 10))
		}
		err = cmp.Or(err, w.Write(cells))
	}
	w.Flush()
	return b.Bytes(), errors.Join(err, w.Error())
}
