package main

import (
	"context"
	"strings"
	"testing"

	"holdfast/streams/redistest"
)

// What an audit found, and when, is told by whoever looks after it: until a later one has looked at the same.
func TestAuditIsKept(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init")
	h.event("e1")
	gateway := h.gateway()
	at := listens(t, h.worker("--gateway", gateway, "--listen", "127.0.0.1:0"))
	if text := h.run("check").stdout; strings.Contains(text, "audit") {
		t.Errorf("nobody has audited, and check says %s", text)
	}
	h.ok("publish", "--event", "e1", "--customer", "fred", "--order", "o1", "--token", "tok", "--wait")
	h.ok("audit", "--gateway", gateway)
	well := func() bool {
		values := scrape(t, at)
		found, known := values[`holdfast_audit_violations{of="payments"}`]
		return known && found == 0 && values[`holdfast_audit_violations{of="books"}`] == 0
	}
	eventually(t, "the metrics tell that all is well", well)

	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	ctx, events := context.Background(), partitionOf(t, rdb, "e1")+"2:events"
	sales := rdb.HGet(ctx, events, "e1#sales").Val()
	if err := rdb.HSet(ctx, events, "e1#sales", "9|9|9").Err(); err != nil {
		t.Fatal(err)
	}
	h.fails(exitFailed, []string{"violation"}, "audit")
	wantSaid(t, h.check(levelCritical), "CRITICAL audit_failed: the audit of the books found", "the first: I", "holdfast audit --gateway URL")
	eventually(t, "the metrics tell it", func() bool { return scrape(t, at)[`holdfast_audit_violations{of="books"}`] > 0 })
	wantSaid(t, h.run("doctor").stdout, "critical  audit_failed")

	if err := rdb.HSet(ctx, events, "e1#sales", sales).Err(); err != nil {
		t.Fatal(err)
	}
	h.ok("audit")
	eventually(t, "the metrics tell that it is mended", well)
	wantSaid(t, h.check(levelWarning, "--ignore", "no_aof", "--warn-audit", "1ms"), "WARNING audit_old: the last audit of the books was", "payments")
}

// An auditor that may not keep its verdict tells it, and that nobody else is told.
func TestAuditThatMayNotBeKept(t *testing.T) {
	t.Parallel()
	as, client := withShippedUsers(t, "", redistest.Start(t))
	as("worker").ok("init")
	if err := client("admin").Do(context.Background(), "ACL", "SETUSER", "auditor", "clearselectors").Err(); err != nil {
		t.Fatal(err)
	}
	r := as("auditor").run("audit")
	if r.code != exitDone || !strings.Contains(r.stdout, "all is well") || !strings.Contains(r.stderr, "check and the metrics do not know of this audit: ") {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
}
