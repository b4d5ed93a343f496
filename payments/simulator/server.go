package simulator

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/payments"
)

const (
	readHeaderTimeout = 5 * time.Second
	readBodyTimeout   = 10 * time.Second
	idleTimeout       = 2 * time.Minute // longer than the client's, so that the client is the one to hang up
	maxHeaderBytes    = 64 << 10
	shutdownGrace     = 5 * time.Second

	// A reader of the books must take so many lines in so much time.
	booksLinesPerWait = 1000
	booksWriteTimeout = 30 * time.Second
)

// authorizeRequest is the body of a PUT as the server reads it.
type authorizeRequest struct {
	Amount      *int64        `json:"amount"` // minor units
	Currency    string        `json:"currency"`
	CustomerID  string        `json:"customer_id"`
	Fingerprint string        `json:"fingerprint"`
	Token       domain.Secret `json:"payment_token"`
}

// finishRequest is the body of POST NAME/finish.
type finishRequest struct {
	Outcome domain.PaymentStatus `json:"outcome"` // authorized or declined
}

// callFinish is a call of the simulator alone: not ours, but the customer's.
const callFinish payments.Call = "finish"

// callDispute likewise: their bank's. Its body is a domain.Dispute.
const callDispute payments.Call = "dispute"

type handler struct {
	simulator *Simulator
}

// Handler serves sim over the HTTP contract of package payments, with GET /ledger
// (application/x-ndjson, one domain.BooksLine a line) and GET /healthz (200).
//
// Besides, POST NAME/finish {"outcome": "authorized"} or "declined" is what a customer does about a payment that is
// action_required: 200, or 409 if nothing had, or has any more, to be done. And POST NAME/dispute {"state": "open", "amount": 2500, "answer_until": 0} is
// what their bank does about one that was captured: 200, or 409 if it was not.
//
// 402 and 409 carry the same JSON as 200; other errors carry {"error": text}.
// Malformed ids, JSON, amounts and paths are 400, a body above 64 KiB is 413, a
// wrong method is 405. A 404 with JSON says that there is no such payment; that of a
// path which the contract does not know is plain text, because to a client it must
// not be an answer about money. A PUT of a refunded order is 409 with status refunded.
//
// A simulated timeout hangs until the client goes away, at most HangTime, and
// then is 504. A lost reply aborts the connection after the effect. What is above
// RateLimit is 429, and Refuse is 400.
//
// Paths are taken as they were sent: "." and ".." are valid ids. Put no
// http.ServeMux in front, which would clean them away; http.StripPrefix is fine.
func Handler(sim *Simulator) http.Handler {
	return handler{simulator: sim}
}

// RequireToken lets requests through to h that bring a bearer token; to others it answers
// 401. GET /healthz needs none.
func RequireToken(h http.Handler, token domain.Secret) http.Handler {
	want := []byte("Bearer " + string(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			replyError(w, http.StatusUnauthorized, "the bearer token is not valid")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// ServeHTTP routes by the segments of the path as it was sent.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	segments := strings.SplitN(r.URL.EscapedPath(), "/", 9)
	for i, segment := range segments {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			replyError(w, http.StatusBadRequest, "malformed path")
			return
		}
		segments[i] = plain
	}
	if segments[0] != "" {
		replyError(w, http.StatusBadRequest, "malformed path")
		return
	}
	segments = segments[1:]
	switch {
	case len(segments) == 1 && segments[0] == "healthz":
		if allow(w, r, http.MethodGet, http.MethodHead) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(w, "ok\n")
		}
	case len(segments) == 1 && segments[0] == "minimums":
		if allow(w, r, http.MethodGet) {
			h.minimums(w, r)
		}
	case len(segments) == 1 && segments[0] == "ledger":
		if allow(w, r, http.MethodGet) {
			h.books(w)
		}
	case segments[0] == "authorizations":
		h.authorizations(w, r, segments[1:])
	default:
		replyNoPath(w)
	}
}

// authorizations routes the calls of a payment by their method: a name of three
// segments, with a namespace, and a name of two with an action look the same. Of a later attempt, the name has two more.
func (h handler) authorizations(w http.ResponseWriter, r *http.Request, segments []string) {
	c := payments.CallLookup
	name := segments
	switch r.Method {
	case http.MethodGet:
	case http.MethodPut:
		c = payments.CallAuthorize
	case http.MethodPost:
		last := len(segments) - 1
		c, name = payments.Call(segments[last]), segments[:last]
		switch c {
		case payments.CallCapture, payments.CallVoid, payments.CallRefund, payments.CallNextStep, callFinish, callDispute:
		default:
			replyNoPath(w)
			return
		}
	default:
		allow(w, r, http.MethodGet, http.MethodPut, http.MethodPost)
		return
	}
	attempt := 0
	if last := len(name) - 1; last > 2 && name[last-1] == "attempts" {
		var err error
		if attempt, err = strconv.Atoi(name[last]); err != nil || attempt == 0 || strconv.Itoa(attempt) != name[last] {
			replyError(w, http.StatusBadRequest, "malformed path")
			return
		}
		name = name[:last-1]
	}
	switch len(name) {
	case 2:
		h.payment(w, r, c, domain.PaymentName{OrderRef: domain.OrderRef{EventID: name[0], OrderID: name[1]}, Attempt: attempt})
	case 3:
		if name[0] == "" { // which would name a payment without a namespace
			replyError(w, http.StatusBadRequest, "malformed path")
			return
		}
		h.payment(w, r, c, domain.PaymentName{Namespace: name[0], OrderRef: domain.OrderRef{EventID: name[1], OrderID: name[2]}, Attempt: attempt})
	default:
		replyNoPath(w)
	}
}

func (h handler) payment(w http.ResponseWriter, r *http.Request, c payments.Call, name domain.PaymentName) {
	attempt := domain.Attempt{Name: name}
	body, problem, status := readBody(w, r, c)
	if problem != "" {
		replyError(w, status, problem)
		return
	}
	var p domain.Payment
	var step domain.NextStep
	var err error
	switch c {
	case payments.CallAuthorize:
		request := domain.PaymentRequest{Attempt: attempt}
		if problem := parseAuthorize(body, &request); problem != "" {
			replyError(w, http.StatusBadRequest, problem)
			return
		}
		p, err = h.simulator.do(r.Context(), c, request, 0)
	case payments.CallRefund:
		p, err = h.refund(r.Context(), attempt, body)
	case payments.CallNextStep:
		step, err = h.simulator.NextStep(r.Context(), attempt)
	case callFinish:
		var parsed finishRequest
		authorized := json.Unmarshal(body, &parsed) == nil && parsed.Outcome == domain.PaymentStatusAuthorized
		if !authorized && parsed.Outcome != domain.PaymentStatusDeclined {
			replyError(w, http.StatusBadRequest, "malformed JSON: want {outcome}, authorized or declined")
			return
		}
		p, err = h.simulator.Finish(name, authorized)
	case callDispute:
		var d domain.Dispute
		if json.Unmarshal(body, &d) != nil {
			replyError(w, http.StatusBadRequest, "malformed JSON: want {state, amount, answer_until}")
			return
		}
		p, err = h.simulator.Dispute(name, d)
	default:
		p, err = h.simulator.do(r.Context(), c, domain.PaymentRequest{Attempt: attempt}, 0)
	}
	switch {
	case err == nil && c == payments.CallNextStep:
		replyJSON(w, http.StatusOK, payments.NextStepReply{RedirectURL: string(step.RedirectURL), ClientSecret: string(step.ClientSecret)})
	case err == nil:
		replyPayment(w, statusOf(c, p.Status), p)
	case errors.Is(err, errLostReply):
		panic(http.ErrAbortHandler)
	case errors.Is(err, domain.ErrNotFound):
		replyError(w, http.StatusNotFound, "no such payment")
	case errors.Is(err, errCaptureRefused):
		replyPayment(w, http.StatusPaymentRequired, p)
	case errors.Is(err, domain.ErrRefused) && c == payments.CallNextStep:
		replyError(w, http.StatusConflict, "nothing is to be done")
	case errors.Is(err, domain.ErrRefused):
		replyPayment(w, http.StatusConflict, p)
	case errors.Is(err, domain.ErrUnacceptable):
		replyError(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, errTooManyCalls):
		replyError(w, http.StatusTooManyRequests, errTooManyCalls.Error())
	default:
		replyError(w, http.StatusGatewayTimeout, "outcome not known")
	}
}

// statusOf is the HTTP status of a call that was answered with a payment.
func statusOf(c payments.Call, s domain.PaymentStatus) int {
	switch {
	case c == payments.CallAuthorize && s == domain.PaymentStatusDeclined:
		return http.StatusPaymentRequired
	case c == payments.CallAuthorize && (s == domain.PaymentStatusVoided || s == domain.PaymentStatusRefunded):
		return http.StatusConflict // no money is reserved or taken: whoever reads only the HTTP status must not think so
	case c == payments.CallVoid && s == domain.PaymentStatusCaptured:
		return http.StatusConflict
	}
	return http.StatusOK
}

// refund gives back the total that the body names; without one, whatever was captured.
func (h handler) refund(ctx context.Context, a domain.Attempt, body []byte) (domain.Payment, error) {
	var parsed payments.RefundBody
	if len(body) > 0 {
		if err := json.Unmarshal(body, &parsed); err != nil {
			return domain.Payment{}, fmt.Errorf("malformed JSON: want {total}, an integer of minor units: %w", domain.ErrUnacceptable)
		}
	}
	return h.simulator.refund(ctx, a, parsed.Total)
}

// readBody reads to the end of the body, or net/http would not notice that the
// client goes away. A problem never quotes the body: it may have the token.
func readBody(w http.ResponseWriter, r *http.Request, c payments.Call) (body []byte, problem string, status int) {
	if r.Body == http.NoBody && c != payments.CallAuthorize {
		return nil, "", 0
	}
	// Not http.Server.ReadTimeout: that would end requests that hang on purpose.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(readBodyTimeout)) // a recorder in tests has no deadlines
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, payments.MaxBodyBytes))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, "body too large", http.StatusRequestEntityTooLarge
		}
		return nil, "body cut short", http.StatusBadRequest
	}
	_ = control.SetReadDeadline(time.Time{})
	return body, "", 0
}

// parseAuthorize fills in request from the body. The problem never quotes that.
func parseAuthorize(body []byte, request *domain.PaymentRequest) (problem string) {
	var parsed authorizeRequest
	if err := json.Unmarshal(body, &parsed); err != nil {
		return "malformed JSON: want {amount, currency, customer_id, fingerprint, payment_token}, the amount an integer of minor units"
	}
	if parsed.Amount == nil {
		return "amount is missing"
	}
	request.Amount = *parsed.Amount
	request.Currency = parsed.Currency
	request.CustomerID = parsed.CustomerID
	request.Fingerprint = parsed.Fingerprint
	request.Token = parsed.Token
	return ""
}

func (h handler) minimums(w http.ResponseWriter, r *http.Request) {
	minimums, err := h.simulator.Minimums(r.Context())
	if err != nil {
		replyError(w, http.StatusGatewayTimeout, "outcome not known")
		return
	}
	if minimums == nil {
		minimums = domain.Minimums{}
	}
	replyJSON(w, http.StatusOK, minimums)
}

func (h handler) books(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	out := bufio.NewWriterSize(w, 32<<10)
	encoder := json.NewEncoder(out)
	for i, line := range h.simulator.Books() {
		if i%booksLinesPerWait == 0 {
			_ = control.SetWriteDeadline(time.Now().Add(booksWriteTimeout))
		}
		if err := encoder.Encode(line); err != nil {
			panic(http.ErrAbortHandler) // books that end early must not look whole
		}
	}
	if err := out.Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
	// The rest goes out while the deadline is on; the connection lives on without it.
	_ = control.Flush()
	_ = control.SetWriteDeadline(time.Time{})
}

func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	replyError(w, http.StatusMethodNotAllowed, "method not allowed")
	return false
}

func replyPayment(w http.ResponseWriter, status int, p domain.Payment) {
	reply := payments.Reply{
		AuthorizationID: p.AuthorizationID, Status: p.Status, Amount: &p.Amount, Refunded: p.Refunded,
		Currency: p.Currency, CustomerID: p.CustomerID, Fingerprint: p.Fingerprint, Dispute: p.Dispute,
	}
	if p.Amount == domain.AmountNotTold {
		reply.Amount = nil
	}
	replyJSON(w, status, reply)
}

func replyNoPath(w http.ResponseWriter) {
	http.Error(w, "no such path", http.StatusNotFound)
}

func replyError(w http.ResponseWriter, status int, text string) {
	replyJSON(w, status, map[string]string{"error": text})
}

func replyJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // strings and integers only
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that went away asks again
}

// Serve serves h on listener, which it closes, until ctx ends. Then it takes no
// new requests, gives those under way 5 seconds, cuts off the rest, and returns
// nil. It returns an error only if it could not go on serving.
func Serve(ctx context.Context, listener net.Listener, h http.Handler) error {
	return serve(ctx, listener, h, shutdownGrace)
}

func serve(ctx context.Context, listener net.Listener, h http.Handler, grace time.Duration) error {
	// The requests outlive ctx by the grace time.
	requests, cutOff := context.WithCancel(context.WithoutCancel(ctx))
	defer cutOff()
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return requests },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		cutOff()
		_ = server.Close()
		return fmt.Errorf("serve the payment gateway: %w", err)
	case <-ctx.Done():
	}
	bounded, done := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer done()
	if err := server.Shutdown(bounded); err != nil {
		cutOff()
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the payment gateway: %w", err)
	}
	return nil
}
