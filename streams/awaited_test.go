package streams

import (
	"slices"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// actionRequired has it said that the customer of an order that is held must do something.
func (f *fixture) actionRequired(event, order string) domain.Order {
	f.Helper()
	replies, _ := f.resolve(domain.Resolution{Attempt: 1, Ref: ref(event, order), Order: f.order(event, order), Outcome: domain.PaymentActionRequired, AuthorizationID: "pi_" + order})
	if o := replies[0].Order; replies[0].Verdict != domain.VerdictDone || !o.AwaitsAction() || o.AuthorizationID != "pi_"+order {
		f.Fatalf("%s: %+v", order, replies[0])
	}
	return replies[0].Order
}

// TestTakeAwaited: who is due is given out, the longest overdue first, and not again until some time later; what has ended is not.
func TestTakeAwaited(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	take := func(most int, any bool, want ...string) {
		t.Helper()
		list, awaited, err := f.ledger.TakeAwaited(f.Ctx, 0, most)
		f.Must(err)
		var got []string
		for _, a := range list {
			got = append(got, a.Ref.OrderID)
			if a.Order != f.order("e1", a.Ref.OrderID) {
				t.Errorf("%s is given out as %+v", a.Ref, a.Order)
			}
		}
		if !slices.Equal(got, want) || awaited != any {
			t.Errorf("took %q, awaited %t, want %q, %t", got, awaited, want, any)
		}
	}
	take(9, false)
	for _, order := range []string{"o1", "o2", "o3", "o4"} {
		f.held("e1", order, "c"+order, 1, holdMillis)
		f.actionRequired("e1", order)
	}
	due := func(order string, at int64) { f.Do("ZADD", f.Keys.Awaited(0), at, "e1/"+order) }
	next := func(order string) int64 { return int64(f.Client.ZScore(f.Ctx, f.Keys.Awaited(0), "e1/"+order).Val()) }
	take(9, true) // it is too early
	due("o1", 3)
	due("o2", 1)
	due("o3", 2)
	take(0, true)
	take(1, true, "o2")
	before := f.Now()
	take(9, true, "o3", "o1")
	if at := next("o1"); at < before+1000 || at > f.Now()+30_000 {
		t.Errorf("asked again at %d, it is %d", at, before)
	}
	take(9, true)
	// One that awaits it for long is asked about less often, and all at least twice a minute.
	o := f.order("e1", "o4")
	f.setRecord("e1", "o4", "5-1"+f.record("e1", "o4")[len(o.Version):])
	due("o4", 1)
	before = f.Now()
	take(9, true, "o4")
	if at := next("o4"); at < before+30_000 || at > f.Now()+30_000 {
		t.Errorf("asked again at %d, it is %d", at, before)
	}
	// What ends in between is not given out, nor does it come back.
	f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}}))
	f.resolve(domain.Resolution{Attempt: 1, Ref: ref("e1", "o2"), Order: f.order("e1", "o2"), Outcome: domain.PaymentApproved, AuthorizationID: "pi_o2"})
	due("o3", 1)
	take(9, true, "o3")
	if on := f.Do("ZRANGE", f.Keys.Awaited(0), 0, -1); len(on.([]any)) != 2 {
		t.Errorf("asked about next: %v", on)
	}
	// What names no order goes, and one that is damaged keeps nobody waiting.
	f.Do("ZADD", f.Keys.Awaited(0), 1, "no-order")
	take(9, true)
	f.setRecord("e1", "o4", "damaged")
	due("o4", 1)
	due("o3", 2)
	f.Do("ZADD", f.Keys.Awaited(0), 1, "no-order")
	take(9, true, "o3")
	if on := f.Do("ZRANGE", f.Keys.Awaited(0), 0, -1); !slices.Equal(on.([]any), []any{"e1/o3", "e1/o4"}) {
		t.Errorf("asked about next: %v", on)
	}
}

// TestActionRequiredTwice: what is known already changes nothing, and the entry of whoever says it is done; in one call with an order that
// goes on, the others go on to be asked about.
func TestActionRequiredTwice(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.held("e1", "o1", "fred", 1, holdMillis)
	b := f.held("e1", "o2", "mary", 1, holdMillis)
	first, second := f.actionRequired("e1", "o1"), f.actionRequired("e1", "o2")
	replies, _ := f.resolve(
		domain.Resolution{Attempt: 1, EntryID: a.EntryID, Ref: ref("e1", "o1"), Order: first, Outcome: domain.PaymentActionRequired, AuthorizationID: "pi_another"},
		domain.Resolution{Attempt: 1, EntryID: b.EntryID, Ref: ref("e1", "o2"), Order: second, Outcome: domain.PaymentDeclined},
	)
	if replies[0] != (domain.Reply{Verdict: domain.VerdictDone, Order: first}) || replies[1].Order.State != domain.OrderDeclined {
		t.Errorf("got %+v", replies)
	}
	f.WantPending(domain.GroupWorkers)
	if on := f.Do("ZRANGE", f.Keys.Awaited(0), 0, -1); !slices.Equal(on.([]any), []any{"e1/o1"}) {
		t.Errorf("asked about next: %v", on)
	}
}

// TestActionRequiredAgainTooLate: what is known already is no reason to take the hold for alive: it is decided by the time that it is.
func TestActionRequiredAgainTooLate(t *testing.T) {
	for _, c := range []struct {
		late    int64
		verdict domain.Verdict
		state   domain.OrderState
	}{
		{0, domain.VerdictVoid, domain.OrderExpired},
		{600_000, domain.VerdictDone, domain.OrderLapsed},
	} {
		f := newFixture(t)
		e := terms(10)
		e.LateApprovalMillis = c.late
		f.list("e1", e)
		f.held("e1", "o1", "fred", 1, holdMillis)
		o := f.actionRequired("e1", "o1")
		f.Do("HSET", f.Keys.Events(0), layout.ClockField, o.DeadlineMillis)
		replies, _ := f.resolve(domain.Resolution{Attempt: 1, Ref: ref("e1", "o1"), Order: o, Outcome: domain.PaymentActionRequired, AuthorizationID: o.AuthorizationID})
		if r := replies[0]; r.Verdict != c.verdict || r.Order.State != c.state {
			t.Errorf("late approval %d ms: %s, %s, want %s, %s", c.late, r.Verdict, r.Order.State, c.verdict, c.state)
		}
		f.wantLogFolds()
	}
}
