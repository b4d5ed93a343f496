package producer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/domain"
)

// lookMost bounds the orders of one look.
const lookMost = 500

// outcomes listens to each partition from the first wait there until the end:
// a checkout waits all the time, and connecting for each order would cost more
// than the order.
type outcomes struct {
	source  domain.Outcomes
	recheck time.Duration

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	partitions map[int]*listener
}

func newOutcomes(source domain.Outcomes, recheck time.Duration) *outcomes {
	ctx, cancel := context.WithCancel(context.Background())
	return &outcomes{source: source, recheck: recheck, ctx: ctx, cancel: cancel, partitions: make(map[int]*listener)}
}

func (o *outcomes) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.cancel()
	o.wg.Wait()
}

var errClosed = errors.New("the producer is closed")

func (o *outcomes) wait(ctx context.Context, q question) (Outcome, error) {
	if !domain.ValidID(q.ref.EventID) || !domain.ValidID(q.ref.OrderID) {
		return Outcome{EventID: q.ref.EventID, OrderID: q.ref.OrderID},
			domain.WithClass(domain.ClassReject, fmt.Errorf("waiting for %q: want event_id and order_id", q.ref))
	}
	partition := o.source.Partition(q.ref.EventID)
	l := o.listening(partition)
	if l == nil {
		// An answer that is there already needs nobody to listen.
		if outcome, ok, err := q.answer(o.source.Look(ctx, []domain.OrderRef{q.ref})[0]); ok {
			return o.withSeats(ctx, outcome, err)
		}
		var err error
		if l, err = o.listen(partition); err != nil {
			return unknown(q.ref, err)
		}
	}
	w := l.join(q)
	defer l.leave(w)
	select {
	case <-w.answered:
		return o.withSeats(ctx, w.outcome, w.err)
	case <-o.ctx.Done():
		return unknown(q.ref, errClosed)
	case <-ctx.Done():
		return unknown(q.ref, ctx.Err())
	}
}

// withSeats is an answer in which the seats of the order have their names.
func (o *outcomes) withSeats(ctx context.Context, outcome Outcome, err error) (Outcome, error) {
	if err != nil || !outcome.Order.Items.Seated() {
		return outcome, err
	}
	for {
		var err error
		outcome.Seats, err = o.source.SeatNames(ctx, outcome.EventID, outcome.Order.Items)
		if class := domain.ClassOf(err); err == nil || class == domain.ClassFatal || class == domain.ClassPoison {
			return outcome, err
		}
		again := time.NewTimer(recheckDeaf)
		select {
		case <-again.C:
			continue
		case <-o.ctx.Done():
			err = errClosed
		case <-ctx.Done():
			err = ctx.Err()
		}
		again.Stop()
		return unknown(domain.OrderRef{EventID: outcome.EventID, OrderID: outcome.OrderID}, err)
	}
}

// unknown is no answer.
func unknown(ref domain.OrderRef, cause error) (Outcome, error) {
	return Outcome{EventID: ref.EventID, OrderID: ref.OrderID}, fmt.Errorf("waiting for %s: %w: %w", ref, domain.ErrUnknownOutcome, cause)
}

// listening is the partition's listener, nil if there is none yet.
func (o *outcomes) listening(partition int) *listener {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.partitions[partition]
}

// listen returns the partition's listener, which listens from the first call on.
func (o *outcomes) listen(partition int) (*listener, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, errClosed
	}
	l := o.partitions[partition]
	if l == nil {
		l = &listener{
			source: o.source, waits: make(map[domain.OrderRef][]*wait), due: make(map[domain.OrderRef]bool), wake: make(chan struct{}, 1),
		}
		o.partitions[partition] = l
		o.wg.Go(func() { l.look(o.ctx, o.recheck) })
		o.wg.Go(func() {
			// It reconnects by itself and ends with ctx; meanwhile the rechecks serve whoever waits.
			_ = o.source.Watch(o.ctx, partition, l)
		})
	}
	return l, nil
}

// listener holds the waits of one partition. A notice only makes it look: what it is told
// comes from outside, what is stored is the truth. All its looks are made by one goroutine, one
// after the other, so that however many wait, a look is one round trip for all that are due.
type listener struct {
	source domain.Outcomes
	wake   chan struct{} // holds a token if there is something due

	mu    sync.Mutex
	deaf  bool // there is no subscription
	waits map[domain.OrderRef][]*wait
	due   map[domain.OrderRef]bool // to be looked at; each is waited for
	looks int                      // begun so far
}

// wait is one call that waits.
type wait struct {
	question
	after    int           // looks that had begun before it; what they find may be older than the call
	answered chan struct{} // closed when outcome and err are set
	outcome  Outcome
	err      error
}

// join adds a wait, and has its order looked at: it may have changed before anybody waited.
func (l *listener) join(q question) *wait {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &wait{question: q, after: l.looks, answered: make(chan struct{})}
	l.waits[q.ref] = append(l.waits[q.ref], w)
	l.dueNow(q.ref)
	return w
}

func (l *listener) leave(w *wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(w.ref, func(other *wait) bool { return other != w })
}

// keep keeps the waits for an order that are to stay.
func (l *listener) keep(ref domain.OrderRef, stays func(*wait) bool) {
	left := slices.DeleteFunc(l.waits[ref], func(w *wait) bool { return !stays(w) })
	if len(left) == 0 {
		delete(l.waits, ref)
		delete(l.due, ref)
		return
	}
	l.waits[ref] = left
}

// dueNow has an order looked at that somebody waits for.
func (l *listener) dueNow(ref domain.OrderRef) {
	l.due[ref] = true
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Connected makes everybody look: something may have been missed.
func (l *listener) Connected() { l.listening(true) }

// Disconnected makes everybody look, and more often from now on.
func (l *listener) Disconnected() { l.listening(false) }

func (l *listener) listening(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = !yes
	l.allDue()
}

// allDue has every order looked at that is waited for.
func (l *listener) allDue() {
	for ref := range l.waits {
		l.dueNow(ref)
	}
}

// recheckDeaf is how often orders are looked at while no notices come: a look is one round trip.
const recheckDeaf = 250 * time.Millisecond

// recheck has everything looked at that is waited for, since a notice may get lost.
func (l *listener) recheck() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allDue()
}

// recheckEvery is how often that is done now.
func (l *listener) recheckEvery(listening time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf {
		return min(listening, recheckDeaf)
	}
	return listening
}

// Changed has those orders looked at that somebody waits for.
func (l *listener) Changed(refs []domain.OrderRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ref := range refs {
		if len(l.waits[ref]) > 0 {
			l.dueNow(ref)
		}
	}
}

// look makes the looks until ctx ends: at what is due, and every so often at everything.
func (l *listener) look(ctx context.Context, listening time.Duration) {
	every := listening
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-l.wake:
		case <-tick.C:
			l.recheck()
			continue // there is a token now, if anybody waits
		case <-ctx.Done():
			return
		}
		if now := l.recheckEvery(listening); now != every {
			every = now
			tick.Reset(every)
		}
		for batch, number := l.take(); len(batch) > 0; batch, number = l.take() {
			found := l.source.Look(ctx, batch)
			for i, ref := range batch {
				l.found(ref, found[i], number)
			}
		}
	}
}

// take begins a look at what is due, or at as much of it as one look takes.
func (l *listener) take() (batch []domain.OrderRef, number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch = make([]domain.OrderRef, 0, min(len(l.due), lookMost))
	for ref := range l.due {
		if len(batch) == lookMost {
			break
		}
		batch = append(batch, ref)
		delete(l.due, ref)
	}
	l.looks++
	return batch, l.looks
}

// found ends the waits for which that is an answer. The others go on: what changed after
// the look is told of again.
func (l *listener) found(ref domain.OrderRef, looked domain.Looked, number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(ref, func(w *wait) bool {
		if w.after >= number {
			return true
		}
		outcome, ok, err := w.answer(looked)
		if ok {
			w.outcome, w.err = outcome, err
			close(w.answered)
		}
		return !ok
	})
}
