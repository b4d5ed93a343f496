package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"holdfast/domain"
)

// steps answers for whoever asks the gateway about e1/o.
type steps struct{ err error }

func (s steps) NextStep(_ context.Context, ref domain.OrderRef, o domain.Order) (domain.NextStep, error) {
	if s.err != nil {
		return domain.NextStep{}, s.err
	}
	return domain.NextStep{ClientSecret: domain.Secret("secret of " + ref.String() + " " + o.AuthorizationID)}, nil
}

func TestNextStep(t *testing.T) {
	awaited := domain.Order{State: domain.OrderHeld, Attempt: 2, PayState: domain.PayActionRequired, AuthorizationID: "pi_1"}
	confirmed := awaited
	confirmed.State = domain.OrderConfirmed
	for name, row := range map[string]struct {
		order  domain.Order
		steps  NextSteps
		status int
		said   string
	}{
		"awaited":               {awaited, steps{}, http.StatusOK, `"client_secret":"secret of e1/o pi_1"`},
		"over":                  {confirmed, steps{}, http.StatusConflict, `"code":"conflict"`},
		"over at the gateway":   {awaited, steps{domain.ErrRefused}, http.StatusConflict, `"code":"conflict"`},
		"never heard of":        {domain.Order{}, steps{}, http.StatusNotFound, `"code":"not_found"`},
		"the gateway is away":   {awaited, steps{errors.New("secret address")}, http.StatusServiceUnavailable, `"code":"unavailable"`},
		"nobody to be asked of": {awaited, nil, http.StatusNotFound, "without a payment gateway"},
	} {
		w := &world{orders: map[domain.OrderRef]domain.Order{{EventID: "e1", OrderID: "o"}: row.order}}
		s := serverOf(t, w, Options{})
		s.deps.NextSteps = row.steps
		a := ask(s, http.MethodGet, "/v1/orders/e1/o/next-step", w.key(t, domain.APICheckout), "")
		if a.Code != row.status || !strings.Contains(a.Body.String(), row.said) || strings.Contains(a.Body.String(), "secret address") {
			t.Errorf("%s: %d %s", name, a.Code, a.Body)
		}
		if row.status == http.StatusOK && a.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: it may be kept: %v", name, a.Header())
		}
	}
}
