package archive

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
)

// Key names a segment: the branch, and the position before its first entry; of the first segment of a branch that is the zero
// Position, wherever the branch begins: there can be only one.
type Key struct {
	Namespace string
	Partition int
	Branch    string
	Before    Position
}

const suffix = ".parquet"

func namespacePrefix(namespace string) string { return "namespace=" + namespace + "/" }

func partitionPrefix(namespace string, p int) string {
	return fmt.Sprintf("%spartition=%d/", namespacePrefix(namespace), p)
}

// String is its name in a bucket. The folders are named as tools that query them expect it: name=value.
func (k Key) String() string {
	return partitionPrefix(k.Namespace, k.Partition) + "branch=" + k.Branch + "/" + k.Before.inKey() + suffix
}

// ParseKey reads the name of a segment.
func ParseKey(s string) (Key, error) {
	parts := strings.Split(s, "/")
	if len(parts) == 4 {
		namespace, isNamespace := strings.CutPrefix(parts[0], "namespace=")
		partition, isPartition := strings.CutPrefix(parts[1], "partition=")
		branch, isBranch := strings.CutPrefix(parts[2], "branch=")
		before, isSegment := strings.CutSuffix(parts[3], suffix)
		p, err := strconv.Atoi(partition)
		at, errAt := parseInKey(before)
		k := Key{namespace, p, branch, at}
		if isNamespace && isPartition && isBranch && isSegment && err == nil && errAt == nil && domain.ValidID(namespace) && branch != "" && k.String() == s {
			return k, nil
		}
	}
	return Key{}, fmt.Errorf("%q is not the name of a segment", s)
}
