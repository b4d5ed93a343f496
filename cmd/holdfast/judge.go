package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

// level is how bad something is: an exit status of a check, as Nagios has them.
type level int

const (
	levelOK       level = 0
	levelWarning  level = 1
	levelCritical level = 2
	levelUnknown  level = 3 // it could not be looked at
)

var levelNames = [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}

func (l level) String() string { return levelNames[l] }

// problem is something that is wrong, and what to do about it.
type problem struct {
	level level
	code  domain.Code
	text  string
	do    string // a command to type, or what else helps
}

// problemCodes are the codes of all problems, those of a look that failed too.
var problemCodes = []domain.Code{
	"nobody_works", "writes_refused", domain.CodeDataReplaced, domain.CodeNoSuchNamespace, domain.CodeNamespaceDamaged,
	domain.CodeUnavailable, domain.CodeLoading, domain.CodeRestoring, domain.CodeSchemaBefore, domain.CodeDenied, domain.CodeUntrusted, domain.CodeInvalid, domain.CodeFailed,
	"waiting", "in_hand", "unsettled", "holds_overdue", "no_maintenance", "backlog", "deliveries", "dead_letters", "group_missing",
	domain.Code(streams.FaultEviction), domain.Code(streams.FaultNoAOF), domain.CodeGatewayMisconfigured,
	"audit_failed", "audit_old", "paused", domain.CodeGatewayUnavailable, domain.CodeGatewayBusy, domain.CodeGatewaySlow, domain.CodeArchiveFailing,
	domain.CodeSnapshotFailing, domain.CodeLogNotTrimmed,
	domain.CodeGroupGone, "webhook_given_up", "webhook_unsent",
}

func join(codes []domain.Code) string {
	var names []string
	for _, code := range codes {
		names = append(names, string(code))
	}
	return strings.Join(names, ", ")
}

// limits are from where on something is wrong. 0 is never.
type limits struct {
	WarnWaiting    time.Duration `placeholder:"DURATION" default:"30s" help:"Age of the oldest entry that waits for a worker, of purchase and posting. Default: 30s."`
	CritWaiting    time.Duration `placeholder:"DURATION" default:"2m" help:"Default: 2m."`
	WarnInHand     time.Duration `placeholder:"DURATION" default:"90s" help:"How long the oldest entry has been in hand, of purchase and posting. Default: 90s."`
	CritInHand     time.Duration `placeholder:"DURATION" default:"5m" help:"Default: 5m."`
	WarnUnsettled  time.Duration `placeholder:"DURATION" default:"2m" help:"Age of the oldest outcome that settlement has not done: its money may not be where it belongs. Default: 2m."`
	CritUnsettled  time.Duration `placeholder:"DURATION" default:"15m" help:"Default: 15m."`
	WarnOverdue    time.Duration `placeholder:"DURATION" default:"5s" help:"How long the oldest hold is over without having ended. Default: 5s."`
	CritOverdue    time.Duration `placeholder:"DURATION" default:"30s" help:"Default: 30s."`
	WarnBacklog    int64         `placeholder:"N" default:"10000" help:"Requests, or facts, of a group, over all partitions, that wait or are in hand, and orders that are owed. Default: 10000."`
	CritBacklog    int64         `placeholder:"N" default:"0" help:"Default: 0, never."`
	WarnDeliveries int64         `placeholder:"N" default:"5" help:"How often an entry was given to a worker in vain. Default: 5."`
	CritDeliveries int64         `placeholder:"N" default:"0" help:"Default: 0, never."`
	WarnDead       int64         `placeholder:"N" default:"1" help:"Dead letters. Default: 1."`
	CritDead       int64         `placeholder:"N" default:"0" help:"Default: 0, never."`
	WarnAudit      time.Duration `placeholder:"DURATION" default:"49h" help:"Age of the newest audit, if there was any. Default: 49h."`
	CritAudit      time.Duration `placeholder:"DURATION" default:"0" help:"Default: 0, never."`
}

// defaultLimits are those of a check that is told none.
func defaultLimits() (l limits, err error) {
	err = kong.ApplyDefaults(&l)
	return l, err
}

// at is the level of a figure between two limits.
func at(n, warn, crit int64) level {
	switch {
	case crit > 0 && n >= crit:
		return levelCritical
	case warn > 0 && n >= warn:
		return levelWarning
	}
	return levelOK
}

// figures are what a check measures, over all partitions. Ages are those of the oldest.
type figures struct {
	AtMillis int64                         `json:"at"` // milliseconds, on Redis's clock
	Groups   map[domain.Group]groupFigures `json:"groups"`

	OverdueHolds        int64 `json:"overdue_holds"`
	OldestOverdueMillis int64 `json:"oldest_overdue_ms"`
	DeadLetters         int64 `json:"dead_letters"`
}

type groupFigures struct {
	Backlog             int64 `json:"backlog"`
	Waiting             int64 `json:"waiting"`
	InHand              int64 `json:"in_hand"`
	Owed                int64 `json:"owed"` // orders whose money waits by itself
	OldestMillis        int64 `json:"oldest_ms"`
	OldestWaitingMillis int64 `json:"oldest_waiting_ms"`
	OldestInHandMillis  int64 `json:"oldest_in_hand_ms"`
	OldestOwedMillis    int64 `json:"oldest_owed_ms"`
	MostDeliveries      int64 `json:"most_deliveries"`
	Alive               int   `json:"alive"` // in the partition that has the fewest

	deserted, missing []int // partitions
}

func measure(s inspect.Status) figures {
	f := figures{AtMillis: s.AtMillis, Groups: make(map[domain.Group]groupFigures, len(groupRoles))}
	for _, g := range s.Groups {
		sum, known := f.Groups[domain.Group(g.Group)]
		sum.Backlog += g.Backlog
		sum.Waiting += g.Lag
		sum.InHand += g.Pending
		sum.Owed += g.Owed
		sum.OldestOwedMillis = max(sum.OldestOwedMillis, g.OldestOwedMillis)
		sum.OldestMillis = max(sum.OldestMillis, g.OldestMillis)
		sum.OldestWaitingMillis = max(sum.OldestWaitingMillis, g.OldestWaitingMillis)
		sum.OldestInHandMillis = max(sum.OldestInHandMillis, g.OldestInHandMillis)
		sum.MostDeliveries = max(sum.MostDeliveries, g.MostDeliveries)
		if alive := g.Alive(); !known || alive < sum.Alive {
			sum.Alive = alive
		}
		if g.Alive() == 0 {
			sum.deserted = append(sum.deserted, g.Partition)
		}
		if g.Missing {
			sum.missing = append(sum.missing, g.Partition)
		}
		f.Groups[domain.Group(g.Group)] = sum
	}
	for _, u := range s.Upkeep {
		f.OverdueHolds += u.OverdueHolds
		f.OldestOverdueMillis = max(f.OldestOverdueMillis, u.OldestOverdueMillis)
		f.DeadLetters += u.DeadLetters
	}
	return f
}

// groupRoles is who works for each group, in the order in which people are told of them.
var groupRoles = []struct {
	group       domain.Group
	role        string
	unit, units string // of what it has before it
}{
	{domain.GroupWorkers, "purchase", "request", "requests"},
	{domain.GroupPosting, "posting", "fact", "facts"},
	{domain.GroupSettlement, "settlement", "fact", "facts"},
}

// judge says what is wrong, the worst first.
func judge(s inspect.Status, f figures, l limits) []problem {
	j := judging{limits: l, partitions: len(s.Upkeep)}
	for _, r := range s.Refusals {
		what := "redis refuses writes"
		if r.Addr != "" {
			what = "redis at " + r.Addr + " refuses writes"
		}
		j.add(levelCritical, "writes_refused", what+": "+r.Reason, refusalHelp(r.Reason))
	}
	if s.Replaced != nil {
		j.add(levelCritical, domain.CodeDataReplaced, replacedText(s.Replaced),
			"holdfast audit --gateway URL, and when that is seen to: holdfast check --forget-replaced")
	}
	j.pauses(s)
	j.audits(s)
	j.troubles(s)
	j.webhooks(s)
	j.work(f)
	j.upkeep(s, f)
	slices.SortStableFunc(j.problems, func(a, b problem) int { return cmp.Compare(b.level, a.level) })
	return j.problems
}

// judgeServers says what is wrong with how Redis is set up: it works, until it loses data.
func judgeServers(servers []streams.Server) []problem {
	do := map[streams.FaultCode]string{
		streams.FaultEviction: "redis-cli CONFIG SET maxmemory-policy noeviction",
		streams.FaultNoAOF:    "redis-cli CONFIG SET appendonly yes",
	}
	var problems []problem
	for _, server := range servers {
		for _, fault := range server.Faults {
			what := fault.Detail
			if server.Addr != "" {
				what = "redis at " + server.Addr + ": " + what
			}
			problems = append(problems, problem{levelWarning, domain.Code(fault.Code), what, do[fault.Code]})
		}
	}
	return problems
}

// lookAtPending is what to type, unless it was typed.
const lookAtPending = "holdfast pending"

type judging struct {
	limits
	partitions int
	problems   []problem
}

func (j *judging) add(l level, code domain.Code, text, do string) {
	if l != levelOK {
		j.problems = append(j.problems, problem{l, code, inOneLine(text), do})
	}
}

// pauses is about what somebody has stopped, and may have forgotten.
func (j *judging) pauses(s inspect.Status) {
	for _, p := range s.Paused.Lasting {
		j.add(levelWarning, "paused", pausedText(p, s.Paused.Parked[p.EventID], s.AtMillis), resumeAdvice(p.EventID))
	}
}

// pausedText says what is paused, since when, by whom and why; parked requests are those of its event.
func pausedText(p domain.Pause, parked, nowMillis int64) string {
	what := "everything is paused: no requests are taken"
	if p.EventID != "" {
		what = fmt.Sprintf("event %s is paused: %s parked", p.EventID, plural(parked, "request is", "requests are"))
	}
	what += fmt.Sprintf("; for %s, by %s: %s", age(max(0, nowMillis-p.AtMillis)), p.By, p.Reason)
	if p.HoldsUntilMillis > nowMillis {
		what += "; its holds do not end before " + when(p.HoldsUntilMillis)
	}
	return what
}

func resumeAdvice(eventID string) string {
	if eventID == "" {
		return "when that is over: holdfast resume --role purchase --reason TEXT"
	}
	return "when that is over: holdfast resume --event " + eventID + " --reason TEXT"
}

// audits is about what the newest audit found, and how long ago that was.
func (j *judging) audits(s inspect.Status) {
	const again = "holdfast audit --gateway URL, with --archive URL where there is one"
	for _, a := range s.Audited {
		since := max(0, s.AtMillis-a.AtMillis)
		if a.Violations > 0 {
			j.add(levelCritical, "audit_failed", fmt.Sprintf("the audit of the %s found %s, %s ago; the first: %s", a.Of, plural(int64(a.Violations), "violation", "violations"), age(since), a.First), again)
		}
		j.add(at(since, j.WarnAudit.Milliseconds(), j.CritAudit.Milliseconds()), "audit_old", fmt.Sprintf("the last audit of the %s was %s ago", a.Of, age(since)), again)
	}
}

// troubles is about what workers say is wrong: each kind once, in the words of whoever has had it longest.
func (j *judging) troubles(s inspect.Status) {
	longest := make(map[domain.Code]inspect.Trouble)
	workers := make(map[domain.Code]map[string]bool)
	for _, t := range s.Troubles {
		if first, known := longest[t.Code]; !known || t.SinceMillis < first.SinceMillis {
			longest[t.Code] = t
		}
		if workers[t.Code] == nil {
			workers[t.Code] = make(map[string]bool)
		}
		workers[t.Code][t.Worker] = true
	}
	for _, code := range slices.Sorted(maps.Keys(longest)) {
		bad, do := levelWarning, "see its log" // what follows from it is critical when it has lasted
		if code == domain.CodeGatewayMisconfigured {
			bad, do = levelCritical, "nothing is paid until that is mended; see its log"
		}
		if code == domain.CodeSnapshotFailing || code == domain.CodeLogNotTrimmed {
			do = "see its log; holdfast archive verify --archive URL; by hand: holdfast archive snapshot --archive URL"
		}
		if code == domain.CodeGroupGone {
			do = "find out who: redis-cli ACL LIST says who may; whether all is there still: holdfast audit"
		}
		t, who := longest[code], "worker "+longest[code].Worker
		if others := len(workers[code]) - 1; others > 0 {
			who += fmt.Sprintf(" and %d more", others)
		}
		j.add(bad, code, fmt.Sprintf("%s, for %s: %s", who, age(max(0, s.AtMillis-t.SinceMillis)), t.Text), do)
	}
}

// webhookGrace is for how long nobody may send to an endpoint that is enabled: workers are started anew now and then.
const webhookGrace = time.Minute

// webhooks is about endpoints of others that are not told of orders.
func (j *judging) webhooks(s inspect.Status) {
	whys := map[string]string{
		domain.WebhookGone:    "it answered 410: it is not there any more",
		domain.WebhookFailing: "it did not take a message for three days",
		domain.WebhookFull:    "it takes nothing, and as many messages wait as may",
		domain.WebhookLost:    "facts are gone from the log that it was not sent",
	}
	for _, w := range s.Webhooks {
		if w.State == domain.WebhookGivenUp {
			j.add(levelWarning, "webhook_given_up", fmt.Sprintf("webhook %s was given up %s ago: %s", w.ID, age(max(0, s.AtMillis-w.SinceMillis)), cmp.Or(whys[w.Why], w.Why)),
				"when that is mended: holdfast webhooks enable "+w.ID)
		}
		if w.UnsentMillis > webhookGrace.Milliseconds() {
			j.add(levelWarning, "webhook_unsent", fmt.Sprintf("nobody sends to webhook %s, for %s", w.ID, age(w.UnsentMillis)), "holdfast worker --roles webhooks")
		}
	}
}

// work is about the groups.
func (j *judging) work(f figures) {
	alone := true // nobody lives at all
	for _, g := range f.Groups {
		alone = alone && len(g.deserted) == j.partitions
	}
	if alone {
		var backlog, oldest int64
		for _, g := range f.Groups {
			backlog, oldest = backlog+g.Backlog, max(oldest, g.OldestMillis)
		}
		j.add(levelCritical, "nobody_works", "no worker is alive"+waits(backlog, oldest), "holdfast worker --gateway URL")
	}
	for _, r := range groupRoles {
		g := f.Groups[r.group]
		if n := len(g.deserted); n > 0 && !alone {
			j.add(levelCritical, "nobody_works", fmt.Sprintf("no worker with role %s is alive%s%s", r.role, j.in(g.deserted), waits(g.Backlog, g.OldestMillis)),
				"holdfast worker --gateway URL --roles "+r.role)
		}
		if len(g.missing) > 0 {
			j.add(levelWarning, "group_missing", fmt.Sprintf("consumer group %s is gone%s", r.group, j.in(g.missing)), "a worker makes it again: holdfast worker --gateway URL")
		}
		help := lookAtPending + ", and the log of the workers"
		if r.group == domain.GroupSettlement {
			j.add(at(g.OldestMillis, j.WarnUnsettled.Milliseconds(), j.CritUnsettled.Milliseconds()), "unsettled",
				fmt.Sprintf("%s, the oldest is %s old%s", plural(g.Backlog, "outcome is not settled", "outcomes are not settled"), age(g.OldestMillis), owed(g.Owed)), help)
		} else {
			j.add(at(g.OldestWaitingMillis, j.WarnWaiting.Milliseconds(), j.CritWaiting.Milliseconds()), "waiting",
				fmt.Sprintf("%s for %s, the oldest is %s old", plural(g.Waiting, r.unit+" waits", r.units+" wait"), r.role, age(g.OldestWaitingMillis)), "start more workers, or see what is slow: "+help)
			j.add(at(g.OldestInHandMillis, j.WarnInHand.Milliseconds(), j.CritInHand.Milliseconds()), "in_hand",
				fmt.Sprintf("%s in hand with %s, the oldest for %s", plural(g.InHand, r.unit+" is", r.units+" are"), r.role, age(g.OldestInHandMillis)), help)
		}
		j.add(at(g.Backlog, j.WarnBacklog, j.CritBacklog), "backlog", fmt.Sprintf("the backlog of %s is %d", r.role, g.Backlog), "start more workers, or see what is slow: "+help)
		j.add(at(g.MostDeliveries, j.WarnDeliveries, j.CritDeliveries), "deliveries", fmt.Sprintf("an entry or order of %s was given to workers in vain, %s", r.role, plural(g.MostDeliveries, "time", "times")),
			"what do they end of? "+help)
	}
}

// upkeep is about maintenance, and what waits for people.
func (j *judging) upkeep(s inspect.Status, f figures) {
	var deserted []int
	alive := false
	for _, u := range s.Upkeep {
		if !u.Maintained {
			deserted = append(deserted, u.Partition)
		}
	}
	for _, g := range f.Groups {
		alive = alive || len(g.deserted) < j.partitions
	}
	const help = "holdfast worker --gateway URL --roles maintenance"
	j.add(at(f.OldestOverdueMillis, j.WarnOverdue.Milliseconds(), j.CritOverdue.Milliseconds()), "holds_overdue",
		plural(f.OverdueHolds, "hold is over and has not ended", "holds are over and have not ended")+", the oldest for "+age(f.OldestOverdueMillis), help)
	if len(deserted) > 0 && alive && len(s.Refusals) == 0 {
		j.add(levelWarning, "no_maintenance", "no worker with role maintenance is at work"+j.in(deserted)+": holds do not end", help)
	}
	j.add(at(f.DeadLetters, j.WarnDead, j.CritDead), "dead_letters", plural(f.DeadLetters, "dead letter", "dead letters"), "holdfast dead list")
}

// plural is a number with the word for what it counts.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// in says in which partitions.
func (j *judging) in(partitions []int) string {
	if len(partitions) == j.partitions {
		return ""
	}
	const most = 8
	var names []string
	for _, p := range partitions[:min(most, len(partitions))] {
		names = append(names, fmt.Sprint(p))
	}
	if len(partitions) > most {
		names = append(names, "…")
	}
	return fmt.Sprintf(" in %d of %d partitions (%s)", len(partitions), j.partitions, strings.Join(names, ", "))
}

// owed says how many of the outcomes wait by themselves.
func owed(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %s of them owed by themselves", count(n))
}

func waits(backlog, oldestMillis int64) string {
	if backlog == 0 {
		return ""
	}
	return fmt.Sprintf("; %s in hand, the oldest for %s", plural(backlog, "request or fact waits or is", "requests and facts wait or are"), age(oldestMillis))
}

func refusalHelp(reason string) string {
	switch word, _, _ := strings.Cut(reason, " "); strings.TrimSuffix(word, ":") {
	case "OOM":
		return "make room: redis-cli CONFIG SET maxmemory …"
	case "MISCONF":
		return "see Redis's log, and make room on its disk"
	case "READONLY":
		return "name the master with --redis"
	case "NOREPLICAS":
		return "start its replicas"
	case "LOADING":
		return "wait"
	}
	return "see Redis's log"
}

// age is a duration for people: to a tenth of a second, or above a minute to a second.
func age(millis int64) string {
	d := time.Duration(millis) * time.Millisecond
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
