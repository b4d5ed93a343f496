package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/domain"
)

// Branch is what is archived of one branch of a partition.
type Branch struct {
	Partition   int    `json:"partition"`
	Branch      string `json:"branch"`
	Parent      string `json:"parent,omitempty"`
	After       string `json:"after"` // the entry behind which it goes on from its parent; "0-0": the log begins here
	Last        string `json:"last"`
	Segments    int    `json:"segments"`
	Replaced    int    `json:"replaced,omitempty"` // segments that are still there, beside the large ones that have what they say
	Bytes       int64  `json:"bytes"`              // of all of these
	Snapshots   int    `json:"snapshots"`
	Snapshot    string `json:"snapshot,omitempty"` // id of the last log entry that is in the newest of them
	FirstMillis int64  `json:"first_ms"`           // of its first entry
	LastMillis  int64  `json:"last_ms"`
	LeftBy      string `json:"left_by,omitempty"` // the branches that go on from it
	Damaged     string `json:"damaged,omitempty"` // why its first or last segment cannot be read
}

// Branches lists what there is, by partition, each branch behind the one that it goes on from. It reads the first and the last segment of each.
func (r *Reader) Branches(ctx context.Context) ([]Branch, error) {
	all, err := r.list(ctx, namespacePrefix(r.namespace), nil)
	if err != nil {
		return nil, err
	}
	var found []Branch
	for _, p := range slices.Sorted(maps.Keys(all)) {
		of, err := r.branchesOf(ctx, p, all[p])
		if err != nil {
			return nil, err
		}
		found = append(found, of...)
	}
	return found, nil
}

func (r *Reader) branchesOf(ctx context.Context, p int, all map[string][]link) ([]Branch, error) {
	found := make([]Branch, 0, len(all))
	left := make(map[string][]string)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		links := all[name]
		b := Branch{Partition: p, Branch: name, Segments: len(links)}
		for _, l := range links {
			b.Bytes += l.size
			b.Replaced += len(l.replaced)
			for _, small := range l.replaced {
				b.Bytes += small.size
			}
		}
		snapshots, err := r.snapshots(ctx, p, name)
		if err != nil {
			return nil, err
		}
		if b.Snapshots = len(snapshots); b.Snapshots > 0 {
			b.Snapshot = snapshots[0].At.String()
		}
		for i, key := range []Key{links[0].key, links[len(links)-1].key} {
			h, err := r.header(ctx, key)
			var damaged *damagedError
			switch {
			case errors.As(err, &damaged) || errors.Is(err, ErrMissing):
				b.Damaged = err.Error()
			case err != nil:
				return nil, err
			case i == 0:
				b.Parent, b.After, b.FirstMillis = h.Parent, h.After, domain.EntryMillis(h.First)
			}
			if err == nil && i == 1 {
				b.Last, b.LastMillis = h.Last, domain.EntryMillis(h.Last)
			}
		}
		if b.Parent != "" {
			left[b.Parent] = append(left[b.Parent], name)
		}
		found = append(found, b)
	}
	for i, b := range found {
		found[i].LeftBy = strings.Join(left[b.Branch], " ")
	}
	slices.SortStableFunc(found, func(a, b Branch) int { return strings.Compare(a.order(found), b.order(found)) })
	return found, nil
}

// order sorts a branch behind its parents.
func (b Branch) order(all []Branch) string {
	path := b.Branch
	for range all {
		i := slices.IndexFunc(all, func(other Branch) bool { return other.Branch == b.Parent })
		if i < 0 {
			break
		}
		b = all[i]
		path = b.Branch + " " + path
	}
	return path
}

// newest are the branches by partition from which no other goes on: those that are read where nobody says which. If a partition has several, the
// archive alone does not tell which of them went on; wanted names one of those, or another one, of any partition.
func (r *Reader) newest(ctx context.Context, wanted []string) (map[int]string, error) {
	all, err := r.Branches(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range wanted {
		if !slices.ContainsFunc(all, func(b Branch) bool { return b.Branch == name }) {
			return nil, domain.WithCode(domain.ClassReject, domain.CodeNotFound, fmt.Errorf("branch %s is not in the archive of namespace %s", name, r.namespace))
		}
	}
	newest := make(map[int]string)
	said := make(map[int]bool)
	for _, b := range all {
		switch is := slices.Contains(wanted, b.Branch); {
		case said[b.Partition] && is:
			return nil, domain.WithCode(domain.ClassReject, domain.CodeConflict, fmt.Errorf("branches %s and %s are both of partition %d: want one", newest[b.Partition], b.Branch, b.Partition))
		case is:
			newest[b.Partition], said[b.Partition] = b.Branch, true
		case said[b.Partition] || b.LeftBy != "":
		case newest[b.Partition] == "":
			newest[b.Partition] = b.Branch
		case !slices.ContainsFunc(all, func(o Branch) bool { return o.Partition == b.Partition && slices.Contains(wanted, o.Branch) }):
			damaged := ""
			if i := slices.IndexFunc(all, func(o Branch) bool { return o.Partition == b.Partition && o.Damaged != "" }); i >= 0 {
				damaged = "; and " + all[i].Damaged
			}
			return nil, domain.WithCode(domain.ClassReject, domain.CodeConflict,
				fmt.Errorf("partition %d ends in the branches %s and %s: say with --branch which of them went on (archive ls lists them)%s", b.Partition, newest[b.Partition], b.Branch, damaged))
		}
	}
	if len(all) == 0 {
		return nil, domain.WithCode(domain.ClassReject, domain.CodeNotFound, fmt.Errorf("nothing is archived of namespace %s", r.namespace))
	}
	return newest, nil
}

// Report is what was found of an archive.
type Report struct {
	OK        bool  `json:"ok"`
	Branches  int   `json:"branches"`
	Segments  int   `json:"segments"`
	Snapshots int   `json:"snapshots"` // of this version of the program: others are passed over
	Entries   int   `json:"entries"`
	Facts     int   `json:"facts"`
	Bytes     int64 `json:"bytes"`              // of the segments
	Replaced  int   `json:"replaced,omitempty"` // segments that are still there, beside the large ones that have what they say
	// Before is how many entries the archive has from before what the log begins with. Compare counts them.
	Before int     `json:"entries_before_log,omitempty"`
	Faults []Fault `json:"faults"`
}

// mostFaults bounds a report.
const mostFaults = 10_000

func (r *Report) fault(f Fault) error {
	if len(r.Faults) < mostFaults && !slices.Contains(r.Faults, f) {
		r.Faults = append(r.Faults, f)
	}
	r.OK = false
	return nil
}

// Verify reads every segment of every branch, and checks what each says of itself, that each follows the one before, position by
// position and hash by hash, and that nothing else is there; and every snapshot, that it is what was written, at the end of the segment that it
// names. That the end of a branch is missing only Redis can tell: see Compare. Step, if not nil, is called for each segment.
func (r *Reader) Verify(ctx context.Context, step func()) (Report, error) {
	report := Report{OK: true, Faults: []Fault{}}
	all, err := r.list(ctx, namespacePrefix(r.namespace), func(key string) {
		_ = report.fault(Fault{key, "is not the name of a segment"}) // never fails
	})
	if err != nil {
		return report, err
	}
	if len(all) == 0 {
		_ = report.fault(Fault{namespacePrefix(r.namespace), "nothing is archived of this namespace"}) // never fails
	}
	for _, p := range slices.Sorted(maps.Keys(all)) {
		for _, name := range slices.Sorted(maps.Keys(all[p])) {
			report.Branches++
			if err := r.verifyBranch(ctx, all[p], p, name, &report, step); err != nil {
				return report, err
			}
			for _, l := range all[p][name] {
				if err := r.verifyReplaced(ctx, l, &report); err != nil {
					return report, err
				}
			}
			if err := r.verifySnapshots(ctx, p, name, &report); err != nil {
				return report, err
			}
		}
	}
	return report, nil
}

// verifyBranch checks the segments of one branch, and where it goes on from.
func (r *Reader) verifyBranch(ctx context.Context, branches map[string][]link, p int, name string, report *Report, step func()) error {
	own := branches[name]
	if own[0].key.Before != (Position{}) {
		return errors.Join(report.fault(Fault{own[0].key.String(), "is the first of its branch that is there, and not where that begins: what was before is missing"}),
			r.walkOwn(ctx, own, nil, report, step))
	}
	chain, err := r.chain(ctx, p, name, branches)
	var damaged *damagedError
	switch {
	case errors.As(err, &damaged):
		return errors.Join(report.fault(Fault{damaged.key, damaged.what}), r.walkOwn(ctx, own, nil, report, step))
	case errors.Is(err, ErrMissing):
		return errors.Join(report.fault(Fault{own[0].key.String(), err.Error()}), r.walkOwn(ctx, own, nil, report, step))
	case err != nil:
		return err
	}
	var parent []link
	if n := len(chain) - len(own); n > 0 {
		parent = chain[n-1 : n]
	}
	return r.walkOwn(ctx, own, parent, report, step)
}

// verifySnapshots checks those of one branch. A piece that no snapshot names was left by whoever died before that was written.
func (r *Reader) verifySnapshots(ctx context.Context, p int, branch string, report *Report) error {
	keys, err := r.snapshots(ctx, p, branch)
	if err != nil {
		return err
	}
	for _, key := range keys {
		s, err := r.snapshot(ctx, key)
		if err == nil {
			err = s.each(ctx, r, func(*domain.Snapshot) error { return nil })
		}
		var damaged *damagedError
		switch {
		case errors.As(err, &damaged):
			err = report.fault(Fault{damaged.key, damaged.what})
		case errors.Is(err, ErrMissing):
			err = report.fault(Fault{key.String(), "is listed, and is not there"})
		case errors.Is(err, errOtherFormat):
			err = nil
		case err == nil:
			report.Snapshots++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walkOwn walks the segments of a branch behind the last one of its parent, if it has one.
func (r *Reader) walkOwn(ctx context.Context, own, parent []link, report *Report, step func()) error {
	var before *Segment
	var last Position
	if len(parent) > 0 {
		s, err := r.end(ctx, parent[0])
		var damaged *damagedError
		switch {
		case errors.As(err, &damaged):
			return errors.Join(report.fault(Fault{damaged.key, damaged.what}), r.walkOwn(ctx, own, nil, report, step))
		case err != nil:
			return err
		}
		if before, last = s, parent[0].upTo; !slices.ContainsFunc(s.Entries, func(e domain.Entry) bool { return e.ID == last.String() }) {
			if err := report.fault(Fault{s.Key.String(), fmt.Sprintf("does not have the entry %s, from which another branch goes on", last)}); err != nil {
				return err
			}
		}
	}
	return r.walkFrom(ctx, own, before, last, func(s *Segment, _ []domain.Entry) error {
		if s.Size > 0 {
			report.Segments++
		}
		report.Entries += s.Header.Entries
		report.Facts += s.Header.Facts
		report.Bytes += int64(s.Size)
		if step != nil {
			step()
		}
		return nil
	}, report.fault)
}

// Log is the log of a namespace in Redis, as Compare needs it.
type Log interface {
	ArchiveState(ctx context.Context, partition int) (domain.ArchiveState, error)
	LogAfter(ctx context.Context, partition int, branch, after string, bytes int) ([]domain.Entry, error)
}

// Compare reads the log of each partition from its start and compares what is archived of its branch with it, entry by entry and byte for
// byte, up to the mark in Redis. What comes before the first entry that the log has is counted. Archiving, and trimming, may go on meanwhile. It adds what it finds to a report of Verify.
func (r *Reader) Compare(ctx context.Context, log Log, partitions int, report *Report, step func()) error {
	for p := range partitions {
		if err := r.comparePartition(ctx, log, p, report, step); err != nil {
			return fmt.Errorf("comparing partition %d with its log: %w", p, err)
		}
	}
	return nil
}

func (r *Reader) comparePartition(ctx context.Context, log Log, p int, report *Report, step func()) error {
	state, err := log.ArchiveState(ctx, p)
	if err != nil || state.Mark.Branch != state.Branch { // of a branch of which nothing is archived there is nothing to compare
		return err
	}
	chain, err := r.chain(ctx, p, state.Branch, nil)
	var damaged *damagedError
	if errors.As(err, &damaged) || errors.Is(err, ErrMissing) {
		return report.fault(Fault{fmt.Sprintf("partition %d", p), err.Error()})
	}
	if err != nil {
		return err
	}
	marked, broken := false, false
	begins := Position{} // of what was removed from the start of the log, the archive alone tells
	next := logEntries(ctx, log, p, state.Branch, SegmentBytes, &begins)
	is, err := next()
	if err != nil {
		return err
	}
	err = r.walk(ctx, chain, func(s *Segment, entries []domain.Entry) error {
		if step != nil {
			step()
		}
		if s.Key.String() == state.Mark.Segment {
			marked = true
			if s.Hash != state.Mark.Hash {
				broken = true
				return errors.Join(report.fault(Fault{s.Key.String(), "is not what it was when it was compared with the log: another hash"}), errStop)
			}
		}
		for _, archived := range entries {
			if position(archived.ID).Compare(begins) < 0 {
				report.Before++
				continue
			}
			if !sameEntry(is, archived) {
				broken = true
				return errors.Join(report.fault(Fault{s.Key.String(), fmt.Sprintf("has the entry %s, where the log has %q", archived.ID, is.ID)}), errStop)
			}
			var err error
			if is, err = next(); err != nil {
				return err
			}
		}
		if marked {
			return errStop
		}
		return nil
	}, func(f Fault) error {
		broken = true
		return errors.Join(report.fault(f), errStop)
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	if !marked && !broken {
		return report.fault(Fault{state.Mark.Segment, "is missing: the mark in Redis says that the log is archived up to its end"})
	}
	return nil
}

// errStop ends a walk.
var errStop = errors.New("no need to go on")

// logEntries returns what gives a log's entries one by one, from its start; behind the last one, the zero Entry. They are read so many bytes at a time; if the log was trimmed further than
// that meanwhile, it goes on with what it begins with then. begins is where the log began when it was last read from its start.
func logEntries(ctx context.Context, log Log, p int, branch string, bytes int, begins *Position) func() (domain.Entry, error) {
	var page []domain.Entry
	after := Position{}
	read := func() (err error) {
		if page, err = log.LogAfter(ctx, p, branch, after.String(), bytes); err == nil && len(page) > 0 && after == (Position{}) {
			*begins, err = ParsePosition(page[0].ID)
		}
		return err
	}
	return func() (domain.Entry, error) {
		if len(page) == 0 {
			err := read()
			if errors.Is(err, domain.ErrDataReplaced) {
				trimmed, failed := trimmedBehind(ctx, log, p, branch, after)
				if failed != nil || !trimmed {
					return domain.Entry{}, errors.Join(err, failed)
				}
				after = Position{}
				err = read()
			}
			if err != nil || len(page) == 0 {
				return domain.Entry{}, err
			}
			if after, err = ParsePosition(page[len(page)-1].ID); err != nil {
				return domain.Entry{}, err
			}
		}
		e := page[0]
		page = page[1:]
		return e, nil
	}
}

// trimmedBehind reports whether the log of a branch was trimmed further than an entry.
func trimmedBehind(ctx context.Context, log Log, p int, branch string, at Position) (bool, error) {
	state, err := log.ArchiveState(ctx, p)
	if err != nil || state.Branch != branch || state.Trimmed == "" {
		return false, err
	}
	begins, err := ParsePosition(state.Trimmed)
	return err == nil && begins.Compare(at) > 0, err
}
