package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	tea "charm.land/bubbletea/v2"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type topCommand struct {
	Every time.Duration `default:"1s" placeholder:"DURATION" help:"How often it looks, and over how long rates are. Default: 1s."`
	Once  bool          `help:"Look once, for --every, and print it; also where there is no terminal."`
}

// Help is shown by --help.
func (c *topCommand) Help() string {
	return `
A live view: orders a second by outcome, how long they take from hold to confirmation, what waits, the events with most orders, workers. Keys:

  tab          the next table      up, down   a line of it
  enter        look into an event, a partition, a worker, a dead letter
  esc          back                q          end

It only reads, and looks at each partition once a second. Rates are read from the log, of 1,000 entries of a partition at a time; if there are
more, it says "at least".
`
}

func (c *topCommand) Run(ctx context.Context, e *environment) error {
	if c.Every < leastEvery {
		return badUsage("--every: want %s or more", leastEvery)
	}
	if !c.Once && (e.json || !isTerminal(e.stdout) || !isTerminal(e.stdin)) {
		return badUsage("top needs a terminal, and no -o json: use holdfast top --once")
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		look := newTopLooks(store)
		if _, err := look.next(ctx); err != nil {
			return err
		}
		if c.Once {
			if !pauseFor(ctx, c.Every) {
				return ctx.Err()
			}
			seen, err := look.next(ctx)
			if err != nil {
				return err
			}
			return e.writeTop(seen)
		}
		m := newTopModel(ctx, look, c.Every)
		last, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(e.stdin), tea.WithOutput(e.stdout)).Run()
		if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the terminal: %w", err)
		}
		if ended, ok := last.(topModel); ok {
			return ended.fatal
		}
		return nil
	})
}

func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// topSeen is one look. Rates are those since the look before.
type topSeen struct {
	AtMillis int64              `json:"at"`
	Verdict  string             `json:"verdict"` // as pending has it
	AtLeast  bool               `json:"at_least"`
	Outcomes map[string]float64 `json:"outcomes"` // orders a second, by the fact
	Sold     topLatency         `json:"hold_to_confirmation"`

	Partitions []topPartition       `json:"partitions"`
	Events     []topEvent           `json:"events"` // those with most orders since then
	Workers    []inspect.Worker     `json:"workers"`
	Dead       int64                `json:"dead_letters"`
	Letters    []inspect.DeadLetter `json:"-"` // the oldest
	groups     []inspect.GroupStatus
}

// topLatency are percentiles of orders whose hold and confirmation were both seen; of none they are 0.
type topLatency struct {
	Orders    int   `json:"orders"`
	P50Millis int64 `json:"p50_ms"`
	P90Millis int64 `json:"p90_ms"`
	P99Millis int64 `json:"p99_ms"`
}

type topPartition struct {
	Partition           int   `json:"partition"`
	Backlog             int64 `json:"backlog"`
	Waiting             int64 `json:"waiting"` // requests
	InHand              int64 `json:"in_hand"` // requests
	Owed                int64 `json:"owed"`
	OldestWaitingMillis int64 `json:"oldest_waiting_ms"`
	OldestInHandMillis  int64 `json:"oldest_in_hand_ms"`
	OverdueHolds        int64 `json:"overdue_holds"`
	DeadLetters         int64 `json:"dead_letters"`
}

type topEvent struct {
	EventID   string  `json:"event_id"`
	PerSecond float64 `json:"facts_per_second"`
	Held      float64 `json:"held_per_second"`
	Confirmed float64 `json:"confirmed_per_second"`
	Rejected  float64 `json:"rejected_per_second"`
}

// topLooks looks again and again.
type topLooks struct {
	store  *streams.Store
	in     *inspect.Inspector
	tail   *inspect.Tail
	limits limits
	before time.Time
	held   map[domain.OrderRef]int64 // since when, of orders whose hold was seen
	took   []int64                   // from hold to confirmation, of the newest orders
}

const (
	topMostHeld    = 200_000
	topLatencies   = 2_000 // the newest orders of which percentiles are
	topMostEvents  = 50
	topMostLetters = 20
)

func newTopLooks(store *streams.Store) *topLooks {
	in := inspect.New(store)
	return &topLooks{store: store, in: in, tail: in.Tail(), held: make(map[domain.OrderRef]int64)}
}

func (l *topLooks) next(ctx context.Context) (topSeen, error) {
	var err error
	if l.limits, err = defaultLimits(); err != nil {
		return topSeen{}, err
	}
	facts, passedOver, err := l.tail.Next(ctx)
	if err != nil {
		return topSeen{}, err
	}
	now := time.Now()
	seen := topSeen{AtLeast: passedOver, Outcomes: make(map[string]float64), Partitions: []topPartition{}, Events: []topEvent{}}
	if !l.before.IsZero() {
		l.rates(&seen, facts, now.Sub(l.before).Seconds())
	}
	l.before = now
	status, err := l.in.Status(ctx, inspect.Look{Entries: topMostLetters})
	if err != nil {
		return topSeen{}, err
	}
	seen.AtMillis, seen.groups = status.AtMillis, status.Groups
	seen.Verdict = headline(judge(status, measure(status), l.limits))
	for _, u := range status.Upkeep {
		seen.Partitions = append(seen.Partitions, topPartition{Partition: u.Partition, OverdueHolds: u.OverdueHolds, DeadLetters: u.DeadLetters})
		seen.Dead += u.DeadLetters
	}
	for _, g := range status.Groups {
		p := &seen.Partitions[g.Partition]
		p.Backlog, p.Owed = p.Backlog+g.Backlog, p.Owed+g.Owed
		p.OldestWaitingMillis = max(p.OldestWaitingMillis, g.OldestWaitingMillis)
		p.OldestInHandMillis = max(p.OldestInHandMillis, g.OldestInHandMillis)
		if domain.Group(g.Group) == domain.GroupWorkers {
			p.Waiting, p.InHand = g.Lag, g.Pending
		}
	}
	if seen.Workers, err = l.in.Workers(ctx); err != nil && domain.ClassOf(err) != domain.ClassFatal {
		return topSeen{}, err
	}
	if seen.Dead > 0 {
		err := l.in.EachDeadLetter(ctx, func(letter inspect.DeadLetter) error {
			if seen.Letters = append(seen.Letters, letter); len(seen.Letters) == topMostLetters {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) && domain.ClassOf(err) != domain.ClassFatal {
			return topSeen{}, err
		}
	}
	return seen, nil
}

// rates are those of facts that have come in so many seconds.
func (l *topLooks) rates(seen *topSeen, facts []domain.Fact, seconds float64) {
	events := make(map[string]*topEvent)
	for _, f := range facts {
		seen.Outcomes[string(f.Type)] += 1 / seconds
		e := events[f.EventID]
		if e == nil {
			e = &topEvent{EventID: f.EventID}
			events[f.EventID] = e
		}
		e.PerSecond += 1 / seconds
		switch f.Type { //nolint:exhaustive // the others have no column
		case domain.FactHeld:
			e.Held += 1 / seconds
			if len(l.held) >= topMostHeld {
				clear(l.held)
			}
			l.held[f.Ref()] = f.AtMillis
		case domain.FactConfirmed:
			e.Confirmed += 1 / seconds
			if since, known := l.held[f.Ref()]; known {
				l.took = append(l.took, f.AtMillis-since)
			}
			delete(l.held, f.Ref())
		case domain.FactRejected:
			e.Rejected += 1 / seconds
		case domain.FactExpired, domain.FactDeclined, domain.FactCancelled:
			delete(l.held, f.Ref())
		}
	}
	for _, e := range events {
		seen.Events = append(seen.Events, *e)
	}
	slices.SortFunc(seen.Events, func(a, b topEvent) int {
		return cmp.Or(cmp.Compare(b.PerSecond, a.PerSecond), cmp.Compare(a.EventID, b.EventID))
	})
	seen.Events = seen.Events[:min(len(seen.Events), topMostEvents)]
	if more := len(l.took) - topLatencies; more > 0 {
		l.took = l.took[more:]
	}
	sorted := slices.Sorted(slices.Values(l.took))
	at := func(share float64) int64 {
		if len(sorted) == 0 {
			return 0
		}
		return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
	}
	seen.Sold = topLatency{len(sorted), at(0.5), at(0.9), at(0.99)}
}

// writeTop prints one look.
func (e *environment) writeTop(seen topSeen) error {
	out := e.printer()
	if e.json {
		out.row(seen)
		return out.flush()
	}
	out.note(seen.Verdict)
	for _, line := range seen.summary() {
		out.note(line)
	}
	for _, t := range seen.tables() {
		out.section(t.columns...)
		for _, row := range t.rows {
			out.row(nil, row...)
		}
	}
	return out.flush()
}

// summary are the lines above the tables.
func (s topSeen) summary() []string {
	about := ""
	if s.AtLeast {
		about = "at least "
	}
	text := "orders/s: " + about
	if len(s.Outcomes) == 0 {
		text += "none"
	}
	for i, name := range slices.Sorted(maps.Keys(s.Outcomes)) {
		if i > 0 {
			text += ", "
		}
		text += name + " " + rate(s.Outcomes[name])
	}
	latency := "hold to confirmation: not known yet"
	if s.Sold.Orders > 0 {
		latency = fmt.Sprintf("hold to confirmation: half within %d ms, 90 %% %d ms, 99 %% %d ms, of %s", s.Sold.P50Millis, s.Sold.P90Millis, s.Sold.P99Millis, plural(int64(s.Sold.Orders), "order", "orders"))
	}
	return []string{text, latency}
}

// topTable is one of the tables.
type topTable struct {
	name    string
	columns []string
	rows    [][]string
}

func (s topSeen) tables() []topTable {
	partitions := topTable{"partitions", []string{"partition", "backlog", "waiting", "in_hand", "owed", "oldest_waiting", "oldest_in_hand", "overdue", "dead"}, nil}
	for _, p := range s.Partitions {
		partitions.rows = append(partitions.rows, []string{
			strconv.Itoa(p.Partition), count(p.Backlog), count(p.Waiting), count(p.InHand), count(p.Owed), age(p.OldestWaitingMillis), age(p.OldestInHandMillis),
			count(p.OverdueHolds), count(p.DeadLetters),
		})
	}
	events := topTable{"events", []string{"event", "facts/s", "held/s", "confirmed/s", "rejected/s"}, nil}
	for _, e := range s.Events {
		events.rows = append(events.rows, []string{e.EventID, rate(e.PerSecond), rate(e.Held), rate(e.Confirmed), rate(e.Rejected)})
	}
	workers := topTable{"workers", []string{"worker", "roles", "alive", "paused", "in_hand", "requests/s", "facts/s"}, nil}
	for _, w := range s.Workers {
		workers.rows = append(workers.rows, []string{
			w.Name, fmt.Sprint(len(w.Roles)), strconv.FormatBool(w.Alive), strconv.FormatBool(w.Paused), count(w.InHand), rate(w.RequestsPerSecond), rate(w.FactsPerSecond),
		})
	}
	letters := topTable{"dead letters", []string{"dead_letter", "order", "reason"}, nil}
	for _, d := range s.Letters {
		letters.rows = append(letters.rows, []string{d.ID, d.OrderID, d.Reason})
	}
	return []topTable{partitions, events, workers, letters}
}
