package workers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// Every status of a payment, with each way in which it may not be the order's: what becomes
// of the order, what is done to the payment, and whether a person is asked. Told by the
// authorization itself, and by the look-up after its reply was lost.
func TestAuthorizationsThatDoNotMatch(t *testing.T) {
	t.Parallel()
	const (
		same     = "the same"
		amount   = "another amount"
		currency = "another currency"
		customer = "another customer"
		body     = "another request"
	)
	statuses := []domain.PaymentStatus{
		domain.PaymentStatusAuthorized, domain.PaymentStatusCaptured, domain.PaymentStatusDeclined, domain.PaymentStatusVoided, domain.PaymentStatusRefunded,
	}
	server := redistest.Start(t)
	for _, lost := range []bool{false, true} {
		w := newWorld(t, server, simulator.Options{})
		w.list("e", 1000, 1000)
		// The payments are there before, under the names of the orders.
		var all []domain.Request
		for _, status := range statuses {
			for _, difference := range []string{same, amount, currency, customer, body} {
				r := request(domain.RequestPurchase, strings.ReplaceAll(string(status)+"-"+difference, " ", "-"), fmt.Sprintf("c%d", len(all)), 2)
				all = append(all, r)
				asked := domain.PaymentRequest{Attempt: domain.Attempt{
					Name:   domain.PaymentName{Namespace: w.store.PaymentNamespace(), OrderRef: r.Ref()},
					Amount: 2000, Currency: "EUR", CustomerID: r.CustomerID,
				}, Token: "tok"}
				switch difference {
				case amount:
					asked.Amount = 1999
				case currency:
					asked.Currency = "USD"
				case customer:
					asked.CustomerID = "zoe"
				case body:
					asked.Fingerprint = "0123456789abcdef"
				}
				if status == domain.PaymentStatusDeclined {
					asked.Token = simulator.DeclineTokenPrefix
				}
				p, err := w.gateway.Authorize(w.ctx, asked)
				switch {
				case err != nil:
				case status == domain.PaymentStatusVoided:
					p, err = w.gateway.Void(w.ctx, asked.Attempt)
				case status == domain.PaymentStatusCaptured, status == domain.PaymentStatusRefunded:
					if p, err = w.gateway.Capture(w.ctx, asked.Attempt); err == nil && status == domain.PaymentStatusRefunded {
						p, err = w.gateway.Refund(w.ctx, asked.Attempt, asked.Amount)
					}
				}
				if err != nil || p.Status != status {
					t.Fatalf("%s: %+v, %v", r.OrderID, p, err)
				}
			}
		}
		lossy := gatewayFunc{PaymentGateway: w.gateway, authorize: func(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
			p, err := w.gateway.Authorize(ctx, r)
			if lost {
				return domain.Payment{}, errLost
			}
			return p, err
		}}
		w.publish(all...)
		w.start(workers.Config{}, lossy, nil)
		for _, r := range all {
			w.eventually(r.OrderID+" ended", func() bool { return w.order(r.OrderID).State.Terminal() })
		}
		w.waitDrained()
		var dead []string
		for _, r := range all {
			status, difference, _ := strings.Cut(r.OrderID, "-")
			was, matches := domain.PaymentStatus(status), difference == "the-same"
			o, line := w.order(r.OrderID), w.payment(r.OrderID)
			wantState, wantReason, wantPayment, leftAlone := domain.OrderDeclined, "", was, false
			switch {
			case matches && (was == domain.PaymentStatusAuthorized || was == domain.PaymentStatusCaptured):
				wantState, wantPayment = domain.OrderConfirmed, domain.PaymentStatusCaptured
			case matches, was == domain.PaymentStatusDeclined:
			case was == domain.PaymentStatusAuthorized && difference != "another-customer":
				wantReason, wantPayment = domain.ReasonPaymentMismatch, domain.PaymentStatusVoided
			default:
				wantReason = domain.ReasonPaymentMismatch
				leftAlone = was == domain.PaymentStatusAuthorized || was == domain.PaymentStatusCaptured
			}
			if o.State != wantState || o.Reason != wantReason || line.Status != wantPayment || (o.Detail != "") != (wantReason != "") {
				t.Errorf("%s (reply lost: %v): %s %q %q, its payment is %s; want %s %q, %s", r.OrderID, lost, o.State, o.Reason, o.Detail, line.Status, wantState, wantReason, wantPayment)
			}
			if leftAlone {
				dead = append(dead, "payment_mismatch: "+o.Detail)
			}
		}
		got := w.deadReasons()
		if missing := errors.Join(unmatched(dead, got)...); missing != nil || len(got) != len(dead) {
			t.Errorf("dead letters %q, want %q", got, dead)
		}
	}
}

func unmatched(want, got []string) (missing []error) {
	left := make(map[string]int)
	for _, g := range got {
		left[g]++
	}
	for _, w := range want {
		if left[w]--; left[w] < 0 {
			missing = append(missing, errors.New(w))
		}
	}
	return missing
}
