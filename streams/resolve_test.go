package streams

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

func approve(entryID, event, order string) domain.Resolution {
	return domain.Resolution{Attempt: 1, EntryID: entryID, Ref: ref(event, order), Outcome: domain.PaymentApproved, AuthorizationID: "auth_" + order}
}

func TestResolveApproved(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.held("e1", "o1", "fred", 3, holdMillis)
	other := f.held("e1", "o2", "mary", 2, holdMillis)
	held := f.order("e1", "o1")
	replies, _ := f.resolve(approve(a.EntryID, "e1", "o1"))
	fact, _ := f.lastFact()
	want := held
	want.State, want.ConfirmedAtMillis, want.ResolvedAtMillis, want.AuthorizationID, want.Version = domain.OrderConfirmed, fact.AtMillis, fact.AtMillis, "auth_o1", fact.ID
	if replies[0] != (domain.Reply{Verdict: domain.VerdictDone, Order: want}) {
		t.Errorf("got %+v, want done, %+v", replies[0], want)
	}
	f.wantFact("confirmed", "e1/o1", "fred|general:3:1000|EUR|auth_o1")
	if got, want := f.record("e1", "o1"), fmt.Sprintf("%s|c2|p|%s|fred|general:3:1000|EUR|%d|%d|||auth_o1|||", fact.ID, a.Request.Fingerprint, holdMillis, held.HeldAtMillis); got != want {
		t.Errorf("record %s, want %s", got, want)
	}
	if got := f.section("e1", "general"); got != [3]int64{5, 2, 3} {
		t.Errorf("available, held, sold: %v", got)
	}
	if slots := f.slots("e1"); fmt.Sprint(slots) != "map[mary:o2]" {
		t.Errorf("in progress: %v", slots)
	}
	if holds := fmt.Sprint(f.Do("ZRANGE", f.Keys.Holds(0), 0, -1)); holds != "[e1/o2]" {
		t.Errorf("holds %s", holds)
	}
	f.WantPending(domain.GroupWorkers, other.EntryID)
}

// TestResolveOutcomes: every outcome while the hold is alive and when it is past its deadline.
func TestResolveOutcomes(t *testing.T) {
	for _, test := range []struct {
		name    string
		hold    int64
		outcome domain.PaymentOutcome
		verdict domain.Verdict
		state   domain.OrderState
		section [3]int64
		acked   bool
	}{
		{"approved", holdMillis, domain.PaymentApproved, domain.VerdictDone, domain.OrderConfirmed, [3]int64{7, 0, 3}, true},
		{"declined", holdMillis, domain.PaymentDeclined, domain.VerdictDone, domain.OrderDeclined, [3]int64{10, 0, 0}, true},
		{"unknown", holdMillis, domain.PaymentUnknown, domain.VerdictWait, domain.OrderHeld, [3]int64{7, 3, 0}, false},
		{"approved too late", 0, domain.PaymentApproved, domain.VerdictVoid, domain.OrderExpired, [3]int64{10, 0, 0}, false},
		{"declined too late", 0, domain.PaymentDeclined, domain.VerdictDone, domain.OrderDeclined, [3]int64{10, 0, 0}, true},
		{"unknown at the deadline", 0, domain.PaymentUnknown, domain.VerdictVoid, domain.OrderExpired, [3]int64{10, 0, 0}, false},
		{"mismatched", holdMillis, domain.PaymentMismatched, domain.VerdictDone, domain.OrderDeclined, [3]int64{10, 0, 0}, true},
		{"mismatched too late", 0, domain.PaymentMismatched, domain.VerdictDone, domain.OrderDeclined, [3]int64{10, 0, 0}, true},
		{"an outcome that is none", holdMillis, 9, domain.VerdictWait, domain.OrderHeld, [3]int64{7, 3, 0}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(10))
			a := f.held("e1", "o1", "fred", 3, test.hold)
			resolution := domain.Resolution{Attempt: 1, EntryID: a.EntryID, Ref: ref("e1", "o1"), Outcome: test.outcome, AuthorizationID: "auth_1"}
			replies, _ := f.resolve(resolution)
			if replies[0].Verdict != test.verdict || replies[0].Order.State != test.state {
				t.Errorf("got %s, %s, want %s, %s", replies[0].Verdict, replies[0].Order.State, test.verdict, test.state)
			}
			if got := f.section("e1", "general"); got != test.section {
				t.Errorf("available, held, sold: %v, want %v", got, test.section)
			}
			if ended := test.state != domain.OrderHeld; ended {
				if fact, _ := f.lastFact(); fact.Type != domain.FactType(test.state.String()) || replies[0].Order.ResolvedAtMillis != fact.AtMillis {
					t.Errorf("the newest fact is %+v, the order %+v", fact, replies[0].Order)
				}
				if slots, holds := f.slots("e1"), f.Do("ZCARD", f.Keys.Holds(0)); len(slots) != 0 || holds != int64(0) {
					t.Errorf("in progress %v, %v holds", slots, holds)
				}
			}
			if acked := len(f.Pending(domain.GroupWorkers)) == 0; acked != test.acked {
				t.Errorf("acknowledged: %v, want %v", acked, test.acked)
			}
			if authorized := replies[0].Order.AuthorizationID != ""; authorized != (test.state == domain.OrderConfirmed) {
				t.Errorf("authorization %q of a %s order", replies[0].Order.AuthorizationID, test.state)
			}

			// Once more: nothing moves, and the verdict is the same but that an end is an end.
			before := f.Dump()
			again, _ := f.resolve(resolution)
			if again[0] != replies[0] {
				t.Errorf("again: %+v, was %+v", again[0], replies[0])
			}
			f.WantSame(before)
		})
	}
}

// TestResolveAfterTheEnd: an answer that comes when the order has ended already.
func TestResolveAfterTheEnd(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.confirmed("e1", "confirmed", "fred", 1)
	f.held("e1", "declined", "fred", 1, holdMillis)
	f.resolve(domain.Resolution{Attempt: 1, Ref: ref("e1", "declined"), Outcome: domain.PaymentDeclined})
	f.held("e1", "expired", "fred", 1, 0)
	f.resolve(domain.Resolution{Attempt: 1, Ref: ref("e1", "expired")})
	f.held("e1", "cancelled", "fred", 1, holdMillis)
	f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "cancelled")}, {Ref: ref("e1", "unseen")}}))
	f.holdBatch(f.arrive(purchase("e9", "rejected", "fred", 1))...)
	before := f.Dump()
	for _, test := range []struct {
		event, order string
		verdicts     [4]string // unknown, approved, declined, mismatched
	}{
		{"e1", "confirmed", [4]string{"done", "done", "done", "done"}},
		{"e1", "declined", [4]string{"done", "void", "done", "done"}},
		{"e1", "expired", [4]string{"void", "void", "done", "done"}},
		{"e1", "cancelled", [4]string{"void", "void", "done", "done"}},
		{"e1", "unseen", [4]string{"void", "void", "done", "done"}},
		{"e9", "rejected", [4]string{"done", "void", "done", "done"}},
		{"e1", "nobody", [4]string{"void", "void", "done", "done"}},
	} {
		for outcome, want := range test.verdicts {
			// Also if all that is known of the order is what it was when it was paid for.
			is := f.order(test.event, test.order)
			was := is
			was.State, was.Version, was.DeadlineMillis, was.ConfirmedAtMillis, was.ResolvedAtMillis, was.Attempt = domain.OrderHeld, "1-1", math.MaxInt64, 0, 0, 1
			for _, order := range []domain.Order{is, was} {
				replies, _ := f.resolve(domain.Resolution{Attempt: 1, Ref: ref(test.event, test.order), Order: order, Outcome: domain.PaymentOutcome(outcome), AuthorizationID: "late"})
				if outcome == int(domain.PaymentUnknown) && order.State == domain.OrderHeld {
					continue // nothing is to be written of it, so nothing is looked at
				}
				if got := replies[0].Verdict.String(); got != want || replies[0].Order != is {
					t.Errorf("%s, outcome %d: %s, %+v, want %s", test.order, outcome, got, replies[0].Order, want)
				}
			}
		}
	}
	f.WantSame(before)
}

// TestResolveMismatch: a payment that is not the order's declines it for that reason, in one fact.
func TestResolveMismatch(t *testing.T) {
	const detail = "amount 5 instead of 3000; the payment is captured | and was left alone"
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.held("e1", "o1", "fred", 3, holdMillis)
	held := f.order("e1", "o1")
	replies, _ := f.resolve(domain.Resolution{Attempt: 1, EntryID: a.EntryID, Ref: ref("e1", "o1"), Order: held, Outcome: domain.PaymentMismatched, Detail: detail})
	entry := f.lastEntry()
	if wantFields := []string{"declined", "e1/o1|payment_mismatch|" + detail}; !slices.Equal(entry.Fields, wantFields) {
		t.Errorf("the entry is %q, want %q", entry.Fields, wantFields)
	}
	want := held
	want.State, want.ResolvedAtMillis, want.Reason, want.Detail, want.Version = domain.OrderDeclined, domain.EntryMillis(entry.ID), domain.ReasonPaymentMismatch, detail, entry.ID
	if replies[0].Order != want || f.order("e1", "o1") != want {
		t.Errorf("it is %+v, want %+v", replies[0].Order, want)
	}
	f.wantLogFolds()
	f.WantPending(domain.GroupWorkers)
	// One whose request was set aside first, because a person must look at it, is declined all the same; given
	// back, the request changes nothing more.
	b := f.held("e1", "o2", "mary", 1, holdMillis)
	f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: b.EntryID, Reason: "payment_mismatch: " + detail}}))
	replies, _ = f.resolve(domain.Resolution{Attempt: 1, EntryID: b.EntryID, Ref: ref("e1", "o2"), Order: f.order("e1", "o2"), Outcome: domain.PaymentMismatched, Detail: detail})
	if replies[0].Verdict != domain.VerdictDone || replies[0].Order.State != domain.OrderDeclined || replies[0].Order.Detail != detail {
		t.Errorf("set aside before: %+v", replies[0])
	}
	declined := replies[0].Order
	handled := f.inspector.Redrive(f.Ctx, f.deadLetters()[0].ID())
	f.Must(handled[0].Err)
	f.Deliver(domain.GroupWorkers, "w1")
	again := b
	again.EntryID = handled[0].EntryID
	replies, _ = f.holdBatch(again)
	if replies[0] != (domain.Reply{Verdict: domain.VerdictDone, Order: declined}) || len(f.deadLetters()) != 0 {
		t.Errorf("redriven: %s, %+v", replies[0].Verdict, replies[0].Order)
	}
	f.WantPending(domain.GroupWorkers)
	f.wantLogFolds()
}

// TestResolveBatch: two entries about one order, several events, and all of it in one step.
func TestResolveBatch(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.list("e2", terms(10))
	a, b, c := f.held("e1", "o1", "fred", 1, holdMillis), f.held("e2", "o1", "fred", 2, holdMillis), f.held("e1", "o2", "mary", 3, 0)
	retry := f.arrive(purchase("e1", "o1", "fred", 1))[0]
	d := f.held("e1", "o3", "jane", 1, holdMillis)
	replies, _ := f.resolve(
		approve(a.EntryID, "e1", "o1"), approve(retry.EntryID, "e1", "o1"), approve(b.EntryID, "e2", "o1"), approve(c.EntryID, "e1", "o2"),
		domain.Resolution{Attempt: 1, EntryID: d.EntryID, Ref: ref("e1", "o3"), Outcome: domain.PaymentDeclined}, approve(d.EntryID, "e1", "o3"),
	)
	for i, want := range []string{"done confirmed", "done confirmed", "done confirmed", "void expired", "done declined", "void declined"} {
		if got := replies[i].Verdict.String() + " " + replies[i].Order.State.String(); got != want {
			t.Errorf("item %d: %s, want %s", i, got, want)
		}
	}
	if e1, e2 := f.section("e1", "general"), f.section("e2", "general"); e1 != [3]int64{9, 0, 1} || e2 != [3]int64{8, 0, 2} {
		t.Errorf("available, held, sold: %v, %v", e1, e2)
	}
	f.WantPending(domain.GroupWorkers, c.EntryID)
	facts, _ := f.facts()
	if ended := facts[len(facts)-4:]; ended[0].Type != "confirmed" || ended[1].EventID != "e2" || ended[2].Type != "declined" || ended[3].Type != "expired" {
		t.Errorf("facts %+v", ended)
	}
}

// TestResolveAuthorizationID: one that records and facts cannot keep stops the batch, as poison, before anything is written.
func TestResolveAuthorizationID(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.held("e1", "o1", "fred", 1, holdMillis)
	f.held("e1", "o2", "mary", 1, holdMillis)
	before := f.Dump()
	for _, id := range []string{"|", "a|b", "a\nb", "a\r", "|h|"} {
		r := approve(a.EntryID, "e1", "o1")
		r.AuthorizationID = id
		_, _, err := f.ledger.Resolve(f.Ctx, 0, []domain.Resolution{approve("", "e1", "o2"), r})
		f.WantClass(err, domain.ClassPoison)
	}
	f.WantSame(before)
}

func TestResolveManyItems(t *testing.T) {
	const items = 2*access.MaxBatch + 203
	f := newFixture(t)
	f.list("e1", terms(items))
	requests := make([][]string, items)
	for i := range requests {
		requests[i] = purchase("e1", "o"+strconv.Itoa(i), "c"+strconv.Itoa(i), 1)
	}
	batch := f.arrive(requests...)
	f.holdBatch(batch...)
	resolutions := make([]domain.Resolution, items)
	for i, a := range batch {
		resolutions[i] = approve(a.EntryID, "e1", a.Request.OrderID)
	}
	replies, _ := f.resolve(resolutions...)
	for i, r := range replies {
		if r.Order.State != domain.OrderConfirmed || r.Order.AuthorizationID != "auth_o"+strconv.Itoa(i) {
			t.Fatalf("item %d: %+v", i, r)
		}
	}
	if got := f.section("e1", "general"); got != [3]int64{0, 0, items} {
		t.Errorf("available, held, sold: %v", got)
	}
	f.WantPending(domain.GroupWorkers)
	if slots := f.slots("e1"); len(slots) != 0 {
		t.Errorf("%d in progress", len(slots))
	}
}

func TestExpire(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.list("e2", terms(10))
	a := f.held("e1", "o1", "fred", 3, 0)
	f.held("e2", "o1", "fred", 2, 1)
	alive := f.held("e1", "o2", "mary", 1, holdMillis)
	f.WaitUntil(f.order("e2", "o1").DeadlineMillis)
	if n, _, err := f.ledger.Expire(f.Ctx, 0, 10); n != 2 || err != nil {
		t.Fatalf("%d expired, %v, want 2", n, err)
	}
	o := f.order("e1", "o1")
	facts, raw := f.facts()
	n := len(facts)
	if !slices.Equal(raw[n-2:], []string{"expired e1/o1", "expired e2/o1"}) {
		t.Errorf("facts %q", raw[n-2:])
	}
	if o.State != domain.OrderExpired || o.ResolvedAtMillis != facts[n-2].AtMillis || o.HeldAtMillis == 0 || o.ConfirmedAtMillis != 0 {
		t.Errorf("order %+v", o)
	}
	if e1, e2 := f.section("e1", "general"), f.section("e2", "general"); e1 != [3]int64{9, 1, 0} || e2 != [3]int64{10, 0, 0} {
		t.Errorf("available, held, sold: %v, %v", e1, e2)
	}
	if s1, s2 := f.slots("e1"), f.slots("e2"); fmt.Sprint(s1, s2) != "map[mary:o2] map[]" {
		t.Errorf("in progress: %v, %v", s1, s2)
	}
	// The entries of the purchases are not acknowledged by it: their workers void, then acknowledge.
	if pending := f.Pending(domain.GroupWorkers); len(pending) != 3 || pending[0] != a.EntryID || pending[2] != alive.EntryID {
		t.Errorf("pending %v", pending)
	}
	before := f.Dump()
	if n, _, err := f.ledger.Expire(f.Ctx, 0, 10); n != 0 || err != nil {
		t.Errorf("again: %d expired, %v", n, err)
	}
	f.WantSame(before)
}

// TestExpireLooksAgain: what was due when it was found may have ended, or be alive, by the time it is to be ended.
func TestExpireLooksAgain(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.held("e1", "alive", "fred", 1, holdMillis)
	f.confirmed("e1", "confirmed", "mary", 1)
	before := f.Dump()
	var got []domain.OrderState
	expire := func(domain.Event) domain.Command { return domain.Expire{} }
	f.Must(f.ledger.changeOrders(f.Ctx, 0, []domain.OrderRef{ref("e1", "alive"), ref("e1", "confirmed"), ref("e1", "nobody")}, 0, nil, expire,
		func(_ domain.OrderRef, o domain.Order) { got = append(got, o.State) }))
	if want := []domain.OrderState{domain.OrderHeld, domain.OrderConfirmed, domain.OrderNone}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	f.WantSame(before)

	// Members that are not held orders are found once, and not for ever.
	f.Do("ZADD", f.Keys.Holds(0), 1, "e1/confirmed", 2, "e1/nobody")
	if n, _, err := f.ledger.Expire(f.Ctx, 0, 10); n != 0 || err != nil {
		t.Errorf("%d expired, %v", n, err)
	}
	f.WantSame(before)
}

func TestDue(t *testing.T) {
	f := newFixture(t)
	due := func(most int) []string {
		t.Helper()
		before := f.Now()
		reply, err := f.store.run(f.Ctx, scriptDue, []string{f.Keys.Holds(0), f.Keys.Events(0)}, most).StringSlice()
		f.Must(err)
		if now := layout.AsInt(reply[0]); now < before || now > f.Now() {
			t.Errorf("it says it is %d, it was %d before", now, before)
		}
		return reply[1:]
	}
	if got := due(10); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
	now := f.Now()
	f.Do("ZADD", f.Keys.Holds(0), now-10, "e1/second", now-20, "e1/first", now, "e1/third", now+60_000, "e1/alive", now-20, "e0/first")
	f.WaitUntil(now)
	for most, want := range map[int][]string{10: {"e0/first", "e1/first", "e1/second", "e1/third"}, 2: {"e0/first", "e1/first"}, 0: {}} {
		if got := due(most); !slices.Equal(got, want) {
			t.Errorf("at most %d: %v, want %v", most, got, want)
		}
	}
}

func TestExpireManyItems(t *testing.T) {
	const items = 2*access.MaxBatch + 203
	f := newFixture(t)
	f.list("e1", terms(items))
	requests := make([][]string, items)
	for i := range requests {
		requests[i] = hold("e1", "o"+strconv.Itoa(i), "c"+strconv.Itoa(i), 1)
	}
	batch := f.arrive(requests...)
	for i := range batch {
		batch[i].HoldMillis = 0
	}
	f.holdBatch(batch...)
	for _, want := range []int{access.MaxBatch, access.MaxBatch, 203, 0} {
		if n, _, err := f.ledger.Expire(f.Ctx, 0, 10_000); n != want || err != nil {
			t.Fatalf("%d expired, %v, want %d", n, err, want)
		}
	}
	if got := f.section("e1", "general"); got != [3]int64{items, 0, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
}

func TestCancel(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.list("e2", terms(10))
	purchased := f.held("e1", "held", "fred", 3, holdMillis)
	f.confirmed("e2", "confirmed", "fred", 2)
	f.held("e1", "overdue", "mary", 1, 0)
	wasHeld, wasConfirmed := f.order("e1", "held"), f.order("e2", "confirmed")
	cancels := []string{}
	for _, r := range []domain.OrderRef{ref("e1", "unseen"), ref("e1", "held"), ref("e2", "confirmed"), ref("e1", "overdue"), ref("e1", "held")} {
		cancels = append(cancels, f.Publish(request("cancel", r.EventID, r.OrderID)))
	}
	f.Deliver(domain.GroupWorkers, "w1")
	batch := []domain.Cancellation{
		{EntryID: cancels[0], Ref: ref("e1", "unseen")},
		{EntryID: cancels[1], Ref: ref("e1", "held")},
		{EntryID: cancels[2], Ref: ref("e2", "confirmed")},
		{EntryID: cancels[3], Ref: ref("e1", "overdue")},
		{EntryID: cancels[4], Ref: ref("e1", "held")},
	}
	f.Must(f.ledger.Cancel(f.Ctx, 0, batch))

	facts, raw := f.facts()
	n := len(facts)
	if want := []string{
		"cancelled e1/unseen|requested|none",
		"cancelled e1/held|requested|held|fred|general:3:1000|EUR|0",
		"cancelled e1/overdue|requested|held|mary|general:1:1000|EUR|0",
		"cancelled e2/confirmed|requested|confirmed|fred|general:2:1000|EUR|" + strconv.FormatInt(wasConfirmed.ConfirmedAtMillis, 10),
	}; !slices.Equal(raw[n-4:], want) {
		t.Errorf("facts %q, want %q", raw[n-4:], want)
	}
	at := facts[n-1].AtMillis
	if o, want := f.order("e1", "unseen"), (domain.Order{State: domain.OrderCancelled, ResolvedAtMillis: facts[n-4].AtMillis, Reason: "requested", Version: facts[n-4].ID}); o != want {
		t.Errorf("unseen: %+v, want %+v", o, want)
	}
	for got, want := range map[domain.Order]domain.Order{f.order("e1", "held"): wasHeld, f.order("e2", "confirmed"): wasConfirmed} {
		want.State, want.Reason, want.ResolvedAtMillis, want.Version = domain.OrderCancelled, "requested", at, facts[n-1].ID
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	if e1, e2 := f.section("e1", "general"), f.section("e2", "general"); e1 != [3]int64{10, 0, 0} || e2 != [3]int64{10, 0, 0} {
		t.Errorf("available, held, sold: %v, %v", e1, e2)
	}
	if s1, s2, holds := f.slots("e1"), f.slots("e2"), f.Do("ZCARD", f.Keys.Holds(0)); len(s1)+len(s2) != 0 || holds != int64(0) {
		t.Errorf("in progress: %v, %v; %v holds", s1, s2, holds)
	}
	for _, id := range cancels {
		if slices.Contains(f.Pending(domain.GroupWorkers), id) {
			t.Errorf("the cancel %s is not acknowledged", id)
		}
	}
	if !slices.Contains(f.Pending(domain.GroupWorkers), purchased.EntryID) {
		t.Error("the cancelled purchase is acknowledged, and its authorization perhaps not voided")
	}

	before := f.Dump()
	f.Must(f.ledger.Cancel(f.Ctx, 0, batch))
	f.WantSame(before)

	// What comes for a cancelled order is absorbed; of one that was never held there is nothing to void.
	replies, _ := f.holdBatch(f.arrive(purchase("e1", "unseen", "jane", 1), hold("e1", "unseen", "jane", 5), request("pay", "e1", "unseen"), request("pay", "e1", "held"))...)
	for i, want := range []domain.Verdict{domain.VerdictDone, domain.VerdictDone, domain.VerdictDone, domain.VerdictVoid} {
		if replies[i].Verdict != want || replies[i].Order.State != domain.OrderCancelled {
			t.Errorf("item %d: %+v, want %s", i, replies[i], want)
		}
	}
	if got := f.section("e1", "general"); got != [3]int64{10, 0, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
}

// TestCancelOfWhatHasEnded changes nothing but the acknowledgement.
func TestCancelOfWhatHasEnded(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.held("e1", "declined", "fred", 1, holdMillis)
	f.held("e1", "expired", "mary", 1, 0)
	f.resolve(domain.Resolution{Attempt: 1, Ref: ref("e1", "declined"), Outcome: domain.PaymentDeclined}, domain.Resolution{Attempt: 1, Ref: ref("e1", "expired")})
	f.holdBatch(f.arrive(purchase("e9", "rejected", "fred", 1))...)
	f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "cancelled")}}))
	before := f.Dump()
	f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{
		{Ref: ref("e1", "declined")}, {Ref: ref("e1", "expired")}, {Ref: ref("e9", "rejected")}, {Ref: ref("e1", "cancelled")},
	}))
	f.WantSame(before)
}

// TestCaptureFailed undoes confirmed orders, and only those; it acknowledges nothing.
func TestCaptureFailed(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.confirmed("e1", "o1", "fred", 3)
	f.held("e1", "o2", "mary", 1, holdMillis)
	f.Deliver(domain.GroupSettlement, "w1")
	f.Deliver(domain.GroupPosting, "w1")
	settlement, posting := f.Pending(domain.GroupSettlement), f.Pending(domain.GroupPosting)
	before := f.order("e1", "o1")
	batch := []domain.Cancellation{{Ref: ref("e1", "o1")}, {Ref: ref("e1", "o2")}, {Ref: ref("e1", "unseen")}}
	f.Must(f.ledger.CaptureFailed(f.Ctx, 0, batch))
	f.wantFact("cancelled", "e1/o1", "capture_failed|confirmed|fred|general:3:1000|EUR|"+strconv.FormatInt(before.ConfirmedAtMillis, 10))
	fact, _ := f.lastFact()
	want := before
	want.State, want.Reason, want.ResolvedAtMillis, want.Version = domain.OrderCancelled, "capture_failed", fact.AtMillis, fact.ID
	if got := f.order("e1", "o1"); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if o2, unseen := f.order("e1", "o2"), f.order("e1", "unseen"); o2.State != domain.OrderHeld || unseen.State != domain.OrderNone {
		t.Errorf("others: %s, %s", o2.State, unseen.State)
	}
	if got := f.section("e1", "general"); got != [3]int64{9, 1, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	f.WantPending(domain.GroupSettlement, settlement...) // an entry may have more facts: it is acknowledged when all are settled
	f.WantPending(domain.GroupPosting, posting...)
	all := f.Dump()
	f.Must(f.ledger.CaptureFailed(f.Ctx, 0, batch))
	f.WantSame(all)
}

func TestCancelManyItems(t *testing.T) {
	const items = 2*access.MaxBatch + 203
	f := newFixture(t)
	f.list("e1", terms(items))
	requests := make([][]string, items)
	cancels := make([]domain.Cancellation, items)
	for i := range requests {
		order := "o" + strconv.Itoa(i)
		requests[i] = hold("e1", order, "c"+strconv.Itoa(i), 1)
		cancels[i] = domain.Cancellation{Ref: ref("e1", order)}
	}
	f.holdBatch(f.arrive(requests[:items-100]...)...) // the last hundred are cancelled unseen
	f.Must(f.ledger.Cancel(f.Ctx, 0, cancels))
	if got := f.section("e1", "general"); got != [3]int64{items, 0, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
	was := map[domain.OrderState]int{}
	facts, _ := f.facts()
	for _, fact := range facts {
		if fact.Type == domain.FactCancelled {
			was[fact.Was]++
		}
	}
	if was[domain.OrderHeld] != items-100 || was[domain.OrderNone] != 100 || len(was) != 2 {
		t.Errorf("cancelled: %v", was)
	}
}

// TestDamagedRecords: a record that cannot be read stops the call, as poison, before anything is written.
func TestDamagedRecords(t *testing.T) {
	const good = "1-1|h2|p|fp|fred|general:1:1000|EUR|5|||||||"
	for record, readable := range map[string]bool{
		"h": false, "1-1|h2|p|fp|fred|general:1:1000|EUR": false, strings.Replace(good, "general:1", "general:one", 1): false,
		good[4:]: false, "x" + good[1:]: false, strings.Replace(good, "|h2|", "|h1|", 1): false, strings.Replace(good, "|h2|", "|z2|", 1): false,
		strings.Replace(good, "general", "balcony", 1):     true, // no such section
		strings.Replace(good, "general:1", "general:5", 1): true, // more than are held
	} {
		t.Run(record, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(10))
			f.held("e1", "o1", "fred", 1, holdMillis)
			was := f.order("e1", "o1")
			f.setRecord("e1", "bad", record)
			f.Do("ZADD", f.Keys.Holds(0), 1, "e1/bad")
			before := f.Dump()
			f.WantClass(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}, {Ref: ref("e1", "bad")}}), domain.ClassPoison)
			_, _, err := f.ledger.Expire(f.Ctx, 0, 10)
			f.WantClass(err, domain.ClassPoison)
			bad := was // as it was when it was paid for
			if readable {
				bad = f.order("e1", "bad")
			}
			_, _, err = f.ledger.Resolve(f.Ctx, 0, []domain.Resolution{
				{Attempt: 1, Ref: ref("e1", "o1"), Order: was, Outcome: domain.PaymentApproved}, {Attempt: 1, Ref: ref("e1", "bad"), Order: bad, Outcome: domain.PaymentDeclined},
			})
			f.WantClass(err, domain.ClassPoison)
			if !readable {
				_, _, err := f.ledger.Hold(f.Ctx, 0, []domain.Incoming{f.incoming("1-0", purchase("e1", "bad", "fred", 1))})
				f.WantClass(err, domain.ClassPoison)
			}
			f.WantSame(before)
		})
	}
}
