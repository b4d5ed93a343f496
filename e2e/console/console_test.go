package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/e2e/program"
	"holdfast/e2e/torture"
)

var pictures = flag.Bool("pictures", false, "take the pictures of docs/console anew")

const untested = "THE CONSOLE IS NOT TESTED"

// The built files that are committed, and embedded, are what the sources are built to.
func TestBuiltFromTheSources(t *testing.T) {
	program.NodePackages(t, "../../console", untested)
	fresh := t.TempDir()
	build := exec.CommandContext(t.Context(), "npx", "vite", "build", "--outDir", fresh, "--emptyOutDir", "--logLevel", "warn")
	build.Dir = "../../console"
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	committed, built := files(t, "../../console/dist"), files(t, fresh)
	for name, text := range built {
		if !bytes.Equal(text, committed[name]) {
			t.Errorf("dist/%s is not what the sources say: make console, and commit it", name)
		}
	}
	for name := range committed {
		if built[name] == nil {
			t.Errorf("dist/%s is of nothing: make console, and commit it", name)
		}
	}
}

func files(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]byte, len(entries))
	for _, entry := range entries {
		if found[entry.Name()], err = os.ReadFile(filepath.Join(folder, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// What people do with it, in Chromium: drive.mjs.
func TestInTheBrowser(t *testing.T) {
	program.NodePackages(t, ".", untested)
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("!!! THERE IS NO chromium: " + untested + " IN A BROWSER")
	}
	if err := program.ClearEnvironment(); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "holdfast")
	if err := program.Build(binary); err != nil {
		t.Fatal(err)
	}
	dev := program.Start(t, "holdfast dev", exec.Command(binary, "dev", "--listen", "127.0.0.1:0", "--customers", "8", "-o", "json"))
	var at struct {
		Redis    string `json:"redis"`
		API      string `json:"api"`
		Gateway  string `json:"gateway"`
		Console  string `json:"console"`
		Admin    string `json:"admin_key"`
		Checkout string `json:"checkout_key"`
	}
	torture.Eventually(t, 20*time.Second, "it says where it is", func() error {
		if dev.Alive(); !strings.HasSuffix(dev.Stdout.String(), "\n") {
			return errors.New("not yet")
		}
		return nil
	})
	t.Cleanup(func() { dev.Stop(30 * time.Second) }) // it clears away what it has made
	if err := json.Unmarshal([]byte(dev.Stdout.String()), &at); err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(map[string]string{"sales": key(t, binary, at.Redis, "sales"), "admin": at.Admin, "checkout": at.Checkout, "hook": hook(t, binary, at.Redis)})
	if err != nil {
		t.Fatal(err)
	}
	letters(t, at.Redis)
	args := []string{"drive.mjs"}
	if *pictures {
		args = append(args, "../../docs/console")
	}
	drive := exec.CommandContext(t.Context(), "node", args...)
	drive.Env = append(os.Environ(), "CHROMIUM="+chromium, "API="+at.API, "CONSOLE="+at.Console, "GATEWAY="+at.Gateway, "HARM="+harm(t, at.Redis), "KEYS="+string(keys), "PEOPLE="+people(t, binary, at.Redis))
	said, err := drive.CombinedOutput()
	t.Logf("%s", said)
	if err != nil {
		t.Error(err)
	}
}

// key makes one.
func key(t *testing.T, binary, redisURL, role string) string {
	t.Helper()
	made, err := exec.CommandContext(t.Context(), binary, "keys", "create", "--redis", redisURL, "--role", role, "--name", "ana").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(made))
}

// people starts an API that takes a provider's word for who people are, and returns where it is.
func people(t *testing.T, binary, redisURL string) string {
	t.Helper()
	api := program.Start(t, "an API for people", exec.Command(binary, "api", "--console", "--listen", "127.0.0.1:0", "--redis", redisURL, "-o", "json",
		"--oidc-issuer", identities(t), "--oidc-client-id", "holdfast", "--oidc-group", "admin=owners", "--oidc-group", "sre=night-shift"))
	t.Cleanup(func() { api.Stop(30 * time.Second) })
	var at struct {
		URL string `json:"url"`
	}
	torture.Eventually(t, 20*time.Second, "it says where it is", func() error {
		api.Alive()
		return json.Unmarshal([]byte(api.Stdout.String()), &at)
	})
	return at.URL
}

// hook adds an endpoint of webhooks that takes everything, and returns where it is.
func hook(t *testing.T, binary, redisURL string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(server.Close)
	added := exec.CommandContext(t.Context(), binary, "webhooks", "add", server.URL, "--redis", redisURL, "--events", "order.confirmed", "--allow-private", "--by", "ana")
	if said, err := added.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return server.URL
}

// harm returns a URL that, when it is asked to, has more places be left of the event talk than there are.
func harm(t *testing.T, redisURL string) string {
	t.Helper()
	where, err := url.Parse(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: where.Host})
	t.Cleanup(func() { _ = rdb.Close() }) // nothing of it is needed any more
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for partition := range 4 {
			key := fmt.Sprintf("holdfast:{%d}:2:events", partition)
			stored, err := rdb.HGet(r.Context(), key, "talk/hall").Result()
			if errors.Is(err, redis.Nil) {
				continue
			}
			places := strings.Split(stored, "|") // price, capacity, available, held, sold
			if err == nil && len(places) == 5 {
				places[2] += "1"
				err = rdb.HSet(r.Context(), key, "talk/hall", strings.Join(places, "|")).Err()
			} else if err == nil {
				err = fmt.Errorf("the section is %q", stored)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
			return
		}
		http.Error(w, "there is no such event", http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// letters publishes what becomes dead letters: a request in a partition that is not its event's, and one under an order id that is taken.
func letters(t *testing.T, redisURL string) {
	t.Helper()
	where, err := url.Parse(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: where.Host})
	defer func() { _ = rdb.Close() }() // nothing of it is needed any more
	for _, r := range []struct {
		partition, quantity int
		order               string
	}{{0, 2, "astray"}, {2, 1, "twice"}, {2, 3, "twice"}} { // jazz-night is in partition 2 of 4
		fields := []any{
			"XADD", fmt.Sprintf("holdfast:{%d}:requests", r.partition), "*", "v", "1", "type", "purchase", "order_id", r.order, "customer_id", "amy-" + r.order,
			"event_id", "jazz-night", "section", "general", "quantity", r.quantity, "payment_token", "tok_visa",
		}
		if err := rdb.Do(t.Context(), fields...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}
