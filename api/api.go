package api

import (
	"context"
	"crypto/tls"
	_ "embed" // openapi.json
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"holdfast/domain"
	"holdfast/producer"
)

// Document is the API as OpenAPI 3.1.
//
//go:embed openapi.json
var Document []byte

// Options of New. The zero value is ready to use.
type Options struct {
	// MaxWait is the longest that a request may wait for an outcome. Default 30s.
	MaxWait time.Duration
	// MaxWaits is how many may wait at a time, streams of updates included. Beyond it nobody waits: the answer is what is known at once. Default 10000.
	MaxWaits int
	// Rate is how many requests a second each API key may make of this process. Default 2000.
	Rate int
	// ReadTimeout is how long a request may take to arrive, and WriteTimeout how long an answer may take to be taken, beside
	// the wait that was asked for. Defaults 5s and 15s.
	ReadTimeout, WriteTimeout time.Duration
	// Grace is how long requests may go on after the end was asked for. Default 10s.
	Grace time.Duration
	Log   *zap.Logger // default: none
	// Pages answers GET of /, of /my and of whatever is below /console/. They are for everybody: a key, or a token, is asked for by the
	// endpoints that they call. Default: none.
	Pages http.Handler
}

// WithDefaults returns o with every field set.
func (o Options) WithDefaults() Options {
	for field, value := range map[*time.Duration]time.Duration{
		&o.MaxWait: 30 * time.Second, &o.ReadTimeout: 5 * time.Second, &o.WriteTimeout: 15 * time.Second, &o.Grace: 10 * time.Second,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	if o.MaxWaits <= 0 {
		o.MaxWaits = 10_000
	}
	if o.Rate <= 0 {
		o.Rate = 2000
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o
}

// Deps are what a server works with.
type Deps struct {
	Producer *producer.Producer
	Outcomes domain.Outcomes
	Events   Events
	Books    Books
	Keys     Keys
	Demand   Demand
	Codes    domain.CodeKeys // what access codes are hashed with; none: events get none here
	// What organisers and SREs ask for.
	Organising Organising
	Operating  Operating
	Finding    Finding
	Managing   Managing
	// People may sign in with a provider of identities; nil: only keys are let in.
	People *People
	// NextSteps asks a payment gateway what customers must do; nil: none is asked.
	NextSteps NextSteps
	// Notices are those of a payment gateway; nil: none are heard.
	Notices PaymentNotices
}

// Limits of what is read. Whatever is larger is refused unread.
const (
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 128 << 10 // an order's items may be 64 KiB
	idleTimeout    = time.Minute
)

// Server answers. It is safe for concurrent use; use it once.
type Server struct {
	deps       Deps
	options    Options
	log        *zap.Logger
	mux        *http.ServeMux
	huma       huma.API
	keys       *keyring
	rates      *rates
	events     *glances
	door       *door
	feeds      *feeds
	attendance *attendance
	stats      *Stats
	waits      chan struct{} // one element for each wait under way
	customers  customerWaiting
	ending     context.Context // is done once the end was asked for
	end        context.CancelFunc
	ended      atomic.Bool

	beside *background

	auditing atomic.Bool

	looks     *gather[domain.OrderRef, domain.Looked]
	publishes *gather[domain.Request, producer.Result]
}

// New returns a server that does not listen yet.
func New(deps Deps, options Options) *Server {
	options = options.WithDefaults()
	ending, end := context.WithCancel(context.Background())
	s := &Server{
		deps: deps, options: options, mux: http.NewServeMux(), stats: newStats(),
		// A Redis that is away makes every request fail: some lines a second tell as much as all.
		log: options.Log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
			return zapcore.NewSamplerWithOptions(c, time.Second, 5, 0)
		})),
		rates: &rates{}, beside: newBackground(), waits: make(chan struct{}, options.MaxWaits), ending: ending, end: end,
	}
	s.keys = newKeyring(deps.Keys, s.log)
	s.events = newGlances(deps.Events, s.beside)
	s.door = newDoor(deps.Events, deps.Demand, s.beside, s.log)
	if deps.Producer != nil { // there is none where only the document is wanted
		s.looks = &gather[domain.OrderRef, domain.Looked]{beside: s.beside, call: deps.Outcomes.Look, timeout: options.WriteTimeout}
		s.publishes = &gather[domain.Request, producer.Result]{beside: s.beside, call: deps.Producer.PublishBatch, timeout: options.WriteTimeout}
	}
	s.feeds = &feeds{of: make(map[string]*feed)}
	s.attendance = &attendance{stays: s.stays, beside: s.beside, all: make(map[*attendant]struct{})}
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "holdfast", Version: "1",
				Description: "Sells tickets. Amounts are integers in minor units (cents) of an ISO 4217 currency, times are milliseconds since 1970 on the clock of Redis. Errors are problem+json (RFC 9457); their code is for programs.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "An API key (hf_…), the token of a customer (hfc_…), or that of a person, by the provider of identities."},
				},
			},
			Security: []map[string][]string{{"bearer": {}}},
			Tags: []*huma.Tag{
				{Name: "customers", Description: "What a customer has."},
				{Name: "events", Description: "What is on sale, and what is left of it."},
				{Name: "gateways", Description: "What payment gateways tell."},
				{Name: "keys", Description: "Who calls."},
				{Name: "orders", Description: "Tickets are bought, held, paid for, changed and given back: for checkouts."},
				{Name: "organisers", Description: "Events are made, changed, closed and called off."},
				{Name: "sales", Description: "What was sold, and what was asked for in vain."},
				{Name: "sres", Description: "Whether all is well, what waits, and what was set aside."},
				{Name: "webhooks", Description: "Who is told of orders."},
			},
			Servers: []*huma.Server{{URL: "/"}},
		},
		Formats: huma.DefaultFormats, DefaultFormat: "application/json",
	}
	s.huma = humago.New(s.mux, config)
	s.huma.UseMiddleware(s.admit)
	s.registerOrders()
	s.registerEvents()
	s.registerCustomers()
	s.registerSales()
	s.registerUpdates()
	s.registerOrganising()
	s.registerOperating()
	s.registerFinding()
	s.registerManaging()
	s.registerSignIn()
	s.registerNotices()
	s.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive\n") })
	s.mux.HandleFunc("GET /readyz", s.readyz)
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(Document) // whoever asked has gone
	})
	s.mux.HandleFunc("/", s.nothingThere)
	if options.Pages != nil {
		for _, at := range []string{"/{$}", "/console/", "/my"} {
			s.mux.Handle("GET "+at, options.Pages)
		}
	}
	return s
}

// Handler is all of the API.
func (s *Server) Handler() http.Handler { return s.measured(s.mux) }

// Stats are what it has counted.
func (s *Server) Stats() *Stats { return s.stats }

// register adds an endpoint for some roles.
func register[I, O any](s *Server, op huma.Operation, roles []domain.APIRole, handler func(context.Context, *I) (*O, error)) {
	op.Metadata = map[string]any{rolesOf: roles}
	names := make([]string, len(roles))
	for i, role := range roles {
		names[i] = string(role)
	}
	op.Description = strings.TrimSpace(op.Description + "\n\nFor the roles " + strings.Join(names, ", ") + ".")
	add(s, op, handler)
}

// registerOfAll is register of what is about all events: a key for some of them is refused.
func registerOfAll[I, O any](s *Server, op huma.Operation, roles []domain.APIRole, handler func(context.Context, *I) (*O, error)) {
	register(s, op, roles, func(ctx context.Context, in *I) (*O, error) {
		if err := callerOf(ctx).mayAll(); err != nil {
			return nil, err
		}
		return handler(ctx, in)
	})
}

// registerOpen adds an endpoint for everybody, with a key or without.
func registerOpen[I, O any](s *Server, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	op.Metadata, op.Security = map[string]any{openToAll: true}, []map[string][]string{{}}
	add(s, op, handler)
}

func add[I, O any](s *Server, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = maxBodyBytes
	}
	op.BodyReadTimeout = s.options.ReadTimeout
	if op.Responses == nil {
		op.Responses = make(map[string]*huma.Response)
	}
	op.Responses["default"] = &huma.Response{Description: "A problem.", Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: schemaOf[Problem](s)},
	}}
	s.stats.add(op.OperationID)
	huma.Register(s.huma, op, handler)
}

// rolesOf is where an operation keeps who may call it, and openToAll whether everybody may.
const (
	rolesOf   = "roles"
	openToAll = "open"
)

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.ended.Load() {
		answer(w, http.StatusServiceUnavailable, "not ready: it is ending\n")
		return
	}
	if err := s.keys.check(r.Context()); err != nil {
		s.log.Warn("not ready", zap.Error(err))
		answer(w, http.StatusServiceUnavailable, "not ready: redis does not answer\n")
		return
	}
	answer(w, http.StatusOK, "ready\n")
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // whoever asked has gone
}

// nothingThere answers whatever no endpoint is for.
func (s *Server) nothingThere(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 || slices.Contains(allowed, r.Method) {
		write(w, problemOf(http.StatusNotFound, domain.CodeNotFound, "there is no such endpoint: see /openapi.json"))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	write(w, problemOf(http.StatusMethodNotAllowed, codeMethodNotAllowed, "this endpoint takes "+strings.Join(allowed, ", ")))
}

// Serve answers on a listener until ctx ends; then what is under way may end within the grace time: those who wait for an outcome are
// told at once what is known. secure is nil for plain HTTP.
func (s *Server) Serve(ctx context.Context, listener net.Listener, secure *tls.Config) error {
	defer s.beside.stop()
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: s.options.ReadTimeout, ReadTimeout: s.options.ReadTimeout, WriteTimeout: s.options.WriteTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, TLSConfig: secure, ErrorLog: zap.NewStdLog(s.log),
	}
	served := make(chan error, 1)
	go func() {
		if secure != nil {
			served <- server.ServeTLS(listener, "", "")
			return
		}
		served <- server.Serve(listener)
	}()
	select {
	case err := <-served:
		s.end()
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	s.ended.Store(true)
	s.end()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Grace)
	defer cancel()
	err := server.Shutdown(grace)
	if err != nil { // whoever is still there has waited long enough
		err = server.Close()
	}
	s.door.add(grace)
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	if err != nil {
		return fmt.Errorf("ending: %w", err)
	}
	return nil
}
