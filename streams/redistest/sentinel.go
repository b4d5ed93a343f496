package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// MasterName is what sentinels call the master.
const MasterName = "tickets"

// Sentinels is one master with two replicas, and three sentinels that watch them.
type Sentinels struct {
	tb        testing.TB
	servers   []*Server
	sentinels []*Server
}

// StartSentinels starts them, and returns when the replicas are in sync and the
// sentinels know them and each other.
func StartSentinels(tb testing.TB) *Sentinels {
	tb.Helper()
	s := &Sentinels{tb: tb}
	for i := range 3 {
		server := prepare(tb, "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
		if i > 0 {
			server.args = append(server.args, "--replicaof", "127.0.0.1 "+strconv.Itoa(s.servers[0].port))
		}
		server.Restart()
		s.servers = append(s.servers, server)
	}
	for range 3 {
		sentinel := prepare(tb, "--sentinel")
		sentinel.config = filepath.Join(sentinel.dir, "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d 2\n"+
			"sentinel down-after-milliseconds %[1]s 1000\n"+
			"sentinel failover-timeout %[1]s 3000\n"+
			"sentinel parallel-syncs %[1]s 2\n", MasterName, s.servers[0].port)
		if err := os.WriteFile(sentinel.config, []byte(text), 0o600); err != nil {
			tb.Fatalf("writing a sentinel's configuration: %v", err)
		}
		sentinel.Restart()
		s.sentinels = append(s.sentinels, sentinel)
	}
	s.Wait()
	return s
}

// StartSentinel starts one sentinel that watches the master at an address, which needs no
// replicas, with further lines of configuration and further arguments.
func StartSentinel(tb testing.TB, master string, lines []string, args ...string) *Server {
	tb.Helper()
	sentinel := prepare(tb, append([]string{"--sentinel"}, args...)...)
	sentinel.config = filepath.Join(sentinel.dir, "sentinel.conf")
	host, port, err := net.SplitHostPort(master)
	if err != nil {
		tb.Fatal(err)
	}
	lines = append([]string{fmt.Sprintf("sentinel monitor %s %s %s 1", MasterName, host, port)}, lines...)
	if err := os.WriteFile(sentinel.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		tb.Fatalf("writing a sentinel's configuration: %v", err)
	}
	sentinel.Restart()
	return sentinel
}

// URL names the sentinels.
func (s *Sentinels) URL() string {
	return "redis://" + s.sentinels[0].Addr() + "?master_name=" + MasterName +
		"&addr=" + s.sentinels[1].Addr() + "&addr=" + s.sentinels[2].Addr()
}

// All are the servers, masters and replicas.
func (s *Sentinels) All() []*Server { return s.servers }

// Master is the one that all sentinels agree on.
func (s *Sentinels) Master() (master *Server) {
	s.tb.Helper()
	until(s.tb, "the sentinels agree on a master", func(ctx context.Context) (err error) {
		master, err = s.agreed(ctx)
		return err
	})
	return master
}

func (s *Sentinels) agreed(ctx context.Context) (master *Server, err error) {
	for _, sentinel := range s.sentinels {
		reply, err := ask(ctx, sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName)
		if err != nil {
			return nil, err
		}
		addr, _ := reply.([]any)
		i := slices.IndexFunc(s.servers, func(r *Server) bool { return len(addr) == 2 && asText(addr[1]) == strconv.Itoa(r.port) })
		if i < 0 {
			return nil, fmt.Errorf("%s names %v", sentinel.Addr(), addr)
		}
		if master != nil && s.servers[i] != master {
			return nil, errors.New("they do not agree")
		}
		master = s.servers[i]
	}
	return master, nil
}

// Wait returns when there is one master with two replicas in sync, and every
// sentinel sees all of them, and the other sentinels.
func (s *Sentinels) Wait() {
	s.tb.Helper()
	until(s.tb, "master, replicas and sentinels are there", func(ctx context.Context) error {
		master, err := s.agreed(ctx)
		if err != nil {
			return err
		}
		if err := synced(ctx, master, 2); err != nil {
			return err
		}
		for _, server := range s.servers {
			role, err := ask(ctx, server, "ROLE")
			if err != nil {
				return err
			}
			if list, _ := role.([]any); len(list) == 0 || (asText(list[0]) == "master") != (server == master) {
				return fmt.Errorf("%s says it is %v", server.Addr(), role)
			}
			if err := synced(ctx, server, 2); err != nil {
				return err
			}
		}
		for _, sentinel := range s.sentinels {
			if err := attempt(ctx, sentinel, "SENTINEL", "CKQUORUM", MasterName); err != nil {
				return err
			}
			for kind, flag := range map[string]string{"REPLICAS": "slave", "SENTINELS": "sentinel"} {
				reply, err := ask(ctx, sentinel, "SENTINEL", kind, MasterName)
				if err != nil {
					return err
				}
				list, _ := reply.([]any)
				if len(list) != 2 {
					return fmt.Errorf("%s sees %d %s", sentinel.Addr(), len(list), kind)
				}
				for _, seen := range list {
					if flags := field(seen, "flags"); !reaches(flags, flag) {
						return fmt.Errorf("%s sees one of the %s as %s", sentinel.Addr(), kind, flags)
					}
				}
			}
		}
		return nil
	})
}

// reaches reports whether a sentinel that flags another server like this knows it for
// what it is, and is in touch with it. Other flags may be there, such as master_down: what
// that other one thought of the old master when it was last asked.
func reaches(flags, what string) bool {
	return anyFlag(flags, what) && !anyFlag(flags, "s_down", "o_down", "disconnected")
}

// anyFlag reports whether one of these is in a list with commas.
func anyFlag(flags string, these ...string) bool {
	return slices.ContainsFunc(strings.Split(flags, ","), func(f string) bool { return slices.Contains(these, f) })
}

// field is one of a reply of names and values in turn.
func field(reply any, name string) string {
	list, _ := reply.([]any)
	for i := 0; i+1 < len(list); i += 2 {
		if asText(list[i]) == name {
			return asText(list[i+1])
		}
	}
	return ""
}

// LeaveBehind keeps the replicas from getting anything more, until the master is
// killed: which is to be done soon, or they count as gone themselves.
func (s *Sentinels) LeaveBehind() {
	s.tb.Helper()
	master := s.Master()
	master.leaveBehind(slices.DeleteFunc(slices.Clone(s.servers), func(r *Server) bool { return r == master })...)
}

// KillMaster kills the master the hard way and returns when the sentinels have
// made a replica the new one. The old one stays away until Revive.
func (s *Sentinels) KillMaster() {
	s.tb.Helper()
	old := s.Master()
	old.Kill()
	for _, server := range s.servers {
		server.signal(syscall.SIGCONT) // those that were left behind
	}
	s.switched(old)
}

// Failover tells a sentinel to make a replica the new master while the old one is well.
func (s *Sentinels) Failover() {
	s.tb.Helper()
	old := s.Master()
	until(s.tb, "a sentinel starts a failover", func(ctx context.Context) error {
		return attempt(ctx, s.sentinels[0], "SENTINEL", "FAILOVER", MasterName)
	})
	s.switched(old)
}

// CutOff has the master listen at another port and breaks all connections to it, those of its replicas and of the sentinels among them; and returns when the sentinels have made a
// replica the new one. The old one goes on, for whoever uses the URL. Kill it before Revive.
func (s *Sentinels) CutOff() (old *Server, url string) {
	s.tb.Helper()
	old = s.Master()
	port := freePort(s.tb)
	rdb := redis.NewClient(&redis.Options{Addr: old.Addr(), Protocol: 2, PoolSize: 1})
	defer func() { _ = rdb.Close() }()
	for _, command := range [][]any{
		{"CONFIG", "SET", "port", port}, {"CLIENT", "KILL", "TYPE", "replica"}, {"CLIENT", "KILL", "TYPE", "pubsub"}, {"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"},
	} {
		if err := rdb.Do(context.Background(), command...).Err(); err != nil {
			s.tb.Fatalf("cutting off the master: %v: %v", command, err)
		}
	}
	s.switched(old)
	return old, "redis://" + addr(port) + "/0"
}

func (s *Sentinels) switched(old *Server) {
	s.tb.Helper()
	until(s.tb, "there is a new master", func(ctx context.Context) error {
		master, err := s.agreed(ctx)
		if err == nil && master == old {
			err = errors.New("still the old one")
		}
		return err
	})
}

// Revive starts whoever was killed again, as a replica of the new master.
func (s *Sentinels) Revive() {
	s.tb.Helper()
	master := s.Master()
	for _, server := range s.servers {
		if server.cmd != nil {
			continue
		}
		if i := slices.Index(server.args, "--replicaof"); i >= 0 {
			server.args = slices.Delete(server.args, i, i+2)
		}
		server.args = append(server.args, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.port))
		server.Restart()
	}
	s.Wait()
}
