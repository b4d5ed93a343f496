package workers

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

const (
	// expireEvery is how often due holds are ended at most.
	expireEvery = 200 * time.Millisecond
	// lookEvery is how often it is looked which hold is due next, if none was known to be due earlier. One that
	// is made after a look, and for less than that, ends so much too late at most.
	lookEvery = time.Second
	// trimEvery is how often requests are trimmed, and paceEvery how often while there are any: then their pace is noted, too.
	trimEvery = 4 * time.Second
	paceEvery = time.Second
	// forgetEvery is how often rejections for unknown events are forgotten while there are any to be, and
	// forgetLookEvery how often it is looked whether there are.
	forgetEvery     = 500 * time.Millisecond
	forgetLookEvery = 10 * time.Second
	forgetMost      = 32 // log entries at a time
	forgetRounds    = 20
	// forgetEventsEvery is how often it is looked at most for events that are over, and that are to be forgotten, and forgetEventsOrders
	// how many of their orders go at a time.
	forgetEventsEvery  = time.Minute
	forgetEventsOrders = 2000
	// expireRounds bounds one turn of expiring, so that a flood of them does not keep the others waiting.
	expireRounds = 20
)

// job is something that one worker at a time does in a partition, now and then.
type job struct {
	name  string
	every time.Duration // a turn lasts nine tenths of it
	// due, if not nil, looks without a turn for how long there will be nothing to do; else there is something every time.
	due  func(ctx context.Context) (wait time.Duration, err error)
	do   func(ctx context.Context) error
	next time.Time
}

// newMaintenance expires holds, trims requests that are done with and forgets
// consumers that are gone, and rejections for unknown events. A crash between any two steps leaves them to the next turn.
func (p *Pool) newMaintenance(partition int) (func(), error) {
	trim := &job{name: domain.JobTrim, every: trimEvery}
	trim.do = func(ctx context.Context) error {
		n, left, err := p.ledger.Trim(ctx, partition)
		p.stats.Trimmed.Add(n)
		if trim.every = trimEvery; left {
			trim.every = paceEvery
		}
		return err
	}
	jobs := []*job{
		{
			name: domain.JobExpire, every: expireEvery,
			due: func(ctx context.Context) (time.Duration, error) {
				wait, held, err := p.ledger.UntilDue(ctx, partition)
				if !held || wait > lookEvery {
					wait = lookEvery
				}
				return wait, err
			},
			do: func(ctx context.Context) error { return p.expire(ctx, partition) },
		},
		trim,
		{name: domain.JobForget, every: p.cfg.ReclaimAfter, do: func(ctx context.Context) error {
			names, err := p.ledger.ForgetConsumers(ctx, partition)
			if len(names) > 0 {
				p.log.Info("forgot consumers that are gone", zap.Int("partition", partition), zap.Strings("consumers", names))
			}
			return err
		}},
		{
			name: domain.JobForgetUnknown, every: forgetEvery,
			due: func(ctx context.Context) (time.Duration, error) {
				wait, any, err := p.ledger.UntilForgettable(ctx, partition, p.forgetAfter())
				if !any || wait > forgetLookEvery {
					wait = forgetLookEvery
				}
				return wait, err
			},
			do: func(ctx context.Context) error { return p.forgetUnknown(ctx, partition) },
		},
	}
	if p.cfg.KeepEvent > 0 {
		jobs = append(jobs, p.forgetEvents(partition))
	}
	var looked time.Time // for what is parked
	jobs = append(jobs, &job{
		name: domain.JobExtend, every: extendEvery,
		due: func(context.Context) (time.Duration, error) {
			if p.pausesHolds() {
				return 0, nil
			}
			return extendEvery, nil
		},
		do: func(ctx context.Context) error {
			n, err := p.ledger.Extend(ctx, partition, p.paused())
			if n > 0 {
				p.added(partition)
			}
			return err
		},
	}, &job{
		name: domain.JobUnpark, every: unparkEvery,
		due: func(ctx context.Context) (time.Duration, error) {
			if len(p.paused()) == 0 && time.Since(looked) < unparkLookEvery {
				return unparkEvery, nil
			}
			looked = time.Now()
			events, err := p.ledger.Parked(ctx, partition)
			if len(slices.DeleteFunc(events, p.paused().Event)) == 0 {
				return unparkEvery, err
			}
			return 0, nil
		},
		do: func(context.Context) error { return p.unpark(partition) },
	})
	sign := p.signs.of(fmt.Sprintf("maintenance of partition %d", partition))
	return func() {
		defer sign.rest()
		// The partitions do not step in time.
		for next := rand.N(expireEvery); pause(p.reading, next); {
			sign.within(0)
			first := time.Now().Add(time.Minute)
			for _, j := range jobs {
				if !time.Now().Before(j.next) {
					j.next = time.Now().Add(p.turn(partition, j))
				}
				if j.next.Before(first) {
					first = j.next
				}
			}
			next = time.Until(first)
			sign.within(next)
		}
	}, nil
}

// turn does a job, if there is something to do and nobody else is at it, and returns when to look again.
func (p *Pool) turn(partition int, j *job) (again time.Duration) {
	// Never before the own turn is over, or every second one would be missed, and who looks for signs of maintenance would see none.
	again = j.every + rand.N(j.every/4)
	var err error
	if j.due != nil {
		var wait time.Duration
		if wait, err = j.due(p.reading); err == nil && wait > 0 {
			again = wait
		}
		if err != nil || wait > 0 {
			p.turned(err)
			return again
		}
	}
	mine, err := p.ledger.TakeTurn(p.reading, partition, j.name, p.cfg.Name, j.every*9/10)
	if err == nil && mine {
		err = j.do(p.reading)
	}
	p.turned(err)
	return again
}

func (p *Pool) turned(err error) {
	switch {
	case p.reading.Err() != nil: // ended, and with it the command
	case err != nil:
		p.redisFailed(err)
	default:
		p.redis.worked()
	}
}

func (p *Pool) expire(ctx context.Context, partition int) error {
	for range expireRounds {
		expired, lapsed, err := p.ledger.Expire(ctx, partition, readMost)
		p.stats.Expired.Add(int64(expired))
		p.stats.order(domain.OrderExpired, "", int64(expired))
		p.stats.order(domain.OrderLapsed, "", int64(lapsed))
		p.stats.Awaited.Add(int64(lapsed)) // if they are being paid for
		p.added(partition)
		if err != nil || expired+lapsed < readMost {
			return err
		}
	}
	return nil
}

func (p *Pool) forgetUnknown(ctx context.Context, partition int) error {
	for range forgetRounds {
		n, more, err := p.ledger.Forget(ctx, partition, p.forgetAfter(), forgetMost)
		p.stats.Forgotten.Add(int64(n))
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// forgetEvents forgets events that are over, and their orders.
func (p *Pool) forgetEvents(partition int) *job {
	rarely := min(max(p.cfg.KeepEvent/20, expireEvery), forgetEventsEvery)
	forget := &job{name: domain.JobForgetEvents, every: rarely}
	forget.do = func(ctx context.Context) error {
		forget.every = rarely
		for range forgetRounds {
			events, orders, more, err := p.ledger.ForgetEvents(ctx, partition, p.cfg.KeepEvent, forgetEventsOrders)
			p.stats.ForgottenEvents.Add(int64(events))
			p.stats.ForgottenOrders.Add(int64(orders))
			if err != nil || !more {
				return err
			}
		}
		forget.every = forgetEvery
		return nil
	}
	return forget
}

// forgetAfter is how long a rejection for an unknown event is remembered: also while requests that were there before it can be valid for longer,
// because they were paused. While something is paused nobody knows how long that is.
func (p *Pool) forgetAfter() time.Duration {
	pauses := p.pauses.Load()
	if pauses == nil || len(pauses.Lasting()) > 0 {
		return math.MaxInt64 / 2
	}
	return p.cfg.ForgetAfter + time.Duration(pauses.MostPausedMillis())*time.Millisecond
}
