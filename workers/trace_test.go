package workers

import (
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"holdfast/domain"
)

const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestSpansAreForSampledRequestsOnly(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	p := &Pool{tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")}
	for _, c := range []struct {
		traceparent string
		spans       int
	}{
		{sampled, 1},
		{"", 0},
		{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 0}, // not sampled
		{"00-00000000000000000000000000000000-b7ad6b7169203331-01", 0},
		{"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", 0},
		{"00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 0},
		{sampled + "-more", 0},
		{sampled[:54], 0},
	} {
		before := len(recorder.Ended())
		p.traceResolve(&pending{request: domain.Request{Type: domain.RequestPurchase, Traceparent: c.traceparent}, answered: time.Now()}, &domain.Order{}, time.Now())
		if n := len(recorder.Ended()) - before; n != c.spans {
			t.Errorf("%q: %d spans, want %d", c.traceparent, n, c.spans)
		}
	}
}

func TestTracingCostsNothing(t *testing.T) {
	traced := sdktrace.NewTracerProvider().Tracer("test")
	for _, c := range []struct {
		what string
		pool *Pool
		of   *pending
	}{
		{"off", &Pool{}, &pending{request: domain.Request{Traceparent: sampled}}},
		{"not this request", &Pool{tracer: traced}, &pending{}},
	} {
		batch, replies := []domain.Incoming{{EntryID: "100-0", Request: c.of.request}}, make([]domain.Reply, 1)
		facts, settled := []domain.Fact{{Trace: c.of.request.Trace()}}, &line{order: domain.Order{Trace: c.of.request.Trace()}}
		if n := testing.AllocsPerRun(100, func() {
			c.pool.traceHold(time.Time{}, batch, replies, 100)
			c.pool.traceAuthorize(c.of, domain.Payment{}, nil)
			c.pool.traceResolve(c.of, &replies[0].Order, time.Time{})
			c.pool.tracePost(time.Time{}, facts)
			c.pool.traceSettle(time.Time{}, settled, ending{})
		}); n != 0 {
			t.Errorf("%s: %f allocations", c.what, n)
		}
	}
}
