package streams

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// archivePage is how many log entries are read at a time for the archive: of 64 facts each they are a megabyte.
const archivePage = 100

// ArchivedNamespace implements domain.ArchiveSource.
func (l *Ledger) ArchivedNamespace(ctx context.Context) (domain.ArchivedNamespace, error) {
	ns, err := l.store.Namespace(ctx)
	return domain.ArchivedNamespace{
		Namespace: ns.Name, Epoch: ns.Epoch, Schema: ns.Schema, Partitions: ns.Partitions,
		PaymentNames: string(ns.PaymentNames), FreeOrders: string(ns.FreeOrders), Gateway: string(ns.Gateway), MaxWaiting: ns.MaxWaiting,
	}, err
}

// ArchiveState implements domain.ArchiveSource. It is no transaction, nor is any of these reads: a full memory refuses those. What changes
// between two commands Advance compares.
func (l *Ledger) ArchiveState(ctx context.Context, p int) (domain.ArchiveState, error) {
	s := l.store
	pipe := s.rdb.Pipeline()
	branch, mark, now := pipe.HMGet(ctx, s.keys.Events(p), layout.BranchField, layout.BranchesField, layout.TrimmedField), pipe.Get(ctx, s.keys.Archived(p)), pipe.Time(ctx)
	if _, err := pipe.Exec(ctx); err != nil && !access.IsNil(err) {
		return domain.ArchiveState{}, fmt.Errorf("reading what is archived of partition %d: %w", p, access.Classify(err))
	}
	state := domain.ArchiveState{Branch: layout.AsString(branch.Val()[0]), Trimmed: layout.AsString(branch.Val()[2]), NowMillis: now.Val().UnixMilli()}
	if state.Branch == "" {
		return state, s.branchReplaced(p, s.history.branch(p))
	}
	var err error
	if state.Mark, err = layout.DecodeArchived(mark.Val()); err != nil {
		return state, domain.WithClass(domain.ClassPoison, fmt.Errorf("%s: %w", s.keys.Archived(p), err))
	}
	// What is damaged of the list the audit tells of; it must not keep anybody from archiving.
	listed, _ := layout.DecodeBranches(layout.AsString(branch.Val()[1]))
	add := func(id string) {
		if id != "" && id != state.Branch && !slices.Contains(state.Before, id) {
			state.Before = append(state.Before, id)
		}
	}
	add(state.Mark.Branch)
	for _, b := range listed {
		add(b.ID)
		add(b.Parent)
		add(b.Knew)
	}
	return state, nil
}

// LogAfter implements domain.ArchiveSource. With each page the branch is read, and it begins with the entry that the one before
// ended with: so all pages are of one log, whatever happens in between.
func (l *Ledger) LogAfter(ctx context.Context, p int, branch, after string, bytes int) (entries []domain.Entry, err error) {
	s := l.store
	var last domain.Entry
	for size := 0; size < bytes; {
		from, most := "-", int64(archivePage)
		if last.ID != "" || after != "0-0" {
			if from = last.ID; from == "" {
				from = after
			}
			most++
		}
		pipe := s.rdb.Pipeline()
		read, is := pipe.Do(ctx, "XRANGE", s.keys.Log(p), from, "+", "COUNT", most), pipe.HGet(ctx, s.keys.Events(p), layout.BranchField)
		if _, err := pipe.Exec(ctx); err != nil && !access.IsNil(err) {
			return nil, fmt.Errorf("reading %s: %w", s.keys.Log(p), access.Classify(err))
		}
		if is.Val() != branch {
			return nil, s.branchReplaced(p, branch)
		}
		page := layout.DecodeEntries(read.Val())
		if from != "-" {
			if len(page) == 0 || page[0].ID != from || last.ID != "" && !slices.Equal(page[0].Fields, last.Fields) {
				return nil, s.entryReplaced(p, layout.ParseLogID(from))
			}
			page = page[1:]
		}
		s.history.note(p, page...)
		for _, e := range page {
			last = e
			if entries = append(entries, e); size < bytes {
				size += entrySize(e)
			}
			if size >= bytes {
				return entries, nil
			}
		}
		if len(page) < archivePage {
			break
		}
	}
	return entries, nil
}

func entrySize(e domain.Entry) int {
	size := len(e.ID)
	for _, f := range e.Fields {
		size += len(f)
	}
	return size
}

// InLog implements domain.ArchiveSource.
func (l *Ledger) InLog(ctx context.Context, p int, e domain.Entry) (bool, error) {
	return l.store.inLog(ctx, p, sight(e))
}

// Acknowledged implements domain.ArchiveSource.
func (l *Ledger) Acknowledged(ctx context.Context, p int) (map[domain.Group]string, error) {
	log := l.store.keys.Log(p)
	pipe := l.store.rdb.Pipeline()
	infos := pipe.XInfoGroups(ctx, log)
	pending := make(map[domain.Group]*redis.XPendingCmd)
	for _, group := range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {
		pending[group] = pipe.XPending(ctx, log, string(group))
	}
	_, err := pipe.Exec(ctx)
	switch {
	case access.NoGroup(err):
		return nil, fmt.Errorf("%w: a group of %s is gone", domain.ErrDataReplaced, log)
	case err != nil:
		return nil, fmt.Errorf("reading the groups of %s: %w", log, access.Classify(err))
	}
	acknowledged := make(map[domain.Group]string, len(pending))
	for _, info := range infos.Val() {
		p := pending[domain.Group(info.Name)]
		if p == nil {
			continue
		}
		acknowledged[domain.Group(info.Name)] = info.LastDeliveredID
		if p.Val().Count > 0 {
			acknowledged[domain.Group(info.Name)] = layout.ParseLogID(p.Val().Lower).Before().String()
		}
	}
	return acknowledged, l.holdBackOwed(ctx, p, acknowledged)
}

// holdBackOwed keeps settlement's position before what is owed: its entries are acknowledged, and its money has not moved. Read after the groups: what
// is acknowledged by then is on the list, or done.
func (l *Ledger) holdBackOwed(ctx context.Context, partition int, acknowledged map[domain.Group]string) error {
	s := l.store
	key, position := s.keys.OwedNotes(partition), layout.ParseLogID(acknowledged[domain.GroupSettlement])
	for cursor := uint64(0); ; {
		page, next, err := s.rdb.HScan(ctx, key, cursor, "", access.ReadPage).Result()
		if err != nil {
			return fmt.Errorf("reading %s: %w", key, access.Classify(err))
		}
		for i := 0; i+1 < len(page); i += 2 {
			// One that cannot be read is taken off the list, and said, by whoever settles what is owed.
			o, err := layout.DecodeOwed(page[i], page[i+1])
			if fact := layout.ParseLogID(o.FactID); err == nil && fact != (layout.LogID{}) && !fact.After(position) {
				position = fact.Before()
			}
		}
		if cursor = next; cursor == 0 {
			acknowledged[domain.GroupSettlement] = position.String()
			return nil
		}
	}
}

// Advance implements domain.ArchiveSource.
func (l *Ledger) Advance(ctx context.Context, p int, from, to domain.ArchiveMark, last domain.Entry) (bool, error) {
	s := l.store
	args := []any{to.Branch, layout.EncodeArchived(from), layout.EncodeArchived(to), last.ID}
	for _, f := range last.Fields {
		args = append(args, f)
	}
	moved, err := s.run(ctx, scriptAdvanceArchive, []string{s.keys.Events(p), s.keys.Log(p), s.keys.Archived(p)}, args...).Bool()
	if err != nil {
		return false, fmt.Errorf("script advance_archive: %w", access.Classify(err))
	}
	return moved, nil
}

// ContinueElsewhere implements domain.ArchiveSource.
func (l *Ledger) ContinueElsewhere(ctx context.Context, p int, branch, common, by string) error {
	_, _, err := l.store.beginBranch(ctx, p, layout.Branch{Parent: branch, Knew: branch, Common: common, By: by})
	return err
}

// ReadLogEntries calls each for the entries of a partition's log, in order, from behind one on ("0-0": from the start) up to another ("+": to
// the end).
func (s *Store) ReadLogEntries(ctx context.Context, p int, after, upTo string, each func(domain.Entry) error) error {
	_, err := s.Inside().EachEntry(ctx, p, after, upTo, each)
	return err
}
