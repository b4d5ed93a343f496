package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What was at a time is told as it was told then, without Redis, whatever came later.
func TestWhatWasAtATime(t *testing.T) {
	t.Parallel()
	h := start(t)
	archive := []string{"--archive", "file://" + filepath.Join(t.TempDir(), "archive")}
	gateway := h.gateway()
	archiving := h.worker(append([]string{"--gateway", gateway, "--archive-every", "50ms", "--snapshot-every", "0"}, archive...)...)
	h.event("e1")
	h.ok("events", "create", "hall", "--name", "The Hall", "--currency", "EUR", "--rows", "stalls=A:1-6@10")
	expect(t, h.one("publish", "--event", "e1", "--customer", "amy", "--order", "o1", "--quantity", "1000000", "--token", "t", "--wait"), object{"reason": "sold_out"})
	bought := h.one("publish", "--event", "hall", "--customer", "fred", "--order", "o1", "--section", "stalls", "--seats", "A-2,A-3", "--token", "t", "--wait")
	expect(t, bought, object{"state": "confirmed"})
	last := int64(bought["resolved_at"].(float64))
	eventually(t, "that millisecond is over", func() bool { return time.Now().UnixMilli() > last })
	commands := [][]string{{"sales"}, {"sales", "hall"}, {"sales", "e1"}, {"events", "show", "hall"}, {"events", "show", "e1"}, {"orders", "show", "hall/o1"}, {"orders", "show", "e1/o1"}}
	told := make([]string, len(commands))
	for i, args := range commands {
		told[i] = text(t, h.json(args...))
	}

	h.ok("orders", "cancel", "hall/o1", "--wait")
	expect(t, h.one("publish", "--event", "e1", "--customer", "jim", "--order", "o2", "--token", "t", "--wait"), object{"state": "confirmed"})
	h.ok("events", "close", "hall")
	h.drained()
	h.archived()

	moment := append([]string{"--at", time.UnixMilli(last).UTC().Format("2006-01-02T15:04:05.000Z07:00"), "--redis", "redis://127.0.0.1:1"}, archive...)
	for i, args := range commands {
		if got := text(t, h.json(append(args, moment...)...)); got != told[i] {
			t.Errorf("%v said then %s\nand is told to have said %s", args, told[i], got)
		}
	}
	h.fails(exitFailed, []string{"several events have one", "e1, hall"}, append([]string{"orders", "show", "o1"}, moment...)...)
	h.fails(exitFailed, []string{"order e1/o2: not found at that time"}, append([]string{"orders", "show", "e1/o2"}, moment...)...)
	h.fails(exitFailed, []string{"event opera: not found at that time"}, append([]string{"sales", "opera"}, moment...)...)
	h.fails(exitUsage, []string{"--at goes with --archive"}, "events", "show", "hall", "--at", "2026-12-01T10:00:00Z")
	h.fails(exitUsage, []string{"--receipt"}, append([]string{"orders", "show", "hall/o1", "--receipt", "1-0"}, moment...)...)
	h.says(exitDone, []string{"is known until", "The Hall"}, append([]string{"sales", "--at", "2100-01-01T00:00:00Z"}, archive...)...)

	// What is not archived yet is in the log.
	archiving.stop()
	h.worker("--gateway", gateway)
	late := h.one("publish", "--event", "e1", "--customer", "eve", "--order", "late", "--token", "t", "--wait")
	expect(t, late, object{"state": "confirmed"})
	then := int64(late["resolved_at"].(float64))
	eventually(t, "that millisecond is over", func() bool { return time.Now().UnixMilli() > then })
	moment = append([]string{"--at", time.UnixMilli(then).UTC().Format("2006-01-02T15:04:05.000Z07:00")}, archive...)
	expect(t, h.one(append([]string{"orders", "show", "e1/late"}, moment...)...), object{"state": "confirmed"})
	expect(t, h.one(append([]string{"sales", "e1"}, moment...)...), object{"orders": 2})
	r := execute(strings.NewReader(""), append([]string{"orders", "show", "e1/late", "--redis", "redis://127.0.0.1:1"}, moment...)...)
	for _, said := range []string{"order e1/late: not found at that time", "is known until", "was not read"} {
		if r.code != exitFailed || !strings.Contains(r.stderr, said) {
			t.Errorf("without Redis: exit %d, and it does not say %q:\n%s%s", r.code, said, r.stdout, r.stderr)
		}
	}
}

// text is what objects say, in one order.
func text(t *testing.T, objects []object) string {
	t.Helper()
	said, err := json.Marshal(objects)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}
