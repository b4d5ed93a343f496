package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// check runs a check, whose first line must say its status, and be fit for a monitor.
func (h *holdfast) check(want level, args ...string) string {
	h.t.Helper()
	r := h.run(append([]string{"check"}, args...)...)
	first, _, _ := strings.Cut(r.stdout, "\n")
	if r.code != int(want) || r.stderr != "" || !strings.HasPrefix(first, "HOLDFAST "+want.String()+" - ") || strings.Count(first, "|") > 1 {
		h.t.Errorf("check %v: exit %d, want %d\n%s%s", args, r.code, want, r.stdout, r.stderr)
	}
	return r.stdout
}

// wantSaid checks that a text says all of these, in this order.
func wantSaid(t testing.TB, text string, words ...string) {
	t.Helper()
	rest := text
	for _, word := range words {
		_, after, found := strings.Cut(rest, word)
		if !found {
			t.Errorf("it does not say %q, in this order:\n%s", words, text)
			return
		}
		rest = after
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()

	wantSaid(t, h.check(levelCritical), "no worker is alive", "purchase_alive=0;;1:", "CRITICAL nobody_works", "holdfast worker")
	wantSaid(t, h.ok("pending"), "NOT WELL: no worker is alive", "holdfast worker")
	worker := h.worker()
	h.drained()
	eventually(t, "all is well", func() bool { return h.run("check", "--ignore", "no_aof").code == 0 })
	wantSaid(t, h.check(levelOK, "--ignore", "no_aof"), "HOLDFAST OK - all is well | ", "purchase_alive=1", "purchase_backlog=0;10000;", "unsettled=0.000s;120;900", "dead_letters=0;1;")
	eventually(t, "pending says so", func() bool { return strings.HasPrefix(h.ok("pending"), "well\n") })
	table(t, h.ok("pending"), "PARTITION STREAM GROUP LAG PENDING OWED BACKLOG OLDEST_WAITING OLDEST_IN_HAND OLDEST_OWED CONSUMERS",
		"0 requests purchase 0 0 0 0 0s 0s 0s 1 alive of 1", "3 holds maintenance 0 0 0 0 0s 0s 0s at work")

	// What is wrong counts as it is told to.
	h.conflicts("o1", "o2")
	wantSaid(t, h.check(levelWarning, "--ignore", "no_aof"), "2 dead letters", "dead_letters=2;1;", "WARNING dead_letters: 2 dead letters: holdfast dead list")
	h.check(levelCritical, "--crit-dead", "2")
	wantSaid(t, h.check(levelOK, "--ignore", "no_aof,dead_letters"), "all is well", "ignored dead_letters: 2 dead letters")
	h.check(levelOK, "--ignore", "no_aof", "--warn-dead", "0")
	r := h.run("check", "--crit-dead", "1", "--ignore", "no_aof", "-o", "json")
	said := decodeLines(t, r.stdout)
	if r.code != int(levelCritical) || len(said) != 1 || r.stderr != "" {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	expect(t, said[0], object{"status": "CRITICAL", "exit_status": 2, "not_known": []any{}})
	problems := said[0]["problems"].([]any)
	expect(t, problems[0].(object), object{"level": "CRITICAL", "code": "dead_letters", "text": "2 dead letters", "do": "holdfast dead list", "ignored": false})
	figures := said[0]["figures"].(object)
	expect(t, figures, object{"dead_letters": 2, "overdue_holds": 0})
	expect(t, figures["groups"].(object)["purchase"].(object), object{"alive": 1, "backlog": 0, "oldest_ms": 0, "oldest_waiting_ms": 0, "oldest_in_hand_ms": 0})
	h.ok("dead", "discard", "--all", "--yes")

	// A note that the data was replaced stays until somebody has seen to it.
	if err := h.store().Ledger().NoteReplaced(context.Background(), "w|1", errors.New("the epoch\nis another")); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, h.check(levelCritical), "the data in Redis was replaced; worker w/1", "CRITICAL data_replaced", "w|1", "the epoch; is another", "--forget-replaced")
	wantSaid(t, h.ok("pending"), "NOT WELL: the data in Redis was replaced")
	audited := h.run("audit")
	if audited.code != exitFailed {
		t.Errorf("audit of replaced data: exit %d", audited.code)
	}
	wantSaid(t, audited.stdout, "NOT WELL", "the data in Redis was replaced; worker w|1")
	wantSaid(t, audited.stderr, "--forget-replaced")
	audited = h.run("audit", "-o", "json")
	report := decodeLines(t, audited.stdout)[0]
	expect(t, report, object{"ok": false, "violations": []any{}})
	expect(t, report["replaced"].(object), object{"worker": "w|1"})
	if r := h.run("sales"); r.code != exitDone || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("sales: exit %d, %q", r.code, r.stderr)
	}
	wantSaid(t, h.check(levelOK, "--ignore", "no_aof", "--forget-replaced"), "all is well", "forgotten: the data was replaced; worker w|1")
	h.check(levelOK, "--ignore", "no_aof", "--forget-replaced")
	expect(t, h.one("audit"), object{"ok": true, "replaced": nil})

	// Redis refuses writes.
	if err := rdb.ConfigSet(context.Background(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, h.check(levelCritical), "redis refuses writes: OOM", "CRITICAL writes_refused", "make room")
	if err := rdb.ConfigSet(context.Background(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	worker.stop()
	wantSaid(t, h.check(levelCritical), "no worker is alive")
}

// With some roles missing it says which, and the holds that nobody ends.
func TestCheckOfRoles(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.worker("--roles", "purchase,posting", "--hold-time", "100ms")
	h.ok("publish", "--type", "hold", "--event", "e1", "--customer", "fred", "--wait")
	eventually(t, "the hold is over", func() bool {
		for _, g := range h.json("pending") {
			if g["group"] == "maintenance" && g["backlog"] == 1.0 {
				expect(t, g, object{"stream": "holds", "lag": 1, "pending": 0})
				return true
			}
		}
		return false
	})
	wantSaid(t, h.check(levelCritical, "--warn-overdue", "1ms"), "no worker with role settlement is alive", "CRITICAL nobody_works", "--roles settlement",
		"WARNING holds_overdue: 1 hold is over and has not ended, the oldest for ", "--roles maintenance", "WARNING no_maintenance")
	h.check(levelCritical, "--crit-overdue", "1ms", "--ignore", "nobody_works")
}

// What a worker has to say about its gateway is told.
func TestCheckOfTroubles(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer closed.Close()
	worker := h.worker("--gateway", closed.URL, "--grace", "100ms")
	h.ok("publish", "--event", "e1", "--customer", "fred", "--token", "tok_1")
	eventually(t, "it is told", func() bool { return strings.Contains(h.run("check").stdout, "CRITICAL gateway_misconfigured") })
	wantSaid(t, h.check(levelCritical), "CRITICAL gateway_misconfigured: worker ", "401")
	wantSaid(t, h.ok("pending"), "NOT WELL: worker ", "401")
	worker.stop()
}

// What keeps it from looking: critical if nothing can be sold for it, else not known.
func TestCheckThatCannotLook(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	for _, test := range []struct {
		status level
		redis  string
		args   []string
		words  []string
	}{
		{levelCritical, "redis://" + closedPort(t), nil, []string{"does not answer", "CRITICAL unavailable", ": start one"}},
		{levelCritical, "redis://" + silent.Addr().String(), []string{"--timeout", "100ms"}, []string{"does not answer", "CRITICAL unavailable"}},
		{levelUnknown, strings.Replace(h.server.URL(), "redis://", "redis://nobody:wrong@", 1), nil, []string{"WRONGPASS", "UNKNOWN"}},
	} {
		r := execute(nil, append([]string{"check", "--redis", test.redis}, test.args...)...)
		if r.code != int(test.status) || r.stderr != "" || !strings.HasPrefix(r.stdout, "HOLDFAST "+test.status.String()+" - ") {
			t.Errorf("%s: exit %d\n%s%s", test.redis, r.code, r.stdout, r.stderr)
		}
		wantSaid(t, r.stdout, test.words...)
	}
	if got := h.check(levelOK, "--namespace", "typo", "--ignore", "no_such_namespace"); !strings.HasPrefix(got, "HOLDFAST OK - could not look, and why is ignored\n") {
		t.Errorf("it could not look, and says %s", got)
	}
	wantSaid(t, h.check(levelCritical, "--namespace", "typo"), "no such namespace: typo", "CRITICAL no_such_namespace", "is --namespace right?")
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.Del(context.Background(), "holdfast:meta").Err(); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, h.check(levelCritical), "CRITICAL namespace_damaged")
	// A monitor takes 2 for critical: a wrong command line is not that.
	for _, args := range [][]string{{"check", "--warn-dead", "many"}, {"check", "--timeout", "0s"}, {"check", "--redis", "nonsense://"}, {"check", "--no-such-flag"}} {
		r := execute(nil, args...)
		checkFailure(t, r, int(levelUnknown), nil, args)
	}
}
