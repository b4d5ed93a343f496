package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type checkCommand struct {
	Limits         limits        `embed:"" group:"From where on it is a warning, and critical; 0 is never:"`
	Ignore         []string      `placeholder:"CODE" help:"Problems that do not count, by their codes, such as no_aof. They are listed all the same."`
	Timeout        time.Duration `default:"10s" placeholder:"DURATION" help:"How long all of it may take; a Redis that does not answer by then is critical. Default: 10s."`
	Self           bool          `help:"Only ask a worker whether it lives, at ADDR: for the health check of a container. Exit status 0 or 1."`
	Addr           string        `arg:"" optional:"" name:"addr" help:"With --self: where the worker listens, as its --listen. Default: $HOLDFAST_LISTEN."`
	ForgetReplaced bool          `help:"Forget first that the data in Redis was replaced, because it has been seen to. Needs a user who may write."`
}

// Help is shown by --help.
func (c *checkCommand) Help() string {
	return `
For cron, Nagios and whatever else reads exit statuses: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (it could not be looked at,
or the command line is wrong). The first line has the worst, the others each problem, its code, and what to do. A Redis that
does not answer, and a namespace that is not there, are critical: both stop every sale.

It only reads, for a user such as monitor in deployments/redis/users.acl. That user also makes one write, which changes
nothing, to see whether Redis refuses writes; without that permission it goes by what INFO tells.

With --self it asks one worker that listens (holdfast worker --listen) whether it lives, and nobody else: for the health check of
its container, which must not fail because Redis or the payment gateway does. Exit status 0 if it does, else 1.
`
}

func (c *checkCommand) Run(ctx context.Context, e *environment) error {
	if c.Timeout <= 0 {
		return badUsage("--timeout: want more than 0")
	}
	if c.Self {
		return c.self(ctx, e)
	}
	if c.Addr != "" {
		return badUsage("%q: an address goes with --self", c.Addr)
	}
	for _, code := range c.Ignore {
		if !slices.Contains(problemCodes, domain.Code(code)) {
			return badUsage("--ignore: no problem has the code %q; the codes are %s", code, join(problemCodes))
		}
	}
	if _, err := e.checkConnection(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	v := c.look(ctx, e)
	if err := c.write(e, v); err != nil {
		return &endedError{int(levelUnknown), err}
	}
	if v.status == levelOK {
		return nil
	}
	return &endedError{status: int(v.status)}
}

// verdict is what a check comes to.
type verdict struct {
	status   level
	problems []problem
	ignored  map[domain.Code]bool
	figures  *figures // nil if it could not look
	unseen   []error
	forgot   *inspect.Replaced
}

func (c *checkCommand) look(ctx context.Context, e *environment) verdict {
	v := verdict{ignored: make(map[domain.Code]bool)}
	for _, code := range c.Ignore {
		v.ignored[domain.Code(code)] = true
	}
	err := e.withStore(ctx, func(store *streams.Store) error {
		in := inspect.New(store)
		if c.ForgetReplaced {
			var err error
			if v.forgot, err = in.ForgetReplaced(ctx); err != nil {
				return err
			}
		}
		status, err := in.Status(ctx, inspect.Look{Probe: true})
		if err != nil {
			return err
		}
		servers, err := store.Servers(ctx)
		if domain.ClassOf(err) == domain.ClassFatal && err != nil {
			status.Unseen = append(status.Unseen, err)
		} else if err != nil {
			return err
		}
		f := measure(status)
		v.figures, v.unseen, v.problems = &f, status.Unseen, append(judge(status, f, c.Limits), judgeServers(servers)...)
		return nil
	})
	if err != nil {
		v.problems = []problem{failedLook(err)}
	}
	for _, p := range v.problems {
		if !v.ignored[p.code] {
			v.status = max(v.status, p.level)
		}
	}
	return v
}

// failedLook is a problem that kept the check from looking. What only the check itself lacks
// (a password, a permission, another version) says nothing about holdfast.
func failedLook(err error) problem {
	p := problem{level: levelCritical, code: codeOf(err), text: oneLine(err), do: "see Redis's log"}
	var helpful *helpfulError
	if errors.As(err, &helpful) {
		p.text, p.do = oneLine(helpful.err), helpful.do
	}
	switch {
	case p.code == domain.CodeNoSuchNamespace, p.code == domain.CodeNamespaceDamaged:
		p.do = "is --namespace right? If it is, Redis lost data: see docs/operations.md"
	case domain.ClassOf(err) == domain.ClassFatal:
		p.level, p.do = levelUnknown, "see what this check may do, and what it is told"
	}
	return p
}

// title is the first line, and what there is to be drawn as curves.
func (v verdict) title() string {
	var counted []problem
	for _, p := range v.problems {
		if !v.ignored[p.code] {
			counted = append(counted, p)
		}
	}
	text := "all is well"
	switch {
	case len(counted) > 0:
		text = counted[0].text
	case v.figures == nil:
		text = "could not look, and why is ignored"
	}
	if more := len(counted) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return fmt.Sprintf("HOLDFAST %s - %s", v.status, strings.ReplaceAll(text, "|", "/"))
}

type problemView struct {
	Level   string      `json:"level"`
	Code    domain.Code `json:"code"`
	Text    string      `json:"text"`
	Do      string      `json:"do"`
	Ignored bool        `json:"ignored"`
}

func (c *checkCommand) write(e *environment, v verdict) error {
	if e.json {
		view := struct {
			Status   string            `json:"status"`
			Exit     int               `json:"exit_status"`
			Problems []problemView     `json:"problems"`
			Figures  *figures          `json:"figures"`
			NotKnown []string          `json:"not_known"`
			Forgot   *inspect.Replaced `json:"forgot_replaced,omitempty"`
		}{Status: v.status.String(), Exit: int(v.status), Problems: []problemView{}, Figures: v.figures, NotKnown: []string{}, Forgot: v.forgot}
		for _, p := range v.problems {
			view.Problems = append(view.Problems, problemView{p.level.String(), p.code, p.text, p.do, v.ignored[p.code]})
		}
		for _, err := range v.unseen {
			view.NotKnown = append(view.NotKnown, oneLine(err))
		}
		out := e.printer()
		out.row(view)
		return out.flush()
	}
	lines := []string{v.title()}
	if v.figures != nil {
		lines[0] += " | " + v.figures.perfdata(c.Limits)
	}
	if v.forgot != nil {
		lines = append(lines, fmt.Sprintf("forgotten: the data was replaced; worker %s noticed it at %s (%s)", v.forgot.Worker, when(v.forgot.AtMillis), inOneLine(v.forgot.Detail)))
	}
	for _, p := range v.problems {
		said := p.level.String()
		if v.ignored[p.code] {
			said = "ignored"
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s: %s", said, p.code, p.text, p.do))
	}
	for _, err := range v.unseen {
		lines = append(lines, "not known: "+oneLine(err))
	}
	for i, line := range lines {
		lines[i] = printableLine(line)
	}
	if _, err := io.WriteString(e.stdout, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// perfdata is label=value;warning;critical, as monitors draw it.
func (f *figures) perfdata(l limits) string {
	var data []string
	number := func(label string, n, warn, crit int64) {
		data = append(data, fmt.Sprintf("%s=%d;%s;%s", label, n, unlessZero(warn), unlessZero(crit)))
	}
	seconds := func(label string, millis int64, warn, crit time.Duration) {
		data = append(data, fmt.Sprintf("%s=%.3fs;%s;%s", label, float64(millis)/1000, unlessZero(warn.Seconds()), unlessZero(crit.Seconds())))
	}
	for _, r := range groupRoles {
		g := f.Groups[r.group]
		data = append(data, fmt.Sprintf("%s_alive=%d;;1:", r.role, g.Alive)) // 1:, critical below 1
		number(r.role+"_backlog", g.Backlog, l.WarnBacklog, l.CritBacklog)
		if r.group == domain.GroupSettlement {
			seconds("unsettled", g.OldestMillis, l.WarnUnsettled, l.CritUnsettled)
			continue
		}
		seconds(r.role+"_waiting", g.OldestWaitingMillis, l.WarnWaiting, l.CritWaiting)
		seconds(r.role+"_in_hand", g.OldestInHandMillis, l.WarnInHand, l.CritInHand)
	}
	seconds("overdue", f.OldestOverdueMillis, l.WarnOverdue, l.CritOverdue)
	number("overdue_holds", f.OverdueHolds, 0, 0)
	number("dead_letters", f.DeadLetters, l.WarnDead, l.CritDead)
	return strings.Join(data, " ")
}

func unlessZero[T int64 | float64](n T) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// printableLine is a line of output that moves no cursor and breaks no line.
func printableLine(line string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, line)
}
