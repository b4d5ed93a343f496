package workers

import (
	"cmp"
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"holdfast/domain"
)

// A step of a request that came with a sampled traceparent is a span of its own, linked to whoever published the request: as
// its child it would keep that trace open for as long as the request waits in line. It is made when the step is over, from
// times that are measured anyway, so that a step costs a comparison where nobody traces. The order keeps whose trace it is of, for those who
// post and settle it, in whatever process. What spans tell is listed here and is nothing of what a gateway or a customer wrote: no payment
// token can be among it.

// Attributes of spans.
const (
	attributeEvent   = attribute.Key("holdfast.event_id")
	attributeOrder   = attribute.Key("holdfast.order_id")
	attributeRequest = attribute.Key("holdfast.request_type")
	attributeState   = attribute.Key("holdfast.state")   // of the order, after hold and resolve, and when it is settled
	attributeReason  = attribute.Key("holdfast.reason")  // why it is in that state
	attributePayment = attribute.Key("holdfast.payment") // what the gateway says that it is
	attributeWaited  = attribute.Key("holdfast.waited_ms")
)

// Names of the spans that are not those of their stages.
const (
	spanPost   = "post"
	spanSettle = "settle"
)

// traceHold tells of requests that are held, or refused, and for how long they had waited in line.
func (p *Pool) traceHold(begun time.Time, batch []domain.Incoming, replies []domain.Reply, nowMillis int64) {
	if p.tracer == nil {
		return
	}
	held := time.Now()
	for i := range batch {
		q := &batch[i].Request
		of := q.Trace()
		if of == "" {
			continue
		}
		waited := max(nowMillis-domain.EntryMillis(batch[i].EntryID), 0)
		span := p.span(Stages[StageHold], of, q.Ref(), begun)
		span.SetAttributes(attributeRequest.String(string(q.Type)), attributeWaited.Int64(waited))
		setState(span, &replies[i].Order)
		span.End(trace.WithTimestamp(held))
		p.stats.stages[StageWaiting].exemplify(time.Duration(waited)*time.Millisecond, of)
		p.stats.stages[StageHold].exemplify(held.Sub(begun), of)
	}
}

// traceAuthorize tells of an answer of the gateway, or that there was none.
func (p *Pool) traceAuthorize(of *pending, payment domain.Payment, err error) {
	if p.tracer == nil || of.trace() == "" {
		return
	}
	span := p.span(Stages[StageAuthorize], of.trace(), of.request.Ref(), of.since)
	span.SetAttributes(attributeRequest.String(string(of.request.Type)))
	switch {
	case err == nil:
		span.SetAttributes(attributePayment.String(string(payment.Status)))
	case final(err):
		span.SetStatus(codes.Error, "refused for good")
	default:
		span.SetStatus(codes.Error, "no answer in time")
	}
	span.End()
}

// traceResolve tells what an order is after the gateway's answer.
func (p *Pool) traceResolve(of *pending, o *domain.Order, resolved time.Time) {
	if p.tracer == nil || of.trace() == "" {
		return
	}
	span := p.span(Stages[StageResolve], of.trace(), of.request.Ref(), of.answered)
	span.SetAttributes(attributeRequest.String(string(of.request.Type)))
	setState(span, o)
	span.End(trace.WithTimestamp(resolved))
	p.stats.stages[StageAuthorize].exemplify(of.answered.Sub(of.since), of.trace())
	p.stats.stages[StageResolve].exemplify(resolved.Sub(of.answered), of.trace())
}

// tracePost tells of orders that are on their customers' invoices, and how long after their confirmation.
func (p *Pool) tracePost(begun time.Time, facts []domain.Fact) {
	if p.tracer == nil {
		return
	}
	posted := time.Now()
	for i := range facts {
		f := &facts[i]
		if f.Trace == "" {
			continue
		}
		span := p.span(spanPost, f.Trace, f.Ref(), begun)
		if ago, known := p.clock.since(f.AtMillis); known {
			span.SetAttributes(attributeWaited.Int64(max(ago, 0).Milliseconds()))
			p.stats.stages[StagePosted].exemplify(ago, f.Trace)
		}
		span.End(trace.WithTimestamp(posted))
	}
}

// traceSettle tells of a try to bring an order's money to where it belongs.
func (p *Pool) traceSettle(begun time.Time, l *line, end ending) {
	if p.tracer == nil || l.order.Trace == "" {
		return
	}
	span := p.span(spanSettle, l.order.Trace, l.owed.Ref, begun)
	setState(span, &l.order)
	switch ago, known := p.clock.since(domain.EntryMillis(l.owed.FactID)); {
	case end.dead:
		span.SetStatus(codes.Error, "a person must look")
	case end != ending{}:
		span.SetStatus(codes.Error, "tried again later")
	case known:
		p.stats.stages[StageSettled].exemplify(ago, l.order.Trace)
	}
	span.End()
}

// span begins that of a step of an order, as of a time.
func (p *Pool) span(step string, of domain.Trace, ref domain.OrderRef, begun time.Time) trace.Span {
	_, span := p.tracer.Start(context.Background(), step, trace.WithNewRoot(), trace.WithTimestamp(begun),
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(trace.Link{SpanContext: spanContext(of)}),
		trace.WithAttributes(attributeEvent.String(ref.EventID), attributeOrder.String(ref.OrderID)))
	return span
}

func setState(span trace.Span, o *domain.Order) {
	if o.State == domain.OrderNone {
		return // nothing is known of it yet
	}
	span.SetAttributes(attributeState.String(o.State.String()))
	if o.Reason != "" {
		span.SetAttributes(attributeReason.String(o.Reason))
	}
}

// trace is whose a request is: its own publisher's, or that of the order's.
func (p *pending) trace() domain.Trace { return cmp.Or(p.request.Trace(), p.order.Trace) }

// dead sets the entry of a request aside.
func (p *pending) dead(reason string) domain.DeadEntry {
	return domain.DeadEntry{ID: p.entryID, Reason: reason, TraceID: p.traceID()}
}

// traceID is whose trace a line of the log is about, sampled or not.
func (p *pending) traceID() string { return cmp.Or(p.request.TraceID(), p.order.Trace.ID()) }

// spanContext is that of whoever published what a trace is kept of.
func spanContext(of domain.Trace) trace.SpanContext {
	carrier := propagation.MapCarrier{"traceparent": "00-" + string(of) + "-01"}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// traceID is the field of a log line about an order that says which trace it is of; none if that is not known.
func traceID(id string) zap.Field {
	if id == "" {
		return zap.Skip()
	}
	return zap.String("trace_id", id)
}
