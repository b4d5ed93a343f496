package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/e2e/program"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

func compose(text string) (*types.Project, error) {
	file := shipped + "/compose.yaml"
	return loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir: shipped, ConfigFiles: []types.ConfigFile{{Filename: file, Content: []byte(text)}},
	}, func(o *loader.Options) {
		o.Profiles = []string{"*"}
		o.SetProjectName("holdfast", true)
	})
}

// The loader of "docker compose" takes it, and what it describes works: each service is run as it says, without the containers.
func TestCompose(t *testing.T) {
	t.Parallel()
	text := read(t, shipped+"/compose.yaml")
	project, err := compose(text)
	if err != nil {
		t.Fatal(err)
	}
	for mistake, with := range map[string]string{"stop_grace_period:": "stop_grace_periods:", "gateway: {condition: service_started}": "gatewy: {condition: service_started}"} {
		if _, err := compose(strings.Replace(text, mistake, with, 1)); err == nil {
			t.Errorf("%s is not noticed", with)
		}
	}
	for name, service := range project.Services {
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind {
				if _, err := os.Stat(volume.Source); err != nil {
					t.Errorf("%s mounts what is not there: %v", name, err)
				}
			}
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s is open to others: %v", name, port)
			}
		}
	}
	if bound := project.Services["redis"].Volumes; !slices.ContainsFunc(bound, func(v types.ServiceVolumeConfig) bool { return v.Type == types.VolumeTypeVolume && v.Target == "/data" }) {
		t.Error("what Redis keeps is gone with its container")
	}

	r := startRedis(t)
	gateway := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	run := func(name string, more ...string) *exec.Cmd {
		service := project.Services[name]
		cmd := exec.Command(holdfastBinary, slices.Concat(service.Command, more)...)
		cmd.Env = os.Environ()
		for variable, value := range service.Environment {
			to := strings.NewReplacer("redis:6379", r.address, "gateway:8080", gateway).Replace(*value)
			if variable == "HOLDFAST_LISTEN" {
				to = "127.0.0.1:0"
			}
			cmd.Env = append(cmd.Env, variable+"="+to)
		}
		for i := range cmd.Args {
			cmd.Args[i] = strings.NewReplacer("http://gateway:8080", "http://"+gateway).Replace(cmd.Args[i])
			if name == "gateway" && cmd.Args[i] == ":8080" {
				cmd.Args[i] = gateway
			}
		}
		return cmd
	}
	program.Start(t, "gateway", run("gateway"))
	worker := project.Services["worker"]
	if *worker.Deploy.Replicas != 3 {
		t.Errorf("%d workers", *worker.Deploy.Replicas)
	}
	grace, err := time.ParseDuration(*worker.Environment["HOLDFAST_GRACE"])
	if err != nil {
		t.Fatal(err)
	}
	within := time.Duration(*worker.StopGracePeriod)
	if within <= grace {
		t.Errorf("it is killed after %s, and may take %s to end", within, grace)
	}
	var workers []*program.Process
	for range *worker.Deploy.Replicas {
		workers = append(workers, program.Start(t, "worker", run("worker")))
	}
	for _, w := range workers {
		at := strings.TrimPrefix(listens(t, w), "http://")
		if test := worker.HealthCheck.Test; len(test) != 4 || test[0] != "CMD" || test[1] != "/holdfast" {
			t.Errorf("health check: %v", test)
		}
		health := exec.Command(holdfastBinary, worker.HealthCheck.Test[2:]...)
		health.Env = append(os.Environ(), "HOLDFAST_LISTEN="+at)
		if out, err := health.CombinedOutput(); err != nil {
			t.Errorf("not healthy: %v: %s", err, out)
		}
	}
	done := func(cmd *exec.Cmd) error {
		if out, err := cmd.CombinedOutput(); err != nil {
			return errors.New(string(out) + err.Error())
		}
		return nil
	}
	eventually(t, "an event is listed", func() error { return done(run("seed")) })
	if err := done(run("buy")); err != nil {
		t.Errorf("nothing is sold: %v", err)
	}
	sellOverHTTP(t, run, project.Services["api"])
	look := func(args ...string) *exec.Cmd {
		cmd := run("look")
		cmd.Args = append(cmd.Args[:1], args...)
		return cmd
	}
	eventually(t, "all is well", func() error { return done(look("check")) })
	eventually(t, "the books are right", func() error { return done(look("audit", "--gateway", "http://"+gateway)) })
	for _, w := range workers {
		w.Stop(within)
	}
}

// sellOverHTTP buys of the service api, with a key as the service key makes it.
func sellOverHTTP(t *testing.T, run func(name string, more ...string) *exec.Cmd, service types.ServiceConfig) {
	t.Helper()
	api := program.Start(t, "api", run("api", "-o", "json"))
	var listening struct{ Listen, URL string }
	eventually(t, "the API listens", func() error { return json.Unmarshal([]byte(api.Stdout.String()), &listening) })
	health := exec.Command(holdfastBinary, service.HealthCheck.Test[2:]...)
	health.Env = append(os.Environ(), "HOLDFAST_LISTEN="+listening.Listen)
	if out, err := health.CombinedOutput(); err != nil {
		t.Errorf("not healthy: %v: %s", err, out)
	}
	key, err := run("key").Output()
	if err != nil {
		t.Fatalf("no key: %v", err)
	}
	body := `{"event_id":"jazz-night","order_id":"http","customer_id":"amy","quantity":1,"payment_token":"tok_demo"}`
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, listening.URL+"/v1/orders", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Authorization": "Bearer " + strings.TrimSpace(string(key)), "Content-Type": "application/json", "Prefer": "wait=10"} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if said, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(said), `"state":"confirmed"`) {
		t.Errorf("%s: %s, %v", response.Status, said, err)
	}
	api.Stop(time.Duration(*service.StopGracePeriod))
}
