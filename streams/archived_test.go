package streams

import (
	"errors"
	"slices"
	"testing"

	"holdfast/domain"
)

// archiveState is how far the log is archived.
func (f *fixture) archiveState() domain.ArchiveState {
	f.Helper()
	state, err := f.store.Ledger().ArchiveState(f.Ctx, 0)
	f.Must(err)
	return state
}

func (f *fixture) logAfter(after string, bytes int) []domain.Entry {
	f.Helper()
	entries, err := f.store.Ledger().LogAfter(f.Ctx, 0, f.branch(), after, bytes)
	f.Must(err)
	return entries
}

func TestLogAfter(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(1000))
	var want []string
	for i := range 3 * archivePage {
		want = append(want, f.Do("XADD", f.Keys.Log(0), "*", "expired", "e1/o"+string(rune('a'+i%26))).(string))
	}
	all := f.logAfter("0-0", 1<<30)
	if len(all) != 1+len(want) || all[len(all)-1].ID != want[len(want)-1] {
		t.Fatalf("it has %d entries", len(all))
	}
	for i, id := range want {
		if all[i+1].ID != id {
			t.Fatalf("entry %d is %s, want %s", i+1, all[i+1].ID, id)
		}
	}
	if rest := f.logAfter(want[150], 1<<30); !slices.EqualFunc(rest, all[152:], func(a, b domain.Entry) bool { return a.ID == b.ID }) {
		t.Errorf("behind entry 151 come %d", len(rest))
	}
	if some := f.logAfter("0-0", 5_000); len(some) < archivePage || len(some) >= len(all) {
		t.Errorf("5 kB of it are %d entries", len(some))
	}
	if none := f.logAfter(want[len(want)-1], 1<<30); len(none) != 0 {
		t.Errorf("behind the last come %d", len(none))
	}
	ledger := f.store.Ledger()
	if _, err := ledger.LogAfter(f.Ctx, 0, "another", "0-0", 1); !errors.Is(err, domain.ErrDataReplaced) {
		t.Errorf("of another branch: %v", err)
	}
	f.Do("XDEL", f.Keys.Log(0), want[3])
	if _, err := ledger.LogAfter(f.Ctx, 0, f.branch(), want[3], 1); !errors.Is(err, domain.ErrDataReplaced) {
		t.Errorf("behind what is gone: %v", err)
	}
	last := all[len(all)-1]
	if in, err := ledger.InLog(f.Ctx, 0, last); err != nil || !in {
		t.Errorf("the last entry is in the log: %t, %v", in, err)
	}
	last.Fields = []string{"expired", "e1/other"}
	if in, err := ledger.InLog(f.Ctx, 0, last); err != nil || in {
		t.Errorf("another one of its id is in the log: %t, %v", in, err)
	}
}

func TestAdvanceComparesAndSets(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.close("e1")
	entries := f.logAfter("0-0", 1<<20)
	ledger, branch := f.store.Ledger(), f.branch()
	mark := func(e domain.Entry, segment string) domain.ArchiveMark {
		return domain.ArchiveMark{Branch: branch, Position: e.ID, Segment: segment, Hash: "ab"}
	}
	first, second := mark(entries[0], "one"), mark(entries[1], "two")
	advance := func(want bool, from, to domain.ArchiveMark, last domain.Entry) {
		t.Helper()
		before := f.archiveState().Mark
		moved, err := ledger.Advance(f.Ctx, 0, from, to, last)
		f.Must(err)
		if moved != want {
			t.Errorf("moved: %t, want %t", moved, want)
		}
		if want {
			before = to
		}
		if is := f.archiveState().Mark; is != before {
			t.Errorf("the mark is %+v, want %+v", is, before)
		}
	}
	other := entries[0]
	other.Fields = []string{"listed", "e1|{}"}
	advance(false, domain.ArchiveMark{}, first, other) // another entry of that id
	advance(false, domain.ArchiveMark{}, domain.ArchiveMark{Branch: branch, Position: "1-0", Segment: "x", Hash: "ab"}, domain.Entry{ID: "1-0", Fields: entries[0].Fields})
	advance(false, second, first, entries[0]) // not where it was read
	advance(true, domain.ArchiveMark{}, first, entries[0])
	advance(false, domain.ArchiveMark{}, second, entries[1])
	f.Do("CONFIG", "SET", "maxmemory", "1")
	advance(true, first, second, entries[1])
	f.Do("CONFIG", "SET", "maxmemory", "0")

	// The branch is another one by now.
	f.Must(ledger.ContinueElsewhere(f.Ctx, 0, branch, entries[0].ID, "w"))
	f.Must(ledger.ContinueElsewhere(f.Ctx, 0, branch, entries[0].ID, "too late"))
	is := f.branch()
	if is == branch {
		t.Fatal("no branch was begun")
	}
	advance(false, second, first, entries[0])
	state := f.archiveState()
	if state.Branch != is || !slices.Equal(state.Before, []string{branch}) || state.Mark != second {
		t.Errorf("it is %+v", state)
	}
	to := first
	to.Branch = is
	advance(true, second, to, entries[0])
}

func TestAcknowledged(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.close("e1")
	entries := f.logAfter("0-0", 1<<20)
	acknowledged := func() map[domain.Group]string {
		t.Helper()
		is, err := f.store.Ledger().Acknowledged(f.Ctx, 0)
		f.Must(err)
		return is
	}
	if is := acknowledged(); is[domain.GroupPosting] != "0-0" || is[domain.GroupSettlement] != "0-0" {
		t.Errorf("at the start: %v", is)
	}
	f.Deliver(domain.GroupPosting, "w")
	f.Do("XACK", f.Keys.Log(0), string(domain.GroupPosting), entries[1].ID)
	if is := acknowledged()[domain.GroupPosting]; is >= entries[0].ID || is < entries[0].ID[:9] {
		t.Errorf("the first is pending, and %s is done", is)
	}
	f.Do("XACK", f.Keys.Log(0), string(domain.GroupPosting), entries[0].ID)
	if is := acknowledged()[domain.GroupPosting]; is != entries[1].ID {
		t.Errorf("all is done, it says up to %s", is)
	}
}
