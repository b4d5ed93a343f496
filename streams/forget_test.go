package streams

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

// forget has it forgotten that requests came for unknown events, as it would be at that age.
func (f *fixture) forget(age time.Duration, want int) {
	f.Helper()
	if n, more, err := f.ledger.Forget(f.Ctx, 0, age, 100); n != want || more || err != nil {
		f.Fatalf("forgot %d, %t, %v, want %d", n, more, err, want)
	}
}

// longAgo is an age at which what happened now is over: requests of tests are valid for less.
const longAgo = -2 * validMillis * time.Millisecond

// What was rejected because there was no such event is forgotten once its request has not been valid for a while, with a fact that says
// so, and the name can be used again. What was rejected for another reason, or is of another order, stays.
func TestForget(t *testing.T) {
	f := newFixture(t)
	f.list("e1", terms(10))
	f.holdBatch(f.arrive(purchase("e9", "o1", "fred", 1), purchase("e8", "o1", "fred", 1), purchase("e1", "o1", "fred", 0), hold("e1", "o2", "amy", 1))...)
	tokenless := f.arrive(purchase("e9", "o2", "fred", 1))
	tokenless[0].NoToken = true
	f.holdBatch(tokenless...)
	if got := f.eventFields()[layout.EarlyField("e9")]; got != "2" {
		t.Errorf("e9 has %q orders from before it", got)
	}
	f.forget(0, 0) // they could still be valid
	wait, any, err := f.ledger.UntilForgettable(f.Ctx, 0, time.Hour)
	if least := time.Hour + validMillis*time.Millisecond - time.Minute/2; err != nil || !any || wait < least || wait > least+time.Minute/2 {
		t.Errorf("until something is forgotten: %s, %t, %v", wait, any, err)
	}
	rejected := f.order("e9", "o1").Version
	f.forget(longAgo, 2)
	fact, _ := f.lastFact()
	entry := layout.DecodeEntries(f.Do("XRANGE", f.Keys.Log(0), fact.ID, fact.ID))[0]
	lines := strings.Split(entry.Fields[1], "\n")
	slices.Sort(lines)
	if want := []string{"e8/o1|" + rejected, "e9/o1|" + rejected}; entry.Fields[0] != "forgotten" || !slices.Equal(lines, want) {
		t.Errorf("the log says %q, want %q", entry.Fields, want)
	}
	for _, r := range []domain.OrderRef{ref("e9", "o1"), ref("e8", "o1")} {
		if o := f.order(r.EventID, r.OrderID); o != (domain.Order{}) {
			t.Errorf("%s is %+v", r, o)
		}
	}
	events := f.eventFields()
	if events[layout.EarlyField("e9")] != "1" || events[layout.EarlyField("e8")] != "" {
		t.Errorf("orders from before their event: %v", events)
	}
	if got := f.order("e9", "o2").Reason; got != domain.ReasonInvalid {
		t.Errorf("e9/o2 is %q", got)
	}
	f.forget(longAgo, 0)
	if _, any, err := f.ledger.UntilForgettable(f.Ctx, 0, 0); any || err != nil {
		t.Errorf("something is left to be forgotten: %t, %v", any, err)
	}
	f.wantLogFolds()

	// The event comes, large enough for hashes of its own; the name is free, and e9/o2 is found where it is.
	f.list("e9", terms(900_000))
	replies, _ := f.holdBatch(f.arrive(purchase("e9", "o1", "fred", 1), purchase("e9", "o2", "fred", 1))...)
	if replies[0].Order.State != domain.OrderHeld || replies[1].Order.State != domain.OrderRejected {
		t.Errorf("afterwards: %+v", replies)
	}
	f.forget(longAgo, 0)
	f.wantLogFolds()
}

// Two forget the same; in between the name is used again, which the second one leaves alone.
func TestForgetTwice(t *testing.T) {
	f := newFixture(t)
	f.holdBatch(f.arrive(purchase("e9", "o1", "fred", 1), purchase("e9", "o2", "fred", 1))...)
	late, hook := f.another(t)
	hook.once("forget", func() {
		f.forget(longAgo, 2)
		f.holdBatch(f.arrive(purchase("e9", "o1", "fred", 1))...)
	})
	late.forget(longAgo, 0)
	if got := f.order("e9", "o1"); got.Reason != domain.ReasonUnknownEvent {
		t.Errorf("the order is %+v", got)
	}
	f.forget(longAgo, 1) // it is on the list as what it is now
	if n := f.eventFields()[layout.EarlyField("e9")]; n != "" {
		t.Errorf("left are %v", n)
	}
	f.wantLogFolds()
}

// Who has not noticed that the partition has another branch forgets nothing.
func TestForgetOnAnotherBranch(t *testing.T) {
	f := newFixture(t)
	f.holdBatch(f.arrive(purchase("e9", "o1", "fred", 1))...)
	f.Do("HSET", f.Keys.Events(0), layout.BranchField, "another")
	before := f.Dump()
	if _, _, err := f.ledger.Forget(f.Ctx, 0, longAgo, 10); !errors.Is(err, domain.ErrDataReplaced) {
		t.Errorf("forgetting: %v", err)
	}
	f.WantSame(before)
}

// It is done in batches: facts are packed, and hashes are many.
func TestForgetMany(t *testing.T) {
	f := newFixture(t)
	const n = 1500
	for first := 0; first < n; first += 300 {
		var batch [][]string
		for i := first; i < first+300; i++ {
			batch = append(batch, purchase(fmt.Sprintf("none-%d", i%100), fmt.Sprintf("o%d", i), "fred", 1))
		}
		f.holdBatch(f.arrive(batch...)...)
	}
	before := f.Do("XLEN", f.Keys.Log(0)).(int64)
	forgotten := 0
	for more := true; more; {
		var k int
		var err error
		k, more, err = f.ledger.Forget(f.Ctx, 0, longAgo, 7)
		f.Must(err)
		forgotten += k
	}
	if entries := f.Do("XLEN", f.Keys.Log(0)).(int64) - before; forgotten != n || entries > 30 {
		t.Errorf("forgot %d, in %d entries", forgotten, entries)
	}
	for _, key := range f.Do("KEYS", f.Keys.Prefix(0)+"*").([]any) {
		if key := key.(string); key != f.Keys.Log(0) && key != f.Keys.Events(0) {
			t.Errorf("%s is left", key)
		}
	}
	f.wantLogFolds()
}
