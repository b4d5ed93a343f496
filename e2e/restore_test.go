package e2e

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/e2e/torture"
)

// restoredView is what restore says.
type restoredView struct {
	Orders int `json:"orders"`
	Facts  int `json:"facts"`
}

// Redis is emptied in the middle of a sale that is archived, and restored. Lost is what was not archived yet: the audit with the gateway's books names
// just the payments of that, and when all is published again each order is confirmed, and paid for once.
func TestRestoredUnderLoad(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 7, "FLUSHALL in the middle of a sale with an archive, restored")
	s := newSystem(t)
	s.store() // no test makes it again
	archive := "file://" + filepath.Join(t.TempDir(), "archive")
	gateway := startGateway(t, "--latency", "200ms")
	args := []string{"--gateway", gateway, "--archive", archive, "--archive-every", "300ms", "--snapshot-every", "1s", "--hold-time", "5m", "--concurrency", strconv.Itoa(torture.Size(16, 256))}
	pool := []*program.Process{s.worker("worker-0", args...), s.worker("worker-1", args...)}
	n := torture.Size(2_000, 100_000)
	requests, refs := s.purchases("sold", 4, n)
	within := time.Duration(torture.Size(1, 10)) * soon
	eventually(t, soon, "the events are archived", func() error {
		if said := s.run("", "archive", "export", "--archive", archive, "--what", "sales").stdout; strings.Count(said, "sold-event") < 4 {
			return fmt.Errorf("it tells %s", said)
		}
		return nil
	})
	publish(t, s.producer(), requests...)
	eventually(t, within, "half of it is sold", func() error {
		if known := len(ledger(t, gateway)); known < n/2 {
			return fmt.Errorf("the gateway knows %d orders of %d", known, n)
		}
		return nil
	})
	if err := s.client().FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	for _, p := range pool {
		p.SaysSoon("holdfast restore --archive URL brings it back")
	}
	if there := s.client().Exists(context.Background(), "holdfast:meta").Val(); there != 0 {
		t.Fatal("a worker has made the namespace anew")
	}
	program.StopAll(pool...)

	is := one[restoredView](s, "restore", "--archive", archive)
	lines := ledger(t, gateway)
	beyond := make(map[string]bool)
	for i, o := range s.orders(refs) {
		line, asked := lines[refs[i]]
		switch {
		case !asked:
		case line.Status == domain.PaymentStatusCaptured && o.State != domain.OrderConfirmed,
			line.Status == domain.PaymentStatusAuthorized && o.State == domain.OrderNone:
			beyond[refs[i].String()] = true
		}
	}
	r := s.run("", append(s.auditArgs(gateway), "--archive", archive)...)
	report := decodeLines[auditView](t, r.stdout)
	if len(report) != 1 {
		t.Fatalf("audit: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	named := make(map[string]bool)
	for _, v := range report[0].Violations {
		if v.Invariant != "I4" && v.Invariant != "I5" {
			t.Errorf("of what is restored the audit says %+v", v)
		}
		named[v.Subject] = true
	}
	if !maps.Equal(named, beyond) {
		t.Errorf("the audit names the payments of\n%s\nwhat is not restored is\n%s", strings.Join(slices.Sorted(maps.Keys(named)), " "), strings.Join(slices.Sorted(maps.Keys(beyond)), " "))
	}
	if is.Orders == 0 || is.Orders == n {
		t.Errorf("it restored %d orders of %d: that was no test", is.Orders, n)
	}

	pool = []*program.Process{s.worker("worker-2", args...), s.worker("worker-3", args...)}
	publish(t, s.producer(), requests...)
	s.drained(within)
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	s.seenTo()
	eventually(t, within, "all is archived", func() error {
		if r := s.run("", append(s.auditArgs(gateway), "--archive", archive)...); r.code != 0 {
			return fmt.Errorf("audit: exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		return nil
	})
	program.StopAll(pool...)
	tally.Count("orders", n)
	tally.Count("restored", is.Orders)
	tally.Count("payments beyond what was archived", len(beyond))
	tally.Judged(0)
}
