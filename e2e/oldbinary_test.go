package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/e2e/program"
)

// oldRevision is one of the programs of schema 1: the last of those that know nothing of what was added to it
// since (payments' names with their namespace, free orders, kinds of gateways).
const oldRevision = "2fb9a024e44cb517af17331831cd75cb3cc60863"

var errNoHistory = errors.New("the history of this repository does not have revision " + oldRevision)

// oldBinary is the program of that revision, built from the repository's history once for
// all tests. A copy of the sources without their history has none: then the test is skipped.
func oldBinary(t testing.TB) string {
	t.Helper()
	binary, err := buildOldBinary()
	if errors.Is(err, errNoHistory) {
		t.Skipf("NOT TESTED, what a program of schema 1 does: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

var buildOldBinary = sync.OnceValues(func() (string, error) {
	root, err := output(exec.Command("git", "rev-parse", "--show-toplevel"))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoHistory, err)
	}
	git := func(args ...string) *exec.Cmd { return exec.Command("git", append([]string{"-C", root}, args...)...) }
	if _, err := output(git("cat-file", "-e", oldRevision+"^{commit}")); err != nil {
		return "", fmt.Errorf("%w: %w", errNoHistory, err)
	}
	source := filepath.Join(filepath.Dir(holdfastBinary), "old")
	if err := os.MkdirAll(source, 0o700); err != nil {
		return "", err
	}
	archive := filepath.Join(source, "source.tar")
	if _, err := output(git("archive", "--format=tar", "--output="+archive, oldRevision)); err != nil {
		return "", fmt.Errorf("getting the old sources: %w", err)
	}
	if _, err := output(exec.Command("tar", "-x", "-f", archive, "-C", source)); err != nil {
		return "", fmt.Errorf("unpacking the old sources: %w", err)
	}
	binary := filepath.Join(source, "holdfast-old")
	build := exec.Command("go", "build", "-o", binary, "./cmd/holdfast")
	build.Dir = source
	if _, err := output(build); err != nil {
		return "", fmt.Errorf("building the old program: %w", err)
	}
	return binary, nil
})

// oldWorker starts a worker of the old program and waits until it works.
func (s *system) oldWorker(binary, name string, args ...string) *program.Process {
	s.t.Helper()
	p := program.Start(s.t, name, exec.Command(binary, s.workerArgs(name, args...)...))
	p.SaysSoon(`"worker started"`)
	return p
}

// oldOK runs a command of the old program that must succeed; it returns stdout.
func (s *system) oldOK(binary string, args ...string) string {
	s.t.Helper()
	out, err := output(exec.Command(binary, append(args, "--redis", s.url)...))
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// output runs a command and returns what it printed; the error has what it said on stderr.
func output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
