package domain

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Group is a consumer group. It names its stream, too.
type Group string

// The three groups: the first reads the requests, the others the log.
const (
	GroupWorkers    Group = "purchase"
	GroupPosting    Group = "posting"
	GroupSettlement Group = "settlement"
)

// Entry is one stream entry as it was delivered.
type Entry struct {
	ID         string
	Fields     []string // field, value, field, value …; nil if the payload is gone
	Deliveries int64    // how often it has been delivered, this time included; 0 if not known (a first delivery)
}

// EntryMillis is the time part of a stream entry's id, 0 if id is not one.
func EntryMillis(id string) int64 {
	millis, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(millis, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// DeadEntry is an entry to be set aside, and why. The reason is for people.
type DeadEntry struct {
	ID      string
	Reason  string
	TraceID string // of what is set aside, if it is known: for the log
}

// Queue is one consumer's end of one group in one partition.
type Queue interface {
	// Read takes entries nobody had yet, at most max. If there are none it waits for
	// one, about as long as wait says and no longer than a second or two.
	Read(ctx context.Context, max int, wait time.Duration) ([]Entry, error)
	// Own lists entries that were delivered to this consumer and not acknowledged,
	// with ids above after: those whose delivery got lost, and those of an earlier
	// process of the same name. That is no delivery and no sign of life: however often
	// the list gets lost, nothing is set aside for it, and others may reclaim. It is
	// both with inherit, for a process that starts: an earlier one may have died of them.
	Own(ctx context.Context, after string, max int, inherit bool) ([]Entry, error)
	// Reclaim takes over entries that no consumer kept alive for idle. If it returns
	// as many as max there may be more: call it again at once. It may return none
	// because another worker has just looked.
	Reclaim(ctx context.Context, idle time.Duration, max int) ([]Entry, error)
	// KeepAlive marks the entries as being worked on and this consumer as alive for
	// aliveFor. It returns those that are not this consumer's any more.
	KeepAlive(ctx context.Context, ids []string, aliveFor time.Duration) (lost []string, err error)
	// HandBack lets any consumer reclaim the entries at once.
	HandBack(ctx context.Context, ids []string) error
	// Leave removes this consumer from the group, unless it still has entries.
	Leave(ctx context.Context) error
	// Ack acknowledges entries whose outcome is recorded already.
	Ack(ctx context.Context, ids []string) error
	// DeadLetter sets entries aside, whole, and acknowledges them.
	DeadLetter(ctx context.Context, dead []DeadEntry) error
}
