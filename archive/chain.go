package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/domain"
)

// Reader reads the archive of a namespace.
type Reader struct {
	bucket    Bucket
	namespace string

	mu    sync.Mutex
	large *Segment // that was asked last for one that it replaces
}

// NewReader reads what is archived of a namespace.
func NewReader(bucket Bucket, namespace string) *Reader {
	return &Reader{bucket: bucket, namespace: namespace}
}

// segment reads one and checks what it says of itself. One that was replaced, and is gone, is as it was. The error is a *damagedError, or wraps
// ErrMissing, or says that the store failed.
func (r *Reader) segment(ctx context.Context, key Key) (*Segment, error) {
	body, err := r.bucket.Get(ctx, key.String())
	if errors.Is(err, ErrMissing) && key.Before != (Position{}) && !key.large() {
		return r.replaced(ctx, key, err)
	}
	if err != nil {
		return nil, err
	}
	return decode(key, body)
}

// header is what a segment says of itself, for whom its entries are of no interest. Errors are those of segment.
func (r *Reader) header(ctx context.Context, key Key) (Header, error) {
	body, err := r.bucket.Get(ctx, key.String())
	if err != nil {
		return Header{}, err
	}
	return decodeHeader(key, body)
}

// link is a segment of a chain, and up to where the chain goes along it.
type link struct {
	key  Key
	size int64
	upTo Position // of the entries that count; the zero Position: all

	written  time.Time // on the store's clock
	replaced []link    // what is there, and not read, because this large segment has it
}

// list lists what there is of a partition, by branch, in order. What is no segment is told to stranger, if that is not nil.
func (r *Reader) list(ctx context.Context, prefix string, stranger func(key string)) (map[int]map[string][]link, error) {
	all := make(map[int]map[string][]link)
	err := r.bucket.List(ctx, prefix, func(o Object) error {
		key, err := ParseKey(o.Key)
		if of, _, is := parseSnapshotKey(o.Key); is && of.Namespace == r.namespace {
			return nil
		}
		if err != nil || key.Namespace != r.namespace {
			if stranger != nil {
				stranger(o.Key)
			}
			return nil
		}
		if all[key.Partition] == nil {
			all[key.Partition] = make(map[string][]link)
		}
		all[key.Partition][key.Branch] = append(all[key.Partition][key.Branch], link{key: key, size: o.Size, written: o.Written})
		return nil
	})
	// A store lists in order; one that does not is put right here.
	for _, branches := range all {
		for name, links := range branches {
			branches[name] = chosen(links)
		}
	}
	return all, err
}

// branch lists the segments of one branch.
func (r *Reader) branch(ctx context.Context, p int, branch string) ([]link, error) {
	first := Key{Namespace: r.namespace, Partition: p, Branch: branch}.String()
	all, err := r.list(ctx, first[:len(first)-len(Position{}.inKey()+suffix)], nil)
	return all[p][branch], err
}

// chain are the segments that tell the log of a branch from its start: those of the branches that it goes on from, up to where each was left,
// and its own. branches are those that are listed already; others are listed when they are come to.
func (r *Reader) chain(ctx context.Context, p int, branch string, branches map[string][]link) ([]link, error) {
	var chain []link
	seen := make(map[string]bool)
	for upTo := (Position{}); ; {
		if seen[branch] {
			return nil, fmt.Errorf("branch %s of partition %d goes on from itself", branch, p)
		}
		seen[branch] = true
		own, listed := branches[branch]
		if !listed {
			var err error
			if own, err = r.branch(ctx, p, branch); err != nil {
				return nil, err
			}
		}
		if len(own) == 0 || own[0].key.Before != (Position{}) {
			return nil, fmt.Errorf("the first segment of branch %s of partition %d is missing: %w", branch, p, ErrMissing)
		}
		first, err := r.header(ctx, own[0].key)
		if err != nil {
			return nil, err
		}
		begins := position(first.After)
		own = slices.Clone(own)
		if upTo != (Position{}) {
			own = slices.DeleteFunc(own, func(l link) bool {
				from := l.key.Before
				if from == (Position{}) {
					from = begins
				}
				return from.Compare(upTo) >= 0
			})
			if i := slices.IndexFunc(own, func(l link) bool { return l.key.Last.Compare(upTo) >= 0 }); i >= 0 {
				own = own[:i+1] // a large one that has all of it
			}
			if len(own) > 0 {
				own[len(own)-1].upTo = upTo
			}
		}
		chain = append(own, chain...)
		if begins == (Position{}) {
			return chain, nil
		}
		if upTo == (Position{}) || begins.Compare(upTo) < 0 {
			upTo = begins
		}
		branch = first.Parent
	}
}

// poisonous gives an error that names what is damaged or missing its class; others stay what they are.
func poisonous(err error) error {
	var damaged *damagedError
	if errors.As(err, &damaged) || errors.Is(err, ErrMissing) {
		return domain.WithClass(domain.ClassPoison, err)
	}
	return err
}

// Fault is something that is wrong with an archive.
type Fault struct {
	Subject string `json:"subject"` // a key, or what else it is about
	Detail  string `json:"detail"`
}

// walk reads the segments of a chain in order, checks that each follows the one before, and calls each with the entries that count. What is
// wrong it tells to fault, and goes on behind it if that returns nil.
func (r *Reader) walk(ctx context.Context, chain []link, each func(s *Segment, entries []domain.Entry) error, fault func(Fault) error) error {
	return r.walkFrom(ctx, chain, nil, Position{}, each, fault)
}

// walkFrom is walk behind a segment, along which the chain has gone up to last.
func (r *Reader) walkFrom(ctx context.Context, chain []link, before *Segment, last Position, each func(s *Segment, entries []domain.Entry) error, fault func(Fault) error) error {
	for _, l := range chain {
		segments, err := r.read(ctx, l)
		var damaged *damagedError
		switch {
		case errors.As(err, &damaged):
			err = fault(Fault{damaged.key, damaged.what})
		case errors.Is(err, ErrMissing):
			err = fault(Fault{l.key.String(), "is listed, and is not there"})
		}
		if err != nil {
			return err
		}
		// If there are none, what comes next is told to be missing what comes before it.
		for i, s := range segments {
			if l.key.large() && s.Last().Compare(last) <= 0 {
				continue // the chain has gone along it: another large one has it, too, or a snapshot
			}
			if err := r.follows(s, before, last, fault); err != nil {
				return err
			}
			entries := s.Entries
			if l.upTo != (Position{}) && i == len(segments)-1 {
				end := slices.IndexFunc(entries, func(e domain.Entry) bool { return position(e.ID).Compare(l.upTo) > 0 })
				if end >= 0 {
					entries = entries[:end]
				}
				if len(entries) == 0 || entries[len(entries)-1].ID != l.upTo.String() {
					if err := fault(Fault{l.key.String(), fmt.Sprintf("does not have the entry %s, from which another branch goes on", l.upTo)}); err != nil {
						return err
					}
				}
			}
			if len(entries) > 0 {
				last = position(entries[len(entries)-1].ID)
			}
			before = s
			if err := each(s, entries); err != nil {
				return err
			}
		}
	}
	return nil
}

// follows tells what is wrong between a segment and the one before it, of which the chain has gone along up to last.
func (r *Reader) follows(s, before *Segment, last Position, fault func(Fault) error) error {
	subject := s.Key.String()
	switch after := s.After(); {
	case after.Compare(last) > 0:
		return fault(Fault{subject, fmt.Sprintf("begins behind %s, and the one before it ends with %s: what was between is missing", after, last)})
	case after.Compare(last) < 0:
		return fault(Fault{subject, fmt.Sprintf("begins behind %s, and the one before it goes on to %s: they overlap", after, last)})
	case before == nil && s.Header.Previous != "":
		return fault(Fault{subject, "says that it comes behind " + s.Header.Previous + ", which is not part of this chain"})
	case before != nil && s.Header.Previous != before.Key.String():
		return fault(Fault{subject, fmt.Sprintf("says that it comes behind %q, and it comes behind %s", s.Header.Previous, before.Key)})
	case before != nil && s.Header.PreviousHash != before.Hash:
		return fault(Fault{before.Key.String(), "is not what it was when the next one was written: another hash"})
	}
	return nil
}
