package payments

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/domain"
)

// DeclineTokenPrefix begins the payment tokens that the simulator always
// declines, so that a decline can be had by hand.
const DeclineTokenPrefix = "decline"

// DefaultHangTime is how long a simulated timeout hangs at most.
const DefaultHangTime = 30 * time.Second

// SimulatorOptions say how a Simulator misbehaves. The zero value approves
// everything at once. A rate is a probability: 0 or less is never, 1 or more is always.
type SimulatorOptions struct {
	// Latency is the mean duration of a call; each takes 0.5 to 1.5 times that,
	// uniformly. The call takes effect half-way, so a caller who gives up may or
	// may not have been served.
	Latency time.Duration
	// DeclineRate is the share of orders whose authorization is declined. It
	// depends on Seed and the order only, so a retry gets the same answer.
	DeclineRate float64
	// CaptureRefusalRate is the share of orders whose capture is refused for good:
	// they stay authorized until they are voided. It depends on Seed and the order
	// only.
	CaptureRefusalRate float64
	// TimeoutRate is the share of calls that are not applied and hang until their
	// context is done, at most for HangTime. Drawn for every call anew, so that a
	// retry gets through.
	TimeoutRate float64
	// LostReplyRate is the share of calls that are applied in full and answered
	// with an unknown outcome. Drawn for every call anew.
	LostReplyRate float64
	// Stateless keeps nothing: every call is answered as if what must come before it
	// had happened, and the ledger stays empty. So several workers, each with a
	// simulator of its own in process, agree with each other, and none grows.
	Stateless bool
	// HangTime bounds a simulated timeout; DefaultHangTime if not positive.
	HangTime time.Duration
	// Seed makes the draws reproducible: those per order always, those per call as
	// far as the calls come in the same order.
	Seed uint64
}

// Simulator is a payment gateway in process. It keeps every order it ever heard
// of, in memory, because its ledger is what audits are held against. It is safe
// for concurrent use.
type Simulator struct {
	options    SimulatorOptions
	perCall    bool // whether any call needs a draw or a wait
	callsDrawn atomic.Uint64
	shards     [shardCount]shard
}

var _ domain.PaymentGateway = (*Simulator)(nil)

// A power of two, many times the cores that can contend.
const shardCount = 128

type shard struct {
	mu       sync.Mutex
	accounts map[domain.OrderRef]*account
	_        [48]byte // keeps the locks of two shards out of one cache line
}

// account is one order at the gateway. Its line counts effects where they
// happen and not from the status, so that a bug that does something twice shows.
type account struct {
	line   domain.BooksLine
	amount int64 // minor units asked for, also if declined
}

func (a *account) payment() domain.Payment {
	return domain.Payment{AuthorizationID: a.line.AuthorizationID, Status: a.line.Status, Amount: a.amount}
}

var (
	errSimulatedTimeout = errors.New("simulated timeout")
	errLostReply        = errors.New("simulated loss of the reply")
	// errCaptureRefused tells a capture refused for good from one that the status forbids.
	errCaptureRefused = fmt.Errorf("capture refused for good: %w", domain.ErrRefused)
)

// New makes a Simulator that has heard of no order.
func New(options SimulatorOptions) *Simulator {
	if options.HangTime <= 0 {
		options.HangTime = DefaultHangTime
	}
	s := &Simulator{
		options: options,
		perCall: options.Latency > 0 || options.TimeoutRate > 0 || options.LostReplyRate > 0,
	}
	for i := range s.shards {
		s.shards[i].accounts = make(map[domain.OrderRef]*account)
	}
	return s
}

// Authorize reserves r.Amount minor units for the order, once: whoever asks
// again gets the same payment, also with another amount, currency or token. An
// order that is captured or refunded by now says so; one that was voided,
// before its first authorization or after it, is voided. The Amount of a declined
// payment is what was asked for; that of one voided before it came is 0.
//
// The error always wraps domain.ErrUnknownOutcome: ctx ended, the simulation
// says so, or r is malformed (ids, an amount outside 0..domain.MaxAmount, a
// currency that is not ISO 4217), in which case nothing has happened.
func (s *Simulator) Authorize(ctx context.Context, r domain.PaymentRequest) (domain.Payment, error) {
	return withoutPaymentOnError(s.do(ctx, callAuthorize, r))
}

// Lookup tells what is known of the order. Errors: domain.ErrNotFound if nothing
// is, else domain.ErrUnknownOutcome.
func (s *Simulator) Lookup(ctx context.Context, ref domain.OrderRef) (domain.Payment, error) {
	return withoutPaymentOnError(s.do(ctx, callLookup, domain.PaymentRequest{Ref: ref}))
}

// Capture collects what was authorized, once. Errors: domain.ErrNotFound if the
// order is unknown; domain.ErrRefused if it is declined, voided or refunded, or
// refused for good by CaptureRefusalRate; else domain.ErrUnknownOutcome.
func (s *Simulator) Capture(ctx context.Context, ref domain.OrderRef) (domain.Payment, error) {
	return withoutPaymentOnError(s.do(ctx, callCapture, domain.PaymentRequest{Ref: ref}))
}

// Void releases an authorization. Of an unknown order it leaves a mark that
// refuses every authorization to come. A payment that is captured, declined or
// refunded is returned as it is, without an error. The error always wraps
// domain.ErrUnknownOutcome.
func (s *Simulator) Void(ctx context.Context, ref domain.OrderRef) (domain.Payment, error) {
	return withoutPaymentOnError(s.do(ctx, callVoid, domain.PaymentRequest{Ref: ref}))
}

// Refund gives back what was captured, once. Errors: domain.ErrNotFound if the
// order is unknown, domain.ErrRefused if it was never captured, else
// domain.ErrUnknownOutcome.
func (s *Simulator) Refund(ctx context.Context, ref domain.OrderRef) (domain.Payment, error) {
	return withoutPaymentOnError(s.do(ctx, callRefund, domain.PaymentRequest{Ref: ref}))
}

// Ledger is a copy of all that was ever done, one line per order, sorted by
// event and order. Each line is consistent in itself; while calls are under way,
// two lines may be from different instants.
//
// Authorizations, Captures, Voids and Refunds count what moved money: a decline
// and a void that came before its authorization are lines without any effect. The
// latter has status voided and no customer, currency or authorization. Calls
// counts the calls applied to the order since the gateway first kept a line for it.
func (s *Simulator) Ledger() []domain.BooksLine {
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
		return cmp.Or(strings.Compare(a.EventID, b.EventID), strings.Compare(a.OrderID, b.OrderID))
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
// with the payment as it is, for the HTTP server to show.
func (s *Simulator) do(ctx context.Context, c call, r domain.PaymentRequest) (domain.Payment, error) {
	if err := ctx.Err(); err != nil {
		return domain.Payment{}, unknownOutcome(c, r.Ref, err)
	}
	if err := checkCall(c, r); err != nil {
		return domain.Payment{}, unknownOutcome(c, r.Ref, err)
	}
	if !s.perCall {
		return s.apply(c, r)
	}
	// No lock and no shared generator: the n-th call draws the n-th numbers of the seed.
	draw := mix(s.options.Seed + s.callsDrawn.Add(1)*0x9e3779b97f4a7c15)
	if chance(draw^saltTimeout, s.options.TimeoutRate) {
		cause := wait(ctx, s.options.HangTime)
		if cause == nil {
			cause = errSimulatedTimeout
		}
		return domain.Payment{}, unknownOutcome(c, r.Ref, cause)
	}
	latency := time.Duration(float64(s.options.Latency) * (0.5 + unit(draw^saltLatency)))
	if err := wait(ctx, latency/2); err != nil {
		return domain.Payment{}, unknownOutcome(c, r.Ref, err)
	}
	p, err := s.apply(c, r)
	if chance(draw^saltLostReply, s.options.LostReplyRate) {
		return domain.Payment{}, unknownOutcome(c, r.Ref, errLostReply)
	}
	if err := wait(ctx, latency-latency/2); err != nil {
		return domain.Payment{}, unknownOutcome(c, r.Ref, err)
	}
	return p, err
}

// checkCall says what is malformed. The customer may be missing: no rule depends on it.
func checkCall(c call, r domain.PaymentRequest) error {
	if !validRef(r.Ref) {
		return errInvalidRef
	}
	if c != callAuthorize {
		return nil
	}
	switch {
	case r.Amount < 0 || r.Amount > domain.MaxAmount:
		return fmt.Errorf("amount %d: want 0 to %d", r.Amount, int64(domain.MaxAmount))
	case !domain.ValidCurrency(r.Currency):
		return errors.New("currency: want an ISO 4217 code, such as EUR")
	case r.CustomerID != "" && !domain.ValidID(r.CustomerID):
		return errors.New("customer_id: not a valid id")
	}
	return nil
}

// apply is the gateway without faults: one step, atomic for its order.
func (s *Simulator) apply(c call, r domain.PaymentRequest) (domain.Payment, error) {
	hash := hashOrder(s.options.Seed, r.Ref)
	if s.options.Stateless {
		return s.answer(c, r, hash)
	}
	sh := &s.shards[hash%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.accounts[r.Ref]
	if a == nil {
		if c != callAuthorize && c != callVoid {
			return domain.Payment{}, fmt.Errorf("%s %s: %w", c, r.Ref, domain.ErrNotFound)
		}
		// Copies here and in open, lest an account keep a whole request alive.
		ref := domain.OrderRef{EventID: strings.Clone(r.Ref.EventID), OrderID: strings.Clone(r.Ref.OrderID)}
		a = &account{line: domain.BooksLine{EventID: ref.EventID, OrderID: ref.OrderID}}
		sh.accounts[ref] = a
	}
	a.line.Calls++
	var err error
	switch c {
	case callAuthorize:
		if a.line.Status == "" {
			a.open(r, s.declines(r, hash), hash)
		}
	case callCapture:
		err = a.capture(chance(hash^saltCapture, s.options.CaptureRefusalRate))
	case callVoid:
		a.void()
	case callRefund:
		err = a.refund()
	case callLookup:
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w", c, r.Ref, err)
	}
	return a.payment(), err
}

func (s *Simulator) declines(r domain.PaymentRequest, hash uint64) bool {
	return strings.HasPrefix(string(r.Token), DeclineTokenPrefix) || chance(hash^saltDecline, s.options.DeclineRate)
}

// answer is apply without a memory.
func (s *Simulator) answer(c call, r domain.PaymentRequest, hash uint64) (domain.Payment, error) {
	p := domain.Payment{AuthorizationID: authorizationID(hash), Amount: r.Amount}
	switch c {
	case callAuthorize:
		p.Status = domain.PaymentStatusAuthorized
		if s.declines(r, hash) {
			p.AuthorizationID, p.Status = "", domain.PaymentStatusDeclined
		}
	case callLookup:
		return p, fmt.Errorf("%s %s: %w", c, r.Ref, domain.ErrNotFound) // authorize again: the answer will be the same
	case callCapture:
		if chance(hash^saltCapture, s.options.CaptureRefusalRate) {
			return p, fmt.Errorf("%s %s: %w", c, r.Ref, errCaptureRefused)
		}
		p.Status = domain.PaymentStatusCaptured
	case callVoid:
		p.Status = domain.PaymentStatusVoided
	case callRefund:
		p.Status = domain.PaymentStatusRefunded
	}
	return p, nil
}

// authorizationID comes from seed and order, so that a run can be repeated to the letter.
func authorizationID(hash uint64) string {
	return "auth_" + strconv.FormatUint(mix(hash^saltAuthorizationID)|1<<63, 36)
}

func (a *account) open(r domain.PaymentRequest, declined bool, hash uint64) {
	a.amount = r.Amount
	a.line.CustomerID, a.line.Currency = strings.Clone(r.CustomerID), strings.Clone(r.Currency)
	if declined {
		a.line.Status = domain.PaymentStatusDeclined
		return
	}
	a.line.AuthorizationID = authorizationID(hash)
	a.line.Status = domain.PaymentStatusAuthorized
	a.line.Authorizations++
	a.line.Authorized += r.Amount
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
	case domain.PaymentStatusDeclined, domain.PaymentStatusVoided, domain.PaymentStatusRefunded:
	}
	return a.refusal()
}

func (a *account) void() {
	switch a.line.Status {
	case "": // first heard of: forbid what may come
		a.line.Status = domain.PaymentStatusVoided
	case domain.PaymentStatusAuthorized:
		a.line.Status = domain.PaymentStatusVoided
		a.line.Voids++
		a.line.Voided += a.amount
	case domain.PaymentStatusDeclined, domain.PaymentStatusCaptured, domain.PaymentStatusVoided, domain.PaymentStatusRefunded:
	}
}

func (a *account) refund() error {
	switch a.line.Status {
	case domain.PaymentStatusCaptured:
		a.line.Status = domain.PaymentStatusRefunded
		a.line.Refunds++
		a.line.Refunded += a.amount
		return nil
	case domain.PaymentStatusRefunded:
		return nil
	case domain.PaymentStatusAuthorized, domain.PaymentStatusDeclined, domain.PaymentStatusVoided:
	}
	return a.refusal()
}

func (a *account) refusal() error {
	return fmt.Errorf("the payment is %s: %w", a.line.Status, domain.ErrRefused)
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
)

// hashOrder is FNV-1a, mixed. Own code because it must be the same in every
// process: declines are reproducible by seed.
func hashOrder(seed uint64, ref domain.OrderRef) uint64 {
	const prime = 1099511628211
	h := mix(seed) ^ 14695981039346656037
	for i := range len(ref.EventID) {
		h = (h ^ uint64(ref.EventID[i])) * prime
	}
	h = (h ^ '/') * prime
	for i := range len(ref.OrderID) {
		h = (h ^ uint64(ref.OrderID[i])) * prime
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
