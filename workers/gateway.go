package workers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"holdfast/domain"
)

// call is one of the calls of domain.PaymentGateway.
type call uint8

const (
	callAuthorize call = iota
	callLookUp
	callCapture
	callVoid
	callRefund
)

var (
	callNames  = [...]string{callAuthorize: "authorize", callLookUp: "look up", callCapture: "capture", callVoid: "void", callRefund: "refund"}
	callLabels = [...]string{callAuthorize: "authorize", callLookUp: "lookup", callCapture: "capture", callVoid: "void", callRefund: "refund"} // of metrics
)

// gateway is the payment gateway as the whole pool asks it. It decides when a call may be
// made, not what is called, and knows how the gateway is:
//
//   - Each kind of call has a health of its own. One that nobody can be served with
//     (domain.ErrMisconfigured), or that failed many times in a row, is not made any more,
//     but by one probe after the other, with growing pauses. The probes are the calls that
//     wait; the first one that is answered lets the others go on.
//   - All of them together keep a pace, once the gateway said that they are too many, and
//     the pause that it asks for.
//
// Nothing is given up for it: whoever waits has its entry in hand. While the gateway is
// well, all of this costs a call one atomic addition and a few loads.
type gateway struct {
	port    domain.PaymentGateway
	timeout time.Duration // of a call
	stats   *Stats
	kinds   [len(callNames)]kind
	pace    pace
}

func newGateway(port domain.PaymentGateway, timeout time.Duration, stats *Stats, log *zap.Logger) *gateway {
	g := &gateway{port: port, timeout: timeout, stats: stats, pace: pace{log: log, looked: time.Now()}}
	for i, name := range callNames {
		g.kinds[i] = kind{name: name, log: log, slowAfter: timeout / 4}
	}
	return g
}

// errNotAsked: the time for a call was over, or the worker was to end, before it was made.
var errNotAsked = errors.New("the payment gateway was not asked")

// errNoTurn: it was not asked because so many others were to be, and it takes only so many.
var errNoTurn = fmt.Errorf("%w: it takes no more calls now", errNotAsked)

// ask makes one call, as soon as it may be made: until by, if that is not zero, and while
// reading lasts. It ends when working does, at the latest, and at end, if that is not zero. The error is
// errNotAsked, or what the port returned.
func (g *gateway) ask(reading, working context.Context, c call, by, end time.Time, do func(context.Context) (domain.Payment, error)) (domain.Payment, error) {
	k := &g.kinds[c]
	if !k.gate.pass(reading, by) {
		return domain.Payment{}, errNotAsked
	}
	passed := time.Now()
	paced := g.pace.gate.pass(reading, by)
	begun := time.Now()
	limit := g.timeout
	if !end.IsZero() {
		limit = min(limit, end.Sub(begun))
	}
	if !paced || limit <= 0 {
		k.passOn(passed)
		if g.pace.limited.Load() {
			return domain.Payment{}, errNoTurn
		}
		return domain.Payment{}, errNotAsked
	}
	ctx := &callTime{Context: working, end: begun.Add(limit)}
	defer ctx.stop()
	payment, err := do(ctx)
	now := time.Now()
	later, isLater := errors.AsType[*domain.LaterError](err)
	switch {
	case err == nil, errors.Is(err, domain.ErrNotFound), final(err):
		r := resultAnswered
		if err != nil && final(err) {
			r = resultRefused
		}
		g.took(c, r, now.Sub(begun))
		k.works(begun, now)
		g.pace.answered(begun)
		return payment, err
	case working.Err() != nil, ctx.Err() != nil && limit < g.timeout/4:
		k.passOn(passed) // it was cut short by us, which says nothing of the gateway
	case errors.Is(err, domain.ErrMisconfigured):
		g.took(c, resultMisconfigured, now.Sub(begun))
		k.fails(begun, domain.CodeGatewayMisconfigured, err)
	case isLater:
		g.took(c, resultOf(later), now.Sub(begun))
		if g.pace.later(begun, later, g.answered()) {
			k.fails(begun, domain.CodeGatewayUnavailable, err)
		} else {
			k.passOn(passed)
		}
	default:
		g.took(c, resultFailed, now.Sub(begun))
		k.fails(begun, domain.CodeGatewayUnavailable, err)
	}
	if working.Err() == nil {
		g.stats.GatewayUnknowns.Add(1)
	}
	return payment, err
}

// resultOf is whether the gateway said that it takes no more, or nobody has answered, or it broke.
func resultOf(later *domain.LaterError) result {
	if later.Busy || later.After > 0 {
		return resultLater
	}
	return resultFailed
}

func (g *gateway) took(c call, r result, d time.Duration) { g.stats.gateway[c][r].observe(d, 1) }

// final reports whether an error is the gateway's answer about this payment, for good.
func final(err error) bool {
	class := domain.ClassOf(err)
	return (class == domain.ClassReject || class == domain.ClassPoison) && !errors.Is(err, domain.ErrNotFound)
}

// look returns what is wrong with the gateway. It is called every second or so.
func (g *gateway) look() (troubles []domain.Trouble) {
	now, paused := time.Now(), g.pace.paused()
	for i := range g.kinds {
		troubles = append(troubles, g.kinds[i].look(now, paused)...)
	}
	return append(troubles, g.pace.look(now, g.answered())...)
}

// answered is how many calls of all kinds ever were.
func (g *gateway) answered() (n int64) {
	for i := range g.kinds {
		n += g.kinds[i].answered.Load()
	}
	return n
}

const (
	// failsUntilShut are the failures in a row after which a kind of call is only probed.
	failsUntilShut = 16
	// tellAfter is how long one fails before that is told, if it is still made.
	tellAfter = 2 * time.Second
	// troubleAfter is how long it is slow, limited or fails before people are to look.
	troubleAfter = 10 * time.Second
	// forgottenAfter is how long nobody has made it when nothing is known of it any more.
	forgottenAfter = time.Minute
)

// kind is the health of one kind of call.
type kind struct {
	name      string
	log       *zap.Logger
	slowAfter time.Duration
	gate      turnstile
	answered  atomic.Int64
	unwell    atomic.Bool // there is something to be kept below

	mu     sync.Mutex
	code   domain.Code // of what is wrong; empty if it works
	err    error       // the latest one
	since  time.Time
	last   time.Time // when it was heard of last, or could have been
	failed int       // times in a row
	shut   time.Time // when the gate was shut last; zero if it is open
	wait   *backoff.ExponentialBackOff
	told   bool
	quiet  time.Time // no line before, so that flapping does not fill the log

	took      time.Duration // an average of late; 0 if that is nothing to speak of
	slow      bool
	slowSince time.Time
}

// works notes an answer, now, to a call that was begun at a time.
func (k *kind) works(begun, now time.Time) {
	k.answered.Add(1)
	took := now.Sub(begun)
	if took < k.slowAfter && !k.unwell.Load() {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if begun.Before(k.shut) {
		return // it was under way when the gate was shut, and says nothing of how it is since
	}
	k.last = now
	if k.code != "" {
		if k.told {
			k.log.Info(k.said("works again"), zap.Duration("after", now.Sub(k.since)), zap.Int("failures", k.failed))
			k.quiet = now.Add(healthQuiet)
		}
		k.recovered()
	}
	k.took += (took - k.took) / 8
	switch {
	case !k.slow && k.took >= k.slowAfter:
		k.slow, k.slowSince = true, now
		k.log.Warn(k.said(k.slowness()))
	case k.slow && k.took < k.slowAfter/2:
		k.slow = false
		k.log.Info(k.said("answers in time again"))
	}
	if !k.slow && k.took < k.slowAfter/4 {
		k.took = 0
	}
	k.unwell.Store(k.took > 0)
}

// fails notes that a call that was begun at a time was not answered.
func (k *kind) fails(begun time.Time, code domain.Code, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if begun.Before(k.shut) {
		return
	}
	now := time.Now()
	k.unwell.Store(true)
	if k.code == "" {
		k.since = now
	}
	if k.code != code {
		k.code, k.told, k.wait = code, false, nil
	}
	k.err, k.last = err, now
	k.failed++
	if code == domain.CodeGatewayMisconfigured || !k.shut.IsZero() || k.failed >= failsUntilShut {
		if k.wait == nil {
			k.wait = newBackoff()
			if code == domain.CodeGatewayMisconfigured { // a person must come first
				k.wait.InitialInterval, k.wait.MaxInterval = 200*time.Millisecond, 7*time.Second
				k.wait.Reset()
			}
		}
		k.shut = now
		k.gate.shutUntil(now.Add(k.wait.NextBackOff()), untilShutAgain)
	}
	if k.told || now.Before(k.quiet) || k.shut.IsZero() && now.Sub(k.since) < tellAfter {
		return
	}
	k.told = true
	if code == domain.CodeGatewayMisconfigured {
		k.log.Error(k.said("cannot be used as it is configured: only probed until that is mended, and nothing is set aside"), zap.Error(err))
		return
	}
	k.log.Warn(k.said("does not work, trying on"), zap.Error(err))
}

// passOn: a call that went through the gate at a time came to nothing. If it was the probe,
// somebody else may be; one that went through before the gate was shut was none.
func (k *kind) passOn(passed time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.shut.IsZero() && !passed.Before(k.shut) {
		k.gate.shutUntil(time.Now(), untilShutAgain)
	}
}

func (k *kind) recovered() {
	k.code, k.err, k.failed, k.told, k.wait, k.shut = "", nil, 0, false, nil, time.Time{}
	k.gate.open()
}

// look returns what is wrong with it. In a pause that the gateway asked for nobody asks, and what is known stays known.
func (k *kind) look(now time.Time, paused bool) []domain.Trouble {
	if !k.unwell.Load() {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if paused {
		k.last = now
	}
	if now.Sub(k.last) > forgottenAfter && k.gate.waiting() == 0 {
		if k.told || k.slow {
			k.log.Info(k.said("was not asked again, and is taken to work"))
		}
		k.recovered()
		k.slow, k.took = false, 0
		k.unwell.Store(false)
		return nil
	}
	trouble := domain.Trouble{What: "gateway " + k.name}
	switch {
	case k.code == domain.CodeGatewayMisconfigured, k.code != "" && now.Sub(k.since) >= troubleAfter:
		trouble.Code, trouble.Text, trouble.LastedMillis = k.code, k.err.Error(), now.Sub(k.since).Milliseconds()
	case k.slow && now.Sub(k.slowSince) >= troubleAfter:
		trouble.Code, trouble.Text, trouble.LastedMillis = domain.CodeGatewaySlow, k.said(k.slowness()), now.Sub(k.slowSince).Milliseconds()
	default:
		return nil
	}
	return []domain.Trouble{trouble}
}

func (k *kind) said(what string) string {
	return fmt.Sprintf("the payment gateway (%s) %s", k.name, what)
}

func (k *kind) slowness() string {
	return fmt.Sprintf("answers, but takes %s", k.took.Round(time.Second/10))
}

const (
	leastPace = 0.5 // calls a second
	// quickening is by how much a pace grows every second at first; twice as much when it was not slowed for hurry, three times after twice that.
	quickening = 0.05
	hurry      = 5 * time.Second
	// longestStep bounds for how long a pace grows with one answer: as long as it is from one to the next at the least pace.
	longestStep = 2 * time.Second
)

// pace is how fast calls may follow each other: as fast as they come, until the gateway
// says that this is too fast. Then at three quarters of what it took of late, and from
// there faster until it says so again: twice as fast every second the first time, for what it took may be little because little was asked, or because it
// takes much of others; then at three quarters of that, and slowly at first. How fast that goes is a matter of time and not of how many are answered.
type pace struct {
	log  *zap.Logger
	gate turnstile

	limited atomic.Bool

	mu      sync.Mutex
	limit   float64   // calls a second; 0: none
	since   time.Time // when the limit came
	slowed  time.Time // when it was made smaller last
	grown   time.Time // until when it has grown since
	through bool      // whether anything was answered since
	first   bool      // it was not too fast yet
	resume  time.Time // nothing is asked before
	waited  time.Time // when somebody had to wait for it last

	counted   int64     // answers of all kinds, at the last look
	looked    time.Time // the time of that
	perSecond float64   // answers between the last two looks
}

// answered notes an answer to a call that was begun at a time.
func (p *pace) answered(begun time.Time) {
	if !p.limited.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit == 0 || begun.Before(p.slowed) {
		return
	}
	p.through = true
	now := time.Now()
	switch {
	case p.first:
		p.limit *= 1 + min(now.Sub(p.grown), longestStep).Seconds()
		p.gate.paceTo(p.every())
		if next := now.Add(p.every()); next.After(p.resume) {
			p.gate.sooner(next)
		}
	case p.gate.waiting() > 0:
		step := min(now.Sub(p.grown), longestStep)
		p.limit *= 1 + quickening*step.Seconds()*(1+now.Sub(p.slowed).Seconds()/hurry.Seconds())
		p.gate.paceTo(p.every())
	}
	p.grown = now
}

// later notes that a call that was begun at a time is to be made later. answered is how
// many were so far. It reports whether that is news of the gateway, and not one more of the
// calls that were under way when the pace was slowed for all.
func (p *pace) later(begun time.Time, e *domain.LaterError, answered int64) bool {
	if e.After == 0 && !e.Busy {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if resume := now.Add(e.After); e.After > 0 && resume.After(p.resume) {
		p.resume = resume
	}
	news := !begun.Before(p.slowed)
	if e.Busy && news {
		switch {
		case p.limit == 0:
			p.limit, p.first = max(p.recently(now, answered)*3/4, leastPace), true
			p.since, p.waited = now, now
			p.limited.Store(true)
			p.log.Warn("the payment gateway takes no more calls: asking it less", zap.Float64("calls_per_second", p.limit), zap.Error(e))
		case p.through: // where nothing gets through, it is not the pace
			p.limit, p.first = max(p.limit*3/4, leastPace), false
		}
		p.slowed, p.grown, p.through = now, now, false
	} else if e.After == 0 {
		return news
	}
	next := now.Add(p.every())
	if p.resume.After(next) {
		next = p.resume
	}
	p.gate.shutUntil(next, p.every())
	return news || !e.Busy
}

// paused reports whether nothing is asked now, because the gateway said when it wants to be asked again.
func (p *pace) paused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.resume)
}

func (p *pace) every() time.Duration {
	if p.limit == 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / p.limit)
}

// recently is how many answers a second there were.
func (p *pace) recently(now time.Time, answered int64) float64 {
	return max(p.perSecond, float64(answered-p.counted)/max(now.Sub(p.looked).Seconds(), 1))
}

// look lifts a limit that nobody had to wait for.
func (p *pace) look(now time.Time, answered int64) []domain.Trouble {
	p.mu.Lock()
	defer p.mu.Unlock()
	if passed := now.Sub(p.looked).Seconds(); passed > 0 {
		p.perSecond = float64(answered-p.counted) / passed
	}
	p.counted, p.looked = answered, now
	if p.limit == 0 {
		return nil
	}
	waiting := p.gate.waiting()
	if waiting > 0 {
		p.waited = now
	}
	if now.Sub(p.waited) > troubleAfter && now.Sub(p.slowed) > troubleAfter && now.After(p.resume) {
		p.log.Info("the payment gateway takes all calls again", zap.Duration("after", now.Sub(p.since)))
		p.limit = 0
		p.limited.Store(false)
		p.gate.open()
		return nil
	}
	if now.Sub(p.since) < troubleAfter {
		return nil
	}
	return []domain.Trouble{{
		What: "gateway", Code: domain.CodeGatewayBusy, LastedMillis: now.Sub(p.since).Milliseconds(),
		Text: fmt.Sprintf("the payment gateway takes about %.1f calls a second of this worker; %d wait", p.limit, waiting),
	}}
}
