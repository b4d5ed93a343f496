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
	if k, ok := parseKey(s, suffix); ok && k.String() == s {
		return k, nil
	}
	return Key{}, fmt.Errorf("%q is not the name of a segment", s)
}

// parseKey reads the name of an object whose last part is a position and this suffix.
func parseKey(s, suffix string) (Key, bool) {
	parts := strings.Split(s, "/")
	if len(parts) != 4 {
		return Key{}, false
	}
	namespace, isNamespace := strings.CutPrefix(parts[0], "namespace=")
	partition, isPartition := strings.CutPrefix(parts[1], "partition=")
	branch, isBranch := strings.CutPrefix(parts[2], "branch=")
	position, isSuffix := strings.CutSuffix(parts[3], suffix)
	p, err := strconv.Atoi(partition)
	at, errAt := parseInKey(position)
	ok := isNamespace && isPartition && isBranch && isSuffix && err == nil && errAt == nil && domain.ValidID(namespace) && branch != ""
	return Key{namespace, p, branch, at}, ok
}

// snapshotKey names a snapshot: the branch, and the position of the newest entry that is folded into it.
type snapshotKey struct {
	Namespace string
	Partition int
	Branch    string
	At        Position
}

// The parts of a snapshot's name. Those who query an archive read *.parquet, and pass over these.
const (
	snapshotSuffix = ".snapshot"
	pieceSuffix    = ".piece"
)

func (k snapshotKey) folder() string {
	return partitionPrefix(k.Namespace, k.Partition) + "branch=" + k.Branch + "/"
}

// String is its name in a bucket.
func (k snapshotKey) String() string { return k.folder() + k.At.inKey() + snapshotSuffix }

// piece names what has a part of the state: what it says is known by its hash, so that there is only one of that name.
func (k snapshotKey) piece(hash string) string {
	return k.folder() + k.At.inKey() + "." + hash + pieceSuffix
}

// parseSnapshotKey reads the name of a snapshot; isPiece: of one of its pieces.
func parseSnapshotKey(s string) (k snapshotKey, isPiece, ok bool) {
	end := snapshotSuffix
	if rest, is := strings.CutSuffix(s, pieceSuffix); is {
		dot := strings.LastIndexByte(rest, '.')
		if dot < 0 {
			return k, true, false
		}
		end, isPiece = s[dot:], true
	}
	key, ok := parseKey(s, end)
	k = snapshotKey{key.Namespace, key.Partition, key.Branch, key.Before}
	return k, isPiece, ok && k.folder()+k.At.inKey()+end == s
}
