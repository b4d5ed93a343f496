package simulator

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/payments"
	"holdfast/payments/paymentstest"
)

// FuzzAuthorizeBody sends a body to the server: it answers in the contract's
// statuses, repeats no token, and what it does not take it has not done.
func FuzzAuthorizeBody(f *testing.F) {
	for _, body := range []string{goodBody, "", "{}", "null", "[]", goodBody[:30], strings.Replace(goodBody, "2500", "-1", 1), strings.Replace(goodBody, "EUR", "eur", 1), goodBody + goodBody} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		sim := newSimulator(t, Options{})
		reply := send(Handler(sim), http.MethodPut, "/authorizations/e/a", body)
		switch reply.Code {
		case http.StatusOK, http.StatusPaymentRequired:
			p, err := sim.Lookup(t.Context(), domain.Attempt{Name: domain.PaymentName{OrderRef: domain.OrderRef{EventID: "e", OrderID: "a"}}})
			var got payments.Reply
			if err != nil || json.Unmarshal(reply.Body.Bytes(), &got) != nil || got.Amount == nil {
				t.Fatalf("answered with %s; the payment is %+v, %v", reply.Body, p, err)
			}
			if (domain.Payment{AuthorizationID: got.AuthorizationID, Status: got.Status, Amount: *got.Amount, Currency: got.Currency, CustomerID: got.CustomerID, Fingerprint: got.Fingerprint}) != p {
				t.Errorf("answered with %s; the payment is %+v", reply.Body, p)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
			if lines := sim.Books(); len(lines) > 0 {
				t.Errorf("refused with %d, and in the books: %+v", reply.Code, lines)
			}
		default:
			t.Errorf("status %d: %s", reply.Code, reply.Body)
		}
		if strings.Contains(reply.Body.String(), paymentstest.Token) {
			t.Errorf("the reply repeats the token: %s", reply.Body)
		}
	})
}
