package main

import (
	"context"
	"fmt"
	"strconv"

	"holdfast/domain"
	"holdfast/streams"
	"holdfast/streams/inspect"
)

type namespaceCommand struct {
	Show namespaceShowCommand `cmd:"" help:"Show what it was made with, and what it was told since."`
	Set  namespaceSetCommand  `cmd:"" help:"Change what may be changed."`
}

// namespaceSheet is a namespace as names and values.
func namespaceSheet(ns streams.Namespace) []string {
	return []string{
		"namespace", ns.Name, "partitions", strconv.Itoa(ns.Partitions), "schema", ns.Schema, "epoch", ns.Epoch,
		"payment_names", string(ns.PaymentNames), "free_orders", string(ns.FreeOrders), "gateway", string(ns.Gateway),
		"max_waiting", strconv.FormatInt(ns.MaxWaiting, 10),
	}
}

func (e *environment) showNamespace(ctx context.Context, store *streams.Store) error {
	ns, err := store.Namespace(ctx)
	if err != nil {
		return err
	}
	branches, err := inspect.New(store).Branches(ctx)
	if err != nil {
		return err
	}
	out := e.printer()
	out.sheet(namespaceView{ns, branches}, namespaceSheet(ns)...)
	// That each partition has one is nothing to tell people of.
	if len(branches) > ns.Partitions && out.section("partition", "branch", "since", "worker", "parent", "common up to", "abandoned") {
		for _, b := range branches {
			abandoned := ""
			if b.Knew != "" {
				abandoned = fmt.Sprintf("what %s has behind that", b.Knew)
			}
			out.row(b, strconv.Itoa(b.Partition), b.ID, when(b.AtMillis), b.Worker, b.Parent, b.CommonPosition, abandoned)
		}
	}
	return out.flush()
}

type namespaceView struct {
	streams.Namespace
	Branches []inspect.Branch `json:"branches"`
}

type namespaceShowCommand struct{}

func (c *namespaceShowCommand) Run(ctx context.Context, e *environment) error {
	return e.withStore(ctx, func(store *streams.Store) error { return e.showNamespace(ctx, store) })
}

type namespaceSetCommand struct {
	Gateway    string `enum:"simulator,remote,stripe,stripe-test," default:"" placeholder:"KIND" help:"The kind of payment gateway that serves it: simulator; remote, which has a URL; stripe, with a live key, or stripe-test, with one of its test mode, and from one of these two to the other there is no way. Workers of another kind stop by themselves."`
	FreeOrders string `enum:"direct,gateway," default:"" placeholder:"HOW" help:"How orders that cost nothing are confirmed: direct, without a payment, once no worker of a version runs that does not know of this; or by asking the gateway for 0. Workers take it up when they are started."`
	MaxWaiting *int64 `placeholder:"N" help:"How many requests of a partition may wait or be in hand; 0: any number. Whoever publishes more is told busy, and nothing is published. Give it more than workers do of a partition in 100 ms."`
}

// Help is shown by --help.
func (c *namespaceSetCommand) Help() string {
	return `
From trying things out to selling: the workers with simulated payments stop, and those with a gateway start.

  holdfast namespace set --gateway remote

No more in line than customers are willing to wait for:

  holdfast namespace set --max-waiting 20000

The number of partitions and the names of payments can never be changed.
`
}

func (c *namespaceSetCommand) Run(ctx context.Context, e *environment) error {
	if c.Gateway == "" && c.FreeOrders == "" && c.MaxWaiting == nil {
		return badUsage("say what to set: --gateway, --free-orders, --max-waiting")
	}
	if c.MaxWaiting != nil && *c.MaxWaiting < 0 {
		return badUsage("--max-waiting: want 0 (any number), or more")
	}
	return e.withStore(ctx, func(store *streams.Store) error {
		err := store.Set(ctx, streams.Settings{Gateway: domain.GatewayKind(c.Gateway), FreeOrders: streams.FreeOrders(c.FreeOrders), MaxWaiting: c.MaxWaiting})
		if err != nil {
			return err
		}
		return e.showNamespace(ctx, store)
	})
}
