package workers_test

import (
	"context"
	"testing"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// What a capture says is compared in everything that it says, the request included.
func TestCaptureOfAnotherPayment(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, test := range map[string]struct {
		change func(*domain.Payment)
		want   string // of the dead letter; empty: there is none
	}{
		"nothing but the amount told": {func(p *domain.Payment) { *p = domain.Payment{Status: p.Status, Amount: p.Amount} }, ""},
		"not even the amount told":    {func(p *domain.Payment) { *p = domain.Payment{Status: p.Status, Amount: domain.AmountNotTold} }, ""},
		"the same request":            {func(*domain.Payment) {}, ""},
		"another request":             {func(p *domain.Payment) { p.Fingerprint = "0123456789abcdef" }, "payment_mismatch: captured, fingerprint 0123456789abcdef instead of "},
		"another customer":            {func(p *domain.Payment) { p.CustomerID = "zoe" }, "payment_mismatch: captured, customer_id zoe instead of fred"},
		"another currency":            {func(p *domain.Payment) { p.Currency = "JPY" }, "payment_mismatch: captured, currency JPY instead of EUR"},
		"more":                        {func(p *domain.Payment) { p.Amount++ }, "payment_mismatch: captured, amount 4001 instead of 4000"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, server, simulator.Options{})
			w.list("e", 1000, 10)
			changed := gatewayFunc{PaymentGateway: w.gateway, capture: func(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
				p, err := w.gateway.Capture(ctx, a)
				test.change(&p)
				return p, err
			}}
			w.start(workers.Config{}, changed, nil)
			w.publish(request(domain.RequestPurchase, "o", "fred", 4))
			w.waitState("o", domain.OrderConfirmed)
			w.waitDrained()
			reasons := w.deadReasons()
			want := test.want
			if want != "" && name == "another request" {
				want += w.order("o").Fingerprint
			}
			if want == "" && len(reasons) != 0 || want != "" && (len(reasons) != 1 || reasons[0] != want) {
				t.Errorf("dead letters %q, want %q", reasons, want)
			}
			if o := w.order("o"); o.State != domain.OrderConfirmed {
				t.Errorf("it is %s", o.State)
			}
		})
	}
}
