package streams

import (
	"context"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/redistest"
)

// What a sentinel names is looked at before it is used: only a master will do, and
// the sentinels themselves.
func TestMasterOnly(t *testing.T) {
	t.Parallel()
	sentinels := redistest.StartSentinels(t)
	ctx := context.Background()
	looked := 0
	look := masterOnly(func(context.Context, *redis.Conn) error { looked++; return nil })
	try := func(addr string) error {
		rdb := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, MaxRetries: -1, DialerRetries: 1, OnConnect: look})
		defer func() { _ = rdb.Close() }()
		return rdb.Do(ctx, "ROLE").Err()
	}
	for _, s := range sentinels.All() {
		err := try(s.Addr())
		if want := s != sentinels.Master(); (err != nil) != want {
			t.Errorf("server %s: %v, refused is right: %t", strconv.Itoa(s.Port()), err, want)
		}
	}
	if looked != 1 {
		t.Errorf("%d servers were looked at further, want the master", looked)
	}
	store, err := Open(ctx, sentinels.URL(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Verify(ctx); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// A replica does not keep the counter behind its groups' lag; as a master it goes on
// from there, and its figure is too high for good.
func TestLagOfAServerThatWasAReplica(t *testing.T) {
	f := newFixture(t)
	for i := range 5 {
		f.publish(purchase("e1", "o"+strconv.Itoa(i), "fred", 1))
	}
	f.deliver(domain.GroupWorkers, "w1")
	for i := range 2 {
		f.publish(purchase("e1", "p"+strconv.Itoa(i), "fred", 1))
	}
	f.wantLag(2, 2)
	delivered, err := f.rdb.XInfoGroups(f.ctx, f.keys.requests(0)).Result()
	f.must(err)
	f.do("XGROUP", "SETID", f.keys.requests(0), string(domain.GroupWorkers), delivered[0].LastDeliveredID, "ENTRIESREAD", 1)
	f.wantLag(2, 6)
	f.deliver(domain.GroupWorkers, "w1")
	f.wantLag(0, 4)
}

// wantLag checks the lag of the workers, and what Redis itself says.
func (f *fixture) wantLag(want, redis int64) {
	f.Helper()
	infos, err := f.rdb.XInfoGroups(f.ctx, f.keys.requests(0)).Result()
	f.must(err)
	if len(infos) != 1 || infos[0].Lag != redis {
		f.Errorf("Redis says %+v, want a lag of %d", infos, redis)
	}
	groups, err := f.store.Pending(f.ctx, 0)
	f.must(err)
	if groups[0].Lag != want {
		f.Errorf("the lag of %s is %d, want %d", groups[0].Group, groups[0].Lag, want)
	}
}
