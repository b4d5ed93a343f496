package telemetry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"holdfast/domain"
)

const (
	flushTimeout   = 2 * time.Second // for the spans that are left at the end
	untoldFailures = time.Minute     // for so long after one failure of the export is said, no other is
	otlpExporter   = "otlp"
	httpProtobuf   = "http/protobuf"
)

// Tracing sends spans to a collector, with OTLP over HTTP, in the background: whatever becomes of that, nothing waits for
// it, and spans beyond the SDK's queue are dropped. Its zero value sends none.
type Tracing struct {
	provider *sdktrace.TracerProvider // nil: it is off
}

// StartTracing does what OpenTelemetry's standard environment variables say. Without OTEL_TRACES_EXPORTER=otlp, or an OTLP endpoint,
// tracing is off, and nothing runs. worker is the name of this one, version that of the program. Errors, of ClassFatal, say which variable cannot
// be followed.
func StartTracing(ctx context.Context, worker, version string, log *zap.Logger) (Tracing, error) {
	on, err := tracingAsked()
	if err != nil {
		return Tracing{}, domain.WithClass(domain.ClassFatal, err)
	}
	if !on {
		return Tracing{}, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return Tracing{}, domain.WithClass(domain.ClassFatal, fmt.Errorf("tracing: %w", err))
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attribute.String("service.name", "holdfast"),
		attribute.String("service.version", version), attribute.String("service.instance.id", worker)),
		resource.WithFromEnv()) // last, so that it has the last word
	if err != nil {
		return Tracing{}, domain.WithClass(domain.ClassFatal, errors.Join(fmt.Errorf("tracing: OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx)))
	}
	otel.SetErrorHandler(&exportFailures{log: log})
	return Tracing{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))}, nil
}

// tracingAsked reports whether the environment asks for tracing.
func tracingAsked() (bool, error) {
	env := func(name string) string { return strings.ToLower(strings.TrimSpace(os.Getenv(name))) }
	if env("OTEL_SDK_DISABLED") == "true" {
		return false, nil
	}
	switch env("OTEL_TRACES_EXPORTER") {
	case otlpExporter:
	case "none":
		return false, nil
	case "":
		if env("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
			return false, nil
		}
	default:
		return false, errors.New("OTEL_TRACES_EXPORTER: want otlp or none")
	}
	protocol := "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	if env(protocol) == "" {
		protocol = "OTEL_EXPORTER_OTLP_PROTOCOL"
	}
	if said := env(protocol); said != "" && said != httpProtobuf {
		return false, fmt.Errorf("%s: want %s", protocol, httpProtobuf)
	}
	return true, nil
}

// Tracer takes spans; nil if tracing is off.
func (t Tracing) Tracer() trace.Tracer {
	if t.provider == nil {
		return nil
	}
	return t.provider.Tracer("holdfast")
}

// Close sends the spans that are left, for 2 s at most: those that nobody takes by then are lost, and that is logged.
func (t Tracing) Close(log *zap.Logger) {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		log.Warn("the last spans were not sent", zap.Error(err))
	}
}

// exportFailures logs why spans are not sent: not each time, for there may be many a minute, and no sale depends on them.
type exportFailures struct {
	log *zap.Logger

	mu   sync.Mutex
	said time.Time
}

// Handle implements otel.ErrorHandler.
func (f *exportFailures) Handle(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.said) >= untoldFailures {
		f.said = now
		f.log.Warn("spans are not sent", zap.Error(err))
	}
}
