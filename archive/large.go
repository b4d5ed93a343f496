package archive

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"

	"github.com/parquet-go/parquet-go"

	"holdfast/domain"
)

// A large segment is made of adjacent small ones of a branch, which it replaces. It has their entries, and the header and the hash of each: so it
// tells them just as they were, and whoever goes along a chain goes along those, each of which names the hash of the one before it, and meets no
// large one. Who made it does not matter, nor whether several were made of the same: they cannot say different things.

// largeFormat is that of large segments, which older programs do not know.
const largeFormat = 2

// format is that of the segments that have such a key.
func (k Key) format() int {
	if k.large() {
		return largeFormat
	}
	return format
}

// replacesName is the name under which a large segment says what it replaces.
const replacesName = "holdfast_replaces"

// mostReplacesBytes bounds what that may turn out to have.
const mostReplacesBytes = 64 << 20

// small is what a large segment says of one that it replaces, beside its entries.
type small struct {
	Header Header `json:"header"`
	Hash   string `json:"hash"`
}

// encodeLarge makes a large segment of small ones, each of which follows the one before. It is the same, byte for byte, whoever makes it.
func encodeLarge(of []*Segment) (Key, []byte, error) {
	first, last := of[0], of[len(of)-1]
	h := last.Header
	h.Format, h.After, h.Previous, h.PreviousHash = largeFormat, first.Header.After, first.Header.Previous, first.Header.PreviousHash
	key := first.Key
	key.Last = last.Last()
	var entries []domain.Entry
	replaces := make([]small, len(of))
	for i, s := range of {
		entries = append(entries, s.Entries...)
		replaces[i] = small{s.Header, s.Hash}
	}
	said, err := json.Marshal(replaces)
	if err != nil {
		return key, nil, fmt.Errorf("writing a segment: %w", err)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err = w.Write(said); err == nil {
		err = w.Close()
	}
	if err != nil {
		return key, nil, fmt.Errorf("writing a segment: %w", err)
	}
	body, err := encode(h, entries, parquet.KeyValueMetadata(replacesName, base64.StdEncoding.EncodeToString(b.Bytes())))
	return key, body, err
}

// replacedBy are the segments that a large one replaces, as it says.
func replacedBy(large *Segment, said string) ([]*Segment, error) {
	unpacked, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader([]byte(said))))
	if err != nil {
		return nil, err
	}
	var of []small
	if err := errors.Join(json.NewDecoder(io.LimitReader(unpacked, mostReplacesBytes)).Decode(&of), unpacked.Close()); err != nil {
		return nil, err
	}
	found, entries, facts := make([]*Segment, len(of)), large.Entries, 0
	after, previous, previousHash := large.Header.After, large.Header.Previous, large.Header.PreviousHash
	for i, is := range of {
		h, n := is.Header, is.Header.Entries
		before, err := ParsePosition(h.After)
		switch {
		case err != nil:
			return nil, err
		case h.Format != format || h.Namespace != large.Key.Namespace || h.Partition != large.Key.Partition || h.Branch != large.Key.Branch || h.After != after || h.Previous != previous || h.PreviousHash != previousHash:
			return nil, fmt.Errorf("number %d does not follow the one before it", i+1)
		case n < 1 || n > len(entries) || entries[0].ID != h.First || entries[n-1].ID != h.Last:
			return nil, fmt.Errorf("number %d says that it has %d entries, from %s to %s", i+1, n, h.First, h.Last)
		}
		key := large.Key
		key.Before, key.Last = before, Position{}
		found[i] = &Segment{Key: key, Header: h, Entries: entries[:n:n], Hash: is.Hash}
		after, previous, previousHash = h.Last, key.String(), is.Hash
		entries, facts = entries[n:], facts+h.Facts
	}
	if len(of) == 0 || len(entries) > 0 || facts != large.Header.Facts {
		return nil, fmt.Errorf("they are %d, with %d facts, and leave %d entries", len(of), facts, len(entries))
	}
	found[0].Size = large.Size
	return found, nil
}

// chosen are those of the segments of a branch that are read, in order: what a large one has is not, also if it is still there. Large ones may
// overlap, if lists were late when they were made: then the chain goes along the first one, and behind its end along the next.
func chosen(links []link) []link {
	slices.SortFunc(links, func(a, b link) int {
		return cmp.Or(a.key.Before.Compare(b.key.Before), b.key.Last.Compare(a.key.Last))
	})
	all := links[:0:0]
	var end Position // of the large ones so far
	for _, l := range links {
		if l.key.Before.Compare(end) < 0 && l.key.Last.Compare(end) <= 0 {
			by := &all[len(all)-1]
			by.replaced = append(by.replaced, l)
			continue
		}
		all = append(all, l)
		if l.key.large() {
			end = l.key.Last
		}
	}
	return all
}

// has reports whether a segment is this one, or one that this one replaces.
func (l link) has(key Key) bool {
	if l.key == key {
		return true
	}
	return l.key.large() && l.key.Partition == key.Partition && l.key.Branch == key.Branch && key.Before.Compare(l.key.Before) >= 0 && key.Before.Compare(l.key.Last) < 0
}

// read reads a segment of a chain: that one, or, in order, those that it replaces, as far as the chain goes along them. Errors are those of segment.
func (r *Reader) read(ctx context.Context, l link) ([]*Segment, error) {
	s, err := r.segment(ctx, l.key)
	if err != nil {
		return nil, err
	}
	if !l.key.large() {
		return []*Segment{s}, nil
	}
	for i, is := range s.replaces {
		if l.upTo != (Position{}) && is.Last().Compare(l.upTo) >= 0 {
			return s.replaces[:i+1], nil
		}
	}
	return s.replaces, nil
}

// headers are those of what read reads.
func (r *Reader) headers(ctx context.Context, l link) ([]Header, error) {
	if !l.key.large() {
		h, err := r.header(ctx, l.key)
		return []Header{h}, err
	}
	segments, err := r.read(ctx, l)
	headers := make([]Header, len(segments))
	for i, s := range segments {
		headers[i] = s.Header
	}
	return headers, err
}

// end reads the segment with which a chain goes no further along a link.
func (r *Reader) end(ctx context.Context, l link) (*Segment, error) {
	segments, err := r.read(ctx, l)
	if err != nil {
		return nil, err
	}
	return segments[len(segments)-1], nil
}

// cutBehind cuts a chain behind a segment of it, which may be one that was replaced. found is false if it is not part of it.
func cutBehind(chain []link, s *Segment) (before, rest []link, found bool) {
	i := slices.IndexFunc(chain, func(l link) bool { return l.has(s.Key) })
	if i < 0 {
		return nil, chain, false
	}
	if l := chain[i]; s.Last().Compare(l.key.Last) < 0 { // in the middle of a large one
		l.upTo = s.Last()
		return append(slices.Clone(chain[:i]), l), chain[i:], true
	}
	return chain[:i+1], chain[i+1:], true
}

// replaced is a segment that is not there, as the large one that replaces it tells it. The error is missing, if there is none.
func (r *Reader) replaced(ctx context.Context, key Key, missing error) (*Segment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.large.replacedOf(key); s != nil {
		return s, nil
	}
	links, err := r.branch(ctx, key.Partition, key.Branch)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if !l.key.large() || !l.has(key) {
			continue
		}
		large, err := r.segment(ctx, l.key)
		if err != nil {
			return nil, err
		}
		if s := large.replacedOf(key); s != nil {
			r.large = large
			return s, nil
		}
	}
	return nil, missing
}

// replacedOf is one of those that a segment replaces; nil: it does not.
func (s *Segment) replacedOf(key Key) *Segment {
	if s == nil {
		return nil
	}
	i := slices.IndexFunc(s.replaces, func(is *Segment) bool { return is.Key == key })
	if i < 0 {
		return nil
	}
	return s.replaces[i]
}

// sameSegment reports whether two segments say the same of themselves, have the same hash, and the same entries, byte for byte.
func sameSegment(a, b *Segment) bool {
	x, y := a.Header, b.Header
	same := maps.Equal(x.Acknowledged, y.Acknowledged)
	x.Acknowledged, y.Acknowledged = nil, nil
	return same && reflect.DeepEqual(x, y) && a.Key == b.Key && a.Hash == b.Hash && slices.EqualFunc(a.Entries, b.Entries, sameEntry)
}

// compareReplaced compares a segment that is still there with the large one that replaces it. The error is a *damagedError if it is another one.
func (r *Reader) compareReplaced(ctx context.Context, large *Segment, l link) error {
	is, err := r.read(ctx, link{key: l.key})
	if err != nil {
		return err
	}
	for _, s := range is {
		if has := large.replacedOf(s.Key); has == nil || !sameSegment(has, s) {
			return &damagedError{l.key.String(), "it is not what " + large.Key.String() + " has in its place"}
		}
	}
	return nil
}

// verifyReplaced checks that what a large segment replaces, and is still there, is what it says.
func (r *Reader) verifyReplaced(ctx context.Context, l link, report *Report) error {
	if len(l.replaced) == 0 {
		return nil
	}
	large, err := r.segment(ctx, l.key)
	var damaged *damagedError
	if errors.As(err, &damaged) || errors.Is(err, ErrMissing) {
		return nil // the walk names it
	}
	for _, one := range l.replaced {
		if err == nil {
			err = r.compareReplaced(ctx, large, one)
		}
		switch {
		case errors.As(err, &damaged):
			err = report.fault(Fault{damaged.key, damaged.what})
		case errors.Is(err, ErrMissing):
			err = nil // it was removed meanwhile
		case err == nil:
			report.Replaced++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bytesOf is how many bytes of the log entries are.
func bytesOf(entries []domain.Entry) int {
	size := 0
	for _, e := range entries {
		size += len(e.ID)
		for _, f := range e.Fields {
			size += len(f)
		}
	}
	return size
}
