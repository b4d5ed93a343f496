package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"holdfast/domain"
)

// notices are about attempt 2 to pay for e1/o, if they are signed.
type notices struct{ err error }

func (n notices) Read(_ context.Context, header http.Header, body []byte) (about PaymentNotice, ours bool, err error) {
	switch {
	case header.Get("Stripe-Signature") != "signed":
		return about, false, ErrForged
	case n.err != nil:
		return about, false, n.err
	}
	about = PaymentNotice{Ref: domain.OrderRef{EventID: "e1", OrderID: "o"}, Attempt: 2, Disputed: string(body) == "disputed"}
	return about, string(body) == "ours" || about.Disputed, nil
}

// A notice has an order asked about that is awaited, and nothing else: whatever comes late, twice or forged changes nothing.
func TestNotices(t *testing.T) {
	awaited := domain.Order{State: domain.OrderHeld, Attempt: 2, PayState: domain.PayActionRequired}
	paying, again, confirmed := awaited, awaited, awaited
	paying.PayState, again.Attempt, confirmed.State, confirmed.ConfirmedAtMillis = domain.PayOpen, 3, domain.OrderConfirmed, 1
	elsewise := confirmed // by another attempt
	elsewise.Attempt = 3
	cancelled := confirmed
	cancelled.State = domain.OrderCancelled
	unavailable := domain.WithCode(domain.ClassRetry, domain.CodeUnavailable, errors.New("redis does not answer"))
	for name, row := range map[string]struct {
		order           domain.Order
		signature, body string
		err             error
		status          int
		published       int // of five that are the same
	}{
		"awaited":               {order: awaited, signature: "signed", body: "ours", status: http.StatusOK, published: noticesPerSecond},
		"forged":                {order: awaited, signature: "guessed", body: "ours", status: http.StatusBadRequest},
		"another namespace's":   {order: awaited, signature: "signed", body: "theirs", status: http.StatusOK},
		"not known yet":         {signature: "signed", body: "ours", status: http.StatusOK},
		"in hand":               {order: paying, signature: "signed", body: "ours", status: http.StatusOK},
		"an attempt before":     {order: again, signature: "signed", body: "ours", status: http.StatusOK},
		"over":                  {order: confirmed, signature: "signed", body: "ours", status: http.StatusOK},
		"disputed":              {order: confirmed, signature: "signed", body: "disputed", status: http.StatusOK, published: noticesPerSecond},
		"disputed, cancelled":   {order: cancelled, signature: "signed", body: "disputed", status: http.StatusOK, published: noticesPerSecond},
		"disputed, not paid":    {order: awaited, signature: "signed", body: "disputed", status: http.StatusOK},
		"disputed, not by that": {order: elsewise, signature: "signed", body: "disputed", status: http.StatusOK},
		"too large":             {order: awaited, signature: "signed", body: strings.Repeat("x", maxBodyBytes+1), status: http.StatusRequestEntityTooLarge},
		"redis is away":         {order: awaited, signature: "signed", body: "ours", err: unavailable, status: http.StatusServiceUnavailable},
	} {
		w := &world{orders: map[domain.OrderRef]domain.Order{{EventID: "e1", OrderID: "o"}: row.order}}
		s := serverOf(t, w, Options{})
		s.deps.Notices = notices{row.err}
		for range 5 {
			a := ask(s, http.MethodPost, stripeWebhookPath, "", row.body, "Stripe-Signature", row.signature)
			if a.Code != row.status || strings.Contains(a.Body.String(), "xx") {
				t.Errorf("%s: %d %.200s", name, a.Code, a.Body)
			}
		}
		if n := len(w.published); n != row.published && (row.published == 0 || n != 5) { // a second may have ended in between
			t.Errorf("%s: %d published", name, n)
		}
		for _, r := range w.published {
			if r.Type != domain.RequestPaymentUpdate || r.EventID != "e1" || r.OrderID != "o" || r.Attempt != 2 {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	s := serverOf(t, &world{}, Options{})
	if a := ask(s, http.MethodPost, stripeWebhookPath, "", "ours", "Stripe-Signature", "signed"); a.Code != http.StatusNotFound {
		t.Errorf("without a secret: %d %s", a.Code, a.Body)
	}
	if a := ask(s, http.MethodGet, stripeWebhookPath, "", ""); a.Code != http.StatusMethodNotAllowed {
		t.Errorf("another method: %d %s", a.Code, a.Body)
	}
}
