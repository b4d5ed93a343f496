package domain

import (
	"slices"
	"testing"
)

// The times of these tests. A hold that ends at aliveUntil is alive at now by one
// millisecond; one that ends at now is past its deadline.
const (
	heldAt      = 5_000
	confirmedAt = 6_000
	resolvedAt  = 7_000
	now         = 10_000
	aliveUntil  = now + 1
)

var testRef = OrderRef{EventID: "e1", OrderID: "o1"}

func ptr[T any](v T) *T { return &v }

func testTerms() Terms {
	return Terms{
		Name: "An Evening", Currency: "EUR", MaxPerOrder: 6, OnSaleMillis: 1_000, OffSaleMillis: 90_000,
		Sections: []SectionTerms{{Name: "general", Price: 1000, Capacity: 10}, {Name: "vip", Price: 5000, Capacity: 4}},
	}
}

// testEvent is on sale at now: 10 general units, of which 3 are held and 2 sold, and 4 vip.
func testEvent() Event {
	return Event{
		Name: "An Evening", Currency: "EUR", MaxPerOrder: 6, OnSaleMillis: 1_000, OffSaleMillis: 90_000,
		Fingerprint: testTerms().Fingerprint(), Version: 1,
		Sections: []Section{
			{Name: "general", Price: 1000, Capacity: 10, Available: 5, Held: 3, Sold: 2},
			{Name: "vip", Price: 5000, Capacity: 4, Available: 4},
		},
	}
}

// heldOrder is fred's order of 2 general units, which was held at another price than today's.
func heldOrder(kind RequestType, deadline int64) Order {
	attempt := 0
	if kind == RequestPurchase {
		attempt = 1
	}
	return Order{
		State: OrderHeld, RequestType: kind, Attempt: attempt, Fingerprint: "same", CustomerID: "fred", Items: "general:2:900", Currency: "EUR", DeadlineMillis: deadline, HeldAtMillis: heldAt,
	}
}

// payingOrder is that order of a hold, with so many attempts to pay.
func payingOrder(attempt int, state PayState, deadline int64) Order {
	o := heldOrder(RequestHold, deadline)
	o.Attempt, o.PayState, o.PayFingerprint = attempt, state, "pay"
	return o
}

// lapsedOrder is that order when its deadline has passed, and its payment may be approved until some time.
func lapsedOrder(kind RequestType, until int64) Order {
	o := heldOrder(kind, now-5)
	o.State, o.LateMillis = OrderLapsed, until-o.DeadlineMillis
	return o
}

// lateEvent is testEvent of which late approvals are honoured.
func lateEvent() Event {
	e := testEvent()
	e.LateApprovalMillis = 5000
	return e
}

func confirmedOrder() Order {
	o := heldOrder(RequestPurchase, aliveUntil)
	o.State, o.ConfirmedAtMillis, o.ResolvedAtMillis, o.AuthorizationID = OrderConfirmed, confirmedAt, confirmedAt, "auth_1"
	return o
}

func endedOrder(state OrderState, reason string) Order {
	o := heldOrder(RequestPurchase, now)
	o.State, o.ResolvedAtMillis, o.Reason = state, resolvedAt, reason
	return o
}

func rejectedOrder() Order {
	return Order{
		State: OrderRejected, RequestType: RequestPurchase, Fingerprint: "same", CustomerID: "fred", Items: "general:2:0",
		ResolvedAtMillis: resolvedAt, Reason: ReasonSoldOut,
	}
}

func cancelledUnseen() Order {
	return Order{State: OrderCancelled, ResolvedAtMillis: resolvedAt, Reason: ReasonRequested}
}

// cloneView copies what a view refers to, so that a later change of it shows.
func cloneView(v View) View {
	v.Event.Sections = slices.Clone(v.Event.Sections)
	return v
}

func wantClass(t *testing.T, err error, want Class) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one of class %s", want)
	}
	if got := ClassOf(err); got != want {
		t.Errorf("class %s, want %s, of: %v", got, want, err)
	}
}
