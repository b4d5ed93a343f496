package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/audit"
	"holdfast/streams/inspect"
)

const second, minute = int64(1000), int64(60_000)

// wellStatus is of two partitions where all is well.
func wellStatus() inspect.Status {
	s := inspect.Status{AtMillis: 1_700_000_000_000}
	for p := range 2 {
		for _, r := range groupRoles {
			s.Groups = append(s.Groups, inspect.GroupStatus{
				Partition: p, Group: string(r.group), Lag: 3, Pending: 4, Backlog: 7, OldestMillis: second, OldestWaitingMillis: second, OldestInHandMillis: second,
				MostDeliveries: 1, Consumers: []inspect.ConsumerStatus{{Name: "w1", Alive: true}, {Name: "w2"}},
			})
		}
		s.Upkeep = append(s.Upkeep, inspect.UpkeepStatus{Partition: p, OverdueHolds: 1, OldestOverdueMillis: 200, Maintained: true})
	}
	return s
}

// Each thing that may be wrong is told with its level, its code and what to do, and nothing else is.
func TestJudge(t *testing.T) {
	workers, settlement := 3, 5 // the groups of partition 1
	dead := func(s *inspect.Status, groups ...int) {
		for _, g := range groups {
			s.Groups[g].Consumers = nil
		}
	}
	for name, test := range map[string]struct {
		change func(*inspect.Status)
		want   []string // level, code, and what the text and the advice say, of each
	}{
		"well":                {func(*inspect.Status) {}, nil},
		"waiting":             {func(s *inspect.Status) { s.Groups[workers].OldestWaitingMillis = 30 * second }, []string{"WARNING waiting 6 requests purchase 30s"}},
		"waiting long":        {func(s *inspect.Status) { s.Groups[workers+1].OldestWaitingMillis = 2 * minute }, []string{"CRITICAL waiting posting 2m0s"}},
		"in hand":             {func(s *inspect.Status) { s.Groups[workers].OldestInHandMillis = 90 * second }, []string{"WARNING in_hand 8 requests purchase 1m30s"}},
		"in hand long":        {func(s *inspect.Status) { s.Groups[workers].OldestInHandMillis = 5 * minute }, []string{"CRITICAL in_hand purchase 5m0s"}},
		"not settled":         {func(s *inspect.Status) { s.Groups[settlement].OldestMillis = 2 * minute }, []string{"WARNING unsettled 14 outcomes 2m0s"}},
		"not settled long":    {func(s *inspect.Status) { s.Groups[settlement].OldestMillis = 15 * minute }, []string{"CRITICAL unsettled 15m0s"}},
		"settlement's ages":   {func(s *inspect.Status) { s.Groups[settlement].OldestWaitingMillis = 100 * second }, nil},
		"backlog":             {func(s *inspect.Status) { s.Groups[workers].Backlog = 9993 }, []string{"WARNING backlog purchase 10000"}},
		"deliveries":          {func(s *inspect.Status) { s.Groups[workers].MostDeliveries = 5 }, []string{"WARNING deliveries purchase 5 times"}},
		"dead letters":        {func(s *inspect.Status) { s.Upkeep[0].DeadLetters, s.Upkeep[1].DeadLetters = 2, 3 }, []string{"WARNING dead_letters 5 holdfast dead list"}},
		"overdue":             {func(s *inspect.Status) { s.Upkeep[1].OldestOverdueMillis = 5 * second }, []string{"WARNING holds_overdue 2 holds 5s --roles maintenance"}},
		"overdue long":        {func(s *inspect.Status) { s.Upkeep[1].OldestOverdueMillis = 30 * second }, []string{"CRITICAL holds_overdue 30s"}},
		"nobody maintains":    {func(s *inspect.Status) { s.Upkeep[1].Maintained = false }, []string{"WARNING no_maintenance 1 of 2 partitions (1) --roles maintenance"}},
		"a group is gone":     {func(s *inspect.Status) { s.Groups[workers].Missing = true }, []string{"WARNING group_missing purchase 1 of 2 partitions (1) holdfast worker"}},
		"nobody posts":        {func(s *inspect.Status) { dead(s, 1, 4) }, []string{"CRITICAL nobody_works role posting 14 requests and facts 1s --roles posting"}},
		"nobody settles in 1": {func(s *inspect.Status) { dead(s, settlement) }, []string{"CRITICAL nobody_works role settlement 1 of 2 partitions (1)"}},
		"nobody at all": {func(s *inspect.Status) {
			dead(s, 0, 1, 2, 3, 4, 5)
			s.Upkeep[0].Maintained, s.Upkeep[1].Maintained = false, false
			s.Groups[workers].OldestMillis = minute
		}, []string{"CRITICAL nobody_works no worker is alive 42 requests and facts 1m0s holdfast worker"}},
		"refused": {func(s *inspect.Status) {
			s.Refusals = []inspect.Refusal{{Addr: "h:1", Reason: "OOM command not allowed"}, {Reason: "MISCONF x"}, {Reason: "READONLY x"}, {Reason: "NOREPLICAS x"}, {Reason: "LOADING x"}, {Reason: "ODD x"}}
			s.Upkeep[0].Maintained = false // it cannot take a turn
		}, []string{
			"CRITICAL writes_refused h:1 OOM maxmemory", "CRITICAL writes_refused MISCONF disk", "CRITICAL writes_refused READONLY master",
			"CRITICAL writes_refused NOREPLICAS replicas", "CRITICAL writes_refused LOADING wait", "CRITICAL writes_refused ODD log",
		}},
		"replaced": {func(s *inspect.Status) { s.Replaced = &inspect.Replaced{AtMillis: 1, Worker: "w7", Detail: "epoch"} }, []string{"CRITICAL data_replaced w7 epoch --forget-replaced"}},
		"troubles": {func(s *inspect.Status) {
			s.Troubles = []inspect.Trouble{
				{Worker: "w1", Code: domain.CodeGatewaySlow, Text: "4 s", SinceMillis: s.AtMillis - minute},
				{Worker: "w2", Code: domain.CodeGatewayMisconfigured, Text: "401", SinceMillis: s.AtMillis},
				{Worker: "w2", Code: domain.CodeGatewaySlow, Text: "5 s", SinceMillis: s.AtMillis - 2*minute},
				{Worker: "w2", Code: domain.CodeGatewaySlow, Text: "6 s", SinceMillis: s.AtMillis},
				{Worker: "w3", Code: domain.CodeGroupGone, Text: "somebody removed it", SinceMillis: s.AtMillis - minute},
			}
		}, []string{"CRITICAL gateway_misconfigured worker w2, for 0s: 401", "WARNING gateway_slow worker w2 and 1 more, for 2m0s: 5 s", "WARNING group_gone worker w3, for 1m0s: somebody removed it holdfast audit"}},
		"paused": {func(s *inspect.Status) {
			s.Paused = inspect.Paused{Lasting: domain.Pauses{
				{AtMillis: s.AtMillis - minute, By: "ann", Reason: "double charges"}, {EventID: "opera", AtMillis: s.AtMillis, By: "bob", Reason: "wrong prices", HoldsUntilMillis: s.AtMillis + minute},
			}, Parked: map[string]int64{"opera": 7}}
		}, []string{"WARNING paused everything no requests 1m0s, by ann: double charges holdfast resume --role purchase", "WARNING paused opera 7 requests are parked bob wrong prices holds holdfast resume --event opera"}},
		"an audit": {func(s *inspect.Status) {
			s.Audited = []inspect.Audited{{Of: audit.OfBooks, AtMillis: s.AtMillis - 48*60*minute}, {Of: audit.OfPayments, AtMillis: s.AtMillis}}
		}, nil},
		"a failed and an old audit": {func(s *inspect.Status) {
			s.Audited = []inspect.Audited{
				{Of: audit.OfBooks, AtMillis: s.AtMillis - 49*60*minute},
				{Of: audit.OfPayments, AtMillis: s.AtMillis - 2*minute, Verdict: audit.Verdict{Violations: 2, First: "I4 e/o: gone"}},
			}
		}, []string{"CRITICAL audit_failed payments 2 violations, 2m0s ago I4 e/o: gone: holdfast audit --gateway URL", "WARNING audit_old books 49h0m0s holdfast audit"}},
		"the worst first": {func(s *inspect.Status) {
			s.Upkeep[0].DeadLetters = 1
			s.Groups[workers].OldestWaitingMillis = 2 * minute
		}, []string{"CRITICAL waiting", "WARNING dead_letters"}},
	} {
		s := wellStatus()
		test.change(&s)
		l, err := defaultLimits()
		if err != nil {
			t.Fatal(err)
		}
		got := judge(s, measure(s), l)
		if len(got) != len(test.want) {
			t.Errorf("%s: %+v, want %q", name, got, test.want)
			continue
		}
		for i, p := range got {
			said := p.level.String() + " " + string(p.code) + " " + p.text + ": " + p.do
			rest := said
			for _, word := range strings.Fields(test.want[i]) {
				_, after, found := strings.Cut(rest, word)
				if !found {
					t.Errorf("%s: %q does not say %q", name, said, test.want[i])
					break
				}
				rest = after
			}
			if p.do == "" || strings.Contains(said, "\n") {
				t.Errorf("%s: %q", name, said)
			}
		}
	}
}

// A limit of 0 is never.
func TestLimits(t *testing.T) {
	s := wellStatus()
	for i := range s.Groups {
		g := &s.Groups[i]
		g.Backlog, g.OldestMillis, g.OldestWaitingMillis, g.OldestInHandMillis, g.MostDeliveries = 1e6, 1e9, 1e9, 1e9, 1e3
	}
	s.Upkeep[0].DeadLetters, s.Upkeep[0].OldestOverdueMillis = 1e6, 1e9
	s.Audited = []inspect.Audited{{Of: audit.OfBooks, AtMillis: s.AtMillis - 1e9}}
	if got := judge(s, measure(s), limits{}); len(got) != 0 {
		t.Errorf("without limits: %+v", got)
	}
	all, err := defaultLimits()
	if err != nil {
		t.Fatal(err)
	}
	all.CritBacklog, all.CritDead, all.CritDeliveries, all.CritAudit = 1e6, 1e6, 1e3, 1e6*time.Second
	got := judge(s, measure(s), all)
	if slices.ContainsFunc(got, func(p problem) bool { return p.level != levelCritical }) || len(got) != 2*2+1+2*3+2+1 {
		t.Errorf("%d problems: %+v", len(got), got)
	}
}

func TestHeadline(t *testing.T) {
	p := problem{levelWarning, domain.CodeFailed, "this is\nwrong", "do that"}
	for want, problems := range map[string][]problem{
		"well": nil, "NOT WELL: this is wrong: do that": {p}, "NOT WELL: this is wrong: do that (and 1 more: holdfast check)": {p, p},
	} {
		if got := headline(problems); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
