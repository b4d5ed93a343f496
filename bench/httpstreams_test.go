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
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/domain"
	"holdfast/e2e/program"
)

var (
	httpStreams = flag.Int("streams", 10_000, "streams of updates that are open at a time")
	httpRounds  = flag.Int("rounds", 10, "changes of each event that those who listen are told of")
)

// BenchmarkHTTPStreams has many listen to events over HTTP (server-sent events), each on a connection of its own and with a customer's token of its own, and
// changes the events. A delay is from before the change is asked for at Redis until a listener has the update of it.
func BenchmarkHTTPStreams(b *testing.B) {
	binary := builtProgram(b)
	for _, events := range []int{100, 1} {
		b.Run(name("events", events), func(b *testing.B) {
			for range b.N {
				listenHTTP(b, binary, events)
			}
		})
	}
}

func listenHTTP(b *testing.B, binary string, events int) {
	var files syscall.Rlimit
	must(b, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	if need := uint64(*httpStreams) + 500; files.Max < need { // Go raises its own limit to this one, in the API, too
		b.Fatalf("%d streams: this system lets a process have %d files, and %d are needed (ulimit -H -n): say -streams for fewer", *httpStreams, files.Max, need)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	s := serve(ctx, b, binary, events, "--max-waits", strconv.Itoa(*httpStreams))
	quiet := residentMB(b, s.api)

	listeners := make([]*listener, *httpStreams)
	defer func() {
		for _, l := range listeners {
			if l != nil {
				must(b, l.conn.Close())
			}
		}
	}()
	must(b, eachOf(*httpStreams, 64, func(i int) (err error) {
		for { // who is told that Redis was too slow comes again
			if listeners[i], err = s.listener(ctx, i, fmt.Sprintf("event-%d", i%events)); !errors.Is(err, errNotNow) {
				return err
			}
			if err := wait(ctx, time.Second); err != nil {
				return err
			}
		}
	}))

	const idleFor = 5 * time.Second
	since := s.spent(ctx, b)
	must(b, wait(ctx, idleFor))
	idle := s.spent(ctx, b)
	b.ReportMetric(100*(idle.api-since.api).Seconds()/idleFor.Seconds(), "idle-%-of-a-core")

	delays, failures := make([]time.Duration, 0, *httpRounds**httpStreams), make([]error, *httpStreams)
	since = s.spent(ctx, b)
	for range *httpRounds {
		must(b, wait(ctx, 300*time.Millisecond+rand.N(250*time.Millisecond))) // at any point of the API's looks at events
		changed := make([]time.Time, events)
		heard := make([]time.Time, *httpStreams)
		var hearing sync.WaitGroup
		for i, l := range listeners {
			hearing.Go(func() { heard[i], failures[i] = l.next() })
		}
		must(b, eachOf(events, 8, func(e int) error {
			changed[e] = time.Now()
			_, err := s.store.Events().Adjust(ctx, fmt.Sprintf("event-%d", e), func(t domain.Terms) (domain.Terms, error) {
				t.Sections[0].Capacity++
				return t, nil
			})
			return err
		}))
		hearing.Wait()
		must(b, errors.Join(failures...))
		for i := range listeners {
			delays = append(delays, heard[i].Sub(changed[i%events]))
		}
	}
	s.report(ctx, b, since, len(delays), "update")
	b.ReportMetric(millis(percentile(delays, 50)), "p50-ms")
	b.ReportMetric(millis(percentile(delays, 99)), "p99-ms")
	b.ReportMetric(millis(percentile(delays, 100)), "max-ms")
	b.ReportMetric(residentMB(b, s.api), "MB")
	b.ReportMetric(quiet, "MB-without")
	b.ReportMetric(0, "ns/op")
	program.StopAll(s.api, s.worker)
}

// listener is a stream of updates.
type listener struct {
	conn net.Conn
	from *bufio.Reader
}

var errNotNow = errors.New("not now")

// listener opens one, with a token of its own, and returns when it has heard of how the event stands.
func (s *served) listener(ctx context.Context, nth int, event string) (*listener, error) {
	token, err := s.token(ctx, customerID(nth))
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.listen)
	if err != nil {
		return nil, err
	}
	l := &listener{conn, bufio.NewReaderSize(conn, 1024)}
	if _, err := fmt.Fprintf(conn, "GET /v1/events/%s/updates HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n", event, token); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	first, err := l.from.ReadString('\n')
	switch {
	case strings.HasPrefix(first, "HTTP/1.1 503 "):
		err = errNotNow
	case err == nil && !strings.HasPrefix(first, "HTTP/1.1 200 "):
		err = fmt.Errorf("a stream was answered %q", first)
	}
	if err == nil {
		_, err = l.next()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

// next returns when there was another update. Comments are none.
func (l *listener) next() (time.Time, error) {
	for {
		line, err := l.from.ReadSlice('\n')
		if bytes.HasPrefix(line, []byte("data: ")) { // perhaps the begin of it: the rest comes next
			return time.Now(), nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return time.Time{}, err
		}
	}
}

// token is one of a customer.
func (s *served) token(ctx context.Context, customer string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.listen+"/v1/customers/"+customer+"/tokens", strings.NewReader("{}"))
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+s.key)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	said, err := io.ReadAll(answer.Body)
	var made struct {
		Token string `json:"token"`
	}
	if err = errors.Join(err, answer.Body.Close(), json.Unmarshal(said, &made)); err != nil || made.Token == "" {
		return "", fmt.Errorf("no token: %s: %s: %w", answer.Status, said, err)
	}
	return made.Token, nil
}

// eachOf calls do for 0 to n-1, so many at a time, and returns what failed.
func eachOf(n, at int, do func(i int) error) error {
	next, failures := make(chan int), make([]error, n)
	var doing sync.WaitGroup
	for range at {
		doing.Go(func() {
			for i := range next {
				failures[i] = do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	doing.Wait()
	return errors.Join(failures...)
}

// residentMB is the most memory that a process has had.
func residentMB(b *testing.B, p *program.Process) float64 {
	b.Helper()
	said, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	must(b, err)
	_, most, found := strings.Cut(string(said), "VmHWM:")
	if !found {
		b.Fatalf("of %s the system says %q", p.Name, said)
	}
	kilobytes, err := strconv.ParseFloat(strings.Fields(most)[0], 64)
	must(b, err)
	return kilobytes / 1024
}
