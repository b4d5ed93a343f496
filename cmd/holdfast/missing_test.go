package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/streams"
)

// snapshot is all that is in Redis.
func (h *holdfast) snapshot() map[string]string {
	h.t.Helper()
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	all := make(map[string]string)
	for _, key := range rdb.Keys(h.t.Context(), "*").Val() {
		if strings.Contains(key, ":turn:") { // these end by themselves, and would not any more
			continue
		}
		dumped, err := rdb.Dump(h.t.Context(), key).Result()
		if err != nil {
			h.t.Fatal(err)
		}
		all[key] = dumped
	}
	return all
}

// back makes Redis what it was, in one step, as a failover to a replica that had fallen behind does.
func (h *holdfast) back(to map[string]string) {
	h.t.Helper()
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	_, err := rdb.TxPipelined(h.t.Context(), func(pipe redis.Pipeliner) error {
		pipe.FlushAll(h.t.Context())
		for key, value := range to {
			pipe.Restore(h.t.Context(), key, 0, value)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// missing runs restore --missing, and returns what it printed by order, or event, and the report.
func (h *holdfast) missing(code int, args ...string) (rows map[string]object, report object) {
	h.t.Helper()
	r := h.run(append([]string{"restore", "--missing", "-o", "json"}, args...)...)
	if r.code != code {
		h.t.Fatalf("restore --missing %s: exit %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	rows = make(map[string]object)
	lines := decodeLines(h.t, r.stdout)
	for _, line := range lines[:len(lines)-1] {
		name, _ := line["event_id"].(string)
		if order, is := line["order_id"].(string); is {
			name += "/" + order
		}
		rows[name] = line
	}
	return rows, lines[len(lines)-1]
}

// What a failover has lost, and the archive has, comes back, each order as is decided anew: with its places where these are free, refunded where others
// have them, ended where it had ended.
func TestRestoreMissing(t *testing.T) {
	t.Parallel()
	h := start(t)
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	gateway := h.gateway()
	h.worker("--gateway", gateway, "--archive", url, "--archive-every", "50ms")
	buy := func(event, order, customer string, more ...string) {
		t.Helper()
		expect(t, h.one(append([]string{"publish", "--event", event, "--customer", customer, "--order", order, "--token", "t", "--wait"}, more...)...), object{"state": "confirmed"})
	}
	h.event("e1")
	h.ok("events", "create", "e2", "--name", "Few", "--currency", "EUR", "--section", "general=2@10.00")
	h.ok("events", "create", "e3", "--name", "Hall", "--currency", "EUR", "--rows", "stalls=A:1-6@45.00")
	h.event("e5")
	for _, order := range []string{"stays", "cancelled", "refunded", "reduced", "cancelled-again"} {
		buy("e1", order, "fred-"+order, "--quantity", "3")
	}
	h.drained()
	h.archived()
	before := h.snapshot()

	buy("e1", "sold", "amy", "--quantity", "2")
	buy("e1", "again", "bob")
	buy("e2", "taken", "carl", "--quantity", "2")
	buy("e3", "seats", "dora", "--section", "stalls", "--quantity", "2")
	buy("e3", "seats-taken", "emil", "--section", "stalls", "--quantity", "2")
	h.event("e4")
	buy("e4", "of-lost", "fay")
	h.ok("events", "close", "e5")
	h.ok("orders", "cancel", "e1/cancelled", "--wait")
	h.ok("orders", "cancel", "e1/cancelled-again", "--wait")
	h.ok("orders", "refund", "e1/refunded", "--change", "1", "--amount", "500", "--wait")
	h.ok("publish", "--type", "cancel", "--event", "e1", "--order", "reduced", "--change", "1", "--item", "section=general,quantity=1", "--wait")
	h.ok("publish", "--type", "hold", "--event", "e1", "--customer", "gus", "--order", "held", "--quantity", "4", "--hold-seconds", "600", "--wait")
	h.ok("publish", "--type", "hold", "--event", "e1", "--customer", "hal", "--order", "ran-out", "--hold-seconds", "1", "--wait")
	h.run("publish", "--event", "e2", "--customer", "ida", "--order", "refused", "--token", "t", "--wait")
	eventually(t, "the hold has run out", func() bool { return h.one("orders", "show", "e1/ran-out")["state"] == "expired" })
	h.drained()
	h.archived()
	h.back(before)
	eventually(t, "a worker has noticed", func() bool {
		return len(h.json("namespace", "show")[0]["branches"].([]any)) >= 2*streams.DefaultPartitions
	})
	buy("e2", "other", "kim", "--quantity", "2")
	buy("e3", "other", "lea", "--item", "section=stalls,seats=A-3/A-4")
	buy("e1", "again", "bob")
	h.drained()

	found := map[string]object{
		"e1/sold":            {"finding": "comes_back", "lost": "confirmed", "becomes": "confirmed", "amount": 2000},
		"e1/held":            {"finding": "comes_back", "lost": "held", "becomes": "held"},
		"e1/ran-out":         {"finding": "ends", "becomes": "expired"},
		"e1/cancelled":       {"finding": "ends", "becomes": "cancelled"},
		"e1/cancelled-again": {"finding": "ends", "becomes": "cancelled"},
		"e1/refunded":        {"finding": "comes_back", "becomes": "confirmed"},
		"e1/reduced":         {"finding": "comes_back", "becomes": "confirmed"},
		"e2/taken":           {"finding": "without_place", "reason": "sold_out", "amount": 2000},
		"e3/seats":           {"finding": "comes_back", "becomes": "confirmed"},
		"e3/seats-taken":     {"finding": "without_place", "reason": "seat_taken", "amount": 9000},
		"e4/of-lost":         {"finding": "no_event"},
		"e4":                 {"finding": "event_fact", "fact": "listed", "do": "events create"},
		"e5":                 {"finding": "event_fact", "fact": "closed", "do": "events close"},
	}
	compare := func(rows map[string]object, done bool) {
		t.Helper()
		for name, want := range found {
			if rows[name] == nil {
				t.Errorf("it does not name %s", name)
				continue
			}
			expect(t, rows[name], want)
			if _, is := rows[name]["order_id"]; is {
				expect(t, rows[name], object{"done": done && want["becomes"] != nil})
			}
		}
		for name := range rows {
			if found[name] == nil {
				t.Errorf("it names %s: %v", name, rows[name])
			}
		}
	}
	rows, report := h.missing(exitFailed, "--archive", url)
	compare(rows, false)
	expect(t, report, object{"applied": false, "done": 0, "left": len(found), "event_facts": 2})
	if went, _ := report["findings"].(object)["went_on"].(float64); went != 1 {
		t.Errorf("%v orders have gone on, want the one that was published again", went)
	}
	h.fails(exitFailed, []string{"not found"}, "orders", "show", "e1/sold")
	h.fails(exitFailed, []string{"branch mistyped is none"}, "restore", "--missing", "--archive", url, "--branch", "mistyped")
	branch, _ := report["lost"].([]any)[0].(object)["branch"].(string)
	if _, of := h.missing(exitFailed, "--archive", url, "--branch", branch); len(of["lost"].([]any)) != 1 {
		t.Errorf("of branch %s: %v", branch, of["lost"])
	}

	rows, report = h.missing(exitFailed, "--archive", url, "--apply")
	compare(rows, true)
	expect(t, report, object{"applied": true, "done": 8, "left": 5})
	h.ok("events", "close", "e5")
	h.event("e4")
	rows, _ = h.missing(exitFailed, "--archive", url, "--refund")
	expect(t, rows["e2/taken"], object{"becomes": "cancelled", "done": false})
	rows, report = h.missing(exitDone, "--archive", url, "--apply", "--refund")
	expect(t, report, object{"done": 3, "left": 0})
	expect(t, rows["e4/of-lost"], object{"finding": "comes_back", "done": true})
	for range 2 {
		rows, report = h.missing(exitDone, "--archive", url, "--apply", "--refund")
		expect(t, report, object{"done": 0, "left": 0})
		if len(rows) > 0 {
			t.Errorf("run again it finds %v", rows)
		}
	}

	for order, want := range map[string]object{
		"e1/sold": {"state": "confirmed", "amount": 2000, "customer_id": "amy"}, "e1/held": {"state": "held"}, "e1/ran-out": {"state": "expired"},
		"e1/cancelled": {"state": "cancelled", "reason": "requested"}, "e1/reduced": {"state": "confirmed", "amount": 2000}, "e1/refunded": {"state": "confirmed"},
		"e2/taken": {"state": "cancelled", "reason": "places_gone"}, "e3/seats": {"state": "confirmed"}, "e3/seats-taken": {"state": "cancelled", "reason": "places_gone"},
		"e4/of-lost": {"state": "confirmed"}, "e1/stays": {"state": "confirmed", "amount": 3000},
	} {
		expect(t, h.one("orders", "show", order), want)
	}
	listed := decodeLines(t, h.run("orders", "list", "--event", "e1", "-o", "json").stdout)
	for _, order := range []string{"sold", "held", "stays"} {
		if n := len(slices.DeleteFunc(slices.Clone(listed), func(o object) bool { return o["order_id"] != order })); n != 1 {
			t.Errorf("order e1/%s is listed %d times", order, n)
		}
	}
	if text := h.ok("orders", "show", "e1/sold"); !strings.Contains(text, "restored") {
		t.Errorf("its history does not say that it was restored:\n%s", text)
	}
	// What came back is sold: nobody gets it twice; and what was held can be paid.
	expect(t, h.one("publish", "--type", "pay", "--event", "e1", "--order", "held", "--token", "t", "--wait"), object{"state": "confirmed"})
	expect(t, h.one("publish", "--event", "e1", "--customer", "amy", "--order", "sold", "--quantity", "2", "--token", "t", "--wait"), object{"state": "confirmed"})
	h.drained()
	h.archived()
	h.run("check", "--forget-replaced")
	h.ok("audit", "--gateway", gateway, "--archive", url)
	series := h.json("sales")
	i := slices.IndexFunc(series, func(o object) bool { return o["event_id"] == "e2" })
	expect(t, series[i], object{"orders": 1})

	// The archive tells the same, also of what was restored.
	h.ok("archive", "verify", "--archive", url)
	other := start(t)
	other.ok("restore", "--archive", url)
	other.ok("audit", "--gateway", gateway, "--archive", url)
}

// Nobody has noticed yet that Redis has lost something: that is said, and not that nothing is missing.
func TestRestoreMissingUnnoticed(t *testing.T) {
	t.Parallel()
	h := start(t)
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	w := h.worker("--archive", url, "--archive-every", "50ms")
	h.event("e1")
	h.archived()
	before := h.snapshot()
	expect(t, h.one("publish", "--event", "e1", "--customer", "amy", "--order", "o1", "--token", "t", "--wait"), object{"state": "confirmed"})
	h.archived()
	w.stop()
	h.back(before)
	h.says(exitFailed, []string{"no worker has noticed that"}, "restore", "--missing", "--archive", url)
	h.fails(exitFailed, []string{"is it another archive?"}, "restore", "--missing", "--archive", "file://"+filepath.Join(t.TempDir(), "elsewhere"))
	for _, args := range [][]string{{"--apply"}, {"--refund"}, {"--missing", "--until", "2026-01-01"}} {
		if r := h.run(append([]string{"restore", "--archive", url}, args...)...); r.code != exitUsage {
			t.Errorf("restore %v: exit %d\n%s", args, r.code, r.stderr)
		}
	}
}

// A disk comes back from before a branch that is archived: only the workers know of that, and what it had is missing all the same.
func TestRestoreMissingOfABranchThatOnlyTheWorkersKnew(t *testing.T) {
	t.Parallel()
	h := start(t)
	url := "file://" + filepath.Join(t.TempDir(), "archive")
	gateway := h.gateway()
	h.worker("--gateway", gateway, "--archive", url, "--archive-every", "50ms")
	h.event("e1")
	h.drained()
	h.archived()
	before := h.snapshot()
	for _, order := range []string{"o1", "o2"} {
		expect(t, h.one("publish", "--event", "e1", "--customer", "amy-"+order, "--order", order, "--token", "t", "--wait"), object{"state": "confirmed"})
		h.drained()
		h.archived()
		h.back(before)
		eventually(t, "a worker has noticed", func() bool {
			return len(h.json("namespace", "show")[0]["branches"].([]any)) >= 2*streams.DefaultPartitions
		})
	}
	rows, report := h.missing(exitFailed, "--archive", url)
	for _, order := range []string{"e1/o1", "e1/o2"} {
		expect(t, rows[order], object{"finding": "comes_back", "becomes": "confirmed"})
	}
	expect(t, report, object{"left": 2})
	rows, _ = h.missing(exitDone, "--archive", url, "--apply")
	if len(rows) != 2 {
		t.Errorf("given back: %v", rows)
	}
	h.drained()
	h.archived()
	h.run("check", "--forget-replaced")
	h.ok("audit", "--gateway", gateway, "--archive", url)
	h.missing(exitDone, "--archive", url)
}
