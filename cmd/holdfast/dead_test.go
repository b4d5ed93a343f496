package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// conflicts publishes requests under order ids that are taken: each is a dead letter.
func (h *holdfast) conflicts(orders ...string) {
	h.t.Helper()
	for i, order := range orders {
		h.ok("publish", "--event", "e1", "--customer", order, "--order", order, "--token", "tok_secret", "--wait")
		h.fails(exitFailed, []string{"another request", "order_id"},
			"publish", "--event", "e1", "--customer", order, "--order", order, "--quantity", "2", "--token", "tok_secret", "--wait")
		eventually(h.t, "the letter is there", func() bool { return len(h.json("dead", "list")) == i+1 })
	}
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
	expect(t, letters[0], object{"stream": "requests", "group": "purchase", "deliveries": 1, "fields": object{
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

	redriven := h.one("dead", "redrive", ids[0], "--why", "the checkout is mended", "--by", "ann")
	expect(t, redriven, object{"dead_id": ids[0]})
	if redriven["entry_id"] == letters[0]["entry_id"] {
		t.Error("not a new entry")
	}
	// One of three is gone already; the other two are handled all the same.
	h.fails(exitUsage, []string{"--why: want"}, "dead", "redrive", ids[1], "--why", "a\nb")
	r := h.run("dead", "discard", ids[0], ids[1], "nonsense", "-o", "json", "--by", "bob")
	if r.code != exitFailed || strings.Count(r.stderr, "\n") != 2 || len(decodeLines(t, r.stdout)) != 1 {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if left := h.json("dead", "list"); len(left) != 1 || left[0]["dead_id"] != ids[2] {
		t.Errorf("left: %v", left)
	}
	handled := h.json("dead", "handled") // who had which handled, the newest first; of what was not done nothing is noted
	if len(handled) != 2 {
		t.Fatalf("handled: %v", handled)
	}
	expect(t, handled[0], object{"act": "discarded", "dead_id": ids[1], "order_id": "e1/o2", "entry_id": "", "by": "bob", "reason": ""})
	expect(t, handled[1], object{"act": "redriven", "dead_id": ids[0], "order_id": "e1/o1", "entry_id": redriven["entry_id"], "by": "ann", "reason": "the checkout is mended"})
	table(t, h.ok("dead", "handled"), "AT ACT DEAD_ID ORDER ENTRY_ID BY WHY")
	wantSaid(t, h.ok("dead", "handled"), "redriven", ids[0], "ann", "the checkout is mended")
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

// A request that came in a wrong partition is published in the right one, and gets its outcome there.
func TestDeadLettersRerouted(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.worker()
	h.conflicts("c1")
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	right := h.store().Partition("e1")
	wrong := "holdfast:{" + count(int64((right+1)%4)) + "}:requests"
	for _, order := range []string{"o1", "o2"} {
		if err := rdb.XAdd(context.Background(), &redis.XAddArgs{Stream: wrong, Values: []string{
			"v", "1", "type", "purchase", "event_id", "e1", "order_id", order, "customer_id", order, "quantity", "1", "payment_token", "tok",
		}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "they are set aside", func() bool { return len(h.json("dead", "list", "--reason", "belongs to partition")) == 2 })
	letters := h.json("dead", "list", "--reason", "belongs")
	one := letters[0]["dead_id"].(string)
	h.fails(exitFailed, []string{"not rerouted", "partition of its event"}, "dead", "redrive", "--reroute", h.json("dead", "list", "--reason", "conflict")[0]["dead_id"].(string))
	expect(t, h.one("dead", "redrive", "--reroute", one), object{"dead_id": one})
	if got := h.json("dead", "redrive", "--all", "--reroute"); len(got) != 1 {
		t.Errorf("rerouted: %v", got)
	}
	eventually(t, "both are confirmed", func() bool { return len(h.json("orders", "list", "--state", "confirmed", "--limit", "0")) == 3 })
	if left := h.json("dead", "list"); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// The order of a fact that was set aside is told, too.
func TestDeadLettersOfFacts(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	const says = "e1/o1|fred|general:1:1000|EUR|"
	fields := fmt.Sprintf("9:confirmed,%d:%s,", len(says), says)
	if err := rdb.XAdd(context.Background(), &redis.XAddArgs{Stream: "holdfast:{0}:2:dead", Values: []string{
		"stream", "log", "group", "settlement", "entry_id", "1-1", "reason", "refund refused", "deliveries", "1", "at", "1", "fields", fields,
	}}).Err(); err != nil {
		t.Fatal(err)
	}
	table(t, h.ok("dead", "list"), "DEAD_ID STREAM GROUP ENTRY_ID ORDER", "0:")
	wantSaid(t, h.ok("dead", "list"), "log", "settlement", "1-1", "e1/o1", "refund refused")
	letters := h.json("dead", "list")
	expect(t, letters[0], object{"order_id": "e1/o1"})
	wantSaid(t, h.ok("dead", "show", letters[0]["dead_id"].(string)), "order", "e1/o1")
}
