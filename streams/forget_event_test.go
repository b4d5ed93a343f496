package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/redistest"
)

// done has all that is in the log posted, settled and archived.
func (f *fixture) done() {
	f.Helper()
	var confirmed []domain.Fact
	facts, _ := f.facts()
	for _, fact := range facts {
		if fact.Type == domain.FactConfirmed {
			confirmed = append(confirmed, fact)
		}
	}
	if len(confirmed) > 0 {
		f.post(confirmed...)
	}
	for _, group := range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {
		f.Deliver(group, "done")
		for _, id := range f.Pending(group) {
			f.Do("XACK", f.Keys.Log(0), string(group), id)
		}
	}
	last := f.lastEntry().ID
	f.Do("SET", f.Keys.Archived(0), layout.EncodeArchived(domain.ArchiveMark{Branch: f.branch(), Position: last, Hash: "ab", Segment: "one"}))
}

// forgetEvents looks once for events to be forgotten that were over for a millisecond, and has one forgotten, and so many orders.
func (f *fixture) forgetEvents(events, orders int) {
	f.Helper()
	n, k, _, err := f.ledger.ForgetEvents(f.Ctx, 0, time.Millisecond, 1000)
	if err != nil || n != events || k != orders {
		f.Fatalf("forgot %d events and %d orders, %v, want %d and %d", n, k, err, events, orders)
	}
}

// over lists an event, sells of it, and closes it; so that it may be forgotten.
func (f *fixture) over(event string, t domain.Terms) {
	f.Helper()
	f.holdBatch(f.arrive(purchase(event, "early", "fred", 1))...) // before it is listed
	f.list(event, t)
	f.confirmed(event, "o1", "fred", 2)
	f.confirmed(event, "o2", "amy", 3)
	f.cancel(event, "o2")
	f.holdBatch(f.arrive(purchase(event, "o3", "jim", 5_000_000))...)
	f.close(event)
	f.done()
	f.WaitUntil(f.Now() + 5)
}

// namesOf are the keys that name an event, beside those of its past; what namespaces are told apart by is drawn, and may say anything.
func (f *fixture) namesOf(event string) (found []string) {
	for key, value := range f.Dump() {
		if key != f.Keys.Log(0) && key != f.Keys.Requests(0) && key != layout.MetaKey(f.Keys.Namespace) && (strings.Contains(key, event) || strings.Contains(value, event)) {
			found = append(found, key)
		}
	}
	slices.Sort(found)
	return found
}

func (f *fixture) audited() {
	f.Helper()
	report, err := audit.Run(f.Ctx, f.store, audit.Options{})
	if err != nil || !report.OK {
		f.Errorf("the audit: %v, %+v", err, report.Violations)
	}
}

// scanning calls do once, before a hash is looked through.
type scanning struct {
	sending
	do func()
}

func (s *scanning) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if do := s.do; do != nil && cmd.Name() == "hscan" {
			s.do = nil
			do()
		}
		return next(ctx, cmd)
	}
}

// That an event was closed is archived before it is forgotten, though it is while somebody looks for those that are over.
func TestForgetEventThatIsClosedMeanwhile(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.confirmed("e1", "o1", "fred", 1)
	f.done()
	f.WaitUntil(f.Now() + 5)
	store, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true, Hook: &scanning{do: func() { f.close("e1") }}})
	f.Must(err)
	t.Cleanup(func() { _ = store.Close() })
	for range 3 {
		if events, _, _, err := store.Ledger().ForgetEvents(f.Ctx, 0, time.Millisecond, 1000); events != 0 || err != nil {
			t.Fatalf("forgot %d events whose end is not archived, %v", events, err)
		}
		f.WaitUntil(f.Now() + 5)
	}
	f.done()
	f.forgetEvents(1, 0)
	f.audited()
}

// An event that is over leaves Redis, but for that there was one, and for what its orders were on the invoices.
func TestForgetEvent(t *testing.T) {
	for _, capacity := range []int64{100, 900_000} { // with the hash that it shares, and with some of its own
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			f := newFixture(t)
			f.list("e2", terms(10))
			f.confirmed("e2", "o1", "fred", 1)
			f.over("e1", terms(capacity, func(t *domain.Terms) { t.MaxPerCustomer = 5 }))
			fred, amy := f.order("e1", "o1"), f.order("e1", "o2")
			f.forgetEvents(1, 0)
			if got := f.order("e1", "o1"); got != fred {
				t.Errorf("before its orders are forgotten, one is %+v", got)
			}
			f.audited()
			f.forgetEvents(0, 4)
			f.forgetEvents(0, 0)
			f.wantLogFolds()
			f.audited()

			if is, err := f.store.Inside().Event(f.Ctx, "e1"); err != nil || is.Over == "" || is.Version != 3 || is.Exists() {
				t.Errorf("the event is %+v, %v", is, err)
			}
			want := []string{f.Keys.Invoices("amy"), f.Keys.Invoices("fred"), f.Keys.Events(0), f.Keys.Unknown(0)}
			if got := f.namesOf("e1"); !slices.Equal(got, sorted(want)) {
				t.Errorf("it is named in %v", got)
			}
			if ids, err := f.events.IDs(f.Ctx, 0); err != nil || !slices.Equal(ids, []string{"e2"}) {
				t.Errorf("the events are %v, %v", ids, err)
			}
			f.wantInvoices("amy", inspect.InvoiceLine{
				EventID: "e1", OrderID: "o2", Quantity: 3, Amount: amy.Amount(), Currency: "EUR", ConfirmedAtMillis: amy.ConfirmedAtMillis, Status: "cancelled", Archived: true,
			})
			lines, err := f.inspector.Invoices(f.Ctx, "fred")
			slices.SortFunc(lines, func(a, b inspect.InvoiceLine) int { return strings.Compare(a.EventID, b.EventID) })
			if err != nil || len(lines) != 2 || lines[0].Status != "confirmed" || lines[0].Amount != fred.Amount() || !lines[0].Archived || lines[1].Archived {
				t.Errorf("fred's invoices: %+v, %v", lines, err)
			}
		})
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// Whatever is asked of an event that was forgotten, or of its orders, is done with, and nothing is recorded of it; and whoever waits is told.
func TestRequestsForAnEventThatIsForgotten(t *testing.T) {
	f := newFixture(t)
	f.over("e1", terms(100))
	confirmed := f.factOf(domain.FactConfirmed, "e1", "o1")
	ended := f.factOf(domain.FactCancelled, "e1", "o2")
	f.forgetEvents(1, 0)
	ask := func() {
		t.Helper()
		before, entries := f.Dump(), f.Do("XLEN", f.Keys.Log(0))
		opening := f.arrive(purchase("e1", "new", "fred", 1), hold("e1", "new-2", "amy", 1), purchase("e1", "o3", "jim", 5_000_000))
		var others []domain.Incoming
		for _, r := range [][]string{
			request("pay", "e1", "new-3"),
			{"v", "2", "type", "payment_update", "event_id", "e1", "order_id", "new-3"},
			{"v", "2", "type", "refund", "event_id", "e1", "order_id", "o1", "change", "1", "amount", "1"},
			{"v", "2", "type", "cancel", "event_id", "e1", "order_id", "o1", "change", "1", "items", `[{"section":"general","quantity":1}]`},
		} {
			others = append(others, f.arrive(r)...)
		}
		replies, _ := f.holdBatch(append(opening, others...)...)
		for i, r := range replies {
			if r.Verdict != domain.VerdictDone {
				t.Errorf("request %d: %s", i, r.Verdict)
			}
		}
		var cancels []domain.Cancellation
		for _, order := range []string{"o1", "o2", "never"} {
			in := f.arrive(request("cancel", "e1", order))
			cancels = append(cancels, domain.Cancellation{EntryID: in[0].EntryID, Ref: ref("e1", order)})
		}
		f.Must(f.ledger.Cancel(f.Ctx, 0, cancels))
		f.Must(f.ledger.CaptureFailed(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}}))
		stranger, _ := f.another(t) // who has not known the event while it was there
		in := f.arrive(request("cancel", "e1", "o2"))
		f.Must(stranger.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{EntryID: in[0].EntryID, Ref: ref("e1", "o2")}}))
		f.post(confirmed)
		f.WantPending(domain.GroupWorkers)
		if now := f.Do("XLEN", f.Keys.Log(0)); now != entries {
			t.Errorf("the log has %v entries, it had %v", now, entries)
		}
		f.WantSame(before, f.Keys.Requests(0))
		looked := f.checkout.Look(f.Ctx, []domain.OrderRef{ref("e1", "new"), ref("e1", "never"), ref("e2", "none")})
		if !looked[0].Over || !looked[1].Over || looked[2].Over || looked[0].Err != nil {
			t.Errorf("whoever waits finds %+v", looked)
		}
	}
	ask() // while its orders are there
	f.forgetEvents(0, 4)
	f.forgetEvents(0, 0)
	ask()
	f.Must(f.ledger.Owe(f.Ctx, 0, ended.ID, nil)) // settled again

	_, err := f.events.Create(f.Ctx, "e1", terms(100))
	f.WantClass(err, domain.ClassReject)
	if domain.CodeOf(err) != domain.CodeEventOver {
		t.Errorf("listing it again: %v", err)
	}
	for what, do := range map[string]func() error{
		"closing":   func() error { _, err := f.events.Close(f.Ctx, "e1", domain.Cause{}); return err },
		"reopening": func() error { _, err := f.events.Reopen(f.Ctx, "e1", domain.Cause{}); return err },
		"reading":   func() error { _, err := f.events.Get(f.Ctx, "e1"); return err },
		"adjusting": func() error {
			_, err := f.events.Adjust(f.Ctx, "e1", func(t domain.Terms) (domain.Terms, error) { return t, nil })
			return err
		},
		"selling": func() error { _, err := f.inspector.Sales(f.Ctx, "e1"); return err },
	} {
		if err := do(); domain.CodeOf(err) != domain.CodeEventOver {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.wantLogFolds()
	f.audited()
}

// What is not over, or not posted, settled and archived on this branch, or waits for a person, stays.
func TestWhatIsNotForgotten(t *testing.T) {
	log := func(f *fixture) string { return f.Keys.Log(0) }
	for name, is := range map[string]func(f *fixture){
		"on sale again": func(f *fixture) { _, err := f.events.Reopen(f.Ctx, "e1", domain.Cause{}); f.Must(err); f.done() },
		"not archived":  func(f *fixture) { f.Do("DEL", f.Keys.Archived(0)) },
		"archived before the last of it": func(f *fixture) {
			facts, _ := f.facts()
			f.Do("SET", f.Keys.Archived(0), layout.EncodeArchived(domain.ArchiveMark{Branch: f.branch(), Position: facts[len(facts)-2].ID, Hash: "ab", Segment: "one"}))
		},
		"archived elsewhere": func(f *fixture) {
			f.Do("SET", f.Keys.Archived(0), layout.EncodeArchived(domain.ArchiveMark{Branch: "another", Position: f.lastEntry().ID, Hash: "ab", Segment: "one"}))
		},
		"not posted":  func(f *fixture) { f.Do("XGROUP", "SETID", log(f), "posting", "0") },
		"not settled": func(f *fixture) { f.Do("XGROUP", "SETID", log(f), "settlement", "0") },
		"owed": func(f *fixture) {
			fact := f.factOf(domain.FactConfirmed, "e1", "o1")
			f.Do("HSET", f.Keys.OwedNotes(0), "e1/o1", layout.EncodeOwedNote(domain.Owed{Ref: ref("e1", "o1"), FactID: fact.ID, Attempts: 1}))
		},
		"a dead letter": func(f *fixture) {
			f.Do("XADD", f.Keys.Dead(0), "*", "stream", "log", "group", "posting", "entry_id", "1-1", "reason", "r", "deliveries", "1", "at", "1", "fields", "9:confirmed,13:e1/o1|fred|||,")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.over("e1", terms(100))
			is(f)
			f.forgetEvents(0, 0)
			f.forgetEvents(0, 0)
			if _, err := f.store.Inside().Event(f.Ctx, "e1"); err != nil {
				t.Error(err)
			}
			if f.order("e1", "o1").State != domain.OrderConfirmed {
				t.Error("its orders are gone")
			}
		})
	}
	t.Run("held", func(t *testing.T) {
		f := newFixture(t)
		f.list("e1", terms(100))
		f.held("e1", "o1", "fred", 1, 60_000)
		f.close("e1")
		f.done()
		f.WaitUntil(f.Now() + 5)
		f.forgetEvents(0, 0)
		f.forgetEvents(0, 0)
		f.wantLogFolds()
	})
	t.Run("changed of late", func(t *testing.T) {
		f := newFixture(t)
		f.over("e1", terms(100))
		f.cancel("e1", "o1")
		f.done()
		for range 2 {
			if n, _, _, err := f.ledger.ForgetEvents(f.Ctx, 0, time.Hour, 10); err != nil || n != 0 {
				t.Errorf("forgot %d, %v", n, err)
			}
		}
		note, err := layout.DecodeOverNote(f.Do("HGET", f.Keys.Over(0), "e1").(string))
		if err != nil || note.Version != 2 {
			t.Errorf("the note is %+v, %v", note, err)
		}
	})
}

// Whoever is overtaken in the middle changes nothing that must not be changed: what comes about the event before the step that forgets it keeps it, and
// of two who forget one, each finds the other's work done.
func TestForgetEventOvertaken(t *testing.T) {
	f := newFixture(t)
	f.over("e1", terms(100))
	other, hook := f.another(t)
	hook.once("forget_event", func() { f.cancel("e1", "o1") })
	other.forgetEvents(0, 0)
	f.done()
	f.WaitUntil(f.Now() + 5)
	hook.once("forget_event", func() { f.forgetEvents(1, 0) })
	other.forgetEvents(0, 0)
	hook.once("forget_orders", func() { f.forgetEvents(0, 4) })
	other.forgetEvents(0, 0)
	f.forgetEvents(0, 0)
	f.wantLogFolds()
	f.audited()

	// Decided before, made so afterwards: an order that is cancelled by whoever has not heard of it.
	f.over("e3", terms(100))
	late, hook := f.another(t)
	hook.once("move", func() { f.forgetEvents(1, 0) })
	entries := f.Do("XLEN", f.Keys.Log(0)).(int64)
	f.Must(late.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e3", "o1")}}))
	if now := f.Do("XLEN", f.Keys.Log(0)).(int64); now != entries+1 { // that it is forgotten
		t.Errorf("%d entries were added", now-entries)
	}
	f.forgetEvents(0, 4)
	f.forgetEvents(0, 0)
	f.wantLogFolds()
}

// Who has not noticed that the partition has another branch forgets nothing.
func TestForgetEventOnAnotherBranch(t *testing.T) {
	f := newFixture(t)
	f.over("e1", terms(100))
	f.forgetEvents(1, 0)
	other, hook := f.another(t)
	hook.once("forget_orders", func() { f.Do("HSET", f.Keys.Events(0), layout.BranchField, "another") })
	other.forgetEvents(0, 0)
	if got := f.order("e1", "o1"); got.State != domain.OrderConfirmed {
		t.Errorf("the order is %+v", got)
	}
	if _, _, _, err := f.ledger.ForgetEvents(f.Ctx, 0, time.Millisecond, 10); err != nil && !errors.Is(err, domain.ErrDataReplaced) {
		t.Errorf("forgetting: %v", err)
	}
}

// A full memory keeps nobody from making room.
func TestForgetEventWhenMemoryIsFull(t *testing.T) {
	f := newFixture(t)
	f.over("e1", terms(100))
	if _, _, _, err := f.ledger.ForgetEvents(f.Ctx, 0, time.Hour, 1); err != nil { // it is noted while there is room
		t.Fatal(err)
	}
	f.Do("CONFIG", "SET", "maxmemory", "1")
	defer f.Do("CONFIG", "SET", "maxmemory", "0")
	f.forgetEvents(1, 0)
	f.forgetEvents(0, 4)
	f.forgetEvents(0, 0)
	f.Do("CONFIG", "SET", "maxmemory", "0")
	f.wantLogFolds()
	f.audited()
}

// Whichever of its commands fails, is done and not answered, or is the last one before whoever forgets an event dies: it leaves a state that is right, and
// whoever goes on comes to the same end.
func TestForgetEventFaults(t *testing.T) {
	server := redistest.Start(t)
	for _, fault := range faultKinds {
		for n, killed := 0, true; killed; n++ {
			server.Flush()
			f := openFixture(t, server)
			f.over("e1", terms(900_000, func(t *domain.Terms) { t.MaxPerCustomer = 5 }))
			fred, amy := f.order("e1", "o1"), f.order("e1", "o2")
			killer, other := f.failing(fault, n)
			var err error
			for range 4 { // a look, a step, the orders, and that there are none
				if _, _, _, err = other.Ledger().ForgetEvents(f.Ctx, 0, time.Millisecond, 2); err != nil {
					break
				}
			}
			if killed = killer.Killed; killed != (err != nil) {
				t.Fatalf("killed: %t, %v", killed, err)
			}
			killer.Left = 1 << 30 // or it is not hit at all
			f.audited()
			next := f.ledger
			if fault.Lives {
				next = other.Ledger()
			}
			f.Eventually("all is forgotten", func() bool {
				_, _, more, err := next.ForgetEvents(f.Ctx, 0, time.Millisecond, 2)
				f.Must(err)
				return !more && f.order("e1", "o1") == domain.Order{}
			})
			f.Must(other.Close())
			f.wantLogFolds()
			f.audited()
			for customer, o := range map[string]domain.Order{"fred": fred, "amy": amy} {
				line, _ := o.Line()
				if got := f.Do("HVALS", f.Keys.Invoices(customer)).([]any); len(got) != 1 || got[0] != layout.EncodeLine(line) {
					t.Errorf("the invoices of %s say %v, want %s", customer, got, layout.EncodeLine(line))
				}
			}
			if t.Failed() {
				t.Fatalf("at command %d, having been sent: %t, and lives: %t", n, fault.After, fault.Lives)
			}
		}
	}
}

// faultKinds are what happens at a command: it is not sent; or it is, and the reply is lost; and whoever sent it hears of an error, or dies.
var faultKinds = []streamstest.Killer{{Lives: true}, {Lives: true, After: true}, {}, {After: true}}

// failing is another process, to which a fault happens at its n-th command, from 0, once it has started.
func (f *fixture) failing(fault streamstest.Killer, n int) (*streamstest.Killer, *Store) {
	f.Helper()
	fault.Left = 1 << 30
	s, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true, Hook: &fault})
	f.Must(err)
	fault.Left = n
	return &fault, s
}

// An event, or an order, that cannot be read is told of, and keeps no other event from being forgotten; a dead letter that cannot be read may be about any.
func TestForgetEventsBesideADamagedOne(t *testing.T) {
	f := newFixture(t)
	f.over("e1", terms(10))
	f.over("e2", terms(10))
	sales := f.Do("HGET", f.Keys.Events(0), layout.SalesField("e1"))
	letter := f.Do("XADD", f.Keys.Dead(0), "*", "stream", "log", "group", "posting", "entry_id", "?", "reason", "no", "deliveries", "1", "at", "1", "fields", "damaged")
	f.forgetEvents(0, 0)
	f.Do("XDEL", f.Keys.Dead(0), letter)

	f.Do("HSET", f.Keys.Events(0), layout.SalesField("e1"), "damaged")
	damaged := func() {
		t.Helper()
		n, k, _, err := f.ledger.ForgetEvents(f.Ctx, 0, time.Millisecond, 1000)
		f.WantClass(err, domain.ClassPoison)
		if n != 0 || k != 0 {
			t.Errorf("forgot %d events and %d orders", n, k)
		}
	}
	f.forgetEvents(1, 0) // e2
	f.forgetEvents(0, 4)
	damaged()

	f.Do("HSET", f.Keys.Events(0), layout.SalesField("e1"), sales)
	f.forgetEvents(1, 0) // e1
	f.setRecord("e1", "o1", "damaged")
	damaged()
	f.over("e3", terms(10))
	f.forgetEvents(1, 0)
	for range 2 { // whichever of the two is looked at first
		_, _, _, err := f.ledger.ForgetEvents(f.Ctx, 0, time.Millisecond, 1000)
		if err != nil {
			f.WantClass(err, domain.ClassPoison)
		}
	}
	if n := f.Do("HEXISTS", f.Keys.Forgetting(0), "e3"); n != int64(0) {
		t.Error("the orders of e3 are not forgotten")
	}
}
