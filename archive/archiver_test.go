package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/domain"
)

func quiet(string) error { return nil }

// drain archives until there is nothing more to do, and ends the test if that does not come about.
func drain(t rapid.TB, a *Archiver, s **server) {
	t.Helper()
	for range 100 {
		_, err := a.Archive(context.Background(), 0)
		if err != nil && !errors.Is(err, domain.ErrDataReplaced) {
			t.Fatalf("archiving: %v", err)
		}
		r := *s
		if n := len(r.entries); err == nil && (n == 0 || r.mark.Branch == r.branch && r.mark.Position == r.entries[n-1].ID) {
			return
		}
	}
	t.Fatalf("the log is never archived to its end: %+v", **s)
}

// told is the log of a branch as the archive has it.
func told(t rapid.TB, bucket Bucket, branch string) []domain.Entry {
	t.Helper()
	r := NewReader(bucket, "shop")
	chain, err := r.chain(context.Background(), 0, branch, nil)
	if err != nil {
		t.Fatalf("the chain of %s: %v", branch, err)
	}
	var entries []domain.Entry
	err = r.walk(context.Background(), chain, func(_ *Segment, part []domain.Entry) error {
		entries = append(entries, part...)
		return nil
	}, func(f Fault) error { return fmt.Errorf("%s: %s", f.Subject, f.Detail) })
	if err != nil {
		t.Fatalf("reading branch %s: %v", branch, err)
	}
	return entries
}

// wantArchived fails unless the archive is whole and tells just the server's log.
func wantArchived(t rapid.TB, bucket Bucket, s *server) {
	t.Helper()
	report, err := NewReader(bucket, "shop").Verify(context.Background(), nil)
	if err != nil || len(s.entries) > 0 && !report.OK {
		t.Fatalf("the archive is not whole: %v, %+v", err, report.Faults)
	}
	if len(s.entries) == 0 {
		return
	}
	if got := told(t, bucket, s.branch); !slices.EqualFunc(got, s.whole(), sameEntry) {
		t.Fatalf("the archive tells %v, the log %v", got, s.whole())
	}
}

func TestArchiveFollowsTheLog(t *testing.T) {
	s := &server{branch: "b0"}
	bucket := newMemory()
	a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w")
	if more, err := a.Archive(t.Context(), 0); err != nil || more || len(bucket.objects) > 0 {
		t.Errorf("of an empty log: %v, %v, %d objects", more, err, len(bucket.objects))
	}
	for i := range 7 {
		s.add("o" + strconv.Itoa(i))
		drain(t, a, &s)
	}
	if more, err := a.Archive(t.Context(), 0); err != nil || more || len(bucket.objects) != 7 {
		t.Errorf("nothing new: %v, %v, %d objects", more, err, len(bucket.objects))
	}
	a.bytes = 1 // more than that is left for the next segment
	for range 3 {
		s.add("p")
	}
	if more, err := a.Archive(t.Context(), 0); err != nil || !more || len(bucket.objects) != 8 {
		t.Errorf("of much: %v, %v, %d objects", more, err, len(bucket.objects))
	}
	drain(t, a, &s)
	wantArchived(t, bucket, s)
	if segments, bytes := a.Written(); segments != int64(len(bucket.objects)) || bytes == 0 {
		t.Errorf("%d segments of %d bytes were written, there are %d", segments, bytes, len(bucket.objects))
	}
}

// A failover loses what the archive has already; nobody has noticed, and the log goes on under the same branch.
func TestALogThatLostWhatIsArchivedBeginsABranch(t *testing.T) {
	for _, tc := range []struct {
		name          string
		lost, further int
	}{{"it ends within a segment", 2, 1}, {"a whole segment is gone", 3, 2}, {"all is gone", 6, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			s := &server{branch: "b0"}
			bucket := newMemory()
			for range 2 {
				for range 3 {
					s.add("o")
				}
				if len(s.entries) == 3 {
					drain(t, NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w"), &s)
				}
			}
			replica := s.copy()
			replica.entries = replica.entries[:6-tc.lost]
			if tc.lost > 3 {
				replica.mark = domain.ArchiveMark{}
			}
			drain(t, NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "old"), &s)
			old := s.copy()
			s = replica
			for range tc.further {
				s.add("new")
			}
			begun := 0
			drain(t, NewArchiver(&source{server: &s, around: quiet, begun: &begun}, bucket, "w"), &s)
			if begun != 1 || s.branch == "b0" {
				t.Errorf("%d branches were begun, it is %s", begun, s.branch)
			}
			wantArchived(t, bucket, s)
			if got := told(t, bucket, "b0"); !slices.EqualFunc(got, old.entries, sameEntry) {
				t.Errorf("of the branch that was left, the archive tells %v, want %v", got, old.entries)
			}
		})
	}
}

// The same under another name: what is there already is compared with the log, and not taken for one's own lost reply.
func TestASegmentThatIsThereIsNotTakenForOnesOwn(t *testing.T) {
	s := &server{branch: "b0"}
	s.add("ours")
	bucket := newMemory()
	other := s.copy()
	other.entries[0].Fields = []string{"expired", "e1/theirs"}
	drain(t, NewArchiver(&source{server: &other, around: quiet, begun: new(int)}, bucket, "them"), &other)
	a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "us")
	if _, err := a.Archive(t.Context(), 0); !errors.Is(err, domain.ErrDataReplaced) || s.mark.Branch != "" {
		t.Errorf("archived: %v, the mark is %+v", err, s.mark)
	}
	drain(t, a, &s)
	wantArchived(t, bucket, s)
	wantArchived(t, bucket, other)
}

// What a store tells of what it has written is not believed before it was read back.
func TestTheMarkMovesOnlyBehindWhatWasReadBack(t *testing.T) {
	for _, broken := range []error{errTruncated, errors.New("503")} {
		s := &server{branch: "b0"}
		s.add("o")
		bucket := newMemory()
		a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w")
		bucket.around = func(call string) error {
			if call == "get" {
				return broken
			}
			return nil
		}
		if _, err := a.Archive(t.Context(), 0); err == nil || s.mark.Branch != "" {
			t.Errorf("%v: archived: %v, the mark is %+v", broken, err, s.mark)
		}
		bucket.around = quiet
		drain(t, a, &s)
		wantArchived(t, bucket, s)
	}
}

// A store that says that it has written, and has not.
func TestALyingStore(t *testing.T) {
	s := &server{branch: "b0"}
	s.add("o")
	bucket := newMemory()
	a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w")
	bucket.around = func(call string) error {
		if call == "put done" {
			clear(bucket.objects)
		}
		return nil
	}
	if _, err := a.Archive(t.Context(), 0); err == nil || s.mark.Branch != "" {
		t.Errorf("archived: %v, the mark is %+v", err, s.mark)
	}
	bucket.around = quiet
	drain(t, a, &s)
	wantArchived(t, bucket, s)
}

// What the mark points at is not in the log any more, or another entry has its id, and no branch was begun: the branch does not go on, whoever looks.
func TestALogWithoutTheEntryOfItsMark(t *testing.T) {
	for name, is := range map[string]struct{ another, somebodyElse bool }{
		"it is removed":      {},
		"another has its id": {another: true},
		"another has its id, and somebody else looks": {another: true, somebodyElse: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{branch: "b0"}
			s.add("o")
			s.add("p")
			bucket := newMemory()
			archiver := func(name string) *Archiver {
				return NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, name)
			}
			a := archiver("w")
			drain(t, a, &s)
			if is.somebodyElse {
				a = archiver("v")
			}
			if s.entries = s.entries[:1]; is.another {
				s.millis-- // the id is given out once more
				if s.add("x"); s.entries[1].ID != s.mark.Position {
					t.Fatalf("it is %s, the mark %s", s.entries[1].ID, s.mark.Position)
				}
			}
			s.add("q")
			drain(t, a, &s)
			if s.branch == "b0" {
				t.Error("the branch goes on")
			}
			wantArchived(t, bucket, s)
		})
	}
}

// Behind a mark whose segment is not there, or is another one, nothing is written: it would leave a gap.
func TestTheSegmentOfTheMarkIsNotThere(t *testing.T) {
	s := &server{branch: "b0"}
	bucket := newMemory()
	log := &source{server: &s, around: quiet, begun: new(int)}
	for range 2 {
		s.add("o")
		drain(t, NewArchiver(log, bucket, "w"), &s)
	}
	s.add("p")
	mark := s.mark
	other := newMemory()
	_, err := NewArchiver(log, other, "w").Archive(t.Context(), 0)
	if domain.ClassOf(err) != domain.ClassPoison || !strings.Contains(fmt.Sprint(err), mark.Segment) || len(other.objects) > 0 || s.mark != mark || s.branch != "b0" {
		t.Errorf("to another archive: %v, %d objects, the mark is %+v", err, len(other.objects), s.mark)
	}
	s.mark.Hash = strings.Repeat("0", 64)
	var damaged *damagedError
	if _, err := NewArchiver(log, bucket, "w").Archive(t.Context(), 0); !errors.As(err, &damaged) || len(bucket.objects) != 2 {
		t.Errorf("another segment has its key: %v, %d objects", err, len(bucket.objects))
	}
	s.mark = mark
	drain(t, NewArchiver(log, bucket, "w"), &s)
	wantArchived(t, bucket, s)
}

// A log that was trimmed goes on in another branch where its archive is, and nowhere else.
func TestABranchOfATrimmedLog(t *testing.T) {
	s := &server{branch: "b0"}
	bucket := newMemory()
	log := &source{server: &s, around: quiet, begun: new(int)}
	for range 3 {
		s.add("o")
		s.add("p")
		drain(t, NewArchiver(log, bucket, "w"), &s)
	}
	s.trim(s.mark.Position)
	s.begin("b1")
	s.add("q")
	other := newMemory()
	if _, err := NewArchiver(log, other, "w").Archive(t.Context(), 0); domain.CodeOf(err) != domain.CodeLogTrimmed || len(other.objects) > 0 {
		t.Errorf("to another archive: %v, %d objects", err, len(other.objects))
	}
	drain(t, NewArchiver(log, bucket, "w"), &s)
	wantArchived(t, bucket, s)
}

// An archive of several servers, archivers and failures at every step, in any order: it always tells the log of the server that goes on.
func TestArchiveProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { archiveProperty(t, 0) })
}

// The same of an archive that has something to be compacted from the start.
func TestCompactedArchiveProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { archiveProperty(t, rapid.IntRange(4, 9).Draw(t, "segments")) })
}

type world struct {
	*rapid.T
	servers   []*server // the last one is the master; the others were cut off
	replica   *server
	archivers []*Archiver
	connected []**server
	bucket    *memory
	begun     int
	deep      int
	died      bool
}

var errDied = errors.New("the archiver died")

func archiveProperty(t *rapid.T, segments int) {
	w := &world{T: t, servers: []*server{{branch: "b0"}}, bucket: newMemory()}
	w.replica = w.servers[0].copy()
	w.bucket.clock = afterwards
	for i := range 3 {
		at := w.servers[0]
		connected := &at
		a := NewArchiver(&source{server: connected, around: func(call string) error { return w.around(call) }, begun: &w.begun}, w.bucket, "w"+strconv.Itoa(i))
		a.bytes = 60
		a.Keep(domain.KeepLog{For: time.Minute})
		w.archivers, w.connected = append(w.archivers, a), append(w.connected, connected)
	}
	for range segments {
		w.servers[0].add("o")
		drain(t, NewArchiver(&source{server: w.connected[0], around: quiet, begun: &w.begun}, w.bucket, "first"), w.connected[0])
		if rapid.Bool().Draw(t, "and replicated") {
			w.replica = w.servers[0].copy()
		}
	}
	w.bucket.around = w.around
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		w.step()
	}
	w.bucket.around = quiet
	master := w.servers[len(w.servers)-1]
	master.add("last") // of a branch that nothing was added to there is nothing to write
	drain(t, NewArchiver(&source{server: &master, around: quiet, begun: &w.begun}, w.bucket, "last"), &master)
	wantArchived(t, w.bucket, master)
	_, book, err := past(t, w.bucket, master, whole)
	if err != nil {
		t.Fatalf("from the newest snapshot: %v", err)
	}
	wantSameBook(t, book, folded(t, master, master.mark.Position))
}

func (w *world) step() {
	master := w.servers[len(w.servers)-1]
	switch rapid.SampledFrom([]string{"add", "add", "replicate", "failover", "notice", "reconnect", "old adds", "archive", "archive", "archive", "snapshot", "trim", "compact"}).Draw(w.T, "step") {
	case "add":
		master.add("o" + strconv.Itoa(rapid.IntRange(0, 9).Draw(w.T, "order")))
	case "old adds":
		w.servers[rapid.IntRange(0, len(w.servers)-1).Draw(w.T, "server")].add("z")
	case "replicate":
		w.replica = master.copy()
	case "failover":
		w.servers = append(w.servers, w.replica.copy())
	case "notice":
		w.begun++
		master.begin("n" + strconv.Itoa(w.begun))
	case "reconnect":
		*w.connected[rapid.IntRange(0, len(w.connected)-1).Draw(w.T, "who")] = master
	case "compact":
		if w.deep > 0 {
			return // whoever archives meanwhile has not waited for a day
		}
		w.deep++
		for range 2 {
			w.bucket.clock = w.bucket.clock.Add(day)
			for _, r := range append(w.servers, w.replica) {
				r.later += day
			}
			o := CompactOptions{KeepReplaced: day, now: w.bucket.clock, most: rapid.IntRange(2, 5).Draw(w.T, "at most"), Step: func() {}}
			_ = NewReader(w.bucket, "shop").Compact(context.Background(), o, func(Compacted) error { return nil }) // likewise
			w.died = false
		}
		w.deep--
	case "trim":
		r := rapid.SampledFrom(w.servers).Draw(w.T, "whose log")
		at := slices.IndexFunc(r.entries, func(e domain.Entry) bool { return r.mark.Branch == r.branch && e.ID == r.mark.Position })
		if at >= 0 {
			r.trim(r.entries[rapid.IntRange(0, at).Draw(w.T, "up to")].ID)
		}
	case "snapshot":
		of := rapid.SampledFrom(w.servers).Draw(w.T, "whose branch").branch
		if w.deep++; w.deep <= 2 {
			// Whatever it says: what it leaves is looked at in the end.
			_ = NewReader(w.bucket, "shop").TakeSnapshots(context.Background(), Options{Branches: []string{of}}, func(Taken) error { return nil })
		}
		if w.deep--; w.deep == 0 {
			w.died = false
		}
	case "archive":
		who := rapid.IntRange(0, len(w.archivers)-1).Draw(w.T, "who")
		if w.deep++; w.deep <= 2 {
			_, _ = w.archivers[who].Archive(context.Background(), 0) // whatever it says
			_, _ = w.archivers[who].Trim(context.Background(), 0)
		}
		if w.deep--; w.deep == 0 {
			w.died = false
		}
	}
}

// around is what happens before and after each call of an archiver: others do something, the call fails, is cut short, or comes to nothing.
func (w *world) around(string) error {
	if w.died {
		return errDied
	}
	switch rapid.IntRange(0, 19).Draw(w.T, "fault") {
	case 0:
		return errors.New("500")
	case 1:
		return errTruncated
	case 2:
		w.died = w.deep < 2
		return errDied
	case 3, 4, 5:
		if w.deep < 2 {
			w.step()
		}
	}
	return nil
}
