package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/archive"
	"holdfast/domain"
	"holdfast/streams"
)

// missingView is what is found of an order of which Redis has lost facts, and what was done.
type missingView struct {
	EventID string `json:"event_id"`
	OrderID string `json:"order_id"`
	Finding string `json:"finding"`
	Lost    string `json:"lost,omitempty"` // its state when it was lost
	Becomes string `json:"becomes,omitempty"`
	Done    bool   `json:"done"`

	CustomerID      string     `json:"customer_id,omitempty"`
	Items           []itemView `json:"items,omitempty"`
	Amount          int64      `json:"amount"` // minor units: what was paid, if it was
	Currency        string     `json:"currency,omitempty"`
	AuthorizationID string     `json:"authorization_id,omitempty"`
	Reason          string     `json:"reason,omitempty"` // why it cannot have its places
	Detail          string     `json:"detail,omitempty"`
}

// missingEventView is a fact about an event that was lost, and is not so now.
type missingEventView struct {
	EventID  string `json:"event_id"`
	Finding  string `json:"finding"` // event_fact
	Fact     string `json:"fact"`
	AtMillis int64  `json:"at_ms"`
	Do       string `json:"do"` // the command that makes it so again
}

// missingReport is how it was all together.
type missingReport struct {
	Namespace string         `json:"namespace"`
	Applied   bool           `json:"applied"`
	Lost      []archive.Lost `json:"lost"`
	Facts     int            `json:"facts"` // that were lost
	Orders    int            `json:"orders"`
	// By finding, how many orders. Of events, how many facts.
	Findings map[string]int `json:"findings"`
	Events   int            `json:"event_facts"`
	Done     int            `json:"done"`
	Left     int            `json:"left"` // that are not as they should be
}

// missing finds what Redis has lost and the archive has, order by order, and gives it back if it is to.
func (c *restoreCommand) missing(ctx context.Context, e *environment) error {
	switch {
	case c.Until.millis > 0:
		return badUsage("--until does not go with --missing")
	case !c.Missing:
		return badUsage("--apply and --refund go with --missing")
	}
	return c.with(ctx, e, func(r *archive.Reader) error {
		return e.withStore(ctx, func(store *streams.Store) error {
			m := &missingRun{
				environment: e, store: store, apply: c.Apply, refund: c.Refund,
				out: e.printer("event", "order", "finding", "lost", "becomes", "amount", "why"), shown: e.progressOf("orders looked at", 0),
				report: missingReport{Namespace: e.namespace, Applied: c.Apply, Lost: []archive.Lost{}, Findings: make(map[string]int)},
			}
			err := m.all(ctx, r, c.Branch)
			m.shown.clear()
			if err != nil {
				return m.out.end(err)
			}
			return m.end()
		})
	})
}

// missingRows is how many rows are kept until they are written.
const missingRows = 256

type missingRun struct {
	*environment
	store         *streams.Store
	apply, refund bool
	out           *printer
	shown         *progress
	report        missingReport
}

func (m *missingRun) all(ctx context.Context, r *archive.Reader, branches []string) error {
	if err := m.known(ctx, r, branches); err != nil {
		return err
	}
	for p := range m.store.Partitions() {
		seen := make(map[domain.OrderRef]bool)
		err := r.Lost(ctx, m.store.Ledger(), p, archive.LostOptions{Branches: branches}, func(lost archive.Lost) error {
			summary := lost
			summary.Orders, summary.Events = nil, nil
			m.report.Lost = append(m.report.Lost, summary)
			m.report.Facts += lost.Facts
			if err := m.events(ctx, lost); err != nil {
				return err
			}
			for _, o := range lost.Orders {
				if seen[o.Ref] { // what was lost of it later decides
					continue
				}
				seen[o.Ref] = true
				if err := m.order(ctx, lost, o); err != nil {
					return about(o.Ref, err)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return nil
}

// known refuses a branch that the log of no partition has left: of one that is mistyped nothing would be found missing.
func (m *missingRun) known(ctx context.Context, r *archive.Reader, branches []string) error {
	unknown := slices.Clone(branches)
	for p := 0; p < m.store.Partitions() && len(unknown) > 0; p++ {
		left, err := r.Left(ctx, m.store.Ledger(), p)
		if err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
		unknown = slices.DeleteFunc(unknown, func(branch string) bool { return slices.Contains(left, branch) })
	}
	if len(unknown) > 0 {
		return domain.WithCode(domain.ClassReject, domain.CodeNotFound, fmt.Errorf("branch %s is none that the log of any partition has left (archive ls lists all that are archived)", strings.Join(unknown, ", ")))
	}
	return nil
}

// events tells which lost facts about events are not so now. They are a person's: what was decided then may not be right now.
func (m *missingRun) events(ctx context.Context, lost archive.Lost) error {
	of := make(map[string][]domain.Fact)
	var ids []string
	for _, f := range lost.Events {
		if of[f.EventID] == nil {
			ids = append(ids, f.EventID)
		}
		of[f.EventID] = append(of[f.EventID], f)
	}
	for _, id := range ids {
		event, err := m.store.Events().Get(ctx, id)
		if err != nil && domain.CodeOf(err) != domain.CodeNotFound && domain.CodeOf(err) != domain.CodeEventOver {
			return aboutEvent(id, err)
		}
		if domain.CodeOf(err) == domain.CodeEventOver {
			continue
		}
		for _, f := range domain.MissingOfEvent(event, of[id]) {
			m.report.Events++
			m.report.Left++
			v := missingEventView{EventID: id, Finding: "event_fact", Fact: string(f.Type), AtMillis: f.AtMillis, Do: f.Do}
			m.shown.clear()
			m.out.row(v, id, "", "event_fact", string(f.Type), "", "", "of "+when(f.AtMillis)+"; do it again: holdfast "+f.Do+" "+id)
		}
	}
	return nil
}

func (m *missingRun) order(ctx context.Context, lost archive.Lost, o archive.LostOrder) error {
	is, err := m.store.Missing(ctx, lost.Now, o.Ref, domain.Restore{Lost: o.Facts, Common: lost.Common, Listed: lost.Listed(o.Ref.EventID), Refund: m.refund}, m.apply)
	if err != nil {
		return err
	}
	m.shown.add(1)
	m.report.Orders++
	if is.Kind == domain.MissingNothing {
		return nil
	}
	m.report.Findings[string(is.Kind)]++
	if is.Kind == domain.MissingWentOn {
		return nil
	}
	was := is.Order
	v := missingView{
		EventID: o.Ref.EventID, OrderID: o.Ref.OrderID, Finding: string(is.Kind), Lost: was.State.String(), Done: m.apply && is.Becomes != domain.OrderNone,
		CustomerID: was.CustomerID, Items: viewItems(was.Items, nil), Amount: was.PaidAmount(), Currency: was.Currency,
		AuthorizationID: was.AuthorizationID, Reason: is.Reason, Detail: is.Detail,
	}
	if is.Becomes != domain.OrderNone {
		v.Becomes = is.Becomes.String()
	}
	if v.Done {
		m.report.Done++
	} else {
		m.report.Left++
	}
	why := is.Reason
	if is.Detail != "" && why != "" {
		why += ": "
	}
	m.shown.clear()
	m.out.row(v, v.EventID, v.OrderID, v.Finding, v.Lost, v.Becomes, money(v.Amount, v.Currency), why+is.Detail)
	if (m.report.Left+m.report.Done)%missingRows == 0 {
		return m.out.flush()
	}
	return nil
}

// end tells how it was all together. What is left is an error.
func (m *missingRun) end() error {
	r := m.report
	sheet := []string{
		"namespace", r.Namespace, "lost, and archived", plural(int64(r.Facts), "fact", "facts") + " about " + plural(int64(r.Orders), "order", "orders"),
		"facts about events to do again", strconv.Itoa(r.Events),
	}
	for _, kind := range domain.MissingKinds {
		sheet = append(sheet, missingTexts[kind], strconv.Itoa(r.Findings[string(kind)]))
	}
	if r.Applied {
		sheet = append(sheet, "done", strconv.Itoa(r.Done))
	}
	m.out.section()
	m.out.sheet(r, sheet...)
	if m.out.section("partition", "branch", "common up to", "facts", "up to") {
		for _, l := range r.Lost {
			m.out.row(nil, strconv.Itoa(l.Partition), l.Branch, l.Common, strconv.Itoa(l.Facts), l.Last)
		}
	}
	if err := m.out.flush(); err != nil {
		return err
	}
	if r.Left == 0 {
		return nil
	}
	todo := "see docs/operations.md, What a failover lost"
	if !r.Applied && slices.ContainsFunc([]domain.MissingKind{domain.MissingComesBack, domain.MissingEnds}, func(k domain.MissingKind) bool { return r.Findings[string(k)] > 0 }) {
		todo = "nothing was done; to do it: " + m.typed("restore --missing --apply --archive URL")
	}
	return domain.WithCode(domain.ClassReject, "missing", fmt.Errorf("%s not as it should be: %s", plural(int64(r.Left), "thing is", "things are"), todo))
}

// missingTexts say the kinds for people.
var missingTexts = map[domain.MissingKind]string{
	domain.MissingComesBack: "come back",
	domain.MissingEnds:      "end, and their money goes with that",
	domain.MissingPlace:     "paid, without a place",
	domain.MissingEvent:     "their event is lost, too",
	domain.MissingUnclear:   "a person must look",
	domain.MissingWentOn:    "have gone on since, and stay",
}
