package simulator

import (
	"context"
	"errors"
	"testing"

	"holdfast/domain"
)

// Several stateless simulators answer as one gateway would, whichever is asked.
func TestStatelessSimulatorsAgree(t *testing.T) {
	ctx := context.Background()
	one := newSimulator(t, Options{Stateless: true, DeclineRate: 0.5, Seed: 3})
	other := newSimulator(t, Options{Stateless: true, DeclineRate: 0.5, Seed: 3})
	seen := make(map[domain.PaymentStatus]int)
	for _, order := range []string{"o1", "o2", "o3", "o4", "o5", "o6", "o7", "o8", "o9"} {
		r := domain.PaymentRequest{Attempt: domain.Attempt{
			Name: domain.PaymentName{OrderRef: domain.OrderRef{EventID: "e", OrderID: order}}, Amount: 100, Currency: "EUR",
		}}
		if order == "o9" {
			r.Token = ActionTokenPrefix // nobody could keep whether the customer has done it
		}
		a, errA := one.Authorize(ctx, r)
		b, errB := other.Authorize(ctx, r)
		if errA != nil || errB != nil || a != b {
			t.Errorf("%s: %+v %v, and %+v %v", order, a, errA, b, errB)
		}
		seen[a.Status]++
		if p, err := other.Capture(ctx, r.Attempt); err != nil || p.Status != domain.PaymentStatusCaptured {
			t.Errorf("capture of what the other authorized: %+v %v", p, err)
		}
		if p, err := other.Void(ctx, r.Attempt); err != nil || p.Status != domain.PaymentStatusVoided {
			t.Errorf("void: %+v %v", p, err)
		}
		if p, err := other.Refund(ctx, r.Attempt, 100); err != nil || p.Status != domain.PaymentStatusRefunded || p.Refunded != 100 {
			t.Errorf("refund: %+v %v", p, err)
		}
		if _, err := one.Lookup(ctx, r.Attempt); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("lookup: %v, want that it is not known", err)
		}
		if _, err := one.NextStep(ctx, r.Attempt); !errors.Is(err, domain.ErrRefused) {
			t.Errorf("next step: %v, want that there is none", err)
		}
	}
	if seen[domain.PaymentStatusAuthorized] == 0 || seen[domain.PaymentStatusDeclined] == 0 || len(one.Books()) != 0 {
		t.Errorf("answers %v, books %v", seen, one.Books())
	}
	refusing := newSimulator(t, Options{Stateless: true, CaptureRefusalRate: 1})
	if _, err := refusing.Capture(ctx, domain.Attempt{Name: domain.PaymentName{OrderRef: domain.OrderRef{EventID: "e", OrderID: "o"}}}); !errors.Is(err, domain.ErrRefused) {
		t.Errorf("capture: %v, want that it is refused", err)
	}
}
