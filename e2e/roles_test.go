package e2e

import (
	"testing"

	"holdfast/domain"
	"holdfast/e2e/program"
)

// Two workers of one name are a mistake that must cost nothing but work: also
// when one of them ends, and when one is killed.
func TestTwoWorkersOfOneName(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	requests, refs := s.purchases("twin", 4, 300)
	gateway := startGateway(t, "--latency", "300ms")
	p := s.producer()
	args := []string{"--gateway", gateway, "--reclaim-after", "1s"}
	first := s.worker("twin", args...)
	publish(t, p, requests[:100]...)
	s.busy(first, 1)
	second := s.worker("twin", args...)
	publish(t, p, requests[100:200]...)
	s.busy(second, 1)
	first.Stop(endTime)
	third := s.worker("twin", args...)
	publish(t, p, requests[200:]...)
	s.busy(third, 1)
	second.Kill()
	s.drained(soon)
	third.Alive()
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	s.audit(gateway)
	third.Stop(endTime)
}

// Four workers with one role each do together what one with all of them does.
func TestOneRoleEach(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gateway := startGateway(t, "--latency", "1ms")
	var pool []*program.Process
	for _, role := range []string{"purchase", "posting", "settlement", "maintenance"} {
		pool = append(pool, s.worker(role, "--gateway", gateway, "--roles", role, "--reclaim-after", "1s"))
	}
	s.event("opera", "The Opera", 100, "20")
	c := commandLineCheckout{s}
	outcome(t, c.send(purchase("opera", "fred", 2))[0], "confirmed", "")
	s.stands("opera", 98, 0, 2, 40_00)
	s.invoiced("fred", invoiceView{"opera", 40_00, "confirmed"})
	paidOnce(t, gateway, []domain.OrderRef{{EventID: "opera", OrderID: "opera-fred-2"}})

	// Maintenance alone expires holds, and trims what is done with.
	held := hold("opera", "amy", 5, 1)
	goCheckout{s}.send(held)
	s.stands("opera", 98, 0, 2, 40_00) // waits until nothing is held
	s.allIn(domain.OrderExpired, []domain.OrderRef{held.Ref()})
	s.trimmed()

	cancelled := one[orderView](s, "orders", "cancel", "opera/opera-fred-2", "--wait")
	outcome(t, cancelled, "cancelled", "requested")
	s.stands("opera", 100, 0, 0, 0)
	s.invoiced("fred", invoiceView{"opera", 40_00, "cancelled"})
	s.audit(gateway)
	program.StopAll(pool...)
}
