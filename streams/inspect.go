package streams

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
)

// readPage is how many log entries or pending entries one call asks for.
const readPage = 1000

func sortInvoices(lines []InvoiceLine) {
	slices.SortFunc(lines, func(a, b InvoiceLine) int {
		return cmp.Or(cmp.Compare(a.ConfirmedAtMillis, b.ConfirmedAtMillis), cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.OrderID, b.OrderID))
	})
}

// ReadLog calls each for the facts of a partition's log after an entry id
// ("0-0": from the start) and up to one ("+": to the end), in order, and returns
// the id of the last one, after if there was none.
func (s *Store) ReadLog(ctx context.Context, p int, after, upTo string, each func(domain.Fact) error) (last string, err error) {
	return s.readLog(ctx, p, after, upTo, each, func(_ string, err error) error { return err })
}

// readLog also goes past entries that cannot be read, if damaged lets it.
func (s *Store) readLog(ctx context.Context, p int, after, upTo string, each func(domain.Fact) error, damaged func(id string, err error) error) (last string, err error) {
	last = after
	for {
		reply, err := s.rdb.Do(ctx, "XRANGE", s.keys.log(p), "("+last, upTo, "COUNT", readPage).Result()
		if err != nil {
			return last, fmt.Errorf("reading the log: %w", classify(err))
		}
		entries := decodeEntries(reply)
		for _, e := range entries {
			facts, err := wire.ParseFacts(e.ID, e.Fields)
			if err != nil {
				err = damaged(e.ID, err)
			}
			if err != nil {
				return last, err
			}
			for _, fact := range facts {
				if err := each(fact); err != nil {
					return last, err
				}
			}
			last = e.ID
		}
		if len(entries) < readPage {
			return last, nil
		}
	}
}

// History returns the facts about one order, oldest first. It finds them by the
// times in the order's record, so its cost does not grow with the log.
func (s *Store) History(ctx context.Context, ref domain.OrderRef, o domain.Order) ([]domain.Fact, error) {
	p := PartitionOf(ref.EventID, s.partitions)
	var times []int64
	for _, at := range []int64{o.HeldAtMillis, o.ConfirmedAtMillis, o.ResolvedAtMillis} {
		if at != 0 && !slices.Contains(times, at) {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	var history []domain.Fact
	for _, at := range times {
		before := strconv.FormatInt(at-1, 10) + "-18446744073709551615"
		_, err := s.ReadLog(ctx, p, before, strconv.FormatInt(at, 10), func(f domain.Fact) error {
			if f.Ref() == ref {
				history = append(history, f)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return history, nil
}

// OrderFilter chooses orders; empty fields choose all.
type OrderFilter struct {
	EventID    string
	CustomerID string
	State      domain.OrderState // OrderNone: any
}

// EachOrder calls each for the chosen orders as they are now, in the order they
// came. It walks the log, in which each order has exactly one first fact, so its
// cost grows with the log: for people and reports, not for a checkout.
func (s *Store) EachOrder(ctx context.Context, filter OrderFilter, each func(domain.OrderRef, domain.Order) error) error {
	first, end := 0, s.partitions
	if filter.EventID != "" {
		first = PartitionOf(filter.EventID, s.partitions)
		end = first + 1
	}
	for p := first; p < end; p++ {
		var page []domain.OrderRef
		flush := func() error {
			orders, err := s.Orders(ctx, page)
			if err != nil {
				return err
			}
			for i, o := range orders {
				if filter.State != domain.OrderNone && o.State != filter.State || filter.CustomerID != "" && o.CustomerID != filter.CustomerID {
					continue
				}
				if err := each(page[i], o); err != nil {
					return err
				}
			}
			page = page[:0]
			return nil
		}
		_, err := s.ReadLog(ctx, p, "0-0", "+", func(f domain.Fact) error {
			opens := f.Type == domain.FactHeld || f.Type == domain.FactRejected ||
				f.Type == domain.FactCancelled && f.Was == domain.OrderNone
			if !opens || filter.EventID != "" && f.EventID != filter.EventID {
				return nil
			}
			page = append(page, f.Ref())
			if len(page) == maxBatch {
				return flush()
			}
			return nil
		})
		if err == nil && len(page) > 0 {
			err = flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// FindOrder looks for an order whose event is not known: among the listed
// events first, then in the whole log (an order of an event that was never
// listed is there). Several events may have an order of that name.
func (s *Store) FindOrder(ctx context.Context, orderID string) ([]domain.OrderRef, error) {
	var found []domain.OrderRef
	for p := range s.partitions {
		ids, err := s.EventIDs(ctx, p)
		if err != nil {
			return nil, err
		}
		for chunk := range slices.Chunk(ids, maxBatch) {
			refs := make([]domain.OrderRef, len(chunk))
			for i, id := range chunk {
				refs[i] = domain.OrderRef{EventID: id, OrderID: orderID}
			}
			orders, err := s.Orders(ctx, refs)
			if err != nil {
				return nil, err
			}
			for i, o := range orders {
				if o.State != domain.OrderNone {
					found = append(found, refs[i])
				}
			}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	for p := range s.partitions {
		_, err := s.ReadLog(ctx, p, "0-0", "+", func(f domain.Fact) error {
			if f.OrderID == orderID && !slices.Contains(found, f.Ref()) {
				found = append(found, f.Ref())
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// GroupStatus is what one group of one partition has before it.
type GroupStatus struct {
	Partition        int              `json:"partition"`
	Stream           string           `json:"stream"`
	Group            string           `json:"group"`
	Lag              int64            `json:"lag"`     // entries nobody was given yet
	Pending          int64            `json:"pending"` // given, not acknowledged
	Backlog          int64            `json:"backlog"` // both: what to scale on
	OldestIdleMillis int64            `json:"oldest_idle_ms"`
	Consumers        []ConsumerStatus `json:"consumers"`
	Entries          []PendingEntry   `json:"entries"`
}

// ConsumerStatus is one consumer of a group.
type ConsumerStatus struct {
	Name       string `json:"name"`
	Pending    int64  `json:"pending"`
	IdleMillis int64  `json:"idle_ms"`
	Alive      bool   `json:"alive"` // it said so within its reclaim time
}

// PendingEntry is an entry that was given to a consumer and not acknowledged.
type PendingEntry struct {
	ID         string `json:"id"`
	OrderID    string `json:"order_id"` // event_id/order_id; empty if the entry names none
	Consumer   string `json:"consumer"`
	IdleMillis int64  `json:"idle_ms"`
	Deliveries int64  `json:"deliveries"`
}

// Pending tells what every group has before it, with at most mostEntries of its
// pending entries, the oldest first.
func (s *Store) Pending(ctx context.Context, mostEntries int) ([]GroupStatus, error) {
	var all []GroupStatus
	for p := range s.partitions {
		now, err := s.rdb.Time(ctx).Result()
		if err != nil {
			return nil, fmt.Errorf("asking Redis for the time: %w", classify(err))
		}
		aliveUntil, err := s.aliveUntil(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, group := range groups {
			status, err := s.groupStatus(ctx, p, group, mostEntries)
			if err != nil {
				return nil, err
			}
			status.markAlive(aliveUntil, now.UnixMilli())
			all = append(all, status)
		}
	}
	return all, nil
}

// markAlive says which consumers are alive, and adds those that Redis does not know yet:
// it does not note one that waits for its first entry, and a worker that has nothing
// to do is not a worker that is not there.
func (g *GroupStatus) markAlive(aliveUntil map[string]int64, nowMillis int64) {
	listed := make(map[string]bool, len(g.Consumers))
	for i, c := range g.Consumers {
		listed[c.Name] = true
		g.Consumers[i].Alive = aliveUntil[g.Group+"/"+c.Name] > nowMillis
	}
	for name, until := range aliveUntil {
		group, consumer, _ := strings.Cut(name, "/")
		if group == g.Group && until > nowMillis && !listed[consumer] {
			g.Consumers = append(g.Consumers, ConsumerStatus{Name: consumer, Alive: true})
		}
	}
	slices.SortFunc(g.Consumers, func(a, b ConsumerStatus) int { return strings.Compare(a.Name, b.Name) })
}

func (s *Store) groupStatus(ctx context.Context, p int, group domain.Group, mostEntries int) (GroupStatus, error) {
	stream, name := s.keys.streamOf(p, group)
	status := GroupStatus{Partition: p, Stream: name, Group: string(group), Consumers: []ConsumerStatus{}, Entries: []PendingEntry{}}
	fail := func(err error) (GroupStatus, error) {
		return status, fmt.Errorf("inspecting %s of %s: %w", group, stream, classify(err))
	}
	infos, err := s.rdb.XInfoGroups(ctx, stream).Result()
	if err != nil {
		return fail(err)
	}
	i := slices.IndexFunc(infos, func(g redis.XInfoGroup) bool { return g.Name == string(group) })
	if i < 0 {
		return fail(fmt.Errorf("the group is gone; a worker makes it again"))
	}
	status.Pending = infos[i].Pending
	if status.Lag, err = s.lag(ctx, stream, infos[i]); err != nil {
		return fail(err)
	}
	status.Backlog = status.Lag + status.Pending

	consumers, err := s.rdb.XInfoConsumers(ctx, stream, string(group)).Result()
	if err != nil {
		return fail(err)
	}
	for _, c := range consumers {
		status.Consumers = append(status.Consumers, ConsumerStatus{Name: c.Name, Pending: c.Pending, IdleMillis: c.Idle.Milliseconds()})
	}
	if status.Pending == 0 || mostEntries == 0 {
		return status, nil
	}
	pending, err := s.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: stream, Group: string(group), Start: "-", End: "+", Count: int64(mostEntries),
	}).Result()
	if err != nil {
		return fail(err)
	}
	pipe := s.rdb.Pipeline()
	payloads := make([]*redis.Cmd, len(pending))
	for i, e := range pending {
		payloads[i] = pipe.Do(ctx, "XRANGE", stream, e.ID, e.ID)
	}
	if len(pending) > 0 {
		if _, err := pipe.Exec(ctx); err != nil {
			return fail(err)
		}
	}
	for i, e := range pending {
		entry := PendingEntry{ID: e.ID, Consumer: e.Consumer, IdleMillis: e.Idle.Milliseconds(), Deliveries: e.RetryCount}
		if found := decodeEntries(payloads[i].Val()); len(found) == 1 {
			entry.OrderID = orderOf(found[0].Fields)
		}
		status.OldestIdleMillis = max(status.OldestIdleMillis, entry.IdleMillis)
		status.Entries = append(status.Entries, entry)
	}
	return status, nil
}

// orderOf is the order that a request or a fact is about, empty if it names none,
// or is about several.
func orderOf(fields []string) string {
	name := ""
	if len(fields) == 2 { // a fact, alone in its entry
		name, _, _ = strings.Cut(fields[1], "|")
	} else if request, _ := wire.ParseRequest(fields); request.EventID != "" {
		name = request.Ref().String()
	}
	if _, ok := domain.ParseOrderRef(name); !ok {
		return ""
	}
	return name
}

// lagPages bounds the counting of a lag that Redis does not know.
const lagPages = 100

// lag is counted, and only if there is much of it Redis's own figure. After some
// deletions that has none (go-redis then says -1), and an autoscaler that took it for
// zero would switch the workers off. On a server that was a replica it is too high, by
// what was delivered after it had last copied everything, until the end of time.
func (s *Store) lag(ctx context.Context, stream string, g redis.XInfoGroup) (int64, error) {
	if g.Lag == 0 {
		return 0, nil
	}
	pages := 1
	if g.Lag < 0 {
		pages = lagPages
	}
	var count int64
	after := g.LastDeliveredID
	for range pages {
		page, err := s.rdb.XRangeN(ctx, stream, "("+after, "+", readPage).Result()
		if err != nil {
			return 0, fmt.Errorf("counting the lag: %w", err)
		}
		count += int64(len(page))
		if len(page) < readPage {
			return count, nil
		}
		after = page[len(page)-1].ID
	}
	return max(count, g.Lag), nil
}

// DeadLetter is an entry that was set aside.
type DeadLetter struct {
	ID         string            `json:"dead_id"` // partition:entry id
	Stream     string            `json:"stream"`
	Group      string            `json:"group"`
	EntryID    string            `json:"entry_id"`
	Reason     string            `json:"reason"`
	Deliveries int64             `json:"deliveries"`
	AtMillis   int64             `json:"at"`     // milliseconds
	Fields     map[string]string `json:"fields"` // the payment token redacted

	partition int
	letterID  string
	raw       []string // the fields as they were, token and all
}

// parseDeadID takes "partition:id" apart.
func (s *Store) parseDeadID(id string) (p int, letterID string, err error) {
	for i := range len(id) {
		if id[i] == ':' {
			p, convErr := strconv.Atoi(id[:i])
			if convErr == nil && p >= 0 && p < s.partitions && domain.EntryMillis(id[i+1:]) > 0 {
				return p, id[i+1:], nil
			}
		}
	}
	return 0, "", domain.WithClass(domain.ClassReject, fmt.Errorf("dead letter %q: want an id as dead list prints it, such as 0:1700000000000-0", id))
}

// EachDeadLetter calls each for every dead letter, the oldest of each partition first.
func (s *Store) EachDeadLetter(ctx context.Context, each func(DeadLetter) error) error {
	for p := range s.partitions {
		after := "0-0"
		for {
			page, err := s.deadLetters(ctx, p, "("+after, "+", readPage)
			if err != nil {
				return err
			}
			for _, letter := range page {
				if err := each(letter); err != nil {
					return err
				}
				after = letter.letterID
			}
			if len(page) < readPage {
				break
			}
		}
	}
	return nil
}

// DeadLetter reads one. Error: domain.ErrNotFound.
func (s *Store) DeadLetter(ctx context.Context, id string) (DeadLetter, error) {
	p, letterID, err := s.parseDeadID(id)
	if err != nil {
		return DeadLetter{}, err
	}
	found, err := s.deadLetters(ctx, p, letterID, letterID, 1)
	if err != nil {
		return DeadLetter{}, err
	}
	if len(found) == 0 {
		return DeadLetter{}, notFound("dead letter", id)
	}
	return found[0], nil
}

func (s *Store) deadLetters(ctx context.Context, p int, from, to string, count int) ([]DeadLetter, error) {
	reply, err := s.rdb.Do(ctx, "XRANGE", s.keys.dead(p), from, to, "COUNT", count).Result()
	if err != nil {
		return nil, fmt.Errorf("reading dead letters: %w", classify(err))
	}
	var letters []DeadLetter
	for _, e := range decodeEntries(reply) {
		letter, err := decodeDeadLetter(p, e)
		if err != nil {
			return nil, err
		}
		letters = append(letters, letter)
	}
	return letters, nil
}

func decodeDeadLetter(p int, e domain.Entry) (DeadLetter, error) {
	letter := DeadLetter{ID: strconv.Itoa(p) + ":" + e.ID, partition: p, letterID: e.ID, Fields: map[string]string{}}
	n := numbers{}
	for i := 0; i+1 < len(e.Fields); i += 2 {
		value := e.Fields[i+1]
		switch e.Fields[i] {
		case "stream":
			letter.Stream = value
		case "group":
			letter.Group = value
		case "entry_id":
			letter.EntryID = value
		case "reason":
			letter.Reason = value
		case "deliveries":
			letter.Deliveries = n.parse(value)
		case "at":
			letter.AtMillis = n.parse(value)
		case "fields":
			var err error
			if letter.raw, err = parseNetstrings(value); err != nil {
				return letter, err
			}
		}
	}
	if n.err != nil {
		return letter, domain.WithClass(domain.ClassPoison, fmt.Errorf("dead letter %s is damaged: %w", letter.ID, n.err))
	}
	for i := 0; i+1 < len(letter.raw); i += 2 {
		name, value := letter.raw[i], letter.raw[i+1]
		if name == wire.FieldPaymentToken {
			value = domain.Secret(value).String()
		}
		letter.Fields[name] = value
	}
	return letter, nil
}

// maxRedriveFields bounds what a script can add again in one call.
const maxRedriveFields = 1000

// Redrive gives a dead letter back to its group, to be handled as if it had just
// come (a request is a new entry, so its time in line starts again), and removes
// the letter. It returns the entry's id. Errors: domain.ErrNotFound; ClassReject
// if the entry cannot be given back.
func (s *Store) Redrive(ctx context.Context, id string) (entryID string, err error) {
	letter, err := s.DeadLetter(ctx, id)
	if err != nil {
		return "", err
	}
	source := s.keys.log(letter.partition)
	args := []any{letter.letterID, letter.Group, letter.EntryID}
	if letter.Stream == streamRequests {
		if len(letter.raw) == 0 || len(letter.raw) > maxRedriveFields {
			return "", domain.WithClass(domain.ClassReject, fmt.Errorf("dead letter %s: %d fields, cannot be published again: discard it", id, len(letter.raw)/2))
		}
		source = s.keys.requests(letter.partition)
		args = appendStrings(args, letter.raw)
	}
	entryID, err = s.run(ctx, scriptRedrive, []string{source, s.keys.dead(letter.partition)}, args...).Text()
	switch {
	case isNil(err):
		return "", domain.WithClass(domain.ClassReject, fmt.Errorf("dead letter %s: entry %s is not in the %s any more: discard it", id, letter.EntryID, letter.Stream))
	case err != nil:
		return "", fmt.Errorf("script redrive: %w", classify(err))
	case entryID == "":
		return "", notFound("dead letter", id)
	}
	return entryID, nil
}

// Discard removes a dead letter for good. Error: domain.ErrNotFound.
func (s *Store) Discard(ctx context.Context, id string) error {
	p, letterID, err := s.parseDeadID(id)
	if err != nil {
		return err
	}
	n, err := s.rdb.XDel(ctx, s.keys.dead(p), letterID).Result()
	if err != nil {
		return fmt.Errorf("discarding %s: %w", id, classify(err))
	}
	if n == 0 {
		return notFound("dead letter", id)
	}
	return nil
}

// Now is Redis's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	now, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return time.Time{}, fmt.Errorf("asking Redis for the time: %w", classify(err))
	}
	return now, nil
}
