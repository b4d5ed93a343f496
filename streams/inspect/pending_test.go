package inspect

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast/domain"
)

// A worker that waits for its first entry is shown as alive, although Redis does not
// know it as a consumer yet; one that is gone is not.
func TestPendingShowsWhoWaits(t *testing.T) {
	f := newFixture(t)
	f.Give("working", 1)
	for name, aliveFor := range map[string]time.Duration{"working": time.Hour, "waiting": time.Hour, "gone": 0} {
		_, err := f.queue(domain.GroupWorkers, name).KeepAlive(f.Ctx, nil, aliveFor)
		f.Must(err)
	}
	f.WaitUntil(f.Now() + 1)
	all, err := f.inspector.Pending(f.Ctx, 10)
	f.Must(err)
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

// Whoever looks does not mend: that a group or a stream is gone is told.
func TestPendingWithoutGroups(t *testing.T) {
	f := newFixture(t)
	want := []string{"settlement"}
	for _, gone := range [][]any{{"XGROUP", "DESTROY", f.Keys.Log(0), "settlement"}, {"DEL", f.Keys.Requests(0)}} {
		f.Do(gone...)
		before := f.Dump()
		groups, err := f.inspector.Pending(f.Ctx, 10)
		f.Must(err)
		var missing []string
		for _, g := range groups {
			if g.Missing {
				missing = append(missing, g.Group)
			}
		}
		if !slices.Equal(missing, want) {
			t.Errorf("after %v: missing are %q, want %q", gone, missing, want)
		}
		f.WantSame(before)
		want = append([]string{"purchase"}, want...)
	}
}

// A replica does not keep the counter behind its groups' lag; as a master it goes on
// from there, and its figure is too high for good.
func TestLagOfAServerThatWasAReplica(t *testing.T) {
	f := newFixture(t)
	f.Give("w1", 5)
	for range 2 {
		f.Publish([]string{"v", "1"})
	}
	f.wantLag(2, 2)
	delivered, err := f.Client.XInfoGroups(f.Ctx, f.Keys.Requests(0)).Result()
	f.Must(err)
	f.Do("XGROUP", "SETID", f.Keys.Requests(0), string(domain.GroupWorkers), delivered[0].LastDeliveredID, "ENTRIESREAD", 1)
	f.wantLag(2, 6)
	f.Deliver(domain.GroupWorkers, "w1")
	f.wantLag(0, 4)
}

// wantLag checks the lag of the workers, and what Redis itself says.
func (f *fixture) wantLag(want, redis int64) {
	f.Helper()
	infos, err := f.Client.XInfoGroups(f.Ctx, f.Keys.Requests(0)).Result()
	f.Must(err)
	if len(infos) != 1 || infos[0].Lag != redis {
		f.Errorf("Redis says %+v, want a lag of %d", infos, redis)
	}
	groups, err := f.inspector.Pending(f.Ctx, 0)
	f.Must(err)
	if groups[0].Lag != want {
		f.Errorf("the lag of %s is %d, want %d", groups[0].Group, groups[0].Lag, want)
	}
}
