package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// Folded is the state that what is archived of a partition folds to.
type Folded struct {
	Partition int
	Branch    string // empty: nothing of the partition is archived, and its log was not read
	Last      string // id of the newest log entry that is folded; "0-0": none is
	// Beyond reports whether all until Options.UntilMillis is folded: something is known that is newer, or the log was read to its end when that was over.
	Beyond bool
	Unread error // why the log was not read behind what is archived, if it was to be
	Book   *domain.Snapshot
}

// Options of Fold.
type Options struct {
	// Branches are those to read, one a partition; empty: in each the one from which no other goes on.
	Branches []string
	// EventID is the only event to fold; empty: all.
	EventID string
	// UntilMillis is the time of the last entries that are folded; 0: all are.
	UntilMillis int64
	// Fact, if not nil, is called for each fact that is folded.
	Fact func(domain.Fact)
	// Step, if not nil, is called for each segment.
	Step func()
	// Log, if not nil, is called where the archive does not go so far: what it returns is the log, of which what comes behind what is archived is folded, too; nil if
	// that cannot be read.
	Log func() domain.ArchiveSource
	// AtOnce is how many bytes of segments are folded at most before a snapshot is taken; 0: SegmentBytes, of which 90,000 orders are made.
	AtOnce int64
}

// Fold folds what is archived, partition by partition, and calls each with the state: one partition is in memory at a time. What is wrong with the archive, up to
// Options.UntilMillis, is an error that names it: nothing is folded of which a part is missing. It begins with the newest good
// snapshot that has nothing newer than that, unless Options.Fact wants each fact, or it lacks what is asked for. An event that was forgotten in Redis is as it was then, with
// its orders. A partition of which nothing is archived yet is told last, by its log alone: if that is not read, its state is empty, and not Beyond.
func (r *Reader) Fold(ctx context.Context, o Options, each func(Folded) error) error {
	newest, err := r.newest(ctx, o.Branches)
	if err != nil {
		return err
	}
	archived := slices.Sorted(maps.Keys(newest))
	found := false // the one event that was asked for: no other partition has it
	for _, p := range archived {
		folded, err := r.fold(ctx, p, newest[p], o)
		if err == nil {
			found = found || o.EventID != "" && len(folded.Book.Events) > 0
			err = each(folded)
		}
		if err != nil {
			return err
		}
	}
	if found {
		return nil
	}
	first, err := r.header(ctx, Key{Namespace: r.namespace, Partition: archived[0], Branch: newest[archived[0]]})
	if err != nil {
		return err
	}
	for p := range first.Partitions {
		if _, is := newest[p]; is {
			continue
		}
		folded, err := foldUnarchived(ctx, p, o)
		if err == nil {
			err = each(folded)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// foldUnarchived folds the log of a partition of which nothing is archived, from its start.
func foldUnarchived(ctx context.Context, p int, o Options) (Folded, error) {
	f := Folded{Partition: p, Last: Position{}.String(), Book: domain.NewSnapshot()}
	var err error
	if o.Log != nil {
		err = f.foldLog(ctx, o)
	}
	return f, err
}

// foldEntry folds an entry's facts, those about the event alone, if one is named, calls each, if it is not nil, for them, and returns how many they are.
// Where keep is set, what was forgotten in Redis stays in the book.
func foldEntry(book *domain.Snapshot, e domain.Entry, eventID string, keep bool, each func(domain.Fact)) (folded int, err error) {
	facts, err := wire.ParseFacts(e.ID, e.Fields)
	if err != nil {
		return 0, domain.WithClass(domain.ClassPoison, err)
	}
	for _, fact := range facts {
		if eventID != "" && fact.EventID != eventID {
			continue
		}
		fold := book.Fold
		if keep {
			fold = book.FoldKeeping
		}
		if err := fold(fact); err != nil {
			return folded, domain.WithClass(domain.ClassPoison, fmt.Errorf("log entry %s: %w", e.ID, err))
		}
		if each != nil {
			each(fact)
		}
		folded++
	}
	return folded, nil
}

func (r *Reader) fold(ctx context.Context, p int, branch string, o Options) (Folded, error) {
	f := Folded{Partition: p, Branch: branch}
	chain, err := r.chain(ctx, p, branch, nil)
	if err != nil {
		return f, err
	}
	from := wholeChain(chain)
	if o.Fact == nil {
		if from, err = r.begin(ctx, p, chain, lastAt(o.UntilMillis)); err != nil {
			return f, err
		}
		if lacks(from.book.Book, o.EventID) {
			from = wholeChain(chain)
		}
	}
	f.Book, f.Last = from.book.Book, from.book.Last
	if o.EventID != "" {
		keepEvent(f.Book, o.EventID)
	}
	err = r.walkFrom(ctx, from.rest, from.segment, from.last(), func(_ *Segment, entries []domain.Entry) error {
		if o.Step != nil {
			o.Step()
		}
		for _, e := range entries {
			if f.Beyond = o.UntilMillis > 0 && domain.EntryMillis(e.ID) > o.UntilMillis; f.Beyond {
				return errStop
			}
			if _, err := foldEntry(f.Book, e, o.EventID, true, o.Fact); err != nil {
				return fmt.Errorf("partition %d: %w", p, err)
			}
			f.Last = e.ID
		}
		return nil
	}, func(fault Fault) error {
		return domain.WithClass(domain.ClassPoison, fmt.Errorf("%s %s", fault.Subject, fault.Detail))
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	if err == nil && !f.Beyond && o.Log != nil {
		err = f.foldLog(ctx, o)
	}
	return f, err
}

// logBytes is how much of the log is read at a time.
const logBytes = 1 << 20

// foldLog folds what the log has behind what is archived, if that is of the branch that it has now.
func (f *Folded) foldLog(ctx context.Context, o Options) error {
	log := o.Log()
	if log == nil {
		return nil
	}
	state, err := log.ArchiveState(ctx, f.Partition)
	switch {
	case err != nil:
	case f.Branch == "" && state.Trimmed != "":
		err = fmt.Errorf("the log of partition %d begins with %s, what was before it was trimmed, and nothing of it is archived: is it another archive?", f.Partition, state.Trimmed)
	case f.Branch == "":
		f.Branch = state.Branch
	case state.Branch != f.Branch:
		err = fmt.Errorf("it has the branch %s now, of which nothing is archived", state.Branch)
	}
	if err != nil {
		f.Unread = err
		return ctx.Err()
	}
	for {
		entries, err := log.LogAfter(ctx, f.Partition, f.Branch, f.Last, logBytes)
		if err != nil {
			f.Unread = err
			return ctx.Err()
		}
		if len(entries) == 0 {
			f.Beyond = o.UntilMillis > 0 && state.NowMillis > o.UntilMillis
			return nil
		}
		for _, e := range entries {
			if f.Beyond = o.UntilMillis > 0 && domain.EntryMillis(e.ID) > o.UntilMillis; f.Beyond {
				return nil
			}
			if _, err := foldEntry(f.Book, e, o.EventID, true, o.Fact); err != nil {
				return fmt.Errorf("partition %d: %w", f.Partition, err)
			}
			f.Last = e.ID
		}
	}
}

// Event implements domain.ArchivedEvents.
func (r *Reader) Event(ctx context.Context, p int, to domain.ArchiveMark, eventID string) (domain.ArchivedEvent, error) {
	var found domain.ArchivedEvent
	folded, err := r.fold(ctx, p, to.Branch, Options{EventID: eventID, Fact: func(f domain.Fact) {
		if f.Type == domain.FactCreated {
			found.Listed = *f.Terms
		}
	}})
	if err != nil {
		return found, poisonous(err)
	}
	last, err := ParsePosition(folded.Last)
	if err != nil {
		return found, domain.WithClass(domain.ClassPoison, err)
	}
	end, err := ParsePosition(to.Position)
	if err != nil || last.Compare(end) < 0 {
		return found, domain.WithClass(domain.ClassPoison, fmt.Errorf("the archive ends with %s, and the mark in Redis says that the log is archived up to %s", folded.Last, to.Position))
	}
	if found.Book = folded.Book; !found.Book.Events[eventID].Exists() {
		return found, domain.WithCode(domain.ClassReject, domain.CodeNotFound, fmt.Errorf("event %s: %w in the archive", eventID, domain.ErrNotFound))
	}
	return found, nil
}

// lacks reports whether a book has an event not any more, or some of all, because it was forgotten: only the segments know it then.
func lacks(book *domain.Snapshot, eventID string) bool {
	for id, e := range book.Events {
		if e.Over != "" && (eventID == "" || eventID == id) {
			return true
		}
	}
	return false
}

// lastAt is the last position that an entry of that millisecond can have; 0: of any.
func lastAt(millis int64) Position {
	if millis <= 0 {
		return maxPosition
	}
	return Position{Millis: uint64(millis), Seq: math.MaxUint64}
}

// keepEvent takes everything out of a book that is not about the event.
func keepEvent(book *domain.Snapshot, eventID string) {
	other := func(id string) bool { return id != eventID }
	maps.DeleteFunc(book.Events, func(id string, _ domain.Event) bool { return other(id) })
	maps.DeleteFunc(book.Orders, func(ref domain.OrderRef, _ domain.Order) bool { return other(ref.EventID) })
	maps.DeleteFunc(book.InProgress, func(id string, _ map[string]string) bool { return other(id) })
	maps.DeleteFunc(book.Places, func(id string, _ map[string]int64) bool { return other(id) })
	maps.DeleteFunc(book.Refused, func(what domain.RefusedDemand, _ int64) bool { return other(what.EventID) })
	maps.DeleteFunc(book.Early, func(ref domain.OrderRef, _ bool) bool { return other(ref.EventID) })
	maps.DeleteFunc(book.Lines, func(ref domain.OrderRef, _ domain.Line) bool { return other(ref.EventID) })
}
