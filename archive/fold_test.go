package archive

import (
	"context"
	"testing"

	"holdfast/domain"
)

// What was at a time is the same from a snapshot and from the first segment on, of all events and of one, and what the snapshot has in it is
// not read again.
func TestFoldBeginsWithASnapshot(t *testing.T) {
	bucket, s, a := sold(t, 3)
	snapshot := taken(t, bucket)
	for range 2 {
		sell(*s)
		drain(t, a, s)
	}
	fold := func(o Options) (f Folded, segments int) {
		o.Step = func() { segments++ }
		if err := NewReader(bucket, "shop").Fold(t.Context(), o, func(is Folded) error {
			f = is
			return nil
		}); err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		return f, segments
	}
	for _, e := range (*s).entries {
		for _, event := range []string{"", "e1", "e9"} {
			o := Options{EventID: event, UntilMillis: domain.EntryMillis(e.ID)}
			got, read := fold(o)
			o.Fact = func(domain.Fact) {}
			want, all := fold(o)
			wantSameBook(t, got.Book, want.Book)
			if got.Last != want.Last || got.Beyond != want.Beyond {
				t.Errorf("until %s: up to %s, beyond %t; from the start: up to %s, beyond %t", e.ID, got.Last, got.Beyond, want.Last, want.Beyond)
			}
			saved := 0
			if o.UntilMillis >= domain.EntryMillis(snapshot.Last) {
				saved = 3
			}
			if read != all-saved {
				t.Errorf("until %s: %d segments read, of %d", e.ID, read, all)
			}
		}
	}
}

// twoLogs are those of two partitions.
type twoLogs struct {
	*source
	second *source
}

func (l twoLogs) of(p int) *source { return []*source{l.source, l.second}[p] }

func (l twoLogs) ArchivedNamespace(ctx context.Context) (domain.ArchivedNamespace, error) {
	ns, err := l.source.ArchivedNamespace(ctx)
	ns.Partitions = 2
	return ns, err
}

func (l twoLogs) ArchiveState(ctx context.Context, p int) (domain.ArchiveState, error) {
	return l.of(p).ArchiveState(ctx, p)
}

func (l twoLogs) LogAfter(ctx context.Context, p int, branch, after string, bytes int) ([]domain.Entry, error) {
	return l.of(p).LogAfter(ctx, p, branch, after, bytes)
}

// A partition of which nothing is archived yet is told by its log, or it is told that it is not known.
func TestFoldOfAPartitionThatIsNotArchived(t *testing.T) {
	first, second := &server{branch: "b0"}, &server{branch: "c0"}
	bucket := newMemory()
	log := twoLogs{&source{server: &first, around: quiet, begun: new(int)}, &source{server: &second, around: quiet, begun: new(int)}}
	sell(first)
	drain(t, NewArchiver(log, bucket, "w"), &first)
	sell(second)
	fold := func(o Options) (found []Folded) {
		t.Helper()
		if err := NewReader(bucket, "shop").Fold(t.Context(), o, func(f Folded) error {
			found = append(found, f)
			return nil
		}); err != nil || len(found) == 0 || found[0].Partition != 0 {
			t.Fatalf("%+v: %+v, %v", o, found, err)
		}
		return found
	}
	asked := func() domain.ArchiveSource { return log }
	is := fold(Options{UntilMillis: 1, Log: asked})
	if len(is) != 2 || is[1].Partition != 1 || !is[1].Beyond || len(is[1].Book.Events) > 0 {
		t.Errorf("before anything: %+v", is)
	}
	last := second.entries[len(second.entries)-1].ID
	is = fold(Options{Log: asked})
	if len(is) != 2 || is[1].Last != last || is[1].Branch != "c0" || is[1].Unread != nil {
		t.Fatalf("with the log: %+v", is)
	}
	wantSameBook(t, is[1].Book, folded(t, second, last))
	for what, o := range map[string]Options{"no log": {}, "it is away": {Log: func() domain.ArchiveSource { return nil }}, "another event": {EventID: "e7"}} {
		if is := fold(o); len(is) != 2 || is[1].Beyond || is[1].Last != "0-0" || len(is[1].Book.Events) > 0 {
			t.Errorf("%s: %+v", what, is)
		}
	}
	if is := fold(Options{EventID: "e1"}); len(is) != 1 {
		t.Errorf("of an event that another partition has: %+v", is)
	}
	second.trim(last)
	if is := fold(Options{Log: asked}); len(is) != 2 || is[1].Unread == nil || is[1].Last != "0-0" {
		t.Errorf("trimmed: %+v", is)
	}
}
