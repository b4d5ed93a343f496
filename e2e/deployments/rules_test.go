package deployments

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const rulesFile = shipped + "/helm/holdfast/files/rules.yaml"

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t testing.TB) (all []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	decode(t, read(t, rulesFile), &file)
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no rules")
	}
	return all
}

func decode(t testing.TB, text string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

// Every rule fires when it should, and not below its limit; a rule that no test names would be one that nobody has seen fire.
func TestRules(t *testing.T) {
	t.Parallel()
	promtool := tool(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", rulesFile},
		{"test", "rules", shipped + "/prometheus/rules_test.yaml"},
		{"check", "config", "--syntax-only", shipped + "/prometheus/prometheus.yaml"},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	tests := read(t, shipped+"/prometheus/rules_test.yaml")
	for _, r := range rules(t) {
		if !strings.Contains(tests, `alertname="`+r.Alert+`"`) {
			t.Errorf("no test has %s fire", r.Alert)
		}
	}
}

var heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)

// anchors are those that a renderer of Markdown makes of headings.
func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
				return r
			}
			return -1
		}, strings.ToLower(h[1]))
		all[anchor] = true
	}
	return all
}

// Whoever is paged finds the section of the manual, and the manual names every alert.
func TestRulesLeadToTheManual(t *testing.T) {
	t.Parallel()
	manual := read(t, root+"/docs/operations.md")
	known := anchors(manual)
	for _, r := range rules(t) {
		file, anchor, _ := strings.Cut(r.Annotations["runbook"], "#")
		if file != "docs/operations.md" || !known[anchor] {
			t.Errorf("%s: there is no %q", r.Alert, r.Annotations["runbook"])
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s does not say what it is", r.Alert)
		}
		// Two limits of one figure are one row; HoldfastGateway… share theirs.
		name := strings.TrimSuffix(r.Alert, "Long")
		if !strings.Contains(manual, "`"+name+"`") && !strings.Contains(manual, "`"+name+"…`") &&
			!strings.Contains(manual, "`…"+strings.TrimPrefix(name, "HoldfastGateway")+"`") {
			t.Errorf("the manual does not name %s", r.Alert)
		}
	}
}
