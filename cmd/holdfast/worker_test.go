package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/e2e/program"
)

// expectToken looks for the redriven request with its token in the requests streams.
func expectToken(h *holdfast) error {
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	for p := range 4 {
		entries, err := rdb.XRange(context.Background(), fmt.Sprintf("holdfast:{%d}:requests", p), "-", "+").Result()
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Values["quantity"] == "2" && e.Values["payment_token"] == "tok_secret" {
				return nil
			}
		}
	}
	return fmt.Errorf("no redriven request with its token")
}

func TestWorkerDrains(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	worker := h.worker("--simulator-latency", "6s", "--name", "w1") // long enough for a look at the order while it is held, on a busy machine, too
	for _, want := range []string{`"msg":"serving"`, `"namespace":"holdfast"`, `"partitions":4`, `"gateway":"simulator"`, `"roles":["purchase"`, h.server.URL()} {
		if !strings.Contains(worker.stderr.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, worker.stderr.String())
		}
	}
	h.ok("publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "tok_secret")
	eventually(t, "the order is held", func() bool { return strings.Contains(h.ok("orders", "list"), "held") })
	table(t, h.ok("pending"), "PARTITION GROUP CONSUMER PENDING IDLE ALIVE", "PARTITION GROUP ENTRY_ID ORDER CONSUMER IDLE DELIVERIES NEXT")
	if code := worker.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	// What was in hand was finished, not dropped.
	expect(t, h.one("orders", "show", "o1"), object{"state": "confirmed"})
	if log := worker.stderr.String(); !strings.Contains(log, `"worker stopped"`) || strings.Contains(log, "tok_secret") {
		t.Errorf("log:\n%s", log)
	}
}

func TestPendingSaysWhatIsNext(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	// The gateway hangs: what the worker has in hand when it must end is handed back.
	worker := h.worker("--simulator-timeout-rate", "1", "--grace", "300ms", "--name", "w1")
	h.ok("publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "t")
	inHand := func() (entries []object) {
		for _, group := range h.json("pending") {
			for _, e := range group["entries"].([]any) {
				if group["group"] == "purchase" {
					entries = append(entries, e.(object))
				}
			}
		}
		return entries
	}
	eventually(t, "the request is in hand", func() bool { return len(inHand()) == 1 })
	expect(t, inHand()[0], object{"order_id": "e1/o1", "consumer": "w1", "deliveries": 1})
	if got := h.ok("pending"); !strings.Contains(got, "its worker is at it") || !strings.Contains(got, "e1/o1") {
		t.Errorf("pending:\n%s", got)
	}
	if got := h.ok("pending", "--entries", "0"); strings.Contains(got, "e1/o1") {
		t.Errorf("no entries were asked for:\n%s", got)
	}
	if code := worker.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	eventually(t, "nobody is alive", func() bool { return strings.Contains(h.ok("pending"), "nothing: start a worker") })
}

func TestWorkerWaitsForRedis(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.server.Kill()
	worker := h.background(nil, "worker", "--gateway", "simulator", "--wait-redis", "20s")
	eventually(t, "it says that it waits", func() bool { return strings.Contains(worker.stderr.String(), "waiting") })
	h.server.Restart()
	eventually(t, "it starts", func() bool { return strings.Contains(worker.stderr.String(), `"worker started"`) })
	if got := strings.Count(worker.stderr.String(), "waiting"); got != 1 {
		t.Errorf("it says %d times that it waits:\n%s", got, worker.stderr.String())
	}
	if code := worker.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}

	h.server.Kill()
	inVain := h.background(nil, "worker", "--gateway", "simulator", "--wait-redis", "700ms")
	if code := inVain.wait(); code != exitFailed || !strings.Contains(logged(t, inVain.stderr.String()), "redis at "+h.server.URL()+" does not answer") {
		t.Errorf("exit %d: %s", code, inVain.stderr.String())
	}
	stopped := h.background(nil, "worker", "--gateway", "simulator", "--wait-redis", "1h")
	eventually(t, "it says that it waits", func() bool { return strings.Contains(stopped.stderr.String(), "waiting") })
	if code := stopped.stop(); code != exitDone || !strings.Contains(stopped.stderr.String(), `"msg":"worker stopped`) {
		t.Errorf("told to stop while waiting: exit %d: %s", code, stopped.stderr.String())
	}
}

func TestWorkerLogFormats(t *testing.T) {
	t.Parallel()
	h := start(t)
	worker := h.background(nil, "worker", "--gateway", "simulator", "--log-format", "console", "--log-level", "warn")
	eventually(t, "it warns", func() bool { return strings.Contains(worker.stderr.String(), "WARN\tpayments are simulated") })
	if code := worker.stop(); code != exitDone || strings.Contains(worker.stderr.String(), "INFO") {
		t.Errorf("exit %d:\n%s", code, worker.stderr.String())
	}

	// The last line of one that fails is one of its log, too, whatever else the program would write.
	for _, args := range [][]string{{"--grace", "0s"}, {"--wait-redis", "0s", "--redis", "redis://" + closedPort(t)}} {
		args = append([]string{"worker", "--gateway", "simulator", "-o", "json", "--log-format", "console", "--log-level", "error"}, args...)
		r := execute(nil, args...)
		if r.code == exitDone || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "\tERROR\tthe worker failed\t{\"code\": ") {
			t.Errorf("%v: exit %d: %q", args, r.code, r.stderr)
		}
	}
}

// So is that of one whose command line cannot be read, which in a container may be all there is.
func TestWorkerLogFormatOfWrongUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		want string
	}{
		{[]string{"worker", "--bogus"}, nil, "--bogus"},
		{[]string{"--bogus", "worker"}, nil, "--bogus"},
		{[]string{"worker", "--roles", "xyz"}, nil, "--roles"},
		{[]string{"worker", "--gateway", "simulator"}, map[string]string{"HOLDFAST_ROLES": "xyz"}, "--roles"},
		{[]string{"worker", "--gateway", "simulator", "--call-timeout", "foo"}, nil, "--call-timeout"},
		{[]string{"worker", "--gateway", "simulator"}, map[string]string{"HOLDFAST_OUTPUT": "xml"}, "--output"},
		{[]string{"worker", "--log-format", "xml"}, nil, "--log-format"},
		{[]string{"worker", "--gateway", "simulator", "-o", "table"}, map[string]string{"HOLDFAST_GRACE": "5"}, "--grace"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			r := execute(nil, c.args...)
			if text := logged(t, r.stderr); r.code != exitUsage || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(text, c.want) || !strings.Contains(text, " --help)") {
				t.Errorf("exit %d: %s", r.code, r.stderr)
			}
			if slices.Contains(c.args, "--log-format") {
				return
			}
			for _, args := range [][]string{{"--log-format", "console"}, {"--log-format=console"}} {
				if r := execute(nil, append(slices.Clone(c.args), args...)...); r.code != exitUsage || !strings.Contains(r.stderr, "\tERROR\tthe worker failed\t{\"code\": \"invalid\"") {
					t.Errorf("%v: exit %d: %s", args, r.code, r.stderr)
				}
			}
			t.Setenv("HOLDFAST_LOG_FORMAT", "console")
			if r := execute(nil, c.args...); r.code != exitUsage || !strings.Contains(r.stderr, "\tERROR\tthe worker failed") {
				t.Errorf("by the environment: exit %d: %s", r.code, r.stderr)
			}
		})
	}
	// Of another command, it is a line for people.
	args := []string{"sales", "--log-format", "json"}
	checkFailure(t, execute(nil, args...), exitUsage, []string{"--log-format"}, args)
}

// A worker that nobody but a person can help says so in its log.
func TestWorkerWithoutPermission(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init")
	admin := h.server.Client()
	defer func() { _ = admin.Close() }()
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@all", "-xreadgroup").Err(); err != nil {
		t.Fatal(err)
	}
	args := []string{"worker", "--gateway", "simulator", "--redis", strings.Replace(h.server.URL(), "redis://", "redis://poor:pw@", 1)}
	r := execute(nil, args...)
	if said := logged(t, r.stderr); r.code != exitFailed || !strings.Contains(said, "NOPERM") || !strings.Contains(said, "xreadgroup") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	// It cannot finish what it has in hand, so it would wait for its grace time.
	worker := thisProgram("worker", "--redis", h.server.URL(), "--gateway", "simulator", "--simulator-timeout-rate", "1", "--grace", "1m")
	log := new(program.Buffer)
	worker.Stderr = log
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- worker.Wait() }()
	t.Cleanup(func() { _ = worker.Process.Kill() })
	h.ok("publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "t")
	eventually(t, "the order is held", func() bool { return strings.Contains(h.ok("orders", "list"), "held") })
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it drains", func() bool { return strings.Contains(log.String(), `"worker stopping"`) })
	if err := worker.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the second signal did not end it")
	}
	if code := worker.ProcessState.ExitCode(); code != exitFailed {
		t.Errorf("exit %d, want %d:\n%s", code, exitFailed, log.String())
	}

	idle := thisProgram("worker", "--redis", h.server.URL(), "--roles", "posting", "--log-format", "console")
	idleLog := new(program.Buffer)
	idle.Stderr = idleLog
	if err := idle.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = idle.Process.Kill() })
	eventually(t, "it starts", func() bool { return strings.Contains(idleLog.String(), "worker started") })
	if err := idle.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := idle.Wait(); err != nil {
		t.Errorf("told to stop: %v\n%s", err, idleLog.String())
	}
}
