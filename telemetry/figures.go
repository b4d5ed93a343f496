package telemetry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Figures are what a namespace has before it, as Redis tells it: the same for all of its workers.
type Figures struct {
	Groups              []Group
	DeadLetters         map[string]int64 // by what they are about
	OverdueHolds        int64            // that should have been ended
	OldestOverdueMillis int64            // since the oldest of them should have been
	DataReplaced        bool             // and nobody has seen to it
	RefusesWrites       bool             // Redis does, or one of a Cluster's masters
	ArchiveLagMillis    map[int]int64    // by partition of which something is archived: age of the oldest fact that is not
	Paused              Paused
	AwaitedOrders       int64   // that the gateway is asked about from time to time
	UnaskedMillis       int64   // since the oldest of them should have been asked about
	Audits              []Audit // the newest: none before the first
	Webhooks            []Webhook
}

// Paused is what workers take no requests of.
type Paused struct {
	Everything   bool
	Events       int64
	OldestMillis int64 // since the oldest of these is paused
	Parked       int64 // requests
}

// Webhook is an endpoint that is told of orders.
type Webhook struct {
	ID      string
	State   string
	Waiting int64 // messages
	Taken   int64 // tries
	Failed  int64 // likewise

	UnsentMillis int64 // for how long nobody has sent to it
}

// Audit is what the newest one found.
type Audit struct {
	Of         string // books or payments
	Violations int64
	AgeMillis  int64
}

// Group is one group of one partition. Ages are on Redis's clock.
type Group struct {
	Partition int
	Group     string

	Waiting int64 // requests, or facts, that nobody was given yet
	InHand  int64 // given, not acknowledged
	Owed    int64 // orders whose money waits by itself
	Backlog int64 // all of these

	OldestWaitingMillis int64
	OldestInHandMillis  int64
	OldestOwedMillis    int64
	OldestIdleMillis    int64
	MostDeliveries      int64
	Alive               int // consumers
}

const (
	// lookEvery is how often Redis is looked at at most, whoever asks how often.
	lookEvery = time.Second
	// lookTimeout bounds a look: it is less than Prometheus, and autoscalers, wait for an answer.
	lookTimeout = 2 * time.Second
)

// Look asks Redis.
type Look func(context.Context) (Figures, error)

// glance looks for all who ask at the same time, or within the same second.
type glance struct {
	look    Look
	log     *zap.Logger
	ctx     context.Context // of looks: nobody who asks ends one
	timeout time.Duration

	mu      sync.Mutex
	latest  *lookedAt
	failing bool // of the look before; only the one look that goes on touches it
	looking sync.WaitGroup
}

// lookedAt is one look.
type lookedAt struct {
	done    chan struct{} // closed when there is what follows
	figures Figures
	err     error
	at      time.Time
}

// figures are a second old at most. It returns within the timeout, also if a look does not end by then: as long as it goes on, there is
// no other.
func (g *glance) figures() (Figures, error) {
	l := g.now()
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case <-l.done:
		return l.figures, l.err
	case <-timer.C:
		return Figures{}, fmt.Errorf("redis has not answered within %s", g.timeout)
	}
}

// now is the look of now, which may still go on.
func (g *glance) now() *lookedAt {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.latest != nil {
		select {
		case <-g.latest.done:
			if time.Since(g.latest.at) < lookEvery {
				return g.latest
			}
		default:
			return g.latest
		}
	}
	l := &lookedAt{done: make(chan struct{})}
	g.latest = l
	g.looking.Go(func() {
		ctx, cancel := context.WithTimeout(g.ctx, g.timeout)
		defer cancel()
		l.figures, l.err = g.look(ctx)
		l.at = time.Now()
		if failing := l.err != nil; failing != g.failing && g.ctx.Err() == nil {
			if g.failing = failing; failing {
				g.log.Warn("the metrics do not tell what Redis has", zap.Error(l.err))
			} else {
				g.log.Info("the metrics tell again what Redis has")
			}
		}
		close(l.done)
	})
	return l
}
