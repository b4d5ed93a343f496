package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"holdfast/api"
)

// Options of a Server.
type Options struct {
	Version, Revision, Go string      // of the program
	Pprof                 bool        // whether Go's profiles are served, under /debug/pprof/
	Log                   *zap.Logger // default: none
}

const (
	readTimeout    = 5 * time.Second // of a request, which has no body
	writeTimeout   = 15 * time.Second
	idleTimeout    = time.Minute
	maxHeaderBytes = 16 << 10
	mostAtOnce     = 8 // scrapes
	closeTimeout   = 2 * time.Second
)

// Server serves /metrics, /livez, /readyz and /backlog of one worker over HTTP, to whoever can reach it: nothing of it is a
// secret. It may serve before there is a worker. Use it once.
type Server struct {
	http    *http.Server
	log     *zap.Logger
	served  chan error
	ctx     context.Context // of looks
	stop    context.CancelFunc
	watched atomic.Pointer[watched]
}

// New returns a server that does not listen yet.
func New(o Options) *Server {
	s := newServer(o)
	mux := s.serve(o, collector{&s.watched})
	mux.HandleFunc("GET /livez", s.livez)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /backlog", s.backlog)
	if o.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return s
}

// NewForAPI returns a server of the metrics of an API, that does not listen yet. Whether the API lives is asked of itself.
func NewForAPI(o Options, stats *api.Stats) *Server {
	s := newServer(o)
	s.serve(o, apiCollector{stats})
	return s
}

func newServer(o Options) *Server {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Server{log: o.Log, served: make(chan error, 1), ctx: ctx, stop: stop}
}

// serve makes s serve what a collector has, beside what is of every process.
func (s *Server) serve(o Options, of prometheus.Collector) *http.ServeMux {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "holdfast_build_info", Help: "Which program this is: always 1.",
		ConstLabels: prometheus.Labels{"version": o.Version, "revision": o.Revision, "go": o.Go},
	})
	build.Set(1)
	registry.MustRegister(build, of, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: zap.NewStdLog(s.log), ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: mostAtOnce, EnableOpenMetrics: true,
	}))
	s.http = &http.Server{
		Handler: mux, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: zap.NewStdLog(s.log),
	}
	return mux
}

// Serve begins to answer, until Close.
func (s *Server) Serve(listener net.Listener) {
	go func() {
		err := s.http.Serve(listener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		} else {
			s.log.Error("metrics are not served any more", zap.Error(err))
		}
		s.served <- err
	}()
}

// Watch says of which worker is told, and how Redis is looked at. Call it once.
func (s *Server) Watch(w Worker, look Look) {
	s.watched.Store(&watched{w, &glance{look: look, log: s.log, ctx: s.ctx, timeout: lookTimeout}})
}

// Close ends what Serve began, and all looks at Redis: none goes on when it returns.
func (s *Server) Close() error {
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		if err := s.http.Close(); err != nil { // whoever still asks has waited long enough
			return fmt.Errorf("closing what was listened on: %w", err)
		}
	}
	if c := s.watched.Load(); c != nil {
		c.glance.looking.Wait()
	}
	if err := <-s.served; err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	return nil
}

// livez fails only if a restart may help: if a loop is stuck. That Redis or the payment gateway is away, a restart does not mend.
func (s *Server) livez(w http.ResponseWriter, _ *http.Request) {
	if c := s.watched.Load(); c != nil {
		if stuck := c.worker.Stuck(); len(stuck) > 0 {
			text := ""
			for _, loop := range stuck {
				text += fmt.Sprintf("stuck for %s: %s\n", loop.For.Round(time.Second), loop.Loop)
			}
			answer(w, http.StatusServiceUnavailable, text)
			return
		}
	}
	answer(w, http.StatusOK, "alive\n")
}

// readyz fails while nothing new is taken.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	c := s.watched.Load()
	if c == nil {
		answer(w, http.StatusServiceUnavailable, "not ready: it waits for redis\n")
		return
	}
	if err := c.worker.Ready(); err != nil {
		answer(w, http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
		return
	}
	answer(w, http.StatusOK, "ready\n")
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // whoever asked has gone
}

// Backlog is what /backlog says, for autoscalers: over all groups and partitions.
type Backlog struct {
	Backlog              int64   `json:"backlog"` // what waits, is in hand or is owed
	OldestWaitingSeconds float64 `json:"oldest_waiting_seconds"`
}

// backlog never says 0 for "not known": an autoscaler would switch the workers off.
func (s *Server) backlog(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	var figures Figures
	err := errors.New("the worker waits for redis")
	if c := s.watched.Load(); c != nil {
		figures, err = c.glance.figures()
	}
	var said any
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		said = map[string]string{"error": "not known: redis does not answer"}
	} else {
		var b Backlog
		for _, g := range figures.Groups {
			b.Backlog += g.Backlog
			b.OldestWaitingSeconds = max(b.OldestWaitingSeconds, seconds(g.OldestWaitingMillis))
		}
		said = b
	}
	_ = json.NewEncoder(w).Encode(said) // whoever asked has gone
}
