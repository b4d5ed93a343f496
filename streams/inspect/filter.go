package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/domain"
	"holdfast/streams/internal/access"
	"holdfast/streams/internal/layout"
)

// EntryFilter chooses pending entries. Empty fields choose all.
type EntryFilter struct {
	Group      domain.Group
	Consumer   string
	Order      domain.OrderRef // about this one
	Idle       time.Duration   // without a sign of life for so long, or longer; one that was handed back counts from then
	Deliveries int64           // given to workers so often, or more often
}

func (f EntryFilter) matches(e PendingEntry) bool {
	idle := e.IdleMillis
	if idle >= handedBackIdleMillis {
		idle -= handedBackIdleMillis
	}
	return (f.Consumer == "" || e.Consumer == f.Consumer) && idle >= f.Idle.Milliseconds() && e.Deliveries >= f.Deliveries
}

// FilterEntries puts in the place of the entries of groups, as Pending returns them, those that a filter chooses: the oldest,
// at most so many of each group. Up to searchPages × access.ReadPage of a group are looked through; if there are more, Unsearched says so.
func (in *Inspector) FilterEntries(ctx context.Context, groups []GroupStatus, filter EntryFilter, most int) error {
	byOrder := map[domain.Group][]PendingEntry{}
	var unsearched bool
	if filter.Order.OrderID != "" {
		x, err := in.Explain(ctx, filter.Order, "")
		if err != nil {
			return err
		}
		if len(x.Unseen) > 0 {
			return x.Unseen[0]
		}
		unsearched = x.Unsearched
		for _, at := range slices.Concat(x.Requests, x.Facts) {
			if !at.InHand {
				continue
			}
			e := PendingEntry{ID: at.ID, OrderID: filter.Order.String(), Consumer: at.Consumer, IdleMillis: at.IdleMillis, Deliveries: at.Deliveries}
			if at.HandedBack {
				e.IdleMillis += handedBackIdleMillis
			}
			byOrder[at.Group] = append(byOrder[at.Group], e)
		}
	}
	for i := range groups {
		g := &groups[i]
		g.Entries = []PendingEntry{}
		group := domain.Group(g.Group)
		if filter.Group != "" && filter.Group != group || g.Missing || g.Pending == 0 {
			continue
		}
		if filter.Order.OrderID == "" {
			if err := in.searchPending(ctx, g, filter, most); err != nil {
				return fmt.Errorf("looking through what is pending of %s: %w", g.Group, access.Classify(err))
			}
			continue
		}
		if g.Partition != in.ns.Keys.PartitionOf(filter.Order.EventID) {
			continue
		}
		g.Unsearched = unsearched && group == domain.GroupWorkers
		for _, e := range byOrder[group] {
			if filter.matches(e) && len(g.Entries) < most {
				g.Entries = append(g.Entries, e)
			}
		}
	}
	return nil
}

// searchPending looks through the pending entries of a group.
func (in *Inspector) searchPending(ctx context.Context, g *GroupStatus, filter EntryFilter, most int) error {
	stream, _ := in.ns.Keys.StreamOf(g.Partition, domain.Group(g.Group))
	from := "-"
	g.Unsearched = true
	for range searchPages {
		page, err := in.ns.Client.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: stream, Group: g.Group, Start: from, End: "+", Count: access.ReadPage, Consumer: filter.Consumer,
		}).Result()
		if err != nil {
			return err
		}
		for _, e := range page {
			entry := PendingEntry{ID: e.ID, Consumer: e.Consumer, IdleMillis: e.Idle.Milliseconds(), Deliveries: e.RetryCount}
			if filter.matches(entry) && len(g.Entries) < most {
				g.Entries = append(g.Entries, entry)
			}
		}
		if len(page) < access.ReadPage || len(g.Entries) == most {
			g.Unsearched = false // whoever has as many as were asked for misses nothing
			break
		}
		from = "(" + page[len(page)-1].ID
	}
	return in.nameOrders(ctx, stream, g)
}

// nameOrders reads which orders the entries of a group are about.
func (in *Inspector) nameOrders(ctx context.Context, stream string, g *GroupStatus) error {
	if len(g.Entries) == 0 {
		return nil
	}
	pipe := in.ns.Client.Pipeline()
	payloads := make([]*redis.Cmd, len(g.Entries))
	for i, e := range g.Entries {
		payloads[i] = pipe.Do(ctx, "XRANGE", stream, e.ID, e.ID)
	}
	_, _ = pipe.Exec(ctx) // its error is that of a command
	for i, payload := range payloads {
		if err := payload.Err(); redis.IsPermissionError(err) {
			g.Unreadable = true
		} else if err != nil {
			return err
		}
		if found := layout.DecodeEntries(payload.Val()); len(found) == 1 {
			g.Entries[i].OrderID = orderOf(found[0].Fields)
		}
	}
	return nil
}

// Claim is that somebody had the entries of a worker that was gone handed to the others.
type Claim struct {
	AtMillis  int64  `json:"at"` // milliseconds
	Partition int    `json:"partition"`
	Group     string `json:"group"`
	Consumer  string `json:"consumer"`
	Entries   int64  `json:"entries"`
	Reason    string `json:"reason"`
	By        string `json:"by"`
}

// Claims are the newest of each partition, as far as they are remembered: the newest first.
func (in *Inspector) Claims(ctx context.Context) ([]Claim, error) {
	pipe := in.ns.Client.Pipeline()
	lists := make([]*redis.StringSliceCmd, in.ns.Keys.Partitions())
	for p := range lists {
		lists[p] = pipe.LRange(ctx, in.ns.Keys.Claims(p), 0, -1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading claims: %w", access.Classify(err))
	}
	claims := []Claim{}
	for p, list := range lists {
		for _, value := range list.Val() {
			c := Claim{Partition: p}
			if err := json.Unmarshal([]byte(value), &c); err != nil {
				return nil, domain.WithClass(domain.ClassPoison, fmt.Errorf("a claim in partition %d is damaged: %q", p, value))
			}
			claims = append(claims, c)
		}
	}
	slices.SortStableFunc(claims, func(a, b Claim) int {
		if a.AtMillis != b.AtMillis {
			return int(b.AtMillis - a.AtMillis)
		}
		return strings.Compare(a.Group, b.Group)
	})
	return claims, nil
}
