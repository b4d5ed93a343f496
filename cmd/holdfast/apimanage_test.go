package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"holdfast/streams/redistest"
)

// Keys and webhooks are managed over HTTP, with no more rights than the user for staff has; and nothing of them where the user is for checkouts.
func TestKeysAndWebhooksOverHTTP(t *testing.T) {
	t.Parallel()
	as, client := withShippedUsers(t, "", redistest.Start(t))
	worker, admin := as("worker"), as("admin")
	worker.ok("init")
	as("organizer").event("e1")
	working := worker.worker()
	sending := as("webhooks").background(nil, "worker", "--roles", "webhooks")
	serving, url := as("staff").serveAPI()
	root := &overHTTP{t, url, admin.key("--role", "admin", "--name", "root")}
	first := func(o object) object { return o["items"].([]any)[0].(object) }

	made := root.is(201, object{"role": "sre", "name": "sam", "by": "root", "events": []any{}}, http.MethodPost, "/v1/keys", `{"role":"sre","name":"sam"}`)
	sam := root.as(made["key"].(string))
	checkout := root.as(root.is(201, object{}, http.MethodPost, "/v1/keys", `{"role":"checkout","name":"web","events":["e1"]}`)["key"].(string))
	sam.is(403, object{"code": "denied"}, http.MethodPost, "/v1/keys", `{"role":"admin","name":"sam"}`)
	if list := sam.is(200, object{}, http.MethodGet, "/v1/keys", "")["keys"].([]any); len(list) != 3 || strings.Contains(asJSON(t, list), "hf_") {
		t.Errorf("keys: %v", list)
	}

	// Only the command line sends into private networks.
	for want, body := range map[string]string{
		"https": `{"url":"http://shop.example","events":["order.held"]}`, "public": `{"url":"https://169.254.169.254/","events":["order.held"]}`,
		"order.confirmed": `{"url":"https://shop.example","events":["order.sold"]}`,
	} {
		if told := root.is(422, object{"code": "invalid"}, http.MethodPost, "/v1/webhooks", body); !strings.Contains(told["detail"].(string), want) {
			t.Errorf("%s: %v", body, told)
		}
	}
	added := first(root.is(201, object{}, http.MethodPost, "/v1/webhooks", `{"url":"https://hooks.invalid/","events":["order.held"]}`))
	expect(t, added, object{"state": "enabled", "by": "root", "allow_private": false})
	away := "/v1/webhooks/" + added["webhook_id"].(string)
	if tested := first(sam.is(200, object{}, http.MethodPost, away+"/test", "")); tested["taken"] != false || tested["why"] == "" {
		t.Errorf("tested: %v", tested)
	}
	sam.is(403, object{"code": "denied"}, http.MethodDelete, away, "")
	root.is(200, object{}, http.MethodDelete, away, "")
	sam.is(404, object{"code": "not_found"}, http.MethodGet, away, "")

	k := startHooked(t)
	here := as("webhooks").one("webhooks", "add", k.URL, "--events", "order.confirmed", "--allow-private")
	id, secret := here["webhook_id"].(string), here["secret"].(string)
	hook := "/v1/webhooks/" + id
	checkout.is(200, object{"state": "confirmed"}, http.MethodPost, "/v1/orders", `{"event_id":"e1","order_id":"o1","customer_id":"fred","quantity":1,"payment_token":"tok_secret"}`, "Prefer", "wait=10")
	eventually(t, "it is told", func() bool { bodies, _ := k.got(); return len(bodies) == 1 })
	eventually(t, "the try is shown", func() bool {
		shown := first(sam.is(200, object{}, http.MethodGet, hook, ""))
		return strings.Contains(asJSON(t, shown["tries"]), `"status":204`) && shown["url"] == k.URL
	})
	rotated := first(root.is(200, object{}, http.MethodPost, hook+"/rotate", ""))["secret"].(string)
	expect(t, first(sam.is(200, object{}, http.MethodPost, hook+"/test", "")), object{"taken": true, "status": 204})
	bodies, sent := k.got()
	if last := len(bodies) - 1; rotated == secret || !signed(bodies[last], sent[last], secret) || !signed(bodies[last], sent[last], rotated) {
		t.Errorf("signed with both: %v", sent[last])
	}
	sam.is(422, object{"code": "invalid"}, http.MethodPost, hook+"/replay", `{"since":2,"until":1}`)
	sam.is(200, object{}, http.MethodPost, hook+"/replay", `{"since":1000}`)
	eventually(t, "it is told again", func() bool {
		_, sent := k.got()
		of := func(h http.Header) bool { return h.Get("webhook-id") == sent[0].Get("webhook-id") }
		return slices.ContainsFunc(sent[1:], of)
	})
	sam.is(200, object{}, http.MethodPost, hook+"/disable", "")
	expect(t, first(sam.is(200, object{}, http.MethodGet, "/v1/webhooks", "")), object{"webhook_id": id, "state": "disabled"})
	sam.is(200, object{}, http.MethodPost, hook+"/enable", "")
	sam.is(404, object{"code": "not_found"}, http.MethodPost, "/v1/webhooks/wh_other/enable", "")
	if code := sending.stop(); code != exitDone { // or it might write once more what is removed, until it is swept
		t.Errorf("the sender: exit %d", code)
	}
	root.is(200, object{}, http.MethodDelete, hook, "")

	// A process for checkouts does none of it.
	selling, sells := as("api").serveAPI()
	other := &overHTTP{t, sells, root.key}
	other.is(501, object{"code": "denied"}, http.MethodPost, "/v1/keys", `{"role":"sre","name":"sam"}`)
	other.is(501, object{"code": "denied"}, http.MethodGet, "/v1/webhooks", "")
	if code := selling.stop(); code != exitDone {
		t.Errorf("the API for checkouts: exit %d", code)
	}
	client("admin").Do(t.Context(), "ACL", "LOG", "RESET") // that was refused

	root.is(200, object{"revoked": true}, http.MethodDelete, "/v1/keys/"+made["key_id"].(string), "")
	root.is(404, object{"code": "not_found"}, http.MethodDelete, "/v1/keys/"+made["key_id"].(string), "")
	eventually(t, "nobody gets in with it", func() bool {
		status, _, _ := sam.ask(http.MethodGet, "/v1/self", "")
		return status == http.StatusUnauthorized
	})
	for what, r := range map[string]*running{"the API": serving, "the worker": working} {
		if code := r.stop(); code != exitDone || strings.Contains(r.stderr.String(), "NOPERM") {
			t.Errorf("%s: exit %d:\n%s", what, code, r.stderr.String())
		}
		for _, hush := range []string{secret, rotated, made["key"].(string), added["secret"].(string), "tok_secret", k.URL} {
			if strings.Contains(r.stderr.String(), hush) {
				t.Errorf("%s logs %q:\n%s", what, hush, r.stderr.String())
			}
		}
	}
	for _, did := range []string{"an api key was made", "an api key was revoked", "a webhook was added", "a webhook has another secret", "a webhook was disabled", "a webhook was removed"} {
		if !strings.Contains(serving.stderr.String(), did) {
			t.Errorf("%q is not logged", did)
		}
	}
	notRefused(t, client("admin"))
}

// What is wrong with a provider of identities is told before anybody is served.
func TestPeopleUsage(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("init")
	for want, args := range map[string][]string{
		"--oidc-issuer: want one": {"--oidc-client-id", "holdfast"},
		"client id":               {"--oidc-issuer", "https://id.example", "--oidc-group", "sre=ops"},
		"https":                   {"--oidc-issuer", "http://id.example", "--oidc-client-id", "holdfast", "--oidc-group", "sre=ops"},
		"ROLE=GROUP":              {"--oidc-issuer", "https://id.example", "--oidc-client-id", "holdfast", "--oidc-group", "checkout=ops"},
		"at least one group":      {"--oidc-issuer", "https://id.example", "--oidc-client-id", "holdfast"},
	} {
		h.fails(exitUsage, []string{want}, append([]string{"api", "--listen", "127.0.0.1:0"}, args...)...)
	}
	h.fails(exitFailed, []string{"--oidc-client-secret-file"}, "api", "--oidc-issuer", "https://id.example", "--oidc-client-id", "holdfast", "--oidc-group", "sre=ops", "--oidc-client-secret-file", "/none")
}
