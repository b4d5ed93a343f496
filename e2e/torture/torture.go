// Package torture is what the tests of the invariants have in common: how much
// they do, from which seed, and the table of what they did.
//
// Every such test runs in two sizes: a slice, in "make test", and in full, in
// "make torture". Both print their seed, and SEED repeats it.
package torture

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the environment says, read at the start: some tests clear it for the processes they start.
var (
	full   = os.Getenv("HOLDFAST_TORTURE") != ""
	report = os.Getenv("HOLDFAST_TORTURE_REPORT")
	seed   = os.Getenv("SEED")
)

// Full reports whether the tests run in full.
func Full() bool { return full }

// Size is how often something is done: slice times in "make test", inFull times in "make torture".
func Size(slice, inFull int) int {
	if full {
		return inFull
	}
	return slice
}

// Seed is where a test's random numbers begin: a new one each time, or that of
// the environment variable SEED. It is printed.
func Seed(tb testing.TB) uint64 {
	tb.Helper()
	n := uint64(time.Now().UnixNano())
	if seed != "" {
		var err error
		if n, err = strconv.ParseUint(seed, 10, 64); err != nil {
			tb.Fatalf("SEED: %v", err)
		}
	}
	tb.Logf("SEED=%d", n)
	return n
}

// Row is a line of the table: what one test did.
type Row struct {
	Section    int      `json:"section"` // of docs/reliability.md
	Test       string   `json:"test"`
	What       string   `json:"what"`
	Counts     []Count  `json:"counts"`          // what was done how often
	Audits     int      `json:"audits"`          // how often the auditor judged
	Violations int      `json:"violations"`      // what it found
	Notes      []string `json:"notes,omitempty"` // lines of a table of the test's own
	Seconds    float64  `json:"seconds"`
	Failed     bool     `json:"failed"`
	Full       bool     `json:"full"`
}

// Count says how often something was done.
type Count struct {
	What string `json:"what"`
	N    int    `json:"n"`
}

// Tally counts what a test does. It may be used by several goroutines.
type Tally struct {
	tb    testing.TB
	began time.Time

	mu  sync.Mutex
	row Row
}

// Begin starts a test's line of the table, which is written when the test ends.
// The section is that of docs/reliability.md.
func Begin(tb testing.TB, section int, what string) *Tally {
	tb.Helper()
	t := &Tally{tb: tb, began: time.Now(), row: Row{Section: section, Test: tb.Name(), What: what, Full: full}}
	tb.Cleanup(t.end)
	return t
}

// Count adds to how often something was done.
func (t *Tally) Count(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.row.Counts {
		if t.row.Counts[i].What == what {
			t.row.Counts[i].N += n
			return
		}
	}
	t.row.Counts = append(t.row.Counts, Count{what, n})
}

// Note adds a line to what the test says besides its counts.
func (t *Tally) Note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.row.Notes = append(t.row.Notes, fmt.Sprintf(format, args...))
}

// Judged notes a verdict of the auditor, and how many violations it named.
func (t *Tally) Judged(violations int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.row.Audits++
	t.row.Violations += violations
}

func (t *Tally) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.row.Seconds = time.Since(t.began).Seconds()
	t.row.Failed = t.tb.Failed()
	t.tb.Logf("%s", t.row)
	for _, note := range t.row.Notes {
		t.tb.Log(note)
	}
	if report == "" {
		return
	}
	line, err := json.Marshal(t.row)
	if err == nil {
		err = appendLine(report, line)
	}
	if err != nil {
		t.tb.Errorf("writing the table: %v", err)
	}
}

// appendLine adds a line in one write, so that tests of several processes do not mix theirs.
func appendLine(path string, line []byte) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		_ = f.Close() // the first error tells more
		return err
	}
	return f.Close()
}

// String is the row for people.
func (r Row) String() string {
	parts := make([]string, len(r.Counts))
	for i, c := range r.Counts {
		parts[i] = fmt.Sprintf("%d %s", c.N, c.What)
	}
	return fmt.Sprintf("%s: %s; %d audits, %d violations", r.What, strings.Join(parts, ", "), r.Audits, r.Violations)
}

// Eventually waits until cond returns nil; after limit the test fails with cond's
// last error. It is the only place that sleeps in tests that use it.
func Eventually(tb testing.TB, limit time.Duration, what string, cond func() error) {
	tb.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("waited %s in vain: %s: %v", limit, what, err)
		}
	}
}
