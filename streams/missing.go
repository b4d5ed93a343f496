package streams

import (
	"context"

	"holdfast/domain"
)

// Missing looks at an order of which facts were lost that the archive has, and says what is to become of it. With apply it makes it so, in one step, if
// the order and what it is decided by are then still as they were read; else it is decided again. The error wraps domain.ErrDataReplaced if the
// partition has not the branch any more on which it was found what was lost.
func (s *Store) Missing(ctx context.Context, branch string, ref domain.OrderRef, c domain.Restore, apply bool) (domain.Missing, error) {
	return (&Ledger{s, func(int) string { return branch }}).missing(ctx, ref, c, apply)
}

func (l *Ledger) missing(ctx context.Context, ref domain.OrderRef, c domain.Restore, apply bool) (domain.Missing, error) {
	p := l.Partition(ref.EventID)
	orders, now, err := l.read(ctx, p, []domain.OrderRef{ref})
	if err != nil {
		return domain.Missing{}, err
	}
	m := newMovement(l.store.keys.Log(p), "", 1)
	m.now = now
	m.add("", ref, orders[0])
	// What is taken is compared with what there is: an order a call.
	m.look = func([]int) error { return l.lookForMissing(ctx, p, m, c) }
	var found domain.Missing
	m.decide = func(i int, o domain.Order, now int64) (fact *domain.Fact, verdict domain.Verdict) {
		found, fact = c.Find(m.view(i, o), ref, now)
		return fact, domain.VerdictDone
	}
	if apply {
		_, err = l.moveAll(ctx, p, m)
		return found, err
	}
	if err := m.look(nil); err != nil {
		return domain.Missing{}, err
	}
	m.decide(0, orders[0], now)
	return found, nil
}

// lookForMissing reads the event of the one order of a movement, how many places the customer has of it who had the order, and which order they have in
// progress.
func (l *Ledger) lookForMissing(ctx context.Context, p int, m *movement, c domain.Restore) error {
	ref := m.refs[0]
	found, err := l.store.Inside().Event(ctx, ref.EventID)
	if err != nil {
		return err
	}
	m.events, m.terms, m.places, m.progress = map[string]domain.Event{ref.EventID: found.Event}, make(map[string]int64), make(map[int]int64), make(map[int]string)
	if !found.Exists() {
		return nil
	}
	m.terms[ref.EventID] = found.Version
	return l.lookAtCustomer(ctx, p, m, 0, found.Event, c.Customer(m.orders[0]))
}
