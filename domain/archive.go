package domain

import (
	"context"
	"time"
)

// ArchiveMark is how far the log of a partition is archived: up to the end of a segment that was written, read back and
// compared. The zero value: nothing is.
type ArchiveMark struct {
	Branch   string // of the partition, that the segment belongs to
	Position string // id of the newest log entry in the segment
	Segment  string // its key
	Hash     string // SHA-256 of its bytes, hex
}

// ArchiveState is what is archived of a partition, and what is not.
type ArchiveState struct {
	Branch    string   // that the partition has now
	Before    []string // branches whose log this one may go on from, the likeliest first
	Mark      ArchiveMark
	Trimmed   string // the oldest entry that was left in the log when it was trimmed; empty: it never was
	NowMillis int64  // on Redis's clock
}

// KeepLog is how much of a partition's log stays in Redis, though it is archived: whichever of the two is less. The zero value: all of it.
type KeepLog struct {
	For   time.Duration
	Bytes int64
}

// SnapshotLag is how far the newest snapshot of a partition's branch is behind what is archived.
type SnapshotLag struct {
	None   bool  // there is none
	Millis int64 // age of the newest entry that is in it, if something behind it is archived; else 0
}

// ArchivedNamespace is what a segment says of the namespace that it is of: with it, it can be made again.
type ArchivedNamespace struct {
	Namespace    string `json:"namespace"`
	Epoch        string `json:"epoch"`
	Schema       string `json:"schema"`
	Partitions   int    `json:"partitions"`
	PaymentNames string `json:"payment_names"`
	FreeOrders   string `json:"free_orders"`
	Gateway      string `json:"gateway,omitempty"`
	MaxWaiting   int64  `json:"max_waiting,omitempty"`
}

// ArchiveSource is the log, for whoever archives it. It only reads, but for Advance and BeginBranch, which compare and set: what others
// have changed since stays as it is. Archiving keeps nothing in the log, and takes nothing of it in hand.
type ArchiveSource interface {
	ArchivedNamespace(ctx context.Context) (ArchivedNamespace, error)
	// ArchiveState reads where a partition is.
	ArchiveState(ctx context.Context, partition int) (ArchiveState, error)
	// LogAfter reads entries of a partition's log, in order, from behind one on ("0-0": from the start), until they have so many bytes or the
	// log ends. The error wraps ErrDataReplaced if the partition has another branch, or if that entry is not in its log.
	LogAfter(ctx context.Context, partition int, branch, after string, bytes int) ([]Entry, error)
	// InLog reports whether a partition's log has just this entry, byte for byte, or may have had it: it was trimmed further than that.
	InLog(ctx context.Context, partition int, e Entry) (bool, error)
	// Acknowledged is up to where each group has acknowledged all entries of a partition's log; and settlement no further than before the
	// oldest one whose money still waits.
	Acknowledged(ctx context.Context, partition int) (map[Group]string, error)
	// Advance moves the mark, if it still is where it was read, the partition has the branch that is said, and its log has
	// the entry with which the segment ends, byte for byte. It reports whether it did.
	Advance(ctx context.Context, partition int, from, to ArchiveMark, last Entry) (bool, error)
	// TrimLog drops the beginning of a partition's log, before an entry, if the partition has the branch that is said and is archived of it to there at least: what
	// posting and settlement are done with, and need not be kept for its age or because there is room. It returns how many entries went.
	TrimLog(ctx context.Context, partition int, branch, before string, keep KeepLog) (gone int64, err error)
	// ContinueElsewhere begins another branch in a partition, if it has this one still: the archive has entries of the branch that the log
	// does not have. The newest that both have is common, empty if that is not known.
	ContinueElsewhere(ctx context.Context, partition int, branch, common, by string) error
}

// ArchivedBranch is a branch of a partition as the archive tells it.
type ArchivedBranch struct {
	ID       string
	Parent   string // the branch that it goes on from; empty: none
	After    string // the entry behind which it does; "0-0" for none
	AtMillis int64  // when its first segment was written, on Redis's clock
	By       string // the worker that wrote it
}

// ArchivedPartition is what was read of a partition, beside its entries and its state.
type ArchivedPartition struct {
	Branches     []ArchivedBranch // along which it was read, the newest first; none if nothing is archived of the partition
	Snapshot     string           // the key of the one that it was begun with; empty: it was read from its start
	Segments     int              // that were read
	Facts        int              // that the state was folded of
	Trimmed      bool             // the log that was told begins in the middle
	Mark         ArchiveMark      // of the last entry
	Acknowledged map[Group]string // up to where each group had acknowledged all entries, when the segment was written in which the last one is
	// What is archived along the branch behind where it was to be cut, and is not read: these many, or more if BeyondFault says what cannot be read of it.
	BeyondEntries, BeyondFacts int
	BeyondFault                string
}

// ArchivedBook is what the log of a partition folds to up to a position, as the archive says.
type ArchivedBook struct {
	Book     *Snapshot
	Last     string // id of the newest log entry that is in it; "0-0": none
	Facts    int    // that it was folded of
	Snapshot string // its key; empty: it is what a log begins with, and nothing is in it
}

// ArchivedPast is what is archived of a namespace's log, for whoever folds that and does not care where a fact is.
type ArchivedPast interface {
	// Past calls begin with the newest snapshot that is good and has nothing behind an entry ("0-0": with an empty book), and then each for the
	// entries behind it up to a mark, in order. Of several it takes the newest, and passes over those that are not what they say. An error of
	// ClassPoison names what is missing or damaged of the segments; begin and each may have been called before.
	Past(ctx context.Context, partition int, to ArchiveMark, notBehind string, begin func(ArchivedBook), each func(Entry) error) error
}

// ArchivedEntries is what is archived of a namespace's log, for whoever reads that, trimmed as it may be.
type ArchivedEntries interface {
	// Between calls each for the archived entries of a partition along the branch of a mark that come behind an entry and before another one, in order. The archive has
	// all of them, and that other one besides: else it is an error of ClassPoison that names what is missing or damaged.
	Between(ctx context.Context, partition int, mark ArchiveMark, after, before string, each func(Entry) error) error
}

// ArchivedEvent is all that is archived of an event.
type ArchivedEvent struct {
	Book   *Snapshot // of this event alone, as FoldKeeping keeps it
	Listed Terms     // with which it was listed
}

// ArchivedEvents is what is archived of a namespace, for whoever brings back what was forgotten.
type ArchivedEvents interface {
	// Event folds what is archived of an event along the branch of a mark, which must be there, from the start. Error: domain.ErrNotFound; of ClassPoison, naming
	// what is missing or damaged.
	Event(ctx context.Context, partition int, to ArchiveMark, eventID string) (ArchivedEvent, error)
}

// ArchivedLog is what is archived of a namespace, to be restored up to a time, or whole.
type ArchivedLog interface {
	// Source names what is restored: the branches, and up to when. Whoever goes on with a restore goes on with the same.
	Source() string
	Namespace() ArchivedNamespace // as it was when its newest segment was written
	// Read tells what is archived of a partition, and says what else is known of it. It calls log for entries, in order: all, or, where it begins with a
	// snapshot, those behind which a group has not acknowledged everything, and the one before them; the last one in any case. Then it calls state for what all of
	// them fold to, a part at a time, the events before their orders. An error of ClassPoison names the segment that is missing or damaged, or the entry that does
	// not follow. It is called for several partitions at the same time.
	Read(ctx context.Context, partition int, log func(Entry) error, state func(part *Snapshot) error) (ArchivedPartition, error)
}
