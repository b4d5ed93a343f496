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
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"holdfast/e2e/program"
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
	if err := program.ClearEnvironment(); err != nil {
		panic(err)
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
	if err := program.Build(holdfastBinary, "-C", root); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	logging.Disable()                                      // of go-redis, in this process: that a Redis is not there yet is no news
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

// tool is where a program is that make test has fetched, or that the machine has. Where neither is, the test is skipped:
// the script that fetches it has said so.
func tool(t testing.TB, name string) string {
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

// holdfast runs a command to its end.
func holdfast(t testing.TB, redis string, args ...string) (stdout string, exit int) {
	t.Helper()
	cmd := exec.Command(holdfastBinary, args...)
	cmd.Env = append(os.Environ(), "HOLDFAST_REDIS="+redis)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	var ended *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return out.String() + complaint.String(), cmd.ProcessState.ExitCode()
}

func ok(t testing.TB, redis string, args ...string) string {
	t.Helper()
	out, exit := holdfast(t, redis, args...)
	if exit != 0 {
		t.Fatalf("%v: exit %d: %s", args, exit, out)
	}
	return out
}

var (
	listening = regexp.MustCompile(`"msg":"listening","url":"(http://[^"]+)"`)
	serving   = regexp.MustCompile(`listening on (http://\S+)`)
)

// listens is where a worker does.
func listens(t testing.TB, worker *program.Process) (url string) {
	t.Helper()
	eventually(t, "a worker listens", func() error {
		found := listening.FindStringSubmatch(worker.Stderr.String())
		if found == nil {
			return errors.New("it does not")
		}
		url = found[1]
		return nil
	})
	return url
}

// serves is where an API does.
func serves(t testing.TB, api *program.Process) (url string) {
	t.Helper()
	eventually(t, "an API serves", func() error {
		found := serving.FindStringSubmatch(api.Stdout.String())
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
