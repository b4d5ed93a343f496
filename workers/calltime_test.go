package workers

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worker, end := context.WithCancel(t.Context())
		newCall := func() *callTime { return &callTime{Context: worker, end: time.Now().Add(time.Second)} }

		c := newCall()
		derived, cancel := context.WithCancel(c)
		defer cancel()
		if c.Err() != nil || derived.Err() != nil {
			t.Fatal("it has ended before its time")
		}
		<-derived.Done() // at the time
		if !errors.Is(c.Err(), context.DeadlineExceeded) || !errors.Is(derived.Err(), context.DeadlineExceeded) {
			t.Errorf("at its time it is %v, and what derives from it %v", c.Err(), derived.Err())
		}
		c.stop()

		unasked := newCall() // nobody ever waits for it
		time.Sleep(2 * time.Second)
		if !errors.Is(unasked.Err(), context.DeadlineExceeded) {
			t.Errorf("past its time it is %v", unasked.Err())
		}
		unasked.stop()

		c = newCall()
		waited := c.Done()
		c.stop()
		<-waited // what waits for a call that is over is let go

		late := newCall()
		late.stop()
		<-late.Done()
		if !errors.Is(late.Err(), context.Canceled) {
			t.Errorf("when the call is over it is %v", late.Err())
		}

		c = newCall()
		end()
		<-c.Done()
		if !errors.Is(c.Err(), context.Canceled) {
			t.Errorf("when the worker ends it is %v", c.Err())
		}
		c.stop()
	})
}
