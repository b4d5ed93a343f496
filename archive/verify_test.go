package archive

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
)

// archived is an archive of two branches: b0 of six segments, and another one that goes on behind its third.
func archived(t *testing.T) (*memory, *server, []string) {
	t.Helper()
	s := &server{branch: "b0"}
	bucket := newMemory()
	a := NewArchiver(&source{server: &s, around: quiet, begun: new(int)}, bucket, "w")
	for i := range 6 {
		s.add("o" + strconv.Itoa(i))
		s.add("p" + strconv.Itoa(i))
		drain(t, a, &s)
	}
	s.begin("b1")
	s.entries = s.entries[:5]
	s.add("q")
	drain(t, a, &s)
	s.add("r")
	drain(t, a, &s)
	keys := make([]string, 0, len(bucket.objects))
	for key := range bucket.objects {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return bucket, s, keys
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	bucket, s, keys := archived(t)
	if len(keys) != 8 {
		t.Fatalf("it has %d segments", len(keys))
	}
	wantArchived(t, bucket, s)
	type damage struct {
		name string
		do   func(objects map[string][]byte)
		want []string // of the faults: a part of each
	}
	other := func(key string, change func(h *Header, entries []domain.Entry) []domain.Entry) func(map[string][]byte) {
		return func(objects map[string][]byte) {
			k, err := ParseKey(key)
			if err != nil {
				t.Fatal(err)
			}
			whole, err := decode(k, objects[key])
			if err != nil {
				t.Fatal(err)
			}
			h := whole.Header
			objects[key] = encoded(t, h, change(&h, slices.Clone(whole.Entries)))
		}
	}
	for _, d := range []damage{
		{"one in the middle is missing", func(o map[string][]byte) { delete(o, keys[1]) }, []string{keys[2] + " begins behind"}},
		{"the first is missing", func(o map[string][]byte) { delete(o, keys[0]) }, []string{keys[1] + " is the first"}},
		{"the first of the later branch is missing", func(o map[string][]byte) { delete(o, keys[6]) }, []string{keys[7] + " is the first"}},
		{"what a branch goes on from is missing", func(o map[string][]byte) { delete(o, keys[2]) }, []string{keys[3] + " begins behind", keys[6]}},
		{"one is cut", func(o map[string][]byte) { o[keys[3]] = o[keys[3]][:200] }, []string{keys[3] + " it is not what was written", keys[4] + " begins behind"}},
		{"a bit of a fact is flipped", func(o map[string][]byte) {
			o[keys[4]] = slices.Clone(o[keys[4]])
			o[keys[4]][len(o[keys[4]])/2] ^= 4
		}, []string{keys[4]}},
		{"one was written anew, with another fact", other(keys[1], func(_ *Header, entries []domain.Entry) []domain.Entry {
			entries[0].Fields[1] = "e1/forged"
			return entries
		}), []string{keys[1] + " is not what it was"}},
		{"one has lost its last entry", other(keys[1], func(_ *Header, entries []domain.Entry) []domain.Entry { return entries[:1] }), []string{keys[2] + " begins behind"}},
		{"something else is there", func(o map[string][]byte) { o["namespace=shop/partition=0/README"] = nil }, []string{"README is not the name"}},
		{"all is gone", func(o map[string][]byte) { clear(o) }, []string{"nothing is archived"}},
	} {
		t.Run(d.name, func(t *testing.T) {
			broken := newMemory()
			for key, body := range bucket.objects {
				broken.objects[key] = body
			}
			d.do(broken.objects)
			report, err := NewReader(broken, "shop").Verify(t.Context(), nil)
			if err != nil || report.OK {
				t.Fatalf("%v, %+v", err, report)
			}
			for _, want := range d.want {
				if !slices.ContainsFunc(report.Faults, func(f Fault) bool { return strings.Contains(f.Subject+" "+f.Detail, want) }) {
					t.Errorf("nothing is said of %q: %+v", want, report.Faults)
				}
			}
		})
	}
}

// What only the log can tell.
func TestCompareWithTheLog(t *testing.T) {
	bucket, s, keys := archived(t)
	compare := func(b *memory, s *server) Report {
		t.Helper()
		report := Report{OK: true}
		if err := NewReader(b, "shop").Compare(t.Context(), &source{server: &s, around: quiet, begun: new(int)}, 1, &report, nil); err != nil {
			t.Fatal(err)
		}
		return report
	}
	s.add("not archived yet")
	if report := compare(bucket, s); !report.OK {
		t.Errorf("nothing is wrong, and it says %+v", report)
	}
	for name, change := range map[string]func(b *memory, s *server){
		"the end is missing":             func(b *memory, _ *server) { delete(b.objects, keys[7]) },
		"another fact":                   func(_ *memory, s *server) { s.entries[1].Fields = []string{"expired", "e1/other"} },
		"a fact is missing in the log":   func(_ *memory, s *server) { s.entries = slices.Delete(s.entries, 1, 2) },
		"a fact is missing in between":   func(b *memory, _ *server) { delete(b.objects, keys[1]) },
		"the mark is of another content": func(_ *memory, s *server) { s.mark.Hash = strings.Repeat("0", 64) },
	} {
		broken, other := newMemory(), s.copy()
		for key, body := range bucket.objects {
			broken.objects[key] = body
		}
		change(broken, other)
		if report := compare(broken, other); report.OK || len(report.Faults) == 0 {
			t.Errorf("%s: %+v", name, report)
		}
	}
}

func TestBranches(t *testing.T) {
	bucket, s, _ := archived(t)
	all, err := NewReader(bucket, "shop").Branches(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	first, second := all[0], all[1]
	if first.Branch != "b0" || first.Segments != 6 || first.LeftBy != "b1" || first.After != "0-0" || second.Branch != "b1" || second.Parent != "b0" || second.After != s.entries[4].ID ||
		second.Last != s.entries[len(s.entries)-1].ID || second.Segments != 2 {
		t.Errorf("%+v", all)
	}
}

// A log is trimmed while it is compared with its archive: what is gone by then the archive alone tells.
func TestCompareWhileTheLogIsTrimmed(t *testing.T) {
	s := &server{branch: "b0"}
	for range 9 {
		s.add("o")
	}
	s.mark = domain.ArchiveMark{Branch: "b0"}
	log := &source{server: &s, around: quiet, begun: new(int)}
	all := slices.Clone(s.entries)
	var begins Position
	next := logEntries(t.Context(), log, 0, "b0", 1, &begins)
	want := func(i int) {
		t.Helper()
		if e, err := next(); err != nil || !sameEntry(e, all[i]) {
			t.Errorf("it goes on with %+v, %v, want %+v", e, err, all[i])
		}
	}
	want(0)
	want(1)
	s.trim(all[5].ID)
	want(5)
	if begins.String() != all[5].ID {
		t.Errorf("the log begins with %s, want %s", begins, all[5].ID)
	}
	want(6)
	s.entries = slices.Delete(s.entries, 1, 2) // by whoever removes an entry: it was not trimmed
	if _, err := next(); !errors.Is(err, domain.ErrDataReplaced) {
		t.Errorf("an entry is gone: %v", err)
	}
}
