package archive

import (
	"context"
	"fmt"

	"holdfast/domain"
)

// Between implements domain.ArchivedEntries. Beside the first segment of each branch it reads those that have such entries, one at a time.
func (r *Reader) Between(ctx context.Context, p int, mark domain.ArchiveMark, after, before string, each func(domain.Entry) error) error {
	from, err := ParsePosition(after)
	if err != nil {
		return domain.WithClass(domain.ClassPoison, err)
	}
	to, err := ParsePosition(before)
	if err != nil {
		return domain.WithClass(domain.ClassPoison, err)
	}
	chain, err := r.chain(ctx, p, mark.Branch, nil)
	if err != nil {
		return poisonous(err)
	}
	var last *Segment
	for i, l := range chain {
		if l.key.Before.Compare(to) >= 0 {
			break
		}
		if end := endOf(chain, i); end != (Position{}) && end.Compare(from) <= 0 {
			continue
		}
		segments, err := r.read(ctx, l)
		if err != nil {
			return poisonous(err)
		}
		for _, s := range segments {
			if l.key.large() && (s.Last().Compare(from) <= 0 || last != nil && s.Last().Compare(last.Last()) <= 0) {
				continue
			}
			switch {
			case last == nil && s.After().Compare(from) > 0:
				return missing(p, from, s.After())
			case last != nil && (s.Header.Previous != last.Key.String() || s.Header.PreviousHash != last.Hash):
				return domain.WithClass(domain.ClassPoison, fmt.Errorf("segment %s does not say that it comes behind %s", s.Key, last.Key))
			}
			last = s
			for _, e := range s.Entries {
				at := position(e.ID)
				if at.Compare(to) >= 0 || l.upTo != (Position{}) && at.Compare(l.upTo) > 0 {
					break
				}
				if at.Compare(from) <= 0 {
					continue
				}
				if err := each(e); err != nil {
					return err
				}
			}
		}
	}
	if last == nil || last.Last().Compare(to) < 0 {
		return missing(p, from, to)
	}
	return nil
}

// endOf is up to where a segment of a chain goes along it, as far as that is known without a look at it: the zero Position for the last one.
func endOf(chain []link, i int) Position {
	if upTo := chain[i].upTo; upTo != (Position{}) || i+1 == len(chain) {
		return upTo
	}
	return chain[i+1].key.Before
}

func missing(p int, after, before Position) error {
	return domain.WithClass(domain.ClassPoison, fmt.Errorf("what was logged in partition %d behind %s and before %s is missing in the archive (archive verify names it)", p, after, before))
}
