package inspect

import (
	"slices"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/internal/streamstest"
)

// With 100,000 pending, those of one worker, and those that are chosen otherwise, are found by a bounded number of commands;
// all of a worker's are handed over, and noted once.
func TestFilterAndClaimAmongMany(t *testing.T) {
	server := streamstest.Server()
	f := openFixture(t, server)
	const all = 100_000
	ids := f.manyRequests(all, all, "busy")
	last := ids[all-1]
	f.Do("XCLAIM", f.Keys.Requests(0), string(domain.GroupWorkers), "gone", 0, last)
	counter := new(counting)
	store, err := streams.Open(f.Ctx, server.URL(), streams.Options{Hook: counter})
	f.Must(err)
	defer func() { f.Must(store.Close()) }()
	in := New(store)
	for _, c := range []struct {
		filter EntryFilter
		most   int64 // commands
		found  bool
	}{
		{EntryFilter{Consumer: "gone"}, 10, true},
		{EntryFilter{Deliveries: 2}, 120, true},
		{EntryFilter{Order: domain.OrderRef{EventID: "e1", OrderID: "o99999"}}, 150, true},
		{EntryFilter{Idle: time.Hour}, 120, false},
	} {
		groups, err := in.Pending(f.Ctx, 0)
		f.Must(err)
		before, began := counter.commands.Load(), time.Now()
		f.Must(in.FilterEntries(f.Ctx, groups, c.filter, 20))
		sent := counter.commands.Load() - before
		t.Logf("%+v: %d commands, %s", c.filter, sent, time.Since(began))
		var found []PendingEntry
		for _, g := range groups {
			if g.Unsearched {
				t.Errorf("%+v: %s is not searched", c.filter, g.Group)
			}
			found = append(found, g.Entries...)
		}
		if sent > c.most {
			t.Errorf("%+v: %d commands, want %d at most", c.filter, sent, c.most)
		}
		if c.found && (len(found) != 1 || found[0].ID != last || found[0].OrderID != "e1/o99999") || !c.found && len(found) > 0 {
			t.Errorf("%+v: found %+v", c.filter, found)
		}
	}

	before := counter.commands.Load()
	claimed, err := store.Claim(f.Ctx, "busy", "", domain.Cause{Reason: "gone", By: "ann"})
	f.Must(err)
	if len(claimed) != 1 || claimed[0].Entries != all-1 || claimed[0].Before != 0 {
		t.Errorf("claimed %+v", claimed)
	}
	t.Logf("%d commands for the claim", counter.commands.Load()-before)
	claims, err := in.Claims(f.Ctx)
	f.Must(err)
	if len(claims) != 1 || claims[0].Entries != all-1 || claims[0].Consumer != "busy" || claims[0].By != "ann" || claims[0].AtMillis == 0 {
		t.Errorf("noted: %+v", claims)
	}
	groups, err := in.Pending(f.Ctx, 1)
	f.Must(err)
	if idle := groups[0].Entries[0].IdleMillis; idle < handedBackIdleMillis {
		t.Errorf("idle for %d ms", idle)
	}
}

// Nobody is named who does not say why, or is none; nothing is noted then.
func TestClaimIsChecked(t *testing.T) {
	f := newFixture(t)
	f.manyRequests(1, 1, "w1")
	before := f.Dump()
	for _, c := range []struct {
		consumer string
		cause    domain.Cause
	}{{"w1", domain.Cause{By: "ann"}}, {"w1", domain.Cause{Reason: "r"}}, {"w1", domain.Cause{Reason: "a\nb", By: "ann"}}, {`w"1`, domain.Cause{Reason: "r", By: "ann"}}, {"w2", domain.Cause{Reason: "r", By: "ann"}}} {
		_, err := f.store.Claim(f.Ctx, c.consumer, "", c.cause)
		f.WantClass(err, domain.ClassReject)
	}
	f.WantSame(before)
}

// What is handed over in each group is noted.
func TestClaimInSeveralGroups(t *testing.T) {
	f := newFixture(t)
	f.Publish([]string{"v", "1", "type", "purchase", "event_id", "e1", "order_id", "o1", "payment_token", "tok"})
	f.Do("XADD", f.Keys.Log(0), "*", "expired", "e1/o1")
	groups := []domain.Group{domain.GroupPosting, domain.GroupSettlement, domain.GroupWorkers}
	for _, g := range groups {
		f.Deliver(g, "gone")
	}
	claimed, err := f.store.Claim(f.Ctx, "gone", "", domain.Cause{Reason: "gone", By: "ann"})
	f.Must(err)
	claims, err := f.inspector.Claims(f.Ctx)
	f.Must(err)
	if len(claimed) != len(groups) || len(claims) != len(groups) {
		t.Fatalf("claimed %+v, noted %+v", claimed, claims)
	}
	for _, c := range claims {
		if !slices.Contains(groups, domain.Group(c.Group)) || c.Entries != 1 {
			t.Errorf("noted %+v", c)
		}
	}
}
