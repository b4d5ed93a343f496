package archive

import (
	"context"
	"errors"
	"slices"
	"time"
)

// CompactOptions say what is to be made smaller.
type CompactOptions struct {
	// KeepReplaced is how long what was replaced, or is not needed any more, stays beside what replaces it: longer than a list of the store may be late,
	// and than anybody reads who has made one before.
	KeepReplaced time.Duration
	// KeepSnapshots is how many snapshots of a branch stay, the newest; LeastSnapshots at least.
	KeepSnapshots int
	// DryRun has nothing written and nothing removed: what is told is what would be.
	DryRun bool
	// Step, if not nil, is called for each segment that was read.
	Step func()

	now         time.Time // zero: the time
	bytes, most int       // of a large segment; 0: SegmentBytes, mostReplaced
}

// LeastSnapshots is how many snapshots of a branch stay at least: the newest, and one to begin with if that is damaged.
const LeastSnapshots = 2

// mostReplaced is how many segments a large one replaces at most: what it says of each is some 75 bytes.
const mostReplaced = 4096

// smallBytes is how many bytes a segment has that may be replaced: several times as many are no fewer objects that matter.
const smallBytes = 256 << 10

// settledAfter is how long after its end a day's segments are made into large ones; and replacedAfter is from when on a mark in Redis is so old that what
// comes behind it may have been: less, since clocks differ.
const (
	settledAfter  = 2 * time.Hour
	replacedAfter = time.Hour
)

// Compacted is what became of a branch.
type Compacted struct {
	Partition int     `json:"partition"`
	Branch    string  `json:"branch"`
	Segments  int     `json:"segments"`  // small ones, of which were made
	Large     int     `json:"large"`     // so many
	Removed   int     `json:"removed"`   // segments that large ones replace
	Marked    int     `json:"marked"`    // snapshots that are not used any more, and will be removed
	Snapshots int     `json:"snapshots"` // snapshots that were removed
	Pieces    int     `json:"pieces"`    // of these, and of some that never were whole
	Bytes     int64   `json:"bytes"`     // of all that was removed
	Faults    []Fault `json:"faults"`
}

// Compact makes large segments of small ones, removes those that were replaced, and snapshots that nobody needs, and calls each with what became of each
// branch. Step by step, of the segments of a day that is over, of one branch:
//
//	1 read    small ones that follow each other. One is replaced only when the next was read, and names its hash: so the first of a branch, the
//	          last of a day, and the newest stay
//	2 write   the large one, if there is none of its key
//	3 read    what is stored under the key, and compare it with the small ones: header, hash and entries. From now on it is read, and they are not
//	4 remove  later, when it has been there for KeepReplaced: each small one that is still what the large one says
//
// A crash or an error between any two, another one at the same time, or whatever a list has not: there is nothing that would not be there once, and
// what is there twice is read once. Again does what is left to do. In memory is a day's list, and what becomes one large segment.
//
// What is damaged or missing is a fault, and nothing around it is replaced. Errors are those of the store, and of each.
func (r *Reader) Compact(ctx context.Context, o CompactOptions, each func(Compacted) error) error {
	if o.now.IsZero() {
		o.now = time.Now()
	}
	if o.bytes == 0 {
		o.bytes = SegmentBytes
	}
	if o.most == 0 {
		o.most = mostReplaced
	}
	o.KeepSnapshots = max(o.KeepSnapshots, LeastSnapshots)
	c := &compaction{r: r, o: o, each: each}
	if err := c.findLeft(ctx); err != nil {
		return err
	}
	err := r.bucket.List(ctx, namespacePrefix(r.namespace), func(object Object) error { return c.add(ctx, object) })
	if err == nil {
		err = c.endBranch(ctx)
	}
	return err
}

// compaction goes along what a list tells, in the order of keys: branch by branch, and of each by days.
type compaction struct {
	r    *Reader
	o    CompactOptions
	each func(Compacted) error
	left map[int]map[string][]Position // of each partition, from where in a branch others go on; nil: that cannot be known

	is    Compacted // the branch
	day   uint64    // of the position before
	links []link
	kept  snapshotsOf
}

const dayMillis = 24 * 60 * 60 * 1000

func (c *compaction) add(ctx context.Context, object Object) error {
	if key, isPiece, ok := parseSnapshotKey(object.Key); ok && key.Namespace == c.r.namespace {
		if err := c.enter(ctx, key.Partition, key.Branch); err != nil {
			return err
		}
		c.kept.add(object, key, isPiece)
		return nil
	}
	key, err := ParseKey(object.Key)
	if err != nil || key.Namespace != c.r.namespace {
		return nil //nolint:nilerr // what is no segment verify names
	}
	if err := c.enter(ctx, key.Partition, key.Branch); err != nil {
		return err
	}
	if day := key.Before.Millis / dayMillis; day != c.day {
		if err := c.endDay(ctx); err != nil {
			return err
		}
		c.day = day
	}
	c.links = append(c.links, link{key: key, size: object.Size, written: object.Written})
	return nil
}

// enter begins a branch, if it is another one.
func (c *compaction) enter(ctx context.Context, p int, branch string) error {
	if c.is.Branch == branch && c.is.Partition == p {
		return nil
	}
	if err := c.endBranch(ctx); err != nil {
		return err
	}
	c.is = Compacted{Partition: p, Branch: branch, Faults: []Fault{}}
	c.kept = make(snapshotsOf)
	return nil
}

func (c *compaction) endBranch(ctx context.Context) error {
	if c.is.Branch == "" {
		return nil
	}
	if err := c.endDay(ctx); err != nil {
		return err
	}
	if err := c.endSnapshots(ctx); err != nil {
		return err
	}
	return c.each(c.is)
}

// fault notes what is damaged or missing; other errors it returns.
func (c *compaction) fault(key string, err error) error {
	var damaged *damagedError
	switch {
	case errors.As(err, &damaged):
		c.is.Faults = append(c.is.Faults, Fault{damaged.key, damaged.what})
	case errors.Is(err, ErrMissing):
		c.is.Faults = append(c.is.Faults, Fault{key, "is listed, and is not there"})
	default:
		return err
	}
	return nil
}

// endDay does what is to be done with the segments of a day.
func (c *compaction) endDay(ctx context.Context) error {
	links := chosen(c.links)
	c.links = nil
	for _, l := range links {
		if err := c.remove(ctx, l); err != nil {
			return err
		}
	}
	over := time.UnixMilli(int64(c.day+1) * dayMillis).Add(settledAfter) //nolint:gosec // a time of Redis
	if c.o.now.Before(over) {
		return nil
	}
	may := func(i int) bool {
		return i < len(links) && !links[i].key.large() && links[i].key.Before != (Position{}) && links[i].size < smallBytes
	}
	var run []*Segment
	bytes := 0
	for i, l := range links {
		// Behind the two that are the least there must be one that names the second.
		if len(run) == 0 && (!may(i) || !may(i+1) || i+2 >= len(links)) {
			continue
		}
		s, err := c.next(ctx, l, run)
		if err != nil {
			return c.fault(l.key.String(), err)
		}
		if len(run) > 0 && (!may(i) || bytes >= c.o.bytes || len(run) >= c.o.most) {
			if err := c.replace(ctx, run); err != nil {
				return err
			}
			run, bytes = nil, 0
		}
		if may(i) {
			run, bytes = append(run, s), bytes+bytesOf(s.Entries)
		}
	}
	return c.replace(ctx, run[:max(len(run)-1, 0)])
}

// next reads the segment behind those of a run, and checks that it follows them.
func (c *compaction) next(ctx context.Context, l link, run []*Segment) (*Segment, error) {
	of, err := c.r.read(ctx, l)
	if err != nil {
		return nil, err
	}
	if c.o.Step != nil {
		c.o.Step()
	}
	if len(run) == 0 {
		return of[0], nil
	}
	before := run[len(run)-1]
	return of[0], c.r.follows(of[0], before, before.Last(), func(f Fault) error { return &damagedError{f.Subject, f.Detail} })
}

// replace makes a large segment of small ones, and reads it back.
func (c *compaction) replace(ctx context.Context, run []*Segment) error {
	if len(run) < 2 {
		return nil
	}
	key, body, err := encodeLarge(run)
	if err != nil {
		return err
	}
	if !c.o.DryRun {
		if err := c.write(ctx, key, body, run); err != nil {
			return c.fault(key.String(), err)
		}
	}
	c.is.Segments, c.is.Large = c.is.Segments+len(run), c.is.Large+1
	if c.o.KeepReplaced > 0 {
		return nil
	}
	l := link{key: key, written: c.o.now}
	for _, s := range run {
		l.replaced = append(l.replaced, link{key: s.Key, size: int64(s.Size)})
	}
	return c.remove(ctx, l)
}

func (c *compaction) write(ctx context.Context, key Key, body []byte, run []*Segment) error {
	failed := c.r.put(ctx, key.String(), body)
	found, err := c.r.segment(ctx, key)
	if err != nil {
		return errors.Join(failed, err)
	}
	if !slices.EqualFunc(found.replaces, run, sameSegment) {
		return &damagedError{key.String(), "it is not what those say that it replaces"}
	}
	return nil
}

// remove removes what a large segment has replaced for long enough.
func (c *compaction) remove(ctx context.Context, l link) error {
	if len(l.replaced) == 0 || c.o.now.Sub(l.written) < c.o.KeepReplaced {
		return nil
	}
	if c.o.DryRun {
		for _, one := range l.replaced {
			c.is.Removed, c.is.Bytes = c.is.Removed+1, c.is.Bytes+one.size
		}
		return nil
	}
	large, err := c.r.segment(ctx, l.key)
	if err != nil {
		return c.fault(l.key.String(), err)
	}
	for _, one := range l.replaced {
		switch err := c.r.compareReplaced(ctx, large, one); {
		case errors.Is(err, ErrMissing):
			continue // somebody else has removed it
		case err != nil:
			if err := c.fault(one.key.String(), err); err != nil {
				return err
			}
			continue
		}
		if c.o.Step != nil {
			c.o.Step()
		}
		if err := c.delete(ctx, one.key.String(), one.size); err != nil {
			return err
		}
		c.is.Removed++
	}
	return nil
}

// delete removes an object.
func (c *compaction) delete(ctx context.Context, key string, size int64) error {
	if !c.o.DryRun {
		ctx, cancel := context.WithTimeout(ctx, CallTimeout)
		defer cancel()
		if err := c.r.bucket.Delete(ctx, key); err != nil {
			return err
		}
	}
	c.is.Bytes += size
	return nil
}
