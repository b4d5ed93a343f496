package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// oldCommit is the program that is out there: workers of it run beside new ones during a roll-out.
const oldCommit = "2fb9a02"

var oldBuild = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(filepath.Dir(holdfastBinary), "old")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("making a folder: %w", err)
	}
	sources := filepath.Join(dir, "sources.tar")
	binary := filepath.Join(dir, "holdfast")
	for _, step := range []struct {
		in   string
		args []string
	}{
		{"..", []string{"git", "archive", "-o", sources, oldCommit}},
		{dir, []string{"tar", "-xf", sources}},
		{dir, []string{"go", "build", "-o", binary, "./cmd/holdfast"}},
	} {
		cmd := exec.Command(step.args[0], step.args[1:]...)
		cmd.Dir = step.in
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", step.args, err, out)
		}
	}
	return binary, nil
})

// oldBinary is the program of oldCommit, built from this repository's history.
func oldBinary(t testing.TB) string {
	t.Helper()
	binary, err := oldBuild()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
