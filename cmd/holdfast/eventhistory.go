package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type eventsHistoryCommand struct {
	EventID string `arg:"" name:"event_id" help:"The event."`
}

// Help is shown by --help.
func (c *eventsHistoryCommand) Help() string {
	return `
Who put it on sale, adjusted, closed, reopened and called it off, when, why, and what it changed. The log of its partition is gone through for that.
`
}

// eventFactView is one fact about an event.
type eventFactView struct {
	ID       string       `json:"id"`
	AtMillis int64        `json:"at"` // milliseconds
	Type     string       `json:"type"`
	Changes  []termChange `json:"changes,omitempty"`
	Why      string       `json:"why,omitempty"`
	By       string       `json:"by,omitempty"`
}

// termChange is what a fact made of one of an event's terms, as people are told it.
type termChange struct {
	What string `json:"what"`
	Was  string `json:"was,omitempty"`
	Is   string `json:"is,omitempty"`
}

func (c *eventsHistoryCommand) Run(ctx context.Context, e *environment) error {
	return aboutEvent(c.EventID, e.withStore(ctx, func(store *streams.Store) error {
		if _, err := store.Events().Get(ctx, c.EventID); err != nil {
			return err
		}
		in := inspect.New(store)
		entries, err := in.LogEntries(ctx, inspect.OrderFilter{EventID: c.EventID})
		if err != nil {
			return err
		}
		shown := e.progressOf("log entries read", entries)
		facts, missing := in.EventHistory(ctx, c.EventID, shown.add)
		shown.clear()
		if missing != nil && domain.CodeOf(missing) != domain.CodeLogTrimmed {
			return missing
		}
		out := e.printer("at", "fact", "what", "why", "by")
		var before domain.Terms
		for _, f := range facts {
			v := eventFactView{ID: f.ID, AtMillis: f.AtMillis, Type: string(f.Type), Why: f.Cause.Reason, By: f.Cause.By}
			if f.Terms != nil {
				v.Changes = changesOf(before, *f.Terms)
				before = *f.Terms
			}
			out.row(v, whenExactly(v.AtMillis), v.Type, v.what(), v.Why, v.By)
		}
		if missing != nil {
			e.notice(fmt.Sprintf("its history is not whole: %v", missing))
		}
		return out.end(nil)
	}))
}

// what is what a fact changed, in one line.
func (v eventFactView) what() string {
	said := make([]string, len(v.Changes))
	for i, c := range v.Changes {
		switch {
		case c.Was == "":
			said[i] = c.What + " " + c.Is
		case c.Is == "":
			said[i] = c.What + " no more"
		default:
			said[i] = c.What + " " + c.Was + " -> " + c.Is
		}
	}
	return strings.Join(said, "; ")
}

// changesOf are what terms say otherwise than those before them. What there was not is empty.
func changesOf(before, after domain.Terms) (changes []termChange) {
	was := make(map[string]string)
	for _, t := range termsInWords(before) {
		was[t.What] = t.Is
	}
	for _, t := range termsInWords(after) {
		if t.Was = was[t.What]; t.Was != t.Is {
			changes = append(changes, t)
		}
	}
	for _, m := range after.Moves {
		moved, _ := seats.ParsePlaces(m.Places) // as it was written
		changes = append(changes, termChange{What: m.Section, Is: plural(int64(len(moved)), "seat", "seats") + " blocked, or of another allocation, or not any more"})
	}
	return changes
}

// termsInWords are terms one by one; those that say nothing are empty.
func termsInWords(t domain.Terms) []termChange {
	limit := func(n int64) string { return strings.TrimPrefix(strconv.FormatInt(n, 10), "0") }
	late := ""
	if t.LateApprovalMillis > 0 {
		late = (time.Duration(t.LateApprovalMillis) * time.Millisecond).String()
	}
	orphans := ""
	if t.NoOrphans {
		orphans = "true"
	}
	list := []termChange{
		{What: "name", Is: t.Name},
		{What: "max_per_order", Is: limit(t.MaxPerOrder)},
		{What: "max_per_customer", Is: limit(t.MaxPerCustomer)},
		{What: "no_orphans", Is: orphans},
		{What: "on_sale", Is: when(t.OnSaleMillis)},
		{What: "off_sale", Is: when(t.OffSaleMillis)},
		{What: "late_approval_for", Is: late},
	}
	for _, s := range t.Sections {
		is := fmt.Sprintf("%d at %s", s.Capacity, money(s.Price, t.Currency))
		if s.Blocked > 0 {
			is += fmt.Sprintf(", %d blocked", s.Blocked)
		}
		list = append(list, termChange{What: s.Name, Is: is})
	}
	for _, a := range t.Allocations {
		codes := 0
		for _, c := range a.Codes {
			if !c.Revoked {
				codes++
			}
		}
		is := plural(int64(codes), "code", "codes")
		if a.OnSaleMillis > 0 {
			is += " from " + when(a.OnSaleMillis)
		}
		if a.OffSaleMillis > 0 {
			is += " until " + when(a.OffSaleMillis)
		}
		list = append(list, termChange{What: "allocation " + a.Name, Is: is})
	}
	return list
}
