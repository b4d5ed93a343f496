package api

import (
	"context"
	"sync"
	"time"
)

// background is what goes on beside the requests, for several of them or for none. It ends with the server, which waits for it.
type background struct {
	ctx context.Context
	end context.CancelFunc

	mu    sync.Mutex
	ended bool
	all   sync.WaitGroup
}

func newBackground() *background {
	ctx, end := context.WithCancel(context.Background())
	return &background{ctx: ctx, end: end}
}

// goes has do go on until it returns; its context ends with the server.
func (b *background) goes(do func(ctx context.Context)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended { // a request outlasted the server: its context tells it so at once
		go do(b.ctx)
		return
	}
	b.all.Go(func() { do(b.ctx) })
}

// after has do begin after a while, unless the server ends first.
func (b *background) after(d time.Duration, do func(ctx context.Context)) {
	b.goes(func(ctx context.Context) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			do(ctx)
		case <-ctx.Done():
		}
	})
}

// stop ends all of it.
func (b *background) stop() {
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	b.end()
	b.all.Wait()
}
