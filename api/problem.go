package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/producer"
)

// Codes of problems that only HTTP has. All others are those of the domain.
const (
	codeUnauthenticated  domain.Code = "unauthenticated" // no key, or one that is not known (any more)
	codeRateLimited      domain.Code = "rate_limited"
	codeMethodNotAllowed domain.Code = "method_not_allowed"
	codeTooLarge         domain.Code = "too_large"
	codeTimeout          domain.Code = "timeout"
	codeMediaType        domain.Code = "unsupported_media_type"
)

// Problem is an error as RFC 9457 has it. It repeats nothing of what was sent but names of events and orders.
type Problem struct {
	Title   string      `json:"title" doc:"What the status means, for people."`
	Status  int         `json:"status" doc:"The HTTP status."`
	Code    domain.Code `json:"code" doc:"What went wrong, for programs. New ones may come."`
	Detail  string      `json:"detail" doc:"What went wrong, for people."`
	EventID string      `json:"event_id,omitempty"`
	OrderID string      `json:"order_id,omitempty"`
	DeadID  string      `json:"dead_id,omitempty" doc:"With code set_aside: the dead letter that the request is, for whoever looks after it."`
	Errors  []Fault     `json:"errors,omitempty" doc:"Each thing that is wrong with the request."`
}

// Fault is one thing that is wrong with a request.
type Fault struct {
	Location string `json:"location,omitempty" doc:"Where, such as body.items[0].quantity."`
	Message  string `json:"message" doc:"What is wanted."`
}

// Error is the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	switch p.Status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return http.Header{"Retry-After": {"1"}}
	case http.StatusUnauthorized:
		return http.Header{"WWW-Authenticate": {"Bearer"}}
	}
	return nil
}

func problemOf(status int, code domain.Code, detail string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// huma's own errors repeat what was sent, a payment token included: these do not.
func init() {
	huma.NewError = newProblem
	// All that there are, are whole; 1000000 is no 1e+06 for people.
	validation.MsgExpectedMinimumNumber, validation.MsgExpectedMaximumNumber = "expected number >= %.0f", "expected number <= %.0f"
}

// newProblem is what huma makes of what is wrong with a request before a handler sees it.
func newProblem(status int, detail string, errs ...error) huma.StatusError {
	if len(errs) == 1 {
		if p, ok := errs[0].(*Problem); ok { //nolint:errorlint // made by us, just before
			return p
		}
	}
	code := domain.CodeInvalid
	switch status {
	case http.StatusRequestEntityTooLarge:
		code, detail = codeTooLarge, "the body is too large"
	case http.StatusRequestTimeout:
		code, detail = codeTimeout, "the body did not come in time"
	case http.StatusUnsupportedMediaType:
		code, detail = codeMediaType, "want application/json"
	case http.StatusNotAcceptable:
		detail = "this endpoint answers in application/json"
	case http.StatusInternalServerError: // the body could not be read: whoever sent it has gone
		status, detail = http.StatusBadRequest, "the body could not be read"
	}
	p := problemOf(status, code, detail)
	if code != domain.CodeInvalid {
		return p
	}
	for _, err := range errs {
		var d *huma.ErrorDetail
		switch {
		case !errors.As(err, &d):
			p.Errors = append(p.Errors, Fault{Message: "cannot be read"})
		case d.Location == "body" && d.Value != nil && isText(d.Value): // the decoder repeats bits of it
			p.Errors = append(p.Errors, Fault{"body", "not the JSON that is wanted"})
		case d.Message == "unexpected property": // its name may be anything, too
			if !slices.Contains(p.Errors, faultProperty) {
				p.Errors = append(p.Errors, faultProperty)
			}
		default:
			p.Errors = append(p.Errors, Fault{d.Location, d.Message})
		}
	}
	return p
}

var faultProperty = Fault{"body", "a property that there is not: /openapi.json tells which there are"}

func isText(v any) bool { _, ok := v.(string); return ok }

// statuses are those of the codes; of others the class says it.
var statuses = map[domain.Code]int{
	domain.CodeInvalid: http.StatusUnprocessableEntity, domain.CodeNotFound: http.StatusNotFound, domain.CodeConflict: http.StatusConflict,
	domain.CodeSetAside: http.StatusConflict, domain.CodeEventClosed: http.StatusConflict, domain.CodeEventReopened: http.StatusConflict,
	domain.CodeEventOver: http.StatusGone,
	domain.CodeBelowHeld: http.StatusConflict,
	domain.CodeBusy:      http.StatusServiceUnavailable, domain.CodeUnavailable: http.StatusServiceUnavailable, domain.CodeLoading: http.StatusServiceUnavailable,
	domain.CodeUnknownOutcome: http.StatusServiceUnavailable, domain.CodeDataReplaced: http.StatusServiceUnavailable,
	domain.CodeDenied: http.StatusNotImplemented,
}

// details are what outsiders are told where the error itself may say what is none of their business, such as addresses.
var details = map[domain.Code]string{
	domain.CodeBusy:           "as many requests wait as may: nothing was published, come back later",
	domain.CodeDenied:         "this process may not do that: its user of Redis is not for it. Ask one that is for staff",
	domain.CodeUnknownOutcome: "it may have been done, or not: send the same again, nothing happens twice",
}

// problem is what a caller is told of an error. What is not theirs to mend is logged.
func (s *Server) problem(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	code, class := domain.CodeOf(err), domain.ClassOf(err)
	if class == domain.ClassReject && code == domain.CodeFailed {
		code = domain.CodeInvalid
	}
	status, known := statuses[code]
	switch {
	case known:
	case class == domain.ClassRetry:
		status = http.StatusServiceUnavailable
	default:
		status = http.StatusInternalServerError
	}
	if status < http.StatusInternalServerError {
		p = problemOf(status, code, err.Error())
	} else {
		detail, ok := details[code]
		if !ok {
			detail = "not now: try again"
			if status == http.StatusInternalServerError {
				detail = "something is wrong here that trying again does not mend"
			}
		}
		p = problemOf(status, code, detail)
		if code != domain.CodeBusy {
			s.log.Warn("a request failed", zap.String("code", string(code)), zap.Error(err))
		}
	}
	var setAside *producer.SetAsideError
	if errors.As(err, &setAside) {
		p.EventID, p.OrderID, p.DeadID = setAside.EventID, setAside.OrderID, setAside.DeadID
	}
	return p
}

// of is p with the order, or the event, that it is about; not of what may be no name of one.
func (p *Problem) of(ref domain.OrderRef) *Problem {
	one := *p // others may be told the same
	if one.Code != domain.CodeInvalid {
		one.EventID, one.OrderID = ref.EventID, ref.OrderID
	}
	return &one
}

// write answers with a problem where huma does not.
func write(w http.ResponseWriter, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // whoever asked has gone
}
