package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/zap"

	"holdfast/api"
	"holdfast/console"
	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/workers"
)

type devCommand struct {
	Listen    string  `env:"HOLDFAST_LISTEN" default:"127.0.0.1:8090" placeholder:"HOST:PORT" help:"Where the API listens; port 0 takes a free one. Default: 127.0.0.1:8090."`
	Customers float64 `default:"2" placeholder:"N" help:"How many customers come each second; 0: none. Default: 2."`
}

// Help is shown by --help.
func (c *devCommand) Help() string {
	return `
A Redis (redis-server, if there is one, else an embedded one), a payment gateway that moves no money, two workers, the API with the
console, and three events with a trickle of customers: everything there is, to try things out. It stays up until Ctrl-C, and then all of
it is gone. With a redis-server, webhooks are told, too (holdfast webhooks add http://127.0.0.1:… --events order.confirmed --allow-private).
`
}

// devView is where everything is.
type devView struct {
	Redis    string `json:"redis"`
	Embedded bool   `json:"embedded"`
	Gateway  string `json:"gateway"`
	API      string `json:"api"`
	Checkout string `json:"checkout_key"`
	Admin    string `json:"admin_key"`
	Console  string `json:"console"` // with the key behind #, which no browser sends anywhere
}

func (c *devCommand) Run(ctx context.Context, e *environment) error {
	switch {
	case e.redis != "":
		return badUsage("--redis: dev brings a Redis of its own, and throws it away; unset HOLDFAST_REDIS if that names one")
	case c.Customers < 0 || c.Customers > 1000:
		return badUsage("--customers: want 0 to 1000")
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return badUsage("--listen: want HOST:PORT")
	}
	err := c.run(ctx, e)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // Ctrl-C is how it ends
	}
	return err
}

func (c *devCommand) run(ctx context.Context, e *environment) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	own, err := startOwnRedis(ctx, cancel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.stop()) }()
	env := *e
	env.redis = own.url
	store, err := env.openWhenUp(ctx, streams.Options{Namespace: e.namespace, Create: true, Log: zap.NewNop()}, ownRedisPatience)
	if err != nil {
		return err
	}
	d := &demo{url: own.url, ns: e.namespace, store: store}
	if !own.embedded { // nobody has tried webhooks on the embedded one
		d.roles = append(slices.Clone(workers.Roles), workers.RoleWebhooks)
	}
	defer func() {
		for _, w := range d.workers {
			err = errors.Join(err, w.stop())
		}
		err = errors.Join(err, store.Close())
	}()
	gateway, err := simulator.New(simulator.Options{Latency: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	for range 2 {
		if err := d.hire(ctx, gateway); err != nil {
			return err
		}
	}
	if err := sampleEvents(ctx, store); err != nil {
		return err
	}
	v := devView{Redis: own.url, Embedded: own.embedded}
	for role, key := range map[domain.APIRole]*string{domain.APICheckout: &v.Checkout, domain.APIAdmin: &v.Admin} {
		secret, made, err := api.NewKey(role, "dev", nil, "holdfast dev", time.Now())
		if err == nil {
			err = store.APIKeys().Add(ctx, made)
		}
		if err != nil {
			return err
		}
		*key = secret
	}
	books, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot listen (%w): choose another address with --listen", err), books.Close())
	}
	v.Gateway, v.API = "http://"+books.Addr().String(), "http://"+listener.Addr().String()
	v.Console = v.API + "/console/#key=" + v.Admin
	log := e.warnings()
	server, end := newAPI(&env, store, staffing{compared: auditSources{Gateway: v.Gateway}}, api.Options{Log: log, Pages: console.Handler()})
	defer end()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	ends := func(part func() error) {
		running.Go(func() {
			if err := part(); err != nil {
				cancel(err)
			}
		})
	}
	ends(func() error { return simulator.Serve(ctx, books, simulator.Handler(gateway)) })
	ends(func() error { return server.Serve(ctx, listener, nil) })
	if err := c.say(&env, v); err != nil {
		return err
	}
	ends(func() error { return c.trickle(ctx, store, log) })
	<-ctx.Done()
	return context.Cause(ctx)
}

// say tells where everything is.
func (c *devCommand) say(e *environment, v devView) error {
	out := e.printer()
	kind := "redis-server"
	if v.Embedded {
		kind = "embedded: no redis-server was found; for how fast it is, install one"
	}
	host := strings.TrimPrefix(v.API, "http://")
	out.sheet(v, "console", v.Console, "API", v.API+" (/openapi.json)", "key of a checkout", v.Checkout, "key for everything", v.Admin,
		"Redis", v.Redis+" ("+kind+")", "payment gateway", v.Gateway+" (/ledger)")
	out.note("")
	out.note("Buy two tickets:")
	out.note("")
	out.note(`  curl http://` + host + `/v1/orders -H "Authorization: Bearer ` + v.Checkout + `" -H "Content-Type: application/json" -H "Idempotency-Key: cart-1" \
    -H "Prefer: wait=5" -d '{"event_id": "jazz-night", "customer_id": "fred", "quantity": 2, "payment_token": "tok_visa"}'`)
	out.note("")
	out.note("Look at it from another terminal:")
	out.note("")
	out.note("  export HOLDFAST_REDIS='" + v.Redis + "'")
	out.note("  holdfast sales; holdfast pending; holdfast audit --gateway " + v.Gateway)
	out.note("")
	out.note("Ctrl-C ends all of it, and throws it away.")
	return out.flush()
}

// operaStalls are the rows of its stalls, two aisles through each.
const operaStalls = "A:1-8/9-20/21-28,B,C,D,E,F,G,H,J,K,L,M,N,O,P,Q,R,S,T,U"

// devEvents are what is on sale.
var devEvents = []struct {
	id, name string
	sections []domain.SectionTerms
}{
	{"jazz-night", "Jazz Night", []domain.SectionTerms{{Name: domain.DefaultSection, Price: 2500, Capacity: 5000}}},
	{"opera", "The Opera", []domain.SectionTerms{{Name: "stalls", Price: 8550, Capacity: 560, Layout: operaStalls}, {Name: "balcony", Price: 4000, Capacity: 1200}}},
	{"open-air", "Open Air", []domain.SectionTerms{{Name: domain.DefaultSection, Price: 1500, Capacity: 40_000}}},
}

func sampleEvents(ctx context.Context, store *streams.Store) error {
	for _, event := range devEvents {
		if _, err := store.Events().Create(ctx, event.id, domain.Terms{Name: event.name, Currency: "EUR", MaxPerOrder: 10, Sections: event.sections}); err != nil {
			return err
		}
	}
	return nil
}

// trickle is customers who come, each for an event of their own liking, until ctx ends: most buy, some have no luck with their card, some
// only hold, and half of these pay.
func (c *devCommand) trickle(ctx context.Context, store *streams.Store, log *zap.Logger) error {
	if c.Customers == 0 {
		return nil
	}
	checkout := store.Checkout()
	p := producer.New(checkout, checkout, producer.Options{})
	defer p.Close()
	tick := time.NewTicker(time.Duration(float64(time.Second) / c.Customers))
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		event := devEvents[rand.IntN(len(devEvents))] //nolint:gosec // who likes what is no secret
		section := event.sections[rand.IntN(len(event.sections))].Name
		r := domain.Request{
			Type: domain.RequestPurchase, EventID: event.id, OrderID: "trickle-" + strconv.Itoa(n), CustomerID: "customer-" + strconv.Itoa(n),
			Section: section, Quantity: 1 + rand.Int64N(4), PaymentToken: "tok_dev",
		}
		requests := []domain.Request{r}
		switch n % 20 {
		case 3, 13:
			requests[0].PaymentToken = simulator.DeclineTokenPrefix + "_dev"
		case 7, 17:
			requests[0].Type, requests[0].PaymentToken = domain.RequestHold, ""
			if n%20 == 7 {
				requests = append(requests, domain.Request{Type: domain.RequestPay, EventID: r.EventID, OrderID: r.OrderID, PaymentToken: "tok_dev"})
			}
		}
		for _, result := range p.PublishBatch(ctx, requests) {
			if result.Err != nil && ctx.Err() == nil {
				log.Warn("a customer of the trickle could not order", zap.Error(result.Err))
			}
		}
	}
}

// ownRedis is one that ends with the program, and everything in it.
type ownRedis struct {
	url      string
	embedded bool
	stop     func() error
}

// ownRedisPatience is how long it may take until it answers.
const ownRedisPatience = 20 * time.Second

// startOwnRedis starts a redis-server, or, where there is none, an embedded one. If it ends by itself, so does all.
func startOwnRedis(ctx context.Context, end context.CancelCauseFunc) (*ownRedis, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		embedded, err := miniredis.Run()
		if err != nil {
			return nil, fmt.Errorf("starting the embedded Redis: %w", err)
		}
		stopClock := runClock(embedded)
		return &ownRedis{"redis://" + embedded.Addr() + "?read_timeout=1m&write_timeout=1m", true, func() error {
			stopClock()
			embedded.Close()
			return nil
		}}, nil
	}
	dir, err := os.MkdirTemp("", "holdfast-dev-")
	if err != nil {
		return nil, fmt.Errorf("a folder for redis-server: %w", err)
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	cmd := exec.Command(program, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "no", "--maxmemory-policy", "noeviction")
	cmd.SysProcAttr = ownProcess()
	ended := make(chan struct{})
	started := make(chan error, 1)
	go func() { // which stays with its thread: where a child dies with its parent, that is the thread
		lockThread()
		defer close(ended)
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		err := cmd.Wait()
		end(fmt.Errorf("redis-server has ended: %w", errors.Join(errors.New(cmd.ProcessState.String()), err)))
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("starting redis-server: %w", err), os.RemoveAll(dir))
	}
	return &ownRedis{"redis://127.0.0.1:" + port + "/0", false, func() error {
		err := cmd.Process.Kill() // there is nothing to keep
		<-ended
		if errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		return errors.Join(err, os.RemoveAll(dir))
	}}, nil
}

// freePort is one that nobody listens at now.
func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("a port for redis-server: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
