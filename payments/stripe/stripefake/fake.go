// Package stripefake is Stripe for tests: a server that keeps state, and does what Stripe's documentation says of PaymentIntents with manual
// capture, of refunds, of search and lists, of idempotency keys and of errors, as far as package stripe asks for it. It
// moves no money, and nobody but tests uses it.
//
// It knows what to do by the token: one that contains "decline" is declined (generic_decline), one that contains "authenticationRequired" wants the
// customer to do something, one that contains "missing" it does not know; the others are approved.
package stripefake

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	randv2 "math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"holdfast/domain"
)

const (
	keyLife           = 24 * time.Hour
	authorizationLife = 7 * 24 * time.Hour
)

// Options say how it misbehaves. The zero value does not. Rates are probabilities, drawn for each request anew.
type Options struct {
	Latency       time.Duration // of a request that changes something, during which its key is in use; default none
	SearchLag     time.Duration // how long what was made is not found by a search
	BusyRate      float64       // 429, and nothing happens
	LostReplyRate float64       // done, and the connection is cut
	// FaultBeforeRate and FaultAfterRate answer 500, which the key stores, without and with the effect.
	FaultBeforeRate, FaultAfterRate float64
	Seed                            uint64
	// Answered, if it is there, is told of each answer, before it is sent: the route as in Stripe's OpenAPI, and the body.
	Answered func(method, route string, status int, body []byte)
}

// Stripe is an account in test mode. Its zero value is not usable: see New.
type Stripe struct {
	options Options
	key     domain.Secret

	mu      sync.Mutex
	draw    *randv2.Rand
	ahead   time.Duration // of the clock
	intents []*intent     // as they were made
	byID    map[string]*intent
	keys    map[string]*kept
	next    []fault
	count   map[string]int // requests by route
}

// fault is what the next request of a route gets.
type fault struct {
	route string // a part of it
	kind  Fault
}

// Fault is how one request goes wrong.
type Fault string

// The faults.
const (
	Busy        Fault = "busy"         // 429 with Retry-After: 2
	LockTimeout Fault = "lock timeout" // 429, somebody else is at it
	LostReply   Fault = "lost reply"
	FaultBefore Fault = "500, without the effect"
	FaultAfter  Fault = "500, with the effect"
	NoKey       Fault = "401"
	NoRight     Fault = "403"
	Slow        Fault = "takes a second" // during which its key is in use
)

// intent is a PaymentIntent, with its charge and refunds, and what happened to it.
type intent struct {
	id, secret, currency, status, reason, method string
	amount, received, refunded                   int64
	metadata                                     map[string]string
	created, authorized                          time.Time
	declinedAs                                   string // the decline code, as long as it is its last error
	charge                                       string
	chargeFailed                                 bool
	dispute                                      domain.Dispute
	disputeID                                    string // empty if it is not disputed
	authorizations, captures, voids, refunds     int
	wasAuthorized                                int64
}

// kept is what a key stores.
type kept struct {
	what   string // route and parameters
	done   bool
	status int
	body   []byte
	at     time.Time
}

// New makes an account without payments.
func New(options Options) *Stripe {
	return &Stripe{
		options: options, key: domain.Secret("sk_test_" + random()), draw: randv2.New(randv2.NewPCG(options.Seed, 1)),
		byID: map[string]*intent{}, keys: map[string]*kept{}, count: map[string]int{},
	}
}

// Key is the account's secret key.
func (s *Stripe) Key() domain.Secret { return s.key }

// Advance puts its clock forward.
func (s *Stripe) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

// Heal ends what the options draw.
func (s *Stripe) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.BusyRate, s.options.LostReplyRate, s.options.FaultBeforeRate, s.options.FaultAfterRate = 0, 0, 0, 0
}

// Next has the next request of a route (a part of it suffices, such as "/confirm") go wrong.
func (s *Stripe) Next(route string, kind Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = append(s.next, fault{route, kind})
}

// Requests counts what was asked of a route, such as "POST /v1/payment_intents".
func (s *Stripe) Requests(route string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[route]
}

func (s *Stripe) now() time.Time { return time.Now().Add(s.ahead) }

func random() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// problem is an answer that is an error.
type problem struct {
	status                              int
	kind, code, decline, param, message string
	intent                              *intent
	unstored                            bool // nothing was begun
	retryAfter                          string
}

func invalid(code, param, message string) *problem {
	return &problem{status: http.StatusBadRequest, kind: "invalid_request_error", code: code, param: param, message: message, unstored: true}
}

// ServeHTTP is the API.
func (s *Stripe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, id := routeOf(r.URL.Path)
	if err := r.ParseForm(); err != nil {
		s.refuse(w, r.Method, route, invalid("", "", "not a form"))
		return
	}
	key := r.Header.Get("Idempotency-Key")
	stored, f, p := s.begin(r, route, key)
	switch {
	case p != nil:
		s.refuse(w, r.Method, route, p)
		return
	case stored != nil:
		w.Header().Set("Idempotent-Replayed", "true")
		s.reply(w, r.Method, route, stored.status, stored.body)
		return
	}
	latency := s.options.Latency
	if f == Slow {
		latency = time.Second
	}
	if latency > 0 && r.Method == http.MethodPost {
		timer := time.NewTimer(latency)
		<-timer.C
	}
	status, body := s.do(r, route, id, key, f)
	if f == LostReply {
		panic(http.ErrAbortHandler)
	}
	s.reply(w, r.Method, route, status, body)
}

// routeOf is a path as the OpenAPI has it, and the id in it.
func routeOf(path string) (route, id string) {
	const intents = "/v1/payment_intents/"
	rest, ok := strings.CutPrefix(path, intents)
	if !ok || rest == "search" {
		return path, ""
	}
	id, action, more := strings.Cut(rest, "/")
	if route = intents + "{intent}"; more {
		route += "/" + action
	}
	return route, id
}

// begin is what comes before a request is worked on: who asks, how many, and whether it was asked before.
func (s *Stripe) begin(r *http.Request, route, key string) (stored *kept, f Fault, p *problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[r.Method+" "+route]++
	f = s.fault(r.Method, route)
	switch {
	case r.Header.Get("Authorization") != "Bearer "+string(s.key) || f == NoKey:
		return nil, "", &problem{status: http.StatusUnauthorized, kind: "invalid_request_error", message: "Invalid API Key provided"}
	case f == NoRight:
		return nil, "", &problem{status: http.StatusForbidden, kind: "invalid_request_error", message: "The provided key does not have the required permissions"}
	case f == LockTimeout:
		return nil, "", &problem{status: http.StatusTooManyRequests, kind: "invalid_request_error", code: "lock_timeout", message: "This object cannot be accessed right now"}
	case f == Busy:
		return nil, "", &problem{status: http.StatusTooManyRequests, kind: "invalid_request_error", code: "rate_limit", message: "Too many requests", retryAfter: "2"}
	case key == "" || r.Method != http.MethodPost:
		return nil, f, nil
	}
	what := r.URL.Path + "?" + r.PostForm.Encode()
	switch k := s.keys[key]; {
	case k == nil, k.done && s.now().Sub(k.at) > keyLife:
		s.keys[key] = &kept{what: what, at: s.now()}
		return nil, f, nil
	case !k.done:
		return nil, "", &problem{
			status: http.StatusConflict, kind: "idempotency_error", code: "idempotency_key_in_use",
			message: "There is currently another in-progress request using this Idempotent Key",
		}
	case k.what != what:
		return nil, "", &problem{
			status: http.StatusBadRequest, kind: "idempotency_error",
			message: "Keys for idempotent requests can only be used with the same parameters they were first used with",
		}
	default:
		return k, f, nil
	}
}

// fault draws what goes wrong with a request.
func (s *Stripe) fault(method, route string) Fault {
	for i, n := range s.next {
		if strings.Contains(method+" "+route, n.route) {
			s.next = append(s.next[:i:i], s.next[i+1:]...)
			return n.kind
		}
	}
	drawn := s.draw.Float64()
	for _, at := range []struct {
		rate float64
		kind Fault
	}{
		{s.options.BusyRate, Busy},
		{s.options.LostReplyRate, LostReply},
		{s.options.FaultBeforeRate, FaultBefore},
		{s.options.FaultAfterRate, FaultAfter},
	} {
		if drawn < at.rate {
			return at.kind
		}
		drawn -= at.rate
	}
	return ""
}

var fault500 = &problem{status: http.StatusInternalServerError, kind: "api_error", message: "Something went wrong on Stripe's end"}

// do works on a request, and stores what it answers.
func (s *Stripe) do(r *http.Request, route, id, key string, f Fault) (int, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var result any
	p := fault500
	if f != FaultBefore {
		if result, p = s.route(r.Method, route, id, r.Form); f == FaultAfter && (p == nil || !p.unstored) {
			p = fault500
		}
	}
	status := http.StatusOK
	if p != nil {
		status, result = p.status, s.errorOf(p)
	}
	body, err := json.Marshal(result)
	if err != nil {
		panic(err) // maps of plain values
	}
	if k := s.keys[key]; key != "" && r.Method == http.MethodPost {
		if p != nil && p.unstored {
			delete(s.keys, key)
		} else {
			k.done, k.status, k.body = true, status, body
		}
	}
	return status, body
}

func (s *Stripe) errorOf(p *problem) map[string]any {
	e := map[string]any{"type": p.kind, "message": p.message}
	for name, value := range map[string]string{"code": p.code, "decline_code": p.decline, "param": p.param} {
		if value != "" {
			e[name] = value
		}
	}
	if p.intent != nil {
		e["payment_intent"] = s.show(p.intent, nil)
	}
	return map[string]any{"error": e}
}

func (s *Stripe) refuse(w http.ResponseWriter, method, route string, p *problem) {
	if p.retryAfter != "" {
		w.Header().Set("Retry-After", p.retryAfter)
	}
	body, err := json.Marshal(s.errorOf(p))
	if err != nil {
		panic(err) // maps of plain values
	}
	s.reply(w, method, route, p.status, body)
}

func (s *Stripe) reply(w http.ResponseWriter, method, route string, status int, body []byte) {
	if s.options.Answered != nil {
		s.options.Answered(method, route, status, body)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Request-Id", "req_"+random())
	w.WriteHeader(status)
	_, _ = w.Write(body) // to whoever has not hung up
}

func (s *Stripe) route(method, route, id string, form url.Values) (any, *problem) {
	switch method + " " + route {
	case "POST /v1/payment_intents":
		return s.create(form)
	case "GET /v1/payment_intents":
		return s.list(form)
	case "GET /v1/payment_intents/search":
		return s.search(form)
	case "GET /v1/disputes":
		return s.disputes(form)
	case "POST /v1/refunds":
		return s.refund(form)
	}
	action := map[string]func(*intent, url.Values) *problem{
		"GET /v1/payment_intents/{intent}":          func(*intent, url.Values) *problem { return nil },
		"POST /v1/payment_intents/{intent}":         s.update,
		"POST /v1/payment_intents/{intent}/confirm": s.confirm,
		"POST /v1/payment_intents/{intent}/capture": s.capture,
		"POST /v1/payment_intents/{intent}/cancel":  s.cancel,
	}[method+" "+route]
	if action == nil {
		return nil, &problem{status: http.StatusNotFound, kind: "invalid_request_error", message: "Unrecognized request URL", unstored: true}
	}
	i := s.byID[id]
	if i == nil {
		p := invalid("resource_missing", "intent", fmt.Sprintf("No such payment_intent: '%s'", id))
		p.status = http.StatusNotFound
		return nil, p
	}
	s.age(i)
	if p := action(i, form); p != nil {
		return nil, p
	}
	return s.show(i, form), nil
}
