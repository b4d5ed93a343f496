package inspect

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/internal/streamstest"
)

// counting counts what is sent.
type counting struct{ commands atomic.Int64 }

func (c *counting) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.commands.Add(1)
		return next(ctx, cmd)
	}
}

func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.commands.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

// manyRequests publishes n purchases of event e1, and gives the first so many of them to a consumer.
func (f *fixture) manyRequests(n, given int, consumer string) (ids []string) {
	f.Helper()
	const publish = `local ids = {}
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) - 1 do
  ids[#ids + 1] = redis.call('XADD', KEYS[1], '*', 'v', '1', 'type', 'purchase', 'order_id', 'o' .. i, 'customer_id', 'c' .. i, 'event_id', 'e1',
    'section', 'general', 'quantity', '1', 'payment_token', 'tok')
end
return ids`
	for first := 0; first < n; first += 5000 { // more at a time takes a busy machine longer than a command may
		some, err := f.Client.Eval(f.Ctx, publish, []string{f.Keys.Requests(0)}, first, min(first+5000, n)).StringSlice()
		f.Must(err)
		ids = append(ids, some...)
	}
	for left := given; left > 0; left -= 5000 {
		f.Do("XREADGROUP", "GROUP", string(domain.GroupWorkers), consumer, "COUNT", min(left, 5000), "STREAMS", f.Keys.Requests(0), ">")
	}
	return ids
}

// With 100,000 entries in hand and more in line an order is explained by a number of commands that is bounded, and
// by few if its request is named.
func TestExplainAmongMany(t *testing.T) {
	server := streamstest.Server()
	f := openFixture(t, server)
	const given, all = 100_000, 101_000
	ids := f.manyRequests(all, given, "gone")
	counter := new(counting)
	store, err := streams.Open(f.Ctx, server.URL(), streams.Options{Hook: counter})
	f.Must(err)
	defer func() { f.Must(store.Close()) }()
	in := New(store)
	for _, c := range []struct {
		order   int
		receipt bool
		most    int64
		inHand  bool
	}{
		{given - 1, false, 150, true},
		{given - 1, true, 40, true},
		{all - 1, false, 150, false},
		{all - 1, true, 40, false},
	} {
		receipt := ""
		if c.receipt {
			receipt = ids[c.order]
		}
		before, began := counter.commands.Load(), time.Now()
		x, err := in.Explain(f.Ctx, domain.OrderRef{EventID: "e1", OrderID: fmt.Sprintf("o%d", c.order)}, receipt)
		f.Must(err)
		sent := counter.commands.Load() - before
		t.Logf("%+v: %d commands, %s", c, sent, time.Since(began))
		if sent > c.most || len(x.Requests) != 1 || x.Requests[0].ID != ids[c.order] || x.Requests[0].InHand != c.inHand || x.Unsearched {
			t.Errorf("%+v: %d commands, %+v", c, sent, x)
		}
		if c.inHand && (x.Requests[0].Consumer != "gone" || x.Requests[0].Alive || x.Requests[0].Deliveries != 1) {
			t.Errorf("in hand: %+v", x.Requests[0])
		}
	}
}

// The search for an order's requests ends somewhere, and says so.
func TestExplainSearchIsBounded(t *testing.T) {
	f := newFixture(t)
	for range searchPages / 10 {
		f.Must(f.Client.Eval(f.Ctx, `for i = 1, 10000 do redis.call('XADD', KEYS[1], '*', 'v', '1') end return 1`, []string{f.Keys.Requests(0)}).Err())
	}
	ids := f.manyRequests(1, 0, "")
	ref := domain.OrderRef{EventID: "e1", OrderID: "o0"}
	x, err := f.inspector.Explain(f.Ctx, ref, "")
	f.Must(err)
	if len(x.Requests) != 0 || !x.Unsearched || x.Searched != searchPages*1000 {
		t.Errorf("%d requests, searched %d, more: %t", len(x.Requests), x.Searched, x.Unsearched)
	}
	if _, unsearched, err := f.inspector.Candidates(f.Ctx, "o0"); err != nil || !unsearched {
		t.Errorf("candidates: more: %t, %v", unsearched, err)
	}
	if x, err = f.inspector.Explain(f.Ctx, ref, ids[0]); err != nil || len(x.Requests) != 1 {
		t.Errorf("by its receipt: %+v, %v", x.Requests, err)
	}
	// A receipt of something else is refused; one of what is gone tells nothing.
	_, err = f.inspector.Explain(f.Ctx, domain.OrderRef{EventID: "e1", OrderID: "o1"}, ids[0])
	f.WantClass(err, domain.ClassReject)
	f.Do("XDEL", f.Keys.Requests(0), ids[0])
	if x, err = f.inspector.Explain(f.Ctx, ref, ids[0]); err != nil || len(x.Requests) != 0 {
		t.Errorf("a request that was deleted in line: %+v, %v", x.Requests, err)
	}
}

// An entry in hand whose payload is gone is found by its receipt; a group that is gone has everything before it.
func TestExplainWhatIsGone(t *testing.T) {
	f := newFixture(t)
	ids := f.manyRequests(2, 1, "w1")
	f.Do("XDEL", f.Keys.Requests(0), ids[0])
	x, err := f.inspector.Explain(f.Ctx, domain.OrderRef{EventID: "e1", OrderID: "o0"}, ids[0])
	f.Must(err)
	if len(x.Requests) != 1 || !x.Requests[0].Gone || x.Requests[0].Consumer != "w1" {
		t.Errorf("a request that was deleted in hand: %+v", x.Requests)
	}
	f.Do("XGROUP", "DESTROY", f.Keys.Requests(0), string(domain.GroupWorkers))
	if x, err = f.inspector.Explain(f.Ctx, domain.OrderRef{EventID: "e1", OrderID: "o1"}, ""); err != nil || len(x.Requests) != 1 || !x.Requests[0].Missing {
		t.Errorf("without the group: %+v, %v", x.Requests, err)
	}
}
