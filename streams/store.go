// Package streams is everything in holdfast that speaks Redis: key names, the Lua
// scripts, consumer groups, the log and its projections, inspection and audit.
// It implements the ports of package domain.
//
// Every change of state is one script on one partition. A script is atomic and
// crash-atomic (its effects reach the append-only file as one unit), so after any
// crash either all of it happened or nothing; and each script decides by the
// stored state, so repeating one whose reply was lost changes nothing more.
package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
)

// Limits and defaults of a namespace.
const (
	DefaultPartitions = 4
	MaxPartitions     = 1024

	schemaVersion = "1"

	// maxBatch bounds the items of one script call: no argument list comes near
	// the 5,000 values that Lua's stack surely takes, and no call keeps Redis busy for long.
	maxBatch = 500
)

// Options of Open. The zero value is ready to use.
type Options struct {
	// Namespace prefixes every key. Default "holdfast".
	Namespace string
	// Partitions is how many the namespace gets if this call creates it. Default 4.
	Partitions int
	// Hook, if not nil, sees every command and pipeline before and after it runs, on
	// every connection: for tracing, and for tests that make them fail.
	Hook redis.Hook
	// Log gets one line per change of state. Default: none.
	Log *zap.Logger
}

// Store is a namespace on a Redis. It is safe for concurrent use.
type Store struct {
	rdb        redis.UniversalClient
	url        string
	keys       keys
	partitions int
	log        *zap.Logger
	hook       redis.Hook

	created bool // by Open

	history history

	mu       sync.Mutex
	blocking redis.UniversalClient // made by the first Queue
}

// Namespace tells what a namespace was created with.
type Namespace struct {
	Name       string `json:"namespace"`
	Partitions int    `json:"partitions"`
	Schema     string `json:"schema"`
	Epoch      string `json:"epoch"`
	Created    bool   `json:"created"` // by this store, when it was opened
}

// Open connects, and creates the namespace if it does not exist yet.
//
// Errors: ClassFatal if the URL, the server's version, the namespace's name or its
// schema will not do; ClassRetry if Redis does not answer.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Partitions == 0 {
		o.Partitions = DefaultPartitions
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if !domain.ValidID(o.Namespace) {
		return nil, domain.WithClass(domain.ClassFatal, fmt.Errorf("namespace: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength))
	}
	if o.Partitions < 1 || o.Partitions > MaxPartitions {
		return nil, domain.WithClass(domain.ClassFatal, fmt.Errorf("partitions: want 1 to %d", MaxPartitions))
	}
	s := &Store{url: url, log: o.Log, hook: o.Hook}
	rdb, err := dial(url, 0, s.verifyConnection)
	if err != nil {
		return nil, err
	}
	s.rdb = rdb
	s.addHook(rdb)
	if err := s.open(ctx, o); err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, o Options) error {
	if err := checkServer(ctx, s.rdb); err != nil {
		return err
	}
	s.keys.namespace = o.Namespace
	ns, err := s.initNamespace(ctx, o.Partitions)
	if err != nil {
		return err
	}
	s.keys, s.partitions, s.created = newKeys(o.Namespace, ns.Partitions), ns.Partitions, ns.Created
	s.history.restart(ns.Epoch, ns.Partitions)
	if ns.Created {
		s.log.Info("namespace created", zap.String("namespace", ns.Name), zap.Int("partitions", ns.Partitions))
	}
	return s.ensureGroups(ctx)
}

func (s *Store) addHook(rdb redis.UniversalClient) {
	if s.hook != nil {
		rdb.AddHook(s.hook)
	}
}

// Close closes the connections. Nothing may use the store afterwards.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.rdb.Close()
	if s.blocking != nil {
		err = errors.Join(err, s.blocking.Close())
		s.blocking = nil
	}
	return err
}

// Partitions is how many the namespace has.
func (s *Store) Partitions() int { return s.partitions }

// Namespace tells what the namespace was created with, as it is stored now.
func (s *Store) Namespace(ctx context.Context) (Namespace, error) {
	ns, err := s.initNamespace(ctx, s.partitions)
	ns.Created = s.created
	return ns, err
}

func (s *Store) initNamespace(ctx context.Context, partitions int) (Namespace, error) {
	epoch, err := uuid.NewV7()
	if err != nil {
		return Namespace{}, fmt.Errorf("naming the epoch: %w", err)
	}
	reply, err := s.run(ctx, scriptInit, []string{metaKey(s.keys.namespace)}, partitions, schemaVersion, epoch.String()).Slice()
	if err != nil {
		return Namespace{}, fmt.Errorf("creating namespace %s: %w", s.keys.namespace, classify(err))
	}
	ns := Namespace{Name: s.keys.namespace, Schema: asString(reply[1]), Epoch: asString(reply[2]), Created: asInt(reply[3]) == 1}
	ns.Partitions, err = strconv.Atoi(asString(reply[0]))
	if err != nil || ns.Partitions < 1 || ns.Partitions > MaxPartitions {
		return Namespace{}, domain.WithClass(domain.ClassFatal, fmt.Errorf("namespace %s: its number of partitions is damaged", ns.Name))
	}
	if ns.Schema != schemaVersion {
		return Namespace{}, domain.WithClass(domain.ClassFatal, fmt.Errorf("namespace %s has schema %s, this program speaks %s: use a matching version", ns.Name, ns.Schema, schemaVersion))
	}
	return ns, nil
}

// ensureGroups creates streams and groups where they are missing. From the start
// of the stream, never from its end: what is there already is work.
//
// It looks first and writes only what is missing, so that a full memory or a
// read-only user keeps nobody from looking at a namespace that is complete.
func (s *Store) ensureGroups(ctx context.Context) error {
	look := s.rdb.Pipeline()
	infos := make(map[string]*redis.XInfoGroupsCmd, 2*s.partitions)
	for p := range s.partitions {
		for _, stream := range []string{s.keys.requests(p), s.keys.log(p)} {
			infos[stream] = look.XInfoGroups(ctx, stream)
		}
	}
	// A stream that is not there is an error of its own command, and no group of it is found.
	if _, err := look.Exec(ctx); err != nil && !answered(err) {
		return fmt.Errorf("looking for consumer groups: %w", classify(err))
	}
	pipe := s.rdb.Pipeline()
	for p := range s.partitions {
		for _, group := range groups {
			stream, _ := s.keys.streamOf(p, group)
			if !slices.ContainsFunc(infos[stream].Val(), func(g redis.XInfoGroup) bool { return g.Name == string(group) }) {
				pipe.XGroupCreateMkStream(ctx, stream, string(group), "0")
			}
		}
	}
	if pipe.Len() == 0 {
		return nil
	}
	cmds, err := pipe.Exec(ctx)
	for _, cmd := range cmds {
		if e := cmd.Err(); e != nil && !strings.HasPrefix(e.Error(), "BUSYGROUP") {
			return fmt.Errorf("creating consumer groups: %w", classify(e))
		}
	}
	if err != nil && len(cmds) == 0 {
		return fmt.Errorf("creating consumer groups: %w", classify(err))
	}
	return nil
}

// blockingClient is a client of its own for reads that block, so that they never
// take a connection that a script needs.
func (s *Store) blockingClient() (redis.UniversalClient, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocking == nil {
		rdb, err := dial(s.url, len(groups)*s.partitions+2, s.verifyConnection)
		if err != nil {
			return nil, err
		}
		s.addHook(rdb)
		s.blocking = rdb
	}
	return s.blocking, nil
}

func asString(v any) string {
	s, _ := v.(string)
	return s
}

func asInt(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		if err == nil {
			return n
		}
	}
	return 0
}
