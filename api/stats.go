package api

import (
	"context"
	"io"
	"iter"
	"net/http"
	"sync/atomic"
	"time"
)

// Stats are what a server has counted since it started. They can be read while it answers.
type Stats struct {
	operations map[string]*operationStats
	names      []string
	inFlight   atomic.Int64
	waiting    atomic.Int64
}

// Bounds are those of the durations, in seconds.
var Bounds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}

// statusClasses are 1xx to 5xx.
const statusClasses = 5

type operationStats struct {
	counts   [statusClasses]atomic.Int64
	buckets  []atomic.Int64 // one more than Bounds
	sumNanos atomic.Int64
}

// otherOperation is what no endpoint is for, and what looks after processes.
const otherOperation = "other"

func newStats() *Stats {
	s := &Stats{operations: make(map[string]*operationStats)}
	s.add(otherOperation)
	return s
}

func (s *Stats) add(operation string) {
	s.operations[operation] = &operationStats{buckets: make([]atomic.Int64, len(Bounds)+1)}
	s.names = append(s.names, operation)
}

// Operation is what was counted of one endpoint.
type Operation struct {
	Name     string
	ByStatus [statusClasses]int64 // 1xx to 5xx
	Counts   []int64              // by Bounds, and what took longer
	Sum      float64              // seconds
}

// Operations are all endpoints.
func (s *Stats) Operations() iter.Seq[Operation] {
	return func(yield func(Operation) bool) {
		for _, name := range s.names {
			of := s.operations[name]
			o := Operation{Name: name, Counts: make([]int64, len(of.buckets)), Sum: time.Duration(of.sumNanos.Load()).Seconds()}
			for i := range of.counts {
				o.ByStatus[i] = of.counts[i].Load()
			}
			for i := range of.buckets {
				o.Counts[i] = of.buckets[i].Load()
			}
			if !yield(o) {
				return
			}
		}
	}
}

// InFlight is how many requests are being answered, and Waiting how many of them wait for an outcome.
func (s *Stats) InFlight() int64 { return s.inFlight.Load() }

// Waiting is how many requests wait for an outcome.
func (s *Stats) Waiting() int64 { return s.waiting.Load() }

// exchange is one request and its answer, as the outermost handler sees it.
type exchange struct {
	http.ResponseWriter
	status    int
	operation string
}

func (e *exchange) WriteHeader(status int) {
	if e.status == 0 {
		e.status = status
	}
	e.ResponseWriter.WriteHeader(status)
}

func (e *exchange) Write(b []byte) (int, error) {
	if e.status == 0 {
		e.status = http.StatusOK
	}
	return e.ResponseWriter.Write(b)
}

// WriteString is Write of a text that need not be copied for it.
func (e *exchange) WriteString(text string) (int, error) {
	if e.status == 0 {
		e.status = http.StatusOK
	}
	return io.WriteString(e.ResponseWriter, text)
}

// Unwrap is for http.ResponseController.
func (e *exchange) Unwrap() http.ResponseWriter { return e.ResponseWriter }

type exchangeKey struct{}

// begin says which endpoint a request is for.
func (s *Stats) begin(ctx context.Context, operation string) {
	if e, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		e.operation = operation
	}
}

// measured counts what a handler does, and sets what every answer has.
func (s *Server) measured(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		s.stats.inFlight.Add(1)
		e := &exchange{ResponseWriter: w, operation: otherOperation}
		defer func() {
			s.stats.inFlight.Add(-1)
			s.stats.done(e, time.Since(began))
		}()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		h.ServeHTTP(e, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, e)))
	})
}

func (s *Stats) done(e *exchange, took time.Duration) {
	of := s.operations[e.operation]
	class := e.status/100 - 1
	if class < 0 || class >= statusClasses { // it ended in a panic, before there was an answer
		class = statusClasses - 1
	}
	of.counts[class].Add(1)
	i := 0
	for i < len(Bounds) && took.Seconds() > Bounds[i] {
		i++
	}
	of.buckets[i].Add(1)
	of.sumNanos.Add(int64(took))
}
