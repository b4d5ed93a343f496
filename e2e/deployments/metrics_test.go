package deployments

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/e2e/program"
	"holdfast/streams/redistest"
)

// worker starts one on a namespace of its own, with a simulated gateway; at is where it listens.
func worker(t testing.TB, redis string, args ...string) (p *program.Process, at string) {
	t.Helper()
	cmd := exec.Command(holdfastBinary, append([]string{"worker", "--gateway", "simulator", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), "HOLDFAST_REDIS="+redis)
	p = program.Start(t, "worker", cmd)
	at = listens(t, p)
	eventually(t, "a worker is ready", func() error { return is(at+"/readyz", http.StatusOK) })
	return p, at
}

var (
	selector = regexp.MustCompile(`\b((?:holdfast|process|go)_[a-z0-9_]+)\b(\{[^}]*\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)(=~?|!=)"([^"]*)"`)
	counting = regexp.MustCompile(`"metrics are served","at":"([^"]*)"`)
	series   = regexp.MustCompile(`(?m)^([a-z0-9_]+)(\{.*\})? [^ ]+$`)
)

// exported are the series of a worker, by name.
func exported(t testing.TB, at string) map[string][]string {
	t.Helper()
	status, text, err := get(at + "/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("%d: %v", status, err)
	}
	all := make(map[string][]string)
	for _, s := range series.FindAllStringSubmatch(text, -1) {
		all[s[1]] = append(all[s[1]], s[2])
	}
	return all
}

// missing says what of a query a worker does not export: a name, or a label's value. PromQL takes both for an empty answer.
func missing(expr string, all map[string][]string) error {
	found := selector.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 {
		return errors.New("it names no metric")
	}
	var errs []error
	for _, s := range found {
		if len(all[s[1]]) == 0 {
			errs = append(errs, fmt.Errorf("nothing exports %s", s[1]))
		}
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			if m[1] == "job" { // Prometheus's own
				continue
			}
			for value := range strings.SplitSeq(m[3], "|") {
				if !slices.ContainsFunc(all[s[1]], func(labels string) bool { return strings.Contains(labels, m[1]+`="`+value+`"`) }) {
					errs = append(errs, fmt.Errorf("nothing exports %s with %s %q", s[1], m[1], value))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// apiMetrics starts an API, and is where it tells what it has counted.
func apiMetrics(t testing.TB, redis string) (at string) {
	t.Helper()
	cmd := exec.Command(holdfastBinary, "api", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "HOLDFAST_REDIS="+redis)
	p := program.Start(t, "api", cmd)
	eventually(t, "an API serves metrics", func() error {
		found := counting.FindStringSubmatch(p.Stderr.String())
		if found == nil {
			return errors.New("it does not")
		}
		at = "http://" + found[1]
		return nil
	})
	return at
}

// What the rules and the dashboard ask for is what a worker, or an API, exports.
func TestAskedForIsThere(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t).URL()
	_, at := worker(t, redis, "--archive", "file://"+t.TempDir(), "--snapshot-every", "1s")
	ok(t, redis, "events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=1@1.00") // something to archive
	holdfast(t, redis, "audit")
	ok(t, redis, "webhooks", "add", "https://shop.example", "--events", "order.held")
	var all map[string][]string
	eventually(t, "a worker tells what Redis has", func() error {
		if all = exported(t, at); len(all["holdfast_backlog"]) == 0 || len(all["holdfast_audit_violations"]) == 0 || len(all["holdfast_archive_lag_seconds"]) == 0 || len(all["holdfast_archive_snapshot_lag_seconds"]) == 0 || len(all["holdfast_webhooks_state"]) == 0 {
			return errors.New("it does not")
		}
		return nil
	})
	for name, labels := range exported(t, apiMetrics(t, redis)) {
		all[name] = append(all[name], labels...)
	}
	for _, r := range rules(t) {
		if err := missing(r.Expr, all); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
	}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			if err := missing(target.Expr, all); err != nil {
				t.Errorf("%s: %v", p.Title, err)
			}
		}
	}
	for expr, want := range map[string]string{ // and what is not there is missed
		`holdfast_backlog_total`:                            "nothing exports holdfast_backlog_total",
		`rate(holdfast_orders_total{reason="soldout"}[1m])`: `reason "soldout"`,
		`max(holdfast_backlog{group=~"purchase|buying"})`:   `group "buying"`,
		`vector(1)`: "it names no metric",
		`holdfast_ready == 0 and holdfast_redis_is_up == 1`:          "holdfast_redis_is_up",
		`sum(rate(holdfast_gateway_seconds_count{outcome="x"}[1m]))`: `outcome "x"`,
	} {
		if err := missing(expr, all); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", expr, err, want)
		}
	}
}
