package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/inspect"
	"holdfast/streams/redistest"
)

// doctor runs one, and returns its findings by what they are about.
func (h *holdfast) doctor(want level) map[string][]object {
	h.t.Helper()
	r := h.run("doctor", "-o", "json")
	if r.code != int(want) || r.stderr != "" {
		h.t.Errorf("doctor: exit %d, want %d\n%s%s", r.code, want, r.stdout, r.stderr)
	}
	return h.findings(r)
}

// findings are those of a run, by check.
func (h *holdfast) findings(r result) map[string][]object {
	h.t.Helper()
	found := make(map[string][]object)
	for _, f := range decodeLines(h.t, r.stdout) {
		if len(f) != 4 {
			h.t.Errorf("a finding of other fields: %v", f)
		}
		found[f["check"].(string)] = append(found[f["check"].(string)], f)
	}
	return found
}

// wantFinding checks that there is one of that severity, which says this, and advises that.
func wantFinding(t testing.TB, found map[string][]object, check string, s severity, finding, advice string) {
	t.Helper()
	for _, f := range found[check] {
		if f["severity"] == string(s) && strings.Contains(f["finding"].(string), finding) && strings.Contains(f["advice"].(string), advice) {
			return
		}
	}
	t.Errorf("%s: want %s, %q, %q; found %v", check, s, finding, advice, found[check])
}

func configure(t testing.TB, rdb *redis.Client, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if err := rdb.ConfigSet(context.Background(), pairs[i], pairs[i+1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	h := start(t)
	rdb, ctx := h.server.Client(), context.Background()
	defer func() { _ = rdb.Close() }()
	wantFinding(t, h.doctor(levelCritical), string(domain.CodeNoSuchNamespace), severityCritical, "no such namespace", "--namespace")
	h.event("e1")

	// All is as it should be.
	configure(t, rdb, "appendonly", "yes", "appendfsync", "always", "maxmemory", "1gb")
	worker := h.worker()
	h.ok("publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "t", "--wait")
	h.drained()
	var found map[string][]object
	eventually(t, "nothing is wrong, not even for a moment in which the machine was slow", func() bool {
		if err := rdb.Do(ctx, "SLOWLOG", "RESET").Err(); err != nil {
			t.Fatal(err)
		}
		r := h.run("doctor", "-o", "json")
		found = h.findings(r)
		return r.code == exitDone && r.stderr == ""
	})
	for check, says := range map[string]string{
		"version": ", standalone, a master", "appendonly": "there is an append-only file", "appendfsync": "always", "no-appendfsync-on-rewrite": "synced", "eviction": "noeviction",
		"memory": "of 1024 MB", "clients": "clients are connected", "clock": "apart", "latency": "an answer takes", "slow_log": "no command", "lag": "is right",
		"rights": "user default may look (check, pending), publish", "namespace": "holdfast has 4 partitions, schema 2, epoch", "workers": "1 worker is alive", "roles": "cover all roles", "groups": "are there",
	} {
		wantFinding(t, found, check, severityOK, says, "")
	}
	wantFinding(t, found, "replicas", severityNote, "no replica", "replica")
	wantFinding(t, found, "gateway", severityNote, "simulated", "holdfast namespace set --gateway remote")
	wantFinding(t, found, "archive", severityNote, "no archive", "")
	wantSaid(t, h.ok("doctor"), "note      replicas: it has no replica", "          do: a replica", "ok        version: ")

	// Nothing is as it should be.
	configure(t, rdb, "appendfsync", "everysec", "no-appendfsync-on-rewrite", "yes", "maxmemory-policy", "allkeys-lru", "slowlog-log-slower-than", "10000")
	if err := rdb.Do(ctx, "EVAL", "local t = redis.call('TIME')[1] + 1 repeat until tonumber(redis.call('TIME')[1]) > t", "0", "tok_secret").Err(); err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	found = h.doctor(levelCritical)
	wantFinding(t, found, "appendfsync", severityWarning, "about a second", "CONFIG SET appendfsync always")
	wantFinding(t, found, "no-appendfsync-on-rewrite", severityWarning, "rewritten", "CONFIG SET no-appendfsync-on-rewrite no")
	wantFinding(t, found, "eviction", severityCritical, "allkeys-lru", "CONFIG SET maxmemory-policy noeviction")
	wantFinding(t, found, "slow_log", severityWarning, " took", "SLOWLOG GET")
	if text := h.run("doctor").stdout; strings.Contains(text, "tok_secret") {
		t.Errorf("an argument is shown:\n%s", text)
	}
	configure(t, rdb, "maxmemory-policy", "noeviction", "appendfsync", "no", "maxmemory", "0")
	found = h.doctor(levelCritical)
	wantFinding(t, found, "appendfsync", severityCritical, "half a minute", "CONFIG SET appendfsync always")
	wantFinding(t, found, "memory_limit", severityWarning, "no maxmemory", "CONFIG SET maxmemory")
	configure(t, rdb, "appendonly", "no")
	found = h.doctor(levelWarning)
	wantFinding(t, found, "appendonly", severityWarning, "no append-only file", "CONFIG SET appendonly yes")
	if len(found["appendfsync"]) > 0 {
		t.Errorf("what is not written is synced: %v", found["appendfsync"])
	}
	configure(t, rdb, "maxmemory", "1mb")
	found = h.doctor(levelCritical)
	wantFinding(t, found, "memory", severityCritical, "of 1 MB are used", "CONFIG SET maxmemory")
	wantFinding(t, found, "writes_refused", severityCritical, "OOM", "make room")
	configure(t, rdb, "maxmemory", "0")
	if code := worker.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	deadWorker(t, partitionOf(t, rdb, "e1"), rdb, "gone", 0)
	wantFinding(t, h.doctor(levelCritical), "nobody_works", severityCritical, "no worker is alive", "holdfast worker --gateway URL")
}

// What Redis says of its own lag is compared with what is so.
func TestDoctorFindsALyingLag(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	rdb, ctx := h.server.Client(), context.Background()
	defer func() { _ = rdb.Close() }()
	var ids []string
	for _, o := range []string{"o1", "o2", "o3"} {
		id, _ := h.one("publish", "--event", "e1", "--customer", o, "--order", o, "--token", "t")["entry_id"].(string)
		ids = append(ids, id)
	}
	requests := partitionOf(t, rdb, "e1") + "requests"
	wantFinding(t, h.doctor(levelCritical), "lag", severityOK, "is right", "")
	// As on a server that was a replica: the counter behind it is too small.
	if err := rdb.Do(ctx, "XGROUP", "SETID", requests, "purchase", ids[1], "ENTRIESREAD", 1).Err(); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, h.doctor(levelCritical), "lag", severityNote, "is 2; it is 1", "holdfast pending")
	if err := rdb.XDel(ctx, requests, ids[2]).Err(); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, h.doctor(levelCritical), "lag", severityNote, "does not know the lag of purchase in partition", "holdfast pending")
}

// A user who may ask nothing of the server learns the rest; nothing is changed by trying, and nothing that is not known is a failure.
func TestDoctorOfAServerThatForbids(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.event("e1")
	h.ok("publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "t")
	rdb, ctx := h.server.Client(), context.Background()
	defer func() { _ = rdb.Close() }()
	for _, deny := range []struct {
		rules  []any
		denied []string // checks
	}{
		{[]any{"+@all", "-info", "-config", "-slowlog", "-acl"}, []string{"info", "config", "slow_log"}},
		{[]any{"+@all", "-config|get"}, []string{"config"}},
		{[]any{"+@read", "+@connection", "+time", "+eval", "+evalsha", "-hgetall"}, []string{"info", "config", "slow_log", "workers"}},
	} {
		if err := rdb.Do(ctx, append([]any{"ACL", "SETUSER", "limited", "reset", "on", ">pw", "~*", "&*"}, deny.rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
		limited := &holdfast{t: t, server: h.server, user: "limited:pw@"}
		before := dump(t, rdb)
		found := limited.doctor(levelCritical) // nobody works
		for _, check := range deny.denied {
			wantFinding(t, found, check, severityNotKnown, "", "")
		}
		for check, list := range found {
			for _, f := range list {
				if f["severity"] == "critical" && check != "nobody_works" {
					t.Errorf("%v: %v", deny.rules, f)
				}
			}
		}
		if after := dump(t, rdb); after != before {
			t.Errorf("%v: something was changed:\n%s\nis now\n%s", deny.rules, before, after)
		}
		if n := len(rdb.XInfoConsumers(ctx, partitionOf(t, rdb, "e1")+"requests", "purchase").Val()); n != 0 {
			t.Errorf("%v: there are %d consumers", deny.rules, n)
		}
	}
}

// Each of the shipped users is told what it may do.
func TestDoctorOfShippedUsers(t *testing.T) {
	t.Parallel()
	as, _ := withShippedUsers(t, "", start(t).server)
	as("worker").ok("init")
	for user, may := range map[string]string{
		"admin":    "look (check, pending), publish, put on sale (events), work (worker), mend (dead redrive, pending claim), audit",
		"worker":   "look (check, pending), publish, put on sale (events), work (worker), mend (dead redrive, pending claim), audit",
		"operator": "look (check, pending), publish, mend (dead redrive, pending claim), audit",
		"auditor":  "look (check, pending), audit",
		"monitor":  "look (check, pending)",
	} {
		found := as(user).doctor(levelCritical) // nobody works
		wantFinding(t, found, "rights", severityOK, " may "+may, "")
		if user != "admin" && user != "worker" {
			wantFinding(t, found, "rights", severityNote, "may not work (worker)", "users.acl")
		}
	}
}

func TestDoctorCannotLook(t *testing.T) {
	t.Parallel()
	r := execute(nil, "doctor", "-o", "json", "--redis", "redis://"+closedPort(t))
	said := decodeLines(t, r.stdout)
	if r.code != int(levelCritical) || len(said) != 1 || r.stderr != "" {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	expect(t, said[0], object{"severity": "critical", "check": "unavailable", "advice": "start one, or name another with --redis"})
	h := start(t)
	h.event("e1")
	h.user = "nobody:pw@"
	found := h.doctor(levelUnknown)
	wantFinding(t, found, string(domain.CodeDenied), severityNotKnown, "WRONGPASS", "")
	if r := execute(nil, "doctor", "--timeout", "0s"); r.code != int(levelUnknown) || !strings.Contains(r.stderr, "--timeout") {
		t.Errorf("wrong usage: exit %d: %s", r.code, r.stderr)
	}
}

// What a server of the test's does not have.
func TestDoctorOfOtherServers(t *testing.T) {
	t.Parallel()
	info := func(pairs ...string) inspect.ServerState {
		s := inspect.ServerState{Info: map[string]string{"maxmemory_policy": "noeviction"}, Config: map[string]string{"min-replicas-to-write": "0"}}
		for i := 0; i < len(pairs); i += 2 {
			s.Info[pairs[i]] = pairs[i+1]
		}
		return s
	}
	fast := info("maxmemory", "1000000000", "used_memory", "100000000", "used_memory_dataset", "50000000")
	fast.FactsPerSecond, fast.Facts = 1000, 100_000 // 500 bytes a fact: 1.8 GB an hour
	slow := info("maxmemory", "1000000000", "used_memory", "100000000")
	slow.FactsPerSecond = 100 // 250 bytes each: 90 MB an hour
	far := info()
	far.ClockOff, far.ClockUnsure, far.Latency = -3*time.Second, 10*time.Millisecond, []time.Duration{8 * time.Millisecond, 9 * time.Millisecond}
	for _, c := range []struct {
		name    string
		state   inspect.ServerState
		check   string
		want    severity
		finding string
	}{
		{"Valkey", info("server_name", "valkey", "valkey_version", "8.1.0", "redis_version", "7.2.4", "redis_mode", "cluster", "role", "master"), "version", severityOK, "valkey 8.1.0, cluster, a master"},
		{"a replica", info("role", "slave"), "role", severityCritical, "replica"},
		{"one that says nothing", info(), "replicas", severityNotKnown, "replicas"},
		{"replicas", info("connected_slaves", "1", "slave0", "ip=h,port=1,state=online,offset=1,lag=0"), "replicas", severityOK, "1 replica, up to date"},
		{"replicas and no guard", info("connected_slaves", "1", "slave0", "ip=h,port=1,state=online,offset=1,lag=0"), "min-replicas-to-write", severityNote, "failover"},
		{"a replica that is behind", info("connected_slaves", "2", "slave0", "state=online,lag=0", "slave1", "state=wait_bgsave,lag=0"), "replicas", severityWarning, "1 of 2 replicas"},
		{"a failed append-only file", info("aof_enabled", "1", "aof_last_write_status", "err"), "appendonly", severityCritical, "failed"},
		{"many clients", info("connected_clients", "80", "maxclients", "100"), "clients", severityWarning, "80 of 100 clients"},
		{"memory that is full soon", fast, "memory", severityCritical, "at the present rate of 1000.0 facts a second it is full in 0.5 hours"},
		{"memory that is full today", slow, "memory", severityWarning, "full in 10.0 hours"},
		{"a clock that is off", far, "clock", severityWarning, "3s apart"},
		{"a network that is slow", far, "latency", severityWarning, "9ms"},
	} {
		d := &doctor{environment: &environment{}}
		d.server(c.state)
		ok := false
		for _, f := range d.found {
			ok = ok || f.Check == c.check && f.Severity == c.want && strings.Contains(f.Finding, c.finding)
		}
		if !ok {
			t.Errorf("%s: want %s %s %q, found %+v", c.name, c.check, c.want, c.finding, d.found)
		}
	}

	for _, c := range []struct {
		partitions []int // of each master
		want       severity
	}{{[]int{4}, ""}, {[]int{2, 2}, severityOK}, {[]int{2, 1, 1}, severityOK}, {[]int{4, 0}, severityWarning}, {[]int{1, 1, 0}, severityNote}} {
		d, sum := &doctor{environment: &environment{}}, 0
		var servers []inspect.ServerState
		for i, n := range c.partitions {
			servers = append(servers, inspect.ServerState{Addr: fmt.Sprintf("h:%d", i), Partitions: make([]int, n), ClockOff: time.Duration(2*i) * time.Second})
			sum += n
		}
		d.spread(servers, sum)
		got := severity("")
		if len(d.found) > 0 {
			got = d.found[0].Severity
			if last := d.found[len(d.found)-1]; last.Check != "clocks" || last.Severity != severityWarning {
				t.Errorf("%v: the clocks are not compared: %+v", c.partitions, d.found)
			}
		}
		if got != c.want {
			t.Errorf("%v: %s, want %s", c.partitions, got, c.want)
		}
	}
}

// In a Cluster each master is looked at, and pending is explained and claimed as elsewhere.
func TestDoctorOfACluster(t *testing.T) {
	t.Parallel()
	h := &holdfast{t: t, server: redistest.StartNode(t), query: "?cluster=true"}
	h.event("e1")
	found := h.doctor(levelCritical) // nobody works
	wantFinding(t, found, "version", severityOK, "cluster, a master", "")
	if at := found["version"][0]["finding"].(string); !strings.Contains(at, strings.TrimPrefix(h.server.Addr(), "127.0.0.1")+": ") {
		t.Errorf("it does not say which master: %q", at)
	}
	wantFinding(t, found, "rights", severityOK, "may look (check, pending), publish", "")
	h.ok("publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "t")
	h.explain("o1", standsWaiting)
}
