package producer_test

import (
	"errors"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/producer"
)

// A place is told of what waits or is in hand; of what is over it is told that, and as what if it is no outcome.
func TestPlace(t *testing.T) {
	o := ref("p3-e", "o")
	receipt := producer.Receipt{EventID: o.EventID, OrderID: o.OrderID, EntryID: "5-1", Type: domain.RequestPurchase, Fingerprint: "fp"}
	waiting := domain.InLine{State: domain.LineWaiting, Ahead: 7, AtLeast: 6, AtMost: 9, Wait: 3 * time.Second}
	unreadable, refused := domain.WithClass(domain.ClassPoison, errors.New("cannot be read")), domain.WithClass(domain.ClassRetry, errors.New("refused"))
	order := func(state domain.OrderState, fingerprint string) domain.Standing {
		return domain.Standing{Order: domain.Order{State: state, Fingerprint: fingerprint}}
	}
	for name, test := range map[string]struct {
		receipt func(*producer.Receipt)
		order   domain.Standing
		look    error
		line    domain.InLine
		lineErr error
		later   domain.Standing // once the line was looked at
		want    producer.Place
		err     error
		class   domain.Class
	}{
		"waiting":      {line: waiting, want: producer.Place{State: producer.PlaceWaiting, Ahead: 7, AtLeast: 6, AtMost: 9, Wait: 3 * time.Second}},
		"not known":    {line: domain.InLine{State: domain.LineWaiting, Ahead: domain.Unknown, AtMost: 9, Wait: domain.Unknown}, want: producer.Place{State: producer.PlaceWaiting, Ahead: producer.Unknown, AtMost: 9, Wait: producer.Unknown}},
		"in hand":      {line: domain.InLine{State: domain.LineInHand}, want: producer.Place{State: producer.PlaceInHand}},
		"held":         {order: order(domain.OrderHeld, "fp"), line: domain.InLine{State: domain.LineInHand}, want: producer.Place{State: producer.PlaceInHand}},
		"finished":     {order: order(domain.OrderConfirmed, "fp"), line: waiting, want: producer.Place{State: producer.PlaceFinished}},
		"just so":      {later: order(domain.OrderDeclined, "fp"), line: domain.InLine{State: domain.LineLeft}, want: producer.Place{State: producer.PlaceFinished}},
		"a hold":       {receipt: func(r *producer.Receipt) { r.Type = domain.RequestHold }, order: order(domain.OrderHeld, "fp"), want: producer.Place{State: producer.PlaceFinished}},
		"no news":      {receipt: func(r *producer.Receipt) { r.Type = domain.RequestPaymentUpdate }, order: order(domain.OrderHeld, ""), line: domain.InLine{State: domain.LineLeft}, want: producer.Place{State: producer.PlaceFinished}},
		"lost":         {line: domain.InLine{State: domain.LineLeft}, err: domain.ErrNotFound, class: domain.ClassReject},
		"conflict":     {order: order(domain.OrderHeld, "other"), line: waiting, err: domain.ErrConflict, class: domain.ClassReject},
		"set aside":    {order: domain.Standing{SetAside: []domain.SetAside{{EntryID: "5-1", DeadID: "3:1-0", Reason: "worn out"}}}, err: domain.ErrSetAside, class: domain.ClassReject},
		"unreadable":   {look: unreadable, err: unreadable, class: domain.ClassPoison},
		"no answer":    {look: refused, err: refused, class: domain.ClassRetry},
		"no line":      {lineErr: refused, err: refused, class: domain.ClassRetry},
		"no entry":     {receipt: func(r *producer.Receipt) { r.EntryID = "" }, class: domain.ClassReject},
		"no order":     {receipt: func(r *producer.Receipt) { r.OrderID = "" }, class: domain.ClassReject},
		"no type":      {receipt: func(r *producer.Receipt) { r.Type = "" }, class: domain.ClassReject},
		"another type": {receipt: func(r *producer.Receipt) { r.Type = domain.RequestCancel }, order: order(domain.OrderConfirmed, "fp"), line: waiting, want: producer.Place{State: producer.PlaceWaiting, Ahead: 7, AtLeast: 6, AtMost: 9, Wait: 3 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newOutcomes()
			f.orders[o] = test.order
			f.failing = func(int, domain.OrderRef) error { return test.look }
			f.inLine = func(partition int, entryID string) (domain.InLine, error) {
				if partition != 3 || entryID != "5-1" {
					t.Errorf("asked for %s in partition %d", entryID, partition)
				}
				if test.later.Order.State != domain.OrderNone {
					f.orders[o] = test.later
				}
				return test.line, test.lineErr
			}
			p := producer.New(&requests{}, f, producer.Options{})
			defer p.Close()
			r := receipt
			if test.receipt != nil {
				test.receipt(&r)
			}
			got, err := p.Place(t.Context(), r)
			if got != test.want || (err != nil) != (test.class != 0 || test.err != nil) || test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("%+v, %v, want %+v, %v", got, err, test.want, test.err)
			}
			if err != nil && domain.ClassOf(err) != test.class {
				t.Errorf("class %s, want %s, of %v", domain.ClassOf(err), test.class, err)
			}
		})
	}
}
