package archive

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"holdfast/domain"
)

// A snapshot is the state that a branch folds to at the end of one of its segments: the head, which is JSON and its SHA-256, and the pieces that
// it names by theirs. The pieces are written first, so a head that is there tells of a snapshot that is whole. It is this program's alone: others
// ask the segments, which never change, while the form of the state may with every version.

// snapshotFormat is that of snapshots that this program writes, and the only one that it reads: what the state consists of. A snapshot of another
// one is passed over, and costs no more than to fold the segments again.
const snapshotFormat = 3

// errOtherFormat is for a snapshot of another version of this program.
var errOtherFormat = errors.New("it is a snapshot of another version of this program")

// pieceBytes is how much of the state a piece has, more or less, before it is compressed.
const pieceBytes = 4 << 20

// mostPieceBytes bounds what a piece may turn out to have.
const mostPieceBytes = 16 * pieceBytes

// head is what a snapshot says of itself.
type head struct {
	Format      int      `json:"format"`
	Segment     string   `json:"segment"`      // the key of the one that it was taken at the end of
	SegmentHash string   `json:"segment_hash"` // by which it is bound to all that came before: each segment names the hash of the one before it
	Last        string   `json:"last"`         // id of the newest entry that is in it
	Facts       int      `json:"facts"`        // that were folded
	Events      int      `json:"events"`
	Orders      int      `json:"orders"`
	Pieces      []string `json:"pieces"` // their SHA-256, hex
}

func (h head) encode() ([]byte, error) {
	body, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("writing a snapshot: %w", err)
	}
	return append(body, "\n"+hashOf(body)+"\n"...), nil
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// parts cuts a book into what a piece has each.
func parts(book *domain.Snapshot, each func(*domain.Snapshot) error) error {
	part, size := domain.NewSnapshot(), 0
	grow := func(by int) error {
		if size += by; size < pieceBytes {
			return nil
		}
		full := part
		part, size = domain.NewSnapshot(), 0
		return each(full)
	}
	for _, id := range slices.Sorted(maps.Keys(book.Events)) {
		e := book.Events[id]
		part.Events[id] = e
		by := len(id) + len(e.Name) + 400
		for _, s := range e.Sections {
			by += len(s.Name) + len(s.Layout) + len(s.Places) + 100
		}
		for _, a := range e.Allocations {
			by += 100 * (1 + len(a.Codes))
		}
		if err := grow(by); err != nil {
			return err
		}
	}
	for _, ref := range refsOf(book) {
		o := book.Orders[ref]
		part.Orders[ref] = o
		if book.Early[ref] {
			part.Early[ref] = true
		}
		if err := grow(len(o.Items) + len(o.Detail) + 400); err != nil {
			return err
		}
	}
	for id, customers := range book.InProgress {
		for customer, order := range customers {
			within(part.InProgress, id)[customer] = order
			if err := grow(len(customer) + len(order) + 20); err != nil {
				return err
			}
		}
	}
	for id, customers := range book.Places {
		for customer, places := range customers {
			within(part.Places, id)[customer] = places
			if err := grow(len(customer) + 20); err != nil {
				return err
			}
		}
	}
	for what, places := range book.Refused {
		part.Refused[what] = places
		if err := grow(len(what.EventID) + len(what.Section) + len(what.Reason) + 20); err != nil {
			return err
		}
	}
	for ref, line := range book.Lines {
		part.Lines[ref] = line
		if err := grow(len(ref.EventID) + len(ref.OrderID) + len(line.CustomerID) + 60); err != nil {
			return err
		}
	}
	if size == 0 {
		return nil
	}
	return each(part)
}

// add puts a part back into a book.
func add(book, part *domain.Snapshot) {
	maps.Copy(book.Events, part.Events)
	maps.Copy(book.Orders, part.Orders)
	maps.Copy(book.Refused, part.Refused)
	maps.Copy(book.Early, part.Early)
	maps.Copy(book.Lines, part.Lines)
	for id, of := range part.InProgress {
		maps.Copy(within(book.InProgress, id), of)
	}
	for id, of := range part.Places {
		maps.Copy(within(book.Places, id), of)
	}
}

// within is what a map has of an event: what its customers have there, from now on, if there was nothing of it.
func within[V any](all map[string]map[string]V, eventID string) map[string]V {
	of := all[eventID]
	if of == nil {
		of = make(map[string]V)
		all[eventID] = of
	}
	return of
}

// weight is about how much a part has, of a piece.
func weight(part *domain.Snapshot) int {
	size := 400*(len(part.Events)+len(part.Orders)) + 100*(len(part.Lines)+len(part.Refused))
	for _, of := range part.InProgress {
		size += 50 * len(of)
	}
	for _, of := range part.Places {
		size += 50 * len(of)
	}
	return size
}

// compressor and decompressor are of pieces; any number of goroutines uses them. The second refuses what would be more than mostPieceBytes.
var (
	compressor   = sync.OnceValues(func() (*zstd.Encoder, error) { return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)) })
	decompressor = sync.OnceValues(func() (*zstd.Decoder, error) { return zstd.NewReader(nil, zstd.WithDecoderMaxMemory(mostPieceBytes)) })
)

// storedPart is a part as a piece has it: what there is much of in lists, which are read in half the time that maps take.
type storedPart struct {
	Events   map[string]domain.Event
	Orders   []storedOrder
	Progress []storedProgress
	Places   []storedPlaces
	Refused  map[domain.RefusedDemand]int64
	Lines    map[domain.OrderRef]domain.Line
}

type storedOrder struct {
	EventID, OrderID string
	Early            bool
	Order            domain.Order
}

type storedProgress struct{ EventID, CustomerID, OrderID string }

type storedPlaces struct {
	EventID, CustomerID string
	Places              int64
}

// encodePart makes a piece of a part. The form is Go's own: it has every value as it is, byte for byte.
func encodePart(part *domain.Snapshot) ([]byte, error) {
	s := storedPart{Events: part.Events, Refused: part.Refused, Lines: part.Lines, Orders: make([]storedOrder, 0, len(part.Orders))}
	for ref, o := range part.Orders {
		s.Orders = append(s.Orders, storedOrder{ref.EventID, ref.OrderID, part.Early[ref], o})
	}
	for id, of := range part.InProgress {
		for customer, order := range of {
			s.Progress = append(s.Progress, storedProgress{id, customer, order})
		}
	}
	for id, of := range part.Places {
		for customer, places := range of {
			s.Places = append(s.Places, storedPlaces{id, customer, places})
		}
	}
	var b bytes.Buffer
	w, err := compressor()
	if err == nil {
		err = gob.NewEncoder(&b).Encode(s)
	}
	if err != nil {
		return nil, fmt.Errorf("writing a piece of a snapshot: %w", err)
	}
	return w.EncodeAll(b.Bytes(), nil), nil
}

func decodePart(body []byte) (*domain.Snapshot, error) {
	r, err := decompressor()
	if err != nil {
		return nil, err
	}
	plain, err := r.DecodeAll(body, nil)
	if err != nil {
		return nil, err
	}
	var s storedPart
	if err := gob.NewDecoder(bytes.NewReader(plain)).Decode(&s); err != nil {
		return nil, err
	}
	part := domain.NewSnapshot()
	maps.Copy(part.Events, s.Events)
	maps.Copy(part.Refused, s.Refused)
	maps.Copy(part.Lines, s.Lines)
	part.Orders = make(map[domain.OrderRef]domain.Order, len(s.Orders))
	for _, o := range s.Orders {
		ref := domain.OrderRef{EventID: o.EventID, OrderID: o.OrderID}
		if part.Orders[ref] = o.Order; o.Early {
			part.Early[ref] = true
		}
	}
	for _, p := range s.Progress {
		within(part.InProgress, p.EventID)[p.CustomerID] = p.OrderID
	}
	for _, p := range s.Places {
		within(part.Places, p.EventID)[p.CustomerID] = p.Places
	}
	return part, nil
}

// snapshot is one that was read, and is what it says; its pieces are read by each.
type snapshot struct {
	key     snapshotKey
	head    head
	segment *Segment // that it was taken at the end of
}

// snapshot reads the head of one, and compares it with the segment that it was taken at the end of. The error is a *damagedError, or wraps ErrMissing or
// errOtherFormat, or says that the store failed.
func (r *Reader) snapshot(ctx context.Context, key snapshotKey) (*snapshot, error) {
	body, err := r.bucket.Get(ctx, key.String())
	if err != nil {
		return nil, err
	}
	damaged := func(format string, args ...any) error {
		return &damagedError{key.String(), fmt.Sprintf(format, args...)}
	}
	said, sum, _ := strings.Cut(string(body), "\n")
	if sum != hashOf([]byte(said))+"\n" {
		return nil, damaged("it is not what was written: cut, or changed")
	}
	s := &snapshot{key: key}
	if err := json.Unmarshal([]byte(said), &s.head); err != nil {
		return nil, damaged("its head cannot be read: %v", err)
	}
	if s.head.Format != snapshotFormat {
		return nil, fmt.Errorf("%s: %w", key, errOtherFormat)
	}
	at, err := ParseKey(s.head.Segment)
	if err != nil || at.Namespace != key.Namespace || at.Partition != key.Partition || at.Branch != key.Branch || s.head.Last != key.At.String() {
		return nil, damaged("it says that it is of %s, at %s", s.head.Segment, s.head.Last)
	}
	s.segment, err = r.segment(ctx, at)
	var broken *damagedError
	switch {
	case errors.As(err, &broken), errors.Is(err, ErrMissing):
		return nil, damaged("what it was taken at the end of: %v", err)
	case err != nil:
		return nil, err
	case s.segment.Hash != s.head.SegmentHash || s.segment.Header.Last != s.head.Last:
		return nil, damaged("it was taken at the end of %s when that ended at %s with the hash %s, and it ends at %s with %s",
			s.head.Segment, s.head.Last, s.head.SegmentHash, s.segment.Header.Last, s.segment.Hash)
	}
	return s, nil
}

// each reads the pieces of a snapshot, one at a time. Errors are those of snapshot, and of do.
func (s *snapshot) each(ctx context.Context, r *Reader, do func(part *domain.Snapshot) error) error {
	events, orders := 0, 0
	for _, hash := range s.head.Pieces {
		part, err := s.piece(ctx, r, hash)
		if err != nil {
			return err
		}
		events, orders = events+len(part.Events), orders+len(part.Orders)
		if err := do(part); err != nil {
			return err
		}
	}
	if events != s.head.Events || orders != s.head.Orders {
		return s.damaged("it says that it has %d events and %d orders, and has %d and %d", s.head.Events, s.head.Orders, events, orders)
	}
	return nil
}

// piece reads one. Errors are those of snapshot.
func (s *snapshot) piece(ctx context.Context, r *Reader, hash string) (*domain.Snapshot, error) {
	body, err := r.bucket.Get(ctx, s.key.piece(hash))
	if errors.Is(err, ErrMissing) {
		return nil, s.damaged("its piece %s is missing", hash)
	}
	if err != nil {
		return nil, err
	}
	if hashOf(body) != hash {
		return nil, s.damaged("its piece %s is not what was written: cut, or changed", hash)
	}
	part, err := decodePart(body)
	if err != nil {
		return nil, s.damaged("its piece %s cannot be read: %v", hash, err)
	}
	return part, nil
}

func (s *snapshot) damaged(format string, args ...any) error {
	return &damagedError{s.key.String(), fmt.Sprintf(format, args...)}
}

// snapshots lists those of a branch that are not going to be removed, the newest first.
func (r *Reader) snapshots(ctx context.Context, p int, branch string) (found []snapshotKey, err error) {
	folder := snapshotKey{Namespace: r.namespace, Partition: p, Branch: branch}.folder()
	going := make(map[snapshotKey]bool)
	err = r.bucket.List(ctx, folder, func(o Object) error {
		key, isPiece, ok := parseSnapshotKey(o.Key)
		switch {
		case ok && !isPiece:
			found = append(found, key)
		case ok && o.Key == key.piece(removed):
			going[key] = true
		}
		return nil
	})
	found = slices.DeleteFunc(found, func(key snapshotKey) bool { return going[key] })
	slices.SortFunc(found, func(a, b snapshotKey) int { return b.At.Compare(a.At) })
	return found, err
}

// start is where along a chain one begins to fold.
type start struct {
	book    domain.ArchivedBook
	segment *Segment // that the snapshot was taken at the end of; nil: there is none
	rest    []link   // what of the chain comes behind it
}

func (s start) last() Position {
	if s.segment == nil {
		return Position{}
	}
	return s.segment.Last()
}

// wholeChain begins where the chain does, with nothing.
func wholeChain(chain []link) start {
	return start{book: domain.ArchivedBook{Book: domain.NewSnapshot(), Last: Position{}.String()}, rest: chain}
}

// begin finds the newest good snapshot along a chain that has nothing behind a position, and reads it.
func (r *Reader) begin(ctx context.Context, p int, chain []link, notBehind Position) (start, error) {
	is := wholeChain(chain)
	_, err := r.newestGood(ctx, p, chain, notBehind, func(s *snapshot, rest []link) error {
		book := domain.NewSnapshot()
		if err := s.each(ctx, r, func(part *domain.Snapshot) error {
			add(book, part)
			return nil
		}); err != nil {
			return err
		}
		is.book = domain.ArchivedBook{Book: book, Last: s.head.Last, Facts: s.head.Facts, Snapshot: s.key.String()}
		is.segment, is.rest = s.segment, rest
		return nil
	})
	return is, err
}

// newestGood has the newest snapshot read along a chain that has nothing behind a position, with what of the chain comes behind it; and, if read says that
// it is not what it was, the one before it. It returns those that were passed over, and are not what they say. If there is none, read is not called.
func (r *Reader) newestGood(ctx context.Context, p int, chain []link, notBehind Position, read func(s *snapshot, rest []link) error) (faults []Fault, err error) {
	for i := len(chain) - 1; i >= 0; i-- {
		branch := chain[i].key.Branch
		if i+1 < len(chain) && chain[i+1].key.Branch == branch {
			continue
		}
		most := notBehind
		if upTo := chain[i].upTo; upTo != (Position{}) && upTo.Compare(most) < 0 {
			most = upTo // what the branch has behind it is abandoned
		}
		keys, err := r.snapshots(ctx, p, branch)
		if err != nil {
			return faults, err
		}
		for _, key := range keys {
			if key.At.Compare(most) > 0 {
				continue
			}
			err := r.along(ctx, key, chain, read)
			var damaged *damagedError
			switch {
			case errors.As(err, &damaged):
				faults = append(faults, Fault{damaged.key, damaged.what})
			case errors.Is(err, ErrMissing):
				faults = append(faults, Fault{key.String(), "is listed, and is not there"})
			case errors.Is(err, errOtherFormat):
			default:
				return faults, err
			}
		}
	}
	return faults, nil
}

// along has a snapshot of a chain read.
func (r *Reader) along(ctx context.Context, key snapshotKey, chain []link, read func(s *snapshot, rest []link) error) error {
	s, err := r.snapshot(ctx, key)
	if err != nil {
		return err
	}
	_, rest, found := cutBehind(chain, s.segment)
	if !found {
		return &damagedError{key.String(), "it was taken at the end of " + s.head.Segment + ", which is not part of this chain"}
	}
	return read(s, rest)
}

// Past implements domain.ArchivedPast. A segment, and a piece of a snapshot, are in memory at a time, beside the book.
func (r *Reader) Past(ctx context.Context, p int, to domain.ArchiveMark, notBehind string, begin func(domain.ArchivedBook), each func(domain.Entry) error) error {
	poison := func(format string, args ...any) error {
		return domain.WithClass(domain.ClassPoison, fmt.Errorf(format, args...))
	}
	end, err := ParsePosition(to.Position)
	if err != nil {
		return poison("%w", err)
	}
	most, err := ParsePosition(notBehind)
	if err != nil {
		return poison("%w", err)
	}
	if end.Compare(most) < 0 {
		most = end
	}
	chain, err := r.chain(ctx, p, to.Branch, nil)
	if err != nil {
		return poisonous(err)
	}
	is, err := r.begin(ctx, p, chain, most)
	if err != nil {
		return err
	}
	begin(is.book)
	reached := false
	ends := func(s *Segment) error {
		if s == nil || s.Key.String() != to.Segment {
			return nil
		}
		if s.Hash != to.Hash {
			return poison("%s is not what it was when it was compared with the log: another hash", to.Segment)
		}
		reached = true
		return errStop
	}
	if err = ends(is.segment); err == nil {
		err = r.walkFrom(ctx, is.rest, is.segment, is.last(), func(s *Segment, entries []domain.Entry) error {
			for _, e := range entries {
				if position(e.ID).Compare(end) > 0 {
					break // a restore may have cut the segment there
				}
				if err := each(e); err != nil {
					return err
				}
			}
			return ends(s)
		}, func(f Fault) error { return poison("segment %s %s", f.Subject, f.Detail) })
	}
	switch {
	case reached:
		return nil
	case err == nil:
		return poison("%s is missing: the mark in Redis says that the log is archived up to its end", to.Segment)
	}
	return err
}

// Taken is what became of a partition's snapshot.
type Taken struct {
	Partition int     `json:"partition"`
	Branch    string  `json:"branch"`
	Snapshot  string  `json:"snapshot"` // its key
	Last      string  `json:"last"`     // id of the newest log entry that is in it
	New       bool    `json:"new"`      // false: there was one of all that is archived
	Events    int     `json:"events"`
	Orders    int     `json:"orders"`
	Facts     int     `json:"facts"`                 // that it was folded of
	Folded    int     `json:"folded"`                // of these, since the snapshot before it
	Passed    []Fault `json:"passed_over,omitempty"` // newer snapshots that are not what they say
}

// TakeSnapshots takes a snapshot of each partition, at the end of what is archived of it, unless there is one, and calls each with what became of it. It
// reads nothing but the archive: the snapshot before it, and the segments since. In memory is what those segments change, and never more than what Options.AtOnce bytes of
// them do: where there are more, snapshots are taken on the way.
//
// Nothing is folded, and no snapshot taken, of a partition of which a segment is missing or damaged, or says what cannot have been: the error, of
// ClassPoison, names it. A crash, or an error of the store, leaves no snapshot, or a whole one; again is harmless. So are two at the same time.
func (r *Reader) TakeSnapshots(ctx context.Context, o Options, each func(Taken) error) error {
	newest, err := r.newest(ctx, o.Branches)
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(newest)) {
		taken, err := r.takeSnapshot(ctx, p, newest[p], o)
		if err == nil {
			err = each(taken)
		}
		if err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return nil
}

// takeSnapshot takes one at the end of a chain. What is to be folded for it is in memory, so it takes others on the way if that is much.
func (r *Reader) takeSnapshot(ctx context.Context, p int, branch string, o Options) (Taken, error) {
	taken := Taken{Partition: p, Branch: branch}
	chain, err := r.chain(ctx, p, branch, nil)
	if err != nil {
		return taken, poisonous(err)
	}
	err = r.takeSnapshotOf(ctx, chain, &taken, o)
	return taken, err
}

func (r *Reader) takeSnapshotOf(ctx context.Context, chain []link, taken *Taken, o Options) error {
	for before := len(chain) + 1; ; {
		left, err := r.takeNext(ctx, chain, taken, o)
		switch {
		case err != nil || left == 0:
			return err
		case left >= before: // a list of the store may be late
			return domain.WithClass(domain.ClassRetry, fmt.Errorf("snapshot %s was taken, and is not there", taken.Snapshot))
		}
		before = left
	}
}

// atOnce are those of the next segments of a chain that are folded before a snapshot is taken. It ends at the end of one of them.
func (o Options) atOnce(next []link) []link {
	most, size := cmp.Or(o.AtOnce, SegmentBytes), int64(0)
	for i, l := range next {
		if size += l.size; size >= most && l.upTo == (Position{}) {
			return next[:i+1]
		}
	}
	return next
}

// takeNext takes a snapshot behind the newest one, as far along the chain as is folded at a time, and returns how many segments are left.
func (r *Reader) takeNext(ctx context.Context, chain []link, taken *Taken, o Options) (left int, err error) {
	fault := func(f Fault) error {
		return domain.WithClass(domain.ClassPoison, fmt.Errorf("segment %s %s", f.Subject, f.Detail))
	}
	st, rest := newState(), chain
	var end *Segment
	var last Position
	faults, err := r.newestGood(ctx, taken.Partition, chain, maxPosition, func(s *snapshot, behind []link) error {
		if err := st.from(ctx, r, s, func(each func(domain.Fact)) error {
			return r.walkFrom(ctx, o.atOnce(behind), s.segment, s.segment.Last(), func(_ *Segment, entries []domain.Entry) error {
				return factsOf(entries, each)
			}, fault)
		}); err != nil {
			*st = *newState()
			return err
		}
		rest, end, last = behind, s.segment, s.segment.Last()
		return nil
	})
	for _, f := range faults {
		if !slices.Contains(taken.Passed, f) {
			taken.Passed = append(taken.Passed, f)
		}
	}
	if err != nil {
		return 0, err
	}
	if st.base != nil {
		taken.Snapshot, taken.Last, taken.Facts, taken.Events, taken.Orders = st.base.key.String(), st.base.head.Last, st.base.head.Facts, st.base.head.Events, st.base.head.Orders
	}
	if len(rest) == 0 {
		return 0, nil
	}
	next, folded := o.atOnce(rest), 0
	if err := r.walkFrom(ctx, next, end, last, func(s *Segment, entries []domain.Entry) error {
		if o.Step != nil {
			o.Step()
		}
		for _, e := range entries {
			facts, err := st.fold(e)
			if err != nil {
				return fmt.Errorf("segment %s: %w", s.Key, err)
			}
			folded += facts
		}
		end = s
		return nil
	}, fault); err != nil {
		return 0, err
	}
	key := snapshotKey{Namespace: r.namespace, Partition: taken.Partition, Branch: end.Key.Branch, At: end.Last()}
	h := head{Format: snapshotFormat, Segment: end.Key.String(), SegmentHash: end.Hash, Last: end.Header.Last, Facts: st.facts}
	err = r.write(ctx, key, &h, st)
	switch {
	case errors.Is(err, errOtherFormat) && len(next) < len(rest):
		// Another version has taken one there, which stays: this one goes a segment further.
		o.AtOnce = 1
		for _, l := range next {
			o.AtOnce += l.size
		}
		return r.takeNext(ctx, chain, taken, o)
	case errors.Is(err, errOtherFormat):
		taken.Passed = append(taken.Passed, Fault{key.String(), "is of another version of this program: this one takes one when more is archived"})
		return 0, nil
	case err != nil:
		return 0, poisonous(err)
	}
	taken.Folded += folded
	taken.New, taken.Snapshot, taken.Last, taken.Facts, taken.Events, taken.Orders = true, key.String(), h.Last, h.Facts, h.Events, h.Orders
	return len(rest) - len(next), nil
}

// maxPosition is behind all.
var maxPosition = Position{Millis: math.MaxUint64, Seq: math.MaxUint64}

// write writes a snapshot: its pieces, and then the head, of which the rest is filled in. It counts when what is stored under its key was read back, whoever has
// written it, and is just the state.
func (r *Reader) write(ctx context.Context, key snapshotKey, h *head, st *state) error {
	var folded, stored tally
	piece := func(part *domain.Snapshot) error {
		folded.add(part)
		body, err := encodePart(part)
		if err != nil {
			return err
		}
		h.Events, h.Orders, h.Pieces = h.Events+len(part.Events), h.Orders+len(part.Orders), append(h.Pieces, hashOf(body))
		return r.put(ctx, key.piece(hashOf(body)), body)
	}
	// What is left of a piece of the snapshot before may be little: with the next one it makes one that is not.
	together := domain.NewSnapshot()
	err := st.each(ctx, r, func(part *domain.Snapshot) error {
		if add(together, part); weight(together) < pieceBytes {
			return nil
		}
		full := together
		together = domain.NewSnapshot()
		return parts(full, piece)
	})
	if err == nil {
		err = parts(together, piece)
	}
	if err != nil {
		return err
	}
	body, err := h.encode()
	if err != nil {
		return err
	}
	failed := r.put(ctx, key.String(), body)
	found, err := r.snapshot(ctx, key)
	if errors.Is(err, ErrMissing) && failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	if err := found.each(ctx, r, func(part *domain.Snapshot) error {
		stored.add(part)
		return nil
	}); err != nil {
		return err
	}
	if stored != folded || found.head.Facts != h.Facts {
		return &damagedError{key.String(), "it is not what the segments fold to"}
	}
	return nil
}

// put writes an object that is what its key says: one that is there already is it, or else is found when it is read back.
func (r *Reader) put(ctx context.Context, key string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	if err := r.bucket.Put(ctx, key, body); err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	return nil
}
