package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"holdfast/domain"
)

// A worker freezes in the middle of its work, is taken for dead, and wakes up
// when others have finished everything. It believes that it still has entries in
// hand, and answers of the gateway to act upon; nothing may happen twice.
func TestFrozenWorker(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	requests, refs := s.purchases("frozen", 8, 400)
	gateway := startGateway(t, "--latency", "150ms")
	args := []string{"--gateway", gateway, "--reclaim-after", "1s"}
	frozen := s.worker("frozen", args...)
	other := s.worker("other", args...)
	p := s.producer()
	const rounds = 2
	for round := range rounds {
		part := requests[round*len(requests)/rounds : (round+1)*len(requests)/rounds]
		publish(t, p, part[:len(part)/2]...)
		// It may finish what it had in the moment it is looked at.
		eventually(t, soon, "it freezes with work in hand", func() error {
			frozen.signal(syscall.SIGSTOP)
			if n := s.inHand(frozen.name); n > 0 {
				t.Logf("round %d: frozen with %d entries in hand", round, n)
				return nil
			}
			frozen.signal(syscall.SIGCONT)
			return fmt.Errorf("nothing in hand")
		})
		s.drained(soon) // without it, and so after its time
		if n := s.inHand(frozen.name); n != 0 {
			t.Errorf("%d entries are still the frozen worker's", n)
		}
		// It wakes up into new work, and works on.
		publish(t, p, part[len(part)/2:]...)
		frozen.signal(syscall.SIGCONT)
		s.drained(soon)
	}
	frozen.alive()
	other.alive()
	s.allIn(domain.OrderConfirmed, refs)
	paidOnce(t, gateway, refs)
	s.audit(gateway)
	// It is of use again: alone, it serves whoever comes.
	other.stop(endTime)
	more, moreRefs := s.purchases("awake", 1, 20)
	publish(t, p, more...)
	s.drained(soon)
	s.allIn(domain.OrderConfirmed, moreRefs)
	paidOnce(t, gateway, append(refs, moreRefs...))
	s.audit(gateway)
	frozen.stop(endTime)
}

// The same, but the hold of what it has in hand has run out in the meantime: its
// payments are approved late, and given back.
func TestFrozenWorkerWithExpiredHolds(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	requests, refs := s.purchases("late", 4, 100)
	gateway := startGateway(t, "--latency", "300ms")
	frozen := s.worker("frozen", "--gateway", gateway, "--reclaim-after", "30s", "--hold-time", "1s", "--roles", "purchase")
	publish(t, s.producer(), requests...)
	eventually(t, soon, "it has orders in hand that are held", func() error {
		if n := s.held(refs); n < 10 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	frozen.signal(syscall.SIGSTOP)
	other := s.worker("other", "--gateway", gateway, "--roles", "posting,settlement,maintenance")
	eventually(t, soon, "the holds expire", func() error {
		if n := s.held(refs); n > 0 {
			return fmt.Errorf("%d orders are held", n)
		}
		return nil
	})
	frozen.signal(syscall.SIGCONT)
	s.drained(soon)
	outcomes := make(map[domain.OrderState]int)
	lines := ledger(t, gateway)
	for i, o := range s.orders(refs) {
		outcomes[o.State]++
		l := lines[refs[i]]
		if o.State == domain.OrderExpired && (l.Status != domain.PaymentStatusVoided || l.Captures != 0) {
			t.Errorf("%s is expired, the gateway says %+v", refs[i], l)
		}
	}
	t.Logf("%v", outcomes)
	if outcomes[domain.OrderExpired] == 0 {
		t.Error("nothing expired: that was no test")
	}
	s.audit(gateway)
	stopAll(frozen, other)
}

// held is how many of the orders are held.
func (s *system) held(refs []domain.OrderRef) (n int) {
	s.t.Helper()
	for _, o := range s.orders(refs) {
		if o.State == domain.OrderHeld {
			n++
		}
	}
	return n
}
