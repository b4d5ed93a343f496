package streams

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// What cannot be read of the parked requests keeps none back, and has none come twice.
func TestUnparkBesideADamagedRequest(t *testing.T) {
	f := newFixture(t)
	var ids []string
	for _, a := range f.arrive(purchase("e1", "o1", "fred", 1), purchase("e1", "o2", "amy", 1), purchase("e1", "o3", "jim", 1)) {
		ids = append(ids, a.EntryID)
	}
	left, err := f.ledger.Park(f.Ctx, 0, "e1", ids)
	if f.Must(err); len(left) > 0 {
		t.Fatalf("not parked: %v", left)
	}
	f.Do("XTRIM", f.Keys.Requests(0), "MAXLEN", "0")
	parked := f.Keys.ParkedOf(0, "e1")
	second := f.Do("ZRANGE", parked, 1, 1).([]any)[0].(string)
	for i, damaged := range []string{"", "00000000000000000000damaged", second[:len(second)-3], second + "9:x,", second + "0:"} {
		f.Do("ZADD", parked, domain.EntryMillis(ids[0])+int64(i%2), damaged)
	}
	n, rest, err := f.ledger.Unpark(f.Ctx, 0, "e1", 100)
	if err != nil || n != 3 || rest != 0 {
		t.Errorf("put back %d, %d are left, %v", n, rest, err)
	}
	var orders []string
	for _, e := range layout.DecodeEntries(f.Do("XRANGE", f.Keys.Requests(0), "-", "+")) {
		orders = append(orders, e.Fields[slices.Index(e.Fields, "order_id")+1]+" "+strconv.FormatBool(slices.Contains(ids, e.Fields[len(e.Fields)-1])))
	}
	if !slices.Equal(orders, []string{"o1 true", "o2 true", "o3 true"}) {
		t.Errorf("in line are %v", orders)
	}
	if f.Do("EXISTS", parked, f.Keys.Parked(0)) != int64(0) {
		t.Error("something is parked")
	}
}

// A hold that cannot be read keeps no other from being extended; one that is overdue is left to Expire; and any number is extended.
func TestExtendBesideADamagedHold(t *testing.T) {
	f := newFixture(t)
	until := f.Now() + 60_000
	var pauses domain.Pauses
	for e := range int64(6) {
		id := fmt.Sprint("e", e)
		f.list(id, terms(10))
		f.held(id, "o1", "fred", 1, extendAhead.Milliseconds()-1000)
		pauses = append(pauses, domain.Pause{EventID: id, AtMillis: 1, HoldsUntilMillis: until + e})
	}
	f.setRecord("e2", "o1", "damaged")
	n, err := f.ledger.Extend(f.Ctx, 0, pauses)
	f.WantClass(err, domain.ClassPoison)
	if n != 5 {
		t.Errorf("%d holds are extended", n)
	}
	f.Do("ZREM", f.Keys.Holds(0), "e2/o1")

	f.held("e1", "o2", "amy", 1, 1)
	f.WaitUntil(f.Now() + 3)
	f.setRecord("e1", "o2", "damaged")
	if n, err := f.ledger.Extend(f.Ctx, 0, pauses); n != 0 || err != nil {
		t.Errorf("%d holds that are overdue are extended, %v", n, err)
	}
	f.Do("ZREM", f.Keys.Holds(0), "e1/o2")

	const many = 2100
	f.list("many", terms(many))
	requests := make([][]string, many)
	for i := range requests {
		event, order := "many", fmt.Sprint("o", i)
		if i%3 == 0 {
			event = "unpaused"
		}
		requests[i] = hold(event, order, order, 1)
	}
	f.list("unpaused", terms(many))
	incoming := f.arrive(requests...)
	for i := range incoming {
		incoming[i].HoldMillis = 4000
	}
	f.holdBatch(incoming...)
	if n, err := f.ledger.Extend(f.Ctx, 0, domain.Pauses{{EventID: "many", AtMillis: 1, HoldsUntilMillis: until}}); n != many*2/3 || err != nil {
		t.Errorf("%d holds are extended, %v", n, err)
	}
}
