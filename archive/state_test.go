package archive

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
)

// life adds a sale in which orders of long ago change, in rounds: what a snapshot has is touched, or is not, by what comes behind it.
func life(s *server, round int) {
	sell(s)
	if round == 0 {
		s.fact("listed", `e2|{"name":"Opera","currency":"EUR","max_per_customer":4,"sections":[{"section":"stalls","capacity":10,"price":900}]}`)
	}
	hold := func(order string, millis int) {
		s.fact("held", fmt.Sprintf("e2/%s|p|b083c26c75bd146e|zoe|stalls:1:900|EUR|%d", order, millis))
	}
	if round == 1 {
		hold("old", 120_000)
		s.fact("confirmed", "e2/old|zoe|stalls:1:900|EUR|auth")
		hold("held", 1)
		s.fact("rejected", "e8/early|p|b083c26c75bd146e|fred|stalls:2:0|unknown_event|")
	}
	if round == 3 { // the facts do not name the customer everywhere
		confirmed := slices.IndexFunc(s.entries, func(e domain.Entry) bool { return strings.HasPrefix(e.Fields[1], "e2/old|zoe|") })
		s.fact("expired", "e2/held")
		s.fact("cancelled", fmt.Sprintf("e2/old|requested|confirmed|zoe|stalls:1:900|EUR|%d", domain.EntryMillis(s.entries[confirmed].ID)))
		s.fact("listed", `e8|{"name":"Late","currency":"EUR","sections":[{"section":"stalls","capacity":10,"price":900}]}`)
	}
	if round == 4 {
		hold("new", 120_000)
		s.fact("confirmed", "e2/new|zoe|stalls:1:900|EUR|auth")
	}
	if round == 6 {
		s.fact("closed", "e2|{}")
		s.fact("event_forgotten", "e2")
	}
}

const rounds = 9

// TestSnapshotsOnSnapshots: each is made of the one before it, of which most is never in memory, and is what the log folds to.
func TestSnapshotsOnSnapshots(t *testing.T) {
	for _, atOnce := range []int64{1, SegmentBytes} {
		s := &server{branch: "b0"}
		bucket := newMemory()
		a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w")
		for round := range rounds {
			life(s, round)
			drain(t, a, &s)
			if round%2 == 1 && atOnce == 1 {
				continue // two segments, and a snapshot at the end of each
			}
			before, err := NewReader(bucket, "shop").snapshots(t.Context(), 0, "b0")
			if err != nil {
				t.Fatal(err)
			}
			var is Taken
			if err := NewReader(bucket, "shop").TakeSnapshots(t.Context(), Options{AtOnce: atOnce}, func(one Taken) error { is = one; return nil }); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			after, err := NewReader(bucket, "shop").snapshots(t.Context(), 0, "b0")
			if want := min(1, round)*int(2-min(atOnce, 2)) + 1; err != nil || len(after)-len(before) != want || !is.New {
				t.Errorf("round %d: %d snapshots were taken, want %d; %v", round, len(after)-len(before), want, err)
			}
			from, book, err := past(t, bucket, s, whole)
			if err != nil || from.Snapshot != is.Snapshot || is.Last != s.mark.Position {
				t.Fatalf("round %d: it begins with %q, taken %+v: %v", round, from.Snapshot, is, err)
			}
			want := folded(t, s, is.Last)
			wantSameBook(t, book, want)
			if is.Orders != len(want.Orders) || is.Events != len(want.Events) || is.Facts != from.Facts {
				t.Errorf("round %d: %+v, of %d orders", round, is, len(want.Orders))
			}
		}
		if report, err := NewReader(bucket, "shop").Verify(t.Context(), nil); err != nil || !report.OK {
			t.Errorf("verified: %+v, %v", report, err)
		}
	}
}

// TestPiecesInAnyOrder: whose the order is that a fact is about may be told by a piece behind that with what the customer has.
func TestPiecesInAnyOrder(t *testing.T) {
	s := &server{branch: "b0"}
	bucket := newMemory()
	a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w")
	for round := range 3 {
		life(s, round)
	}
	drain(t, a, &s)
	is := taken(t, bucket)
	key, _, _ := parseSnapshotKey(is.Snapshot)
	book := folded(t, s, is.Last)
	customers, orders := domain.NewSnapshot(), domain.NewSnapshot()
	customers.InProgress, customers.Places = book.InProgress, book.Places
	orders.Events, orders.Orders, orders.Refused, orders.Early, orders.Lines = book.Events, book.Orders, book.Refused, book.Early, book.Lines
	bucket.objects[is.Snapshot] = rewrite(t, bucket.objects[is.Snapshot], func(h *head) {
		h.Pieces = nil
		for _, part := range []*domain.Snapshot{customers, orders} {
			body, err := encodePart(part)
			if err != nil {
				t.Fatal(err)
			}
			h.Pieces = append(h.Pieces, hashOf(body))
			bucket.objects[key.piece(hashOf(body))] = body
		}
	})
	s.fact("expired", "e2/held") // does not name zoe, who has less then
	drain(t, a, &s)
	if next := taken(t, bucket); len(next.Passed) > 0 || next.Folded == next.Facts {
		t.Errorf("the snapshot before it was not used: %+v", next)
	}
	_, got, err := past(t, bucket, s, whole)
	if err != nil {
		t.Fatal(err)
	}
	wantSameBook(t, got, folded(t, s, s.mark.Position))
}

// TestPiecesAreNotMoreAndMore: what is left of the pieces of the snapshot before is put together.
func TestPiecesAreNotMoreAndMore(t *testing.T) {
	bucket, s, a := sold(t, 1)
	for range 5 {
		taken(t, bucket)
		sell(*s)
		drain(t, a, s)
	}
	is := taken(t, bucket)
	rewrite(t, bucket.objects[is.Snapshot], func(h *head) {
		if len(h.Pieces) != 1 {
			t.Errorf("it has %d pieces", len(h.Pieces))
		}
	})
}

// TestArchiverTakesSnapshots: when the newest is old, of what was compared with the log, and of nothing else.
func TestArchiverTakesSnapshots(t *testing.T) {
	bucket, s, a := sold(t, 2)
	take := func(what string, want bool, wantLag domain.SnapshotLag) {
		t.Helper()
		had := len(bucket.objects)
		is, lag, err := a.Snapshot(t.Context(), 0, time.Hour)
		if err != nil || is != want || lag != wantLag || want != (len(bucket.objects) > had) {
			t.Errorf("%s: taken %t, behind %+v, %v; %d objects were written", what, is, lag, err, len(bucket.objects)-had)
		}
	}
	take("there is none", true, domain.SnapshotLag{})
	take("nothing is new", false, domain.SnapshotLag{})
	taken := (*s).mark
	age := domain.SnapshotLag{Millis: (30 * time.Minute).Milliseconds() - domain.EntryMillis(taken.Position) + 1_700_000_000_000}
	(*s).later = 30 * time.Minute
	take("nothing is new, and it is older", false, domain.SnapshotLag{})
	sell(*s)
	take("what is new is not archived", false, domain.SnapshotLag{})
	drain(t, a, s)
	take("it is not old", false, age)
	(*s).later = 61 * time.Minute
	take("it is", true, domain.SnapshotLag{})

	// Somebody else has archived more than the mark says: it was not compared.
	sell(*s)
	drain(t, a, s)
	before := (*s).copy()
	sell(*s)
	drain(t, a, s)
	(*s).mark, (*s).later = before.mark, 200*time.Minute
	take("up to the mark", true, domain.SnapshotLag{})
	if branches, err := NewReader(bucket, "shop").Branches(t.Context()); err != nil || len(branches) != 1 || branches[0].Snapshot != before.mark.Position {
		t.Errorf("it was taken at %+v, %v, want %s", branches, err, before.mark.Position)
	}
	take("behind the mark", false, domain.SnapshotLag{})
	drain(t, a, s)
	marked := (*s).mark
	(*s).mark.Hash = strings.Repeat("0", 64)
	if is, _, err := a.Snapshot(t.Context(), 0, time.Hour); is || domain.ClassOf(err) != domain.ClassPoison || !strings.Contains(err.Error(), marked.Segment) {
		t.Errorf("of another segment: %t, %v", is, err)
	}
	(*s).mark = marked
	bucket.lately = []string{marked.Segment}
	bucket.around = func(call string) error {
		if call == "list" {
			return errTruncated
		}
		return nil
	}
	if is, lag, err := a.Snapshot(t.Context(), 0, time.Hour); is || err == nil || domain.ClassOf(err) == domain.ClassPoison || lag.Millis == 0 {
		t.Errorf("of a segment that is not listed yet: %t, %+v, %v", is, lag, err)
	}
	bucket.around = quiet
	take("it is listed", true, domain.SnapshotLag{})

	(*s).begin("b9")
	take("nothing is archived of the branch", false, domain.SnapshotLag{})
	(*s).add("r")
	drain(t, a, s)
	take("of another branch", true, domain.SnapshotLag{})
	report, err := NewReader(bucket, "shop").Verify(t.Context(), nil)
	if err != nil || !report.OK || report.Snapshots != 5 {
		t.Errorf("verified: %+v, %v", report, err)
	}
	_, book, err := past(t, bucket, *s, whole)
	if err != nil {
		t.Fatal(err)
	}
	wantSameBook(t, book, folded(t, *s, (*s).mark.Position))
}

// TestRestorableFromSnapshots: wherever it is cut, whatever is settled, and whichever snapshots there are, the log that is told is what somebody has left to do,
// and the entry before; and the state is what all of it folds to.
func TestRestorableFromSnapshots(t *testing.T) {
	s := &server{branch: "b0"}
	bucket := newMemory()
	a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w")
	settled := make(map[string]string) // by the entry up to which it was archived
	for round := range rounds {
		life(s, round)
		n := len(s.entries)
		s.settled = s.entries[max(n-5*(round%3)-1, 0)].ID
		drain(t, a, &s)
		settled[s.entries[n-1].ID] = s.settled
		if round == 2 || round == 5 || round == 6 {
			taken(t, bucket)
		}
	}
	begun := make(map[string]int)
	for i, e := range s.entries {
		until := domain.EntryMillis(e.ID)
		n := i + 1
		for n < len(s.entries) && domain.EntryMillis(s.entries[n].ID) == until {
			n++
		}
		acknowledged := ""
		for _, later := range s.entries[n-1:] {
			if acknowledged = settled[later.ID]; acknowledged != "" {
				break
			}
		}
		for _, full := range []bool{false, true} {
			var log []domain.Entry
			var state tally
			reader, err := NewReader(bucket, "shop").Restorable(t.Context(), RestoreOptions{UntilMillis: until, Full: full})
			if err != nil {
				t.Fatal(err)
			}
			listed := make(map[string]bool)
			found, err := reader.Read(t.Context(), 0, func(e domain.Entry) error {
				log = append(log, e)
				return nil
			}, func(part *domain.Snapshot) error {
				for id := range part.Events {
					listed[id] = true
				}
				for ref := range part.Orders {
					if !listed[ref.EventID] && !part.Early[ref] {
						t.Errorf("until %s: order %s comes before its event", e.ID, ref)
					}
				}
				state.add(part)
				return nil
			})
			if err != nil {
				t.Fatalf("until %s: %v", e.ID, err)
			}
			begun[found.Snapshot]++
			from := 0
			if found.Snapshot != "" { // the newest that nobody needs
				from = slices.IndexFunc(s.entries[:n], func(e domain.Entry) bool { return isBefore(acknowledged, e.ID) }) - 1
				if from == -2 {
					from = n - 1
				}
				from = max(from, 0)
				key, _, _ := parseSnapshotKey(found.Snapshot)
				if at := key.At.String(); isBefore(s.entries[n-1].ID, at) {
					t.Errorf("until %s: it begins with %s", e.ID, found.Snapshot)
				}
			}
			if full && found.Snapshot != "" || found.Trimmed != (from > 0) {
				t.Errorf("until %s: %+v, the log begins with %d", e.ID, found, from)
			}
			if !slices.EqualFunc(log, s.entries[from:n], sameEntry) {
				t.Errorf("until %s (full: %t): the log is %v, want %v", e.ID, full, log, s.entries[from:n])
			}
			var want tally
			want.add(folded(t, s, s.entries[n-1].ID))
			if state != want || found.Mark.Position != s.entries[n-1].ID || found.Mark.Hash == "" || found.BeyondEntries != len(s.entries)-n {
				t.Errorf("until %s (full: %t): %+v, a state of %d values, want %d", e.ID, full, found, state.values, want.values)
			}
		}
	}
	if len(begun) != 4 {
		t.Errorf("it began with %v: that was no test", begun)
	}
}

// TestRestorableDespiteDamage: with a snapshot, what is damaged before it is nobody's business; what is behind it is named.
func TestRestorableDespiteDamage(t *testing.T) {
	bucket, s, a := sold(t, 3)
	taken(t, bucket)
	sell(*s)
	drain(t, a, s)
	keys := segmentKeys(bucket)
	for i, key := range keys {
		if i == 0 || key == keys[len(keys)-2] {
			continue // where the branch begins, and where the snapshot was taken
		}
		is := bucket.objects[key]
		bucket.objects[key] = []byte("x")
		_, _, found, err := restorable(t, bucket, RestoreOptions{})
		if before := i < len(keys)-2; before != (err == nil) || before && found.Snapshot == "" || !before && !strings.Contains(err.Error(), key) {
			t.Errorf("with segment %d of %d damaged: %+v, %v", i, len(keys), found, err)
		}
		bucket.objects[key] = is
	}
}

func segmentKeys(bucket *memory) (keys []string) {
	for key := range bucket.objects {
		if strings.HasSuffix(key, suffix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
