package deployments

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/e2e/torture"
)

const (
	// patience bounds every wait of these tests.
	patience = 60 * time.Second
	root     = "../.."
	shipped  = root + "/deployments"
)

// holdfastBinary is the program that is deployed.
var holdfastBinary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "HOLDFAST_") {
			if err := os.Unsetenv(name); err != nil {
				panic(err)
			}
		}
	}
	dir, err := os.MkdirTemp("", "holdfast-deployments-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary directory
	if err := os.Chmod(dir, 0o755); err != nil {
		panic(err)
	}
	holdfastBinary = filepath.Join(dir, "holdfast")
	build := exec.Command("go", "build", "-o", holdfastBinary, "./cmd/holdfast")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "building holdfast: %v\n%s", err, out)
		return 1
	}
	if err := flag.Set("test.parallel", "4"); err != nil { // they wait more than they compute
		panic(err)
	}
	return m.Run()
}

func eventually(t testing.TB, what string, cond func() error) {
	t.Helper()
	torture.Eventually(t, patience, what, cond)
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// program is where a program is that make test has fetched, or that the machine has. Where neither is, the test is skipped:
// the script that fetches it has said so.
func program(t testing.TB, name string) string {
	t.Helper()
	fetched, err := filepath.Abs(root + "/.tools/prometheus/usr/bin/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(fetched); err == nil {
		return fetched
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("no %s here", name)
	}
	return path
}

// process is a running program.
type process struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr buffer
	ended          chan struct{}
}

// start starts a program; it is killed, if it has not ended, when the test ends.
func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	go func() { _ = cmd.Wait(); close(p.ended) }() // how it ended is in its ProcessState
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("%v:\n%s%s", cmd.Args, p.stdout.String(), p.stderr.String())
		}
	})
	return p
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var listening = regexp.MustCompile(`"msg":"listening","url":"(http://[^"]+)"`)

// listens is where a worker does.
func listens(t testing.TB, worker *process) (url string) {
	t.Helper()
	eventually(t, "a worker listens", func() error {
		found := listening.FindStringSubmatch(worker.stderr.String())
		if found == nil {
			return errors.New("it does not")
		}
		url = found[1]
		return nil
	})
	return url
}

func get(url string) (status int, body string, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }() // it was read
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func is(url string, want int) error {
	status, body, err := get(url)
	if err == nil && status != want {
		err = fmt.Errorf("%d: %s", status, body)
	}
	return err
}
