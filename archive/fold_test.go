package archive

import (
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
