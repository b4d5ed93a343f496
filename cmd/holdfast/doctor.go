package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type doctorCommand struct {
	Timeout time.Duration `default:"30s" placeholder:"DURATION" help:"How long all of it may take. Default: 30s."`
}

// Help is shown by --help.
func (c *doctorCommand) Help() string {
	return `
Looks at how Redis is set up, what it can bear, what this user of it may do, and at the namespace: each finding with what to
type. holdfast check tells whether all is well now; this tells what will be wrong later.

It changes nothing. Where the user may not run ACL, it finds out what it may do by trying commands that have no effect; what is
refused stands in Redis's ACL LOG. What it may not ask is not_known, and no failure.

Exit status: 0 nothing is wrong, 1 a warning, 2 something is critical, 3 it could not look.
`
}

// severity is how bad a finding is.
type severity string

// The severities. Notes and what is not known are no failures.
const (
	severityOK       severity = "ok"
	severityNote     severity = "note"
	severityNotKnown severity = "not_known"
	severityWarning  severity = "warning"
	severityCritical severity = "critical"
)

// severities are in the order in which people are told of them.
var severities = []severity{severityCritical, severityWarning, severityNotKnown, severityNote, severityOK}

// diagnosis is one finding.
type diagnosis struct {
	Severity severity `json:"severity"`
	Check    string   `json:"check"` // what was looked at
	Finding  string   `json:"finding"`
	Advice   string   `json:"advice"` // what to type, or what else helps; empty: nothing is to be done
}

// doctor makes findings.
type doctor struct {
	*environment
	found []diagnosis
	at    string // which server a finding is about; empty: the one there is
}

func (d *doctor) add(s severity, check, advice, format string, args ...any) {
	d.found = append(d.found, diagnosis{s, check, inOneLine(d.at + fmt.Sprintf(format, args...)), advice})
}

func (c *doctorCommand) Run(ctx context.Context, e *environment) error {
	if c.Timeout <= 0 {
		return badUsage("--timeout: want more than 0")
	}
	if _, err := e.checkConnection(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	d := &doctor{environment: e}
	err := e.withStore(ctx, func(store *streams.Store) error { return d.examine(ctx, store) })
	status := levelOK
	if err != nil {
		p := failedLook(err)
		d.at = ""
		if status = p.level; p.level == levelUnknown {
			d.add(severityNotKnown, string(p.code), p.do, "%s", p.text)
		} else {
			d.add(severityCritical, string(p.code), p.do, "%s", p.text)
		}
	}
	slices.SortStableFunc(d.found, func(a, b diagnosis) int {
		return cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity))
	})
	out := e.printer()
	for _, f := range d.found {
		if e.json {
			out.row(f)
		}
		out.note(printableLine(fmt.Sprintf("%-9s %s: %s", f.Severity, f.Check, f.Finding)))
		if f.Advice != "" {
			out.note(printableLine("          do: " + f.Advice))
		}
		switch f.Severity {
		case severityCritical:
			status = max(status, levelCritical)
		case severityWarning:
			status = max(status, levelWarning)
		case severityOK, severityNote, severityNotKnown:
		}
	}
	if err := out.flush(); err != nil {
		return &endedError{int(levelUnknown), err}
	}
	if status == levelOK {
		return nil
	}
	return &endedError{status: int(status)}
}

// examine looks at everything. An error ends it: what was found until then stays.
func (d *doctor) examine(ctx context.Context, store *streams.Store) error {
	in := inspect.New(store)
	servers, err := in.Servers(ctx)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if d.at = ""; s.Addr != "" {
			d.at = s.Addr + ": "
		}
		d.server(s)
	}
	d.at = ""
	d.spread(servers, store.Partitions())
	if err := d.rights(ctx, in); err != nil {
		return err
	}
	if err := d.lags(ctx, in); err != nil {
		return err
	}
	return d.namespace(ctx, store, in)
}

// toldNumber is what a server tells under a name.
func toldNumber(told map[string]string, name string) (n int64, known bool) {
	n, err := strconv.ParseInt(told[name], 10, 64)
	return n, err == nil
}

func (d *doctor) server(s inspect.ServerState) {
	if s.InfoErr != nil {
		d.add(severityNotKnown, "info", "permit it: redis-cli ACL SETUSER NAME +info", "this user may not run INFO: version, persistence, memory, replicas and clients are not known")
	} else {
		d.version(s)
		d.persistence(s)
		d.memory(s)
		d.replicas(s)
		d.clients(s)
	}
	d.configuration(s)
	d.clock(s)
	d.latency(s)
	d.slowLog(s)
}

func (d *doctor) version(s inspect.ServerState) {
	kind, version := cmp.Or(s.Info["server_name"], "redis"), s.Info["redis_version"]
	if valkey := s.Info["valkey_version"]; valkey != "" {
		kind, version = "valkey", valkey
	}
	d.add(severityOK, "version", "", "%s %s, %s, %s, up for %s days", kind, cmp.Or(version, "of a version that it does not tell"),
		cmp.Or(s.Info["redis_mode"], "mode not told"), map[string]string{"master": "a master", "slave": "a replica"}[s.Info["role"]], cmp.Or(s.Info["uptime_in_days"], "?"))
	if s.Info["role"] == "slave" {
		d.add(severityCritical, "role", "name the master with --redis", "it is a replica: nothing can be written")
	}
}

func (d *doctor) persistence(s inspect.ServerState) {
	switch s.Info["aof_enabled"] {
	case "0":
		d.add(severityWarning, "appendonly", "redis-cli CONFIG SET appendonly yes, and in its configuration file", "there is no append-only file: what was acknowledged is gone when Redis ends")
	case "1":
		if status := s.Info["aof_last_write_status"]; status != "" && status != "ok" {
			d.add(severityCritical, "appendonly", "see Redis's log, and make room on its disk", "the last write to the append-only file failed (%s)", status)
			return
		}
		d.add(severityOK, "appendonly", "", "there is an append-only file")
	default:
		d.add(severityNotKnown, "appendonly", "", "it does not tell whether there is an append-only file")
	}
}

// configuration is about what CONFIG alone tells.
func (d *doctor) configuration(s inspect.ServerState) {
	if s.ConfigErr != nil {
		d.add(severityNotKnown, "config", "permit it: redis-cli ACL SETUSER NAME +config|get; or look yourself: appendfsync, no-appendfsync-on-rewrite",
			"this user may not run CONFIG GET: how the append-only file is synced is not known")
		return
	}
	if s.Info["aof_enabled"] == "0" {
		return // there is nothing to sync
	}
	switch s.Config["appendfsync"] {
	case "always":
		d.add(severityOK, "appendfsync", "", "what is acknowledged is on disk (always)")
	case "everysec":
		d.add(severityWarning, "appendfsync", "redis-cli CONFIG SET appendfsync always, and in its configuration file", "a crash of the machine loses about a second of requests and outcomes (everysec)")
	case "no":
		d.add(severityCritical, "appendfsync", "redis-cli CONFIG SET appendfsync always, and in its configuration file", "a crash of the machine loses half a minute of requests and outcomes (no)")
	}
	if s.Config["no-appendfsync-on-rewrite"] == "yes" {
		d.add(severityWarning, "no-appendfsync-on-rewrite", "redis-cli CONFIG SET no-appendfsync-on-rewrite no, and in its configuration file", "nothing is synced while the append-only file is rewritten")
	} else {
		d.add(severityOK, "no-appendfsync-on-rewrite", "", "it is synced while it is rewritten, too")
	}
}

const (
	factsForSize = 10_000 // from which on the size of a fact is measured
	bytesPerFact = 250    // until then
)

func (d *doctor) memory(s inspect.ServerState) {
	policy := s.Info["maxmemory_policy"]
	used, _ := toldNumber(s.Info, "used_memory")
	limit, limited := toldNumber(s.Info, "maxmemory")
	limited = limited && limit > 0
	switch {
	case policy == "noeviction":
		d.add(severityOK, "eviction", "", "nothing is evicted (noeviction)")
	case policy == "":
		d.add(severityNotKnown, "eviction", "", "it does not tell what it evicts")
	case limited:
		d.add(severityCritical, "eviction", "redis-cli CONFIG SET maxmemory-policy noeviction, and in its configuration file", "orders are deleted when memory is full (maxmemory-policy %s)", policy)
	default:
		d.add(severityWarning, "eviction", "redis-cli CONFIG SET maxmemory-policy noeviction, and in its configuration file", "as soon as there is a limit, orders are deleted when it is reached (maxmemory-policy %s)", policy)
	}
	if !limited {
		d.add(severityWarning, "memory_limit", "redis-cli CONFIG SET maxmemory BYTES, and in its configuration file: twice what you expect to sell, 600 bytes an order",
			"there is no maxmemory: when the machine's memory is full, the system ends Redis")
		limit, _ = toldNumber(s.Info, "total_system_memory")
	}
	if limit <= 0 || used <= 0 {
		return
	}
	const more = "make room before it is full: redis-cli CONFIG SET maxmemory BYTES, or a larger machine; see docs/operations.md, Memory is full"
	share := 100 * used / limit
	text := fmt.Sprintf("%d of %d MB are used (%d %%)", used>>20, limit>>20, share)
	hours, known := memoryLeft(s, limit-used)
	switch {
	case s.FactsErr != nil:
		text += "; for how long it lasts is not known: this user may not read the log"
	case known:
		text += fmt.Sprintf("; at the present rate of %.1f facts a second it is full in %s", s.FactsPerSecond, hoursText(hours))
	default:
		text += "; nothing comes at present"
	}
	switch {
	case share >= 95 || known && hours < 2:
		d.add(severityCritical, "memory", more, "%s", text)
	case share >= 80 || known && hours < 24:
		d.add(severityWarning, "memory", more, "%s", text)
	default:
		d.add(severityOK, "memory", "", "%s", text)
	}
}

// memoryLeft is how many hours it lasts, by how fast facts come and what one costs with all that belongs to it.
func memoryLeft(s inspect.ServerState, left int64) (hours float64, known bool) {
	each := float64(bytesPerFact)
	if dataset, told := toldNumber(s.Info, "used_memory_dataset"); told && s.Facts >= factsForSize {
		each = float64(dataset) / float64(s.Facts)
	}
	perHour := s.FactsPerSecond * each * 3600
	if s.FactsErr != nil || perHour < 1 {
		return 0, false
	}
	return max(float64(left), 0) / perHour, true
}

func hoursText(hours float64) string {
	switch {
	case hours > 365*24:
		return "more than a year"
	case hours > 72:
		return fmt.Sprintf("%.0f days", hours/24)
	}
	return fmt.Sprintf("%.1f hours", hours)
}

func (d *doctor) replicas(s inspect.ServerState) {
	n, known := toldNumber(s.Info, "connected_slaves")
	switch {
	case !known:
		d.add(severityNotKnown, "replicas", "", "it does not tell whether it has replicas")
		return
	case n == 0:
		d.add(severityNote, "replicas", "a replica on another machine: see docs/operations.md, A failover", "it has no replica: if its disk is lost, everything is")
		return
	}
	behind := 0
	for i := range n {
		told := s.Info["slave"+strconv.FormatInt(i, 10)]
		_, lag, _ := strings.Cut(told, "lag=")
		lag, _, _ = strings.Cut(lag, ",")
		if seconds, err := strconv.Atoi(lag); !strings.Contains(told, "state=online") || err != nil || seconds > 10 {
			behind++
		}
	}
	if behind > 0 {
		d.add(severityWarning, "replicas", "see their logs", "%d of %s are not up to date", behind, plural(n, "replica", "replicas"))
		return
	}
	d.add(severityOK, "replicas", "", "%s, up to date", plural(n, "replica", "replicas"))
	if least, known := toldNumber(s.Config, "min-replicas-to-write"); s.ConfigErr == nil && known && least == 0 {
		d.add(severityNote, "min-replicas-to-write", "redis-cli CONFIG SET min-replicas-to-write 1, and min-replicas-max-lag 5", "a master that is cut off from its replicas goes on taking requests, which a failover throws away")
	}
}

func (d *doctor) clients(s inspect.ServerState) {
	n, known := toldNumber(s.Info, "connected_clients")
	most, told := toldNumber(s.Info, "maxclients")
	if !told {
		most, told = toldNumber(s.Config, "maxclients")
	}
	switch {
	case !known || !told || most == 0:
		d.add(severityNotKnown, "clients", "", "it does not tell how many clients it takes")
	case n*10 >= most*8:
		d.add(severityWarning, "clients", "redis-cli CONFIG SET maxclients N (and the limit of open files); an idle worker has 6 to 16 connections, a busy one more", "%d of %d clients are connected", n, most)
	default:
		d.add(severityOK, "clients", "", "%d of %d clients are connected", n, most)
	}
}

const (
	clockOff    = time.Second
	slowMedian  = 5 * time.Millisecond
	slowCommand = 100 * time.Millisecond
	slowRecent  = time.Hour
)

func (d *doctor) clock(s inspect.ServerState) {
	off := s.ClockOff.Abs().Round(time.Millisecond)
	if s.ClockOff.Abs()-s.ClockUnsure > clockOff {
		d.add(severityWarning, "clock", "timedatectl, chronyc tracking: on both machines", "its clock and this machine's are %s apart: sales begin, end and expire by its clock", off)
		return
	}
	d.add(severityOK, "clock", "", "its clock and this machine's are %s apart, give or take %s", off, s.ClockUnsure.Round(10*time.Microsecond))
}

func (d *doctor) latency(s inspect.ServerState) {
	if len(s.Latency) == 0 {
		return
	}
	median, most := s.Latency[len(s.Latency)/2].Round(10*time.Microsecond), s.Latency[len(s.Latency)-1].Round(10*time.Microsecond)
	if median > slowMedian {
		d.add(severityWarning, "latency", "run workers near Redis; redis-cli --latency; redis-cli --intrinsic-latency 10, on its machine", "an answer takes %s, %s at most", median, most)
		return
	}
	d.add(severityOK, "latency", "", "an answer takes %s, %s at most", median, most)
}

func (d *doctor) slowLog(s inspect.ServerState) {
	if s.SlowErr != nil {
		d.add(severityNotKnown, "slow_log", "permit it: redis-cli ACL SETUSER NAME +slowlog|get", "this user may not read the slow log")
		return
	}
	var worst inspect.SlowCommand
	recent := 0
	newest := time.Now().Add(s.ClockOff).Add(-slowRecent).UnixMilli()
	for _, command := range s.Slow {
		if command.AtMillis < newest || command.Took < slowCommand {
			continue
		}
		if recent++; command.Took > worst.Took {
			worst = command
		}
	}
	if recent == 0 {
		d.add(severityOK, "slow_log", "", "no command took %s in the last hour", slowCommand)
		return
	}
	d.add(severityWarning, "slow_log", "redis-cli SLOWLOG GET 64: who sends it? Nothing of holdfast takes so long; transparent huge pages, swap and a slow disk do",
		"%s took %s or longer in the last hour, the longest was %s with %s", plural(int64(recent), "command", "commands"), slowCommand, worst.Name, worst.Took.Round(time.Millisecond))
}

// spread is about how the partitions of a Cluster are shared out, and whether its clocks agree.
func (d *doctor) spread(servers []inspect.ServerState, partitions int) {
	if len(servers) < 2 {
		return
	}
	var said []string
	most, least := 0, partitions
	first, last := servers[0].ClockOff, servers[0].ClockOff
	for _, s := range servers {
		n := len(s.Partitions)
		most, least = max(most, n), min(least, n)
		first, last = min(first, s.ClockOff), max(last, s.ClockOff)
		said = append(said, fmt.Sprintf("%s has %d", s.Addr, n))
	}
	text := fmt.Sprintf("%s on %s: %s", plural(int64(partitions), "partition", "partitions"), plural(int64(len(servers)), "master", "masters"), strings.Join(said, ", "))
	switch {
	case partitions < len(servers):
		d.add(severityNote, "spread", "their number cannot be changed: take more for the next namespace (init --partitions N)", "%s: some masters have none", text)
	case most > least+1:
		d.add(severityWarning, "spread", "redis-cli --cluster reshard HOST:PORT, slot by slot (CLUSTER KEYSLOT 'NAMESPACE:{P}:2:log' tells a partition's)", "%s", text)
	default:
		d.add(severityOK, "spread", "", "%s", text)
	}
	if last-first > clockOff {
		d.add(severityWarning, "clocks", "chronyc tracking, on each of them", "the masters' clocks are up to %s apart", (last - first).Round(time.Millisecond))
	}
}

func (d *doctor) rights(ctx context.Context, in *inspect.Inspector) error {
	user, rights, err := in.Rights(ctx)
	if err != nil {
		return err
	}
	user = cmp.Or(user, "this user, whose name Redis does not tell,")
	var may []string
	for _, r := range rights {
		if len(r.Denied) == 0 {
			may = append(may, r.For)
		}
	}
	for _, r := range rights {
		if len(r.Denied) > 0 {
			d.add(severityNote, "rights", "if it shall: deployments/redis/users.acl has a user for each purpose", "user %s may not %s: %s", user, r.For, strings.Join(r.Denied, ", "))
		}
	}
	if len(may) > 0 {
		d.add(severityOK, "rights", "", "user %s may %s", user, strings.Join(may, ", "))
	}
	return nil
}

// lags is about whether what Redis says of its groups can be believed.
func (d *doctor) lags(ctx context.Context, in *inspect.Inspector) error {
	const advice = "scale on the backlog of holdfast pending, or /backlog of a worker, and never on Redis's lag"
	lags, err := in.Lags(ctx)
	switch {
	case err != nil && domain.CodeOf(err) == domain.CodeDenied:
		d.add(severityNotKnown, "lag", "", "whether Redis's own lag is right is not known: %s", oneLine(err))
		return nil
	case err != nil:
		return err
	}
	wrong := 0
	for _, l := range lags {
		switch {
		case l.Said < 0:
			d.add(severityNote, "lag", advice, "Redis does not know the lag of %s in partition %d; it is %d", l.Group, l.Partition, l.Counted)
		case l.Said != l.Counted:
			d.add(severityNote, "lag", advice, "Redis says that the lag of %s in partition %d is %d; it is %d", l.Group, l.Partition, l.Said, l.Counted)
		default:
			continue
		}
		wrong++
	}
	if wrong == 0 {
		d.add(severityOK, "lag", "", "Redis's own lag is right")
	}
	return nil
}

func (d *doctor) namespace(ctx context.Context, store *streams.Store, in *inspect.Inspector) error {
	ns, err := store.Namespace(ctx)
	if err != nil {
		return err
	}
	d.add(severityOK, "namespace", "", "%s has %s, schema %s, epoch %s, payment names %s", ns.Name, plural(int64(ns.Partitions), "partition", "partitions"), ns.Schema, ns.Epoch, ns.PaymentNames)
	switch ns.Gateway {
	case domain.GatewaySimulator:
		d.add(severityNote, "gateway", d.typed("namespace set --gateway remote")+": when it shall sell", "payments are simulated: no money moves")
	case domain.GatewayStripeTest:
		d.add(severityNote, "gateway", "use another namespace, with a live key, when it shall sell", "payments are made in Stripe's test mode: no money moves")
	case domain.GatewayRemote, domain.GatewayStripe:
	}
	workers, err := in.Workers(ctx)
	if err != nil && domain.ClassOf(err) != domain.ClassFatal {
		return err
	}
	d.workers(workers, err)
	limits, err := defaultLimits()
	if err != nil {
		return err
	}
	status, err := in.Status(ctx, inspect.Look{Probe: true})
	if err != nil {
		return err
	}
	archived, err := in.Archived(ctx, status.AtMillis)
	if err != nil {
		return err
	}
	d.archive(archived, ns.Partitions)
	problems := judge(status, measure(status), limits)
	for _, p := range problems {
		s := severityWarning
		if p.level == levelCritical {
			s = severityCritical
		}
		d.add(s, string(p.code), p.do, "%s", p.text)
	}
	if !slices.ContainsFunc(problems, func(p problem) bool { return p.code == "nobody_works" || p.code == "no_maintenance" }) {
		d.add(severityOK, "roles", "", "workers that live cover all roles in all partitions")
	}
	if !slices.ContainsFunc(problems, func(p problem) bool { return p.code == "group_missing" }) {
		d.add(severityOK, "groups", "", "all consumer groups are there")
	}
	for _, err := range status.Unseen {
		d.add(severityNotKnown, "permissions", "", "%s", oneLine(err))
	}
	return nil
}

// archive is about whether there is one. That it falls behind, or gets no snapshots, workers tell.
func (d *doctor) archive(archived []inspect.ArchiveLag, partitions int) {
	if len(archived) == 0 {
		d.add(severityNote, "archive", "copy the append-only file elsewhere, and watch memory", "there is no archive: all facts are in Redis, for ever, and nowhere else")
		return
	}
	behind := int64(0)
	for _, lag := range archived {
		behind = max(behind, lag.Millis)
	}
	text := fmt.Sprintf("of %d of %s something is archived", len(archived), plural(int64(partitions), "partition", "partitions"))
	if behind > 0 {
		text += ", and the oldest fact that is not is " + age(behind) + " old"
	}
	d.add(severityOK, "archive", "", "%s", text)
}

// workers is about who lives, and of which versions they are.
func (d *doctor) workers(workers []inspect.Worker, err error) {
	if err != nil {
		d.add(severityNotKnown, "workers", "", "who works is not known: %s", oneLine(err))
		return
	}
	versions := make(map[string]int)
	alive, left := 0, int64(0)
	for _, w := range workers {
		if w.Alive {
			alive++
			versions[cmp.Or(w.Version, "not told")]++
		} else {
			left += w.InHand
		}
	}
	if left > 0 {
		d.add(severityNote, "workers", d.typed("workers list")+"; at once: "+d.typed("pending claim --consumer NAME --reason TEXT"), "%s in hand with workers that are not alive; others take them over", plural(left, "entry is", "entries are"))
	}
	if len(versions) > 1 {
		d.add(severityNote, "versions", d.typed("workers list"), "workers of %d versions are at work: let none of them stay behind", len(versions))
	}
	d.add(severityOK, "workers", "", "%s alive", plural(int64(alive), "worker is", "workers are"))
}
