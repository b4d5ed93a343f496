package inspect

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

func TestWatch(t *testing.T) {
	f := newFixture(t)
	watch := f.inspector.Watch()
	look := func() Figures {
		t.Helper()
		figures, err := watch.Look(f.Ctx)
		f.Must(err)
		return figures
	}
	letters := func(requests, log, owed, other int64) {
		t.Helper()
		want := map[string]int64{layout.StreamRequests: requests, layout.StreamLog: log, layout.StreamOwed: owed}
		if other > 0 {
			want["other"] = other
		}
		if got := look().DeadLetters; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("dead letters: %v, want %v", got, want)
		}
	}
	letters(0, 0, 0, 0)
	f.Do("CONFIG", "SET", "maxmemory", 1, "maxmemory-policy", "noeviction")
	if got := look(); len(got.Refusals) != 1 || !strings.HasPrefix(got.Refusals[0].Reason, "OOM") {
		t.Errorf("of a full memory: %+v", got.Refusals)
	}
	f.Do("CONFIG", "SET", "maxmemory", 0)
	if got := look(); len(got.Refusals) != 0 {
		t.Errorf("of one that is not: %+v", got.Refusals)
	}
	if got := look(); len(got.Groups) != len(layout.Groups) || got.Upkeep[0].OverdueHolds != 0 || got.Replaced || got.Awaited != (Awaited{}) {
		t.Errorf("of nothing: %+v", got)
	}
	add := func(stream string) string {
		return f.Do("XADD", f.Keys.Dead(0), "*", "stream", stream, "group", "purchase", "entry_id", "1-1").(string)
	}
	first := add("requests")
	add("log")
	add("owed")
	letters(1, 1, 1, 0)
	add("bogus")
	letters(1, 1, 1, 1)
	// As many as before, and others.
	f.Do("XDEL", f.Keys.Dead(0), first)
	add("log")
	letters(0, 2, 1, 1)
	f.Do("DEL", f.Keys.Dead(0))
	letters(0, 0, 0, 0)

	// Beyond a thousand, they are all counted, and taken to be as the oldest are.
	for i := range 1200 {
		stream := layout.StreamRequests
		if i%4 == 0 {
			stream = layout.StreamLog
		}
		add(stream)
	}
	letters(900, 300, 0, 0)

	f.Do("ZADD", f.Keys.Holds(0), strconv.FormatInt(f.Now()-5000, 10), "e/o1")
	f.Do("HSET", f.Keys.Replaced(), "at_ms", f.Now(), "worker", "w", "detail", "d")
	f.Publish([]string{"v", "1"})
	f.Do("ZADD", f.Keys.Awaited(0), strconv.FormatInt(f.Now()+60_000, 10), "e/o2")
	if got := look().Awaited; got != (Awaited{Orders: 1}) {
		t.Errorf("one that is to be asked about later: %+v", got)
	}
	f.Do("ZADD", f.Keys.Awaited(0), strconv.FormatInt(f.Now()-7000, 10), "e/o1")
	got := look()
	if a := got.Awaited; a.Orders != 2 || a.UnaskedMillis < 7000 || a.UnaskedMillis > 60_000 {
		t.Errorf("got %+v", a)
	}
	if u := got.Upkeep[0]; u.OverdueHolds != 1 || u.OldestOverdueMillis < 5000 || !got.Replaced {
		t.Errorf("got %+v", got)
	}
	for _, g := range got.Groups {
		if domain.Group(g.Group) == domain.GroupWorkers && (g.Backlog != 1 || g.Lag != 1) {
			t.Errorf("got %+v", g)
		}
	}
}

// What has not changed is not read again.
func TestWatchRemembers(t *testing.T) {
	f := newFixture(t)
	watch := f.inspector.Watch()
	f.Do("XADD", f.Keys.Dead(0), "*", "stream", "log")
	_, err := watch.Look(f.Ctx)
	f.Must(err)
	watch.dead[0].byStream = map[string]int64{"owed": 1} // as nobody would read it
	figures, err := watch.Look(f.Ctx)
	f.Must(err)
	if figures.DeadLetters["owed"] != 1 || figures.DeadLetters["log"] != 0 {
		t.Errorf("it was read again: %v", figures.DeadLetters)
	}
}
