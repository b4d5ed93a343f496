package archive

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Position is the id of a log entry. They have an order; the zero Position is before all.
type Position struct{ Millis, Seq uint64 }

// ParsePosition reads one as Redis writes it.
func ParsePosition(s string) (Position, error) {
	millis, seq, _ := strings.Cut(s, "-")
	m, errM := strconv.ParseUint(millis, 10, 64)
	n, errN := strconv.ParseUint(seq, 10, 64)
	p := Position{m, n}
	if errM != nil || errN != nil || p.String() != s {
		return Position{}, fmt.Errorf("%q is no position: want milliseconds-number, such as 1795387623220-0", s)
	}
	return p, nil
}

// String is the id as Redis writes it.
func (p Position) String() string {
	return strconv.FormatUint(p.Millis, 10) + "-" + strconv.FormatUint(p.Seq, 10)
}

// Compare is below zero if it comes before the other one, above if after it.
func (p Position) Compare(other Position) int {
	return cmp.Or(cmp.Compare(p.Millis, other.Millis), cmp.Compare(p.Seq, other.Seq))
}

// inKey is the position as it stands in a key: keys sort as positions do.
func (p Position) inKey() string { return fmt.Sprintf("%020d-%020d", p.Millis, p.Seq) }

func parseInKey(s string) (Position, error) {
	millis, seq, _ := strings.Cut(s, "-")
	m, errM := strconv.ParseUint(millis, 10, 64)
	n, errN := strconv.ParseUint(seq, 10, 64)
	if p := (Position{m, n}); errM == nil && errN == nil && p.inKey() == s {
		return p, nil
	}
	return Position{}, fmt.Errorf("%q is no position", s)
}
