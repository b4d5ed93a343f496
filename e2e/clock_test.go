package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
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

const (
	clockHold = 2 * time.Second
	// clockMost is by how much clocks are wrong, and more than anything here takes by a right one.
	clockMost = 10 * clockHold
	// clockValid is how long a request may wait in line: too short for a clock that is fast by clockMost.
	clockValid = 15 * time.Second
	// expiredWithin bounds how late a hold may expire. Far below it is usual; a clock that is
	// slow by clockMost would make it twice that.
	expiredWithin = clockMost / 2
	// withinScript is what may pass between a script's look at the clock and the fact that it writes.
	withinScript = time.Second
)

// wrongClockVariable says by how many seconds the clock of buildWithWrongClock is wrong.
const wrongClockVariable = "WRONG_CLOCK_SECONDS"

// buildWithWrongClock builds the program, unchanged, with a standard library whose
// time.Now is wrong by what the environment says. What measures durations, the
// monotonic clock, stays right, as it does on a machine with a wrong clock. The
// first time this takes a minute, because all that imports time is built again;
// then Go's cache has it.
func buildWithWrongClock(t testing.TB) (binary string) {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env GOROOT: %v", err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	now, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const reading = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if n := strings.Count(string(now), reading); n != 1 {
		t.Fatalf("time.Now is not as expected in this version of Go: %q is %d times in time.go, want once", reading, n)
	}
	dir := t.TempDir()
	overlay := map[string]map[string]string{"Replace": {}}
	for name, text := range map[string]string{
		"time.go": strings.Replace(string(now), reading, reading+"\tsec += wrongBy\n", 1),
		"wrong_clock.go": `package time

import "syscall"

var wrongBy = func() int64 {
	text, _ := syscall.Getenv("` + wrongClockVariable + `")
	seconds, _ := atoi(text)
	return int64(seconds)
}()
`,
	} {
		to := filepath.Join(dir, name)
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay["Replace"][filepath.Join(source, name)] = to
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "holdfast")
	if err := buildHoldfast(binary, "-overlay", file); err != nil {
		t.Fatal(err)
	}
	return binary
}

// workerWithClock starts a worker whose clock is wrong, and checks by its log that it is.
func (s *system) workerWithClock(binary, name string, wrongBy time.Duration, args ...string) *program.Process {
	s.t.Helper()
	cmd := exec.Command(binary, s.workerArgs(name, args...)...)
	cmd.Env = append(os.Environ(), wrongClockVariable+"="+strconv.Itoa(int(wrongBy/time.Second)))
	before := time.Now()
	p := program.Start(s.t, name, cmd)
	p.SaysSoon(`"worker started"`)
	after := time.Now()
	line, _, _ := strings.Cut(p.Stderr.String(), "\n")
	var said struct {
		TS time.Time `json:"ts"`
	}
	if err := json.Unmarshal([]byte(line), &said); err != nil {
		s.t.Fatalf("%s says %q: %v", name, line, err)
	}
	if at := said.TS.Add(-wrongBy); at.Before(before) || at.After(after) {
		s.t.Fatalf("%s says it is %s, between %s and %s: its clock is not wrong by %s", name, said.TS, before, after, wrongBy)
	}
	return p
}

// TestTortureWrongClocks is a sale whose payments take about as long as its holds
// last, so that many are approved just before their deadline and many just after
// it, with workers whose clocks are wrong by up to ten times that: all slow, all
// fast, or both beside right ones. All deadlines are on Redis's clock.
func TestTortureWrongClocks(t *testing.T) {
	t.Parallel()
	tally := torture.Begin(t, 3, "workers whose clocks are wrong by up to ten times the hold time")
	binary := buildWithWrongClock(t)
	rounds := torture.Size(3, 15)
	s := newSale(t, tally, torture.Seed(t), rounds*torture.Size(300, 800), 1600*time.Millisecond)
	s.validTime = clockValid
	some := func() time.Duration { // in full seconds, at least one
		return time.Duration(1+s.rng.Int64N(int64(clockMost/time.Second))) * time.Second
	}
	rdb := s.client()
	now := func() int64 {
		at, err := rdb.Time(context.Background()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return at.UnixMilli()
	}
	var pool []*program.Process
	var spans []span
	started, wrong := 0, 0
	begin := func(clocks ...time.Duration) {
		if len(spans) > 0 {
			spans[len(spans)-1].end = now()
		}
		ending := pool
		pool = nil
		for _, wrongBy := range clocks {
			started++
			if wrongBy != 0 {
				wrong++
			}
			pool = append(pool, s.workerWithClock(binary, fmt.Sprintf("worker-%d-%s", started, wrongBy), wrongBy,
				"--gateway", s.gateway, "--hold-time", clockHold.String(), "--valid-time", clockValid.String(), "--reclaim-after", "2s",
				"--call-timeout", "4s", "--pay-wait", "1m", "--grace", "1500ms", "--max-deliveries", neverTooOften))
		}
		program.StopAll(ending...) // what they have in hand goes to clocks that say something else
		spans = append(spans, span{first: now()})
	}
	s.sellWhile(pace{entries: 2, every: 20 * time.Millisecond, auditEvery: 3 * time.Second}, func(published int) (int, bool) {
		all := len(s.w.entries)
		if round := len(spans); round < rounds && published >= round*all/rounds {
			switch round % 3 {
			case 0:
				begin(-clockMost, -clockMost, -some())
			case 1:
				begin(clockMost, clockMost, some())
			case 2:
				begin(0, -clockMost, clockMost, -some(), some())
			}
		}
		return all, len(spans) == rounds
	})
	s.end(pool...)
	spans[len(spans)-1].end = now()
	program.StopAll(pool...)
	s.checkDeadlines(spans)

	tally.Count("clocks wrong", wrong)
	tally.Count("orders", len(s.w.orders))
}

// span is when only the workers of one round were there, by Redis's clock.
type span struct{ first, end int64 }

// checkDeadlines: by Redis's clock, each hold lasts as long as it should, is paid for
// before its deadline, or expires after it, and not long after it. And in each span
// something was sold from its beginning to its end: a clock must not keep a worker
// from selling, either.
func (s *sale) checkDeadlines(spans []span) {
	s.t.Helper()
	heldAt, deadlines := make(map[domain.OrderRef]int64), make(map[domain.OrderRef]int64)
	sold := make([]int, len(spans))
	lines := ledger(s.t, s.gateway)
	confirmed, expired, tooLate := 0, 0, 0
	latest := time.Duration(0)
	s.facts(func(f domain.Fact) {
		ref := f.Ref()
		after := time.Duration(f.AtMillis-deadlines[ref]) * time.Millisecond
		switch f.Type {
		case domain.FactHeld:
			heldAt[ref], deadlines[ref] = f.AtMillis, f.DeadlineMillis
			want := clockHold
			if asked := s.w.orders[ref].HoldSeconds; asked != 0 {
				want = time.Duration(asked) * time.Second
			}
			if got := time.Duration(f.DeadlineMillis-f.AtMillis) * time.Millisecond; got > want || got < want-withinScript {
				s.t.Errorf("%s is held for %s, want %s", ref, got, want)
			}
		case domain.FactConfirmed:
			confirmed++
			for i, span := range spans {
				if heldAt[ref] > span.first && f.AtMillis < span.end {
					sold[i]++
				}
			}
			if after >= withinScript {
				s.t.Errorf("%s is confirmed %s after its deadline", ref, after)
			}
		case domain.FactExpired:
			expired++
			latest = max(latest, after)
			if after < 0 || after > expiredWithin {
				s.t.Errorf("%s is expired %s after its deadline, want 0s to %s", ref, after, expiredWithin)
			}
			if lines[ref].Authorizations > 0 {
				tooLate++
			}
		case domain.FactDeclined, domain.FactCancelled, domain.FactRejected, domain.FactCreated, domain.FactAdjusted, domain.FactClosed:
		}
	})
	s.tally.Count("orders confirmed", confirmed)
	s.tally.Count("orders expired", expired)
	s.t.Logf("%d orders confirmed, %d expired up to %s after their deadline, %d of them with money reserved, and voided", confirmed, expired, latest, tooLate)
	if slices.Contains(sold, 0) {
		s.t.Errorf("sold in each round by its workers: %v, want something in each", sold)
	}
	if expired == 0 || tooLate == 0 {
		s.t.Error("nothing expired, or nothing that was paid for: that was no test")
	}
}
