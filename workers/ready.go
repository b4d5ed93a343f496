package workers

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Why a worker is not ready.
const (
	notStarted  = "it has not begun yet"
	notDraining = "it is ending, and takes nothing more"
	notReplaced = "the data in Redis was replaced: it begins anew"
)

// readiness is whether a worker works. Its zero value is that it does not yet.
type readiness struct{ state atomic.Pointer[string] } // nil: not yet; empty: it does; else why it does not

// now says that it works, unless it is ending.
func (r *readiness) now() { r.set("") }

// not says why it does not work.
func (r *readiness) not(why string) { r.set(why) }

func (r *readiness) set(state string) {
	for {
		was := r.state.Load()
		if was != nil && *was == notDraining || r.state.CompareAndSwap(was, &state) {
			return
		}
	}
}

// Ready is nil while the worker can take requests. It is an error that says why, for people: while it begins, while Redis is
// away, when the data in it was replaced, and from when the worker was told to end.
func (p *Pool) Ready() error {
	switch why := p.ready.state.Load(); {
	case why == nil:
		return errors.New(notStarted)
	case *why != "":
		return errors.New(*why)
	}
	return nil
}

// clock is Redis's, as far as it can be told from here.
type clock struct {
	ask   func(context.Context) (time.Time, error) // nil: it is not known
	ahead atomic.Int64                             // of startOfSigns, in nanoseconds
	known atomic.Bool
}

// set asks what time it is.
func (c *clock) set(ctx context.Context) error {
	if c.ask == nil {
		return nil
	}
	asked := time.Since(startOfSigns)
	now, err := c.ask(ctx)
	if err != nil {
		return err
	}
	c.ahead.Store(now.UnixNano() - int64(asked+time.Since(startOfSigns))/2)
	c.known.Store(true)
	return nil
}

// since is how long a time of Redis's clock is ago; known is false if that cannot be told.
func (c *clock) since(millis int64) (ago time.Duration, known bool) {
	if !c.known.Load() || millis == 0 {
		return 0, false
	}
	return time.Duration(c.ahead.Load()+int64(time.Since(startOfSigns))) - time.Duration(millis)*time.Millisecond, true
}
