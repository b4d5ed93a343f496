package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/e2e/program"
	"holdfast/streams/inspect"
)

func TestWrongUsageInOurWords(t *testing.T) {
	for _, c := range []struct {
		want string
		args []string
	}{
		{"holdfast: --limit: want a value; one that begins with - is written --limit=VALUE (see holdfast orders list --help)\n", []string{"orders", "list", "--limit", "-1"}},
		{"--limit: want a number, or 0 for no limit, but got \"-1\"", []string{"orders", "list", "--limit=-1"}},
		{"--gateway must be one of \"simulator\", \"remote\", \"stripe\", \"stripe-test\" but got \"foo\" (see", []string{"namespace", "set", "--gateway", "foo"}},
		{"--refuse must be one of \"authorize\", \"lookup\", ", []string{"gateway", "--refuse", "foo"}},
		{"minimum: currency \"euro\": want an ISO 4217 code", []string{"gateway", "--minimum", "EUR=0.50,euro=1"}},
		{"minimum: amount \"\": want digits", []string{"gateway", "--minimum", "EUR"}},
		{"minimum: amount \"0.505\": EUR has 2 digits after the point", []string{"gateway", "--minimum", "EUR=0.505"}},
		{"--since: want a duration before now, such as 90m, or a time such as " + likeThese + ", but got \"5x\" (see", []string{"orders", "list", "--since", "5x"}},
		{
			"--on-sale: want a time such as " + likeThese + ", or none, but got \"5x\" (see",
			[]string{"events", "create", "e", "--name", "E", "--currency", "EUR", "--section", "general=1@1", "--on-sale", "5x"},
		},
		{"--ignore: no problem has the code \"foo\"", []string{"check", "--ignore", "no_aof,foo"}},
		{"--namespace: the demo makes", []string{"demo", "--namespace", "s2"}},
		{"--quantity does not go with --type cancel", []string{"publish", "--type", "cancel", "--event", "e", "--order", "f1", "--quantity", "3"}},
		{"--quantity does not go with --type pay", []string{"publish", "--type", "pay", "--event", "e", "--order", "f1", "--quantity", "1"}},
		{"--customer does not go with --type pay", []string{"publish", "--type", "pay", "--event", "e", "--order", "f1", "--customer", "c"}},
		{"--valid-seconds does not go with --type cancel", []string{"publish", "--type", "cancel", "--event", "e", "--order", "f1", "--valid-seconds", "3"}},
		{"--token does not go with --type hold", []string{"publish", "--type", "hold", "--event", "e", "--customer", "c", "--token", "tok_secret"}},
	} {
		r := execute(nil, c.args...)
		code := exitUsage
		if c.args[0] == "check" {
			code = int(levelUnknown)
		}
		if r.code != code || !strings.Contains(r.stderr, c.want) || strings.Count(r.stderr, "\n") != 1 || r.stdout != "" || strings.Contains(r.stderr, "secret") {
			t.Errorf("%v: exit %d: %q %q, want %q", c.args, r.code, r.stdout, r.stderr, c.want)
		}
	}
}

// The environment has the token and the namespace for all commands.
func TestEnvironmentIsForAllCommands(t *testing.T) {
	h := start(t)
	h.event("e1")
	t.Setenv("HOLDFAST_TOKEN", "tok_1")
	h.ok("publish", "--type", "hold", "--event", "e1", "--customer", "c", "--order", "o1")
	h.ok("publish", "--type", "pay", "--event", "e1", "--order", "o1", "--valid-seconds", "60")
}

func TestWarningsInWords(t *testing.T) {
	e := &environment{stderr: new(program.Buffer)}
	e.warnings().Warn("it cannot be heard", zap.Error(errors.New("NOPERM no channels")))
	if got, want := e.stderr.(*program.Buffer).String(), "holdfast: it cannot be heard; error: NOPERM no channels\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	e = &environment{stderr: new(program.Buffer), json: true}
	e.warnings().Warn("it cannot be heard", zap.Error(errors.New("NOPERM no channels")))
	if got, want := e.stderr.(*program.Buffer).String(), `{"warning":"it cannot be heard","error":"NOPERM no channels"}`+"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Beside an error, a header would say that the list is empty; where it is empty, it does.
func TestNoHeaderBesideAnError(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	admin := h.server.Client()
	defer func() { _ = admin.Close() }()
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@all", "-xadd").Err(); err != nil {
		t.Fatal(err)
	}
	h.user = "poor:pw@"
	for _, args := range [][]string{
		{"publish", "--event", "e1", "--customer", "c"},
		{"publish", "--event", "e1", "--customer", "c", "--wait"},
		{"orders", "cancel", "e1/o1"},
		{"dead", "discard", "0:1-0"},
		{"dead", "redrive", "0:1-0"},
		{"orders", "list", "--event", "nope"},
	} {
		if r := h.run(args...); r.code == exitDone || r.stdout != "" || r.stderr == "" {
			t.Errorf("%v: exit %d: %q %q", args, r.code, r.stdout, r.stderr)
		}
	}
	table(t, h.ok("dead", "list"), "DEAD_ID STREAM GROUP ENTRY_ID ORDER DELIVERIES AT REASON")
}

func TestOrdersOfNoEvent(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.worker()
	h.ok("publish", "--event", "never-listed", "--customer", "c", "--order", "o1", "--wait")
	h.failsInJSON(exitFailed, "not found", object{"code": "not_found", "event_id": "typoevent"}, "orders", "list", "--event", "typoevent")
	for _, args := range [][]string{{"--event", "e1"}, {"--event", "never-listed", "--state", "held"}} {
		if got := h.json(append([]string{"orders", "list"}, args...)...); len(got) != 0 {
			t.Errorf("%v: %v", args, got)
		}
	}
	if got := h.json("orders", "list", "--event", "never-listed"); len(got) != 1 {
		t.Errorf("orders of an event that was never listed: %v", got)
	}
}

func TestOneIsNotSeveral(t *testing.T) {
	s := inspect.Status{AtMillis: 1, Replaced: &inspect.Replaced{Worker: "w", AtMillis: 1, Detail: "the epoch is none\nUNBLOCKED the stream"}, Upkeep: []inspect.UpkeepStatus{{DeadLetters: 1, OverdueHolds: 1, OldestOverdueMillis: 60_000}}}
	for _, r := range groupRoles {
		s.Groups = append(s.Groups, inspect.GroupStatus{Group: string(r.group), Lag: 1, Pending: 1, Backlog: 1, OldestMillis: 1e7, OldestWaitingMillis: 1e7, OldestInHandMillis: 1e7})
	}
	limits, err := defaultLimits()
	if err != nil {
		t.Fatal(err)
	}
	problems := judge(s, measure(s), limits)
	var all []string
	for _, p := range problems {
		all = append(all, p.text)
	}
	said := strings.Join(all, "\n")
	for _, want := range []string{
		"1 dead letter\n", "1 hold is over and has not ended, the oldest", "1 request waits for purchase, the oldest", "1 request is in hand with purchase",
		"1 outcome is not settled, the oldest", "the epoch is none; UNBLOCKED the stream",
	} {
		if !strings.Contains(said+"\n", want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	if wrong := regexp.MustCompile(`\b1 (entries|holds|outcomes|dead letters|times)\b`).FindString(said); wrong != "" {
		t.Errorf("%q:\n%s", wrong, said)
	}
	// Whoever sees the verdict of pending has typed that.
	for _, p := range problems {
		if line := headline([]problem{p}); strings.Contains(line, "holdfast pending") {
			t.Error(line)
		}
	}
}

// Whatever can be ignored is a code that the documentation tells, and the other way round.
func TestProblemCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n| code | level | limits |")
	table, _, _ = strings.Cut(table, "\n\n")
	var told []domain.Code
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) > 1 {
			for _, code := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
				told = append(told, domain.Code(code[1]))
			}
		}
	}
	known := slices.Clone(problemCodes)
	slices.Sort(known)
	slices.Sort(told)
	if !slices.Equal(known, told) {
		t.Errorf("told are\n%s\nand there are\n%s", join(told), join(known))
	}
}

// counted is a number and what it counts, and what stands before it where it is a limit, or how many there are in all: "of 4 partitions", "at most 20 items".
var counted = regexp.MustCompile(`(\bof |\bat most |\bto |\bthan )?%d (?:(?:older|more|log|dead|access) )?(?:codes|customers|entries|events|facts|faults|holds|letters|orders|partitions|payments|places|requests|seats|segments|tickets|violations|workers)\b`)

// Of what there may be one is counted by plural, or stands before its number.
func TestCountedWords(t *testing.T) {
	for _, dir := range []string{".", "../../streams/audit"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range counted.FindAllStringSubmatch(string(source), -1) {
				if found[1] == "" {
					t.Errorf("%s: %q, where it may be one: see plural", file, found[0])
				}
			}
		}
	}
}
