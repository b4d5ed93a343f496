package streams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/access"
)

var fire = domain.Cause{Reason: "fire", By: "ann"}

func (f *fixture) cancelEvent(eventID string) error {
	_, err := f.events.Cancel(f.Ctx, eventID, fire, nil)
	return err
}

// TestCancelEvent: whatever an order of it is, and nothing of another event.
func TestCancelEvent(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.list("e2", terms(10))
	pays := f.held("e1", "held", "fred", 3, holdMillis)
	f.confirmed("e1", "confirmed", "mary", 2)
	f.held("e1", "overdue", "jane", 1, 0)
	f.held("e1", "declined", "dan", 1, holdMillis)
	f.resolve(domain.Resolution{Attempt: 1, Ref: ref("e1", "declined"), Outcome: domain.PaymentDeclined})
	f.held("e1", "expired", "eve", 1, 0)
	f.resolve(domain.Resolution{Attempt: 1, Ref: ref("e1", "expired")})
	f.confirmed("e1", "given-up", "flo", 1)
	f.cancel("e1", "given-up")
	f.holdBatch(f.arrive(purchase("e1", "rejected", "gus", 50))...)
	f.confirmed("e2", "confirmed", "mary", 2)
	f.held("e2", "held", "fred", 3, holdMillis)
	others := map[string]domain.Order{}
	for _, r := range []domain.OrderRef{ref("e1", "declined"), ref("e1", "expired"), ref("e1", "given-up"), ref("e1", "rejected"), ref("e2", "confirmed"), ref("e2", "held")} {
		others[r.String()] = f.order(r.EventID, r.OrderID)
	}
	wasConfirmed := f.order("e1", "confirmed")

	told := CancelledEvent{}
	got, err := f.events.Cancel(f.Ctx, "e1", fire, func(soFar CancelledEvent) { told = soFar })
	if want := (CancelledEvent{Held: 2, Confirmed: 1}); err != nil || got != want || told != want {
		t.Fatalf("got %+v, %v, told %+v, want %+v", got, err, told, want)
	}
	_, raw := f.facts()
	slices.Sort(raw[len(raw)-3:]) // in no order
	if want := []string{
		`event_cancelled e1|{"reason":"fire","by":"ann"}`,
		fmt.Sprintf("cancelled e1/confirmed|event_cancelled|confirmed|mary|general:2:1000|EUR|%d", wasConfirmed.ConfirmedAtMillis),
		"cancelled e1/held|event_cancelled|held|fred|general:3:1000|EUR|0",
		"cancelled e1/overdue|event_cancelled|held|jane|general:1:1000|EUR|0",
	}; !slices.Equal(raw[len(raw)-4:], want) {
		t.Errorf("facts %q, want %q", raw[len(raw)-4:], want)
	}
	if e, err := f.events.Get(f.Ctx, "e1"); err != nil || !e.Closed || !e.Cancelled || e.Cause != fire || e.Version != 2 {
		t.Errorf("event %+v, %v", e, err)
	}
	if got := f.section("e1", "general"); got != [3]int64{10, 0, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	if slots := f.slots("e1"); len(slots) != 0 {
		t.Errorf("in progress: %v", slots)
	}
	for name, want := range others {
		event, order, _ := strings.Cut(name, "/")
		if got := f.order(event, order); got != want {
			t.Errorf("%s is\n%+v\nit was\n%+v", name, got, want)
		}
	}
	f.wantLogFolds()

	// Payments under way are voided, what comes later is rejected.
	replies, _ := f.resolve(approve(pays.EntryID, "e1", "held"))
	if replies[0].Verdict != domain.VerdictVoid {
		t.Errorf("approved late: %+v", replies[0])
	}
	replies, _ = f.holdBatch(f.arrive(purchase("e1", "late", "fred", 1), request("pay", "e1", "overdue"))...)
	if replies[0].Order.Reason != domain.ReasonNotOnSale || replies[1].Verdict != domain.VerdictVoid {
		t.Errorf("came late: %+v", replies)
	}

	// Again, by somebody else: there is nothing to do.
	before := f.Dump()
	got, err = f.events.Cancel(f.Ctx, "e1", domain.Cause{Reason: "flood", By: "bob"}, nil)
	if want := (CancelledEvent{Before: true, Held: 2, Confirmed: 1}); err != nil || got != want {
		t.Errorf("again: %+v, %v, want %+v", got, err, want)
	}
	for _, test := range []struct {
		id    string
		cause domain.Cause
		code  domain.Code
	}{
		{"e9", fire, domain.CodeNotFound},
		{"", fire, domain.CodeNotFound},
		{"e2", domain.Cause{By: "ann"}, domain.CodeInvalid},
		{"e2", domain.Cause{Reason: "fire"}, domain.CodeInvalid},
	} {
		if _, err := f.events.Cancel(f.Ctx, test.id, test.cause, nil); domain.CodeOf(err) != test.code {
			t.Errorf("%q because of %+v: %v, want %s", test.id, test.cause, err, test.code)
		}
	}
	f.WantSame(before)
}

// TestCancelClosedEvent: it says who and why now.
func TestCancelClosedEvent(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.confirmed("e1", "o1", "fred", 2)
	f.close("e1")
	f.Must(f.cancelEvent("e1"))
	if e, err := f.events.Get(f.Ctx, "e1"); err != nil || !e.Cancelled || e.Cause != fire || e.Version != 3 {
		t.Errorf("event %+v, %v", e, err)
	}
	if o := f.order("e1", "o1"); o.State != domain.OrderCancelled || o.Reason != domain.ReasonEventCancelled {
		t.Errorf("order %+v", o)
	}
	f.wantLogFolds()
}

// TestCancelEventManyOrders: more than one page of them.
func TestCancelEventManyOrders(t *testing.T) {
	const items = 2*access.MaxBatch + 203
	f := newFixture(t)
	f.list("e1", terms(items))
	requests := make([][]string, items)
	for i := range requests {
		requests[i] = hold("e1", fmt.Sprintf("o%d", i), fmt.Sprintf("c%d", i), 1)
	}
	f.holdBatch(f.arrive(requests...)...)
	calls := 0
	got, err := f.events.Cancel(f.Ctx, "e1", fire, func(CancelledEvent) { calls++ })
	if err != nil || got.Held != items || calls < items/cancelBatch {
		t.Errorf("%+v, %v, told %d times", got, err, calls)
	}
	if got := f.section("e1", "general"); got != [3]int64{items, 0, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
}

// TestCancelEventReopenedMeanwhile: whoever is still at it leaves alone what is left, and what is sold since.
func TestCancelEventReopenedMeanwhile(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(1000))
	requests := make([][]string, 3*cancelBatch)
	for i := range requests {
		requests[i] = hold("e1", fmt.Sprintf("o%d", i), fmt.Sprintf("c%d", i), 1)
	}
	f.holdBatch(f.arrive(requests...)...)
	reopen := func(CancelledEvent) {
		if reopened, err := f.events.Reopen(f.Ctx, "e1", domain.Cause{}); !reopened || err != nil {
			t.Errorf("reopening: %v, %v", reopened, err)
		}
		f.held("e1", "new", "fred", 1, holdMillis)
		// Closed again, it is still not what is being cancelled.
		f.close("e1")
	}
	got, err := f.events.Cancel(f.Ctx, "e1", fire, reopen)
	if domain.CodeOf(err) != domain.CodeEventReopened || domain.ClassOf(err) != domain.ClassReject || got.Held != cancelBatch {
		t.Errorf("%+v, %v", got, err)
	}
	if got := f.section("e1", "general"); got != [3]int64{1000 - 2*cancelBatch - 1, 2*cancelBatch + 1, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	f.wantLogFolds()
	// And if there was nothing left to cancel, it says so as well.
	f.list("e2", terms(10))
	f.held("e2", "o1", "fred", 1, holdMillis)
	_, err = f.events.Cancel(f.Ctx, "e2", fire, func(CancelledEvent) {
		_, err := f.events.Reopen(f.Ctx, "e2", domain.Cause{})
		f.Must(err)
	})
	if domain.CodeOf(err) != domain.CodeEventReopened {
		t.Errorf("reopened when all were cancelled: %v", err)
	}
}

// TestCancelEventOfDamagedOrders: they are named, and the others do not wait for them.
func TestCancelEventOfDamagedOrders(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	for i := range 6 {
		f.held("e1", fmt.Sprintf("o%d", i), fmt.Sprintf("c%d", i), 1, holdMillis)
	}
	f.setRecord("e1", "o1", "h|purchase|fp")                                // cannot be read
	f.setRecord("e1", "o3", "1-1|h2|p|fp|fred|balcony:2:1000|EUR|5|||||||") // no such section
	got, err := f.events.Cancel(f.Ctx, "e1", fire, nil)
	f.WantClass(err, domain.ClassPoison)
	if !strings.Contains(err.Error(), "e1/o1") || got.Held != 4 {
		t.Errorf("%+v, %v", got, err)
	}
	for i, want := range []domain.OrderState{domain.OrderCancelled, domain.OrderNone, domain.OrderCancelled, domain.OrderHeld, domain.OrderCancelled, domain.OrderCancelled} {
		if i == 1 {
			continue
		}
		if o := f.order("e1", fmt.Sprintf("o%d", i)); o.State != want {
			t.Errorf("o%d is %s, want %s", i, o.State, want)
		}
	}
	f.list("e2", terms(10))
	f.Do("XADD", f.Keys.Log(0), "*", "held", "e2/o9|nonsense") // no fact of ours
	f.held("e2", "o1", "fred", 1, holdMillis)
	got, err = f.events.Cancel(f.Ctx, "e2", fire, nil)
	if err != nil || got.Held != 1 { // its orders are found without the log
		t.Errorf("%+v, %v", got, err)
	}
}

// cutsOff is a hook that lets so many commands through, and then none.
type cutsOff struct {
	after atomic.Int64
	lost  bool // the last one is sent, and its reply lost
}

var errCutOff = errors.New("cut off")

func (c *cutsOff) let(send func() error) error {
	left := c.after.Add(-1)
	switch {
	case left > 0:
		return send()
	case left == 0 && c.lost:
		_ = send()
	}
	return errCutOff
}

func (c *cutsOff) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *cutsOff) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := c.let(func() error { return next(ctx, cmd) })
		cmd.SetErr(err)
		return err
	}
}

func (c *cutsOff) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestCancelEventCutOff: wherever it stops, whether or not the last command was executed, it is not known
// how far it came, everything is consistent, and the next one goes on to the same end.
func TestCancelEventCutOff(t *testing.T) {
	f := newFixture(t)
	cut := &cutsOff{}
	cut.after.Store(1000)
	store, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Hook: cut})
	f.Must(err)
	defer func() { f.Must(store.Close()) }()
	commands := 0
	for _, lost := range []bool{false, true} {
		for n, done := int64(1), false; !done; n++ {
			event := fmt.Sprintf("e-%v-%d", lost, n)
			f.list(event, terms(1000))
			requests := make([][]string, cancelBatch+1)
			for i := range requests {
				requests[i] = hold(event, fmt.Sprintf("o%d", i), fmt.Sprintf("c%d", i), 1)
			}
			f.holdBatch(f.arrive(requests...)...)
			f.confirmed(event, "sold", "fred", 2)
			before, err := f.events.Get(f.Ctx, event)
			f.Must(err)
			cut.lost = lost
			cut.after.Store(n)
			got, err := store.Events().Cancel(f.Ctx, event, fire, nil)
			cut.after.Store(1000)
			done = err == nil
			commands = max(commands, int(n))
			if err != nil && !errors.Is(err, errCutOff) {
				t.Fatalf("cut off after %d: %v", n, err)
			}
			after, getErr := f.events.Get(f.Ctx, event)
			f.Must(getErr)
			if err != nil && after.Cancelled != before.Cancelled && domain.CodeOf(err) != domain.CodeUnknownOutcome {
				t.Errorf("cut off after %d: something was done, and the error is %v", n, err)
			}
			got, err = f.events.Cancel(f.Ctx, event, fire, nil)
			if got.Held != len(requests) || got.Confirmed != 1 || err != nil {
				t.Errorf("cut off after %d, and again: %+v, %v", n, got, err)
			}
			if got := f.section(event, "general"); got != [3]int64{1000, 0, 0} {
				t.Errorf("cut off after %d: available, held, sold: %v", n, got)
			}
		}
	}
	if commands < 8 { // an event, the cancellation, and two passes of orders and batches
		t.Errorf("it was cut off after at most %d commands: that was no test", commands)
	}
	f.wantLogFolds()
}

func TestSettling(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.list("e2", terms(10))
	f.confirmed("e1", "a", "fred", 1)
	f.confirmed("e1", "b", "mary", 1)
	f.held("e1", "c", "jane", 1, holdMillis)
	f.confirmed("e2", "a", "fred", 1)
	f.Must(f.cancelEvent("e1"))
	f.Must(f.cancelEvent("e2"))
	// Sold again and cancelled again: another entry.
	if reopened, err := f.events.Reopen(f.Ctx, "e1", domain.Cause{}); !reopened || err != nil {
		t.Fatalf("reopening: %v, %v", reopened, err)
	}
	f.confirmed("e1", "d", "amy", 1)
	f.Must(f.cancelEvent("e1"))
	want := func(what string, underWay, setAside int, from string) inspect.Settling {
		t.Helper()
		got, err := f.inspector.Settling(f.Ctx, "e1", from)
		f.Must(err)
		aside, err := f.inspector.SettlingSetAside(f.Ctx, "e1")
		f.Must(err)
		if got.UnderWay != underWay || aside != setAside {
			t.Errorf("%s: %d under way, %d set aside, want %d and %d", what, got.UnderWay, aside, underWay, setAside)
		}
		return got
	}
	want("nobody has read them", 4, 0, "0-0")
	f.Deliver(domain.GroupSettlement, "w1")
	s := want("one has them all in hand", 4, 0, "0-0")
	q := f.queue(domain.GroupSettlement, "w1")
	b, d := f.factOf("cancelled", "e1", "b"), f.factOf("cancelled", "e1", "d")
	if at := f.factOf("held", "e1", "c").ID; s.After == "0-0" || s.After < at || s.After >= b.ID {
		t.Errorf("the next look would begin after %s", s.After)
	}
	f.Must(q.Ack(f.Ctx, []string{d.ID}))
	s = want("one is refunded", 3, 0, s.After)
	f.owe(domain.FactCancelled, "e2", "a", true)
	want("one of another event is refused", 3, 0, s.After)
	waits := f.owedFor(domain.FactCancelled, "e1", "b")
	waits.FactID = b.ID
	f.Must(f.ledger.Owe(f.Ctx, 0, b.ID, []domain.Unsettled{{Owed: waits}})) // the others of its entry are done
	s = want("one waits by itself", 1, 0, s.After)
	for _, o := range f.takeOwed(1) {
		f.Must(f.ledger.OweAgain(f.Ctx, 0, o, domain.Unsettled{Owed: o, Dead: true}))
	}
	s = want("one is refused", 0, 1, s.After)
	want("from where it ended", 0, 1, s.After)
	for _, l := range f.deadLetters() {
		if l.EntryID == b.ID {
			_, err := f.redriveLetter(l.ID())
			f.Must(err)
		}
	}
	want("it is tried again", 1, 0, s.After)
	f.Must(f.ledger.OwedSettled(f.Ctx, 0, f.takeOwed(1)[0]))
	want("it is settled", 0, 0, "0-0")
	f.Do("XGROUP", "SETID", f.Keys.Log(0), string(domain.GroupSettlement), "0")
	f.Deliver(domain.GroupSettlement, "w1")
	f.Must(q.DeadLetter(f.Ctx, []domain.DeadEntry{{ID: b.ID, Reason: "cannot be worked on"}}))
	want("a whole entry is set aside", 1, 3, "0-0") // and the one of before is given out once more
}
