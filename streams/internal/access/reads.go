package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/seats"
	"holdfast/streams/internal/layout"
)

// OrderHashes remembers of events what never changes once they are there: how many hashes of orders of their own they
// have, whether a customer's places are counted, and where their seats are; and what may change, and is only taken to be so until
// a script says otherwise: whether a seat may be left alone. It is safe for concurrent use.
type OrderHashes struct {
	byEvent sync.Map
	layouts layouts
}

type whereOrdersAre struct {
	hashes          int
	limited, strict bool
}

// Of is how many an event has, as far as is known; 0 for one that was not there when it was looked for.
func (h *OrderHashes) Of(eventID string) (hashes int, known bool) {
	n, known := h.byEvent.Load(eventID)
	if !known {
		return 0, false
	}
	return n.(whereOrdersAre).hashes, true
}

// Limited reports whether an event has a limit of places per customer, as far as is known.
func (h *OrderHashes) Limited(eventID string) bool {
	n, known := h.byEvent.Load(eventID)
	return known && n.(whereOrdersAre).limited
}

// Strict reports whether named seats of an event must leave none alone, as far as is known.
func (h *OrderHashes) Strict(eventID string) bool {
	n, known := h.byEvent.Load(eventID)
	return known && n.(whereOrdersAre).strict
}

// Forget begins anew: the data is other data.
func (h *OrderHashes) Forget() {
	h.byEvent.Clear()
	h.layouts.forget()
}

// Layouts are those of an event's seated sections, as far as is known: it may have got more.
func (h *OrderHashes) Layouts(eventID string) (of map[string]*seats.Layout, known bool) {
	return h.layouts.of(eventID)
}

// LearnHashes looks for what is not known yet of these orders' events, or, with again, for all of them. Of those beside one that is damaged it is known
// then, too; the first that is, is the error, of ClassPoison.
func (n Namespace) LearnHashes(ctx context.Context, refs []domain.OrderRef, again bool) error {
	wanted := make(map[string]bool)
	for _, ref := range refs {
		if _, known := n.Hashes.Of(ref.EventID); !known || again {
			wanted[ref.EventID] = true
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	byPartition := make(map[int][]string)
	for event := range wanted {
		p := n.Keys.PartitionOf(event)
		byPartition[p] = append(byPartition[p], event)
	}
	pipe := n.Client.Pipeline()
	replies := make(map[int]*redis.SliceCmd, len(byPartition))
	for p, events := range byPartition {
		replies[p] = pipe.HMGet(ctx, n.Keys.Events(p), events...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("reading events: %w", Classify(err))
	}
	var damage error
	for p, events := range byPartition {
		for i, value := range replies[p].Val() {
			terms, err := layout.DecodeEventTerms(layout.AsString(value))
			if err != nil {
				damage = cmp.Or(damage, err)
				continue
			}
			if terms.Version > 0 && terms.Over == "" { // one that was forgotten may be recalled
				n.Hashes.byEvent.Store(events[i], whereOrdersAre{terms.OrderHashes, terms.MaxPerCustomer > 0, terms.NoOrphans})
			} else {
				n.Hashes.byEvent.Delete(events[i]) // it may have been there, in other data
			}
		}
	}
	return damage
}

// RecordReads are reads of orders' records on their way, in a pipeline or a transaction.
type RecordReads struct {
	size  int
	reads []recordRead
}

type recordRead struct {
	positions []int
	cmd       *redis.SliceCmd
}

// ReadRecords asks for records of orders of one partition. It is known how many hashes their events have.
func (n Namespace) ReadRecords(ctx context.Context, pipe redis.Pipeliner, p int, refs []domain.OrderRef) *RecordReads {
	own, shared := make(map[layout.OrderHash][]int), make(map[layout.OrderHash][]int)
	for i, ref := range refs {
		hashes, _ := n.Hashes.Of(ref.EventID)
		hash := n.Keys.HashOf(ref, hashes)
		own[hash] = append(own[hash], i)
		if other := n.Keys.SharedHash(ref.EventID); other != hash {
			shared[other] = append(shared[other], i)
		}
	}
	r := &RecordReads{size: len(refs)}
	for _, positions := range []map[layout.OrderHash][]int{shared, own} { // the last one that is there counts
		for hash, at := range positions {
			for chunk := range slices.Chunk(at, MaxBatch) {
				cmd := redis.NewSliceCmd(ctx, readArgs(n.Keys.Orders(p, hash), refs, chunk)...)
				_ = pipe.Process(ctx, cmd) // it only queues it
				r.reads = append(r.reads, recordRead{chunk, cmd})
			}
		}
	}
	return r
}

// readArgs is an HMGET of some of the orders. Their names stand in one string, and the arguments point to them: a
// settlement reads every order.
func readArgs(key string, refs []domain.OrderRef, chunk []int) []any {
	names, ends := make([]byte, 0, 64*len(chunk)), make([]int, len(chunk))
	for j, i := range chunk {
		names = append(append(append(names, refs[i].EventID...), '/'), refs[i].OrderID...)
		ends[j] = len(names)
	}
	all, fields, from := string(names), make([]string, len(chunk)), 0
	args := make([]any, 0, 2+len(chunk))
	args = append(args, "hmget", key)
	for j, to := range ends {
		fields[j], from = all[from:to], to
		args = append(args, &fields[j])
	}
	return args
}

// Records are those that were asked for, "" for an order never heard of; or the first error.
func (r *RecordReads) Records() ([]string, error) {
	records := make([]string, r.size)
	for _, read := range r.reads {
		values, err := read.cmd.Result()
		if err == nil && len(values) != len(read.positions) {
			err = errNoReply // the pipeline ended before
		}
		if err != nil {
			return nil, fmt.Errorf("reading orders: %w", Classify(err))
		}
		for j, i := range read.positions {
			if record := layout.AsString(values[j]); record != "" {
				records[i] = record
			}
		}
	}
	return records, nil
}

var errNoReply = errors.New("no reply")

// Records reads those of orders of any partitions, in one round trip but for events that were never asked for
// before; "" for an order never heard of.
func (n Namespace) Records(ctx context.Context, refs []domain.OrderRef) ([]string, error) {
	if err := n.LearnHashes(ctx, refs, false); err != nil {
		return nil, err
	}
	byPartition := make(map[int][]int)
	for i, ref := range refs {
		p := n.Keys.PartitionOf(ref.EventID)
		byPartition[p] = append(byPartition[p], i)
	}
	pipe := n.Client.Pipeline()
	reads := make(map[int]*RecordReads, len(byPartition))
	for p, indexes := range byPartition {
		here := make([]domain.OrderRef, len(indexes))
		for j, i := range indexes {
			here[j] = refs[i]
		}
		reads[p] = n.ReadRecords(ctx, pipe, p, here)
	}
	_, _ = pipe.Exec(ctx) // the errors are those of the reads
	all := make([]string, len(refs))
	for p, indexes := range byPartition {
		records, err := reads[p].Records()
		if err != nil {
			return nil, err
		}
		for j, i := range indexes {
			all[i] = records[j]
		}
	}
	return all, nil
}

// Orders reads stored orders; one never heard of is the zero Order.
func (n Namespace) Orders(ctx context.Context, refs []domain.OrderRef) ([]domain.Order, error) {
	records, err := n.Records(ctx, refs)
	if err != nil {
		return nil, err
	}
	orders := make([]domain.Order, len(refs))
	for i, record := range records {
		if orders[i], err = layout.DecodeOrder(record); err != nil {
			return nil, err
		}
	}
	return orders, nil
}

// EventIDs lists the events of a partition, in no order.
func (n Namespace) EventIDs(ctx context.Context, p int) ([]string, error) {
	var ids []string
	err := n.EachTerms(ctx, p, func(id string, terms layout.EventTerms) {
		if terms.Over == "" {
			ids = append(ids, id)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing events: %w", err)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// EachTerms calls each for the terms of all events of a partition, those that were forgotten among them, for some perhaps more than once. Of those that are
// damaged nothing is known but that they are there.
func (n Namespace) EachTerms(ctx context.Context, p int, each func(eventID string, terms layout.EventTerms)) error {
	return n.EachValue(ctx, n.Keys.Events(p), "", func(field, value string) {
		if domain.ValidID(field) { // the other fields have names that are none
			terms, _ := layout.DecodeEventTerms(value)
			each(field, terms)
		}
	})
}

// EachField calls each for the names of a hash's fields, for some perhaps more than once.
func (n Namespace) EachField(ctx context.Context, key string, each func(field string)) error {
	return n.EachValue(ctx, key, "", func(field, _ string) { each(field) })
}

// EachValue calls each for the fields of a hash that match a pattern, all if it is empty, and their values, for some perhaps more than once.
func (n Namespace) EachValue(ctx context.Context, key, pattern string, each func(field, value string)) error {
	for cursor := uint64(0); ; {
		page, next, err := n.Client.HScan(ctx, key, cursor, pattern, ReadPage).Result()
		if err != nil {
			return Classify(err)
		}
		for i := 0; i < len(page); i += 2 { // names and values
			each(page[i], page[i+1])
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// Event is what is stored of one, all of one moment.
type Event struct {
	domain.Event // the zero Event if it is not there
	Totals       layout.Totals
	OrderHashes  int    // how many hashes of orders of its own it has
	Branch       string // of its partition; also if the event is not there
}

// Event reads one event, its seats included. What an event has for sections is not
// known before it is read: so it is read twice, and once more where somebody changed it in between.
func (n Namespace) Event(ctx context.Context, eventID string) (Event, error) {
	p := n.Keys.PartitionOf(eventID)
	var about layout.EventAbout
	var said string
	for range mostReads {
		fields := []string{layout.TermsField(eventID), layout.SalesField(eventID), layout.AboutField(eventID), layout.BranchField}
		for _, name := range about.Sections {
			fields = append(fields, layout.SectionField(eventID, name))
		}
		codes := len(fields)
		for _, hash := range about.CodeHashes() {
			fields = append(fields, layout.CodeField(eventID, hash))
		}
		values, places, err := n.eventFields(ctx, p, fields, fields[4:codes], len(about.Layouts) > 0)
		if err != nil {
			return Event{}, fmt.Errorf("reading event %s: %w", eventID, Classify(err))
		}
		is := Event{Branch: values[3]}
		if values[0] == "" {
			return is, nil
		}
		if terms, err := layout.DecodeEventTerms(values[0]); err == nil && terms.Over != "" {
			is.Event = domain.Event{Version: terms.Version, Over: terms.Over}
			return is, nil
		}
		if said == "" || values[2] != said {
			said = values[2]
			if about, err = layout.DecodeEventAbout(said); err != nil {
				return Event{}, err
			}
			continue
		}
		terms, err := layout.DecodeEventTerms(values[0])
		if err != nil {
			return Event{}, err
		}
		is.OrderHashes = terms.OrderHashes
		if is.Totals, err = layout.DecodeTotals(values[1]); err != nil {
			return Event{}, err
		}
		is.Event, err = layout.DecodeEvent(terms, about, values[4:codes], places, values[codes:])
		return is, err
	}
	return Event{}, fmt.Errorf("reading event %s: %w", eventID, errKeepsChanging)
}

// mostReads bounds how often something is read again because it has changed meanwhile.
const mostReads = 100

// errKeepsChanging says that what is read is never the same twice.
var errKeepsChanging = domain.WithClass(domain.ClassRetry, fmt.Errorf("it has changed while it was read, %d times in a row", mostReads))

// eventFields are fields of an event, and the places of its sections, if any is seated. They
// are of one moment: if the fields, and the time of the newest log entry, are still the same behind the places. (A transaction
// would be refused when memory is full.)
func (n Namespace) eventFields(ctx context.Context, p int, fields, sections []string, seated bool) (values, places []string, err error) {
	if !seated {
		reply := n.Client.HMGet(ctx, n.Keys.Events(p), fields...)
		return texts(reply), make([]string, len(sections)), reply.Err()
	}
	all := append(slices.Clone(fields), layout.ClockField)
	for range mostReads {
		pipe := n.Client.Pipeline()
		before, taken, after := pipe.HMGet(ctx, n.Keys.Events(p), all...), pipe.HMGet(ctx, n.Keys.Places(p), sections...), pipe.HMGet(ctx, n.Keys.Events(p), all...)
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, nil, err
		}
		if values = texts(before); slices.Equal(values, texts(after)) {
			return values[:len(fields)], texts(taken), nil
		}
	}
	return nil, nil, errKeepsChanging
}

// texts are the values of a reply, "" for what is not there.
func texts(reply *redis.SliceCmd) []string {
	values := make([]string, len(reply.Val()))
	for i, v := range reply.Val() {
		values[i] = layout.AsString(v)
	}
	return values
}

// DeadLetters reads at most count dead letters of a partition, between two ids of its
// stream, as XRANGE takes them.
func (n Namespace) DeadLetters(ctx context.Context, p int, from, to string, count int) ([]layout.DeadLetter, error) {
	read, err := n.ReadDeadLetters(ctx, p, from, to, count)
	if err != nil {
		return nil, err
	}
	var letters []layout.DeadLetter
	for _, r := range read {
		if r.Damage != nil {
			return nil, r.Damage
		}
		letters = append(letters, r.DeadLetter)
	}
	return letters, nil
}

// ReadLetter is a dead letter, or what can be read of one that is damaged.
type ReadLetter struct {
	layout.DeadLetter
	Damage error
}

// ReadDeadLetters is DeadLetters for whoever goes on where one is damaged.
func (n Namespace) ReadDeadLetters(ctx context.Context, p int, from, to string, count int) ([]ReadLetter, error) {
	reply, err := n.Client.Do(ctx, "XRANGE", n.Keys.Dead(p), from, to, "COUNT", count).Result()
	if err != nil {
		return nil, fmt.Errorf("reading dead letters: %w", Classify(err))
	}
	var letters []ReadLetter
	for _, e := range layout.DecodeEntries(reply) {
		letter, damage := layout.DecodeDeadLetter(p, e)
		letters = append(letters, ReadLetter{letter, damage})
	}
	return letters, nil
}

// EachOrderOf calls each for the orders that are stored of an event, a few hundred at a time, in no order; for some perhaps more than once. One that
// comes meanwhile may be left out.
func (n Namespace) EachOrderOf(ctx context.Context, eventID string, each func([]domain.OrderRef) error) error {
	p := n.Keys.PartitionOf(eventID)
	if err := n.LearnHashes(ctx, []domain.OrderRef{{EventID: eventID}}, true); err != nil {
		return err
	}
	hashes, _ := n.Hashes.Of(eventID)
	keys := []string{n.Keys.Orders(p, n.Keys.SharedHash(eventID))}
	for i := range hashes {
		keys = append(keys, n.Keys.Orders(p, layout.OrderHash{EventID: eventID, Index: i}))
	}
	for _, key := range keys {
		for cursor := uint64(0); ; {
			page, next, err := n.Client.HScan(ctx, key, cursor, eventID+"/*", ReadPage).Result()
			if err != nil {
				return fmt.Errorf("reading the orders of event %s: %w", eventID, Classify(err))
			}
			var refs []domain.OrderRef
			for i := 0; i < len(page); i += 2 { // names and values
				if ref, ok := domain.ParseOrderRef(page[i]); ok {
					refs = append(refs, ref)
				}
			}
			if err := each(refs); err != nil {
				return err
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return nil
}

// AliveUntil is, by group/consumer, the time in milliseconds until which it counts as alive.
func (n Namespace) AliveUntil(ctx context.Context, p int) (map[string]int64, error) {
	return ScoresByName(n.Client.ZRangeWithScores(ctx, n.Keys.Consumers(p), 0, -1))
}

// ScoresByName is what AliveUntil makes of a reply.
func ScoresByName(consumers *redis.ZSliceCmd) (map[string]int64, error) {
	members, err := consumers.Result()
	if err != nil {
		return nil, fmt.Errorf("listing consumers: %w", Classify(err))
	}
	until := make(map[string]int64, len(members))
	for _, m := range members {
		name, _ := m.Member.(string)
		until[name] = int64(m.Score)
	}
	return until, nil
}

// ReadInfo is sections of a server's INFO, each name with its value. The error is the client's.
func ReadInfo(ctx context.Context, server redis.UniversalClient, sections ...string) (map[string]string, error) {
	text, err := server.Info(ctx, sections...).Result()
	if err != nil {
		return nil, err
	}
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			info[name] = value
		}
	}
	return info, nil
}
