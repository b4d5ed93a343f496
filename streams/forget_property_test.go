package streams

import (
	"slices"
	"time"

	"holdfast/domain"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/layout"
)

// forgetAll has all events called off or closed, and then forgotten, whatever became of their orders. What the invoices say then is what the second opinion was
// of these; whatever comes again of all that ever came is done with, and nothing is recorded.
func (m *model) forgetAll() {
	m.Helper()
	m.Do("DEL", m.Keys.Dead(0)) // an event waits for those
	var open []domain.Cancellation
	for r, o := range m.book.Orders {
		if o.Open() {
			open = append(open, domain.Cancellation{Ref: r})
		}
	}
	m.Must(m.ledger.Cancel(m.Ctx, 0, open))
	for id, e := range m.book.Events {
		if !e.Closed {
			_, err := m.events.Close(m.Ctx, id, domain.Cause{})
			m.Must(err)
		}
	}
	m.done()
	longAgo := -24 * time.Hour // an age at which what happened now is over
	for left := 1; left > 0; {
		_, _, _, err := m.ledger.ForgetEvents(m.Ctx, 0, longAgo, 3)
		m.Must(err)
		ids, err := m.events.IDs(m.Ctx, 0)
		m.Must(err)
		left = len(ids) + int(layout.AsInt(m.Do("HLEN", m.Keys.Forgetting(0))))
	}
	lines := make(map[string][]inspect.InvoiceLine)
	for name, o := range m.second.Orders {
		if o.Confirmed > 0 {
			items := itemsOf(o.Lines)
			lines[o.Customer] = append(lines[o.Customer], inspect.InvoiceLine{
				OrderID: name.Order, EventID: name.Event, Quantity: items.Quantity(), Amount: items.Amount(), Currency: o.Currency, ConfirmedAtMillis: o.Confirmed,
				Status: o.State, Archived: true,
			})
		}
	}
	for _, customer := range modelCustomers {
		got, err := m.inspector.Invoices(m.Ctx, customer)
		m.Must(err)
		for _, line := range lines[customer] {
			if !slices.Contains(got, line) {
				m.Fatalf("%s has %+v, want %+v", customer, got, line)
			}
		}
		if len(got) != len(lines[customer]) {
			m.Fatalf("%s has %+v, want %+v", customer, got, lines[customer])
		}
	}
	entries := m.Do("XLEN", m.Keys.Log(0))
	for _, a := range m.arrived {
		if !m.book.Events[a.incoming.Request.EventID].Exists() {
			continue
		}
		replies, _, err := m.ledger.Hold(m.Ctx, 0, []domain.Incoming{a.incoming})
		m.Must(err)
		if replies[0].Verdict != domain.VerdictDone || replies[0].Order != (domain.Order{}) {
			m.Fatalf("%+v: %+v", a.incoming, replies[0])
		}
	}
	if now := m.Do("XLEN", m.Keys.Log(0)); now != entries {
		m.Fatalf("the log has %v entries, it had %v", now, entries)
	}
	m.wantLogFolds()
	m.seen["all is forgotten"]++

	// All is recalled, and is what it was.
	for id, e := range m.book.Events {
		if !e.Exists() {
			continue
		}
		_, err := m.events.Recall(m.Ctx, archivedLog{m.fixture}, id, nil)
		m.Must(err)
	}
	for r, o := range m.book.Orders {
		if got := m.order(r.EventID, r.OrderID); m.book.Events[r.EventID].Exists() && !o.Open() && got != o {
			m.Fatalf("order %s was recalled as %+v, it was %+v", r, got, o)
		}
	}
	m.wantLogFolds()
}
