package streams

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// movement is a batch of orders that are to be changed as is decided here, and by move.lua if they are
// then still as they were read. If one is not, nothing has changed, and what it is now is decided about.
type movement struct {
	source  string // stream of the entries
	group   domain.Group
	entries []string // to acknowledge; "" for none
	refs    []domain.OrderRef
	orders  []domain.Order // as they were read
	now     int64          // Redis's time, as far as is known; 0 if it is not
	strays  bool           // the orders are among the holds, and those that are not held shall not be

	// decide is what becomes of an order that is so, at that time. A fact is made; without one, the entry
	// is acknowledged if the verdict is VerdictDone.
	decide func(i int, o domain.Order, nowMillis int64) (*domain.Fact, domain.Verdict)
	// terms, if not nil, reads the event that all the orders are of, before it is decided: its terms must still be so then.
	terms func() (eventID string, version int64, err error)

	replies []domain.Reply
}

func (m *movement) add(entryID string, ref domain.OrderRef, o domain.Order) {
	m.entries, m.refs, m.orders = append(m.entries, entryID), append(m.refs, ref), append(m.orders, o)
}

// mostMoves bounds how often it is tried to change an order that others keep changing.
const mostMoves = 20

// moveAll makes a movement, and fills in its replies. It returns Redis's time.
func (l *Ledger) moveAll(ctx context.Context, p int, m *movement) (now int64, err error) {
	m.replies = make([]domain.Reply, len(m.refs))
	all := make([]int, len(m.refs))
	for i := range all {
		all[i] = i
	}
	latest := make(map[domain.OrderRef]domain.Order) // of orders that are in several waves
	inWaves := waves(all, func(i int) domain.OrderRef { return m.refs[i] })
	for n, wave := range inWaves {
		for _, i := range wave {
			if o, changed := latest[m.refs[i]]; changed {
				m.orders[i] = o
			}
		}
		for chunk := range slices.Chunk(wave, access.MaxBatch) {
			if err := l.moveSome(ctx, p, m, chunk); err != nil {
				return 0, err
			}
		}
		if n+1 < len(inWaves) {
			for _, i := range wave {
				latest[m.refs[i]] = m.replies[i].Order
			}
		}
	}
	return m.now, nil
}

// moveSome makes a part of a movement, each order of which is another one. Under a storm of changes it
// falls apart into ever smaller ones, so that no order keeps all others from being changed.
func (l *Ledger) moveSome(ctx context.Context, p int, m *movement, part []int) error {
	for tries := 1; ; tries++ {
		done, err := l.moveOnce(ctx, p, m, part)
		if err != nil || done {
			return err
		}
		if tries < 2 || len(part) == 1 && tries < mostMoves {
			continue
		}
		if len(part) == 1 {
			return domain.WithCode(domain.ClassRetry, domain.CodeConflict, fmt.Errorf("order %s: changed by others %d times in a row", m.refs[part[0]], tries))
		}
		if err := l.moveSome(ctx, p, m, part[:len(part)/2]); err != nil {
			return err
		}
		return l.moveSome(ctx, p, m, part[len(part)/2:])
	}
}

// decided is one order of a call of move.lua.
type decided struct {
	i    int // in the movement
	fact *domain.Fact
	next domain.Order
	domain.Effect
	bound string // "from" or "before": when the fact may happen, by the order's deadline
	hash  int    // the number of the hash that the order is in
}

// moveOnce decides, and calls the script. done is false if an order was not as it was taken to be: now it is.
func (l *Ledger) moveOnce(ctx context.Context, p int, m *movement, part []int) (done bool, err error) {
	var eventID string
	var version int64
	if m.terms != nil {
		if eventID, version, err = m.terms(); err != nil {
			return false, err
		}
	}
	var list []decided
	for _, i := range part {
		o := m.orders[i]
		fact, verdict := m.decide(i, o, m.now)
		m.replies[i] = domain.Reply{Verdict: verdict, Order: o}
		d := decided{i: i, fact: fact, next: o}
		switch {
		case fact != nil:
			if d.next, d.Effect, err = o.After(*fact); err != nil {
				return false, domain.WithClass(domain.ClassPoison, fmt.Errorf("order %s: %w", m.refs[i], err))
			}
			switch fact.Type { //nolint:exhaustive // the others may happen at any time
			case domain.FactConfirmed:
				d.bound = "before"
			case domain.FactExpired:
				d.bound = "from"
			}
		case verdict == domain.VerdictDone && m.entries[i] != "":
		case m.strays && o.State != domain.OrderHeld:
			d.EndsHold = true
		default:
			continue // nothing is to be written
		}
		list = append(list, d)
	}
	if len(list) == 0 {
		return true, nil
	}
	c, facts := l.moveCall(p, m, list, eventID, version)
	reply, err := l.store.run(ctx, scriptMove, c.keys, c.args...).Slice()
	if err != nil {
		return false, fmt.Errorf("script move: %w", access.Classify(err))
	}
	if len(reply) == 0 {
		return false, fmt.Errorf("script move: a reply of an unknown form")
	}
	m.now = layout.AsInt(reply[0])
	if len(reply) > 1 {
		switch layout.AsString(reply[1]) {
		case "terms":
			return false, nil
		case "stale":
			return false, m.learn(list, reply[2:])
		}
	}
	return true, m.happened(list, facts, reply[1:])
}

// rank brings the facts of one type together; orders without a fact come last.
func (d *decided) rank() int {
	if d.fact == nil {
		return len(factTypes)
	}
	return slices.Index(factTypes[:], d.fact.Type)
}

// factTypes are those of a movement.
var factTypes = [...]domain.FactType{domain.FactConfirmed, domain.FactDeclined, domain.FactExpired, domain.FactCancelled, domain.FactRejected}

// learn takes over what orders are now.
func (m *movement) learn(list []decided, stale []any) error {
	for j := 0; j+1 < len(stale); j += 2 {
		at := layout.AsInt(stale[j]) - 1
		if at < 0 || int(at) >= len(list) {
			return fmt.Errorf("script move: a reply of an unknown form")
		}
		i := list[at].i
		o, err := layout.DecodeOrder(layout.AsString(stale[j+1]))
		if err != nil {
			return fmt.Errorf("order %s: %w", m.refs[i], err)
		}
		m.orders[i] = o
	}
	return nil
}

// happened fills in what orders are now that their facts are in the log, under these ids: so many of each type.
func (m *movement) happened(list []decided, facts []int, ids []any) error {
	at := 0
	for _, count := range facts {
		for n := range count {
			entry := n / wire.MaxFacts
			if entry >= len(ids) {
				return fmt.Errorf("script move: %d entries are too few", len(ids))
			}
			d := list[at+n]
			d.fact.ID, d.fact.AtMillis = layout.AsString(ids[entry]), m.now
			next, _, err := m.orders[d.i].After(*d.fact)
			if err != nil {
				return domain.WithClass(domain.ClassPoison, fmt.Errorf("order %s: %w", m.refs[d.i], err))
			}
			m.replies[d.i].Order = next
		}
		at += count
		ids = ids[min((count+wire.MaxFacts-1)/wire.MaxFacts, len(ids)):]
	}
	return nil
}

// moveCall lays KEYS and ARGV of move.lua out, and sorts the list as they stand there. It returns how many facts
// there are of each type, in their order.
func (l *Ledger) moveCall(p int, m *movement, list []decided, eventID string, version int64) (c orderCall, facts []int) {
	c = l.newOrderCall(p, m.source, m.group, len(list))
	for i := range list {
		list[i].hash = c.hash(m.refs[list[i].i])
	}
	slices.SortStableFunc(list, func(a, b decided) int { return cmp.Or(a.rank()-b.rank(), a.hash-b.hash) })

	sections, sales := make(map[sectionOf]*domain.Effect, 8), make(map[string]*layout.Totals, 8)
	var groups []any
	inGroup := 0
	orders := make([]any, 0, 7*len(list))
	for n := range list {
		d := &list[n]
		ref, was := m.refs[d.i], &m.orders[d.i]
		var fact domain.FactType
		line, tail, freed := "", "", ""
		if d.fact != nil {
			fact = d.fact.Type
			line, tail = wire.FactLine(*d.fact)[len(ref.EventID)+1+len(ref.OrderID):], layout.OrderTail(d.next)
		}
		switch {
		case d.EndsHold && d.fact == nil:
			freed = noCustomer
		case d.EndsHold:
			freed = ref.EventID + "/" + was.CustomerID
		}
		if d.Effect != (domain.Effect{}) && d.fact != nil {
			of := sectionOf{ref.EventID, was.Section}
			sum := sections[of]
			if sum == nil {
				sum = new(domain.Effect)
				sections[of] = sum
			}
			sum.Available, sum.Held, sum.Sold = sum.Available+d.Available, sum.Held+d.Held, sum.Sold+d.Sold
		}
		if d.Sold != 0 {
			sum := sales[ref.EventID]
			if sum == nil {
				sum = new(layout.Totals)
				sales[ref.EventID] = sum
			}
			sign := int64(1)
			if d.Sold < 0 {
				sign = -1
			}
			sum.Orders, sum.TicketsSold, sum.Revenue = sum.Orders+sign, sum.TicketsSold+d.Sold, sum.Revenue+sign*was.Amount()
		}
		if n == 0 || list[n-1].rank() != d.rank() || list[n-1].hash != d.hash {
			groups = append(groups, string(fact), d.bound, strconv.Itoa(d.hash), "")
			inGroup = 0
		}
		inGroup++
		groups[len(groups)-1] = strconv.Itoa(inGroup)
		if n == 0 || list[n-1].rank() != d.rank() {
			facts = append(facts, 0)
		}
		facts[len(facts)-1]++
		limit := ""
		if d.bound != "" {
			limit = strconv.FormatInt(was.DeadlineMillis, 10)
		}
		orders = append(orders, ref.String(), was.Version, m.entries[d.i], limit, freed, line, tail)
	}
	if list[len(list)-1].fact == nil {
		facts = facts[:len(facts)-1]
	}
	events := 0
	if m.terms != nil {
		events = 1
	}
	rest := append(make([]any, 0, 7+4*len(sections)+4*len(sales)+len(groups)+len(orders)), events, len(sections), len(sales), len(groups)/4, len(list))
	if m.terms != nil {
		rest = append(rest, eventID, version)
	}
	for of, sum := range sections {
		rest = append(rest, layout.SectionField(of.event, of.name), sum.Available, sum.Held, sum.Sold)
	}
	for event, sum := range sales {
		rest = append(rest, event, sum.Orders, sum.TicketsSold, sum.Revenue)
	}
	c.finish(append(append(rest, groups...), orders...))
	return c, facts
}

// noCustomer is a field of in_progress that never exists.
const noCustomer = "#"
