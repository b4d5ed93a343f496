package audit_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/internal/layout"
	"holdfast/streams/redistest"
)

// opened is a store of one partition, empty.
func opened(t *testing.T, server *redistest.Server) *streams.Store {
	t.Helper()
	store, err := streams.Open(context.Background(), server.URL(), streams.Options{Create: true, Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// incoming is a purchase of an event's order, published just now.
func incoming(t *testing.T, store *streams.Store, eventID string) domain.Incoming {
	t.Helper()
	now, err := store.Now(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return domain.Incoming{
		EntryID: fmt.Sprintf("%d-0", now.UnixMilli()), HoldMillis: 60_000, ValidMillis: 60_000,
		Request: domain.Request{
			Type: domain.RequestPurchase, EventID: eventID, OrderID: "o", CustomerID: "fred", Section: domain.DefaultSection, Quantity: 1, Fingerprint: "fp",
		},
	}
}

// What became of an order before its event was there stays, also when the event has so many places that
// its orders are elsewhere.
func TestOrdersBeforeTheirEvent(t *testing.T) {
	server := redistest.Start(t)
	ctx := context.Background()
	const many = 1_000_000
	for name, before := range map[string]func(*streams.Store, domain.Incoming) error{
		"unknown": func(s *streams.Store, in domain.Incoming) error {
			_, _, err := s.Ledger().Hold(ctx, 0, []domain.Incoming{in})
			return err
		},
		"without a token": func(s *streams.Store, in domain.Incoming) error {
			in.NoToken = true
			_, _, err := s.Ledger().Hold(ctx, 0, []domain.Incoming{in})
			return err
		},
		"too late": func(s *streams.Store, in domain.Incoming) error {
			in.EntryID = "1-0"
			_, _, err := s.Ledger().Hold(ctx, 0, []domain.Incoming{in})
			return err
		},
		"invalid": func(s *streams.Store, in domain.Incoming) error {
			in.Invalid = "quantity: missing"
			_, _, err := s.Ledger().Hold(ctx, 0, []domain.Incoming{in})
			return err
		},
		"cancelled": func(s *streams.Store, in domain.Incoming) error {
			return s.Ledger().Cancel(ctx, 0, []domain.Cancellation{{EntryID: in.EntryID, Ref: in.Request.Ref()}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			server.Flush()
			store := opened(t, server)
			in := incoming(t, store, "big")
			if err := before(store, in); err != nil {
				t.Fatal(err)
			}
			was, err := store.Ledger().Orders(ctx, []domain.OrderRef{in.Request.Ref()})
			if err != nil || was[0].State != domain.OrderRejected && was[0].State != domain.OrderCancelled {
				t.Fatalf("before its event, the order is %+v, %v", was, err)
			}
			list(t, store, "big", many)
			replies, _, err := store.Ledger().Hold(ctx, 0, []domain.Incoming{in})
			if err != nil || replies[0].Order != was[0] || replies[0].Verdict != domain.VerdictDone {
				t.Errorf("taken in again it is %+v, %v, want %+v", replies, err, was[0])
			}
			in.Request.OrderID = "o2"
			if replies, _, err = store.Ledger().Hold(ctx, 0, []domain.Incoming{in}); err != nil || replies[0].Order.State != domain.OrderHeld {
				t.Errorf("another order is %+v, %v", replies, err)
			}
			report, err := audit.Run(ctx, store, audit.Options{})
			if err != nil || !report.OK || report.Checked.Orders != 2 {
				t.Fatalf("%+v, %v", report, err)
			}

			keys := layout.NewKeys("holdfast", 1)
			rdb := server.Client()
			defer func() { _ = rdb.Close() }()
			if n, err := rdb.HDel(ctx, keys.Events(0), layout.EarlyField("big")).Result(); err != nil || n != 1 {
				t.Fatalf("that the event had orders before stood in %d fields, %v", n, err)
			}
			report, err = audit.Run(ctx, store, audit.Options{})
			if err != nil || len(report.Violations) != 1 || report.Violations[0].Invariant != "I7" || report.Violations[0].Subject != "big" {
				t.Errorf("the event forgot that it had orders before: %+v, %v", report, err)
			}
		})
	}
}

// before runs something once, just before the next script.
type before struct {
	once sync.Once
	run  func()
}

func (*before) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (b *before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			b.once.Do(b.run)
		}
		return next(ctx, cmd)
	}
}

func (*before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// An event is created, and its order held, between the reading of the order and the change of it: what
// others wrote where this one did not look is seen all the same.
func TestEventCreatedMeanwhile(t *testing.T) {
	server := redistest.Start(t)
	ctx := context.Background()
	server.Flush()
	store, other := opened(t, server), opened(t, server)
	in := incoming(t, store, "big")
	store.Inside().Client.AddHook(&before{run: func() {
		list(t, other, "big", 1_000_000)
		if replies, _, err := other.Ledger().Hold(ctx, 0, []domain.Incoming{in}); err != nil || replies[0].Order.State != domain.OrderHeld {
			t.Errorf("holding: %+v, %v", replies, err)
		}
	}})
	if err := store.Ledger().Cancel(ctx, 0, []domain.Cancellation{{EntryID: in.EntryID, Ref: in.Request.Ref()}}); err != nil {
		t.Fatal(err)
	}
	orders, err := store.Ledger().Orders(ctx, []domain.OrderRef{in.Request.Ref()})
	if err != nil || orders[0].State != domain.OrderCancelled || orders[0].HeldAtMillis == 0 {
		t.Errorf("the order is %+v, %v", orders, err)
	}
	if report, err := audit.Run(ctx, store, audit.Options{}); err != nil || !report.OK || report.Checked.Facts != 3 {
		t.Errorf("%+v, %v", report, err)
	}
}
