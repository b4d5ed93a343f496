package restore

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/bulk"
	"holdfast/streams/internal/layout"
)

// logGroups are those that read the log.
var logGroups = []domain.Group{domain.GroupPosting, domain.GroupSettlement}

// build writes a partition, its log and its events under the names that they have meanwhile. It begins with nothing: what an earlier run left is
// deleted first.
func (r *restoring) build(ctx context.Context, p int) error {
	b := newBuilder(ctx, r, p)
	for _, step := range []func() error{b.clear, b.read, b.writeGroups, b.writeEvents, b.flush} {
		if err := step(); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.add(b.result)
	r.result.Partitions[p] = b.is
	return nil
}

// builder is a partition that is being written. What is in memory is what is known of its events, an id for each log entry, and a part of the rest.
type builder struct {
	ctx context.Context // of the build
	r   *restoring
	p   int
	w   *bulk.Writer

	events   map[string]domain.Event
	hashes   map[string]int // by event: how many hashes of orders are its own
	totals   map[string]*layout.Totals
	refused  map[domain.RefusedDemand]int64
	early    map[string]int // by event
	ids      []layout.LogID // of the log's entries
	archived domain.ArchivedPartition
	result   Result // of this partition
	is       Partition

	pairs                               map[string]*bulk.Pairs // by key
	holds, awaited, unknown, inProgress *bulk.Pairs
}

func newBuilder(ctx context.Context, r *restoring, p int) *builder {
	k := r.ns.Keys
	b := &builder{
		ctx: ctx, r: r, p: p, w: bulk.NewWriter(ctx, r.ns.Client, k.Restoring(p), r.name),
		events: make(map[string]domain.Event), hashes: make(map[string]int), totals: make(map[string]*layout.Totals),
		refused: make(map[domain.RefusedDemand]int64), early: make(map[string]int), pairs: make(map[string]*bulk.Pairs),
	}
	b.holds, b.awaited, b.unknown = b.pairsOf(k.Holds(p), "ZADD"), b.pairsOf(k.Awaited(p), "ZADD"), b.pairsOf(k.Unknown(p), "ZADD")
	b.inProgress = b.pairsOf(k.InProgress(p), "HSET")
	return b
}

// pairsOf collects what is written to a key.
func (b *builder) pairsOf(key, command string) *bulk.Pairs {
	if b.pairs[key] == nil {
		b.pairs[key] = bulk.NewPairs(b.w, key, command)
	}
	return b.pairs[key]
}

// flush writes what was collected.
func (b *builder) flush() error {
	for _, pairs := range b.pairs {
		if err := pairs.Flush(); err != nil {
			return err
		}
	}
	return b.w.Flush()
}

// clear deletes what an earlier run left of the partition, and what workers have noted there.
func (b *builder) clear() error {
	for _, key := range b.r.left[b.p] {
		if key != b.r.ns.Keys.Restoring(b.p) {
			if err := b.w.Add(key, "UNLINK"); err != nil {
				return err
			}
		}
	}
	return nil
}

// read writes the log, and then what it and all that came before it fold to.
func (b *builder) read() (err error) {
	log := b.r.ns.Keys.RestoredLog(b.p)
	b.archived, err = b.r.from.Read(b.ctx, b.p, func(e domain.Entry) error {
		b.ids = append(b.ids, layout.ParseLogID(e.ID))
		return b.w.Add(log, "XADD", append([]string{e.ID}, e.Fields...)...)
	}, b.writePart)
	if err != nil {
		return err
	}
	b.is = Partition{
		Partition: b.p, Branch: layout.NewBranchID(), Snapshot: b.archived.Snapshot, Facts: b.archived.Facts, Entries: len(b.ids),
		BeyondFacts: b.archived.BeyondFacts, BeyondFault: b.archived.BeyondFault,
	}
	if len(b.ids) > 0 {
		last := b.ids[len(b.ids)-1]
		b.is.Last, b.is.LastMillis = last.String(), int64(last.Millis) //nolint:gosec // a time of Redis
	}
	if len(b.archived.Branches) > 0 {
		b.is.Parent = b.archived.Branches[0].ID
	}
	b.result.Facts, b.result.Entries, b.result.Segments = b.is.Facts, b.is.Entries, b.archived.Segments
	b.result.BeyondEntries, b.result.BeyondFacts = b.archived.BeyondEntries, b.archived.BeyondFacts
	return nil
}

// writePart writes a part of the state, but for its events, which are known when all of it is.
func (b *builder) writePart(part *domain.Snapshot) error {
	for id, e := range part.Events {
		b.events[id], b.totals[id] = e, new(layout.Totals)
		if e.Exists() {
			b.hashes[id] = layout.OrderHashesOf(e)
			b.result.Events++
		}
	}
	for what, count := range part.Refused {
		b.refused[what] += count
	}
	for ref := range part.Early {
		b.early[ref.EventID]++
	}
	if err := b.writeOrders(part); err != nil {
		return err
	}
	if err := b.writePlaces(part); err != nil {
		return err
	}
	lines, err := bulk.WriteInvoices(b.ctx, b.r.ns, part.Orders, part.Lines)
	b.result.InvoiceLines += lines
	if err != nil {
		return err
	}
	b.result.Orders += len(part.Orders)
	b.r.progress(len(part.Orders))
	return nil
}

// writeGroups lets each group of the log go on where it had acknowledged everything: what it has done behind that, it does again, without
// effect.
func (b *builder) writeGroups() error {
	for _, group := range logGroups {
		acknowledged := layout.ParseLogID(b.archived.Acknowledged[group])
		read := sort.Search(len(b.ids), func(i int) bool { return b.ids[i].After(acknowledged) })
		delivered := "0-0"
		if read > 0 {
			delivered = b.ids[read-1].String()
		}
		if err := b.w.Add(b.r.ns.Keys.RestoredLog(b.p), "XGROUP CREATE", string(group), delivered, "MKSTREAM", "ENTRIESREAD", strconv.Itoa(read)); err != nil {
			return err
		}
		left := len(b.ids) - read
		if group == domain.GroupPosting {
			b.result.Unposted += left
		} else {
			b.result.Unsettled += left
		}
	}
	return nil
}

func (b *builder) writeOrders(part *domain.Snapshot) error {
	k := b.r.ns.Keys
	unknown := make(map[string][]string) // by version: rejected for an unknown event
	for ref, o := range part.Orders {
		hash := k.HashOf(ref, b.hashes[ref.EventID])
		if part.Early[ref] { // it is in the hash that its event shares
			hash = k.SharedHash(ref.EventID)
		}
		if err := b.pairsOf(k.Orders(b.p, hash), "HSET").Add(ref.String(), layout.EncodeOrder(o)); err != nil {
			return err
		}
		if o.State == domain.OrderConfirmed && (b.totals[ref.EventID] == nil || !b.totals[ref.EventID].Add(o)) {
			return domain.WithClass(domain.ClassPoison, fmt.Errorf("%w: order %s is confirmed, and its event is not known, or its revenue is more than 2^63-1", errBroken, ref))
		}
		if o.Open() {
			b.result.Held++
			if err := b.holds.Add(strconv.FormatInt(o.PayableUntilMillis(), 10), ref.String()); err != nil {
				return err
			}
		}
		if o.Awaited() { // the gateway is asked at once
			if err := b.awaited.Add(strconv.FormatInt(b.r.now, 10), ref.String()); err != nil {
				return err
			}
		}
		if o.Reason == domain.ReasonUnknownEvent {
			unknown[o.Version] = append(unknown[o.Version], ref.String())
		}
	}
	for version, names := range unknown {
		slices.Sort(names)
		until := domain.EntryMillis(version) + wire.MaxValidSeconds*1000
		if err := b.unknown.Add(strconv.FormatInt(until, 10), version+" "+strings.Join(names, " ")); err != nil {
			return err
		}
	}
	return nil
}

// writePlaces writes what customers have: the order in progress, and how many places.
func (b *builder) writePlaces(part *domain.Snapshot) error {
	k := b.r.ns.Keys
	for id, customers := range part.InProgress {
		for customer, order := range customers {
			if err := b.inProgress.Add(layout.InProgressField(id, customer), order); err != nil {
				return err
			}
		}
	}
	for id, customers := range part.Places {
		for customer, places := range customers {
			pairs := b.pairsOf(k.Customers(b.p, k.HashOfCustomer(id, customer, b.hashes[id])), "HSET")
			if err := pairs.Add(id+"/"+customer, strconv.FormatInt(places, 10)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) writeEvents() error {
	events, places := b.pairsOf(b.r.ns.Keys.RestoredEvents(b.p), "HSET"), b.pairsOf(b.r.ns.Keys.Places(b.p), "HSET")
	fields := make(map[string]string)
	add := func() error {
		for field, value := range fields {
			if err := events.Add(field, value); err != nil {
				return err
			}
		}
		return nil
	}
	for id, e := range b.events {
		fields = layout.EncodeEvent(id, e, b.hashes[id])
		if e.Over == "" {
			fields[layout.SalesField(id)] = b.totals[id].String()
		}
		if err := add(); err != nil {
			return err
		}
		for field, value := range layout.EncodePlaces(id, e) {
			if err := places.Add(field, value); err != nil {
				return err
			}
		}
	}
	clear(fields)
	for what, count := range b.refused {
		fields[layout.RefusedField(what)] = strconv.FormatInt(count, 10)
	}
	for id, count := range b.early {
		if b.events[id].Over != "" { // it is not recalled yet
			continue
		}
		fields[layout.EarlyField(id)] = strconv.Itoa(count)
	}
	branches := b.branches()
	fields[layout.BranchField], fields[layout.BranchesField] = branches[0].ID, lines(branches)
	if n := len(b.ids); n > 0 {
		fields[layout.ClockField] = strconv.FormatUint(b.ids[n-1].Millis, 10)
	}
	if b.archived.Trimmed {
		fields[layout.TrimmedField] = b.ids[0].String()
	}
	if err := add(); err != nil {
		return err
	}
	if mark := layout.EncodeArchived(b.archived.Mark); mark != "" { // of the branch before: so how far behind the archive is can be told
		return b.w.Add(b.r.ns.Keys.Archived(b.p), "SET", mark)
	}
	return nil
}

// branches are a new one, which goes on from what was archived, and those before it.
func (b *builder) branches() []layout.Branch {
	is := b.is
	list := []layout.Branch{{ID: is.Branch, Parent: is.Parent, Knew: is.Parent, Common: is.Last, End: is.Last, AtMillis: b.r.now, By: "restore"}}
	for _, a := range b.archived.Branches {
		common := a.After
		if a.Parent == "" {
			common = ""
		}
		list = append(list, layout.Branch{ID: a.ID, Parent: a.Parent, Knew: a.Parent, Common: common, End: common, AtMillis: a.AtMillis, By: a.By})
	}
	return list[:min(len(list), layout.MostBranches)]
}

func lines(branches []layout.Branch) string {
	all := make([]string, len(branches))
	for i, branch := range branches {
		all[i] = branch.String()
	}
	return strings.Join(all, "\n")
}
