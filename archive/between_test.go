package archive

import (
	"slices"
	"strings"
	"testing"

	"holdfast/domain"
)

// Between two entries of a branch, wherever it was begun, is just what its log says, of as few segments as have it; and what is missing is named.
func TestBetween(t *testing.T) {
	bucket, _, after := twoBranches(t)
	r := NewReader(bucket, "shop")
	between := func(from, to string) (entries []domain.Entry, err error) {
		err = r.Between(t.Context(), 0, after.mark, from, to, func(e domain.Entry) error {
			entries = append(entries, e)
			return nil
		})
		return entries, err
	}
	all := after.entries
	for i := -1; i < len(all); i++ {
		from := "0-0"
		if i >= 0 {
			from = all[i].ID
		}
		for j := i + 1; j < len(all); j++ {
			entries, err := between(from, all[j].ID)
			if want := all[i+1 : j]; err != nil || !slices.EqualFunc(entries, want, sameEntry) {
				t.Errorf("from %d to %d: %v, %v, want %v", i, j, entries, err, want)
			}
		}
	}
	if _, err := between("0-0", "1900000000000-0"); domain.ClassOf(err) != domain.ClassPoison {
		t.Errorf("beyond the end: %v", err)
	}
	var keys []string
	for key := range bucket.objects {
		if strings.Contains(key, "branch=b1/") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if entries, err := between(all[6].ID, all[7].ID); err != nil || len(entries) > 0 {
		t.Errorf("between neighbours: %v, %v", entries, err)
	}
	delete(bucket.objects, keys[2])
	if _, err := between(all[0].ID, all[8].ID); domain.ClassOf(err) != domain.ClassPoison {
		t.Errorf("with a segment missing: %v", err)
	}
	if _, err := between(all[7].ID, all[8].ID); err != nil {
		t.Errorf("where it is not missing: %v", err)
	}
}

// What is archived of an event is as it was, whatever was forgotten since.
func TestArchivedEvent(t *testing.T) {
	bucket, s, _ := sold(t, 3)
	r := NewReader(bucket, "shop")
	found, err := r.Event(t.Context(), 0, (*s).mark, "e1")
	if err != nil || len(found.Book.Events) != 1 || len(found.Book.Orders) == 0 || len(found.Listed.Sections) == 0 {
		t.Errorf("found %+v, %v", found, err)
	}
	if _, err := r.Event(t.Context(), 0, (*s).mark, "none"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("one that never was: %v", err)
	}
	mark := (*s).mark
	mark.Position = "1900000000000-0"
	if _, err := r.Event(t.Context(), 0, mark, "e1"); domain.ClassOf(err) != domain.ClassPoison {
		t.Errorf("of an archive that ends before the mark: %v", err)
	}
}
