package network

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"holdfast/domain"
)

const events = 4

func eventID(n int) string { return fmt.Sprintf("event-%d", n) }

// load is what checkouts publish, and how each order must end.
type load struct {
	rng  *rand.Rand
	refs []domain.OrderRef
	ends map[domain.OrderRef]domain.OrderState
}

func newLoad(seed uint64) *load {
	return &load{rng: rand.New(rand.NewPCG(seed, 1)), ends: make(map[domain.OrderRef]domain.OrderState)}
}

// draw adds n orders of as many customers, and returns the requests for them, in
// order: purchases, holds that are paid or cancelled, cancels that come before,
// soon or late, payments that are declined, sections that there are not, and
// requests that come twice.
func (l *load) draw(n int) []domain.Request {
	rng := l.rng
	type timed struct {
		at      float64
		request domain.Request
	}
	var all []timed
	for i := len(l.refs); n > 0; i, n = i+1, n-1 {
		r := domain.Request{
			Type: domain.RequestPurchase, EventID: eventID(rng.IntN(events)), OrderID: fmt.Sprintf("order-%d", i),
			CustomerID: fmt.Sprintf("customer-%d", i), Section: domain.DefaultSection, Quantity: int64(between(rng, 1, 4)), PaymentToken: "tok_1",
		}
		at := float64(i)
		soon := func() float64 { return at + rng.Float64()*40 }
		pay := domain.Request{Type: domain.RequestPay, EventID: r.EventID, OrderID: r.OrderID, PaymentToken: r.PaymentToken}
		cancel := domain.Request{Type: domain.RequestCancel, EventID: r.EventID, OrderID: r.OrderID}
		end := domain.OrderConfirmed
		switch draw := rng.Float64(); {
		case draw < 0.08:
			r.PaymentToken, end = "decline_1", domain.OrderDeclined
		case draw < 0.11:
			r.Section, end = "nowhere", domain.OrderRejected
		case draw < 0.23:
			r.Type, r.PaymentToken = domain.RequestHold, ""
			all = append(all, timed{soon(), pay})
		case draw < 0.28:
			r.Type, r.PaymentToken, end = domain.RequestHold, "", domain.OrderCancelled
			all = append(all, timed{soon(), cancel})
		case draw < 0.38:
			end = domain.OrderCancelled
			all = append(all, timed{soon(), cancel})
		case draw < 0.41:
			end = domain.OrderCancelled
			all = append(all, timed{at - 10, cancel})
		}
		all = append(all, timed{at, r})
		if rng.Float64() < 0.1 {
			all = append(all, timed{soon(), r})
		}
		l.refs = append(l.refs, r.Ref())
		l.ends[r.Ref()] = end
	}
	slices.SortStableFunc(all, func(a, b timed) int { return cmp.Compare(a.at, b.at) })
	requests := make([]domain.Request, len(all))
	for i, t := range all {
		requests[i] = t.request
	}
	return requests
}
