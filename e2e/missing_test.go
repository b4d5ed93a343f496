package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/torture"
	"holdfast/streams/redistest"
)

// missingReport is the last line of what restore --missing says.
type missingReport struct {
	Facts  int `json:"facts"`
	Orders int `json:"orders"`
	Done   int `json:"done"`
	Left   int `json:"left"`
}

func (s *system) missing(archive string, args ...string) (report missingReport, code int) {
	s.t.Helper()
	r := s.run("", append([]string{"restore", "--missing", "--archive", archive, "-o", "json"}, args...)...)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	reports := decodeLines[missingReport](s.t, lines[len(lines)-1]+"\n")
	if len(reports) != 1 || r.code > 1 {
		s.t.Fatalf("restore --missing: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	return reports[0], r.code
}

// A failover of Sentinel loses orders that were sold and captured, and archived. While others are sold, they come back, without being published again, each
// once, and the gateway's books are right.
func TestSentinelMissing(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 8, "what a failover of Sentinel lost, given back from the archive under load")
	sentinels := redistest.StartSentinels(t)
	s := &system{t: t, url: sentinels.URL()}
	s.store()
	archive := "file://" + filepath.Join(t.TempDir(), "archive")
	gateway := startGateway(t)
	args := []string{"--gateway", gateway, "--archive", archive, "--archive-every", "50ms", "--reclaim-after", "2s", "--wait-redis", "60s"}
	s.worker("worker-0", args...)
	s.worker("worker-1", args...)
	requests, refs := s.purchases("sold", 4, 300)
	archived := func() {
		t.Helper()
		eventually(t, soon, "all is archived", func() error {
			if r := s.run("", "audit", "--archive", archive, "-o", "json"); r.code != 0 {
				return fmt.Errorf("audit: exit %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			return nil
		})
	}
	publish(t, s.producer(), requests[:100]...)
	s.drained(time.Minute)
	archived()
	sentinels.LeaveBehind()
	publish(t, s.producer(), requests[100:200]...)
	eventually(t, soon, "they are sold", func() error {
		for i, o := range s.orders(refs[100:200]) {
			if o.State != domain.OrderConfirmed {
				return fmt.Errorf("%s is %s", refs[100+i], o.State)
			}
		}
		return nil
	})
	archived()
	sentinels.KillMaster()
	sentinels.Revive()
	eventually(t, time.Minute, "the workers have noticed", func() error {
		if r := s.run("", "restore", "--missing", "--archive", archive, "-o", "json"); r.code != 1 || r.stdout == "" {
			return fmt.Errorf("restore --missing: exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		return nil
	})
	before, _ := s.missing(archive)
	if before.Orders < 100 || before.Done != 0 || before.Left < 100 {
		t.Errorf("of 100 orders it misses %+v", before)
	}
	publish(t, s.producer(), requests[200:]...) // others are sold meanwhile
	done, code := s.missing(archive, "--apply")
	if code != 0 || done.Done < 100 {
		t.Errorf("exit %d, %+v", code, done)
	}
	if again, code := s.missing(archive, "--apply", "--refund"); code != 0 || again.Done != 0 {
		t.Errorf("once more: exit %d, %+v", code, again)
	}
	s.drained(time.Minute)
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	s.seenTo()
	s.audit(gateway)
	archived()
	tally.Count("facts lost", before.Facts)
	tally.Count("orders given back", done.Done)
}
