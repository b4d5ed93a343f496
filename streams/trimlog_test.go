package streams

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/layout"
)

// keepNone: what may go goes.
var keepNone = domain.KeepLog{Bytes: 1 << 40}

// trimmable is a namespace whose log has 1 + 3 × 8 entries, each in a node of its own, posted, settled, and archived up to the 20th.
func trimmable(t *testing.T) (f *fixture, log []domain.Entry) {
	t.Helper()
	f = newFixture(t)
	f.Do("CONFIG", "SET", "stream-node-max-entries", "1")
	t.Cleanup(func() { f.Do("CONFIG", "SET", "stream-node-max-entries", "100") })
	f.list("e1", terms(1000))
	for i := range 8 {
		f.confirmed("e1", "o"+strconv.Itoa(i), "c"+strconv.Itoa(i), 1)
	}
	f.held("e1", "open", "fred", 1, holdMillis)
	log = f.logAfter("0-0", 1<<30)
	for _, group := range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {
		f.Deliver(group, "w")
		for _, e := range log {
			f.Do("XACK", f.Keys.Log(0), string(group), e.ID)
		}
	}
	f.archivedTo(log[len(log)-2])
	return f, log
}

// archivedTo moves the mark of the archive.
func (f *fixture) archivedTo(e domain.Entry) {
	f.Helper()
	mark := domain.ArchiveMark{Branch: f.branch(), Position: e.ID, Segment: "s", Hash: "ab"}
	if moved, err := f.store.Ledger().Advance(f.Ctx, 0, f.archiveState().Mark, mark, e); err != nil || !moved {
		f.Fatalf("moving the mark to %s: %t, %v", e.ID, moved, err)
	}
}

// wantTrim trims the log, and wants it to begin with an entry then.
func (f *fixture) wantTrim(what, before string, keep domain.KeepLog, begins string) {
	f.Helper()
	had := f.Do("XLEN", f.Keys.Log(0)).(int64)
	gone, err := f.store.Ledger().TrimLog(f.Ctx, 0, f.branch(), before, keep)
	f.Must(err)
	if left := f.Do("XLEN", f.Keys.Log(0)).(int64); had-left != gone {
		f.Errorf("%s: %d entries went, it says %d", what, had-left, gone)
	}
	if is := layout.DecodeEntries(f.Do("XRANGE", f.Keys.Log(0), "-", "+", "COUNT", 1))[0].ID; is != begins {
		f.Errorf("%s: it begins with %s, want %s", what, is, begins)
	}
	if is := f.archiveState().Trimmed; gone > 0 && is != begins {
		f.Errorf("%s: the trim mark is %s, want %s", what, is, begins)
	}
}

func TestTrimLog(t *testing.T) {
	f, log := trimmable(t)
	f.wantTrim("nothing is old", log[5].ID, domain.KeepLog{For: time.Hour, Bytes: 1 << 40}, log[0].ID)
	f.wantTrim("up to a snapshot", log[3].ID, keepNone, log[3].ID)
	f.wantTrim("again", log[3].ID, keepNone, log[3].ID)
	f.wantTrim("there is little room", log[5].ID, domain.KeepLog{For: time.Hour, Bytes: 1}, log[5].ID)
	f.Do("CONFIG", "SET", "maxmemory", "1")
	f.wantTrim("memory is full", log[7].ID, keepNone, log[7].ID)
	f.Do("CONFIG", "SET", "maxmemory", "0")
	f.wantTrim("as far as it is archived", log[len(log)-2].ID, keepNone, log[len(log)-2].ID)
	f.Must(f.ledger.Verify(f.Ctx))
	if entries := f.logAfter(log[len(log)-2].ID, 1<<20); len(entries) != 1 || entries[0].ID != log[len(log)-1].ID {
		t.Errorf("behind what is archived come %v", entries)
	}
}

// TestTrimLogIsHeldBack: what somebody may still need stays, and all if the log is not the one that is archived.
func TestTrimLogIsHeldBack(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(f *fixture, log []domain.Entry)
		left int // the entry with which it begins then
	}{
		"not archived so far": {func(f *fixture, log []domain.Entry) {
			f.Do("SET", f.Keys.Archived(0), layout.EncodeArchived(domain.ArchiveMark{Branch: f.branch(), Position: log[2].ID, Segment: "s", Hash: "ab"}))
		}, 0},
		"archived of another branch": {func(f *fixture, log []domain.Entry) {
			f.Must(f.store.Ledger().ContinueElsewhere(f.Ctx, 0, f.branch(), log[9].ID, "w"))
		}, 0},
		"nothing is archived":           {func(f *fixture, _ []domain.Entry) { f.Do("DEL", f.Keys.Archived(0)) }, 0},
		"the log lost what is archived": {func(f *fixture, log []domain.Entry) { f.Do("XDEL", f.Keys.Log(0), log[len(log)-2].ID) }, 0},
		"an entry is pending":           {func(f *fixture, log []domain.Entry) { f.pend(log[4].ID) }, 4},
		"a position was set back":       {func(f *fixture, log []domain.Entry) { f.Do("XGROUP", "SETID", f.Keys.Log(0), "posting", log[3].ID) }, 3},
		"money waits": {func(f *fixture, log []domain.Entry) {
			f.Do("HSET", f.Keys.OwedNotes(0), "e1/o1", "1|0|"+log[6].ID+"|slow")
		}, 6},
		"a dead letter can be given back": {func(f *fixture, log []domain.Entry) {
			f.Do("XADD", f.Keys.Dead(0), "*", "stream", "log", "group", "posting", "entry_id", log[7].ID, "reason", "no", "deliveries", "1", "at", "1", "fields", "")
		}, 7},
		"a dead letter that needs no entry": {func(f *fixture, log []domain.Entry) {
			f.Do("XADD", f.Keys.Dead(0), "*", "stream", "requests", "group", "workers", "entry_id", log[7].ID, "reason", "no", "deliveries", "1", "at", "1", "fields", "")
		}, 10},
		"a dead letter that cannot be read": {func(f *fixture, log []domain.Entry) {
			f.Do("XADD", f.Keys.Dead(0), "*", "stream", "log", "group", "posting", "entry_id", log[7].ID, "reason", "no", "deliveries", "1", "at", "1", "fields", "damaged")
		}, 7},
		"a dead letter of no entry that can be read": {func(f *fixture, log []domain.Entry) {
			f.Do("XADD", f.Keys.Dead(0), "*", "stream", "log", "group", "posting", "entry_id", "?", "reason", "no", "deliveries", "x", "at", "1", "fields", "")
		}, 10},
		"another group": {func(f *fixture, _ []domain.Entry) { f.Do("XGROUP", "CREATE", f.Keys.Log(0), "mine", "0") }, 10},
	} {
		t.Run(name, func(t *testing.T) {
			f, log := trimmable(t)
			tc.do(f, log)
			f.wantTrim(name, log[10].ID, keepNone, log[tc.left].ID)
		})
	}
	f, log := trimmable(t)
	if gone, err := f.store.Ledger().TrimLog(f.Ctx, 0, "another", log[5].ID, keepNone); err != nil || gone > 0 {
		t.Errorf("by whoever is on another branch: %d, %v", gone, err)
	}
}

// TestTrimLogOvertaken: what has become needed since it was looked, the step that trims does not drop.
func TestTrimLogOvertaken(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(f *fixture, log []domain.Entry)
		left int // the entry with which it begins then
	}{
		"an entry is in somebody's hand": {func(f *fixture, log []domain.Entry) { f.pend(log[4].ID) }, 4},
		"a position was set back":        {func(f *fixture, log []domain.Entry) { f.Do("XGROUP", "SETID", f.Keys.Log(0), "posting", log[3].ID) }, 3},
		"a group is gone":                {func(f *fixture, _ []domain.Entry) { f.Do("XGROUP", "DESTROY", f.Keys.Log(0), "posting") }, 0},
		"it has another branch":          {func(f *fixture, _ []domain.Entry) { f.Do("HSET", f.Keys.Events(0), layout.BranchField, "another") }, 0},
		"the log lost what is archived":  {func(f *fixture, log []domain.Entry) { f.Do("XDEL", f.Keys.Log(0), log[len(log)-2].ID) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f, log := trimmable(t)
			other, hook := f.another(t)
			hook.once("trim_log", func() { tc.do(f, log) })
			gone, err := other.store.Ledger().TrimLog(f.Ctx, 0, f.branch(), log[10].ID, keepNone)
			if is := layout.DecodeEntries(f.Do("XRANGE", f.Keys.Log(0), "-", "+", "COUNT", 1))[0].ID; err != nil || gone != int64(tc.left) || is != log[tc.left].ID {
				t.Errorf("%d entries went, %v, it begins with %s, want %s", gone, err, is, log[tc.left].ID)
			}
		})
	}
}

// pend makes an entry pending again, as whoever redrives does.
func (f *fixture) pend(id string) {
	f.Do("XCLAIM", f.Keys.Log(0), "settlement", "redrive", 0, id, "FORCE", "JUSTID")
}

// TestTrimLogFaults: whichever of its commands fails, is done and not answered, or is the last one before whoever trims the log dies: what is left is the end of the log,
// with its mark, and all that somebody may still need; and whoever goes on comes to the same end.
func TestTrimLogFaults(t *testing.T) {
	for _, fault := range faultKinds {
		steps := 0
		for n, killed := 0, true; killed; n++ {
			f, log := trimmable(t)
			f.pend(log[8].ID)
			f.Do("HSET", f.Keys.OwedNotes(0), "e1/o1", "1|0|"+log[9].ID+"|slow")
			killer, other := f.failing(fault, n)
			trim := func(by *Store) (int64, error) { return by.Ledger().TrimLog(f.Ctx, 0, f.branch(), log[10].ID, keepNone) }
			_, err := trim(other)
			if killed = killer.Killed; killed != (err != nil) {
				t.Fatalf("killed: %t, %v", killed, err)
			}
			killer.Left = 1 << 30 // or it is not hit at all
			left := f.logAfter("0-0", 1<<30)
			gone := len(log) - len(left)
			if gone > 8 || !slices.EqualFunc(left, log[gone:], sameEntry) {
				t.Errorf("%d entries are left, which are not the end of the log", len(left))
			}
			if is := f.archiveState().Trimmed; gone > 0 && is != left[0].ID || gone == 0 && is != "" {
				t.Errorf("the log begins with %s, %d are gone, and the trim mark is %q", left[0].ID, gone, is)
			}
			f.Must(f.ledger.Verify(f.Ctx))
			next := f.store
			if fault.Lives {
				next = other
			}
			if more, err := trim(next); err != nil || int(more)+gone != 8 {
				t.Errorf("%d entries were gone, and whoever goes on drops %d, %v, want 8 in all", gone, more, err)
			}
			f.Do("XACK", f.Keys.Log(0), "settlement", log[8].ID)
			f.Do("DEL", f.Keys.OwedNotes(0))
			f.wantTrim("when nobody needs it any more", log[10].ID, keepNone, log[10].ID)
			f.Must(other.Close())
			if steps = n; t.Failed() {
				t.Fatalf("at command %d, having been sent: %t, and lives: %t", n, fault.After, fault.Lives)
			}
		}
		if want := 6; steps < want {
			t.Errorf("a fault at %d commands, want at least %d", steps, want)
		}
	}
}

// TestTrimmedLogIsAnswered: whoever asks for what was trimmed is told so, and what needs no log goes on.
func TestTrimmedLogIsAnswered(t *testing.T) {
	f, log := trimmable(t)
	behind, err := Open(f.Ctx, f.store.endpoint.url.String(), Options{Create: true})
	f.Must(err)
	defer func() { f.Must(behind.Close()) }()
	f.Must(behind.Ledger().Verify(f.Ctx))
	series := f.inspector.Series()
	f.wantTrim("all that may", log[len(log)-2].ID, keepNone, log[len(log)-2].ID)
	begins := domain.EntryMillis(log[len(log)-2].ID)

	// Nobody takes it for other data who has seen what is gone.
	behind.history.at[0].seen = trail{sight(log[2])}
	f.Must(behind.Ledger().Verify(f.Ctx))
	lost := log[len(log)-1]
	lost.Fields = []string{"expired", "e1/other"}
	behind.history.at[0].seen = trail{sight(lost)}
	f.wantReplaced(behind.Ledger().Verify(f.Ctx))
	behind.history.at[0].seen = trail{sight(log[2]), sight(lost)}
	if common, err := behind.common(f.Ctx, 0, behind.history.at[0].seen); err != nil || len(common) > 0 {
		t.Errorf("what both have in common is not known, it says %v, %v", common, err)
	}

	wantTrimmed := func(what string, err error) {
		t.Helper()
		if domain.CodeOf(err) != domain.CodeLogTrimmed || domain.ClassOf(err) != domain.ClassReject {
			t.Errorf("%s: %v", what, err)
		}
	}
	history, err := f.inspector.History(f.Ctx, ref("e1", "o1"), f.order("e1", "o1"))
	wantTrimmed("a history", err)
	if len(history) > 0 {
		t.Errorf("a history that is gone: %v", history)
	}
	told := 0
	each := func(domain.OrderRef, domain.Order) error { told++; return nil }
	wantTrimmed("all orders", f.inspector.EachOrder(f.Ctx, inspect.OrderFilter{}, each))
	if told != 1 {
		t.Errorf("%d orders were told, want the one that the log still has", told)
	}
	f.Must(f.inspector.EachOrder(f.Ctx, inspect.OrderFilter{SinceMillis: begins + 1}, each))
	_, err = f.inspector.FindOrder(f.Ctx, "nobody")
	wantTrimmed("an order of an event that nobody knows", err)
	if found, err := f.inspector.FindOrder(f.Ctx, "o1"); err != nil || len(found) != 1 {
		t.Errorf("an order of a listed event: %v, %v", found, err)
	}
	if _, since, err := series.Of(f.Ctx, "e1", 0, 1<<60); err != nil || since <= begins || since%60_000 != 0 {
		t.Errorf("a series is whole since %d, %v; the log begins at %d", since, err, begins)
	}

	// An event's orders are all cancelled.
	got, err := f.events.Cancel(f.Ctx, "e1", fire, nil)
	if want := (CancelledEvent{Held: 1, Confirmed: 8}); err != nil || got != want {
		t.Errorf("cancelled %+v, %v, want %+v", got, err, want)
	}
}
