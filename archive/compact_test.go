package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
)

// afterwards is when all that servers here have logged was long ago.
var afterwards = time.UnixMilli(1_700_000_000_000).Add(72 * time.Hour)

const day = 24 * time.Hour

// compact makes a bucket's archive smaller, at a time.
func compact(t testing.TB, bucket Bucket, at time.Time, o CompactOptions) (all []Compacted) {
	t.Helper()
	o.now = at
	if err := NewReader(bucket, "shop").Compact(context.Background(), o, func(is Compacted) error {
		if len(is.Faults) > 0 {
			t.Errorf("faults: %+v", is.Faults)
		}
		all = append(all, is)
		return nil
	}); err != nil {
		t.Fatalf("making it smaller: %v", err)
	}
	return all
}

// grown is an archive of two branches with snapshots, of which the second goes on from the middle of a segment of the first; and what the log was, of
// either.
func grown(t testing.TB) (bucket *memory, left, s *server) {
	t.Helper()
	s = &server{branch: "b0"}
	bucket = newMemory()
	bucket.clock = afterwards.Add(-day)
	a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w")
	settled := ""
	archive := func(times int) {
		for i := range times {
			sell(s)
			s.settled, settled = settled, s.entries[len(s.entries)-2].ID
			s.entries = slices.Clone(s.entries)
			drain(t, a, &s)
			if i%2 == 1 {
				taken(t, bucket)
			}
		}
	}
	archive(6)
	left = s.copy()
	s.entries = s.entries[:19] // within the fifth of the segments
	s.mark = domain.ArchiveMark{}
	s.begin("b1")
	archive(5)
	return bucket, left, s
}

// answers is all that an archive tells, at every so manieth entry.
func answers(t testing.TB, bucket *memory, left, s *server, step int) (all []string) {
	t.Helper()
	r := NewReader(bucket, "shop")
	say := func(what string, values ...any) { all = append(all, what+fmt.Sprintln(values...)) }
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	report, err := r.Verify(t.Context(), nil)
	fatal(err)
	say("verified", report.OK, report.Branches, report.Entries, report.Facts, report.Snapshots, report.Faults)
	for _, of := range []*server{left, s} {
		say("told", told(t, bucket, of.branch))
		compared := Report{OK: true}
		fatal(r.Compare(t.Context(), &source{server: &of, around: quiet, begun: new(int)}, 1, &compared, nil))
		say("compared", compared)
		for _, o := range []RestoreOptions{{}, {Full: true}} {
			for i := -1; i < len(of.entries); i += step {
				if o.Branches = []string{of.branch}; i >= 0 {
					o.UntilMillis = domain.EntryMillis(of.entries[i].ID)
				}
				var is tally
				restored, err := r.Restorable(t.Context(), o)
				fatal(err)
				found, err := restored.Read(t.Context(), 0, func(e domain.Entry) error {
					say("log", e)
					return nil
				}, func(part *domain.Snapshot) error {
					is.add(part)
					return nil
				})
				fatal(err)
				found.Segments = 0 // of a large one all are read
				say("restored", o.Full, o.UntilMillis, fmt.Sprintf("%+v %+v", found, is), restored.Namespace())
			}
		}
		ids := []string{"0-0"}
		for _, e := range of.entries {
			ids = append(ids, e.ID)
		}
		for i := 0; i < len(ids); i += step {
			for j := i + 1; j < len(ids); j += step {
				say("between", i, j)
				fatal(r.Between(t.Context(), 0, of.mark, ids[i], ids[j], func(e domain.Entry) error {
					say("", e.ID)
					return nil
				}))
			}
			from, book, err := past(t, bucket, of, ids[i])
			fatal(err)
			var is tally
			is.add(book)
			say("past", ids[i], from.Last, from.Snapshot, is)
		}
		_, err := r.Event(t.Context(), 0, of.mark, "e1")
		fatal(err)
	}
	fatal(r.Lost(t.Context(), &source{server: &s, around: quiet, begun: new(int)}, 0, LostOptions{}, func(l Lost) error {
		say("lost", l)
		return nil
	}))
	branches, err := r.Branches(t.Context())
	fatal(err)
	for _, is := range branches {
		is.Segments, is.Replaced, is.Bytes = 0, 0, 0
		say("branch", fmt.Sprintf("%+v", is))
	}
	return all
}

// wantAnswers fails unless an archive tells what it did.
func wantAnswers(t testing.TB, when string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%s: %d answers, want %d; number %d is\n%s\nwant\n%s", when, len(got), len(want), i, got[min(i, len(got)-1)], want[min(i, len(want)-1)])
		}
	}
}

func segmentsIn(bucket *memory) (small, large []string) {
	for _, key := range slices.Sorted(maps.Keys(bucket.objects)) {
		if k, err := ParseKey(key); err == nil && k.large() {
			large = append(large, key)
		} else if err == nil {
			small = append(small, key)
		}
	}
	return small, large
}

// However the segments are cut, and whatever is there twice, an archive tells the same.
func TestACompactedArchiveTellsTheSame(t *testing.T) {
	for _, o := range []CompactOptions{{most: 3}, {bytes: 1000}} {
		bucket, left, s := grown(t)
		o.KeepReplaced, o.KeepSnapshots = day, 100
		want := answers(t, bucket, left, s, 6)
		before, _ := segmentsIn(bucket)
		bucket.clock = afterwards
		dry := o
		dry.DryRun = true
		would := compact(t, bucket, afterwards, dry)
		if small, large := segmentsIn(bucket); !slices.Equal(small, before) || len(large) > 0 {
			t.Fatalf("a dry run has changed it: %d small, %d large", len(small), len(large))
		}
		did := compact(t, bucket, afterwards, o)
		small, large := segmentsIn(bucket)
		if fmt.Sprint(would) != fmt.Sprint(did) || len(did) != 2 || did[0].Large+did[1].Large != len(large) || len(large) == 0 || !slices.Equal(small, before) {
			t.Fatalf("it would be %+v, and is %+v: %d small, %d large", would, did, len(small), len(large))
		}
		wantAnswers(t, "beside what was replaced", answers(t, bucket, left, s, 6), want)
		if again := compact(t, bucket, afterwards.Add(day-1), o); again[0].Large+again[0].Removed+again[1].Large+again[1].Removed > 0 {
			t.Errorf("again, before it is time: %+v", again)
		}
		removed := compact(t, bucket, afterwards.Add(day), o)
		small, now := segmentsIn(bucket)
		if removed[0].Removed+removed[1].Removed != did[0].Segments+did[1].Segments || len(small) != len(before)-did[0].Segments-did[1].Segments || !slices.Equal(now, large) {
			t.Errorf("removed %+v, of %+v: %d small are left of %d", removed, did, len(small), len(before))
		}
		wantAnswers(t, "without what was replaced", answers(t, bucket, left, s, 6), want)
		// It goes on as ever.
		for _, of := range []*server{s, left} {
			sell(of)
			drain(t, NewArchiver(&source{server: &of, around: quiet, begun: new(int)}, bucket, "w"), &of)
			wantArchived(t, bucket, of)
			if of == s {
				taken := taken(t, bucket)
				from, book, err := past(t, bucket, of, whole)
				if err != nil || from.Snapshot != taken.Snapshot {
					t.Errorf("it begins with %q: %v", from.Snapshot, err)
				}
				wantSameBook(t, book, folded(t, of, of.mark.Position))
			}
		}
	}
}

// Whatever fails at whichever call, once or until the process dies, the archive tells the same, and the next run does what was left.
func TestCompactingFailsAtEveryCall(t *testing.T) {
	s := &server{branch: "b0"}
	bucket := newMemory()
	for range 7 {
		s.add("o")
		drain(t, NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w"), &s)
	}
	o := CompactOptions{KeepReplaced: day, most: 3}
	run := func(b *memory, at time.Time) error {
		o.now, b.clock = at, at
		return NewReader(b, "shop").Compact(context.Background(), o, func(Compacted) error { return nil })
	}
	copied := func(b *memory) *memory {
		c := newMemory()
		c.objects, c.written = maps.Clone(b.objects), maps.Clone(b.written)
		return c
	}
	written := copied(bucket)
	if err := run(written, afterwards); err != nil {
		t.Fatal(err)
	}
	done := copied(written)
	if err := run(done, afterwards.Add(day)); err != nil {
		t.Fatal(err)
	}
	end := slices.Sorted(maps.Keys(done.objects))
	for _, failure := range []error{errors.New("500"), errTruncated, errDied} {
		for _, begin := range []*memory{bucket, written} { // while it is written, and while it is removed
			for at := 0; ; at++ {
				b := copied(begin)
				when := afterwards
				if begin == written {
					when = afterwards.Add(day)
				}
				calls := failing{at: at, failure: failure}
				b.around = calls.around
				failed := run(b, when)
				b.around = quiet
				wantArchived(t, b, s)
				for i := range 3 {
					if err := run(b, when.Add(time.Duration(i)*day)); err != nil {
						t.Fatal(err)
					}
				}
				if got := slices.Sorted(maps.Keys(b.objects)); !slices.Equal(got, end) {
					t.Fatalf("%v at call %d: %v; then there is %d, want %d", failure, at, failed, len(got), len(end))
				}
				if calls.seen <= at {
					break
				}
			}
		}
	}
}

// Whoever has read a list before what is on it was removed reads on.
func TestReadersThatListedBefore(t *testing.T) {
	bucket, _, s := grown(t)
	r := NewReader(bucket, "shop")
	chain, err := r.chain(t.Context(), 0, s.branch, nil)
	if err != nil {
		t.Fatal(err)
	}
	bucket.clock = afterwards
	compact(t, bucket, afterwards, CompactOptions{})
	lists := 0
	bucket.around = func(call string) error {
		if call == "list" {
			lists++
		}
		return nil
	}
	var entries []domain.Entry
	if err := r.walk(t.Context(), chain, func(_ *Segment, part []domain.Entry) error {
		entries = append(entries, part...)
		return nil
	}, func(f Fault) error { return fmt.Errorf("%+v", f) }); err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(entries, s.entries, sameEntry) || lists != 2 {
		t.Errorf("it reads %v with %d lists, want %v with one of each branch", entries, lists, s.entries)
	}
}

// Large ones of the same that are cut otherwise, as whoever saw another list may make them, are harmless, whichever there are.
func TestLargeSegmentsThatOverlap(t *testing.T) {
	bucket, left, s := grown(t)
	want := answers(t, bucket, left, s, 7)
	r := NewReader(bucket, "shop")
	links, err := r.branch(t.Context(), 0, "b0")
	if err != nil {
		t.Fatal(err)
	}
	var small []*Segment
	for _, l := range links {
		one, err := r.segment(t.Context(), l.key)
		if err != nil {
			t.Fatal(err)
		}
		small = append(small, one)
	}
	runs := [][2]int{{1, 4}, {2, 5}, {1, 3}, {3, 5}, {2, 4}, {1, 5}}
	for which := 1; which < 1<<len(runs); which++ {
		b := newMemory()
		b.objects = maps.Clone(bucket.objects)
		for i, run := range runs {
			if which&(1<<i) == 0 {
				continue
			}
			key, body, err := encodeLarge(small[run[0]:run[1]])
			if err != nil {
				t.Fatal(err)
			}
			b.objects[key.String()] = body
			for _, one := range small[run[0]:run[1]] {
				delete(b.objects, one.Key.String())
			}
		}
		if which == 3 || which == 1<<3+1 || which == 1<<len(runs)-1 {
			wantAnswers(t, fmt.Sprintf("%b", which), answers(t, b, left, s, 7), want)
		} else if got := told(t, b, "b0"); !slices.EqualFunc(got, left.entries, sameEntry) {
			t.Fatalf("%b: it tells %v", which, got)
		}
		if which%4 != 3 {
			continue
		}
		compact(t, b, afterwards, CompactOptions{KeepSnapshots: 100})
		if got := told(t, b, "b0"); !slices.EqualFunc(got, left.entries, sameEntry) {
			t.Fatalf("%b: then it tells %v", which, got)
		}
	}
}

// An old copy of Redis has a mark behind which all was replaced: its log is compared with that, as ever, and nothing is written in its place.
func TestAnOldMarkOfWhatWasReplaced(t *testing.T) {
	for _, same := range []bool{true, false} {
		s := &server{branch: "b0"}
		bucket := newMemory()
		log := &source{server: &s, around: quiet, begun: new(int)}
		var old *server
		for i := range 8 {
			s.add("o")
			s.add("p")
			drain(t, NewArchiver(log, bucket, "w"), &s)
			if i == 2 {
				old = s.copy()
			}
		}
		compact(t, bucket, afterwards, CompactOptions{})
		objects := len(bucket.objects)
		newest := s
		if same { // the log is all there, and the mark is an old one
			s = s.copy()
			s.mark = old.mark
		} else {
			s = old
			s.add("another one")
		}
		s.later = 2 * time.Hour
		drain(t, NewArchiver(log, bucket, "w"), &s)
		if same && (s.branch != "b0" || len(bucket.objects) != objects || s.mark != newest.mark) || !same && s.branch == "b0" {
			t.Errorf("the same: %t, the branch is %s, %d objects and then %d, the mark %+v", same, s.branch, objects, len(bucket.objects), s.mark)
		}
		wantArchived(t, bucket, s)
		wantArchived(t, bucket, newest)
	}
}

// What is damaged, or another thing than what comes next names, is named, and not replaced; and nothing hides that something is missing.
func TestWhatIsDamagedIsNotReplaced(t *testing.T) {
	whole, _, _ := grown(t)
	small, _ := segmentsIn(whole)
	for what, do := range map[string]func(b *memory, key string){
		"damaged": func(b *memory, key string) { b.objects[key] = b.objects[key][1:] },
		"missing": func(b *memory, key string) { delete(b.objects, key) },
		"forged": func(b *memory, key string) {
			k, err := ParseKey(key)
			if err != nil {
				t.Fatal(err)
			}
			s, err := decode(k, b.objects[key])
			if err != nil {
				t.Fatal(err)
			}
			entries := slices.Clone(s.Entries)
			entries[0].Fields = []string{"expired", "e1/forged"}
			b.objects[key] = encoded(t, s.Header, entries)
		},
	} {
		for _, key := range small[1:5] {
			bucket := newMemory()
			bucket.objects = maps.Clone(whole.objects)
			do(bucket, key)
			faults := 0
			if err := NewReader(bucket, "shop").Compact(t.Context(), CompactOptions{KeepSnapshots: 100, now: afterwards}, func(is Compacted) error {
				faults += len(is.Faults)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if now, _ := segmentsIn(bucket); what != "missing" && (faults == 0 || !slices.Contains(now, key)) {
				t.Errorf("%s %s: %d faults, and there is\n%s", what, key, faults, strings.Join(now, "\n"))
			}
			report, err := NewReader(bucket, "shop").Verify(t.Context(), nil)
			if err != nil || report.OK {
				t.Errorf("%s %s: verified: %+v, %v", what, key, report, err)
			}
		}
	}
}

// What is beside a large segment, and not what it has, is named by verify, and stays.
func TestWhatIsBesideALargeSegment(t *testing.T) {
	bucket, _, _ := grown(t)
	small, _ := segmentsIn(bucket)
	was := bucket.objects[small[2]]
	compact(t, bucket, afterwards, CompactOptions{KeepReplaced: day, KeepSnapshots: 100})
	k, err := ParseKey(small[2])
	if err != nil {
		t.Fatal(err)
	}
	s, err := decode(k, was)
	if err != nil {
		t.Fatal(err)
	}
	s.Header.By = "a zombie"
	bucket.objects[small[2]] = encoded(t, s.Header, s.Entries)
	report, err := NewReader(bucket, "shop").Verify(t.Context(), nil)
	if err != nil || report.OK || len(report.Faults) != 1 || report.Faults[0].Subject != small[2] {
		t.Errorf("verified: %+v, %v", report, err)
	}
	faults := 0
	if err := NewReader(bucket, "shop").Compact(t.Context(), CompactOptions{KeepSnapshots: 100, now: afterwards.Add(day)}, func(is Compacted) error {
		faults += len(is.Faults)
		return nil
	}); err != nil || faults != 1 || bucket.objects[small[2]] == nil {
		t.Errorf("removing: %d faults, %v", faults, err)
	}
}

// A large segment that somebody has made of other ones is refused, as every other one.
func TestALargeSegmentSaysWhatItReplaces(t *testing.T) {
	bucket, _, _ := grown(t)
	links, err := NewReader(bucket, "shop").branch(t.Context(), 0, "b0")
	if err != nil {
		t.Fatal(err)
	}
	small := make([]*Segment, 0, len(links))
	for _, l := range links[1:5] {
		s, err := decode(l.key, bucket.objects[l.key.String()])
		if err != nil {
			t.Fatal(err)
		}
		small = append(small, s)
	}
	key, body, err := encodeLarge(small)
	if err != nil {
		t.Fatal(err)
	}
	large, err := decode(key, body)
	if err != nil || !slices.EqualFunc(large.replaces, small, sameSegment) {
		t.Fatalf("it came back as %+v, %v", large, err)
	}
	if _, again, err := encodeLarge(large.replaces); err != nil || !bytes.Equal(again, body) {
		t.Errorf("made again, it is another one: %v", err)
	}
	for what, change := range map[string]func(of []*Segment) []*Segment{
		"one is missing":         func(of []*Segment) []*Segment { return slices.Delete(of, 1, 2) },
		"their order is another": func(of []*Segment) []*Segment { of[1], of[2] = of[2], of[1]; return of },
		"a hash is another":      func(of []*Segment) []*Segment { of[1].Hash = strings.Repeat("0", 64); return of },
		"an entry is missing":    func(of []*Segment) []*Segment { of[1].Entries = of[1].Entries[1:]; return of },
		"one is of a branch that is not it": func(of []*Segment) []*Segment {
			of[1].Header.Branch = "b9"
			return of
		},
		"it has fewer facts": func(of []*Segment) []*Segment { of[1].Header.Facts--; return of },
	} {
		of := make([]*Segment, len(small))
		for i, s := range small {
			one := *s
			of[i] = &one
		}
		key, body, err := encodeLarge(change(of))
		if err != nil {
			t.Fatal(err)
		}
		if s, err := decode(key, body); err == nil {
			t.Errorf("%s: it was read as %+v", what, s.Header)
		}
	}
	other := key
	other.Last.Seq++
	for _, as := range []Key{other, small[0].Key} {
		if _, err := decode(as, body); err == nil {
			t.Errorf("it was read as %s", as)
		}
	}
}

// Only what was over long enough ago is replaced: the newest of a branch, the first, and a day's last stay.
func TestWhatIsNotReplaced(t *testing.T) {
	bucket, _, _ := grown(t)
	before, _ := segmentsIn(bucket)
	over := time.UnixMilli(1_700_000_000_000).UTC().Truncate(day).Add(day)
	compact(t, bucket, over.Add(settledAfter-1), CompactOptions{})
	if small, large := segmentsIn(bucket); !slices.Equal(small, before) || len(large) > 0 {
		t.Errorf("too early: %d small, %d large", len(small), len(large))
	}
	compact(t, bucket, over.Add(settledAfter), CompactOptions{})
	small, large := segmentsIn(bucket)
	if want := []string{before[0], before[5], before[6], before[len(before)-1]}; !slices.Equal(small, want) || len(large) != 2 {
		t.Errorf("there is\n%s\nwant\n%s\nand two large ones: %v", strings.Join(small, "\n"), strings.Join(want, "\n"), large)
	}
}
