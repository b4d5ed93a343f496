package workers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// purchase takes requests to their outcome, in one partition:
//
//  1. hold: one script holds, rejects or recognises a whole read.
//  2. authorize: each held order on its own, concurrently. Nothing in Redis changes.
//  3. resolve: one script confirms, or gives back, whatever answers are there by
//     then, and acknowledges their entries. This is the commit point.
//
// A worker that dies before 1 has done nothing; between 1 and 3, the hold stands
// and whoever reclaims the entry finds it, asks the gateway for the same order
// again and gets the same answer; after 3, the entry is gone.
type purchase struct {
	*consumer
	payers  *crew[*pending] // step 2
	answers chan *pending
	waiting waiting // pays whose hold is not there yet

	askedAbout atomic.Int64 // of those that are awaited, in the hands of payers
}

// pendingTogether is how many are made at a time.
const pendingTogether = 16

// pending is one order between hold and outcome.
type pending struct {
	entryID   string
	request   domain.Request
	order     domain.Order
	nowMillis int64     // Redis's time when the order was so
	since     time.Time // when this worker knew that
	answered  time.Time // when the gateway had

	// What the gateway said, once it has.
	resolution domain.Resolution
	awaited    bool // it is asked about because its time had come, and not yet
	leftAlone  bool // there is money that may be somebody else's: a person must look
	unheard    bool // nothing, for it has not heard of the payment: nobody else can make it, without the token that this request has
}

func (p *Pool) newPurchase(partition int) (func(), error) {
	c, err := newConsumer(p, partition, domain.GroupWorkers)
	if err != nil {
		return nil, err
	}
	r := &purchase{consumer: c, answers: make(chan *pending, p.cfg.Concurrency), waiting: waiting{come: make(chan struct{}, 1)}}
	r.payers = newCrew(p.cfg.Concurrency, r.pay)
	c.handle = r.hold
	return func() {
		c.run(func(stop <-chan struct{}) {
			var asking sync.WaitGroup
			asking.Go(r.askAwaited)
			asking.Go(func() { r.askWaiting(stop) })
			inBatches(c.sign("resolving"), r.answers, stop, c.breathNow, r.commit) // step 3
			asking.Wait()
		}, r.payers.stop)
	}, nil
}

// hold is step 1.
func (r *purchase) hold(entries []domain.Entry) {
	begun := time.Now()
	var incoming []domain.Incoming
	var cancels []domain.Cancellation
	var dead []domain.DeadEntry
	pauses, parked := r.pool.paused(), make(map[string][]string)
	for _, e := range entries {
		request, err := r.parse(e)
		switch class := domain.ClassOf(err); {
		case err != nil && class != domain.ClassReject:
			dead = append(dead, domain.DeadEntry{ID: e.ID, Reason: err.Error(), TraceID: request.TraceID()})
		case pauses.Event(request.EventID):
			parked[request.EventID] = append(parked[request.EventID], e.ID)
		case request.Type == domain.RequestCancel && !request.Changes():
			cancels = append(cancels, domain.Cancellation{EntryID: e.ID, Ref: request.Ref(), Cause: request.Cause, NoRefund: request.NoRefund})
		default:
			incoming = append(incoming, r.incoming(e, request, err, pauses))
		}
	}
	r.deadLetter(dead...)
	r.park(parked)
	r.attempt(len(incoming), func(i int) string { return incoming[i].EntryID }, func(first, end int) error {
		batch := incoming[first:end]
		replies, now, err := r.pool.ledger.Hold(r.working, r.partition, batch)
		if err == nil {
			r.pool.addedHolds(r.partition)
			r.measureHold(begun, batch, now)
			r.pool.traceHold(begun, batch, replies, now)
			r.dispatch(batch, replies, now)
		}
		return err
	})
	// After the incoming of the same read: a hold and its cancel then leave a full record.
	r.attempt(len(cancels), func(i int) string { return cancels[i].EntryID }, func(first, end int) error {
		batch := cancels[first:end]
		if err := r.pool.ledger.Cancel(r.working, r.partition, batch); err != nil {
			return err
		}
		r.pool.added(r.partition)
		r.pool.stats.Cancels.Add(int64(len(batch)))
		for _, cancel := range batch {
			r.finish(cancel.EntryID)
		}
		return nil
	})
}

func (r *purchase) measureHold(begun time.Time, batch []domain.Incoming, nowMillis int64) {
	stats := &r.pool.stats
	stats.batches[stepHold].observe(len(batch))
	stats.stages[StageHold].observe(time.Since(begun), len(batch))
	var waited tally
	for i := range batch {
		waited.observe(time.Duration(nowMillis-domain.EntryMillis(batch[i].EntryID)) * time.Millisecond)
	}
	stats.stages[StageWaiting].add(&waited)
}

// parse reads an entry. A ClassReject error comes with a request whose order can be rejected.
func (r *purchase) parse(e domain.Entry) (domain.Request, error) {
	if r.tooManyDeliveries(e) {
		return domain.Request{}, domain.WithClass(domain.ClassPoison, fmt.Errorf("%s (%d)", reasonDeliveries, e.Deliveries))
	}
	request, err := wire.ParseRequest(e.Fields)
	if err == nil && request.Type == domain.RequestPay && request.PaymentToken == "" && !r.pool.freeOrders {
		err = domain.WithClass(domain.ClassPoison, errors.New(domain.DetailNoToken))
	}
	if err == nil && request.AccessCode != "" && len(r.pool.cfg.CodeKeys) == 0 {
		err = domain.WithClass(domain.ClassPoison, errors.New("access_code: this worker has no key for access codes (HOLDFAST_CODE_KEY, HOLDFAST_CODE_KEY_FILE)"))
	}
	if err != nil && domain.ClassOf(err) != domain.ClassReject {
		return request, err
	}
	// The keys of another partition are in another slot, and its log is not this one.
	if right := r.pool.ledger.Partition(request.EventID); right != r.partition {
		return request, domain.WithClass(domain.ClassPoison,
			fmt.Errorf("event_id: belongs to partition %d, the entry is in %d", right, r.partition))
	}
	return request, err
}

func (r *purchase) incoming(e domain.Entry, request domain.Request, invalid error, pauses domain.Pauses) domain.Incoming {
	cfg := &r.pool.cfg
	a := domain.Incoming{
		EntryID: e.ID, Request: request,
		HoldMillis: cfg.HoldTime.Milliseconds(), ValidMillis: cfg.ValidTime.Milliseconds(), Minimums: r.pool.minimums.Load(),
	}
	if r.pool.tracer != nil {
		a.Trace = request.Trace()
	}
	if request.AccessCode != "" {
		a.Codes = cfg.CodeKeys.Hashes(request.EventID, request.AccessCode)
	}
	if request.HoldSeconds > 0 {
		a.HoldMillis = min(request.HoldSeconds*1000, cfg.MaxHold.Milliseconds())
	}
	if request.ValidSeconds > 0 {
		a.ValidMillis = request.ValidSeconds * 1000
	}
	if len(pauses) > 0 { // it counts from when it was published first, and not while it was paused
		published := domain.EntryMillis(e.ID)
		if first := domain.EntryMillis(wire.ParkedFrom(e.Fields)); first > 0 && first < published {
			a.ValidMillis -= published - first
			published = first
		}
		a.ValidMillis += pauses.PausedMillis(request.EventID, published)
	}
	switch noToken := request.Type == domain.RequestPurchase && request.PaymentToken == ""; {
	case invalid != nil:
		a.Invalid = invalid.Error()
	case noToken && r.pool.freeOrders:
		a.NoToken = true
	case noToken:
		a.Invalid = domain.DetailNoToken
	}
	return a
}

// dispatch does what the ledger's verdicts ask for.
func (r *purchase) dispatch(batch []domain.Incoming, replies []domain.Reply, nowMillis int64) {
	done, now := make([]string, 0, len(batch)), time.Now()
	pay := make([]*pending, 0, len(batch))
	var room []pending // for several, and not for all: one that takes long keeps them
	for i := range replies {
		reply := &replies[i]
		if reply.Verdict == domain.VerdictDone {
			if !batch[i].Request.Changes() {
				r.pool.stats.countOutcome(batch[i].EntryID, reply.Order)
			}
			done = append(done, batch[i].EntryID)
			continue
		}
		if len(room) == 0 {
			room = make([]pending, min(len(replies)-i, pendingTogether))
		}
		p := &room[0]
		room = room[1:]
		*p = pending{entryID: batch[i].EntryID, request: batch[i].Request, order: reply.Order, nowMillis: nowMillis, since: now}
		switch reply.Verdict {
		case domain.VerdictDone:
		case domain.VerdictAuthorize, domain.VerdictAsk:
			pay = append(pay, p)
		case domain.VerdictVoid:
			r.wg.Go(func() { r.voidThenAck(p, reply.Order.State) })
		case domain.VerdictWait:
			r.waitForHold(batch[i], nowMillis)
		case domain.VerdictConflict:
			r.deadLetter(p.dead(conflictOf(&p.request)))
		case domain.VerdictChangePending:
			r.deadLetter(p.dead(fmt.Sprintf("change_pending: change %d can come when change %d is decided, and that of the order is change %d so far",
				p.request.Change, p.request.Change-1, p.order.Change)))
		case domain.VerdictPending:
			r.deadLetter(p.dead(fmt.Sprintf("attempt_pending: attempt %d can begin when the one before was declined, and that is attempt %d of the order so far",
				p.request.AttemptNumber(), p.order.Attempt)))
		case domain.VerdictTooLate:
			r.deadLetter(p.dead("too_late: the pay waited in line longer than it is valid"))
		}
	}
	r.payers.hand(pay...)
	if len(done) > 0 {
		r.finish(done...)
	}
}

// conflictOf says what it is that is another request's already.
func conflictOf(q *domain.Request) string {
	if q.Changes() {
		return fmt.Sprintf("conflict: change %d of order_id %s is another request's", q.Change, q.OrderID)
	}
	if q.Type == domain.RequestPay {
		return fmt.Sprintf("conflict: attempt %d of order_id %s is another pay's", q.AttemptNumber(), q.OrderID)
	}
	return fmt.Sprintf("conflict: order_id %s is another request's", q.OrderID)
}

// pay is step 2. How long the hold lasts from the time on that Redis told is measured,
// so that this machine's clock does not matter.
func (r *purchase) pay(p *pending) {
	p.resolution = domain.Resolution{EntryID: p.entryID, Ref: p.request.Ref(), Order: p.order, Attempt: p.request.AttemptNumber()}
	if p.awaited {
		p.awaited = false
		defer r.askedAbout.Add(-1)
	}
	if p.request.Type == domain.RequestPaymentUpdate {
		r.ask(p)
		return
	}
	if r.pool.freeOrders && p.order.Free() {
		p.resolution.Outcome = domain.PaymentApproved
		r.answered(p)
		return
	}
	if p.request.PaymentToken == "" { // the order was opened by a request that had one
		r.deadLetter(p.dead(domain.DetailNoToken))
		return
	}
	limit := time.Duration(p.order.PayableUntilMillis()-p.nowMillis)*time.Millisecond - time.Since(p.since)
	if p.order.State == domain.OrderLapsed { // then the gateway is asked from time to time, with nothing in hand
		limit = min(limit, r.pool.cfg.HoldTime)
	}
	payment, err := r.authorize(domain.PaymentRequest{Attempt: r.pool.attempt(p.request.Ref(), p.order, p.request.AttemptNumber()), Token: p.request.PaymentToken}, limit)
	r.pool.traceAuthorize(p, payment, err)
	p.unheard = errors.Is(err, errUnheard)
	switch {
	case err == nil:
		if !r.judge(p, payment) {
			r.leave(p.entryID)
			return
		}
	case final(err):
		r.deadLetter(p.dead(err.Error()))
		return
	case r.reading.Err() != nil:
		r.leave(p.entryID)
		return
	}
	r.answered(p)
}

// answered hands an answer to whoever commits.
func (r *purchase) answered(p *pending) {
	p.answered = time.Now()
	select {
	case r.answers <- p:
	case <-r.working.Done():
	}
}

// judge compares the gateway's payment with the order, and makes the resolution of it. A
// payment that is not what was asked for never confirms the order: what is only reserved,
// and for this customer, is voided first, so that a crash in between leaves nothing
// reserved; everything else is left alone. It reports false if the worker is to end first.
func (r *purchase) judge(p *pending, payment domain.Payment) bool {
	resolution := &p.resolution
	m := domain.MatchPayment(p.order, payment)
	money := payment.Status == domain.PaymentStatusAuthorized || payment.Status == domain.PaymentStatusCaptured
	open := payment.Status == domain.PaymentStatusAuthorized || payment.Status == domain.PaymentStatusActionRequired
	switch {
	case !m.Any() && payment.Status == domain.PaymentStatusActionRequired:
		resolution.Outcome, resolution.AuthorizationID = domain.PaymentActionRequired, payment.AuthorizationID
		return true
	case !m.Any() && money:
		resolution.Outcome, resolution.AuthorizationID = domain.PaymentApproved, payment.AuthorizationID
		return true
	case !m.Any(), payment.Status == domain.PaymentStatusDeclined:
		// Voided or refunded before: there is no money, and there will be none under this order.
		resolution.Outcome = domain.PaymentDeclined
		return true
	}
	if open && !m.Foreign {
		attempt := r.pool.attempt(p.request.Ref(), p.order, resolution.Attempt)
		attempt.AuthorizationID = payment.AuthorizationID
		voided, err := r.settled(callVoid, time.Time{}, func(ctx context.Context) (domain.Payment, error) { return r.pool.gateway.port.Void(ctx, attempt) })
		switch {
		case err == nil:
			payment.Status = voided.Status // captured, if somebody was faster
		case errors.Is(err, domain.ErrNotFound):
			payment.Status = domain.PaymentStatusVoided
		case !final(err):
			return false
		}
		open = payment.Status == domain.PaymentStatusAuthorized || payment.Status == domain.PaymentStatusActionRequired
	}
	money = open || payment.Status == domain.PaymentStatusCaptured
	resolution.Outcome, resolution.Detail = domain.PaymentMismatched, fmt.Sprintf("%s; the payment is %s", m.Detail, payment.Status)
	if p.leftAlone = money; money {
		resolution.Detail += ", and was left alone"
	}
	r.log.Warn("the gateway's payment is not the order's", zap.Stringer("order", p.request.Ref()), zap.String("difference", m.Detail),
		zap.String("payment", string(payment.Status)), zap.Bool("left_alone", money), traceID(p.traceID()))
	return true
}

// commit is step 3, for all the answers that are there.
func (r *purchase) commit(batch []*pending) {
	batch = r.setAside(batch)
	r.attempt(len(batch), func(i int) string { return batch[i].entryID }, func(first, end int) error {
		resolutions := make([]domain.Resolution, 0, end-first)
		for _, p := range batch[first:end] {
			if p.unheard { // it is not over yet, should the order have lapsed
				p.resolution.EntryID = ""
			}
			resolutions = append(resolutions, p.resolution)
		}
		replies, now, err := r.pool.ledger.Resolve(r.working, r.partition, resolutions)
		if err != nil {
			return err
		}
		r.pool.added(r.partition)
		r.pool.stats.batches[stepResolve].observe(len(resolutions))
		var authorizing, resolving tally
		done, resolved := make([]string, 0, len(replies)), time.Now()
		for i := range replies {
			reply, p := &replies[i], batch[first+i]
			authorizing.observe(p.answered.Sub(p.since))
			r.pool.traceResolve(p, &reply.Order, resolved)
			if o := reply.Order; p.unheard && o.State == domain.OrderLapsed && o.Attempt == p.request.AttemptNumber() && o.PayState == domain.PayOpen {
				reply.Verdict = domain.VerdictAuthorize
			}
			switch reply.Verdict {
			case domain.VerdictDone:
				if p.resolution.Dispute == (domain.Dispute{}) {
					r.pool.stats.countOutcome(p.entryID, reply.Order)
				}
				resolving.observe(resolved.Sub(p.answered))
				switch {
				case p.unheard:
					r.wg.Go(func() { r.acknowledge(p) })
				case p.entryID != "":
					done = append(done, p.entryID)
				}
			case domain.VerdictVoid: // what was asked for, whatever the order is now
				r.wg.Go(func() { r.voidThenAck(p, reply.Order.State) })
			case domain.VerdictWait, domain.VerdictAuthorize, domain.VerdictAsk: // no answer yet, and by Redis's clock there is time left; or one that may be older than the order
				p.order, p.nowMillis, p.since = reply.Order, now, resolved
				r.payers.hand(p)
			case domain.VerdictConflict, domain.VerdictPending, domain.VerdictChangePending, domain.VerdictTooLate: // not among the verdicts of a resolution
				r.leave(p.entryID)
			}
		}
		r.pool.stats.stages[StageAuthorize].add(&authorizing)
		r.pool.stats.stages[StageResolve].add(&resolving)
		if len(done) > 0 {
			r.finish(done...)
		}
		return nil
	})
}

// setAside makes dead letters of the requests whose payments were left alone, before their orders are
// declined: after a crash in between, the hold runs out, and whoever looks at the letter finds the payment
// as it is. The other way round, nobody would hear of it; so those that could not be set aside are not in the
// batch that it returns. Where no request waits, there is none to set aside: the hold runs out, and settlement tells of the payment.
func (r *purchase) setAside(batch []*pending) []*pending {
	batch = slices.DeleteFunc(batch, func(p *pending) bool { return p.leftAlone && p.entryID == "" })
	var dead []domain.DeadEntry
	for _, p := range batch {
		if p.leftAlone {
			dead = append(dead, p.dead(domain.ReasonPaymentMismatch+": "+p.resolution.Detail))
			p.resolution.EntryID = ""
		}
	}
	if !r.putAside(dead) {
		batch = slices.DeleteFunc(batch, func(p *pending) bool { return p.leftAlone })
	}
	return batch
}

// voidThenAck ends an entry whose order ended without its payment. The fact that
// ended it makes settlement void it, too; this one makes it so before the entry is gone.
func (r *purchase) voidThenAck(p *pending, is domain.OrderState) {
	if r.unpaid(p.order, false) {
		r.acknowledge(p)
		return
	}
	_, reason, err := r.takeBackAttempt(time.Time{}, p.request.Ref(), p.order, p.request.AttemptNumber(), false)
	switch followed := is == domain.OrderExpired || is == domain.OrderCancelled; {
	case err != nil:
		r.leave(p.entryID)
		return
	case p.entryID == "" && reason != "" && !followed:
		r.log.Error("a payment must be looked at", zap.Stringer("order", p.request.Ref()), zap.String("reason", reason), traceID(p.traceID()))
		return
	case reason != "" && !followed: // where a fact follows, settlement sets that aside
		r.deadLetter(p.dead(reason))
		return
	}
	if r.pool.stats.Voided.Add(1); p.entryID == "" {
		return
	}
	r.acknowledge(p)
}

// acknowledge ends an entry that has no outcome of its own.
func (r *purchase) acknowledge(p *pending) {
	if err := r.retry(func() error { return r.queue.Ack(r.working, []string{p.entryID}) }); err != nil {
		r.leave(p.entryID)
		return
	}
	r.finish(p.entryID)
}
