package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/streams"
)

// trimmed trims the log as a worker with --keep-log would, but to the last entry that may go.
func (h *holdfast) trimmed(url string) (gone int64, err error) {
	h.t.Helper()
	store, err := streams.Open(h.t.Context(), h.url(), streams.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	bucket, err := archive.Open(h.t.Context(), url)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = bucket.Close() }()
	a := archive.NewArchiver(store.Ledger(), bucket, "trimmer")
	a.Keep(domain.KeepLog{For: time.Nanosecond, Bytes: 1})
	for p := range streams.DefaultPartitions {
		n, failed := a.Trim(h.t.Context(), p)
		gone, err = gone+n, errors.Join(err, failed)
	}
	return gone, err
}

// A log is trimmed behind archive and snapshot: whoever sells goes on, what is gone is proved with the archive or said to be missing, and Redis, when it is lost, is
// restored with all of it.
func TestTrimmedLog(t *testing.T) {
	t.Parallel()
	h := start(t)
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.ConfigSet(t.Context(), "stream-node-max-entries", "1").Err(); err != nil { // Redis trims nodes of them as a whole
		t.Fatal(err)
	}
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	gateway := h.gateway()
	h.worker("--gateway", gateway, "--archive", url, "--archive-every", "50ms", "--snapshot-every", "0")
	h.event("e1")
	sell := func(order string) {
		t.Helper()
		expect(t, h.one("publish", "--event", "e1", "--customer", "c-"+order, "--order", order, "--token", "t", "--wait"), object{"state": "confirmed"})
	}
	for n := range 10 {
		sell(fmt.Sprintf("o%d", n))
	}
	h.drained()
	h.archived()
	if gone, err := h.trimmed(url); gone != 0 || err == nil || !strings.Contains(err.Error(), "no good snapshot") {
		t.Fatalf("%d entries were trimmed, and there is no snapshot: %v", gone, err)
	}
	h.ok("archive", "snapshot", "--archive", url)
	sell("late") // behind the snapshot
	h.drained()
	h.archived()
	if gone, err := h.trimmed(url); gone < 15 || err != nil {
		t.Fatalf("%d entries were trimmed: %v", gone, err)
	}
	if gone, err := h.trimmed(url); gone != 0 || err != nil {
		t.Errorf("%d entries more were trimmed: %v", gone, err)
	}

	h.ok("audit", "--gateway", gateway, "--archive", url)
	h.ok("audit", "--gateway", gateway, "--archive", url, "--full")
	if r := h.run("audit", "--gateway", gateway); r.code == exitDone || !strings.Contains(r.stdout, "holdfast audit --archive URL") {
		t.Errorf("without the archive: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	show := func(order string) object { // with a line on stderr where its history is not whole
		t.Helper()
		return decodeLines(t, h.run("orders", "show", "e1/"+order, "-o", "json").stdout)[0]
	}
	if shown := show("o1"); shown["state"] != "confirmed" || shown["history_missing"] == nil {
		t.Errorf("an order whose facts are gone is shown as %v", shown)
	}
	if shown := show("late"); shown["state"] != "confirmed" || shown["history_missing"] != nil {
		t.Errorf("an order whose facts are there is shown as %v", shown)
	}
	h.ok("orders", "cancel", "e1/o1", "--wait")
	sell("later")
	h.ok("events", "cancel", "e1", "--yes", "--reason", "rain")
	h.drained()
	h.archived()
	for _, order := range []string{"o2", "late", "later"} {
		expect(t, show(order), object{"state": "cancelled"})
	}
	h.ok("audit", "--gateway", gateway, "--archive", url)

	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	expect(t, h.one("restore", "--archive", url), object{"events": 1, "orders": 12})
	h.drained()
	eventually(t, "all is well", func() bool {
		h.run("check", "--forget-replaced")
		return h.run("audit", "--archive", url, "--gateway", gateway).code == exitDone
	})
}
