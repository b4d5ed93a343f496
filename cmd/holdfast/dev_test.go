package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/e2e/program"
)

// dev starts holdfast dev, and returns where everything is.
func dev(t *testing.T) (r *running, at object) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r = &running{t: t, stdout: new(program.Buffer), stderr: new(program.Buffer), cancel: cancel, done: make(chan int, 1)}
	go func() {
		r.done <- run(ctx, []string{"dev", "--listen", "127.0.0.1:0", "--customers", "20", "-o", "json"}, nil, r.stdout, r.stderr)
	}()
	t.Cleanup(func() { r.stop() })
	eventually(t, "it is up", func() bool { return strings.HasSuffix(r.stdout.String(), "\n") || len(r.done) > 0 })
	lines := decodeLines(t, r.stdout.String())
	if len(lines) != 1 {
		t.Fatalf("it says %s%s", r.stdout.String(), r.stderr.String())
	}
	return r, lines[0]
}

func TestDev(t *testing.T) {
	for _, c := range []struct {
		name     string
		embedded bool
	}{{"redis-server", false}, {"embedded", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			if c.embedded {
				t.Setenv("PATH", t.TempDir())
			}
			r, at := dev(t)
			expect(t, at, object{"embedded": c.embedded})
			text := func(name string) string { s, _ := at[name].(string); return s }
			web := &overHTTP{t, text("api"), text("checkout_key")}
			web.is(200, object{"state": "confirmed", "amount": 5000}, http.MethodPost, "/v1/orders", `{"event_id":"jazz-night","customer_id":"fred","quantity":2,"payment_token":"tok_visa"}`,
				"Idempotency-Key", "cart-1", "Prefer", "wait=15")
			all := web.as(text("admin_key"))
			eventually(t, "customers come", func() bool {
				sold := 0.0
				for _, event := range all.is(200, object{}, http.MethodGet, "/v1/sales", "")["events"].([]any) {
					n, _ := event.(object)["tickets_sold"].(float64)
					sold += n
				}
				return sold > 10
			})
			if said := execute(nil, "sales", "--redis", text("redis")); said.code != exitDone || !strings.Contains(said.stdout, "The Opera") {
				t.Errorf("sales: %+v", said)
			}
			if code := r.stop(); code != exitDone || r.stderr.String() != "" {
				t.Errorf("exit %d: %s", code, r.stderr.String())
			}
			address, _, _ := strings.Cut(strings.TrimPrefix(text("redis"), "redis://"), "/")
			address, _, _ = strings.Cut(address, "?")
			if c, err := net.Dial("tcp", address); err == nil {
				_ = c.Close()
				t.Error("its Redis is still there")
			}
			if left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	if r := execute(nil, "dev", "--redis", "redis://127.0.0.1:1"); r.code != exitUsage || !strings.Contains(r.stderr, "of its own") {
		t.Errorf("with a Redis: %+v", r)
	}
}
