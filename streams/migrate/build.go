package migrate

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/bulk"
	"holdfast/streams/internal/layout"
	"holdfast/streams/migrate/internal/schema1"
)

// build writes a partition anew. It begins with nothing: what an earlier run left is deleted first.
func (m *migration) build(ctx context.Context, p *partition) error {
	w := bulk.NewWriter(ctx, m.ns.Client, m.old.Log(p.p), m.fenced())
	b := &builder{
		ctx: ctx, m: m, p: p, w: w, positions: make(map[domain.Group]position), about: make(map[string]domain.Fact),
		groups: make(map[domain.Group]*groupAt), orderHashes: make(map[string]int), lastMillis: -1,
	}
	for _, group := range logGroups {
		at, err := m.position(ctx, p.log, group)
		if err != nil {
			return err
		}
		b.positions[group], b.groups[group] = at, &groupAt{delivered: "0-0"}
	}
	for _, step := range []func() error{
		b.clear, b.findLetters, b.writeLog, b.writeGroups, b.writeOrders, b.writeEvents, b.writeLetters, b.writeNotes, w.Flush,
	} {
		if err := step(); err != nil {
			return fmt.Errorf("writing partition %d: %w", p.p, err)
		}
	}
	if _, err := bulk.WriteInvoices(ctx, m.ns, p.book.Orders, nil); err != nil {
		return fmt.Errorf("writing partition %d: %w", p.p, err)
	}
	return nil
}

type builder struct {
	ctx context.Context // of the build
	m   *migration
	p   *partition
	w   *bulk.Writer

	positions map[domain.Group]position
	about     map[string]domain.Fact // what a dead letter is about: entries of the old log, and their first facts in the new one
	groups    map[domain.Group]*groupAt

	orderHashes map[string]int // by event: how many of its own it gets

	open       *entry // what is being filled
	lastMillis int64
	seq        int64
	entries    int
}

// entry is one of the new log that is being filled.
type entry struct {
	id    string
	kind  kindOfEntry
	lines []string
	facts []domain.Fact
}

// kindOfEntry is what facts must have in common to share an entry: for no group there shall be something to do
// again that is done. What a dead letter is about stands alone, so that redriving it is about nothing else.
type kindOfEntry struct {
	millis  int64
	fact    domain.FactType
	alone   string // id of the old entry; empty: not alone
	posting status
	settle  status
}

// status is how far a group is with an entry.
type status struct {
	delivered  bool
	deliveries int64 // of what is pending; 0: it is done, or was not delivered
}

// groupAt is how far a group is in the new log.
type groupAt struct {
	delivered string
	read      int // entries up to there
	pending   []pendingEntry
	undone    int
}

type pendingEntry struct {
	id         string
	deliveries int64
}

// statusOf is how far the group was with an old entry.
func (pos position) statusOf(id layout.LogID) status {
	deliveries, pending := pos.pending[id]
	if pending {
		deliveries = max(deliveries, 1)
	}
	return status{!id.After(pos.delivered), deliveries}
}

func (b *builder) key(name func(int) string) string { return name(b.p.p) }

// clear deletes what an earlier run left of the partition.
func (b *builder) clear() error {
	k := b.m.ns.Keys
	keys := []string{b.key(k.Log), b.key(k.Dead), b.key(k.Holds), b.key(k.SetAside), b.key(k.Events), b.key(k.InProgress), b.key(k.Delivered)}
	hashes := make(map[layout.OrderHash]bool)
	for ref := range b.p.book.Orders {
		hashes[b.hashOf(ref)] = true
	}
	for hash := range hashes {
		keys = append(keys, k.Orders(b.p.p, hash))
	}
	for _, key := range keys {
		if err := b.w.Add(key, "UNLINK"); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) hashesOf(eventID string) int {
	n, known := b.orderHashes[eventID]
	if !known {
		n = layout.OrderHashes(b.p.book.Events[eventID].Terms())
		b.orderHashes[eventID] = n
	}
	return n
}

func (b *builder) hashOf(ref domain.OrderRef) layout.OrderHash {
	if b.p.book.Early[ref] { // it is in the hash that its event shares
		return b.m.ns.Keys.SharedHash(ref.EventID)
	}
	return b.m.ns.Keys.HashOf(ref, b.hashesOf(ref.EventID))
}

// findLetters notes which entries of the log dead letters are about.
func (b *builder) findLetters() error {
	return b.m.eachEntry(b.ctx, b.m.old.MovedDead(b.p.p), func(e domain.Entry) error {
		letter, err := layout.DecodeDeadLetter(b.p.p, e)
		if err == nil && letter.Stream == layout.StreamLog {
			b.about[letter.EntryID] = domain.Fact{}
		}
		return nil // one that cannot be read moves as it is
	})
}

func (b *builder) writeLog() error {
	err := b.m.eachEntry(b.ctx, b.p.log, func(e domain.Entry) error {
		if b.m.written++; b.m.written%access.ReadPage == 0 {
			b.m.progress(StepWrite, b.m.written, b.m.entries)
		}
		facts, err := schema1.ParseFacts(e.ID, e.Fields)
		if err != nil {
			return err
		}
		for _, f := range facts {
			if err := b.add(f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.close()
}

// add takes the next fact over.
func (b *builder) add(f domain.Fact) error {
	was := layout.ParseLogID(f.ID)
	kind := kindOfEntry{
		millis: f.AtMillis, fact: f.Type,
		posting: b.positions[domain.GroupPosting].statusOf(was), settle: b.positions[domain.GroupSettlement].statusOf(was),
	}
	_, isAbout := b.about[f.ID]
	if isAbout {
		kind.alone = f.ID
	}
	if b.open != nil && (b.open.kind != kind || len(b.open.facts) == wire.MaxFacts) {
		if err := b.close(); err != nil {
			return err
		}
	}
	if b.open == nil {
		if b.seq++; kind.millis != b.lastMillis {
			b.lastMillis, b.seq = kind.millis, 0
		}
		b.open = &entry{id: fmt.Sprintf("%d-%d", kind.millis, b.seq), kind: kind}
	}
	old := f.ID
	f.ID, f.Line = b.open.id, len(b.open.facts)+1
	ref := f.Ref()
	if f.Type == domain.FactHeld {
		if _, moved := b.p.moved[ref]; moved {
			f.DeadlineMillis = b.p.book.Orders[ref].DeadlineMillis
		}
	}
	if f.OrderID != "" {
		o := b.p.book.Orders[ref]
		o.Version = f.ID
		b.p.book.Orders[ref] = o
	}
	if isAbout && b.about[old].ID == "" {
		b.about[old] = f
	}
	b.open.facts, b.open.lines = append(b.open.facts, f), append(b.open.lines, wire.FactLine(f))
	return nil
}

// close writes the open entry, if it says what it shall.
func (b *builder) close() error {
	e := b.open
	if e == nil {
		return nil
	}
	b.open = nil
	value := strings.Join(e.lines, "\n")
	said, err := wire.ParseFacts(e.id, []string{string(e.kind.fact), value})
	if err != nil {
		return err
	}
	if !slices.EqualFunc(said, e.facts, func(a, b domain.Fact) bool { return reflect.DeepEqual(a, b) }) {
		return fmt.Errorf("entry %s would say %+v instead of %+v", e.id, said, e.facts)
	}
	b.entries++
	b.m.result.Entries++
	b.m.result.Facts += len(e.facts)
	for group, at := range map[domain.Group]status{domain.GroupPosting: e.kind.posting, domain.GroupSettlement: e.kind.settle} {
		b.groups[group].note(e.id, b.entries, at)
	}
	return b.w.Add(b.key(b.m.ns.Keys.Log), "XADD", e.id, string(e.kind.fact), value)
}

func (g *groupAt) note(id string, number int, at status) {
	if at.delivered {
		g.delivered, g.read = id, number
	}
	if at.deliveries > 0 {
		g.pending = append(g.pending, pendingEntry{id, at.deliveries})
	}
	if !at.delivered || at.deliveries > 0 {
		g.undone++
	}
}

// writeGroups lets each group of the log go on where it was.
func (b *builder) writeGroups() error {
	log := b.key(b.m.ns.Keys.Log)
	for _, group := range logGroups {
		g := b.groups[group]
		err := b.w.Add(log, "XGROUP CREATE", string(group), g.delivered, "MKSTREAM", "ENTRIESREAD", strconv.Itoa(g.read))
		for _, e := range g.pending {
			if err == nil {
				err = b.w.Add(log, "XCLAIM", string(group), consumer, "0", e.id,
					"IDLE", strconv.FormatInt(pendingIdle.Milliseconds(), 10), "RETRYCOUNT", strconv.FormatInt(e.deliveries, 10), "FORCE", "JUSTID")
			}
		}
		if err != nil {
			return err
		}
	}
	b.m.result.Unposted += b.groups[domain.GroupPosting].undone
	b.m.result.Unsettled += b.groups[domain.GroupSettlement].undone
	return nil
}

// record is an order's, whose times are the version's where they can be.
func record(o domain.Order) string {
	version := o.Version
	o.ResolvedAtMillis = 0 // always
	if o.State == domain.OrderConfirmed {
		o.ConfirmedAtMillis = 0
	}
	return version + "|" + layout.OrderTail(o)
}

func (b *builder) writeOrders() error {
	k, holds := b.m.ns.Keys, bulk.NewPairs(b.w, b.key(b.m.ns.Keys.Holds), "ZADD")
	hashes := make(map[layout.OrderHash]*bulk.Pairs)
	for ref, o := range b.p.book.Orders {
		hash := b.hashOf(ref)
		if hashes[hash] == nil {
			hashes[hash] = bulk.NewPairs(b.w, k.Orders(b.p.p, hash), "HSET")
		}
		if err := hashes[hash].Add(ref.String(), record(o)); err != nil {
			return err
		}
		if o.State == domain.OrderHeld {
			if err := holds.Add(strconv.FormatInt(o.DeadlineMillis, 10), ref.String()); err != nil {
				return err
			}
		}
	}
	for _, orders := range hashes {
		if err := orders.Flush(); err != nil {
			return err
		}
	}
	b.m.result.Deadlines += len(b.p.moved)
	return holds.Flush()
}

func (b *builder) writeEvents() error {
	events, inProgress := bulk.NewPairs(b.w, b.key(b.m.ns.Keys.Events), "HSET"), bulk.NewPairs(b.w, b.key(b.m.ns.Keys.InProgress), "HSET")
	totals := make(map[string]*layout.Totals, len(b.p.book.Events))
	for id := range b.p.book.Events {
		totals[id] = new(layout.Totals)
	}
	for ref, o := range b.p.book.Orders {
		if o.State == domain.OrderConfirmed && !totals[ref.EventID].Add(o) {
			return refused("the revenue of event %s is more than 2^63-1", ref.EventID)
		}
	}
	for id, e := range b.p.book.Events {
		fields := layout.EncodeEvent(id, e, b.hashesOf(id))
		fields[layout.SalesField(id)] = totals[id].String()
		for field, value := range fields {
			if err := events.Add(field, value); err != nil {
				return err
			}
		}
		for customer, order := range b.p.book.InProgress[id] {
			if err := inProgress.Add(layout.InProgressField(id, customer), order); err != nil {
				return err
			}
		}
	}
	for what, places := range b.p.book.Refused {
		if err := events.Add(layout.RefusedField(what), strconv.FormatInt(places, 10)); err != nil {
			return err
		}
	}
	early := make(map[string]int)
	for ref := range b.p.book.Early {
		early[ref.EventID]++
	}
	for id, count := range early {
		if err := events.Add(layout.EarlyField(id), strconv.Itoa(count)); err != nil {
			return err
		}
	}
	now, err := b.m.ns.Client.Time(b.ctx).Result()
	if err != nil {
		return fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	branch := layout.Branch{ID: layout.NewBranchID(), AtMillis: now.UnixMilli()}
	if b.entries > 0 {
		branch.End = fmt.Sprintf("%d-%d", b.lastMillis, b.seq)
	}
	for field, value := range map[string]string{layout.BranchField: branch.ID, layout.BranchesField: branch.String()} {
		if err := events.Add(field, value); err != nil {
			return err
		}
	}
	if b.entries > 0 {
		if err := events.Add(layout.ClockField, strconv.FormatInt(b.lastMillis, 10)); err != nil {
			return err
		}
	}
	if err := events.Flush(); err != nil {
		return err
	}
	return inProgress.Flush()
}

// writeLetters moves the dead letters, under their ids. One about an entry of the log is about the entry now in which
// its fact is, alone.
func (b *builder) writeLetters() error {
	return b.m.eachEntry(b.ctx, b.m.old.MovedDead(b.p.p), func(e domain.Entry) error {
		b.m.result.Letters++
		letter, err := layout.DecodeDeadLetter(b.p.p, e)
		fields := slices.Clone(e.Fields)
		if err == nil {
			fact, isAbout := b.about[letter.EntryID]
			isAbout = isAbout && letter.Stream == layout.StreamLog && fact.ID != ""
			for i := 0; i+1 < len(fields); i += 2 {
				switch {
				case fields[i] == "group" && fields[i+1] == schema1.GroupWorkers:
					fields[i+1] = string(domain.GroupWorkers)
				case fields[i] == "entry_id" && isAbout:
					fields[i+1] = fact.ID
				case fields[i] == "fields" && isAbout:
					fields[i+1] = netstrings(string(fact.Type), wire.FactLine(fact))
				}
			}
		}
		return b.w.Add(b.key(b.m.ns.Keys.Dead), "XADD", append([]string{e.ID}, fields...)...)
	})
}

// netstrings are values as a dead letter has them: length ':' bytes ','.
func netstrings(values ...string) string {
	var s strings.Builder
	for _, v := range values {
		s.WriteString(strconv.Itoa(len(v)) + ":" + v + ",")
	}
	return s.String()
}

// writeNotes moves what stands beside orders about their dead letters, as it is.
func (b *builder) writeNotes() error {
	notes := bulk.NewPairs(b.w, b.key(b.m.ns.Keys.SetAside), "HSET")
	for cursor := uint64(0); ; {
		page, next, err := b.m.ns.Client.HScan(b.ctx, b.m.old.SetAside(b.p.p), cursor, "", access.ReadPage).Result()
		if err != nil {
			return fmt.Errorf("reading %s: %w", b.m.old.SetAside(b.p.p), access.Classify(err))
		}
		for pair := range slices.Chunk(page, 2) {
			if err := notes.Add(pair[0], pair[1]); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return notes.Flush()
		}
	}
}
