package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"holdfast/streams/internal/access"
)

// scan reads the names of all keys, and the invoices.
func (a *auditor) scan(ctx context.Context) error {
	var mu sync.Mutex // a cluster's masters are scanned concurrently
	var customers []string
	sort := func(key string) {
		mu.Lock()
		defer mu.Unlock()
		if customer, ok := a.ns.Keys.CustomerOf(key); ok {
			customers = append(customers, customer)
			return
		}
		for _, p := range a.partitions {
			if name, ok := strings.CutPrefix(key, a.ns.Keys.Prefix(p.p)); ok {
				p.noteKey(name)
				return
			}
		}
	}
	scan := func(ctx context.Context, node redis.UniversalClient) error {
		iter := node.Scan(ctx, 0, a.ns.Keys.Everything(), access.ReadPage).Iterator()
		for iter.Next(ctx) {
			sort(iter.Val())
		}
		return iter.Err()
	}
	var err error
	if cluster, ok := a.ns.Client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return scan(ctx, node) })
	} else {
		err = scan(ctx, a.ns.Client)
	}
	if err != nil {
		return fmt.Errorf("listing keys: %w", access.Classify(err))
	}
	slices.Sort(customers)
	for chunk := range slices.Chunk(slices.Compact(customers), access.MaxBatch) {
		if err := a.readInvoices(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (p *partitionAudit) noteKey(name string) {
	kind, id, _ := strings.Cut(name, ":")
	switch kind {
	case "order":
		p.orders[id] = true
	case "event":
		p.events[id] = true
	case "in_progress":
		p.slots[id] = true
	case "sales":
		p.sales[id] = true
	}
}
