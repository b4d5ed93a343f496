package main

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/streams"
)

// After FLUSHALL workers with an archive make no namespace: those that run and one that is started wait, say what to type, and go on when it is
// restored. What was under way is finished, what is published again is the order that it was.
func TestRestoreAfterFlush(t *testing.T) {
	t.Parallel()
	h := start(t)
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	gateway := h.gateway()
	running := h.worker("--gateway", gateway, "--archive", url, "--archive-every", "50ms", "--snapshot-every", "0")
	h.event("e1")
	for _, order := range []string{"o1", "o2"} {
		expect(t, h.one("publish", "--event", "e1", "--customer", "fred-"+order, "--order", order, "--token", "t", "--wait"), object{"state": "confirmed"})
	}
	h.ok("publish", "--type", "hold", "--event", "e1", "--customer", "amy", "--order", "o3", "--hold-seconds", "1", "--wait")
	h.drained()
	h.archived()
	namespace := h.one("namespace", "show")
	listed, err := strconv.ParseInt(strings.Split(h.json("archive", "ls", "--archive", url)[0]["last"].(string), "-")[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	until := time.UnixMilli(listed - 1).UTC().Format("2006-01-02T15:04:05.000Z07:00")

	h.says(exitFailed, []string{"is there: what is restored goes into an empty one"}, "restore", "--archive", url)
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	late := h.background(nil, "worker", "--gateway", gateway, "--archive", url, "--archive-every", "50ms", "--snapshot-every", "0")
	eventually(t, "the one that is started says what to type", func() bool {
		return strings.Contains(late.stderr.String(), "holdfast restore --archive URL brings it back")
	})
	eventually(t, "the one that runs says so, too", func() bool {
		return strings.Contains(running.stderr.String(), "holdfast restore --archive URL brings it back")
	})
	said := []string{"its log is archived", "holdfast restore --archive URL", "holdfast init --new-branch"}
	h.says(exitFailed, said, "init", "--archive", url)
	h.says(exitFailed, said, "events", "create", "e9", "--archive", url, "--name", "x", "--currency", "EUR", "--section", "general=5@1.00")
	if n := rdb.Exists(t.Context(), "holdfast:meta").Val(); n != 0 {
		t.Fatal("somebody has made it")
	}

	// Killed in the middle: nobody works on it, and everybody is told.
	if err := rdb.HSet(t.Context(), "holdfast:meta", "partitions", streams.DefaultPartitions, "schema", "restoring", "run", "of-before", "restoring", "something else").Err(); err != nil {
		t.Fatal(err)
	}
	h.says(exitFailed, []string{"is being restored from its archive", "go on with it: holdfast restore --archive URL"}, "sales")
	eventually(t, "a worker waits for it", func() bool { return strings.Contains(late.stderr.String(), "the namespace is being restored, waiting") })

	restored := h.one("restore", "--archive", url)
	expect(t, restored, object{"namespace": "holdfast", "events": 1, "orders": 3, "facts_beyond": 0, "invoice_lines": 2})
	if lost, ok := restored["lost"].([]any); !ok || len(lost) != len(notArchived) {
		t.Errorf("lost is %v", restored["lost"])
	}
	is := h.one("namespace", "show")
	if is["epoch"] == namespace["epoch"] {
		t.Error("the epoch is the same")
	}
	for _, field := range []string{"partitions", "payment_names", "free_orders", "gateway"} {
		if is[field] != namespace[field] {
			t.Errorf("%s is %v, it was %v", field, is[field], namespace[field])
		}
	}
	eventually(t, "the hold has run out", func() bool { return h.one("orders", "show", "e1/o3")["state"] == "expired" })
	expect(t, h.one("publish", "--event", "e1", "--customer", "fred-o1", "--order", "o1", "--token", "t", "--wait"), object{"state": "confirmed"})
	expect(t, h.one("publish", "--event", "e1", "--customer", "amy", "--order", "o4", "--token", "t", "--wait"), object{"state": "confirmed"})
	h.drained()
	eventually(t, "all is archived, in a new branch", func() bool {
		return h.one("archive", "verify", "--archive", url)["branches"] == float64(2)
	})
	eventually(t, "both workers have noted it, and all is well", func() bool {
		h.run("check", "--forget-replaced")
		return h.run("audit", "--archive", url, "--gateway", gateway).code == exitDone
	})

	// And up to a time, elsewhere.
	other := start(t)
	table := other.ok("restore", "--archive", url, "--until", until)
	for _, want := range []string{"which were not restored", "requests in line, parked requests, dead letters", "behind it"} {
		if !strings.Contains(table, want) {
			t.Errorf("it does not say %q:\n%s", want, table)
		}
	}
	other.ok("audit")
}

// A namespace that is made anew all the same leaves the archive as it is, and one of the two must be named then.
func TestInitNewBranch(t *testing.T) {
	t.Parallel()
	h := start(t)
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	h.says(exitDone, []string{"holdfast"}, "init", "--archive", url) // nothing is archived
	w := h.worker("--archive", url, "--archive-every", "50ms", "--snapshot-every", "0")
	h.event("e1")
	h.archived()
	w.stop()
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	h.says(exitFailed, []string{"init --new-branch"}, "init", "--archive", url)
	h.says(exitDone, []string{"true"}, "init", "--archive", url, "--new-branch")
	w = h.worker("--archive", url, "--archive-every", "50ms", "--snapshot-every", "0")
	h.event("e1")
	h.archived()
	w.stop()
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	h.says(exitFailed, []string{"say with --branch which of them went on"}, "restore", "--archive", url)
	branches := h.json("archive", "ls", "--archive", url)
	if len(branches) != 2 || branches[0]["parent"] != nil || branches[1]["parent"] != nil {
		t.Fatalf("the branches are %v", branches)
	}
	h.says(exitFailed, []string{"is not in the archive"}, "restore", "--archive", url, "--branch", "none")
	h.says(exitDone, []string{branches[0]["branch"].(string)}, "restore", "--archive", url, "--branch", branches[0]["branch"].(string))
	h.ok("audit")
}
