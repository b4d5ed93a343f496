package archive

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
)

// restorable is what can be restored, and what of partition 0 is read.
func restorable(t *testing.T, bucket Bucket, o RestoreOptions) (s *Restorable, entries []domain.Entry, found domain.ArchivedPartition, err error) {
	t.Helper()
	s, err = NewReader(bucket, "shop").Restorable(t.Context(), o)
	if err != nil {
		return s, nil, found, err
	}
	found, err = s.Read(t.Context(), 0, func(e domain.Entry) error {
		entries = append(entries, e)
		return nil
	}, func(*domain.Snapshot) error { return nil })
	return s, entries, found, err
}

// twoBranches is a log that lost two entries in a failover, and went on; and what it was, by branch.
func twoBranches(t *testing.T) (bucket *memory, before, after *server) {
	t.Helper()
	s := &server{branch: "b0"}
	bucket = newMemory()
	a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w")
	for range 6 {
		s.add("o")
		drain(t, a, &s)
	}
	before = s.copy()
	s.entries = s.entries[:4]
	s.mark = domain.ArchiveMark{}
	s.begin("b1")
	for range 5 {
		s.add("new")
		drain(t, a, &s)
	}
	return bucket, before, s
}

func TestRestorable(t *testing.T) {
	bucket, before, after := twoBranches(t)
	s, entries, found, err := restorable(t, bucket, RestoreOptions{})
	if err != nil || !slices.EqualFunc(entries, after.entries, sameEntry) {
		t.Fatalf("read %v, %v, want %v", entries, err, after.entries)
	}
	newest := after.entries[len(after.entries)-1].ID
	if is := found.Branches; len(is) != 2 || is[0].ID != "b1" || is[0].Parent != "b0" || is[0].After != after.entries[3].ID || is[1].ID != "b0" || is[1].Parent != "" || is[1].By != "w" {
		t.Errorf("branches %+v", is)
	}
	if found.Mark != after.mark || found.Acknowledged[domain.GroupPosting] != newest || found.BeyondEntries != 0 || found.Segments != 9 {
		t.Errorf("found %+v, the mark is %+v", found, after.mark)
	}
	if ns := s.Namespace(); ns.Namespace != "shop" || ns.Partitions != 1 || ns.PaymentNames != "namespaced" {
		t.Errorf("of %+v", ns)
	}
	// The branch that was left, by its name.
	other, entries, _, err := restorable(t, bucket, RestoreOptions{Branches: []string{"b0"}})
	if err != nil || !slices.EqualFunc(entries, before.entries, sameEntry) || other.Source() == s.Source() {
		t.Errorf("of b0: %v, %v, want %v; from %s", entries, err, before.entries, other.Source())
	}
	if _, _, _, err := restorable(t, bucket, RestoreOptions{Branches: []string{"b9"}}); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("of no branch: %v", err)
	}
	if _, _, _, err := restorable(t, newMemory(), RestoreOptions{}); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("of nothing: %v", err)
	}
	for of, want := range map[Bucket]bool{bucket: true, newMemory(): false} {
		if any, err := NewReader(of, "shop").Any(t.Context()); err != nil || any != want {
			t.Errorf("anything: %t, %v, want %t", any, err, want)
		}
	}
	if any, err := NewReader(bucket, "shoe").Any(t.Context()); err != nil || any {
		t.Errorf("of another namespace: %t, %v", any, err)
	}
}

// TestRestorableUntil cuts everywhere: what is read ends there, with the positions that were known when that was archived, and what is behind it is
// counted.
func TestRestorableUntil(t *testing.T) {
	bucket, _, after := twoBranches(t)
	for i, e := range after.entries {
		until := domain.EntryMillis(e.ID)
		n := i + 1
		for n < len(after.entries) && domain.EntryMillis(after.entries[n].ID) == until {
			n++
		}
		_, entries, found, err := restorable(t, bucket, RestoreOptions{UntilMillis: until})
		if err != nil || !slices.EqualFunc(entries, after.entries[:n], sameEntry) {
			t.Fatalf("until %d: read %v, %v, want %v", until, entries, err, after.entries[:n])
		}
		left := len(after.entries) - n
		last := after.entries[n-1].ID
		if found.BeyondEntries != left || found.BeyondFacts != left || found.Mark.Position != last || found.Acknowledged[domain.GroupPosting] != last || found.Branches[0].ID != "b1" {
			t.Errorf("until %d: %+v, want %d behind %s", until, found, left, last)
		}
	}
}

// TestRestorableDamaged: a segment that is damaged or missing is named, and with it what can be restored without it; one that is behind the cut
// is nobody's business.
func TestRestorableDamaged(t *testing.T) {
	bucket, _, after := twoBranches(t)
	whole := maps.Clone(bucket.objects)
	keys := slices.Sorted(maps.Keys(whole))
	for i, key := range keys {
		if strings.HasPrefix(key, "namespace=shop/partition=0/branch=b0/") && i >= 4 {
			continue // abandoned
		}
		for what, do := range map[string]func(){
			"missing": func() { delete(bucket.objects, key) },
			"damaged": func() { bucket.objects[key] = bucket.objects[key][1:] },
		} {
			bucket.objects = maps.Clone(whole)
			do()
			_, entries, _, err := restorable(t, bucket, RestoreOptions{})
			isNewest := key == after.mark.Segment
			switch {
			case what == "missing" && isNewest: // only the log could tell
			case err == nil, what == "damaged" && !strings.Contains(err.Error(), key) && !strings.Contains(err.Error(), "no segment of branch"):
				t.Errorf("%s %s: read %v, %v", key, what, entries, err)
			case len(entries) > 1 && !strings.Contains(err.Error(), "--until "):
				t.Errorf("%s %s: it does not say what to do: %v", key, what, err)
			}
		}
	}
	bucket.objects = maps.Clone(whole)
	bucket.objects[after.mark.Segment] = []byte("x")
	_, entries, found, err := restorable(t, bucket, RestoreOptions{UntilMillis: domain.EntryMillis(after.entries[5].ID)})
	if err != nil || len(entries) < 6 || found.BeyondFault == "" && found.BeyondEntries == 0 {
		t.Errorf("behind the cut: %d entries, %+v, %v", len(entries), found, err)
	}
}

// TestRestorableOfOneNamespace: what is made with other partitions, or other names of payments, is no part of it; the newest tells the rest.
func TestRestorableOfOneNamespace(t *testing.T) {
	put := func(bucket *memory, p int, at int64, ns domain.ArchivedNamespace) {
		t.Helper()
		ns.Namespace, ns.Schema = "shop", "2"
		h := Header{ArchivedNamespace: ns, Partition: p, Branch: "b", After: "0-0", AtMillis: at}
		body, err := encode(h, []domain.Entry{{ID: "5-0", Fields: []string{"rejected", "e9/o1|p|b083c26c75bd146e|fred|stalls:1:0|unknown_event|"}}})
		if err != nil {
			t.Fatal(err)
		}
		bucket.objects[Key{Namespace: "shop", Partition: p, Branch: "b"}.String()] = body
	}
	is := domain.ArchivedNamespace{Partitions: 2, PaymentNames: "plain", Gateway: "remote"}
	for what, other := range map[string]domain.ArchivedNamespace{
		"partitions": {Partitions: 4, PaymentNames: "plain"}, "names": {Partitions: 2, PaymentNames: "namespaced"}, "fewer": {Partitions: 1, PaymentNames: "plain"},
	} {
		bucket := newMemory()
		put(bucket, 0, 1, is)
		put(bucket, 1, 2, other)
		if _, _, _, err := restorable(t, bucket, RestoreOptions{}); domain.ClassOf(err) != domain.ClassPoison {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, newest := range []int64{1, 5} {
		bucket := newMemory()
		put(bucket, 0, newest, domain.ArchivedNamespace{Partitions: 2, PaymentNames: "plain", MaxWaiting: newest})
		put(bucket, 1, 3, domain.ArchivedNamespace{Partitions: 2, PaymentNames: "plain", MaxWaiting: 3})
		s, _, _, err := restorable(t, bucket, RestoreOptions{})
		if err != nil || s.Namespace().MaxWaiting != max(newest, 3) {
			t.Errorf("of %+v, %v", s.Namespace(), err)
		}
	}
}
