package archive

import (
	"slices"
	"testing"

	"holdfast/domain"
)

// lost is what an archive has, and the log of a server has not, by branch, the newest first.
func lost(t *testing.T, bucket Bucket, s *server) (found []Lost) {
	t.Helper()
	log := &source{server: &s, around: quiet, begun: new(int)}
	if err := NewReader(bucket, "shop").Lost(t.Context(), log, 0, LostOptions{}, func(l Lost) error {
		found = append(found, l)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// A branch that only the workers knew, when a disk from before it came back, is looked at, too: whether the branch that came of that is archived
// already, or its log trimmed.
func TestLostOfABranchThatOnlyTheWorkersKnew(t *testing.T) {
	s := &server{branch: "b0"}
	bucket := newMemory()
	log := &source{server: &s, around: quiet, begun: new(int)}
	add := func(entries int) {
		for range entries {
			s.add("o")
			drain(t, NewArchiver(log, bucket, "w"), &s)
		}
	}
	add(3)
	disk := s.copy()
	add(2)
	replica := s.copy()
	add(1) // lost with the first failover
	tail := s.entries[5:]
	s = replica
	s.mark = domain.ArchiveMark{}
	s.millis += 100
	s.begin("b1")
	add(3)
	all := s.entries

	s = disk
	s.before, s.branch, s.millis = []string{"b0", "b1"}, "b2", s.millis+1000
	s.add("new")
	want := func(what string) {
		t.Helper()
		var orders [2][]domain.OrderRef
		found := lost(t, bucket, s)
		for i, l := range found {
			if i < len(orders) {
				for _, o := range l.Orders {
					orders[i] = append(orders[i], o.Ref)
				}
			}
		}
		if len(found) != 2 || found[0].Branch != "b1" || found[1].Branch != "b0" || found[0].Now != "b2" {
			t.Fatalf("%s: found %+v", what, found)
		}
		common := all[2].ID
		if !slices.Equal(orders[0], refs(t, all[3:])) || !slices.Equal(orders[1], refs(t, tail)) || found[0].Common != common || found[1].Common != common {
			t.Errorf("%s: of b1 behind %s %v, of b0 behind %s %v; want behind %s %v and %v", what, found[0].Common, orders[0], found[1].Common, orders[1], common, refs(t, all[3:]), refs(t, tail))
		}
	}
	want("nothing is archived of what came back")
	add(2)
	want("archived")
	s.trim(s.mark.Position)
	want("trimmed")
}

// refs are the orders that entries are about.
func refs(t *testing.T, entries []domain.Entry) (of []domain.OrderRef) {
	t.Helper()
	if err := factsOf(entries, func(f domain.Fact) { of = append(of, f.Ref()) }); err != nil {
		t.Fatal(err)
	}
	return of
}

// An archive that has nothing of what Redis says is archived, or was trimmed, is another one: it cannot tell that nothing is missing.
func TestLostInAnotherArchive(t *testing.T) {
	s := &server{branch: "b0"}
	log := &source{server: &s, around: quiet, begun: new(int)}
	ask := func(bucket Bucket) error {
		return NewReader(bucket, "shop").Lost(t.Context(), log, 0, LostOptions{}, func(Lost) error { return nil })
	}
	if err := ask(newMemory()); err != nil {
		t.Errorf("nothing was ever archived: %v", err)
	}
	bucket := newMemory()
	for range 3 {
		s.add("o")
		drain(t, NewArchiver(log, bucket, "w"), &s)
	}
	if err := ask(bucket); err != nil {
		t.Errorf("nothing is lost: %v", err)
	}
	if err := ask(newMemory()); domain.ClassOf(err) != domain.ClassPoison {
		t.Errorf("of another archive: %v", err)
	}
	s.trim(s.mark.Position)
	s.mark = domain.ArchiveMark{}
	if err := ask(newMemory()); domain.CodeOf(err) != domain.CodeLogTrimmed {
		t.Errorf("of another archive, trimmed: %v", err)
	}
}
