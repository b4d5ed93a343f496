package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/domain"
)

// An event that goes between the look at which there are and the look at it is left out of lists; whoever asks for it is told.
func TestListsWithoutWhatWent(t *testing.T) {
	w := &leaving{world: &world{event: domain.Event{Name: "E", Currency: "EUR", Version: 1}}}
	s := serverOf(t, w.world, Options{})
	s.deps.Events = w
	s.events = newGlances(w, s.beside)
	key := w.key(t, domain.APIAdmin)
	for _, gone := range []error{domain.WithClass(domain.ClassReject, domain.ErrNotFound), domain.EventOver("e2")} {
		w.gone, s.events.looks = gone, make(map[string]*glance)
		for _, list := range []string{"/v1/events", "/v1/sales"} {
			a := ask(s, http.MethodGet, list, key, "")
			if a.Code != http.StatusOK || !strings.Contains(a.Body.String(), `"event_id":"e1"`) || strings.Contains(a.Body.String(), `"event_id":"e2"`) {
				t.Errorf("%s, %v: %d %s", list, gone, a.Code, a.Body)
			}
		}
		for _, one := range []string{"/v1/events/e2", "/v1/sales?event=e2"} {
			if a := ask(s, http.MethodGet, one, key, ""); a.Code != http.StatusNotFound && a.Code != http.StatusGone {
				t.Errorf("%s, %v: %d %s", one, gone, a.Code, a.Body)
			}
		}
	}
}

// leaving is a world of which the event e2 went.
type leaving struct {
	*world
	gone error
}

func (w *leaving) Get(ctx context.Context, id string) (domain.Event, error) {
	if id == "e2" {
		return domain.Event{}, w.gone
	}
	return w.world.Get(ctx, id)
}

// An order tells whose trace its request was of, as orders show does; one that keeps none tells none.
func TestOrderTellsItsTrace(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	w := &world{orders: map[domain.OrderRef]domain.Order{
		{EventID: "e1", OrderID: "traced"}: {State: domain.OrderConfirmed, CustomerID: "fred", Trace: id + "-b7ad6b7169203331"},
		{EventID: "e1", OrderID: "plain"}:  {State: domain.OrderConfirmed, CustomerID: "fred"},
	}}
	s := serverOf(t, w, Options{})
	key := w.key(t, domain.APICheckout)
	for order, want := range map[string]string{"traced": id, "plain": ""} {
		a := ask(s, http.MethodGet, "/v1/orders/e1/"+order, key, "")
		var said struct {
			TraceID string `json:"trace_id"`
		}
		if err := json.Unmarshal(a.Body.Bytes(), &said); err != nil || said.TraceID != want || (want == "") == strings.Contains(a.Body.String(), "trace_id") {
			t.Errorf("%s: %d %s %v", order, a.Code, a.Body, err)
		}
	}
}

// Whatever changes an order says who asked for it, by the name of the key, and why, if that was said.
func TestActsSayWho(t *testing.T) {
	for what, c := range map[string]struct {
		path, body string
		want       domain.Cause
	}{
		"a change":              {"change", `{"change":1,"items":[{"section":"general","quantity":1}],"reason":"a friend is ill"}`, domain.Cause{Reason: "a friend is ill", By: "name"}},
		"a change, with no why": {"change", `{"change":1,"items":[{"section":"general","quantity":1}]}`, domain.Cause{By: "name"}},
		"a partial cancel":      {"cancel", `{"change":1,"items":[{"section":"general","quantity":1}],"reason":"ill"}`, domain.Cause{Reason: "ill", By: "name"}},
		"a cancel":              {"cancel", `{}`, domain.Cause{By: "name"}},
		"a refund":              {"refund", `{"change":1,"amount":5,"reason":"a pillar"}`, domain.Cause{Reason: "a pillar", By: "name"}},
	} {
		w := &world{}
		s := serverOf(t, w, Options{})
		a := ask(s, http.MethodPost, "/v1/orders/e1/o/"+c.path, w.key(t, domain.APIAdmin), c.body)
		if a.Code != http.StatusAccepted || len(w.published) != 1 || w.published[0].Cause != c.want {
			t.Errorf("%s: %d %s: published %+v", what, a.Code, a.Body, w.published)
		}
	}
}

// Whoever misspells something is told where to read what there is, without a word of what they sent; bounds are written as people write them.
func TestWhatIsWrongWithABody(t *testing.T) {
	w := &world{}
	s := serverOf(t, w, Options{})
	key := w.key(t, domain.APICheckout)
	for body, want := range map[string]string{
		`{"event_id":"e1","order_id":"o","customer_id":"c","qty":1,"tok_secret":2}`: `"errors":[{"location":"body","message":"a property that there is not: /openapi.json tells which there are"}]`,
		`{"event_id":"e1","order_id":"o","customer_id":"c","quantity":1000001}`:     `"errors":[{"location":"body.quantity","message":"expected number <= 1000000"}]`,
		`{"event_id":"e1","order_id":"o","customer_id":"c","quantity":-1}`:          `"errors":[{"location":"body.quantity","message":"expected number >= 1"}]`,
	} {
		a := ask(s, http.MethodPost, "/v1/orders", key, body)
		if said := a.Body.String(); a.Code != http.StatusUnprocessableEntity || !strings.Contains(said, want) || strings.Contains(said, "secret") {
			t.Errorf("%s: %d %s", body, a.Code, said)
		}
	}
}

// What was known already has a receipt without an entry: who asks with it is told how the order stands.
func TestReceiptOfWhatWasKnown(t *testing.T) {
	w := &world{orders: map[domain.OrderRef]domain.Order{
		{EventID: "e1", OrderID: "held"}: {State: domain.OrderHeld, CustomerID: "fred", RequestType: domain.RequestPurchase, Fingerprint: "fp"},
	}}
	s := serverOf(t, w, Options{})
	key := w.key(t, domain.APICheckout)
	if a := ask(s, http.MethodGet, "/v1/orders/e1/held?receipt=purchase~~0~0~fp", key, ""); a.Code != http.StatusOK || !strings.Contains(a.Body.String(), `"held"`) {
		t.Errorf("%d %s", a.Code, a.Body)
	}
}

// One customer has so many waits, and others as many as there are.
func TestCustomersWaits(t *testing.T) {
	var c customerWaiting
	fred, amy, key := principal{role: roleCustomer, customer: "fred"}, principal{role: roleCustomer, customer: "amy"}, principal{role: domain.APICheckout}
	for range customerWaits {
		if !c.begins(fred) {
			t.Fatal("he may not wait")
		}
	}
	if c.begins(fred) || !c.begins(amy) || !c.begins(key) {
		t.Error("he may wait once more, or others may not")
	}
	c.ends(fred)
	if !c.begins(fred) {
		t.Error("one wait has ended, and he may not begin another")
	}
	for range customerWaits {
		c.ends(fred)
	}
	c.ends(amy)
	c.ends(key)
	if len(c.of) != 0 {
		t.Errorf("nobody waits, and %v are kept", c.of)
	}
}

// A link to the next page leads there, whatever the ids of events are made of.
func TestSalesGoOn(t *testing.T) {
	w := &world{ids: []string{"a", "rock+pop", "zoo"}}
	s := serverOf(t, w, Options{})
	key := w.key(t, domain.APISales)
	next := "/v1/sales?limit=1"
	for range w.ids {
		r := httptest.NewRequest(http.MethodGet, next, nil)
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Accept", "text/csv")
		a := httptest.NewRecorder()
		s.Handler().ServeHTTP(a, r)
		if a.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", next, a.Code, a.Body)
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(a.Header().Get("Link"), "<"), ">")
	}
	if next != "" {
		t.Errorf("behind the last page is %s", next)
	}
}
