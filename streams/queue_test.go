package streams

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
)

// give publishes and delivers entries to a consumer of the workers.
func (f *fixture) give(consumer string, n int) []string {
	f.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = f.publish(request("cancel", "e1", consumer+"."+strconv.Itoa(i)))
	}
	if n > 0 {
		f.deliver(domain.GroupWorkers, consumer)
	}
	return ids
}

// entry is what the group knows of one pending entry.
func (f *fixture) entry(group domain.Group, id string) redis.XPendingExt {
	f.Helper()
	stream, _ := f.keys.streamOf(0, group)
	found, err := f.rdb.XPendingExt(f.ctx, &redis.XPendingExtArgs{Stream: stream, Group: string(group), Start: id, End: id, Count: 1}).Result()
	f.must(err)
	if len(found) == 0 {
		return redis.XPendingExt{}
	}
	return found[0]
}

func (f *fixture) consumers(group domain.Group) []string {
	f.Helper()
	stream, _ := f.keys.streamOf(0, group)
	infos, err := f.rdb.XInfoConsumers(f.ctx, stream, string(group)).Result()
	f.must(err)
	var names []string
	for _, c := range infos {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

// ids are the ids of entries.
func ids(entries []domain.Entry) []string {
	var list []string
	for _, e := range entries {
		list = append(list, e.ID)
	}
	return list
}

const longIdle = time.Hour

// However short the time is that the URL gives a reply, a read that waits for work
// gets its own on top: that nothing comes is no failure.
func TestReadOutlastsReadTimeout(t *testing.T) {
	f := newFixture(t)
	store, err := Open(f.ctx, sharedServer().URL()+"?read_timeout=200ms", Options{Partitions: 1})
	f.must(err)
	defer func() { f.must(store.Close()) }()
	q, err := store.Queue(0, domain.GroupWorkers, "w1")
	f.must(err)
	if got, err := q.Read(f.ctx, 1); err != nil || len(got) != 0 {
		t.Fatalf("got %v, %v", got, err)
	}
}

func TestReadAndOwn(t *testing.T) {
	f := newFixture(t)
	q := f.queue(domain.GroupWorkers, "w1")
	want := purchase("e1", "o1", "fred", 1, "x\x00", "\xff\r\n", "", "")
	id := f.publish(want)
	second := f.publish(request("cancel", "e1", "o2"))
	got, err := q.Read(f.ctx, 1)
	if err != nil || !reflect.DeepEqual(got, []domain.Entry{{ID: id, Fields: want}}) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got, err = q.Read(f.ctx, 10); err != nil || !slices.Equal(ids(got), []string{second}) {
		t.Fatalf("got %v, %v", got, err)
	}
	third := f.publish(request("cancel", "e1", "o3")) // not this consumer's
	f.deliver(domain.GroupWorkers, "w2")

	// What was delivered and not acknowledged is its own, page by page; a deleted one has no fields.
	f.do("XDEL", f.keys.requests(0), second)
	for after, want := range map[string][]domain.Entry{
		"0-0": {{ID: id, Fields: want, Deliveries: 1}, {ID: second, Deliveries: 1}}, id: {{ID: second, Deliveries: 1}}, second: {},
	} {
		if got, err := q.Own(f.ctx, after, 10, false); err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("after %s: %+v, %v, want %+v", after, got, err, want)
		}
	}
	if got, err := q.Own(f.ctx, "0-0", 1, false); err != nil || !slices.Equal(ids(got), []string{id}) {
		t.Errorf("at most one: %v, %v", got, err)
	}
	if e := f.entry(domain.GroupWorkers, id); e.RetryCount != 1 {
		t.Errorf("%d deliveries, want 1: looking is none", e.RetryCount)
	}
	// A process that starts inherits them. The one without a payload is not lost for it.
	wantInherited := []domain.Entry{{ID: id, Fields: want, Deliveries: 2}, {ID: second, Deliveries: 1}}
	if got, err := q.Own(f.ctx, "0-0", 10, true); err != nil || !reflect.DeepEqual(got, wantInherited) {
		t.Errorf("inherited %+v, %v, want %+v", got, err, wantInherited)
	}
	if e := f.entry(domain.GroupWorkers, id); e.RetryCount != 2 {
		t.Errorf("%d deliveries, want 2", e.RetryCount)
	}
	f.wantPending(domain.GroupWorkers, id, second, third)
	f.must(q.Ack(f.ctx, []string{id, third})) // acknowledging is not fenced to the owner
	f.wantPending(domain.GroupWorkers, second)
	f.must(q.Ack(f.ctx, nil))
}

func TestAckManyItems(t *testing.T) {
	f := newFixture(t)
	all := f.give("w1", 2*maxBatch+203)
	f.must(f.queue(domain.GroupWorkers, "w1").Ack(f.ctx, all[:len(all)-1]))
	f.wantPending(domain.GroupWorkers, all[len(all)-1])
}

// TestKeepAlive: what is this consumer's stays its own, and what others took over stays theirs.
func TestKeepAlive(t *testing.T) {
	f := newFixture(t)
	mine := f.give("w1", 3)
	theirs := f.give("w2", 1)
	acked := f.give("w1", 1)
	q := f.queue(domain.GroupWorkers, "w1")
	f.must(q.Ack(f.ctx, acked))
	f.do("XCLAIM", f.keys.requests(0), "workers", "w2", 0, mine[1], "IDLE", 3_600_000)
	f.do("XCLAIM", f.keys.requests(0), "workers", "w1", 0, mine[0], mine[2], "IDLE", 3_600_000, "JUSTID")
	asked := slices.Concat(mine, theirs, acked, []string{"5-5"})
	before := f.now()
	lost, err := q.KeepAlive(f.ctx, asked, 7*time.Second)
	if want := []string{mine[1], theirs[0], acked[0], "5-5"}; err != nil || !slices.Equal(lost, want) {
		t.Fatalf("lost %v, %v, want %v", lost, err, want)
	}
	for id, want := range map[string]struct {
		consumer   string
		fresh      bool
		deliveries int64
	}{mine[0]: {"w1", true, 1}, mine[1]: {"w2", false, 2}, mine[2]: {"w1", true, 1}, theirs[0]: {"w2", true, 1}} {
		e := f.entry(domain.GroupWorkers, id)
		if e.Consumer != want.consumer || (e.Idle < longIdle/2) != want.fresh || e.RetryCount != want.deliveries {
			t.Errorf("%s: %+v, want %+v", id, e, want)
		}
	}
	if e := f.entry(domain.GroupWorkers, acked[0]); e.ID != "" {
		t.Errorf("an acknowledged entry is pending again: %+v", e)
	}
	until, err := f.rdb.ZScore(f.ctx, f.keys.consumers(0), "workers/w1").Result()
	if err != nil || int64(until) < before+7000 || int64(until) > f.now()+7000 {
		t.Errorf("alive until %.0f, %v; it was %d", until, err, before)
	}
	// With nothing in hand it says that it is alive, and no more.
	dump := f.dump()
	if lost, err := q.KeepAlive(f.ctx, nil, time.Second); err != nil || len(lost) != 0 {
		t.Errorf("%v, %v", lost, err)
	}
	f.wantSame(dump, f.keys.consumers(0))
}

// TestKeepAliveManyItems: more than one page of pending entries, and than Lua's stack takes.
func TestKeepAliveManyItems(t *testing.T) {
	const n = 2500
	f := newFixture(t)
	mine := f.give("w1", n)
	args := []any{"XCLAIM", f.keys.requests(0), "workers", "w1", 0}
	for _, id := range mine {
		args = append(args, id)
	}
	f.do(append(args, "IDLE", 3_600_000, "JUSTID")...)
	q := f.queue(domain.GroupWorkers, "w1")
	if lost, err := q.KeepAlive(f.ctx, mine, time.Second); err != nil || len(lost) != 0 {
		t.Fatalf("%d lost, %v", len(lost), err)
	}
	idle := func() (n int) {
		list, err := f.rdb.XPendingExt(f.ctx, &redis.XPendingExtArgs{Stream: f.keys.requests(0), Group: "workers", Start: "-", End: "+", Count: 10_000, Idle: longIdle / 2}).Result()
		f.must(err)
		return len(list)
	}
	if got := idle(); got != 0 {
		t.Errorf("%d are still idle", got)
	}
	f.must(q.HandBack(f.ctx, mine))
	if got := idle(); got != n {
		t.Errorf("%d of %d were handed back", got, n)
	}
}

func TestHandBack(t *testing.T) {
	f := newFixture(t)
	mine, theirs := f.give("w1", 2), f.give("w2", 1)
	q := f.queue(domain.GroupWorkers, "w1")
	f.must(q.HandBack(f.ctx, nil))
	f.must(q.HandBack(f.ctx, []string{mine[0], theirs[0], "5-5"}))
	for id, handed := range map[string]bool{mine[0]: true, mine[1]: false, theirs[0]: false} {
		if e := f.entry(domain.GroupWorkers, id); (e.Idle >= 24*time.Hour) != handed || e.RetryCount != 1 {
			t.Errorf("%s: %+v, handed back: want %v", id, e, handed)
		}
	}
	// Whoever reclaims next has it at once.
	got, err := f.queue(domain.GroupWorkers, "w3").Reclaim(f.ctx, longIdle, 10)
	if err != nil || !slices.Equal(ids(got), mine[:1]) || got[0].Deliveries != 2 || got[0].Fields[1] != "1" {
		t.Errorf("reclaimed %+v, %v", got, err)
	}
	if e := f.entry(domain.GroupWorkers, mine[0]); e.Consumer != "w3" {
		t.Errorf("it is %s's", e.Consumer)
	}
}

// TestReclaim: entries far behind many that are in good hands are found all the same, and one worker at a time looks.
func TestReclaim(t *testing.T) {
	f := newFixture(t)
	all := f.give("dead", 600)
	late := all[590:593]
	f.must(f.queue(domain.GroupWorkers, "dead").HandBack(f.ctx, late))
	q := f.queue(domain.GroupWorkers, "w1")
	got, err := q.Reclaim(f.ctx, longIdle, 3)
	if err != nil || !slices.Equal(ids(got), late) {
		t.Fatalf("reclaimed %v, %v, want %v", ids(got), err, late)
	}
	// While another has the turn, nobody looks; the turn of another group does not matter.
	f.must(f.queue(domain.GroupWorkers, "dead").HandBack(f.ctx, all[:1]))
	f.do("SET", f.keys.turn(0, "reclaim:workers"), "w2")
	f.do("SET", f.keys.turn(0, "reclaim:posting"), "w2")
	if got, err := q.Reclaim(f.ctx, longIdle, 3); err != nil || len(got) != 0 {
		t.Errorf("out of turn: %v, %v", got, err)
	}
	// It goes on where it stopped, to the end, and then from the start again.
	for _, want := range [][]string{nil, all[:1]} {
		f.do("DEL", f.keys.turn(0, "reclaim:workers"))
		if got, err := q.Reclaim(f.ctx, longIdle, 3); err != nil || !slices.Equal(ids(got), want) {
			t.Errorf("the next turn: %v, %v, want %v", ids(got), err, want)
		}
	}

	// Entries whose payload is gone are dropped from the pending ones, and not returned.
	f.do("DEL", f.keys.turn(0, "reclaim:workers"))
	f.must(f.queue(domain.GroupWorkers, "dead").HandBack(f.ctx, all[10:12]))
	f.do("XDEL", f.keys.requests(0), all[10])
	if got, err := f.queue(domain.GroupWorkers, "w3").Reclaim(f.ctx, longIdle, 3); err != nil || !slices.Equal(ids(got), all[11:12]) {
		t.Errorf("with one deleted: %v, %v", ids(got), err)
	}
	if e := f.entry(domain.GroupWorkers, all[10]); e.ID != "" {
		t.Errorf("a deleted entry is still pending: %+v", e)
	}
}

func TestTakeTurn(t *testing.T) {
	f := newFixture(t)
	take := func(job, who string, every time.Duration) bool {
		t.Helper()
		mine, err := f.store.TakeTurn(f.ctx, 0, job, who, every)
		f.must(err)
		return mine
	}
	if !take("trim", "w1", time.Hour) || take("trim", "w2", time.Millisecond) || take("trim", "w1", time.Millisecond) {
		t.Error("the first has the turn, and nobody else while it lasts")
	}
	if !take("expire", "w2", 5*time.Millisecond) {
		t.Error("another job is another turn")
	}
	f.eventually("the turn is over", func() bool { return take("expire", "w1", time.Hour) })
	if ttl, err := f.rdb.PTTL(f.ctx, f.keys.turn(0, "trim")).Result(); err != nil || ttl <= 0 || ttl > time.Hour {
		t.Errorf("it lasts %s, %v", ttl, err)
	}
}

func TestLeave(t *testing.T) {
	f := newFixture(t)
	mine := f.give("w1", 1)
	f.give("w2", 1)
	q := f.queue(domain.GroupWorkers, "w1")
	_, err := q.KeepAlive(f.ctx, nil, time.Hour)
	f.must(err)

	// With an entry pending it stays, or the entry would be lost.
	f.must(q.Leave(f.ctx))
	if got := f.consumers(domain.GroupWorkers); !slices.Equal(got, []string{"w1", "w2"}) {
		t.Fatalf("consumers %v", got)
	}
	if e := f.entry(domain.GroupWorkers, mine[0]); e.Consumer != "w1" {
		t.Errorf("the entry: %+v", e)
	}
	_, err = q.KeepAlive(f.ctx, nil, time.Hour)
	f.must(err)
	f.must(q.Ack(f.ctx, mine))

	// Others may remove it only if it is not alive; it itself may go.
	left, err := f.store.leave(f.ctx, 0, domain.GroupWorkers, "w1", false)
	f.must(err)
	if left {
		t.Error("it says that it removed a consumer that is alive")
	}
	if got := f.consumers(domain.GroupWorkers); !slices.Equal(got, []string{"w1", "w2"}) {
		t.Fatalf("another removed a consumer that is alive: %v", got)
	}
	f.must(q.Leave(f.ctx))
	if got := f.consumers(domain.GroupWorkers); !slices.Equal(got, []string{"w2"}) {
		t.Errorf("consumers %v", got)
	}
	if n := f.do("ZCARD", f.keys.consumers(0)); n != int64(0) {
		t.Errorf("%v count as alive", n)
	}
	f.must(q.Leave(f.ctx)) // of one that is not there
}

// Whoever is not alive and has nothing is forgotten, also one that died after it had
// said that it was there and before it read, so that it is in no group.
func TestForgetConsumers(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(1)) // so that there is something in the log
	for _, name := range []string{"gone", "gone-with-entry", "alive", "stranger"} {
		entries := f.give(name, 1)
		if name != "gone-with-entry" {
			f.must(f.queue(domain.GroupWorkers, name).Ack(f.ctx, entries))
		}
	}
	f.deliver(domain.GroupPosting, "gone")
	f.must(f.queue(domain.GroupPosting, "gone").Ack(f.ctx, f.pending(domain.GroupPosting)))
	for name, aliveFor := range map[string]time.Duration{"gone": 0, "gone-with-entry": 0, "alive": time.Hour} {
		_, err := f.queue(domain.GroupWorkers, name).KeepAlive(f.ctx, nil, aliveFor)
		f.must(err)
	}
	_, err := f.queue(domain.GroupPosting, "gone").KeepAlive(f.ctx, nil, time.Hour)
	f.must(err)
	f.do("ZADD", f.keys.consumers(0), f.now()-1, "workers/never-read")
	f.waitUntil(f.now() + 1)

	forgotten, err := f.store.ForgetConsumers(f.ctx, 0)
	if slices.Sort(forgotten); err != nil || !slices.Equal(forgotten, []string{"gone", "never-read"}) {
		t.Errorf("forgotten %v, %v", forgotten, err)
	}
	if got := f.consumers(domain.GroupWorkers); !slices.Equal(got, []string{"alive", "gone-with-entry", "stranger"}) {
		t.Errorf("workers %v", got)
	}
	if got := f.consumers(domain.GroupPosting); !slices.Equal(got, []string{"gone"}) {
		t.Errorf("posting %v: another group's consumer of that name is alive", got)
	}
	members, err := f.rdb.ZRange(f.ctx, f.keys.consumers(0), 0, -1).Result()
	slices.Sort(members)
	if want := []string{"posting/gone", "workers/alive", "workers/gone-with-entry"}; err != nil || !slices.Equal(members, want) {
		t.Errorf("known %v, %v", members, err)
	}
}

// A worker that waits for its first entry is shown as alive, although Redis does not
// know it as a consumer yet; one that is gone is not.
func TestPendingShowsWhoWaits(t *testing.T) {
	f := newFixture(t)
	f.give("working", 1)
	for name, aliveFor := range map[string]time.Duration{"working": time.Hour, "waiting": time.Hour, "gone": 0} {
		_, err := f.queue(domain.GroupWorkers, name).KeepAlive(f.ctx, nil, aliveFor)
		f.must(err)
	}
	f.waitUntil(f.now() + 1)
	all, err := f.store.Pending(f.ctx, 10)
	f.must(err)
	for _, g := range all {
		var got []string
		for _, c := range g.Consumers {
			got = append(got, fmt.Sprintf("%s %d %t", c.Name, c.Pending, c.Alive))
		}
		var want []string
		if g.Group == string(domain.GroupWorkers) {
			want = []string{"waiting 0 true", "working 1 true"}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", g.Group, got, want)
		}
	}
}

// A worker that stops with work in hand cannot leave yet. It is forgotten as soon
// as somebody has taken that work.
func TestForgetsWhoHandedBack(t *testing.T) {
	f := newFixture(t)
	mine := f.give("w1", 1)
	q := f.queue(domain.GroupWorkers, "w1")
	_, err := q.KeepAlive(f.ctx, mine, time.Hour)
	f.must(err)
	f.must(q.HandBack(f.ctx, mine))
	f.must(q.Leave(f.ctx))
	f.waitUntil(f.now() + 1)
	if forgotten, err := f.store.ForgetConsumers(f.ctx, 0); err != nil || len(forgotten) != 0 {
		t.Fatalf("forgotten with an entry pending: %v, %v", forgotten, err)
	}
	taken, err := f.queue(domain.GroupWorkers, "w2").Reclaim(f.ctx, longIdle, 10)
	if err != nil || !slices.Equal(ids(taken), mine) {
		t.Fatalf("reclaimed %v, %v", ids(taken), err)
	}
	if forgotten, err := f.store.ForgetConsumers(f.ctx, 0); err != nil || !slices.Equal(forgotten, []string{"w1"}) {
		t.Errorf("forgotten %v, %v", forgotten, err)
	}
}

func TestTrim(t *testing.T) {
	const stream = "holdfast:{0}:requests"
	for _, test := range []struct {
		name string
		do   func(f *fixture)
		left []string // of the entries 5-1 5-2 5-3 6-0 7-0
	}{
		{"nothing was read", func(*fixture) {}, []string{"5-1", "5-2", "5-3", "6-0", "7-0"}},
		{"all is pending", func(f *fixture) { f.deliver(domain.GroupWorkers, "w1") }, []string{"5-1", "5-2", "5-3", "6-0", "7-0"}},
		{"all is acknowledged", func(f *fixture) {
			f.deliver(domain.GroupWorkers, "w1")
			f.do("XACK", stream, "workers", "5-1", "5-2", "5-3", "6-0", "7-0")
		}, nil},
		{"the first is pending", func(f *fixture) {
			f.deliver(domain.GroupWorkers, "w1")
			f.do("XACK", stream, "workers", "5-2", "5-3", "6-0", "7-0")
		}, []string{"5-1", "5-2", "5-3", "6-0", "7-0"}},
		{"one in the middle is pending", func(f *fixture) {
			f.deliver(domain.GroupWorkers, "w1")
			f.do("XACK", stream, "workers", "5-1", "5-2", "6-0", "7-0")
		}, []string{"5-3", "6-0", "7-0"}},
		{"some were not read", func(f *fixture) {
			f.do("XREADGROUP", "GROUP", "workers", "w1", "COUNT", 2, "STREAMS", stream, ">")
			f.do("XACK", stream, "workers", "5-1", "5-2")
		}, []string{"5-3", "6-0", "7-0"}},
		{"some were not read, and one is pending", func(f *fixture) {
			f.do("XREADGROUP", "GROUP", "workers", "w1", "COUNT", 2, "STREAMS", stream, ">")
			f.do("XACK", stream, "workers", "5-1")
		}, []string{"5-2", "5-3", "6-0", "7-0"}},
		{"another group lags behind", func(f *fixture) {
			f.do("XGROUP", "CREATE", stream, "reports", "0")
			f.do("XREADGROUP", "GROUP", "reports", "r", "COUNT", 1, "STREAMS", stream, ">")
			f.do("XACK", stream, "reports", "5-1")
			f.deliver(domain.GroupWorkers, "w1")
			f.do("XACK", stream, "workers", "5-1", "5-2", "5-3", "6-0", "7-0")
		}, []string{"5-2", "5-3", "6-0", "7-0"}},
		{"another group has one pending", func(f *fixture) {
			f.do("XGROUP", "CREATE", stream, "a-first", "0")
			f.do("XREADGROUP", "GROUP", "a-first", "r", "STREAMS", stream, ">")
			f.do("XACK", stream, "a-first", "5-1", "5-2", "7-0", "5-3")
			f.deliver(domain.GroupWorkers, "w1")
			f.do("XACK", stream, "workers", "5-1", "5-2", "5-3", "6-0", "7-0")
		}, []string{"6-0", "7-0"}},
		{"the group started later", func(f *fixture) { f.do("XGROUP", "SETID", stream, "workers", "5-2") }, []string{"5-3", "6-0", "7-0"}},
		{"no group", func(f *fixture) { f.do("XGROUP", "DESTROY", stream, "workers") }, []string{"5-1", "5-2", "5-3", "6-0", "7-0"}},
		{"the last one was deleted", func(f *fixture) {
			f.do("XDEL", stream, "7-0")
			f.deliver(domain.GroupWorkers, "w1")
			f.do("XACK", stream, "workers", "5-1", "5-2", "5-3")
		}, []string{"6-0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(1))
			for _, id := range []string{"5-1", "5-2", "5-3", "6-0", "7-0"} {
				f.do("XADD", stream, id, "v", "1")
			}
			test.do(f)
			all, err := f.rdb.XLen(f.ctx, stream).Result()
			f.must(err)
			n, err := f.store.Trim(f.ctx, 0)
			if err != nil || n != all-int64(len(test.left)) {
				t.Errorf("%d dropped, %v", n, err)
			}
			entries, err := f.rdb.XRange(f.ctx, stream, "-", "+").Result()
			f.must(err)
			var left []string
			for _, e := range entries {
				left = append(left, e.ID)
			}
			if !slices.Equal(left, test.left) {
				t.Errorf("left %v, want %v", left, test.left)
			}
			if n, err := f.store.Trim(f.ctx, 0); n != 0 || err != nil {
				t.Errorf("again: %d dropped, %v", n, err)
			}
			if n := f.do("XLEN", f.keys.log(0)); n != int64(1) {
				t.Errorf("%v facts are left of 1", n)
			}
		})
	}
}

// TestTrimMany drops more than one of Redis's nodes, to the entry.
func TestTrimMany(t *testing.T) {
	f := newFixture(t)
	all := f.give("w1", 1003)
	f.must(f.queue(domain.GroupWorkers, "w1").Ack(f.ctx, all[:777]))
	if n, err := f.store.Trim(f.ctx, 0); n != 777 || err != nil {
		t.Errorf("%d dropped, %v", n, err)
	}
	if first, err := f.rdb.XRangeN(f.ctx, f.keys.requests(0), "-", "+", 1).Result(); err != nil || first[0].ID != all[777] {
		t.Errorf("the first is %v, %v, want %s", first, err, all[777])
	}
}

func (f *fixture) deadLetters() []DeadLetter {
	f.Helper()
	var all []DeadLetter
	f.must(f.store.EachDeadLetter(f.ctx, func(d DeadLetter) error {
		all = append(all, d)
		return nil
	}))
	return all
}

func TestDeadLetter(t *testing.T) {
	f := newFixture(t)
	fields := purchase("e1", "o1", "fred", 1, "x\x00,1:", "\xff\r\n|", "", "")
	bad := f.publish(fields)
	f.deliver(domain.GroupWorkers, "w1")
	f.do("XCLAIM", f.keys.requests(0), "workers", "w2", 0, bad) // delivered twice
	good, settled := f.give("w1", 1)[0], f.give("w1", 1)[0]
	q := f.queue(domain.GroupWorkers, "w1")
	f.must(q.Ack(f.ctx, []string{settled}))
	before := f.now()
	reason := "conflict: with “everything” in it,\n|\x00"
	dead := []domain.DeadEntry{{ID: bad, Reason: reason}, {ID: settled, Reason: "settled by another"}, {ID: "5-5", Reason: "never was"}, {ID: bad, Reason: "again"}}
	f.must(q.DeadLetter(f.ctx, dead))

	letters := f.deadLetters()
	if len(letters) != 1 {
		t.Fatalf("%d letters: %+v, want 1", len(letters), letters)
	}
	got := letters[0]
	if got.AtMillis < before || got.AtMillis > f.now() || !strings.HasPrefix(got.ID, "0:") {
		t.Errorf("got %+v", got)
	}
	want := DeadLetter{
		ID: got.ID, Stream: "requests", Group: "workers", EntryID: bad, Reason: reason, Deliveries: 2, AtMillis: got.AtMillis,
		Fields: map[string]string{
			"v": "1", "type": "purchase", "event_id": "e1", "order_id": "o1", "payment_token": "[redacted]", "customer_id": "fred", "quantity": "1",
			"x\x00,1:": "\xff\r\n|", "": "",
		},
		partition: 0, letterID: got.ID[2:], raw: fields,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	f.wantPending(domain.GroupWorkers, good)
	dump := f.dump()
	f.must(q.DeadLetter(f.ctx, dead))
	f.must(q.DeadLetter(f.ctx, nil))
	f.wantSame(dump)
	if one, err := f.store.DeadLetter(f.ctx, got.ID); err != nil || !reflect.DeepEqual(one, want) {
		t.Errorf("by its id: %+v, %v", one, err)
	}
}

// TestDeadLetterOfAnySize: none of an entry's fields, or 1,500 of them.
func TestDeadLetterOfAnySize(t *testing.T) {
	f := newFixture(t)
	q := f.queue(domain.GroupWorkers, "w1")
	empty := f.give("w1", 1)[0]
	f.do("XDEL", f.keys.requests(0), empty) // its payload is gone: no fields are left
	var wide []string
	for i := range 1500 {
		wide = append(wide, "field "+strconv.Itoa(i), strings.Repeat("\x00,", i%50))
	}
	big := f.publish(wide)
	huge := f.publish([]string{"v", "1", "blob", strings.Repeat("\xff|", 500_000)})
	most := f.publish(wide[:maxRedriveFields])
	f.deliver(domain.GroupWorkers, "w1")
	f.must(q.DeadLetter(f.ctx, []domain.DeadEntry{{ID: empty, Reason: "a"}, {ID: big, Reason: "b"}, {ID: huge, Reason: "c"}, {ID: most, Reason: "d"}}))
	f.wantPending(domain.GroupWorkers)
	letters := f.deadLetters()
	if len(letters) != 4 || letters[0].raw != nil || len(letters[0].Fields) != 0 || !slices.Equal(letters[1].raw, wide) || len(letters[2].Fields["blob"]) != 1_000_000 {
		t.Fatalf("%d letters", len(letters))
	}
	// Nothing, and too much, cannot be published again; the letters stay.
	dump := f.dump()
	for _, letter := range letters[:2] {
		_, err := f.store.Redrive(f.ctx, letter.ID)
		f.wantClass(err, domain.ClassReject)
	}
	f.wantSame(dump)
	for i, want := range [][]string{{"v", "1", "blob", strings.Repeat("\xff|", 500_000)}, wide[:maxRedriveFields]} {
		id, err := f.store.Redrive(f.ctx, letters[2+i].ID)
		f.must(err)
		if got := f.deliver(domain.GroupWorkers, "w1"); len(got) != 1 || got[0].ID != id || !slices.Equal(got[0].Fields, want) {
			t.Errorf("letter %d: %d entries", i, len(got))
		}
	}
}

func TestDeadLetterManyItems(t *testing.T) {
	f := newFixture(t)
	all := f.give("w1", maxBatch+203)
	dead := make([]domain.DeadEntry, len(all))
	for i, id := range all {
		dead[i] = domain.DeadEntry{ID: id, Reason: "r" + strconv.Itoa(i)}
	}
	f.must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.ctx, dead))
	f.wantPending(domain.GroupWorkers)
	letters := f.deadLetters()
	if len(letters) != len(all) {
		t.Fatalf("%d letters", len(letters))
	}
	for i, letter := range letters {
		if letter.EntryID != all[i] || letter.Reason != "r"+strconv.Itoa(i) {
			t.Fatalf("letter %d: %+v", i, letter)
		}
	}
}

// TestRedriveRequest: it comes back as a new entry, once.
func TestRedriveRequest(t *testing.T) {
	f := newFixture(t)
	fields := purchase("e1", "o1", "fred", 1, "x\x00", "\xff\n")
	old := f.publish(fields)
	f.deliver(domain.GroupWorkers, "w1")
	f.must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.ctx, []domain.DeadEntry{{ID: old, Reason: "r"}}))
	if n, err := f.store.Trim(f.ctx, 0); n != 1 || err != nil { // the old entry is gone meanwhile
		t.Fatalf("%d, %v", n, err)
	}
	id := f.deadLetters()[0].ID
	entryID, err := f.store.Redrive(f.ctx, id)
	if err != nil || entryID == old {
		t.Fatalf("%s, %v", entryID, err)
	}
	if got := f.deliver(domain.GroupWorkers, "w1"); !reflect.DeepEqual(got, []domain.Entry{{ID: entryID, Fields: fields}}) {
		t.Errorf("delivered %+v", got)
	}
	before := f.dump()
	for name, do := range map[string]func() error{
		"redrive": func() error { _, err := f.store.Redrive(f.ctx, id); return err },
		"discard": func() error { return f.store.Discard(f.ctx, id) },
		"show":    func() error { _, err := f.store.DeadLetter(f.ctx, id); return err },
	} {
		if err := do(); !errors.Is(err, domain.ErrNotFound) || domain.ClassOf(err) != domain.ClassReject {
			t.Errorf("%s again: %v", name, err)
		}
		f.wantSame(before)
	}
	// The script itself, as it runs if somebody else was faster after the letter was read.
	reply, err := f.store.run(f.ctx, scriptRedrive, []string{f.keys.requests(0), f.keys.dead(0)}, id[2:], "workers", old, "v", "1").Text()
	if reply != "" || err != nil {
		t.Errorf("got %q, %v", reply, err)
	}
	f.wantSame(before)
}

// TestRedriveFact: an entry of the log becomes pending again, where it was, for whoever reclaims next.
func TestRedriveFact(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(1))
	fact, _ := f.lastFact()
	for _, group := range []domain.Group{domain.GroupPosting, domain.GroupSettlement} {
		f.deliver(group, "w1")
		f.must(f.queue(group, "w1").DeadLetter(f.ctx, []domain.DeadEntry{{ID: fact.ID, Reason: "refund refused"}}))
		f.wantPending(group)
	}
	letters := f.deadLetters()
	if len(letters) != 2 || letters[1].Stream != "log" || letters[1].Group != "settlement" || !strings.HasPrefix(letters[1].Fields["listed"], "e1|") {
		t.Fatalf("letters %+v", letters)
	}
	id, err := f.store.Redrive(f.ctx, letters[1].ID)
	if err != nil || id != fact.ID {
		t.Fatalf("%s, %v", id, err)
	}
	f.wantPending(domain.GroupPosting)
	f.wantPending(domain.GroupSettlement, fact.ID)
	got, err := f.queue(domain.GroupSettlement, "w2").Reclaim(f.ctx, longIdle, 10)
	if err != nil || len(got) != 1 || got[0].ID != fact.ID || got[0].Fields[0] != "listed" {
		t.Errorf("reclaimed %+v, %v", got, err)
	}
	if n := f.do("XLEN", f.keys.log(0)); n != int64(1) {
		t.Errorf("%v entries in the log, want 1", n)
	}

	// An entry that is not there any more cannot be given back: the letter stays, until it is discarded.
	f.do("XDEL", f.keys.log(0), fact.ID)
	before := f.dump()
	_, err = f.store.Redrive(f.ctx, letters[0].ID)
	f.wantClass(err, domain.ClassReject)
	if errors.Is(err, domain.ErrNotFound) {
		t.Errorf("got %v: the letter is there", err)
	}
	f.wantSame(before, f.keys.log(0)) // but for the consumer that was to hold it
	f.wantPending(domain.GroupPosting)
	f.must(f.store.Discard(f.ctx, letters[0].ID))
	if left := f.deadLetters(); len(left) != 0 {
		t.Errorf("left %+v", left)
	}
}

func TestDeadLettersPaged(t *testing.T) {
	f := newFixture(t)
	pipe := f.rdb.Pipeline()
	for i := range readPage + 7 {
		pipe.XAdd(f.ctx, &redis.XAddArgs{Stream: f.keys.dead(0), Values: []string{"stream", "requests", "reason", strconv.Itoa(i), "deliveries", "1", "at", "2", "fields", ""}})
	}
	_, err := pipe.Exec(f.ctx)
	f.must(err)
	for i, letter := range f.deadLetters() {
		if letter.Reason != strconv.Itoa(i) {
			t.Fatalf("letter %d has reason %s", i, letter.Reason)
		}
	}
	if n := len(f.deadLetters()); n != readPage+7 {
		t.Errorf("%d letters", n)
	}
	stop := errors.New("stop")
	if err := f.store.EachDeadLetter(f.ctx, func(DeadLetter) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	for _, damaged := range []string{"deliveries", "at", "fields"} {
		f.do("DEL", f.keys.dead(0))
		f.do("XADD", f.keys.dead(0), "*", damaged, "tok-visa-4242")
		err := f.store.EachDeadLetter(f.ctx, func(DeadLetter) error { return nil })
		f.wantClass(err, domain.ClassPoison)
		if damaged == "fields" && strings.Contains(fmt.Sprint(err), "4242") {
			t.Errorf("the error repeats what may be a token: %v", err)
		}
	}
}
