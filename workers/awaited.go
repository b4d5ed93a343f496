package workers

import (
	"context"
	"time"

	"holdfast/domain"
)

// A payment that is action_required keeps nobody waiting: its order is held until the deadline, and no entry is in hand. What
// becomes of it is asked when somebody says that there may be news (a payment_update), and from time to time in any case. The answer
// goes the way of all answers.

const (
	// askWithin bounds how long one order is asked about. Without an answer it is asked about again, by whose turn it is then.
	askWithin = time.Second
	// askPaidWithin likewise, of one whose payment may be disputed, since nobody asks again by themselves.
	askPaidWithin = 30 * time.Second
	// askEvery is how often it is looked whom to ask about, where there is somebody; else askIdly is, or as soon as this worker has heard of somebody.
	askEvery = time.Second
	askIdly  = 30 * time.Second
)

// ask looks up what became of a payment.
func (r *purchase) ask(p *pending) {
	if p.order.ConfirmedAtMillis > 0 {
		r.askPaid(p)
		return
	}
	payment, err := r.lookUp(p, askWithin)
	switch {
	case err == nil && r.judge(p, payment):
		r.answered(p)
	case r.reading.Err() != nil:
		r.leave(p.entryID)
	case p.entryID != "": // nothing is known yet
		r.acknowledge(p)
	}
}

func (r *purchase) lookUp(p *pending, within time.Duration) (domain.Payment, error) {
	attempt := r.pool.attempt(p.request.Ref(), p.order, p.resolution.Attempt)
	return r.settled(callLookUp, time.Now().Add(within), func(ctx context.Context) (domain.Payment, error) {
		return r.pool.gateway.port.Lookup(ctx, attempt)
	})
}

// askPaid looks up whether the payment of an order that is confirmed, or was, is disputed. Nobody asks that from time to time: what is not
// answered is set aside, and can be redriven.
func (r *purchase) askPaid(p *pending) {
	payment, err := r.lookUp(p, askPaidWithin)
	switch {
	case err != nil && r.reading.Err() != nil:
		r.leave(p.entryID)
	case err != nil:
		r.deadLetter(domain.DeadEntry{ID: p.entryID, Reason: "the payment could not be looked up: " + err.Error()})
	default:
		if p.resolution.Dispute = r.disputeOf(p.request.Ref(), p.order, payment); p.resolution.Dispute == (domain.Dispute{}) {
			r.acknowledge(p) // no news
			return
		}
		r.answered(p)
	}
}

// awaitedShare is the part of the calls that may always be of those who are awaited: their holds run out while others are in line.
const awaitedShare = 8

// awaitedShareLeft is how many more may be asked about although nobody is free for it.
func (r *purchase) awaitedShareLeft() int {
	return max(max(r.pool.cfg.Concurrency/awaitedShare, 1)-int(r.askedAbout.Load()), 0)
}

// askAwaited has it asked what customers have done of whom that is awaited: as many at a time as there is somebody free for, and some
// while nobody is; by one worker at a time.
func (r *purchase) askAwaited() {
	var known int64
	var next time.Time // when it is looked again, unless this worker hears of somebody before
	sign := r.sign("asking about what customers do")
	defer sign.rest()
	for wait := time.Duration(0); pause(r.reading, wait); wait = jitter(askEvery) {
		sign.within(2 * askIdly)
		now := r.pool.stats.Awaited.Load()
		if r.pool.gateway.pace.paused() || now == known && time.Now().Before(next) {
			continue
		}
		list, awaited, err := r.pool.ledger.TakeAwaited(r.reading, r.partition, 0) // one plain command, if nobody is awaited
		share := r.awaitedShareLeft()
		if awaited && max(r.payers.spare(), share) > 0 {
			var mine bool
			if mine, err = r.pool.ledger.TakeTurn(r.reading, r.partition, domain.JobAsk, r.pool.cfg.Name, askEvery/2); err == nil && mine {
				list, _, err = r.pool.ledger.TakeAwaited(r.reading, r.partition, max(r.payers.spare(), share))
			}
		}
		if err != nil {
			if r.reading.Err() == nil {
				r.pool.redisFailed(err)
			}
			continue
		}
		r.pool.redis.worked()
		known, next = now, time.Time{}
		if !awaited {
			next = time.Now().Add(jitter(askIdly))
		}
		asked := make([]*pending, len(list))
		for i, a := range list {
			asked[i] = &pending{awaited: true, order: a.Order, since: time.Now(), request: domain.Request{
				Type: domain.RequestPaymentUpdate, EventID: a.Ref.EventID, OrderID: a.Ref.OrderID, Attempt: int64(a.Order.Attempt),
			}}
		}
		r.askedAbout.Add(int64(len(asked)))
		r.payers.hand(asked...)
	}
}
