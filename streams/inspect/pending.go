package inspect

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// GroupStatus is what one group of one partition has before it. Ages are on Redis's clock,
// and 0 where there is nothing of the kind.
type GroupStatus struct {
	Partition int    `json:"partition"`
	Stream    string `json:"stream"`
	Group     string `json:"group"`
	Missing   bool   `json:"missing,omitempty"` // the group is gone; a worker makes it again, from the start of the stream
	// Unreadable: this user of Redis may not read the entries themselves (payment tokens are
	// among them). Lag is Redis's own figure then, it is not known since when the oldest
	// waits, and entries name no order.
	Unreadable bool `json:"unreadable,omitempty"`
	// OwedUnreadable: nor may it read what is owed, which is missing in the backlog then.
	OwedUnreadable bool `json:"owed_unreadable,omitempty"`

	// These count requests, or, in the groups of the log, facts.
	Lag     int64 `json:"lag"`     // nobody was given them yet
	Pending int64 `json:"pending"` // given, not acknowledged
	Owed    int64 `json:"owed"`    // orders whose money waits by itself; of settlement alone
	Backlog int64 `json:"backlog"` // all of them: what to scale on
	// Estimated: there are more entries than are read for this. Those that were are taken to have as many facts
	// as the others.
	Estimated bool `json:"estimated,omitempty"`

	OldestOwedMillis int64 `json:"oldest_owed_ms"` // since the oldest of the owed that are looked at (those that are due first) was asked for

	OldestMillis        int64 `json:"oldest_ms"`         // since the oldest of the backlog was published
	OldestWaitingMillis int64 `json:"oldest_waiting_ms"` // since the oldest that nobody was given yet was published
	// OldestInHandMillis is since the oldest that is pending was given to a worker for the
	// first time: by what workers note of that (scripts/keep_alive.lua), so never too much,
	// and too little by some seconds, or by more beyond five minutes; where there is no note, by
	// how long it is idle.
	OldestInHandMillis int64 `json:"oldest_in_hand_ms"`
	OldestIdleMillis   int64 `json:"oldest_idle_ms"`  // the longest without a sign of life, of the oldest pending ones
	MostDeliveries     int64 `json:"most_deliveries"` // of the oldest pending ones

	Consumers []ConsumerStatus `json:"consumers"`
	Entries   []PendingEntry   `json:"entries"`
	Orders    []OwedOrder      `json:"owed_orders,omitempty"`
	// Unsearched: with FilterEntries, more are pending than were looked through, and there may be more such entries.
	Unsearched bool `json:"unsearched,omitempty"`
}

// OwedOrder is an order whose money waits, without an entry that does.
type OwedOrder struct {
	OrderID   string `json:"order_id"`         // event_id/order_id
	DueMillis int64  `json:"due_ms"`           // until it is tried the next time, or, while it is tried, until it counts as left; below 0: it is due
	AgeMillis int64  `json:"age_ms"`           // since its fact
	Attempts  int64  `json:"attempts"`         // that count against it: the order, and not the gateway, may be why
	Reason    string `json:"reason,omitempty"` // why the last one came to nothing
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

const (
	// oldestPending is how many of a group's pending entries, and of what is owed, are looked at.
	oldestPending = access.ReadPage
	// countedPending is of how many of them the facts are counted.
	countedPending = 100
	// partitionsAtOnce bounds what is in memory of them.
	partitionsAtOnce = 8
	// handedBackIdleMillis is for how long an entry seems to be idle that was handed back, or
	// redriven, a moment ago.
	handedBackIdleMillis = 24 * 60 * 60 * 1000
)

// Pending tells what every group has before it, with at most mostEntries of its
// pending entries, the oldest first.
func (in *Inspector) Pending(ctx context.Context, mostEntries int) ([]GroupStatus, error) {
	var all []GroupStatus
	for first := 0; first < in.ns.Keys.Partitions(); first += partitionsAtOnce {
		some, err := in.pending(ctx, first, min(first+partitionsAtOnce, in.ns.Keys.Partitions()), mostEntries)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// look is what Redis was asked about one group.
type look struct {
	status GroupStatus
	stream string // key

	infos     *redis.XInfoGroupsCmd
	length    *redis.IntCmd
	consumers *redis.XInfoConsumersCmd
	pending   *redis.XPendingExtCmd
	delivered *redis.StringCmd

	owed      *redis.IntCmd // nil but of settlement
	owedFirst *redis.ZSliceCmd
	owedNotes *redis.SliceCmd

	group    redis.XInfoGroup // the group's, of infos
	waiting  *redis.XMessageSliceCmd
	payloads []*redis.Cmd
}

func (l *look) fail(err error) error {
	return fmt.Errorf("inspecting %s of %s: %w", l.status.Group, l.stream, access.Classify(err))
}

func (in *Inspector) pending(ctx context.Context, first, end, mostEntries int) ([]GroupStatus, error) {
	pipe := in.ns.Client.Pipeline()
	now := pipe.Time(ctx)
	alive := make(map[int]*redis.ZSliceCmd, end-first)
	var looks []*look
	for p := first; p < end; p++ {
		alive[p] = pipe.ZRangeWithScores(ctx, in.ns.Keys.Consumers(p), 0, -1)
		for _, group := range layout.Groups {
			stream, name := in.ns.Keys.StreamOf(p, group)
			looks = append(looks, &look{
				status: GroupStatus{Partition: p, Stream: name, Group: string(group), Consumers: []ConsumerStatus{}, Entries: []PendingEntry{}},
				stream: stream,
				infos:  pipe.XInfoGroups(ctx, stream), length: pipe.XLen(ctx, stream), consumers: pipe.XInfoConsumers(ctx, stream, string(group)),
				pending: pipe.XPendingExt(ctx, &redis.XPendingExtArgs{
					Stream: stream, Group: string(group), Start: "-", End: "+", Count: int64(max(mostEntries, oldestPending)),
				}),
				delivered: pipe.HGet(ctx, in.ns.Keys.Delivered(p), string(group)),
			})
			if group == domain.GroupSettlement {
				l := looks[len(looks)-1]
				l.owed = pipe.ZCount(ctx, in.ns.Keys.Owed(p), "-inf", "+inf")
				l.owedFirst = pipe.ZRangeWithScores(ctx, in.ns.Keys.Owed(p), 0, int64(max(mostEntries, oldestPending))-1)
			}
		}
	}
	_, _ = pipe.Exec(ctx) // its error is that of a command
	if err := now.Err(); err != nil {
		return nil, fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
	}
	nowMillis := now.Val().UnixMilli()

	pipe = in.ns.Client.Pipeline()
	for _, l := range looks {
		if err := l.readGroup(nowMillis); err != nil {
			return nil, err
		}
		if l.group.Lag != 0 {
			l.waiting = pipe.XRangeN(ctx, l.stream, "("+l.group.LastDeliveredID, "+", access.ReadPage)
		}
		most := mostEntries
		if l.status.Stream == layout.StreamLog {
			most = max(most, countedPending)
		}
		for _, e := range l.pending.Val()[:min(most, len(l.pending.Val()))] {
			l.payloads = append(l.payloads, pipe.Do(ctx, "XRANGE", l.stream, e.ID, e.ID))
		}
		if l.owedFirst != nil && len(l.owedFirst.Val()) > 0 {
			names := make([]string, len(l.owedFirst.Val()))
			for i, z := range l.owedFirst.Val() {
				names[i] = layout.AsString(z.Member)
			}
			l.owedNotes = pipe.HMGet(ctx, in.ns.Keys.OwedNotes(l.status.Partition), names...)
		}
	}
	_, _ = pipe.Exec(ctx) // likewise
	statuses := make([]GroupStatus, len(looks))
	for i, l := range looks {
		aliveUntil, err := access.ScoresByName(alive[l.status.Partition])
		if err != nil {
			return nil, err
		}
		if err := in.readEntries(ctx, l, nowMillis, mostEntries); err != nil {
			return nil, err
		}
		if err := l.readOwed(nowMillis, mostEntries); err != nil {
			return nil, err
		}
		l.status.Backlog = l.status.Lag + l.status.Pending + l.status.Owed
		l.status.markAlive(aliveUntil, nowMillis)
		statuses[i] = l.status
	}
	return statuses, nil
}

// readGroup takes over what Redis said about the group.
func (l *look) readGroup(nowMillis int64) error {
	infos, err := l.infos.Result()
	if err != nil && !strings.Contains(err.Error(), "no such key") {
		return l.fail(err)
	}
	i := slices.IndexFunc(infos, func(g redis.XInfoGroup) bool { return g.Name == l.status.Group })
	if i < 0 {
		length, err := l.length.Result()
		if err != nil {
			return l.fail(err)
		}
		l.status.Missing = true
		l.group = redis.XInfoGroup{LastDeliveredID: "0-0", Lag: length}
		return nil
	}
	l.group = infos[i]
	l.status.Pending = l.group.Pending
	consumers, err := l.consumers.Result()
	if err != nil {
		return l.fail(err)
	}
	for _, c := range consumers {
		l.status.Consumers = append(l.status.Consumers, ConsumerStatus{Name: c.Name, Pending: c.Pending, IdleMillis: c.Idle.Milliseconds()})
	}
	pending, err := l.pending.Result()
	if err != nil {
		return l.fail(err)
	}
	notes, err := l.delivered.Result()
	if err != nil && !access.IsNil(err) && !redis.IsPermissionError(err) { // of a user from before there were notes
		return l.fail(err)
	}
	l.status.readAges(pending, notes, nowMillis)
	return nil
}

// readAges is about the oldest pending entries; notes are scripts/keep_alive.lua's.
func (g *GroupStatus) readAges(pending []redis.XPendingExt, notes string, nowMillis int64) {
	if len(pending) == 0 {
		return
	}
	var inHand int64
	for _, e := range pending {
		idle := e.Idle.Milliseconds()
		g.OldestIdleMillis = max(g.OldestIdleMillis, idle)
		g.MostDeliveries = max(g.MostDeliveries, e.RetryCount)
		if idle >= handedBackIdleMillis {
			idle -= handedBackIdleMillis
		}
		inHand = max(inHand, idle)
	}
	oldest := pending[0].ID
	g.OldestMillis = max(0, nowMillis-domain.EntryMillis(oldest))
	g.OldestInHandMillis = max(inHand, nowMillis-layout.DeliveredBy(notes, oldest, nowMillis))
}

// readEntries takes over what was read of the stream.
func (in *Inspector) readEntries(ctx context.Context, l *look, nowMillis int64, mostEntries int) error {
	facts := l.status.Stream == layout.StreamLog
	if l.waiting != nil {
		page, err := l.waiting.Result()
		if redis.IsPermissionError(err) && l.group.Lag >= 0 {
			l.status.Unreadable, l.status.Lag = true, l.group.Lag
		} else if err != nil {
			return l.fail(err)
		}
		if len(page) > 0 {
			l.status.OldestWaitingMillis = max(0, nowMillis-domain.EntryMillis(page[0].ID))
			l.status.OldestMillis = max(l.status.OldestMillis, l.status.OldestWaitingMillis)
		}
		if !l.status.Unreadable {
			if l.status.Lag, err = in.lag(ctx, l.stream, l.group.Lag, page); err != nil {
				return l.fail(err)
			}
		}
		if facts {
			var counted int64
			for _, e := range page {
				for _, lines := range e.Values {
					counted += linesOf(layout.AsString(lines))
				}
			}
			l.status.Lag = l.status.factsOf(l.status.Lag, int64(len(page)), counted)
		}
	}
	var counted int64
	for i, payload := range l.payloads {
		if err := payload.Err(); redis.IsPermissionError(err) {
			l.status.Unreadable = true
		} else if err != nil {
			return l.fail(err)
		}
		found := layout.DecodeEntries(payload.Val())
		lines := int64(1) // of one whose payload is gone, too
		if len(found) == 1 && len(found[0].Fields) == 2 {
			lines = linesOf(found[0].Fields[1])
		}
		counted += lines
		if i >= mostEntries {
			continue
		}
		e := l.pending.Val()[i]
		entry := PendingEntry{ID: e.ID, Consumer: e.Consumer, IdleMillis: e.Idle.Milliseconds(), Deliveries: e.RetryCount}
		if len(found) == 1 {
			entry.OrderID = orderOf(found[0].Fields)
		}
		l.status.Entries = append(l.status.Entries, entry)
	}
	if facts {
		l.status.Pending = l.status.factsOf(l.status.Pending, int64(len(l.payloads)), counted)
	}
	return nil
}

// linesOf is how many facts the value of a log entry has.
func linesOf(value string) int64 { return int64(strings.Count(value, "\n")) + 1 }

// factsOf is how many facts so many entries have, of which some, with so many facts, were read.
func (g *GroupStatus) factsOf(entries, read, facts int64) int64 {
	if entries <= read || read == 0 {
		return facts + max(entries-read, 0)
	}
	g.Estimated = true
	return int64(float64(facts) / float64(read) * float64(entries))
}

// readOwed takes over what was read of the orders whose money waits.
func (l *look) readOwed(nowMillis int64, mostEntries int) error {
	if l.owed == nil {
		return nil
	}
	if err := l.owed.Err(); redis.IsPermissionError(err) { // of a user from before there was such a list
		l.status.OwedUnreadable = true
		return nil
	} else if err != nil {
		return l.fail(err)
	}
	first, err := l.owedFirst.Result()
	if err != nil {
		return l.fail(err)
	}
	l.status.Owed = l.owed.Val()
	if l.owedNotes == nil {
		return nil
	}
	notes, err := l.owedNotes.Result()
	if err != nil {
		return l.fail(err)
	}
	for i, z := range first {
		o, err := layout.DecodeOwed(layout.AsString(z.Member), layout.AsString(notes[i]))
		if err != nil { // settled since it was listed; or damaged, which the audit says
			o = domain.Owed{FactID: strconv.FormatInt(nowMillis, 10) + "-0"}
		}
		order := OwedOrder{
			OrderID: layout.AsString(z.Member), DueMillis: int64(z.Score) - nowMillis, AgeMillis: max(0, nowMillis-domain.EntryMillis(o.FactID)),
			Attempts: o.Attempts, Reason: o.Reason,
		}
		l.status.OldestOwedMillis = max(l.status.OldestOwedMillis, order.AgeMillis)
		l.status.MostDeliveries = max(l.status.MostDeliveries, order.Attempts)
		if i < mostEntries {
			l.status.Orders = append(l.status.Orders, order)
		}
	}
	l.status.OldestMillis = max(l.status.OldestMillis, l.status.OldestOwedMillis)
	return nil
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

// Alive counts the consumers that gave a sign of life within their own reclaim time.
func (g *GroupStatus) Alive() int {
	n := 0
	for _, c := range g.Consumers {
		if c.Alive {
			n++
		}
	}
	return n
}

// orderOf is the order that a request or the facts of an entry are about, empty if they
// name none, or several.
func orderOf(fields []string) string {
	if request, _ := wire.ParseRequest(fields); request.EventID != "" {
		return orderName(request.Ref().String())
	}
	if len(fields) != 2 {
		return ""
	}
	name := ""
	for line := range strings.SplitSeq(fields[1], "\n") {
		subject, _, _ := strings.Cut(line, "|")
		if name != "" && subject != name {
			return ""
		}
		name = subject
	}
	return orderName(name)
}

func orderName(name string) string {
	if _, ok := domain.ParseOrderRef(name); !ok {
		return ""
	}
	return name
}

// lagPages bounds the counting of a lag that Redis does not know.
const lagPages = 100

// lag is counted, and only if there is much of it what Redis says. After some
// deletions that has none (go-redis then says -1), and an autoscaler that took it for
// zero would switch the workers off. On a server that was a replica it is too high, by
// what was delivered after it had last copied everything, until the end of time.
// page is the first of what waits.
func (in *Inspector) lag(ctx context.Context, stream string, said int64, page []redis.XMessage) (int64, error) {
	count := int64(len(page))
	for pages := 1; len(page) == access.ReadPage && said < 0 && pages < lagPages; pages++ {
		var err error
		page, err = in.ns.Client.XRangeN(ctx, stream, "("+page[len(page)-1].ID, "+", access.ReadPage).Result()
		if err != nil {
			return 0, fmt.Errorf("counting the lag: %w", err)
		}
		count += int64(len(page))
	}
	if len(page) < access.ReadPage {
		return count, nil
	}
	return max(count, said), nil
}
