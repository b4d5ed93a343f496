package audit

import (
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
)

// Sales that add up to more than an int64 holds do not wrap around to a figure that may agree.
func TestSalesPastInt64(t *testing.T) {
	for orders, want := range map[int]string{
		1024: "", // 2^63-1024
		1025: "its sales add up to more than 2^63-1",
		2049: "its sales add up to more than 2^63-1", // 2^64-2049+2^53-1, as an int64 above 0 again
	} {
		p := newPartitionAudit(&auditor{found: make(map[string]int)}, 0)
		for i := range orders {
			ref := domain.OrderRef{EventID: "e", OrderID: strconv.Itoa(i)}
			p.book.Orders[ref] = domain.Order{State: domain.OrderConfirmed, Items: domain.ItemsOf(domain.Item{Section: "general", Quantity: 1, UnitPrice: domain.MaxAmount}), ConfirmedAtMillis: 1}
			p.sell(domain.Fact{ID: "1-1", EventID: ref.EventID, OrderID: ref.OrderID})
		}
		if want == "" {
			if len(p.violations) > 0 || p.totals["e"].Revenue != int64(orders)*domain.MaxAmount {
				t.Errorf("%d orders: %+v, %v", orders, p.totals["e"], p.violations)
			}
			continue
		}
		if len(p.violations) == 0 || !strings.Contains(p.violations[0].Detail, want) || p.totals["e"].Revenue < 0 {
			t.Errorf("%d orders: %+v, %v, want %q", orders, p.totals["e"], p.violations, want)
		}
	}
}
