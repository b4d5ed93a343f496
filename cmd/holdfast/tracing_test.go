package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlpReceiver takes what is exported to it.
type otlpReceiver struct {
	*httptest.Server

	mu     sync.Mutex
	bodies bytes.Buffer
	spans  map[string][]*traces.Span // by the instance of the service
}

func startReceiver(t *testing.T) *otlpReceiver {
	r := &otlpReceiver{spans: make(map[string][]*traces.Span)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var export collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &export)
		}
		if err != nil || q.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", q.URL.Path, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.bodies.Write(body)
		for _, of := range export.ResourceSpans {
			attributes := make(map[string]string)
			for _, a := range of.Resource.Attributes {
				attributes[a.Key] = a.Value.GetStringValue()
			}
			if attributes["service.name"] != "tickets" {
				t.Errorf("the resource is %v", attributes)
			}
			for _, scope := range of.ScopeSpans {
				r.spans[attributes["service.instance.id"]] = append(r.spans[attributes["service.instance.id"]], scope.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func TestWorkersSendSpans(t *testing.T) {
	receiver := startReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	t.Setenv("OTEL_SERVICE_NAME", "tickets")
	h := start(t)
	h.event("e1")
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	sell := func(worker, order, traceparent string) {
		t.Helper()
		running := h.worker("--name", worker, "--roles", "purchase,maintenance")
		request := `{"type":"purchase","event_id":"e1","customer_id":"amy","quantity":1,"payment_token":"tok_secret","order_id":"` + order + `","traceparent":"` + traceparent + `"}`
		if r := execute(strings.NewReader(request), "publish", "--file", "-", "--wait", "--redis", h.url()); r.code != exitDone {
			t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
		}
		if code := running.stop(); code != exitDone || !strings.Contains(running.stderr.String(), `"tracing":true`) || strings.Contains(running.stderr.String(), "spans") {
			t.Errorf("exit %d:\n%s", code, running.stderr.String())
		}
	}
	sell("w1", "o1", "00-"+traceID+"-b7ad6b7169203331-01")
	sell("w2", "o2", "00-"+traceID+"-b7ad6b7169203332-01")
	sell("w3", "o3", "00-"+traceID+"-b7ad6b7169203333-00") // not sampled
	sell("w4", "o4", "forged")
	books := h.worker("--name", "books", "--roles", "posting,settlement") // another process, which has only what the orders keep
	h.drained()
	if code := books.stop(); code != exitDone {
		t.Errorf("exit %d:\n%s", code, books.stderr.String())
	}
	if o := h.json("orders", "show", "e1/o1")[0]; o["trace_id"] != traceID {
		t.Errorf("the order says trace %v", o["trace_id"])
	}
	if text := h.ok("pending", "explain", "e1/o1"); !strings.Contains(text, "trace_id "+traceID) {
		t.Errorf("explained without its trace:\n%s", text)
	}
	expect(t, h.one("pending", "explain", "e1/o1"), object{"trace_id": traceID})
	if o := h.one("pending", "explain", "e1/o3"); o["trace_id"] != nil {
		t.Errorf("an order that was not sampled is explained with trace %v", o["trace_id"])
	}
	// One that waits in line keeps nothing yet: its request tells it.
	waiting := `{"type":"purchase","event_id":"e1","customer_id":"bob","quantity":1,"payment_token":"tok_secret","order_id":"o5","traceparent":"00-` + traceID + `-b7ad6b7169203335-01"}`
	if r := execute(strings.NewReader(waiting), "publish", "--file", "-", "--redis", h.url()); r.code != exitDone {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	expect(t, h.one("pending", "explain", "e1/o5"), object{"stands": "waiting", "trace_id": traceID})
	if sheet := h.ok("orders", "show", "e1/o2"); !strings.Contains(sheet, traceID) {
		t.Errorf("the order says no trace:\n%s", sheet)
	}
	if o := h.json("orders", "show", "e1/o3")[0]; o["trace_id"] != nil {
		t.Errorf("an order that was not sampled says trace %v", o["trace_id"])
	}

	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	for worker, order := range map[string]string{"w1": "o1", "w2": "o2"} {
		steps := make(map[string]int)
		for _, span := range receiver.spans[worker] {
			steps[span.Name]++
			if len(span.Links) != 1 || !bytes.Equal(span.Links[0].TraceId, []byte("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c")) || bytes.Equal(span.TraceId, span.Links[0].TraceId) || len(span.ParentSpanId) > 0 {
				t.Errorf("%s: %v", span.Name, span)
			}
			found := false
			for _, a := range span.Attributes {
				found = found || a.Key == "holdfast.order_id" && a.Value.GetStringValue() == order
			}
			if !found {
				t.Errorf("%s is of no order %s: %v", span.Name, order, span.Attributes)
			}
		}
		if len(steps) != 3 || steps["hold"] != 1 || steps["authorize"] != 1 || steps["resolve"] != 1 {
			t.Errorf("%s has sent %v", worker, steps)
		}
	}
	var later []string
	for _, span := range receiver.spans["books"] {
		for _, a := range span.Attributes {
			if a.Key == "holdfast.order_id" && len(span.Links) == 1 && bytes.HasSuffix(span.Links[0].SpanId, []byte("\x33\x31")) == (a.Value.GetStringValue() == "o1") {
				later = append(later, span.Name+" "+a.Value.GetStringValue())
			}
		}
	}
	if slices.Sort(later); !slices.Equal(later, []string{"post o1", "post o2", "settle o1", "settle o2"}) {
		t.Errorf("another process has sent %v", later)
	}
	if len(receiver.spans) != 3 {
		t.Errorf("spans of %d workers, want 3", len(receiver.spans))
	}
	if bytes.Contains(receiver.bodies.Bytes(), []byte("tok_secret")) {
		t.Error("a payment token was sent")
	}
}

func TestWorkerWithoutCollector(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"+closedPort(t)+"/v1/traces")
	h := start(t)
	h.event("e1")
	worker := h.worker("--name", "w1")
	request := `{"type":"purchase","event_id":"e1","order_id":"o1","customer_id":"amy","quantity":1,"payment_token":"t","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`
	if r := execute(strings.NewReader(request), "publish", "--file", "-", "--wait", "--redis", h.url()); r.code != exitDone {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if code := worker.stop(); code != exitDone || !strings.Contains(worker.stderr.String(), "spans were not sent") && !strings.Contains(worker.stderr.String(), "spans are not sent") {
		t.Errorf("exit %d:\n%s", code, worker.stderr.String())
	}
}

func TestTracingIsRefused(t *testing.T) {
	h := start(t)
	for _, c := range []struct{ name, value string }{
		{"OTEL_TRACES_EXPORTER", "zipkin"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
			t.Setenv(c.name, c.value)
			checkFailure(t, h.run("worker", "--gateway", "simulator"), exitFailed, []string{c.name + ": want "}, []string{"worker"})
		})
	}
}

func TestTracingIsOff(t *testing.T) {
	for _, c := range []map[string]string{
		{},
		{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
		{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
	} {
		for name, value := range c {
			t.Setenv(name, value)
		}
		worker := start(t).worker()
		if code := worker.stop(); code != exitDone || !strings.Contains(worker.stderr.String(), `"tracing":false`) {
			t.Errorf("%v: exit %d:\n%s", c, code, worker.stderr.String())
		}
		for name := range c {
			t.Setenv(name, "")
		}
	}
}

// Whoever reads of a dead letter in the log is told which trace it is of, whether anybody traces or not.
func TestLogTellsTraces(t *testing.T) {
	h := start(t)
	h.event("e1")
	worker := h.worker()
	h.ok("publish", "--event", "e1", "--order", "o1", "--customer", "amy", "--token", "t", "--wait")
	other := `{"type":"purchase","event_id":"e1","order_id":"o1","customer_id":"bob","quantity":1,"payment_token":"t","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}`
	if r := execute(strings.NewReader(other), "publish", "--file", "-", "--redis", h.url()); r.code != exitDone {
		t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	eventually(t, "it is set aside", func() bool { return strings.Contains(worker.stderr.String(), `"set aside as dead letters"`) })
	for line := range strings.Lines(worker.stderr.String()) {
		if strings.Contains(line, `"set aside as dead letters"`) && !strings.Contains(line, `"trace_id":"0af7651916cd43dd8448eb211c80319c"`) {
			t.Errorf("it says %s", line)
		}
	}
	if code := worker.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
}
