package main

import (
	"strings"
	"testing"
)

// conflicts publishes requests under order ids that are taken: each is a dead letter.
func (h *holdfast) conflicts(orders ...string) {
	h.t.Helper()
	for _, order := range orders {
		h.ok("publish", "--event", "e1", "--customer", order, "--order", order, "--token", "tok_secret", "--wait")
		h.fails(exitFailed, []string{"another request", "order_id"},
			"publish", "--event", "e1", "--customer", order, "--order", order, "--quantity", "2", "--token", "tok_secret", "--wait")
	}
	eventually(h.t, "the letters are there", func() bool { return len(h.json("dead", "list")) == len(orders) })
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	if got := h.ok("dead", "list", "-o", "json"); got != "" {
		t.Errorf("none in JSON: %q", got)
	}
	if got := h.ok("dead", "list"); squeeze(got) != "DEAD_ID STREAM GROUP ENTRY_ID ORDER DELIVERIES AT REASON" {
		t.Errorf("none in a table: %q", got)
	}
	worker := h.worker()
	h.conflicts("o1", "o2", "o3")
	worker.stop() // from here on, what is redriven stays where it is

	letters := h.json("dead", "list")
	expect(t, letters[0], object{"stream": "requests", "group": "workers", "deliveries": 1, "fields": object{
		"v": "1", "type": "purchase", "event_id": "e1", "order_id": "o1", "customer_id": "o1", "section": "general", "quantity": "2",
		"payment_token": "[redacted]",
	}})
	var ids []string
	for _, l := range letters {
		ids = append(ids, l["dead_id"].(string))
	}
	shown := h.ok("dead", "show", ids[0])
	table(t, shown, "dead_id "+ids[0], "payment_token [redacted]", "order_id o1")
	expect(t, h.one("dead", "show", ids[0]), letters[0])
	for _, text := range []string{shown, h.ok("dead", "list"), h.ok("dead", "list", "-o", "json")} {
		if strings.Contains(text, "tok_secret") {
			t.Errorf("the token is shown:\n%s", text)
		}
	}

	redriven := h.one("dead", "redrive", ids[0])
	expect(t, redriven, object{"dead_id": ids[0]})
	if redriven["entry_id"] == letters[0]["entry_id"] {
		t.Error("not a new entry")
	}
	// One of three is gone already; the other two are handled all the same.
	r := h.run("dead", "discard", ids[0], ids[1], "nonsense", "-o", "json")
	if r.code != exitFailed || strings.Count(r.stderr, "\n") != 2 || len(decodeLines(t, r.stdout)) != 1 {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if left := h.json("dead", "list"); len(left) != 1 || left[0]["dead_id"] != ids[2] {
		t.Errorf("left: %v", left)
	}
	h.fails(exitFailed, []string{"not found"}, "dead", "show", ids[0])
	h.fails(exitFailed, []string{ids[0], "not found"}, "dead", "redrive", ids[0])

	// The token is still there for those who need it.
	if err := expectToken(h); err != nil {
		t.Error(err)
	}
}

func TestDeadLettersAllAtOnce(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	worker := h.worker()
	h.conflicts("o1", "o2", "o3")
	if got := h.json("dead", "redrive", "--all", "--reason", "no such reason"); len(got) != 0 {
		t.Errorf("redriven: %v", got)
	}
	// The worker sets them aside again at once; each must be redriven just once all the same.
	if got := h.json("dead", "redrive", "--all", "--reason", "conflict"); len(got) != 3 {
		t.Errorf("redriven: %v", got)
	}
	eventually(t, "they are back", func() bool { return len(h.json("dead", "list")) == 3 })
	worker.stop()
	table(t, h.ok("dead", "discard", "--all", "--yes", "--reason", "o2"), "DEAD_ID")
	if left := h.json("dead", "list"); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
	if got := h.json("dead", "discard", "--all", "--yes"); len(got) != 2 {
		t.Errorf("discarded: %v", got)
	}
	if left := h.ok("dead", "list", "-o", "json"); left != "" {
		t.Errorf("left: %s", left)
	}
}
