package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/domain"
)

// Each line is answered by itself, in its place, as it would have been alone.
func TestBulk(t *testing.T) {
	const secret = "tok-visa-4242"
	w := &world{orders: map[domain.OrderRef]domain.Order{{EventID: "e1", OrderID: "known"}: {State: domain.OrderHeld, RequestType: domain.RequestHold, CustomerID: "c"}}}
	s := serverOf(t, w, Options{Rate: 10})
	key, limited := w.key(t, domain.APICheckout, "e1"), w.key(t, domain.APICheckout)
	order := func(id string) string {
		return `{"event_id":"e1","order_id":"` + id + `","customer_id":"c","quantity":1,"payment_token":"` + secret + `"}`
	}
	lines := []struct {
		text   string
		status int
		said   string
	}{
		{order("o1"), http.StatusAccepted, `"state":"waiting"`},
		{"{" + secret, http.StatusBadRequest, `"code":"invalid"`},
		{`{"type":"hold","event_id":"e1","order_id":"known","customer_id":"c","quantity":1}`, http.StatusOK, `"state":"held"`},
		{`{"event_id":"e1","order_id":"o2","customer_id":"c","quantity":"` + secret + `"}`, http.StatusUnprocessableEntity, `"location":"quantity"`},
		{`{"event_id":"e1","order_id":"o2","customer_id":"c","quantity":1,"` + secret + `":1}`, http.StatusUnprocessableEntity, "property"},
		{`{"event_id":"e2","order_id":"o3","customer_id":"c","quantity":1}`, http.StatusForbidden, `"code":"denied"`},
		{`{"event_id":"e1","customer_id":"c","quantity":1}`, http.StatusUnprocessableEntity, "order_id"},
		{`{"event_id":"e1","order_id":"o4","customer_id":"c"}`, http.StatusUnprocessableEntity, `"code":"invalid"`},
		{order(strings.Repeat("x", maxBodyBytes)), http.StatusRequestEntityTooLarge, `"code":"too_large"`},
		{order("o5"), http.StatusAccepted, `"receipt":"purchase~`},
	}
	var body []string
	for _, line := range lines {
		body = append(body, line.text)
	}
	a := ask(s, http.MethodPost, "/v1/orders/bulk", key, "\n"+strings.Join(body, "\r\n"), "Content-Type", "application/jsonl")
	answers := strings.Split(strings.TrimSpace(a.Body.String()), "\n")
	if a.Code != http.StatusOK || a.Header().Get("Content-Type") != "application/jsonl" || len(answers) != len(lines) {
		t.Fatalf("%d %v: %s", a.Code, a.Header(), a.Body)
	}
	for i, line := range lines {
		var got BulkLine
		if err := json.Unmarshal([]byte(answers[i]), &got); err != nil || got.Line != i+2 || got.Status != line.status || !strings.Contains(answers[i], line.said) {
			t.Errorf("line %.80s: %s, %v", line.text, answers[i], err)
		}
		if strings.Contains(answers[i], secret) {
			t.Errorf("it repeats what was sent: %s", answers[i])
		}
	}
	if len(w.published) != 2 || w.published[0].OrderID != "o1" || w.published[1].OrderID != "o5" {
		t.Errorf("published %v", w.published)
	}
	var many strings.Builder
	for i := range maxBulkLines + 1 {
		fmt.Fprintf(&many, `{"event_id":"e1","order_id":"m%d","customer_id":"c","quantity":1}`+"\n", i)
	}
	for _, refused := range []struct {
		body string
		want int
	}{
		{"", http.StatusBadRequest},
		{"\n \n", http.StatusUnprocessableEntity},
		{many.String(), http.StatusRequestEntityTooLarge},
		{strings.Repeat(" ", maxBulkBytes+1), http.StatusRequestEntityTooLarge},
		{strings.Join(strings.Split(many.String(), "\n")[:15], "\n"), http.StatusTooManyRequests}, // after which there is no more for a second
	} {
		if a := ask(s, http.MethodPost, "/v1/orders/bulk", limited, refused.body, "Content-Type", "application/jsonl"); a.Code != refused.want {
			t.Errorf("%.40q: %d, want %d: %s", refused.body, a.Code, refused.want, a.Body)
		}
	}
	if len(w.published) != 2 {
		t.Errorf("published %d", len(w.published))
	}
}

// FuzzBulk: whatever the lines are, each is answered, and nothing of it is repeated.
func FuzzBulk(f *testing.F) {
	const secret = "tok-visa-4242-4242"
	for _, body := range []string{"", "\n\n", "null", "[1]\n{}", `{"event_id":"e1","order_id":"o","customer_id":"c","quantity":1,"payment_token":"` + secret + `"}` + "\n" + secret, `{"items":[null]}` + "\r\n" + `{"quantity":1e999}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := &world{orders: map[domain.OrderRef]domain.Order{}}
		s := serverOf(t, w, Options{})
		a := ask(s, http.MethodPost, "/v1/orders/bulk", w.key(t, domain.APICheckout), string(body), "Content-Type", "application/jsonl")
		if a.Code >= http.StatusInternalServerError || strings.Contains(a.Body.String(), secret) {
			t.Errorf("%d: %s", a.Code, a.Body)
		}
		for line := range strings.Lines(a.Body.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %s", line)
			}
		}
	})
}
