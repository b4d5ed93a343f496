package workers

import (
	"context"
	"sync"
	"time"
)

// callTime is the context of one call of the gateway: it ends with the worker, or at a time. Nothing is set up for
// that until somebody waits for it, which a gateway in process never does; a timer costs as much as such a call.
type callTime struct {
	context.Context
	end time.Time

	mu     sync.Mutex
	timed  context.Context // once somebody waits
	cancel context.CancelFunc
	over   bool
}

// Deadline is the time.
func (c *callTime) Deadline() (time.Time, bool) { return c.end, true }

// Done is closed at the end.
func (c *callTime) Done() <-chan struct{} { return c.wait().Done() }

// Err is why it has ended, if it has.
func (c *callTime) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(c.end) {
		return context.DeadlineExceeded
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return context.Canceled
	}
	return nil
}

// Value is the worker's context's; contexts that are derived from this one find in it what they are to be told by.
func (c *callTime) Value(key any) any { return c.wait().Value(key) }

func (c *callTime) wait() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.end)
		if c.over {
			c.cancel()
		}
	}
	return c.timed
}

// stop ends it: the call is over.
func (c *callTime) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}
