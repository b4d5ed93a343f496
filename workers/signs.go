package workers

import (
	"sync"
	"sync/atomic"
	"time"
)

// stuckAfter is how long a loop may be without a sign of life. It is longer than any command of Redis takes until it has
// failed, as long as the URL of Redis does not ask for more.
const stuckAfter = time.Minute

// Stuck is a loop of a worker that gives no sign of life, although Redis answers.
type Stuck struct {
	Loop string
	For  time.Duration // since its next sign was due
}

// sign is what a loop leaves. It says by when the next one is due; one that waits for what is not its own to bring about
// (room, an answer of the gateway) owes none.
type sign struct {
	loop string
	due  atomic.Int64 // since startOfSigns; 0: none is
}

// startOfSigns makes times of a clock that only goes on. It is long ago, because 0 is none.
var startOfSigns = time.Now().Add(-24 * time.Hour)

// within says that the loop lives, and that its next sign is due after d.
func (s *sign) within(d time.Duration) { s.due.Store(int64(time.Since(startOfSigns) + d)) }

// rest says that the loop waits for something else, or is over.
func (s *sign) rest() { s.due.Store(0) }

// signs are those of all loops of a pool, and of Redis.
type signs struct {
	mu     sync.Mutex
	all    []*sign
	failed atomic.Int64 // when a command of Redis failed last, since startOfSigns
	after  time.Duration
}

// begin forgets the loops of before.
func (s *signs) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

// of makes the sign of a loop, for which none is due yet.
func (s *signs) of(loop string) *sign {
	sign := &sign{loop: loop}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, sign)
	return sign
}

// redisFailed excuses everybody: until commands have been going through for a while, whoever is late may have waited for one.
func (s *signs) redisFailed() { s.failed.Store(int64(time.Since(startOfSigns))) }

func (s *signs) stuck() (all []Stuck) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, excused := int64(time.Since(startOfSigns)), s.failed.Load()
	for _, sign := range s.all {
		due := sign.due.Load()
		if late := time.Duration(now - max(due, excused)); due > 0 && late > s.after {
			all = append(all, Stuck{sign.loop, late})
		}
	}
	return all
}

// Stuck are the loops that have given no sign of life for a minute after it was due. Where Redis does not answer, or
// refuses something, none is; nor is one that waits for room, or for the payment gateway.
func (p *Pool) Stuck() []Stuck { return p.signs.stuck() }
