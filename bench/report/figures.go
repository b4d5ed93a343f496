package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// figures are all that were measured, by the benchmark's name and the unit: "Drain/system=…
// orders/s".
type figures map[string][]float64

func key(benchmark, unit string) string { return benchmark + " " + unit }

// of is the median; ok is false if it was not measured.
func (f figures) of(benchmark, unit string) (median float64, ok bool) {
	values := slices.Sorted(slices.Values(f[key(benchmark, unit)]))
	if len(values) == 0 {
		return 0, false
	}
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half], true
	}
	return (values[half-1] + values[half]) / 2, true
}

func (f figures) readFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	if err := f.read(file); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// processors is what go test writes behind a benchmark's name.
var processors = regexp.MustCompile(`-\d+$`)

// read adds what go test -bench printed.
func (f figures) read(r io.Reader) error {
	passed := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "--- FAIL") || strings.HasPrefix(line, "FAIL") || strings.HasPrefix(line, "panic:") {
			return fmt.Errorf("a run failed: %s", line)
		}
		passed = passed || line == "PASS"
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		benchmark := processors.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		for pair := range slices.Chunk(fields[2:], 2) { // behind the number of iterations
			if len(pair) < 2 {
				return fmt.Errorf("no unit: %s", line)
			}
			value, err := strconv.ParseFloat(pair[0], 64)
			if err != nil {
				return fmt.Errorf("%s: %w", line, err)
			}
			k := key(benchmark, pair[1])
			f[k] = append(f[k], value)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !passed {
		return errors.New("no run that passed")
	}
	return nil
}
