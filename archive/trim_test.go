package archive

import (
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
