package main

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
)

// explain is pending explain in words, and in JSON, which must agree where it stands.
func (h *holdfast) explain(order string, want standing) (text string, found []object) {
	h.t.Helper()
	text = h.ok("pending", "explain", order)
	said := h.one("pending", "explain", order)
	expect(h.t, said, object{"stands": string(want)})
	for _, f := range said["findings"].([]any) {
		found = append(found, f.(object))
	}
	return text, found
}

// deadWorker is one that has so many entries in hand, and is gone. p is what the keys of the partition begin with.
func deadWorker(t testing.TB, p string, rdb *redis.Client, name string, has int64) {
	t.Helper()
	ctx, group := context.Background(), string(domain.GroupWorkers)
	if err := rdb.XGroupCreateConsumer(ctx, p+"requests", group, name).Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.ZAdd(ctx, p+"2:consumers", redis.Z{Score: 1, Member: group + "/" + name}).Err(); err != nil {
		t.Fatal(err)
	}
	if has == 0 {
		return
	}
	if err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: group, Consumer: name, Streams: []string{p + "requests", ">"}, Count: has}).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestPendingExplain(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	rdb := h.server.Client()
	defer func() { _ = rdb.Close() }()
	p := partitionOf(t, rdb, "e1")

	// Nothing is known of it.
	text, _ := h.explain("e1/nobody", standsUnknown)
	wantSaid(t, text, "order e1/nobody", "is not known yet", "Nothing is known of it", "publish it again")
	text, _ = h.explain("e9/nobody", standsUnknown)
	wantSaid(t, text, "there is no event e9", "do:", "holdfast events list")
	h.fails(exitFailed, []string{"order nobody", "not found", "--event"}, "pending", "explain", "nobody")
	h.failsInJSON(exitFailed, "nobody", object{"code": "not_found", "order_id": "nobody"}, "pending", "explain", "nobody")

	// In line, with nobody there to take it; found without its event, too.
	receipts := make(map[string]string)
	for _, o := range []string{"o1", "o2", "o3"} {
		receipts[o], _ = h.one("publish", "--event", "e1", "--customer", o, "--order", o, "--token", "tok_secret", "--valid-seconds", "600")["entry_id"].(string)
	}
	text, found := h.explain("o3", standsWaiting)
	wantSaid(t, text, "order e1/o3", "Its purchase (entry "+receipts["o3"]+") has been waiting in line for", "ahead of it",
		"next: nothing: no worker with role purchase is alive", "it is too_late from", "do:", "holdfast worker --gateway URL --roles purchase", "holdfast orders cancel e1/o3 --reason TEXT")
	if strings.Contains(text, "secret") {
		t.Errorf("the token is shown:\n%s", text)
	}
	expect(t, found[0], object{"entry_id": receipts["o3"], "group": "purchase", "request": "purchase"})
	expect(t, found[0]["place"].(object), object{"state": "waiting", "at_most": 2})
	h.fails(exitFailed, []string{"no request of order e1/o2"}, "pending", "explain", "e1/o2", "--receipt", receipts["o3"])

	// In hand with one that is gone, and nobody else is there.
	deadWorker(t, p, rdb, "gone", 2)
	text, found = h.explain("e1/o1", standsInHand)
	wantSaid(t, text, "in hand for", "with worker gone, which is not alive", "1 delivery", "next: nothing: no worker with role purchase is alive", "holdfast worker --gateway URL --roles purchase")
	expect(t, found[0], object{"consumer": "gone", "alive": false, "deliveries": 1})
	// Somebody else is there.
	if err := rdb.ZAdd(context.Background(), p+"2:consumers", redis.Z{Score: 9e15, Member: "purchase/here"}).Err(); err != nil {
		t.Fatal(err)
	}
	text, _ = h.explain("e1/o1", standsInHand)
	wantSaid(t, text, "next: another worker takes it over", "--reclaim-after", "do:", "holdfast pending claim --consumer gone --reason TEXT")
	text, _ = h.explain("e1/o3", standsWaiting)
	wantSaid(t, text, "next: one of 1 worker takes it when its turn comes")
	if err := rdb.ZRem(context.Background(), p+"2:consumers", "purchase/here").Err(); err != nil {
		t.Fatal(err)
	}
	if r := h.run("pending", "explain", "e1/o1", "--namespace", "other"); r.code != exitFailed {
		t.Errorf("another namespace: exit %d: %s", r.code, r.stdout)
	}

	worker := h.worker("--reclaim-after", "200ms")
	h.drained()
	text, _ = h.explain("e1/o1", standsDone)
	wantSaid(t, text, "is confirmed", "It is sold, posted and settled", "next: nothing more happens by itself", "holdfast orders show e1/o1", "holdfast orders cancel e1/o1")

	// Held, and no pay comes.
	h.ok("publish", "--type", "hold", "--event", "e1", "--customer", "ann", "--order", "h1", "--hold-seconds", "600", "--wait")
	text, found = h.explain("e1/h1", standsHeld)
	wantSaid(t, text, "is held", "It holds 1 place until", "next: its hold expires then, unless a pay comes before", "do:", "publish --type pay --event e1 --order h1")
	if due, _ := found[0]["due_ms"].(float64); due < 500_000 || due > 600_000 {
		t.Errorf("due in %v", due)
	}
	h.run("publish", "--type", "pay", "--event", "e1", "--order", "h1", "--token", "decline_me", "--wait")
	h.drained()
	text, _ = h.explain("e1/h1", standsHeld)
	wantSaid(t, text, "its payment was declined, attempt 1", "--type pay --event e1 --order h1 --attempt 2")

	// A request of it is a dead letter.
	h.conflicts("d1")
	dead := h.json("dead", "list")[0]["dead_id"].(string)
	text, found = h.explain("e1/d1", standsDead)
	wantSaid(t, text, "A request of it is dead letter "+dead, "next: nothing, until a person has seen to it", "holdfast dead show "+dead, "holdfast dead redrive "+dead)
	expect(t, found[0], object{"dead_id": dead})
	h.drained()
	worker.stop()

	// Paid, and nobody posts or settles it; held, and nobody ends it.
	half := h.worker("--roles", "purchase", "--hold-time", "100ms")
	h.ok("publish", "--event", "e1", "--customer", "u1", "--order", "u1", "--token", "t", "--hold-seconds", "600", "--wait")
	text, found = h.explain("e1/u1", standsUnsettled)
	wantSaid(t, text, "It is not on its customer's invoices yet: that it was confirmed", "no worker with role posting is alive", "holdfast worker --roles posting",
		"Its money is not settled yet", "no worker with role settlement is alive", "holdfast worker --gateway URL --roles settlement")
	if len(found) != 2 {
		t.Errorf("found %v", found)
	}
	h.ok("publish", "--type", "hold", "--event", "e1", "--customer", "u2", "--order", "u2", "--wait")
	eventually(t, "its hold is over, and the turns of the worker before are, too", func() bool { return strings.Contains(h.ok("pending", "explain", "e1/u2"), "nobody is seen") })
	text, _ = h.explain("e1/u2", standsHeld)
	wantSaid(t, text, "Its hold was over", "next: nothing: nobody is seen at maintenance", "holdfast worker --roles maintenance")
	if code := half.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
}

// What a worker has in hand because the gateway does not answer, and money that waits by itself, say why.
func TestPendingExplainWithoutGateway(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	settles := h.worker("--roles", "purchase,posting")
	h.ok("publish", "--event", "e1", "--customer", "s1", "--order", "s1", "--token", "t", "--wait")
	settles.stop()
	if r := h.run("namespace", "set", "--gateway", "remote"); r.code != exitDone {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	h.background(nil, "worker", "--gateway", "http://"+closedPort(t), "--name", "w1")
	h.ok("publish", "--event", "e1", "--customer", "o1", "--order", "o1", "--token", "t", "--hold-seconds", "600")
	eventually(t, "it is in hand, and its worker says why", func() bool {
		return strings.Contains(h.ok("pending", "explain", "e1/o1"), "it says, for")
	})
	text, found := h.explain("e1/o1", standsInHand)
	wantSaid(t, text, "is held", "Its purchase (entry ", "is in hand for", "with worker w1, which is alive", "next: its worker is at it: it asks the payment gateway until", "It holds 1 place")
	expect(t, found[0], object{"consumer": "w1", "alive": true})
	eventually(t, "the money of the other waits by itself", func() bool {
		return h.one("pending", "explain", "e1/s1")["stands"] == string(standsOwed)
	})
	text, found = h.explain("e1/s1", standsOwed)
	wantSaid(t, text, "is confirmed", "Its money has been waiting by itself for", "next: a worker with role settlement tries again in")
	expect(t, found[0], object{"group": "settlement"})
}
