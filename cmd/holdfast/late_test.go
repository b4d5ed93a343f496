package main

import (
	"strings"
	"testing"
)

// TestLateApprovals: an event says what becomes of an order whose payment is approved late; it lapses, is paid for, and has its places.
func TestLateApprovals(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "jazz", "--name", "Jazz", "--currency", "EUR", "--section", "general=9@10", "--late-approval", "rehold")
	expect(t, h.one("events", "show", "jazz"), object{"late_approval": "rehold", "late_approval_for": 900_000})
	h.ok("events", "adjust", "jazz", "--late-approval-for", "1h")
	if shown := h.ok("events", "show", "jazz"); !strings.Contains(shown, "rehold, for 1h0m0s") {
		t.Errorf("shown as\n%s", shown)
	}
	h.ok("events", "create", "opera", "--name", "Opera", "--currency", "EUR", "--section", "general=9@10")
	expect(t, h.one("events", "show", "opera"), object{"late_approval": "void", "late_approval_for": 0})
	h.worker()
	h.one("publish", "--type", "hold", "--event", "jazz", "--customer", "amy", "--order", "o1", "--hold-seconds", "1", "--wait")
	eventually(t, "it has lapsed", func() bool { return h.one("orders", "show", "o1")["state"] == "lapsed" })
	expect(t, h.one("orders", "list", "--state", "lapsed"), object{"order_id": "o1"})
	expect(t, h.one("events", "show", "jazz")["sections"].([]any)[0].(object), object{"available": 9, "held": 0})
	if said := h.ok("pending", "explain", "o1"); !strings.Contains(said, "hold ran out at") || !strings.Contains(said, "it gets its places again") {
		t.Errorf("explained as\n%s", said)
	}
	expect(t, h.one("publish", "--type", "pay", "--event", "jazz", "--order", "o1", "--token", "t", "--wait"), object{"state": "confirmed", "quantity": 1})
	if shown := h.ok("orders", "show", "o1"); !strings.Contains(shown, "lapsed") || !strings.Contains(shown, "payable for 1h0m0s") {
		t.Errorf("shown as\n%s", shown)
	}
	h.drained()
	h.ok("audit")
	h.ok("events", "adjust", "jazz", "--late-approval", "void")
	expect(t, h.one("events", "show", "jazz"), object{"late_approval": "void", "late_approval_for": 0})
	for _, bad := range [][]string{
		{"--late-approval-for goes with", "events", "create", "x", "--name", "X", "--currency", "EUR", "--section", "general=9@10", "--late-approval-for", "1h"},
		{"want 1s to 24h", "events", "create", "x", "--name", "X", "--currency", "EUR", "--section", "general=9@10", "--late-approval", "rehold", "--late-approval-for", "25h"},
		{"--late-approval-for goes with", "events", "adjust", "jazz", "--late-approval-for", "1h"},
	} {
		h.fails(exitUsage, []string{bad[0]}, bad[1:]...)
	}
}
