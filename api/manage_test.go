package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"holdfast/domain"
)

// locksmith is staff that makes and ends the keys of a world.
type locksmith struct {
	staff
	w *world
}

func (l locksmith) AddKey(_ context.Context, key domain.APIKey) error {
	l.w.keys = append(l.w.keys, key)
	return nil
}

func (l locksmith) RevokeKey(_ context.Context, id string) error {
	l.w.keys = slices.DeleteFunc(l.w.keys, func(k domain.APIKey) bool { return k.ID == id })
	return nil
}

// Who is for some events makes, sees and ends keys for these alone; a key is told once, and who has made and ended it is logged, and it is not.
func TestKeysAreMadeAndEnded(t *testing.T) {
	w := &world{}
	core, logged := observer.New(zap.InfoLevel)
	s := serverOf(t, w, Options{Log: zap.New(core)})
	s.deps.Managing = locksmith{w: w}
	admin, one := w.key(t, domain.APIAdmin), w.key(t, domain.APIAdmin, "e1")
	of := func(key string) string { return strings.Split(key, "_")[1] }
	made := func(by, body string) (MadeKey, int) {
		t.Helper()
		a := ask(s, http.MethodPost, "/v1/keys", by, body)
		var k MadeKey
		if err := json.Unmarshal(a.Body.Bytes(), &k); err != nil {
			t.Fatal(err)
		}
		if a.Code == http.StatusCreated && a.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("a key may be kept: %v", a.Header())
		}
		return k, a.Code
	}
	sre, code := made(admin, `{"role":"sre","name":"sam"}`)
	if code != http.StatusCreated || sre.By != "name" || len(sre.Events) != 0 {
		t.Fatalf("made: %d %+v", code, sre)
	}
	if a := ask(s, http.MethodGet, "/v1/pending", sre.Secret, ""); a.Code != http.StatusOK {
		t.Errorf("with the new key: %d %s", a.Code, a.Body)
	}
	inherits, code := made(one, `{"role":"admin","name":"jo"}`)
	if code != http.StatusCreated || !slices.Equal(inherits.Events, []string{"e1"}) {
		t.Errorf("who is for one event makes one for %v (%d)", inherits.Events, code)
	}
	for _, more := range []string{`"e2"`, `"e1","e2"`} {
		if _, code := made(one, `{"role":"sales","name":"jo","events":[`+more+`]}`); code != http.StatusForbidden {
			t.Errorf("who is for e1 makes one for %s: %d", more, code)
		}
	}
	for _, bad := range []string{`{"role":"king","name":"jo"}`, `{"role":"sre","name":"j o"}`, `{"role":"sre","name":"jo","events":["?"]}`} {
		if _, code := made(admin, bad); code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", bad, code)
		}
	}
	listed := func(by string) (ids []string) {
		t.Helper()
		a := ask(s, http.MethodGet, "/v1/keys", by, "")
		if strings.Contains(a.Body.String(), sre.Secret) || strings.Contains(a.Body.String(), w.keys[0].Hash) {
			t.Errorf("the list tells a key: %s", a.Body)
		}
		var list KeyList
		if err := json.Unmarshal(a.Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		for _, k := range list.Keys {
			ids = append(ids, k.ID)
		}
		return ids
	}
	if all := listed(sre.Secret); !slices.Equal(all, []string{of(admin), of(one), sre.ID, inherits.ID}) {
		t.Errorf("listed: %v", all)
	}
	if some := listed(one); !slices.Equal(some, []string{of(one), inherits.ID}) {
		t.Errorf("listed to one for e1: %v", some)
	}
	for _, no := range []string{sre.ID, of(admin), "none"} {
		if a := ask(s, http.MethodDelete, "/v1/keys/"+no, one, ""); a.Code != http.StatusNotFound {
			t.Errorf("who is for e1 ends another key: %d", a.Code)
		}
	}
	if a := ask(s, http.MethodDelete, "/v1/keys/"+inherits.ID, one, ""); a.Code != http.StatusOK {
		t.Errorf("revoked: %d %s", a.Code, a.Body)
	}
	s.keys.read = s.keys.read.Add(-keysStale)
	if a := ask(s, http.MethodGet, "/v1/self", inherits.Secret, ""); a.Code != http.StatusUnauthorized {
		t.Errorf("with a revoked key: %d", a.Code)
	}
	for _, what := range []string{"an api key was made", "an api key was revoked"} {
		lines := logged.FilterMessage(what).FilterField(zap.String("by", "name"))
		if lines.Len() == 0 {
			t.Errorf("%q is not logged with who did it", what)
		}
		for _, line := range lines.All() {
			if said, err := json.Marshal(line.ContextMap()); err != nil || strings.Contains(string(said), "hf_") {
				t.Errorf("logged: %s %v", said, err)
			}
		}
	}
}

// Webhooks are told of all events: whoever is for some has nothing to do with them. What they can be told is said to who asks for something else.
func TestWebhooksAreOfAllEvents(t *testing.T) {
	w := &world{}
	s := serverOf(t, w, Options{})
	one, all := w.key(t, domain.APIAdmin, "e1"), w.key(t, domain.APIAdmin)
	for id, call := range calls {
		if !strings.HasPrefix(id, "webhook") {
			continue
		}
		if a := ask(s, call.method, call.target, one, call.body); a.Code != http.StatusForbidden {
			t.Errorf("%s with a key for one event: %d %s", id, a.Code, a.Body)
		}
	}
	a := ask(s, http.MethodPost, "/v1/webhooks", all, `{"url":"https://shop.example","events":["order.sold"]}`)
	if a.Code != http.StatusUnprocessableEntity || !strings.Contains(a.Body.String(), "order.confirmed") || strings.Contains(a.Body.String(), "order.sold") {
		t.Errorf("of no such type: %d %s", a.Code, a.Body)
	}
}
