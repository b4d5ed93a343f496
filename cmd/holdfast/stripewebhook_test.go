package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"holdfast/domain"
	"holdfast/payments/stripe/stripefake"
)

// TestStripeWebhooks has Stripe tell the API of what a customer did. It is asked about once somebody works.
func TestStripeWebhooks(t *testing.T) {
	account := stripefake.New(stripefake.Options{})
	server := httptest.NewServer(account)
	t.Cleanup(server.Close)
	t.Setenv("HOLDFAST_STRIPE_KEY", string(account.Key()))
	at := []string{"--gateway", "stripe", "--stripe-url", server.URL}
	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte("whsec_old\nwhsec_new\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	h := start(t)
	h.ok("events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=10@10.00")
	worker := h.worker(at...)
	expect(t, h.one("publish", "--event", "e1", "--customer", "ann", "--order", "o1", "--token", "pm_card_authenticationRequired", "--wait"), object{"payment": "action_required"})
	h.drained()
	worker.stop()
	if err := account.Finish(domain.PaymentName{Namespace: "holdfast", OrderRef: domain.OrderRef{EventID: "e1", OrderID: "o1"}}, true); err != nil {
		t.Fatal(err)
	}

	_, url := h.serveAPI("--stripe-webhook-secret-file", secrets)
	stripe := &overHTTP{t, url, ""}
	send := func(want int, secret, name string, live bool) {
		t.Helper()
		body := `{"object":"event","type":"payment_intent.amount_capturable_updated","livemode":false,"data":{"object":{"object":"payment_intent","metadata":{"holdfast_payment":"` + name + `"}}}}`
		if live {
			body = strings.Replace(body, "false", "true", 1)
		}
		signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret, Timestamp: time.Now()})
		if status, text, _ := stripe.ask(http.MethodPost, "/v1/gateways/stripe/webhook", body, "Stripe-Signature", signed.Header); status != want {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	waiting := func() (sum float64) {
		for _, group := range h.json("pending") {
			n, _ := group["backlog"].(float64)
			sum += n
		}
		return sum
	}
	send(http.StatusBadRequest, "whsec_forged", "holdfast/e1/o1", false)
	send(http.StatusOK, "whsec_new", "holdfast/e1/o1", true)
	send(http.StatusOK, "whsec_new", "other/e1/o1", false)
	send(http.StatusOK, "whsec_new", "holdfast/e1/o1/attempts/2", false)
	send(http.StatusOK, "whsec_new", "holdfast/e1/o2", false)
	if n := waiting(); n != 0 {
		t.Errorf("%v requests wait because of what is of no interest", n)
	}
	send(http.StatusOK, "whsec_new", "holdfast/e1/o1", false)
	send(http.StatusOK, "whsec_old", "holdfast/e1/o1", false) // it comes twice
	if n := waiting(); n != 2 {
		t.Errorf("%v requests wait", n)
	}
	h.worker(at...)
	eventually(t, "it is confirmed", func() bool { return h.one("orders", "show", "e1/o1")["state"] == "confirmed" })
	h.drained()
	send(http.StatusOK, "whsec_old", "holdfast/e1/o1", false) // it comes late
	expect(t, h.one(append([]string{"audit"}, at...)...), object{"ok": true})

	if err := os.WriteFile(secrets, []byte("sk_test_1"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.fails(exitUsage, []string{"whsec_"}, "api", "--stripe-webhook-secret-file", secrets)
	h.fails(exitFailed, []string{"no such file"}, "api", "--stripe-webhook-secret-file", secrets+"x")
}
