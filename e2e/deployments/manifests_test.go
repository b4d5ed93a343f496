package deployments

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/e2e/program"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/yannh/kubeconform/pkg/validator"
	"go.yaml.in/yaml/v3"
)

const (
	chart    = shipped + "/helm/holdfast"
	rendered = "testdata/rendered"
)

// hash is of all files of the chart, as e2e/chart makes it.
func hash(t testing.TB) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(chart, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(chart, path)
		text := read(t, path)
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", filepath.ToSlash(name), len(text), text) // a hash takes all
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// manifest is what of one is looked at here.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Replicas    *int
		Template    podTemplate
		JobTemplate struct {
			Spec struct{ Template podTemplate }
		} `yaml:"jobTemplate"`
		Ports []struct {
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
		MinReplicaCount int `yaml:"minReplicaCount"`
		Triggers        []struct {
			Type     string
			Metadata map[string]any
		}
	}
}

type podTemplate struct{ Spec pod }

type pod struct {
	GraceSeconds int `yaml:"terminationGracePeriodSeconds"`
	Containers   []container
}

type container struct {
	Args           []string
	Env            []variable
	Ports          []port
	LivenessProbe  probe `yaml:"livenessProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
}

type variable struct {
	Name, Value string
	ValueFrom   struct {
		SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
	} `yaml:"valueFrom"`
}

type port struct {
	Name          string
	ContainerPort int `yaml:"containerPort"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

func (m manifest) pod() pod {
	if len(m.Spec.JobTemplate.Spec.Template.Spec.Containers) > 0 {
		return m.Spec.JobTemplate.Spec.Template.Spec
	}
	return m.Spec.Template.Spec
}

func manifests(t testing.TB, name string) (all []manifest) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(read(t, filepath.Join(rendered, name))))
	for {
		var m manifest
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if m.Kind != "" {
			all = append(all, m)
		}
	}
}

func one(t testing.TB, all []manifest, kind, name string) manifest {
	t.Helper()
	i := slices.IndexFunc(all, func(m manifest) bool { return m.Kind == kind && m.Metadata.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s %s", kind, name)
	}
	return all[i]
}

func validate(t testing.TB, text string) (valid int, errs error) {
	t.Helper()
	v, err := validator.New([]string{"schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json"}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range v.Validate("manifests", io.NopCloser(strings.NewReader(text))) {
		switch result.Status {
		case validator.Valid:
			valid++
		case validator.Empty:
		default:
			errs = errors.Join(errs, fmt.Errorf("status %d: %w", result.Status, result.Err))
		}
	}
	return valid, errs
}

// What Helm has rendered of the chart as it is now is what Kubernetes, KEDA and the Prometheus operator take, with no field that
// they do not know.
func TestManifests(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"default.yaml": 5, "full.yaml": 16, "redis.yaml": 4} {
		text := read(t, filepath.Join(rendered, name))
		if name != "redis.yaml" && !strings.HasPrefix(text, "# sources: "+hash(t)+"\n") {
			t.Errorf("%s was rendered of another chart: make chart", name)
		}
		if valid, err := validate(t, text); err != nil || valid != want {
			t.Errorf("%s: %d are valid, want %d: %v", name, valid, want, err)
		}
	}
	text := read(t, filepath.Join(rendered, "full.yaml"))
	for right, wrong := range map[string]string{
		"containerPort: 9090": "containerPorts: 9090", "scaleTargetRef:": "scaleTargetRf:", "maxUnavailable: 1\n": "maxUnavailables: 1\n",
		"podMetricsEndpoints:": "podMetricEndpoints:", "policyTypes:": "policyType:", "concurrencyPolicy:": "concurrency:", "replicas: 2": "replicas: two",
	} {
		if _, err := validate(t, strings.Replace(text, right, wrong, 1)); err == nil {
			t.Errorf("%s is not noticed", wrong)
		}
	}
}

// Redis in Kubernetes has the configuration and the users that are shipped.
func TestRedisInKubernetes(t *testing.T) {
	t.Parallel()
	text := read(t, filepath.Join(rendered, "redis.yaml"))
	for _, line := range strings.Split(strings.TrimSpace(read(t, shipped+"/redis/redis.conf")), "\n") {
		if !strings.Contains(text, strings.TrimSpace(line)) {
			t.Errorf("%q is not in the manifests: make chart", line)
		}
	}
}

// KEDA takes what its trigger is told: it would ignore what it does not know.
func TestAutoscaler(t *testing.T) {
	t.Parallel()
	all := manifests(t, "full.yaml")
	scaled := one(t, all, "ScaledObject", "holdfast-worker")
	if scaled.Spec.MinReplicaCount < 1 {
		t.Error("it may scale to zero: nobody would end holds")
	}
	if d := one(t, all, "Deployment", "holdfast-worker"); d.Spec.Replicas != nil {
		t.Error("each upgrade would undo what the autoscaler has done")
	}
	schema, err := jsonschema.NewCompiler().Compile("schemas/keda-metrics-api.json")
	if err != nil {
		t.Fatal(err)
	}
	trigger := scaled.Spec.Triggers[0]
	if err := schema.Validate(trigger.Metadata); err != nil || trigger.Type != "metrics-api" || len(scaled.Spec.Triggers) != 1 {
		t.Errorf("%s: %v", trigger.Type, err)
	}
	if err := schema.Validate(map[string]any{"url": "http://x", "valueLocation": "backlog", "target": "5"}); err == nil {
		t.Error("an unknown parameter is not noticed")
	}
	// What it asks for is there.
	asked, err := url.Parse(trigger.Metadata["url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	service, c := one(t, all, "Service", "holdfast-worker"), one(t, all, "Deployment", "holdfast-worker").pod().Containers[0]
	if asked.Host != fmt.Sprintf("%s.tickets.svc:%d", service.Metadata.Name, service.Spec.Ports[0].Port) || service.Spec.Ports[0].TargetPort != c.Ports[0].Name {
		t.Errorf("it asks %s, and the service is %+v", asked, service)
	}
	_, at := worker(t, startRedis(t).url("worker"))
	var said map[string]any
	eventually(t, "a worker tells the backlog", func() error {
		status, body, err := get(at + asked.Path)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("%d: %w", status, err)
		}
		return json.Unmarshal([]byte(body), &said)
	})
	if _, is := said[trigger.Metadata["valueLocation"].(string)].(float64); !is {
		t.Errorf("%v is no number in %v", trigger.Metadata["valueLocation"], said)
	}
}

// command is what a container runs, with the secrets that it refers to.
func (c container) command(t testing.TB, secrets map[string]string) *exec.Cmd {
	t.Helper()
	values := make(map[string]string)
	env := os.Environ()
	for _, e := range c.Env {
		value := e.Value
		if ref := e.ValueFrom.SecretKeyRef; ref.Name != "" {
			secret, known := secrets[ref.Name+"/"+ref.Key]
			if !known {
				t.Fatalf("there is no secret %s/%s", ref.Name, ref.Key)
			}
			value = secret
		}
		if e.Name == "HOLDFAST_LISTEN" || e.Name == "HOLDFAST_METRICS" {
			if !slices.ContainsFunc(c.Ports, func(p port) bool { return value == fmt.Sprintf(":%d", p.ContainerPort) }) {
				t.Errorf("it listens at %s, and has the ports %v", value, c.Ports)
			}
			value = "127.0.0.1:0"
		}
		values[e.Name] = value
		env = append(env, e.Name+"="+value)
	}
	args := slices.Clone(c.Args)
	for i := range args {
		for name, value := range values {
			args[i] = strings.ReplaceAll(args[i], "$("+name+")", value)
		}
	}
	cmd := exec.Command(holdfastBinary, args...)
	cmd.Env = env
	return cmd
}

// What the chart describes works with the shipped users and configuration of Redis: workers start and are found alive and ready
// where the probes look, sell, end in time; the audit finds all well.
func TestPods(t *testing.T) {
	t.Parallel()
	r, gateway := startRedis(t), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	program.Start(t, "gateway", exec.Command(holdfastBinary, "gateway", "--listen", gateway))
	secrets := map[string]string{
		"holdfast/worker-redis-url": r.url("worker"), "holdfast/auditor-redis-url": r.url("auditor"), "holdfast/gateway-url": "http://" + gateway,
	}
	all := manifests(t, "default.yaml")
	deployment := one(t, all, "Deployment", "holdfast-worker")
	within := time.Duration(deployment.pod().GraceSeconds) * time.Second
	c := deployment.pod().Containers[0]
	var workers []*program.Process
	for range *deployment.Spec.Replicas {
		w := program.Start(t, "worker", c.command(t, secrets))
		workers = append(workers, w)
		at := listens(t, w)
		for _, probe := range []string{c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path} {
			eventually(t, probe, func() error { return is(at+probe, http.StatusOK) })
		}
	}
	ok(t, r.url("organizer"), "events", "create", "e1", "--name", "E", "--currency", "EUR", "--section", "general=9@1.00")
	ok(t, r.url("producer"), "publish", "--event", "e1", "--customer", "c", "--order", "o1", "--token", "tok", "--wait", "--fail-unless-confirmed")
	audit := one(t, all, "CronJob", "holdfast-audit").pod().Containers[0]
	eventually(t, "the audit finds all well", func() error {
		var out bytes.Buffer
		cmd := audit.command(t, secrets)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w: %s", err, out.String())
		}
		return nil
	})
	for _, w := range workers {
		w.Stop(within)
	}
	for _, e := range c.Env {
		if e.Name == "HOLDFAST_GRACE" {
			if grace, err := time.ParseDuration(e.Value); err != nil || within < grace+5*time.Second {
				t.Errorf("it is killed after %s, and may take %s to end (%v)", within, grace, err)
			}
		}
	}
	served := one(t, manifests(t, "full.yaml"), "Deployment", "holdfast-api")
	c = served.pod().Containers[0]
	c.Env = slices.DeleteFunc(c.Env, func(e variable) bool { return e.Name == "HOLDFAST_REDIS_CA" }) // this Redis has no certificate
	secrets["holdfast/api-redis-url"], secrets["holdfast/stripe-webhook-secret"] = r.url("api"), "whsec_c2VjcmV0"
	api := program.Start(t, "api", c.command(t, secrets))
	at := serves(t, api)
	for _, probe := range []string{c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path} {
		eventually(t, probe, func() error { return is(at+probe, http.StatusOK) })
	}
	eventually(t, "the console", func() error { return is(at+"/console/", http.StatusOK) })
	eventually(t, "who has no key", func() error { return is(at+"/v1/events/e1", http.StatusUnauthorized) })
	api.Stop(time.Duration(served.pod().GraceSeconds) * time.Second)

	compact := one(t, manifests(t, "full.yaml"), "CronJob", "holdfast-compact").pod().Containers[0]
	for i, arg := range compact.Args {
		if strings.HasPrefix(arg, "--archive=s3://") { // here it is a folder, with nothing in it yet
			compact.Args[i] = "--archive=file://" + t.TempDir()
		}
	}
	secrets["holdfast/archive-owner-key"] = "secret"
	if out, err := compact.command(t, secrets).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("compact: %v: %s", err, out)
	}

	init := one(t, manifests(t, "full.yaml"), "Job", "holdfast-init").pod().Containers[0]
	init.Env = slices.DeleteFunc(init.Env, func(e variable) bool { return e.Name == "HOLDFAST_REDIS_CA" }) // this Redis has no certificate
	other := startRedis(t)
	if out, err := init.command(t, map[string]string{"holdfast/worker-redis-url": other.url("worker")}).CombinedOutput(); err != nil {
		t.Errorf("init: %v: %s", err, out)
	}
	if n := other.client("admin").HGet(t.Context(), "holdfast:meta", "partitions").Val(); n != "8" {
		t.Errorf("%s partitions, want 8", n)
	}
}

// Every variable that is set is one that the program reads: it would not say that it does not know one.
func TestVariables(t *testing.T) {
	t.Parallel()
	known := make(map[string]string)
	check := func(where, command string, names ...string) {
		if known[command] == "" {
			known[command] = ok(t, "", command, "--help")
		}
		for _, name := range names {
			if strings.HasPrefix(name, "HOLDFAST_") && !strings.Contains(known[command], "$"+name) {
				t.Errorf("%s: %s does not know %s", where, command, name)
			}
		}
	}
	for _, file := range []string{"default.yaml", "full.yaml"} {
		for _, m := range manifests(t, file) {
			for _, c := range m.pod().Containers {
				for _, e := range c.Env {
					if e.Name != "HOLDFAST_GATEWAY" || m.Kind != "CronJob" { // which hands it on as a flag
						check(file, c.Args[0], e.Name)
					}
				}
			}
		}
	}
	project, err := compose(read(t, shipped+"/compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range project.Services {
		for name := range service.Environment {
			check("compose.yaml", service.Command[0], name)
		}
	}
	for _, file := range []string{unitFile, shipped + "/systemd/worker.env"} {
		for _, line := range strings.Split(read(t, file), "\n") {
			line = strings.TrimPrefix(strings.TrimPrefix(line, "# "), "Environment=")
			if name, _, is := strings.Cut(line, "="); is {
				check(file, "worker", name)
			}
		}
	}
	for _, line := range strings.Split(read(t, shipped+"/Dockerfile"), "\n") {
		if rest, is := strings.CutPrefix(line, "ENV "); is {
			name, _, _ := strings.Cut(rest, "=")
			check("Dockerfile", "worker", name)
		}
	}
}
