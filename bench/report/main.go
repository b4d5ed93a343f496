// Command report puts the figures that the benchmarks printed beside the goals, and draws the
// systems' orders a second.
//
//	report [-chart FILE.svg] RESULTS...
//
// RESULTS are what go test -bench printed, one run or many: of several figures the median counts. A
// run that failed is refused. Whether the goals are met does not change the exit status.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	chart := flag.String("chart", "", "an SVG `file` to draw the systems' orders a second in")
	flag.Usage = func() {
		_, _ = fmt.Fprintln(flag.CommandLine.Output(), "usage: report [-chart FILE.svg] RESULTS...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(os.Stdout, *chart, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, chart string, files []string) error {
	if len(files) == 0 {
		return errors.New("which results?")
	}
	figures := make(figures)
	for _, name := range files {
		if err := figures.readFile(name); err != nil {
			return err
		}
	}
	if err := writeGoals(out, figures); err != nil {
		return err
	}
	if err := writeSystems(out, figures); err != nil {
		return err
	}
	if chart == "" {
		return nil
	}
	return os.WriteFile(chart, []byte(drawDrains(figures)), 0o644)
}
