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
	// Step, if not nil, is called for each segment that was read.
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
		segment, err := s.r.segment(ctx, l.key)
		var damaged *damagedError
		switch {
		case errors.As(err, &damaged), errors.Is(err, ErrMissing):
			continue
		case err != nil:
			return Header{}, err
		}
		return segment.Header, nil
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

// Read implements domain.ArchivedLog. A segment is in memory at a time.
func (s *Restorable) Read(ctx context.Context, p int, each func(domain.Entry) error) (found domain.ArchivedPartition, err error) {
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
	last, cut := int64(0), false
	err = s.r.walk(ctx, chain, func(segment *Segment, entries []domain.Entry) error {
		if s.o.Step != nil {
			s.o.Step()
		}
		found.Segments++
		for i, e := range entries {
			at := domain.EntryMillis(e.ID)
			if cut = cut || s.o.UntilMillis > 0 && at > s.o.UntilMillis; cut {
				found.BeyondEntries += len(entries) - i
				for _, beyond := range entries[i:] {
					found.BeyondFacts += factsIn(rowsOf(beyond))
				}
				return nil
			}
			last, found.Acknowledged = at, segment.Header.Acknowledged
			found.Mark = domain.ArchiveMark{Branch: branch, Position: e.ID, Segment: segment.Key.String(), Hash: segment.Hash}
			if err := each(e); err != nil {
				return err
			}
		}
		return nil
	}, func(f Fault) error {
		if cut {
			found.BeyondFault = f.Subject + " " + f.Detail
			return errStop
		}
		err := fmt.Errorf("segment %s %s", f.Subject, f.Detail)
		if last > 0 {
			err = fmt.Errorf("%w; what was before it can be restored alone: --until %s", err, time.UnixMilli(last-1).UTC().Format("2006-01-02T15:04:05.000Z07:00"))
		}
		return domain.WithClass(domain.ClassPoison, err)
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return found, err
}

// lineage are a branch and those that it goes on from, as far as they are archived.
func (s *Restorable) lineage(ctx context.Context, p int, branch string) (found []domain.ArchivedBranch, err error) {
	for branch != "" {
		first, err := s.r.segment(ctx, Key{Namespace: s.r.namespace, Partition: p, Branch: branch})
		if err != nil {
			return nil, err
		}
		h := first.Header
		is := domain.ArchivedBranch{ID: branch, Parent: h.Parent, After: h.After, AtMillis: h.AtMillis, By: h.By}
		if branch = h.Parent; first.After() == (Position{}) {
			is.Parent, branch = "", "" // nothing of a parent is in it
		}
		found = append(found, is)
	}
	return found, nil
}
