package archive

import (
	"context"
	"fmt"
	"slices"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// Lost is what is archived of a branch behind the entry from which the log of its partition goes on in another one: Redis has lost it.
type Lost struct {
	Partition int           `json:"partition"`
	Branch    string        `json:"branch"`
	Now       string        `json:"now"`    // the branch that the log has, when that was found
	Common    string        `json:"common"` // the newest entry that the log has, too; "0-0": none
	Last      string        `json:"last"`   // the newest that it does not have
	Facts     int           `json:"facts"`
	Entries   int           `json:"entries"`
	Orders    []LostOrder   `json:"-"`
	Events    []domain.Fact `json:"-"` // those about events, in order
}

// LostOrder is what was lost of an order, in order.
type LostOrder struct {
	Ref   domain.OrderRef
	Facts []domain.Fact
}

// Listed are the terms with which an event was listed, or those that it was given last, if that is lost.
func (l Lost) Listed(eventID string) (terms *domain.Terms) {
	for _, f := range l.Events {
		if f.EventID == eventID && f.Terms != nil {
			terms = f.Terms
		}
	}
	return terms
}

// LostOptions of Reader.Lost.
type LostOptions struct {
	Branches []string // those alone; empty: all that the log has left
	Step     func()   // if not nil, called for each segment that was read
}

// Lost reads what is archived of a partition and its log has lost, the newest branch first. Each has, when it is handed on, all its facts in
// memory. What is damaged or missing there is an error of ClassPoison that names it.
func (r *Reader) Lost(ctx context.Context, log domain.ArchiveSource, p int, o LostOptions, each func(Lost) error) error {
	left, err := r.leftBranches(ctx, log, p)
	if err != nil {
		return poisonous(err)
	}
	for _, l := range left {
		if len(o.Branches) > 0 && !slices.Contains(o.Branches, l.Branch) {
			continue
		}
		if err := r.readLost(ctx, &l, o.Step); err != nil {
			return poisonous(err)
		}
		if l.Entries == 0 {
			continue
		}
		if err := each(l); err != nil {
			return err
		}
	}
	return nil
}

// leftBranches are those along which the log of a partition goes on from, and up to where: as their archived successors say; that of the branch
// that it has now, if nothing is archived of it yet, by comparing entries.
func (r *Reader) leftBranches(ctx context.Context, log domain.ArchiveSource, p int) (left []Lost, err error) {
	state, err := log.ArchiveState(ctx, p)
	if err != nil {
		return nil, err
	}
	branch := state.Branch
	own, err := r.branch(ctx, p, branch)
	if err != nil {
		return nil, err
	}
	if len(own) > 0 {
		newest, err := r.end(ctx, own[len(own)-1])
		if err != nil {
			return nil, err
		}
		in, err := log.InLog(ctx, p, newest.Entries[len(newest.Entries)-1])
		if err != nil {
			return nil, err
		}
		if !in {
			return nil, domain.WithCode(domain.ClassRetry, domain.CodeDataReplaced,
				fmt.Errorf("the log of partition %d does not have all that is archived of its branch %s, and no worker has noticed that: let one with the role archive run, and try again", p, branch))
		}
	} else {
		w := &writing{Archiver: &Archiver{log: log}, p: p, state: state, reader: r}
		w.header.After = "0-0"
		if err := w.lookForParent(ctx); err != nil || w.header.Parent == "" {
			return nil, err
		}
		if branch = w.header.Parent; w.header.After == "0-0" && state.Trimmed != "" {
			return nil, domain.WithCode(domain.ClassPoison, domain.CodeLogTrimmed,
				fmt.Errorf("the log of partition %d begins with %s, what was before it was trimmed, and nothing of it is archived: is it another archive?", p, state.Trimmed))
		}
		left = append(left, Lost{Partition: p, Branch: branch, Now: state.Branch, Common: w.header.After})
	}
	for seen := map[string]bool{}; !seen[branch]; {
		seen[branch] = true
		first, err := r.header(ctx, Key{Namespace: r.namespace, Partition: p, Branch: branch})
		if err != nil {
			return nil, err
		}
		if first.Parent == "" {
			return left, nil
		}
		branch = first.Parent
		left = append(left, Lost{Partition: p, Branch: branch, Now: state.Branch, Common: first.After})
	}
	return nil, fmt.Errorf("branch %s of partition %d goes on from itself", branch, p)
}

// readLost reads a branch behind the common entry.
func (r *Reader) readLost(ctx context.Context, l *Lost, step func()) error {
	chain, err := r.chain(ctx, l.Partition, l.Branch, nil)
	if err != nil {
		return err
	}
	common, err := ParsePosition(l.Common)
	if err != nil {
		return err
	}
	from := 0
	for i, link := range chain {
		if link.key.Before != (Position{}) && link.key.Before.Compare(common) <= 0 && (i == 0 || chain[i-1].key.Last.Compare(common) <= 0) {
			from = i // the segments before it end no later than there
		}
	}
	last := Position{}
	var before *Segment
	if from > 0 {
		if before, err = r.end(ctx, chain[from-1]); err != nil {
			return err
		}
		last = before.Last()
	}
	orders := make(map[domain.OrderRef]int)
	return r.walkFrom(ctx, chain[from:], before, last, func(s *Segment, entries []domain.Entry) error {
		if step != nil {
			step()
		}
		for _, e := range entries {
			if position(e.ID).Compare(common) <= 0 {
				continue
			}
			facts, err := wire.ParseFacts(e.ID, e.Fields)
			if err != nil {
				return err
			}
			l.Last, l.Entries, l.Facts = e.ID, l.Entries+1, l.Facts+len(facts)
			for _, f := range facts {
				if f.OrderID == "" {
					l.Events = append(l.Events, f)
					continue
				}
				i, known := orders[f.Ref()]
				if !known {
					i = len(l.Orders)
					orders[f.Ref()], l.Orders = i, append(l.Orders, LostOrder{Ref: f.Ref()})
				}
				l.Orders[i].Facts = append(l.Orders[i].Facts, f)
			}
		}
		return nil
	}, func(f Fault) error {
		return domain.WithClass(domain.ClassPoison, fmt.Errorf("segment %s %s", f.Subject, f.Detail))
	})
}
