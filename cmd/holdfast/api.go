package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/api"
	"holdfast/console"
	"holdfast/domain"
	"holdfast/payments/stripe"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/inspect"
	"holdfast/telemetry"
)

type apiCommand struct {
	Listen    string        `env:"HOLDFAST_LISTEN" default:"127.0.0.1:8090" placeholder:"HOST:PORT" help:"Where to listen; port 0 takes a free one. Default: 127.0.0.1:8090."`
	TLSCert   string        `name:"tls-cert" env:"HOLDFAST_TLS_CERT" placeholder:"FILE" help:"PEM certificate to serve HTTPS with. Read anew when it changes. Default: plain HTTP, for behind a proxy that speaks TLS."`
	TLSKey    string        `name:"tls-key" env:"HOLDFAST_TLS_KEY" placeholder:"FILE" help:"Its PEM key."`
	Console   bool          `env:"HOLDFAST_CONSOLE" help:"Serve the console at /console/, and what customers see of themselves at /my. Default: only the API."`
	Metrics   string        `env:"HOLDFAST_METRICS" placeholder:"HOST:PORT" help:"Where to serve /metrics for Prometheus, for nobody outside. Default: nowhere."`
	Rate      int           `env:"HOLDFAST_RATE" default:"2000" placeholder:"N" help:"How many requests a second each API key may make of this process. Default: 2000."`
	MaxWait   time.Duration `env:"HOLDFAST_MAX_WAIT" default:"30s" placeholder:"DURATION" help:"The longest that a request may wait for an outcome. Default: 30s."`
	MaxWaits  int           `env:"HOLDFAST_MAX_WAITS" default:"10000" placeholder:"N" help:"How many requests may wait at a time; the others are told what is known at once. Default: 10000."`
	Grace     time.Duration `env:"HOLDFAST_GRACE" default:"10s" placeholder:"DURATION" help:"How long to finish what is under way after SIGTERM or Ctrl-C. Default: 10s."`
	WaitRedis time.Duration `env:"HOLDFAST_WAIT_REDIS" default:"30s" placeholder:"DURATION" help:"How long to wait at the start for a Redis that does not answer. Default: 30s."`
	LogFormat string        `env:"HOLDFAST_LOG_FORMAT" enum:"json,console" default:"json" placeholder:"FORMAT" help:"json or console. The log goes to stderr. Default: json."`
	LogLevel  string        `env:"HOLDFAST_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error. Default: info."`

	People  peopleFlags        `embed:"" prefix:"oidc-" group:"People who sign in with a provider of identities (OpenID Connect):"`
	Webhook stripeWebhookFlags `embed:"" group:"Stripe's webhooks, at POST /v1/gateways/stripe/webhook:"`
	codeKeyFlags
	auditSources `group:"What audits that are asked for over HTTP compare with, and of whom it is asked what customers must do, and what is disputed:"`
}

// Help is shown by --help.
func (c *apiCommand) Help() string {
	return `
Start as many as you like: they keep nothing. What it serves says /openapi.json.

  holdfast api &
  KEY=$(holdfast keys create --role checkout --checkout web)
  curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8090/v1/events
`
}

func (c *apiCommand) Run(ctx context.Context, e *environment) (err error) {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return badUsage("--listen: want HOST:PORT")
	}
	if c.Rate <= 0 || c.MaxWait <= 0 || c.MaxWaits <= 0 || c.Grace <= 0 {
		return badUsage("--rate, --max-wait, --max-waits, --grace: want more than 0")
	}
	if err := c.check(); err != nil {
		return err
	}
	gateway, err := c.gateway()
	if err != nil {
		return err
	}
	if gateway != nil {
		defer gateway.Close()
	}
	codes, err := c.keys()
	if err != nil {
		return err
	}
	secure, err := servingTLS(c.TLSCert, c.TLSKey)
	if err != nil {
		return err
	}
	hooks, err := c.Webhook.webhooks()
	if err != nil {
		return err
	}
	people, err := c.People.people()
	if err != nil {
		return err
	}
	log, err := newLogger(e.stderr, c.LogFormat, c.LogLevel)
	if err != nil {
		return err
	}
	store, err := e.openWhenUp(ctx, streams.Options{Log: log}, c.WaitRedis)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen (%w): choose another address with --listen", err)
	}
	options := api.Options{Rate: c.Rate, MaxWait: c.MaxWait, MaxWaits: c.MaxWaits, Grace: c.Grace, Log: log}
	if c.Console {
		options.Pages = console.Handler()
	}
	server, end := newAPI(e, store, staffing{gateway, codes, c.auditSources, hooks, people}, options)
	defer end()
	if c.Metrics != "" {
		metrics, err := serveMetrics(ctx, c.Metrics, server, log)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		defer func() { err = errors.Join(err, metrics.Close()) }()
	}
	scheme := "http"
	if secure != nil {
		scheme = "https"
	}
	out := e.printer()
	out.row(gatewayView{Listen: listener.Addr().String(), URL: scheme + "://" + listener.Addr().String()}, "listening on "+scheme+"://"+listener.Addr().String())
	if err := out.flush(); err != nil {
		return errors.Join(err, listener.Close())
	}
	log.Info("serving", zap.String("version", readVersion().Version), zap.String("listen", listener.Addr().String()),
		zap.String("redis", redactURL(e.url())), zap.String("namespace", e.namespace), zap.Bool("tls", secure != nil))
	err = server.Serve(ctx, listener, secure)
	log.Info("ended", zap.Error(err))
	return err
}

// staffing is what staff is served with, beside the store.
type staffing struct {
	gateway  *asked // that customers' next steps are asked of, and which payment a dispute is about; nil: nobody is
	codes    domain.CodeKeys
	compared auditSources
	hooks    *stripe.Webhooks // of Stripe; nil: none are taken
	people   *api.People      // who may sign in; nil: only keys are let in
}

// newAPI is the API of a namespace. end is to be called when nobody asks it any more.
func newAPI(e *environment, store *streams.Store, with staffing, o api.Options) (server *api.Server, end func()) {
	checkout := store.Checkout()
	p := producer.New(checkout, checkout, producer.Options{})
	deps := api.Deps{
		Producer: p, Outcomes: checkout, Events: apiEvents{store.Events(), store}, Books: newBooks(store), Keys: store.APIKeys(), Demand: store,
		Organising: apiOrganising{store.Events()}, Operating: apiOperating{e, store, with.compared}, Codes: with.codes,
		Finding: apiFinding{apiOperating{e, store, with.compared}}, Managing: apiManaging{apiOperating{e, store, with.compared}}, People: with.people,
	}
	if with.gateway != nil {
		deps.NextSteps = apiNextSteps{store, *with.gateway}
	}
	if with.hooks != nil {
		notices := stripeNotices{hooks: with.hooks, store: store}
		if with.gateway != nil {
			notices.names, _ = with.gateway.askable.(intentNames)
		}
		deps.Notices = notices
	}
	return api.New(deps, o), func() {
		p.Close()
		if with.people != nil {
			with.people.Close()
		}
	}
}

// apiNextSteps are asked of a payment gateway.
type apiNextSteps struct {
	store   *streams.Store
	gateway asked
}

// NextStep implements api.NextSteps.
func (s apiNextSteps) NextStep(ctx context.Context, ref domain.OrderRef, o domain.Order) (domain.NextStep, error) {
	if err := s.gateway.serves(ctx, s.store); err != nil {
		return domain.NextStep{}, err
	}
	return s.gateway.NextStep(ctx, o.AttemptOf(s.store.PaymentNamespace(), ref, o.LastAttempt()))
}

// apiEvents are the events as the API knows them.
type apiEvents struct {
	*streams.Events
	store *streams.Store
}

// IDs are those of all partitions.
func (e apiEvents) IDs(ctx context.Context) (ids []string, err error) {
	for p := range e.store.Partitions() {
		here, err := e.Events.IDs(ctx, p)
		if err != nil {
			return nil, err
		}
		ids = append(ids, here...)
	}
	return ids, nil
}

// apiBooks are the books as the API knows them.
type apiBooks struct {
	in     *inspect.Inspector
	series *inspect.Series
}

func newBooks(store *streams.Store) apiBooks {
	in := inspect.New(store)
	return apiBooks{in, in.Series()}
}

func (b apiBooks) Series(ctx context.Context, eventID string, fromMillis, untilMillis int64) (list []api.SalesStep, since int64, err error) {
	minutes, since, err := b.series.Of(ctx, eventID, fromMillis, untilMillis)
	for _, m := range minutes {
		list = append(list, api.SalesStep(m))
	}
	return list, since, err
}

func (b apiBooks) Sales(ctx context.Context, eventID string) (api.Sales, error) {
	totals, err := b.in.Sales(ctx, eventID)
	return api.Sales(totals), err
}

func (b apiBooks) Refused(ctx context.Context, eventID string, event domain.Event) (list []api.Refused, err error) {
	refused, err := b.in.RefusedDemand(ctx, eventID, event)
	for _, r := range refused {
		list = append(list, api.Refused(r))
	}
	return list, err
}

func (b apiBooks) Invoices(ctx context.Context, customerID string) (list []api.InvoiceLine, err error) {
	lines, err := b.in.Invoices(ctx, customerID)
	for _, l := range lines {
		list = append(list, api.InvoiceLine{
			Ref: domain.OrderRef{EventID: l.EventID, OrderID: l.OrderID}, Status: l.Status, Items: l.Items, Quantity: l.Quantity, Archived: l.Archived, Amount: l.Amount, Currency: l.Currency, ConfirmedAtMillis: l.ConfirmedAtMillis,
		})
	}
	return list, err
}

// serveMetrics begins to serve what the API has counted.
func serveMetrics(ctx context.Context, address string, server *api.Server, log *zap.Logger) (*telemetry.Server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics: cannot listen: %w", err)
	}
	v := readVersion()
	metrics := telemetry.NewForAPI(telemetry.Options{Version: v.Version, Revision: v.Revision, Go: v.Go, Log: log}, server.Stats())
	metrics.Serve(listener)
	log.Info("metrics are served", zap.String("at", listener.Addr().String()))
	return metrics, nil
}

// certificateLasts is for how long a certificate is used before its files are looked at again.
const certificateLasts = 10 * time.Second

// servingTLS is for whoever serves HTTPS; nil without files.
func servingTLS(cert, key string) (*tls.Config, error) {
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, badUsage("--tls-cert, --tls-key: one without the other")
	}
	first, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, badUsage("--tls-cert, --tls-key: %w", err)
	}
	var mu sync.Mutex
	now, read := &first, time.Now()
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(read) >= certificateLasts {
			read = time.Now()
			// While its files are being replaced, one of them may be of the other pair: the one before is good.
			if pair, err := tls.LoadX509KeyPair(cert, key); err == nil && !slices.EqualFunc(pair.Certificate, now.Certificate, slices.Equal) {
				now = &pair
			}
		}
		return now, nil
	}}, nil
}
