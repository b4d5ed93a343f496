package api

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/domain"
)

// soldOut is an event of which nothing is left but places in a section.
func soldOut() domain.Event {
	return domain.Event{Name: "E", Currency: "EUR", Sections: []domain.Section{{Name: "general", Capacity: 2, Sold: 2}, {Name: "balcony", Capacity: 1, Available: 1}}}
}

// Whoever asks for what is sold out is turned away, and counted once a second; an order that is there is told, and what is known too long ago turns nobody away.
func TestDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{event: soldOut(), orders: map[domain.OrderRef]domain.Order{{EventID: "e1", OrderID: "mine"}: {State: domain.OrderHeld, RequestType: domain.RequestHold, CustomerID: "c"}}}
		s := serverOf(t, w, Options{})
		key := w.key(t, domain.APICheckout)
		buy := func(order, more string) (int, string) {
			a := ask(s, http.MethodPost, "/v1/orders", key, `{"type":"hold","event_id":"e1","order_id":"`+order+`","customer_id":"c",`+more+`}`)
			return a.Code, a.Body.String()
		}
		if status, _ := buy("o1", `"quantity":2`); status != http.StatusAccepted {
			t.Errorf("nothing is known of the event yet: %d", status)
		}
		synctest.Wait() // until it is
		for _, more := range []string{`"quantity":2`, `"section":"general","quantity":1`, `"items":[{"section":"balcony","quantity":1},{"section":"general","quantity":3}]`} {
			if status, said := buy("o2", more); status != http.StatusConflict || !strings.Contains(said, `"code":"sold_out_now"`) || !strings.Contains(said, `"order_id":"o2"`) {
				t.Errorf("%s: %d %s", more, status, said)
			}
		}
		if status, said := buy("mine", `"quantity":2`); status != http.StatusOK || !strings.Contains(said, `"held"`) {
			t.Errorf("an order that has places: %d %s", status, said)
		}
		if status, _ := buy("o3", `"section":"balcony","quantity":1`); status != http.StatusAccepted {
			t.Errorf("a section that is not sold out: %d", status)
		}
		if len(w.published) != 2 {
			t.Errorf("published %v", w.published)
		}
		w.countNobody(true)
		time.Sleep(doorCounts + time.Millisecond)
		synctest.Wait()
		if away := w.counted(); len(away) != 0 {
			t.Errorf("counted %v", away)
		}
		w.countNobody(false)
		if status, _ := buy("o4", `"quantity":4`); status != http.StatusAccepted {
			t.Errorf("what is known is too old: %d", status)
		}
		synctest.Wait()
		if status, _ := buy("o5", `"quantity":4`); status != http.StatusConflict {
			t.Errorf("what is known is new again: %d", status)
		}
		time.Sleep(2 * doorCounts)
		synctest.Wait()
		general, balcony := domain.RefusedDemand{EventID: "e1", Section: "general", Reason: "sold_out_now"}, domain.RefusedDemand{EventID: "e1", Section: "balcony", Reason: "sold_out_now"}
		if away := w.counted(); len(away) != 1 || away[0][general] != 2+1+3+4 || away[0][balcony] != 1 {
			t.Errorf("counted %v", away)
		}
	})
}
