package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

const (
	// cancelBatch is how many orders one script call cancels: as many as a worker would.
	cancelBatch = 128
	// cancelPasses bounds how often all orders are looked at.
	cancelPasses = 5
)

// CancelledEvent is what Cancel did, and what had been done before: all that is so when it returns.
type CancelledEvent struct {
	Before    bool // it was cancelled already
	Held      int  // orders that were cancelled because of it, and were only held before
	Confirmed int  // the same of confirmed ones, whose customers get their money back
}

// Cancel cancels an event and all its orders that are held or confirmed. The event comes
// first, in one step with the end of its sale: from then on nothing is held any more,
// whoever works, and no order can become what a look at it has not found. Then the
// event's orders are walked, until there
// is nothing left to cancel. The workers do the rest: void, refund, take out of the sales.
//
// progress, if not nil, is told now and then how far it is.
//
// A crash, or an error, at any point leaves orders as they are: call it again. Two at once
// do no harm. Nothing is cancelled any more once somebody has reopened the event.
//
// Errors: domain.ErrNotFound; ClassReject for a bad cause, or of CodeEventReopened;
// domain.ErrUnknownOutcome; ClassPoison if some orders are damaged: all
// others are cancelled.
func (e *Events) Cancel(ctx context.Context, eventID string, cause domain.Cause, progress func(CancelledEvent)) (CancelledEvent, error) {
	event, err := e.Get(ctx, eventID)
	if err != nil {
		return CancelledEvent{}, err
	}
	fact, err := domain.CancelEvent(event, eventID, cause)
	if err != nil {
		return CancelledEvent{}, err
	}
	before := true
	if fact != nil {
		ended, err := e.change(ctx, eventID, func(event domain.Event) (*domain.Fact, error) { return domain.CancelEvent(event, eventID, cause) })
		if err != nil {
			return CancelledEvent{}, err
		}
		before = !ended
	}
	// One pass finds all, for no order can come after the first step; another one finds
	// what Redis has lost of the first, if it failed over meanwhile.
	var replaced error
	for range cancelPasses {
		pass := cancelPass{events: e, eventID: eventID, progress: progress, seen: CancelledEvent{Before: before}}
		err := pass.run(ctx)
		if replaced = nil; errors.Is(err, domain.ErrDataReplaced) {
			replaced = err
			continue
		}
		if err == nil && pass.changed > 0 {
			continue
		}
		if err == nil {
			err = e.stillCancelled(ctx, eventID)
		}
		if err != nil && domain.ClassOf(err) == domain.ClassRetry {
			err = domain.WithClass(domain.ClassRetry, fmt.Errorf("%w: event %s is cancelled, but perhaps not all of its orders: %w", domain.ErrUnknownOutcome, eventID, err))
		}
		return pass.seen, err
	}
	if replaced != nil {
		return CancelledEvent{Before: before}, replaced
	}
	return CancelledEvent{Before: before}, domain.WithCode(domain.ClassRetry, domain.CodeConflict,
		fmt.Errorf("event %s: orders to cancel were found %d times in a row, try again", eventID, cancelPasses))
}

func (e *Events) stillCancelled(ctx context.Context, eventID string) error {
	event, err := e.Get(ctx, eventID)
	if err == nil && !event.Cancelled {
		return reopened(eventID)
	}
	return err
}

func reopened(eventID string) error {
	return domain.WithCode(domain.ClassReject, domain.CodeEventReopened,
		fmt.Errorf("event %s: somebody reopened it meanwhile: some of its orders are cancelled, those that were not are left as they are", eventID))
}

// cancelPass looks at all orders of an event once.
type cancelPass struct {
	events   *Events
	ledger   *Ledger // on the branch on which the pass began
	eventID  string
	progress func(CancelledEvent)
	seen     CancelledEvent
	changed  int // orders that it had to cancel
	page     []domain.OrderRef
	damage   error // the first; all else goes on
}

func (c *cancelPass) run(ctx context.Context) error {
	event, err := c.events.read(ctx, c.eventID)
	if err != nil {
		return err
	}
	c.ledger = &Ledger{c.events.store, func(int) string { return event.Branch }}
	if err := c.events.store.Inside().EachOrderOf(ctx, c.eventID, func(refs []domain.OrderRef) error {
		c.page = append(c.page, refs...)
		return c.cancelThese(ctx)
	}); err != nil {
		return err
	}
	if c.damage != nil {
		return fmt.Errorf("some orders are damaged and were left as they are, the first of them: %w", c.damage)
	}
	return nil
}

// cancelThese cancels those on the page that are to be cancelled.
func (c *cancelPass) cancelThese(ctx context.Context) error {
	store := c.events.store
	p := store.Partition(c.eventID)
	for chunk := range slices.Chunk(c.page, access.MaxBatch) {
		records, err := store.Inside().Records(ctx, chunk)
		if err != nil {
			return err
		}
		var open []domain.OrderRef
		for i, ref := range chunk {
			switch order, err := layout.DecodeOrder(records[i]); {
			case err != nil:
				c.damage = cmp.Or(c.damage, fmt.Errorf("order %s: %w", ref, err))
			case order.Open() || order.State == domain.OrderConfirmed:
				open = append(open, ref)
			default:
				c.note(order)
			}
		}
		for batch := range slices.Chunk(open, cancelBatch) {
			if err := c.cancel(ctx, p, batch); err != nil {
				return err
			}
		}
	}
	c.page = c.page[:0]
	return nil
}

func (c *cancelPass) cancel(ctx context.Context, p int, batch []domain.OrderRef) error {
	stays := false
	event := func() (string, domain.Event, error) {
		event, err := c.events.Get(ctx, c.eventID)
		return c.eventID, event, err
	}
	cancel := func(domain.Event) domain.Command { return domain.Cancel{Reason: domain.ReasonEventCancelled} }
	err := c.ledger.changeOrders(ctx, p, batch, 0, event, cancel, func(_ domain.OrderRef, o domain.Order) {
		if o.Open() || o.State == domain.OrderConfirmed {
			stays = true
			return
		}
		c.changed++
		c.note(o)
	})
	if err != nil && domain.ClassOf(err) != domain.ClassPoison {
		return err
	}
	c.damage = cmp.Or(c.damage, err)
	if c.progress != nil {
		c.progress(c.seen)
	}
	if stays {
		return reopened(c.eventID)
	}
	return nil
}

func (c *cancelPass) note(o domain.Order) {
	switch {
	case o.State != domain.OrderCancelled || o.Reason != domain.ReasonEventCancelled:
	case o.ConfirmedAtMillis > 0:
		c.seen.Confirmed++
	default:
		c.seen.Held++
	}
}
