package streams

import (
	"context"

	"holdfast/domain"
)

// ReadLog calls each for the facts of a partition's log after an entry id
// ("0-0": from the start) and up to one ("+": to the end), in order, and returns
// the id of the last one, after if there was none. Error: ClassPoison for an entry
// that cannot be read.
func (s *Store) ReadLog(ctx context.Context, p int, after, upTo string, each func(domain.Fact) error) (last string, err error) {
	return s.Inside().ReadLog(ctx, p, after, upTo, each)
}
