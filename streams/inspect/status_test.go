package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/redistest"
)

// wantAge compares an age with what it was at before, in milliseconds: it may have grown since then.
func (f *fixture) wantAge(what string, got, want, before int64) {
	f.Helper()
	if most := want + f.Now() - before + f.stood; got < want || got > most {
		f.Errorf("%s is %d ms old, want %d to %d", what, got, want, most)
	}
}

func (f *fixture) group(group domain.Group) GroupStatus {
	f.Helper()
	all, err := f.inspector.Pending(f.Ctx, 10)
	f.Must(err)
	i := slices.IndexFunc(all, func(g GroupStatus) bool { return g.Group == string(group) })
	if i < 0 {
		f.Fatalf("no group %s", group)
	}
	return all[i]
}

// With everything unread and nobody at work, it shows for how long: by the ids of the entries.
func TestPendingTellsTheAgeOfWhatWaits(t *testing.T) {
	f := newFixture(t)
	if g := f.group(domain.GroupWorkers); g.OldestMillis != 0 || g.OldestWaitingMillis != 0 || g.OldestInHandMillis != 0 {
		t.Errorf("nothing is there, but %+v", g)
	}
	before := f.Now()
	for _, ago := range []int64{90_000, 60_000, 0} {
		f.Do("XADD", f.Keys.Requests(0), strconv.FormatInt(before-ago, 10)+"-7", "v", "1")
	}
	g := f.group(domain.GroupWorkers)
	f.wantAge("what waits", g.OldestWaitingMillis, 90_000, before)
	f.wantAge("the oldest", g.OldestMillis, 90_000, before)
	if g.Lag != 3 || g.Backlog != 3 || g.OldestInHandMillis != 0 {
		t.Errorf("%+v", g)
	}
	// One is in hand: another is the oldest that waits, and it is still the oldest of all.
	f.Do("XREADGROUP", "GROUP", "purchase", "w1", "COUNT", 1, "STREAMS", f.Keys.Requests(0), ">")
	g = f.group(domain.GroupWorkers)
	f.wantAge("what waits", g.OldestWaitingMillis, 60_000, before)
	f.wantAge("the oldest", g.OldestMillis, 90_000, before)
	f.wantAge("what is in hand", g.OldestInHandMillis, 0, before)

	// Without its group, everything waits.
	f.Do("XGROUP", "DESTROY", f.Keys.Requests(0), "purchase")
	g = f.group(domain.GroupWorkers)
	f.wantAge("what waits", g.OldestWaitingMillis, 90_000, before)
	if !g.Missing || g.Lag != 3 || g.Pending != 0 || g.Backlog != 3 {
		t.Errorf("without a group: %+v", g)
	}
	f.Do("DEL", f.Keys.Requests(0))
	if g := f.group(domain.GroupWorkers); !g.Missing || g.Backlog != 0 || g.OldestMillis != 0 {
		t.Errorf("without a stream: %+v", g)
	}
}

// giveOf publishes entries that look as if they had been there for so long, and delivers them.
func (f *fixture) giveOf(consumer string, ago time.Duration, n int) (ids []string) {
	f.Helper()
	for i := range n {
		ids = append(ids, f.Do("XADD", f.Keys.Requests(0), fmt.Sprintf("%d-%d", f.Now()-ago.Milliseconds(), i+1), "v", "1").(string))
	}
	f.Deliver(domain.GroupWorkers, consumer)
	return ids
}

// idle makes entries of a consumer look as if it had last said so long ago that it is at them.
func (f *fixture) idle(consumer string, ago time.Duration, ids ...string) {
	f.Helper()
	args := []any{"XCLAIM", f.Keys.Requests(0), "purchase", consumer, 0}
	for _, id := range ids {
		args = append(args, id)
	}
	f.Do(append(args, "IDLE", ago.Milliseconds(), "JUSTID")...)
}

func (f *fixture) keepAlive(consumer string, ids ...string) {
	f.Helper()
	began := f.Now()
	lost, err := f.queue(domain.GroupWorkers, consumer).KeepAlive(f.Ctx, ids, time.Minute)
	f.Must(err)
	f.stood = max(f.stood, f.Now()-began)
	if len(lost) > 0 {
		f.Fatalf("%s lost %v", consumer, lost)
	}
}

// How long the oldest has been in hand counts from when it was first given to a worker,
// whoever has kept it alive or taken it over since.
func TestPendingTellsForHowLongTheOldestIsInHand(t *testing.T) {
	f := newFixture(t)
	mine := f.giveOf("w1", 2*time.Minute, 3)
	before := f.Now()
	f.idle("w1", time.Minute, mine...)
	f.wantAge("without a note", f.group(domain.GroupWorkers).OldestInHandMillis, 60_000, before)
	f.keepAlive("w1", mine...)
	g := f.group(domain.GroupWorkers)
	f.wantAge("kept alive", g.OldestInHandMillis, 60_000, before)
	if g.OldestIdleMillis > 30_000 {
		t.Errorf("kept alive, and idle for %d ms", g.OldestIdleMillis)
	}
	f.Do("XCLAIM", f.Keys.Requests(0), "purchase", "w2", 0, mine[0])
	f.keepAlive("w2", mine[0])
	g = f.group(domain.GroupWorkers)
	f.wantAge("taken over", g.OldestInHandMillis, 60_000, before)
	if g.MostDeliveries != 2 {
		t.Errorf("%d deliveries, want 2", g.MostDeliveries)
	}
	// Handed back, it seems to be idle for a day; that is not for how long it has been in hand.
	f.Must(f.queue(domain.GroupWorkers, "w2").HandBack(f.Ctx, mine[:1]))
	g = f.group(domain.GroupWorkers)
	f.wantAge("handed back", g.OldestInHandMillis, 60_000, before)
	if day := (24 * time.Hour).Milliseconds(); g.OldestIdleMillis < day {
		t.Errorf("handed back, and idle for %d ms", g.OldestIdleMillis)
	}

	// What came later is younger.
	later := f.giveOf("w1", time.Minute, 1)
	f.idle("w1", 20*time.Second, later...)
	f.keepAlive("w1", later...)
	f.Must(f.queue(domain.GroupWorkers, "w1").Ack(f.Ctx, mine))
	f.wantAge("the later one", f.group(domain.GroupWorkers).OldestInHandMillis, 20_000, before)
	f.Must(f.queue(domain.GroupWorkers, "w1").Ack(f.Ctx, later))
	if g := f.group(domain.GroupWorkers); g.OldestInHandMillis != 0 || g.OldestMillis != 0 {
		t.Errorf("nothing is in hand, but %+v", g)
	}
}

// The notes behind it are few, however long the oldest is in hand, and what they say of any
// entry is never more than is true, and for the first five minutes hardly less.
func TestNotesOfDeliveriesAreFew(t *testing.T) {
	f := newFixture(t)
	const n, apart = 100, 6 * time.Second
	all := f.giveOf("w1", time.Hour, n)
	began := f.Now()
	age := func(i int) time.Duration { return time.Duration(n-i) * apart }
	for i, id := range all {
		f.idle("w1", age(i), id)
		f.keepAlive("w1", id)
	}
	notes, err := f.Client.HGet(f.Ctx, f.Keys.Delivered(0), "purchase").Result()
	f.Must(err)
	if got := len(strings.Fields(notes)) / 2; got != 64 {
		t.Errorf("%d notes, want 64", got)
	}
	q := f.queue(domain.GroupWorkers, "w1")
	for i := range all {
		g := f.group(domain.GroupWorkers)
		if i == 0 {
			f.wantAge("the first", g.OldestInHandMillis, age(0).Milliseconds(), began)
		}
		if least := min(age(i), 5*time.Minute); g.OldestInHandMillis < least.Milliseconds() || g.OldestInHandMillis > age(i).Milliseconds()+f.Now()-began+f.stood {
			t.Errorf("entry %d is in hand for %d ms, want %s, or at least %s", i, g.OldestInHandMillis, age(i), least)
		}
		f.Must(q.Ack(f.Ctx, all[i:i+1]))
	}
	// What is about entries that are done goes with the next note.
	last := f.Give("w1", 1)
	f.keepAlive("w1", last...)
	if notes, err = f.Client.HGet(f.Ctx, f.Keys.Delivered(0), "purchase").Result(); err != nil || len(strings.Fields(notes)) != 2 {
		t.Errorf("notes %q, %v", notes, err)
	}
}

// An entry whose payload is gone is dropped by the attempt to keep it alive. Nothing is to be noted then.
func TestKeepAliveOfNothingThatIsLeft(t *testing.T) {
	f := newFixture(t)
	done := f.Give("w1", 1)
	f.keepAlive("w1", done...)
	f.Must(f.queue(domain.GroupWorkers, "w1").Ack(f.Ctx, done))
	mine := f.Give("w1", 1)
	f.Do("XDEL", f.Keys.Requests(0), mine[0])
	f.keepAlive("w1", mine...)
	if g := f.group(domain.GroupWorkers); g.Pending != 0 || g.Alive() != 1 {
		t.Errorf("%+v", g)
	}
}

// All is found truly and soon, however much there is of it.
func TestPendingOfVeryMuch(t *testing.T) {
	f := newFixture(t)
	const n = 100_000
	began := f.Now()
	for first := range n / 1000 {
		pipe := f.Client.Pipeline()
		for i := range 1000 {
			id := fmt.Sprintf("%d-%d", began-60_000, first*1000+i+1)
			pipe.Do(f.Ctx, "XADD", f.Keys.Requests(0), id, "v", "1")
			pipe.Do(f.Ctx, "XADD", f.Keys.Log(0), id, "closed", "e1|{}")
		}
		_, err := pipe.Exec(f.Ctx)
		f.Must(err)
	}
	f.Deliver(domain.GroupWorkers, "dead")
	all, err := f.inspector.Pending(f.Ctx, 20)
	f.Must(err)
	workers, posting := all[0], all[1]
	f.wantAge("in hand", workers.OldestMillis, 60_000, began)
	f.wantAge("waiting", posting.OldestWaitingMillis, 60_000, began)
	if workers.Pending != n || posting.Lag != n || len(workers.Entries) != 20 {
		t.Errorf("%d pending, %d waiting", workers.Pending, posting.Lag)
	}
}

func TestStatus(t *testing.T) {
	f := newFixture(t)
	status := func() Status {
		t.Helper()
		s, err := f.inspector.Status(f.Ctx, Look{})
		f.Must(err)
		return s
	}
	s := status()
	if len(s.Groups) != 3 || s.Refusals != nil || s.Replaced != nil || s.Troubles != nil || s.Unseen != nil ||
		!reflect.DeepEqual(s.Upkeep, []UpkeepStatus{{}}) {
		t.Errorf("of a namespace without anything: %+v", s)
	}
	now := f.Now()
	f.Do("ZADD", f.Keys.Holds(0), now-70_000, "e/o1", now-1, "e/o2", now+60_000, "e/o3")
	f.Do("XADD", f.Keys.Dead(0), "*", "reason", "r")
	f.Do("SET", f.Keys.Turn(0, domain.JobForget), "w1")
	f.Must(f.store.Ledger().NoteReplaced(f.Ctx, "w1", domain.ErrDataReplaced))
	for field, value := range map[string]string{
		"w2/gateway": fmt.Sprintf(`{"code":"gateway_slow","text":"calls take 4 s","since_ms":%d,"seen_ms":%d}`, now-90_000, now-5000),
		"w1/redis":   fmt.Sprintf(`{"code":"redis_refuses_writes","text":"OOM","since_ms":%d,"seen_ms":%d}`, now-5, now),
		"w3/gateway": fmt.Sprintf(`{"code":"gateway_slow","text":"its worker is dead","since_ms":%d,"seen_ms":%d}`, now-900_000, now-61_000),
		"w4/damaged": "{",
	} {
		f.Do("HSET", f.Keys.Troubles(), field, value)
	}
	s = status()
	if u := s.Upkeep[0]; u.OverdueHolds != 2 || u.DeadLetters != 1 || !u.Maintained {
		t.Errorf("upkeep %+v", u)
	}
	f.wantAge("the hold", s.Upkeep[0].OldestOverdueMillis, 70_000, now)
	if r := s.Replaced; r == nil || r.Worker != "w1" || r.Detail != domain.ErrDataReplaced.Error() || r.AtMillis < now || r.AtMillis > f.Now() {
		t.Errorf("replaced %+v", r)
	}
	if want := []Trouble{
		{"w1", "redis_refuses_writes", "OOM", now - 5, now},
		{"w2", "gateway_slow", "calls take 4 s", now - 90_000, now - 5000},
	}; !slices.Equal(s.Troubles, want) {
		t.Errorf("troubles %+v, want %+v", s.Troubles, want)
	}

	// It stays until somebody forgets it; the latest is told.
	f.Must(f.store.Ledger().NoteReplaced(f.Ctx, "w2", errors.New("again")))
	if r := status().Replaced; r == nil || r.Worker != "w2" || r.Detail != "again" {
		t.Errorf("replaced again: %+v", r)
	}
	if forgot, err := f.inspector.ForgetReplaced(f.Ctx); err != nil || forgot == nil || forgot.Worker != "w2" {
		t.Errorf("forgot %+v, %v", forgot, err)
	}
	if forgot, err := f.inspector.ForgetReplaced(f.Ctx); err != nil || forgot != nil || status().Replaced != nil {
		t.Errorf("forgot again: %+v, %v", forgot, err)
	}
	f.Do("HSET", f.Keys.Replaced(), "at_ms", "x")
	_, err := f.inspector.Replaced(f.Ctx)
	f.WantClass(err, domain.ClassPoison)
}

// A worker who does maintenance has a turn only most of the time: it is waited for, if anybody is
// there at all, and not if nobody is.
func TestStatusWaitsForASignOfMaintenance(t *testing.T) {
	f := newFixture(t)
	maintained := func() bool {
		t.Helper()
		s, err := f.inspector.Status(f.Ctx, Look{})
		f.Must(err)
		return s.Upkeep[0].Maintained
	}
	f.keepAlive("w1")
	ctx, stop := context.WithCancel(f.Ctx)
	done := make(chan error, 1)
	go func() { // as maintenance does, with a fifth of its turns missing
		for i := 0; ctx.Err() == nil; i++ {
			if i%5 > 0 {
				if _, err := f.store.Ledger().TakeTurn(f.Ctx, 0, domain.JobExpire, "w1", 180*time.Millisecond); err != nil {
					done <- err
					return
				}
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		done <- nil
	}()
	for range 10 {
		if !maintained() {
			t.Error("somebody is at it, and was not seen")
		}
	}
	stop()
	f.Must(<-done)
	f.Do("DEL", f.Keys.Turn(0, domain.JobExpire))
	if maintained() {
		t.Error("nobody is at it, and was seen")
	}
}

// limited is an inspector of the same namespace by a new user, who may do that and no more.
func limited(t *testing.T, f *fixture, url, user string, rules ...any) *Inspector {
	t.Helper()
	f.Do(append([]any{"ACL", "SETUSER", user, "reset", "on", ">secret"}, rules...)...)
	client := redis.NewClient(&redis.Options{Addr: strings.TrimSuffix(strings.TrimPrefix(url, "redis://"), "/0"), Username: user, Password: "secret", Protocol: 2})
	t.Cleanup(func() { _ = client.Close() })
	ns := f.store.Inside()
	ns.Client = client
	return &Inspector{ns: ns}
}

// Whether writes are refused is asked by a write that changes nothing, and, by whoever may not
// write, by what Redis tells of itself.
func TestRefusals(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--save", "3600 1")
	f := openFixture(t, server)
	reading := limited(t, f, server.URL(), "reading", "%R~*", "+info")
	blind := limited(t, f, server.URL(), "blind", "~*", "+ping")
	want := func(written, told string) {
		t.Helper()
		for _, look := range []struct {
			how   string
			in    *Inspector
			probe bool
			want  string
		}{
			{"by a write", f.inspector, true, written},
			{"by what it tells", f.inspector, false, told},
			{"by what it tells one who may not write", reading, true, told},
		} {
			got, err := look.in.Refusals(f.Ctx, look.probe)
			f.Must(err)
			if look.want == "" && len(got) != 0 || look.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0].Reason, look.want) || got[0].Addr != "") {
				t.Errorf("%s: %+v, want %q", look.how, got, look.want)
			}
		}
	}
	changes := func() string {
		_, after, _ := strings.Cut(f.Do("INFO", "persistence").(string), "rdb_changes_since_last_save:")
		return strings.SplitN(after, "\r\n", 2)[0]
	}
	before, dump := changes(), f.Dump()
	want("", "")
	f.WantSame(dump)
	if after := changes(); after != before {
		t.Errorf("the probe is a change: %s, then %s", before, after)
	}

	f.Do("CONFIG", "SET", "maxmemory", "1")
	want("OOM", "OOM")
	f.Do("CONFIG", "SET", "maxmemory", "0")
	f.Do("CONFIG", "SET", "min-replicas-to-write", "1")
	want("NOREPLICAS", "NOREPLICAS")
	f.Do("CONFIG", "SET", "min-replicas-to-write", "0")
	f.Do("REPLICAOF", "127.0.0.1", "1")
	want("READONLY", "READONLY")
	f.Do("REPLICAOF", "NO", "ONE")
	want("", "")
	_, err := blind.Refusals(f.Ctx, true)
	f.WantClass(err, domain.ClassFatal)

	// A snapshot fails, and with it every write, where its directory is gone. INFO does not tell the latter.
	f.Must(os.RemoveAll(server.Dir()))
	f.Do("CONFIG", "SET", "appendonly", "no")
	f.Do("BGSAVE")
	f.Eventually("the snapshot failed", func() bool {
		return strings.Contains(f.Do("INFO", "persistence").(string), "rdb_last_bgsave_status:err")
	})
	want("MISCONF", "")
}

// What INFO tells of a failed write to the append-only file is not to be had from a real server on demand.
func TestRefusalOfAFailedWrite(t *testing.T) {
	for _, test := range []struct {
		info serverInfo
		want string
	}{
		{serverInfo{"aof_enabled": "1", "aof_last_write_status": "err"}, "MISCONF"},
		{serverInfo{"aof_enabled": "0", "aof_last_write_status": "err"}, ""},
		{serverInfo{"loading": "1"}, "LOADING"},
		{serverInfo{"role": "slave", "slave_read_only": "0"}, ""},
		{serverInfo{"maxmemory": "10", "used_memory": "12", "mem_not_counted_for_evict": "2", "maxmemory_policy": "noeviction"}, ""},
		{serverInfo{"maxmemory": "10", "used_memory": "13", "mem_not_counted_for_evict": "2", "maxmemory_policy": "noeviction"}, "OOM"},
		{serverInfo{"maxmemory": "10", "used_memory": "13", "maxmemory_policy": "allkeys-lru"}, ""},
		{serverInfo{"min_slaves_good_slaves": "0"}, "NOREPLICAS"}, // it is told only where some are wanted
		{serverInfo{"min_slaves_good_slaves": "1"}, ""},
	} {
		if got := test.info.refusal(); (got == "") != (test.want == "") || !strings.HasPrefix(got, test.want) {
			t.Errorf("%v: %q, want %q", test.info, got, test.want)
		}
	}
}

// A user from before there were troubles and notes sees the rest; what is missing is told.
func TestStatusOfAUserWhoMayNotSeeAll(t *testing.T) {
	server := redistest.Start(t)
	f := openFixture(t, server)
	in := limited(t, f, server.URL(), "old", "%R~holdfast:{*}:2:log", "%R~holdfast:{*}:2:holds", "%R~holdfast:{*}:2:turn:*", "%R~holdfast:{*}:2:consumers",
		"+@read", "+time", "(+xinfo|groups +xinfo|consumers +xpending +xlen %R~holdfast:{*}:requests)", "(+xlen %R~holdfast:{*}:2:dead)")
	f.Give("w1", 2)
	f.Publish([]string{"v", "1"})
	s, err := in.Status(f.Ctx, Look{Entries: 10})
	f.Must(err)
	if g := s.Groups[0]; !g.Unreadable || g.Lag != 1 || g.Pending != 2 || len(g.Entries) != 2 || g.OldestWaitingMillis != 0 || g.Entries[0].OrderID != "" {
		t.Errorf("requests: %+v", g)
	}
	var unseen []string
	for _, err := range s.Unseen {
		f.WantClass(err, domain.ClassFatal)
		unseen = append(unseen, err.Error())
	}
	for i, what := range []string{"since when entries wait for purchase", "list of what is owed", "whether writes are refused", "data was replaced", "what is paused", "what the last audit found", "looking at webhooks", "troubles"} {
		if len(unseen) != 8 || !strings.Contains(unseen[i], what) {
			t.Fatalf("not seen: %q", unseen)
		}
	}
}
