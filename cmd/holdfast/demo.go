package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
	"holdfast/workers"
)

type demoCommand struct {
	Customers int    `default:"5000" placeholder:"N" help:"Customers of the on-sale. Default: 5000."`
	Seed      uint64 `default:"1" placeholder:"N" help:"Who wants what follows from it; on the embedded Redis also whose payment is declined. Default: 1."`
}

// demoLimit bounds the whole demo; it takes a fraction of that.
const demoLimit = 2 * time.Minute

// demo is one run: a namespace of its own, a simulated gateway, and workers that come and go.
type demo struct {
	out     io.Writer
	live    bool // out is a terminal: progress is one line that changes
	url     string
	tls     *tls.Config
	ns      string
	store   *streams.Store
	gateway *simulator.Simulator
	publish *producer.Producer
	workers []*demoWorker
	roles   []workers.Role // of those that are hired; nil: the usual ones
}

func (c *demoCommand) Run(ctx context.Context, e *environment) error {
	err := c.run(ctx, e)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case statusOf(err) == exitUnknown: // nobody is going to ask again
		return &endedError{exitFailed, err}
	}
	return err
}

func (c *demoCommand) run(ctx context.Context, e *environment) (err error) {
	if c.Customers < 10 || c.Customers > 1_000_000 {
		return badUsage("--customers: want 10 to 1000000")
	}
	if e.namespace != streams.DefaultNamespace && e.namespace != os.Getenv("HOLDFAST_NAMESPACE") { // that is for all commands
		return badUsage("--namespace: the demo makes a namespace of its own, and removes it")
	}
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	d := &demo{out: e.stdout, live: isTerminal(e.stdout), url: e.redis, ns: "demo-" + strings.SplitN(uuid.NewString(), "-", 2)[0]}
	if e.redis == "" {
		embedded, err := miniredis.Run()
		if err != nil {
			return fmt.Errorf("starting the embedded Redis: %w", err)
		}
		defer embedded.Close()
		d.ns = "demo" // nobody else is there, and payments, which are named after it, are declined in every run alike
		defer runClock(embedded)()
		// It is as slow as this machine is busy, and cannot be lost: there is nothing to be gained by giving up.
		d.url = "redis://" + embedded.Addr() + "?read_timeout=1m&write_timeout=1m"
		d.say("No --redis given: this runs on an embedded in-memory Redis (miniredis) in this process.\nIt shows what happens, not how fast: for that, and for durability, use a Redis server.")
	} else {
		if d.tls, err = e.checkConnection(); err != nil {
			return err
		}
		d.say("On the Redis at %s, in namespace %s, which stays there for you to look at.", redactURL(e.redis), d.ns)
	}
	d.store, err = streams.Open(ctx, d.url, streams.Options{Namespace: d.ns, Create: true, Partitions: 2, TLS: d.tls})
	if err != nil {
		return openError(d.url, err)
	}
	d.publish = producer.New(d.store.Checkout(), d.store.Checkout(), producer.Options{})
	defer func() {
		for _, w := range d.workers {
			err = errors.Join(err, w.stop())
		}
		d.publish.Close()
		err = errors.Join(err, d.store.Close())
	}()
	// Declines of the on-sale are the gateway's; in the scenario, a token asks for the one there is.
	if d.gateway, err = simulator.New(simulator.Options{}); err != nil {
		return err
	}
	if err := d.hire(ctx, d.gateway); err != nil {
		return err
	}
	if err := d.scenario(ctx); err != nil {
		return err
	}
	if err := d.examples(ctx); err != nil {
		return err
	}
	rush, err := d.onSale(ctx, c)
	if err != nil {
		return err
	}
	if err := d.hall(ctx, c); err != nil {
		return err
	}
	if err := d.settled(ctx, rush); err != nil {
		return err
	}
	return d.verdict(ctx, rush)
}

// runClock lets keys expire: miniredis leaves that to whoever uses it. The
// function it returns stops the clock.
func runClock(embedded *miniredis.Miniredis) (stop func()) {
	const step = 50 * time.Millisecond
	done := make(chan struct{})
	var clock sync.WaitGroup
	clock.Go(func() {
		tick := time.NewTicker(step)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				embedded.FastForward(step)
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		clock.Wait()
	}
}

func (d *demo) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, format+"\n", args...) // stdout of a demo: nowhere to say that it failed
}

func (d *demo) table(header string, rows ...[]string) {
	t := tabwriter.NewWriter(d.out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "  "+header)
	for _, row := range rows {
		_, _ = fmt.Fprintln(t, "  "+strings.Join(row, "\t"))
	}
	_ = t.Flush()
	d.say("")
}

// demoWorker is a worker with connections of its own, so that it can be killed.
type demoWorker struct {
	pool            *workers.Pool
	store           *streams.Store
	cancel          context.CancelFunc
	ended           chan error
	stopped, killed bool
}

func (d *demo) hire(ctx context.Context, gateway domain.PaymentGateway) error {
	store, err := streams.Open(ctx, d.url, streams.Options{Namespace: d.ns, Create: true, TLS: d.tls})
	if err != nil {
		return fmt.Errorf("connecting a worker: %w", err)
	}
	cfg := workers.Config{
		CodeKeys: hallKeys, Roles: d.roles,
		Name: "worker-" + strconv.Itoa(len(d.workers)+1), ReclaimAfter: time.Second, Grace: 3 * time.Second,
		// miniredis counts every sign of life as a delivery.
		MaxDeliveries: 1_000_000, Concurrency: 64,
	}
	pool, err := workers.New(cfg, workers.Deps{
		Webhooks: webhookSender(cfg, store, nil, zap.NewNop()),
		Ledger:   store.Ledger(), Queues: store.Queue, Gateway: gateway, Partitions: store.Partitions(),
		GatewayKind: domain.GatewaySimulator, PaymentNamespace: store.PaymentNamespace(), FreeOrders: store.FreeOrders() == streams.FreeOrdersDirect,
	})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	running, cancel := context.WithCancel(ctx)
	w := &demoWorker{pool: pool, store: store, cancel: cancel, ended: make(chan error, 1)}
	go func() { w.ended <- pool.Run(running) }()
	d.workers = append(d.workers, w)
	return nil
}

// stop waits for the worker's end, which it asks for if nobody has.
func (w *demoWorker) stop() error {
	if w.stopped {
		return nil
	}
	w.stopped = true
	w.cancel()
	err := <-w.ended
	if w.killed {
		return err // its connections are closed
	}
	return errors.Join(err, w.store.Close())
}

// kill cuts the worker off from Redis in the middle of what it does, as if its
// process had died: what it had in hand stays pending, nothing is handed back.
func (w *demoWorker) kill() error {
	w.killed = true
	err := w.store.Close()
	w.cancel()
	return err
}

func (d *demo) list(ctx context.Context, id, name string, price, capacity int64) error {
	_, err := d.store.Events().Create(ctx, id, domain.Terms{
		Name: name, Currency: "EUR", Sections: []domain.SectionTerms{{Name: domain.DefaultSection, Price: price, Capacity: capacity}},
	})
	return err
}

func purchaseOf(event, customer string, quantity int64) domain.Request {
	return domain.Request{Type: domain.RequestPurchase, EventID: event, CustomerID: customer, Quantity: quantity, PaymentToken: "tok_demo"}
}

// buy publishes a request and waits for what becomes of it.
func (d *demo) buy(ctx context.Context, r domain.Request) (domain.Order, error) {
	receipt, err := d.publish.Publish(ctx, r)
	if err != nil {
		return domain.Order{}, err
	}
	outcome, err := d.publish.WaitFor(ctx, receipt)
	return outcome.Order, err
}

func (d *demo) section(ctx context.Context, event string) (domain.Section, error) {
	e, err := d.store.Events().Get(ctx, event)
	if err != nil {
		return domain.Section{}, err
	}
	s, _ := e.Section(domain.DefaultSection)
	return s, nil
}

// until waits for a condition, looking often: a demo, not a pattern for a checkout.
func until(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the demo took too long: %w", ctx.Err())
		}
	}
}

// scenario is the article's last example.
func (d *demo) scenario(ctx context.Context) error {
	d.say("\n1. Four purchases for two events\n")
	events := []string{"mens-discus", "womens-discus"}
	if err := errors.Join(d.list(ctx, events[0], "Mens Discus", 1000, 200), d.list(ctx, events[1], "Womens Discus", 1500, 500)); err != nil {
		return err
	}
	for _, r := range []domain.Request{
		purchaseOf("mens-discus", "fred", 5), purchaseOf("mens-discus", "amy", 2),
		purchaseOf("womens-discus", "jim", 20), purchaseOf("womens-discus", "amy", 17),
	} {
		order, err := d.buy(ctx, r)
		if err != nil {
			return err
		}
		if order.State != domain.OrderConfirmed {
			return fmt.Errorf("the order of %s is %s, want confirmed", r.CustomerID, order.State)
		}
	}
	if err := d.posted(ctx, events); err != nil {
		return err
	}
	if err := d.salesTable(ctx, events); err != nil {
		return err
	}
	var rows [][]string
	for _, customer := range []string{"fred", "amy", "jim"} {
		lines, err := inspect.New(d.store).Invoices(ctx, customer)
		if err != nil {
			return err
		}
		for _, l := range lines {
			rows = append(rows, []string{customer, l.EventID, strconv.FormatInt(l.Quantity, 10), domain.FormatAmount(l.Amount, l.Currency), l.Status})
		}
	}
	d.table("INVOICES OF\tEVENT\tTICKETS\tAMOUNT\tSTATUS", rows...)
	return nil
}

// posted waits until everything confirmed is on the sales.
func (d *demo) posted(ctx context.Context, events []string) error {
	return until(ctx, 10*time.Millisecond, func() (bool, error) {
		for _, id := range events {
			s, err := d.section(ctx, id)
			if err != nil {
				return false, err
			}
			totals, err := inspect.New(d.store).Sales(ctx, id)
			if err != nil || totals.TicketsSold != s.Sold {
				return false, err
			}
		}
		return true, nil
	})
}

func (d *demo) salesTable(ctx context.Context, events []string) error {
	var rows [][]string
	for _, id := range events {
		e, err := d.store.Events().Get(ctx, id)
		if err != nil {
			return err
		}
		totals, err := inspect.New(d.store).Sales(ctx, id)
		if err != nil {
			return err
		}
		s := e.Sections[0]
		rows = append(rows, []string{
			e.Name, strconv.FormatInt(s.Capacity, 10), strconv.FormatInt(s.Available, 10), strconv.FormatInt(s.Held, 10),
			strconv.FormatInt(s.Sold, 10), domain.FormatAmount(totals.Revenue, e.Currency) + " " + e.Currency,
		})
	}
	d.table("EVENT\tCAPACITY\tAVAILABLE\tHELD\tSOLD\tREVENUE", rows...)
	return nil
}

// examples are the article's others.
func (d *demo) examples(ctx context.Context) error {
	d.say("2. What does not work out\n")
	if err := errors.Join(
		d.list(ctx, "womens-4x400m", "Womens 4x400m Final", 900, 10),
		d.list(ctx, "womens-marathon", "Womens Marathon Final", 2000, 500),
		d.list(ctx, "womens-javelin", "Womens Javelin", 1200, 500),
	); err != nil {
		return err
	}
	declined := purchaseOf("womens-marathon", "jim", 5)
	declined.PaymentToken = simulator.DeclineTokenPrefix + "_demo"
	for _, r := range []domain.Request{purchaseOf("womens-4x400m", "fred", 5), purchaseOf("womens-4x400m", "fred", 6), declined} {
		order, err := d.buy(ctx, r)
		if err != nil {
			return err
		}
		s, err := d.section(ctx, r.EventID)
		if err != nil {
			return err
		}
		outcome := order.State.String()
		if order.Reason != "" {
			outcome += " (" + order.Reason + ")"
		}
		d.say("  %s wants %d of %s: %s; available %d, held %d, sold %d", r.CustomerID, r.Quantity, r.EventID, outcome, s.Available, s.Held, s.Sold)
	}
	for i, h := range []struct {
		customer string
		quantity int64
	}{{"fred", 3}, {"jim", 5}, {"amy", 7}} {
		r := domain.Request{Type: domain.RequestHold, EventID: "womens-javelin", CustomerID: h.customer, Quantity: h.quantity, HoldSeconds: int64(3 - i)}
		if _, err := d.buy(ctx, r); err != nil {
			return err
		}
	}
	available := make([]string, 0, 4)
	last := int64(-1)
	err := until(ctx, 20*time.Millisecond, func() (bool, error) {
		s, err := d.section(ctx, "womens-javelin")
		if err == nil && s.Available != last {
			last = s.Available
			available = append(available, strconv.FormatInt(last, 10))
		}
		return last == 500, err
	})
	if err != nil {
		return err
	}
	d.say("  fred, jim and amy hold 3, 5 and 7 of womens-javelin for 3, 2 and 1 seconds and never pay: available %s\n", strings.Join(available, ", "))
	return nil
}

// onSale is a small rush: more customers than tickets, declines, duplicates, and
// a worker that dies in the middle of it. The gateway that it returns is the workers' from then on.
func (d *demo) onSale(ctx context.Context, c *demoCommand) (*simulator.Simulator, error) {
	capacities := []int64{int64(c.Customers) * 16 / 100, int64(c.Customers) * 14 / 100, int64(c.Customers) * 10 / 100}
	events := []string{"opening-night", "finals-day", "closing-night"}
	names := []string{"Opening Night", "Finals Day", "Closing Night"}
	var tickets int64
	for i, id := range events {
		if err := d.list(ctx, id, names[i], int64(2500+1000*i), capacities[i]); err != nil {
			return nil, err
		}
		tickets += capacities[i]
	}
	d.say("3. On-sale: %s, %s, three events, three workers; some payments are declined,\n   some requests come twice, some only hold and walk away, and one worker dies in the middle\n", plural(int64(c.Customers), "customer", "customers"), plural(tickets, "ticket", "tickets"))

	// The rush has a gateway of its own, which takes its time and declines some.
	rush, err := simulator.New(simulator.Options{Latency: 20 * time.Millisecond, DeclineRate: 0.1, LostReplyRate: 0.01, Seed: c.Seed})
	if err != nil {
		return nil, err
	}
	if err := d.workers[0].stop(); err != nil {
		return nil, err
	}
	for range 3 {
		if err := d.hire(ctx, rush); err != nil {
			return nil, err
		}
	}
	requests, orders := rushRequests(c, events)
	var publishing sync.WaitGroup
	var publishErr error
	publishing.Go(func() {
		for _, result := range d.publish.PublishBatch(ctx, requests) {
			publishErr = errors.Join(publishErr, result.Err)
		}
	})
	started := time.Now()
	killed := false
	var counts rushCounts
	err = until(ctx, 250*time.Millisecond, func() (bool, error) {
		var err error
		if counts, err = d.countOrders(ctx, events); err != nil {
			return false, err
		}
		d.progress("  %5.1f s  %d of %d orders done, %d confirmed, %d declined, %d rejected, %d expired", time.Since(started).Seconds(),
			counts.done, orders, counts.states[domain.OrderConfirmed], counts.states[domain.OrderDeclined],
			counts.states[domain.OrderRejected], counts.states[domain.OrderExpired])
		if victim := d.workers[1]; !killed && victim.pool.Stats().InFlight.Load() >= 10 && counts.states[domain.OrderConfirmed] > 0 {
			inHand := victim.pool.Stats().InFlight.Load()
			killed = true
			if err := victim.kill(); err != nil {
				return false, err
			}
			d.progressEnd()
			d.say("           %s was killed with %s in hand", victim.pool.Name(), plural(inHand, "entry", "entries"))
		}
		return counts.done >= orders, nil
	})
	publishing.Wait()
	if err := errors.Join(err, publishErr); err != nil {
		return nil, err
	}
	if err := errors.Join(d.posted(ctx, events), d.settled(ctx, rush)); err != nil {
		return nil, err
	}
	d.progressEnd()
	d.say("")
	if err := d.salesTable(ctx, events); err != nil {
		return nil, err
	}
	var reclaimed int64
	for _, w := range d.workers[2:] {
		reclaimed += w.pool.Stats().Reclaimed.Load()
	}
	d.say("  confirmed %d, declined %d, sold out %d, in progress elsewhere %d, expired %d", counts.states[domain.OrderConfirmed],
		counts.states[domain.OrderDeclined], counts.reasons[domain.ReasonSoldOut], counts.reasons[domain.ReasonInProgress], counts.states[domain.OrderExpired])
	d.say("  entries reclaimed from the killed worker: %d", reclaimed)
	return rush, d.verdict(ctx, rush)
}

func (d *demo) verdict(ctx context.Context, rush *simulator.Simulator) error {
	report, err := audit.Run(ctx, d.store, audit.Options{Gateway: func(context.Context) ([]domain.BooksLine, error) {
		return append(d.gateway.Books(), rush.Books()...), nil
	}})
	if err != nil {
		return err
	}
	for _, v := range report.Violations {
		d.say("  VIOLATION %s %s: %s", v.Invariant, v.Subject, v.Detail)
	}
	if !report.OK {
		return fmt.Errorf("the audit found %s", plural(int64(len(report.Violations)), "violation", "violations"))
	}
	d.say("  audit: ok. %s fold to %d orders of %d events, and all that Redis and the payment gateway hold agrees", plural(int64(report.Checked.Facts), "fact", "facts"), report.Checked.Orders, report.Checked.Events)
	return nil
}

// rushRequests makes the requests, and says how many orders they are about.
func rushRequests(c *demoCommand, events []string) (requests []domain.Request, orders int) {
	random := rand.New(rand.NewPCG(c.Seed, 0))
	for i := range c.Customers {
		r := purchaseOf(events[random.IntN(len(events))], fmt.Sprintf("customer-%05d", i), 1+random.Int64N(2))
		r.OrderID = fmt.Sprintf("order-%05d", i)
		if random.IntN(50) == 0 {
			r.Type, r.PaymentToken, r.HoldSeconds = domain.RequestHold, "", 2
		}
		requests = append(requests, r)
		if random.IntN(20) == 0 {
			requests = append(requests, r)
		}
	}
	return requests, c.Customers
}

// rushCounts says what became of the orders of the rush.
type rushCounts struct {
	done    int
	states  map[domain.OrderState]int
	reasons map[string]int
}

func (d *demo) countOrders(ctx context.Context, events []string) (rushCounts, error) {
	counts := rushCounts{states: make(map[domain.OrderState]int), reasons: make(map[string]int)}
	for _, id := range events {
		err := inspect.New(d.store).EachOrder(ctx, inspect.OrderFilter{EventID: id}, func(_ domain.OrderRef, o domain.Order) error {
			counts.states[o.State]++
			if o.State == domain.OrderRejected {
				counts.reasons[o.Reason]++
			}
			if o.State.Terminal() {
				counts.done++
			}
			return nil
		})
		if err != nil {
			return counts, err
		}
	}
	return counts, nil
}

// settled waits until no money is merely reserved any more.
func (d *demo) settled(ctx context.Context, gateway *simulator.Simulator) error {
	return until(ctx, 20*time.Millisecond, func() (bool, error) {
		for _, line := range gateway.Books() {
			if line.Status == domain.PaymentStatusAuthorized {
				return false, nil
			}
		}
		return true, nil
	})
}

// progress shows a line that the next one replaces; without a terminal, just a line.
func (d *demo) progress(format string, args ...any) {
	if d.live {
		_, _ = fmt.Fprintf(d.out, "\r\x1b[K"+format, args...)
		return
	}
	d.say(format, args...)
}

func (d *demo) progressEnd() {
	if d.live {
		d.say("")
	}
}
