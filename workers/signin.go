package workers

import (
	"context"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

const (
	// signInEvery is how often a worker says that it is there, give or take half.
	signInEvery = 10 * time.Second
	// sweepTimes is how often it says so until it forgets others that have said nothing for an hour.
	sweepTimes = 30
)

// signIn says who this worker is, what it does and how fast, for people who ask who works. Nothing else depends on
// it: what cannot be said is said the next time.
func (p *Pool) signIn() {
	roles := make([]string, len(p.cfg.Roles))
	for i, r := range p.cfg.Roles {
		roles[i] = string(r)
	}
	sign := domain.WorkerSign{Version: p.cfg.Version, Roles: roles, ReclaimAfterMillis: p.cfg.ReclaimAfter.Milliseconds()}
	requests, facts, at := p.stats.done(), p.stats.followed(), time.Now()
	for n := 0; ; n++ {
		sign.Paused = p.cfg.has(RolePurchase) && p.Paused()
		err := p.ledger.SignIn(p.reading, p.cfg.Name, sign, time.Since(p.made), n%sweepTimes == 0)
		if err != nil && p.reading.Err() == nil && domain.ClassOf(err) == domain.ClassFatal {
			p.log.Warn("this worker may not say that it is there: workers list does not know it", zap.Error(err))
			return
		}
		if !pause(p.reading, jitter(signInEvery)) {
			break
		}
		done, followed, now := p.stats.done(), p.stats.followed(), time.Now()
		took := now.Sub(at).Seconds()
		sign.RequestsPerSecond, sign.FactsPerSecond = float64(done-requests)/took, float64(followed-facts)/took
		requests, facts, at = done, followed, now
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.working), p.handBackTime())
	defer cancel()
	if err := p.ledger.SignOut(ctx, p.cfg.Name); err != nil {
		p.log.Debug("could not say that this worker is gone, it will be forgotten", zap.Error(err))
	}
}

// done is how many requests had an outcome.
func (s *Stats) done() int64 {
	return s.Confirmed.Load() + s.Declined.Load() + s.Rejected.Load() + s.Held.Load() + s.Cancels.Load()
}

// followed is how many facts were posted or settled.
func (s *Stats) followed() int64 { return s.Posted.Load() + s.Settled.Load() }
