package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/domain"
)

// RestoreOptions say what is to be restored.
type RestoreOptions struct {
	// Branches are those to restore, one a partition; empty: in each the one from which no other goes on.
	Branches []string
	// UntilMillis is the time of the last entries that are restored; 0: all are.
	UntilMillis int64
	// Full has the archive read from its start, and the whole log told, whatever snapshots there are.
	Full bool
	// Step, if not nil, is called for each segment that was read, at the same time for several partitions.
	Step func()
}

// Restorable is what is archived of a namespace, to be restored. It implements domain.ArchivedLog.
type Restorable struct {
	r        *Reader
	o        RestoreOptions
	branches map[int]string
	ns       domain.ArchivedNamespace
}

// Any reports whether anything is archived of the namespace.
func (r *Reader) Any(ctx context.Context) (any bool, err error) {
	err = r.bucket.List(ctx, namespacePrefix(r.namespace), func(Object) error {
		any = true
		return errStop
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return any, err
}

// Restorable finds what can be restored. Errors: of ClassReject if nothing is archived, or if a partition ends in several branches and none of
// them is named; of ClassPoison if the partitions are not of one namespace.
func (r *Reader) Restorable(ctx context.Context, o RestoreOptions) (*Restorable, error) {
	newest, err := r.newest(ctx, o.Branches)
	if err != nil {
		return nil, err
	}
	s := &Restorable{r: r, o: o, branches: newest}
	written := int64(0)
	for _, p := range slices.Sorted(maps.Keys(newest)) {
		h, err := s.newestHeader(ctx, p)
		if err != nil {
			return nil, err
		}
		if is := h.ArchivedNamespace; s.ns.Namespace != "" && (is.Partitions != s.ns.Partitions || is.PaymentNames != s.ns.PaymentNames || is.Schema != s.ns.Schema) {
			return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("the branches %s are not of one namespace: there is one of %d partitions, payment names %s, schema %s, and one of %d, %s, %s: say with --branch which (archive ls lists them)",
				s.names(), is.Partitions, is.PaymentNames, is.Schema, s.ns.Partitions, s.ns.PaymentNames, s.ns.Schema))
		}
		if p >= h.Partitions {
			return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("the archive has a partition %d of a namespace of %d", p, h.Partitions))
		}
		if h.AtMillis >= written {
			s.ns, written = h.ArchivedNamespace, h.AtMillis
		}
	}
	return s, nil
}

// newestHeader is that of the newest segment of a partition that can be read: what cannot, Read names.
func (s *Restorable) newestHeader(ctx context.Context, p int) (Header, error) {
	links, err := s.r.branch(ctx, p, s.branches[p])
	if err != nil {
		return Header{}, err
	}
	for _, l := range slices.Backward(links) {
		h, err := s.r.header(ctx, l.key)
		var damaged *damagedError
		switch {
		case errors.As(err, &damaged), errors.Is(err, ErrMissing):
			continue
		case err != nil:
			return Header{}, err
		}
		return h, nil
	}
	return Header{}, domain.WithClass(domain.ClassPoison, fmt.Errorf("no segment of branch %s of partition %d can be read (archive verify names what is wrong)", s.branches[p], p))
}

func (s *Restorable) names() string {
	return strings.Join(slices.Collect(maps.Values(s.branches)), " ")
}

// Source implements domain.ArchivedLog.
func (s *Restorable) Source() string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(s.branches)) {
		fmt.Fprintf(&b, "%d:%s ", p, s.branches[p])
	}
	if s.o.UntilMillis > 0 {
		return b.String() + "until " + strconv.FormatInt(s.o.UntilMillis, 10)
	}
	return b.String() + "whole"
}

// Namespace implements domain.ArchivedLog.
func (s *Restorable) Namespace() domain.ArchivedNamespace { return s.ns }

// Read implements domain.ArchivedLog. In memory are a segment, a piece of a snapshot, and what of the state was changed since the newest good snapshot; without one, the state.
func (s *Restorable) Read(ctx context.Context, p int, log func(domain.Entry) error, state func(*domain.Snapshot) error) (found domain.ArchivedPartition, err error) {
	branch, known := s.branches[p]
	if !known {
		return found, nil
	}
	chain, err := s.r.chain(ctx, p, branch, nil)
	if err != nil {
		return found, poisonous(err)
	}
	if found.Branches, err = s.lineage(ctx, p, branch); err != nil {
		return found, err
	}
	from := &reading{Restorable: s, branch: branch, found: &found, log: log, state: newState(), rest: chain}
	var failed error // what is wrong with the segment that would tell; the walk names it
	found.Acknowledged, failed = s.acknowledged(ctx, chain)
	switch {
	case failed != nil && domain.ClassOf(poisonous(failed)) != domain.ClassPoison: // the store failed
		return found, failed
	case failed == nil && !s.o.Full:
		if err := from.begin(ctx, p, chain); err != nil {
			return found, err
		}
	}
	if err := from.walk(ctx); err != nil {
		return found, err
	}
	if failed != nil {
		return found, poisonous(failed)
	}
	found.Facts = from.state.facts
	return found, poisonous(from.state.each(ctx, s.r, state))
}

// upTo are those of entries that are to be restored, and whether that is not all.
func (s *Restorable) upTo(entries []domain.Entry) (within []domain.Entry, cut bool) {
	for i, e := range entries {
		if !s.within(e.ID) {
			return entries[:i], true
		}
	}
	return entries, false
}

// within reports whether an entry is to be restored.
func (s *Restorable) within(id string) bool {
	return s.o.UntilMillis == 0 || domain.EntryMillis(id) <= s.o.UntilMillis
}

// acknowledged is up to where each group had acknowledged everything when the segment was written that has the last entry of a chain that is to be restored.
func (s *Restorable) acknowledged(ctx context.Context, chain []link) (map[domain.Group]string, error) {
	for _, l := range slices.Backward(chain) {
		if l.key.Before.Compare(lastAt(s.o.UntilMillis)) >= 0 {
			continue
		}
		headers, err := s.r.headers(ctx, l)
		if err != nil {
			return nil, err
		}
		for _, h := range slices.Backward(headers) {
			if s.within(h.First) {
				return h.Acknowledged, nil
			}
		}
	}
	return nil, nil
}

// reading is a partition that is read to be restored.
type reading struct {
	*Restorable
	branch string
	found  *domain.ArchivedPartition
	log    func(domain.Entry) error
	state  *state

	rest   []link   // of the chain, that is to be walked
	before *Segment // along which it has gone up to last; nil: none
	last   Position
	needed Position      // behind it, somebody has something left to do
	held   *domain.Entry // the newest one that nobody needs
	cut    bool
}

// begin begins with the newest good snapshot that is not behind the cut, if there is one; of what is before it, the log is told that somebody needs.
func (d *reading) begin(ctx context.Context, p int, chain []link) error {
	d.needed = maxPosition
	for _, group := range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {
		at, err := ParsePosition(d.found.Acknowledged[group])
		if err != nil { // it is not known: all of it may be left
			at = Position{}
		}
		if at.Compare(d.needed) < 0 {
			d.needed = at
		}
	}
	_, err := d.r.newestGood(ctx, p, chain, lastAt(d.o.UntilMillis), func(s *snapshot, rest []link) error {
		if err := d.state.from(ctx, d.r, s, func(each func(domain.Fact)) error { return d.look(ctx, s.segment, rest, each) }); err != nil {
			d.state = newState()
			return err
		}
		d.rest, d.before, d.last = rest, s.segment, s.segment.Last()
		d.found.Snapshot, d.found.Mark = s.key.String(), d.markOf(s.segment, s.head.Last)
		return nil
	})
	switch {
	case err != nil || d.before == nil:
		return err
	case d.last.Compare(d.needed) <= 0:
		d.held, d.found.Trimmed = &d.before.Entries[len(d.before.Entries)-1], true
		return nil
	}
	before, _, _ := cutBehind(chain, d.before)
	return d.tellBefore(ctx, before)
}

// tellBefore tells the log of the end of a chain, from the newest entry on that nobody needs.
func (d *reading) tellBefore(ctx context.Context, chain []link) error {
	from := len(chain) - 1
	var before *Segment
	var last Position
	for ; from > 0; from-- {
		s, err := d.r.end(ctx, chain[from-1])
		if err != nil {
			return poisonous(err)
		}
		before, last = s, s.Last()
		if upTo := chain[from-1].upTo; upTo != (Position{}) {
			last = upTo
		}
		if last.Compare(d.needed) <= 0 {
			break
		}
	}
	if from == 0 {
		before, last = nil, Position{}
	} else {
		i := slices.IndexFunc(before.Entries, func(e domain.Entry) bool { return e.ID == last.String() })
		if i < 0 {
			return broken(Fault{before.Key.String(), fmt.Sprintf("does not have the entry %s, from which another branch goes on", last)}, Position{})
		}
		d.held, d.found.Trimmed = &before.Entries[i], from > 1 || i > 0
	}
	return d.r.walkFrom(ctx, chain[from:], before, last, func(_ *Segment, entries []domain.Entry) error {
		d.found.Segments++
		for _, e := range entries {
			if err := d.tell(e); err != nil {
				return err
			}
		}
		return nil
	}, func(f Fault) error { return broken(f, last) })
}

// look calls each for the facts behind a segment, up to where the chain is to be cut.
func (d *reading) look(ctx context.Context, before *Segment, rest []link, each func(domain.Fact)) error {
	last := before.Last()
	err := d.r.walkFrom(ctx, rest, before, last, func(_ *Segment, entries []domain.Entry) error {
		within, cut := d.upTo(entries)
		if len(within) > 0 {
			last = lastOf(within)
		}
		if err := factsOf(within, each); err != nil || !cut {
			return err
		}
		return errStop
	}, func(f Fault) error { return broken(f, last) })
	if errors.Is(err, errStop) {
		err = nil
	}
	return err
}

// lastOf is the position of the last of some entries of a segment that was read.
func lastOf(entries []domain.Entry) Position { return position(entries[len(entries)-1].ID) }

func (d *reading) markOf(s *Segment, position string) domain.ArchiveMark {
	return domain.ArchiveMark{Branch: d.branch, Position: position, Segment: s.Key.String(), Hash: s.Hash}
}

// broken is what is wrong with an archive that was read up to an entry, and what can be restored all the same.
func broken(f Fault, last Position) error {
	err := fmt.Errorf("segment %s %s", f.Subject, f.Detail)
	if last != (Position{}) {
		until := time.UnixMilli(int64(last.Millis) - 1).UTC().Format("2006-01-02T15:04:05.000Z07:00") //nolint:gosec // a time of Redis
		err = fmt.Errorf("%w; what was before it can be restored alone: --until %s", err, until)
	}
	return domain.WithClass(domain.ClassPoison, err)
}

// walk folds what is left of the chain, up to where it is to be cut, and counts what is behind that.
func (d *reading) walk(ctx context.Context) error {
	err := d.r.walkFrom(ctx, d.rest, d.before, d.last, func(s *Segment, entries []domain.Entry) error {
		if d.o.Step != nil {
			d.o.Step()
		}
		d.found.Segments++
		var within []domain.Entry
		if !d.cut {
			within, d.cut = d.upTo(entries)
		}
		for _, e := range within {
			if err := d.take(e); err != nil {
				return fmt.Errorf("segment %s: %w", s.Key, err)
			}
		}
		if n := len(within); n > 0 {
			d.last, d.found.Mark = lastOf(within), d.markOf(s, within[n-1].ID)
		}
		for _, beyond := range entries[len(within):] {
			d.found.BeyondEntries++
			d.found.BeyondFacts += factsIn(rowsOf(beyond))
		}
		return nil
	}, func(f Fault) error {
		if d.cut {
			d.found.BeyondFault = f.Subject + " " + f.Detail
			return errStop
		}
		return broken(f, d.last)
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	if d.held != nil {
		return d.log(*d.held)
	}
	return nil
}

// take folds an entry, and tells it.
func (d *reading) take(e domain.Entry) error {
	if _, err := d.state.fold(e); err != nil {
		return fmt.Errorf("the archive says what the log cannot have said: %w", err)
	}
	return d.tell(e)
}

// tell has an entry written to the log if anybody needs it there, or all of it is told.
func (d *reading) tell(e domain.Entry) error {
	if d.found.Snapshot != "" && position(e.ID).Compare(d.needed) <= 0 {
		d.found.Trimmed = d.found.Trimmed || d.held != nil
		d.held = &e
		return nil
	}
	if d.held != nil {
		if err := d.log(*d.held); err != nil {
			return err
		}
		d.held = nil
	}
	return d.log(e)
}

// lineage are a branch and those that it goes on from, as far as they are archived.
func (s *Restorable) lineage(ctx context.Context, p int, branch string) (found []domain.ArchivedBranch, err error) {
	for branch != "" {
		h, err := s.r.header(ctx, Key{Namespace: s.r.namespace, Partition: p, Branch: branch})
		if err != nil {
			return nil, err
		}
		is := domain.ArchivedBranch{ID: branch, Parent: h.Parent, After: h.After, AtMillis: h.AtMillis, By: h.By}
		if branch = h.Parent; position(h.After) == (Position{}) {
			is.Parent, branch = "", "" // nothing of a parent is in it
		}
		found = append(found, is)
	}
	return found, nil
}
