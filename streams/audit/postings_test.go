package audit

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// Sales that add up to more than an int64 holds do not wrap around to a figure that may agree.
func TestSalesPastInt64(t *testing.T) {
	for orders, want := range map[int]string{
		1024: "", // 2^63-1024
		1025: "its sales add up to more than 2^63-1",
		2048: "its sales add up to more than 2^63-1", // 2^64-2048, as an int64 -2048
	} {
		p := newPartitionAudit(&auditor{found: make(map[string]int)}, 0)
		var members []string
		for i := range orders {
			id := strconv.Itoa(i)
			members = append(members, id)
			p.book.Orders[domain.OrderRef{EventID: "e", OrderID: id}] = domain.Order{
				State: domain.OrderConfirmed, Quantity: 1, UnitPrice: domain.MaxAmount, ConfirmedAtMillis: 1,
			}
		}
		revenue := int64(orders) * domain.MaxAmount // perhaps wrapped around
		p.checkEventSales("e", members, fmt.Sprintf("%d,%d,%d", orders, orders, revenue), nil, position{pending: make(map[layout.LogID]bool)})
		switch {
		case want == "" && len(p.violations) > 0:
			t.Errorf("%d orders: %v", orders, p.violations)
		case want != "" && (len(p.violations) != 1 || !strings.Contains(p.violations[0].Detail, want)):
			t.Errorf("%d orders: %v, want %q", orders, p.violations, want)
		}
	}
}
