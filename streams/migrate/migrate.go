package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/streams/audit"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/bulk"
	"holdfast/streams/internal/layout"
	"holdfast/streams/migrate/internal/schema1"
)

// Step is what a migration is doing.
type Step string

// The steps, in their order.
const (
	StepCheck  Step = "log entries checked"
	StepWrite  Step = "log entries written"
	StepAudit  Step = "audit of what was written"
	StepDelete Step = "old keys deleted"
)

// Options of Run.
type Options struct {
	// Progress, if not nil, is told now and then how much is done of a step; of is 0 if it is not known.
	Progress func(step Step, done, of int)
}

// Result is what a migration found and did. One that only had old keys left to delete says no more than how many.
type Result struct {
	Already    bool `json:"already"` // it was of the new schema, and nothing was left to do
	Events     int  `json:"events"`
	Orders     int  `json:"orders"`
	Facts      int  `json:"facts"`
	Entries    int  `json:"entries"`         // of the log, that the facts are in now
	Deadlines  int  `json:"deadlines_moved"` // orders whose deadline was moved, see the package
	Letters    int  `json:"dead_letters"`
	Unposted   int  `json:"entries_unposted"`  // entries of the log that posting still has before it
	Unsettled  int  `json:"entries_unsettled"` // likewise settlement
	Pending    int  `json:"requests_pending"`  // requests that were in hand, and will be reclaimed
	Lost       int  `json:"requests_lost"`     // requests that were in hand and are not in the stream any more
	Deleted    int  `json:"keys_deleted"`
	MillisDown int  `json:"millis_down"` // for how long nobody could have worked; 0: only old keys were left to delete
}

// Refused says why a namespace cannot be migrated. Nothing was changed, unless Run says otherwise.
type Refused struct {
	Violations []audit.Violation
}

// Error tells the first of them.
func (r *Refused) Error() string {
	v := r.Violations[0]
	text := fmt.Sprintf("%s %s: %s", v.Invariant, v.Subject, v.Detail)
	if more := len(r.Violations) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// Run migrates a namespace of a store that was opened with streams.Options.Migrate.
//
// It refuses, and changes nothing, while a worker counts as alive, if there is no memory for both, or if what is stored is
// not what the log says. Then it takes the namespace out of service, writes and audits, puts it into service again, and
// deletes what is old. There is no way back from where it begins to write but a copy that was made before.
//
// A crash, or an error, at any point: run it again. Errors: ClassReject of domain.CodeMigrationRefused, with a *Refused
// where what is stored is wrong; domain.CodeConflict if another run has taken over; ClassRetry if Redis does not answer,
// or has no memory left.
func Run(ctx context.Context, store access.Store, o Options) (Result, error) {
	ns := store.Inside()
	m := &migration{ns: ns, old: schema1.NewKeys(ns.Keys.Namespace, ns.Keys.Partitions()), options: o}
	if err := m.run(ctx); err != nil {
		return m.result, fmt.Errorf("migrating namespace %s: %w", ns.Keys.Namespace, err)
	}
	return m.result, nil
}

type migration struct {
	ns         access.Namespace
	old        schema1.Keys
	options    Options
	number     int // of this run
	partitions []*partition
	result     Result
	entries    int // of all logs
	checked    int // of them so far
	written    int
}

func refused(format string, args ...any) error {
	return domain.WithCode(domain.ClassReject, domain.CodeMigrationRefused, fmt.Errorf(format, args...))
}

func (m *migration) progress(step Step, done, of int) {
	if m.options.Progress != nil {
		m.options.Progress(step, done, of)
	}
}

func (m *migration) run(ctx context.Context) error {
	meta, err := m.ns.Client.HMGet(ctx, m.meta(), "schema", "migrated_from").Result()
	if err != nil {
		return fmt.Errorf("reading %s: %w", m.meta(), access.Classify(err))
	}
	switch schema := layout.AsString(meta[0]); {
	case schema == layout.Schema && meta[1] == nil:
		m.result.Already = true
		return nil
	case schema == layout.Schema:
		return m.clean(ctx)
	}
	if err := m.look(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := m.begin(ctx); err != nil {
		return err
	}
	for _, p := range m.partitions {
		if err := m.build(ctx, p); err != nil {
			return err
		}
	}
	m.partitions = nil // the audit folds the new log itself: there need not be room for both
	if err := m.audit(ctx); err != nil {
		return err
	}
	if err := m.end(ctx); err != nil {
		return err
	}
	m.result.MillisDown = int(max(time.Since(began).Milliseconds(), 1))
	return m.clean(ctx)
}

func (m *migration) meta() string { return layout.MetaKey(m.ns.Keys.Namespace) }

// look reads everything and writes nothing: may it be migrated at all?
func (m *migration) look(ctx context.Context) error {
	if err := m.nobodyAlive(ctx); err != nil {
		return err
	}
	if err := m.enoughMemory(ctx); err != nil {
		return err
	}
	for p := range m.ns.Keys.Partitions() {
		found := newPartition(p)
		m.partitions = append(m.partitions, found)
		if err := m.find(ctx, found); err != nil {
			return err
		}
		m.entries += found.entries
	}
	var wrong []audit.Violation
	for _, p := range m.partitions {
		if err := m.fold(ctx, p); err != nil {
			return err
		}
		wrong = append(wrong, p.violations...)
	}
	if len(wrong) == 0 {
		more, err := m.compare(ctx)
		if err != nil {
			return err
		}
		wrong = more
	}
	if len(wrong) > 0 {
		return refused("what is stored is not what the log says: %w", &Refused{wrong})
	}
	return nil
}

// fenceTries bounds how often a partition is looked at again that somebody has changed meanwhile. Nobody does for
// more than a second: workers look every second whether the namespace is still of their schema.
const fenceTries = 10

// begin takes the namespace out of service. Until then workers of schema 1 may have gone on: what they did is folded, too.
func (m *migration) begin(ctx context.Context) error {
	number, err := scriptBegin.Run(ctx, m.ns.Client, []string{m.meta()}, layout.SchemaBefore, layout.SchemaBetween).Int()
	if err != nil {
		return fmt.Errorf("script begin: %w", access.Classify(err))
	}
	if m.number = number; number == 0 {
		return bulk.ErrTakenOver
	}
	for _, p := range m.partitions {
		if err := m.fence(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// notice stands where workers of schema 1 look.
const notice = "not here any more: holdfast migrate has taken this namespace to schema " + layout.Schema

// fenced is what fence.lua puts in place of the log.
func (m *migration) fenced() string { return fmt.Sprintf("%s; run %d", notice, m.number) }

func (m *migration) fence(ctx context.Context, p *partition) error {
	keys := []string{m.old.Log(p.p), m.old.Dead(p.p), m.old.Consumers(p.p), m.old.MovedLog(p.p), m.old.MovedDead(p.p)}
	for range fenceTries {
		is, err := scriptFence.Run(ctx, m.ns.Client, keys, p.end, notice, m.number).Text()
		if err != nil {
			return fmt.Errorf("script fence: %w", access.Classify(err))
		}
		switch is {
		case "fenced":
			p.log = m.old.MovedLog(p.p)
			return nil
		case "taken":
			return bulk.ErrTakenOver
		}
		*p = *newPartition(p.p)
		if err := m.find(ctx, p); err != nil {
			return err
		}
		if err := m.fold(ctx, p); err != nil {
			return err
		}
		if len(p.violations) > 0 {
			return refused("the log of partition %d has been changed since it was looked at: %w", p.p, &Refused{p.violations})
		}
	}
	return domain.WithCode(domain.ClassRetry, domain.CodeConflict, fmt.Errorf("partition %d: somebody goes on changing it: stop all workers and run this again", p.p))
}

// inside is the namespace as package audit takes it.
type inside struct{ ns access.Namespace }

// Inside implements access.Store.
func (i inside) Inside() access.Namespace { return i.ns }

func (m *migration) audit(ctx context.Context) error {
	m.progress(StepAudit, 0, 0)
	m.ns.Hashes.Forget()
	report, err := audit.Run(ctx, inside{m.ns}, audit.Options{})
	if err != nil {
		return err
	}
	if !report.OK {
		return refused("what was written is not what its log says; the old keys are all there, and the namespace is out of service: %w", &Refused{report.Violations})
	}
	m.result.Events, m.result.Orders = report.Checked.Events, report.Checked.Orders
	return nil
}

// pendingIdle is for how long what was pending seems to be idle: any worker reclaims it at once.
const pendingIdle = 24 * time.Hour

// consumer is that of what is pending until a worker reclaims it.
const consumer = "migrate"

// end puts the namespace into service again.
func (m *migration) end(ctx context.Context) error {
	for p := range m.ns.Keys.Partitions() {
		keys := []string{m.old.Log(p), m.ns.Keys.Requests(p), m.old.Delivered(p), m.ns.Keys.Delivered(p)}
		moved, err := scriptRequests.Run(ctx, m.ns.Client, keys, m.fenced(), schema1.GroupWorkers, string(domain.GroupWorkers), consumer, pendingIdle.Milliseconds()).Int64Slice()
		if err != nil {
			return fmt.Errorf("script requests: %w", access.Classify(err))
		}
		if len(moved) == 0 {
			return bulk.ErrTakenOver
		}
		m.result.Lost += int(moved[0])
		pending, err := m.ns.Client.XPending(ctx, m.ns.Keys.Requests(p), string(domain.GroupWorkers)).Result()
		if err != nil && !access.NoGroup(err) {
			return fmt.Errorf("counting pending requests: %w", access.Classify(err))
		}
		if err == nil {
			m.result.Pending += int(pending.Count)
		}
	}
	is, err := scriptFinish.Run(ctx, m.ns.Client, []string{m.meta()}, layout.SchemaBetween, layout.Schema, m.number, layout.SchemaBefore).Int()
	if err != nil {
		return fmt.Errorf("script finish: %w", access.ClassifyChange(err))
	}
	if is == 0 {
		return bulk.ErrTakenOver
	}
	return nil
}

// nobodyAlive refuses while a worker of schema 1 counts as alive.
func (m *migration) nobodyAlive(ctx context.Context) error {
	now, err := m.ns.Client.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	latest := make(map[string]int64) // by name of the worker
	for p := range m.ns.Keys.Partitions() {
		key := m.old.Consumers(p)
		kind, err := m.ns.Client.Type(ctx, key).Result()
		if err != nil {
			return fmt.Errorf("looking for %s: %w", key, access.Classify(err))
		}
		if kind != "zset" {
			continue // none, or fenced by an earlier run
		}
		alive, err := access.ScoresByName(m.ns.Client.ZRangeWithScores(ctx, key, 0, -1))
		if err != nil {
			return err
		}
		for name, until := range alive {
			if _, worker, _ := strings.Cut(name, "/"); until > now.UnixMilli() {
				latest[worker] = max(latest[worker], until)
			}
		}
	}
	if len(latest) == 0 {
		return nil
	}
	var said []string
	for worker, until := range latest {
		said = append(said, fmt.Sprintf("%s (for another %s)", worker, (time.Duration(until-now.UnixMilli())*time.Millisecond).Round(time.Second/10)))
	}
	slices.Sort(said)
	return refused("workers count as alive: %s: stop them; one that was killed counts as dead once its time is over", strings.Join(said, ", "))
}
