package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Ledger is what workers do to orders, events and what follows from them
// (domain.Ledger), of a store that was opened with Create. It is safe for concurrent use. All ledgers of a store have seen the
// same of its data: see Verify.
type Ledger struct {
	store  *Store
	branch func(p int) string // what it takes a partition's branch to be
}

var _ domain.Ledger = (*Ledger)(nil)

// Ledger hands out what a worker needs, beside queues.
func (s *Store) Ledger() *Ledger { return &Ledger{s, s.history.branch} }

// Partition implements domain.Ledger.
func (l *Ledger) Partition(eventID string) int { return l.store.Partition(eventID) }

// Orders implements domain.Ledger.
func (l *Ledger) Orders(ctx context.Context, refs []domain.OrderRef) ([]domain.Order, error) {
	return l.store.Inside().Orders(ctx, refs)
}

// Hold implements domain.Ledger. What can be decided about a request without looking at the others
// of the batch (that it is invalid, that its order is there already, everything about a pay) is decided by
// domain.Decide; the script decides the rest, and comes first: a pay finds the hold of its batch wherever that stands.
func (l *Ledger) Hold(ctx context.Context, p int, batch []domain.Incoming) ([]domain.Reply, int64, error) {
	replies := make([]domain.Reply, len(batch))
	var now int64
	var opening, others []int
	opened := make(map[domain.OrderRef]bool, len(batch)) // or refused
	for i := range batch {
		r := &batch[i].Request
		first := r.Type.Opens() && !opened[r.Ref()]
		if first {
			opened[r.Ref()] = true
		}
		if first && batch[i].Invalid == "" {
			opening = append(opening, i)
		} else {
			others = append(others, i)
		}
	}
	in := intake{ledger: l, p: p, batch: batch, replies: replies, layouts: make(map[string]map[string]*seats.Layout)}
	for tries := 1; len(opening) > 0; tries++ {
		chunk := in.chunk(opening)
		n, learned, err := in.open(ctx, chunk)
		switch {
		case err != nil:
			return nil, 0, err
		case learned && tries == mostTries:
			return nil, 0, domain.WithClass(domain.ClassRetry, errors.New("script hold: others keep changing what events are"))
		case learned:
			continue
		}
		now, opening, tries = max(now, n), opening[len(chunk):], 0
	}
	if len(others) > 0 {
		n, err := l.decide(ctx, p, batch, others, replies)
		if err != nil {
			return nil, 0, err
		}
		now = max(now, n)
	}
	return replies, now, nil
}

// mostItems is how many there are in a call of a script: what it reads and writes of their sections must find room on
// Lua's stack.
const mostItems = 1024

// mostSeats is how many seats are taken, or given back, in a call of a script: it shall take Redis less than 5 ms.
const mostSeats = 2000

// mostLayouts is of how many seated sections places are taken, or given back, in a call of a script, for the same reason: each is read and
// written whole.
const mostLayouts = 24

// mostTries is how often a call is made again because something of an event was not what it was taken to be.
const mostTries = 4

// intake is a batch that is on its way in.
type intake struct {
	ledger  *Ledger
	p       int
	batch   []domain.Incoming
	replies []domain.Reply
	layouts map[string]map[string]*seats.Layout // of events that had to be looked for
}

// layout is that of a section, as far as is known; nil if it is not seated.
func (in *intake) layout(eventID, section string) *seats.Layout {
	section, _ = domain.SplitPool(section)
	of, mine := in.layouts[eventID]
	if !mine {
		of, _ = in.ledger.store.hashes.Layouts(eventID)
	}
	return of[section]
}

// chunk is what of the opening requests comes into the next call: at least one.
func (in *intake) chunk(opening []int) []int {
	end, items, taken, layouts := 0, 0, int64(0), make(map[*seats.Layout]struct{})
	for end < len(opening) && end < access.MaxBatch && items <= mostItems-domain.MaxItems {
		r := &in.batch[opening[end]].Request
		for asked := range r.Lines() {
			items++
			if of := in.layout(r.EventID, asked.Section); of != nil {
				taken += min(asked.Quantity, domain.MaxItemSeats) // more are refused without a look
				layouts[of] = struct{}{}
			}
		}
		if end > 0 && (taken > mostSeats || len(layouts) > mostLayouts) {
			break
		}
		end++
	}
	return opening[:end]
}

// learn looks again for what is known of events.
func (in *intake) learn(ctx context.Context, events []string) error {
	ns := in.ledger.store.Inside()
	for _, id := range events {
		if err := ns.LearnHashes(ctx, []domain.OrderRef{{EventID: id}}, true); err != nil {
			return err
		}
		of, err := ns.LearnLayouts(ctx, id)
		if err != nil {
			return err
		}
		in.layouts[id] = of
	}
	return nil
}

// open takes new orders in with hold.lua, and decides about those that are there already. If learned is true, it has not: something of an event was
// another thing than it was taken to be, and is known now.
func (in *intake) open(ctx context.Context, chunk []int) (now int64, learned bool, err error) {
	l, p := in.ledger, in.p
	refs := make([]domain.OrderRef, len(chunk))
	for j, i := range chunk {
		refs[j] = in.batch[i].Request.Ref()
	}
	if err := l.store.Inside().LearnHashes(ctx, refs, false); err != nil {
		return 0, false, err
	}
	c := in.call(chunk)
	text, err := l.store.run(ctx, scriptHold, c.keys, c.args...).Text()
	reply := strings.Split(text, "\n")
	switch {
	case err != nil:
		return 0, false, fmt.Errorf("script hold: %w", access.Classify(err))
	case text == "branch":
		return 0, false, fmt.Errorf("script hold: %w", l.store.branchReplaced(p, l.branch(p)))
	case len(reply) > 1 && reply[0] == "learn":
		return 0, true, in.learn(ctx, reply[1:])
	case len(reply) != 1+len(c.sections)+len(chunk):
		return 0, false, domain.WithClass(domain.ClassRetry, errors.New("script hold: a reply of an unknown form"))
	}
	now, err = in.taken(ctx, &c, chunk, reply)
	return now, false, err
}

// taken reads what became of the requests of a call.
func (in *intake) taken(ctx context.Context, c *holdCall, chunk []int, reply []string) (now int64, err error) {
	l, p, batch, replies := in.ledger, in.p, in.batch, in.replies
	now = layout.AsInt(reply[0])
	classes := c.classes(reply[1:])
	var known []int
	orders := make([]domain.Order, 0, len(chunk))
	for j, i := range chunk {
		said := reply[1+len(c.sections)+j]
		if record, wasThere := strings.CutPrefix(said, "="); wasThere {
			order, err := layout.DecodeOrder(record)
			if err != nil {
				return 0, fmt.Errorf("script hold: %w", err)
			}
			known, orders = append(known, i), append(orders, order)
			continue
		}
		if said == "!" { // its event was forgotten: nothing is recorded
			replies[i].Verdict = domain.VerdictDone
			continue
		}
		r, class := &batch[i].Request, &classes[c.classOf[j]]
		fact := domain.Fact{
			Type: domain.FactHeld, AtMillis: now, RequestType: r.Type, Fingerprint: r.Fingerprint, CustomerID: r.CustomerID,
			Items: class.held, Currency: class.currency, DeadlineMillis: now + batch[i].HoldMillis,
			Trace: batch[i].Trace,
		}
		replies[i].Verdict = domain.VerdictDone
		var why string
		if fact.ID, why, _ = strings.Cut(said, "|"); strings.HasPrefix(why, "|") {
			var items string
			items, fact.Code, _ = strings.Cut(why[1:], "|")
			var ok bool
			if fact.Items, ok = domain.ParseItems(items); !ok {
				return 0, domain.WithClass(domain.ClassPoison, fmt.Errorf("script hold: items %q cannot be read", items))
			}
			why = ""
		}
		if why != "" {
			fact.Type, fact.Items = domain.FactRejected, class.asked
			fact.Reason, fact.Detail, _ = strings.Cut(why, "|")
		} else if r.Type.Pays() {
			replies[i].Verdict = domain.VerdictAuthorize
		}
		if replies[i].Order, _, err = (domain.Order{}).After(fact); err != nil {
			return 0, fmt.Errorf("script hold: %w", err)
		}
	}
	if len(known) == 0 {
		return now, nil
	}
	return l.decideKnown(ctx, p, batch, known, orders, now, replies)
}

// decide reads orders, and decides about the requests.
func (l *Ledger) decide(ctx context.Context, p int, batch []domain.Incoming, positions []int, replies []domain.Reply) (int64, error) {
	refs := make([]domain.OrderRef, len(positions))
	for j, i := range positions {
		refs[j] = batch[i].Request.Ref()
	}
	orders, now, err := l.read(ctx, p, refs)
	if err != nil {
		return 0, err
	}
	return l.decideKnown(ctx, p, batch, positions, orders, now, replies)
}

func (l *Ledger) decideKnown(ctx context.Context, p int, batch []domain.Incoming, positions []int, orders []domain.Order, now int64, replies []domain.Reply) (int64, error) {
	m := newMovement(l.store.keys.Requests(p), domain.GroupWorkers, len(positions))
	m.now = now
	for j, i := range positions {
		m.add(batch[i].EntryID, batch[i].Request.Ref(), orders[j])
	}
	m.decide = func(j int, o domain.Order, now int64) (*domain.Fact, domain.Verdict) {
		in := &batch[positions[j]]
		if in.Request.Type.Opens() && o.State == domain.OrderNone && in.Invalid == "" {
			return nil, domain.VerdictWait // Redis has lost it since: only the script can take it in
		}
		return domain.Decide(m.view(j, o), in.Request.Ref(), now, in.Command())
	}
	changes := func(j int) bool { return batch[positions[j]].Request.Changes() }
	m.exchanges = func(j int) bool { return batch[positions[j]].Request.Type == domain.RequestChange }
	m.look = func(part []int) error { return l.lookAround(ctx, p, m, part, changes) }
	now, err := l.moveAll(ctx, p, m)
	if err != nil {
		return 0, err
	}
	for j, i := range positions {
		replies[i] = m.replies[j]
	}
	return now, nil
}

// lookAround reads the events of the orders in a part that may get other places, and how many places their customers have: of all that are
// wanted, and are not over. Of orders whose deadline has passed it reads whether their events honour late approvals.
func (l *Ledger) lookAround(ctx context.Context, p int, m *movement, part []int, wanted func(j int) bool) error {
	m.events, m.places, m.terms, m.progress = nil, nil, nil, nil
	if err := l.lookForForgotten(ctx, p, m, part); err != nil {
		return err
	}
	overdue := func(o *domain.Order) bool { return o.State == domain.OrderHeld && m.now >= o.DeadlineMillis }
	moves := func(j int, o *domain.Order) bool { return wanted(j) && (o.Open() || o.ConfirmedAtMillis != 0) }
	if !slices.ContainsFunc(part, func(j int) bool { o := m.order(j); return overdue(o) || moves(j, o) }) {
		return nil // nearly always
	}
	m.events, m.places, m.terms, m.progress = make(map[string]domain.Event), make(map[int]int64), make(map[string]int64), make(map[int]string)
	var late []int
	for _, j := range part {
		ref, o := m.refs[j], m.order(j)
		if overdue(o) {
			late = append(late, j)
		}
		if !moves(j, o) {
			continue
		}
		e, known := m.events[ref.EventID]
		if !known {
			found, err := l.store.Inside().Event(ctx, ref.EventID)
			if err != nil {
				return err
			}
			e = found.Event
			m.events[ref.EventID] = e
		}
		if m.exchanges(j) && e.Exists() {
			m.terms[ref.EventID] = e.Version
		}
		if err := l.lookAtCustomer(ctx, p, m, j, e, o.CustomerID); err != nil {
			return err
		}
	}
	return l.lookAtTerms(ctx, p, m, late)
}

// lookForForgotten reads of the events of orders that are not there whether they were forgotten: then nobody need wait for them.
func (l *Ledger) lookForForgotten(ctx context.Context, p int, m *movement, part []int) error {
	var ids, fields []string
	for _, j := range part {
		if id := m.refs[j].EventID; m.order(j).State == domain.OrderNone && !slices.Contains(ids, id) {
			ids, fields = append(ids, id), append(fields, layout.TermsField(id))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	values, err := l.store.rdb.HMGet(ctx, l.store.keys.Events(p), fields...).Result()
	if err != nil {
		return fmt.Errorf("reading the terms of events: %w", access.Classify(err))
	}
	for i, id := range ids {
		terms, err := layout.DecodeEventTerms(layout.AsString(values[i]))
		if err != nil {
			return fmt.Errorf("event %s: %w", id, err)
		}
		if terms.Over != "" {
			m.isOver(id, terms.Over)
		}
	}
	return nil
}

// lookAtCustomer reads how many places an order's customer has of its event, if they are counted, and, of a lapsed one and one that is not there, which
// order in progress.
func (l *Ledger) lookAtCustomer(ctx context.Context, p int, m *movement, j int, e domain.Event, customer string) error {
	ref := m.refs[j]
	field := ref.EventID + "/" + customer
	if s := m.order(j).State; s == domain.OrderLapsed || s == domain.OrderNone { // else nobody asks
		progress, err := l.store.rdb.HMGet(ctx, l.store.keys.InProgress(p), field).Result()
		if err != nil {
			return fmt.Errorf("reading a customer's order in progress: %w", access.Classify(err))
		}
		m.progress[j] = layout.AsString(progress[0])
	}
	if e.MaxPerCustomer == 0 {
		return nil
	}
	hashes, _ := l.store.hashes.Of(ref.EventID)
	places, err := l.store.rdb.HMGet(ctx, l.store.keys.Customers(p, l.store.keys.HashOfCustomer(ref.EventID, customer, hashes)), field).Result()
	if err != nil {
		return fmt.Errorf("reading a customer's places: %w", access.Classify(err))
	}
	m.places[j] = layout.AsInt(places[0])
	return nil
}

// lookAtTerms reads of the events of orders whose deadline has passed whether they honour late approvals; nothing else of them.
func (l *Ledger) lookAtTerms(ctx context.Context, p int, m *movement, late []int) error {
	var ids []string
	for _, j := range late {
		if id := m.refs[j].EventID; !m.events[id].Exists() && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		fields := make([]string, len(ids))
		for i, id := range ids {
			fields[i] = layout.TermsField(id)
		}
		values, err := l.store.rdb.HMGet(ctx, l.store.keys.Events(p), fields...).Result()
		if err != nil {
			return fmt.Errorf("reading the terms of events: %w", access.Classify(err))
		}
		for i, id := range ids {
			terms, err := layout.DecodeEventTerms(layout.AsString(values[i]))
			if err != nil {
				return fmt.Errorf("event %s: %w", id, err)
			}
			m.events[id] = domain.Event{Version: terms.Version, LateApprovalMillis: terms.LateMillis}
		}
	}
	for _, j := range late {
		if e := m.events[m.refs[j].EventID]; e.LateApprovalMillis > 0 {
			m.terms[m.refs[j].EventID] = e.Version
		}
	}
	return nil
}

// read reads orders of a partition, and the time by which a script would decide now.
func (l *Ledger) read(ctx context.Context, p int, refs []domain.OrderRef) ([]domain.Order, int64, error) {
	ns := l.store.Inside()
	if err := ns.LearnHashes(ctx, refs, false); err != nil {
		return nil, 0, err
	}
	pipe := l.store.rdb.Pipeline()
	clock := pipe.Time(ctx)
	newest := pipe.HMGet(ctx, l.store.keys.Events(p), layout.ClockField)
	reads := ns.ReadRecords(ctx, pipe, p, refs)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, 0, fmt.Errorf("reading orders: %w", access.Classify(err))
	}
	records, err := reads.Records()
	if err != nil {
		return nil, 0, err
	}
	orders := make([]domain.Order, len(refs))
	for i, record := range records {
		if orders[i], err = layout.DecodeOrder(record); err != nil {
			return nil, 0, err
		}
	}
	return orders, max(clock.Val().UnixMilli(), layout.AsInt(newest.Val()[0])), nil
}

// Resolve implements domain.Ledger. The order of a resolution is the one that was paid for: if it
// has changed since, the script says so, and it is decided again.
func (l *Ledger) Resolve(ctx context.Context, p int, batch []domain.Resolution) ([]domain.Reply, int64, error) {
	m := newMovement(l.store.keys.Requests(p), domain.GroupWorkers, len(batch))
	for _, r := range batch {
		if strings.ContainsAny(r.AuthorizationID, "|\r\n") {
			return nil, 0, domain.WithClass(domain.ClassPoison, fmt.Errorf("order %s: the gateway's authorization id has a bar or a line break, and cannot be kept", r.Ref))
		}
		if strings.ContainsAny(r.Detail, "\r\n") {
			return nil, 0, domain.WithClass(domain.ClassPoison, fmt.Errorf("order %s: the detail of a payment that does not match has a line break, and cannot be kept", r.Ref))
		}
		m.add(r.EntryID, r.Ref, r.Order)
		if known := r.Outcome == domain.PaymentActionRequired && r.Order.AwaitsAction(); m.now == 0 && (known || r.Outcome == domain.PaymentUnknown && r.Dispute == (domain.Dispute{}) || r.Order.State == domain.OrderLapsed) {
			// Nothing may have to be changed, and then no script tells whether there is time left; or it is asked whether its event is on sale.
			var err error
			if _, m.now, err = l.read(ctx, p, nil); err != nil {
				return nil, 0, err
			}
		}
	}
	m.decide = func(i int, o domain.Order, now int64) (*domain.Fact, domain.Verdict) {
		r := &batch[i]
		if r.Dispute != (domain.Dispute{}) {
			return domain.Decide(m.view(i, o), r.Ref, now, domain.Disputed{Dispute: r.Dispute, Version: r.Order.Version})
		}
		return domain.Decide(m.view(i, o), r.Ref, now, domain.Resolve{Attempt: r.Attempt, Outcome: r.Outcome, AuthorizationID: r.AuthorizationID, Detail: r.Detail})
	}
	// One that has lapsed takes its places anew.
	m.exchanges = func(i int) bool {
		return batch[i].Outcome == domain.PaymentApproved && m.order(i).State == domain.OrderLapsed
	}
	m.look = func(part []int) error { return l.lookAround(ctx, p, m, part, m.exchanges) }
	now, err := l.moveAll(ctx, p, m)
	return m.replies, now, err
}

// Cancel implements domain.Ledger.
func (l *Ledger) Cancel(ctx context.Context, p int, batch []domain.Cancellation) error {
	return l.cancel(ctx, p, domain.GroupWorkers, domain.ReasonRequested, batch)
}

// CaptureFailed implements domain.Ledger.
func (l *Ledger) CaptureFailed(ctx context.Context, p int, batch []domain.Cancellation) error {
	return l.cancel(ctx, p, domain.GroupSettlement, domain.ReasonCaptureFailed, batch)
}

func (l *Ledger) cancel(ctx context.Context, p int, group domain.Group, reason string, batch []domain.Cancellation) error {
	source, _ := l.store.keys.StreamOf(p, group)
	refs := make([]domain.OrderRef, len(batch))
	for i, c := range batch {
		refs[i] = c.Ref
	}
	orders, now, err := l.read(ctx, p, refs)
	if err != nil {
		return err
	}
	m := newMovement(source, group, len(batch))
	m.now = now
	for i, c := range batch {
		m.add(c.EntryID, c.Ref, orders[i])
	}
	m.decide = func(i int, o domain.Order, now int64) (*domain.Fact, domain.Verdict) {
		if v := batch[i].Version; v != "" && v != o.Version {
			return nil, domain.VerdictDone
		}
		return domain.Decide(m.view(i, o), refs[i], now, domain.Cancel{Reason: reason, Cause: batch[i].Cause, NoRefund: batch[i].NoRefund})
	}
	_, err = l.moveAll(ctx, p, m)
	return err
}

// UntilDue implements domain.Ledger. While nothing is held, it is one plain command.
func (l *Ledger) UntilDue(ctx context.Context, p int) (wait time.Duration, held bool, err error) {
	first, err := l.store.rdb.ZRangeWithScores(ctx, l.store.keys.Holds(p), 0, 0).Result()
	if err != nil {
		return 0, false, fmt.Errorf("looking for the first deadline: %w", access.Classify(err))
	}
	if len(first) == 0 {
		return 0, false, nil
	}
	now, _, err := l.due(ctx, p, l.store.keys.Holds(p), 0)
	return time.Duration(max(int64(first[0].Score)-now, 0)) * time.Millisecond, true, err
}

// due is the time, and at most so many orders of a list that are due.
func (l *Ledger) due(ctx context.Context, p int, list string, most int) (now int64, members []string, err error) {
	reply, err := l.store.run(ctx, scriptDue, []string{list, l.store.keys.Events(p)}, most).StringSlice()
	if err != nil {
		return 0, nil, fmt.Errorf("script due: %w", access.Classify(err))
	}
	return layout.AsInt(reply[0]), reply[1:], nil
}

// Expire implements domain.Ledger. A crash between finding the due holds and
// ending them leaves them to the next call.
func (l *Ledger) Expire(ctx context.Context, p int, most int) (expired, lapsed int, err error) {
	now, due, err := l.due(ctx, p, l.store.keys.Holds(p), min(most, access.MaxBatch))
	if err != nil {
		return 0, 0, err
	}
	refs := make([]domain.OrderRef, 0, len(due))
	for _, member := range due {
		ref, ok := domain.ParseOrderRef(member)
		if !ok { // no script of ours wrote it; it would be found for ever
			l.store.log.Error("removing a hold that names no order", zap.String("key", l.store.keys.Holds(p)), zap.String("member", member))
			if err := l.store.rdb.ZRem(ctx, l.store.keys.Holds(p), member).Err(); err != nil {
				return 0, 0, fmt.Errorf("removing a hold that names no order: %w", access.Classify(err))
			}
			continue
		}
		refs = append(refs, ref)
	}
	err = l.changeOrders(ctx, p, refs, now, nil, func(domain.Event) domain.Command { return domain.Expire{} }, func(_ domain.OrderRef, o domain.Order) {
		switch o.State { //nolint:exhaustive // what it is else, others have made of it
		case domain.OrderExpired:
			expired++
		case domain.OrderLapsed:
			lapsed++
		}
	})
	return expired, lapsed, err
}

// extendAhead is how long before it would end a hold is extended: whoever asks about it in its last moments finds it so.
const extendAhead = 5 * time.Second

// Extend implements domain.Ledger. Holds that are overdue are Expire's. A crash at any point leaves the rest to the next call, and so does a hold that
// others end while it is looked for the next page. If an order is damaged, the others do not wait for it: the first is the error, of ClassPoison.
func (l *Ledger) Extend(ctx context.Context, p int, pauses domain.Pauses) (int, error) {
	now, err := l.store.Now(ctx)
	if err != nil {
		return 0, err
	}
	by := redis.ZRangeBy{Min: "(" + strconv.FormatInt(now.UnixMilli(), 10), Max: strconv.FormatInt(now.Add(extendAhead).UnixMilli(), 10), Count: access.ReadPage}
	extended := 0
	var damage error
	for {
		due, err := l.store.rdb.ZRangeByScore(ctx, l.store.keys.Holds(p), &by).Result()
		if err != nil {
			return extended, fmt.Errorf("looking for holds to extend: %w", access.Classify(err))
		}
		n, err := l.extend(ctx, p, due, now, pauses)
		extended += n
		if err != nil && domain.ClassOf(err) != domain.ClassPoison {
			return extended, err
		}
		damage = cmp.Or(damage, err)
		if len(due) < access.ReadPage {
			return extended, damage
		}
		by.Offset += int64(len(due) - n) // those that were extended are not there any more
	}
}

// extend extends those of a page of holds that are to be, and returns how many.
func (l *Ledger) extend(ctx context.Context, p int, due []string, now time.Time, pauses domain.Pauses) (extended int, damage error) {
	of := make(map[int64][]domain.OrderRef) // by until when
	for _, member := range due {
		ref, ok := domain.ParseOrderRef(member)
		if until := pauses.HoldsUntil(ref.EventID); ok && until > now.UnixMilli()+extendAhead.Milliseconds() { // else it has been extended, or need not be
			of[until] = append(of[until], ref)
		}
	}
	for until, refs := range of {
		for chunk := range slices.Chunk(refs, access.MaxBatch) {
			err := l.changeOrders(ctx, p, chunk, now.UnixMilli(), nil, func(domain.Event) domain.Command { return domain.Extend{UntilMillis: until} }, func(_ domain.OrderRef, o domain.Order) {
				if o.DeadlineMillis == until {
					extended++
				}
			})
			if err != nil && domain.ClassOf(err) != domain.ClassPoison {
				return extended, err
			}
			damage = cmp.Or(damage, err)
		}
	}
	return extended, damage
}

// changeOrders decides about orders of a partition that no entry asks about, and calls each for all of
// them as they are then. Where event is given, all are its orders, and its terms must not change meanwhile. If an
// order is damaged, the others do not wait for it: each is tried alone, and the first that is damaged is the
// error, of ClassPoison.
func (l *Ledger) changeOrders(ctx context.Context, p int, refs []domain.OrderRef, now int64, event func() (string, domain.Event, error),
	command func(domain.Event) domain.Command, each func(domain.OrderRef, domain.Order),
) error {
	run := func(refs []domain.OrderRef) error {
		orders, readAt, err := l.read(ctx, p, refs)
		if err != nil {
			return err
		}
		m := newMovement(l.store.keys.Log(p), "", len(refs))
		m.now, m.strays = max(now, readAt), event == nil
		m.look = func(part []int) error {
			if event == nil {
				return l.lookAround(ctx, p, m, part, func(int) bool { return false })
			}
			id, e, err := event()
			m.events, m.terms = map[string]domain.Event{id: e}, map[string]int64{id: e.Version}
			return err
		}
		for i, ref := range refs {
			m.add("", ref, orders[i])
		}
		m.decide = func(i int, o domain.Order, now int64) (*domain.Fact, domain.Verdict) {
			return domain.Decide(m.view(i, o), refs[i], now, command(m.events[refs[i].EventID]))
		}
		if _, err := l.moveAll(ctx, p, m); err != nil {
			return err
		}
		for i, r := range m.replies {
			each(refs[i], r.Order)
		}
		return nil
	}
	if len(refs) == 0 {
		return nil
	}
	err := run(refs)
	if err == nil || domain.ClassOf(err) != domain.ClassPoison {
		return err
	}
	var damage error
	for _, ref := range refs {
		err := run([]domain.OrderRef{ref})
		if err != nil && domain.ClassOf(err) != domain.ClassPoison {
			return err
		}
		damage = cmp.Or(damage, err)
	}
	return damage
}

// sectionOf names a section of an event.
type sectionOf struct{ event, name string }

// termsOf is what requests say that is the same for many of them.
type termsOf struct {
	kind                    string
	holdMillis, validMillis int64
	minimums                *domain.Minimums
}

// minimumsText is how hold.lua reads them: EUR=50,JPY=50.
func minimumsText(m *domain.Minimums) string {
	if m == nil {
		return ""
	}
	var text []byte
	for _, currency := range slices.Sorted(maps.Keys(*m)) {
		if len(text) > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(append(append(text, currency...), '='), (*m)[currency], 10)
	}
	return string(text)
}

// itemOf is one item of a request: the number of its section, and the price that it asks for, -1 if any will do.
type itemOf struct {
	section         int
	quantity, price int64
	want            string // which places, as hold.lua is told of it
}

// wantOf is which places an item is for. The layout is nil if the section is not seated, as far as is known. Those that it
// names are added to the others that its order names.
func wantOf(of *seats.Layout, asked domain.RequestItem, strict bool, named []byte) (want string, all []byte) {
	switch {
	case len(asked.Seats) > 0 && of == nil:
		return "?" + strings.Join(asked.Seats, ","), named
	case len(asked.Seats) == 0 && asked.Apart && of != nil:
		return "~", named
	case len(asked.Seats) == 0:
		return "", named
	}
	places, unknown := of.Find(asked.Seats)
	if len(unknown) > 0 {
		return "?" + strings.Join(unknown, ","), named
	}
	if len(named) > 0 {
		named = append(named, ';')
	}
	named = append(append(named, seats.FormatPlaces(places)...), '|')
	told := 0 // up to here
	tell := func(place int) {
		if name, ok := of.Name(place); ok && place > told {
			named = append(append(append(strconv.AppendInt(named, int64(place), 10), '='), name...), ',')
			told = place
		}
	}
	for _, place := range places {
		if strict {
			tell(place - 1)
		}
		tell(place)
		if strict {
			tell(place + 1)
		}
	}
	return "#", named
}

// classOf is what requests have in common.
type classOf struct {
	hash, terms int
	first       itemOf
	further     string // the other items, as hold.lua is told of them; nearly all orders have none
}

// holdCall is a call of hold.lua.
type holdCall struct {
	orderCall
	sections []sectionOf     // in their order there
	layouts  []*seats.Layout // of the sections
	items    [][]itemOf      // by class
	classOf  []int           // of each request
}

// call lays KEYS and ARGV of hold.lua out.
func (in *intake) call(chunk []int) holdCall {
	l, p, batch := in.ledger, in.p, in.batch
	c := holdCall{orderCall: l.newOrderCall(p, l.store.keys.Requests(p), domain.GroupWorkers, len(chunk)), classOf: make([]int, 0, len(chunk))}
	events, sections := make(map[string]int, 8), make(map[sectionOf]int, 8)
	terms, classes := make(map[termsOf]int, 4), make(map[classOf]int, 8)
	eventArgs, sectionArgs, classArgs := newArgList(16), newArgList(16), newArgList(64)
	var said []termsOf
	var valid []int64 // by terms: until when all requests are
	requests := newArgList(5 * len(chunk))
	limited, seated := false, false    // a customer's places are counted of some event; some section is seated
	strict := make(map[string]bool, 8) // events of which no seat may be left alone
	var section func(eventID, name string) int
	section = func(eventID, name string) int {
		of := sectionOf{eventID, name}
		if s, known := sections[of]; known {
			return s
		}
		base, _ := domain.SplitPool(name)
		tag := ""
		if base != name {
			tag = strconv.Itoa(section(eventID, base)) // it has its seats, and stands before it
		}
		e, known := events[eventID]
		if !known {
			e = len(events) + 1
			events[eventID] = e
			hashes, _ := l.store.hashes.Of(eventID)
			eventArgs.text(eventID)
			from := len(eventArgs.buf)
			eventArgs.buf = strconv.AppendInt(eventArgs.buf, int64(hashes), 10)
			if l.store.hashes.Limited(eventID) {
				limited = true
				eventArgs.buf = append(eventArgs.buf, '|')
			}
			if strict[eventID] = l.store.hashes.Strict(eventID); strict[eventID] {
				eventArgs.buf = append(eventArgs.buf, '!')
			}
			eventArgs.end(from)
		}
		c.sections = append(c.sections, of)
		sections[of] = len(c.sections)
		rows := in.layout(eventID, base)
		if rows != nil && base == name {
			tag, seated = layout.TagOf(rows.String()), true
		}
		c.layouts = append(c.layouts, rows)
		sectionArgs.number(int64(e))
		sectionArgs.text(name, tag)
		return len(c.sections)
	}
	var items []itemOf                                   // of one request
	names, named := make([]string, 0, len(chunk)), false // the places that each request names
	coded, traced := false, false                        // some request brings an access code, some is to keep a trace
	for _, i := range chunk {
		a := &batch[i]
		r := &a.Request
		says := termsOf{kind: string(r.Type), holdMillis: a.HoldMillis, validMillis: a.ValidMillis, minimums: a.Minimums}
		if a.NoToken {
			says.kind = "tokenless"
		}
		until := domain.EntryMillis(a.EntryID) + a.ValidMillis
		t, known := terms[says]
		if !known {
			said, valid = append(said, says), append(valid, until)
			t = len(said)
			terms[says] = t
		}
		valid[t-1] = min(valid[t-1], until)
		class := classOf{hash: c.hash(r.Ref()), terms: t}
		items = items[:0]
		var list []byte
		for asked := range r.Lines() {
			item := itemOf{section: section(r.EventID, asked.Section), quantity: asked.Quantity, price: priceOf(asked)}
			item.want, list = wantOf(c.layouts[item.section-1], asked, strict[r.EventID], list)
			items = append(items, item)
		}
		if class.first = items[0]; len(items) > 1 {
			class.further = fmt.Sprint(items[1:])
		}
		n, known := classes[class]
		if !known {
			n = len(classes) + 1
			classes[class] = n
			c.items = append(c.items, slices.Clone(items))
			classArgs.number(int64(class.hash), int64(t), int64(len(items)))
			for _, item := range items {
				classArgs.number(int64(item.section), item.quantity, item.price)
				classArgs.text(item.want)
			}
		}
		coded, traced = coded || len(a.Codes) > 0, traced || a.Trace != ""
		c.classOf = append(c.classOf, n-1)
		names, named = append(names, string(list)), named || len(list) > 0
		requests.text(a.EntryID)
		requests.ref(r.Ref())
		requests.number(int64(n))
		requests.pair(r.EventID, r.CustomerID)
		from := len(requests.buf)
		requests.buf = wire.AppendOpening(requests.buf, r.Type, r.Fingerprint, r.CustomerID)
		requests.end(from)
	}
	counts := newArgList(len(chunk))
	if limited {
		for _, i := range chunk {
			if r := &batch[i].Request; l.store.hashes.Limited(r.EventID) {
				counts.number(int64(c.customers(r.EventID, r.CustomerID)))
			} else {
				counts.number(0)
			}
		}
	}
	codes := newArgList(len(chunk))
	if coded {
		for _, i := range chunk {
			from := len(codes.buf)
			for _, hash := range batch[i].Codes {
				codes.buf = append(append(codes.buf, hash...), ',')
			}
			codes.end(from)
		}
	}
	traces := newArgList(0)
	if traced {
		traces = newArgList(len(chunk))
		for _, i := range chunk {
			traces.text(string(batch[i].Trace))
		}
	}
	head := newArgList(8)
	head.number(int64(len(events)), int64(len(c.sections)), int64(len(said)), int64(len(classes)), int64(len(chunk)), int64(len(counts.list)), int64(len(codes.list)), int64(len(traces.list)))
	termArgs := newArgList(5 * len(said))
	for t, says := range said {
		termArgs.text(says.kind)
		termArgs.number(says.holdMillis, says.validMillis, valid[t])
		termArgs.text(minimumsText(says.minimums))
	}
	namedArgs := newArgList(len(names))
	if named {
		namedArgs.text(names...)
	}
	c.finish(head, eventArgs, sectionArgs, termArgs, classArgs, counts, requests, namedArgs, codes, traces)
	c.keys = append(c.keys, l.store.keys.Unknown(p))
	if seated {
		c.keys = append(c.keys, l.store.keys.Places(p))
	}
	return c
}

// priceOf is as itemOf has it.
func priceOf(asked domain.RequestItem) int64 {
	if asked.UnitPrice == nil {
		return -1
	}
	return *asked.UnitPrice
}

// heldClass is what the orders of a class say, once it is known what they were held at.
type heldClass struct {
	held, asked domain.Items // of those that are held, and of those that are not
	currency    string
}

// classes are those of the call, by what the script told of its sections.
func (c *holdCall) classes(terms []string) []heldClass {
	classes := make([]heldClass, len(c.items))
	var held, asked []domain.Item
	for n, items := range c.items {
		held, asked = held[:0], asked[:0]
		for _, item := range items {
			name := c.sections[item.section-1].name
			price, currency, _ := strings.Cut(terms[item.section-1], "|")
			held = append(held, domain.Item{Section: name, Quantity: item.quantity, UnitPrice: layout.AsInt(price)})
			asked = append(asked, domain.Item{Section: name, Quantity: item.quantity})
			classes[n].currency = currency
		}
		classes[n].held, classes[n].asked = domain.ItemsOf(held...), domain.ItemsOf(asked...)
	}
	return classes
}

// orderCall is one call of hold.lua or move.lua: KEYS and ARGV as scripts/lib/orders.lua documents them.
type orderCall struct {
	ledger  *Ledger
	p       int
	keys    []string
	args    []any
	numbers map[layout.OrderHash]int
	counts  map[layout.OrderHash]int // the numbers of the hashes of customers
	others  []int                    // by number, from 1: that of the hash which has the orders that this one lacks
}

func (l *Ledger) newOrderCall(p int, source string, group domain.Group, size int) orderCall {
	k := l.store.keys
	return orderCall{
		ledger: l, p: p, numbers: make(map[layout.OrderHash]int, min(size, 64)),
		keys: append(make([]string, 0, 16), source, k.Log(p), k.Holds(p), k.Events(p), k.InProgress(p)),
		args: append(make([]any, 0, 16), string(group), l.store.outcomes(p), l.branch(p)),
	}
}

// hash is the number of an order's hash.
func (c *orderCall) hash(ref domain.OrderRef) int {
	hashes, _ := c.ledger.store.hashes.Of(ref.EventID)
	own := c.ledger.store.keys.HashOf(ref, hashes)
	if number, known := c.numbers[own]; known {
		return number
	}
	other := 0
	if shared := c.ledger.store.keys.SharedHash(ref.EventID); shared != own {
		other = c.number(shared, 0)
	}
	return c.number(own, other)
}

func (c *orderCall) number(h layout.OrderHash, other int) int {
	number, known := c.numbers[h]
	if !known {
		c.keys = append(c.keys, c.ledger.store.keys.Orders(c.p, h))
		c.others = append(c.others, other)
		number = len(c.others)
		c.numbers[h] = number
	}
	return number
}

// customers is the number of the hash that a customer's places of an event are counted in.
func (c *orderCall) customers(eventID, customerID string) int {
	hashes, _ := c.ledger.store.hashes.Of(eventID)
	h := c.ledger.store.keys.HashOfCustomer(eventID, customerID, hashes)
	number, known := c.counts[h]
	if !known {
		c.keys = append(c.keys, c.ledger.store.keys.Customers(c.p, h))
		c.others = append(c.others, 0)
		number = len(c.others)
		if c.counts == nil {
			c.counts = make(map[layout.OrderHash]int)
		}
		c.counts[h] = number
	}
	return number
}

// finish adds what is the operation's own.
func (c *orderCall) finish(rest ...*argList) {
	size := len(c.args) + 1 + len(c.others)
	for _, r := range rest {
		size += len(r.list)
	}
	args := append(append(make([]any, 0, size), c.args...), len(c.others))
	for _, other := range c.others {
		args = append(args, other)
	}
	for _, r := range rest {
		args = append(args, r.done()...)
	}
	c.args = args
}
