package main

import (
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"holdfast/workers"
)

func TestHelpAndVersion(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--help"}, "holdfast events create jazz-night"},
		{[]string{"publish", "--help"}, "HOLDFAST_TOKEN"},
		{[]string{"worker", "-h"}, "HOLDFAST_RECLAIM_AFTER"},
		{[]string{"events", "create", "--help"}, "--on-sale"},
		{[]string{"--version"}, "holdfast "},
		{[]string{"version"}, "go "},
		{[]string{"version", "-o", "json"}, `"go":"go`},
		{[]string{"help"}, "Exit status: 0 done, 1 failed, 2 wrong usage, 3 outcome not known"},
		{[]string{"help", "publish"}, "HOLDFAST_TOKEN"},
		{[]string{"help", "events"}, "events adjust"},
		{[]string{"help", "events", "create"}, "--on-sale"},
		{[]string{"help", "help"}, "holdfast help [<command>"},
	} {
		r := execute(nil, c.args...)
		if r.code != exitDone || r.stderr != "" || !strings.Contains(squeeze(r.stdout), c.want) {
			t.Errorf("%v: exit %d, stderr %q, does not say %q:\n%s", c.args, r.code, r.stderr, c.want, r.stdout)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	// Nothing listens there: whatever is wrong must be found before Redis is asked.
	redis := "redis://" + closedPort(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{}, "expected one of"},
		{[]string{"publsh"}, `did you mean "publish"`},
		{[]string{"help", "publsh"}, `did you mean "publish"`},
		{[]string{"help", "events", "nope"}, "nope"},
		{[]string{"completion"}, "<shell>"},
		{[]string{"completion", "tcsh"}, "bash"},
		{[]string{"sales", "--nope"}, "--nope"},
		{[]string{"sales", "-o", "xml"}, "--output"},
		{[]string{"sales", "--namespace", "a b"}, "--namespace"},
		{[]string{"init", "--partitions", "0"}, "--partitions"},
		{[]string{"init", "--partitions", "many"}, "--partitions"},
		{[]string{"init", "--payment-names", "long"}, "--payment-names"},
		{[]string{"init", "--restore-meta"}, "--partitions and --payment-names"},
		{[]string{"init", "--restore-meta", "--partitions", "8"}, "--partitions and --payment-names"},
		{[]string{"namespace", "set"}, "what to set"},
		{[]string{"namespace", "set", "--gateway", "http://payments.example"}, "--gateway"},
		{[]string{"namespace", "set", "--free-orders", "never"}, "--free-orders"},
		{[]string{"events", "create", "e"}, "missing flags"},
		{[]string{"events", "create", "e/f", "--name", "E", "--currency", "EUR", "--section", "general=1@1"}, "event_id"},
		{[]string{"events", "create", "e", "--name", "E", "--currency", "eur", "--section", "general=1@1"}, "currency"},
		{[]string{"events", "create", "e", "--name", "E", "--currency", "XAU", "--section", "general=1@1.005"}, `currency "XAU": none that ISO 4217 lists`},
		{[]string{"events", "create", "e", "--name", "E", "--currency", "IQD", "--section", "general=1@1.0005"}, "IQD has 3 digits"},
		{[]string{"events", "create", "e", "--name", "E", "--currency", "EUR", "--section", "general=1"}, "price is missing"},
		{[]string{"events", "create", "e", "--name", "E", "--currency", "EUR", "--section", "general@1"}, "NAME=CAPACITY@PRICE"},
		{[]string{"events", "create", "e", "--name", "E", "--currency", "EUR", "--section", "general=1@"}, "NAME=CAPACITY@PRICE"},
		{[]string{"events", "create", "e", "--name", "E", "--currency", "JPY", "--section", "general=1@1.5"}, "JPY"},
		{[]string{"events", "create", "e", "--name", "E", "--currency", "EUR", "--section", "a=1@1", "--section", "a=2@1"}, "twice"},
		{[]string{"events", "create", "e", "--name", "E", "--currency", "EUR", "--section", "a=1@1", "--on-sale", "soon"}, "--on-sale"},
		{[]string{"events", "adjust", "e"}, "what to change"},
		{[]string{"events", "adjust", "e", "--section", "a=1", "--section", "a=2"}, "twice"},
		{[]string{"publish", "--event", "e", "--customer", "c", "--token", "\x01"}, "HOLDFAST_TOKEN"},
		{[]string{"publish", "--customer", "c", "--token", "t"}, "--event: missing"},
		{[]string{"publish", "--event", "e", "--token", "t"}, "--customer: missing"},
		{[]string{"publish", "--event", "e", "--customer", "c", "--token", "t", "--quantity", "0"}, "--quantity"},
		{[]string{"publish", "--event", "e", "--customer", "c", "--token", "t", "--hold-seconds", "-1"}, "--hold-seconds"},
		{[]string{"publish", "--type", "pay", "--event", "e", "--token", "t"}, "--order: missing"},
		{[]string{"publish", "--type", "gift"}, "--type"},
		{[]string{"publish", "--file", "-", "--event", "e"}, "--file"},
		{[]string{"publish", "--file", "-", "--timeout", "0s"}, "--timeout"},
		{[]string{"orders", "show"}, "order_id"},
		{[]string{"orders", "show", "a b"}, "order_id"},
		{[]string{"orders", "show", "e/o", "--event", "f"}, "contradicts"},
		{[]string{"orders", "cancel", "o", "--timeout", "-1s"}, "--timeout"},
		{[]string{"orders", "cancel", "o", "--reason", "a\nb"}, "--reason"},
		{[]string{"orders", "cancel", "o", "--by", strings.Repeat("b", 513)}, "--by"},
		{[]string{"orders", "list", "--state", "none"}, "--state"},
		{[]string{"orders", "list", "--state", "held,none"}, "--state"},
		{[]string{"orders", "list", "--customer", "a/b"}, "--customer"},
		{[]string{"orders", "list", "--event", "a/b"}, "--event"},
		{[]string{"orders", "list", "--all-states"}, "--customer"},
		{[]string{"orders", "list", "--all-states", "--customer", "c", "--state", "held"}, "--state"},
		{[]string{"orders", "list", "--since", "soon"}, "--since"},
		{[]string{"orders", "list", "--since", "-1h"}, "--since"},
		{[]string{"orders", "list", "--limit", "-1"}, "--limit"},
		{[]string{"invoices", "a/b"}, "customer"},
		{[]string{"invoices", "fred", "a/b"}, "customer"},
		{[]string{"invoices"}, "--all"},
		{[]string{"invoices", "fred", "--all"}, "--all"},
		{[]string{"dead", "list", "--limit", "x"}, "--limit"},
		{[]string{"pending", "--entries", "-1"}, "--entries"},
		{[]string{"pending", "list", "--entries", "-1"}, "--entries"},
		{[]string{"pending", "--idle", "-1s"}, "--idle"},
		{[]string{"pending", "--deliveries=-1"}, "--deliveries"},
		{[]string{"pending", "--consumer", "a b"}, "--consumer"},
		{[]string{"pending", "--order", "o1"}, "--order"},
		{[]string{"pending", "--group", "workers"}, "--group"},
		{[]string{"pending", "--watch", "--every", "1ms"}, "--every"},
		{[]string{"pending", "claim", "--consumer", "w"}, "--reason"},
		{[]string{"pending", "claim", "--reason", "gone"}, "--consumer"},
		{[]string{"pending", "claim", "--consumer", "a b", "--reason", "gone"}, "--consumer"},
		{[]string{"pending", "claim", "--consumer", "w", "--reason", "a\nb"}, "--reason"},
		{[]string{"pending", "claim", "--consumer", "w", "--reason", "gone", "--group", "all"}, "--group"},
		{[]string{"pending", "explain"}, "order_id"},
		{[]string{"pending", "explain", "a b"}, "order_id"},
		{[]string{"pending", "explain", "e/o", "--event", "f"}, "contradicts"},
		{[]string{"pending", "explain", "o", "--receipt", "1-0"}, "--event"},
		{[]string{"pending", "explain", "e/o", "--receipt", "one"}, "--receipt"},
		{[]string{"dead", "redrive"}, "--all"},
		{[]string{"workers"}, "list"},
		{[]string{"dead", "redrive", "0:1-0", "--all"}, "--all"},
		{[]string{"dead", "redrive", "0:1-0", "--reason", "x"}, "--reason"},
		{[]string{"dead", "discard", "--all"}, "--yes"},
		{[]string{"audit", "--gateway", "ftp://x"}, "--gateway"},
		{[]string{"gateway", "--decline-rate", "2"}, "decline rate"},
		{[]string{"gateway", "--lost-reply-rate", "NaN"}, "lost reply rate"},
		{[]string{"gateway", "--latency", "-1s"}, "latency"},
		{[]string{"gateway", "--listen", "nowhere"}, "--listen"},
		{[]string{"worker", "--roles", "boss"}, "--roles"},
		{[]string{"worker", "--roles", "posting,posting"}, "twice"},
		{[]string{"worker", "--hold-time", "20m"}, "max hold"},
		{[]string{"worker", "--grace", "0s"}, "durations"},
		{[]string{"worker", "--concurrency", "0"}, "--concurrency"},
		{[]string{"worker", "--name", "a b"}, "name"},
		{[]string{"worker", "--gateway", "payments.example"}, "--gateway"},
		{[]string{"worker", "--gateway", "http://payments.example", "--simulator-seed", "1"}, "--simulator"},
		{[]string{"worker", "--gateway", "simulator", "--simulator-timeout-rate", "-1"}, "timeout-rate"},
		{[]string{"worker", "--simulator-timeout-rate", "0.5"}, "--gateway simulator"},
		{[]string{"worker"}, "--gateway: name the payment gateway by its URL, or say --gateway simulator"},
		{[]string{"worker", "--gateway", ""}, "or say --gateway simulator"},
		{[]string{"worker", "--roles", "purchase"}, "or say --gateway simulator"},
		{[]string{"worker", "--roles", "posting,settlement"}, "or say --gateway simulator"},
		{[]string{"worker", "--roles", "posting", "--gateway", "payments.example"}, "--gateway"},
	} {
		args := append(c.args, "--redis", redis)
		if len(c.args) == 0 {
			args = c.args
		}
		r := execute(strings.NewReader(""), args...)
		checkFailure(t, r, exitUsage, []string{c.want, "(see holdfast", " --help)"}, args)
	}
	checkFailure(t, execute(nil, "sales", "--redis", "http://u:hunter2@h/%zz"), exitUsage, []string{"--redis"}, nil)
}

func TestNoSecretInMessages(t *testing.T) {
	t.Setenv("HOLDFAST_TOKEN", "hunter2")
	url := "redis://user:hunter2@" + closedPort(t) + "/0"
	for _, args := range [][]string{
		{"publish", "--event", "e", "--customer", "c"},
		{"publish", "--token", "-hunter2"},
		{"publish", "--token=a", "hunter2"},
		{"publish", "--event", "e", "--customer", "c", "--section", "a b"},
		{"sales"},
		{"sales", "--redis", "redis://:hunter2@h:port/0"},
		{"worker", "--wait-redis", "0s", "--gateway", "simulator"},
		{"worker", "--wait-redis", "0s", "--gateway", "http://u:hunter2@gateway"},
		{"audit", "--gateway", "http://u:hunter2@gateway"},
	} {
		if r := execute(nil, append([]string{"--redis", url}, args...)...); r.code == exitDone || strings.Contains(r.stderr+r.stdout, "hunter2") {
			t.Errorf("%v: exit %d: %s%s", args, r.code, r.stdout, r.stderr)
		}
	}
}

func TestNoRedis(t *testing.T) {
	address := closedPort(t)
	for _, args := range [][]string{
		{"init"},
		{"events", "list"},
		{"events", "create", "e", "--name", "E", "--currency", "EUR", "--section", "general=1@1"},
		{"publish", "--event", "e", "--customer", "c", "--token", "t"},
		{"publish", "--file", "-"},
		{"orders", "list"},
		{"sales"},
		{"pending"},
		{"audit"},
		{"namespace", "show"},
		{"namespace", "set", "--gateway", "remote"},
		{"worker", "--wait-redis", "0s", "--gateway", "simulator"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			args := append(args, "--redis", "redis://user:secret@"+address+"/0")
			checkFailure(t, execute(strings.NewReader(""), args...), exitFailed,
				[]string{"redis at redis://" + address + "/0 does not answer (", "refused", "start one"}, args)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestNamespaces(t *testing.T) {
	h := start(t)
	expect(t, h.one("init"), object{
		"namespace": "holdfast", "partitions": 4, "schema": "2", "payment_names": "namespaced", "free_orders": "direct", "gateway": "", "created": true,
	})
	expect(t, h.one("init"), object{"created": false})
	expect(t, h.one("init", "--namespace", "other", "--partitions", "2", "--payment-names", "plain"),
		object{"namespace": "other", "partitions": 2, "payment_names": "plain", "created": true})
	expect(t, h.one("init", "--namespace", "other", "--partitions", "2"), object{"created": false})
	h.fails(exitFailed, []string{"other", "2 partitions"}, "init", "--namespace", "other", "--partitions", "3")
	h.fails(exitFailed, []string{"other", "plain payment names"}, "init", "--namespace", "other", "--payment-names", "namespaced")
	text := h.ok("init")
	table(t, text, "namespace holdfast", "partitions 4", "payment_names namespaced", "gateway -", "created false")

	expect(t, h.one("namespace", "show", "--namespace", "other"), object{"namespace": "other", "partitions": 2, "payment_names": "plain", "gateway": ""})
	expect(t, h.one("namespace", "set", "--gateway", "remote", "--namespace", "other"), object{"gateway": "remote", "free_orders": "direct"})
	expect(t, h.one("namespace", "set", "--free-orders", "gateway", "--namespace", "other"), object{"gateway": "remote", "free_orders": "gateway"})
	table(t, h.ok("namespace", "show", "--namespace", "other"), "namespace other", "free_orders gateway", "gateway remote")

	h.event("e1")
	if got := h.json("events", "list", "--namespace", "other"); len(got) != 0 {
		t.Errorf("the other namespace has %v", got)
	}
	t.Setenv("HOLDFAST_NAMESPACE", "other")
	t.Setenv("HOLDFAST_OUTPUT", "json")
	if got := h.ok("events", "list"); got != "" {
		t.Errorf("the environment does not count: %q", got)
	}
	if got := decodeLines(t, h.ok("events", "list", "--namespace", "holdfast")); len(got) != 1 {
		t.Errorf("a flag does not come before the environment: %v", got)
	}
}

func TestWorkerFlags(t *testing.T) {
	var cli commandLine
	parser, err := kong.New(&cli, helpGroups, workerDefaults())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse([]string{"worker", "--gateway", "simulator"})
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range parsed.Selected().Flags {
		want := "HOLDFAST_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		if !reflect.DeepEqual(flag.Envs, []string{want}) {
			t.Errorf("--%s has %v, want %s", flag.Name, flag.Envs, want)
		}
	}
	got, err := cli.Worker.config()
	if err != nil {
		t.Fatal(err)
	}
	want := workers.Config{Name: got.Name, Version: got.Version}.WithDefaults()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the defaults are\n%+v, want\n%+v", got, want)
	}

	t.Setenv("HOLDFAST_RECLAIM_AFTER", "3s")
	t.Setenv("HOLDFAST_ROLES", "posting,settlement")
	t.Setenv("HOLDFAST_SIMULATOR_SEED", "7")
	if _, err := parser.Parse([]string{"worker"}); err != nil {
		t.Fatal(err)
	}
	if got, err = cli.Worker.config(); err != nil {
		t.Fatal(err)
	}
	if got.ReclaimAfter != 3*time.Second || got.PayWait != 12*time.Second || len(got.Roles) != 2 || cli.Worker.Simulator.Seed != 7 {
		t.Errorf("from the environment: %+v", got)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":            "-",
		"Jazz Night":  "Jazz Night",
		"Zürich 東京":   "Zürich 東京",
		"a\x1b[2Jb":   `"a\x1b[2Jb"`,
		"two\nlines":  `"two\nlines"`,
		"\xff":        `"\xff"`,
		"\u202egnp":   `"\u202egnp"`,
		"tab\tinside": `"tab\tinside"`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// thisProgram runs the test binary as the program.
func thisProgram(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// The commands that alerts name are there, with the flags that they name.
func TestAlertsNameCommands(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("../../deployments/helm/holdfast/files/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\\"holdfast ([^"\\]+)\\"`).FindAllStringSubmatch(string(rules), -1)
	alerts := regexp.MustCompile(`(?m)^ +description: (.*)$`).FindAllStringSubmatch(string(rules), -1)
	if len(named) < len(alerts) || len(alerts) < 20 {
		t.Fatalf("%d commands in %d descriptions", len(named), len(alerts))
	}
	for _, a := range alerts {
		if !strings.Contains(a[1], `\"holdfast `) {
			t.Errorf("it names no command: %s", a[1])
		}
	}
	for _, n := range named {
		args := []string{"help"}
		flag := ""
		for _, word := range strings.Fields(n[1]) {
			switch {
			case strings.HasPrefix(word, "--"):
				flag = word
			case flag == "" && word == strings.ToLower(word):
				args = append(args, word)
			}
			if flag != "" {
				break
			}
		}
		r := execute(nil, args...)
		for _, below := range regexp.MustCompile(`(?m)^  `+strings.Join(args[1:], " ")+` ([a-z]+) `).FindAllStringSubmatch(r.stdout, -1) { // one of them is meant if none is said
			r.stdout += execute(nil, append(args, below[1])...).stdout
		}
		if r.code != exitDone || !strings.Contains(r.stdout, flag) {
			t.Errorf("%s: holdfast %s: exit %d: %s%s", n[1], strings.Join(args, " "), r.code, r.stdout, r.stderr)
		}
	}
}
