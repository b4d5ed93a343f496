package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/e2e/program"
)

var (
	httpFor         = flag.Duration("http", 5*time.Second, "how long each load over HTTP goes on")
	httpConnections = flag.Int("connections", 128, "of a load over HTTP")
)

// BenchmarkHTTP loads the API, a process of its own beside a worker, over many connections that each ask again as soon as they are answered: orders that nobody waits
// for, orders with Prefer: wait, and what is left of an event.
func BenchmarkHTTP(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "holdfast")
	build := exec.Command("go", "build", "-o", binary, "./cmd/holdfast") // of the module above
	build.Dir = ".."
	if said, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	order := func(wait string) func(n int) string {
		return func(n int) string {
			body := fmt.Sprintf(`{"event_id":"event-%d","order_id":"01920000-0000-7000-8000-%012x","customer_id":"%s","quantity":2,"payment_token":"tok"}`, n%100, n, customerID(n))
			return fmt.Sprintf("POST /v1/orders HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer KEY\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", wait, len(body), body)
		}
	}
	for _, load := range []struct {
		name    string
		status  int
		request func(n int) string
	}{
		{"orders", http.StatusAccepted, order("")},
		{"orders-wait", http.StatusOK, order("Prefer: wait=10\r\n")},
		{"availability", http.StatusOK, func(n int) string {
			return fmt.Sprintf("GET /v1/events/event-%d HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer KEY\r\n\r\n", n%100)
		}},
	} {
		b.Run(load.name, func(b *testing.B) {
			for range b.N {
				loadHTTP(b, binary, load.status, load.request)
			}
		})
	}
}

func loadHTTP(b *testing.B, binary string, status int, request func(n int) string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+*httpFor)
	defer cancel()
	server := serverOf(b, "no")
	var h holdfast
	open(ctx, b, &h, server, makeEvents(100), 1_000_000)
	run := func(name string, args ...string) *program.Process {
		return program.Start(b, name, exec.Command(binary, append(args, "--redis", server.URL(), "-o", "json")...))
	}
	worker := run("worker", "worker", "--gateway", "simulator")
	keys := run("keys", "keys", "create", "--role", "admin", "--name", "bench")
	if code := keys.Wait(10 * time.Second); code != 0 {
		b.Fatalf("no key: %s", keys.Stderr.String())
	}
	var key struct {
		Key string `json:"key"`
	}
	must(b, json.Unmarshal([]byte(keys.Stdout.String()), &key))
	api := run("api", "api", "--listen", "127.0.0.1:0", "--rate", "1000000000")
	var at struct {
		Listen string `json:"listen"`
	}
	waitFor(ctx, b, func() bool { return json.Unmarshal([]byte(api.Stdout.String()), &at) == nil })

	latencies, failures := make([][]time.Duration, *httpConnections), make([]error, *httpConnections)
	var loading sync.WaitGroup
	from := time.Now()
	for c := range *httpConnections {
		loading.Go(func() {
			latencies[c], failures[c] = connection(ctx, at.Listen, status, from.Add(*httpFor), func(n int) string {
				return strings.Replace(request(n**httpConnections+c), "KEY", key.Key, 1)
			})
		})
	}
	loading.Wait()
	took := time.Since(from)
	must(b, errors.Join(failures...))
	all := slices.Concat(latencies...)
	slices.Sort(all)
	b.ReportMetric(float64(len(all))/took.Seconds(), "answers/s")
	b.ReportMetric(millis(percentile(all, 50)), "p50-ms")
	b.ReportMetric(millis(percentile(all, 99)), "p99-ms")
	b.ReportMetric(0, "ns/op")
	program.StopAll(api, worker)
}

// connection asks until a time, one after the other, on one connection.
func connection(ctx context.Context, address string, status int, until time.Time, request func(n int) string) (took []time.Duration, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	answers := bufio.NewReader(conn)
	for n := 0; ; n++ {
		from := time.Now()
		if from.After(until) {
			return took, nil
		}
		if _, err := io.WriteString(conn, request(n)); err != nil {
			return nil, err
		}
		if err := answer(answers, status); err != nil {
			return nil, err
		}
		took = append(took, time.Since(from))
	}
}

// answer reads one that has a length, with as little work as can be: the client is on the same two cores.
func answer(from *bufio.Reader, status int) error {
	first, length := "", -1
	for {
		line, err := from.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSpace(line)
		if first == "" {
			first = string(line)
		} else if len(line) == 0 {
			break
		} else if value, is := bytes.CutPrefix(line, []byte("Content-Length: ")); is {
			if _, err := fmt.Sscan(string(value), &length); err != nil {
				return err
			}
		}
	}
	if length < 0 || !strings.HasPrefix(first, fmt.Sprintf("HTTP/1.1 %d ", status)) {
		body, _ := from.Peek(min(max(length, 0), 300))
		return fmt.Errorf("%s, of %d bytes: %s", first, length, body)
	}
	_, err := from.Discard(length)
	return err
}
