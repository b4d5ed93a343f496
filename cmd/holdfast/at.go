package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

// atFlags ask what was at a time.
type atFlags struct {
	At      timeFlag `placeholder:"TIME" help:"What was then, its millisecond included, instead of what is now. Goes with --archive."`
	Archive string   `env:"HOLDFAST_ARCHIVE" placeholder:"URL" help:"Where the log is archived: file:///folder or s3://bucket/prefix?region=…. For --at, and for events that are over, and were forgotten."`
	Branch  []string `placeholder:"BRANCH" help:"Which branch to read there, where a partition ends in several (archive ls)."`
}

func (f atFlags) asked() bool { return f.At.millis != 0 }

// isArchived reports whether an error says that what was asked for was forgotten, or that its beginning was trimmed, and an archive is given: there it is to be found.
func (f atFlags) isArchived(err error) bool {
	code := domain.CodeOf(err)
	return f.Archive != "" && (code == domain.CodeEventOver || code == domain.CodeLogTrimmed)
}

// history is that of an order, wherever its facts are. missing is why it is not whole: some were trimmed, and there is no archive, or it cannot be read.
func (f atFlags) history(ctx context.Context, e *environment, store *streams.Store, ref domain.OrderRef, o domain.Order) (facts []domain.Fact, missing, err error) {
	in := inspect.New(store)
	var unread error
	if f.Archive != "" {
		asked := false
		err = archiveFlags{f.Archive}.with(ctx, e, func(r *archive.Reader) (err error) {
			asked = true
			facts, err = in.With(r).History(ctx, ref, o)
			return err
		})
		var usage *usageError
		if err == nil || errors.As(err, &usage) || asked && !errors.Is(err, inspect.ErrArchive) {
			return facts, nil, err
		}
		unread = err
	}
	facts, missing = in.History(ctx, ref, o)
	if missing != nil && domain.CodeOf(missing) != domain.CodeLogTrimmed {
		return nil, nil, missing
	}
	if missing != nil && unread != nil {
		missing = unread
	}
	return facts, missing, nil
}

// fold calls each with what was then, a partition at a time: of one event, or of all if that is empty. fact, if not nil, is called before with each
// fact until then. What is not archived yet is read in the log, if Redis can be asked.
func (f atFlags) fold(ctx context.Context, e *environment, eventID string, fact func(domain.Fact), each func(*domain.Snapshot) error) error {
	if f.Archive == "" {
		return badUsage("--at goes with --archive URL: what was is read there")
	}
	if eventID != "" && !domain.ValidID(eventID) {
		return badUsage("event: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
	}
	var open []string // where it is not known what came later
	var store *streams.Store
	var away, unread error
	log := func() domain.ArchiveSource {
		if store = cmp.Or(store, e.opened); store == nil && away == nil {
			store, away = e.open(ctx, streams.Options{Log: e.warnings()})
		}
		if away != nil {
			return nil
		}
		return store.Ledger()
	}
	err := archiveFlags{f.Archive}.with(ctx, e, func(r *archive.Reader) error {
		shown := e.progressOf("segments read", 0)
		defer shown.clear()
		options := archive.Options{Branches: f.Branch, EventID: eventID, UntilMillis: f.At.millis, Fact: fact, Step: func() { shown.add(1) }, Log: log}
		return r.Fold(ctx, options, func(then archive.Folded) error {
			shown.clear()
			none := then.Last == "0-0"
			switch of := eventID == "" || none || len(then.Book.Events) > 0; {
			case !of || then.Beyond:
			case none:
				open = append(open, fmt.Sprintf("nothing is archived of partition %d", then.Partition))
			default:
				open = append(open, fmt.Sprintf("partition %d is known until %s", then.Partition, whenExactly(domain.EntryMillis(then.Last))))
			}
			unread = cmp.Or(unread, then.Unread)
			return each(then.Book)
		})
	})
	if err == nil && len(open) > 0 && f.asked() {
		said := "what came later is not known, if anything did: " + strings.Join(open, ", ")
		if why := cmp.Or(away, unread); why != nil {
			said += "; the log behind the archive was not read: " + oneLine(why)
		}
		e.notice(said)
	}
	if store != nil && store != e.opened {
		err = errors.Join(err, store.Close())
	}
	return err
}

// seatNamesOf are the names of the seats of items, by section, as the event has them.
func seatNamesOf(event domain.Event, items domain.Items) (map[string][]string, error) {
	return items.SeatNames(func(name string) (*seats.Layout, error) {
		section, _ := event.Section(name)
		return seats.Parse(section.Layout)
	})
}

// showThen shows the order as it was.
func (c *ordersShowCommand) showThen(ctx context.Context, e *environment) error {
	wanted, complete, err := c.ref()
	if err != nil {
		return err
	}
	facts := make(map[domain.OrderRef][]domain.Fact)
	keep := func(f domain.Fact) {
		if f.OrderID == wanted.OrderID && (!complete || f.EventID == wanted.EventID) {
			facts[f.Ref()] = append(facts[f.Ref()], f)
		}
	}
	orders := make(map[domain.OrderRef]domain.Order)
	events := make(map[domain.OrderRef]domain.Event)
	err = c.fold(ctx, e, wanted.EventID, keep, func(then *domain.Snapshot) error {
		for ref := range facts {
			if o, found := then.Orders[ref]; found {
				orders[ref], events[ref] = o, then.Events[ref.EventID]
			}
		}
		return nil
	})
	if err != nil {
		return about(wanted, err)
	}
	if len(orders) == 0 {
		return about(wanted, fmt.Errorf("order %s: %w at that time", strings.TrimPrefix(wanted.String(), "/"), domain.ErrNotFound))
	}
	ref, err := oneOf(wanted, slices.SortedFunc(maps.Keys(orders), func(a, b domain.OrderRef) int { return strings.Compare(a.EventID, b.EventID) }))
	if err != nil {
		return err
	}
	named, err := seatNamesOf(events[ref], orders[ref].Items)
	if err != nil {
		return about(ref, err)
	}
	history := make([]factView, len(facts[ref]))
	for i, f := range facts[ref] {
		gone, err := seatNamesOf(events[ref], f.Items)
		if err != nil {
			return about(ref, err)
		}
		taken, err := seatNamesOf(events[ref], f.Taken)
		if err != nil {
			return about(ref, err)
		}
		history[i] = viewFact(f, gone, taken)
	}
	return showOrder(e, viewOrder(ref, orders[ref], named), history, nil, "")
}

// showThen shows the event as it was. What was paused then is not archived.
func (c *eventsShowCommand) showThen(ctx context.Context, e *environment) error {
	var event domain.Event
	found := false
	err := c.fold(ctx, e, c.EventID, nil, func(then *domain.Snapshot) error {
		if is, there := then.Events[c.EventID]; there {
			event, found = is, true
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("event %s: %w at that time", c.EventID, domain.ErrNotFound)
	}
	if err != nil {
		return err
	}
	return shownEvent{eventView: viewEvent(c.EventID, event)}.show(e, c.At.millis, "")
}

// showThen shows the sales as they were.
func (c *salesCommand) showThen(ctx context.Context, e *environment) error {
	table := e.salesTable()
	found := false
	err := c.fold(ctx, e, c.EventID, nil, func(then *domain.Snapshot) error {
		refused := make(map[string][]inspect.RefusedPlaces)
		for what, places := range then.Refused {
			section, allocation := domain.SplitPool(what.Section)
			refused[what.EventID] = append(refused[what.EventID], inspect.RefusedPlaces{Section: section, Allocation: allocation, Reason: what.Reason, Places: places})
		}
		for _, sold := range archive.SalesOf(then) {
			id := sold.EventID
			found = true
			slices.SortFunc(refused[id], func(a, b inspect.RefusedPlaces) int {
				return slices.Compare([]string{a.Section, a.Allocation, a.Reason}, []string{b.Section, b.Allocation, b.Reason})
			})
			totals := inspect.Totals{Orders: sold.Orders, TicketsSold: sold.Tickets, Revenue: sold.Revenue}
			table.row(salesOf(id, then.Events[id], totals, refused[id]), sold.Name)
		}
		return nil
	})
	switch {
	case err == nil && c.EventID != "" && !found:
		err = fmt.Errorf("event %s: %w at that time", c.EventID, domain.ErrNotFound)
	case err == nil && c.EventID != "":
		table.details()
	}
	return table.out.end(aboutEvent(c.EventID, err))
}
