package archive

import (
	"context"
	"errors"
	"slices"

	"holdfast/domain"
)

// A snapshot is removed in two steps: an object beside it says that it is going to be, and nobody begins with it any more. When that has been there
// for CompactOptions.KeepReplaced, so that who has begun before is done, the head goes, the pieces, and that object last. The name of a piece has the
// position of its snapshot, so no other one needs it.

// snapshotsOf are those of a branch.
type snapshotsOf map[snapshotKey]*storedSnapshot

// storedSnapshot is what there is of one.
type storedSnapshot struct {
	head   *Object
	going  *Object  // says that it is going to be removed
	pieces []Object // some, also of one that was never finished
}

func (of snapshotsOf) add(object Object, key snapshotKey, isPiece bool) {
	s := of[key]
	if s == nil {
		s = &storedSnapshot{}
		of[key] = s
	}
	switch {
	case !isPiece:
		s.head = &object
	case object.Key == key.piece(removed):
		s.going = &object
	default:
		s.pieces = append(s.pieces, object)
	}
}

// findLeft finds where branches go on from others: snapshots of what was abandoned stand for none that is not.
func (c *compaction) findLeft(ctx context.Context) error {
	var firsts []Key
	if err := c.r.bucket.List(ctx, namespacePrefix(c.r.namespace), func(object Object) error {
		if key, err := ParseKey(object.Key); err == nil && key.Namespace == c.r.namespace && key.Before == (Position{}) {
			firsts = append(firsts, key)
		}
		return nil
	}); err != nil {
		return err
	}
	c.left = make(map[int]map[string][]Position)
	for _, key := range firsts {
		if _, known := c.left[key.Partition]; !known {
			c.left[key.Partition] = make(map[string][]Position)
		}
		first, err := c.r.segment(ctx, key)
		var damaged *damagedError
		switch {
		case errors.As(err, &damaged), errors.Is(err, ErrMissing):
			c.left[key.Partition] = nil
		case err != nil:
			return err
		case c.left[key.Partition] != nil && first.Header.Parent != "":
			parent := first.Header.Parent
			c.left[key.Partition][parent] = append(c.left[key.Partition][parent], first.After())
		}
	}
	return nil
}

// endSnapshots removes what nobody needs of the snapshots of a branch.
func (c *compaction) endSnapshots(ctx context.Context) error {
	var keys, whole []snapshotKey // the newest first; those that are not going to be removed
	for key, s := range c.kept {
		keys = append(keys, key)
		if s.head != nil && s.going == nil {
			whole = append(whole, key)
		}
	}
	newestFirst := func(a, b snapshotKey) int { return b.At.Compare(a.At) }
	slices.SortFunc(keys, newestFirst)
	slices.SortFunc(whole, newestFirst)
	needed, err := c.needed(ctx, whole)
	if err != nil {
		return err
	}
	for _, key := range keys {
		s := c.kept[key]
		switch {
		case s.going != nil && c.o.now.Sub(s.going.Written) < c.o.KeepReplaced, s.going == nil && s.head != nil && needed[key]:
		case s.going != nil:
			err = c.removeSnapshot(ctx, key, s)
		case s.head != nil:
			err = c.markSnapshot(ctx, key, s)
		case len(whole) > 0 && key.At.Compare(whole[0].At) < 0:
			// Whoever wrote these died before the head: snapshots are taken behind the newest one.
			err = c.removePieces(ctx, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// needed are those of the snapshots of a branch, the newest first, that stay: the newest, until there are so many, and enough of them good; and as many of
// those that are not behind where another branch goes on.
func (c *compaction) needed(ctx context.Context, whole []snapshotKey) (map[snapshotKey]bool, error) {
	needed := make(map[snapshotKey]bool)
	left := c.left[c.is.Partition]
	if left == nil || len(whole) <= c.o.KeepSnapshots {
		for _, key := range whole {
			needed[key] = true
		}
		return needed, nil
	}
	known := make(map[snapshotKey]bool)
	for _, most := range append(slices.Clone(left[c.is.Branch]), maxPosition) {
		kept, good := 0, 0
		for _, key := range whole {
			if key.At.Compare(most) > 0 {
				continue
			}
			if kept >= c.o.KeepSnapshots && good >= LeastSnapshots {
				break
			}
			needed[key] = true
			kept++
			is, looked := known[key]
			if !looked && good < LeastSnapshots {
				var err error
				if is, err = c.isGood(ctx, key); err != nil {
					return nil, err
				}
				known[key] = is
			}
			if is {
				good++
			}
		}
	}
	return needed, nil
}

// isGood reads a snapshot whole. What is wrong with it is a fault.
func (c *compaction) isGood(ctx context.Context, key snapshotKey) (bool, error) {
	s, err := c.r.snapshot(ctx, key)
	if err == nil {
		err = s.each(ctx, c.r, func(*domain.Snapshot) error { return nil })
	}
	if errors.Is(err, errOtherFormat) {
		return false, nil
	}
	return err == nil, c.fault(key.String(), err)
}

// markSnapshot says that a snapshot is going to be removed.
func (c *compaction) markSnapshot(ctx context.Context, key snapshotKey, s *storedSnapshot) error {
	if !c.o.DryRun {
		if err := c.r.put(ctx, key.piece(removed), nil); err != nil {
			return err
		}
	}
	c.is.Marked++
	if c.o.KeepReplaced > 0 {
		return nil
	}
	s.going = &Object{Key: key.piece(removed)}
	return c.removeSnapshot(ctx, key, s)
}

func (c *compaction) removeSnapshot(ctx context.Context, key snapshotKey, s *storedSnapshot) error {
	size := int64(0)
	if s.head != nil {
		size = s.head.Size
	}
	// Also if it is not listed: without its pieces it would be a damaged one.
	if err := c.delete(ctx, key.String(), size); err != nil {
		return err
	}
	c.is.Snapshots++
	for _, piece := range s.pieces {
		if err := c.delete(ctx, piece.Key, piece.Size); err != nil {
			return err
		}
		c.is.Pieces++
	}
	return c.delete(ctx, s.going.Key, s.going.Size)
}

// removePieces removes those of a snapshot that has no head.
func (c *compaction) removePieces(ctx context.Context, s *storedSnapshot) error {
	for _, piece := range s.pieces {
		if c.o.now.Sub(piece.Written) < c.o.KeepReplaced {
			continue
		}
		if err := c.delete(ctx, piece.Key, piece.Size); err != nil {
			return err
		}
		c.is.Pieces++
	}
	return nil
}
