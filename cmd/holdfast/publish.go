package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/producer"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

// trialToken pays where payments are simulated: whoever tries things out has no token.
const trialToken = "tok_cli"

type publishCommand struct {
	Type         string        `enum:"purchase,hold,pay,cancel,change,refund,payment_update" default:"purchase" placeholder:"TYPE" help:"purchase (hold and pay in one), hold, pay (for a hold), cancel (with --item: of these places only), change (to what --quantity, --seats or --item says), refund (money back, and the places stay), or payment_update (the customer has done what they had to at their bank). Default: purchase."`
	Event        string        `placeholder:"EVENT_ID" help:"The event."`
	Customer     string        `placeholder:"CUSTOMER_ID" help:"Who buys; with purchase and hold."`
	Quantity     *int64        `placeholder:"N" help:"How many tickets; with purchase and hold, where 1 is the default, and with change. In a section with seats, the best available ones."`
	Section      string        `placeholder:"NAME" help:"Section of the event. Default: general."`
	Adjacent     *bool         `negatable:"" help:"Whether the best available seats must be side by side; --adjacent=false takes the best single ones where there are not so many. Default: they must."`
	Allocation   string        `placeholder:"NAME" help:"Of the section's places those of this allocation, which --access-code opens. Default: those for everybody."`
	AccessCode   string        `env:"HOLDFAST_ACCESS_CODE" placeholder:"CODE" help:"What opens the allocation; with purchase and hold. Other users of this machine can see command lines: set the environment variable instead."`
	Seats        []string      `sep:"none" placeholder:"ROW-NUMBER,…" help:"These seats of the section, such as A-12,A-13, instead of --quantity."`
	Item         []itemFlag    `sep:"none" placeholder:"section=NAME,quantity=N" help:"Several sections in one order, all or nothing, instead of --section, --quantity, --seats and --unit-price: give the flag once for each, perhaps with ,adjacent=false, or with ,seats=A-12/A-13 instead of the quantity, and perhaps with ,unit_price=MINOR_UNITS and ,allocation=NAME."`
	Order        string        `placeholder:"ORDER_ID" help:"The order_id. Publishing the same again under the same order_id is harmless. Default, with purchase and hold: a new one, which is printed."`
	Token        string        `env:"HOLDFAST_TOKEN" placeholder:"TOKEN" help:"The payment token; with purchase and pay. Other users of this machine can see command lines: set the environment variable instead. Default: tok_cli, which only a simulated gateway approves."`
	UnitPrice    *int64        `placeholder:"MINOR_UNITS" help:"Reject the order as price_changed if a ticket does not cost just this. Default: whatever it costs."`
	HoldSeconds  int64         `placeholder:"N" help:"How long the hold lasts. Default: as the worker says."`
	Change       int64         `placeholder:"N" help:"With change, refund, and cancel of some places: which one of the order it is, from 1; the next one may follow when the one before is decided."`
	Amount       int64         `placeholder:"MINOR_UNITS" help:"With refund: how much is given back, unless --item says of which places the price is."`
	NoRefund     bool          `help:"With cancel: give the places back, and keep the money."`
	Reason       string        `placeholder:"TEXT" help:"With cancel, change and refund: why, for people. orders show tells it."`
	By           string        `placeholder:"NAME" help:"Likewise: who asks for it."`
	Attempt      int64         `placeholder:"N" help:"With pay and payment_update: which attempt to pay for the order it is, 1 to 9; the next one may follow when the one before was declined. Default: 1."`
	ValidSeconds int64         `placeholder:"N" help:"How long the request may wait in line. Default: as the worker says."`
	File         string        `placeholder:"FILE|-" help:"Publish the requests of a file (- is stdin) instead: JSON lines with the fields of a request."`
	Wait         bool          `help:"Wait for the outcome of each, and print that instead of where it was published."`
	Timeout      time.Duration `default:"30s" placeholder:"DURATION" help:"How long to wait for an outcome. Default: 30s."`

	FailUnlessConfirmed bool `help:"With --wait: exit with status 1 if an outcome is not what was asked for: confirmed for a purchase and a pay, held (or confirmed since) for a hold, cancelled for a cancel, done for a change, a refund and a cancel of some places."`

	Replicas        int           `placeholder:"N" help:"Wait until so many replicas of Redis have each request, and print how many had it. Fewer are no error. Default: 0, do not wait."`
	ReplicasTimeout time.Duration `default:"1s" placeholder:"DURATION" help:"How long to wait for replicas. Default: 1s."`
}

// Help is shown by --help.
func (c *publishCommand) Help() string {
	return `
Buy two tickets and see what becomes of it; hold three, then pay for them:

  export HOLDFAST_TOKEN=tok_1
  holdfast publish --event jazz-night --customer fred --quantity 2 --wait

  holdfast publish --type hold --event jazz-night --customer amy --quantity 3 --order amy-1 --wait
  holdfast publish --type pay --event jazz-night --order amy-1 --wait

Two sections in one order, both or neither:

  holdfast publish --event opera --customer jim --item section=stalls,quantity=2 --item section=balcony,quantity=1 --wait

Two seats by name; and the best four that are left, side by side or not:

  holdfast publish --event ballet --customer amy --section stalls --seats A-12,A-13 --wait
  holdfast publish --event ballet --customer bob --section stalls --quantity 4 --adjacent=false --wait

Two places that are for fans, with the code that opens them:

  HOLDFAST_ACCESS_CODE=early-bird holdfast publish --event show --customer amy --quantity 2 --allocation fans --wait

Give one place of an order back, then move the order to other places of the same price (in a section with seats, the best available ones):

  holdfast publish --type cancel --event opera --order jim-1 --change 1 --item section=balcony,quantity=1 --wait
  holdfast publish --type change --event opera --order jim-1 --change 2 --item section=circle,quantity=2 --wait
  holdfast publish --type change --event opera --order jim-1 --change 3 --section circle --quantity 3 --wait

Many at once, a JSON object a line:

  holdfast publish --file requests.jsonl --wait -o json

  {"type":"purchase","event_id":"jazz-night","order_id":"o-1","customer_id":"fred","quantity":2,"payment_token":"tok_1"}

Its fields: type, event_id, order_id (made up if missing, with purchase and hold), customer_id, section, quantity,
adjacent (true or false), seats (an array, instead of these two), allocation, items (an array of objects with these five, instead of
them), access_code, payment_token, unit_price, hold_seconds, valid_seconds, attempt, change, amount, refund (true or false), reason, by, traceparent, v. Lines that will not do are reported on stderr
with their number, the others are published.

If a result is not known, publish the same again under the same order_id: nothing happens twice. The exit status is 3 as
long as one is not known, else 1 if one was not published, or (with --wait) was set aside as a dead letter or is another
request's under the same order_id; any outcome that is known, rejected too, is 0 unless --fail-unless-confirmed. An
order_id is used up by its outcome, a rejection too: another try needs another one.
`
}

func (c *publishCommand) Run(ctx context.Context, e *environment) error {
	if c.Timeout <= 0 {
		return badUsage("--timeout: want more than 0")
	}
	if c.FailUnlessConfirmed && !c.Wait {
		return badUsage("--fail-unless-confirmed goes with --wait")
	}
	if c.Replicas < 0 {
		return badUsage("--replicas: want 0 or more")
	}
	if c.ReplicasTimeout <= 0 {
		return badUsage("--replicas-timeout: want more than 0")
	}
	how := publishing{
		wait: c.Wait, timeout: c.Timeout, failUnlessConfirmed: c.FailUnlessConfirmed,
		replicas: c.Replicas, replicasTimeout: c.ReplicasTimeout,
	}
	if c.File == "" {
		request, err := c.request()
		if err != nil {
			return err
		}
		return e.withStore(ctx, func(store *streams.Store) error { return e.publish(ctx, store, how, one(request)) })
	}
	if c.Event != "" || c.Customer != "" || c.Order != "" || c.Section != "" || c.Allocation != "" || c.UnitPrice != nil || len(c.Item) > 0 ||
		len(c.Seats) > 0 || c.Adjacent != nil || c.Quantity != nil || c.HoldSeconds != 0 || c.Attempt != 0 || c.Change != 0 || c.Amount != 0 || c.NoRefund || c.Reason != "" || c.By != "" || c.ValidSeconds != 0 || c.Type != string(domain.RequestPurchase) {
		return badUsage("with --file, the requests are in the file: leave out the flags that describe one")
	}
	in := e.stdin
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("--file: %w", err)
		}
		defer func() { _ = file.Close() }() // it was only read
		in = file
	}
	how.progress = isTerminal(e.stderr) && !isTerminal(e.stdout)
	return e.withStore(ctx, func(store *streams.Store) error {
		// Ends the reader when publishing ends first. It may be stuck in a read of
		// stdin, which nothing can interrupt: it is not waited for.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		return e.publish(ctx, store, how, readJobs(ctx, in))
	})
}

// request is the one that the flags describe, checked as it would be before it is sent.
func (c *publishCommand) request() (domain.Request, error) {
	r := domain.Request{
		Type: domain.RequestType(c.Type), EventID: c.Event, OrderID: c.Order,
		HoldSeconds: c.HoldSeconds, ValidSeconds: c.ValidSeconds, UnitPrice: c.UnitPrice, Attempt: c.Attempt, Change: c.Change, Amount: c.Amount, NoRefund: c.NoRefund,
		Cause: domain.Cause{Reason: c.Reason, By: c.By},
	}
	if err := c.check(r.Type); err != nil {
		return r, about(r.Ref(), err)
	}
	if r.Type.Opens() {
		r.Allocation, r.AccessCode = c.Allocation, domain.Secret(c.AccessCode)
		if r.Allocation == "" && !slices.ContainsFunc(c.Item, func(f itemFlag) bool { return f.Allocation != "" }) && c.AccessCode == os.Getenv("HOLDFAST_ACCESS_CODE") {
			r.AccessCode = "" // the environment has it for all commands
		}
		r.CustomerID, r.Section, r.Apart, r.Seats = c.Customer, c.Section, c.apart(), c.seats()
		switch {
		case c.Quantity != nil:
			r.Quantity = *c.Quantity
		case len(c.Seats)+len(c.Item) == 0:
			r.Quantity = 1
		}
		if r.OrderID == "" {
			id, err := newOrderID()
			if err != nil {
				return r, err
			}
			r.OrderID = id
		}
	}
	for _, f := range c.Item {
		r.Items = append(r.Items, domain.RequestItem(f))
	}
	if r.Type == domain.RequestChange && len(r.Items) == 0 {
		item := domain.RequestItem{Section: cmp.Or(c.Section, domain.DefaultSection), Apart: c.apart(), Seats: c.seats(), UnitPrice: c.UnitPrice}
		if c.Quantity != nil {
			item.Quantity = *c.Quantity
		}
		r.Items, r.UnitPrice = []domain.RequestItem{item}, nil
	}
	if r.Type.Pays() {
		r.PaymentToken = domain.Secret(cmp.Or(c.Token, trialToken))
	}
	return checked(r)
}

// seats are those that the flag names; also if it names none, which is then refused: nobody shall get any seat instead.
func (c *publishCommand) seats() []string {
	if len(c.Seats) == 0 {
		return nil
	}
	return strings.Split(strings.Join(c.Seats, ","), ",")
}

// apart reports whether seats need not be side by side.
func (c *publishCommand) apart() bool { return c.Adjacent != nil && !*c.Adjacent }

// checked is a request that flags describe, checked as it would be before it is sent.
func checked(r domain.Request) (domain.Request, error) {
	parsed, err := wire.ParseRequest(wire.Fields(r))
	if err != nil {
		field, problem, _ := strings.Cut(err.Error(), ": ")
		return r, about(r.Ref(), badUsage("%s: %s", flagOf(field), problem))
	}
	return parsed, nil
}

// check finds flags that say nothing with this type of request.
func (c *publishCommand) check(t domain.RequestType) error {
	for _, f := range []struct {
		name  string
		given bool
		goes  bool
	}{
		{"--customer", c.Customer != "", t.Opens()},
		{"--section", c.Section != "", t.Opens() || t == domain.RequestChange},
		{"--quantity", c.Quantity != nil, t.Opens() || t == domain.RequestChange},
		{"--unit-price", c.UnitPrice != nil, t.Opens() || t == domain.RequestChange},
		{"--adjacent", c.Adjacent != nil, t.Opens() || t == domain.RequestChange},
		{"--seats", len(c.Seats) > 0, t.Opens() || t == domain.RequestChange},
		{"--allocation", c.Allocation != "", t.Opens()},
		{"--access-code", c.AccessCode != "" && c.AccessCode != os.Getenv("HOLDFAST_ACCESS_CODE"), t.Opens()},
		{"--item", len(c.Item) > 0, t.Opens() || t == domain.RequestCancel || t == domain.RequestChange || t == domain.RequestRefund},
		{"--hold-seconds", c.HoldSeconds != 0, t.Opens()},
		{"--change", c.Change != 0, t == domain.RequestCancel || t == domain.RequestChange || t == domain.RequestRefund},
		{"--amount", c.Amount != 0, t == domain.RequestRefund},
		{"--no-refund", c.NoRefund, t == domain.RequestCancel},
		{"--reason", c.Reason != "", t == domain.RequestCancel || t == domain.RequestChange || t == domain.RequestRefund},
		{"--by", c.By != "", t == domain.RequestCancel || t == domain.RequestChange || t == domain.RequestRefund},
		{"--attempt", c.Attempt != 0, t == domain.RequestPay || t == domain.RequestPaymentUpdate},
		{"--valid-seconds", c.ValidSeconds != 0, t.Opens() || t == domain.RequestPay || t == domain.RequestChange},
		{"--token", c.Token != "" && c.Token != os.Getenv("HOLDFAST_TOKEN"), t.Pays()}, // the environment has it for all commands
	} {
		if f.given && !f.goes {
			return badUsage("%s does not go with --type %s", f.name, t)
		}
	}
	if len(c.Item) > 0 && (c.Section != "" || c.Allocation != "" || c.Quantity != nil || len(c.Seats) > 0 || c.Adjacent != nil || c.UnitPrice != nil) {
		return badUsage("--item: not with --section, --allocation, --quantity, --seats, --adjacent or --unit-price")
	}
	if t == domain.RequestChange && len(c.Item) == 0 && len(c.Seats) == 0 && c.Quantity == nil {
		return badUsage("--type change: want what the order shall have: --quantity, --seats or --item")
	}
	if len(c.Seats) > 0 && c.Quantity != nil {
		return badUsage("--seats: not with --quantity")
	}
	if len(c.Seats) > 0 && c.Adjacent != nil {
		return badUsage("--seats: not with --adjacent")
	}
	return nil
}

// itemFlag is section=NAME,quantity=N[,adjacent=false] or section=NAME,seats=A-12/A-13, perhaps with ,unit_price=MINOR_UNITS.
type itemFlag domain.RequestItem

const itemForms = "want section=NAME,quantity=N and perhaps ,adjacent=false, or section=NAME,seats=A-12/A-13, and perhaps ,unit_price=MINOR_UNITS and ,allocation=NAME"

// UnmarshalText reads the flag. Whether its values will do is said where requests are checked.
func (f *itemFlag) UnmarshalText(text []byte) error {
	said := make(map[string]string)
	for _, part := range strings.Split(string(text), ",") {
		name, value, _ := strings.Cut(part, "=")
		if _, twice := said[name]; twice || value == "" || !slices.Contains([]string{"section", "quantity", "seats", "adjacent", "unit_price", "allocation"}, name) {
			return fmt.Errorf("%s, but got %q", itemForms, text)
		}
		said[name] = value
	}
	switch {
	case said["section"] == "":
		return fmt.Errorf("section is missing: %s, but got %q", itemForms, text)
	case said["quantity"] == "" && said["seats"] == "":
		return fmt.Errorf("quantity is missing: %s, but got %q", itemForms, text)
	case said["seats"] != "" && (said["quantity"] != "" || said["adjacent"] != ""):
		return fmt.Errorf("seats: not with quantity or adjacent: %s, but got %q", itemForms, text)
	case said["adjacent"] != "" && said["adjacent"] != "true" && said["adjacent"] != "false":
		return fmt.Errorf("adjacent: want true or false, but got %q", said["adjacent"])
	}
	*f = itemFlag{Section: said["section"], Allocation: said["allocation"], Apart: said["adjacent"] == "false"}
	if said["seats"] != "" {
		f.Seats = strings.Split(said["seats"], "/")
	}
	for name, n := range map[string]*int64{"quantity": &f.Quantity, "unit_price": new(int64)} {
		if said[name] == "" {
			continue
		}
		var err error
		if *n, err = strconv.ParseInt(said[name], 10, 64); err != nil {
			return fmt.Errorf("%s: want a whole number, but got %q", name, said[name])
		}
		if name == "unit_price" {
			f.UnitPrice = n
		}
	}
	return nil
}

// flagOf is the flag that sets a field of a request.
func flagOf(field string) string {
	switch field {
	case "event_id", "order_id", "customer_id":
		field = strings.TrimSuffix(field, "_id")
	case wire.FieldPaymentToken:
		return "--token or HOLDFAST_TOKEN"
	}
	if strings.HasPrefix(field, wire.FieldItems) {
		return "--item"
	}
	return "--" + strings.ReplaceAll(field, "_", "-")
}

// publishing is how to publish.
type publishing struct {
	wait     bool          // for outcomes
	timeout  time.Duration // of each wait
	progress bool          // on stderr

	failUnlessConfirmed bool // an outcome that is not what was asked for is a failure

	replicas        int // to wait for when publishing
	replicasTimeout time.Duration
}

// job is a request to publish, or what is wrong with its line.
type job struct {
	line    int // 0: it is the only one
	request domain.Request
	err     error
}

func one(r domain.Request) <-chan job {
	jobs := make(chan job, 1)
	jobs <- job{request: r}
	close(jobs)
	return jobs
}

const (
	publishBatch = 1000
	mostWaits    = 1000 // waits under way at once
)

// publisher publishes jobs as they come and writes what became of each.
type publisher struct {
	how      publishing
	store    *streams.Store
	producer *producer.Producer
	waits    chan struct{} // one element for each wait under way
	waiting  sync.WaitGroup
	absence  absence

	mu       sync.Mutex // of what follows, and of stdout and stderr
	out      *printer
	complain func(error)
	progress progress
	status   int // the exit status so far
}

// publish handles jobs until there are no more. It reports what fails by itself,
// each with its line; the error has the exit status of all of them, and says why it
// stopped before the end if it did.
func (e *environment) publish(ctx context.Context, store *streams.Store, how publishing, jobs <-chan job) error {
	columns := []string{"order_id", "event_id", "entry_id"}
	if how.replicas > 0 {
		columns = append(columns, "replicas")
	}
	if how.wait {
		columns = orderColumns
	}
	p := &publisher{
		how: how, store: store, absence: absence{said: make(map[int]string)}, producer: producer.New(store.Checkout(), store.Checkout(), producer.Options{
			MaxBatch: publishBatch, Replicas: how.replicas, ReplicasTimeout: how.replicasTimeout,
		}),
		waits: make(chan struct{}, mostWaits), out: e.printer(columns...), complain: e.complain,
		progress: progress{on: how.progress, stderr: e.stderr, what: "published", began: time.Now()},
	}
	err := p.all(ctx, jobs)
	p.waiting.Wait()
	p.producer.Close()
	p.progress.end()
	end := p.out.flush
	if err == nil && p.status == exitDone {
		end = func() error { return p.out.end(nil) }
	}
	if endErr := end(); err == nil {
		err = endErr
	}
	if status := max(p.status, statusOf(err)); status != exitDone {
		return &endedError{status, err}
	}
	return nil
}

func (p *publisher) all(ctx context.Context, jobs <-chan job) error {
	for {
		batch, err := nextBatch(ctx, jobs)
		if err != nil || len(batch) == 0 {
			return err
		}
		if err := p.batch(ctx, batch); err != nil {
			return err
		}
	}
}

// nextBatch waits for one job and takes along what is there already, so that a
// slow stream is published as it comes and a fast one in few round trips.
func nextBatch(ctx context.Context, jobs <-chan job) ([]job, error) {
	var batch []job
	select {
	case first, open := <-jobs:
		if !open {
			return nil, ctx.Err() // the reader ends with ctx, too
		}
		batch = append(batch, first)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for len(batch) < publishBatch {
		select {
		case j, open := <-jobs:
			if !open {
				return batch, nil
			}
			batch = append(batch, j)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

// batch publishes one. The error means that Redis confirmed none of it, and so that
// there is no point in going on.
func (p *publisher) batch(ctx context.Context, batch []job) error {
	var good []job
	var requests []domain.Request
	for _, j := range batch {
		if j.err != nil {
			p.fail(j, j.err)
			continue
		}
		good = append(good, j)
		requests = append(requests, j.request)
	}
	published := 0
	for i, result := range p.producer.PublishBatch(ctx, requests) {
		ref := good[i].request.Ref()
		switch {
		case result.Err == nil:
			published++
			p.published(ctx, good[i], result.Receipt)
		case errors.Is(result.Err, domain.ErrUnknownOutcome):
			p.fail(good[i], fmt.Errorf("order %s: not known whether it was published (%w): %s", ref, result.Err, again(&good[i].request)))
		default:
			p.fail(good[i], fmt.Errorf("order %s: not published: %w", ref, result.Err))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress.add(published)
	if !p.how.wait {
		if err := p.out.flush(); err != nil {
			return err
		}
	}
	if last := batch[len(batch)-1]; published == 0 && len(good) > 0 && last.line > 0 {
		return fmt.Errorf("redis confirmed nothing of what was sent last (%s): stopped after line %d, publish what follows again later", plural(int64(len(good)), "request", "requests"), last.line)
	}
	return nil
}

func (p *publisher) fail(j job, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = max(p.status, statusOf(err))
	p.progress.clear()
	if j.line > 0 {
		err = fmt.Errorf("line %d: %w", j.line, err)
	}
	p.complain(&subjectError{err, j.request.Ref(), j.line})
}

// unknown is fail for a request that was published, perhaps, and whose outcome may be any.
func (p *publisher) unknown(j job, format string, args ...any) {
	p.fail(j, domain.WithCode(domain.ClassRetry, domain.CodeUnknownOutcome, fmt.Errorf(format, args...)))
}

func (p *publisher) published(ctx context.Context, j job, receipt producer.Receipt) {
	if p.how.wait {
		p.waits <- struct{}{} // waits end in bounded time
		p.waiting.Go(func() {
			defer func() { <-p.waits }()
			p.await(ctx, j, receipt)
		})
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	cells := []string{receipt.OrderID, receipt.EventID, receipt.EntryID}
	if p.how.replicas > 0 {
		cells = append(cells, strconv.Itoa(receipt.Replicas))
	}
	p.out.row(receipt, cells...)
}

// await waits for the outcome of a request and writes it.
func (p *publisher) await(ctx context.Context, j job, receipt producer.Receipt) {
	waitCtx, cancel := context.WithTimeout(ctx, p.how.timeout)
	defer cancel()
	ref := j.request.Ref()
	outcome, err := p.producer.WaitFor(waitCtx, receipt)
	var setAside *producer.SetAsideError
	switch {
	case err == nil:
	case errors.As(err, &setAside):
		p.fail(j, fmt.Errorf("%w (see holdfast dead show %s)", err, setAside.DeadID))
		return
	case errors.Is(err, domain.ErrConflict):
		another := "order_id"
		if j.request.Changes() {
			another = "--change"
		}
		p.fail(j, fmt.Errorf("%w: this one goes to the dead letters, choose another %s", err, another))
		return
	case errors.Is(err, domain.ErrNotFound), domain.CodeOf(err) == domain.CodeEventOver: // a later change of the order is decided; its event was forgotten
		p.fail(j, err)
		return
	case ctx.Err() != nil:
		p.unknown(j, "order %s: published, but interrupted before an outcome: %s to learn it", ref, again(&j.request))
		return
	case errors.Is(err, context.DeadlineExceeded):
		p.unknown(j, "order %s: published, but no outcome within %s%s: %s to learn it", ref, p.how.timeout, p.nobody(ctx, ref), again(&j.request))
		return
	default:
		p.unknown(j, "order %s: published, but its outcome is not known (%w): %s", ref, err, again(&j.request))
		return
	}
	v := viewOrder(ref, outcome.Order, outcome.Seats)
	if outcome.Refused != "" { // why it is as it was
		v.Reason, v.Detail = outcome.Refused, outcome.Detail
	}
	p.written(v)
	if p.how.failUnlessConfirmed && !granted(&j.request, outcome) {
		p.fail(j, refused(ref, outcome))
	}
}

// again says how a request is published once more. Without its number a change, or a refund, would be another one.
func again(r *domain.Request) string {
	if r.Changes() {
		return fmt.Sprintf("say the same again with --change %d (without it, that is one more)", r.Change)
	}
	return "publish it again under the same order_id"
}

func (p *publisher) written(v orderView) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.row(v, v.cells()...)
	_ = p.out.flush() // its error stays until the end
}

// absence remembers what was said of the workers of each partition: a thousand waits may end at once.
type absence struct {
	mu   sync.Mutex
	said map[int]string
}

// lookForWorkers bounds how long it is looked whether any is alive.
const lookForWorkers = 2 * time.Second

// nobody says that no worker is there to take a request, if that is so. It says nothing
// of those that are there and have not come to it, nor if it may not look.
func (p *publisher) nobody(ctx context.Context, ref domain.OrderRef) string {
	p.absence.mu.Lock()
	defer p.absence.mu.Unlock()
	partition := p.store.Partition(ref.EventID)
	said, known := p.absence.said[partition]
	if !known {
		ctx, cancel := context.WithTimeout(ctx, lookForWorkers)
		defer cancel()
		if alive, err := inspect.New(p.store).Alive(ctx, partition, domain.GroupWorkers); err == nil && alive == 0 {
			said = ": no worker with the role purchase is running"
		}
		p.absence.said[partition] = said
	}
	return said
}

// granted reports whether an outcome is what a request asked for.
func granted(r *domain.Request, outcome producer.Outcome) bool {
	state := outcome.Order.State
	if r.Changes() {
		lives := state == domain.OrderHeld || state == domain.OrderConfirmed || r.Type == domain.RequestRefund && outcome.Order.Change == r.Change
		return outcome.Refused == "" && (lives || r.Type == domain.RequestCancel && state == domain.OrderCancelled)
	}
	switch r.Type {
	case domain.RequestHold:
		return state == domain.OrderHeld || state == domain.OrderConfirmed
	case domain.RequestCancel:
		return state == domain.OrderCancelled
	case domain.RequestPurchase, domain.RequestPay, domain.RequestPaymentUpdate, domain.RequestChange, domain.RequestRefund:
	}
	return state == domain.OrderConfirmed
}

// refused says how an order ended that was asked for in vain, or why it is not changed. Its code is the reason, or else the state.
func refused(ref domain.OrderRef, outcome producer.Outcome) error {
	o := outcome.Order
	said := o.State.String()
	if outcome.Refused != "" {
		said = "not changed"
		o.Reason, o.Detail = outcome.Refused, outcome.Detail
	}
	for _, more := range []string{o.Reason, o.Detail} {
		if more != "" {
			said += ": " + more
		}
	}
	code := domain.Code(cmp.Or(o.Reason, o.State.String()))
	if v := viewOrder(ref, o, nil); v.Payment != "" && o.PayState != domain.PayOpen {
		said += ": " + paymentText(v)
		code = map[domain.PayState]domain.Code{
			domain.PayDeclined: domain.Code(domain.FactPaymentDeclined), domain.PayActionRequired: domain.Code(domain.FactActionRequired),
		}[o.PayState]
	}
	return domain.WithCode(domain.ClassReject, code, fmt.Errorf("order %s: %s", ref, said))
}
