package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var listening = regexp.MustCompile(`"msg":"listening","url":"(http://[^"]+)"`)

// listens is where a worker does.
func listens(t testing.TB, worker *running) string {
	t.Helper()
	var found []string
	eventually(t, "it listens", func() bool {
		found = listening.FindStringSubmatch(worker.stderr.String())
		return found != nil
	})
	return found[1]
}

// get returns the status 0 if nobody answers.
func get(t testing.TB, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// scrape is what /metrics says, by name and labels.
func scrape(t testing.TB, at string) map[string]float64 {
	t.Helper()
	status, text := get(t, at+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("%d: %s", status, text)
	}
	values := make(map[string]float64)
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		end := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		values[line[:end]] = v
	}
	return values
}

// sum is that of all series of a name whose labels contain all of these.
func sum(values map[string]float64, name string, labels ...string) (all float64) {
	for series, v := range values {
		if of, rest, _ := strings.Cut(series, "{"); of == name {
			all += v
			for _, label := range labels {
				if !strings.Contains("{"+rest, label) {
					all -= v
					break
				}
			}
		}
	}
	return all
}

func TestMetricsOfASale(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.ok("events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=3@10.00")
	worker := h.worker("--listen", "127.0.0.1:0", "--name", "w1")
	at := listens(t, worker)
	eventually(t, "it is ready", func() bool { status, _ := get(t, at+"/readyz"); return status == http.StatusOK })

	publish := func(args ...string) {
		t.Helper()
		h.run(append([]string{"publish", "--event", "e1", "--wait"}, args...)...) // its exit status is another test's
	}
	publish("--customer", "amy", "--order", "o1", "--token", "tok_secret", "--quantity", "2")
	publish("--customer", "bob", "--order", "o2", "--token", "tok_secret", "--quantity", "2")      // sold out
	publish("--customer", "cat", "--order", "o3", "--token", "decline")                            // declined
	publish("--type", "hold", "--customer", "dan", "--order", "o4", "--hold-seconds", "1")         // runs out
	publish("--customer", "eve", "--order", "o1", "--token", "tok_secret")                         // a conflict
	publish("--type", "cancel", "--order", "o1")                                                   // given up again
	publish("--customer", "bob", "--order", "o2", "--token", "tok_secret", "--quantity", "2")      // a repetition
	publish("--customer", "fay", "--order", "o5", "--token", "tok_secret", "--section", "balcony") // no such section
	var values map[string]float64
	is := func(want float64, name string, labels ...string) bool { return sum(values, name, labels...) == want }
	eventually(t, "it is all counted", func() bool {
		values = scrape(t, at)
		return is(1, "holdfast_orders_total", `outcome="expired"`) && is(1, "holdfast_dead_letters", `stream="requests"`) &&
			is(1, "holdfast_orders_total", `outcome="cancelled"`, `reason="requested"`) &&
			is(0, "holdfast_backlog") && is(0, "holdfast_overdue_holds") && is(0, "holdfast_in_hand_entries")
	})
	for series, want := range map[string]float64{
		`holdfast_orders_total{outcome="confirmed",reason=""}`:               1,
		`holdfast_orders_total{outcome="declined",reason=""}`:                1,
		`holdfast_orders_total{outcome="expired",reason=""}`:                 1,
		`holdfast_orders_total{outcome="held",reason=""}`:                    1,
		`holdfast_orders_total{outcome="rejected",reason="sold_out"}`:        1,
		`holdfast_orders_total{outcome="rejected",reason="unknown_section"}`: 1,
		`holdfast_orders_total{outcome="cancelled",reason="requested"}`:      1,
		`holdfast_dead_letters{stream="log"}`:                                0,
		"holdfast_set_aside_total":                                           1,
		"holdfast_overdue_holds":                                             0,
		"holdfast_data_replaced":                                             0,
		"holdfast_redis_refuses_writes":                                      0,
		"holdfast_redis_up":                                                  1,
		"holdfast_ready":                                                     1,
		"holdfast_in_hand_entries":                                           0,
		`holdfast_gateway_seconds_count{call="authorize",result="answered"}`: 2,
		`holdfast_stage_seconds_count{stage="authorize"}`:                    2,
		`holdfast_stage_seconds_count{stage="resolve"}`:                      2,
		`holdfast_stage_seconds_count{stage="posted"}`:                       1,
		`holdfast_redis_errors_total{class="retry"}`:                         0,
		`holdfast_retries_total{of="step"}`:                                  0,
	} {
		if got, there := values[series]; !there || got != want {
			t.Errorf("%s is %v (%v), want %v", series, got, there, want)
		}
	}
	for _, group := range []string{"purchase", "posting", "settlement"} {
		for p := range 4 {
			series := fmt.Sprintf(`holdfast_consumers_alive{group="%s",partition="%d"}`, group, p)
			if values[series] != 1 {
				t.Errorf("%s is %v", series, values[series])
			}
		}
	}
	if status, text := get(t, at+"/backlog"); status != http.StatusOK || text != `{"backlog":0,"oldest_waiting_seconds":0}`+"\n" {
		t.Errorf("backlog: %d %s", status, text)
	}
	for series := range values { // ids and tokens are no labels
		for _, id := range []string{"o1", "amy", "e1", "tok_"} {
			if strings.HasPrefix(series, "holdfast_") && strings.Contains(series, `"`+id) {
				t.Errorf("%s names %s", series, id)
			}
		}
	}
	if code := worker.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	if status, _ := get(t, at+"/livez"); status != 0 {
		t.Errorf("it still answers: %d", status)
	}
}

func TestListenThroughAnOutage(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.server.Kill()
	// It listens before there is a Redis.
	worker := h.background(nil, "worker", "--gateway", "simulator", "--simulator-timeout-rate", "1", "--grace", "5s", "--listen", "127.0.0.1:0")
	at := listens(t, worker)
	self := func() int { return execute(nil, "check", "--self", strings.TrimPrefix(at, "http://")).code }
	if status, text := get(t, at+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "waits for redis") {
		t.Errorf("ready: %d %s", status, text)
	}
	if code := self(); code != exitDone {
		t.Errorf("a worker that waits for Redis does not live: exit %d", code)
	}
	ready := func(want int) func() bool {
		return func() bool { status, _ := get(t, at+"/readyz"); return status == want }
	}
	h.server.Restart()
	eventually(t, "it is ready", ready(http.StatusOK))
	eventually(t, "it knows what waits", func() bool { _, known := scrape(t, at)["holdfast_overdue_holds"]; return known })

	h.server.Kill()
	eventually(t, "it is not ready", ready(http.StatusServiceUnavailable))
	var values map[string]float64
	eventually(t, "it says so", func() bool { values = scrape(t, at); return values["holdfast_redis_up"] == 0 })
	for _, name := range []string{"holdfast_backlog", "holdfast_oldest_waiting_seconds", "holdfast_dead_letters", "holdfast_overdue_holds"} {
		for series := range values {
			if strings.HasPrefix(series, name) {
				t.Errorf("it tells %s, which it cannot know", series)
			}
		}
	}
	if values["holdfast_redis_errors_total{class=\"retry\"}"] == 0 {
		t.Error("no error of Redis is counted")
	}
	if status, text := get(t, at+"/backlog"); status != http.StatusServiceUnavailable || strings.Contains(text, "backlog\":") {
		t.Errorf("backlog: %d %s", status, text)
	}
	if code := self(); code != exitDone {
		t.Errorf("a worker whose Redis is away does not live: exit %d", code)
	}

	h.server.Restart()
	eventually(t, "it is ready again", ready(http.StatusOK))
	h.event("e1")
	h.ok("publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "t")
	eventually(t, "it has it in hand", func() bool { return scrape(t, at)["holdfast_in_hand_entries"] == 1 })
	eventually(t, "an autoscaler sees it", func() bool { _, text := get(t, at+"/backlog"); return strings.Contains(text, `"backlog":1,`) })
	worker.cancel()
	eventually(t, "it is ending", func() bool { _, text := get(t, at+"/readyz"); return strings.Contains(text, "ending") })
	if status, _ := get(t, at+"/livez"); status != http.StatusOK {
		t.Errorf("it does not live while it ends: %d", status)
	}
	if code := worker.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	if code := self(); code != exitFailed {
		t.Errorf("nobody is there: exit %d", code)
	}
}

func TestListenUsage(t *testing.T) {
	t.Parallel()
	h := start(t)
	first := h.worker("--listen", "127.0.0.1:0", "--pprof", "--log-level", "info")
	at := strings.TrimPrefix(listens(t, first), "http://")
	h.fails(exitFailed, []string{"cannot listen", "address already in use", "--listen"}, "worker", "--gateway", "simulator", "--listen", at)
	h.fails(exitUsage, []string{"--listen", "HOST:PORT"}, "worker", "--gateway", "simulator", "--listen", "nowhere")
	h.fails(exitUsage, []string{"--pprof", "--listen"}, "worker", "--gateway", "simulator", "--pprof")
	if status, _ := get(t, "http://"+at+"/debug/pprof/"); status != http.StatusOK {
		t.Errorf("pprof: %d", status)
	}
}

func TestCheckSelf(t *testing.T) {
	h := start(t)
	worker := h.worker("--listen", "127.0.0.1:0")
	at := strings.TrimPrefix(listens(t, worker), "http://")
	_, port, _ := strings.Cut(at, ":")
	for _, args := range [][]string{{"--self", at}, {at, "--self"}, {"--self", ":" + port}, {"--self", "0.0.0.0:" + port}} {
		if r := execute(nil, append([]string{"check"}, args...)...); r.code != exitDone || r.stdout != "HOLDFAST OK - alive\n" {
			t.Errorf("%v: exit %d: %s%s", args, r.code, r.stdout, r.stderr)
		}
	}
	t.Setenv("HOLDFAST_LISTEN", at)
	if r := execute(nil, "check", "--self", "-o", "json"); r.code != exitDone || !strings.Contains(r.stdout, `"alive":true`) {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	r := execute(nil, "check", "--self", closedPort(t))
	if r.code != exitFailed || !strings.HasPrefix(r.stdout, "HOLDFAST CRITICAL - nobody answers") || r.stderr != "" {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	t.Setenv("HOLDFAST_LISTEN", "")
	for _, args := range [][]string{{"--self"}, {"--self", "nowhere"}, {at}, {"--self", at, "--forget-replaced"}} {
		if r := execute(nil, append([]string{"check"}, args...)...); r.code != int(levelUnknown) || !strings.Contains(r.stderr, "--self") {
			t.Errorf("%v: exit %d: %s", args, r.code, r.stderr)
		}
	}
}

// What answers, but is no worker that lives, is not taken for one.
func TestCheckSelfOfAnother(t *testing.T) {
	for status, says := range map[int]string{
		http.StatusServiceUnavailable: "stuck for 2m0s: reading", http.StatusNotFound: "is no worker's", http.StatusFound: "sends elsewhere",
	} {
		server := serveStatus(t, status, "stuck for 2m0s: reading\n")
		r := execute(nil, "check", "--self", strings.TrimPrefix(server, "http://"))
		if r.code != exitFailed || !strings.HasPrefix(r.stdout, "HOLDFAST CRITICAL - ") || !strings.Contains(r.stdout, says) {
			t.Errorf("%d: exit %d: %s%s", status, r.code, r.stdout, r.stderr)
		}
	}
}

func serveStatus(t *testing.T, status int, text string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
