package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"holdfast/e2e/program"

	"github.com/redis/go-redis/v9/logging"
)

// holdfastBinary is the program under test.
var holdfastBinary string

// raceDetect is what the environment says, read before it is cleared for the processes.
var raceDetect = os.Getenv("HOLDFAST_E2E_RACE") != ""

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if err := program.ClearEnvironment(); err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "holdfast-e2e-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary directory
	holdfastBinary = filepath.Join(dir, "holdfast")
	if err := buildHoldfast(holdfastBinary); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	logging.Disable() // of go-redis, in this process: that Redis is gone is no news here
	// The tests wait more than they compute; -parallel on the command line still counts.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	return m.Run()
}

// buildHoldfast builds the program, with further flags of go build.
func buildHoldfast(to string, flags ...string) error {
	if raceDetect {
		flags = append(flags, "-race")
	}
	return program.Build(to, flags...)
}
