package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// checkState: I1, I2, I7, and what of I3 is in the partition.
func (p *partitionAudit) checkState(ctx context.Context) error {
	for _, check := range []func(context.Context) error{
		p.checkClock, p.checkBranch, p.checkEvents, p.checkForgotten, p.checkOrders, p.checkHolds, p.checkAwaited, p.checkInProgress, p.checkPlaces, p.checkSeats, p.checkOwed, p.checkUnknown, p.checkQueues,
	} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// names is the sorted union of what the log and the scan know.
func names[V, W any](fromLog map[string]V, fromScan map[string]W) []string {
	all := slices.Collect(maps.Keys(fromLog))
	for name := range fromScan {
		if _, known := fromLog[name]; !known {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// checkClock: the time that scripts go on from is that of the newest entry.
func (p *partitionAudit) checkClock(ctx context.Context) error {
	var clock *redis.StringCmd
	err := p.snapshot(ctx, func(pipe redis.Pipeliner) { clock = pipe.HGet(ctx, p.ns.Keys.Events(p.p), layout.ClockField) })
	if err != nil {
		return err
	}
	if now := domain.EntryMillis(p.last); now > 0 && clock.Val() != strconv.FormatInt(now, 10) {
		p.violation("I7", p.ns.Keys.Events(p.p), "its clock says %q, the newest log entry is of %d", clock.Val(), now)
	}
	return nil
}

// checkBranch: the partition is of the newest of its branches, each of which began in the one before.
func (p *partitionAudit) checkBranch(ctx context.Context) error {
	key := p.ns.Keys.Events(p.p)
	var is *redis.SliceCmd
	if err := p.transaction(ctx, func(pipe redis.Pipeliner) {
		is = pipe.HMGet(ctx, key, layout.BranchField, layout.BranchesField)
	}); err != nil {
		return err
	}
	branches, err := layout.DecodeBranches(layout.AsString(is.Val()[1]))
	if err == nil {
		err = layout.CheckBranches(layout.AsString(is.Val()[0]), branches)
	}
	if err != nil {
		p.violation("I7", key, "%v", err)
	}
	return nil
}

// checkEvents: terms, inventory and sales.
func (p *partitionAudit) checkEvents(ctx context.Context) error {
	key := p.ns.Keys.Events(p.p)
	for _, field := range []string{layout.ClockField, layout.BranchField, layout.BranchesField, layout.TrimmedField} {
		delete(p.eventFields, field)
	}
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(p.book.Events)), 50) {
		cmds, seated, fields := make([]*redis.SliceCmd, len(chunk)), make([]*redis.SliceCmd, len(chunk)), make([][]string, len(chunk))
		err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
			for i, id := range chunk {
				fields[i] = []string{layout.TermsField(id), layout.AboutField(id), layout.SalesField(id)}
				for _, s := range p.book.Events[id].Sections {
					fields[i] = append(fields[i], layout.SectionField(id, s.Name))
				}
				seated[i] = pipe.HMGet(ctx, p.ns.Keys.Places(p.p), append([]string{id}, fields[i][3:]...)...) // one that is forgotten has no sections
				for _, a := range p.book.Events[id].Allocations {
					for _, c := range a.Codes {
						fields[i] = append(fields[i], layout.CodeField(id, c.Hash))
					}
				}
				cmds[i] = pipe.HMGet(ctx, key, fields[i]...)
			}
		})
		if err != nil {
			return err
		}
		for i, id := range chunk {
			p.checkEvent(id, texts(cmds[i]), texts(seated[i])[1:])
			for _, field := range fields[i] {
				delete(p.eventFields, field)
			}
		}
	}
	if err := p.checkEarly(ctx); err != nil {
		return err
	}
	if err := p.checkRefused(ctx); err != nil {
		return err
	}
	p.checkPlaceFields()
	for field := range p.eventFields {
		// Of an event or a section that was made since it was looked for, the log tells by now.
		if id, _, _ := strings.Cut(field, "#"); !p.madeSince(id) && !p.isOver(eventOf(field)) {
			p.violation("I7", field, "is a field of %s, the log has no such event or section", key)
		}
	}
	return nil
}

// checkEarly: an event knows how many orders there were before it, in the hash that it shares.
func (p *partitionAudit) checkEarly(ctx context.Context) error {
	had := make(map[string]int)
	for ref := range p.book.Early {
		if !p.isOver(ref.EventID) {
			had[ref.EventID]++
		}
	}
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(had)), access.MaxBatch) {
		fields := make([]string, len(chunk))
		for i, id := range chunk {
			fields[i] = layout.EarlyField(id)
			delete(p.eventFields, fields[i])
		}
		var found *redis.SliceCmd
		if err := p.transaction(ctx, func(pipe redis.Pipeliner) { found = pipe.HMGet(ctx, p.ns.Keys.Events(p.p), fields...) }); err != nil {
			return err
		}
		for i, id := range chunk {
			if stored := layout.AsString(found.Val()[i]); stored != strconv.Itoa(had[id]) {
				p.violation("I7", id, "orders that it had before it was there: %d, %s says %q", had[id], p.ns.Keys.Events(p.p), stored)
			}
		}
	}
	return nil
}

// checkRefused: the places that were asked for in vain are those of the rejections in the log. What is there of an event
// or a section that the log does not know is left to the others.
func (p *partitionAudit) checkRefused(ctx context.Context) error {
	counted := make(map[string]domain.RefusedDemand)
	for what := range p.book.Refused {
		counted[layout.RefusedField(what)] = what
	}
	for field := range p.eventFields {
		name, reason, counts := strings.Cut(field, "#")
		id, section, isSection := strings.Cut(name, "/")
		if counts && isSection && p.madeSince(name) {
			counted[field] = domain.RefusedDemand{EventID: id, Section: section, Reason: reason}
		}
	}
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(counted)), access.MaxBatch) {
		var found *redis.SliceCmd
		if err := p.snapshot(ctx, func(pipe redis.Pipeliner) { found = pipe.HMGet(ctx, p.ns.Keys.Events(p.p), chunk...) }); err != nil {
			return err
		}
		for i, field := range chunk {
			delete(p.eventFields, field)
			want := ""
			if places := p.book.Refused[counted[field]]; places > 0 {
				want = strconv.FormatInt(places, 10)
			}
			if stored := layout.AsString(found.Val()[i]); stored != want {
				p.violation("I7", field, "places refused are %q, its rejections in the log add up to %q", stored, want)
			}
		}
	}
	return nil
}

// checkPlaces: I2. Of an event with a limit of them, each customer's places are counted, as their orders add up to.
func (p *partitionAudit) checkPlaces(ctx context.Context) error {
	counted := make(map[string]int64) // from what the orders are, and not as the fold does, fact by fact
	for ref, o := range p.book.Orders {
		if p.book.Events[ref.EventID].MaxPerCustomer > 0 && (o.State == domain.OrderHeld || o.State == domain.OrderConfirmed) {
			counted[ref.EventID+"/"+o.CustomerID] += o.Items.Quantity()
		}
	}
	for event, customers := range p.book.Places {
		for customer, places := range customers {
			if name := event + "/" + customer; counted[name] != places {
				p.violation("I2", name, "places of the customer by the log: %d, their orders add up to %d", places, counted[name])
			}
		}
	}
	for chunk := range slices.Chunk(names(counted, p.places), access.MaxBatch) {
		chunk = slices.DeleteFunc(chunk, func(name string) bool { return p.isOver(eventOf(name)) }) // forgotten since the others were looked at
		if len(chunk) == 0 {
			continue
		}
		refs := make([]domain.OrderRef, len(chunk)) // of the events, and who
		for i, name := range chunk {
			refs[i].EventID, refs[i].OrderID, _ = strings.Cut(name, "/")
		}
		if err := p.ns.LearnHashes(ctx, refs, false); err != nil {
			return err
		}
		cmds := make([]*redis.StringCmd, len(chunk))
		err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
			for i, ref := range refs {
				hashes, _ := p.ns.Hashes.Of(ref.EventID)
				key := p.ns.Keys.Customers(p.p, p.ns.Keys.HashOfCustomer(ref.EventID, ref.OrderID, hashes))
				if found, is := p.places[chunk[i]]; is && found != key {
					p.violation("I7", chunk[i], "has places in %s, and they belong in %s", found, key)
				}
				cmds[i] = pipe.HGet(ctx, key, chunk[i])
			}
		})
		if err != nil {
			return err
		}
		for i, ref := range refs {
			want := ""
			if places := p.book.Places[ref.EventID][ref.OrderID]; places > 0 {
				want = strconv.FormatInt(places, 10)
			}
			if stored := cmds[i].Val(); stored != want {
				p.violation("I2", chunk[i], "the customer's places are %q, their orders add up to %q", stored, want)
			}
		}
	}
	return nil
}

// madeSince reports whether the log has an event, or a section of one (event_id/name), that it had not before.
func (p *partitionAudit) madeSince(name string) bool {
	id, section, isSection := strings.Cut(name, "/")
	event := p.book.Events[id]
	_, found := event.Section(section)
	return event.Exists() && (!isSection || found)
}

// isOver reports whether an event is forgotten, by the log. What was found of it by name need not be there any more: checkForgotten looks again.
func (p *partitionAudit) isOver(id string) bool { return p.book.Events[id].Over != "" }

// checkForgotten: I7. Of an event that is forgotten there is nothing but that; and its orders, as long as it is noted that they are to go.
func (p *partitionAudit) checkForgotten(ctx context.Context) error {
	for _, of := range []struct {
		fields map[string]bool
		key    string
	}{{p.eventFields, p.ns.Keys.Events(p.p)}, {p.placeFields, p.ns.Keys.Places(p.p)}, {p.inProgress, p.ns.Keys.InProgress(p.p)}} {
		left := make(map[string]string)
		for field := range of.fields {
			if p.isOver(eventOf(field)) {
				left[field] = of.key
				delete(of.fields, field)
			}
		}
		if err := p.checkGone(ctx, left, false); err != nil {
			return err
		}
	}
	coming := make(map[string]string)
	for name, key := range p.orders {
		ref, _ := domain.ParseOrderRef(name)
		if _, recalled := p.book.Orders[ref]; recalled && p.isOver(ref.EventID) {
			coming[name] = key
			delete(p.orders, name)
		}
	}
	if err := p.checkRecalled(ctx, coming); err != nil {
		return err
	}
	for _, found := range []map[string]string{p.orders, p.places} {
		left := make(map[string]string)
		for name, key := range found {
			if p.isOver(eventOf(name)) {
				left[name] = key
				delete(found, name)
			}
		}
		if err := p.checkGone(ctx, left, true); err != nil {
			return err
		}
	}
	return nil
}

// checkRecalled: I7. Orders of events that are being recalled, by name with the hash that each was found in, are what the log says: nobody changes
// them before their event is there.
func (p *partitionAudit) checkRecalled(ctx context.Context, coming map[string]string) error {
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(coming)), access.MaxBatch) {
		cmds := make([]*redis.StringCmd, len(chunk))
		if err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
			for i, name := range chunk {
				cmds[i] = pipe.HGet(ctx, coming[name], name)
			}
		}); err != nil {
			return err
		}
		for i, name := range chunk {
			ref, _ := domain.ParseOrderRef(name)
			stored, err := layout.DecodeOrder(cmds[i].Val())
			if err != nil {
				p.violation("I7", name, "%v", err)
			} else if folded := p.book.Orders[ref]; stored != folded && p.isOver(ref.EventID) {
				p.violation("I7", name, "stored %+v, the log says that it was recalled as %+v", stored, folded)
			}
		}
	}
	return nil
}

// eventOf is the event that a field is of.
func eventOf(field string) string {
	if end := strings.IndexAny(field, "/#!"); end >= 0 {
		return field[:end]
	}
	return field
}

// checkGone: of fields of events that are forgotten, by name with the hash that each was found in, none is there; or, if they may be going, none unless
// that is noted of its event.
func (p *partitionAudit) checkGone(ctx context.Context, left map[string]string, going bool) error {
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(left)), access.MaxBatch) {
		cmds := make([]*redis.BoolCmd, len(chunk))
		var noted *redis.MapStringStringCmd
		if err := p.transaction(ctx, func(pipe redis.Pipeliner) {
			noted = pipe.HGetAll(ctx, p.ns.Keys.Forgetting(p.p))
			for i, field := range chunk {
				cmds[i] = pipe.HExists(ctx, left[field], field)
			}
		}); err != nil {
			return err
		}
		for i, field := range chunk {
			if _, still := noted.Val()[eventOf(field)]; cmds[i].Val() && (!going || !still) {
				p.violation("I7", field, "is a field of %s, and its event is forgotten", left[field])
			}
		}
	}
	return nil
}

func (p *partitionAudit) checkEvent(id string, values, places []string) {
	folded := p.book.Events[id]
	if folded.Over != "" {
		if want := (layout.EventTerms{Version: folded.Version, Over: folded.Over}).String(); values[0] != want {
			p.violation("I7", id, "is %q, the log says that it is forgotten, %q", values[0], want)
		}
		return
	}
	codes := 3 + len(folded.Sections)
	if len(folded.Sections) != len(places) || len(values) < codes {
		return // changed since its sections were asked for, between the fold and the read: seen the next time
	}
	terms, err := layout.DecodeEventTerms(values[0])
	if err == nil && terms.Version == 0 {
		err = fmt.Errorf("it is not there")
	}
	if err != nil {
		p.violation("I7", id, "%v", err)
		p.damaged[id] = true
		return
	}
	about, err := layout.DecodeEventAbout(values[1])
	if err != nil {
		p.violation("I7", id, "%v", err)
		return
	}
	if names := sectionNames(folded); !slices.Equal(about.Sections, names) {
		p.violation("I7", id, "has the sections %v, the log says %v", about.Sections, names)
		return
	}
	if hashes := about.CodeHashes(); len(hashes) != len(values)-codes {
		p.violation("I7", id, "access codes that it has: %d, the log says %d", len(hashes), len(values)-codes)
		return
	}
	stored, err := layout.DecodeEvent(terms, about, values[3:codes], places, values[codes:])
	if err != nil {
		p.violation("I7", id, "%v", err)
		return
	}
	if err := stored.CheckConservation(); err != nil {
		p.violation("I1", id, "%v", err)
	}
	p.compareSections(id, stored.Sections, folded.Sections)
	stored.Sections, folded.Sections = nil, nil
	if fmt.Sprint(stored) != fmt.Sprint(folded) {
		p.violation("I7", id, "stored %+v, the log says %+v", stored, folded)
	}
	switch totals, err := layout.DecodeTotals(values[2]); {
	case err != nil:
		p.violation("I3", id, "%v", err)
	case totals != p.totals[id]:
		p.violation("I3", id, "sales are %+v, its confirmed orders add up to %+v", totals, p.totals[id])
	}
}

// texts are the values of a reply, "" for what is not there.
func texts(reply *redis.SliceCmd) []string {
	values := make([]string, len(reply.Val()))
	for i, v := range reply.Val() {
		values[i] = layout.AsString(v)
	}
	return values
}

func sectionNames(e domain.Event) []string {
	names := make([]string, len(e.Sections))
	for i, s := range e.Sections {
		names[i] = s.Name
	}
	return names
}

func (p *partitionAudit) checkOrders(ctx context.Context) error {
	fromLog := make(map[string]domain.OrderRef, len(p.book.Orders))
	for ref := range p.book.Orders {
		fromLog[ref.String()] = ref
	}
	for chunk := range slices.Chunk(names(fromLog, p.orders), access.MaxBatch) {
		refs, listed := make([]domain.OrderRef, 0, len(chunk)), make([]domain.OrderRef, 0, len(chunk))
		for _, name := range chunk {
			ref, ok := domain.ParseOrderRef(name)
			if !ok {
				p.violation("I7", name, "is no name of an order")
				continue
			}
			if p.ns.Keys.PartitionOf(ref.EventID) != p.p {
				p.violation("I7", name, "is in partition %d, where its event is not", p.p)
				continue
			}
			if p.damaged[ref.EventID] || p.isOver(ref.EventID) {
				continue // nobody knows where it is; or it was forgotten since the others were looked at
			}
			if refs = append(refs, ref); p.book.Events[ref.EventID].Exists() {
				listed = append(listed, ref)
			}
		}
		if len(refs) == 0 {
			continue
		}
		if err := p.ns.LearnHashes(ctx, listed, false); err != nil {
			return err
		}
		var reads *access.RecordReads
		if err := p.snapshot(ctx, func(pipe redis.Pipeliner) { reads = p.ns.ReadRecords(ctx, pipe, p.p, refs) }); err != nil {
			return err
		}
		records, err := reads.Records()
		if err != nil {
			return err
		}
		for i, ref := range refs {
			stored, err := layout.DecodeOrder(records[i])
			if err != nil {
				p.violation("I7", ref.String(), "%v", err)
				continue
			}
			if key, found := p.orders[ref.String()]; found && key != p.hashOf(ref) {
				p.violation("I7", ref.String(), "has a record in %s, and belongs in %s", key, p.hashOf(ref))
			}
			if folded := p.book.Orders[ref]; stored != folded {
				p.violation("I7", ref.String(), "stored %+v, the log says %+v", stored, folded)
			}
		}
	}
	return nil
}

// hashOf is the hash that an order belongs in.
func (p *partitionAudit) hashOf(ref domain.OrderRef) string {
	hash := p.ns.Keys.SharedHash(ref.EventID)
	if hashes, _ := p.ns.Hashes.Of(ref.EventID); !p.book.Early[ref] {
		hash = p.ns.Keys.HashOf(ref, hashes)
	}
	return p.ns.Keys.Orders(p.p, hash)
}

func (p *partitionAudit) checkHolds(ctx context.Context) error {
	var holds *redis.ZSliceCmd
	err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
		holds = pipe.ZRangeWithScores(ctx, p.ns.Keys.Holds(p.p), 0, -1)
	})
	if err != nil {
		return err
	}
	stored := make(map[string]int64, len(holds.Val()))
	for _, z := range holds.Val() {
		stored[layout.AsString(z.Member)] = int64(z.Score)
	}
	for ref, o := range p.book.Orders {
		if !o.Open() {
			continue
		}
		deadline, found := stored[ref.String()]
		if !found || deadline != o.PayableUntilMillis() {
			p.violation("I7", ref.String(), "is %s until %d, the holds say %d (found: %t)", o.State, o.PayableUntilMillis(), deadline, found)
		}
		delete(stored, ref.String())
	}
	for member := range stored {
		p.violation("I2", member, "is among the holds, but not held")
	}
	return nil
}

// checkAwaited: I7. The gateway is asked about the orders that await what their customers do, and about no others.
func (p *partitionAudit) checkAwaited(ctx context.Context) error {
	var awaited *redis.StringSliceCmd
	err := p.snapshot(ctx, func(pipe redis.Pipeliner) { awaited = pipe.ZRange(ctx, p.ns.Keys.Awaited(p.p), 0, -1) })
	if err != nil {
		return err
	}
	stored := make(map[string]bool, len(awaited.Val()))
	for _, name := range awaited.Val() {
		stored[name] = true
	}
	for ref, o := range p.book.Orders {
		if o.Awaited() && !stored[ref.String()] {
			p.violation("I7", ref.String(), "awaits what its customer does, and nobody will ask the gateway")
		}
		if o.Awaited() {
			delete(stored, ref.String())
		}
	}
	for name := range stored {
		p.violation("I7", name, "is to be asked about, and awaits nothing")
	}
	return nil
}

// checkOwed: I8. Money is only owed for orders that there are, and each says since when, and why.
func (p *partitionAudit) checkOwed(ctx context.Context) error {
	var owed *redis.StringSliceCmd
	var noted *redis.MapStringStringCmd
	err := p.snapshot(ctx, func(pipe redis.Pipeliner) {
		owed = pipe.ZRange(ctx, p.ns.Keys.Owed(p.p), 0, -1)
		noted = pipe.HGetAll(ctx, p.ns.Keys.OwedNotes(p.p))
	})
	if err != nil {
		return err
	}
	notes := noted.Val()
	for _, name := range owed.Val() {
		o, err := layout.DecodeOwed(name, notes[name])
		delete(notes, name)
		if err != nil {
			p.violation("I8", name, "%v", err)
		} else if p.book.Orders[o.Ref].State == domain.OrderNone {
			p.violation("I8", name, "is owed, and there is no such order")
		}
	}
	for name := range notes {
		p.violation("I8", name, "is noted to be owed, and is not on the list")
	}
	return nil
}

// checkUnknown: I7. What is to be forgotten was rejected because there was no such event, by the log entry that is said.
func (p *partitionAudit) checkUnknown(ctx context.Context) error {
	var unknown *redis.StringSliceCmd
	err := p.snapshot(ctx, func(pipe redis.Pipeliner) { unknown = pipe.ZRange(ctx, p.ns.Keys.Unknown(p.p), 0, -1) })
	if err != nil {
		return err
	}
	for _, member := range unknown.Val() {
		version, orders, _ := strings.Cut(member, " ")
		for name := range strings.FieldsSeq(orders) {
			ref, _ := domain.ParseOrderRef(name)
			if o := p.book.Orders[ref]; !p.isOver(ref.EventID) && (o.Version != version || o.Reason != domain.ReasonUnknownEvent) {
				p.violation("I7", name, "is to be forgotten as log entry %s left it, and it is %s since %q", version, o.State, o.Version)
			}
		}
	}
	return nil
}

func (p *partitionAudit) checkInProgress(ctx context.Context) error {
	fromLog := make(map[string]bool)
	for event, customers := range p.book.InProgress {
		for customer := range customers {
			fromLog[event+"/"+customer] = true
		}
	}
	for chunk := range slices.Chunk(names(fromLog, p.inProgress), access.MaxBatch) {
		var cmd *redis.SliceCmd
		err := p.snapshot(ctx, func(pipe redis.Pipeliner) { cmd = pipe.HMGet(ctx, p.ns.Keys.InProgress(p.p), chunk...) })
		if err != nil {
			return err
		}
		for i, name := range chunk {
			event, customer, _ := strings.Cut(name, "/")
			if stored, folded := layout.AsString(cmd.Val()[i]), p.book.InProgress[event][customer]; stored != folded {
				p.violation("I7", name, "the customer's order in progress is %q, the log says %q", stored, folded)
			}
		}
	}
	return nil
}
