package workers

import (
	"context"
	"errors"
	"time"

	"holdfast/domain"
)

// call makes one call of the gateway, bounded in time. An unknown result is
// counted, and told once.
func (c *consumer) call(limit time.Duration, do func(context.Context) (domain.Payment, error)) (domain.Payment, error) {
	ctx, cancel := context.WithTimeout(c.working, min(limit, c.pool.cfg.CallTimeout))
	defer cancel()
	payment, err := do(ctx)
	if err == nil || errors.Is(err, domain.ErrNotFound) || domain.ClassOf(err) == domain.ClassReject {
		c.pool.payments.worked()
		return payment, err
	}
	if c.working.Err() == nil {
		c.pool.stats.GatewayUnknowns.Add(1)
		c.pool.payments.failed(err)
	}
	return payment, err
}

// authorize asks for an authorization until the gateway has answered or limit is
// over; then, or if the worker is to end, ok is false. After a call without an
// answer it asks what became of it before it sends it again; always under the
// same key, the order.
func (c *consumer) authorize(r domain.PaymentRequest, limit time.Duration) (payment domain.Payment, ok bool) {
	end := time.Now().Add(limit)
	wait := newBackoff()
	for {
		left := time.Until(end)
		if left <= 0 || c.working.Err() != nil {
			return domain.Payment{}, false
		}
		payment, err := c.call(left, func(ctx context.Context) (domain.Payment, error) { return c.pool.gateway.Authorize(ctx, r) })
		if err == nil {
			return payment, true
		}
		if left = time.Until(end); left <= 0 {
			return domain.Payment{}, false
		}
		payment, err = c.call(left, func(ctx context.Context) (domain.Payment, error) { return c.pool.gateway.Lookup(ctx, r.Name) })
		if err == nil {
			return payment, true
		}
		if !c.backOff(min(wait.NextBackOff(), max(time.Until(end), 0))) {
			return domain.Payment{}, false
		}
	}
}

// settled calls the gateway until it has answered; ok is false if the worker is
// to end first. err is nil, domain.ErrNotFound or of ClassReject.
func (c *consumer) settled(do func(context.Context) (domain.Payment, error)) (payment domain.Payment, ok bool, err error) {
	wait := newBackoff()
	for {
		payment, err = c.call(c.pool.cfg.CallTimeout, do)
		if err == nil || errors.Is(err, domain.ErrNotFound) || domain.ClassOf(err) == domain.ClassReject {
			return payment, true, err
		}
		if c.working.Err() != nil || !c.backOff(wait.NextBackOff()) {
			return payment, false, err
		}
	}
}

// void makes sure that no money is, or will be, reserved for an order. captured
// is true if it is too late for that. ok is false if the worker is to end first.
func (c *consumer) void(name domain.PaymentName) (captured, ok bool) {
	payment, ok, err := c.settled(func(ctx context.Context) (domain.Payment, error) { return c.pool.gateway.Void(ctx, name) })
	if !ok {
		return false, false
	}
	if err == nil && payment.Status == domain.PaymentStatusCaptured {
		return true, true
	}
	return false, true
}
