package main

import (
	"strings"
	"testing"

	"holdfast/streams/redistest"
)

// A person pauses an event, and everything, and everybody who looks is told; nothing is lost, and it goes on when it is resumed.
func TestPause(t *testing.T) {
	t.Parallel()
	as, _ := withShippedUsers(t, "", redistest.Start(t))
	worker, operator, producer, viewer, monitor := as("worker"), as("operator"), as("producer"), as("viewer"), as("monitor")
	worker.ok("init")
	as("organizer").event("e1")
	as("organizer").event("e2")
	operator.fails(exitUsage, []string{"--reason"}, "pause", "--event", "e1")
	operator.fails(exitFailed, []string{"not found"}, "pause", "--event", "nowhere", "--reason", "r")
	operator.fails(exitUsage, []string{"want one of them"}, "resume", "--event", "e1", "--role", "purchase", "--reason", "r")
	operator.fails(exitUsage, []string{"--extend-holds"}, "pause", "--reason", "r", "--extend-holds", "25h")
	expect(t, operator.one("pause", "--event", "e1", "--reason", "wrong prices", "--by", "ann", "--extend-holds", "10m"),
		object{"event_id": "e1", "reason": "wrong prices", "by": "ann", "changed": true})
	at := listens(t, worker.worker("--listen", "127.0.0.1:0"))
	publish := func(event, order string) (receipt string) {
		receipt, _ = producer.one("publish", "--event", event, "--customer", order, "--order", order, "--token", "tok_secret")["entry_id"].(string)
		return receipt
	}
	receipt := publish("e1", "o1")
	publish("e2", "o2")
	eventually(t, "one is parked, and the other event is sold", func() bool {
		values := scrape(t, at)
		return values["holdfast_parked_requests"] == 1 && values[`holdfast_orders_total{outcome="confirmed",reason=""}`] == 1
	})
	if values := scrape(t, at); values[`holdfast_paused{what="events"}`] != 1 || values[`holdfast_paused{what="everything"}`] != 0 || values["holdfast_parked_requests_total"] != 1 {
		t.Errorf("the metrics tell %v", values)
	}
	wantSaid(t, monitor.check(levelWarning, "--ignore", "no_aof"), "WARNING paused: event e1 is paused: 1 request is parked; for", "by ann: wrong prices; its holds do not end before", "holdfast resume --event e1")
	wantSaid(t, monitor.ok("pending"), "event e1 is paused")
	wantSaid(t, operator.run("doctor").stdout, "warning   paused: event e1")
	wantSaid(t, viewer.ok("events", "show", "e1"), "paused", "1 request is parked")
	expect(t, viewer.one("events", "show", "e1")["paused"].(object), object{"by": "ann", "parked": 1})
	expect(t, viewer.one("events", "show", "e2"), object{"paused": nil})
	wantSaid(t, operator.ok("pending", "explain", "e1/o1"), "Event e1 is paused", "put back in line", "do:", "holdfast resume --event e1")
	for _, reader := range []*holdfast{viewer, operator} {
		if got := reader.ok("orders", "show", "e1/o1", "--receipt", receipt); !strings.Contains(got, "parked") {
			t.Errorf("a request that is parked: %s", got)
		}
	}
	expect(t, operator.one("pause", "--event", "e1", "--reason", "again", "--by", "bob"), object{"changed": false, "by": "ann"})

	expect(t, operator.one("pause", "--reason", "the gateway charges twice", "--by", "ann"), object{"changed": true})
	eventually(t, "the worker says that it takes nothing", func() bool {
		list := viewer.json("workers", "list")
		return len(list) == 1 && list[0]["paused"] == true
	})
	publish("e2", "o3")
	wantSaid(t, operator.check(levelWarning, "--ignore", "no_aof"), "everything is paused: no requests are taken")
	expect(t, operator.one("resume", "--role", "purchase", "--reason", "mended", "--by", "bob"), object{"changed": true, "ended_by": "bob", "ended_reason": "mended"})
	expect(t, operator.one("resume", "--reason", "mended"), object{"changed": false})
	if said := operator.ok("resume", "--role", "purchase", "--reason", "mended"); said != "everything is not paused: nothing changed\n" {
		t.Errorf("it says %q", said)
	}
	eventually(t, "what waited is sold", func() bool { return strings.Contains(viewer.run("orders", "show", "e2/o3").stdout, "confirmed") })
	operator.ok("resume", "--event", "e1", "--reason", "mended")
	eventually(t, "what was parked is sold", func() bool { return strings.Contains(viewer.run("orders", "show", "e1/o1").stdout, "confirmed") })
	worker.drained()
	list := operator.json("pause", "list")
	if len(list) != 2 {
		t.Errorf("pauses: %v", list)
	}
	expect(t, list[0], object{"event_id": "e1", "by": "ann", "ended_reason": "mended", "parked": 0})
	wantSaid(t, viewer.ok("pause", "list"), "everything", "the gateway charges twice", "bob")
	monitor.check(levelOK, "--ignore", "no_aof")
	viewer.fails(exitFailed, []string{"NOPERM"}, "pause", "--reason", "r")
	operator.ok("audit")
}
