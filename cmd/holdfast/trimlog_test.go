package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
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
	endpoint := startHooked(t) // nobody sends to it until the log is trimmed
	h.ok("webhooks", "add", endpoint.URL, "--events", "order.confirmed", "--allow-private")
	sell := func(order string) {
		t.Helper()
		expect(t, h.one("publish", "--event", "e1", "--customer", "c-"+order, "--order", order, "--token", "t", "--wait"), object{"state": "confirmed"})
	}
	for n := range 10 {
		sell(fmt.Sprintf("o%d", n))
	}
	h.ok("orders", "cancel", "e1/o3", "--wait")
	wasShown := h.one("orders", "show", "e1/o3")
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
	// With the archive, wherever its facts are.
	if shown := h.one("orders", "show", "e1/o3", "--archive", url); !reflect.DeepEqual(shown, wasShown) {
		t.Errorf("an order whose facts are archived is shown as\n%v, it was\n%v", shown, wasShown)
	}
	if shown := decodeLines(t, h.run("orders", "show", "e1/o3", "-o", "json", "--archive", "file://"+filepath.Join(t.TempDir(), "none")).stdout)[0]; shown["history_missing"] == nil || shown["state"] != "cancelled" {
		t.Errorf("with another archive it is shown as %v", shown)
	}
	h.worker("--roles", "webhooks", "--archive", url)
	eventually(t, "an endpoint is told of what was trimmed, too", func() bool {
		bodies, _ := endpoint.got()
		told := strings.Join(bodies, "\n")
		return len(bodies) == 11 && strings.Contains(told, `"order_id":"o0"`) && strings.Contains(told, `"order_id":"late"`)
	})
	h.ok("orders", "cancel", "e1/o1", "--wait")
	sell("later")
	h.ok("events", "cancel", "e1", "--yes", "--reason", "rain")
	h.drained()
	h.archived()
	for _, order := range []string{"o2", "late", "later"} {
		expect(t, show(order), object{"state": "cancelled"})
	}
	h.ok("audit", "--gateway", gateway, "--archive", url)
	facts := func(order string, more ...string) (types []string) {
		t.Helper()
		for _, f := range h.one(append([]string{"orders", "show", "e1/" + order, "--archive", url}, more...)...)["history"].([]any) {
			types = append(types, f.(map[string]any)["type"].(string))
		}
		return types
	}
	h.ok("archive", "snapshot", "--archive", url)
	h.trimmed(url)
	for _, order := range []string{"o2", "late", "later"} {
		if types := facts(order); !slices.Equal(types, []string{"held", "confirmed", "event_cancelled", "cancelled"}) {
			t.Errorf("the facts of %s are %v", order, types)
		}
	}

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
