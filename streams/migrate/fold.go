package migrate

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/audit"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
	"holdfast/streams/migrate/internal/schema1"
)

// logGroups are those whose place in the log is kept.
var logGroups = []domain.Group{domain.GroupPosting, domain.GroupSettlement}

// partition is what is known of one, from its log of schema 1.
type partition struct {
	p       int
	log     string // where that is now
	end     string // id of its last entry ever; "" if there is no log
	entries int
	book    *domain.Snapshot
	facts   int
	// deadlines that must be moved: what they were in schema 1. The book has what they become.
	moved    map[domain.OrderRef]int64
	posting  position
	unposted map[domain.OrderRef]bool // posting is not done with some fact of it

	violations []audit.Violation
}

func newPartition(p int) *partition {
	return &partition{
		p: p, book: domain.NewSnapshot(), moved: make(map[domain.OrderRef]int64), unposted: make(map[domain.OrderRef]bool),
	}
}

func (p *partition) violation(invariant, subject, format string, args ...any) {
	p.violations = append(p.violations, audit.Violation{Invariant: invariant, Subject: subject, Detail: fmt.Sprintf(format, args...)})
}

// isFenced reports whether an earlier run has moved the log already: then it was compared with what is stored.
func (m *migration) isFenced(p *partition) bool { return p.log == m.old.MovedLog(p.p) }

// find learns where a partition's log is.
func (m *migration) find(ctx context.Context, p *partition) error {
	kind, err := m.ns.Client.Type(ctx, m.old.Log(p.p)).Result()
	if err != nil {
		return fmt.Errorf("looking for %s: %w", m.old.Log(p.p), access.Classify(err))
	}
	if p.log = m.old.Log(p.p); kind == "string" {
		p.log = m.old.MovedLog(p.p)
	}
	info, err := m.ns.Client.XInfoStream(ctx, p.log).Result()
	switch {
	case access.NoGroup(err):
		return nil // nothing was ever done in it
	case err != nil:
		return fmt.Errorf("looking at %s: %w", p.log, access.Classify(err))
	}
	p.end, p.entries = info.LastGeneratedID, int(info.Length)
	return nil
}

// eachEntry calls each for a stream's entries, in order.
func (m *migration) eachEntry(ctx context.Context, stream string, each func(domain.Entry) error) error {
	for last := "-"; ; {
		reply, err := m.ns.Client.Do(ctx, "XRANGE", stream, last, "+", "COUNT", access.ReadPage).Result()
		if err != nil {
			return fmt.Errorf("reading %s: %w", stream, access.Classify(err))
		}
		entries := layout.DecodeEntries(reply)
		for _, e := range entries {
			if err := each(e); err != nil {
				return err
			}
			last = "(" + e.ID
		}
		if len(entries) < access.ReadPage {
			return nil
		}
	}
}

// fold makes the book of a partition, and notes what in its log must not be.
func (m *migration) fold(ctx context.Context, p *partition) error {
	var err error
	if p.posting, err = m.position(ctx, p.log, domain.GroupPosting); err != nil {
		return err
	}
	return m.eachEntry(ctx, p.log, func(e domain.Entry) error {
		if m.checked++; m.checked%access.ReadPage == 0 {
			m.progress(StepCheck, m.checked, m.entries)
		}
		facts, err := schema1.ParseFacts(e.ID, e.Fields)
		if err != nil {
			p.violation("I7", p.log+" "+e.ID, "%v", err)
		}
		for _, f := range facts {
			p.fold(f)
		}
		return nil
	})
}

func (p *partition) fold(f domain.Fact) {
	p.facts++
	ref := f.Ref()
	switch o := p.book.Orders[ref]; {
	case f.Type == domain.FactHeld && f.DeadlineMillis < f.AtMillis && o.State == domain.OrderNone:
		p.moved[ref] = f.DeadlineMillis
		f.DeadlineMillis = f.AtMillis
	case f.Type == domain.FactConfirmed && f.AtMillis >= o.DeadlineMillis && o.State == domain.OrderHeld:
		if _, before := p.moved[ref]; !before {
			p.moved[ref] = o.DeadlineMillis
		}
		o.DeadlineMillis = f.AtMillis + 1
		p.book.Orders[ref] = o
	}
	if err := p.book.Fold(f); err != nil {
		subject := f.EventID
		if f.OrderID != "" {
			subject = ref.String()
		}
		p.violation("I6", subject, "log entry %s: %v", f.ID, err)
		return
	}
	if f.OrderID != "" && !p.posting.done(layout.ParseLogID(f.ID)) {
		p.unposted[ref] = true
	}
}

// position is how far a group is in a log.
type position struct {
	delivered layout.LogID
	pending   map[layout.LogID]int64 // and how often each was delivered
}

// done reports whether the group has acknowledged an entry.
func (pos position) done(id layout.LogID) bool {
	_, pending := pos.pending[id]
	return !pending && !id.After(pos.delivered)
}

// position reads it; of a group, or a log, that is not there nothing is done.
func (m *migration) position(ctx context.Context, log string, group domain.Group) (position, error) {
	pos := position{pending: make(map[layout.LogID]int64)}
	groups, err := m.ns.Client.XInfoGroups(ctx, log).Result()
	if err != nil && !access.NoGroup(err) {
		return pos, fmt.Errorf("looking at the groups of %s: %w", log, access.Classify(err))
	}
	i := slices.IndexFunc(groups, func(g redis.XInfoGroup) bool { return g.Name == string(group) })
	if i < 0 {
		return pos, nil
	}
	pos.delivered = layout.ParseLogID(groups[i].LastDeliveredID)
	for from := "-"; ; {
		page, err := m.ns.Client.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: log, Group: string(group), Start: from, End: "+", Count: access.ReadPage}).Result()
		if err != nil {
			return pos, fmt.Errorf("reading what is pending in %s: %w", log, access.Classify(err))
		}
		for _, e := range page {
			pos.pending[layout.ParseLogID(e.ID)] = e.RetryCount
			from = "(" + e.ID
		}
		if len(page) < access.ReadPage {
			return pos, nil
		}
	}
}
