package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/e2e/program"
	"holdfast/streams"
	"holdfast/streams/redistest"
)

// asProgram makes the test binary the program itself, for tests that need a
// process of its own.
const asProgram = "HOLDFAST_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	if err := program.ClearEnvironment(); err != nil {
		panic(err)
	}
	// The tests wait more than they compute; -parallel on the command line still counts.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// result is what a command did.
type result struct {
	code   int
	stdout string
	stderr string
}

// execute runs a command that reads stdin.
func execute(stdin io.Reader, args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var stdout, stderr program.Buffer
	code := run(ctx, args, stdin, &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// holdfast is a command line on one server.
type holdfast struct {
	t      testing.TB
	server *redistest.Server
	user   string // of Redis, user:password@; empty: the default one
	query  string // of its URL
}

func start(t testing.TB) *holdfast {
	t.Helper()
	return &holdfast{t: t, server: redistest.Start(t)}
}

func (h *holdfast) url() string {
	return strings.Replace(h.server.URL(), "://", "://"+h.user, 1) + h.query
}

func (h *holdfast) run(args ...string) result {
	return execute(strings.NewReader(""), append(args, "--redis", h.url())...)
}

// ok runs a command that must succeed without a word on stderr; it returns stdout.
func (h *holdfast) ok(args ...string) string {
	h.t.Helper()
	r := h.run(args...)
	if r.code != exitDone || r.stderr != "" {
		h.t.Fatalf("holdfast %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

type object = map[string]any

// json is ok with -o json: the objects it printed.
func (h *holdfast) json(args ...string) []object {
	h.t.Helper()
	return decodeLines(h.t, h.ok(append(args, "-o", "json")...))
}

// one is json with one object.
func (h *holdfast) one(args ...string) object {
	h.t.Helper()
	objects := h.json(args...)
	if len(objects) != 1 {
		h.t.Fatalf("holdfast %s: %d objects, want 1", strings.Join(args, " "), len(objects))
	}
	return objects[0]
}

func decodeLines(t testing.TB, text string) []object {
	t.Helper()
	var objects []object
	for line := range strings.Lines(text) {
		var o object
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("not a JSON object a line: %q: %v", line, err)
		}
		objects = append(objects, o)
	}
	return objects
}

// fails runs a command that must end with code and one line on stderr that contains all of want.
func (h *holdfast) fails(code int, want []string, args ...string) {
	h.t.Helper()
	checkFailure(h.t, h.run(args...), code, want, args)
}

func checkFailure(t testing.TB, r result, code int, want []string, args []string) {
	t.Helper()
	if r.code != code {
		t.Errorf("holdfast %s: exit %d, want %d", strings.Join(args, " "), r.code, code)
	}
	said, plain := strings.CutPrefix(r.stderr, "holdfast: ")
	if !plain && len(args) > 0 && args[0] == "worker" {
		said, plain = logged(t, r.stderr), true
	}
	if strings.Count(r.stderr, "\n") != 1 || !plain || !strings.HasSuffix(r.stderr, "\n") {
		t.Errorf("holdfast %s: want one line on stderr, got %q", strings.Join(args, " "), r.stderr)
	}
	for _, w := range want {
		if !strings.Contains(said, w) {
			t.Errorf("holdfast %s: %q does not say %q", strings.Join(args, " "), r.stderr, w)
		}
	}
}

// logged is the error that the last line of a worker's log is about.
func logged(t testing.TB, log string) string {
	t.Helper()
	lines := decodeLines(t, log)
	if len(lines) == 0 {
		t.Fatal("nothing was logged")
	}
	last := lines[len(lines)-1]
	said, _ := last["error"].(string)
	if last["level"] != "error" || last["msg"] != "the worker failed" || said == "" || last["code"] == "" {
		t.Errorf("the last line is %v, want an error", last)
	}
	return said
}

// failsInJSON is fails with -o json: one object on stderr, with just these fields besides its
// error, which contains said.
func (h *holdfast) failsInJSON(code int, said string, fields object, args ...string) {
	h.t.Helper()
	checkFailureInJSON(h.t, h.run(append(args, "-o", "json")...), code, said, fields)
}

func checkFailureInJSON(t testing.TB, r result, code int, said string, fields object) {
	t.Helper()
	lines := decodeLines(t, r.stderr)
	if r.code != code || len(lines) != 1 {
		t.Fatalf("exit %d, want %d, and one object on stderr: %s", r.code, code, r.stderr)
	}
	if text, _ := lines[0]["error"].(string); !strings.Contains(text, said) {
		t.Errorf("%v does not say %q", lines[0], said)
	}
	delete(lines[0], "error")
	if !sameJSON(lines[0], fields) {
		t.Errorf("fields %v, want %v", lines[0], fields)
	}
}

// store is for what the command line cannot do.
func (h *holdfast) store() *streams.Store {
	h.t.Helper()
	store, err := streams.Open(context.Background(), h.server.URL(), streams.Options{Create: true})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = store.Close() })
	return store
}

// event creates one with 100 tickets at 10.00.
func (h *holdfast) event(id string) {
	h.t.Helper()
	h.ok("events", "create", id, "--name", "Name of "+id, "--currency", "EUR", "--section", "general=100@10.00")
}

// running is a command that runs until it is stopped.
type running struct {
	t      testing.TB
	stdout *program.Buffer
	stderr *program.Buffer
	cancel context.CancelFunc
	done   chan int
	ended  bool
}

func (h *holdfast) background(stdin io.Reader, args ...string) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: h.t, stdout: new(program.Buffer), stderr: new(program.Buffer), cancel: cancel, done: make(chan int, 1)}
	go func() { r.done <- run(ctx, append(args, "--redis", h.url()), stdin, r.stdout, r.stderr) }()
	h.t.Cleanup(func() { r.stop() })
	return r
}

// stop asks it to end, once, and returns its exit status.
func (r *running) stop() int {
	r.t.Helper()
	if r.ended {
		return exitDone
	}
	r.cancel()
	return r.wait()
}

func (r *running) wait() int {
	r.t.Helper()
	r.ended = true
	select {
	case code := <-r.done:
		return code
	case <-time.After(20 * time.Second):
		r.t.Fatalf("did not end:\n%s", r.stderr.String())
		return -1
	}
}

// worker starts one with simulated payments and waits until it works.
func (h *holdfast) worker(args ...string) *running {
	h.t.Helper()
	r := h.background(nil, append([]string{"worker", "--gateway", "simulator"}, args...)...)
	eventually(h.t, "the worker starts", func() bool { return strings.Contains(r.stderr.String(), `"worker started"`) })
	return r
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// drained waits until nothing is left to be done.
func (h *holdfast) drained() {
	h.t.Helper()
	eventually(h.t, "nothing is pending", func() bool {
		for _, group := range h.json("pending") {
			if group["backlog"] != 0.0 {
				return false
			}
		}
		return true
	})
}

// closedPort is an address where nothing listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// expect compares the named fields.
func expect(t testing.TB, got object, want object) {
	t.Helper()
	for name, w := range want {
		if g, given := got[name]; !given || !sameJSON(g, w) {
			t.Errorf("%s is %v, want %v, in %v", name, g, w, got)
		}
	}
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// table checks a table's header and that some row begins with these cells.
func table(t testing.TB, text string, header string, rows ...string) {
	t.Helper()
	if !strings.Contains(squeeze(text), squeeze(header)) {
		t.Errorf("no header %q in\n%s", header, text)
	}
	for _, row := range rows {
		if !strings.Contains(squeeze(text), "\n"+squeeze(row)) {
			t.Errorf("no row %q in\n%s", row, text)
		}
	}
}

// squeeze makes runs of spaces one, so that the width of columns is nobody's business.
func squeeze(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}
