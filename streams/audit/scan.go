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

// scan reads the names of all keys, of the fields of those that grow with what is sold, and the invoices.
func (a *auditor) scan(ctx context.Context) error {
	var mu sync.Mutex // a cluster's masters are scanned concurrently
	var customers []string
	orders, places := make(map[*partitionAudit][]string), make(map[*partitionAudit][]string) // names of their hashes
	sort := func(key string) {
		mu.Lock()
		defer mu.Unlock()
		if customer, ok := a.ns.Keys.CustomerOf(key); ok {
			customers = append(customers, customer)
			return
		}
		for _, p := range a.partitions {
			if strings.HasPrefix(key, a.ns.Keys.OrdersPrefix(p.p)) {
				orders[p] = append(orders[p], key)
				return
			}
			if strings.HasPrefix(key, a.ns.Keys.CustomersPrefix(p.p)) {
				places[p] = append(places[p], key)
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
	for _, p := range a.partitions {
		for _, of := range []struct {
			keys []string
			into map[string]string
		}{{orders[p], p.orders}, {places[p], p.places}} {
			slices.Sort(of.keys)
			for _, key := range slices.Compact(of.keys) {
				if err := p.scanNames(ctx, key, of.into); err != nil {
					return err
				}
			}
		}
	}
	for _, p := range a.partitions {
		if err := p.scanFields(ctx, a.ns.Keys.Events(p.p), p.eventFields); err != nil {
			return err
		}
		if err := p.scanFields(ctx, a.ns.Keys.Places(p.p), p.placeFields); err != nil {
			return err
		}
		if err := p.scanFields(ctx, a.ns.Keys.InProgress(p.p), p.inProgress); err != nil {
			return err
		}
	}
	return nil
}

// scanNames takes the names of a hash's orders, or customers, over.
func (p *partitionAudit) scanNames(ctx context.Context, key string, into map[string]string) error {
	found := make(map[string]bool)
	if err := p.scanFields(ctx, key, found); err != nil {
		return err
	}
	for name := range found {
		if other, twice := into[name]; twice {
			p.violation("I7", name, "has a record in %s, and one in %s", other, key)
		}
		into[name] = key
	}
	return nil
}

// scanFields takes the names of a hash's fields over.
func (p *partitionAudit) scanFields(ctx context.Context, key string, into map[string]bool) error {
	if err := p.ns.EachField(ctx, key, func(field string) { into[field] = true }); err != nil {
		return fmt.Errorf("listing %s: %w", key, err)
	}
	return nil
}
