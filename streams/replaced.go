package streams

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// history is what a store has seen of the data it works on. The log is never
// trimmed, so an entry that was in it and is not any more means that the data was
// replaced: Redis was emptied, an older copy was restored, or a failover lost the
// last moments. What a worker has in hand then is of a past that has not happened:
// posting it would write an invoice for an order that nobody has.
//
// It is compared once a second (Verify), and before a new connection is used: a
// server that came back with other data is never spoken to unawares. Nobody but
// workers looks; the others do not carry anything over from one call to the next.
type history struct {
	mu      sync.Mutex
	watched bool     // since the first Verify
	epoch   string   // of the namespace
	newest  []string // by partition: the newest log entry that was seen, "" none yet
}

// note takes over that an entry is in the log.
func (h *history) note(p int, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if layout.ParseLogID(id).After(layout.ParseLogID(h.newest[p])) {
		h.newest[p] = id
	}
}

func (h *history) of(p int) (newest string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newest[p]
}

// last is the newest entry of all, and its partition. All partitions of one
// server are of one moment, so if this one is there, the others are.
func (h *history) last() (epoch string, p int, newest string, watched bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, id := range h.newest {
		if layout.ParseLogID(id).After(layout.ParseLogID(newest)) {
			p, newest = i, id
		}
	}
	return h.epoch, p, newest, h.watched
}

// restart begins anew with other data, or with none that is known yet.
func (h *history) restart(epoch string, partitions int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch, h.newest = epoch, make([]string, partitions)
}

// outcomes is the channel on which a partition's outcomes are told: that of the data this
// store works on. Whoever listens follows when it becomes other data.
func (s *Store) outcomes(p int) string {
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	return s.keys.Outcomes(p, s.history.epoch)
}

func (h *history) watch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watched = true
}

func epochReplaced(was, is string) error {
	if is == "" {
		is = "none"
	}
	return fmt.Errorf("%w: the namespace's epoch was %s and is %s", domain.ErrDataReplaced, was, is)
}

func (s *Store) entryReplaced(p int, id string) error {
	return fmt.Errorf("%w: %s does not have the entry %s any more", domain.ErrDataReplaced, s.keys.Log(p), id)
}

// Verify implements domain.Ledger.
func (l *Ledger) Verify(ctx context.Context) error {
	l.store.history.watch()
	epoch, _, _, _ := l.store.history.last()
	is, err := l.store.rdb.HGet(ctx, layout.MetaKey(l.store.keys.Namespace), "epoch").Result()
	if err != nil && !access.IsNil(err) {
		return fmt.Errorf("reading the epoch: %w", access.Classify(err))
	}
	if is != epoch {
		return epochReplaced(epoch, is)
	}
	for p := range l.store.partitions {
		known := l.store.history.of(p)
		reply, err := l.store.run(ctx, scriptNewest, []string{l.store.keys.Log(p)}, known).Slice()
		if err != nil {
			return fmt.Errorf("script newest: %w", access.Classify(err))
		}
		if layout.AsInt(reply[1]) != 1 {
			return l.store.entryReplaced(p, known)
		}
		l.store.history.note(p, layout.AsString(reply[0]))
	}
	return nil
}

// Accept implements domain.Ledger: it makes namespace and groups again where they are missing.
func (l *Ledger) Accept(ctx context.Context) error {
	l.store.history.restart("", l.store.partitions) // or new connections would be refused for what is to be accepted
	ns, err := l.store.initNamespace(ctx, l.store.partitions)
	if err != nil {
		return err
	}
	if ns.Partitions != l.store.partitions {
		return domain.WithClass(domain.ClassFatal, fmt.Errorf("namespace %s has %d partitions now, it had %d: restart", ns.Name, ns.Partitions, l.store.partitions))
	}
	if ns.Created {
		l.store.log.Info("namespace created", zap.String("namespace", ns.Name), zap.Int("partitions", ns.Partitions))
	}
	l.store.history.restart(ns.Epoch, l.store.partitions)
	if err := l.store.ensureGroups(ctx); err != nil {
		return err
	}
	return l.Verify(ctx) // from now on this is what is known
}

// verifyConnection is Verify for a connection that is about to be used first. In a
// Cluster each node has only some of the keys, so there it is left to Verify.
func (s *Store) verifyConnection(ctx context.Context, conn *redis.Conn) error {
	epoch, p, newest, watched := s.history.last()
	if !watched || epoch == "" {
		return nil
	}
	pipe := conn.Pipeline()
	is := pipe.HGet(ctx, layout.MetaKey(s.keys.Namespace), "epoch")
	var entry *redis.XMessageSliceCmd
	if newest != "" {
		entry = pipe.XRangeN(ctx, s.keys.Log(p), newest, newest, 1)
	}
	if _, err := pipe.Exec(ctx); err != nil && !access.IsNil(err) {
		return err
	}
	var replaced error
	switch {
	case is.Val() != epoch:
		replaced = epochReplaced(epoch, is.Val())
	case entry != nil && len(entry.Val()) == 0:
		replaced = s.entryReplaced(p, newest)
	default:
		return nil
	}
	return fmt.Errorf("a new connection: %w", replaced) // the client takes the outermost error off
}

// heal makes groups and streams again that are gone, if nothing else is; if the data
// is other data it leaves it as it is, and says so.
func (s *Store) heal(ctx context.Context) error {
	if err := s.Ledger().Verify(ctx); err != nil {
		return err
	}
	return s.ensureGroups(ctx)
}
