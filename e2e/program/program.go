// Package program builds holdfast and runs it, and others, as processes, for tests.
package program

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/e2e/torture"
)

const (
	// soon is enough for anything that takes milliseconds on a machine that has nothing else to do.
	soon = 20 * time.Second
	// endTime is how long a process that was told to end may take, if its grace time is short.
	endTime = 20 * time.Second
)

// ClearEnvironment takes out of this process's environment what holdfast reads there: a test says itself what
// it runs with.
func ClearEnvironment() error {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "HOLDFAST_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Build builds the program into a file, whose path is absolute, with further flags of go build: -C, which comes first,
// where the tests are of a module of their own.
func Build(to string, flags ...string) error {
	args := slices.Concat([]string{"build"}, flags, []string{"-o", to, "holdfast/cmd/holdfast"})
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("building holdfast: %w\n%s", err, out)
	}
	return nil
}

// Buffer can be read while it is written.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Process is a running program.
type Process struct {
	Name   string // in what a test says
	Cmd    *exec.Cmd
	Stdout Buffer
	Stderr Buffer

	t     testing.TB
	ended chan struct{} // closed once it is reaped
}

// Start starts a program. When the test ends it is killed and reaped; what it
// said on stderr is shown if the test failed.
func Start(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Name: name, t: t, Cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.Stdout, &p.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.Kill()
		said := p.Stderr.String()
		for _, bad := range []string{"panic:", "fatal error:", "DATA RACE"} {
			if strings.Contains(said, bad) {
				t.Errorf("%s: %s", name, bad)
			}
		}
		if t.Failed() {
			t.Logf("%s (%s) said:\n%s", name, cmd.ProcessState, lastLines(said, 60))
		}
	})
	return p
}

func lastLines(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) <= n {
		return text
	}
	return fmt.Sprintf("(%d lines before)\n%s", len(lines)-n, strings.Join(lines[len(lines)-n:], ""))
}

// Signal sends one to a process that has not ended.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("sending %s to %s: %v", s, p.Name, err)
	}
}

// Kill ends it the hard way (SIGKILL), if it has not ended yet.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill() // it may have ended
	<-p.ended
}

// Wait returns the exit status of a process that is about to end.
func (p *Process) Wait(limit time.Duration) int {
	p.t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.t.Fatalf("%s did not end within %s", p.Name, limit)
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Stop sends SIGTERM, upon which it must end in order.
func (p *Process) Stop(limit time.Duration) {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(limit); code != 0 {
		p.t.Errorf("%s was told to stop: exit %d", p.Name, code)
	}
}

// StopAll is Stop for several at once.
func StopAll(processes ...*Process) {
	for _, p := range processes {
		p.Signal(syscall.SIGTERM)
	}
	for _, p := range processes {
		if code := p.Wait(endTime); code != 0 {
			p.t.Errorf("%s was told to stop: exit %d", p.Name, code)
		}
	}
}

// Alive fails the test if the process has ended.
func (p *Process) Alive() {
	p.t.Helper()
	select {
	case <-p.ended:
		p.t.Errorf("%s has ended: %s", p.Name, p.Cmd.ProcessState)
	default:
	}
}

// Lines is how many it has said on stderr.
func (p *Process) Lines() int { return strings.Count(p.Stderr.String(), "\n") }

// SaysSoon waits until it has said it on stderr.
func (p *Process) SaysSoon(text string) {
	p.t.Helper()
	p.Says(1, text)
}

// Says waits until it has said it so many times.
func (p *Process) Says(times int, text string) {
	p.t.Helper()
	torture.Eventually(p.t, soon, p.Name+" says "+text, func() error {
		if n := strings.Count(p.Stderr.String(), text); n < times {
			return fmt.Errorf("%d times, want %d", n, times)
		}
		return nil
	})
}
