package archive

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// state is what a chain folds to, most of which stays where it is: in the snapshot that it is begun with. In memory is what the entries behind that
// look at, so it takes the more memory the further the snapshot is back, and not the more orders there are.
type state struct {
	base    *snapshot // nil: the chain is folded from its start, and all is in memory
	touched touched
	book    *domain.Snapshot // what is touched, and all events
	facts   int              // that it was folded of
}

// newState is that before the first entry.
func newState() *state { return &state{touched: newTouched(), book: domain.NewSnapshot()} }

// from begins with a snapshot: of it, what the facts that facts calls its function for look at is read. An error says that it cannot be read, as
// snapshot.each does, or is that of facts.
func (st *state) from(ctx context.Context, r *Reader, s *snapshot, facts func(each func(domain.Fact)) error) error {
	*st = state{base: s, touched: newTouched(), book: domain.NewSnapshot(), facts: s.head.Facts}
	if err := facts(st.touched.note); err != nil {
		return err
	}
	var customers []string // the pieces that tell what customers have
	at, early := 0, 0      // the next piece; and how many of customers were read before it was known whose orders are touched
	if err := s.each(ctx, r, func(part *domain.Snapshot) error {
		if st.touched.takeOrders(st.book, part) {
			early = len(customers)
		}
		if len(part.InProgress)+len(part.Places) > 0 {
			customers = append(customers, s.head.Pieces[at])
			st.touched.takeCustomers(st.book, part)
		}
		at++
		return nil
	}); err != nil {
		return err
	}
	for _, hash := range customers[:early] {
		part, err := s.piece(ctx, r, hash)
		if err != nil {
			return err
		}
		st.touched.takeCustomers(st.book, part)
	}
	return nil
}

// fold folds the next entry.
func (st *state) fold(e domain.Entry) (facts int, err error) {
	facts, err = foldEntry(st.book, e, "", false, nil)
	st.facts += facts
	return facts, err
}

// each calls do with the whole state, a part at a time, those with the events first. What was in memory of it stays there.
func (st *state) each(ctx context.Context, r *Reader, do func(part *domain.Snapshot) error) error {
	if err := parts(st.book, do); err != nil || st.base == nil {
		return err
	}
	return st.base.each(ctx, r, func(part *domain.Snapshot) error {
		st.touched.leaveOut(part)
		return do(part)
	})
}

// touched is what of a state some facts look at, or change, beside events, what of them was asked for in vain, and codes, which are all looked at.
type touched struct {
	orders    map[domain.OrderRef]bool
	customers map[string]map[string]bool // by event
	events    map[string]bool            // with all that is of them, lines of invoices too: they are forgotten, or recalled
}

func newTouched() touched {
	return touched{make(map[domain.OrderRef]bool), make(map[string]map[string]bool), make(map[string]bool)}
}

// note notes what a fact looks at, but for the customer of an order whose fact does not name him.
func (t touched) note(f domain.Fact) {
	switch {
	case f.Type == domain.FactEventForgotten, f.Type == domain.FactOrderRecalled, f.Type == domain.FactEventRecalled:
		t.events[f.EventID] = true
	case f.OrderID != "":
		t.orders[f.Ref()] = true
		t.customer(f.EventID, f.CustomerID)
	}
}

// customer reports whether he was not touched before.
func (t touched) customer(eventID, customerID string) bool {
	if customerID == "" || t.customers[eventID][customerID] {
		return false
	}
	within(t.customers, eventID)[customerID] = true
	return true
}

func (t touched) hasOrder(ref domain.OrderRef) bool { return t.events[ref.EventID] || t.orders[ref] }

func (t touched) hasCustomer(eventID, customerID string) bool {
	return t.events[eventID] || t.customers[eventID][customerID]
}

// takeOrders puts what is touched of a part into a book, but for what customers have, and reports whether more of them are touched then.
func (t touched) takeOrders(book, part *domain.Snapshot) (more bool) {
	maps.Copy(book.Events, part.Events)
	maps.Copy(book.Refused, part.Refused)
	for ref, o := range part.Orders {
		if !t.hasOrder(ref) {
			continue
		}
		book.Orders[ref] = o
		if part.Early[ref] {
			book.Early[ref] = true
		}
		more = t.customer(ref.EventID, o.CustomerID) || more
	}
	for ref, line := range part.Lines {
		if t.events[ref.EventID] {
			book.Lines[ref] = line
		}
	}
	return more
}

// takeCustomers puts what customers have who are touched into a book.
func (t touched) takeCustomers(book, part *domain.Snapshot) {
	for id, of := range part.InProgress {
		for customer, order := range of {
			if t.hasCustomer(id, customer) {
				within(book.InProgress, id)[customer] = order
			}
		}
	}
	for id, of := range part.Places {
		for customer, places := range of {
			if t.hasCustomer(id, customer) {
				within(book.Places, id)[customer] = places
			}
		}
	}
}

// leaveOut leaves of a part what is not touched.
func (t touched) leaveOut(part *domain.Snapshot) {
	clear(part.Events)
	clear(part.Refused)
	maps.DeleteFunc(part.Orders, func(ref domain.OrderRef, _ domain.Order) bool { return t.hasOrder(ref) })
	maps.DeleteFunc(part.Early, func(ref domain.OrderRef, _ bool) bool { return t.hasOrder(ref) })
	maps.DeleteFunc(part.Lines, func(ref domain.OrderRef, _ domain.Line) bool { return t.events[ref.EventID] })
	for id, of := range part.InProgress {
		maps.DeleteFunc(of, func(customer, _ string) bool { return t.hasCustomer(id, customer) })
	}
	for id, of := range part.Places {
		maps.DeleteFunc(of, func(customer string, _ int64) bool { return t.hasCustomer(id, customer) })
	}
}

// factsOf calls each for the facts of entries.
func factsOf(entries []domain.Entry, each func(domain.Fact)) error {
	for _, e := range entries {
		facts, err := wire.ParseFacts(e.ID, e.Fields)
		if err != nil {
			return domain.WithClass(domain.ClassPoison, err)
		}
		for _, f := range facts {
			each(f)
		}
	}
	return nil
}

// tally is by what two states are compared of which neither is in memory: the sums, over all that they consist of, of two hashes of each value with what it is
// of. The hashes are of this process alone, so that nobody can make two states that are told for one.
type tally struct {
	values int
	sums   [2]uint64
}

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// element is something that a state consists of.
type element[K, V comparable] struct {
	of    string // which part of the state
	key   K
	value V
}

func (t *tally) add(part *domain.Snapshot) {
	for id, e := range part.Events {
		count(t, "event", id, fmt.Sprintf("%+v", e))
	}
	for ref, o := range part.Orders {
		count(t, "order", ref, o)
	}
	for what, places := range part.Refused {
		count(t, "refused", what, places)
	}
	for ref, early := range part.Early {
		count(t, "early", ref, early)
	}
	for ref, line := range part.Lines {
		count(t, "line", ref, line)
	}
	for id, of := range part.InProgress {
		for customer, order := range of {
			count(t, "in progress", [2]string{id, customer}, order)
		}
	}
	for id, of := range part.Places {
		for customer, places := range of {
			count(t, "places", [2]string{id, customer}, places)
		}
	}
}

func count[K, V comparable](t *tally, of string, key K, value V) {
	t.values++
	for i, seed := range seeds {
		t.sums[i] += maphash.Comparable(seed, element[K, V]{of, key, value})
	}
}
