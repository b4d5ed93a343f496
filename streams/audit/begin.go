package audit

import (
	"context"
	"fmt"
	"math"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// doAudit is what is to be done where the log does not say enough.
const doAudit = "holdfast audit --archive URL; without an archive, nothing can prove what is stored"

// begin folds what is archived of the partition, if an archive is looked at. What is not archived yet follows from the log, and so does all if
// something is wrong with the archive: whether that says what the log does is not asked here. Where a part of the past is in neither, the
// partition is unknown, and that is all that is said of it.
func (p *partitionAudit) begin(ctx context.Context) error {
	if p.archive != nil {
		if err := p.recall(ctx); err != nil {
			return err
		}
	}
	first, removed, err := p.removed(ctx)
	for tries := 0; err == nil && removed != "" && tries < mostOvertaken; tries++ {
		var more bool
		if more, err = p.recallMore(ctx); err != nil || !more {
			break
		}
		first, removed, err = p.removed(ctx)
	}
	if err != nil || removed == "" {
		return err
	}
	p.unknown = true
	p.todo(doAudit, "I7", p.ns.Keys.Log(p.p), "begins with %s; %s. What they say is not known here: nothing of the partition's state, invoices and payments was checked",
		first, removed)
	return nil
}

// mostOvertaken is how often a log may be trimmed, while the archive is read, further than was read of that: each time there is less to read.
const mostOvertaken = 10

// mark is up to where the partition's branch, or the one that it goes on from, is archived; the zero mark: nothing that is known of this log is archived yet.
func (p *partitionAudit) mark(ctx context.Context) (mark domain.ArchiveMark, err error) {
	var is *redis.SliceCmd
	var stored *redis.StringCmd
	if err := p.transaction(ctx, func(pipe redis.Pipeliner) {
		is, stored = pipe.HMGet(ctx, p.ns.Keys.Events(p.p), layout.BranchField, layout.BranchesField), pipe.Get(ctx, p.ns.Keys.Archived(p.p))
	}); err != nil {
		return mark, err
	}
	mark, err = layout.DecodeArchived(stored.Val())
	if err != nil {
		p.violation("I11", p.ns.Keys.Archived(p.p), "%v", err)
		return domain.ArchiveMark{}, nil
	}
	if branch := layout.AsString(is.Val()[0]); mark.Branch != branch && !goesOnFrom(branch, layout.AsString(is.Val()[1]), mark) {
		return domain.ArchiveMark{}, nil
	}
	return mark, nil
}

// recallMore goes on with what was archived since the mark was read: the log was trimmed meanwhile. more is false if there is nothing more.
func (p *partitionAudit) recallMore(ctx context.Context) (more bool, err error) {
	if p.archive == nil {
		return false, nil
	}
	mark, err := p.mark(ctx)
	if err != nil || mark.Branch == "" || !layout.ParseLogID(mark.Position).After(layout.ParseLogID(p.last)) {
		return false, err
	}
	err = p.archive.Past(ctx, p.p, mark, p.last, func(domain.ArchivedBook) {}, func(e domain.Entry) error {
		if layout.ParseLogID(e.ID).After(layout.ParseLogID(p.last)) { // the others are folded
			p.foldEntry(e)
			more = true
		}
		return nil
	})
	if err != nil && domain.ClassOf(err) != domain.ClassPoison { // verify names what is damaged, and the partition is not known
		return false, fmt.Errorf("reading what is archived of partition %d: %w", p.p, err)
	}
	return more && err == nil, nil
}

// recall folds what is archived of the partition's branch, or of the one that it goes on from, up to the mark; nothing where that says nothing.
func (p *partitionAudit) recall(ctx context.Context) error {
	mark, err := p.mark(ctx)
	if err != nil || mark.Branch == "" {
		return err
	}
	behind := "0-0"
	if !p.full {
		behind = p.done().String()
	}
	err = p.archive.Past(ctx, p.p, mark, behind, p.take, func(e domain.Entry) error {
		p.foldEntry(e)
		return nil
	})
	if domain.ClassOf(err) == domain.ClassPoison {
		p.violation("I11", fmt.Sprintf("partition %d", p.p), "its state cannot be told from the archive: %v", err)
		p.take(domain.ArchivedBook{Book: domain.NewSnapshot(), Last: "0-0"})
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading what is archived of partition %d: %w", p.p, err)
	}
	return nil
}

// goesOnFrom reports whether all up to a mark, which is of another branch, is in the log of a branch, too, because that goes on from there: nothing of it is archived yet since
// a restore, or a failover that has lost nothing of what is archived.
func goesOnFrom(branch, listed string, mark domain.ArchiveMark) bool {
	branches, err := layout.DecodeBranches(listed) // a damaged one is told of by checkBranches
	if err != nil || len(branches) == 0 || branches[0].ID != branch || branches[0].Knew != mark.Branch || branches[0].Common == "" {
		return false
	}
	return !layout.ParseLogID(mark.Position).After(layout.ParseLogID(branches[0].Common))
}

// take begins with the state of a snapshot.
func (p *partitionAudit) take(from domain.ArchivedBook) {
	p.book, p.last, p.facts, p.before, p.based = from.Book, from.Last, 0, from.Facts, layout.ParseLogID(from.Last)
	clear(p.factIDs)
	clear(p.totals)
	clear(p.past)
	clear(p.lost)
	for id, e := range p.book.Events {
		p.lost[id] = e.Over != ""
	}
	for ref, o := range p.book.Orders {
		if o.State == domain.OrderConfirmed {
			p.sell(domain.Fact{ID: from.Last, EventID: ref.EventID, OrderID: ref.OrderID})
		}
	}
}

// foldEntry folds an entry of the log, wherever that is.
func (p *partitionAudit) foldEntry(e domain.Entry) {
	facts, err := wire.ParseFacts(e.ID, e.Fields)
	if err != nil {
		p.violation("I7", p.ns.Keys.Log(p.p)+" "+e.ID, "%v", err)
	}
	for _, f := range facts {
		p.fold(f)
	}
	p.last = e.ID
}

// done is the entry up to which posting and settlement had acknowledged everything when the audit began.
func (p *partitionAudit) done() layout.LogID {
	done := layout.LogID{Millis: math.MaxUint64, Seq: math.MaxUint64}
	for _, at := range p.positions {
		if done.After(at.delivered) {
			done = at.delivered
		}
		for id := range at.pending {
			if !id.After(done) {
				done = id.Before()
			}
		}
	}
	return done
}

// removed says how many entries were removed from the log, if those before its first one are not all among those that were folded; empty: none were.
func (p *partitionAudit) removed(ctx context.Context) (first, removed string, err error) {
	key := p.ns.Keys.Log(p.p)
	trimmed, err := p.ns.Trimmed(ctx, p.p)
	if err != nil {
		return "", "", err
	}
	is, err := p.ns.Client.XInfoStream(ctx, key).Result()
	if access.NoGroup(err) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("looking where %s begins: %w", key, access.Classify(err))
	}
	folded, begins := layout.ParseLogID(p.last), layout.ParseLogID(is.FirstEntry.ID)
	first = is.FirstEntry.ID
	if is.Length == 0 {
		first, begins = "nothing", layout.ParseLogID(is.LastGeneratedID)
	}
	// What was removed from the middle, by its id, is found by the fold: what comes behind it does not follow.
	fromTheMiddle := folded == (layout.LogID{}) && layout.ParseLogID(is.MaxDeletedEntryID).After(begins)
	switch entries := is.EntriesAdded - is.Length; {
	case !begins.After(folded) || fromTheMiddle:
		return "", "", nil
	case entries > 0:
		return first, fmt.Sprintf("entries that were removed from it: %d", entries), nil
	case trimmed != layout.LogID{}: // a restore has left them out
		return first, "the entries before it are in the archive alone", nil
	}
	return "", "", nil
}
