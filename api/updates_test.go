package api

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/domain"
)

// countedEvents counts how often one was looked at.
type countedEvents struct {
	*world
	looks atomic.Int64
}

func (c *countedEvents) Get(ctx context.Context, id string) (domain.Event, error) {
	c.looks.Add(1)
	return c.world.Get(ctx, id)
}

// Whoever wants to know how an event stands now is not told of a look that is older than they say, and others share it.
func TestLookWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &countedEvents{world: &world{}}
		g := newGlances(events, newBackground())
		for _, step := range []struct {
			after, old time.Duration
			looks      int64
		}{
			{0, glanceLasts, 1},
			{130 * time.Millisecond, glanceLasts, 1},
			{0, feedEvery / 2, 2}, // the one before is as old as a tick of a feed that came late, or longer
			{100 * time.Millisecond, feedEvery / 2, 2},
			{149 * time.Millisecond, glanceLasts, 2},
			{time.Millisecond, glanceLasts, 3},
		} {
			time.Sleep(step.after)
			if _, err := g.within(t.Context(), "e1", step.old); err != nil {
				t.Fatal(err)
			}
			if n := events.looks.Load(); n != step.looks {
				t.Errorf("%+v: %d looks", step, n)
			}
		}
	})
}

// Whose key is revoked, and whose token is over, hears nothing more; nobody looks when nobody listens.
func TestAttendance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.key(t, domain.APISales)
		s := serverOf(t, w, Options{})
		key := w.keys[0]
		var leaves []func()
		joins := func(p principal) context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			leave := s.attendance.join(p, cancel)
			leaves = append(leaves, cancel, leave)
			return ctx
		}
		byKey, forever := joins(principal{key: key}), joins(principal{person: true, until: time.Now().Add(time.Hour)})
		byToken := joins(principal{key: key, role: roleCustomer, until: time.Now().Add(time.Second)})
		person := joins(principal{person: true, until: time.Now().Add(3 * time.Second)})
		still := func(at string, want ...bool) {
			t.Helper()
			synctest.Wait()
			for i, ctx := range []context.Context{byKey, byToken, person, forever} {
				if got := ctx.Err() == nil; got != want[i] {
					t.Errorf("%s: listener %d still hears: %t", at, i, got)
				}
			}
		}
		time.Sleep(900 * time.Millisecond)
		still("before anything is over", true, true, true, true)
		time.Sleep(400 * time.Millisecond)
		still("after the token", true, false, true, true)
		w.mu.Lock()
		w.keys = nil
		w.mu.Unlock()
		time.Sleep(time.Second)
		still("after the key", false, false, true, true)
		time.Sleep(time.Second)
		still("after the person's", false, false, false, true)
		for _, leave := range leaves {
			leave()
		}
		time.Sleep(admittedEvery)
		synctest.Wait()
		if s.attendance.looking || len(s.attendance.all) > 0 {
			t.Errorf("it looks on after %v", s.attendance.all)
		}
	})
}
