package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/payments/paymentstest"
	"holdfast/payments/simulator"
	"holdfast/streams/redistest"
)

// A gateway that wants a token gets it with every call, and a new one as soon as the file has it.
func TestClientBearerToken(t *testing.T) {
	sim := newSimulator(t)
	var mu sync.Mutex
	valid, refused := domain.Secret("key-1"), 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		token := valid
		if r.Header.Get("Authorization") != "Bearer "+string(token) {
			refused++
		}
		mu.Unlock()
		simulator.RequireToken(simulator.Handler(sim), token).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	calls := func(client *Client, order string, want error, requests int) {
		t.Helper()
		mu.Lock()
		refused = 0
		mu.Unlock()
		for _, c := range paymentstest.Calls {
			_, err := paymentstest.Invoke(ctx, client, c, paymentstest.Name(order))
			paymentstest.CheckError(t, err)
			if errors.Is(err, domain.ErrMisconfigured) != (want != nil) {
				t.Errorf("%s: %v, want %v", c, err, want)
			}
			if err != nil && (strings.Contains(err.Error(), "key-") || !strings.Contains(err.Error(), "401") && want != nil) {
				t.Errorf("%s: %v", c, err)
			}
		}
		if _, err := client.Books(ctx); (err == nil) != (want == nil) || err != nil && strings.Contains(err.Error(), "key-") {
			t.Errorf("books: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if refused != requests {
			t.Errorf("%d requests were refused, want %d", refused, requests)
		}
	}
	write(" key-1\n")
	fromFile, fixed := newClient(t, server.URL, Options{TokenFile: file}), newClient(t, server.URL, Options{Token: "key-1"})
	none := newClient(t, server.URL, Options{})
	calls(fromFile, "a", nil, 0)
	calls(fixed, "b", nil, 0)
	calls(none, "c", domain.ErrMisconfigured, 6)

	// The key is changed at the gateway first.
	mu.Lock()
	valid = "key-2"
	mu.Unlock()
	calls(fromFile, "d", domain.ErrMisconfigured, 6)
	calls(fixed, "e", domain.ErrMisconfigured, 6)
	write("key-2")
	calls(fromFile, "f", nil, 1)
	calls(fromFile, "g", nil, 0)
	calls(fixed, "h", domain.ErrMisconfigured, 6)

	// A file that is gone, or damaged: the old token is still the one.
	for _, damage := range []func(){func() { write("two words") }, func() { write("") }, func() { _ = os.Remove(file) }} {
		damage()
		calls(fromFile, "i", nil, 0)
	}
	mu.Lock()
	valid = "key-3"
	mu.Unlock()
	calls(fromFile, "j", domain.ErrMisconfigured, 6)
	write("key-3\n")
	var running sync.WaitGroup
	for range 20 {
		running.Go(func() {
			if _, err := fromFile.Authorize(ctx, paymentstest.Request(paymentstest.Name("k"))); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
}

func TestClientRefusesBadCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("hunter2 hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]struct {
		url     string
		options Options
	}{
		"both":                  {"http://host", Options{Token: "hunter2", TokenFile: file}},
		"a space":               {"http://host", Options{Token: "hunter2 hunter2"}},
		"a line break":          {"http://host", Options{Token: "hunter2\nX: y"}},
		"too long":              {"http://host", Options{Token: domain.Secret(strings.Repeat("hunter2", 600))}},
		"a file with a space":   {"http://host", Options{TokenFile: file}},
		"a file that is none":   {"http://host", Options{TokenFile: file + "x"}},
		"a user and a token":    {"http://hunter2:hunter2@host", Options{Token: "hunter2"}},
		"certificates and http": {"http://host", Options{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}},
	} {
		if _, err := New(bad.url, bad.options); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A gateway that asks for a certificate, of an authority that only we know.
func TestClientCertificates(t *testing.T) {
	ours, other := redistest.NewAuthority(t), redistest.NewAuthority(t)
	in := time.Now().Add(time.Hour)
	its, mine, stranger := ours.Issue(in, "127.0.0.1"), ours.Issue(in, "client"), other.Issue(in, "client")
	pair, err := tls.LoadX509KeyPair(its.File, its.Key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	pem, err := os.ReadFile(ours.File)
	if err != nil || !clients.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(simulator.Handler(newSimulator(t)))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	for name, row := range map[string]struct {
		config *tls.Config
		works  bool
	}{
		"both know each other":   {ours.Client(mine), true},
		"no certificate":         {ours.Client(), false},
		"a stranger's":           {ours.Client(stranger), false},
		"another authority":      {other.Client(mine), false},
		"the system's, and none": {nil, false},
	} {
		client := newClient(t, server.URL, Options{TLS: row.config})
		for _, c := range paymentstest.Calls {
			_, err := paymentstest.Invoke(context.Background(), client, c, paymentstest.Name(name[:1]))
			paymentstest.CheckError(t, err)
			if errors.Is(err, domain.ErrMisconfigured) == row.works {
				t.Errorf("%s: %s: %v", name, c, err)
			}
		}
	}
}
