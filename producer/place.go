package producer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/domain"
)

// PlaceState is how far a request has come.
type PlaceState string

const (
	// PlaceWaiting is that of a request that no worker has looked at yet.
	PlaceWaiting PlaceState = "waiting"
	// PlaceInHand is that of a request that a worker has, or takes over from one that died.
	PlaceInHand PlaceState = "in_hand"
	// PlaceParked is that of a request whose event is paused: it is put back in line when that is over, and stays valid for as long as it
	// would have been.
	PlaceParked PlaceState = "parked"
	// PlaceFinished is that of a request whose outcome is known: WaitFor returns it at once.
	PlaceFinished PlaceState = "finished"
)

// Unknown stands for what nobody can tell of a place.
const Unknown = domain.Unknown

// Place is where a request stands in the line of its partition: with all other requests there, of whatever events and types.
type Place struct {
	State PlaceState
	// Ahead is how many requests workers are to be given before it, to within 2 % or about what is published in a
	// second; 0 once it is in hand. Unknown (-1) if that cannot be told so well: nobody has noted the pace, because no worker
	// does maintenance, or did when the request was published.
	Ahead int64
	// AtLeast and AtMost are bounds of it that are certain, however little is known.
	AtLeast, AtMost int64
	// Wait is about how long it will be until a worker takes it, if workers go on as in the last seconds; 0 once it is in
	// hand. Unknown (-1) if Ahead is, or if they have taken nothing.
	Wait time.Duration
}

// Place tells where the request of a receipt stands in line. It is an estimate, made of what workers note of the pace once a
// second; publishing costs nothing more for it, and however many ask, Redis is asked twice a second for each partition, and
// once for each order. Ask every few seconds, and show it as "about".
//
// Errors: those of WaitFor where the request has come to an end without an outcome (a *SetAsideError, or domain.ErrConflict). One that
// wraps domain.ErrNotFound if the request is neither in line nor in hand, and has led to nothing: the data that it was in
// is lost. Publish it again under the same OrderID. Of class reject if the receipt names no request.
func (p *Producer) Place(ctx context.Context, r Receipt) (Place, error) {
	q, err := questionOf(r)
	if err == nil && (!domain.ValidID(r.EventID) || !domain.ValidID(r.OrderID) || r.EntryID == "") {
		err = domain.WithClass(domain.ClassReject, errors.New("want event_id, order_id and entry_id"))
	}
	if err != nil {
		return Place{}, fmt.Errorf("place of %s: %w", q.ref, err)
	}
	for again := false; ; again = true {
		looked := p.outcomes.source.Look(ctx, []domain.OrderRef{q.ref})[0]
		_, answered, err := q.answer(looked)
		switch {
		case err != nil:
			return Place{}, err
		case answered:
			return Place{State: PlaceFinished}, nil
		}
		in, err := p.outcomes.source.InLine(ctx, p.outcomes.source.Partition(r.EventID), r.EntryID)
		if err != nil {
			return Place{}, fmt.Errorf("place of %s: %w", q.ref, err)
		}
		switch in.State {
		case domain.LineWaiting:
			return Place{State: PlaceWaiting, Ahead: in.Ahead, AtLeast: in.AtLeast, AtMost: in.AtMost, Wait: in.Wait}, nil
		case domain.LineInHand:
			return Place{State: PlaceInHand}, nil
		case domain.LineParked:
			return Place{State: PlaceParked, Ahead: Unknown, AtMost: Unknown, Wait: Unknown}, nil
		case domain.LineLeft: // by now its outcome is there
		}
		if again && r.Type == domain.RequestPaymentUpdate && looked.Order.State != domain.OrderNone {
			return Place{State: PlaceFinished}, nil // it was asked, and there was no news
		}
		if again {
			return Place{}, domain.WithClass(domain.ClassReject, fmt.Errorf("place of %s: request %s: %w in line, and nothing has come of it", q.ref, r.EntryID, domain.ErrNotFound))
		}
	}
}
