// Command table prints what the torture tests did: a line for each test, from
// the report they wrote. It fails if a test did, or if a section is missing.
//
//	go run ./e2e/torture/table REPORT
package main

import (
	"bufio"
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"holdfast/e2e/torture"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: table REPORT")
		os.Exit(2)
	}
	rows, err := readReport(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
	if !print(os.Stdout, rows) {
		os.Exit(1)
	}
}

func readReport(path string) ([]torture.Row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var rows []torture.Row
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var r torture.Row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b torture.Row) int {
		return cmp.Or(cmp.Compare(a.Section, b.Section), cmp.Compare(a.Test, b.Test))
	})
	return rows, lines.Err()
}

// sections of docs/reliability.md that every run must come to; the twelfth is "make soak" by itself.
const sections = 12

// print writes the tables and reports whether all is well.
func print(out io.Writer, rows []torture.Row) bool {
	well := true
	var audits, violations int
	seen := make(map[int]bool)
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) } // into memory
	line("\ttest\twhat was done, how often\taudits\tviolations\tseconds\t")
	for _, r := range rows {
		counts := make([]string, len(r.Counts))
		for i, c := range r.Counts {
			counts[i] = fmt.Sprintf("%s %d", c.What, c.N)
		}
		verdict := ""
		if r.Failed || r.Violations > 0 {
			verdict, well = "FAILED", false
		}
		line("%d\t%s\t%s: %s\t%d\t%d\t%.0f\t%s",
			r.Section, r.Test, r.What, strings.Join(counts, ", "), r.Audits, r.Violations, r.Seconds, verdict)
		audits += r.Audits
		violations += r.Violations
		seen[r.Section] = true
	}
	line("\t\tall\t%d\t%d\t\t", audits, violations)
	_ = w.Flush() // into memory
	for _, r := range rows {
		if len(r.Notes) > 0 {
			text.WriteString("\n" + r.What + ":\n  " + strings.Join(r.Notes, "\n  ") + "\n")
		}
	}
	text.WriteString("\n" + found)
	for section := 1; section <= sections; section++ {
		if !seen[section] {
			text.WriteString("section " + strconv.Itoa(section) + " is missing\n")
			well = false
		}
	}
	if _, err := io.WriteString(out, text.String()); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		return false
	}
	return well
}

// found is what such runs have found so far. docs/reliability.md tells it at length.
//
//go:embed found.txt
var found string
