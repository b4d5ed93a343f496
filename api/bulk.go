package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
)

// Bounds of a body of several orders.
const (
	maxBulkLines = 1000
	maxBulkBytes = 4 << 20
)

// BulkLine is what became of one line of several.
type BulkLine struct {
	Line    int      `json:"line" doc:"Which, from 1; empty ones count."`
	Status  int      `json:"status" doc:"The HTTP status that it would have had alone."`
	Order   *Order   `json:"order,omitempty"`
	Problem *Problem `json:"problem,omitempty"`
}

func (s *Server) registerBulk() {
	body := &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	register(s, huma.Operation{
		OperationID: "orders-bulk", Method: http.MethodPost, Path: "/v1/orders/bulk", Summary: "Buy tickets, or hold them, many at a time", Tags: []string{"orders"}, MaxBodyBytes: maxBulkBytes,
		Description: "The body is lines of JSON, an OrderRequest each, with its order_id: at most 1,000, of 128 KiB each and 4 MiB together. Each counts as a request. The answer is a BulkLine for each, in their order; one does not depend on another, and to send all of them again is harmless.",
		RequestBody: body, SkipValidateBody: true, // each line is validated
		Responses: map[string]*huma.Response{"200": {Description: "Lines of JSON.", Content: map[string]*huma.MediaType{
			typeJSONLines: {Schema: schemaOf[BulkLine](s)},
		}}},
	}, sellers, s.bulk)
	body.Content[typeJSONLines] = &huma.MediaType{Schema: schemaOf[OrderRequest](s)} // huma takes it for bytes
}

type bulkOutput struct {
	ContentType string `header:"Content-Type"`
	Applied     string `header:"Preference-Applied"`
	Body        []byte
}

func (s *Server) bulk(ctx context.Context, in *struct {
	Preferences
	RawBody []byte `contentType:"application/jsonl"`
},
) (*bulkOutput, error) {
	var results []BulkLine
	var subs []*submission
	at := make(map[*submission]int)
	line := 0
	for text := range bytes.Lines(in.RawBody) {
		line++
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		if len(results) == maxBulkLines {
			return nil, problemOf(http.StatusRequestEntityTooLarge, codeTooLarge, "want at most 1000 lines")
		}
		results = append(results, BulkLine{Line: line})
		r, problem := s.bulkRequest(ctx, text)
		if problem != nil {
			results[len(results)-1].Problem = problem
			continue
		}
		sub := &submission{request: r}
		subs, at[sub] = append(subs, sub), len(results)-1
	}
	if len(results) == 0 {
		return nil, problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, "want at least one line")
	}
	if more := len(results) - 1; more > 0 && s.rates.add(callerOf(ctx).limitedBy(), more, s.options.Rate, time.Now()) < 0 {
		return nil, errRateLimited
	}
	wait, waits := s.preferred(in.Prefer)
	s.submitAll(ctx, in.Traceparent, subs, wait)
	for _, sub := range subs {
		result := &results[at[sub]]
		if result.Problem = sub.problem; sub.problem == nil {
			result.Status, result.Order = sub.status, &sub.order
		}
	}
	out := &bulkOutput{ContentType: typeJSONLines}
	if waits {
		out.Applied = "wait"
	}
	var body bytes.Buffer
	write := json.NewEncoder(&body)
	for i := range results {
		if p := results[i].Problem; p != nil {
			results[i].Status = p.Status
		}
		if err := write.Encode(&results[i]); err != nil {
			return nil, s.problem(err)
		}
	}
	out.Body = body.Bytes()
	return out, nil
}

// bulkRequest is what a line asks for, checked as the body of one order is.
func (s *Server) bulkRequest(ctx context.Context, text []byte) (r domain.Request, problem *Problem) {
	if len(text) > maxBodyBytes {
		return r, problemOf(http.StatusRequestEntityTooLarge, codeTooLarge, "the line is too large")
	}
	var value any
	if json.Unmarshal(text, &value) != nil {
		return r, problemOf(http.StatusBadRequest, domain.CodeInvalid, "not JSON")
	}
	var found huma.ValidateResult
	path := huma.NewPathBuffer(nil, 0)
	huma.Validate(s.huma.OpenAPI().Components.Schemas, schemaOf[OrderRequest](s), path, huma.ModeWriteToServer, value, &found)
	if len(found.Errors) > 0 {
		problem, _ := newProblem(http.StatusUnprocessableEntity, "validation failed", found.Errors...).(*Problem)
		return r, problem
	}
	var b OrderRequest
	if json.Unmarshal(text, &b) != nil {
		return r, problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, "not the JSON that is wanted")
	}
	if b.OrderID == "" {
		return r, problemOf(http.StatusUnprocessableEntity, domain.CodeInvalid, "want order_id: it is what makes a retry safe")
	}
	if err := callerOf(ctx).mayEvent(b.EventID); err != nil {
		return r, s.problem(err)
	}
	b.Type = cmp.Or(b.Type, string(domain.RequestPurchase))
	return b.request(), nil
}
