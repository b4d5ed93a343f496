package streams

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"holdfast/domain"
	"holdfast/domain/seats"
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
	orders  []domain.Order          // as they were read; where an order stands first, what it is as far as is known
	stands  []int                   // by place: where its order stands first
	first   map[domain.OrderRef]int // likewise
	acks    []string                // entries that the next call acknowledges
	now     int64                   // Redis's time, as far as is known; 0 if it is not
	strays  bool                    // the orders are among the holds, and those that are not held shall not be

	// decide is what becomes of an order that is so, at that time. A fact is made; without one, the entry
	// is acknowledged if the verdict is VerdictDone.
	decide func(i int, o domain.Order, nowMillis int64) (*domain.Fact, domain.Verdict)
	// look, if not nil, reads what else is decided by about a part of the orders, and sets terms: the version that those of an event must
	// still have then.
	look  func(part []int) error
	terms map[string]int64
	// exchanges, if not nil, reports whether an order may take other places. It is then alone in its call, so that what it takes is
	// compared with what there is, and not with what others give in the same step.
	exchanges func(i int) bool
	events    map[string]domain.Event // what it is decided by
	places    map[int]int64           // likewise: domain.View.Places
	progress  map[int]string          // likewise: domain.View.InProgress
	over      map[string]string       // by event: domain.Event.Over, of those that were found to be forgotten

	replies []domain.Reply
}

// newMovement is one that has room for so many orders.
func newMovement(source string, group domain.Group, size int) *movement {
	return &movement{
		source: source, group: group, first: make(map[domain.OrderRef]int, size),
		entries: make([]string, 0, size), refs: make([]domain.OrderRef, 0, size), orders: make([]domain.Order, 0, size),
		stands: make([]int, 0, size), replies: make([]domain.Reply, 0, size),
	}
}

func (m *movement) add(entryID string, ref domain.OrderRef, o domain.Order) {
	place, again := m.first[ref]
	if !again {
		place = len(m.refs)
		m.first[ref] = place
	}
	m.entries, m.refs, m.orders, m.stands, m.replies = append(m.entries, entryID), append(m.refs, ref), append(m.orders, o), append(m.stands, place), append(m.replies, domain.Reply{})
}

// indexes are those of the orders.
func (m *movement) indexes() []int {
	all := make([]int, len(m.refs))
	for i := range all {
		all[i] = i
	}
	return all
}

// view is what it is decided by about an order that is so.
func (m *movement) view(i int, o domain.Order) domain.View {
	e := m.events[m.refs[i].EventID]
	if by, over := m.over[m.refs[i].EventID]; over {
		e = domain.Event{Over: by}
	}
	return domain.View{Event: e, Order: o, Places: m.places[i], InProgress: m.progress[i]}
}

// isOver notes that an event was forgotten, by which log entry.
func (m *movement) isOver(eventID, by string) {
	if m.over == nil {
		m.over = make(map[string]string)
	}
	m.over[eventID] = by
}

// order is what the order at a position is, as far as is known: one that is asked for several times is decided about by what its first
// place says.
func (m *movement) order(i int) *domain.Order { return &m.orders[m.stands[i]] }

// mostMoves bounds how often it is tried to change an order that others keep changing.
const mostMoves = 20

// moveAll makes a movement, and fills in its replies. It returns Redis's time. An order may be in it several
// times: what comes behind a fact about it is decided when that has happened. So there are as many rounds as there can be
// facts about an order, however often it is asked for.
func (l *Ledger) moveAll(ctx context.Context, p int, m *movement) (now int64, err error) {
	todo := m.indexes()
	for len(todo) > 0 {
		var later []int
		for chunk := range slices.Chunk(todo, access.MaxBatch) {
			if later, err = l.moveSome(ctx, p, m, chunk, later); err != nil {
				return 0, err
			}
		}
		todo = later
	}
	return m.now, nil
}

// exchange reports whether any of a part may take other places.
func (m *movement) exchange(part []int) bool {
	return m.exchanges != nil && slices.ContainsFunc(part, m.exchanges)
}

// behind takes out of a part what waits for what is later, and adds it to that: what is asked for of one order is decided in turn, and what may
// take other places behind everything that was asked for before it, which may free them.
func (m *movement) behind(part, later []int) (now, then []int) {
	if len(later) == 0 {
		return part, later
	}
	waits := make(map[int]bool, len(later)) // by where they stand first
	for _, i := range later {
		waits[m.stands[i]] = true
	}
	all := m.exchange(later)
	now = make([]int, 0, len(part))
	for n, i := range part {
		if all = all || m.exchange(part[n:n+1]); all || waits[m.stands[i]] {
			later = append(later, i)
		} else {
			now = append(now, i)
		}
	}
	return now, later
}

// moveSome makes a part of a movement, and adds to later what must come after it. Under a storm of changes it
// falls apart into ever smaller ones, so that no order keeps all others from being changed.
func (l *Ledger) moveSome(ctx context.Context, p int, m *movement, part, later []int) ([]int, error) {
	if part, later = m.behind(part, later); len(part) == 0 {
		return later, nil
	}
	for tries := 1; ; tries++ {
		if len(part) > 1 && (m.tooLarge(part) || m.exchange(part)) {
			break
		}
		rest, done, err := l.moveOnce(ctx, p, m, part)
		if err != nil || done {
			return append(later, rest...), err
		}
		if tries < 2 || len(part) == 1 && tries < mostMoves {
			continue
		}
		if len(part) == 1 {
			return nil, domain.WithCode(domain.ClassRetry, domain.CodeConflict, fmt.Errorf("order %s: changed by others %d times in a row", m.refs[part[0]], tries))
		}
		break
	}
	later, err := l.moveSome(ctx, p, m, part[:len(part)/2], later)
	if err != nil {
		return nil, err
	}
	return l.moveSome(ctx, p, m, part[len(part)/2:], later)
}

// tooLarge reports whether a part of a movement has more items, seats or seated sections than come into a call.
func (m *movement) tooLarge(part []int) bool {
	items, taken, layouts := 0, int64(0), make(map[sectionOf]struct{})
	for _, i := range part {
		for item := range m.order(i).Items.All() {
			if items++; item.Places != "" {
				taken += item.Quantity
				layouts[sectionOf{m.refs[i].EventID, item.Section}] = struct{}{}
			}
		}
	}
	return items > mostItems || taken > mostSeats || len(layouts) > mostLayouts
}

// decided is one order of a call of move.lua.
type decided struct {
	i    int // where in the movement the fact, if there is one, was asked for; else the first place
	was  domain.Order
	fact *domain.Fact
	next domain.Order
	domain.Effect
	bound string // "from", "before", "anew" or "hold": when the fact may happen, by the limit; see move.lua
	limit int64  // milliseconds
	hash  int    // the number of the hash that the order is in
	acked bool   // an entry of it is acknowledged
}

// take notes what becomes of an order at a position. It reports false if that must wait for what becomes of it before.
func (d *decided) take(m *movement, i int) (bool, error) {
	if d.fact != nil {
		return false, nil
	}
	fact, verdict := m.decide(i, d.was, m.now)
	m.replies[i] = domain.Reply{Verdict: verdict, Order: d.was}
	if fact != nil {
		next, effect, err := d.was.After(*fact)
		if err != nil {
			return false, domain.WithClass(domain.ClassPoison, fmt.Errorf("order %s: %w", m.refs[i], err))
		}
		d.i, d.fact, d.next, d.Effect = i, fact, next, effect
		d.limit = d.was.PayableUntilMillis()
		switch fact.Type { //nolint:exhaustive // the others may happen at any time
		case domain.FactConfirmed, domain.FactPaying, domain.FactActionRequired, domain.FactExtended:
			d.bound = "before"
			if d.Taken != "" { // it lapsed, and is held again
				d.bound = "anew"
				d.onSale(m.events[m.refs[i].EventID])
			}
		case domain.FactRestored:
			if d.next.State == domain.OrderHeld {
				d.bound, d.limit = "hold", d.next.DeadlineMillis
			}
		case domain.FactReduced, domain.FactChanged, domain.FactChangeRefused:
			if d.was.State == domain.OrderHeld {
				d.bound = "before"
			}
		case domain.FactLapsed:
			d.bound = "from"
		case domain.FactExpired:
			switch fact.Reason {
			case "":
				d.bound = "from"
			case domain.ReasonNotOnSale:
			default: // why an order that lapsed does not get its places again, while it could
				d.bound = "before"
				d.onSale(m.events[m.refs[i].EventID])
			}
		}
	} else if m.strays && !d.was.Open() {
		d.EndsHold = true
	}
	if verdict == domain.VerdictDone && m.entries[i] != "" { // with any other there is more to be done first: a void, for one
		m.acks, d.acked = append(m.acks, m.entries[i]), true
	}
	return true, nil
}

// onSale bounds a fact by the end of the sale of the order's places, too.
func (d *decided) onSale(e domain.Event) {
	if until := e.OffSaleOf(d.was.Items); until > 0 {
		d.limit = min(d.limit, until)
	}
}

// moveOnce decides, and calls the script. It returns what must come after it. done is false if an order was not as it
// was taken to be: now it is.
func (l *Ledger) moveOnce(ctx context.Context, p int, m *movement, part []int) (rest []int, done bool, err error) {
	if m.look != nil {
		if err := m.look(part); err != nil {
			return nil, false, err
		}
	}
	m.acks = make([]string, 0, len(part))
	rows, of := make([]decided, 0, len(part)), make(map[int]int, len(part)) // by where an order stands first
	for _, i := range part {
		row, known := of[m.stands[i]]
		if !known {
			row = len(rows)
			of[m.stands[i]] = row
			o := *m.order(i)
			rows = append(rows, decided{i: i, was: o, next: o})
		}
		taken, err := rows[row].take(m, i)
		if err != nil {
			return nil, false, err
		}
		if !taken {
			rest = append(rest, i)
		}
	}
	list, refs := make([]*decided, 0, len(rows)), make([]domain.OrderRef, 0, len(rows))
	for j := range rows {
		if d := &rows[j]; d.fact != nil || d.EndsHold || d.acked { // else nothing is to be written
			list, refs = append(list, d), append(refs, m.refs[d.i])
		}
	}
	if len(list) == 0 {
		return rest, true, nil
	}
	if err := l.store.Inside().LearnHashes(ctx, refs, false); err != nil {
		return nil, false, err
	}
	c, facts := l.moveCall(p, m, list)
	reply, err := l.store.run(ctx, scriptMove, c.keys, c.args...).Slice()
	if err != nil {
		return nil, false, fmt.Errorf("script move: %w", access.Classify(err))
	}
	if len(reply) == 0 {
		return nil, false, fmt.Errorf("script move: a reply of an unknown form")
	}
	m.now = layout.AsInt(reply[0])
	if len(reply) > 1 {
		switch layout.AsString(reply[1]) {
		case "branch":
			return nil, false, fmt.Errorf("script move: %w", l.store.branchReplaced(p, l.branch(p)))
		case "terms", "taken":
			return nil, false, nil
		case "over":
			m.isOver(layout.AsString(reply[2]), layout.AsString(reply[3]))
			return nil, false, nil
		case "stale":
			return nil, false, m.learn(list, reply[2:])
		}
	}
	return rest, true, m.happened(list, facts, reply[1:])
}

// rank brings the facts of one type together; orders without a fact come last.
func (d *decided) rank() int {
	if d.fact == nil {
		return len(factTypes)
	}
	return slices.Index(factTypes[:], d.fact.Type)
}

// factTypes are those of a movement.
var factTypes = [...]domain.FactType{domain.FactConfirmed, domain.FactDeclined, domain.FactExpired, domain.FactLapsed, domain.FactCancelled, domain.FactRejected, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactReduced, domain.FactChanged, domain.FactChangeRefused, domain.FactRefundGranted, domain.FactPaymentDisputed, domain.FactRestored}

// learn takes over what orders are now.
func (m *movement) learn(list []*decided, stale []any) error {
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
		m.orders[m.stands[i]] = o
	}
	return nil
}

// happened fills in what orders are now that their facts are in the log, under these ids: so many of each type.
func (m *movement) happened(list []*decided, facts []int, ids []any) error {
	at := 0
	for _, count := range facts {
		for n := range count {
			entry := n / wire.MaxFacts
			if entry >= len(ids) {
				return fmt.Errorf("script move: %d entries are too few", len(ids))
			}
			d := list[at+n]
			d.fact.ID, d.fact.AtMillis = layout.AsString(ids[entry]), m.now
			next, _, err := d.was.After(*d.fact)
			if err != nil {
				return domain.WithClass(domain.ClassPoison, fmt.Errorf("order %s: %w", m.refs[d.i], err))
			}
			m.replies[d.i].Order, m.orders[m.stands[d.i]] = next, next
		}
		at += count
		ids = ids[min((count+wire.MaxFacts-1)/wire.MaxFacts, len(ids)):]
	}
	return nil
}

// moveCall lays KEYS and ARGV of move.lua out, and sorts the list as they stand there. It returns how many facts
// there are of each type, in their order.
func (l *Ledger) moveCall(p int, m *movement, list []*decided) (c orderCall, facts []int) {
	c = l.newOrderCall(p, m.source, m.group, len(list))
	for i := range list {
		list[i].hash = c.hash(m.refs[list[i].i])
	}
	slices.SortStableFunc(list, func(a, b *decided) int {
		return cmp.Or(a.rank()-b.rank(), cmp.Compare(a.bound, b.bound), cmp.Compare(a.awaits(), b.awaits()), a.hash-b.hash)
	})

	sections, sales := make(map[sectionOf]*domain.Effect, 8), make(map[string]*layout.Totals, 8)
	seated := make(map[seatsMoved][]string)  // their places, order by order
	codes := make(map[codeOf]int64)          // access codes that are used by fewer orders
	customers := make(map[customerOf]int64)  // places that they have no more, of events that count them
	events := newArgList(2 + 2*len(m.terms)) // event_id, version
	for eventID, version := range m.terms {
		events.text(eventID)
		events.number(version)
	}
	compared := make(map[string]bool) // events of which orders are changed that are not held any more, or not there
	for eventID := range m.terms {
		compared[eventID] = true
	}
	var groups []orderGroup
	awaited := int64(0) // of the orders that change
	orders, acks := newArgList(6*len(list)), newArgList(len(m.acks))
	acks.text(m.acks...)
	for n := range list {
		d := list[n]
		ref, was := m.refs[d.i], &d.was
		if d.fact != nil && !compared[ref.EventID] {
			// Once it is listed, its orders may be in other hashes than the one that is looked into.
			if _, listed := l.store.hashes.Of(ref.EventID); !listed {
				compared[ref.EventID] = true
				events.text(ref.EventID, "")
			} else if !was.Open() { // of an event that is forgotten no order is open
				compared[ref.EventID] = true
				events.text(ref.EventID, "*")
			}
		}
		for _, by := range d.Each() {
			for item := range by.Items.All() { // none, if nothing is moved
				of := sectionOf{ref.EventID, item.Section}
				sum := sections[of]
				if sum == nil {
					sum = new(domain.Effect)
					sections[of] = sum
				}
				n := item.Quantity
				sum.Available, sum.Held, sum.Sold = sum.Available+by.Available*n, sum.Held+by.Held*n, sum.Sold+by.Sold*n
				if item.Places != "" {
					from, to := by.Marks(item.Free())
					of.name, _ = domain.SplitPool(item.Section)
					as := seatsMoved{of, from, to}
					seated[as] = append(seated[as], item.Places)
				}
			}
		}
		if d.awaits() != "" {
			awaited++
		}
		if d.Code != "" {
			codes[codeOf{ref.EventID, d.Code}] -= d.Uses
		}
		if d.fact != nil && d.fact.Type == domain.FactChanged {
			m.guard(seated, ref.EventID, &d.Effect)
		}
		if n := d.Places(); d.Available > 0 && n != 0 && l.store.hashes.Limited(ref.EventID) {
			customer := cmp.Or(was.CustomerID, d.next.CustomerID)
			customers[customerOf{c.customers(ref.EventID, customer), ref.EventID, customer}] += n
		}
		if d.Sold != 0 {
			sum := sales[ref.EventID]
			if sum == nil {
				sum = new(layout.Totals)
				sales[ref.EventID] = sum
			}
			switch confirmed := d.next.State == domain.OrderConfirmed; {
			case confirmed && was.State != domain.OrderConfirmed:
				sum.Orders++
			case !confirmed:
				sum.Orders--
			}
			sum.TicketsSold += d.Sold * (d.Items.Quantity() - d.Taken.Quantity())
			sum.Revenue += d.Sold * (d.Items.Amount() - d.Taken.Amount())
		}
		if n == 0 || list[n-1].rank() != d.rank() || list[n-1].bound != d.bound || list[n-1].awaits() != d.awaits() || list[n-1].hash != d.hash {
			groups = append(groups, orderGroup{d, 0})
		}
		groups[len(groups)-1].size++
		if n == 0 || list[n-1].rank() != d.rank() {
			facts = append(facts, 0)
		}
		facts[len(facts)-1]++
		m.appendOrder(orders, d)
	}
	if list[len(list)-1].fact == nil {
		facts = facts[:len(facts)-1]
	}
	places := newArgList(4 * len(seated))
	for as, lists := range seated {
		places.text(layout.SectionField(as.event, as.name), string(as.from), string(as.to))
		places.number(int64(len(lists)))
		places.text(lists...)
	}
	head := newArgList(9 + 4*len(sections) + 4*len(sales) + 4*len(customers) + 2*len(codes) + 5*len(groups))
	head.number(int64(len(events.list)/2), int64(len(sections)), int64(len(sales)), int64(len(customers)), int64(len(groups)), int64(len(list)), int64(len(places.list)), awaited, int64(len(codes)))
	head.list = append(head.list, events.done()...)
	for of, sum := range sections {
		head.text(layout.SectionField(of.event, of.name))
		head.number(sum.Available, sum.Held, sum.Sold)
	}
	for event, sum := range sales {
		head.text(event)
		head.number(sum.Orders, sum.TicketsSold, sum.Revenue)
	}
	for of, fewer := range customers {
		head.number(int64(of.hash))
		head.pair(of.event, of.customer)
		head.number(fewer, m.events[of.event].MaxPerCustomer)
	}
	head.list = append(head.list, places.done()...)
	for of, fewer := range codes {
		head.text(layout.CodeField(of.event, of.hash))
		head.number(fewer)
	}
	for _, g := range groups {
		fact := ""
		if g.first.fact != nil {
			fact = string(g.first.fact.Type)
		}
		head.text(fact, g.first.bound, g.first.awaits())
		head.number(int64(g.first.hash), int64(g.size))
	}
	c.finish(head, orders, acks)
	c.keys = append(c.keys, l.store.keys.Awaited(p))
	if len(seated) > 0 {
		c.keys = append(c.keys, l.store.keys.Places(p))
	}
	return c, facts
}

// codeOf is an access code of an event.
type codeOf struct{ event, hash string }

// seatsMoved are seats of a section that are all the same, and become the same.
type seatsMoved struct {
	sectionOf
	from, to byte
}

// guard adds seats that must be what they were when it was decided that an exchange leaves none of them alone: those beside the
// ones that are taken, but for those that the order itself gives.
func (m *movement) guard(seated map[seatsMoved][]string, eventID string, by *domain.Effect) {
	e := m.events[eventID]
	if !e.NoOrphans {
		return
	}
	moved := make(map[sectionOf]map[int]bool)
	for _, items := range [...]domain.Items{by.Items, by.Taken} {
		for item := range items.All() {
			section, _ := domain.SplitPool(item.Section)
			of := sectionOf{eventID, section}
			if moved[of] == nil {
				moved[of] = make(map[int]bool)
			}
			list, _ := seats.ParsePlaces(item.Places)
			for _, place := range list {
				moved[of][place] = true
			}
		}
	}
	for item := range by.Taken.All() {
		name, _ := domain.SplitPool(item.Section)
		of := sectionOf{eventID, name}
		section, _ := e.Section(name)
		list, _ := seats.ParsePlaces(item.Places)
		for _, place := range list {
			for beside := max(place-2, 1); beside <= min(place+2, len(section.Places)); beside++ {
				if mark := section.Places[beside-1]; !moved[of][beside] {
					moved[of][beside] = true
					as := seatsMoved{of, mark, mark}
					seated[as] = append(seated[as], strconv.Itoa(beside))
				}
			}
		}
	}
}

// customerOf is a customer of an event, and the number of the hash in which their places are counted.
type customerOf struct {
	hash            int
	event, customer string
}

// orderGroup is how many orders there are with the fact, the hash and all that, of a first one.
type orderGroup struct {
	first *decided
	size  int
}

// appendOrder is what move.lua is told of one order.
func (m *movement) appendOrder(args *argList, d *decided) {
	ref, was := m.refs[d.i], &d.was
	args.ref(ref)
	args.text(was.Version)
	if d.bound != "" {
		args.number(d.limit)
	} else {
		args.text("")
	}
	switch {
	case d.bound == "hold":
		args.pair(ref.EventID, d.next.CustomerID)
	case !d.EndsHold:
		args.text("")
	case d.fact == nil, d.bound != "anew" && was.State == domain.OrderLapsed:
		args.text(noCustomer)
	default:
		args.pair(ref.EventID, was.CustomerID)
	}
	if d.fact == nil {
		args.text("", "")
		return
	}
	from := len(args.buf)
	args.buf = wire.AppendFactData(args.buf, d.fact)
	args.end(from)
	from = len(args.buf)
	args.buf = layout.AppendOrderTail(args.buf, &d.next)
	args.end(from)
}

// awaits is whether the order begins to be awaited ("+"), or ceases to be ("-").
func (d *decided) awaits() string {
	switch before, then := d.was.Awaited(), d.next.Awaited(); {
	case d.fact == nil || before == then:
		return ""
	case then:
		return "+"
	}
	return "-"
}

// noCustomer is a field of in_progress that never exists.
const noCustomer = "#"
