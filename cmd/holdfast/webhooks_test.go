package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/domain"
	"holdfast/streams/redistest"
)

// hooked is an endpoint that keeps what it is sent.
type hooked struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	bodies []string
	sent   []http.Header
}

func startHooked(t *testing.T) *hooked {
	t.Helper()
	k := &hooked{status: http.StatusNoContent}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.bodies, k.sent = append(k.bodies, string(body)), append(k.sent, r.Header)
		w.WriteHeader(k.status)
	}))
	t.Cleanup(k.Close)
	return k
}

func (k *hooked) answer(status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status = status
}

func (k *hooked) got() ([]string, []http.Header) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.bodies), slices.Clone(k.sent)
}

// signed reports whether a message is signed with a secret, as a receiver checks it.
func signed(body string, h http.Header, secret string) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(h.Get("webhook-id") + "." + h.Get("webhook-timestamp") + "." + body))
	return err == nil && slices.Contains(strings.Fields(h.Get("webhook-signature")), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// Orders are told to an endpoint, by a worker of its own and as its own user of Redis, with their whole life; nobody tells a token.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	as, client := withShippedUsers(t, "", redistest.Start(t))
	h, hooks := as("worker"), as("webhooks")
	h.ok("init")
	as("organizer").event("e1")
	as("organizer").ok("events", "create", "hall", "--name", "Hall", "--currency", "EUR", "--rows", "stalls=A:1-4@10")
	k := startHooked(t)
	added := hooks.one("webhooks", "add", k.URL+"/?key=hush", "--events", "order.held,order.confirmed,order.cancelled", "--allow-private", "--by", "ann")
	id, secret := added["webhook_id"].(string), added["secret"].(string)
	if !strings.HasPrefix(secret, "whsec_") || !strings.HasPrefix(id, "wh_") {
		t.Fatalf("added: %v", added)
	}
	purchasing := h.worker("--listen", "127.0.0.1:0")
	sending := hooks.background(nil, "worker", "--roles", "webhooks", "--log-level", "debug")
	producer := as("producer")
	producer.ok("publish", "--event", "e1", "--customer", "fred", "--order", "o1", "--token", "tok_secret", "--wait")
	producer.ok("publish", "--event", "hall", "--section", "stalls", "--quantity", "2", "--customer", "amy", "--order", "s1", "--token", "tok_secret", "--wait")
	as("operator").ok("orders", "cancel", "e1/o1", "--wait")
	eventually(t, "all has come", func() bool { bodies, _ := k.got(); return len(bodies) >= 5 })
	bodies, sent := k.got()
	told := map[string][]string{}
	var seated object
	for i, body := range bodies {
		m := decodeLines(t, body)[0]
		data := m["data"].(map[string]any)
		order := data["order"].(map[string]any)
		told[order["order_id"].(string)] = append(told[order["order_id"].(string)], m["type"].(string))
		if order["order_id"] == "s1" {
			seated = order
		}
		if !signed(body, sent[i], secret) || data["revision"] == "" || strings.Contains(body, "tok_secret") {
			t.Errorf("it got %v\n%s", sent[i], body)
		}
	}
	if !slices.Equal(told["o1"], []string{"order.held", "order.confirmed", "order.cancelled"}) || !slices.Equal(told["s1"], []string{"order.held", "order.confirmed"}) {
		t.Errorf("it was told %v", told)
	}
	shown := as("viewer").one("orders", "show", "hall/s1")
	delete(shown, "history")
	if !sameJSON(seated, shown) {
		t.Errorf("it was told %v, shown is %v", seated, shown)
	}

	// A secret is rotated: both sign.
	rotated := hooks.one("webhooks", "rotate", id)["secret"].(string)
	hooks.ok("webhooks", "test", id)
	bodies, sent = k.got()
	if last := len(bodies) - 1; rotated == secret || !signed(bodies[last], sent[last], secret) || !signed(bodies[last], sent[last], rotated) || !strings.Contains(bodies[last], `"type":"test"`) {
		t.Errorf("it got %v\n%s", sent[last], bodies[last])
	}

	// What is sent once more has the ids that it had.
	before := len(bodies)
	hooks.ok("webhooks", "replay", id, "--since", "1h")
	eventually(t, "all has come again", func() bool { bodies, _ := k.got(); return len(bodies) >= before+5 })
	ids := map[string]bool{}
	_, sent = k.got()
	for _, headers := range sent {
		ids[headers.Get("webhook-id")] = true
	}
	if len(ids) != 6 { // and that of the test
		t.Errorf("ids: %v", ids)
	}

	// It says that it is gone: it is given up, everybody is told, and it is sent what has happened once it is enabled.
	monitor := as("monitor")
	wantSaid(t, monitor.check(levelOK, "--ignore", "no_aof"), "all is well")
	k.answer(http.StatusGone)
	hooks.fails(exitFailed, []string{"did not take"}, "webhooks", "test", id)
	producer.ok("publish", "--event", "e1", "--customer", "bob", "--order", "o2", "--token", "tok_secret", "--wait")
	eventually(t, "it is given up", func() bool { return strings.Contains(hooks.ok("webhooks", "list"), "given_up: gone") })
	wantSaid(t, monitor.check(levelWarning, "--ignore", "no_aof"), "webhook "+id+" was given up", "holdfast webhooks enable "+id)
	eventually(t, "the metrics tell it", func() bool {
		values := scrape(t, listens(t, purchasing))
		return values[`holdfast_webhooks_state{state="given_up",webhook="`+id+`"}`] == 1 && values[`holdfast_webhooks_waiting{webhook="`+id+`"}`] >= 1
	})
	if values := scrape(t, listens(t, purchasing)); values[`holdfast_webhooks_tries_total{result="failed",webhook="`+id+`"}`] < 1 || values[`holdfast_webhooks_tries_total{result="taken",webhook="`+id+`"}`] != 10 {
		t.Errorf("counted: %v", values)
	}
	if show := hooks.one("webhooks", "show", id); show["state"] != string(domain.WebhookGivenUp) || len(show["tries"].([]any)) < 11 || asJSON(t, show["tries"]) == "" {
		t.Errorf("shown: %v", show)
	}
	k.answer(http.StatusOK)
	hooks.ok("webhooks", "enable", id)
	eventually(t, "the rest has come", func() bool {
		bodies, _ := k.got()
		return slices.ContainsFunc(bodies, func(b string) bool { return strings.Contains(b, "o2") && strings.Contains(b, "order.confirmed") })
	})
	hooks.ok("webhooks", "disable", id)
	if code := sending.stop(); code != exitDone { // or it might write once more what is removed, until it is swept
		t.Errorf("the sender: exit %d", code)
	}
	hooks.ok("webhooks", "remove", id)
	hooks.fails(exitFailed, []string{"not found"}, "webhooks", "show", id)
	if left := client("admin").Keys(t.Context(), "*webhook_queue*").Val(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	for what, r := range map[string]*running{"the sender": sending, "the worker": purchasing} {
		if code := r.stop(); code != exitDone || strings.Contains(r.stderr.String(), "NOPERM") {
			t.Errorf("%s: exit %d:\n%s", what, code, r.stderr.String())
		}
		for _, hush := range []string{"hush", secret, rotated, strings.TrimPrefix(secret, "whsec_"), "tok_secret"} {
			if strings.Contains(r.stderr.String(), hush) {
				t.Errorf("%s logs %q:\n%s", what, hush, r.stderr.String())
			}
		}
	}
	notRefused(t, client("admin"))
	for _, user := range []string{"worker", "operator", "viewer", "api"} {
		as(user).fails(exitFailed, []string{"NOPERM"}, "webhooks", "add", k.URL, "--events", "order.held", "--allow-private")
	}
}

func TestWebhooksUsage(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init")
	for want, args := range map[string][]string{
		"https":            {"http://shop.example", "--events", "order.held"},
		"not a public one": {"https://169.254.169.254/", "--events", "order.held"},
		`no "order.sold"`:  {"https://shop.example", "--events", "order.held,order.sold"},
		"want one such as": {"shop.example", "--events", "order.held"},
	} {
		h.fails(exitUsage, []string{want}, append([]string{"webhooks", "add"}, args...)...)
	}
	id := h.one("webhooks", "add", "https://shop.example", "--events", "order.held")["webhook_id"].(string)
	h.fails(exitUsage, []string{"--until"}, "webhooks", "replay", id, "--since", "1h", "--until", "2h")
	h.fails(exitFailed, []string{"not found"}, "webhooks", "replay", "wh_other", "--since", "1h")
	h.fails(exitFailed, []string{"not found"}, "webhooks", "rotate", "wh_other")
	h.fails(exitFailed, []string{"not found"}, "webhooks", "enable", "wh_other")
	h.fails(exitFailed, []string{"not found"}, "webhooks", "remove", "wh_other")
}
