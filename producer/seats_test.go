package producer_test

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/domain"
)

// seatedOrder is an order of two seats of stalls, and of two counted places.
var seatedOrder = domain.Order{State: domain.OrderConfirmed, CustomerID: "fred", Currency: "EUR", Items: domain.ItemsOf(
	domain.Item{Section: "general", Quantity: 2, UnitPrice: 1000}, domain.Item{Section: "stalls", Quantity: 2, UnitPrice: 4500, Places: "4.6"},
)}

// TestSeatsHaveNames: an outcome says which seats the order got; their names are looked up only then, until that succeeds.
func TestSeatsHaveNames(t *testing.T) {
	inBubble(t, never, func(b *bench) {
		var looked atomic.Int64
		var names atomic.Bool // whether they can be had
		b.outcomes.seatNames = func(eventID string, items domain.Items) (map[string][]string, error) {
			if looked.Add(1); eventID != "p0" || items != seatedOrder.Items {
				t.Errorf("names of %s: %s", eventID, items)
			}
			if !names.Load() {
				return nil, errRefused
			}
			return map[string][]string{"stalls": {"A-4", "B-10"}}, nil
		}
		b.outcomes.set(ref("p0", "counted"), orderIn(domain.OrderConfirmed, "fred"))
		w := b.wait(b.Context(), b.producer.Wait, ref("p0", "counted"))
		w.got(orderIn(domain.OrderConfirmed, "fred"))
		if looked.Load() > 0 {
			t.Error("names were looked up for an order without seats")
		}
		seated := b.wait(b.Context(), b.producer.Wait, ref("p0", "seated"))
		seated.waiting()
		b.outcomes.change(ref("p0", "seated"), seatedOrder)
		seated.waiting() // it is asked again
		names.Store(true)
		seated.ends()
		if want := map[string][]string{"stalls": {"A-4", "B-10"}}; seated.err != nil || !reflect.DeepEqual(seated.outcome.Seats, want) || seated.outcome.Order != seatedOrder {
			t.Errorf("%+v, %v", seated.outcome, seated.err)
		}
		b.elapsed(250 * time.Millisecond)
	})
}

func TestSeatsWithoutNames(t *testing.T) {
	inBubble(t, never, func(b *bench) {
		damaged := domain.WithClass(domain.ClassPoison, errors.New("no seat at place 4"))
		b.outcomes.seatNames = func(string, domain.Items) (map[string][]string, error) { return nil, damaged }
		b.outcomes.set(ref("p0", "o"), seatedOrder)
		w := b.wait(b.Context(), b.producer.Wait, ref("p0", "o"))
		w.ends()
		if !errors.Is(w.err, damaged) || w.outcome.Order != seatedOrder || w.outcome.Seats != nil {
			t.Errorf("%+v, %v", w.outcome, w.err)
		}
	})
	for _, test := range []struct {
		end  func(b *bench, cancel func())
		want error
	}{
		{func(_ *bench, cancel func()) { cancel() }, context.Canceled},
		{func(b *bench, _ func()) { b.producer.Close() }, nil},
	} {
		inBubble(t, never, func(b *bench) {
			b.outcomes.seatNames = func(string, domain.Items) (map[string][]string, error) { return nil, errRefused }
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			b.outcomes.set(ref("p0", "o"), seatedOrder)
			w := b.wait(ctx, b.producer.Wait, ref("p0", "o"))
			w.waiting()
			test.end(b, cancel)
			synctest.Wait()
			w.unknown(test.want)
		})
	}
}
