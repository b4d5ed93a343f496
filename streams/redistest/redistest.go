// Package redistest starts a real redis-server for tests: on a free port of the
// loopback interface, with a directory of its own, gone when the test ends.
package redistest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a running redis-server.
type Server struct {
	tb     testing.TB
	port   int
	dir    string
	config string // a file, which comes before the arguments; empty: none
	args   []string
	cmd    *exec.Cmd     // nil: it was killed
	exited chan struct{} // closed when the process of cmd has ended
}

// Start starts a server with the given further arguments, such as
// "--appendonly", "yes". It stops when the test ends.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s := prepare(tb, args...)
	s.Restart()
	return s
}

// StartIn is Start with the files of a directory, which is the server's from then on.
func StartIn(tb testing.TB, dir string, args ...string) *Server {
	tb.Helper()
	s := prepareIn(tb, dir, args...)
	s.Restart()
	return s
}

// prepare makes a server that is not started yet.
func prepare(tb testing.TB, args ...string) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "holdfast-redis-")
	if err != nil {
		tb.Fatalf("making a directory for Redis: %v", err)
	}
	return prepareIn(tb, dir, args...)
}

func prepareIn(tb testing.TB, dir string, args ...string) *Server {
	s := &Server{tb: tb, port: freePort(tb), dir: dir, args: args}
	tb.Cleanup(func() {
		s.Kill()
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("removing Redis's directory: %v", err)
		}
	})
	return s
}

// Servers listen below the ports that systems give to connections. One of those
// would sooner or later be taken by a client before its server listens.
const (
	firstPort = 15_000
	endPort   = 32_000
)

// given are the ports of this process's servers. Nobody gets one again: its
// server may be down for a moment.
var given sync.Map

func freePort(tb testing.TB) int {
	for range endPort - firstPort {
		port := firstPort + rand.IntN(endPort-firstPort)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		l, err := net.Listen("tcp", addr(port))
		if err != nil {
			continue
		}
		_ = l.Close() // it only asked
		return port
	}
	tb.Fatal("no free port")
	return 0
}

func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// URL is where the server listens.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }

// Addr is where the server listens.
func (s *Server) Addr() string { return addr(s.port) }

// Port is where the server listens.
func (s *Server) Port() int { return s.port }

// Dir is where the server keeps its files.
func (s *Server) Dir() string { return s.dir }

// Kill ends the server the hard way (SIGKILL).
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGCONT) // in case it is stopped
	_ = s.cmd.Process.Kill()
	<-s.exited
	s.cmd = nil
}

// Configure adds arguments, which count from the next start on.
func (s *Server) Configure(args ...string) { s.args = append(s.args, args...) }

// Launch is Restart without waiting until the server answers.
func (s *Server) Launch() {
	s.tb.Helper()
	s.Kill()
	var args []string
	if s.config != "" {
		args = append(args, s.config)
	}
	args = append(args,
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--daemonize", "no",
		"--save", "", "--logfile", filepath.Join(s.dir, "redis.log"),
	)
	s.launch(append(args, s.args...))
}

// Restart starts the server again, on the same port and directory.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Launch()
	rdb := s.Client()
	defer func() { _ = rdb.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		err := s.answers(ctx, rdb)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			log, _ := os.ReadFile(filepath.Join(s.dir, "redis.log"))
			s.tb.Fatalf("redis-server does not answer: %v\n%s", err, log)
		}
		wait := 5 * time.Millisecond
		select {
		case <-s.exited:
			// Its port may be taken for a moment: a process that somebody has just forked
			// has the sockets of this one until it becomes another program.
			s.Launch()
			wait = 100 * time.Millisecond
		default:
		}
		time.Sleep(wait)
	}
}

func (s *Server) launch(args []string) {
	s.tb.Helper()
	// A fuzzing worker has inherited its pipes. A server that kept them open would keep
	// from whoever fuzzes that the worker died, and it would wait for ever.
	for fd := 3; fd <= 5; fd++ {
		syscall.CloseOnExec(fd)
	}
	cmd, exited := exec.Command("redis-server", args...), make(chan struct{})
	if err := cmd.Start(); err != nil {
		s.cmd = nil
		s.tb.Fatalf("starting redis-server (make test installs it): %v", err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
	s.cmd, s.exited = cmd, exited
}

// answers returns nil if the server is ready, and is this one and not another at its port.
func (s *Server) answers(ctx context.Context, rdb *redis.Client) error {
	if err := rdb.Ping(ctx).Err(); err != nil {
		return err
	}
	info, err := rdb.InfoMap(ctx, "server").Result()
	if err != nil {
		return err
	}
	if pid := info["Server"]["process_id"]; pid != strconv.Itoa(s.cmd.Process.Pid) {
		return fmt.Errorf("the server at its port is process %s, not %d", pid, s.cmd.Process.Pid)
	}
	return nil
}

// Client returns a client. Close it.
func (s *Server) Client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr(), Protocol: 2})
}

// Flush empties the server, so that one can serve many tests.
func (s *Server) Flush() {
	s.tb.Helper()
	rdb := s.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.FlushAll(context.Background()).Err(); err != nil {
		s.tb.Fatalf("emptying Redis: %v", err)
	}
}

// leaveBehind freezes replicas and breaks their links to the server, so that they
// have nothing of what it acknowledges from now on.
func (s *Server) leaveBehind(replicas ...*Server) {
	s.tb.Helper()
	for _, r := range replicas {
		r.signal(syscall.SIGSTOP)
	}
	rdb := s.Client()
	defer func() { _ = rdb.Close() }()
	if err := rdb.ClientKillByFilter(context.Background(), "TYPE", "replica").Err(); err != nil {
		s.tb.Fatalf("breaking the links to the replicas: %v", err)
	}
}

func (s *Server) signal(signal syscall.Signal) {
	s.tb.Helper()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.tb.Fatalf("sending %s to redis-server: %v", signal, err)
	}
}
