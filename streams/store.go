package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// Limits and defaults of a namespace.
const (
	DefaultNamespace  = "holdfast"
	DefaultPartitions = 4
	MaxPartitions     = 1024

	schemaVersion = "1"
)

// Options of Open. The zero value is ready to use.
type Options struct {
	// Namespace prefixes every key. Default "holdfast".
	Namespace string
	// Partitions is how many the namespace gets if this call creates it. Default 4.
	Partitions int
	// TLS is whom to trust and who we are, where the URL begins with rediss://; elsewhere
	// it is an error. The name that a server's certificate must have is found for each
	// server, unless ServerName is set. Default: the authorities of the system.
	TLS *tls.Config
	// Hook, if not nil, sees every command and pipeline before and after it runs, on
	// every connection: for tracing, and for tests that make them fail.
	Hook redis.Hook
	// Log gets one line per change of state. Default: none.
	Log *zap.Logger
}

// Store is a namespace on a Redis. It is safe for concurrent use.
//
// What can be done with it is handed out by audience: Checkout for those who sell,
// Ledger and Queue for workers, Events for those who put events on sale. Packages
// inspect and audit take the store itself.
type Store struct {
	rdb        redis.UniversalClient
	endpoint   *endpoint
	keys       layout.Keys
	partitions int
	log        *zap.Logger
	hook       redis.Hook

	created bool        // by Open
	deaf    atomic.Bool // outcomes cannot be heard, which has been said

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
// Errors: ClassFatal if the URL, what it leads to, the server's version, the namespace's
// name or its schema will not do; ClassRetry if Redis does not answer, of code
// domain.CodeUnavailable if nothing did, of domain.CodeLoading if it is on its way up.
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
	e, err := parseURL(url, o.TLS)
	if err != nil {
		return nil, err
	}
	s := &Store{endpoint: e, log: o.Log, hook: o.Hook}
	if s.rdb, err = e.client(0, s.verifyConnection); err != nil {
		return nil, err
	}
	s.addHook(s.rdb)
	if err := s.open(ctx, o); err != nil {
		return nil, errors.Join(e.explain(err), s.rdb.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, o Options) error {
	if err := checkServer(ctx, s.rdb); err != nil {
		return err
	}
	s.keys.Namespace = o.Namespace
	ns, err := s.initNamespace(ctx, o.Partitions)
	if err != nil {
		return err
	}
	s.keys, s.partitions, s.created = layout.NewKeys(o.Namespace, ns.Partitions), ns.Partitions, ns.Created
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

// Partition is where an event and its orders are: CRC16-XMODEM of its id, modulo the
// number of partitions. Publishers in every language compute the same.
func (s *Store) Partition(eventID string) int { return layout.PartitionOf(eventID, s.partitions) }

// Inside is for the packages below streams only: inspect and audit. What it returns has
// a type that no other package can import.
func (s *Store) Inside() access.Namespace {
	return access.Namespace{Client: s.rdb, Keys: s.keys, Redrive: scriptRedrive, Discard: scriptDiscard}
}

// Namespace tells what the namespace was created with, as it is stored now.
func (s *Store) Namespace(ctx context.Context) (Namespace, error) {
	ns, err := s.initNamespace(ctx, s.partitions)
	ns.Created = s.created
	return ns, err
}

// Now is Redis's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	now, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return time.Time{}, fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	return now, nil
}

func (s *Store) initNamespace(ctx context.Context, partitions int) (Namespace, error) {
	epoch, err := uuid.NewV7()
	if err != nil {
		return Namespace{}, fmt.Errorf("naming the epoch: %w", err)
	}
	reply, err := s.run(ctx, scriptInit, []string{layout.MetaKey(s.keys.Namespace)}, partitions, schemaVersion, epoch.String()).Slice()
	if err != nil {
		return Namespace{}, fmt.Errorf("creating namespace %s: %w", s.keys.Namespace, access.Classify(err))
	}
	ns := Namespace{Name: s.keys.Namespace, Schema: layout.AsString(reply[1]), Epoch: layout.AsString(reply[2]), Created: layout.AsInt(reply[3]) == 1}
	ns.Partitions, err = strconv.Atoi(layout.AsString(reply[0]))
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
		for _, stream := range []string{s.keys.Requests(p), s.keys.Log(p)} {
			infos[stream] = look.XInfoGroups(ctx, stream)
		}
	}
	// A stream that is not there is an error of its own command, and no group of it is found.
	if _, err := look.Exec(ctx); err != nil && !answered(err) {
		return fmt.Errorf("looking for consumer groups: %w", access.Classify(err))
	}
	pipe := s.rdb.Pipeline()
	for p := range s.partitions {
		for _, group := range layout.Groups {
			stream, _ := s.keys.StreamOf(p, group)
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
			return fmt.Errorf("creating consumer groups: %w", access.Classify(e))
		}
	}
	if err != nil && len(cmds) == 0 {
		return fmt.Errorf("creating consumer groups: %w", access.Classify(err))
	}
	return nil
}

// blockingClient is a client of its own for reads that block, so that they never
// take a connection that a script needs.
func (s *Store) blockingClient() (redis.UniversalClient, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocking == nil {
		rdb, err := s.endpoint.client(len(layout.Groups)*s.partitions+2, s.verifyConnection)
		if err != nil {
			return nil, err
		}
		s.addHook(rdb)
		s.blocking = rdb
	}
	return s.blocking, nil
}
