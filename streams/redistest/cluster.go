package redistest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience bounds every wait for a cluster or a sentinel to do something.
const patience = 60 * time.Second

// until waits for a condition.
func until(tb testing.TB, what string, cond func(ctx context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := cond(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			tb.Fatalf("waited %s in vain: %s: %v", patience, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Cluster is a Redis Cluster: so many masters, each with a replica.
type Cluster struct {
	tb    testing.TB
	nodes []*clusterServer
}

// clusterServer is a node: which of them are masters changes.
type clusterServer struct {
	*Server
	id string
}

// nodeTimeout is after how many milliseconds a node counts as gone.
const nodeTimeout = 1500

// StartCluster starts one, and returns when it is complete and the replicas are in sync.
func StartCluster(tb testing.TB, masters int) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb}
	for range 2 * masters {
		s := Start(tb, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(tb)),
			"--cluster-node-timeout", strconv.Itoa(nodeTimeout), "--cluster-require-full-coverage", "no",
			"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
		c.nodes = append(c.nodes, &clusterServer{Server: s, id: asText(c.do(s, "CLUSTER", "MYID"))})
	}
	first := c.nodes[0]
	bus := first.args[slices.Index(first.args, "--cluster-port")+1]
	for i, n := range c.nodes {
		if i < masters {
			c.do(n.Server, "CLUSTER", "ADDSLOTSRANGE", i*slots/masters, (i+1)*slots/masters-1)
			c.do(n.Server, "CLUSTER", "SET-CONFIG-EPOCH", i+1) // no two may have the same
		}
		if n != first {
			c.do(n.Server, "CLUSTER", "MEET", "127.0.0.1", first.port, bus)
		}
	}
	for i, n := range c.nodes[masters:] {
		until(tb, "the nodes know each other", func(ctx context.Context) error {
			return attempt(ctx, n.Server, "CLUSTER", "REPLICATE", c.nodes[i].id)
		})
	}
	c.Wait()
	return c
}

const slots = 16384

// StartNode starts a Cluster of one node, which has all slots.
func StartNode(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s := Start(tb, append([]string{"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(tb))}, args...)...)
	until(tb, "the node has all slots", func(ctx context.Context) error {
		info, err := ask(ctx, s, "CLUSTER", "INFO")
		if err != nil {
			return err
		}
		text := asText(info)
		if strings.Contains(text, "cluster_slots_assigned:0") {
			err = attempt(ctx, s, "CLUSTER", "ADDSLOTSRANGE", 0, slots-1)
		}
		if !strings.Contains(text, "cluster_state:ok") {
			err = errors.Join(errors.New("it is not ready"), err)
		}
		return err
	})
	return s
}

// URL names all nodes.
func (c *Cluster) URL() string {
	url := "redis://" + c.nodes[0].Addr() + "?"
	for i, n := range c.nodes[1:] {
		if i > 0 {
			url += "&"
		}
		url += "addr=" + n.Addr()
	}
	return url
}

// Any is one of the nodes.
func (c *Cluster) Any() *Server { return c.nodes[0].Server }

// Flush empties the masters.
func (c *Cluster) Flush() {
	c.tb.Helper()
	for _, v := range c.view() {
		if v.master {
			c.do(c.node(v.id).Server, "FLUSHALL")
		}
	}
	c.Wait()
}

// nodeView is a node as another one sees it.
type nodeView struct {
	id, masterID string
	master       bool
	failing      bool // or not known well yet
	linked       bool
	slots        []string // single ones and ranges
}

func (v nodeView) owns(slot int) bool {
	for _, part := range v.slots {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		if err != nil {
			continue // a slot on its way: [slot->-node]
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(last); err != nil {
				continue
			}
		}
		if from <= slot && slot <= to {
			return true
		}
	}
	return false
}

// look is how a node sees the cluster.
func (c *Cluster) look(ctx context.Context, n *clusterServer) ([]nodeView, error) {
	text, err := ask(ctx, n.Server, "CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	var views []nodeView
	for line := range strings.Lines(asText(text)) {
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("CLUSTER NODES says %q", line)
		}
		views = append(views, nodeView{
			id: f[0], masterID: f[3], master: anyFlag(f[2], "master"),
			failing: anyFlag(f[2], "fail", "fail?", "handshake", "noaddr"), // and not nofailover
			linked:  f[7] == "connected", slots: f[8:],
		})
	}
	return views, nil
}

// view is how the first node that is not killed sees the cluster.
func (c *Cluster) view() (views []nodeView) {
	c.tb.Helper()
	until(c.tb, "a node tells how it sees the cluster", func(ctx context.Context) (err error) {
		i := slices.IndexFunc(c.nodes, func(n *clusterServer) bool { return n.cmd != nil })
		if i < 0 {
			return errors.New("all are killed")
		}
		views, err = c.look(ctx, c.nodes[i])
		return err
	})
	return views
}

func (c *Cluster) node(id string) *clusterServer {
	i := slices.IndexFunc(c.nodes, func(n *clusterServer) bool { return n.id == id })
	if i < 0 {
		c.tb.Fatalf("no node %s in the cluster", id)
	}
	return c.nodes[i]
}

// Wait returns when every node sees every other one, each master has its replica
// in sync, and all agree who has which slots.
func (c *Cluster) Wait() {
	c.tb.Helper()
	until(c.tb, "the cluster is complete", func(ctx context.Context) error {
		want := ""
		for _, n := range c.nodes {
			views, err := c.look(ctx, n)
			if err != nil {
				return err
			}
			if len(views) != len(c.nodes) {
				return fmt.Errorf("%s sees %d nodes", n.Addr(), len(views))
			}
			slices.SortFunc(views, func(a, b nodeView) int { return strings.Compare(a.id, b.id) })
			seen, masters := "", 0
			for _, v := range views {
				if v.failing || !v.linked {
					return fmt.Errorf("%s does not see %s", n.Addr(), c.node(v.id).Addr())
				}
				if v.master {
					masters++
				}
				seen += fmt.Sprintln(v.id, v.master, v.masterID, v.slots)
			}
			if masters*2 != len(c.nodes) {
				return fmt.Errorf("%s sees %d masters", n.Addr(), masters)
			}
			if want == "" {
				want = seen
			}
			if seen != want {
				return fmt.Errorf("%s sees %s, %s sees %s", n.Addr(), seen, c.nodes[0].Addr(), want)
			}
			if info, err := ask(ctx, n.Server, "CLUSTER", "INFO"); err != nil || !strings.Contains(asText(info), "cluster_state:ok") {
				return errors.Join(fmt.Errorf("%s says %v", n.Addr(), info), err)
			}
			if err := synced(ctx, n.Server, 1); err != nil {
				return err
			}
		}
		return nil
	})
}

// synced reports whether a server has so many replicas that are in sync, if it is
// a master, or else is in sync with its own.
func synced(ctx context.Context, s *Server, replicas int) error {
	reply, err := ask(ctx, s, "INFO", "replication")
	if err != nil {
		return err
	}
	info := asText(reply)
	if strings.Contains(info, "role:master") {
		if n := strings.Count(info, "state=online"); n < replicas {
			return fmt.Errorf("%s has %d replicas in sync", s.Addr(), n)
		}
		return nil
	}
	if !strings.Contains(info, "master_link_status:up") {
		return fmt.Errorf("%s is not in sync with its master", s.Addr())
	}
	return nil
}

// MasterOf is the master that has a slot.
func (c *Cluster) MasterOf(slot int) *Server {
	c.tb.Helper()
	for _, v := range c.view() {
		if v.owns(slot) {
			return c.node(v.id).Server
		}
	}
	c.tb.Fatalf("nobody has slot %d", slot)
	return nil
}

// Masters are all of them.
func (c *Cluster) Masters() (masters []*Server) {
	c.tb.Helper()
	for _, v := range c.view() {
		if v.master {
			masters = append(masters, c.node(v.id).Server)
		}
	}
	return masters
}

// LeaveBehind keeps a master's replica from getting anything more, until the
// master is killed: which is to be done soon, or it counts as gone itself.
func (c *Cluster) LeaveBehind(master *Server) {
	c.tb.Helper()
	id := c.idOf(master)
	for _, v := range c.view() {
		if v.masterID == id {
			master.leaveBehind(c.node(v.id).Server)
		}
	}
}

// KillMaster kills one the hard way and returns when its replica has taken over,
// and all that are left know it.
func (c *Cluster) KillMaster(master *Server) {
	c.tb.Helper()
	victim := c.node(c.idOf(master))
	master.Kill()
	for _, n := range c.nodes {
		n.signal(syscall.SIGCONT) // those that were left behind
	}
	until(c.tb, "its replica takes over", func(ctx context.Context) error {
		for _, n := range c.nodes {
			if n == victim {
				continue
			}
			views, err := c.look(ctx, n)
			if err != nil {
				return err
			}
			for _, v := range views {
				if v.id == victim.id && len(v.slots) > 0 {
					return fmt.Errorf("%s thinks that %s has its slots", n.Addr(), victim.Addr())
				}
			}
		}
		return nil
	})
}

// Slot is the slot of a key.
func (c *Cluster) Slot(key string) int {
	c.tb.Helper()
	slot, _ := c.do(c.nodes[0].Server, "CLUSTER", "KEYSLOT", key).(int64)
	return int(slot)
}

// OpenSlot begins to move a slot: from now on what is new is made there.
func (c *Cluster) OpenSlot(slot int, to *Server) {
	c.tb.Helper()
	from := c.MasterOf(slot)
	c.do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", c.idOf(from))
	c.do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", c.idOf(to))
}

func (c *Cluster) idOf(s *Server) string {
	c.tb.Helper()
	i := slices.IndexFunc(c.nodes, func(n *clusterServer) bool { return n.Server == s })
	if i < 0 {
		c.tb.Fatalf("%s is not in the cluster", s.Addr())
	}
	return c.nodes[i].id
}

// MoveSlot moves a slot with all its keys to another master, as redis-cli does it,
// and tells how many keys there were.
func (c *Cluster) MoveSlot(slot int, to *Server) (keys int) {
	c.tb.Helper()
	from, toID := c.MasterOf(slot), c.idOf(to)
	c.OpenSlot(slot, to)
	until(c.tb, "all keys of the slot are moved", func(ctx context.Context) error {
		reply, err := ask(ctx, from, "CLUSTER", "GETKEYSINSLOT", slot, 100)
		if err != nil {
			return err
		}
		names, _ := reply.([]any)
		if len(names) == 0 {
			return nil
		}
		args := append([]any{"MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS"}, names...)
		if err := attempt(ctx, from, args...); err != nil {
			return err
		}
		keys += len(names)
		return errors.New("there are more")
	})
	// First the new owner: whoever asks the old one meanwhile is sent there.
	c.do(to, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	c.do(from, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	for _, m := range c.Masters() {
		if m != from && m != to {
			c.do(m, "CLUSTER", "SETSLOT", slot, "NODE", toID)
		}
	}
	c.Wait()
	return keys
}

// do sends a command that must work.
func (c *Cluster) do(s *Server, args ...any) any {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reply, err := ask(ctx, s, args...)
	if err != nil {
		c.tb.Fatalf("%v on %s: %v", args[:min(len(args), 3)], s.Addr(), err)
	}
	return reply
}

func ask(ctx context.Context, s *Server, args ...any) (any, error) {
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr(), Protocol: 2, PoolSize: 1, MaxRetries: -1, DialerRetries: 1, ReadTimeout: 10 * time.Second})
	defer func() { _ = rdb.Close() }()
	return rdb.Do(ctx, args...).Result()
}

func attempt(ctx context.Context, s *Server, args ...any) error {
	_, err := ask(ctx, s, args...)
	return err
}

func asText(reply any) string {
	s, _ := reply.(string)
	return s
}
