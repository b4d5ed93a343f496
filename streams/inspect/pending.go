package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/domain/wire"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

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
	// Unreadable: this user of Redis may not read the entries themselves (payment tokens are
	// among them). Lag is Redis's own figure then, and entries name no order.
	Unreadable bool `json:"unreadable,omitempty"`
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
func (in *Inspector) Pending(ctx context.Context, mostEntries int) ([]GroupStatus, error) {
	var all []GroupStatus
	for p := range in.ns.Keys.Partitions() {
		now, err := in.ns.Client.Time(ctx).Result()
		if err != nil {
			return nil, fmt.Errorf("asking Redis for the time: %w", access.Classify(err))
		}
		aliveUntil, err := in.ns.AliveUntil(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, group := range layout.Groups {
			status, err := in.groupStatus(ctx, p, group, mostEntries)
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

func (in *Inspector) groupStatus(ctx context.Context, p int, group domain.Group, mostEntries int) (GroupStatus, error) {
	stream, name := in.ns.Keys.StreamOf(p, group)
	status := GroupStatus{Partition: p, Stream: name, Group: string(group), Consumers: []ConsumerStatus{}, Entries: []PendingEntry{}}
	fail := func(err error) (GroupStatus, error) {
		return status, fmt.Errorf("inspecting %s of %s: %w", group, stream, access.Classify(err))
	}
	infos, err := in.ns.Client.XInfoGroups(ctx, stream).Result()
	if err != nil {
		return fail(err)
	}
	i := slices.IndexFunc(infos, func(g redis.XInfoGroup) bool { return g.Name == string(group) })
	if i < 0 {
		return fail(fmt.Errorf("the group is gone; a worker makes it again"))
	}
	status.Pending = infos[i].Pending
	status.Lag, err = in.lag(ctx, stream, infos[i])
	if redis.IsPermissionError(err) && infos[i].Lag >= 0 {
		status.Lag, status.Unreadable, err = infos[i].Lag, true, nil
	}
	if err != nil {
		return fail(err)
	}
	status.Backlog = status.Lag + status.Pending

	consumers, err := in.ns.Client.XInfoConsumers(ctx, stream, string(group)).Result()
	if err != nil {
		return fail(err)
	}
	for _, c := range consumers {
		status.Consumers = append(status.Consumers, ConsumerStatus{Name: c.Name, Pending: c.Pending, IdleMillis: c.Idle.Milliseconds()})
	}
	if status.Pending == 0 || mostEntries == 0 {
		return status, nil
	}
	pending, err := in.ns.Client.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: stream, Group: string(group), Start: "-", End: "+", Count: int64(mostEntries),
	}).Result()
	if err != nil {
		return fail(err)
	}
	pipe := in.ns.Client.Pipeline()
	payloads := make([]*redis.Cmd, len(pending))
	for i, e := range pending {
		payloads[i] = pipe.Do(ctx, "XRANGE", stream, e.ID, e.ID)
	}
	if len(pending) > 0 {
		_, err := pipe.Exec(ctx)
		if status.Unreadable = status.Unreadable || redis.IsPermissionError(err); err != nil && !status.Unreadable {
			return fail(err)
		}
	}
	for i, e := range pending {
		entry := PendingEntry{ID: e.ID, Consumer: e.Consumer, IdleMillis: e.Idle.Milliseconds(), Deliveries: e.RetryCount}
		if found := layout.DecodeEntries(payloads[i].Val()); len(found) == 1 {
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
func (in *Inspector) lag(ctx context.Context, stream string, g redis.XInfoGroup) (int64, error) {
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
		page, err := in.ns.Client.XRangeN(ctx, stream, "("+after, "+", access.ReadPage).Result()
		if err != nil {
			return 0, fmt.Errorf("counting the lag: %w", err)
		}
		count += int64(len(page))
		if len(page) < access.ReadPage {
			return count, nil
		}
		after = page[len(page)-1].ID
	}
	return max(count, g.Lag), nil
}
