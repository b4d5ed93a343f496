package workers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"holdfast/domain"
)

// Queues gives a consumer's end of a group in a partition.
type Queues func(partition int, group domain.Group, consumer string) (domain.Queue, error)

// Deps is what a pool works with.
type Deps struct {
	Ledger  domain.Ledger
	Queues  Queues
	Gateway domain.PaymentGateway // nil only if no role calls it
	// GatewayKind is that of Gateway: GatewaySimulator only for one that moves no money. All
	// workers of a namespace have the same, and one of another kind does not run: it would give
	// tickets away.
	GatewayKind domain.GatewayKind
	Partitions  int
	// Now tells Redis's time, for durations since an order's outcome; nil: they are not measured.
	Now func(context.Context) (time.Time, error)
	// PaymentNamespace is that of the payments' names; empty in a namespace whose payments
	// are named without it.
	PaymentNamespace string
	// FreeOrders says that what costs nothing is confirmed without the gateway, and needs no
	// payment token. In a namespace that has workers which do not know this it must be false:
	// they would capture such orders.
	FreeOrders bool
	Archiver   Archiver    // nil only if archive is no role
	Webhooks   Webhooks    // nil only if webhooks is no role
	Log        *zap.Logger // default: none
	// Tracer takes spans of the steps of requests that came with a sampled traceparent, each linked to that; nil: nobody does.
	Tracer trace.Tracer
}

// Pool is one worker: some roles on every partition. Use it once.
type Pool struct {
	cfg          Config
	ledger       domain.Ledger
	queues       Queues
	gateway      *gateway
	archiver     Archiver
	trimLogEvery time.Duration // the constant; tests have others
	webhooks     Webhooks
	archiving    archiving
	trimming     archiving
	snapshotting archiving
	snapshots    snapshots
	groups       groups
	kind         domain.GatewayKind // empty: no role calls the gateway
	partitions   int
	names        string // the namespace of payments' names
	freeOrders   bool
	minimums     atomic.Pointer[domain.Minimums] // of the gateway; nil: not known yet
	log          *zap.Logger
	tracer       trace.Tracer // nil: nobody traces
	stats        Stats
	redis        health
	signs        signs
	clock        clock
	ready        readiness
	pauses       atomic.Pointer[domain.Pauses] // as of the last second or so; nil: not known yet
	bells        [][]*bell                     // of the readers of each partition's log, while it runs

	turnLongest time.Duration // the constant; tests have others

	reading context.Context // ends first: take no more
	working context.Context // ends last: stop everything
	fail    context.CancelCauseFunc

	made time.Time
}

// New checks the configuration and returns a pool that has not started.
// Errors are of ClassFatal.
func New(cfg Config, d Deps) (*Pool, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if d.Gateway == nil && cfg.CallsGateway() {
		return nil, domain.WithClass(domain.ClassFatal, fmt.Errorf("roles %v need a payment gateway", cfg.Roles))
	}
	if d.Archiver == nil && cfg.has(RoleArchive) {
		return nil, domain.WithClass(domain.ClassFatal, fmt.Errorf("the role %s needs an archive", RoleArchive))
	}
	if d.Webhooks == nil && cfg.has(RoleWebhooks) {
		return nil, domain.WithClass(domain.ClassFatal, fmt.Errorf("the role %s needs somebody who sends", RoleWebhooks))
	}
	switch {
	case !cfg.CallsGateway():
		d.GatewayKind = ""
	case !slices.Contains(domain.GatewayKinds, d.GatewayKind):
		return nil, domain.WithClass(domain.ClassFatal, fmt.Errorf("Deps.GatewayKind is %q: want one of %v, as the payment gateway is", d.GatewayKind, domain.GatewayKinds))
	}
	if d.Log == nil {
		d.Log = zap.NewNop()
	}
	log := d.Log.With(zap.String("worker", cfg.Name))
	p := &Pool{
		cfg: cfg, ledger: d.Ledger, queues: d.Queues, kind: d.GatewayKind, partitions: d.Partitions,
		names: d.PaymentNamespace, freeOrders: d.FreeOrders, archiver: d.Archiver, trimLogEvery: trimLogEvery, webhooks: d.Webhooks, log: log, tracer: d.Tracer,
		archiving: newArchiving(log, "the archive", domain.Trouble{What: "archive", Code: domain.CodeArchiveFailing, Text: "the log is not archived: "}, archiveGrace, archiveTurns),
		trimming:  newArchiving(log, "trimming the log", domain.Trouble{What: "trimming", Code: domain.CodeLogNotTrimmed, Text: "the log is not trimmed: "}, trimGrace, trimTurns),
		snapshotting: newArchiving(log, "taking snapshots of the archive",
			domain.Trouble{What: "snapshot", Code: domain.CodeSnapshotFailing, Text: "no snapshot of the archive is taken: "}, trimGrace, snapshotTurns),
		made: time.Now(), redis: health{what: "redis", log: log}, signs: signs{after: stuckAfter}, clock: clock{ask: d.Now}, turnLongest: turnLongest,
	}
	p.gateway = newGateway(d.Gateway, cfg.CallTimeout, &p.stats, log)
	return p, nil
}

// attempt is how an order's n-th attempt to pay, from 1, is known to the gateway.
func (p *Pool) attempt(ref domain.OrderRef, o domain.Order, n int) domain.Attempt {
	return o.AttemptOf(p.names, ref, n)
}

// Name is the consumer's name.
func (p *Pool) Name() string { return p.cfg.Name }

// Stats are live.
func (p *Pool) Stats() *Stats { return &p.stats }

// Run works until ctx ends, then takes nothing more, finishes what it can and
// hands the rest back, all within Grace. It returns nil then; otherwise an error
// of ClassFatal that made it stop by itself. All its goroutines have ended when it returns.
//
// A crash, or the end of the grace time, loses nothing: what was in hand is
// pending, and others go on with it.
//
// If the data in Redis is replaced under its hands (emptied, an older copy, a
// failover that lost something), it says so once, drops what it has in hand, which
// belongs to what is not any more, and begins anew with what is there.
//
// Nothing is done before the namespace is known to be served by this kind of gateway.
func (p *Pool) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { p.ready.not(notDraining) })()
	if err := p.serve(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if p.cfg.has(RolePurchase) && !p.learnMinimums(ctx) {
		learning, stop := context.WithCancel(ctx)
		var learned sync.WaitGroup
		learned.Go(func() { p.keepLearningMinimums(learning) })
		defer learned.Wait()
		defer stop()
	}
	for {
		err := p.run(ctx)
		if !errors.Is(err, domain.ErrDataReplaced) {
			return err
		}
		p.log.Error("the data in Redis is not what it was: going on with what is there, without what was in hand; see docs/operations.md", zap.Error(err))
		if failed := p.accept(ctx); failed != nil || ctx.Err() != nil {
			return failed
		}
		p.noteReplaced(ctx, err)
	}
}

// noteTimeout bounds a note for people, which nothing else waits for.
const noteTimeout = 2 * time.Second

// noteReplaced keeps where people look what else stands in the log of this worker only.
// It is no reason not to go on: a user from before this note may lack the permission.
func (p *Pool) noteReplaced(ctx context.Context, cause error) {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	wait := newBackoff()
	err := p.ledger.NoteReplaced(ctx, p.cfg.Name, cause)
	for domain.ClassOf(err) == domain.ClassRetry && err != nil && pause(ctx, wait.NextBackOff()) {
		err = p.ledger.NoteReplaced(ctx, p.cfg.Name, cause)
	}
	if err != nil {
		p.log.Warn("could not note for holdfast check that the data was replaced", zap.Error(err))
	}
}

// run is Run until the data is replaced, upon which it returns the error that says so.
func (p *Pool) run(ctx context.Context) error {
	reading, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	p.reading, p.working, p.fail = reading, working, fail
	p.signs.begin()

	runs, err := p.roles()
	if err != nil {
		return domain.WithClass(domain.ClassFatal, err)
	}
	if p.cfg.has(RoleWebhooks) {
		runs = append(runs, func() { p.webhooks.Run(reading, working) })
	}
	p.log.Info("worker started", zap.Any("roles", p.cfg.Roles), zap.Int("partitions", p.partitions))
	var wg sync.WaitGroup
	for _, run := range append(runs, p.verify, p.report, p.signIn) {
		wg.Go(run)
	}
	ended := make(chan struct{})
	go func() {
		wg.Wait()
		close(ended)
	}()

	<-reading.Done()
	cause := context.Cause(reading)
	if errors.Is(cause, domain.ErrDataReplaced) {
		stopWorking()
		<-ended
		p.ready.not(notReplaced)
		p.stats.InFlight.Store(0)
		return cause
	}
	p.ready.not(notDraining)
	p.log.Info("worker stopping", zap.Int64("in_hand", p.stats.InFlight.Load()))
	grace := time.NewTimer(p.cfg.Grace - p.handBackTime())
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		stopWorking()
		<-ended
	}
	p.log.Info("worker stopped", zap.Int64("handed_back", p.stats.HandedBack.Load()))
	var fatal *domain.Error
	if errors.As(cause, &fatal) && fatal.Class == domain.ClassFatal {
		return cause
	}
	return nil
}

// verifyEvery is how often it is looked whether the data is still the same. What a
// failed command or a new connection shows is known at once.
const verifyEvery = time.Second

func (p *Pool) verify() {
	sign := p.signs.of("verify")
	defer sign.rest()
	for {
		sign.within(0)
		err := p.ledger.Verify(p.reading)
		if err == nil {
			err = p.clock.set(p.reading)
		}
		if err == nil {
			err = p.learnPauses()
		}
		switch {
		case p.reading.Err() != nil:
			return
		case err != nil:
			p.ready.not("redis does not answer: " + string(domain.CodeOf(err)))
			p.redisFailed(err)
		default:
			p.ready.now()
			p.redis.worked()
		}
		sign.within(verifyEvery)
		if !pause(p.reading, jitter(verifyEvery)) {
			return
		}
	}
}

const (
	// reportEvery is how often it is looked whether there is something to report.
	reportEvery = time.Second
	// repeatAfter is how often troubles that last are reported again.
	repeatAfter = 10 * time.Second
)

// report tells the ledger what troubles this worker has, when that changes and now and
// then while it lasts; and at the end, that it has none.
func (p *Pool) report() {
	var last []domain.Trouble
	var reported time.Time
	known := true // what the ledger has of it
	for pause(p.reading, reportEvery) {
		troubles := slices.Concat(p.gateway.look(), p.archiving.look(), p.snapshotting.look(), p.trimming.look(), p.groups.look())
		same := known && slices.EqualFunc(troubles, last, func(a, b domain.Trouble) bool { return a.What == b.What && a.Code == b.Code })
		if same && (len(troubles) == 0 || time.Since(reported) < repeatAfter) {
			continue
		}
		err := p.ledger.Report(p.working, p.cfg.Name, troubles)
		if known = err == nil; !known {
			p.log.Debug("could not report troubles, trying again", zap.Error(err))
		}
		last, reported = troubles, time.Now()
	}
	if known && len(last) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.working), p.handBackTime())
	defer cancel()
	if err := p.ledger.Report(ctx, p.cfg.Name, nil); err != nil {
		p.log.Debug("could not report that the troubles are over, they will be forgotten", zap.Error(err))
	}
}

// serve says which kind of gateway this worker calls. It returns an error only if it must not.
func (p *Pool) serve(ctx context.Context) error {
	wait := newBackoff()
	for p.kind != "" && ctx.Err() == nil {
		err := p.ledger.ServeWith(ctx, p.kind)
		switch {
		case err == nil:
			p.redis.worked()
			return nil
		case domain.ClassOf(err) == domain.ClassFatal:
			return err
		case domain.ClassOf(err) != domain.ClassRetry: // there is no such namespace any more
			return domain.WithClass(domain.ClassFatal, err)
		}
		p.noteFailure(err)
		pause(ctx, wait.NextBackOff())
	}
	return nil
}

// minimumsTimeout bounds how long a gateway that does not answer keeps a worker from its work. What it does not take is
// then refused by itself, once it is asked for it.
const minimumsTimeout = 2 * time.Second

// learnMinimums asks the gateway for the smallest amounts that it takes, and reports whether it told, or never will.
func (p *Pool) learnMinimums(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, min(minimumsTimeout, p.cfg.CallTimeout))
	defer cancel()
	minimums, err := p.gateway.port.Minimums(ctx)
	if err != nil && !final(err) {
		p.log.Debug("the payment gateway did not tell which amounts are too small, asking again", zap.Error(err))
		return false
	}
	p.minimums.Store(&minimums)
	return true
}

func (p *Pool) keepLearningMinimums(ctx context.Context) {
	for wait := newBackoff(); pause(ctx, wait.NextBackOff()) && !p.learnMinimums(ctx); {
	}
}

// accept takes over what is stored now. It returns an error only if that can never be worked on.
func (p *Pool) accept(ctx context.Context) error {
	wait := newBackoff()
	for ctx.Err() == nil {
		err := p.ledger.Accept(ctx, p.cfg.Name)
		if err == nil || domain.ClassOf(err) == domain.ClassFatal {
			return err
		}
		p.noteFailure(err)
		pause(ctx, wait.NextBackOff())
	}
	return nil
}

// handBackTime is the part of the grace time that is kept for handing back.
func (p *Pool) handBackTime() time.Duration { return min(p.cfg.Grace/3, 2*time.Second) }

// roles makes everything that runs, before any of it does.
func (p *Pool) roles() ([]func(), error) {
	makers := []struct {
		role Role
		make func(partition int) (func(), error)
	}{
		{RolePurchase, p.newPurchase},
		{RolePosting, p.newPosting},
		{RoleSettlement, p.newSettlement},
		{RoleMaintenance, p.newMaintenance},
		{RoleArchive, p.newArchive},
		{RoleArchive, p.newSnapshots},
	}
	p.bells = make([][]*bell, p.partitions)
	var runs []func()
	for _, m := range makers {
		if !p.cfg.has(m.role) {
			continue
		}
		for partition := range p.partitions {
			run, err := m.make(partition)
			if err != nil {
				return nil, fmt.Errorf("role %s: %w", m.role, err)
			}
			runs = append(runs, run)
		}
	}
	return runs, nil
}

// redisFailed notes a failure; one that nothing but a person can mend ends the pool,
// and one that shows that the data was replaced makes it begin anew.
func (p *Pool) redisFailed(err error) {
	if errors.Is(err, domain.ErrDataReplaced) {
		p.stats.redisFailed(err)
		p.fail(err)
		return
	}
	p.noteFailure(err)
	if domain.ClassOf(err) == domain.ClassFatal {
		p.fail(err)
	}
}

// noteFailure notes that Redis failed.
func (p *Pool) noteFailure(err error) {
	p.stats.redisFailed(err)
	p.signs.redisFailed()
	p.redis.failed(err)
	if domain.CodeOf(err) == domain.CodeGroupGone {
		p.groups.gone(err)
	}
}
