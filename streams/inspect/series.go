package inspect

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Minute is what happened in a minute to the sales of an event. The sums of what was sold, less those of what was given back, are its Totals.
type Minute struct {
	AtMillis        int64 // when it begins
	Orders          int64 // that were confirmed
	TicketsSold     int64 // with them, or by a change
	Revenue         int64 // likewise, minor units
	OrdersCancelled int64 // of those that were confirmed
	TicketsReturned int64 // by these, by partial cancels and changes
	RevenueReturned int64 // likewise, minor units
	Refused         int64 // places that were asked for in vain, where an order was rejected for that
}

// Bounds of Series.
const (
	seriesPage     = 128       // log entries that are read at a time
	seriesMinutes  = 1_000_000 // that are remembered; of more, the older half of the time is forgotten
	seriesPatience = 5 * time.Second
)

// Series is how sales went, minute by minute. It reads the log once, from its start, the first time that somebody asks for an event of a partition, and from then on
// what is new. It is safe for concurrent use.
type Series struct {
	in         *Inspector
	partitions []seriesPartition
	most       int // minutes, of a partition
}

type seriesPartition struct {
	mu      sync.Mutex
	branch  string
	last    string // entry that was read; empty: none
	of      map[string][]Minute
	minutes int   // in all of them
	since   int64 // what was before is forgotten; 0: nothing was
}

// Series begins one.
func (in *Inspector) Series() *Series {
	n := in.ns.Keys.Partitions()
	return &Series{in: in, partitions: make([]seriesPartition, n), most: max(seriesMinutes/n, 1)}
}

// Of are the minutes of an event from a time until another, in milliseconds, the oldest first; those in which nothing happened are left out. since is
// from when on all are known, 0: from the start. Error: domain.CodeUnavailable if there is more of the log to be read than in a moment: what was read by then is kept, so another
// try goes on.
func (s *Series) Of(ctx context.Context, eventID string, fromMillis, untilMillis int64) (minutes []Minute, since int64, err error) {
	p := s.in.ns.Keys.PartitionOf(eventID)
	of := &s.partitions[p]
	of.mu.Lock()
	defer of.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, seriesPatience)
	defer cancel()
	for more := true; more; {
		if more, err = s.read(ctx, p, of); err != nil {
			if ctx.Err() != nil && of.last != "" {
				err = domain.WithCode(domain.ClassRetry, domain.CodeUnavailable, fmt.Errorf("the log is still being read, up to %s: try again", of.last))
			}
			return nil, 0, err
		}
	}
	for _, m := range of.of[eventID] {
		if m.AtMillis >= fromMillis && m.AtMillis < untilMillis {
			minutes = append(minutes, m)
		}
	}
	return minutes, of.since, nil
}

// read takes a page of the log over. The caller has the lock.
func (s *Series) read(ctx context.Context, p int, of *seriesPartition) (more bool, err error) {
	after := "-"
	if of.last != "" {
		after = "(" + of.last
	}
	pipe := s.in.ns.Client.Pipeline()
	page := pipe.Do(ctx, "XRANGE", s.in.ns.Keys.Log(p), after, "+", "COUNT", seriesPage)
	is := pipe.HMGet(ctx, s.in.ns.Keys.Events(p), layout.BranchField, layout.TrimmedField) // read behind the page: it is all of what the log had then, or this says that it is not
	if _, err := pipe.Exec(ctx); err != nil && !access.IsNil(err) {
		return false, fmt.Errorf("reading the log: %w", access.Classify(err))
	}
	branch, trimmed := layout.AsString(is.Val()[0]), layout.ParseLogID(layout.AsString(is.Val()[1]))
	gap := trimmed.After(layout.ParseLogID(of.last))
	if of.last != "" && (branch != of.branch || gap) { // other data: what was read of the branch before may never have happened; or trimmed before it was read
		of.last, of.of, of.minutes, of.since = "", nil, 0, 0
		return true, nil
	}
	if of.branch = branch; gap { // the minute in which the log begins is not whole
		of.since = max(of.since, int64(trimmed.Millis)-int64(trimmed.Millis)%time.Minute.Milliseconds()+time.Minute.Milliseconds()) //nolint:gosec // a time in milliseconds
	}
	entries := layout.DecodeEntries(page.Val())
	for _, e := range entries {
		of.last = e.ID
		facts, err := wire.ParseFacts(e.ID, e.Fields)
		if err != nil {
			continue // the audit tells of it
		}
		for i := range facts {
			of.take(&facts[i])
		}
	}
	for of.minutes > s.most {
		of.forget()
	}
	return len(entries) == seriesPage, nil
}

// take takes a fact over.
func (of *seriesPartition) take(f *domain.Fact) {
	var m Minute
	switch f.Type {
	case domain.FactConfirmed:
		m.Orders, m.TicketsSold, m.Revenue = 1, f.Items.Quantity(), f.Items.Amount()
	case domain.FactCancelled:
		if f.Was != domain.OrderConfirmed {
			return
		}
		m.OrdersCancelled, m.TicketsReturned, m.RevenueReturned = 1, f.Items.Quantity(), f.Items.Amount()
	case domain.FactReduced, domain.FactChanged:
		if f.Was != domain.OrderConfirmed {
			return
		}
		m.TicketsReturned, m.RevenueReturned = f.Items.Quantity(), f.Items.Amount()
		m.TicketsSold, m.Revenue = f.Taken.Quantity(), f.Taken.Amount()
	case domain.FactRestored:
		more, fewer := f.Sales()
		if more+fewer == "" {
			return
		}
		m.TicketsSold, m.Revenue, m.TicketsReturned, m.RevenueReturned = more.Quantity(), more.Amount(), fewer.Quantity(), fewer.Amount()
		switch sold := f.Restored.State == domain.OrderConfirmed; {
		case !sold:
			m.OrdersCancelled = 1
		case f.Was != domain.OrderConfirmed:
			m.Orders = 1
		}
	case domain.FactRejected:
		switch f.Reason {
		case domain.ReasonInvalid, domain.ReasonUnknownEvent, domain.ReasonUnknownSection:
			return
		}
		m.Refused = f.Items.Quantity()
	case domain.FactCreated, domain.FactAdjusted, domain.FactClosed, domain.FactReopened, domain.FactEventCancelled, domain.FactEventForgotten, domain.FactEventRecalled, domain.FactHeld, domain.FactDeclined, domain.FactExpired,
		domain.FactLapsed, domain.FactChangeRefused, domain.FactRefundGranted, domain.FactPaymentDisputed, domain.FactPaying, domain.FactPaymentDeclined, domain.FactActionRequired, domain.FactExtended, domain.FactForgotten, domain.FactOrderRecalled:
		return
	}
	m.AtMillis = f.AtMillis - f.AtMillis%time.Minute.Milliseconds()
	if m.AtMillis < of.since {
		return
	}
	list := of.of[f.EventID]
	if n := len(list); n > 0 && list[n-1].AtMillis == m.AtMillis {
		list[n-1].add(m)
		return
	}
	if of.of == nil {
		of.of = make(map[string][]Minute)
	}
	of.of[f.EventID] = append(list, m)
	of.minutes++
}

func (m *Minute) add(o Minute) {
	m.Orders, m.TicketsSold, m.Revenue = m.Orders+o.Orders, m.TicketsSold+o.TicketsSold, m.Revenue+o.Revenue
	m.OrdersCancelled, m.TicketsReturned, m.RevenueReturned = m.OrdersCancelled+o.OrdersCancelled, m.TicketsReturned+o.TicketsReturned, m.RevenueReturned+o.RevenueReturned
	m.Refused += o.Refused
}

// forget drops the older half of the time.
func (of *seriesPartition) forget() {
	oldest, newest := int64(-1), int64(0)
	for _, list := range of.of {
		if oldest < 0 || list[0].AtMillis < oldest {
			oldest = list[0].AtMillis
		}
		newest = max(newest, list[len(list)-1].AtMillis)
	}
	of.since, of.minutes = oldest+(newest-oldest)/2+1, 0
	for id, list := range of.of {
		i := slices.IndexFunc(list, func(m Minute) bool { return m.AtMillis >= of.since })
		if i < 0 {
			delete(of.of, id)
			continue
		}
		of.of[id] = slices.Clone(list[i:])
		of.minutes += len(list) - i
	}
}
