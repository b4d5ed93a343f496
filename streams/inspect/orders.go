package inspect

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// History returns the facts about one order, oldest first; of one that was cancelled with
// its event also the fact that says who cancelled that, and why. It finds them by the
// times in the order's record, so its cost does not grow with the log; those about attempts to pay, of a hold, between its
// beginning and its end; and of changes the latest by its time, and each other one by the next, which says what it found.
//
// Where the log was trimmed since the order came, and there is no archive (With), it returns what is left, with an error of domain.CodeLogTrimmed. Error: ErrArchive,
// if that is asked, and cannot be read.
func (in *Inspector) History(ctx context.Context, ref domain.OrderRef, o domain.Order) ([]domain.Fact, error) {
	p := in.ns.Keys.PartitionOf(ref.EventID)
	var times []int64
	for _, at := range []int64{o.HeldAtMillis, o.ConfirmedAtMillis, o.ResolvedAtMillis} {
		if at != 0 && !slices.Contains(times, at) {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	var history []domain.Fact
	seen := int64(0) // up to when
	for i, at := range times {
		from := max(at, seen+1)
		if i == 0 && o.PayFingerprint != "" { // there are others until the next one
			if at = domain.EntryMillis(o.Version); len(times) > 1 {
				at = times[1]
			}
		}
		if seen = max(seen, at); from > at {
			continue
		}
		before := strconv.FormatInt(from-1, 10) + "-18446744073709551615"
		_, err := in.ns.ReadLog(ctx, p, before, strconv.FormatInt(at, 10), func(f domain.Fact) error {
			if f.Ref() == ref {
				history = append(history, f)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	newest := []int64{o.ChangedAtMillis, o.DisputedAtMillis}
	if at := domain.EntryMillis(o.Version); !slices.Contains(times, at) && !slices.Contains(newest, at) { // perhaps it was restored
		newest = append(newest, at)
	}
	for _, newest := range newest {
		for at := newest; at > 0; {
			found, err := in.changes(ctx, p, ref, at)
			if err != nil {
				return nil, err
			}
			history = append(history, found...)
			if len(found) == 0 || domain.EntryMillis(found[0].Version) >= at {
				break
			}
			at = domain.EntryMillis(found[0].Version)
		}
	}
	slices.SortStableFunc(history, func(a, b domain.Fact) int { return layout.ParseLogID(a.ID).Compare(layout.ParseLogID(b.ID)) })
	history = slices.CompactFunc(history, func(a, b domain.Fact) bool { return a.Name() == b.Name() })
	if last := len(history) - 1; o.Reason == domain.ReasonEventCancelled && last >= 0 {
		cause, err := in.eventCancelled(ctx, p, history[last], o.HeldAtMillis)
		if err != nil {
			return nil, err
		}
		history = slices.Insert(history, last, cause...)
	}
	if len(times) == 0 {
		return history, nil
	}
	return history, in.ns.SinceBegin(ctx, p, times[0])
}

// changes are the facts about partial cancels and changes of an order at a time.
func (in *Inspector) changes(ctx context.Context, p int, ref domain.OrderRef, atMillis int64) (found []domain.Fact, err error) {
	before := strconv.FormatInt(atMillis-1, 10) + "-18446744073709551615"
	_, err = in.ns.ReadLog(ctx, p, before, strconv.FormatInt(atMillis, 10), func(f domain.Fact) error {
		if f.Ref() == ref && (f.Change > 0 || f.Type == domain.FactPaymentDisputed || f.Type == domain.FactRestored) {
			found = append(found, f)
		}
		return nil
	})
	return found, err
}

// eventCancelled is the fact because of which an order was cancelled: the newest one before that about its event, and since the order came. It is looked for from
// there back, each time eight times as far. None if it is gone.
func (in *Inspector) eventCancelled(ctx context.Context, p int, cancelled domain.Fact, sinceMillis int64) (found []domain.Fact, err error) {
	before, sinceMillis := layout.ParseLogID(cancelled.ID).Before(), max(sinceMillis, 1)
	for far := int64(1000); len(found) == 0 && int64(before.Millis) >= sinceMillis; far *= 8 { //nolint:gosec // a time in milliseconds
		from := layout.LogID{Millis: uint64(max(int64(before.Millis)-far, sinceMillis))} //nolint:gosec // likewise
		_, err := in.ns.ReadLog(ctx, p, from.Before().String(), before.String(), func(f domain.Fact) error {
			if f.Type == domain.FactEventCancelled && f.EventID == cancelled.EventID {
				found = []domain.Fact{f}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		before = from.Before()
	}
	return found, nil
}

// OrderFilter chooses orders, and says how they are gone through. Empty fields choose all.
type OrderFilter struct {
	EventID     string
	CustomerID  string
	States      []domain.OrderState // they are now in one of these
	SinceMillis int64               // they came at that time, or later
	OldestFirst bool                // else the newest first

	// Progress, if not nil, is told how many log entries were read since it was told last.
	Progress func(entries int)
}

// matches is about what the log need not be read for.
func (f OrderFilter) matches(o domain.Order) bool {
	return (len(f.States) == 0 || slices.Contains(f.States, o.State)) && (f.CustomerID == "" || o.CustomerID == f.CustomerID)
}

// EachOrder calls each for the chosen orders of all partitions as they are now, by the time
// at which they came. It goes through the log, in which each order has exactly one first
// fact, but for those that were forgotten, so its cost grows with the log, from the end at which it begins: for people and
// reports, not for a checkout. Its memory does not grow.
//
// Where the log was trimmed, orders that came before are not found in it: of one event, all are looked for among those that are stored, which takes memory for
// their names; of all events, it returns an error of domain.CodeLogTrimmed when the others were told, unless SinceMillis asks for none of them.
func (in *Inspector) EachOrder(ctx context.Context, filter OrderFilter, each func(domain.OrderRef, domain.Order) error) error {
	scan := orderScan{in: in, filter: filter, each: each}
	if filter.EventID != "" {
		mark, err := in.ns.Trimmed(ctx, in.ns.Keys.PartitionOf(filter.EventID))
		if err != nil {
			return err
		}
		if mark != (layout.LogID{}) && filter.SinceMillis <= int64(mark.Millis) { //nolint:gosec // a time in milliseconds
			return scan.stored(ctx)
		}
	}
	err := in.merge(ctx, in.logs(filter), !filter.OldestFirst, func(_ int, e domain.Entry) error { return scan.entry(ctx, e) })
	if err == nil {
		err = scan.flush(ctx)
	}
	for _, s := range in.logs(filter) {
		if err == nil {
			err = in.ns.SinceBegin(ctx, s.p, filter.SinceMillis)
		}
	}
	return err
}

// logs are the parts of the log that have to do with a filter.
func (in *Inspector) logs(filter OrderFilter) []span {
	from := "-"
	if filter.SinceMillis > 0 {
		from = strconv.FormatInt(filter.SinceMillis, 10)
	}
	var spans []span
	for p := range in.ns.Keys.Partitions() {
		if filter.EventID == "" || p == in.ns.Keys.PartitionOf(filter.EventID) {
			spans = append(spans, span{p: p, key: in.ns.Keys.Log(p), from: from, to: "+"})
		}
	}
	return spans
}

// LogEntries is how many log entries EachOrder may have to read; those before SinceMillis are counted, too.
func (in *Inspector) LogEntries(ctx context.Context, filter OrderFilter) (int64, error) {
	var sum int64
	for _, s := range in.logs(filter) {
		n, err := in.ns.Client.XLen(ctx, s.key).Result()
		if err != nil {
			return 0, fmt.Errorf("counting the log: %w", access.Classify(err))
		}
		sum += n
	}
	return sum, nil
}

// firstFact is that of an order.
type firstFact struct {
	ref domain.OrderRef
	// version is that of an order that was rejected, and therefore is for as long as it is known: it may be forgotten, and
	// another one have its name. Else it is empty.
	version string
}

// orderScan makes orders of log entries.
type orderScan struct {
	in     *Inspector
	filter OrderFilter
	each   func(domain.OrderRef, domain.Order) error

	found []firstFact // of orders that are chosen as far as their facts tell
	read  int         // entries since the last flush
}

func (s *orderScan) entry(ctx context.Context, e domain.Entry) error {
	facts, err := wire.ParseFacts(e.ID, e.Fields)
	if err != nil {
		return err
	}
	if !s.filter.OldestFirst {
		slices.Reverse(facts)
	}
	for _, f := range facts {
		if s.opens(f) {
			first := firstFact{ref: f.Ref()}
			if f.Type == domain.FactRejected {
				first.version = f.ID
			}
			s.found = append(s.found, first)
		}
	}
	// What was found is not kept back for long, however little that is.
	if s.read++; len(s.found) >= access.MaxBatch || s.read >= access.ReadPage {
		return s.flush(ctx)
	}
	return nil
}

// opens reports whether a fact is the first of an order that may be chosen.
func (s *orderScan) opens(f domain.Fact) bool {
	if s.filter.EventID != "" && f.EventID != s.filter.EventID {
		return false
	}
	switch {
	case f.Type == domain.FactHeld || f.Type == domain.FactRejected,
		f.Type == domain.FactRestored && f.Was == domain.OrderNone: // that it was held is not in this log
		return s.filter.CustomerID == "" || f.CustomerID == s.filter.CustomerID
	case f.Type == domain.FactCancelled && f.Was == domain.OrderNone:
		return s.filter.CustomerID == "" // nobody knows whose it would have been
	}
	return false
}

// stored goes through the orders of the filter's event that are stored, by the times at which they came: their facts may be in no log any more, nor those that say
// that they were recalled.
func (s *orderScan) stored(ctx context.Context) error {
	came := make(map[string]int64) // by order_id
	err := s.in.ns.EachOrderOf(ctx, s.filter.EventID, func(refs []domain.OrderRef) error {
		orders, err := s.in.ns.Orders(ctx, refs)
		if err != nil {
			return err
		}
		for i, o := range orders {
			at := cmp.Or(o.HeldAtMillis, domain.EntryMillis(o.Version)) // one that was never held has changed once
			if at >= s.filter.SinceMillis && o.State != domain.OrderNone && s.filter.matches(o) {
				came[refs[i].OrderID] = at
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	ids := slices.SortedFunc(maps.Keys(came), func(a, b string) int {
		if !s.filter.OldestFirst {
			a, b = b, a
		}
		return cmp.Or(cmp.Compare(came[a], came[b]), strings.Compare(a, b))
	})
	for chunk := range slices.Chunk(ids, access.MaxBatch) {
		for _, id := range chunk {
			s.found = append(s.found, firstFact{ref: domain.OrderRef{EventID: s.filter.EventID, OrderID: id}})
		}
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *orderScan) flush(ctx context.Context) error {
	if s.filter.Progress != nil {
		s.filter.Progress(s.read)
	}
	s.read = 0
	for found := range slices.Chunk(s.found, access.MaxBatch) {
		refs := make([]domain.OrderRef, len(found))
		for i, f := range found {
			refs[i] = f.ref
		}
		orders, err := s.in.ns.Orders(ctx, refs)
		if err != nil {
			return err
		}
		for i, o := range orders {
			if forgotten := o.State == domain.OrderNone || found[i].version != "" && o.Version != found[i].version; forgotten || !s.filter.matches(o) {
				continue
			}
			if err := s.each(refs[i], o); err != nil {
				return err
			}
		}
	}
	s.found = s.found[:0]
	return nil
}

// EachOrderOnInvoices is EachOrder for the orders of filter.CustomerID that were ever
// confirmed: those on the customer's invoices, as far as posting has come. Its cost is that
// customer's orders, and so is its memory.
func (in *Inspector) EachOrderOnInvoices(ctx context.Context, filter OrderFilter, each func(domain.OrderRef, domain.Order) error) error {
	fields, err := in.ns.Client.HKeys(ctx, in.ns.Keys.Invoices(filter.CustomerID)).Result()
	if err != nil {
		return fmt.Errorf("reading invoices of %s: %w", filter.CustomerID, access.Classify(err))
	}
	type found struct {
		ref   domain.OrderRef
		order domain.Order
	}
	var all []found
	for chunk := range slices.Chunk(fields, access.MaxBatch) {
		var refs []domain.OrderRef
		for _, field := range chunk {
			if ref, ok := domain.ParseOrderRef(field); ok && (filter.EventID == "" || ref.EventID == filter.EventID) {
				refs = append(refs, ref)
			}
		}
		orders, err := in.ns.Orders(ctx, refs)
		if err != nil {
			return err
		}
		for i, o := range orders {
			if o.ConfirmedAtMillis > 0 && o.HeldAtMillis >= filter.SinceMillis && filter.matches(o) {
				all = append(all, found{refs[i], o})
			}
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		if !filter.OldestFirst {
			a, b = b, a
		}
		return cmp.Or(cmp.Compare(a.order.HeldAtMillis, b.order.HeldAtMillis), strings.Compare(a.ref.String(), b.ref.String()))
	})
	for _, f := range all {
		if err := each(f.ref, f.order); err != nil {
			return err
		}
	}
	return nil
}

// FindOrder looks for an order whose event is not known: among the listed
// events first, then in the whole log (an order of an event that was never
// listed is there). Several events may have an order of that name. Error: domain.CodeLogTrimmed if none is found, and the log was trimmed.
func (in *Inspector) FindOrder(ctx context.Context, orderID string) ([]domain.OrderRef, error) {
	found, err := in.findAmongEvents(ctx, orderID)
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		return found, nil
	}
	for p := range in.ns.Keys.Partitions() {
		_, err := in.ns.ReadLog(ctx, p, "0-0", "+", func(f domain.Fact) error {
			switch {
			case f.OrderID != orderID:
			case f.Type == domain.FactForgotten:
				found = slices.DeleteFunc(found, func(ref domain.OrderRef) bool { return ref == f.Ref() })
			case !slices.Contains(found, f.Ref()):
				found = append(found, f.Ref())
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for p := 0; p < in.ns.Keys.Partitions() && len(found) == 0; p++ {
		if err := in.ns.SinceBegin(ctx, p, 0); err != nil {
			return nil, fmt.Errorf("no listed event has an order %s: if it is of another one, name that: %w", orderID, err)
		}
	}
	return found, nil
}

// findAmongEvents looks for an order in each listed event.
func (in *Inspector) findAmongEvents(ctx context.Context, orderID string) ([]domain.OrderRef, error) {
	var found []domain.OrderRef
	for p := range in.ns.Keys.Partitions() {
		ids, err := in.ns.EventIDs(ctx, p)
		if err != nil {
			return nil, err
		}
		for chunk := range slices.Chunk(ids, access.MaxBatch) {
			refs := make([]domain.OrderRef, len(chunk))
			for i, id := range chunk {
				refs[i] = domain.OrderRef{EventID: id, OrderID: orderID}
			}
			orders, err := in.ns.Orders(ctx, refs)
			if err != nil {
				return nil, err
			}
			for i, o := range orders {
				if o.State != domain.OrderNone {
					found = append(found, refs[i])
				}
			}
		}
	}
	return found, nil
}
