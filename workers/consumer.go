package workers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/domain/wire"
)

const (
	// readMost bounds one read, and what one script call takes.
	readMost = 512
	// inHandTimes is how many times Concurrency may be in hand: while some of it is at the gateway, more is on its way in, and out.
	inHandTimes = 3
	// apartTimes is how many times Concurrency may wait for what others bring about, besides those in hand: they must not keep out
	// what they wait for.
	apartTimes = 8
	// turnsMost is how many reads are handled at a time. Redis does one thing after the other, so more would only make the
	// batches smaller: while these are on their way, the next one grows in the stream.
	turnsMost = 2
	// turnLongest bounds how long one keeps others from being read: what is new does not get on while memory is full, and a cancel
	// must not wait for that.
	turnLongest = time.Second
	// reclaimEvery bounds how long it takes until it is looked what can be taken over. Reads wait no longer.
	reclaimEvery = 2 * time.Second
)

// consumer is one group of one partition as this worker sees it: it reads,
// recovers and reclaims entries while there is room, keeps those in hand alive,
// and hands back what is left at the end. What is done with them is the role's.
type consumer struct {
	pool      *Pool
	queue     domain.Queue
	partition int
	group     domain.Group
	log       *zap.Logger

	// handle takes entries over. It must see to it that finish or leave is called for
	// each, unless working ends first.
	handle func(entries []domain.Entry)
	// inTurn has it called before the next read, so that under load one batch is made of what comes meanwhile.
	inTurn   bool
	handlers *crew[[]domain.Entry] // else: each has a turn
	bell     *bell                 // nil for one that waits in Redis

	reading context.Context // ends when no more may be taken
	working context.Context // ends when all work must stop

	wg sync.WaitGroup // of goroutines that handle started

	// perEntry is how much work an entry can be: a request, or several facts.
	perEntry int

	mu       sync.Mutex
	inFlight map[string]inHand
	active   int           // entries that somebody works on
	turns    int           // reads that have not been handled for long
	breath   breath        // of calls for few
	work     int           // in all entries in hand, but for those that are set apart
	apart    int           // how many are
	freed    chan struct{} // holds a token if there is less of any since the last look
}

// inHand is an entry that was taken and is not settled.
type inHand struct {
	active bool // somebody works on it; else it is left to be handed back
	work   int  // how many requests, or facts, it has
	apart  bool // it waits for what others bring about, and takes no room
	lost   bool // others have it, as far as is known
}

func newConsumer(p *Pool, partition int, group domain.Group) (*consumer, error) {
	queue, err := p.queues(partition, group, p.cfg.Name)
	if err != nil {
		return nil, err
	}
	perEntry := 1
	if group != domain.GroupWorkers {
		perEntry = wire.MaxFacts
	}
	c := &consumer{
		pool: p, queue: queue, partition: partition, group: group, perEntry: perEntry, bell: p.hear(partition, group),
		log:     p.log.With(zap.Int("partition", partition), zap.String("group", string(group))),
		reading: p.reading, working: p.working,
		inFlight: make(map[string]inHand), freed: make(chan struct{}, 1),
	}
	c.handlers = newCrew(inHandTimes*p.cfg.Concurrency, func(entries []domain.Entry) {
		over := sync.OnceFunc(c.turnOver)
		defer over()
		defer time.AfterFunc(p.turnLongest, over).Stop()
		c.handle(entries)
	})
	return c, nil
}

// run reads until reading ends. It returns when nothing is in hand any more or
// working has ended. beside, if not nil, runs for as long as anything is worked on; last, if not nil, ends
// what was given work by handle and by beside, neither of which gives it any more then.
func (c *consumer) run(beside func(stop <-chan struct{}), last func()) {
	stop := make(chan struct{})
	var besides sync.WaitGroup
	if beside != nil {
		besides.Go(func() { beside(stop) })
	}
	keepAliveCtx, stopKeepAlive := context.WithCancel(c.working)
	var keepAlive sync.WaitGroup
	announced := make(chan struct{})
	keepAlive.Go(func() { c.keepAlive(keepAliveCtx, announced) })

	// Entries are only taken by a name that has been announced: one that dies before
	// would be a stranger, of whom nobody knows when to forget it.
	select {
	case <-announced:
		c.read()
	case <-c.reading.Done():
	}
	c.waitIdle()
	close(stop)
	besides.Wait()
	c.handlers.stop()
	c.wg.Wait()
	if last != nil {
		last()
	}
	stopKeepAlive()
	keepAlive.Wait()
	if !errors.Is(context.Cause(c.reading), domain.ErrDataReplaced) {
		c.handBack()
	}
}

// read is the loop that takes entries. Recovering comes first: what this name had
// pending when it starts, or when a reply got lost, nobody else will look at for a while.
//
// While there is more to take over than one reclaim gives, reclaims and reads take
// turns, so what waits longest and what is new have half each of the room there is.
func (c *consumer) read() {
	recovering, after := true, "0-0"
	inheriting := true // what an earlier process of this name left; once, whether or not the answer comes through
	var nextReclaim time.Time
	every := min(c.pool.cfg.ReclaimAfter/8, reclaimEvery)
	apart := rand.N(every) // once, so that the groups do not step in time
	reclaimed := false     // by the last turn of the loop
	wait := newBackoff()
	sign := c.sign("reading")
	defer sign.rest()
	for c.reading.Err() == nil && c.mayTake(sign) {
		most := c.room()
		if most <= 0 {
			sign.rest()
			select {
			case <-c.freed:
			case <-c.reading.Done():
			}
			continue
		}
		sign.within(0)
		var entries []domain.Entry
		var err error
		readAll := false // that there was
		source := &c.pool.stats.Read
		switch {
		case recovering:
			source = &c.pool.stats.Recovered
			if entries, err = c.queue.Own(c.reading, after, most, inheriting); err == nil {
				if recovering = len(entries) > 0; recovering {
					after = entries[len(entries)-1].ID
				}
			}
			inheriting = inheriting && recovering && err == nil
		case !reclaimed && !time.Now().Before(nextReclaim):
			reclaimed = true
			source = &c.pool.stats.Reclaimed
			if entries, err = c.queue.Reclaim(c.reading, c.pool.cfg.ReclaimAfter, most); len(entries) < most {
				nextReclaim = time.Now().Add(every - apart)
				apart = rand.N(every / 8)
			}
		case c.bell != nil:
			reclaimed = false
			entries, err = c.queue.Read(c.reading, most, 0)
			readAll = len(entries) < most
		default:
			reclaimed = false
			entries, err = c.queue.Read(c.reading, most, min(time.Until(nextReclaim), c.pool.cfg.Grace/2))
			readAll = len(entries) < most
		}
		if err != nil {
			if c.reading.Err() != nil {
				return
			}
			// The reply may be lost with entries in it: they are in the own list.
			recovering, after = true, "0-0"
			c.pool.redisFailed(err)
			pause(c.reading, wait.NextBackOff())
			continue
		}
		wait.Reset()
		c.pool.redis.worked()
		little := c.little(entries)
		if fresh := c.take(entries); len(fresh) > 0 {
			source.Add(int64(len(fresh)))
			if !c.mayTake(sign) { // a read that waited while it was paused
				for _, e := range fresh {
					c.leave(e.ID)
				}
				return
			}
			if c.inTurn {
				c.handle(fresh)
			} else { // while these are handled, the next are read: up to the room there is
				c.turnBegins()
				c.handlers.hand(fresh)
			}
		}
		if readAll && little {
			pause(c.reading, c.breathNow())
		}
		if readAll && c.bell != nil {
			c.bell.wait(c.reading, time.Until(nextReclaim))
		}
	}
}

func (c *consumer) turnBegins() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turns++
}

func (c *consumer) turnOver() {
	c.mu.Lock()
	c.turns--
	c.mu.Unlock()
	c.signalFreed()
}

// breathNow is how long a loop is to wait that did little.
func (c *consumer) breathNow() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.breath.now(time.Now())
}

// called notes how long a call took.
func (c *consumer) called(begun time.Time) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.breath.called(now, now.Sub(begun))
}

// little reports whether entries are few orders, or facts, and any.
func (c *consumer) little(entries []domain.Entry) bool {
	work := 0
	for _, e := range entries[:min(len(entries), breathBelow)] {
		work += c.workOf(e)
	}
	return 0 < work && work < breathBelow
}

// room is how many more entries may be taken at a time, none if there is as much work in hand as there may be, or if other reads have
// their turn. One
// with several facts may bring more than there is room for.
func (c *consumer) room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turns >= turnsMost {
		return 0
	}
	left := inHandTimes*c.pool.cfg.Concurrency - c.work
	if left <= 0 {
		return 0
	}
	return min(max(left/c.perEntry, 1), readMost)
}

// workOf is how many requests, or facts, an entry has.
func (c *consumer) workOf(e domain.Entry) int {
	if c.perEntry == 1 || len(e.Fields) < 2 {
		return 1
	}
	return strings.Count(e.Fields[1], "\n") + 1
}

// take notes entries as being in hand, and returns those that were not yet.
func (c *consumer) take(entries []domain.Entry) []domain.Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh, redelivered := entries[:0], int64(0)
	for _, e := range entries {
		if _, known := c.inFlight[e.ID]; !known {
			hand := inHand{active: true, work: c.workOf(e)}
			c.inFlight[e.ID] = hand
			c.work += hand.work
			fresh = append(fresh, e)
			if e.Deliveries > 1 {
				redelivered++
			}
		}
	}
	c.active += len(fresh)
	c.pool.stats.InFlight.Add(int64(len(fresh)))
	c.pool.stats.Redelivered.Add(redelivered)
	return fresh
}

// finish notes that entries are acknowledged, or set aside.
func (c *consumer) finish(ids ...string) {
	c.mu.Lock()
	for _, id := range ids {
		hand := c.inFlight[id]
		if hand.active {
			c.active--
		}
		if hand.apart {
			c.apart--
		} else {
			c.work -= hand.work
		}
		delete(c.inFlight, id)
	}
	c.mu.Unlock()
	c.pool.stats.InFlight.Add(int64(-len(ids)))
	c.signalFreed()
}

// leave stops the work on an entry without an outcome. It stays in hand, kept
// alive, until it is handed back.
func (c *consumer) leave(id string) {
	c.mu.Lock()
	if hand := c.inFlight[id]; hand.active {
		hand.active = false
		c.inFlight[id] = hand
		c.active--
	}
	c.mu.Unlock()
	c.signalFreed()
}

// setApart notes that an entry waits for what others bring about, and makes room for that, as long as not too many do.
func (c *consumer) setApart(id string) {
	c.mu.Lock()
	if hand := c.inFlight[id]; hand.active && !hand.apart && c.apart < apartTimes*c.pool.cfg.Concurrency {
		hand.apart = true
		c.inFlight[id] = hand
		c.apart++
		c.work -= hand.work
	}
	c.mu.Unlock()
	c.signalFreed()
}

// bringBack notes that what it waited for is there.
func (c *consumer) bringBack(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hand := c.inFlight[id]; hand.apart {
		hand.apart = false
		c.inFlight[id] = hand
		c.apart--
		c.work += hand.work
	}
}

func (c *consumer) signalFreed() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

func (c *consumer) inHand() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make([]string, 0, len(c.inFlight))
	for id := range c.inFlight {
		ids = append(ids, id)
	}
	return ids
}

// waitIdle returns when nothing is worked on any more, or working has ended.
func (c *consumer) waitIdle() {
	for c.working.Err() == nil {
		c.mu.Lock()
		active := c.active
		c.mu.Unlock()
		if active == 0 {
			return
		}
		select {
		case <-c.freed:
		case <-c.working.Done():
		}
	}
}

// keepAlive gives signs of life for everything in hand, however slow the work on
// it is, so that only entries of workers that are dead or frozen are reclaimed.
//
// announced is closed after the first sign, which is tried for as long as it takes.
func (c *consumer) keepAlive(ctx context.Context, announced chan<- struct{}) {
	every := c.pool.cfg.ReclaimAfter / 3
	next := every - rand.N(every) // the first time, so that the groups do not step in time
	wait := newBackoff()
	sign := c.sign("keeping alive")
	defer sign.rest()
	for silent := true; ; {
		sign.within(0)
		lost, err := c.queue.KeepAlive(ctx, c.inHand(), c.pool.cfg.ReclaimAfter)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// Again soon, and not at the next tick: whoever looks takes over all that is in hand.
			c.pool.redisFailed(err)
			pause(ctx, min(wait.NextBackOff(), every))
			continue
		}
		wait.Reset()
		if silent {
			silent = false
			close(announced)
		}
		c.noteLost(lost)
		sign.within(next)
		if !pause(ctx, next) {
			return
		}
		next = every
	}
}

// noteLost: others have these now, or settled them a moment ago. The work on them
// goes on; whoever comes second changes nothing.
func (c *consumer) noteLost(ids []string) {
	c.mu.Lock()
	lost := 0
	for _, id := range ids {
		if hand, still := c.inFlight[id]; still && !hand.lost {
			hand.lost = true
			c.inFlight[id] = hand
			lost++
		}
	}
	c.mu.Unlock()
	if lost > 0 {
		c.pool.stats.Lost.Add(int64(lost))
		c.log.Debug("entries are not this worker's any more", zap.Int("entries", lost))
	}
}

// handBack lets others have at once what is still in hand. It has its own short
// time: the one for working is over.
func (c *consumer) handBack() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.working), c.pool.handBackTime())
	defer cancel()
	ids := c.inHand()
	if err := c.queue.HandBack(ctx, ids); err != nil {
		c.log.Warn("could not hand entries back, they will be reclaimed", zap.Int("entries", len(ids)), zap.Error(err))
		return
	}
	c.pool.stats.HandedBack.Add(int64(len(ids)))
	c.pool.stats.InFlight.Add(int64(-len(ids)))
	if err := c.queue.Leave(ctx); err != nil {
		c.log.Debug("could not leave the group, it will forget this consumer", zap.Error(err))
	}
}

// attempt calls do for n entries, again and again until it works or working ends. If one of
// the entries is poison, they are tried one by one, and those that are go to the dead letters.
func (c *consumer) attempt(n int, id func(int) string, do func(first, end int) error) {
	c.attemptEach(n, do, func(i int, err error) {
		if id(i) == "" { // of an order that is asked about without an entry
			c.log.Error("an answer of the payment gateway cannot be kept", zap.Error(err))
			return
		}
		c.deadLetter(domain.DeadEntry{ID: id(i), Reason: err.Error()})
	})
}

// attemptEach is attempt for whatever items: poisoned is called for those that are.
func (c *consumer) attemptEach(n int, do func(first, end int) error, poisoned func(i int, err error)) {
	if n == 0 {
		return
	}
	err := c.retry(func() error {
		begun := time.Now()
		err := do(0, n)
		if err == nil && n < breathBelow {
			c.called(begun)
		}
		return err
	})
	if domain.ClassOf(err) != domain.ClassPoison || err == nil {
		return
	}
	for i := range n {
		if err := c.retry(func() error { return do(i, i+1) }); err != nil && domain.ClassOf(err) == domain.ClassPoison {
			poisoned(i, err)
		}
	}
}

// retry calls do until it works, is poison, or working ends; it returns the last error.
func (c *consumer) retry(do func() error) error {
	var wait pauses
	for {
		err := do()
		if err == nil {
			c.pool.redis.worked()
			return nil
		}
		switch {
		case c.working.Err() != nil:
			return err
		case domain.ClassOf(err) == domain.ClassPoison:
			c.pool.stats.redisFailed(err)
			return err
		}
		c.pool.redisFailed(err)
		c.pool.stats.retries[workStep].Add(1)
		if !pause(c.working, wait.next()) {
			return err
		}
	}
}

// deadLetter sets entries aside, with a line for the log: somebody must look at them.
func (c *consumer) deadLetter(dead ...domain.DeadEntry) {
	if !c.putAside(dead) {
		return
	}
	for _, d := range dead {
		c.finish(d.ID)
	}
}

// putAside is deadLetter without an end to the work on the entries that are set aside. It reports false if they are not.
func (c *consumer) putAside(dead []domain.DeadEntry) bool {
	if len(dead) == 0 {
		return true
	}
	if err := c.retry(func() error { return c.queue.DeadLetter(c.working, dead) }); err != nil {
		if c.working.Err() != nil {
			return false // they are handed back
		}
		// Not even that works. They stay pending, without a sign of life, for whoever tries next.
		ids := make([]string, len(dead))
		for i, d := range dead {
			ids[i] = d.ID
		}
		c.log.Error("could not set entries aside", zap.Strings("entries", ids), zap.Error(err))
		c.finish(ids...)
		return false
	}
	c.noteSetAside(dead...)
	return true
}

func (c *consumer) noteSetAside(dead ...domain.DeadEntry) {
	c.pool.stats.DeadLettered.Add(int64(len(dead)))
	c.log.Warn("set aside as dead letters", zap.Int("entries", len(dead)), zap.String("first", dead[0].ID), zap.String("reason", dead[0].Reason), traceID(dead[0].TraceID))
}

// tooManyDeliveries is the last resort against an entry that kills its workers.
func (c *consumer) tooManyDeliveries(e domain.Entry) bool {
	return e.Deliveries > c.pool.cfg.MaxDeliveries
}

const reasonDeliveries = "delivered too often without an outcome"

// inBatches calls do with all the values that are there, and at least one, until
// stop is closed; after few, it takes breath. What do is given is its own only until it returns.
func inBatches[T any](sign *sign, values <-chan T, stop <-chan struct{}, breath func() time.Duration, do func([]T)) {
	batch := make([]T, 0, readMost)
	few := min(breathBelow, cap(values)) // with as many, whoever sends may wait already
	for {
		sign.rest()
		select {
		case v := <-values:
			batch = append(batch[:0], v)
		case <-stop:
			return
		}
		for more := true; more && len(batch) < readMost; {
			select {
			case v := <-values:
				batch = append(batch, v)
			default:
				more = false
			}
		}
		sign.within(0)
		little := len(batch) < few
		do(batch)
		if wait := breath(); little && wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-stop:
				timer.Stop()
			}
		}
	}
}

func (c *consumer) sign(loop string) *sign {
	return c.pool.signs.of(fmt.Sprintf("%s of %s in partition %d", loop, c.group, c.partition))
}

// backOff waits before something is tried again. It reports false if the worker
// is to end instead: then the entry is left for others.
func (c *consumer) backOff(d time.Duration) bool { return pause(c.reading, d) }

// pauses are those of a newBackoff, which most calls never need.
type pauses struct{ b *backoff.ExponentialBackOff }

func (p *pauses) next() time.Duration {
	if p.b == nil {
		p.b = newBackoff()
	}
	return p.b.NextBackOff()
}

func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 50 * time.Millisecond
	b.MaxInterval = 2 * time.Second
	return b
}

// pause waits, and reports false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter spreads d over half to one and a half of it, so that workers do not step in time.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
