// Package webhooks tells others of orders: it sends messages, signed as the Standard Webhooks specification has it, to endpoints that are somebody else's.
//
// What is to be sent waits in a bounded queue of each endpoint and partition, which is filled from the log as there is room. An endpoint that is
// slow, away or hostile therefore keeps nothing else waiting, and fills nothing.
package webhooks

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"reflect"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
)

const (
	// mostRetryAfter is for how long an endpoint is left alone at most because it asks for it.
	mostRetryAfter = 24 * time.Hour
	// sweepEvery is how often what is left of removed endpoints is looked for.
	sweepEvery = time.Minute
)

// Config of a Sender. The zero value of each field gets the default it names.
type Config struct {
	// Every is how often it is looked for what is new. Default 500ms.
	Every time.Duration
	// Timeout of a try, the connection and the answer included. Default 10s.
	Timeout time.Duration
	// Concurrency is how many tries are under way at once, for each endpoint and partition. Default 8.
	Concurrency int
	// FirstPause is how long a message that was not taken waits until it is tried again, and MostPause up to how long it waits, twice
	// as long each time, give or take half. Defaults 1s, 10m.
	FirstPause, MostPause time.Duration
	// MostRest is for how long an endpoint of which no message is taken is left alone, at most; then it is sent one. Default 1m.
	MostRest time.Duration
	// GiveUpAfter is for how long a message is tried until its endpoint is given up. Default 72h.
	GiveUpAfter time.Duration
	// FullFor is for how long nothing may come through to an endpoint for which as many messages wait as may, until it is given up.
	// Default 15m.
	FullFor time.Duration
	// Lease is for how long a sender that says nothing is the only one of an endpoint and partition. Default 15s.
	Lease time.Duration
}

// WithDefaults returns c with every unset field set.
func (c Config) WithDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Every, 500 * time.Millisecond},
		{&c.Timeout, 10 * time.Second},
		{&c.FirstPause, time.Second},
		{&c.MostPause, 10 * time.Minute},
		{&c.MostRest, time.Minute},
		{&c.GiveUpAfter, 72 * time.Hour},
		{&c.FullFor, 15 * time.Minute},
		{&c.Lease, 15 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Concurrency == 0 {
		c.Concurrency = 8
	}
	return c
}

// hold is for how long a message is in hand: longer than a try can take.
func (c Config) hold() time.Duration { return 2*c.Timeout + c.Lease }

// Deps is what a sender works with.
type Deps struct {
	Queues domain.WebhookQueues
	// Orders reads orders as they are now; one that is not known is the zero Order.
	Orders func(context.Context, []domain.OrderRef) ([]domain.Order, error)
	// View is an order as it is told, in JSON.
	View       func(context.Context, domain.OrderRef, domain.Order) (any, error)
	Now        func(context.Context) (time.Time, error) // Redis's clock
	Partitions int
	Name       string // of this sender; there is no other of that name
	Log        *zap.Logger
}

// Sender sends to all endpoints, in all partitions. Any number of them may run: of each endpoint and partition one sends at a time.
type Sender struct {
	cfg    Config
	deps   Deps
	client *Client
	swept  time.Time // of Run

	mu    sync.Mutex
	ahead time.Duration // of Redis's clock, by ours
}

// NewSender makes a sender that has not started.
func NewSender(cfg Config, deps Deps) *Sender {
	cfg = cfg.WithDefaults()
	return &Sender{cfg: cfg, deps: deps, client: NewClient(cfg.Timeout)}
}

// now is Redis's clock.
func (s *Sender) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead)
}

// Run sends until reading ends; what is under way then may still end, until working does. Whatever fails is tried again, and nothing is lost: what
// it had in hand is due again after a while.
func (s *Sender) Run(reading, working context.Context) {
	var lanes sync.WaitGroup
	defer s.client.Close()
	defer lanes.Wait()
	type sending struct {
		hook domain.Webhook
		stop context.CancelFunc
	}
	running := make(map[string]sending)
	failing := false
	for first := true; first || pause(reading, nil, s.cfg.Every); first = false {
		hooks, err := s.look(reading)
		if reading.Err() != nil {
			break
		}
		if failed := err != nil; failed != failing {
			if failing = failed; failed {
				s.deps.Log.Error("cannot tell which webhooks there are", zap.Error(err))
			} else {
				s.deps.Log.Info("it is known again which webhooks there are")
			}
		}
		if err != nil {
			continue
		}
		there := make(map[string]domain.Webhook, len(hooks))
		for _, hook := range hooks {
			if hook.State == domain.WebhookEnabled {
				there[hook.ID] = hook
			}
		}
		for id, is := range running {
			if !reflect.DeepEqual(is.hook, there[id]) {
				is.stop()
				delete(running, id)
			}
		}
		for id, hook := range there {
			if _, runs := running[id]; runs {
				continue
			}
			ctx, stop := context.WithCancel(reading)
			running[id] = sending{hook, stop}
			for p := range s.deps.Partitions {
				l := &lane{Sender: s, hook: hook, partition: p, stop: stop, wake: make(chan struct{}, 1), log: s.deps.Log.With(zap.String("webhook", id), zap.Int("partition", p))}
				lanes.Go(func() { l.run(ctx, reading, working) })
			}
		}
	}
	for _, is := range running {
		is.stop()
	}
}

// look reads which endpoints there are, and the clock, and has forgotten what is left of those that are not any more.
func (s *Sender) look(ctx context.Context) ([]domain.Webhook, error) {
	before := time.Now()
	now, err := s.deps.Now(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.ahead = now.Sub(before.Add(time.Since(before) / 2))
	s.mu.Unlock()
	if time.Since(s.swept) >= sweepEvery {
		for p := range s.deps.Partitions {
			if err := s.deps.Queues.Sweep(ctx, p); err != nil {
				return nil, err
			}
		}
		s.swept = time.Now()
	}
	return s.deps.Queues.Webhooks(ctx)
}

// lane is an endpoint in a partition.
type lane struct {
	*Sender
	hook      domain.Webhook
	partition int
	stop      context.CancelFunc // all lanes of the endpoint
	wake      chan struct{}      // a try has ended
	log       *zap.Logger
	tries     sync.WaitGroup

	// Of the loop.
	mine    bool
	more    bool // may be to be copied at once
	copied  time.Time
	failing bool // Redis does not do what is asked of it

	mu       sync.Mutex
	inHand   int
	failures int       // since a message was taken
	since    time.Time // of the first of them
	rests    time.Time // until then
}

// run works until ctx ends.
func (l *lane) run(ctx, reading, working context.Context) {
	for next := rand.N(l.cfg.Every); pause(ctx, l.wake, next); {
		var err error
		next, err = l.round(ctx, working)
		if ctx.Err() != nil {
			break
		}
		if failed := err != nil; failed != l.failing {
			if l.failing = failed; failed {
				l.log.Warn("sending to a webhook waits for redis", zap.Error(err))
			} else {
				l.log.Info("sending to a webhook goes on")
			}
		}
		if err != nil {
			next = l.cfg.Every + rand.N(l.cfg.Every)
		}
	}
	l.tries.Wait()
	if reading.Err() == nil || !l.mine { // else others need not wait until the lease is over
		return
	}
	if _, err := l.deps.Queues.Take(working, l.partition, l.hook.ID, l.deps.Name, 0, 0, 0); err != nil {
		l.log.Debug("others send to a webhook when the lease is over", zap.Error(err))
	}
}

// round does once what there is to do, and says after how long there is more.
func (l *lane) round(ctx, working context.Context) (next time.Duration, err error) {
	q := l.deps.Queues
	if l.mine && (l.more || time.Since(l.copied) >= l.cfg.Every) {
		var lost string
		l.copied = time.Now()
		if l.more, lost, err = q.Copy(ctx, l.partition, l.hook); err != nil {
			return 0, err
		}
		if lost != "" {
			l.log.Warn("facts are gone from the log that a webhook was not sent", zap.String("since_millis", lost))
			if err := l.giveUp(ctx, domain.WebhookLost); err != nil {
				return 0, err
			}
			return l.cfg.Every, q.ForgetLost(working, l.partition, l.hook.ID) // ctx has ended with giving up
		}
	}
	free, rests := l.free()
	turn, err := q.Take(ctx, l.partition, l.hook.ID, l.deps.Name, free, l.cfg.Lease, l.cfg.hold())
	if err != nil {
		return 0, err
	}
	was := l.mine
	if l.mine = turn.Mine; !l.mine {
		return l.cfg.Every, nil
	}
	if err := l.send(ctx, working, turn); err != nil {
		return 0, err
	}
	switch {
	case l.more || !was:
		return 0, nil
	case len(turn.Messages) == free && rests == 0: // until a try ends
		return l.cfg.Every, nil
	case turn.Next >= 0:
		return min(max(turn.Next, rests), l.cfg.Every), nil
	}
	return l.cfg.Every, nil
}

// free is for how many tries there is room, and how long it still rests.
func (l *lane) free() (n int, rests time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rests := time.Until(l.rests); rests > 0 {
		return 0, rests
	}
	most := l.cfg.Concurrency
	if l.failures > 0 {
		most = 1
	}
	return max(0, most-l.inHand), 0
}

// send begins to send messages.
func (l *lane) send(ctx, working context.Context, turn domain.WebhookTurn) error {
	if len(turn.Messages) == 0 {
		return nil
	}
	refs := make([]domain.OrderRef, len(turn.Messages))
	for i, m := range turn.Messages {
		refs[i] = m.Ref
	}
	orders, err := l.deps.Orders(ctx, refs)
	if err != nil && domain.ClassOf(err) == domain.ClassPoison && len(refs) > 1 {
		return l.sendEach(ctx, working, turn)
	}
	if err != nil {
		return err
	}
	secrets, err := l.deps.Queues.Secrets(ctx, l.hook.ID)
	if err != nil {
		return err
	}
	var damage error
	for i, m := range turn.Messages {
		var body []byte
		if !gone(m, orders[i]) {
			view, err := l.deps.View(ctx, m.Ref, orders[i])
			if err != nil && domain.ClassOf(err) == domain.ClassPoison {
				damage = cmp.Or(damage, err)
				continue
			}
			if err != nil {
				return err
			}
			if body, err = encode(m, orders[i], view); err != nil {
				return err
			}
		}
		l.mu.Lock()
		l.inHand++
		l.mu.Unlock()
		l.tries.Go(func() {
			defer func() {
				l.mu.Lock()
				l.inHand--
				half := l.inHand <= l.cfg.Concurrency/2 // a look for each try would cost as much as the tries
				l.mu.Unlock()
				if !half {
					return
				}
				select {
				case l.wake <- struct{}{}:
				default:
				}
			}()
			if err := l.try(working, m, body, secrets, turn.Waiting); err != nil && working.Err() == nil {
				l.log.Warn("what became of a message is not noted, it will be sent again", zap.String("fact", m.Fact), zap.Error(err))
			}
		})
	}
	return damage
}

// sendEach is send where an order is damaged: the others do not wait for it. It is put off, and the first is the error.
func (l *lane) sendEach(ctx, working context.Context, turn domain.WebhookTurn) error {
	var damage error
	for _, m := range turn.Messages {
		one := turn
		one.Messages = []domain.WebhookMessage{m}
		err := l.send(ctx, working, one)
		if err != nil && domain.ClassOf(err) != domain.ClassPoison {
			return err
		}
		damage = cmp.Or(damage, err)
	}
	return damage
}

// try sends one message and notes what came of it. Without a body there is nothing to be told any more.
func (l *lane) try(ctx context.Context, m domain.WebhookMessage, body []byte, secrets domain.WebhookSecrets, waiting int64) error {
	now := l.now()
	try := domain.WebhookTry{AtMillis: now.UnixMilli(), Fact: m.Fact, Type: m.Type, Ref: m.Ref, Attempt: m.Attempts}
	if body == nil {
		return l.deps.Queues.Settle(ctx, l.partition, l.hook.ID, m, try, 0)
	}
	a := l.client.Send(ctx, l.hook, secrets.Signing(now.UnixMilli()), messageID(l.hook.ID, l.partition, m), now, body)
	if ctx.Err() != nil { // this sender ends: that says nothing of the endpoint
		return ctx.Err()
	}
	try.Status, try.Why, try.TookMillis = a.Status, a.Why, a.Took.Milliseconds()
	if a.Why == "" {
		l.worked()
		return l.deps.Queues.Settle(ctx, l.partition, l.hook.ID, m, try, 0)
	}
	failingFor := l.failed(a.After)
	again := max(a.After, l.backoff(m.Attempts, l.cfg.MostPause))
	if err := l.deps.Queues.Settle(ctx, l.partition, l.hook.ID, m, try, again); err != nil {
		return err
	}
	l.log.Debug("a webhook did not take a message", zap.String("fact", m.Fact), zap.Int64("attempt", m.Attempts), zap.String("why", a.Why))
	switch tried := l.now().Sub(time.UnixMilli(max(m.FirstMillis, l.hook.SinceMillis))); {
	case a.Status == http.StatusGone:
		return l.giveUp(ctx, domain.WebhookGone)
	case tried >= l.cfg.GiveUpAfter:
		return l.giveUp(ctx, domain.WebhookFailing)
	case waiting >= domain.MaxWebhookQueue && failingFor >= l.cfg.FullFor:
		return l.giveUp(ctx, domain.WebhookFull)
	}
	return nil
}

// giveUp stops sending to the endpoint, until a person enables it.
func (l *lane) giveUp(ctx context.Context, why string) error {
	err := l.deps.Queues.GiveUp(ctx, l.hook, why)
	if err != nil && !errors.Is(err, domain.ErrConflict) { // else somebody has changed it, and it is looked at anew
		return err
	}
	if err == nil {
		l.log.Error("a webhook is given up: see holdfast webhooks list", zap.String("why", why))
	}
	l.stop()
	return nil
}

func (l *lane) worked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures, l.rests = 0, time.Time{}
}

// failed has the endpoint rest, and says for how long it has taken nothing.
func (l *lane) failed(after time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.failures == 0 {
		l.since = now
	}
	if now.After(l.rests) { // else it is one of those that were under way
		l.failures++
		l.rests = now.Add(max(l.backoff(int64(l.failures), l.cfg.MostRest), after))
	}
	return now.Sub(l.since)
}

// backoff is the pause after so many tries.
func (l *lane) backoff(tries int64, most time.Duration) time.Duration {
	d := min(l.cfg.FirstPause<<min(tries-1, 20), most)
	return d/2 + rand.N(d/2+1)
}

// pause waits, and reports whether the context goes on.
func pause(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-timer.C:
	}
	return ctx.Err() == nil
}
