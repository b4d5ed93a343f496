package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"holdfast/streams/redistest"
)

// shop is what the peers sell with: the code that their users would have to write, whichever
// library calls it. Deliveries may come twice with all of them, so taking and posting are
// idempotent, which needs a small script each; that is also the fewest round trips.
//
//	stock:<event>             what is left
//	order:<event>/<order_id>  hash: state, customer, quantity, authorization
//	invoices:<customer>       hash: event/order_id → line
//	sales:<event>             hash: tickets, revenue
//
// What it does not do, whoever calls it: a hold has no deadline, so an order whose worker dies
// and which nobody delivers again keeps its tickets; nothing says what changed when and why, so
// the books cannot be proven; a customer may be in line twice; nothing is captured, voided or
// refunded; there is no cancelling; and it works on one server only.
type shop struct {
	server    *redistest.Server
	rdb       *redis.Client
	events    []string
	submitted atomic.Int64
	posted    atomic.Int64
	failure   firstError // of whoever works
}

// take takes the tickets of an order that is new, and says which state it has then.
var take = redis.NewScript(`
local state = redis.call('HGET', KEYS[1], 'state')
if state then return state end
if tonumber(redis.call('GET', KEYS[2])) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'state', 'rejected', 'customer', ARGV[1], 'quantity', ARGV[2])
  return 'rejected'
end
redis.call('DECRBY', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[1], 'state', 'held', 'customer', ARGV[1], 'quantity', ARGV[2])
return 'held'`)

// post confirms an order that is held, and posts it. It returns 1 if it did.
var post = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'state') ~= 'held' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'confirmed', 'authorization', ARGV[1])
redis.call('HINCRBY', KEYS[2], 'tickets', ARGV[2])
redis.call('HINCRBY', KEYS[2], 'revenue', ARGV[3])
redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])
return 1`)

// authorize is the payment gateway: in process, and it says yes.
func authorize(o order) (authorization string) { return "auth_" + o.id[24:] }

func (s *shop) open(ctx context.Context, server *redistest.Server, events []string, capacity int64) error {
	s.server, s.rdb, s.events = server, client(server, 64), events
	for _, script := range []*redis.Script{take, post} {
		if err := script.Load(ctx, s.rdb).Err(); err != nil {
			return err
		}
	}
	pipe := s.rdb.Pipeline()
	for _, event := range events {
		pipe.Set(ctx, stockKey(event), capacity, 0)
	}
	_, err := pipe.Exec(ctx)
	return err
}

func (s *shop) close() error { return s.rdb.Close() }

// client returns one with so many connections at most.
func client(server *redistest.Server, connections int) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: server.Addr(), Protocol: 2, PoolSize: connections,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

func stockKey(event string) string { return "stock:" + event }
func salesKey(event string) string { return "sales:" + event }
func orderKey(o order) string      { return "order:" + o.event + "/" + o.id }
func invoicesKey(o order) string   { return "invoices:" + o.customer }
func invoiceField(o order) string  { return o.event + "/" + o.id }

// invoiceLine is status, tickets and amount.
func invoiceLine() string {
	return "confirmed|" + strconv.Itoa(quantity) + "|" + strconv.Itoa(quantity*unitPrice)
}

func takeOne(ctx context.Context, rdb redis.Scripter, o order) *redis.Cmd {
	return take.EvalSha(ctx, rdb, []string{orderKey(o), stockKey(o.event)}, o.customer, quantity)
}

func postOne(ctx context.Context, rdb redis.Scripter, o order, authorization string) *redis.Cmd {
	return post.EvalSha(ctx, rdb, []string{orderKey(o), salesKey(o.event), invoicesKey(o)},
		authorization, quantity, quantity*unitPrice, invoiceField(o), invoiceLine())
}

// sell does one order, in two round trips.
func (s *shop) sell(ctx context.Context, rdb redis.Scripter, o order) error {
	state, err := takeOne(ctx, rdb, o).Text()
	if err != nil || state != "held" {
		return err
	}
	did, err := postOne(ctx, rdb, o, authorize(o)).Int64()
	s.posted.Add(did)
	return err
}

// sellBatch does many, in two round trips.
func (s *shop) sellBatch(ctx context.Context, rdb *redis.Client, orders []order) error {
	pipe := rdb.Pipeline()
	taken := make([]*redis.Cmd, len(orders))
	for i, o := range orders {
		taken[i] = takeOne(ctx, pipe, o)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	pipe = rdb.Pipeline()
	var posts []*redis.Cmd
	for i, o := range orders {
		if state, err := taken[i].Text(); err != nil {
			return err
		} else if state == "held" {
			posts = append(posts, postOne(ctx, pipe, o, authorize(o)))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for _, cmd := range posts {
		did, err := cmd.Int64()
		if err != nil {
			return err
		}
		s.posted.Add(did)
	}
	return nil
}

func (s *shop) finished(context.Context) (bool, error) {
	return s.posted.Load() >= s.submitted.Load(), s.failure.get()
}

// check reads everything that was sold.
func (s *shop) check(ctx context.Context, orders []order, capacity int64) error {
	tickets := ticketsByEvent(orders)
	for _, event := range s.events {
		left, err := s.rdb.Get(ctx, stockKey(event)).Int64()
		if err != nil {
			return err
		}
		if left != capacity-tickets[event] {
			return fmt.Errorf("%s: %d tickets left of %d, want %d sold", event, left, capacity, tickets[event])
		}
		var sales struct {
			Tickets int64 `redis:"tickets"`
			Revenue int64 `redis:"revenue"`
		}
		if err := s.rdb.HMGet(ctx, salesKey(event), "tickets", "revenue").Scan(&sales); err != nil {
			return err
		}
		if sales.Tickets != tickets[event] || sales.Revenue != tickets[event]*unitPrice {
			return fmt.Errorf("%s: sales are %+v, want %d tickets", event, sales, tickets[event])
		}
	}
	for chunk := range slices.Chunk(orders, 1000) {
		pipe := s.rdb.Pipeline()
		invoices, states := make([]*redis.MapStringStringCmd, len(chunk)), make([]*redis.StringCmd, len(chunk))
		for i, o := range chunk {
			invoices[i], states[i] = pipe.HGetAll(ctx, invoicesKey(o)), pipe.HGet(ctx, orderKey(o), "state")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		for i, o := range chunk {
			if lines := invoices[i].Val(); len(lines) != 1 || lines[invoiceField(o)] != invoiceLine() || states[i].Val() != "confirmed" {
				return fmt.Errorf("order %s is %q, its customer's invoices are %v", o.id, states[i].Val(), lines)
			}
		}
	}
	return nil
}

// text is an order as it travels: one short string.
func (o order) text() string { return o.event + "|" + o.id + "|" + o.customer }

func parseOrder(text string) (o order, err error) {
	event, rest, _ := strings.Cut(text, "|")
	id, customer, ok := strings.Cut(rest, "|")
	if !ok {
		return order{}, fmt.Errorf("no order: %q", text)
	}
	return order{event: event, id: id, customer: customer}, nil
}

// concurrently calls do for all the orders, so many at a time.
func concurrently(orders []order, at int, do func(order) error) error {
	var next atomic.Int64
	errs := make([]error, at)
	var wg sync.WaitGroup
	for i := range at {
		wg.Go(func() {
			for errs[i] == nil {
				nth := int(next.Add(1)) - 1
				if nth >= len(orders) {
					return
				}
				errs[i] = do(orders[nth])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// firstError keeps the first of many errors. That something was cancelled is none.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && err != nil && !errors.Is(err, context.Canceled) {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// crew is the goroutines of one worker.
type crew struct {
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	failure *firstError
}

func newCrew(ctx context.Context, failure *firstError) *crew {
	c := &crew{failure: failure}
	c.ctx, c.cancel = context.WithCancel(ctx)
	return c
}

// run runs do again and again until the crew is stopped or do fails.
func (c *crew) run(do func(ctx context.Context) error) {
	c.wg.Go(func() {
		for c.ctx.Err() == nil {
			if err := do(c.ctx); err != nil {
				c.fail(err)
				return
			}
		}
	})
}

// fail notes an error, unless the crew was stopped, which makes many things fail.
func (c *crew) fail(err error) {
	if c.ctx.Err() == nil {
		c.failure.set(err)
	}
}

// stop returns what failed.
func (c *crew) stop() error {
	c.cancel()
	c.wg.Wait()
	return c.failure.get()
}
