package inspect

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast/domain"
)

// An order that was forgotten is not listed, nor found; one that has its name afterwards is, once.
func TestForgottenOrders(t *testing.T) {
	f := newFixture(t)
	ledger := f.store.Ledger()
	in := domain.Incoming{EntryID: fmt.Sprintf("%d-0", f.Now()), HoldMillis: 60_000, ValidMillis: 60_000, Request: domain.Request{
		Type: domain.RequestPurchase, EventID: "e9", OrderID: "o1", CustomerID: "fred", Section: domain.DefaultSection, Quantity: 1, Fingerprint: "fp",
	}}
	hold := func() {
		_, _, err := ledger.Hold(f.Ctx, 0, []domain.Incoming{in})
		f.Must(err)
	}
	want := func(want ...domain.OrderRef) {
		t.Helper()
		var listed []domain.OrderRef
		f.Must(f.inspector.EachOrder(f.Ctx, OrderFilter{}, func(ref domain.OrderRef, o domain.Order) error {
			if o.Reason != domain.ReasonUnknownEvent {
				t.Errorf("%s is %+v", ref, o)
			}
			listed = append(listed, ref)
			return nil
		}))
		found, err := f.inspector.FindOrder(f.Ctx, "o1")
		if err != nil || !slices.Equal(listed, want) || !slices.Equal(found, want) {
			t.Errorf("listed are %v, found %v, %v, want %v", listed, found, err, want)
		}
	}
	hold()
	want(in.Request.Ref())
	if n, _, err := ledger.Forget(f.Ctx, 0, -2*time.Minute, 10); n != 1 || err != nil {
		t.Fatalf("forgot %d, %v", n, err)
	}
	want()
	hold()
	want(in.Request.Ref())
}
