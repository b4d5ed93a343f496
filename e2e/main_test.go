package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "HOLDFAST_") {
			if err := os.Unsetenv(name); err != nil {
				panic(err)
			}
		}
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
	args := append([]string{"build", "-o", to}, flags...)
	if raceDetect {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "holdfast/cmd/holdfast")...).CombinedOutput(); err != nil {
		return fmt.Errorf("building holdfast: %w\n%s", err, out)
	}
	return nil
}
