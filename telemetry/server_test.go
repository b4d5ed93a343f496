package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"holdfast/workers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// worker is one of which a test says how it is.
type worker struct {
	stats workers.Stats
	ready error
	stuck []workers.Stuck
}

func (w *worker) Stats() *workers.Stats                            { return &w.stats }
func (w *worker) Ready() error                                     { return w.ready }
func (w *worker) Archived() (segments, bytes int64, archives bool) { return 3, 4000, true }
func (w *worker) SnapshotLags() map[int]int64                      { return map[int]int64{1: 2500} }

func (w *worker) Stuck() []workers.Stuck { return w.stuck }

// serve begins to serve, and returns the server and where it is.
func serve(t *testing.T, o Options) (*Server, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(o)
	s.Serve(listener)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s, "http://" + listener.Addr().String()
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func want(t *testing.T, url string, status int, words ...string) string {
	t.Helper()
	got, body := get(t, url)
	if got != status {
		t.Errorf("%s: %d, want %d: %s", url, got, status, body)
	}
	for _, word := range words {
		if !strings.Contains(body, word) {
			t.Errorf("%s does not say %q:\n%s", url, word, body)
		}
	}
	return body
}

func figures(context.Context) (Figures, error) {
	return Figures{
		Groups: []Group{
			{Partition: 0, Group: "purchase", Waiting: 3, InHand: 4, Backlog: 7, OldestWaitingMillis: 1500, Alive: 2},
			{Partition: 1, Group: "settlement", InHand: 1, Owed: 2, Backlog: 3, OldestWaitingMillis: 700, OldestInHandMillis: 60000},
		},
		DeadLetters: map[string]int64{"log": 5}, OverdueHolds: 6, OldestOverdueMillis: 2500, AwaitedOrders: 8, UnaskedMillis: 5500, DataReplaced: true, RefusesWrites: true, Paused: Paused{Events: 2, OldestMillis: 4500, Parked: 7}, Audits: []Audit{{Of: "books", Violations: 2, AgeMillis: 3500}},
	}, nil
}

func TestServer(t *testing.T) {
	s, at := serve(t, Options{Version: "v1.2.3", Revision: "abc", Go: "go1"})

	// Before there is a worker.
	want(t, at+"/livez", http.StatusOK, "alive")
	want(t, at+"/readyz", http.StatusServiceUnavailable, "waits for redis")
	want(t, at+"/backlog", http.StatusServiceUnavailable, "not known")
	want(t, at+"/metrics", http.StatusOK, `holdfast_build_info{go="go1",revision="abc",version="v1.2.3"} 1`, "holdfast_redis_up 0\n", "holdfast_ready 0\n", "go_goroutines", "process_open_fds")

	w := &worker{}
	s.Watch(w, figures)
	want(t, at+"/livez", http.StatusOK, "alive")
	want(t, at+"/readyz", http.StatusOK, "ready")
	var b map[string]float64
	if err := json.Unmarshal([]byte(want(t, at+"/backlog", http.StatusOK)), &b); err != nil || len(b) != 2 || b["backlog"] != 10 || b["oldest_waiting_seconds"] != 1.5 {
		t.Errorf("backlog: %v, %v", b, err)
	}
	text := want(t, at+"/metrics", http.StatusOK,
		"holdfast_redis_up 1\n", "holdfast_ready 1\n", "holdfast_stuck_loops 0\n",
		`holdfast_backlog{group="purchase",partition="0"} 7`, `holdfast_backlog{group="settlement",partition="1"} 3`,
		`holdfast_oldest_waiting_seconds{group="purchase",partition="0"} 1.5`, `holdfast_oldest_in_hand_seconds{group="settlement",partition="1"} 60`,
		`holdfast_owed{group="settlement",partition="1"} 2`, `holdfast_consumers_alive{group="purchase",partition="0"} 2`,
		`holdfast_dead_letters{stream="log"} 5`, "holdfast_overdue_holds 6\n", "holdfast_oldest_overdue_seconds 2.5\n", "holdfast_data_replaced 1\n", "holdfast_redis_refuses_writes 1\n",
		"holdfast_awaited_orders 8\n", "holdfast_oldest_unasked_seconds 5.5\n", `holdfast_attempts_total{result="declined"} 0`, `holdfast_attempts_total{result="action_required"} 0`,
		`holdfast_paused{what="everything"} 0`, `holdfast_paused{what="events"} 2`, "holdfast_oldest_pause_seconds 4.5\n", "holdfast_parked_requests 7\n",
		`holdfast_audit_violations{of="books"} 2`, `holdfast_audit_age_seconds{of="books"} 3.5`,
		`holdfast_orders_total{outcome="confirmed",reason=""} 0`, `holdfast_orders_total{outcome="rejected",reason="sold_out"} 0`,
		`holdfast_stage_seconds_bucket{stage="waiting",le="+Inf"} 0`, `holdfast_gateway_seconds_count{call="capture",result="answered"} 0`)
	if problems, err := promlint.New(strings.NewReader(text)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}

	w.ready, w.stuck = errors.New("it is ending"), []workers.Stuck{{Loop: "reading of purchase in partition 0", For: 90 * time.Second}}
	want(t, at+"/livez", http.StatusServiceUnavailable, "stuck for 1m30s: reading of purchase in partition 0")
	want(t, at+"/readyz", http.StatusServiceUnavailable, "it is ending")
	want(t, at+"/metrics", http.StatusOK, "holdfast_ready 0\n", "holdfast_stuck_loops 1\n")
	want(t, at+"/debug/pprof/", http.StatusNotFound)
	want(t, at+"/", http.StatusNotFound)
}

func TestPprof(t *testing.T) {
	_, at := serve(t, Options{Pprof: true})
	want(t, at+"/debug/pprof/", http.StatusOK, "goroutine")
	want(t, at+"/debug/pprof/goroutine?debug=1", http.StatusOK, "goroutine profile")
}

// What Redis told before is not told when it does not answer.
func TestRedisAway(t *testing.T) {
	s, at := serve(t, Options{})
	var looks atomic.Int64
	s.Watch(&worker{}, func(ctx context.Context) (Figures, error) {
		if looks.Add(1) == 1 {
			return figures(ctx)
		}
		return Figures{}, errors.New("refused at redis://secret")
	})
	want(t, at+"/metrics", http.StatusOK, "holdfast_redis_up 1\n", "holdfast_backlog{")
	deadline := time.Now().Add(20 * time.Second)
	for status := 0; status != http.StatusServiceUnavailable; status, _ = get(t, at+"/backlog") {
		if time.Now().After(deadline) {
			t.Fatal("what was seen first is told for ever")
		}
	}
	text := want(t, at+"/metrics", http.StatusOK, "holdfast_redis_up 0\n", "holdfast_orders_total{")
	for _, stale := range []string{"holdfast_backlog{", "holdfast_dead_letters", "holdfast_overdue_holds", "secret"} {
		if strings.Contains(text, stale) {
			t.Errorf("it says %s", stale)
		}
	}
	if text := want(t, at+"/backlog", http.StatusServiceUnavailable); strings.Contains(text, "secret") {
		t.Errorf("it says %s", text)
	}
}

// However many ask, Redis is looked at once, and a look that hangs keeps nobody.
func TestLooksAreShared(t *testing.T) {
	hang, begun := make(chan struct{}), make(chan struct{})
	var looks atomic.Int64
	g := &glance{log: zap.NewNop(), ctx: t.Context(), timeout: 20 * time.Second, look: func(ctx context.Context) (Figures, error) {
		looks.Add(1)
		close(begun)
		<-hang
		return figures(ctx)
	}}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if f, err := g.figures(); err != nil || len(f.Groups) != 2 {
				t.Errorf("%v, %v", f, err)
			}
		})
	}
	<-begun
	close(hang)
	all.Wait()
	if f, err := g.figures(); err != nil || len(f.Groups) != 2 { // within the same second, or another look panics
		t.Errorf("%v, %v", f, err)
	}
	if n := looks.Load(); n != 1 {
		t.Errorf("looked %d times", n)
	}
	g.looking.Wait()

	hang = make(chan struct{})
	looks.Store(0)
	deaf := &glance{log: zap.NewNop(), ctx: t.Context(), timeout: 50 * time.Millisecond, look: func(context.Context) (Figures, error) {
		looks.Add(1)
		<-hang
		return Figures{}, errors.New("too late")
	}}
	for range 3 {
		if _, err := deaf.figures(); err == nil || !strings.Contains(err.Error(), "has not answered within") {
			t.Errorf("a look that hangs: %v", err)
		}
	}
	if n := looks.Load(); n != 1 {
		t.Errorf("looked %d times beside one that hangs", n)
	}
	close(hang)
	deaf.looking.Wait()
}

// A client that sends nothing, or never ends, keeps no connection for ever.
func TestTimeouts(t *testing.T) {
	s := New(Options{})
	for name, d := range map[string]time.Duration{"read": s.http.ReadTimeout, "write": s.http.WriteTimeout, "idle": s.http.IdleTimeout} {
		if d <= 0 || d > time.Minute {
			t.Errorf("%s timeout: %s", name, d)
		}
	}
	s.stop()
}
