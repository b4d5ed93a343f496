package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	tea "charm.land/bubbletea/v2"

	"holdfast/domain"
	"holdfast/streams/inspect"
)

// topModel is the live view: what was seen last, which table and line are chosen, and what is looked into.
type topModel struct {
	ctx   context.Context //nolint:containedctx // of the program, whose commands have no other
	look  *topLooks
	every time.Duration

	width, height int
	seen          topSeen
	err           error // of the last look; the one before stays
	fatal         error // that ended it
	table         int
	line          []int // by table
	into          *topInto
}

// topInto is what is looked into: lines that do not change.
type topInto struct {
	title string
	lines []string
	first int // that is shown
}

// topLooked is a look that is done; topOpened something that is looked into.
type (
	topLooked struct {
		seen topSeen
		err  error
	}
	topOpened struct{ into topInto }
	topTick   struct{}
)

func newTopModel(ctx context.Context, look *topLooks, every time.Duration) topModel {
	return topModel{ctx: ctx, look: look, every: every, width: 100, height: 30, line: make([]int, len(topSeen{}.tables()))}
}

// Init implements tea.Model.
func (m topModel) Init() tea.Cmd { return m.lookAgain() }

func (m topModel) lookAgain() tea.Cmd {
	return func() tea.Msg {
		seen, err := m.look.next(m.ctx)
		return topLooked{seen, err}
	}
}

// Update implements tea.Model.
func (m topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case topLooked:
		if m.err = msg.err; msg.err == nil {
			m.seen = msg.seen
		} else if domain.ClassOf(msg.err) == domain.ClassFatal {
			m.fatal = msg.err
			return m, tea.Quit
		}
		for t, table := range m.seen.tables() {
			m.line[t] = min(m.line[t], max(0, len(table.rows)-1))
		}
		return m, tea.Tick(m.every, func(time.Time) tea.Msg { return topTick{} })
	case topTick:
		return m, m.lookAgain()
	case topOpened:
		m.into = &msg.into
	case tea.KeyPressMsg:
		return m.key(msg.String())
	}
	return m, nil
}

func (m topModel) key(key string) (tea.Model, tea.Cmd) {
	if key == "q" || key == "ctrl+c" {
		return m, tea.Quit
	}
	if m.into != nil {
		into := *m.into
		switch key {
		case "esc", "backspace", "left":
			m.into = nil
			return m, nil
		case "down", "j":
			into.first = min(into.first+1, max(0, len(into.lines)-1))
		case "up", "k":
			into.first = max(0, into.first-1)
		}
		m.into = &into
		return m, nil
	}
	tables := m.seen.tables()
	m.line = slices.Clone(m.line)
	switch key {
	case "tab", "right":
		m.table = (m.table + 1) % len(tables)
	case "shift+tab", "left":
		m.table = (m.table + len(tables) - 1) % len(tables)
	case "down", "j":
		m.line[m.table] = max(0, min(m.line[m.table]+1, len(tables[m.table].rows)-1))
	case "up", "k":
		m.line[m.table] = max(0, m.line[m.table]-1)
	case "enter":
		return m, m.open()
	}
	return m, nil
}

// open looks into the line that is chosen.
func (m topModel) open() tea.Cmd {
	at := m.line[m.table]
	if at >= len(m.seen.tables()[m.table].rows) {
		return nil
	}
	opened := func(title string, lines []string) tea.Cmd {
		return func() tea.Msg { return topOpened{topInto{title: title, lines: lines}} }
	}
	switch m.table {
	case 0:
		return opened(fmt.Sprintf("partition %d", m.seen.Partitions[at].Partition), m.partition(m.seen.Partitions[at].Partition))
	case 1:
		return m.event(m.seen.Events[at].EventID)
	case 2:
		w := m.seen.Workers[at]
		return opened("worker "+w.Name, []string{
			"roles       " + strings.Join(w.Roles, ", "), "version     " + w.Version, "since       " + when(w.SinceMillis), "last sign   " + when(w.SeenMillis),
			fmt.Sprintf("alive       %t", w.Alive), fmt.Sprintf("paused      %t", w.Paused), "in hand     " + count(w.InHand),
			"requests/s  " + rate(w.RequestsPerSecond), "facts/s     " + rate(w.FactsPerSecond),
		})
	default:
		d := m.seen.Letters[at]
		lines := []string{
			"of          " + d.Stream + ", group " + d.Group + ", entry " + d.EntryID, "set aside   " + when(d.AtMillis), "order       " + d.OrderID, "reason      " + d.Reason,
			"deliveries  " + count(d.Deliveries), "",
		}
		for _, name := range slices.Sorted(maps.Keys(d.Fields)) {
			lines = append(lines, name+": "+d.Fields[name])
		}
		return opened("dead letter "+d.ID, append(lines, "", "holdfast dead redrive "+d.ID, "holdfast dead discard "+d.ID))
	}
}

func (m topModel) partition(p int) (lines []string) {
	for _, g := range m.seen.groups {
		if g.Partition != p {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: %d wait, %d in hand, %d owed; %d alive of %d", g.Group, g.Lag, g.Pending, g.Owed, g.Alive(), len(g.Consumers)))
		alive := aliveConsumers(g)
		for _, e := range g.Entries {
			lines = append(lines, fmt.Sprintf("  %s  %s  with %s, idle %s, %s: %s", e.ID, e.OrderID, e.Consumer, duration(e.IdleMillis), plural(e.Deliveries, "delivery", "deliveries"), next(e, alive)))
		}
		for _, o := range g.Orders {
			lines = append(lines, fmt.Sprintf("  owed: %s, for %s, %s: %s", o.OrderID, duration(o.AgeMillis), plural(o.Attempts, "attempt", "attempts"), o.Reason))
		}
	}
	return lines
}

// event reads an event.
func (m topModel) event(id string) tea.Cmd {
	return func() tea.Msg {
		into := topInto{title: "event " + id}
		event, err := m.look.store.Events().Get(m.ctx, id)
		var totals inspect.Totals
		var refused []inspect.RefusedPlaces
		if err == nil {
			totals, err = m.look.in.Sales(m.ctx, id)
		}
		if err == nil {
			refused, err = m.look.in.RefusedDemand(m.ctx, id, event)
		}
		if err != nil {
			into.lines = []string{oneLine(err)}
			return topOpened{into}
		}
		v := viewEvent(id, event)
		into.lines = []string{v.Name, "sale     " + v.sale(m.seen.AtMillis), fmt.Sprintf("sold     %s, %s, %s", plural(totals.Orders, "order", "orders"), plural(totals.TicketsSold, "ticket", "tickets"), money(totals.Revenue, event.Currency)), ""}
		for _, s := range v.Sections {
			into.lines = append(into.lines, fmt.Sprintf("%s: %d available, %d held, %d sold of %d, at %s", s.Section, s.Available, s.Held, s.Sold, s.Capacity, money(s.Price, v.Currency)))
		}
		for _, r := range refused {
			into.lines = append(into.lines, fmt.Sprintf("refused: %s of %s, %s", plural(r.Places, "place", "places"), r.Section, r.Reason))
		}
		return topOpened{into}
	}
}

// View implements tea.Model.
func (m topModel) View() tea.View {
	lines := m.lines()
	for i, line := range lines {
		lines[i] = cut(printableLine(line), m.width)
	}
	if m.into == nil {
		at := m.chosenAt()
		if at >= 0 && at < len(lines) {
			lines[at] = "\x1b[7m" + lines[at] + "\x1b[m"
		}
	}
	v := tea.NewView(strings.Join(lines[:min(len(lines), m.height)], "\n"))
	v.AltScreen, v.WindowTitle = true, "holdfast top"
	return v
}

const (
	topKeys     = "tab: next table   up, down: line   enter: look into it   q: end"
	topIntoKeys = "up, down: scroll   esc: back   q: end"
)

// lines are all of the screen.
func (m topModel) lines() []string {
	head := m.seen.Verdict
	if m.err != nil {
		head = "CANNOT LOOK: " + oneLine(m.err)
	}
	if m.into != nil {
		return append([]string{head, "", m.into.title + "   (" + topIntoKeys + ")", ""}, m.into.lines[min(m.into.first, len(m.into.lines)):]...)
	}
	lines := append([]string{head}, m.seen.summary()...)
	lines = append(lines, topKeys)
	for t, table := range m.seen.tables() {
		lines = append(lines, "")
		shown := m.window(t)
		mark := "  "
		if t == m.table {
			mark = "> "
		}
		lines = append(lines, aligned(mark+table.name, table.columns, table.rows[shown[0]:shown[1]])...)
	}
	return lines
}

// window are the first line of a table that is shown, and the one behind the last: so many that the chosen one is among them and all tables have room.
func (m topModel) window(t int) [2]int {
	rows := len(m.seen.tables()[t].rows)
	room := m.rooms()[t]
	first := max(0, min(m.line[t]-room/2, rows-room))
	return [2]int{first, min(rows, first+room)}
}

// rooms are how many lines of each table are shown: three, if there are so many, and what one does not need the others have.
func (m topModel) rooms() []int {
	tables := m.seen.tables()
	rooms := make([]int, len(tables))
	for left, more := m.height-4-2*len(tables), true; more; {
		more = false
		for t, table := range tables {
			if rooms[t] < len(table.rows) && (left > 0 || rooms[t] < 3) {
				rooms[t], left, more = rooms[t]+1, left-1, true
			}
		}
	}
	return rooms
}

// chosenAt is where on the screen the line is that is chosen, -1 if there is none.
func (m topModel) chosenAt() int {
	at := 4
	for t, table := range m.seen.tables() {
		shown := m.window(t)
		if t == m.table {
			if len(table.rows) == 0 {
				return -1
			}
			return at + 2 + m.line[t] - shown[0]
		}
		at += 2 + shown[1] - shown[0]
	}
	return -1
}

// aligned is a table, with its name as the first cell of its header.
func aligned(name string, columns []string, rows [][]string) []string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 8, 8, 2, ' ', 0)
	header := slices.Clone(columns)
	header[0] = name
	_, _ = fmt.Fprintln(w, strings.Join(header, "\t")) // to memory
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		_, _ = fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
	}
	_ = w.Flush()
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// cut is a line of at most so many characters.
func cut(line string, width int) string {
	runes := []rune(line)
	if len(runes) <= width {
		return line
	}
	return string(runes[:max(0, width-1)]) + "…"
}
