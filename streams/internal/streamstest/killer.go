package streamstest

import (
	"context"
	"errors"
	"net"

	"github.com/redis/go-redis/v9"
)

// Killer is a hook that lets so many calls through, and then none: as if the process had been killed before the next one was sent, or,
// with After, just after it was, before its answer came. With Lives, it is that call alone which fails, and what it did nobody hears.
type Killer struct {
	Left   int
	After  bool
	Lives  bool
	Seen   int // calls
	Killed bool
}

// ErrKilled is what is answered from then on.
var ErrKilled = errors.New("killed by the test")

// DialHook lets connections be made.
func (k *Killer) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook is about a command.
func (k *Killer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return k.pass(func() error { return next(ctx, cmd) }, func() { cmd.SetErr(ErrKilled) })
	}
}

// ProcessPipelineHook is about several that are sent together.
func (k *Killer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return k.pass(func() error { return next(ctx, cmds) }, func() {
			for _, cmd := range cmds {
				cmd.SetErr(ErrKilled)
			}
		})
	}
}

func (k *Killer) pass(send func() error, fail func()) error {
	k.Seen++
	switch {
	case k.Killed && k.Lives:
		return send()
	case !k.Killed && k.Left > 0:
		k.Left--
		return send()
	case !k.Killed && k.After:
		_ = send() // nobody hears of it
	}
	k.Killed = true
	fail()
	return ErrKilled
}
