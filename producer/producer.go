// Package producer is what a checkout imports: publish purchase requests, and
// learn what became of them.
//
//	store, err := streams.Open(ctx, "redis://127.0.0.1:6379/0", streams.Options{})
//	checkout := store.Checkout()
//	p := producer.New(checkout, checkout, producer.Options{})
//	defer p.Close()
//	receipt, err := p.Publish(ctx, domain.Request{Type: domain.RequestPurchase, …})
//	outcome, err := p.WaitFor(ctx, receipt)
//
// The order_id is the idempotency key. Whatever happens between checkout and
// Redis, publishing the same request again under the same order_id is harmless:
// the order is opened once, and both entries lead to the one outcome.
package producer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// Options of New. The zero value is ready to use.
type Options struct {
	// Attempts is how often a request is sent before Publish gives up. Default 3.
	Attempts int
	// MaxBatch bounds how many requests go to Redis at once. Default 1000.
	MaxBatch int
	// RecheckEvery is how often stored orders are looked at that somebody waits for, although
	// no notice came: the net below pub/sub, which may lose one. Default 2s.
	RecheckEvery time.Duration
	// Replicas is how many replicas of Redis Publish waits for, with WAIT, and tells in
	// the receipt how many there were. It is no promise: a request that fewer have, or
	// none, is published all the same, and a failover can lose one that some have, if
	// another replica becomes the master. Default 0: it does not wait.
	Replicas int
	// ReplicasTimeout is how long it waits for them. Default 1s.
	ReplicasTimeout time.Duration
}

// WithDefaults returns o with every field set: what is not positive stands for the
// default, so there is nothing that would not do.
func (o Options) WithDefaults() Options {
	setDefault(&o.Attempts, 3)
	setDefault(&o.MaxBatch, 1000)
	setDefault(&o.RecheckEvery, 2*time.Second)
	setDefault(&o.ReplicasTimeout, time.Second)
	o.Replicas = max(o.Replicas, 0)
	return o
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Receipt says where a request is: it survives a crash of Redis as far as Redis's
// own persistence goes. WaitFor takes it, in any process.
type Receipt struct {
	EventID string `json:"event_id"`
	OrderID string `json:"order_id"`
	EntryID string `json:"entry_id"` // in the requests stream
	// Type and Fingerprint are the request's: what to wait for, and how to know it from another
	// one under the same order_id.
	Type        domain.RequestType `json:"type"`
	Fingerprint string             `json:"fingerprint,omitempty"` // of all but a cancel of everything and a payment_update
	Attempt     int                `json:"attempt,omitempty"`     // of a pay or a payment_update: which attempt it is about, from 1
	Change      int64              `json:"change,omitempty"`      // of a partial cancel, a change or a refund: its number
	// Replicas is how many replicas had confirmed it by then; 0 unless the option is set.
	Replicas int `json:"replicas,omitempty"`
}

// Result is what became of one request of a batch. Receipt names the order in any
// case; its EntryID is empty if Err is not nil. Err is as Publish returns it.
type Result struct {
	Receipt Receipt
	Err     error
}

// Producer publishes, and waits for outcomes. It is safe for concurrent use.
type Producer struct {
	requests domain.Requests
	options  Options
	outcomes *outcomes
}

// New returns a producer. Close it when no call is under way any more.
func New(requests domain.Requests, o domain.Outcomes, options Options) *Producer {
	options = options.WithDefaults()
	return &Producer{requests: requests, options: options, outcomes: newOutcomes(o, options.RecheckEvery)}
}

// Close ends what listens for outcomes. Waits that are under way return an error
// that wraps domain.ErrUnknownOutcome.
func (p *Producer) Close() { p.outcomes.close() }

// Publish sends one request. An empty OrderID gets a UUIDv7, which the receipt
// names: keep it, it is what makes a retry safe.
//
// Errors: of ClassReject if the request is not well-formed: nothing was sent. With domain.CodeBusy (of ClassRetry)
// if as many requests wait as may: nothing was sent, and it is not tried again here. Come back later, or tell
// the customer; a request that was accepted before, under the same OrderID, is what it was. If
// it wraps domain.ErrUnknownOutcome, the request may have been published:
// Wait for it, or publish it again under the same OrderID. Otherwise it was not
// published. The receipt names the order in every case.
//
// A request without a Traceparent gets that of the OpenTelemetry span of ctx, if there is one: workers link to it.
func (p *Producer) Publish(ctx context.Context, r domain.Request) (Receipt, error) {
	result := p.PublishBatch(ctx, []domain.Request{r})[0]
	return result.Receipt, result.Err
}

// PublishBatch sends many requests in few round trips, each on its own: there is
// a result for each, in the same order. Requests that are not well-formed are
// not sent; the others are.
func (p *Producer) PublishBatch(ctx context.Context, batch []domain.Request) []Result {
	results := make([]Result, len(batch))
	most, traceparent := min(len(batch), p.options.MaxBatch), traceparentOf(ctx)
	ready, at := make([]domain.Request, 0, most), make([]int, 0, most) // what is to be sent next, and which of the batch it is
	for i := range batch {
		ready, at = append(ready, batch[i]), append(at, i)
		last := len(ready) - 1
		if ready[last].Traceparent == "" {
			ready[last].Traceparent = traceparent
		}
		if results[i].Receipt, results[i].Err = prepare(&ready[last]); results[i].Err != nil {
			ready, at = ready[:last], at[:last]
		}
		if len(ready) == most || i == len(batch)-1 && len(ready) > 0 {
			p.send(ctx, ready, at, results)
			ready, at = ready[:0], at[:0]
		}
	}
	return results
}

// traceparentOf is that of the span of ctx, in the form of the W3C; empty if there is none.
func traceparentOf(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return "" // as nearly always
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

// prepare makes a request what will be sent, and the receipt that it will have.
func prepare(r *domain.Request) (Receipt, error) {
	if r.OrderID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return Receipt{}, fmt.Errorf("making an order id: %w", err)
		}
		r.OrderID = id.String()
	}
	if !r.Type.Pays() {
		r.PaymentToken = "" // nobody needs it there, so it shall not lie in a stream
	}
	if !r.Type.Opens() {
		r.AccessCode = ""
	}
	receipt := Receipt{EventID: r.EventID, OrderID: r.OrderID}
	fingerprint, err := wire.Check(r)
	if err != nil {
		return receipt, domain.WithClass(domain.ClassReject, err)
	}
	receipt.Change = r.Change
	if receipt.Type, receipt.Fingerprint = r.Type, fingerprint; r.Type == domain.RequestPay || r.Type == domain.RequestPaymentUpdate {
		receipt.Attempt = r.AttemptNumber()
	}
	return receipt, nil
}

// send tries the requests, whose results are at the given indexes, until each is published, or the
// attempts are over: what is left of them comes to the front of both lists. A result that is once unknown stays unknown, whatever later
// attempts say, unless one of them succeeds.
func (p *Producer) send(ctx context.Context, batch []domain.Request, at []int, results []Result) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = 20 * time.Millisecond
	confirm := domain.Confirmation{Replicas: p.options.Replicas, Timeout: p.options.ReplicasTimeout}
	for attempt := 1; ; attempt++ {
		failed := 0
		for j, a := range p.requests.Append(ctx, batch, confirm) {
			result := &results[at[j]]
			if a.Err == nil {
				result.Receipt.EntryID, result.Receipt.Replicas, result.Err = a.EntryID, a.Replicas, nil
				continue
			}
			if !errors.Is(result.Err, domain.ErrUnknownOutcome) {
				result.Err = a.Err
			}
			switch class := domain.ClassOf(a.Err); {
			case class == domain.ClassFatal, class == domain.ClassPoison:
			case domain.CodeOf(a.Err) == domain.CodeBusy: // it was not sent, and soon would be no better
			default:
				batch[failed], at[failed] = batch[j], at[j]
				failed++
			}
		}
		batch, at = batch[:failed], at[:failed]
		if failed == 0 || attempt >= p.options.Attempts {
			return
		}
		timer := time.NewTimer(wait.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
