package workers_test

import (
	"context"
	"testing"

	"holdfast/domain"
	"holdfast/payments/simulator"
	"holdfast/streams"
	"holdfast/streams/redistest"
	"holdfast/workers"
)

// A pool with a gateway says of which kind it is, and does not run beside those of the other.
func TestGatewayKind(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	store, err := streams.Open(ctx, redistest.Start(t).URL(), streams.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	gateway, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pool := func(kind domain.GatewayKind) (*workers.Pool, error) {
		return workers.New(workers.Config{}, workers.Deps{
			Ledger: store.Ledger(), Queues: store.Queue, Gateway: gateway, GatewayKind: kind, Partitions: store.Partitions(),
		})
	}
	for _, kind := range []domain.GatewayKind{"", "free"} {
		if _, err := pool(kind); err == nil || domain.ClassOf(err) != domain.ClassFatal {
			t.Errorf("kind %q: %v", kind, err)
		}
	}
	if err := store.Set(ctx, streams.Settings{Gateway: domain.GatewayRemote}); err != nil {
		t.Fatal(err)
	}
	p, err := pool(domain.GatewaySimulator)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(ctx); domain.CodeOf(err) != domain.CodeOtherGateway || domain.ClassOf(err) != domain.ClassFatal {
		t.Errorf("beside workers that take money: %v", err)
	}
}
