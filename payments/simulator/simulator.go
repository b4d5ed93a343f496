// Package simulator is a payment gateway that moves no money: in process, and
// behind the HTTP contract of package payments with Handler and Serve.
package simulator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/domain"
	"holdfast/payments"
)

// DeclineTokenPrefix begins the payment tokens that the simulator always
// declines, so that a decline can be had by hand.
const DeclineTokenPrefix = "decline"

// ActionTokenPrefix begins the payment tokens for which the customer must do something at their bank
// first: action_required, until Finish (POST NAME/finish) says how that ended. A Stateless simulator takes it for done.
const ActionTokenPrefix = "action"

// Options say how a Simulator misbehaves. The zero value approves everything at
// once. A rate is a probability: 0, the default, is never, 1 is always.
type Options struct {
	// Latency is the mean duration of a call; each takes 0.5 to 1.5 times that,
	// uniformly. The call takes effect half-way, so a caller who gives up may or
	// may not have been served. Default 0: no delay.
	Latency time.Duration
	// DeclineRate is the share of orders whose authorization is declined. It
	// depends on Seed and the order only, so a retry gets the same answer.
	DeclineRate float64
	// CaptureRefusalRate is the share of orders whose capture is refused for good:
	// they stay authorized until they are voided. It depends on Seed and the order
	// only.
	CaptureRefusalRate float64
	// MismatchRate is the share of orders whose payment is not the one that was asked
	// for: half of the amount, another currency, or another customer's. It depends on
	// Seed and the order only.
	MismatchRate float64
	// Refuse is a call that is answered with domain.ErrUnacceptable, for every order.
	// Default: none.
	Refuse payments.Call
	// Minimums are the smallest amounts that are taken; a lower one, but for 0, is
	// domain.ErrUnacceptable. Default: none.
	Minimums domain.Minimums
	// RateLimit is how many calls a second are taken, and at most at once; the others
	// are told to come later. Default 0: all.
	RateLimit int
	// TimeoutRate is the share of calls that are not applied and hang until their
	// context is done, at most for HangTime. Drawn for every call anew, so that a
	// retry gets through.
	TimeoutRate float64
	// LostReplyRate is the share of calls that are applied in full and answered
	// with an unknown outcome. Drawn for every call anew.
	LostReplyRate float64
	// Stateless keeps nothing: every call is answered as if what must come before it
	// had happened, and the books stay empty. So several workers, each with a
	// simulator of its own in process, agree with each other, and none grows.
	Stateless bool
	// HangTime bounds a simulated timeout. Default 30s.
	HangTime time.Duration
	// Seed makes the draws reproducible: those per order always, those per call as
	// far as the calls come in the same order. 0 is a seed like any other.
	Seed uint64
}

// WithDefaults returns o with every unset field set.
func (o Options) WithDefaults() Options {
	if o.HangTime == 0 {
		o.HangTime = 30 * time.Second
	}
	return o
}

// Validate returns the first thing that is wrong with complete Options, of domain.ClassFatal.
func (o Options) Validate() error { return domain.WithClass(domain.ClassFatal, o.validate()) }

func (o Options) validate() error {
	for _, rate := range []struct {
		name  string
		value float64
	}{
		{"decline rate", o.DeclineRate},
		{"capture refusal rate", o.CaptureRefusalRate},
		{"mismatch rate", o.MismatchRate},
		{"timeout rate", o.TimeoutRate},
		{"lost reply rate", o.LostReplyRate},
	} {
		if math.IsNaN(rate.value) || rate.value < 0 || rate.value > 1 {
			return fmt.Errorf("%s: want 0 (never) to 1 (always)", rate.name)
		}
	}
	switch {
	case o.Latency < 0:
		return errors.New("latency: want 0 or more")
	case o.HangTime <= 0:
		return errors.New("hang time: want more than 0")
	case o.RateLimit < 0:
		return errors.New("rate limit: want 0 (none) or more")
	}
	for currency, least := range o.Minimums {
		if !domain.ValidCurrency(currency) || least < 0 || least > domain.MaxAmount {
			return fmt.Errorf("minimum: want amounts of 0 to %d by currency", int64(domain.MaxAmount))
		}
	}
	switch o.Refuse {
	case "", payments.CallAuthorize, payments.CallLookup, payments.CallCapture, payments.CallVoid, payments.CallRefund, payments.CallNextStep:
	default:
		return errors.New("refuse: want a call of the contract")
	}
	return nil
}

// Simulator is a payment gateway in process. It keeps every order it ever heard
// of, in memory, because its books are what audits are held against. It is safe
// for concurrent use.
type Simulator struct {
	options    Options
	perCall    bool // whether any call needs a draw or a wait
	callsDrawn atomic.Uint64
	limit      limit
	shards     [shardCount]shard
}

var (
	_ domain.PaymentGateway = (*Simulator)(nil)
	_ domain.NextSteps      = (*Simulator)(nil)
)

// A power of two, many times the cores that can contend.
const shardCount = 128

type shard struct {
	mu       sync.Mutex
	accounts map[domain.PaymentName]*account
	_        [48]byte // keeps the locks of two shards out of one cache line
}

// account is one attempt to pay at the gateway. Its line counts effects where they
// happen and not from the status, so that a bug that does something twice shows.
type account struct {
	line   domain.BooksLine
	amount int64 // minor units asked for, also if declined; domain.AmountNotTold if none was
}

func (a *account) payment() domain.Payment {
	return domain.Payment{
		AuthorizationID: a.line.AuthorizationID, Status: a.line.Status, Amount: a.amount, Refunded: a.line.Refunded,
		Currency: a.line.Currency, CustomerID: a.line.CustomerID, Fingerprint: a.line.Fingerprint, Dispute: a.line.Dispute,
	}
}

var (
	errSimulatedTimeout = errors.New("simulated timeout")
	errLostReply        = errors.New("simulated loss of the reply")
	errTooManyCalls     = errors.New("too many calls a second")
	// errCaptureRefused tells a capture refused for good from one that the status forbids.
	errCaptureRefused = fmt.Errorf("capture refused for good: %w", domain.ErrRefused)
)

// New makes a Simulator that has heard of no order. It returns an error if the
// options will not do.
func New(options Options) (*Simulator, error) {
	options = options.WithDefaults()
	if err := options.Validate(); err != nil {
		return nil, err
	}
	s := &Simulator{
		options: options,
		perCall: options.Latency > 0 || options.TimeoutRate > 0 || options.LostReplyRate > 0,
	}
	s.limit.rate = options.RateLimit
	for i := range s.shards {
		s.shards[i].accounts = make(map[domain.PaymentName]*account)
	}
	return s, nil
}

// Authorize reserves r.Amount minor units under the name, once: whoever asks
// again gets the same payment, also with another amount, currency or token. A
// payment that is captured or refunded by now says so; one that was voided,
// before its first authorization or after it, is voided. The Amount of a declined
// payment is what was asked for; one voided before it came has none.
//
// An error is domain.ErrUnacceptable if r is malformed (ids, an amount outside
// 0..domain.MaxAmount or below the minimum, a currency that is not ISO 4217): nothing has happened. Else
// ctx ended, or the simulation says so.
func (s *Simulator) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	return withoutPaymentOnError(s.do(ctx, payments.CallAuthorize, r, 0))
}

// Lookup tells what is known of the payment. Errors: domain.ErrNotFound if nothing
// is, and those of Authorize.
func (s *Simulator) Lookup(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return withoutPaymentOnError(s.do(ctx, payments.CallLookup, domain.PaymentRequest{Attempt: a}, 0))
}

// Capture collects what was authorized, once. Errors: domain.ErrNotFound if the
// payment is unknown; domain.ErrRefused if it is action_required, declined, voided or refunded, or
// refused for good by CaptureRefusalRate; and those of Authorize.
func (s *Simulator) Capture(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return withoutPaymentOnError(s.do(ctx, payments.CallCapture, domain.PaymentRequest{Attempt: a}, 0))
}

// Void releases an authorization, and ends what is action_required. Of an unknown payment it leaves a mark that
// refuses every authorization to come. One that is captured, declined or
// refunded is returned as it is, without an error. Errors: those of Authorize.
func (s *Simulator) Void(ctx context.Context, a domain.Attempt) (domain.Payment, error) {
	return withoutPaymentOnError(s.do(ctx, payments.CallVoid, domain.PaymentRequest{Attempt: a}, 0))
}

// Refund gives back what total is more than what was given back before. Errors: domain.ErrNotFound if the
// payment is unknown; domain.ErrRefused if it was never captured, or less than total, or is disputed (Dispute); domain.ErrUnacceptable if total is
// negative; and those of Authorize.
func (s *Simulator) Refund(ctx context.Context, a domain.Attempt, total int64) (domain.Payment, error) {
	return withoutPaymentOnError(s.refund(ctx, a, &total))
}

// everything is the total of a refund of whatever was captured.
const everything = -1

// refund is Refund; without a total, of everything.
func (s *Simulator) refund(ctx context.Context, a domain.Attempt, total *int64) (domain.Payment, error) {
	r := domain.PaymentRequest{Attempt: a}
	switch {
	case total == nil:
		return s.do(ctx, payments.CallRefund, r, everything)
	case *total < 0:
		return domain.Payment{}, payments.Failed(payments.CallRefund, a.Name, fmt.Errorf("%w: total %d: want 0 or more", domain.ErrUnacceptable, *total))
	}
	return s.do(ctx, payments.CallRefund, r, *total)
}

// NextStep is a secret, always the same for a payment. Errors: domain.ErrNotFound if that is
// unknown, domain.ErrRefused if it is not action_required, and those of Authorize.
func (s *Simulator) NextStep(ctx context.Context, a domain.Attempt) (domain.NextStep, error) {
	if _, err := s.do(ctx, payments.CallNextStep, domain.PaymentRequest{Attempt: a}, 0); err != nil {
		return domain.NextStep{}, err
	}
	secret := "secret_" + strconv.FormatUint(mix(hashName(s.options.Seed, a.Name)^saltNextStep), 36)
	return domain.NextStep{ClientSecret: domain.Secret(secret)}, nil
}

// Minimums are those of the options.
func (s *Simulator) Minimums(context.Context) (domain.Minimums, error) {
	return maps.Clone(s.options.Minimums), nil
}

// Finish is what a customer does at their bank: the payment that was action_required is authorized or
// declined, at once and without faults. It returns the payment as it is then; doing it again changes nothing.
// Errors: domain.ErrNotFound if it is unknown, domain.ErrRefused if nothing had, or has any more, to be done.
func (s *Simulator) Finish(name domain.PaymentName, authorized bool) (domain.Payment, error) {
	if err := payments.CheckName(name); err != nil {
		return domain.Payment{}, fmt.Errorf("finish: %w: %w", domain.ErrUnacceptable, err)
	}
	sh := &s.shards[hashName(s.options.Seed, name)%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.accounts[name]
	if a == nil {
		return domain.Payment{}, fmt.Errorf("finish %s: %w", name, domain.ErrNotFound)
	}
	a.line.Calls++
	switch became := domain.PaymentStatusDeclined; {
	case a.line.Status == domain.PaymentStatusActionRequired && authorized:
		a.authorize()
	case a.line.Status == domain.PaymentStatusActionRequired:
		a.line.Status = became
	default:
		if authorized {
			became = domain.PaymentStatusAuthorized
		}
		if a.line.Status != became {
			return a.payment(), fmt.Errorf("finish %s: %w", name, a.refusal())
		}
	}
	return a.payment(), nil
}

// Dispute is what a customer's bank does, at once and without faults: the payment that was captured is disputed, or what was is
// decided. It returns the payment as it is then; doing it again changes nothing. Errors: domain.ErrUnacceptable if there is no such dispute,
// domain.ErrNotFound if the payment is unknown, domain.ErrRefused if it was never captured.
func (s *Simulator) Dispute(name domain.PaymentName, d domain.Dispute) (domain.Payment, error) {
	if err := payments.CheckName(name); err != nil {
		return domain.Payment{}, fmt.Errorf("dispute: %w: %w", domain.ErrUnacceptable, err)
	}
	sh := &s.shards[hashName(s.options.Seed, name)%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.accounts[name]
	switch {
	case a == nil:
		return domain.Payment{}, fmt.Errorf("dispute %s: %w", name, domain.ErrNotFound)
	case a.line.Captures == 0:
		return a.payment(), fmt.Errorf("dispute %s: %w", name, a.refusal())
	case !d.Valid(a.line.Captured):
		return a.payment(), fmt.Errorf("dispute %s: %w: want a state of inquiry, open, won or lost, and an amount of 1 to %d", name, domain.ErrUnacceptable, a.line.Captured)
	}
	a.line.Calls++
	a.line.Disputed, a.line.Dispute = true, d
	return a.payment(), nil
}

// Books are a copy of all that was ever done, one line per attempt to pay, sorted by
// namespace, event, order and attempt. Each line is consistent in itself; while calls are under way,
// two lines may be from different instants.
//
// Authorizations, Captures, Voids and Refunds count what moved money: a decline
// and a void that came before its authorization are lines without any effect. The
// latter has status voided and no customer, currency or authorization. Calls
// counts the calls applied to the attempt since the gateway first kept a line for it.
func (s *Simulator) Books() []domain.BooksLine {
	var lines []domain.BooksLine
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		lines = slices.Grow(lines, len(sh.accounts))
		for _, a := range sh.accounts {
			lines = append(lines, a.line)
		}
		sh.mu.Unlock()
	}
	slices.SortFunc(lines, func(a, b domain.BooksLine) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.EventID, b.EventID), strings.Compare(a.OrderID, b.OrderID), cmp.Compare(a.Attempt, b.Attempt))
	})
	return lines
}

func withoutPaymentOnError(p domain.Payment, err error) (domain.Payment, error) {
	if err != nil {
		return domain.Payment{}, err
	}
	return p, nil
}

// do makes one call with the faults that the options ask for. A refusal comes
// with the payment as it is, for the HTTP server to show. total is a refund's.
func (s *Simulator) do(ctx context.Context, c payments.Call, r domain.PaymentRequest, total int64) (domain.Payment, error) {
	if err := ctx.Err(); err != nil {
		return domain.Payment{}, payments.UnknownOutcome(c, r.Name, err)
	}
	if err := s.checkCall(c, r); err != nil {
		return domain.Payment{}, payments.Failed(c, r.Name, fmt.Errorf("%w: %w", domain.ErrUnacceptable, err))
	}
	if !s.limit.take() {
		return domain.Payment{}, &domain.LaterError{Busy: true, Err: payments.UnknownOutcome(c, r.Name, errTooManyCalls)}
	}
	if c == s.options.Refuse {
		return domain.Payment{}, payments.Failed(c, r.Name, domain.ErrUnacceptable)
	}
	if !s.perCall {
		return s.apply(c, r, total)
	}
	// No lock and no shared generator: the n-th call draws the n-th numbers of the seed.
	draw := mix(s.options.Seed + s.callsDrawn.Add(1)*0x9e3779b97f4a7c15)
	if chance(draw^saltTimeout, s.options.TimeoutRate) {
		cause := wait(ctx, s.options.HangTime)
		if cause == nil {
			cause = errSimulatedTimeout
		}
		return domain.Payment{}, payments.UnknownOutcome(c, r.Name, cause)
	}
	latency := time.Duration(float64(s.options.Latency) * (0.5 + unit(draw^saltLatency)))
	if err := wait(ctx, latency/2); err != nil {
		return domain.Payment{}, payments.UnknownOutcome(c, r.Name, err)
	}
	p, err := s.apply(c, r, total)
	if chance(draw^saltLostReply, s.options.LostReplyRate) {
		return domain.Payment{}, payments.UnknownOutcome(c, r.Name, errLostReply)
	}
	if err := wait(ctx, latency-latency/2); err != nil {
		return domain.Payment{}, payments.UnknownOutcome(c, r.Name, err)
	}
	return p, err
}

// checkCall says what is malformed. The customer may be missing: no rule depends on it.
func (s *Simulator) checkCall(c payments.Call, r domain.PaymentRequest) error {
	if err := payments.CheckName(r.Name); err != nil {
		return err
	}
	if c != payments.CallAuthorize {
		return nil
	}
	switch {
	case r.Amount < 0 || r.Amount > domain.MaxAmount:
		return fmt.Errorf("amount %d: want 0 to %d", r.Amount, int64(domain.MaxAmount))
	case !domain.ValidCurrency(r.Currency):
		return errors.New("currency: want an ISO 4217 code, such as EUR")
	case r.CustomerID != "" && !domain.ValidID(r.CustomerID):
		return errors.New("customer_id: not a valid id")
	case r.Fingerprint != "" && !domain.ValidID(r.Fingerprint):
		return errors.New("fingerprint: not a valid one")
	case s.options.Minimums.Below(r.Currency, 1, r.Amount):
		return fmt.Errorf("amount %d: want at least %d", r.Amount, s.options.Minimums[r.Currency])
	}
	return nil
}

// apply is the gateway without faults: one step, atomic for its payment.
func (s *Simulator) apply(c payments.Call, r domain.PaymentRequest, total int64) (domain.Payment, error) {
	hash := hashName(s.options.Seed, r.Name)
	if s.options.Stateless {
		return s.answer(c, r, total, hash)
	}
	sh := &s.shards[hash%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.accounts[r.Name]
	if a == nil {
		if c != payments.CallAuthorize && c != payments.CallVoid {
			return domain.Payment{}, fmt.Errorf("%s %s: %w", c, r.Name, domain.ErrNotFound)
		}
		// Copies here and in open, lest an account keep a whole request alive.
		a = &account{amount: domain.AmountNotTold, line: domain.BooksLine{
			Namespace: strings.Clone(r.Name.Namespace), EventID: strings.Clone(r.Name.EventID), OrderID: strings.Clone(r.Name.OrderID),
			Attempt: r.Name.Attempt,
		}}
		sh.accounts[a.line.Name()] = a
	}
	a.line.Calls++
	var err error
	switch c {
	case payments.CallAuthorize:
		if a.line.Status == "" {
			a.open(s.mismatched(r, hash), s.first(r, hash), hash)
		}
	case payments.CallCapture:
		err = a.capture(chance(hash^saltCapture, s.options.CaptureRefusalRate))
	case payments.CallVoid:
		a.void()
	case payments.CallRefund:
		err = a.refund(total)
	case payments.CallNextStep:
		if a.line.Status != domain.PaymentStatusActionRequired {
			err = a.refusal()
		}
	case payments.CallLookup:
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w", c, r.Name, err)
	}
	return a.payment(), err
}

// first is the status of a payment that was just asked for.
func (s *Simulator) first(r domain.PaymentRequest, hash uint64) domain.PaymentStatus {
	switch token := string(r.Token); {
	case strings.HasPrefix(token, DeclineTokenPrefix), chance(hash^saltDecline, s.options.DeclineRate):
		return domain.PaymentStatusDeclined
	case strings.HasPrefix(token, ActionTokenPrefix) && !s.options.Stateless:
		return domain.PaymentStatusActionRequired
	}
	return domain.PaymentStatusAuthorized
}

// mismatched is what the simulator takes a request for.
func (s *Simulator) mismatched(r domain.PaymentRequest, hash uint64) domain.PaymentRequest {
	if !chance(hash^saltMismatch, s.options.MismatchRate) {
		return r
	}
	switch mix(hash^saltMismatchKind) % 3 {
	case 0:
		r.Amount /= 2
	case 1:
		r.Currency = map[bool]string{true: "USD", false: "EUR"}[r.Currency == "EUR"]
	case 2:
		r.CustomerID = "another." + r.CustomerID[:min(len(r.CustomerID), domain.MaxIDLength-len("another."))]
	}
	return r
}

// answer is apply without a memory. It tells the amount to those who told it.
func (s *Simulator) answer(c payments.Call, r domain.PaymentRequest, total int64, hash uint64) (domain.Payment, error) {
	p := domain.Payment{AuthorizationID: authorizationID(hash), Amount: domain.AmountNotTold}
	switch c {
	case payments.CallAuthorize:
		r = s.mismatched(r, hash)
		p.Amount, p.Currency, p.CustomerID, p.Fingerprint = r.Amount, r.Currency, r.CustomerID, r.Fingerprint
		if p.Status = s.first(r, hash); p.Status == domain.PaymentStatusDeclined {
			p.AuthorizationID = ""
		}
	case payments.CallLookup:
		return p, fmt.Errorf("%s %s: %w", c, r.Name, domain.ErrNotFound) // authorize again: the answer will be the same
	case payments.CallCapture:
		if chance(hash^saltCapture, s.options.CaptureRefusalRate) {
			return p, fmt.Errorf("%s %s: %w", c, r.Name, errCaptureRefused)
		}
		p.Status = domain.PaymentStatusCaptured
	case payments.CallVoid:
		p.Status = domain.PaymentStatusVoided
	case payments.CallRefund:
		p.Status, p.Refunded = domain.PaymentStatusRefunded, max(total, 0)
	case payments.CallNextStep:
		return p, fmt.Errorf("%s %s: %w", c, r.Name, domain.ErrRefused) // it is done
	}
	return p, nil
}

// authorizationID comes from seed and order, so that a run can be repeated to the letter.
func authorizationID(hash uint64) string {
	return string(strconv.AppendUint(append(make([]byte, 0, 32), "auth_"...), mix(hash^saltAuthorizationID)|1<<63, 36))
}

func (a *account) open(r domain.PaymentRequest, status domain.PaymentStatus, hash uint64) {
	a.amount = r.Amount
	a.line.CustomerID, a.line.Currency, a.line.Fingerprint = strings.Clone(r.CustomerID), strings.Clone(r.Currency), strings.Clone(r.Fingerprint)
	a.line.Status = status
	if status == domain.PaymentStatusDeclined {
		return
	}
	a.line.AuthorizationID = authorizationID(hash)
	if status == domain.PaymentStatusAuthorized {
		a.authorize()
	}
}

func (a *account) authorize() {
	a.line.Status = domain.PaymentStatusAuthorized
	a.line.Authorizations++
	a.line.Authorized += a.amount
}

func (a *account) capture(refused bool) error {
	switch a.line.Status {
	case domain.PaymentStatusAuthorized:
		if refused {
			return errCaptureRefused
		}
		a.line.Status = domain.PaymentStatusCaptured
		a.line.Captures++
		a.line.Captured += a.amount
		return nil
	case domain.PaymentStatusCaptured:
		return nil
	case domain.PaymentStatusActionRequired, domain.PaymentStatusDeclined, domain.PaymentStatusVoided, domain.PaymentStatusRefunded:
	}
	return a.refusal()
}

func (a *account) void() {
	switch a.line.Status {
	case "", domain.PaymentStatusActionRequired: // forbid what may come
		a.line.Status = domain.PaymentStatusVoided
	case domain.PaymentStatusAuthorized:
		a.line.Status = domain.PaymentStatusVoided
		a.line.Voids++
		a.line.Voided += a.amount
	case domain.PaymentStatusDeclined, domain.PaymentStatusCaptured, domain.PaymentStatusVoided, domain.PaymentStatusRefunded:
	}
}

// refund gives back what total is more than was given back before.
func (a *account) refund(total int64) error {
	switch a.line.Status {
	case domain.PaymentStatusCaptured, domain.PaymentStatusRefunded:
		if total == everything {
			total = a.line.Captured
		}
		more := total - a.line.Refunded
		all := total == a.line.Captured
		switch {
		case total > a.line.Captured:
			return fmt.Errorf("%d of the %d that were captured: %w", total, a.line.Captured, domain.ErrRefused)
		case more > 0 && total > a.refundable():
			return fmt.Errorf("the customer's bank has the money, the dispute is %s: %w", a.line.Dispute.State, domain.ErrRefused)
		case more > 0, all && a.line.Status == domain.PaymentStatusCaptured: // all of nothing is a refund as well
			a.line.Refunds++
			a.line.Refunded += more
		}
		if all {
			a.line.Status = domain.PaymentStatusRefunded
		}
		return nil
	case domain.PaymentStatusAuthorized, domain.PaymentStatusActionRequired, domain.PaymentStatusDeclined, domain.PaymentStatusVoided:
	}
	return a.refusal()
}

// refundable is how much can be given back in all while the customer's bank has, or keeps, some of it.
func (a *account) refundable() int64 {
	switch d := a.line.Dispute; d.State {
	case domain.DisputeOpen:
		return a.line.Refunded
	case domain.DisputeLost:
		return a.line.Captured - d.Amount
	case domain.DisputeInquiry, domain.DisputeWon:
	}
	return a.line.Captured
}

func (a *account) refusal() error {
	return fmt.Errorf("the payment is %s: %w", a.line.Status, domain.ErrRefused)
}

// limit takes so many calls a second, and as many at once after a quiet one.
type limit struct {
	rate int // 0: any number

	mu   sync.Mutex
	left float64
	last time.Time
}

// take reports whether a call is taken.
func (l *limit) take() bool {
	if l.rate == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := time.Now()
	if l.last.IsZero() {
		l.left = float64(l.rate)
	} else {
		l.left = min(float64(l.rate), l.left+at.Sub(l.last).Seconds()*float64(l.rate))
	}
	l.last = at
	if l.left < 1 {
		return false
	}
	l.left--
	return true
}

// wait returns nil after d, or the error of ctx if that ends first.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// One salt for each use of a hash, so that no two decisions hang together.
const (
	saltDecline         = 0x8f14e45fceea167a
	saltCapture         = 0xc9f0f895fb98ab91
	saltAuthorizationID = 0x45c48cce2e2d7fbd
	saltTimeout         = 0xd3d9446802a44259
	saltLostReply       = 0x6512bd43d9caa6e0
	saltLatency         = 0xc20ad4d76fe97759
	saltMismatch        = 0xaab3238922bcc25a
	saltMismatchKind    = 0x9bf31c7ff062936a
	saltNextStep        = 0xc74d97b01eae257e
)

// hashName is FNV-1a, mixed. Own code because it must be the same in every
// process: declines are reproducible by seed.
func hashName(seed uint64, name domain.PaymentName) uint64 {
	const prime = 1099511628211
	h := mix(seed) ^ 14695981039346656037
	add := func(s string) {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * prime
		}
	}
	if name.Namespace != "" {
		add(name.Namespace)
		add("/")
	}
	add(name.EventID)
	add("/")
	add(name.OrderID)
	if name.Attempt != 0 {
		add("/")
		add(strconv.Itoa(name.Attempt))
	}
	return mix(h)
}

// mix is the finalizer of SplitMix64: every bit of x moves every bit of the result.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit maps bits to [0, 1).
func unit(bits uint64) float64 { return float64(mix(bits)>>11) / (1 << 53) }

// chance is true for a share of rate of all bits.
func chance(bits uint64, rate float64) bool { return rate > 0 && unit(bits) < rate }
