package workers_test

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/payments/simulator"
	"holdfast/streams"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// scenario is a little work for workers, and exactly how it must end, whatever
// happened to the workers meanwhile.
type scenario struct {
	name    string
	cfg     func(cfg *workers.Config)            // if not nil, what is not as usual
	gateway simulator.Options                    //
	bank    func(v *verdict) bank                // if not nil, who has the money instead of a simulator
	wrap    func(r *scene) domain.PaymentGateway // if not nil, the gateway that workers see
	play    func(r *scene)                       // the first worker starts at its first wait
	tidy    func(r *scene) bool                  // if not nil, what must come true in the end besides
	events  map[string]int64                     // capacities, if not just e with 100
	vip     bool                                 // events have a second section of that name, of the same capacity and price
	seats   string                               // the layout of that section, which is seated then; which seats are whose, the scenario looks at itself
	limit   int64                                // of places per customer; 0: none
	late    time.Duration                        // for so long late approvals are honoured
	archive bool                                 // workers archive, and trim the log
	free    string                               // the event that costs nothing, and needs no payment; the others cost 1000
	ends    []end                                // of all orders
	dead    []string                             // how the reasons of all dead letters begin
	named   []string                             // the orders whose payments the auditor must name: what a person has to clear up
}

// end is how one order must end. What is in sections, sales, invoices and the
// gateway's books must be what follows from all of them, and nothing else.
type end struct {
	ref       string // event_id/order_id
	customer  string
	quantity  int64
	vip       int64 // so many of them are in that section
	state     domain.OrderState
	reason    string
	payment   domain.PaymentStatus   // empty: the gateway has never heard of it
	later     []domain.PaymentStatus // of the second attempt to pay, and those after it
	reversed  bool                   // was confirmed before it was cancelled
	refunded  int64                  // of one whose payment is captured: how much of what was captured was given back
	forgotten bool                   // with its event: there is no record of it any more, but its invoice line
	// mayExpire: its payment is left alone. A worker that dies after it has set the request aside, and before it
	// has declined the order, leaves it to its deadline; settlement then says the same of the payment once more.
	mayExpire bool
}

// isOutcome reports whether an order may be so in the end.
func (e end) isOutcome(o domain.Order) bool {
	if e.forgotten {
		return o.State == domain.OrderNone
	}
	return o.State == e.state && o.Reason == e.reason || e.expired(o)
}

// expired reports whether it is the other end that there may be.
func (e end) expired(o domain.Order) bool { return e.mayExpire && o.State == domain.OrderExpired }

func confirmed(ref, customer string, quantity int64) end {
	return end{ref: ref, customer: customer, quantity: quantity, state: domain.OrderConfirmed, payment: domain.PaymentStatusCaptured}
}

func rejected(ref, reason string) end {
	return end{ref: ref, state: domain.OrderRejected, reason: reason}
}

func cancelled(ref, customer string, quantity int64, payment domain.PaymentStatus) end {
	return end{ref: ref, customer: customer, quantity: quantity, state: domain.OrderCancelled, reason: domain.ReasonRequested, payment: payment}
}

// withEvent is an order that was cancelled with its event.
func withEvent(ref, customer string, quantity int64, payment domain.PaymentStatus) end {
	e := cancelled(ref, customer, quantity, payment)
	e.reason = domain.ReasonEventCancelled
	return e
}

func mismatched(ref, customer string, quantity int64, payment domain.PaymentStatus) end {
	return end{ref: ref, customer: customer, quantity: quantity, state: domain.OrderDeclined, reason: domain.ReasonPaymentMismatch, payment: payment}
}

func leftAlone(ref, customer string, quantity int64, payment domain.PaymentStatus) end {
	e := mismatched(ref, customer, quantity, payment)
	e.mayExpire = true
	return e
}

func reversed(e end) end {
	e.reversed = true
	return e
}

func (s scenario) price(event string) int64 {
	if event == s.free {
		return 0
	}
	return 1000
}

// scene is a run of a scenario.
type scene struct {
	*world
	scenario scenario
	injector *injector
	planted  planted
	gateway  domain.PaymentGateway // between the workers and the simulator

	neighbours []domain.BooksLine // of other namespaces, in the gateway's books

	archive  *bucket // nil: nobody archives
	snapshot string  // the entry that the newest one ends with

	worker  *worker // nil before the first, and after each death
	process *process
	buried  sync.WaitGroup // of workers that died

	released chan struct{} // closed by release
	release  func()        // lets calls of the gateway go on that the scenario holds back
}

// sections are those of an event.
func (s scenario) sections(price, capacity int64) []domain.SectionTerms {
	list := []domain.SectionTerms{{Name: "general", Price: price, Capacity: capacity}}
	if s.vip {
		vip := domain.SectionTerms{Name: "vip", Price: price, Capacity: capacity}
		if l, err := seats.Parse(s.seats); err == nil {
			vip.Capacity, vip.Layout = int64(l.Seats()), l.String()
		}
		list = append(list, vip)
	}
	return list
}

// planted is a bug, or something else, that is put between the workers of a run
// and the world, behind the injector. The zero value is nothing.
type planted struct {
	hook    redis.Hook
	gateway func(domain.PaymentGateway) domain.PaymentGateway
	deps    func(*workers.Deps)
}

// outcome is what came of a run.
type outcome struct {
	violations []string         // everything that was not as it must be
	audits     int              // how often the auditor judged
	audited    int              // how many of the violations it named
	hits       int              // how many of the faults were hit
	seen       []map[string]int // how often each step came: before the first fault was hit, after it, …
}

// run plays a scenario on a namespace of its own, with faults that are hit one after
// the other, and judges how it ended. When a worker dies, the next one starts.
func (s scenario) run(server *redistest.Server, p planted, wait time.Duration, faults ...fault) outcome {
	inj := newInjector(faults...)
	v := &verdict{}
	var o outcome
	played := make(chan struct{})
	go func() {
		defer close(played)
		defer v.end()
		r := newScene(v, server, s, inj, p, wait)
		defer r.end()
		s.playOn(r, &o)
	}()
	<-played
	o.violations = v.said
	o.hits, o.seen = inj.hits(), inj.seen
	return o
}

func (s scenario) playOn(r *scene, o *outcome) {
	events := s.events
	if events == nil {
		events = map[string]int64{"e": 100}
	}
	for _, event := range slices.Sorted(maps.Keys(events)) {
		r.listWith(event, domain.Terms{MaxPerCustomer: s.limit, LateApprovalMillis: s.late.Milliseconds(), Sections: s.sections(s.price(event), events[event])})
	}
	s.play(r)
	r.until("every order ended, and nothing pending", func() bool {
		for _, e := range s.ends {
			if o := r.orderOf(e.ref); o.State != e.state && !e.expired(o) && !e.forgotten {
				return false
			}
		}
		return r.backlog() == 0
	})
	if s.archive {
		r.until("all is archived", r.isArchived)
	}
	if s.tidy != nil {
		r.until("all tidied up", func() bool { return s.tidy(r) })
	}
	r.judge(events)
	if stripe, ok := r.world.gateway.(*stripeBank); ok {
		stripe.check(r.t)
	}
	before := len(r.t.(*verdict).said)
	r.auditBut(s.named...)
	o.audits, o.audited = 1, len(r.t.(*verdict).said)-before
	if s.archive {
		r.judgeArchive()
	}
}

func newScene(v *verdict, server *redistest.Server, s scenario, inj *injector, p planted, wait time.Duration) *scene {
	r := &scene{scenario: s, injector: inj, planted: p, released: make(chan struct{})}
	if s.bank == nil {
		r.world = newWorld(v, server, s.gateway)
	} else {
		r.world = openWorld(v, server, fmt.Sprintf("test-%d", namespaces.Add(1)), s.bank(v))
	}
	r.patience, r.free, r.deps = wait, s.free != "", p.deps
	if s.archive {
		r.withArchive()
	}
	r.release = sync.OnceFunc(func() { close(r.released) })
	r.gateway = r.world.gateway
	if s.wrap != nil {
		r.gateway = s.wrap(r)
	}
	return r
}

// end leaves nothing behind.
func (r *scene) end() {
	r.release()
	r.bury()
	r.buried.Wait()
	r.clear()
}

// clear deletes the namespace: a server serves thousands of runs.
func (r *scene) clear() {
	var keys []string
	all := r.rdb().Scan(r.ctx, 0, r.ns+":*", 1000).Iterator()
	for all.Next(r.ctx) {
		keys = append(keys, all.Val())
	}
	err := all.Err()
	if err == nil {
		err = r.rdb().Unlink(r.ctx, keys...).Err()
	}
	if err != nil {
		r.t.Errorf("deleting the namespace: %v", err)
	}
}

// copied is all that Redis has of the namespace, of one moment.
func (r *scene) copied() []any {
	r.t.Helper()
	all, err := r.rdb().Eval(r.ctx, `
local all = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  all[#all + 1], all[#all + 2], all[#all + 3] = key, redis.call('PTTL', key), redis.call('DUMP', key)
end
return all`, nil, r.ns+":*").Slice()
	if err != nil {
		r.t.Fatalf("copying the namespace: %v", err)
	}
	return all
}

// lose has Redis go on with a copy, at once: what came after it is lost, as in a failover.
func (r *scene) lose(older []any) {
	r.t.Helper()
	err := r.rdb().Eval(r.ctx, `
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  redis.call('UNLINK', key)
end
for n = 2, #ARGV, 3 do
  local left = tonumber(ARGV[n + 1])
  redis.call('RESTORE', ARGV[n], left < 0 and 0 or math.max(left, 1), ARGV[n + 2]) -- with 0 it would stay for ever
end`, nil, append([]any{r.ns + ":*"}, older...)...).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		r.t.Fatalf("losing what came after the copy: %v", err)
	}
}

// tend sees to it that a worker runs: the first, and after each death another one.
func (r *scene) tend() {
	if r.worker != nil {
		if !r.process.isDead() {
			return
		}
		r.bury()
	}
	process := r.injector.process()
	if worker := r.startAs(process); worker != nil {
		r.process, r.worker = process, worker
	}
}

// another starts one more worker, that no fault happens to.
func (r *scene) another() *worker {
	r.t.Helper()
	return r.startAs(newInjector().process())
}

// startAs starts a worker, unless a fault keeps it from that: then it returns nil, and the
// worker is started again, at the next look.
func (r *scene) startAs(process *process) *worker {
	r.t.Helper()
	var hook redis.Hook = process
	if r.planted.hook != nil {
		hook = chained{process, r.planted.hook}
	}
	store, err := streams.Open(r.ctx, r.server.URL(), streams.Options{Namespace: r.ns, Create: true, Partitions: 1, Hook: hook})
	if err != nil && domain.ClassOf(err) == domain.ClassRetry { // injected, or the machine is that busy
		process.kill()
		return nil
	}
	if err != nil {
		r.t.Fatalf("opening the store: %v", err)
	}
	cfg := workers.Config{ReclaimAfter: 300 * time.Millisecond, Grace: 300 * time.Millisecond, HoldTime: 10 * time.Minute, PayWait: 10 * time.Minute}
	var more []func(*workers.Deps)
	if r.archive != nil {
		more = append(more, r.archiving(&cfg, store, process))
	}
	if r.scenario.cfg != nil {
		r.scenario.cfg(&cfg)
	}
	gateway := r.gateway
	if r.planted.gateway != nil {
		gateway = r.planted.gateway(gateway)
	}
	return r.run(cfg, asProcess{process.gateway(gateway), process}, store, more...)
}

// command is what somebody does to events while workers work.
func (r *scene) command(what string, do func(*streams.Events) error) {
	r.t.Helper()
	r.person(what, func(store *streams.Store, _ *archive.Reader) error { return do(store.Events()) })
}

// person is what somebody does while workers work, who may read the archive, if there is one. It is a process of its own:
// faults happen to it as to a worker. Whoever does it does it again until it has worked.
func (r *scene) person(what string, do func(*streams.Store, *archive.Reader) error) {
	r.t.Helper()
	r.until(what, func() bool {
		process := r.injector.process()
		store, err := streams.Open(r.ctx, r.server.URL(), streams.Options{Namespace: r.ns, Partitions: 1, Hook: process})
		if err == nil {
			err = errors.Join(do(store, archive.NewReader(bucketOf{r.archive, process}, r.ns)), store.Close())
		}
		process.kill()
		if err != nil && domain.ClassOf(err) != domain.ClassRetry {
			r.t.Fatalf("%s: %v", what, err)
		}
		return err == nil
	})
}

// bury lets the worker die, if it has not yet, and its goroutines end.
func (r *scene) bury() {
	if r.worker == nil {
		return
	}
	r.process.kill()
	stop := r.worker.stop
	r.buried.Go(func() { _ = stop() }) // everything it tries fails
	r.worker = nil
}

// stop ends the worker in the orderly way.
func (r *scene) stop() {
	err := r.worker.stop()
	if err != nil && !r.process.isDead() {
		r.t.Errorf("an orderly stop: %v", err)
	}
	r.process.kill()
	r.worker = nil
}

// until waits for a condition while workers work.
func (r *scene) until(what string, done func() bool) {
	r.t.Helper()
	r.eventually(what, func() bool {
		r.tend()
		return done()
	})
}

func (r *scene) untilState(ref string, state domain.OrderState) {
	r.t.Helper()
	r.until(fmt.Sprintf("%s %s", ref, state), func() bool { return r.orderOf(ref).State == state })
}

func (r *scene) untilPayment(ref string, status domain.PaymentStatus) {
	r.t.Helper()
	parsed, _ := domain.ParseOrderRef(ref)
	r.until(fmt.Sprintf("the payment of %s %s", ref, status), func() bool {
		own, _ := r.books()
		return slices.ContainsFunc(own, func(l domain.BooksLine) bool {
			return l.EventID == parsed.EventID && l.OrderID == parsed.OrderID && l.Status == status
		})
	})
}

// untilRefunded waits until so much of an order's payment was given back.
func (r *scene) untilRefunded(ref string, amount int64) {
	r.t.Helper()
	parsed, _ := domain.ParseOrderRef(ref)
	r.until(fmt.Sprintf("of the payment of %s %d come back", ref, amount), func() bool {
		own, _ := r.books()
		return slices.ContainsFunc(own, func(l domain.BooksLine) bool {
			return l.EventID == parsed.EventID && l.OrderID == parsed.OrderID && l.Refunded == amount
		})
	})
}

func (r *scene) orderOf(ref string) domain.Order {
	r.t.Helper()
	parsed, _ := domain.ParseOrderRef(ref)
	orders, err := r.store.Checkout().Orders(r.ctx, []domain.OrderRef{parsed})
	if err != nil {
		r.t.Fatalf("reading order %s: %v", ref, err)
	}
	return orders[0]
}

// untilDeclined waits until an attempt to pay was declined, or is over by now.
func (r *scene) untilDeclined(ref string, attempt int) {
	r.t.Helper()
	r.until(fmt.Sprintf("attempt %d of %s declined", attempt, ref), func() bool {
		o := r.orderOf(ref)
		return o.State.Terminal() || o.Attempt > attempt || o.Attempt == attempt && o.PayState == domain.PayDeclined
	})
}

// untilAsked waits until a customer has something to do, or had.
func (r *scene) untilAsked(ref string) {
	r.t.Helper()
	r.until(ref+" awaits its customer", func() bool {
		o := r.orderOf(ref)
		return o.AwaitsAction() || o.State.Terminal()
	})
}

// finish is what a customer does at their bank.
func (r *scene) finish(order string, attempt int, authorized bool) {
	r.t.Helper()
	ref := domain.OrderRef{EventID: "e", OrderID: order}
	name := domain.Order{}.AttemptOf(r.store.PaymentNamespace(), ref, attempt).Name
	if _, err := r.world.gateway.Finish(name, authorized); err != nil {
		r.t.Fatalf("%s does at the bank what is asked for: %v", order, err)
	}
}

// dispute is what a customer's bank does about all of an order's money.
func (r *scene) dispute(order string, state domain.DisputeState, amount int64) {
	r.t.Helper()
	name := domain.Order{}.AttemptOf(r.store.PaymentNamespace(), domain.OrderRef{EventID: "e", OrderID: order}, 1).Name
	if _, err := r.world.gateway.Dispute(name, domain.Dispute{State: state, Amount: amount}); err != nil {
		r.t.Fatalf("the payment of %s is disputed: %v", order, err)
	}
}

// hear says that there may be news of payments, twice of each.
func (r *scene) hear(orders ...string) {
	r.t.Helper()
	for _, order := range orders {
		r.append(update(order, 1), update(order, 1))
	}
}

// untilDispute waits until it is known of an order how far a dispute of its payment has come.
func (r *scene) untilDispute(order string, state domain.DisputeState) {
	r.t.Helper()
	r.until("the dispute of "+order+" is "+string(state), func() bool { return r.orderOf("e/"+order).Dispute.State == state })
}

// sell sells three places each of event e to customers of these orders, who have nothing else.
func (r *scene) sell(orders ...string) {
	r.t.Helper()
	for _, order := range orders {
		r.append(request(purchase, order, "cust-"+order, 3))
	}
	for _, order := range orders {
		r.untilState("e/"+order, domain.OrderConfirmed)
	}
}

// append publishes whatever it is given, in one pipeline. With Stripe short holds are longer: a payment is several requests, of which one may take a second.
func (r *scene) append(requests ...domain.Request) {
	r.t.Helper()
	for i := range requests {
		if short := &requests[i].HoldSeconds; r.scenario.bank != nil && *short > 0 && *short <= 3 {
			*short *= 3
		}
	}
	for _, a := range r.store.Checkout().Append(r.ctx, requests, domain.Confirmation{}) {
		if a.Err != nil {
			r.t.Fatalf("publishing: %v", a.Err)
		}
	}
}

// judge compares everything that can be seen with how the scenario must end.
func (r *scene) judge(events map[string]int64) {
	sections := make(map[string][]domain.Section, len(events))
	for event, capacity := range events {
		for _, s := range r.scenario.sections(r.scenario.price(event), capacity) {
			sections[event] = append(sections[event], domain.Section{Name: s.Name, Price: s.Price, Capacity: s.Capacity, Available: s.Capacity, Layout: s.Layout})
		}
	}
	totals := make(map[string]inspect.Totals)
	invoices := make(map[string]map[string]string) // by customer and order
	payments := make(map[string]domain.PaymentStatus)
	dead := slices.Clone(r.scenario.dead)
	for _, e := range r.scenario.ends {
		o := r.orderOf(e.ref)
		if !e.isOutcome(o) || e.expired(o) && r.injector.hits() == 0 {
			r.t.Errorf("order %s is %s %q, want %s %q", e.ref, o.State, o.Reason, e.state, e.reason)
		}
		if e.expired(o) {
			dead = append(dead, fmt.Sprintf("order %s is expired, but its payment is %s at the gateway", e.ref, e.payment))
		}
		event, _, _ := strings.Cut(e.ref, "/")
		amount := e.quantity * r.scenario.price(event)
		line := ""
		for i, quantity := range []int64{e.quantity - e.vip, e.vip} {
			if i >= len(sections[event]) {
				break // not one that was listed for this scenario, or without that section
			}
			switch s := &sections[event][i]; e.state {
			case domain.OrderHeld:
				s.Available, s.Held = s.Available-quantity, s.Held+quantity
			case domain.OrderConfirmed:
				s.Available, s.Sold = s.Available-quantity, s.Sold+quantity
			}
		}
		switch {
		case e.state == domain.OrderConfirmed:
			t := totals[event]
			totals[event] = inspect.Totals{Orders: t.Orders + 1, TicketsSold: t.TicketsSold + e.quantity, Revenue: t.Revenue + amount}
			line = "confirmed"
		case e.reversed:
			line = "cancelled"
		}
		if e.customer != "" && invoices[e.customer] == nil {
			invoices[e.customer] = make(map[string]string)
		}
		if line != "" {
			invoices[e.customer][e.ref] = fmt.Sprintf("%d at %d, %s", e.quantity, amount, line)
		}
		if e.payment != "" {
			payments[e.ref] = e.payment
		}
		for i, status := range e.later {
			payments[fmt.Sprintf("%s/attempts/%d", e.ref, i+2)] = status
		}
	}
	for event, want := range sections {
		e, err := r.store.Events().Get(r.ctx, event)
		for i := range e.Sections {
			e.Sections[i].Places = "" // the auditor compares them with the orders
		}
		if err != nil || !slices.Equal(e.Sections, want) {
			r.t.Errorf("sections of %s are %+v, %v, want %+v", event, e.Sections, err, want)
		}
		if got, err := inspect.New(r.store).Sales(r.ctx, event); err != nil || got != totals[event] {
			r.t.Errorf("totals of %s are %+v, %v, want %+v", event, got, err, totals[event])
		}
	}
	for customer, want := range invoices {
		lines, err := inspect.New(r.store).Invoices(r.ctx, customer)
		got := make(map[string]string, len(lines))
		for _, l := range lines {
			got[l.EventID+"/"+l.OrderID] = fmt.Sprintf("%d at %d, %s", l.Quantity, l.Amount, l.Status)
		}
		if err != nil || !maps.Equal(got, want) {
			r.t.Errorf("invoices of %s are %v, %v, want %v", customer, got, err, want)
		}
	}
	paid := make(map[string]domain.PaymentStatus)
	own, others := r.books()
	for _, l := range own {
		name := l.Name()
		name.Namespace = ""
		paid[name.String()] = l.Status
		for _, e := range r.scenario.ends {
			if e.ref == name.String() && e.payment == domain.PaymentStatusCaptured && l.Refunded != e.refunded {
				r.t.Errorf("of the payment of %s, %d was given back, want %d", e.ref, l.Refunded, e.refunded)
			}
		}
	}
	if !slices.Equal(others, r.neighbours) {
		r.t.Errorf("the payments of other namespaces were %+v and are %+v", r.neighbours, others)
	}
	if !maps.Equal(paid, payments) {
		r.t.Errorf("payments are %v, want %v", paid, payments)
	}
	reasons := r.deadReasons()
	slices.Sort(reasons)
	slices.Sort(dead)
	if !slices.EqualFunc(reasons, dead, strings.HasPrefix) {
		r.t.Errorf("dead letters are %q, want those that begin with %q", reasons, dead)
	}
}

// verdict is what a world's helpers report to in a run: it collects.
type verdict struct {
	testing.TB // nil: what is not below is not used by a run

	mu      sync.Mutex
	said    []string
	cleanup []func()
}

func (v *verdict) Helper()             {}
func (v *verdict) Logf(string, ...any) {}

func (v *verdict) Errorf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.said = append(v.said, fmt.Sprintf(format, args...))
}

func (v *verdict) Error(args ...any) { v.Errorf("%s", fmt.Sprint(args...)) }

// Fatalf ends the run: it is only called by the goroutine that plays.
func (v *verdict) Fatalf(format string, args ...any) {
	v.Errorf(format, args...)
	runtime.Goexit()
}

func (v *verdict) Cleanup(do func()) { v.cleanup = append(v.cleanup, do) }

func (v *verdict) end() {
	for _, do := range slices.Backward(v.cleanup) {
		do()
	}
}
