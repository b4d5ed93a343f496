package inspect

import (
	"testing"
	"time"

	"holdfast/domain"
)

// Who waits for a first entry is alive, too; who is gone is not, nor who is in another group.
func TestAlive(t *testing.T) {
	f := newFixture(t)
	want := func(group domain.Group, n int) {
		t.Helper()
		if got, err := f.inspector.Alive(f.Ctx, 0, group); err != nil || got != n {
			t.Errorf("%s: %d alive, %v, want %d", group, got, err, n)
		}
	}
	want(domain.GroupWorkers, 0)
	f.Give("working", 1)
	for name, aliveFor := range map[string]time.Duration{"working": time.Hour, "waiting": time.Hour, "gone": 0} {
		_, err := f.queue(domain.GroupWorkers, name).KeepAlive(f.Ctx, nil, aliveFor)
		f.Must(err)
	}
	_, err := f.queue(domain.GroupPosting, "other").KeepAlive(f.Ctx, nil, time.Hour)
	f.Must(err)
	f.WaitUntil(f.Now() + 1)
	want(domain.GroupWorkers, 2)
	want(domain.GroupPosting, 1)
	want(domain.GroupSettlement, 0)
}
