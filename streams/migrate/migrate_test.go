package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/audit"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
	"holdfast/streams/migrate"
	"holdfast/streams/redistest"
)

// kept is a namespace that a program of schema 1 left behind: it has orders in every state, events of every kind, dead
// letters, requests in hand and in line, and facts that are neither posted nor settled.
const kept = "../../e2e/testdata/schema1/appendonly.aof"

// before is a server with that namespace, and every key of it, to begin again with.
type before struct {
	t      *testing.T
	ctx    context.Context
	server *redistest.Server
	rdb    *redis.Client
	dump   map[string]string
	query  string // of the URL
}

func (b *before) url() string { return strings.TrimSuffix(b.server.URL(), "/0") + b.query }

func load(t *testing.T) *before {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(kept)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "appendonly.aof"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	server := redistest.StartIn(t, dir, "--appendonly", "yes")
	b := &before{t: t, ctx: context.Background(), server: server, rdb: server.Client(), dump: make(map[string]string)}
	t.Cleanup(func() { _ = b.rdb.Close() })
	// Whoever worked on it has been gone for long.
	b.must(b.rdb.Do(b.ctx, "CONFIG", "SET", "appendonly", "no").Err())
	b.save()
	return b
}

func (b *before) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *before) keys() []string {
	b.t.Helper()
	keys, err := b.rdb.Keys(b.ctx, "*").Result()
	b.must(err)
	slices.Sort(keys)
	return keys
}

// save makes what is there now what restore begins again with.
func (b *before) save() {
	b.t.Helper()
	clear(b.dump)
	for _, key := range b.keys() {
		value, err := b.rdb.Dump(b.ctx, key).Result()
		b.must(err)
		b.dump[key] = value
	}
}

func (b *before) restore() {
	b.t.Helper()
	pipe := b.rdb.Pipeline()
	pipe.FlushAll(b.ctx)
	for key, value := range b.dump {
		pipe.Restore(b.ctx, key, 0, value)
	}
	_, err := pipe.Exec(b.ctx)
	b.must(err)
}

// migrate runs once, with a hook on the connection.
func (b *before) migrate(hook redis.Hook) (migrate.Result, error) {
	store, err := streams.Open(b.ctx, b.url(), streams.Options{Migrate: true, Hook: hook})
	if err != nil {
		return migrate.Result{}, err
	}
	defer func() { _ = store.Close() }()
	return migrate.Run(b.ctx, store, migrate.Options{})
}

// open is what any other command gets.
func (b *before) open() (*streams.Store, error) {
	return streams.Open(b.ctx, b.url(), streams.Options{})
}

// audited fails the test unless all is well by the rules of schema 2.
func (b *before) audited() audit.Report {
	b.t.Helper()
	store, err := b.open()
	b.must(err)
	defer func() { _ = store.Close() }()
	report, err := audit.Run(b.ctx, store, audit.Options{})
	b.must(err)
	if !report.OK {
		b.t.Fatalf("audit: %+v", report.Violations)
	}
	return report
}

// told is all that is in Redis, as text, but for the name of the run, for how long what is pending is idle, and when a
// partition got which branch.
func (b *before) told() map[string]string {
	b.t.Helper()
	told := make(map[string]string)
	for _, key := range b.keys() {
		kind, err := b.rdb.Type(b.ctx, key).Result()
		b.must(err)
		var value any
		switch kind {
		case "string":
			value, err = b.rdb.Get(b.ctx, key).Result()
			if text, run, found := strings.Cut(fmt.Sprint(value), "; run "); found && run != "" {
				value = text
			}
		case "hash":
			var fields map[string]string
			fields, err = b.rdb.HGetAll(b.ctx, key).Result()
			if id, found := fields[layout.BranchField]; found {
				branches, err := layout.DecodeBranches(fields[layout.BranchesField])
				b.must(err)
				b.must(layout.CheckBranches(id, branches))
				branches[0].ID, branches[0].AtMillis = "", 0
				fields[layout.BranchField], fields[layout.BranchesField] = "", fmt.Sprint(branches)
			}
			value = fields
		case "zset":
			value, err = b.rdb.ZRangeWithScores(b.ctx, key, 0, -1).Result()
		case "stream":
			value, err = b.toldOfStream(key)
		default:
			err = fmt.Errorf("a %s", kind)
		}
		b.must(err)
		told[key] = fmt.Sprint(value)
	}
	return told
}

func (b *before) toldOfStream(key string) (any, error) {
	entries, err := b.rdb.XRange(b.ctx, key, "-", "+").Result()
	if err != nil {
		return nil, err
	}
	said := []any{entries}
	for _, g := range b.rdb.XInfoGroups(b.ctx, key).Val() {
		said = append(said, g.Name, g.LastDeliveredID, g.EntriesRead, g.Lag, g.Pending)
		pending, err := b.rdb.XPendingExt(b.ctx, &redis.XPendingExtArgs{Stream: key, Group: g.Name, Start: "-", End: "+", Count: 1000}).Result()
		if err != nil {
			return nil, err
		}
		for _, e := range pending {
			said = append(said, e.ID, e.Consumer, e.RetryCount)
		}
	}
	return said, nil
}

// TestKilledAnywhere kills the migration at every command, before it and after it, and lets the next one finish: what comes of
// it is the same, whatever was done by then.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	b := load(t)
	whole := &streamstest.Killer{Left: 1 << 30}
	if _, err := b.migrate(whole); err != nil {
		t.Fatal(err)
	}
	b.audited()
	want := b.told()
	if whole.Seen < 50 {
		t.Fatalf("%d commands: that is no migration", whole.Seen)
	}
	kills := 0
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			b.restore()
			k := &streamstest.Killer{Left: n, After: after}
			_, err := b.migrate(k)
			if !k.Killed {
				b.must(err)
				break // it came to its end: SCAN takes more calls at times than at others
			}
			kills++
			if err == nil {
				t.Fatalf("killed at command %d, and it has not noticed", n)
			}
			// Whoever comes in between is told to migrate, or all is done.
			if store, err := b.open(); err == nil {
				_ = store.Close()
				b.audited()
			} else if domain.CodeOf(err) != domain.CodeSchemaBefore {
				t.Fatalf("killed at command %d: opening says %v", n, err)
			}
			if _, err := b.migrate(nil); err != nil {
				t.Fatalf("after one that was killed at command %d (after it: %t): %v", n, after, err)
			}
			if got := b.told(); !maps.Equal(got, want) {
				for key, value := range want {
					if got[key] != value {
						t.Errorf("%s is %s\nwant %s", key, got[key], value)
					}
				}
				t.Fatalf("killed at command %d (after it: %t): keys are %q, want %q", n, after, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
		}
	}
	if kills < whole.Seen {
		t.Errorf("killed %d times, of %d commands: that was no test", kills, whole.Seen)
	}
	t.Logf("killed %d times", kills)
}

// TestKilledAgainAndAgain lets no run go much further than the one before.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	b := load(t)
	runs := 0
	for n := 1; ; n += 3 {
		runs++
		k := &streamstest.Killer{Left: n, After: n%2 == 0}
		if _, err := b.migrate(k); err == nil {
			break
		} else if !k.Killed {
			t.Fatal(err)
		}
	}
	b.audited()
	if runs < 10 {
		t.Errorf("%d runs: that was no test", runs)
	}
	result, err := b.migrate(nil)
	if err != nil || !result.Already {
		t.Errorf("once more: %+v, %v", result, err)
	}
}

// TestTwoAtOnce lets a second migration begin in the middle of one: the first one ends without a change, wherever it was.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	b := load(t)
	whole := &streamstest.Killer{Left: 1 << 30}
	if _, err := b.migrate(whole); err != nil {
		t.Fatal(err)
	}
	want := b.told()
	takenOver := 0
	for n := 0; n < whole.Seen; n += 2 {
		b.restore()
		at := 0
		first := &between{do: func() {
			if at++; at == n {
				if _, err := b.migrate(nil); err != nil {
					t.Fatalf("the second one, at command %d: %v", n, err)
				}
			}
		}}
		switch _, err := b.migrate(first); {
		case domain.CodeOf(err) == domain.CodeConflict:
			takenOver++
		case err != nil && at >= n: // it found less than it needs: what it was to look at is gone
		case err != nil:
			t.Fatalf("the first one, at command %d: %v", n, err)
		}
		if got := b.told(); !maps.Equal(got, want) {
			t.Fatalf("two at once, at command %d: keys are %q, want %q", n, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		b.audited()
	}
	if takenOver == 0 {
		t.Error("no run was taken over: that was no test")
	}
}

// between does something before each command.
type between struct{ do func() }

func (h *between) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *between) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.do()
		return next(ctx, cmd)
	}
}

func (h *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.do()
		return next(ctx, cmds)
	}
}

// TestRefused: whatever is wrong with what is stored, it is named, and nothing is changed.
func TestRefused(t *testing.T) {
	t.Parallel()
	b := load(t)
	first := func(kind string) string {
		t.Helper()
		i := slices.IndexFunc(b.keys(), func(key string) bool { return strings.Contains(key, kind) })
		if i < 0 {
			t.Fatalf("there is no %s", kind)
		}
		return b.keys()[i]
	}
	order := "holdfast:{0}:order:jazz-night/cart-1"
	p := ""
	for _, key := range b.keys() {
		if strings.HasSuffix(key, ":order:jazz-night/cart-1") {
			order, p = key, strings.TrimSuffix(key, "order:jazz-night/cart-1")
		}
	}
	for _, test := range []struct {
		what, want string
		damage     func()
	}{
		{"an order that is gone", "jazz-night/cart-1", func() { b.rdb.Del(b.ctx, order) }},
		{"another state", "jazz-night/cart-1", func() {
			record := b.rdb.Get(b.ctx, order).Val()
			b.rdb.Set(b.ctx, order, "x"+record[1:], 0)
		}},
		{"a damaged record", "jazz-night/cart-1", func() { b.rdb.Set(b.ctx, order, "c|", 0) }},
		{"an order too many", "the log knows no such order", func() { b.rdb.Set(b.ctx, order+"-b", b.rdb.Get(b.ctx, order).Val(), 0) }},
		{"a counter", "jazz-night", func() { b.rdb.HIncrBy(b.ctx, p+"event:jazz-night", "available:general", 1) }},
		{"an event that is gone", "jazz-night", func() { b.rdb.Del(b.ctx, p+"event:jazz-night") }},
		{"an event too many", "the log knows no such event", func() { b.rdb.HSet(b.ctx, p+"event:jazz-day", "version", "1") }},
		{"a hold that is gone", "is held until", func() { b.rdb.ZPopMin(b.ctx, first(":holds")) }},
		{"a hold too many", "among the holds", func() { b.rdb.ZAdd(b.ctx, first(":holds"), redis.Z{Score: 1, Member: "e/o"}) }},
		{"a hold with another deadline", "is held until", func() {
			z := b.rdb.ZPopMin(b.ctx, first(":holds")).Val()[0]
			z.Score++
			b.rdb.ZAdd(b.ctx, first(":holds"), z)
		}},
		{"an order in progress too many", "the log knows of none", func() { b.rdb.HSet(b.ctx, p+"in_progress:jazz-night", "nobody", "o") }},
		{"an order in progress too few", "order in progress is", func() { b.rdb.Del(b.ctx, p+"in_progress:jazz-night") }},
		{"a sale that is gone", "not among the sales", func() { b.rdb.SRem(b.ctx, p+"sales:jazz-night", "cart-1") }},
		{"a sale too many", "was never confirmed", func() { b.rdb.SAdd(b.ctx, p+"sales:jazz-night", "held-1") }},
		{"other totals", "totals are", func() { b.rdb.HSet(b.ctx, p+"sales_summary", "jazz-night", "3,4,4001") }},
		{"a log without its start", "log entry", func() { b.rdb.XTrimMaxLen(b.ctx, p+"log", 20) }},
		{"a log entry that cannot be read", "no such fact", func() { b.rdb.XAdd(b.ctx, &redis.XAddArgs{Stream: p + "log", Values: []string{"sold", "x"}}) }},
		{"a log that says more", "jazz-night/held-1", func() {
			b.rdb.XAdd(b.ctx, &redis.XAddArgs{Stream: p + "log", Values: []string{"declined", "jazz-night/held-1"}})
		}},
	} {
		b.restore()
		test.damage()
		was := b.dumped()
		_, err := b.migrate(nil)
		var refused *migrate.Refused
		if !errors.As(err, &refused) || domain.CodeOf(err) != domain.CodeMigrationRefused || domain.ClassOf(err) != domain.ClassReject {
			t.Errorf("%s: %v, want it refused", test.what, err)
			continue
		}
		if !slices.ContainsFunc(refused.Violations, func(v audit.Violation) bool { return strings.Contains(v.Subject+" "+v.Detail, test.want) }) {
			t.Errorf("%s: violations are %+v, want one that says %q", test.what, refused.Violations, test.want)
		}
		if !maps.Equal(b.dumped(), was) {
			t.Errorf("%s: something was changed", test.what)
		}
	}
	b.restore()
	if _, err := b.migrate(nil); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}

// dumped is what is in Redis before the migration, when there are sets, too.
func (b *before) dumped() map[string]string {
	b.t.Helper()
	told := make(map[string]string)
	for _, key := range b.keys() {
		value, err := b.rdb.Dump(b.ctx, key).Result()
		b.must(err)
		told[key] = value
	}
	return told
}

// TestWorkersAlive: nothing is migrated under a worker, and it is told which one it is.
func TestWorkersAlive(t *testing.T) {
	t.Parallel()
	b := load(t)
	until := time.Now().Add(time.Hour).UnixMilli()
	b.must(b.rdb.ZAdd(b.ctx, "holdfast:{1}:consumers", redis.Z{Score: float64(until), Member: "posting/worker-7"}).Err())
	was := b.dumped()
	_, err := b.migrate(nil)
	if domain.CodeOf(err) != domain.CodeMigrationRefused || !strings.Contains(err.Error(), "worker-7") {
		t.Errorf("%v, want it refused because of worker-7", err)
	}
	if !maps.Equal(b.dumped(), was) {
		t.Error("something was changed")
	}
	b.must(b.rdb.ZAdd(b.ctx, "holdfast:{1}:consumers", redis.Z{Score: float64(time.Now().Add(-time.Second).UnixMilli()), Member: "posting/worker-7"}).Err())
	if _, err := b.migrate(nil); err != nil {
		t.Error(err)
	}
}

// TestOnCluster: the same comes of it where keys are of different slots.
func TestOnCluster(t *testing.T) {
	t.Parallel()
	b := load(t)
	was := maps.Clone(b.dump)
	if _, err := b.migrate(nil); err != nil {
		t.Fatal(err)
	}
	want := b.told()
	node := redistest.StartNode(t)
	c := &before{t: t, ctx: b.ctx, server: node, rdb: node.Client(), dump: was, query: "?cluster=true"}
	t.Cleanup(func() { _ = c.rdb.Close() })
	c.restore()
	if _, err := c.migrate(nil); err != nil {
		t.Fatal(err)
	}
	c.audited()
	if got := c.told(); !maps.Equal(got, want) {
		t.Errorf("keys are %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// TestMetaIsLost: a namespace of schema 1 whose meta is gone is not taken for an empty one, in whose place there may be another.
func TestMetaIsLost(t *testing.T) {
	t.Parallel()
	b := load(t)
	b.must(b.rdb.Del(b.ctx, "holdfast:meta").Err())
	was := b.dumped()
	for _, o := range []streams.Options{{}, {Create: true}, {Create: true, Restore: true, Partitions: 3}, {Migrate: true}} {
		if _, err := streams.Open(b.ctx, b.url(), o); domain.CodeOf(err) != domain.CodeNamespaceDamaged || !strings.Contains(err.Error(), "of schema 1") {
			t.Errorf("%+v: %v, want it refused as damaged", o, err)
		}
	}
	if !maps.Equal(b.dumped(), was) {
		t.Error("something was changed")
	}
}

// TestNoRoom: it does not begin what memory does not suffice for.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	b := load(t)
	was := b.dumped()
	info := b.rdb.InfoMap(b.ctx, "memory").Val()["Memory"]
	var used int64
	_, err := fmt.Sscan(info["used_memory"], &used)
	b.must(err)
	b.must(b.rdb.ConfigSet(b.ctx, "maxmemory", fmt.Sprint(used*3/2)).Err())
	if _, err := b.migrate(nil); domain.CodeOf(err) != domain.CodeMigrationRefused || !strings.Contains(err.Error(), "maxmemory") {
		t.Errorf("%v, want it refused for want of memory", err)
	}
	if !maps.Equal(b.dumped(), was) {
		t.Error("something was changed")
	}
	b.must(b.rdb.ConfigSet(b.ctx, "maxmemory", "0").Err())
	if _, err := b.migrate(nil); err != nil {
		t.Error(err)
	}
}
