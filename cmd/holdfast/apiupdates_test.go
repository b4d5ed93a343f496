package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// heard is a server-sent event.
type heard struct {
	name, id string
	data     object
}

// hears begins to listen. What comes is told on the channel, which is closed at the end.
func (c *overHTTP) hears(path string, headers ...string) (status int, events <-chan heard) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.key)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	told := make(chan heard, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(told)
		lines, now := bufio.NewScanner(response.Body), heard{}
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				now.name = value
			case "id":
				now.id = value
			case "data":
				if err := json.Unmarshal([]byte(value), &now.data); err != nil {
					c.t.Errorf("%s: %v", value, err)
				}
			case "":
				if now.name != "" {
					told <- now
				}
				now = heard{}
			}
		}
	}()
	c.t.Cleanup(func() {
		cancel()
		<-ended
		_ = response.Body.Close()
	})
	return response.StatusCode, told
}

// firstWith is the first event that has these fields; those before may be others.
func firstWith(t *testing.T, events <-chan heard, fields object) heard {
	t.Helper()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	for {
		select {
		case e, more := <-events:
			if !more {
				t.Fatalf("it ended before %v", fields)
			}
			all := true
			for name, value := range fields {
				all = all && sameJSON(e.data[name], value)
			}
			if all {
				return e
			}
		case <-deadline.C:
			t.Fatalf("waited in vain for %v", fields)
		}
	}
}

func ends(t *testing.T, events <-chan heard) {
	t.Helper()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	for {
		select {
		case _, more := <-events:
			if !more {
				return
			}
		case <-deadline.C:
			t.Fatal("it does not end")
		}
	}
}

func TestOrderUpdates(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	_, web := h.api()
	waiting := web.is(202, object{}, http.MethodPost, "/v1/orders", `{"type":"hold","event_id":"e1","order_id":"o1","customer_id":"fred","quantity":2}`)
	receipt, _ := waiting["receipt"].(string)
	if status, _ := web.hears("/v1/orders/e1/o1/updates"); status != http.StatusNotFound {
		t.Errorf("of what nothing is known: %d", status)
	}
	_, events := web.hears("/v1/orders/e1/o1/updates?receipt=" + receipt)
	if e := firstWith(t, events, object{"state": "waiting"}); e.name != "order" || e.data["place"] == nil {
		t.Errorf("heard %+v", e)
	}
	h.worker("--pay-wait", "100ms")
	firstWith(t, events, object{"state": "held"})
	web.is(202, object{}, http.MethodPost, "/v1/orders/e1/o1/pay", `{"payment_token":"tok_secret"}`)
	last := firstWith(t, events, object{"state": "confirmed", "amount": 2000})
	ends(t, events)
	if status, _ := web.hears("/v1/orders/e1/o1/updates", "Last-Event-ID", last.id); status != http.StatusNoContent {
		t.Errorf("once more: %d", status)
	}
	// What is set aside is told, and that is the end.
	waiting = web.is(202, object{}, http.MethodPost, "/v1/orders/e1/o2/pay", `{"payment_token":"tok_secret"}`)
	receipt, _ = waiting["receipt"].(string)
	status, events := web.hears("/v1/orders/e1/o2/updates?receipt=" + receipt)
	if status == http.StatusOK {
		firstWith(t, events, object{"code": "set_aside"})
		ends(t, events)
	} else if status != http.StatusConflict { // it was before
		t.Errorf("of what is set aside: %d", status)
	}
}

func TestEventUpdates(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.worker()
	running, web := h.api()
	made := h.one("keys", "create", "--role", "sales", "--name", "ann")
	ann := web.as(made["key"].(string))
	_, first := web.hears("/v1/events/e1/updates")
	_, second := ann.hears("/v1/events/e1/updates")
	for _, events := range []<-chan heard{first, second} {
		firstWith(t, events, object{"available": 100})
	}
	web.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders", `{"event_id":"e1","order_id":"o1","customer_id":"fred","quantity":2,"payment_token":"t"}`, "Prefer", "wait=10")
	e := firstWith(t, first, object{"available": 98})
	firstWith(t, second, object{"available": 98})
	// Whoever knows that already is told what comes next.
	_, third := web.hears("/v1/events/e1/updates", "Last-Event-ID", e.id)
	h.ok("events", "adjust", "e1", "--section", "general=200")
	if next := <-third; next.data["available"] != 198.0 {
		t.Errorf("heard %+v", next)
	}
	// A key that is revoked hears nothing more; nor does anybody once the end was asked for.
	h.ok("keys", "revoke", made["key_id"].(string))
	ends(t, second) // how soon: api.TestAttendance
	if code := running.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	ends(t, first)
}
