package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/redis/go-redis/v9"

	"holdfast/archive"
	"holdfast/streams"
)

// segments are the files of an archive, in the order of their names.
func segments(t testing.TB, folder string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "namespace=holdfast", "partition=*", "branch=*", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// archived waits until the mark of every partition is at the end of its log.
func (h *holdfast) archived() {
	h.t.Helper()
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	eventually(h.t, "all is archived", func() bool {
		for p := range streams.DefaultPartitions {
			partition := "holdfast:{" + count(int64(p)) + "}:2:"
			end := rdb.XRevRangeN(h.t.Context(), partition+"log", "+", "-", 1).Val()
			if len(end) > 0 && !strings.Contains(rdb.Get(h.t.Context(), partition+"archived").Val(), "|"+end[0].ID+"|") {
				return false
			}
		}
		return true
	})
}

// says fails unless a command ends with a status and writes all of these, to whichever stream.
func (h *holdfast) says(code int, want []string, args ...string) {
	h.t.Helper()
	r := h.run(args...)
	if r.code != code {
		h.t.Errorf("holdfast %s: exit %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	for _, w := range want {
		if !strings.Contains(r.stdout+r.stderr, w) {
			h.t.Errorf("holdfast %s does not say %q:\n%s%s", strings.Join(args, " "), w, r.stdout, r.stderr)
		}
	}
}

// A sale is archived while it goes on, by several workers; what is damaged afterwards is named.
func TestArchiveOfASale(t *testing.T) {
	t.Parallel()
	h := start(t)
	folder := filepath.Join(t.TempDir(), "archive")
	url := "file://" + folder
	gateway := h.gateway()
	first := h.worker("--gateway", gateway, "--archive", url, "--archive-every", "50ms", "--snapshot-every", "0", "--listen", "127.0.0.1:0")
	h.worker("--roles", "archive", "--archive", url, "--archive-every", "50ms", "--snapshot-every", "0")
	h.event("e1")
	for _, order := range []string{"o1", "o2", "o3"} {
		expect(t, h.one("publish", "--event", "e1", "--customer", "fred-"+order, "--order", order, "--token", "t", "--wait"), object{"state": "confirmed"})
	}
	h.ok("orders", "cancel", "e1/o2", "--wait")
	h.drained()
	h.archived()

	at := listens(t, first)
	eventually(t, "the metrics tell it", func() bool {
		values := scrape(t, at)
		_, told := values["holdfast_archive_segments_total"]
		lag, known := values[`holdfast_archive_lag_seconds{partition="`+strings.Trim(partitionOf(t, h.server.Client(), "e1"), "holdfast:{}2")+`"}`]
		return told && known && lag == 0
	})
	branches := h.json("archive", "ls", "--archive", url)
	if len(branches) != 1 || branches[0]["after"] != "0-0" || branches[0]["segments"] != float64(len(segments(t, folder))) {
		t.Errorf("it has %v, and %d files", branches, len(segments(t, folder)))
	}
	expect(t, h.one("archive", "verify", "--archive", url), object{"ok": true, "branches": 1})
	expect(t, h.one("audit", "--archive", url, "--gateway", gateway), object{"ok": true})
	if said := h.ok("audit"); !strings.Contains(said, "not checked: no --archive") {
		t.Errorf("without --archive it says %s", said)
	}

	exported := h.ok("archive", "export", "--archive", url)
	for _, want := range []string{"event_id,order_id,customer_id,state,", "\ne1,o1,fred-o1,confirmed,", "\ne1,o2,fred-o2,cancelled,requested,"} {
		if !strings.Contains(exported, want) {
			t.Errorf("exported without %q:\n%s", want, exported)
		}
	}
	sales := h.one("sales", "e1")
	if got := h.ok("archive", "export", "--archive", url, "--what", "sales", "--event", "e1"); !strings.Contains(got, "\ne1,Name of e1,EUR,2,2,"+count(int64(sales["revenue"].(float64)))+"\n") {
		t.Errorf("exported sales, which are %v:\n%s", sales, got)
	}
	out := filepath.Join(t.TempDir(), "invoices.parquet")
	h.ok("archive", "export", "--archive", url, "--what", "invoices", "--format", "parquet", "--out", out)
	if lines, err := parquet.ReadFile[archive.ExportedInvoice](out); err != nil || len(lines) != 3 || lines[1].OrderID != "o2" || lines[1].Status != "cancelled" || *lines[1].ConfirmedAt == 0 {
		t.Errorf("exported %+v, %v", lines, err)
	}
	h.fails(exitUsage, []string{"--out"}, "archive", "export", "--archive", url, "--out", out)

	// The newest segment is gone: the archive alone cannot tell, Redis can.
	files := segments(t, folder)
	newest, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(files[len(files)-1]); err != nil {
		t.Fatal(err)
	}
	h.says(exitFailed, []string{"I11", filepath.Base(files[len(files)-1]), "is missing"}, "audit", "--archive", url)
	if err := os.WriteFile(files[len(files)-1], newest, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, h.one("audit", "--archive", url), object{"ok": true})
	// A bit of another one is flipped.
	flipped, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	flipped[len(flipped)/3] ^= 1
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], flipped, 0o600); err != nil {
		t.Fatal(err)
	}
	h.says(exitDone, []string{filepath.Base(files[0]), "DAMAGED"}, "archive", "ls", "--archive", url)
	h.says(exitFailed, []string{filepath.Base(files[0]), "cut, or changed", ": see docs/operations.md"}, "archive", "verify", "--archive", url)
}

// The log of a namespace that was sold from before it had an archive is archived from its start; and after FLUSHALL another branch begins, and
// what was archived stays.
func TestArchiveBeginsAndOutlivesRedis(t *testing.T) {
	t.Parallel()
	h := start(t)
	url := "file://" + t.TempDir()
	h.worker("--archive-every", "50ms", "--snapshot-every", "0")
	h.event("e1")
	expect(t, h.one("publish", "--event", "e1", "--customer", "fred", "--order", "o1", "--token", "t", "--wait"), object{"state": "confirmed"})
	h.drained()
	h.worker("--roles", "archive", "--archive", url, "--archive-every", "50ms", "--snapshot-every", "0")
	h.archived()
	expect(t, h.one("audit", "--archive", url), object{"ok": true})

	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a worker has made it again", func() bool {
		return rdb.Exists(t.Context(), "holdfast:meta").Val() == 1 && h.run("pending").code == exitDone
	})
	h.event("e1")
	expect(t, h.one("publish", "--event", "e1", "--customer", "fred", "--order", "o9", "--token", "t", "--wait"), object{"state": "confirmed"})
	h.drained()
	h.archived()
	eventually(t, "both workers have noted it, and all is well", func() bool {
		h.run("check", "--forget-replaced")
		return h.run("audit", "--archive", url).code == exitDone
	})
	branches := h.json("archive", "ls", "--archive", url)
	if len(branches) != 2 || branches[1]["parent"] != branches[0]["branch"] || branches[1]["after"] != "0-0" {
		t.Errorf("the branches are %v", branches)
	}
}

// An archive that cannot be written stops nothing else, and people are told.
func TestArchiveThatFails(t *testing.T) {
	t.Parallel()
	h := start(t)
	folder := t.TempDir()
	blocked := filepath.Join(folder, "namespace=holdfast")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil { // a file where a folder belongs
		t.Fatal(err)
	}
	h.worker("--archive", "file://"+folder, "--archive-every", "50ms", "--snapshot-every", "0")
	h.event("e1")
	expect(t, h.one("publish", "--event", "e1", "--customer", "fred", "--order", "o1", "--token", "t", "--wait"), object{"state": "confirmed"})
	h.drained()
	eventually(t, "check tells it", func() bool {
		return strings.Contains(h.run("check").stdout, "the log is not archived: partition")
	})
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	h.archived()
	eventually(t, "check has forgotten it", func() bool { return !strings.Contains(h.run("check").stdout, "archived") })
}

func TestArchiveUsage(t *testing.T) {
	t.Parallel()
	h := start(t)
	for _, args := range [][]string{
		{"worker", "--gateway", "simulator", "--archive", "/var/lib/x"},
		{"worker", "--gateway", "simulator", "--archive", "gs://bucket"},
		{"worker", "--roles", "archive"},
		{"archive", "verify", "--archive", "x"},
		{"audit", "--archive", "x"},
	} {
		h.fails(exitUsage, []string{"archive"}, args...)
	}
	h.says(exitFailed, []string{"nothing is archived of this namespace"}, "archive", "verify", "--archive", "file://"+t.TempDir())
	if got := redactArchive("s3://tickets/live?region=x&endpoint=http://a:b@c"); got != "s3://tickets/live" {
		t.Errorf("it shows %s", got)
	}
}

// Audits begin with the newest snapshot, if nothing waits behind it; and where the log has no more what the archive has, only they can tell.
func TestSnapshotsOfASale(t *testing.T) {
	t.Parallel()
	h := start(t)
	folder := t.TempDir()
	url := "file://" + folder
	gateway := h.gateway()
	worker := h.worker("--gateway", gateway, "--archive", url, "--archive-every", "50ms", "--snapshot-every", "0")
	h.event("e1")
	sell := func(orders ...string) {
		for _, order := range orders {
			expect(t, h.one("publish", "--event", "e1", "--customer", "fred-"+order, "--order", order, "--token", "t", "--wait"), object{"state": "confirmed"})
		}
		h.drained()
		h.archived()
	}
	sell("o1", "o2")
	h.ok("orders", "cancel", "e1/o2", "--wait")
	sell()
	taken := h.one("archive", "snapshot", "--archive", url)
	expect(t, taken, object{"new": true, "events": 1, "orders": 2, "facts": 6})
	expect(t, h.one("archive", "snapshot", "--archive", url), object{"new": false, "folded": 0, "snapshot": taken["snapshot"]})
	sell("o3")
	expect(t, h.one("archive", "ls", "--archive", url), object{"snapshots": 1, "snapshot": taken["last"]})
	expect(t, h.one("archive", "verify", "--archive", url), object{"ok": true, "snapshots": 1})
	audited := func(ok bool, facts, before int, args ...string) {
		t.Helper()
		code := exitDone
		if !ok {
			code = exitFailed
		}
		r := h.run(append([]string{"audit", "--gateway", gateway, "-o", "json"}, args...)...)
		is := decodeLines(t, r.stdout)[0]
		checked, _ := is["checked"].(object)
		if r.code != code || is["ok"] != ok || checked["facts"] != float64(facts) || before > 0 && checked["facts_before"] != float64(before) {
			t.Errorf("audit %v: exit %d, %v", args, r.code, is)
		}
	}
	audited(true, 2, 6, "--archive", url)
	audited(true, 8, 0, "--archive", url, "--full")

	// The log has no more what the snapshot has. Nobody is at work: a worker would take it for other data.
	if code := worker.stop(); code != exitDone {
		t.Fatalf("the worker ended with %d", code)
	}
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	log := partitionOf(t, rdb, "e1") + "2:log"
	if err := rdb.XTrimMaxLen(t.Context(), log, 3).Err(); err != nil {
		t.Fatal(err)
	}
	audited(true, 2, 6, "--archive", url)
	audited(true, 8, 0, "--archive", url, "--full")
	h.says(exitFailed, []string{"I7", log, "removed", "holdfast audit --archive URL"}, "audit")
	h.says(exitDone, []string{"log entries that Redis has no more", "2, and 6 in snapshots"}, "audit", "--archive", url)

	// A snapshot that is damaged is named, and not used.
	snapshot := filepath.Join(folder, fmt.Sprint(taken["snapshot"]))
	if err := os.Chmod(snapshot, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(snapshot, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.says(exitFailed, []string{filepath.Base(snapshot), "cut, or changed"}, "archive", "verify", "--archive", url)
	audited(false, 8, 0, "--archive", url)
	h.fails(exitUsage, []string{"--full: want --archive"}, "audit", "--full")
}

// Workers take snapshots by themselves, so a log is trimmed without anybody else; and what is restored begins with one, with the end of the log alone.
func TestWorkersTakeSnapshots(t *testing.T) {
	t.Parallel()
	h := start(t)
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	gateway := h.gateway()
	h.fails(exitUsage, []string{"--snapshot-every"}, "worker", "--gateway", gateway, "--archive", url, "--snapshot-every", "999ms")
	worker := h.worker("--gateway", gateway, "--archive", url, "--archive-every", "50ms", "--snapshot-every", "1s", "--listen", "127.0.0.1:0")
	h.event("e1")
	for _, order := range []string{"o1", "o2", "o3"} {
		expect(t, h.one("publish", "--event", "e1", "--customer", "fred-"+order, "--order", order, "--token", "t", "--wait"), object{"state": "confirmed"})
	}
	h.drained()
	h.archived()
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	partition := strings.Trim(partitionOf(t, rdb, "e1"), "holdfast:{}2")
	at := listens(t, worker)
	eventually(t, "all that is archived is in a snapshot, and the metrics tell it", func() bool {
		values := scrape(t, at)
		lag, known := values[`holdfast_archive_snapshot_lag_seconds{partition="`+partition+`"}`]
		branches := h.json("archive", "ls", "--archive", url)
		return known && lag == 0 && values["holdfast_archive_snapshots_total"] > 0 && len(branches) == 1 && branches[0]["snapshot"] == branches[0]["last"]
	})
	wantFinding(t, h.findings(h.run("doctor", "-o", "json")), "archive", severityOK, "of 1 of 4 partitions something is archived", "")
	if code := worker.stop(); code != exitDone {
		t.Fatalf("the worker ended with %d", code)
	}
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	restored := h.one("restore", "--archive", url)
	expect(t, restored, object{"events": 1, "orders": 3, "facts": 7})
	if restored["entries"].(float64) >= 7 { // as settlement had come when that was archived
		t.Errorf("it has written the whole log: %v", restored)
	}
	h.ok("audit", "--archive", url, "--gateway", gateway)
	h.ok("audit", "--archive", url, "--gateway", gateway, "--full")
	h.says(exitFailed, []string{"holdfast audit --archive URL"}, "audit")
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	expect(t, h.one("restore", "--archive", url, "--full"), object{"events": 1, "orders": 3, "facts": 7})
	h.ok("audit")
}

// The segments of a day that is over become a few, which say the same.
func TestArchiveCompact(t *testing.T) {
	t.Parallel()
	h := start(t)
	folder := filepath.Join(t.TempDir(), "archive")
	url := "file://" + folder
	h.worker("--archive", url, "--archive-every", "50ms", "--snapshot-every", "0", "--gateway", h.gateway())
	h.event("e1") // there is a namespace
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	log := ""
	for p := range streams.DefaultPartitions {
		if key := "holdfast:{" + count(int64(p)) + "}:2:log"; rdb.XLen(t.Context(), key).Val() == 0 {
			log = key
		}
	}
	for i := range 5 {
		if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: log, ID: fmt.Sprint(1_700_000_000_000+i, "-0"), Values: []string{"rejected", fmt.Sprintf("e9/o%d|p|b083c26c75bd146e|fred|stalls:1:0|unknown_event|", i)}}).Err(); err != nil {
			t.Fatal(err)
		}
		h.archived()
	}
	before := segments(t, folder)
	compacted := func(args ...string) (done object) {
		t.Helper()
		for _, row := range h.json(append([]string{"archive", "compact", "--archive", url}, args...)...) {
			if row["segments"] != float64(0) || row["removed"] != float64(0) {
				done = row
			}
		}
		return done
	}
	expect(t, compacted("--dry-run"), object{"segments": 3, "large": 1, "removed": 0})
	if now := segments(t, folder); !slices.Equal(now, before) {
		t.Errorf("a dry run has made %v of %v", now, before)
	}
	expect(t, compacted(), object{"segments": 3, "large": 1, "removed": 0})
	expect(t, h.one("archive", "verify", "--archive", url), object{"ok": true, "segments": len(before) - 3 + 1, "replaced": 3})
	expect(t, compacted("--keep-replaced", "0s"), object{"segments": 0, "large": 0, "removed": 3})
	if now := segments(t, folder); len(now) != len(before)-3+1 {
		t.Errorf("there are %v, of %v", now, before)
	}
	expect(t, h.one("archive", "verify", "--archive", url), object{"ok": true, "facts": 6})
	h.fails(exitUsage, []string{"--keep-snapshots"}, "archive", "compact", "--archive", url, "--keep-snapshots", "1")
	h.fails(exitUsage, []string{"--keep-replaced"}, "archive", "compact", "--archive", url, "--keep-replaced", "-1s")

	large := slices.IndexFunc(segments(t, folder), func(name string) bool { return strings.Contains(filepath.Base(name), "_") })
	name := segments(t, folder)[large]
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 1
	if err := errors.Join(os.Remove(name), os.WriteFile(name, body, 0o600)); err != nil {
		t.Fatal(err)
	}
	h.says(exitFailed, []string{filepath.Base(name)}, "archive", "verify", "--archive", url)
}
