package streams

import (
	"context"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

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
	store, err := Open(ctx, sentinels.URL(), Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Ledger().Verify(ctx); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
