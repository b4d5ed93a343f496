package streams

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/inspect"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
	"holdfast/streams/internal/streamstest"
)

// entry is what the group knows of one pending entry.
func (f *fixture) entry(group domain.Group, id string) redis.XPendingExt {
	f.Helper()
	stream, _ := f.Keys.StreamOf(0, group)
	found, err := f.Client.XPendingExt(f.Ctx, &redis.XPendingExtArgs{Stream: stream, Group: string(group), Start: id, End: id, Count: 1}).Result()
	f.Must(err)
	if len(found) == 0 {
		return redis.XPendingExt{}
	}
	return found[0]
}

func (f *fixture) consumers(group domain.Group) []string {
	f.Helper()
	stream, _ := f.Keys.StreamOf(0, group)
	infos, err := f.Client.XInfoConsumers(f.Ctx, stream, string(group)).Result()
	f.Must(err)
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
	store, err := Open(f.Ctx, streamstest.Server().URL()+"?read_timeout=200ms", Options{Create: true, Partitions: 1})
	f.Must(err)
	defer func() { f.Must(store.Close()) }()
	q, err := store.Queue(0, domain.GroupWorkers, "w1")
	f.Must(err)
	if got, err := q.Read(f.Ctx, 1, time.Second); err != nil || len(got) != 0 {
		t.Fatalf("got %v, %v", got, err)
	}
}

func TestReadAndOwn(t *testing.T) {
	f := newFixture(t)
	q := f.queue(domain.GroupWorkers, "w1")
	want := purchase("e1", "o1", "fred", 1, "x\x00", "\xff\r\n", "", "")
	id := f.Publish(want)
	second := f.Publish(request("cancel", "e1", "o2"))
	got, err := q.Read(f.Ctx, 1, time.Second)
	if err != nil || !reflect.DeepEqual(got, []domain.Entry{{ID: id, Fields: want}}) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got, err = q.Read(f.Ctx, 10, time.Second); err != nil || !slices.Equal(ids(got), []string{second}) {
		t.Fatalf("got %v, %v", got, err)
	}
	third := f.Publish(request("cancel", "e1", "o3")) // not this consumer's
	f.Deliver(domain.GroupWorkers, "w2")

	// What was delivered and not acknowledged is its own, page by page; a deleted one has no fields.
	f.Do("XDEL", f.Keys.Requests(0), second)
	for after, want := range map[string][]domain.Entry{
		"0-0": {{ID: id, Fields: want, Deliveries: 1}, {ID: second, Deliveries: 1}}, id: {{ID: second, Deliveries: 1}}, second: {},
	} {
		if got, err := q.Own(f.Ctx, after, 10, false); err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("after %s: %+v, %v, want %+v", after, got, err, want)
		}
	}
	if got, err := q.Own(f.Ctx, "0-0", 1, false); err != nil || !slices.Equal(ids(got), []string{id}) {
		t.Errorf("at most one: %v, %v", got, err)
	}
	if e := f.entry(domain.GroupWorkers, id); e.RetryCount != 1 {
		t.Errorf("%d deliveries, want 1: looking is none", e.RetryCount)
	}
	// A process that starts inherits them. The one without a payload is not lost for it.
	wantInherited := []domain.Entry{{ID: id, Fields: want, Deliveries: 2}, {ID: second, Deliveries: 1}}
	if got, err := q.Own(f.Ctx, "0-0", 10, true); err != nil || !reflect.DeepEqual(got, wantInherited) {
		t.Errorf("inherited %+v, %v, want %+v", got, err, wantInherited)
	}
	if e := f.entry(domain.GroupWorkers, id); e.RetryCount != 2 {
		t.Errorf("%d deliveries, want 2", e.RetryCount)
	}
	f.WantPending(domain.GroupWorkers, id, second, third)
	f.Must(q.Ack(f.Ctx, []string{id, third})) // acknowledging is not fenced to the owner
	f.WantPending(domain.GroupWorkers, second)
	f.Must(q.Ack(f.Ctx, nil))
}

// TestGroupGone: who removed a group is for people to find out, so the error says that one was gone; it is there again at once.
func TestGroupGone(t *testing.T) {
	f := newFixture(t)
	id := f.Publish(request("cancel", "e1", "o1"))
	q := f.queue(domain.GroupWorkers, "w1")
	f.Do("XGROUP", "DESTROY", f.Keys.Requests(0), string(domain.GroupWorkers))
	_, err := q.Read(f.Ctx, 1, 0)
	f.WantClass(err, domain.ClassRetry)
	if domain.CodeOf(err) != domain.CodeGroupGone {
		t.Errorf("code %s: %v", domain.CodeOf(err), err)
	}
	if got, err := q.Read(f.Ctx, 1, 0); err != nil || !slices.Equal(ids(got), []string{id}) {
		t.Errorf("the next read: %v, %v", got, err)
	}
}

func TestAckManyItems(t *testing.T) {
	f := newFixture(t)
	all := f.Give("w1", 2*access.MaxBatch+203)
	f.Must(f.queue(domain.GroupWorkers, "w1").Ack(f.Ctx, all[:len(all)-1]))
	f.WantPending(domain.GroupWorkers, all[len(all)-1])
}

// TestKeepAlive: what is this consumer's stays its own, and what others took over stays theirs.
func TestKeepAlive(t *testing.T) {
	f := newFixture(t)
	mine := f.Give("w1", 3)
	theirs := f.Give("w2", 1)
	acked := f.Give("w1", 1)
	q := f.queue(domain.GroupWorkers, "w1")
	f.Must(q.Ack(f.Ctx, acked))
	f.Do("XCLAIM", f.Keys.Requests(0), "purchase", "w2", 0, mine[1], "IDLE", 3_600_000)
	f.Do("XCLAIM", f.Keys.Requests(0), "purchase", "w1", 0, mine[0], mine[2], "IDLE", 3_600_000, "JUSTID")
	asked := slices.Concat(mine, theirs, acked, []string{"5-5"})
	before := f.Now()
	lost, err := q.KeepAlive(f.Ctx, asked, 7*time.Second)
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
	until, err := f.Client.ZScore(f.Ctx, f.Keys.Consumers(0), "purchase/w1").Result()
	if err != nil || int64(until) < before+7000 || int64(until) > f.Now()+7000 {
		t.Errorf("alive until %.0f, %v; it was %d", until, err, before)
	}
	// With nothing in hand it says that it is alive, and no more.
	dump := f.Dump()
	if lost, err := q.KeepAlive(f.Ctx, nil, time.Second); err != nil || len(lost) != 0 {
		t.Errorf("%v, %v", lost, err)
	}
	f.WantSame(dump, f.Keys.Consumers(0))
}

// TestKeepAliveManyItems: more than one page of pending entries, and than Lua's stack takes.
func TestKeepAliveManyItems(t *testing.T) {
	const n = 2500
	f := newFixture(t)
	mine := f.Give("w1", n)
	args := []any{"XCLAIM", f.Keys.Requests(0), "purchase", "w1", 0}
	for _, id := range mine {
		args = append(args, id)
	}
	f.Do(append(args, "IDLE", 3_600_000, "JUSTID")...)
	q := f.queue(domain.GroupWorkers, "w1")
	if lost, err := q.KeepAlive(f.Ctx, mine, time.Second); err != nil || len(lost) != 0 {
		t.Fatalf("%d lost, %v", len(lost), err)
	}
	idle := func() (n int) {
		list, err := f.Client.XPendingExt(f.Ctx, &redis.XPendingExtArgs{Stream: f.Keys.Requests(0), Group: "purchase", Start: "-", End: "+", Count: 10_000, Idle: longIdle / 2}).Result()
		f.Must(err)
		return len(list)
	}
	if got := idle(); got != 0 {
		t.Errorf("%d are still idle", got)
	}
	f.Must(q.HandBack(f.Ctx, mine))
	if got := idle(); got != n {
		t.Errorf("%d of %d were handed back", got, n)
	}
}

func TestHandBack(t *testing.T) {
	f := newFixture(t)
	mine, theirs := f.Give("w1", 2), f.Give("w2", 1)
	q := f.queue(domain.GroupWorkers, "w1")
	f.Must(q.HandBack(f.Ctx, nil))
	f.Must(q.HandBack(f.Ctx, []string{mine[0], theirs[0], "5-5"}))
	for id, handed := range map[string]bool{mine[0]: true, mine[1]: false, theirs[0]: false} {
		if e := f.entry(domain.GroupWorkers, id); (e.Idle >= 24*time.Hour) != handed || e.RetryCount != 1 {
			t.Errorf("%s: %+v, handed back: want %v", id, e, handed)
		}
	}
	// Whoever reclaims next has it at once.
	got, err := f.queue(domain.GroupWorkers, "w3").Reclaim(f.Ctx, longIdle, 10)
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
	all := f.Give("dead", 600)
	late := all[590:593]
	f.Must(f.queue(domain.GroupWorkers, "dead").HandBack(f.Ctx, late))
	q := f.queue(domain.GroupWorkers, "w1")
	got, err := q.Reclaim(f.Ctx, longIdle, 3)
	if err != nil || !slices.Equal(ids(got), late) {
		t.Fatalf("reclaimed %v, %v, want %v", ids(got), err, late)
	}
	// It was given all it asked for, so it goes on without a turn, from where it stopped to the end and from the start again.
	f.Must(f.queue(domain.GroupWorkers, "dead").HandBack(f.Ctx, all[:1]))
	f.Do("SET", f.Keys.Turn(0, "reclaim:purchase"), "w2")
	f.Do("SET", f.Keys.Turn(0, "reclaim:posting"), "w2")
	if got, err := q.Reclaim(f.Ctx, longIdle, 3); err != nil || !slices.Equal(ids(got), all[:1]) {
		t.Errorf("from the start again: %v, %v, want %v", ids(got), err, all[:1])
	}
	// Now it was not, and while another has the turn nobody looks; the turn of another group does not matter.
	f.Must(f.queue(domain.GroupWorkers, "dead").HandBack(f.Ctx, all[1:2]))
	if got, err := q.Reclaim(f.Ctx, longIdle, 3); err != nil || len(got) != 0 {
		t.Errorf("out of turn: %v, %v", got, err)
	}
	f.Do("DEL", f.Keys.Turn(0, "reclaim:purchase"))
	if got, err := q.Reclaim(f.Ctx, longIdle, 3); err != nil || !slices.Equal(ids(got), all[1:2]) {
		t.Errorf("the next turn: %v, %v, want %v", ids(got), err, all[1:2])
	}

	// Entries whose payload is gone are dropped from the pending ones, and not returned.
	f.Do("DEL", f.Keys.Turn(0, "reclaim:purchase"))
	f.Must(f.queue(domain.GroupWorkers, "dead").HandBack(f.Ctx, all[10:12]))
	f.Do("XDEL", f.Keys.Requests(0), all[10])
	if got, err := f.queue(domain.GroupWorkers, "w3").Reclaim(f.Ctx, longIdle, 3); err != nil || !slices.Equal(ids(got), all[11:12]) {
		t.Errorf("with one deleted: %v, %v", ids(got), err)
	}
	if e := f.entry(domain.GroupWorkers, all[10]); e.ID != "" {
		t.Errorf("a deleted entry is still pending: %+v", e)
	}
}

// TestReclaimCountsDeliveries: also of entries between which this consumer has more in hand than one page tells.
func TestReclaimCountsDeliveries(t *testing.T) {
	f := newFixture(t)
	q := f.queue(domain.GroupWorkers, "w1")
	first := f.Give("dead", 1)
	mine := f.Give("w1", access.ReadPage+50)
	last := f.Give("dead", 2)
	f.Must(f.queue(domain.GroupWorkers, "dead").HandBack(f.Ctx, slices.Concat(first, last)))
	f.Do("XCLAIM", f.Keys.Requests(0), "purchase", "dead", 0, last[0], "IDLE", 86400000, "RETRYCOUNT", 6)
	got, err := q.Reclaim(f.Ctx, longIdle, 500)
	if err != nil || !slices.Equal(ids(got), slices.Concat(first, last)) {
		t.Fatalf("reclaimed %v, %v", ids(got), err)
	}
	for i, want := range []int64{2, 7, 2} {
		if got[i].Deliveries != want {
			t.Errorf("%s was delivered %d times, want %d", got[i].ID, got[i].Deliveries, want)
		}
	}
	if e := f.entry(domain.GroupWorkers, mine[0]); e.RetryCount != 1 {
		t.Errorf("what it had in hand was delivered %d times", e.RetryCount)
	}
}

func TestTakeTurn(t *testing.T) {
	f := newFixture(t)
	take := func(job, who string, every time.Duration) bool {
		t.Helper()
		mine, err := f.ledger.TakeTurn(f.Ctx, 0, job, who, every)
		f.Must(err)
		return mine
	}
	if !take("trim", "w1", time.Hour) || take("trim", "w2", time.Millisecond) || take("trim", "w1", time.Millisecond) {
		t.Error("the first has the turn, and nobody else while it lasts")
	}
	if !take("expire", "w2", 5*time.Millisecond) {
		t.Error("another job is another turn")
	}
	f.Eventually("the turn is over", func() bool { return take("expire", "w1", time.Hour) })
	if ttl, err := f.Client.PTTL(f.Ctx, f.Keys.Turn(0, "trim")).Result(); err != nil || ttl <= 0 || ttl > time.Hour {
		t.Errorf("it lasts %s, %v", ttl, err)
	}
}

func TestLeave(t *testing.T) {
	f := newFixture(t)
	mine := f.Give("w1", 1)
	f.Give("w2", 1)
	q := f.queue(domain.GroupWorkers, "w1")
	_, err := q.KeepAlive(f.Ctx, nil, time.Hour)
	f.Must(err)

	// With an entry pending it stays, or the entry would be lost.
	f.Must(q.Leave(f.Ctx))
	if got := f.consumers(domain.GroupWorkers); !slices.Equal(got, []string{"w1", "w2"}) {
		t.Fatalf("consumers %v", got)
	}
	if e := f.entry(domain.GroupWorkers, mine[0]); e.Consumer != "w1" {
		t.Errorf("the entry: %+v", e)
	}
	_, err = q.KeepAlive(f.Ctx, nil, time.Hour)
	f.Must(err)
	f.Must(q.Ack(f.Ctx, mine))

	// Others may remove it only if it is not alive; it itself may go.
	left, err := f.store.leave(f.Ctx, 0, domain.GroupWorkers, "w1", false)
	f.Must(err)
	if left {
		t.Error("it says that it removed a consumer that is alive")
	}
	if got := f.consumers(domain.GroupWorkers); !slices.Equal(got, []string{"w1", "w2"}) {
		t.Fatalf("another removed a consumer that is alive: %v", got)
	}
	f.Must(q.Leave(f.Ctx))
	if got := f.consumers(domain.GroupWorkers); !slices.Equal(got, []string{"w2"}) {
		t.Errorf("consumers %v", got)
	}
	if n := f.Do("ZCARD", f.Keys.Consumers(0)); n != int64(0) {
		t.Errorf("%v count as alive", n)
	}
	f.Must(q.Leave(f.Ctx)) // of one that is not there
}

// Whoever is not alive and has nothing is forgotten, also one that died after it had
// said that it was there and before it read, so that it is in no group.
func TestForgetConsumers(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(1)) // so that there is something in the log
	for _, name := range []string{"gone", "gone-with-entry", "alive", "stranger"} {
		entries := f.Give(name, 1)
		if name != "gone-with-entry" {
			f.Must(f.queue(domain.GroupWorkers, name).Ack(f.Ctx, entries))
		}
	}
	f.Deliver(domain.GroupPosting, "gone")
	f.Must(f.queue(domain.GroupPosting, "gone").Ack(f.Ctx, f.Pending(domain.GroupPosting)))
	for name, aliveFor := range map[string]time.Duration{"gone": 0, "gone-with-entry": 0, "alive": time.Hour} {
		_, err := f.queue(domain.GroupWorkers, name).KeepAlive(f.Ctx, nil, aliveFor)
		f.Must(err)
	}
	_, err := f.queue(domain.GroupPosting, "gone").KeepAlive(f.Ctx, nil, time.Hour)
	f.Must(err)
	f.Do("ZADD", f.Keys.Consumers(0), f.Now()-1, "purchase/never-read")
	f.WaitUntil(f.Now() + 1)

	forgotten, err := f.ledger.ForgetConsumers(f.Ctx, 0)
	if slices.Sort(forgotten); err != nil || !slices.Equal(forgotten, []string{"gone", "never-read"}) {
		t.Errorf("forgotten %v, %v", forgotten, err)
	}
	if got := f.consumers(domain.GroupWorkers); !slices.Equal(got, []string{"alive", "gone-with-entry", "stranger"}) {
		t.Errorf("workers %v", got)
	}
	if got := f.consumers(domain.GroupPosting); !slices.Equal(got, []string{"gone"}) {
		t.Errorf("posting %v: another group's consumer of that name is alive", got)
	}
	members, err := f.Client.ZRange(f.Ctx, f.Keys.Consumers(0), 0, -1).Result()
	slices.Sort(members)
	if want := []string{"posting/gone", "purchase/alive", "purchase/gone-with-entry"}; err != nil || !slices.Equal(members, want) {
		t.Errorf("known %v, %v", members, err)
	}
}

// A worker that stops with work in hand cannot leave yet. It is forgotten as soon
// as somebody has taken that work.
func TestForgetsWhoHandedBack(t *testing.T) {
	f := newFixture(t)
	mine := f.Give("w1", 1)
	q := f.queue(domain.GroupWorkers, "w1")
	_, err := q.KeepAlive(f.Ctx, mine, time.Hour)
	f.Must(err)
	f.Must(q.HandBack(f.Ctx, mine))
	f.Must(q.Leave(f.Ctx))
	f.WaitUntil(f.Now() + 1)
	if forgotten, err := f.ledger.ForgetConsumers(f.Ctx, 0); err != nil || len(forgotten) != 0 {
		t.Fatalf("forgotten with an entry pending: %v, %v", forgotten, err)
	}
	taken, err := f.queue(domain.GroupWorkers, "w2").Reclaim(f.Ctx, longIdle, 10)
	if err != nil || !slices.Equal(ids(taken), mine) {
		t.Fatalf("reclaimed %v, %v", ids(taken), err)
	}
	if forgotten, err := f.ledger.ForgetConsumers(f.Ctx, 0); err != nil || !slices.Equal(forgotten, []string{"w1"}) {
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
		{"all is pending", func(f *fixture) { f.Deliver(domain.GroupWorkers, "w1") }, []string{"5-1", "5-2", "5-3", "6-0", "7-0"}},
		{"all is acknowledged", func(f *fixture) {
			f.Deliver(domain.GroupWorkers, "w1")
			f.Do("XACK", stream, "purchase", "5-1", "5-2", "5-3", "6-0", "7-0")
		}, nil},
		{"the first is pending", func(f *fixture) {
			f.Deliver(domain.GroupWorkers, "w1")
			f.Do("XACK", stream, "purchase", "5-2", "5-3", "6-0", "7-0")
		}, []string{"5-1", "5-2", "5-3", "6-0", "7-0"}},
		{"one in the middle is pending", func(f *fixture) {
			f.Deliver(domain.GroupWorkers, "w1")
			f.Do("XACK", stream, "purchase", "5-1", "5-2", "6-0", "7-0")
		}, []string{"5-3", "6-0", "7-0"}},
		{"some were not read", func(f *fixture) {
			f.Do("XREADGROUP", "GROUP", "purchase", "w1", "COUNT", 2, "STREAMS", stream, ">")
			f.Do("XACK", stream, "purchase", "5-1", "5-2")
		}, []string{"5-3", "6-0", "7-0"}},
		{"some were not read, and one is pending", func(f *fixture) {
			f.Do("XREADGROUP", "GROUP", "purchase", "w1", "COUNT", 2, "STREAMS", stream, ">")
			f.Do("XACK", stream, "purchase", "5-1")
		}, []string{"5-2", "5-3", "6-0", "7-0"}},
		{"another group lags behind", func(f *fixture) {
			f.Do("XGROUP", "CREATE", stream, "reports", "0")
			f.Do("XREADGROUP", "GROUP", "reports", "r", "COUNT", 1, "STREAMS", stream, ">")
			f.Do("XACK", stream, "reports", "5-1")
			f.Deliver(domain.GroupWorkers, "w1")
			f.Do("XACK", stream, "purchase", "5-1", "5-2", "5-3", "6-0", "7-0")
		}, []string{"5-2", "5-3", "6-0", "7-0"}},
		{"another group has one pending", func(f *fixture) {
			f.Do("XGROUP", "CREATE", stream, "a-first", "0")
			f.Do("XREADGROUP", "GROUP", "a-first", "r", "STREAMS", stream, ">")
			f.Do("XACK", stream, "a-first", "5-1", "5-2", "7-0", "5-3")
			f.Deliver(domain.GroupWorkers, "w1")
			f.Do("XACK", stream, "purchase", "5-1", "5-2", "5-3", "6-0", "7-0")
		}, []string{"6-0", "7-0"}},
		{"the group started later", func(f *fixture) { f.Do("XGROUP", "SETID", stream, "purchase", "5-2") }, []string{"5-3", "6-0", "7-0"}},
		{"no group", func(f *fixture) { f.Do("XGROUP", "DESTROY", stream, "purchase") }, []string{"5-1", "5-2", "5-3", "6-0", "7-0"}},
		{"the last one was deleted", func(f *fixture) {
			f.Do("XDEL", stream, "7-0")
			f.Deliver(domain.GroupWorkers, "w1")
			f.Do("XACK", stream, "purchase", "5-1", "5-2", "5-3")
		}, []string{"6-0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.list("e1", terms(1))
			for _, id := range []string{"5-1", "5-2", "5-3", "6-0", "7-0"} {
				f.Do("XADD", stream, id, "v", "1")
			}
			test.do(f)
			all, err := f.Client.XLen(f.Ctx, stream).Result()
			f.Must(err)
			n, more, err := f.ledger.Trim(f.Ctx, 0)
			if more != (len(test.left) > 0) {
				t.Errorf("any left: %t", more)
			}
			if err != nil || n != all-int64(len(test.left)) {
				t.Errorf("%d dropped, %v", n, err)
			}
			entries, err := f.Client.XRange(f.Ctx, stream, "-", "+").Result()
			f.Must(err)
			var left []string
			for _, e := range entries {
				left = append(left, e.ID)
			}
			if !slices.Equal(left, test.left) {
				t.Errorf("left %v, want %v", left, test.left)
			}
			if n, _, err := f.ledger.Trim(f.Ctx, 0); n != 0 || err != nil {
				t.Errorf("again: %d dropped, %v", n, err)
			}
			if n := f.Do("XLEN", f.Keys.Log(0)); n != int64(1) {
				t.Errorf("%v facts are left of 1", n)
			}
		})
	}
}

// TestTrimMany drops more than one of Redis's nodes, to the entry.
func TestTrimMany(t *testing.T) {
	f := newFixture(t)
	all := f.Give("w1", 1003)
	f.Must(f.queue(domain.GroupWorkers, "w1").Ack(f.Ctx, all[:777]))
	if n, _, err := f.ledger.Trim(f.Ctx, 0); n != 777 || err != nil {
		t.Errorf("%d dropped, %v", n, err)
	}
	if first, err := f.Client.XRangeN(f.Ctx, f.Keys.Requests(0), "-", "+", 1).Result(); err != nil || first[0].ID != all[777] {
		t.Errorf("the first is %v, %v, want %s", first, err, all[777])
	}
}

func TestDeadLetter(t *testing.T) {
	f := newFixture(t)
	fields := purchase("e1", "o1", "fred", 1, "x\x00,1:", "\xff\r\n|", "", "")
	bad := f.Publish(fields)
	f.Deliver(domain.GroupWorkers, "w1")
	f.Do("XCLAIM", f.Keys.Requests(0), "purchase", "w2", 0, bad) // delivered twice
	good, settled := f.Give("w1", 1)[0], f.Give("w1", 1)[0]
	q := f.queue(domain.GroupWorkers, "w1")
	f.Must(q.Ack(f.Ctx, []string{settled}))
	before := f.Now()
	reason := "conflict: with “everything” in it,\n|\x00"
	dead := []domain.DeadEntry{{ID: bad, Reason: reason}, {ID: settled, Reason: "settled by another"}, {ID: "5-5", Reason: "never was"}, {ID: bad, Reason: "again"}}
	f.Must(q.DeadLetter(f.Ctx, dead))

	letters := f.deadLetters()
	if len(letters) != 1 {
		t.Fatalf("%d letters: %+v, want 1", len(letters), letters)
	}
	got := letters[0]
	if got.AtMillis < before || got.AtMillis > f.Now() || !strings.HasPrefix(got.ID(), "0:") {
		t.Errorf("got %+v", got)
	}
	want := layout.DeadLetter{
		Partition: 0, LetterID: got.LetterID, Stream: "requests", Group: "purchase", EntryID: bad, Reason: reason, Deliveries: 2, AtMillis: got.AtMillis, Fields: fields, Order: "e1/o1",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	shown := inspect.DeadLetter{
		ID: got.ID(), Stream: "requests", Group: "purchase", EntryID: bad, Reason: reason, Deliveries: 2, AtMillis: got.AtMillis, OrderID: "e1/o1",
		Fields: map[string]string{
			"v": "1", "type": "purchase", "event_id": "e1", "order_id": "o1", "payment_token": "[redacted]", "customer_id": "fred", "quantity": "1",
			"x\x00,1:": "\xff\r\n|", "": "",
		},
	}
	f.WantPending(domain.GroupWorkers, good)
	dump := f.Dump()
	f.Must(q.DeadLetter(f.Ctx, dead))
	f.Must(q.DeadLetter(f.Ctx, nil))
	f.WantSame(dump)
	if one, err := f.inspector.DeadLetter(f.Ctx, got.ID()); err != nil || !reflect.DeepEqual(one, shown) {
		t.Errorf("by its id: %+v, %v", one, err)
	}
}

// TestDeadLetterOfAnySize: none of an entry's fields, or 1,500 of them.
func TestDeadLetterOfAnySize(t *testing.T) {
	const redrivable = 1000 // fields and values; no more fit into a script
	f := newFixture(t)
	q := f.queue(domain.GroupWorkers, "w1")
	empty := f.Give("w1", 1)[0]
	f.Do("XDEL", f.Keys.Requests(0), empty) // its payload is gone: no fields are left
	var wide []string
	for i := range 1500 {
		wide = append(wide, "field "+strconv.Itoa(i), strings.Repeat("\x00,", i%50))
	}
	big := f.Publish(wide)
	huge := f.Publish([]string{"v", "1", "blob", strings.Repeat("\xff|", 500_000)})
	most := f.Publish(wide[:redrivable])
	f.Deliver(domain.GroupWorkers, "w1")
	f.Must(q.DeadLetter(f.Ctx, []domain.DeadEntry{{ID: empty, Reason: "a"}, {ID: big, Reason: "b"}, {ID: huge, Reason: "c"}, {ID: most, Reason: "d"}}))
	f.WantPending(domain.GroupWorkers)
	letters := f.deadLetters()
	if len(letters) != 4 || letters[0].Fields != nil || !slices.Equal(letters[1].Fields, wide) || len(letters[2].Fields[3]) != 1_000_000 {
		t.Fatalf("%d letters", len(letters))
	}
	// Nothing, and too much, cannot be published again; the letters stay.
	dump := f.Dump()
	for _, letter := range letters[:2] {
		_, err := f.redriveLetter(letter.ID())
		f.WantClass(err, domain.ClassReject)
	}
	f.WantSame(dump)
	for i, want := range [][]string{{"v", "1", "blob", strings.Repeat("\xff|", 500_000)}, wide[:redrivable]} {
		id, err := f.redriveLetter(letters[2+i].ID())
		f.Must(err)
		if got := f.Deliver(domain.GroupWorkers, "w1"); len(got) != 1 || got[0].ID != id || !slices.Equal(got[0].Fields, want) {
			t.Errorf("letter %d: %d entries", i, len(got))
		}
	}
}

func TestDeadLetterManyItems(t *testing.T) {
	f := newFixture(t)
	all := f.Give("w1", access.MaxBatch+203)
	dead := make([]domain.DeadEntry, len(all))
	for i, id := range all {
		dead[i] = domain.DeadEntry{ID: id, Reason: "r" + strconv.Itoa(i)}
	}
	f.Must(f.queue(domain.GroupWorkers, "w1").DeadLetter(f.Ctx, dead))
	f.WantPending(domain.GroupWorkers)
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

// deadLetters reads them, at most a page of them.
func (f *fixture) deadLetters() []layout.DeadLetter {
	f.Helper()
	all, err := f.store.Inside().DeadLetters(f.Ctx, 0, "-", "+", access.ReadPage)
	f.Must(err)
	return all
}
