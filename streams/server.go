package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
)

// minServerVersion is the oldest Redis the scripts work on.
const minServerVersion = 7

// checkTimeout bounds the first question to a server: longer than a connection may take,
// so that what is wrong with that is known by then.
const checkTimeout = dialTimeout + time.Second

// checkServer returns a ClassFatal error for a server that will not do. One that does not
// tell its version, because that is not permitted, may.
func checkServer(ctx context.Context, rdb redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	info, err := access.ReadInfo(ctx, rdb, "server")
	if untold(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking Redis for its version: %w", access.Classify(err))
	}
	if info["redis_mode"] == "sentinel" {
		return domain.WithCode(domain.ClassFatal, domain.CodeInvalid, errors.New("this is a sentinel: its URL needs master_name=NAME, of the master it watches"))
	}
	major, _, _ := strings.Cut(info["redis_version"], ".")
	if n, err := strconv.Atoi(major); err == nil && n < minServerVersion {
		return domain.WithCode(domain.ClassFatal, domain.CodeInvalid, fmt.Errorf("redis %s is too old: want 7.0 or later", info["redis_version"]))
	}
	return nil // also a compatible server that does not say; its first script will
}

// untold reports whether a server does not tell about itself: because the user may not ask, or
// because it does not know the question (miniredis).
func untold(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) &&
		(strings.HasPrefix(reply.Error(), "NOPERM") || strings.HasPrefix(reply.Error(), "section"))
}

// Server is what a Redis server says about itself, as far as it matters here.
type Server struct {
	Addr    string  `json:"addr,omitempty"` // of a Cluster's node
	Version string  `json:"version"`        // empty: it does not say
	Faults  []Fault `json:"faults"`         // none: it is as it should be, as far as it says
}

// Fault is something about a server that is not as holdfast needs it: it works, until it loses data.
type Fault struct {
	Code   FaultCode `json:"code"`
	Detail string    `json:"detail"`
}

// FaultCode names a fault, for programs.
type FaultCode string

// The faults.
const (
	FaultEviction FaultCode = "eviction" // keys may be deleted when memory is short
	FaultNoAOF    FaultCode = "no_aof"   // what was acknowledged is gone when Redis ends
)

// Servers asks the server, or each master of a Cluster, how it is set up. Errors:
// ClassFatal if that is not permitted (INFO), which keeps nothing else from working;
// ClassRetry if one does not answer.
func (s *Store) Servers(ctx context.Context) ([]Server, error) {
	cluster, ok := s.rdb.(*redis.ClusterClient)
	if !ok {
		server, err := readServer(ctx, s.rdb)
		return []Server{server}, err
	}
	var mu sync.Mutex
	var servers []Server
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		server, err := readServer(ctx, master)
		server.Addr = master.Options().Addr
		mu.Lock()
		defer mu.Unlock()
		servers = append(servers, server)
		return err
	})
	slices.SortFunc(servers, func(a, b Server) int { return strings.Compare(a.Addr, b.Addr) })
	return servers, err
}

func readServer(ctx context.Context, rdb redis.UniversalClient) (Server, error) {
	server := Server{Faults: []Fault{}}
	info, err := access.ReadInfo(ctx, rdb, "server", "memory", "persistence")
	if err != nil {
		return server, fmt.Errorf("asking Redis how it is set up: %w", access.Classify(err))
	}
	server.Version = info["redis_version"]
	if policy := info["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		server.Faults = append(server.Faults, Fault{FaultEviction, "maxmemory-policy is " + policy + ", so Redis deletes orders when its memory is full: set noeviction"})
	}
	if info["aof_enabled"] == "0" {
		server.Faults = append(server.Faults, Fault{FaultNoAOF, "there is no append-only file, so what was acknowledged is gone when Redis ends: set appendonly yes"})
	}
	return server, nil
}
