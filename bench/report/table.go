package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// goal is a figure that holdfast is to reach.
type goal struct {
	what      string
	benchmark string
	unit      string
	atLeast   float64 // this or atMost; neither: it is only told
	atMost    float64
}

const (
	drain100    = "Drain/system=holdfast/events=100/fsync=no"
	drainHot    = "Drain/system=holdfast/events=1/fsync=no"
	drainWide   = "Drain/system=holdfast/events=2000/fsync=no"
	drain100AOF = "Drain/system=holdfast/events=100/fsync=always"
	drainHotAOF = "Drain/system=holdfast/events=1/fsync=always"
	paced5000   = "Paced/system=holdfast/rate=5000/workers=3/fsync=no/gateway=0s"
	pacedAOF    = "Paced/system=holdfast/rate=5000/workers=3/fsync=always/gateway=0s"
	pacedSlow   = "Paced/system=holdfast/rate=2000/workers=2/fsync=no/gateway=200ms"
	soldOut     = "SoldOut/system=holdfast"
	idle        = "Idle/system=holdfast"
	growth      = "Growth/system=holdfast"
	overload    = "Overload/system=holdfast"
	floor       = "Floor"
)

var goals = []goal{
	{what: "drain, 100 events", benchmark: drain100, unit: "orders/s", atLeast: 70_000},
	{what: "drain, 100 events", benchmark: drain100, unit: "redis-µs/order", atMost: 13.5},
	{what: "drain, hot event", benchmark: drainHot, unit: "orders/s", atLeast: 80_000},
	{what: "drain, hot event", benchmark: drainHot, unit: "redis-µs/order", atMost: 12},
	{what: "drain, 100 events, appendfsync always", benchmark: drain100AOF, unit: "orders/s", atLeast: 40_000},
	{what: "drain, hot event, appendfsync always", benchmark: drainHotAOF, unit: "orders/s", atLeast: 40_000},
	{what: "drain, every order of a batch its own event", benchmark: drainWide, unit: "orders/s", atLeast: 60_000},
	{what: "drain, every order of a batch its own event", benchmark: drainWide, unit: "redis-µs/order", atMost: 16},
	{what: "sold out", benchmark: soldOut, unit: "refusals/s", atLeast: 150_000},
	{what: "paced 5,000/s, three workers", benchmark: paced5000, unit: "posted/s", atLeast: sustained * 5000},
	{what: "paced 5,000/s, three workers", benchmark: paced5000, unit: "p50-ms", atMost: 1},
	{what: "paced 5,000/s, three workers", benchmark: paced5000, unit: "p99-ms", atMost: 4},
	{what: "paced 5,000/s, three workers", benchmark: paced5000, unit: "p99.9-ms", atMost: 15},
	{what: "paced 5,000/s, three workers, appendfsync always", benchmark: pacedAOF, unit: "p99-ms", atMost: 12},
	{what: "paced 2,000/s, two workers, gateway takes 200 ms", benchmark: pacedSlow, unit: "p99-ms", atMost: 230},
	{what: "memory of a finished order, requests trimmed", benchmark: drain100, unit: "redis-B/order", atMost: 560},
	{what: "Go, 100 events", benchmark: drain100, unit: "go-µs/order", atMost: 8},
	{what: "Go, 100 events", benchmark: drain100, unit: "allocs/order", atMost: 12},
	{what: "idle worker, default partitions", benchmark: idle, unit: "commands/s", atMost: 40},
	{what: "idle worker, default partitions", benchmark: idle, unit: "connections", atMost: 16},
	{what: "publishing in batches, of bare pipelined XADD", benchmark: "Publish", unit: "%of-bare", atLeast: 90},
	{what: "the books alone, without any rule", benchmark: floor, unit: "redis-µs/order"},
	{what: "the books alone, without any rule", benchmark: floor, unit: "orders/s"},
	{what: "cost at 10,000,000 orders", benchmark: growth, unit: "times-first", atMost: 1.15},
	{what: "overload, three times the maximum", benchmark: overload, unit: "%of-maximum", atLeast: 90},
	{what: "overload, most that waited", benchmark: overload, unit: "most-waiting"},
	{what: "overload, told to come later", benchmark: overload, unit: "%busy"},
	{what: "overload, drained, until p99 is below 10 ms", benchmark: overload, unit: "s-until-calm", atMost: 5},
}

// sustained is which part of a rate must be posted to say that it is kept up with.
const sustained = 0.95

func (g goal) said() string {
	switch {
	case g.atLeast > 0:
		return ">= " + number(g.atLeast)
	case g.atMost > 0:
		return "<= " + number(g.atMost)
	}
	return ""
}

func (g goal) verdict(figure float64) string {
	switch {
	case g.atLeast > 0 && figure < g.atLeast, g.atMost > 0 && figure > g.atMost:
		return "missed"
	case g.atLeast > 0 || g.atMost > 0:
		return "met"
	}
	return ""
}

// writeGoals writes goal and figure side by side.
func writeGoals(out io.Writer, f figures) error {
	var rows strings.Builder
	rows.WriteString("what\tunit\tgoal\tfigure\t\n")
	unmeasured := 0
	for _, g := range append(goals, ratios(f)...) {
		figure, ok := f.of(g.benchmark, g.unit)
		if !ok {
			unmeasured++
			continue
		}
		fmt.Fprintf(&rows, "%s\t%s\t%s\t%s\t%s\n", g.what, g.unit, g.said(), number(figure), g.verdict(figure))
	}
	if err := align(out, rows.String()); err != nil || unmeasured == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d goals were not measured in this run, or have no figure because the pace was too fast.\n", unmeasured)
	return err
}

// align writes rows of cells that end with tabs as columns.
func align(out io.Writer, rows string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(w, rows); err != nil {
		return err
	}
	return w.Flush()
}

// system is one of those that run the flow.
type system struct {
	name    string // in the benchmarks
	title   string
	library bool
}

var systems = []system{
	{name: "holdfast", title: "holdfast"},
	{name: "handwritten", title: "hand-written consumer group"},
	{name: "article", title: "WATCH/MULTI/RPOP"},
	{name: "watermill", title: "Watermill", library: true},
	{name: "asynq", title: "asynq", library: true},
	{name: "go-workflows", title: "go-workflows", library: true},
}

func (s system) drain(events int) string {
	return fmt.Sprintf("Drain/system=%s/events=%d/fsync=no", s.name, events)
}

func (s system) paced(rate int) string {
	return fmt.Sprintf("Paced/system=%s/rate=%d/workers=3/fsync=no/gateway=0s", s.name, rate)
}

// ratios are the goals against peers. What they measure they add to the figures.
func ratios(f figures) []goal {
	var all []goal
	add := func(what, unit string, atLeast float64, peer float64, events int) {
		g := goal{what: what, benchmark: "Ratio/" + what, unit: unit, atLeast: atLeast}
		ours, ok := f.of(systems[0].drain(events), "orders/s")
		if ok && peer > 0 {
			f[key(g.benchmark, unit)] = []float64{ours / peer}
		}
		all = append(all, g)
	}
	for _, events := range []int{100, 1} {
		var library, handwritten float64
		for _, s := range systems {
			rate, _ := f.of(s.drain(events), "orders/s")
			if s.library {
				library = max(library, rate)
			}
			if s.name == "handwritten" {
				handwritten = rate
			}
		}
		of := "100 events"
		if events == 1 {
			of = "hot event"
		}
		add("of the best library, "+of, "times", 8, library, events)
		add("of the hand-written worker, "+of, "times", 4.5, handwritten, events)
	}
	return all
}

// writeSystems writes all systems side by side, if peers were measured.
func writeSystems(out io.Writer, f figures) error {
	if _, ok := f.of(systems[1].drain(100), "orders/s"); !ok {
		return nil
	}
	var rows strings.Builder
	rows.WriteString("\n\torders/s\torders/s\tRedis µs\tGo µs\tp99 ms at\tp99 ms at\tp99 ms at\tp99 ms at\t\n")
	rows.WriteString("system\t100 events\thot event\tan order\tan order\t500/s\t2,000/s\t5,000/s\t10,000/s\t\n")
	for _, s := range systems {
		fmt.Fprintf(&rows, "%s\t%s\t%s\t%s\t%s\t", s.title,
			f.text(s.drain(100), "orders/s"), f.text(s.drain(1), "orders/s"),
			f.text(s.drain(100), "redis-µs/order"), f.text(s.drain(100), "go-µs/order"))
		for _, rate := range []int{500, 2000, 5000, 10_000} {
			p99 := f.text(s.paced(rate), "p99-ms")
			if posted, ok := f.of(s.paced(rate), "posted/s"); ok && posted < sustained*float64(rate) {
				p99 = "too fast"
			}
			rows.WriteString(p99 + "\t")
		}
		rows.WriteString("\n")
	}
	return align(out, rows.String())
}

func (f figures) text(benchmark, unit string) string {
	if figure, ok := f.of(benchmark, unit); ok {
		return number(figure)
	}
	return "-"
}

// number is a figure for people: three digits or more, with a comma before each three.
func number(f float64) string {
	switch {
	case f < 10:
		return strconv.FormatFloat(f, 'f', 2, 64)
	case f < 100:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(f, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
