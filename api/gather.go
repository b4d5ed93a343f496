package api

import (
	"context"
	"sync"
	"time"
)

// gather makes one call of what many ask for at the same time: what comes while calls are under way waits for the next one. Who comes alone is served at once.
type gather[I, O any] struct {
	beside  *background
	call    func(ctx context.Context, batch []I) []O
	timeout time.Duration // of a call: it is nobody's alone, so it does not end with whoever asked

	mu      sync.Mutex
	waiting []asked[I, O]
	running int
}

type asked[I, O any] struct {
	what   I
	answer chan O // takes one without anybody listening
}

const (
	gatherCalls = 2   // under way at a time
	gatherMost  = 256 // in one call
)

// ask is the call for one. Its error says that ctx has ended before there was an answer: the call goes on.
func (g *gather[I, O]) ask(ctx context.Context, what I) (answer O, err error) {
	mine := asked[I, O]{what, make(chan O, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, mine)
	if g.running < gatherCalls {
		g.running++
		g.beside.goes(g.run)
	}
	g.mu.Unlock()
	select {
	case answer = <-mine.answer:
		return answer, nil
	case <-ctx.Done():
		return answer, ctx.Err()
	}
}

// run makes calls until nobody waits.
func (g *gather[I, O]) run(ctx context.Context) {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), gatherMost)
		if n == 0 {
			g.waiting = nil
			g.running--
			g.mu.Unlock()
			return
		}
		batch := g.waiting[:n:n]
		g.waiting = g.waiting[n:]
		g.mu.Unlock()
		what := make([]I, n)
		for i := range batch {
			what[i] = batch[i].what
		}
		calling, cancel := context.WithTimeout(ctx, g.timeout)
		for i, answer := range g.call(calling, what) {
			batch[i].answer <- answer
		}
		cancel()
	}
}
