package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// Options of Run.
type Options struct {
	// Gateway returns all that the payment gateway ever did. Without it, I4 and I5 are not checked.
	Gateway func(ctx context.Context) ([]domain.BooksLine, error)
	// FromMillis and UntilMillis say of which time those payments are that Gateway returns, by when they were made there: from the first on, and
	// before the second. 0: no bound.
	FromMillis, UntilMillis int64
	// Archive, if it is not nil, is what is archived of the log: what is folded is that, as far as it goes, and the log behind it.
	Archive domain.ArchivedPast
	// Full has Archive folded from its start. Else it begins with the newest snapshot behind which all is posted and settled.
	Full bool
	// Progress, if it is not nil, is told now and then how far the audit is.
	Progress func(Progress)
}

// Progress is how far an audit is.
type Progress struct {
	Partitions int // whose state was looked at
	Of         int // how many there are
	Facts      int // that were folded
}

// Report is the verdict.
type Report struct {
	OK         bool           `json:"ok"`
	Checked    Counts         `json:"checked"`
	Payments   *PaymentCounts `json:"payments,omitempty"` // nil: they were not checked
	Violations []Violation    `json:"violations"`
}

// Counts says how much was looked at.
type Counts struct {
	Events int `json:"events"`
	Orders int `json:"orders"`
	Facts  int `json:"facts"` // that were folded
	// Before is how many facts more are in the snapshots that were begun with.
	Before int `json:"facts_before,omitempty"`
}

// PaymentCounts says how many lines of the gateway's books were looked at.
type PaymentCounts struct {
	Checked    int `json:"checked"`     // payments of this namespace
	PassedOver int `json:"passed_over"` // named as those of others
	// Forgotten are those of events that were forgotten before the snapshot that was begun with: what their orders were is not known there. Options.Full knows.
	Forgotten int `json:"forgotten,omitempty"`
	// FromMillis and UntilMillis are the Options'.
	FromMillis  int64 `json:"from,omitempty"`
	UntilMillis int64 `json:"until,omitempty"`
	// Disputed are those of which a customer's bank has asked for the money back, and a person must do something about it; that is no violation.
	Disputed []Disputed `json:"disputed,omitempty"`
}

// Disputed is a payment of which a customer's bank has asked for the money back.
type Disputed struct {
	Ref       domain.OrderRef   `json:"-"`
	EventID   string            `json:"event_id"`
	OrderID   string            `json:"order_id"`
	State     domain.OrderState `json:"state"`
	PaymentID string            `json:"payment_id"`       // the gateway's
	Dispute   domain.Dispute    `json:"dispute,omitzero"` // as the gateway tells it, if it does
	Currency  string            `json:"currency,omitempty"`
	Recorded  bool              `json:"recorded"` // the order says so, too
	Do        string            `json:"do"`
}

// Violation is one thing that must not be.
type Violation struct {
	Invariant string `json:"invariant"` // I1 to I10, as docs/architecture.md numbers them
	Subject   string `json:"subject"`   // what it is about: an event, an order, a key
	Detail    string `json:"detail"`
	Do        string `json:"do,omitempty"` // what a person must do, where one must: of I4 and I5
}

// maxViolations bounds the report, for each invariant on its own: that thousands of
// payments were lost must not hide that a ticket was sold twice.
const maxViolations = 10_000

// Run folds the log from its start, or what is archived of it and then the log, with package domain and compares every
// event, order, hold, order in progress, total and invoice with what Redis holds, and,
// if it can see the gateway's books, every payment.
//
// It may run while traffic does. State and log change in one step, so each piece
// of state is read together with the end of the log, the log is folded up to just
// there, and the two must be equal. What follows the log at a distance (postings,
// payments) is judged by the groups' positions: what was acknowledged before it
// was read must have been done, and what is there must be in the log that is
// folded afterwards.
//
// It only reads. An error means that it could not look at everything.
func Run(ctx context.Context, store access.Store, o Options) (Report, error) {
	ns := store.Inside()
	ns.Hashes = new(access.OrderHashes) // where orders are is what is stored, not what this process remembers
	a := &auditor{ns: ns, archive: o.Archive, full: o.Full, progress: o.Progress, invoices: make(map[string]map[domain.OrderRef]string), found: make(map[string]int)}
	for p := range a.ns.Keys.Partitions() {
		a.partitions = append(a.partitions, newPartitionAudit(a, p))
	}
	if err := a.run(ctx, o); err != nil {
		return Report{}, fmt.Errorf("audit: %w", err)
	}
	for _, invariant := range slices.Sorted(maps.Keys(a.found)) {
		if more := a.found[invariant] - maxViolations; more > 0 {
			a.violations = append(a.violations, Violation{Invariant: invariant, Subject: "audit", Detail: fmt.Sprintf("more violations that are not listed: %d", more)})
		}
	}
	report := Report{OK: len(a.violations) == 0, Payments: a.payments, Violations: a.violations}
	if report.Violations == nil {
		report.Violations = []Violation{}
	}
	for _, p := range a.partitions {
		for _, e := range p.book.Events {
			if e.Exists() {
				report.Checked.Events++
			}
		}
		report.Checked.Orders += len(p.book.Orders)
		report.Checked.Facts += p.facts
		report.Checked.Before += p.before
	}
	return report, nil
}

type auditor struct {
	ns         access.Namespace
	archive    domain.ArchivedPast // nil: there is the log alone
	full       bool
	progress   func(Progress)
	checked    int // partitions
	partitions []*partitionAudit
	invoices   map[string]map[domain.OrderRef]string // by customer: what their lines say
	violations []Violation
	found      map[string]int               // by invariant
	payments   *PaymentCounts               // nil: not checked
	paid       map[string][]domain.OrderRef // by event: the orders that the gateway's books name
}

func (a *auditor) violation(invariant, subject, format string, args ...any) {
	a.todo("", invariant, subject, format, args...)
}

// todo is violation where a person must do something.
func (a *auditor) todo(do, invariant, subject, format string, args ...any) {
	if a.found[invariant]++; a.found[invariant] > maxViolations {
		return
	}
	a.violations = append(a.violations, Violation{Invariant: invariant, Subject: subject, Detail: fmt.Sprintf(format, args...), Do: do})
}

func (a *auditor) run(ctx context.Context, o Options) error {
	// The order of these steps is what makes the judgement right under traffic.
	// 1: how far the groups are.
	for _, p := range a.partitions {
		if err := p.readGroups(ctx); err != nil {
			return err
		}
	}
	// 2: what is behind the log: names of keys, invoices, payments.
	if err := a.scan(ctx); err != nil {
		return err
	}
	var ledger []domain.BooksLine
	if o.Gateway != nil {
		var err error
		if ledger, err = o.Gateway(ctx); err != nil {
			return fmt.Errorf("reading the gateway's books: %w", err)
		}
		a.nameEvents(ledger)
	}
	// 3: the log, and state together with it.
	for _, p := range a.partitions {
		if err := p.begin(ctx); err != nil {
			return err
		}
		if !p.unknown {
			if err := p.checkState(ctx); err != nil {
				return err
			}
		}
		a.checked++
		a.tell()
	}
	if err := a.checkInvoices(ctx); err != nil {
		return err
	}
	if o.Gateway != nil {
		a.checkPayments(ledger, o)
	}
	return nil
}

// tellEvery is after how many facts of a partition it is told how far the audit is.
const tellEvery = 10_000

// tell says how far the audit is.
func (a *auditor) tell() {
	if a.progress == nil {
		return
	}
	is := Progress{Partitions: a.checked, Of: len(a.partitions)}
	for _, p := range a.partitions {
		is.Facts += p.facts
	}
	a.progress(is)
}

// of is the partition an order is in.
func (a *auditor) of(ref domain.OrderRef) *partitionAudit {
	return a.partitions[a.ns.Keys.PartitionOf(ref.EventID)]
}
