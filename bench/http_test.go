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
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/e2e/program"
)

var (
	httpFor         = flag.Duration("http", 5*time.Second, "how long each load over HTTP goes on")
	httpConnections = flag.Int("connections", 128, "of a load over HTTP")
	httpProgram     = flag.String("program", "", "holdfast, already built: what is loaded over HTTP instead of what is here")
)

// waitedPace is that of the goal for orders with a wait, and pacedConnections over how many they come: each has one under way at a time.
const (
	waitedPace       = 5000 // orders/s
	pacedConnections = 512
)

// BenchmarkHTTP loads the API, a process of its own beside a worker, over many connections: orders that nobody waits for, orders with Prefer: wait, as fast as they are
// answered and at a pace, and what is left of an event.
func BenchmarkHTTP(b *testing.B) {
	binary := builtProgram(b)
	order := func(wait string) func(n int) string {
		return func(n int) string {
			body := fmt.Sprintf(`{"event_id":"event-%d","order_id":"01920000-0000-7000-8000-%012x","customer_id":"%s","quantity":2,"payment_token":"tok"}`, n%100, n, customerID(n))
			return fmt.Sprintf("POST /v1/orders HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer KEY\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", wait, len(body), body)
		}
	}
	for _, load := range []httpLoad{
		{"orders", http.StatusAccepted, order(""), *httpConnections, 0},
		{"orders-wait", http.StatusOK, order("Prefer: wait=10\r\n"), *httpConnections, 0},
		{"orders-wait-paced", http.StatusOK, order("Prefer: wait=10\r\n"), pacedConnections, waitedPace},
		{"availability", http.StatusOK, func(n int) string {
			return fmt.Sprintf("GET /v1/events/event-%d HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer KEY\r\n\r\n", n%100)
		}, *httpConnections, 0},
	} {
		b.Run(load.name, func(b *testing.B) {
			for range b.N {
				load.run(b, binary)
			}
		})
	}
}

// builtProgram is where holdfast is.
func builtProgram(b *testing.B) string {
	b.Helper()
	if *httpProgram != "" {
		return *httpProgram
	}
	binary := filepath.Join(b.TempDir(), "holdfast")
	build := exec.Command("go", "build", "-o", binary, "./cmd/holdfast") // of the module above
	build.Dir = ".."
	if said, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	return binary
}

// served is an API, a process of its own beside a worker, with a key that may do anything.
type served struct {
	holdfast
	api    *program.Process
	worker *program.Process
	rdb    *redis.Client
	listen string
	key    string
}

// serve starts one with so many events.
func serve(ctx context.Context, b *testing.B, binary string, events int, args ...string) *served {
	b.Helper()
	server, s := serverOf(b, "no"), &served{}
	s.rdb = observer(b, server)
	open(ctx, b, &s.holdfast, server, makeEvents(events), 1_000_000)
	run := func(name string, args ...string) *program.Process {
		return program.Start(b, name, exec.Command(binary, append(args, "--redis", server.URL(), "-o", "json")...))
	}
	s.worker = run("worker", "worker", "--gateway", "simulator")
	keys := run("keys", "keys", "create", "--role", "admin", "--name", "bench")
	if code := keys.Wait(time.Minute); code != 0 {
		b.Fatalf("no key: %s", keys.Stderr.String())
	}
	var key struct {
		Key string `json:"key"`
	}
	must(b, json.Unmarshal([]byte(keys.Stdout.String()), &key))
	s.key = key.Key
	s.api = run("api", append([]string{"api", "--listen", "127.0.0.1:0", "--rate", "1000000000"}, args...)...)
	var at struct {
		Listen string `json:"listen"`
	}
	waitFor(ctx, b, func() bool { return json.Unmarshal([]byte(s.api.Stdout.String()), &at) == nil })
	s.listen = at.Listen
	return s
}

// httpSpent is what the processes have used up to a moment.
type httpSpent struct{ api, worker, redis time.Duration }

func (s *served) spent(ctx context.Context, b *testing.B) httpSpent {
	b.Helper()
	cpu := info(ctx, b, s.rdb, "cpu", "used_cpu_user") + info(ctx, b, s.rdb, "cpu", "used_cpu_sys")
	return httpSpent{processorTime(b, s.api), processorTime(b, s.worker), time.Duration(cpu * float64(time.Second))}
}

// report reports what each of n answers, or of whatever it is, cost since a moment.
func (s *served) report(ctx context.Context, b *testing.B, since httpSpent, n int, each string) {
	b.Helper()
	now := s.spent(ctx, b)
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(n) }
	b.ReportMetric(per(now.api-since.api), "api-µs/"+each)
	b.ReportMetric(per(now.worker-since.worker), "worker-µs/"+each)
	b.ReportMetric(per(now.redis-since.redis), "redis-µs/"+each)
}

// ticks is how many times a second Linux counts the processor time of processes.
const ticks = 100

// processorTime is what a process has used, in user mode and in the kernel's.
func processorTime(b *testing.B, p *program.Process) time.Duration {
	b.Helper()
	said, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
	must(b, err)
	_, rest, _ := strings.Cut(string(said), ") ") // what is before may have blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		b.Fatalf("of %s the system says %q", p.Name, said)
	}
	var sum int64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		must(b, err)
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks
}

// httpLoad is what is asked over and over.
type httpLoad struct {
	name        string
	status      int
	request     func(n int) string
	connections int
	pace        int // requests/s of all connections together; 0: each again as soon as it is answered
}

func (l httpLoad) run(b *testing.B, binary string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute+*httpFor)
	defer cancel()
	s := serve(ctx, b, binary, 100)
	latencies, failures := make([][]time.Duration, l.connections), make([]error, l.connections)
	var loading sync.WaitGroup
	since, from := s.spent(ctx, b), time.Now()
	for c := range l.connections {
		loading.Go(func() {
			due := func(int) time.Time { return time.Time{} }
			if l.pace > 0 {
				due = func(n int) time.Time {
					return from.Add(time.Duration(n*l.connections+c) * time.Second / time.Duration(l.pace))
				}
			}
			latencies[c], failures[c] = connection(ctx, s.listen, l.status, from.Add(*httpFor), due, func(n int) string {
				return strings.Replace(l.request(n*l.connections+c), "KEY", s.key, 1)
			})
		})
	}
	loading.Wait()
	took := time.Since(from)
	must(b, errors.Join(failures...))
	all := slices.Concat(latencies...)
	s.report(ctx, b, since, len(all), "answer")
	b.ReportMetric(float64(len(all))/took.Seconds(), "answers/s")
	b.ReportMetric(millis(percentile(all, 50)), "p50-ms")
	b.ReportMetric(millis(percentile(all, 99)), "p99-ms")
	b.ReportMetric(0, "ns/op")
	program.StopAll(s.api, s.worker)
}

// connection asks until a time, one after the other, on one connection. What was due before it could be asked has waited since then.
func connection(ctx context.Context, address string, status int, until time.Time, due func(n int) time.Time, request func(n int) string) (took []time.Duration, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	answers := bufio.NewReader(conn)
	for n := 0; ; n++ {
		from := time.Now()
		if at := due(n); !at.IsZero() {
			if err := wait(ctx, at.Sub(from)); err != nil {
				return nil, err
			}
			from = at
		}
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
