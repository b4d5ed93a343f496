package chart

import (
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	dir      = "../../deployments/helm/holdfast"
	rendered = "../deployments/testdata/rendered"
)

var update = flag.Bool("update", false, "keep what is rendered now")

type object = map[string]any

// variants are the values that the chart is rendered with: as it is, and with all that can be switched on.
var variants = map[string]object{
	"default": {},
	"full": {
		"partitions": 8,
		"secrets": object{
			"gatewayToken": object{"name": "holdfast", "key": "gateway-token"},
			"redisCA":      object{"name": "redis-ca", "key": "ca.crt"},
		},
		"image":  object{"pullSecrets": []any{object{"name": "registry"}}},
		"worker": object{"env": object{"HOLDFAST_CONCURRENCY": "1024", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "priorityClassName": "high", "nodeSelector": object{"pool": "sale"}, "tolerations": []any{object{"key": "sale", "operator": "Exists"}}, "secretEnv": object{"HOLDFAST_CODE_KEY": object{"name": "holdfast", "key": "code-key"}}},
		"api": object{
			"enabled": true, "env": object{"HOLDFAST_CONSOLE": "true"}, "secretEnv": object{"HOLDFAST_STRIPE_WEBHOOK_SECRET": object{"name": "holdfast", "key": "stripe-webhook-secret"}},
			"from": []any{object{"namespaceSelector": object{"matchLabels": object{"name": "ingress"}}}}, "priorityClassName": "high",
			"nodeSelector": object{"pool": "sale"}, "tolerations": []any{object{"key": "sale", "operator": "Exists"}},
		},
		"archive":       object{"url": "s3://books/holdfast?region=eu-central-1", "keepLog": "24h", "keepLogBytes": 50_000_000, "keepEvent": "720h"},
		"audit":         object{"secretEnv": object{"AWS_SECRET_ACCESS_KEY": object{"name": "holdfast", "key": "archive-key"}}},
		"compact":       object{"enabled": true, "keepSnapshots": 12, "secretEnv": object{"AWS_SECRET_ACCESS_KEY": object{"name": "holdfast", "key": "archive-owner-key"}}},
		"autoscaling":   object{"enabled": true},
		"networkPolicy": object{"apiPorts": []any{443}},
		"monitoring":    object{"enabled": true, "labels": object{"release": "prometheus"}, "manual": "https://wiki.example/holdfast/"},
	},
}

// Helm's own linter has nothing to say.
func TestLint(t *testing.T) {
	for name, values := range variants {
		linter := lint.RunAll(dir, values, "tickets")
		for _, m := range linter.Messages {
			if m.Severity > support.InfoSev { // an icon is recommended
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// What is kept is what Helm renders, and for Redis, which has no chart, kubectl apply -k.
func TestRendered(t *testing.T) {
	for name, values := range variants {
		keep(t, name+".yaml", "# sources: "+hash(t)+"\n"+render(t, values))
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../../deployments/redis")
	if err != nil {
		t.Fatal(err)
	}
	users, err := os.ReadFile("../../deployments/redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources.Resources() {
		if r.GetKind() == "Secret" { // the users change more often than the manifests: only looked at, not kept
			if data := r.GetDataMap(); strings.ReplaceAll(data["users.acl"], "\n", "") != base64.StdEncoding.EncodeToString(users) {
				t.Errorf("the users are %s", data)
			}
			r.SetDataMap(map[string]string{"users.acl": ""})
		}
	}
	text, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	keep(t, "redis.yaml", string(text))
}

func keep(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(rendered, name)
	if *update {
		if err := os.MkdirAll(rendered, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(kept) != text {
		t.Errorf("%s is not what is rendered now: make chart", file)
	}
}

func values(t *testing.T, with object) (common.Values, error) {
	t.Helper()
	chart, err := loader.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return util.ToRenderValues(chart, with, common.ReleaseOptions{Name: "holdfast", Namespace: "tickets", IsInstall: true, Revision: 1}, nil)
}

func render(t *testing.T, with object) string {
	t.Helper()
	chart, err := loader.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := values(t, with)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(chart, v)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if body := strings.TrimSpace(files[name]); body != "" && strings.HasSuffix(name, ".yaml") {
			fmt.Fprintf(&text, "---\n# %s\n%s\n", name, body)
		}
	}
	return text.String()
}

// hash is of all files of the chart: by it a rendering is known to be of these sources, without Helm.
func hash(t *testing.T) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		fmt.Fprintf(sum, "%s %d\n%s", filepath.ToSlash(name), len(text), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// A mistake in the values is refused, by its name, and not deployed.
func TestRefusedValues(t *testing.T) {
	for want, with := range map[string]object{
		"replicas":         {"worker": object{"replicas": "abc"}},
		"minReplicas":      {"autoscaling": object{"enabled": true, "minReplicas": 0}},
		"replica ":         {"worker": object{"replica ": 3}},
		"HOLDFAST":         {"worker": object{"env": object{"CONCURRENCY": "1"}}},
		"maxUnavailable":   {"disruption": object{"maxUnavailable": 0}},
		"partitions":       {"partitions": 1025},
		"/archive/keepLog": {"archive": object{"url": "s3://books", "keepLog": "a day"}},
		"reclaimAfter":     {"worker": object{"reclaimAfter": "15"}},
		"/api/replicas":    {"api": object{"replicas": 0}},
		"/api/from":        {"api": object{"from": []any{}}},
		"CONSOLE":          {"api": object{"env": object{"CONSOLE": "true"}}},
		"/api/secretEnv":   {"api": object{"secretEnv": object{"HOLDFAST_CODE_KEY": "the key itself"}}},
		"/image/tag":       {"image": object{"tag": ""}},
		"/networkPolicy":   {"networkPolicy": object{"from": []any{}}},
		"/secrets/gateway": {"secrets": object{"gateway": object{"name": "x", "password": "y"}}},
		"keepReplaced":     {"compact": object{"keepReplaced": "a day"}},
		"keepSnapshots":    {"compact": object{"keepSnapshots": 1}},
		"manual":           {"monitoring": object{"manual": "https://wiki.example"}},
	} {
		if _, err := values(t, with); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", with, err, want)
		}
	}
	chart, err := loader.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for want, with := range map[string]object{
		"maxReplicas is less than minReplicas": {"autoscaling": object{"enabled": true, "minReplicas": 11}},
		"compact.enabled wants archive.url":    {"compact": object{"enabled": true}},
	} {
		v, err := values(t, with)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := engine.Render(chart, v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", with, err, want)
		}
	}
}
