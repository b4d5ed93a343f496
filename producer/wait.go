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

// Outcome is an order as it stands when a wait ends.
type Outcome struct {
	EventID string
	OrderID string
	Order   domain.Order
}

// Wait returns when the order has an outcome: confirmed, declined, expired,
// cancelled or rejected. It sleeps until a worker tells of it.
//
// If ctx ends first, the error wraps domain.ErrUnknownOutcome: the order may
// still have any outcome, and Wait can be called again.
func (p *Producer) Wait(ctx context.Context, eventID, orderID string) (Outcome, error) {
	return p.outcomes.wait(ctx, eventID, orderID, func(o domain.Order) bool { return o.State.Terminal() })
}

// WaitHeld is Wait for a hold request: it also returns when the order is held.
func (p *Producer) WaitHeld(ctx context.Context, eventID, orderID string) (Outcome, error) {
	return p.outcomes.wait(ctx, eventID, orderID, func(o domain.Order) bool { return o.State != domain.OrderNone })
}

// WaitCancelled is Wait for a cancel request: of the outcomes, confirmed is the
// one it does not return on, because the cancel is about to undo it.
func (p *Producer) WaitCancelled(ctx context.Context, eventID, orderID string) (Outcome, error) {
	return p.outcomes.wait(ctx, eventID, orderID, func(o domain.Order) bool {
		return o.State.Terminal() && o.State != domain.OrderConfirmed
	})
}

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

// listener holds the waits of one partition.
type listener struct {
	mu    sync.Mutex
	deaf  bool // there is no subscription
	waits map[domain.OrderRef][]chan notice
}

// notice is what the order is now; with known false, it has to be read.
type notice struct {
	order domain.Order
	known bool
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

func (o *outcomes) wait(ctx context.Context, eventID, orderID string, enough func(domain.Order) bool) (Outcome, error) {
	ref := domain.OrderRef{EventID: eventID, OrderID: orderID}
	outcome := Outcome{EventID: eventID, OrderID: orderID}
	if !domain.ValidID(eventID) || !domain.ValidID(orderID) {
		return outcome, domain.WithClass(domain.ClassReject, fmt.Errorf("waiting for %q: want event_id and order_id", ref))
	}
	// Look first, so that an outcome that is there already costs one read.
	if order, err := o.order(ctx, ref); err == nil && enough(order) {
		outcome.Order = order
		return outcome, nil
	}
	l, err := o.listener(o.source.Partition(eventID))
	if err != nil {
		return outcome, fmt.Errorf("waiting for %s: %w: %w", ref, domain.ErrUnknownOutcome, err)
	}
	notices := l.join(ref)
	defer l.leave(ref, notices)
	tell([]chan notice{notices}, notice{}) // it may have changed between the look and the join
	recheck := time.NewTicker(o.recheck)
	defer recheck.Stop()
	for {
		var n notice
		recheck.Reset(l.recheck(o.recheck))
		select {
		case n = <-notices:
		case <-recheck.C:
		case <-o.ctx.Done():
			return outcome, fmt.Errorf("waiting for %s: %w: %w", ref, domain.ErrUnknownOutcome, errClosed)
		case <-ctx.Done():
			return outcome, fmt.Errorf("waiting for %s: %w: %w", ref, domain.ErrUnknownOutcome, ctx.Err())
		}
		if !n.known {
			order, err := o.order(ctx, ref)
			switch class := domain.ClassOf(err); {
			case class == domain.ClassFatal || class == domain.ClassPoison:
				return outcome, fmt.Errorf("waiting for %s: %w", ref, err)
			case err != nil:
				continue // the next look will tell
			}
			n.order = order
		}
		if enough(n.order) {
			outcome.Order = n.order
			return outcome, nil
		}
	}
}

func (o *outcomes) order(ctx context.Context, ref domain.OrderRef) (domain.Order, error) {
	orders, err := o.source.Orders(ctx, []domain.OrderRef{ref})
	if err != nil {
		return domain.Order{}, err
	}
	return orders[0], nil
}

// listener returns the partition's, which listens from the first call on.
func (o *outcomes) listener(partition int) (*listener, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, errClosed
	}
	l := o.partitions[partition]
	if l == nil {
		l = &listener{waits: make(map[domain.OrderRef][]chan notice)}
		o.partitions[partition] = l
		o.wg.Go(func() {
			// It reconnects by itself and ends with ctx; meanwhile the rechecks serve whoever waits.
			_ = o.source.Watch(o.ctx, partition, l)
		})
	}
	return l, nil
}

func (l *listener) join(ref domain.OrderRef) chan notice {
	notices := make(chan notice, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits[ref] = append(l.waits[ref], notices)
	return notices
}

func (l *listener) leave(ref domain.OrderRef, notices chan notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := slices.DeleteFunc(l.waits[ref], func(c chan notice) bool { return c == notices })
	if len(left) == 0 {
		delete(l.waits, ref)
		return
	}
	l.waits[ref] = left
}

// recheckDeaf is how often a wait looks while no notices come: each look is one MGET.
const recheckDeaf = 250 * time.Millisecond

// recheck is how often a wait looks now.
func (l *listener) recheck(every time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf {
		return min(every, recheckDeaf)
	}
	return every
}

// Connected makes everybody look: something may have been missed.
func (l *listener) Connected() { l.listening(true) }

// Disconnected makes everybody look, and more often from now on.
func (l *listener) Disconnected() { l.listening(false) }

func (l *listener) listening(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = !yes
	for _, waits := range l.waits {
		tell(waits, notice{})
	}
}

// Changed tells those who wait for this order.
func (l *listener) Changed(ref domain.OrderRef, order domain.Order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tell(l.waits[ref], notice{order: order, known: true})
}

// tell never blocks. If a notice is still unread, the two become one that says
// to look: nobody may be left with the older of two states.
func tell(waits []chan notice, n notice) {
	for _, c := range waits {
		select {
		case c <- n:
		default:
			select {
			case <-c:
			default:
			}
			select {
			case c <- notice{}:
			default: // the other one filled it: it has just been told to look
			}
		}
	}
}
