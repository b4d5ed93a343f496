package archive

import (
	"fmt"
	"strconv"
	"strings"

	"holdfast/domain"
)

// Key names a segment: the branch, and the position before its first entry; of the first segment of a branch that is the zero
// Position, wherever the branch begins: there can be only one. One that was made of several, which it replaces, has the position of its
// last entry in its name, too: so a list tells which those are.
type Key struct {
	Namespace string
	Partition int
	Branch    string
	Before    Position
	Last      Position // of a large segment; else the zero Position
}

// large reports whether it is the key of a segment that was made of several.
func (k Key) large() bool { return k.Last != Position{} }

const suffix = ".parquet"

// between stands between the two positions in the name of a large segment.
const between = "_"

func namespacePrefix(namespace string) string { return "namespace=" + namespace + "/" }

func partitionPrefix(namespace string, p int) string {
	return fmt.Sprintf("%spartition=%d/", namespacePrefix(namespace), p)
}

// String is its name in a bucket. The folders are named as tools that query them expect it: name=value.
func (k Key) String() string {
	name := k.Before.inKey()
	if k.large() {
		name += between + k.Last.inKey()
	}
	return partitionPrefix(k.Namespace, k.Partition) + "branch=" + k.Branch + "/" + name + suffix
}

// ParseKey reads the name of a segment.
func ParseKey(s string) (Key, error) {
	end := suffix
	var last Position
	if i := strings.LastIndex(s, between); i >= 0 {
		if at, err := parseInKey(strings.TrimSuffix(s[i+1:], suffix)); err == nil {
			last, end = at, s[i:]
		}
	}
	k, ok := parseKey(s, end)
	if k.Last = last; ok && k.String() == s && (!k.large() || k.Before != Position{} && k.Before.Compare(last) < 0) {
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
	return Key{Namespace: namespace, Partition: p, Branch: branch, Before: at}, ok
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

	// removed stands where pieces have their hash, in the name of what says that a snapshot is going to be removed.
	removed = "removed"
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
