package telemetry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"holdfast/workers"
)

// traced is a collector of one histogram.
type traced struct{ of workers.Histogram }

func (traced) Describe(chan<- *prometheus.Desc) {}

func (c traced) Collect(to chan<- prometheus.Metric) {
	metrics{to}.histograms(stages, []workers.Histogram{c.of})
}

func TestExemplars(t *testing.T) {
	const slow, fast = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"
	registry := prometheus.NewRegistry()
	registry.MustRegister(traced{workers.Histogram{
		Labels: []string{"hold"}, Bounds: []float64{.1, 1}, Counts: []int64{1, 0, 2}, Sum: 60.02,
		Exemplars: []workers.Exemplar{{Value: .02, TraceID: fast, At: time.UnixMilli(5000)}, {Value: 40, TraceID: slow, At: time.UnixMilli(7000)}},
	}})
	scrape := func(accept string) string {
		request := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
		request.Header.Set("Accept", accept)
		told := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(told, request)
		return told.Body.String()
	}
	text := scrape("application/openmetrics-text; version=1.0.0")
	for _, line := range []string{
		`holdfast_stage_seconds_bucket{stage="hold",le="0.1"} 1 # {trace_id="` + fast + `"} 0.02 5.0`,
		`holdfast_stage_seconds_bucket{stage="hold",le="1.0"} 1` + "\n",
		`holdfast_stage_seconds_bucket{stage="hold",le="+Inf"} 3 # {trace_id="` + slow + `"} 40.0 7.0`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("there is no %s in\n%s", line, text)
		}
	}
	if plain := scrape("text/plain"); strings.Contains(plain, "trace_id") {
		t.Errorf("the old format has no exemplars:\n%s", plain)
	}
}
