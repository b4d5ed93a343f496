package main

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"holdfast/domain"
	"holdfast/streams/inspect"
)

// pressed is the model after keys.
func pressed(t *testing.T, m tea.Model, keys ...tea.KeyPressMsg) (topModel, tea.Cmd) {
	t.Helper()
	var cmd tea.Cmd
	for _, k := range keys {
		m, cmd = m.Update(k)
	}
	return m.(topModel), cmd
}

var (
	keyTab, keyEnter   = tea.KeyPressMsg{Code: tea.KeyTab}, tea.KeyPressMsg{Code: tea.KeyEnter}
	keyUp, keyDown     = tea.KeyPressMsg{Code: tea.KeyUp}, tea.KeyPressMsg{Code: tea.KeyDown}
	keyEscape, keyQuit = tea.KeyPressMsg{Code: tea.KeyEscape}, tea.KeyPressMsg{Code: 'q', Text: "q"}
)

func topScreen(m topModel) []string { return strings.Split(m.View().Content, "\n") }

// What is chosen is marked and can be looked into, on a screen of any size; a look that fails is told, and the one before stays.
func TestTopModel(t *testing.T) {
	m := newTopModel(context.Background(), nil, time.Second)
	seen := topSeen{
		Verdict: "well", Outcomes: map[string]float64{"confirmed": 12.5, "held": 13}, Sold: topLatency{Orders: 3, P50Millis: 4, P90Millis: 5, P99Millis: 6},
		Events: []topEvent{{EventID: "opera", PerSecond: 9}}, Workers: []inspect.Worker{{Name: "w1", Alive: true}},
		Letters: []inspect.DeadLetter{{ID: "0:1-0", OrderID: "e/o", Reason: "too\x1blate", Fields: map[string]string{"payment_token": "[REDACTED]"}}},
		groups:  []inspect.GroupStatus{{Partition: 5, Group: "purchase", Entries: []inspect.PendingEntry{{ID: "7-0", OrderID: "e/late", Consumer: "gone"}}}},
	}
	for p := range 20 {
		seen.Partitions = append(seen.Partitions, topPartition{Partition: p, Backlog: int64(1000 + p)})
	}
	next, cmd := m.Update(topLooked{seen: seen})
	if m = next.(topModel); cmd == nil {
		t.Error("it does not look again")
	}
	next, _ = m.Update(tea.WindowSizeMsg{Width: 60, Height: 40})
	m = next.(topModel)
	said := m.View().Content
	for _, want := range []string{"well\n", "orders/s: confirmed 12.5, held 13.0", "half within 4 ms", "> partitions", "\x1b[7m  0 ", "opera", "w1", "\"too\\x1blate\""} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	for _, line := range topScreen(m) {
		if plain := strings.NewReplacer("\x1b[7m", "", "\x1b[m", "").Replace(line); len([]rune(plain)) > 60 || strings.Contains(plain, "\x1b") {
			t.Errorf("a line is too long, or moves the cursor: %q", line)
		}
	}
	if !strings.Contains(said, "\n  19 ") {
		t.Errorf("there is room for all partitions, and the last is not shown:\n%s", said)
	}
	next, _ = m.Update(tea.WindowSizeMsg{Width: 60, Height: 22})
	m = next.(topModel)
	if said := m.View().Content; strings.Contains(said, "\n  19 ") || !strings.Contains(said, "0:1-0") {
		t.Errorf("there is no room for all partitions, or none for the rest:\n%s", said)
	}
	// Down to a partition that was not on the screen; further than the last is the last.
	for range 30 {
		m, _ = pressed(t, m, keyDown)
	}
	if !strings.Contains(m.View().Content, "\x1b[7m  19 ") {
		t.Errorf("the last partition is not chosen:\n%s", m.View().Content)
	}
	for range 14 {
		m, _ = pressed(t, m, keyUp)
	}
	m, cmd = pressed(t, m, keyEnter)
	next, _ = m.Update(cmd())
	m = next.(topModel)
	if said := m.View().Content; !strings.Contains(said, "partition 5") || !strings.Contains(said, "7-0  e/late  with gone") || !strings.Contains(said, "0 deliveries: nothing") {
		t.Errorf("looked into a partition:\n%s", said)
	}
	m, _ = pressed(t, m, keyEscape, keyTab, keyTab, keyTab)
	m, cmd = pressed(t, m, keyEnter)
	next, _ = m.Update(cmd())
	m = next.(topModel)
	if said := m.View().Content; !strings.Contains(said, "dead letter 0:1-0") || !strings.Contains(said, "holdfast dead redrive 0:1-0") {
		t.Errorf("looked into a dead letter:\n%s", said)
	}
	m, _ = pressed(t, m, keyEscape)
	next, _ = m.Update(topLooked{err: errors.New("redis is away")})
	m = next.(topModel)
	if said := m.View().Content; !strings.Contains(said, "CANNOT LOOK: redis is away") || !strings.Contains(said, "opera") || m.fatal != nil {
		t.Errorf("when it cannot look:\n%s", said)
	}
	// Nothing is there to be looked into, on a screen that is too small for all.
	next, _ = m.Update(topLooked{seen: topSeen{Verdict: "well"}})
	next, _ = next.(topModel).Update(tea.WindowSizeMsg{Width: 10, Height: 3})
	m = next.(topModel)
	if _, cmd := pressed(t, m, keyEnter); cmd != nil || len(topScreen(m)) != 3 {
		t.Errorf("of nothing:\n%s", m.View().Content)
	}
	next, cmd = m.Update(topLooked{err: domain.WithClass(domain.ClassFatal, errors.New("no such user"))})
	if next.(topModel).fatal == nil || cmd == nil {
		t.Error("it goes on where only a person can help")
	}
	if _, cmd := pressed(t, m, keyQuit); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not end it")
	}
}

// One look tells what has happened since the one before, and what there is; without a terminal there is no other.
func TestTopOnce(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.fails(exitUsage, []string{"needs a terminal", "--once"}, "top")
	h.fails(exitUsage, []string{"--every"}, "top", "--once", "--every", "1ms")
	h.worker("--name", "w1")
	store := h.store()
	looks := newTopLooks(store)
	if _, err := looks.next(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{"o1", "o2"} {
		h.ok("publish", "--event", "e1", "--customer", order, "--order", order, "--token", "tok", "--wait")
	}
	h.ok("publish", "--event", "e1", "--customer", "o3", "--order", "o3", "--quantity", "1000", "--token", "tok", "--wait")
	h.ok("publish", "--event", "e1", "--customer", "o1", "--order", "o1", "--quantity", "2", "--token", "tok_secret")
	eventually(t, "one is set aside", func() bool { return strings.Contains(h.run("dead", "list").stdout, "conflict") })
	seen, err := looks.next(t.Context())
	if err != nil || len(seen.Events) != 1 || seen.Events[0].EventID != "e1" || seen.Outcomes["confirmed"] == 0 || seen.Outcomes["confirmed"] != 2*seen.Outcomes["rejected"] ||
		seen.Sold.Orders != 2 || seen.AtLeast || len(seen.Partitions) != 4 || len(seen.Letters) != 1 || len(seen.Workers) != 1 {
		t.Errorf("seen is %+v, %v", seen, err)
	}
	if said := seen.Letters[0].Fields["payment_token"]; strings.Contains(said, "secret") {
		t.Errorf("it shows the payment token: %s", said)
	}
	into := topModel{ctx: t.Context(), look: looks, seen: seen}.event("e1")().(topOpened).into
	if text := strings.Join(into.lines, "\n"); !strings.Contains(text, "2 orders, 2 tickets, 20.00 EUR") || !strings.Contains(text, "refused: 1000 places of general") {
		t.Errorf("looked into an event: %s", text)
	}
	wantSaid(t, h.ok("top", "--once", "--every", "100ms"), "orders/s: none", "PARTITION", "BACKLOG", "WORKER", "w1", "DEAD_LETTER", "conflict")
	expect(t, h.one("top", "--once", "--every", "100ms"), object{"dead_letters": 1, "at_least": false})
}

// In a real terminal it takes the whole screen, and gives it back when it ends.
func TestTopInTerminal(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("there is no tmux: make tmux")
	}
	h := start(t)
	h.event("e1")
	binary := t.TempDir() + "/holdfast"
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	socket := t.TempDir() + "/tmux"
	tmux := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("tmux", append([]string{"-S", socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	tmux("new-session", "-d", "-x", "110", "-y", "36", "sh")
	defer tmux("kill-server")
	shows := func(text string) func() bool {
		return func() bool { return strings.Contains(tmux("capture-pane", "-p"), text) }
	}
	tmux("send-keys", "echo before; "+binary+" top --redis "+h.url()+"; echo it ended with $?", "Enter")
	last := regexp.MustCompile(`(?m)^ +3 +0 `)
	eventually(t, "it shows what there is", func() bool {
		screen := tmux("capture-pane", "-p")
		return strings.Contains(screen, "> partitions") && last.MatchString(screen)
	})
	tmux("send-keys", "j") // and not an arrow: of that a busy terminal may bring the first byte alone
	tmux("send-keys", "Enter")
	eventually(t, "it looks into a partition", shows("partition 1   ("))
	tmux("send-keys", "Escape")
	eventually(t, "it is back", shows("> partitions"))
	tmux("send-keys", "q")
	eventually(t, "the terminal is as it was", shows("it ended with 0"))
	if screen := tmux("capture-pane", "-p"); !strings.Contains(screen, "before") || strings.Contains(screen, "partitions") {
		t.Errorf("the screen is\n%s", screen)
	}
}
