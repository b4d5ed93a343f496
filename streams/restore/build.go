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
	b := &builder{
		ctx: ctx, r: r, p: p, book: domain.NewSnapshot(), hashes: make(map[string]int),
		w: bulk.NewWriter(ctx, r.ns.Client, r.ns.Keys.Restoring(p), r.name),
	}
	for _, step := range []func() error{b.clear, b.writeLog, b.writeGroups, b.writeOrders, b.writeEvents, b.writePlaces, b.w.Flush} {
		if err := step(); err != nil {
			return err
		}
	}
	lines, err := bulk.WriteInvoices(ctx, r.ns, b.book.Orders, b.book.Lines)
	r.result.InvoiceLines += lines
	if err != nil {
		return err
	}
	for _, e := range b.book.Events {
		if e.Exists() {
			r.result.Events++
		}
	}
	r.result.Orders += len(b.book.Orders)
	return nil
}

// builder is a partition that is being written. What is in memory is what it folds to, and an id for each log entry.
type builder struct {
	ctx context.Context // of the build
	r   *restoring
	p   int
	w   *bulk.Writer

	book     *domain.Snapshot
	hashes   map[string]int // by event: how many hashes of orders are its own
	ids      []layout.LogID // of the log's entries
	archived domain.ArchivedPartition
}

func (b *builder) key(name func(int) string) string { return name(b.p) }

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

// writeLog writes the log, and folds it.
func (b *builder) writeLog() (err error) {
	result, log := &b.r.result, b.r.ns.Keys.RestoredLog(b.p)
	is := Partition{Partition: b.p}
	b.archived, err = b.r.from.Read(b.ctx, b.p, func(e domain.Entry) error {
		facts, err := wire.ParseFacts(e.ID, e.Fields)
		if err != nil {
			return fmt.Errorf("log entry %s: %w", e.ID, err)
		}
		for _, f := range facts {
			if err := b.fold(f); err != nil {
				return domain.WithClass(domain.ClassPoison, fmt.Errorf("log entry %s: %w: %w", e.ID, errBroken, err))
			}
		}
		is.Facts += len(facts)
		if result.Facts += len(facts); b.r.options.Progress != nil {
			b.r.options.Progress(result.Facts)
		}
		b.ids = append(b.ids, layout.ParseLogID(e.ID))
		return b.w.Add(log, "XADD", append([]string{e.ID}, e.Fields...)...)
	})
	if err != nil {
		return err
	}
	if len(b.ids) > 0 {
		last := b.ids[len(b.ids)-1]
		is.Last, is.LastMillis = last.String(), int64(last.Millis) //nolint:gosec // a time of Redis
	}
	if len(b.archived.Branches) > 0 {
		is.Parent = b.archived.Branches[0].ID
	}
	is.Branch, is.BeyondFacts, is.BeyondFault = layout.NewBranchID(), b.archived.BeyondFacts, b.archived.BeyondFault
	result.Entries += len(b.ids)
	result.Segments += b.archived.Segments
	result.BeyondEntries += b.archived.BeyondEntries
	result.BeyondFacts += b.archived.BeyondFacts
	result.Partitions = append(result.Partitions, is)
	return nil
}

func (b *builder) fold(f domain.Fact) error {
	if err := b.book.Fold(f); err != nil {
		return err
	}
	switch f.Type { //nolint:exhaustive // of an event's beginning, and its return
	case domain.FactCreated:
		b.hashes[f.EventID] = layout.OrderHashes(*f.Terms)
	case domain.FactEventRecalled:
		b.hashes[f.EventID] = f.Recalled.OrderHashes
	}
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
			b.r.result.Unposted += left
		} else {
			b.r.result.Unsettled += left
		}
	}
	return nil
}

func (b *builder) hashOf(ref domain.OrderRef) layout.OrderHash {
	if b.book.Early[ref] { // it is in the hash that its event shares
		return b.r.ns.Keys.SharedHash(ref.EventID)
	}
	return b.r.ns.Keys.HashOf(ref, b.hashes[ref.EventID])
}

func (b *builder) writeOrders() error {
	k := b.r.ns.Keys
	holds, awaited := bulk.NewPairs(b.w, b.key(k.Holds), "ZADD"), bulk.NewPairs(b.w, b.key(k.Awaited), "ZADD")
	hashes := make(map[layout.OrderHash]*bulk.Pairs)
	unknown := make(map[string][]string) // by version: rejected for an unknown event
	for ref, o := range b.book.Orders {
		hash := b.hashOf(ref)
		if hashes[hash] == nil {
			hashes[hash] = bulk.NewPairs(b.w, k.Orders(b.p, hash), "HSET")
		}
		if err := hashes[hash].Add(ref.String(), layout.EncodeOrder(o)); err != nil {
			return err
		}
		if o.Open() {
			b.r.result.Held++
			if err := holds.Add(strconv.FormatInt(o.PayableUntilMillis(), 10), ref.String()); err != nil {
				return err
			}
		}
		if o.Awaited() { // the gateway is asked at once
			if err := awaited.Add(strconv.FormatInt(b.r.now, 10), ref.String()); err != nil {
				return err
			}
		}
		if o.Reason == domain.ReasonUnknownEvent {
			unknown[o.Version] = append(unknown[o.Version], ref.String())
		}
	}
	all := []*bulk.Pairs{holds, awaited}
	for _, orders := range hashes {
		all = append(all, orders)
	}
	forget := bulk.NewPairs(b.w, b.key(k.Unknown), "ZADD")
	for version, names := range unknown {
		slices.Sort(names)
		until := domain.EntryMillis(version) + wire.MaxValidSeconds*1000
		if err := forget.Add(strconv.FormatInt(until, 10), version+" "+strings.Join(names, " ")); err != nil {
			return err
		}
	}
	return flush(append(all, forget))
}

func flush(all []*bulk.Pairs) error {
	for _, pairs := range all {
		if err := pairs.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) writeEvents() error {
	events, places := bulk.NewPairs(b.w, b.r.ns.Keys.RestoredEvents(b.p), "HSET"), bulk.NewPairs(b.w, b.key(b.r.ns.Keys.Places), "HSET")
	totals := make(map[string]*layout.Totals, len(b.book.Events))
	for id := range b.book.Events {
		totals[id] = new(layout.Totals)
	}
	for ref, o := range b.book.Orders {
		if o.State == domain.OrderConfirmed && !totals[ref.EventID].Add(o) {
			return domain.WithClass(domain.ClassPoison, fmt.Errorf("%w: the revenue of event %s is more than 2^63-1", errBroken, ref.EventID))
		}
	}
	fields := make(map[string]string)
	add := func() error {
		for field, value := range fields {
			if err := events.Add(field, value); err != nil {
				return err
			}
		}
		return nil
	}
	for id, e := range b.book.Events {
		fields = layout.EncodeEvent(id, e, b.hashes[id])
		if e.Over == "" {
			fields[layout.SalesField(id)] = totals[id].String()
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
	for what, count := range b.book.Refused {
		fields[layout.RefusedField(what)] = strconv.FormatInt(count, 10)
	}
	early := make(map[string]int)
	for ref := range b.book.Early {
		if b.book.Events[ref.EventID].Over == "" { // else it is not recalled yet
			early[ref.EventID]++
		}
	}
	for id, count := range early {
		fields[layout.EarlyField(id)] = strconv.Itoa(count)
	}
	branches := b.branches()
	fields[layout.BranchField], fields[layout.BranchesField] = branches[0].ID, lines(branches)
	if n := len(b.ids); n > 0 {
		fields[layout.ClockField] = strconv.FormatUint(b.ids[n-1].Millis, 10)
	}
	if err := add(); err != nil {
		return err
	}
	if mark := layout.EncodeArchived(b.archived.Mark); mark != "" { // of the branch before: so how far behind the archive is can be told
		if err := b.w.Add(b.key(b.r.ns.Keys.Archived), "SET", mark); err != nil {
			return err
		}
	}
	return flush([]*bulk.Pairs{events, places})
}

// branches are a new one, which goes on from what was archived, and those before it.
func (b *builder) branches() []layout.Branch {
	is := b.r.result.Partitions[len(b.r.result.Partitions)-1]
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

// writePlaces writes what customers have: the order in progress, and how many places.
func (b *builder) writePlaces() error {
	k := b.r.ns.Keys
	inProgress := bulk.NewPairs(b.w, b.key(k.InProgress), "HSET")
	for id, customers := range b.book.InProgress {
		for customer, order := range customers {
			if err := inProgress.Add(layout.InProgressField(id, customer), order); err != nil {
				return err
			}
		}
	}
	all := []*bulk.Pairs{inProgress}
	hashes := make(map[layout.OrderHash]*bulk.Pairs)
	for id, customers := range b.book.Places {
		for customer, places := range customers {
			hash := k.HashOfCustomer(id, customer, b.hashes[id])
			if hashes[hash] == nil {
				hashes[hash] = bulk.NewPairs(b.w, k.Customers(b.p, hash), "HSET")
				all = append(all, hashes[hash])
			}
			if err := hashes[hash].Add(id+"/"+customer, strconv.FormatInt(places, 10)); err != nil {
				return err
			}
		}
	}
	return flush(all)
}
