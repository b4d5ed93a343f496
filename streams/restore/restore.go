package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/bulk"
	"holdfast/streams/internal/layout"
)

// Options of Run.
type Options struct {
	// Progress, if not nil, is told now and then how many orders were written so far, by one goroutine at a time.
	Progress func(orders int)
	// AtOnce is how many partitions are written at the same time; 0: 3. While Redis is busy with one, another is read.
	AtOnce int
}

// Result is what was restored.
type Result struct {
	Partitions    []Partition `json:"partitions"`
	Events        int         `json:"events"`
	Orders        int         `json:"orders"`
	Facts         int         `json:"facts"`
	Entries       int         `json:"entries"` // of the logs that were written
	Segments      int         `json:"segments"`
	Held          int         `json:"held"`              // orders that are held, or can still be paid for
	InvoiceLines  int         `json:"invoice_lines"`     // orders that were ever confirmed
	Unposted      int         `json:"entries_unposted"`  // entries of the log that posting has before it
	Unsettled     int         `json:"entries_unsettled"` // likewise settlement
	BeyondEntries int         `json:"entries_beyond"`    // that are archived behind the cut, and were not restored
	BeyondFacts   int         `json:"facts_beyond"`      // what they say
	MillisElapsed int64       `json:"elapsed_ms"`
}

// Partition is what was restored of one.
type Partition struct {
	Partition   int    `json:"partition"`
	Branch      string `json:"branch"`                 // the new one; empty if an earlier run had restored it
	Parent      string `json:"parent,omitempty"`       // what it goes on from; empty: nothing is archived of the partition
	Last        string `json:"last,omitempty"`         // id of the newest entry
	LastMillis  int64  `json:"last_ms,omitempty"`      // its time
	Snapshot    string `json:"snapshot,omitempty"`     // the archive's that it was begun with: its log begins in the middle
	Facts       int    `json:"facts"`                  // that were restored
	Entries     int    `json:"entries"`                // of its log
	BeyondFacts int    `json:"facts_beyond"`           // that were not
	BeyondFault string `json:"fault_beyond,omitempty"` // why it may be more
}

// whole stands in place of a run's name where a partition is written.
const whole = "whole"

// Run restores a namespace from what is archived of it, with a store that was opened with streams.Options.Rebuild. Nobody can work on the
// namespace until it returns.
//
// It refuses, and changes nothing, if anything is there of the namespace that a restore has not written (ClassReject, of
// domain.CodeConflict), or if another restore has put a part into service already. An archive that is broken is of ClassPoison, and named;
// nothing of the namespace is in service then.
//
// A crash, or an error, at any point: run it again. Errors besides: domain.CodeConflict if another run has taken over; ClassRetry if Redis
// does not answer, or has no memory left; those of the archive's store.
func Run(ctx context.Context, store access.Store, from domain.ArchivedLog, o Options) (Result, error) {
	r := &restoring{ns: store.Inside(), from: from, options: o}
	began := time.Now()
	if err := r.run(ctx); err != nil {
		return r.result, fmt.Errorf("restoring namespace %s: %w", r.ns.Keys.Namespace, err)
	}
	r.result.MillisElapsed = max(time.Since(began).Milliseconds(), 1)
	return r.result, nil
}

type restoring struct {
	ns      access.Namespace
	from    domain.ArchivedLog
	options Options
	name    string           // of this run
	now     int64            // milliseconds, on Redis's clock
	left    map[int][]string // by partition: the keys that are there

	mu      sync.Mutex // guards what follows: partitions are written at the same time
	result  Result
	written int // orders
}

// progress tells that so many orders more were written.
func (r *restoring) progress(orders int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written += orders
	if r.options.Progress != nil {
		r.options.Progress(r.written)
	}
}

// add adds what was restored of a partition.
func (r *Result) add(of Result) {
	r.Events += of.Events
	r.Orders += of.Orders
	r.Facts += of.Facts
	r.Entries += of.Entries
	r.Segments += of.Segments
	r.Held += of.Held
	r.InvoiceLines += of.InvoiceLines
	r.Unposted += of.Unposted
	r.Unsettled += of.Unsettled
	r.BeyondEntries += of.BeyondEntries
	r.BeyondFacts += of.BeyondFacts
}

func refused(format string, args ...any) error {
	return domain.WithCode(domain.ClassReject, domain.CodeConflict, fmt.Errorf(format, args...))
}

func (r *restoring) run(ctx context.Context) error {
	is := r.from.Namespace()
	meta, err := streams.MetaOf(is)
	if err != nil {
		return err
	}
	if is.Namespace != r.ns.Keys.Namespace || is.Partitions != r.ns.Keys.Partitions() {
		return refused("what is archived is namespace %s, with %d partitions", is.Namespace, is.Partitions)
	}
	run, epoch := uuid.New(), uuid.Must(uuid.NewV7())
	r.name = run.String()
	if err := r.begin(ctx); err != nil {
		return err
	}
	isWhole := make([]bool, is.Partitions)
	for p := range isWhole {
		if isWhole[p], err = r.take(ctx, p); err != nil {
			return err
		}
	}
	// From here on an earlier run that is still at it writes nothing more.
	if err := r.look(ctx); err != nil {
		return err
	}
	r.result.Partitions = make([]Partition, is.Partitions)
	building, of := errgroup.WithContext(ctx)
	building.SetLimit(cmp.Or(r.options.AtOnce, 3))
	for p := range isWhole {
		if r.result.Partitions[p].Partition = p; !isWhole[p] {
			building.Go(func() error { return r.build(of, p) })
		}
	}
	if err := building.Wait(); err != nil {
		return err
	}
	// Nothing is in service so far. From the first partition on that is, only the same can be restored.
	if err := r.finish(ctx); err != nil {
		return err
	}
	for p := range is.Partitions {
		if err := r.serve(ctx, p); err != nil {
			return err
		}
	}
	if err := r.finish(ctx, append([]any{epoch.String()}, meta...)...); err != nil {
		return err
	}
	pipe := r.ns.Client.Pipeline()
	for p := range is.Partitions {
		pipe.Del(ctx, r.ns.Keys.Restoring(p))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("the namespace is whole and in service; deleting the notes of the restore: %w", access.Classify(err))
	}
	return nil
}

// begin takes the namespace for this run, if nothing is there, or what an earlier one has left.
func (r *restoring) begin(ctx context.Context) error {
	now, err := r.ns.Client.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	r.now = now.UnixMilli()
	meta := layout.MetaKey(r.ns.Keys.Namespace)
	begun, err := r.ns.Client.HExists(ctx, meta, "restoring").Result()
	if err != nil {
		return fmt.Errorf("reading %s: %w", meta, access.Classify(err))
	}
	if !begun {
		if err := r.look(ctx); err != nil {
			return err
		}
		if err := r.refuseOthers(); err != nil {
			return err
		}
	}
	said, err := scriptBegin.Run(ctx, r.ns.Client, []string{meta}, layout.SchemaRestoring, r.name, r.from.Source(), r.ns.Keys.Partitions()).StringSlice()
	if err != nil {
		return fmt.Errorf("script begin: %w", access.Classify(err))
	}
	switch said[0] {
	case "there":
		return refused("it is there: what is restored goes into an empty one")
	case "other":
		return refused("an earlier run has put a part of it into service, and restored (%s), not (%s): run that again", said[1], r.from.Source())
	}
	return nil
}

// look finds the keys of partitions. Invoices are none of them: they are in other slots, and a line too many says nothing.
func (r *restoring) look(ctx context.Context) error {
	var mu sync.Mutex // a cluster's masters are scanned concurrently
	r.left = make(map[int][]string)
	scan := func(ctx context.Context, node redis.UniversalClient) error {
		iter := node.Scan(ctx, 0, r.ns.Keys.Everything(), access.ReadPage).Iterator()
		for iter.Next(ctx) {
			if p, of := r.ns.Keys.PartitionOfKey(iter.Val()); of {
				mu.Lock()
				r.left[p] = append(r.left[p], iter.Val())
				mu.Unlock()
			}
		}
		return iter.Err()
	}
	var err error
	if cluster, ok := r.ns.Client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return scan(ctx, node) })
	} else {
		err = scan(ctx, r.ns.Client)
	}
	if err != nil {
		return fmt.Errorf("listing keys: %w", access.Classify(err))
	}
	for p := range r.left {
		slices.Sort(r.left[p])
		r.left[p] = slices.Compact(r.left[p])
	}
	return nil
}

// refuseOthers refuses a namespace of which there is anything. What workers note of themselves is nothing: those that were there before Redis was
// emptied go on noting it.
func (r *restoring) refuseOthers() error {
	var found []string
	for p, keys := range r.left {
		for _, key := range keys {
			if !r.ns.Keys.IsNote(p, key) {
				found = append(found, key)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	more := ""
	if n := len(found); n > 3 {
		found, more = found[:3], fmt.Sprintf(" and %d more keys", n-3)
	}
	return refused("it is not empty: there is %s%s; what is restored goes into an empty one", strings.Join(found, ", "), more)
}

// keysOf are those that take and serve look at.
func (r *restoring) keysOf(p int) []string {
	k := r.ns.Keys
	return []string{k.Restoring(p), k.Log(p), k.Events(p), k.Requests(p)}
}

// errThere is for a partition that somebody has made meanwhile.
func (r *restoring) errThere(p int) error {
	return refused("partition %d has a log, events or requests that no restore has written: somebody has made them meanwhile. Stop all that write to this namespace, delete %s, %s and %s, and run this again",
		p, r.ns.Keys.Log(p), r.ns.Keys.Events(p), r.ns.Keys.Requests(p))
}

// take takes a partition for this run, unless an earlier one has written it whole.
func (r *restoring) take(ctx context.Context, p int) (isWhole bool, err error) {
	is, err := scriptTake.Run(ctx, r.ns.Client, r.keysOf(p), r.name, whole).Text()
	if err != nil {
		return false, fmt.Errorf("script take: %w", access.Classify(err))
	}
	if is == "there" {
		return false, r.errThere(p)
	}
	return is == whole, nil
}

func (r *restoring) serve(ctx context.Context, p int) error {
	keys := append(r.keysOf(p), r.ns.Keys.RestoredLog(p), r.ns.Keys.RestoredEvents(p))
	is, err := scriptServe.Run(ctx, r.ns.Client, keys, r.name, whole, string(domain.GroupWorkers)).Text()
	switch {
	case err != nil:
		return fmt.Errorf("script serve: %w", access.Classify(err))
	case is == "taken":
		return bulk.ErrTakenOver
	case is == "there":
		return r.errThere(p)
	}
	return nil
}

func (r *restoring) finish(ctx context.Context, fields ...any) error {
	args := append([]any{layout.SchemaRestoring, r.name}, fields...)
	is, err := scriptFinish.Run(ctx, r.ns.Client, []string{layout.MetaKey(r.ns.Keys.Namespace)}, args...).Int()
	if err != nil {
		return fmt.Errorf("script finish: %w", access.Classify(err))
	}
	if is == 0 {
		return bulk.ErrTakenOver
	}
	return nil
}

// errBroken is for an archive that says what cannot have been.
var errBroken = errors.New("the archive says what the log cannot have said")
