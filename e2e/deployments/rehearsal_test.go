package deployments

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/e2e/program"
	"holdfast/streams/redistest"
)

// What a rehearsal is. Each incident has parts of its own, so that none is seen in another's alerts.
const (
	// asShipped is with the rules as they are, and the scrapes that they are made for: half an hour.
	asShipped = "shipped"
	// shortened is with everything that rules wait for, and the time that rates are of, in seconds: minutes.
	shortened = "short"
	// drawn is for pictures: scrapes that a busy machine answers in time, too.
	drawn = "drawn"

	incidentPatience = 25 * time.Minute
	lookEvery        = 2 * time.Second
)

// rehearsal is what an incident happens to: a real Redis, a gateway, two workers, and a Prometheus with the rules.
type rehearsal struct {
	*testing.T
	how        string
	redis      *redistest.Server
	gateway    *front
	workers    [2]*program.Process
	listen     [2]string
	args       []string // of workers
	prometheus string
	archive    string
	published  []string // as lines of a file
}

func rehearse(t *testing.T, how string, args ...string) *rehearsal {
	prometheus := tool(t, "prometheus")
	r := &rehearsal{T: t, how: how, redis: redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"), gateway: newFront(t), archive: t.TempDir()}
	r.args = append(args, "--archive", "file://"+filepath.Join(r.archive, "store"))
	r.list()
	for i := range r.workers {
		r.listen[i] = fmt.Sprintf("127.0.0.1:%d", freePort(t))
		r.start(i)
	}
	rules, every := read(t, rulesFile), map[string]string{asShipped: "15s", shortened: "1s", drawn: "3s"}[how]
	if how == shortened {
		rules, every = regexp.MustCompile(`for: (30s|1m|2m|5m)\b`).ReplaceAllString(rules, "for: 1s"), "1s"
		rules = regexp.MustCompile(`\[(1m|2m|5m|15m)\]`).ReplaceAllString(rules, "[10s]")
	}
	config := fmt.Sprintf("global: {scrape_interval: %[1]s, evaluation_interval: %[1]s}\nrule_files: [rules.yaml]\nscrape_configs:\n- job_name: holdfast\n  static_configs: [{targets: [%[2]q, %[3]q]}]\n", every, r.listen[0], r.listen[1])
	dir := t.TempDir()
	for name, text := range map[string]string{"rules.yaml": rules, "prometheus.yaml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.prometheus = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	program.Start(t, "Prometheus", exec.Command(prometheus, "--config.file", filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", r.prometheus))
	eventually(t, "Prometheus is ready", func() error { return is("http://"+r.prometheus+"/-/ready", http.StatusOK) })
	return r
}

// until looks again and again, and returns how long that took.
func (r *rehearsal) until(what string, cond func() error) time.Duration {
	r.Helper()
	began, tick := time.Now(), time.NewTicker(lookEvery)
	defer tick.Stop()
	for err := cond(); err != nil; err = cond() {
		if time.Since(began) > incidentPatience {
			r.Fatalf("waited %s in vain: %s: %v", incidentPatience, what, err)
		}
		<-tick.C
	}
	return time.Since(began)
}

// start starts a worker, with these flags instead of the usual ones, if any.
func (r *rehearsal) start(i int, args ...string) {
	if len(args) == 0 {
		args = r.args
	}
	r.workers[i] = r.run(append([]string{"worker", "--name", fmt.Sprintf("web-%d", i+1), "--gateway", r.gateway.url(), "--listen", r.listen[i]}, args...)...)
	eventually(r, "a worker listens", func() error { return is("http://"+r.listen[i]+"/livez", http.StatusOK) })
}

func (r *rehearsal) run(args ...string) *program.Process {
	cmd := exec.Command(holdfastBinary, args...)
	cmd.Env = append(os.Environ(), "HOLDFAST_REDIS="+r.redis.URL())
	return program.Start(r, args[0], cmd)
}

// restart ends all workers in order, and starts them with other flags.
func (r *rehearsal) restart(args ...string) {
	for i, w := range r.workers {
		w.Stop(patience)
		r.start(i, args...)
	}
}

func (r *rehearsal) list() {
	r.ok("events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=10000000@1.00")
}

func (r *rehearsal) ok(args ...string) string { r.Helper(); return ok(r, r.redis.URL(), args...) }

// order notes an order, for publishing it now or later.
func (r *rehearsal) order() (line string) {
	n := len(r.published)
	line = fmt.Sprintf(`{"type":"purchase","event_id":"e1","order_id":"o%d","customer_id":"c%d","quantity":1,"payment_token":"tok"}`, n, n)
	r.published = append(r.published, line)
	return line
}

// publish publishes lines; what of it did not work is for publishing again.
func (r *rehearsal) publish(lines ...string) (said string, exit int) {
	file := filepath.Join(r.TempDir(), "orders.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		r.Fatal(err)
	}
	return holdfast(r, r.redis.URL(), "publish", "--file", file)
}

// sell publishes an order. That Redis takes none is no failure here: it is published again in the end.
func (r *rehearsal) sell() { _, _ = r.publish(r.order()) }

func (r *rehearsal) redisDo(args ...any) {
	r.Helper()
	client := r.redis.Client()
	defer func() { _ = client.Close() }() // it was only asked
	if err := client.Do(context.Background(), args...).Err(); err != nil {
		r.Fatalf("%v: %v", args, err)
	}
}

// well is nil if a check finds nothing.
func (r *rehearsal) well(ignored []string) error {
	args := []string{"check"}
	for _, code := range ignored {
		args = append(args, "--ignore", code)
	}
	if said, exit := holdfast(r, r.redis.URL(), args...); exit != 0 {
		return errors.New(said)
	}
	return nil
}

// front stands before a simulated gateway, which is a program of its own and forgets its payments when it ends: it can be away, or slow.
type front struct {
	t       testing.TB
	at      string
	to      *httputil.ReverseProxy
	server  *http.Server
	latency atomic.Int64 // nanoseconds
}

func newFront(t testing.TB) *front {
	behind := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	program.Start(t, "gateway", exec.Command(holdfastBinary, "gateway", "--listen", behind))
	eventually(t, "the gateway answers", func() error { _, _, err := get("http://" + behind + "/"); return err })
	f := &front{t: t, at: fmt.Sprintf("127.0.0.1:%d", freePort(t)), to: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind})}
	f.back()
	t.Cleanup(f.away)
	return f
}

func (f *front) url() string { return "http://" + f.at }

func (f *front) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	select {
	case <-time.After(time.Duration(f.latency.Load())):
		f.to.ServeHTTP(w, q)
	case <-q.Context().Done(): // who asked has left
	}
}

func (f *front) back() {
	listener, err := net.Listen("tcp", f.at)
	if err != nil {
		f.t.Fatal(err)
	}
	f.server = &http.Server{Handler: f}
	go func() { _ = f.server.Serve(listener) }() // until it is closed
}

func (f *front) away() { _ = f.server.Close() } // its connections end with it, whatever they say

// incident is one of those in the operations manual.
type incident struct {
	name   string
	args   []string           // of workers
	alert  string             // that is waited for
	also   []string           // others that are true then
	before func(r *rehearsal) // what makes it worse; nil: nothing
	hit    func(r *rehearsal)
	during func(r *rehearsal) // again and again until it is over; nil: nothing
	cause  string             // the command that names the cause
	says   string             // in which words
	mend   func(r *rehearsal)
	typed  string   // what that was
	left   []string // what a check still says for a while afterwards, and what is no sign that the cause lasts
}

// TestRehearseIncidents lets each incident of the operations manual happen to real parts, and prints the table that stands there: what fires and when, the
// command that names the cause, what mends it, and that all is well then: the check, the alerts and the audit, with all payments.
func TestRehearseIncidents(t *testing.T) {
	how := os.Getenv("REHEARSE")
	switch how {
	case "":
		t.Skip("half an hour: make rehearse")
	case asShipped, shortened:
	default:
		t.Fatalf("REHEARSE is %q, want %s or %s", how, asShipped, shortened)
	}
	rows := make([]string, len(incidents))
	t.Run("all", func(t *testing.T) { // ends when all of them have
		for n, i := range incidents {
			t.Run(i.name, func(t *testing.T) {
				t.Parallel()
				rows[n] = i.rehearse(rehearse(t, how, i.args...))
				t.Log("\n" + rows[n])
			})
		}
	})
	t.Logf("rules: %s\n| incident | alerts, after | what names the cause | what mends it | well after | alerts gone after |\n|---|---|---|---|---|---|\n%s", how, strings.Join(rows, "\n"))
}

func (i incident) rehearse(r *rehearsal) (row string) {
	r.until("an order is sold, and no alert fires", func() error {
		r.sell()
		if firing := alerts(r, r.prometheus); len(firing) > 0 {
			return fmt.Errorf("there fire %v", firing)
		}
		return errors.Join(answered(r.prometheus, `count_over_time(holdfast_redis_up[5m]) >= 2`), answered(r.prometheus, `sum(holdfast_orders_total{outcome="confirmed"}) > 0`))
	})
	if i.before != nil {
		i.before(r)
	}
	seen := make(map[string]time.Duration)
	began := time.Now()
	i.hit(r)
	r.until(i.alert, func() error {
		if i.during != nil {
			i.during(r)
		}
		firing := alerts(r, r.prometheus)
		for _, a := range firing {
			if _, known := seen[a]; !known {
				seen[a] = time.Since(began)
			}
			if r.how == asShipped && a != i.alert && !slices.Contains(i.also, a) {
				r.Errorf("%s fires, which is not the cause", a)
			}
		}
		if !slices.Contains(firing, i.alert) {
			return fmt.Errorf("there fire %v", firing)
		}
		return nil
	})

	took := r.until(i.cause+" names the cause", func() error {
		if said, _ := holdfast(r, r.redis.URL(), strings.Fields(i.cause)...); !strings.Contains(said, i.says) {
			if r.how == asShipped { // an alert that comes before anybody can say why would be of no use
				r.Errorf("holdfast %s does not say %q:\n%s", i.cause, i.says, said)
			}
			return errors.New(said)
		}
		return nil
	})

	mended := time.Now()
	i.mend(r)
	r.until("it is well", func() error { return r.well(i.left) })
	well := time.Since(mended)
	r.until("no alert fires any more", func() error {
		if i.during != nil {
			i.during(r)
		}
		if firing := alerts(r, r.prometheus); len(firing) > 0 {
			return fmt.Errorf("there fire %v", firing)
		}
		return nil
	})
	gone := time.Since(mended)

	// As a checkout does with what it is not sure of.
	if said, exit := r.publish(r.published...); exit != 0 {
		r.Errorf("publishing again: exit %d: %s", exit, said)
	}
	r.until("the audit finds nothing", func() error {
		if err := r.well(i.left); err != nil {
			return err
		}
		said, exit := holdfast(r, r.redis.URL(), "audit", "--gateway", r.gateway.url(), "-o", "json")
		var found struct{ Checked struct{ Orders int } }
		if err := json.Unmarshal([]byte(said), &found); err != nil || exit != 0 || found.Checked.Orders < len(r.published) {
			return fmt.Errorf("%d orders were published: %s", len(r.published), said)
		}
		return nil
	})

	var fired []string
	for _, a := range slices.SortedFunc(maps.Keys(seen), func(a, b string) int { return cmp.Compare(seen[a], seen[b]) }) {
		fired = append(fired, fmt.Sprintf("`%s` %.0f s", a, seen[a].Seconds()))
	}
	return fmt.Sprintf("| %s | %s | `holdfast %s`, %.1f s | %s | %.0f s | %.0f s |", i.name, strings.Join(fired, ", "), i.cause, took.Seconds(), i.typed, well.Seconds(), gone.Seconds())
}
