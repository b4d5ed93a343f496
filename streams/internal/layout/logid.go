package layout

import (
	"cmp"
	"math"
	"strconv"
	"strings"
)

// LogID is the id of a stream entry; they have an order.
type LogID struct{ Millis, Seq uint64 }

// ParseLogID reads an id; what is none is the zero LogID, which is before all.
func ParseLogID(s string) LogID {
	millis, seq, _ := strings.Cut(s, "-")
	m, errM := strconv.ParseUint(millis, 10, 64)
	n, errN := strconv.ParseUint(seq, 10, 64)
	if errM != nil || errN != nil {
		return LogID{}
	}
	return LogID{m, n}
}

// String is the id as Redis writes it.
func (id LogID) String() string {
	return strconv.FormatUint(id.Millis, 10) + "-" + strconv.FormatUint(id.Seq, 10)
}

// Next is the smallest id after this one.
func (id LogID) Next() string {
	if id.Seq == math.MaxUint64 {
		return strconv.FormatUint(id.Millis+1, 10) + "-0"
	}
	return strconv.FormatUint(id.Millis, 10) + "-" + strconv.FormatUint(id.Seq+1, 10)
}

// Before is the largest id before this one, which is not the zero LogID.
func (id LogID) Before() LogID {
	if id.Seq > 0 {
		return LogID{id.Millis, id.Seq - 1}
	}
	return LogID{id.Millis - 1, math.MaxUint64}
}

// After reports whether the entry came after another one.
func (id LogID) After(other LogID) bool {
	return id.Compare(other) > 0
}

// Compare is below zero if the entry came before another one, above if after it.
func (id LogID) Compare(other LogID) int {
	return cmp.Or(cmp.Compare(id.Millis, other.Millis), cmp.Compare(id.Seq, other.Seq))
}
