package archive

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
)

// snapped is an archive with so many snapshots, the oldest first.
func snapped(t testing.TB, many int) (bucket *memory, s **server, all []snapshotKey) {
	t.Helper()
	is := &server{branch: "b0"}
	bucket = newMemory()
	bucket.clock = afterwards
	a := NewArchiver(&source{server: &is, around: quiet, begun: new(int)}, bucket, "w")
	for range many {
		sell(is)
		drain(t, a, &is)
		key, _, _ := parseSnapshotKey(taken(t, bucket).Snapshot)
		all = append(all, key)
	}
	return bucket, &is, all
}

// snapshotsIn are the snapshots that there are, the oldest first; pieces by what they are of; and those that say that one is going to be removed.
func snapshotsIn(bucket *memory) (heads []snapshotKey, pieces map[snapshotKey]int, going []snapshotKey) {
	pieces = make(map[snapshotKey]int)
	for _, name := range slices.Sorted(maps.Keys(bucket.objects)) {
		switch key, isPiece, ok := parseSnapshotKey(name); {
		case ok && !isPiece:
			heads = append(heads, key)
		case ok && name == key.piece(removed):
			going = append(going, key)
		case ok:
			pieces[key]++
		}
	}
	return heads, pieces, going
}

// Of snapshots the newest stay. The others are not begun with any more, at once, and go with all that is of them a day later.
func TestSnapshotsThatNobodyNeeds(t *testing.T) {
	bucket, s, all := snapped(t, 5)
	o := CompactOptions{KeepReplaced: day, KeepSnapshots: 3}
	if is := compact(t, bucket, afterwards.Add(time.Hour), o)[0]; is.Marked != 2 || is.Snapshots != 0 {
		t.Errorf("at first: %+v", is)
	}
	heads, pieces, going := snapshotsIn(bucket)
	if len(heads) != 5 || len(pieces) != 5 || !slices.Equal(going, all[:2]) {
		t.Errorf("there are %v, pieces of %v, going %v", heads, pieces, going)
	}
	report, err := NewReader(bucket, "shop").Verify(t.Context(), nil)
	if err != nil || !report.OK || report.Snapshots != 3 {
		t.Errorf("verified: %+v, %v", report, err)
	}
	from, _, err := past(t, bucket, *s, all[1].At.String())
	if err != nil || from.Snapshot != "" {
		t.Errorf("it begins with %q, %v", from.Snapshot, err)
	}
	for at, want := range []int{0, 2, 0} { // before it is time, then, and again
		if is := compact(t, bucket, afterwards.Add(day-1+time.Duration(at)), o)[0]; is.Snapshots != want || is.Marked != 0 || want > 0 && is.Pieces != 2 {
			t.Errorf("%d: %+v", at, is)
		}
	}
	heads, pieces, going = snapshotsIn(bucket)
	if !slices.Equal(heads, all[2:]) || len(pieces) != 3 || len(going) > 0 {
		t.Errorf("there are %v, pieces of %v, going %v", heads, pieces, going)
	}
	from, book, err := past(t, bucket, *s, whole)
	if err != nil || from.Snapshot != all[4].String() {
		t.Errorf("it begins with %q, %v", from.Snapshot, err)
	}
	wantSameBook(t, book, folded(t, *s, (*s).mark.Position))
	wantArchived(t, bucket, *s)
}

// What is damaged counts for none that is needed: good ones stay, and nothing goes where there is no other.
func TestDamagedSnapshotsStandForNone(t *testing.T) {
	for _, broken := range [][]int{{4}, {3, 4}, {1, 2, 3, 4}} {
		bucket, _, all := snapped(t, 5)
		for _, i := range broken {
			bucket.objects[all[i].String()] = bucket.objects[all[i].String()][1:]
		}
		faults := 0
		if err := NewReader(bucket, "shop").Compact(t.Context(), CompactOptions{now: afterwards}, func(is Compacted) error {
			faults += len(is.Faults)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		good := 5 - len(broken)
		heads, _, _ := snapshotsIn(bucket)
		if want := len(broken) + min(good, LeastSnapshots); len(heads) != want || faults != len(broken) {
			t.Errorf("%v are damaged: %d are left, want %d; %d faults", broken, len(heads), want, faults)
		}
	}
}

// A branch that goes on from where another was left needs the snapshots before that: those of what is abandoned are nothing to it.
func TestSnapshotsBeforeABranchWasLeft(t *testing.T) {
	bucket, s, all := snapped(t, 6)
	r := *s
	r.entries = slices.Clone(r.entries[:slices.IndexFunc(r.entries, func(e domain.Entry) bool { return e.ID == all[2].At.String() })+2])
	r.mark = domain.ArchiveMark{}
	r.begin("b1")
	r.add("new")
	drain(t, NewArchiver(&source{server: s, around: quiet, begun: new(int)}, bucket, "w"), s)
	compact(t, bucket, afterwards.Add(time.Hour), CompactOptions{})
	heads, _, _ := snapshotsIn(bucket)
	if want := []snapshotKey{all[1], all[2], all[4], all[5]}; !slices.Equal(heads, want) {
		t.Errorf("there are %v, want %v", heads, want)
	}
	from, _, err := past(t, bucket, r, whole)
	if err != nil || from.Snapshot != all[2].String() {
		t.Errorf("it begins with %q, %v", from.Snapshot, err)
	}
}

// Pieces of a snapshot that never was whole go when there is a newer one, and they are old enough that nobody writes it still.
func TestPiecesWithoutASnapshot(t *testing.T) {
	bucket, _, all := snapped(t, 3)
	between, behind := all[1], all[2]
	between.At.Seq++
	behind.At.Seq++
	for _, key := range []snapshotKey{between, behind} {
		bucket.objects[key.piece("x")], bucket.written[key.piece("x")] = []byte("x"), afterwards
	}
	for i, want := range []bool{true, false} {
		is := compact(t, bucket, afterwards.Add(day-1+time.Duration(i)), CompactOptions{KeepReplaced: day, KeepSnapshots: 9})[0]
		_, pieces, _ := snapshotsIn(bucket)
		if pieces[between] > 0 != want || pieces[behind] != 1 || is.Pieces > 0 == want {
			t.Errorf("%d: %+v, of %v", i, is, pieces)
		}
	}
}

// Whoever has begun with a snapshot before it was no longer needed reads it to its end.
func TestASnapshotThatIsReadIsNotTakenAway(t *testing.T) {
	bucket, s, all := snapped(t, 5)
	until := domain.EntryMillis(all[0].At.String())
	restored, err := NewReader(bucket, "shop").Restorable(t.Context(), RestoreOptions{UntilMillis: until})
	if err != nil {
		t.Fatal(err)
	}
	var is, want tally
	found, err := restored.Read(t.Context(), 0, func(domain.Entry) error {
		compact(t, bucket, afterwards, CompactOptions{KeepReplaced: day})
		return nil
	}, func(part *domain.Snapshot) error {
		is.add(part)
		return nil
	})
	_, _, going := snapshotsIn(bucket)
	if err != nil || found.Snapshot != all[0].String() || !slices.Contains(going, all[0]) {
		t.Fatalf("%+v, %v; going are %v", found, err, going)
	}
	if want.add(folded(t, *s, found.Mark.Position)); is != want {
		t.Error("what it reads is not what was")
	}
}

// Whatever fails at whichever call, once or until the process dies, no snapshot that is not whole can be begun with, and the next run does what was left.
func TestRemovingSnapshotsFailsAtEveryCall(t *testing.T) {
	whole, s, all := snapped(t, 4)
	o := CompactOptions{KeepReplaced: day, KeepSnapshots: 2}
	for _, failure := range []error{errors.New("500"), errTruncated, errDied} {
		for _, later := range []time.Duration{0, day} {
			for at := 0; ; at++ {
				bucket := newMemory()
				bucket.objects, bucket.written = maps.Clone(whole.objects), maps.Clone(whole.written)
				if later > 0 {
					bucket.clock = afterwards
					compact(t, bucket, afterwards, o)
				}
				calls := failing{at: at, failure: failure}
				bucket.around = calls.around
				o.now, bucket.clock = afterwards.Add(later), afterwards.Add(later)
				failed := NewReader(bucket, "shop").Compact(context.Background(), o, func(Compacted) error { return nil })
				bucket.around = quiet
				report, err := NewReader(bucket, "shop").Verify(t.Context(), nil)
				if err != nil || !report.OK || report.Snapshots < 2 {
					t.Fatalf("%v at call %d: %v; verified %+v, %v", failure, at, failed, report, err)
				}
				for i := range 3 {
					bucket.clock = afterwards.Add(later + time.Duration(i)*day)
					compact(t, bucket, bucket.clock, o)
				}
				if heads, pieces, going := snapshotsIn(bucket); !slices.Equal(heads, all[2:]) || len(pieces) != 2 || len(going) > 0 {
					t.Fatalf("%v at call %d: %v; then there are %v, pieces of %v, going %v", failure, at, failed, heads, pieces, going)
				}
				if calls.seen <= at {
					break
				}
			}
		}
	}
	wantArchived(t, whole, *s)
}

// Two at once do what one does.
func TestCompactingAtOnce(t *testing.T) {
	for _, made := range []func() (*memory, *server){
		func() (*memory, *server) {
			bucket, _, s := grown(t)
			return bucket, s
		},
		func() (*memory, *server) {
			bucket, s, _ := snapped(t, 4)
			return bucket, *s
		},
	} {
		var end []string
		for at := -1; at < 40; at += 3 {
			bucket, s := made()
			o := CompactOptions{KeepReplaced: day, most: 3}
			calls := 0
			bucket.around = func(string) error {
				if calls++; calls-1 == at {
					compact(t, bucket, bucket.clock, o)
				}
				return nil
			}
			for i := range 3 {
				calls = 0
				bucket.clock = afterwards.Add(time.Duration(i) * day)
				compact(t, bucket, bucket.clock, o)
			}
			bucket.around = quiet
			small, large := segmentsIn(bucket)
			is := append(small, large...)
			heads, _, going := snapshotsIn(bucket)
			for _, key := range heads {
				is = append(is, key.String())
			}
			if at < 0 {
				end = is
			}
			if !slices.Equal(is, end) || len(going) > 0 {
				t.Fatalf("at call %d: there is\n%s\nwant\n%s", at, strings.Join(is, "\n"), strings.Join(end, "\n"))
			}
			wantArchived(t, bucket, s)
		}
	}
}
