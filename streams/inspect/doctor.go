package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// ServerState is what a server, or a master of a Cluster, tells of itself, and what is measured of it. What this user may
// not ask has an error instead.
type ServerState struct {
	Addr      string // empty: the one server there is
	Info      map[string]string
	InfoErr   error
	Config    map[string]string
	ConfigErr error
	Slow      []SlowCommand // the newest of its slow log
	SlowErr   error

	ClockOff    time.Duration   // its clock less this machine's
	ClockUnsure time.Duration   // by how much that may be wrong
	Latency     []time.Duration // of some questions, the shortest first

	Partitions []int // those that it has
	// FactsPerSecond is how many were added to their logs lately, and Facts about how many there are in them.
	FactsPerSecond float64
	Facts          int64
	FactsErr       error
}

// SlowCommand is one of the slow log, without its arguments: there may be a payment token among them.
type SlowCommand struct {
	Name     string
	AtMillis int64
	Took     time.Duration
}

// Lag is what Redis says of a group's lag, and what is so.
type Lag struct {
	Partition int
	Group     string
	Said      int64 // -1: Redis does not know
	Counted   int64
}

const (
	pings     = 20
	slowMost  = 64
	factsPage = 200 // newest log entries of a partition by which it is told how fast facts come
	// lagCounted bounds what is counted to see whether Redis's own lag is right.
	lagCounted = access.ReadPage
)

// configWanted is what the configuration is asked for: what INFO does not tell.
var configWanted = []string{"appendfsync", "no-appendfsync-on-rewrite", "maxclients", "min-replicas-to-write"}

// Servers looks at each server. An error only where one does not answer.
func (in *Inspector) Servers(ctx context.Context) ([]ServerState, error) {
	masters, err := in.masters(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for servers: %w", err)
	}
	states := make([]ServerState, len(masters))
	for i, master := range masters {
		states[i] = ServerState{Addr: in.addr(master)}
		if err := in.lookAtServer(ctx, master, &states[i]); err != nil {
			return nil, fmt.Errorf("looking at a server: %w", access.Classify(err))
		}
	}
	for p := range in.ns.Keys.Partitions() {
		at := 0
		if cluster, ok := in.ns.Client.(*redis.ClusterClient); ok {
			owner, err := cluster.MasterForKey(ctx, in.ns.Keys.Log(p))
			if err != nil {
				return nil, fmt.Errorf("looking who has partition %d: %w", p, access.Classify(err))
			}
			at = slices.IndexFunc(masters, func(master redis.UniversalClient) bool { return in.addr(master) == owner.Options().Addr })
		}
		if at < 0 {
			continue // its slots are on their way
		}
		s := &states[at]
		s.Partitions = append(s.Partitions, p)
		if s.FactsErr == nil {
			s.FactsErr = in.lookAtFacts(ctx, p, s)
		}
	}
	slices.SortFunc(states, func(a, b ServerState) int { return strings.Compare(a.Addr, b.Addr) })
	return states, nil
}

// untold is an answer that says that there is none; nil if err is something else.
func untold(err error) error {
	var reply redis.Error
	if errors.As(err, &reply) && !access.IsNil(err) {
		return access.Classify(err)
	}
	return nil
}

func (in *Inspector) lookAtServer(ctx context.Context, master redis.UniversalClient, s *ServerState) (err error) {
	if s.Info, err = access.ReadInfo(ctx, master, "server", "clients", "memory", "persistence", "replication"); err != nil {
		if s.InfoErr = untold(err); s.InfoErr == nil {
			return err
		}
	}
	s.Config = make(map[string]string)
	for _, name := range configWanted {
		found, err := master.ConfigGet(ctx, name).Result()
		if err != nil {
			if s.ConfigErr = untold(err); s.ConfigErr == nil {
				return err
			}
			break
		}
		for name, value := range found {
			s.Config[name] = value
		}
	}
	slow, err := master.SlowLogGet(ctx, slowMost).Result()
	if err != nil {
		if s.SlowErr = untold(err); s.SlowErr == nil {
			return err
		}
	}
	for _, entry := range slow {
		if len(entry.Args) > 0 {
			s.Slow = append(s.Slow, SlowCommand{strings.ToUpper(entry.Args[0]), entry.Time.UnixMilli(), entry.Duration})
		}
	}
	for range pings {
		asked := time.Now()
		now, err := master.Time(ctx).Result()
		if err != nil {
			return err
		}
		took := time.Since(asked)
		if s.ClockUnsure == 0 || took/2 < s.ClockUnsure { // the shortest tells it best
			s.ClockUnsure, s.ClockOff = max(took/2, 1), now.Sub(asked.Add(took/2))
		}
		s.Latency = append(s.Latency, took)
	}
	slices.Sort(s.Latency)
	return nil
}

// lookAtFacts adds how fast facts came to a partition's log lately, and how many there are.
func (in *Inspector) lookAtFacts(ctx context.Context, p int, s *ServerState) error {
	pipe := in.ns.Client.Pipeline()
	length, clock := pipe.XLen(ctx, in.ns.Keys.Log(p)), pipe.Time(ctx)
	newest := pipe.Do(ctx, "XREVRANGE", in.ns.Keys.Log(p), "+", "-", "COUNT", factsPage)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("reading the log: %w", access.Classify(err))
	}
	entries := layout.DecodeEntries(newest.Val())
	if len(entries) == 0 {
		return nil
	}
	var facts int64
	for _, e := range entries {
		if len(e.Fields) == 2 {
			facts += linesOf(e.Fields[1])
		}
	}
	s.Facts += length.Val() * facts / int64(len(entries))
	if since := clock.Val().UnixMilli() - domain.EntryMillis(entries[len(entries)-1].ID); since > 0 {
		s.FactsPerSecond += float64(facts) * 1000 / float64(since)
	}
	return nil
}

// Lags compares what Redis says of each group's lag with what is so, where at most lagCounted wait and nothing moves meanwhile.
func (in *Inspector) Lags(ctx context.Context) ([]Lag, error) {
	var lags []Lag
	for p := range in.ns.Keys.Partitions() {
		for _, group := range layout.Groups {
			stream, _ := in.ns.Keys.StreamOf(p, group)
			before, err := in.groupInfo(ctx, stream, group)
			if err != nil || before == nil {
				return lags, err
			}
			waiting, err := in.ns.Client.XRangeN(ctx, stream, "("+before.LastDeliveredID, "+", lagCounted).Result()
			if err != nil {
				return lags, fmt.Errorf("counting what waits: %w", access.Classify(err))
			}
			after, err := in.groupInfo(ctx, stream, group)
			if err != nil || after == nil {
				return lags, err
			}
			if *before == *after && len(waiting) < lagCounted {
				lags = append(lags, Lag{p, string(group), before.Lag, int64(len(waiting))})
			}
		}
	}
	return lags, nil
}

// groupInfo is nil if there is no such group.
func (in *Inspector) groupInfo(ctx context.Context, stream string, group domain.Group) (*redis.XInfoGroup, error) {
	infos, err := in.ns.Client.XInfoGroups(ctx, stream).Result()
	if err != nil && !access.NoGroup(err) {
		return nil, fmt.Errorf("looking at group %s: %w", group, access.Classify(err))
	}
	for _, info := range infos {
		if info.Name == string(group) {
			return &info, nil
		}
	}
	return nil, nil
}

// Right is whether this user may do what somebody has to do.
type Right struct {
	For    string   `json:"for"`
	Denied []string `json:"denied"` // what is missing for it: commands with a key
}

// Rights tries what each kind of program needs: with ACL DRYRUN where this user may run it, and else by commands that change
// nothing (a user that may not run one has a line more in Redis's ACL LOG). User is empty where Redis does not tell it.
func (in *Inspector) Rights(ctx context.Context) (user string, rights []Right, err error) {
	user, err = in.ns.Client.Do(ctx, "ACL", "WHOAMI").Text()
	if err != nil && untold(err) == nil {
		return "", nil, fmt.Errorf("asking who this is: %w", access.Classify(err))
	}
	dryRun := user != ""
	for _, need := range in.needs() {
		right := Right{For: need.who, Denied: []string{}}
		for _, cmd := range need.commands {
			denied, err := in.denied(ctx, user, &dryRun, cmd)
			if err != nil {
				return user, rights, err
			}
			if denied {
				right.Denied = append(right.Denied, fmt.Sprintf("%s %s", cmd[0], cmd[1]))
			}
		}
		rights = append(rights, right)
	}
	return user, rights, nil
}

func (in *Inspector) denied(ctx context.Context, user string, dryRun *bool, cmd []any) (bool, error) {
	if *dryRun {
		said, err := in.ns.Client.Do(ctx, append([]any{"ACL", "DRYRUN", user}, cmd...)...).Text()
		if err == nil {
			return said != "OK", nil
		}
		if untold(err) == nil {
			return false, fmt.Errorf("asking what %s may do: %w", user, access.Classify(err))
		}
		*dryRun = false
	}
	err := in.ns.Client.Do(ctx, cmd...).Err()
	var reply redis.Error
	if err != nil && !errors.As(err, &reply) {
		return false, fmt.Errorf("trying %s: %w", cmd[0], access.Classify(err))
	}
	return err != nil && domain.CodeOf(access.Classify(err)) == domain.CodeDenied, nil
}

type need struct {
	who      string
	commands [][]any // that change nothing, whatever is there
}

// needs is what programs do, in a few commands each. No entry has the id 0-1, none can have 0-0, and no field has an empty name;
// whether a command is permitted is looked at before its arguments are.
func (in *Inspector) needs() []need {
	k := in.ns.Keys
	requests, log := k.Requests(0), k.Log(0)
	return []need{
		{"look (check, pending)", [][]any{
			{"XINFO", "GROUPS", requests},
			{"XPENDING", log, string(domain.GroupPosting), "-", "+", 1},
			{"ZCOUNT", k.Holds(0), 1, 0},
			{"HGETALL", k.Troubles()},
			{"XLEN", k.Dead(0)},
			{"ZRANGE", k.Consumers(0), 0, 0},
		}},
		{"publish", [][]any{{"XADD", requests, "NOMKSTREAM", "0-0", "v", "1"}, {"HMGET", k.Orders(0, layout.OrderHash{}), "-"}}},
		{"put on sale (events)", [][]any{{"HDEL", k.Events(0), ""}, {"XADD", log, "NOMKSTREAM", "0-0", "v", "1"}}},
		{"work (worker)", [][]any{
			{"XACK", requests, string(domain.GroupWorkers), "0-1"},
			{"XACK", log, string(domain.GroupPosting), "0-1"},
			{"ZREM", k.Holds(0), ""},
			{"HDEL", k.Orders(0, layout.OrderHash{}), ""},
			{"HDEL", k.Invoices("-"), ""},
			{"HDEL", k.Workers(), ""},
		}},
		{"mend (dead redrive, pending claim)", [][]any{
			{"XDEL", k.Dead(0), "0-1"},
			{"XCLAIM", requests, string(domain.GroupWorkers), "-", "no number", "0-1"},
			{"LTRIM", k.Claims(0), 0, -1},
			{"LTRIM", k.Handled(0), 0, -1},
		}},
		{"audit", [][]any{{"XRANGE", log, "0-1", "0-1"}, {"HSCAN", k.Events(0), 0, "COUNT", 1}, {"XRANGE", k.Dead(0), "0-1", "0-1"}}},
	}
}
