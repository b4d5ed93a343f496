package workers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

func TestSpansOfAPurchase(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	w := newWorld(t, redistest.Start(t), simulator.Options{})
	w.deps = func(d *workers.Deps) {
		d.Now = w.store.Now
		d.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
	}
	w.list("e", 1000, 3)
	pool := w.start(workers.Config{}, w.gateway, nil)
	w.eventually("it is ready", func() bool { return pool.Ready() == nil }) // and knows Redis's clock
	traceOf := func(n int) string { return fmt.Sprintf("%032x", n+1) }
	states := []domain.OrderState{domain.OrderConfirmed, domain.OrderRejected, domain.OrderDeclined}
	for i, quantity := range []int64{2, 2, 1} { // the second is too many
		r := request(domain.RequestPurchase, fmt.Sprintf("o%d", i), "fred", quantity)
		if states[i] == domain.OrderDeclined {
			r.PaymentToken = simulator.DeclineTokenPrefix + "tok_secret"
		}
		r.Traceparent = "00-" + traceOf(i) + "-b7ad6b7169203331-01"
		w.publish(r)
		w.waitState(r.OrderID, states[i])
	}
	w.publish(request(domain.RequestPurchase, "untraced", "amy", 1))
	w.waitState("untraced", domain.OrderConfirmed)
	w.waitDrained()
	if err := pool.stop(); err != nil {
		t.Fatal(err)
	}

	found := make(map[string]map[string]string) // trace and name of the step: its attributes
	for _, span := range recorder.Ended() {
		if span.Parent().IsValid() || span.SpanKind() != trace.SpanKindConsumer {
			t.Errorf("%s: parent %v, kind %s", span.Name(), span.Parent(), span.SpanKind())
		}
		if span.EndTime().Before(span.StartTime()) {
			t.Errorf("%s ends before it begins", span.Name())
		}
		if len(span.Links()) != 1 {
			t.Fatalf("%s has %d links", span.Name(), len(span.Links()))
		}
		attributes := make(map[string]string)
		for _, a := range span.Attributes() {
			attributes[string(a.Key)] = a.Value.String()
		}
		found[span.Links()[0].SpanContext.TraceID().String()+" "+span.Name()] = attributes
		if strings.Contains(fmt.Sprintf("%+v", tracetest.SpanStubFromReadOnlySpan(span)), "tok_secret") {
			t.Errorf("%s tells the payment token", span.Name())
		}
	}
	want := []struct {
		order             int
		step              string
		attribute, equals string
	}{
		{0, "hold", "holdfast.state", "held"},
		{0, "authorize", "holdfast.payment", "authorized"},
		{0, "resolve", "holdfast.state", "confirmed"},
		{0, "post", "holdfast.event_id", "e"},
		{0, "settle", "holdfast.state", "confirmed"},
		{1, "hold", "holdfast.reason", domain.ReasonSoldOut},
		{2, "hold", "holdfast.state", "held"},
		{2, "authorize", "holdfast.payment", "declined"},
		{2, "resolve", "holdfast.state", "declined"},
	}
	for _, c := range want {
		got := found[traceOf(c.order)+" "+c.step]
		if got[c.attribute] != c.equals || got["holdfast.order_id"] != fmt.Sprintf("o%d", c.order) || got["holdfast.event_id"] != "e" ||
			(got["holdfast.request_type"] == "purchase") != (c.step == "hold" || c.step == "authorize" || c.step == "resolve") {
			t.Errorf("%s of o%d: %v, want %s = %s", c.step, c.order, got, c.attribute, c.equals)
		}
	}
	for _, h := range pool.Stats().StageSeconds() {
		if len(h.Exemplars) == 0 {
			t.Errorf("no exemplar of %s", h.Labels[0])
		}
		for _, e := range h.Exemplars {
			if !slices.Contains([]string{traceOf(0), traceOf(1), traceOf(2)}, e.TraceID) || e.Value < 0 || e.At.IsZero() {
				t.Errorf("an exemplar of %s is %+v", h.Labels[0], e)
			}
		}
	}
	if len(recorder.Ended()) != len(want) {
		t.Errorf("%d spans, want %d: %v", len(recorder.Ended()), len(want), found)
	}
}
