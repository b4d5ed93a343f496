package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
)

// Options of Open. The zero value opens what is there, and writes nothing.
type Options struct {
	// Namespace prefixes every key. Default "holdfast".
	Namespace string
	// Create makes the namespace if nothing of it is there, and consumer groups and branches that are
	// gone: for workers (a Ledger changes nothing without), and for those who set it up.
	Create bool
	// Restore, with Create, makes the note of what a namespace was made with again, where
	// that alone is lost. Partitions and PaymentNames must be what they were.
	Restore bool
	// Partitions is how many the namespace gets if this call makes it. Default 4.
	Partitions int
	// PaymentNames is how its payments are named if this call makes it. Default namespaced.
	PaymentNames PaymentNames
	// MayCreate, if not nil, is asked before a namespace is made of which nothing is there, now or because Redis was emptied under a worker's
	// hands. Its error is returned, and nothing is made.
	MayCreate func(ctx context.Context) error
	// Migrate opens a namespace of the schema before, too: for package migrate, and nobody else.
	Migrate bool
	// Rebuild opens a namespace that is not there, or that is being restored, with so many Partitions: for package restore, and nobody else.
	Rebuild bool
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

// WithDefaults returns o with every unset field set.
func (o Options) WithDefaults() Options {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Partitions == 0 {
		o.Partitions = DefaultPartitions
	}
	if o.PaymentNames == "" {
		o.PaymentNames = PaymentNamesNamespaced
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o
}

// Validate returns the first thing that is wrong with complete Options, of ClassFatal.
func (o Options) Validate() error { return domain.WithClass(domain.ClassFatal, o.validate()) }

func (o Options) validate() error {
	switch {
	case !domain.ValidID(o.Namespace):
		return fmt.Errorf("namespace: want 1 to %d characters of A-Z a-z 0-9 . _ @ + -", domain.MaxIDLength)
	case o.Partitions < 1 || o.Partitions > MaxPartitions:
		return fmt.Errorf("partitions: want 1 to %d", MaxPartitions)
	case o.PaymentNames != PaymentNamesNamespaced && o.PaymentNames != PaymentNamesPlain:
		return fmt.Errorf("payment names: want %s or %s", PaymentNamesNamespaced, PaymentNamesPlain)
	case o.Restore && !o.Create:
		return errors.New("restore: only with create")
	case o.Create && (o.Migrate || o.Rebuild):
		return errors.New("migrate, rebuild: not with create")
	}
	return nil
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

	opened    Namespace // what it was when it was opened; never changes
	created   bool      // by Open
	migrating bool      // Options.Migrate
	mayCreate func(ctx context.Context) error
	servedBy  domain.GatewayKind // set before the ledger is used; empty: by no worker of this store
	deaf      atomic.Bool        // outcomes cannot be heard, which has been said

	history history
	room    room
	hashes  access.OrderHashes

	mu       sync.Mutex
	blocking redis.UniversalClient // made by the first Queue
}

// Open connects to a namespace, and makes it with Options.Create if nothing of it is there.
//
// Errors: ClassReject with domain.CodeNoSuchNamespace if there is no such namespace;
// ClassFatal if the URL, what it leads to, the server's version, the namespace's name or its
// schema will not do, of code domain.CodeSchemaBefore if it must be migrated first, and with
// domain.CodeNamespaceDamaged if its partitions are there and what it was made with is not; ClassRetry if Redis does not answer, of code
// domain.CodeUnavailable if nothing did, of domain.CodeLoading if it is on its way up, and if the namespace is being restored, of domain.CodeRestoring.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	o = o.WithDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
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
	s.keys.Namespace, s.migrating, s.mayCreate = o.Namespace, o.Migrate, o.MayCreate
	ns, created, err := s.find(ctx, o)
	if err != nil {
		return err
	}
	s.keys, s.partitions, s.opened, s.created = layout.NewKeys(o.Namespace, ns.Partitions), ns.Partitions, ns, created
	s.history.restart(ns, make([]past, ns.Partitions))
	s.room.restart(ns)
	if !o.Create {
		return nil
	}
	if err := s.ensureGroups(ctx); err != nil {
		return err
	}
	at, err := s.firstBranches(ctx)
	if err != nil {
		return err
	}
	s.history.restart(ns, at)
	return nil
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
	s.room.looks.Wait() // they fail now
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

// Created reports whether Open made the namespace.
func (s *Store) Created() bool { return s.created }

// PaymentNamespace is that of the payments' names, as workers take it; empty where they are plain.
func (s *Store) PaymentNamespace() string { return s.opened.PaymentNamespace() }

// PaymentNames says how payments are named.
func (s *Store) PaymentNames() PaymentNames { return s.opened.PaymentNames }

// FreeOrders says what confirms an order that costs nothing; it was so when the store was opened.
func (s *Store) FreeOrders() FreeOrders { return s.opened.FreeOrders }

// Inside is for the packages below streams only: inspect and audit. What it returns has
// a type that no other package can import.
func (s *Store) Inside() access.Namespace {
	return access.Namespace{
		Client: s.rdb, Keys: s.keys, Hashes: &s.hashes, PaymentNamespace: s.PaymentNamespace(), Redrive: scriptRedrive, Discard: scriptDiscard,
	}
}

// Namespace tells what the namespace was made with and told since, as it is stored now.
// Error: domain.CodeNoSuchNamespace.
func (s *Store) Namespace(ctx context.Context) (Namespace, error) {
	ns, found, err := s.readNamespace(ctx)
	if err == nil && !found {
		err = s.noSuchNamespace()
	}
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

// ensureGroups creates streams and groups where they are missing. From the start
// of the stream, never from its end: what is there already is work.
//
// It looks first and writes only what is missing, so that a worker can start when memory is full.
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
