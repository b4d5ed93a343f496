package access_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
)

// trimming is an archive of all entries; more of the log is trimmed while it is read.
type trimming struct {
	entries []domain.Entry
	more    func()
	err     error
}

func (a *trimming) Between(_ context.Context, _ int, mark domain.ArchiveMark, after, before string, each func(domain.Entry) error) error {
	if a.err != nil || mark.Branch != "b0" {
		return a.err
	}
	a.more()
	from, to := layout.ParseLogID(after), layout.ParseLogID(before)
	for _, e := range a.entries {
		if id := layout.ParseLogID(e.ID); id.After(from) && to.After(id) {
			if err := each(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// Each entry is told once, and in order, wherever it is, and though more of the log is trimmed before each page, and while the archive is read.
func TestTrimmedLogIsReadWhole(t *testing.T) {
	ns, r := open(t, streamstest.Server().URL(), 1)
	t.Cleanup(func() { r.Do("FLUSHALL") })
	const entries = 2*access.ReadPage + 500
	archived := &trimming{}
	pipe := ns.Client.Pipeline()
	for i := range entries {
		id := fmt.Sprintf("%d-%d", 1_700_000_000_000+i/3, i%3)
		archived.entries = append(archived.entries, domain.Entry{ID: id, Fields: []string{"n", fmt.Sprint(i)}})
		pipe.Do(r.Ctx, "XADD", ns.Keys.Log(0), id, "n", i)
	}
	if _, err := pipe.Exec(r.Ctx); err != nil {
		t.Fatal(err)
	}
	r.Do("SET", ns.Keys.Archived(0), layout.EncodeArchived(domain.ArchiveMark{Branch: "b0", Position: archived.entries[entries-1].ID, Hash: "ab", Segment: "one"}))
	trim := func(to int) {
		r.Do("XTRIM", ns.Keys.Log(0), "MINID", archived.entries[to].ID)
		r.Do("HSET", ns.Keys.Events(0), layout.TrimmedField, archived.entries[to].ID)
	}
	read := func(ns access.Namespace, after, upTo string) (told []domain.Entry, err error) {
		_, err = ns.EachEntry(r.Ctx, 0, after, upTo, func(e domain.Entry) error {
			if told = append(told, e); len(told)%700 == 0 && len(told) < entries-200 {
				trim(len(told) + 100)
			}
			return nil
		})
		return told, err
	}
	same := func(a, b domain.Entry) bool { return a.ID == b.ID && slices.Equal(a.Fields, b.Fields) }
	whole := ns
	whole.Archived = archived
	trim(10)
	archived.more = func() { trim(40); archived.more = func() {} }
	told, err := read(whole, "0-0", "+")
	if err != nil || !slices.EqualFunc(told, archived.entries, same) {
		t.Fatalf("%d entries were told of %d, %v", len(told), entries, err)
	}
	// Of what was trimmed alone, across the mark, and of what was not; by the id of an entry, and to the end of a millisecond.
	first := 2200 // of the log
	for _, span := range [][2]int{{3, 9}, {first - 3, first + 6}, {first - 4, first - 1}, {first, first + 3}, {first + 3, first + 9}} {
		from, to := span[0], span[1]
		for upTo, end := range map[string]int{archived.entries[to].ID: to, fmt.Sprint(domain.EntryMillis(archived.entries[to].ID)): to - to%3 + 2} {
			if told, err := read(whole, archived.entries[from].ID, upTo); err != nil || !slices.EqualFunc(told, archived.entries[from+1:end+1], same) {
				t.Errorf("from %d to %s: %v, %v", from, upTo, told, err)
			}
		}
	}
	if told, err := read(ns, "0-0", "+"); err != nil || len(told) != entries-first {
		t.Errorf("without an archive %d entries are told, %v", len(told), err)
	}
	archived.err = errors.New("it is away")
	if _, err := read(whole, "0-0", "+"); !errors.Is(err, access.ErrArchive) {
		t.Errorf("without an answer: %v", err)
	}
	if told, err := read(whole, archived.entries[first].ID, "+"); err != nil || len(told) != entries-first-1 {
		t.Errorf("where it need not be asked, %d entries are told, %v", len(told), err)
	}
}
