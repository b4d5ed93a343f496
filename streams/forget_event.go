package streams

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// ForgetEvents implements domain.Ledger.
//
//  1. Of each event that is closed it is noted which version its terms have, and the newest entry of the log: what there is of the event had happened by
//     then. With other terms it is noted anew.
//  2. When that is so long ago, all its orders are looked at. If one is open, or has changed of late, it is noted anew. If all that is
//     known of the event is posted, settled and archived, and nothing has been added to the log about it since, one script makes it
//     forgotten: nobody changes anything of it any more.
//  3. Then its orders go, page by page: first their lines on the customers' invoices say what they were, then they are dropped.
//  4. When none is left, that is noted.
//
// A crash, or a lost reply, leaves the rest to the next call, whoever makes it; two at the same time write the same lines, and drop what is there. One who is
// cut off with an old master, and of whom nobody here hears, writes lines of what has not changed for so long, and whoever reads them reads the order first.
//
// An event that is damaged does not keep the others waiting: it is the error, of ClassPoison, of a call that finds nothing else to be done.
func (l *Ledger) ForgetEvents(ctx context.Context, p int, keep time.Duration, most int) (events, orders int, more bool, err error) {
	going, err := readNotes(ctx, l, l.store.keys.Forgetting(p), layout.DecodeForgettingNote)
	if err != nil {
		return 0, 0, false, err
	}
	var damage error
	for id, note := range going {
		if note.Recalled {
			continue
		}
		f := forgetting{ledger: l, p: p, event: id, note: note}
		err := f.orders(ctx, most)
		orders += f.dropped
		if err == nil || domain.ClassOf(err) != domain.ClassPoison {
			return 0, orders, err == nil, err
		}
		damage = cmp.Or(damage, err)
	}
	notes, err := readNotes(ctx, l, l.store.keys.Over(p), layout.DecodeOverNote)
	if err != nil {
		return 0, orders, false, err
	}
	due, err := l.noteOver(ctx, p, keep, notes)
	if err != nil || len(due) == 0 {
		return 0, orders, false, cmp.Or(err, damage)
	}
	state, err := l.ArchiveState(ctx, p)
	if err != nil {
		return 0, orders, false, err
	}
	done, err := l.doneTo(ctx, p, state)
	if err != nil {
		return 0, orders, false, err
	}
	for _, id := range due {
		if layout.ParseLogID(notes[id].Position).After(done) {
			continue
		}
		forgotten, err := l.forgetEvent(ctx, p, id, notes[id], keep, state, done)
		switch {
		case forgotten:
			return 1, orders, true, err
		case err != nil && domain.ClassOf(err) != domain.ClassPoison:
			return 0, orders, false, err
		}
		damage = cmp.Or(damage, err)
	}
	return 0, orders, false, damage
}

// readNotes are what is noted of events, by their ids.
func readNotes[N any](ctx context.Context, l *Ledger, key string, decode func(string) (N, error)) (map[string]N, error) {
	values, err := l.store.rdb.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("reading which events are over: %w", access.Classify(err))
	}
	notes := make(map[string]N, len(values))
	for id, value := range values {
		note, err := decode(value)
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", id, err)
		}
		notes[id] = note
	}
	return notes, nil
}

// noteOver brings the notes up to what the events are, and returns those that have been closed for so long, those first that have for the longest.
func (l *Ledger) noteOver(ctx context.Context, p int, keep time.Duration, notes map[string]layout.OverNote) (due []string, err error) {
	s := l.store
	closed := make(map[string]int64) // by the version of their terms
	err = s.Inside().EachTerms(ctx, p, func(id string, terms layout.EventTerms) {
		if terms.Closed && terms.Over == "" {
			closed[id] = terms.Version
		}
	})
	if err != nil {
		return nil, fmt.Errorf("looking for events that are over: %w", err)
	}
	newest, now, err := l.endOfLog(ctx, p) // behind what closed them
	if err != nil {
		return nil, err
	}
	var changed []any
	for id, version := range closed {
		note, noted := notes[id]
		if !noted || note.Version != version {
			note = layout.OverNote{Version: version, Position: newest}
			notes[id] = note
			changed = append(changed, id, note.String())
		}
		if domain.EntryMillis(note.Position)+keep.Milliseconds() <= now {
			due = append(due, id)
		}
	}
	var reopened []string
	for id := range notes {
		if _, still := closed[id]; !still {
			reopened = append(reopened, id)
			delete(notes, id)
		}
	}
	for chunk := range slices.Chunk(reopened, access.MaxBatch) {
		if err := s.rdb.HDel(ctx, s.keys.Over(p), chunk...).Err(); err != nil {
			return nil, fmt.Errorf("noting which events are not over: %w", access.Classify(err))
		}
	}
	for chunk := range slices.Chunk(changed, 2*access.MaxBatch) {
		// While memory is full it is noted later.
		if err := s.rdb.HSet(ctx, s.keys.Over(p), chunk...).Err(); err != nil && !outOfMemory(err) {
			return nil, fmt.Errorf("noting which events are over: %w", access.Classify(err))
		}
	}
	slices.SortFunc(due, func(a, b string) int {
		return layout.ParseLogID(notes[a].Position).Compare(layout.ParseLogID(notes[b].Position))
	})
	return due, nil
}

// endOfLog is the id of the newest entry of the log, and the time, in milliseconds.
func (l *Ledger) endOfLog(ctx context.Context, p int) (newest string, now int64, err error) {
	pipe := l.store.rdb.Pipeline()
	last, clock := pipe.XRevRangeN(ctx, l.store.keys.Log(p), "+", "-", 1), pipe.Time(ctx)
	if _, err := pipe.Exec(ctx); err != nil {
		return "", 0, fmt.Errorf("reading the end of the log: %w", access.Classify(err))
	}
	newest = "0-0"
	if len(last.Val()) > 0 {
		newest = last.Val()[0].ID
	}
	return newest, clock.Val().UnixMilli(), nil
}

// doneTo is up to where the log is posted, settled and archived on the partition's own branch.
func (l *Ledger) doneTo(ctx context.Context, p int, state domain.ArchiveState) (layout.LogID, error) {
	if state.Mark.Branch != state.Branch {
		return layout.LogID{}, nil
	}
	done := layout.ParseLogID(state.Mark.Position)
	return l.doneUpTo(ctx, p, done)
}

// doneUpTo is up to where posting and settlement have acknowledged a partition's log, with nothing owed of it, but at most done.
func (l *Ledger) doneUpTo(ctx context.Context, p int, done layout.LogID) (layout.LogID, error) {
	acknowledged, err := l.Acknowledged(ctx, p)
	if err != nil {
		return layout.LogID{}, err
	}
	for _, group := range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {
		if to := layout.ParseLogID(acknowledged[group]); done.After(to) {
			done = to
		}
	}
	return done, nil
}

// forgetEvent makes an event forgotten, if nothing of it is left to be done. Its orders are there still.
func (l *Ledger) forgetEvent(ctx context.Context, p int, id string, note layout.OverNote, keep time.Duration, state domain.ArchiveState, done layout.LogID) (bool, error) {
	s := l.store
	from, now, err := l.endOfLog(ctx, p)
	if err != nil {
		return false, err
	}
	event, err := s.Inside().Event(ctx, id)
	if err != nil || !event.Closed || event.Version != note.Version {
		return false, err
	}
	early, err := s.rdb.HExists(ctx, s.keys.Events(p), layout.EarlyField(id)).Result()
	if err != nil {
		return false, fmt.Errorf("reading event %s: %w", id, access.Classify(err))
	}
	if waits, err := l.awaitsPerson(ctx, p, id); err != nil || waits {
		return false, err
	}
	f := forgetting{ledger: l, p: p, event: id, note: layout.ForgettingNote{Hashes: event.OrderHashes, Early: early}}
	newest, open, err := f.look(ctx)
	switch {
	case err != nil:
		return false, err
	case open:
		newest = layout.ParseLogID(from)
	}
	if open || newest.After(layout.ParseLogID(note.Position)) { // what happened last counts
		note.Position = newest.String()
		if err := s.rdb.HSet(ctx, s.keys.Over(p), id, note.String()).Err(); err != nil && !outOfMemory(err) {
			return false, fmt.Errorf("noting that event %s is over: %w", id, access.Classify(err))
		}
	}
	if open || newest.After(done) || domain.EntryMillis(note.Position)+keep.Milliseconds() > now {
		return false, nil
	}
	to, quiet, err := l.quietSince(ctx, p, state.Branch, from, id)
	if err != nil || !quiet {
		return false, err
	}
	args := []any{state.Branch, id, note.Version, to, f.note.String()}
	for _, fields := range fieldsOf(id, event.Event) {
		args = appendStrings(append(args, len(fields)), fields)
	}
	args = appendStrings(args, turnedAwayFields(id, event.Event))
	keys := []string{s.keys.Log(p), s.keys.Events(p), s.keys.Places(p), s.keys.Forgetting(p), s.keys.TurnedAway(p)}
	reply, err := s.run(ctx, scriptForgetEvent, keys, args...).Text()
	if err != nil {
		return false, fmt.Errorf("script forget_event: %w", access.Classify(err))
	}
	if reply == "stale" || reply == "behind" {
		return false, nil
	}
	s.log.Info("an event is over, and forgotten", zap.String("event", id), zap.String("fact", reply))
	return true, nil
}

// fieldsOf are all fields that an event can have beside its terms: of events, and of places.
func fieldsOf(id string, e domain.Event) (of [2][]string) {
	events, places := []string{layout.AboutField(id), layout.SalesField(id), layout.EarlyField(id)}, []string{}
	for _, section := range e.Sections {
		events = append(events, layout.SectionField(id, section.Name))
		if section.Layout != "" {
			places = append(places, layout.SectionField(id, section.Name))
		}
		for _, reason := range domain.OrderRejected.Reasons() {
			events = append(events, layout.RefusedField(domain.RefusedDemand{EventID: id, Section: section.Name, Reason: reason}))
		}
	}
	for _, a := range e.Allocations {
		for _, c := range a.Codes {
			events = append(events, layout.CodeField(id, c.Hash))
		}
	}
	return [2][]string{events, places}
}

func turnedAwayFields(id string, e domain.Event) []string {
	fields := make([]string, len(e.Sections))
	for i, section := range e.Sections {
		fields[i] = layout.RefusedField(domain.RefusedDemand{EventID: id, Section: section.Name, Reason: string(domain.CodeSoldOutNow)})
	}
	return fields
}

// mostLetters is among how many dead letters it is looked for those that an event waits for. Where there are more, it is not forgotten.
const mostLetters = 10_000

// awaitsPerson reports whether there are dead letters about an event's orders that are not requests: a person must look at their money, or see that they are
// posted. What comes of a request is that the event is over. One that is damaged may be about any event.
func (l *Ledger) awaitsPerson(ctx context.Context, p int, id string) (bool, error) {
	from := "-"
	for range mostLetters / access.MaxBatch {
		letters, err := l.store.Inside().ReadDeadLetters(ctx, p, from, "+", access.MaxBatch)
		if err != nil {
			return false, err
		}
		for _, letter := range letters {
			from = layout.ParseLogID(letter.LetterID).Next()
			if letter.Stream != layout.StreamRequests && (letter.Damage != nil || strings.HasPrefix(letter.Order, id+"/") || slices.ContainsFunc(letter.Fields, func(f string) bool { return names(f, id) })) {
				return true, nil
			}
		}
		if len(letters) < access.MaxBatch {
			return false, nil
		}
	}
	return true, nil
}

// names reports whether a line of a log entry, or what is said of an order whose money is owed, is about an event.
func names(lines, id string) bool {
	for line := range strings.Lines(lines) {
		line = strings.TrimSuffix(line, "\n")
		if rest, is := strings.CutPrefix(line, id); is && (rest == "" || rest[0] == '/' || rest[0] == '|') {
			return true
		}
	}
	return false
}

// quietPage is how many bytes of the log are read at a time.
const quietPage = 1 << 20

// quietSince reads what was added to the log behind an entry, and reports whether none of it is about an event, and up to where that is so.
func (l *Ledger) quietSince(ctx context.Context, p int, branch, from, id string) (to string, quiet bool, err error) {
	for to = from; ; {
		entries, err := l.LogAfter(ctx, p, branch, to, quietPage)
		if err != nil {
			return to, false, err
		}
		size := 0
		for _, e := range entries {
			if to, size = e.ID, size+entrySize(e); len(e.Fields) != 2 || names(e.Fields[1], id) {
				return to, false, nil
			}
		}
		if size < quietPage {
			return to, true, nil
		}
	}
}

// forgetting is an event whose orders are looked at, or forgotten.
type forgetting struct {
	ledger  *Ledger
	p       int
	event   string
	note    layout.ForgettingNote // where they are
	dropped int
}

// hashes are those of orders, and of how many places customers have, and the pattern of the names in them that are the event's.
func (f *forgetting) hashes() (orders, customers []string, pattern string) {
	k := f.ledger.store.keys
	var all []layout.OrderHash
	for i := range f.note.Hashes {
		all = append(all, layout.OrderHash{EventID: f.event, Index: i})
	}
	if f.note.Hashes == 0 || f.note.Early {
		all = append(all, k.SharedHash(f.event))
	}
	for _, h := range all {
		orders, customers = append(orders, k.Orders(f.p, h)), append(customers, k.Customers(f.p, h))
	}
	return orders, customers, f.event + "/*"
}

// look reads all orders, and returns the newest version of one, and whether any may still be paid for, or cannot be read.
func (f *forgetting) look(ctx context.Context) (newest layout.LogID, open bool, err error) {
	orders, _, pattern := f.hashes()
	for _, key := range orders {
		err := f.ledger.store.Inside().EachValue(ctx, key, pattern, func(name, record string) {
			o, err := layout.DecodeOrder(record)
			if err != nil {
				f.ledger.store.log.Warn("an event that is over is not forgotten", zap.String("order", name), zap.Error(err))
			}
			open = open || o.Open() || err != nil
			if version := layout.ParseLogID(o.Version); version.After(newest) {
				newest = version
			}
		})
		if err != nil {
			return newest, open, fmt.Errorf("looking at the orders of event %s: %w", f.event, err)
		}
	}
	return newest, open, nil
}

// orders forgets at most so many, or a page more; and when none is left, it notes that.
func (f *forgetting) orders(ctx context.Context, most int) error {
	orders, customers, pattern := f.hashes()
	for i, key := range append(orders, customers...) {
		for cursor := uint64(0); ; {
			page, next, err := f.ledger.store.rdb.HScan(ctx, key, cursor, pattern, access.ReadPage).Result()
			if err != nil {
				return fmt.Errorf("reading orders of event %s: %w", f.event, access.Classify(err))
			}
			if i < len(orders) {
				if err := f.finalLines(ctx, page); err != nil {
					return err
				}
			}
			n, ours, err := f.drop(ctx, key, page)
			if i < len(orders) {
				f.dropped += n
			}
			if err != nil || !ours || f.dropped >= most {
				return err
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	// Each hash was gone through from its start, and nobody adds to them: none is left.
	_, ours, err := f.script(ctx, f.ledger.store.keys.Events(f.p), "1", nil)
	if err == nil && ours {
		f.ledger.store.log.Info("the orders of an event are forgotten", zap.String("event", f.event))
	}
	return err
}

// finalLines has the lines of orders say what they were.
func (f *forgetting) finalLines(ctx context.Context, page []string) error {
	s := f.ledger.store
	type line struct{ key, name, value string }
	lines := make([]line, 0, len(page)/2)
	pipe := s.rdb.Pipeline()
	for i := 0; i+1 < len(page); i += 2 {
		o, err := layout.DecodeOrder(page[i+1])
		if err != nil {
			return fmt.Errorf("order %s: %w", page[i], err)
		}
		if is, ever := o.Line(); ever {
			l := line{s.keys.Invoices(is.CustomerID), page[i], layout.EncodeLine(is)}
			lines = append(lines, l)
			pipe.HSet(ctx, l.key, l.name, l.value)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	_, err := pipe.Exec(ctx)
	if outOfMemory(err) {
		err = nil
		for _, l := range lines {
			if err = s.run(ctx, scriptInvoice, []string{l.key}, l.name, l.value).Err(); err != nil {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("writing what orders of event %s were on invoices: %w", f.event, access.Classify(err))
	}
	return nil
}

// drop drops what is on a page of a hash. ours is false if somebody else has done it all, or the partition has another branch.
func (f *forgetting) drop(ctx context.Context, key string, page []string) (dropped int, ours bool, err error) {
	for chunk := range slices.Chunk(page, 2*access.MaxBatch) {
		names := make([]string, 0, len(chunk)/2)
		for i := 0; i < len(chunk); i += 2 {
			names = append(names, chunk[i])
		}
		n, ours, err := f.script(ctx, key, "0", names)
		if err != nil || !ours {
			return dropped, false, err
		}
		dropped += n
	}
	return dropped, true, nil
}

func (f *forgetting) script(ctx context.Context, key, last string, names []string) (dropped int, ours bool, err error) {
	l := f.ledger
	keys := []string{l.store.keys.Events(f.p), l.store.keys.Forgetting(f.p), key}
	n, err := l.store.run(ctx, scriptForgetOrders, keys, appendStrings([]any{l.branch(f.p), f.event, f.note.String(), last}, names)...).Int()
	if err != nil {
		return 0, false, fmt.Errorf("script forget_orders: %w", access.Classify(err))
	}
	return max(n, 0), n >= 0, nil
}
