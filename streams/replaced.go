package streams

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

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
	watched bool      // since the first Verify
	ns      Namespace // as it was seen last
	newest  []string  // by partition: the newest log entry that was seen, "" none yet
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
	return h.ns.Epoch, p, newest, h.watched
}

// restart begins anew with other data.
func (h *history) restart(ns Namespace) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ns, h.newest = ns, make([]string, ns.Partitions)
}

// outcomes is the channel on which a partition's outcomes are told: that of the data this
// store works on. Whoever listens follows when it becomes other data.
func (s *Store) outcomes(p int) string {
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	return s.keys.Outcomes(p, s.history.ns.Epoch)
}

// namespace is what it was when it was seen last.
func (h *history) namespace() Namespace {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ns
}

// noteNamespace takes over what the namespace, of the same epoch, was told since.
func (h *history) noteNamespace(ns Namespace) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ns = ns
}

// watch begins, or ends, the comparison of new connections.
func (h *history) watch(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watched = on
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

// Verify implements domain.Ledger. It is of ClassFatal if the namespace is served by another
// kind of gateway by now (see ServeWith), or by programs of another schema.
func (l *Ledger) Verify(ctx context.Context) error {
	s := l.store
	s.history.watch(true)
	was := s.history.namespace()
	is, found, err := s.readNamespace(ctx)
	switch {
	case err != nil:
		return err
	case !found || is.Epoch != was.Epoch:
		return epochReplaced(was.Epoch, is.Epoch)
	}
	if err := s.otherGateway(is.Gateway, s.servedBy); err != nil {
		return err
	}
	s.history.noteNamespace(is)
	pipe := s.rdb.Pipeline()
	ends := make([]*redis.XMessageSliceCmd, s.partitions)
	for p := range ends {
		ends[p] = pipe.XRevRangeN(ctx, s.keys.Log(p), "+", "-", 1)
	}
	if _, err := pipe.Exec(ctx); err != nil && !answered(err) {
		return fmt.Errorf("reading the ends of the logs: %w", access.Classify(err))
	}
	for p, end := range ends {
		known := s.history.of(p)
		newest, there, err := s.newest(ctx, p, known, end)
		if err != nil {
			return err
		}
		if !there {
			return s.entryReplaced(p, known)
		}
		s.history.note(p, newest)
	}
	return nil
}

// newest is where a partition's log ends, as last says, and whether an entry that was in it still is;
// known may be empty, to ask about none. It is asked for only where it is not the end itself.
func (s *Store) newest(ctx context.Context, p int, known string, last *redis.XMessageSliceCmd) (newest string, there bool, err error) {
	log := s.keys.Log(p)
	entries, err := last.Result()
	if err != nil {
		return "", false, fmt.Errorf("reading the end of %s: %w", log, access.Classify(err))
	}
	if len(entries) > 0 {
		newest = entries[0].ID
	}
	if known == "" || known == newest {
		return newest, true, nil
	}
	entries, err = s.rdb.XRangeN(ctx, log, known, known, 1).Result()
	if err != nil {
		return "", false, fmt.Errorf("looking for %s in %s: %w", known, log, access.Classify(err))
	}
	return newest, len(entries) > 0, nil
}

// Accept implements domain.Ledger: it makes namespace and groups again where Redis was
// emptied, with what the namespace had: payments outlive Redis, and what is published again
// must meet them under the same names. A namespace of which only the meta is gone it
// leaves alone (ClassFatal), and likewise one that is not what it was (start again).
func (l *Ledger) Accept(ctx context.Context) error {
	s := l.store
	s.history.watch(false) // or new connections would be refused for what is to be accepted
	was := s.history.namespace()
	is, found, err := s.readNamespace(ctx)
	if err == nil && !found {
		is, err = s.makeAgain(ctx, was)
	}
	if err != nil {
		return err
	}
	if is.Partitions != was.Partitions || is.PaymentNames != was.PaymentNames || is.FreeOrders != was.FreeOrders {
		return domain.WithClass(domain.ClassFatal, fmt.Errorf("namespace %s has %s now, it had %s: restart", is.Name, is.shape(), was.shape()))
	}
	s.history.restart(is)
	s.hashes.Forget()
	if s.servedBy != "" {
		if err := l.ServeWith(ctx, s.servedBy); err != nil {
			return err
		}
	}
	if err := s.ensureGroups(ctx); err != nil {
		return err
	}
	return l.Verify(ctx) // from now on this is what is known
}

// shape is what a worker must know of a namespace to work on it.
func (n Namespace) shape() string {
	return fmt.Sprintf("%d partitions, payment_names %s, free_orders %s", n.Partitions, n.PaymentNames, n.FreeOrders)
}

// makeAgain makes a namespace as it was, unless its data is still there: then somebody took
// only the meta away.
func (s *Store) makeAgain(ctx context.Context, was Namespace) (Namespace, error) {
	for p := range was.Partitions {
		there, err := s.dataThere(ctx, p)
		if err != nil {
			return Namespace{}, err
		}
		if !there {
			continue
		}
		left, err := s.lookForRemains(ctx)
		if err != nil {
			return Namespace{}, err
		}
		return Namespace{}, s.withoutMeta(left)
	}
	is, _, err := s.make(ctx, was)
	return is, err
}

// dataThere reports whether a partition's log is the one that was seen. That there is a log
// proves nothing: whoever has not noticed yet may have written to it since. But what was
// written since is not older than what was seen before, and an id alone may come again in
// one millisecond.
func (s *Store) dataThere(ctx context.Context, p int) (bool, error) {
	known := s.history.of(p)
	first, err := s.rdb.XRangeN(ctx, s.keys.Log(p), "-", "+", 1).Result()
	if err != nil {
		return false, fmt.Errorf("reading the start of %s: %w", s.keys.Log(p), access.Classify(err))
	}
	if len(first) == 0 || domain.EntryMillis(first[0].ID) >= domain.EntryMillis(known) {
		return false, nil
	}
	_, there, err := s.newest(ctx, p, known, s.rdb.XRevRangeN(ctx, s.keys.Log(p), "+", "-", 1))
	return there, err
}

// NoteReplaced implements domain.Ledger. Who reads and forgets it: package inspect.
func (l *Ledger) NoteReplaced(ctx context.Context, worker string, cause error) error {
	if err := l.store.run(ctx, scriptReplaced, []string{l.store.keys.Replaced()}, worker, cause.Error()).Err(); err != nil {
		return fmt.Errorf("script replaced: %w", access.Classify(err))
	}
	return nil
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
