package streams

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// history is what a store has seen of the data it works on. The log is
// trimmed at its beginning alone, and says how far, so an entry from behind there that was in it and is not any more, or is another one under its id,
// means that the data was replaced: Redis was emptied, an older copy was restored, or a failover lost the
// last moments. Of one that is older nothing can be told but by the branch. What a worker has in hand then is of a past that has not happened:
// posting it would write an invoice for an order that nobody has.
//
// Whoever finds it begins another branch in each partition, and the scripts that change orders and events compare it:
// what was learnt on another branch changes nothing any more, whether or not whoever learnt it has noticed.
//
// It is compared once a second (Verify), and before a new connection is used: a
// server that came back with other data is never spoken to unawares. Nobody but
// workers looks; the others do not carry anything over from one call to the next.
type history struct {
	mu      sync.Mutex
	watched bool      // since the first Verify
	ns      Namespace // as it was seen last
	at      []past    // by partition
	looks   int       // how often Verify has looked
}

// past is what was seen of a partition.
type past struct {
	branch string // "" none
	seen   trail
}

// sighting is an entry that was seen in a log: an id alone may come again, with another entry.
type sighting struct {
	id   layout.LogID
	hash uint64
}

var sightings = maphash.MakeSeed()

func sight(e domain.Entry) sighting {
	var h maphash.Hash
	h.SetSeed(sightings)
	for _, f := range e.Fields {
		_, _ = h.WriteString(f) // never fails
		_ = h.WriteByte(0)
	}
	return sighting{layout.ParseLogID(e.ID), h.Sum64()}
}

// trail are entries that were seen, the oldest first: all of the newest, and of those before so many that between two
// there is an eighth of the time since then at most.
type trail []sighting

const trailLength = 512

func (t trail) newest() (s sighting, known bool) {
	if len(t) == 0 {
		return sighting{}, false
	}
	return t[len(t)-1], true
}

func (t *trail) add(s sighting) {
	if all := *t; len(all) >= trailLength {
		kept := all[:1]
		for i := 1; i < len(all); i++ {
			if i < trailLength/2 && 8*(all[i+1].id.Millis-kept[len(kept)-1].id.Millis) <= s.id.Millis-all[i+1].id.Millis {
				continue
			}
			kept = append(kept, all[i])
		}
		*t = kept
	}
	*t = append(*t, s)
}

// note takes over that entries, in their order, are in the log.
func (h *history) note(p int, entries ...domain.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := &h.at[p].seen
	for _, e := range entries {
		if newest, known := seen.newest(); !known || layout.ParseLogID(e.ID).After(newest.id) {
			seen.add(sight(e))
		}
	}
}

// of is what was seen of a partition.
func (h *history) of(p int) past {
	h.mu.Lock()
	defer h.mu.Unlock()
	return past{h.at[p].branch, slices.Clone(h.at[p].seen)}
}

// newest is the newest entry that was seen of a partition.
func (h *history) newest(p int) (s sighting, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[p].seen.newest()
}

// branch is that which a partition had when it was taken over.
func (h *history) branch(p int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[p].branch
}

// looksPerBranch is with every how many looks a branch is compared, too: whatever changes something compares it anyway.
const looksPerBranch = 4

// branchesToLookAt are the partitions whose branch is to be compared in this look: one now and then, each time another one.
func (h *history) branchesToLookAt() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	look := h.looks
	h.looks++
	if look%looksPerBranch != 0 {
		return nil
	}
	return []int{look / looksPerBranch % len(h.at)}
}

// last is the newest entry of all, its partition, and the branch of that. All partitions of one
// server are of one moment, so if this one is there, the others are.
func (h *history) last() (epoch string, p int, branch string, newest sighting, known, watched bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.at {
		if s, seen := h.at[i].seen.newest(); seen && (!known || s.id.After(newest.id)) {
			p, newest, known = i, s, true
		}
	}
	if len(h.at) > 0 {
		branch = h.at[p].branch
	}
	return h.ns.Epoch, p, branch, newest, known, h.watched
}

// restart begins anew with other data, of which so much was seen.
func (h *history) restart(ns Namespace, at []past) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ns, h.at = ns, at
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

func (s *Store) entryReplaced(p int, id layout.LogID) error {
	return fmt.Errorf("%w: %s does not have the entry %s any more", domain.ErrDataReplaced, s.keys.Log(p), id)
}

// branchReplaced is the error for a partition of another branch: what was to be changed was decided on this one.
func (s *Store) branchReplaced(p int, was string) error {
	return fmt.Errorf("%w: partition %d is not of the branch %s any more", domain.ErrDataReplaced, p, was)
}

// Verify implements domain.Ledger. It is of ClassFatal if the namespace is served by another
// kind of gateway by now (see ServeWith), or by programs of another schema.
//
// Every few calls it compares the branch of one partition: whoever begins one begins one in all.
func (l *Ledger) Verify(ctx context.Context) error {
	l.store.history.watch(true)
	return l.store.verify(ctx, l.store.history.branchesToLookAt()...)
}

// verify compares what is stored with what was seen of it, and the branches of some partitions.
func (s *Store) verify(ctx context.Context, branchesOf ...int) error {
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
	ends := make([]*redis.Cmd, s.partitions)
	for p := range ends {
		ends[p] = pipe.Do(ctx, "XREVRANGE", s.keys.Log(p), "+", "-", "COUNT", 1)
	}
	branches := make([]*redis.StringCmd, len(branchesOf))
	for i, p := range branchesOf {
		branches[i] = pipe.HGet(ctx, s.keys.Events(p), layout.BranchField)
	}
	if _, err := pipe.Exec(ctx); err != nil && !answered(err) {
		return fmt.Errorf("reading the ends of the logs: %w", access.Classify(err))
	}
	for p, end := range ends {
		was, known := s.history.newest(p)
		newest, there, err := s.newest(ctx, p, was, known, end)
		if err != nil {
			return err
		}
		if !there {
			return s.entryReplaced(p, was.id)
		}
		s.history.note(p, newest...)
	}
	for i, p := range branchesOf {
		is, err := branches[i].Result()
		if err != nil && !access.IsNil(err) {
			return fmt.Errorf("reading the branch of partition %d: %w", p, access.Classify(err))
		}
		if was := s.history.branch(p); is != was {
			return s.branchReplaced(p, was)
		}
	}
	return nil
}

// newest is the entry with which a partition's log ends, as last says, and whether an entry that was seen in it still is
// there; known is false where none was. It is asked for only where it is not the end itself.
func (s *Store) newest(ctx context.Context, p int, was sighting, known bool, last *redis.Cmd) (newest []domain.Entry, there bool, err error) {
	reply, err := last.Result()
	if err != nil {
		return nil, false, fmt.Errorf("reading the end of %s: %w", s.keys.Log(p), access.Classify(err))
	}
	newest = layout.DecodeEntries(reply)
	if !known || len(newest) > 0 && sight(newest[0]) == was {
		return newest, true, nil
	}
	there, err = s.inLog(ctx, p, was)
	return newest, there, err
}

// inLog reports whether an entry that was seen is in a partition's log, byte for byte, or so old that it may have been trimmed. What was trimmed was
// archived, of the branch that the log was of then.
func (s *Store) inLog(ctx context.Context, p int, known sighting) (bool, error) {
	id := known.id.String()
	pipe := s.rdb.Pipeline()
	entry, trimmed := pipe.Do(ctx, "XRANGE", s.keys.Log(p), id, id), pipe.HGet(ctx, s.keys.Events(p), layout.TrimmedField)
	if _, err := pipe.Exec(ctx); err != nil && !access.IsNil(err) {
		return false, fmt.Errorf("looking for %s in %s: %w", id, s.keys.Log(p), access.Classify(err))
	}
	return isEntry(entry.Val(), known) || layout.ParseLogID(trimmed.Val()).After(known.id), nil
}

// isEntry reports whether an XRANGE found just the entry that was seen.
func isEntry(reply any, known sighting) bool {
	entries := layout.DecodeEntries(reply)
	return len(entries) == 1 && sight(entries[0]) == known
}

// Accept implements domain.Ledger: it makes namespace and groups again where Redis was
// emptied, with what the namespace had: payments outlive Redis, and what is published again
// must meet them under the same names. A namespace of which only the meta is gone it
// leaves alone (ClassFatal), and likewise one that is not what it was (start again). Where nobody has yet, it begins a
// branch in every partition. What is all as it was stays as it is.
func (l *Ledger) Accept(ctx context.Context, worker string) error {
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
	if s.servedBy != "" {
		if err := l.ServeWith(ctx, s.servedBy); err != nil {
			return err
		}
	}
	if err := s.ensureGroups(ctx); err != nil {
		return err
	}
	all := make([]int, s.partitions)
	for p := range all {
		all[p] = p
	}
	err = s.verify(ctx, all...)
	if errors.Is(err, domain.ErrDataReplaced) {
		var at []past
		if at, err = s.branchOff(ctx, worker); err == nil {
			s.history.restart(is, at)
			s.hashes.Forget()
		}
	}
	if err != nil {
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
	if err := s.askToCreate(ctx); err != nil {
		return Namespace{}, err
	}
	is, _, err := s.make(ctx, was)
	return is, err
}

// dataThere reports whether a partition's log is the one that was seen. That there is a log
// proves nothing: whoever has not noticed yet may have written to it since. But what was
// written since is not older than what was seen before, and an id alone may come again in
// one millisecond.
func (s *Store) dataThere(ctx context.Context, p int) (bool, error) {
	was, known := s.history.newest(p)
	first, err := s.rdb.XRangeN(ctx, s.keys.Log(p), "-", "+", 1).Result()
	if err != nil {
		return false, fmt.Errorf("reading the start of %s: %w", s.keys.Log(p), access.Classify(err))
	}
	if !known || len(first) == 0 {
		return false, nil
	}
	if layout.ParseLogID(first[0].ID).Millis >= was.id.Millis {
		trimmed, err := s.Inside().Trimmed(ctx, p)
		return trimmed.After(was.id), err
	}
	return s.inLog(ctx, p, was)
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
	epoch, p, branch, newest, known, watched := s.history.last()
	if !watched || epoch == "" {
		return nil
	}
	pipe := conn.Pipeline()
	is := pipe.HGet(ctx, layout.MetaKey(s.keys.Namespace), "epoch")
	stored := pipe.HMGet(ctx, s.keys.Events(p), layout.BranchField, layout.TrimmedField)
	var entry *redis.Cmd
	if known {
		entry = pipe.Do(ctx, "XRANGE", s.keys.Log(p), newest.id.String(), newest.id.String())
	}
	if _, err := pipe.Exec(ctx); err != nil && !access.IsNil(err) {
		return err
	}
	isBranch, trimmed := layout.AsString(stored.Val()[0]), layout.ParseLogID(layout.AsString(stored.Val()[1]))
	var replaced error
	switch {
	case is.Val() != epoch:
		replaced = epochReplaced(epoch, is.Val())
	case known && !isEntry(entry.Val(), newest) && !trimmed.After(newest.id):
		replaced = s.entryReplaced(p, newest.id)
	case isBranch != branch:
		replaced = s.branchReplaced(p, branch)
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
