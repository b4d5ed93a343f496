package workers_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

var sre = domain.Cause{Reason: "the gateway charges twice", By: "ann"}

// shortlyValid is for how many seconds requests are valid that are paused for longer: more than a busy machine needs from the end of a pause until they are read.
const shortlyValid = 5

// pause pauses an event, or, without one, everything.
func (w *world) pause(eventID string) {
	w.t.Helper()
	if _, _, err := w.store.Pause(w.ctx, eventID, 0, sre); err != nil {
		w.t.Fatalf("pausing: %v", err)
	}
}

func (w *world) resume(eventID string) {
	w.t.Helper()
	if _, err := w.store.Resume(w.ctx, eventID, sre); err != nil {
		w.t.Fatalf("resuming: %v", err)
	}
}

// parked is how many requests of an event are.
func (w *world) parked(eventID string) int64 {
	w.t.Helper()
	n, err := w.rdb().ZCard(w.ctx, w.ns+":{0}:2:parked:"+eventID).Result()
	if err != nil {
		w.t.Fatalf("counting what is parked: %v", err)
	}
	return n
}

func (w *world) now() time.Time {
	w.t.Helper()
	now, err := w.store.Now(w.ctx)
	if err != nil {
		w.t.Fatalf("asking for the time: %v", err)
	}
	return now
}

// What is parked keeps its place and its validity, however often its event is paused, and whatever else is sold meanwhile.
func TestPausedEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 4)
	w.listWith("f", domain.Terms{Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 9}}})
	w.pause("e")
	first := w.start(workers.Config{}, w.gateway, nil)
	short := func(order, customer string, quantity int64) domain.Request {
		q := request(purchase, order, customer, quantity)
		q.ValidSeconds = shortlyValid
		return q
	}
	w.publish(short("a", "amy", 3))
	w.eventually("the first is parked", func() bool { return w.parked("e") == 1 })
	published := w.now()
	w.publish(short("b", "bob", 2), request(domain.RequestPurchase, "c", "cid", 1))
	w.eventually("they are parked", func() bool { return w.parked("e") == 3 })
	other := request(purchase, "g", "gus", 1)
	other.EventID = "f"
	w.publish(other)
	w.waitDrained()
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	w.eventually("none would be valid any more", func() bool { return w.now().Sub(published) > (shortlyValid*1000+100)*time.Millisecond })

	// Again, before anybody has taken what was put back.
	w.resume("e")
	ledger := w.store.Ledger()
	if n, left, err := ledger.Unpark(w.ctx, 0, "e", 2); n != 2 || left != 1 || err != nil {
		t.Fatalf("put back %d, %d left, %v", n, left, err)
	}
	w.pause("e")
	second := w.start(workers.Config{}, w.gateway, nil)
	w.eventually("they are parked again", func() bool { return w.parked("e") == 3 && w.backlog() == 0 })
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	w.resume("e")
	w.start(workers.Config{}, w.gateway, nil)
	w.waitState("c", domain.OrderConfirmed)
	w.waitDrained()
	for order, want := range map[string]domain.OrderState{"a": domain.OrderConfirmed, "b": domain.OrderRejected, "c": domain.OrderConfirmed} {
		if got := w.order(order); got.State != want || got.Reason != map[string]string{"b": domain.ReasonSoldOut}[order] {
			t.Errorf("order %s is %s %s, want %s", order, got.State, got.Reason, want)
		}
	}
	if events, err := ledger.Parked(w.ctx, 0); len(events) != 0 || err != nil {
		t.Errorf("parked are requests of %v, %v", events, err)
	}
	w.audit()
}

// While everything is paused nothing is taken, not even by who waited for it; what is in hand goes on, and validity does not run.
func TestPausedEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 4)
	worker := w.start(workers.Config{}, w.gateway, nil)
	w.publish(request(purchase, "before", "amy", 1))
	w.waitState("before", domain.OrderConfirmed)
	w.pause("")
	w.eventually("the worker knows", func() bool { return worker.Paused() })
	q := request(purchase, "a", "bob", 1)
	q.ValidSeconds = shortlyValid
	w.publish(q)
	published := w.now()
	w.eventually("it would not be valid any more", func() bool { return w.now().Sub(published) > (shortlyValid*1000+100)*time.Millisecond })
	if got := w.order("a"); got.State != domain.OrderNone {
		t.Errorf("the order is %s", got.State)
	}
	if err := worker.stop(); err != nil { // hands back what it may have been given
		t.Fatal(err)
	}
	w.start(workers.Config{}, w.gateway, nil)
	w.resume("")
	w.waitState("a", domain.OrderConfirmed)
	w.waitDrained()
	w.audit()
}

// Who may be parked no more is a dead letter, and nothing is lost.
func TestPausedAndUnreadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 4)
	w.pause("e")
	many := []any{"v", "1", "type", "purchase", "event_id", "e", "order_id", "big", "customer_id", "amy", "quantity", "1", "payment_token", "t"}
	for len(many) < 1000 {
		many = append(many, "x", "y")
	}
	if err := w.rdb().Do(w.ctx, append([]any{"XADD", w.requests(), "*"}, many...)...).Err(); err != nil {
		t.Fatal(err)
	}
	w.publish(request(purchase, "a", "bob", 1))
	w.start(workers.Config{}, w.gateway, nil)
	w.eventually("one is parked, one set aside", func() bool { return w.parked("e") == 1 && len(w.deadReasons()) == 1 })
	if reasons := w.deadReasons(); !slices.Equal(reasons, []string{"not_parked: event e is paused, and this request cannot be parked: too many are, or it is unreadable"}) {
		t.Errorf("dead letters: %q", reasons)
	}
	w.resume("e")
	w.waitState("a", domain.OrderConfirmed)
	w.waitDrained()
	w.audit()
}

// Holds of what is paused end later, if that was asked for, and others as ever; also where their payment is under way.
func TestPauseExtendsHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 9)
	w.listWith("f", domain.Terms{Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 9}}})
	short := func(event, order string) domain.Request {
		q := request(domain.RequestHold, order, order, 1)
		q.EventID, q.HoldSeconds = event, 6
		return q
	}
	w.start(workers.Config{}, w.gateway, nil)
	w.publish(short("e", "a"), short("f", "b"), short("e", "c"))
	w.waitState("c", domain.OrderHeld)
	p, _, err := w.store.Pause(w.ctx, "e", time.Minute, sre)
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("one hold is over, the others are extended", func() bool {
		orders, err := w.store.Checkout().Orders(w.ctx, []domain.OrderRef{{EventID: "f", OrderID: "b"}})
		return err == nil && orders[0].State == domain.OrderExpired && w.order("a").DeadlineMillis == p.HoldsUntilMillis && w.order("c").DeadlineMillis == p.HoldsUntilMillis
	})
	if again, fresh, err := w.store.Pause(w.ctx, "e", time.Second, sre); again != p || fresh || err != nil {
		t.Errorf("paused once more, for less: %+v, %t, %v", again, fresh, err)
	}
	w.audit()
	w.resume("e")
	w.publish(request(pay, "a", "", 0), request(cancel, "c", "", 0))
	w.waitState("a", domain.OrderConfirmed)
	w.waitState("c", domain.OrderCancelled)
	w.waitDrained()
	w.audit()
}

// Requests of a paused event that cannot be parked at all are set aside.
func TestParkedNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 4)
	w.pause("e")
	if err := w.rdb().Set(w.ctx, w.ns+":{0}:2:parked:e", "of another type", 0).Err(); err != nil {
		t.Fatal(err)
	}
	w.start(workers.Config{}, w.gateway, nil)
	w.publish(request(domain.RequestPurchase, "o", "amy", 1))
	w.eventually("it is set aside", func() bool { return len(w.deadReasons()) == 1 })
	if reason := w.deadReasons()[0]; !strings.HasPrefix(reason, "not_parked: event e is paused, and its requests cannot be parked: ") {
		t.Errorf("dead letter: %s", reason)
	}
	w.waitDrained()
}

// failsToUnpark does not put back requests of one event.
type failsToUnpark struct{ domain.Ledger }

func (l failsToUnpark) Unpark(ctx context.Context, p int, eventID string, most int) (n, left int64, err error) {
	if eventID == "e" {
		return 0, 0, domain.WithClass(domain.ClassPoison, errors.New("its list is damaged"))
	}
	return l.Ledger.Unpark(ctx, p, eventID, most)
}

func (l failsToUnpark) Parked(ctx context.Context, p int) ([]string, error) {
	events, err := l.Ledger.Parked(ctx, p)
	slices.Sort(events) // the one that fails first
	return events, err
}

// An event whose requests cannot be put back in line keeps no other's out of it.
func TestUnparkGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.list("e", 1000, 4)
	w.listWith("f", domain.Terms{Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 9}}})
	w.pause("e")
	w.pause("f")
	w.deps = func(d *workers.Deps) { d.Ledger = failsToUnpark{d.Ledger} }
	w.start(workers.Config{}, w.gateway, nil)
	other := request(domain.RequestPurchase, "o", "amy", 1)
	other.EventID = "f"
	w.publish(request(domain.RequestPurchase, "o", "amy", 1), other)
	w.eventually("they are parked", func() bool { return w.parked("e") == 1 && w.parked("f") == 1 })
	w.resume("e")
	w.resume("f")
	w.eventually("one is put back", func() bool { return w.parked("f") == 0 })
	if n := w.parked("e"); n != 1 {
		t.Errorf("%d are parked of the other", n)
	}
}
