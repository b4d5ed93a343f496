package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"holdfast/domain"
)

// FuzzBody sends bodies to every endpoint that takes one. None is answered with what was sent, or as if something were wrong here, and
// what is published is well-formed.
func FuzzBody(f *testing.F) {
	const secret = "tok-visa-4242-4242"
	paths := []string{"/v1/orders", "/v1/orders/e1/o1/pay", "/v1/orders/e1/o1/cancel", "/v1/orders/e1/o1/change", "/v1/orders/e1/o1/payment-update"}
	for i := range paths {
		for _, body := range []string{
			"", "{}", "null", "[]", `"` + secret + `"`, secret, `{"` + secret + `":1}`, `{"payment_token":"` + secret, `{"payment_token":"` + secret + `"}`, `{"quantity":1e999}`,
			`{"event_id":"e1","order_id":"o","customer_id":"c","quantity":1,"payment_token":"` + secret + `"}`, `{"event_id":"e1","event_id":"e2","order_id":"o","customer_id":"c","quantity":1}`,
			`{"event_id":"` + secret + ` ","order_id":"o","customer_id":"c","seats":["` + secret + `"]}`, `{"change":1,"items":[{"section":"s","quantity":1,"seats":["A-1"]}]}`,
			`{"attempt":9,"payment_token":null}`, `{"items":[null]}`, `{"items":[{"section":"a","quantity":1},{"section":"a","quantity":1}]}`, `{"adjacent":"` + secret + `"}`, strings.Repeat("[", 10000),
		} {
			f.Add(uint8(i), []byte(body)) //nolint:gosec // five
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		w := &world{orders: map[domain.OrderRef]domain.Order{}}
		s := serverOf(t, w, Options{})
		key := w.key(t, domain.APICheckout)
		a := ask(s, http.MethodPost, paths[int(which)%len(paths)], key, string(body), "Content-Type", "application/json")
		if a.Code >= http.StatusInternalServerError || a.Code >= http.StatusBadRequest && len(w.published) > 0 {
			t.Errorf("%d, with %d published: %s", a.Code, len(w.published), a.Body)
		}
		if a.Code >= http.StatusBadRequest && strings.Contains(a.Body.String(), secret) {
			t.Errorf("it repeats what was sent: %s", a.Body)
		}
		if !json.Valid(a.Body.Bytes()) {
			t.Errorf("no JSON: %s", a.Body)
		}
	})
}

// FuzzTexts reads what callers give back, or claim to have been given.
func FuzzTexts(f *testing.F) {
	for _, text := range []string{"", "purchase~1700000000000-0~0~0~abc", "pay~~1~0~", "change~1-1~0~7~3.ff", "~~~~", "hold~x~1~1~", "hfc_e30.e30", "hfc_.", "hf_a_b", "wait=5", "wait=99999999999999999999"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w := &world{}
		s := serverOf(t, w, Options{})
		w.key(t, domain.APIAdmin)
		ref := domain.OrderRef{EventID: "e1", OrderID: "o1"}
		if r, err := parseReceipt(ref, text); err == nil && receiptText(r) != text {
			if again, err := parseReceipt(ref, receiptText(r)); err != nil || again != r {
				t.Errorf("%q is read as %+v, and that as %+v, %v", text, r, again, err)
			}
		}
		if p, err := s.principal(t.Context(), "Bearer "+text); err == nil {
			t.Errorf("%q lets in %+v", text, p)
		}
		if wait, _ := s.preferred(text); wait < 0 || wait > s.options.MaxWait {
			t.Errorf("%q waits for %s", text, wait)
		}
	})
}
