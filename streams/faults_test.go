package streams

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/layout"
	"holdfast/streams/redistest"
)

// TestWrongTypes puts a value of another type where each of the keys is that an
// operation reads or writes. It must fail as poison, before it has changed anything.
func TestWrongTypes(t *testing.T) {
	keys := layout.NewKeys(DefaultNamespace, 1)
	var (
		requests  = keys.Requests(0)
		log       = keys.Log(0)
		dead      = keys.Dead(0)
		notes     = keys.SetAside(0)
		holds     = keys.Holds(0)
		orders    = keys.Orders(0, keys.SharedHash("e1"))
		events    = keys.Events(0)
		slots     = keys.InProgress(0)
		alive     = keys.Consumers(0)
		delivered = keys.Delivered(0)
		invoices  = keys.Invoices("fred")
		unknown   = keys.Unknown(0)
		owed      = keys.Owed(0)
		owedNotes = keys.OwedNotes(0)
		handled   = keys.Handled(0)
	)
	held := func(f *fixture) domain.Incoming {
		f.list("e1", terms(10))
		return f.held("e1", "o1", "fred", 1, holdMillis)
	}
	posted := func(f *fixture) domain.Fact {
		f.list("e1", terms(10))
		f.confirmed("e1", "o1", "fred", 1)
		f.Deliver(domain.GroupPosting, "w1")
		return f.factOf("confirmed", "e1", "o1")
	}
	for _, test := range []struct {
		name    string
		keys    []string
		prepare func(f *fixture) (run func() error)
	}{
		{"hold for a purchase", []string{requests, log, holds, orders, events, slots}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			a := f.arrive(purchase("e1", "o1", "fred", 1))
			return func() error { _, _, err := f.ledger.Hold(f.Ctx, 0, a); return err }
		}},
		{"reject a purchase", []string{requests, log, holds, orders, events, slots}, func(f *fixture) func() error {
			f.list("e1", terms(0))
			a := f.arrive(purchase("e1", "o1", "fred", 1))
			return func() error { _, _, err := f.ledger.Hold(f.Ctx, 0, a); return err }
		}},
		{"hold what is known", []string{requests, log, holds, orders, events, slots}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			a := f.arrive(hold("e1", "o1", "fred", 1))
			f.holdBatch(a...)
			return func() error { _, _, err := f.ledger.Hold(f.Ctx, 0, a); return err }
		}},
		{"confirm", []string{requests, log, holds, orders, events, slots}, func(f *fixture) func() error {
			a := held(f)
			o := f.order("e1", "o1")
			return func() error {
				_, _, err := f.ledger.Resolve(f.Ctx, 0, []domain.Resolution{{Attempt: 1, EntryID: a.EntryID, Ref: ref("e1", "o1"), Order: o, Outcome: domain.PaymentApproved}})
				return err
			}
		}},
		{"decline", []string{requests, log, holds, orders, events, slots}, func(f *fixture) func() error {
			a := held(f)
			o := f.order("e1", "o1")
			return func() error {
				_, _, err := f.ledger.Resolve(f.Ctx, 0, []domain.Resolution{{Attempt: 1, EntryID: a.EntryID, Ref: ref("e1", "o1"), Order: o, Outcome: domain.PaymentDeclined}})
				return err
			}
		}},
		{"expire", []string{log, holds, orders, events, slots}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			f.held("e1", "o1", "fred", 1, 0)
			return func() error { _, _, err := f.ledger.Expire(f.Ctx, 0, 10); return err }
		}},
		{"cancel a held order", []string{requests, log, holds, orders, events, slots}, func(f *fixture) func() error {
			a := held(f)
			return func() error {
				return f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{EntryID: a.EntryID, Ref: ref("e1", "o1")}})
			}
		}},
		{"cancel a confirmed order", []string{requests, log, holds, orders, events, slots}, func(f *fixture) func() error {
			posted(f)
			return func() error { return f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}}) }
		}},
		{"cancel an unseen order", []string{requests, log, holds, orders, events, slots}, func(f *fixture) func() error {
			return func() error { return f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}}) }
		}},
		{"capture failed", []string{log, holds, orders, events, slots}, func(f *fixture) func() error {
			fact := posted(f)
			return func() error {
				return f.ledger.CaptureFailed(f.Ctx, 0, []domain.Cancellation{{EntryID: fact.ID, Ref: ref("e1", "o1")}})
			}
		}},
		{"post", []string{log, invoices}, func(f *fixture) func() error {
			fact := posted(f)
			return func() error { return f.ledger.Post(f.Ctx, 0, []string{fact.ID}, []domain.Fact{fact}) }
		}},
		{"owe", []string{log, owed, owedNotes, dead}, func(f *fixture) func() error {
			posted(f)
			f.Deliver(domain.GroupSettlement, "w1")
			u := domain.Unsettled{Owed: f.owedFor("confirmed", "e1", "o1")}
			return func() error { return f.ledger.Owe(f.Ctx, 0, u.FactID, []domain.Unsettled{u}) }
		}},
		{"take what is owed", []string{owed, owedNotes}, func(f *fixture) func() error {
			f.owing("e1", "o1")
			return func() error { _, err := f.ledger.TakeOwed(f.Ctx, 0, nil, 1, time.Minute); return err }
		}},
		{"settle what is owed", []string{owed, owedNotes, dead}, func(f *fixture) func() error {
			f.owing("e1", "o1")
			taken := f.takeOwed(1)[0]
			return func() error { return f.ledger.OwedSettled(f.Ctx, 0, taken) }
		}},
		{"redrive what is owed", []string{owed, owedNotes, dead, handled}, func(f *fixture) func() error {
			f.owing("e1", "o1")
			taken := f.takeOwed(1)[0]
			f.Must(f.ledger.OweAgain(f.Ctx, 0, taken, domain.Unsettled{Owed: taken, Dead: true}))
			id := f.deadLetters()[0].ID()
			return func() error { _, err := f.redriveLetter(id); return err }
		}},
		{"list an event", []string{log, events}, func(f *fixture) func() error {
			return func() error { _, err := f.events.Create(f.Ctx, "e1", terms(10)); return err }
		}},
		{"adjust an event", []string{log, events}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			return func() error {
				_, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) { t.Name = "X"; return t, nil })
				return err
			}
		}},
		{"close an event", []string{log, events}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			return func() error { _, err := f.events.Close(f.Ctx, "e1", domain.Cause{}); return err }
		}},
		{"reopen an event", []string{log, events}, func(f *fixture) func() error {
			f.list("e1", terms(10))
			f.close("e1")
			return func() error { _, err := f.events.Reopen(f.Ctx, "e1", domain.Cause{}); return err }
		}},
		{"cancel an event", []string{log, events, holds, orders, slots}, func(f *fixture) func() error {
			held(f)
			_, err := f.events.change(f.Ctx, "e1", func(e domain.Event) (*domain.Fact, error) { return domain.CancelEvent(e, "e1", fire) })
			f.Must(err)
			return func() error { return f.cancelEvent("e1") }
		}},
		{"dead letter", []string{requests, dead, notes}, func(f *fixture) func() error {
			id := f.Give("w1", 1)[0]
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { return q.DeadLetter(f.Ctx, []domain.DeadEntry{{ID: id, Reason: "r"}}) }
		}},
		{"redrive a request", []string{requests, dead, notes, handled}, func(f *fixture) func() error {
			f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: f.Give("w1", 1)[0], Reason: "r"}}))
			id := f.deadLetters()[0].ID()
			return func() error { _, err := f.redriveLetter(id); return err }
		}},
		{"discard", []string{dead, notes, handled}, func(f *fixture) func() error {
			f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: f.Give("w1", 1)[0], Reason: "r"}}))
			id := f.deadLetters()[0].ID()
			return func() error { return f.inspector.Discard(f.Ctx, id)[0].Err }
		}},
		{"redrive a fact", []string{log, dead, handled}, func(f *fixture) func() error {
			fact := posted(f)
			f.Must(f.queue(domain.GroupPosting, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: fact.ID, Reason: "r"}}))
			id := f.deadLetters()[0].ID()
			return func() error { _, err := f.redriveLetter(id); return err }
		}},
		{"keep alive", []string{requests, alive, delivered}, func(f *fixture) func() error {
			mine := f.Give("w1", 2)
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { _, err := q.KeepAlive(f.Ctx, mine, time.Hour); return err }
		}},
		{"hand back", []string{requests}, func(f *fixture) func() error {
			mine := f.Give("w1", 2)
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { return q.HandBack(f.Ctx, mine) }
		}},
		{"leave", []string{requests, alive}, func(f *fixture) func() error {
			q := f.queue(domain.GroupWorkers, "w1")
			f.Must(q.Ack(f.Ctx, f.Give("w1", 1)))
			return func() error { return q.Leave(f.Ctx) }
		}},
		{"leave with an entry", []string{requests, alive}, func(f *fixture) func() error {
			f.Give("w1", 1)
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { return q.Leave(f.Ctx) }
		}},
		{"reject for an unknown event", []string{requests, log, holds, orders, events, slots, unknown}, func(f *fixture) func() error {
			a := f.arrive(purchase("e1", "o1", "fred", 1))
			return func() error { _, _, err := f.ledger.Hold(f.Ctx, 0, a); return err }
		}},
		{"forget", []string{log, orders, events, unknown}, func(f *fixture) func() error {
			f.holdBatch(f.arrive(purchase("e1", "o1", "fred", 1))...)
			return func() error { _, _, err := f.ledger.Forget(f.Ctx, 0, longAgo, 10); return err }
		}},
		{"trim", []string{requests, keys.Pace(0)}, func(f *fixture) func() error {
			f.Give("w1", 1)
			return func() error { _, _, err := f.ledger.Trim(f.Ctx, 0); return err }
		}},
		{"read", []string{requests}, func(f *fixture) func() error {
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { _, err := q.Read(f.Ctx, 1, time.Second); return err }
		}},
		{"acknowledge", []string{requests}, func(f *fixture) func() error {
			mine := f.Give("w1", 2)
			q := f.queue(domain.GroupWorkers, "w1")
			return func() error { return q.Ack(f.Ctx, mine) }
		}},
	} {
		for _, key := range test.keys {
			t.Run(test.name+"/"+strings.TrimPrefix(key, "holdfast:"), func(t *testing.T) {
				f := newFixture(t)
				run := test.prepare(f)
				f.BreakKey(key)
				before := f.Dump()
				f.WantClass(run(), domain.ClassPoison)
				if key == invoices || test.name != "post" {
					f.WantSame(before)
				} else {
					f.WantSame(before, invoices) // lines are written before the entries are acknowledged
				}
			})
		}
	}
}

// TestInitWrongType: a namespace's meta key that is something else is an error, and is left alone.
func TestInitWrongType(t *testing.T) {
	f := newFixture(t)
	f.BreakKey("holdfast:meta")
	before := f.Dump()
	_, err := f.store.Namespace(f.Ctx)
	f.WantClass(err, domain.ClassPoison)
	f.WantSame(before)
}

// TestForbidden: what a user of Redis may not do will not work until somebody changes it.
func TestForbidden(t *testing.T) {
	f := newFixture(t)
	url := strings.Replace(f.store.endpoint.url.String(), "redis://", "redis://limited:secret@", 1)
	for _, rules := range [][]any{
		{"+info"}, {"+info", "+hmget"}, {"+info", "+hmget", "+xinfo"}, {"-info"},
	} {
		f.Do(append([]any{"ACL", "SETUSER", "limited", "reset", "on", ">secret", "~*"}, rules...)...)
		f.Do("XGROUP", "DESTROY", f.Keys.Log(0), string(domain.GroupPosting))
		s, err := Open(f.Ctx, url, Options{Create: true})
		if err == nil {
			f.Must(s.Close())
		}
		f.WantClass(err, domain.ClassFatal)
	}
	f.Do("ACL", "DELUSER", "limited")
	_, err := Open(f.Ctx, url, Options{})
	f.WantClass(err, domain.ClassFatal)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error repeats the password: %v", err)
	}
}

// TestOutOfMemory: with a full memory that evicts nothing, what takes on work is
// refused whole; what finishes, gives back or compensates works.
func TestOutOfMemory(t *testing.T) {
	server := redistest.Start(t, "--maxmemory-policy", "noeviction")
	f := openFixture(t, server)
	f.list("e1", terms(100))
	approved := f.held("e1", "approved", "c1", 1, holdMillis)
	declined := f.held("e1", "declined", "c2", 1, holdMillis)
	late := f.held("e1", "late", "c3", 1, 0)
	f.held("e1", "due", "c4", 1, 0)
	waiting := f.held("e1", "waiting", "c5", 1, holdMillis)
	foreign := f.held("e1", "foreign", "c14", 1, holdMillis)
	f.held("e1", "held", "c6", 1, holdMillis)
	f.confirmed("e1", "confirmed", "c7", 1)
	f.confirmed("e1", "uncaptured", "c8", 1)
	f.confirmed("e1", "posted", "c9", 1)
	f.post(f.factOf("confirmed", "e1", "posted"))
	f.cancel("e1", "posted")
	f.confirmed("e1", "cancelled", "c15", 1)
	f.cancel("e1", "cancelled")
	f.confirmed("e1", "unposted", "c10", 1)
	f.list("e2", terms(2))
	f.held("e2", "held", "c1", 1, holdMillis)
	f.confirmed("e2", "sold", "c2", 1)
	f.holdBatch(f.arrive(purchase("e9", "nonsense", "c1", 1))...)
	for _, group := range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {
		f.Deliver(group, "w1")
	}
	fresh := f.arrive(purchase("e1", "fresh", "c11", 1), hold("e1", "fresh-hold", "c12", 1), purchase("e9", "fresh-rejected", "c13", 1))
	known := f.arrive(purchase("e1", "confirmed", "c7", 1))[0]
	poison, stuck := f.Give("w1", 1)[0], f.Give("w1", 2)
	q := f.queue(domain.GroupWorkers, "w1")
	facts := []domain.Fact{f.factOf("confirmed", "e1", "unposted"), f.factOf("confirmed", "e1", "cancelled")}
	uncaptured := f.factOf("confirmed", "e1", "uncaptured")

	f.Do("SCRIPT", "FLUSH") // texts of scripts can be loaded, too
	f.Do("CONFIG", "SET", "maxmemory", "1")
	before := f.Dump()

	t.Run("refused", func(t *testing.T) {
		f := f.in(t)
		for i := range fresh {
			_, _, err := f.ledger.Hold(f.Ctx, 0, fresh[i:i+1])
			f.WantClass(err, domain.ClassRetry)
		}
		_, _, err := f.ledger.Hold(f.Ctx, 0, append(slices.Clone(fresh), known))
		f.WantClass(err, domain.ClassRetry)
		results := f.checkout.Append(f.Ctx, []domain.Request{fresh[0].Request, fresh[1].Request}, domain.Confirmation{})
		for _, r := range results {
			f.WantClass(r.Err, domain.ClassRetry)
			if errors.Is(r.Err, domain.ErrUnknownOutcome) {
				t.Errorf("it is known not to be published: %v", r.Err)
			}
		}
		_, err = f.events.Create(f.Ctx, "e3", terms(1))
		f.WantClass(err, domain.ClassRetry)
		_, err = f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) { t.Name = "X"; return t, nil })
		f.WantClass(err, domain.ClassRetry)
		f.WantSame(before)
	})
	t.Run("what is owed", func(t *testing.T) {
		f := f.in(t)
		f.owe("confirmed", "e1", "uncaptured", false)
		f.owe("confirmed", "e1", "posted", true)
		taken := f.takeOwed(1)
		f.Must(f.ledger.OweAgain(f.Ctx, 0, taken[0], domain.Unsettled{Owed: taken[0]}))
		taken = f.takeOwed(1)
		f.Must(f.ledger.OweAgain(f.Ctx, 0, taken[0], domain.Unsettled{Owed: taken[0], Dead: true}))
		for _, l := range f.deadLetters() {
			_, err := f.redriveLetter(l.ID())
			f.Must(err)
		}
		for _, o := range f.takeOwed(2) {
			f.Must(f.ledger.OwedSettled(f.Ctx, 0, o))
		}
		f.wantOwed()
	})
	t.Run("resolve", func(t *testing.T) {
		f := f.in(t)
		replies, _ := f.resolve(
			approve(approved.EntryID, "e1", "approved"), approve(late.EntryID, "e1", "late"),
			domain.Resolution{Attempt: 1, EntryID: declined.EntryID, Ref: ref("e1", "declined"), Outcome: domain.PaymentDeclined},
			domain.Resolution{Attempt: 1, EntryID: waiting.EntryID, Ref: ref("e1", "waiting")})
		for i, want := range []string{"done confirmed", "void expired", "done declined", "wait held"} {
			if got := replies[i].Verdict.String() + " " + replies[i].Order.State.String(); got != want {
				t.Errorf("item %d: %s, want %s", i, got, want)
			}
		}
		if replies, _ := f.resolve(domain.Resolution{Attempt: 1, EntryID: waiting.EntryID, Ref: ref("e1", "waiting")}); replies[0].Verdict != domain.VerdictWait {
			t.Errorf("an unknown outcome alone: %s", replies[0].Verdict)
		}
		f.Must(q.DeadLetter(f.Ctx, []domain.DeadEntry{{ID: foreign.EntryID, Reason: "d"}}))
		replies, _ = f.resolve(domain.Resolution{Attempt: 1, EntryID: foreign.EntryID, Ref: ref("e1", "foreign"), Outcome: domain.PaymentMismatched, Detail: "d"})
		if n := len(f.deadLetters()); replies[0].Order.State != domain.OrderDeclined || n != 1 {
			t.Errorf("left alone: %+v, %d dead letters", replies[0], n)
		}
	})
	t.Run("expire", func(t *testing.T) {
		f := f.in(t)
		if n, _, err := f.ledger.Expire(f.Ctx, 0, 10); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		f := f.in(t)
		f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "confirmed")}})) // nothing but a confirmed one
		f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "unseen")}}))    // frees nothing
		f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "nobody")}, {Ref: ref("e1", "held")}}))
		f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "held")}}))
		f.Must(f.ledger.CaptureFailed(f.Ctx, 0, []domain.Cancellation{{EntryID: uncaptured.ID, Ref: ref("e1", "uncaptured")}}))
		for _, order := range []string{"confirmed", "unseen", "held", "uncaptured"} {
			if o := f.order("e1", order); o.State != domain.OrderCancelled {
				t.Errorf("%s is %s", order, o.State)
			}
		}
	})
	t.Run("cancel an event", func(t *testing.T) {
		f := f.in(t)
		f.close("e2")
		if reopened, err := f.events.Reopen(f.Ctx, "e2", domain.Cause{}); !reopened || err != nil {
			t.Errorf("reopening: %v, %v", reopened, err)
		}
		f.Must(f.cancelEvent("e2"))
		for _, order := range []string{"held", "sold"} {
			if o := f.order("e2", order); o.State != domain.OrderCancelled || o.Reason != domain.ReasonEventCancelled {
				t.Errorf("%s is %s because of %s", order, o.State, o.Reason)
			}
		}
	})
	t.Run("hold what is known", func(t *testing.T) {
		f := f.in(t)
		if replies, _ := f.holdBatch(known); replies[0].Verdict != domain.VerdictConflict && replies[0].Verdict != domain.VerdictDone && replies[0].Verdict != domain.VerdictVoid {
			t.Errorf("got %+v", replies[0])
		}
	})
	t.Run("post", func(t *testing.T) {
		f := f.in(t)
		f.post(facts...)
		f.post(facts...)
		for customer, status := range map[string]string{"c9": "cancelled", "c10": "confirmed", "c15": "cancelled"} {
			if lines, err := f.inspector.Invoices(f.Ctx, customer); err != nil || len(lines) != 1 || lines[0].Status != status {
				t.Errorf("invoices of %s: %+v, %v, want one %s", customer, lines, err, status)
			}
		}
		for _, fact := range facts {
			if slices.Contains(f.Pending(domain.GroupPosting), fact.ID) {
				t.Errorf("%s is not acknowledged", fact.ID)
			}
		}
	})
	t.Run("queue", func(t *testing.T) {
		f := f.in(t)
		f.Must(q.DeadLetter(f.Ctx, []domain.DeadEntry{{ID: poison, Reason: "r"}}))
		letters := f.deadLetters()[1:]
		if len(letters) != 1 || len(f.notes(letters[0].Order)) != 1 {
			t.Errorf("dead letters %+v", letters)
		}
		// It moves, and adds nothing; and again, so that there is one left to discard.
		_, err := f.redriveLetter(letters[0].ID())
		f.Must(err)
		again := f.Deliver(domain.GroupWorkers, "w1")
		f.Must(q.DeadLetter(f.Ctx, []domain.DeadEntry{{ID: again[0].ID, Reason: "r"}}))
		if lost, err := q.KeepAlive(f.Ctx, stuck, time.Hour); err != nil || len(lost) != 0 {
			t.Errorf("keep alive: %v, %v", lost, err)
		}
		f.Must(q.HandBack(f.Ctx, stuck))
		f.Must(q.Ack(f.Ctx, []string{waiting.EntryID}))
		f.Must(q.Leave(f.Ctx))
		got, err := f.queue(domain.GroupWorkers, "w2").Reclaim(f.Ctx, longIdle, 10)
		if err != nil || !slices.Equal(ids(got), stuck) {
			t.Errorf("reclaimed %v, %v", ids(got), err)
		}
		// The jobs that free memory need a turn.
		if mine, err := f.ledger.TakeTurn(f.Ctx, 0, "trim", "w1", time.Second); err != nil || !mine {
			t.Errorf("a turn to trim: %v, %v", mine, err)
		}
		if n, _, err := f.ledger.Trim(f.Ctx, 0); err != nil || n == 0 {
			t.Errorf("trimmed %d, %v", n, err)
		}
		f.forget(longAgo, 1)
	})
	f.Must(f.inspector.Discard(f.Ctx, f.deadLetters()[0].ID())[0].Err)
	f.wantLogFolds()

	// And when there is room again, what was refused goes through.
	f.Do("CONFIG", "SET", "maxmemory", "0")
	replies, _ := f.holdBatch(fresh...)
	for i, want := range []domain.OrderState{domain.OrderHeld, domain.OrderHeld, domain.OrderRejected} {
		if replies[i].Order.State != want {
			t.Errorf("item %d: %+v", i, replies[i])
		}
	}
	f.post(facts...)
	f.wantSales("e1", inspect.Totals{Orders: 2, TicketsSold: 2, Revenue: 2000}) // approved, unposted
	f.wantLogFolds()
}

// in is the fixture for a subtest.
func (f *fixture) in(t *testing.T) *fixture {
	sub := *f
	sub.T = t
	return &sub
}

// TestScriptFlush: scripts are forgotten by a restart or a failover; each call finds that out by itself.
func TestScriptFlush(t *testing.T) {
	f := newFixture(t)
	forget := func() { f.Do("SCRIPT", "FLUSH") }
	for _, step := range []func(){
		func() { f.list("e1", terms(10)) },
		func() {
			_, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) { t.Name = "X"; return t, nil })
			f.Must(err)
		},
		func() { f.holdBatch(f.arrive(purchase("e1", "o1", "fred", 1), hold("e1", "o2", "mary", 1))...) },
		func() { f.resolve(approve("", "e1", "o1")) },
		func() { f.post(f.factOf("confirmed", "e1", "o1")) },
		func() { f.cancel("e1", "o1") },
		func() { f.Must(f.ledger.CaptureFailed(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o2")}})) },
		func() { _, _, err := f.ledger.Expire(f.Ctx, 0, 1); f.Must(err) },
		func() { f.close("e1") },
		func() { _, err := f.store.Namespace(f.Ctx); f.Must(err) },
		func() { _, err := f.queue(domain.GroupWorkers, "w1").KeepAlive(f.Ctx, nil, time.Second); f.Must(err) },
		func() { f.Must(f.queue(domain.GroupWorkers, "w1").HandBack(f.Ctx, f.Pending(domain.GroupWorkers))) },
		func() {
			f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, []domain.DeadEntry{{ID: f.Pending(domain.GroupWorkers)[0], Reason: "r"}}))
		},
		func() { _, err := f.redriveLetter(f.deadLetters()[0].ID()); f.Must(err) },
		func() { f.Must(f.queue(domain.GroupWorkers, "w1").Leave(f.Ctx)) },
		func() { _, _, err := f.ledger.Trim(f.Ctx, 0); f.Must(err) },
		func() { _, _, err := f.ledger.Forget(f.Ctx, 0, longAgo, 1); f.Must(err) },
	} {
		forget()
		step()
	}
	f.wantSales("e1", inspect.Totals{})
	f.wantLogFolds()
	if got := f.section("e1", "general"); got != [3]int64{9, 1, 0} {
		t.Errorf("available, held, sold: %v", got)
	}
}

// TestFlushAll: after Redis lost everything, whoever touches the groups is told so, and
// what is missing is made again once that is accepted; nobody needs to be started again.
func TestFlushAll(t *testing.T) {
	for name, touch := range map[string]func(context.Context, domain.Queue) error{
		"read":    func(ctx context.Context, q domain.Queue) error { _, err := q.Read(ctx, 1, time.Second); return err },
		"own":     func(ctx context.Context, q domain.Queue) error { _, err := q.Own(ctx, "0-0", 1, true); return err },
		"reclaim": func(ctx context.Context, q domain.Queue) error { _, err := q.Reclaim(ctx, longIdle, 1); return err },
		"keep alive": func(ctx context.Context, q domain.Queue) error {
			_, err := q.KeepAlive(ctx, []string{"5-5"}, time.Second)
			return err
		},
		"dead letter": func(ctx context.Context, q domain.Queue) error {
			return q.DeadLetter(ctx, []domain.DeadEntry{{ID: "5-5"}})
		},
	} {
		for _, group := range layout.Groups {
			t.Run(name+"/"+string(group), func(t *testing.T) {
				f := newFixture(t)
				f.list("e1", terms(1))
				q := f.queue(group, "w1")
				f.Must(f.ledger.Verify(f.Ctx))
				epoch := f.store.history.ns.Epoch
				f.Do("FLUSHALL")
				// Ours write nothing where nothing is; but what others wrote before anybody noticed is work as well.
				_, err := f.events.Create(f.Ctx, "e1", terms(1))
				f.WantClass(err, domain.ClassRetry)
				f.Publish(purchase("e1", "o1", "fred", 1))
				f.Do("XADD", f.Keys.Log(0), "*", "closed", "e1")
				err = touch(f.Ctx, q)
				f.WantClass(err, domain.ClassRetry)
				f.wantReplaced(err)
				f.wantReplaced(f.ledger.Verify(f.Ctx))
				f.Must(f.ledger.Accept(f.Ctx, "w1"))
				f.Must(f.ledger.Verify(f.Ctx))
				got, err := q.Read(f.Ctx, 10, time.Second)
				if err != nil || len(got) != 1 {
					t.Fatalf("the next read: %v, %v", got, err)
				}
				for _, other := range layout.Groups {
					stream, _ := f.Keys.StreamOf(0, other)
					if infos, err := f.Client.XInfoGroups(f.Ctx, stream).Result(); err != nil || !slices.ContainsFunc(infos, func(g redis.XInfoGroup) bool { return g.Name == string(other) }) {
						t.Errorf("group %s: %v, %v", other, infos, err)
					}
				}
				if now, err := f.store.Namespace(f.Ctx); err != nil || now.Epoch == epoch || now.Epoch != f.store.history.ns.Epoch || now.Partitions != 1 {
					t.Errorf("namespace %+v, %v; the epoch was %s", now, err, epoch)
				}
			})
		}
	}
}

// TestFlushAllWhileReading: a read that blocks on a stream that vanishes comes back, and heals.
func TestFlushAllWhileReading(t *testing.T) {
	f := newFixture(t)
	q := f.queue(domain.GroupWorkers, "w1")
	f.Publish(request("cancel", "e1", "o0")) // a stream that is empty would not be missed
	f.Deliver(domain.GroupWorkers, "w1")
	ended := make(chan error, 1)
	f.Eventually("a read was interrupted", func() bool {
		go func() {
			_, err := q.Read(f.Ctx, 1, time.Second)
			ended <- err
		}()
		f.Eventually("the read blocks, or is over", func() bool {
			info, err := f.Client.Info(f.Ctx, "clients").Result()
			f.Must(err)
			return strings.Contains(info, "blocked_clients:1") || len(ended) > 0
		})
		f.Do("FLUSHALL")
		err := <-ended
		if err == nil { // it had waited its second: once more
			f.Must(f.ledger.Accept(f.Ctx, "w1"))
			return false
		}
		f.wantReplaced(err)
		f.Must(f.ledger.Accept(f.Ctx, "w1"))
		return true
	})
	id := f.Publish(request("cancel", "e1", "o1"))
	if got, err := q.Read(f.Ctx, 1, time.Second); err != nil || !slices.Equal(ids(got), []string{id}) {
		t.Errorf("the next read: %v, %v", got, err)
	}
}

// TestFlushAllAndOrders: the scripts that change orders change nothing where nobody has noticed yet, and then start from nothing.
func TestFlushAllAndOrders(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	a := f.held("e1", "o1", "fred", 1, holdMillis)
	f.Do("FLUSHALL")
	_, _, err := f.ledger.Hold(f.Ctx, 0, []domain.Incoming{a})
	f.wantReplaced(err)
	f.WantSame(nil)
	f.Must(f.ledger.Accept(f.Ctx, "w1"))
	if replies, _ := f.resolve(approve(a.EntryID, "e1", "o1")); replies[0] != (domain.Reply{Verdict: domain.VerdictVoid}) {
		t.Errorf("an approval of an order that is lost: %+v, want it voided", replies[0])
	}
	if replies, _ := f.holdBatch(a); replies[0].Order.Reason != domain.ReasonUnknownEvent {
		t.Errorf("got %+v", replies[0])
	}
	f.wantLogFolds()
}

// TestAcceptAnotherNamespace: a namespace of another shape in the old one's place is not for this process.
func TestAcceptAnotherNamespace(t *testing.T) {
	f := newFixture(t)
	f.Do("FLUSHALL")
	f.Do("HSET", "holdfast:meta", "partitions", 2, "schema", layout.Schema, "epoch", "x")
	_, err := f.queue(domain.GroupWorkers, "w1").Read(f.Ctx, 1, time.Second)
	f.wantReplaced(err)
	f.WantClass(f.ledger.Accept(f.Ctx, "w1"), domain.ClassFatal)
}

// TestRestart: with an append-only file, a killed server comes back as it was, scripts forgotten.
func TestRestart(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	f := openFixture(t, server)
	f.list("e1", terms(10))
	a := f.held("e1", "o1", "fred", 1, holdMillis)
	f.held("e1", "o2", "mary", 2, holdMillis)
	before := f.Dump()
	server.Restart()
	f.Eventually("the connection works again", func() bool { return f.Client.Ping(f.Ctx).Err() == nil })
	f.WantSame(before)
	if replies, _ := f.resolve(approve(a.EntryID, "e1", "o1")); replies[0].Order.State != domain.OrderConfirmed {
		t.Errorf("got %+v", replies[0])
	}
	f.wantLogFolds()
}
