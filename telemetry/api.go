package telemetry

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/api"
)

var (
	apiRequests = desc("api_requests_total", "Requests over HTTP that were answered, by endpoint and the first digit of the status.", "operation", "status")
	apiSeconds  = desc("api_request_seconds", "How long an answer took, waits for outcomes included.", "operation")
	apiInFlight = desc("api_requests_in_flight", "Requests that are being answered.")
	apiWaiting  = desc("api_requests_waiting", "Requests that wait for an outcome.")
)

// apiCollector reads, when it is asked, what an API has counted.
type apiCollector struct{ stats *api.Stats }

// Describe implements prometheus.Collector.
func (apiCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{apiRequests, apiSeconds, apiInFlight, apiWaiting} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c apiCollector) Collect(to chan<- prometheus.Metric) {
	m := metrics{to}
	m.gauge(apiInFlight, float64(c.stats.InFlight()))
	m.gauge(apiWaiting, float64(c.stats.Waiting()))
	for o := range c.stats.Operations() {
		for class, n := range o.ByStatus {
			if n > 0 {
				m.counter(apiRequests, n, o.Name, strconv.Itoa(class+1)+"xx")
			}
		}
		buckets := make(map[float64]uint64, len(api.Bounds))
		var sum uint64
		for i, n := range o.Counts {
			sum += uint64(n) //nolint:gosec // counts
			if i < len(api.Bounds) {
				buckets[api.Bounds[i]] = sum
			}
		}
		m.to <- prometheus.MustNewConstHistogram(apiSeconds, sum, o.Sum, buckets, o.Name)
	}
}
