package streams

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/domain"
)

// TestManyItems: orders of as many items as one may have, more of them at once than one call takes; held, expired and cancelled, all of it
// comes back. So are those of many events at once, whose sections are all others.
func TestManyItems(t *testing.T) {
	f := newFixture(t)
	const sections, orders = domain.MaxItems, 120
	offer := domain.Terms{Name: "E", Currency: "EUR", MaxPerCustomer: sections}
	var asked []string
	for i := range sections {
		name := fmt.Sprintf("s%02d", i)
		offer.Sections = append(offer.Sections, domain.SectionTerms{Name: name, Price: int64(i + 1), Capacity: orders})
		asked = append(asked, fmt.Sprintf(`{"section":"%s","quantity":1}`, name))
	}
	items := "[" + strings.Join(asked, ",") + "]"
	var requests [][]string
	for i := range orders {
		event := "e"
		if i%2 == 1 { // one of its own
			event = fmt.Sprintf("e%d", i)
		}
		if i < 2 || i%2 == 1 {
			_, err := f.events.Create(f.Ctx, event, offer)
			f.Must(err)
		}
		requests = append(requests, []string{"v", "2", "type", "hold", "event_id", event, "order_id", fmt.Sprint("o", i), "customer_id", fmt.Sprint("c", i), "items", items})
	}
	replies, _ := f.holdBatch(f.arrive(requests...)...)
	var cancels []domain.Cancellation
	for i, r := range replies {
		if r.Order.State != domain.OrderHeld || r.Order.Items.Len() != sections || r.Order.Amount() != sections*(sections+1)/2 {
			t.Fatalf("order %d: %+v", i, r.Order)
		}
		if got := f.order(requests[i][5], requests[i][7]); got != r.Order {
			t.Fatalf("order %d is stored as\n%+v\nwant\n%+v", i, got, r.Order)
		}
		cancels = append(cancels, domain.Cancellation{Ref: ref(requests[i][5], requests[i][7])})
	}
	if got := f.section("e", "s19"); got != [3]int64{orders / 2, orders / 2, 0} {
		t.Errorf("held: %v", got)
	}
	f.Must(f.ledger.Cancel(f.Ctx, 0, cancels))
	if got := f.section("e", "s19"); got != [3]int64{orders, 0, 0} {
		t.Errorf("cancelled: %v", got)
	}
	if keys := f.Do("KEYS", f.Keys.CustomersPrefix(0)+"*"); len(keys.([]any)) > 0 {
		t.Errorf("places of customers are left in %v", keys)
	}
	f.wantLogFolds()
}
