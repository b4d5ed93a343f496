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

	begun  int64    // when its first segment was written
	behind Position // from there on it is read: what is before is in the log, or told of a branch that goes on from it
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

// Left are the branches that the log of a partition has left: those that Lost looks at, whether anything of them was lost or not.
func (r *Reader) Left(ctx context.Context, log domain.ArchiveSource, p int) (branches []string, err error) {
	left, err := r.leftBranches(ctx, log, p)
	for _, l := range left {
		branches = append(branches, l.Branch)
	}
	return branches, poisonous(err)
}

// leftBranches are those that the log of a partition has left, and up to where, the newest first. Those from which it goes on, as their archived
// successors say; that of the branch that it has now, if nothing is archived of it yet, by comparing entries. And those that only the workers knew when an older copy came back, which
// nothing goes on from: of these, too, entries are compared.
func (r *Reader) leftBranches(ctx context.Context, log domain.ArchiveSource, p int) ([]Lost, error) {
	state, err := log.ArchiveState(ctx, p)
	if err != nil {
		return nil, err
	}
	f := &leaving{r: r, log: log, p: p, state: state, along: make(map[string]Position), told: make(map[string]Position)}
	branch, common := state.Branch, maxPosition
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
	} else if branch, common, err = f.parent(ctx); err != nil || branch == "" {
		return nil, err
	}
	line, err := f.line(ctx, branch)
	if err != nil {
		return nil, err
	}
	for i, h := range line {
		if i > 0 {
			h.AtMillis = min(h.AtMillis, line[i-1].AtMillis) // whatever the clocks said
		}
		line[i] = h
		f.leave(h, common)
		common = earlier(common, position(h.After))
	}
	for _, branch := range state.Before {
		if err := f.others(ctx, branch); err != nil {
			return nil, err
		}
	}
	for i, l := range f.left {
		f.left[i].behind = later(position(l.Common), f.told[l.Branch])
	}
	return f.left, nil
}

// leaving finds the branches that the log of a partition has left.
type leaving struct {
	r     *Reader
	log   domain.ArchiveSource
	p     int
	state domain.ArchiveState
	left  []Lost
	along map[string]Position // by branch that was looked at: the newest entry along it that the log has, too
	told  map[string]Position // by branch: up to there, another one that goes on from it tells what it has
}

func earlier(a, b Position) Position {
	if a.Compare(b) < 0 {
		return a
	}
	return b
}

func later(a, b Position) Position {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

// parent is the branch that one of which nothing is archived goes on from, and up to where; empty: nothing was ever archived of the partition.
func (f *leaving) parent(ctx context.Context) (branch string, common Position, err error) {
	w := f.comparing()
	if err := w.lookForParent(ctx); err != nil {
		return "", common, err
	}
	mark, trimmed := f.state.Mark, f.state.Trimmed
	switch branch = w.header.Parent; {
	case w.header.After == "0-0" && trimmed != "":
		return "", common, domain.WithCode(domain.ClassPoison, domain.CodeLogTrimmed,
			fmt.Errorf("the log of partition %d begins with %s, what was before it was trimmed, and nothing of it is archived: is it another archive?", f.p, trimmed))
	case branch == "" && mark.Branch != "":
		return "", common, domain.WithClass(domain.ClassPoison,
			fmt.Errorf("partition %d is archived up to %s of its branch %s, as the mark in Redis says, and nothing of it is there: is it another archive?", f.p, mark.Position, mark.Branch))
	}
	common, err = ParsePosition(w.header.After)
	return branch, common, err
}

// comparing compares with the log, as the archiver does.
func (f *leaving) comparing() *writing {
	w := &writing{Archiver: &Archiver{log: f.log}, p: f.p, state: f.state, reader: f.r}
	w.header.After = Position{}.String()
	return w
}

// line is what the first segments of a branch, and of those that it goes on from, say of themselves, up to one that was looked at.
func (f *leaving) line(ctx context.Context, branch string) (line []Header, err error) {
	for seen := make(map[string]bool); branch != ""; {
		if _, known := f.along[branch]; known {
			return line, nil
		}
		if seen[branch] {
			return nil, fmt.Errorf("branch %s of partition %d goes on from itself", branch, f.p)
		}
		seen[branch] = true
		first, err := f.r.header(ctx, Key{Namespace: f.r.namespace, Partition: f.p, Branch: branch})
		if err != nil {
			return nil, err
		}
		line = append(line, first)
		branch = first.Parent
	}
	return line, nil
}

// leave notes that the log goes along a branch up to an entry.
func (f *leaving) leave(h Header, common Position) {
	f.along[h.Branch] = common
	f.told[h.Parent] = later(f.told[h.Parent], position(h.After))
	if h.Branch == f.state.Branch {
		return
	}
	// Before all that are older, and before the one that it goes on from.
	i := slices.IndexFunc(f.left, func(l Lost) bool { return l.begun < h.AtMillis || l.Branch == h.Parent })
	if i < 0 {
		i = len(f.left)
	}
	f.left = slices.Insert(f.left, i, Lost{Partition: f.p, Branch: h.Branch, Now: f.state.Branch, Common: common.String(), begun: h.AtMillis})
}

// others notes that the log has left a branch which it does not go on from, if that is archived, and those that this one goes on from.
func (f *leaving) others(ctx context.Context, branch string) error {
	if _, known := f.along[branch]; known {
		return nil
	}
	own, err := f.r.branch(ctx, f.p, branch)
	if err != nil || len(own) == 0 {
		return err
	}
	line, err := f.line(ctx, branch)
	if err != nil {
		return err
	}
	for _, h := range slices.Backward(line) {
		common, err := f.common(ctx, h)
		if err != nil {
			return err
		}
		f.leave(h, common)
	}
	return nil
}

// common is the newest entry along the chain of a branch that the log has, too. What was trimmed cannot be compared: of that, the log has no more for sure than where
// both go along one branch.
func (f *leaving) common(ctx context.Context, h Header) (common Position, err error) {
	chain, err := f.r.chain(ctx, f.p, h.Branch, nil)
	if err != nil {
		return common, err
	}
	w := f.comparing()
	if err := w.findCommon(ctx, chain); err != nil {
		return common, err
	}
	if common, err = ParsePosition(w.header.After); err != nil || !isTrimmed(common, f.state.Trimmed) {
		return common, err
	}
	return earlier(common, earlier(f.along[h.Parent], position(h.After))), nil
}

// isTrimmed reports whether an entry is older than the one that a log begins with since it was trimmed.
func isTrimmed(at Position, trimmed string) bool {
	begins, err := ParsePosition(trimmed)
	return err == nil && at.Compare(begins) < 0
}

// readLost reads a branch behind the common entry.
func (r *Reader) readLost(ctx context.Context, l *Lost, step func()) error {
	chain, err := r.chain(ctx, l.Partition, l.Branch, nil)
	if err != nil {
		return err
	}
	from := 0
	for i, link := range chain {
		if link.key.Before != (Position{}) && link.key.Before.Compare(l.behind) <= 0 && (i == 0 || chain[i-1].key.Last.Compare(l.behind) <= 0) {
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
			if position(e.ID).Compare(l.behind) <= 0 {
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
