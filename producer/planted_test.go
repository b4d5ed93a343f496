//go:build planted

package producer_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"holdfast/domain"
	"holdfast/e2e/torture"
	"holdfast/streams"
)

// TestPlantedBugs plants one bug after the other between a producer and Redis. What a
// producer must not get wrong has to be wrong then. A bug that nothing finds is one in the tests.
func TestPlantedBugs(t *testing.T) {
	tally := torture.Begin(t, 11, "bugs planted in producers")
	t.Run("planted", func(t *testing.T) {
		for _, b := range plantedBugs {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				for i, truth := range truths {
					w := newWorld(t, 1)
					w.list("e", 10)
					err := truth.of(w, b.wrap)
					if err == nil {
						continue
					}
					said, _, _ := strings.Cut(err.Error(), "\n")
					tally.Count("caught", 1)
					tally.Count("runs until caught", i+1)
					tally.Note("%s | %s | %.160s | %d", b.name, truth.name, said, i+1)
					return
				}
				t.Error("nothing was wrong")
			})
		}
	})
	tally.Count("bugs", len(plantedBugs))
}

var plantedBugs = []struct {
	name string
	wrap wrap
}{
	{"listens to another database, and believes what it hears", func(w *world, o domain.Outcomes) domain.Outcomes {
		return &believer{deaf: deaf{o, w.server.URL()}, told: make(map[domain.OrderRef]bool)}
	}},
	{"goes on listening to data that is gone", func(w *world, o domain.Outcomes) domain.Outcomes { return deaf{o, w.url} }},
}

// deaf listens to the channel of the data that there is in a database when it begins, and to no other.
type deaf struct {
	domain.Outcomes
	url string
}

func (d deaf) Watch(ctx context.Context, _ int, sink domain.OutcomeSink) error {
	rdb, err := streams.Dial(d.url, nil)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	epoch, err := rdb.HGet(ctx, "holdfast:meta", "epoch").Result()
	if err != nil {
		return err
	}
	notices := rdb.Subscribe(ctx, "holdfast:{0}:outcomes:"+epoch)
	defer context.AfterFunc(ctx, func() { _ = notices.Close() })() // a read that waits does not end with ctx
	if _, err := notices.Receive(ctx); err != nil {
		return err
	}
	sink.Connected()
	for {
		m, err := notices.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		var refs []domain.OrderRef
		for line := range strings.SplitSeq(m.Payload, "\n") {
			if ref, ok := domain.ParseOrderRef(line); ok {
				refs = append(refs, ref)
			}
		}
		sink.Changed(refs)
	}
}

// believer takes an order for confirmed as soon as it is told of it.
type believer struct {
	deaf
	mu   sync.Mutex
	told map[domain.OrderRef]bool
}

func (b *believer) Watch(ctx context.Context, partition int, sink domain.OutcomeSink) error {
	return b.deaf.Watch(ctx, partition, &believingSink{sink, b})
}

func (b *believer) Look(ctx context.Context, refs []domain.OrderRef) []domain.Looked {
	looked := b.Outcomes.Look(ctx, refs)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, ref := range refs {
		if b.told[ref] {
			looked[i].Order.State = domain.OrderConfirmed
		}
	}
	return looked
}

type believingSink struct {
	domain.OutcomeSink
	b *believer
}

func (s *believingSink) Changed(refs []domain.OrderRef) {
	s.b.mu.Lock()
	for _, ref := range refs {
		s.b.told[ref] = true
	}
	s.b.mu.Unlock()
	s.OutcomeSink.Changed(refs)
}
