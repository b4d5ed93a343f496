package deployments

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/e2e/program"
	"holdfast/streams/redistest"
)

type dashboard struct {
	SchemaVersion int `json:"schemaVersion"`
	Templating    struct {
		List []struct{ Name, Type string } `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
		Datasource   struct {
			UID string `json:"uid"`
		} `json:"datasource"`
	} `json:"targets"`
}

func readDashboard(t testing.TB) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, chart+"/files/dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Grafana would show panels on top of each other, and a query without a source as an error; it is not here to say so.
func TestDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.SchemaVersion == 0 || len(d.Panels) == 0 {
		t.Fatal("it is no dashboard")
	}
	ids, cells := make(map[int]bool), make(map[[2]int]string)
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.W == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s is not within the page", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken {
					t.Errorf("%s lies on %s", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" || !strings.Contains(target.Expr, `{job=~"$job"`) {
				t.Errorf("%s does not ask the Prometheus, or the job, that was chosen: %s", p.Title, target.Expr)
			}
		}
	}
	for _, want := range []string{"datasource", "job"} {
		if !slices.ContainsFunc(d.Templating.List, func(v struct{ Name, Type string }) bool { return v.Name == want }) {
			t.Errorf("there is no variable %s", want)
		}
	}
}

// Each query of the dashboard has an answer from a real Prometheus that has scraped two workers at work, and that evaluates the rules:
// none of them fires while all is well; and once no worker is there, it is the one that says so.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	prometheus := tool(t, "prometheus")
	redis := redistest.Start(t).URL()
	ok(t, redis, "events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=100000@1.00")
	first, at1 := worker(t, redis)
	second, at2 := worker(t, redis)
	holdfast(t, redis, "audit")

	dir, address := t.TempDir(), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	// A minute of the rules is a second here.
	fast := strings.NewReplacer("for: 1m", "for: 1s", "for: 30s", "for: 1s").Replace(read(t, rulesFile))
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\nscrape_configs:\n- job_name: holdfast\n  static_configs: [{targets: [%q, %q]}]\n",
		strings.TrimPrefix(at1, "http://"), strings.TrimPrefix(at2, "http://"))
	for name, text := range map[string]string{"rules.yaml": fast, "prometheus.yaml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server := program.Start(t, "Prometheus", exec.Command(prometheus, "--config.file", filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address))
	eventually(t, "Prometheus is ready", func() error { return is("http://"+address+"/-/ready", http.StatusOK) })

	n := 0
	sell := func() { // some of everything
		n++
		order := func(args ...string) {
			holdfast(t, redis, append([]string{"publish", "--event", "e1", "--wait", "--order", fmt.Sprintf("o%d-%d", n, len(args)), "--customer", fmt.Sprintf("c%d-%d", n, len(args))}, args...)...)
		}
		order("--token", "tok")
		order("--token", "decline", "--quantity", "1")
		order("--token", "tok", "--section", "balcony", "--quantity", "1")
		held := fmt.Sprintf("h%d", n)
		holdfast(t, redis, "publish", "--event", "e1", "--type", "hold", "--order", held, "--customer", held, "--wait")
		holdfast(t, redis, "publish", "--event", "e1", "--type", "pay", "--order", held, "--token", "decline", "--wait")
	}
	asked := make(map[string]string)
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			asked[target.Expr] = p.Title
		}
	}
	replace := strings.NewReplacer("$__rate_interval", "15s", "$job", ".*")
	eventually(t, "each query has an answer", func() error {
		sell()
		var errs []error
		for _, expr := range slices.Sorted(maps.Keys(asked)) {
			if err := answered(address, replace.Replace(expr)); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", asked[expr], err))
				continue
			}
			delete(asked, expr)
		}
		return errors.Join(errs...)
	})
	if err := answered(address, `holdfast_nothing{job=~".*"}`); err == nil {
		t.Error("a query of what is not there has an answer")
	}
	if firing := alerts(t, address); len(firing) > 0 {
		t.Errorf("all is well, and there fire %v", firing)
	}
	for _, w := range []*program.Process{first, second} {
		w.Stop(patience)
	}
	eventually(t, "it says that no worker is there", func() error {
		if firing := alerts(t, address); !slices.Equal(firing, []string{"HoldfastNoWorkers"}) {
			return fmt.Errorf("there fire %v", firing)
		}
		return nil
	})
	server.Stop(patience)
}

// answered is nil if a query has a value that is a number.
func answered(address, expr string) error {
	status, body, err := get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return err
	}
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
		return fmt.Errorf("%d: %s", status, body)
	}
	for _, sample := range answer.Data.Result {
		if v, err := strconv.ParseFloat(fmt.Sprint(sample.Value[1]), 64); err == nil && v == v {
			return nil
		}
	}
	return fmt.Errorf("no answer: %s", expr)
}

// alerts are the names of those that fire. A rule that cannot be evaluated is an error.
func alerts(t testing.TB, address string) (firing []string) {
	t.Helper()
	_, body, err := get("http://" + address + "/api/v1/rules")
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError, State string }
			}
		}
	}
	if err := errors.Join(err, json.Unmarshal([]byte(body), &answer)); err != nil || len(answer.Data.Groups) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	for _, r := range answer.Data.Groups[0].Rules {
		if r.Health == "err" {
			t.Errorf("%s: %s", r.Name, r.LastError)
		}
		if r.State == "firing" {
			firing = append(firing, r.Name)
		}
	}
	return firing
}
