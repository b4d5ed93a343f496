package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/payments"
)

// FuzzParsePayment reads the body of a gateway's reply: what is not an error can
// be kept, and an error says nothing of the body.
func FuzzParsePayment(f *testing.F) {
	for _, body := range []string{
		"", "null", "{}", "[]", `{"authorization_id":"auth_1","status":"authorized","amount":2500}`, `{"status":"declined"}`, `{"status":"voided","amount":-1}`,
		`{"authorization_id":"a|b","status":"captured","amount":1}`, `{"authorization_id":"a","status":"captured","amount":1e3}`, `{"status":"authorised"}`,
		`{"authorization_id":"a","status":"captured","amount":2500,"refunded":2500}`, `{"authorization_id":"a","status":"action_required","amount":1,"refunded":1}`,
	} {
		f.Add([]byte(body))
	}
	known := []domain.PaymentStatus{
		domain.PaymentStatusAuthorized, domain.PaymentStatusCaptured, domain.PaymentStatusRefunded, domain.PaymentStatusDeclined, domain.PaymentStatusVoided,
		domain.PaymentStatusActionRequired,
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parsePayment(body)
		if err != nil && (!errors.Is(err, errMalformed) || err.Error() != errMalformed.Error() || p != (domain.Payment{})) {
			t.Errorf("got %+v, %v", p, err)
		}
		if err == nil && (!storableAuthorizationID(p.AuthorizationID) || strings.ContainsAny(p.AuthorizationID, "|\r\n") || p.Amount < domain.AmountNotTold || p.Amount > domain.MaxAmount) {
			t.Errorf("it cannot be kept: %+v", p)
		}
		if p.Refunded < 0 || p.Refunded > max(p.Amount, 0) || p.Refunded > 0 && p.Status != domain.PaymentStatusCaptured && p.Status != domain.PaymentStatusRefunded ||
			p.Status == domain.PaymentStatusRefunded && p.Refunded != p.Amount {
			t.Errorf("that cannot have been given back: %+v", p)
		}
		// A refusal never becomes another status than it may be.
		for _, status := range known {
			refused, err := parseRefusal(body, status)
			if err == nil && refused.Status != status || err != nil && (!errors.Is(err, errContradictory) || refused != (domain.Payment{})) {
				t.Errorf("a refusal as %s is read as %+v, %v", status, refused, err)
			}
		}
	})
}

// FuzzLedgerLines reads a gateway's books: every line is about an order, or none is read.
func FuzzLedgerLines(f *testing.F) {
	const line = `{"event_id":"e","order_id":"o","status":"captured","captured":5}`
	for _, body := range []string{"", line, line + "\n" + line, "\n\n" + line, line[:20], line + "\nnull", "{}", strings.Repeat("x", 100)} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		client := answering(t, Options{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		lines, err := client.Books(context.Background())
		if err != nil && lines != nil {
			t.Errorf("%d lines and %v", len(lines), err)
		}
		if len(lines) > strings.Count(body, "\n")+1 {
			t.Errorf("%d lines out of %q", len(lines), body)
		}
		for _, l := range lines {
			if payments.CheckName(l.Name()) != nil {
				t.Errorf("a line about %q %q", l.EventID, l.OrderID)
			}
		}
	})
}
