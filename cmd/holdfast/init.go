package main

import (
	"context"
	"fmt"
	"strconv"

	"holdfast/streams"
)

type initCommand struct {
	Partitions *int `placeholder:"N" help:"How many partitions, for ever: an event lives in one, and one is bounded by one Redis core. Default: 4."`
}

func (c *initCommand) Run(ctx context.Context, e *environment) error {
	o := streams.Options{}
	if c.Partitions != nil {
		if *c.Partitions < 1 || *c.Partitions > streams.MaxPartitions {
			return badUsage("--partitions: want 1 to %d", streams.MaxPartitions)
		}
		o.Partitions = *c.Partitions
	}
	store, err := e.open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // everything has been read
	ns, err := store.Namespace(ctx)
	if err != nil {
		return err
	}
	if c.Partitions != nil && ns.Partitions != *c.Partitions {
		return fmt.Errorf("namespace %s exists with %d partitions, and their number cannot be changed: choose another --namespace", ns.Name, ns.Partitions)
	}
	out := e.printer()
	out.sheet(ns,
		"namespace", ns.Name, "partitions", strconv.Itoa(ns.Partitions), "schema", ns.Schema,
		"epoch", ns.Epoch, "created", strconv.FormatBool(ns.Created))
	return out.flush()
}
