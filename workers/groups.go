package workers

import (
	"sync"
	"time"

	"holdfast/domain"
)

// groupsGoneFor is how long people are told that a group was gone: it is there again at once, and who removes one does so again.
const groupsGoneFor = 15 * time.Minute

// groups is what this worker has seen of consumer groups that somebody removed.
type groups struct {
	mu          sync.Mutex
	since, last time.Time // zero: never
	err         error     // the latest
}

func (g *groups) gone(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.last.IsZero() || now.Sub(g.last) >= groupsGoneFor {
		g.since = now
	}
	g.last, g.err = now, err
}

// look returns that a group was gone, for a while.
func (g *groups) look() []domain.Trouble {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last.IsZero() || time.Since(g.last) >= groupsGoneFor {
		return nil
	}
	return []domain.Trouble{{
		What: "groups", Code: domain.CodeGroupGone, LastedMillis: time.Since(g.since).Milliseconds(),
		Text: "somebody removed a consumer group, or its stream; it was made again, from the start: " + g.err.Error(),
	}}
}
