package inspect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// Refusal is a server that takes no writes now.
type Refusal struct {
	Addr   string `json:"addr"`   // empty: the one server there is
	Reason string `json:"reason"` // as it answers, or as its INFO tells it
}

// askTimeout bounds the questions to one server.
const askTimeout = 3 * time.Second

// Refusals asks the server, or each master of a Cluster, whether it takes writes, by what INFO
// tells of the reasons there are to refuse one; with probe also by a write that changes
// nothing, if this user may make one. Without it, what only the configuration
// tells is not known: whether a failed snapshot stops writes. Error: ClassFatal if INFO is
// needed and not permitted.
func (in *Inspector) Refusals(ctx context.Context, probe bool) ([]Refusal, error) {
	masters, err := in.masters(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking whether writes are refused: %w", err)
	}
	var refusals []Refusal
	for _, master := range masters {
		reason, err := in.refusal(ctx, master, probe)
		if err != nil {
			return nil, fmt.Errorf("asking whether writes are refused: %w", access.Classify(err))
		}
		if reason != "" {
			refusals = append(refusals, Refusal{Addr: in.addr(master), Reason: reason})
		}
	}
	return refusals, nil
}

// addr is empty where there is only one server.
func (in *Inspector) addr(master redis.UniversalClient) string {
	if client, ok := master.(*redis.Client); ok && master != in.ns.Client {
		return client.Options().Addr
	}
	return ""
}

func (in *Inspector) refusal(ctx context.Context, master redis.UniversalClient, probe bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if probe {
		// To set nothing in a key that is not there changes nothing, and reaches neither the append-only
		// file nor a replica. It is refused for whatever reason any write is.
		err := master.SetRange(ctx, in.probe(ctx, master), 0, "").Err()
		var reply redis.Error
		_, moved := redis.IsMovedError(err)
		switch {
		case err == nil:
			return "", nil
		case !errors.As(err, &reply):
			return "", err
		case !moved && domain.ClassOf(access.Classify(err)) != domain.ClassFatal:
			return reply.Error(), nil
		}
	}
	info, err := access.ReadInfo(ctx, master, "memory", "persistence", "replication")
	if err != nil {
		return "", err
	}
	return serverInfo(info).refusal(), nil
}

// probe is the key of the probe in a partition that this server has, or, if it has none of
// a Cluster's, in one that it has not.
func (in *Inspector) probe(ctx context.Context, master redis.UniversalClient) string {
	cluster, ok := in.ns.Client.(*redis.ClusterClient)
	if ok {
		for p := range in.ns.Keys.Partitions() {
			if owner, err := cluster.MasterForKey(ctx, in.ns.Keys.Probe(p)); err == nil && owner == master {
				return in.ns.Keys.Probe(p)
			}
		}
	}
	return in.ns.Keys.Probe(0)
}

// serverInfo is what a server tells about itself, by name.
type serverInfo map[string]string

func (i serverInfo) number(name string) int64 {
	n, err := strconv.ParseInt(i[name], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// refusal is why this server refuses writes, empty if nothing tells that it does.
func (i serverInfo) refusal() string {
	limit := i.number("maxmemory")
	switch {
	case i["loading"] == "1":
		return "LOADING: it reads its data"
	case i["role"] == "slave" && i["slave_read_only"] != "0":
		return "READONLY: it is a replica"
	case i["min_slaves_good_slaves"] == "0": // is there only if there must be some
		return "NOREPLICAS: it has no good replicas, and wants some (min-replicas-to-write)"
	case i["aof_enabled"] == "1" && i["aof_last_write_status"] == "err":
		return "MISCONF: the last write to the append-only file failed (aof_last_write_status)"
	case limit > 0 && i["maxmemory_policy"] == "noeviction" && i.number("used_memory")-i.number("mem_not_counted_for_evict") > limit:
		return fmt.Sprintf("OOM: it uses %d of %d bytes (maxmemory)", i.number("used_memory"), limit)
	}
	return ""
}
