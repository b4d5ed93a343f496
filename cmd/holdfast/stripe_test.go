package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/payments/stripe/stripefake"
)

// TestSellingWithStripe goes from a key in a file to sales, declines, 3-D Secure, refunds and the audit of all that.
func TestSellingWithStripe(t *testing.T) {
	t.Parallel()
	account := stripefake.New(stripefake.Options{})
	server := httptest.NewServer(account)
	t.Cleanup(server.Close)
	keys := t.TempDir()
	file := func(name, key string) string {
		path := filepath.Join(keys, name)
		if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	at := []string{"--gateway", "stripe", "--stripe-url", server.URL, "--stripe-key-file", file("test", string(account.Key()))}
	asks := func(args ...string) []string { return append(args, at...) }

	h := start(t)
	h.ok("events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=10@10.00", "--section", "cheap=5@0.40")
	worker := h.worker(at...)
	if !strings.Contains(worker.stderr.String(), "test mode") || strings.Contains(worker.stderr.String(), string(account.Key())) {
		t.Errorf("the log:\n%s", worker.stderr.String())
	}
	expect(t, h.one("namespace", "show"), object{"gateway": "stripe-test"})

	buy := func(order, token string, more ...string) object {
		return h.one(append([]string{"publish", "--event", "e1", "--customer", order, "--order", order, "--token", token, "--wait"}, more...)...)
	}
	expect(t, buy("o1", "pm_card_visa"), object{"state": "confirmed"})
	expect(t, buy("o2", "pm_card_decline"), object{"state": "declined"})
	expect(t, buy("o3", "pm_card_visa", "--section", "cheap"), object{"state": "rejected", "reason": "below_minimum"})
	expect(t, buy("o4", "pm_card_authenticationRequired"), object{"state": "held", "payment": "action_required"})
	step := h.one(asks("orders", "next-step", "e1/o4")...)
	if secret, _ := step["client_secret"].(string); !strings.HasPrefix(secret, "pi_") {
		t.Errorf("the customer is to do %v", step)
	}
	if err := account.Finish(domain.PaymentName{Namespace: "holdfast", OrderRef: domain.OrderRef{EventID: "e1", OrderID: "o4"}}, true); err != nil {
		t.Fatal(err)
	}
	expect(t, h.one("publish", "--type", "payment_update", "--event", "e1", "--order", "o4", "--attempt", "1", "--wait"), object{"state": "confirmed"})
	expect(t, h.one("orders", "cancel", "e1/o1", "--wait"), object{"state": "cancelled"})
	h.drained()
	refunded, captured := 0, 0
	for _, line := range account.Books() {
		if captured += line.Captures; line.Refunded == line.Captured {
			refunded += line.Refunds
		}
	}
	if captured != 2 || refunded != 1 {
		t.Errorf("%d captured, %d of them refunded: %+v", captured, refunded, account.Books())
	}
	expect(t, h.one(asks("audit")...), object{"ok": true})
	expect(t, h.one(asks("audit", "--from", "2026-01-01 00:00", "--until", "2026-01-02 00:00")...)["payments"].(object), object{"checked": 0.0})

	// The bank takes the money of o4 back: a person sees to it.
	o4 := domain.PaymentName{Namespace: "holdfast", OrderRef: domain.OrderRef{EventID: "e1", OrderID: "o4"}}
	hear := func() {
		t.Helper()
		h.ok("publish", "--type", "payment_update", "--event", "e1", "--order", "o4")
		h.drained()
	}
	if err := account.Dispute(o4, domain.Dispute{State: domain.DisputeOpen, Amount: 1000, DueMillis: 1_900_000_000_000}); err != nil {
		t.Fatal(err)
	}
	if text := h.ok(asks("audit")...); !strings.Contains(text, "all is well") || !strings.Contains(text, "1 disputed") || !strings.Contains(text, "publish --type payment_update --event e1 --order o4 --attempt 1") {
		t.Errorf("the audit:\n%s", text)
	}
	hear()
	expect(t, h.one("orders", "show", "e1/o4")["dispute"].(object), object{"state": "open", "amount": 1000.0, "answer_until": 1_900_000_000_000.0})
	if text := h.ok("orders", "show", "e1/o4"); !strings.Contains(text, "open, 10.00 EUR, to be answered until ") || !strings.Contains(text, "payment_disputed") {
		t.Errorf("the order:\n%s", text)
	}
	if text := h.ok("pending", "explain", "e1/o4"); !strings.Contains(text, "disputed: open, 10.00 EUR") || !strings.Contains(text, "publish --type payment_update") {
		t.Errorf("explained:\n%s", text)
	}
	if text := h.ok(asks("audit")...); !strings.Contains(text, "1 disputed") || !strings.Contains(text, "before its deadline; orders cancel frees") || strings.Contains(text, "payment_update") {
		t.Errorf("the audit:\n%s", text)
	}
	expect(t, h.one("sales", "e1"), object{"revenue": 1000.0})
	expect(t, h.one("orders", "cancel", "e1/o4", "--reason", "disputed", "--wait"), object{"state": "cancelled", "refund_total": 1000.0})
	h.drained()
	if text := h.ok("pending", "explain", "e1/o4"); !strings.Contains(text, "its refund waits until the gateway says how the dispute ended") {
		t.Errorf("explained:\n%s", text)
	}
	expect(t, h.one(asks("audit")...), object{"ok": true})
	if err := account.Dispute(o4, domain.Dispute{State: domain.DisputeLost, Amount: 1000}); err != nil {
		t.Fatal(err)
	}
	hear()
	expect(t, h.one("orders", "show", "e1/o4")["dispute"].(object), object{"state": "lost", "amount": 1000.0})
	if text := h.ok(asks("audit")...); !strings.Contains(text, "all is well") || strings.Contains(text, "disputed") {
		t.Errorf("the audit:\n%s", text)
	}
	expect(t, h.one(asks("audit", "--from", "2026-01-01 00:00")...), object{"ok": true})
	h.fails(exitUsage, []string{"--gateway stripe"}, "audit", "--from", "2026-01-01 00:00")
	h.fails(exitUsage, []string{"after --from"}, asks("audit", "--from", "2026-01-02 00:00", "--until", "2026-01-01 00:00")...)

	// Another mode is another set of payments.
	h.fails(exitFailed, []string{"stripe-test", "another namespace"}, "namespace", "set", "--gateway", "stripe")
	live := []string{"--gateway", "stripe", "--stripe-key-file", file("live", "sk_live_1")}
	other := h.background(nil, append([]string{"worker"}, live...)...)
	eventually(t, "the worker with the live key ends", func() bool { return strings.Contains(other.stderr.String(), `"code":"other_gateway"`) })
	h.fails(exitFailed, []string{"served by a payment gateway of kind stripe-test"}, append([]string{"audit"}, live...)...)
	h.fails(exitUsage, []string{"test mode"}, append([]string{"audit", "--stripe-url", server.URL}, live...)...)
	h.fails(exitUsage, []string{"sk_test_"}, "audit", "--gateway", "stripe", "--stripe-key-file", file("none", "pk_test_1"))
	h.fails(exitUsage, []string{"HOLDFAST_STRIPE_KEY"}, "audit", "--gateway", "stripe")
	h.fails(exitUsage, []string{"--gateway stripe"}, "audit", "--gateway", "http://127.0.0.1:1", "--stripe-key-file", "x")
	h.fails(exitUsage, []string{"with a URL"}, "worker", "--gateway", "stripe", "--gateway-token-file", "x")
}
