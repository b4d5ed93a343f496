package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/domain"
)

// SegmentBytes is how large the entries of a segment are at most, but for the last one.
const SegmentBytes = 4 << 20

// CallTimeout bounds a call of the object store.
const CallTimeout = 30 * time.Second

// Archiver writes the log of a namespace to a bucket. Any number may do so at the same time.
type Archiver struct {
	log    domain.ArchiveSource
	bucket Bucket
	name   string // of the worker
	bytes  int
	keep   domain.KeepLog

	segments, written atomic.Int64

	folding sync.Mutex // whoever takes a snapshot has it: the state of one partition is in memory at a time

	mu      sync.Mutex
	good    map[int]snapshotKey // by partition: the newest that was read and is what it says
	parents map[int]Header      // by partition: where its branch goes on from, as far as it is known: it is asked for until something is written
	lasts   map[int]lastOfMark  // by partition
}

// lastOfMark is the entry up to which a mark says that the log is archived.
type lastOfMark struct {
	mark domain.ArchiveMark
	last domain.Entry
}

// NewArchiver archives a log. The name is that of the worker, for people.
func NewArchiver(log domain.ArchiveSource, bucket Bucket, name string) *Archiver {
	return &Archiver{log: log, bucket: bucket, name: name, bytes: SegmentBytes, parents: make(map[int]Header), good: make(map[int]snapshotKey), lasts: make(map[int]lastOfMark)}
}

// Written is how many segments this archiver has written, and how many bytes they have.
func (a *Archiver) Written() (segments, bytes int64) { return a.segments.Load(), a.written.Load() }

// Archive writes the next segment of a partition, if there is anything that is not archived. more reports that there may be more at once.
//
// These steps are the same whatever happened before, and a crash, or an error, at any of them leaves what the next call goes on from:
//
//	1 read    the mark in Redis, and the log behind it, which has the entry of the mark. Nothing has changed
//	2 write   the segment, if there is none of its key. Whatever the store says of it is not believed: it may have failed after it
//	          was done, or be done later
//	3 read    what is stored under the key. If it is nothing, the next call writes it; if it is what the log says, whoever has
//	          written it, it counts; if the log does not have it, the log has lost what was archived, and a branch begins. Damaged:
//	          an error that names it, until a person has seen to it
//	4 advance the mark in Redis to its end, if it is where it was read, the branch is the same, and the log has the last entry
//
// The error wraps domain.ErrDataReplaced if the partition has another branch than when it was read, or has begun one: call again.
func (a *Archiver) Archive(ctx context.Context, p int) (more bool, err error) {
	state, err := a.log.ArchiveState(ctx, p)
	if err != nil {
		return false, err
	}
	ns, err := a.log.ArchivedNamespace(ctx)
	if err != nil {
		return false, err
	}
	w := &writing{Archiver: a, p: p, state: state, reader: NewReader(a.bucket, ns.Namespace)}
	w.header = Header{ArchivedNamespace: ns, Partition: p, Branch: state.Branch, After: "0-0", AtMillis: state.NowMillis, By: a.name}
	w.key = Key{Namespace: ns.Namespace, Partition: p, Branch: state.Branch}
	if state.Mark.Branch == state.Branch {
		w.header.After, w.header.Previous, w.header.PreviousHash = state.Mark.Position, state.Mark.Segment, state.Mark.Hash
		if w.key.Before, err = ParsePosition(state.Mark.Position); err != nil {
			return false, err
		}
	}
	return w.archive(ctx)
}

// writing is the next segment of a partition.
type writing struct {
	*Archiver
	p      int
	state  domain.ArchiveState
	reader *Reader
	key    Key
	header Header
}

func (w *writing) first() bool { return w.key.Before == (Position{}) }

func (w *writing) archive(ctx context.Context) (more bool, err error) {
	if w.first() {
		if err := w.findParent(ctx); err != nil {
			return false, err
		}
		if w.header.After == "0-0" && w.state.Trimmed != "" {
			return false, domain.WithCode(domain.ClassPoison, domain.CodeLogTrimmed,
				fmt.Errorf("the log of partition %d begins with %s, what was before it was trimmed, and is not in this archive: is it another one?", w.p, w.state.Trimmed))
		}
	}
	entries, err := w.log.LogAfter(ctx, w.p, w.state.Branch, w.header.After, w.bytes)
	if errors.Is(err, domain.ErrDataReplaced) && !w.first() {
		return false, errors.Join(err, w.lost(ctx))
	}
	if err != nil || len(entries) == 0 {
		return false, err
	}
	if !w.first() {
		if goesOn, err := w.goesOn(ctx); err != nil {
			return false, err
		} else if !goesOn {
			return false, errors.Join(fmt.Errorf("%w: the entry %s of the log of partition %d is not the one that was archived", domain.ErrDataReplaced, w.state.Mark.Position, w.p), w.lost(ctx))
		}
	}
	if w.header.Acknowledged, err = w.log.Acknowledged(ctx, w.p); err != nil {
		return false, err
	}
	body, err := encode(w.header, entries)
	if err != nil {
		return false, err
	}
	var found *Segment
	err = ErrMissing
	if !w.first() && w.state.NowMillis-int64(w.key.Before.Millis) > replacedAfter.Milliseconds() { //nolint:gosec // a time of Redis
		// The data may be an old copy: then what comes behind its mark was perhaps replaced, and its key is free again.
		found, err = w.get(ctx)
	}
	var failed error
	wrote := errors.Is(err, ErrMissing)
	if wrote {
		failed = w.put(ctx, body)
		found, err = w.get(ctx)
	}
	if errors.Is(err, ErrMissing) {
		if failed == nil {
			failed = errors.New("the store has said that it was written")
		}
		return false, fmt.Errorf("%w; and it is not there", failed)
	}
	if err != nil {
		return false, err
	}
	last, ours, err := w.compare(ctx, found, entries)
	if err != nil {
		return false, err
	}
	if !ours {
		return false, w.elsewhere(ctx, found)
	}
	if wrote && failed == nil {
		w.segments.Add(1)
		w.written.Add(int64(len(body)))
	}
	to := domain.ArchiveMark{Branch: w.state.Branch, Position: found.Header.Last, Segment: w.key.String(), Hash: found.Hash}
	moved, err := w.log.Advance(ctx, w.p, w.state.Mark, to, last)
	if err != nil || !moved { // somebody else has moved it, or the data was replaced: the next call sees which
		return false, err
	}
	w.note(lastOfMark{to, last})
	return bytesOf(entries) >= w.bytes || found.Header.Last != entries[len(entries)-1].ID, nil
}

// goesOn reports whether the log has the entry of the mark, byte for byte, and not only one of its id: the mark may be that of a master that was cut off, and
// the log that of the one after it, which has given out the same ids. It is an error if the archive does not have the segment of the mark: what is written
// behind it would leave a gap.
func (w *writing) goesOn(ctx context.Context) (bool, error) {
	w.mu.Lock()
	known := w.lasts[w.p]
	w.mu.Unlock()
	if known.mark != w.state.Mark {
		key, err := ParseKey(w.state.Mark.Segment)
		if err != nil {
			return false, domain.WithClass(domain.ClassPoison, err)
		}
		s, err := w.reader.segment(ctx, key)
		if errors.Is(err, ErrMissing) { // in no large one either. A list may be late: then the next call finds it
			return false, domain.WithClass(domain.ClassPoison, fmt.Errorf("%s, up to the end of which partition %d is archived, as the mark in Redis says, is not in this archive: is it another one? (%w)", w.state.Mark.Segment, w.p, err))
		}
		if err != nil {
			return false, err
		}
		if s.Hash != w.state.Mark.Hash {
			return false, &damagedError{w.state.Mark.Segment, "it is not what it was when it was compared with the log: another hash"}
		}
		known = lastOfMark{w.state.Mark, s.Entries[len(s.Entries)-1]}
	}
	in, err := w.log.InLog(ctx, w.p, known.last)
	if err != nil || !in {
		return false, err
	}
	w.note(known)
	return true, nil
}

func (w *writing) note(known lastOfMark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lasts[w.p] = known
}

func (w *writing) put(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	return w.bucket.Put(ctx, w.key.String(), body)
}

func (w *writing) get(ctx context.Context) (*Segment, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	return w.reader.segment(ctx, w.key)
}

// compare reports whether a segment that is stored is what the log says. entries are those that were read of the log; last is the segment's last.
func (w *writing) compare(ctx context.Context, found *Segment, entries []domain.Entry) (last domain.Entry, ours bool, err error) {
	last = found.Entries[len(found.Entries)-1]
	if found.Header.After != w.header.After || found.Header.Previous != w.header.Previous || found.Header.PreviousHash != w.header.PreviousHash {
		if !w.first() {
			return last, false, &damagedError{w.key.String(), fmt.Sprintf("it comes behind %q (%s), and the mark in Redis says %q (%s)",
				found.Header.Previous, found.Header.PreviousHash, w.header.Previous, w.header.PreviousHash)}
		}
		// Whoever has begun the branch found another parent, or less of the archive.
		if ours, err := w.begins(ctx, found); err != nil || !ours {
			return last, false, err
		}
		entries = nil
	}
	after := found.Header.After
	for i := 0; i < len(found.Entries); {
		if len(entries) == 0 {
			// Another one that has read later, or from elsewhere: so the log is read again, after it was written.
			if entries, err = w.log.LogAfter(ctx, w.p, w.state.Branch, after, w.bytes); err != nil {
				return last, false, err
			}
		}
		n := min(len(entries), len(found.Entries)-i)
		if n == 0 || !slices.EqualFunc(entries[:n], found.Entries[i:i+n], sameEntry) {
			return last, false, nil
		}
		i += n
		after, entries = found.Entries[i-1].ID, nil
	}
	return last, true, nil
}

// begins reports whether the first segment of a branch that somebody else has written begins where the log says: the entry behind which it goes
// on is in its parent, as it says, and in the log.
func (w *writing) begins(ctx context.Context, found *Segment) (bool, error) {
	if found.After() == (Position{}) {
		return found.Header.Previous == "", nil
	}
	key, err := ParseKey(found.Header.Previous)
	if err != nil {
		return false, nil //nolint:nilerr // it is not what this program writes: no reason to believe it
	}
	previous, err := w.reader.segment(ctx, key)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(previous.Entries, func(e domain.Entry) bool { return e.ID == found.Header.After })
	if previous.Hash != found.Header.PreviousHash || i < 0 {
		return false, nil
	}
	return w.log.InLog(ctx, w.p, previous.Entries[i])
}

// elsewhere begins another branch: what is stored under the key is of this one, and the log does not have it. So the data was replaced, and nobody has
// noticed.
func (w *writing) elsewhere(ctx context.Context, found *Segment) error {
	common := found.Header.After
	for _, e := range found.Entries {
		in, err := w.log.InLog(ctx, w.p, e)
		if err != nil {
			return err
		}
		if !in {
			break
		}
		common = e.ID
	}
	if common == "0-0" {
		common = ""
	}
	if err := w.log.ContinueElsewhere(ctx, w.p, w.state.Branch, common, w.name); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s has entries that the log of partition %d does not have", domain.ErrDataReplaced, w.key, w.p)
}

// lost begins another branch if the log does not have the entry up to which it is archived, although nobody has begun one: somebody has
// removed it.
func (w *writing) lost(ctx context.Context) error {
	is, err := w.log.ArchiveState(ctx, w.p)
	if err != nil || is.Branch != w.state.Branch || is.Mark != w.state.Mark {
		return err
	}
	return w.log.ContinueElsewhere(ctx, w.p, w.state.Branch, "", w.name)
}

// findParent finds where a branch goes on from: a branch before it that is archived, and the newest entry of that which the log has, byte for byte.
// What two logs have in common is where they begin. Whichever of several parents is taken, what is told is the same log; a list that
// misses the newest only makes more be written again.
func (w *writing) findParent(ctx context.Context) error {
	w.mu.Lock()
	known := w.parents[w.p]
	w.mu.Unlock()
	if known.Branch != w.state.Branch {
		if err := w.lookForParent(ctx); err != nil {
			return err
		}
		known = w.header
		w.mu.Lock()
		w.parents[w.p] = known
		w.mu.Unlock()
	}
	w.header.Parent, w.header.After, w.header.Previous, w.header.PreviousHash = known.Parent, known.After, known.Previous, known.PreviousHash
	return nil
}

func (w *writing) lookForParent(ctx context.Context) error {
	for _, branch := range w.state.Before {
		own, err := w.reader.branch(ctx, w.p, branch)
		if err != nil {
			return err
		}
		if len(own) == 0 {
			continue
		}
		chain, err := w.reader.chain(ctx, w.p, branch, map[string][]link{branch: own})
		if err != nil {
			return err
		}
		w.header.Parent = branch
		return w.findCommon(ctx, chain)
	}
	return nil
}

func (w *writing) findCommon(ctx context.Context, chain []link) error {
	var failed error
	read := func(i int) []*Segment {
		segments, err := w.reader.read(ctx, chain[i])
		failed = errors.Join(failed, err)
		return segments
	}
	inLog := func(e domain.Entry) bool {
		in, err := w.log.InLog(ctx, w.p, e)
		failed = errors.Join(failed, err)
		return in
	}
	// Mostly the newest segment has it. Else: the first one that does not begin with an entry of the log, and the one before that.
	i := len(chain) - 1
	segments := read(i)
	if failed == nil && !inLog(segments[0].Entries[0]) {
		i = sort.Search(i, func(i int) bool {
			if failed != nil {
				return true
			}
			segments := read(i)
			return failed != nil || !inLog(segments[0].Entries[0])
		}) - 1
		if failed == nil && i >= 0 {
			segments = read(i)
		}
	}
	if failed != nil || i < 0 {
		return failed
	}
	s := segments[sort.Search(len(segments)-1, func(k int) bool { return failed != nil || !inLog(segments[k+1].Entries[0]) })]
	if failed != nil {
		return failed
	}
	n := sort.Search(len(s.Entries), func(n int) bool {
		return failed != nil || chain[i].upTo != (Position{}) && position(s.Entries[n].ID).Compare(chain[i].upTo) > 0 || !inLog(s.Entries[n])
	})
	if failed != nil || n == 0 {
		return failed
	}
	w.header.After, w.header.Previous, w.header.PreviousHash = s.Entries[n-1].ID, s.Key.String(), s.Hash
	return nil
}
