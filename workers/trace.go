package workers

import (
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
// times that are measured anyway, so that a step costs a comparison where nobody traces. What spans tell is listed
// here and is nothing of what a gateway or a customer wrote: no payment token can be among it.

// Attributes of spans.
const (
	attributeEvent   = attribute.Key("holdfast.event_id")
	attributeOrder   = attribute.Key("holdfast.order_id")
	attributeRequest = attribute.Key("holdfast.request_type")
	attributeState   = attribute.Key("holdfast.state")   // of the order, after hold and resolve
	attributeReason  = attribute.Key("holdfast.reason")  // why it is in that state
	attributePayment = attribute.Key("holdfast.payment") // what the gateway says that it is
	attributeWaited  = attribute.Key("holdfast.waited_ms")
)

// traceHold tells of requests that are held, or refused, and for how long they had waited in line.
func (p *Pool) traceHold(begun time.Time, batch []domain.Incoming, replies []domain.Reply, nowMillis int64) {
	if p.tracer == nil {
		return
	}
	held := time.Now()
	for i := range batch {
		waited := max(nowMillis-domain.EntryMillis(batch[i].EntryID), 0)
		if span := p.span(StageHold, &batch[i].Request, begun); span != nil {
			span.SetAttributes(attributeWaited.Int64(waited))
			setState(span, &replies[i].Order)
			span.End(trace.WithTimestamp(held))
		}
	}
}

// traceAuthorize tells of an answer of the gateway, or that there was none.
func (p *Pool) traceAuthorize(of *pending, payment domain.Payment, err error) {
	span := p.span(StageAuthorize, &of.request, of.since)
	switch {
	case span == nil:
		return
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
	if span := p.span(StageResolve, &of.request, of.answered); span != nil {
		setState(span, o)
		span.End(trace.WithTimestamp(resolved))
	}
}

// span begins that of a step of a request, as of a time. It is nil if nobody traces, or not this request.
func (p *Pool) span(of Stage, q *domain.Request, begun time.Time) trace.Span {
	if p.tracer == nil || q.Traceparent == "" {
		return nil
	}
	publisher := spanContext(q.Traceparent)
	if !publisher.IsSampled() {
		return nil
	}
	_, span := p.tracer.Start(context.Background(), Stages[of], trace.WithNewRoot(), trace.WithTimestamp(begun),
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(trace.Link{SpanContext: publisher}),
		trace.WithAttributes(attributeEvent.String(q.EventID), attributeOrder.String(q.OrderID), attributeRequest.String(string(q.Type))))
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

// spanContext reads a traceparent. It is not valid if that is none.
func spanContext(traceparent string) trace.SpanContext {
	carrier := propagation.MapCarrier{"traceparent": traceparent}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// traceOf is the field of a log line about a request that says whose trace it is of; none if it came without.
func traceOf(q *domain.Request) zap.Field {
	if publisher := spanContext(q.Traceparent); publisher.IsValid() {
		return zap.Stringer("trace_id", publisher.TraceID())
	}
	return zap.Skip()
}
