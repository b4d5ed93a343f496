package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/streams/internal/layout"
)

func atMost(n int64) *int64 { return &n }

// bounded is a fixture where so many requests may wait.
func bounded(t *testing.T, bound int64) *fixture {
	t.Helper()
	f := newFixture(t)
	f.Must(f.store.Set(f.Ctx, Settings{MaxWaiting: &bound}))
	f, _ = f.another(t) // that knows it from the start
	return f
}

// tell publishes, and returns how many were accepted. The others must have been told busy.
func (f *fixture) tell(batch []domain.Request, confirm domain.Confirmation) (accepted int) {
	f.Helper()
	for _, a := range f.checkout.Append(f.Ctx, batch, confirm) {
		if a.Err == nil {
			accepted++
			continue
		}
		f.wantCode(a.Err, domain.ClassRetry, domain.CodeBusy)
		if errors.Is(a.Err, domain.ErrUnknownOutcome) || a.EntryID != "" || !strings.Contains(a.Err.Error(), "busy") {
			f.Errorf("%+v", a)
		}
	}
	return accepted
}

func (f *fixture) wantRequests(want int64) {
	f.Helper()
	if n := f.Do("XLEN", f.Keys.Requests(0)); n != want {
		f.Errorf("%d requests in the stream, want %d", n, want)
	}
}

// What waits and what is in hand counts; what was acknowledged does not.
func TestMaxWaiting(t *testing.T) {
	f := bounded(t, 5)
	if n := f.tell(purchases(8), domain.Confirmation{}); n != 5 {
		t.Errorf("%d accepted, want 5", n)
	}
	f.wantRequests(5)
	if n := f.tell(purchases(3), domain.Confirmation{}); n != 0 {
		t.Errorf("%d accepted where there is no room", n)
	}
	entries := f.Deliver(domain.GroupWorkers, "w")
	if another, _ := f.another(t); another.tell(purchases(3), domain.Confirmation{}) != 0 { // one that never looked
		t.Error("accepted although five are in hand")
	}
	for _, e := range entries[:2] {
		f.Do("XACK", f.Keys.Requests(0), string(domain.GroupWorkers), e.ID)
	}
	accepted := 0
	f.Eventually("there is room again", func() bool {
		accepted += f.tell(purchases(3), domain.Confirmation{Replicas: 1, Timeout: time.Millisecond})
		return accepted == 2
	})
	f.wantRequests(7)
	f.Do("XADD", f.Keys.Requests(0), "*", "v", "1") // by whoever does not ask
	if n := f.tell(purchases(3), domain.Confirmation{}); n != 0 {
		t.Errorf("%d accepted where there is no room", n)
	}
}

// A publisher that runs learns of a bound, and that there is none any more.
func TestMaxWaitingIsSetMeanwhile(t *testing.T) {
	f := newFixture(t)
	published := f.tell(purchases(3), domain.Confirmation{})
	f.Must(f.store.Set(f.Ctx, Settings{MaxWaiting: atMost(1)}))
	f.Eventually("it is told busy", func() bool {
		n := f.tell(purchases(1), domain.Confirmation{})
		published += n
		return n == 0
	})
	f.Must(f.store.Set(f.Ctx, Settings{MaxWaiting: atMost(0)}))
	f.Eventually("it is not", func() bool {
		n := f.tell(purchases(1), domain.Confirmation{})
		published += n
		return n == 1
	})
	f.wantRequests(int64(published))
}

// One process never publishes more than may wait, however many goroutines it has; several
// overrun it by what they publish between two looks, and no more than each has room for.
func TestMaxWaitingAtOnce(t *testing.T) {
	const bound, each = 400, 8
	for _, processes := range []int{1, 3} {
		t.Run(fmt.Sprint(processes), func(t *testing.T) {
			f := bounded(t, bound)
			all := []*fixture{f}
			for len(all) < processes {
				another, _ := f.another(t)
				all = append(all, another)
			}
			var wg sync.WaitGroup
			for _, process := range all {
				for range each {
					wg.Go(func() {
						for looks, from := 0, time.Now(); looks < 3; {
							process.tell(purchases(7), domain.Confirmation{})
							if time.Since(from) >= roomEvery {
								looks, from = looks+1, time.Now()
							}
						}
					})
				}
			}
			wg.Wait()
			most := int64(bound * processes)
			if n := f.Do("XLEN", f.Keys.Requests(0)).(int64); n < bound || n > most {
				t.Errorf("%d wait, want %d to %d", n, bound, most)
			}
		})
	}
}

// What Redis tells of a group is not always so, or not at all.
func TestMaxWaitingByWhatIsKnown(t *testing.T) {
	const group = string(domain.GroupWorkers)
	for _, test := range []struct {
		name  string
		spoil func(f *fixture, requests string, entries []domain.Entry)
		room  int // for 10, when 4 were published, 2 of them delivered, and 1 of those acknowledged
	}{
		{"as it is", func(*fixture, string, []domain.Entry) {}, 7},
		{"a lag that is not known", func(f *fixture, requests string, entries []domain.Entry) { f.Do("XDEL", requests, entries[2].ID) }, 7},
		{"a lag that is too high", func(f *fixture, requests string, entries []domain.Entry) {
			f.Do("XGROUP", "SETID", requests, group, entries[1].ID, "ENTRIESREAD", 0)
		}, 6},
		{"no group", func(f *fixture, requests string, _ []domain.Entry) { f.Do("XGROUP", "DESTROY", requests, group) }, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := bounded(t, 10)
			requests := f.Keys.Requests(0)
			f.tell(purchases(4), domain.Confirmation{})
			f.Do("XREADGROUP", "GROUP", group, "w", "COUNT", 2, "STREAMS", requests, ">")
			entries := layout.DecodeEntries(f.Do("XRANGE", requests, "-", "+"))
			f.Do("XACK", requests, group, entries[0].ID)
			test.spoil(f, requests, entries)
			another, _ := f.another(t)
			if n := another.tell(purchases(12), domain.Confirmation{}); n != test.room {
				t.Errorf("%d accepted, want %d", n, test.room)
			}
		})
	}
}

// Whoever gives up while it is looked learns nothing, and lets nobody else through.
func TestMaxWaitingOfWhoGivesUp(t *testing.T) {
	f := bounded(t, 1)
	if n := f.tell(purchases(1), domain.Confirmation{}); n != 1 {
		t.Fatalf("%d accepted, want 1", n)
	}
	if n := f.tell(purchases(1), domain.Confirmation{}); n != 0 {
		t.Fatalf("%d accepted where there is no room", n)
	}
	f.Eventually("the last look is old", func() bool {
		r := &f.store.room
		r.mu.Lock()
		defer r.mu.Unlock()
		return time.Since(r.in[0].seen) >= roomEvery
	})
	gone, leave := context.WithCancel(f.Ctx)
	leave()
	if err := f.checkout.Append(gone, purchases(1), domain.Confirmation{})[0].Err; err == nil {
		t.Error("published by somebody who had given up")
	}
	if n := f.tell(purchases(3), domain.Confirmation{}); n != 0 {
		t.Errorf("%d accepted where there is no room", n)
	}
	f.wantRequests(1)

	// One who gives up at the first look of all has not been told that there is no room.
	another, _ := f.another(t)
	err := another.checkout.Append(gone, purchases(1), domain.Confirmation{})[0].Err
	if err == nil || domain.CodeOf(err) == domain.CodeBusy {
		t.Errorf("%v", err)
	}
	if n := another.tell(purchases(3), domain.Confirmation{}); n != 0 {
		t.Errorf("%d accepted where there is no room", n)
	}
}

// Where it may not be looked at what waits, or there is nothing to look at, nobody is held up by that.
func TestMaxWaitingUnseen(t *testing.T) {
	f := bounded(t, 1)
	f.Do("ACL", "SETUSER", "blind", "reset", "on", ">secret", "~*", "+info", "+hmget", "+xadd")
	defer f.Do("ACL", "DELUSER", "blind")
	s, err := Open(f.Ctx, strings.Replace(f.store.endpoint.url.String(), "redis://", "redis://blind:secret@", 1), Options{})
	f.Must(err)
	for _, a := range s.Checkout().Append(f.Ctx, purchases(3), domain.Confirmation{}) {
		f.Must(a.Err)
	}
	f.Must(s.Close())
	f.wantRequests(3)
	f.Do("DEL", f.Keys.Requests(0))
	s, err = Open(f.Ctx, f.store.endpoint.url.String(), Options{})
	f.Must(err)
	f.wantCode(s.Checkout().Append(f.Ctx, purchases(1), domain.Confirmation{})[0].Err, domain.ClassRetry, domain.CodeUnavailable)
	f.Must(s.Close())
}
