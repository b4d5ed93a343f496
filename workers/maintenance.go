package workers

import (
	"context"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

const (
	// expireEvery is how often due holds are looked for: "within a second of its
	// deadline" leaves room for a slow round.
	expireEvery = 200 * time.Millisecond
	trimEvery   = time.Second
	// expireRounds bounds one turn of expiring, so that a flood of them does not keep the others waiting.
	expireRounds = 20
)

// job is something that one worker at a time does in a partition, now and then.
type job struct {
	name  string
	every time.Duration
	do    func(ctx context.Context) error
	next  time.Time
}

// newMaintenance expires holds, trims requests that are done with and forgets
// consumers that are gone. A crash between any two steps leaves them to the next turn.
func (p *Pool) newMaintenance(partition int) (func(), error) {
	jobs := []*job{
		{name: domain.JobExpire, every: expireEvery, do: func(ctx context.Context) error { return p.expire(ctx, partition) }},
		{name: domain.JobTrim, every: trimEvery, do: func(ctx context.Context) error {
			n, err := p.ledger.Trim(ctx, partition)
			p.stats.Trimmed.Add(n)
			return err
		}},
		{name: domain.JobForget, every: p.cfg.ReclaimAfter, do: func(ctx context.Context) error {
			names, err := p.ledger.ForgetConsumers(ctx, partition)
			if len(names) > 0 {
				p.log.Info("forgot consumers that are gone", zap.Int("partition", partition), zap.Strings("consumers", names))
			}
			return err
		}},
	}
	return func() {
		for {
			next := time.Now().Add(time.Minute)
			for _, j := range jobs {
				if now := time.Now(); !now.Before(j.next) {
					p.turn(partition, j)
					j.next = now.Add(jitter(j.every))
				}
				if j.next.Before(next) {
					next = j.next
				}
			}
			if !pause(p.reading, time.Until(next)) {
				return
			}
		}
	}, nil
}

func (p *Pool) turn(partition int, j *job) {
	mine, err := p.ledger.TakeTurn(p.reading, partition, j.name, p.cfg.Name, j.every*9/10)
	if err == nil && mine {
		err = j.do(p.reading)
	}
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
		n, err := p.ledger.Expire(ctx, partition, readMost)
		p.stats.Expired.Add(int64(n))
		if err != nil || n < readMost {
			return err
		}
	}
	return nil
}
