package streams

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/redistest"
)

// archivedLog tells of events what the log does, as the archive would.
type archivedLog struct{ f *fixture }

// Event implements domain.ArchivedEvents.
func (a archivedLog) Event(_ context.Context, _ int, _ domain.ArchiveMark, eventID string) (domain.ArchivedEvent, error) {
	found := domain.ArchivedEvent{Book: domain.NewSnapshot()}
	facts, _ := a.f.facts()
	for _, fact := range facts {
		if fact.EventID != eventID {
			continue
		}
		if fact.Type == domain.FactCreated {
			found.Listed = *fact.Terms
		}
		if err := found.Book.FoldKeeping(fact); err != nil {
			return found, err
		}
	}
	return found, nil
}

func (f *fixture) recall(event string) RecalledEvent {
	f.Helper()
	done, err := f.events.Recall(f.Ctx, archivedLog{f}, event, nil)
	f.Must(err)
	return done
}

// stateOf is all that is stored of an event and its orders: by key, what the fields say that have its name.
func (f *fixture) stateOf(event string) map[string]map[string]string {
	state := make(map[string]map[string]string)
	for key := range f.Dump() {
		if f.Do("TYPE", key) != "hash" || slices.Contains([]string{f.Keys.Over(0), f.Keys.Forgetting(0)}, key) {
			continue
		}
		if _, is := f.Keys.CustomerOf(key); is {
			continue
		}
		fields, err := f.Client.HGetAll(f.Ctx, key).Result()
		f.Must(err)
		maps.DeleteFunc(fields, func(name, _ string) bool { return !names(name, event) && !isFieldOf(name, event) })
		if len(fields) > 0 {
			state[key] = fields
		}
	}
	return state
}

func isFieldOf(name, event string) bool {
	return len(name) > len(event) && name[:len(event)] == event && (name[len(event)] == '#' || name[len(event)] == '!')
}

// forgottenWhole has an event that is over forgotten, with all its orders.
func (f *fixture) forgottenWhole(event string) {
	f.Helper()
	f.done()
	f.WaitUntil(f.Now() + 5)
	f.Eventually(event+" is forgotten", func() bool {
		_, _, more, err := f.ledger.ForgetEvents(f.Ctx, 0, time.Millisecond, 1000)
		f.Must(err)
		is, err := f.store.Inside().Event(f.Ctx, event)
		f.Must(err)
		return !more && is.Over != "" && layout.AsInt(f.Do("HEXISTS", f.Keys.Forgetting(0), event)) == 0
	})
}

// An event that was forgotten comes back just as it was: closed, with all its orders, by the versions that they had. Whoever asks for one gets its outcome; a
// refund is granted once, and when it has been over for long enough, it is forgotten again, as it is then.
func TestRecallEvent(t *testing.T) {
	for _, capacity := range []int64{100, 900_000} { // with the hash that it shares, and with some of its own
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			f := newFixture(t)
			f.over("e1", terms(capacity, func(t *domain.Terms) { t.MaxPerCustomer = 5 }))
			f.cancelled("e1", "unheard")
			before := f.stateOf("e1")
			fred := f.order("e1", "o1")
			f.forgottenWhole("e1")
			if f.order("e1", "o1") != (domain.Order{}) {
				t.Fatal("its orders are there")
			}
			other, _ := f.another(t) // that remembers that it is forgotten
			if other.order("e1", "o1") != (domain.Order{}) {
				t.Fatal("its orders are there")
			}
			if done := f.recall("e1"); done != (RecalledEvent{Orders: 5, Confirmed: 1, Written: 5}) {
				t.Errorf("recalled: %+v", done)
			}
			f.wantLogFolds()
			f.audited()
			after := f.stateOf("e1")
			terms, err := layout.DecodeEventTerms(after[f.Keys.Events(0)]["e1"])
			if err != nil || terms.Version != 4 || !terms.Closed {
				t.Errorf("its terms are %+v, %v", terms, err)
			}
			after[f.Keys.Events(0)]["e1"] = before[f.Keys.Events(0)]["e1"]
			for key, fields := range before {
				if !maps.Equal(fields, after[key]) {
					t.Errorf("%s has\n%q, it had\n%q", key, after[key], fields)
				}
			}
			if len(after) != len(before) {
				t.Errorf("it is in %d keys, it was in %d", len(after), len(before))
			}
			if got := other.order("e1", "o1"); got != fred {
				t.Errorf("whoever remembers that it was forgotten finds %+v", got)
			}

			if done := f.recall("e1"); !done.Before {
				t.Errorf("again: %+v", done)
			}
			entries := f.Do("XLEN", f.Keys.Log(0))
			replies, _ := f.holdBatch(f.arrive(purchase("e1", "o1", "fred", 2))...)
			if replies[0].Order != fred || f.Do("XLEN", f.Keys.Log(0)) != entries {
				t.Errorf("a retry of a confirmed order: %+v", replies[0])
			}
			f.holdBatch(f.arrive(purchase("e1", "new", "amy", 1))...)
			if got := f.order("e1", "new"); got.Reason != domain.ReasonNotOnSale {
				t.Errorf("another order is %+v", got)
			}
			refund := []string{"v", "2", "type", "refund", "event_id", "e1", "order_id", "o1", "change", "1", "amount", "500"}
			f.wantAlter("done", refund)
			f.wantAlter("done", refund)
			if got := f.order("e1", "o1"); got.RefundTotal() != 500 || got.Version == fred.Version {
				t.Errorf("refunded, it is %+v", got)
			}
			f.cancel("e1", "o1")
			f.wantLogFolds()
			f.audited()

			f.forgottenWhole("e1")
			f.wantLogFolds()
			f.audited()
			lines, err := f.inspector.Invoices(f.Ctx, "fred")
			if want := []inspect.InvoiceLine{{
				EventID: "e1", OrderID: "o1", Quantity: 2, Amount: fred.Amount(), Currency: "EUR", ConfirmedAtMillis: fred.ConfirmedAtMillis, Status: "cancelled", Archived: true,
			}}; err != nil || !slices.Equal(lines, want) {
				t.Errorf("fred's invoices: %+v, %v", lines, err)
			}
			f.recall("e1")
			f.wantLogFolds()
			f.audited()
			if got := f.order("e1", "o1"); got.State != domain.OrderCancelled || got.ConfirmedAtMillis != fred.ConfirmedAtMillis {
				t.Errorf("recalled once more, it is %+v", got)
			}
		})
	}
}

// cancelled is an order of which a cancel came first.
func (f *fixture) cancelled(event, order string) {
	f.Helper()
	in := f.arrive(request("cancel", event, order))
	f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{EntryID: in[0].EntryID, Ref: ref(event, order)}}))
}

// What is not forgotten, not forgotten whole, not archived on this branch, or otherwise in the archive, is not recalled.
func TestWhatIsNotRecalled(t *testing.T) {
	f := newFixture(t)
	refused := func(what string, class domain.Class, code domain.Code) {
		t.Helper()
		before := f.Dump()
		_, err := f.events.Recall(f.Ctx, archivedLog{f}, "e1", nil)
		if domain.ClassOf(err) != class || code != "" && domain.CodeOf(err) != code {
			t.Errorf("%s: %v", what, err)
		}
		f.WantSame(before)
	}
	refused("one that never was", domain.ClassReject, domain.CodeNotFound)
	f.over("e1", terms(100))
	if done := f.recall("e1"); !done.Before {
		t.Errorf("one that is not forgotten: %+v", done)
	}
	f.forgetEvents(1, 0)
	refused("while its orders are there", domain.ClassRetry, domain.CodeUnavailable)
	f.forgottenWhole("e1")
	mark := f.Do("GET", f.Keys.Archived(0))
	f.Do("DEL", f.Keys.Archived(0))
	refused("without a mark", domain.ClassRetry, domain.CodeUnavailable)
	f.Do("SET", f.Keys.Archived(0), mark)
	version := f.Do("HGET", f.Keys.Events(0), "e1")
	f.Do("HSET", f.Keys.Events(0), "e1", "9"+version.(string))
	refused("of another archive", domain.ClassPoison, "")
	f.Do("HSET", f.Keys.Events(0), "e1", version)
	f.recall("e1")
	f.wantLogFolds()
	f.audited()
}

// While it comes back nobody changes anything of it, nor forgets what is there; and of two who recall it, each finds the other's work done.
func TestRecallEventOvertaken(t *testing.T) {
	f := newFixture(t)
	f.over("e1", terms(100))
	f.forgottenWhole("e1")
	other, hook := f.another(t)
	hook.once("recall_event", func() {
		f.Must(f.ledger.Cancel(f.Ctx, 0, []domain.Cancellation{{Ref: ref("e1", "o1")}}))
		f.forgetEvents(0, 0)
		f.audited()
		if got := f.order("e1", "o1"); got.State != domain.OrderConfirmed {
			t.Errorf("while it comes back, an order is %+v", got)
		}
		f.recall("e1")
	})
	_, err := other.events.Recall(f.Ctx, archivedLog{f}, "e1", nil)
	f.WantClass(err, domain.ClassRetry)
	if done := f.recall("e1"); !done.Before {
		t.Errorf("recalled %+v", done)
	}
	f.wantLogFolds()
	f.audited()

	// Somebody begins to forget it once more, or the partition goes on as another branch: no order comes back.
	f.forgottenWhole("e1")
	branch := f.Do("HGET", f.Keys.Events(0), layout.BranchField)
	for what, meets := range map[string]struct{ do, undo func() }{
		"its orders still go": {
			func() { f.Do("HSET", f.Keys.Forgetting(0), "e1", layout.ForgettingNote{Hashes: 1}.String()) },
			func() { f.Do("HDEL", f.Keys.Forgetting(0), "e1") },
		},
		"on another branch": {
			func() { f.Do("HSET", f.Keys.Events(0), layout.BranchField, "another") },
			func() { f.Do("HSET", f.Keys.Events(0), layout.BranchField, branch) },
		},
	} {
		var before map[string]string
		hook.once("recall_orders", func() {
			meets.do()
			before = f.Dump()
		})
		if _, err := other.events.Recall(f.Ctx, archivedLog{f}, "e1", nil); err == nil {
			t.Errorf("%s: it was recalled", what)
		}
		f.WantSame(before)
		meets.undo()
	}
}

// Killed before or just after any of its commands, whoever recalls an event leaves a state that is right, and the next one goes on.
func TestRecallEventKilled(t *testing.T) {
	server := redistest.Start(t)
	for _, after := range []bool{false, true} {
		for n, killed := 0, true; killed; n++ {
			server.Flush()
			f := openFixture(t, server)
			f.over("e1", terms(900_000, func(t *domain.Terms) { t.MaxPerCustomer = 5 }))
			fred := f.order("e1", "o1")
			f.forgottenWhole("e1")
			killer := &streamstest.Killer{Left: 1 << 30, After: after}
			dying, err := Open(f.Ctx, server.URL(), Options{Create: true, Hook: killer})
			f.Must(err)
			killer.Left = n
			_, err = dying.Events().Recall(f.Ctx, archivedLog{f}, "e1", nil)
			f.Must(dying.Close())
			if killed = killer.Killed; killed != (err != nil) {
				t.Fatalf("killed: %t, %v", killed, err)
			}
			f.audited()
			f.recall("e1")
			f.wantLogFolds()
			f.audited()
			if got := f.order("e1", "o1"); got != fred {
				t.Errorf("killed after %d: the order is %+v", n, got)
			}
			if t.Failed() {
				t.Fatalf("killed: %t, after %d commands, having been sent: %t", killed, n, after)
			}
		}
	}
}

// What a restore has put into the hash that the event shares, of one that was half recalled, comes to where it belongs, and no fact says it twice.
func TestRecallEventRestored(t *testing.T) {
	f := newFixture(t)
	f.over("e1", terms(900_000))
	fred := f.order("e1", "o1")
	f.forgottenWhole("e1")
	other, hook := f.another(t)
	branch := f.Do("HGET", f.Keys.Events(0), layout.BranchField)
	hook.once("recall_event", func() { f.Do("HSET", f.Keys.Events(0), layout.BranchField, "another") })
	_, err := other.events.Recall(f.Ctx, archivedLog{f}, "e1", nil)
	f.WantClass(err, domain.ClassRetry)
	f.Do("HSET", f.Keys.Events(0), layout.BranchField, branch)
	f.Do("DEL", f.Keys.Forgetting(0))
	for key, fields := range f.stateOf("e1") {
		if shared := f.Keys.Orders(0, f.Keys.SharedHash("e1")); strings.HasPrefix(key, f.Keys.OrdersPrefix(0)) && key != shared {
			f.Do("DEL", key)
			for name, record := range fields {
				f.Do("HSET", shared, name, record)
			}
		}
	}
	f.audited()
	if done := f.recall("e1"); done != (RecalledEvent{Orders: 4, Confirmed: 1}) {
		t.Errorf("recalled %+v", done)
	}
	f.wantLogFolds()
	f.audited()
	if got := f.order("e1", "o1"); got != fred {
		t.Errorf("the order is %+v, it was %+v", got, fred)
	}
}

// A full memory lets nothing come back; what was back already stays, and goes on when there is room.
func TestRecallEventWhenMemoryIsFull(t *testing.T) {
	f := newFixture(t)
	f.over("e1", terms(100))
	f.forgottenWhole("e1")
	f.Do("CONFIG", "SET", "maxmemory", "1")
	defer f.Do("CONFIG", "SET", "maxmemory", "0")
	if _, err := f.events.Recall(f.Ctx, archivedLog{f}, "e1", nil); domain.ClassOf(err) != domain.ClassRetry {
		t.Errorf("recalling: %v", err)
	}
	f.Do("CONFIG", "SET", "maxmemory", "0")
	f.recall("e1")
	f.wantLogFolds()
	f.audited()
}
