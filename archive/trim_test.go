package archive

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
)

// TestTrimBehindSnapshots: the log goes as far as the newest good snapshot of its branch, and only where the archive of its mark is.
func TestTrimBehindSnapshots(t *testing.T) {
	bucket, s, _ := sold(t, 6)
	log := &source{server: s, around: quiet, begun: new(int)}
	a := NewArchiver(log, bucket, "w")
	trim := func(what string, of *Archiver, want bool) {
		t.Helper()
		gone, err := of.Trim(t.Context(), 0)
		if err != nil || gone > 0 != want {
			t.Errorf("%s: %d entries went, %v", what, gone, err)
		}
	}
	refused := func(what, why string) {
		t.Helper()
		if gone, err := a.Trim(t.Context(), 0); err == nil || !strings.Contains(err.Error(), why) || gone > 0 {
			t.Errorf("%s: %d entries went, %v", what, gone, err)
		}
	}
	a.Keep(domain.KeepLog{For: time.Minute})
	refused("without a snapshot", "no good snapshot of branch b0")
	a.Keep(domain.KeepLog{})
	taken(t, bucket)
	trim("nothing is to be dropped", a, false)
	a.Keep(domain.KeepLog{For: time.Minute})
	at := (*s).mark.Position
	trim("behind a snapshot", a, true)
	if (*s).trimmed != at {
		t.Errorf("it was trimmed to %s, want %s", (*s).trimmed, at)
	}
	(*s).add("q")
	drain(t, a, s)
	trim("what is archived, and in no snapshot", a, false)
	(*s).later = 72 * time.Hour
	refused("behind an old snapshot", "72h0m0s old")
	(*s).later = 0
	taken(t, bucket)
	trim("it is in one", a, true)

	(*s).begin("b9")
	trim("of another branch than the mark", a, false)
	(*s).add("r")
	drain(t, a, s)
	refused("of a branch without a snapshot", "no good snapshot of branch b9")
	taken(t, bucket)
	for key, body := range bucket.objects {
		if strings.Contains(key, "b9") && !strings.HasSuffix(key, ".parquet") {
			bucket.objects[key] = append(body[:len(body)-2:len(body)-2], 'x', 'x')
		}
	}
	refused("behind a damaged snapshot", "no good snapshot of branch b9")

	other := NewArchiver(log, newMemory(), "w")
	other.Keep(domain.KeepLog{For: time.Minute})
	if gone, err := other.Trim(t.Context(), 0); err == nil || gone > 0 {
		t.Errorf("with another archive: %d entries went, %v", gone, err)
	}
}

// TestTrimFaults: whichever call of a trim fails, is done and not answered, or is cut short: what is left is the end of the log, which begins with what the snapshot ends with,
// or is whole; and the next trim comes to the same end. Whoever trims for the first time reads the snapshot; it is not read again.
func TestTrimFaults(t *testing.T) {
	for what, broken := range map[string]error{"fails": errors.New("500"), "is cut": errTruncated} {
		for _, known := range []bool{false, true} {
			calls := 0
			for n, hit := 0, true; hit; n++ {
				bucket, s, _ := sold(t, 3)
				calls, hit = 0, false
				around := func(call string) error {
					if calls++; calls != n+1 {
						return nil
					}
					hit = true
					return broken
				}
				log := &source{server: s, around: quiet, begun: new(int)}
				a := NewArchiver(log, bucket, "w")
				a.Keep(domain.KeepLog{For: time.Minute})
				taken(t, bucket)
				at := (*s).mark.Position
				if known { // an older one
					if gone, err := a.Trim(t.Context(), 0); err != nil || gone == 0 {
						t.Fatalf("before: %d entries went, %v", gone, err)
					}
					sell(*s)
					drain(t, a, s)
				}
				whole, before := (*s).whole(), (*s).trimmed
				log.around, bucket.around = around, around
				gone, err := a.Trim(t.Context(), 0)
				log.around, bucket.around = quiet, quiet
				if !hit && err != nil {
					t.Errorf("undisturbed: %v", err)
				}
				if is := (*s).trimmed; is != before && is != at || !slices.EqualFunc((*s).whole(), whole, sameEntry) || err == nil && is == before && gone > 0 {
					t.Errorf("it was trimmed to %q, want %q or %q; %d entries went, %v", is, before, at, gone, err)
				}
				if _, err := a.Trim(t.Context(), 0); err != nil || (*s).trimmed != at {
					t.Errorf("the next one trims to %q, %v, want %q", (*s).trimmed, err, at)
				}
				if t.Failed() {
					t.Fatalf("call %d %s, a snapshot is known: %t", n, what, known)
				}
			}
			if known && calls > 6 || !known && calls < 8 {
				t.Errorf("a snapshot is known: %t, and there were %d calls", known, calls)
			}
		}
	}
}
