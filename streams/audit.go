package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
)

// AuditOptions of Audit.
type AuditOptions struct {
	// Gateway returns all that the payment gateway ever did. Without it, I4 and I5 are not checked.
	Gateway func(ctx context.Context) ([]domain.BooksLine, error)
}

// AuditReport is the verdict.
type AuditReport struct {
	OK         bool        `json:"ok"`
	Checked    AuditCounts `json:"checked"`
	Violations []Violation `json:"violations"`
}

// AuditCounts says how much was looked at.
type AuditCounts struct {
	Events int `json:"events"`
	Orders int `json:"orders"`
	Facts  int `json:"facts"`
}

// Violation is one thing that must not be.
type Violation struct {
	Invariant string `json:"invariant"` // I1 to I10, as docs/architecture.md numbers them
	Subject   string `json:"subject"`   // what it is about: an event, an order, a key
	Detail    string `json:"detail"`
}

// maxViolations bounds the report, for each invariant on its own: that thousands of
// payments were lost must not hide that a ticket was sold twice.
const maxViolations = 10_000

// Audit folds the log from its start with package domain and compares every
// event, order, hold, slot, sale, total and invoice with what Redis holds, and,
// if it can see the gateway's books, every payment.
//
// It may run while traffic does. State and log change in one step, so each piece
// of state is read together with the end of the log, the log is folded up to just
// there, and the two must be equal. What follows the log at a distance (postings,
// payments) is judged by the groups' positions: what was acknowledged before it
// was read must have been done, and what is there must be in the log that is
// folded afterwards.
//
// It only reads. An error means that it could not look at everything.
func (s *Store) Audit(ctx context.Context, o AuditOptions) (AuditReport, error) {
	a := &auditor{store: s, invoices: make(map[string]map[domain.OrderRef]InvoiceLine), found: make(map[string]int)}
	for p := range s.partitions {
		a.partitions = append(a.partitions, newPartitionAudit(a, p))
	}
	if err := a.run(ctx, o); err != nil {
		return AuditReport{}, fmt.Errorf("audit: %w", err)
	}
	for _, invariant := range slices.Sorted(maps.Keys(a.found)) {
		if more := a.found[invariant] - maxViolations; more > 0 {
			a.violations = append(a.violations, Violation{invariant, "audit", fmt.Sprintf("%d more violations are not listed", more)})
		}
	}
	report := AuditReport{OK: len(a.violations) == 0, Violations: a.violations}
	if report.Violations == nil {
		report.Violations = []Violation{}
	}
	for _, p := range a.partitions {
		report.Checked.Events += len(p.book.Events)
		report.Checked.Orders += len(p.book.Orders)
		report.Checked.Facts += p.facts
	}
	return report, nil
}

type auditor struct {
	store      *Store
	partitions []*partitionAudit
	invoices   map[string]map[domain.OrderRef]InvoiceLine // by customer
	violations []Violation
	found      map[string]int // by invariant
}

func (a *auditor) violation(invariant, subject, format string, args ...any) {
	if a.found[invariant]++; a.found[invariant] > maxViolations {
		return
	}
	a.violations = append(a.violations, Violation{invariant, subject, fmt.Sprintf(format, args...)})
}

func (a *auditor) run(ctx context.Context, o AuditOptions) error {
	// The order of these steps is what makes the judgement right under traffic.
	// 1: how far the groups are.
	for _, p := range a.partitions {
		if err := p.readGroups(ctx); err != nil {
			return err
		}
	}
	// 2: what is behind the log: names of keys, invoices, payments.
	if err := a.scan(ctx); err != nil {
		return err
	}
	var ledger []domain.BooksLine
	if o.Gateway != nil {
		var err error
		if ledger, err = o.Gateway(ctx); err != nil {
			return fmt.Errorf("reading the gateway's books: %w", err)
		}
	}
	// 3: the log, and state together with it.
	for _, p := range a.partitions {
		if err := p.checkState(ctx); err != nil {
			return err
		}
	}
	a.checkInvoices()
	if o.Gateway != nil {
		a.checkPayments(ledger)
	}
	return nil
}

// scan reads the names of all keys, and the invoices.
func (a *auditor) scan(ctx context.Context) error {
	var mu sync.Mutex // a cluster's masters are scanned concurrently
	var customers []string
	sort := func(key string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(key, a.store.keys.namespace+":invoices:{") {
			customers = append(customers, a.store.keys.customerOf(key))
			return
		}
		for _, p := range a.partitions {
			if name, ok := strings.CutPrefix(key, a.store.keys.partitions[p.p]); ok {
				p.noteKey(name)
				return
			}
		}
	}
	scan := func(ctx context.Context, node redis.UniversalClient) error {
		iter := node.Scan(ctx, 0, a.store.keys.namespace+":*", readPage).Iterator()
		for iter.Next(ctx) {
			sort(iter.Val())
		}
		return iter.Err()
	}
	var err error
	if cluster, ok := a.store.rdb.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return scan(ctx, node) })
	} else {
		err = scan(ctx, a.store.rdb)
	}
	if err != nil {
		return fmt.Errorf("listing keys: %w", classify(err))
	}
	slices.Sort(customers)
	for chunk := range slices.Chunk(slices.Compact(customers), maxBatch) {
		if err := a.readInvoices(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) readInvoices(ctx context.Context, customers []string) error {
	pipe := a.store.rdb.Pipeline()
	cmds := make([]*redis.MapStringStringCmd, len(customers))
	for i, customer := range customers {
		cmds[i] = pipe.HGetAll(ctx, a.store.keys.invoices(customer))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("reading invoices: %w", classify(err))
	}
	for i, cmd := range cmds {
		lines := make(map[domain.OrderRef]InvoiceLine)
		for field, value := range cmd.Val() {
			line, err := decodeInvoiceLine(field, value)
			if err != nil {
				a.violation("I3", "customer "+customers[i], "%v", err)
				continue
			}
			lines[domain.OrderRef{EventID: line.EventID, OrderID: line.OrderID}] = line
		}
		a.invoices[customers[i]] = lines
	}
	return nil
}

// of is the partition an order is in.
func (a *auditor) of(ref domain.OrderRef) *partitionAudit {
	return a.partitions[PartitionOf(ref.EventID, a.store.partitions)]
}

// checkInvoices: I3, the part that is in the customers' slots.
func (a *auditor) checkInvoices() {
	for customer, lines := range a.invoices {
		for ref, line := range lines {
			p := a.of(ref)
			o := p.book.Orders[ref]
			want := InvoiceLine{
				OrderID: ref.OrderID, EventID: ref.EventID, Section: o.Section, Quantity: o.Quantity,
				Amount: o.Amount(), Currency: o.Currency, ConfirmedAtMillis: o.ConfirmedAtMillis, Status: line.Status,
			}
			switch {
			case o.ConfirmedAtMillis == 0:
				a.violation("I3", ref.String(), "is on the invoices of %s, but is %s and was never confirmed", customer, o.State)
			case o.CustomerID != customer:
				a.violation("I3", ref.String(), "is on the invoices of %s, but is an order of %s", customer, o.CustomerID)
			case line != want:
				a.violation("I3", ref.String(), "invoice line is %+v, want %+v", line, want)
			case line.Status == invoiceCancelled && o.State != domain.OrderCancelled:
				a.violation("I3", ref.String(), "invoice line is cancelled, the order is %s", o.State)
			case line.Status == invoiceConfirmed && o.State == domain.OrderCancelled && p.acked(domain.GroupPosting, p.factIDs[ref].ended):
				a.violation("I3", ref.String(), "is cancelled, but its invoice line was not reversed")
			}
		}
	}
	for _, p := range a.partitions {
		for ref, o := range p.book.Orders {
			if o.ConfirmedAtMillis == 0 || !p.acked(domain.GroupPosting, p.factIDs[ref].confirmed) {
				continue
			}
			if _, found := a.invoices[o.CustomerID][ref]; !found {
				a.violation("I3", ref.String(), "was posted, but is not on the invoices of %s", o.CustomerID)
			}
		}
	}
}

// checkPayments: I4 and I5, by the gateway's books.
func (a *auditor) checkPayments(ledger []domain.BooksLine) {
	seen := make(map[domain.OrderRef]bool, len(ledger))
	for _, line := range ledger {
		ref := domain.OrderRef{EventID: line.EventID, OrderID: line.OrderID}
		if seen[ref] {
			a.violation("I4", ref.String(), "has two lines in the gateway's books")
		}
		seen[ref] = true
		a.checkPayment(ref, line)
	}
	for _, p := range a.partitions {
		for ref, o := range p.book.Orders {
			if o.ConfirmedAtMillis > 0 && !seen[ref] && !p.factIDs[ref].confirmed.after(p.endAtStart) {
				a.violation("I4", ref.String(), "was confirmed, but the gateway knows nothing of it")
			}
		}
	}
}

func (a *auditor) checkPayment(ref domain.OrderRef, line domain.BooksLine) {
	p := a.of(ref)
	o := p.book.Orders[ref]
	ids := p.factIDs[ref]
	subject := ref.String()
	if line.Authorizations > 1 || line.Captures > 1 || line.Voids > 1 || line.Refunds > 1 {
		a.violation("I4", subject, "the gateway did something twice: %+v", line)
	}
	if line.Captured > line.Authorized || line.Refunded > line.Captured {
		a.violation("I4", subject, "authorized %d, captured %d, refunded %d", line.Authorized, line.Captured, line.Refunded)
	}
	if line.Authorized > 0 && o.HeldAtMillis > 0 && (line.Authorized != o.Amount() || line.Currency != o.Currency) {
		a.violation("I4", subject, "authorized %d %s, the order is about %d %s", line.Authorized, line.Currency, o.Amount(), o.Currency)
	}
	reserved := line.Status == domain.PaymentStatusAuthorized
	taken := line.Status == domain.PaymentStatusCaptured
	switch o.State {
	case domain.OrderConfirmed:
		switch {
		case !reserved && !taken:
			a.violation("I4", subject, "is confirmed, but its payment is %s", line.Status)
		case reserved && p.acked(domain.GroupSettlement, ids.confirmed):
			a.violation("I4", subject, "is confirmed and settled, but its payment was not captured")
		}
	case domain.OrderHeld:
		if taken {
			a.violation("I4", subject, "is only held, but its payment is captured")
		}
	case domain.OrderExpired, domain.OrderCancelled:
		settled := p.acked(domain.GroupSettlement, ids.ended)
		switch {
		case taken && o.ConfirmedAtMillis == 0:
			a.violation("I4", subject, "is %s and was never confirmed, but its payment is captured", o.State)
		case taken && settled:
			a.violation("I4", subject, "is %s and settled, but its payment was not refunded", o.State)
		case reserved && settled:
			a.violation("I5", subject, "is %s and settled, but its authorization was not voided", o.State)
		}
	case domain.OrderNone, domain.OrderDeclined, domain.OrderRejected:
		if reserved || taken {
			a.violation("I5", subject, "is %s, but its payment is %s", o.State, line.Status)
		}
	}
}

// logID orders the ids of stream entries.
type logID struct{ millis, seq uint64 }

func parseLogID(s string) logID {
	millis, seq, _ := strings.Cut(s, "-")
	m, errM := strconv.ParseUint(millis, 10, 64)
	n, errN := strconv.ParseUint(seq, 10, 64)
	if errM != nil || errN != nil {
		return logID{}
	}
	return logID{m, n}
}

// next is the smallest id after this one.
func (id logID) next() string {
	if id.seq == math.MaxUint64 {
		return strconv.FormatUint(id.millis+1, 10) + "-0"
	}
	return strconv.FormatUint(id.millis, 10) + "-" + strconv.FormatUint(id.seq+1, 10)
}

func (id logID) after(other logID) bool {
	return id.millis > other.millis || id.millis == other.millis && id.seq > other.seq
}

// position is how far a group is.
type position struct {
	delivered logID
	pending   map[logID]bool
}

// partitionAudit is what the auditor knows of one partition.
type partitionAudit struct {
	*auditor
	p     int
	book  *domain.Snapshot
	facts int
	last  string // folded up to here

	endAtStart logID
	positions  map[domain.Group]position
	factIDs    map[domain.OrderRef]factIDs

	// names of keys, found by the scan
	orders, events, slots, sales map[string]bool
}

// factIDs are the log ids of the facts that postings and payments follow.
type factIDs struct{ confirmed, ended logID }

func newPartitionAudit(a *auditor, p int) *partitionAudit {
	return &partitionAudit{
		auditor: a, p: p, book: domain.NewSnapshot(), last: "0-0",
		positions: make(map[domain.Group]position), factIDs: make(map[domain.OrderRef]factIDs),
		orders: make(map[string]bool), events: make(map[string]bool), slots: make(map[string]bool), sales: make(map[string]bool),
	}
}

func (p *partitionAudit) noteKey(name string) {
	kind, id, _ := strings.Cut(name, ":")
	switch kind {
	case "order":
		p.orders[id] = true
	case "event":
		p.events[id] = true
	case "in_progress":
		p.slots[id] = true
	case "sales":
		p.sales[id] = true
	}
}

// acked reports whether the group had acknowledged a fact when the audit began.
func (p *partitionAudit) acked(group domain.Group, id logID) bool {
	return p.positions[group].acked(id)
}

func (pos position) acked(id logID) bool {
	return id != logID{} && !id.after(pos.delivered) && !pos.pending[id]
}

// pendingMost bounds how many pending entries of a group are looked at; workers
// may have Concurrency each in hand.
const pendingMost = 1_000_000

// groupReads asks, in one transaction with whatever else is in it, how far a group of the log is.
type groupReads struct {
	group   domain.Group
	infos   *redis.XInfoGroupsCmd
	pending *redis.XPendingExtCmd
	end     *redis.XMessageSliceCmd
}

func (p *partitionAudit) askGroup(ctx context.Context, pipe redis.Pipeliner, group domain.Group) groupReads {
	log := p.store.keys.log(p.p)
	return groupReads{
		group: group,
		infos: pipe.XInfoGroups(ctx, log),
		pending: pipe.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: log, Group: string(group), Start: "-", End: "+", Count: pendingMost,
		}),
		end: pipe.XRevRangeN(ctx, log, "+", "-", 1),
	}
}

func (r groupReads) position() position {
	pos := position{pending: make(map[logID]bool, len(r.pending.Val()))}
	for _, info := range r.infos.Val() {
		if info.Name == string(r.group) {
			pos.delivered = parseLogID(info.LastDeliveredID)
		}
	}
	for _, e := range r.pending.Val() {
		pos.pending[parseLogID(e.ID)] = true
	}
	return pos
}

func endOf(cmd *redis.XMessageSliceCmd) string {
	if entries := cmd.Val(); len(entries) == 1 {
		return entries[0].ID
	}
	return "0-0"
}

// transaction runs reads in one step.
func (p *partitionAudit) transaction(ctx context.Context, reads func(redis.Pipeliner)) error {
	if _, err := p.store.rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		reads(pipe)
		return nil
	}); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("reading partition %d: %w", p.p, classify(err))
	}
	return nil
}

func (p *partitionAudit) readGroups(ctx context.Context) error {
	var posting, settlement groupReads
	err := p.transaction(ctx, func(pipe redis.Pipeliner) {
		posting = p.askGroup(ctx, pipe, domain.GroupPosting)
		settlement = p.askGroup(ctx, pipe, domain.GroupSettlement)
	})
	if err != nil {
		return err
	}
	p.positions[domain.GroupPosting] = posting.position()
	p.positions[domain.GroupSettlement] = settlement.position()
	p.endAtStart = parseLogID(endOf(posting.end))
	return nil
}

// foldTo folds the log up to an entry.
func (p *partitionAudit) foldTo(ctx context.Context, end string) error {
	if !parseLogID(end).after(parseLogID(p.last)) {
		return nil
	}
	last, err := p.store.readLog(ctx, p.p, p.last, end, func(f domain.Fact) error {
		p.facts++
		if err := p.book.Fold(f); err != nil {
			invariant := "I6"
			if errors.Is(err, domain.ErrNotConserved) {
				invariant = "I1"
			}
			p.violation(invariant, p.factSubject(f), "log entry %s: %v", f.ID, err)
			return nil
		}
		ids := p.factIDs[f.Ref()]
		switch f.Type {
		case domain.FactConfirmed:
			ids.confirmed = parseLogID(f.ID)
		case domain.FactExpired, domain.FactCancelled:
			ids.ended = parseLogID(f.ID)
		case domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactHeld, domain.FactRejected, domain.FactDeclined:
			return nil
		}
		p.factIDs[f.Ref()] = ids
		return nil
	}, func(id string, err error) error {
		p.violation("I7", p.store.keys.log(p.p)+" "+id, "%v", err)
		return nil
	})
	p.last = last
	return err
}

func (p *partitionAudit) factSubject(f domain.Fact) string {
	if f.OrderID == "" {
		return f.EventID
	}
	return f.Ref().String()
}

// snapshot reads state in one step with the end of the log, and folds up to there.
func (p *partitionAudit) snapshot(ctx context.Context, reads func(redis.Pipeliner)) error {
	var end *redis.XMessageSliceCmd
	err := p.transaction(ctx, func(pipe redis.Pipeliner) {
		end = pipe.XRevRangeN(ctx, p.store.keys.log(p.p), "+", "-", 1)
		reads(pipe)
	})
	if err != nil {
		return err
	}
	return p.foldTo(ctx, endOf(end))
}

// checkState: I1, I2, I7, and what of I3 is in the partition.
func (p *partitionAudit) checkState(ctx context.Context) error {
	for _, check := range []func(context.Context) error{
		func(ctx context.Context) error { return p.snapshot(ctx, func(redis.Pipeliner) {}) },
		p.checkEvents, p.checkOrders, p.checkHolds, p.checkSlots, p.checkSales, p.checkQueues,
	} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// names is the sorted union of what the log and the scan know.
func names[V any](fromLog map[string]V, fromScan map[string]bool) []string {
	all := slices.Collect(maps.Keys(fromLog))
	for name := range fromScan {
		if _, known := fromLog[name]; !known {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func (p *partitionAudit) checkEvents(ctx context.Context) error {
	for chunk := range slices.Chunk(names(p.book.Events, p.events), 50) {
		cmds := make([]*redis.MapStringStringCmd, len(chunk))
		err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
			for i, id := range chunk {
				cmds[i] = pipe.HGetAll(ctx, p.store.keys.event(p.p, id))
			}
		})
		if err != nil {
			return err
		}
		for i, id := range chunk {
			p.checkEvent(id, cmds[i].Val())
		}
	}
	return nil
}

func (p *partitionAudit) checkEvent(id string, hash map[string]string) {
	stored, err := decodeEvent(hash)
	if err != nil {
		p.violation("I7", id, "%v", err)
		return
	}
	if err := stored.CheckConservation(); err != nil {
		p.violation("I1", id, "%v", err)
	}
	folded := p.book.Events[id]
	storedSections, foldedSections := stored.Sections, folded.Sections
	stored.Sections, folded.Sections = nil, nil
	if fmt.Sprint(stored) != fmt.Sprint(folded) || !slices.Equal(storedSections, foldedSections) {
		p.violation("I7", id, "stored %+v %+v, the log says %+v %+v", stored, storedSections, folded, foldedSections)
	}
}

func (p *partitionAudit) checkOrders(ctx context.Context) error {
	fromLog := make(map[string]domain.OrderRef, len(p.book.Orders))
	for ref := range p.book.Orders {
		fromLog[ref.String()] = ref
	}
	for chunk := range slices.Chunk(names(fromLog, p.orders), maxBatch) {
		refs := make([]domain.OrderRef, 0, len(chunk))
		keys := make([]string, 0, len(chunk))
		for _, name := range chunk {
			ref, ok := domain.ParseOrderRef(name)
			if !ok {
				p.violation("I7", name, "is no name of an order")
				continue
			}
			refs = append(refs, ref)
			keys = append(keys, p.store.keys.order(p.p, ref))
		}
		if len(keys) == 0 {
			continue
		}
		var records *redis.SliceCmd
		if err := p.snapshot(ctx, func(pipe redis.Pipeliner) { records = pipe.MGet(ctx, keys...) }); err != nil {
			return err
		}
		for i, ref := range refs {
			stored, err := decodeOrder(asString(records.Val()[i]))
			if err != nil {
				p.violation("I7", ref.String(), "%v", err)
				continue
			}
			if folded := p.book.Orders[ref]; stored != folded {
				p.violation("I7", ref.String(), "stored %+v, the log says %+v", stored, folded)
			}
		}
	}
	return nil
}

func (p *partitionAudit) checkHolds(ctx context.Context) error {
	var holds *redis.ZSliceCmd
	err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
		holds = pipe.ZRangeWithScores(ctx, p.store.keys.holds(p.p), 0, -1)
	})
	if err != nil {
		return err
	}
	stored := make(map[string]int64, len(holds.Val()))
	for _, z := range holds.Val() {
		stored[asString(z.Member)] = int64(z.Score)
	}
	for ref, o := range p.book.Orders {
		if o.State != domain.OrderHeld {
			continue
		}
		deadline, found := stored[ref.String()]
		if !found || deadline != o.DeadlineMillis {
			p.violation("I7", ref.String(), "is held until %d, the holds say %d (found: %t)", o.DeadlineMillis, deadline, found)
		}
		delete(stored, ref.String())
	}
	for member := range stored {
		p.violation("I2", member, "is among the holds, but not held")
	}
	return nil
}

func (p *partitionAudit) checkSlots(ctx context.Context) error {
	for chunk := range slices.Chunk(names(p.book.InProgress, p.slots), 50) {
		cmds := make([]*redis.MapStringStringCmd, len(chunk))
		err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
			for i, id := range chunk {
				cmds[i] = pipe.HGetAll(ctx, p.store.keys.inProgress(p.p, id))
			}
		})
		if err != nil {
			return err
		}
		for i, id := range chunk {
			stored, folded := cmds[i].Val(), p.book.InProgress[id]
			delete(stored, inProgressNote)
			if !maps.Equal(stored, folded) {
				p.violation("I7", id, "customers in progress are %v, the log says %v", stored, folded)
			}
		}
	}
	return nil
}

// checkSales: each order's one place in the sales of its event. Posting
// acknowledges in the same step, so read together with the group's position
// there is no doubt about which orders must be there.
func (p *partitionAudit) checkSales(ctx context.Context) error {
	byEvent := make(map[string][]domain.OrderRef)
	for ref, o := range p.book.Orders {
		if o.ConfirmedAtMillis > 0 {
			byEvent[ref.EventID] = append(byEvent[ref.EventID], ref)
		}
	}
	for _, id := range names(p.book.Events, p.sales) {
		var group groupReads
		var members *redis.StringSliceCmd
		var totals *redis.StringCmd
		err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
			group = p.askGroup(ctx, pipe, domain.GroupPosting)
			members = pipe.SMembers(ctx, p.store.keys.sales(p.p, id))
			totals = pipe.HGet(ctx, p.store.keys.salesSummary(p.p), id)
		})
		if err != nil {
			return err
		}
		p.checkEventSales(id, members.Val(), totals.Val(), byEvent[id], group.position())
	}
	return nil
}

func (p *partitionAudit) checkEventSales(id string, members []string, rawTotals string, confirmed []domain.OrderRef, pos position) {
	var sum Totals
	posted := make(map[string]bool, len(members))
	for _, orderID := range members {
		posted[orderID] = true
		ref := domain.OrderRef{EventID: id, OrderID: orderID}
		o := p.book.Orders[ref]
		sum.Orders++
		sum.TicketsSold += o.Quantity
		sum.Revenue += o.Amount()
		switch {
		case o.ConfirmedAtMillis == 0:
			p.violation("I3", ref.String(), "is among the sales, but is %s and was never confirmed", o.State)
		case o.State == domain.OrderCancelled && pos.acked(p.factIDs[ref].ended):
			p.violation("I3", ref.String(), "is cancelled, but its sale was not reversed")
		}
	}
	for _, ref := range confirmed {
		if p.book.Orders[ref].State == domain.OrderConfirmed && pos.acked(p.factIDs[ref].confirmed) && !posted[ref.OrderID] {
			p.violation("I3", ref.String(), "was posted, but is not among the sales")
		}
	}
	totals, err := decodeTotals(rawTotals)
	if err != nil {
		p.violation("I3", id, "%v", err)
	} else if totals != sum {
		p.violation("I3", id, "totals are %+v, its sales add up to %+v", totals, sum)
	}
}

// checkQueues: I8. Each dead letter says why, and what is pending is still there.
func (p *partitionAudit) checkQueues(ctx context.Context) error {
	after := "0-0"
	for {
		letters, err := p.store.deadLetters(ctx, p.p, "("+after, "+", readPage)
		if domain.ClassOf(err) == domain.ClassPoison {
			p.violation("I8", p.store.keys.dead(p.p), "%v", err)
			break
		}
		if err != nil {
			return err
		}
		for _, l := range letters {
			after = l.letterID
			if l.Reason == "" || l.Group == "" || l.EntryID == "" {
				p.violation("I8", "dead letter "+l.ID, "does not say why, or whose it was")
			}
		}
		if len(letters) < readPage {
			break
		}
	}
	stream := p.store.keys.requests(p.p)
	pendingOf := func(from, to string, count int64) ([]redis.XPendingExt, error) {
		found, err := p.store.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: stream, Group: string(domain.GroupWorkers), Start: from, End: to, Count: count,
		}).Result()
		if err != nil {
			return nil, fmt.Errorf("reading what is pending in %s: %w", stream, classify(err))
		}
		return found, nil
	}
	pending, err := pendingOf("-", "+", pendingMost)
	if err != nil {
		return err
	}
	for _, e := range pending {
		found, err := p.store.rdb.XRangeN(ctx, stream, e.ID, e.ID, 1).Result()
		if err != nil {
			return fmt.Errorf("reading %s: %w", stream, classify(err))
		}
		if len(found) > 0 {
			continue
		}
		// Acknowledged and trimmed in between, or lost.
		if still, err := pendingOf(e.ID, e.ID, 1); err != nil {
			return err
		} else if len(still) > 0 {
			p.violation("I8", stream+" "+e.ID, "is pending, but its payload is gone")
		}
	}
	return nil
}
