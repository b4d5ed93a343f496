package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

const results = `goos: linux
BenchmarkDrain/system=holdfast/events=100/fsync=no-2   1   5.0 allocs/order   80000 orders/s   11.9 redis-µs/order
BenchmarkDrain/system=holdfast/events=100/fsync=no-2   1   5.0 allocs/order   60000 orders/s   13.9 redis-µs/order
BenchmarkDrain/system=holdfast/events=100/fsync=no-2   1   5.0 allocs/order   66000 orders/s   13.0 redis-µs/order
BenchmarkDrain/system=handwritten/events=100/fsync=no-2   1   33000 orders/s
BenchmarkDrain/system=go-workflows/events=100/fsync=no-2   1   1100 orders/s
BenchmarkPaced/system=go-workflows/rate=2000/workers=3/fsync=no/gateway=0s-2   1   4.0 p99-ms   700 posted/s
PASS
`

func read(t *testing.T, text string) figures {
	t.Helper()
	f := make(figures)
	if err := f.read(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestGoalAndFigureStandSideBySide(t *testing.T) {
	f := read(t, results)
	var out strings.Builder
	if err := errors.Join(writeGoals(&out, f), writeSystems(&out, f)); err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]bool)
	for line := range strings.Lines(out.String()) {
		lines[strings.Join(strings.Fields(line), " ")] = true
	}
	for _, want := range []string{
		"drain, 100 events orders/s >= 70,000 66,000 missed", // the median
		"drain, 100 events redis-µs/order <= 13.5 13.0 met",
		"of the best library, 100 events times >= 8.00 60.0 met",
		"of the hand-written worker, 100 events times >= 4.50 2.00 missed",
		"go-workflows 1,100 - - - - too fast - -",
	} {
		if !lines[want] {
			t.Errorf("there is no line %q in\n%s", want, out.String())
		}
	}
}

func TestARunThatFailedIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "BenchmarkIdle-2 1 3 commands/s\n", results + "--- FAIL: BenchmarkIdle\n", results + "FAIL\n", "panic: x\nPASS\n",
	} {
		if err := make(figures).read(strings.NewReader(text)); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
}

func TestTheChartIsXMLAndNamesWhatWasMeasured(t *testing.T) {
	svg := drawDrains(read(t, results))
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{">holdfast<", ">66,000<", ">hand-written consumer group<", ">1,100<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the chart lacks %s", want)
		}
	}
	if strings.Contains(svg, "asynq") {
		t.Error("the chart names what was not measured")
	}
}
