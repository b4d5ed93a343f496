package streams

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/inspect"
)

// owedFor is an order as settlement would owe it, because of a fact.
func (f *fixture) owedFor(kind domain.FactType, event, order string) domain.Owed {
	f.Helper()
	return domain.Owed{Ref: ref(event, order), FactID: f.factOf(kind, event, order).ID, Attempts: 1, Reason: "busy"}
}

// owe takes an order out of the entry of its fact, and leaves it due at once, or as a dead letter.
func (f *fixture) owe(kind domain.FactType, event, order string, dead bool) {
	f.Helper()
	o := f.owedFor(kind, event, order)
	f.Must(f.ledger.Owe(f.Ctx, 0, o.FactID, []domain.Unsettled{{Owed: o, Dead: dead}}))
}

// owing makes confirmed orders whose money is owed, and due.
func (f *fixture) owing(event string, orders ...string) {
	f.Helper()
	f.list(event, terms(100))
	for _, order := range orders {
		f.confirmed(event, order, order, 1)
	}
	f.Deliver(domain.GroupSettlement, "w1")
	for _, order := range orders {
		f.owe(domain.FactConfirmed, event, order, false)
	}
}

// takeOwed takes so many.
func (f *fixture) takeOwed(want int) []domain.Owed {
	f.Helper()
	taken, err := f.ledger.TakeOwed(f.Ctx, 0, nil, 10, time.Minute)
	f.Must(err)
	if len(taken) != want {
		f.Fatalf("%d were taken, want %d: %+v", len(taken), want, taken)
	}
	return taken
}

// wantOwed is about the list, and the notes: they are of the same orders.
func (f *fixture) wantOwed(orders ...string) {
	f.Helper()
	list, err := f.Client.ZRange(f.Ctx, f.Keys.Owed(0), 0, -1).Result()
	f.Must(err)
	notes, err := f.Client.HKeys(f.Ctx, f.Keys.OwedNotes(0)).Result()
	f.Must(err)
	slices.Sort(list)
	slices.Sort(notes)
	if !slices.Equal(list, orders) || !slices.Equal(notes, orders) {
		f.Errorf("owed are %v, with notes of %v, want %v", list, notes, orders)
	}
}

// An entry is acknowledged together with what is not settled of it, and only by whoever comes first.
func TestOwe(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	for _, order := range []string{"o1", "o2", "o3"} {
		f.confirmed("e1", order, order, 1)
	}
	f.Deliver(domain.GroupSettlement, "w1")
	again, dead, later := f.owedFor("confirmed", "e1", "o1"), f.owedFor("confirmed", "e1", "o2"), f.owedFor("confirmed", "e1", "o3")
	dead.Reason = "payment_mismatch: a|b"
	f.Must(f.ledger.Owe(f.Ctx, 0, again.FactID, []domain.Unsettled{{Owed: again}, {Owed: dead, Dead: true}, {Owed: later, Due: time.Hour}}))
	if slices.Contains(f.Pending(domain.GroupSettlement), again.FactID) {
		t.Error("the entry is still pending")
	}
	f.wantOwed("e1/o1", "e1/o3")
	letters := f.deadLetters()
	if len(letters) != 1 || letters[0].Stream != "owed" || letters[0].Group != "settlement" || letters[0].EntryID != dead.FactID || letters[0].Reason != dead.Reason || letters[0].Deliveries != 1 {
		t.Fatalf("dead letters %+v", letters)
	}
	if shown, err := f.inspector.DeadLetter(f.Ctx, letters[0].ID()); err != nil || shown.OrderID != "e1/o2" {
		t.Errorf("%+v, %v", shown, err)
	}
	// Somebody comes with the same entry a second time, or his reply was lost.
	before := f.Dump()
	f.Must(f.ledger.Owe(f.Ctx, 0, again.FactID, []domain.Unsettled{{Owed: later}, {Owed: dead, Dead: true}}))
	f.WantSame(before)

	taken := f.takeOwed(1)
	if again.Attempts++; taken[0] != again {
		t.Errorf("taken %+v, want %+v", taken[0], again)
	}
}

// What was taken is nobody else's, for a while; what is kept in hand, for longer.
func TestTakeOwed(t *testing.T) {
	f := newFixture(t)
	f.owing("e1", "o1", "o2", "o3")
	take := func(most int, lease time.Duration, inHand ...domain.OrderRef) (names []string) {
		t.Helper()
		taken, err := f.ledger.TakeOwed(f.Ctx, 0, inHand, most, lease)
		f.Must(err)
		for _, o := range taken {
			names = append(names, fmt.Sprintf("%s %d", o.Ref, o.Attempts))
		}
		slices.Sort(names)
		return names
	}
	want := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("taken %q, want %q", got, want)
		}
	}
	if first := take(2, time.Hour); len(first) != 2 {
		t.Errorf("taken %q, want two", first)
	}
	if second := take(5, time.Hour); len(second) != 1 {
		t.Errorf("taken %q, want the third", second)
	}
	want(take(5, time.Hour))
	want(take(0, 0, ref("e1", "o1"), ref("e1", "o2"))) // handed back
	want(take(5, 0, ref("e1", "o2")), "e1/o1 3")
	want(take(5, time.Millisecond, ref("e1", "o2"), ref("e1", "o9")), "e1/o1 4") // a lease that is over; one in hand that is not on the list
	f.wantOwed("e1/o1", "e1/o2", "e1/o3")
}

// Only whoever took an order last says what became of it, and only if no other fact wants it settled by now.
func TestSettleOwed(t *testing.T) {
	f := newFixture(t)
	f.owing("e1", "o1")
	stale := f.takeOwed(1)[0]
	f.cancel("e1", "o1")
	f.Deliver(domain.GroupSettlement, "w1")
	f.owe(domain.FactCancelled, "e1", "o1", false)
	unchanged := func(what string, taken domain.Owed) {
		t.Helper()
		before := f.Dump()
		f.Must(f.ledger.OwedSettled(f.Ctx, 0, taken))
		f.Must(f.ledger.OweAgain(f.Ctx, 0, taken, domain.Unsettled{Owed: taken, Due: time.Hour}))
		f.Must(f.ledger.OweAgain(f.Ctx, 0, taken, domain.Unsettled{Owed: taken, Dead: true}))
		if t.Failed() {
			return
		}
		f.WantSame(before)
		if t.Failed() {
			t.Log(what)
		}
	}
	unchanged("another fact came since", stale)
	current := f.takeOwed(1)[0]
	unchanged("somebody else has it", stale)

	tried := current
	tried.DelayMillis, tried.Reason = 500, "no answer"
	f.Must(f.ledger.OweAgain(f.Ctx, 0, current, domain.Unsettled{Owed: tried}))
	unchanged("it was said what became of it", current)
	again := f.takeOwed(1)[0]
	if tried.Attempts++; again != tried {
		t.Errorf("taken %+v, want %+v", again, tried)
	}
	f.Must(f.ledger.OwedSettled(f.Ctx, 0, again))
	f.wantOwed()
	unchanged("it is settled", again)
}

// Whoever is late with an older fact of an order does not take the place of a newer one: its holder would settle it with what
// the order was, and the newer one would be nobody's.
func TestOweAnOlderFact(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.confirmed("e1", "o1", "o1", 1)
	f.cancel("e1", "o1")
	f.Deliver(domain.GroupSettlement, "w1")
	older, newer := f.owedFor(domain.FactConfirmed, "e1", "o1"), f.owedFor(domain.FactCancelled, "e1", "o1")
	owe := func(u domain.Unsettled) {
		t.Helper()
		f.Must(f.ledger.Owe(f.Ctx, 0, u.FactID, []domain.Unsettled{u}))
	}
	owe(domain.Unsettled{Owed: newer, Due: time.Hour})
	owe(domain.Unsettled{Owed: older})
	if pending := f.Pending(domain.GroupSettlement); slices.Contains(pending, older.FactID) || slices.Contains(pending, newer.FactID) {
		t.Errorf("pending %v", pending)
	}
	f.takeOwed(0) // the newer one is in hand
	f.Must(f.ledger.OwedSettled(f.Ctx, 0, older))
	f.wantOwed("e1/o1")
	f.Do("ZADD", f.Keys.Owed(0), 0, "e1/o1")
	if newer.Attempts++; f.takeOwed(1)[0] != newer {
		t.Errorf("the newer fact's note is gone")
	}

	// One whose note is damaged, and what was left of an order that is off the list, stand in nobody's way.
	for order, before := range map[string]string{"o2": "damaged", "o3": "1|0|99999999999999-0|busy"} {
		f.confirmed("e1", order, order, 1)
		f.Deliver(domain.GroupSettlement, "w1")
		f.Do("HSET", f.Keys.OwedNotes(0), "e1/"+order, before)
		if order == "o2" {
			f.Do("ZADD", f.Keys.Owed(0), 0, "e1/o2")
		}
		u := f.owedFor(domain.FactConfirmed, "e1", order)
		owe(domain.Unsettled{Owed: u})
		if u.Attempts++; f.takeOwed(1)[0] != u {
			t.Errorf("%s is owed otherwise than it should be", order)
		}
	}
}

// A dead letter about an order that is owed is redriven onto the list, as if it had never been tried.
func TestRedriveOwed(t *testing.T) {
	f := newFixture(t)
	f.owing("e1", "o1", "o2")
	for _, o := range f.takeOwed(2) {
		f.Must(f.ledger.OweAgain(f.Ctx, 0, o, domain.Unsettled{Owed: o, Dead: true}))
	}
	f.wantOwed()
	letters := f.deadLetters()
	if len(letters) != 2 || letters[0].Deliveries != 2 {
		t.Fatalf("dead letters %+v", letters)
	}
	id, err := f.redriveLetter(letters[0].ID())
	if err != nil || id != letters[0].EntryID {
		t.Errorf("redriven as %q, %v", id, err)
	}
	f.Must(f.inspector.Discard(f.Ctx, letters[1].ID())[0].Err)
	if left := f.deadLetters(); len(left) != 0 {
		t.Errorf("dead letters %+v", left)
	}
	if taken := f.takeOwed(1); taken[0].Attempts != 1 || taken[0].FactID != letters[0].EntryID || taken[0].DelayMillis != 0 {
		t.Errorf("taken %+v", taken)
	}
	f.Do("XADD", f.Keys.Dead(0), "*", "stream", "owed", "group", "settlement", "entry_id", "1-1", "reason", "r", "deliveries", "1", "at", "1", "fields", "8:event_id,")
	if _, err := f.redriveLetter(f.deadLetters()[0].ID()); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged letter: %v", err)
	}
}

// A dead letter about an older fact makes what is owed for a newer one due, and does not take its place.
func TestRedriveWhatIsOwedForANewerFact(t *testing.T) {
	f := newFixture(t)
	f.owing("e1", "o1")
	older := f.takeOwed(1)[0]
	f.Must(f.ledger.OweAgain(f.Ctx, 0, older, domain.Unsettled{Owed: older, Dead: true}))
	f.cancel("e1", "o1")
	f.Deliver(domain.GroupSettlement, "w1")
	newer := f.owedFor(domain.FactCancelled, "e1", "o1")
	f.Must(f.ledger.Owe(f.Ctx, 0, newer.FactID, []domain.Unsettled{{Owed: newer, Due: time.Hour}}))
	id, err := f.redriveLetter(f.deadLetters()[0].ID())
	if err != nil || id != older.FactID {
		t.Errorf("redriven as %q, %v", id, err)
	}
	if newer.Attempts++; f.takeOwed(1)[0] != newer {
		t.Error("the newer fact's note is gone")
	}
}

// What no script of ours wrote is removed, and the others are given out.
func TestTakeOwedRemovesWhatIsNoOrder(t *testing.T) {
	f := newFixture(t)
	f.owing("e1", "o1")
	f.Do("ZADD", f.Keys.Owed(0), 0, "nonsense")
	f.takeOwed(1)
	f.wantOwed("e1/o1")

	// What is owed for an order is given out, whatever its note says, and can be settled.
	for _, damaged := range []string{"", "1", "01|02||", "x|0|1-1|"} {
		f.Do("ZADD", f.Keys.Owed(0), 0, "e1/o1")
		f.Do("HSET", f.Keys.OwedNotes(0), "e1/o1", damaged)
		f.Must(f.ledger.OwedSettled(f.Ctx, 0, f.takeOwed(1)[0]))
		f.wantOwed()
	}
}

// What is owed is told: how much, since when, what it waits for, and when it is tried next. And facts are counted, not entries.
func TestPendingTellsWhatIsOwed(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(100))
	var resolutions []domain.Resolution
	for i := range 5 {
		name := fmt.Sprint("o", i)
		a := f.held("e1", name, name, 1, holdMillis)
		resolutions = append(resolutions, domain.Resolution{Attempt: 1, EntryID: a.EntryID, Ref: ref("e1", name), Outcome: domain.PaymentApproved, AuthorizationID: "a"})
	}
	f.resolve(resolutions...) // one entry of five facts
	settlement := func() inspect.GroupStatus {
		t.Helper()
		all, err := f.inspector.Pending(f.Ctx, 10)
		f.Must(err)
		return all[2]
	}
	waiting := settlement()
	f.Deliver(domain.GroupSettlement, "w1")
	if g := settlement(); waiting.Lag != g.Pending || g.Lag != 0 || g.Backlog != g.Pending || g.Pending < 10 || g.Estimated {
		t.Errorf("%d facts waited; %+v", waiting.Lag, g)
	}
	o := f.owedFor("confirmed", "e1", "o3")
	f.Must(f.ledger.Owe(f.Ctx, 0, o.FactID, []domain.Unsettled{{Owed: o, Due: time.Hour}}))
	g := settlement()
	if g.Owed != 1 || g.Pending != waiting.Lag-5 || g.Backlog != g.Pending+1 || len(g.Orders) != 1 {
		t.Fatalf("%+v", g)
	}
	if got := g.Orders[0]; got.OrderID != "e1/o3" || got.Reason != "busy" || got.Attempts != 1 || got.DueMillis < 3_500_000 || got.DueMillis > 3_600_000 || g.OldestOwedMillis != got.AgeMillis {
		t.Errorf("%+v", got)
	}
}
